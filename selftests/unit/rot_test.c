// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rot_test.c - a stored unit that its place cannot read any more, while others hold the same version
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "lib/core/core.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE
#define LEASE_MS CLUSTER_LEASE_MS
#define FLUSH_MS 5000 /* default bound */
#define SOON 100 /* milliseconds: a request that was told to ask again has done so */
#define VALUE 7

/* Unit 0 of the region, homed at host 0, is kept by host @place. */
static int setup(void **state, unsigned int place)
{
	struct cluster *c = cluster_new_stores();
	struct kh_op op = { .code = KH_OP_RESERVE,
			    .length = 8 * UNIT,
			    .attr = { .lease_ms = LEASE_MS } };
	unsigned int i;

	memcpy(op.key, cluster_key, KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	c->addr = op.addr = c->hosts[0].result.addr;
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[place], &op), 0);
	assert_int_equal(host_reserved(&c->hosts[place]), 8);
	for (i = 0; i < NODES; i++)
		assert_int_equal(host_attach(&c->hosts[i], c->addr, NULL), 0);
	*state = c;
	return 0;
}

static int setup_home(void **state)
{
	return setup(state, 0);
}

static int setup_reader(void **state)
{
	return setup(state, 2);
}

static int flushes(struct host *h)
{
	struct kh_op op = { .code = KH_OP_FLUSH, .addr = h->cluster->addr, .length = UNIT };

	memcpy(op.key, cluster_key, KH_KEY_SIZE);
	return host_op(h, &op);
}

static void flush(struct host *h)
{
	assert_int_equal(flushes(h), 0);
}

/* The host's memory is short; @tell: and the home hears of it. */
static void drop(struct host *h, bool tell)
{
	struct khazana_request req = { .op = KHAZANA_REQ_DROPPED, .region = 1, .count = 1 };

	req.token = h->units[0].page.token;
	assert_true(host_drop(h, 0));
	if (tell)
		host_request(h, &req);
}

/* The unit has VALUE, is stored, and nobody holds it. */
static void stored(struct cluster *c, unsigned int writer)
{
	assert_int_equal(host_want(&c->hosts[writer], 0, 1, WRITE, 0), 0);
	host_store(&c->hosts[writer], 0, VALUE);
	flush(&c->hosts[writer]);
	drop(&c->hosts[writer], true);
}

static void reads(struct host *h)
{
	assert_int_equal(host_want(h, 0, 1, READ, 0), 0);
	assert_int_equal(host_load(h, 0), VALUE);
}

/* The end of a request that may have been told to ask again. */
static int wants(struct host *h, uint32_t right, uint32_t flags)
{
	int error = host_want(h, 0, 1, right, flags);

	if (error != EINPROGRESS)
		return error;
	h->fail_error = 0;
	cluster_sleep(h->cluster, SOON);
	if (h->units[0].page.right >= right)
		return 0;
	return h->fail_error ? h->fail_error : EINPROGRESS;
}

static void is_repaired(struct cluster *c, unsigned int place, uint64_t value)
{
	uint64_t stored;

	cluster_sleep(c, FLUSH_MS + 100);
	assert_false(c->hosts[place].kept[0].rotten);
	memcpy(&stored, c->hosts[place].kept[0].data, sizeof(stored));
	assert_int_equal(stored, value);
}

/* Nobody has a frame of it: what is read now comes from the store. */
static void comes_from(struct cluster *c, unsigned int place, unsigned int reader, uint64_t value)
{
	unsigned int i, begun;

	for (i = 0; i < NODES; i++) {
		const struct khazana_request short_of = { .op = KHAZANA_REQ_PRESSURE, .count = 1 };

		host_request(&c->hosts[i], &short_of);
		cluster_run(c);
		if (c->hosts[i].units[0].page.right)
			drop(&c->hosts[i], true);
	}
	begun = c->hosts[place].store_begun[KH_STORE_GET];
	assert_int_equal(wants(&c->hosts[reader], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[reader], 0), value);
	assert_true(c->hosts[place].store_begun[KH_STORE_GET] > begun);
}

static uint64_t repaired(struct host *home)
{
	struct kh_op op = { .code = KH_OP_STATS };

	assert_int_equal(host_op(home, &op), 0);
	return home->units_repaired;
}

static void a_reader_gives_what_the_store_cannot(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
	is_repaired(c, 0, VALUE);
	assert_int_equal(repaired(&c->hosts[0]), 1);
	comes_from(c, 0, 1, VALUE);
}

