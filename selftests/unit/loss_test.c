// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * loss_test.c - what several failures take: who keeps the last frame, who is told
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE
#define LEASE_MS CLUSTER_LEASE_MS

static int setup_stores(void **state)
{
	struct cluster *c = cluster_new_stores();

	cluster_region(c, 0, 2, LEASE_MS); /* fewer units than nodes */
	*state = c;
	return 0;
}

static int setup_four(void **state)
{
	struct cluster *c = cluster_new_nodes(4);

	cluster_region(c, 0, 8, LEASE_MS);
	*state = c;
	return 0;
}

/* Kept by the last host. */
static int setup_place(void **state)
{
	struct cluster *c = cluster_new_stores();
	struct kh_op op = { .code = KH_OP_RESERVE,
			    .length = 8 * UNIT,
			    .attr = { .lease_ms = LEASE_MS } };
	unsigned int i;

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	c->addr = op.addr = c->hosts[0].result.addr;
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	assert_int_equal(host_reserved(&c->hosts[2]), 8);
	for (i = 0; i < c->nodes; i++)
		assert_int_equal(host_attach(&c->hosts[i], c->addr, NULL), 0);
	*state = c;
	return 0;
}

/* The home's khd is another one, and meets those of @peers (bits). */
static void restart_home(struct cluster *c, unsigned int peers)
{
	unsigned int i;

	host_kill(&c->hosts[0]);
	host_start(&c->hosts[0], false);
	for (i = 1; i < c->nodes; i++)
		if (peers >> i & 1)
			cluster_connect(c, 0, i);
	cluster_run(c);
	cluster_sleep(c, 3 * LEASE_MS); /* nobody waits any more for the silent ones */
}

/*
 * The owner's module is gone, and an OWNED copy is all that is left of what two nodes have seen:
 * when that goes too, the unit is lost, not zero.
 */
static void a_copy_that_lost_its_owner_is_thin(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[2], 0, 3);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), 0);
	assert_true(c->hosts[1].units[0].page.flags & KHAZANA_UNIT_OWNED);
	host_kill(&c->hosts[2]);
	host_start(&c->hosts[2], true);
	cluster_rejoin(c, 2);
	host_kill(&c->hosts[1]);
	host_start(&c->hosts[1], true);
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), EIO);
}

/*
 * The owner's module is gone while a request for the unit waits: the backup is all that is left.
 * When that goes too, and the home begins again, the unit is lost, not zero.
 */
static void a_backup_that_lost_its_owner_is_thin(void **state)
{
	struct cluster *c = *state;
	struct host *a = &c->hosts[1], *b = &c->hosts[2], *d = &c->hosts[3];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 3);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	c->cut[2] = true;
	assert_int_equal(host_want(d, 0, 1, WRITE, 0), EINPROGRESS);
	cluster_isolate(c, 3);
	host_kill(b);
	c->cut[2] = false;
	host_start(b, true);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	host_kill(d);
	host_kill(a);
	host_start(a, true);
	host_start(d, false);
	restart_home(c, 1 << 1 | 1 << 2 | 1 << 3);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), EIO);
}

/*
 * What a node has stored into has been stored as well, its lease is over, and the home begins again,
 * which meets the node and the unit's place.  The place's disk is slow: the verdict waits for it.
 */
static void wait_for_the_place(struct cluster *c)
{
	struct host *a = &c->hosts[1], *place = &c->hosts[2];
	struct kh_op op = { .code = KH_OP_FLUSH, .addr = c->addr, .length = UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 7);
	/* It is stored, and its home dies before it hears that. */
	place->store_rests = true;
	kh_node_op(a->node, a->replies + 1, &op, c->now);
	cluster_run(c);
	host_kill(&c->hosts[0]);
	kh_node_op_cancel(a->node, a->replies + 1, c->now); /* it would ask the place again */
	place->store_rests = false;
	cluster_run(c);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_EXPIRED_DIRTY);
	host_start(&c->hosts[0], false);
	cluster_connect(c, 0, 1);
	cluster_run(c);
	place->store_rests = true;
	cluster_connect(c, 0, 2);
	cluster_run(c);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_EXPIRED_DIRTY);
}

/*
 * What a node's stores wait for is heard from their place after the END of its inventory: if the
 * verdict is lost with the connection, it comes again.
 */
