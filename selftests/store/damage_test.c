// SPDX-License-Identifier: GPL-2.0-or-later
/* damage_test.c - the page store: what rots, fails, and is cut off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "khd/store/crc32c.h"
#include "khd/store/format.h"
#include "selftests/store/fixture.h"

static void damage_is_named_and_not_served(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 64, 12, 1);
	uint64_t i, bad = 0, total;
	int64_t got;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	total = (uint64_t)f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	/* one bit in 50 places of the segments */
	for (i = 0; i < 50; i++)
		disk_sim_flip(f->sim, KHD_FILE_SLOTS, (total / 2 + i * 4096 + i) * 8 + i % 8);
	damages = 0;
	khd_store_check(&f->sim->base, found, f);
	assert_int_equal(open_store(f), 0);
	f->events = 0;
	for (i = 0; i < 64; i++) {
		got = get(f, &r, i);
		assert_true(got == 1 || got == -EBADMSG);
		bad += got == -EBADMSG;
	}
	assert_int_equal(f->events, bad);
	assert_true(damages >= bad);
	assert_true(bad > 0);
	assert_non_null(strstr(f->event, "slots offset"));
	/* a newer version heals it */
	for (i = 0; i < 64; i++)
		assert_int_equal(put(f, &r, i, 2), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(get(f, &r, i), 2);
}

static void the_first_error_is_the_last(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);
	struct khd_store_stats stats;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 0, 1), 0);
	disk_sim_fail(f->sim, DISK_EIO_FLUSH, 1, 1);
	assert_int_equal(put(f, &r, 1, 1), EIO);
	assert_int_equal(put(f, &r, 2, 1), EIO);
	assert_int_equal(get(f, &r, 0), -EIO);
	khd_store_stats(f->store, &stats);
	assert_int_equal(stats.error, EIO);
	assert_int_equal(f->events, 1);
	assert_non_null(strstr(f->event, "out of service: flush"));
	assert_int_equal(stop(f), EIO);
	assert_int_equal(f->recovery.checks, 0);
	/* khd is started again: the disk did not take the mark, but it knows */
	f->config.checks = f->recovery.checks + 1;
	assert_int_equal(crash(f, DISK_LOST), EUCLEAN);
	assert_int_equal(f->recovery.checks, 0);
	f->config.checks = 0;
	assert_int_equal(open_store(f), 0);
	assert_int_equal(get(f, &r, 0), 1);
	reopen(f);
}

/* A store whose disk failed is not served again before it was found whole, or rebuilt. */
static void a_failed_store_is_not_taken_as_clean(void **state)
{
	struct khd_range r = range_of(0, 64, 12, 1);
	unsigned int nth, failed = 0;
	enum disk_fault fault;
	bool rebuild;

	for (fault = DISK_EIO_READ; fault < DISK_FAULTS; fault++)
		for (nth = 1; nth < 60; nth++) {
			struct khd_store_stats stats;
			uint64_t unit, durable = 0, checks;
			struct fixture *f;

			assert_int_equal(setup(state), 0);
			f = *state;
			assert_int_equal(reserve(f, &r), 0);
			disk_sim_fail(f->sim, fault, nth, 1);
			for (unit = 0; unit < 20; unit++) {
				durable += !put(f, &r, unit, 1);
				get(f, &r, unit);
			}
			tick(f, 40); /* a checkpoint */
			khd_store_stats(f->store, &stats);
			if (stats.error) {
				failed++;
				rebuild = nth % 2;
				checks = f->recovery.checks;
				assert_int_equal(crash(f, DISK_ALL), EUCLEAN);
				assert_non_null(strstr(f->event, "verify it"));
				assert_int_equal(open_store(f), EUCLEAN); /* and again */
				damages = 0;
				if (!rebuild)
					assert_int_equal(khd_store_check(&f->sim->base, found, f),
							 0);
				assert_int_equal(rebuild ? khd_store_rebuild(&f->sim->base, heard,
									     f) :
							   khd_store_vouch(&f->sim->base),
						 0);
				f->config.checks = checks + 1;
				assert_int_equal(open_store(f), 0);
				assert_int_equal(f->recovery.checks, checks + 1);
				for (unit = 0; unit < durable; unit++)
					assert_int_equal(get(f, &r, unit), 1);
				assert_int_equal(put(f, &r, 63, 1), 0);
				reopen(f);
				assert_int_equal(f->recovery.checks, checks + 1);
			}
			assert_int_equal(teardown(state), 0);
		}
	assert_in_range(failed, 100, 6 * 60);
}

