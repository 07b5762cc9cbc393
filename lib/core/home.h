/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* home.h - what makes a node the home of a region: the directory of its units, their places */
#ifndef KH_CORE_HOME_H
#define KH_CORE_HOME_H

#include "hash.h"
#include "interval.h"
#include "list.h"
#include "wire.h"

#define KH_VERIFIER_SIZE KH_WIRE_MAC_SIZE

struct kh_region;
struct kh_served;
struct kh_cm_ops;

/* What is written down of a party: its lease generation then, and the grant's token. */
struct kh_holder {
	kh_node_id party; /* 0: nobody */
	uint32_t gen;
	uint64_t token;
	uint64_t mark; /* last census that listed it */
	bool owned; /* a READ copy that is kept like a backup */
};

/* An answer that is owed to an INV. */
struct kh_owed {
	kh_node_id party;
	uint32_t gen;
	uint32_t flags; /* KH_INV_* */
	bool answered;
	bool kept;
};

/**
 * struct kh_service - a request at its home, in a unit's FIFO or busy
 * @asker: party, 0 for the home's own FREE and STORE
 * @grant_sent: asker can complete
 * @source: party that a FORWARD went to, 0: none needed
 * @confused: source is gone; the asker was told to ask again
 * @owed: INVs sent
 * @taken: an inventory showed that the asker has the grant
 */
struct kh_service {
	struct kh_list node;
	kh_node_id asker;
	uint64_t request;
	uint32_t attempt;
	uint32_t want;
	uint32_t flags;
	uint64_t held;
	uint64_t held_token;
	uint64_t token;
	uint64_t need;
	uint64_t version; /* granted */
	uint32_t kind; /* enum kh_wire_source */
	bool grant_sent;
	bool confused;
	bool taken;
	bool deferred;
	bool owned; /* granted with OWNED */
	bool granted; /* @grant_sent, of this attempt or an older one */
	bool happened; /* the asker has it */
	bool declined; /* the asker says that it did not take it */
	bool displaced; /* the HANDOFF frame of the asker, or of who has it stored, is no backup */
	bool rescue; /* READ copies of a void owner are being kept */
	bool store; /* the home's own: the unit goes to its place */
	bool load; /* @source is the unit's place, and reads it from its store */
	bool spoiled; /* which it could not */
	kh_node_id source;
	uint32_t source_gen;
	struct kh_owed *owed;
	unsigned int owed_count, owed_open;
	struct kh_served *call; /* FREE: whose */
	bool ready; /* FREE: nobody has a right any more, the other units are waited for */
};

struct kh_done_mark {
	kh_node_id party;
	uint64_t request;
};

struct kh_listed;

/* What a home does to have a unit stored. */
enum kh_storing {
	KH_STORING_NOT,
	KH_STORING_QUEUED, /* its service waits or is at work */
	KH_STORING_BESIDE, /* asked for beside a request that waits for a lock */
	KH_STORING_WRITTEN, /* it has come to its place */
	KH_STORING_AGAIN, /* it could not be done; it is tried again */
};

/* One unit in its home's directory.  A unit without one was not used since the home runs. */
struct kh_unit {
	struct kh_hnode node;
	struct kh_list busy_node; /* on the home's busy list */
	struct kh_region *region;
	uint64_t version; /* the truth, at the owner */
	uint64_t token; /* newest given out for it */
	uint64_t seen; /* highest version that another node than its writer got */
	uint64_t rolled; /* highest version that may be lost, 0: none */
	struct kh_holder owner;
	uint32_t owner_right;
	bool fresh; /* the owner took it virgin, nobody has seen it since */
	bool granted; /* or a copy given back, since this home runs */
	struct kh_peer *swept; /* its module, the owner's, went amid the busy request: lost then? */
	bool gap; /* a missing node may have gone on from it, others after that one, too */
	bool pruned; /* it had a record; what its place has was the truth then, and nobody was asked
			yet */
	struct kh_holder backup;
	uint64_t backup_version;
	uint64_t outdated; /* version of a backup that counts as none: others have seen more */
	bool guarded; /* it had a backup */
	struct kh_holder *copies; /* READ, without the owner */
	unsigned int copy_count, copy_size;
	struct kh_done_mark *dones;
	unsigned int done_count;
	struct kh_service *busy;
	struct kh_list waiting;
	unsigned int waiting_count;
	struct kh_listed *listed; /* records while recovering */
	unsigned int listed_count;
	uint64_t stored; /* version at its place, 0: none */
	uint64_t unjudged; /* grant of an owner whose stores wait for a verdict until that is known */
	bool stored_known;
	uint64_t harmed; /* version that its place has and cannot read: so not stored; 0: none */
	bool doubted; /* it was in doubt when this khd began to rebuild its directory */
	bool unsure; /* its place may have a newer version than who is called the owner */
	bool looking; /* LOOK sent */
	bool flush_out; /* a version may have come to its place without our knowing */
	uint8_t storing; /* enum kh_storing */
	uint64_t store_token; /* of the last FLUSH */
	uint64_t look_token; /* of the last LOOK */
	uint64_t store_number; /* FLUSHes asked for */
	uint64_t store_safe; /* the last of them whose version is durable */
	uint64_t store_ns; /* when to give up, or to try again */
	struct kh_list storing_node; /* in the home's, unless NOT */
	struct kh_list dirty_node; /* in the home's, if there may be something to store */
	struct kh_list flushers; /* struct kh_flush_wait */
};

