// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * home_test.c - what a node knows of a region's home is old
 *
 * Homes do not move by themselves yet: here what makes one is carried from disk to disk while both
 * khds are dead, and no node holds anything of the region.
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE
#define LEASE_MS CLUSTER_LEASE_MS

static int setup_four(void **state)
{
	struct cluster *c = cluster_new_nodes(4);

	cluster_region(c, 0, 8, LEASE_MS);
	*state = c;
	return 0;
}

static void carry_blob(struct host *from, struct host *to)
{
	unsigned int i, k;

	for (i = 0; strncmp(from->blobs[i].key, "region-", 7); i++)
		assert_true(i < 7);
	for (k = 0; to->blobs[k].key[0]; k++)
		assert_true(k < 7);
	to->blobs[k] = from->blobs[i];
	memset(&from->blobs[i], 0, sizeof(from->blobs[i]));
}

/* Another home, of which only nodes that meet it hear; @forgets: the old one's machine, too. */
static void move_home(struct cluster *c, unsigned int from, unsigned int to, bool forgets)
{
	unsigned int i;

	host_kill(&c->hosts[from]);
	host_kill(&c->hosts[to]);
	carry_blob(&c->hosts[from], &c->hosts[to]);
	host_start(&c->hosts[from], forgets);
	host_start(&c->hosts[to], false);
	for (i = 0; i < c->nodes; i++)
		if (i != to && i != from)
			cluster_connect(c, to, i);
	cluster_rejoin(c, from);
	cluster_sleep(c, 3 * LEASE_MS);
	cluster_forget(c);
}

/* It asks the old home; from the new one it needs a lease first. */
static void wants(struct host *h)
{
	assert_int_equal(host_want(h, 0, 1, WRITE, 0), EINPROGRESS);
}

static void has_soon(struct host *h)
{
	cluster_sleep(h->cluster, 50);
	assert_int_equal(h->units[0].page.right, WRITE);
}

static void a_request_finds_the_home_by_the_hint(void **state)
{
	struct cluster *c = *state;

	move_home(c, 0, 1, false);
	wants(&c->hosts[2]);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 1);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 1);
	assert_int_equal(c->sent[KH_WIRE_HERE], 1);
	has_soon(&c->hosts[2]);
	host_store(&c->hosts[2], 0, 5);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), 5);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 1);
}

static void a_request_finds_the_home_without_a_hint(void **state)
{
	struct cluster *c = *state;

	move_home(c, 0, 1, true);
	wants(&c->hosts[2]);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 2);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 2);
	assert_int_equal(c->sent[KH_WIRE_HERE], 1);
	has_soon(&c->hosts[2]);
}

static void a_hint_may_be_as_old(void **state)
{
	struct cluster *c = *state;

	/* Host 0 hears of the first move, and of nothing else. */
	move_home(c, 0, 1, false);
	move_home(c, 1, 3, false);
	wants(&c->hosts[2]);
	/* of host 1 first, then of the others */
	assert_int_equal(c->sent[KH_WIRE_WHERE], 3);
	assert_int_equal(c->sent[KH_WIRE_HERE], 1);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 3);
	has_soon(&c->hosts[2]);
}

static void who_is_named_may_be_out_of_reach(void **state)
{
	struct cluster *c = *state;

	move_home(c, 0, 1, false);
	cluster_disconnect(c, 1, 2);
	wants(&c->hosts[2]);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 1); /* of host 0 */
	assert_int_equal(c->sent[KH_WIRE_HERE], 0);
	cluster_connect(c, 1, 2);
	cluster_run(c);
	has_soon(&c->hosts[2]);
}

static void who_is_named_may_go_or_be_silent(void **state)
{
	struct cluster *c = *state;

	move_home(c, 0, 1, false);
	c->cut[1] = true;
	wants(&c->hosts[2]);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 1);
	cluster_sleep(c, 499);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 1);
	cluster_sleep(c, 2);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 3); /* now all are asked */
	cluster_disconnect(c, 1, 2);
	c->cut[1] = false;
	cluster_connect(c, 1, 2);
	cluster_run(c);
	has_soon(&c->hosts[2]);
}

