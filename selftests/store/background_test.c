// SPDX-License-Identifier: GPL-2.0-or-later
/* background_test.c - what the store does beside the calls: how long it may hold them up, and how
 * fast it goes */
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

#define UNITS 1200u
#define SEGMENT (256u << 10)
#define AT_ONCE 512u /* calls */
#define MOVE_RATE (1u << 20) /* bytes a second, beside calls */

static uint64_t loads; /* calls of khd_space_load() */

bool __real_khd_space_load(struct khd_store *store, uint32_t segment);
bool __wrap_khd_space_load(struct khd_store *store, uint32_t segment);

bool __wrap_khd_space_load(struct khd_store *store, uint32_t segment)
{
	loads++;
	return __real_khd_space_load(store, segment);
}

static void fill(struct fixture *f, const struct khd_range *r)
{
	uint64_t i;

	assert_int_equal(reserve(f, r), 0);
	for (i = 0; i < r->units; i++)
		assert_int_equal(put(f, r, i, 1), 0);
}

static uint64_t checkpoints(const struct fixture *f)
{
	return f->store->stats.checkpoints;
}

static bool is_loading(const struct fixture *f)
{
	size_t i;

	for (i = 0; i < f->store->segments.count; i++)
		if (f->store->segments.at[i].loading)
			return true;
	return false;
}

/* ---------------------------------------------------------------- checkpoints */

/*
 * What was released after a start has its bitmaps on the disk.  The checkpoint loads each; it looks
 * at each slot once or twice, however many there are, and holds up no put meanwhile.
 */
static void bitmaps_come_beside_puts(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1), other = range_of(1ull << 40, 1, 12, 2);
	uint64_t before, loading = 0;

	fill(f, &r);
	assert_int_equal(reserve(f, &other), 0);
	reopen(f);
	assert_int_equal(put(f, &other, 0, 1), 0);
	assert_int_equal(release(f, &r), 0);
	before = checkpoints(f);
	loads = 0;
	f->now += KHD_CHECKPOINT_NS + 1;
	khd_store_tick(f->store, f->now);
	f->now += KHD_CHECKPOINT_NS + 1;
	khd_store_tick(f->store, f->now);
	while (disk_sim_step(f->sim)) {
		if (!is_loading(f))
			continue;
		loading++;
		assert_false(khd_checkpoint_gate(f->store, KHD_OP_PUT));
	}
	assert_true(loading);
	assert_true(checkpoints(f) > before);
	assert_in_range(loads, 20, 2 * UNITS);
	assert_int_equal(f->events, 0);
}

/* A bitmap that could not be loaded is loaded later, and what else is dead counts. */
static void a_bitmap_that_fails_comes_later(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	uint64_t before;

	fill(f, &r);
	reopen(f);
	assert_int_equal(release(f, &r), 0);
	before = checkpoints(f);
	f->now += KHD_CHECKPOINT_NS + 1;
	khd_store_tick(f->store, f->now);
	f->now += KHD_CHECKPOINT_NS + 1;
	khd_store_tick(f->store, f->now);
	while (!is_loading(f))
		assert_true(disk_sim_step(f->sim));
	/* as load_done() has it when there is no memory; the loads under way go on */
	f->store->load_next = f->now + KHD_WANT_NS;
	khd_store_want(f->store, ENOMEM, "bitmap of a segment");
	settle(f);
	assert_int_equal(checkpoints(f), before);
	tick(f, 5);
	assert_true(checkpoints(f) > before);
	assert_int_equal(f->store->class[12].held, 0);
	r.generation = 2;
	assert_int_equal(reserve(f, &r), 0);
}

/* Whoever stops waits for no second to pass: nothing ticks any more. */
static void a_stop_waits_for_no_bitmap(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);
	struct wait w, stopping = { .op.done = waited };
	void *buf = memory(4096);

	fill(f, &r);
	reopen(f);
	/* one had no memory, and another that came behind it did */
	f->store->load_next = f->now + KHD_WANT_NS;
	begin_put(f, &w, &r, 0, 2, buf, 0);
	settle(f);
	assert_false(w.done);
	khd_store_stop(f->store, &stopping.op);
	settle(f);
	assert_true(w.done && stopping.done);
	assert_int_equal(w.error, 0);
	assert_int_equal(stopping.error, 0);
	assert_int_equal(f->events, 0);
	free(buf);
}

/* ---------------------------------------------------------------- a release */

