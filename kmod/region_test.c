// SPDX-License-Identifier: GPL-2.0-only
/*
 * region_test.c - tests of regions, windows and units
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/timekeeping.h>

#include "acquire.h"
#include "frame.h"
#include "instance.h"
#include "kunit_main.h"
#include "lease.h"
#include "region.h"
#include "revoke.h"
#include "unit.h"

static int region_init(struct kunit *test)
{
	test->priv = kz_test_instance(test);
	return 0;
}

static void region_exit(struct kunit *test)
{
	struct kz_instance *instance = test->priv;

	KUNIT_EXPECT_TRUE(test, xa_empty(&instance->regions));
	KUNIT_EXPECT_EQ(test, 0, instance->frames.in_use);
	mutex_lock(&instance->lock);
	kz_instance_frames_trim(instance);
	mutex_unlock(&instance->lock);
	kz_instance_put(instance);
}

static int add(struct kz_instance *instance, u64 hi, u64 lo, u64 length, u32 shift)
{
	struct khazana_cmd cmd = {
		.addr = { .hi = hi, .lo = lo }, .length = length, .unit_shift = shift,
	};
	int err = kz_region_add(instance, &cmd);

	return err ?: cmd.region;
}

static void del(struct kunit *test, u32 handle)
{
	struct kz_region *region = kz_region_find(test->priv, handle);

	KUNIT_ASSERT_NOT_NULL(test, region);
	KUNIT_EXPECT_EQ(test, 0, kz_region_del(region, false));
	kz_region_put(region);
	KUNIT_EXPECT_NULL(test, kz_region_find(test->priv, handle));
}

static void shapes(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	int handle;

	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, 0, 0, 0, 12));
	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, 0, 0, 4095, 12));
	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, 0, 8, 4096, 12));
	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, 0, 4096, 65536, 16));
	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, 0, 0, 4096, 11));
	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, 0, 0, 1 << 22, 22));
	/* The last byte of all is in, one more is not. */
	handle = add(instance, U64_MAX, -8192ULL, 8192, 12);
	KUNIT_EXPECT_GT(test, handle, 0);
	del(test, handle);
	KUNIT_EXPECT_EQ(test, -EINVAL, add(instance, U64_MAX, -4096ULL, 8192, 12));
	handle = add(instance, 5, -4096ULL, 8192, 12);
	KUNIT_EXPECT_GT(test, handle, 0);
	del(test, handle);
}

static void known_and_overlapping(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	struct khazana_cmd cmd = {
		.addr = { .hi = 3, .lo = -8192ULL }, .length = 65536, .unit_shift = 12,
	};
	u32 handle;

	KUNIT_ASSERT_EQ(test, 0, kz_region_add(instance, &cmd));
	handle = cmd.region;
	cmd.region = 0;
	KUNIT_EXPECT_EQ(test, -EALREADY, kz_region_add(instance, &cmd));
	KUNIT_EXPECT_EQ(test, handle, cmd.region);
	cmd.generation = 1;
	KUNIT_EXPECT_EQ(test, -EBUSY, kz_region_add(instance, &cmd));
	KUNIT_EXPECT_EQ(test, -EBUSY, add(instance, 4, 0, 4096, 12));
	KUNIT_EXPECT_EQ(test, -EBUSY, add(instance, 3, 0, U64_MAX & ~4095ULL, 12));
	KUNIT_EXPECT_EQ(test, 1, add(instance, 4, 65536, 4096, 12) > 0);
	del(test, handle + 1);
	del(test, handle);
}

static void walk(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	int i, handle[3];
	u32 cursor = 0;

	for (i = 0; i < 3; i++)
		handle[i] = add(instance, 1, i << 20, 4096, 12);
	for (i = 0; i < 3; i++) {
		struct kz_region *region = kz_region_next(instance, cursor);

		KUNIT_ASSERT_NOT_NULL(test, region);
		KUNIT_EXPECT_EQ(test, handle[i], region->handle);
		cursor = region->handle + 1;
		kz_region_put(region);
	}
	KUNIT_EXPECT_NULL(test, kz_region_next(instance, cursor));
	for (i = 0; i < 3; i++)
		del(test, handle[i]);
}

