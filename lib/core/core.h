/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core.h - what the files of lib/core share
 *
 *   node.c    a node: creation, events, the order of things in one step
 *   out.c     messages that leave, coalesced; those to the node itself
 *   region.c  descriptors, who is home of what (region directory), persistence
 *   home.c    what nodes say to a home's directory: one request per unit at a time
 *   service.c one request at its home (mechanism)
 *   cm_*.c    when a request is granted (policy)
 *   census.c  inventories as a home reads them; its restart
 *   reconcile.c  the same at a home that knows its directory: rejoin, expired leases
 *   holder.c  what homes demand of this node's module
 *   report.c  this node's inventory for a home
 *   ask.c     requests of this node's module to homes
 *   fault.c   what the module wants becomes a request, or joins one
 *   grant.c   what comes for a request
 *   done.c    requests that are over
 *   lease.c   leases, both sides
 *   place.c   whose store keeps which units of a region; space there, in two phases
 *   store.c   a home sees to it that a unit is stored, and asks what is
 *   flush.c   ranges that must be durable, and what is flushed in time
 *   keep.c    this node's store, as homes use it
 *   call.c    remote calls between nodes, with the proof of a region's key
 *   serve.c   calls as the home executes them
 *   space.c   those that allocate units, free them or end a region
 *   ops.c     operations of clients
 *
 * A step is one call of the host.  Messages that it makes leave at its end; those to the
 * node itself are handled then, too, one after the other, never recursively.
 */
#ifndef KH_CORE_CORE_H
#define KH_CORE_CORE_H

#include "alloc.h"
#include "hash.h"
#include "home.h"
#include "interval.h"
#include "list.h"
#include "node.h"
#include "wire.h"

#define KH_MS 1000000ull
#define KH_NEVER (~0ull)
#define KH_NO_FRAME (~0u)
#define KH_TOKEN_SHIFT 44 /* epoch << 44 | counter */
#define KH_REQUEST_SHIFT 40 /* incarnation << 40 | counter */
#define KH_LEASE_MS_MIN 20
#define KH_LEASE_MS_MAX ((1u << 20) - 1)
#define KH_LEASE_NODES 4096 /* node ids differ modulo this: lease ids of the module */
#define KH_CLASSES_MAX 16 /* different lease_ms per pair of nodes */
#define KH_ASKS_MAX 16384 /* requests of the module under way */
#define KH_WAITING_MAX 1024 /* requests in one unit's FIFO */
#define KH_CALLS_MAX 1024 /* calls of one peer under way here */
#define KH_OPS_MAX 4096 /* operations of clients under way */
#define KH_DONES_MAX 4096 /* DONEs not known to be seen, before the home is asked */
#define KH_RETRY_MIN (5 * KH_MS)
#define KH_RETRY_MAX (200 * KH_MS)
#define KH_ROLLS_MAX 1024 /* rollbacks of a region that are remembered over a restart */
#define KH_LINGER (2 * KH_MS) /* a range's DONE waits that long for the rest */
#define KH_LOOKUP_AGAIN (500 * KH_MS)
#define KH_TIMEOUT_MS 30000u
#define KH_WINDOW_BYTES (1u << 20) /* most that is prefetched ahead */
#define KH_FLUSH_MS 5000u /* default bound of asynchronous flushing */
#define KH_FLUSH_UNITS 128u /* that one flush waits for at once */
#define KH_STORE_WAIT (2000 * KH_MS) /* for a unit to come to its place; then it is tried again */
#define KH_STORE_AGAIN (100 * KH_MS)
#define KH_KEEPS_MAX 4096u /* commands of the page store under way */
#define KH_UNITS_KEPT 65536u /* default of kh_node_config.units_kept */

