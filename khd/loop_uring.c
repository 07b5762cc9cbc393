// SPDX-License-Identifier: GPL-2.0-or-later
/* loop_uring.c - the loop's backend over io_uring */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <linux/khazana.h>

#include "khd/loop.h"

/* Completions taken in one go before the loop looks at timers again. */
#define BATCH 256

struct uring_loop {
	struct khd_loop base;
	struct io_uring ring;
};

static struct io_uring_sqe *next_sqe(struct uring_loop *ul)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ul->ring);

	while (!sqe) {
		/* The queue is full: the kernel takes what is there without waiting. */
		io_uring_submit(&ul->ring);
		sqe = io_uring_get_sqe(&ul->ring);
	}
	return sqe;
}

static void prep_fetch(struct io_uring_sqe *sqe, struct khd_io *io)
{
	struct khazana_uring_fetch fetch = { .tag = io->tag };

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, io->fd, NULL, 0, 0);
	sqe->cmd_op = KHAZANA_URING_FETCH;
	memcpy(sqe->cmd, &fetch, sizeof(fetch));
}

static void uring_submit(struct khd_loop *loop, struct khd_io *io)
{
	struct uring_loop *ul = (struct uring_loop *)loop;
	struct io_uring_sqe *sqe = next_sqe(ul);

	switch (io->op) {
	case KHD_IO_RECV:
		io_uring_prep_recv(sqe, io->fd, io->buf, io->len, 0);
		break;
	case KHD_IO_SEND:
		io_uring_prep_send(sqe, io->fd, io->buf, io->len, MSG_NOSIGNAL);
		break;
	case KHD_IO_ACCEPT:
		io_uring_prep_accept(sqe, io->fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	case KHD_IO_CONNECT:
		io_uring_prep_connect(sqe, io->fd, io->buf, io->len);
		break;
	case KHD_IO_POLL:
		io_uring_prep_poll_add(sqe, io->fd, POLLIN);
		break;
	case KHD_IO_FETCH:
		prep_fetch(sqe, io);
		break;
	case KHD_IO_READV:
		io_uring_prep_readv(sqe, io->fd, io->buf, (unsigned int)io->len, io->offset);
		break;
	case KHD_IO_WRITEV:
		io_uring_prep_writev(sqe, io->fd, io->buf, (unsigned int)io->len, io->offset);
		break;
	case KHD_IO_FDATASYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
	io->pending = true;
}

static void uring_cancel(struct khd_loop *loop, struct khd_io *io)
{
	struct io_uring_sqe *sqe;

	if (khd_io_of_file(io))
		return;
	sqe = next_sqe((struct uring_loop *)loop);
	io_uring_prep_cancel(sqe, io, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static int uring_wait(struct khd_loop *loop, uint64_t timeout_ns)
{
	struct uring_loop *ul = (struct uring_loop *)loop;
	struct __kernel_timespec ts = { .tv_sec = timeout_ns / 1000000000,
					.tv_nsec = timeout_ns % 1000000000 };
	struct io_uring_cqe *cqe, *cqes[BATCH];
	struct khd_io *ios[BATCH];
	int res[BATCH];
	unsigned int i, n;
	int ret;

	ret = io_uring_submit_and_wait_timeout(&ul->ring, &cqe, 1, timeout_ns == ~0ull ? NULL : &ts,
					       NULL);
	if (ret < 0 && ret != -ETIME && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
		return ret;
	/* Results are copied out first: a `done` submits, and that may need room in the queue. */
	n = io_uring_peek_batch_cqe(&ul->ring, cqes, BATCH);
	for (i = 0; i < n; i++) {
		ios[i] = io_uring_cqe_get_data(cqes[i]);
		res[i] = cqes[i]->res;
	}
	io_uring_cq_advance(&ul->ring, n);
	for (i = 0; i < n; i++) {
		if (!ios[i])
			continue;
		ios[i]->pending = false;
		ios[i]->done(ios[i], res[i]);
	}
	return 0;
}

static void uring_destroy(struct khd_loop *loop)
{
	struct uring_loop *ul = (struct uring_loop *)loop;

	io_uring_queue_exit(&ul->ring);
	free(ul);
}

static const struct khd_loop_ops uring_ops = {
	.submit = uring_submit,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.destroy = uring_destroy,
};

struct khd_loop *khd_loop_uring(unsigned int ios)
{
	/* Task work runs when the loop asks, not by an interrupt in the middle of it (6.1). */
	static const unsigned int flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0
	};
	struct uring_loop *ul = calloc(1, sizeof(*ul));
	struct io_uring_probe *probe;
	unsigned int i;
	int ret = -EINVAL;

	if (!ul)
		return NULL;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]) && ret == -EINVAL; i++)
		ret = io_uring_queue_init(ios, &ul->ring, flags[i]);
	if (ret < 0) {
		free(ul);
		errno = -ret;
		return NULL;
	}
	if (!(ul->ring.features & IORING_FEAT_EXT_ARG) ||
	    !(ul->ring.features & IORING_FEAT_NODROP)) {
		uring_destroy(&ul->base);
		errno = ENOSYS;
		return NULL;
	}
	probe = io_uring_get_probe_ring(&ul->ring);
	ul->base.has_uring_cmd = probe && io_uring_opcode_supported(probe, IORING_OP_URING_CMD);
	if (probe)
		io_uring_free_probe(probe);
	ul->base.ops = &uring_ops;
	ul->base.name = "io_uring";
	return &ul->base;
}
