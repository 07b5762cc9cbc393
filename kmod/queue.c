// SPDX-License-Identifier: GPL-2.0-only
/*
 * queue.c - what khd is asked and told
 *
 * A unit that needs a right is itself the entry of the queue, so a fault
 * allocates nothing for its request, and what khd reads is the record at the
 * time of the reading.  Units of one range lock that follow each other become
 * one descriptor.  Everything else (calls with a waiter, notices) is a
 * struct kz_notice.
 *
 * Lock order: unit->lock, queue->lock.
 */
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/uio.h>

#include "alloc.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "region.h"
#include "trace.h"
#include "unit.h"
#include "uring.h"

/**
 * kz_queue_init() - make an empty queue
 * @queue: the queue
 */
void kz_queue_init(struct kz_queue *queue)
{
	spin_lock_init(&queue->lock);
	INIT_LIST_HEAD(&queue->units);
	INIT_LIST_HEAD(&queue->notices);
	INIT_LIST_HEAD(&queue->fetched);
	INIT_LIST_HEAD(&queue->ready);
	init_waitqueue_head(&queue->wait);
}

/* Free the notices of a list; calls lose the queue's reference. */
static void notices_free(struct list_head *list, int error)
{
	struct kz_notice *notice, *next;

	list_for_each_entry_safe(notice, next, list, node) {
		list_del_init(&notice->node);
		if (notice->call) {
			notice->call->error = error;
			complete(&notice->call->done);
			kz_call_put(notice->call);
		} else {
			kz_free(notice);
		}
	}
}

/**
 * kz_queue_exit() - free what is left
 * @queue: the queue, without a khd
 */
void kz_queue_exit(struct kz_queue *queue)
{
	notices_free(&queue->notices, -ESHUTDOWN);
	notices_free(&queue->fetched, -ESHUTDOWN);
}

/**
 * kz_queue_kick() - hand out what is queued
 * @instance: the instance
 *
 * Context: any but hard interrupt; no unit's lock held.
 */
void kz_queue_kick(struct kz_instance *instance)
{
	kz_uring_kick(instance);
	if (wq_has_sleeper(&instance->queue.wait))
		wake_up_interruptible(&instance->queue.wait);
}

/**
 * kz_queue_unit() - ask khd for what the unit's record wants
 * @unit: its lock is held; the caller kicks the queue after it
 */
void kz_queue_unit(struct kz_unit *unit)
{
	struct kz_queue *queue = &unit->region->instance->queue;

	lockdep_assert_held(&unit->lock);
	spin_lock(&queue->lock);
	if (unit->request != KZ_REQUEST_QUEUED) {
		list_add_tail(&unit->qnode, &queue->units);
		unit->request = KZ_REQUEST_QUEUED;
		unit->req_id = 0;
	}
	spin_unlock(&queue->lock);
}

/**
 * kz_queue_unit_cancel() - the unit's request is answered or void
 * @unit: its lock is held
 */
void kz_queue_unit_cancel(struct kz_unit *unit)
{
	struct kz_queue *queue = &unit->region->instance->queue;

	spin_lock(&queue->lock);
	list_del_init(&unit->qnode);
	unit->request = KZ_REQUEST_NONE;
	unit->req_id = 0;
	spin_unlock(&queue->lock);
}

/**
 * kz_notice_post() - queue a notice
 * @instance: the instance
 * @notice: from kz_alloc(); freed here if nobody is registered
 *
 * Context: any but hard interrupt; no unit's lock held.
 */
void kz_notice_post(struct kz_instance *instance, struct kz_notice *notice)
{
	struct kz_queue *queue = &instance->queue;
	bool queued = false;

	spin_lock(&queue->lock);
	if (queue->daemon) {
		list_add_tail(&notice->node, &queue->notices);
		queue->notices_count++;
		queued = true;
	}
	spin_unlock(&queue->lock);
	if (queued)
		kz_queue_kick(instance);
	else
		kz_free(notice);
}

/**
 * kz_notice_hint() - queue a notice that may be lost without harm
 * @region: what it is about
 * @op: enum khazana_req_op
 * @unit: first unit
 * @count: units
 * @token: of the right it is about
 *
 * Context: any but hard interrupt; no unit's lock held.
 */
