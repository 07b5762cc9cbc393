// SPDX-License-Identifier: GPL-2.0-or-later
/* loop_poll.c - the loop's backend over poll(2) */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/list.h"
#include "khd/loop.h"
#include "khd/worker.h"

/*
 * ios[i] belongs to fds[i].  A slot whose io is NULL is free.  A cancelled one has
 * its file descriptor replaced by -1 and its event set to CANCELLED.
 */
#define CANCELLED 0x7fff

struct poll_loop {
	struct khd_loop base;
	struct pollfd *fds;
	struct khd_io **ios;
	unsigned int used, room;
	bool cancelled; /* some slot is: do not sleep */
	struct khd_worker *worker; /* for files; NULL: there were none yet */
	struct khd_io reap; /* of it */
};

/* An operation on a file, in the worker. */
struct file_job {
	struct khd_job job;
	struct khd_io *io;
	int res;
};

static short events_of(const struct khd_io *io)
{
	return io->op == KHD_IO_SEND || io->op == KHD_IO_CONNECT ? POLLOUT : POLLIN;
}

static bool grow(struct poll_loop *pl)
{
	unsigned int room = pl->room * 2;
	struct pollfd *fds = realloc(pl->fds, room * sizeof(*fds));
	struct khd_io **ios;

	if (!fds)
		return false;
	pl->fds = fds;
	ios = realloc(pl->ios, room * sizeof(*ios));
	if (!ios)
		return false;
	pl->ios = ios;
	pl->room = room;
	return true;
}

static void run_file(struct khd_job *job)
{
	struct file_job *fj = (struct file_job *)job;
	struct khd_io *io = fj->io;
	ssize_t ret;

	do {
		if (io->op == KHD_IO_READV)
			ret = preadv(io->fd, io->buf, (int)io->len, (off_t)io->offset);
		else if (io->op == KHD_IO_WRITEV)
			ret = pwritev(io->fd, io->buf, (int)io->len, (off_t)io->offset);
		else
			ret = fdatasync(io->fd);
	} while (ret < 0 && errno == EINTR);
	fj->res = ret < 0 ? -errno : (int)ret;
}

static void end_file(struct khd_job *job)
{
	struct file_job *fj = (struct file_job *)job;
	struct khd_io *io = fj->io;
	int res = fj->res;

	free(fj);
	io->pending = false;
	io->done(io, res);
}

static void reap_files(struct khd_io *io, int res)
{
	struct poll_loop *pl = kh_container(io, struct poll_loop, reap);

	khd_loop_submit(&pl->base, io);
	khd_worker_reap(pl->worker);
}

static void submit_file(struct poll_loop *pl, struct khd_io *io)
{
	struct file_job *fj = calloc(1, sizeof(*fj));

	if (!pl->worker) {
		pl->worker = khd_worker_new();
		if (pl->worker) {
			pl->reap = (struct khd_io){ .op = KHD_IO_POLL,
						    .fd = khd_worker_fd(pl->worker),
						    .done = reap_files };
			khd_loop_submit(&pl->base, &pl->reap);
		}
	}
	if (!fj || !pl->worker)
		abort(); /* a few bytes and a thread for a store that is open already */
	*fj = (struct file_job){ .job = { .run = run_file, .done = end_file }, .io = io };
	io->pending = true;
	khd_worker_give(pl->worker, &fj->job);
}

static void poll_submit(struct khd_loop *loop, struct khd_io *io)
{
	struct poll_loop *pl = (struct poll_loop *)loop;
	unsigned int i;

	if (khd_io_of_file(io)) {
		submit_file(pl, io);
		return;
	}
	for (i = 0; i < pl->used && pl->ios[i]; i++)
		;
	if (i == pl->room && !grow(pl))
		abort(); /* a few bytes for a socket that exists already */
	if (i == pl->used)
		pl->used++;
	if (io->op == KHD_IO_CONNECT) {
		fcntl(io->fd, F_SETFL, O_NONBLOCK);
		connect(io->fd, io->buf, io->len); /* its result is SO_ERROR's, later */
	} else if (io->op == KHD_IO_ACCEPT) {
		fcntl(io->fd, F_SETFL, O_NONBLOCK);
	}
	pl->ios[i] = io;
	pl->fds[i] = (struct pollfd){ .fd = io->fd, .events = events_of(io) };
	io->slot = i;
	io->pending = true;
}

