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

#include "khd/store/crc32c.h"
#include "khd/store/format.h"
#include "khd/store/store.h"
#include "selftests/store/disk_sim.h"

#define STEPS_MAX 1000000 /* of the disk, until a call must have ended */

struct fixture {
	struct disk_sim *sim;
	struct khd_store *store;
	struct khd_store_config config;
	struct khd_store_recovery recovery;
	uint64_t now;
	unsigned int events;
	char event[400];
};

static void heard(void *arg, const char *name, const char *text)
{
	struct fixture *f = arg;

	f->events++;
	snprintf(f->event, sizeof(f->event), "%s: %s", name, text);
	if (getenv("STORE_TEST_VERBOSE"))
		fprintf(stderr, "# %s\n", f->event);
}

static int open_store(struct fixture *f)
{
	int error = 0;

	f->store = khd_store_open(&f->sim->base, &f->config, heard, f, &error, &f->recovery);
	return error;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->sim = disk_sim_new(1);
	f->config = (struct khd_store_config){ .capacity = 8 << 20, .segment = 256 << 10 };
	f->config.uuid[0] = 1;
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), 0);
	assert_int_equal(open_store(f), 0);
	*state = f;
	return 0;
}

/* ---------------------------------------------------------------- calls that are waited for */

struct wait {
	struct khd_store_op op;
	bool done;
	int error;
};

static void waited(struct khd_store_op *op, int error)
{
	struct wait *w = (struct wait *)op;

	assert_false(w->done);
	w->done = true;
	w->error = error;
}

static int finish(struct fixture *f, struct wait *w)
{
	int steps = 0;

	while (!w->done) {
		assert_true(steps++ < STEPS_MAX);
		if (!disk_sim_step(f->sim)) {
			f->now += 1000000000;
			khd_store_tick(f->store, f->now);
		}
	}
	return w->error;
}

static void settle(struct fixture *f)
{
	int steps = 0;

	while (disk_sim_step(f->sim))
		assert_true(steps++ < STEPS_MAX);
}

static void tick(struct fixture *f, uint64_t seconds)
{
	for (; seconds; seconds--) {
		f->now += 1000000000;
		khd_store_tick(f->store, f->now);
		settle(f);
	}
}

static int reserve(struct fixture *f, const struct khd_range *range)
{
	struct wait w = { .op.done = waited };

	khd_store_reserve(f->store, &w.op, range);
	assert_false(w.done);
	return finish(f, &w);
}

static int release(struct fixture *f, const struct khd_range *range)
{
	struct wait w = { .op.done = waited };

	khd_store_release(f->store, &w.op, range);
	assert_false(w.done);
	return finish(f, &w);
}

static struct khd_range range_of(uint64_t lo, uint64_t units, uint32_t shift, uint64_t generation)
{
	struct khd_range r = {
		.start = { 7, lo }, .units = units, .shift = shift, .generation = generation
	};

	memset(r.tag.bytes, (int)generation, sizeof(r.tag.bytes));
	return r;
}

static struct khd_key key_of(const struct khd_range *r, uint64_t unit)
{
	return (struct khd_key){ .addr = { r->start.hi, r->start.lo + (unit << r->shift) },
				 .generation = r->generation,
				 .shift = r->shift };
}

static void *memory(size_t bytes)
{
	void *buf = aligned_alloc(KHD_DISK_ALIGN, (bytes + 4095) / 4096 * 4096);

	assert_non_null(buf);
	memset(buf, 0xee, bytes);
	return buf;
}

static void begin_put(struct fixture *f, struct wait *w, const struct khd_range *r, uint64_t unit,
		      uint64_t version, void *buf, uint32_t flags)
{
	*w = (struct wait){ .op = { .done = waited,
				    .key = key_of(r, unit),
				    .meta = { version, version * 3 },
				    .iov = { buf, 1ull << r->shift },
				    .flags = flags } };
	memset(buf, (int)(unit * 7 + version), 1ull << r->shift);
	khd_store_put(f->store, &w->op);
	assert_false(w->done);
}

