/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store_priv.h - the store's own structures, and what its files offer one another
 *
 *	store.c		the calls, and how an operation goes through the store
 *	event.c		the disk's callbacks, and what they set going
 *	ask.c		units are asked for, and read
 *	assign.c	operations get numbers, slots and records
 *	range.c		reserved ranges, in RAM
 *	unit.c		what is known of units in RAM: newest, and not yet in the index
 *	space.c		segments, their bitmaps, who may take a slot
 *	slot.c		blocks: made, verified; reads and writes of slots
 *	log.c		the redo log and its groups
 *	index.c		SQLite: looked up and changed in jobs
 *	checkpoint.c	from RAM into the index
 *	freeze.c	what a checkpoint writes
 *	parked.c	units set aside
 *	recover.c	format and open
 *	log_scan.c	what the log says after a crash
 *	walk.c		every slot on the disk
 *	check.c, rebuild.c, scrub.c, compact.c
 *
 * Order of everything: each change has a sequence number (lsn).  Numbers are given out in the
 * order in which records enter the log; changes are applied to RAM in that order, a put when its
 * slot was written.  lsn_next > lsn_applied >= lsn_durable >= the checkpoint's.
 */
#ifndef KHD_STORE_STORE_PRIV_H
#define KHD_STORE_STORE_PRIV_H

#include <errno.h>

#include "core/list.h"
#include "khd/store/crc32c.h"
#include "khd/store/format.h"
#include "khd/store/store.h"

typedef unsigned __int128 khd_u128;

#define KHD_MERGE 64u /* slots in one write */
#define KHD_LOOKUPS 64u /* keys in one job */
#define KHD_UNITS_CLEAN 16384u /* known units that are kept although the index has them */
#define KHD_CHECKPOINT_NS 30000000000ull /* from a change until it is in the index, at most */
#define KHD_WANT_NS 1000000000ull /* until what had no memory is tried again */
#define KHD_WANT_MAX_NS 10000000000ull /* that calls wait for it, at most */
#define KHD_SEGMENTS_MAX (UINT32_MAX / 2) /* of one store */
#define KHD_WALK_READ (1u << 20) /* bytes of one read, when every slot is looked at */
#define KHD_WANT_ROOM_NS 8000000000ull /* that a reservation does: its home waits for 10 s */
#define KHD_LSN_GAP 1048576u /* numbers left out after a crash; more than can be under way */

enum khd_plant {
	KHD_PLANT_NONE,
	KHD_PLANT_SKIP_FLUSH,
	KHD_PLANT_TRUST_BAD_CRC,
	KHD_PLANT_REUSE_LIVE_SLOT,
	KHD_PLANT_ACK_EARLY,
	KHD_PLANT_FORGET_LOG_TAIL,
	KHD_PLANT_FORGET_TOMBSTONE,
	KHD_PLANT_STALE_INDEX,
	KHD_PLANT_NO_POSITION_CHECK,
	KHD_PLANT_DAMAGE_AS_TAIL,
	KHD_PLANT_OVERCOMMIT,
	KHD_PLANT_FORGET_HISTORY,
};

/* ---------------------------------------------------------------- operations */

enum khd_op_kind {
	KHD_OP_PUT,
	KHD_OP_GET,
	KHD_OP_LOOKUP,
	KHD_OP_RESERVE,
	KHD_OP_RELEASE,
	KHD_OP_FLUSH,
	KHD_OP_PARK,
	KHD_OP_PARKED_GET,
	KHD_OP_DISCARD,
	KHD_OP_RESIZE,
	KHD_OP_STOP,
};

struct khd_unit;

/**
 * struct khd_op - the store's part of a struct khd_store_op, in its priv
 * @link: in the one queue that it waits in
 * @unit: pinned
 * @lsn: its number; FLUSH: what must be durable
 * @slot: where it goes
 * @more: of RESERVE, RELEASE, PARK, PARKED_GET: what else there is to know, allocated
 * @until: RESERVE, PARK: when it waits no longer for room; 0: it did not have to, or no tick has
 *	said yet how late it is
 * @crc: of the data
 * @error: result, while it waits for done
 */
