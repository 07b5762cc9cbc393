/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * acquire.h - getting a right, by waiting for khd
 */
#ifndef KZ_ACQUIRE_H
#define KZ_ACQUIRE_H

#include <linux/types.h>

struct kz_attachment;
struct kz_region;
struct kz_unit;
struct page;

/**
 * struct kz_acquire - somebody who wants a right
 * @unit: to which unit
 * @want: enum khazana_right
 * @req_flags: KHAZANA_REQF_* of the request
 * @key_serial: of the key by which it may be OVERWRITE
 * @seq: failures of the unit that were before
 * @limit: jiffies at which the wait is over
 * @state: TASK_KILLABLE, or TASK_INTERRUPTIBLE where a signal ends the call
 * @quiet: do not hand the request to khd yet: more follow, and the caller kicks the queue
 */
struct kz_acquire {
	struct kz_unit *unit;
	u32 want;
	u32 req_flags;
	u64 key_serial;
	u32 seq;
	unsigned long limit;
	int state;
	bool quiet;
};

void kz_acquire_init(struct kz_acquire *acquire, struct kz_unit *unit, u32 want,
		     u32 req_flags, u32 timeout_ms);
int kz_acquire_request(struct kz_acquire *acquire);
int kz_acquire_wait(struct kz_acquire *acquire, int state);
int kz_acquire(struct kz_acquire *acquire, const struct kz_attachment *attachment);
int kz_acquire_page(struct kz_acquire *acquire, const struct kz_attachment *attachment,
		    u32 offset, struct page **page);
struct page *kz_unit_page_lock(struct kz_unit *unit, u32 want, u32 offset);
struct page *kz_unit_page_trylock(struct kz_unit *unit, u32 want, u32 offset);
struct page *kz_region_page_trylock(struct kz_region *region, u64 index, u32 want, u32 offset);
void kz_unit_used(struct kz_unit *unit);
u64 kz_unit_residency(const struct kz_unit *unit);
void kz_unit_granted(struct kz_unit *unit);
void kz_units_done(struct kz_region *region, u64 first, u64 count);

#endif /* KZ_ACQUIRE_H */
