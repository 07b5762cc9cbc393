// SPDX-License-Identifier: GPL-2.0-or-later
/* store_test.c - the page store: its calls, their errors and limits */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/store/fixture.h"

static void units_are_read_back(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 20, 12, 1), small = range_of(1 << 20, 20, 9, 2),
			 big = range_of(1 << 22, 2, 16, 3);
	uint64_t i;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(reserve(f, &small), 0);
	assert_int_equal(reserve(f, &big), 0);
	assert_int_equal(get(f, &r, 3), 0);
	for (i = 0; i < 20; i++) {
		assert_int_equal(put(f, &r, i, 1 + i % 3), 0);
		assert_int_equal(put(f, &small, i, 5), 0);
	}
	assert_int_equal(put(f, &big, 1, 9), 0);
	for (i = 0; i < 20; i++) {
		assert_int_equal(get(f, &r, i), 1 + i % 3);
		assert_int_equal(get(f, &small, i), 5);
	}
	assert_int_equal(get(f, &big, 1), 9);
	assert_int_equal(get(f, &big, 0), 0);
	reopen(f);
	assert_int_equal(f->recovery.replayed, 0);
	for (i = 0; i < 20; i++)
		assert_int_equal(get(f, &r, i), 1 + i % 3);
	assert_int_equal(put(f, &r, 4, 100), 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(f->recovery.replayed, 1);
	assert_int_equal(get(f, &r, 4), 100);
	assert_int_equal(get(f, &r, 5), 3);
	assert_int_equal(get(f, &big, 1), 9);
	assert_int_equal(f->events, 0);
}

static void what_is_released_stays_away(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 30, 12, 1), middle = range_of(10 << 12, 10, 12, 1),
			 left = range_of(0, 10, 12, 1), again = range_of(10 << 12, 10, 12, 2);
	uint64_t i;
	int round;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < 30; i++)
		assert_int_equal(put(f, &r, i, 2), 0);
	tick(f, 40);
	assert_int_equal(release(f, &middle), 0);
	assert_int_equal(release(f, &middle), 0); /* nothing is left of it */
	for (round = 0; round < 4; round++) {
		assert_int_equal(get(f, &r, 9), 2);
		assert_int_equal(get(f, &r, 10), -ENXIO);
		assert_int_equal(get(f, &r, 19), -ENXIO);
		assert_int_equal(get(f, &r, 20), 2);
		if (round == 0) {
			assert_int_equal(crash(f, DISK_LOST), 0);
		} else if (round == 1) {
			assert_int_equal(stop(f), 0);
			khd_store_close(f->store);
			f->store = NULL;
			assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
			assert_int_equal(open_store(f), 0);
		} else {
			reopen(f);
		}
	}
	assert_int_equal(reserve(f, &again), 0);
	assert_int_equal(get(f, &again, 0), 0);
	assert_int_equal(put(f, &again, 0, 1), 0);
	assert_int_equal(release(f, &left), 0);
	assert_int_equal(get(f, &r, 9), -ENXIO);
	assert_int_equal(get(f, &again, 0), 1);
	assert_int_equal(get(f, &r, 20), 2);
	assert_int_equal(release(f, &r), 0);
	assert_int_equal(get(f, &r, 20), -ENXIO);
	assert_int_equal(get(f, &again, 0), 1);
	/* the same generation twice is against the rules; even so nothing comes back */
	assert_int_equal(release(f, &again), 0);
	assert_int_equal(reserve(f, &again), 0);
	assert_int_equal(get(f, &again, 0), 0);
	tick(f, 40);
	assert_int_equal(get(f, &again, 0), 0);
	reopen(f);
	assert_int_equal(get(f, &again, 0), 0);
}

