// SPDX-License-Identifier: GPL-2.0-only
/*
 * lock.c - range locks between the contexts of one node
 *
 * A lock is first granted here, against the other open files of the node, in the
 * order of arrival; then it gets the right to each of its units, in ascending
 * order, and pins it, so that a REVOKE meets EBUSY until the unlock.  Rights that
 * the node holds need no khd.
 *
 * The table is one list for all regions of an instance, because a cycle of waits
 * may lead through several.
 */
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include "acquire.h"
#include "alloc.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "lock.h"
#include "region.h"
#include "unit.h"

/**
 * struct lock - a range lock
 * @node: in the table, in the order of arrival
 * @attachment: the context
 * @first: first unit
 * @last: last unit
 * @mode: enum khazana_lock_mode
 * @id: name among those of the context
 * @token: highest of the units'
 * @granted: against the other contexts
 * @held: with the rights, so UNLOCK finds it
 * @mark: seen by the search for a cycle
 * @done: completed when it is granted
 */
struct lock {
	struct list_head node;
	struct kz_attachment *attachment;
	u64 first;
	u64 last;
	u32 mode;
	u64 id;
	u64 token;
	bool granted;
	bool held;
	bool mark;
	struct completion done;
};

static struct kz_instance *lock_instance(const struct lock *lock)
{
	return lock->attachment->region->instance;
}

static u32 lock_right(const struct lock *lock)
{
	return lock->mode == KHAZANA_LOCK_READ ? KHAZANA_RIGHT_READ : KHAZANA_RIGHT_WRITE;
}

static bool overlaps(const struct lock *a, const struct lock *b)
{
	return a->attachment->region == b->attachment->region &&
	       a->first <= b->last && b->first <= a->last;
}

static bool conflicts(const struct lock *a, const struct lock *b)
{
	return a->attachment != b->attachment && overlaps(a, b) &&
	       (a->mode != KHAZANA_LOCK_READ || b->mode != KHAZANA_LOCK_READ);
}

/* Does the context of @lock hold a part of the range already? Then it does not queue up. */
static bool holds_part(struct list_head *table, const struct lock *lock)
{
	const struct lock *other;

	list_for_each_entry(other, table, node)
		if (other->granted && other->attachment == lock->attachment &&
		    overlaps(other, lock))
			return true;
	return false;
}

/* The next lock after @other that @lock has to wait for, or NULL. */
static struct lock *next_blocker(struct list_head *table, const struct lock *lock,
				 struct lock *other, bool part)
{
	bool earlier = true;
	struct lock *it;
	bool found = !other;

	list_for_each_entry(it, table, node) {
		if (it == lock)
			earlier = false;
		else if (found && conflicts(it, lock) && (it->granted || (earlier && !part)))
			return it;
		if (it == other)
			found = true;
	}
	return NULL;
}

static bool blocked(struct list_head *table, const struct lock *lock)
{
	return next_blocker(table, lock, NULL, holds_part(table, lock));
}

/* Does anybody for whom @lock would wait, wait for its context? */
static bool closes_cycle(struct list_head *table, struct lock *lock)
{
	struct lock *it, *blocker;
	bool more = true;

	list_for_each_entry(it, table, node)
		it->mark = false;
	lock->mark = true;
	/* Marks spread from a waiting lock to the waiting locks of those who block it. */
	while (more) {
		more = false;
		list_for_each_entry(it, table, node) {
			bool part;

			if (!it->mark || it->granted)
				continue;
			part = holds_part(table, it);
			blocker = NULL;
			while ((blocker = next_blocker(table, it, blocker, part))) {
				struct lock *waiting;

				if (blocker->attachment == lock->attachment && it != lock)
					return true;
				list_for_each_entry(waiting, table, node) {
					if (waiting->attachment == blocker->attachment &&
					    !waiting->granted && !waiting->mark) {
						waiting->mark = true;
						more = true;
					}
				}
			}
		}
	}
	return false;
}

/* A lock has gone: who can be granted now? */
static void grant_others(struct list_head *table)
{
	struct lock *it;

	list_for_each_entry(it, table, node) {
		if (!it->granted && !blocked(table, it)) {
			it->granted = true;
			complete(&it->done);
		}
	}
}

static void table_del(struct lock *lock)
{
	struct kz_instance *instance = lock_instance(lock);

	mutex_lock(&instance->lock_table.lock);
	list_del(&lock->node);
	grant_others(&instance->lock_table.locks);
	mutex_unlock(&instance->lock_table.lock);
}

/* Enter the table and wait for the other contexts. */
static int table_add(struct lock *lock, bool try, unsigned long limit)
{
	struct kz_instance *instance = lock_instance(lock);
	struct list_head *table = &instance->lock_table.locks;
	long left = (long)(limit - jiffies);
	int err = 0;

	mutex_lock(&instance->lock_table.lock);
	list_add_tail(&lock->node, table);
	lock->granted = !blocked(table, lock);
	if (!lock->granted)
		err = try ? -EAGAIN : closes_cycle(table, lock) ? -EDEADLK : -EINPROGRESS;
	if (err && err != -EINPROGRESS)
		list_del(&lock->node);
	mutex_unlock(&instance->lock_table.lock);
	if (err == -EDEADLK)
		kz_stat_inc(instance, KZ_STAT_DEADLOCKS);
	if (err != -EINPROGRESS)
		return err;
	left = wait_for_completion_interruptible_timeout(&lock->done, max(left, 1L));
	if (left > 0 && lock->granted)
		return 0;
	table_del(lock);
	if (left > 0)
		return kz_attachment_check(lock->attachment) ?: -EIO;
	return left ? -EINTR : -ETIMEDOUT;
}

