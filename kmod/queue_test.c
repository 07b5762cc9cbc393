// SPDX-License-Identifier: GPL-2.0-only
/*
 * queue_test.c - tests of the queue to khd
 */
#include <kunit/test.h>

#include "acquire.h"
#include "frame.h"
#include "instance.h"
#include "kunit_main.h"
#include "queue.h"
#include "region.h"
#include "unit.h"

#define UNITS	64

struct fixture {
	struct kz_instance *instance;
	struct kz_region *region;
};

static int queue_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->instance = kz_test_instance(test);
	f->region = kz_test_region(test, f->instance, 1 << 20, UNITS, PAGE_SHIFT);
	kz_test_daemon(f->instance, true);
	test->priv = f;
	return 0;
}

static void queue_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct khazana_request req;

	while (kz_queue_pop(&kz_test_khd, &req))
		;
	kz_test_daemon(f->instance, false);
	KUNIT_EXPECT_EQ(test, 0, kz_frames_limit(&f->instance->frames, f->instance->frames.size));
	kz_test_region_end(f->region);
	mutex_lock(&f->instance->lock);
	kz_instance_frames_trim(f->instance);
	mutex_unlock(&f->instance->lock);
	kz_instance_put(f->instance);
}

static struct kz_unit *want(struct kunit *test, u64 index, u32 right, u32 flags)
{
	struct fixture *f = test->priv;
	struct kz_unit *unit = kz_unit_get(f->region, index);
	struct kz_acquire acquire;

	KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
	kz_acquire_init(&acquire, unit, right, flags, 0);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, kz_acquire_request(&acquire));
	return unit;
}

/* From now on whoever misses brings the frame to receive into. */
static void use_most_frames(struct kunit *test)
{
	struct fixture *f = test->priv;
	u32 i, count = 7;

	for (i = 1; i <= count; i++) {
		struct kz_unit *unit = kz_unit_get(f->region, UNITS - i);

		KUNIT_ASSERT_FALSE(test, IS_ERR(unit));
		mutex_lock(&unit->mutex);
		KUNIT_EXPECT_EQ(test, 0, kz_unit_frame(unit, 0));
		mutex_unlock(&unit->mutex);
		kz_unit_put(unit);
	}
	KUNIT_EXPECT_EQ(test, 0, kz_frames_limit(&f->instance->frames, count + 1));
}

/* The next request for a unit; that frames are short may be told before. */
static bool pop_fault(struct khazana_request *req)
{
	while (kz_queue_pop(&kz_test_khd, req))
		if (req->op == KHAZANA_REQ_FAULT)
			return true;
	return false;
}

static int give(struct kz_unit *unit, u32 right, u64 token, u64 version)
{
	const struct kz_page_event event = {
		.type = KZ_EV_COMMIT, .right = right, .token = token, .version = version,
	};
	int err;

	mutex_lock(&unit->mutex);
	err = kz_unit_frame(unit, 0);
	mutex_unlock(&unit->mutex);
	return err ?: kz_unit_step(unit, &event);
}

static void a_miss_is_described(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct kz_unit *unit = want(test, 3, KHAZANA_RIGHT_WRITE, 0);
	struct khazana_request req;

	KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_EQ(test, KHAZANA_REQ_FAULT, req.op);
	KUNIT_EXPECT_EQ(test, f->region->handle, req.region);
	KUNIT_EXPECT_EQ(test, 3, req.unit);
	KUNIT_EXPECT_EQ(test, 1, req.count);
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_WRITE, req.want);
	KUNIT_EXPECT_EQ(test, KHAZANA_VERSION_NONE, req.version);
	KUNIT_EXPECT_FALSE(test, req.flags & KHAZANA_REQF_FRAME);
	KUNIT_EXPECT_EQ(test, unit->req_id, req.id);
	KUNIT_EXPECT_FALSE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_TRUE(test, kz_queue_empty(&f->instance->queue));
}

