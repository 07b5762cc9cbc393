// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * key_test.c - the key of a region is changed
 *
 * A module refuses a lock of a file that was attached with an older key than it knows of
 * (attach_serial below key_serial here).
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE
#define LEASE_MS 3000 /* several times what a node has to answer in */

static const uint8_t old_key[KH_KEY_SIZE] = "sixteen bytes...", new_key[KH_KEY_SIZE] = "another "
										       "one";

static int setup(void **state)
{
	struct cluster *c = cluster_new();

	cluster_region(c, 0, 8, LEASE_MS);
	cluster_forget(c);
	*state = c;
	return 0;
}

static struct kh_op rekey(const struct cluster *c)
{
	struct kh_op op = { .code = KH_OP_SETATTR, .addr = c->addr, .attr_mask = KH_ATTR_KEY };

	memcpy(op.key, old_key, KH_KEY_SIZE);
	memcpy(op.new_key, new_key, KH_KEY_SIZE);
	return op;
}

/* SETATTR at @h, which may take its time.  Return: how many replies @h had before. */
static unsigned int rekey_begin(struct host *h)
{
	struct kh_op op = rekey(h->cluster);
	unsigned int before = h->replies;

	kh_node_op(h->node, 1000, &op, h->cluster->now);
	cluster_run(h->cluster);
	return before;
}

static bool refuses_locks(const struct host *h)
{
	return h->attach_serial < h->key_serial;
}

static void all_nodes_know_when_setattr_is_over(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = rekey(c);
	unsigned int i;

	for (i = 0; i < NODES; i++)
		assert_false(refuses_locks(&c->hosts[i]));
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	for (i = 0; i < NODES; i++) {
		assert_true(refuses_locks(&c->hosts[i]));
		assert_int_equal(host_attach(&c->hosts[i], c->addr, old_key), EKEYREJECTED);
		assert_true(refuses_locks(&c->hosts[i]));
		assert_int_equal(host_attach(&c->hosts[i], c->addr, new_key), 0);
		assert_false(refuses_locks(&c->hosts[i]));
	}
	assert_int_equal(host_op(&c->hosts[1], &op), EKEYREJECTED);
}

