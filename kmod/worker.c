// SPDX-License-Identifier: GPL-2.0-only
/*
 * worker.c - the thread that ends residencies and leases in time
 *
 * A work queue's threads wait for their turn behind busy programs, for a
 * scheduler's slice or more.  A lease's end cannot wait, and while a revoke
 * waits, another node does.  So this is one thread of low real-time priority.
 */
#include <linux/err.h>
#include <linux/sched.h>

#include "worker.h"

struct kthread_worker *kz_worker;

/**
 * kz_worker_init() - start the thread
 *
 * Return: 0 or an errno.
 */
int kz_worker_init(void)
{
	kz_worker = kthread_create_worker(0, "khazana");
	if (IS_ERR(kz_worker))
		return PTR_ERR(kz_worker);
	sched_set_fifo_low(kz_worker->task);
	return 0;
}

/**
 * kz_worker_exit() - stop the thread when its work is done
 */
void kz_worker_exit(void)
{
	kthread_destroy_worker(kz_worker);
}
