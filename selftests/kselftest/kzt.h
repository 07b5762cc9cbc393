/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kzt.h - the include of a kselftest program: the harness and the users
 */
#ifndef KZT_H
#define KZT_H

#include <stdlib.h>

#include "kselftest_harness.h"
#include "kzt_user.h"

/* Leave only the tests of the name that KZT_ONLY has, if it is set. */
static inline void kzt_only(void)
{
	const char *name = getenv("KZT_ONLY");
	struct __fixture_metadata *f;
	struct __test_metadata **at;

	for (f = name ? __fixture_list : NULL; f; f = f->next) {
		at = &f->tests;
		while (*at) {
			if (strcmp((*at)->name, name))
				*at = (*at)->next;
			else
				at = &(*at)->next;
		}
	}
}

#undef TEST_HARNESS_MAIN
#define TEST_HARNESS_MAIN                                                       \
	static void __attribute__((constructor)) __constructor_order_last(void) \
	{                                                                       \
		if (!__constructor_order)                                       \
			__constructor_order = _CONSTRUCTOR_ORDER_BACKWARD;      \
	}                                                                       \
	int main(int argc, char **argv)                                         \
	{                                                                       \
		kzt_only();                                                     \
		return test_harness_run(argc, argv);                            \
	}

#endif /* KZT_H */
