// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * claim.c - whose a page store is, and whether its disk failed
 *
 *   STATE/store   "new ID" before a store is made, "has ID" when it is made and may be served
 *   DIR/owner     "ID"
 *   STATE/store-failed  "N REASON" when its disk failed; it had been found whole N times, or "-"
 *   STATE/store-checks  "N": it had been found whole N times when it was opened last
 *
 * With "new" nothing was ever served from DIR: what a crash left there is made anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "khd/claim.h"
#include "khd/log.h"

#define NOTE "store"
#define FAILED "store-failed"
#define CHECKS "store-checks"
#define ID_LEN 32
#define WORD_LEN 4 /* "new ", "has " */

/* The state's word, and the id behind it. Return: 0, -ENOENT, -EINVAL or an errno. */
static int note_read(struct khd_state *state, bool *has, char id[ID_LEN + 1])
{
	char line[WORD_LEN + ID_LEN + 1];
	int ret = khd_state_noted(state, NOTE, line, sizeof(line));

	if (ret)
		return ret;
	*has = !strncmp(line, "has ", WORD_LEN);
	if (strlen(line) != WORD_LEN + ID_LEN || (!*has && strncmp(line, "new ", WORD_LEN)))
		return -EINVAL;
	memcpy(id, line + WORD_LEN, ID_LEN + 1);
	return strspn(id, "0123456789abcdef") == ID_LEN ? 0 : -EINVAL;
}

static int note_write(struct khd_state *state, const char *word, const char *id)
{
	char line[WORD_LEN + ID_LEN + 1];

	snprintf(line, sizeof(line), "%s%s", word, id);
	return khd_state_note(state, NOTE, line);
}

/* Return: 0, -ENOENT, -EINVAL or an errno. */
static int owner_read(const char *dir, char id[ID_LEN + 1])
{
	int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd, ret = 0;
	char line[ID_LEN + 2];
	ssize_t n;

	if (at < 0)
		return -errno;
	fd = openat(at, "owner", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		ret = -errno;
	close(at);
	if (fd < 0)
		return ret;
	n = read(fd, line, sizeof(line));
	if (n < 0)
		ret = -errno;
	close(fd);
	if (ret)
		return ret;
	if (!n)
		return -ENOENT; /* cut off while it was written */
	if (n != ID_LEN + 1 || line[ID_LEN] != '\n')
		return -EINVAL;
	memcpy(id, line, ID_LEN);
	id[ID_LEN] = '\0';
	return 0;
}

/* Nothing is served before the state's "has", so this need not be atomic; it must be durable. */
static int owner_write(const char *dir, const char *id)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, ret = 0;

	if (at < 0)
		return -errno;
	fd = openat(at, "owner", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || dprintf(fd, "%s\n", id) != ID_LEN + 1 || fsync(fd) < 0 || fsync(at) < 0)
		ret = errno ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
	close(at);
	return ret;
}

