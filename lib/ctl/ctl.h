/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctl.h - control messages between khd, its clients and the module
 *
 * One message format for both: nlmsghdr, genlmsghdr, attributes, as specified in
 * Documentation/netlink/specs/khazana.yaml.  What the module owns travels over
 * generic netlink; what khd owns travels over khd's UNIX socket (SOCK_SEQPACKET, one
 * request a packet) or, with CAP_NET_ADMIN, over netlink to the port that the module names.
 *
 * A call is one request and any number of messages that answer it, closed by NLMSG_ERROR
 * (error 0 is success; a failure carries an extended acknowledgement with one line of
 * text) or, after a list, by NLMSG_DONE.
 *
 * Attributes are parsed by nla.h, not by libnl: the same bounded parser then reads messages of
 * either transport, is driven by the tables that are generated from the specification, and can be
 * fuzzed.
 *
 * A key is in a request only, and only ever between processes of one machine.
 */
#ifndef KH_CTL_CTL_H
#define KH_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/khazana_netlink.h>
#include "core/node.h"

#define KH_CTL_SOCKET "/run/khazana/khd.sock"
#define KH_CTL_MESSAGE_MAX 16384 /* bytes of one message, header included, either direction */
#define KH_CTL_TEXT_MAX 160 /* bytes of an error or event text, with the NUL */
#define KH_CTL_TIMEOUT_MS 30000 /* of a call, if the operation names none */

/* ---------------------------------------------------------------- server */

/**
 * struct kh_ctl_request - one parsed request
 * @cmd: KHAZANA_NL_CMD_*
 * @type: nlmsg_type of the request; answers repeat it
 * @seq: sequence number; answers repeat it
 * @pid: the asker's port; answers repeat it
 * @subscribe: not an operation of a node: the client wants events from now on
 *	(acknowledge it with kh_ctl_reply() and an empty result)
 * @own: not an operation of a node: khd itself answers @cmd, with kh_ctl_reply_store() or one of
 *	those behind it; op.length is of store-resize
 * @op: the operation, unless @subscribe or @own; op.privileged is left false: the transport knows
 *	(SO_PEERCRED), so the server sets it
 * @rate: of store-scrub
 * @id: of store-parked-list (the first wanted), store-parked-read, store-parked-discard
 * @offset: of store-parked-read
 */
struct kh_ctl_request {
	uint8_t cmd;
	uint16_t type;
	uint32_t seq;
	uint32_t pid;
	bool subscribe;
	bool own;
	struct kh_op op;
	uint64_t rate;
	uint64_t id;
	uint64_t offset;
};

/**
 * struct kh_ctl_store - what store-get answers with; names as in the specification
 */
struct kh_ctl_store {
	enum khazana_nl_store_state state;
	const char *dir; /* or NULL */
	const char *reason; /* or NULL */
	uint64_t capacity, reserved, used, parked, puts, gets, flushes, groups, checkpoints;
	uint64_t damaged, scrubbed, scrub_rate, memory, buffers_used, buffers_max, waiting;
	uint64_t recovery_ns, replayed, discarded, room, capacity_min;
};

/* A parked unit; names as in the specification. */
struct kh_ctl_parked {
	uint64_t id;
	struct khazana_addr addr;
	uint32_t shift;
	uint64_t generation, version, token;
	struct khazana_addr region;
	uint64_t region_generation;
};

/* A finding; the texts live as long as it. */
struct kh_ctl_finding {
	enum khazana_nl_severity severity;
	const char *subject;
	char text[KH_CTL_TEXT_MAX];
	const char *advice; /* or NULL */
};

#define KH_CTL_SECTOR 512u
#define KH_CTL_SECTORS_MAX 8 /* in one answer of store-parked-read */

/**
 * kh_ctl_emit - take one packet of an answer: whole messages, at most KH_CTL_MESSAGE_MAX bytes
 * @ctx: as given to the function that emits
 * @msg: valid until the return; one packet of a UNIX socket or one netlink datagram
 *
 * Return: 0, or a negative errno, which ends the answer and is returned to the caller.
 */
typedef int (*kh_ctl_emit)(void *ctx, const void *msg, size_t len);

/**
 * kh_ctl_parse() - one packet of a client into a request
 * @msg: hostile; any alignment
 * @len: bytes; the packet must hold exactly one message
 * @req: out: cmd, type, seq and pid are valid also with an error, unless it is -EBADMSG
 * @text: out, on an error: a static line for the asker
 *
 * Return: 0; -EBADMSG: not a message at all, drop the connection; else an error to answer with
 * kh_ctl_reply_error(): -EOPNOTSUPP (unknown or not khd's), -EINVAL (attributes).
 */
