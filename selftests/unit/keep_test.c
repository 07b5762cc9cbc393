// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * keep_test.c - a node's page store, as homes use it: whom it obeys, what it refuses
 *
 * Messages are made here and not by a core: what comes from a node that is not the home has no
 * other source.
 */
#include <errno.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define HOME 1 /* node ids */
#define KEEPER 2
#define STRANGER 3
#define LATE (1ull << 44 | 1 << 20) /* a token of the home's epoch */

/* Homed at the first, kept by the second, known to all. */
static int setup(void **state)
{
	struct cluster *c = cluster_new_stores();
	struct kh_op op = { .code = KH_OP_RESERVE, .length = 8 * UNIT };
	unsigned int i;

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[HOME - 1], &op), 0);
	c->addr = op.addr = c->hosts[HOME - 1].result.addr;
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[KEEPER - 1], &op), 0);
	assert_int_equal(host_reserved(&c->hosts[KEEPER - 1]), 8);
	for (i = 0; i < NODES; i++)
		assert_int_equal(host_attach(&c->hosts[i], c->addr, NULL), 0);
	cluster_forget(c);
	*state = c;
	return 0;
}

static struct host *keeper(struct cluster *c)
{
	return &c->hosts[KEEPER - 1];
}

/* The keeper hears from @from a message of one entry about the region; all that comes of it. */
static void hear(struct cluster *c, kh_node_id from, enum kh_wire_kind kind,
		 const struct kh_wire_head *head, const void *entry, const void *data, size_t len)
{
	uint64_t buf[(sizeof(*head) + 128 + UNIT) / 8];
	struct kh_wire_head *h = (struct kh_wire_head *)buf;
	size_t size = kh_wire_entry_size(kind);

	*h = *head;
	h->magic = KH_WIRE_MAGIC;
	h->kind = kind;
	h->count = size != 0;
	h->data_len = (uint32_t)len;
	h->length = (uint32_t)(sizeof(*h) + size + len);
	if (size)
		memcpy(h + 1, entry, size);
	if (len)
		memcpy((uint8_t *)(h + 1) + size, data, len);
	kh_wire_swap(h, true);
	cluster_forget(c);
	c->last_error = 0;
	memset(keeper(c)->store_begun, 0, sizeof(keeper(c)->store_begun));
	assert_int_equal(kh_node_message(keeper(c)->node, from, h, sizeof(*h) + size + len, c->now),
			 0);
	cluster_run(c);
}

static struct kh_wire_head head_of(struct cluster *c)
{
	return (struct kh_wire_head){ .region_hi = c->addr.hi,
				      .region_lo = c->addr.lo,
				      .generation = keeper(c)->add.generation,
				      .epoch = 1 };
}

/* A holder sends a version of unit 0 that the home @home asked it for. */
static void hear_store(struct cluster *c, kh_node_id from, kh_node_id home, uint64_t token,
		       uint64_t version)
{
	const struct kh_wire_head head = head_of(c);
	const struct kh_wire_store store = { .token = token,
					     .version = version,
					     .generation = keeper(c)->kept[0].generation,
					     .home = home };
	static const uint8_t data[UNIT] = { 0x77 };

	hear(c, from, KH_WIRE_STORE, &head, &store, data, UNIT);
}

static void hear_look(struct cluster *c, kh_node_id from, enum kh_wire_kind kind, uint64_t token,
		      uint64_t need, uint32_t flags)
{
	struct kh_wire_head head = head_of(c);
	const struct kh_wire_look look = { .token = token,
					   .need = need,
					   .generation = keeper(c)->kept[0].generation,
					   .shift = 12,
					   .flags = flags };

	head.epoch = token >> 44;
	hear(c, from, kind, &head, &look, NULL, 0);
}

static void hear_gone(struct cluster *c, kh_node_id from)
{
	const struct kh_wire_head head = head_of(c);

	hear(c, from, KH_WIRE_GONE, &head, NULL, NULL, 0);
}

static void hear_call(struct cluster *c, kh_node_id from, uint32_t code, uint64_t unit,
		      uint64_t generation)
{
	struct kh_wire_head head = head_of(c);
	const struct kh_wire_call call = { .code = code,
					   .addr_hi = c->addr.hi,
					   .addr_lo = c->addr.lo + unit * UNIT,
					   .length = UNIT,
					   .unit_shift = 12,
					   .place_generation = generation };

	head.request = 77;
	head.party = from;
	hear(c, from, KH_WIRE_CALL, &head, &call, NULL, 0);
}

static uint64_t errors(struct cluster *c)
{
	struct kh_op op = { .code = KH_OP_STATS };

	assert_int_equal(host_op(keeper(c), &op), 0);
	return keeper(c)->protocol_errors;
}

