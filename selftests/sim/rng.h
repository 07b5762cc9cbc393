/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rng.h - one stream of random numbers from a seed (splitmix64)
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 <= result < n; n must not be 0 */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

/* lo <= result <= hi */
static inline uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi)
{
	return lo + rng_below(r, hi - lo + 1);
}

/* true in @permille of 1000 cases */
static inline bool rng_chance(struct rng *r, unsigned int permille)
{
	return rng_below(r, 1000) < permille;
}

#endif /* SIM_RNG_H */
