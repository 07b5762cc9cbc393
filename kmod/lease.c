// SPDX-License-Identifier: GPL-2.0-only
/*
 * lease.c - the end of rights, enforced whether khd lives or not
 *
 * kz_lease_valid() ends every new use @zap_ns before the end; the timer fires
 * then, and the work takes what is mapped out of all address spaces.  @zap_ns is
 * a share of the lease, or more if that took longer the last times, so that at the
 * end itself nothing is mapped.
 */
#include <linux/fs.h>
#include <linux/mm.h>

#include "alloc.h"
#include "compat.h"
#include "inject.h"
#include "instance.h"
#include "lease.h"
#include "region.h"
#include "trace.h"
#include "unit.h"
#include "worker.h"

#define KZ_ZAP_MIN_NS	(20 * NSEC_PER_MSEC)
#define KZ_ZAP_MAX_NS	(2 * NSEC_PER_SEC)
#define KZ_ZAP_SHARE	16	/* of a lease, at least: a virtual CPU may be kept waiting */

/* What one lease's end has ended. */
struct tally {
	u64 units;
	u64 dirty;
};

static void region_expire(struct kz_region *region, struct tally *tally)
{
	const struct kz_page_event expire = { .type = KZ_EV_EXPIRE };
	bool valid = false;
	struct kz_unit *unit;
	u64 index = 0;

	while (!valid && (unit = kz_unit_next(region, &index))) {
		/* A renewal that came meanwhile saves the rest. */
		if (READ_ONCE(unit->page.right) != KHAZANA_RIGHT_NONE)
			valid = kz_region_valid(region);
		if (!valid && !kz_unit_step(unit, &expire)) {
			kz_stat_inc(region->instance, KZ_STAT_EXPIRED);
			tally->units++;
			tally->dirty += READ_ONCE(unit->page.state) == KHAZANA_STATE_EXPIRED_DIRTY;
		}
		kz_unit_put(unit);
	}
}

/**
 * kz_lease_changed() - the rights of a region end with another lease from now on
 * @region: the region
 *
 * If that one is not valid, they end now: neither its end is to come, nor is that of the old one
 * theirs.  Context: may sleep; no unit's lock held.
 */
void kz_lease_changed(struct kz_region *region)
{
	struct tally tally = {};

	if (!kz_region_valid(region))
		region_expire(region, &tally);
}

/* One look at all page tables: fast, and most of the work. */
static void region_zap(struct kz_region *region)
{
	unmap_mapping_pages(region->inode->i_mapping, 0, 0, false);
}

static void lease_regions(struct kz_lease *lease, struct tally *tally)
{
	struct kz_instance *instance = lease->instance;
	struct kz_region *region;
	u32 handle = 0;

	while ((region = kz_region_next(instance, handle))) {
		handle = region->handle + 1;
		if (READ_ONCE(region->lease) == lease) {
			if (tally)
				region_expire(region, tally);
			else
				region_zap(region);
		}
		kz_region_put(region);
	}
}

static void notify(struct kz_lease *lease)
{
	struct kz_notice *notice = kz_zalloc(sizeof(*notice), GFP_KERNEL | __GFP_NOFAIL);

	notice->req.op = KHAZANA_REQ_EXPIRED;
	notice->req.unit = lease->id;
	kz_notice_post(lease->instance, notice);
}

static void lease_work(struct kthread_work *work)
{
	struct kz_lease *lease = container_of(work, struct kz_lease, work);
	u64 start = ktime_get_boottime_ns(), took;
	/* Before the end that belongs to it: a renewal that comes from here on has another one. */
	u32 sequence = smp_load_acquire(&lease->sequence);
	struct tally tally = {};

	if (kz_lease_valid(lease) || lease->done == sequence)
		return;
	kz_inject_delay(KZ_POINT_ZAP);
	lease->done = sequence;
	lease_regions(lease, NULL);
	lease_regions(lease, &tally);
	took = ktime_get_boottime_ns() - start;
	WRITE_ONCE(lease->took_ns, max(2 * took, lease->took_ns / 2));
	trace_khazana_lease(lease->id, lease->end_ns, tally.units);
	/* A renewal came in time for all? Else khd has to know what it was too late for. */
	if (!tally.units && kz_lease_valid(lease))
		return;
	kz_event_lease_expired(&lease->instance->events, lease->id, tally.units, tally.dirty);
	notify(lease);
}