static void to_a_writer_too(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[1], WRITE, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
	assert_int_equal(c->hosts[2].units[0].page.right, 0);
	is_repaired(c, 0, VALUE);
}

/* Its own khd reads the store, and its own module has the frame. */
static void so_does_the_place_itself(void **state)
{
	struct cluster *c = *state;

	stored(c, 2);
	reads(&c->hosts[2]);
	c->hosts[2].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
	is_repaired(c, 2, VALUE);
	comes_from(c, 2, 0, VALUE);
}

static void and_the_home(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[0]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[1], WRITE, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
	is_repaired(c, 0, VALUE);
}

static void without_a_reader_it_is_eio_until_it_is_overwritten(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	assert_int_equal(wants(&c->hosts[2], WRITE, 0), EIO);
	assert_int_equal(flushes(&c->hosts[2]), EIO); /* what was read once is nowhere */
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	assert_int_equal(wants(&c->hosts[2], WRITE, KHAZANA_REQF_OVERWRITE), 0);
	host_store(&c->hosts[2], 0, VALUE + 1);
	is_repaired(c, 0, VALUE + 1);
	assert_int_equal(repaired(&c->hosts[0]), 0); /* what it was is gone */
	comes_from(c, 0, 1, VALUE + 1);
}

/* A notice that a copy went may be lost: the next one is asked. */
static void a_reader_that_dropped_it_is_passed_over(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[1]);
	reads(&c->hosts[2]);
	drop(&c->hosts[1], false);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[0], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), VALUE);
	is_repaired(c, 0, VALUE);
}

static void when_all_dropped_it_it_is_eio_in_time(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[1]);
	reads(&c->hosts[2]);
	drop(&c->hosts[1], false);
	drop(&c->hosts[2], false);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[0], READ, 0), EIO);
	assert_int_equal(wants(&c->hosts[1], WRITE, 0), EIO);
	assert_int_equal(flushes(&c->hosts[2]), EIO);
	assert_int_equal(wants(&c->hosts[1], WRITE, KHAZANA_REQF_OVERWRITE), 0);
	host_store(&c->hosts[1], 0, VALUE + 1);
	is_repaired(c, 0, VALUE + 1);
}

/* Its lease ends: what it holds counts no more, and nobody waits longer. */
static void a_reader_that_is_gone_is_not_waited_for(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	cluster_isolate(c, 2);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(c->hosts[1].fail_error, EIO);
}

/* It is repaired though nobody but the reader holds it, and who waits for that is told the truth. */
static void a_flush_repairs_it(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	cluster_isolate(c, 1); /* it does not ask again */
	cluster_sleep(c, 3 * LEASE_MS);
	assert_true(c->hosts[0].kept[0].rotten);
	flush(&c->hosts[2]);
	assert_false(c->hosts[0].kept[0].rotten);
}

/* The asker went before it could ask again, and the reader's frame went while nobody looked. */
static void a_flush_of_what_is_gone_fails(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	drop(&c->hosts[2], false);
	assert_int_equal(flushes(&c->hosts[2]), EIO);
	assert_int_equal(flushes(&c->hosts[2]), EIO);
	c->hosts[0].kept[0].rotten = false;
	reads(&c->hosts[2]);
	flush(&c->hosts[2]);
}

/* Nobody is asked for it in vain every few seconds. */
static void what_nobody_has_is_no_work(void **state)
{
	struct cluster *c = *state;
	uint64_t passes;
	struct kh_op op = { .code = KH_OP_STATS };

	stored(c, 1);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	passes = c->hosts[0].flushes;
	cluster_sleep(c, 4 * FLUSH_MS);
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	assert_int_equal(c->hosts[0].flushes, passes);
}

/* It is freed while its asker has not asked again yet. */
static void what_is_freed_need_not_be_read(void **state)
{
	struct cluster *c = *state;
	struct kh_op op = { .code = KH_OP_FREE, .addr = c->addr, .length = UNIT };

	memcpy(op.key, cluster_key, KH_KEY_SIZE);
	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), EINPROGRESS);
	assert_int_equal(host_op(&c->hosts[2], &op), 0);
	cluster_sleep(c, SOON);
	assert_int_equal(c->hosts[1].units[0].page.right, 0);
	assert_int_equal(c->hosts[2].units[0].page.right, 0);
	assert_int_equal(c->hosts[2].units[0].handoff, ~0u);
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[0], &op), 0);
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), 0);
	assert_int_equal(flushes(&c->hosts[1]), 0);
}

