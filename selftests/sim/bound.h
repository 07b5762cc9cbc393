/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bound.h - what nobody asks for is durable in time
 *
 * I9.  Of a unit that is kept by a store, what can be read at some moment is there within the
 * home's flush_ms and what a few messages and a disk take, if all that time the home, the place and
 * whoever has something of the unit were up and saw each other.  What is wrong with other nodes and
 * other places does not count.  Who was asked to send the unit to its place beside a request (R27)
 * counts until he has or the home tries again, though he may have given it away since.
 */
#ifndef SIM_BOUND_H
#define SIM_BOUND_H

#include "sim.h"

/* Look now and then from now on; only with stores. */
void bound_start(struct sim *sim);

/* A message leaves for host @to. */
void bound_sent(struct sim *sim, unsigned int to, const void *head);

/* Nothing is written any more: is everything durable that a store keeps, or the time for it over? */
bool bound_over(struct sim *sim);

#endif /* SIM_BOUND_H */
