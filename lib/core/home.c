/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * home.c - the home of a region: what nodes say to its directory, one request per unit at a time
 *
 *   REQ kh_on_req() -> kh_service_add() -> waiting FIFO -> busy: kh_service_run() (service.c)
 *   IACK kh_on_iack() -> the manager's message(); DONE kh_on_done() -> kh_service_complete() -> next
 */
#include <errno.h>
#include <stdlib.h>
#include "cm.h"

/* Is the party needed for what goes on at the unit? */
static bool involved(const struct kh_unit *unit, kh_node_id party)
{
	struct kh_service *s = unit->busy;
	const struct kh_owed *owed = s ? kh_owed_by(s, party) : NULL;

	/* Who has answered an INV is the backup, or was told to let go. */
	return unit->owner.party == party || unit->backup.party == party ||
	       (s && (s->asker == party || s->source == party)) || (owed && !owed->answered);
}

/* Who is to have the unit, or to send it to its place: what becomes of that tells of its frame. */
static bool is_party(const struct kh_service *s, kh_node_id party)
{
	return s && (s->store ? s->source : s->asker) == party;
}

/* An answer to an INV of a request that was given up since. */
static void late_iack(struct kh_unit *unit, kh_node_id party, const struct kh_wire_iack *e)
{
	struct kh_holder *copy = kh_unit_copy(unit, party);
	bool answers = copy && copy->token < e->token;
	bool reader = answers && kh_holder_valid(unit, copy);

	if (e->status != KH_ACK_DONE && e->status != KH_ACK_KEPT)
		return;
	if (answers)
		kh_unit_copy_del(unit, party);
	if (e->status == KH_ACK_DONE || unit->owner.party == party || unit->backup.party == party)
		return;
	if (reader &&
	    (!kh_holder_valid(unit, &unit->backup) || unit->backup_version != unit->version)) {
		kh_unit_kept(unit, party, kh_grantee_gen(unit->region->owner, unit->region, party),
			     e->token);
		kh_unit_review(unit);
	} else if (is_party(unit->busy, party)) {
		unit->busy->displaced = true;
	} else if (!involved(unit, party)) {
		kh_unit_hdone(unit, party);
	}
}

/* Whoever was to send the unit has not got it. */
static void source_absent(struct kh_unit *unit, struct kh_service *s, uint32_t status)
{
	if (status == KH_ACK_DAMAGED) {
		if (s->load)
			kh_store_unreadable(unit, s);
		return;
	}
	if (s->load)
		unit->stored_known = false;
	else
		kh_unit_forget(unit, s->source);
	if (s->store) {
		kh_service_run(unit);
		kh_service_next(unit);
	} else {
		kh_service_confuse(unit, s, KH_NACK_RETRY);
	}
}

void kh_on_iack(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_iack *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	bool stale = kh_planted(node, KH_PLANT_ACCEPT_STALE);
	uint32_t i;

	if (!region || !region->home || region->home->recovering)
		return;
	for (i = 0; i < h->count; i++, e++) {
		struct kh_unit *unit = kh_unit_find(region, e->unit);
		struct kh_service *s = unit ? unit->busy : NULL;
		struct kh_owed *owed = s ? kh_owed_by(s, from->id) : NULL;

		if (!unit)
			continue;
		if (unit->storing == KH_STORING_BESIDE && unit->store_token == e->token) {
			kh_store_ended(unit, e->status == KH_ACK_DONE ? 0 : EAGAIN);
		} else if (!s || (s->token != e->token && !stale)) {
			late_iack(unit, from->id, e);
		} else if (e->status == KH_ACK_DEFERRED) {
			if (owed || s->source == from->id)
				kh_service_deferred(unit, s);
		} else if (e->status == KH_ACK_ABSENT || e->status == KH_ACK_DAMAGED) {
			if (s->source == from->id && !s->confused)
				source_absent(unit, s, e->status);
		} else if (owed) {
			kh_owed_answered(unit, s, owed, e->status);
		}
	}
}

/* The asker does not want it any more: out of the FIFO with it. */
static void waiting_abort(struct kh_unit *unit, kh_node_id asker, uint64_t request)
{
	struct kh_service *w, *tmp;

	kh_list_each_safe (w, tmp, &unit->waiting, node) {
		if (w->call || w->asker != asker || w->request != request)
			continue;
		unit->waiting_count--;
		kh_service_free(w);
	}
}

