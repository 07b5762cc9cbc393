// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * state.c - the state directory
 *
 *   DIR/lock          held with flock() by the khd that uses DIR
 *   DIR/incarnation   decimal, greater at each start
 *   DIR/spare         space that is given up when the file system is full: what is there already
 *                     can still be replaced
 *   DIR/store         whether the node has a page store, and its id (claim.c)
 *   DIR/store-checks  how often it had been found whole when it was opened last (claim.c)
 *   DIR/store-failed  its disk failed, and it was not seen to be found whole since (claim.c)
 *   DIR/blobs/KEY     one blob each; ".new" beside it is a write that a crash cut short
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "khd/log.h"
#include "khd/state.h"
#include "khd/store/flock.h"

#define SUFFIX ".new"
#define SPARE_BYTES (256 << 10)
#define INCARNATION_MAX ((1u << 20) - 1) /* an epoch has 20 bits of a token */

struct khd_state {
	int dir, blobs, lock, spare;
};

static int write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= n;
	}
	return 0;
}

/* Have the spare space, again if need be; without it khd works as well, until there is no other. */
static void keep_spare(struct khd_state *state)
{
	if (state->spare >= 0 && fallocate(state->spare, 0, 0, SPARE_BYTES) < 0 &&
	    errno != EOPNOTSUPP && errno != ENOSPC)
		khd_log(KHD_WARN, "spare space of the state directory: %s", strerror(errno));
}

/* Write @name in @dir by way of a second file, so that a crash leaves one content whole. */
static int replace_once(int dir, const char *name, const void *buf, size_t len)
{
	char tmp[KHD_STATE_KEY_MAX + sizeof(SUFFIX)];
	int fd, ret;

	snprintf(tmp, sizeof(tmp), "%s" SUFFIX, name);
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	ret = write_all(fd, buf, len);
	if (!ret && fsync(fd) < 0)
		ret = -errno;
	if (close(fd) < 0 && !ret)
		ret = -errno;
	if (!ret && renameat(dir, tmp, dir, name) < 0)
		ret = -errno;
	if (!ret && fsync(dir) < 0)
		ret = -errno;
	return ret;
}

static int replace(struct khd_state *state, int dir, const char *name, const void *buf, size_t len)
{
	int ret = replace_once(dir, name, buf, len);

	if (ret != -ENOSPC || faccessat(dir, name, F_OK, 0) < 0 || state->spare < 0 ||
	    ftruncate(state->spare, 0) < 0)
		return ret;
	ret = replace_once(dir, name, buf, len);
	keep_spare(state);
	return ret;
}

/* The whole of @name in fresh memory, with a NUL after it. */
static int read_file(int dir, const char *name, char **buf, size_t *len)
{
	struct stat st;
	ssize_t n = 0;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > KHD_STATE_BLOB_MAX) {
		close(fd);
		return -EINVAL;
	}
	*buf = malloc(st.st_size + 1);
	for (*len = 0; *buf && *len < (size_t)st.st_size; *len += n) {
		n = read(fd, *buf + *len, st.st_size - *len);
		if (n <= 0)
			break;
	}
	close(fd);
	if (!*buf)
		return -ENOMEM;
	if (*len != (size_t)st.st_size) {
		free(*buf);
		return -EIO;
	}
	(*buf)[*len] = 0;
	return 0;
}

static int next_incarnation(struct khd_state *state, uint64_t *incarnation)
{
	unsigned long long before = 0;
	size_t len;
	char text[32];
	char *buf, *end;
	int ret;

	ret = read_file(state->dir, "incarnation", &buf, &len);
	if (!ret) {
		errno = 0;
		before = strtoull(buf, &end, 10);
		if (!len || buf[0] < '0' || buf[0] > '9' || strcmp(end, "\n") || errno)
			ret = -EINVAL;
		free(buf);
	} else if (ret == -ENOENT) {
		ret = 0;
	}
	if (!ret && before >= INCARNATION_MAX)
		ret = -EOVERFLOW;
	if (ret)
		return ret;
	*incarnation = before + 1;
	ret = snprintf(text, sizeof(text), "%" PRIu64 "\n", *incarnation);
	return replace(state, state->dir, "incarnation", text, ret);
}