void kz_notice_hint(struct kz_region *region, u32 op, u64 unit, u64 count, u64 token)
{
	struct kz_instance *instance = region->instance;
	struct kz_notice *notice = NULL;

	if (READ_ONCE(instance->queue.notices_count) < KZ_NOTICES_MAX &&
	    !kz_inject_fail(KZ_POINT_CALL))
		notice = kz_zalloc(sizeof(*notice), GFP_NOWAIT | __GFP_NOWARN);
	if (!notice) {
		kz_stat_inc(instance, KZ_STAT_NOTICES_LOST);
		return;
	}
	notice->req.op = op;
	notice->req.region = region->handle;
	notice->req.unit = unit;
	notice->req.count = count;
	notice->req.token = token;
	kz_notice_post(instance, notice);
}

/**
 * kz_notice_must() - queue a notice that khd waits for
 * @region: what it is about
 * @op: enum khazana_req_op
 * @unit: first unit
 * @count: units
 * @token: of the right it is about
 *
 * Context: may sleep.
 */
void kz_notice_must(struct kz_region *region, u32 op, u64 unit, u64 count, u64 token)
{
	struct kz_notice *notice = kz_zalloc(sizeof(*notice), GFP_KERNEL | __GFP_NOFAIL);

	notice->req.op = op;
	notice->req.region = region->handle;
	notice->req.unit = unit;
	notice->req.count = count;
	notice->req.token = token;
	kz_notice_post(region->instance, notice);
}

/**
 * kz_notice_cancel() - a waiter has gone: if it was the last, khd may forget the request
 * @unit: none of its locks is held
 */
void kz_notice_cancel(struct kz_unit *unit)
{
	struct kz_instance *instance = unit->region->instance;
	struct kz_notice *notice;
	u64 id = READ_ONCE(unit->req_id);

	if (!id || wq_has_sleeper(&unit->wait))
		return;
	notice = kz_zalloc(sizeof(*notice), GFP_KERNEL);
	if (!notice) {
		kz_stat_inc(instance, KZ_STAT_NOTICES_LOST);
		return;
	}
	notice->req.op = KHAZANA_REQ_CANCELLED;
	notice->req.region = unit->region->handle;
	notice->req.unit = unit->index;
	notice->req.count = 1;
	notice->req.cookie = id;
	kz_notice_post(instance, notice);
}

static void call_free(struct kref *ref)
{
	struct kz_call *call = container_of(ref, struct kz_call, ref);

	if (call->region)
		kz_region_put(call->region);
	kz_free_sensitive(call);
}

/**
 * kz_call_put() - give back a reference
 * @call: the call
 */
void kz_call_put(struct kz_call *call)
{
	kref_put(&call->ref, call_free);
}

/**
 * kz_call_new() - make a request with a waiter
 * @op: enum khazana_req_op
 *
 * Return: the call, to be filled in at notice.req and run; or NULL.
 */
struct kz_call *kz_call_new(u32 op)
{
	struct kz_call *call;

	if (kz_inject_fail(KZ_POINT_CALL))
		return NULL;
	call = kz_zalloc(sizeof(*call), GFP_KERNEL);
	if (!call)
		return NULL;
	kref_init(&call->ref);
	init_completion(&call->done);
	call->notice.call = call;
	call->notice.req.op = op;
	return call;
}

/* Nobody waits any more: forget it, or tell khd. */
static void call_cancel(struct kz_instance *instance, struct kz_call *call)
{
	struct kz_queue *queue = &instance->queue;
	struct kz_notice *notice = NULL;
	u64 id = 0;
	bool mine;

	spin_lock(&queue->lock);
	mine = !list_empty(&call->notice.node);
	if (mine) {
		list_del_init(&call->notice.node);
		id = call->notice.req.id;
		if (!id)
			queue->notices_count--;
	}
	spin_unlock(&queue->lock);
	if (!mine)
		return;
	if (id)
		notice = kz_zalloc(sizeof(*notice), GFP_KERNEL);
	if (notice) {
		notice->req.op = KHAZANA_REQ_CANCELLED;
		notice->req.region = call->notice.req.region;
		notice->req.cookie = id;
		kz_notice_post(instance, notice);
	}
	kz_call_put(call);
}

/**
 * kz_call_run() - queue a call and wait for its answer
 * @instance: the instance
 * @call: from kz_call_new()
 * @timeout_ms: limit
 *
 * Return: the answer's errno, ENODEV without a khd, ETIMEDOUT, EINTR (killed).
 */
