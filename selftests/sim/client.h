/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * client.h - clients that free, allocate and change keys while processes use the region
 */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "host.h"
#include "sim.h"

void client_start(struct sim *sim);

/* The answer to an operation of a client. */
void client_reply(struct host *h, const struct host_op *op, int error);

/* Somebody waits to overwrite: the key may be changed just now. */
void client_hurry(struct sim *sim, unsigned int region);

/* Is every unit of every region allocated again, and no key half changed? */
bool client_idle(const struct sim *sim);

#endif /* SIM_CLIENT_H */
