// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * checkpoint.c - what RAM has, and the index has not, goes into the index; then the log is cut
 *
 *	IDLE ---------> PURGING		khd_checkpoint_step(): wanted
 *	PURGING ------> DRAINING	drain(): slots of released units are found, bitmaps loaded
 *	DRAINING -----> SEALING		freeze(): nothing is under way, nor any bitmap to load
 *	SEALING ------> DESCRIPTORS	what is frozen is durable
 *	DESCRIPTORS --> FLUSHING	blocks of changed ranges, and tombs, are written
 *	FLUSHING -----> INDEX		and durable
 *	INDEX --------> SUPER		index_done(): committed
 *	SUPER --------> IDLE		finish(): the superblock moved the tail; slots are given back
 *
 *	PURGING, DRAINING -> WAITING	held_up(): no memory, or no room for the index
 *	WAITING ------> PURGING		go_on(): a second later
 *
 * DESCRIPTORS, INDEX and SUPER wait for memory or room where they are: what is frozen stays, the
 * transaction begins anew. Nothing is held up meanwhile, until the log is full. Only what comes
 * behind a commit does not wait: SQLite's log is then emptied before the next transaction begins.
 *
 * Until the superblock is durable nothing that the old one refers to was overwritten, but for
 * descriptors, of which the log says what they become.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/freeze.h"

#define ROWS_A_JOB 256u
#define BLOCKS_AT_ONCE 32u
#define LOADS_AT_ONCE 16u /* of bitmaps */

/* Steps of the transaction. */
enum step {
	STEP_BEGIN,
	STEP_PURGE,
	STEP_ROWS,
	STEP_RANGES,
	STEP_TOMBS,
	STEP_PARKED,
	STEP_DISCARDED,
	STEP_SEGMENTS,
	STEP_COMMIT,
	STEP_TIDY,
	STEP_END,
};

/**
 * struct khd_ckpt - a checkpoint under way
 * @frozen: what it writes, as it was at one moment
 * @at: cursor of the current step, or of the descriptors
 * @after: where the scan of a purge goes on
 * @purged: how many were dead when all purges were scanned
 * @asked, @loaded: up to which of the dead bitmaps were asked for, and are there
 */
struct khd_ckpt {
	struct khd_job_of of;
	struct khd_disk_io flush;
	struct khd_frozen frozen;
	KHD_VECTOR(struct khd_purge) purge;
	enum step step;
	size_t at;
	struct khd_key after;
	size_t purged, asked, loaded;
	bool has_after, busy, clean, super_first;
	bool waiting; /* for memory, or room for the index */
	bool untidy; /* SQLite's log may hold a transaction; the job's while it runs */
	bool filled; /* the store's fields are the new superblock's */
	bool super_out; /* a superblock is being written */
	unsigned int blocks; /* under way */
	int ret, found;
	struct khd_row scanned[ROWS_A_JOB];
};

void khd_checkpoint_want(struct khd_store *store)
{
	store->ckpt_wanted = true;
}

bool khd_checkpoint_gate(const struct khd_store *store, enum khd_op_kind kind)
{
	return store->ckpt == KHD_CKPT_DRAINING ||
	       (store->ckpt == KHD_CKPT_PURGING && kind == KHD_OP_RELEASE);
}

bool khd_checkpoint_waits(const struct khd_store *store)
{
	return store->run && store->run->waiting;
}

bool khd_checkpoint_writes_super(const struct khd_store *store)
{
	return store->run && store->run->super_out;
}

/* Where it is, or, before anything is frozen, with an open gate. */
static void held_up(struct khd_store *store, int err)
{
	if (store->ckpt == KHD_CKPT_PURGING || store->ckpt == KHD_CKPT_DRAINING)
		store->ckpt = KHD_CKPT_WAITING;
	store->run->waiting = true;
	khd_store_want(store, err, "checkpoint");
}

void khd_checkpoint_abandon(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	if (!c)
		return;
	khd_frozen_free(&c->frozen);
	free(c->purge.at);
	free(c);
	store->run = NULL;
}

/* ---------------------------------------------------------------- PURGING */

static void scan_run(struct khd_job *job)
{
	struct khd_ckpt *c = kh_container(job, struct khd_ckpt, of.job);

	c->found = khd_index_scan(c->of.store->index, &c->purge.at[c->at],
				  c->has_after ? &c->after : NULL, c->scanned, ROWS_A_JOB);
}

