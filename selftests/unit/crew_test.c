// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * crew_test.c - a region on three nodes, step by step: crew, calls, bad input
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE

static int setup(void **state)
{
	struct cluster *c = cluster_new();

	cluster_region(c, 0, 48, 10000);
	cluster_forget(c);
	*state = c;
	return 0;
}

static int setup_null(void **state)
{
	struct cluster *c = cluster_new();

	c->protocol = "null";
	cluster_region(c, 0, 48, 10000);
	*state = c;
	return 0;
}

static void a_new_unit_is_zero_and_needs_no_data(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 3, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 3), 0);
	assert_int_equal(c->sent[KH_WIRE_DATA], 0);
}

static void miss_at_the_home(struct cluster *c)
{
	assert_int_equal(host_want(&c->hosts[0], 3, 1, WRITE, 0), 0);
	host_store(&c->hosts[0], 3, 77);
	cluster_forget(c);
	assert_int_equal(host_want(&c->hosts[1], 3, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 3), 77);
	assert_int_equal(c->sent[KH_WIRE_REQ], 1);
	assert_int_equal(c->sent[KH_WIRE_GRANT], 1);
	assert_int_equal(c->sent[KH_WIRE_DATA], 1);
	assert_int_equal(c->sent[KH_WIRE_DONE], 1);
	assert_int_equal(c->hosts[0].commands, 1); /* REVOKE */
	assert_int_equal(c->hosts[1].commands, 1); /* COMMIT */
}

static void a_miss_at_the_home_costs_four_messages_and_two_commands(void **state)
{
	struct cluster *c = *state;

	miss_at_the_home(c);
	assert_int_equal(c->hosts[1].brought, 1);
}

static void a_miss_that_brings_a_frame_receives_into_it(void **state)
{
	struct cluster *c = *state;

	c->hosts[1].brings_frames = true;
	miss_at_the_home(c);
	assert_int_equal(c->hosts[1].brought, 0);
}

static void a_write_invalidates_every_reader(void **state)
{
	struct cluster *c = *state;
	unsigned int i;

	for (i = 0; i < NODES; i++)
		assert_int_equal(host_want(&c->hosts[i], 0, 1, READ, 0), 0);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), 0);
	assert_int_equal(c->hosts[0].units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_int_equal(c->hosts[1].units[0].page.right, KHAZANA_RIGHT_NONE);
	host_store(&c->hosts[2], 0, 5);
	for (i = 0; i < NODES; i++) {
		assert_int_equal(host_want(&c->hosts[i], 0, 1, READ, 0), 0);
		assert_int_equal(host_load(&c->hosts[i], 0), 5);
	}
}

static void an_upgrade_carries_no_data(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[0], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[0], 0, 9);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), 0);
	cluster_forget(c);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	assert_int_equal(c->sent[KH_WIRE_DATA], 0);
	assert_int_equal(host_load(&c->hosts[1], 0), 9);
	/* The old owner's frame is the backup. */
	assert_true(c->hosts[0].units[0].page.flags & KHAZANA_UNIT_HANDOFF);
}

static void a_ping_pong_never_releases_its_backups(void **state)
{
	struct cluster *c = *state;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct host *h = &c->hosts[1 + i % 2];

		assert_int_equal(host_want(h, 1, 1, WRITE, 0), 0);
		assert_int_equal(host_load(h, 1), i);
		host_store(h, 1, i + 1);
	}
	assert_int_equal(c->sent[KH_WIRE_HDONE], 0);
}

static void a_range_of_35_units_is_one_message_of_each_kind(void **state)
{
	struct cluster *c = *state;
	unsigned int i;

	for (i = 0; i < 35; i++) {
		assert_int_equal(host_want(&c->hosts[1], i, 1, WRITE, 0), 0);
		host_store(&c->hosts[1], i, i + 100);
	}
	cluster_forget(c);
	assert_int_equal(host_want(&c->hosts[2], 0, 35, WRITE, KHAZANA_REQF_LOCK), 0);
	assert_int_equal(c->sent[KH_WIRE_REQ], 1);
	assert_int_equal(c->sent[KH_WIRE_GRANT], 1);
	assert_int_equal(c->sent[KH_WIRE_FORWARD], 1);
	assert_int_equal(c->sent[KH_WIRE_DONE], 1);
	assert_int_equal(c->sent[KH_WIRE_DATA], 35);
	for (i = 0; i < 35; i++)
		assert_int_equal(host_load(&c->hosts[2], i), i + 100);
}

static void an_overwrite_fetches_nothing(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 1);
	cluster_forget(c);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, KHAZANA_REQF_OVERWRITE), 0);
	assert_int_equal(c->sent[KH_WIRE_DATA], 0);
	assert_int_equal(host_load(&c->hosts[2], 0), 0);
}