enum kh_place_state {
	KH_PLACE_READY = 0,
	KH_PLACE_TAKING = 1, /* asked for; not promised to anybody */
	KH_PLACE_GIVING = 2, /* nobody can use it any more; its store has to hear that */
};

/* Space in the store of @node for the units [start, end); persisted. */
struct kh_place {
	uint64_t start, end;
	uint64_t generation; /* of the allocation */
	kh_node_id node;
	uint32_t state; /* enum kh_place_state */
};

/* A place that is taken or given back. */
struct kh_move {
	struct kh_list node;
	struct kh_region *region;
	struct kh_place place;
	struct kh_served *served; /* who waits for it, or NULL */
	uint64_t call; /* to the store's node, 0: none */
};

#define KH_ROLL_FREED (1ull << 63) /* by a FREE */
#define KH_ROLL_GAP (1ull << 62) /* others than who comes back may have seen them */
#define KH_ROLL_UNITS (KH_ROLL_GAP - 1)

/* Versions of units that were given up: others went on from @after to @before, both exclusive. */
struct kh_roll {
	uint64_t unit;
	uint64_t after, before;
	uint64_t count; /* units; KH_ROLL_FREED, KH_ROLL_GAP */
};

enum kh_rolled {
	KH_NOT_ROLLED,
	KH_ROLLED, /* its programs must be told */
	KH_FREED, /* nobody is entitled to it any more */
};

/* What makes this node the home of a region. */
struct kh_home {
	const struct kh_cm_ops *cm;
	uint8_t verifier[KH_VERIFIER_SIZE];
	uint64_t epoch;
	uint64_t counter; /* of tokens */
	struct kh_intervals allocated;
	/* EIO where the directory knows nothing; persisted. */
	struct kh_intervals lost; /* the module that had it is gone */
	struct kh_intervals doubt; /* a silent node may have it */
	struct kh_intervals
		untold; /* node ids: their programs may have seen what is gone; persisted */
	struct kh_intervals thin; /* one frame, where there were two; persisted */
	bool unsaved; /* the sets above changed */
	bool gone_back; /* a unit went on from a version that is older than what others have seen */
	uint64_t rolled; /* of units that nobody listed, see struct kh_unit */
	struct kh_roll *rolls; /* whose holders have not been heard since; persisted */
	uint32_t roll_count;
	uint64_t roll_mark; /* last census that began before the newest of them */
	struct kh_hash units;
	struct kh_intervals pruned; /* units whose records are gone: their places know all of them */
	struct kh_list busy;
	struct kh_place *places; /* READY, in ascending order, disjoint */
	uint32_t place_count;
	struct kh_list moves; /* struct kh_move */
	uint64_t move_ns; /* when to ask stores again, KH_NEVER: not */
	bool moves_unsaved; /* not before they are written down */
	struct kh_list dirty; /* units that may have to be stored */
	struct kh_list storing; /* and those that are being */
	struct kh_list flushes; /* struct kh_flush */
	uint64_t flush_ns; /* when all of it is flushed next */
	bool recovering;
	bool going; /* being unreserved */
	uint64_t free_first, free_end; /* units of the FREE under way */
};

#endif /* KH_CORE_HOME_H */