/* Of many ranges it goes on in parts: no callback takes long. */
static void a_long_release_lets_others_pass(void **state)
{
	enum {
		RANGES = 6000,
		MOST = 2500 /* records in one callback */
	};
	struct fixture *f = *state;
	struct khd_range all = range_of(0, 2 * RANGES, 9, 1), one;
	static struct wait waits[AT_ONCE];
	struct wait w = { .op.done = waited };
	uint64_t i, k, lsn, most = 0;

	settle(f);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	f->sim = disk_sim_new(1);
	f->config.capacity = 1ull << 30;
	f->config.segment = 0;
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), 0);
	assert_int_equal(open_store(f), 0);
	for (i = 0; i < RANGES; i += k) {
		for (k = 0; k < AT_ONCE && i + k < RANGES; k++) {
			one = range_of((i + k) << 10, 1, 9, 1);
			waits[k] = (struct wait){ .op.done = waited };
			khd_store_reserve(f->store, &waits[k].op, &one);
		}
		for (k = 0; k < AT_ONCE && i + k < RANGES; k++)
			assert_int_equal(finish(f, &waits[k]), 0);
	}
	tick(f, 40);
	lsn = f->store->lsn_next;
	khd_store_release(f->store, &w.op, &all);
	for (;;) {
		assert_true(f->store->lsn_next >= lsn);
		if (f->store->lsn_next - lsn > most)
			most = f->store->lsn_next - lsn;
		lsn = f->store->lsn_next;
		if (w.done)
			break;
		assert_true(disk_sim_step(f->sim));
	}
	assert_int_equal(w.error, 0);
	assert_in_range(most, 1, MOST);
	assert_int_equal(f->store->ranges.count, 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(f->store->ranges.count, 0);
	assert_int_equal(f->recovery.replayed, RANGES);
	for (i = 0; i < RANGES; i += RANGES - 1) {
		one = range_of(i << 10, 1, 9, 2);
		assert_int_equal(reserve(f, &one), 0);
	}
	assert_int_equal(f->events, 0);
}

/* Those of other kinds that lie in between stay, and so do the ends of what is cut. */
static void a_release_leaves_what_it_does_not_name(void **state)
{
	struct fixture *f = *state;
	struct khd_range all = range_of(2 << 12, 60, 12, 1), one;
	uint64_t i;

	for (i = 0; i < 16; i++) { /* of 4 units each; each third is of another generation */
		one = range_of(i << 14, 4, 12, i % 3 == 2 ? 2 : 1);
		assert_int_equal(reserve(f, &one), 0);
		assert_int_equal(put(f, &one, 1, 1), 0);
		assert_int_equal(put(f, &one, 3, 1), 0);
	}
	assert_int_equal(release(f, &all), 0);
	for (i = 0; i < 2; i++) {
		unsigned int k;

		assert_int_equal(f->store->ranges.count, 7);
		for (k = 0; k < 16; k++) {
			one = range_of((uint64_t)k << 14, 4, 12, k % 3 == 2 ? 2 : 1);
			assert_int_equal(get(f, &one, 1), k % 3 == 2 || !k ? 1 : -ENXIO);
			assert_int_equal(get(f, &one, 3), k % 3 == 2 || k == 15 ? 1 : -ENXIO);
		}
		assert_int_equal(crash(f, DISK_LOST), 0);
	}
	assert_int_equal(f->events, 0);
}

/* ---------------------------------------------------------------- compaction */

/*
 * The emptiest segment behind a lowered capacity is of a class that cannot do without it, and
 * another class holds all that lies before: that one gives some back first.
 */
static void a_lowered_capacity_is_reached(void **state)
{
	enum {
		RANGES = 160,
		EACH = 5
	};
	struct fixture *f = *state;
	struct khd_range r[RANGES], last = range_of(1ull << 32, 4, 9, 2),
				    more = range_of(1ull << 33, 1, 9, 3);
	uint64_t capacity, i, k, before;

	for (i = 0; i < RANGES; i++) {
		r[i] = range_of(i * EACH * 4096, EACH, 12, 1);
		assert_int_equal(reserve(f, &r[i]), 0);
	}
	for (i = 0; i < RANGES; i++)
		for (k = 0; k < EACH; k++)
			assert_int_equal(put(f, &r[i], k, 1), 0);
	fill(f, &last);
	tick(f, 40);
	for (i = 0; i < RANGES; i += 3)
		assert_int_equal(release(f, &r[i]), 0);
	capacity = f->store->segments_at + 13 * SEGMENT;
	assert_int_equal(resize(f, capacity), 0);
	tick(f, 1200);
	assert_true(f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS) <= (int64_t)capacity);
	before = checkpoints(f);
	tick(f, 120);
	assert_int_equal(checkpoints(f), before); /* it has come to rest */
	assert_int_equal(reserve(f, &more), 0);
	for (k = 0; k < 4; k++)
		assert_int_equal(get(f, &last, k), 1);
	for (i = 1; i < RANGES; i += 3)
		assert_int_equal(get(f, &r[i], EACH - 1), 1);
	assert_int_equal(f->events, 0);
}

