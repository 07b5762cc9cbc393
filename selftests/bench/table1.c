// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * table1.c - the paper's Table 1, row by row (UUCS-99-008)
 *
 * Every time is given as a ratio to the raw round trip of 64 bytes and 4 KiB; the
 * paper's own ratio is to its 1-page send, 1.101 ms, the same thing on its network.
 * One server: reserve and allocate concern this node's khd alone.  Two servers: allocate goes
 * to a home that is another node; reserve never needs a second server here (khd owns its range
 * of addresses), so that row is the same call beside the paper's higher figure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "ctl/ctl.h"

#define ROUNDS 30
#define PAPER_SEND_MS 1.101

static const struct {
	uint32_t pages;
	double send, allocate, cold, unlock, warm, allocate_two;
} paper[] = {
	{ 1, 1.101, 0.856, 1.141, 0.315, 1.200, 3.319 },
	{ 4, 2.596, 0.999, 4.641, 1.278, 1.275, 3.568 },
	{ 10, 5.277, 1.896, 11.573, 3.081, 1.373, 4.691 },
	{ 35, 18.346, 4.324, 20.930, 10.639, 1.979, 7.890 },
};

#define SIZES (sizeof(paper) / sizeof(paper[0]))
#define PAPER_NULL_MS 0.469
#define PAPER_RESERVE_MS 0.600
#define PAPER_RESERVE_TWO_MS 1.187

struct table {
	struct bench_region r;
	struct kh_ctl *ctl;
	int wire;
	uint32_t node;
	uint64_t next; /* page of the region not fetched yet */
	struct samples raw;
};

static void raw(struct table *t)
{
	uint64_t start = bench_now();

	wire_round_trip(t->wire, BENCH_PAGE);
	samples_add(&t->raw, bench_now() - start);
}

static void row(struct table *t, const char *name, uint32_t pages, struct samples *s,
		double paper_ms)
{
	char metric[64];

	if (pages)
		snprintf(metric, sizeof(metric), "table1_%s_%u", name, pages);
	else
		snprintf(metric, sizeof(metric), "table1_%s", name);
	bench_print(metric, s, &t->raw, "raw_tcp_64_4096", false, paper_ms / PAPER_SEND_MS);
	s->n = 0;
	t->raw.n = 0;
}

static void rpc(struct table *t, enum kh_op_code code, uint64_t length, struct samples *s)
{
	struct kh_op op = { .code = code, .node = t->node, .length = length };
	struct kh_op_result result;
	uint64_t start = bench_now();
	int err = kh_ctl_call(t->ctl, &op, &result, 0);

	if (err || result.error)
		bench_die("rpc", err ? err : result.error);
	samples_add(s, bench_now() - start);
	raw(t);
}

static void rpcs(struct table *t)
{
	struct samples s;
	size_t i;
	int n;

	samples_init(&s, ROUNDS);
	for (n = 0; n < ROUNDS; n++)
		rpc(t, KH_OP_NULL, 0, &s);
	row(t, "null_rpc", 0, &s, PAPER_NULL_MS);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS; n++)
			rpc(t, KH_OP_ECHO, paper[i].pages * BENCH_PAGE, &s);
		row(t, "send_page", paper[i].pages, &s, paper[i].send);
	}
	samples_free(&s);
}

/* Reserve and allocate at this node's own khd: one server. */
static void space(struct table *t)
{
	struct samples reserve, allocate;
	size_t i;
	int n;

	samples_init(&reserve, ROUNDS * SIZES);
	samples_init(&allocate, ROUNDS);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS; n++) {
			uint64_t length = paper[i].pages * BENCH_PAGE;
			struct khazana_addr addr;
			uint64_t start = bench_now();
			int err = kh_reserve(t->r.client, length, NULL, &t->r.key, &addr);

			samples_add(&reserve, bench_now() - start);
			start = bench_now();
			if (!err)
				err = kh_allocate(t->r.client, addr, length, &t->r.key);
			samples_add(&allocate, bench_now() - start);
			if (!err)
				err = kh_unreserve(t->r.client, addr, &t->r.key);
			if (err)
				bench_die("space", err);
			raw(t);
		}
		row(t, "allocate", paper[i].pages, &allocate, paper[i].allocate);
		for (n = 0; n < ROUNDS; n++)
			raw(t);
	}
	row(t, "reserve", 0, &reserve, PAPER_RESERVE_MS);
	samples_free(&reserve);
	samples_free(&allocate);
}