struct khd_op {
	struct kh_list link;
	struct khd_store *store;
	struct khd_unit *unit;
	uint64_t lsn;
	uint64_t slot;
	void *more;
	uint64_t until;
	uint32_t crc;
	int error;
	uint8_t kind;
	bool written; /* its slot is, or it has none */
	bool counted; /* in puts_under_way, and on a side */
	uint8_t side;
	bool part; /* of a RELEASE that goes on behind it: it is not the last number */
	bool wants_nothing; /* what it is stalled for has an end without memory */
	uint8_t tries;
};
static_assert(sizeof(struct khd_op) <= sizeof(((struct khd_store_op *)0)->priv), "fits");

static inline struct khd_op *khd_op(struct khd_store_op *api)
{
	return (struct khd_op *)api->priv;
}

static inline struct khd_store_op *khd_api(struct khd_op *op)
{
	return kh_container((void **)op, struct khd_store_op, priv[0]);
}

/* ---------------------------------------------------------------- RAM */

/* A reserved range; they are kept sorted and do not overlap. */
struct khd_extent {
	khd_u128 start;
	uint64_t units, generation;
	uint64_t born; /* lsn of the reservation: older units of it are not its */
	uint64_t lsn; /* of its last change */
	uint64_t slot; /* of its descriptor */
	struct khd_tag tag;
	uint8_t shift;
	bool dirty; /* descriptor and index do not have it */
	bool fresh; /* the index has no unit of it */
	bool touched; /* something was put */
	bool gone; /* released: khd_range_drop() takes it away */
};

struct khd_unit {
	struct khd_unit *next; /* in its bucket */
	struct kh_list link; /* clean: in the order of use; dirty: dirty list */
	struct kh_list waiters; /* operations, until it is known */
	struct khd_key key;
	uint64_t version, token, lsn, slot; /* version 0: not stored */
	uint64_t pending; /* highest version under way */
	uint32_t crc;
	uint32_t pins; /* operations, and the checkpoint under way */
	bool known, asked, dirty;
	int error; /* of asking */
};

struct khd_segment {
	uint64_t *bits; /* NULL: not loaded; live, then taken */
	uint32_t live, taken; /* slots; taken is at least live */
	uint8_t class;
	uint8_t last; /* class whose blocks it may hold */
	bool loading, dirty, zeroing, retiring;
	bool emptying; /* no slot is taken any more */
	bool pinned; /* it cannot be emptied */
	bool headless; /* recovered: its block must be written again */
	bool filled; /* never used, but its blocks were written: see space.c */
};

struct khd_class {
	uint32_t slot_bytes;
	uint32_t slots; /* of a segment, 0: a unit does not fit */
	uint64_t units; /* promised */
	uint32_t held; /* segments */
	uint32_t current; /* segment to take from */
	uint32_t hint;
};

/* A purge: units of @key's generation in a range that were stored before @lsn are no more. */
struct khd_purge {
	khd_u128 start;
	uint64_t units, generation, lsn;
	uint8_t shift;
};

/* A slot whose block is to become a tomb, or is free after the next checkpoint. */
struct khd_dead {
	uint64_t slot;
	bool tomb;
};

struct khd_parked_unit {
	struct khd_parked parked;
	uint64_t slot;
	uint32_t crc;
	bool dirty;
};

/* Growing arrays. */
#define KHD_VECTOR(type)                \
	struct {                        \
		type *at;               \
		size_t count, capacity; \
	}
bool khd_grow(void *at, size_t count, size_t *capacity, size_t size);
void *khd_push_item(void *at, size_t *count, size_t *capacity, size_t size);
/* Room for so many more; false without memory. */
#define khd_room(vector, more)                                                 \
	khd_grow(&(vector)->at, (vector)->count + (more), &(vector)->capacity, \
		 sizeof(*(vector)->at))
/* The next of them, not initialised. */
#define khd_next(vector) (&(vector)->at[(vector)->count++])
/* Another item behind the last, not initialised; NULL without memory. */
#define khd_push(vector)                                                          \
	((__typeof__((vector)->at))khd_push_item(&(vector)->at, &(vector)->count, \
						 &(vector)->capacity, sizeof(*(vector)->at)))

