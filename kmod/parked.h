/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * parked.h - stores that were lost with their right
 */
#ifndef KZ_PARKED_H
#define KZ_PARKED_H

#include <linux/khazana.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct kz_frame;
struct kz_instance;
struct kz_region;
struct kz_unit;

/**
 * struct kz_parked - a frame with lost stores
 * @id: never used twice by an instance
 * @region: whose it is; the entry goes when the region is deleted
 * @unit: number in the region
 * @token: of the right that was lost
 * @version: that the stores were made to
 * @time_ns: CLOCK_BOOTTIME when it was parked
 * @frame: its contents; in the daemon's view, and in no user's mapping
 */
struct kz_parked {
	u32 id;
	struct kz_region *region;
	u64 unit;
	u64 token;
	u64 version;
	u64 time_ns;
	struct kz_frame *frame;
};

/**
 * struct kz_parked_table - all of an instance
 * @lock: protects the rest, and each entry and its frame; inside a unit's mutex
 * @entries: id to struct kz_parked
 * @next: where the next id is looked for
 * @pages: machine pages that the frames have
 */
struct kz_parked_table {
	struct mutex lock;	/* inside a unit's mutex */
	struct xarray entries;
	u32 next;
	u32 pages;
};

void kz_parked_init(struct kz_parked_table *table);
void kz_parked_exit(struct kz_parked_table *table);
void kz_parked_add(struct kz_unit *unit, struct kz_frame *frame, u64 token, u64 version);
struct kz_parked *kz_parked_next(struct kz_parked_table *table, u32 id);
int kz_parked_drop(struct kz_instance *instance, u32 id);
void kz_parked_forget(struct kz_region *region);

#endif /* KZ_PARKED_H */
