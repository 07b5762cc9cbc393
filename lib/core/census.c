/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * census.c - a home reads inventories
 *
 *   peer_up, an expired lease renewed, restart: kh_census_start(): ASK
 *   INVENTORY kh_on_inventory(): recovering: collect(); else kh_reconcile() (reconcile.c)
 *   END kh_on_end(): what was not listed is not held; requests of a dead khd end; END back
 *   all ENDs, or all leases over: recovery_finish(): the directory is rebuilt (R10, R17)
 *
 * Nothing is granted to a node between ASK and END.
 */
#include <stdlib.h>
#include "census.h"

#define CENSUS_JUDGED 1 /* an END of the home: all verdicts have been sent */
#define CENSUS_HEARD 2 /* the answer: they have come */

/* A record of one party, kept until the home has recovered. */
struct kh_listed {
	kh_node_id party;
	uint64_t mark; /* census that listed it */
	struct kh_wire_record record;
};

/* Ask @peer what it holds, unless it is asked already. */
void kh_census_start(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_wire_head head = { .epoch = node->config.incarnation };
	struct kh_wire_ask *e;

	if (!kh_peer_up(peer))
		return;
	if (!peer->census && peer->asked)
		return;
	peer->census = peer->heard = false;
	peer->ends = 0;
	peer->asked = true;
	peer->ask_id = ++node->next_ask;
	e = kh_out(node, peer, KH_WIRE_ASK, &head);
	e->id = peer->ask_id;
}

static void collect(struct kh_unit *unit, struct kh_peer *peer, const struct kh_wire_record *r)
{
	unsigned int i;

	for (i = 0; i < unit->listed_count; i++) {
		if (unit->listed[i].party == peer->id) {
			unit->listed[i].record = *r; /* it was asked twice */
			unit->listed[i].mark = peer->ask_id;
			return;
		}
	}
	unit->listed = kh_realloc(unit->listed, (unit->listed_count + 1) * sizeof(*unit->listed));
	unit->listed[unit->listed_count++] = (struct kh_listed){ peer->id, peer->ask_id, *r };
}

void kh_on_inventory(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		     const void *data)
{
	const struct kh_wire_record *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_unit *unit;
	uint32_t i;

	if (!region || !region->home || h->request != from->ask_id || from->census)
		return;
	for (i = 0; i < h->count; i++, e++) {
		if (e->unit >= region->units || (!kh_record_copy(e) && !kh_record_handoff(e)))
			continue;
		unit = kh_unit_get(region, e->unit);
		if (region->home->recovering) {
			collect(unit, from, e);
			continue;
		}
		kh_reconcile(unit, from, e);
		kh_served_join(unit);
	}
}

/* How good a frame is as the truth, beside others of its version. */
enum rank {
	RANK_READ, /* a copy that cannot be used and may be dropped */
	RANK_HANDOFF,
	RANK_SURE, /* it can be read, or was when its lease ended */
	RANK_OWNED,
};

static enum rank rank(const struct kh_wire_record *r)
{
	if (!kh_record_copy(r))
		return RANK_HANDOFF;
	if (r->uflags & KHAZANA_UNIT_OWNED)
		return RANK_OWNED;
	if (r->right != KHAZANA_RIGHT_NONE || r->state == KHAZANA_STATE_EXPIRED_DIRTY)
		return RANK_SURE;
	return RANK_READ;
}

static const struct kh_listed *choose_owner(const struct kh_unit *unit)
{
	const struct kh_listed *best = &unit->listed[0], *l = best + 1;

	for (; l < unit->listed + unit->listed_count; l++)
		if (kh_record_version(&l->record) > kh_record_version(&best->record) ||
		    (kh_record_version(&l->record) == kh_record_version(&best->record) &&
		     rank(&l->record) > rank(&best->record)))
			best = l;
	return best;
}

static const struct kh_listed *choose_backup(const struct kh_unit *unit, kh_node_id owner)
{
	const struct kh_listed *best = NULL, *l = unit->listed;

	for (; l < unit->listed + unit->listed_count; l++)
		if (l->party != owner && !kh_record_copy(&l->record) &&
		    (!best || l->record.version_handoff > best->record.version_handoff))
			best = l;
	return best;
}

static struct kh_holder listed_holder(struct kh_unit *unit, const struct kh_listed *l)
{
	return kh_census_holder(unit, kh_peer_find(unit->region->owner, l->party), l->record.token);
}

