// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * event.c - what is submitted to the disk, and what its callbacks set going
 *
 * Every callback is between khd_store_enter() and khd_store_leave(); every call ends in
 * khd_store_leave_call().  Both end in progress(), which moves on whatever can move.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

/* ---------------------------------------------------------------- the disk */

/* Closing: what was submitted is done at once, and its end waits for the pump. */
struct completion {
	struct kh_list link;
	struct khd_disk_io *io;
	struct khd_job *job;
	int64_t res;
};

static int64_t io_now(struct khd_disk *disk, const struct khd_disk_io *io)
{
	uint64_t offset = io->offset;
	int64_t n, total = 0;
	unsigned int i;

	if (io->op == KHD_DISK_FLUSH)
		return disk->ops->flush(disk);
	for (i = 0; i < io->iovs; i++) {
		if (io->op == KHD_DISK_READ)
			n = disk->ops->read(disk, io->file, offset, io->iov[i].iov_base,
					    io->iov[i].iov_len);
		else
			n = disk->ops->write(disk, io->file, offset, io->iov[i].iov_base,
					     io->iov[i].iov_len);
		if (n < 0)
			return n;
		total += n;
		offset += (uint64_t)n;
		if ((size_t)n < io->iov[i].iov_len)
			break;
	}
	return total;
}

static void complete_later(struct khd_store *store, struct khd_disk_io *io, struct khd_job *job)
{
	struct completion *c = calloc(1, sizeof(*c));

	if (!c) { /* closing without memory: like a crash */
		khd_store_fail(store, ENOMEM, "closing", 0);
		return;
	}
	c->io = io;
	c->job = job;
	if (io)
		c->res = io_now(store->disk, io);
	else
		job->run(job);
	kh_list_add(&store->completions, &c->link);
}

void khd_pump(struct khd_store *store)
{
	while (!kh_list_empty(&store->completions)) {
		struct completion *c = kh_list_first(&store->completions, struct completion, link);

		kh_list_del(&c->link);
		if (c->io)
			c->io->done(c->io, c->res);
		else
			c->job->done(c->job);
		free(c);
	}
}

/* Every I/O and every job begins here and ends in khd_store_enter(). */
void khd_io(struct khd_store *store, struct khd_disk_io *io)
{
	store->ios++;
	if (store->in_line)
		complete_later(store, io, NULL);
	else
		store->disk->ops->submit(store->disk, io);
}

void khd_job(struct khd_store *store, struct khd_job *job)
{
	store->jobs++;
	if (store->in_line)
		complete_later(store, NULL, job);
	else
		store->disk->ops->job(store->disk, job);
}

static void ready_run(struct khd_job *job)
{
}

static void ready_done(struct khd_job *job)
{
	struct khd_store *store = kh_container(job, struct khd_job_of, job)->store;

	store->jobs--;
	store->ready_busy = false;
	khd_store_enter(store);
	khd_store_leave(store);
}

/* What is ready now; what becomes ready in a done waits for another turn. */
static void call_ready(struct khd_store *store)
{
	struct kh_list now;
	struct khd_op *op;

	if (kh_list_empty(&store->ready))
		return;
	now = store->ready;
	now.next->prev = now.prev->next = &now;
	kh_list_init(&store->ready);
	while (!kh_list_empty(&now)) {
		struct khd_store_op *api;

		op = kh_list_first(&now, struct khd_op, link);
		kh_list_del(&op->link);
		api = khd_api(op);
		api->done(api, op->error);
	}
}

static void ready_later(struct khd_store *store)
{
	if (kh_list_empty(&store->ready) || store->ready_busy)
		return;
	store->ready_busy = true;
	store->ready_job.store = store;
	store->ready_job.job.run = ready_run;
	store->ready_job.job.done = ready_done;
	khd_job(store, &store->ready_job.job);
}

/* ---------------------------------------------------------------- going on, and ending */

/* A group or a checkpoint that an error met never ends: what it still has at the disk is counted. */
static bool quiet(const struct khd_store *store)
{
	return kh_list_empty(&store->stalled) && kh_list_empty(&store->order) &&
	       kh_list_empty(&store->syncing) && !store->gets_under_way &&
	       (store->error ||
		(store->log.state == KHD_GROUP_IDLE && store->ckpt == KHD_CKPT_IDLE)) &&
	       !khd_scrub_busy(store) && !khd_compact_busy(store);
}

/* Everything that was begun has ended: one last checkpoint, then the device has nothing of ours. */
static void try_stop(struct khd_store *store)
{
	struct khd_op *op = store->stopping;

	/* whoever stops does not wait for memory: the log has all, as after a crash */
	if (op && store->want &&
	    (khd_checkpoint_waits(store) ||
	     (store->ckpt == KHD_CKPT_IDLE && khd_store_somebody_waits(store))))
		khd_store_fail(store, store->want, "closed while memory or room is wanting", 0);
	if (!op || !quiet(store))
		return;
	if (!store->error && !store->stopped) {
		store->stopped = true; /* the checkpoint's superblock says clean */
		khd_checkpoint_want(store);
		khd_checkpoint_step(store);
		khd_log_kick(store); /* what it waits for may be in no group yet */
		khd_checkpoint_step(store);
		return;
	}
	if (store->ios || store->jobs - store->ready_busy)
		return;
	store->stopping = NULL;
	store->stopped = true;
	khd_op_finish(op, store->error ? EIO : 0);
}

static void progress(struct khd_store *store, bool submit)
{
	khd_store_advance(store);
	khd_store_finish_durable(store);
	khd_checkpoint_step(store);
	khd_assign_stalled(store);
	khd_ask_next(store);
	if (submit) {
		khd_slot_submit(store);
		khd_store_advance(store);
		khd_log_kick(store);
		khd_checkpoint_step(store);
	}
	try_stop(store);
}

/* Around every callback of the disk. */
void khd_store_enter(struct khd_store *store)
{
	store->depth++;
	khd_index_tell(store);
}

void khd_store_leave(struct khd_store *store)
{
	if (store->depth == 1) {
		khd_store_advance(store);
		khd_store_finish_durable(store);
		call_ready(store); /* before the next group closes: what it calls may join */
		progress(store, true);
		call_ready(store);
		progress(store, true);
		ready_later(store);
	}
	store->depth--;
}

/* At the end of every call: nothing is done from within it. */
void khd_store_leave_call(struct khd_store *store, bool submit)
{
	if (store->depth)
		return;
	progress(store, submit);
	ready_later(store);
}
