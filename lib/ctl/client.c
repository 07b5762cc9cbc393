// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * client.c - the asking end of a UNIX socket or a netlink socket
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/decode.h"
#include "ctl/link.h"

#define RECEIVE_MAX 65536 /* one datagram; netlink dumps use up to 32 KiB */

/**
 * struct kh_ctl - a connection
 * @fd: the socket
 * @type: nlmsg_type of requests
 * @port: netlink port of the other end; 0 is the kernel, also on a UNIX socket
 * @netlink: @fd is a netlink socket
 * @events: number of the multicast group; 0 is unknown
 * @seq: of the last request
 * @broken: the last failure was one of the connection
 * @text: of the last refusal
 * @answer: behind the last kh_ctl_call()
 * @buf: RECEIVE_MAX bytes
 */
struct kh_ctl {
	int fd;
	uint16_t type;
	uint32_t port;
	bool netlink;
	uint32_t events;
	uint32_t seq;
	bool broken;
	char text[KH_CTL_TEXT_MAX];
	struct kh_ctl_answer answer;
	uint8_t buf[RECEIVE_MAX];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

int kh_ctl_adopt(int fd, struct kh_ctl **out)
{
	struct kh_ctl *ctl = calloc(1, sizeof(*ctl));

	*out = ctl;
	if (!ctl)
		return -ENOMEM;
	ctl->fd = fd;
	ctl->type = KH_CTL_TYPE;
	return 0;
}

static int ctl_new(int domain, int kind, int protocol, struct kh_ctl **out)
{
	int fd = socket(domain, kind | SOCK_CLOEXEC, protocol), err;

	*out = NULL;
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -errno : -ENODEV;
	err = kh_ctl_adopt(fd, out);
	if (err)
		close(fd);
	return err;
}

int kh_ctl_open(const char *path, struct kh_ctl **out)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct kh_ctl *ctl;
	int err;

	*out = NULL;
	if (!path)
		path = getenv("KHAZANA_SOCKET");
	if (!path || !*path)
		path = KH_CTL_SOCKET;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path));
	err = ctl_new(AF_UNIX, SOCK_SEQPACKET, 0, &ctl);
	if (err)
		return err;
	if (connect(ctl->fd, (struct sockaddr *)&addr, sizeof(addr))) {
		err = errno == EACCES || errno == EPERM ? -EACCES : -ENODEV;
		kh_ctl_close(ctl);
		return err;
	}
	*out = ctl;
	return 0;
}

void kh_ctl_close(struct kh_ctl *ctl)
{
	if (!ctl)
		return;
	kh_ctl_answer_free(&ctl->answer);
	close(ctl->fd);
	free(ctl);
}

int kh_ctl_fd(const struct kh_ctl *ctl)
{
	return ctl->fd;
}

const char *kh_ctl_text(const struct kh_ctl *ctl)
{
	return ctl->text;
}

bool kh_ctl_broken(const struct kh_ctl *ctl)
{
	return ctl->broken;
}

static int ctl_send(struct kh_ctl *ctl, const void *msg, size_t len)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = ctl->port };
	ssize_t sent;

	do {
		sent = ctl->netlink ?
			       sendto(ctl->fd, msg, len, 0, (struct sockaddr *)&to, sizeof(to)) :
			       send(ctl->fd, msg, len, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent == (ssize_t)len)
		return 0;
	ctl->broken = true;
	if (sent >= 0)
		return -EPROTO;
	if (errno == ENOBUFS)
		return -ENOMEM;
	return errno == EPERM || errno == ENOMEM ? -errno : -ENODEV;
}

/*
 * One datagram of the other end into @buf. Return: bytes, 0 if @wait is over, -ENODEV, -ENOBUFS,
 * -EPROTO.
 */
