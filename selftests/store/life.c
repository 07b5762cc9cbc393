// SPDX-License-Identifier: GPL-2.0-or-later
/* life.c - random workloads */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "selftests/store/life.h"
#include "selftests/store/verify.h"

#define TRIES 8 /* to find a unit in the state that is wanted */

/*
 * Most stores are small, so that they are nearly full, slots are used again at once, and the log
 * goes round; the last has every kind of unit up to the largest.
 */
static const struct life_profile profiles[] = {
	{ "small", 65536, 65536, 720896, { 12, 9, 12, 9 }, { 24, 24, 12, 12 }, 4, 512 },
	{ "mixed", 131072, 65536, 2162688, { 9, 12, 13, 16, 12 }, { 16, 20, 12, 6, 16 }, 5, 512 },
	{ "tight", 65536, 65536, 458752, { 12, 12, 11, 10 }, { 12, 10, 16, 16 }, 4, 512 },
	{ "large", 2199552, 262144, 26738688, { 21, 20, 16, 12, 9 }, { 2, 3, 8, 12, 12 }, 5, 512 },
};

#define PROFILES (sizeof(profiles) / sizeof(profiles[0]))

/* Of disks with larger sectors, which every fourth seed has: a slot of 4 KiB takes 8. */
static const struct life_profile sector_profiles[] = {
	{ "4096", 131072, 65536, 1712128, { 12, 13, 12, 16 }, { 24, 12, 12, 3 }, 4, 4096 },
	{ "4096 tight", 65536, 65536, 729088, { 12, 12, 13, 12 }, { 12, 10, 6, 16 }, 4, 4096 },
};

const struct life_profile *life_profile(uint64_t seed)
{
	if (seed % 4 == 2)
		return &sector_profiles[(seed / 4 + seed / 8) % 2]; /* each with both disks */
	/* The large one costs the most and shows the least. */
	return seed % 16 == 15 ? &profiles[PROFILES - 1] : &profiles[seed % (PROFILES - 1)];
}

/* One with larger sectors writes them at once, or it may be torn at 512 all the same. */
struct disk_sim *life_disk(const struct life_profile *p, uint64_t seed)
{
	struct disk_sim *sim = disk_sim_new(seed);

	if (p->sector > KHD_SECTOR)
		disk_sim_sectors(sim, p->sector, seed % 8 == 2 ? p->sector : KHD_SECTOR);
	return sim;
}

void life_config(const struct life_profile *p, uint64_t seed, struct khd_store_config *config)
{
	memset(config, 0, sizeof(*config));
	config->capacity = p->capacity;
	config->segment = p->segment;
	config->log = p->log;
	config->cache = 1u << 20;
	memcpy(config->uuid, &seed, sizeof(seed));
	config->uuid[15] = 1;
}

/* A random unit in @state, or -1. */
static int64_t pick(struct driver *d, struct rng *rng, enum world_state state)
{
	unsigned int i;
	uint32_t unit;

	for (i = 0; i < TRIES; i++) {
		unit = (uint32_t)rng_below(rng, d->world->unit_count);
		if (d->world->units[unit].state == state)
			return unit;
	}
	return -1;
}

/* Puts come in bursts, to units side by side, and now and then the same version comes again. */
static void put(struct driver *d, struct rng *rng)
{
	int64_t unit = pick(d, rng, WORLD_IN);
	uint32_t sync = rng_chance(rng, 600) ? KHD_STORE_SYNC : 0;
	uint32_t n = rng_chance(rng, 200) ? (uint32_t)rng_range(rng, 2, 6) : 1;

	for (; unit >= 0 && n; n--, unit++) {
		struct world_unit *u = &d->world->units[unit];
		uint64_t version = u->sent + 1;

		if (unit == d->world->unit_count || u->state != WORLD_IN)
			break;
		if (u->sent && rng_chance(rng, 60))
			version = u->sent;
		else if (u->sent > 2 && rng_chance(rng, 20))
			version = rng_range(rng, 1, u->sent - 1); /* stale, or the first to come */
		driver_store(d, (uint32_t)unit, version, sync | (n > 1 ? KHD_STORE_MORE : 0));
	}
}

