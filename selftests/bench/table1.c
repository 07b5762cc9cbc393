// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * table1.c - the paper's Table 1, row by row (UUCS-99-008)
 *
 * Every time is given as a ratio to the raw round trip of 64 bytes and 4 KiB; the
 * paper's own ratio is to its 1-page send, 1.101 ms, the same thing on its network.
 * One server: reserve and allocate concern this node's khd alone.  Two servers: allocate goes
 * to a home that is another node; reserve never needs a second server here (khd owns its range
 * of addresses), so that row is the same call beside the paper's higher figure.
 * Messages per operation are those of some rounds more, whose time does not count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "ctl/ctl.h"

#define ROUNDS 30
#define COUNTED 5 /* rounds more */
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

/* An operation of which there are several: times, and messages of COUNTED more. */
struct op {
	struct samples s;
	uint64_t messages, before;
	uint64_t start;
};

static bool is_counted(int round)
{
	return round >= ROUNDS;
}

static void op_begin(struct table *t, struct op *op, int round)
{
	if (is_counted(round))
		op->before = bench_messages(t->ctl);
	op->start = bench_now();
}

static void op_end(struct table *t, struct op *op, int round)
{
	uint64_t end = bench_now();

	if (!is_counted(round)) {
		samples_add(&op->s, end - op->start);
		return;
	}
	/* What confirms it may follow a little later. */
	usleep(20000);
	op->messages += bench_messages(t->ctl) - op->before;
}

static void op_init(struct op *op, size_t room)
{
	*op = (struct op){ 0 };
	samples_init(&op->s, room);
}

static void raw(struct table *t)
{
	uint64_t start = bench_now();

	wire_round_trip(t->wire, BENCH_PAGE);
	samples_add(&t->raw, bench_now() - start);
}

static void raws(struct table *t)
{
	int n;

	for (n = 0; n < ROUNDS; n++)
		raw(t);
}

/* @counted: how many operations op->messages are of */
static void row_of(struct table *t, const char *name, uint32_t pages, struct op *op,
		   double paper_ms, unsigned int counted)
{
	char metric[64];

	if (pages)
		snprintf(metric, sizeof(metric), "table1_%s_%u", name, pages);
	else
		snprintf(metric, sizeof(metric), "table1_%s", name);
	bench_print(metric, &op->s, &t->raw, "raw_tcp_64_4096", false, paper_ms / PAPER_SEND_MS,
		    (double)op->messages / counted);
	op->s.n = 0;
	op->messages = 0;
	t->raw.n = 0;
}

static void row(struct table *t, const char *name, uint32_t pages, struct op *op, double paper_ms)
{
	row_of(t, name, pages, op, paper_ms, COUNTED);
}

static void rpc(struct table *t, enum kh_op_code code, uint64_t length, struct op *op, int round)
{
	struct kh_op call = { .code = code, .node = t->node, .length = length };
	struct kh_op_result result;
	int err;

	op_begin(t, op, round);
	err = kh_ctl_call(t->ctl, &call, &result, 0);
	if (err || result.error)
		bench_die("rpc", err ? err : result.error);
	op_end(t, op, round);
	raw(t);
}

static void rpcs(struct table *t)
{
	struct op op;
	size_t i;
	int n;

	op_init(&op, ROUNDS);
	for (n = 0; n < ROUNDS + COUNTED; n++)
		rpc(t, KH_OP_NULL, 0, &op, n);
	row(t, "null_rpc", 0, &op, PAPER_NULL_MS);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS + COUNTED; n++)
			rpc(t, KH_OP_ECHO, paper[i].pages * BENCH_PAGE, &op, n);
		row(t, "send_page", paper[i].pages, &op, paper[i].send);
	}
	samples_free(&op.s);
}

static void space_once(struct table *t, uint64_t length, struct op *reserve, struct op *allocate,
		       int round)
{
	struct khazana_addr addr;
	int err;

	op_begin(t, reserve, round);
	err = kh_reserve(t->r.client, length, NULL, &t->r.key, &addr);
	op_end(t, reserve, round);
	op_begin(t, allocate, round);
	if (!err)
		err = kh_allocate(t->r.client, addr, length, &t->r.key);
	op_end(t, allocate, round);
	if (!err)
		err = kh_unreserve(t->r.client, addr, &t->r.key);
	if (err)
		bench_die("space", err);
	raw(t);
}

