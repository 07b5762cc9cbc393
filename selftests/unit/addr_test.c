// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>
#include <khazana.h>
#include "unit.h"

static void addresses_are_printed_and_parsed(void **state)
{
	const struct khazana_addr addrs[] = {
		{ 0, 0 },
		{ 1, 2 },
		{ ~0ull, ~0ull },
		{ 0x300000000ull, 0x100010000ull },
	};
	struct khazana_addr parsed;
	char text[KH_ADDR_TEXT];
	size_t i;

	for (i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		kh_addr_format(addrs[i], text);
		assert_int_equal(kh_addr_parse(text, &parsed), 0);
		assert_int_equal(parsed.hi, addrs[i].hi);
		assert_int_equal(parsed.lo, addrs[i].lo);
	}
	assert_int_equal(kh_addr_parse("0x12:0xAb", &parsed), 0);
	assert_int_equal(parsed.hi, 0x12);
	assert_int_equal(parsed.lo, 0xab);
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const bad[] = { "",	    ":",    "1",   "1:",   ":1",
					   "1:2:3", "1:2 ", "g:1", "-1:2", "1:12345678123456789",
					   "0x:1",  "1 :2" };
	struct khazana_addr parsed = { 7, 7 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(kh_addr_parse(bad[i], &parsed), -EINVAL);
	assert_int_equal(parsed.hi, 7);
}

static void sums_carry(void **state)
{
	struct khazana_addr sum = kh_addr_add((struct khazana_addr){ 1, ~0ull - 1 }, 3);

	assert_int_equal(sum.hi, 2);
	assert_int_equal(sum.lo, 1);
}

int test_addr(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_printed_and_parsed),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(sums_carry),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
