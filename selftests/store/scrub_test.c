// SPDX-License-Identifier: GPL-2.0-or-later
/* scrub_test.c - a scrub verifies everything, or says what it could not */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "khd/store/store_priv.h"
#include "selftests/store/fixture.h"

#define UNITS 64u
#define RATE (64u << 20)
#define PASS_MAX 20000 /* ticks until a pass must have ended */

static unsigned int passes;
static unsigned long long units, damaged, unverified, blocks; /* of the last pass */
static uint64_t named[64];
static unsigned int named_count;

static void heard_scrub(void *arg, const char *name, const char *text)
{
	const char *at = strstr(text, "offset ");

	heard(arg, name, text);
	if (sscanf(text, "scrub: %llu units verified, %llu damaged, %llu not verified; %llu other",
		   &units, &damaged, &unverified, &blocks) == 4)
		passes++;
	else if (at && strstr(text, "damaged:") && named_count < 64)
		named[named_count++] = strtoull(at + 7, NULL, 10);
}

/* A store with some units of two ranges, all of it in the index. */
static int setup_full(void **state)
{
	struct khd_range r = range_of(0, UNITS, 12, 1), other = range_of(1 << 30, 3, 12, 2);
	struct fixture *f;
	uint64_t i;
	int error;

	assert_int_equal(setup(state), 0);
	f = *state;
	settle(f);
	khd_store_close(f->store);
	f->store = khd_store_open(&f->sim->base, &f->config, heard_scrub, f, &error, NULL);
	assert_non_null(f->store);
	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(reserve(f, &other), 0);
	for (i = 0; i < UNITS; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	tick(f, 40);
	named_count = 0;
	return 0;
}

/* One pass, to its end. */
static void pass(struct fixture *f)
{
	unsigned int before = passes, ticks = 0;

	khd_store_scrub(f->store, RATE);
	while (passes == before) {
		assert_true(ticks++ < PASS_MAX);
		tick(f, 1);
	}
	assert_int_equal(passes, before + 1);
}

static bool is_named(uint64_t at)
{
	unsigned int i;

	for (i = 0; i < named_count; i++)
		if (named[i] == at)
			return true;
	return false;
}

/* Where blocks of @kind lie; the first @max. */
static unsigned int blocks_of(struct fixture *f, uint8_t kind, uint64_t *at, unsigned int max)
{
	const struct khd_disk_ops *ops = f->sim->base.ops;
	uint64_t offset, size = (uint64_t)ops->size(&f->sim->base, KHD_FILE_SLOTS);
	struct khd_block block;
	unsigned int count = 0;

	for (offset = 0; offset < size; offset += KHD_SECTOR) {
		assert_int_equal(ops->read(&f->sim->base, KHD_FILE_SLOTS, offset, &block,
					   sizeof(block)),
				 sizeof(block));
		if (count < max && block.head.kind == kind &&
		    !khd_block_verify(&block, NULL, offset))
			at[count++] = offset;
	}
	return count;
}

/* What only a rebuild reads is verified, named, and written anew where RAM knows it. */
static void blocks_of_a_rebuild_are_verified(void **state)
{
	struct fixture *f = *state;
	uint64_t at[32];
	unsigned int n, i, k;
	static const struct {
		uint8_t kind;
		unsigned int at_least;
	} kinds[] = { { KHD_BLOCK_RANGE, 2 }, { KHD_BLOCK_SEGMENT, 4 }, { KHD_BLOCK_SUPER, 2 } };

	pass(f);
	assert_int_equal(units, UNITS);
	assert_int_equal(damaged + unverified, 0);
	assert_true(blocks >= 8);
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		named_count = 0;
		n = blocks_of(f, kinds[k].kind, at, 32);
		assert_true(n >= kinds[k].at_least && n < 32);
		for (i = 0; i < n; i++)
			disk_sim_flip(f->sim, KHD_FILE_SLOTS, at[i] * 8 + 1000 + i);
		pass(f);
		assert_int_equal(units, UNITS);
		assert_int_equal(damaged, n);
		for (i = 0; i < n; i++)
			assert_true(is_named(at[i]));
		if (kinds[k].kind == KHD_BLOCK_SUPER) { /* the next two are whole */
			struct khd_range r = range_of(0, UNITS, 12, 1);

			for (i = 2; i < 4; i++) {
				assert_int_equal(put(f, &r, 0, i), 0);
				tick(f, 40);
			}
		}
		tick(f, 3); /* a checkpoint writes what RAM knows */
		pass(f);
		assert_int_equal(damaged + unverified, 0);
	}
	/* it is what it was, for those who come */
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
	assert_int_equal(khd_store_check(&f->sim->base, found, f), 0);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
	assert_int_equal(open_store(f), 0);
}

