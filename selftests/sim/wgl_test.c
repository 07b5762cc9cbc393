// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wgl_test.c - the judge of histories is itself judged: by known histories, and on small random
 * ones against a search through every order
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "rng.h"
#include "wgl.h"

#define STEPS 1000000
#define CHECK(...)                                                      \
	({                                                              \
		struct wgl_op ops_[] = { __VA_ARGS__ };                 \
		wgl_check(ops_, sizeof(ops_) / sizeof(ops_[0]), STEPS); \
	})
#define LOAD(c, r, v)                \
	{                            \
		WGL_LOAD, c, r, 0, v \
	}
#define STORE(c, r, v)                \
	{                             \
		WGL_STORE, c, r, v, 0 \
	}
#define ADD(c, r, a, v)             \
	{                           \
		WGL_ADD, c, r, a, v \
	}

static void sequence_is_accepted(void **state)
{
	assert_int_equal(WGL_OK, CHECK(LOAD(1, 2, 0), STORE(3, 4, 7), LOAD(5, 6, 7),
				       ADD(7, 8, 2, 7), LOAD(9, 10, 9)));
	assert_int_equal(WGL_OK, wgl_check(NULL, 0, STEPS));
}

static void stale_load_is_rejected(void **state)
{
	assert_int_equal(WGL_BAD, CHECK(STORE(1, 2, 7), LOAD(3, 4, 0)));
	assert_int_equal(WGL_BAD, CHECK(STORE(1, 2, 7), STORE(3, 4, 8), LOAD(5, 6, 7)));
}

static void overlapping_load_may_see_either(void **state)
{
	assert_int_equal(WGL_OK, CHECK(STORE(1, 10, 7), LOAD(2, 3, 0), LOAD(4, 5, 7)));
	assert_int_equal(WGL_OK, CHECK(STORE(1, 10, 7), LOAD(2, 3, 7)));
}

static void new_then_old_is_rejected(void **state)
{
	assert_int_equal(WGL_BAD, CHECK(STORE(1, 10, 7), LOAD(2, 3, 7), LOAD(4, 5, 0)));
}

static void value_from_nowhere_is_rejected(void **state)
{
	assert_int_equal(WGL_BAD, CHECK(STORE(1, 10, 7), LOAD(2, 3, 6)));
}

static void lost_increment_is_rejected(void **state)
{
	assert_int_equal(WGL_BAD, CHECK(ADD(1, 4, 1, 0), ADD(2, 3, 1, 0)));
	assert_int_equal(WGL_OK, CHECK(ADD(1, 4, 1, 1), ADD(2, 3, 1, 0), LOAD(5, 6, 2)));
}

static void pending_store_may_or_may_not_happen(void **state)
{
	assert_int_equal(WGL_OK, CHECK(STORE(1, WGL_NEVER, 7), LOAD(2, 3, 0)));
	assert_int_equal(WGL_OK, CHECK(STORE(1, WGL_NEVER, 7), LOAD(2, 3, 0), LOAD(4, 5, 7)));
	assert_int_equal(WGL_BAD, CHECK(STORE(1, WGL_NEVER, 7), LOAD(2, 3, 7), LOAD(4, 5, 0)));
	assert_int_equal(WGL_OK, CHECK(STORE(1, WGL_NEVER, 7)));
}

static void store_does_not_happen_before_its_call(void **state)
{
	assert_int_equal(WGL_BAD, CHECK(LOAD(1, 2, 7), STORE(3, 4, 7)));
	assert_int_equal(WGL_BAD, CHECK(LOAD(1, 2, 7), STORE(3, WGL_NEVER, 7)));
}

static void limit_of_steps_is_reported(void **state)
{
	struct wgl_op ops[] = { STORE(1, 2, 7), LOAD(3, 4, 7) };

	assert_int_equal(WGL_UNDECIDED, wgl_check(ops, 2, 1));
}

static void overlaps_are_counted(void **state)
{
	struct wgl_op ops[] = { STORE(1, 4, 1), LOAD(2, 6, 1), LOAD(5, 7, 1),
				LOAD(8, WGL_NEVER, 0) };

	assert_int_equal(2, wgl_overlaps(ops, 4));
}

/* Every order, without any cleverness: the naive twin. */
static bool any_order(const struct wgl_op *ops, size_t n, unsigned int left, uint64_t value)
{
	bool all_done = true;
	size_t i, j;

	for (i = 0; i < n; i++)
		all_done = all_done && (!(left & 1u << i) || ops[i].ret == WGL_NEVER);
	if (all_done)
		return true;
	for (i = 0; i < n; i++) {
		uint64_t after = ops[i].kind == WGL_STORE ? ops[i].arg : value + ops[i].arg;
		bool first = left & 1u << i;

		for (j = 0; j < n && first; j++)
			first = !(left & 1u << j) || ops[j].ret > ops[i].call;
		if (!first)
			continue;
		if (ops[i].kind != WGL_STORE && ops[i].ret != WGL_NEVER && ops[i].out != value)
			continue;
		if (any_order(ops, n, left & ~(1u << i), after))
			return true;
	}
	return false;
}

static void agrees_with_naive_twin(void **state)
{
	struct rng r = { 42 };
	unsigned int bad = 0, round;

	for (round = 0; round < 20000; round++) {
		size_t n = rng_range(&r, 2, 6), i, j, k;
		struct wgl_op ops[6];
		uint64_t times[12];

		for (i = 0; i < 2 * n; i++)
			times[i] = i + 1;
		for (i = 2 * n - 1; i; i--) {
			uint64_t t = times[j = rng_below(&r, i + 1)];

			times[j] = times[i];
			times[i] = t;
		}
		for (k = 0; k < n; k++) {
			uint64_t a = times[2 * k], b = times[2 * k + 1];

			ops[k] = (struct wgl_op){ rng_below(&r, 3), a < b ? a : b, a < b ? b : a, 0,
						  rng_below(&r, 3) };
			ops[k].arg = ops[k].kind == WGL_LOAD ? 0 : 1 + rng_below(&r, 2);
			if (rng_chance(&r, 150))
				ops[k].ret = WGL_NEVER;
		}
		bool naive = any_order(ops, n, (1u << n) - 1, 0);

		bad += !naive;
		assert_int_equal(naive ? WGL_OK : WGL_BAD, wgl_check(ops, n, STEPS));
	}
	assert_in_range(bad, 1000, 19000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequence_is_accepted),
		cmocka_unit_test(stale_load_is_rejected),
		cmocka_unit_test(overlapping_load_may_see_either),
		cmocka_unit_test(new_then_old_is_rejected),
		cmocka_unit_test(value_from_nowhere_is_rejected),
		cmocka_unit_test(lost_increment_is_rejected),
		cmocka_unit_test(pending_store_may_or_may_not_happen),
		cmocka_unit_test(store_does_not_happen_before_its_call),
		cmocka_unit_test(limit_of_steps_is_reported),
		cmocka_unit_test(overlaps_are_counted),
		cmocka_unit_test(agrees_with_naive_twin),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
