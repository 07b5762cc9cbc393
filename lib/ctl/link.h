/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link.h - the message level below ctl.h, for khadm and the files of lib/ctl
 */
#ifndef KH_CTL_LINK_H
#define KH_CTL_LINK_H

#include "ctl/ctl.h"
#include "ctl/nla.h"

/* nlmsg_type on a UNIX socket, where no family is registered. */
#define KH_CTL_TYPE 0x4b48

/* A connection over @fd, a connected SOCK_SEQPACKET socket that it owns from then on. Return: 0,
 * -ENOMEM. */
int kh_ctl_adopt(int fd, struct kh_ctl **ctl);

/* KHAZANA_NL_CMD_* of an operation, or 0. */
uint8_t kh_ctl_cmd(enum kh_op_code code);

/* Return: bytes of the request in @buf, -EINVAL (no such operation), -EMSGSIZE. */
int kh_ctl_build(const struct kh_op *op, void *buf, size_t size, uint16_t type, uint32_t seq);

void kh_ctl_put_attr(struct kh_nlb *nlb, uint16_t type, const struct kh_attr *attr);
void kh_ctl_get_attr(const struct kh_nla *nest, struct kh_attr *attr);

/**
 * kh_ctl_each_fn - one message of an answer
 * @msg: its attributes are checked against the operation's set
 *
 * Return: 0, or an errno that ends the call.
 */
typedef int (*kh_ctl_each_fn)(void *arg, const struct kh_nl_msg *msg);

/**
 * kh_ctl_ask() - send a request and give its answer to @each, message by message
 * @ctl: the connection
 * @cmd: KHAZANA_NL_CMD_*
 * @body: attributes
 * @body_len: bytes
 * @dump: ask for a list
 * @timeout_ms: 0 means KH_CTL_TIMEOUT_MS
 *
 * Return: 0, the (negative) errno of the answer, with kh_ctl_text(), or of the way there as in
 * kh_ctl_call(); kh_ctl_broken() tells which.
 */
int kh_ctl_ask(struct kh_ctl *ctl, uint8_t cmd, const void *body, size_t body_len, bool dump,
	       kh_ctl_each_fn each, void *arg, uint32_t timeout_ms);

/* As kh_ctl_ask(), for an operation of khd. */
int kh_ctl_ask_op(struct kh_ctl *ctl, const struct kh_op *op, kh_ctl_each_fn each, void *arg,
		  uint32_t timeout_ms);

/* Whether the last failure was one of the connection. */
bool kh_ctl_broken(const struct kh_ctl *ctl);

/* Take part in the module's events. Return: 0, or an errno. */
int kh_ctl_join(struct kh_ctl *ctl);

/**
 * kh_ctl_event_read() - events that have arrived
 * @each: called for each
 *
 * Does not wait.  Return: 0, an errno of @each, -ENODEV (the other end has gone), -EPROTO, -ENOBUFS
 * (events were lost; go on).
 */
int kh_ctl_event_read(struct kh_ctl *ctl, kh_ctl_each_fn each, void *arg);

#endif /* KH_CTL_LINK_H */
