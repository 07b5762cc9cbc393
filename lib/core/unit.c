/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit.c - the directory's record of one unit: owner, copies, backup
 */
#include <errno.h>
#include <stdlib.h>
#include "census.h"
#include "cm.h"

struct kh_unit *kh_unit_find(struct kh_region *region, uint64_t unit)
{
	return kh_hash_entry(kh_hash_find(&region->home->units, unit), struct kh_unit, node);
}

/* The unit's record, also if it was pruned; NULL if there never was one since this home runs. */
struct kh_unit *kh_unit_known(struct kh_region *region, uint64_t unit)
{
	struct kh_unit *u = kh_unit_find(region, unit);

	return u || !kh_intervals_has(&region->home->pruned, unit) ? u : kh_unit_get(region, unit);
}

static bool roll_has(const struct kh_roll *roll, uint64_t unit)
{
	return unit >= roll->unit && unit - roll->unit < (roll->count & KH_ROLL_UNITS);
}

/* Was the unit's gap written down by an earlier khd? */
static bool had_gap(const struct kh_home *home, uint64_t unit)
{
	uint32_t i;

	for (i = 0; i < home->roll_count; i++)
		if ((home->rolls[i].count & KH_ROLL_GAP) && roll_has(&home->rolls[i], unit))
			return true;
	return false;
}

struct kh_unit *kh_unit_get(struct kh_region *region, uint64_t unit)
{
	const struct kh_place *place = kh_place_of(region, unit);
	struct kh_unit *u = kh_unit_find(region, unit);

	if (u)
		return u;
	u = kh_zalloc(sizeof(*u));
	u->region = region;
	u->rolled = region->home->rolled;
	u->gap = had_gap(region->home, unit);
	u->outdated = KHAZANA_VERSION_NONE;
	kh_list_init(&u->waiting);
	kh_list_init(&u->busy_node);
	kh_list_init(&u->storing_node);
	kh_list_init(&u->dirty_node);
	kh_list_init(&u->flushers);
	/* Nothing is stored in what was allocated since this khd runs, but by this directory. */
	u->stored_known = place && place->generation >= region->owner->generation_first;
	if (kh_intervals_has(&region->home->pruned, unit)) {
		kh_intervals_remove(&region->home->pruned, unit, unit + 1);
		u->pruned = u->granted = true;
		u->stored_known = false;
		u->token = kh_token_new(region);
	}
	kh_hash_add(&region->home->units, &u->node, unit);
	return u;
}

void kh_unit_free(struct kh_unit *unit)
{
	struct kh_service *s, *tmp;

	kh_list_each_safe (s, tmp, &unit->waiting, node)
		kh_service_free(s);
	if (unit->busy)
		kh_service_free(unit->busy);
	if (unit->swept)
		unit->swept->swept--;
	kh_list_del(&unit->busy_node);
	kh_list_del(&unit->storing_node);
	kh_list_del(&unit->dirty_node);
	kh_flush_forget(unit);
	kh_hash_del(&unit->region->home->units, &unit->node);
	free(unit->copies);
	free(unit->dones);
	free(unit->listed);
	free(unit);
}

/* Does nobody hold the unit, and does its place know all that the record says? */
static bool is_only_stored(const struct kh_unit *unit)
{
	if (unit->owner.party || unit->backup.party || unit->copy_count || unit->busy ||
	    unit->waiting_count || unit->listed_count || unit->storing != KH_STORING_NOT)
		return false;
	if (!kh_list_empty(&unit->dirty_node) || !kh_list_empty(&unit->flushers))
		return false;
	if (unit->pruned)
		return !unit->looking;
	return unit->stored_known && unit->stored == unit->version &&
	       unit->rolled <= unit->version && !unit->flush_out && !unit->unsure &&
	       !unit->doubted && !kh_unit_known_lost(unit) &&
	       !kh_intervals_has(&unit->region->home->thin, unit->node.key);
}

/**
 * kh_unit_prune() - a holder gave the unit up: its record goes, if it need not be kept
 * @unit: perhaps gone afterwards
 *
 * So that a home's memory follows what nodes cache, not what is stored: beyond
 * kh_node_config.units_kept records of a region, those go that say no more than the unit's place
 * does.  Who asks next waits for a LOOK.
 */
