// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * assign.c - operations get their numbers: slots are taken, records enter the log
 *
 * What cannot go on yet stays in the queue of the stalled ones, without having changed anything.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define CHECKPOINTS_MAX 16u
#define RELEASES_AT_ONCE 1024u /* records: a release of more ranges goes on later */
#define GROWTH_BYTES (16u << 20) /* of the file in one job, between which look-ups have theirs */

/*
 * No promise allows that a put gets no slot from so many checkpoints in a row: the wait has an end
 * all the same.  Until it has a number, @op->lsn is where it began; what no checkpoint ends is not
 * counted.
 */
static bool waited_long(struct khd_op *op)
{
	struct khd_store *store = op->store;

	if (!op->lsn)
		op->lsn = store->stats.checkpoints + 1;
	if (store->stats.checkpoints + 1 < op->lsn + CHECKPOINTS_MAX)
		return false;
	khd_store_say(store, "store", "no slot of class %u after %u checkpoints, though promised",
		      khd_api(op)->key.shift, CHECKPOINTS_MAX);
	return true;
}

static bool assign_put(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_extent *e = khd_range_find(store, &api->key);
	struct khd_record rec = { .type = KHD_RECORD_PUT, .cells = 1 };
	struct khd_block *block;
	int ret;

	if (!e) {
		khd_op_finish(op, ENXIO);
		return true;
	}
	if (!khd_log_room(store, 1))
		return false;
	ret = khd_space_take(store, api->key.shift, &op->slot);
	op->wants_nothing = ret == -EINPROGRESS;
	if (ret == -EINPROGRESS || ret == -EBUSY) {
		op->lsn = 0;
		return false;
	}
	if (ret == -EAGAIN && !waited_long(op))
		return false;
	if (ret == -EAGAIN)
		ret = -ENOSPC;
	block = ret ? NULL : khd_buffer(store->sector);
	if (!block) {
		if (!ret) /* nothing was written to it, and nothing refers to it */
			khd_space_give_back(store, op->slot);
		khd_op_finish(op, ret ? -ret : ENOMEM);
		return true;
	}
	op->lsn = store->lsn_next++;
	op->crc = khd_crc32c(0, api->iov.iov_base, api->iov.iov_len);
	khd_slot_fill(store, op, block, KHD_BLOCK_DATA, &e->tag);
	rec.shift = (uint8_t)api->key.shift;
	rec.data_crc = op->crc;
	rec.lsn = op->lsn;
	rec.addr_hi = api->key.addr.hi;
	rec.addr_lo = api->key.addr.lo;
	rec.generation = api->key.generation;
	rec.version = api->meta.version;
	rec.token = api->meta.token;
	rec.slot = op->slot;
	ret = khd_log_append(store, &rec);
	khd_op_number(op, false);
	if (ret)
		khd_store_fail(store, ENOMEM, "redo log", 0);
	khd_slot_write(op, block, true);
	return true;
}

/*
 * The file gets the segments that are promised: from @from of them, by way of @now, to @segments;
 * and the index the space for @index bytes.
 */
struct growth {
	struct khd_job_of of;
	struct khd_op *op;
	uint32_t from, now, segments;
	uint64_t index;
	int ret;
};

static void growth_run(struct khd_job *job)
{
	struct growth *g = kh_container(job, struct growth, of.job);
	struct khd_store *store = g->of.store;
	struct khd_disk *disk = store->disk;
	int ret;

	g->ret = disk->ops->resize(disk, KHD_FILE_SLOTS, khd_space_segment_at(store, g->now));
	if (!g->ret && g->now == g->segments)
		g->ret = khd_index_reserve(disk, g->index);
	if (khd_is_want(-g->ret)) { /* all of it, or nothing */
		ret = disk->ops->resize(disk, KHD_FILE_SLOTS, khd_space_segment_at(store, g->from));
		if (ret && !khd_is_want(-ret))
			g->ret = ret;
	}
	/* No record may name a slot that the file might not have. */
	if (!g->ret && g->now == g->segments)
		g->ret = disk->ops->flush(disk);
}

/* So much more that no job takes long. */
static void growth_step(struct growth *g)
{
	uint64_t step = GROWTH_BYTES / g->of.store->segment_bytes;

	step = step ? step : 1;
	g->now = g->segments - g->now > step ? g->now + (uint32_t)step : g->segments;
	khd_job(g->of.store, &g->of.job);
}

static void growth_done(struct khd_job *job)
{
	struct growth *g = kh_container(job, struct growth, of.job);
	struct khd_store *store = g->of.store;

	khd_store_enter(store);
	store->jobs--;
	if (!g->ret && !store->error && g->now < g->segments) {
		growth_step(g);
		khd_store_leave(store);
		return;
	}
	store->growing = false;
	store->grower = NULL;
	if (!g->ret && g->now == g->segments && khd_space_resize_file(store, g->segments))
		g->ret = -ENOMEM;
	if (!g->ret && store->index_reserved < g->index)
		store->index_reserved = g->index;
	/* fail_queue() may have finished it meanwhile */
	if (khd_is_want(-g->ret)) {
		if (!store->error)
			khd_op_finish(g->op, -g->ret);
	} else if (g->ret) {
		khd_store_fail(store, EIO, "growing the slot file",
			       khd_space_segment_at(store, g->now));
	}
	free(g);
	khd_store_leave(store);
}

