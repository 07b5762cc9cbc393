// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lease_test.c - leases, lost connections, daemons that restart
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE
#define LEASE_MS CLUSTER_LEASE_MS

static void renewals_keep_rights_for_ever(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	cluster_sleep(c, 5 * LEASE_MS);
	assert_int_equal(c->hosts[1].units[0].page.right, WRITE);
	assert_int_equal(c->sent[KH_WIRE_REQ], 1);
}

static void a_right_is_given_on_only_after_the_lease(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 1);
	cluster_isolate(c, 1);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), EINPROGRESS);
	cluster_sleep(c, LEASE_MS / 2);
	assert_int_equal(c->hosts[2].units[0].page.right, KHAZANA_RIGHT_NONE);
	cluster_sleep(c, 2 * LEASE_MS);
	assert_int_equal(c->hosts[2].units[0].page.right, WRITE);
	assert_int_equal(c->hosts[1].units[0].page.right, KHAZANA_RIGHT_NONE);
}

static void lost_stores_poison(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 1);
	cluster_isolate(c, 1);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), EINPROGRESS);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(c->hosts[1].units[0].page.state, KHAZANA_STATE_EXPIRED_DIRTY);
	cluster_rejoin(c, 1);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(c->hosts[1].poisons, 1);
	assert_int_equal(c->hosts[1].units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), 0);
}

static void what_nobody_wanted_is_resumed(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 42);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(c->hosts[1].units[0].page.right, KHAZANA_RIGHT_NONE);
	cluster_rejoin(c, 1);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(c->hosts[1].units[0].page.right, WRITE);
	assert_int_equal(host_load(&c->hosts[1], 0), 42);
	assert_int_equal(c->hosts[1].poisons, 0);
}

static void what_another_saw_survives_its_writer(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 42);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), 0);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), 42);
}

static void a_dropped_connection_loses_no_request(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 7);
	c->cut[2] = true;
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), EINPROGRESS);
	cluster_isolate(c, 2);
	c->cut[2] = false;
	cluster_rejoin(c, 2);
	cluster_sleep(c, 50);
	assert_int_equal(c->hosts[2].units[0].page.right, WRITE);
	assert_int_equal(host_load(&c->hosts[2], 0), 7);
}

static void a_daemon_that_restarts_takes_over(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 7);
	host_kill(&c->hosts[1]);
	cluster_sleep(c, 20);
	host_start(&c->hosts[1], false);
	cluster_rejoin(c, 1);
	cluster_sleep(c, 50);
	assert_int_equal(c->hosts[1].units[0].page.right, WRITE);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[2], 0), 7);
}

static void a_home_that_restarts_rebuilds_its_directory(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_PAGE_SHOW, .addr = c->addr };

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 7);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), 0);
	host_kill(&c->hosts[0]);
	host_start(&c->hosts[0], false);
	cluster_rejoin(c, 0);
	cluster_sleep(c, 50);
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	assert_int_equal(c->hosts[2].page.owner, 2);
	assert_int_equal(c->hosts[2].page.reader_count, 1);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), 7);
	assert_int_equal(c->hosts[1].units[0].page.right, KHAZANA_RIGHT_NONE);
}

static void a_home_waits_for_silent_nodes_until_their_lease_is_over(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_kill(&c->hosts[1]);
	host_kill(&c->hosts[0]);
	host_start(&c->hosts[0], false);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), EINPROGRESS);
	cluster_sleep(c, LEASE_MS / 2);
	assert_int_equal(c->hosts[2].units[0].page.right, KHAZANA_RIGHT_NONE);
	cluster_sleep(c, 2 * LEASE_MS);
	assert_int_equal(c->hosts[2].units[0].page.right, WRITE);
}

static void a_machine_that_restarts_holds_nothing(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[2], 0, 3);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), 0);
	host_kill(&c->hosts[2]);
	host_start(&c->hosts[2], true);
	cluster_rejoin(c, 2);
	/* No need to wait for its lease. */
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)

int test_lease(void)
{
	const struct CMUnitTest tests[] = {
		TEST(renewals_keep_rights_for_ever),
		TEST(a_right_is_given_on_only_after_the_lease),
		TEST(lost_stores_poison),
		TEST(what_nobody_wanted_is_resumed),
		TEST(what_another_saw_survives_its_writer),
		TEST(a_dropped_connection_loses_no_request),
		TEST(a_daemon_that_restarts_takes_over),
		TEST(a_home_that_restarts_rebuilds_its_directory),
		TEST(a_home_waits_for_silent_nodes_until_their_lease_is_over),
		TEST(a_machine_that_restarts_holds_nothing),
	};

	return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
