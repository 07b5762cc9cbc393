// SPDX-License-Identifier: GPL-2.0-only
/*
 * acquire.c - getting a right, by waiting for khd
 *
 * The state is checked and the request queued in one section of unit->lock, and
 * every transition that ends a request wakes under the same record.  So a
 * grant cannot slip in between, and whoever waits sees "usable", "not pending any
 * more" or a failure; it then looks again.  Threads that miss one unit share its request.
 */
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>

#include "acquire.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "region.h"
#include "revoke.h"
#include "trace.h"
#include "unit.h"

#define KZ_LOCK_TRIES		100
#define KZ_GRACE_NS		(5 * NSEC_PER_MSEC)	/* for a waiter to get its grant */
#define KZ_RESIDENCY_MIN_NS	(50 * NSEC_PER_USEC)
#define KZ_RESIDENCY_MAX_NS	(2 * NSEC_PER_MSEC)

/**
 * kz_acquire_init() - somebody wants a right
 * @acquire: filled in
 * @unit: to which unit
 * @want: enum khazana_right
 * @req_flags: KHAZANA_REQF_* of the request
 * @timeout_ms: limit of the wait, 0 for the region's
 */
void kz_acquire_init(struct kz_acquire *acquire, struct kz_unit *unit, u32 want,
		     u32 req_flags, u32 timeout_ms)
{
	acquire->unit = unit;
	acquire->state = TASK_KILLABLE;
	acquire->quiet = false;
	acquire->want = want;
	acquire->req_flags = req_flags;
	acquire->key_serial = 0;
	acquire->seq = READ_ONCE(unit->fail_seq);
	acquire->limit = jiffies + msecs_to_jiffies(timeout_ms ?: unit->region->wait_ms);
}

/* Apply a FAULT transition; a frame to receive into comes from @spare, if there is one. */
static int fault_step(struct kz_acquire *acquire, struct kz_frame **spare, u32 *act)
{
	const struct kz_page_event fault = { .type = KZ_EV_FAULT, .right = acquire->want };
	const struct kz_page_event frame = { .type = KZ_EV_FRAME };
	struct kz_unit *unit = acquire->unit;
	u32 more = 0;
	int err;

	lockdep_assert_held(&unit->lock);
	err = kz_page_step(&unit->page, &fault, act);
	if (*act & KZ_ACT_MOVE_TO_HANDOFF)
		swap(unit->handoff, unit->cur);
	if (!(*act & KZ_ACT_QUEUE))
		return err;
	if (*spare && unit->page.state == KHAZANA_STATE_FETCHING)
		kz_page_step(&unit->page, &frame, &more);
	if (more & KZ_ACT_NEW_FRAME)
		swap(unit->cur, *spare);
	/* What failed before does not concern the new request. */
	unit->error = 0;
	unit->req_flags = acquire->req_flags;
	unit->req_serial = acquire->key_serial;
	unit->queued_ns = ktime_get_boottime_ns();
	kz_queue_unit(unit);
	kz_stat_inc(unit->region->instance, unit->page.state == KHAZANA_STATE_UPGRADING ?
		    KZ_STAT_UPGRADES : KZ_STAT_MISSES);
	trace_khazana_unit(unit, &fault, KHAZANA_STATE_STABLE, unit->page.right, err, *act);
	return err;
}

/* The rights under the lease end, and this one in any case, or it would be there and of no use. */
static void lease_over(struct kz_unit *unit)
{
	struct kz_lease *lease = READ_ONCE(unit->region->lease);
	u32 act = 0;

	if (lease)
		kz_lease_enforce(lease);
	mutex_lock(&unit->mutex);
	kz_unit_enforce(unit, &act);
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
}

/**
 * kz_acquire_request() - is the right there? Else ask for it.
 * @acquire: what is wanted
 *
 * The contents come with the COMMIT, in a frame of their own; only if few are left does the miss
 * bring one.  Context: may sleep, to allocate.  Return: 0 (usable at this moment), EINPROGRESS
 * (wait), ENOMEM (at this moment), ENOSPC (the limit of frames, for as long as the region waits).
 */