/* As after an answer that was lost: who attached with the new key meanwhile has the right one. */
static void the_same_key_again_is_no_change(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = rekey(c);

	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_int_equal(host_attach(&c->hosts[2], c->addr, new_key), 0);
	memcpy(op.key, new_key, KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_false(refuses_locks(&c->hosts[2]));
}

static void a_key_that_cannot_be_written_down_changes_nothing(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = rekey(c);

	c->hosts[0].persist_fails = true;
	assert_int_equal(host_op(&c->hosts[1], &op), EIO);
	assert_int_equal(c->sent[KH_WIRE_HERE], 0);
	assert_false(refuses_locks(&c->hosts[0]));
	assert_int_equal(host_attach(&c->hosts[1], c->addr, old_key), 0);
	assert_int_equal(c->hosts[1].attach_serial, 0);
	c->hosts[0].persist_fails = false;
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_true(refuses_locks(&c->hosts[1]));
}

static void other_attributes_leave_locks_alone(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = rekey(c);

	op.attr_mask = KH_ATTR_WAIT_MS;
	op.attr.wait_ms = 77;
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_false(refuses_locks(&c->hosts[1]));
	assert_false(refuses_locks(&c->hosts[2]));
}

static void setattr_waits_for_the_lease_of_who_cannot_be_told(void **state)
{
	struct cluster *c = *state;
	struct host *away = &c->hosts[2];
	unsigned int before;

	assert_int_equal(host_want(away, 0, 1, READ, 0), 0);
	cluster_isolate(c, 2);
	before = rekey_begin(&c->hosts[1]);
	while (c->hosts[1].replies == before) {
		cluster_sleep(c, 1);
		assert_in_range(c->now, 0, away->lease_end + 1000 * MS);
	}
	assert_int_equal(c->hosts[1].result.error, 0);
	assert_in_range(c->now, away->lease_end, away->lease_end + 1000 * MS);
	/* No right is left there; before there is a lease again the node knows. */
	assert_int_equal(away->units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_false(refuses_locks(away));
	cluster_rejoin(c, 2);
	cluster_sleep(c, LEASE_MS / 2);
	assert_true(c->now < away->lease_end);
	assert_int_equal(away->lease_serial, 1);
	assert_true(refuses_locks(away));
}

static void who_comes_back_in_time_is_told(void **state)
{
	struct cluster *c = *state;
	struct host *away = &c->hosts[2];
	unsigned int before;

	cluster_isolate(c, 2);
	before = rekey_begin(&c->hosts[1]);
	cluster_sleep(c, LEASE_MS / 4);
	assert_int_equal(c->hosts[1].replies, before);
	cluster_rejoin(c, 2);
	assert_int_equal(c->hosts[1].replies, before + 1);
	assert_int_equal(c->hosts[1].result.error, 0);
	assert_true(refuses_locks(away));
}

static void who_does_not_answer_is_asked_again(void **state)
{
	struct cluster *c = *state;
	unsigned int before;

	cluster_sleep(c, 1);
	c->cut[2] = true;
	before = rekey_begin(&c->hosts[0]);
	assert_int_equal(c->hosts[0].replies, before);
	cluster_sleep(c, LEASE_MS / 2);
	assert_int_equal(c->hosts[0].replies, before);
	c->cut[2] = false;
	cluster_sleep(c, 1000);
	assert_int_equal(c->hosts[0].replies, before + 1);
	assert_true(c->now < c->hosts[2].lease_end);
	assert_int_equal(c->hosts[0].result.error, 0);
	assert_true(refuses_locks(&c->hosts[2]));
}

static void the_home_remembers_over_a_restart(void **state)
{
	struct cluster *c = *state;
	struct host *away = &c->hosts[2];
	unsigned int before;

	cluster_isolate(c, 2);
	before = rekey_begin(&c->hosts[1]);
	assert_int_equal(c->hosts[1].replies, before);
	host_kill(&c->hosts[0]);
	host_start(&c->hosts[0], true); /* a machine that forgot all but its disk */
	cluster_connect(c, 0, 1);
	cluster_rejoin(c, 2);
	cluster_sleep(c, LEASE_MS);
	assert_in_range(away->lease_serial, 1, 2); /* the caller repeats it */
	assert_int_equal(c->hosts[1].replies, before + 1);
	assert_int_equal(c->hosts[1].result.error, 0);
	assert_true(refuses_locks(away));
	assert_int_equal(host_attach(away, c->addr, old_key), EKEYREJECTED);
	assert_int_equal(host_attach(away, c->addr, new_key), 0);
	assert_false(refuses_locks(away));
}

static void a_khd_that_restarts_takes_over_what_its_module_knows(void **state)
{
	struct cluster *c = *state;
	struct host *h = &c->hosts[2];
	struct kh_op op = rekey(c);

	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_int_equal(host_attach(h, c->addr, new_key), 0);
	host_kill(h);
	host_start(h, false);
	cluster_rejoin(c, 2);
	assert_int_equal(h->key_serial, 1);
	assert_false(refuses_locks(h));
	assert_int_equal(host_attach(h, c->addr, new_key), 0);
	assert_false(refuses_locks(h));
}

static void an_attach_that_is_answered_late_was_with_the_old_key(void **state)
{
	struct cluster *c = *state;
	struct host *h = &c->hosts[2];
	unsigned int before;

	c->slow_at[0][2] = KH_WIRE_RESULT;
	assert_int_equal(host_attach(h, c->addr, old_key), -1);
	before = rekey_begin(&c->hosts[1]);
	assert_int_equal(c->hosts[1].replies, before);
	cluster_hurry(c);
	assert_int_equal(h->attach_error, 0);
	assert_int_equal(h->attach_serial, 0);
	assert_true(refuses_locks(h));
	assert_int_equal(c->hosts[1].replies, before + 1);
	assert_int_equal(c->hosts[1].result.error, 0);
}

/* One that waits for a lock of another node when the key is changed: the module refuses it then. */
static void an_overwrite_that_waits_leaves_the_contents(void **state)
{
	static const unsigned int askers[] = { 2, 0 }; /* 0 is the home */
	struct cluster *c = *state;
	struct host *holder = &c->hosts[1];
	struct kz_page_event lock = { .type = KZ_EV_LOCK, .right = WRITE };
	struct kz_page_event unlock = { .type = KZ_EV_UNLOCK, .right = WRITE };
	struct kh_op op = rekey(c);
	unsigned int i;
	uint32_t act;

	for (i = 0; i < 2; i++) {
		struct host *asker = &c->hosts[askers[i]];

		assert_int_equal(host_want(holder, i, 1, WRITE, 0), 0);
		host_store(holder, i, 77 + i);
		assert_int_equal(kz_page_step(&holder->units[i].page, &lock, &act), 0);
		assert_int_equal(host_want(asker, i, 1, WRITE,
					   KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE),
				 EINPROGRESS);
	}
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	for (i = 0; i < 2; i++) {
		struct host *asker = &c->hosts[askers[i]];

		assert_int_equal(kz_page_step(&holder->units[i].page, &unlock, &act), 0);
		host_request(holder, &(struct khazana_request){ .op = KHAZANA_REQ_UNLOCKED,
								.region = 1,
								.unit = i,
								.count = 1 });
		assert_int_equal(asker->units[i].page.right, WRITE);
		assert_int_equal(host_load(asker, i), 77 + i);
	}
}

/* The home granted it, but there was no frame for it; it is asked for again when the key is known. */
static void an_overwrite_that_is_asked_for_again_leaves_the_contents(void **state)
{
	struct cluster *c = *state;
	struct host *asker = &c->hosts[2];
	struct kh_op op = rekey(c);

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 77);
	asker->no_frames = true;
	assert_int_equal(host_want(asker, 0, 1, WRITE, KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE),
			 EINPROGRESS);
	assert_int_equal(c->hosts[1].units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	asker->no_frames = false;
	cluster_sleep(c, LEASE_MS / 2);
	assert_int_equal(asker->units[0].page.right, WRITE);
	assert_int_equal(host_load(asker, 0), 77);
}

/* The module described it before khd told it the key; khd looks at it after that. */
static void an_overwrite_on_its_way_to_khd_leaves_the_contents(void **state)
{
	const uint32_t flags = KHAZANA_REQF_LOCK | KHAZANA_REQF_OVERWRITE;
	struct cluster *c = *state;
	struct host *asker = &c->hosts[2];
	struct kh_op op = rekey(c);

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 77);
	assert_int_equal(host_op(&c->hosts[1], &op), 0);
	assert_true(refuses_locks(asker));
	assert_int_equal(host_want(asker, 0, 1, WRITE, flags), 0);
	assert_int_equal(host_load(asker, 0), 77);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_attach(asker, c->addr, new_key), 0);
	assert_int_equal(host_want(asker, 0, 1, WRITE, flags), 0);
	assert_int_equal(host_load(asker, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cluster_teardown)

int test_key(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_nodes_know_when_setattr_is_over),
		TEST(the_same_key_again_is_no_change),
		TEST(a_key_that_cannot_be_written_down_changes_nothing),
		TEST(other_attributes_leave_locks_alone),
		TEST(setattr_waits_for_the_lease_of_who_cannot_be_told),
		TEST(who_comes_back_in_time_is_told),
		TEST(who_does_not_answer_is_asked_again),
		TEST(the_home_remembers_over_a_restart),
		TEST(a_khd_that_restarts_takes_over_what_its_module_knows),
		TEST(an_attach_that_is_answered_late_was_with_the_old_key),
		TEST(an_overwrite_that_waits_leaves_the_contents),
		TEST(an_overwrite_that_is_asked_for_again_leaves_the_contents),
		TEST(an_overwrite_on_its_way_to_khd_leaves_the_contents),
	};

	return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