static int window(struct kz_region *region, u64 hi, u64 lo, u64 length,
		  struct kz_attachment **out)
{
	struct khazana_attach arg = { .start = { .hi = hi, .lo = lo }, .length = length };
	int err;

	kz_region_get(region);
	err = kz_attachment_new(region, &arg, out);
	if (err)
		kz_region_put(region);
	return err;
}

static void windows(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	u64 base = -32768ULL;
	struct kz_region *region = kz_test_region(test, instance, base, 16, 12);
	struct kz_attachment *attachment;

	KUNIT_EXPECT_EQ(test, -ERANGE, window(region, 7, base - 4096, 4096, &attachment));
	KUNIT_EXPECT_EQ(test, -ERANGE, window(region, 8, 32768, 4096, &attachment));
	KUNIT_EXPECT_EQ(test, -ERANGE, window(region, 8, 0, 65536, &attachment));
	KUNIT_EXPECT_EQ(test, -EINVAL, window(region, 7, base + 8, 4096, &attachment));
	KUNIT_EXPECT_EQ(test, -EINVAL, window(region, 7, base, 8, &attachment));
	KUNIT_EXPECT_EQ(test, -EINVAL, window(region, 7, base, 1ULL << 63, &attachment));
	KUNIT_ASSERT_EQ(test, 0, window(region, 8, 4096, 0, &attachment));
	KUNIT_EXPECT_EQ(test, 9, attachment->first);
	KUNIT_EXPECT_EQ(test, 28672, attachment->length);
	KUNIT_EXPECT_EQ(test, 8, kz_region_addr(region, 9).hi);
	KUNIT_EXPECT_EQ(test, 4096, kz_region_addr(region, 9).lo);
	KUNIT_EXPECT_EQ(test, -EBUSY, kz_region_del(region, false));
	KUNIT_EXPECT_EQ(test, 0, kz_attachment_check(attachment));
	kz_region_poison(region);
	KUNIT_EXPECT_EQ(test, -ESTALE, kz_attachment_check(attachment));
	KUNIT_EXPECT_EQ(test, 0, kz_region_del(region, true));
	KUNIT_EXPECT_EQ(test, -ENOENT, kz_region_del(region, true));
	kz_attachment_free(attachment);
	kz_region_put(region);
}

static void units_and_frames(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	struct kz_region *region = kz_test_region(test, instance, 1 << 20, 4, 16);
	struct kz_unit *unit = kz_unit_get(region, 2);
	u32 i;

	KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
	KUNIT_EXPECT_PTR_EQ(test, unit, kz_unit_get(region, 2));
	KUNIT_EXPECT_NULL(test, kz_unit_find(region, 1));
	mutex_lock(&unit->mutex);
	KUNIT_EXPECT_EQ(test, 0, kz_unit_frame(unit, KHAZANA_CMDF_TRY));
	mutex_unlock(&unit->mutex);
	KUNIT_ASSERT_NOT_NULL(test, unit->cur);
	KUNIT_EXPECT_EQ(test, 16, unit->cur->count);
	KUNIT_EXPECT_EQ(test, 0, unit->cur->index % 16);
	KUNIT_EXPECT_EQ(test, 16, instance->frames.in_use);
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_PTR_EQ(test, unit->cur->page[i],
				    xa_load(&instance->frames.pages, unit->cur->index + i));
	KUNIT_EXPECT_FALSE(test, kz_frame_referenced(unit->cur));
	get_page(unit->cur->page[7]);
	KUNIT_EXPECT_TRUE(test, kz_frame_referenced(unit->cur));
	put_page(unit->cur->page[7]);
	kz_test_region_end(region);
}

static void floor(struct kz_unit *unit, u64 token)
{
	const struct kz_page_event event = { .type = KZ_EV_EPOCH, .token = token };

	kz_unit_step(unit, &event);
}

