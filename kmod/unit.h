/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * unit.h - a unit: its record, its frames, who waits for it
 */
#ifndef KZ_UNIT_H
#define KZ_UNIT_H

#include <linux/atomic.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "page.h"

struct kz_frame;
struct kz_region;
struct kz_revoke;

#define KZ_ERROR_S	2	/* a retried fault finds its error for longer than one second */

/* Where a unit's request is. */
enum kz_unit_request {
	KZ_REQUEST_NONE,
	KZ_REQUEST_QUEUED,	/* on the queue, no id yet */
	KZ_REQUEST_FETCHED,	/* khd has it, under @req_id */
};

/**
 * struct kz_unit - a unit of a region
 * @page: the record; written under @lock.  Events that end a right or change
 *	a frame also hold @mutex and, if the frame may be mapped, its page locks
 * @lock: spin lock, inside page locks
 * @mutex: one command at a time, its zap included; outside page locks
 * @region: which owns it
 * @index: number in the region
 * @cur: current frame; written under @lock
 * @handoff: frame kept in HANDOFF; written under @lock
 * @wait: threads that wait for the unit
 * @qnode: on the queue's list while QUEUED, under the queue's lock
 * @request: enum kz_unit_request; under the queue's lock
 * @req_id: id of the request that khd has; under the queue's lock
 * @req_flags: KHAZANA_REQF_* of the request; under @lock
 * @req_serial: of the key by which it may be OVERWRITE; under @lock
 * @queued_ns: when the request was made; under @lock
 * @took_us: from there to the grant: a mean that falls at once and rises slowly
 * @resident_ns: no revoke before; under @lock
 * @fresh: granted to somebody who waits and has not got it yet; under @lock
 * @referenced: used since reclaim looked last
 * @inactive: which reclaim list it is in, under that one's lock
 * @mark: khd wants to hear when somebody gets to it; a hint
 * @fail_seq: counts failures; under @lock
 * @error: negative errno of the last failure; under @lock
 * @error_until: ktime_get_seconds(), 32 bits, at which nobody finds @error any more; under @lock
 * @resident_for: thread that alone waited for the last grant that somebody waited for, 0 if several
 *	did, or when it is done; under @lock
 * @lru: in the reclaim list, under its lock
 * @revoke: a revoke that goes on; under @mutex, with a reference
 * @ref: one of the region's table, one of each user; 0 while it comes or goes
 * @rcu: frees the structure, when it is in no list any more
 *
 * There is one for each unit that the node caches. 256 bytes, without lock debugging: some more,
 * and kmalloc() would take 512.
 */
struct kz_unit {
	struct kz_page page;
	spinlock_t lock;	/* inside page locks */
	bool fresh;
	bool referenced;
	bool inactive;
	bool mark;
	struct mutex mutex;	/* outside page locks */
	struct kz_region *region;
	u64 index;
	struct kz_frame *cur;
	struct kz_frame *handoff;
	wait_queue_head_t wait;
	union {
		struct list_head qnode;
		struct rcu_head rcu;
	};
	u16 request;
	u16 req_flags;
	u32 req_serial;
	u64 req_id;
	u64 queued_ns;
	u64 resident_ns;
	u32 fail_seq;
	int error;
	u32 error_until;
	u32 resident_for;
	struct list_head lru;
	struct kz_revoke *revoke;
	u32 took_us;
	atomic_t ref;
};

static_assert(IS_ENABLED(CONFIG_DEBUG_SPINLOCK) || IS_ENABLED(CONFIG_DEBUG_MUTEXES) ||
	      IS_ENABLED(CONFIG_DEBUG_LOCK_ALLOC) || IS_ENABLED(CONFIG_PREEMPT_RT) ||
	      sizeof(struct kz_unit) <= 256);

/* A further reference of a unit that somebody, or its frame, keeps from going. */
static inline void kz_unit_hold(struct kz_unit *unit)
{
	atomic_inc(&unit->ref);
}

struct kz_unit *kz_unit_find(struct kz_region *region, u64 index);
struct kz_unit *kz_unit_get(struct kz_region *region, u64 index);
struct kz_unit *kz_unit_next(struct kz_region *region, u64 *index);
void kz_unit_put(struct kz_unit *unit);
void kz_unit_free(struct kz_unit *unit);

int kz_unit_step(struct kz_unit *unit, const struct kz_page_event *event);
int kz_unit_step_locked(struct kz_unit *unit, const struct kz_page_event *event, u32 *act);
void kz_unit_enforce(struct kz_unit *unit, u32 *act);
int kz_unit_commit_locked(struct kz_unit *unit, const struct kz_page_event *event,
			  struct kz_frame *data, u32 *act);
void kz_unit_finish(struct kz_unit *unit, u32 act);
int kz_unit_drop(struct kz_unit *unit);
int kz_unit_fail(struct kz_unit *unit, u64 request, int error);
void kz_unit_set_error(struct kz_unit *unit, int error);
int kz_unit_frame(struct kz_unit *unit, u32 flags);
void kz_unit_kill(struct kz_unit *unit);
void kz_unit_zap(struct kz_unit *unit);
void kz_unit_mark_met(struct kz_unit *unit);
struct kz_frame *kz_unit_alloc_frame(struct kz_unit *unit, const void __user *data);

/**
 * kz_unit_error() - the error that a retried fault finds
 * @unit: the unit
 *
 * Return: a negative errno, or 0.
 */
static inline int kz_unit_error(const struct kz_unit *unit)
{
	int error = READ_ONCE(unit->error);

	return error && time_before32(ktime_get_seconds(), unit->error_until) ? error : 0;
}

/**
 * kz_unit_touched() - somebody gets to a unit
 * @unit: its lock is not held
 */
static inline void kz_unit_touched(struct kz_unit *unit)
{
	if (unlikely(READ_ONCE(unit->mark)))
		kz_unit_mark_met(unit);
}

#endif /* KZ_UNIT_H */
