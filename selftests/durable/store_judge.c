// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store_judge DIR ADDR JOURNAL... [--crashes N] [--seed S]: is all that was acknowledged in the
 * store whose files a power cut left in DIR? They are read into a simulated disk, recovered there
 * by the real code, and every page is read and compared. Then, N times, the power fails again in
 * the midst of that recovery, at a seeded moment, and what that leaves is recovered and compared
 * too: with the journal, and no page may be older than the first recovery had it. DIR is not
 * changed.
 *
 * ADDR is that of page 0 of the journal. Exit status: 0; 1 something is lost, torn or refused; 2
 * usage.
 */
#include "khd/store/store.h"
#include "selftests/durable/stamp.h"
#include "selftests/store/disk_sim.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <khazana.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEPS_MAX 10000000u
#define SHOWN 5

static const char *const files[KHD_FILES] = {
	[KHD_FILE_SLOTS] = "slots",
	[KHD_FILE_INDEX] = "index",
	[KHD_FILE_WAL] = "index-wal",
};

/**
 * struct recovery - one recovery and what it found
 * @what: which, for messages
 * @must: version of each page that must be there, or a later one
 * @found: out, or NULL: the version of each page
 * @acked: pages of which a version must be there
 * @event: the last of the store
 */
struct recovery {
	struct disk_sim *sim;
	struct khd_store *store;
	const struct journal *journal;
	const uint32_t *must;
	uint32_t *found;
	struct khazana_addr addr;
	const char *what;
	uint64_t acked, lost, torn;
	unsigned int shown;
	char event[200];
};

/**
 * struct moment - when the power fails during a recovery
 * @sim: of the recovery
 * @passed: moments so far
 * @at: the one that counts
 * @seed: of what is left then
 * @left: out
 */
struct moment {
	struct disk_sim *sim;
	uint64_t passed, at, seed;
	struct disk_sim *left;
};

/* An operation that is waited for. */
struct query {
	struct khd_store_op op; /* first */
	bool done;
	int error;
};

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "store_judge: %s: %s\n", what, why);
	exit(2);
}

static void complain(struct recovery *r, uint64_t page, const char *what)
{
	if (r->shown++ < SHOWN)
		printf("# %s: page %" PRIu64 ": %s%s%s\n", r->what, page, what,
		       r->event[0] ? "; last event " : "", r->event);
}

static void on_event(void *arg, const char *name, const char *text)
{
	struct recovery *r = arg;

	snprintf(r->event, sizeof(r->event), "%s: %s", name, text);
}

static void query_done(struct khd_store_op *op, int error)
{
	struct query *query = (struct query *)op;

	query->done = true;
	query->error = error;
}

static int finish(struct recovery *r, struct query *query)
{
	for (unsigned int i = 0; !query->done && i < STEPS_MAX; i++)
		if (!disk_sim_step(r->sim))
			break;
	return query->done ? query->error : ETIMEDOUT;
}

static void lose(struct recovery *r, uint64_t page, const char *why)
{
	if (!r->must[page])
		return;
	r->lost++;
	complain(r, page, why);
}

/* The pages of one stored unit. */
static void judge_unit(struct recovery *r, const uint8_t *data, uint64_t page, uint64_t pages)
{
	char text[80];

	for (uint64_t i = 0; i < pages; i++, page++) {
		uint32_t must = r->must[page], oldest, newest;
		enum stamp_verdict verdict = stamp_judge((const uint64_t *)(data + i * STAMP_PAGE),
							 page, must, &oldest, &newest);

		r->acked += !!must;
		if (r->found)
			r->found[page] = oldest;
		if (verdict == STAMP_GOOD)
			continue;
		r->lost += verdict == STAMP_LOST;
		r->torn += verdict == STAMP_TORN;
		snprintf(text, sizeof(text),
			 "%s: must be %" PRIu32 ", there %" PRIu32 " to %" PRIu32,
			 verdict == STAMP_LOST ? "lost" : "torn", must, oldest, newest);
		complain(r, page, text);
	}
}

/* All units of one reserved range. */
static void judge_range(struct recovery *r, const struct khd_range *range, uint8_t *seen)
{
	uint64_t size = 1ull << range->shift, pages = size / STAMP_PAGE;
	uint64_t first = (range->start.lo - r->addr.lo) / STAMP_PAGE;
	void *data = aligned_alloc(KHD_DISK_ALIGN, size);

	if (!data)
		die("memory", strerror(ENOMEM));
	if (range->start.hi != r->addr.hi || !pages ||
	    first + range->units * pages > STAMP_PAGES_MAX)
		die("a range", "is not one of the journal's pages");
	for (uint64_t i = 0; i < range->units; i++) {
		struct query query = {
			.op = { .done = query_done,
				.key = { .addr = kh_addr_add(range->start, i * size),
					 .generation = range->generation,
					 .shift = range->shift },
				.iov = { data, size } },
		};
		uint64_t page = first + i * pages;
		int error;

		khd_store_get(r->store, &query.op);
		error = finish(r, &query);
		memset(seen + page, 1, pages);
		if (!error) {
			judge_unit(r, data, page, pages);
			continue;
		}
		r->torn++;
		complain(r, page, strerror(error));
	}
	free(data);
}

