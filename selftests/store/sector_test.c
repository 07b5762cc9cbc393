// SPDX-License-Identifier: GPL-2.0-or-later
/* sector_test.c - the page store on disks with sectors of 4096 bytes, and moved to others */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/store/fixture.h"

#define UNITS 16

static int park(struct fixture *f, const struct khd_range *r)
{
	void *buf = memory(1ull << r->shift);
	struct wait w = { .op = { .done = waited,
				  .key = key_of(r, 0),
				  .meta = { 1, 1 },
				  .iov = { buf, 1ull << r->shift } } };
	int error;

	khd_store_park(f->store, &w.op, &r->tag);
	error = finish(f, &w);
	free(buf);
	return error;
}

static void fill(struct fixture *f, const struct khd_range *r, uint64_t version)
{
	uint64_t i;

	for (i = 0; i < r->units; i++)
		assert_int_equal(put(f, r, i, version), 0);
}

static void verify(struct fixture *f, const struct khd_range *r, int64_t version)
{
	uint64_t i;

	for (i = 0; i < r->units; i++)
		assert_int_equal(get(f, r, i), version);
}

static void close_in_order(struct fixture *f)
{
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	f->store = NULL;
}

/* They could not be aligned; and nothing is wrong with the disk. */
static void units_below_the_sector_are_refused(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	struct khd_store_stats stats;
	uint32_t shift;

	for (shift = KHD_STORE_SHIFT_MIN; shift < 12; shift++) {
		struct khd_range small = range_of(1ull << 32, UNITS, shift, 2);

		assert_int_equal(reserve(f, &small), EINVAL);
		assert_int_equal(put(f, &small, 0, 1), ENXIO);
		assert_int_equal(park(f, &small), EINVAL);
	}
	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(park(f, &r), 0);
	fill(f, &r, 1);
	verify(f, &r, 1);
	khd_store_stats(f->store, &stats);
	assert_int_equal(stats.error, 0);
}

static void the_others_are_stored(void **state)
{
	struct fixture *f = *state;
	struct khd_range r[4];
	uint32_t i;

	for (i = 0; i < 4; i++) {
		r[i] = range_of((uint64_t)i << 32, UNITS, 12 + i, i + 1);
		assert_int_equal(reserve(f, &r[i]), 0);
		fill(f, &r[i], 1);
	}
	reopen(f);
	for (i = 0; i < 4; i++) {
		verify(f, &r[i], 1);
		fill(f, &r[i], 2);
	}
	/* from the log, then from the slots alone */
	assert_int_equal(crash(f, DISK_LOST), 0);
	for (i = 0; i < 4; i++)
		verify(f, &r[i], 2);
	r[0].units = 4; /* its head goes */
	assert_int_equal(release(f, &r[0]), 0);
	r[0] = range_of(4 << 12, UNITS - 4, 12, 1);
	close_in_order(f);
	assert_int_equal(khd_store_check(&f->sim->base, found, NULL), 0);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
	assert_int_equal(open_store(f), 0);
	for (i = 1; i < 4; i++)
		verify(f, &r[i], 2);
	khd_store_scrub(f->store, 1 << 30);
	tick(f, 10);
	assert_non_null(strstr(f->event, " 0 damaged, 0 not verified"));
}

/* Nothing is damaged, and nothing is written: another disk has what this one has not. */
static void one_made_for_smaller_sectors_is_told(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1);
	uint64_t hash;

	assert_int_equal(reserve(f, &r), 0);
	fill(f, &r, 1);
	close_in_order(f);
	hash = disk_sim_hash(f->sim);
	disk_sim_sectors(f->sim, 4096, 4096);
	damages = 0;
	assert_int_equal(open_store(f), EMEDIUMTYPE);
	assert_non_null(strstr(f->event, "sectors of 512 bytes"));
	assert_non_null(strstr(f->event, "are 4096"));
	assert_int_equal(khd_store_check(&f->sim->base, found, NULL), -EMEDIUMTYPE);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), -EMEDIUMTYPE);
	assert_int_equal(khd_store_vouch(&f->sim->base), -EMEDIUMTYPE);
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), -EEXIST);
	assert_int_equal(damages, 0);
	assert_int_equal(disk_sim_hash(f->sim), hash);
	disk_sim_sectors(f->sim, 512, 512);
	assert_int_equal(open_store(f), 0);
	verify(f, &r, 1);
}

static void one_made_for_larger_sectors_is_served(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1), small = range_of(1ull << 32, 1, 9, 2);

	assert_int_equal(reserve(f, &r), 0);
	fill(f, &r, 1);
	close_in_order(f);
	disk_sim_sectors(f->sim, 512, 512);
	assert_int_equal(open_store(f), 0);
	verify(f, &r, 1);
	fill(f, &r, 2);
	assert_int_equal(reserve(f, &small), EINVAL); /* it can go back */
	assert_int_equal(crash(f, DISK_DRAWN), 0);
	verify(f, &r, 2);
	close_in_order(f);
	assert_int_equal(khd_store_check(&f->sim->base, found, NULL), 0);
	disk_sim_sectors(f->sim, 4096, 4096);
	assert_int_equal(open_store(f), 0);
	verify(f, &r, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(units_below_the_sector_are_refused, setup_4k,
						teardown),
		cmocka_unit_test_setup_teardown(the_others_are_stored, setup_4k, teardown),
		cmocka_unit_test_setup_teardown(one_made_for_smaller_sectors_is_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(one_made_for_larger_sectors_is_served, setup_4k,
						teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
