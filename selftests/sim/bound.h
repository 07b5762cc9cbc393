/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bound.h - what nobody asks for is durable in time
 *
 * I9.  Of a unit that is kept by a store, what can be read at some moment is there within the
 * home's flush_ms and what a few messages and a disk take, if all that time the home, the place and
 * whoever has something of the unit were up and saw each other.  What is wrong with other nodes and
 * other places does not count.
 */
#ifndef SIM_BOUND_H
#define SIM_BOUND_H

#include "sim.h"

/* Look now and then from now on; only with stores. */
void bound_start(struct sim *sim);

/* Nothing is written any more: is everything durable that a store keeps, or the time for it over? */
bool bound_over(struct sim *sim);

#endif /* SIM_BOUND_H */
