// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * offline.c - a page store that no khd uses: verify it, or make its index anew
 *
 * khadm has the engine in itself, so that a store can be looked at on any machine, with the same
 * output and exit status as everything else here, and without a second way to start khd.  The
 * directory is locked while this goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "khadm/khadm.h"
#include "khd/log.h"
#include "khd/store/disk_dir.h"
#include "khd/store/store.h"

#define FOUND_MAX 10000 /* damages in a document; more are counted */

/* What the engine and its disk say here. */
void khd_log(enum khd_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "khadm: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
}

/* Open the store in args->dir; nothing is made there. Return: NULL after a report. */
static struct khd_disk *open_store(const struct khadm_args *args, int *code)
{
	int dir = open(args->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), err = 0;
	struct khd_disk *disk;

	if (dir < 0 || faccessat(dir, "slots", F_OK, 0))
		err = errno;
	if (dir >= 0)
		close(dir);
	if (err) {
		*code = khadm_fail(args, err, args->dir,
				   err == ENOENT ? "there is no store" : strerror(err));
		return NULL;
	}
	disk = khd_disk_dir_open(NULL, args->dir, &err);
	if (!disk)
		*code = khadm_fail(args, err, args->dir,
				   err == EBUSY ? "a khd or another khadm uses this store: stop it "
						  "first" :
						  strerror(err));
	return disk;
}

/* What a check finds: in a list for programs, or at once for people. */
struct check {
	const struct khadm_args *args;
	json_t *list;
	uint64_t count;
};

static void damage(void *arg, const char *file, uint64_t offset, const char *what)
{
	struct check *check = arg;

	check->count++;
	if (!check->args->json)
		printf("%s: offset %" PRIu64 ": %s\n", file, offset, what);
	else if (check->count <= FOUND_MAX)
		json_array_append_new(check->list,
				      json_pack("{s:s, s:I, s:s}", "file", file, "offset",
						(json_int_t)offset, "what", what));
}

static const char *text_of(int err)
{
	return err == -EPROTONOSUPPORT ? "the format is of another version; the khd that made the "
					 "store can read it" :
	       err == -EMEDIUMTYPE     ? "it was made for smaller sectors than this disk's: copy "
					 "the directory to a disk with smaller ones" :
	       err == -EBADMSG	       ? "damaged beyond what this can mend" :
					 strerror(-err);
}

int khadm_store_check(const struct khadm_args *args)
{
	struct check check = { .args = args };
	struct khd_disk *disk;
	int code = KHADM_OK;
	int64_t ret;

	disk = open_store(args, &code);
	if (!disk)
		return code;
	check.list = json_array();
	ret = khd_store_check(disk, damage, &check);
	if (!ret)
		ret = khd_store_vouch(disk);
	khd_disk_dir_close(disk);
	if (ret < 0) {
		code = khadm_fail(args, ret, args->dir, text_of(ret));
	} else {
		if (args->json)
			khadm_print_json(json_pack("{s:s, s:I, s:O}", "dir", args->dir, "damaged",
						   (json_int_t)ret, "damages", check.list),
					 "khazana.store-check/1");
		else
			printf("%s: %" PRId64 " damaged\n", args->dir, ret);
		if (ret)
			fprintf(stderr,
				"khadm: what is named answers EIO; if khd does not serve the store "
				"since its disk failed, khadm store rebuild %s makes it serve the "
				"rest\n",
				args->dir);
		code = ret ? KHADM_UNWELL : KHADM_OK;
	}
	json_decref(check.list);
	return code;
}

static void event(void *arg, const char *name, const char *text)
{
	fprintf(stderr, "khadm: %s: %s\n", name, text);
}

int khadm_store_rebuild(const struct khadm_args *args)
{
	struct khd_disk *disk;
	int code = KHADM_OK, ret;

	disk = open_store(args, &code);
	if (!disk)
		return code;
	ret = khd_store_rebuild(disk, event, NULL);
	khd_disk_dir_close(disk);
	if (ret)
		return khadm_fail(args, ret, args->dir, text_of(ret));
	if (args->json)
		khadm_print_json(json_pack("{s:s}", "dir", args->dir), "khazana.store-rebuilt/1");
	return KHADM_OK;
}
