// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One thing done to some pages of a region, by a process of its own.
 *
 *   page_op ADDR KEYFILE store FIRST COUNT VERSION      through a mapping
 *   page_op ADDR KEYFILE overwrite FIRST COUNT VERSION  by calls, under an OVERWRITE lock
 *   page_op ADDR KEYFILE check FIRST COUNT VERSION      every word, through a mapping; 0: zeros
 *   page_op ADDR KEYFILE read FIRST COUNT VERSION       the same by kh_read(), under a READ lock
 *   page_op ADDR KEYFILE pread FIRST COUNT VERSION      the same by pread()
 *   page_op ADDR KEYFILE flush|allocate|free FIRST COUNT
 *   page_op rot FILE PAGE VERSION                       flip a bit of each copy of it that a file
 * has
 *
 * Pages are of 4096 bytes, whatever the unit.  Prints one line: "ok", "wrong: ...", "SIGBUS", or
 * the name of an errno; of rot: where the copies are. Exit status: 0 ok; 1 any other line; 2 usage.
 */
#include "selftests/durable/stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <khazana.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROT_BYTE 1000 /* of a page */

struct page_op {
	struct kh_client *client;
	struct khazana_addr addr; /* of the first page */
	uint64_t offset; /* of it in the region */
	struct khazana_addr region;
	struct kh_key key;
	uint64_t first, length;
	uint32_t version;
};

static _Noreturn void usage(void)
{
	fputs("usage: page_op ADDR KEYFILE store|overwrite|check|read|pread FIRST COUNT VERSION\n"
	      "       page_op ADDR KEYFILE flush|allocate|free FIRST COUNT\n"
	      "       page_op rot FILE PAGE VERSION\n",
	      stderr);
	exit(2);
}

/* Of an access of the program's own, in which nothing is half done. */
static void on_bus_error(int sig)
{
	static const char line[] = "SIGBUS\n";

	_exit(write(STDOUT_FILENO, line, sizeof(line) - 1) < 0 ? 3 : 1);
}

static int map(const struct page_op *p, int prot, volatile uint64_t **words)
{
	void *mem;
	int err = kh_map(p->client, p->region, 0, prot, &p->key, &mem);

	if (!err)
		*words = (volatile uint64_t *)mem + p->offset / sizeof(uint64_t);
	return err;
}

static int store(const struct page_op *p)
{
	volatile uint64_t *words;
	int err = map(p, PROT_READ | PROT_WRITE, &words);

	for (uint64_t i = 0; !err && i < p->length / STAMP_PAGE; i++)
		stamp_write(words + i * STAMP_WORDS, p->first + i, p->version);
	return err;
}

static int overwrite(const struct page_op *p)
{
	uint64_t words[STAMP_WORDS];
	struct kh_lock *lock;
	int err, unlock_err;

	err = kh_lock(p->client, p->addr, p->length, KH_LOCK_OVERWRITE, 0, 0, &p->key, &lock);
	if (err)
		return err;
	for (uint64_t at = 0; !err && at < p->length; at += STAMP_PAGE) {
		stamp_write(words, p->first + at / STAMP_PAGE, p->version);
		err = kh_write(lock, kh_addr_add(p->addr, at), words, sizeof(words));
	}
	unlock_err = kh_unlock(lock);
	return err ? err : unlock_err;
}

/* Return: 0, or 1 after a line about the first page that is not of the version. */
static int judge(const struct page_op *p, const volatile uint64_t *words)
{
	uint32_t oldest, newest;

	for (uint64_t i = 0; i < p->length / STAMP_PAGE; i++) {
		enum stamp_verdict verdict =
			stamp_judge(words + i * STAMP_WORDS, p->first + i, 0, &oldest, &newest);

		if (verdict == STAMP_GOOD && oldest == p->version && newest == p->version)
			continue;
		printf("wrong: page %" PRIu64 ": versions %u to %u%s\n", p->first + i, oldest,
		       newest, verdict == STAMP_TORN ? ", torn" : "");
		return 1;
	}
	return 0;
}

static int check(const struct page_op *p)
{
	volatile uint64_t *words;
	int err = map(p, PROT_READ, &words);

	return err ? err : judge(p, words);
}

static int read_locked(const struct page_op *p, void *buf)
{
	struct kh_lock *lock;
	int err, unlock_err;

	err = kh_lock(p->client, p->addr, p->length, KH_LOCK_READ, 0, 0, &p->key, &lock);
	if (err)
		return err;
	err = kh_read(lock, p->addr, buf, p->length);
	unlock_err = kh_unlock(lock);
	return err ? err : unlock_err;
}

