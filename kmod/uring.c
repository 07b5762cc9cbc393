// SPDX-License-Identifier: GPL-2.0-only
/*
 * uring.c - the queue by IORING_OP_URING_CMD
 *
 * A slot is empty or holds the one command that waits for a descriptor.
 * Whoever takes the command out, under the queue's lock, completes it: a
 * descriptor for it, the end of khd, or its cancellation.  So each completes once.
 */
#include <linux/nospec.h>

#include "command.h"
#include "compat.h"
#include "instance.h"
#include "queue.h"
#include "uring.h"

/* What the task work needs to know, in the command's own space. */
struct kz_pdu {
	u32 tag;
	s32 result;
};

static struct kz_pdu *cmd_pdu(struct io_uring_cmd *cmd)
{
	return (struct kz_pdu *)&cmd->pdu;
}

static void cmd_complete(struct io_uring_cmd *cmd, unsigned int flags)
{
	kz_uring_done(cmd, cmd_pdu(cmd)->result, flags);
}

KZ_URING_WORK(cmd_work, cmd_complete)

static int fetch(struct kz_daemon *daemon, struct io_uring_cmd *cmd, unsigned int flags)
{
	const struct khazana_uring_fetch *arg = kz_uring_payload(cmd);
	struct kz_queue *queue = &daemon->instance->queue;
	u32 tag = READ_ONCE(arg->tag);
	struct kz_slot *slot;
	int err = -EIOCBQUEUED;

	if (READ_ONCE(arg->reserved[0]) || READ_ONCE(arg->reserved[1]) ||
	    READ_ONCE(arg->reserved[2]) || tag >= daemon->depth)
		return -EINVAL;
	slot = &daemon->slots[array_index_nospec(tag, daemon->depth)];
	cmd_pdu(cmd)->tag = tag;
	io_uring_cmd_mark_cancelable(cmd, flags);
	spin_lock(&queue->lock);
	if (queue->daemon != daemon) {
		err = -ENODEV;
	} else if (slot->cmd) {
		err = -EBUSY;
	} else {
		slot->cmd = cmd;
		list_add_tail(&slot->node, &queue->ready);
	}
	spin_unlock(&queue->lock);
	if (err == -EIOCBQUEUED) {
		kz_uring_kick(daemon->instance);
		return err;
	}
	kz_uring_done(cmd, err, flags);
	return -EIOCBQUEUED;
}

/* The ring or its task goes away: give the command back. */
static void cancel(struct kz_daemon *daemon, struct io_uring_cmd *cmd, unsigned int flags)
{
	struct kz_queue *queue = &daemon->instance->queue;
	struct kz_slot *slot = &daemon->slots[cmd_pdu(cmd)->tag];
	bool mine;

	spin_lock(&queue->lock);
	mine = slot->cmd == cmd;
	if (mine) {
		slot->cmd = NULL;
		list_del_init(&slot->node);
	}
	spin_unlock(&queue->lock);
	if (mine)
		kz_uring_done(cmd, -ENODEV, flags);
}

/**
 * kz_uring_cmd() - a command of khd
 * @daemon: its registration
 * @cmd: the command
 * @flags: IO_URING_F_*
 *
 * The submission entry is shared with user space: each field is read once.
 * Return: EIOCBQUEUED, a result, or EINVAL, ENODEV.
 */
int kz_uring_cmd(struct kz_daemon *daemon, struct io_uring_cmd *cmd, unsigned int flags)
{
	struct khazana_batch batch;
	const struct khazana_batch *arg;

	if (KZ_URING_CANCEL && (flags & KZ_URING_CANCEL)) {
		cancel(daemon, cmd, flags);
		return 0;
	}
	switch (cmd->cmd_op) {
	case KHAZANA_URING_FETCH:
		if (daemon->flags & KHAZANA_REGISTER_NO_URING)
			return -EINVAL;
		return fetch(daemon, cmd, flags);
	case KHAZANA_URING_COMMAND:
		arg = kz_uring_payload(cmd);
		batch.size = READ_ONCE(arg->size);
		batch.count = READ_ONCE(arg->count);
		batch.cmds = READ_ONCE(arg->cmds);
		return kz_command_batch(daemon, &batch);
	}
	return -EINVAL;
}

/**
 * kz_uring_kick() - fill descriptors for the commands that wait
 * @instance: the instance
 *
 * Context: may sleep; no unit's lock held.
 */
void kz_uring_kick(struct kz_instance *instance)
{
	struct kz_queue *queue = &instance->queue;
	struct khazana_request req;
	struct io_uring_cmd *cmd;
	struct kz_daemon *daemon;
	struct kz_slot *slot;

	while (!list_empty_careful(&queue->ready) && !kz_queue_empty(queue)) {
		spin_lock(&queue->lock);
		slot = list_first_entry_or_null(&queue->ready, struct kz_slot, node);
		cmd = NULL;
		daemon = queue->daemon;
		if (slot && daemon) {
			list_del_init(&slot->node);
			swap(cmd, slot->cmd);
		}
		spin_unlock(&queue->lock);
		if (!cmd)
			return;
		/* The command's file keeps the daemon's descriptors. */
		if (kz_queue_pop(daemon, &req)) {
			daemon->desc[cmd_pdu(cmd)->tag] = req;
			cmd_pdu(cmd)->result = 0;
			io_uring_cmd_complete_in_task(cmd, cmd_work);
			continue;
		}
		spin_lock(&queue->lock);
		if (queue->daemon == daemon && !slot->cmd) {
			slot->cmd = cmd;
			list_add(&slot->node, &queue->ready);
			cmd = NULL;
		}
		spin_unlock(&queue->lock);
		if (cmd) {
			cmd_pdu(cmd)->result = -ENODEV;
			io_uring_cmd_complete_in_task(cmd, cmd_work);
		}
	}
}

/**
 * kz_uring_cancel_all() - khd is gone: complete all commands that wait
 * @daemon: no longer the queue's
 */
void kz_uring_cancel_all(struct kz_daemon *daemon)
{
	struct kz_queue *queue = &daemon->instance->queue;
	u32 i;

	for (i = 0; i < daemon->depth; i++) {
		struct io_uring_cmd *cmd = NULL;

		spin_lock(&queue->lock);
		swap(cmd, daemon->slots[i].cmd);
		list_del_init(&daemon->slots[i].node);
		spin_unlock(&queue->lock);
		if (cmd) {
			cmd_pdu(cmd)->result = -ENODEV;
			io_uring_cmd_complete_in_task(cmd, cmd_work);
		}
	}
}