static int begin_new(struct khd_state *state)
{
	uint64_t random[2];
	char id[ID_LEN + 1];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	snprintf(id, sizeof(id), "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
	return note_write(state, "new ", id);
}

enum khd_claim khd_claim_look(struct khd_state *state, const char *dir, bool there)
{
	char ours[ID_LEN + 1], id[ID_LEN + 1];
	bool has;
	int ret = note_read(state, &has, ours);

	if (ret == -ENOENT && there) {
		khd_log(KHD_ERR,
			"%s: the store there is of another state directory; give it back "
			"its own, or name an empty directory",
			dir);
		return KHD_CLAIM_REFUSED;
	}
	if (ret == -ENOENT)
		ret = begin_new(state);
	else if (!ret && has)
		goto check;
	if (!ret && there) {
		/* what is half made has no owner yet, or this one */
		ret = owner_read(dir, id);
		if (ret != -ENOENT && (ret || strcmp(id, ours))) {
			khd_log(KHD_ERR,
				"%s: the store there is of another state directory; give it back "
				"its own, or name an empty directory",
				dir);
			return KHD_CLAIM_REFUSED;
		}
		ret = 0;
	}
	if (!ret)
		return KHD_CLAIM_NEW;
	khd_log(KHD_ERR,
		"what the state directory knows of the store cannot be read or written: %s",
		strerror(-ret));
	return KHD_CLAIM_REFUSED;
check:
	ret = owner_read(dir, id);
	if (!ret && !strcmp(id, ours))
		return KHD_CLAIM_OURS;
	khd_log(KHD_ERR, "%s: this node's store is not there (%s); is its file system mounted?",
		dir,
		!ret	       ? "it is another node's" :
		ret == -ENOENT ? "no store is" :
				 strerror(-ret));
	return KHD_CLAIM_REFUSED;
}

bool khd_claim_made(struct khd_state *state, const char *dir)
{
	char id[ID_LEN + 1];
	bool has;
	int ret = note_read(state, &has, id);

	if (!ret)
		ret = owner_write(dir, id);
	if (!ret)
		ret = note_write(state, "has ", id);
	if (ret)
		khd_log(KHD_ERR, "%s: cannot note whose the store is: %s", dir, strerror(-ret));
	return !ret;
}

bool khd_claim_exists(struct khd_state *state)
{
	char id[ID_LEN + 1];
	bool has;

	return !note_read(state, &has, id) && has;
}

/* The number that a line begins with; UINT64_MAX: none. */
static uint64_t number_of(const char *line)
{
	unsigned long long n;

	errno = 0;
	n = line[0] < '0' || line[0] > '9' ? ULLONG_MAX : strtoull(line, NULL, 10);
	return errno || n == ULLONG_MAX ? UINT64_MAX : n;
}

/* How often the store had been found whole when it was opened last; UINT64_MAX: not known. */
static uint64_t opened_with(struct khd_state *state)
{
	char line[32];

	return khd_state_noted(state, CHECKS, line, sizeof(line)) ? UINT64_MAX : number_of(line);
}

bool khd_claim_opened(struct khd_state *state, uint64_t checks)
{
	char line[32];
	int ret;

	if (opened_with(state) == checks)
		return true;
	snprintf(line, sizeof(line), "%" PRIu64, checks);
	ret = khd_state_note(state, CHECKS, line);
	if (ret)
		khd_log(KHD_ERR, "cannot note how often the store was found whole: %s",
			strerror(-ret));
	return !ret;
}

bool khd_claim_failed(struct khd_state *state, uint64_t checks, int error)
{
	char line[96], times[24] = "-";
	int ret;

	if (checks == UINT64_MAX) { /* nothing was written since it was known */
		uint64_t asked = khd_claim_checks(state);

		checks = asked == UINT64_MAX ? asked : asked ? asked - 1 : opened_with(state);
	}
	if (checks != UINT64_MAX)
		snprintf(times, sizeof(times), "%" PRIu64, checks);
	snprintf(line, sizeof(line), "%s %s", times, strerror(error));
	ret = khd_state_note(state, FAILED, line);
	if (ret)
		khd_log(KHD_ERR,
			"cannot note that the store's disk failed: %s; verify the store before "
			"khd is started again",
			strerror(-ret));
	return !ret;
}

void khd_claim_mended(struct khd_state *state)
{
	int ret = khd_state_forget(state, FAILED);

	if (ret)
		khd_log(KHD_WARN, "cannot forget that the store's disk failed: %s", strerror(-ret));
}

uint64_t khd_claim_checks(struct khd_state *state)
{
	uint64_t checks;
	char line[128];
	int ret = khd_state_noted(state, FAILED, line, sizeof(line));

	if (ret == -ENOENT)
		return 0;
	checks = ret ? UINT64_MAX : number_of(line);
	if (checks == UINT64_MAX) /* whoever wrote it knew no more than when it was opened last */
		checks = opened_with(state);
	return checks == UINT64_MAX ? UINT64_MAX : checks + 1;
}
