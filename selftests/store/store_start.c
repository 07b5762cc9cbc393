// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store_start.c - how long a start takes, and how much RAM a page, against how much is stored
 *
 *	store_start DIR GIB...	DIR on the disk to measure; each size is filled with units of 4 KiB
 *
 * From opening the directory to the contents of one unit, after an orderly end, median of ROUNDS
 * starts, the sizes in turn; one JSON line a size, with its ratio to the first one.
 *
 * Another line says what the engine holds in RAM when all pages were written and are in the index,
 * by its own figures and without SQLite; that for a page on the disk; and what a page takes that
 * RAM knows (its version and place; the contents are not the engine's), by the heap, before and
 * after KNOWN pages were looked up.
 */
#include <errno.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "khd/store/disk_dir.h"
#include "khd/store/store.h"

#define PAGE 4096u
#define DEPTH 512u /* puts under way */
#define MERGE 16u /* units that are one write */
#define ROUNDS 15u
#define SIZES_MAX 8u
#define UNITS_PER_GIB (1ull << 18)
#define KNOWN 8192u
#define CHECKPOINT_NS 31000000000ull /* in which a change comes into the index */
#define SLACK (512ull << 20)

struct start {
	const char *dir;
	struct khd_loop *loop;
	struct khd_disk *disk;
	struct khd_store *store;
	uint8_t *buf;
};

struct size {
	unsigned long gib;
	char dir[400];
	uint64_t memory; /* of the engine, with all of it stored */
	uint64_t opened[ROUNDS], first[ROUNDS];
};

struct call {
	struct khd_store_op op;
	bool done;
	int error;
};

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "store_start: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void on_event(void *arg, const char *name, const char *text)
{
	fprintf(stderr, "event %s: %s\n", name, text);
}

static void on_done(struct khd_store_op *op, int error)
{
	struct call *call = (struct call *)op;

	call->done = true;
	call->error = error;
}

static void wait_for(struct start *s, struct call *call, const char *what)
{
	int ret = 0;

	while (!call->done && !ret)
		ret = khd_loop_wait(s->loop, 10000000000ull);
	if (ret || call->error)
		die(what, ret ? -ret : call->error);
}

static void open_store(struct start *s, uint64_t make)
{
	struct khd_store_config config = { .capacity = make };
	int error;

	s->disk = khd_disk_dir_open(s->loop, s->dir, &error);
	if (!s->disk)
		die(s->dir, error);
	error = make ? -khd_store_format(s->disk, &config) : 0;
	if (error)
		die("format", error);
	config.capacity = 0;
	s->store = khd_store_open(s->disk, &config, on_event, NULL, &error, NULL);
	if (!s->store)
		die("open", error);
}

static void close_store(struct start *s)
{
	struct call call = { .op.done = on_done };

	khd_store_stop(s->store, &call.op);
	wait_for(s, &call, "stop");
	khd_store_close(s->store);
}

static struct call call_of(struct start *s, uint64_t unit)
{
	return (struct call){ .op = { .done = on_done,
				      .key = { .addr = { .hi = 1, .lo = unit * PAGE },
					       .generation = 1,
					       .shift = 12 },
				      .meta = { 2, 1 },
				      .iov = { s->buf, PAGE },
				      .flags = (unit + 1) % MERGE ? KHD_STORE_MORE : 0 } };
}

static void fill(struct start *s, uint64_t units)
{
	static struct call calls[DEPTH];
	struct khd_range range = {
		.start = { .hi = 1 }, .units = units, .shift = 12, .generation = 1
	};
	struct call call = { .op.done = on_done }, flush = { .op.done = on_done };
	uint64_t end = now() + 5000000000ull, i;

	khd_store_reserve(s->store, &call.op, &range);
	wait_for(s, &call, "reserve");
	for (i = 0; i < units + DEPTH; i++) {
		struct call *c = &calls[i % DEPTH];

		if (i >= DEPTH)
			wait_for(s, c, "put");
		if (i < units) {
			*c = call_of(s, i);
			khd_store_put(s->store, &c->op);
		}
		if (now() >= end)
			end = khd_store_tick(s->store, now());
	}
	khd_store_flush(s->store, &flush.op);
	wait_for(s, &flush, "flush");
}

/* ------------------------------------------------------------ RAM */

/* One that begins now, or has begun. */
static void checkpoint(struct start *s)
{
	struct call call = call_of(s, MERGE - 1), flush = { .op.done = on_done };
	uint64_t before, end = now() + 60000000000ull;
	struct khd_store_stats stats;

	khd_store_put(s->store, &call.op);
	wait_for(s, &call, "put");
	khd_store_flush(s->store, &flush.op);
	wait_for(s, &flush, "flush");

	khd_store_stats(s->store, &stats);
	before = stats.checkpoints;
	khd_store_tick(s->store, now());
	khd_store_tick(s->store, now() + CHECKPOINT_NS);
	while (stats.checkpoints == before) {
		if (now() >= end || khd_loop_wait(s->loop, 1000000000ull))
			die("checkpoint", ETIMEDOUT);
		khd_store_stats(s->store, &stats);
	}
}

/* The heap, but for what SQLite has of it. */
static uint64_t heap(void)
{
	return mallinfo2().uordblks - (uint64_t)sqlite3_memory_used();
}

static uint64_t stored_memory(struct start *s)
{
	struct khd_store_stats stats;

	checkpoint(s);
	checkpoint(s); /* the first may have begun before the last pages */
	khd_store_stats(s->store, &stats);
	return stats.memory;
}

/* Bytes for each of @units, at most KNOWN, of a store that was just opened. */
static double known_memory(struct start *s, uint64_t units)
{
	uint64_t before, i, n = units < KNOWN ? units : KNOWN;
	struct call call;

	before = heap();
	for (i = 0; i < n; i++) {
		call = call_of(s, i);
		khd_store_lookup(s->store, &call.op);
		wait_for(s, &call, "lookup");
		if (call.op.meta.version != 2)
			die("another version", EBADMSG);
	}
	return (double)(heap() - before) / (double)n;
}

static void print_memory(struct start *s, unsigned long gib, uint64_t bytes)
{
	uint64_t units = gib * UNITS_PER_GIB;
	double known;

	s->loop = khd_loop_uring(256);
	if (!s->loop)
		die("io_uring", errno);
	open_store(s, 0);
	known = known_memory(s, units);
	close_store(s);
	khd_loop_destroy(s->loop);
	khd_disk_dir_close(s->disk);
	printf("{\"metric\":\"store_memory\",\"stored_gib\":%lu,\"bytes\":%llu,"
	       "\"bytes_per_page\":%.1f,\"bytes_per_known_page\":%.1f}\n",
	       gib, (unsigned long long)bytes, (double)bytes / (double)units, known);
	fflush(stdout);
}

/* ------------------------------------------------------------ time */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A start of the store in @dir; how long it took to open it, and to the contents of a unit. */
static void start_once(struct start *s, uint64_t unit, uint64_t *opened, uint64_t *first)
{
	struct call call = call_of(s, unit);
	uint64_t begun;

	s->loop = khd_loop_uring(256);
	if (!s->loop)
		die("io_uring", errno);
	begun = now();
	open_store(s, 0);
	*opened = now() - begun;
	khd_store_get(s->store, &call.op);
	wait_for(s, &call, "get");
	*first = now() - begun;
	if (call.op.meta.version != 2)
		die("another version", EBADMSG);
	close_store(s);
	khd_loop_destroy(s->loop);
	khd_disk_dir_close(s->disk);
}

/* In turns, so that what else the machine does meets all sizes alike. */
static void measure(struct start *s, struct size *sizes, unsigned int count)
{
	unsigned int i, k;

	for (i = 0; i < ROUNDS; i++) {
		for (k = 0; k < count; k++) {
			uint64_t units = sizes[k].gib * UNITS_PER_GIB;

			s->dir = sizes[k].dir;
			start_once(s, (i * 7919ull * 7919ull) % units, &sizes[k].opened[i],
				   &sizes[k].first[i]);
		}
	}
	for (k = 0; k < count; k++) {
		qsort(sizes[k].first, ROUNDS, sizeof(uint64_t), compare);
		qsort(sizes[k].opened, ROUNDS, sizeof(uint64_t), compare);
		printf("{\"metric\":\"start\",\"stored_gib\":%lu,\"first_unit_ms\":%.2f,"
		       "\"fastest_ms\":%.2f,\"slowest_ms\":%.2f,\"open_ms\":%.2f,\"n\":%u,"
		       "\"ratio\":%.2f,\"to\":\"%lu GiB\"}\n",
		       sizes[k].gib, (double)sizes[k].first[ROUNDS / 2] / 1e6,
		       (double)sizes[k].first[0] / 1e6, (double)sizes[k].first[ROUNDS - 1] / 1e6,
		       (double)sizes[k].opened[ROUNDS / 2] / 1e6, ROUNDS,
		       (double)sizes[k].first[ROUNDS / 2] / (double)sizes[0].first[ROUNDS / 2],
		       sizes[0].gib);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct start s = { .buf = aligned_alloc(PAGE, PAGE) };
	static struct size sizes[SIZES_MAX];
	unsigned int i, count = (unsigned int)argc - 2;

	if (argc < 3 || count > SIZES_MAX || !s.buf)
		return 2;
	memset(s.buf, 0x5a, PAGE);
	for (i = 0; i < count; i++) {
		struct size *size = &sizes[i];

		size->gib = strtoul(argv[i + 2], NULL, 0);
		if (!size->gib || size->gib > 1024)
			return 2;
		snprintf(size->dir, sizeof(size->dir), "%s-%lu", argv[1], size->gib);
		s.dir = size->dir;
		s.loop = khd_loop_uring(1024);
		if (!s.loop)
			die("io_uring", errno);
		open_store(&s, (size->gib << 30) + (size->gib << 28) + SLACK);
		fill(&s, size->gib * UNITS_PER_GIB);
		size->memory = stored_memory(&s);
		close_store(&s);
		khd_loop_destroy(s.loop);
		khd_disk_dir_close(s.disk);
	}
	measure(&s, sizes, count);
	for (i = 0; i < count; i++) {
		s.dir = sizes[i].dir;
		print_memory(&s, sizes[i].gib, sizes[i].memory);
	}
	return 0;
}