static void reserve_two(struct table *t, struct samples *s)
{
	int n;

	for (n = 0; n < ROUNDS; n++) {
		struct khazana_addr addr;
		uint64_t start = bench_now();
		int err = kh_reserve(t->r.client, BENCH_PAGE, NULL, &t->r.key, &addr);

		samples_add(s, bench_now() - start);
		if (!err)
			err = kh_unreserve(t->r.client, addr, &t->r.key);
		if (err)
			bench_die("reserve", err);
		raw(t);
	}
	row(t, "two_servers_reserve", 0, s, PAPER_RESERVE_TWO_MS);
}

/* Allocate in a region whose home is the other node. */
static void space_two(struct table *t)
{
	struct samples s;
	size_t i;
	int n;

	samples_init(&s, ROUNDS);
	reserve_two(t, &s);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS; n++) {
			uint64_t length = paper[i].pages * BENCH_PAGE;
			struct khazana_addr addr = kh_addr_add(t->r.addr, t->r.length / 2);
			uint64_t start;
			int err = kh_free(t->r.client, addr, length, &t->r.key);

			start = bench_now();
			if (!err)
				err = kh_allocate(t->r.client, addr, length, &t->r.key);
			if (err)
				bench_die("allocate at the home", err);
			samples_add(&s, bench_now() - start);
			raw(t);
		}
		row(t, "two_servers_allocate", paper[i].pages, &s, paper[i].allocate_two);
	}
	samples_free(&s);
}

static uint64_t lock_once(struct table *t, struct khazana_addr addr, uint64_t length,
			  struct samples *unlock)
{
	uint64_t start = bench_now(), taken;
	struct kh_lock *lock;
	int err = kh_lock(t->r.client, addr, length, KH_LOCK_READ, 0, 0, &t->r.key, &lock);

	if (err)
		bench_die("kh_lock", err);
	taken = bench_now() - start;
	start = bench_now();
	err = kh_unlock(lock);
	if (err)
		bench_die("kh_unlock", err);
	samples_add(unlock, bench_now() - start);
	return taken;
}

static void fetches(struct table *t)
{
	struct samples cold, warm, unlock, unlock_warm;
	size_t i;
	int n;

	samples_init(&cold, ROUNDS);
	samples_init(&warm, ROUNDS);
	samples_init(&unlock, ROUNDS);
	samples_init(&unlock_warm, ROUNDS);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS; n++) {
			uint64_t length = paper[i].pages * BENCH_PAGE;
			struct khazana_addr addr = kh_addr_add(t->r.addr, t->next * BENCH_PAGE);

			/* A gap, so that no prefetcher follows. */
			t->next += paper[i].pages + 3;
			samples_add(&cold, lock_once(t, addr, length, &unlock));
			samples_add(&warm, lock_once(t, addr, length, &unlock_warm));
			raw(t);
		}
		row(t, "cold_fetch", paper[i].pages, &cold, paper[i].cold);
		for (n = 0; n < ROUNDS; n++)
			raw(t);
		row(t, "warm_fetch", paper[i].pages, &warm, paper[i].warm);
		for (n = 0; n < ROUNDS; n++)
			raw(t);
		row(t, "unlock", paper[i].pages, &unlock, paper[i].unlock);
		unlock_warm.n = 0;
	}
	samples_free(&cold);
	samples_free(&warm);
	samples_free(&unlock);
	samples_free(&unlock_warm);
}

int cmd_table1(int argc, char **argv)
{
	struct table t = { .node = (uint32_t)strtoul(argv[4], NULL, 0) };
	int err;

	bench_map(&t.r, argv[2], argv[3], PROT_READ | PROT_WRITE);
	t.wire = wire_connect(argv[5]);
	err = kh_ctl_open(NULL, &t.ctl);
	if (err)
		bench_die("khd", err);
	samples_init(&t.raw, ROUNDS * SIZES * 2);
	rpcs(&t);
	space(&t);
	fetches(&t);
	space_two(&t);
	samples_free(&t.raw);
	kh_ctl_close(t.ctl);
	close(t.wire);
	bench_unmap(&t.r);
	return 0;
}
