/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reconcile.c - an inventory at a home that knows its directory: VERDICT, HDONE
 */
#include "census.h"

void kh_verdict(struct kh_unit *unit, kh_node_id party, uint64_t token,
		enum kh_wire_verdict_kind what)
{
	struct kh_node *node = unit->region->owner;
	struct kh_peer *peer = kh_peer_find(node, party);
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_wire_verdict *e;

	if (!peer)
		return;
	if (kh_planted(node, KH_PLANT_NO_VERDICT))
		what = KH_VERDICT_RESUME;
	e = kh_out(node, peer, KH_WIRE_VERDICT, &head);
	e->unit = unit->node.key;
	e->token = token;
	e->verdict = what;
}

/* May the stores in the kept frame @r, which was given away or never, be missing elsewhere? */
static bool lost_handoff(const struct kh_unit *unit, const struct kh_wire_record *r)
{
	enum kh_rolled rolled = kh_record_rolled(unit, r);
	uint64_t version = r->version_handoff;

	if (rolled == KH_FREED)
		return false;
	return (version <= unit->rolled && version != unit->seen) || rolled == KH_ROLLED ||
	       (version > unit->seen && version != unit->version);
}

/* The same of a copy that should not be there any more: unless others are known to have it, yes. */
bool kh_lost_copy(const struct kh_unit *unit, const struct kh_wire_record *r)
{
	enum kh_rolled rolled = kh_record_rolled(unit, r);
	uint64_t version = r->version;

	if (rolled == KH_FREED)
		return false;
	return version == unit->rolled || rolled == KH_ROLLED ||
	       (version != unit->version && version != unit->seen &&
		!(unit->backup.party && version == unit->backup_version));
}

/* Is a node silent, other than @from? */
static bool others_silent(const struct kh_node *node, const struct kh_peer *from)
{
	return node->silent & ~(from ? 1ull << (from - node->peers) : 0);
}

/*
 * Stores that waited for a verdict go on under their old version, and a silent node may have gone
 * on from there: what it has is given up, also when it comes back to a later khd.  As far as there
 * is room: requests need some as well.
 */
static void outdo_silent(struct kh_unit *unit)
{
	struct kh_home *home = unit->region->home;

	if (home->roll_count >= KH_ROLLS_MAX / 2)
		return;
	kh_roll_add(unit->region, &(struct kh_roll){ .unit = unit->node.key,
						     .count = 1 | KH_ROLL_GAP,
						     .after = unit->version,
						     .before = home->epoch << KH_TOKEN_SHIFT });
	home->unsaved = true;
	unit->region->owner->unsaved = true;
}

/*
 * The copy that @party has and could not use any more is right again: what a silent node has beside
 * it comes too late.
 */
void kh_verdict_resume(struct kh_unit *unit, kh_node_id party, uint64_t token)
{
	struct kh_node *node = unit->region->owner;

	if (!unit->granted && others_silent(node, kh_peer_find(node, party)))
		outdo_silent(unit);
	unit->granted = true;
	if (unit->token != token && !unit->busy) /* what was given up is lost now */
		unit->token = kh_token_new(unit->region);
	kh_verdict(unit, party, token, KH_VERDICT_RESUME);
}

/* @peer hears that the unit does not go on from @r; so do all, if others than @peer may have seen
 * it. */
static void verdict_against(struct kh_unit *unit, const struct kh_peer *peer,
			    const struct kh_wire_record *r, bool lost)
{
	if (lost && unit->gap)
		unit->region->home->gone_back = true;
	kh_verdict(unit, peer->id, r->token, lost ? KH_VERDICT_LOST : KH_VERDICT_STALE);
}

static void refresh(const struct kh_unit *unit, struct kh_holder *holder, uint64_t mark)
{
	holder->gen = kh_grantee_gen(unit->region->owner, unit->region, holder->party);
	holder->mark = mark;
}

static void owner_is_back(struct kh_unit *unit, const struct kh_peer *peer)
{
	refresh(unit, &unit->owner, peer->ask_id);
	unit->unjudged = 0;
	kh_unit_found(unit);
}