/* A disk that fails once more while its store is vouched for: the store stays as it was. */
static void a_disk_that_fails_is_not_vouched_for(void **state)
{
	static const struct {
		enum disk_fault fault;
		unsigned int nth;
	} how[] = { { DISK_EIO_FLUSH, 1 }, { DISK_EIO_FLUSH, 2 }, { DISK_EIO_WRITE, 1 } };
	struct khd_range r = range_of(0, 8, 12, 1);
	struct fixture *f;
	unsigned int i;

	for (i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
		assert_int_equal(setup(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		assert_int_equal(put(f, &r, 0, 1), 0);
		disk_sim_fail(f->sim, DISK_EIO_FLUSH, 1, 1);
		assert_int_equal(put(f, &r, 1, 1), EIO);
		f->config.checks = f->recovery.checks + 1;
		assert_int_equal(crash(f, DISK_ALL), EUCLEAN);
		disk_sim_fail(f->sim, how[i].fault, how[i].nth, 1);
		assert_int_not_equal(khd_store_vouch(&f->sim->base), 0);
		/* the machine starts again: what was written is there, and the disk is well */
		assert_int_equal(crash(f, DISK_ALL), EUCLEAN);
		assert_int_equal(khd_store_vouch(&f->sim->base), 0);
		assert_int_equal(open_store(f), 0);
		assert_int_equal(get(f, &r, 0), 1);
		reopen(f);
		assert_int_equal(teardown(state), 0);
	}
}

/* Whatever was under way when the device failed, the store can be stopped. */
static void a_failed_store_stops(void **state)
{
	static const enum disk_fault how[] = { DISK_EIO_WRITE, DISK_EIO_FLUSH };
	struct khd_range r = range_of(0, 8, 12, 1);
	unsigned int kind, nth;

	for (kind = 0; kind < 2; kind++)
		for (nth = 1; nth < 12; nth++) {
			struct fixture *f;
			uint64_t unit;

			assert_int_equal(setup(state), 0);
			f = *state;
			assert_int_equal(reserve(f, &r), 0);
			disk_sim_fail(f->sim, how[kind], nth, 1);
			for (unit = 0; unit < 3; unit++)
				put(f, &r, unit, 1);
			tick(f, 40);
			stop(f);
			assert_int_equal(teardown(state), 0);
		}
}

static void stores_that_are_none_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct disk_sim *empty = disk_sim_new(2);
	struct khd_store_config config = { .capacity = 1 << 16 };
	struct khd_block block;
	int error = 0;

	assert_null(khd_store_open(&empty->base, &f->config, heard, f, &error, NULL));
	assert_int_equal(error, ENOENT);
	assert_int_equal(f->events, 0); /* nothing is damaged where nothing is */
	assert_int_equal(khd_store_format(&empty->base, &config), -EINVAL);
	config.capacity = 8 << 20;
	config.log = 12345;
	assert_int_equal(khd_store_format(&empty->base, &config), -EINVAL);
	disk_sim_free(empty);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
	/* another format: the version and the sum say so */
	for (int i = 0; i < 2; i++) {
		image_read(&f->sim->now[KHD_FILE_SLOTS], (uint64_t)i * KHD_SUPER_STRIDE, &block,
			   sizeof(block));
		block.head.version = htole16(2);
		block.crc = htole32(khd_crc32c(0, &block, offsetof(struct khd_block, crc)));
		assert_int_equal(f->sim->base.ops->write(&f->sim->base, KHD_FILE_SLOTS,
							 (uint64_t)i * KHD_SUPER_STRIDE, &block,
							 sizeof(block)),
				 sizeof(block));
	}
	assert_int_equal(open_store(f), EPROTONOSUPPORT);
	assert_null(f->store);
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), -EEXIST);
	f->config.plant = "no-such-bug";
	assert_int_equal(open_store(f), EINVAL);
}