static void when_too_much_is_under_way(struct fixture *f, bool in_time)
{
	struct khd_range r = range_of(0, UNITS, 12, 1);
	struct wait *waits = calloc(KHD_STORE_PUTS_MAX, sizeof(*waits));
	uint8_t *buf = memory(KHD_STORE_PUTS_MAX * 4096);
	unsigned int i;

	assert_non_null(waits);
	hold_reads(f, KHD_STORE_PUTS_MAX); /* so that no more are taken */
	for (i = 0; i < KHD_STORE_PUTS_MAX; i++) {
		waits[i] = (struct wait){ .op = { .done = waited,
						  .key = key_of(&r, i % UNITS),
						  .iov = { buf + i * 4096, 4096 } } };
		khd_store_get(f->store, &waits[i].op);
	}
	settle(f);
	assert_int_equal(held_count, KHD_STORE_PUTS_MAX);
	passes = 0;
	khd_store_scrub(f->store, RATE);
	tick(f, 50);
	assert_int_equal(passes, 0);
	if (!in_time)
		tick(f, 101 * UNITS);
	assert_int_equal(passes, !in_time);
	let_reads_go(f);
	for (i = 0; i < KHD_STORE_PUTS_MAX; i++)
		assert_int_equal(finish(f, &waits[i]), 0);
	tick(f, 10);
	assert_int_equal(passes, 1);
	assert_int_equal(units, in_time ? UNITS : 0);
	assert_int_equal(unverified, in_time ? 0 : UNITS);
	assert_int_equal(damaged, 0);
	free(waits);
	free(buf);
}

static void what_cannot_be_read_now_is_read_later(void **state)
{
	when_too_much_is_under_way(*state, true);
}

static void or_counted_as_not_verified(void **state)
{
	when_too_much_is_under_way(*state, false);
}

/* A busy loop comes by more often: that makes no tries. */
static void tries_take_their_time(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	unsigned int i;

	passes = 0;
	khd_store_scrub(f->store, RATE);
	assert_int_equal(put(f, &r, 0, 2), 0);
	f->store->headers++; /* as if blocks of a segment were on their way */
	for (i = 0; i < 16000; i++) { /* 800 ms */
		f->now += 50000;
		khd_store_tick(f->store, f->now);
		settle(f);
	}
	assert_int_equal(passes, 0);
	f->store->headers--;
	tick(f, 60);
	assert_int_equal(passes, 1);
	assert_int_equal(units, UNITS);
	assert_int_equal(damaged + unverified, 0);
}

/* A file system that has no room for the index. */
static const struct khd_disk_ops *good;
static int64_t write_full(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset,
			  const void *buf, size_t bytes)
{
	return file == KHD_FILE_SLOTS ? good->write(disk, file, offset, buf, bytes) : -ENOSPC;
}

/* Blocks are read between two checkpoints, and one may last: here it waits for room. */
static void a_long_checkpoint_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	struct khd_disk_ops full;
	uint64_t before;
	unsigned int i;

	assert_int_equal(put(f, &r, 0, 2), 0);
	good = f->sim->base.ops;
	full = *good;
	full.write = write_full;
	f->sim->base.ops = &full;
	tick(f, 35);
	assert_int_not_equal(f->store->ckpt, KHD_CKPT_IDLE);
	before = f->store->stats.checkpoints;
	passes = 0;
	khd_store_scrub(f->store, RATE);
	for (i = 0; i < 3000; i++) { /* 30 s */
		f->now += 10000000;
		khd_store_tick(f->store, f->now);
		settle(f);
	}
	assert_int_equal(passes, 0);
	assert_int_equal(f->store->stats.checkpoints, before);
	f->sim->base.ops = good;
	tick(f, 60);
	assert_int_equal(passes, 1);
	assert_int_equal(units, UNITS);
	assert_int_equal(damaged + unverified, 0);
	assert_true(blocks >= 8);
}

/* Beside a load that changes what it reads nothing is named that is none. */
static void changes_meanwhile_are_no_damage(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	unsigned int round, begun = 0;
	uint64_t version = 2;

	passes = 0;
	for (round = 0; round < 400; round++) {
		struct khd_range some =
			range_of((2ull << 30) + ((uint64_t)round << 20), 8, 12, 10 + round);

		if (passes == begun) {
			khd_store_scrub(f->store, RATE);
			begun++;
		}
		assert_int_equal(reserve(f, &some), 0);
		assert_int_equal(put(f, &some, round % 8, 1), 0);
		assert_int_equal(put(f, &r, round % UNITS, version), 0);
		version += round % UNITS == UNITS - 1;
		if (round % 2) {
			some.start.lo += 3 << 12;
			some.units = 2;
		}
		assert_int_equal(release(f, &some), 0);
		tick(f, round % 8 ? 1 : 40);
		if (passes < begun)
			continue;
		assert_int_equal(damaged, 0);
	}
	assert_true(passes > 20);
	assert_int_equal(named_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blocks_of_a_rebuild_are_verified, setup_full,
						teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_now_is_read_later, setup_full,
						teardown),
		cmocka_unit_test_setup_teardown(or_counted_as_not_verified, setup_full, teardown),
		cmocka_unit_test_setup_teardown(tries_take_their_time, setup_full, teardown),
		cmocka_unit_test_setup_teardown(a_long_checkpoint_is_waited_for, setup_full,
						teardown),
		cmocka_unit_test_setup_teardown(changes_meanwhile_are_no_damage, setup_full,
						teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
