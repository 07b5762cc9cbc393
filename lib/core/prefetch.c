/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * prefetch.c - sequential misses fetch ahead
 *
 * A miss of the unit behind the last one, or of one that is being prefetched, doubles the
 * window, up to 1 MiB; any other miss closes it.  It is asked for in parts, so that the home works
 * on one while another is on its way and the reader uses a third; so that it is asked for in
 * time, the module tells when the reader gets to the next part.  The missed unit is asked for first
 * and never waits for its window.
 */
#include "core.h"

#define WINDOW_MIN 4 /* units */
#define PARTS 8 /* of a window, asked for one after the other as it moves on */

/* Units of a part: one in so many is marked, so that the module tells when a reader gets there. */
uint32_t kh_prefetch_part(const struct kh_region *region)
{
	uint32_t part = (KH_WINDOW_BYTES >> region->unit_shift) / PARTS;

	return part ? part : 1;
}

/* Somebody missed @unit for reading, or got to it although it was prefetched. */
void kh_prefetch_fault(struct kh_node *node, struct kh_region *region, uint64_t unit)
{
	uint32_t most = KH_WINDOW_BYTES >> region->unit_shift;
	bool next = unit == region->next_unit;
	bool inside = region->window && unit + region->window >= region->next_unit &&
		      unit <= region->ahead;
	uint64_t end;

	/* Descriptors of threads, or of one that has gone on, come in any order. */
	if (inside && unit < region->next_unit)
		return;
	region->next_unit = unit + 1;
	if (!next && !inside) {
		region->window = 0;
		region->ahead = unit + 1;
		return;
	}
	if (!most)
		most = 1;
	region->window = region->window ? region->window * 2 : WINDOW_MIN;
	if (region->window > most)
		region->window = most;
	end = unit + 1 + region->window;
	if (region->ahead < unit + 1)
		region->ahead = unit + 1;
	if (end <= region->ahead || region->prefetching >= 2 * most ||
	    end - region->ahead < region->window / PARTS)
		return;
	kh_ask_prefetch(node, region, region->ahead, (uint32_t)(end - region->ahead));
	region->ahead = end;
}