int kz_acquire_request(struct kz_acquire *acquire)
{
	struct kz_unit *unit = acquire->unit;
	struct kz_frame *spare = NULL;
	u32 act = 0;
	int err;

	if (unlikely(!kz_region_valid(unit->region) && READ_ONCE(unit->page.right)))
		lease_over(unit);
	/* Where frames may have to be waited for, this thread does it: khd must not. */
	if (!READ_ONCE(unit->page.right) && READ_ONCE(unit->page.state) == KHAZANA_STATE_STABLE &&
	    (!READ_ONCE(unit->cur) || READ_ONCE(unit->page.resume)) &&
	    kz_frames_few(&unit->region->instance->frames, kz_region_pages(unit->region))) {
		spare = kz_unit_alloc_frame(unit, NULL);
		if (IS_ERR(spare))
			return PTR_ERR(spare);
	}
	spin_lock(&unit->lock);
	acquire->seq = unit->fail_seq;
	err = fault_step(acquire, &spare, &act);
	spin_unlock(&unit->lock);
	if (spare)
		kz_frame_free(&unit->region->instance->frames, spare);
	if ((act & KZ_ACT_QUEUE) && !acquire->quiet)
		kz_queue_kick(unit->region->instance);
	return err;
}

/* Is there a reason to look again? */
static bool wait_over(const struct kz_acquire *acquire)
{
	struct kz_unit *unit = acquire->unit;
	bool over;

	spin_lock(&unit->lock);
	over = kz_page_usable(&unit->page, acquire->want) ||
	       unit->page.state == KHAZANA_STATE_STABLE ||
	       unit->fail_seq != acquire->seq || READ_ONCE(unit->region->dead);
	spin_unlock(&unit->lock);
	return over;
}

static int wait_timeout(struct kz_acquire *acquire)
{
	struct kz_unit *unit = acquire->unit;
	struct kz_region *region = unit->region;

	kz_stat_inc(region->instance, KZ_STAT_TIMEOUTS);
	kz_event_wait_timeout(&region->instance->events, region->handle,
			      kz_region_addr(region, unit->index), task_tgid_nr(current),
			      region->wait_ms);
	return -ETIMEDOUT;
}

/**
 * kz_acquire_wait() - wait until there is a reason to look again
 * @acquire: what is wanted, and was asked for
 * @state: TASK_KILLABLE or TASK_INTERRUPTIBLE
 *
 * Return: 0 (look again), the errno of a failure, ETIMEDOUT, EINTR.
 */
int kz_acquire_wait(struct kz_acquire *acquire, int state)
{
	struct kz_unit *unit = acquire->unit;
	long left = (long)(acquire->limit - jiffies);

	if (left <= 0)
		return wait_timeout(acquire);
	if (state == TASK_INTERRUPTIBLE)
		left = wait_event_interruptible_timeout(unit->wait, wait_over(acquire), left);
	else
		left = wait_event_killable_timeout(unit->wait, wait_over(acquire), left);
	if (left < 0) {
		/* A signal that has a handler only interrupts: the access comes again. */
		if (fatal_signal_pending(current))
			kz_notice_cancel(unit);
		kz_stat_inc(unit->region->instance, KZ_STAT_KILLED);
		return -EINTR;
	}
	if (!left) {
		kz_notice_cancel(unit);
		return wait_timeout(acquire);
	}
	if (READ_ONCE(unit->fail_seq) != acquire->seq)
		return READ_ONCE(unit->error);
	return 0;
}

/**
 * kz_acquire() - get the right, waiting as long as it takes
 * @acquire: what is wanted
 * @attachment: for whom
 *
 * The right may be gone again when it returns.  Return: 0 or an errno.
 */
int kz_acquire(struct kz_acquire *acquire, const struct kz_attachment *attachment)
{
	int err;

	for (;;) {
		err = kz_attachment_check(attachment);
		if (err)
			return err;
		err = kz_acquire_request(acquire);
		if (err != -EINPROGRESS)
			return kz_frame_errno(err);
		err = kz_acquire_wait(acquire, acquire->state);
		if (err)
			return err;
	}
}

/* A page of the unit, if the right is there; locked only if that was possible at once. */
static struct page *page_trylock(struct kz_unit *unit, u32 want, u32 offset, bool *locked)
{
	struct page *page = NULL;

