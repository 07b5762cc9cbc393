/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kunit_main.h - what the KUnit suites share
 */
#ifndef KZ_KUNIT_MAIN_H
#define KZ_KUNIT_MAIN_H

#include <linux/types.h>

struct kunit;
struct kunit_suite;
struct kz_daemon;
struct kz_instance;
struct kz_region;

extern struct kz_daemon kz_test_khd;

int kz_test_suite_init(struct kunit_suite *suite);
void kz_test_suite_exit(struct kunit_suite *suite);
struct kz_instance *kz_test_instance(struct kunit *test);
struct kz_region *kz_test_region(struct kunit *test, struct kz_instance *instance, u64 lo,
				 u64 units, u32 shift);
void kz_test_region_end(struct kz_region *region);
void kz_test_daemon(struct kz_instance *instance, bool registered);

#endif /* KZ_KUNIT_MAIN_H */
