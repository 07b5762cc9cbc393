/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.c - a home sees to it that a unit is stored at its place, and asks what is stored there
 *
 *   kh_unit_store(): a service in the unit's FIFO, so that nobody is granted the unit meanwhile
 *   kh_store_run(): FLUSH -> holder: STORE -> place: STORED GOT: the service is over
 *                                                    STORED SAFE: kh_flush_wake()
 *   kh_unit_look(): LOOK -> place: STORED FOUND: the service that waited goes on
 *   kh_store_load(): LOAD -> place: DATA to the asker
 *
 * A unit with a place and without an owner is owned by the store: its version is what is stored,
 * 0 and all zero if nothing is.  What a restarted home does not know it asks for when it needs it,
 * so that its start does not depend on how much is stored (rules R25 to R29 of
 * Documentation/protocol.rst).
 */
#include <errno.h>
#include <stdlib.h>
#include "cm.h"

#define WRITTEN_WAIT (30000 * KH_MS) /* for a place to say that a version is durable */

/**
 * kh_unit_clean() - is there nothing to store?
 */
bool kh_unit_clean(const struct kh_unit *unit)
{
	if (!kh_place_of(unit->region, unit->node.key))
		return true;
	if (!unit->version ||
	    (kh_planted(unit->region->owner, KH_PLANT_FLUSH_CLEAN) && unit->stored))
		return true;
	return unit->stored_known && unit->stored == unit->version && !unit->unsure &&
	       (!unit->owner.party || unit->owner_right != KHAZANA_RIGHT_WRITE);
}

/* The directory changed: put the unit on the list of those that may have to be stored, or off it. */
void kh_unit_dirty(struct kh_unit *unit)
{
	struct kh_home *home = unit->region->home;
	struct kh_node *node = unit->region->owner;

	kh_list_del(&unit->dirty_node);
	if (kh_unit_clean(unit))
		return;
	kh_list_add(&home->dirty, &unit->dirty_node);
	if (home->flush_ns == KH_NEVER)
		home->flush_ns = node->now + node->config.flush_ms * KH_MS;
	kh_arm(node, home->flush_ns);
}

/*
 * An explicit lock stands in the way of the busy request, and its holder may wait for the unit to
 * be stored: nothing else is to wait for it.
 */
static void store_beside(struct kh_unit *unit);

static void storing_set(struct kh_unit *unit, enum kh_storing storing, uint64_t until)
{
	unit->storing = storing;
	unit->store_ns = until;
	if (storing == KH_STORING_NOT)
		kh_list_del(&unit->storing_node);
	else if (kh_list_empty(&unit->storing_node))
		kh_list_add(&unit->region->home->storing, &unit->storing_node);
	if (until != KH_NEVER)
		kh_arm(unit->region->owner, until);
}

static struct kh_service *store_service(struct kh_unit *unit)
{
	struct kh_service *s = kh_zalloc(sizeof(*s));

	storing_set(unit, KH_STORING_QUEUED, KH_NEVER);
	kh_list_init(&s->node);
	s->store = true;
	s->want = KHAZANA_RIGHT_READ;
	s->held = KHAZANA_VERSION_NONE;
	return s;
}

/**
 * kh_unit_store() - have the unit's version stored, unless that is under way
 */
void kh_unit_store(struct kh_unit *unit)
{
	if (unit->storing != KH_STORING_NOT)
		return;
	if (unit->busy && unit->busy->deferred) {
		store_beside(unit);
		return;
	}
	kh_service_add(unit, store_service(unit));
}

/* Whom to ask for the current version: the owner, or a READ copy. */
static kh_node_id holder_of(const struct kh_unit *unit)
{
	if (kh_holder_valid(unit, &unit->owner))
		return unit->owner.party;
	return unit->copy_count ? unit->copies[0].party : 0;
}

/*
 * Who waits for the unit has it tried again.  Else the next pass comes to it: however many units of
 * a place that is down cost nothing until then.
 */
static void store_later(struct kh_unit *unit)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_place *place = kh_place_of(unit->region, unit->node.key);
	kh_node_id source = holder_of(unit);

	if (!place || !kh_peer_reach(node, place->node) || (source && !kh_peer_reach(node, source)))
		kh_flush_put_off(unit);
	if (kh_flush_wants(unit))
		storing_set(unit, KH_STORING_AGAIN, node->now + KH_STORE_AGAIN);
	else
		storing_set(unit, KH_STORING_NOT, KH_NEVER);
}

