/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keep.c - this node's page store, as homes and holders use it
 *
 *   STORE kh_on_store() -> PUT -> STORED GOT at once, STORED SAFE when durable
 *   LOOK kh_on_look() -> LOOK -> STORED FOUND
 *   LOAD kh_on_load() -> GET -> DATA to the asker, or IACK ABSENT or DAMAGED to the home
 *   PLACE, UNPLACE kh_keep_call() -> RESERVE, RELEASE -> RESULT
 *
 * A home that asks because it lost sight of a FLUSH raises a fence: what still comes of that is
 * refused, and what has come is written before the answer.
 *
 * Where this node knows the region, only its home is obeyed.
 *
 * The store knows no protocol and this file no directory: what is asked is done, and said to
 * whom it concerns if he is still there.
 */
#include <errno.h>
#include <stdlib.h>
#include "core.h"

/**
 * struct kh_keep - a command of the store under way
 * @node: by the id that the host knows
 * @code: of the command
 * @peer: the home
 * @head: of the message; for LOAD it names the asker's request
 * @unit: of STORE, LOOK, LOAD
 * @token: comes back
 * @version: STORE: put; LOAD: wanted
 * @shift: LOAD: log2 of the unit's bytes
 * @waits: not begun yet: the command that comes first, for a LOOK a PUT of its unit, for RESERVE
 *	and RELEASE one about the same space
 * @cmd: what the host is asked for; @data is not kept
 */
struct kh_keep {
	struct kh_hnode node;
	enum kh_store_code code;
	kh_node_id peer;
	struct kh_wire_head head;
	uint64_t unit;
	uint64_t token;
	uint64_t version;
	uint32_t shift;
	uint64_t waits;
	struct kh_store_cmd cmd;
};

/* What the home of a region told this node to refuse; as long as there is the region. */
struct kh_fence {
	struct kh_list node;
	kh_node_id home;
	struct khazana_addr region;
	uint64_t generation;
	uint64_t token; /* STOREs below it */
};

static struct kh_fence *fence_of(struct kh_node *node, const struct kh_wire_head *h)
{
	struct kh_fence *fence;

	kh_list_each (fence, &node->fences, node)
		if (fence->region.hi == h->region_hi && fence->region.lo == h->region_lo &&
		    fence->generation == h->generation)
			return fence;
	return NULL;
}

static void fence_raise(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
			uint64_t token)
{
	struct kh_fence *fence = fence_of(node, h);

	if (!fence) {
		fence = kh_zalloc(sizeof(*fence));
		fence->region = (struct khazana_addr){ h->region_hi, h->region_lo };
		fence->generation = h->generation;
		kh_list_add(&node->fences, &fence->node);
	}
	fence->home = from->id;
	if (fence->token < token)
		fence->token = token;
}

static void fence_free(struct kh_fence *fence)
{
	kh_list_del(&fence->node);
	free(fence);
}

/**
 * kh_keep_gone() - @from says that a region is no more
 */
void kh_keep_gone(struct kh_node *node, const struct kh_peer *from, const struct kh_wire_head *h)
{
	struct kh_fence *fence = fence_of(node, h);

	if (fence && fence->home == from->id)
		fence_free(fence);
}

/* Is @home not the region's home, as far as this node knows? */
static bool is_stranger(struct kh_node *node, const struct kh_wire_head *h, kh_node_id home)
{
	const struct kh_region *region = kh_region_of(node, h);

	if (!region || !region->home_id || region->home_id == home)
		return false;
	kh_count(node, KH_STAT_PROTOCOL_ERRORS);
	return true;
}

static void answer_stored(struct kh_node *node, const struct kh_keep *k, enum kh_wire_stage stage,
			  uint64_t version, uint32_t error)
{
	struct kh_peer *home = kh_peer_find(node, k->peer);
	struct kh_wire_head head = k->head;
	struct kh_wire_stored *e;

	if (!home)
		return;
	head.request = head.party = head.attempt = 0;
	e = kh_out(node, home, KH_WIRE_STORED, &head);
	e->unit = k->unit;
	e->token = k->token;
	e->version = version;
	e->stage = stage;
	e->error = error;
}

/* The version wanted is not here, or cannot be read. */
static void answer_iack(struct kh_node *node, const struct kh_keep *k, enum kh_wire_ack status)
{
	struct kh_peer *home = kh_peer_find(node, k->peer);
	struct kh_wire_head head = k->head;
	struct kh_wire_iack *e;

	if (!home)
		return;
	head.request = head.party = head.attempt = 0;
	e = kh_out(node, home, KH_WIRE_IACK, &head);
	e->unit = k->unit;
	e->token = k->token;
	e->status = status;
}

static void answer_result(struct kh_node *node, const struct kh_keep *k, uint32_t error)
{
	struct kh_peer *home = kh_peer_find(node, k->peer);
	const struct kh_wire_result result = { .error = error };

	if (home)
		kh_out_data(node, home, KH_WIRE_RESULT, &k->head, &result, NULL, 0);
}

