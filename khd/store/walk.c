// SPDX-License-Identifier: GPL-2.0-or-later
/* walk.c - every slot of every segment, read from the disk alone; offline, or at start */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

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

static int visit(struct khd_walk *walk, uint32_t segment, unsigned int class, uint64_t at,
		 uint8_t *buf)
{
	struct khd_store *store = walk->store;
	const struct khd_block *block = (const struct khd_block *)buf;
	size_t bytes = walk->data ? store->class[class].slot_bytes : store->sector;
	const char *wrong;
	bool unit;
	int64_t n = store->disk->ops->read(store->disk, KHD_FILE_SLOTS, at, buf, bytes);

	if (n < 0)
		return (int)n;
	if ((uint64_t)n < bytes)
		return -EIO;
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

int khd_walk(struct khd_walk *walk)
{
	struct khd_store *store = walk->store;
	uint8_t *buf = khd_buffer(store->sector + (1u << KHD_STORE_SHIFT_MAX));
	uint32_t segment, i;
	int class, ret = buf ? 0 : -ENOMEM;

	for (segment = 0; segment < store->segments.count && !ret; segment++) {
		class = khd_walk_class(store, segment, walk->data);
		if (class < 0 && class != -EBADMSG)
			ret = class;
		if (class <= 0)
			continue;
		for (i = 0; i < store->class[class].slots && !ret; i++)
			ret = visit(walk, segment, (unsigned int)class,
				    khd_space_segment_at(store, segment) + store->sector +
					    (uint64_t)i * store->class[class].slot_bytes,
				    buf);
	}
	free(buf);
	return ret;
}

/* ---------------------------------------------------------------- sweeping */

struct sweep {
	struct khd_walk walk;
	uint64_t swept;
};

static int sweep_slot(struct khd_walk *walk, uint32_t segment, uint64_t at,
		      const struct khd_block *block, const void *data)
{
	struct khd_store *store = walk->store;
	void *zero;
	int64_t n;

	if (!khd_history_has(store, le64toh(block->head.lsn)))
		return 0;
	zero = khd_buffer(store->sector);
	if (!zero)
		return -ENOMEM;
	n = store->disk->ops->write(store->disk, KHD_FILE_SLOTS, at, zero, store->sector);
	free(zero);
	kh_container(walk, struct sweep, walk)->swept++;
	return n < 0 ? (int)n : n < store->sector ? -EIO : 0;
}

/* The history is full: away with the blocks of which it speaks, and with what it says of them. */
int khd_store_sweep(struct khd_store *store)
{
	struct sweep sweep = { .walk = { .store = store, .slot = sweep_slot } };
	int ret = khd_walk(&sweep.walk);
	size_t i, kept = 0;

	if (!ret)
		ret = store->disk->ops->flush(store->disk);
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
	khd_store_say(store, "store", "history swept: %llu blocks",
		      (unsigned long long)sweep.swept);
	return khd_history_rewrite(store);
}
