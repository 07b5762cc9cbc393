/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn.h - one TCP connection that carries whole messages
 *
 * Knows framing, buffers and their limits, nothing of who the peer is.
 */
#ifndef KHD_CONN_H
#define KHD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "khd/loop.h"

struct khd_conn;

enum khd_conn_state {
	KHD_CONN_CONNECTING, /* connect() is under way */
	KHD_CONN_HELLO, /* open; the other side has not said who it is */
	KHD_CONN_UP, /* HELLO accepted */
	KHD_CONN_CLOSING, /* waits for its operations to come back */
	KHD_CONN_CLOSED, /* may be freed */
};

/**
 * struct khd_conn_ops - to the owner; all are required
 * @opened: connect() is done, or failed with @error (positive); not for accepted ones
 * @message: one whole framed message, not checked further; valid until @received; false drops the
 *	connection
 * @received: after the last of the messages that came together
 * @ended: the stream is over; @error is positive or 0 for an orderly end, EPROTO for bad framing
 */
struct khd_conn_ops {
	void (*opened)(struct khd_conn *conn, int error);
	bool (*message)(struct khd_conn *conn, const void *msg, size_t len);
	void (*received)(struct khd_conn *conn);
	void (*ended)(struct khd_conn *conn, int error);
};

struct khd_out {
	char *buf;
	size_t len, room;
};

/**
 * struct khd_conn - a connection; the owner may read all, and set @owner, @peer, @deadline, @next
 * @state: moved by the owner from HELLO to UP, by khd_conn_drop() to CLOSING
 * @max_message: longest message that is accepted now
 * @max_queue: bytes that may wait to be sent
 * @overflow: more had to wait; nothing is taken any more, the owner drops it
 * @hungry: to be received from again, when what is queued is on its way
 * @deadline: for the owner
 */
struct khd_conn {
	const struct khd_conn_ops *ops;
	struct khd_loop *loop;
	void *owner, *peer;
	struct khd_conn *next;
	enum khd_conn_state state;
	bool overflow;
	bool hungry;
	uint64_t deadline;
	size_t max_message, max_queue;
	int fd;
	struct khd_io recv, send;
	char *in;
	size_t in_at, in_len, in_room; /* unread bytes are in[in_at..in_len) */
	struct khd_out filling, sending;
	size_t sent; /* of sending */
};

/**
 * khd_conn_accepted() - begin with an accepted socket
 *
 * Return: NULL without memory; @fd is closed then.
 */
struct khd_conn *khd_conn_accepted(struct khd_loop *loop, const struct khd_conn_ops *ops, int fd);

/**
 * khd_conn_connect() - begin with a socket that connects to @addr, which stays where it is
 *
 * Return: NULL without memory; @fd is closed then.
 */
struct khd_conn *khd_conn_connect(struct khd_loop *loop, const struct khd_conn_ops *ops, int fd,
				  const struct sockaddr *addr, socklen_t len);

/* Queue a message of two parts; @data may be NULL. */
void khd_conn_send(struct khd_conn *conn, const void *head, size_t head_len, const void *data,
		   size_t data_len);

/* The end of a pass: hand queued bytes to the loop, if it has not some already, and receive again. */
void khd_conn_flush(struct khd_conn *conn);

/* Close without a call of @ended; memory goes with khd_conn_free() when it is CLOSED. */
void khd_conn_drop(struct khd_conn *conn);

void khd_conn_free(struct khd_conn *conn);

/**
 * khd_address_wait() - an address is in use; is it worth trying again?
 * @tries: 0 before the first call
 *
 * A killed khd's sockets live on for a moment: its io_uring lets go of them only after its
 * end.  Its successor, which has the lock of the state directory, waits for that, 3 seconds at most.
 *
 * Return: true after a pause of 20 ms; false when the time is over.
 */
bool khd_address_wait(unsigned int *tries);

#endif /* KHD_CONN_H */
