/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * instance.h - everything of one network namespace
 */
#ifndef KZ_INSTANCE_H
#define KZ_INSTANCE_H

#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/types.h>
#include <linux/xarray.h>
#include <net/net_namespace.h>

#include "event.h"
#include "frame.h"
#include "parked.h"
#include "queue.h"
#include "reclaim.h"

/* Counters, see kz_stat_name[] for their names. */
enum kz_stat {
	KZ_STAT_SETTLED,	/* faults that found their right */
	KZ_STAT_MISSES,		/* requests for a unit without a copy */
	KZ_STAT_UPGRADES,	/* requests for WRITE on a READ copy */
	KZ_STAT_COMMITS,	/* grants taken */
	KZ_STAT_REVOKES,	/* rights given back, to NONE */
	KZ_STAT_DOWNGRADES,	/* rights given back, to READ */
	KZ_STAT_RESIDENT,	/* revokes put off by the minimum residency */
	KZ_STAT_REFERENCED,	/* revokes that met a reference */
	KZ_STAT_ORPHANED,	/* frames left to the holder of a reference */
	KZ_STAT_STALE,		/* commands refused by their token */
	KZ_STAT_DROPPED,	/* copies dropped by reclaim */
	KZ_STAT_EXPIRED,	/* rights ended by a lease */
	KZ_STAT_PARKED,		/* dirty units lost and put aside */
	KZ_STAT_NOT_PARKED,	/* beyond the limit, or without memory for it */
	KZ_STAT_POISONED,	/* attachments poisoned */
	KZ_STAT_FAILED,		/* requests answered by an error */
	KZ_STAT_TIMEOUTS,	/* waits that reached their limit */
	KZ_STAT_KILLED,		/* waits ended by a signal */
	KZ_STAT_REQUESTS,	/* descriptors given to khd */
	KZ_STAT_NOTICES_LOST,	/* notices dropped, queue full or no memory */
	KZ_STAT_NO_FRAME,	/* times that the limit of frames was met */
	KZ_STAT_LOCKS,		/* range locks granted */
	KZ_STAT_DEADLOCKS,	/* range locks refused, they would have closed a cycle */
	KZ_STAT_MAX,
};

extern const char * const kz_stat_name[KZ_STAT_MAX];

struct kz_stats {
	u64 value[KZ_STAT_MAX];
};

/**
 * struct kz_instance - all state of one network namespace
 * @ref: one of the namespace, one of each open file and each asynchronous work
 * @node: among all instances
 * @dead: the namespace is gone; whoever waits gives up with ESHUTDOWN
 * @boot: random, new at each load
 * @net: the namespace; only while not @dead, under @lock
 * @user_ns: its owner, for capability checks
 * @lock: registration of khd, regions and leases coming and going; outermost
 * @regions: handle to struct kz_region; changed under @lock
 * @region_next: where the next handle is looked for
 * @leases: id to struct kz_lease; they live as long as the instance
 * @frames: initialised while there is a khd or a region
 * @queue: requests for khd
 * @events: for listeners
 * @reclaim: copies that may be dropped
 * @parked: frames with lost stores
 * @lock_table: range locks of all regions, see lock.c
 * @transfer_ns: running mean of the time from a request to its COMMIT
 * @stats: counters
 */
struct kz_instance {
	struct kref ref;
	struct list_head node;
	bool dead;
	u64 boot;
	struct net *net;
	struct user_namespace *user_ns;
	struct mutex lock;	/* outermost */
	struct xarray regions;
	u32 region_next;
	struct xarray leases;
	struct kz_frames frames;
	struct kz_queue queue;
	struct kz_events events;
	struct kz_reclaim reclaim;
	struct kz_parked_table parked;
	struct {
		struct mutex lock;	/* of @locks */
		struct list_head locks;
	} lock_table;
	u64 transfer_ns;
	struct kz_stats __percpu *stats;
};

static inline void kz_stat_inc(struct kz_instance *instance, enum kz_stat stat)
{
	this_cpu_inc(instance->stats->value[stat]);
}

struct kz_instance *kz_instance_get_current(void);
struct kz_instance *kz_instance_get_net(struct net *net);
struct kz_instance *kz_instance_next(struct kz_instance *prev);
void kz_instance_put(struct kz_instance *instance);
u64 kz_instance_stat(const struct kz_instance *instance, enum kz_stat stat);
int kz_instance_frames_get(struct kz_instance *instance);
void kz_instance_frames_trim(struct kz_instance *instance);
int kz_instance_init(void);
void kz_instance_exit(void);

#endif /* KZ_INSTANCE_H */
