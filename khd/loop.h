/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - the one loop of khd
 *
 * Everything khd waits for is a struct khd_io: filled in by its owner, submitted,
 * completed exactly once by a call of its `done`, also after a cancel.  The owner keeps it, and
 * what it points to, until then.  Submitting only notes the operation; it reaches the
 * kernel with all others of the pass in the one system call that also waits.
 *
 * Two backends: io_uring, and poll(2) where io_uring is refused or not wanted; what it does with
 * files it does in a thread.
 */
#ifndef KHD_LOOP_H
#define KHD_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct khd_loop;

enum khd_io_op {
	KHD_IO_RECV = 1, /* fd, buf, len */
	KHD_IO_SEND, /* fd, buf, len; may be partial */
	KHD_IO_ACCEPT, /* fd; result is the new socket */
	KHD_IO_CONNECT, /* fd, buf = address, len */
	KHD_IO_POLL, /* fd; completes once, when it can be read */
	KHD_IO_FETCH, /* fd = device, tag; io_uring only */
	KHD_IO_READV, /* fd = file, buf = struct iovec[len], offset; cannot be cancelled */
	KHD_IO_WRITEV, /* the same */
	KHD_IO_FDATASYNC, /* fd = file; cannot be cancelled */
};

/**
 * struct khd_io - one operation
 * @op: what to do
 * @fd: on what; blocking mode
 * @buf: data or address
 * @len: bytes of @buf
 * @offset: in a file
 * @tag: slot of a FETCH
 * @done: called from khd_loop_run() with a result as of the system call, or a negative errno
 * @pending: the loop has it
 * @slot: private to the backend
 */
struct khd_io {
	enum khd_io_op op;
	int fd;
	void *buf;
	size_t len;
	uint64_t offset;
	unsigned int tag;
	void (*done)(struct khd_io *io, int res);
	bool pending;
	unsigned int slot;
};

/**
 * struct khd_loop_ops - a backend; all are required
 * @submit: note @io
 * @cancel: ask for an early end of a pending @io; `done` still runs, later
 * @wait: hand over what was noted and wait until something completes or @timeout_ns passed (~0: no
 *	limit), then call `done` of all that completed.  0 or a negative errno that ends khd
 * @destroy: pending operations are dropped without a call
 */
struct khd_loop_ops {
	void (*submit)(struct khd_loop *loop, struct khd_io *io);
	void (*cancel)(struct khd_loop *loop, struct khd_io *io);
	int (*wait)(struct khd_loop *loop, uint64_t timeout_ns);
	void (*destroy)(struct khd_loop *loop);
};

struct khd_loop {
	const struct khd_loop_ops *ops;
	const char *name;
	bool has_uring_cmd;
};

static inline bool khd_io_of_file(const struct khd_io *io)
{
	return io->op == KHD_IO_READV || io->op == KHD_IO_WRITEV || io->op == KHD_IO_FDATASYNC;
}

/* A loop over io_uring for about @ios operations at once; NULL and errno when the kernel refuses. */
struct khd_loop *khd_loop_uring(unsigned int ios);

/* A loop over poll(2). */
struct khd_loop *khd_loop_poll(unsigned int ios);

static inline void khd_loop_submit(struct khd_loop *loop, struct khd_io *io)
{
	loop->ops->submit(loop, io);
}

static inline void khd_loop_cancel(struct khd_loop *loop, struct khd_io *io)
{
	if (io->pending)
		loop->ops->cancel(loop, io);
}

static inline int khd_loop_wait(struct khd_loop *loop, uint64_t timeout_ns)
{
	return loop->ops->wait(loop, timeout_ns);
}

static inline void khd_loop_destroy(struct khd_loop *loop)
{
	if (loop)
		loop->ops->destroy(loop);
}

#endif /* KHD_LOOP_H */
