// SPDX-License-Identifier: GPL-2.0-only
/*
 * unit.c - a unit: its record, its frames, and what a transition does to them
 *
 * Lock order:
 *
 *   instance->lock
 *     unit->mutex                 commands; held over the zap
 *       region->lock              attachments
 *       page locks, ascending     installation in page tables against zap
 *         i_mmap_rwsem, ptl       by unmap_mapping_pages(), folio_mkclean()
 *         unit->lock              the record
 *           queue->lock, reclaim->lock, unit->wait.lock
 *
 * mmap_lock is outside page locks and is never taken inside any of these.  A
 * fault takes no mutex: it makes FAULT, FRAME and STORE transitions under unit->lock,
 * and installs a page under its page lock, which a transition that unmaps holds.
 */
#include <linux/jiffies.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#include "acquire.h"
#include "alloc.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "parked.h"
#include "plant.h"
#include "region.h"
#include "trace.h"
#include "unit.h"

#define KZ_FRAME_WAIT_MS	10	/* between attempts when the limit is met */
#define KZ_PRESSURE_MS		50	/* between two notices of it */
#define KZ_RECLAIM_BATCH	32u	/* pages that reclaim frees at a time */
#define KZ_SWEEP		2	/* records that are looked at when one is made */

/**
 * kz_unit_find() - look up a unit's record
 * @region: the region, of which the caller has a reference
 * @index: number of the unit
 *
 * Return: a reference, for kz_unit_put(), or NULL if there is none.
 */
struct kz_unit *kz_unit_find(struct kz_region *region, u64 index)
{
	struct kz_unit *unit;

	rcu_read_lock();
	unit = xa_load(&region->units, index);
	if (unit && !atomic_inc_not_zero(&unit->ref))
		unit = NULL;
	rcu_read_unlock();
	return unit;
}

/**
 * kz_unit_next() - the next record
 * @region: the region, of which the caller has a reference
 * @index: in: lowest number of the unit; out: the number after the one found
 *
 * Return: a reference, for kz_unit_put(), or NULL at the end.
 */
struct kz_unit *kz_unit_next(struct kz_region *region, u64 *index)
{
	unsigned long at = *index;
	struct kz_unit *unit;

	rcu_read_lock();
	unit = xa_find(&region->units, &at, ULONG_MAX, XA_PRESENT);
	while (unit && !atomic_inc_not_zero(&unit->ref))
		unit = xa_find_after(&region->units, &at, ULONG_MAX, XA_PRESENT);
	rcu_read_unlock();
	*index = (u64)at + 1;
	return unit;
}

static struct kz_unit *unit_new(struct kz_region *region, u64 index)
{
	struct kz_unit *unit;

	if (kz_inject_fail(KZ_POINT_UNIT))
		return NULL;
	unit = kz_zalloc(sizeof(*unit), GFP_KERNEL);
	if (!unit)
		return NULL;
	spin_lock_init(&unit->lock);
	mutex_init(&unit->mutex);
	init_waitqueue_head(&unit->wait);
	INIT_LIST_HEAD(&unit->qnode);
	INIT_LIST_HEAD(&unit->lru);
	unit->region = region;
	unit->index = index;
	return unit;
}

/*
 * Enter a record into the table.  Until its reference is there nobody can use it, so that
 * its floor is the one at this moment.  Return: NULL, the other record that is there, or an
 * error of the table.
 */
static struct kz_unit *unit_enter(struct kz_unit *unit)
{
	struct kz_region *region = unit->region;
	struct kz_unit *old;

	xa_lock(&region->units);
	old = __xa_cmpxchg(&region->units, unit->index, NULL, unit, GFP_KERNEL);
	if (!old) {
		kz_page_init(&unit->page, kz_region_floor(region, unit->index));
		atomic_set_release(&unit->ref, 2);
	}
	xa_unlock(&region->units);
	return old;
}

/* A record that could not go when it was put may go by now. */
static void units_sweep(struct kz_region *region)
{
	u64 at = READ_ONCE(region->sweep);
	struct kz_unit *unit;
	int i;

	for (i = 0; i < KZ_SWEEP; i++) {
		unit = kz_unit_next(region, &at);
		if (!unit)
			at = 0;
		else
			kz_unit_put(unit);
	}
	WRITE_ONCE(region->sweep, at);
}

