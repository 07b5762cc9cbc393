// SPDX-License-Identifier: GPL-2.0-only
/*
 * file_io.c - read, write, flush and prefetch by system call
 *
 * A read takes a reference to the page while it has the right, and copies without
 * the page lock: a revoke meanwhile waits for the reference.  A write copies under the
 * page lock, with page faults off, so that nobody waits for a page of ours while
 * he holds another; the source is faulted in before.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/uio.h>

#include "acquire.h"
#include "compat.h"
#include "file_io.h"
#include "instance.h"
#include "region.h"
#include "unit.h"

/* Where a byte of the window is. */
struct place {
	u64 unit;
	u32 page;
	u32 offset;
	u32 rest;	/* bytes to the end of the machine page */
};

static struct place place_of(const struct kz_attachment *attachment, u64 pos)
{
	const struct kz_region *region = attachment->region;
	u64 mask = (1ULL << region->unit_shift) - 1;

	return (struct place){
		.unit = attachment->first + (pos >> region->unit_shift),
		.page = (pos & mask) >> PAGE_SHIFT,
		.offset = offset_in_page(pos),
		.rest = PAGE_SIZE - offset_in_page(pos),
	};
}

/* Get a page for a system call: locked, with a reference, as the unit is. */
static int page_get(struct kz_attachment *attachment, const struct place *place, u32 want,
		    struct kz_unit **unit, struct page **page)
{
	struct kz_region *region = attachment->region;
	struct kz_acquire acquire;
	int err;

	*unit = kz_unit_get(region, place->unit);
	if (IS_ERR(*unit))
		return PTR_ERR(*unit);
	kz_acquire_init(&acquire, *unit, want, 0, 0);
	err = kz_acquire_page(&acquire, attachment, place->page, page);
	if (err == -ETIMEDOUT && (READ_ONCE(region->flags) & KHAZANA_CMDF_EIO))
		err = -EIO;
	if (!err)
		kz_unit_used(*unit);
	else
		kz_unit_put(*unit);
	return err;
}

/**
 * kz_file_read() - read(2) of the window
 * @attachment: the window
 * @iocb: position
 * @to: where to
 *
 * Return: bytes, 0 at the end of the window, or an errno.
 */
ssize_t kz_file_read(struct kz_attachment *attachment, struct kiocb *iocb, struct iov_iter *to)
{
	ssize_t done = 0;
	int err = 0;

	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;
	while (iov_iter_count(to) && iocb->ki_pos < attachment->length) {
		struct place place = place_of(attachment, iocb->ki_pos);
		struct kz_unit *unit;
		struct page *page;
		size_t copied;

		err = page_get(attachment, &place, KHAZANA_RIGHT_READ, &unit, &page);
		if (err)
			break;
		unlock_page(page);
		kz_unit_put(unit);
		copied = copy_page_to_iter(page, place.offset,
					   min_t(size_t, place.rest, iov_iter_count(to)), to);
		put_page(page);
		if (!copied) {
			err = -EFAULT;
			break;
		}
		iocb->ki_pos += copied;
		done += copied;
	}
	return done ?: err;
}

/* Copy into one machine page; 0 if the source went away again. */
static ssize_t write_page(struct kz_attachment *attachment, loff_t pos, struct iov_iter *from)
{
	const struct kz_page_event store = { .type = KZ_EV_STORE };
	struct place place = place_of(attachment, pos);
	size_t copied, bytes = min_t(size_t, place.rest, iov_iter_count(from));
	struct kz_unit *unit;
	struct page *page;
	u32 act;
	int err;

	if (fault_in_iov_iter_readable(from, bytes) == bytes)
		return -EFAULT;
	err = page_get(attachment, &place, KHAZANA_RIGHT_WRITE, &unit, &page);
	if (err)
		return err;
	spin_lock(&unit->lock);
	kz_page_step(&unit->page, &store, &act);
	spin_unlock(&unit->lock);
	copied = kz_page_copy_from(page, place.offset, bytes, from);
	flush_dcache_page(page);
	unlock_page(page);
	put_page(page);
	kz_unit_put(unit);
	return copied;
}

/**
 * kz_file_write() - write(2) to the window
 * @attachment: the window
 * @iocb: position
 * @from: where from
 *
 * Return: bytes, or an errno; ENOSPC at the end of the window, EACCES if it is read-only.
 */
ssize_t kz_file_write(struct kz_attachment *attachment, struct kiocb *iocb,
		      struct iov_iter *from)
{
	ssize_t done = 0, copied = 0;

	if (attachment->flags & KHAZANA_ATTACH_READONLY)
		return -EACCES;
	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;
	if (iocb->ki_flags & IOCB_APPEND)
		iocb->ki_pos = attachment->length;
	while (iov_iter_count(from)) {
		if (iocb->ki_pos >= attachment->length) {
			copied = -ENOSPC;
			break;
		}
		if (iov_iter_count(from) > attachment->length - iocb->ki_pos)
			iov_iter_truncate(from, attachment->length - iocb->ki_pos);
		copied = write_page(attachment, iocb->ki_pos, from);
		if (copied < 0)
			break;
		iocb->ki_pos += copied;
		done += copied;
	}
	return done ?: copied;
}

/* The units of a byte range: 0, or ERANGE. */
static int range_units(const struct kz_attachment *attachment, u64 offset, u64 length,
		       u64 *unit, u64 *count)
{
	u32 shift = attachment->region->unit_shift;

	if (offset >= attachment->length || length > attachment->length - offset)
		return -ERANGE;
	if (!length)
		length = attachment->length - offset;
	*unit = attachment->first + (offset >> shift);
	*count = attachment->first + ((offset + length - 1) >> shift) - *unit + 1;
	return 0;
}

/**
 * kz_range_flush() - as safe as the region's attributes say
 * @attachment: the window
 * @offset: first byte
 * @length: bytes, 0 to the end of the window
 *
 * Return: 0 or an errno of khd's answer.
 */
int kz_range_flush(struct kz_attachment *attachment, u64 offset, u64 length)
{
	struct kz_region *region = attachment->region;
	struct kz_call *call;
	u64 unit, count;
	int err = range_units(attachment, offset, length, &unit, &count);

	if (err)
		return err;
	kz_units_done(region, unit, count);
	call = kz_call_new(KHAZANA_REQ_FLUSH);
	if (!call)
		return -ENOMEM;
	call->notice.req.region = region->handle;
	call->notice.req.unit = unit;
	call->notice.req.count = count;
	err = kz_call_run(region->instance, call, region->wait_ms);
	kz_call_put(call);
	return err;
}

/**
 * kz_range_prefetch() - a hint that READ copies will be wanted
 * @attachment: the window
 * @offset: first byte
 * @length: bytes, 0 to the end of the window
 *
 * Return: 0 or ERANGE.
 */
int kz_range_prefetch(struct kz_attachment *attachment, u64 offset, u64 length)
{
	u64 unit, count;
	int err = range_units(attachment, offset, length, &unit, &count);

	if (err)
		return err;
	kz_notice_hint(attachment->region, KHAZANA_REQ_PREFETCH, unit,
		       min_t(u64, count, KHAZANA_RANGE_UNITS_MAX), 0);
	return 0;
}
