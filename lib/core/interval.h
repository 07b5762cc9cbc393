/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * interval.h - a set of units as sorted, disjoint, non-adjacent ranges
 */
#ifndef KH_CORE_INTERVAL_H
#define KH_CORE_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>

struct kh_interval {
	uint64_t start;
	uint64_t end; /* first unit behind */
};

struct kh_intervals {
	struct kh_interval *items;
	uint32_t count;
	uint32_t capacity;
};

/* Add [start, end); what is there already stays. */
void kh_intervals_add(struct kh_intervals *set, uint64_t start, uint64_t end);

/* Take [start, end) out. */
void kh_intervals_remove(struct kh_intervals *set, uint64_t start, uint64_t end);

/* Is @unit in the set? */
bool kh_intervals_has(const struct kh_intervals *set, uint64_t unit);

/* How many units of [start, end) are in the set. */
uint64_t kh_intervals_count(const struct kh_intervals *set, uint64_t start, uint64_t end);

void kh_intervals_free(struct kh_intervals *set);

#endif /* KH_CORE_INTERVAL_H */
