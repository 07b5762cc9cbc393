/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serve.c - calls of other nodes, as they are executed here
 *
 *   CALL kh_on_call() -> needs no key: executed, RESULT
 *                     -> CHALLENGE ... PROOF kh_on_proof() -> executed, RESULT
 *
 * Some calls take longer.  FREE makes the directory revoke every copy and keep each unit busy until
 * that is done for all (kh_served_ready()); only then are they freed.  If an explicit lock is in
 * the way of one (kh_served_refused()), all others stay as they are.  A FREE or ALLOCATE that
 * another one is in the way of waits for its end (kh_served_go()).  UNRESERVE asks every node
 * whether the region is attached there.  ALLOCATE, FREE and UNRESERVE wait for the stores whose
 * space it is (kh_served_placed(), R28), FLUSH until its range is durable (kh_served_flushed()).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "cm.h"

#define KH_SERVE_MS 30000u /* a caller that does not prove its key, or cannot begin, is forgotten */
#define KH_IN_USE_MS 5000u /* limit of the question to each node */
#define KH_ATTR_FLAGS_KNOWN (KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO)

enum kh_served_stage {
	KH_SERVED_CHALLENGED, /* waits for PROOF */
	KH_SERVED_WAITING, /* FREE, ALLOCATE: until it may begin */
	KH_SERVED_FREEING, /* waits for @pending units */
	KH_SERVED_FREED, /* is over in a moment */
	KH_SERVED_ASKING, /* waits for @pending nodes */
	KH_SERVED_PLACING, /* waits for @pending answers of stores */
	KH_SERVED_FLUSHING, /* waits until its range is durable */
};

/**
 * struct kh_served - a call that is not answered yet
 * @node: in the peer's list
 * @peer: who called
 * @gone: its connection dropped since: no answer
 * @stage: what it waits for
 * @region: what it is about; the region stays while @stage is not CHALLENGED
 * @pending: see the stages; one more while they are being counted
 * @error: of the first part that failed
 * @unsaved: what a FREE did could not be written down
 * @counting: FREE: its units are still being gone through
 * @units: FREE: those that the directory has, @unit_count of them
 * @first: FREE, ALLOCATE, FLUSH: first unit
 * @end: first unit behind
 * @before: ALLOCATE: what was allocated
 */
struct kh_served {
	struct kh_list node;
	struct kh_peer *peer;
	bool gone;
	enum kh_served_stage stage;
	struct kh_wire_head head;
	struct kh_wire_call call;
	uint8_t nonce[KH_WIRE_NONCE_SIZE];
	uint64_t deadline_ns;
	struct kh_region *region;
	unsigned int pending;
	uint32_t error;
	bool unsaved;
	bool counting;
	uint64_t *units;
	size_t unit_count;
	uint64_t first, end;
	struct kh_intervals before;
};

static void answer(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		   uint32_t error, enum kh_wire_payload payload, const void *data, size_t len)
{
	const struct kh_wire_result result = {
		.error = error,
		.payload = error ? KH_PAYLOAD_NONE : payload,
	};

	kh_out_data(node, to, KH_WIRE_RESULT, h, &result, error ? NULL : data, error ? 0 : len);
}

static void served_end(struct kh_node *node, struct kh_served *served, uint32_t error)
{
	if (!served->gone)
		answer(node, served->peer, &served->head, error, KH_PAYLOAD_NONE, NULL, 0);
	served->peer->call_count--;
	kh_list_del(&served->node);
	kh_intervals_free(&served->before);
	free(served->units);
	free(served);
}

/* Machine pages of memory promised by this node as a home: of what no store keeps. */
uint64_t kh_node_allocated(const struct kh_node *node)
{
	const struct kh_region *region;
	uint64_t pages = 0;

	kh_list_each (region, &node->regions, node) {
		uint64_t all, kept;

		if (!region->home)
			continue;
		all = kh_intervals_count(&region->home->allocated, 0, region->units);
		kept = kh_place_units(region);
		/* Places go after the units that they are for. */
		if (all > kept)
			pages += (all - kept) << (region->unit_shift - 12);
	}
	return pages;
}

