// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store_bench.c - the page store beside the bare disk, SQLite and LMDB
 *
 *	store_bench DIR [MIB]	DIR on the disk to measure; MIB of the sequential part (1024)
 *
 * Every figure is taken in turn with what it is compared with, in files of one directory, and
 * is one JSON line.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "khd/store/disk_dir.h"
#include "khd/store/store.h"

#define PAGE 4096u
#define BIG 65536u /* units of the sequential part */
#define PAGES 35u /* of a flush of 140 KiB */
#define FLUSHERS 16u
#define ROUNDS 400u
#define SEQUENTIAL_DEPTH 32u
#define SEQUENTIAL_MERGE 16u /* units that are one write */
#define GENERATION 1
#define NEW (1ull << 40) /* space that was never used */
#define USED (1ull << 41) /* and such that was */
#define SMALL (1ull << 42)
#define CHECKPOINT_NS 31000000000ull /* in which a change comes into the index */

struct bench {
	const char *dir;
	uint64_t mib;
	struct khd_loop *loop;
	struct khd_disk *disk;
	struct khd_store *store;
	int raw; /* a file beside it, written before, O_DIRECT */
	uint8_t *buf;
};

struct call {
	struct khd_store_op op;
	bool done;
	int error;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "store_bench: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* ------------------------------------------------------------ samples */

struct samples {
	uint64_t ns[ROUNDS];
	unsigned int n;
};

static void add(struct samples *s, uint64_t since)
{
	if (s->n < ROUNDS)
		s->ns[s->n++] = now() - since;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double quantile_us(struct samples *s, double q)
{
	qsort(s->ns, s->n, sizeof(s->ns[0]), compare);
	return s->n ? (double)s->ns[(unsigned int)((s->n - 1) * q)] / 1000.0 : 0;
}

static void print(const char *metric, struct samples *ours, struct samples *theirs, const char *to)
{
	printf("{\"metric\":\"%s\",\"median_us\":%.2f,\"p99_us\":%.2f,\"n\":%u,\"ratio\":%.2f,"
	       "\"to\":\"%s\",\"to_median_us\":%.2f}\n",
	       metric, quantile_us(ours, 0.5), quantile_us(ours, 0.99), ours->n,
	       quantile_us(ours, 0.5) / quantile_us(theirs, 0.5), to, quantile_us(theirs, 0.5));
	fflush(stdout);
}

static void print_rate(const char *metric, double ours, double theirs, const char *unit,
		       const char *to)
{
	printf("{\"metric\":\"%s\",\"%s\":%.1f,\"ratio\":%.2f,\"to\":\"%s\",\"to_%s\":%.1f}\n",
	       metric, unit, ours, ours / theirs, to, unit, theirs);
	fflush(stdout);
}

/* ------------------------------------------------------------ the store */

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

static void wait_for(struct bench *b, struct call *call, const char *what)
{
	int ret = 0;

	while (!call->done && !ret)
		ret = khd_loop_wait(b->loop, 10000000000ull);
	if (ret || call->error)
		die(what, ret ? -ret : call->error);
}

static void open_store(struct bench *b, bool make)
{
	struct khd_store_config config = { .capacity = (b->mib * 2 + 512) << 20 };
	int error;

	b->loop = khd_loop_uring(256);
	if (!b->loop)
		b->loop = khd_loop_poll(256);
	if (!b->loop)
		die("loop", errno);
	b->disk = khd_disk_dir_open(b->loop, b->dir, &error);
	if (!b->disk)
		die(b->dir, error);
	error = make ? -khd_store_format(b->disk, &config) : 0;
	if (error)
		die("format", error);
	config.capacity = 0;
	b->store = khd_store_open(b->disk, &config, on_event, NULL, &error, NULL);
	if (!b->store)
		die("open", error);
}

static struct khd_range range_of(uint64_t at, uint64_t units, uint32_t shift)
{
	return (struct khd_range){ .start = { .hi = 1, .lo = at },
				   .units = units,
				   .shift = shift,
				   .generation = GENERATION };
}

static void reserve(struct bench *b, uint64_t at, uint64_t units, uint32_t shift)
{
	struct khd_range range = range_of(at, units, shift);
	struct call call = { .op.done = on_done };

	khd_store_reserve(b->store, &call.op, &range);
	wait_for(b, &call, "reserve");
}

/* Its space is free when this returns. */
static void release(struct bench *b, uint64_t at, uint64_t units, uint32_t shift)
{
	struct khd_range range = range_of(at, units, shift);
	struct call call = { .op.done = on_done };
	struct khd_store_stats stats;
	uint64_t before;

	khd_store_release(b->store, &call.op, &range);
	wait_for(b, &call, "release");
	khd_store_stats(b->store, &stats);
	before = stats.checkpoints;
	khd_store_tick(b->store, now());
	khd_store_tick(b->store, now() + CHECKPOINT_NS);
	while (stats.checkpoints == before && !stats.error) {
		khd_loop_wait(b->loop, 100000000);
		khd_store_stats(b->store, &stats);
	}
	if (stats.error)
		die("checkpoint", stats.error);
}

static void put(struct bench *b, struct call *call, uint64_t at, uint32_t shift, uint64_t version,
		uint32_t flags)
{
	*call = (struct call){ .op = { .done = on_done,
				       .key = { .addr = { .hi = 1, .lo = at },
						.generation = GENERATION,
						.shift = shift },
				       .meta = { version, 1 },
				       .iov = { b->buf, 1ull << shift },
				       .flags = flags } };
	khd_store_put(b->store, &call->op);
}

static void get(struct bench *b, struct call *call, uint64_t at, uint32_t shift, void *buf)
{
	*call = (struct call){ .op = { .done = on_done,
				       .key = { .addr = { .hi = 1, .lo = at },
						.generation = GENERATION,
						.shift = shift },
				       .iov = { buf, 1ull << shift } } };
	khd_store_get(b->store, &call->op);
}

static void stop_store(struct bench *b)
{
	struct call call = { .op.done = on_done };

	khd_store_stop(b->store, &call.op);
	wait_for(b, &call, "stop");
	khd_store_close(b->store);
	khd_loop_destroy(b->loop);
	khd_disk_dir_close(b->disk);
}

/* ------------------------------------------------------------ flushes */

static void raw_flush(struct bench *b, struct samples *s, uint64_t at, size_t len)
{
	uint64_t begun = now();

	if (pwrite(b->raw, b->buf, len, (off_t)at) != (ssize_t)len || fdatasync(b->raw))
		die("pwrite", errno);
	add(s, begun);
}

static void bench_flush(struct bench *b)
{
	static struct samples one, many, raw_one, raw_many;
	struct call calls[PAGES];
	unsigned int i, k;
	uint64_t begun;

	for (i = 0; i < ROUNDS; i++) {
		begun = now();
		put(b, &calls[0], (i % 64) * PAGE, 12, 1 + i, KHD_STORE_SYNC);
		wait_for(b, &calls[0], "put");
		add(&one, begun);
		raw_flush(b, &raw_one, (i % 64) * PAGE, PAGE);
		begun = now();
		for (k = 0; k < PAGES; k++)
			put(b, &calls[k], (100 + k) * PAGE, 12, 1 + i,
			    KHD_STORE_SYNC | (k + 1 < PAGES ? KHD_STORE_MORE : 0));
		for (k = 0; k < PAGES; k++)
			wait_for(b, &calls[k], "put");
		add(&many, begun);
		raw_flush(b, &raw_many, 1u << 20, PAGES * PAGE);
	}
	print("flush_4k", &one, &raw_one, "pwrite+fdatasync");
	print("flush_140k", &many, &raw_many, "pwrite+fdatasync");
}

/* Flushes a second of @flushers that each wait for their own. */
static double flushes(struct bench *b, unsigned int flushers, uint64_t *version)
{
	struct call calls[FLUSHERS];
	unsigned int i, done = 0;
	uint64_t begun = now();

	for (i = 0; i < flushers; i++)
		put(b, &calls[i], (200 + i) * PAGE, 12, ++*version, KHD_STORE_SYNC);
	while (done < ROUNDS * 2) {
		khd_loop_wait(b->loop, 1000000000);
		for (i = 0; i < flushers; i++) {
			if (!calls[i].done)
				continue;
			if (calls[i].error)
				die("put", calls[i].error);
			done++;
			put(b, &calls[i], (200 + i) * PAGE, 12, ++*version, KHD_STORE_SYNC);
		}
	}
	for (i = 0; i < flushers; i++)
		wait_for(b, &calls[i], "put");
	return done * 1e9 / (double)(now() - begun);
}

static void bench_group(struct bench *b)
{
	uint64_t version = 0;
	double one = flushes(b, 1, &version), many = flushes(b, FLUSHERS, &version);

	print_rate("flushers_16", many, one, "per_s", "one flusher");
}

/* ------------------------------------------------------------ reading and streams */

static void bench_cold(struct bench *b)
{
	static struct samples ours, raw;
	struct call call;
	unsigned int i, at;
	uint64_t begun;

	for (i = 0; i < ROUNDS; i++) {
		at = i * 37 % 135;
		begun = now();
		get(b, &call, (at < 64 ? at : 100 + at % PAGES) * PAGE, 12, b->buf);
		wait_for(b, &call, "get");
		add(&ours, begun);
		begun = now();
		if (pread(b->raw, b->buf, PAGE, (off_t)((uint64_t)(i * 7919 % 8192) * PAGE)) !=
		    PAGE)
			die("pread", errno);
		add(&raw, begun);
	}
	print("cold_read_4k", &ours, &raw, "pread");
}

/* MiB a second: units of that size, some at once; then a flush. */
static double stream_of(struct bench *b, uint64_t at, unsigned int shift, uint64_t mib, bool write)
{
	static struct call calls[SEQUENTIAL_DEPTH];
	static uint8_t *bufs;
	uint64_t total = (mib << 20) >> shift, i, begun = now();
	struct call flush = { .op.done = on_done };

	if (!bufs)
		bufs = aligned_alloc(PAGE, (size_t)SEQUENTIAL_DEPTH * BIG);
	for (i = 0; i < total + SEQUENTIAL_DEPTH; i++) {
		struct call *call = &calls[i % SEQUENTIAL_DEPTH];

		if (i >= SEQUENTIAL_DEPTH)
			wait_for(b, call, write ? "put" : "get");
		if (i >= total)
			continue;
		if (write)
			put(b, call, at + (i << shift), shift, 1,
			    (i + 1) % SEQUENTIAL_MERGE ? KHD_STORE_MORE : 0);
		else
			get(b, call, at + (i << shift), shift, bufs + i % SEQUENTIAL_DEPTH * BIG);
	}
	if (write) {
		khd_store_flush(b->store, &flush.op);
		wait_for(b, &flush, "flush");
	}
	return (double)mib * 1e9 / (double)(now() - begun);
}

static double stream(struct bench *b, uint64_t at, bool write)
{
	return stream_of(b, at, 16, b->mib, write);
}

static double raw_stream(struct bench *b, bool write)
{
	uint64_t i, begun = now();
	ssize_t n;

	for (i = 0; i < b->mib; i++) {
		n = write ? pwrite(b->raw, b->buf, 1u << 20, (off_t)(i << 20)) :
			    pread(b->raw, b->buf, 1u << 20, (off_t)(i << 20));
		if (n != 1 << 20)
			die("raw", errno);
	}
	if (write && fdatasync(b->raw))
		die("raw", errno);
	return (double)b->mib * 1e9 / (double)(now() - begun);
}

static void bench_stream(struct bench *b)
{
	const uint64_t units = (b->mib << 20) / BIG;
	double raw = raw_stream(b, true);

	reserve(b, NEW, units, 16);
	print_rate("write_sequential_new", stream(b, NEW, true), raw, "mib_per_s",
		   "pwrite of 1 MiB");
	release(b, NEW, units, 16);
	reserve(b, USED, units, 16);
	raw = raw_stream(b, true);
	print_rate("write_sequential", stream(b, USED, true), raw, "mib_per_s", "pwrite of 1 MiB");
	raw = raw_stream(b, false);
	print_rate("read_sequential", stream(b, USED, false), raw, "mib_per_s", "pread of 1 MiB");
}

/* The store is left as a crash leaves it, and opened. */
static void bench_recovery(struct bench *b, const char *metric, unsigned int unit)
{
	struct khd_store_recovery report;
	struct khd_store_config config = { 0 };
	struct khd_store *store;
	int error;

	khd_loop_destroy(b->loop);
	khd_disk_dir_close(b->disk);
	b->loop = khd_loop_uring(256);
	if (!b->loop)
		b->loop = khd_loop_poll(256);
	b->disk = b->loop ? khd_disk_dir_open(b->loop, b->dir, &error) : NULL;
	if (!b->disk)
		die("open", error);
	store = khd_store_open(b->disk, &config, on_event, NULL, &error, &report);
	if (!store)
		die("recovery", error);
	printf("{\"metric\":\"%s\",\"ms\":%.2f,\"records\":%llu,\"unit\":%u,\"ms_per_gib\":%.2f}\n",
	       metric, (double)report.nanoseconds / 1e6, (unsigned long long)report.replayed, unit,
	       (double)report.nanoseconds / 1e6 / ((double)report.replayed * unit / (1u << 30)));
	b->store = store; /* the old one is what a crash takes */
}

/* What a log has of a GiB of large units, and of small ones, as many as it holds without a
 * checkpoint. */
static void bench_recoveries(struct bench *b)
{
	const uint64_t mib = b->mib / 4;
	struct khd_store_stats stats;

	khd_store_stats(b->store, &stats);
	printf("{\"metric\":\"memory\",\"bytes\":%llu,\"stored_mib\":%llu}\n",
	       (unsigned long long)stats.memory, (unsigned long long)(stats.used >> 20));
	bench_recovery(b, "recovery", BIG);
	release(b, USED, (b->mib << 20) / BIG, 16);
	reserve(b, SMALL, (mib << 20) / PAGE, 12);
	stream_of(b, SMALL, 12, mib, true);
	bench_recovery(b, "recovery_4k", PAGE);
}

/* ------------------------------------------------------------ the others */

static void bench_sqlite(struct bench *b, struct samples *raw)
{
	static struct samples theirs;
	char path[400];
	sqlite3_stmt *stmt;
	sqlite3 *db;
	unsigned int i;

	snprintf(path, sizeof(path), "%s/bench.sqlite", b->dir);
	if (sqlite3_open(path, &db) ||
	    sqlite3_exec(db,
			 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			 "CREATE TABLE t(k INTEGER PRIMARY KEY, v BLOB)",
			 NULL, NULL, NULL) ||
	    sqlite3_prepare_v2(db, "REPLACE INTO t VALUES(?1, ?2)", -1, &stmt, NULL))
		die("SQLite", EIO);
	for (i = 0; i < ROUNDS; i++) {
		uint64_t begun = now();

		sqlite3_bind_int(stmt, 1, (int)(i % 64));
		sqlite3_bind_blob(stmt, 2, b->buf, PAGE, SQLITE_STATIC);
		if (sqlite3_step(stmt) != SQLITE_DONE)
			die("SQLite", EIO);
		sqlite3_reset(stmt);
		add(&theirs, begun);
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	unlink(path);
	print("sqlite_put_4k", &theirs, raw, "pwrite+fdatasync");
}

static void bench_lmdb(struct bench *b, struct samples *raw)
{
	static struct samples theirs;
	char path[400], lock[420];
	MDB_env *env;
	MDB_dbi dbi = 0;
	MDB_txn *txn;
	unsigned int i;

	snprintf(path, sizeof(path), "%s/bench.lmdb", b->dir);
	snprintf(lock, sizeof(lock), "%s-lock", path);
	if (mdb_env_create(&env) || mdb_env_set_mapsize(env, 64u << 20) ||
	    mdb_env_open(env, path, MDB_NOSUBDIR, 0600))
		die("LMDB", EIO);
	for (i = 0; i < ROUNDS; i++) {
		uint32_t k = i % 64;
		MDB_val key = { sizeof(k), &k }, value = { PAGE, b->buf };
		uint64_t begun = now();

		if (mdb_txn_begin(env, NULL, 0, &txn) ||
		    (!i && mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi)) ||
		    mdb_put(txn, dbi, &key, &value, 0) || mdb_txn_commit(txn))
			die("LMDB", EIO);
		add(&theirs, begun);
	}
	mdb_env_close(env);
	unlink(path);
	unlink(lock);
	print("lmdb_put_4k", &theirs, raw, "pwrite+fdatasync");
}

static void bench_others(struct bench *b)
{
	static struct samples raw;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++)
		raw_flush(b, &raw, (i % 64) * PAGE, PAGE);
	bench_sqlite(b, &raw);
	bench_lmdb(b, &raw);
}

static void make_raw(struct bench *b)
{
	char path[400];
	uint64_t i;

	snprintf(path, sizeof(path), "%s/bench.raw", b->dir);
	b->raw = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
	if (b->raw < 0)
		b->raw = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (b->raw < 0)
		die(path, errno);
	unlink(path);
	for (i = 0; i < b->mib; i++)
		if (pwrite(b->raw, b->buf, 1u << 20, (off_t)(i << 20)) != 1 << 20)
			die(path, errno);
	if (fdatasync(b->raw))
		die(path, errno);
}

int main(int argc, char **argv)
{
	struct bench b = { .mib = 1024 };

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: store_bench DIR [MIB]\n");
		return 2;
	}
	b.dir = argv[1];
	if (argc == 3)
		b.mib = strtoull(argv[2], NULL, 0);
	if (b.mib < 32 || b.mib > 65536)
		die("MIB", EINVAL);
	b.buf = aligned_alloc(PAGE, 1u << 20);
	if (!b.buf)
		die("memory", ENOMEM);
	memset(b.buf, 0x5a, 1u << 20);
	open_store(&b, true);
	make_raw(&b);
	reserve(&b, 0, 256, 12);
	bench_flush(&b);
	bench_group(&b);
	stop_store(&b);
	open_store(&b, false);
	bench_cold(&b);
	bench_stream(&b);
	bench_others(&b);
	bench_recoveries(&b);
	stop_store(&b);
	return 0;
}