/*
 * A group of two puts of which the first slot survived a crash, and the second did not: the record
 * of the second is in the log for all later recoveries.  Returns what the unit reads as after
 * another crash, 1 when the draw was not such a crash.
 */
static int64_t after_half_a_group(const char *plant, unsigned int steps, uint64_t draw)
{
	struct fixture *f;
	struct khd_range r = range_of(0, 8, 12, 1), small = range_of(1 << 20, 8, 9, 2);
	void *first = memory(4096), *second = memory(512);
	struct wait w[2];
	struct disk_sim *left;
	int64_t read = 1;
	unsigned int i;

	setup((void **)&f);
	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(reserve(f, &small), 0);
	assert_int_equal(put(f, &r, 0, 1), 0);
	assert_int_equal(put(f, &small, 0, 1), 0);
	begin_put(f, &w[0], &r, 1, 2, first, KHD_STORE_SYNC | KHD_STORE_MORE);
	begin_put(f, &w[1], &small, 1, 2, second, KHD_STORE_SYNC);
	for (i = 0; i < steps; i++)
		disk_sim_step(f->sim);
	left = disk_sim_crash(f->sim, DISK_DRAWN, draw);
	f->sim->dead = true;
	settle(f);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	f->sim = left;
	f->config.plant = plant;
	assert_int_equal(open_store(f), 0);
	if (f->recovery.discarded == 1 && get(f, &r, 1) == 2) {
		assert_int_equal(get(f, &small, 1), 0);
		assert_int_equal(put(f, &r, 2, 1), 0);
		assert_int_equal(put(f, &r, 3, 1), 0);
		assert_int_equal(crash(f, DISK_LOST), 0);
		assert_int_equal(get(f, &r, 1), 2);
		read = get(f, &small, 1);
	}
	teardown((void **)&f);
	free(first);
	free(second);
	return read;
}

static void what_a_recovery_did_not_count_never_counts(void **state)
{
	unsigned int steps, met = 0, raised = 0;
	uint64_t draw;

	for (steps = 1; steps < 6; steps++)
		for (draw = 1; draw < 80; draw++) {
			int64_t read = after_half_a_group(NULL, steps, draw);

			assert_true(read == 0 || read == 1);
			met += read == 0;
			raised += read == 0 &&
				  after_half_a_group("forget-history", steps, draw) != 0;
		}
	assert_true(met > 0);
	assert_int_equal(raised, met); /* the planted bug is caught by each of them */
}

/* Stores two units, lets @harm at the disk without closing it, and opens it again; open's errno. */
static int harmed(struct fixture *f, const char *plant, void (*harm)(struct disk_sim *sim))
{
	struct khd_range r = range_of(0, 8, 12, 1);
	struct disk_sim *left;

	f->sim = disk_sim_new(1);
	f->config = (struct khd_store_config){ .capacity = 8 << 20, .segment = 256 << 10 };
	f->config.uuid[0] = 1;
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), 0);
	assert_int_equal(open_store(f), 0);
	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 0, 1), 0);
	assert_int_equal(put(f, &r, 1, 1), 0);
	tick(f, 1);
	left = disk_sim_crash(f->sim, DISK_ALL, 1);
	f->sim->dead = true;
	settle(f);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	f->sim = left;
	harm(left);
	f->config.plant = plant;
	return open_store(f);
}

static void end_harmed(struct fixture *f)
{
	settle(f);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	memset(f, 0, sizeof(*f));
}