static void a_rebuilt_index_is_the_same(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 40, 12, 1), small = range_of(1 << 20, 100, 9, 2);
	struct khd_store_stats before, after;
	uint64_t i;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(reserve(f, &small), 0);
	for (i = 0; i < 40; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	tick(f, 40);
	for (i = 0; i < 40; i += 2)
		assert_int_equal(put(f, &r, i, 2), 0);
	for (i = 0; i < 100; i += 3)
		assert_int_equal(put(f, &small, i, i + 1), 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	tick(f, 40);
	khd_store_stats(f->store, &before);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
	assert_int_equal(khd_store_check(&f->sim->base, found, f), 0);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
	assert_int_equal(khd_store_check(&f->sim->base, found, f), 0);
	assert_int_equal(open_store(f), 0);
	khd_store_stats(f->store, &after);
	assert_int_equal(before.used, after.used);
	assert_int_equal(before.reserved, after.reserved);
	for (i = 0; i < 40; i++)
		assert_int_equal(get(f, &r, i), i % 2 ? 1 : 2);
	for (i = 0; i < 100; i++)
		assert_int_equal(get(f, &small, i), i % 3 ? 0 : i + 1);
	assert_int_equal(put(f, &r, 7, 3), 0);
	reopen(f);
	assert_int_equal(get(f, &r, 7), 3);
}

static void bad_calls_are_refused(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1), bad = r;
	struct wait w = { .op.done = waited };
	uint8_t *buf = memory(8192);
	struct khd_range listed;

	bad.shift = 8;
	assert_int_equal(reserve(f, &bad), EINVAL);
	bad.shift = 22;
	assert_int_equal(reserve(f, &bad), EINVAL);
	bad = range_of(512, 8, 12, 1); /* not on a unit */
	assert_int_equal(reserve(f, &bad), EINVAL);
	bad = range_of(0, 0, 12, 1);
	assert_int_equal(reserve(f, &bad), EINVAL);
	bad = range_of(0, 2, 21, 1); /* larger than a segment of this store */
	assert_int_equal(reserve(f, &bad), EINVAL);
	bad = r;
	bad.start = (struct khazana_addr){ UINT64_MAX, UINT64_MAX - 4095 };
	assert_int_equal(reserve(f, &bad), EINVAL); /* beyond the last address */
	bad.units = 1;
	assert_int_equal(reserve(f, &bad), 0);

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(reserve(f, &r), 0);
	bad = range_of(4 << 12, 8, 12, 1); /* more than there is of it */
	assert_int_equal(reserve(f, &bad), EEXIST);
	bad = range_of(0, 8, 12, 2);
	assert_int_equal(reserve(f, &bad), EEXIST);
	bad = range_of(2 << 12, 3, 12, 1);
	assert_int_equal(reserve(f, &bad), 0);

	assert_int_equal(put(f, &r, 8, 1), ENXIO);
	assert_int_equal(put(f, &r, 1, 0), EINVAL);
	assert_int_equal(put(f, &r, 1, 7), 0);
	assert_int_equal(put(f, &r, 1, 6), ESTALE);
	assert_int_equal(put(f, &r, 1, 7), 0);
	bad = range_of(0, 8, 12, 3);
	assert_int_equal(put(f, &bad, 1, 9), ENXIO);
	assert_int_equal(get(f, &bad, 1), -ENXIO);
	tick(f, 40);
	reopen(f);
	assert_int_equal(put(f, &r, 1, 6), ESTALE);

	w.op.key = key_of(&r, 0);
	w.op.iov = (struct iovec){ buf + 64, 4096 };
	khd_store_get(f->store, &w.op);
	assert_int_equal(finish(f, &w), EINVAL);
	w = (struct wait){ .op = { .done = waited, .key = key_of(&r, 0), .iov = { buf, 512 } } };
	khd_store_get(f->store, &w.op);
	assert_int_equal(finish(f, &w), EINVAL);
	w = (struct wait){ .op = { .done = waited, .key = key_of(&r, 1) } };
	khd_store_lookup(f->store, &w.op);
	assert_int_equal(finish(f, &w), 0);
	assert_int_equal(w.op.meta.version, 7);
	assert_int_equal(w.op.meta.token, 21);

	w = (struct wait){ .op.done = waited };
	khd_store_ranges(f->store, &w.op, (struct khazana_addr){ 0, 0 }, &listed);
	assert_int_equal(finish(f, &w), 0);
	assert_int_equal(listed.units, 8);
	assert_memory_equal(&listed.tag, &r.tag, sizeof(r.tag));
	w = (struct wait){ .op.done = waited };
	khd_store_ranges(f->store, &w.op, (struct khazana_addr){ 8, 0 }, &listed);
	assert_int_equal(finish(f, &w), 0);
	assert_int_equal(listed.start.lo, UINT64_MAX - 4095);
	w = (struct wait){ .op.done = waited };
	assert_int_equal(stop(f), 0);
	khd_store_ranges(f->store, &w.op, (struct khazana_addr){ 0, 0 }, &listed);
	assert_int_equal(finish(f, &w), EIO);
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), -EEXIST);
	free(buf);
}

