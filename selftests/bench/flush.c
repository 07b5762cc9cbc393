// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * flush.c - stores through a mapping made durable by kh_flush(), beside pwrite and fdatasync
 *
 * The file that is written beside it lies on the file system of the node's store. It was written
 * before and is written with O_DIRECT, as the store's own files are: what is compared with is the
 * least that file system and disk take.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 300
#define WARM_UP 20
#define FLUSHERS 16
#define TURNS 5
#define FLUSHES 320 /* of all flushers in a turn */

struct flush_bench {
	struct bench_region r;
	int raw;
	char *buf; /* a region's length */
};

static void open_both(struct flush_bench *b, char **argv)
{
	bench_map(&b->r, argv[0], argv[1], PROT_READ | PROT_WRITE);
	b->raw = open(argv[2], O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	b->buf = aligned_alloc(BENCH_PAGE, b->r.length);
	if (b->raw < 0 || !b->buf)
		bench_die(argv[2], -errno);
	memset(b->buf, 1, b->r.length);
	if (pwrite(b->raw, b->buf, b->r.length, 0) != (ssize_t)b->r.length || fsync(b->raw))
		bench_die(argv[2], -errno);
}

static void close_both(struct flush_bench *b)
{
	close(b->raw);
	free(b->buf);
	bench_unmap(&b->r);
}

/* A word of each of so many pages is stored: they were flushed before, so each is a fault. */
static void store(struct flush_bench *b, uint64_t page, uint64_t pages)
{
	uint64_t i;

	for (i = page; i < page + pages; i++)
		(*(volatile uint64_t *)(b->r.mem + i * BENCH_PAGE))++;
}

/* The time of the call alone. */
static uint64_t call(struct flush_bench *b, uint64_t page, uint64_t pages)
{
	struct khazana_addr addr = kh_addr_add(b->r.addr, page * BENCH_PAGE);
	uint64_t start = bench_now();
	int err = kh_flush(b->r.client, addr, pages * BENCH_PAGE, &b->r.key);

	if (err)
		bench_die("kh_flush", err);
	return bench_now() - start;
}

static uint64_t write_raw(struct flush_bench *b, uint64_t page, uint64_t pages)
{
	uint64_t at = page * BENCH_PAGE, start = bench_now();
	size_t length = pages * BENCH_PAGE;

	if (pwrite(b->raw, b->buf + at, length, (off_t)at) != (ssize_t)length || fdatasync(b->raw))
		bench_die("pwrite", -errno);
	return bench_now() - start;
}

/* Two lines: of stores and call together, and of the call alone. */
int cmd_flush(int argc, char **argv)
{
	uint64_t pages = strtoull(argv[3], NULL, 0), page, places;
	struct samples ours, calls, raw;
	struct flush_bench b;
	char name[64];
	int i;

	open_both(&b, argv + 4);
	places = pages ? b.r.length / (pages * BENCH_PAGE) : 0;
	if (!places)
		bench_die("pages", -EINVAL);
	samples_init(&ours, ROUNDS);
	samples_init(&calls, ROUNDS);
	samples_init(&raw, ROUNDS);
	for (i = -WARM_UP; i < ROUNDS; i++) {
		uint64_t start = bench_now(), our_ns, call_ns, raw_ns;

		page = (uint64_t)(i + WARM_UP) % places * pages;
		store(&b, page, pages);
		call_ns = call(&b, page, pages);
		our_ns = bench_now() - start;
		raw_ns = write_raw(&b, page, pages);
		if (i < 0)
			continue;
		samples_add(&ours, our_ns);
		samples_add(&calls, call_ns);
		samples_add(&raw, raw_ns);
	}
	snprintf(name, sizeof(name), "%s_call", argv[2]);
	bench_print(argv[2], &ours, &raw, "pwrite+fdatasync", false, 0, -1);
	bench_print(name, &calls, &raw, "pwrite+fdatasync", false, 0, -1);
	samples_free(&ours);
	samples_free(&calls);
	samples_free(&raw);
	close_both(&b);
	return 0;
}

/* ------------------------------------------------------------ many at once */

static uint64_t store_and_call(struct flush_bench *b, uint64_t page, uint64_t pages)
{
	store(b, page, pages);
	return call(b, page, pages);
}

struct flusher {
	pthread_t thread;
	struct flush_bench *bench;
	uint64_t (*durable)(struct flush_bench *b, uint64_t page, uint64_t pages);
	uint64_t page;
	unsigned int times;
};

static void *flusher_run(void *arg)
{
	struct flusher *f = arg;
	unsigned int i;

	for (i = 0; i < f->times; i++)
		f->durable(f->bench, f->page, 1);
	return NULL;
}

/* One of FLUSHES by so many threads, each with a page of its own: the time that one takes if all
 * are counted. */
static uint64_t each_of(struct flush_bench *b, unsigned int threads,
			uint64_t (*durable)(struct flush_bench *b, uint64_t page, uint64_t pages))
{
	struct flusher flushers[FLUSHERS];
	uint64_t start = bench_now();
	unsigned int i;

	for (i = 0; i < threads; i++) {
		flushers[i] = (struct flusher){
			.bench = b, .durable = durable, .page = i, .times = FLUSHES / threads
		};
		if (pthread_create(&flushers[i].thread, NULL, flusher_run, &flushers[i]))
			bench_die("thread", -ENOMEM);
	}
	for (i = 0; i < threads; i++)
		pthread_join(flushers[i].thread, NULL);
	return (bench_now() - start) / FLUSHES;
}

static double per_second(struct samples *s)
{
	return 1e6 / samples_us(s, 0.5);
}

int cmd_flushers(int argc, char **argv)
{
	struct samples one, many, raw_one, raw_many;
	struct flush_bench b;
	int i;

	open_both(&b, argv + 2);
	if (b.r.length < FLUSHERS * BENCH_PAGE)
		bench_die(argv[2], -EINVAL);
	samples_init(&one, TURNS);
	samples_init(&many, TURNS);
	samples_init(&raw_one, TURNS);
	samples_init(&raw_many, TURNS);
	each_of(&b, FLUSHERS, store_and_call);
	for (i = 0; i < TURNS; i++) {
		samples_add(&one, each_of(&b, 1, store_and_call));
		samples_add(&many, each_of(&b, FLUSHERS, store_and_call));
		samples_add(&raw_one, each_of(&b, 1, write_raw));
		samples_add(&raw_many, each_of(&b, FLUSHERS, write_raw));
	}
	printf("{\"metric\":\"kh_flushers_%d\",\"per_s\":%.1f,\"n\":%d,\"ratio\":%.2f,"
	       "\"to\":\"one flusher\",\"to_per_s\":%.1f,\"fdatasync_per_s\":%.1f,"
	       "\"fdatasync_ratio\":%.2f}\n",
	       FLUSHERS, per_second(&many), TURNS * FLUSHES, per_second(&many) / per_second(&one),
	       per_second(&one), per_second(&raw_many),
	       per_second(&raw_many) / per_second(&raw_one));
	samples_free(&one);
	samples_free(&many);
	samples_free(&raw_one);
	samples_free(&raw_many);
	close_both(&b);
	return 0;
}
