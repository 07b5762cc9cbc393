// SPDX-License-Identifier: GPL-2.0-or-later
/* world.c - what a store must have: a model beside it */
#include <stdlib.h>
#include <string.h>

#include "selftests/store/world.h"

void world_init(struct world *w, const uint32_t *shifts, const uint32_t *counts, uint32_t places)
{
	uint32_t i;

	memset(w, 0, sizeof(*w));
	if (places > WORLD_PLACES)
		abort();
	for (i = 0; i < places; i++) {
		struct world_place *p = &w->places[i];

		/* Far apart, beyond 2^64, and one across a carry of the low word. */
		p->start.hi = i + 1;
		p->start.lo = i % 3 == 2 ? 0 - ((uint64_t)counts[i] / 2 << shifts[i]) :
					   (uint64_t)i << 40;
		p->shift = shifts[i];
		p->units = counts[i];
		p->first = w->unit_count;
		memset(p->tag.bytes, (int)i + 1, sizeof(p->tag.bytes));
		w->unit_count += counts[i];
		if (w->unit_count > WORLD_UNITS)
			abort();
	}
	w->place_count = places;
}

void world_copy(struct world *to, const struct world *from)
{
	memcpy(to->places, from->places, sizeof(to->places));
	memcpy(to->units, from->units, from->unit_count * sizeof(to->units[0]));
	memcpy(&to->parked, &from->parked, sizeof(*to) - offsetof(struct world, parked));
}

struct world_place *world_place_of(struct world *w, uint32_t unit)
{
	uint32_t i;

	for (i = w->place_count; i-- > 1;)
		if (unit >= w->places[i].first)
			break;
	return &w->places[i];
}

struct khazana_addr world_addr(const struct world_place *place, uint32_t index)
{
	struct khazana_addr addr = place->start;

	addr.lo += (uint64_t)index << place->shift;
	if (addr.lo < place->start.lo)
		addr.hi++;
	return addr;
}

void world_key(struct world *w, uint32_t unit, struct khd_key *key)
{
	struct world_place *p = world_place_of(w, unit);

	*key = (struct khd_key){ .addr = world_addr(p, unit - p->first),
				 .generation = w->units[unit].generation,
				 .shift = p->shift };
}

int64_t world_find(struct world *w, struct khazana_addr addr)
{
	uint32_t i;

	for (i = 0; i < w->place_count; i++) {
		struct world_place *p = &w->places[i];
		uint64_t distance = addr.lo - p->start.lo;
		uint64_t hi = addr.hi - p->start.hi - (addr.lo < p->start.lo);

		if (!hi && distance < (uint64_t)p->units << p->shift)
			return p->first + (int64_t)(distance >> p->shift);
	}
	return -1;
}

uint64_t world_token(uint64_t version)
{
	return version * 1000 + 7;
}

static uint64_t seed_of(const struct khd_key *key, uint64_t version)
{
	struct rng r = { .state = key->addr.hi };

	r.state = rng_next(&r) ^ key->addr.lo;
	r.state = rng_next(&r) ^ key->generation;
	r.state = rng_next(&r) ^ version;
	return rng_next(&r);
}

static uint64_t word(uint64_t seed, uint64_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ull ^ seed >> 7;
}

void world_fill(const struct khd_key *key, uint64_t version, void *buf)
{
	uint64_t words = (1ull << key->shift) / sizeof(uint64_t), i, seed = seed_of(key, version);
	uint64_t *to = buf;

	for (i = 0; i < words; i++)
		to[i] = version ? word(seed, i) : 0;
}

bool world_matches(const struct khd_key *key, uint64_t version, const void *buf)
{
	uint64_t words = (1ull << key->shift) / sizeof(uint64_t), i, seed = seed_of(key, version);
	const uint64_t *from = buf;
	uint64_t differs = 0;

	for (i = 0; i < words; i++)
		differs |= from[i] ^ (version ? word(seed, i) : 0);
	return !differs;
}