static void reserve(struct driver *d, struct rng *rng)
{
	int64_t unit = pick(d, rng, WORLD_OUT);
	const struct world_place *p;
	uint32_t n, most = (uint32_t)rng_range(rng, 1, 8);

	if (unit < 0)
		return;
	p = world_place_of(d->world, (uint32_t)unit);
	for (n = 0; n < most && (uint32_t)unit + n < p->first + p->units; n++)
		if (d->world->units[(uint32_t)unit + n].state != WORLD_OUT)
			break;
	driver_reserve(d, (uint32_t)unit, n);
}

/* Some units, of one generation or of several; or the whole range. */
static void release(struct driver *d, struct rng *rng)
{
	int64_t unit = pick(d, rng, WORLD_IN);
	const struct world_place *p;
	uint32_t n, most = (uint32_t)rng_range(rng, 1, 8);

	if (unit < 0)
		return;
	p = world_place_of(d->world, (uint32_t)unit);
	n = p->first + p->units - (uint32_t)unit;
	driver_release(d, (uint32_t)unit, n < most ? n : most);
}

static void discard(struct driver *d, struct rng *rng)
{
	uint32_t i = (uint32_t)rng_below(rng, WORLD_PARKED);
	int64_t id;

	if (d->world->parked[i].state != WORLD_IN)
		return;
	id = verify_parked_id(d, i);
	if (id >= 0)
		driver_discard(d, i, (uint64_t)id);
	else if (!d->broken)
		driver_fail(d, false, "a parked unit is not in the list");
}

static void resized(struct khd_store_op *op, int error)
{
	free(op);
}

static void resize(struct driver *d, struct rng *rng)
{
	uint64_t capacity = d->config.capacity + rng_below(rng, 3) * d->config.segment;
	struct khd_store_op *op = calloc(1, sizeof(*op));

	if (!op)
		abort(); /* a test without memory tests nothing */
	op->done = resized;
	khd_store_resize(d->store, op, capacity); /* EBUSY, when it would be too small, is fine */
}

/* Closed in order and opened again: all that was done is there. */
static void reopen(struct driver *d)
{
	uint32_t i;
	int error;

	driver_close(d);
	if (driver_failed(d) || d->broken)
		return;
	for (i = 0; i < d->world->unit_count; i++)
		if (d->world->units[i].acked < d->world->units[i].done)
			d->world->units[i].acked = d->world->units[i].done;
	error = driver_open(d);
	/* a store that may not write does not open, and says what the disk said */
	if (d->tolerant && (error == EIO || (error == ENOSPC && d->sim->fault == DISK_ENOSPC &&
					     d->sim->counts.faults)))
		d->broken = true;
	else if (error)
		driver_fail(d, false, "does not open again: %d", error);
}

static void load(struct driver *d, struct rng *rng, bool data)
{
	int64_t unit = pick(d, rng, rng_chance(rng, 900) ? WORLD_IN : WORLD_OUT);

	if (unit >= 0 && d->world->units[unit].generation)
		driver_load(d, (uint32_t)unit, data);
}

static void one_call(struct driver *d, struct rng *rng)
{
	uint64_t dice = rng_below(rng, 1000);
	int64_t unit;

	if (dice < 520) {
		put(d, rng);
	} else if (dice < 620) {
		load(d, rng, true);
	} else if (dice < 650) {
		load(d, rng, false);
	} else if (dice < 700) {
		driver_flush(d);
	} else if (dice < 820) {
		reserve(d, rng);
	} else if (dice < 890) {
		release(d, rng);
	} else if (dice < 920) {
		unit = pick(d, rng, WORLD_IN);
		if (unit >= 0)
			driver_park(d, (uint32_t)unit);
	} else if (dice < 945) {
		discard(d, rng);
	} else if (dice < 970) {
		driver_tick(d, rng_chance(rng, 500) ? 31000000000ull : 1000000000ull);
	} else if (dice < 980) {
		resize(d, rng);
	} else if (dice < 988) {
		reopen(d);
	} else {
		driver_drain(d);
	}
}

/* Begin with something in it. */
static void fill(struct driver *d, struct rng *rng)
{
	uint32_t i;

	for (i = 0; i < 6 && !driver_failed(d); i++)
		reserve(d, rng);
	driver_drain(d);
}

void life_run(struct driver *d, struct rng *rng, unsigned int calls)
{
	unsigned int i, steps;

	fill(d, rng);
	for (i = 0; i < calls && !driver_failed(d) && d->store && !d->broken; i++) {
		one_call(d, rng);
		for (steps = (unsigned int)rng_below(rng, 8); steps && !driver_failed(d); steps--)
			if (d->store)
				driver_step(d);
	}
}