int kz_call_run(struct kz_instance *instance, struct kz_call *call, u32 timeout_ms)
{
	struct kz_queue *queue = &instance->queue;
	long left;

	call->notice.req.timeout_ms = timeout_ms;
	spin_lock(&queue->lock);
	if (!queue->daemon || READ_ONCE(instance->dead)) {
		spin_unlock(&queue->lock);
		return READ_ONCE(instance->dead) ? -ESHUTDOWN : -ENODEV;
	}
	kref_get(&call->ref);
	list_add_tail(&call->notice.node, &queue->notices);
	queue->notices_count++;
	spin_unlock(&queue->lock);
	kz_queue_kick(instance);

	left = wait_for_completion_killable_timeout(&call->done, msecs_to_jiffies(timeout_ms));
	if (left > 0)
		return call->error;
	call_cancel(instance, call);
	kz_stat_inc(instance, left ? KZ_STAT_KILLED : KZ_STAT_TIMEOUTS);
	return left ? -EINTR : -ETIMEDOUT;
}

/**
 * kz_call_answer() - khd answers a call
 * @instance: the instance
 * @id: of the request
 * @error: negative errno, or 0
 * @region: answer of an ATTACH, whose reference is taken over; or NULL
 * @key_serial: of the key that the ATTACH presented
 *
 * Return: 0, or ENOENT if nobody waits for @id.
 */
int kz_call_answer(struct kz_instance *instance, u64 id, int error, struct kz_region *region,
		   u64 key_serial)
{
	struct kz_queue *queue = &instance->queue;
	struct kz_notice *notice, *found = NULL;

	spin_lock(&queue->lock);
	list_for_each_entry(notice, &queue->fetched, node) {
		if (notice->req.id == id &&
		    (!region || notice->req.op == KHAZANA_REQ_ATTACH)) {
			list_del_init(&notice->node);
			found = notice;
			break;
		}
	}
	spin_unlock(&queue->lock);
	if (!found)
		return -ENOENT;
	found->call->error = error;
	if (found->req.op == KHAZANA_REQ_ATTACH && !error && !region)
		found->call->error = -EIO;
	found->call->region = region;
	found->call->key_serial = key_serial;
	complete(&found->call->done);
	kz_call_put(found->call);
	return 0;
}

static void unit_describe(struct kz_unit *unit, u64 id, struct khazana_request *req)
{
	const struct kz_page *page = &unit->page;

	memset(req, 0, sizeof(*req));
	req->id = id;
	req->op = KHAZANA_REQ_FAULT;
	req->region = unit->region->handle;
	req->unit = unit->index;
	req->count = 1;
	req->want = page->want;
	req->token = page->token;
	req->flags = unit->req_flags;
	/* Who will be refused when he has the right leaves the contents alone. */
	if (unit->req_serial < READ_ONCE(unit->region->key_serial))
		req->flags &= ~KHAZANA_REQF_OVERWRITE;
	if (req->flags & KHAZANA_REQF_OVERWRITE)
		req->cookie = unit->req_serial;
	req->version = page->version;
	req->timeout_ms = unit->region->wait_ms;
	if (page->flags & KHAZANA_UNIT_HANDOFF) {
		req->version = page->handoff_version;
		req->flags |= KHAZANA_REQF_HANDOFF;
	}
	if (unit->cur && page->state == KHAZANA_STATE_FETCHING) {
		req->frame = unit->cur->index;
		req->flags |= KHAZANA_REQF_FRAME;
	}
}

/* May @unit, next in the queue, go out in the descriptor @req? */
static bool unit_continues(struct kz_unit *unit, const struct khazana_request *req)
{
	struct khazana_request next;

	if (unit->region->handle != req->region || unit->index != req->unit + req->count)
		return false;
	unit_describe(unit, req->id, &next);
	return next.want == req->want && next.version == req->version &&
	       next.cookie == req->cookie &&
	       (next.flags & ~KHAZANA_REQF_FRAME) == (req->flags & ~KHAZANA_REQF_FRAME);
}

/* Take @unit, the next in the queue, along in the descriptor @req, if it fits. */
static bool unit_join(struct kz_unit *unit, struct khazana_request *req)
{
	bool fits;

	/* The order is unit, queue: only try. */
	if (!spin_trylock(&unit->lock))
		return false;
	fits = unit_continues(unit, req);
	if (fits) {
		list_del_init(&unit->qnode);
		unit->request = KZ_REQUEST_FETCHED;
		unit->req_id = req->id;
		req->count++;
	}
	spin_unlock(&unit->lock);
	return fits;
}

/* Take along the units of a range that follow; they get the same id. */
static void units_extend(struct kz_queue *queue, struct khazana_request *req)
{
	struct kz_unit *unit;
	bool more = true;

	while (more && req->count < KHAZANA_RANGE_UNITS_MAX) {
		spin_lock(&queue->lock);
		unit = list_first_entry_or_null(&queue->units, struct kz_unit, qnode);
		more = unit && unit_join(unit, req);
		spin_unlock(&queue->lock);
	}
	if (req->count > 1) {
		req->flags &= ~KHAZANA_REQF_FRAME;
		req->frame = 0;
	}
}