static void rebuild_owner(struct kh_unit *unit, const struct kh_listed *best)
{
	const struct kh_wire_record *r = &best->record;
	const struct kh_peer *peer = kh_peer_find(unit->region->owner, best->party);

	unit->owner = kh_census_holder(unit, peer, r->token);
	unit->version = kh_record_version(r);
	unit->seen = unit->version;
	if (!kh_record_copy(r)) {
		unit->owner_right = KHAZANA_RIGHT_NONE;
	} else if (r->right == KHAZANA_RIGHT_READ) {
		unit->owner_right = KHAZANA_RIGHT_READ;
	} else {
		unit->owner_right = KHAZANA_RIGHT_WRITE;
		if (r->right == KHAZANA_RIGHT_WRITE)
			unit->seen = 0; /* a WRITE right: nobody else has seen it */
	}
	if (kh_in_doubt(unit, r))
		kh_unit_doubt(unit, r);
	else if (r->right != KHAZANA_RIGHT_NONE || !kh_resumable(unit, peer, r))
		return;
	else if (kh_record_copy(r))
		kh_verdict_resume(unit, best->party, r->token);
	else
		kh_verdict(unit, best->party, r->token, KH_VERDICT_RESUME);
}

/* What a later census of the same party did not list any more. */
static void drop_old_records(struct kh_unit *unit)
{
	unsigned int i = 0;

	while (i < unit->listed_count) {
		const struct kh_peer *peer =
			kh_peer_find(unit->region->owner, unit->listed[i].party);

		if (unit->listed[i].mark == peer->ask_id)
			i++;
		else
			unit->listed[i] = unit->listed[--unit->listed_count];
	}
}

/* What was given up before this khd began is not the truth, however new.  Return: was it lost? */
static bool drop_rolled(struct kh_unit *unit)
{
	unsigned int i = 0;
	bool lost = false;

	while (i < unit->listed_count) {
		const struct kh_listed *l = &unit->listed[i];

		enum kh_rolled rolled = kh_record_rolled(unit, &l->record);

		if (rolled == KH_NOT_ROLLED) {
			i++;
			continue;
		}
		lost |= rolled == KH_ROLLED;
		if (rolled == KH_ROLLED && unit->gap)
			unit->region->home->gone_back = true;
		kh_verdict(unit, l->party, l->record.token,
			   rolled == KH_FREED ? KH_VERDICT_STALE : KH_VERDICT_LOST);
		unit->listed[i] = unit->listed[--unit->listed_count];
	}
	return lost;
}

/*
 * Was the newest that is listed perhaps not all?  Only one node had the newest version, and nobody
 * lists it as one that can be read, or that is kept by its owner: a silent node may have it, or it
 * went with a module.
 */
static bool thin_missing(const struct kh_unit *unit, const struct kh_listed *best)
{
	return rank(&best->record) < RANK_SURE &&
	       kh_intervals_has(&unit->region->home->thin, unit->node.key);
}

/*
 * A module is gone, and a single frame had the newest version: was it that one?  What an owner kept
 * when its lease ended is listed as @best, and so is what was kept by a reader that the unit has
 * gone on without since.
 */
static bool thin_gone(const struct kh_unit *unit, const struct kh_listed *best)
{
	return kh_record_copy(&best->record) && best->record.right == KHAZANA_RIGHT_NONE &&
	       best->record.state != KHAZANA_STATE_EXPIRED_DIRTY &&
	       kh_intervals_has(&unit->region->home->thin, unit->node.key);
}

/* Can somebody read the unit's version at this moment?  A copy without a right is none. */
static bool is_readable(const struct kh_unit *unit)
{
	const struct kh_listed *l = unit->listed;

	for (; l < unit->listed + unit->listed_count; l++)
		if (kh_record_copy(&l->record) && l->record.version == unit->version &&
		    l->record.right != KHAZANA_RIGHT_NONE)
			return true;
	return false;
}

/* The highest version is the truth (R10).  Return: it may be an older one, its owner's is not
 * listed. */
