/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * module.h - khazana.ko of one simulated machine
 *
 * The state machine of a unit is the module's own, kmod/page.c.  Around it: frames of real
 * memory, the queue of requests, attachments, explicit locks, leases, minimum residency and
 * references that outlive a zap.
 *
 * module.c  regions, queue, commands of khd
 * munit.c   one unit: transitions and what they make happen
 * muser.c   attachments, accesses and locks of processes
 */
#ifndef SIM_MODULE_H
#define SIM_MODULE_H

#include "kmod/page.h"
#include "sim.h"

#define MODULE_FRAMES 512 /* of 4 KiB */
#define MODULE_LEASES 8
#define MODULE_ATTS 64
#define MODULE_LOCKS 16
#define MODULE_FLUSHES 8

struct proc;
struct munit;
struct mregion;

/* A process that waits for a unit, or for another context's lock (unit NULL). */
struct waiter {
	struct waiter *next;
	struct proc *proc;
	struct munit *unit;
	uint32_t want, flags; /* KHAZANA_REQF_* of what it waits for */
	int error; /* how the wait ended */
	bool waiting;
};

/* An attachment: an open file bound to a region, the context of locks. */
struct att {
	bool used, poisoned, pending;
	uint64_t id; /* never used twice in a history */
	uint64_t request;
	unsigned int sim_region;
	struct mregion *region;
	struct proc *proc;
	bool doomed; /* saw a version that is lost: must be told before it goes on */
	unsigned int key; /* the number of the key that it presented */
	bool key_unsure; /* which was not, or may not have been, the region's */
	bool key_old; /* and is known to have been another one's before */
	uint64_t key_serial; /* of it, as khd said */
};

/* An explicit lock; grows unit by unit until it has all. */
struct klock {
	bool used, lapsed, arbitrated;
	struct att *att;
	unsigned int lo, n, got;
	uint32_t mode;
};

/* A process that waits for units to be durable. */
struct mflush {
	bool used;
	uint64_t request, life;
	struct proc *proc;
	struct mregion *region;
	unsigned int lo, n;
	size_t number; /* the oracle's */
};

/* A REVOKE that could not end at once. */
struct mrevoke {
	struct mrevoke *next;
	struct khazana_cmd cmd;
	unsigned int pending;
	bool silent; /* its khd is dead, or it was answered at once */
};

/* One unit's part in it. */
struct mrevoke_part {
	struct mrevoke_part *next;
	struct mrevoke *whole;
};

struct munit {
	struct kz_page page;
	struct mregion *region;
	unsigned int index;
	bool exists;
	int frame, handoff; /* frame number or -1 */
	uint64_t request; /* pending at khd, 0 if none */
	uint64_t asked; /* when the last one was made */
	uint64_t failed; /* when the last one was made that failed */
	uint32_t request_flags;
	uint64_t request_serial; /* of the key by which it may be OVERWRITE */
	struct waiter *waiters;
	struct mrevoke_part *revokes; /* that wait for the end of one */
	bool delayed; /* by minimum residency: @revoke is still to come */
	struct kz_page_event revoke;
	uint64_t resident_until, refs_until;
	uint64_t tenure_token; /* of the WRITE right under which the last store was */
	uint64_t since; /* when its right was given last */
	bool mapped; /* some process touched it since it was granted */
	bool mark; /* khd wants to hear when one does */
	const void *data; /* that a COMMIT brings */
};

struct mregion {
	struct module *module;
	bool used;
	uint32_t handle;
	struct khazana_addr addr;
	uint64_t length, generation, floor;
	uint64_t pruned_floor; /* no record that went had a higher one */
	uint32_t unit_shift, lease, wait_ms, residency_us, flags;
	uint64_t key_serial; /* of the key that opens it now; only rises */
	unsigned int sim_region, attached;
	struct munit units[SIM_UNITS_MAX];
};

struct mlease {
	uint32_t id;
	uint64_t end; /* CLOCK_BOOTTIME */
	bool live; /* rights under it are not zapped yet */
};

struct mrequest {
	struct mrequest *next;
	struct khazana_request req;
};

struct module {
	struct sim *sim;
	struct host *host;
	bool registered;
	unsigned char *memory;
	bool frame_used[MODULE_FRAMES];
	unsigned int frames_in_use, frames_max; /* 0: no limit */
	uint64_t pressure_at; /* last notice of it */
	struct mregion regions[SIM_REGIONS];
	struct mlease leases[MODULE_LEASES];
	struct att atts[MODULE_ATTS];
	struct klock locks[MODULE_LOCKS];
	struct mflush flushes[MODULE_FLUSHES];
	struct waiter *lock_waiters;
	struct mrequest *queue, **queue_tail;
	struct mrevoke *revokes;
	uint64_t next_request;
};

/* module.c */
struct module *module_create(struct host *host);
void module_destroy(struct module *m);
void module_register(struct module *m);
void module_unregister(struct module *m);
bool module_fetch(struct module *m, struct khazana_request *req);
void module_command(struct module *m, struct khazana_cmd *cmds, unsigned int n);
void module_frame_read(struct module *m, uint32_t frame);
void *module_frame(struct module *m, uint32_t frame, size_t len);
uint64_t module_queue(struct module *m, const struct khazana_request *req);
void module_unqueue(struct module *m, uint64_t id);
struct mregion *module_region(struct module *m, uint32_t handle);
struct mregion *module_region_of(struct module *m, unsigned int sim_region);
bool module_lease_valid(const struct mregion *r);
void module_expire(struct module *m, struct mlease *lease);
int module_region_number(struct module *m, uint32_t handle);

/* munit.c */
int munit_step(struct munit *u, const struct kz_page_event *ev);
void munit_init(struct munit *u, struct mregion *r, unsigned int index);
void munit_make(struct munit *u);
void munit_free(struct munit *u);
void munit_fill(struct munit *u, struct khazana_cmd *cmd);
void munit_meanwhile(struct munit *u);
int munit_frame(struct munit *u, uint32_t flags);
unsigned int module_reclaim(struct module *m);
int munit_revoke(struct munit *u, struct mrevoke *whole);
void munit_commit(struct munit *u, struct khazana_cmd *cmd);
void munit_wake(struct munit *u, int error);
void munit_describe(const struct munit *u, struct khazana_request *req);
bool munit_key_is_old(const struct munit *u);
bool munit_readable(const struct munit *u);
unsigned char *munit_memory(const struct munit *u, int frame);

/* muser.c */
struct att *muser_attach(struct module *m, unsigned int sim_region, struct proc *proc);
void muser_detach(struct module *m, struct att *att);
bool muser_attach_end(struct module *m, uint64_t request, struct mregion *r, uint64_t key_serial,
		      int error);
int muser_key(const struct att *att);
int muser_access(struct att *att, unsigned int unit, uint32_t want, uint32_t flags,
		 struct waiter *w, struct munit **out);
void muser_cancel(struct module *m, struct waiter *w);
struct klock *muser_lock_new(struct att *att, unsigned int lo, unsigned int n, uint32_t mode);
int muser_lock_go(struct klock *lock, uint32_t flags, struct waiter *w);
int muser_unlock(struct klock *lock);
void muser_locks_lapse(struct munit *u);
void muser_poison(struct mregion *r);
void muser_daemon_gone(struct module *m);

#endif /* SIM_MODULE_H */