static void a_late_verdict_is_repeated(void **state)
{
	struct cluster *c = *state;
	struct host *a = &c->hosts[1];

	wait_for_the_place(c);
	c->cut[1] = true;
	c->hosts[2].store_rests = false;
	cluster_run(c);
	cluster_disconnect(c, 0, 1);
	c->cut[1] = false;
	cluster_connect(c, 0, 1);
	cluster_run(c);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_STABLE);
	assert_int_equal(host_load(a, 0), 7);
}

/* A place whose khd dies has forgotten that it was asked: nobody else asks for the unit. */
static void a_place_that_is_back_is_asked_again(void **state)
{
	struct cluster *c = *state;
	struct host *a = &c->hosts[1], *place = &c->hosts[2];

	wait_for_the_place(c);
	host_kill(place);
	place->store_rests = false;
	host_start(place, false);
	cluster_rejoin(c, 2);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_STABLE);
	assert_int_equal(host_load(a, 0), 7);
}

/*
 * A module is lost amid a request for what it had, and the asker gives up: the unit is lost, also
 * if the node is silent when the home begins again.
 */
static void a_loss_amid_a_request_is_remembered(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[2], 0, 3);
	host_kill(&c->hosts[1]);
	host_start(&c->hosts[1], true);
	cluster_rejoin(c, 1);
	assert_int_equal(host_attach(&c->hosts[1], c->addr, NULL), 0);
	c->cut[2] = true;
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	cluster_isolate(c, 1);
	host_kill(&c->hosts[2]);
	c->cut[2] = false;
	host_start(&c->hosts[2], true);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	cluster_sleep(c, 3 * LEASE_MS);
	restart_home(c, 1 << 1);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), EIO);
}

/*
 * The same, and the home dies before the request has ended: which module the node has is not
 * known before what went with the former one is.
 */
static void a_loss_amid_a_request_outlives_the_home(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 3);
	host_kill(a);
	host_start(a, true);
	cluster_rejoin(c, 1);
	assert_int_equal(host_attach(a, c->addr, NULL), 0);
	c->cut[2] = true;
	assert_int_equal(host_want(a, 0, 1, READ, 0), EINPROGRESS);
	cluster_isolate(c, 1);
	host_kill(b);
	c->cut[2] = false;
	host_start(b, true);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(host_want(home, 0, 1, READ, 0), EIO);
}

/* What the host says of a grant that it has taken is lost, and it is out of reach. */
static void taken_in_silence(struct cluster *c, unsigned int i, uint64_t unit, uint32_t right)
{
	c->cut_at[i] = KH_WIRE_DONE;
	assert_int_equal(host_want(&c->hosts[i], unit, 1, right, 0), 0);
	cluster_isolate(c, i);
	c->cut_at[i] = 0;
	c->cut[i] = false;
}

/*
 * A reader's DONE is lost, and its lease ends: when it is back with its copy, which is kept like a
 * backup, the unit has a reader, and survives its owner.
 */
static void a_reader_whose_word_was_lost_is_one(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_PAGE_SHOW, .addr = c->addr };

	assert_int_equal(host_want(&c->hosts[2], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 3);
	taken_in_silence(c, 2, 0, READ);
	cluster_sleep(c, 3 * LEASE_MS);
	cluster_rejoin(c, 2);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	assert_int_equal(c->hosts[0].page.owner, 2);
	assert_int_equal(c->hosts[0].page.right, READ);
	assert_int_equal(c->hosts[0].page.reader_count, 1);
	host_kill(&c->hosts[1]);
	host_start(&c->hosts[1], true);
	cluster_rejoin(c, 1);
	assert_int_equal(host_want(&c->hosts[0], 0, 1, READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), 3);
}

/*
 * The backup's node is granted the unit, says nothing more, and is rolled back: it has no backup
 * any more.  When the module that went on is lost too, what others have seen of the stored unit is
 * given up, and they hear of it.
 */
static void a_backup_that_was_granted_the_unit_is_none(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 1);
	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	taken_in_silence(c, 1, 0, WRITE);
	host_store(a, 0, 2);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(b->told, 0);
	host_kill(home);
	host_start(home, true);
	cluster_rejoin(c, 0);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->poisons, 1);
	assert_true(b->told > 0);
}

/* The host's memory is short: the unit goes, if it may. */
static void drop(struct host *h, uint64_t unit)
{
	struct khazana_request req = {
		.op = KHAZANA_REQ_DROPPED, .region = 1, .unit = unit, .count = 1
	};

	req.token = h->units[unit].page.token;
	if (host_drop(h, unit))
		host_request(h, &req);
}