/* Segments with some units each, most of which their class does not need any more. */
static void thin_out(struct fixture *f)
{
	struct khd_range part;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	uint64_t i;

	fill(f, &r);
	tick(f, 40);
	for (i = 0; i < UNITS; i += 4) {
		part = range_of(i << 12, 3, 12, 1);
		assert_int_equal(release(f, &part), 0);
	}
}

/* However often the loop comes by; and much faster when nobody else wants the disk. */
static void moves_keep_their_rate(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	uint64_t bytes, next, i;

	thin_out(f);
	f->now += KHD_CHECKPOINT_NS + 1;
	khd_store_tick(f->store, f->now);
	settle(f);
	f->now += KHD_CHECKPOINT_NS + 1;
	khd_store_tick(f->store, f->now);
	settle(f);
	assert_int_equal(put(f, &r, 3, 2), 0);
	bytes = f->sim->counts.bytes_written;
	for (i = 0; i < 2000; i++) { /* 100 ms, with calls */
		if (i % 100 == 0)
			assert_int_equal(get(f, &r, 7), 1);
		f->now += 50000;
		khd_store_tick(f->store, f->now);
		settle(f);
	}
	/* and twice that at first, and what the log has of it */
	assert_in_range(f->sim->counts.bytes_written - bytes, MOVE_RATE / 20, MOVE_RATE / 2);
	f->now += 2000000000;
	bytes = f->sim->counts.bytes_written;
	for (i = 0; i < 50; i++) { /* 250 ms without */
		next = khd_store_tick(f->store, f->now);
		assert_in_range(next, f->now + 1, f->now + 1000000000);
		if (khd_compact_empties(f->store, 12))
			assert_in_range(next, f->now + 1, f->now + 100000000);
		settle(f);
		f->now += 5000000;
	}
	assert_true(f->sim->counts.bytes_written - bytes > MOVE_RATE / 2);
	assert_int_equal(f->events, 0);
}

/* A checkpoint may give back the segment that is being emptied: it is empty by then. */
static void what_was_given_back_is_not_emptied(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1), other = range_of(1ull << 40, 1, 9, 2);
	uint64_t before;

	assert_int_equal(reserve(f, &other), 0);
	thin_out(f);
	hold_reads(f, 1);
	tick(f, 70);
	assert_int_equal(held_count, 1); /* of the first unit that is moved */
	assert_int_equal(khd_compact_empties(f->store, 12), 1);
	assert_int_equal(release(f, &r), 0);
	before = checkpoints(f);
	khd_checkpoint_want(f->store);
	assert_int_equal(put(f, &other, 0, 1), 0);
	settle(f);
	assert_int_equal(checkpoints(f), before + 1);
	assert_int_equal(khd_compact_empties(f->store, 12), 0);
	let_reads_go(f);
	settle(f);
	tick(f, 40);
	assert_int_equal(f->store->class[12].held, 0);
	assert_int_equal(f->events, 0);
}

/* What compaction does is no call, whatever becomes of it. */
static void moves_are_no_calls(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	uint64_t puts, gets, reads;

	thin_out(f);
	reads = f->sim->counts.reads;
	puts = f->store->stats.puts;
	gets = f->store->stats.gets;
	f->store->puts_under_way += KHD_STORE_PUTS_MAX; /* so it is told to come again */
	tick(f, 70);
	assert_true(f->sim->counts.reads > reads + 10);
	assert_int_equal(f->store->stats.puts, puts);
	assert_int_equal(f->store->stats.gets, gets);
	f->store->puts_under_way -= KHD_STORE_PUTS_MAX;
	hold_reads(f, 1);
	tick(f, 2);
	assert_int_equal(held_count, 1);
	assert_int_equal(release(f, &r), 0);
	assert_int_equal(reserve(f, &r), 0);
	let_reads_go(f); /* of a unit that is no more */
	settle(f);
	tick(f, 40);
	assert_int_equal(f->store->stats.puts, puts);
	assert_int_equal(f->store->stats.gets, gets);
	assert_int_equal(f->events, 0);
}

