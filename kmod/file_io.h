/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * file_io.h - read, write, flush and prefetch by system call
 */
#ifndef KZ_FILE_IO_H
#define KZ_FILE_IO_H

#include <linux/types.h>

struct iov_iter;
struct kiocb;
struct kz_attachment;

ssize_t kz_file_read(struct kz_attachment *attachment, struct kiocb *iocb, struct iov_iter *to);
ssize_t kz_file_write(struct kz_attachment *attachment, struct kiocb *iocb,
		      struct iov_iter *from);
int kz_range_flush(struct kz_attachment *attachment, u64 offset, u64 length);
int kz_range_prefetch(struct kz_attachment *attachment, u64 offset, u64 length);

#endif /* KZ_FILE_IO_H */
