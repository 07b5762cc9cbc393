/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * module.h - what a host of the cluster consists of beside its core: module.c, kept.c
 */
#ifndef UNIT_MODULE_H
#define UNIT_MODULE_H

#include "cluster.h"

/* cluster.c: the khd does something that others see; false if it is dead by now */
bool host_effect(struct host *h);

/* module.c: the module */
void module_command(void *host, struct khazana_cmd *cmds, unsigned int n);
void *module_frame(void *host, uint32_t frame, size_t len);
void module_new(struct host *h);
void module_daemon_gone(struct host *h);
void module_time(struct host *h);

/* kept.c: the page store */
void kept_begin(void *host, const struct kh_store_cmd *cmd);
bool kept_step(struct host *h);
void kept_forget(struct host *h);

#endif /* UNIT_MODULE_H */