static void refuse(struct kh_node *node, const struct kh_keep *k, uint32_t error)
{
	switch (k->code) {
	case KH_STORE_PUT:
		answer_stored(node, k, KH_STAGE_SAFE, k->version, error);
		break;
	case KH_STORE_LOOK:
		answer_stored(node, k, KH_STAGE_FOUND, 0, error);
		break;
	case KH_STORE_GET:
		answer_iack(node, k, error == EAGAIN ? KH_ACK_ABSENT : KH_ACK_DAMAGED);
		break;
	default:
		answer_result(node, k, error);
	}
}

static bool is_space(const struct kh_keep *k)
{
	return k->code == KH_STORE_RESERVE || k->code == KH_STORE_RELEASE;
}

/* Must @k, which was asked for later, wait for the end of @o? */
static bool goes_behind(const struct kh_keep *k, const struct kh_keep *o)
{
	/* where they begin in the region, whose addresses may go over in their lower half */
	uint64_t at = k->cmd.addr.lo - k->head.region_lo,
		 other = o->cmd.addr.lo - o->head.region_lo;

	if (o->head.region_hi != k->head.region_hi || o->head.region_lo != k->head.region_lo ||
	    o->head.generation != k->head.generation)
		return false;
	if (k->code == KH_STORE_LOOK)
		return o->code == KH_STORE_PUT && o->unit == k->unit;
	return is_space(k) && is_space(o) && at < other + (o->cmd.units << o->cmd.shift) &&
	       other < at + (k->cmd.units << k->cmd.shift);
}

/* A command under way that @k must wait for, 0: none. */
static uint64_t comes_first(const struct kh_node *node, const struct kh_keep *k)
{
	struct kh_hnode *n;

	if (!is_space(k) && (k->code != KH_STORE_LOOK || !node->keep_puts))
		return 0;
	for (n = kh_hash_first(&node->keeps); n; n = kh_hash_next(&node->keeps, n))
		if (n->key < k->node.key && goes_behind(k, kh_container(n, struct kh_keep, node)))
			return n->key;
	return 0;
}

/* Give @cmd to the host, unless there is no store or too much is under way. */
static bool keep_begin(struct kh_node *node, const struct kh_keep *k, struct kh_store_cmd *cmd)
{
	struct kh_keep *keep;

	if (!node->config.store || node->keeps.count >= KH_KEEPS_MAX) {
		refuse(node, k, node->config.store ? EAGAIN : ENODEV);
		return false;
	}
	keep = kh_zalloc(sizeof(*keep));
	*keep = *k;
	kh_hash_add(&node->keeps, &keep->node, ++node->next_keep);
	node->keep_puts += k->code == KH_STORE_PUT;
	cmd->id = keep->node.key;
	cmd->code = k->code;
	cmd->region = (struct khazana_addr){ k->head.region_hi, k->head.region_lo };
	cmd->region_generation = k->head.generation;
	keep->cmd = *cmd;
	keep->waits = comes_first(node, keep);
	if (keep->waits)
		node->keeps_waiting++;
	else
		node->ops->store(node->host, cmd);
	return true;
}

/* What waited for the command @id goes on. */
static void keep_go(struct kh_node *node, uint64_t id)
{
	struct kh_hnode *n;

	for (n = kh_hash_first(&node->keeps); node->keeps_waiting && n;
	     n = kh_hash_next(&node->keeps, n)) {
		struct kh_keep *k = kh_container(n, struct kh_keep, node);

		if (k->waits != id)
			continue;
		k->waits = comes_first(node, k);
		if (k->waits)
			continue;
		node->keeps_waiting--;
		node->ops->store(node->host, &k->cmd);
	}
}

static struct khazana_addr unit_addr(const struct kh_wire_head *h, uint64_t unit, uint32_t shift)
{
	const struct khazana_addr start = { h->region_hi, h->region_lo };

	return kh_addr_add(start, unit << shift);
}

void kh_on_store(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_store *e = kh_entries(h);
	uint32_t shift = (uint32_t)__builtin_ctz(h->data_len);
	const struct kh_keep keep = { .code = KH_STORE_PUT,
				      .peer = e->home,
				      .head = *h,
				      .unit = e->unit,
				      .token = e->token,
				      .version = e->version };
	struct kh_store_cmd cmd = { .addr = unit_addr(h, e->unit, shift),
				    .units = 1,
				    .shift = shift,
				    .generation = e->generation,
				    .version = e->version,
				    .token = e->token,
				    .data = data };
	const struct kh_fence *fence;

	if (is_stranger(node, h, e->home))
		return;
	fence = fence_of(node, h);
	if (fence && e->token < fence->token)
		refuse(node, &keep, EAGAIN);
	else if (keep_begin(node, &keep, &cmd))
		answer_stored(node, &keep, KH_STAGE_GOT, e->version, 0);
}