int kh_ctl_parse(const void *msg, size_t len, struct kh_ctl_request *req, const char **text);

/**
 * kh_ctl_reply() - the whole answer to a request
 * @req: the request
 * @result: what kh_host_ops.reply was given; an error in it is answered with its errno and text
 *
 * Return: 0, or what @emit returned.
 */
int kh_ctl_reply(const struct kh_ctl_request *req, const struct kh_op_result *result,
		 kh_ctl_emit emit, void *ctx);

/**
 * kh_ctl_reply_error() - refuse a request
 * @error: errno, either sign
 * @text: one line, or NULL
 */
int kh_ctl_reply_error(const struct kh_ctl_request *req, int error, const char *text,
		       kh_ctl_emit emit, void *ctx);

/* The answers to requests that are khd's own; each is whole, with its end. */
int kh_ctl_reply_store(const struct kh_ctl_request *req, const struct kh_ctl_store *store,
		       kh_ctl_emit emit, void *ctx);
int kh_ctl_reply_parked_list(const struct kh_ctl_request *req, const struct kh_ctl_parked *parked,
			     unsigned int count, kh_ctl_emit emit, void *ctx);
/* @data: @sectors times KH_CTL_SECTOR bytes of the contents, at most KH_CTL_SECTORS_MAX */
int kh_ctl_reply_parked(const struct kh_ctl_request *req, const struct kh_ctl_parked *parked,
			const void *data, unsigned int sectors, kh_ctl_emit emit, void *ctx);
int kh_ctl_reply_health(const struct kh_ctl_request *req, const struct kh_ctl_finding *findings,
			unsigned int count, kh_ctl_emit emit, void *ctx);

/**
 * kh_ctl_event() - send one event to one subscriber
 * @req: the subscription, kept by the server
 * @seq: counts the events of this khd from 1, so that a client sees that it missed some
 * @time_ns: CLOCK_BOOTTIME
 * @node: id of this node
 * @name: what happened
 * @text: one line
 */
int kh_ctl_event(const struct kh_ctl_request *req, uint64_t seq, uint64_t time_ns, uint32_t node,
		 const char *name, const char *text, kh_ctl_emit emit, void *ctx);

/* ---------------------------------------------------------------- client */

/* One connection; not for two threads at once. */
struct kh_ctl;

/**
 * kh_ctl_open() - connect to khd
 * @path: its socket; NULL means $KHAZANA_SOCKET, else KH_CTL_SOCKET
 * @ctl: out
 *
 * Return: 0, -ENODEV (nobody listens there), -EACCES, -ENAMETOOLONG, -EMFILE, -ENFILE, -ENOMEM.
 */
int kh_ctl_open(const char *path, struct kh_ctl **ctl);

/**
 * kh_ctl_open_module() - connect to khazana.ko in this network namespace
 *
 * Return: 0, -ENODEV (the module is not loaded), -EPERM, -ENOMEM.
 */
int kh_ctl_open_module(struct kh_ctl **ctl);

/**
 * kh_ctl_open_port() - connect to a khd by netlink
 * @port: KHAZANA_NLA_INSTANCE_KHD_PORT of the module; not 0
 *
 * Return: 0, -ENODEV (no module or no such port), -EPERM (needs CAP_NET_ADMIN), -ENOMEM.
 */
int kh_ctl_open_port(uint32_t port, struct kh_ctl **ctl);

/* NULL is allowed. */
void kh_ctl_close(struct kh_ctl *ctl);

/* The descriptor to poll for events, with kh_ctl_event_read(). */
int kh_ctl_fd(const struct kh_ctl *ctl);

/**
 * kh_ctl_call() - one operation of khd, from request to answer
 * @ctl: connection to khd
 * @op: the operation
 * @result: out: what it points to lives until the next call on @ctl or its close
 * @timeout_ms: how long to wait for the answer; 0 means op->timeout_ms and a second more
 *
 * Return: 0 when khd answered (result->error says what), or a negative errno when it did not:
 * -ETIMEDOUT, -ENODEV (it went away), -EPROTO (not an answer), -EINVAL (no such operation),
 * -ENOMEM. After -ETIMEDOUT, -ENODEV and -EPROTO the connection is to be closed.
 */
int kh_ctl_call(struct kh_ctl *ctl, const struct kh_op *op, struct kh_op_result *result,
		uint32_t timeout_ms);

/* The line of text that came with the last refusal; empty if none. Lives like a result. */
const char *kh_ctl_text(const struct kh_ctl *ctl);

#endif /* KH_CTL_CTL_H */