static bool rebuild(struct kh_unit *unit, bool missing, bool gone)
{
	const struct kh_listed *best, *backup, *l;
	bool lost, older, thin;

	drop_old_records(unit);
	lost = drop_rolled(unit);
	if (!unit->listed_count) {
		if (lost && !kh_place_of(unit->region, unit->node.key))
			kh_unit_lost(unit, !missing);
		return lost;
	}
	best = choose_owner(unit);
	thin = thin_missing(unit, best);
	older = unit->doubted ? !kh_record_copy(&best->record) ||
					!(best->record.uflags & KHAZANA_UNIT_OWNED) :
				thin;
	older |= gone && thin_gone(unit, best);
	unit->token = kh_token_new(unit->region);
	if (thin && !kh_place_of(unit->region, unit->node.key)) {
		if (unit->region->owner->silent)
			kh_unit_lost(unit, false);
		else if (gone && !kh_record_copy(&best->record))
			kh_unit_lost(unit, true);
	}
	if (!kh_unit_known_lost(unit)) {
		unit->unsure = !kh_record_owned(&best->record);
		rebuild_owner(unit, best);
	} else if (kh_record_copy(&best->record) && !kh_perhaps_stale(unit, NULL, &best->record)) {
		kh_unit_found(unit);
		unit->unsure = !kh_record_owned(&best->record);
		rebuild_owner(unit, best);
	} else {
		/* Older than what was lost, which nobody has: kept as the backup. */
		unit->version = unit->seen = unit->token;
	}
	backup = unit->owner.party || !kh_record_copy(&best->record) ?
			 choose_backup(unit, unit->owner.party) :
			 best;
	/*
	 * The backup of what others have seen was given up (R12), or went with whoever was silent:
	 * an older frame is kept, but is none.
	 */
	if (backup && unit->owner.party && backup->record.version_handoff < unit->version &&
	    (unit->doubted || (missing && unit->seen == unit->version) ||
	     kh_intervals_has(&unit->region->home->thin, unit->node.key)))
		unit->outdated = backup->record.version_handoff;
	if (backup) {
		unit->backup = listed_holder(unit, backup);
		unit->backup_version = kh_record_version(&backup->record);
		if (!unit->seen)
			unit->seen = unit->backup_version;
	}
	/* Is it known that only one node wrote it?  Else others may have seen all before. */
	unit->guarded |= missing || kh_intervals_has(&unit->region->home->thin, unit->node.key) ||
			 !kh_record_copy(&best->record) || lost;
	if (unit->guarded && unit->owner_right == KHAZANA_RIGHT_WRITE && unit->seen < unit->version)
		unit->seen = unit->version - 1;
	for (l = unit->listed; l < unit->listed + unit->listed_count; l++) {
		const struct kh_wire_record *r = &l->record;

		if (l == best || l == backup)
			continue;
		if (!kh_record_copy(r))
			kh_unit_release(unit, l->party);
		else if (r->version == unit->version && r->right != KHAZANA_RIGHT_WRITE)
			kh_census_copy(unit, kh_peer_find(unit->region->owner, l->party), r);
		else
			kh_verdict(unit, l->party, r->token,
				   kh_lost_copy(unit, r) ? KH_VERDICT_LOST : KH_VERDICT_STALE);
	}
	/* Somebody who is missing may have gone on from here, unless it can be read at this moment.
	 */
	if (missing && !is_readable(unit)) {
		unit->rolled = unit->token;
		unit->gap = true;
	}
	/* A version that others have is not one that somebody may still write. */
	if ((unit->copy_count || (backup && unit->backup_version == unit->version)) &&
	    unit->owner_right == KHAZANA_RIGHT_WRITE)
		unit->owner_right = KHAZANA_RIGHT_READ;
	kh_unit_review(unit);
	free(unit->listed);
	unit->listed = NULL;
	unit->listed_count = 0;
	kh_unit_dirty(unit);
	return older;
}

/* Tell @peer that its programs may have seen what units of the region do not go on from. */
static void poison(struct kh_region *region, struct kh_peer *peer)
{
	struct kh_wire_head head = kh_head(region);

	((struct kh_wire_verdict *)kh_out(region->owner, peer, KH_WIRE_VERDICT, &head))->verdict =
		KH_VERDICT_POISON;
}

/* The same, of regions that went on while @peer was silent: until it has answered the home's END. */
static void poison_owed(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->home && !peer->lost &&
		    kh_intervals_has(&region->home->untold, peer->id))
			poison(region, peer);
}

/* Every node's programs may have seen that; who is silent hears it when it is back. */
static void poison_all(struct kh_region *region)
{
	struct kh_node *node = region->owner;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		if (node->peers[i].lost)
			continue;
		kh_intervals_add(&region->home->untold, node->peers[i].id,
				 node->peers[i].id + 1ull);
		if (node->peers[i].census)
			poison(region, &node->peers[i]);
	}
	kh_region_save(region, "who must hear of a loss");
}

