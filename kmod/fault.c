// SPDX-License-Identifier: GPL-2.0-only
/*
 * fault.c - loads and stores of users
 *
 * fault() runs with mmap_lock held (there is no map_pages(), so the core never
 * calls it under the lock of a VMA).  With the right there, it returns the page
 * locked, and the core installs it under that lock; that takes no reference of the
 * unit, whose record the locked page keeps.  Else it asks, and where it may, gives
 * up mmap_lock, waits and returns VM_FAULT_RETRY.  From then on the VMA may be gone; a
 * file reference keeps attachment and region, and ends after that of the unit.
 *
 * A reader that goes on gets several pages by one fault, see fault_around().
 *
 * page_mkwrite() cannot give up mmap_lock.  For an upgrade it asks, unmaps the
 * one page and returns VM_FAULT_NOPAGE: the store comes back as a miss.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "acquire.h"
#include "chardev.h"
#include "compat.h"
#include "fault.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "pair.h"
#include "region.h"
#include "trace.h"
#include "unit.h"

static struct kz_attachment *vma_attachment(struct vm_area_struct *vma)
{
	return kz_file_attachment(vma->vm_file);
}

static u32 unit_order(const struct kz_region *region)
{
	return region->unit_shift - PAGE_SHIFT;
}

static vm_fault_t fault_error(const struct kz_unit *unit, int err)
{
	trace_khazana_fault_error(unit, err);
	return VM_FAULT_SIGBUS;
}

/*
 * No memory at this moment is not the end of a program: its access comes again.  A frame beyond
 * the limit is, since it has been waited for as long as the region says.
 */
static vm_fault_t request_error(const struct kz_unit *unit, int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : fault_error(unit, kz_frame_errno(err));
}

/* Does a fault that comes back from its wait find an error? */
static int retried_error(struct kz_unit *unit, unsigned int flags)
{
	int error;

	if (!(flags & FAULT_FLAG_TRIED) || likely(!READ_ONCE(unit->error)))
		return 0;
	spin_lock(&unit->lock);
	error = kz_unit_error(unit);
	if (!error)
		unit->error = 0;
	spin_unlock(&unit->lock);
	return error;
}

/* How may this fault wait? UML sees only fatal signals, hence the look at TRIED. */
static int wait_state(unsigned int flags)
{
	const unsigned int both = FAULT_FLAG_USER | FAULT_FLAG_INTERRUPTIBLE;

	if ((flags & both) != both)
		return TASK_KILLABLE;
	if ((flags & FAULT_FLAG_TRIED) && signal_pending(current))
		return TASK_KILLABLE;
	return TASK_INTERRUPTIBLE;
}

/*
 * Wait with or without mmap_lock.  0: look again; else what fault() returns, and then the
 * reference of the unit may have been given back: acquire->unit is NULL.
 */
static vm_fault_t fault_wait(struct kz_acquire *acquire, struct vm_fault *vmf)
{
	struct kz_unit *unit = acquire->unit;
	struct file *file;
	int err;

	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
		err = kz_acquire_wait(acquire, TASK_KILLABLE);
		return err ? fault_error(unit, err) : 0;
	}
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	file = get_file(vmf->vma->vm_file);
	mmap_read_unlock(vmf->vma->vm_mm);
	err = kz_acquire_wait(acquire, wait_state(vmf->flags));
	if (err == -ETIMEDOUT) {
		spin_lock(&unit->lock);
		kz_unit_set_error(unit, err);
		spin_unlock(&unit->lock);
	}
	kz_unit_put(unit);
	acquire->unit = NULL;
	fput(file);
	return VM_FAULT_RETRY;
}

/* Map a page that nobody has touched yet, read-only; only if the right is there. */
static bool unit_map_ahead(struct kz_unit *unit, struct kz_attachment *attachment,
			   struct vm_area_struct *vma, pgoff_t pgoff, unsigned long addr)
{
	struct page *page;
	bool mapped;

	/* One that was granted to somebody who waits is his first. */
	if (READ_ONCE(unit->fresh))
		return false;
	page = kz_unit_page_trylock(unit, KHAZANA_RIGHT_READ,
				    pgoff & (kz_region_pages(unit->region) - 1));
	if (!page)
		return false;
	/* vm_page_prot of a VMA with page_mkwrite() cannot be written: a store asks as ever. */
	mapped = !kz_attachment_check(attachment) && !vm_insert_page(vma, addr, page);
	unlock_page(page);
	put_page(page);
	kz_unit_touched(unit);
	return mapped;
}

