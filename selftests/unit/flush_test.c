// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * flush_test.c - what is made durable in time without anybody asking, while others cannot be
 *
 * Units below SPLIT are kept by the store of DEAD, those from there on by that of LIVE.  Both have
 * more units than one flush waits for.
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE

#define HOME 0 /* hosts */
#define DEAD 1
#define LIVE 2
#define SPLIT 140 /* units; more than KH_FLUSH_UNITS */
#define ALL (SPLIT + 12)
#define FLUSH_MS 5000 /* default bound */
#define LEASE_MS 30000
#define SHORT_MS CLUSTER_LEASE_MS

static void allocate(struct cluster *c, unsigned int host, uint64_t unit, uint64_t units)
{
	struct kh_op op = { .code = KH_OP_ALLOCATE,
			    .addr = kh_addr_add(c->addr, unit * UNIT),
			    .length = units * UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[host], &op), 0);
}

static int set_up(void **state, uint32_t lease_ms)
{
	struct cluster *c = cluster_new_stores();
	struct kh_op op = { .code = KH_OP_RESERVE, .length = ALL * UNIT };
	unsigned int i;

	op.attr.lease_ms = lease_ms;
	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[HOME], &op), 0);
	c->addr = c->hosts[HOME].result.addr;
	allocate(c, DEAD, 0, SPLIT);
	allocate(c, LIVE, SPLIT, ALL - SPLIT);
	for (i = 0; i < NODES; i++)
		assert_int_equal(host_attach(&c->hosts[i], c->addr, NULL), 0);
	*state = c;
	return 0;
}

static int setup(void **state)
{
	return set_up(state, LEASE_MS);
}

static int setup_short(void **state)
{
	return set_up(state, SHORT_MS);
}

static void write_units(struct cluster *c, unsigned int host, uint64_t unit, uint64_t end)
{
	for (; unit < end; unit++) {
		assert_int_equal(host_want(&c->hosts[host], unit, 1, WRITE, 0), 0);
		host_store(&c->hosts[host], unit, 1000 + unit);
	}
}

/* Units of [first, end) that the store of @host has as they were written. */
static unsigned int durable(const struct cluster *c, unsigned int host, uint64_t first,
			    uint64_t end)
{
	unsigned int n = 0;
	uint64_t value;

	for (; first < end; first++) {
		memcpy(&value, c->hosts[host].kept[first].data, sizeof(value));
		n += value == 1000 + first;
	}
	return n;
}

static void units_of_a_dead_place_hold_up_no_others(void **state)
{
	struct cluster *c = *state;

	write_units(c, HOME, 0, ALL);
	cluster_isolate(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, ALL), ALL - SPLIT);
	assert_int_equal(durable(c, DEAD, 0, SPLIT), 0);
}

/* It is not that the first pass has a chance: what is written later has the same bound. */
static void nor_does_a_single_one(void **state)
{
	struct cluster *c = *state;

	write_units(c, HOME, 0, 1);
	cluster_isolate(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	write_units(c, HOME, SPLIT, SPLIT + 1);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 1), 1);
}

/* Its khd lives, its disk does not answer. */
static void a_disk_that_hangs_holds_up_no_others(void **state)
{
	struct cluster *c = *state;

	write_units(c, HOME, 0, ALL);
	c->hosts[DEAD].store_rests = true;
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, ALL), ALL - SPLIT);
	write_units(c, HOME, SPLIT, SPLIT + 1);
	c->hosts[LIVE].kept[SPLIT].data[0] = 0xee;
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 1), 1);
	assert_int_equal(durable(c, DEAD, 0, SPLIT), 0);
	c->hosts[DEAD].store_rests = false;
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, DEAD, 0, SPLIT), SPLIT);
}

/* What a node wrote that is out of reach cannot be stored, but all else of that place can. */
static void a_silent_holder_holds_up_no_others(void **state)
{
	struct cluster *c = *state;

	write_units(c, DEAD, SPLIT, SPLIT + 1);
	write_units(c, HOME, SPLIT + 1, ALL);
	cluster_isolate(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, ALL), ALL - SPLIT - 1);
	cluster_rejoin(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, ALL), ALL - SPLIT);
}

/* What a holder under a lock sent to the place is lost with its connections: it is asked again. */
static void what_was_lost_beside_a_lock_is_sent_again(void **state)
{
	struct cluster *c = *state;
	struct host *holder = &c->hosts[DEAD];
	struct kz_page_event lock = { .type = KZ_EV_LOCK, .right = WRITE };
	struct kz_page_event unlock = { .type = KZ_EV_UNLOCK, .right = WRITE };
	uint32_t act;

	write_units(c, DEAD, SPLIT, SPLIT + 1);
	assert_int_equal(kz_page_step(&holder->units[SPLIT].page, &lock, &act), 0);
	cluster_sleep(c, FLUSH_MS - 500); /* a fault does not wait that long */
	assert_int_equal(host_want(&c->hosts[HOME], SPLIT, 1, READ, 0), EINPROGRESS);
	c->cut_at[DEAD] = KH_WIRE_STORE;
	cluster_sleep(c, 600);
	assert_true(c->cut[DEAD]);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 1), 0);
	c->cut_at[DEAD] = 0;
	c->cut[DEAD] = false;
	assert_int_equal(kz_page_step(&holder->units[SPLIT].page, &unlock, &act), 0);
	host_request(holder,
		     &(struct khazana_request){
			     .op = KHAZANA_REQ_UNLOCKED, .region = 1, .unit = SPLIT, .count = 1 });
	assert_int_equal(c->hosts[HOME].units[SPLIT].page.right, READ);
	cluster_isolate(c, DEAD);
	cluster_rejoin(c, DEAD);
	cluster_sleep(c, 100);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 1), 1);
}

