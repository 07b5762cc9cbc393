/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * interval.c - a set of units as a sorted array of ranges
 */
#include <stdlib.h>
#include <string.h>
#include "alloc.h"
#include "interval.h"

/* Index of the first range that ends at or behind @unit. */
static uint32_t lower(const struct kh_intervals *set, uint64_t unit)
{
	uint32_t lo = 0, hi = set->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (set->items[mid].end < unit)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Replace @old ranges from @at on by the @n ranges @new. */
static void splice(struct kh_intervals *set, uint32_t at, uint32_t old,
		   const struct kh_interval *new, uint32_t n)
{
	uint32_t tail = set->count - at - old;

	if (set->count + n - old > set->capacity) {
		set->capacity = (set->count + n) * 2;
		set->items = kh_realloc(set->items, set->capacity * sizeof(*set->items));
	}
	if (!set->items)
		return;
	memmove(set->items + at + n, set->items + at + old, tail * sizeof(*set->items));
	if (n)
		memcpy(set->items + at, new, n * sizeof(*new));
	set->count += n - old;
}

void kh_intervals_add(struct kh_intervals *set, uint64_t start, uint64_t end)
{
	struct kh_interval whole = { start, end };
	uint32_t at, n = 0;

	if (start >= end)
		return;
	at = lower(set, start);
	for (; at + n < set->count && set->items[at + n].start <= end; n++) {
		if (set->items[at + n].start < whole.start)
			whole.start = set->items[at + n].start;
		if (set->items[at + n].end > whole.end)
			whole.end = set->items[at + n].end;
	}
	splice(set, at, n, &whole, 1);
}

void kh_intervals_remove(struct kh_intervals *set, uint64_t start, uint64_t end)
{
	struct kh_interval rest[2];
	uint32_t at, n = 0, k = 0;

	if (start >= end)
		return;
	at = lower(set, start);
	for (; at + n < set->count && set->items[at + n].start < end; n++) {
		const struct kh_interval *item = &set->items[at + n];

		if (item->start < start)
			rest[k++] = (struct kh_interval){ item->start,
							  item->end < start ? item->end : start };
		if (item->end > end)
			rest[k++] = (struct kh_interval){ end, item->end };
	}
	splice(set, at, n, rest, k);
}

bool kh_intervals_has(const struct kh_intervals *set, uint64_t unit)
{
	uint32_t at = lower(set, unit + 1);

	return at < set->count && set->items[at].start <= unit;
}

uint64_t kh_intervals_count(const struct kh_intervals *set, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;
	uint32_t at;

	for (at = lower(set, start); at < set->count && set->items[at].start < end; at++) {
		uint64_t from = set->items[at].start > start ? set->items[at].start : start;
		uint64_t to = set->items[at].end < end ? set->items[at].end : end;

		if (to > from)
			sum += to - from;
	}
	return sum;
}

void kh_intervals_free(struct kh_intervals *set)
{
	free(set->items);
	*set = (struct kh_intervals){ 0 };
}
