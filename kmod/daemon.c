// SPDX-License-Identifier: GPL-2.0-only
/*
 * daemon.c - khd comes and goes
 *
 * A khd is registered by an ioctl on its file and gone when its process closes
 * the file, which flush tells: io_uring holds references of its own, so that
 * release may come much later.  What a dead khd had fetched is asked again.
 */
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "alloc.h"
#include "instance.h"
#include "plant.h"
#include "region.h"
#include "trace.h"
#include "unit.h"
#include "uring.h"

static struct kz_daemon *daemon_new(struct kz_instance *instance, u32 depth)
{
	struct kz_daemon *daemon = kz_zalloc(sizeof(*daemon), GFP_KERNEL);
	u32 i;

	if (!daemon)
		return NULL;
	daemon->desc = vmalloc_user(PAGE_ALIGN(depth * sizeof(*daemon->desc)));
	daemon->slots = kvcalloc(depth, sizeof(*daemon->slots), GFP_KERNEL);
	if (!daemon->desc || !daemon->slots) {
		vfree(daemon->desc);
		kvfree(daemon->slots);
		kz_free(daemon);
		return NULL;
	}
	for (i = 0; i < depth; i++)
		INIT_LIST_HEAD(&daemon->slots[i].node);
	daemon->depth = depth;
	kref_get(&instance->ref);
	daemon->instance = instance;
	daemon->owner = current->files;
	daemon->tgid = current->tgid;
	return daemon;
}

/**
 * kz_daemon_free() - free a khd that is gone
 * @daemon: its file is being released
 */
void kz_daemon_free(struct kz_daemon *daemon)
{
	vfree(daemon->desc);
	kvfree(daemon->slots);
	kz_instance_put(daemon->instance);
	kz_free(daemon);
}

static u32 regions_count(struct kz_instance *instance)
{
	struct kz_region *region;
	unsigned long handle;
	u32 count = 0;

	xa_for_each(&instance->regions, handle, region)
		count++;
	return count;
}

/**
 * kz_daemon_register() - a khd comes
 * @instance: the instance
 * @file: its file
 * @arg: in and out
 * @out: the daemon, to be freed with the file
 *
 * Return: 0, EINVAL (depth), EBUSY (there is one), ESHUTDOWN, ENOMEM.
 */
int kz_daemon_register(struct kz_instance *instance, struct file *file,
		       struct khazana_register *arg, struct kz_daemon **out)
{
	struct kz_queue *queue = &instance->queue;
	struct kz_daemon *daemon;
	int err;

	if (!arg->depth || arg->depth > KHAZANA_QUEUE_DEPTH_MAX)
		return -EINVAL;
	daemon = daemon_new(instance, arg->depth);
	if (!daemon)
		return -ENOMEM;
	daemon->flags = arg->flags;
	daemon->node = arg->node;
	daemon->port = arg->netlink_port;

	mutex_lock(&instance->lock);
	err = instance->dead ? -ESHUTDOWN : queue->daemon ? -EBUSY : 0;
	if (!err)
		err = kz_instance_frames_get(instance);
	if (err) {
		mutex_unlock(&instance->lock);
		kz_daemon_free(daemon);
		return err;
	}
	spin_lock(&queue->lock);
	queue->daemon = daemon;
	queue->tgid = daemon->tgid;
	queue->generation++;
	spin_unlock(&queue->lock);
	file->f_mapping = instance->frames.view->i_mapping;
	arg->frames_max = READ_ONCE(instance->frames.max);
	arg->view_pages = instance->frames.size;
	arg->regions = regions_count(instance);
	arg->boot = instance->boot;
	kz_event_khd_registered(&instance->events, daemon->node);
	mutex_unlock(&instance->lock);
	trace_khazana_daemon(daemon->node, true);
	*out = daemon;
	return 0;
}

/* Ask again for what the dead khd had been asked. */
static void units_requeue(struct kz_region *region)
{
	const struct kz_page_event gone = { .type = KZ_EV_DAEMON_GONE };
	struct kz_unit *unit;
	u64 index = 0;

	if (kz_planted(KZ_PLANT_NO_REQUEUE))
		return;
	while ((unit = kz_unit_next(region, &index))) {
		const struct kz_page *page = &unit->page;

		if (READ_ONCE(page->want) || READ_ONCE(page->lent) ||
		    (READ_ONCE(page->frames) && !READ_ONCE(page->right)))
			kz_unit_step(unit, &gone);
		kz_unit_put(unit);
		cond_resched();
	}
}

/* Notices of the dead khd are void; calls wait for the next one. */
static void notices_requeue(struct kz_queue *queue, struct list_head *void_notices)
{
	struct kz_notice *notice, *next;

	list_for_each_entry_safe(notice, next, &queue->notices, node)
		if (!notice->call)
			list_move(&notice->node, void_notices);
	list_for_each_entry(notice, &queue->fetched, node)
		notice->req.id = 0;
	list_splice_init(&queue->fetched, &queue->notices);
	queue->notices_count = 0;
	list_for_each_entry(notice, &queue->notices, node)
		queue->notices_count++;
}

/**
 * kz_daemon_gone() - a khd has closed its file
 * @daemon: the khd; nothing happens if it is gone already
 *
 * Context: may sleep.
 */
void kz_daemon_gone(struct kz_daemon *daemon)
{
	struct kz_instance *instance = daemon->instance;
	struct kz_queue *queue = &instance->queue;
	struct kz_notice *notice, *next;
	struct kz_region *region;
	LIST_HEAD(void_notices);
	unsigned long handle;

	mutex_lock(&instance->lock);
	spin_lock(&queue->lock);
	if (queue->daemon != daemon) {
		spin_unlock(&queue->lock);
		mutex_unlock(&instance->lock);
		return;
	}
	queue->daemon = NULL;
	queue->tgid = 0;
	notices_requeue(queue, &void_notices);
	spin_unlock(&queue->lock);

	kz_uring_cancel_all(daemon);
	wake_up_interruptible_all(&queue->wait);
	list_for_each_entry_safe(notice, next, &void_notices, node)
		kz_free(notice);
	xa_for_each(&instance->regions, handle, region)
		units_requeue(region);
	kz_event_khd_gone(&instance->events, daemon->node);
	kz_instance_frames_trim(instance);
	mutex_unlock(&instance->lock);
	trace_khazana_daemon(daemon->node, false);
}

/**
 * kz_queue_shutdown() - the namespace goes: khd is told, nobody waits any more
 * @instance: dead
 */
void kz_queue_shutdown(struct kz_instance *instance)
{
	struct kz_queue *queue = &instance->queue;
	struct kz_notice *notice, *next;
	struct kz_daemon *daemon;
	LIST_HEAD(all);

	mutex_lock(&instance->lock);
	spin_lock(&queue->lock);
	daemon = queue->daemon;
	queue->daemon = NULL;
	queue->tgid = 0;
	list_splice_init(&queue->notices, &all);
	list_splice_init(&queue->fetched, &all);
	queue->notices_count = 0;
	spin_unlock(&queue->lock);
	if (daemon)
		kz_uring_cancel_all(daemon);
	mutex_unlock(&instance->lock);
	wake_up_interruptible_all(&queue->wait);
	list_for_each_entry_safe(notice, next, &all, node) {
		list_del_init(&notice->node);
		if (!notice->call) {
			kz_free(notice);
			continue;
		}
		notice->call->error = -ESHUTDOWN;
		complete(&notice->call->done);
		kz_call_put(notice->call);
	}
}