static void a_lock_defers_others_and_try_does_not_wait(void **state)
{
	struct cluster *c = *state;
	struct host *holder = &c->hosts[1];
	struct kz_page_event lock = { .type = KZ_EV_LOCK, .right = WRITE };
	uint32_t act;

	assert_int_equal(host_want(holder, 0, 1, WRITE, 0), 0);
	assert_int_equal(kz_page_step(&holder->units[0].page, &lock, &act), 0);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, KHAZANA_REQF_TRY | KHAZANA_REQF_LOCK),
			 EAGAIN);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), EINPROGRESS);
	lock.type = KZ_EV_UNLOCK;
	assert_int_equal(kz_page_step(&holder->units[0].page, &lock, &act), 0);
	host_request(holder, &(struct khazana_request){
				     .op = KHAZANA_REQ_UNLOCKED, .region = 1, .count = 1 });
	assert_int_equal(c->hosts[2].units[0].page.right, READ);
}

static void a_wait_ends_at_its_deadline(void **state)
{
	struct cluster *c = *state;
	struct host *holder = &c->hosts[1];
	struct kz_page_event lock = { .type = KZ_EV_LOCK, .right = WRITE };
	uint32_t act;

	assert_int_equal(host_want(holder, 0, 1, WRITE, 0), 0);
	assert_int_equal(kz_page_step(&holder->units[0].page, &lock, &act), 0);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), EINPROGRESS);
	cluster_sleep(c, 1100);
	assert_int_equal(c->hosts[2].fail_error, ETIMEDOUT);
}

static void sequential_misses_are_fetched_ahead(void **state)
{
	struct cluster *c = *state;
	unsigned int i;

	for (i = 0; i < 40; i++)
		assert_int_equal(host_want(&c->hosts[0], i, 1, WRITE, 0), 0);
	for (i = 0; i < 40; i++)
		host_store(&c->hosts[0], i, 100 + i);
	cluster_forget(c);
	for (i = 0; i < 40; i++) {
		if (!c->hosts[1].units[i].page.right)
			assert_int_equal(host_want(&c->hosts[1], i, 1, READ, 0), 0);
		assert_int_equal(host_load(&c->hosts[1], i), 100 + i);
		assert_int_equal(c->hosts[1].units[i].framed, 0);
	}
	assert_true(c->sent[KH_WIRE_REQ] < 20);
	/* What nobody waited for came with its COMMIT. */
	assert_true(c->hosts[1].brought > 20);
}

/* The floor of a unit without a record may be that of others. */
static void a_prefetch_below_a_floor_of_others_comes_again(void **state)
{
	struct cluster *c = *state;
	struct host *h = &c->hosts[1];
	unsigned int i;

	for (i = 0; i < 8; i++) {
		assert_int_equal(host_want(&c->hosts[0], i, 1, WRITE, 0), 0);
		host_store(&c->hosts[0], i, 100 + i);
	}
	h->units[3].page.floor = c->hosts[0].units[7].page.token + 10;
	assert_int_equal(host_want(h, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(h, 1, 1, READ, 0), 0);
	assert_int_equal(h->units[2].page.right, READ);
	assert_int_equal(h->units[3].page.right, 0);
	/* It has a record from now on, and asks with that. */
	assert_true(h->units[3].exists);
	assert_int_equal(h->units[3].framed, 1);
	cluster_sleep(c, 500);
	assert_int_equal(h->units[3].page.right, READ);
	for (i = 0; i < 6; i++)
		assert_int_equal(host_load(h, i), 100 + i);
	assert_int_equal(h->units[3].framed, 1);
}

static void access_before_allocate_is_refused(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = 4 * UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(&c->hosts[2], 1, 1, WRITE, 0), 0);
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_int_equal(c->hosts[2].units[1].page.right, KHAZANA_RIGHT_NONE);
	assert_int_equal(host_want(&c->hosts[1], 1, 1, READ, 0), ENXIO);
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	assert_int_equal(host_want(&c->hosts[1], 1, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 1), 0);
}

