/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * client.h - clients that free and allocate while processes use the region
 */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "host.h"
#include "sim.h"

void client_start(struct sim *sim);

/* The answer to an operation of a client. */
void client_reply(struct host *h, const struct host_op *op, int error);

/* Is every unit of every region allocated again? */
bool client_idle(const struct sim *sim);

#endif /* SIM_CLIENT_H */