static int ctl_receive(struct kh_ctl *ctl, uint64_t deadline_ms)
{
	for (;;) {
		struct pollfd pfd = { .fd = ctl->fd, .events = POLLIN };
		uint64_t now = now_ms();
		struct sockaddr_nl from = { .nl_family = AF_NETLINK };
		socklen_t from_len = sizeof(from);
		int ready;
		ssize_t got;

		ready = poll(&pfd, 1, deadline_ms > now ? (int)(deadline_ms - now) : 0);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready ? -ENODEV : 0;
		got = recvfrom(ctl->fd, ctl->buf, sizeof(ctl->buf), MSG_DONTWAIT | MSG_TRUNC,
			       ctl->netlink ? (struct sockaddr *)&from : NULL,
			       ctl->netlink ? &from_len : NULL);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return errno == ENOBUFS ? -ENOBUFS : -ENODEV;
		if (!got)
			return -ENODEV;
		if (got > (ssize_t)sizeof(ctl->buf))
			return -EPROTO;
		/* Anybody may send to a netlink port: only the one that was asked counts. */
		if (ctl->netlink && from.nl_pid != ctl->port)
			continue;
		return got;
	}
}

/* A negative errno or 0, whatever the other end said. */
static int errno_of(int32_t error)
{
	return error > 0 || error < -4095 ? -EPROTO : error;
}

/* The payload of NLMSG_ERROR: its errno, and the line of text that came with it. */
static int ack_read(struct kh_ctl *ctl, const struct kh_nl_msg *msg)
{
	struct kh_nla_cursor cursor;
	struct nlmsgerr err;
	struct kh_nla nla;
	size_t skip = sizeof(err);

	if (msg->len < sizeof(err))
		return -EPROTO;
	memcpy(&err, msg->body, sizeof(err));
	if (!(msg->flags & NLM_F_ACK_TLVS))
		return errno_of(err.error);
	if (!(msg->flags & NLM_F_CAPPED) && err.msg.nlmsg_len > sizeof(err.msg))
		skip += NLMSG_ALIGN((size_t)err.msg.nlmsg_len) - sizeof(err.msg);
	if (skip > msg->len)
		return errno_of(err.error);
	cursor = kh_nla_begin(msg->body + skip, msg->len - skip);
	while (kh_nla_next(&cursor, &nla))
		if (nla.type == NLMSGERR_ATTR_MSG)
			kh_nla_string(&nla, ctl->text, sizeof(ctl->text));
	return errno_of(err.error);
}

/* What an answer is made of while it arrives. */
struct reader {
	const struct kh_nl_set *set;
	uint8_t cmd;
	kh_ctl_each_fn each;
	void *arg;
};

/* One datagram. Return: 1 to go on, else the errno of the end. */
static int answer_read(struct kh_ctl *ctl, const struct reader *reader, size_t len)
{
	const uint8_t *at = ctl->buf;
	struct kh_nl_msg msg;
	int32_t error;
	int err;

	while ((err = kh_nl_next(&at, &len, &msg)) > 0) {
		if (msg.seq != ctl->seq)
			continue;
		if (msg.type == NLMSG_ERROR)
			return ack_read(ctl, &msg);
		if (msg.type == NLMSG_DONE) {
			if (msg.len < sizeof(error))
				return 0;
			memcpy(&error, msg.body, sizeof(error));
			return errno_of(error);
		}
		if (msg.type != ctl->type || (reader->cmd && msg.cmd != reader->cmd) ||
		    kh_nla_check(reader->set, ~0ULL, false, msg.body, msg.len)) {
			ctl->broken = true;
			return -EPROTO;
		}
		err = reader->each ? reader->each(reader->arg, &msg) : 0;
		if (err)
			return err;
	}
	if (err) {
		ctl->broken = true;
		return -EPROTO;
	}
	return 1;
}

static int ctl_exchange(struct kh_ctl *ctl, const void *msg, size_t len,
			const struct reader *reader, uint32_t timeout_ms)
{
	uint64_t deadline = now_ms() + (timeout_ms ? timeout_ms : KH_CTL_TIMEOUT_MS);
	int err;

	ctl->broken = false;
	ctl->text[0] = '\0';
	err = ctl_send(ctl, msg, len);
	if (err)
		return err;
	do {
		err = ctl_receive(ctl, deadline);
		if (err <= 0) {
			ctl->broken = true;
			return err ? err : -ETIMEDOUT;
		}
		err = answer_read(ctl, reader, err);
	} while (err == 1);
	return err;
}

