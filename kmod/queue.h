/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * queue.h - what khd is asked and told
 */
#ifndef KZ_QUEUE_H
#define KZ_QUEUE_H

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/khazana.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>

struct io_uring_cmd;
struct kz_instance;
struct kz_region;
struct kz_unit;

#define KZ_NOTICES_MAX	65536	/* hints beyond are dropped */

/**
 * struct kz_notice - a descriptor that is not a unit's own request
 * @node: on the queue
 * @call: which it belongs to, NULL for a notice
 * @req: the descriptor
 */
struct kz_notice {
	struct list_head node;
	struct kz_call *call;
	struct khazana_request req;
};

/**
 * struct kz_call - a request with one waiter: ATTACH, FLUSH
 * @ref: of the waiter, and of the queue until it is answered
 * @notice: its descriptor
 * @done: completed with the answer
 * @error: negative errno of the answer
 * @region: answer of an ATTACH, with a reference
 * @key_serial: of the key that the ATTACH presented
 */
struct kz_call {
	struct kref ref;
	struct kz_notice notice;
	struct completion done;
	int error;
	struct kz_region *region;
	u64 key_serial;
};

/* A FETCH slot: empty, or a command that waits for a descriptor. */
struct kz_slot {
	struct list_head node;
	struct io_uring_cmd *cmd;
};

/**
 * struct kz_daemon - a registered khd
 * @instance: which it serves, with a reference
 * @owner: its file table: the close of the file by it is its end
 * @tgid: it may not touch a users' view
 * @flags: KHAZANA_REGISTER_*
 * @node: its node id
 * @port: its netlink port
 * @depth: descriptors and slots
 * @desc: the descriptors, mapped by khd
 * @slots: by tag
 */
struct kz_daemon {
	struct kz_instance *instance;
	fl_owner_t owner;
	pid_t tgid;
	u32 flags;
	u32 node;
	u32 port;
	u32 depth;
	struct khazana_request *desc;
	struct kz_slot *slots;
};

/**
 * struct kz_queue - requests and notices for khd
 * @lock: protects the rest; inside a unit's lock
 * @daemon: the registered khd, or NULL
 * @tgid: of @daemon, or 0
 * @generation: counts registrations
 * @next_id: last id given out
 * @units: units whose request is QUEUED
 * @notices: struct kz_notice to be fetched
 * @notices_count: how many
 * @fetched: calls that khd has
 * @ready: slots with a command
 * @wait: readers
 */
struct kz_queue {
	spinlock_t lock;	/* inside a unit's */
	struct kz_daemon *daemon;
	pid_t tgid;
	u32 generation;
	u64 next_id;
	struct list_head units;
	struct list_head notices;
	u32 notices_count;
	struct list_head fetched;
	struct list_head ready;
	wait_queue_head_t wait;
};

static inline bool kz_queue_has_daemon(const struct kz_queue *queue)
{
	return READ_ONCE(queue->daemon);
}

void kz_queue_init(struct kz_queue *queue);
void kz_queue_exit(struct kz_queue *queue);
void kz_queue_shutdown(struct kz_instance *instance);
void kz_queue_kick(struct kz_instance *instance);

void kz_queue_unit(struct kz_unit *unit);
void kz_queue_unit_cancel(struct kz_unit *unit);

void kz_notice_post(struct kz_instance *instance, struct kz_notice *notice);
void kz_notice_hint(struct kz_region *region, u32 op, u64 unit, u64 count, u64 token);

void kz_notice_must(struct kz_region *region, u32 op, u64 unit, u64 count, u64 token);
void kz_notice_cancel(struct kz_unit *unit);

struct kz_call *kz_call_new(u32 op);
int kz_call_run(struct kz_instance *instance, struct kz_call *call, u32 timeout_ms);
int kz_call_answer(struct kz_instance *instance, u64 id, int error, struct kz_region *region,
		   u64 key_serial);
void kz_call_put(struct kz_call *call);

bool kz_queue_pop(struct kz_daemon *daemon, struct khazana_request *req);
bool kz_queue_empty(struct kz_queue *queue);
ssize_t kz_queue_read(struct kz_daemon *daemon, struct iov_iter *to, bool nonblock);

int kz_daemon_register(struct kz_instance *instance, struct file *file,
		       struct khazana_register *arg, struct kz_daemon **out);
void kz_daemon_gone(struct kz_daemon *daemon);
void kz_daemon_free(struct kz_daemon *daemon);

#endif /* KZ_QUEUE_H */