void kh_unit_prune(struct kh_unit *unit)
{
	struct kh_home *home = unit->region->home;
	uint64_t number = unit->node.key;

	if (home->units.count <= unit->region->owner->config.units_kept ||
	    !kh_place_of(unit->region, number) || !is_only_stored(unit))
		return;
	kh_intervals_add(&home->pruned, number, number + 1);
	kh_count(unit->region->owner, KH_STAT_RECORDS_PRUNED);
	kh_unit_free(unit);
}

bool kh_holder_valid(const struct kh_unit *unit, const struct kh_holder *holder)
{
	return holder->party &&
	       kh_grantee_valid(unit->region->owner, unit->region, holder->party) &&
	       kh_grantee_gen(unit->region->owner, unit->region, holder->party) == holder->gen;
}

struct kh_holder *kh_unit_copy(struct kh_unit *unit, kh_node_id party)
{
	unsigned int i;

	for (i = 0; i < unit->copy_count; i++)
		if (unit->copies[i].party == party)
			return &unit->copies[i];
	return NULL;
}

struct kh_holder *kh_unit_copy_add(struct kh_unit *unit, kh_node_id party, uint64_t token)
{
	struct kh_holder *copy = kh_unit_copy(unit, party);

	if (!copy) {
		if (unit->copy_count == unit->copy_size) {
			unit->copy_size = unit->copy_size ? unit->copy_size * 2 : 2;
			unit->copies =
				kh_realloc(unit->copies, unit->copy_size * sizeof(*unit->copies));
		}
		copy = &unit->copies[unit->copy_count++];
	}
	*copy = (struct kh_holder){
		.party = party,
		.gen = kh_grantee_gen(unit->region->owner, unit->region, party),
		.token = token,
	};
	return copy;
}

/**
 * kh_unit_lent() - @party has a READ copy of the owner's version, which the owner lent and can only
 *	read since: two nodes have seen it
 */
void kh_unit_lent(struct kh_unit *unit, kh_node_id party, uint64_t token, bool owned)
{
	if (unit->owner_right == KHAZANA_RIGHT_WRITE) {
		unit->owner_right = KHAZANA_RIGHT_READ;
		kh_count(unit->region->owner, KH_STAT_DOWNGRADES);
	}
	kh_unit_copy_add(unit, party, token)->owned = owned;
	unit->seen = unit->version;
	unit->fresh = false;
}

void kh_unit_copy_del(struct kh_unit *unit, kh_node_id party)
{
	struct kh_holder *copy = kh_unit_copy(unit, party);

	if (copy)
		*copy = unit->copies[--unit->copy_count];
}

/* Directory entries of leases that are over count no more; the owner's is replaced. */
static void drop_void_copies(struct kh_unit *unit)
{
	unsigned int i = 0;

	while (i < unit->copy_count) {
		if (kh_holder_valid(unit, &unit->copies[i]))
			i++;
		else
			unit->copies[i] = unit->copies[--unit->copy_count];
	}
}

/*
 * Was @version, granted with @token, given up?  Whoever comes back with it has lost it.  Version 0
 * is that of every allocation: there the token tells.
 */
enum kh_rolled kh_unit_rolled(const struct kh_unit *unit, uint64_t version, uint64_t token)
{
	const struct kh_home *home = unit->region->home;
	enum kh_rolled rolled = KH_NOT_ROLLED;
	uint32_t i;

	for (i = 0; i < home->roll_count; i++) {
		const struct kh_roll *roll = &home->rolls[i];

		if (!roll_has(roll, unit->node.key))
			continue;
		if (roll->count & KH_ROLL_FREED) {
			if ((version ? version : token) < roll->before)
				rolled = KH_FREED;
		} else if (version > roll->after && version < roll->before) {
			return KH_ROLLED; /* also if it was freed then: its programs are told */
		}
	}
	return rolled;
}

void kh_roll_add(struct kh_region *region, const struct kh_roll *roll)
{
	struct kh_home *home = region->home;

	home->rolls = kh_realloc(home->rolls, (home->roll_count + 1) * sizeof(*home->rolls));
	home->rolls[home->roll_count++] = *roll;
	home->roll_mark = region->owner->next_ask;
}

/* No more can be remembered until all nodes have been heard, which is begun here. */
bool kh_rolls_full(struct kh_region *region)
{
	struct kh_node *node = region->owner;
	unsigned int i;

	for (i = 0; region->home->roll_count >= KH_ROLLS_MAX / 2 && i < node->peer_count; i++)
		if (node->peers[i].ask_id <= region->home->roll_mark)
			kh_census_start(node, &node->peers[i]);
	return region->home->roll_count >= KH_ROLLS_MAX;
}