/*
 * Everybody has been heard: what nobody listed nobody has, and the newest frame is the truth.
 * Return: that there was a doubt must be written off, not before what comes of it is written down.
 */
static bool end_doubt(struct kh_region *region)
{
	struct kh_hash *units = &region->home->units;
	struct kh_hnode *n;
	bool older = false;

	if (!region->home->doubt.count)
		return false;
	for (n = kh_hash_first(units); n; n = kh_hash_next(units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);

		if (!unit->owner.party && unit->backup.party &&
		    kh_intervals_has(&region->home->doubt, unit->node.key)) {
			unit->owner = unit->backup;
			unit->owner_right = KHAZANA_RIGHT_NONE;
			unit->version = unit->seen = unit->backup_version;
			unit->backup = (struct kh_holder){ 0 };
			kh_unit_review(unit);
			older = true;
		}
	}
	/* Older than what may have been there: that was given up in between. */
	if (older)
		poison_all(region);
	kh_intervals_remove(&region->home->doubt, 0, region->units);
	return true;
}

/* A module is a new one: what a silent node may have had may have been there. */
static void doubt_gone(struct kh_region *region)
{
	struct kh_home *home = region->home;
	uint32_t i;

	if (!home->doubt.count)
		return;
	for (i = 0; i < home->doubt.count; i++)
		kh_intervals_add(&home->lost, home->doubt.items[i].start, home->doubt.items[i].end);
	kh_intervals_remove(&home->doubt, 0, region->units);
	kh_region_save(region, "what is lost");
}

void kh_doubt_gone(struct kh_node *node)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->home && !region->home->recovering)
			doubt_gone(region);
}

/* Did nobody list one of these units?  No more are looked at than the directory has, and one. */
static bool unlisted(struct kh_region *region, uint64_t first, uint64_t end)
{
	const struct kh_unit *unit;

	for (; first < end; first++) {
		unit = kh_unit_find(region, first);
		if (!unit || !unit->owner.party)
			return true;
	}
	return false;
}

/* Is there a unit of @missed that nobody listed and that has a place? */
static bool goes_back(struct kh_region *region, const struct kh_intervals *missed)
{
	const struct kh_home *home = region->home;
	uint64_t first, end;
	uint32_t i, k;

	for (i = 0; i < home->place_count; i++) {
		for (k = 0; k < missed->count; k++) {
			first = home->places[i].start > missed->items[k].start ?
					home->places[i].start :
					missed->items[k].start;
			end = home->places[i].end < missed->items[k].end ? home->places[i].end :
									   missed->items[k].end;
			if (unlisted(region, first, end))
				return true;
		}
	}
	return false;
}

/*
 * More is missing than backups make up for: what nobody listed of @missed is lost where there is no
 * store.  Where there is one it goes on from what is stored, and programs that may have seen more
 * are told.
 */
static void mark_lost(struct kh_region *region, const struct kh_intervals *missed, bool gone)
{
	struct kh_home *home = region->home;
	struct kh_intervals *set = gone ? &home->lost : &home->doubt, volatiles = { 0 };
	uint32_t i;

	for (i = 0; i < missed->count; i++)
		kh_intervals_add(&volatiles, missed->items[i].start, missed->items[i].end);
	for (i = 0; i < home->place_count; i++)
		kh_intervals_remove(&volatiles, home->places[i].start, home->places[i].end);
	for (i = 0; i < volatiles.count; i++)
		kh_intervals_add(set, volatiles.items[i].start, volatiles.items[i].end);
	kh_intervals_free(&volatiles);
	if (goes_back(region, missed))
		poison_all(region);
}

/* The same of units that nobody listed, but that somebody waits for since before. */
static void unlisted_rolled(struct kh_home *home)
{
	struct kh_hnode *n;

	for (n = kh_hash_first(&home->units); n; n = kh_hash_next(&home->units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);

		if (!unit->owner.party && !unit->backup.party)
			unit->rolled = home->rolled;
	}
}

