/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * space.c - calls that allocate units, free them or end a region
 *
 * FREE makes the directory revoke every copy and keep each unit busy until
 * that is done for all (kh_served_ready()); only then are they freed.  If an explicit lock is in
 * the way of one (kh_served_refused()), all others stay as they are.  A FREE or ALLOCATE that
 * another one is in the way of waits for its end (kh_served_go()).  UNRESERVE asks every node
 * whether the region is attached there.  ALLOCATE, FREE and UNRESERVE wait for the stores whose
 * space it is (kh_served_placed(), R28).
 */
#include <errno.h>
#include <stdlib.h>
#include "cm.h"
#include "serve.h"

#define KH_IN_USE_MS 5000u /* limit of the question to each node */

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

int kh_node_set_frames(struct kh_node *node, uint64_t frames)
{
	if (frames < kh_node_allocated(node))
		return -EBUSY;
	node->config.frames_max = frames;
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

/*
 * Has @peer not yet heard what was decided about its inventory?  It must be known who has copies,
 * and what it may resume, though its lease is over, it has in a moment.
 */
static bool is_listening(struct kh_node *node, const struct kh_region *region,
			 const struct kh_peer *peer)
{
	bool told = peer->census && kh_peer_up(peer);

	return !peer->heard && (told || kh_grantee_valid(node, region, peer->id));
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
		if (frees && is_listening(node, region, &node->peers[i]))
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

void kh_serve_allocate(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	struct kh_intervals *set = &region->home->allocated;
	kh_node_id store = choose_store(node, served);
	uint32_t error = kh_served_units(region, &served->call, &served->first, &served->end);
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
		kh_served_end(node, served, error);
		return;
	}
	intervals_copy(&served->before, set);
	if (!store) {
		kh_intervals_add(set, served->first, served->end);
		if (kh_region_persist(region)) {
			intervals_restore(set, &served->before);
			error = EIO;
		}
		kh_served_end(node, served, error);
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

/* Of its own units only: other calls may have changed others since it began. */
static void allocate_undo(struct kh_intervals *set, const struct kh_served *served)
{
	const struct kh_interval *item = served->before.items;
	uint32_t i;

	kh_intervals_remove(set, served->first, served->end);
	for (i = 0; i < served->before.count; i++, item++)
		kh_intervals_add(set, item->start > served->first ? item->start : served->first,
				 item->end < served->end ? item->end : served->end);
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
		allocate_undo(&home->allocated, served);
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
		else
			kh_place_later(region);
	}
	kh_served_end(node, served, error);
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
		kh_served_end(node, served, served->unsaved ? EIO : 0);
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
	kh_served_end(node, served, served->error);
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

/* The FREE of @region that is under way, or NULL. */
static struct kh_served *free_of(const struct kh_region *region)
{
	const struct kh_node *node = region->owner;
	struct kh_served *served;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		kh_list_each (served, &node->peers[i].calls, node)
			if (served->stage == KH_SERVED_FREEING && served->region == region)
				return served;
	return NULL;
}

/* Is the unit among those of @served? */
static bool is_revoked_for(const struct kh_unit *unit, const struct kh_served *served)
{
	const struct kh_service *w;

	kh_list_each (w, &unit->waiting, node)
		if (w->call == served)
			return true;
	return unit->busy && unit->busy->call == served;
}

/**
 * kh_served_join() - a node listed a unit: a FREE that began before has it from now on
 */
void kh_served_join(struct kh_unit *unit)
{
	const struct kh_home *home = unit->region->home;
	uint64_t number = unit->node.key;
	struct kh_served *served;

	if (number < home->free_first || number >= home->free_end)
		return;
	served = free_of(unit->region);
	if (!served || is_revoked_for(unit, served))
		return;
	served->units =
		kh_realloc(served->units, (served->unit_count + 1) * sizeof(*served->units));
	served->units[served->unit_count++] = number;
	free_unit(unit, served);
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Every unit of the range in the directory is revoked; when all are, the range is free. */
void kh_serve_free(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	struct kh_home *home = region->home;
	uint32_t error = kh_served_units(region, &served->call, &served->first, &served->end);
	struct kh_hnode *n;
	size_t i;

	if (!error && kh_rolls_full(region))
		error = EAGAIN;
	if (error) {
		kh_served_end(node, served, error);
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
			kh_serve_free(node, served);
		else
			kh_serve_allocate(node, served);
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
	if (error) /* it stays, and can be ended again */
		region->home->going = false;
	kh_served_end(node, served, error);
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

void kh_serve_unreserve(struct kh_node *node, struct kh_served *served)
{
	struct kh_region *region = served->region;
	const struct kh_wire_call call = { .code = KH_CALL_IN_USE };
	unsigned int i;

	if (is_being_served(node, served)) {
		kh_served_end(node, served, EBUSY);
		return;
	}
	region->home->going = true;
	served->stage = KH_SERVED_ASKING;
	served->pending = 1;
	for (i = 0; i < node->peer_count && !(served->call.flags & KH_OPF_FORCE); i++) {
		struct kh_peer *peer = &node->peers[i];

		if (!kh_peer_up(peer)) {
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
