/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lease.h - the end of rights, enforced whether khd lives or not
 */
#ifndef KZ_LEASE_H
#define KZ_LEASE_H

#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/timekeeping.h>
#include <linux/types.h>

#include "plant.h"

struct kz_instance;
struct kz_region;

/**
 * struct kz_lease - rights of some regions end together
 * @instance: which it belongs to; a lease lives as long as the instance
 * @id: chosen by khd
 * @end_ns: CLOCK_BOOTTIME; nothing may be used from then on
 * @zap_ns: how long before the end the pages are taken out
 * @took_ns: twice what that took, recently
 * @timer: fires @zap_ns before the end
 * @work: takes the pages out
 * @sequence: of @end_ns, which it is written after
 * @done: @sequence of the end for which the pages are out; only @work looks at it
 */
struct kz_lease {
	struct kz_instance *instance;
	u32 id;
	u64 end_ns;
	u64 zap_ns;
	u64 took_ns;
	struct hrtimer timer;
	struct kthread_work work;
	u32 sequence;
	u32 done;
};

/* Rights end @zap_ns early, so that the pages are out at the end itself. */
static inline bool kz_lease_valid(const struct kz_lease *lease)
{
	return ktime_get_boottime_ns() + READ_ONCE(lease->zap_ns) < READ_ONCE(lease->end_ns) ||
	       kz_planted(KZ_PLANT_LATE_LEASE);
}

struct kz_lease *kz_lease_get(struct kz_instance *instance, u32 id);
int kz_lease_set(struct kz_instance *instance, u32 id, u64 end_ns);
void kz_lease_enforce(struct kz_lease *lease);
void kz_lease_changed(struct kz_region *region);
void kz_leases_stop(struct kz_instance *instance);
void kz_leases_exit(struct kz_instance *instance);

#endif /* KZ_LEASE_H */