/**
 * kh_store_ended() - the service of a unit is over, or its data will not be durable
 * @error: 0: there was nothing to store; EAGAIN: later; another: it failed
 */
void kh_store_ended(struct kh_unit *unit, uint32_t error)
{
	struct kh_node *node = unit->region->owner;

	if (error == EAGAIN) {
		store_later(unit);
		return;
	}
	storing_set(unit, KH_STORING_NOT, KH_NEVER);
	if (error) {
		kh_count(node, KH_STAT_STORE_ERRORS);
		kh_event(node, "store", "unit %llu of %llx:%llx could not be stored: error %u",
			 (unsigned long long)unit->node.key,
			 (unsigned long long)unit->region->start.hi,
			 (unsigned long long)unit->region->start.lo, error);
	} else {
		unit->store_safe = ++unit->store_number;
	}
	kh_unit_dirty(unit);
	kh_flush_wake(unit, error);
	if (kh_flush_wants(unit))
		kh_unit_store(unit);
}

/**
 * kh_store_freed() - the unit is free: nothing of it is stored, and nothing need be
 */
void kh_store_freed(struct kh_unit *unit)
{
	unit->stored = unit->harmed = 0;
	unit->stored_known = true; /* of the next allocation */
	unit->unsure = unit->flush_out = unit->looking = false;
	unit->store_token = unit->look_token = 0; /* answers about what was there mean nothing */
	/* A service that waits in the FIFO ends by itself. */
	if (unit->storing != KH_STORING_NOT && unit->storing != KH_STORING_QUEUED)
		kh_store_ended(unit, 0);
}

static void send_flush(struct kh_unit *unit, kh_node_id source, uint64_t token, uint32_t flags,
		       const struct kh_place *place)
{
	struct kh_node *node = unit->region->owner;
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_wire_flush *e;

	e = kh_out(node, kh_peer_find(node, source), KH_WIRE_FLUSH, &head);
	e->unit = unit->node.key;
	e->token = token;
	e->need = unit->version;
	e->generation = place->generation;
	e->place = place->node;
	e->flags = flags;
	unit->flush_out = true;
}

static void store_beside(struct kh_unit *unit)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_place *place = kh_place_of(unit->region, unit->node.key);
	kh_node_id source = holder_of(unit);
	bool going = (unit->busy->grant_sent || unit->busy->confused) &&
		     unit->busy->want == KHAZANA_RIGHT_WRITE;

	if (!place || (kh_unit_clean(unit) && !going)) {
		kh_store_ended(unit, 0);
		return;
	}
	if (!source || !kh_peer_reach(node, source) || !kh_peer_reach(node, place->node)) {
		store_later(unit);
		return;
	}
	unit->store_number++;
	unit->store_token = kh_token_new(unit->region);
	storing_set(unit, KH_STORING_BESIDE, node->now + KH_STORE_WAIT);
	send_flush(unit, source, unit->store_token, KH_FLUSH_BESIDE | (going ? KH_FLUSH_HELD : 0),
		   place);
}

/**
 * kh_store_deferred() - the busy request waits for an explicit lock
 */
void kh_store_deferred(struct kh_unit *unit)
{
	struct kh_service *w, *tmp;

	if (unit->storing != KH_STORING_QUEUED)
		return;
	kh_list_each_safe (w, tmp, &unit->waiting, node) {
		if (!w->store)
			continue;
		unit->waiting_count--;
		kh_service_free(w);
		store_beside(unit);
		return;
	}
}

/* The FLUSH, or what came of it, may be lost. */
void kh_store_again(struct kh_unit *unit, const struct kh_service *s)
{
	const struct kh_place *place = kh_place_of(unit->region, unit->node.key);

	if (place && s->source && s->token)
		send_flush(unit, s->source, s->token, 0, place);
}

/* The service ends here; the caller serves the next one. */
static void run_end(struct kh_unit *unit, uint32_t error)
{
	kh_service_end(unit);
	kh_store_ended(unit, error);
}

