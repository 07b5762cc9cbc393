// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>
#include "lib/core/hash.h"
#include "lib/core/interval.h"
#include "unit.h"

static void neighbours_become_one_range(void **state)
{
	struct kh_intervals set = { 0 };

	kh_intervals_add(&set, 10, 20);
	kh_intervals_add(&set, 30, 40);
	assert_int_equal(set.count, 2);
	kh_intervals_add(&set, 20, 30);
	assert_int_equal(set.count, 1);
	assert_int_equal(set.items[0].start, 10);
	assert_int_equal(set.items[0].end, 40);
	kh_intervals_remove(&set, 15, 16);
	assert_int_equal(set.count, 2);
	assert_false(kh_intervals_has(&set, 15));
	assert_true(kh_intervals_has(&set, 14));
	assert_true(kh_intervals_has(&set, 16));
	assert_int_equal(kh_intervals_count(&set, 0, 100), 29);
	kh_intervals_free(&set);
}

static void empty_ranges_change_nothing(void **state)
{
	struct kh_intervals set = { 0 };

	kh_intervals_add(&set, 5, 5);
	kh_intervals_remove(&set, 1, 9);
	assert_int_equal(set.count, 0);
	assert_false(kh_intervals_has(&set, 5));
	kh_intervals_free(&set);
}

/* The naive twin: a byte per unit. */
static void it_agrees_with_its_naive_twin(void **state)
{
	struct kh_intervals set = { 0 };
	unsigned char twin[200] = { 0 };
	unsigned int step, i, count;

	srand(1);
	for (step = 0; step < 5000; step++) {
		unsigned int start = (unsigned int)rand() % 200;
		unsigned int end = start + (unsigned int)rand() % (201 - start);
		int add = rand() & 1;

		if (add)
			kh_intervals_add(&set, start, end);
		else
			kh_intervals_remove(&set, start, end);
		memset(twin + start, add, end - start);
		for (i = count = 0; i < 200; i++) {
			assert_int_equal(kh_intervals_has(&set, i), twin[i]);
			count += twin[i];
		}
		assert_int_equal(kh_intervals_count(&set, 0, 200), count);
		for (i = 1; i < set.count; i++)
			assert_true(set.items[i - 1].end < set.items[i].start);
	}
	kh_intervals_free(&set);
}

static void a_hash_finds_what_was_put_in(void **state)
{
	struct kh_hnode nodes[500];
	struct kh_hash hash = { 0 };
	struct kh_hnode *n;
	unsigned int i, seen = 0;

	assert_null(kh_hash_find(&hash, 1));
	for (i = 0; i < 500; i++)
		kh_hash_add(&hash, &nodes[i], i * 4096ull);
	for (i = 0; i < 500; i++)
		assert_ptr_equal(kh_hash_find(&hash, i * 4096ull), &nodes[i]);
	for (i = 0; i < 500; i += 2)
		kh_hash_del(&hash, &nodes[i]);
	for (n = kh_hash_first(&hash); n; n = kh_hash_next(&hash, n))
		seen++;
	assert_int_equal(seen, 250);
	assert_null(kh_hash_find(&hash, 0));
	kh_hash_free(&hash);
}

int test_interval(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_become_one_range),
		cmocka_unit_test(empty_ranges_change_nothing),
		cmocka_unit_test(it_agrees_with_its_naive_twin),
		cmocka_unit_test(a_hash_finds_what_was_put_in),
	};

	return cmocka_run_group_tests_name("interval", tests, NULL, NULL);
}
