/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memory.h - the limit of page frames in memory */
#ifndef KHD_MEMORY_H
#define KHD_MEMORY_H

#include "ctl/ctl.h"
#include "khd/khd.h"

struct khd_memory;

/**
 * khd_memory_open() - the module's limit, or the one of the configuration
 * @khd: config and device are there
 *
 * Return: NULL after an error, which was logged.
 */
struct khd_memory *khd_memory_open(struct khd *khd);

/* Serve memory-resize; ends in khd_control_refuse(). */
void khd_memory_ask(struct khd *khd, uint64_t op_id, const struct kh_ctl_request *req);

/* Work towards a lowered limit; when to be called next. */
uint64_t khd_memory_tick(struct khd_memory *memory, uint64_t now);

/* NULL is allowed. */
void khd_memory_close(struct khd_memory *memory);

#endif /* KHD_MEMORY_H */
