// SPDX-License-Identifier: GPL-2.0-only
/*
 * frame.c - page frames of an instance
 *
 * Frames are order-0 pages that belong to the module.  page->mapping and
 * page->index name the users' mapping of the region, so that folio_mkclean()
 * and unmap_mapping_pages() find the users' page tables; the daemon maps the
 * same pages through the view, an inode of its own.
 *
 * Charge: frames count against the instance's limit and not against the
 * memory cgroup of whoever touches a unit first.  They are shared by processes
 * of many cgroups and by khd, and an OWNED one cannot be given back on demand,
 * so that charging the first toucher would have it killed for the memory of others.
 *
 * A page is installed in page tables under its page lock only.  A frame is
 * freed after its index has left @pages, with each page locked once more,
 * so that neither a user nor the view can hold a translation afterwards.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "alloc.h"
#include "compat.h"
#include "frame.h"
#include "inject.h"
#include "pseudofs.h"
#include "region.h"
#include "unit.h"

static unsigned int frames_max;
module_param(frames_max, uint, 0644);
MODULE_PARM_DESC(frames_max, "limit of frames of a new instance, in pages (0: half of the memory)");

/**
 * kz_frames_init() - make an empty set of frames
 * @frames: the set
 *
 * Return: 0, ENOMEM, or an errno of the pseudo file system.
 */
int kz_frames_init(struct kz_frames *frames)
{
	u32 ram = clamp_t(unsigned long, totalram_pages(), 2, S32_MAX);
	u32 max = READ_ONCE(frames_max) ?: ram / 2;
	/* The limit may be raised to that. */
	u32 size = max(max, ram);

	frames->used = kvcalloc(BITS_TO_LONGS(size), sizeof(long), GFP_KERNEL);
	if (!frames->used)
		return -ENOMEM;
	frames->view = kz_inode_new();
	if (IS_ERR(frames->view)) {
		kvfree(frames->used);
		frames->used = NULL;
		return PTR_ERR(frames->view);
	}
	spin_lock_init(&frames->lock);
	xa_init(&frames->pages);
	frames->in_use = 0;
	frames->hint = 0;
	frames->size = size;
	frames->max = max;
	return 0;
}

/**
 * kz_frames_exit() - free a set whose frames are all gone
 * @frames: the set; may never have been initialised, but must be zeroed then
 */
void kz_frames_exit(struct kz_frames *frames)
{
	if (!frames->used)
		return;
	WARN_ON_ONCE(frames->in_use);
	xa_destroy(&frames->pages);
	kz_inode_put(frames->view);
	kvfree(frames->used);
}

/* Reserve @count consecutive indexes below the limit, aligned to @count.  0, or ENOSPC. */
static int index_get(struct kz_frames *frames, u32 count, u32 *index)
{
	unsigned long mask = count - 1, i;
	int err = -ENOSPC;

	spin_lock(&frames->lock);
	if (count > frames->max || frames->in_use > frames->max - count)
		goto out;
	i = bitmap_find_next_zero_area(frames->used, frames->max, frames->hint, count, mask);
	if (i >= frames->max)
		i = bitmap_find_next_zero_area(frames->used, frames->max, 0, count, mask);
	if (i >= frames->max)
		goto out;
	bitmap_set(frames->used, i, count);
	frames->hint = i + count;
	WRITE_ONCE(frames->in_use, frames->in_use + count);
	*index = i;
	err = 0;
out:
	spin_unlock(&frames->lock);
	return err;
}

static void index_put(struct kz_frames *frames, u32 index, u32 count)
{
	spin_lock(&frames->lock);
	bitmap_clear(frames->used, index, count);
	WRITE_ONCE(frames->in_use, frames->in_use - count);
	spin_unlock(&frames->lock);
}

/**
 * kz_frames_limit() - another limit, from now on
 * @frames: the set
 * @max: pages
 *
 * Whoever is above a lowered limit keeps what it has; it gets no more until enough is free.
 * Return: 0, or EINVAL if the view is smaller, or @max is 0.
 */
int kz_frames_limit(struct kz_frames *frames, u64 max)
{
	if (!max || max > frames->size)
		return -EINVAL;
	spin_lock(&frames->lock);
	WRITE_ONCE(frames->max, max);
	frames->hint = 0;
	spin_unlock(&frames->lock);
	return 0;
}

