// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * place_test.c - space in page stores, taken and given back, when it cannot be written down
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE

/* Homed at the first, nothing allocated. */
static int setup(void **state)
{
	struct cluster *c = cluster_new_stores();
	struct kh_op op = { .code = KH_OP_RESERVE, .length = 16 * UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	c->addr = c->hosts[0].result.addr;
	*state = c;
	return 0;
}

static struct kh_op op_of(struct cluster *c, enum kh_op_code code, uint64_t unit, uint64_t units)
{
	struct kh_op op = { .code = code,
			    .addr = kh_addr_add(c->addr, unit * UNIT),
			    .length = units * UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	return op;
}

static void begin(struct host *h, struct kh_op op)
{
	kh_node_op(h->node, h->replies + 1, &op, h->cluster->now);
	cluster_run(h->cluster);
}

/* Units that are allocated, as the home says. */
static uint64_t allocated(struct cluster *c)
{
	struct kh_op op = op_of(c, KH_OP_GETATTR, 0, 0);

	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	return c->hosts[2].info.allocated / UNIT;
}

/* Whose store keeps a unit, as the home says; 0: it is not allocated. */
static kh_node_id place(struct cluster *c, uint64_t unit)
{
	struct kh_op op = op_of(c, KH_OP_PAGE_SHOW, unit, 0);
	int error = host_op(&c->hosts[2], &op);

	if (error == ENXIO)
		return 0;
	assert_int_equal(error, 0);
	return c->hosts[2].page.place;
}

static void restart(struct cluster *c, unsigned int i)
{
	unsigned int k;

	host_kill(&c->hosts[i]);
	host_start(&c->hosts[i], false);
	for (k = 0; k < NODES; k++)
		if (k != i)
			cluster_connect(c, i, k);
	cluster_run(c);
}

/* The store of host 1 has the space of an ALLOCATE, and its home, when it hears that, no disk. */
static void allocate_in_vain(struct cluster *c, uint64_t unit, uint64_t units)
{
	struct host *home = &c->hosts[0], *h = &c->hosts[1];
	unsigned int before = h->replies;

	h->store_rests = true;
	begin(h, op_of(c, KH_OP_ALLOCATE, unit, units));
	assert_int_equal(h->replies, before);
	home->persist_fails = true;
	h->store_rests = false;
	cluster_run(c);
	assert_int_equal(h->replies, before + 1);
	assert_int_equal(h->result.error, EIO);
}

static void what_cannot_be_undone_on_the_disk_is_undone_later(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *h = &c->hosts[1];
	struct kh_op op = op_of(c, KH_OP_ALLOCATE, 0, 8);

	allocate_in_vain(c, 0, 8);
	assert_int_equal(host_reserved(h), 8);
	assert_int_equal(allocated(c), 0);
	/* not before it is written down does the store hear of it */
	cluster_sleep(c, 3500);
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 0);
	assert_int_equal(host_reserved(h), 8);
	home->persist_fails = false;
	cluster_sleep(c, 1100);
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 1);
	assert_int_equal(host_reserved(h), 0);
	assert_int_equal(allocated(c), 0);
	assert_int_equal(place(c, 0), 0);
	/* and it is over */
	cluster_sleep(c, 3500);
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 1);
	restart(c, 0);
	cluster_sleep(c, 3500);
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 1);
	assert_int_equal(allocated(c), 0);
	/* nothing of it is in the way */
	assert_int_equal(host_op(h, &op), 0);
	assert_int_equal(host_reserved(h), 8);
	assert_int_equal(allocated(c), 8);
	assert_int_equal(place(c, 7), 2);
	restart(c, 0);
	assert_int_equal(allocated(c), 8);
	assert_int_equal(place(c, 7), 2);
	assert_int_equal(host_reserved(h), 8);
}

static void what_was_not_undone_is_after_a_restart(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *h = &c->hosts[1];

	allocate_in_vain(c, 0, 8);
	cluster_sleep(c, 2500);
	assert_int_equal(host_reserved(h), 8);
	home->persist_fails = false;
	restart(c, 0);
	assert_int_equal(allocated(c), 0);
	cluster_sleep(c, 1100);
	assert_int_equal(host_reserved(h), 0);
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 1);
	assert_int_equal(place(c, 0), 0);
}

/* It asks for more than was there before. */
static void what_was_allocated_before_stays(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *h = &c->hosts[1];
	struct kh_op op = op_of(c, KH_OP_ALLOCATE, 2, 3);

	assert_int_equal(host_op(h, &op), 0);
	assert_int_equal(host_attach(h, c->addr, NULL), 0);
	allocate_in_vain(c, 0, 8);
	assert_int_equal(host_reserved(h), 8);
	assert_int_equal(allocated(c), 3);
	home->persist_fails = false;
	cluster_sleep(c, 1100);
	assert_int_equal(host_reserved(h), 3);
	assert_int_equal(place(c, 1), 0);
	assert_int_equal(place(c, 2), 2);
	assert_int_equal(place(c, 4), 2);
	assert_int_equal(place(c, 5), 0);
	restart(c, 0);
	cluster_sleep(c, 1100);
	assert_int_equal(allocated(c), 3);
	assert_int_equal(host_reserved(h), 3);
	assert_int_equal(host_want(h, 2, 1, WRITE, 0), 0);
	assert_int_equal(host_want(h, 1, 1, READ, 0), ENXIO);
}

/* Another ALLOCATE, and a FREE, were done while its store worked: they stay as they are. */
static void what_others_did_meanwhile_stays(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *h = &c->hosts[1], *other = &c->hosts[2];
	struct kh_op allocate = op_of(c, KH_OP_ALLOCATE, 8, 4),
		     old = op_of(c, KH_OP_ALLOCATE, 12, 2), free = op_of(c, KH_OP_FREE, 12, 2);

	assert_int_equal(host_op(other, &old), 0);
	assert_int_equal(host_attach(other, c->addr, NULL), 0);
	h->store_rests = true;
	begin(h, op_of(c, KH_OP_ALLOCATE, 0, 8));
	assert_int_equal(host_op(other, &allocate), 0);
	assert_int_equal(host_op(other, &free), 0);
	home->persist_fails = true;
	h->store_rests = false;
	cluster_run(c);
	assert_int_equal(h->result.error, EIO);
	assert_int_equal(allocated(c), 4);
	home->persist_fails = false;
	cluster_sleep(c, 1100);
	assert_int_equal(host_reserved(h), 0);
	assert_int_equal(host_reserved(other), 4);
	assert_int_equal(allocated(c), 4);
	restart(c, 0);
	cluster_sleep(c, 1100);
	assert_int_equal(allocated(c), 4);
	assert_int_equal(host_reserved(other), 4);
	assert_int_equal(host_want(other, 8, 1, WRITE, 0), 0);
	assert_int_equal(host_want(other, 12, 1, READ, 0), ENXIO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cluster_teardown)

int test_place(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_cannot_be_undone_on_the_disk_is_undone_later),
		TEST(what_was_not_undone_is_after_a_restart),
		TEST(what_was_allocated_before_stays),
		TEST(what_others_did_meanwhile_stays),
	};

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
