/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker.h - one thread for what blocks, and the way back into a loop
 */
#ifndef KHD_WORKER_H
#define KHD_WORKER_H

#include "khd/store/disk.h" /* struct khd_job */

struct khd_worker;

/* Starts the thread; NULL and errno. */
struct khd_worker *khd_worker_new(void);

/* Jobs that were given are run first, their `done` is not called. NULL is allowed. */
void khd_worker_free(struct khd_worker *worker);

/* Run @job in the thread, after all that were given before. */
void khd_worker_give(struct khd_worker *worker, struct khd_job *job);

/* Can be read when khd_worker_reap() has something to do. */
int khd_worker_fd(const struct khd_worker *worker);

/* Call `done` of all that were run, in order. */
void khd_worker_reap(struct khd_worker *worker);

#endif /* KHD_WORKER_H */