/**
 * kz_unit_get() - look up or make a unit's record
 * @region: the region, of which the caller has a reference
 * @index: number of the unit, below the region's units_max
 *
 * Context: may sleep.  Return: a reference, for kz_unit_put(), or ERR_PTR(-ENOMEM).
 */
struct kz_unit *kz_unit_get(struct kz_region *region, u64 index)
{
	struct kz_unit *unit = kz_unit_find(region, index);
	struct kz_unit *new, *old;

	if (likely(unit))
		return unit;
	units_sweep(region);
	new = unit_new(region, index);
	if (!new)
		return ERR_PTR(-ENOMEM);
	while (!unit) {
		old = unit_enter(new);
		if (!old)
			return new;
		if (xa_is_err(old)) {
			unit = ERR_PTR(-ENOMEM);
			break;
		}
		/* Another one, unless it is about to go: then it is gone in a moment. */
		unit = kz_unit_find(region, index);
		cpu_relax();
	}
	mutex_destroy(&new->mutex);
	kz_free(new);
	return unit;
}

/* Nothing to remember but the floor, neither for khd nor for a fault that comes back. */
static bool unit_blank(const struct kz_unit *unit)
{
	return kz_page_blank(&unit->page) && !kz_unit_error(unit);
}

/* Nobody uses the record and it says nothing: its floor stays. */
static void unit_prune(struct kz_unit *unit)
{
	struct kz_region *region = unit->region;
	bool gone;

	spin_lock(&unit->lock);
	gone = unit_blank(unit) && atomic_cmpxchg(&unit->ref, 1, 0) == 1;
	if (gone) {
		u64 *floor = &region->floors[unit->index & region->floors_mask];

		xa_lock(&region->units);
		if (!kz_planted(KZ_PLANT_FORGET_FLOOR))
			*floor = max(*floor, unit->page.floor);
		__xa_erase(&region->units, unit->index);
		xa_unlock(&region->units);
	}
	spin_unlock(&unit->lock);
	if (!gone)
		return;
	mutex_destroy(&unit->mutex);
	kz_free_rcu(unit, rcu);
}

/**
 * kz_unit_put() - give back a reference
 * @unit: the unit; the caller has a reference of its region, and none of the unit's locks
 *
 * The last user of a blank record removes it.  Its floor is kept in a table of the region,
 * in which several units share a place, so that their floors only rise: nothing that was refused
 * with the record is accepted without it.  What is wrongly refused then is what the
 * home had granted before the floor's own token, to somebody who did not wait with a record; its
 * khd asks again, with one (Documentation/protocol.rst, "Floors without a record").
 */
void kz_unit_put(struct kz_unit *unit)
{
	/* Keeps the record while it is looked at. */
	rcu_read_lock();
	if (atomic_dec_return(&unit->ref) == 1 && unit_blank(unit))
		unit_prune(unit);
	rcu_read_unlock();
}

/**
 * kz_unit_free() - free a unit with its region
 * @unit: nobody uses it
 */
void kz_unit_free(struct kz_unit *unit)
{
	struct kz_frames *frames = &unit->region->instance->frames;

	kz_reclaim_forget(unit);
	spin_lock(&unit->lock);
	kz_queue_unit_cancel(unit);
	spin_unlock(&unit->lock);
	kz_frame_free(frames, unit->cur);
	kz_frame_free(frames, unit->handoff);
	mutex_destroy(&unit->mutex);
	if (!kz_planted(KZ_PLANT_LEAK_RECORD))
		kz_free(unit);
}

/*
 * Tell khd that frames are short, so that it has some made droppable.  A notice may be lost, and
 * what it leads to too: who waits tells again.
 */
static void tell_pressure(struct kz_unit *unit, bool waits)
{
	struct kz_reclaim *reclaim = &unit->region->instance->reclaim;
	unsigned long next = READ_ONCE(reclaim->pressure);

	if (time_before(jiffies, next) ||
	    cmpxchg(&reclaim->pressure, next, jiffies + msecs_to_jiffies(KZ_PRESSURE_MS)) != next)
		return;
	kz_notice_hint(unit->region, KHAZANA_REQ_PRESSURE, unit->index, waits, 0);
}

