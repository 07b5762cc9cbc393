/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * place.c - whose store keeps which units of a region, and how space there is taken and given back
 *
 *   kh_place_take(): TAKING -> PLACE -> taken: READY
 *                                   -> refused: GIVING (it may have been reserved all the same)
 *   kh_place_give(): READY -> GIVING -> UNPLACE -> gone
 *
 * Two phases with the home as coordinator (B4).  The home writes its intent down before the store
 * hears of it, and the store's word before anybody else does.  So a crash of either leaves what
 * the home finds in its blob: TAKING was promised to nobody and becomes GIVING, GIVING is asked
 * for until the store has done it.  A generation is never used twice: what was given back cannot
 * come back with a later allocation of the same addresses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "core.h"

#define MOVE_MS 10000u /* limit of one call */
#define MOVE_AGAIN (1000 * KH_MS)

/* Index of the first place that ends behind @unit. */
static uint32_t lower(const struct kh_home *home, uint64_t unit)
{
	uint32_t lo = 0, hi = home->place_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (home->places[mid].end <= unit)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/**
 * kh_place_of() - whose store keeps a unit
 * @region: this node is its home
 * @unit: number of the unit
 *
 * Return: the place, good until places change, or NULL: it lives in memory only.
 */
const struct kh_place *kh_place_of(const struct kh_region *region, uint64_t unit)
{
	const struct kh_home *home = region->home;
	uint32_t at = lower(home, unit);

	return at < home->place_count && home->places[at].start <= unit ? &home->places[at] : NULL;
}

/* Units of @region that some store keeps. */
uint64_t kh_place_units(const struct kh_region *region)
{
	uint64_t units = 0;
	uint32_t i;

	for (i = 0; i < region->home->place_count; i++)
		units += region->home->places[i].end - region->home->places[i].start;
	return units;
}

static void place_insert(struct kh_home *home, const struct kh_place *place)
{
	uint32_t at = lower(home, place->start);

	home->places = kh_realloc(home->places, (home->place_count + 1) * sizeof(*home->places));
	memmove(&home->places[at + 1], &home->places[at],
		(home->place_count - at) * sizeof(*home->places));
	home->places[at] = *place;
	home->places[at].state = KH_PLACE_READY;
	home->place_count++;
}

/* Are all nodes connected whose stores keep something of @region? */
bool kh_place_reachable(const struct kh_region *region)
{
	uint32_t i;

	for (i = 0; i < region->home->place_count; i++)
		if (!kh_peer_reach(region->owner, region->home->places[i].node))
			return false;
	return true;
}

static struct kh_move *move_add(struct kh_region *region, const struct kh_place *place,
				enum kh_place_state state, struct kh_served *served)
{
	struct kh_move *move = kh_zalloc(sizeof(*move));

	move->region = region;
	move->place = *place;
	move->place.state = state;
	move->served = served;
	kh_list_add(&region->home->moves, &move->node);
	return move;
}

static void move_free(struct kh_move *move)
{
	if (move->call)
		kh_call_cancel(move->region->owner, move->call);
	kh_list_del(&move->node);
	free(move);
}

/**
 * kh_place_take() - ask @store for space; kh_place_go() must follow when that is persisted
 * @region: this node is its home
 * @start: first unit
 * @end: first unit behind
 * @store: node
 * @generation: fresh, of kh_generation_take()
 * @served: hears of the end by kh_served_placed()
 */
void kh_place_take(struct kh_region *region, uint64_t start, uint64_t end, kh_node_id store,
		   uint64_t generation, struct kh_served *served)
{
	const struct kh_place place = {
		.start = start, .end = end, .generation = generation, .node = store
	};

	move_add(region, &place, KH_PLACE_TAKING, served);
}

/**
 * kh_place_give() - nobody can use these units any more; kh_place_go() must follow when that is
 * persisted
 * @served: hears of the end of each part by kh_served_placed(), or NULL
 *
 * Return: how many parts there are.
 */
unsigned int kh_place_give(struct kh_region *region, uint64_t start, uint64_t end,
			   struct kh_served *served)
{
	struct kh_home *home = region->home;
	unsigned int n = 0;
	uint32_t at = lower(home, start);

	while (at < home->place_count && home->places[at].start < end) {
		struct kh_place whole = home->places[at], part = whole, rest = whole;

		memmove(&home->places[at], &home->places[at + 1],
			(home->place_count - at - 1) * sizeof(*home->places));
		home->place_count--;
		if (part.start < start)
			part.start = start;
		if (part.end > end)
			part.end = end;
		move_add(region, &part, KH_PLACE_GIVING, served);
		n++;
		if (whole.start < part.start) {
			rest.end = part.start;
			place_insert(home, &rest);
		}
		if (whole.end > part.end) {
			rest = whole;
			rest.start = part.end;
			place_insert(home, &rest);
		}
		at = lower(home, part.end);
	}
	return n;
}

/**
 * kh_place_unserve() - nobody is to hear of the moves of @served any more
 *
 * Those that take space and were not written down never happened.
 */
void kh_place_unserve(struct kh_region *region, const struct kh_served *served)
{
	struct kh_move *move, *tmp;

	kh_list_each_safe (move, tmp, &region->home->moves, node) {
		if (move->served != served)
			continue;
		move->served = NULL;
		if (move->place.state == KH_PLACE_TAKING && !move->call)
			move_free(move);
	}
}

static void move_told(struct kh_move *move, uint32_t error)
{
	struct kh_served *served = move->served;

	move->served = NULL;
	if (served)
		kh_served_placed(move->region->owner, served, error);
}

/* What is to be given back could not be written down: that comes first. */
void kh_place_later(struct kh_region *region)
{
	struct kh_home *home = region->home;

	home->moves_unsaved = true;
	home->move_ns = region->owner->now + MOVE_AGAIN;
	kh_arm(region->owner, home->move_ns);
}

static void move_again(struct kh_move *move)
{
	struct kh_home *home = move->region->home;

	home->move_ns = move->region->owner->now + MOVE_AGAIN;
	kh_arm(move->region->owner, home->move_ns);
}

/* A store that was asked for space answered. */
static void taken(struct kh_move *move, uint32_t error)
{
	struct kh_region *region = move->region;

	if (error) {
		move->place.state = KH_PLACE_GIVING;
		if (kh_region_persist(region))
			kh_event(region->owner, "persist", "a refused place could not be noted");
		move_again(move);
		move_told(move, error);
		return;
	}
	place_insert(region->home, &move->place);
	kh_list_del(&move->node);
	move_told(move, 0);
	move_free(move);
}

/* Is @move to take what @other gives back? */
static bool takes_from(const struct kh_move *move, const struct kh_move *other)
{
	return move->place.state == KH_PLACE_TAKING && other->place.state == KH_PLACE_GIVING &&
	       move->place.node == other->place.node && move->place.start < other->place.end &&
	       other->place.start < move->place.end;
}

/* The first move that waits to take what @gone gives back, or NULL. */
static struct kh_move *taker_of(const struct kh_region *region, const struct kh_move *gone)
{
	struct kh_move *move;

	kh_list_each (move, &region->home->moves, node)
		if (!move->call && takes_from(move, gone))
			return move;
	return NULL;
}

/* A store that was to give space back answered. */
static void given(struct kh_move *move, uint32_t error)
{
	struct kh_region *region = move->region;
	struct kh_move *taker;

	if (error) {
		move_again(move);
		while ((taker = taker_of(region, move)))
			taken(taker, error);
		move_told(move, error);
		return;
	}
	kh_list_del(&move->node);
	if (kh_region_persist(region)) {
		/* It is asked again after a restart, which does no harm. */
		kh_event(region->owner, "persist", "the end of a place could not be noted");
	}
	if (taker_of(region, move))
		kh_place_go(region);
	move_told(move, 0);
	move_free(move);
}

static void moved(struct kh_node *node, void *context, const struct kh_wire_result *result,
		  const void *data, size_t len)
{
	struct kh_move *move = context;

	move->call = 0;
	if (move->place.state == KH_PLACE_TAKING)
		taken(move, result->error);
	else
		given(move, result->error);
}

static void move_go(struct kh_move *move)
{
	struct kh_region *region = move->region;
	struct kh_node *node = region->owner;
	struct kh_peer *peer = kh_peer_find(node, move->place.node);
	bool taking = move->place.state == KH_PLACE_TAKING;
	const struct kh_move *other;
	struct khazana_addr addr =
		kh_addr_add(region->start, move->place.start << region->unit_shift);
	struct kh_wire_call call = {
		.code = taking ? KH_CALL_PLACE : KH_CALL_UNPLACE,
		.addr_hi = addr.hi,
		.addr_lo = addr.lo,
		.length = (move->place.end - move->place.start) << region->unit_shift,
		.unit_shift = region->unit_shift,
		.place_generation = move->place.generation,
	};

	if (!taking && !kh_peer_up(peer)) {
		/* It will be asked when it is back. */
		move_told(move, EHOSTUNREACH);
		return;
	}
	/* A store does not give the same space twice: what it had there before goes first. */
	kh_list_each (other, &region->home->moves, node)
		if (other->call && takes_from(move, other))
			return;
	move->call = kh_call(node, move->place.node, region, &call, NULL, NULL,
			     node->now + MOVE_MS * KH_MS, moved, move);
}

/* Ask the stores of all moves that are not under way. */
void kh_place_go(struct kh_region *region)
{
	struct kh_move *move, *tmp;

	if (region->home->moves_unsaved && kh_region_persist(region)) {
		kh_place_later(region);
		return;
	}
	region->home->moves_unsaved = false;
	region->home->move_ns = KH_NEVER;
	kh_list_each_safe (move, tmp, &region->home->moves, node)
		if (!move->call)
			move_go(move);
}

void kh_place_tick(struct kh_node *node)
{
	struct kh_region *region, *tmp;

	kh_list_each_safe (region, tmp, &node->regions, node) {
		if (!region->home || region->home->move_ns == KH_NEVER)
			continue;
		if (node->now >= region->home->move_ns)
			kh_place_go(region);
		else
			kh_arm(node, region->home->move_ns);
	}
}

/* @peer is back. */
void kh_place_peer(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;
	struct kh_move *move;

	kh_list_each (region, &node->regions, node) {
		if (!region->home)
			continue;
		kh_list_each (move, &region->home->moves, node)
			if (move->place.node == peer->id && !move->call)
				region->home->move_ns = node->now;
		kh_arm(node, region->home->move_ns);
	}
}

unsigned int kh_node_moves(const struct kh_node *node, kh_node_id place, bool taking)
{
	const struct kh_region *region;
	const struct kh_move *move;
	unsigned int n = 0;

	kh_list_each (region, &node->regions, node) {
		if (!region->home)
			continue;
		kh_list_each (move, &region->home->moves, node)
			n += move->call && (!place || move->place.node == place) &&
			     (move->place.state == KH_PLACE_TAKING) == taking;
	}
	return n;
}

size_t kh_place_blob_count(const struct kh_region *region)
{
	const struct kh_move *move;
	size_t n = region->home->place_count;

	kh_list_each (move, &region->home->moves, node)
		n++;
	return n;
}

/* Write all places of @region, kh_place_blob_count() of them, to @items. */
void kh_place_save(const struct kh_region *region, struct kh_place *items)
{
	const struct kh_home *home = region->home;
	const struct kh_move *move;

	if (home->place_count)
		memcpy(items, home->places, home->place_count * sizeof(*items));
	items += home->place_count;
	kh_list_each (move, &home->moves, node)
		*items++ = move->place;
}

/* Take back what an earlier khd saved. */
void kh_place_restore(struct kh_region *region, const struct kh_place *items, uint64_t count)
{
	struct kh_intervals unused = { 0 };
	uint32_t i;

	for (; count--; items++) {
		if (items->start >= items->end || items->end > region->units)
			continue;
		if (items->state == KH_PLACE_READY)
			place_insert(region->home, items);
		else
			move_add(region, items, KH_PLACE_GIVING, NULL);
	}
	/* What this home was about to give back when its khd died. */
	kh_intervals_add(&unused, 0, region->units);
	for (i = 0; i < region->home->allocated.count; i++)
		kh_intervals_remove(&unused, region->home->allocated.items[i].start,
				    region->home->allocated.items[i].end);
	for (i = 0; i < unused.count; i++)
		kh_place_give(region, unused.items[i].start, unused.items[i].end, NULL);
	kh_intervals_free(&unused);
	if (!kh_list_empty(&region->home->moves))
		region->home->move_ns = region->owner->now;
}

void kh_place_free(struct kh_region *region)
{
	struct kh_move *move, *tmp;

	kh_list_each_safe (move, tmp, &region->home->moves, node)
		move_free(move);
	free(region->home->places);
	region->home->places = NULL;
	region->home->place_count = 0;
}