static void what_a_stranger_wants_stored_is_not(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);
	uint64_t before = errors(c);

	hear_store(c, STRANGER, STRANGER, LATE, 9);
	assert_int_equal(h->store_begun[KH_STORE_PUT], 0);
	assert_int_equal(h->kept[0].version, 0);
	assert_int_equal(c->sent[KH_WIRE_STORED], 0);
	assert_int_equal(errors(c), before + 1);
	/* it may well hold what the home wants stored */
	hear_store(c, STRANGER, HOME, LATE, 9);
	assert_int_equal(h->kept[0].version, 9);
	assert_int_equal(h->kept[0].token, LATE);
	assert_int_equal(h->kept[0].data[0], 0x77);
	assert_int_equal(c->sent[KH_WIRE_STORED], 2); /* GOT, SAFE */
	assert_int_equal(c->last_error, 0);
	assert_int_equal(errors(c), before + 1);
}

static void a_stranger_is_not_told_what_is_stored(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);
	uint64_t before = errors(c);

	hear_store(c, HOME, HOME, LATE, 9);
	hear_look(c, STRANGER, KH_WIRE_LOOK, LATE, 0, 0);
	assert_int_equal(h->store_begun[KH_STORE_LOOK], 0);
	assert_int_equal(c->sent[KH_WIRE_STORED], 0);
	assert_int_equal(errors(c), before + 1);
	hear_look(c, STRANGER, KH_WIRE_LOAD, LATE, 9, 0);
	assert_int_equal(h->store_begun[KH_STORE_GET], 0);
	assert_int_equal(c->sent[KH_WIRE_DATA], 0);
	assert_int_equal(c->sent[KH_WIRE_IACK], 0);
	assert_int_equal(errors(c), before + 2);
	hear_look(c, HOME, KH_WIRE_LOOK, LATE, 0, 0);
	assert_int_equal(h->store_begun[KH_STORE_LOOK], 1);
	assert_int_equal(c->sent[KH_WIRE_STORED], 1);
	hear_look(c, HOME, KH_WIRE_LOAD, LATE, 8, 0);
	assert_int_equal(h->store_begun[KH_STORE_GET], 1);
	assert_int_equal(c->sent[KH_WIRE_IACK], 1); /* that version is not there */
	assert_int_equal(errors(c), before + 2);
}

static void a_stranger_raises_no_fence(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);

	hear_look(c, STRANGER, KH_WIRE_LOOK, LATE, 0, KH_LOOK_FENCE);
	hear_look(c, STRANGER, KH_WIRE_LOAD, LATE, 0, KH_LOOK_FENCE);
	hear_store(c, HOME, HOME, LATE - 1, 4);
	assert_int_equal(h->kept[0].version, 4);
	hear_look(c, HOME, KH_WIRE_LOOK, LATE, 0, KH_LOOK_FENCE);
	hear_store(c, HOME, HOME, LATE - 1, 5);
	assert_int_equal(h->kept[0].version, 4);
	assert_int_equal(c->last_error, EAGAIN);
}

static void a_stranger_gets_and_takes_no_space(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);
	uint64_t generation = h->kept[0].generation, before = errors(c);

	hear_call(c, STRANGER, KH_CALL_UNPLACE, 0, generation);
	assert_int_equal(c->sent[KH_WIRE_RESULT], 1);
	assert_int_equal(c->last_error, EPERM);
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 0);
	assert_int_equal(host_reserved(h), 8);
	hear_call(c, STRANGER, KH_CALL_PLACE, 8, generation + 1);
	assert_int_equal(c->sent[KH_WIRE_RESULT], 1);
	assert_int_equal(c->last_error, EPERM);
	assert_int_equal(h->store_begun[KH_STORE_RESERVE], 0);
	assert_int_equal(host_reserved(h), 8);
	assert_int_equal(errors(c), before + 2);
	hear_call(c, HOME, KH_CALL_PLACE, 8, generation + 1);
	assert_int_equal(c->last_error, 0);
	assert_int_equal(host_reserved(h), 9);
	hear_call(c, HOME, KH_CALL_UNPLACE, 8, generation + 1);
	assert_int_equal(c->last_error, 0);
	assert_int_equal(host_reserved(h), 8);
	assert_int_equal(errors(c), before + 2);
}

/* Nobody is a stranger there. */
static void of_an_unknown_region_everybody_is_answered(void **state)
{
	struct cluster *c = *state;
	uint64_t before = errors(c);

	keeper(c)->add.generation++;
	hear_look(c, STRANGER, KH_WIRE_LOOK, LATE, 0, 0);
	assert_int_equal(keeper(c)->store_begun[KH_STORE_LOOK], 1);
	assert_int_equal(c->sent[KH_WIRE_STORED], 1);
	assert_int_equal(errors(c), before);
}