/* Errors that a test host can plant. */
enum kh_plant {
	KH_PLANT_NONE,
	KH_PLANT_SKIP_INV, /* a WRITE forgets one READ copy */
	KH_PLANT_OLD_VERSION, /* a READ is served from the backup, whatever its version */
	KH_PLANT_LOSE_WAITER, /* a FIFO loses every eighth request */
	KH_PLANT_ACCEPT_STALE, /* old epochs, attempts and tokens are taken */
	KH_PLANT_EARLY_HDONE, /* the old owner is released at the GRANT */
	KH_PLANT_NO_LEASE_WAIT, /* a lost connection ends a lease */
	KH_PLANT_FORGET_COPY, /* a reader is not written down */
	KH_PLANT_TWO_BUSY, /* a unit serves READs while it is busy */
	KH_PLANT_GRANT_EARLY, /* a WRITE does not wait for the last IACK */
	KH_PLANT_NO_VERDICT, /* what an expired node holds is always resumed */
	KH_PLANT_EARLY_SAFE, /* a flush is over when its units have come to their place */
	KH_PLANT_NO_LOOK, /* a restarted home believes that nothing is stored */
	KH_PLANT_FLUSH_CLEAN, /* what was stored once counts as stored */
	KH_PLANT_FREE_COPY, /* a FREE forgets one READ copy */
	KH_PLANT_FREE_FORGET, /* that units were freed is not remembered */
	KH_PLANT_PREFETCH_FORGET, /* a reader that prefetched is not written down */
	KH_PLANT_KEEP_OVERWRITE, /* a changed key leaves requests to overwrite as they are */
	KH_PLANT_ONE_PASS, /* no pass of a place begins while any goes on */
	KH_PLANT_NO_REPAIR, /* what its place cannot read is EIO, whoever has it */
	KH_PLANT_NO_MEMORY, /* a grant without a frame to receive into is taken as done */
};

enum kh_stat {
	KH_STAT_FAULTS,
	KH_STAT_LOCKS,
	KH_STAT_COMMITS,
	KH_STAT_HANDOFFS,
	KH_STAT_INVALIDATIONS,
	KH_STAT_DOWNGRADES,
	KH_STAT_DEFERRED,
	KH_STAT_STALE_REFUSED,
	KH_STAT_RETRIES,
	KH_STAT_TIMEOUTS,
	KH_STAT_PREFETCHES,
	KH_STAT_PREFETCH_UNITS,
	KH_STAT_PREFETCH_HITS,
	KH_STAT_HELD_GRANTS,
	KH_STAT_ZERO_GRANTS,
	KH_STAT_EVICTIONS,
	KH_STAT_BACKUP_RELEASES,
	KH_STAT_LEASES_EXPIRED,
	KH_STAT_RESUMED,
	KH_STAT_LOST,
	KH_STAT_UNITS_LOST,
	KH_STAT_RECOVERIES,
	KH_STAT_PROTOCOL_ERRORS,
	KH_STAT_KEYS_REJECTED,
	KH_STAT_QUEUE_FULL,
	KH_STAT_FLUSHES,
	KH_STAT_UNITS_STORED,
	KH_STAT_UNITS_LOADED,
	KH_STAT_STORE_ERRORS,
	KH_STAT_RECORDS_PRUNED,
	KH_STAT_UNITS_DAMAGED,
	KH_STAT_UNITS_REPAIRED,
	KH_STAT_COUNT,
};

/* A lease that this node gives: what @party may hold of regions of class @lease_ms. */
struct kh_grantee {
	uint32_t lease_ms;
	uint32_t gen; /* entries of another one are void */
	uint64_t end_ns;
	bool valid;
};

struct kh_peer {
	kh_node_id id;
	bool self;
	bool connected;
	bool census; /* its inventory of this connection's peer state has come */
	unsigned int swept; /* units of which its former module may have had the only frame */
	bool asked; /* and is under way */
	bool heard; /* it has all verdicts about it */
	bool lost; /* its module is new since the home ran last */
	uint32_t ends; /* sent to it, and not answered: there may be verdicts before each */
	uint64_t incarnation;
	uint64_t boot;
	uint64_t ask_id; /* of the inventory wanted, 0: none */
	uint8_t *out; /* message under construction */
	size_t out_len, out_size;
	struct kh_grantee classes[KH_CLASSES_MAX];
	unsigned int class_count;
	struct kh_list calls; /* struct kh_served: wait for a PROOF or for revokes */
	unsigned int call_count;
	uint64_t messages_in, messages_out, bytes_in, bytes_out;
};