static int put(struct fixture *f, const struct khd_range *r, uint64_t unit, uint64_t version)
{
	void *buf = memory(1ull << r->shift);
	struct wait w;
	int error;

	begin_put(f, &w, r, unit, version, buf, KHD_STORE_SYNC);
	error = finish(f, &w);
	free(buf);
	return error;
}

/* The version, with its contents checked, or a negative errno. */
static int64_t get(struct fixture *f, const struct khd_range *r, uint64_t unit)
{
	uint8_t *buf = memory(1ull << r->shift);
	struct wait w = {
		.op = { .done = waited, .key = key_of(r, unit), .iov = { buf, 1ull << r->shift } }
	};
	int64_t version;
	size_t i;

	khd_store_get(f->store, &w.op);
	assert_false(w.done);
	version = -finish(f, &w);
	if (!version) {
		version = (int64_t)w.op.meta.version;
		assert_int_equal(w.op.meta.token, version * 3);
		for (i = 0; i < 1ull << r->shift; i++)
			assert_int_equal(buf[i], version ? (uint8_t)(unit * 7 + version) : 0);
	}
	free(buf);
	return version;
}

static int stop(struct fixture *f)
{
	struct wait w = { .op.done = waited };

	khd_store_stop(f->store, &w.op);
	return finish(f, &w);
}

static void reopen(struct fixture *f)
{
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	assert_int_equal(open_store(f), 0);
}

/* The power goes; what was not flushed is lost as @how says. */
static int crash(struct fixture *f, enum disk_crash how)
{
	struct disk_sim *left = disk_sim_crash(f->sim, how, 1);

	f->sim->dead = true;
	settle(f);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	f->sim = left;
	f->events = 0;
	return open_store(f);
}

static uint64_t damages;
static void found(void *arg, const char *file, uint64_t offset, const char *what)
{
	damages++;
	if (getenv("STORE_TEST_VERBOSE"))
		fprintf(stderr, "# found %s %llu %s\n", file, (unsigned long long)offset, what);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->store) {
		settle(f);
		khd_store_close(f->store);
	}
	assert_null(f->sim->broken);
	disk_sim_free(f->sim);
	free(f);
	return 0;
}

/* ---------------------------------------------------------------- tests */

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
	assert_int_equal(khd_store_resize(f->store, 2 << 20), -EBUSY);
	assert_int_equal(khd_store_resize(f->store, 0), -EINVAL);
	assert_int_equal(release(f, &low), 0);
	tick(f, 2);
	before = f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	/* the units behind the new end move before it */
	assert_int_equal(khd_store_resize(f->store, 4 << 20), 0);
	tick(f, 60);
	after = f->sim->base.ops->size(&f->sim->base, KHD_FILE_SLOTS);
	assert_true(before > 4 << 20);
	assert_true(after <= 4 << 20);
	for (i = 0; i < 500; i++)
		assert_int_equal(get(f, &high, i), 1);
	low.generation = 3;
	assert_int_equal(reserve(f, &low), ENOSPC);
	assert_int_equal(khd_store_resize(f->store, 8 << 20), 0);
	assert_int_equal(reserve(f, &low), 0);
	f->config.capacity = 0;
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
	assert_int_equal(crash(f, DISK_LOST), 0); /* khd is started again */
	assert_int_equal(get(f, &r, 0), 1);
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
	assert_int_equal(khd_store_resize(f->store, 4 << 20), 0);
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
		cmocka_unit_test_setup_teardown(parked_units_stay_until_they_are_discarded, setup,
						teardown),
		cmocka_unit_test_setup_teardown(damage_is_named_and_not_served, setup, teardown),
		cmocka_unit_test_setup_teardown(scrub_finds_what_nobody_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_error_is_the_last, setup, teardown),
		cmocka_unit_test_setup_teardown(stores_that_are_none_are_told_apart, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_shrunk_store_opens, setup, teardown),
		cmocka_unit_test_setup_teardown(a_release_longer_than_the_log, setup, teardown),
		cmocka_unit_test(a_failed_store_stops),
		cmocka_unit_test(what_a_recovery_did_not_count_never_counts),
		cmocka_unit_test(holes_in_the_log_are_no_torn_tail),
		cmocka_unit_test(misdirected_writes_are_noticed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