/* Nobody waits yet, but soon somebody will, unless khd does something. */
static bool frames_short(const struct kz_instance *instance)
{
	return kz_frames_few(&instance->frames, 1) &&
	       READ_ONCE(instance->reclaim.pages) < READ_ONCE(instance->frames.max) / KZ_FEW_PART;
}

/**
 * kz_unit_alloc_frame() - a frame for a unit, making room if need be
 * @unit: none of its locks is held, but its mutex may be without @data
 * @data: as for kz_frame_alloc()
 *
 * Context: may sleep.  Return: the frame, or ERR_PTR(-ENOMEM) if there is no memory at this moment,
 * ERR_PTR(-ENOSPC) if the limit of frames stood in the way for as long as the region waits,
 * ERR_PTR(-EFAULT).
 */
struct kz_frame *kz_unit_alloc_frame(struct kz_unit *unit, const void __user *data)
{
	struct kz_region *region = unit->region;
	struct kz_instance *instance = region->instance;
	u32 count = kz_region_pages(region), left = region->wait_ms / KZ_FRAME_WAIT_MS;
	struct kz_frame *frame;
	bool told = false;

	for (;;) {
		frame = kz_frame_alloc(&instance->frames, unit, data);
		if (PTR_ERR_OR_ZERO(frame) != -ENOSPC) {
			if (kz_frames_few(&instance->frames, 1))
				kz_reclaim_age(instance);
			if (frames_short(instance))
				tell_pressure(unit, false);
			return frame;
		}
		if (kz_reclaim_run(instance, max(count, KZ_RECLAIM_BATCH)))
			continue;
		if (!told) {
			told = true;
			kz_stat_inc(instance, KZ_STAT_NO_FRAME);
			kz_event_frames_exhausted(&instance->events,
						  READ_ONCE(instance->frames.max));
		}
		tell_pressure(unit, true);
		/* khd itself must not wait for what only khd can give. */
		if (!left-- || READ_ONCE(region->dead) || fatal_signal_pending(current) ||
		    READ_ONCE(instance->queue.tgid) == current->tgid)
			return frame;
		schedule_timeout_killable(msecs_to_jiffies(KZ_FRAME_WAIT_MS));
	}
}

/* Frames that a transition has taken out of their slots. */
struct dead {
	struct kz_frame *frame[4];
	u32 count;
	struct kz_frame *parked;
};

/* Move frames between slots as the transition says. */
static void apply_frames(struct kz_unit *unit, u32 act, struct dead *dead)
{
	lockdep_assert_held(&unit->lock);
	if (act & KZ_ACT_PARK)
		swap(dead->parked, unit->cur);
	if (act & KZ_ACT_FREE_FRAME)
		swap(dead->frame[dead->count++], unit->cur);
	if (act & KZ_ACT_FREE_HANDOFF)
		swap(dead->frame[dead->count++], unit->handoff);
	if (act & KZ_ACT_MOVE_TO_HANDOFF)
		swap(unit->handoff, unit->cur);
	if (act & KZ_ACT_TAKE_HANDOFF)
		swap(unit->cur, unit->handoff);
}

static void apply_queue(struct kz_unit *unit, u32 act)
{
	lockdep_assert_held(&unit->lock);
	if (act & KZ_ACT_UNQUEUE)
		kz_queue_unit_cancel(unit);
	if (act & KZ_ACT_QUEUE)
		kz_queue_unit(unit);
	kz_reclaim_update(unit);
}

static void check(const struct kz_unit *unit, const struct kz_page_event *event)
{
	int broken = kz_page_check(&unit->page);

	WARN_ONCE(broken, "khazana: unit %llu: invariant %d is broken after event %u\n",
		  unit->index, broken, event->type);
}