/* ---------------------------------------------------------------- I/O */

struct khd_write; /* slot.c */

/**
 * struct khd_pace - so many bytes a second, by the clock
 * @then: when that was reckoned; 0: not yet
 * @allowed: bytes that may be read or written now; below 0 it waits
 */
struct khd_pace {
	uint64_t then;
	int64_t allowed;
};

/* Now it is @now: @rate bytes a second more, and never more than @burst at once. */
void khd_pace(struct khd_pace *pace, uint64_t now, uint64_t rate, uint64_t burst);

/* One 512-byte block, or a log block, to be written or read: @buf is @bytes, owned. */
struct khd_raw {
	struct khd_disk_io io;
	struct iovec iov;
	struct khd_store *store;
	void (*done)(struct khd_store *store, struct khd_raw *raw, bool ok);
	uint64_t arg;
};

struct khd_job_of { /* a job with its store */
	struct khd_job job;
	struct khd_store *store;
};

enum khd_group_state {
	KHD_GROUP_IDLE, /* collecting only */
	KHD_GROUP_WRITING, /* its log blocks and slots are on their way */
	KHD_GROUP_FLUSHING,
};

/**
 * struct khd_log - the ring
 * @head: offset in the ring where the next block goes
 * @used: bytes from the tail to the head, wrapped ones included
 * @sequence: of the next block
 * @previous: crc of the last
 * @cells: records of the group that collects
 * @last: lsn of the last of them
 */
struct khd_log {
	uint64_t head, used;
	uint64_t tail, tail_sequence; /* as the superblock has it */
	uint32_t tail_previous;
	uint64_t sequence;
	uint32_t previous;
	uint32_t block; /* largest */
	KHD_VECTOR(uint8_t) cells; /* bytes */
	uint64_t last;
	enum khd_group_state state;
	uint64_t group_last;
	unsigned int writes; /* under way */
	uint64_t want; /* must become durable */
	uint64_t claimed; /* highest durable in a block that was written */
	struct khd_disk_io flush;
	struct khd_job_of no_flush; /* a planted bug's */
};

enum khd_checkpoint_state {
	KHD_CKPT_IDLE,
	KHD_CKPT_WAITING, /* for memory, or room for the index; nothing is held up */
	KHD_CKPT_PURGING, /* slots of released units are looked up, bitmaps loaded; releases wait */
	KHD_CKPT_DRAINING, /* no new numbers; writes under way end, the last bitmaps are loaded */
	KHD_CKPT_SEALING, /* what was frozen becomes durable */
	KHD_CKPT_DESCRIPTORS, /* blocks of ranges and tombs are written */
	KHD_CKPT_FLUSHING, /* and flushed */
	KHD_CKPT_INDEX, /* jobs */
	KHD_CKPT_SUPER, /* superblock, then flush */
};

struct khd_ckpt; /* checkpoint.c */
struct khd_index; /* index.c */
struct khd_scrub; /* scrub.c */
struct khd_compact; /* compact.c */

struct khd_interval {
	uint64_t first, last;
};

struct khd_store {
	struct khd_disk *disk;
	struct khd_store_config config;
	khd_store_event *event;
	void *arg;
	void (*found)(void *arg, const char *file, uint64_t offset, const char *what);
	void *found_arg; /* offline: told of each damage */
	enum khd_plant plant;
	int error;
	int want; /* ENOMEM, ENOSPC of the index: a checkpoint, or a bitmap, waits for it */
	uint64_t want_next; /* when it is tried again */
	uint64_t waits_since; /* calls, at each tick */
	uint64_t room_next; /* a reservation has no room: when a checkpoint is made for it again */
	uint64_t load_next; /* a bitmap had no memory: when one is loaded again */
	unsigned int loads; /* of bitmaps, under way */
	bool serving; /* it was opened */
	bool failed; /* superblocks say that its disk did */
	bool marked; /* that was written, or is on its way */
	struct khd_disk_io mark;
	uint64_t checks; /* how often it was found whole */

	uint8_t uuid[16];
	uint32_t sector;
	uint64_t capacity, segment_bytes, log_bytes, segments_at;
	uint64_t epoch, super_sequence, checkpoint;

