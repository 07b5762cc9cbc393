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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(units_are_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_released_stays_away, setup, teardown),
		cmocka_unit_test_setup_teardown(a_rebuilt_index_is_the_same, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