/* May the transition end or weaken what is mapped? */
static bool event_unmaps(const struct kz_page_event *event)
{
	switch (event->type) {
	case KZ_EV_COMMIT:
		return event->flags & KHAZANA_CMDF_ZERO;
	case KZ_EV_REVOKE:
	case KZ_EV_REFS_TIMEOUT:
	case KZ_EV_EXPIRE:
	case KZ_EV_LOST:
	case KZ_EV_DROP:
		return true;
	}
	return false;
}

/* @copy: for an orphan's unit; @data: that of a COMMIT. Who is not needed is freed. */
static int step(struct kz_unit *unit, const struct kz_page_event *event, u32 *act,
		struct kz_frame *copy, struct kz_frame *data)
{
	bool unmaps = event_unmaps(event);
	struct kz_frame *frame = unit->cur;
	struct dead dead = {};
	u64 token, version;
	u8 before, right;
	int err;

	if (frame && unmaps && event->type != KZ_EV_DROP)
		kz_frame_lock(frame);
	if (copy && frame)
		kz_frame_copy(copy, frame);
	spin_lock(&unit->lock);
	before = unit->page.state;
	right = unit->page.right;
	token = unit->page.token;
	version = unit->page.version;
	err = kz_page_step(&unit->page, event, act);
	if (*act & KZ_ACT_ORPHAN) {
		dead.frame[dead.count++] = frame;
		unit->cur = copy;
		if (!copy)
			*act &= ~KZ_ACT_FREE_FRAME;
	}
	apply_frames(unit, *act, &dead);
	if (data && (*act & KZ_ACT_NEW_FRAME))
		swap(unit->cur, data);
	if (event->type == KZ_EV_COMMIT && (*act & KZ_ACT_UNQUEUE))
		kz_unit_granted(unit);
	apply_queue(unit, *act);
	check(unit, event);
	trace_khazana_unit(unit, event, before, right, err, *act);
	spin_unlock(&unit->lock);

	if (*act & (KZ_ACT_ZAP | KZ_ACT_MKCLEAN))
		kz_inject_delay(KZ_POINT_ZAP);
	if (event->type == KZ_EV_REVOKE && kz_planted(KZ_PLANT_SKIP_ZAP))
		;
	else if (frame && (*act & KZ_ACT_ZAP))
		kz_frame_zap(frame);
	else if (frame && (*act & KZ_ACT_MKCLEAN))
		kz_frame_mkclean(frame);
	if (*act & KZ_ACT_ZERO)
		kz_frame_zero(unit->cur);
	if (frame && unmaps)
		kz_frame_unlock(frame);
	if (copy && !(*act & KZ_ACT_ORPHAN))
		dead.frame[dead.count++] = copy;
	while (dead.count--)
		kz_frame_free(&unit->region->instance->frames, dead.frame[dead.count]);
	if (dead.parked)
		kz_parked_add(unit, dead.parked, token, version);
	kz_frame_free(&unit->region->instance->frames, data);
	return err;
}

/**
 * kz_unit_step_locked() - make a transition and do what it asks for
 * @unit: its mutex is held
 * @event: what happens
 * @act: out: for kz_unit_finish()
 *
 * Context: may sleep.  Return: as kz_page_step(); ENOMEM: REFS_TIMEOUT without a copy.
 */
int kz_unit_step_locked(struct kz_unit *unit, const struct kz_page_event *event, u32 *act)
{
	struct kz_frame *copy = NULL;

	lockdep_assert_held(&unit->mutex);
	*act = 0;
	if (event->type == KZ_EV_REFS_TIMEOUT && unit->page.dispose != KZ_DISPOSE_FREE) {
		copy = kz_frame_alloc(&unit->region->instance->frames, unit, NULL);
		if (IS_ERR(copy))
			return -ENOMEM;
	}
	return step(unit, event, act, copy, NULL);
}

/**
 * kz_unit_commit_locked() - a COMMIT
 * @unit: its mutex is held
 * @event: the COMMIT
 * @data: the frame that comes with it, or NULL; freed if it is refused
 * @act: out: for kz_unit_finish()
 *
 * Context: may sleep.  Return: as kz_page_step().
 */
int kz_unit_commit_locked(struct kz_unit *unit, const struct kz_page_event *event,
			  struct kz_frame *data, u32 *act)
{
	lockdep_assert_held(&unit->mutex);
	*act = 0;
	return step(unit, event, act, NULL, data);
}