	uint64_t lsn_next, lsn_applied, lsn_durable, lsn_checkpoint;
	uint64_t lsn_first; /* lsn_next when the store was opened */

	KHD_VECTOR(struct khd_extent) ranges;
	size_t ranges_gone; /* of these; 0 but amid a release, or a replay */
	size_t gone_from; /* none lies before */
	struct khd_unit **buckets;
	size_t bucket_count, unit_count, clean_count;
	struct kh_list clean, dirty;
	size_t dirty_count;

	KHD_VECTOR(struct khd_segment) segments; /* of the file */
	uint32_t segments_max; /* by capacity */
	struct khd_class class[KHD_CLASSES];
	uint64_t index_reserved; /* bytes that the index has the space for */
	bool filling; /* a segment of the pool, ahead of its use */
	bool growing;
	struct khd_op *grower; /* stalled; the growth of the file is its */
	uint32_t cut_to; /* segments that stay when the end of the file is cut off, */
	uint64_t cut_checkpoint; /* as it was after that many checkpoints, */
	bool cut_waits; /* for what began before that */

	KHD_VECTOR(struct khd_purge) purges;
	KHD_VECTOR(struct khd_dead) dead;
	KHD_VECTOR(struct khd_parked_unit) parked; /* by id */
	KHD_VECTOR(uint64_t) discarded; /* ids to go from the index */
	KHD_VECTOR(struct khd_interval) history; /* ascending */
	bool history_mixed; /* its blocks on the disk are not: write all of them */

	/* queues of operations */
	struct kh_list stalled; /* for a number: slots, log, gate */
	struct kh_list order; /* have a number, not applied */
	struct kh_list syncing; /* applied, wait to be durable */
	struct kh_list resizing; /* wait for the superblock whose sequence is their lsn */
	struct kh_list ready; /* only done is to be called */
	struct kh_list lookups; /* units to be asked for */
	unsigned int puts_under_way, gets_under_way;
	unsigned int on_side[2]; /* all of these, by what @side was when they began */
	uint8_t side;
	unsigned int unwritten; /* slot writes under way */
	unsigned int headers; /* segment blocks under way */
	struct khd_write *batch; /* open write of puts with KHD_STORE_MORE */
	struct khd_write *writes; /* free ones */
	unsigned int writes_kept;

	struct khd_log log;
	enum khd_checkpoint_state ckpt;
	bool ckpt_wanted;
	bool untidy; /* SQLite's log could not be emptied behind the last transaction */
	struct khd_ckpt *run; /* the checkpoint under way */
	struct khd_index *index;
	struct khd_scrub *scrub;
	struct khd_compact *compact;
	struct khd_op *stopping;
	bool stopped;

	struct khd_job_of ready_job;
	bool ready_busy;
	struct khd_job_of lookup_job;
	bool lookup_busy;
	unsigned int ios, jobs; /* under way */
	bool in_line; /* closing: everything is synchronous */
	struct kh_list completions; /* of it */
	unsigned int depth; /* of callbacks */

	uint64_t now, ckpt_at, claim_at;
	struct khd_store_stats stats;
};

/* ---------------------------------------------------------------- store.c */