/**
 * kh_store_run() - a store service is at its turn, also again after its holder went
 */
void kh_store_run(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_place *place = kh_place_of(unit->region, unit->node.key);
	enum kh_settled settled;

	if (!place) {
		run_end(unit, 0);
		return;
	}
	settled = kh_unit_settle(unit);
	if (settled == KH_SETTLED_LOOK) {
		if (kh_unit_look(unit))
			storing_set(unit, KH_STORING_QUEUED, node->now + KH_STORE_WAIT);
		else
			run_end(unit, EAGAIN);
		return;
	}
	if (settled == KH_SETTLED_LATER) {
		run_end(unit, EAGAIN);
		return;
	}
	if (settled == KH_SETTLED_LOST || kh_unit_unreadable(unit)) {
		run_end(unit, EIO);
		return;
	}
	if (kh_unit_clean(unit)) {
		run_end(unit, 0);
		return;
	}
	s->source = holder_of(unit);
	if (!s->source || !kh_peer_reach(node, s->source) || !kh_peer_reach(node, place->node)) {
		run_end(unit, EAGAIN);
		return;
	}
	s->source_gen = kh_grantee_gen(node, unit->region, s->source);
	s->token = 0;
	kh_service_token(unit, s);
	unit->store_number++;
	unit->store_token = s->token;
	storing_set(unit, KH_STORING_QUEUED, node->now + KH_STORE_WAIT);
	send_flush(unit, s->source, s->token, 0, place);
}

static void send_look(struct kh_unit *unit, struct kh_peer *peer, enum kh_wire_kind kind,
		      const struct kh_wire_head *head, uint64_t token, uint64_t need,
		      uint64_t generation)
{
	struct kh_wire_look *e = kh_out(unit->region->owner, peer, kind, head);

	e->unit = unit->node.key;
	e->token = token;
	e->need = need;
	e->generation = generation;
	e->shift = unit->region->unit_shift;
	e->flags = kind == KH_WIRE_LOOK && unit->flush_out ? KH_LOOK_FENCE : 0;
}

/**
 * kh_unit_look() - ask the unit's place what is stored there
 *
 * The busy service is run again when the answer is there.
 * Return: false if the place is out of reach.
 */
bool kh_unit_look(struct kh_unit *unit)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_place *place = kh_place_of(unit->region, unit->node.key);
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_peer *peer = place ? kh_peer_reach(node, place->node) : NULL;

	if (!peer)
		return false;
	unit->looking = true;
	unit->look_token = kh_token_new(unit->region);
	send_look(unit, peer, KH_WIRE_LOOK, &head, unit->look_token, 0, place->generation);
	return true;
}

/**
 * kh_store_load() - the unit's place sends what it has to the asker of @s
 */
void kh_store_load(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_place *place = kh_place_of(unit->region, unit->node.key);
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_peer *peer = place ? kh_peer_reach(node, place->node) : NULL;

	s->load = true;
	s->source = place ? place->node : 0;
	if (!peer)
		return; /* it will be asked when it is back, or the asker gives up */
	head.request = s->request;
	head.party = s->asker;
	head.attempt = s->attempt;
	send_look(unit, peer, KH_WIRE_LOAD, &head, s->token, unit->version, place->generation);
}

/*
 * Before all who wait: a reader, which may have an explicit lock, can send the unit to its place
 * and go on reading (R27); the others are served from there.
 */
static void store_first(struct kh_unit *unit)
{
	if (unit->storing != KH_STORING_NOT)
		return;
	kh_list_add(unit->waiting.next, &store_service(unit)->node);
	unit->waiting_count++;
}

/**
 * kh_store_unreadable() - the unit's place has what the asker of @s is to get, and cannot read it
 * @s: the busy request; it goes on by kh_store_asked_again(), or with its asker's DONE
 *
 * What cannot be read is not stored: the unit is as one whose owner is void, so that one of those
 * who have a copy becomes its owner (R14), and its place gets it anew (R33).
 */