static void rebuild_region(struct kh_region *region, unsigned int missing, unsigned int silent,
			   bool gone)
{
	struct kh_home *home = region->home;
	const struct kh_intervals *missed;
	struct kh_hnode *n;
	bool older = false, thin = false, found = false;

	home->recovering = false;
	for (n = kh_hash_first(&home->units); n; n = kh_hash_next(&home->units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);

		/* What was written down of it was forgotten while nobody had it. */
		unit->guarded |= kh_unit_known_lost(unit);
		unit->doubted = kh_intervals_has(&home->doubt, unit->node.key);
	}
	if (gone)
		doubt_gone(region);
	else if (!missing)
		found = end_doubt(region);
	for (n = kh_hash_first(&home->units); n; n = kh_hash_next(&home->units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);
		bool was_thin = kh_intervals_has(&home->thin, unit->node.key);

		if (!unit->listed_count || !rebuild(unit, missing, gone))
			continue;
		older |= unit->doubted;
		/* It may go on from a frame that is older than what went with a module. */
		thin |= gone && was_thin;
	}
	if (thin || (!missing && older) || home->gone_back)
		poison_all(region);
	else if (found)
		kh_region_save(region, "what is found");
	home->gone_back = false;
	if (silent || (missing && !home->place_count)) {
		home->rolled = kh_token_new(region);
		unlisted_rolled(home);
	}
	if (!missing || (missing == 1 && !home->thin.count))
		return;
	missed = missing > 1 ? &home->allocated : &home->thin;
	mark_lost(region, missed, gone);
	for (n = kh_hash_first(&home->units); n; n = kh_hash_next(&home->units, n)) {
		struct kh_unit *unit = kh_container(n, struct kh_unit, node);

		if (unit->owner.party)
			kh_unit_found(unit);
	}
	kh_region_save(region, "what is lost");
}

/* Has every peer told what it holds, heard what is lost of that, and holds a lease since? */
static bool all_heard(struct kh_node *node, const struct kh_region *region)
{
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		if (!node->peers[i].heard || node->peers[i].ask_id <= region->home->roll_mark ||
		    !kh_grantee_valid(node, region, node->peers[i].id))
			return false;
	return true;
}

/* All verdicts about what @peer listed have been sent, but for those that wait for a place. */
static void judged(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_wire_head head = { .party = CENSUS_JUDGED, .epoch = node->config.incarnation };
	struct kh_wire_ask *end = kh_out(node, peer, KH_WIRE_END, &head);

	end->id = peer->ask_id;
	peer->heard = false;
	peer->ends++;
}

/* Do the owner's stores wait for a verdict?  Nothing else is asked of it before. */
bool kh_unit_unjudged(const struct kh_unit *unit)
{
	return unit->owner.party && unit->unjudged && unit->unjudged == unit->owner.token;
}

/**
 * kh_unit_judge() - what is newest is known: an owner's stores that waited for that (R26) get their
 *	verdict
 * @stale: the unit went on without them
 */
void kh_unit_judge(struct kh_unit *unit, bool stale)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_holder owner = unit->owner;
	struct kh_peer *peer = kh_peer_find(node, owner.party);
	bool valid = peer && kh_holder_valid(unit, &owner), listed;

	if (!kh_unit_unjudged(unit))
		return;
	listed = valid && (peer->census || owner.mark == peer->ask_id);
	/* Its inventory is under way, and gets the verdict; who asks for the unit waits for that. */
	if (valid && !listed && !stale)
		return;
	unit->unjudged = 0;
	if (stale) {
		kh_unit_forget(unit, owner.party);
		unit->version = unit->seen = unit->stored;
	}
	/* Else it hears it from another census, which knows what is stored. */
	if (!listed)
		return;
	unit->unsure = false;
	if (stale)
		kh_verdict(unit, owner.party, owner.token, KH_VERDICT_LOST);
	else
		kh_verdict_resume(unit, owner.party, owner.token);
	if (peer->census) /* else its END is still to come */
		judged(node, peer);
}

/* Every peer answered, or its lease must be over. */
static void recovery_finish(struct kh_node *node)
{
	struct kh_region *region;
	unsigned int i, missing = 0, silent = 0;
	bool gone = false;

	node->silent = 0;
	for (i = 0; i < node->peer_count; i++) {
		gone |= node->peers[i].lost;
		missing += !node->peers[i].census || node->peers[i].lost;
		if (node->peers[i].census)
			continue;
		node->silent |= 1ull << i;
		silent++;
	}
	node->recovering = false;
	kh_count(node, KH_STAT_RECOVERIES);
	kh_event(node, "recovery", "the directories are rebuilt; modules lost or silent: %u",
		 missing);
	for (i = 0; i < node->peer_count; i++)
		if (node->peers[i].census)
			poison_owed(node, &node->peers[i]);
	kh_list_each (region, &node->regions, node)
		if (region->home && region->home->recovering)
			rebuild_region(region, missing, silent, gone);
	for (i = 0; i < node->peer_count; i++)
		if (node->peers[i].census)
			judged(node, &node->peers[i]);
	kh_thin_save(node);
	for (i = 0; i < node->peer_count; i++)
		kh_boots_learn(node, &node->peers[i]);
	kh_served_go(node);
}

