/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * frame.h - page frames of an instance, numbered for the daemon's view
 */
#ifndef KZ_FRAME_H
#define KZ_FRAME_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct inode;
struct kz_unit;

#define KZ_AROUND_PAGES	16	/* most that one fault maps */
#define KZ_FEW_PART	8	/* few are left: all but one part of so many are in use */

/**
 * struct kz_frame - the machine pages of one unit
 * @index: of the first page in the daemon view; the others follow
 * @count: machine pages, a power of two
 * @page: the pages, each with one reference that belongs to the frame
 */
struct kz_frame {
	u32 index;
	u32 count;
	struct page *page[];
};

/**
 * struct kz_frames - all frames of an instance
 * @lock: protects @used, @max, @hint and @in_use; innermost
 * @used: one bit for each index of the view
 * @size: pages of the view
 * @max: the limit, in pages; more may be in use when it has been lowered
 * @hint: where to look for the next free index
 * @in_use: pages; READ_ONCE() without the lock
 * @pages: index to page; what the view may map
 * @view: inode whose mapping is the daemon's view
 */
struct kz_frames {
	spinlock_t lock;	/* innermost */
	unsigned long *used;
	u32 size;
	u32 max;
	u32 hint;
	u32 in_use;
	struct xarray pages;
	struct inode *view;
};

/* Are so many in use that a new one of @count pages may have to wait for room? */
static inline bool kz_frames_few(const struct kz_frames *frames, u32 count)
{
	u32 max = READ_ONCE(frames->max);

	return (u64)READ_ONCE(frames->in_use) + count > max - max / KZ_FEW_PART;
}

/* Outside of the module the limit of frames is want of memory, too. */
static inline int kz_frame_errno(int err)
{
	return err == -ENOSPC ? -ENOMEM : err;
}

/* The unit whose frame a page is; the page is locked and has its mapping. */
static inline struct kz_unit *kz_frame_owner(struct page *page)
{
	return page_folio(page)->private;
}

int kz_frames_init(struct kz_frames *frames);
void kz_frames_exit(struct kz_frames *frames);
int kz_frames_limit(struct kz_frames *frames, u64 max);
struct kz_frame *kz_frame_alloc(struct kz_frames *frames, struct kz_unit *owner,
				const void __user *data);
void kz_frame_free(struct kz_frames *frames, struct kz_frame *frame);
void kz_frame_park(struct kz_frame *frame);
void kz_frame_lock(struct kz_frame *frame);
bool kz_frame_trylock(struct kz_frame *frame);
void kz_frame_unlock(struct kz_frame *frame);
void kz_frame_zap(struct kz_frame *frame);
void kz_frame_mkclean(struct kz_frame *frame);
bool kz_frame_referenced(const struct kz_frame *frame);
void kz_frame_zero(struct kz_frame *frame);
void kz_frame_copy(struct kz_frame *to, const struct kz_frame *from);
vm_fault_t kz_view_fault(struct kz_frames *frames, struct vm_fault *vmf);

#endif /* KZ_FRAME_H */