/* A lease that this node has from @home. */
struct kh_lease {
	struct kh_list node;
	kh_node_id home;
	uint32_t lease_ms;
	bool expired; /* rights under it ended; the home has not judged them yet */
	bool told; /* the last RENEW said so */
	uint64_t lapses; /* counts up when they end */
	uint64_t judge_id; /* census that saw it */
	uint32_t id; /* in the module */
	uint64_t end_ns; /* as told to the module; 0: never had one */
	uint64_t renew_ns; /* when to send the next RENEW */
	uint64_t sent_ns; /* the last one */
	uint64_t sequence;
	uint64_t acked;
};

struct kh_resume {
	uint64_t unit, token;
};

/* A region as this node knows it. */
struct kh_region {
	struct kh_list node;
	struct kh_node *owner;
	struct khazana_addr start;
	uint64_t length;
	uint64_t generation;
	uint64_t units;
	uint32_t unit_shift;
	struct kh_attr attr; /* defaults filled in */
	uint32_t key_serial; /* of its key, as known here; only rises */
	kh_node_id home_id; /* 0: not known */
	kh_node_id hint; /* who may be, said by who is not: asked first, once */
	uint64_t epoch; /* of the home, as known here */
	struct kh_home *home; /* if it is this node */
	uint32_t handle; /* the module's, 0: not there */
	bool attached;
	uint32_t lease_set; /* lease id that the module has for it */
	struct kh_lease *lease;
	bool resync; /* the home must repeat what it demanded */
	struct kh_list asks;
	struct kh_hash demands; /* struct kh_demand: INV, FORWARD that wait */
	struct kh_list dones; /* struct kh_done */
	uint64_t next_unit; /* of a sequential reader */
	uint64_t ahead; /* first unit not prefetched yet */
	uint32_t window; /* units */
	uint32_t prefetching; /* units under way */
	uint64_t pressure_next; /* first unit that is asked to be stored next */
	struct kh_resume *resumes; /* units that get their rights back when all is judged */
	size_t resume_count, resume_size;
	uint64_t surprise_ns; /* last COMMIT that no module request waited for */
	struct kh_hash wanted; /* struct kh_ask_unit by unit: one request a unit */
};

/* An INV or a FORWARD that waits for the module. */
struct kh_demand {
	struct kh_hnode node; /* in the region's, by unit */
	struct kh_hnode cookie_node; /* in the node's, by cookie, while a REVOKE goes on */
	struct kh_region *region;
	kh_node_id home;
	bool forward;
	bool flush; /* the version goes to the store of @party */
	bool revoking;
	bool unlocked; /* since the REVOKE went on: it may have met the lock all the same */
	uint64_t unit;
	uint64_t token;
	uint64_t need;
	uint64_t request;
	uint64_t generation; /* FLUSH: of the allocation */
	kh_node_id party; /* FORWARD: asker; FLUSH: place */
	uint32_t attempt;
	uint32_t right; /* FORWARD: asked for */
	uint32_t flags; /* INV: KH_INV_*, FLUSH: KH_FLUSH_* */
};

struct kh_local {
	struct kh_list node;
	size_t len;
	uint64_t bytes[];
};

