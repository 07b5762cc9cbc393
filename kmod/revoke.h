/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * revoke.h - taking a right back, which may take its time
 */
#ifndef KZ_REVOKE_H
#define KZ_REVOKE_H

#include <linux/types.h>

#include "page.h"

struct kz_instance;
struct kz_notice;
struct kz_unit;

/**
 * struct kz_revoke_group - one REVOKE command, over all its units
 * @pending: units that go on, and one of the command itself
 * @generation: of the khd that gave it
 * @notice: REVOKED, posted when the last unit is over
 */
struct kz_revoke_group {
	atomic_t pending;
	u32 generation;
	struct kz_notice *notice;
};

void kz_revoke_group_end(struct kz_instance *instance, struct kz_revoke_group *group,
			 bool async);
void kz_revoke_kick(struct kz_unit *unit);
int kz_revoke(struct kz_unit *unit, const struct kz_page_event *event,
	      struct kz_revoke_group **group, u32 *act);

#endif /* KZ_REVOKE_H */