/*
 * A node has kept a copy that it cannot use, and is called the owner by a home that begins again.
 * When it is stored and memory is short it goes, though nobody has asked for the unit since.
 */
static void an_owner_without_a_right_gives_up_what_is_stored(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];
	struct kh_op op = { .code = KH_OP_FLUSH, .addr = c->addr, .length = UNIT };
	const struct khazana_request short_of = { .op = KHAZANA_REQ_PRESSURE, .count = 1 };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 7);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	cluster_isolate(c, 1);
	host_kill(b);
	host_start(b, true);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_STABLE);
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(a->units[0].page.right, KHAZANA_RIGHT_NONE);
	assert_true(a->units[0].page.flags & KHAZANA_UNIT_OWNED);
	assert_int_equal(host_op(home, &op), 0);
	host_request(a, &short_of);
	cluster_run(c);
	assert_int_equal(a->units[0].frame, ~0u);
	assert_int_equal(a->units[0].handoff, ~0u);
	assert_int_equal(host_want(home, 0, 1, READ, 0), EINPROGRESS); /* the owner has nothing */
	cluster_sleep(c, 50);
	assert_int_equal(home->units[0].page.right, READ);
	assert_int_equal(host_load(home, 0), 7);
}

/*
 * Of a page that nobody has written its place knows all there is to know: it is zero also when who
 * read it first is silent, and others had read it.
 */
static void what_nobody_wrote_is_not_lost(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(b, 0, 1, READ, 0), 0);
	drop(b, 0);
	cluster_run(c);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 0);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	host_store(home, 0, 5);
	cluster_rejoin(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->poisons, 0);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(a, 0), 5);
}

/* The same when it had been told that it may drop it, so that nothing of it comes back. */
static void nor_with_what_its_reader_may_drop(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];
	const struct khazana_request short_of = { .op = KHAZANA_REQ_PRESSURE };

	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(b, 0, 1, READ, 0), 0);
	drop(b, 0);
	host_request(a, &short_of);
	cluster_run(c);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->units[0].frame, ~0u);
	host_want(home, 0, 1, READ, 0);
	cluster_rejoin(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 0);
}

/*
 * The place of what nobody wrote has it: it may be dropped by who reads it, without asking, and is
 * zero for whoever asks next.  One who still reads it loses it when it is written.
 */
static void zeros_that_were_read_may_go(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(b, 0, 1, READ, 0), 0);
	assert_true(kz_page_droppable(&a->units[0].page));
	drop(a, 0);
	cluster_run(c);
	assert_int_equal(a->units[0].frame, ~0u);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(a, 0), 0);
	assert_int_equal(b->units[0].page.right, READ); /* which disturbs nobody */
	drop(a, 0);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(home, 0), 0);
	assert_int_equal(b->units[0].page.right, KHAZANA_RIGHT_NONE);
	host_store(home, 0, 6);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(a, 0), 6);
}

/* What is in memory only has no place: the frame of who reads it first is all there is. */
static void without_a_store_they_stay(void **state)
{
	struct cluster *c = *state;

	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), 0);
	assert_false(kz_page_droppable(&c->hosts[1].units[0].page));
}

/*
 * A node has kept a copy that it cannot use, and is called the owner by a home that begins again
 * without a module; the store turns out to have a newer version.  The copy goes: nobody would ask
 * for it, and it could not be reclaimed.
 */
static void a_copy_older_than_what_is_stored_goes(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];
	struct kh_op op = { .code = KH_OP_FLUSH, .addr = c->addr, .length = UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	cluster_isolate(c, 1);
	cluster_isolate(c, 2);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_STABLE);
	assert_true(a->units[0].page.flags & KHAZANA_UNIT_OWNED);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	host_store(home, 0, 9);
	assert_int_equal(host_op(home, &op), 0);
	host_kill(b);
	host_start(b, true);
	host_kill(home);
	host_start(home, true);
	cluster_rejoin(c, 0);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(host_attach(home, c->addr, NULL), 0);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 9);
	assert_int_equal(a->units[0].frame, ~0u);
}

/*
 * A reader whose lease is over has kept its OWNED copy, and the unit has gone on without it.  When
 * the only frame of what others have seen since goes with a module, they hear of that.
 */