struct kh_node {
	struct kh_node_config config;
	const struct kh_host_ops *ops;
	void *host;
	uint64_t now;
	uint64_t deadline;
	enum kh_plant plant;
	unsigned int plant_count;
	struct kh_peer peers[KH_NODES_MAX]; /* 0: this node */
	unsigned int peer_count;
	struct kh_list local;
	struct kh_list regions;
	struct kh_list leases;
	struct kh_hash asks;
	struct kh_list borrowed; /* struct kh_ask_unit: their DATA lies in what the host received */
	bool lends; /* what is handled now stays until kh_node_received() */
	struct kh_hash calls; /* struct kh_call, made here */
	struct kh_hash demands; /* struct kh_demand with a REVOKE under way, by cookie */
	struct kh_hash keeps; /* struct kh_keep: commands of the page store, by id */
	unsigned int keep_puts; /* of them: PUT */
	unsigned int keeps_waiting; /* of them: for another one */
	struct kh_list fences; /* struct kh_fence: what homes told this node to refuse */
	struct kh_list lookups;
	uint8_t *scratch; /* a received message, aligned */
	size_t scratch_size;
	struct kh_list ops_list; /* struct kh_run: operations under way */
	unsigned int op_count;
	unsigned int done_count;
	uint64_t next_request;
	uint64_t next_cookie;
	uint64_t next_ask;
	uint64_t next_keep;
	uint64_t started;
	uint64_t silent; /* bits: peers that recovery did not hear */
	bool unsaved; /* some home's sets changed in this step */
	bool took_over; /* the module held regions when this khd began */
	bool recovering;
	struct khazana_addr space_next;
	uint64_t generation_next;
	uint64_t generation_first; /* the first that this khd gives out */
	uint64_t boots[KH_NODES_MAX]; /* as persisted, by peer index */
	uint64_t stats[KH_STAT_COUNT];
	uint64_t kind_in[KH_WIRE_KINDS];
	uint64_t kind_out[KH_WIRE_KINDS];
};

/* node.c */
void kh_arm(struct kh_node *node, uint64_t when);
struct kh_peer *kh_peer_find(struct kh_node *node, kh_node_id id);
/* Is there a way to it?  NULL is nobody. */
static inline bool kh_peer_up(const struct kh_peer *peer)
{
	return peer && (peer->self || peer->connected);
}

