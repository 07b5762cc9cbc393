/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * life.h - random workloads
 */
#ifndef STORE_LIFE_H
#define STORE_LIFE_H

#include "selftests/store/driver.h"

/**
 * struct life_profile - what kind of store it is
 * @name: for messages
 * @sector: of the disk
 * @segment, @log, @capacity: of the store
 * @shifts, @counts, @places: of the world
 */
struct life_profile {
	const char *name;
	uint64_t segment, log, capacity;
	uint32_t shifts[WORLD_PLACES], counts[WORLD_PLACES], places;
	unsigned int sector;
};

/* The profile of a seed, and how many there are. */
const struct life_profile *life_profile(uint64_t seed);
/* An empty disk for it. */
struct disk_sim *life_disk(const struct life_profile *p, uint64_t seed);
void life_config(const struct life_profile *p, uint64_t seed, struct khd_store_config *config);

/* Do about @calls calls, as many at once as @rng likes; ends with some under way. */
void life_run(struct driver *d, struct rng *rng, unsigned int calls);

#endif /* STORE_LIFE_H */
