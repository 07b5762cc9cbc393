/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pages.h - the node's page store, between the core and the engine
 *
 * The core's commands become operations of the engine (khd/store); what is put is copied into an
 * arena of a fixed size, and waits there while the engine's queue is full.  All that is waiting at
 * the end of a pass of the loop goes to the engine together, so that one flush of the device serves
 * it.
 *
 * A store whose disk has failed, or that cannot be opened, is out of service: every command ends
 * with EIO, and the node goes on, as home and as holder of pages that others keep.
 */
#ifndef KHD_PAGES_H
#define KHD_PAGES_H

#include "khd/control.h"
#include "khd/khd.h"

struct khd_pages;

/**
 * khd_pages_open() - open the store that the configuration names, or make it
 *
 * Return: NULL after an error, which was logged and which only an operator can mend: another
 * process uses the directory, it is not this node's, there is no room.  A damaged store is opened,
 * out of service.
 */
struct khd_pages *khd_pages_open(struct khd *khd);

/* kh_host_ops.store */
void khd_pages_command(struct khd_pages *pages, const struct kh_store_cmd *cmd);

/**
 * khd_pages_tick() - hand on what waits, and what is done from time to time
 *
 * Return: when to call again; 0: in the next pass.
 */
uint64_t khd_pages_tick(struct khd_pages *pages, uint64_t now);

/**
 * khd_pages_stop() - end in order: what is under way, then a checkpoint
 *
 * Runs the loop, at most for some seconds; the node is told nothing any more.
 */
void khd_pages_stop(struct khd_pages *pages);

/* Free everything; after the loop was destroyed. NULL is allowed. */
void khd_pages_close(struct khd_pages *pages);

/* A request that is khd's own; it is answered by khd_control_answer(). @pages is NULL without a
 * store. */
void khd_pages_ask(struct khd *khd, uint64_t op_id, const struct kh_ctl_request *req);

#endif /* KHD_PAGES_H */
