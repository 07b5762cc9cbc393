// SPDX-License-Identifier: GPL-2.0-only
/*
 * instance.c - everything of one network namespace
 *
 * A namespace's instance is made with it.  Open files hold a reference, so that an
 * instance outlives its namespace; it is then dead: nobody waits in it any
 * more, and its regions are gone.
 */
#include <linux/nsproxy.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/user_namespace.h>
#include <net/netns/generic.h>

#include "alloc.h"
#include "instance.h"
#include "lease.h"
#include "region.h"

const char * const kz_stat_name[KZ_STAT_MAX] = {
	[KZ_STAT_SETTLED]	= "settled",
	[KZ_STAT_MISSES]	= "misses",
	[KZ_STAT_UPGRADES]	= "upgrades",
	[KZ_STAT_COMMITS]	= "commits",
	[KZ_STAT_REVOKES]	= "revokes",
	[KZ_STAT_DOWNGRADES]	= "downgrades",
	[KZ_STAT_RESIDENT]	= "resident",
	[KZ_STAT_REFERENCED]	= "referenced",
	[KZ_STAT_ORPHANED]	= "orphaned",
	[KZ_STAT_STALE]		= "stale",
	[KZ_STAT_DROPPED]	= "dropped",
	[KZ_STAT_EXPIRED]	= "expired",
	[KZ_STAT_PARKED]	= "parked",
	[KZ_STAT_NOT_PARKED]	= "not-parked",
	[KZ_STAT_POISONED]	= "poisoned",
	[KZ_STAT_FAILED]	= "failed",
	[KZ_STAT_TIMEOUTS]	= "timeouts",
	[KZ_STAT_KILLED]	= "killed",
	[KZ_STAT_REQUESTS]	= "requests",
	[KZ_STAT_NOTICES_LOST]	= "notices-lost",
	[KZ_STAT_NO_FRAME]	= "no-frame",
	[KZ_STAT_LOCKS]		= "locks",
	[KZ_STAT_DEADLOCKS]	= "deadlocks",
};

struct kz_net {
	struct kz_instance *instance;
};

static unsigned int kz_net_id __read_mostly;
static LIST_HEAD(instances);
static DEFINE_SPINLOCK(instances_lock);

static void instance_free(struct kref *ref)
{
	struct kz_instance *instance = container_of(ref, struct kz_instance, ref);

	spin_lock(&instances_lock);
	list_del(&instance->node);
	spin_unlock(&instances_lock);
	kz_leases_exit(instance);
	kz_queue_exit(&instance->queue);
	kz_frames_exit(&instance->frames);
	xa_destroy(&instance->regions);
	put_user_ns(instance->user_ns);
	free_percpu(instance->stats);
	mutex_destroy(&instance->lock);
	mutex_destroy(&instance->lock_table.lock);
	kz_parked_exit(&instance->parked);
	kz_free(instance);
}

static struct kz_instance *instance_new(struct net *net)
{
	struct kz_instance *instance = kz_zalloc(sizeof(*instance), GFP_KERNEL);

	if (!instance)
		return NULL;
	instance->stats = alloc_percpu(struct kz_stats);
	if (!instance->stats) {
		kz_free(instance);
		return NULL;
	}
	kref_init(&instance->ref);
	instance->boot = get_random_u64();
	instance->net = net;
	instance->user_ns = get_user_ns(net->user_ns);
	mutex_init(&instance->lock);
	xa_init_flags(&instance->regions, XA_FLAGS_ALLOC1);
	xa_init(&instance->leases);
	kz_queue_init(&instance->queue);
	kz_events_init(&instance->events, net);
	kz_reclaim_init(&instance->reclaim);
	mutex_init(&instance->lock_table.lock);
	kz_parked_init(&instance->parked);
	INIT_LIST_HEAD(&instance->lock_table.locks);
	spin_lock(&instances_lock);
	list_add_tail(&instance->node, &instances);
	spin_unlock(&instances_lock);
	return instance;
}

/**
 * kz_instance_get_net() - the instance of a namespace
 * @net: the namespace, which the caller keeps alive
 *
 * Return: a reference, or NULL if the namespace is going away.
 */
