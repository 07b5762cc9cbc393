/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcp.h - connections to the other nodes
 *
 * Of two nodes the one with the lower id connects to the other.  Each side sends
 * HELLO at once; a connection is up when the other's HELLO has been accepted.  A newer
 * connection of the same peer replaces the older one.  What the node sends is
 * collected per peer and goes out once a pass of the loop.
 */
#ifndef KHD_TCP_H
#define KHD_TCP_H

#include <stddef.h>
#include <stdint.h>

#include "khd/khd.h"

struct khd_tcp;

/**
 * khd_tcp_open() - bind the listening address
 *
 * Return: NULL after an error, which was logged.
 */
struct khd_tcp *khd_tcp_open(struct khd *khd);

/* Begin to accept and to connect. */
void khd_tcp_start(struct khd_tcp *tcp);

/* kh_host_ops.send */
void khd_tcp_send(struct khd_tcp *tcp, kh_node_id peer, const void *head, size_t head_len,
		  const void *data, size_t data_len);

/**
 * khd_tcp_tick() - drop what is late or overflowed, connect what is due
 *
 * Once a pass; may call kh_node_peer_down().  Return: when it wants to be called at the latest.
 */
uint64_t khd_tcp_tick(struct khd_tcp *tcp, uint64_t now);

/* Hand what was collected to the loop. */
void khd_tcp_flush(struct khd_tcp *tcp);

#define KHD_TCP_COUNTERS 5

/* Fill @counters with what this file counts. */
void khd_tcp_counters(const struct khd_tcp *tcp, struct kh_counter counters[KHD_TCP_COUNTERS]);

void khd_tcp_close(struct khd_tcp *tcp);

#endif /* KHD_TCP_H */