static void poll_cancel(struct khd_loop *loop, struct khd_io *io)
{
	struct poll_loop *pl = (struct poll_loop *)loop;

	if (khd_io_of_file(io))
		return;
	pl->fds[io->slot] = (struct pollfd){ .fd = -1, .events = CANCELLED };
	pl->cancelled = true;
}

static int connect_result(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	fcntl(fd, F_SETFL, 0);
	return -err;
}

/* The operation itself, when poll said that it will not block. */
static int perform(struct khd_io *io)
{
	ssize_t ret;

	switch (io->op) {
	case KHD_IO_RECV:
		ret = recv(io->fd, io->buf, io->len, MSG_DONTWAIT);
		break;
	case KHD_IO_SEND:
		ret = send(io->fd, io->buf, io->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case KHD_IO_ACCEPT:
		ret = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	case KHD_IO_CONNECT:
		return connect_result(io->fd);
	case KHD_IO_POLL:
		return POLLIN;
	default:
		return -EOPNOTSUPP;
	}
	return ret < 0 ? -errno : ret;
}

static void complete(struct poll_loop *pl, unsigned int i, int res)
{
	struct khd_io *io = pl->ios[i];

	pl->ios[i] = NULL;
	pl->fds[i].fd = -1;
	io->pending = false;
	io->done(io, res);
}

static int poll_wait(struct khd_loop *loop, uint64_t timeout_ns)
{
	struct poll_loop *pl = (struct poll_loop *)loop;
	struct timespec ts = { .tv_sec = timeout_ns / 1000000000,
			       .tv_nsec = timeout_ns % 1000000000 };
	unsigned int i, n = pl->used;
	int res;

	if (pl->cancelled)
		ts = (struct timespec){ 0 };
	if (ppoll(pl->fds, n, timeout_ns == ~0ull && !pl->cancelled ? NULL : &ts, NULL) < 0)
		return errno == EINTR ? 0 : -errno;
	pl->cancelled = false;
	for (i = 0; i < n; i++) {
		/* A `done` of an earlier slot may have cancelled or reused this one. */
		if (!pl->ios[i])
			continue;
		if (pl->fds[i].events == CANCELLED) {
			complete(pl, i, -ECANCELED);
			continue;
		}
		if (!pl->fds[i].revents)
			continue;
		res = perform(pl->ios[i]);
		pl->fds[i].revents = 0;
		if (res != -EAGAIN && res != -EINTR)
			complete(pl, i, res);
	}
	return 0;
}

static void poll_destroy(struct khd_loop *loop)
{
	struct poll_loop *pl = (struct poll_loop *)loop;

	khd_worker_free(pl->worker);
	free(pl->fds);
	free(pl->ios);
	free(pl);
}

static const struct khd_loop_ops poll_ops = {
	.submit = poll_submit,
	.cancel = poll_cancel,
	.wait = poll_wait,
	.destroy = poll_destroy,
};

struct khd_loop *khd_loop_poll(unsigned int ios)
{
	struct poll_loop *pl = calloc(1, sizeof(*pl));

	if (!pl)
		return NULL;
	pl->room = ios;
	pl->fds = calloc(ios, sizeof(*pl->fds));
	pl->ios = calloc(ios, sizeof(*pl->ios));
	pl->base.ops = &poll_ops;
	pl->base.name = "poll";
	if (!pl->fds || !pl->ios) {
		poll_destroy(&pl->base);
		return NULL;
	}
	return &pl->base;
}