static void records_go(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	struct kz_region *region = kz_test_region(test, instance, 1 << 20, 2 * KZ_FLOORS_MAX, 12);
	struct kz_unit *unit = kz_unit_get(region, 3), *same;
	u64 at = 0;

	KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
	KUNIT_EXPECT_EQ(test, 0, unit->page.floor);
	floor(unit, 50);
	/* Not while somebody uses it. */
	same = kz_unit_find(region, 3);
	KUNIT_EXPECT_PTR_EQ(test, unit, same);
	kz_unit_put(same);
	KUNIT_EXPECT_FALSE(test, xa_empty(&region->units));
	KUNIT_EXPECT_FALSE(test, kz_region_raise_floor(region, 3, 60));
	kz_unit_put(unit);
	KUNIT_EXPECT_TRUE(test, xa_empty(&region->units));
	KUNIT_EXPECT_NULL(test, kz_unit_next(region, &at));
	KUNIT_EXPECT_TRUE(test, kz_region_raise_floor(region, 4, 70));
	KUNIT_EXPECT_TRUE(test, kz_region_raise_floor(region, 4, 65));
	/* The floor is that of the record before, and of whoever shares the place. */
	unit = kz_unit_get(region, 3);
	KUNIT_EXPECT_EQ(test, 50, unit->page.floor);
	kz_unit_put(unit);
	unit = kz_unit_get(region, 4);
	KUNIT_EXPECT_EQ(test, 70, unit->page.floor);
	kz_unit_put(unit);
	unit = kz_unit_get(region, 3 + KZ_FLOORS_MAX);
	KUNIT_EXPECT_EQ(test, 50, unit->page.floor);
	kz_unit_put(unit);
	unit = kz_unit_get(region, 5);
	KUNIT_EXPECT_EQ(test, 0, unit->page.floor);
	/* One that has a frame stays, and so does one with an error that nobody has seen. */
	mutex_lock(&unit->mutex);
	KUNIT_EXPECT_EQ(test, 0, kz_unit_frame(unit, KHAZANA_CMDF_TRY));
	mutex_unlock(&unit->mutex);
	kz_unit_put(unit);
	KUNIT_EXPECT_FALSE(test, xa_empty(&region->units));
	KUNIT_EXPECT_EQ(test, 0, kz_unit_fail(unit, 0, -EIO));
	unit = kz_unit_find(region, 5);
	KUNIT_ASSERT_NOT_NULL(test, unit);
	kz_unit_put(unit);
	KUNIT_EXPECT_FALSE(test, xa_empty(&region->units));
	unit->error_until -= KZ_ERROR_S;
	/* Making another one looks after it. */
	kz_unit_put(kz_unit_get(region, 9));
	KUNIT_EXPECT_TRUE(test, xa_empty(&region->units));
	KUNIT_EXPECT_EQ(test, 0, instance->frames.in_use);
	kz_test_region_end(region);
}

/* An error is not found any more, however long ago it was noted. */
static void errors_go(struct kunit *test)
{
	static const u32 days[] = { 1, 100, 400, 4000 };
	struct kz_region *region = kz_test_region(test, test->priv, 1 << 20, 4, 12);
	struct kz_unit *unit;
	int i;

	for (i = 0; i < ARRAY_SIZE(days); i++) {
		unit = kz_unit_get(region, 1);
		KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
		spin_lock(&unit->lock);
		kz_unit_set_error(unit, -EIO);
		spin_unlock(&unit->lock);
		kz_unit_put(unit);
		KUNIT_EXPECT_FALSE(test, xa_empty(&region->units));
		unit = kz_unit_find(region, 1);
		KUNIT_ASSERT_NOT_NULL(test, unit);
		unit->error_until -= days[i] * 86400;
		kz_unit_put(unit);
		KUNIT_EXPECT_TRUE(test, xa_empty(&region->units));
	}
	kz_test_region_end(region);
}

/* Waits for a unit, and shows that it is done with it. */
struct waiter {
	struct kz_unit *unit;
	struct completion done;
};

static int waiter_main(void *arg)
{
	struct waiter *waiter = arg;
	struct kz_unit *unit = waiter->unit;
	struct kz_acquire acquire;

	kz_acquire_init(&acquire, unit, KHAZANA_RIGHT_WRITE, 0, 60 * MSEC_PER_SEC);
	if (kz_acquire_request(&acquire) == -EINPROGRESS)
		kz_acquire_wait(&acquire, TASK_KILLABLE);
	kz_units_done(unit->region, unit->index, 1);
	/* The module may go as soon as the test is over. */
	kthread_complete_and_exit(&waiter->done, 0);
}