struct kh_holder kh_census_holder(const struct kh_unit *unit, const struct kh_peer *peer,
				  uint64_t token)
{
	struct kh_holder holder = { .party = peer->id, .token = token, .mark = peer->ask_id };

	refresh(unit, &holder, peer->ask_id);
	return holder;
}

/*
 * May the unit's place have a newer version than @r, which nobody can read at this moment?  Then it
 * does not become readable before the place was asked.
 */
bool kh_in_doubt(const struct kh_unit *unit, const struct kh_wire_record *r)
{
	bool dirty = r->state == KHAZANA_STATE_EXPIRED_DIRTY;

	return unit->unsure && r->right == KHAZANA_RIGHT_NONE && !(dirty && unit->stored_known) &&
	       kh_place_of(unit->region, unit->node.key);
}

/*
 * The owner's frame @r is in doubt: what is clean its node asks for, stores wait for a verdict
 * until the place has answered (kh_unit_judge()).
 */
void kh_unit_doubt(struct kh_unit *unit, const struct kh_wire_record *r)
{
	unit->owner_right = KHAZANA_RIGHT_NONE;
	unit->unjudged = r->state == KHAZANA_STATE_EXPIRED_DIRTY ? unit->owner.token : 0;
	if (unit->unjudged && !unit->looking)
		kh_unit_look(unit);
	kh_unit_dirty(unit); /* it is looked for there when its place is back */
}

/*
 * May the frame @r of @from be read again without a grant?  Not a clean one, or one in HANDOFF,
 * while another node is silent and this home has granted nothing: that one may have gone on from
 * it, and what was read here would not be known after a restart.  Its node asks, and the grant is a
 * new version (R23).
 */
bool kh_resumable(const struct kh_unit *unit, const struct kh_peer *from,
		  const struct kh_wire_record *r)
{
	return r->state == KHAZANA_STATE_EXPIRED_DIRTY || unit->granted ||
	       !others_silent(unit->region->owner, from);
}

/*
 * Of a unit in doubt @r is a copy that nobody can read at this moment: may a node that is silent,
 * other than @from, have gone on from it?  Then it becomes no truth before that node is heard (R23).
 */
bool kh_perhaps_stale(const struct kh_unit *unit, const struct kh_peer *from,
		      const struct kh_wire_record *r)
{
	return others_silent(unit->region->owner, from) && r->right == KHAZANA_RIGHT_NONE &&
	       kh_record_copy(r) && r->state != KHAZANA_STATE_EXPIRED_DIRTY &&
	       kh_intervals_has(&unit->region->home->doubt, unit->node.key);
}

/* Nobody was granted the unit since this home runs, and nobody is known to hold it. */
static void adopt(struct kh_unit *unit, const struct kh_peer *peer, const struct kh_wire_record *r)
{
	uint64_t version = kh_record_version(r);
	struct kh_service *s = unit->busy;
	bool is_lost = kh_unit_known_lost(unit);
	/* Nobody was left who had what was granted last, and here it is. */
	bool found = !unit->owner.party && !unit->busy && version && version == unit->version &&
		     !(unit->stored_known && version == unit->stored);

	if ((unit->granted && !found) || (unit->owner.party && version <= unit->version) ||
	    (is_lost && !kh_record_copy(r) && !found) ||
	    (unit->backup.party && unit->backup_version > version) || kh_record_rolled(unit, r) ||
	    (unit->stored_known && version < kh_unit_placed(unit)))
		return;
	if (unit->owner.party != peer->id)
		kh_unit_judge(unit, true);
	unit->unjudged = 0;
	unit->unsure = !kh_record_owned(r);
	if (r->right == KHAZANA_RIGHT_NONE &&
	    kh_intervals_has(&unit->region->home->lost, unit->node.key))
		unit->region->home->gone_back = true;
	if (is_lost) {
		kh_unit_found(unit);
		unit->gap |= others_silent(unit->region->owner, peer);
	}
	if (unit->owner.party && unit->owner_right == KHAZANA_RIGHT_NONE &&
	    unit->owner.party != peer->id) {
		if (unit->backup.party && unit->backup.party != peer->id)
			kh_unit_hdone(unit, unit->backup.party);
		unit->backup = unit->owner;
		unit->backup_version = unit->version;
	}
	unit->owner = kh_census_holder(unit, peer, r->token);
	unit->owner_right = !kh_record_copy(r)		   ? KHAZANA_RIGHT_NONE :
			    r->right == KHAZANA_RIGHT_READ ? KHAZANA_RIGHT_READ :
							     KHAZANA_RIGHT_WRITE;
	unit->version = version;
	unit->seen = version;
	if (unit->backup.party == peer->id)
		unit->backup = (struct kh_holder){ 0 };
	kh_unit_copy_del(unit, peer->id);
	if (unit->copy_count && unit->owner_right == KHAZANA_RIGHT_WRITE)
		unit->owner_right = KHAZANA_RIGHT_READ;
	unit->guarded = true; /* who else has written it is not known */
	kh_unit_review(unit);
	kh_unit_dirty(unit);
	kh_flush_back(unit);
	/* What the busy request waits for is of another owner: it begins anew. */
	if (s && s->asker && s->token && !s->rescue && !s->confused)
		kh_service_confuse(unit, s, KH_NACK_RETRY);
}

