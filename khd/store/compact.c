// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * compact.c - segments are emptied that a class has beyond its need, or that lie behind the
 * capacity
 *
 * One unit after the other is read and stored again, as the version that it is: whoever stores a
 * newer one meanwhile, or releases it, wins.  An empty segment goes to the pool with the next
 * checkpoint.  Descriptors and parked units are not moved: a segment with one of them is left
 * alone. The end of the file is cut off when no segment of it is in use.
 *
 * First come classes that hold more than they need: what they give back makes room before the
 * capacity for those behind it that their class needs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

/* Bytes a second: a unit of 4 KiB costs two reads and a write, so beside calls that is 768 I/Os. */
#define RATE_BESIDE (1u << 20)
#define RATE_ALONE (16u << 20)
#define ALONE_NS 1000000000ull /* without a call: nobody else wants the disk */
#define POLL_NS 50000000ull
#define BURST_NS (2 * POLL_NS)

/**
 * struct khd_compact - one segment at a time
 * @op: of the unit that is moved
 * @io: the read of its block
 * @segment: which; @class, @index: of its next slot
 * @pace: of what is moved
 * @calls, @called: how many there had been then, and when that had last changed
 * @skipped: it has a block that is not moved
 */
struct khd_compact {
	struct khd_store *store;
	struct khd_store_op op;
	struct khd_disk_io io;
	struct iovec iov;
	struct khd_block *block;
	void *buf;
	uint64_t slot;
	uint32_t segment, index;
	struct khd_pace pace;
	uint64_t calls, called;
	uint8_t class;
	bool active, busy, skipped;
};

struct cut {
	struct khd_job_of of;
	uint32_t segments;
	int ret;
};

bool khd_compact_busy(const struct khd_store *store)
{
	return store->compact && store->compact->busy;
}

/* Segments of the class that are being emptied. */
uint32_t khd_compact_empties(const struct khd_store *store, unsigned int class)
{
	return store->compact && store->compact->active && store->compact->class == class;
}

void khd_compact_cancel(struct khd_store *store)
{
	store->segments.at[store->compact->segment].emptying = false;
	store->compact->active = false;
}

void khd_compact_free(struct khd_store *store)
{
	if (store->compact) {
		free(store->compact->buf);
		free(store->compact->block);
	}
	free(store->compact);
	store->compact = NULL;
}

static void next(struct khd_compact *c);

static void stored(struct khd_store_op *op, int error)
{
	struct khd_compact *c = kh_container(op, struct khd_compact, op);

	c->busy = false;
	next(c);
}

static void loaded(struct khd_store_op *op, int error)
{
	struct khd_compact *c = kh_container(op, struct khd_compact, op);
	struct khd_unit *unit = khd_unit_peek(c->store, &op->key);
	uint64_t puts = c->store->stats.puts;

	c->busy = false;
	if (!error && op->meta.version) /* it was read, by nobody's call */
		c->store->stats.gets--;
	if (error == EBADMSG)
		c->skipped = true;
	if (error || !op->meta.version || !unit || unit->slot != c->slot) {
		next(c);
		return;
	}
	c->busy = true;
	op->done = stored;
	op->flags = 0;
	khd_store_put(c->store, op);
	c->store->stats.puts = puts;
}

/* The block says whose unit it is; the index, asked by the get, whether that is so. */
static void block_read(struct khd_disk_io *io, int64_t res)
{
	struct khd_compact *c = kh_container(io, struct khd_compact, io);
	struct khd_store *store = c->store;
	const struct khd_block_slot *s = &c->block->slot;

	khd_store_enter(store);
	store->ios--;
	c->busy = false;
	if (res != (int64_t)store->sector && res != -ENOMEM)
		khd_store_fail(store, EIO, "reading the slot file", io->offset);
	if (store->error) {
		c->active = false; /* for good */
	} else if (res < 0) {
		c->index--; /* with the next tick */
	} else if (khd_block_verify(c->block, store->uuid, c->slot) ||
		   c->block->head.kind != KHD_BLOCK_DATA || s->shift != c->class) {
		c->skipped = khd_space_is_live(store, c->slot);
		next(c);
	} else {
		c->busy = true;
		c->op = (struct khd_store_op){
			.done = loaded,
			.key = { .addr = { le64toh(s->addr_hi), le64toh(s->addr_lo) },
				 .generation = le64toh(s->generation),
				 .shift = s->shift },
			.iov = { c->buf, 1ull << s->shift },
		};
		khd_store_get(store, &c->op);
	}
	khd_store_leave(store);
}

