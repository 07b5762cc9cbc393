/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config.h - khd.conf(5) */
#ifndef KHD_CONFIG_H
#define KHD_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/node.h"

/* A numeric internet address with its port. */
struct khd_addr {
	struct sockaddr_storage ss;
	socklen_t len; /* 0: none */
	char text[64]; /* as in the file */
};

struct khd_peer_config {
	kh_node_id id;
	struct khd_addr addr;
};

enum khd_queue {
	KHD_QUEUE_AUTO, /* io_uring, or read(2) where it is refused */
	KHD_QUEUE_URING, /* io_uring or nothing */
	KHD_QUEUE_READ, /* read(2) on the device and poll(2) everywhere */
};

struct khd_limits {
	uint64_t memory; /* bytes of page frames, 0: as the module was told */
	uint32_t clients; /* connections to the control socket */
	uint32_t ops; /* operations of clients under way */
	uint32_t queue_depth; /* requests of the module under way to khd */
	uint32_t peer_queue_mb; /* bytes that wait to be sent to one peer */
	uint32_t peer_timeout_ms; /* a silent peer is dead after this time */
};

/* The page store; no dir: the node keeps pages in memory only. */
struct khd_store_options {
	char dir[PATH_MAX];
	uint64_t size; /* of the slot file, when the store is made */
	uint64_t cache; /* SQLite's, 0: the engine's choice */
	uint64_t scrub; /* bytes a second, 0: only when asked for */
	uint64_t buffers; /* memory for units on their way to and from it */
};

struct khd_config {
	kh_node_id id;
	char state[PATH_MAX];
	char socket[108]; /* as sockaddr_un.sun_path; empty: no control socket */
	char device[PATH_MAX]; /* empty: "none" */
	char netns[PATH_MAX]; /* empty: that of the caller */
	enum khd_queue queue;
	uint32_t priority; /* SCHED_RR, 0: leave the scheduler alone */
	struct khd_addr listen;
	char cluster[32];
	uint32_t lease_ms;
	uint32_t drift_ppm;
	uint32_t zap_budget_ms;
	uint32_t flush_ms;
	struct khd_store_options store;
	struct khd_limits limits;
	unsigned int peer_count;
	struct khd_peer_config peers[KH_NODES_MAX - 1];
};

/**
 * khd_config_read() - read and check @path
 *
 * Every error is said on standard error as FILE:LINE: what.
 * Return: true if @config may be used.
 */
bool khd_config_read(struct khd_config *config, const char *path);

#endif /* KHD_CONFIG_H */
