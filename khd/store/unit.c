// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * unit.c - what RAM knows of units: all that the index does not have yet, and some that it has
 *
 * A unit is asked for (not known), dirty (newer than the index), or clean; clean ones that nobody
 * pins go when there are many.
 */
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define BUCKETS_MIN 1024u

static size_t bucket_of(const struct khd_key *key, size_t count)
{
	uint64_t h = key->addr.hi * 0x9e3779b97f4a7c15ull;

	h = (h ^ key->addr.lo >> 9) * 0x9e3779b97f4a7c15ull;
	h = (h ^ key->generation ^ (uint64_t)key->shift << 56) * 0x9e3779b97f4a7c15ull;
	return (size_t)(h >> 32) & (count - 1);
}

static bool same(const struct khd_key *a, const struct khd_key *b)
{
	return a->addr.hi == b->addr.hi && a->addr.lo == b->addr.lo &&
	       a->generation == b->generation && a->shift == b->shift;
}

int khd_units_init(struct khd_store *store)
{
	kh_list_init(&store->clean);
	kh_list_init(&store->dirty);
	store->bucket_count = BUCKETS_MIN;
	store->buckets = calloc(store->bucket_count, sizeof(*store->buckets));
	return store->buckets ? 0 : -1;
}

void khd_units_free(struct khd_store *store)
{
	size_t i;

	for (i = 0; store->buckets && i < store->bucket_count; i++)
		while (store->buckets[i]) {
			struct khd_unit *unit = store->buckets[i];

			store->buckets[i] = unit->next;
			free(unit);
		}
	free(store->buckets);
	store->buckets = NULL;
}

/* Without memory the chains grow instead. */
static void widen(struct khd_store *store)
{
	size_t count = store->bucket_count * 2, i;
	struct khd_unit **wide = calloc(count, sizeof(*wide));

	if (!wide)
		return;
	for (i = 0; i < store->bucket_count; i++)
		while (store->buckets[i]) {
			struct khd_unit *unit = store->buckets[i];
			size_t to = bucket_of(&unit->key, count);

			store->buckets[i] = unit->next;
			unit->next = wide[to];
			wide[to] = unit;
		}
	free(store->buckets);
	store->buckets = wide;
	store->bucket_count = count;
}

static void forget(struct khd_store *store, struct khd_unit *unit)
{
	struct khd_unit **at = &store->buckets[bucket_of(&unit->key, store->bucket_count)];

	while (*at != unit)
		at = &(*at)->next;
	*at = unit->next;
	store->unit_count--;
	kh_list_del(&unit->link);
	free(unit);
}

struct khd_unit *khd_unit_peek(struct khd_store *store, const struct khd_key *key)
{
	struct khd_unit *unit = store->buckets[bucket_of(key, store->bucket_count)];

	while (unit && !same(&unit->key, key))
		unit = unit->next;
	return unit;
}

struct khd_unit *khd_unit_get(struct khd_store *store, const struct khd_key *key)
{
	struct khd_unit *unit = khd_unit_peek(store, key);
	size_t at;

	if (!unit) {
		if (store->unit_count > store->bucket_count)
			widen(store);
		unit = calloc(1, sizeof(*unit));
		if (!unit)
			return NULL;
		unit->key = *key;
		kh_list_init(&unit->link);
		kh_list_init(&unit->waiters);
		at = bucket_of(key, store->bucket_count);
		unit->next = store->buckets[at];
		store->buckets[at] = unit;
		store->unit_count++;
	}
	if (!unit->pins++ && unit->known && !unit->dirty) {
		kh_list_del(&unit->link);
		store->clean_count--;
	}
	return unit;
}

void khd_unit_put(struct khd_store *store, struct khd_unit *unit)
{
	if (--unit->pins || unit->dirty)
		return;
	if (!unit->known) {
		forget(store, unit);
		return;
	}
	kh_list_add(&store->clean, &unit->link);
	store->clean_count++;
	while (store->clean_count > KHD_UNITS_CLEAN) {
		store->clean_count--;
		forget(store, kh_list_first(&store->clean, struct khd_unit, link));
	}
}

/* Of a pinned one. */
void khd_unit_dirty(struct khd_store *store, struct khd_unit *unit)
{
	unit->known = true;
	if (unit->dirty)
		return;
	unit->dirty = true;
	store->dirty_count++;
	kh_list_del(&unit->link);
	kh_list_add(&store->dirty, &unit->link);
}

/* The checkpoint has it; it is pinned by that. */
void khd_unit_clean(struct khd_store *store, struct khd_unit *unit)
{
	unit->dirty = false;
	store->dirty_count--;
	kh_list_del(&unit->link);
}