static void judge_ranges(struct recovery *r)
{
	uint8_t *seen = calloc(STAMP_PAGES_MAX, 1);
	struct khazana_addr addr = { 0 };

	if (!seen)
		die("memory", strerror(ENOMEM));
	for (;;) {
		struct query query = { .op.done = query_done };
		struct khd_range range;
		int error;

		khd_store_ranges(r->store, &query.op, addr, &range);
		error = finish(r, &query);
		if (error && error != ENOENT) {
			r->torn++;
			complain(r, 0, "the list of ranges is damaged");
		}
		if (error)
			break;
		judge_range(r, &range, seen);
		addr = kh_addr_add(range.start, range.units << range.shift);
	}
	for (uint64_t page = 0; page < STAMP_PAGES_MAX; page++)
		if (!seen[page])
			lose(r, page, "lost: no space is reserved for it");
	free(seen);
}

static void power_fails(void *arg)
{
	struct moment *moment = arg;

	if (moment->passed++ == moment->at)
		moment->left = disk_sim_crash(moment->sim, DISK_DRAWN, moment->seed);
}

/* Recover and judge; @moment, if there is one, gets what a power cut on the way leaves.  Did all go
 * well? */
static bool recover(struct recovery *r, struct moment *moment)
{
	struct khd_store_config config = { 0 };
	int error = 0;

	if (moment) {
		moment->sim = r->sim;
		r->sim->point = power_fails;
		r->sim->point_arg = moment;
	}
	r->store = khd_store_open(&r->sim->base, &config, on_event, r, &error, NULL);
	r->sim->point = NULL;
	if (r->store) {
		judge_ranges(r);
	} else if (error != ENOENT || r->journal->lines) {
		/* Without an acknowledgement a power cut may also have left no store at all. */
		r->lost += r->journal->pages;
		complain(r, 0, strerror(error));
		r->torn++;
	}
	if (r->sim->broken)
		die("the disk was used wrongly", r->sim->broken);
	r->sim->dead = true;
	while (disk_sim_step(r->sim))
		;
	if (r->store)
		khd_store_close(r->store);
	return !r->lost && !r->torn;
}

static struct disk_sim *read_files(const char *directory, uint64_t seed)
{
	struct disk_sim *sim = disk_sim_new(seed);
	static uint8_t buffer[1 << 16];
	char path[4096];

	for (unsigned int i = 0; i < KHD_FILES; i++) {
		uint64_t at = 0;
		ssize_t n = 0;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) > 0) {
			image_write(&sim->durable[i], at, buffer, n);
			at += n;
		}
		if (fd < 0 || n < 0)
			die(path, strerror(errno));
		close(fd);
		sim->durable[i].size = at;
		image_copy(&sim->now[i], &sim->durable[i]);
	}
	return sim;
}

/* Recoveries of the same files, each cut short at another moment; @moments: of one that is not.
 * What they lose is added to the first one's. */
static bool crash_again(struct recovery *first, const char *directory, uint64_t moments,
			unsigned int crashes, uint64_t seed)
{
	bool good = true;

	for (unsigned int i = 0; moments && i < crashes; i++) {
		uint64_t salt = seed * 1000003 + i * 7919;
		struct moment moment = { .at = salt % moments, .seed = salt };
		struct recovery cut = { .sim = read_files(directory, seed),
					.journal = first->journal,
					.must = first->found,
					.addr = first->addr,
					.what = "a recovery that is cut short" };
		struct recovery again = cut;

		good &= recover(&cut, &moment);
		disk_sim_free(cut.sim);
		again.what = "after a power cut in the midst of recovery";
		again.sim = moment.left;
		if (!again.sim)
			die("recovery", "is not the same twice");
		good &= recover(&again, NULL);
		disk_sim_free(again.sim);
		first->lost += cut.lost + again.lost;
		first->torn += cut.torn + again.torn;
	}
	return good;
}

static _Noreturn void usage(void)
{
	fputs("usage: store_judge DIR ADDR JOURNAL... [--crashes N] [--seed S]\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "crashes", required_argument, NULL, 'c' },
						 { "seed", required_argument, NULL, 's' },
						 { 0 } };
	struct recovery r = { .what = "recovery" };
	struct moment never = { .at = UINT64_MAX };
	unsigned int crashes = 0;
	struct journal journal;
	uint64_t seed = 1;
	int option;
	bool good;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			crashes = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		default:
			usage();
		}
	}
	if (argc - optind < 3 || kh_addr_parse(argv[optind + 1], &r.addr))
		usage();
	if (journal_open(&journal))
		die("memory", strerror(ENOMEM));
	for (int i = optind + 2; i < argc; i++) {
		int err = journal_read(&journal, argv[i]);

		if (err)
			die(argv[i], strerror(-err));
	}
	r.journal = &journal;
	r.must = journal.acked;
	r.found = calloc(STAMP_PAGES_MAX, sizeof(*r.found));
	if (!r.found)
		die("memory", strerror(ENOMEM));
	r.sim = read_files(argv[optind], seed);
	good = recover(&r, &never);
	if (good)
		good = crash_again(&r, argv[optind], never.passed, crashes, seed);
	printf("%" PRIu64 " acknowledgements of %" PRIu64 " pages, %" PRIu64 " lost, %" PRIu64
	       " torn, %" PRIu64 " moments of recovery\n",
	       journal.lines, r.acked, r.lost, r.torn, never.passed);
	disk_sim_free(r.sim);
	journal_close(&journal);
	free(r.found);
	return !good;
}
