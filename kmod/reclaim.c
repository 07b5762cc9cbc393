// SPDX-License-Identifier: GPL-2.0-only
/*
 * reclaim.c - copies that may be dropped
 *
 * Only copies that khd called DROPPABLE and that are not OWNED, DIRTY or locked: the
 * home can send them again.  Reclaim only tries locks and never waits for khd; its
 * notices may be lost.  The oldest copy goes first, unless it was used since
 * reclaim saw it last.
 */
#include <linux/mutex.h>

#include "compat.h"
#include "instance.h"
#include "reclaim.h"
#include "region.h"
#include "unit.h"

static struct shrinker *kz_shrinker;

/**
 * kz_reclaim_init() - no droppable copies
 * @reclaim: of an instance
 */
void kz_reclaim_init(struct kz_reclaim *reclaim)
{
	spin_lock_init(&reclaim->lock);
	INIT_LIST_HEAD(&reclaim->units);
	reclaim->pressure = jiffies;
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
	if (droppable) {
		list_add_tail(&unit->lru, &reclaim->units);
		reclaim->pages += kz_region_pages(unit->region);
	} else {
		list_del_init(&unit->lru);
		reclaim->pages -= kz_region_pages(unit->region);
	}
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
	if (!list_empty(&unit->lru)) {
		list_del_init(&unit->lru);
		reclaim->pages -= kz_region_pages(unit->region);
	}
	unit->page.flags &= ~KHAZANA_UNIT_DROPPABLE;
	spin_unlock(&reclaim->lock);
	spin_unlock(&unit->lock);
}

/* The oldest unit, moved to the end, with a reference on it and on its region. */
static struct kz_unit *reclaim_next(struct kz_reclaim *reclaim)
{
	struct kz_unit *unit;

	spin_lock(&reclaim->lock);
	unit = list_first_entry_or_null(&reclaim->units, struct kz_unit, lru);
	if (unit && kref_get_unless_zero(&unit->region->ref))
		list_move_tail(&unit->lru, &reclaim->units);
	else
		unit = NULL;
	/* What is in the list has a copy, so that it cannot go. */
	if (unit)
		kz_unit_hold(unit);
	spin_unlock(&reclaim->lock);
	return unit;
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
		struct kz_unit *unit = reclaim_next(reclaim);
		struct kz_region *region;

		if (!unit)
			break;
		region = unit->region;
		if (READ_ONCE(unit->referenced))
			WRITE_ONCE(unit->referenced, false);
		else if (!kz_unit_drop(unit))
			freed += kz_region_pages(region);
		kz_unit_put(unit);
		kz_region_put(region);
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