	spin_lock(&unit->lock);
	if (likely(kz_page_usable(&unit->page, want) && kz_region_valid(unit->region))) {
		page = unit->cur->page[offset];
		get_page(page);
		*locked = trylock_page(page);
		unit->referenced = true;
	}
	spin_unlock(&unit->lock);
	return page;
}

/**
 * kz_unit_page_lock() - a page of the unit, locked, if the right is there
 * @unit: the unit
 * @want: right that is needed
 * @offset: which machine page of the unit
 *
 * While the page is locked the right stays.  Whoever waits for a page lock with a
 * reference keeps a revoke from its end: so wait without one first, for the command that
 * holds it.  Context: may sleep.  Return: the page with a reference, or NULL without the right.
 */
struct page *kz_unit_page_lock(struct kz_unit *unit, u32 want, u32 offset)
{
	struct page *page;
	bool locked;
	int i;

	for (i = 0; ; i++) {
		page = page_trylock(unit, want, offset, &locked);
		if (!page || likely(locked))
			return page;
		kz_inject_delay(KZ_POINT_FAULT);
		if (i >= KZ_LOCK_TRIES) {
			lock_page(page);
			unlock_page(page);
		}
		put_page(page);
		cpu_relax();
		if (mutex_is_locked(&unit->mutex)) {
			mutex_lock(&unit->mutex);
			mutex_unlock(&unit->mutex);
		}
	}
}

/**
 * kz_unit_page_trylock() - the same, if it can be had at once
 * @unit: the unit
 * @want: right that is needed
 * @offset: which machine page of the unit
 *
 * Return: the page, locked, with a reference; or NULL.
 */
struct page *kz_unit_page_trylock(struct kz_unit *unit, u32 want, u32 offset)
{
	bool locked;
	struct page *page = page_trylock(unit, want, offset, &locked);

	if (!page || likely(locked))
		return page;
	put_page(page);
	return NULL;
}

/**
 * kz_region_page_trylock() - the same, without a reference of the unit
 * @region: the region
 * @index: number of the unit
 * @want: right that is needed
 * @offset: which machine page of the unit
 *
 * The page lock keeps the unit's frame, and so its record: kz_frame_owner() is the unit.
 * Return: the page, locked, with a reference; or NULL, also where there is no record.
 */
struct page *kz_region_page_trylock(struct kz_region *region, u64 index, u32 want, u32 offset)
{
	struct page *page = NULL;
	bool locked = false;
	struct kz_unit *unit;

	rcu_read_lock();
	unit = xa_load(&region->units, index);
	/* 0: it is not filled in yet, see unit_enter(). One that goes after this has no right. */
	if (likely(unit) && likely(atomic_read_acquire(&unit->ref)))
		page = page_trylock(unit, want, offset, &locked);
	rcu_read_unlock();
	if (!page || likely(locked))
		return page;
	put_page(page);
	return NULL;
}

/**
 * kz_acquire_page() - get the right, and a page of the unit under it
 * @acquire: what is wanted
 * @attachment: for whom
 * @offset: which machine page of the unit
 * @page: out: the page, locked, with a reference
 *
 * Return: 0 or an errno.
 */
int kz_acquire_page(struct kz_acquire *acquire, const struct kz_attachment *attachment,
		    u32 offset, struct page **page)
{
	int err;

	do {
		err = kz_acquire(acquire, attachment);
		if (err)
			return err;
		*page = kz_unit_page_lock(acquire->unit, acquire->want, offset);
	} while (!*page);
	kz_unit_touched(acquire->unit);
	return 0;
}

/**
 * kz_unit_residency() - how long a unit stays at least, without its jitter
 * @unit: the unit
 *
 * About the time of one transfer, which the instance measures, unless the region says it.
 */
u64 kz_unit_residency(const struct kz_unit *unit)
{
	const struct kz_region *region = unit->region;

	if (region->residency_ns)
		return region->residency_ns;
	return clamp_t(u64, READ_ONCE(region->instance->transfer_ns), KZ_RESIDENCY_MIN_NS,
		       KZ_RESIDENCY_MAX_NS);
}