static void flip_first_log_block(struct disk_sim *sim)
{
	disk_sim_flip(sim, KHD_FILE_SLOTS, (KHD_LOG_AT + 100) * 8);
}

static uint64_t offsets[256]; /* in the slot file, that a check named */
static unsigned int offset_count;

static void found_at(void *arg, const char *file, uint64_t offset, const char *what)
{
	found(arg, file, offset, what);
	if (!strcmp(file, "slots") && offset_count < 256)
		offsets[offset_count++] = offset;
}

/* Where the unit's slot is. */
static uint64_t slot_at(struct disk_sim *sim, uint64_t addr)
{
	uint64_t at, size = (uint64_t)sim->base.ops->size(&sim->base, KHD_FILE_SLOTS);
	struct khd_block block;

	for (at = 0; at < size; at += KHD_SECTOR) {
		assert_int_equal(sim->base.ops->read(&sim->base, KHD_FILE_SLOTS, at, &block,
						     sizeof(block)),
				 sizeof(block));
		if (block.head.kind == KHD_BLOCK_DATA && le64toh(block.head.position) == at &&
		    le64toh(block.slot.addr_lo) == addr)
			return at;
	}
	fail();
	return 0;
}

/* Without the index, or the log, a check still verifies every slot by itself. */
static void a_check_without_the_index_verifies_slots(void **state)
{
	struct khd_range r = range_of(0, 8, 12, 1);
	uint64_t i, data, block;
	int how;

	for (how = 0; how < 2; how++) {
		struct fixture *f;

		assert_int_equal(setup(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		for (i = 0; i < 8; i++)
			assert_int_equal(put(f, &r, i, 1), 0);
		if (how) { /* it claims what it lacks */
			tick(f, 2);
			power_cut(f, DISK_ALL);
			flip_first_log_block(f->sim);
		} else {
			assert_int_equal(stop(f), 0);
			khd_store_close(f->store);
			f->store = NULL;
			disk_sim_flip(f->sim, KHD_FILE_INDEX, 4096 * 8 + 77);
			disk_sim_flip(f->sim, KHD_FILE_INDEX, 77);
		}
		assert_int_equal(open_store(f), EBADMSG);
		data = slot_at(f->sim, 2 << 12);
		block = slot_at(f->sim, 5 << 12);
		disk_sim_flip(f->sim, KHD_FILE_SLOTS, (data + 4000) * 8);
		disk_sim_flip(f->sim, KHD_FILE_SLOTS, (block + 200) * 8);
		offset_count = 0;
		assert_true(khd_store_check(&f->sim->base, found_at, f) >= 3);
		assert_int_equal(offset_count, how ? 3 : 2);
		assert_int_equal(offsets[how], data);
		assert_int_equal(offsets[how + 1], block);
		assert_int_equal(teardown(state), 0);
	}
}

/* Who is out of service for it is to be rebuilt, and its disk to be looked at. */
static void an_index_that_rots_is_no_failed_disk(void **state)
{
	struct khd_range r = range_of(0, 1000, 12, 1);
	struct fixture *f = *state;
	struct khd_store_stats stats;
	int64_t size, at;
	uint64_t i;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < r.units; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	reopen(f);
	size = f->sim->base.ops->size(&f->sim->base, KHD_FILE_INDEX);
	for (at = 8 * 4096; at < size; at += 4096)
		disk_sim_flip(f->sim, KHD_FILE_INDEX, (uint64_t)at * 8 + 77);
	/* what is released is looked up by the checkpoint, page after page */
	assert_int_equal(release(f, &r), 0);
	tick(f, 40);
	khd_store_stats(f->store, &stats);
	assert_int_equal(stats.error, EBADMSG);
	assert_int_equal(put(f, &r, 0, 2), EIO);
}

static void holes_in_the_log_are_no_torn_tail(void **state)
{
	struct fixture f = { 0 };

	assert_int_equal(harmed(&f, NULL, flip_first_log_block), EBADMSG);
	assert_non_null(strstr(f.event, "log: acknowledged records are missing"));
	end_harmed(&f);
	/* the planted bug loses them without a word */
	assert_int_equal(harmed(&f, "damage-as-tail", flip_first_log_block), 0);
	assert_int_equal(f.recovery.replayed, 0);
	end_harmed(&f);
}

/* The slot of unit 0 over that of unit 1. */
static void copy_slot(struct disk_sim *sim)
{
	uint64_t size = sim->now[KHD_FILE_SLOTS].size, at, from = 0;
	uint8_t slot[512 + 4096];
	struct khd_block block;

	for (at = 0; at < size; at += 512) {
		image_read(&sim->now[KHD_FILE_SLOTS], at, &block, sizeof(block));
		if (le32toh(block.head.magic) != KHD_FORMAT_MAGIC ||
		    block.head.kind != KHD_BLOCK_DATA)
			continue;
		if (!from) {
			from = at;
			continue;
		}
		image_read(&sim->now[KHD_FILE_SLOTS], from, slot, sizeof(slot));
		assert_int_equal(sim->base.ops->write(&sim->base, KHD_FILE_SLOTS, at, slot,
						      sizeof(slot)),
				 sizeof(slot));
		return;
	}
	fail();
}

/* The errno of reading unit 1. */
static int read_copied(const char *plant)
{
	struct khd_range r = range_of(0, 8, 12, 1);
	uint8_t *buf = memory(4096);
	struct wait w = { .op = { .done = waited, .key = key_of(&r, 1), .iov = { buf, 4096 } } };
	struct fixture f = { 0 };
	int error;

	error = harmed(&f, plant, copy_slot);
	assert_int_equal(error, 0);
	khd_store_get(f.store, &w.op);
	error = finish(&f, &w);
	end_harmed(&f);
	free(buf);
	return error;
}

static void misdirected_writes_are_noticed(void **state)
{
	assert_int_equal(read_copied(NULL), EBADMSG);
	assert_int_equal(read_copied("no-position-check"), 0);
}

/* ---------------------------------------------------------------- the device gives less */

/*
 * A short read within a file is an error of the device: neither the end of the log, nor a store
 * that is none, nor an index that must be made anew.  Whichever read it is: the store opens with
 * all that was acknowledged, or not at all, with EIO.
 */
static void a_short_read_is_no_end(void **state)
{
	struct khd_range r = range_of(0, 8, 12, 1);
	unsigned int nth, refused = 0;

	for (nth = 1; nth < 1000; nth++) {
		struct fixture *f;
		uint64_t met;
		int error;

		assert_int_equal(setup(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		assert_int_equal(put(f, &r, 0, 1), 0);
		tick(f, 40);
		assert_int_equal(put(f, &r, 1, 2), 0); /* nothing claims it */
		disk_sim_fail(f->sim, DISK_FINE, 0, 0);
		assert_int_equal(crash(f, DISK_LOST), 0);
		f->sim->dead = true;
		settle(f);
		khd_store_close(f->store);
		f->sim->dead = false;
		disk_sim_fail(f->sim, DISK_SHORT_READ, nth, 1);
		error = open_store(f);
		met = f->sim->counts.faults;
		disk_sim_fail(f->sim, DISK_FINE, 0, 0);
		assert_true(error == 0 || (error == EIO && met));
		refused += error == EIO;
		if (error)
			assert_int_equal(open_store(f), 0);
		assert_int_equal(get(f, &r, 0), 1);
		assert_int_equal(get(f, &r, 1), 2);
		assert_int_equal(teardown(state), 0);
		if (!met)
			break;
	}
	assert_true(refused > 5 && nth < 1000);
}

/* Nor may a format take a store for none. */
static void a_short_read_is_no_empty_disk(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 0, 1), 0);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
	f->sim->rng.state = 5;
	disk_sim_fail(f->sim, DISK_SHORT_READ, 1, UINT64_MAX);
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), -EIO);
	disk_sim_fail(f->sim, DISK_FINE, 0, 0);
	assert_int_equal(open_store(f), 0);
	assert_int_equal(get(f, &r, 0), 1);
}

