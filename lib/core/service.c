/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * service.c - one request at its home, from its turn to its end
 *
 *   kh_service_next(): busy -> kh_service_run(): the manager's fault()
 *   kh_cm_revoke(), kh_cm_fetch(): INV and FORWARD leave; kh_cm_grant(): GRANT leaves
 *   kh_service_complete(): the directory is as the request left it; or kh_service_cancel()
 *
 * The directory changes when something is known to have happened: a copy goes with its
 * IACK, a backup comes with KEPT, owner and readers with DONE (home.c).  So a request can be given
 * up (kh_service_cancel()) or started again (kh_service_run()) at any moment.
 */
#include <errno.h>
#include <stdlib.h>
#include "cm.h"

uint64_t kh_token_new(struct kh_region *region)
{
	/* Odd ones name what is stored of a version that its holder goes on writing (R27). */
	return region->home->epoch << KH_TOKEN_SHIFT | (region->home->counter += 2);
}

static struct kh_wire_head service_head(const struct kh_unit *unit, const struct kh_service *s)
{
	struct kh_wire_head head = kh_head(unit->region);

	head.request = s->request;
	head.party = s->asker;
	head.attempt = s->attempt;
	return head;
}

void kh_service_free(struct kh_service *s)
{
	kh_list_del(&s->node);
	free(s->owed);
	free(s);
}

/*
 * What was granted and is given up without the asker's word may have been taken: then it has seen
 * what the grant went on from, and an older frame that it kept as the backup has made room.
 */
static void perhaps_taken(struct kh_unit *unit, const struct kh_service *s)
{
	if (unit->rolled < s->version && s->version > unit->version)
		unit->rolled = s->version;
	if (unit->owner.party == s->asker)
		return;
	if (unit->backup.party == s->asker)
		unit->outdated = unit->backup_version;
	if (s->kind == KH_SOURCE_ZERO || s->need != unit->version)
		return;
	unit->seen = unit->version;
	unit->fresh = false;
	if (unit->backup.party && unit->backup_version < unit->version)
		unit->outdated = unit->backup_version;
}

/* The busy request is over; kh_service_next() must follow. */
void kh_service_end(struct kh_unit *unit)
{
	const struct kh_service *s = unit->busy;
	kh_node_id party = s->store ? s->source : s->asker;

	if (s->granted && !s->declined && !s->happened)
		perhaps_taken(unit, s);
	kh_unit_review(unit);
	if (s->displaced && unit->owner.party != party && unit->backup.party != party)
		kh_unit_hdone(unit, party);
	kh_service_free(unit->busy);
	unit->busy = NULL;
	unit->looking = false;
	kh_list_del(&unit->busy_node);
	if (unit->swept)
		kh_unit_swept(unit);
}

void kh_service_nack(struct kh_unit *unit, struct kh_service *s, uint32_t error, uint32_t flags)
{
	struct kh_node *node = unit->region->owner;
	struct kh_peer *peer = kh_peer_find(node, s->asker);
	struct kh_wire_head head = service_head(unit, s);
	struct kh_wire_nack *e;

	if (!peer)
		return;
	e = kh_out(node, peer, KH_WIRE_NACK, &head);
	e->unit = unit->node.key;
	e->error = error;
	e->flags = flags;
}

void kh_cm_refuse(struct kh_unit *unit, struct kh_service *s, uint32_t error)
{
	kh_service_nack(unit, s, error,
			error == EAGAIN && !(s->flags & (KH_REQ_TRY | KH_REQ_PREFETCH)) ?
				KH_NACK_RETRY :
				0);
	kh_service_end(unit);
}

struct kh_owed *kh_owed_by(struct kh_service *s, kh_node_id party)
{
	unsigned int i;

	for (i = 0; i < s->owed_count; i++)
		if (s->owed[i].party == party)
			return &s->owed[i];
	return NULL;
}