/* Give the pins of the first @count units back; true if a right was lost meanwhile. */
static bool units_unpin(struct lock *lock, u64 count)
{
	const struct kz_page_event event = { .type = KZ_EV_UNLOCK, .right = lock_right(lock) };
	struct kz_region *region = lock->attachment->region;
	bool lost = false;
	u64 i;

	for (i = 0; i < count; i++) {
		struct kz_unit *unit = kz_unit_find(region, lock->first + i);
		u32 act = 0;

		if (WARN_ON_ONCE(!unit))
			continue;
		spin_lock(&unit->lock);
		lost |= unit->page.right < lock_right(lock) || unit->page.token > lock->token;
		kz_page_step(&unit->page, &event, &act);
		kz_reclaim_update(unit);
		spin_unlock(&unit->lock);
		kz_unit_finish(unit, act);
		kz_unit_put(unit);
		cond_resched();
	}
	return lost || !kz_region_valid(region);
}

/* Ask for all units at once: khd sees runs of them, not one after the other. */
static int units_request(struct lock *lock, u32 req_flags)
{
	struct kz_region *region = lock->attachment->region;
	struct kz_acquire acquire;
	int err = 0;
	u64 i;

	for (i = lock->first; i <= lock->last; i++) {
		struct kz_unit *unit = kz_unit_get(region, i);

		if (IS_ERR(unit)) {
			err = PTR_ERR(unit);
			break;
		}
		kz_acquire_init(&acquire, unit, lock_right(lock), req_flags, 0);
		acquire.key_serial = lock->attachment->key_serial;
		acquire.quiet = true;
		err = kz_acquire_request(&acquire);
		kz_unit_put(unit);
		if (err && err != -EINPROGRESS) {
			err = kz_frame_errno(err);
			break;
		}
		err = 0;
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		cond_resched();
	}
	kz_queue_kick(region->instance);
	return err;
}

static int unit_pin(struct lock *lock, u64 index, u32 req_flags, unsigned long limit)
{
	const struct kz_page_event event = { .type = KZ_EV_LOCK, .right = lock_right(lock) };
	struct kz_unit *unit = kz_unit_get(lock->attachment->region, index);
	struct kz_acquire acquire;
	u32 act;
	int err;

	if (IS_ERR(unit))
		return PTR_ERR(unit);
	kz_acquire_init(&acquire, unit, lock_right(lock), req_flags, 0);
	acquire.key_serial = lock->attachment->key_serial;
	acquire.limit = limit;
	acquire.state = TASK_INTERRUPTIBLE;
	do {
		err = kz_attachment_key(lock->attachment) ?:
		      kz_acquire(&acquire, lock->attachment);
		if (err)
			break;
		spin_lock(&unit->lock);
		err = kz_page_step(&unit->page, &event, &act);
		if (!err) {
			lock->token = max(lock->token, unit->page.token);
			kz_reclaim_update(unit);
		}
		spin_unlock(&unit->lock);
	} while (err == -EAGAIN);
	if (!err)
		kz_unit_used(unit);
	kz_unit_put(unit);
	return err;
}

static void unit_zero(struct lock *lock, u64 index)
{
	const struct kz_page_event store = { .type = KZ_EV_STORE };
	struct kz_unit *unit = kz_unit_find(lock->attachment->region, index);
	u32 act;

	if (WARN_ON_ONCE(!unit))
		return;
	mutex_lock(&unit->mutex);
	if (unit->cur && unit->page.right == KHAZANA_RIGHT_WRITE) {
		kz_frame_lock(unit->cur);
		kz_unit_step_locked(unit, &store, &act);
		kz_frame_zero(unit->cur);
		kz_frame_unlock(unit->cur);
	}
	mutex_unlock(&unit->mutex);
	kz_unit_put(unit);
}

static int units_pin(struct lock *lock, u32 req_flags, unsigned long limit)
{
	u64 i, count = lock->last - lock->first + 1;
	int err = units_request(lock, req_flags);

	for (i = 0; !err && i < count; i++) {
		err = unit_pin(lock, lock->first + i, req_flags, limit);
		if (err)
			units_unpin(lock, i);
		cond_resched();
	}
	if (err)
		return err;
	/* The key may have been changed while it waited. */
	err = kz_attachment_key(lock->attachment);
	if (err)
		units_unpin(lock, count);
	if (err || lock->mode != KHAZANA_LOCK_OVERWRITE)
		return err;
	for (i = 0; i < count; i++)
		unit_zero(lock, lock->first + i);
	return 0;
}