/* The next unit of the queue as a descriptor; false if there is none for @daemon. */
static bool unit_pop(struct kz_daemon *daemon, struct khazana_request *req)
{
	struct kz_queue *queue = &daemon->instance->queue;

	for (;;) {
		struct kz_region *region;
		struct kz_unit *unit;
		bool valid;
		u64 id;

		spin_lock(&queue->lock);
		unit = list_first_entry_or_null(&queue->units, struct kz_unit, qnode);
		if (!unit || queue->daemon != daemon) {
			spin_unlock(&queue->lock);
			return false;
		}
		list_del_init(&unit->qnode);
		region = unit->region;
		if (!kref_get_unless_zero(&region->ref)) {
			unit->request = KZ_REQUEST_NONE;
			spin_unlock(&queue->lock);
			continue;
		}
		id = ++queue->next_id;
		unit->request = KZ_REQUEST_FETCHED;
		unit->req_id = id;
		/* What is in the queue wants something, so that it cannot go. */
		kz_unit_hold(unit);
		spin_unlock(&queue->lock);

		spin_lock(&unit->lock);
		valid = unit->req_id == id;
		if (valid)
			unit_describe(unit, id, req);
		spin_unlock(&unit->lock);
		if (valid && (req->flags & KHAZANA_REQF_LOCK))
			units_extend(queue, req);
		kz_unit_put(unit);
		kz_region_put(region);
		if (valid)
			return true;
	}
}

/**
 * kz_queue_pop() - take the next descriptor
 * @daemon: for which khd; one that is gone takes nothing, as nobody would ask again
 * @req: out: the descriptor
 *
 * Context: may sleep; no lock held.  Return: false if there is nothing.
 */
bool kz_queue_pop(struct kz_daemon *daemon, struct khazana_request *req)
{
	struct kz_instance *instance = daemon->instance;
	struct kz_queue *queue = &instance->queue;
	struct kz_notice *notice = NULL;
	bool call = false;

	spin_lock(&queue->lock);
	if (queue->daemon == daemon)
		notice = list_first_entry_or_null(&queue->notices, struct kz_notice, node);
	if (notice) {
		call = notice->call;
		queue->notices_count--;
		notice->req.id = ++queue->next_id;
		*req = notice->req;
		if (call)
			list_move_tail(&notice->node, &queue->fetched);
		else
			list_del_init(&notice->node);
	}
	spin_unlock(&queue->lock);
	if (notice && !call)
		kz_free(notice);
	if (!notice && !unit_pop(daemon, req))
		return false;
	kz_stat_inc(instance, KZ_STAT_REQUESTS);
	trace_khazana_request(req);
	return true;
}

/**
 * kz_queue_empty() - is there nothing to fetch?
 * @queue: the queue
 */
bool kz_queue_empty(struct kz_queue *queue)
{
	return list_empty_careful(&queue->units) && list_empty_careful(&queue->notices);
}

/**
 * kz_queue_read() - read(2) by khd
 * @daemon: the khd
 * @to: where to
 * @nonblock: do not wait
 *
 * Return: bytes, EAGAIN, EINTR, ENODEV, EINVAL (no room for one descriptor), EFAULT.
 */
ssize_t kz_queue_read(struct kz_daemon *daemon, struct iov_iter *to, bool nonblock)
{
	struct kz_queue *queue = &daemon->instance->queue;
	struct khazana_request req;
	ssize_t done = 0;
	int err;

	if (iov_iter_count(to) < sizeof(req))
		return -EINVAL;
	while (iov_iter_count(to) >= sizeof(req)) {
		/* A descriptor that was taken must not be lost: look before. */
		if (fault_in_iov_iter_writeable(to, sizeof(req)))
			return done ? done : -EFAULT;
		if (kz_queue_pop(daemon, &req)) {
			if (copy_to_iter(&req, sizeof(req), to) != sizeof(req))
				return done ? done : -EFAULT;
			done += sizeof(req);
			continue;
		}
		if (done)
			return done;
		if (READ_ONCE(queue->daemon) != daemon)
			return -ENODEV;
		if (nonblock)
			return -EAGAIN;
		err = wait_event_interruptible(queue->wait, !kz_queue_empty(queue) ||
					       READ_ONCE(queue->daemon) != daemon);
		if (err)
			return -EINTR;
	}
	return done;
}