static void queues_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 1200, 9, 1);
	struct wait *w = calloc(KHD_STORE_PUTS_MAX + 10, sizeof(*w));
	uint8_t *buf = memory((KHD_STORE_PUTS_MAX + 10) * 512);
	struct khd_store_stats stats;
	unsigned int i, refused = 0;

	assert_non_null(w);
	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < KHD_STORE_PUTS_MAX + 10; i++)
		begin_put(f, &w[i], &r, i, 1, buf + (size_t)i * 512,
			  KHD_STORE_SYNC | (i % 16 != 15 ? KHD_STORE_MORE : 0));
	for (i = 0; i < KHD_STORE_PUTS_MAX + 10; i++) {
		int error = finish(f, &w[i]);

		assert_true(!error || error == EAGAIN);
		refused += error == EAGAIN;
	}
	assert_int_equal(refused, 10);
	khd_store_stats(f->store, &stats);
	assert_true(stats.groups < 20); /* many a group */
	/* slots side by side went together: 16 a write, but for the log */
	assert_true(f->sim->counts.writes < KHD_STORE_PUTS_MAX / 4);
	for (i = 0; i < KHD_STORE_PUTS_MAX; i++)
		assert_int_equal(get(f, &r, i), 1);
	free(buf);
	free(w);
}

static void space_is_refused_when_it_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 0, 12, 1), more;
	struct khd_store_stats stats;
	uint64_t i, units = 0, round;
	int error;

	/* as much as there is */
	for (i = 0; i < 4000; i++) {
		more = range_of(i << 16, 16, 12, 1);
		error = reserve(f, &more);
		if (error)
			break;
		units += 16;
	}
	assert_int_equal(error, ENOSPC);
	khd_store_stats(f->store, &stats);
	assert_int_equal(stats.reserved, units << 12);
	assert_true(stats.reserved > stats.capacity / 2);
	/* all of it can be written, again and again */
	for (round = 1; round <= 3; round++)
		for (i = 0; i < units; i++) {
			r = range_of((i / 16) << 16, 16, 12, 1);
			assert_int_equal(put(f, &r, i % 16, round), 0);
		}
	more = range_of(1ull << 40, 16, 12, 9);
	assert_int_equal(reserve(f, &more), ENOSPC);
	/* what one gives back another class can have */
	for (i = 0; i < units / 16; i++) {
		r = range_of(i << 16, 16, 12, 1);
		assert_int_equal(release(f, &r), 0);
	}
	more = range_of(1ull << 40, units * 4, 9, 9);
	assert_int_equal(reserve(f, &more), 0);
	for (i = 0; i < 600; i++)
		assert_int_equal(put(f, &more, i, 1), 0);
	reopen(f);
	for (i = 0; i < 600; i++)
		assert_int_equal(get(f, &more, i), 1);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
	assert_int_equal(khd_store_check(&f->sim->base, found, f), 0);
}

