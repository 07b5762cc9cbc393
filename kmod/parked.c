// SPDX-License-Identifier: GPL-2.0-only
/*
 * parked.c - stores that were lost with their right
 *
 * What a program stored under a right that others have taken over meanwhile is not written
 * back, but not thrown away either: the frame is put aside until somebody
 * has looked at it and discards it, or the region is deleted.  It outlives khd, counts
 * against the instance's limit of frames, and has a limit of its own; what is lost beyond
 * that is gone, which an event tells.
 */
#include <linux/ktime.h>
#include <linux/moduleparam.h>

#include "alloc.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "parked.h"
#include "region.h"
#include "unit.h"

static unsigned int parked_max;
module_param(parked_max, uint, 0644);
MODULE_PARM_DESC(parked_max, "limit of pages with lost stores per instance (0: 1/16 of frames_max)");

/**
 * kz_parked_init() - nothing is parked
 * @table: of a new instance
 */
void kz_parked_init(struct kz_parked_table *table)
{
	mutex_init(&table->lock);
	xa_init_flags(&table->entries, XA_FLAGS_ALLOC1);
}

/**
 * kz_parked_exit() - the instance goes
 * @table: of an instance without regions
 */
void kz_parked_exit(struct kz_parked_table *table)
{
	WARN_ON_ONCE(!xa_empty(&table->entries));
	xa_destroy(&table->entries);
	mutex_destroy(&table->lock);
}

static u32 limit(const struct kz_instance *instance)
{
	return READ_ONCE(parked_max) ?: max(READ_ONCE(instance->frames.max) / 16, 1u);
}

static int add(struct kz_instance *instance, struct kz_parked *entry)
{
	struct kz_parked_table *table = &instance->parked;
	int err;

	lockdep_assert_held(&table->lock);
	/* Deleted: kz_parked_forget() has been here, or will be. */
	if (READ_ONCE(entry->region->dead))
		return -ENOENT;
	if (entry->frame->count > limit(instance) ||
	    table->pages > limit(instance) - entry->frame->count)
		return -ENOSPC;
	err = xa_alloc_cyclic(&table->entries, &entry->id, entry, xa_limit_31b, &table->next,
			      GFP_KERNEL);
	if (err < 0)
		return err;
	table->pages += entry->frame->count;
	return 0;
}

/**
 * kz_parked_add() - put a frame with lost stores aside
 * @unit: whose it was; its mutex is held
 * @frame: in no slot of the unit any more, and no user maps it
 * @token: of the right that was lost
 * @version: of the frame
 *
 * Context: may sleep.  The frame is taken over, or freed with an event beyond the limit.
 */
void kz_parked_add(struct kz_unit *unit, struct kz_frame *frame, u64 token, u64 version)
{
	struct kz_region *region = unit->region;
	struct kz_instance *instance = region->instance;
	struct kz_parked *entry = NULL;
	int err = -ENOMEM;

	kz_frame_park(frame);
	if (!kz_inject_fail(KZ_POINT_PARKED))
		entry = kz_zalloc(sizeof(*entry), GFP_KERNEL);
	if (entry) {
		entry->region = region;
		entry->unit = unit->index;
		entry->token = token;
		entry->version = version;
		entry->time_ns = ktime_get_boottime_ns();
		entry->frame = frame;
		mutex_lock(&instance->parked.lock);
		err = add(instance, entry);
		mutex_unlock(&instance->parked.lock);
	}
	if (!err) {
		kz_stat_inc(instance, KZ_STAT_PARKED);
		return;
	}
	kz_free(entry);
	kz_frame_free(&instance->frames, frame);
	if (err == -ENOENT)
		return;
	kz_stat_inc(instance, KZ_STAT_NOT_PARKED);
	kz_event_parked_full(&instance->events, region->handle,
			     kz_region_addr(region, unit->index), token, limit(instance));
}

/**
 * kz_parked_next() - the next entry
 * @table: its lock is held
 * @id: lowest id
 *
 * Return: the entry, valid under the lock, or NULL at the end.
 */
struct kz_parked *kz_parked_next(struct kz_parked_table *table, u32 id)
{
	unsigned long at = id;

	lockdep_assert_held(&table->lock);
	return xa_find(&table->entries, &at, U32_MAX, XA_PRESENT);
}

static void drop(struct kz_instance *instance, struct kz_parked *entry)
{
	struct kz_parked_table *table = &instance->parked;

	lockdep_assert_held(&table->lock);
	xa_erase(&table->entries, entry->id);
	table->pages -= entry->frame->count;
	kz_frame_free(&instance->frames, entry->frame);
	kz_free(entry);
}

/**
 * kz_parked_drop() - nobody needs an entry any more
 * @instance: the instance
 * @id: of the entry
 *
 * Return: 0 or ENOENT.
 */
int kz_parked_drop(struct kz_instance *instance, u32 id)
{
	struct kz_parked *entry;

	mutex_lock(&instance->parked.lock);
	entry = xa_load(&instance->parked.entries, id);
	if (entry)
		drop(instance, entry);
	mutex_unlock(&instance->parked.lock);
	return entry ? 0 : -ENOENT;
}

/**
 * kz_parked_forget() - a region is deleted, and what is parked of it
 * @region: dead
 */
void kz_parked_forget(struct kz_region *region)
{
	struct kz_instance *instance = region->instance;
	struct kz_parked *entry;
	u32 id = 0;

	mutex_lock(&instance->parked.lock);
	while ((entry = kz_parked_next(&instance->parked, id))) {
		id = entry->id + 1;
		if (entry->region == region)
			drop(instance, entry);
	}
	mutex_unlock(&instance->parked.lock);
}
