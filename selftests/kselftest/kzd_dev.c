// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kzd_dev.c - /dev/khazana as its daemon sees it
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kzd.h"

#define CMD_DATA (~0ULL) /* user_data of a batch; a FETCH has its tag */
#define PAGE 4096UL

static struct io_uring_sqe *uring_cmd(struct kzd_dev *v, unsigned int op, uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(v->ring);

	if (!sqe) {
		io_uring_submit(v->ring);
		sqe = io_uring_get_sqe(v->ring);
	}
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, v->fd, NULL, 0, 0);
	sqe->off = 0;
	sqe->cmd_op = op;
	sqe->user_data = data;
	memset(sqe->cmd, 0, 16);
	return sqe;
}

static void queue_fetch(struct kzd_dev *v, uint32_t tag)
{
	struct khazana_uring_fetch fetch = { .tag = tag };

	memcpy(uring_cmd(v, KHAZANA_URING_FETCH, tag)->cmd, &fetch, sizeof(fetch));
}

static void reap(struct kzd_dev *v)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(v->ring, &cqe) == 0) {
		if (cqe->user_data == CMD_DATA) {
			v->cmd_done = true;
			v->cmd_res = cqe->res;
		} else if (cqe->res == 0) {
			v->ready[v->nready++] = cqe->user_data;
		} else {
			v->dead = true;
		}
		io_uring_cqe_seen(v->ring, cqe);
	}
}

/**
 * kzd_dev_register - open the device and register, without mapping anything
 * @v: is initialised
 * @flags: KZD_*
 * @depth: descriptors
 *
 * Return: 0 or a negative errno.
 */
int kzd_dev_register(struct kzd_dev *v, unsigned int flags, unsigned int depth)
{
	int err;

	memset(v, 0, sizeof(*v));
	v->flags = flags;
	v->fd = open(KZD_DEVICE, O_RDWR | O_CLOEXEC);
	if (v->fd < 0)
		return -errno;
	v->reg.size = sizeof(v->reg);
	v->reg.depth = depth;
	v->reg.node = 1;
	if (!(flags & KZD_URING))
		v->reg.flags = KHAZANA_REGISTER_NO_URING;
	if (!ioctl(v->fd, KHAZANA_IOC_REGISTER, &v->reg))
		return 0;
	err = -errno;
	close(v->fd);
	v->fd = -1;
	return err;
}

static int ring_open(struct kzd_dev *v, unsigned int depth)
{
	unsigned int i;
	int err;

	v->ring = calloc(1, sizeof(*v->ring));
	v->ready = calloc(depth, sizeof(*v->ready));
	if (!v->ring || !v->ready)
		return -ENOMEM;
	err = io_uring_queue_init(depth + 8, v->ring, 0);
	if (err)
		return err;
	if (!(v->flags & KZD_URING))
		return 0;
	for (i = 0; i < depth; i++)
		queue_fetch(v, i);
	err = io_uring_submit(v->ring);
	return err < 0 ? err : 0;
}

/**
 * kzd_dev_open - register, map descriptors and view, queue every FETCH
 * @v: is initialised
 * @flags: KZD_*
 * @depth: descriptors
 *
 * Return: 0 or a negative errno.
 */
int kzd_dev_open(struct kzd_dev *v, unsigned int flags, unsigned int depth)
{
	int err = kzd_dev_register(v, flags, depth);

	if (err)
		return err;
	v->desc = mmap(NULL, depth * sizeof(*v->desc), PROT_READ, MAP_SHARED, v->fd,
		       v->reg.desc_offset);
	if (v->desc == MAP_FAILED) {
		v->desc = NULL;
		err = -errno;
		goto fail;
	}
	v->view = mmap(NULL, v->reg.view_pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
		       v->reg.view_offset);
	if (v->view == MAP_FAILED) {
		v->view = NULL;
		err = -errno;
		goto fail;
	}
	if (flags & (KZD_URING | KZD_URING_CMD))
		err = ring_open(v, depth);
	if (!err)
		return 0;
fail:
	kzd_dev_close(v);
	return err;
}

