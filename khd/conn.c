// SPDX-License-Identifier: GPL-2.0-or-later
/* conn.c - framing and buffers of one connection */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/wire.h"
#include "khd/conn.h"

#define IN_ROOM (512 << 10)
#define RECV_MOST (128 << 10) /* at a time: others want their turn, and answers leave after it */
#define SEND_EARLY (64 << 10) /* so much does not wait for the end of the pass */
#define OUT_KEEP (4 << 20) /* larger buffers are given back when they have been sent */

static struct khd_conn *conn_of_recv(struct khd_io *io)
{
	return (void *)((char *)io - offsetof(struct khd_conn, recv));
}

static struct khd_conn *conn_of_send(struct khd_io *io)
{
	return (void *)((char *)io - offsetof(struct khd_conn, send));
}

static void end(struct khd_conn *conn, int error)
{
	if (conn->state < KHD_CONN_CLOSING)
		conn->ops->ended(conn, error);
}

/* After each completion of a connection that is CLOSING. */
static void try_close(struct khd_conn *conn)
{
	if (conn->recv.pending || conn->send.pending)
		return;
	close(conn->fd);
	conn->state = KHD_CONN_CLOSED;
}

static void receive_more(struct khd_conn *conn)
{
	conn->recv.buf = conn->in + conn->in_len;
	conn->recv.len = conn->in_room - conn->in_len;
	if (conn->recv.len > RECV_MOST)
		conn->recv.len = RECV_MOST;
	khd_loop_submit(conn->loop, &conn->recv);
}

/* Make room for a message of @need bytes that begins at in_at, and for some more. */
static bool make_room(struct khd_conn *conn, size_t need)
{
	size_t have = conn->in_len - conn->in_at;
	char *buf;

	if (conn->in_room - conn->in_at >= need && conn->in_room - conn->in_len >= IN_ROOM / 4)
		return true;
	memmove(conn->in, conn->in + conn->in_at, have);
	conn->in_at = 0;
	conn->in_len = have;
	if (conn->in_room >= need && conn->in_room > have)
		return true;
	buf = realloc(conn->in, need);
	if (!buf)
		return false;
	conn->in = buf;
	conn->in_room = need;
	return true;
}

/* Hand over every whole message. Return: bytes wanted for the next one, 0 after an error. */
static size_t deliver(struct khd_conn *conn)
{
	int64_t len;

	for (;;) {
		size_t have = conn->in_len - conn->in_at;

		len = kh_wire_frame_len(conn->in + conn->in_at, have);
		if (len < 0 || len > (int64_t)conn->max_message) {
			end(conn, EPROTO);
			return 0;
		}
		if (!len || (size_t)len > have)
			return len ? (size_t)len : sizeof(struct kh_wire_head);
		conn->in_at += len;
		if (!conn->ops->message(conn, conn->in + conn->in_at - len, len))
			end(conn, EPROTO);
		if (conn->state >= KHD_CONN_CLOSING)
			return 0;
		if (conn->in_at == conn->in_len)
			conn->in_at = conn->in_len = 0;
	}
}

static void on_recv(struct khd_io *io, int res)
{
	struct khd_conn *conn = conn_of_recv(io);
	size_t need;

	if (conn->state >= KHD_CONN_CLOSING) {
		try_close(conn);
		return;
	}
	if (res == -EINTR || res == -EAGAIN) {
		conn->hungry = true;
		return;
	}
	if (res <= 0) {
		end(conn, -res);
		return;
	}
	conn->in_len += res;
	need = deliver(conn);
	conn->ops->received(conn);
	if (!need)
		return;
	if (make_room(conn, need))
		conn->hungry = true;
	else
		end(conn, ENOMEM);
}

static void swap_out(struct khd_conn *conn)
{
	struct khd_out out = conn->sending;

	conn->sending = conn->filling;
	conn->filling = out;
}

/* @n bytes more of what is being sent have left. */
static void sent(struct khd_conn *conn, size_t n)
{
	conn->sent += n;
	if (conn->sent < conn->sending.len)
		return;
	conn->sent = conn->sending.len = 0;
	if (conn->sending.room > OUT_KEEP) {
		free(conn->sending.buf);
		conn->sending = (struct khd_out){ 0 };
	}
}

static void send_more(struct khd_conn *conn)
{
	if (conn->send.pending)
		return;
	if (!conn->sending.len) {
		if (!conn->filling.len)
			return;
		swap_out(conn);
	}
	conn->send.buf = conn->sending.buf + conn->sent;
	conn->send.len = conn->sending.len - conn->sent;
	khd_loop_submit(conn->loop, &conn->send);
}

static void on_send(struct khd_io *io, int res)
{
	struct khd_conn *conn = conn_of_send(io);

	if (conn->state >= KHD_CONN_CLOSING) {
		try_close(conn);
		return;
	}
	if (res < 0 && res != -EINTR && res != -EAGAIN) {
		end(conn, -res);
		return;
	}
	if (res > 0)
		sent(conn, res);
	send_more(conn);
}