/* Reserve and allocate at this node's own khd: one server. */
static void space(struct table *t)
{
	struct op reserve, allocate;
	size_t i;
	int n;

	op_init(&reserve, ROUNDS * SIZES);
	op_init(&allocate, ROUNDS);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS + COUNTED; n++)
			space_once(t, paper[i].pages * BENCH_PAGE, &reserve, &allocate, n);
		row(t, "allocate", paper[i].pages, &allocate, paper[i].allocate);
		raws(t);
	}
	row_of(t, "reserve", 0, &reserve, PAPER_RESERVE_MS, COUNTED * SIZES);
	samples_free(&reserve.s);
	samples_free(&allocate.s);
}

static void reserve_two(struct table *t, struct op *op)
{
	int n;

	for (n = 0; n < ROUNDS + COUNTED; n++) {
		struct khazana_addr addr;
		int err;

		op_begin(t, op, n);
		err = kh_reserve(t->r.client, BENCH_PAGE, NULL, &t->r.key, &addr);
		op_end(t, op, n);
		if (!err)
			err = kh_unreserve(t->r.client, addr, &t->r.key);
		if (err)
			bench_die("reserve", err);
		raw(t);
	}
	row(t, "two_servers_reserve", 0, op, PAPER_RESERVE_TWO_MS);
}

/* Allocate in a region whose home is the other node. */
static void space_two(struct table *t)
{
	struct op op;
	size_t i;
	int n;

	op_init(&op, ROUNDS);
	reserve_two(t, &op);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS + COUNTED; n++) {
			uint64_t length = paper[i].pages * BENCH_PAGE;
			struct khazana_addr addr = kh_addr_add(t->r.addr, t->r.length / 2);
			int err = kh_free(t->r.client, addr, length, &t->r.key);

			op_begin(t, &op, n);
			if (!err)
				err = kh_allocate(t->r.client, addr, length, &t->r.key);
			if (err)
				bench_die("allocate at the home", err);
			op_end(t, &op, n);
			raw(t);
		}
		row(t, "two_servers_allocate", paper[i].pages, &op, paper[i].allocate_two);
	}
	samples_free(&op.s);
}

static void lock_once(struct table *t, struct khazana_addr addr, uint64_t length, struct op *fetch,
		      struct op *unlock, int round)
{
	struct kh_lock *lock;
	int err;

	op_begin(t, fetch, round);
	err = kh_lock(t->r.client, addr, length, KH_LOCK_READ, 0, 0, &t->r.key, &lock);
	if (err)
		bench_die("kh_lock", err);
	op_end(t, fetch, round);
	op_begin(t, unlock, round);
	err = kh_unlock(lock);
	if (err)
		bench_die("kh_unlock", err);
	op_end(t, unlock, round);
}

static void fetches(struct table *t)
{
	struct op cold, warm, unlock, unlock_warm;
	size_t i;
	int n;

	op_init(&cold, ROUNDS);
	op_init(&warm, ROUNDS);
	op_init(&unlock, ROUNDS);
	op_init(&unlock_warm, ROUNDS);
	for (i = 0; i < SIZES; i++) {
		for (n = 0; n < ROUNDS + COUNTED; n++) {
			uint64_t length = paper[i].pages * BENCH_PAGE;
			struct khazana_addr addr = kh_addr_add(t->r.addr, t->next * BENCH_PAGE);

			/* A gap, so that no prefetcher follows. */
			t->next += paper[i].pages + 3;
			lock_once(t, addr, length, &cold, &unlock, n);
			lock_once(t, addr, length, &warm, &unlock_warm, n);
			raw(t);
		}
		row(t, "cold_fetch", paper[i].pages, &cold, paper[i].cold);
		raws(t);
		row(t, "warm_fetch", paper[i].pages, &warm, paper[i].warm);
		raws(t);
		row(t, "unlock", paper[i].pages, &unlock, paper[i].unlock);
		unlock_warm.s.n = 0;
	}
	samples_free(&cold.s);
	samples_free(&warm.s);
	samples_free(&unlock.s);
	samples_free(&unlock_warm.s);
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
	samples_init(&t.raw, (ROUNDS + COUNTED) * SIZES * 2);
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