static bool grow(struct khd_op *op, uint32_t segments, uint64_t index)
{
	struct khd_store *store = op->store;
	struct growth *g;

	if (store->growing) {
		op->wants_nothing = true;
		return false;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		khd_op_finish(op, ENOMEM);
		return true;
	}
	*g = (struct growth){ .of = { { growth_run, growth_done, NULL }, store },
			      .op = op,
			      .from = (uint32_t)store->segments.count,
			      .now = (uint32_t)store->segments.count,
			      .segments = segments,
			      .index = index };
	store->growing = true;
	store->grower = op;
	growth_step(g);
	return false;
}

/* Could @units more of a class be promised if no class held more than it needs? */
static bool could_promise(struct khd_store *store, unsigned int class, uint64_t units)
{
	uint64_t needed;

	if (units > UINT64_MAX / 2 - store->class[class].units)
		return false;
	store->class[class].units += units;
	needed = khd_space_promised(store);
	store->class[class].units -= units;
	return needed <= store->segments_max;
}

/*
 * No room: there may be some after a checkpoint, or when compaction has emptied what a class holds
 * beyond its need.  The wait has an end, whatever else goes on, and what it is told then is what
 * the checkpoint waited for, if it did.  The store goes on whatever becomes of it.
 */
static bool no_room(struct khd_op *op, unsigned int class, uint64_t units)
{
	struct khd_store *store = op->store;

	if (!could_promise(store, class, units)) {
		khd_op_finish(op, ENOSPC);
		return true;
	}
	if (!op->until && store->now) /* before the first tick no time passes */
		op->until = store->now + KHD_WANT_ROOM_NS;
	if (store->stopping || (op->until && store->now >= op->until)) {
		khd_op_finish(op, store->want ? store->want : ENOSPC);
		return true;
	}
	op->wants_nothing = true;
	if (store->ckpt == KHD_CKPT_IDLE && store->now >= store->room_next) {
		store->room_next = store->now + KHD_WANT_NS;
		khd_checkpoint_want(store);
	}
	return false;
}

/*
 * Promises @units of a class, and a descriptor when it is a range's; the file has the segments, and
 * the index the space, for it.  False: not now, or, with @done, never.
 */
bool khd_op_promise(struct khd_op *op, unsigned int class, uint64_t units, bool *done)
{
	struct khd_store *store = op->store;
	unsigned int descriptor = op->kind == KHD_OP_RESERVE;
	uint64_t charge, index;

	*done = false;
	if (!khd_space_promise(store, class, units)) {
		*done = no_room(op, class, units);
		return false;
	}
	if (descriptor && !khd_space_promise(store, KHD_CLASS_META, 1)) {
		*done = no_room(op, KHD_CLASS_META, 1);
		khd_space_unpromise(store, class, units);
		return false;
	}
	charge = khd_space_charge(store);
	if (store->plant == KHD_PLANT_OVERCOMMIT && charge > store->segments_max)
		charge = store->segments_max;
	index = khd_space_index_bytes(store);
	if (charge <= store->segments.count && index <= store->index_reserved)
		return true;
	khd_space_unpromise(store, class, units);
	khd_space_unpromise(store, KHD_CLASS_META, descriptor);
	if (charge < store->segments.count)
		charge = store->segments.count;
	*done = grow(op, (uint32_t)charge, index);
	return false;
}

/*
 * The newest number that was given: for an operation that changes nothing, but must not be
 * acknowledged before what it found is durable.  Below the first number of this life lies the gap
 * of a recovery, which is never written and never durable.
 */
static uint64_t last_given(const struct khd_store *store)
{
	return store->lsn_next > store->lsn_first ? store->lsn_next - 1 : store->lsn_durable;
}

static bool assign_reserve(struct khd_op *op)
{
	struct khd_store *store = op->store;
	const struct khd_range *range = op->more;
	struct khd_record rec = { .type = KHD_RECORD_RESERVE, .cells = 2 };
	struct khd_extent e;
	bool done, ok;
	int ret = khd_range_overlaps(store, range);

	if (ret == 1) { /* perhaps not yet durable */
		op->lsn = last_given(store);
		khd_op_number(op, true);
		return true;
	}
	if (ret) {
		khd_op_finish(op, -ret);
		return true;
	}
	if (!khd_log_room(store, 2))
		return false;
	if (!khd_op_promise(op, range->shift, range->units, &done))
		return done;
	ret = khd_space_take(store, KHD_CLASS_META, &op->slot);
	op->wants_nothing = ret == -EINPROGRESS;
	if (ret) {
		khd_space_unpromise(store, range->shift, range->units);
		khd_space_unpromise(store, KHD_CLASS_META, 1);
		if (khd_space_comes(ret))
			return false;
		khd_op_finish(op, -ret);
		return true;
	}
	op->lsn = store->lsn_next++;
	rec.shift = (uint8_t)range->shift;
	rec.lsn = op->lsn;
	rec.addr_hi = range->start.hi;
	rec.addr_lo = range->start.lo;
	rec.generation = range->generation;
	rec.token = range->units;
	rec.slot = op->slot;
	rec.born = op->lsn;
	memcpy(rec.tag, range->tag.bytes, sizeof(rec.tag));
	khd_range_from_record(&rec, &e);
	e.fresh = true;
	ok = khd_range_insert(store, &e) && !khd_log_append(store, &rec);
	khd_space_live(store, op->slot);
	khd_op_number(op, true);
	khd_space_fill_ahead(store); /* its units will want one */
	if (!ok) /* ends what has a number, this one too */
		khd_store_fail(store, ENOMEM, "redo log", 0);
	return true;
}