/* ---------------------------------------------------------------- claims */

/*
 * What a recovery replayed above all claims is claimed by the first tick: when it rots, and the
 * power goes again, it is missed.
 */
static void what_was_replayed_is_claimed(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);
	struct khd_log_head head;
	uint64_t at, last = 0;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 0, 1), 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(f->recovery.replayed, 2);
	for (at = KHD_LOG_AT; at < KHD_LOG_AT + 65536; at += 512) {
		image_read(&f->sim->now[KHD_FILE_SLOTS], at, &head, sizeof(head));
		if (le32toh(head.head.magic) == KHD_FORMAT_MAGIC && head.cells)
			last = at;
	}
	assert_true(last > 0);
	tick(f, 1);
	disk_sim_flip(f->sim, KHD_FILE_SLOTS, (last + sizeof(head) + 8) * 8);
	assert_int_equal(crash(f, DISK_ALL), EBADMSG);
	assert_non_null(strstr(f->event, "acknowledged records are missing"));
}

/* ---------------------------------------------------------------- no memory */

static unsigned int allocations_left; /* 0: as many as there are */

bool __real_khd_grow(void *at, size_t count, size_t *capacity, size_t size);
bool __wrap_khd_grow(void *at, size_t count, size_t *capacity, size_t size);
void *__real_khd_push_item(void *at, size_t *count, size_t *capacity, size_t size);
void *__wrap_khd_push_item(void *at, size_t *count, size_t *capacity, size_t size);