void kh_send_inv(struct kh_unit *unit, const struct kh_service *s, const struct kh_owed *owed)
{
	struct kh_node *node = unit->region->owner;
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_wire_inv *e;

	e = kh_out(node, kh_peer_find(node, owed->party), KH_WIRE_INV, &head);
	e->unit = unit->node.key;
	e->token = s->token;
	e->flags = owed->flags;
}

void kh_cm_revoke(struct kh_unit *unit, struct kh_service *s, kh_node_id party, uint32_t flags)
{
	struct kh_node *node = unit->region->owner;
	struct kh_owed *owed = kh_owed_by(s, party);

	if (!kh_peer_find(node, party)) {
		kh_unit_copy_del(unit, party);
		return;
	}
	if (owed)
		return;
	s->owed = kh_realloc(s->owed, (s->owed_count + 1) * sizeof(*s->owed));
	owed = &s->owed[s->owed_count++];
	*owed = (struct kh_owed){ .party = party,
				  .gen = kh_grantee_gen(node, unit->region, party),
				  .flags = flags };
	s->owed_open++;
	kh_count(node, KH_STAT_INVALIDATIONS);
	kh_send_inv(unit, s, owed);
}

void kh_send_forward(struct kh_unit *unit, const struct kh_service *s)
{
	struct kh_node *node = unit->region->owner;
	struct kh_wire_head head = service_head(unit, s);
	struct kh_peer *peer = kh_peer_find(node, s->source);
	struct kh_wire_forward *e;

	if (!peer)
		return;
	e = kh_out(node, peer, KH_WIRE_FORWARD, &head);
	e->unit = unit->node.key;
	e->token = s->token;
	e->need = unit->version;
	e->right = unit->rolled > unit->version ? KHAZANA_RIGHT_WRITE : s->want;
	e->flags = s->flags & KH_REQ_TRY ? KH_FORWARD_TRY : 0;
}

void kh_cm_fetch(struct kh_unit *unit, struct kh_service *s, kh_node_id party)
{
	struct kh_owed *owed;

	if (!party) {
		kh_store_load(unit, s);
		return;
	}
	owed = kh_owed_by(s, party);
	/* The FORWARD takes the place of an INV that still waits there; DATA is its answer. */
	if (owed) {
		s->owed_open -= !owed->answered;
		*owed = s->owed[--s->owed_count];
	}
	s->source = party;
	s->source_gen = kh_grantee_gen(unit->region->owner, unit->region, party);
	kh_send_forward(unit, s);
}

void kh_cm_grant(struct kh_unit *unit, struct kh_service *s, enum kh_wire_source kind, bool owned)
{
	struct kh_node *node = unit->region->owner;
	struct kh_wire_head head = service_head(unit, s);
	struct kh_wire_grant *e;

	s->kind = kind;
	s->need = unit->version;
	s->version = unit->version;
	/* What goes on from an older version than one that may come back is a new version. */
	if (unit->rolled > unit->version)
		kh_unit_roll(unit, s->token);
	if (s->want == KHAZANA_RIGHT_WRITE || unit->rolled > unit->version) {
		s->version = s->token;
		owned = true;
	}
	s->grant_sent = s->granted = true;
	s->owned = owned;
	unit->granted = true;
	unit->pruned = false;
	e = kh_out(node, kh_peer_find(node, s->asker), KH_WIRE_GRANT, &head);
	e->unit = unit->node.key;
	e->token = s->token;
	e->need = s->need;
	e->version = s->version;
	e->right = s->want;
	e->source = kind;
	e->flags = owned ? KH_GRANT_OWNED : 0;
	if (kind == KH_SOURCE_HELD)
		kh_count(node, KH_STAT_HELD_GRANTS);
	if (kind == KH_SOURCE_ZERO)
		kh_count(node, KH_STAT_ZERO_GRANTS);
	if (kh_planted(node, KH_PLANT_EARLY_HDONE) && s->want == KHAZANA_RIGHT_WRITE &&
	    unit->owner.party && unit->owner.party != s->asker)
		kh_unit_hdone(unit, unit->owner.party);
}

