// SPDX-License-Identifier: GPL-2.0-only
/*
 * reclaim.c - copies that may be dropped
 *
 * Only copies that khd called DROPPABLE and that are not OWNED, DIRTY or locked: the
 * home can send them again.  Reclaim only tries locks and never waits for khd; its
 * notices may be lost.
 *
 * A copy is active when it comes.  The oldest active one becomes inactive: it is taken out of the
 * page tables, so that its next use faults, which the module settles itself, and is
 * seen.  The oldest inactive one goes, or is active again if it was used meanwhile.  A third is
 * to be inactive; it becomes so, a few copies at a time, from when few frames are left, so
 * that there is time to use one again before it goes.  When the system runs out of memory before
 * that, copies go in the order in which they came.
 */
#include <linux/mutex.h>

#include "compat.h"
#include "frame.h"
#include "instance.h"
#include "reclaim.h"
#include "region.h"
#include "unit.h"

#define KZ_INACTIVE_PART	3	/* one part of so many is to be inactive */
#define KZ_AGE_UNITS		4	/* become inactive with each new frame, when few are left */

static struct shrinker *kz_shrinker;

/**
 * kz_reclaim_init() - no droppable copies
 * @reclaim: of an instance
 */
void kz_reclaim_init(struct kz_reclaim *reclaim)
{
	spin_lock_init(&reclaim->lock);
	INIT_LIST_HEAD(&reclaim->active);
	INIT_LIST_HEAD(&reclaim->inactive);
	reclaim->pressure = jiffies;
}

static void lru_add(struct kz_reclaim *reclaim, struct kz_unit *unit)
{
	list_add_tail(&unit->lru, &reclaim->active);
	unit->inactive = false;
	reclaim->pages += kz_region_pages(unit->region);
}

static void lru_del(struct kz_reclaim *reclaim, struct kz_unit *unit)
{
	u32 pages = kz_region_pages(unit->region);

	list_del_init(&unit->lru);
	reclaim->pages -= pages;
	if (unit->inactive)
		reclaim->inactive_pages -= pages;
}

/*
 * To the end of one of the lists.  Without reclaim's lock, under the unit's, others look whether it
 * is in a list: it is, at any moment of this.
 */
static void lru_move(struct kz_reclaim *reclaim, struct kz_unit *unit, bool inactive)
{
	list_move_tail(&unit->lru, inactive ? &reclaim->inactive : &reclaim->active);
	if (unit->inactive)
		reclaim->inactive_pages -= kz_region_pages(unit->region);
	if (inactive)
		reclaim->inactive_pages += kz_region_pages(unit->region);
	unit->inactive = inactive;
}

/**
 * kz_reclaim_update() - the record has changed: is the unit droppable?
 * @unit: its lock is held
 */
void kz_reclaim_update(struct kz_unit *unit)
{
	struct kz_reclaim *reclaim = &unit->region->instance->reclaim;
	bool droppable = kz_page_droppable(&unit->page);

	lockdep_assert_held(&unit->lock);
	if (droppable != list_empty(&unit->lru))
		return;
	spin_lock(&reclaim->lock);
	if (droppable)
		lru_add(reclaim, unit);
	else
		lru_del(reclaim, unit);
	spin_unlock(&reclaim->lock);
}

/**
 * kz_reclaim_forget() - the unit goes
 * @unit: none of its locks is held
 */
void kz_reclaim_forget(struct kz_unit *unit)
{
	struct kz_reclaim *reclaim = &unit->region->instance->reclaim;

	spin_lock(&unit->lock);
	spin_lock(&reclaim->lock);
	if (!list_empty(&unit->lru))
		lru_del(reclaim, unit);
	unit->page.flags &= ~KHAZANA_UNIT_DROPPABLE;
	spin_unlock(&reclaim->lock);
	spin_unlock(&unit->lock);
}

/*
 * The oldest unit of one of the lists, with a reference on it and on its region.  It is at the end
 * of a list then: of the inactive one, unless it was used since it came there.
 */
static struct kz_unit *unit_next(struct kz_reclaim *reclaim, struct list_head *list)
{
	struct kz_unit *unit;