static void a_kept_copy_is_not_what_went_with_a_module(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];
	const struct khazana_request waited_for = { .op = KHAZANA_REQ_PRESSURE, .count = 1 };

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 1);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_true(a->units[0].page.flags & KHAZANA_UNIT_OWNED);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_STABLE);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	host_store(home, 0, 2);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	host_request(b, &waited_for);
	cluster_run(c);
	assert_int_equal(b->units[0].handoff, ~0u);
	host_kill(home);
	host_start(home, true);
	assert_int_equal(b->told, 0);
	cluster_rejoin(c, 0);
	cluster_sleep(c, LEASE_MS);
	assert_true(b->told > 0);
}

/*
 * Of what a FREE that does not end had revoked one READ copy is kept: not the one that is out of
 * reach, and was dropped.
 */
static void a_free_keeps_a_copy_within_reach(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0];
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[1], 0, 3);
	assert_int_equal(host_want(&c->hosts[2], 0, 1, READ, 0), 0);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	c->cut[2] = true;
	drop(&c->hosts[2], 0);
	cluster_isolate(c, 2);
	c->cut[2] = false;
	kh_node_op(home->node, home->replies + 1, &op, c->now);
	cluster_run(c);
	host_kill(&c->hosts[1]);
	host_start(&c->hosts[1], true);
	restart_home(c, 1 << 1);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 3);
}

/*
 * The unit went on from an old frame while the node with the newest was silent, and a third had
 * seen that.  It hears of the loss, though the home has begun again in between.
 */
static void who_has_seen_more_hears_of_it_after_the_home(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2], *d = &c->hosts[3];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 2);
	assert_int_equal(host_want(d, 0, 1, READ, 0), 0);
	drop(d, 0);
	cluster_run(c);
	cluster_isolate(c, 2);
	restart_home(c, 1 << 1 | 1 << 3);
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(home, 0), 0);
	assert_int_equal(d->told, 0);
	restart_home(c, 1 << 1 | 1 << 2 | 1 << 3);
	assert_int_equal(b->poisons, 1);
	assert_true(d->told > 0);
}

/*
 * A node was silent when the home began, and is back with a unit while a FREE waits for another
 * one: the unit is freed with it.
 */
static void a_free_takes_what_comes_back_meanwhile(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = 2 * UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_want(a, 1, 1, WRITE, 0), 0);
	host_store(a, 1, 3);
	restart_home(c, 1 << 2);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	c->cut[2] = true;
	kh_node_op(home->node, home->replies + 1, &op, c->now);
	cluster_run(c);
	cluster_connect(c, 0, 1);
	cluster_run(c);
	cluster_isolate(c, 2);
	c->cut[2] = false;
	cluster_rejoin(c, 2);
	cluster_sleep(c, LEASE_MS);
	assert_int_equal(home->result.error, 0);
	assert_int_equal(a->units[1].page.right, KHAZANA_RIGHT_NONE);
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(home, &op), 0);
	assert_int_equal(host_want(home, 1, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 1), 0);
}

/*
 * Two have kept copies that could not be used, and a third, silent when the home begins, went on
 * from them.  What is read of them then is a new version, so that the third's does not come back.
 */
static void what_is_read_again_is_not_older_than_what_comes_back(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2], *d = &c->hosts[3];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 2);
	assert_int_equal(host_want(a, 0, 1, READ, 0), 0);
	assert_int_equal(host_want(d, 0, 1, READ, 0), 0);
	cluster_isolate(c, 1);
	cluster_isolate(c, 2);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(host_want(d, 0, 1, WRITE, 0), 0);
	host_store(d, 0, 3);
	cluster_isolate(c, 3);
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 2);
	drop(home, 0);
	restart_home(c, 1 << 1 | 1 << 2 | 1 << 3);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 2);
	assert_int_equal(home->poisons, 0);
	assert_int_equal(d->poisons, 1);
}

/*
 * The others are silent while the home begins: what they may have seen of a stored unit is given
 * up.  They hear that, however many khds later, until they have.
 */
static void who_must_hear_of_a_loss_survives_the_home(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 1);
	restart_home(c, 0);
	assert_int_equal(home->told, 1);
	restart_home(c, 1 << 1);
	assert_true(a->told > 0);
	assert_int_equal(b->told, 0);
	a->told = 0;
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(a->told, 0);
	assert_true(b->told > 0);
	b->told = 0;
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(home->told, 1); /* no other loss was met */
	assert_int_equal(a->told, 0);
	assert_int_equal(b->told, 0);
}

/*
 * A node's stores are right again while another one is silent that had gone on without them.  That
 * is so for a home that begins later, too: what the other brings back is lost.
 */
