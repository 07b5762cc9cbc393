/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flush.c - ranges that must be durable
 *
 *   FLUSH call -> kh_flush_start(): the units of the range that may have to be stored
 *   flush_run(): some at a time: kh_unit_store() -> kh_flush_wake() -> ... -> kh_served_flushed()
 *
 * A flush covers what could be read in its range when it began: for each unit a version that was
 * taken from its holder afterwards.  It follows from the order of messages that the home knows of
 * it: whoever read a version was granted it by the home, and says DONE before it asks for the
 * flush.
 *
 * Without anybody asking, everything is flushed within the node's flush_ms: flush_pass() begins
 * what is dirty of one place.  A place, a holder or a disk that does not answer holds up its own
 * units only: each place has its passes, none for one out of reach; a unit that is put off is left
 * to the next pass, and so is all that a pass waits for when nothing comes for KH_STORE_WAIT.
 */
#include <errno.h>
#include <stdlib.h>
#include "core.h"

/* What is durable in time at the latest, whatever a disk does. */
#define FLUSH_WAIT (60000 * KH_MS)
#define LOOK_UP_MAX 4096u /* a longer range is searched through the list of dirty units */

/**
 * struct kh_flush - a range that is being made durable
 * @served: the call, NULL for what the home does by itself
 * @place: then the node whose store it is about
 * @first, @end: the units that it is about, of a call
 * @keys: those that were found, ascending; behind them such as came back since
 * @size: so many fit there
 * @next: the first that was not begun
 * @open: units under way
 * @error: the first one
 * @running: flush_run() is at work
 */
struct kh_flush {
	struct kh_list node;
	struct kh_region *region;
	struct kh_served *served;
	kh_node_id place;
	uint64_t first, end;
	uint64_t *keys;
	size_t count, size, next;
	unsigned int open;
	uint32_t error;
	bool running;
	uint64_t deadline_ns;
};

/* A flush waits for a unit until its FLUSH number @need is durable. */
struct kh_flush_wait {
	struct kh_list node;
	struct kh_flush *flush;
	uint64_t need;
};

/*
 * Is there something to store, or will there be: a WRITE that was granted may have been used?  Who
 * asks for what nobody has hears that.
 */
static bool is_wanted(const struct kh_flush *flush, const struct kh_unit *unit)
{
	const struct kh_service *s = unit->busy;

	if (!flush->served && kh_unit_unreadable(unit))
		return false;
	return !kh_unit_clean(unit) ||
	       (s && (s->grant_sent || s->confused) && s->want == KHAZANA_RIGHT_WRITE &&
		kh_place_of(unit->region, unit->node.key));
}

static void flush_end(struct kh_flush *flush)
{
	struct kh_node *node = flush->region->owner;
	struct kh_served *served = flush->served;
	uint32_t error = flush->error;

	kh_list_del(&flush->node);
	free(flush->keys);
	free(flush);
	if (served)
		kh_served_flushed(node, served, error);
}

static void flush_unit(struct kh_flush *flush, uint64_t key)
{
	struct kh_unit *unit = kh_unit_find(flush->region, key);
	struct kh_flush_wait *wait;

	if (!unit || !is_wanted(flush, unit))
		return;
	wait = kh_zalloc(sizeof(*wait));
	wait->flush = flush;
	wait->need = unit->store_number + 1;
	kh_list_add(&unit->flushers, &wait->node);
	flush->open++;
	kh_unit_store(unit);
}