/* ---------------------------------------------------------------- the file */

/* What somebody appended to the file is cut off: it would grow from no sector's end. */
static void the_file_is_of_whole_segments(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	int64_t size;

	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
	size = f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	assert_int_equal(
		f->sim->base.ops->resize(&f->sim->base, KHD_FILE_SLOTS, (uint64_t)size + 1), 0);
	f->sim->broken = NULL; /* it was not the store */
	assert_int_equal(open_store(f), 0);
	assert_int_equal(f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS), size);
	fill(f, &r);
	assert_int_equal(f->events, 0);
}

/* ---------------------------------------------------------------- room */

#define SPARSE 1000
#define OTHER 300

static void room_is_waited_for(struct fixture *f, bool opened)
{
	struct khd_range r = range_of(0, SPARSE, 12, 1), part = r;
	struct khd_range other = range_of(1ull << 40, OTHER, 13, 2);
	uint64_t i;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < SPARSE; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	part.units = 9;
	for (i = 0; i < SPARSE; i += 10) {
		part.start.lo = (i + 1) << 12;
		assert_int_equal(release(f, &part), 0);
	}
	if (opened)
		reopen(f);
	assert_true(khd_space_charge(f->store) + khd_space_need(f->store, 13, other.units) >
		    f->store->segments_max);
	assert_int_equal(reserve(f, &other), 0);
	for (i = 0; i < SPARSE; i += 10)
		assert_int_equal(get(f, &r, i), 1);
	for (i = 0; i < OTHER; i++)
		assert_int_equal(put(f, &other, i, 1), 0);
	other = range_of(1ull << 41, 1ull << 20, 12, 3);
	assert_int_equal(reserve(f, &other), ENOSPC);
	assert_int_equal(f->events, 0);
}

/* What a class holds beyond its need is room, when its units have been moved. */
static void room_that_compaction_makes_is_waited_for(void **state)
{
	room_is_waited_for(*state, false);
}

/* Also by who comes before the first tick, which says how late it is. */
static void room_is_waited_for_from_the_first_tick(void **state)
{
	struct fixture *f = *state;

	f->now = 1000000000000;
	room_is_waited_for(f, true);
}

/* A load that wants one checkpoint after the other holds up nobody who asks for room. */
static void what_does_not_fit_is_refused_under_load(void **state)
{
	static struct {
		struct wait w;
		void *buf;
	} put[96];
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 96, 12, 1), much = range_of(1ull << 32, 1 << 20, 12, 2);
	struct wait w = { .op.done = waited };
	unsigned int i, steps, version = 1;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < 96; i++) {
		put[i].buf = memory(4096);
		begin_put(f, &put[i].w, &r, i, version, put[i].buf, KHD_STORE_SYNC);
	}
	for (steps = 0; steps < 30000 && !w.done; steps++) {
		if (steps == 20000)
			khd_store_reserve(f->store, &w.op, &much);
		assert_true(disk_sim_step(f->sim));
		for (i = 0; i < 96; i++)
			if (put[i].w.done) {
				assert_int_equal(put[i].w.error, 0);
				begin_put(f, &put[i].w, &r, i, ++version, put[i].buf,
					  KHD_STORE_SYNC);
			}
	}
	assert_true(w.done);
	assert_int_equal(w.error, ENOSPC);
	for (i = 0; i < 96; i++) {
		assert_int_equal(finish(f, &put[i].w), 0);
		free(put[i].buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bitmaps_come_beside_puts, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bitmap_that_fails_comes_later, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stop_waits_for_no_bitmap, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_release_lets_others_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(a_release_leaves_what_it_does_not_name, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_lowered_capacity_is_reached, setup, teardown),
		cmocka_unit_test_setup_teardown(moves_keep_their_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_given_back_is_not_emptied, setup,
						teardown),
		cmocka_unit_test_setup_teardown(moves_are_no_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(the_file_is_of_whole_segments, setup, teardown),
		cmocka_unit_test_setup_teardown(room_that_compaction_makes_is_waited_for, setup,
						teardown),
		cmocka_unit_test_setup_teardown(room_is_waited_for_from_the_first_tick, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_under_load, setup,
						teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
