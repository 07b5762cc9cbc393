// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * freeze.c - what RAM has, and the index has not, as it was at one moment
 *
 * Between khd_freeze_room(), which takes all the memory, and the end of khd_freeze() nothing fails
 * and nothing else runs; so a checkpoint has all of a prefix of the numbers, or has not begun.
 */
#include <stdlib.h>
#include <string.h>

#include "khd/store/freeze.h"

/* ---------------------------------------------------------------- memory */

static void free_bits(struct khd_frozen *f)
{
	size_t i;

	for (i = 0; i < f->bits_count; i++)
		free(f->bits[i]);
	free(f->bits);
	f->bits = NULL;
	f->bits_count = 0;
}

void khd_frozen_free(struct khd_frozen *f)
{
	size_t i;

	for (i = 0; i < f->segments.count; i++)
		free(f->segments.at[i].bits);
	free_bits(f);
	free(f->rows.at);
	free(f->ranges.at);
	free(f->dead.at);
	free(f->parked.at);
	free(f->discarded.at);
	free(f->segments.at);
}

/* A segment's row, for which a change of its bitmap is enough. */
static bool room_for_bits(struct khd_store *store, struct khd_frozen *f)
{
	size_t i;

	free_bits(f);
	f->bits = calloc(store->segments.count + 1, sizeof(*f->bits));
	if (!f->bits)
		return false;
	f->bits_count = store->segments.count;
	for (i = 0; i < f->bits_count; i++) {
		const struct khd_segment *seg = &store->segments.at[i];

		if (!seg->dirty || seg->zeroing)
			continue;
		f->bits[i] =
			malloc(khd_space_words(store->class[seg->class].slots) * sizeof(uint64_t));
		if (!f->bits[i])
			return false;
	}
	return true;
}

static void touch_segment(struct khd_store *store, uint64_t slot)
{
	int segment = khd_space_segment_of(store, slot);

	if (segment >= 0 && store->segments.at[segment].bits)
		store->segments.at[segment].dirty = true;
}

bool khd_freeze_room(struct khd_store *store, struct khd_frozen *f)
{
	const struct khd_unit *unit;
	size_t i;

	for (i = 0; i < store->segments.count; i++)
		if (store->segments.at[i].headless && store->segments.at[i].class) {
			khd_space_write_headers(store, (uint32_t)i);
			if (store->segments.at[i].headless)
				return false;
		}
	for (i = 0; i < store->dead.count; i++)
		touch_segment(store, store->dead.at[i].slot);
	kh_list_each (unit, &store->dirty, link)
		touch_segment(store, unit->slot);
	return khd_room(&store->dead, store->dirty_count) &&
	       khd_room(&f->dead, store->dead.count + store->dirty_count) &&
	       khd_room(&f->rows, store->dirty_count) &&
	       khd_room(&f->ranges, store->ranges.count) &&
	       khd_room(&f->parked, store->parked.count) &&
	       khd_room(&f->discarded, store->discarded.count) &&
	       khd_room(&f->segments, store->segments.count) && room_for_bits(store, f);
}

/* ---------------------------------------------------------------- freezing */

static void freeze_units(struct khd_store *store, struct khd_frozen *f)
{
	while (!kh_list_empty(&store->dirty)) {
		struct khd_unit *unit = kh_list_first(&store->dirty, struct khd_unit, link);
		struct khd_extent *e = khd_range_find(store, &unit->key);

		unit->pins++;
		khd_unit_clean(store, unit);
		if (!e || !khd_unit_stored(unit, e)) { /* released since */
			khd_space_dead(store, unit->slot, false);
			unit->version = 0;
			khd_unit_put(store, unit);
			continue;
		}
		*khd_next(&f->rows) = (struct khd_row){ .key = unit->key,
							.version = unit->version,
							.token = unit->token,
							.lsn = unit->lsn,
							.slot = unit->slot,
							.crc = unit->crc,
							.unit = unit };
	}
}

