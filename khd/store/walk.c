// SPDX-License-Identifier: GPL-2.0-or-later
/* walk.c - every slot of every segment, read from the disk alone; offline, or at start */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "khd/store/store_priv.h"

#define TELL_SECONDS 10 /* between two lines of how far it is */

static bool all_zero(const void *buf, size_t bytes)
{
	const uint8_t *at = buf;

	return !bytes || (!at[0] && !memcmp(at, at + 1, bytes - 1));
}

const char *khd_segment_wrong(const struct khd_store *store, uint32_t segment, uint64_t at,
			      const struct khd_block *block)
{
	const char *wrong = khd_block_verify(block, store->uuid, at);

	if (!wrong &&
	    (block->head.kind != KHD_BLOCK_SEGMENT || le64toh(block->segment.number) != segment ||
	     block->head.class < KHD_CLASS_META || block->head.class >= KHD_CLASSES))
		wrong = "no segment";
	return wrong;
}

/* One copy of a segment's block: its class, NONE if it is empty, -EBADMSG, or the disk's error. */
static int class_by(struct khd_store *store, uint32_t segment, uint64_t at, const char **wrong)
{
	struct khd_block *block = khd_buffer(store->sector);
	int64_t n;
	int class;

	if (!block)
		return -ENOMEM;
	n = khd_disk_read_now(store->disk, KHD_FILE_SLOTS, at, block, store->sector);
	*wrong = NULL;
	if (n < 0) {
		class = (int)n;
	} else if (all_zero(block, sizeof(*block))) {
		class = KHD_CLASS_NONE;
	} else {
		*wrong = khd_segment_wrong(store, segment, at, block);
		class = *wrong ? -EBADMSG : block->head.class;
	}
	free(block);
	return class;
}

int khd_walk_class(struct khd_store *store, uint32_t segment, bool tell)
{
	uint64_t at = khd_space_segment_at(store, segment);
	uint64_t copy_at = at + store->segment_bytes - store->sector;
	const char *wrong, *copy_wrong;
	int class = class_by(store, segment, at, &wrong);
	int copy = class_by(store, segment, copy_at, &copy_wrong);

	if (tell && wrong)
		khd_store_damage(store, "slots", at, NULL, wrong);
	if (tell && copy_wrong)
		khd_store_damage(store, "slots", copy_at, NULL, copy_wrong);
	if ((class < 0 && class != -EBADMSG) || (copy < 0 && copy != -EBADMSG))
		return class < 0 && class != -EBADMSG ? class : copy;
	/* a segment that was cut off while it was assigned has one: nothing in it counts then */
	return class > 0 ? class : copy > 0 ? copy : class < 0 || copy < 0 ? -EBADMSG : 0;
}

/* A slot whose bytes were read, or, unless there is data to verify, its block. */
static int visit(struct khd_walk *walk, uint32_t segment, unsigned int class, uint64_t at,
		 const uint8_t *buf)
{
	struct khd_store *store = walk->store;
	const struct khd_block *block = (const struct khd_block *)buf;
	const char *wrong;
	bool unit;

	if (all_zero(block, sizeof(*block)))
		return 0;
	wrong = khd_block_verify(block, store->uuid, at);
	if (wrong) {
		walk->bad++;
		if (walk->data)
			khd_store_damage(store, "slots", at, NULL, wrong);
		return 0;
	}
	if (block->head.class != class)
		return 0;
	unit = (block->head.kind == KHD_BLOCK_DATA || block->head.kind == KHD_BLOCK_PARKED) &&
	       block->slot.shift == class;
	return walk->slot(walk, segment, at, block,
			  walk->data && unit ? buf + store->sector : NULL);
}

static int read_slots(struct khd_store *store, uint64_t at, uint8_t *buf, size_t bytes)
{
	int64_t n = store->disk->ops->read(store->disk, KHD_FILE_SLOTS, at, buf, bytes);

	return n < 0 ? (int)n : (uint64_t)n < bytes ? -EIO : 0;
}

/*
 * Many slots in one read, as fast as the disk can.  Where that fails each is read for itself: what
 * cannot be read between two blocks is not missed.
 */
static int walk_segment(struct khd_walk *walk, uint32_t segment, unsigned int class, uint8_t *buf)
{
	struct khd_store *store = walk->store;
	size_t slot = store->class[class].slot_bytes, one = walk->data ? slot : store->sector;
	uint64_t at = khd_space_segment_at(store, segment) + store->sector;
	uint32_t left = store->class[class].slots, n, i;
	uint32_t most = slot > KHD_WALK_READ / 4 ? 1 : (uint32_t)(KHD_WALK_READ / slot);
	bool whole;
	int ret = 0;

	for (; left && !ret; left -= n) {
		n = left < most ? left : most;
		whole = n > 1 && !read_slots(store, at, buf, n * slot);
		for (i = 0; i < n && !ret; i++, at += slot) {
			if (!whole)
				ret = read_slots(store, at, buf + i * slot, one);
			if (!ret)
				ret = visit(walk, segment, class, at, buf + i * slot);
		}
	}
	return ret;
}

static uint8_t *walk_buffer(const struct khd_store *store)
{
	size_t slot = store->sector + (1u << KHD_STORE_SHIFT_MAX);

	return khd_buffer(slot > KHD_WALK_READ ? slot : KHD_WALK_READ);
}

int khd_walk(struct khd_walk *walk)
{
	struct khd_store *store = walk->store;
	uint8_t *buf = walk_buffer(store);
	uint32_t segment;
	int class, ret = buf ? 0 : -ENOMEM;

	for (segment = 0; segment < store->segments.count && !ret; segment++) {
		class = khd_walk_class(store, segment, walk->data);
		if (class < 0 && class != -EBADMSG)
			ret = class;
		if (class > 0)
			ret = walk_segment(walk, segment, (unsigned int)class, buf);
	}
	free(buf);
	return ret;
}

