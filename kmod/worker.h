/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker.h - the thread that ends residencies and leases in time
 */
#ifndef KZ_WORKER_H
#define KZ_WORKER_H

#include <linux/kthread.h>

extern struct kthread_worker *kz_worker;

int kz_worker_init(void);
void kz_worker_exit(void);

#endif /* KZ_WORKER_H */