void khd_conn_flush(struct khd_conn *conn)
{
	if (conn->state >= KHD_CONN_CLOSING)
		return;
	if (conn->state != KHD_CONN_CONNECTING)
		send_more(conn);
	/* The kernel takes one after the other: what is sent must not wait for this. */
	if (conn->hungry)
		receive_more(conn);
	conn->hungry = false;
}

/* A long answer gets under way while the rest of it is made. */
static void send_early(struct khd_conn *conn)
{
	ssize_t n;

	if (conn->send.pending || conn->sending.len || conn->state != KHD_CONN_UP)
		return;
	n = send(conn->fd, conn->filling.buf, conn->filling.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n <= 0)
		return; /* an error will come back in the ordinary way */
	swap_out(conn);
	sent(conn, n);
}

void khd_conn_send(struct khd_conn *conn, const void *head, size_t head_len, const void *data,
		   size_t data_len)
{
	struct khd_out *out = &conn->filling;
	size_t need = out->len + head_len + data_len;

	if (conn->state >= KHD_CONN_CLOSING || conn->overflow)
		return;
	if (need + conn->sending.len - conn->sent > conn->max_queue) {
		conn->overflow = true;
		return;
	}
	if (need > out->room) {
		size_t room = need < IN_ROOM ? IN_ROOM : need * 2;
		char *buf = realloc(out->buf, room);

		if (!buf) {
			conn->overflow = true;
			return;
		}
		out->buf = buf;
		out->room = room;
	}
	memcpy(out->buf + out->len, head, head_len);
	if (data_len)
		memcpy(out->buf + out->len + head_len, data, data_len);
	out->len = need;
	if (need >= SEND_EARLY && need - head_len - data_len < SEND_EARLY)
		send_early(conn);
}

static void on_connect(struct khd_io *io, int res)
{
	struct khd_conn *conn = conn_of_recv(io);

	if (conn->state >= KHD_CONN_CLOSING) {
		try_close(conn);
		return;
	}
	if (res >= 0) {
		conn->state = KHD_CONN_HELLO;
		conn->recv.op = KHD_IO_RECV;
		conn->recv.done = on_recv;
		receive_more(conn);
	}
	conn->ops->opened(conn, -res);
}

static struct khd_conn *make(struct khd_loop *loop, const struct khd_conn_ops *ops, int fd)
{
	struct khd_conn *conn = calloc(1, sizeof(*conn));

	if (conn)
		conn->in = malloc(IN_ROOM);
	if (!conn || !conn->in) {
		free(conn);
		close(fd);
		return NULL;
	}
	conn->ops = ops;
	conn->loop = loop;
	conn->fd = fd;
	conn->in_room = IN_ROOM;
	conn->max_message = KH_WIRE_HELLO_LEN;
	conn->max_queue = IN_ROOM;
	conn->send = (struct khd_io){ .op = KHD_IO_SEND, .fd = fd, .done = on_send };
	return conn;
}

struct khd_conn *khd_conn_accepted(struct khd_loop *loop, const struct khd_conn_ops *ops, int fd)
{
	struct khd_conn *conn = make(loop, ops, fd);

	if (!conn)
		return NULL;
	conn->state = KHD_CONN_HELLO;
	conn->recv = (struct khd_io){ .op = KHD_IO_RECV, .fd = fd, .done = on_recv };
	receive_more(conn);
	return conn;
}

struct khd_conn *khd_conn_connect(struct khd_loop *loop, const struct khd_conn_ops *ops, int fd,
				  const struct sockaddr *addr, socklen_t len)
{
	struct khd_conn *conn = make(loop, ops, fd);

	if (!conn)
		return NULL;
	conn->state = KHD_CONN_CONNECTING;
	conn->recv = (struct khd_io){
		.op = KHD_IO_CONNECT, .fd = fd, .buf = (void *)addr, .len = len, .done = on_connect
	};
	khd_loop_submit(loop, &conn->recv);
	return conn;
}

void khd_conn_drop(struct khd_conn *conn)
{
	if (conn->state >= KHD_CONN_CLOSING)
		return;
	conn->state = KHD_CONN_CLOSING;
	shutdown(conn->fd, SHUT_RDWR);
	khd_loop_cancel(conn->loop, &conn->recv);
	khd_loop_cancel(conn->loop, &conn->send);
	try_close(conn);
}

void khd_conn_free(struct khd_conn *conn)
{
	if (conn->state != KHD_CONN_CLOSED)
		close(conn->fd);
	free(conn->in);
	free(conn->filling.buf);
	free(conn->sending.buf);
	free(conn);
}

bool khd_address_wait(unsigned int *tries)
{
	const struct timespec pause = { .tv_nsec = 20000000 };

	if (++*tries > 150)
		return false;
	nanosleep(&pause, NULL);
	return true;
}