/* A home that begins again while it is being repaired has forgotten that: the data is there. */
static void a_home_that_begins_again_loses_nothing(void **state)
{
	struct cluster *c = *state;
	unsigned int puts;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	puts = c->hosts[0].store_begun[KH_STORE_PUT];
	c->hosts[0].store_rests = true;
	cluster_sleep(c, SOON);
	assert_int_equal(c->hosts[0].store_begun[KH_STORE_PUT], puts + 1);
	assert_true(c->hosts[0].kept[0].rotten);
	host_kill(&c->hosts[0]);
	host_start(&c->hosts[0], false);
	c->hosts[0].store_rests = false;
	cluster_rejoin(c, 0);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(c->hosts[1].units[0].page.right, READ);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
}

/* The place is asked once more, and cannot read what it had sent: who has got it goes on. */
static void what_came_before_it_rotted_is_taken(void **state)
{
	struct cluster *c = *state;
	struct host *home = &c->hosts[0], *writer = &c->hosts[1];

	stored(c, 2);
	reads(home);
	c->break_at[1][0] = 2; /* its DONE */
	assert_int_equal(host_want(writer, 0, 1, WRITE, 0), 0);
	host_store(writer, 0, VALUE + 1);
	c->hosts[2].kept[0].rotten = true;
	cluster_disconnect(c, 0, 2);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	assert_int_equal(host_want(home, 0, 1, READ, 0), EINPROGRESS);
	cluster_connect(c, 0, 1);
	cluster_run(c);
	cluster_sleep(c, SOON);
	assert_int_equal(home->units[0].page.right, READ);
	assert_int_equal(host_load(home, 0), VALUE + 1);
}

/* The disk fails, or does so no more: nothing is read and nothing written. */
static void fails(struct host *h, uint32_t error)
{
	h->store_error[KH_STORE_GET] = h->store_error[KH_STORE_PUT] = error;
}

static void reboot(struct cluster *c, unsigned int i)
{
	host_kill(&c->hosts[i]);
	cluster_sleep(c, 3 * LEASE_MS);
	host_start(&c->hosts[i], true);
	cluster_rejoin(c, i);
	cluster_sleep(c, 3 * LEASE_MS);
}

/*
 * Its place fails; host 2 alone has the unit, which made it the owner, and is silent until its
 * lease is over.
 */
static void owner_is_silent(struct cluster *c)
{
	stored(c, 1);
	reads(&c->hosts[2]);
	fails(&c->hosts[0], EIO);
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	drop(&c->hosts[1], true);
	cluster_isolate(c, 2);
	cluster_sleep(c, 3 * LEASE_MS);
}

/*
 * A reader became the owner of what its place could not read, and is gone: what is stored is not
 * lost for that.
 */
static void what_can_be_read_again_was_not_lost(void **state)
{
	struct cluster *c = *state;

	owner_is_silent(c);
	assert_int_equal(wants(&c->hosts[1], READ, 0), EIO);
	reboot(c, 2);
	assert_int_equal(wants(&c->hosts[1], READ, 0), EIO);
	fails(&c->hosts[0], 0);
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
}

/* The same when it comes back with its frame. */
static void nor_what_comes_back(void **state)
{
	struct cluster *c = *state;

	owner_is_silent(c);
	assert_int_equal(flushes(&c->hosts[1]), EIO);
	assert_int_equal(wants(&c->hosts[1], READ, 0), EIO);
	cluster_rejoin(c, 2);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
}

/* Also while somebody waits for what it has. */
static void nor_what_comes_back_amid_a_request(void **state)
{
	struct cluster *c = *state;

	owner_is_silent(c);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	cluster_rejoin(c, 2);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
}

/* However long that takes, it is stored anew then. */
static void who_comes_back_has_it_stored_anew(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	c->hosts[0].store_error[KH_STORE_PUT] = EIO;
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	drop(&c->hosts[1], true);
	cluster_isolate(c, 2);
	assert_int_equal(flushes(&c->hosts[1]), EIO);
	cluster_sleep(c, 3 * FLUSH_MS);
	c->hosts[0].store_error[KH_STORE_PUT] = 0;
	cluster_rejoin(c, 2);
	is_repaired(c, 0, VALUE);
}