/* When the last lease of a peer is over that has not answered; 0: there is none. */
static uint64_t silence_ends(const struct kh_node *node, const struct kh_peer *peer)
{
	uint64_t end = 0;
	unsigned int i;

	for (i = 0; !peer->census && i < peer->class_count; i++) {
		const struct kh_grantee *g = &peer->classes[i];

		if (g->valid && g->end_ns > node->now && g->end_ns > end)
			end = g->end_ns;
	}
	return end;
}

static void recovery_check(struct kh_node *node)
{
	bool waits = false;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		uint64_t end = silence_ends(node, &node->peers[i]);

		if (end)
			kh_arm(node, end);
		waits |= end != 0;
	}
	if (!waits)
		recovery_finish(node);
}

/* The home has judged what this node holds. */
static void on_judged(struct kh_node *node, struct kh_peer *home, uint64_t id)
{
	struct kh_wire_head head = { .party = CENSUS_HEARD, .epoch = node->config.incarnation };
	struct kh_wire_ask *end = kh_out(node, home, KH_WIRE_END, &head);

	end->id = id;
	kh_report_judged(node, home);
	kh_lease_judged(node, home, id);
	/* No HDONE has come since the inventory left. */
	kh_report_hask(node, home);
}

/* @peer's programs know that what they may have seen is gone. */
static void region_told(struct kh_region *region, const struct kh_peer *peer)
{
	if (!kh_intervals_has(&region->home->untold, peer->id))
		return;
	kh_intervals_remove(&region->home->untold, peer->id, peer->id + 1ull);
	kh_region_save(region, "who heard of a loss");
}

/* @peer knows which of its stores are lost. */
static void on_heard(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;

	peer->heard = true;
	kh_list_each (region, &node->regions, node) {
		if (!region->home)
			continue;
		region_told(region, peer);
		if (!region->home->recovering && all_heard(node, region))
			kh_rolls_end(region);
	}
	kh_served_go(node);
}

void kh_on_end(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
	       const void *data)
{
	const struct kh_wire_ask *e = kh_entries(h);
	struct kh_region *region;

	if (h->party == CENSUS_JUDGED) {
		on_judged(node, from, e->id);
		return;
	}
	if (h->party == CENSUS_HEARD) {
		if (e->id == from->ask_id && from->census && from->ends && !--from->ends)
			on_heard(node, from);
		return;
	}
	if (e->id != from->ask_id || from->census)
		return;
	from->census = true;
	from->asked = false;
	kh_list_each (region, &node->regions, node) {
		if (!region->home || region->home->recovering)
			continue;
		kh_census_sweep(region, from);
		if (region->home->gone_back)
			poison_all(region);
		region->home->gone_back = false;
	}
	if (node->recovering) {
		recovery_check(node);
		return;
	}
	kh_thin_save(node);
	kh_boots_learn(node, from);
	poison_owed(node, from);
	judged(node, from);
	if (!node->silent)
		return;
	node->silent &= ~(1ull << (from - node->peers));
	if (node->silent)
		return;
	kh_list_each (region, &node->regions, node)
		if (region->home && end_doubt(region))
			kh_region_save(region, "what is found");
}

/* This khd begins: its regions' directories are empty (R17). */
void kh_recovery_start(struct kh_node *node)
{
	struct kh_region *region;
	unsigned int i;

	kh_list_each (region, &node->regions, node) {
		if (!region->home)
			continue;
		for (i = 0; i < node->peer_count; i++)
			kh_grantee_assume(node, &node->peers[i], region->attr.lease_ms);
		region->home->recovering = true;
		node->recovering = true;
	}
	kh_self(node)->lost = node->boots[0] && node->config.boot != node->boots[0];
	kh_census_start(node, kh_self(node));
}

void kh_census_tick(struct kh_node *node)
{
	if (node->recovering)
		recovery_check(node);
}