static bool map_ahead(struct kz_attachment *attachment, struct vm_area_struct *vma,
		      pgoff_t pgoff, unsigned long addr)
{
	struct kz_region *region = attachment->region;
	struct kz_unit *unit = kz_unit_find(region, pgoff >> unit_order(region));
	bool mapped;

	if (!unit)
		return false;
	mapped = unit_map_ahead(unit, attachment, vma, pgoff, addr);
	kz_unit_put(unit);
	return mapped;
}

/*
 * A reader that goes on where it was gets the next pages by one fault.  It is what
 * map_pages() would do, but for each page under its lock and with the record looked
 * at there, like fault() itself; and under mmap_lock, which map_pages() would give up.
 */
static void fault_around(struct kz_attachment *attachment, struct vm_fault *vmf)
{
	bool next = READ_ONCE(attachment->next_pgoff) == vmf->pgoff;
	unsigned long addr = vmf->address;
	u32 n;

	for (n = 1; next && n < KZ_AROUND_PAGES; n++) {
		addr += PAGE_SIZE;
		if (addr >= vmf->vma->vm_end || !(addr & ~PMD_MASK) ||
		    !map_ahead(attachment, vmf->vma, vmf->pgoff + n, addr))
			break;
	}
	WRITE_ONCE(attachment->next_pgoff, vmf->pgoff + n);
}

/* @page of @unit is locked, with a reference and the right: it is what the fault returns. */
static vm_fault_t fault_page(struct kz_unit *unit, struct page *page, u32 want,
			     struct kz_attachment *attachment, struct vm_fault *vmf)
{
	/* Poison and deletion are followed by a zap under each page lock. */
	if (unlikely(kz_attachment_check(attachment))) {
		unlock_page(page);
		put_page(page);
		return VM_FAULT_SIGBUS;
	}
	if (unlikely(READ_ONCE(unit->fresh)))
		kz_unit_used(unit);
	kz_unit_touched(unit);
	if (vmf->flags & FAULT_FLAG_USER)
		kz_pair_hit(attachment, unit);
	if (want == KHAZANA_RIGHT_READ)
		fault_around(attachment, vmf);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

/* The page, locked, if the right is there: VM_FAULT_LOCKED, or 0. */
static vm_fault_t fault_settled(struct kz_unit *unit, u32 want, u32 offset,
				struct kz_attachment *attachment, struct vm_fault *vmf)
{
	struct page *page = kz_unit_page_lock(unit, want, offset);

	return page ? fault_page(unit, page, want, attachment, vmf) : 0;
}

/* The right is not there: get it. */
static vm_fault_t fault_miss(struct kz_acquire *acquire, u32 offset,
			     struct kz_attachment *attachment, struct vm_fault *vmf)
{
	struct kz_unit *unit = acquire->unit;
	u32 want = acquire->want;
	vm_fault_t ret;
	int err;

	if (kz_attachment_check(attachment))
		return VM_FAULT_SIGBUS;
	if (vmf->flags & FAULT_FLAG_USER)
		kz_pair_miss(attachment, unit);
	for (;;) {
		kz_inject_delay(KZ_POINT_ASK);
		err = kz_acquire_request(acquire);
		if (err && err != -EINPROGRESS)
			return request_error(unit, err);
		kz_inject_delay(KZ_POINT_ASK);
		if (err) {
			ret = fault_wait(acquire, vmf);
			if (ret)
				return ret;
			if (kz_attachment_check(attachment))
				return VM_FAULT_SIGBUS;
		}
		ret = fault_settled(unit, want, offset, attachment, vmf);
		if (ret)
			return ret;
	}
}

/* What may have to wait, or comes back from it: with a reference of the unit. */
static vm_fault_t fault_slow(struct kz_attachment *attachment, u32 want, u32 offset,
			     struct vm_fault *vmf)
{
	struct kz_region *region = attachment->region;
	struct kz_acquire acquire;
	struct kz_unit *unit;
	vm_fault_t ret;
	int err;