/* Nobody has a right to the unit: it stays busy until that is so of all units of the FREE. */
static void free_ready(struct kh_unit *unit, struct kh_service *s)
{
	if (s->ready)
		return;
	s->ready = true;
	kh_served_ready(unit->region->owner, s->call);
}

/*
 * FREE: everybody gives up his right, an owner keeps his frame until all units are free.  The range
 * may be given back: what readers saw must not depend on the owner alone then (R11).
 */
static void run_free(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_node *node = unit->region->owner;
	kh_node_id parties[2 * KH_NODES_MAX + 1];
	bool keep = !kh_unit_backed(unit);
	unsigned int i, n = 0;

	for (i = 0; i < unit->copy_count; i++)
		if (i || !kh_planted(node, KH_PLANT_FREE_COPY))
			parties[n++] = unit->copies[i].party;
	if (kh_holder_valid(unit, &unit->owner))
		parties[n++] = unit->owner.party;
	for (i = 0; unit->region->home->cm->untracked && i < node->peer_count; i++)
		if (kh_grantee_valid(node, unit->region, node->peers[i].id))
			parties[n++] = node->peers[i].id;
	for (i = 0; i < n; i++)
		kh_cm_revoke(unit, s, parties[i], keep ? KH_INV_KEEP : 0);
	if (!s->owed_open)
		free_ready(unit, s);
}

void kh_service_token(struct kh_unit *unit, struct kh_service *s)
{
	if (!s->token)
		s->token = unit->token = kh_token_new(unit->region);
}

/* Others have seen more than the backup has: the owner's frame is the only one of that (R12). */
static void outdated_backup(struct kh_unit *unit)
{
	if (!unit->backup.party || unit->backup_version >= unit->version)
		return;
	unit->outdated = unit->backup_version;
	kh_unit_review(unit);
}

/* The READ copies of a void owner are safe now: one of them is the owner. */
static void rescued(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_holder *copy = kh_unit_copy(unit, s->asker), old = unit->owner;

	s->rescue = false;
	s->owed_count = s->owed_open = 0;
	if (kh_holder_valid(unit, &unit->backup) && unit->backup_version == unit->version) {
		unit->owner = unit->backup;
		unit->backup = (struct kh_holder){ 0 };
		unit->owner_right = KHAZANA_RIGHT_NONE;
	} else if (copy && s->held == unit->version) {
		unit->owner = *copy;
		unit->owner_right = KHAZANA_RIGHT_READ;
		kh_unit_copy_del(unit, s->asker);
		outdated_backup(unit);
	}
	/* It is back meanwhile, with a kept frame. */
	if (old.party && old.party == s->asker)
		s->displaced = true; /* unless it gets its grant */
	else if (old.party && old.party != unit->owner.party)
		kh_unit_hdone(unit, old.party);
	kh_service_run(unit);
}

/* A READ copy may be dropped at any moment: all but the asker's become kept frames first. */
static void rescue(struct kh_unit *unit, struct kh_service *s)
{
	kh_node_id parties[KH_NODES_MAX];
	unsigned int i, n = 0;

	for (i = 0; i < unit->copy_count; i++)
		if (unit->copies[i].party != s->asker || s->held != unit->version)
			parties[n++] = unit->copies[i].party;
	s->rescue = true;
	s->owed_count = s->owed_open = 0;
	for (i = 0; i < n; i++)
		kh_cm_revoke(unit, s, parties[i], KH_INV_KEEP);
	if (!s->owed_open)
		rescued(unit, s);
}

