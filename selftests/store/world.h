/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * world.h - what a store must have: a model beside it
 *
 * A world is a few places in the address space, each of which is reserved and released,
 * as a whole or in part, under a new generation each time.  Of every unit it is known which
 * versions may be found: from the highest that was acknowledged to the highest that was sent.  What
 * a unit holds follows from its key and version, so any byte can be checked.
 */
#ifndef STORE_WORLD_H
#define STORE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "khd/store/store.h"
#include "selftests/sim/rng.h"

#define WORLD_PLACES 12
#define WORLD_UNITS 4096
#define WORLD_PARKED 6

/* Is a unit reserved, is a unit parked? */
enum world_state {
	WORLD_OUT, /* no */
	WORLD_ENTERING, /* asked for, not acknowledged: perhaps */
	WORLD_IN, /* yes */
	WORLD_LEAVING, /* given back, not acknowledged: perhaps */
};

/**
 * struct world_unit - one unit of a place
 * @state: of its reservation
 * @generation: of that, or of the last
 * @group: reserved together: all of them or none
 * @acked: highest version that is durable for sure
 * @done: highest that was said to be stored
 * @sent: highest that was given to the store
 */
struct world_unit {
	enum world_state state;
	uint64_t generation, group;
	uint64_t acked, done, sent;
};

struct world_place {
	struct khazana_addr start;
	uint32_t shift, units;
	uint32_t first; /* its units, in struct world */
	struct khd_tag tag;
};

struct world_parked {
	enum world_state state;
	struct khd_key key;
	struct khd_meta meta; /* the token is unique */
	struct khd_tag tag;
};

/**
 * struct world - the model
 * @made: the store was formatted: it must open
 * @acks: counts what was acknowledged
 */
struct world {
	struct world_place places[WORLD_PLACES];
	struct world_unit units[WORLD_UNITS];
	struct world_parked parked[WORLD_PARKED];
	uint32_t place_count, unit_count;
	uint64_t generation, group, token, acks;
	bool made;
};

/* Places of these units: shifts[i] with counts[i] units. */
void world_init(struct world *w, const uint32_t *shifts, const uint32_t *counts, uint32_t places);

/* A copy that costs what is used. */
void world_copy(struct world *to, const struct world *from);

struct world_place *world_place_of(struct world *w, uint32_t unit);
struct khazana_addr world_addr(const struct world_place *place, uint32_t index);
void world_key(struct world *w, uint32_t unit, struct khd_key *key);
/* The unit that begins at @addr, or -1. */
int64_t world_find(struct world *w, struct khazana_addr addr);

/* The token of a version, and the bytes of a unit of a version; of version 0: zeros. */
uint64_t world_token(uint64_t version);
void world_fill(const struct khd_key *key, uint64_t version, void *buf);
bool world_matches(const struct khd_key *key, uint64_t version, const void *buf);

#endif /* STORE_WORLD_H */