/**
 * kz_unit_used() - a waiter has got its grant
 * @unit: the unit; a page of it is locked
 *
 * From here the residency counts, with a jitter of half of it.
 */
void kz_unit_used(struct kz_unit *unit)
{
	u64 stay;

	if (likely(!READ_ONCE(unit->fresh)))
		return;
	stay = kz_unit_residency(unit);
	stay += get_random_u32() % (u32)(stay / 2 + 1);
	spin_lock(&unit->lock);
	/* Another one may have been faster, and may even be done with it. */
	if (unit->fresh) {
		unit->fresh = false;
		unit->resident_ns = ktime_get_boottime_ns() + stay;
	}
	spin_unlock(&unit->lock);
}

/* A grant at @now: the unit stays for those who wait, and notes who it is if he is alone. */
static void stay_for_waiters(struct kz_unit *unit, u64 now)
{
	struct list_head *waiters = &unit->wait.head;
	const struct wait_queue_entry *first;
	struct task_struct *task;

	lockdep_assert_held(&unit->lock);
	spin_lock_irq(&unit->wait.lock);
	first = list_first_entry_or_null(waiters, struct wait_queue_entry, entry);
	if (first) {
		task = first->private;
		unit->fresh = true;
		unit->resident_ns = now + KZ_GRACE_NS;
		unit->resident_for = list_is_singular(waiters) ? task_pid_nr(task) : 0;
	}
	spin_unlock_irq(&unit->wait.lock);
}

/**
 * kz_unit_granted() - a COMMIT answers somebody who waits
 * @unit: its lock is held
 */
void kz_unit_granted(struct kz_unit *unit)
{
	struct kz_instance *instance = unit->region->instance;
	u64 now = ktime_get_boottime_ns(), took = now - unit->queued_ns;
	u64 mean = max_t(u64, READ_ONCE(instance->transfer_ns), KZ_RESIDENCY_MIN_NS);
	u32 us;

	lockdep_assert_held(&unit->lock);
	/* A transfer that had to wait for others says little: it may only double the mean. */
	WRITE_ONCE(instance->transfer_ns, (mean * 7 + min(took, 2 * mean)) / 8);
	/* And what it takes without that is nearer to the least. */
	us = min_t(u64, div_u64(took, NSEC_PER_USEC), U32_MAX);
	if (us > unit->took_us && unit->took_us)
		us = unit->took_us + (us - unit->took_us) / 8;
	WRITE_ONCE(unit->took_us, us);
	unit->error = 0;
	/* Who queues up after this finds the grant: both look under unit->lock. */
	if (waitqueue_active(&unit->wait))
		stay_for_waiters(unit, now);
}

/* If the unit came for thread @self alone and it has got it, it need not stay any longer. */
static void resident_done(struct kz_unit *unit, u32 self)
{
	bool over;

	/* With it a REVOKE sees either that this is over, or is there to be woken. */
	mutex_lock(&unit->mutex);
	spin_lock(&unit->lock);
	over = unit->resident_for == self && !unit->fresh;
	if (over) {
		unit->resident_ns = 0;
		unit->resident_for = 0;
	}
	spin_unlock(&unit->lock);
	if (over)
		kz_revoke_kick(unit);
	mutex_unlock(&unit->mutex);
}

/**
 * kz_units_done() - this thread has what it waited for in some units
 * @region: of which the caller has a reference
 * @first: number of the first unit
 * @count: units
 *
 * A thread that is in a system call has executed whatever missed before.  So a unit that came for
 * it alone need not stay for its minimum residency: a flush takes it back at once, and a REVOKE that
 * waits for that goes on.  In a long range nothing is looked for, since the little that is gained
 * does not matter there.  Context: may sleep.
 */
void kz_units_done(struct kz_region *region, u64 first, u64 count)
{
	const u32 self = task_pid_nr(current);
	struct kz_unit *unit;
	u64 at = first;

	if (count > KHAZANA_RANGE_UNITS_MAX)
		return;
	while (at < first + count) {
		unit = kz_unit_next(region, &at);
		if (!unit)
			break;
		if (READ_ONCE(unit->resident_for) == self && unit->index < first + count)
			resident_done(unit, self);
		kz_unit_put(unit);
	}
}