void kh_on_done(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_done *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	bool stale = kh_planted(node, KH_PLANT_ACCEPT_STALE);
	uint32_t i;

	if (!region || !region->home || region->home->recovering)
		return;
	for (i = 0; i < h->count; i++, e++) {
		struct kh_unit *unit = kh_unit_find(region, e->unit);
		struct kh_service *s = unit ? unit->busy : NULL;

		if (unit && (e->flags & KH_DONE_ABORTED))
			waiting_abort(unit, from->id, h->request);
		if (!s || s->call || s->asker != from->id || (s->request != h->request && !stale) ||
		    (s->token != e->token && e->token && !stale))
			continue;
		s->declined = e->flags & KH_DONE_ABORTED;
		if (s->declined)
			kh_service_cancel(unit);
		else
			kh_service_complete(unit, e->version);
	}
}

/* Can somebody be asked for the unit, if @party gives up its kept frame? */
static bool is_dispensable(const struct kh_unit *unit, kh_node_id party)
{
	if (unit->owner.party)
		return kh_peer_reach(unit->region->owner, unit->owner.party);
	/* Of a lost unit it may be the last one. */
	return unit->backup.party != party ||
	       (unit->stored_known && unit->stored >= unit->backup_version);
}

/*
 * The owner has its frame in HANDOFF, and would give it up: what is stored need not be kept (R29).
 * It stays the owner, for a RESUME may be on its way; if not, it will say that it has nothing.
 */
static void owner_wanted(struct kh_unit *unit)
{
	if (unit->owner_right != KHAZANA_RIGHT_NONE || !kh_place_of(unit->region, unit->node.key))
		return;
	if (kh_unit_clean(unit))
		kh_unit_hdone(unit, unit->owner.party);
	else
		kh_unit_store(unit);
}

void kh_on_evict(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_evict *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	bool judged;
	uint32_t i;

	if (!region || !region->home || region->home->recovering)
		return;
	/* The frame of a node whose lease was over may be all that is left of its stores. */
	judged = from->census && kh_grantee_valid(node, region, from->id);
	for (i = 0; i < h->count; i++, e++) {
		struct kh_unit *unit = kh_unit_known(region, e->unit);
		struct kh_holder *copy = unit ? kh_unit_copy(unit, from->id) : NULL;

		if (!unit)
			continue;
		if (e->flags & KH_EVICT_STORE) {
			kh_store_wanted(unit, from->id);
			continue;
		}
		kh_count(node, KH_STAT_EVICTIONS);
		if (e->flags & KH_EVICT_BACKUP) {
			if (unit->busy || !judged || !is_dispensable(unit, from->id))
				continue;
			if (unit->owner.party == from->id) {
				owner_wanted(unit);
				continue;
			}
			if (unit->backup.party == from->id)
				unit->backup = (struct kh_holder){ 0 };
			kh_unit_review(unit);
			if (kh_thin_save(node))
				continue;
			kh_unit_hdone(unit, from->id);
		} else if (copy && copy->token == e->token) {
			kh_unit_copy_del(unit, from->id);
		} else if (unit->owner.party == from->id && unit->owner.token == e->token &&
			   unit->owner_right == KHAZANA_RIGHT_READ && !unit->busy) {
			kh_unit_forget(unit, from->id);
		} else {
			continue;
		}
		if (region->home->cm->evict)
			region->home->cm->evict(unit, from->id);
		kh_unit_prune(unit);
	}
}

/* @party has a frame in HANDOFF, by an INV or FORWARD with @token: may it go? */
static void hask_unit(struct kh_unit *unit, kh_node_id party, uint64_t token)
{
	const struct kh_wire_iack kept = { .token = token, .status = KH_ACK_KEPT };
	const struct kh_holder *copy = kh_unit_copy(unit, party);
	const struct kh_owed *owed = unit->busy ? kh_owed_by(unit->busy, party) : NULL;

	/* The IACK that said so is lost. */
	if (copy && copy->token < token && !(owed && !owed->answered))
		late_iack(unit, party, &kept);
	else if (!involved(unit, party))
		kh_unit_hdone(unit, party);
	else if (is_party(unit->busy, party))
		unit->busy->displaced = true; /* unless it gets its grant */
}

void kh_on_hask(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_hdone *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	uint32_t i;

	if (!region || !region->home || region->home->recovering || !from->census ||
	    !kh_grantee_valid(node, region, from->id))
		return;
	for (i = 0; i < h->count; i++, e++) {
		struct kh_unit *unit = kh_unit_known(region, e->unit);

		if (unit && unit->token >= e->token)
			hask_unit(unit, from->id, e->token);
	}
}

