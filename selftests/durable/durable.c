// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stores pages, makes them durable and says so; or looks whether what was said is true.
 *
 *   durable write ADDR KEYFILE [OPTIONS]     new versions of random pages, until the time is over
 *   durable witness ADDR KEYFILE [OPTIONS]   makes durable what it can see, and says which versions
 * that was durable verify ADDR KEYFILE JOURNAL...   every acknowledged version, or a later one, is
 * in the region
 *
 *   --pages F:N    pages F to F+N-1 of the region (all); a writer has its pages to itself
 *   --batch B      up to B neighbouring pages at a time (8)
 *   --how WAY      msync: of a mapping; unlock: kh_unlock() of a region with synchronous
 * durability; fsync: of an attached file; flush: kh_flush(); none: stores only, nothing is
 * acknowledged
 *   --retry S      a call that fails is made again for so long, with the same version (0)
 *   --seconds S    for so long (10)
 *   --count N      so many times at most
 *   --seed S       of what is chosen (1)
 *   --mark DEVICE  acknowledgements go into the record of this log-writes device, too
 *
 * An acknowledgement is one line, written after the call returned. SIGTERM ends a writer after
 * the acknowledgement that it is at. Exit status: 0; 1 something failed or was lost; 2 usage.
 */
#include "selftests/durable/mark.h"
#include "selftests/durable/stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <khazana.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LOSSES_SHOWN 10

enum way {
	WAY_MSYNC,
	WAY_UNLOCK,
	WAY_FSYNC,
	WAY_FLUSH,
	WAY_NONE,
	WAYS
};

struct durable {
	struct kh_client *client;
	struct khazana_addr addr;
	struct kh_key key;
	struct kh_region_info info;
	volatile uint64_t *words; /* the mapping */
	int file; /* attached to the region */
	uint64_t first, pages;
	uint64_t batch;
	enum way way;
	double seconds, retry;
	uint64_t retried;
	uint64_t count;
	uint64_t random;
	struct mark mark;
};

static _Noreturn void die(const char *what, int err)
{
	fprintf(stderr, "durable: %s: %s\n", what, kh_strerror(err));
	exit(1);
}

static double now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static volatile uint64_t *page_words(const struct durable *d, uint64_t page)
{
	return d->words + page * STAMP_WORDS;
}

static void acknowledge(const struct durable *d, uint64_t first, uint64_t count, uint32_t version)
{
	int err = mark_acknowledged(&d->mark, first, count, version);

	if (err)
		die("an acknowledgement", err);
}

/* Some pages of those that this process may choose from. */
static uint64_t choose_pages(struct durable *d, uint64_t *first)
{
	uint64_t count = 1 + stamp_random(&d->random) % d->batch;

	if (count > d->pages)
		count = d->pages;
	*first = d->first + stamp_random(&d->random) % (d->pages - count + 1);
	return count;
}

/* Pages of the mapping, as what they hold now; a file is the whole region. */
static int make_durable(const struct durable *d, uint64_t first, uint64_t count)
{
	void *start = (void *)(uintptr_t)page_words(d, first);

	if (d->way == WAY_FSYNC)
		return fsync(d->file) ? -errno : 0;
	if (d->way == WAY_FLUSH)
		return kh_flush(d->client, kh_addr_add(d->info.start, first * STAMP_PAGE),
				count * STAMP_PAGE, &d->key);
	return msync(start, count * STAMP_PAGE, MS_SYNC) ? -errno : 0;
}

/* The same by calls: what is written under the lock is safe when it is unlocked. */
static int store_under_lock(const struct durable *d, uint64_t first, uint64_t count,
			    uint32_t version)
{
	struct khazana_addr addr = kh_addr_add(d->info.start, first * STAMP_PAGE);
	uint64_t words[STAMP_WORDS];
	struct kh_lock *lock;
	int err, unlock_err;

	err = kh_lock(d->client, addr, count * STAMP_PAGE, KH_LOCK_WRITE, 0, 0, &d->key, &lock);
	if (err)
		return err;
	for (uint64_t i = 0; !err && i < count; i++) {
		stamp_write(words, first + i, version);
		err = kh_write(lock, kh_addr_add(addr, i * STAMP_PAGE), words, sizeof(words));
	}
	unlock_err = kh_unlock(lock);
	return err ? err : unlock_err;
}