static void capacity_changes_live(void **state)
{
	struct fixture *f = *state;
	struct khd_range low = range_of(0, 500, 12, 1), high = range_of(1ull << 32, 500, 12, 2);
	int64_t before, after;
	uint64_t i;

	assert_int_equal(reserve(f, &low), 0);
	assert_int_equal(reserve(f, &high), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &low, i, 1), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &high, i, 1), 0);
	assert_int_equal(resize(f, 2 << 20), EBUSY);
	assert_int_equal(resize(f, 0), EINVAL);
	/* it would not open again */
	assert_int_equal(resize(f, f->config.segment * (3ull << 30)), EINVAL);
	assert_int_equal(release(f, &low), 0);
	tick(f, 2);
	before = f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	/* the units behind the new end move before it */
	assert_int_equal(resize(f, 4 << 20), 0);
	tick(f, 60);
	after = f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	assert_true(before > 4 << 20);
	assert_true(after <= 4 << 20);
	for (i = 0; i < 500; i++)
		assert_int_equal(get(f, &high, i), 1);
	low.generation = 3;
	assert_int_equal(reserve(f, &low), ENOSPC);
	assert_int_equal(resize(f, 8 << 20), 0);
	f->config.capacity = 0;
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(reserve(f, &low), 0);
	reopen(f);
	for (i = 0; i < 500; i++)
		assert_int_equal(get(f, &high, i), 1);
	assert_int_equal(f->events, 0);
}

static int park(struct fixture *f, uint64_t unit, uint64_t version)
{
	struct khd_range r = range_of(0, 8, 12, 1);
	struct khd_tag tag = { { 0x55 } };
	uint8_t *buf = memory(4096);
	struct wait w = { .op = { .done = waited,
				  .key = key_of(&r, unit),
				  .meta = { version, 99 },
				  .iov = { buf, 4096 } } };
	int error;

	memset(buf, (int)version, 4096);
	khd_store_park(f->store, &w.op, &tag);
	error = finish(f, &w);
	free(buf);
	return error;
}

/* The number of parked units; each must have its contents. */
static unsigned int parked(struct fixture *f, uint64_t *last)
{
	uint8_t *buf = memory(4096);
	struct khd_parked found;
	unsigned int count = 0;
	uint64_t id = 0;

	for (;;) {
		struct wait w = { .op = { .done = waited, .iov = { buf, 4096 } } };
		int error;

		khd_store_parked_get(f->store, &w.op, id, &found);
		error = finish(f, &w);
		if (error == ENOENT)
			break;
		assert_int_equal(error, 0);
		assert_int_equal(found.tag.bytes[0], 0x55);
		assert_int_equal(found.meta.token, 99);
		assert_int_equal(buf[4095], (uint8_t)found.meta.version);
		id = found.id + 1;
		*last = found.id;
		count++;
	}
	free(buf);
	return count;
}

static int discard(struct fixture *f, uint64_t id)
{
	struct wait w = { .op.done = waited };

	khd_store_parked_discard(f->store, &w.op, id);
	return finish(f, &w);
}

static void parked_units_stay_until_they_are_discarded(void **state)
{
	struct fixture *f = *state;
	uint64_t last = 0;
	int i;

	assert_int_equal(parked(f, &last), 0);
	assert_int_equal(discard(f, 1), ENOENT);
	for (i = 1; i <= 5; i++)
		assert_int_equal(park(f, (uint64_t)i % 2, (uint64_t)i), 0);
	assert_int_equal(parked(f, &last), 5);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(parked(f, &last), 5);
	assert_int_equal(discard(f, last), 0);
	assert_int_equal(discard(f, last), ENOENT);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(parked(f, &last), 4);
	reopen(f);
	assert_int_equal(parked(f, &last), 4);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
	assert_int_equal(open_store(f), 0);
	assert_int_equal(parked(f, &last), 4);
}

