/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control.h - the clients: libkhazana and khadm, by UNIX socket or netlink
 *
 * Each request becomes one operation of the node and is answered once.  A
 * client of the socket is privileged if it is root or khd's own user; one that could send to khd's
 * netlink port has CAP_NET_ADMIN, or the kernel would not have carried it.
 */
#ifndef KHD_CONTROL_H
#define KHD_CONTROL_H

#include "ctl/ctl.h"
#include "khd/khd.h"

struct khd_control;

/**
 * khd_control_open() - open the netlink port and, if configured, the socket
 * @netlink_port: out: 0 where the kernel has no generic netlink or refuses
 *
 * Return: NULL after an error, which was logged.
 */
struct khd_control *khd_control_open(struct khd *khd, uint32_t *netlink_port);

/* Begin to take clients. */
void khd_control_start(struct khd_control *control);

/* kh_host_ops.reply */
void khd_control_reply(struct khd_control *control, uint64_t op_id,
		       const struct kh_op_result *result);

/**
 * khd_answer_fn - give the whole answer to a request that is khd's own
 * @arg: as given to khd_control_answer()
 *
 * Return: as kh_ctl_reply()
 */
typedef int khd_answer_fn(const struct kh_ctl_request *req, const void *arg, kh_ctl_emit emit,
			  void *ctx);

/* The end of a request that khd_pages_ask() or khd_memory_ask() was given: by an answer, or an
 * errno (0: done). */
void khd_control_answer(struct khd_control *control, uint64_t op_id, khd_answer_fn *answer,
			const void *arg);
void khd_control_refuse(struct khd_control *control, uint64_t op_id, int error, const char *text);

/* Send an event to everybody who watches; one who does not read misses it. */
void khd_control_event(struct khd_control *control, const char *name, const char *text);

/* Close everything and remove the socket. */
void khd_control_close(struct khd_control *control);

#endif /* KHD_CONTROL_H */