/* kh_peer_find(), if there is a way to it; else NULL. */
struct kh_peer *kh_peer_reach(struct kh_node *node, kh_node_id id);
void kh_event(struct kh_node *node, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static inline struct kh_peer *kh_self(struct kh_node *node)
{
	return &node->peers[0];
}
/* Is @request one of @peer's present khd? */
static inline bool kh_request_of(const struct kh_peer *peer, uint64_t request)
{
	return peer && request >> KH_REQUEST_SHIFT ==
			       (peer->incarnation & ((1ull << (64 - KH_REQUEST_SHIFT)) - 1));
}
static inline bool kh_planted(const struct kh_node *node, enum kh_plant plant)
{
	return node->plant == plant;
}
static inline void kh_count(struct kh_node *node, enum kh_stat stat)
{
	node->stats[stat]++;
}

/* out.c */
struct kh_wire_head kh_head(const struct kh_region *region);
void *kh_out(struct kh_node *node, struct kh_peer *peer, enum kh_wire_kind kind,
	     const struct kh_wire_head *head);
void kh_out_data(struct kh_node *node, struct kh_peer *peer, enum kh_wire_kind kind,
		 const struct kh_wire_head *head, const void *entry, const void *data, size_t len);
bool kh_out_flush(struct kh_node *node);
void kh_out_drop(struct kh_peer *peer);

/* command helpers, holder.c */
int kh_command(struct kh_node *node, struct khazana_cmd *cmd);
void kh_commands(struct kh_node *node, struct khazana_cmd *cmds, unsigned int n);
void kh_request_fail(struct kh_node *node, const struct khazana_request *req, uint32_t error);

/* message handlers: @h in host order, @data follows its entries */
typedef void kh_handler(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
			const void *data);
static inline const void *kh_entries(const struct kh_wire_head *h)
{
	return h + 1;
}

/* region.c */
struct kh_region *kh_region_find(struct kh_node *node, struct khazana_addr start,
				 uint64_t generation);
struct kh_region *kh_region_at(struct kh_node *node, struct khazana_addr addr);
struct kh_region *kh_region_of(struct kh_node *node, const struct kh_wire_head *h);
struct kh_region *kh_region_by_handle(struct kh_node *node, uint32_t handle);
struct kh_region *kh_region_new(struct kh_node *node, struct khazana_addr start, uint64_t length,
				uint64_t generation, const struct kh_attr *attr);
void kh_region_free(struct kh_region *region);
struct kh_region *kh_region_learn(struct kh_node *node, const struct kh_wire_region *desc);
void kh_region_describe(const struct kh_region *region, struct kh_wire_region *desc);
void kh_region_info(const struct kh_wire_region *desc, struct kh_region_info *info);
void kh_region_epoch(struct kh_region *region, uint64_t epoch);
int kh_region_to_module(struct kh_region *region);
void kh_region_set_module(struct kh_region *region);
void kh_region_forget_home(struct kh_region *region, kh_node_id hint);
void kh_region_home(struct kh_region *region, const uint8_t verifier[KH_VERIFIER_SIZE]);
int kh_region_persist(struct kh_region *region);
void kh_region_save(struct kh_region *region, const char *what);
int kh_region_unpersist(struct kh_region *region);
int kh_region_restore(struct kh_node *node, const char *key, const void *blob, size_t len);
uint64_t kh_region_unit(const struct kh_region *region, struct khazana_addr addr);
kh_handler kh_on_where, kh_on_here, kh_on_not_home, kh_on_gone;

/* directory.c: who has what */
typedef void kh_found(struct kh_node *node, void *context, struct kh_region *region, int error);
void kh_lookup(struct kh_node *node, struct khazana_addr addr, uint64_t deadline_ns,
	       kh_found *found, void *context);
void kh_lookup_cancel(struct kh_node *node, void *context);
void kh_lookup_tick(struct kh_node *node);
void kh_lookup_peer(struct kh_node *node, struct kh_peer *peer, bool up);
void kh_lookup_free(struct kh_node *node);
void kh_resolve(struct kh_node *node, struct kh_region *region);

/* blob.c: what is persisted; generations and address ranges that are given out */
int kh_generation_take(struct kh_node *node, uint64_t *generation);
int kh_space_take(struct kh_node *node, uint64_t length, uint32_t align_shift,
		  struct khazana_addr *start, uint64_t *generation);
int kh_blob_save(struct kh_node *node, const char *key, void *blob, size_t len);
int kh_blob_check(const void *blob, size_t len, uint32_t kind);
void kh_boots_learn(struct kh_node *node, struct kh_peer *peer);

struct kh_blob {
	uint32_t crc; /* of all that follows this field */
	uint32_t version;
	uint32_t kind;
	uint32_t length; /* whole blob */
};
enum {
	KH_BLOB_REGION = 1,
	KH_BLOB_SPACE = 2,
	KH_BLOB_BOOTS = 3
};

/* lease.c */
struct kh_lease *kh_lease_get(struct kh_node *node, kh_node_id home, uint32_t lease_ms);
void kh_lease_renew(struct kh_node *node, struct kh_lease *lease);
bool kh_lease_ready(const struct kh_node *node, const struct kh_lease *lease);
struct kh_grantee *kh_grantee(struct kh_node *node, struct kh_peer *peer, uint32_t lease_ms);
bool kh_grantee_valid(struct kh_node *node, const struct kh_region *region, kh_node_id party);
uint32_t kh_grantee_gen(struct kh_node *node, const struct kh_region *region, kh_node_id party);
void kh_grantee_assume(struct kh_node *node, struct kh_peer *peer, uint32_t lease_ms);
void kh_grantee_expire(struct kh_node *node, struct kh_peer *peer, struct kh_grantee *g);
void kh_lease_tick(struct kh_node *node);
void kh_lease_expired(struct kh_node *node, uint32_t id);
void kh_lease_asked(struct kh_node *node, kh_node_id home, uint64_t id);
void kh_lease_judged(struct kh_node *node, struct kh_peer *home, uint64_t id);
kh_handler kh_on_renew, kh_on_renew_ack;

/* unit.c */
enum kh_settled {
	KH_SETTLED, /* there is a valid owner, or the unit is virgin */
	KH_SETTLED_LOST, /* nobody within reach has the last version */
	KH_SETTLED_COPIES, /* only READ copies have it: they must be kept first */
	KH_SETTLED_LOOK, /* its place must be asked first */
	KH_SETTLED_LATER, /* this node's own inventory must be judged first */
};
struct kh_served;
/* home.c */
struct kh_unit *kh_unit_find(struct kh_region *region, uint64_t unit);
struct kh_unit *kh_unit_get(struct kh_region *region, uint64_t unit);
struct kh_unit *kh_unit_known(struct kh_region *region, uint64_t unit);
void kh_unit_free(struct kh_unit *unit);
void kh_unit_prune(struct kh_unit *unit);
bool kh_holder_valid(const struct kh_unit *unit, const struct kh_holder *holder);
struct kh_holder *kh_unit_copy(struct kh_unit *unit, kh_node_id party);
struct kh_holder *kh_unit_copy_add(struct kh_unit *unit, kh_node_id party, uint64_t token);
void kh_unit_lent(struct kh_unit *unit, kh_node_id party, uint64_t token, bool owned);
void kh_unit_copy_del(struct kh_unit *unit, kh_node_id party);
enum kh_settled kh_unit_settle(struct kh_unit *unit);
void kh_unit_hdone(struct kh_unit *unit, kh_node_id party);
void kh_unit_release(struct kh_unit *unit, kh_node_id party);
bool kh_unit_alone(const struct kh_unit *unit);
void kh_unit_review(struct kh_unit *unit);
int kh_thin_save(struct kh_node *node);
void kh_unit_forget(struct kh_unit *unit, kh_node_id party);
void kh_unit_lost(struct kh_unit *unit, bool gone);
void kh_unit_swept(struct kh_unit *unit);
bool kh_unit_known_lost(const struct kh_unit *unit);
bool kh_unit_backed(const struct kh_unit *unit);
bool kh_unit_held(const struct kh_unit *unit);
bool kh_unit_harmed(const struct kh_unit *unit);
bool kh_unit_unreadable(const struct kh_unit *unit);
uint64_t kh_unit_placed(const struct kh_unit *unit);
void kh_unit_found(struct kh_unit *unit);
enum kh_rolled kh_unit_rolled(const struct kh_unit *unit, uint64_t version, uint64_t token);
void kh_unit_roll(struct kh_unit *unit, uint64_t next);
bool kh_rolls_full(struct kh_region *region);
void kh_roll_add(struct kh_region *region, const struct kh_roll *roll);
void kh_rolls_end(struct kh_region *region);

/* service.c */
uint64_t kh_token_new(struct kh_region *region);
struct kh_owed *kh_owed_by(struct kh_service *s, kh_node_id party);
void kh_send_inv(struct kh_unit *unit, const struct kh_service *s, const struct kh_owed *owed);
void kh_send_forward(struct kh_unit *unit, const struct kh_service *s);
void kh_service_confuse(struct kh_unit *unit, struct kh_service *s, uint32_t flags);
void kh_service_deferred(struct kh_unit *unit, struct kh_service *s);
void kh_unit_kept(struct kh_unit *unit, kh_node_id party, uint32_t gen, uint64_t token);
void kh_owed_answered(struct kh_unit *unit, struct kh_service *s, struct kh_owed *owed,
		      uint32_t status);
void kh_service_end(struct kh_unit *unit);
void kh_service_token(struct kh_unit *unit, struct kh_service *s);
void kh_service_next(struct kh_unit *unit);
void kh_service_run(struct kh_unit *unit);
void kh_service_cancel(struct kh_unit *unit);
void kh_service_withdraw(struct kh_unit *unit, const struct kh_served *call);
void kh_service_complete(struct kh_unit *unit, uint64_t version);
void kh_service_nack(struct kh_unit *unit, struct kh_service *s, uint32_t error, uint32_t flags);
void kh_service_free(struct kh_service *s);

/* home.c */
bool kh_service_resume(struct kh_unit *unit, kh_node_id owner);
bool kh_service_granted(const struct kh_unit *unit, kh_node_id owner);
void kh_service_add(struct kh_unit *unit, struct kh_service *s);
void kh_home_expired(struct kh_node *node, kh_node_id party, uint32_t lease_ms);
void kh_home_resend(struct kh_node *node, struct kh_peer *peer);
const char *kh_home_check(const struct kh_region *region);
kh_handler kh_on_req, kh_on_iack, kh_on_done, kh_on_evict, kh_on_hask;

/* what a CM may do: cm.h */

/* place.c */
struct kh_served;
const struct kh_place *kh_place_of(const struct kh_region *region, uint64_t unit);
uint64_t kh_place_units(const struct kh_region *region);
bool kh_place_reachable(const struct kh_region *region);
void kh_place_take(struct kh_region *region, uint64_t start, uint64_t end, kh_node_id store,
		   uint64_t generation, struct kh_served *served);
unsigned int kh_place_give(struct kh_region *region, uint64_t start, uint64_t end,
			   struct kh_served *served);
void kh_place_unserve(struct kh_region *region, const struct kh_served *served);
void kh_place_later(struct kh_region *region);
void kh_place_go(struct kh_region *region);
void kh_place_tick(struct kh_node *node);
void kh_place_peer(struct kh_node *node, struct kh_peer *peer);
size_t kh_place_blob_count(const struct kh_region *region);
void kh_place_save(const struct kh_region *region, struct kh_place *items);
void kh_place_restore(struct kh_region *region, const struct kh_place *items, uint64_t count);
void kh_place_free(struct kh_region *region);

/* store.c */
bool kh_unit_look(struct kh_unit *unit);
bool kh_unit_clean(const struct kh_unit *unit);
void kh_unit_dirty(struct kh_unit *unit);
void kh_unit_store(struct kh_unit *unit);
void kh_store_freed(struct kh_unit *unit);
void kh_store_run(struct kh_unit *unit, struct kh_service *s);
void kh_store_deferred(struct kh_unit *unit);
void kh_store_again(struct kh_unit *unit, const struct kh_service *s);
void kh_store_load(struct kh_unit *unit, struct kh_service *s);
void kh_store_unreadable(struct kh_unit *unit, struct kh_service *s);
bool kh_store_asked_again(struct kh_unit *unit);
void kh_store_loaded(struct kh_unit *unit);
void kh_store_ended(struct kh_unit *unit, uint32_t error);
void kh_store_resend(struct kh_node *node, struct kh_peer *peer);
void kh_store_peer_down(struct kh_node *node, struct kh_peer *peer);
void kh_store_wanted(struct kh_unit *unit, kh_node_id party);
void kh_store_tick(struct kh_node *node);
kh_handler kh_on_stored;

/* flush.c */
void kh_flush_start(struct kh_region *region, uint64_t first, uint64_t end,
		    struct kh_served *served);
void kh_flush_wake(struct kh_unit *unit, uint32_t error);
void kh_flush_put_off(struct kh_unit *unit);
void kh_flush_back(struct kh_unit *unit);
bool kh_flush_wants(const struct kh_unit *unit);
void kh_flush_forget(struct kh_unit *unit);
void kh_flush_free(struct kh_region *region);
void kh_flush_tick(struct kh_node *node);

/* keep.c */
bool kh_keep_call(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		  const struct kh_wire_call *call);
void kh_keep_stored(struct kh_node *node, uint64_t id, const struct kh_store_result *result);
void kh_keep_gone(struct kh_node *node, const struct kh_peer *from, const struct kh_wire_head *h);
void kh_keep_free(struct kh_node *node);
kh_handler kh_on_store, kh_on_look, kh_on_load;

/* census.c */
void kh_census_start(struct kh_node *node, struct kh_peer *peer);
void kh_census_tick(struct kh_node *node);
void kh_recovery_start(struct kh_node *node);
void kh_doubt_gone(struct kh_node *node);
bool kh_unit_unjudged(const struct kh_unit *unit);
void kh_unit_judge(struct kh_unit *unit, bool stale);
kh_handler kh_on_inventory, kh_on_end;

/* holder.c */
void kh_holder_request(struct kh_node *node, const struct khazana_request *req);
void kh_holder_free(struct kh_region *region);
kh_handler kh_on_forward, kh_on_inv, kh_on_hdone, kh_on_flush, kh_on_safe;

/* report.c */
void kh_report_start(struct kh_node *node);
void kh_report_hask(struct kh_node *node, struct kh_peer *home);
void kh_report_judged(struct kh_node *node, const struct kh_peer *home);
void kh_report_pressure(struct kh_node *node, bool waited_for);
kh_handler kh_on_ask, kh_on_verdict;

/* ask.c */
void kh_ask_again(struct kh_region *region);
void kh_ask_key_changed(struct kh_region *region);
void kh_ask_lost(struct kh_region *region, uint64_t unit, uint64_t request);
void kh_ask_resumed(struct kh_region *region, uint64_t unit);
void kh_ask_go(struct kh_region *region);
void kh_ask_synced(struct kh_node *node, struct kh_peer *peer);
void kh_ask_flush(struct kh_node *node);
void kh_ask_received(struct kh_node *node);
void kh_ask_tick(struct kh_node *node);
void kh_ask_fail_all(struct kh_region *region, uint32_t error);
void kh_ask_drop_region(struct kh_region *region);
const char *kh_ask_check(const struct kh_region *region);

/* fault.c */
void kh_ask_fault(struct kh_node *node, struct kh_region *region,
		  const struct khazana_request *req);
void kh_ask_prefetch(struct kh_node *node, struct kh_region *region, uint64_t first,
		     uint32_t count);

/* grant.c */
kh_handler kh_on_grant, kh_on_nack, kh_on_data;

/* done.c */
void kh_done_prune(struct kh_node *node, const struct kh_lease *lease, uint64_t sequence);

/* prefetch.c */
void kh_prefetch_fault(struct kh_node *node, struct kh_region *region, uint64_t unit);
uint32_t kh_prefetch_part(const struct kh_region *region);

/* key.c */
void kh_key_verifier(const uint8_t key[KH_KEY_SIZE], struct khazana_addr start, uint64_t generation,
		     uint8_t verifier[KH_VERIFIER_SIZE]);
void kh_key_mac(const uint8_t verifier[KH_VERIFIER_SIZE], const char *purpose,
		const uint8_t nonce[KH_WIRE_NONCE_SIZE], kh_node_id node, const void *what,
		size_t len, uint8_t mac[KH_WIRE_MAC_SIZE]);
bool kh_key_equal(const void *a, const void *b, size_t len);

/* call.c */
struct kh_call;
typedef void kh_answered(struct kh_node *node, void *context, const struct kh_wire_result *result,
			 const void *data, size_t len);
uint64_t kh_call(struct kh_node *node, kh_node_id peer, struct kh_region *region,
		 const struct kh_wire_call *call, const uint8_t *key, const uint8_t *new_key,
		 uint64_t deadline_ns, kh_answered *answered, void *context);
void kh_call_cancel(struct kh_node *node, uint64_t id);
void kh_call_tick(struct kh_node *node);
void kh_call_peer_down(struct kh_node *node, struct kh_peer *peer);
void kh_call_free(struct kh_node *node);
bool kh_call_moved(struct kh_node *node, uint64_t id);
kh_handler kh_on_challenge, kh_on_result;

/* serve.c */
struct kh_served;
void kh_served_flushed(struct kh_node *node, struct kh_served *served, uint32_t error);
void kh_served_tick(struct kh_node *node);
void kh_served_drop(struct kh_node *node, struct kh_peer *peer);
void kh_served_tell(struct kh_node *node);
void kh_served_synced(struct kh_node *node, struct kh_peer *peer);
void kh_served_free(struct kh_node *node);
kh_handler kh_on_call, kh_on_proof;

/* space.c */
void kh_served_placed(struct kh_node *node, struct kh_served *served, uint32_t error);
void kh_served_ready(struct kh_node *node, struct kh_served *served);
void kh_served_unready(struct kh_served *served);
void kh_served_join(struct kh_unit *unit);
void kh_served_go(struct kh_node *node);
void kh_served_refused(struct kh_node *node, struct kh_served *served);
uint64_t kh_node_allocated(const struct kh_node *node);

/* ops.c */
void kh_op_start(struct kh_node *node, uint64_t op_id, const struct kh_op *op);
void kh_op_cancel(struct kh_node *node, uint64_t op_id);
void kh_op_attach(struct kh_node *node, const struct khazana_request *req);
void kh_op_flush(struct kh_node *node, struct kh_region *region, const struct khazana_request *req);
void kh_op_tick(struct kh_node *node);
void kh_op_free(struct kh_node *node);
void kh_stats_list(const struct kh_node *node, struct kh_counter *counters, unsigned int *count);

#endif /* KH_CORE_CORE_H */