/* Its own pages' highest version, so that a writer that begins again goes on. */
static uint32_t highest_version(const struct durable *d)
{
	uint32_t oldest, newest, highest = 0;

	for (uint64_t page = d->first; page < d->first + d->pages; page++) {
		if (stamp_judge(page_words(d, page), page, 0, &oldest, &newest) == STAMP_TORN)
			die("a page holds what nobody wrote", -EBADMSG);
		if (newest > highest)
			highest = newest;
	}
	return highest;
}

/* A new version of some pages, and make it durable. */
static int store_pages(const struct durable *d, uint64_t first, uint64_t count, uint32_t version)
{
	if (d->way == WAY_UNLOCK)
		return store_under_lock(d, first, count, version);
	for (uint64_t i = 0; i < count; i++)
		stamp_write(page_words(d, first + i), first + i, version);
	return d->way == WAY_NONE ? 0 : make_durable(d, first, count);
}

/* ESTALE is an answer: what was stored is not part of the region any more. */
static int store_patiently(struct durable *d, uint64_t first, uint64_t count, uint32_t version)
{
	double end = now_seconds() + d->retry;
	int err;

	for (;;) {
		err = store_pages(d, first, count, version);
		if (!err || err == -ESTALE || now_seconds() >= end)
			return err;
		d->retried++;
		usleep(50000);
	}
}