/* The units that a call is about: 0, EINVAL, ERANGE. */
static uint32_t call_units(const struct kh_region *region, const struct kh_wire_call *call,
			   uint64_t *first, uint64_t *end)
{
	uint64_t mask = (1ull << region->unit_shift) - 1;
	uint64_t hi = call->addr_hi - region->start.hi - (call->addr_lo < region->start.lo);
	uint64_t offset = call->addr_lo - region->start.lo;

	if (!call->length || (call->length & mask) || (offset & mask))
		return EINVAL;
	if (hi || offset >= region->length || call->length > region->length - offset)
		return ERANGE;
	*first = offset >> region->unit_shift;
	*end = *first + (call->length >> region->unit_shift);
	return 0;
}

static void intervals_copy(struct kh_intervals *to, const struct kh_intervals *from)
{
	uint32_t i;

	for (i = 0; i < from->count; i++)
		kh_intervals_add(to, from->items[i].start, from->items[i].end);
}

static void intervals_restore(struct kh_intervals *set, struct kh_intervals *before)
{
	kh_intervals_free(set);
	*set = *before;
	*before = (struct kh_intervals){ 0 };
}

/* Whose store is to keep what @served allocates: its caller's, this node's, or nobody's. */
static kh_node_id choose_store(struct kh_node *node, const struct kh_served *served)
{
	if (served->call.flags & KH_CALLF_STORE)
		return served->peer->id;
	return node->config.store ? node->config.id : 0;
}

/* What lives in memory only may not be more than there is. */
static uint32_t check_memory(struct kh_node *node, const struct kh_region *region, uint64_t units)
{
	uint64_t more = units << (region->unit_shift - 12), used = kh_node_allocated(node);

	return node->config.frames_max < used || more > node->config.frames_max - used ? ENOSPC : 0;
}

/* Ask @store for the units of [first, end) that are not allocated: a place for each run. */
static uint32_t take_places(struct kh_node *node, struct kh_served *served, kh_node_id store)
{
	struct kh_region *region = served->region;
	struct kh_intervals missing = { 0 };
	struct kh_interval *items = region->home->allocated.items;
	uint64_t generation;
	uint32_t i, error = 0;

	kh_intervals_add(&missing, served->first, served->end);
	for (i = 0; i < region->home->allocated.count; i++)
		kh_intervals_remove(&missing, items[i].start, items[i].end);
	served->stage = KH_SERVED_PLACING;
	served->pending = 1;
	for (i = 0; i < missing.count && !error; i++) {
		if (kh_generation_take(node, &generation)) {
			error = EIO;
			break;
		}
		served->pending++;
		kh_place_take(region, missing.items[i].start, missing.items[i].end, store,
			      generation, served);
	}
	kh_intervals_free(&missing);
	return error;
}

/* Must @served wait for @other, both FREE or ALLOCATE? */
static bool in_the_way(const struct kh_served *served, const struct kh_served *other)
{
	bool overlap = other->first < served->end && served->first < other->end;

	if (other == served || other->region != served->region)
		return false;
	switch (other->stage) {
	case KH_SERVED_FREEING:
	case KH_SERVED_FREED:
		return overlap || served->call.code == KH_OP_FREE;
	case KH_SERVED_PLACING:
		return overlap && other->call.code == KH_OP_ALLOCATE;
	default:
		return false;
	}
}

/* May a FREE or ALLOCATE begin?  Calls of one peer about the same units are served in their order. */
static bool may_begin(struct kh_node *node, const struct kh_served *served)
{
	const struct kh_region *region = served->region;
	bool frees = served->call.code == KH_OP_FREE;
	const struct kh_served *other;
	unsigned int i;

	if (frees && region->home->recovering)
		return false;
	for (i = 0; i < node->peer_count; i++) {
		/* It must be known who has copies. */
		if (frees && kh_grantee_valid(node, region, node->peers[i].id) &&
		    !node->peers[i].heard)
			return false;
		kh_list_each (other, &node->peers[i].calls, node)
			if (in_the_way(served, other))
				return false;
	}
	kh_list_each (other, &served->peer->calls, node) {
		if (other == served)
			break;
		if (other->stage == KH_SERVED_WAITING && other->region == region &&
		    other->first < served->end && served->first < other->end)
			return false;
	}
	return true;
}

