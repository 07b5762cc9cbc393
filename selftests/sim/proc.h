/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proc.h - a process of a simulated machine: one thread that loads, stores, adds and locks
 */
#ifndef SIM_PROC_H
#define SIM_PROC_H

#include "module.h"
#include "sim.h"

enum proc_state {
	PROC_THINKING, /* will begin something at a queued time */
	PROC_ATTACHING,
	PROC_WAITING, /* in a fault or a lock */
	PROC_FLUSHING, /* in fsync() */
	PROC_RETURNING, /* the access is done, the program will hear of it */
	PROC_DEAD, /* a new one will take its place, or the machine is down */
};

enum proc_phase {
	PROC_PLAIN, /* one access, no lock */
	PROC_LOCKING,
	PROC_HOLDING, /* accesses under the lock */
};

/**
 * struct proc - one process
 * @life: queued events of an earlier life are void
 * @pick: what it is about: region, unit, word, kind, argument
 * @op: the operation of the history, valid while @has_op
 * @since: when the wait began
 * @wait: tells one wait from the next
 */
struct proc {
	struct host *host;
	unsigned int index;
	uint64_t life, wait, since;
	enum proc_state state;
	enum proc_phase phase;
	struct att *atts[SIM_REGIONS];
	struct waiter waiter;
	unsigned int region, unit, word, kind;
	bool has_op;
	size_t op;
	struct klock *lock;
	uint32_t lock_flags;
	size_t lock_number;
	unsigned int left; /* accesses under the lock */
	unsigned int scan; /* units that are still to be read in a row */
};

void proc_start(struct sim *sim);
void proc_wake(struct proc *p);
void proc_attached(struct proc *p, struct att *att, int error);
void proc_flushed(struct proc *p, int error);
void proc_machine_down(struct host *host);
void proc_machine_up(struct host *host);
bool proc_all_idle(struct sim *sim);
const char *proc_waiting(struct sim *sim);

#endif /* SIM_PROC_H */