int kh_ctl_ask(struct kh_ctl *ctl, uint8_t cmd, const void *body, size_t body_len, bool dump,
	       kh_ctl_each_fn each, void *arg, uint32_t timeout_ms)
{
	struct reader reader = { NULL, cmd, each, arg };
	uint8_t buf[1024];
	struct kh_nlb nlb;
	int len;

	if (cmd > KHAZANA_NL_CMD_MAX || !kh_nl_ops[cmd].set)
		return -EINVAL;
	reader.set = kh_nl_ops[cmd].set;
	kh_nlb_begin(&nlb, buf, sizeof(buf), ctl->type,
		     NLM_F_REQUEST | NLM_F_ACK | (dump ? NLM_F_DUMP : 0), ++ctl->seq, 0, cmd);
	kh_nlb_raw(&nlb, body, body_len);
	len = kh_nlb_end(&nlb);
	return len < 0 ? len : ctl_exchange(ctl, buf, len, &reader, timeout_ms);
}

int kh_ctl_ask_op(struct kh_ctl *ctl, const struct kh_op *op, kh_ctl_each_fn each, void *arg,
		  uint32_t timeout_ms)
{
	const uint8_t cmd = kh_ctl_cmd(op->code);
	struct reader reader = { kh_nl_ops[cmd].set, cmd, each, arg };
	uint8_t buf[1024];
	int len, err;

	if (!timeout_ms)
		timeout_ms = (op->timeout_ms ? op->timeout_ms : KH_CTL_TIMEOUT_MS) + 1000;
	len = kh_ctl_build(op, buf, sizeof(buf), ctl->type, ++ctl->seq);
	err = len < 0 ? len : ctl_exchange(ctl, buf, len, &reader, timeout_ms);
	explicit_bzero(buf, sizeof(buf));
	return err;
}

int kh_ctl_call(struct kh_ctl *ctl, const struct kh_op *op, struct kh_op_result *result,
		uint32_t timeout_ms)
{
	int err;

	memset(result, 0, sizeof(*result));
	if (!kh_ctl_cmd(op->code))
		return -EINVAL;
	kh_ctl_answer_free(&ctl->answer);
	err = kh_ctl_ask_op(ctl, op, kh_ctl_answer_add, &ctl->answer, timeout_ms);
	if (err && ctl->broken)
		return err;
	kh_ctl_answer_result(&ctl->answer, result);
	result->error = -err;
	return 0;
}

int kh_ctl_event_read(struct kh_ctl *ctl, kh_ctl_each_fn each, void *arg)
{
	const struct kh_nl_set *set = kh_nl_ops[KHAZANA_NL_CMD_EVENT].set;

	for (;;) {
		int got = ctl_receive(ctl, 0);
		const uint8_t *at = ctl->buf;
		size_t len = got;
		struct kh_nl_msg msg;
		int err;

		if (got <= 0)
			return got;
		while ((err = kh_nl_next(&at, &len, &msg)) > 0) {
			if (msg.type != ctl->type || msg.cmd != KHAZANA_NL_CMD_EVENT)
				continue;
			if (kh_nla_check(set, ~0ULL, false, msg.body, msg.len))
				return -EPROTO;
			err = each(arg, &msg);
			if (err)
				return err;
		}
		if (err)
			return -EPROTO;
	}
}

/* ------------------------------------------------- finding the module's family */

static const struct kh_nl_attr group_attrs[CTRL_ATTR_MCAST_GRP_MAX + 1] = {
	[CTRL_ATTR_MCAST_GRP_NAME] = { .name = "name", .type = KH_NL_STRING, .size = GENL_NAMSIZ },
	[CTRL_ATTR_MCAST_GRP_ID] = { .name = "id", .type = KH_NL_U32 },
};
static const struct kh_nl_set group_set = {
	.name = "mcast_group",
	.count = CTRL_ATTR_MCAST_GRP_MAX + 1,
	.attrs = group_attrs,
};