static void serve_allocate(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	struct kh_intervals *set = &region->home->allocated;
	kh_node_id store = choose_store(node, served);
	uint32_t error = call_units(region, &served->call, &served->first, &served->end);
	uint64_t more = served->end - served->first;

	if (!error && !may_begin(node, served)) {
		served->stage = KH_SERVED_WAITING;
		kh_arm(node, served->deadline_ns);
		return;
	}
	if (!error) {
		more -= kh_intervals_count(set, served->first, served->end);
		if (more && !store)
			error = check_memory(node, region, more);
	}
	if (error || !more) {
		served_end(node, served, error);
		return;
	}
	intervals_copy(&served->before, set);
	if (!store) {
		kh_intervals_add(set, served->first, served->end);
		if (kh_region_persist(region)) {
			intervals_restore(set, &served->before);
			error = EIO;
		}
		served_end(node, served, error);
		return;
	}
	served->error = take_places(node, served, store);
	/* Not before that is written down does a store hear of it. */
	if (!served->error && kh_region_persist(region))
		served->error = EIO;
	if (served->error) {
		kh_place_unserve(region, served);
		served->pending = 1;
	} else {
		kh_place_go(region);
	}
	kh_served_placed(node, served, 0);
}

/* All stores answered an ALLOCATE. */
static void allocate_end(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	struct kh_home *home = region->home;
	uint32_t error = served->error, i;

	if (!error)
		kh_intervals_add(&home->allocated, served->first, served->end);
	if (!error && kh_region_persist(region)) {
		error = EIO;
		intervals_restore(&home->allocated, &served->before);
	}
	if (error) {
		/* What was had before stays. */
		struct kh_intervals back = { 0 };

		kh_intervals_add(&back, served->first, served->end);
		for (i = 0; i < home->allocated.count; i++)
			kh_intervals_remove(&back, home->allocated.items[i].start,
					    home->allocated.items[i].end);
		for (i = 0; i < back.count; i++)
			kh_place_give(region, back.items[i].start, back.items[i].end, NULL);
		kh_intervals_free(&back);
		if (!kh_region_persist(region))
			kh_place_go(region);
	}
	served_end(node, served, error);
}

static void unreserve_last(struct kh_node *node, struct kh_served *served);

/**
 * kh_served_placed() - a store answered for one part of an ALLOCATE, FREE or UNRESERVE
 * @error: of an ALLOCATE: the store's; else the store will be asked again
 */
void kh_served_placed(struct kh_node *node, struct kh_served *served, uint32_t error)
{
	if (error && !served->error)
		served->error = error == EHOSTUNREACH || error == EAGAIN ? ETIMEDOUT : error;
	if (--served->pending)
		return;
	if (served->call.code == KH_OP_ALLOCATE)
		allocate_end(node, served);
	else if (served->call.code == KH_OP_UNRESERVE)
		unreserve_last(node, served);
	else /* nobody can reach it, whatever its store says */
		served_end(node, served, served->unsaved ? EIO : 0);
	kh_served_go(node);
}

/* The units are nobody's any more: their stores hear that, if possible before the caller does. */
static void give_places(struct kh_node *node, struct kh_served *served, uint64_t first,
			uint64_t end)
{
	served->stage = KH_SERVED_PLACING;
	served->pending = 1 + kh_place_give(served->region, first, end, served);
	if (!kh_region_persist(served->region)) {
		kh_place_go(served->region);
	} else {
		/* The stores hear of it when it can be written down. */
		kh_place_unserve(served->region, served);
		kh_place_later(served->region);
		served->unsaved = true;
		served->error = EIO;
		served->pending = 1;
	}
	kh_served_placed(node, served, 0);
}

/*
 * Write down that the range is free: from now on what comes back of it is refused (FREE in
 * protocol.rst).
 */
