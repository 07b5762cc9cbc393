/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * region.h - a region as one node sees it, and who is attached to it
 */
#ifndef KZ_REGION_H
#define KZ_REGION_H

#include <linux/kref.h>
#include <linux/khazana.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "lease.h"
#include "pair.h"

struct inode;
struct kz_instance;
struct kz_unit;

#define KZ_FLOORS_MAX	512	/* a page of them */

/**
 * struct kz_region - a region of which the node may hold units
 * @ref: of the instance's table, of each attachment, request and revoke under way
 * @rcu: frees the structure
 * @instance: with a reference
 * @handle: index in the instance's table
 * @unit_shift: log2 of a unit's bytes
 * @start: first address
 * @length: bytes
 * @units_max: number of units
 * @generation: tells one use of an address from the next
 * @inode: its mapping is the users' mapping
 * @units: unit number to struct kz_unit; changed under its own lock
 * @floors: by unit number modulo @floors_mask + 1: no record of these units had a higher
 *	floor when it went; under the lock of @units
 * @floors_mask: how many there are, less one
 * @sweep: where to look for the next record that may go
 * @lease: whose end is the end of all rights, or NULL
 * @floor: lowest token of the home's epoch; changed under the lock of @units
 * @wait_ms: limit of a wait for khd
 * @residency_ns: minimum residency, 0 is the module's choice
 * @key_serial: of the key that opens it now; only rises
 * @flags: KHAZANA_CMDF_NOPOISON, KHAZANA_CMDF_EIO
 * @dead: deleted; nobody may wait for it any more
 * @lock: protects @attachments
 * @attachments: struct kz_attachment
 */
struct kz_region {
	struct kref ref;
	struct rcu_head rcu;
	struct kz_instance *instance;
	u32 handle;
	u32 unit_shift;
	struct khazana_addr start;
	u64 length;
	u64 units_max;
	u64 generation;
	struct inode *inode;
	struct xarray units;
	u64 *floors;
	u32 floors_mask;
	u64 sweep;
	struct kz_lease *lease;
	u64 floor;
	u32 wait_ms;
	u64 residency_ns;
	u64 key_serial;
	u32 flags;
	bool dead;
	struct mutex lock;	/* of @attachments */
	struct list_head attachments;
};

/**
 * struct kz_attachment - an open file bound to a window
 * @node: among the region's
 * @region: with a reference
 * @first: first unit of the window
 * @length: bytes of the window
 * @flags: KHAZANA_ATTACH_*
 * @key_serial: of the key that it was attached with
 * @pid: process that attached, for events
 * @poisoned: dirty data that it could have seen is lost
 * @lock_id: id of the last range lock
 * @next_pgoff: behind the page that was mapped last; a hint
 * @pairs: misses of threads that may need two units at once
 */
struct kz_attachment {
	struct list_head node;
	struct kz_region *region;
	u64 first;
	u64 length;
	u32 flags;
	u64 key_serial;
	pid_t pid;
	bool poisoned;
	atomic64_t lock_id;
	pgoff_t next_pgoff;
	struct kz_pairs pairs;
};

/* Machine pages in a unit. */
static inline u32 kz_region_pages(const struct kz_region *region)
{
	return 1u << (region->unit_shift - PAGE_SHIFT);
}

/* The lowest token for a unit without a record. */
static inline u64 kz_region_floor(const struct kz_region *region, u64 unit)
{
	return max(region->floor, region->floors[unit & region->floors_mask]);
}

/* The address of a unit. */
static inline struct khazana_addr kz_region_addr(const struct kz_region *region, u64 unit)
{
	u64 lo = region->start.lo + (unit << region->unit_shift);

	return (struct khazana_addr){
		.hi = region->start.hi + (lo < region->start.lo), .lo = lo,
	};
}

/* The end of the lease: may the rights still be used? */
static inline bool kz_region_valid(const struct kz_region *region)
{
	const struct kz_lease *lease = READ_ONCE(region->lease);

	return !lease || kz_lease_valid(lease);
}

int kz_region_add(struct kz_instance *instance, struct khazana_cmd *cmd);
int kz_region_set(struct kz_region *region, const struct khazana_cmd *cmd);
int kz_region_del(struct kz_region *region, bool force);
struct kz_region *kz_region_find(struct kz_instance *instance, u32 handle);
struct kz_region *kz_region_next(struct kz_instance *instance, u32 handle);
void kz_region_get(struct kz_region *region);
void kz_region_put(struct kz_region *region);
void kz_regions_shutdown(struct kz_instance *instance);
u32 kz_region_attachments(struct kz_region *region);
void kz_region_poison(struct kz_region *region);
bool kz_region_raise_floor(struct kz_region *region, u64 unit, u64 floor);

int kz_attachment_new(struct kz_region *region, const struct khazana_attach *arg,
		      struct kz_attachment **out);
void kz_attachment_free(struct kz_attachment *attachment);
int kz_attachment_check(const struct kz_attachment *attachment);
int kz_attachment_key(const struct kz_attachment *attachment);

#endif /* KZ_REGION_H */