static void freeze_ranges(struct khd_store *store, struct khd_frozen *f)
{
	size_t i;

	for (i = 0; i < store->ranges.count; i++) {
		struct khd_extent *e = &store->ranges.at[i];

		if (e->touched)
			e->fresh = e->touched = false;
		if (!e->dirty)
			continue;
		e->dirty = false;
		*khd_next(&f->ranges) = *e;
	}
	for (i = 0; i < store->parked.count; i++) {
		struct khd_parked_unit *p = &store->parked.at[i];

		if (!p->dirty)
			continue;
		p->dirty = false;
		*khd_next(&f->parked) = *p;
	}
	for (i = 0; i < store->discarded.count; i++)
		*khd_next(&f->discarded) = store->discarded.at[i];
	store->discarded.count = 0;
}

static void freeze_segment(struct khd_store *store, struct khd_frozen *f, uint32_t number)
{
	struct khd_segment *seg = &store->segments.at[number];
	struct khd_segment_row *row;

	/* one that is not yet zeroed is still the pool's, and has to be zeroed after a crash */
	if (!seg->dirty || seg->zeroing)
		return;
	seg->dirty = false;
	row = khd_next(&f->segments);
	*row = (struct khd_segment_row){ .number = number, .live = seg->live, .last = seg->last };
	if (seg->retiring)
		return;
	row->class = seg->class;
	row->bytes = khd_space_words(store->class[seg->class].slots) * sizeof(uint64_t);
	row->bits = f->bits[number];
	f->bits[number] = NULL;
	memcpy(row->bits, seg->bits, row->bytes);
}

/* Empty segments that their class does not need go to the pool. */
static void retire(struct khd_store *store)
{
	uint32_t spare[KHD_CLASSES] = { 0 };
	size_t i = store->segments.count;
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++) {
		uint32_t need = khd_space_need(store, class, store->class[class].units);

		if (store->class[class].held > need)
			spare[class] = store->class[class].held - need;
	}
	while (i--) {
		struct khd_segment *seg = &store->segments.at[i];
		bool beyond = i >= store->segments_max;

		if (seg->class == KHD_CLASS_NONE || seg->live || seg->zeroing ||
		    (!spare[seg->class] && !beyond))
			continue;
		if (spare[seg->class])
			spare[seg->class]--;
		seg->retiring = seg->dirty = true;
	}
}

void khd_freeze(struct khd_store *store, struct khd_frozen *f)
{
	size_t i;

	f->meta = (struct khd_index_meta){ .checkpoint = store->checkpoint + 1,
					   .lsn = store->lsn_applied,
					   .tail = store->log.head,
					   .sequence = store->log.sequence,
					   .previous = store->log.previous };
	memcpy(f->meta.uuid, store->uuid, sizeof(f->meta.uuid));
	freeze_units(store, f);
	freeze_ranges(store, f);
	for (i = 0; i < store->dead.count; i++) {
		*khd_next(&f->dead) = store->dead.at[i];
		khd_space_clear_live(store, store->dead.at[i].slot);
	}
	store->dead.count = 0;
	retire(store);
	for (i = 0; i < store->segments.count; i++)
		freeze_segment(store, f, (uint32_t)i);
	free_bits(f);
}

void khd_frozen_durable(struct khd_store *store, struct khd_frozen *f)
{
	size_t i;

	for (i = 0; i < f->rows.count; i++)
		khd_unit_put(store, f->rows.at[i].unit);
	for (i = 0; i < f->dead.count; i++)
		khd_space_give_back(store, f->dead.at[i].slot);
	for (i = 0; i < store->segments.count; i++) {
		struct khd_segment *seg = &store->segments.at[i];

		if (!seg->retiring)
			continue;
		if (seg->emptying)
			khd_compact_cancel(store);
		seg->retiring = seg->emptying = seg->pinned = false;
		store->class[seg->class].held--;
		seg->class = KHD_CLASS_NONE;
		seg->live = seg->taken = 0;
		free(seg->bits);
		seg->bits = NULL;
	}
}
