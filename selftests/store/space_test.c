// SPDX-License-Identifier: GPL-2.0-or-later
/* space_test.c - who gets a slot, and what for he waits: segments that are filled before their use */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "khd/store/store_priv.h"
#include "selftests/store/fixture.h"

#define FILL 65536u /* bytes of each part of a write that fills a segment */
#define SLOTS 56u /* of a segment of class 12 */
#define FEW 2u /* slots left, for which another segment is looked for */

/* ---------------------------------------------------------------- fills that go on for long */

static struct khd_disk_io *fill; /* the one that is held */
static bool lacks; /* memory, for fills: they end with ENOMEM */
static unsigned int lacking;
static struct khd_disk_ops slow;
static const struct khd_disk_ops *below;

static void nothing(struct khd_job *job)
{
}

static void lacked(struct khd_job *job)
{
	struct khd_disk_io *io = fill;

	free(job);
	fill = NULL;
	io->done(io, -ENOMEM);
}

static void submit(struct khd_disk *disk, struct khd_disk_io *io)
{
	struct khd_job *job;

	if (io->op != KHD_DISK_WRITE || io->iov[0].iov_len != FILL) {
		below->submit(disk, io);
		return;
	}
	assert_null(fill); /* one at a time */
	fill = io;
	if (!lacks)
		return;
	lacking++;
	job = calloc(1, sizeof(*job));
	assert_non_null(job);
	*job = (struct khd_job){ nothing, lacked, NULL };
	below->job(disk, job);
}

static void hold_fills(struct fixture *f)
{
	fill = NULL;
	lacking = 0;
	below = f->sim->base.ops;
	slow = *below;
	slow.submit = submit;
	f->sim->base.ops = &slow;
}

static void let_fills_go(struct fixture *f)
{
	f->sim->base.ops = below;
	if (fill)
		below->submit(&f->sim->base, fill);
}

static int set_up(void **state)
{
	lacks = false;
	return setup(state);
}

/* Two segments that are full, but for what was released of the first; a third one is filled. */
static struct khd_range few_are_left(struct fixture *f)
{
	struct khd_range r = range_of(0, 3 * SLOTS, 12, 1), part = r;
	uint64_t i;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < SLOTS; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	settle(f);
	hold_fills(f);
	for (; i < 2 * SLOTS; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	settle(f);
	part.units = FEW;
	assert_int_equal(release(f, &part), 0);
	tick(f, 40);
	return r;
}

/* ---------------------------------------------------------------- who waits */

/* However many checkpoints pass meanwhile: none of them ends the wait. */
static void a_put_waits_until_its_segment_is_filled(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1), other = range_of(1ull << 32, 8, 9, 2);
	uint64_t before, version;
	void *buf = memory(4096);
	struct wait w;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(reserve(f, &other), 0);
	assert_int_equal(put(f, &other, 0, 1), 0);
	reopen(f); /* which segments were filled is not known any more */
	hold_fills(f);
	begin_put(f, &w, &r, 0, 1, buf, KHD_STORE_SYNC);
	settle(f);
	assert_non_null(fill);
	before = f->store->stats.checkpoints;
	for (version = 2; version < 30; version++) {
		assert_int_equal(put(f, &other, 0, version), 0);
		tick(f, 35);
		assert_false(w.done);
	}
	assert_true(f->store->stats.checkpoints > before + 20);
	let_fills_go(f);
	assert_int_equal(finish(f, &w), 0);
	assert_int_equal(get(f, &r, 0), 1);
	assert_int_equal(f->events, 0);
	free(buf);
}

/* Memory is wanting for something else meanwhile: that is not what it waits for. */
static void a_fill_is_no_want(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);
	void *buf[] = { memory(4096), memory(4096) };
	struct wait w[2];
	unsigned int i;

	assert_int_equal(reserve(f, &r), 0);
	reopen(f);
	hold_fills(f);
	for (i = 0; i < 2; i++)
		begin_put(f, &w[i], &r, i, 1, buf[i], KHD_STORE_SYNC);
	settle(f);
	assert_non_null(fill);
	for (i = 0; i < 30; i++) {
		khd_store_want(f->store, ENOMEM, "test");
		tick(f, 1);
	}
	assert_int_equal(f->store->error, 0);
	assert_false(w[0].done || w[1].done);
	let_fills_go(f);
	for (i = 0; i < 2; i++) {
		assert_int_equal(finish(f, &w[i]), 0);
		free(buf[i]);
	}
}

/* While the next segment is filled those that are left are taken. */
static void the_last_slots_are_taken_beside_a_fill(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = few_are_left(f);
	struct wait w[FEW + 1];
	void *buf[FEW + 1];
	unsigned int i;

	assert_non_null(fill);
	for (i = 0; i < FEW + 1; i++) {
		buf[i] = memory(4096);
		begin_put(f, &w[i], &r, 2 * SLOTS + i, 1, buf[i], KHD_STORE_SYNC);
		settle(f);
		assert_int_equal(w[i].done, i < FEW);
	}
	let_fills_go(f);
	for (i = 0; i < FEW + 1; i++) {
		assert_int_equal(finish(f, &w[i]), 0);
		assert_int_equal(get(f, &r, 2 * SLOTS + i), 1);
		free(buf[i]);
	}
	assert_int_equal(f->events, 0);
}

/* Nobody waits for it: who needs the segment fills it then. */
static void a_fill_ahead_without_memory_is_no_failure(void **state)
{
	struct fixture *f = *state;
	struct khd_range r;
	uint64_t i;

	lacks = true;
	r = few_are_left(f);
	assert_in_range(lacking, 1, 8);
	assert_int_equal(f->events, 0);
	let_fills_go(f);
	for (i = 2 * SLOTS; i < 3 * SLOTS; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	for (i = FEW; i < 3 * SLOTS; i++)
		assert_int_equal(get(f, &r, i), 1);
	assert_int_equal(f->events, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_put_waits_until_its_segment_is_filled, set_up,
						teardown),
		cmocka_unit_test_setup_teardown(a_fill_is_no_want, set_up, teardown),
		cmocka_unit_test_setup_teardown(the_last_slots_are_taken_beside_a_fill, set_up,
						teardown),
		cmocka_unit_test_setup_teardown(a_fill_ahead_without_memory_is_no_failure, set_up,
						teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