void kh_store_unreadable(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_node *node = unit->region->owner;

	if (!unit->owner.party && unit->harmed != unit->version) {
		kh_count(node, KH_STAT_UNITS_DAMAGED);
		kh_event(node, "store", "unit %llu of %llx:%llx cannot be read at node %u%s",
			 (unsigned long long)unit->node.key,
			 (unsigned long long)unit->region->start.hi,
			 (unsigned long long)unit->region->start.lo, s->source,
			 kh_unit_held(unit) ? ", but others hold it" : ", and nobody holds it");
	}
	if (!unit->owner.party) { /* else it came back meanwhile */
		unit->harmed = unit->seen = unit->version;
		unit->stored = 0;
		unit->stored_known = true;
		unit->fresh = false;
		kh_unit_review(unit);
		kh_unit_dirty(unit);
	}
	/* It may have come, and been taken, before its place was asked once more. */
	s->spoiled = true;
	kh_service_confuse(unit, s, KH_NACK_RETRY);
}

/**
 * kh_store_asked_again() - the busy request's asker has not got what its place cannot read
 *
 * The request ends.  Another one follows it, with a token of its own: what the place may still
 * answer is not taken for what one answers who holds the unit.
 * Return: is there somebody to get it from?
 */
bool kh_store_asked_again(struct kh_unit *unit)
{
	bool nobody = !unit->owner.party && kh_unit_unreadable(unit);

	unit->busy->declined = true;
	kh_service_end(unit);
	if (nobody || kh_planted(unit->region->owner, KH_PLANT_NO_REPAIR))
		return false;
	if (!kh_unit_clean(unit))
		store_first(unit);
	return true;
}

/**
 * kh_store_loaded() - an asker has got the unit's version from its place
 *
 * So it can be read, and what was kept for the case that it cannot may go.
 */
void kh_store_loaded(struct kh_unit *unit)
{
	if (kh_unit_harmed(unit)) {
		unit->stored = unit->harmed;
		unit->harmed = 0;
	}
	if (unit->backup.party && unit->stored_known && unit->backup_version <= unit->stored) {
		kh_unit_hdone(unit, unit->backup.party);
		unit->backup = (struct kh_holder){ 0 };
	}
}

/*
 * What waits for an answer to LOOK does so in vain.  Where what is there could not be read anyway,
 * others have that very version: nothing newer can be there, and they give it (R33).
 */
static void look_failed(struct kh_unit *unit, uint32_t error)
{
	struct kh_service *s = unit->busy;
	bool held = kh_unit_harmed(unit) && kh_unit_held(unit);

	unit->looking = false;
	if (held && error != EAGAIN) {
		unit->stored = 0;
		unit->stored_known = true;
		unit->flush_out = false;
	}
	if (s && error != EAGAIN && unit->stored_known && !unit->flush_out) {
		kh_service_run(unit); /* it is known by now */
	} else if (s && s->store) {
		run_end(unit, error == EAGAIN ? EAGAIN : EIO);
	} else if (s) {
		kh_cm_refuse(unit, s, error == EAGAIN ? EAGAIN : EIO);
	}
	kh_service_next(unit);
}

/* The place said which version it has: the service that waited for that goes on. */
static void found(struct kh_unit *unit, const struct kh_wire_stored *e)
{
	struct kh_node *node = unit->region->owner;

	if (!unit->looking || e->token != unit->look_token)
		return;
	if (e->error) {
		look_failed(unit, e->error);
		return;
	}
	unit->looking = false;
	unit->flush_out = false;
	if (unit->storing == KH_STORING_BESIDE)
		storing_set(unit, KH_STORING_AGAIN, node->now);
	unit->stored = kh_planted(node, KH_PLANT_NO_LOOK) ? 0 : e->version;
	unit->stored_known = true;
	/* That it is there was known: whether it is what could not be read is not. */
	if (unit->harmed == unit->stored)
		unit->stored = 0;
	else
		unit->harmed = 0;
	if (unit->pruned)
		unit->seen = unit->stored;
	unit->pruned = false;
	kh_unit_judge(unit, kh_unit_placed(unit) > unit->version);
	if (!unit->owner.party && !unit->copy_count && unit->version < kh_unit_placed(unit))
		unit->version = kh_unit_placed(unit);
	kh_unit_review(unit);
	if (unit->busy)
		kh_service_run(unit);
	kh_service_next(unit);
}

/* The holder's version has come to its place: the unit is free for others.  The caller serves them.
 */