/* Not even what is there can be told: the index of the store is damaged, or nothing of it serves. */
static void a_reader_gives_what_the_store_has_no_index_of(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	fails(&c->hosts[0], EIO);
	c->hosts[0].store_error[KH_STORE_LOOK] = EIO;
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
	assert_int_equal(wants(&c->hosts[1], WRITE, 0), 0);
	host_store(&c->hosts[1], 0, VALUE + 1);
	assert_int_equal(wants(&c->hosts[0], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), VALUE + 1);
	assert_int_equal(flushes(&c->hosts[0]), EIO);
}

/* What a store says of itself is not what a flush says. */
static void a_flush_fails_with_eio(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	host_kill(&c->hosts[0]);
	host_start(&c->hosts[0], false);
	cluster_rejoin(c, 0);
	cluster_sleep(c, 3 * LEASE_MS);
	c->hosts[0].store_error[KH_STORE_LOOK] = EBADMSG;
	assert_int_equal(flushes(&c->hosts[2]), EIO);
}

/*
 * A reader's frame was kept for a writer, which died, and the word of that was lost: it stays when
 * its node asks whether it may go.
 */
static void a_frame_that_was_kept_stays_though_nobody_heard_of_it(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->break_at[2][0] = 1; /* its IACK */
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), EINPROGRESS);
	assert_int_not_equal(c->hosts[2].units[0].handoff, ~0u);
	host_kill(&c->hosts[1]);
	host_start(&c->hosts[1], true);
	cluster_rejoin(c, 1);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[0], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[0], 0), VALUE);
	is_repaired(c, 0, VALUE);
}

/* As many requests of the host's as a unit's home remembers, of a khd of the host's that died. */
static void crowd(struct cluster *c, unsigned int i)
{
	unsigned int n;

	for (n = 0; n < KH_WAITING_MAX; n++) {
		struct {
			struct kh_wire_head head;
			struct kh_wire_req req;
		} m = { .head = { .length = sizeof(m),
				  .magic = KH_WIRE_MAGIC,
				  .kind = KH_WIRE_REQ,
				  .count = 1,
				  .region_hi = c->addr.hi,
				  .region_lo = c->addr.lo,
				  .generation = c->hosts[0].add.generation,
				  .request = n + 1,
				  .attempt = 1,
				  .epoch = c->hosts[i].units[0].page.token >> KH_TOKEN_SHIFT },
			.req = { .version = KHAZANA_VERSION_NONE, .want = READ } };

		kh_wire_swap(&m.head, true);
		assert_int_equal(kh_node_message(c->hosts[0].node, i + 1, &m, sizeof(m), c->now),
				 0);
	}
	kh_node_received(c->hosts[0].node);
	cluster_run(c);
}

/* Who asked for it first is turned away, since so many wait: those are served all the same. */
static void many_who_wait_are_served(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	reads(&c->hosts[2]);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(host_want(&c->hosts[1], 0, 1, READ, 0), EINPROGRESS);
	crowd(c, 2);
	cluster_sleep(c, 5 * SOON);
	assert_int_equal(c->hosts[1].units[0].page.right, READ);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
}

/*
 * A node that was silent for long has an older version: that is not what the others go on from,
 * also if the home that had granted the newer one is no more.
 */
static void an_older_version_does_not_come_back(void **state)
{
	struct cluster *c = *state;
	struct host *old = &c->hosts[1], *reader = &c->hosts[2], *home = &c->hosts[0];

	assert_int_equal(host_want(old, 0, 1, WRITE, 0), 0);
	host_store(old, 0, VALUE - 1);
	c->cut_at[0] = KH_WIRE_SAFE; /* else it would drop it */
	flush(home);
	c->cut_at[0] = 0;
	c->cut[0] = false;
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(wants(home, WRITE, 0), 0);
	host_store(home, 0, VALUE);
	flush(home);
	reads(reader);
	host_kill(home);
	host_start(home, false);
	cluster_connect(c, 0, 2);
	cluster_run(c);
	cluster_sleep(c, 3 * LEASE_MS);
	drop(home, true);
	drop(reader, false);
	home->kept[0].rotten = true;
	c->slow_at[2][0] = KH_WIRE_IACK;
	assert_int_equal(host_want(home, 0, 1, WRITE, 0), EINPROGRESS);
	cluster_connect(c, 0, 1);
	cluster_run(c);
	cluster_hurry(c);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(home->fail_error, EIO);
	assert_int_equal(wants(old, READ, 0), EIO);
}