static void scan_next(struct khd_store *store);

static void scan_done(struct khd_job *job)
{
	struct khd_ckpt *c = kh_container(job, struct khd_ckpt, of.job);
	struct khd_store *store = c->of.store;
	int i;

	khd_store_enter(store);
	store->jobs--;
	c->busy = false;
	if (khd_is_want(-c->found)) {
		held_up(store, -c->found);
	} else if (c->found > 0 && !khd_room(&store->dead, (size_t)c->found)) {
		held_up(store, ENOMEM);
	} else if (c->found < 0) {
		khd_index_fail(store, c->found, "index: units of a released range");
	} else if (c->found) {
		for (i = 0; i < c->found; i++)
			khd_space_dead(store, c->scanned[i].slot, false);
		c->after = c->scanned[c->found - 1].key;
		c->has_after = true;
		scan_next(store);
	} else {
		c->at++;
		c->has_after = false;
		scan_next(store);
	}
	khd_store_leave(store);
}

static void scan_next(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	if (store->error)
		return;
	if (c->at == c->purge.count) {
		c->purged = store->dead.count;
		return;
	}
	c->busy = true;
	c->of = (struct khd_job_of){ { scan_run, scan_done, NULL }, store };
	khd_job(store, &c->of.job);
}

/* Those that came while it waited are looked up, too; the others are not again. */
static void purge(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	store->ckpt = KHD_CKPT_PURGING;
	if (!khd_room(&c->purge, store->purges.count - c->purge.count)) {
		held_up(store, ENOMEM);
		return;
	}
	while (c->purge.count < store->purges.count) {
		c->purge.at[c->purge.count] = store->purges.at[c->purge.count];
		c->purge.count++;
	}
	scan_next(store);
}

static void begin(struct khd_store *store)
{
	if (!khd_store_may_try(store))
		return;
	store->run = calloc(1, sizeof(*store->run));
	if (!store->run) {
		khd_store_want(store, ENOMEM, "checkpoint");
		return;
	}
	store->ckpt_wanted = false;
	purge(store);
}

/* ---------------------------------------------------------------- DRAINING */

/*
 * Of the first @count of the dead, which only grow in number until they are frozen; meanwhile no
 * bitmap goes.  Each is looked at twice, unless a load fails.
 */
static bool bitmaps_loaded(struct khd_store *store, size_t count)
{
	struct khd_ckpt *c = store->run;
	const struct khd_segment *seg;
	int segment;

	for (; c->asked < count && store->loads < LOADS_AT_ONCE; c->asked++) {
		segment = khd_space_segment_of(store, store->dead.at[c->asked].slot);
		if (segment >= 0 && !khd_space_load(store, (uint32_t)segment) &&
		    !store->segments.at[segment].loading)
			break; /* not now */
	}
	for (; c->loaded < count; c->loaded++) {
		segment = khd_space_segment_of(store, store->dead.at[c->loaded].slot);
		seg = segment < 0 ? NULL : &store->segments.at[segment];
		if (!seg || seg->bits || seg->class == KHD_CLASS_NONE)
			continue;
		if (!seg->loading && c->asked > c->loaded)
			c->asked = c->loaded; /* it failed: once more */
		return false;
	}
	return true;
}

/* Most bitmaps are loaded while puts go on; those of what dies meanwhile are few. */
static void drain(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	if (!c->busy && c->at == c->purge.count && bitmaps_loaded(store, c->purged))
		store->ckpt = KHD_CKPT_DRAINING;
}

/* Nothing has a number and is not applied: RAM is exactly what lsn_applied made of it. */
static void freeze(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	if (!khd_freeze_room(store, &c->frozen)) {
		held_up(store, ENOMEM);
		return;
	}
	khd_freeze(store, &c->frozen);
	c->clean = store->stopped;
	c->super_first = store->plant == KHD_PLANT_STALE_INDEX;
	store->purges.count = 0; /* releases waited: c->purge has all of them */
	c->at = 0;
	store->ckpt = KHD_CKPT_SEALING;
	khd_log_want(store, store->lsn_applied);
	khd_log_kick(store); /* perhaps nothing else will */
}

/* ---------------------------------------------------------------- DESCRIPTORS */

static void block_done(struct khd_store *store, struct khd_raw *raw, bool ok)
{
	store->run->blocks--;
}