static bool key_ok(const char *key)
{
	size_t len = strlen(key);

	if (!len || len > KHD_STATE_KEY_MAX || key[0] == '.' || strchr(key, '/'))
		return false;
	return len < strlen(SUFFIX) || strcmp(key + len - strlen(SUFFIX), SUFFIX);
}

static int open_dir(int at, const char *path)
{
	int fd;

	if (mkdirat(at, path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

struct khd_state *khd_state_open(const char *path, uint64_t *incarnation)
{
	struct khd_state *state = malloc(sizeof(*state));
	int ret;

	if (!state)
		return NULL;
	*state = (struct khd_state){ -1, -1, -1, -1 };
	ret = state->dir = open_dir(AT_FDCWD, path);
	if (ret < 0)
		goto fail;
	/* Region keys are in it, as hashes. */
	if (fchmod(state->dir, 0700) < 0) {
		ret = -errno;
		goto fail;
	}
	state->lock = openat(state->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	ret = state->lock < 0 ? -errno : khd_flock(state->lock, true);
	if (ret)
		goto fail;
	ret = state->blobs = open_dir(state->dir, "blobs");
	if (ret < 0)
		goto fail;
	state->spare =
		openat(state->dir, "spare", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	keep_spare(state);
	ret = next_incarnation(state, incarnation);
	if (!ret)
		return state;
	khd_log(KHD_ERR, "%s/incarnation cannot be read or raised", path);
fail:
	khd_log(KHD_ERR, "%s: %s", path,
		ret == -EBUSY ? "another khd uses this state directory" : strerror(-ret));
	khd_state_close(state);
	return NULL;
}

int khd_state_put(struct khd_state *state, const char *key, const void *blob, size_t len)
{
	if (!key_ok(key) || len > KHD_STATE_BLOB_MAX)
		return -EINVAL;
	if (blob)
		return replace(state, state->blobs, key, blob, len);
	if (unlinkat(state->blobs, key, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(state->blobs) < 0 ? -errno : 0;
}

int khd_state_note(struct khd_state *state, const char *name, const char *text)
{
	char line[256];
	int len = snprintf(line, sizeof(line), "%s\n", text);

	return len >= (int)sizeof(line) ? -EINVAL : replace(state, state->dir, name, line, len);
}

int khd_state_noted(struct khd_state *state, const char *name, char *text, size_t size)
{
	size_t len;
	char *buf;
	int ret = read_file(state->dir, name, &buf, &len);

	if (ret)
		return ret;
	if (!len || strcspn(buf, "\n") != len - 1 || len > size) {
		ret = -EINVAL;
	} else {
		memcpy(text, buf, len - 1);
		text[len - 1] = '\0';
	}
	free(buf);
	return ret;
}

int khd_state_forget(struct khd_state *state, const char *name)
{
	if (unlinkat(state->dir, name, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(state->dir) < 0 ? -errno : 0;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int khd_state_each(struct khd_state *state,
		   int (*fn)(void *arg, const char *key, const void *blob, size_t len), void *arg)
{
	struct dirent **names;
	int i, n, ret = 0;
	size_t len;
	char *buf;

	n = scandirat(state->blobs, ".", &names, visible, alphasort);
	if (n < 0)
		return -errno;
	for (i = 0; i < n; i++) {
		if (!ret && !key_ok(names[i]->d_name)) {
			unlinkat(state->blobs, names[i]->d_name, 0);
		} else if (!ret) {
			ret = read_file(state->blobs, names[i]->d_name, &buf, &len);
			if (!ret) {
				ret = fn(arg, names[i]->d_name, buf, len);
				free(buf);
			}
		}
		free(names[i]);
	}
	free(names);
	return ret;
}

void khd_state_close(struct khd_state *state)
{
	if (!state)
		return;
	if (state->spare >= 0)
		close(state->spare);
	if (state->lock >= 0)
		close(state->lock);
	if (state->blobs >= 0)
		close(state->blobs);
	if (state->dir >= 0)
		close(state->dir);
	free(state);
}
