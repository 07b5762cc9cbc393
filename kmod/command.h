/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * command.h - what khd tells the module to do
 */
#ifndef KZ_COMMAND_H
#define KZ_COMMAND_H

struct khazana_batch;
struct kz_daemon;

int kz_command_batch(struct kz_daemon *daemon, const struct khazana_batch *batch);

#endif /* KZ_COMMAND_H */