/* A holder that is up and says nothing: after a while its place goes on with other units. */
static void a_holder_that_hangs_holds_up_others_for_two_seconds(void **state)
{
	struct cluster *c = *state;

	write_units(c, LIVE, 0, SPLIT - 4);
	write_units(c, HOME, SPLIT - 4, SPLIT);
	c->cut[LIVE] = true; /* the connection is there */
	cluster_sleep(c, FLUSH_MS + 2100);
	assert_int_equal(durable(c, DEAD, SPLIT - 4, SPLIT), 4);
}

static void what_was_put_off_is_stored_when_the_place_is_back(void **state)
{
	struct cluster *c = *state;

	write_units(c, HOME, 0, ALL);
	cluster_isolate(c, DEAD);
	cluster_sleep(c, 2 * FLUSH_MS);
	cluster_rejoin(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, DEAD, 0, SPLIT), SPLIT);
	assert_int_equal(durable(c, LIVE, SPLIT, ALL), ALL - SPLIT);
}

/* The place goes while units are on their way. */
static void what_was_begun_is_put_off_too(void **state)
{
	struct cluster *c = *state;

	write_units(c, HOME, 0, ALL);
	c->cut_at[DEAD] = KH_WIRE_STORED; /* nothing of its comes from the first answer on */
	cluster_sleep(c, FLUSH_MS + 100);
	cluster_isolate(c, DEAD);
	c->cut[DEAD] = false;
	c->cut_at[DEAD] = 0;
	write_units(c, HOME, SPLIT, ALL);
	memset(c->hosts[LIVE].kept[SPLIT].data, 0, 8);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, LIVE, SPLIT, ALL), ALL - SPLIT);
	cluster_rejoin(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	assert_int_equal(durable(c, DEAD, 0, SPLIT), SPLIT);
}

/* One who was granted a unit has no memory for it, and asks again and again: it is stored
 * meanwhile. */
static void who_has_no_memory_for_it_holds_up_nobody(void **state)
{
	struct cluster *c = *state;
	const struct khazana_request fault = { .op = KHAZANA_REQ_FAULT,
					       .region = 1,
					       .unit = 0,
					       .count = 1,
					       .want = READ,
					       .version = KHAZANA_VERSION_NONE,
					       .timeout_ms = 20000 };
	const struct khazana_request flush = {
		.op = KHAZANA_REQ_FLUSH, .region = 1, .unit = 0, .count = 1, .timeout_ms = 20000
	};

	write_units(c, LIVE, 0, 1);
	c->hosts[HOME].no_frames = true;
	host_request(&c->hosts[HOME], &fault);
	cluster_sleep(c, 500);
	host_request(&c->hosts[LIVE], &flush);
	cluster_sleep(c, 500);
	assert_int_equal(durable(c, DEAD, 0, 1), 1);
	c->hosts[HOME].no_frames = false;
	cluster_sleep(c, 2000);
	assert_int_equal(c->hosts[HOME].units[0].page.right, READ);
	assert_int_equal(host_load(&c->hosts[HOME], 0), 1000);
}

/* Who asks waits for a place that is down, and hears of it when his time is over. */
static void who_asks_waits_for_a_place_that_is_down(void **state)
{
	struct cluster *c = *state;
	const struct khazana_request flush = {
		.op = KHAZANA_REQ_FLUSH, .region = 1, .unit = 0, .count = 2, .timeout_ms = 20000
	};
	unsigned int stores;

	write_units(c, HOME, 0, 2);
	cluster_isolate(c, DEAD);
	c->hosts[HOME].fail_error = 0;
	host_request(&c->hosts[HOME], &flush);
	cluster_sleep(c, FLUSH_MS);
	assert_int_equal(c->hosts[HOME].fail_error, 0);
	stores = c->hosts[DEAD].store_begun[KH_STORE_PUT];
	/* long before the next pass */
	cluster_rejoin(c, DEAD);
	cluster_sleep(c, 300);
	assert_int_equal(durable(c, DEAD, 0, 2), 2);
	assert_true(c->hosts[DEAD].store_begun[KH_STORE_PUT] > stores);
}

/* However many units wait for a place that is down, they are left alone until the next pass. */
static void nothing_is_done_for_a_place_that_is_down(void **state)
{
	struct cluster *c = *state;

	write_units(c, HOME, 0, SPLIT);
	cluster_isolate(c, DEAD);
	cluster_sleep(c, FLUSH_MS + 100);
	cluster_sleep(c, 1500);
	assert_true(kh_node_deadline(c->hosts[HOME].node) > c->now + 500 * MS);
}