/* Not between an acknowledgement's line and its mark: one without the other is a loss. */
static void hold_termination(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static bool termination_asked(void)
{
	sigset_t set;

	return !sigpending(&set) && sigismember(&set, SIGTERM) == 1;
}

static int run_write(struct durable *d)
{
	uint32_t version = highest_version(d);
	double end = now_seconds() + d->seconds;

	hold_termination();
	for (uint64_t n = 0; n < d->count && now_seconds() < end && !termination_asked(); n++) {
		uint64_t first, count = choose_pages(d, &first);
		int err;

		version++;
		err = store_patiently(d, first, count, version);
		if (err)
			die("a write was not acknowledged", err);
		if (d->way != WAY_NONE)
			acknowledge(d, first, count, version);
	}
	fprintf(stderr, "durable: version %" PRIu32 ", %" PRIu64 " calls made again\n", version,
		d->retried);
	return 0;
}

/* Somebody else writes; what is seen here before the call must be safe after it. */
static int run_witness(struct durable *d)
{
	uint32_t *seen = calloc(d->batch, sizeof(*seen)), newest;
	double end = now_seconds() + d->seconds;

	if (!seen)
		die("memory", -ENOMEM);
	for (uint64_t n = 0; n < d->count && now_seconds() < end; n++) {
		uint64_t first, count = choose_pages(d, &first);
		int err;

		for (uint64_t i = 0; i < count; i++)
			if (stamp_judge(page_words(d, first + i), first + i, 0, &seen[i],
					&newest) == STAMP_TORN)
				die("a page holds what nobody wrote", -EBADMSG);
		err = make_durable(d, first, count);
		if (err)
			die("fsync", err);
		for (uint64_t i = 0; i < count; i++)
			if (seen[i])
				acknowledge(d, first + i, 1, seen[i]);
	}
	free(seen);
	return 0;
}

static int run_verify(struct durable *d, char **journals, int count)
{
	uint64_t acked = 0, lost = 0, torn = 0, later = 0;
	struct journal journal;

	if (journal_open(&journal))
		die("memory", -ENOMEM);
	for (int i = 0; i < count; i++) {
		int err = journal_read(&journal, journals[i]);

		if (err)
			die(journals[i], err);
	}
	if (journal.pages * STAMP_PAGE > d->info.length)
		die("the journal is of another region", -ERANGE);
	for (uint64_t page = 0; page < d->info.length / STAMP_PAGE; page++) {
		uint32_t oldest, newest, must = journal.acked[page];
		enum stamp_verdict verdict =
			stamp_judge(page_words(d, page), page, must, &oldest, &newest);

		acked += !!must;
		later += verdict == STAMP_GOOD && newest > must;
		lost += verdict == STAMP_LOST;
		torn += verdict == STAMP_TORN;
		if (verdict != STAMP_GOOD && lost + torn <= LOSSES_SHOWN)
			printf("# page %" PRIu64 ": %s, acknowledged %" PRIu32 ", there %" PRIu32
			       " to %" PRIu32 "\n",
			       page, verdict == STAMP_LOST ? "lost" : "torn", must, oldest, newest);
	}
	printf("%" PRIu64 " acknowledgements of %" PRIu64 " pages, %" PRIu64
	       " pages newer, %" PRIu64 " lost, %" PRIu64 " torn\n",
	       journal.lines, acked, later, lost, torn);
	journal_close(&journal);
	return lost || torn || !acked;
}

/* A file of its own: the library keeps its files to itself. */
static int attach(const struct durable *d)
{
	struct khazana_attach att = { .size = sizeof(att), .start = d->info.start };
	int fd = open("/dev/khazana", O_RDWR | O_CLOEXEC);

	memcpy(att.key, d->key.bytes, sizeof(att.key));
	if (fd < 0 || ioctl(fd, KHAZANA_IOC_ATTACH, &att))
		die("/dev/khazana", -errno);
	return fd;
}

static void set_up(struct durable *d, const char *addr, const char *keyfile, bool write)
{
	void *mem;
	int fd = open(keyfile, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0 || read(fd, d->key.bytes, sizeof(d->key.bytes)) != sizeof(d->key.bytes))
		die(keyfile, fd < 0 ? -errno : -EINVAL);
	close(fd);
	if (kh_addr_parse(addr, &d->addr))
		die(addr, -EINVAL);
	err = kh_client_open(NULL, NULL, &d->client);
	if (err)
		die("khd", err);
	err = kh_getattr(d->client, d->addr, &d->info);
	if (!err)
		err = kh_map(d->client, d->info.start, 0,
			     write ? PROT_READ | PROT_WRITE : PROT_READ, &d->key, &mem);
	if (err)
		die(addr, err);
	d->words = mem;
	d->file = d->way == WAY_FSYNC ? attach(d) : -1;
	if (!d->pages)
		d->pages = d->info.length / STAMP_PAGE - d->first;
	if ((d->first + d->pages) * STAMP_PAGE > d->info.length)
		die("--pages", -ERANGE);
	err = mark_open(&d->mark);
	if (err)
		die("/dev/mapper/control", err);
}

static _Noreturn void usage(void)
{
	fputs("usage: durable write|witness ADDR KEYFILE [--pages F:N] [--batch B]\n"
	      "               [--how msync|unlock|fsync|flush|none] [--retry S] [--seconds S] "
	      "[--count N] "
	      "[--seed S] [--mark "
	      "DEVICE]\n"
	      "       durable verify ADDR KEYFILE JOURNAL...\n",
	      stderr);
	exit(2);
}

static void parse_options(struct durable *d, int argc, char **argv)
{
	static const struct option options[] = {
		{ "pages", required_argument, NULL, 'p' },
		{ "batch", required_argument, NULL, 'b' },
		{ "how", required_argument, NULL, 'h' },
		{ "retry", required_argument, NULL, 'R' },
		{ "seconds", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 'r' },
		{ "mark", required_argument, NULL, 'm' },
		{ 0 },
	};
	static const char *const ways[] = { "msync", "unlock", "fsync", "flush", "none" };
	int option;
	unsigned int i;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			if (sscanf(optarg, "%" SCNu64 ":%" SCNu64, &d->first, &d->pages) != 2)
				usage();
			break;
		case 'b':
			d->batch = strtoull(optarg, NULL, 0);
			break;
		case 's':
			d->seconds = strtod(optarg, NULL);
			break;
		case 'R':
			d->retry = strtod(optarg, NULL);
			break;
		case 'n':
			d->count = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			d->random = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			d->mark.device = optarg;
			break;
		case 'h':
			for (i = 0; i < WAYS && strcmp(optarg, ways[i]); i++)
				;
			if (i == WAYS)
				usage();
			d->way = i;
			break;
		default:
			usage();
		}
	}
	if (!d->batch || d->batch > STAMP_PAGES_MAX)
		usage();
}

int main(int argc, char **argv)
{
	struct durable d = { .batch = 8, .seconds = 10, .count = UINT64_MAX, .random = 1 };

	parse_options(&d, argc, argv);
	argc -= optind;
	argv += optind;
	if (argc == 3 && !strcmp(argv[0], "write")) {
		set_up(&d, argv[1], argv[2], true);
		return run_write(&d);
	}
	if (argc == 3 && !strcmp(argv[0], "witness") && d.way != WAY_UNLOCK && d.way != WAY_NONE) {
		set_up(&d, argv[1], argv[2], false);
		return run_witness(&d);
	}
	if (argc > 3 && !strcmp(argv[0], "verify")) {
		set_up(&d, argv[1], argv[2], false);
		return run_verify(&d, argv + 3, argc - 3);
	}
	usage();
}