/* A block over the one that the slot has; its unit, if it has one, stays. */
static bool write_tomb(struct khd_store *store, uint64_t slot)
{
	struct khd_ckpt *c = store->run;
	struct khd_block *block = khd_buffer(store->sector);
	int segment = khd_space_segment_of(store, slot);

	if (block)
		khd_block_seal(store, block, KHD_BLOCK_TOMB,
			       segment < 0 ? 0 : store->segments.at[segment].class, slot,
			       c->frozen.meta.lsn);
	return khd_raw_try(store, slot, block, store->sector, 0, block_done);
}

static bool write_descriptor(struct khd_store *store, const struct khd_extent *e)
{
	struct khd_block *block = khd_buffer(store->sector);

	if (block)
		khd_block_of_extent(store, block, e);
	return khd_raw_try(store, e->slot, block, store->sector, 0, block_done);
}

static void write_descriptors(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;
	size_t total = c->frozen.ranges.count + c->frozen.dead.count;

	while (c->at < total && c->blocks < BLOCKS_AT_ONCE && !store->error) {
		const struct khd_dead *dead =
			c->at < c->frozen.ranges.count ?
				NULL :
				&c->frozen.dead.at[c->at - c->frozen.ranges.count];

		if (dead && (!dead->tomb || store->plant == KHD_PLANT_FORGET_TOMBSTONE)) {
			c->at++;
			continue;
		}
		if (dead ? !write_tomb(store, dead->slot) :
			   !write_descriptor(store, &c->frozen.ranges.at[c->at])) {
			held_up(store, ENOMEM);
			return;
		}
		c->blocks++;
		c->at++;
	}
}

static void flush_done(struct khd_disk_io *io, int64_t res);

static void flush(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	c->busy = true;
	c->of.store = store;
	c->flush = (struct khd_disk_io){ .op = KHD_DISK_FLUSH,
					 .file = KHD_FILE_SLOTS,
					 .done = flush_done };
	khd_io(store, &c->flush);
}

/* ---------------------------------------------------------------- INDEX */

static int purge_rows(struct khd_ckpt *c, struct khd_index *index)
{
	int ret = 0, i,
	    n = khd_index_scan(index, &c->purge.at[c->at], c->has_after ? &c->after : NULL,
			       c->scanned, ROWS_A_JOB);

	for (i = 0; i < n && !ret; i++)
		ret = khd_index_delete(index, &c->scanned[i].key);
	if (n > 0)
		c->after = c->scanned[n - 1].key;
	c->has_after = n > 0;
	if (!n)
		c->at++;
	return n < 0 ? n : ret;
}

static size_t step_count(const struct khd_ckpt *c)
{
	switch (c->step) {
	case STEP_PURGE:
		return c->purge.count;
	case STEP_ROWS:
		return c->frozen.rows.count;
	case STEP_RANGES:
		return c->frozen.ranges.count;
	case STEP_TOMBS:
		return c->frozen.dead.count;
	case STEP_PARKED:
		return c->frozen.parked.count;
	case STEP_DISCARDED:
		return c->frozen.discarded.count;
	case STEP_SEGMENTS:
		return c->frozen.segments.count;
	default:
		return 1;
	}
}

static int empty_log(struct khd_ckpt *c, struct khd_index *index)
{
	int ret = khd_index_tidy(index);

	if (!ret)
		c->untidy = false;
	return ret;
}

/* The index's log has room for one transaction. */
static int begin_transaction(struct khd_ckpt *c, struct khd_index *index)
{
	int ret = khd_index_rollback(index);

	if (!ret && c->untidy)
		ret = empty_log(c, index);
	return ret ? ret : khd_index_begin(index);
}

/* One item of the current step. */
static int one(struct khd_ckpt *c, struct khd_index *index)
{
	size_t at = c->at;
	int ret;

	/* undone for a look-up's want of memory: what was stored would be lost, and meta not */
	if (c->step > STEP_BEGIN && c->step <= STEP_COMMIT && !khd_index_open_transaction(index))
		return -ENOMEM;
	if (c->step == STEP_PURGE)
		return purge_rows(c, index);
	c->at++;
	switch (c->step) {
	case STEP_BEGIN:
		return begin_transaction(c, index);
	case STEP_ROWS:
		return khd_index_store(index, &c->frozen.rows.at[at]);
	case STEP_RANGES:
		return khd_index_store_range(index, &c->frozen.ranges.at[at]);
	case STEP_TOMBS:
		return c->frozen.dead.at[at].tomb ?
			       khd_index_delete_range(index, c->frozen.dead.at[at].slot) :
			       0;
	case STEP_PARKED:
		return khd_index_store_parked(index, &c->frozen.parked.at[at]);
	case STEP_DISCARDED:
		return khd_index_delete_parked(index, c->frozen.discarded.at[at]);
	case STEP_SEGMENTS:
		return khd_index_store_segment(index, &c->frozen.segments.at[at]);
	case STEP_COMMIT:
		c->untidy = true; /* also if the commit lacked memory at its end */
		ret = khd_index_set_meta(index, &c->frozen.meta);
		return ret ? ret : khd_index_commit(index);
	case STEP_TIDY:
		return empty_log(c, index);
	default:
		return 0;
	}
}