static void look(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 enum kh_store_code code)
{
	const struct kh_wire_look *e = kh_entries(h);
	uint32_t i;

	if (is_stranger(node, h, from->id))
		return;
	/* Nothing of an earlier home's is to come after its successor asked. */
	fence_raise(node, from, h, h->epoch << KH_TOKEN_SHIFT);
	for (i = 0; i < h->count; i++, e++) {
		const struct kh_keep keep = { .code = code,
					      .peer = from->id,
					      .head = *h,
					      .unit = e->unit,
					      .token = e->token,
					      .version = e->need,
					      .shift = e->shift };
		struct kh_store_cmd cmd = { .addr = unit_addr(h, e->unit, e->shift),
					    .units = 1,
					    .shift = e->shift,
					    .generation = e->generation };

		if (e->flags & KH_LOOK_FENCE)
			fence_raise(node, from, h, e->token);
		keep_begin(node, &keep, &cmd);
	}
}

void kh_on_look(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	look(node, from, h, KH_STORE_LOOK);
}

void kh_on_load(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	look(node, from, h, KH_STORE_GET);
}

/**
 * kh_keep_call() - is it a call about space in this node's store?  Then it is executed
 */
bool kh_keep_call(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		  const struct kh_wire_call *call)
{
	bool place = call->code == KH_CALL_PLACE;
	const struct kh_keep keep = { .code = place ? KH_STORE_RESERVE : KH_STORE_RELEASE,
				      .peer = from->id,
				      .head = *h };
	struct kh_store_cmd cmd = { .addr = { call->addr_hi, call->addr_lo },
				    .shift = call->unit_shift,
				    .generation = call->place_generation };

	if (!place && call->code != KH_CALL_UNPLACE)
		return false;
	if (call->unit_shift < KHAZANA_UNIT_SHIFT_MIN ||
	    call->unit_shift > KHAZANA_UNIT_SHIFT_MAX || !call->length ||
	    (call->length & ((1ull << call->unit_shift) - 1)) ||
	    (call->addr_lo & ((1ull << call->unit_shift) - 1))) {
		refuse(node, &keep, EINVAL);
		return true;
	}
	if (is_stranger(node, h, from->id)) {
		refuse(node, &keep, EPERM);
		return true;
	}
	cmd.units = call->length >> call->unit_shift;
	keep_begin(node, &keep, &cmd);
	return true;
}

static void got(struct kh_node *node, const struct kh_keep *k, const struct kh_store_result *r)
{
	struct kh_peer *asker = kh_peer_find(node, k->head.party);
	const struct kh_wire_data e = { .unit = k->unit,
					.version = r->version,
					.flags = r->data ? 0 : KH_DATA_ZERO };

	if (r->error) {
		answer_iack(node, k,
			    r->error == ENXIO || r->error == EAGAIN ? KH_ACK_ABSENT :
								      KH_ACK_DAMAGED);
	} else if (r->version != k->version) {
		answer_iack(node, k, KH_ACK_ABSENT);
	} else if (asker) {
		kh_count(node, KH_STAT_UNITS_LOADED);
		kh_out_data(node, asker, KH_WIRE_DATA, &k->head, &e, r->data,
			    r->data ? (size_t)1 << k->shift : 0);
	}
}

/**
 * kh_keep_stored() - a command of the store is over
 * @id: of the command
 * @result: its end
 */
void kh_keep_stored(struct kh_node *node, uint64_t id, const struct kh_store_result *result)
{
	struct kh_keep *k = kh_hash_entry(kh_hash_find(&node->keeps, id), struct kh_keep, node);

	if (!k)
		return;
	if (result->error)
		kh_count(node, KH_STAT_STORE_ERRORS);
	switch (k->code) {
	case KH_STORE_PUT:
		if (!result->error)
			kh_count(node, KH_STAT_UNITS_STORED);
		answer_stored(node, k, KH_STAGE_SAFE, k->version, result->error);
		break;
	case KH_STORE_LOOK:
		answer_stored(node, k, KH_STAGE_FOUND, result->version, result->error);
		break;
	case KH_STORE_GET:
		got(node, k, result);
		break;
	default:
		answer_result(node, k, result->error);
	}
	kh_hash_del(&node->keeps, &k->node);
	node->keep_puts -= k->code == KH_STORE_PUT;
	if (k->code == KH_STORE_PUT || is_space(k))
		keep_go(node, id);
	free(k);
}

void kh_keep_free(struct kh_node *node)
{
	struct kh_hnode *n;

	while ((n = kh_hash_first(&node->keeps))) {
		kh_hash_del(&node->keeps, n);
		free(kh_container(n, struct kh_keep, node));
	}
	kh_hash_free(&node->keeps);
	while (!kh_list_empty(&node->fences))
		fence_free(kh_list_first(&node->fences, struct kh_fence, node));
}
