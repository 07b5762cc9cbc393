// SPDX-License-Identifier: GPL-2.0-only
/*
 * kunit_main.c - what the KUnit suites share
 *
 * The suites run the module's own units in a module of their own, without
 * device: on the instance of the initial namespace.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include <net/net_namespace.h>

#include "alloc.h"
#include "instance.h"
#include "kunit_main.h"
#include "region.h"
#include "worker.h"

struct kz_daemon kz_test_khd = { .node = 1 };

/**
 * kz_test_suite_init() - instances exist from now on
 * @suite: the suite
 */
int kz_test_suite_init(struct kunit_suite *suite)
{
	int err = kz_worker_init();

	if (err)
		return err;
	err = kz_instance_init();
	if (err)
		kz_worker_exit();
	return err;
}

/**
 * kz_test_suite_exit() - and from now on not
 * @suite: the suite
 */
void kz_test_suite_exit(struct kunit_suite *suite)
{
	kz_instance_exit();
	kz_worker_exit();
	rcu_barrier();
	kz_alloc_exit();
}

/**
 * kz_test_instance() - the instance, with frames
 * @test: fails if there is none
 */
struct kz_instance *kz_test_instance(struct kunit *test)
{
	struct kz_instance *instance = kz_instance_get_net(&init_net);

	KUNIT_ASSERT_NOT_NULL(test, instance);
	mutex_lock(&instance->lock);
	KUNIT_EXPECT_EQ(test, 0, kz_instance_frames_get(instance));
	mutex_unlock(&instance->lock);
	return instance;
}

/**
 * kz_test_region() - a region
 * @test: fails if there is none
 * @instance: the instance
 * @lo: lower half of its address
 * @units: how many
 * @shift: log2 of a unit
 *
 * Return: a reference, for kz_test_region_end().
 */
struct kz_region *kz_test_region(struct kunit *test, struct kz_instance *instance, u64 lo,
				 u64 units, u32 shift)
{
	struct khazana_cmd cmd = {
		.addr = { .hi = 7, .lo = lo }, .length = units << shift, .unit_shift = shift,
	};
	struct kz_region *region;

	KUNIT_ASSERT_EQ(test, 0, kz_region_add(instance, &cmd));
	region = kz_region_find(instance, cmd.region);
	KUNIT_ASSERT_NOT_NULL(test, region);
	return region;
}

/**
 * kz_test_region_end() - delete a region
 * @region: from kz_test_region()
 */
void kz_test_region_end(struct kz_region *region)
{
	kz_region_del(region, true);
	kz_region_put(region);
}

/**
 * kz_test_daemon() - pretend that a khd is there, or has gone
 * @instance: the instance
 * @registered: which of them
 */
void kz_test_daemon(struct kz_instance *instance, bool registered)
{
	spin_lock(&instance->queue.lock);
	kz_test_khd.instance = instance;
	instance->queue.daemon = registered ? &kz_test_khd : NULL;
	spin_unlock(&instance->queue.lock);
}

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit tests of khazana.ko");