/* A part of the transaction: look-ups go in between. */
static void index_run(struct khd_job *job)
{
	struct khd_ckpt *c = kh_container(job, struct khd_ckpt, of.job);
	unsigned int items = 0;

	while (!c->ret && c->step != STEP_END && items < ROWS_A_JOB) {
		if (c->at == step_count(c)) {
			c->step++;
			c->at = 0;
			if (c->step >= STEP_COMMIT)
				break;
			continue;
		}
		items += c->step == STEP_PURGE ? ROWS_A_JOB : 1;
		c->ret = one(c, c->of.store->index);
	}
	if (khd_is_want(-c->ret) && c->step <= STEP_COMMIT)
		khd_index_rollback(c->of.store->index); /* else when it begins anew */
}

static void index_next(struct khd_store *store);

/*
 * All of the transaction again: whatever of it there is, is the same. What lacks behind a commit
 * keeps nothing from becoming durable: it is the next transaction's.
 */
static void index_wants(struct khd_store *store, int err)
{
	struct khd_ckpt *c = store->run;

	c->ret = 0;
	if (c->step > STEP_COMMIT) {
		khd_store_want(store, err, "checkpoint");
		if (!store->error)
			index_next(store);
		return;
	}
	held_up(store, err);
	c->step = STEP_BEGIN;
	c->at = 0;
	c->has_after = false;
	c->untidy = true; /* perhaps it was committed */
}

static void index_done(struct khd_job *job)
{
	struct khd_ckpt *c = kh_container(job, struct khd_ckpt, of.job);
	struct khd_store *store = c->of.store;

	khd_store_enter(store);
	store->jobs--;
	c->busy = false;
	if (khd_is_want(-c->ret))
		index_wants(store, -c->ret);
	else if (c->ret)
		khd_index_fail(store, c->ret, "index");
	else
		index_next(store);
	khd_store_leave(store);
}

static void write_super(struct khd_store *store);
static void finish(struct khd_store *store);

static void index_next(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	if (c->step == STEP_END) {
		if (c->super_first)
			finish(store);
		else
			write_super(store);
		return;
	}
	c->busy = true;
	c->of = (struct khd_job_of){ { index_run, index_done, NULL }, store };
	khd_job(store, &c->of.job);
}

static void enter_index(struct khd_store *store)
{
	store->ckpt = KHD_CKPT_INDEX;
	/* a crash may have left a transaction in the log */
	store->run->untidy = store->untidy || !store->stats.checkpoints;
	store->run->step = STEP_BEGIN;
	store->run->at = 0;
	index_next(store);
}

/* ---------------------------------------------------------------- SUPER */

void khd_super_fill(struct khd_store *store, struct khd_block *block, bool clean)
{
	uint64_t at = (store->super_sequence % KHD_SUPERS) * KHD_SUPER_STRIDE;

	memset(block, 0, sizeof(*block));
	block->super = (struct khd_block_super){
		.sequence = htole64(store->super_sequence),
		.capacity = htole64(store->capacity),
		.segment = htole64(store->segment_bytes),
		.log_bytes = htole64(store->log_bytes),
		.segments_at = htole64(store->segments_at),
		.checkpoint = htole64(store->checkpoint),
		.tail_at = htole64(store->log.tail),
		.tail_sequence = htole64(store->log.tail_sequence),
		.lsn_next = htole64(store->lsn_next),
		.history = htole64(store->history.count),
		.tail_previous = htole32(store->log.tail_previous),
		.sector = htole32(store->sector),
		.clean = htole32(clean),
		.failed = htole32(store->failed),
		.checks = htole64(store->checks),
	};
	khd_block_seal(store, block, KHD_BLOCK_SUPER, 0, at, store->lsn_checkpoint);
}