static struct task_struct *waiter_start(struct waiter *waiter, struct kz_unit *unit)
{
	struct task_struct *task;
	int i;

	waiter->unit = unit;
	init_completion(&waiter->done);
	task = kthread_run(waiter_main, waiter, "khazana_waiter");
	for (i = 0; !IS_ERR(task) && i < 1000 && !wq_has_sleeper(&unit->wait); i++)
		usleep_range(1000, 2000);
	return task;
}

static int revoke(struct kz_instance *instance, struct kz_unit *unit, u64 token)
{
	const struct kz_page_event event = { .type = KZ_EV_REVOKE, .token = token };
	struct kz_revoke_group *group = NULL;
	u32 act = 0;
	int err;

	mutex_lock(&unit->mutex);
	err = kz_revoke(unit, &event, &group, &act);
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	if (group)
		kz_revoke_group_end(instance, group, true);
	return err;
}

/* A unit stays for who waited for it, and not for who was there first when it came. */
static void residency(struct kunit *test)
{
	const struct kz_page_event commit = {
		.type = KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE, .token = 10, .version = 1,
		.flags = KHAZANA_CMDF_ZERO | KHAZANA_CMDF_OWNED,
	};
	struct kz_instance *instance = test->priv;
	struct kz_region *region = kz_test_region(test, instance, 1 << 20, 4, 12);
	struct kz_unit *unit = kz_unit_get(region, 2);
	struct task_struct *task;
	struct waiter waiter;
	u64 until;
	u32 act;
	int i;

	KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
	region->residency_ns = 8 * NSEC_PER_SEC;
	kz_test_daemon(instance, true);
	task = waiter_start(&waiter, unit);
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	KUNIT_ASSERT_TRUE(test, wq_has_sleeper(&unit->wait));
	mutex_lock(&unit->mutex);
	KUNIT_EXPECT_EQ(test, 0, kz_unit_frame(unit, 0));
	KUNIT_EXPECT_EQ(test, 0, kz_unit_step_locked(unit, &commit, &act));
	mutex_unlock(&unit->mutex);
	KUNIT_EXPECT_EQ(test, task_pid_nr(task), unit->resident_for);
	/* This thread passes by before the other one is woken. */
	kz_unit_used(unit);
	until = unit->resident_ns;
	KUNIT_EXPECT_GT(test, until, ktime_get_boottime_ns() + 4 * NSEC_PER_SEC);
	kz_unit_used(unit);
	kz_units_done(region, 0, 4);
	KUNIT_EXPECT_EQ(test, until, unit->resident_ns);
	KUNIT_EXPECT_EQ(test, task_pid_nr(task), unit->resident_for);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, revoke(instance, unit, 11));
	kz_unit_finish(unit, act);
	wait_for_completion(&waiter.done);
	for (i = 0; i < 1000 && READ_ONCE(unit->page.right); i++)
		usleep_range(1000, 2000);
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_NONE, unit->page.right);
	KUNIT_EXPECT_LT(test, ktime_get_boottime_ns(), until);
	kz_test_daemon(instance, false);
	kz_unit_put(unit);
	kz_test_region_end(region);
}

/* Who has not got yet what he waited for is not done with it, whatever he does. */
static void residency_of_who_is_interrupted(struct kunit *test)
{
	struct kz_region *region = kz_test_region(test, test->priv, 1 << 20, 4, 12);
	struct kz_unit *unit = kz_unit_get(region, 2);
	u64 until = ktime_get_boottime_ns() + NSEC_PER_SEC;

	KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
	unit->fresh = true;
	unit->resident_for = task_pid_nr(current);
	unit->resident_ns = until;
	kz_units_done(region, 0, 4);
	KUNIT_EXPECT_EQ(test, until, unit->resident_ns);
	kz_unit_used(unit);
	KUNIT_EXPECT_EQ(test, task_pid_nr(current), unit->resident_for);
	kz_units_done(region, 3, 1);
	KUNIT_EXPECT_NE(test, 0, unit->resident_ns);
	kz_units_done(region, 0, 4);
	KUNIT_EXPECT_EQ(test, 0, unit->resident_ns);
	kz_unit_put(unit);
	kz_test_region_end(region);
}