static void finish(struct khd_compact *c)
{
	struct khd_segment *seg = &c->store->segments.at[c->segment];

	c->active = seg->emptying = false;
	if (c->skipped)
		seg->pinned = true; /* until the next start: it is not worth trying again */
	khd_checkpoint_want(c->store);
}

static void next(struct khd_compact *c)
{
	struct khd_store *store = c->store;
	struct khd_segment *seg = &store->segments.at[c->segment];
	const struct khd_class *class = &store->class[c->class];

	if (!c->active || c->busy || store->error || store->stopping || store->stopped)
		return;
	if (seg->class != c->class || seg->retiring || c->skipped) {
		finish(c);
		return;
	}
	while (c->index < class->slots) {
		c->slot = khd_space_segment_at(store, c->segment) + store->sector +
			  (uint64_t)c->index * class->slot_bytes;
		if (khd_space_is_live(store, c->slot))
			break;
		c->index++;
	}
	if (c->index == class->slots) {
		finish(c);
		return;
	}
	if (c->pace.allowed < 0)
		return;
	c->pace.allowed -= 1ll << c->class;
	c->index++;
	c->busy = true;
	c->iov = (struct iovec){ c->block, store->sector };
	c->io = (struct khd_disk_io){ .op = KHD_DISK_READ,
				      .file = KHD_FILE_SLOTS,
				      .offset = c->slot,
				      .iov = &c->iov,
				      .iovs = 1,
				      .done = block_read };
	khd_io(store, &c->io);
}

/*
 * The emptiest segment of which its class can do without; else the emptiest behind the capacity, if
 * the pool has one before it; -1: none.
 */
static int choose(const struct khd_store *store)
{
	uint32_t need[KHD_CLASSES] = { 0 }, i;
	int best[2] = { -1, -1 }; /* spare, behind */
	bool before = false;
	unsigned int class;

	for (class = KHD_CLASS_META + 1; class < KHD_CLASSES; class ++)
		need[class] = khd_space_need(store, class, store->class[class].units);
	for (i = 0; i < store->segments.count; i++) {
		const struct khd_segment *seg = &store->segments.at[i];
		bool behind = i >= store->segments_max;
		bool spare = store->class[seg->class].held > need[seg->class];

		before |= !behind && seg->class == KHD_CLASS_NONE;
		if (seg->class <= KHD_CLASS_META || seg->zeroing || seg->retiring || seg->pinned ||
		    !seg->live || (!behind && !spare))
			continue;
		if (best[!spare] < 0 || seg->live < store->segments.at[best[!spare]].live)
			best[!spare] = (int)i;
	}
	return best[0] >= 0 || !before ? best[0] : best[1];
}

static uint32_t burst_of(uint64_t rate)
{
	return (uint32_t)(rate * BURST_NS / 1000000000u);
}

static bool begin(struct khd_store *store, uint32_t segment)
{
	struct khd_compact *c = store->compact;

	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c)
			return false;
		c->store = store;
		c->pace.allowed = burst_of(RATE_ALONE);
		c->buf = khd_buffer(1u << KHD_STORE_SHIFT_MAX);
		c->block = khd_buffer(store->sector);
		store->compact = c;
		if (!c->buf || !c->block) {
			khd_compact_free(store);
			return false;
		}
	}
	c->segment = segment;
	c->class = store->segments.at[segment].class;
	c->index = 0;
	c->active = true;
	c->skipped = false;
	store->segments.at[segment].emptying = true;
	return true;
}