/*
 * The unit goes on from its version to @next, past versions that may come back.  That must be
 * known after a restart, too: those who went on may be silent then.  What is stored of @next before
 * its holder is done with it has the number below (R27), and is none of those.
 */
void kh_unit_roll(struct kh_unit *unit, uint64_t next)
{
	kh_roll_add(unit->region, &(struct kh_roll){ .unit = unit->node.key,
						     .count = 1 | (unit->gap ? KH_ROLL_GAP : 0),
						     .after = unit->version,
						     .before = next - 1 });
	kh_region_save(unit->region, "a rollback");
}

/* Everybody has been heard and told. */
void kh_rolls_end(struct kh_region *region)
{
	if (!region->home->roll_count)
		return;
	region->home->roll_count = 0;
	kh_region_save(region, "the end of rollbacks");
}

/* The void owner's version is gone, and nobody else has seen it: on from what is left. */
static void roll_back(struct kh_unit *unit, struct kh_holder owner, uint64_t version)
{
	struct kh_node *node = unit->region->owner;

	if (unit->rolled < unit->version)
		unit->rolled = unit->version;
	unit->owner = owner;
	unit->owner_right = KHAZANA_RIGHT_NONE;
	unit->version = version;
	unit->fresh = false;
	/* A backup whose lease is over may hold what is given up: it hears that when it is back. */
	if (unit->backup_version > version)
		unit->backup = (struct kh_holder){ 0 };
	kh_count(node, KH_STAT_UNITS_LOST);
	kh_event(node, "rollback", "unit %llu of %llx:%llx goes on %s",
		 (unsigned long long)unit->node.key, (unsigned long long)unit->region->start.hi,
		 (unsigned long long)unit->region->start.lo,
		 owner.party ? "from its backup" :
		 version     ? "from what is stored" :
			       "as zero");
}

/* Where there were two frames there is one (R12): the owner's, an OWNED copy or the backup. */
bool kh_unit_alone(const struct kh_unit *unit)
{
	unsigned int i, kept = unit->owner.party != 0;

	kept += unit->backup.party && unit->outdated != unit->backup_version;
	for (i = 0; i < unit->copy_count; i++)
		kept += unit->copies[i].owned;
	return unit->guarded && kept < 2;
}

/* The same, and no store has what others than its writer have seen. */
static bool is_thin(const struct kh_unit *unit)
{
	bool stored = unit->stored_known && unit->stored >= unit->seen;

	return kh_unit_alone(unit) && !(stored && kh_place_of(unit->region, unit->node.key));
}

/* The unit's holders changed: is what is written down of it still true? */
void kh_unit_review(struct kh_unit *unit)
{
	struct kh_home *home = unit->region->home;
	uint64_t number = unit->node.key;

	unit->guarded |= unit->backup.party != 0;
	if (is_thin(unit) == kh_intervals_has(&home->thin, number))
		return;
	if (is_thin(unit))
		kh_intervals_add(&home->thin, number, number + 1);
	else
		kh_intervals_remove(&home->thin, number, number + 1);
	home->unsaved = true;
	unit->region->owner->unsaved = true;
}

/* Write down which units are thin, before anybody hears of it. */
int kh_thin_save(struct kh_node *node)
{
	struct kh_region *region;
	int err = 0;

	if (!node->unsaved)
		return 0;
	node->unsaved = false;
	kh_list_each (region, &node->regions, node) {
		if (!region->home || !region->home->unsaved)
			continue;
		region->home->unsaved = false;
		if (kh_region_persist(region)) {
			kh_event(node, "persist", "what is thin could not be written down");
			err = -EIO;
		}
	}
	return err;
}

/*
 * @holder's frame is older than what is stored: it goes, also if it is a copy that nobody can read,
 * which no HDONE releases.  Return: that node's lease is valid, and its inventory judged.
 */
static bool drop_stale(struct kh_unit *unit, const struct kh_holder *holder)
{
	const struct kh_peer *peer = kh_peer_find(unit->region->owner, holder->party);

	if (!peer || !peer->census || !kh_holder_valid(unit, holder))
		return false;
	kh_verdict(unit, holder->party, holder->token, KH_VERDICT_STALE);
	return true;
}