static void small_region_has_its_own_floors(struct kunit *test)
{
	struct kz_region *region = kz_test_region(test, test->priv, 1 << 20, 3, 12);
	struct kz_unit *unit;
	u64 i;

	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_TRUE(test, kz_region_raise_floor(region, i, 10 + i));
	for (i = 0; i < 3; i++) {
		unit = kz_unit_get(region, i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
		KUNIT_EXPECT_EQ(test, 10 + i, unit->page.floor);
		kz_unit_put(unit);
	}
	kz_test_region_end(region);
}

static void leases(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	struct kz_region *region = kz_test_region(test, instance, 1 << 20, 4, 12);
	struct khazana_cmd cmd = { .lease = 9 };
	u64 now = ktime_get_boottime_ns();

	KUNIT_EXPECT_TRUE(test, kz_region_valid(region));
	KUNIT_EXPECT_EQ(test, 0, kz_region_set(region, &cmd));
	KUNIT_EXPECT_FALSE(test, kz_region_valid(region));
	KUNIT_EXPECT_EQ(test, -EINVAL, kz_lease_set(instance, 0, now));
	KUNIT_EXPECT_EQ(test, 0, kz_lease_set(instance, 9, now + NSEC_PER_SEC));
	KUNIT_EXPECT_TRUE(test, kz_region_valid(region));
	KUNIT_EXPECT_EQ(test, 0, kz_lease_set(instance, 9, now));
	KUNIT_EXPECT_FALSE(test, kz_region_valid(region));
	kz_test_region_end(region);
}

static void keys(struct kunit *test)
{
	struct kz_instance *instance = test->priv;
	struct kz_region *region = kz_test_region(test, instance, 1 << 20, 4, 12);
	struct kz_attachment *old, *new;
	struct khazana_cmd cmd = { .version = 3 };

	KUNIT_ASSERT_EQ(test, 0, window(region, 7, 1 << 20, 0, &old));
	KUNIT_EXPECT_EQ(test, 0, kz_attachment_key(old));
	KUNIT_EXPECT_EQ(test, 0, kz_region_set(region, &cmd));
	KUNIT_EXPECT_EQ(test, -EKEYREJECTED, kz_attachment_key(old));
	KUNIT_EXPECT_EQ(test, 0, kz_attachment_check(old));
	KUNIT_ASSERT_EQ(test, 0, window(region, 7, 1 << 20, 0, &new));
	new->key_serial = 3;
	KUNIT_EXPECT_EQ(test, 0, kz_attachment_key(new));
	cmd.version = 2;
	KUNIT_EXPECT_EQ(test, 0, kz_region_set(region, &cmd));
	KUNIT_EXPECT_EQ(test, 3, region->key_serial);
	KUNIT_EXPECT_EQ(test, -EKEYREJECTED, kz_attachment_key(old));
	kz_attachment_free(new);
	kz_attachment_free(old);
	kz_test_region_end(region);
}

static struct kunit_case region_cases[] = {
	KUNIT_CASE(shapes),
	KUNIT_CASE(known_and_overlapping),
	KUNIT_CASE(walk),
	KUNIT_CASE(windows),
	KUNIT_CASE(units_and_frames),
	KUNIT_CASE(records_go),
	KUNIT_CASE(errors_go),
	KUNIT_CASE(residency),
	KUNIT_CASE(residency_of_who_is_interrupted),
	KUNIT_CASE(small_region_has_its_own_floors),
	KUNIT_CASE(leases),
	KUNIT_CASE(keys),
	{}
};

static struct kunit_suite region_suite = {
	.name = "khazana_region",
	.suite_init = kz_test_suite_init,
	.suite_exit = kz_test_suite_exit,
	.init = region_init,
	.exit = region_exit,
	.test_cases = region_cases,
};

kunit_test_suite(region_suite);
