/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify.h - is what a store has what the world says?
 */
#ifndef STORE_VERIFY_H
#define STORE_VERIFY_H

#include "selftests/store/driver.h"

/**
 * verify_open() - compare ranges, units and parked units of an open store with its world
 * @data: read the units, not only what is known of them
 *
 * The world becomes exactly what was found: nothing of it is in doubt any more.
 */
void verify_open(struct driver *d, bool data);

/**
 * verify_crash() - open what a crash left, and compare
 * @left: the disk; it is used up, but not freed
 * @world: changed as by verify_open()
 *
 * When the store was never made, it need not open, but can be made.  When its disk had failed, it
 * does not open before it was found whole, which it must be.
 */
void verify_crash(struct driver *d, struct disk_sim *left, struct world *world,
		  const struct khd_store_config *config, struct driver_why *why, bool data);

/* Every reserved unit can be written, twice, and then all that more reservations allow. */
void verify_writable(struct driver *d, struct rng *rng);

/* The id of a parked unit of the world; -1: it is not there. */
int64_t verify_parked_id(struct driver *d, uint32_t parked);

#endif /* STORE_VERIFY_H */