/* A file of its own: the library keeps its files to itself. */
static int read_attached(const struct page_op *p, void *buf)
{
	struct khazana_attach att = { .size = sizeof(att), .start = p->region };
	int fd = open("/dev/khazana", O_RDWR | O_CLOEXEC);
	ssize_t got;

	memcpy(att.key, p->key.bytes, sizeof(att.key));
	if (fd < 0 || ioctl(fd, KHAZANA_IOC_ATTACH, &att))
		return -errno;
	got = pread(fd, buf, p->length, (off_t)p->offset);
	if (got < 0)
		return -errno;
	return (uint64_t)got == p->length ? 0 : -ENODATA;
}

static int check_copy(const struct page_op *p, int (*copy)(const struct page_op *p, void *buf))
{
	void *buf = malloc(p->length);
	int err = buf ? copy(p, buf) : -ENOMEM;

	if (!err)
		err = judge(p, buf);
	free(buf);
	return err;
}

static int run(const struct page_op *p, const char *verb, bool versioned)
{
	if (versioned && !strcmp(verb, "store"))
		return store(p);
	if (versioned && !strcmp(verb, "overwrite"))
		return overwrite(p);
	if (versioned && !strcmp(verb, "check"))
		return check(p);
	if (versioned && !strcmp(verb, "read"))
		return check_copy(p, read_locked);
	if (versioned && !strcmp(verb, "pread"))
		return check_copy(p, read_attached);
	if (!versioned && !strcmp(verb, "flush"))
		return kh_flush(p->client, p->addr, p->length, &p->key);
	if (!versioned && !strcmp(verb, "allocate"))
		return kh_allocate(p->client, p->addr, p->length, &p->key);
	if (!versioned && !strcmp(verb, "free"))
		return kh_free(p->client, p->addr, p->length, &p->key);
	usage();
}

static int set_up(struct page_op *p, char **argv)
{
	struct kh_region_info info;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC), err;

	if (fd < 0 || read(fd, p->key.bytes, sizeof(p->key.bytes)) != sizeof(p->key.bytes))
		return fd < 0 ? -errno : -EINVAL;
	close(fd);
	if (kh_addr_parse(argv[0], &p->region))
		return -EINVAL;
	p->first = strtoull(argv[3], NULL, 0);
	p->offset = p->first * STAMP_PAGE;
	p->length = strtoull(argv[4], NULL, 0) * STAMP_PAGE;
	p->addr = kh_addr_add(p->region, p->offset);
	err = kh_client_open(NULL, NULL, &p->client);
	if (!err)
		err = kh_getattr(p->client, p->region, &info);
	if (!err && (p->offset > info.length || p->length > info.length - p->offset))
		err = -ERANGE;
	return err;
}

/* In a slot file, where units begin at whole sectors. */
static int rot(const char *path, uint64_t page, uint32_t version)
{
	uint64_t want[STAMP_WORDS];
	int fd = open(path, O_RDWR | O_CLOEXEC), found = 0;
	struct stat st;
	char *file;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		return -errno;
	stamp_write(want, page, version);
	for (off_t at = 0; at <= st.st_size - (off_t)sizeof(want); at += 512) {
		if (memcmp(file + at, want, sizeof(want)))
			continue;
		file[at + ROT_BYTE] ^= 1;
		printf("%lld\n", (long long)at);
		found++;
	}
	if (msync(file, (size_t)st.st_size, MS_SYNC))
		return -errno;
	return found ? 0 : -ENOENT;
}

int main(int argc, char **argv)
{
	struct page_op p = { 0 };
	int err;

	signal(SIGBUS, on_bus_error);
	if (argc == 5 && !strcmp(argv[1], "rot")) {
		err = rot(argv[2], strtoull(argv[3], NULL, 0), (uint32_t)strtoul(argv[4], NULL, 0));
		if (err)
			puts(strerrorname_np(-err));
		return err != 0;
	}
	if (argc != 6 && argc != 7)
		usage();
	if (argc == 7)
		p.version = (uint32_t)strtoul(argv[6], NULL, 0);
	err = set_up(&p, argv + 1);
	if (!err)
		err = run(&p, argv[3], argc == 7);
	if (err <= 0)
		puts(err ? strerrorname_np(-err) : "ok");
	return err != 0;
}