static void a_fence_ends_with_its_region(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);

	hear_look(c, HOME, KH_WIRE_LOOK, LATE, 0, KH_LOOK_FENCE);
	hear_store(c, HOME, HOME, LATE - 1, 3);
	assert_int_equal(h->store_begun[KH_STORE_PUT], 0);
	assert_int_equal(c->last_error, EAGAIN);
	/* only its home knows that it is no more */
	hear_gone(c, STRANGER);
	assert_true(h->region);
	hear_store(c, HOME, HOME, LATE - 1, 3);
	assert_int_equal(h->store_begun[KH_STORE_PUT], 0);
	assert_int_equal(c->last_error, EAGAIN);
	hear_gone(c, HOME);
	assert_false(h->region);
	hear_store(c, HOME, HOME, LATE - 1, 3);
	assert_int_equal(h->store_begun[KH_STORE_PUT], 1);
	assert_int_equal(h->kept[0].version, 3);
	assert_int_equal(c->last_error, 0);
}

/* What it wanted stored when it was another khd comes too late once it has asked. */
static void a_home_that_restarted_needs_no_fence(void **state)
{
	struct cluster *c = *state;

	hear_look(c, HOME, KH_WIRE_LOOK, LATE + (1ull << 44), 0, 0);
	hear_store(c, HOME, HOME, LATE, 3);
	assert_int_equal(keeper(c)->store_begun[KH_STORE_PUT], 0);
	assert_int_equal(c->last_error, EAGAIN);
	hear_store(c, HOME, HOME, LATE + (1ull << 44) - 1, 4);
	assert_int_equal(keeper(c)->kept[0].version, 4);
	assert_int_equal(c->last_error, 0);
}

/* Of another region, or of an earlier one at the same place. */
static void a_fence_outlives_other_regions(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);

	hear_look(c, HOME, KH_WIRE_LOOK, LATE, 0, KH_LOOK_FENCE);
	h->add.generation++;
	hear_gone(c, HOME);
	h->add.generation--;
	c->addr.lo += UNIT;
	hear_gone(c, HOME);
	c->addr.lo -= UNIT;
	hear_store(c, HOME, HOME, LATE - 1, 3);
	assert_int_equal(h->store_begun[KH_STORE_PUT], 0);
	assert_int_equal(c->last_error, EAGAIN);
}

/* The lower half of its addresses goes over: what is the same space is told by the whole. */
static void what_concerns_the_same_space_goes_in_order_across_2_64(void **state)
{
	struct cluster *c = *state;
	struct host *h = keeper(c);
	struct kh_wire_head head = head_of(c);
	struct kh_wire_call call = { .code = KH_CALL_UNPLACE,
				     .addr_hi = 8,
				     .length = UNIT,
				     .unit_shift = 12,
				     .place_generation = 1 };

	c->addr = (struct khazana_addr){ 7, -UNIT }; /* not known to the keeper */
	head.region_hi = c->addr.hi;
	head.region_lo = c->addr.lo;
	h->store_rests = true;
	hear(c, HOME, KH_WIRE_CALL, &head, &call, NULL, 0); /* the second unit goes */
	assert_int_equal(h->store_begun[KH_STORE_RELEASE], 1);
	call = (struct kh_wire_call){ .code = KH_CALL_PLACE,
				      .addr_hi = 7,
				      .addr_lo = -UNIT,
				      .length = UNIT,
				      .unit_shift = 12,
				      .place_generation = 2 };
	hear(c, HOME, KH_WIRE_CALL, &head, &call, NULL, 0); /* the first is another one */
	assert_int_equal(h->store_begun[KH_STORE_RESERVE], 1);
	call.length = 2 * UNIT;
	call.place_generation = 3;
	hear(c, HOME, KH_WIRE_CALL, &head, &call, NULL, 0); /* both are not */
	assert_int_equal(h->store_begun[KH_STORE_RESERVE], 0);
	h->store_rests = false;
	cluster_run(c);
	assert_int_equal(h->store_begun[KH_STORE_RESERVE], 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cluster_teardown)

int test_keep(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_a_stranger_wants_stored_is_not),
		TEST(a_stranger_is_not_told_what_is_stored),
		TEST(a_stranger_raises_no_fence),
		TEST(a_stranger_gets_and_takes_no_space),
		TEST(of_an_unknown_region_everybody_is_answered),
		TEST(a_fence_ends_with_its_region),
		TEST(a_home_that_restarted_needs_no_fence),
		TEST(a_fence_outlives_other_regions),
		TEST(what_concerns_the_same_space_goes_in_order_across_2_64),
	};

	return cmocka_run_group_tests_name("keep", tests, NULL, NULL);
}