static bool allocation_fails(void)
{
	return allocations_left && !--allocations_left;
}

bool __wrap_khd_grow(void *at, size_t count, size_t *capacity, size_t size)
{
	return !allocation_fails() && __real_khd_grow(at, count, capacity, size);
}

void *__wrap_khd_push_item(void *at, size_t *count, size_t *capacity, size_t size)
{
	return allocation_fails() ? NULL : __real_khd_push_item(at, count, capacity, size);
}

/* Everything once, all under way together: that each call ends is all that is asked. */
static void every_call(struct fixture *f)
{
	struct khd_range r = range_of(0, 8, 12, 1), other = range_of(1 << 20, 8, 12, 2),
			 middle = range_of(2 << 12, 2, 12, 1);
	struct khd_tag tag = { { 0x55 } };
	struct khd_parked parked;
	void *buf[3] = { memory(4096), memory(4096), memory(4096) };
	struct wait w[6] = { 0 };
	unsigned int i;

	begin_put(f, &w[0], &r, 0, 2, buf[0], KHD_STORE_SYNC);
	for (i = 1; i < 6; i++)
		w[i].op.done = waited;
	khd_store_reserve(f->store, &w[1].op, &other);
	w[2].op.key = key_of(&r, 1);
	w[2].op.meta = (struct khd_meta){ 1, 99 };
	w[2].op.iov = (struct iovec){ buf[1], 4096 };
	khd_store_park(f->store, &w[2].op, &tag);
	khd_store_release(f->store, &w[3].op, &middle);
	w[4].op.iov.iov_len = 0;
	khd_store_parked_discard(f->store, &w[4].op, 1);
	khd_store_flush(f->store, &w[5].op);
	for (i = 0; i < 6; i++)
		finish(f, &w[i]);
	w[4] = (struct wait){ .op.done = waited };
	khd_store_parked_get(f->store, &w[4].op, 0, &parked);
	if (!finish(f, &w[4])) {
		w[4] = (struct wait){ .op.done = waited };
		khd_store_parked_discard(f->store, &w[4].op, parked.id);
		finish(f, &w[4]);
	}
	for (i = 0; i < 3; i++)
		free(buf[i]);
}