static void came(struct kh_unit *unit, struct kh_service *s, const struct kh_wire_stored *e)
{
	struct kh_node *node = unit->region->owner;

	if (e->version == unit->version && unit->owner.party == s->source &&
	    unit->owner_right == KHAZANA_RIGHT_WRITE)
		unit->owner_right = KHAZANA_RIGHT_READ;
	storing_set(unit, KH_STORING_WRITTEN, node->now + WRITTEN_WAIT);
	kh_service_end(unit);
	if (kh_planted(node, KH_PLANT_EARLY_SAFE)) {
		unit->store_safe = unit->store_number;
		kh_flush_wake(unit, 0);
	}
}

/* What is durable need not be kept in memory. */
static void tell_holders(struct kh_unit *unit)
{
	struct kh_node *node = unit->region->owner;
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_wire_safe *e;

	if (unit->backup.party && unit->backup_version <= unit->stored && !unit->busy) {
		kh_unit_hdone(unit, unit->backup.party);
		unit->backup = (struct kh_holder){ 0 };
	}
	if (unit->stored != unit->version || unit->owner_right != KHAZANA_RIGHT_READ ||
	    !kh_holder_valid(unit, &unit->owner))
		return;
	e = kh_out(node, kh_peer_find(node, unit->owner.party), KH_WIRE_SAFE, &head);
	e->unit = unit->node.key;
	e->token = unit->owner.token;
	e->version = unit->version;
}

/**
 * kh_store_wanted() - @party is short of memory and would give the unit up
 */
void kh_store_wanted(struct kh_unit *unit, kh_node_id party)
{
	if (unit->owner.party != party || !kh_place_of(unit->region, unit->node.key))
		return;
	if (kh_unit_clean(unit))
		tell_holders(unit);
	else
		kh_unit_store(unit);
}

static void durable(struct kh_unit *unit, const struct kh_wire_stored *e)
{
	struct kh_node *node = unit->region->owner;

	if (e->version > unit->stored || !unit->stored_known) {
		unit->stored = e->version;
		unit->stored_known = true;
	}
	if (unit->harmed && unit->harmed <= e->version) {
		bool anew = unit->harmed == e->version;

		unit->harmed = 0;
		if (anew)
			kh_count(node, KH_STAT_UNITS_REPAIRED);
		kh_event(node, "store", "unit %llu of %llx:%llx, which could not be read, is %s",
			 (unsigned long long)unit->node.key,
			 (unsigned long long)unit->region->start.hi,
			 (unsigned long long)unit->region->start.lo,
			 anew ? "stored anew" : "replaced by what was written since");
	}
	unit->store_safe = unit->store_number;
	storing_set(unit, KH_STORING_NOT, KH_NEVER);
	tell_holders(unit);
	kh_unit_review(unit);
	kh_unit_dirty(unit);
	kh_flush_wake(unit, 0);
	if (kh_flush_wants(unit))
		kh_unit_store(unit);
}

static void stored(struct kh_unit *unit, const struct kh_wire_stored *e)
{
	struct kh_service *s = unit->busy && unit->busy->store ? unit->busy : NULL;
	bool ours;

	if (e->stage == KH_STAGE_FOUND) {
		found(unit, e);
		return;
	}
	if (unit->store_token != e->token)
		return;
	if (s && s->token == e->token && e->error) {
		unit->flush_out = false;
		run_end(unit, e->error);
		kh_service_next(unit);
		return;
	}
	ours = s && s->token == e->token;
	if (ours)
		came(unit, s, e); /* SAFE says it too: GOT may be lost */
	if (e->stage == KH_STAGE_SAFE &&
	    (unit->storing == KH_STORING_WRITTEN || unit->storing == KH_STORING_BESIDE)) {
		unit->flush_out = false; /* else the home has given up, and does not know */
		if (e->error)
			kh_store_ended(unit, e->error);
		else
			durable(unit, e);
	}
	if (ours)
		kh_service_next(unit);
}

void kh_on_stored(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		  const void *data)
{
	const struct kh_wire_stored *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	uint32_t i;

	if (!region || !region->home || region->home->recovering || h->epoch != region->home->epoch)
		return;
	for (i = 0; i < h->count; i++, e++) {
		struct kh_unit *unit = kh_unit_find(region, e->unit);
		const struct kh_place *place = kh_place_of(region, e->unit);

		if (unit && place && place->node == from->id)
			stored(unit, e);
	}
}