static void who_is_named_may_drop_the_connection(void **state)
{
	struct cluster *c = *state;

	move_home(c, 0, 1, false);
	c->cut[1] = true;
	wants(&c->hosts[2]);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 1);
	cluster_disconnect(c, 1, 2);
	cluster_run(c);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 2); /* host 0 is asked at once */
}

static void an_operation_is_repeated_at_the_home(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_GETATTR, .addr = c->addr };

	move_home(c, 0, 1, false);
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	assert_int_equal(c->hosts[2].info.home, 2);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 1);
	assert_int_equal(c->sent[KH_WIRE_CALL], 2);
	/* The answer is remembered. */
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 1);
	assert_int_equal(c->sent[KH_WIRE_CALL], 3);
}

static void an_attach_is_repeated_at_the_home(void **state)
{
	struct cluster *c = *state;

	move_home(c, 0, 1, false);
	assert_int_equal(host_attach(&c->hosts[2], c->addr, NULL), -1);
	cluster_sleep(c, 1000);
	assert_int_equal(c->hosts[2].attach_error, 0);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 1);
}

/* A region that ended while host 2 was away: nobody is home of it. */
static void destroy(struct cluster *c)
{
	struct kh_op op = { .code = KH_OP_UNRESERVE, .addr = c->addr, .flags = KH_OPF_FORCE };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	cluster_isolate(c, 2);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	cluster_rejoin(c, 2);
	cluster_sleep(c, LEASE_MS);
	assert_true(c->hosts[2].region);
	cluster_forget(c);
}

static void a_request_for_a_region_that_ended_fails(void **state)
{
	struct cluster *c = *state;

	destroy(c);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), ENOENT);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 2);
	assert_int_equal(c->sent[KH_WIRE_NOT_HOME], 3);
	assert_false(c->hosts[2].region);
}

static void an_operation_on_a_region_that_ended_fails(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_GETATTR, .addr = c->addr };

	destroy(c);
	assert_int_equal(host_op(&c->hosts[2], &op), ENOENT);
	assert_false(c->hosts[2].region);
}

/* NOT_HOME in the name of host @from, for a request that nobody knows. */
static void say_not_home(struct cluster *c, unsigned int from, uint32_t kind)
{
	struct {
		struct kh_wire_head head;
		struct kh_wire_not_home entry;
	} m = {
		.head = { .length = sizeof(m),
			  .magic = KH_WIRE_MAGIC,
			  .kind = KH_WIRE_NOT_HOME,
			  .count = 1,
			  .region_hi = c->addr.hi,
			  .region_lo = c->addr.lo,
			  .generation = c->hosts[2].add.generation,
			  .request = 12345 },
		.entry = { .kind = kind },
	};

	assert_int_equal(kh_node_message(c->hosts[2].node, from + 1, &m, sizeof(m), c->now), 0);
	cluster_run(c);
}

static void only_the_home_itself_can_say_that_it_is_not(void **state)
{
	struct cluster *c = *state;

	cluster_forget(c);
	say_not_home(c, 1, KH_WIRE_REQ);
	say_not_home(c, 1, KH_WIRE_CALL);
	say_not_home(c, 0, KH_WIRE_WHERE); /* to a question that nobody asked */
	assert_int_equal(c->sent[KH_WIRE_WHERE], 0);
	say_not_home(c, 0, KH_WIRE_REQ);
	assert_int_equal(c->sent[KH_WIRE_WHERE], 2);
	assert_int_equal(c->sent[KH_WIRE_HERE], 1);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)

int test_home(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_finds_the_home_by_the_hint),
		TEST(a_request_finds_the_home_without_a_hint),
		cmocka_unit_test_setup_teardown(a_hint_may_be_as_old, setup_four, cluster_teardown),
		TEST(who_is_named_may_be_out_of_reach),
		TEST(who_is_named_may_go_or_be_silent),
		TEST(who_is_named_may_drop_the_connection),
		TEST(an_operation_is_repeated_at_the_home),
		TEST(an_attach_is_repeated_at_the_home),
		TEST(a_request_for_a_region_that_ended_fails),
		TEST(an_operation_on_a_region_that_ended_fails),
		TEST(only_the_home_itself_can_say_that_it_is_not),
	};

	return cmocka_run_group_tests_name("home", tests, NULL, NULL);
}
