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

#include "khd/store/store_priv.h"

#define ROWS_A_JOB 256u
#define BLOCKS_AT_ONCE 32u
#define LOADS_AT_ONCE 16u /* of bitmaps */

/* Steps of the transaction. */
enum frozen_step {
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
 * struct khd_frozen - a checkpoint under way: what it writes, as it was at one moment
 * @meta: of the index
 * @previous: CRC of the log block before the new tail
 * @at: cursor of the current step, or of the descriptors
 * @after: where the scan of a purge goes on
 * @purged: how many were dead when all purges were scanned
 * @asked, @loaded: up to which of the dead bitmaps were asked for, and are there
 */
struct khd_frozen {
	struct khd_job_of of;
	struct khd_disk_io flush;
	struct khd_index_meta meta;
	KHD_VECTOR(struct khd_row) rows;
	KHD_VECTOR(struct khd_extent) ranges;
	KHD_VECTOR(struct khd_dead) dead;
	KHD_VECTOR(struct khd_parked_unit) parked;
	KHD_VECTOR(uint64_t) discarded;
	KHD_VECTOR(struct khd_segment_row) segments;
	KHD_VECTOR(struct khd_purge) purge;
	void **bits; /* by segment: memory for its row */
	size_t bits_count;
	enum frozen_step step;
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

bool khd_checkpoint_writes_super(const struct khd_store *store)
{
	return store->frozen && store->frozen->super_out;
}

/* Where it is, or, before anything is frozen, with an open gate. */
static void held_up(struct khd_store *store, int err)
{
	if (store->ckpt == KHD_CKPT_PURGING || store->ckpt == KHD_CKPT_DRAINING)
		store->ckpt = KHD_CKPT_WAITING;
	store->frozen->waiting = true;
	khd_store_want(store, err, "checkpoint");
}

static void free_bits(struct khd_frozen *f)
{
	size_t i;

	for (i = 0; i < f->bits_count; i++)
		free(f->bits[i]);
	free(f->bits);
	f->bits = NULL;
	f->bits_count = 0;
}

void khd_checkpoint_abandon(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;
	size_t i;

	if (!f)
		return;
	for (i = 0; i < f->segments.count; i++)
		free(f->segments.at[i].bits);
	free_bits(f);
	free(f->rows.at);
	free(f->ranges.at);
	free(f->dead.at);
	free(f->parked.at);
	free(f->discarded.at);
	free(f->segments.at);
	free(f->purge.at);
	free(f);
	store->frozen = NULL;
}

/* ---------------------------------------------------------------- PURGING */

static void scan_run(struct khd_job *job)
{
	struct khd_frozen *f = kh_container(job, struct khd_frozen, of.job);

	f->found = khd_index_scan(f->of.store->index, &f->purge.at[f->at],
				  f->has_after ? &f->after : NULL, f->scanned, ROWS_A_JOB);
}

static void scan_next(struct khd_store *store);

static void scan_done(struct khd_job *job)
{
	struct khd_frozen *f = kh_container(job, struct khd_frozen, of.job);
	struct khd_store *store = f->of.store;
	int i;

	khd_store_enter(store);
	store->jobs--;
	f->busy = false;
	if (khd_is_want(-f->found)) {
		held_up(store, -f->found);
	} else if (f->found > 0 && !khd_room(&store->dead, (size_t)f->found)) {
		held_up(store, ENOMEM);
	} else if (f->found < 0) {
		khd_store_fail(store, EIO, "index: units of a released range", 0);
	} else if (f->found) {
		for (i = 0; i < f->found; i++)
			khd_space_dead(store, f->scanned[i].slot, false);
		f->after = f->scanned[f->found - 1].key;
		f->has_after = true;
		scan_next(store);
	} else {
		f->at++;
		f->has_after = false;
		scan_next(store);
	}
	khd_store_leave(store);
}

static void scan_next(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;

	if (store->error)
		return;
	if (f->at == f->purge.count) {
		f->purged = store->dead.count;
		return;
	}
	f->busy = true;
	f->of = (struct khd_job_of){ { scan_run, scan_done, NULL }, store };
	khd_job(store, &f->of.job);
}

/* Those that came while it waited are looked up, too; the others are not again. */
static void purge(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;

	store->ckpt = KHD_CKPT_PURGING;
	if (!khd_room(&f->purge, store->purges.count - f->purge.count)) {
		held_up(store, ENOMEM);
		return;
	}
	while (f->purge.count < store->purges.count) {
		f->purge.at[f->purge.count] = store->purges.at[f->purge.count];
		f->purge.count++;
	}
	scan_next(store);
}

static void begin(struct khd_store *store)
{
	if (!khd_store_may_try(store))
		return;
	store->frozen = calloc(1, sizeof(*store->frozen));
	if (!store->frozen) {
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
	struct khd_frozen *f = store->frozen;
	const struct khd_segment *seg;
	int segment;

	for (; f->asked < count && store->loads < LOADS_AT_ONCE; f->asked++) {
		segment = khd_space_segment_of(store, store->dead.at[f->asked].slot);
		if (segment >= 0 && !khd_space_load(store, (uint32_t)segment) &&
		    !store->segments.at[segment].loading)
			break; /* not now */
	}
	for (; f->loaded < count; f->loaded++) {
		segment = khd_space_segment_of(store, store->dead.at[f->loaded].slot);
		seg = segment < 0 ? NULL : &store->segments.at[segment];
		if (!seg || seg->bits || seg->class == KHD_CLASS_NONE)
			continue;
		if (!seg->loading && f->asked > f->loaded)
			f->asked = f->loaded; /* it failed: once more */
		return false;
	}
	return true;
}

/* Most bitmaps are loaded while puts go on; those of what dies meanwhile are few. */
static void drain(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;

	if (!f->busy && f->at == f->purge.count && bitmaps_loaded(store, f->purged))
		store->ckpt = KHD_CKPT_DRAINING;
}

/* A segment's row, for which a change of its bitmap is enough. */
static bool room_for_bits(struct khd_store *store, struct khd_frozen *f)
{
	size_t i;

	free_bits(f);
	f->bits = calloc(store->segments.count + 1, sizeof(*f->bits));
	if (!f->bits)
		return false;
	f->bits_count = store->segments.count;
	for (i = 0; i < f->bits_count; i++) {
		const struct khd_segment *seg = &store->segments.at[i];

		if (!seg->dirty || seg->zeroing)
			continue;
		f->bits[i] =
			malloc(khd_space_words(store->class[seg->class].slots) * sizeof(uint64_t));
		if (!f->bits[i])
			return false;
	}
	return true;
}

static void touch_segment(struct khd_store *store, uint64_t slot)
{
	int segment = khd_space_segment_of(store, slot);

	if (segment >= 0 && store->segments.at[segment].bits)
		store->segments.at[segment].dirty = true;
}

/* All the memory that freeze() takes, so that it does all or nothing. */
static bool freeze_room(struct khd_store *store, struct khd_frozen *f)
{
	const struct khd_unit *unit;
	size_t i;

	for (i = 0; i < store->segments.count; i++)
		if (store->segments.at[i].headless && store->segments.at[i].class) {
			khd_space_write_headers(store, (uint32_t)i);
			if (store->segments.at[i].headless)
				return false;
		}
	for (i = 0; i < store->dead.count; i++)
		touch_segment(store, store->dead.at[i].slot);
	kh_list_each (unit, &store->dirty, link)
		touch_segment(store, unit->slot);
	return khd_room(&store->dead, store->dirty_count) &&
	       khd_room(&f->dead, store->dead.count + store->dirty_count) &&
	       khd_room(&f->rows, store->dirty_count) &&
	       khd_room(&f->ranges, store->ranges.count) &&
	       khd_room(&f->parked, store->parked.count) &&
	       khd_room(&f->discarded, store->discarded.count) &&
	       khd_room(&f->segments, store->segments.count) && room_for_bits(store, f);
}

static void freeze_units(struct khd_store *store, struct khd_frozen *f)
{
	while (!kh_list_empty(&store->dirty)) {
		struct khd_unit *unit = kh_list_first(&store->dirty, struct khd_unit, link);
		struct khd_extent *e = khd_range_find(store, &unit->key);

		unit->pins++;
		khd_unit_clean(store, unit);
		if (!e || !khd_unit_stored(unit, e)) { /* released since */
			khd_space_dead(store, unit->slot, false);
			unit->version = 0;
			khd_unit_put(store, unit);
			continue;
		}
		*khd_next(&f->rows) = (struct khd_row){ .key = unit->key,
							.version = unit->version,
							.token = unit->token,
							.lsn = unit->lsn,
							.slot = unit->slot,
							.crc = unit->crc,
							.unit = unit };
	}
}

static void freeze_ranges(struct khd_store *store, struct khd_frozen *f)
{
	size_t i;

	for (i = 0; i < store->ranges.count; i++) {
		struct khd_extent *e = &store->ranges.at[i];

		if (e->touched)
			e->fresh = e->touched = false;
		if (!e->dirty)
			continue;
		e->dirty = false;
		*khd_next(&f->ranges) = *e;
	}
	for (i = 0; i < store->parked.count; i++) {
		struct khd_parked_unit *p = &store->parked.at[i];

		if (!p->dirty)
			continue;
		p->dirty = false;
		*khd_next(&f->parked) = *p;
	}
	for (i = 0; i < store->discarded.count; i++)
		*khd_next(&f->discarded) = store->discarded.at[i];
	store->discarded.count = 0;
}

static void freeze_segment(struct khd_store *store, struct khd_frozen *f, uint32_t number)
{
	struct khd_segment *seg = &store->segments.at[number];
	struct khd_segment_row *row;

	/* one that is not yet zeroed is still the pool's, and has to be zeroed after a crash */
	if (!seg->dirty || seg->zeroing)
		return;
	seg->dirty = false;
	row = khd_next(&f->segments);
	*row = (struct khd_segment_row){ .number = number, .live = seg->live, .last = seg->last };
	if (seg->retiring)
		return;
	row->class = seg->class;
	row->bytes = khd_space_words(store->class[seg->class].slots) * sizeof(uint64_t);
	row->bits = f->bits[number];
	f->bits[number] = NULL;
	memcpy(row->bits, seg->bits, row->bytes);
}

/* Empty segments that their class does not need go to the pool. */
static void retire(struct khd_store *store)
{
	uint32_t spare[KHD_CLASSES] = { 0 };
	size_t i = store->segments.count;
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++) {
		uint32_t need = khd_space_need(store, class, store->class[class].units);

		if (store->class[class].held > need)
			spare[class] = store->class[class].held - need;
	}
	while (i--) {
		struct khd_segment *seg = &store->segments.at[i];
		bool beyond = i >= store->segments_max;

		if (seg->class == KHD_CLASS_NONE || seg->live || seg->zeroing ||
		    (!spare[seg->class] && !beyond))
			continue;
		if (spare[seg->class])
			spare[seg->class]--;
		seg->retiring = seg->dirty = true;
	}
}

/* Nothing has a number and is not applied: RAM is exactly what lsn_applied made of it. */
static void freeze(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;
	size_t i;

	if (!freeze_room(store, f)) {
		held_up(store, ENOMEM);
		return;
	}
	f->meta = (struct khd_index_meta){ .checkpoint = store->checkpoint + 1,
					   .lsn = store->lsn_applied,
					   .tail = store->log.head,
					   .sequence = store->log.sequence,
					   .previous = store->log.previous };
	memcpy(f->meta.uuid, store->uuid, sizeof(f->meta.uuid));
	f->clean = store->stopped;
	f->super_first = store->plant == KHD_PLANT_STALE_INDEX;
	freeze_units(store, f);
	freeze_ranges(store, f);
	for (i = 0; i < store->dead.count; i++) {
		*khd_next(&f->dead) = store->dead.at[i];
		khd_space_clear_live(store, store->dead.at[i].slot);
	}
	store->dead.count = 0;
	retire(store);
	for (i = 0; i < store->segments.count; i++)
		freeze_segment(store, f, (uint32_t)i);
	free_bits(f);
	store->purges.count = 0; /* releases waited: f->purge has all of them */
	f->at = 0;
	store->ckpt = KHD_CKPT_SEALING;
	khd_log_want(store, store->lsn_applied);
	khd_log_kick(store); /* perhaps nothing else will */
}

/* ---------------------------------------------------------------- DESCRIPTORS */

static void block_done(struct khd_store *store, struct khd_raw *raw, bool ok)
{
	store->frozen->blocks--;
}

/* A block over the one that the slot has; its unit, if it has one, stays. */
static bool write_tomb(struct khd_store *store, uint64_t slot)
{
	struct khd_frozen *f = store->frozen;
	struct khd_block *block = khd_buffer(store->sector);
	int segment = khd_space_segment_of(store, slot);

	if (block)
		khd_block_seal(store, block, KHD_BLOCK_TOMB,
			       segment < 0 ? 0 : store->segments.at[segment].class, slot,
			       f->meta.lsn);
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
	struct khd_frozen *f = store->frozen;
	size_t total = f->ranges.count + f->dead.count;

	while (f->at < total && f->blocks < BLOCKS_AT_ONCE && !store->error) {
		const struct khd_dead *dead =
			f->at < f->ranges.count ? NULL : &f->dead.at[f->at - f->ranges.count];

		if (dead && (!dead->tomb || store->plant == KHD_PLANT_FORGET_TOMBSTONE)) {
			f->at++;
			continue;
		}
		if (dead ? !write_tomb(store, dead->slot) :
			   !write_descriptor(store, &f->ranges.at[f->at])) {
			held_up(store, ENOMEM);
			return;
		}
		f->blocks++;
		f->at++;
	}
}

static void flush_done(struct khd_disk_io *io, int64_t res);

static void flush(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;

	f->busy = true;
	f->of.store = store;
	f->flush = (struct khd_disk_io){ .op = KHD_DISK_FLUSH,
					 .file = KHD_FILE_SLOTS,
					 .done = flush_done };
	khd_io(store, &f->flush);
}

/* ---------------------------------------------------------------- INDEX */

static int purge_rows(struct khd_frozen *f, struct khd_index *index)
{
	int ret = 0, i,
	    n = khd_index_scan(index, &f->purge.at[f->at], f->has_after ? &f->after : NULL,
			       f->scanned, ROWS_A_JOB);

	for (i = 0; i < n && !ret; i++)
		ret = khd_index_delete(index, &f->scanned[i].key);
	if (n > 0)
		f->after = f->scanned[n - 1].key;
	f->has_after = n > 0;
	if (!n)
		f->at++;
	return n < 0 ? n : ret;
}

static size_t step_count(const struct khd_frozen *f)
{
	switch (f->step) {
	case STEP_PURGE:
		return f->purge.count;
	case STEP_ROWS:
		return f->rows.count;
	case STEP_RANGES:
		return f->ranges.count;
	case STEP_TOMBS:
		return f->dead.count;
	case STEP_PARKED:
		return f->parked.count;
	case STEP_DISCARDED:
		return f->discarded.count;
	case STEP_SEGMENTS:
		return f->segments.count;
	default:
		return 1;
	}
}

static int empty_log(struct khd_frozen *f, struct khd_index *index)
{
	int ret = khd_index_tidy(index);

	if (!ret)
		f->untidy = false;
	return ret;
}

/* The index's log has room for one transaction. */
static int begin_transaction(struct khd_frozen *f, struct khd_index *index)
{
	int ret = khd_index_rollback(index);

	if (!ret && f->untidy)
		ret = empty_log(f, index);
	return ret ? ret : khd_index_begin(index);
}

/* One item of the current step. */
static int one(struct khd_frozen *f, struct khd_index *index)
{
	size_t at = f->at;
	int ret;

	/* undone for a look-up's want of memory: what was stored would be lost, and meta not */
	if (f->step > STEP_BEGIN && f->step <= STEP_COMMIT && !khd_index_open_transaction(index))
		return -ENOMEM;
	if (f->step == STEP_PURGE)
		return purge_rows(f, index);
	f->at++;
	switch (f->step) {
	case STEP_BEGIN:
		return begin_transaction(f, index);
	case STEP_ROWS:
		return khd_index_store(index, &f->rows.at[at]);
	case STEP_RANGES:
		return khd_index_store_range(index, &f->ranges.at[at]);
	case STEP_TOMBS:
		return f->dead.at[at].tomb ? khd_index_delete_range(index, f->dead.at[at].slot) : 0;
	case STEP_PARKED:
		return khd_index_store_parked(index, &f->parked.at[at]);
	case STEP_DISCARDED:
		return khd_index_delete_parked(index, f->discarded.at[at]);
	case STEP_SEGMENTS:
		return khd_index_store_segment(index, &f->segments.at[at]);
	case STEP_COMMIT:
		f->untidy = true; /* also if the commit lacked memory at its end */
		ret = khd_index_set_meta(index, &f->meta);
		return ret ? ret : khd_index_commit(index);
	case STEP_TIDY:
		return empty_log(f, index);
	default:
		return 0;
	}
}

/* A part of the transaction: look-ups go in between. */
static void index_run(struct khd_job *job)
{
	struct khd_frozen *f = kh_container(job, struct khd_frozen, of.job);
	unsigned int items = 0;

	while (!f->ret && f->step != STEP_END && items < ROWS_A_JOB) {
		if (f->at == step_count(f)) {
			f->step++;
			f->at = 0;
			if (f->step >= STEP_COMMIT)
				break;
			continue;
		}
		items += f->step == STEP_PURGE ? ROWS_A_JOB : 1;
		f->ret = one(f, f->of.store->index);
	}
	if (khd_is_want(-f->ret) && f->step <= STEP_COMMIT)
		khd_index_rollback(f->of.store->index); /* else when it begins anew */
}

static void index_next(struct khd_store *store);

/*
 * All of the transaction again: whatever of it there is, is the same. What lacks behind a commit
 * keeps nothing from becoming durable: it is the next transaction's.
 */
static void index_wants(struct khd_store *store, int err)
{
	struct khd_frozen *f = store->frozen;

	f->ret = 0;
	if (f->step > STEP_COMMIT) {
		khd_store_want(store, err, "checkpoint");
		if (!store->error)
			index_next(store);
		return;
	}
	held_up(store, err);
	f->step = STEP_BEGIN;
	f->at = 0;
	f->has_after = false;
	f->untidy = true; /* perhaps it was committed */
}

static void index_done(struct khd_job *job)
{
	struct khd_frozen *f = kh_container(job, struct khd_frozen, of.job);
	struct khd_store *store = f->of.store;

	khd_store_enter(store);
	store->jobs--;
	f->busy = false;
	if (khd_is_want(-f->ret))
		index_wants(store, -f->ret);
	else if (f->ret == -EBADMSG)
		khd_store_fail(store, EIO, "index damaged: stop, and rebuild it", 0);
	else if (f->ret)
		khd_store_fail(store, EIO, "index", 0);
	else
		index_next(store);
	khd_store_leave(store);
}

static void write_super(struct khd_store *store);
static void finish(struct khd_store *store);

static void index_next(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;

	if (f->step == STEP_END) {
		if (f->super_first)
			finish(store);
		else
			write_super(store);
		return;
	}
	f->busy = true;
	f->of = (struct khd_job_of){ { index_run, index_done, NULL }, store };
	khd_job(store, &f->of.job);
}

static void enter_index(struct khd_store *store)
{
	store->ckpt = KHD_CKPT_INDEX;
	/* a crash may have left a transaction in the log */
	store->frozen->untidy = store->untidy || !store->stats.checkpoints;
	store->frozen->step = STEP_BEGIN;
	store->frozen->at = 0;
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
	store->frozen->busy = store->frozen->super_out = false;
	if (ok && !store->error)
		flush(store);
	else
		khd_super_mark(store);
}

/* The store's own fields become the new ones; the ring is only released when they are durable. */
static void write_super(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;
	struct khd_block *block = khd_buffer(store->sector);

	store->ckpt = KHD_CKPT_SUPER;
	if (!f->filled)
		store->super_sequence++;
	f->filled = true;
	store->checkpoint = f->meta.checkpoint;
	store->lsn_checkpoint = f->meta.lsn;
	store->log.tail = f->meta.tail;
	store->log.tail_sequence = f->meta.sequence;
	store->log.tail_previous = f->meta.previous;
	if (block)
		khd_super_fill(store, block, f->clean);
	if (khd_raw_try(store, (store->super_sequence % KHD_SUPERS) * KHD_SUPER_STRIDE, block,
			store->sector, 0, super_done))
		f->busy = f->super_out = true;
	else
		held_up(store, ENOMEM);
}

static void finish(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;
	size_t i;

	khd_log_release(store, f->meta.tail);
	for (i = 0; i < f->rows.count; i++)
		khd_unit_put(store, f->rows.at[i].unit);
	for (i = 0; i < f->dead.count; i++)
		khd_space_give_back(store, f->dead.at[i].slot);
	for (i = 0; i < store->segments.count; i++) {
		struct khd_segment *seg = &store->segments.at[i];

		if (!seg->retiring)
			continue;
		if (seg->emptying)
			khd_compact_cancel(store);
		seg->retiring = seg->emptying = seg->pinned = false;
		store->class[seg->class].held--;
		seg->class = KHD_CLASS_NONE;
		seg->live = seg->taken = 0;
		free(seg->bits);
		seg->bits = NULL;
	}
	store->stats.checkpoints++;
	store->untidy = f->untidy;
	khd_store_wants_nothing(store);
	khd_store_resized(store);
	store->ckpt_at = 0;
	store->ckpt = KHD_CKPT_IDLE;
	khd_checkpoint_abandon(store);
}

static void flush_done(struct khd_disk_io *io, int64_t res)
{
	struct khd_frozen *f = kh_container(io, struct khd_frozen, flush);
	struct khd_store *store = f->of.store;

	khd_store_enter(store);
	store->ios--;
	f->busy = false;
	if (res < 0)
		khd_store_fail(store, EIO, "flush", 0);
	else if (store->error)
		; /* out of service */
	else if (store->ckpt == KHD_CKPT_FLUSHING && f->super_first)
		write_super(store);
	else if (store->ckpt == KHD_CKPT_FLUSHING || f->super_first)
		enter_index(store);
	else
		finish(store);
	khd_store_leave(store);
}

/* What lacked memory, or room, once more.  DESCRIPTORS go on by themselves. */
static void go_on(struct khd_store *store)
{
	store->frozen->waiting = false;
	if (store->ckpt == KHD_CKPT_WAITING)
		purge(store);
	else if (store->ckpt == KHD_CKPT_INDEX)
		index_next(store);
	else if (store->ckpt == KHD_CKPT_SUPER)
		write_super(store);
}

void khd_checkpoint_step(struct khd_store *store)
{
	struct khd_frozen *f = store->frozen;

	if (store->error)
		return;
	if (store->untidy && store->ckpt == KHD_CKPT_IDLE && khd_store_may_try(store))
		khd_checkpoint_want(store); /* whatever else there is to do */
	if (f && f->waiting) {
		if (!khd_store_may_try(store))
			return;
		go_on(store);
	}
	if (store->ckpt == KHD_CKPT_IDLE && store->ckpt_wanted) {
		begin(store);
		f = store->frozen;
	}
	if (store->ckpt == KHD_CKPT_PURGING)
		drain(store);
	if (store->ckpt == KHD_CKPT_DRAINING && bitmaps_loaded(store, store->dead.count) &&
	    kh_list_empty(&store->order) && !store->error)
		freeze(store);
	if ((store->ckpt == KHD_CKPT_DRAINING || (store->ckpt == KHD_CKPT_PURGING && !f->busy)) &&
	    !khd_store_may_try(store))
		held_up(store, store->want); /* a bitmap does */
	f = store->frozen;
	if (store->ckpt == KHD_CKPT_SEALING && !store->error && store->lsn_durable >= f->meta.lsn &&
	    !store->headers) {
		store->ckpt = KHD_CKPT_DESCRIPTORS;
		f->at = 0;
	}
	if (store->ckpt == KHD_CKPT_DESCRIPTORS && !store->error) {
		write_descriptors(store);
		if (!f->blocks && f->at == f->ranges.count + f->dead.count && !store->error) {
			store->ckpt = KHD_CKPT_FLUSHING;
			flush(store);
		}
	}
}