/* Of the controller's answer only what is read; the rest is skipped. */
static const struct kh_nl_attr family_attrs[CTRL_ATTR_MAX + 1] = {
	[CTRL_ATTR_FAMILY_NAME] = { .name = "name", .type = KH_NL_STRING, .size = GENL_NAMSIZ },
};
static const struct kh_nl_set family_set = {
	.name = "family",
	.count = CTRL_ATTR_MAX + 1,
	.attrs = family_attrs,
};

static void group_take(struct kh_ctl *ctl, const struct kh_nla *nest)
{
	struct kh_nla_cursor cursor = kh_nla_begin(nest->data, nest->len);
	char name[GENL_NAMSIZ] = "";
	struct kh_nla nla;
	uint32_t id = 0;

	if (kh_nla_check(&group_set, ~0ULL, false, nest->data, nest->len))
		return;
	while (kh_nla_next(&cursor, &nla)) {
		if (nla.type == CTRL_ATTR_MCAST_GRP_NAME)
			kh_nla_string(&nla, name, sizeof(name));
		else if (nla.type == CTRL_ATTR_MCAST_GRP_ID)
			id = kh_nla_u32(&nla);
	}
	if (!strcmp(name, KHAZANA_NL_MCGRP_EVENTS))
		ctl->events = id;
}

struct family {
	struct kh_ctl *ctl;
	uint16_t id;
};

static int family_take(void *arg, const struct kh_nl_msg *msg)
{
	struct kh_nla_cursor cursor = kh_nla_begin(msg->body, msg->len), groups;
	struct family *family = arg;
	struct kh_nla nla, group;

	while (kh_nla_next(&cursor, &nla)) {
		if (nla.type == CTRL_ATTR_FAMILY_ID && nla.len == sizeof(family->id)) {
			memcpy(&family->id, nla.data, sizeof(family->id));
		} else if (nla.type == CTRL_ATTR_MCAST_GROUPS) {
			groups = kh_nla_begin(nla.data, nla.len);
			while (kh_nla_next(&groups, &group))
				group_take(family->ctl, &group);
		}
	}
	return 0;
}

static int ctl_open_netlink(struct kh_ctl **out)
{
	struct reader reader = { .set = &family_set, .each = family_take };
	struct family family = { 0 };
	struct kh_ctl *ctl;
	struct kh_nlb nlb;
	uint8_t buf[128];
	int err, on = 1;

	err = ctl_new(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC, &ctl);
	if (err)
		return err;
	setsockopt(ctl->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(ctl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	ctl->netlink = true;
	ctl->type = GENL_ID_CTRL;
	family.ctl = ctl;
	reader.arg = &family;
	kh_nlb_begin(&nlb, buf, sizeof(buf), GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, ++ctl->seq, 0,
		     CTRL_CMD_GETFAMILY);
	kh_nlb_string(&nlb, CTRL_ATTR_FAMILY_NAME, KHAZANA_NL_FAMILY_NAME, GENL_NAMSIZ);
	err = ctl_exchange(ctl, buf, kh_nlb_end(&nlb), &reader, 0);
	if (!err && !family.id)
		err = -ENODEV;
	if (err) {
		kh_ctl_close(ctl);
		return err == -EPERM || err == -ENOMEM ? err : -ENODEV;
	}
	ctl->type = family.id;
	*out = ctl;
	return 0;
}

int kh_ctl_open_module(struct kh_ctl **out)
{
	*out = NULL;
	return ctl_open_netlink(out);
}

int kh_ctl_open_port(uint32_t port, struct kh_ctl **out)
{
	int err;

	*out = NULL;
	if (!port)
		return -ENODEV;
	err = ctl_open_netlink(out);
	if (!err)
		(*out)->port = port;
	return err;
}

int kh_ctl_join(struct kh_ctl *ctl)
{
	if (!ctl->netlink || !ctl->events)
		return -EOPNOTSUPP;
	if (setsockopt(ctl->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &ctl->events,
		       sizeof(ctl->events)))
		return -errno;
	return 0;
}
