/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cm_crew.c - strict write-invalidate: one writer or many readers
 *
 * READ: the owner, or this home's own copy, or the store lends; the owner keeps READ.  WRITE: every
 * other copy is invalidated and acknowledged, the owner hands its copy to the asker unless the
 * asker has a current one (rules R3, R5, R6, R11 of Documentation/protocol.rst).
 */
#include <errno.h>
#include "cm.h"

/*
 * A READ copy that replaces the backup takes over its duty: it is not dropped under memory pressure
 * nor at the end of its lease, which may end because the home, the owner, died.  So does the
 * first one of a unit that lost its backup.
 */
static bool guards(const struct kh_unit *unit, const struct kh_service *s)
{
	if (unit->stored_known && unit->stored == unit->version)
		return false;
	return unit->owner.party == s->asker || unit->backup.party == s->asker ||
	       kh_unit_alone(unit);
}

/* Does the asker hold the current version, by its own word and by the directory? */
static bool holds(const struct kh_unit *unit, const struct kh_service *s)
{
	if (s->held != unit->version)
		return false;
	if (unit->owner.party == s->asker || kh_unit_copy((struct kh_unit *)unit, s->asker))
		return true;
	return unit->backup.party == s->asker && unit->backup_version == unit->version &&
	       kh_holder_valid(unit, &unit->backup);
}

/*
 * Nobody has written it, and nobody need be asked.  Where it has a place that knows so, too, and
 * who only reads it may drop it; others may be doing so.
 */
static bool is_virgin(const struct kh_unit *unit)
{
	return !unit->owner.party && !unit->version;
}

static void read_fault(struct kh_unit *unit, struct kh_service *s)
{
	kh_node_id self = kh_self(unit->region->owner)->id, source = unit->owner.party;

	if (is_virgin(unit)) {
		kh_cm_grant(unit, s, KH_SOURCE_ZERO, !kh_place_of(unit->region, unit->node.key));
		return;
	}
	if (holds(unit, s)) {
		kh_cm_grant(unit, s, KH_SOURCE_HELD, guards(unit, s));
		return;
	}
	if (kh_unit_copy(unit, self) && s->asker != self)
		source = self;
	if (kh_planted(unit->region->owner, KH_PLANT_OLD_VERSION) && unit->backup.party &&
	    unit->backup.party != s->asker)
		source = unit->backup.party;
	kh_cm_fetch(unit, s, source);
	kh_cm_grant(unit, s, KH_SOURCE_DATA, guards(unit, s));
}

/*
 * Everybody else loses his right.  READ copies are kept, unless the backup is as new: the version
 * that its readers saw must not depend on the owner alone until the request is done.  One is
 * enough, but any of them may have been dropped by now; all but the last to answer hear HDONE.  So
 * is one when the data comes from the store: it may turn out to be unreadable there (R33).
 */
static void revoke_others(struct kh_unit *unit, struct kh_service *s, bool held)
{
	struct kh_node *node = unit->region->owner;
	kh_node_id parties[KH_NODES_MAX];
	bool keep = !kh_unit_backed(unit) || (!held && !unit->owner.party && !is_virgin(unit));
	unsigned int i, n = 0;

	for (i = 0; i < unit->copy_count; i++)
		if (unit->copies[i].party != s->asker)
			parties[n++] = unit->copies[i].party;
	if (n && kh_planted(node, KH_PLANT_SKIP_INV)) {
		kh_unit_copy_del(unit, parties[n - 1]);
		n--;
	}
	for (i = 0; i < n; i++)
		kh_cm_revoke(unit, s, parties[i], keep ? KH_INV_KEEP : 0);
	if (held && unit->owner.party && unit->owner.party != s->asker)
		kh_cm_revoke(unit, s, unit->owner.party, KH_INV_KEEP);
}

static void write_grant(struct kh_unit *unit, struct kh_service *s)
{
	if (s->flags & KH_REQ_OVERWRITE)
		kh_cm_grant(unit, s, KH_SOURCE_ZERO, true);
	else if (s->source || s->load)
		kh_cm_grant(unit, s, KH_SOURCE_DATA, true);
	else if (is_virgin(unit))
		kh_cm_grant(unit, s, KH_SOURCE_ZERO, true);
	else
		kh_cm_grant(unit, s, KH_SOURCE_HELD, true);
}

static void crew_fault(struct kh_unit *unit, struct kh_service *s)
{
	enum kh_settled settled;
	bool held;

	held = holds(unit, s);
	if (unit->owner.party == s->asker && !held && !(s->flags & KH_REQ_OVERWRITE)) {
		/* It asked before it had its last grant; only a later word counts. */
		if (s->held_token >= unit->owner.token) {
			kh_unit_forget(unit, s->asker);
			settled = kh_unit_settle(unit);
			if (settled == KH_SETTLED_LOST) {
				kh_unit_lost(unit, true);
				kh_cm_refuse(unit, s, EIO);
			} else if (settled == KH_SETTLED) {
				crew_fault(unit, s);
			} else {
				kh_cm_refuse(unit, s, EAGAIN);
			}
			return;
		}
		kh_cm_refuse(unit, s, EAGAIN);
		return;
	}
	/* What is given a new version after a rollback must have the old one nowhere. */
	if (s->want == KHAZANA_RIGHT_READ && unit->rolled <= unit->version) {
		read_fault(unit, s);
		return;
	}
	revoke_others(unit, s, held || (s->flags & KH_REQ_OVERWRITE));
	if (!held && !(s->flags & KH_REQ_OVERWRITE) && !is_virgin(unit))
		kh_cm_fetch(unit, s, unit->owner.party);
	if (!s->owed_open || kh_planted(unit->region->owner, KH_PLANT_GRANT_EARLY))
		write_grant(unit, s);
}

static void crew_message(struct kh_unit *unit, struct kh_service *s)
{
	if (!s->grant_sent)
		write_grant(unit, s);
}

static const char *crew_check(const struct kh_unit *unit)
{
	if (unit->owner_right == KHAZANA_RIGHT_WRITE && unit->copy_count && !unit->busy)
		return "crew: a reader beside the writer";
	return NULL;
}

const struct kh_cm_ops kh_cm_crew = {
	.name = "crew",
	.fault = crew_fault,
	.message = crew_message,
	.check = crew_check,
};