static void scrub_finds_what_nobody_reads(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 64, 12, 1);
	struct khd_store_stats stats;
	uint64_t i;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	assert_int_equal(park(f, 70, 1), 0);
	tick(f, 40);
	khd_store_scrub(f->store, 64 << 10);
	tick(f, 2);
	khd_store_stats(f->store, &stats);
	assert_true(stats.scrubbed > 4 && stats.scrubbed < 50); /* no faster than it may */
	tick(f, 10);
	khd_store_stats(f->store, &stats);
	assert_int_equal(stats.scrubbed, 65);
	assert_int_equal(stats.damaged, 0);
	assert_non_null(strstr(f->event, "65 units verified, 0 damaged"));
}

/* Rows of the index about segments that were cut off do not keep it from being opened. */
static void a_shrunk_store_opens(void **state)
{
	struct fixture *f = *state;
	struct khd_range low = range_of(0, 500, 12, 1), high = range_of(1ull << 32, 500, 12, 2);
	uint64_t i;

	assert_int_equal(reserve(f, &low), 0);
	assert_int_equal(reserve(f, &high), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &low, i, 1), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &high, i, 1), 0);
	assert_int_equal(release(f, &low), 0);
	tick(f, 2);
	assert_int_equal(resize(f, 4 << 20), 0);
	tick(f, 60);
	assert_true(f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS) <= 4 << 20);
	f->config.capacity = 0;
	reopen(f);
	for (i = 0; i < 500; i++)
		assert_int_equal(get(f, &high, i), 1);
	assert_int_equal(f->events, 0);
}

/* A release of more ranges than the log has room for goes on after checkpoints, and a crash does no
 * harm. */