/*
 * Put a request into its unit's FIFO, or make an old one run with its new attempt, which may
 * overwrite no more (R32).
 */
void kh_service_add(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_service *b = unit->busy, *w;

	if (b && b->spoiled && s->asker == b->asker && s->request == b->request &&
	    s->attempt > b->attempt) {
		b = NULL;
		if (!kh_store_asked_again(unit)) {
			kh_service_nack(unit, s, EIO, 0);
			kh_service_free(s);
			kh_service_next(unit);
			return;
		}
	}
	if (b && s->asker && b->asker == s->asker && b->request == s->request) {
		if (s->attempt > b->attempt) {
			b->attempt = s->attempt;
			b->flags = s->flags;
			b->held = s->held;
			b->held_token = s->held_token;
			kh_service_run(unit);
			kh_service_next(unit);
		}
		kh_service_free(s);
		return;
	}
	kh_list_each (w, &unit->waiting, node) {
		if (!s->asker || w->asker != s->asker || w->request != s->request)
			continue;
		if (s->attempt > w->attempt) {
			w->attempt = s->attempt;
			w->flags = s->flags;
			w->held = s->held;
			w->held_token = s->held_token;
		}
		kh_service_free(s);
		return;
	}
	if (b && ((s->flags & KH_REQ_PREFETCH) || (b->deferred && (s->flags & KH_REQ_TRY)))) {
		kh_service_nack(unit, s, EAGAIN, 0);
		kh_service_free(s);
		return;
	}
	if (b && b->deferred && s->call) {
		kh_served_refused(unit->region->owner, s->call);
		kh_service_free(s);
		return;
	}
	if (unit->waiting_count >= KH_WAITING_MAX && s->asker) {
		kh_count(unit->region->owner, KH_STAT_QUEUE_FULL);
		kh_service_nack(unit, s, EAGAIN, KH_NACK_RETRY);
		kh_service_free(s);
		kh_service_next(unit); /* the request may have ended just now */
		return;
	}
	kh_list_add(&unit->waiting, &s->node);
	unit->waiting_count++;
	if (b && kh_planted(unit->region->owner, KH_PLANT_TWO_BUSY) &&
	    s->want == KHAZANA_RIGHT_READ && b->grant_sent) {
		kh_service_end(unit);
	}
	kh_service_next(unit);
}

static bool completed(const struct kh_unit *unit, kh_node_id party, uint64_t request)
{
	unsigned int i;

	for (i = 0; i < unit->done_count; i++)
		if (unit->dones[i].party == party && unit->dones[i].request == request)
			return true;
	return false;
}

static void req_unit(struct kh_node *node, struct kh_region *region, struct kh_peer *from,
		     const struct kh_wire_head *h, const struct kh_wire_req *e)
{
	struct kh_unit *unit = kh_unit_get(region, e->unit);
	struct kh_service *s;

	if (completed(unit, from->id, h->request))
		return;
	s = kh_zalloc(sizeof(*s));
	kh_list_init(&s->node);
	s->asker = from->id;
	s->request = h->request;
	s->attempt = h->attempt;
	s->want = e->want;
	s->flags = e->flags;
	s->held = e->version;
	s->held_token = e->token;
	if (region->home->recovering || !from->census || h->epoch != region->home->epoch) {
		kh_service_nack(unit, s, EAGAIN, KH_NACK_RETRY);
		kh_service_free(s);
		return;
	}
	kh_service_add(unit, s);
}

void kh_on_req(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
	       const void *data)
{
	const struct kh_wire_req *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	uint32_t i;

	if (!region || !region->home || region->home->going) {
		struct kh_wire_head head = *h;
		struct kh_wire_not_home *no = kh_out(node, from, KH_WIRE_NOT_HOME, &head);

		no->kind = KH_WIRE_REQ;
		no->hint = region && !region->home ? region->home_id : 0;
		return;
	}
	for (i = 0; i < h->count; i++, e++)
		if (e->unit < region->units)
			req_unit(node, region, from, h, e);
}