static struct lock *lock_new(struct kz_attachment *attachment, const struct khazana_lock *arg)
{
	u32 shift = attachment->region->unit_shift;
	struct lock *lock;

	if (kz_inject_fail(KZ_POINT_LOCK))
		return NULL;
	lock = kz_zalloc(sizeof(*lock), GFP_KERNEL);
	if (!lock)
		return NULL;
	lock->attachment = attachment;
	lock->first = attachment->first + (arg->offset >> shift);
	lock->last = attachment->first + ((arg->offset + arg->length - 1) >> shift);
	lock->mode = arg->mode;
	lock->id = atomic64_inc_return(&attachment->lock_id);
	init_completion(&lock->done);
	return lock;
}

static int lock_check(const struct kz_attachment *attachment, const struct khazana_lock *arg)
{
	if ((arg->flags & ~KHAZANA_LOCK_TRY) || !arg->length ||
	    arg->mode < KHAZANA_LOCK_READ || arg->mode > KHAZANA_LOCK_OVERWRITE)
		return -EINVAL;
	if (arg->offset + arg->length < arg->offset)
		return -EINVAL;
	if (arg->offset >= attachment->length || arg->length > attachment->length - arg->offset)
		return -ERANGE;
	if (arg->mode != KHAZANA_LOCK_READ && (attachment->flags & KHAZANA_ATTACH_READONLY))
		return -EACCES;
	return 0;
}

/**
 * kz_lock() - KHAZANA_IOC_LOCK
 * @attachment: the context
 * @arg: in and out
 *
 * Return: 0 or an errno, see struct khazana_lock.
 */
int kz_lock(struct kz_attachment *attachment, struct khazana_lock *arg)
{
	struct kz_region *region = attachment->region;
	bool try = arg->flags & KHAZANA_LOCK_TRY;
	u32 req_flags = KHAZANA_REQF_LOCK | (try ? KHAZANA_REQF_TRY : 0);
	unsigned long limit = jiffies + msecs_to_jiffies(arg->timeout_ms ?: region->wait_ms);
	struct lock *lock;
	int err;

	err = lock_check(attachment, arg) ?: kz_attachment_key(attachment);
	if (err)
		return err;
	if (arg->mode == KHAZANA_LOCK_OVERWRITE)
		req_flags |= KHAZANA_REQF_OVERWRITE;
	lock = lock_new(attachment, arg);
	if (!lock)
		return -ENOMEM;
	err = table_add(lock, try, limit);
	if (err) {
		kz_free(lock);
		return err;
	}
	err = units_pin(lock, req_flags, limit);
	if (err) {
		table_del(lock);
		kz_free(lock);
		return err;
	}
	arg->token = lock->token;
	arg->id = lock->id;
	kz_stat_inc(region->instance, KZ_STAT_LOCKS);
	mutex_lock(&region->instance->lock_table.lock);
	lock->held = true;
	mutex_unlock(&region->instance->lock_table.lock);
	return 0;
}

/* Take a held lock out of the hands of everybody else: by id, or any for 0. */
static struct lock *lock_claim(struct kz_attachment *attachment, u64 id)
{
	struct kz_instance *instance = attachment->region->instance;
	struct lock *lock, *found = NULL;

	mutex_lock(&instance->lock_table.lock);
	list_for_each_entry(lock, &instance->lock_table.locks, node) {
		if (lock->attachment == attachment && lock->held && (!id || lock->id == id)) {
			lock->held = false;
			found = lock;
			break;
		}
	}
	mutex_unlock(&instance->lock_table.lock);
	return found;
}

static bool lock_drop(struct lock *lock)
{
	bool lost = units_unpin(lock, lock->last - lock->first + 1);

	table_del(lock);
	kz_free(lock);
	return lost;
}

/**
 * kz_unlock() - KHAZANA_IOC_UNLOCK
 * @attachment: the context
 * @arg: names the lock
 *
 * Return: 0, EINVAL, ENOENT, ESTALE (released, but a right had ended before).
 */
int kz_unlock(struct kz_attachment *attachment, struct khazana_lock *arg)
{
	struct lock *lock;

	if (arg->flags || arg->mode || !arg->id)
		return -EINVAL;
	lock = lock_claim(attachment, arg->id);
	if (!lock)
		return -ENOENT;
	return lock_drop(lock) || READ_ONCE(attachment->poisoned) ? -ESTALE : 0;
}

/**
 * kz_locks_wake() - the region is deleted: whoever waits for a lock of it gives up
 * @region: dead
 */
void kz_locks_wake(struct kz_region *region)
{
	struct kz_instance *instance = region->instance;
	struct lock *lock;

	mutex_lock(&instance->lock_table.lock);
	list_for_each_entry(lock, &instance->lock_table.locks, node)
		if (lock->attachment->region == region && !lock->granted)
			complete(&lock->done);
	mutex_unlock(&instance->lock_table.lock);
}

/**
 * kz_locks_release() - the context goes
 * @attachment: its file is closed
 */
void kz_locks_release(struct kz_attachment *attachment)
{
	struct lock *lock;

	while ((lock = lock_claim(attachment, 0)))
		lock_drop(lock);
}