/* Say where a page belongs: to a unit in the users' mapping, or (NULL) nowhere. */
static void page_bind(struct page *page, struct kz_unit *owner, pgoff_t index)
{
	struct folio *folio = page_folio(page);

	folio->mapping = owner ? owner->region->inode->i_mapping : NULL;
	folio->index = index;
	folio->private = owner;
}

/* Take a page out of the view for good. */
static void page_retire(struct kz_frames *frames, struct page *page, u32 index)
{
	xa_erase(&frames->pages, index);
	kz_inject_delay(KZ_POINT_RETIRE);
	lock_page(page);
	if (folio_mapped(page_folio(page)))
		unmap_mapping_pages(frames->view->i_mapping, index, 1, false);
	page_bind(page, NULL, 0);
	ClearPageDirty(page);
	unlock_page(page);
	put_page(page);
}

/* A page that is zero, or holds what is at @data: nothing of its past is left in either case. */
static struct page *page_new(const void __user *data)
{
	struct page *page = alloc_page(GFP_HIGHUSER | (data ? 0 : __GFP_ZERO) | __GFP_NOWARN);
	unsigned long left;
	void *to;

	if (!page)
		return ERR_PTR(-ENOMEM);
	if (!data)
		return page;
	to = kmap_local_page(page);
	left = copy_from_user(to, data, PAGE_SIZE);
	kunmap_local(to);
	if (!left)
		return page;
	put_page(page);
	return ERR_PTR(-EFAULT);
}

/**
 * kz_frame_alloc() - allocate a frame
 * @frames: the set
 * @owner: the unit it is for
 * @data: its contents, NULL for zeros
 *
 * A page can be seen in the view when it has its contents, not before.
 * Context: may sleep; with @data no lock that a fault of khd's memory may need, be it in a view, is
 * held.  Return: the frame, or ERR_PTR(-ENOMEM) if there is no memory, ERR_PTR(-ENOSPC) if the limit
 * is reached, ERR_PTR(-EFAULT).
 */
struct kz_frame *kz_frame_alloc(struct kz_frames *frames, struct kz_unit *owner,
				const void __user *data)
{
	const struct kz_region *region = owner->region;
	u32 i, count = kz_region_pages(region);
	struct kz_frame *frame;
	int err;

	if (kz_inject_fail(KZ_POINT_FRAME))
		return ERR_PTR(-ENOMEM);
	frame = kz_alloc(struct_size(frame, page, count), GFP_KERNEL);
	if (!frame)
		return ERR_PTR(-ENOMEM);
	frame->count = count;
	err = index_get(frames, count, &frame->index);
	if (err) {
		kz_free(frame);
		return ERR_PTR(err);
	}
	for (i = 0; i < count; i++) {
		struct page *page = page_new(data ? data + i * PAGE_SIZE : NULL);

		err = PTR_ERR_OR_ZERO(page);
		if (err)
			goto fail;
		page_bind(page, owner, owner->index * count + i);
		SetPageUptodate(page);
		frame->page[i] = page;
		if (xa_err(xa_store(&frames->pages, frame->index + i, page, GFP_KERNEL))) {
			page_bind(page, NULL, 0);
			put_page(page);
			err = -ENOMEM;
			goto fail;
		}
	}
	return frame;
fail:
	while (i--)
		page_retire(frames, frame->page[i], frame->index + i);
	index_put(frames, frame->index, count);
	kz_free(frame);
	return ERR_PTR(err);
}

/**
 * kz_frame_free() - give up a frame
 * @frames: the set
 * @frame: no user maps it; NULL is allowed
 *
 * Others may still hold references to the pages, which then are theirs alone.
 * Context: may sleep; no page of it locked by the caller.
 */
void kz_frame_free(struct kz_frames *frames, struct kz_frame *frame)
{
	u32 i;

	if (!frame)
		return;
	for (i = 0; i < frame->count; i++)
		page_retire(frames, frame->page[i], frame->index + i);
	index_put(frames, frame->index, frame->count);
	kz_free(frame);
}

/**
 * kz_frame_park() - a frame belongs to no unit any more, but stays in the view
 * @frame: no user maps it
 *
 * Context: may sleep.
 */
void kz_frame_park(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++) {
		lock_page(frame->page[i]);
		page_bind(frame->page[i], NULL, 0);
		unlock_page(frame->page[i]);
	}
}