static void super_done(struct khd_store *store, struct khd_raw *raw, bool ok)
{
	store->run->busy = store->run->super_out = false;
	if (ok && !store->error)
		flush(store);
	else
		khd_super_mark(store);
}

/* The store's own fields become the new ones; the ring is only released when they are durable. */
static void write_super(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;
	struct khd_block *block = khd_buffer(store->sector);

	store->ckpt = KHD_CKPT_SUPER;
	if (!c->filled)
		store->super_sequence++;
	c->filled = true;
	store->checkpoint = c->frozen.meta.checkpoint;
	store->lsn_checkpoint = c->frozen.meta.lsn;
	store->log.tail = c->frozen.meta.tail;
	store->log.tail_sequence = c->frozen.meta.sequence;
	store->log.tail_previous = c->frozen.meta.previous;
	if (block)
		khd_super_fill(store, block, c->clean);
	if (khd_raw_try(store, (store->super_sequence % KHD_SUPERS) * KHD_SUPER_STRIDE, block,
			store->sector, 0, super_done))
		c->busy = c->super_out = true;
	else
		held_up(store, ENOMEM);
}

static void finish(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	khd_log_release(store, c->frozen.meta.tail);
	khd_frozen_durable(store, &c->frozen);
	store->stats.checkpoints++;
	store->untidy = c->untidy;
	khd_store_wants_nothing(store);
	khd_store_resized(store);
	store->ckpt_at = 0;
	store->ckpt = KHD_CKPT_IDLE;
	khd_checkpoint_abandon(store);
}

static void flush_done(struct khd_disk_io *io, int64_t res)
{
	struct khd_ckpt *c = kh_container(io, struct khd_ckpt, flush);
	struct khd_store *store = c->of.store;

	khd_store_enter(store);
	store->ios--;
	c->busy = false;
	if (res < 0)
		khd_store_fail(store, EIO, "flush", 0);
	else if (store->error)
		; /* out of service */
	else if (store->ckpt == KHD_CKPT_FLUSHING && c->super_first)
		write_super(store);
	else if (store->ckpt == KHD_CKPT_FLUSHING || c->super_first)
		enter_index(store);
	else
		finish(store);
	khd_store_leave(store);
}

/* What lacked memory, or room, once more.  DESCRIPTORS go on by themselves. */
static void go_on(struct khd_store *store)
{
	store->run->waiting = false;
	if (store->ckpt == KHD_CKPT_WAITING)
		purge(store);
	else if (store->ckpt == KHD_CKPT_INDEX)
		index_next(store);
	else if (store->ckpt == KHD_CKPT_SUPER)
		write_super(store);
}

void khd_checkpoint_step(struct khd_store *store)
{
	struct khd_ckpt *c = store->run;

	if (store->error)
		return;
	if (store->untidy && store->ckpt == KHD_CKPT_IDLE && khd_store_may_try(store))
		khd_checkpoint_want(store); /* whatever else there is to do */
	if (c && c->waiting) {
		if (!khd_store_may_try(store))
			return;
		go_on(store);
	}
	if (store->ckpt == KHD_CKPT_IDLE && store->ckpt_wanted) {
		begin(store);
		c = store->run;
	}
	if (store->ckpt == KHD_CKPT_PURGING)
		drain(store);
	if (store->ckpt == KHD_CKPT_DRAINING && bitmaps_loaded(store, store->dead.count) &&
	    kh_list_empty(&store->order) && !store->error)
		freeze(store);
	if ((store->ckpt == KHD_CKPT_DRAINING ||
	     (store->ckpt == KHD_CKPT_PURGING && !store->run->busy)) &&
	    !khd_store_may_try(store))
		held_up(store, store->want); /* a bitmap does */
	c = store->run;
	if (store->ckpt == KHD_CKPT_SEALING && !store->error &&
	    store->lsn_durable >= c->frozen.meta.lsn && !store->headers) {
		store->ckpt = KHD_CKPT_DESCRIPTORS;
		c->at = 0;
	}
	if (store->ckpt == KHD_CKPT_DESCRIPTORS && !store->error) {
		write_descriptors(store);
		if (!c->blocks && c->at == c->frozen.ranges.count + c->frozen.dead.count &&
		    !store->error) {
			store->ckpt = KHD_CKPT_FLUSHING;
			flush(store);
		}
	}
}