static void wake(struct kz_unit *unit)
{
	struct wait_queue_entry *first;

	/* Who queues up after this finds the transition: both look under unit->lock. */
	if (!waitqueue_active(&unit->wait))
		return;
	if (!kz_planted(KZ_PLANT_LOSE_WAKE)) {
		wake_up_all(&unit->wait);
		return;
	}
	spin_lock_irq(&unit->wait.lock);
	first = list_first_entry_or_null(&unit->wait.head, struct wait_queue_entry, entry);
	if (first)
		first->func(first, TASK_NORMAL, 0, NULL);
	spin_unlock_irq(&unit->wait.lock);
}

/**
 * kz_unit_finish() - tell those whom a transition concerns
 * @unit: none of its locks is held
 * @act: of kz_unit_step_locked(), of one or several of them
 */
void kz_unit_finish(struct kz_unit *unit, u32 act)
{
	struct kz_region *region = unit->region;

	kz_inject_delay(KZ_POINT_WAKE);
	if (act & KZ_ACT_WAKE)
		wake(unit);
	if (act & KZ_ACT_NOTIFY_UNLOCKED)
		kz_notice_must(region, KHAZANA_REQ_UNLOCKED, unit->index, 1, unit->page.token);
	if (act & KZ_ACT_QUEUE)
		kz_queue_kick(region->instance);
	if (act & KZ_ACT_ORPHAN) {
		kz_stat_inc(region->instance, KZ_STAT_ORPHANED);
		kz_event_frame_orphaned(&region->instance->events, region->handle,
					kz_region_addr(region, unit->index));
	}
	if ((act & KZ_ACT_POISON) && !kz_planted(KZ_PLANT_NO_POISON)) {
		kz_event_unit_lost(&region->instance->events, region->handle,
				   kz_region_addr(region, unit->index), unit->page.token);
		kz_region_poison(region);
	}
}

/**
 * kz_unit_step() - a whole transition
 * @unit: none of its locks is held
 * @event: what happens; not one that leads to REVOKING, see revoke.c
 *
 * Context: may sleep.  Return: as kz_page_step().
 */
int kz_unit_step(struct kz_unit *unit, const struct kz_page_event *event)
{
	u32 act;
	int err;

	mutex_lock(&unit->mutex);
	err = kz_unit_step_locked(unit, event, &act);
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	return err;
}

/**
 * kz_unit_enforce() - without a lease there is no right
 * @unit: its mutex is held
 * @act: in and out: for kz_unit_finish()
 *
 * For who gives a unit a right: its lease may have ended in between, and what ends the rights then
 * have passed by.
 */
void kz_unit_enforce(struct kz_unit *unit, u32 *act)
{
	const struct kz_page_event expire = { .type = KZ_EV_EXPIRE };
	u32 more;

	lockdep_assert_held(&unit->mutex);
	if (kz_region_valid(unit->region))
		return;
	kz_unit_step_locked(unit, &expire, &more);
	*act |= more;
}

/**
 * kz_unit_drop() - reclaim drops a copy
 * @unit: none of its locks is held
 *
 * Waits for nobody.  Return: 0, or EBUSY.
 */
int kz_unit_drop(struct kz_unit *unit)
{
	const struct kz_page_event event = { .type = KZ_EV_DROP };
	struct kz_frame *frame;
	int err = -EBUSY;
	u32 act = 0;
	u64 token;

	if (!mutex_trylock(&unit->mutex))
		return -EBUSY;
	frame = unit->cur;
	token = unit->page.token;
	if (frame && kz_page_droppable(&unit->page) && kz_frame_trylock(frame)) {
		if (kz_frame_referenced(frame))
			kz_frame_unlock(frame);
		else
			err = step(unit, &event, &act, NULL, NULL);
	}
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	if (err)
		return err;
	kz_stat_inc(unit->region->instance, KZ_STAT_DROPPED);
	/* Of the right that went: by now there may be another one, which the home must not forget. */
	kz_notice_hint(unit->region, KHAZANA_REQ_DROPPED, unit->index, 1, token);
	return 0;
}