static enum hrtimer_restart lease_timer(struct hrtimer *timer)
{
	struct kz_lease *lease = container_of(timer, struct kz_lease, timer);

	kthread_queue_work(kz_worker, &lease->work);
	return HRTIMER_NORESTART;
}

/**
 * kz_lease_get() - look up or make a lease
 * @instance: its lock is held
 * @id: not 0
 *
 * A new one has ended.  Return: the lease, or NULL.
 */
struct kz_lease *kz_lease_get(struct kz_instance *instance, u32 id)
{
	struct kz_lease *lease = xa_load(&instance->leases, id);

	lockdep_assert_held(&instance->lock);
	if (lease)
		return lease;
	lease = kz_zalloc(sizeof(*lease), GFP_KERNEL);
	if (!lease)
		return NULL;
	lease->instance = instance;
	lease->id = id;
	lease->zap_ns = KZ_ZAP_MIN_NS;
	kthread_init_work(&lease->work, lease_work);
	hrtimer_setup(&lease->timer, lease_timer, CLOCK_BOOTTIME, HRTIMER_MODE_ABS);
	if (xa_err(xa_store(&instance->leases, id, lease, GFP_KERNEL))) {
		kz_free(lease);
		return NULL;
	}
	return lease;
}

/**
 * kz_lease_set() - LEASE: the rights end at another time
 * @instance: the instance
 * @id: of the lease
 * @end_ns: CLOCK_BOOTTIME; an end in the past ends the rights now
 *
 * Return: 0, EINVAL (id), ESHUTDOWN, ENOMEM.
 */
int kz_lease_set(struct kz_instance *instance, u32 id, u64 end_ns)
{
	struct kz_lease *lease;
	u64 at, now = ktime_get_boottime_ns();
	int err = 0;

	if (!id)
		return -EINVAL;
	mutex_lock(&instance->lock);
	lease = instance->dead ? NULL : kz_lease_get(instance, id);
	if (!lease) {
		err = instance->dead ? -ESHUTDOWN : -ENOMEM;
		goto out;
	}
	if (end_ns > now)
		WRITE_ONCE(lease->zap_ns, clamp_t(u64, max((end_ns - now) / KZ_ZAP_SHARE,
							   lease->took_ns),
						  KZ_ZAP_MIN_NS, KZ_ZAP_MAX_NS));
	WRITE_ONCE(lease->end_ns, end_ns);
	/* Pairs with lease_work(). */
	smp_store_release(&lease->sequence, lease->sequence + 1);
	at = end_ns > lease->zap_ns ? end_ns - lease->zap_ns : 0;
	hrtimer_start(&lease->timer, ns_to_ktime(min_t(u64, at, KTIME_MAX)),
		      HRTIMER_MODE_ABS);
out:
	mutex_unlock(&instance->lock);
	return err;
}

/**
 * kz_lease_enforce() - the lease is over: be sure that its rights have ended
 * @lease: the lease
 *
 * Context: may sleep; no unit's lock held.
 */
void kz_lease_enforce(struct kz_lease *lease)
{
	kthread_queue_work(kz_worker, &lease->work);
	kthread_flush_work(&lease->work);
}

/**
 * kz_leases_stop() - the namespace goes: no timer fires any more
 * @instance: dead, without regions
 */
void kz_leases_stop(struct kz_instance *instance)
{
	struct kz_lease *lease;
	unsigned long id;

	xa_for_each(&instance->leases, id, lease) {
		hrtimer_cancel(&lease->timer);
		kthread_cancel_work_sync(&lease->work);
	}
}

/**
 * kz_leases_exit() - free the leases with their instance
 * @instance: stopped
 */
void kz_leases_exit(struct kz_instance *instance)
{
	struct kz_lease *lease;
	unsigned long id;

	xa_for_each(&instance->leases, id, lease)
		kz_free(lease);
	xa_destroy(&instance->leases);
}