/* Who lists the owner's version was lent it, whatever is known of that. */
static void note_seen(struct kh_unit *unit, const struct kh_peer *peer,
		      const struct kh_wire_record *r)
{
	if (!unit->owner.party || unit->owner.party == peer->id ||
	    kh_record_version(r) != unit->version)
		return;
	unit->seen = unit->version;
	unit->fresh = false;
}

/* A request that was given up had been granted after all, and nothing was granted since. */
static void late_done(struct kh_unit *unit, const struct kh_peer *peer,
		      const struct kh_wire_record *r)
{
	struct kh_holder old = unit->owner;

	if (unit->busy || !kh_record_copy(r) || r->token != unit->token || !unit->token ||
	    (unit->owner.party == peer->id && unit->owner.token == r->token))
		return;
	if (r->version != r->token) {
		if (r->version == unit->version && r->right != KHAZANA_RIGHT_WRITE &&
		    unit->owner.party != peer->id)
			kh_unit_lent(unit, peer->id, r->token, r->uflags & KHAZANA_UNIT_OWNED);
		return;
	}
	unit->owner = kh_census_holder(unit, peer, r->token);
	unit->owner_right = KHAZANA_RIGHT_WRITE;
	unit->copy_count = 0;
	if (unit->backup.party == peer->id)
		unit->backup = (struct kh_holder){ 0 };
	if (old.party && old.party != peer->id) {
		if (unit->backup.party && unit->backup.party != old.party)
			kh_unit_hdone(unit, unit->backup.party);
		unit->backup = old;
		unit->backup.token = r->token;
		unit->backup_version = unit->version;
		unit->seen = unit->version;
	}
	unit->fresh = !old.party && !unit->version;
	unit->version = r->version;
	kh_unit_dirty(unit);
	kh_flush_back(unit);
}

/*
 * An owner is back while others are granted what it holds from elsewhere: it holds nothing.  If
 * they give up, what it stored is nowhere: its programs are told now.
 */
static void give_up(struct kh_unit *unit, const struct kh_peer *peer,
		    const struct kh_wire_record *r)
{
	kh_unit_forget(unit, peer->id);
	kh_verdict(unit, peer->id, r->token, KH_VERDICT_LOST);
}

/* @peer's frame @r is a copy of the owner's version: so it stays. */
void kh_census_copy(struct kh_unit *unit, const struct kh_peer *peer,
		    const struct kh_wire_record *r)
{
	struct kh_holder *copy = kh_unit_copy_add(unit, peer->id, r->token);

	copy->owned = r->uflags & KHAZANA_UNIT_OWNED;
	copy->mark = peer->ask_id;
	if (r->right == KHAZANA_RIGHT_NONE && kh_resumable(unit, peer, r) &&
	    (r->state == KHAZANA_STATE_EXPIRED_DIRTY || !kh_in_doubt(unit, r)))
		kh_verdict_resume(unit, peer->id, r->token);
}

/*
 * The unit went on from a mere READ copy while @peer, which has the same version and keeps it, was
 * silent: that copy may be dropped at any moment, so this one stays.  Return: so it is.
 */