/*
 * The unit's place, or whom it waits for, is up again: what was said since may be lost.  Who was
 * to send it beside a request need not be its holder any more: any peer may have been that.
 */
static void unit_resend(struct kh_unit *unit, const struct kh_place *place, struct kh_peer *peer)
{
	struct kh_service *s = unit->busy;

	if (place->node != peer->id && unit->storing != KH_STORING_BESIDE)
		return;
	if (unit->storing == KH_STORING_WRITTEN || unit->storing == KH_STORING_BESIDE ||
	    unit->storing == KH_STORING_AGAIN)
		storing_set(unit, KH_STORING_AGAIN, unit->region->owner->now);
	else if (s && s->store && s->source != peer->id)
		kh_store_again(unit, s);
}

/**
 * kh_store_resend() - @peer's end of the connection is up (again)
 */
void kh_store_resend(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;
	struct kh_unit *unit, *tmp;

	kh_list_each (region, &node->regions, node) {
		if (!region->home || region->home->recovering)
			continue;
		kh_list_each_safe (unit, tmp, &region->home->busy, busy_node) {
			const struct kh_place *place = kh_place_of(region, unit->node.key);

			if (!unit->looking || !place || place->node != peer->id)
				continue;
			kh_unit_look(unit);
		}
		/* What waits for a verdict, and for no request. */
		kh_list_each (unit, &region->home->dirty, dirty_node) {
			const struct kh_place *place = kh_place_of(region, unit->node.key);

			if (kh_unit_unjudged(unit) && !unit->busy && place &&
			    place->node == peer->id)
				kh_unit_look(unit);
		}
		kh_list_each_safe (unit, tmp, &region->home->storing, storing_node) {
			const struct kh_place *place = kh_place_of(region, unit->node.key);

			if (place)
				unit_resend(unit, place, peer);
		}
	}
}

/**
 * kh_store_peer_down() - the connection to @peer is lost: it answers no LOOK
 */
void kh_store_peer_down(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;
	struct kh_list busy;

	kh_list_each (region, &node->regions, node) {
		if (!region->home || region->home->recovering)
			continue;
		kh_list_take(&busy, &region->home->busy);
		while (!kh_list_empty(&busy)) {
			struct kh_unit *unit = kh_list_first(&busy, struct kh_unit, busy_node);
			const struct kh_place *place = kh_place_of(region, unit->node.key);

			kh_list_del(&unit->busy_node);
			kh_list_add(&region->home->busy, &unit->busy_node);
			if (unit->looking && place && place->node == peer->id)
				look_failed(unit, EAGAIN);
		}
	}
}

/* The time of one unit is over. */
static void unit_late(struct kh_unit *unit)
{
	switch (unit->storing) {
	case KH_STORING_QUEUED:
		if (unit->busy && unit->busy->store)
			kh_service_cancel(unit);
		else
			storing_set(unit, KH_STORING_QUEUED, KH_NEVER);
		break;
	case KH_STORING_BESIDE:
		kh_store_ended(unit, EAGAIN);
		break;
	case KH_STORING_WRITTEN:
		kh_store_ended(unit, ETIMEDOUT);
		break;
	case KH_STORING_AGAIN:
		storing_set(unit, KH_STORING_NOT, KH_NEVER);
		kh_unit_store(unit);
		break;
	}
}

void kh_store_tick(struct kh_node *node)
{
	struct kh_region *region;
	struct kh_list storing;

	kh_list_each (region, &node->regions, node) {
		if (!region->home || region->home->recovering)
			continue;
		/* What is done for one unit may end what is done for another. */
		kh_list_take(&storing, &region->home->storing);
		while (!kh_list_empty(&storing)) {
			struct kh_unit *unit =
				kh_list_first(&storing, struct kh_unit, storing_node);

			kh_list_del(&unit->storing_node);
			kh_list_add(&region->home->storing, &unit->storing_node);
			if (node->now >= unit->store_ns)
				unit_late(unit);
			else if (unit->store_ns != KH_NEVER)
				kh_arm(node, unit->store_ns);
		}
	}
}