static void free_is_all_or_nothing(void **state)
{
	struct cluster *c = *state;
	struct host *holder = &c->hosts[1], *other = &c->hosts[2];
	struct kz_page_event lock = { .type = KZ_EV_LOCK, .right = WRITE };
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = 6 * UNIT };
	uint32_t act;
	unsigned int i;

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	for (i = 0; i < 5; i++) {
		assert_int_equal(host_want(i & 1 ? holder : other, i, 1, WRITE, 0), 0);
		host_store(i & 1 ? holder : other, i, 100 + i);
	}
	assert_int_equal(kz_page_step(&holder->units[3].page, &lock, &act), 0);
	assert_int_equal(host_op(&c->hosts[0], &op), EBUSY);
	/* the lock waits for nobody, and nothing of the rest is lost */
	assert_int_equal(holder->units[3].page.right, WRITE);
	for (i = 0; i < 5; i++) {
		if (i == 3)
			continue;
		assert_int_equal(host_want(&c->hosts[0], i, 1, READ, 0), 0);
		assert_int_equal(host_load(&c->hosts[0], i), 100 + i);
	}
	assert_int_equal(host_want(other, 5, 1, WRITE, 0), 0);

	/* somebody waits for the lock: a FREE does not */
	assert_int_equal(host_want(&c->hosts[0], 3, 1, READ, 0), EINPROGRESS);
	assert_int_equal(host_op(other, &op), EBUSY);
	assert_int_equal(host_want(other, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(other, 0), 100);

	lock.type = KZ_EV_UNLOCK;
	assert_int_equal(kz_page_step(&holder->units[3].page, &lock, &act), 0);
	host_request(holder,
		     &(struct khazana_request){
			     .op = KHAZANA_REQ_UNLOCKED, .region = 1, .unit = 3, .count = 1 });
	assert_int_equal(host_load(&c->hosts[0], 3), 103);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	for (i = 0; i < 6; i++) {
		assert_int_equal(other->units[i].page.right, KHAZANA_RIGHT_NONE);
		assert_int_equal(holder->units[i].page.right, KHAZANA_RIGHT_NONE);
		assert_int_equal(host_want(other, i, 1, READ, 0), ENXIO);
	}
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(holder, &op), 0);
	assert_int_equal(host_want(other, 4, 1, READ, 0), 0);
	assert_int_equal(host_load(other, 4), 0);
}

/* The dead node's unit is the first of the home's busy ones, and its end completes the others. */
static void free_of_a_dead_nodes_unit_frees_the_others_too(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = 3 * UNIT };
	unsigned int i, before;

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), 0);
	for (i = 1; i < 3; i++)
		assert_int_equal(host_want(&c->hosts[1], i, 1, WRITE, 0), 0);
	c->cut[2] = true;
	before = c->hosts[0].replies;
	kh_node_op(c->hosts[0].node, before + 1, &op, c->now);
	cluster_sleep(c, 2000);
	assert_int_equal(c->hosts[0].replies, before);
	cluster_sleep(c, 10000);
	assert_int_equal(c->hosts[0].replies, before + 1);
	assert_int_equal(c->hosts[0].result.error, 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(host_want(&c->hosts[1], i, 1, READ, 0), ENXIO);
}

static void null_gives_the_owners_contents_of_the_moment(void **state)
{
	struct cluster *c = *state;
	struct host *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 1);
	assert_int_equal(host_want(b, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(b, 0), 1);
	/* the copy stays, whatever the owner stores */
	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 2);
	assert_int_equal(b->units[0].page.right, READ);
	assert_int_equal(host_load(b, 0), 1);
	/* a store elsewhere begins with what the owner has now */
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(b, 0), 2);
	host_store(b, 0, 3);
	assert_int_equal(host_load(a, 0), 2);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), 3);
}

static void null_frees_copies_that_nobody_wrote_down(void **state)
{
	struct cluster *c = *state;
	struct host *a = &c->hosts[1], *b = &c->hosts[2];
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 1);
	assert_int_equal(host_want(b, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, WRITE, 0), 0);
	assert_int_equal(b->units[0].page.right, READ);
	assert_int_equal(host_op(a, &op), 0);
	assert_int_equal(a->units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_int_equal(b->units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_int_equal(host_want(b, 0, 1, READ, 0), ENXIO);
}

static void bad_operations_have_their_errnos(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_ALLOCATE, .addr = c->addr, .length = UNIT };

	assert_int_equal(host_op(&c->hosts[1], &op), EKEYREJECTED);
	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	op.length = UNIT - 1;
	assert_int_equal(host_op(&c->hosts[1], &op), EINVAL);
	op.length = 49 * UNIT;
	assert_int_equal(host_op(&c->hosts[1], &op), ERANGE);
	op.length = UNIT;
	op.addr.hi++;
	assert_int_equal(host_op(&c->hosts[1], &op), ENOENT);
	assert_int_equal(host_attach(&c->hosts[1], op.addr, NULL), ENOENT);
	assert_int_equal(host_attach(&c->hosts[1], c->addr, (const uint8_t *)"sixteen bytes..!"),
			 EKEYREJECTED);
	op = (struct kh_op){ .code = KH_OP_RESERVE, .length = 65 * UNIT };
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	op = (struct kh_op){ .code = KH_OP_ALLOCATE,
			     .addr = c->hosts[0].result.addr,
			     .length = 65 * UNIT };
	assert_int_equal(host_op(&c->hosts[0], &op), ENOSPC);
	op = (struct kh_op){ .code = KH_OP_RESERVE, .length = UNIT, .attr.protocol = "none" };
	assert_int_equal(host_op(&c->hosts[0], &op), EINVAL);
	op = (struct kh_op){ .code = KH_OP_RESERVE, .length = UNIT, .attr.min_replicas = 2 };
	assert_int_equal(host_op(&c->hosts[0], &op), EOPNOTSUPP);
}