/*
 * A range that falls in two needs a second descriptor.  The units that go leave room for it in
 * their own class, so that release never lacks space.
 */
static int second_slot(struct khd_store *store, unsigned int shift, uint64_t *slot)
{
	int ret;

	if (khd_space_promise(store, KHD_CLASS_META, 1)) {
		if (khd_space_charge(store) <= store->segments.count) {
			ret = khd_space_take(store, KHD_CLASS_META, slot);
			if (ret)
				khd_space_unpromise(store, KHD_CLASS_META, 1);
			return ret;
		}
		khd_space_unpromise(store, KHD_CLASS_META, 1);
	}
	store->class[shift].units++;
	ret = khd_space_take(store, shift, slot);
	if (ret)
		store->class[shift].units--;
	return ret;
}

/*
 * The rest of a release waits.  What it has numbered goes through the queues like a whole one: it
 * is written, applied, and in no checkpoint before.
 */
static bool release_part(struct khd_op *op, bool begun)
{
	khd_range_drop(op->store);
	if (!begun)
		return false;
	op->lsn = last_given(op->store);
	op->part = true;
	khd_op_number(op, true);
	return true;
}

/* What of it lies behind what was released. */
static void pass(struct khd_range *left, const struct khd_record *rec)
{
	khd_u128 behind = ((khd_u128)rec->addr_hi << 64 | rec->addr_lo) +
			  ((khd_u128)rec->version << rec->shift);

	left->units -= (uint64_t)((behind - khd_wide(left->start)) >> left->shift);
	left->start = khd_narrow(behind);
}

static bool assign_release(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_range left = *(const struct khd_range *)op->more;
	unsigned int records = 0;
	struct khd_record rec;
	bool splits, begun = false;
	int ret = 0;

	while (left.units && khd_range_next_release(store, &left, &rec, &splits)) {
		if (records++ == RELEASES_AT_ONCE || !khd_log_room(store, 2))
			return release_part(op, begun);
		if (splits)
			ret = second_slot(store, left.shift, &rec.token);
		op->wants_nothing = ret == -EINPROGRESS;
		if (khd_space_comes(ret))
			return release_part(op, begun);
		if (ret) {
			khd_range_drop(store);
			khd_op_finish(op, -ret);
			return true;
		}
		if (splits) {
			khd_space_live(store, rec.token);
			rec.data_crc =
				store->segments.at[khd_space_segment_of(store, rec.token)].class;
		}
		rec.lsn = store->lsn_next++;
		if (khd_log_append(store, &rec) || khd_range_apply_release(store, &rec) ||
		    store->error) {
			khd_range_drop(store);
			khd_store_fail(store, ENOMEM, "redo log", 0);
			return true;
		}
		begun = true;
		pass(&left, &rec);
	}
	khd_range_drop(store);
	op->lsn = last_given(store);
	khd_op_number(op, true);
	return true;
}

/* True: it does not wait here any more. */
static bool assign(struct khd_op *op)
{
	switch (op->kind) {
	case KHD_OP_PUT:
		return assign_put(op);
	case KHD_OP_RESERVE:
		return assign_reserve(op);
	case KHD_OP_RELEASE:
		return assign_release(op);
	default:
		return khd_parked_assign(op);
	}
}

/* One class that waits does not hold up the others. */
void khd_assign_stalled(struct khd_store *store)
{
	struct khd_op *op, *tmp;
	uint32_t waiting = 0, patient = 0; /* puts, by class; @patient: they want nothing */

	kh_list_each_safe (op, tmp, &store->stalled, link) {
		uint32_t bit = 1u << khd_api(op)->key.shift;

		if (store->error)
			break;
		/* it could end, and its growth would find it gone */
		if (khd_checkpoint_gate(store, op->kind) || op == store->grower)
			continue;
		op->wants_nothing = false;
		if (op->kind == KHD_OP_PUT && waiting & bit) {
			op->wants_nothing = patient & bit;
		} else if (!assign(op) && op->kind == KHD_OP_PUT) {
			waiting |= bit;
			patient |= op->wants_nothing ? bit : 0;
		}
	}
}