/* Asked for with a key that is not the region's any more: it will be refused, and zeroes nothing. */
static void an_older_key_overwrites_nothing(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct khazana_request req;

	want(test, 3, KHAZANA_RIGHT_WRITE, KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE);
	KUNIT_ASSERT_TRUE(test, pop_fault(&req));
	KUNIT_EXPECT_EQ(test, KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE, req.flags);
	want(test, 4, KHAZANA_RIGHT_WRITE, KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE);
	f->region->key_serial = 1;
	KUNIT_ASSERT_TRUE(test, pop_fault(&req));
	KUNIT_EXPECT_EQ(test, 4, req.unit);
	KUNIT_EXPECT_EQ(test, KHAZANA_REQF_LOCK, req.flags);
}

/* The key may be changed while the descriptor is on its way: khd is told by which one it was made. */
static void an_overwrite_names_its_key(struct kunit *test)
{
	u32 flags = KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE;
	struct fixture *f = test->priv;
	struct khazana_request req;
	u64 i;

	f->region->key_serial = 2;
	for (i = 3; i < 6; i++)
		want(test, i, KHAZANA_RIGHT_WRITE, flags)->req_serial = i < 5 ? 2 : 3;
	KUNIT_ASSERT_TRUE(test, pop_fault(&req));
	KUNIT_EXPECT_EQ(test, flags, req.flags);
	KUNIT_EXPECT_EQ(test, 2, req.cookie);
	KUNIT_EXPECT_EQ(test, 2, req.count);
	KUNIT_ASSERT_TRUE(test, pop_fault(&req));
	KUNIT_EXPECT_EQ(test, 3, req.cookie);
	KUNIT_EXPECT_EQ(test, 5, req.unit);
}

static void it_brings_a_frame_if_few_are_left(struct kunit *test)
{
	struct khazana_request req;
	struct kz_unit *unit;

	use_most_frames(test);
	unit = want(test, 3, KHAZANA_RIGHT_WRITE, 0);
	KUNIT_ASSERT_TRUE(test, pop_fault(&req));
	KUNIT_EXPECT_TRUE(test, req.flags & KHAZANA_REQF_FRAME);
	KUNIT_ASSERT_NOT_NULL(test, unit->cur);
	KUNIT_EXPECT_EQ(test, unit->cur->index, req.frame);
}

static void in_order_and_never_the_same_id(struct kunit *test)
{
	struct khazana_request req;
	u64 i, last = 0;

	for (i = 0; i < 5; i++)
		want(test, 9 - i, KHAZANA_RIGHT_READ, 0);
	for (i = 0; i < 5; i++) {
		KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
		KUNIT_EXPECT_EQ(test, 9 - i, req.unit);
		KUNIT_EXPECT_GT(test, req.id, last);
		last = req.id;
	}
}

static void a_range_is_one_descriptor(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct khazana_request req;
	u64 i;

	for (i = 10; i < 45; i++)
		want(test, i, KHAZANA_RIGHT_READ, KHAZANA_REQF_LOCK);
	want(test, 50, KHAZANA_RIGHT_READ, KHAZANA_REQF_LOCK);
	KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_EQ(test, 10, req.unit);
	KUNIT_EXPECT_EQ(test, 35, req.count);
	KUNIT_EXPECT_FALSE(test, req.flags & KHAZANA_REQF_FRAME);
	KUNIT_EXPECT_EQ(test, req.id, kz_unit_find(f->region, 44)->req_id);
	KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_EQ(test, 50, req.unit);
	KUNIT_EXPECT_EQ(test, 1, req.count);
}

static void answered_before_it_was_fetched(struct kunit *test)
{
	struct kz_unit *unit = want(test, 1, KHAZANA_RIGHT_READ, 0);
	struct khazana_request req;

	KUNIT_EXPECT_EQ(test, 0, give(unit, KHAZANA_RIGHT_READ, 5, 1));
	KUNIT_EXPECT_FALSE(test, kz_queue_pop(&kz_test_khd, &req));
	/* An upgrade asks anew, and says what is held. */
	want(test, 1, KHAZANA_RIGHT_WRITE, 0);
	KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_EQ(test, 1, req.version);
	KUNIT_EXPECT_FALSE(test, req.flags & KHAZANA_REQF_FRAME);
	KUNIT_EXPECT_EQ(test, -EALREADY, kz_unit_fail(unit, req.id + 1, -EIO));
	KUNIT_EXPECT_EQ(test, 0, kz_unit_fail(unit, req.id, -EIO));
	KUNIT_EXPECT_EQ(test, -EIO, unit->error);
}

