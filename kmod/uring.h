/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * uring.h - the queue by IORING_OP_URING_CMD
 */
#ifndef KZ_URING_H
#define KZ_URING_H

#include <linux/types.h>

struct io_uring_cmd;
struct kz_daemon;
struct kz_instance;

int kz_uring_cmd(struct kz_daemon *daemon, struct io_uring_cmd *cmd, unsigned int flags);
void kz_uring_kick(struct kz_instance *instance);
void kz_uring_cancel_all(struct kz_daemon *daemon);

#endif /* KZ_URING_H */
