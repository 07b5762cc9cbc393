// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * range.c - reserved ranges, in RAM: sorted by address, never overlapping
 *
 * Each has a descriptor slot, which is written in place, at checkpoints, after the log has the
 * change: a block is old or new, and the log's records say what each slot must become.  A range
 * that is no more leaves a tomb there.
 */
#include <errno.h>
#include <string.h>

#include "khd/store/store_priv.h"

size_t khd_range_at(struct khd_store *store, khd_u128 addr)
{
	size_t low = 0, high = store->ranges.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (khd_extent_last(&store->ranges.at[middle]) < addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static khd_u128 last_of(const struct khd_range *range)
{
	return khd_wide(range->start) + (((khd_u128)range->units << range->shift) - 1);
}

int khd_range_valid(struct khd_store *store, const struct khd_range *range)
{
	if (range->shift < KHD_STORE_SHIFT_MIN || range->shift > KHD_STORE_SHIFT_MAX ||
	    !range->units || range->start.lo & ((1ull << range->shift) - 1) ||
	    last_of(range) < khd_wide(range->start) || !store->class[range->shift].slots)
		return -EINVAL;
	return 0;
}

struct khd_extent *khd_range_find(struct khd_store *store, const struct khd_key *key)
{
	khd_u128 addr = khd_wide(key->addr);
	size_t at = khd_range_at(store, addr);
	struct khd_extent *e = &store->ranges.at[at];

	if (at == store->ranges.count || e->start > addr || e->generation != key->generation ||
	    e->shift != key->shift)
		return NULL;
	return e;
}

int khd_range_overlaps(struct khd_store *store, const struct khd_range *range)
{
	khd_u128 start = khd_wide(range->start), last = last_of(range);
	size_t at = khd_range_at(store, start);
	const struct khd_extent *e;

	if (at == store->ranges.count)
		return 0;
	e = &store->ranges.at[at];
	if (e->start > last)
		return 0;
	if (e->start <= start && khd_extent_last(e) >= last && e->generation == range->generation &&
	    e->shift == range->shift)
		return 1;
	return -EEXIST;
}

struct khd_extent *khd_range_insert(struct khd_store *store, const struct khd_extent *extent)
{
	size_t at = khd_range_at(store, extent->start), behind = store->ranges.count - at;

	if (!khd_push(&store->ranges))
		return NULL;
	memmove(&store->ranges.at[at + 1], &store->ranges.at[at],
		behind * sizeof(struct khd_extent));
	store->ranges.at[at] = *extent;
	return &store->ranges.at[at];
}

/* All that are gone at once: one by one each would move all that lie behind it. */
void khd_range_drop(struct khd_store *store)
{
	struct khd_extent *at = store->ranges.at;
	size_t to = store->gone_from, from = to;

	if (!store->ranges_gone)
		return;
	while (store->ranges_gone) {
		if (at[from].gone)
			store->ranges_gone--;
		else
			at[to++] = at[from];
		from++;
	}
	memmove(&at[to], &at[from], (store->ranges.count - from) * sizeof(*at));
	store->ranges.count -= from - to;
}

bool khd_range_next_release(struct khd_store *store, const struct khd_range *range,
			    struct khd_record *rec, bool *splits)
{
	khd_u128 start = khd_wide(range->start), last = last_of(range), from, to;
	size_t at;

	for (at = khd_range_at(store, start); at < store->ranges.count; at++) {
		const struct khd_extent *e = &store->ranges.at[at];

		if (e->start > last)
			break;
		if (e->generation != range->generation || e->shift != range->shift)
			continue;
		from = e->start > start ? e->start : start;
		to = khd_extent_last(e) < last ? khd_extent_last(e) : last;
		*splits = from > e->start && to < khd_extent_last(e);
		*rec = (struct khd_record){
			.type = KHD_RECORD_RELEASE,
			.cells = 2,
			.shift = e->shift,
			.addr_hi = (uint64_t)(from >> 64),
			.addr_lo = (uint64_t)from,
			.generation = e->generation,
			.version = (uint64_t)((to - from) >> e->shift) + 1,
			.slot = e->slot,
			.old_hi = (uint64_t)(e->start >> 64),
			.old_lo = (uint64_t)e->start,
			.old_units = e->units,
			.born = e->born,
		};
		memcpy(rec->tag, e->tag.bytes, sizeof(rec->tag));
		return true;
	}
	return false;
}

void khd_range_from_record(const struct khd_record *rec, struct khd_extent *extent)
{
	*extent = (struct khd_extent){
		.start = (khd_u128)rec->addr_hi << 64 | rec->addr_lo,
		.units = rec->token,
		.generation = rec->generation,
		.born = rec->born,
		.lsn = rec->lsn,
		.slot = rec->slot,
		.shift = rec->shift,
		.dirty = true,
	};
	memcpy(extent->tag.bytes, rec->tag, sizeof(extent->tag.bytes));
}

/* Replay: the slot's live bit is the caller's business, and so is the promise. */
int khd_range_apply_reserve(struct khd_store *store, const struct khd_record *rec)
{
	struct khd_range range;
	struct khd_extent e;

	khd_range_from_record(rec, &e);
	range = (struct khd_range){ .start = khd_narrow(e.start),
				    .units = e.units,
				    .shift = e.shift,
				    .generation = e.generation };
	if (khd_range_valid(store, &range) || khd_range_overlaps(store, &range))
		return -EBADMSG;
	e.fresh = true;
	return khd_range_insert(store, &e) ? 0 : -ENOMEM;
}

/* The range of the record shrinks, splits or goes; its units are purged with the next checkpoint. */
int khd_range_apply_release(struct khd_store *store, const struct khd_record *rec)
{
	khd_u128 from = (khd_u128)rec->addr_hi << 64 | rec->addr_lo;
	khd_u128 behind = from + ((khd_u128)rec->version << rec->shift);
	struct khd_purge *purge = khd_push(&store->purges);
	size_t at = khd_range_at(store, from);
	struct khd_extent *e = &store->ranges.at[at], right;
	uint64_t left_units, right_units;

	if (!purge)
		return -ENOMEM;
	if (at == store->ranges.count || e->gone || e->slot != rec->slot ||
	    e->shift != rec->shift || e->start > from || !rec->version ||
	    rec->version > e->units - (uint64_t)((from - e->start) >> e->shift))
		return -EBADMSG;
	*purge = (struct khd_purge){ .start = from,
				     .units = rec->version,
				     .generation = rec->generation,
				     .lsn = rec->lsn,
				     .shift = rec->shift };
	khd_space_unpromise(store, rec->shift, rec->version);
	left_units = (uint64_t)((from - e->start) >> e->shift);
	right_units = e->units - left_units - rec->version;
	if (left_units && right_units && !rec->token)
		return -EBADMSG;
	e->lsn = rec->lsn;
	e->dirty = true;
	right = *e;
	right.start = behind;
	right.units = right_units;
	right.slot = rec->token;
	if (left_units) {
		e->units = left_units;
		if (right_units && !khd_range_insert(store, &right))
			return -ENOMEM;
	} else if (right_units) {
		e->start = behind;
		e->units = right_units;
	} else {
		uint64_t slot = e->slot;
		int segment = khd_space_segment_of(store, slot);

		e->gone = true;
		if (!store->ranges_gone++ || at < store->gone_from)
			store->gone_from = at;
		if (segment >= 0)
			khd_space_unpromise(store, store->segments.at[segment].class, 1);
		khd_space_dead(store, slot, true);
	}
	return 0;
}