/* ---------------------------------------------------------------- the end of the file */

static void cut_run(struct khd_job *job)
{
	struct cut *cut = kh_container(job, struct cut, of.job);
	struct khd_store *store = cut->of.store;

	cut->ret = store->disk->ops->resize(store->disk, KHD_FILE_SLOTS,
					    khd_space_segment_at(store, cut->segments));
}

static void cut_done(struct khd_job *job)
{
	struct cut *cut = kh_container(job, struct cut, of.job);
	struct khd_store *store = cut->of.store;

	khd_store_enter(store);
	store->jobs--;
	store->growing = false;
	if (cut->ret)
		khd_store_fail(store, EIO, "cutting the slot file",
			       khd_space_segment_at(store, cut->segments));
	free(cut);
	khd_store_leave(store);
}

/* How many segments stay: none behind them is in use, and none is needed. */
static uint32_t in_use(const struct khd_store *store)
{
	uint32_t count = (uint32_t)store->segments.count;

	while (count > store->segments_max && count > khd_space_charge(store) &&
	       store->segments.at[count - 1].class == KHD_CLASS_NONE &&
	       !store->segments.at[count - 1].dirty && !store->segments.at[count - 1].zeroing)
		count--;
	return count;
}

/*
 * What began before the segments were given back may still read in them.  From now on operations
 * count on the other side; when this one is empty nobody reads there.  Only a checkpoint gives
 * segments back: after the next one it begins anew.
 */
static bool read_no_more(struct khd_store *store, uint32_t count)
{
	if (!store->cut_waits || store->cut_checkpoint != store->stats.checkpoints) {
		if (store->on_side[!store->side])
			return false; /* of a cut before */
		store->side = !store->side;
		store->cut_to = count;
		store->cut_checkpoint = store->stats.checkpoints;
		store->cut_waits = true;
	}
	return !store->on_side[!store->side] && !khd_scrub_busy(store) && !khd_compact_busy(store);
}

static void cut_off(struct khd_store *store)
{
	uint32_t count = in_use(store);
	struct cut *cut;

	if (count == store->segments.count) {
		store->cut_waits = false;
		return;
	}
	if (!read_no_more(store, count))
		return;
	if (count < store->cut_to)
		count = store->cut_to;
	store->cut_waits = false;
	cut = calloc(1, sizeof(*cut));
	if (!cut)
		return;
	*cut = (struct cut){ .of = { { cut_run, cut_done, NULL }, store }, .segments = count };
	store->segments.count = count;
	store->growing = true;
	khd_job(store, &cut->of.job);
}

/* By the clock, for the loop comes by as often as it likes. */
static void allow(struct khd_compact *c)
{
	struct khd_store *store = c->store;
	uint64_t calls = store->stats.puts + store->stats.gets, rate;

	if (calls != c->calls)
		c->called = store->now;
	c->calls = calls;
	rate = store->now - c->called < ALONE_NS ? RATE_BESIDE : RATE_ALONE;
	khd_pace(&c->pace, store->now, rate, burst_of(rate));
}

uint64_t khd_compact_tick(struct khd_store *store)
{
	struct khd_compact *c = store->compact;
	int segment;

	if (store->error || store->stopping || store->ckpt != KHD_CKPT_IDLE)
		return UINT64_MAX;
	if (store->segments.count > store->segments_max && !store->growing)
		cut_off(store);
	if (c && c->busy)
		return store->now + POLL_NS;
	if (!c || !c->active) {
		segment = choose(store);
		if (segment < 0 || !khd_space_load(store, (uint32_t)segment) ||
		    !begin(store, (uint32_t)segment))
			return UINT64_MAX;
		c = store->compact;
	}
	allow(c);
	next(c);
	return store->now + POLL_NS;
}