/**
 * kz_frame_lock() - lock all pages of a frame, in ascending order
 * @frame: the frame
 */
void kz_frame_lock(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++)
		lock_page(frame->page[i]);
}

/**
 * kz_frame_trylock() - the same, without waiting
 * @frame: the frame
 */
bool kz_frame_trylock(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++) {
		if (!trylock_page(frame->page[i])) {
			while (i--)
				unlock_page(frame->page[i]);
			return false;
		}
	}
	return true;
}

/**
 * kz_frame_unlock() - unlock all pages of a frame
 * @frame: the frame
 */
void kz_frame_unlock(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++)
		unlock_page(frame->page[i]);
}

/**
 * kz_frame_zap() - take a frame out of every user's address space
 * @frame: its pages are locked
 *
 * When it returns, no CPU of this node can reach the frame through a user's mapping.
 */
void kz_frame_zap(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++) {
		struct folio *folio = page_folio(frame->page[i]);

		if (!folio_mapped(folio))
			continue;
		unmap_mapping_pages(folio->mapping, folio->index, frame->count - i, false);
		return;
	}
}

/**
 * kz_frame_mkclean() - write-protect a frame in every user's address space
 * @frame: its pages are locked
 */
void kz_frame_mkclean(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++)
		folio_mkclean(page_folio(frame->page[i]));
}

/**
 * kz_frame_referenced() - does somebody hold a page beside page tables and us?
 * @frame: the frame
 */
bool kz_frame_referenced(const struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++) {
		struct page *page = frame->page[i];

		if (page_ref_count(page) > 1 + kz_page_mapcount(page))
			return true;
	}
	return false;
}

/**
 * kz_frame_zero() - clear a frame
 * @frame: the frame
 */
void kz_frame_zero(struct kz_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->count; i++)
		clear_highpage(frame->page[i]);
}

/**
 * kz_frame_copy() - copy the contents of a frame
 * @to: a frame of the same size
 * @from: what to copy
 */
void kz_frame_copy(struct kz_frame *to, const struct kz_frame *from)
{
	u32 i;

	for (i = 0; i < from->count; i++)
		copy_highpage(to->page[i], from->page[i]);
}

/* The page of an index, locked and with a reference; NULL also if it is locked already. */
static struct page *page_trylock(struct kz_frames *frames, pgoff_t index)
{
	struct page *page;

	xa_lock(&frames->pages);
	page = xa_load(&frames->pages, index);
	if (page)
		get_page(page);
	xa_unlock(&frames->pages);
	if (!page)
		return NULL;
	if (trylock_page(page)) {
		if (xa_load(&frames->pages, index) == page)
			return page;
		unlock_page(page);
	}
	put_page(page);
	return NULL;
}

/*
 * Map the frames that follow, as the units of a range get theirs one after the other.  As in
 * the fault itself, each is mapped under its page lock and only while it has its index.
 */
static void view_around(struct kz_frames *frames, struct vm_fault *vmf)
{
	unsigned long addr = vmf->address;
	bool mapped = true;
	u32 i;

	for (i = 1; mapped && i < KZ_AROUND_PAGES; i++) {
		struct page *page;

		addr += PAGE_SIZE;
		if (addr >= vmf->vma->vm_end || !(addr & ~PMD_MASK))
			return;
		page = page_trylock(frames, vmf->pgoff + i);
		if (!page)
			return;
		mapped = !vm_insert_page(vmf->vma, addr, page);
		unlock_page(page);
		put_page(page);
	}
}

/**
 * kz_view_fault() - the daemon touches a frame
 * @frames: the set
 * @vmf: the fault; its pgoff is the index
 *
 * Allocates no frame.  Return: VM_FAULT_LOCKED, or VM_FAULT_SIGBUS where there is no frame.
 */
vm_fault_t kz_view_fault(struct kz_frames *frames, struct vm_fault *vmf)
{
	struct page *page;

	xa_lock(&frames->pages);
	page = xa_load(&frames->pages, vmf->pgoff);
	if (page)
		get_page(page);
	xa_unlock(&frames->pages);
	if (!page)
		return VM_FAULT_SIGBUS;
	kz_inject_delay(KZ_POINT_VIEW);
	lock_page(page);
	if (xa_load(&frames->pages, vmf->pgoff) != page) {
		unlock_page(page);
		put_page(page);
		return VM_FAULT_SIGBUS;
	}
	view_around(frames, vmf);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}