	unit = kz_unit_get(region, vmf->pgoff >> unit_order(region));
	if (IS_ERR(unit))
		return VM_FAULT_OOM;
	kz_acquire_init(&acquire, unit, want, 0, 0);
	err = retried_error(unit, vmf->flags);
	ret = unlikely(err) ? fault_error(unit, err) :
	      fault_settled(unit, want, offset, attachment, vmf);
	if (likely(ret == VM_FAULT_LOCKED))
		kz_stat_inc(region->instance, KZ_STAT_SETTLED);
	else if (!ret)
		ret = fault_miss(&acquire, offset, attachment, vmf);
	if (acquire.unit)
		kz_unit_put(acquire.unit);
	return ret;
}

static vm_fault_t user_fault(struct vm_fault *vmf)
{
	struct kz_attachment *attachment = vma_attachment(vmf->vma);
	struct kz_region *region = attachment->region;
	u32 offset = vmf->pgoff & (kz_region_pages(region) - 1);
	u32 want = vmf->flags & FAULT_FLAG_WRITE ? KHAZANA_RIGHT_WRITE : KHAZANA_RIGHT_READ;
	struct kz_unit *unit;
	struct page *page;
	vm_fault_t ret;

	/* Whoever comes back from a wait may have to find an error. */
	page = vmf->flags & FAULT_FLAG_TRIED ? NULL :
	       kz_region_page_trylock(region, vmf->pgoff >> unit_order(region), want, offset);
	if (unlikely(!page))
		return fault_slow(attachment, want, offset, vmf);
	/* As in user_mkwrite(): the page lock keeps the frame, and the frame the record. */
	unit = kz_frame_owner(page);
	ret = fault_page(unit, page, want, attachment, vmf);
	if (likely(ret == VM_FAULT_LOCKED))
		kz_stat_inc(region->instance, KZ_STAT_SETTLED);
	return ret;
}

/* Ask for WRITE, and let the store come back as a miss. */
static vm_fault_t mkwrite_miss(struct kz_unit *unit, struct vm_fault *vmf)
{
	struct kz_acquire acquire;
	int err;

	kz_acquire_init(&acquire, unit, KHAZANA_RIGHT_WRITE, 0, 0);
	err = kz_acquire_request(&acquire);
	if (err && err != -EINPROGRESS)
		return request_error(unit, err);
	unmap_mapping_pages(unit->region->inode->i_mapping, vmf->pgoff, 1, false);
	return VM_FAULT_NOPAGE;
}

/*
 * What has ended the right, or will (a lease's end, poison), zaps the page under
 * its lock: so the record is all that has to be looked at here.
 */
static vm_fault_t user_mkwrite(struct vm_fault *vmf)
{
	const struct kz_region *region = vma_attachment(vmf->vma)->region;
	const struct kz_page_event store = { .type = KZ_EV_STORE };
	struct page *page = vmf->page;
	struct kz_unit *unit;
	vm_fault_t ret;
	int err = -EAGAIN;
	u32 act;

	lock_page(page);
	if (unlikely(page->mapping != region->inode->i_mapping)) {
		unlock_page(page);
		return VM_FAULT_NOPAGE;
	}
	/* A unit keeps its record while it has a frame, and the page lock keeps the frame. */
	unit = kz_frame_owner(page);
	spin_lock(&unit->lock);
	/* Still the page of the unit, with the right? Then it stays so while it is locked. */
	if (likely(unit->cur && unit->page.state != KHAZANA_STATE_REVOKING &&
		   unit->cur->page[vmf->pgoff & (kz_region_pages(region) - 1)] == page))
		err = kz_page_step(&unit->page, &store, &act);
	spin_unlock(&unit->lock);
	if (likely(!err))
		return VM_FAULT_LOCKED;
	kz_unit_hold(unit);
	unlock_page(page);
	ret = mkwrite_miss(unit, vmf);
	kz_unit_put(unit);
	return ret;
}

static const struct vm_operations_struct user_vm_ops = {
	.fault		= user_fault,
	.page_mkwrite	= user_mkwrite,
};

/**
 * kz_user_mmap() - map a part of the window
 * @attachment: the window
 * @vma: the new mapping
 *
 * Return: 0, EINVAL (private, or leaves the window), EACCES (a store through a read-only
 * attachment), or an errno of kz_attachment_check().
 */
int kz_user_mmap(struct kz_attachment *attachment, struct vm_area_struct *vma)
{
	struct kz_region *region = attachment->region;
	u64 pages = attachment->length >> PAGE_SHIFT;
	int err = kz_attachment_check(attachment);

	if (err)
		return err;
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff >= pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
	if (attachment->flags & KHAZANA_ATTACH_READONLY) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		vm_flags_clear(vma, VM_MAYWRITE);
	}
	vma->vm_pgoff += attachment->first << unit_order(region);
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP | VM_MIXEDMAP);
	vma->vm_ops = &user_vm_ops;
	return 0;
}