static bool keep_owned(struct kh_unit *unit, const struct kh_peer *peer,
		       const struct kh_wire_record *r)
{
	if (unit->busy || !unit->owner.party || unit->owner_right == KHAZANA_RIGHT_WRITE ||
	    r->version != unit->version || r->right == KHAZANA_RIGHT_WRITE ||
	    !(r->uflags & KHAZANA_UNIT_OWNED))
		return false;
	kh_census_copy(unit, peer, r);
	return true;
}

static void reconcile_copy(struct kh_unit *unit, const struct kh_peer *peer,
			   const struct kh_wire_record *r)
{
	struct kh_holder *copy = kh_unit_copy(unit, peer->id);

	if (unit->owner.party == peer->id && r->version == unit->version) {
		owner_is_back(unit, peer);
		if (r->right != KHAZANA_RIGHT_NONE)
			kh_service_resume(unit, peer->id);
		else if (kh_service_granted(unit, peer->id))
			give_up(unit, peer, r);
		else if (kh_service_resume(unit, peer->id) && !kh_in_doubt(unit, r) &&
			 kh_resumable(unit, peer, r))
			kh_verdict_resume(unit, peer->id, r->token);
		if (kh_in_doubt(unit, r))
			kh_unit_doubt(unit, r);
		return;
	}
	if (copy && r->version == unit->version && r->right != KHAZANA_RIGHT_WRITE) {
		refresh(unit, copy, peer->ask_id);
		if (r->right == KHAZANA_RIGHT_NONE && kh_resumable(unit, peer, r))
			kh_verdict_resume(unit, peer->id, r->token);
		return;
	}
	if (copy)
		kh_unit_copy_del(unit, peer->id);
	if (keep_owned(unit, peer, r))
		return;
	verdict_against(unit, peer, r, kh_lost_copy(unit, r));
}

/*
 * Of a lost unit the newest frame that there is is kept: it may be the last, when all are heard. An
 * old one that is a copy, and so not released, cannot be read; its node asks before it uses it.
 */
static void keep_newest(struct kh_unit *unit, const struct kh_peer *peer,
			const struct kh_wire_record *r)
{
	uint64_t version = kh_record_version(r);
	struct kh_holder old = unit->backup;

	if (!unit->token)
		unit->token = kh_token_new(unit->region);
	if (!unit->version)
		unit->version = unit->seen = unit->token;
	if (old.party && old.party != peer->id && unit->backup_version >= version) {
		if (kh_record_copy(r))
			kh_verdict(unit, peer->id, r->token, KH_VERDICT_STALE);
		else
			kh_unit_release(unit, peer->id);
		return;
	}
	unit->backup = kh_census_holder(unit, peer, r->token);
	unit->backup_version = version;
	if (old.party && old.party != peer->id)
		kh_unit_release(unit, old.party);
	kh_unit_review(unit);
}

/* The backup that was listed is older than @peer's, which was silent then. */
static void better_backup(struct kh_unit *unit, const struct kh_peer *peer,
			  const struct kh_wire_record *r)
{
	kh_unit_hdone(unit, unit->backup.party);
	unit->backup = kh_census_holder(unit, peer, r->token);
	unit->backup_version = r->version_handoff;
	if (unit->backup_version < unit->seen)
		unit->outdated = unit->backup_version;
}

static void reconcile_handoff(struct kh_unit *unit, const struct kh_peer *peer,
			      const struct kh_wire_record *r)
{
	struct kh_owed *owed = unit->busy ? kh_owed_by(unit->busy, peer->id) : NULL;

	if (!unit->owner.party && kh_unit_known_lost(unit) && !kh_record_rolled(unit, r)) {
		keep_newest(unit, peer, r);
	} else if (unit->owner.party == peer->id && r->version_handoff == unit->version) {
		owner_is_back(unit, peer);
		if (owed && owed->answered && kh_service_granted(unit, peer->id))
			owed->kept = true; /* its lease was over before it said so */
		if (kh_service_resume(unit, peer->id) && !kh_in_doubt(unit, r) &&
		    kh_resumable(unit, peer, r))
			kh_verdict(unit, peer->id, r->token, KH_VERDICT_RESUME);
	} else if (unit->backup.party == peer->id && r->version_handoff == unit->backup_version) {
		refresh(unit, &unit->backup, peer->ask_id);
	} else if (lost_handoff(unit, r)) {
		verdict_against(unit, peer, r, true);
	} else if (unit->owner.party && unit->backup.party &&
		   r->version_handoff > unit->backup_version &&
		   r->version_handoff < unit->version && !kh_record_rolled(unit, r)) {
		better_backup(unit, peer, r);
	} else if (owed && !owed->answered) {
		return; /* kept for the request under way, which hears of it by an IACK */
	} else if (unit->token >= r->token_handoff) {
		kh_unit_release(unit, peer->id);
	} else {
		kh_verdict(unit, peer->id, r->token, KH_VERDICT_STALE);
	}
}