static void calls_end_without_memory(void **state)
{
	struct khd_range r = range_of(0, 8, 12, 1);
	struct khd_store_stats stats;
	unsigned int nth, failed = 0;

	for (nth = 1; nth < 200; nth++) {
		struct fixture *f;
		bool met;

		assert_int_equal(setup(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		assert_int_equal(put(f, &r, 0, 1), 0);
		allocations_left = nth;
		every_call(f);
		met = !allocations_left;
		allocations_left = 0;
		khd_store_stats(f->store, &stats);
		failed += stats.error != 0;
		stop(f);
		assert_int_equal(crash(f, DISK_LOST), 0);
		assert_true(get(f, &r, 0) >= 1);
		assert_int_equal(teardown(state), 0);
		if (!met)
			break;
	}
	assert_true(failed > 3 && nth < 200);
}

/* The sum, bit by bit, beside the one that is used: every length around a lane, any place. */
/* The next buffer that is asked for is not there. */
static bool no_buffer;

void *__real_khd_buffer(size_t bytes);
void *__wrap_khd_buffer(size_t bytes);
void *__wrap_khd_buffer(size_t bytes)
{
	bool none = no_buffer;

	no_buffer = false;
	return none ? NULL : __real_khd_buffer(bytes);
}

/* What has no memory gives back what it took: a segment of 56 slots outlives 200 of them. */
static void no_slot_is_lost_without_memory(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);
	struct khd_tag tag = { { 1 } };
	uint8_t *buf = memory(4096);
	unsigned int i;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 0, 1), 0); /* the segment is there */
	for (i = 0; i < 200; i++) {
		struct wait w = { .op = { .done = waited,
					  .key = key_of(&r, 1),
					  .meta = { 1, 1 },
					  .iov = { buf, 4096 } } };

		no_buffer = true;
		assert_int_equal(put(f, &r, 0, 1), ENOMEM);
		assert_false(no_buffer);
		no_buffer = true;
		khd_store_park(f->store, &w.op, &tag);
		assert_int_equal(finish(f, &w), ENOMEM);
	}
	for (i = 0; i < 8; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	assert_int_equal(f->events, 0);
	free(buf);
}

static void sums_are_crc32c(void **state)
{
	static uint8_t buf[16384];
	uint32_t i, bit, at, expected;

	assert_int_equal(khd_crc32c(0, "123456789", 9), 0xe3069283);
	for (i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 167 + (i >> 7));
	for (at = 0; at < 9; at += 4) {
		expected = ~0x1234u;
		for (i = 0; i < sizeof(buf) - at; i++) {
			if (i % 61 == 0 || i % 1360 < 9 || i % 4096 < 9)
				assert_int_equal(khd_crc32c(0x1234, buf + at, i), ~expected);
			expected ^= buf[at + i];
			for (bit = 0; bit < 8; bit++)
				expected = expected >> 1 ^ (expected & 1 ? 0x82f63b78u : 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(damage_is_named_and_not_served, setup, teardown),
		cmocka_unit_test(a_check_without_the_index_verifies_slots),
		cmocka_unit_test_setup_teardown(the_first_error_is_the_last, setup, teardown),
		cmocka_unit_test(a_failed_store_stops),
		cmocka_unit_test(a_failed_store_is_not_taken_as_clean),
		cmocka_unit_test(a_disk_that_fails_is_not_vouched_for),
		cmocka_unit_test_setup_teardown(stores_that_are_none_are_told_apart, setup,
						teardown),
		cmocka_unit_test(what_a_recovery_did_not_count_never_counts),
		cmocka_unit_test_setup_teardown(an_index_that_rots_is_no_failed_disk, setup,
						teardown),
		cmocka_unit_test(holes_in_the_log_are_no_torn_tail),
		cmocka_unit_test(misdirected_writes_are_noticed),
		cmocka_unit_test(a_short_read_is_no_end),
		cmocka_unit_test_setup_teardown(a_short_read_is_no_empty_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_replayed_is_claimed, setup, teardown),
		cmocka_unit_test(calls_end_without_memory),
		cmocka_unit_test_setup_teardown(no_slot_is_lost_without_memory, setup, teardown),
		cmocka_unit_test(sums_are_crc32c),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