/* The lease of @party is over: it owes nothing any more and gets nothing (R14). */
static void unit_expired(struct kh_unit *unit, kh_node_id party)
{
	struct kh_service *s = unit->busy;
	struct kh_owed *owed = kh_owed_by(s, party);

	if (s->asker == party) {
		kh_service_cancel(unit);
		return;
	}
	if (s->source == party && s->store) {
		kh_service_run(unit);
		kh_service_next(unit);
		return;
	}
	if (s->source == party && !s->load)
		kh_service_confuse(unit, s, KH_NACK_RETRY);
	if (owed)
		kh_owed_answered(unit, s, owed, KH_ACK_DONE);
}

void kh_home_expired(struct kh_node *node, kh_node_id party, uint32_t lease_ms)
{
	struct kh_region *region;
	struct kh_list busy;

	kh_list_each (region, &node->regions, node) {
		if (!region->home || region->attr.lease_ms != lease_ms)
			continue;
		/* The end of one request may be that of others: of a FREE of many units. */
		kh_list_take(&busy, &region->home->busy);
		while (!kh_list_empty(&busy)) {
			struct kh_unit *unit = kh_list_first(&busy, struct kh_unit, busy_node);

			kh_list_del(&unit->busy_node);
			kh_list_add(&region->home->busy, &unit->busy_node);
			unit_expired(unit, party);
		}
	}
	kh_served_go(node);
	kh_served_tell(node);
}

/* Is the busy request served from somewhere else than @owner? */
bool kh_service_granted(const struct kh_unit *unit, kh_node_id owner)
{
	const struct kh_service *s = unit->busy;

	return s && s->asker != owner && (s->rescue || (s->grant_sent && s->source != owner));
}

/*
 * May the owner, whose lease was over, have its right back?  Not when a busy request was granted
 * without it: then it keeps its frame for the case that the request is given up.  When one waits
 * for INVs, the owner gets one too.
 */
bool kh_service_resume(struct kh_unit *unit, kh_node_id owner)
{
	struct kh_service *s = unit->busy;
	struct kh_owed *owed = s ? kh_owed_by(s, owner) : NULL;

	if (!s || s->asker == owner)
		return true;
	if (kh_service_granted(unit, owner)) {
		struct kh_owed keep = { .party = owner, .flags = KH_INV_KEEP };

		kh_send_inv(unit, s, &keep);
		return false;
	}
	if (owed && owed->answered && (!owed->kept || s->call)) {
		owed->answered = false;
		owed->gen = kh_grantee_gen(unit->region->owner, unit->region, owner);
		s->owed_open++;
		kh_send_inv(unit, s, owed);
	} else if (!owed && s->call) {
		kh_cm_revoke(unit, s, owner, 0);
	}
	if (s->ready && s->owed_open) {
		s->ready = false;
		kh_served_unready(s->call);
	}
	return true;
}

/* @peer's end of the connection is up (again): what it owes is asked again. */
void kh_home_resend(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;
	struct kh_unit *unit;
	unsigned int i;

	kh_list_each (region, &node->regions, node) {
		if (!region->home)
			continue;
		kh_list_each (unit, &region->home->busy, busy_node) {
			struct kh_service *s = unit->busy;

			for (i = 0; i < s->owed_count; i++)
				if (s->owed[i].party == peer->id && !s->owed[i].answered)
					kh_send_inv(unit, s, &s->owed[i]);
			if (s->source == peer->id && s->load)
				kh_store_load(unit, s);
			else if (s->source == peer->id && s->store)
				kh_store_again(unit, s);
			else if (s->source == peer->id)
				kh_send_forward(unit, s);
			/* Its GRANT, or the asker's word that it gave up, may be lost. */
			if (s->asker == peer->id && (s->grant_sent || s->confused))
				kh_service_nack(unit, s, EAGAIN, KH_NACK_RETRY);
		}
	}
}

const char *kh_home_check(const struct kh_region *region)
{
	const struct kh_hash *units = &region->home->units;
	struct kh_hnode *n;

	for (n = kh_hash_first(units); n; n = kh_hash_next(units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);
		const char *broken = NULL;

		if (region->home->recovering)
			continue;
		if (kh_unit_copy(unit, unit->owner.party))
			return "home: the owner is among the readers";
		if (!unit->busy && !kh_list_empty(&unit->waiting))
			return "home: a request waits for nobody";
		if (unit->busy && kh_list_empty(&unit->busy_node))
			return "home: a busy unit is on no list";
		if (unit->owner.party && unit->owner.party == unit->backup.party)
			return "home: the owner is its own backup";
		if (region->home->cm->check)
			broken = region->home->cm->check(unit);
		if (broken)
			return broken;
	}
	return NULL;
}