/* Nobody has seen what its new writer stored: it is as before. */
static void overwritten_by_who_is_gone_it_can_be_overwritten_again(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	assert_int_equal(wants(&c->hosts[1], WRITE, KHAZANA_REQF_OVERWRITE), 0);
	host_store(&c->hosts[1], 0, VALUE + 1);
	reboot(c, 1);
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	assert_int_equal(wants(&c->hosts[2], WRITE, KHAZANA_REQF_OVERWRITE), 0);
	host_store(&c->hosts[2], 0, VALUE + 2);
	is_repaired(c, 0, VALUE + 2);
	comes_from(c, 0, 2, VALUE + 2);
}

/* The same of one that is silent, and comes back with what was given up. */
static void or_by_who_is_silent(void **state)
{
	struct cluster *c = *state;

	stored(c, 1);
	c->hosts[0].kept[0].rotten = true;
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	assert_int_equal(wants(&c->hosts[1], WRITE, KHAZANA_REQF_OVERWRITE), 0);
	host_store(&c->hosts[1], 0, VALUE + 1);
	cluster_isolate(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_int_equal(wants(&c->hosts[2], READ, 0), EIO);
	c->hosts[0].kept[0].rotten = false;
	assert_int_equal(wants(&c->hosts[2], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[2], 0), VALUE);
	cluster_rejoin(c, 1);
	cluster_sleep(c, 3 * LEASE_MS);
	assert_true(c->hosts[1].poisons || c->hosts[1].told);
	assert_int_equal(wants(&c->hosts[1], READ, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
}

/* What could be read goes the usual way: no frame is kept for it. */
static void a_store_that_is_whole_leaves_no_frame_behind(void **state)
{
	struct cluster *c = *state;
	unsigned int i;

	stored(c, 1);
	reads(&c->hosts[2]);
	reads(&c->hosts[0]);
	assert_int_equal(host_want(&c->hosts[1], 0, 1, WRITE, 0), 0);
	assert_int_equal(host_load(&c->hosts[1], 0), VALUE);
	for (i = 0; i < NODES; i += 2) {
		assert_int_equal(c->hosts[i].units[0].frame, ~0u);
		assert_int_equal(c->hosts[i].units[0].handoff, ~0u);
	}
}

#define TEST(at, name) cmocka_unit_test_setup_teardown(name, at, cluster_teardown)

int test_rot(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(setup_home, a_reader_gives_what_the_store_cannot),
		TEST(setup_home, to_a_writer_too),
		TEST(setup_reader, so_does_the_place_itself),
		TEST(setup_home, and_the_home),
		TEST(setup_home, without_a_reader_it_is_eio_until_it_is_overwritten),
		TEST(setup_home, a_reader_that_dropped_it_is_passed_over),
		TEST(setup_home, when_all_dropped_it_it_is_eio_in_time),
		TEST(setup_home, a_reader_that_is_gone_is_not_waited_for),
		TEST(setup_home, a_flush_repairs_it),
		TEST(setup_home, a_flush_of_what_is_gone_fails),
		TEST(setup_home, what_nobody_has_is_no_work),
		TEST(setup_home, what_is_freed_need_not_be_read),
		TEST(setup_home, a_home_that_begins_again_loses_nothing),
		TEST(setup_reader, what_came_before_it_rotted_is_taken),
		TEST(setup_home, what_can_be_read_again_was_not_lost),
		TEST(setup_home, nor_what_comes_back),
		TEST(setup_home, nor_what_comes_back_amid_a_request),
		TEST(setup_home, who_comes_back_has_it_stored_anew),
		TEST(setup_home, a_reader_gives_what_the_store_has_no_index_of),
		TEST(setup_home, a_flush_fails_with_eio),
		TEST(setup_home, a_frame_that_was_kept_stays_though_nobody_heard_of_it),
		TEST(setup_home, many_who_wait_are_served),
		TEST(setup_home, an_older_version_does_not_come_back),
		TEST(setup_home, overwritten_by_who_is_gone_it_can_be_overwritten_again),
		TEST(setup_home, or_by_who_is_silent),
		TEST(setup_home, a_store_that_is_whole_leaves_no_frame_behind),
	};

	return cmocka_run_group_tests_name("rot", tests, NULL, NULL);
}