/* ---------------------------------------------------------------- sweeping */

/**
 * struct sweep - the blocks of which the history speaks are overwritten
 * @zero: a read's worth of nothing
 * @swept: blocks
 * @cleared: bytes of segments that were never in use
 * @told: when the log was told how far it is, seconds
 */
struct sweep {
	struct khd_walk walk;
	uint8_t *buf, *zero;
	uint64_t swept, cleared;
	time_t told;
};

static int clear(struct sweep *sweep, uint64_t at, size_t bytes)
{
	return khd_disk_write_now(sweep->walk.store->disk, KHD_FILE_SLOTS, at, sweep->zero, bytes);
}

static int sweep_slot(struct khd_walk *walk, uint32_t segment, uint64_t at,
		      const struct khd_block *block, const void *data)
{
	struct sweep *sweep = kh_container(walk, struct sweep, walk);

	if (!khd_history_has(walk->store, le64toh(block->head.lsn)))
		return 0;
	sweep->swept++;
	return clear(sweep, at, walk->store->sector);
}

/*
 * Nothing that counts ever was in it; but slots that a crash cut off may be, without the segment's
 * block, and show when it is used.
 */
static int clear_segment(struct sweep *sweep, uint32_t segment)
{
	struct khd_store *store = sweep->walk.store;
	uint64_t at = khd_space_segment_at(store, segment), end = at + store->segment_bytes;
	size_t n;
	int ret = 0;

	for (; at < end && !ret; at += n) {
		n = end - at < KHD_WALK_READ ? (size_t)(end - at) : KHD_WALK_READ;
		ret = read_slots(store, at, sweep->buf, n);
		if (ret || all_zero(sweep->buf, n))
			continue;
		sweep->cleared += n;
		ret = clear(sweep, at, n);
	}
	return ret;
}

/*
 * Slots of which classes may be found in it?  One in use has its own.  One of the pool has those of
 * its last, which finds it as it is; a rebuild believes its blocks.  A bit each, or an errno.
 */
static int classes_of(struct khd_store *store, uint32_t segment)
{
	const struct khd_segment *seg = &store->segments.at[segment];
	uint64_t at = khd_space_segment_at(store, segment);
	int i, class, classes = 0;
	const char *wrong;

	if (seg->class != KHD_CLASS_NONE)
		return 1 << seg->class;
	if (seg->last >= KHD_CLASS_META)
		classes |= 1 << seg->last;
	for (i = 0; i < 2; i++, at += store->segment_bytes - store->sector) {
		class = class_by(store, segment, at, &wrong);
		if (class < 0 && class != -EBADMSG)
			return class;
		if (class > 0)
			classes |= 1 << class;
	}
	return classes;
}

static int sweep_segment(struct sweep *sweep, uint32_t segment)
{
	struct khd_store *store = sweep->walk.store;
	const struct khd_segment *seg = &store->segments.at[segment];
	int classes = 0, ret = 0;
	unsigned int class;

	if (seg->class == KHD_CLASS_NONE && seg->last == KHD_CLASS_NONE)
		return clear_segment(sweep, segment);
	classes = classes_of(store, segment);
	if (classes < 0)
		return classes;
	for (class = KHD_CLASS_META; class < KHD_CLASSES && !ret; class ++)
		if (classes >> class & 1)
			ret = walk_segment(&sweep->walk, segment, class, sweep->buf);
	return ret;
}

static void tell(struct sweep *sweep, uint32_t segment)
{
	struct khd_store *store = sweep->walk.store;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (segment && now.tv_sec - sweep->told < TELL_SECONDS)
		return;
	sweep->told = now.tv_sec;
	khd_store_say(store, "store", "history: sweeping, %llu of %llu MiB done",
		      (unsigned long long)segment * store->segment_bytes >> 20,
		      (unsigned long long)store->segments.count * store->segment_bytes >> 20);
}

static int sweep_all(struct sweep *sweep)
{
	struct khd_store *store = sweep->walk.store;
	uint32_t segment;
	int ret = 0;

	sweep->buf = walk_buffer(store);
	sweep->zero = khd_buffer(KHD_WALK_READ);
	if (!sweep->buf || !sweep->zero)
		ret = -ENOMEM;
	for (segment = 0; segment < store->segments.count && !ret; segment++) {
		tell(sweep, segment);
		ret = sweep_segment(sweep, segment);
	}
	free(sweep->buf);
	free(sweep->zero);
	return ret ? ret : store->disk->ops->flush(store->disk);
}

/* The history is full: away with the blocks of which it speaks, and with what it says of them. */
int khd_store_sweep(struct khd_store *store)
{
	struct sweep sweep = { .walk = { .store = store, .slot = sweep_slot } };
	int ret = sweep_all(&sweep);
	size_t i, kept = 0;

	if (ret)
		return ret;
	for (i = 0; i < store->history.count; i++) {
		const struct khd_interval *in = &store->history.at[i];

		/* the log may have some; a crash amid a rewrite left it twice */
		if (in->last > store->lsn_checkpoint &&
		    !(kept && store->history.at[kept - 1].first == in->first))
			store->history.at[kept++] = *in;
	}
	if (kept == KHD_HISTORY_MAX)
		return -ENOSPC;
	store->history.count = kept;
	khd_store_say(store, "store", "history swept: %llu blocks, %llu bytes never in use",
		      (unsigned long long)sweep.swept, (unsigned long long)sweep.cleared);
	return khd_history_rewrite(store);
}