static void a_dead_khd_is_asked_again(struct kunit *test)
{
	const struct kz_page_event gone = { .type = KZ_EV_DAEMON_GONE };
	struct khazana_request first, second;
	struct kz_unit *unit;

	use_most_frames(test);
	unit = want(test, 2, KHAZANA_RIGHT_READ, 0);
	KUNIT_ASSERT_TRUE(test, pop_fault(&first));
	KUNIT_EXPECT_NOT_NULL(test, unit->cur);
	KUNIT_EXPECT_EQ(test, 0, kz_unit_step(unit, &gone));
	KUNIT_EXPECT_NULL(test, unit->cur);
	KUNIT_ASSERT_TRUE(test, pop_fault(&second));
	KUNIT_EXPECT_EQ(test, first.unit, second.unit);
	KUNIT_EXPECT_GT(test, second.id, first.id);
	KUNIT_EXPECT_FALSE(test, second.flags & KHAZANA_REQF_FRAME);
}

static void notices(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct khazana_request req;

	kz_notice_hint(f->region, KHAZANA_REQ_DROPPED, 4, 2, 77);
	kz_notice_must(f->region, KHAZANA_REQ_UNLOCKED, 6, 1, 78);
	KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_EQ(test, KHAZANA_REQ_DROPPED, req.op);
	KUNIT_EXPECT_EQ(test, 2, req.count);
	KUNIT_EXPECT_EQ(test, 77, req.token);
	KUNIT_ASSERT_TRUE(test, kz_queue_pop(&kz_test_khd, &req));
	KUNIT_EXPECT_EQ(test, KHAZANA_REQ_UNLOCKED, req.op);
	/* Without a khd nobody is told. */
	kz_test_daemon(f->instance, false);
	kz_notice_must(f->region, KHAZANA_REQ_UNLOCKED, 6, 1, 78);
	KUNIT_EXPECT_FALSE(test, kz_queue_pop(&kz_test_khd, &req));
}

static void calls(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct kz_call *call = kz_call_new(KHAZANA_REQ_FLUSH);
	struct khazana_request req;

	KUNIT_ASSERT_NOT_NULL(test, call);
	KUNIT_EXPECT_EQ(test, -ENOENT, kz_call_answer(f->instance, 1, 0, NULL, 0));
	/* Nobody answers: the call is forgotten, and khd is told. */
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT, kz_call_run(f->instance, call, 1));
	KUNIT_EXPECT_FALSE(test, kz_queue_pop(&kz_test_khd, &req));
	kz_call_put(call);
	kz_test_daemon(f->instance, false);
	call = kz_call_new(KHAZANA_REQ_FLUSH);
	KUNIT_ASSERT_NOT_NULL(test, call);
	KUNIT_EXPECT_EQ(test, -ENODEV, kz_call_run(f->instance, call, 1));
	kz_call_put(call);
}

static struct kunit_case queue_cases[] = {
	KUNIT_CASE(a_miss_is_described),
	KUNIT_CASE(an_older_key_overwrites_nothing),
	KUNIT_CASE(an_overwrite_names_its_key),
	KUNIT_CASE(it_brings_a_frame_if_few_are_left),
	KUNIT_CASE(in_order_and_never_the_same_id),
	KUNIT_CASE(a_range_is_one_descriptor),
	KUNIT_CASE(answered_before_it_was_fetched),
	KUNIT_CASE(a_dead_khd_is_asked_again),
	KUNIT_CASE(notices),
	KUNIT_CASE(calls),
	{}
};

static struct kunit_suite queue_suite = {
	.name = "khazana_queue",
	.suite_init = kz_test_suite_init,
	.suite_exit = kz_test_suite_exit,
	.init = queue_init,
	.exit = queue_exit,
	.test_cases = queue_cases,
};

kunit_test_suite(queue_suite);
