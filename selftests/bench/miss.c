// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * miss.c - loads and stores that go to another node, beside raw TCP; pages that never do
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define DISJOINT_PER_SECOND 200000 /* more samples than that are not kept */

int cmd_own(int argc, char **argv)
{
	struct bench_region r;
	uint64_t at;

	bench_map(&r, argv[2], argv[3], PROT_READ | PROT_WRITE);
	for (at = 0; at < r.length; at += BENCH_PAGE)
		*(volatile uint64_t *)(r.mem + at) = at + 1;
	bench_unmap(&r);
	return 0;
}

/*
 * Every page is touched once, in random order; after each comes one raw round trip of
 * 64 bytes and 4 KiB to the same machine.
 */
int cmd_miss(int argc, char **argv)
{
	bool store = !strcmp(argv[5], "store");
	struct samples ours, raw;
	struct bench_region r;
	uint32_t *order, n, i;
	int fd;

	bench_map(&r, argv[3], argv[4], PROT_READ | PROT_WRITE);
	fd = wire_connect(argv[6]);
	n = (uint32_t)(r.length / BENCH_PAGE);
	order = bench_shuffled(n);
	samples_init(&ours, n);
	samples_init(&raw, n);
	for (i = 0; i < 50; i++)
		wire_round_trip(fd, BENCH_PAGE);
	for (i = 0; i < n; i++) {
		volatile uint64_t *word =
			(volatile uint64_t *)(r.mem + (uint64_t)order[i] * BENCH_PAGE);
		uint64_t start = bench_now(), seen = 0;

		if (store)
			*word = 7;
		else
			seen = *word;
		samples_add(&ours, bench_now() - start);
		if (!store && seen != (uint64_t)order[i] * BENCH_PAGE + 1)
			bench_die("a page holds something else than its owner stored", -EIO);
		start = bench_now();
		wire_round_trip(fd, BENCH_PAGE);
		samples_add(&raw, bench_now() - start);
	}
	bench_print(argv[2], &ours, &raw, "raw_tcp_64_4096", false, 0, -1);
	samples_free(&ours);
	samples_free(&raw);
	free(order);
	close(fd);
	bench_unmap(&r);
	return 0;
}

/* One store to each of @parts' pages of @mem, this one's. */
static uint64_t store_part(char *mem, uint64_t length, uint64_t part, uint64_t parts)
{
	uint64_t at, start = bench_now();

	for (at = part * BENCH_PAGE; at < length; at += parts * BENCH_PAGE)
		(*(volatile uint64_t *)(mem + at))++;
	return bench_now() - start;
}

/* An operation is a store to each page of one's own; beside it, the same in memory that nobody
 * shares. */
int cmd_disjoint(int argc, char **argv)
{
	uint64_t part = strtoull(argv[4], NULL, 0), parts = strtoull(argv[5], NULL, 0);
	uint64_t seconds = strtoull(argv[6], NULL, 0);
	uint64_t end = bench_now() + seconds * 1000000000ULL;
	struct samples ours, plain;
	struct bench_region r;
	char *mem;

	bench_map(&r, argv[2], argv[3], PROT_READ | PROT_WRITE);
	mem = mmap(NULL, r.length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		bench_die("mmap", -errno);
	samples_init(&ours, seconds * DISJOINT_PER_SECOND);
	samples_init(&plain, seconds * DISJOINT_PER_SECOND);
	do {
		samples_add(&ours, store_part(r.mem, r.length, part, parts));
		samples_add(&plain, store_part(mem, r.length, part, parts));
	} while (bench_now() < end);
	bench_print("disjoint_pages", &ours, &plain, "shmem_stores", false, 0, -1);
	samples_free(&ours);
	samples_free(&plain);
	munmap(mem, r.length);
	bench_unmap(&r);
	return 0;
}