static void a_release_longer_than_the_log(void **state)
{
	struct fixture *f = *state;
	struct khd_range all = range_of(0, 4600, 9, 1), one;
	uint64_t i;

	for (i = 0; i < 2300; i++) {
		one = range_of(i << 10, 1, 9, 1);
		assert_int_equal(reserve(f, &one), 0);
	}
	tick(f, 40);
	assert_int_equal(release(f, &all), 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(get(f, &one, 0), -ENXIO);
	one.generation = 2;
	assert_int_equal(reserve(f, &one), 0);
	assert_int_equal(f->events, 0);
}

/* How much of what is reserved for it the index, and its log, have: per cent. */
static unsigned int index_fill(const struct fixture *f)
{
	const struct disk_sim *sim = f->sim;
	unsigned int index = sim->now[KHD_FILE_INDEX].size * 100 / sim->reserved[KHD_FILE_INDEX],
		     wal = sim->now[KHD_FILE_WAL].size * 100 / sim->reserved[KHD_FILE_WAL];

	return index > wal ? index : wal;
}

/*
 * Rows in no order, ranges that fall into one of each unit, rows that go and come back: neither the
 * index nor its log gets larger than what was reserved for it when the space was promised.
 */
static void the_index_stays_in_its_space(void **state)
{
	enum {
		UNITS = 12000,
		STRIDE = 7919,
		PARTS = 3000
	};
	struct fixture *f = *state;
	struct khd_range all = range_of(0, UNITS, 9, 1), one;
	unsigned int most;
	uint64_t i;

	f->config.capacity = 32 << 20;
	f->config.segment = 0;
	setup_again(f, 1);
	assert_int_equal(reserve(f, &all), 0);
	for (i = 0; i < UNITS; i++)
		assert_int_equal(put(f, &all, i * STRIDE % UNITS, 1), 0);
	tick(f, 40);
	most = index_fill(f);
	for (i = 0; i < PARTS; i++) {
		one = range_of(2 * i << 9, 1, 9, 1);
		assert_int_equal(release(f, &one), 0);
	}
	tick(f, 40);
	for (i = 0; i < PARTS; i++) {
		one = range_of(2 * i << 9, 1, 9, 2);
		assert_int_equal(reserve(f, &one), 0);
		assert_int_equal(put(f, &one, 0, 2), 0);
	}
	tick(f, 40);
	most = index_fill(f) > most ? index_fill(f) : most;
	assert_int_equal(crash(f, DISK_LOST), 0);
	for (i = 1; i < UNITS; i += 2)
		assert_int_equal(put(f, &all, i, 3), 0);
	tick(f, 40);
	most = index_fill(f) > most ? index_fill(f) : most;
	print_message("# summary: %u %% of what was reserved for the index was used\n", most);
	assert_in_range(most, 10, 100);
	assert_null(f->sim->broken);
	assert_int_equal(f->events, 0);
}

/* ---------------------------------------------------------------- sizes of units, of the file */

/* From 512 bytes to 2 MiB, through the log, the index, and a rebuild. */
static void units_of_every_size(void **state)
{
	uint32_t shift;

	for (shift = KHD_STORE_SHIFT_MIN; shift <= KHD_STORE_SHIFT_MAX; shift++) {
		struct khd_range r = range_of(1ull << 40, 3, shift, shift);
		struct fixture *f;

		assert_int_equal(setup(state), 0);
		f = *state;
		f->config.capacity = 64 << 20;
		f->config.segment = 0;
		setup_again(f, shift);
		assert_int_equal(reserve(f, &r), 0);
		assert_int_equal(put(f, &r, 0, 1), 0);
		assert_int_equal(put(f, &r, 2, 1), 0);
		assert_int_equal(put(f, &r, 2, 2), 0);
		assert_int_equal(crash(f, DISK_LOST), 0);
		assert_int_equal(f->recovery.replayed, 4);
		assert_int_equal(get(f, &r, 0), 1);
		assert_int_equal(get(f, &r, 1), 0);
		assert_int_equal(get(f, &r, 2), 2);
		reopen(f);
		assert_int_equal(get(f, &r, 2), 2);
		assert_int_equal(stop(f), 0);
		khd_store_close(f->store);
		assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
		assert_int_equal(open_store(f), 0);
		assert_int_equal(get(f, &r, 0), 1);
		assert_int_equal(get(f, &r, 1), 0);
		assert_int_equal(get(f, &r, 2), 2);
		assert_int_equal(teardown(state), 0);
	}
	assert_int_equal(KHD_STORE_SHIFT_MIN, 9);
	assert_int_equal(KHD_STORE_SHIFT_MAX, 21);
}

/* The end of the file is not cut off under a read. */
static void a_cut_waits_for_readers(void **state)
{
	struct fixture *f = *state;
	struct khd_range low = range_of(0, 500, 12, 1), high = range_of(1ull << 32, 500, 12, 2);
	struct khd_store_stats stats;
	uint8_t *buf = memory(4096);
	struct wait w = {
		.op = { .done = waited, .key = key_of(&high, 499), .iov = { buf, 4096 } }
	};
	uint64_t i;

	assert_int_equal(reserve(f, &low), 0);
	assert_int_equal(reserve(f, &high), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &low, i, 1), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &high, i, 1), 0);
	tick(f, 40);
	hold_reads(f, 1);
	khd_store_get(f->store, &w.op);
	settle(f);
	assert_int_equal(held_count, 1);
	assert_true(held[0]->offset > 4 << 20);
	assert_int_equal(release(f, &high), 0);
	assert_int_equal(resize(f, 4 << 20), 0);
	tick(f, 120);
	assert_true(f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS) >
		    (int64_t)held[0]->offset);
	let_reads_go(f);
	finish(f, &w);
	khd_store_stats(f->store, &stats);
	assert_int_equal(stats.error, 0);
	tick(f, 60);
	assert_true(f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS) <= 4 << 20);
	for (i = 0; i < 500; i++)
		assert_int_equal(get(f, &low, i), 1);
	assert_int_equal(f->events, 0);
	free(buf);
}