/*
 * The flush that @holder asked for is late on its way, and its lease ends meanwhile.  The home goes
 * back to what is stored, the holder comes back, and only then is the flush answered, for another
 * unit takes that long.
 */
static void lapse(struct cluster *c, struct host *holder)
{
	struct host *place = &c->hosts[LIVE];

	assert_int_equal(holder->units[SPLIT].page.right, WRITE);
	cluster_sleep(c, 3 * SHORT_MS);
	assert_int_equal(holder->units[SPLIT].page.state, KHAZANA_STATE_EXPIRED_DIRTY);
	place->store_rests = true;
	cluster_hurry(c);
	cluster_sleep(c, 50);
	assert_int_equal(holder->units[SPLIT].page.right, WRITE);
	assert_int_equal(holder->poisons, 0);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 2), 0);
	place->store_rests = false;
	cluster_sleep(c, 1000);
}

static struct host *late_holder(struct cluster *c)
{
	struct host *holder = &c->hosts[DEAD];

	write_units(c, DEAD, SPLIT, SPLIT + 1);
	write_units(c, HOME, SPLIT + 1, SPLIT + 2);
	c->slow_at[DEAD][HOME] = KH_WIRE_CALL;
	return holder;
}

static void what_came_back_while_a_flush_went_on_is_durable_too(void **state)
{
	struct cluster *c = *state;
	const struct khazana_request flush = {
		.op = KHAZANA_REQ_FLUSH, .region = 1, .unit = SPLIT, .count = 2, .timeout_ms = 20000
	};
	struct host *holder = late_holder(c);

	holder->fail_error = -1; /* until it is answered */
	host_request(holder, &flush);
	lapse(c, holder);
	assert_int_equal(holder->fail_error, 0);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 2), 2);
}

/* The same of kh_flush(). */
static void so_it_is_for_a_client(void **state)
{
	struct cluster *c = *state;
	const struct kh_op op = { .code = KH_OP_FLUSH,
				  .addr = kh_addr_add(c->addr, SPLIT * UNIT),
				  .length = 2 * UNIT };
	struct host *holder = late_holder(c);
	unsigned int replies = holder->replies;

	kh_node_op(holder->node, replies + 1, &op, c->now);
	cluster_run(c);
	lapse(c, holder);
	assert_int_equal(holder->replies, replies + 1);
	assert_int_equal(holder->result.error, 0);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 2), 2);
}

/* Of a flush by another node: the holder was silent, the home went back, and it came back. */
static void what_another_node_flushes_is_durable_too(void **state)
{
	struct cluster *c = *state;
	const struct khazana_request flush = {
		.op = KHAZANA_REQ_FLUSH, .region = 1, .unit = SPLIT, .count = 2, .timeout_ms = 20000
	};
	struct host *holder = &c->hosts[DEAD], *home = &c->hosts[HOME], *place = &c->hosts[LIVE];

	write_units(c, DEAD, SPLIT, SPLIT + 1);
	write_units(c, HOME, SPLIT + 1, SPLIT + 2);
	cluster_isolate(c, DEAD);
	place->store_rests = true;
	home->fail_error = -1; /* until it is answered */
	host_request(home, &flush);
	cluster_sleep(c, 3 * SHORT_MS);
	assert_int_equal(holder->units[SPLIT].page.state, KHAZANA_STATE_EXPIRED_DIRTY);
	cluster_rejoin(c, DEAD);
	cluster_sleep(c, 300);
	assert_int_equal(holder->units[SPLIT].page.right, WRITE);
	assert_int_equal(holder->poisons, 0);
	assert_int_equal(home->fail_error, -1);
	place->store_rests = false;
	cluster_sleep(c, 1000);
	assert_int_equal(home->fail_error, 0);
	assert_int_equal(durable(c, LIVE, SPLIT, SPLIT + 2), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cluster_teardown)
#define SHORT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_short, cluster_teardown)

int test_flush(void)
{
	const struct CMUnitTest tests[] = {
		TEST(units_of_a_dead_place_hold_up_no_others),
		TEST(nor_does_a_single_one),
		TEST(a_disk_that_hangs_holds_up_no_others),
		TEST(a_silent_holder_holds_up_no_others),
		TEST(what_was_lost_beside_a_lock_is_sent_again),
		TEST(a_holder_that_hangs_holds_up_others_for_two_seconds),
		TEST(what_was_put_off_is_stored_when_the_place_is_back),
		TEST(what_was_begun_is_put_off_too),
		TEST(who_has_no_memory_for_it_holds_up_nobody),
		TEST(who_asks_waits_for_a_place_that_is_down),
		TEST(nothing_is_done_for_a_place_that_is_down),
		SHORT_TEST(what_came_back_while_a_flush_went_on_is_durable_too),
		SHORT_TEST(so_it_is_for_a_client),
		SHORT_TEST(what_another_node_flushes_is_durable_too),
	};

	return cmocka_run_group_tests_name("flush", tests, NULL, NULL);
}
