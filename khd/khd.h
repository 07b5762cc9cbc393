/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * khd.h - the daemon: one node of lib/core and what it stands on
 *
 * One thread.  The loop calls the parts, the parts call the node, the node answers through
 * struct kh_host_ops into the parts, which only note what is to be done.
 */
#ifndef KHD_KHD_H
#define KHD_KHD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"
#include "khd/config.h"
#include "khd/loop.h"

/**
 * struct khd - everything
 * @config: as read from the file
 * @loop: what waits
 * @state: the state directory
 * @device: the module, NULL with device = none
 * @memory: its limit of page frames, NULL without it
 * @tcp: the peers
 * @control: the clients
 * @pages: the page store, NULL without one
 * @park: from the module to @pages, NULL without either
 * @node: the core
 * @node_config: what it was born with
 * @incarnation: of this start
 * @boot: of the module's instance; random with device = none
 * @stop: leave the loop
 * @failed: exit with an error then
 */
struct khd {
	struct khd_config config;
	struct khd_loop *loop;
	struct khd_state *state;
	struct khd_device *device;
	struct khd_memory *memory;
	struct khd_tcp *tcp;
	struct khd_control *control;
	struct khd_pages *pages;
	struct khd_park *park;
	struct kh_node *node;
	struct kh_node_config node_config;
	uint64_t incarnation;
	uint64_t boot;
	bool stop;
	bool failed;
};

#define KHD_TEXT_MAX 160

/* Log an event and tell those who watch; may be called at any time. */
void khd_event(struct khd *khd, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Leave the loop after this pass, with exit status 1. */
void khd_fail(struct khd *khd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif /* KHD_KHD_H */