	spin_lock(&reclaim->lock);
	unit = list_first_entry_or_null(list, struct kz_unit, lru);
	if (unit && kref_get_unless_zero(&unit->region->ref)) {
		lru_move(reclaim, unit,
			 list == &reclaim->active || !READ_ONCE(unit->referenced));
		/* What is in a list has a copy, so that it cannot go. */
		kz_unit_hold(unit);
	} else {
		unit = NULL;
	}
	spin_unlock(&reclaim->lock);
	return unit;
}

/* @unit has become inactive: who uses it from now on is seen. */
static void unit_age(struct kz_unit *unit)
{
	struct kz_frame *frame;

	WRITE_ONCE(unit->referenced, false);
	if (!mutex_trylock(&unit->mutex))
		return;
	frame = READ_ONCE(unit->cur);
	if (frame && kz_frame_trylock(frame)) {
		kz_frame_zap(frame);
		kz_frame_unlock(frame);
	}
	mutex_unlock(&unit->mutex);
}

static void unit_put(struct kz_unit *unit)
{
	struct kz_region *region = unit->region;

	kz_unit_put(unit);
	kz_region_put(region);
}

/* Too few are inactive: one more.  Return: there was one. */
static bool age_one(struct kz_reclaim *reclaim)
{
	struct kz_unit *unit;

	if (READ_ONCE(reclaim->inactive_pages) >= READ_ONCE(reclaim->pages) / KZ_INACTIVE_PART + 1)
		return false;
	unit = unit_next(reclaim, &reclaim->active);
	if (!unit)
		return false;
	unit_age(unit);
	unit_put(unit);
	return true;
}

/**
 * kz_reclaim_age() - a frame was taken and few are left
 * @instance: the instance
 *
 * Context: may sleep, but waits for nobody.
 */
void kz_reclaim_age(struct kz_instance *instance)
{
	unsigned int i;

	for (i = 0; i < KZ_AGE_UNITS && age_one(&instance->reclaim); i++)
		;
}

/**
 * kz_reclaim_run() - drop copies
 * @instance: the instance
 * @pages: machine pages wanted
 *
 * Context: may sleep, but waits for nobody.  Return: machine pages freed.
 */
unsigned long kz_reclaim_run(struct kz_instance *instance, unsigned long pages)
{
	struct kz_reclaim *reclaim = &instance->reclaim;
	unsigned long freed = 0, tries = 2 * READ_ONCE(reclaim->pages);

	while (freed < pages && tries--) {
		struct kz_unit *unit;

		age_one(reclaim);
		unit = unit_next(reclaim, &reclaim->inactive);
		if (!unit)
			break;
		if (!READ_ONCE(unit->referenced) && !kz_unit_drop(unit))
			freed += kz_region_pages(unit->region);
		unit_put(unit);
	}
	return freed;
}

static unsigned long shrink_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct kz_instance *instance = NULL;
	unsigned long pages = 0;

	while ((instance = kz_instance_next(instance)))
		pages += READ_ONCE(instance->reclaim.pages);
	return pages ?: SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct kz_instance *instance = NULL;
	unsigned long freed = 0;

	/* Page tables of files are not to be walked from inside a file system. */
	if (!(sc->gfp_mask & __GFP_FS))
		return SHRINK_STOP;
	while ((instance = kz_instance_next(instance)))
		if (freed < sc->nr_to_scan)
			freed += kz_reclaim_run(instance, sc->nr_to_scan - freed);
	return freed ?: SHRINK_STOP;
}

/**
 * kz_shrinker_init() - reclaim, from now on
 *
 * Return: 0 or ENOMEM.
 */
int kz_shrinker_init(void)
{
	static const struct shrinker ops = {
		.count_objects	= shrink_count,
		.scan_objects	= shrink_scan,
		.seeks		= DEFAULT_SEEKS,
	};

	kz_shrinker = kz_shrinker_register(&ops);
	return kz_shrinker ? 0 : -ENOMEM;
}

/**
 * kz_shrinker_exit() - no reclaim any more
 */
void kz_shrinker_exit(void)
{
	kz_shrinker_unregister(kz_shrinker);
}