/* Serve the busy request from the beginning; it may be over afterwards. */
void kh_service_run(struct kh_unit *unit)
{
	struct kh_service *s = unit->busy;
	struct kh_home *home = unit->region->home;
	enum kh_settled settled;

	if (s->rescue && s->owed_open)
		return;
	unit->looking = false;
	s->source = 0;
	s->load = false;
	s->grant_sent = false;
	s->confused = false;
	if (s->store) {
		kh_store_run(unit, s);
	} else if (s->call) {
		kh_unit_settle(unit);
		kh_service_token(unit, s);
		run_free(unit, s);
	} else if (!kh_request_of(kh_peer_find(unit->region->owner, s->asker), s->request)) {
		kh_service_end(unit); /* of a khd that is dead */
	} else if (!kh_grantee_valid(unit->region->owner, unit->region, s->asker)) {
		kh_cm_refuse(unit, s, EAGAIN);
	} else if (unit->node.key >= home->free_first && unit->node.key < home->free_end &&
		   !s->token) {
		kh_cm_refuse(unit, s, EAGAIN); /* the FREE does not wait for it */
	} else if (!kh_intervals_has(&home->allocated, unit->node.key)) {
		kh_cm_refuse(unit, s, ENXIO);
	} else if (!unit->owner.party && kh_unit_known_lost(unit)) {
		kh_cm_refuse(unit, s, EIO);
	} else {
		settled = kh_unit_settle(unit);
		if (settled == KH_SETTLED_LOOK) {
			if (!kh_unit_look(unit))
				kh_cm_refuse(unit, s, EAGAIN);
			return;
		}
		if (settled == KH_SETTLED_LATER) {
			kh_cm_refuse(unit, s, EAGAIN);
			return;
		}
		if (settled == KH_SETTLED_LOST) {
			kh_unit_lost(unit, !unit->owner.party);
			kh_cm_refuse(unit, s, EIO);
			return;
		}
		if (unit->rolled > unit->version && !s->token && kh_rolls_full(unit->region)) {
			kh_cm_refuse(unit, s, EAGAIN);
			return;
		}
		kh_service_token(unit, s);
		if (settled == KH_SETTLED_COPIES)
			rescue(unit, s);
		else
			home->cm->fault(unit, s);
	}
}

void kh_service_next(struct kh_unit *unit)
{
	struct kh_node *node = unit->region->owner;

	while (!unit->busy && !kh_list_empty(&unit->waiting)) {
		struct kh_service *s = kh_list_first(&unit->waiting, struct kh_service, node);

		kh_list_del(&s->node);
		unit->waiting_count--;
		if (kh_planted(node, KH_PLANT_LOSE_WAITER) && !(++node->plant_count & 7)) {
			kh_service_free(s);
			continue;
		}
		unit->busy = s;
		kh_list_add(&unit->region->home->busy, &unit->busy_node);
		kh_service_run(unit);
	}
}

/* The busy request will not be granted; the directory is true as it is. */
void kh_service_cancel(struct kh_unit *unit)
{
	bool store = unit->busy->store;

	kh_service_end(unit);
	if (store)
		kh_store_ended(unit, EAGAIN);
	kh_service_next(unit);
}

/* The FREE @call is given up: the unit is as it was, but for rights that were revoked. */
void kh_service_withdraw(struct kh_unit *unit, const struct kh_served *call)
{
	struct kh_service *w, *tmp;

	if (unit->busy && unit->busy->call == call) {
		kh_service_cancel(unit);
		return;
	}
	kh_list_each_safe (w, tmp, &unit->waiting, node) {
		if (w->call != call)
			continue;
		unit->waiting_count--;
		kh_service_free(w);
		return;
	}
}

/* A WRITE went from one node to another: the old owner's frame is the backup from now on. */
static void move_backup(struct kh_unit *unit, const struct kh_service *s)
{
	const struct kh_owed *owed = kh_owed_by((struct kh_service *)s, unit->owner.party);
	struct kh_holder old = unit->backup;

	if (!unit->owner.party || unit->owner.party == s->asker)
		return;
	if (s->kind != KH_SOURCE_DATA && !(owed && owed->kept)) {
		/* It said that it has nothing, or nothing at all: perhaps it kept its frame. */
		kh_unit_hdone(unit, unit->owner.party);
		return;
	}
	unit->backup = unit->owner;
	unit->backup.token = s->token;
	unit->backup_version = unit->version;
	if (old.party && old.party != unit->backup.party && old.party != s->asker)
		kh_unit_hdone(unit, old.party);
}

