/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cm_null.c - no consistency: the template of all managers
 *
 * Everybody gets what he asks for at once, with the owner's contents of the moment; who got WRITE
 * last is the owner.  Copies of others stay as they are.  For data that is written by one node
 * once, or whose readers do not care.
 */
#include <errno.h>
#include "cm.h"

/* The owner's contents for somebody who has no copy. */
static void send(struct kh_unit *unit, struct kh_service *s)
{
	uint32_t want = s->want;

	s->want = KHAZANA_RIGHT_READ; /* all that the owner must leave */
	kh_cm_fetch(unit, s, unit->owner.party);
	s->want = want;
	kh_cm_grant(unit, s, KH_SOURCE_DATA, want == KHAZANA_RIGHT_WRITE);
}

static void null_fault(struct kh_unit *unit, struct kh_service *s)
{
	if (!unit->owner.party && !unit->version) {
		kh_cm_grant(unit, s, KH_SOURCE_ZERO, true);
		return;
	}
	if (s->held == unit->version) {
		kh_cm_grant(unit, s, KH_SOURCE_HELD, true);
		return;
	}
	if (unit->owner.party == s->asker) {
		kh_cm_refuse(unit, s, s->held_token >= unit->owner.token ? EIO : EAGAIN);
		return;
	}
	/* A module does not receive over a copy that it may use: an old one goes first. */
	if (s->held != KHAZANA_VERSION_NONE)
		kh_cm_revoke(unit, s, s->asker, 0);
	if (!s->owed_open)
		send(unit, s);
}

/* The asker's old copy is gone. */
static void null_message(struct kh_unit *unit, struct kh_service *s)
{
	send(unit, s);
}

const struct kh_cm_ops kh_cm_null = {
	.name = "null",
	.untracked = true,
	.fault = null_fault,
	.message = null_message,
};
