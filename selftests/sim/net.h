/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * net.h - connections between the daemons of a simulated cluster
 *
 * One FIFO connection per pair.  A connection that breaks delivers a prefix of what was in
 * flight, then each end hears of it in its own time; what was behind is lost.  One direction may
 * stall (a partition, a stopped reader) and go on, as TCP does.
 */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "sim.h"

void net_create(struct sim *sim);
void net_destroy(struct sim *sim);

/* Queue a message; dropped if @from does not know a living connection to @to. */
void net_send(struct sim *sim, unsigned int from, unsigned int to, const void *head,
	      size_t head_len, const void *data, size_t data_len);

/* The connection of the pair breaks, if there is one. */
void net_break(struct sim *sim, unsigned int a, unsigned int b);

/* The daemon of @node died: all its connections break, nothing reaches it. */
void net_node_down(struct sim *sim, unsigned int node);

/* The daemon of @node reads again (started, or not stopped any more). */
void net_node_ready(struct sim *sim, unsigned int node);

/* Nothing passes from @from to @to until net_unstall(). */
void net_stall(struct sim *sim, unsigned int from, unsigned int to);
void net_unstall(struct sim *sim, unsigned int from, unsigned int to);

bool net_stalled(const struct sim *sim, unsigned int from, unsigned int to);

/* Delays of a direction are multiplied. */
void net_slow(struct sim *sim, unsigned int from, unsigned int to, unsigned int factor);

/* Is a direction stalled or slower than usual? */
bool net_hampered(const struct sim *sim, unsigned int from, unsigned int to);

/* Which connection of the pair it is. */
uint64_t net_generation(const struct sim *sim, unsigned int a, unsigned int b);

const char *net_describe(const struct sim *sim, const void *bytes, size_t len);
bool net_connected(const struct sim *sim, unsigned int a, unsigned int b);

#endif /* SIM_NET_H */