/* A long growth of the file lets look-ups pass; what has no room for all of it takes nothing. */
static void a_growth_lets_reads_pass(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1), much = range_of(1ull << 32, 32 << 10, 12, 2);
	uint8_t *buf = memory(4096);
	struct wait grown = { .op.done = waited },
		    read = { .op = { .done = waited, .key = key_of(&r, 3), .iov = { buf, 4096 } } };
	int64_t before;

	f->config.capacity = 512 << 20;
	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 3, 1), 0);
	reopen(f); /* now only the index knows it */
	before = f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	disk_sim_fail(f->sim, DISK_ENOSPC, 5, 1);
	assert_int_equal(reserve(f, &much), ENOSPC);
	assert_int_equal(f->sim->counts.faults, 1);
	assert_int_equal(f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS), before);
	khd_store_reserve(f->store, &grown.op, &much);
	khd_store_get(f->store, &read.op);
	assert_int_equal(finish(f, &read), 0);
	assert_int_equal(read.op.meta.version, 1);
	assert_false(grown.done);
	assert_int_equal(finish(f, &grown), 0);
	assert_int_equal(put(f, &much, (32 << 10) - 1, 1), 0);
	assert_int_equal(get(f, &much, (32 << 10) - 1), 1);
	assert_int_equal(f->events, 0);
	free(buf);
}

/* What is only reserved is not written to, but for one segment ahead. */
static void what_nobody_writes_costs_nothing(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 1024, 12, 1), much = range_of(1ull << 32, 512, 13, 2);
	const uint64_t segment = f->config.segment;
	struct wait w[160];
	uint64_t before = f->sim->counts.bytes_written, i;

	assert_int_equal(reserve(f, &r), 0);
	settle(f);
	/* the descriptor's segment, the next one, log and headers */
	assert_in_range(f->sim->counts.bytes_written - before, segment, 3 * segment);
	before = f->sim->counts.bytes_written;
	assert_int_equal(put(f, &r, 0, 1), 0);
	settle(f);
	assert_in_range(f->sim->counts.bytes_written - before, segment, segment + 16384);
	before = f->sim->counts.bytes_written;
	for (i = 1; i < 40; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	assert_in_range(f->sim->counts.bytes_written - before, 39 * 4608, 39 * 8192);
	assert_int_equal(reserve(f, &much), ENOSPC); /* but it is taken */
	f->config.capacity = 64 << 20;
	assert_int_equal(resize(f, 64 << 20), 0);
	assert_int_equal(reserve(f, &much), 0);
	settle(f);
	before = f->sim->counts.bytes_written;
	for (i = 0; i < 160; i++)
		begin_put(f, &w[i], &much, i, 1, memory(8192), KHD_STORE_SYNC);
	for (i = 0; i < 160; i++) {
		assert_int_equal(finish(f, &w[i]), 0);
		free(w[i].op.iov.iov_base);
	}
	settle(f);
	assert_in_range(f->sim->counts.bytes_written - before, 160 * 8704,
			160 * 8704 + 7 * segment + 65536);
	reopen(f);
	for (i = 0; i < 40; i++)
		assert_int_equal(get(f, &r, i), 1);
	for (i = 0; i < 160; i++)
		assert_int_equal(get(f, &much, i), 1);
	assert_int_equal(f->events, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(units_are_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_released_stays_away, setup, teardown),
		cmocka_unit_test_setup_teardown(a_rebuilt_index_is_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_calls_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(queues_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(space_is_refused_when_it_is_asked_for, setup,
						teardown),
		cmocka_unit_test_setup_teardown(capacity_changes_live, setup, teardown),
		cmocka_unit_test_setup_teardown(what_nobody_writes_costs_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(parked_units_stay_until_they_are_discarded, setup,
						teardown),
		cmocka_unit_test_setup_teardown(scrub_finds_what_nobody_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(a_shrunk_store_opens, setup, teardown),
		cmocka_unit_test_setup_teardown(a_release_longer_than_the_log, setup, teardown),
		cmocka_unit_test_setup_teardown(the_index_stays_in_its_space, setup, teardown),
		cmocka_unit_test(units_of_every_size),
		cmocka_unit_test_setup_teardown(a_cut_waits_for_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(a_growth_lets_reads_pass, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