static void done_write(struct kh_unit *unit, const struct kh_service *s, struct kh_holder holder)
{
	unsigned int i;

	move_backup(unit, s);
	if (unit->owner.party != s->asker) {
		if (unit->version) {
			unit->seen = unit->version;
			outdated_backup(unit);
		}
		unit->fresh = !unit->owner.party && !unit->version;
		if (unit->owner.party)
			kh_count(unit->region->owner, KH_STAT_HANDOFFS);
	}
	for (i = unit->copy_count; i > 0; i--)
		kh_unit_copy_del(unit, unit->copies[i - 1].party);
	unit->owner = holder;
	unit->owner_right = KHAZANA_RIGHT_WRITE;
	unit->version = s->token;
}

static void done_read(struct kh_unit *unit, const struct kh_service *s, struct kh_holder holder)
{
	struct kh_node *node = unit->region->owner;

	if (s->version != unit->version) {
		move_backup(unit, s);
		unit->copy_count = 0;
		unit->fresh = !unit->owner.party && !unit->version;
		unit->seen = unit->version;
		unit->owner = holder;
		unit->owner_right = KHAZANA_RIGHT_READ;
		unit->version = s->version;
		return;
	}
	/*
	 * The owner may have said meanwhile that it has nothing: then only an OWNED copy is one. Or
	 * nobody has written it, and the store is the owner: then it is the first one who reads.
	 */
	if (!unit->owner.party && ((!unit->version && !unit->copy_count) || s->owned)) {
		unit->owner = holder;
		unit->owner_right = KHAZANA_RIGHT_READ;
		unit->fresh = !unit->version;
		unit->seen = unit->version;
		return;
	}
	if (unit->owner.party == s->asker) {
		unit->owner = holder;
		if (unit->owner_right == KHAZANA_RIGHT_NONE)
			unit->owner_right = KHAZANA_RIGHT_READ;
		return;
	}
	kh_unit_lent(unit, s->asker, s->token, s->owned);
	if ((kh_planted(node, KH_PLANT_PREFETCH_FORGET) && s->flags & KH_REQ_PREFETCH) ||
	    (kh_planted(node, KH_PLANT_FORGET_COPY) && !(++node->plant_count & 3)))
		kh_unit_copy_del(unit, s->asker);
}

static void mark_done(struct kh_unit *unit, const struct kh_service *s)
{
	unsigned int i;

	for (i = 0; i < unit->done_count; i++) {
		if (unit->dones[i].party == s->asker) {
			unit->dones[i].request = s->request;
			return;
		}
	}
	unit->dones = kh_realloc(unit->dones, (unit->done_count + 1) * sizeof(*unit->dones));
	unit->dones[unit->done_count++] = (struct kh_done_mark){ s->asker, s->request };
}

static void done_free(struct kh_unit *unit)
{
	struct kh_holder backup = unit->backup, owner = unit->owner;

	if (owner.party)
		kh_unit_hdone(unit, owner.party);
	if (backup.party && backup.party != owner.party)
		kh_unit_hdone(unit, backup.party);
	unit->backup = unit->owner = (struct kh_holder){ 0 };
	unit->owner_right = KHAZANA_RIGHT_NONE;
	unit->copy_count = 0;
	unit->version = 0;
	unit->seen = 0;
	unit->fresh = false;
	unit->guarded = false;
	kh_store_freed(unit);
}

/* The busy request happened: the asker is at @version. */
void kh_service_complete(struct kh_unit *unit, uint64_t version)
{
	struct kh_node *node = unit->region->owner;
	struct kh_service *s = unit->busy;
	struct kh_holder holder = {
		.party = s->asker,
		.token = s->token,
	};

	if (s->call) {
		done_free(unit);
	} else if (version != s->version) {
		kh_count(node, KH_STAT_PROTOCOL_ERRORS);
	} else {
		s->happened = true;
		if (s->load)
			kh_store_loaded(unit);
		holder.gen = kh_grantee_gen(node, unit->region, s->asker);
		if (s->want == KHAZANA_RIGHT_WRITE)
			done_write(unit, s, holder);
		else
			done_read(unit, s, holder);
		if (unit->backup.party == s->asker)
			unit->backup = (struct kh_holder){ 0 };
		kh_unit_found(unit);
		mark_done(unit, s);
	}
	kh_service_end(unit);
	kh_unit_dirty(unit);
	kh_service_next(unit);
}