/*
 * When its record was pruned nobody was entitled to the unit but its place, and nobody asked for it
 * since: what a node still has is old, or was rolled back.
 */
static void reconcile_pruned(struct kh_unit *unit, const struct kh_peer *peer,
			     const struct kh_wire_record *r)
{
	bool lost = kh_record_rolled(unit, r) == KH_ROLLED;

	if (kh_record_copy(r) || (kh_record_handoff(r) && lost))
		verdict_against(unit, peer, r, lost);
	else if (kh_record_handoff(r))
		kh_unit_release(unit, peer->id);
}

/*
 * Is @r, a copy, older than a FORWARD that @peer has answered since?  The DATA went to the asker,
 * whose DONE came before the inventory: the frame is in HANDOFF now, and the backup.
 */
static bool handed_off_since(const struct kh_unit *unit, const struct kh_peer *peer,
			     const struct kh_wire_record *r)
{
	return kh_record_copy(r) && unit->backup.party == peer->id &&
	       r->version == unit->backup_version && r->token < unit->backup.token &&
	       (r->right != KHAZANA_RIGHT_NONE || kh_holder_valid(unit, &unit->backup));
}

/* What a node holds beside what the directory says of it. */
void kh_reconcile(struct kh_unit *unit, struct kh_peer *peer, const struct kh_wire_record *r)
{
	struct kh_service *s = unit->busy;

	if (unit->pruned) {
		reconcile_pruned(unit, peer, r);
		return;
	}
	if (s && !s->call && s->asker == peer->id && s->token && s->token == r->token &&
	    kh_record_copy(r)) {
		if (kh_request_of(peer, s->request))
			return; /* its DONE will come */
		kh_service_complete(unit, r->version);
	}
	if (!unit->owner.party && kh_perhaps_stale(unit, peer, r) && !kh_record_rolled(unit, r)) {
		keep_newest(unit, peer, r);
		return;
	}
	if (handed_off_since(unit, peer, r)) {
		refresh(unit, &unit->backup, peer->ask_id);
		return;
	}
	adopt(unit, peer, r);
	note_seen(unit, peer, r);
	late_done(unit, peer, r);
	if (kh_record_copy(r))
		reconcile_copy(unit, peer, r);
	else if (kh_record_handoff(r))
		reconcile_handoff(unit, peer, r);
}

/* What @peer did not list it does not hold. */
static void sweep_unit(struct kh_unit *unit, struct kh_peer *peer)
{
	struct kh_holder *copy = kh_unit_copy(unit, peer->id);
	struct kh_service *s = unit->busy;

	if (copy && copy->mark != peer->ask_id)
		kh_unit_copy_del(unit, peer->id);
	if (unit->backup.party == peer->id && unit->backup.mark != peer->ask_id)
		unit->backup = (struct kh_holder){ 0 };
	kh_unit_review(unit);
	if (unit->owner.party == peer->id && unit->owner.mark != peer->ask_id &&
	    !(s && s->asker == peer->id)) {
		kh_unit_forget(unit, peer->id);
		if (!s) {
			kh_unit_swept(unit);
		} else if (!unit->swept) {
			unit->swept = peer;
			peer->swept++;
		}
	}
	if (s && !s->call && s->asker == peer->id && !kh_request_of(peer, s->request))
		kh_service_cancel(unit);
}

void kh_census_sweep(struct kh_region *region, struct kh_peer *peer)
{
	struct kh_hnode *n;

	for (n = kh_hash_first(&region->home->units); n; n = kh_hash_next(&region->home->units, n))
		sweep_unit(kh_container(n, struct kh_unit, node), peer);
}