/* Want of memory, or of room for the index: nothing is wrong with the disk. */
static inline bool khd_is_want(int err)
{
	return err == ENOMEM || err == ENOSPC;
}
void khd_store_fail(struct khd_store *store, int err, const char *what, uint64_t offset);
/* What failed changed nothing, and is tried again when khd_store_may_try(). */
void khd_store_want(struct khd_store *store, int err, const char *what);
void khd_store_wants_nothing(struct khd_store *store);
bool khd_store_somebody_waits(const struct khd_store *store);
static inline bool khd_store_may_try(const struct khd_store *store)
{
	return !store->want || store->stopped || store->now >= store->want_next;
}
void khd_store_say(struct khd_store *store, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void khd_store_damage(struct khd_store *store, const char *file, uint64_t offset,
		      const struct khd_key *key, const char *what);
void khd_op_start(struct khd_store *store, struct khd_store_op *api, enum khd_op_kind kind);
bool khd_op_admit(struct khd_op *op); /* false: it is finished */
void khd_op_stall(struct khd_op *op);
void khd_op_number(struct khd_op *op, bool written); /* it has its lsn */
void khd_op_finish(struct khd_op *op, int error); /* done is called soon */
bool khd_key_valid(const struct khd_key *key);
bool khd_iov_valid(const struct khd_store_op *api);
void khd_op_written(struct khd_op *op, bool ok);
void khd_store_advance(struct khd_store *store); /* applies what is written, in order */
void khd_store_finish_durable(struct khd_store *store);
void khd_store_resized(struct khd_store *store); /* a superblock is durable */

/* ---------------------------------------------------------------- event.c */

void khd_store_enter(struct khd_store *store); /* a callback of the disk */
void khd_store_leave(struct khd_store *store);
void khd_store_leave_call(struct khd_store *store, bool submit); /* a call; nothing is done in it */
void khd_io(struct khd_store *store, struct khd_disk_io *io);
void khd_job(struct khd_store *store, struct khd_job *job);
void khd_pump(struct khd_store *store);

/* ---------------------------------------------------------------- assign.c */

void khd_assign_stalled(struct khd_store *store);
bool khd_op_promise(struct khd_op *op, unsigned int class, uint64_t units, bool *done);

/* ---------------------------------------------------------------- ask.c */

void khd_op_ask(struct khd_op *op); /* put, get, lookup: goes on when its unit is known */
void khd_ask_next(struct khd_store *store);

/* ---------------------------------------------------------------- range.c */

static inline khd_u128 khd_wide(struct khazana_addr addr)
{
	return (khd_u128)addr.hi << 64 | addr.lo;
}
static inline struct khazana_addr khd_narrow(khd_u128 addr)
{
	return (struct khazana_addr){ .hi = (uint64_t)(addr >> 64), .lo = (uint64_t)addr };
}
static inline khd_u128 khd_extent_last(const struct khd_extent *e) /* its last byte */
{
	return e->start + (((khd_u128)e->units << e->shift) - 1);
}
struct khd_extent *khd_range_find(struct khd_store *store, const struct khd_key *key);
size_t khd_range_at(struct khd_store *store, khd_u128 addr); /* first that ends at or after */
int khd_range_valid(struct khd_store *store, const struct khd_range *range);
/* 0, 1: there already, or -EEXIST */
int khd_range_overlaps(struct khd_store *store, const struct khd_range *range);
struct khd_extent *khd_range_insert(struct khd_store *store, const struct khd_extent *extent);
/* One affected range's record: false if none is left, else *@rec and whether it takes a slot. */
bool khd_range_next_release(struct khd_store *store, const struct khd_range *range,
			    struct khd_record *rec, bool *splits);
/* What it leaves nothing of is marked only: khd_range_drop(), before anybody looks for a range. */
int khd_range_apply_release(struct khd_store *store, const struct khd_record *rec);
void khd_range_drop(struct khd_store *store);
int khd_range_apply_reserve(struct khd_store *store, const struct khd_record *rec);
void khd_range_from_record(const struct khd_record *rec, struct khd_extent *extent);

/* ---------------------------------------------------------------- unit.c */

int khd_units_init(struct khd_store *store);
void khd_units_free(struct khd_store *store);
struct khd_unit *khd_unit_get(struct khd_store *store, const struct khd_key *key); /* pinned */
struct khd_unit *khd_unit_peek(struct khd_store *store, const struct khd_key *key);
void khd_unit_put(struct khd_store *store, struct khd_unit *unit);
void khd_unit_dirty(struct khd_store *store, struct khd_unit *unit);
void khd_unit_clean(struct khd_store *store, struct khd_unit *unit);
/* Is what is known of it a version of the range as it is reserved now? */
static inline bool khd_unit_stored(const struct khd_unit *unit, const struct khd_extent *e)
{
	return unit->version && unit->lsn > e->born;
}

/* ---------------------------------------------------------------- space.c */

int khd_space_init(struct khd_store *store);
void khd_space_free(struct khd_store *store);
uint64_t khd_space_segment_at(const struct khd_store *store, uint32_t segment);
int khd_space_segment_of(const struct khd_store *store, uint64_t slot); /* -1: not a slot */
uint32_t khd_space_need(const struct khd_store *store, unsigned int class, uint64_t units);
uint64_t khd_space_charge(const struct khd_store *store); /* segments */
uint64_t khd_space_promised(const struct khd_store *store); /* segments */
uint64_t khd_space_index_bytes(const struct khd_store *store); /* that the index may get to */
bool khd_space_promise(struct khd_store *store, unsigned int class, uint64_t units);
void khd_space_unpromise(struct khd_store *store, unsigned int class, uint64_t units);
int khd_space_take(struct khd_store *store, unsigned int class, uint64_t *slot);
/* Of what it answers: not now, but later? */
static inline bool khd_space_comes(int ret)
{
	return ret == -EAGAIN || ret == -EINPROGRESS || ret == -EBUSY;
}
void khd_space_live(struct khd_store *store, uint64_t slot);
void khd_space_dead(struct khd_store *store, uint64_t slot, bool tomb);
bool khd_space_is_live(struct khd_store *store, uint64_t slot);
int khd_space_index_of(const struct khd_store *store, uint64_t slot, uint32_t *index);
/* Is there a slot at @slot when its segment is of @class, which may be any number? */
bool khd_space_fits(const struct khd_store *store, uint64_t slot, unsigned int class);
bool khd_space_load(struct khd_store *store, uint32_t segment); /* true: it is */
void khd_space_fill_ahead(struct khd_store *store);
int khd_space_alloc_bits(struct khd_store *store, uint32_t segment);
void khd_space_clear_live(struct khd_store *store, uint64_t slot);
void khd_space_give_back(struct khd_store *store, uint64_t slot);
void khd_space_write_headers(struct khd_store *store, uint32_t segment);
int khd_space_resize_file(struct khd_store *store, uint32_t segments);
static inline size_t khd_space_words(uint32_t slots)
{
	return (slots + 63) / 64;
}

/* ---------------------------------------------------------------- slot.c */

void *khd_buffer(size_t bytes); /* aligned for the disk, zeroed; free() */
void khd_block_seal(const struct khd_store *store, struct khd_block *block,
		    enum khd_block_kind kind, unsigned int class, uint64_t position, uint64_t lsn);
/* NULL, or what is wrong.  @uuid NULL: any. */
const char *khd_block_verify(const struct khd_block *block, const uint8_t *uuid, uint64_t position);
void khd_block_of_extent(const struct khd_store *store, struct khd_block *block,
			 const struct khd_extent *extent);
/* NULL, or why @block is not the descriptor of a range that is not dirty */
const char *khd_range_wrong(const struct khd_store *store, const struct khd_extent *extent,
			    const struct khd_block *block);
void khd_slot_write(struct khd_op *op, struct khd_block *block, bool more);
void khd_slot_submit(struct khd_store *store); /* the open batch */
void khd_slot_fill(struct khd_store *store, struct khd_op *op, struct khd_block *block,
		   enum khd_block_kind kind, const struct khd_tag *tag);
struct khd_expect {
	enum khd_block_kind kind;
	struct khd_key key;
	uint64_t version, lsn, slot;
	uint32_t crc;
};
const char *khd_slot_verify(const struct khd_store *store, const struct khd_block *block,
			    const void *data, const struct khd_expect *expect);
/*
 * Reads a slot; @done gets NULL or what is wrong, and 0 if that is what was read; ENOMEM: nothing
 * is known; EIO: the store is out of service.
 */
struct khd_slot_read {
	struct khd_raw raw;
	struct iovec iov[2];
	struct khd_block *block;
	struct khd_expect expect;
	void (*done)(struct khd_slot_read *read, const char *wrong, int error);
	void *arg;
};
bool khd_slot_read(struct khd_store *store, struct khd_slot_read *read, void *data);
int khd_slot_read_now(struct khd_store *store, const struct khd_expect *expect, void *data,
		      const char **wrong);
void khd_raw_write(struct khd_store *store, uint64_t offset, void *buf, size_t bytes, uint64_t arg,
		   void (*done)(struct khd_store *, struct khd_raw *, bool));
/* The same; false: there is no memory, and nothing was done. */
bool khd_raw_try(struct khd_store *store, uint64_t offset, void *buf, size_t bytes, uint64_t arg,
		 void (*done)(struct khd_store *, struct khd_raw *, bool));
void khd_slot_pool_free(struct khd_store *store);

/* ---------------------------------------------------------------- log.c */

bool khd_log_room(struct khd_store *store, unsigned int cells);
int khd_log_append(struct khd_store *store, const struct khd_record *rec);
uint32_t khd_log_crc(const struct khd_log_head *head, size_t bytes);
void khd_log_kick(struct khd_store *store);
void khd_log_want(struct khd_store *store, uint64_t lsn);
bool khd_log_claim(struct khd_store *store);
void khd_log_release(struct khd_store *store, uint64_t tail);

/* ---------------------------------------------------------------- checkpoint.c */

void khd_checkpoint_want(struct khd_store *store);
void khd_checkpoint_step(struct khd_store *store);
bool khd_checkpoint_gate(const struct khd_store *store, enum khd_op_kind kind); /* closed */
bool khd_checkpoint_waits(const struct khd_store *store); /* for memory, or room for the index */
void khd_checkpoint_abandon(struct khd_store *store);
bool khd_checkpoint_writes_super(const struct khd_store *store); /* right now */
void khd_super_fill(struct khd_store *store, struct khd_block *block, bool clean);

/* ---------------------------------------------------------------- index.c */

struct khd_row {
	struct khd_key key;
	uint64_t version, token, lsn, slot;
	uint32_t crc;
	struct khd_unit *unit;
};
struct khd_index_meta {
	uint64_t checkpoint, lsn, tail, sequence;
	uint32_t previous;
	uint8_t uuid[16];
};
struct khd_segment_row {
	uint32_t number, live;
	uint8_t class, last;
	void *bits; /* live ones */
	size_t bytes;
};

/* All of these block, and belong into jobs or into start.  0 or a negative errno. */
int khd_index_reserve(struct khd_disk *disk, uint64_t bytes);
int khd_index_open(struct khd_store *store, bool create);
void khd_index_close(struct khd_store *store);
/* Out of service: the index, of which a call gave @ret, is damaged, or its disk fails. */
void khd_index_fail(struct khd_store *store, int ret, const char *what);
void khd_index_tell(struct khd_store *store); /* what SQLite's VFS reported: an event */
int khd_index_meta(struct khd_index *index, struct khd_index_meta *meta);
int khd_index_set_meta(struct khd_index *index, const struct khd_index_meta *meta);
int khd_index_begin(struct khd_index *index);
int khd_index_commit(struct khd_index *index);
int khd_index_rollback(struct khd_index *index);
bool khd_index_open_transaction(const struct khd_index *index); /* is there one? */
int khd_index_tidy(struct khd_index *index); /* SQLite's log into its database */
int khd_index_find(struct khd_index *index, struct khd_row *row); /* -ENOENT */
int khd_index_store(struct khd_index *index, const struct khd_row *row);
int khd_index_delete(struct khd_index *index, const struct khd_key *key);
/* Up to @max rows of the purge behind @after (NULL: from its beginning); the count. */
int khd_index_scan(struct khd_index *index, const struct khd_purge *purge,
		   const struct khd_key *after, struct khd_row *rows, unsigned int max);
int khd_index_store_range(struct khd_index *index, const struct khd_extent *extent);
int khd_index_delete_range(struct khd_index *index, uint64_t slot);
int khd_index_store_parked(struct khd_index *index, const struct khd_parked_unit *parked);
int khd_index_delete_parked(struct khd_index *index, uint64_t id);
int khd_index_store_segment(struct khd_index *index, const struct khd_segment_row *row);
int khd_index_load_bits(struct khd_index *index, uint32_t segment, void *bits, size_t bytes);
int khd_index_load(struct khd_store *store); /* ranges, segments, parked: into RAM */

/* ---------------------------------------------------------------- parked.c */

struct khd_parked_unit *khd_parked_find(struct khd_store *store, uint64_t id); /* or behind */
int khd_parked_insert(struct khd_store *store, const struct khd_parked_unit *parked);
void khd_parked_remove(struct khd_store *store, uint64_t id);
void khd_parked_from_record(const struct khd_record *rec, struct khd_parked_unit *parked);
bool khd_parked_assign(struct khd_op *op); /* false: it stalls */
void khd_parked_apply(struct khd_op *op);

/* ---------------------------------------------------------------- compact.c */

uint64_t khd_compact_tick(struct khd_store *store); /* when the next one is due */
void khd_compact_free(struct khd_store *store);
uint32_t khd_compact_empties(const struct khd_store *store, unsigned int class);
void khd_compact_cancel(struct khd_store *store);
bool khd_compact_busy(const struct khd_store *store);

/* ---------------------------------------------------------------- scrub.c */

uint64_t khd_scrub_tick(struct khd_store *store);
void khd_scrub_free(struct khd_store *store);
bool khd_scrub_busy(const struct khd_store *store);

/* ---------------------------------------------------------------- walk.c */

/**
 * struct khd_walk - every slot on the disk, whatever the index says
 * @slot: each; @block is verified for its place, @data NULL unless @data is asked for and the block
 *	is a unit's.  0 or a negative errno, which ends the walk
 * @bad: blocks that are neither empty nor whole
 */
struct khd_walk {
	struct khd_store *store;
	int (*slot)(struct khd_walk *walk, uint32_t segment, uint64_t at,
		    const struct khd_block *block, const void *data);
	bool data;
	uint64_t bad;
};
/* NULL, or why @block, which lies at @at, is not one of the segment's two. */
const char *khd_segment_wrong(const struct khd_store *store, uint32_t segment, uint64_t at,
			      const struct khd_block *block);
/* Class of a segment by its own block: NONE, or -EBADMSG if both copies are damaged. */
int khd_walk_class(struct khd_store *store, uint32_t segment, bool tell);
int khd_walk(struct khd_walk *walk);

/* ---------------------------------------------------------------- recover.c */

/**
 * struct khd_log_scan - what the log says, before anything is served
 * @records: in order; what is in the index, and what an earlier recovery discarded, left out
 * @head: offset of the end, where the next block goes
 * @sequence: of the next block
 * @previous: CRC of the last
 * @durable: highest claim
 * @last: lsn of the last record
 * @floor: lsn before the first of @records
 * @holes: records are missing that were acknowledged
 */
struct khd_log_scan {
	KHD_VECTOR(struct khd_record) records;
	uint64_t head, sequence, durable, last, floor;
	uint32_t previous;
	bool holes;
};
struct khd_store *khd_store_alloc(struct khd_disk *disk, const struct khd_store_config *config,
				  khd_store_event *event, void *arg);
void khd_store_free(struct khd_store *store);
int khd_block_read_now(struct khd_store *store, uint64_t at, struct khd_block *block);
int khd_block_write_now(struct khd_store *store, uint64_t at, const struct khd_block *block);
/* Can a store be of the sizes that it has? */
bool khd_geometry_valid(const struct khd_store *store);
int khd_super_load(struct khd_store *store, struct khd_block *super, unsigned int *bad);
int khd_super_write(struct khd_store *store, bool clean);
void khd_super_mark(struct khd_store *store); /* that its disk failed, as far as that goes */
int khd_history_load(struct khd_store *store, uint64_t count, bool lenient);
int khd_history_add(struct khd_store *store, uint64_t first, uint64_t last);
bool khd_history_has(const struct khd_store *store, uint64_t lsn);
int khd_file_use(struct khd_store *store); /* its size, and the segments that it has */
int khd_recover(struct khd_store *store, struct khd_log_scan *scan, bool *clean, unsigned int *bad,
		uint64_t *discarded);
int khd_history_close(struct khd_store *store);
bool khd_history_presses(const struct khd_store *store);
int khd_history_rewrite(struct khd_store *store);
int khd_store_sweep(struct khd_store *store); /* walk.c: what the history speaks of, away */
/* -EBADMSG: damaged, unless @lenient: then what is left */
int khd_log_scan(struct khd_store *store, const struct khd_index_meta *meta, bool lenient,
		 struct khd_log_scan *scan);
int khd_log_cut(struct khd_store *store, struct khd_log_scan *scan, uint64_t *last);

#endif /* KHD_STORE_STORE_PRIV_H */