struct kz_instance *kz_instance_get_net(struct net *net)
{
	struct kz_net *kn = net_generic(net, kz_net_id);
	struct kz_instance *instance = READ_ONCE(kn->instance);

	return instance && kref_get_unless_zero(&instance->ref) ? instance : NULL;
}

/**
 * kz_instance_get_current() - the instance of the caller's namespace
 *
 * Return: a reference, or NULL.
 */
struct kz_instance *kz_instance_get_current(void)
{
	return kz_instance_get_net(current->nsproxy->net_ns);
}

/**
 * kz_instance_next() - walk over all instances
 * @prev: NULL at the start; its reference is given back
 *
 * Context: may sleep.  Return: a reference, or NULL at the end.
 */
struct kz_instance *kz_instance_next(struct kz_instance *prev)
{
	struct kz_instance *next, *found = NULL;

	spin_lock(&instances_lock);
	next = list_prepare_entry(prev, &instances, node);
	list_for_each_entry_continue(next, &instances, node) {
		if (kref_get_unless_zero(&next->ref)) {
			found = next;
			break;
		}
	}
	spin_unlock(&instances_lock);
	if (prev)
		kz_instance_put(prev);
	return found;
}

/**
 * kz_instance_put() - give back a reference
 * @instance: the instance
 */
void kz_instance_put(struct kz_instance *instance)
{
	kref_put(&instance->ref, instance_free);
}

/**
 * kz_instance_stat() - read a counter
 * @instance: the instance
 * @stat: which one
 */
u64 kz_instance_stat(const struct kz_instance *instance, enum kz_stat stat)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu_ptr(instance->stats, cpu)->value[stat];
	return sum;
}

/**
 * kz_instance_frames_get() - have the set of frames ready
 * @instance: its lock is held
 *
 * Return: 0 or an errno of kz_frames_init().
 */
int kz_instance_frames_get(struct kz_instance *instance)
{
	lockdep_assert_held(&instance->lock);
	return instance->frames.used ? 0 : kz_frames_init(&instance->frames);
}

/**
 * kz_instance_frames_trim() - give up the set of frames when nobody needs it
 * @instance: its lock is held
 *
 * The view's inode pins the module: without khd and regions it must be gone.
 */
void kz_instance_frames_trim(struct kz_instance *instance)
{
	lockdep_assert_held(&instance->lock);
	if (kz_queue_has_daemon(&instance->queue) || !xa_empty(&instance->regions) ||
	    READ_ONCE(instance->frames.in_use))
		return;
	kz_frames_exit(&instance->frames);
	memset(&instance->frames, 0, sizeof(instance->frames));
}

static int __net_init kz_net_init(struct net *net)
{
	struct kz_net *kn = net_generic(net, kz_net_id);

	kn->instance = instance_new(net);
	return kn->instance ? 0 : -ENOMEM;
}

static void __net_exit kz_net_exit(struct net *net)
{
	struct kz_net *kn = net_generic(net, kz_net_id);
	struct kz_instance *instance = kn->instance;

	WRITE_ONCE(kn->instance, NULL);
	mutex_lock(&instance->lock);
	WRITE_ONCE(instance->dead, true);
	instance->net = NULL;
	kz_events_stop(&instance->events);
	mutex_unlock(&instance->lock);
	kz_queue_shutdown(instance);
	kz_regions_shutdown(instance);
	kz_leases_stop(instance);
	kz_instance_put(instance);
}

static struct pernet_operations kz_net_ops = {
	.init	= kz_net_init,
	.exit	= kz_net_exit,
	.id	= &kz_net_id,
	.size	= sizeof(struct kz_net),
};

/**
 * kz_instance_init() - an instance for each namespace, from now on
 *
 * Return: 0 or an errno.
 */
int kz_instance_init(void)
{
	return register_pernet_subsys(&kz_net_ops);
}

/**
 * kz_instance_exit() - the end of all instances
 */
void kz_instance_exit(void)
{
	unregister_pernet_subsys(&kz_net_ops);
}