/**
 * kz_unit_set_error() - the waiters of now get an errno
 * @unit: its lock is held; the caller wakes them
 * @error: negative errno
 *
 * A thread that waits in a fault returns to its caller first and faults again: it
 * finds the error for one to two seconds.
 */
void kz_unit_set_error(struct kz_unit *unit, int error)
{
	lockdep_assert_held(&unit->lock);
	unit->fail_seq++;
	unit->error = error;
	/* Later on 32 bits mean the future again: of jiffies after 99 days, of these after 68 years. */
	unit->error_until = ktime_get_seconds() + KZ_ERROR_S;
}

/**
 * kz_unit_fail() - FAIL of the unit's request
 * @unit: none of its locks is held
 * @request: id that is answered, 0 for whatever is pending
 * @error: negative errno for the waiters, or 0 to wake them only
 *
 * Return: 0, EALREADY.
 */
int kz_unit_fail(struct kz_unit *unit, u64 request, int error)
{
	const struct kz_page_event event = { .type = KZ_EV_FAIL };
	u32 act = 0;
	int err = -EALREADY;

	mutex_lock(&unit->mutex);
	if (!request || READ_ONCE(unit->req_id) == request) {
		if (error) {
			spin_lock(&unit->lock);
			kz_unit_set_error(unit, error);
			spin_unlock(&unit->lock);
		}
		err = kz_unit_step_locked(unit, &event, &act);
	}
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	return err;
}

/**
 * kz_unit_frame() - have a frame to receive into
 * @unit: its mutex is held
 * @flags: KHAZANA_CMDF_TRY
 *
 * Return: 0, EBUSY (holds a copy, or TRY and something is pending), ENOMEM.
 */
int kz_unit_frame(struct kz_unit *unit, u32 flags)
{
	const struct kz_page_event event = { .type = KZ_EV_FRAME, .flags = flags };
	struct kz_frame *frame = NULL;
	u32 act = 0;
	int err;

	lockdep_assert_held(&unit->mutex);
	if (!(READ_ONCE(unit->page.frames) & KZ_FRAME_CURRENT)) {
		frame = kz_unit_alloc_frame(unit, NULL);
		if (IS_ERR(frame))
			return kz_frame_errno(PTR_ERR(frame));
	}
	spin_lock(&unit->lock);
	/* A miss may have moved the copy to HANDOFF since. */
	err = frame || unit->cur ? kz_page_step(&unit->page, &event, &act) : -EBUSY;
	if (act & KZ_ACT_NEW_FRAME)
		swap(unit->cur, frame);
	check(unit, &event);
	spin_unlock(&unit->lock);
	kz_frame_free(&unit->region->instance->frames, frame);
	return err;
}

/**
 * kz_unit_mark_met() - somebody gets to a unit that khd has marked
 * @unit: its lock is not held
 *
 * Of a prefetched range khd marks a unit here and there, to go on when a reader gets there.
 */
void kz_unit_mark_met(struct kz_unit *unit)
{
	WRITE_ONCE(unit->mark, false);
	kz_notice_hint(unit->region, KHAZANA_REQ_TOUCHED, unit->index, 1, 0);
}

/**
 * kz_unit_kill() - the region is deleted
 * @unit: none of its locks is held
 */
void kz_unit_kill(struct kz_unit *unit)
{
	kz_unit_zap(unit);
	kz_reclaim_forget(unit);
	spin_lock(&unit->lock);
	kz_queue_unit_cancel(unit);
	spin_unlock(&unit->lock);
	wake_up_all(&unit->wait);
}

/**
 * kz_unit_zap() - take the unit out of all address spaces, whatever its right
 * @unit: none of its locks is held
 */
void kz_unit_zap(struct kz_unit *unit)
{
	struct kz_frame *frame;

	mutex_lock(&unit->mutex);
	/* A thread that faults may have another current frame any moment; none is freed meanwhile. */
	frame = READ_ONCE(unit->cur);
	if (frame) {
		kz_frame_lock(frame);
		kz_inject_delay(KZ_POINT_ZAP);
		kz_frame_zap(frame);
		kz_frame_unlock(frame);
	}
	mutex_unlock(&unit->mutex);
}
