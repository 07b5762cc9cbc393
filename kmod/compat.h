/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h - what differs between the kernels that the module is built for
 */
#ifndef KZ_COMPAT_H
#define KZ_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/version.h>

#define KZ_LINUX_SINCE(major, minor)	(KERNEL_VERSION(major, minor, 0) <= LINUX_VERSION_CODE)

#if !KZ_LINUX_SINCE(6, 3)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* How often a page, which is a folio of its own, is mapped. */
static inline int kz_page_mapcount(struct page *page)
{
#if KZ_LINUX_SINCE(6, 12)
	return folio_mapcount(page_folio(page));
#else
	return page_mapcount(page);
#endif
}

#if !KZ_LINUX_SINCE(6, 13)
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*function)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

/* Copy into a page, which is a folio of its own, without faults. */
static inline size_t kz_page_copy_from(struct page *page, size_t offset, size_t bytes,
				       struct iov_iter *from)
{
#if KZ_LINUX_SINCE(6, 12)
	return copy_folio_from_iter_atomic(page_folio(page), offset, bytes, from);
#else
	return copy_page_from_iter_atomic(page, offset, bytes, from);
#endif
}

#if KZ_LINUX_SINCE(6, 7)
#include <linux/io_uring/cmd.h>

/* Both payloads have 16 bytes, which each entry has room for. */
static inline const void *kz_uring_payload(const struct io_uring_cmd *cmd)
{
	return cmd->sqe->cmd;
}

#define KZ_URING_CANCEL	IO_URING_F_CANCEL

static inline struct shrinker *kz_shrinker_register(const struct shrinker *ops)
{
	struct shrinker *shrinker = shrinker_alloc(0, "khazana");

	if (!shrinker)
		return NULL;
	shrinker->count_objects = ops->count_objects;
	shrinker->scan_objects = ops->scan_objects;
	shrinker->seeks = ops->seeks;
	shrinker_register(shrinker);
	return shrinker;
}

static inline void kz_shrinker_unregister(struct shrinker *shrinker)
{
	shrinker_free(shrinker);
}
#else
#include <linux/io_uring.h>

static inline const void *kz_uring_payload(const struct io_uring_cmd *cmd)
{
	return cmd->cmd;
}

#define KZ_URING_CANCEL	0

static inline void io_uring_cmd_mark_cancelable(struct io_uring_cmd *cmd, unsigned int flags)
{
}

static inline struct shrinker *kz_shrinker_register(const struct shrinker *ops)
{
	struct shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);

	if (!shrinker)
		return NULL;
	shrinker->count_objects = ops->count_objects;
	shrinker->scan_objects = ops->scan_objects;
	shrinker->seeks = ops->seeks;
	if (register_shrinker(shrinker, "khazana")) {
		kfree(shrinker);
		return NULL;
	}
	return shrinker;
}

static inline void kz_shrinker_unregister(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(shrinker);
}
#endif

static inline void kz_uring_done(struct io_uring_cmd *cmd, s32 result, unsigned int flags)
{
#if KZ_LINUX_SINCE(6, 18)
	io_uring_cmd_done(cmd, result, flags);
#else
	io_uring_cmd_done(cmd, result, 0, flags);
#endif
}

/* Define @work for io_uring_cmd_complete_in_task(), to call @run(command, flags). */
#if KZ_LINUX_SINCE(6, 19)
#define KZ_URING_WORK(work, run)						\
static void work(struct io_tw_req request, io_tw_token_t token)			\
{										\
	run(io_uring_cmd_from_tw(request), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);	\
}
#else
#define KZ_URING_WORK(work, run)						\
static void work(struct io_uring_cmd *cmd, unsigned int flags)			\
{										\
	run(cmd, flags);							\
}
#endif

#endif /* KZ_COMPAT_H */
