/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - the page store of a simulated machine, and what processes ask to be durable
 *
 * What the real one promises and no more: commands end in any order, a PUT is durable when it
 * ended, one that is cut off by a crash happened or did not, never in part.  How the real one
 * keeps that promise is proven in selftests/store.
 */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "module.h"
#include "sim.h"

struct store;

void store_create(struct host *host);
void store_destroy(struct host *host);

/* A command of khd. */
void store_command(struct host *host, const struct kh_store_cmd *cmd);

/* khd died, or the machine did: what is under way happened or did not. */
void store_crash(struct host *host);

/* The contents of @unit that are durable on @host, or NULL. */
const unsigned char *store_contents(struct host *host, unsigned int region, unsigned int unit);

/* With sim_config.rot: from now on some of what is stored cannot be read, until it is put again. */
void store_rot_start(struct sim *sim);

/* Does the newest that is stored of @unit rot? */
bool store_rots(struct sim *sim, unsigned int region, unsigned int unit);

/* Is everything stored anew that a home knows to be unreadable and somebody holds? */
bool store_repaired(struct sim *sim);

/* Has @host space for @unit? */
bool store_keeps(struct host *host, unsigned int region, unsigned int unit);

/* A process asks for @n units to be durable; proc_flushed() tells the end. */
bool store_flush(struct proc *proc, unsigned int region, unsigned int lo, unsigned int n);

/* False if nobody waits for @request. */
bool store_flush_end(struct module *m, uint64_t request, int error);

/* What had been asked of the dead khd is asked of the next one. */
void store_daemon_gone(struct module *m);

#endif /* SIM_STORE_H */