/*
 * What the asker was told to wait for will not come.  It may have taken the grant before it hears
 * that: it has to say so, or ask again, or give up.
 */
void kh_service_confuse(struct kh_unit *unit, struct kh_service *s, uint32_t flags)
{
	s->confused = true;
	s->grant_sent = false;
	s->source = 0;
	s->load = false;
	kh_service_nack(unit, s, EAGAIN, flags);
}

/* The first FREE that waits for the unit, or NULL. */
static struct kh_served *free_waiting(const struct kh_unit *unit)
{
	const struct kh_service *w;

	kh_list_each (w, &unit->waiting, node)
		if (w->call)
			return w->call;
	return NULL;
}

/* @s waits for a lock of another node. */
void kh_service_deferred(struct kh_unit *unit, struct kh_service *s)
{
	struct kh_service *w, *tmp;
	struct kh_served *call;

	s->deferred = true;
	kh_count(unit->region->owner, KH_STAT_DEFERRED);
	kh_list_each_safe (w, tmp, &unit->waiting, node) {
		if (!(w->flags & (KH_REQ_TRY | KH_REQ_PREFETCH)))
			continue;
		kh_service_nack(unit, w, EAGAIN, 0);
		unit->waiting_count--;
		kh_service_free(w);
	}
	while ((call = free_waiting(unit))) {
		kh_service_withdraw(unit, call);
		/* It holds other units, which the lock's owner may wait for. */
		kh_served_refused(unit->region->owner, call);
	}
	if (s->call) {
		kh_served_refused(unit->region->owner, s->call);
	} else if (s->flags & (KH_REQ_TRY | KH_REQ_PREFETCH)) {
		kh_service_confuse(unit, s, 0);
	} else {
		kh_store_deferred(unit);
	}
}

/* @party keeps a frame of the unit's version: it is the backup, if there is none as new. */
void kh_unit_kept(struct kh_unit *unit, kh_node_id party, uint32_t gen, uint64_t token)
{
	struct kh_service *s = unit->busy;
	struct kh_holder old = unit->backup;

	unit->backup = (struct kh_holder){ .party = party, .gen = gen, .token = token };
	unit->backup_version = unit->version;
	if (s && old.party && old.party == s->asker)
		s->displaced = true; /* its grant ends the HANDOFF */
	else if (old.party && old.party != party)
		kh_unit_hdone(unit, old.party);
}

void kh_owed_answered(struct kh_unit *unit, struct kh_service *s, struct kh_owed *owed,
		      uint32_t status)
{
	if (owed->answered) {
		owed->kept |= status == KH_ACK_KEPT; /* it was void, and is back */
		return;
	}
	owed->answered = true;
	owed->kept = status == KH_ACK_KEPT;
	s->owed_open--;
	if (owed->party == unit->owner.party) {
		unit->owner_right = KHAZANA_RIGHT_NONE;
	} else {
		kh_unit_copy_del(unit, owed->party);
		/* Who was to keep it may have had nothing. */
		if (owed->kept && (owed->flags & KH_INV_KEEP || !kh_unit_backed(unit)))
			kh_unit_kept(unit, owed->party, owed->gen, s->token);
		else if (owed->kept)
			kh_unit_hdone(unit, owed->party);
	}
	if (s->owed_open)
		return;
	if (s->rescue) {
		rescued(unit, s);
		kh_service_next(unit);
	} else if (s->call) {
		free_ready(unit, s);
	} else if (!s->confused) {
		unit->region->home->cm->message(unit, s);
	}
}