/* Begin as many units as may be under way; the flush may be over afterwards. */
static void flush_run(struct kh_flush *flush)
{
	if (flush->running)
		return;
	flush->running = true;
	/* Somebody who waits hears of the first error; what the home does by itself goes on. */
	while (flush->next < flush->count && flush->open < KH_FLUSH_UNITS &&
	       !(flush->error && flush->served))
		flush_unit(flush, flush->keys[flush->next++]);
	flush->running = false;
	if (!flush->open && ((flush->error && flush->served) || flush->next == flush->count))
		flush_end(flush);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void collect(struct kh_flush *flush, uint64_t first, uint64_t end)
{
	struct kh_region *region = flush->region;
	struct kh_unit *unit;
	size_t n = 0;
	uint64_t i;

	if (end - first <= LOOK_UP_MAX) {
		flush->keys = kh_zalloc((end - first + 1) * sizeof(*flush->keys));
		for (i = first; i < end; i++) {
			unit = kh_unit_find(region, i);
			if (unit && is_wanted(flush, unit))
				flush->keys[n++] = i;
		}
	} else {
		kh_list_each (unit, &region->home->dirty, dirty_node)
			n++;
		kh_list_each (unit, &region->home->busy, busy_node)
			n++;
		flush->keys = kh_zalloc((n + 1) * sizeof(*flush->keys));
		n = 0;
		kh_list_each (unit, &region->home->dirty, dirty_node)
			if (unit->node.key >= first && unit->node.key < end &&
			    is_wanted(flush, unit))
				flush->keys[n++] = unit->node.key;
		kh_list_each (unit, &region->home->busy, busy_node)
			if (unit->node.key >= first && unit->node.key < end &&
			    kh_list_empty(&unit->dirty_node) && is_wanted(flush, unit))
				flush->keys[n++] = unit->node.key;
		qsort(flush->keys, n, sizeof(*flush->keys), compare);
	}
	flush->count = n;
}

static struct kh_flush *flush_new(struct kh_region *region, struct kh_served *served,
				  uint64_t limit_ns)
{
	struct kh_flush *flush = kh_zalloc(sizeof(*flush));

	flush->region = region;
	flush->served = served;
	flush->deadline_ns = region->owner->now + limit_ns;
	kh_arm(region->owner, flush->deadline_ns);
	kh_list_add(&region->home->flushes, &flush->node);
	kh_count(region->owner, KH_STAT_FLUSHES);
	return flush;
}

/**
 * kh_flush_start() - make what could be read of some units durable
 * @region: this node is its home
 * @first: unit
 * @end: first unit behind
 * @served: hears of the end by kh_served_flushed(), perhaps from here
 */
void kh_flush_start(struct kh_region *region, uint64_t first, uint64_t end,
		    struct kh_served *served)
{
	struct kh_flush *flush = flush_new(region, served, FLUSH_WAIT);

	flush->first = first;
	flush->end = end;
	collect(flush, first, end);
	flush->size = flush->count;
	flush_run(flush);
}

static void keys_grow(struct kh_flush *flush)
{
	uint64_t *keys;
	size_t i;

	flush->size = 2 * flush->size + 16;
	keys = kh_zalloc(flush->size * sizeof(*keys));
	for (i = 0; i < flush->count; i++)
		keys[i] = flush->keys[i];
	free(flush->keys);
	flush->keys = keys;
}

/**
 * kh_flush_back() - the home had gone back behind the unit's version, and now it is there again
 *
 * Who waits for a flush could read it when it began, and the home may have passed over it since.
 * It is begun with the next answer to the flush, which is not over while it waits for one.
 */
void kh_flush_back(struct kh_unit *unit)
{
	const uint64_t key = unit->node.key;
	struct kh_flush *flush;

	kh_list_each (flush, &unit->region->home->flushes, node) {
		if (!flush->served || key < flush->first || key >= flush->end)
			continue;
		if (flush->count == flush->size)
			keys_grow(flush);
		flush->keys[flush->count++] = key;
	}
}

static void wait_over(struct kh_flush_wait *wait, uint32_t error)
{
	struct kh_flush *flush = wait->flush;

	kh_list_del(&wait->node);
	free(wait);
	if (error && !flush->error)
		flush->error = error;
	flush->open--;
	if (!flush->served)
		flush->deadline_ns = flush->region->owner->now + KH_STORE_WAIT;
	flush_run(flush);
}

/**
 * kh_flush_wake() - a version of the unit is durable, or will not be
 */
void kh_flush_wake(struct kh_unit *unit, uint32_t error)
{
	struct kh_list woken;
	struct kh_flush_wait *wait, *tmp;

	/* A flush that goes on may come back to this unit. */
	kh_list_init(&woken);
	kh_list_each_safe (wait, tmp, &unit->flushers, node) {
		if (!error && wait->need > unit->store_safe)
			continue;
		kh_list_del(&wait->node);
		kh_list_add(&woken, &wait->node);
	}
	while (!kh_list_empty(&woken))
		wait_over(kh_list_first(&woken, struct kh_flush_wait, node), error);
}

/**
 * kh_flush_put_off() - the unit's place or its holder is out of reach: who asked waits, a pass does
 * not
 */
void kh_flush_put_off(struct kh_unit *unit)
{
	struct kh_list woken;
	struct kh_flush_wait *wait, *tmp;

	kh_list_init(&woken);
	kh_list_each_safe (wait, tmp, &unit->flushers, node) {
		if (wait->flush->served)
			continue;
		kh_list_del(&wait->node);
		kh_list_add(&woken, &wait->node);
	}
	while (!kh_list_empty(&woken))
		wait_over(kh_list_first(&woken, struct kh_flush_wait, node), 0);
}

bool kh_flush_wants(const struct kh_unit *unit)
{
	return !kh_list_empty(&unit->flushers);
}

/* The unit's record goes. */
void kh_flush_forget(struct kh_unit *unit)
{
	while (!kh_list_empty(&unit->flushers))
		wait_over(kh_list_first(&unit->flushers, struct kh_flush_wait, node), 0);
}

/* What @flush waits for goes on without it. */
static void waits_drop(struct kh_flush *flush, uint32_t error)
{
	struct kh_hash *units = &flush->region->home->units;
	struct kh_flush_wait *wait, *tmp;
	struct kh_hnode *n;

	flush->running = true;
	for (n = kh_hash_first(units); flush->open && n; n = kh_hash_next(units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);

		kh_list_each_safe (wait, tmp, &unit->flushers, node)
			if (wait->flush == flush)
				wait_over(wait, error);
	}
	flush->running = false;
}

/* Give up: nobody is told twice.  A pass goes on with other units. */
static void flush_late(struct kh_flush *flush)
{
	if (flush->served) {
		flush->error = ETIMEDOUT;
		waits_drop(flush, ETIMEDOUT);
		flush_end(flush);
		return;
	}
	flush->deadline_ns = flush->region->owner->now + KH_STORE_WAIT;
	kh_arm(flush->region->owner, flush->deadline_ns);
	waits_drop(flush, 0);
	flush_run(flush);
}

/* The region, or the node, goes. */
void kh_flush_free(struct kh_region *region)
{
	struct kh_hash *units = &region->home->units;
	struct kh_flush_wait *wait, *next;
	struct kh_flush *flush, *tmp;
	struct kh_hnode *n;

	for (n = kh_hash_first(units); n; n = kh_hash_next(units, n)) {
		kh_list_each_safe (wait, next, &kh_container(n, struct kh_unit, node)->flushers,
				   node) {
			kh_list_del(&wait->node);
			free(wait);
		}
	}
	kh_list_each_safe (flush, tmp, &region->home->flushes, node) {
		flush->error = ENOENT;
		flush_end(flush);
	}
}

/* Is there a pass that has not begun all of its units yet? */
static bool is_passing(const struct kh_region *region, kh_node_id place)
{
	bool one = kh_planted(region->owner, KH_PLANT_ONE_PASS);
	const struct kh_flush *flush;

	kh_list_each (flush, &region->home->flushes, node)
		if (!flush->served &&
		    (one || (flush->place == place && flush->next < flush->count)))
			return true;
	return false;
}

/* Whose pass units of a place go to; none if they have no place, or it cannot begin now. */
static unsigned int pass_of(struct kh_region *region, const struct kh_place *place)
{
	struct kh_node *node = region->owner;
	struct kh_peer *peer = place ? kh_peer_reach(node, place->node) : NULL;

	if (!peer || is_passing(region, peer->id))
		return KH_NODES_MAX;
	return (unsigned int)(peer - node->peers);
}

static void flush_pass(struct kh_region *region, kh_node_id place, uint64_t *keys, size_t count)
{
	struct kh_flush *flush = flush_new(region, NULL, KH_STORE_WAIT);

	flush->place = place;
	flush->keys = keys;
	flush->count = count;
	flush_run(flush);
}

/* What is done in time: R28.  One look at each dirty unit, and a pass for each place. */
static void flush_all(struct kh_region *region)
{
	struct kh_node *node = region->owner;
	struct kh_flush dirty = { .region = region };
	const struct kh_place *last = NULL;
	uint64_t *keys[KH_NODES_MAX] = { NULL };
	size_t counts[KH_NODES_MAX + 1] = { 0 }, filled[KH_NODES_MAX] = { 0 }, i;
	unsigned int pass = KH_NODES_MAX;
	uint8_t *passes;

	collect(&dirty, 0, region->units);
	passes = kh_zalloc(dirty.count + 1);
	for (i = 0; i < dirty.count; i++) {
		const struct kh_place *place = kh_place_of(region, dirty.keys[i]);

		if (place != last) /* they ascend: seldom */
			pass = pass_of(region, place);
		last = place;
		passes[i] = (uint8_t)pass;
		counts[pass]++;
	}
	for (pass = 0; pass < KH_NODES_MAX; pass++)
		if (counts[pass])
			keys[pass] = kh_zalloc(counts[pass] * sizeof(*keys[pass]));
	for (i = 0; i < dirty.count; i++)
		if (passes[i] < KH_NODES_MAX)
			keys[passes[i]][filled[passes[i]]++] = dirty.keys[i];
	free(passes);
	free(dirty.keys);
	for (pass = 0; pass < KH_NODES_MAX; pass++)
		if (keys[pass])
			flush_pass(region, node->peers[pass].id, keys[pass], filled[pass]);
}

static void region_tick(struct kh_region *region)
{
	struct kh_home *home = region->home;
	struct kh_node *node = region->owner;
	struct kh_list flushes;

	/* One that ends may end others. */
	kh_list_take(&flushes, &home->flushes);
	while (!kh_list_empty(&flushes)) {
		struct kh_flush *flush = kh_list_first(&flushes, struct kh_flush, node);

		kh_list_del(&flush->node);
		kh_list_add(&home->flushes, &flush->node);
		if (node->now >= flush->deadline_ns)
			flush_late(flush);
		else
			kh_arm(node, flush->deadline_ns);
	}
	if (home->flush_ns == KH_NEVER)
		return;
	if (node->now < home->flush_ns) {
		kh_arm(node, home->flush_ns);
		return;
	}
	home->flush_ns = KH_NEVER;
	if (kh_list_empty(&home->dirty))
		return;
	home->flush_ns = node->now + node->config.flush_ms * KH_MS;
	kh_arm(node, home->flush_ns);
	flush_all(region);
}

void kh_flush_tick(struct kh_node *node)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->home && !region->home->recovering)
			region_tick(region);
}