static void a_region_in_use_is_not_unreserved(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_UNRESERVE, .addr = c->addr };
	unsigned int i;

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[1], &op), EBUSY);
	for (i = 0; i < NODES; i++)
		c->hosts[i].attached = 0;
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	for (i = 0; i < NODES; i++)
		assert_false(c->hosts[i].region);
	op.code = KH_OP_GETATTR;
	assert_int_equal(host_op(&c->hosts[2], &op), ENOENT);
}

static void the_directory_is_shown(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_PAGE_SHOW, .addr = kh_addr_add(c->addr, 2 * UNIT + 5) };

	assert_int_equal(host_want(&c->hosts[1], 2, 1, WRITE, 0), 0);
	assert_int_equal(host_want(&c->hosts[2], 2, 1, READ, 0), 0);
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	assert_int_equal(c->hosts[2].page.home, 1);
	assert_int_equal(c->hosts[2].page.owner, 2);
	assert_int_equal(c->hosts[2].page.reader_count, 1);
	assert_int_equal(c->hosts[2].page.readers[0], 3);
	assert_false(c->hosts[2].page.busy);
}

static void malformed_messages_are_refused(void **state)
{
	struct cluster *c = *state;
	uint8_t junk[512];
	unsigned int i, k;

	srand(2);
	for (i = 0; i < 2000; i++) {
		for (k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)rand();
		k = (unsigned int)rand() % sizeof(junk);
		assert_int_equal(kh_node_message(c->hosts[0].node, 2, junk, k, c->now), -EPROTO);
	}
	assert_int_equal(kh_node_message(c->hosts[0].node, 9, junk, 8, c->now), -EPROTO);
}

static void damaged_blobs_are_refused(void **state)
{
	struct cluster *c = *state;
	struct host *h = &c->hosts[0];
	unsigned int i;

	for (i = 0; i < 8; i++) {
		if (!h->blobs[i].key[0])
			continue;
		h->blobs[i].bytes[h->blobs[i].len / 2] ^= 1;
		assert_int_equal(kh_node_restore(h->node, h->blobs[i].key, h->blobs[i].bytes,
						 h->blobs[i].len),
				 -EINVAL);
		assert_int_equal(kh_node_restore(h->node, h->blobs[i].key, h->blobs[i].bytes, 3),
				 -EINVAL);
	}
	assert_int_equal(kh_node_restore(h->node, "unknown", h->blobs[0].bytes, 16), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cluster_teardown)

int test_crew(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_unit_is_zero_and_needs_no_data),
		TEST(a_miss_at_the_home_costs_four_messages_and_two_commands),
		TEST(a_miss_that_brings_a_frame_receives_into_it),
		TEST(a_write_invalidates_every_reader),
		TEST(an_upgrade_carries_no_data),
		TEST(a_ping_pong_never_releases_its_backups),
		TEST(a_range_of_35_units_is_one_message_of_each_kind),
		TEST(an_overwrite_fetches_nothing),
		TEST(a_lock_defers_others_and_try_does_not_wait),
		TEST(a_wait_ends_at_its_deadline),
		TEST(sequential_misses_are_fetched_ahead),
		TEST(a_prefetch_below_a_floor_of_others_comes_again),
		TEST(access_before_allocate_is_refused),
		TEST(free_is_all_or_nothing),
		TEST(free_of_a_dead_nodes_unit_frees_the_others_too),
		cmocka_unit_test_setup_teardown(null_gives_the_owners_contents_of_the_moment,
						setup_null, cluster_teardown),
		cmocka_unit_test_setup_teardown(null_frees_copies_that_nobody_wrote_down,
						setup_null, cluster_teardown),
		TEST(bad_operations_have_their_errnos),
		TEST(a_region_in_use_is_not_unreserved),
		TEST(the_directory_is_shown),
		TEST(malformed_messages_are_refused),
		TEST(damaged_blobs_are_refused),
	};

	return cmocka_run_group_tests_name("crew", tests, NULL, NULL);
}