static uint32_t free_commit(struct kh_served *served)
{
	struct kh_region *region = served->region;
	struct kh_home *home = region->home;
	struct kh_intervals *const sets[] = { &home->allocated, &home->lost, &home->doubt,
					      &home->thin };
	struct kh_intervals before[sizeof(sets) / sizeof(sets[0])] = { 0 };
	uint32_t rolls = home->roll_count, error = 0;
	size_t i;

	for (i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		intervals_copy(&before[i], sets[i]);
		kh_intervals_remove(sets[i], served->first, served->end);
	}
	if (!kh_planted(region->owner, KH_PLANT_FREE_FORGET))
		kh_roll_add(region, &(struct kh_roll){ .unit = served->first,
						       .count = (served->end - served->first) |
								KH_ROLL_FREED,
						       .before = kh_token_new(region) });
	if (kh_region_persist(region)) {
		for (i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
			intervals_restore(sets[i], &before[i]);
		home->roll_count = rolls;
		error = EIO;
	}
	for (i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		kh_intervals_free(&before[i]);
	return error;
}

/* All units are ready, or one was refused: free all, or give all back. */
static void free_end(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	size_t i;

	served->stage = KH_SERVED_FREED;
	if (!served->error)
		served->error = free_commit(served);
	region->home->free_first = region->home->free_end = 0;
	for (i = 0; i < served->unit_count; i++) {
		struct kh_unit *unit = kh_unit_find(region, served->units[i]);

		if (unit && served->error)
			kh_service_withdraw(unit, served);
		else if (unit)
			kh_service_complete(unit, 0);
	}
	if (!served->error) {
		give_places(node, served, served->first, served->end);
		return;
	}
	served_end(node, served, served->error);
	kh_served_go(node);
}

/**
 * kh_served_ready() - nobody has a right to one unit of a FREE any more
 * @served: the FREE, which may be over afterwards
 */
void kh_served_ready(struct kh_node *node, struct kh_served *served)
{
	if (!--served->pending && !served->error)
		free_end(node, served);
}

/**
 * kh_served_unready() - somebody has, again
 * @served: the FREE
 */
void kh_served_unready(struct kh_served *served)
{
	served->pending++;
}

/**
 * kh_served_refused() - an explicit lock is in the way of one unit of a FREE
 * @served: the FREE, which is over afterwards
 */
void kh_served_refused(struct kh_node *node, struct kh_served *served)
{
	served->error = EBUSY;
	if (!served->counting)
		free_end(node, served);
}

static void free_unit(struct kh_unit *unit, struct kh_served *served)
{
	struct kh_service *s = kh_zalloc(sizeof(*s));

	kh_list_init(&s->node);
	s->call = served;
	s->want = KHAZANA_RIGHT_WRITE;
	s->held = KHAZANA_VERSION_NONE;
	served->pending++;
	kh_service_add(unit, s);
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Every unit of the range in the directory is revoked; when all are, the range is free. */
static void serve_free(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	struct kh_home *home = region->home;
	uint32_t error = call_units(region, &served->call, &served->first, &served->end);
	struct kh_hnode *n;
	size_t i;

	if (!error && kh_rolls_full(region))
		error = EAGAIN;
	if (error) {
		served_end(node, served, error);
		return;
	}
	if (!may_begin(node, served)) {
		served->stage = KH_SERVED_WAITING;
		kh_arm(node, served->deadline_ns);
		return;
	}
	served->stage = KH_SERVED_FREEING;
	home->free_first = served->first;
	home->free_end = served->end;
	served->pending = 1;
	served->counting = true;
	served->units = kh_zalloc((home->units.count + 1) * sizeof(*served->units));
	for (n = kh_hash_first(&home->units); n; n = kh_hash_next(&home->units, n))
		if (n->key >= served->first && n->key < served->end)
			served->units[served->unit_count++] = n->key;
	qsort(served->units, served->unit_count, sizeof(*served->units), compare_keys);
	for (i = 0; i < served->unit_count && !served->error; i++)
		free_unit(kh_unit_get(region, served->units[i]), served);
	served->counting = false;
	if (served->error)
		free_end(node, served);
	else
		kh_served_ready(node, served);
}

/* The first call that waits and may begin. */
static struct kh_served *first_waiting(struct kh_node *node)
{
	struct kh_served *served;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		kh_list_each (served, &node->peers[i].calls, node)
			if (served->stage == KH_SERVED_WAITING && may_begin(node, served))
				return served;
	return NULL;
}

/**
 * kh_served_go() - a FREE or ALLOCATE is over, a directory rebuilt or a node's verdicts heard
 */
void kh_served_go(struct kh_node *node)
{
	struct kh_served *served;

	while ((served = first_waiting(node))) {
		if (served->call.code == KH_OP_FREE)
			serve_free(node, served);
		else
			serve_allocate(node, served);
	}
}

/* Nobody uses the region any more. */
static uint32_t region_destroy(struct kh_node *node, struct kh_region *region)
{
	struct kh_wire_head head = kh_head(region);
	unsigned int i;

	if (kh_region_unpersist(region))
		return EIO;
	for (i = 1; i < node->peer_count; i++)
		if (node->peers[i].connected)
			kh_out(node, &node->peers[i], KH_WIRE_GONE, &head);
	if (region->handle) {
		struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_DEL,
					   .flags = KHAZANA_CMDF_FORCE,
					   .region = region->handle };

		kh_command(node, &cmd);
	}
	kh_region_free(region);
	return 0;
}

/*
 * The stores gave the space back, or some of them could not: then the region stays, empty.  By
 * force it goes all the same, and what those stores keep for it stays there unused.
 */
static void unreserve_last(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	bool force = served->call.flags & KH_OPF_FORCE;
	uint32_t error = force && !served->unsaved ? 0 : served->error;

	if (!error)
		error = region_destroy(node, region);
	else
		region->home->going = false;
	served_end(node, served, error);
}

static void unreserve_end(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;

	if (!served->error && !(served->call.flags & KH_OPF_FORCE) && !kh_place_reachable(region))
		served->error = ETIMEDOUT;
	if (served->error) {
		unreserve_last(node, served);
		return;
	}
	if (region->home->place_count)
		kh_intervals_free(&region->home->allocated);
	give_places(node, served, 0, region->units);
}

/* One node said whether the region is attached there. */
static void in_use(struct kh_node *node, void *context, const struct kh_wire_result *result,
		   const void *data, size_t len)
{
	struct kh_served *served = context;

	/* A node that is out of reach counts while it may hold a lease. */
	if (result->error == EBUSY || result->error == ETIMEDOUT)
		served->error = EBUSY;
	if (!--served->pending)
		unreserve_end(node, served);
}

/* Does another call work on the region at this moment? */
static bool is_being_served(struct kh_node *node, const struct kh_served *but)
{
	struct kh_served *served;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		kh_list_each (served, &node->peers[i].calls, node)
			if (served != but && served->region == but->region)
				return true;
	return false;
}

static void serve_unreserve(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	const struct kh_wire_call call = { .code = KH_CALL_IN_USE };
	unsigned int i;

	if (is_being_served(node, served)) {
		served_end(node, served, EBUSY);
		return;
	}
	region->home->going = true;
	served->stage = KH_SERVED_ASKING;
	served->pending = 1;
	for (i = 0; i < node->peer_count && !(served->call.flags & KH_OPF_FORCE); i++) {
		struct kh_peer *peer = &node->peers[i];

		if (!peer->self && !peer->connected) {
			if (kh_grantee_valid(node, region, peer->id))
				served->error = EBUSY;
			continue;
		}
		served->pending++;
		kh_call(node, peer->id, region, &call, NULL, NULL, node->now + KH_IN_USE_MS * KH_MS,
			in_use, served);
	}
	if (!--served->pending)
		unreserve_end(node, served);
}

static uint32_t check_attr(const struct kh_region *region, const struct kh_wire_call *call)
{
	uint32_t mask = call->attr_mask;

	if (!mask || (mask & ~(KH_ATTR_LEASE_MS | KH_ATTR_KEY | KH_ATTR_MIN_REPLICAS |
			       KH_ATTR_DURABILITY | KH_ATTR_WAIT_MS | KH_ATTR_FLAGS)))
		return EINVAL;
	if ((mask & KH_ATTR_LEASE_MS) &&
	    (call->lease_ms < KH_LEASE_MS_MIN || call->lease_ms > KH_LEASE_MS_MAX))
		return EINVAL;
	if ((mask & KH_ATTR_FLAGS) && (call->attr_flags & ~KH_ATTR_FLAGS_KNOWN))
		return EINVAL;
	if ((mask & KH_ATTR_MIN_REPLICAS) && call->min_replicas > 1)
		return EOPNOTSUPP;
	if ((mask & KH_ATTR_DURABILITY) && call->durability > 1)
		return EINVAL;
	/* What is written down of holders is tied to their lease of the old class. */
	if ((mask & KH_ATTR_LEASE_MS) && call->lease_ms != region->attr.lease_ms &&
	    region->home->units.count)
		return EBUSY;
	return 0;
}

static uint32_t serve_setattr(struct kh_node *node, struct kh_region *region,
			      const struct kh_wire_call *call, const uint8_t *new_verifier)
{
	struct kh_attr old = region->attr;
	uint8_t old_verifier[KH_VERIFIER_SIZE];
	struct kh_wire_head head = kh_head(region);
	uint32_t error = check_attr(region, call);
	unsigned int i;

	if (error)
		return error;
	memcpy(old_verifier, region->home->verifier, sizeof(old_verifier));
	if (call->attr_mask & KH_ATTR_LEASE_MS)
		region->attr.lease_ms = call->lease_ms;
	if (call->attr_mask & KH_ATTR_WAIT_MS)
		region->attr.wait_ms = call->wait_ms ? call->wait_ms : KH_TIMEOUT_MS;
	if (call->attr_mask & KH_ATTR_DURABILITY)
		region->attr.durability = call->durability;
	if (call->attr_mask & KH_ATTR_FLAGS)
		region->attr.flags = call->attr_flags;
	if (call->attr_mask & KH_ATTR_KEY)
		memcpy(region->home->verifier, new_verifier, KH_VERIFIER_SIZE);
	if (kh_region_persist(region)) {
		region->attr = old;
		memcpy(region->home->verifier, old_verifier, sizeof(old_verifier));
		return EIO;
	}
	kh_region_set_module(region);
	for (i = 1; i < node->peer_count; i++)
		if (node->peers[i].connected)
			kh_region_describe(region,
					   kh_out(node, &node->peers[i], KH_WIRE_HERE, &head));
	return 0;
}

static void serve_page(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		       struct kh_region *region, const struct kh_wire_call *call)
{
	struct khazana_addr addr = { call->addr_hi, call->addr_lo };
	uint64_t index = kh_region_unit(region, addr), offset = index << region->unit_shift;
	const struct kh_unit *unit = kh_unit_find(region, index);
	const struct kh_place *place = kh_place_of(region, index);
	struct kh_wire_page page = { .home = node->config.id };
	unsigned int i;

	if (index >= region->units || !kh_intervals_has(&region->home->allocated, index)) {
		answer(node, to, h, index >= region->units ? ERANGE : ENXIO, KH_PAYLOAD_NONE, NULL,
		       0);
		return;
	}
	addr = kh_addr_add(region->start, offset);
	page.start_hi = addr.hi;
	page.start_lo = addr.lo;
	page.busy = region->home->recovering; /* nothing is known yet */
	if (unit) {
		page.version = unit->version;
		page.token = unit->token;
		page.owner = kh_holder_valid(unit, &unit->owner) ? unit->owner.party : 0;
		page.backup = kh_holder_valid(unit, &unit->backup) ? unit->backup.party : 0;
		page.right = unit->owner_right;
		page.busy |= unit->busy != NULL;
		page.waiting = unit->waiting_count;
		for (i = 0; i < unit->copy_count && i < KH_PAGE_HOLDERS_MAX; i++)
			page.readers[page.reader_count++] = unit->copies[i].party;
		page.stored = unit->stored;
	}
	if (place)
		page.place = place->node;
	answer(node, to, h, 0, KH_PAYLOAD_PAGE, &page, sizeof(page));
}

/* What could be read in the range when the call was made becomes durable. */
static void serve_flush(struct kh_node *node, struct kh_served *served)
{
	uint32_t error = call_units(served->region, &served->call, &served->first, &served->end);

	if (!error && served->region->home->recovering)
		error = EAGAIN;
	if (error) {
		served_end(node, served, error);
		return;
	}
	served->stage = KH_SERVED_FLUSHING;
	kh_flush_start(served->region, served->first, served->end, served);
}

void kh_served_flushed(struct kh_node *node, struct kh_served *served, uint32_t error)
{
	served_end(node, served, error);
}

static void serve_list(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h)
{
	const struct kh_region *region;
	struct kh_wire_region *list;
	size_t n = 0;

	kh_list_each (region, &node->regions, node)
		n += region->home != NULL;
	list = kh_zalloc((n + 1) * sizeof(*list));
	n = 0;
	kh_list_each (region, &node->regions, node)
		if (region->home && (n + 1) * sizeof(*list) <= KH_DATA_MAX)
			kh_region_describe(region, &list[n++]);
	answer(node, to, h, 0, KH_PAYLOAD_REGIONS, list, n * sizeof(*list));
	free(list);
}

static void serve_echo(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		       const struct kh_wire_call *call)
{
	uint8_t *bytes;

	if (call->length > KH_DATA_MAX) {
		answer(node, to, h, EINVAL, KH_PAYLOAD_NONE, NULL, 0);
		return;
	}
	bytes = kh_zalloc(call->length + 1);
	answer(node, to, h, 0, KH_PAYLOAD_BYTES, bytes, call->length);
	free(bytes);
}

/* Is the region attached to a file of this node? */
static uint32_t serve_in_use(struct kh_node *node, const struct kh_wire_head *h)
{
	struct kh_region *region = kh_region_of(node, h);
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_GET };

	if (!region || !region->handle)
		return 0;
	cmd.region = region->handle;
	if (kh_command(node, &cmd) || cmd.region != region->handle)
		return 0;
	return cmd.count ? EBUSY : 0;
}

/* Calls that are about no region, or not for its home.  Return: was it one? */
static bool serve_any(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		      const struct kh_wire_call *call)
{
	switch (call->code) {
	case KH_OP_NULL:
		answer(node, from, h, 0, KH_PAYLOAD_NONE, NULL, 0);
		return true;
	case KH_OP_ECHO:
		serve_echo(node, from, h, call);
		return true;
	case KH_OP_REGION_LIST:
		serve_list(node, from, h);
		return true;
	case KH_CALL_IN_USE:
		answer(node, from, h, serve_in_use(node, h), KH_PAYLOAD_NONE, NULL, 0);
		return true;
	default:
		return kh_keep_call(node, from, h, call);
	}
}

static struct kh_served *served_new(struct kh_node *node, struct kh_peer *from,
				    const struct kh_wire_head *h, const struct kh_wire_call *call)
{
	struct kh_served *served = kh_zalloc(sizeof(*served));

	served->peer = from;
	served->head = *h;
	served->call = *call;
	served->deadline_ns = node->now + KH_SERVE_MS * KH_MS;
	kh_list_add(&from->calls, &served->node);
	from->call_count++;
	return served;
}

static void serve_keyed(struct kh_node *node, struct kh_served *served, const uint8_t *new_verifier)
{
	struct kh_region *region = served->region;
	struct kh_wire_region desc;

	switch (served->call.code) {
	case KH_CALL_ATTACH:
		kh_region_describe(region, &desc);
		answer(node, served->peer, &served->head, 0, KH_PAYLOAD_REGIONS, &desc,
		       sizeof(desc));
		served->gone = true;
		served_end(node, served, 0);
		return;
	case KH_OP_ALLOCATE:
		serve_allocate(node, served);
		return;
	case KH_OP_FREE:
		serve_free(node, served);
		return;
	case KH_OP_UNRESERVE:
		serve_unreserve(node, served);
		return;
	default:
		served_end(node, served, serve_setattr(node, region, &served->call, new_verifier));
	}
}

static bool is_keyed(uint32_t code)
{
	return code == KH_CALL_ATTACH || code == KH_OP_ALLOCATE || code == KH_OP_FREE ||
	       code == KH_OP_UNRESERVE || code == KH_OP_SETATTR;
}

void kh_on_call(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_call *call = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_wire_not_home *moved;
	struct kh_wire_region desc;
	struct kh_served *served;

	if (serve_any(node, from, h, call))
		return;
	if (!region || !region->home || region->home->going) {
		moved = kh_out(node, from, KH_WIRE_NOT_HOME, h);
		moved->hint = region && !region->home ? region->home_id : 0;
		moved->kind = KH_WIRE_CALL;
		return;
	}
	if (call->code == KH_OP_GETATTR) {
		kh_region_describe(region, &desc);
		answer(node, from, h, 0, KH_PAYLOAD_REGIONS, &desc, sizeof(desc));
	} else if (call->code == KH_OP_PAGE_SHOW) {
		serve_page(node, from, h, region, call);
	} else if (!is_keyed(call->code) && call->code != KH_CALL_FLUSH) {
		answer(node, from, h, EOPNOTSUPP, KH_PAYLOAD_NONE, NULL, 0);
	} else if (from->call_count >= KH_CALLS_MAX) {
		kh_count(node, KH_STAT_QUEUE_FULL);
		answer(node, from, h, EBUSY, KH_PAYLOAD_NONE, NULL, 0);
	} else if (call->code == KH_CALL_FLUSH) {
		served = served_new(node, from, h, call);
		served->region = region;
		serve_flush(node, served);
	} else if (call->code == KH_OP_UNRESERVE && call->privileged) {
		served = served_new(node, from, h, call);
		served->region = region;
		serve_keyed(node, served, NULL);
	} else {
		struct kh_wire_challenge *e;

		served = served_new(node, from, h, call);
		node->ops->random(node->host, served->nonce, sizeof(served->nonce));
		e = kh_out(node, from, KH_WIRE_CHALLENGE, h);
		memcpy(e->nonce, served->nonce, sizeof(e->nonce));
		kh_arm(node, served->deadline_ns);
	}
}

static struct kh_served *served_find(struct kh_peer *peer, uint64_t request)
{
	struct kh_served *served;

	kh_list_each (served, &peer->calls, node)
		if (served->head.request == request && served->stage == KH_SERVED_CHALLENGED &&
		    !served->region && !served->gone)
			return served;
	return NULL;
}

void kh_on_proof(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_proof *e = kh_entries(h);
	struct kh_served *served = served_find(from, h->request);
	uint8_t mac[KH_WIRE_MAC_SIZE], new_verifier[KH_VERIFIER_SIZE];
	struct {
		struct kh_wire_call call;
		uint8_t new_key[KH_WIRE_MAC_SIZE];
	} what = { 0 };
	unsigned int i;

	if (!served)
		return;
	served->region = kh_region_of(node, &served->head);
	if (!served->region || !served->region->home || served->region->home->going) {
		served_end(node, served, ENOENT);
		return;
	}
	what.call = served->call;
	memcpy(what.new_key, e->new_key, sizeof(what.new_key));
	kh_key_mac(served->region->home->verifier, "call", served->nonce, from->id, &what,
		   sizeof(what), mac);
	if (!kh_key_equal(mac, e->mac, sizeof(mac))) {
		kh_count(node, KH_STAT_KEYS_REJECTED);
		served_end(node, served, EKEYREJECTED);
		return;
	}
	kh_key_mac(served->region->home->verifier, "new key", served->nonce, from->id, "", 0, mac);
	for (i = 0; i < sizeof(mac); i++)
		new_verifier[i] = e->new_key[i] ^ mac[i];
	serve_keyed(node, served, new_verifier);
	OPENSSL_cleanse(new_verifier, sizeof(new_verifier));
}

/* Callers that never prove their key, and what could not begin in time. */
void kh_served_tick(struct kh_node *node)
{
	struct kh_served *served, *tmp;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		kh_list_each_safe (served, tmp, &node->peers[i].calls, node) {
			if (served->stage != KH_SERVED_WAITING &&
			    (served->stage != KH_SERVED_CHALLENGED || served->region))
				continue;
			if (served->deadline_ns <= node->now)
				served_end(node, served, ETIMEDOUT);
			else
				kh_arm(node, served->deadline_ns);
		}
	}
}

/* The connection to @peer is gone: what can be given up is, the rest ends without an answer. */
void kh_served_drop(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_served *served, *tmp;

	kh_list_each_safe (served, tmp, &peer->calls, node) {
		served->gone = true;
		if (served->stage == KH_SERVED_CHALLENGED || served->stage == KH_SERVED_WAITING)
			served_end(node, served, 0);
	}
}

/* The node ends: nobody is answered. */
void kh_served_free(struct kh_node *node)
{
	struct kh_served *served, *tmp;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		kh_list_each_safe (served, tmp, &node->peers[i].calls, node) {
			served->gone = true;
			served_end(node, served, 0);
		}
	}
}