static void stores_that_are_resumed_are_not_outdone_later(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 1);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(a->units[0].page.state, KHAZANA_STATE_EXPIRED_DIRTY);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	host_store(b, 0, 2);
	cluster_isolate(c, 2);
	restart_home(c, 1 << 1);
	assert_int_equal(a->units[0].page.right, READ);
	restart_home(c, 1 << 1 | 1 << 2);
	assert_int_equal(a->poisons, 0);
	assert_int_equal(b->poisons, 1);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 1);
}

/* A RENEW of the host's, which it sent when its lease was over, comes after it was judged. */
static void renew_comes_late(struct cluster *c, unsigned int i)
{
	struct {
		struct kh_wire_head head;
		struct kh_wire_renew renew;
	} m = { .head = { .length = sizeof(m),
			  .magic = KH_WIRE_MAGIC,
			  .kind = KH_WIRE_RENEW,
			  .count = 1 },
		.renew = { .lease_ms = LEASE_MS, .flags = KH_RENEW_EXPIRED } };

	kh_wire_swap(&m.head, true);
	assert_int_equal(kh_node_message(c->hosts[0].node, i + 1, &m, sizeof(m), c->now), 0);
	kh_node_received(c->hosts[0].node);
	cluster_run(c);
}

/*
 * An owner is asked what it has, and hands the unit off before the home hears it: what was listed
 * is older than the directory.  Its frame is the backup, and stays.
 */
static void a_listed_unit_that_is_handed_off_leaves_a_backup(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *a = &c->hosts[1], *b = &c->hosts[2];

	assert_int_equal(host_want(a, 0, 1, WRITE, 0), 0);
	host_store(a, 0, 1);
	c->slow_at[1][0] = KH_WIRE_INVENTORY;
	renew_comes_late(c, 1);
	assert_non_null(c->late);
	assert_int_equal(host_want(b, 0, 1, WRITE, 0), 0);
	assert_true(a->units[0].page.flags & KHAZANA_UNIT_HANDOFF);
	cluster_hurry(c);
	assert_true(a->units[0].page.flags & KHAZANA_UNIT_HANDOFF);
	host_kill(b);
	host_start(b, true);
	cluster_rejoin(c, 2);
	assert_int_equal(host_want(home, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(home, 0), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)

int test_loss(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stores_that_are_resumed_are_not_outdone_later),
		TEST(a_copy_that_lost_its_owner_is_thin),
		TEST(a_listed_unit_that_is_handed_off_leaves_a_backup),
		cmocka_unit_test_setup_teardown(a_backup_that_lost_its_owner_is_thin, setup_four,
						cluster_teardown),
		TEST(a_loss_amid_a_request_is_remembered),
		TEST(a_loss_amid_a_request_outlives_the_home),
		TEST(a_kept_copy_is_not_what_went_with_a_module),
		TEST(a_reader_whose_word_was_lost_is_one),
		TEST(a_free_keeps_a_copy_within_reach),
		TEST(a_free_takes_what_comes_back_meanwhile),
		cmocka_unit_test_setup_teardown(who_has_seen_more_hears_of_it_after_the_home,
						setup_four, cluster_teardown),
		cmocka_unit_test_setup_teardown(what_is_read_again_is_not_older_than_what_comes_back,
						setup_four, cluster_teardown),
		cmocka_unit_test_setup_teardown(a_backup_that_was_granted_the_unit_is_none,
						setup_place, cluster_teardown),
		cmocka_unit_test_setup_teardown(a_late_verdict_is_repeated, setup_place,
						cluster_teardown),
		cmocka_unit_test_setup_teardown(what_nobody_wrote_is_not_lost, setup_place,
						cluster_teardown),
		cmocka_unit_test_setup_teardown(nor_with_what_its_reader_may_drop, setup_place,
						cluster_teardown),
		cmocka_unit_test_setup_teardown(zeros_that_were_read_may_go, setup_place,
						cluster_teardown),
		TEST(without_a_store_they_stay),
		cmocka_unit_test_setup_teardown(a_copy_older_than_what_is_stored_goes, setup_stores,
						cluster_teardown),
		cmocka_unit_test_setup_teardown(an_owner_without_a_right_gives_up_what_is_stored,
						setup_stores, cluster_teardown),
		cmocka_unit_test_setup_teardown(a_place_that_is_back_is_asked_again, setup_place,
						cluster_teardown),
		cmocka_unit_test_setup_teardown(who_must_hear_of_a_loss_survives_the_home,
						setup_stores, cluster_teardown),
	};

	return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}