/* What is stored is known now: a frame that was called the truth may be older (R26). */
static void verify(struct kh_unit *unit)
{
	unit->unsure = false;
	if (kh_unit_placed(unit) <= unit->version)
		return;
	if (unit->owner.party && unit->owner_right == KHAZANA_RIGHT_NONE &&
	    !drop_stale(unit, &unit->owner) && !unit->backup.party) {
		unit->backup = unit->owner;
		unit->backup_version = unit->version;
	}
	unit->owner = (struct kh_holder){ 0 };
	unit->owner_right = KHAZANA_RIGHT_NONE;
	unit->copy_count = 0;
	unit->version = unit->seen = kh_unit_placed(unit);
}

/*
 * The unit's place has what others have seen, and could not read it.  So it is not lost: perhaps it
 * can be read by now (R33).  The void owner may come back with its frame of the same.
 */
static void leave_to_place(struct kh_unit *unit)
{
	struct kh_holder nobody = { 0 };

	if (unit->harmed < unit->version) {
		roll_back(unit, nobody, unit->harmed);
		unit->seen = unit->harmed;
		return;
	}
	if (unit->owner.party && !unit->backup.party) {
		unit->backup = unit->owner;
		unit->backup_version = unit->version;
	}
	unit->owner = nobody;
	unit->owner_right = KHAZANA_RIGHT_NONE;
}

/* A void owner's successor: the backup or the store, whichever is newer. */
static enum kh_settled replace_owner(struct kh_unit *unit, uint64_t stored)
{
	struct kh_holder nobody = { 0 }, backup = unit->backup;

	if (kh_holder_valid(unit, &backup) && backup.party != unit->owner.party &&
	    unit->backup_version >= unit->seen && unit->backup_version > stored) {
		unit->backup = nobody;
		if (unit->backup_version == unit->version) {
			unit->owner = backup;
			unit->owner_right = KHAZANA_RIGHT_NONE;
		} else {
			roll_back(unit, backup, unit->backup_version);
		}
		return KH_SETTLED;
	}
	if (unit->harmed && unit->harmed >= unit->seen) {
		leave_to_place(unit);
		return KH_SETTLED;
	}
	if (!unit->fresh && (!stored || stored < unit->seen))
		return KH_SETTLED_LOST;
	roll_back(unit, nobody, stored);
	unit->seen = stored;
	return KH_SETTLED;
}

/*
 * Is it this node itself that has what is void?  Its khd was stopped for longer than its leases: it
 * judges itself in a moment, and nothing need be given up before.
 */
static bool own_is_void(const struct kh_unit *unit)
{
	struct kh_node *node = unit->region->owner;
	const struct kh_peer *self = kh_self(node);

	if (unit->owner.party != self->id && unit->backup.party != self->id)
		return false;
	return !self->census || !kh_grantee_valid(node, unit->region, self->id);
}

static enum kh_settled settle(struct kh_unit *unit)
{
	bool placed = kh_place_of(unit->region, unit->node.key) != NULL;
	uint64_t stored = placed ? unit->stored : 0;

	drop_void_copies(unit);
	if (placed && unit->unsure && unit->stored_known) {
		kh_unit_judge(unit, kh_unit_placed(unit) > unit->version);
		verify(unit);
	}
	if (kh_holder_valid(unit, &unit->owner) && !(placed && unit->unsure))
		return kh_unit_unjudged(unit) ? KH_SETTLED_LATER : KH_SETTLED;
	if (placed && (!unit->stored_known || unit->flush_out))
		return KH_SETTLED_LOOK;
	if (!unit->owner.party && !unit->copy_count && unit->version == stored)
		return KH_SETTLED;
	/* Version 0 is stored, too, whoever has seen that nobody wrote it. */
	if (placed && stored == unit->version) {
		unit->owner = (struct kh_holder){ 0 };
		unit->owner_right = KHAZANA_RIGHT_NONE;
		return KH_SETTLED;
	}
	if (unit->copy_count)
		return KH_SETTLED_COPIES;
	if (own_is_void(unit))
		return KH_SETTLED_LATER;
	return replace_owner(unit, stored);
}

/* Make the owner somebody whose lease is valid, or the store (R14, R26). */
enum kh_settled kh_unit_settle(struct kh_unit *unit)
{
	enum kh_settled settled;

	/* A backup that becomes the owner was one. */
	unit->guarded |= unit->backup.party != 0;
	settled = settle(unit);
	kh_unit_review(unit);
	return settled;
}

/*
 * @party may let its HANDOFF frame go.  Not while its lease is over or its inventory is not judged:
 * what is in the frame may have been rolled back, and only the census tells its programs (R9).
 */
