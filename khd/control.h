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

/* Send an event to everybody who watches; one who does not read misses it. */
void khd_control_event(struct khd_control *control, const char *name, const char *text);

/* Close everything and remove the socket. */
void khd_control_close(struct khd_control *control);

#endif /* KHD_CONTROL_H */