/**
 * kzd_dev_close - end the registration
 * @v: of kzd_dev_open() or kzd_dev_register()
 */
void kzd_dev_close(struct kzd_dev *v)
{
	if (v->desc)
		munmap(v->desc, v->reg.depth * sizeof(*v->desc));
	if (v->view)
		munmap(v->view, v->reg.view_pages * PAGE);
	if (v->fd >= 0)
		close(v->fd);
	if (v->ring) {
		io_uring_queue_exit(v->ring);
		free(v->ring);
	}
	free(v->ready);
	memset(v, 0, sizeof(*v));
	v->fd = -1;
}

/**
 * kzd_dev_pollfd - what becomes readable when kzd_dev_fetch() has something
 * @v: the device
 *
 * Return: a file descriptor.
 */
int kzd_dev_pollfd(const struct kzd_dev *v)
{
	return v->flags & KZD_URING ? v->ring->ring_fd : v->fd;
}

/**
 * kzd_dev_fetch - take one request, if there is one; with io_uring its slot is armed again
 * @v: the device
 * @req: filled
 *
 * By read(2) it sleeps when there is none: poll first.
 *
 * Return: 1, 0 if there was none, or a negative errno (-ENODEV: unregistered).
 */
int kzd_dev_fetch(struct kzd_dev *v, struct khazana_request *req)
{
	uint32_t tag;
	ssize_t n;

	if (!(v->flags & KZD_URING)) {
		n = read(v->fd, req, sizeof(*req));
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		return n == sizeof(*req) ? 1 : -EPROTO;
	}
	reap(v);
	if (!v->nready)
		return v->dead ? -ENODEV : 0;
	tag = v->ready[--v->nready];
	*req = v->desc[tag];
	queue_fetch(v, tag);
	io_uring_submit(v->ring);
	return 1;
}

/**
 * kzd_dev_batch - execute commands
 * @v: the device
 * @cmds: commands; results are written back
 * @count: how many
 *
 * Return: how many ran, or a negative errno.
 */
int kzd_dev_batch(struct kzd_dev *v, struct khazana_cmd *cmds, unsigned int count)
{
	struct khazana_batch batch = {
		.size = sizeof(batch),
		.count = count,
		.cmds = (uintptr_t)cmds,
	};
	struct io_uring_cqe *cqe;
	int n;

	if (!(v->flags & KZD_URING_CMD)) {
		n = ioctl(v->fd, KHAZANA_IOC_COMMAND, &batch);
		return n < 0 ? -errno : n;
	}
	memcpy(uring_cmd(v, KHAZANA_URING_COMMAND, CMD_DATA)->cmd, &batch, sizeof(batch));
	v->cmd_done = false;
	io_uring_submit(v->ring);
	for (;;) {
		reap(v);
		if (v->cmd_done)
			return v->cmd_res;
		io_uring_wait_cqe(v->ring, &cqe);
	}
}

/**
 * kzd_dev_cmd - execute one command
 * @v: the device
 * @cmd: the command; its results are written back
 *
 * Return: its result, or why it did not run: a negative errno, 0 when it worked.
 */
int kzd_dev_cmd(struct kzd_dev *v, struct khazana_cmd *cmd)
{
	int n = kzd_dev_batch(v, cmd, 1);

	if (n < 0)
		return n;
	return n == 1 ? cmd->result : -EPROTO;
}

/**
 * kzd_dev_purge - forget the regions that an earlier daemon left in the module
 * @v: the device
 */
void kzd_dev_purge(struct kzd_dev *v)
{
	struct khazana_cmd get = { .op = KHAZANA_CMD_REGION_GET };
	struct khazana_cmd del = { .op = KHAZANA_CMD_REGION_DEL, .flags = KHAZANA_CMDF_FORCE };

	while (!kzd_dev_cmd(v, &get)) {
		del.region = get.region;
		kzd_dev_cmd(v, &del);
		get = (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_GET,
					    .region = del.region + 1 };
	}
}