void kh_unit_hdone(struct kh_unit *unit, kh_node_id party)
{
	const struct kh_peer *peer = kh_peer_find(unit->region->owner, party);

	if (peer && peer->census && kh_grantee_valid(unit->region->owner, unit->region, party))
		kh_unit_release(unit, party);
}

/* The same as the verdict of a census. */
void kh_unit_release(struct kh_unit *unit, kh_node_id party)
{
	struct kh_node *node = unit->region->owner;
	struct kh_peer *peer = kh_peer_find(node, party);
	struct kh_wire_head head = kh_head(unit->region);
	struct kh_wire_hdone *e;

	if (!peer)
		return;
	e = kh_out(node, peer, KH_WIRE_HDONE, &head);
	e->unit = unit->node.key;
	e->token = unit->token;
	kh_count(node, KH_STAT_BACKUP_RELEASES);
}

/* @party says that it has nothing. */
void kh_unit_forget(struct kh_unit *unit, kh_node_id party)
{
	kh_unit_copy_del(unit, party);
	if (unit->backup.party == party)
		unit->backup = (struct kh_holder){ 0 };
	if (unit->owner.party == party) {
		unit->owner = (struct kh_holder){ 0 };
		unit->owner_right = KHAZANA_RIGHT_NONE;
		if (unit->fresh) {
			unit->version = unit->seen = unit->stored_known ? unit->stored : 0;
			unit->fresh = false;
		}
	}
	kh_unit_review(unit);
}

/*
 * Nobody within reach has the last version: EIO, also after a restart, until a holder comes back;
 * @gone: it cannot, its module is a new one.
 */
void kh_unit_lost(struct kh_unit *unit, bool gone)
{
	struct kh_home *home = unit->region->home;
	struct kh_intervals *set = gone ? &home->lost : &home->doubt;

	if (kh_intervals_has(set, unit->node.key))
		return;
	kh_intervals_add(set, unit->node.key, unit->node.key + 1);
	kh_region_save(unit->region, "a lost unit");
}

/* Its owner has nothing any more: that is written down, if nobody else has what it had. */
void kh_unit_swept(struct kh_unit *unit)
{
	struct kh_peer *peer = unit->swept;

	unit->swept = NULL;
	if (!unit->owner.party && kh_unit_settle(unit) == KH_SETTLED_LOST)
		kh_unit_lost(unit, true);
	/* Its module is known from now on: what went with the former one is written down. */
	if (peer && !--peer->swept && peer->census)
		kh_boots_learn(unit->region->owner, peer);
}

bool kh_unit_known_lost(const struct kh_unit *unit)
{
	const struct kh_home *home = unit->region->home;

	return kh_intervals_has(&home->lost, unit->node.key) ||
	       kh_intervals_has(&home->doubt, unit->node.key);
}

static bool backup_has_it(const struct kh_unit *unit)
{
	return kh_holder_valid(unit, &unit->backup) && unit->backup_version == unit->version;
}

/* Is the newest version also in a store, or in a backup whose node's lease is valid? */
bool kh_unit_backed(const struct kh_unit *unit)
{
	return (unit->stored_known && unit->stored == unit->version) || backup_has_it(unit);
}

/* Does a node whose lease is valid have the newest version? */
bool kh_unit_held(const struct kh_unit *unit)
{
	unsigned int i;

	for (i = 0; i < unit->copy_count; i++)
		if (kh_holder_valid(unit, &unit->copies[i]))
			return true;
	return kh_holder_valid(unit, &unit->owner) || backup_has_it(unit);
}

/* The version that its place has, as far as known, whether it can be read there or not. */
uint64_t kh_unit_placed(const struct kh_unit *unit)
{
	return unit->harmed > unit->stored ? unit->harmed : unit->stored;
}

/* Is the newest version what its place cannot read? */
bool kh_unit_harmed(const struct kh_unit *unit)
{
	return unit->harmed && unit->harmed == unit->version;
}

/* And has nobody else got it (R33)? */
bool kh_unit_unreadable(const struct kh_unit *unit)
{
	return kh_unit_harmed(unit) && !kh_unit_held(unit);
}

/* The unit has gone on, or will: written down before anybody hears. */
void kh_unit_found(struct kh_unit *unit)
{
	struct kh_home *home = unit->region->home;

	if (!kh_unit_known_lost(unit))
		return;
	home->unsaved = true;
	unit->region->owner->unsaved = true;
	kh_intervals_remove(&home->lost, unit->node.key, unit->node.key + 1);
	kh_intervals_remove(&home->doubt, unit->node.key, unit->node.key + 1);
}
