// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * core.c - unit tests of lib/core
 */
#include "unit.h"

int main(void)
{
	int failed;

	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = test_addr();
	failed += test_interval();
	failed += test_wire();
	failed += test_crew();
	failed += test_lease();
	failed += test_loss();
	failed += test_key();
	failed += test_home();
	failed += test_keep();
	failed += test_place();
	failed += test_flush();
	failed += test_rot();
	failed += test_step();
	return failed != 0;
}
