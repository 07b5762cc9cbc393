// SPDX-License-Identifier: GPL-2.0-or-later
/* super.c - superblocks, and the history: what the head of the slot file says of the rest */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define LOG_MIN 65536u
#define LOG_MAX (64u << 20)
#define BLOCK_MAX 65536u

/* ---------------------------------------------------------------- superblocks */

int khd_block_read_now(struct khd_store *store, uint64_t at, struct khd_block *block)
{
	struct khd_block *buf = khd_buffer(KHD_DISK_ALIGN);
	int64_t n;

	if (!buf)
		return -ENOMEM;
	n = khd_disk_read_now(store->disk, KHD_FILE_SLOTS, at, buf, KHD_DISK_ALIGN);
	memset(block, 0, sizeof(*block));
	if (n >= (int64_t)sizeof(*block))
		memcpy(block, buf, sizeof(*block));
	free(buf);
	return n < 0 ? (int)n : 0;
}

int khd_block_write_now(struct khd_store *store, uint64_t at, const struct khd_block *block)
{
	struct khd_block *buf = khd_buffer(store->sector);
	int ret;

	if (!buf)
		return -ENOMEM;
	memcpy(buf, block, sizeof(*block));
	ret = khd_disk_write_now(store->disk, KHD_FILE_SLOTS, at, buf, store->sector);
	free(buf);
	return ret;
}

bool khd_geometry_valid(const struct khd_store *store)
{
	return store->sector >= KHD_SECTOR && store->sector <= KHD_SUPER_STRIDE &&
	       !(store->sector & (store->sector - 1)) && store->log_bytes >= LOG_MIN &&
	       store->log_bytes <= LOG_MAX && !(store->log_bytes % KHD_SUPER_STRIDE) &&
	       store->segments_at == KHD_LOG_AT + store->log_bytes &&
	       store->segment_bytes >= 16 * KHD_SUPER_STRIDE &&
	       store->segment_bytes <= 1ull << 32 && !(store->segment_bytes % KHD_SUPER_STRIDE) &&
	       store->capacity > store->segments_at &&
	       (store->capacity - store->segments_at) / store->segment_bytes <= KHD_SEGMENTS_MAX;
}

void khd_store_sizes(const struct khd_store *store, struct khd_store_sizes *sizes)
{
	const uint64_t promised = khd_space_promised(store);

	sizes->now = store->capacity;
	sizes->least = khd_space_segment_at(store, (uint32_t)(promised ? promised : 1));
	sizes->most = khd_space_segment_at(store, KHD_SEGMENTS_MAX);
}

static void take_super(struct khd_store *store, const struct khd_block *super)
{
	const struct khd_block_super *s = &super->super;

	memcpy(store->uuid, super->head.uuid, sizeof(store->uuid));
	store->epoch = le64toh(super->head.epoch);
	store->lsn_checkpoint = le64toh(super->head.lsn);
	store->sector = le32toh(s->sector);
	store->capacity = le64toh(s->capacity);
	store->segment_bytes = le64toh(s->segment);
	store->log_bytes = le64toh(s->log_bytes);
	store->segments_at = le64toh(s->segments_at);
	store->super_sequence = le64toh(s->sequence);
	store->checkpoint = le64toh(s->checkpoint);
	store->log.tail = le64toh(s->tail_at);
	store->log.tail_sequence = le64toh(s->tail_sequence);
	store->log.tail_previous = le32toh(s->tail_previous);
	store->failed = le32toh(s->failed);
	store->checks = le64toh(s->checks);
	store->log.block = (uint32_t)(store->log_bytes / 16 / KHD_SUPER_STRIDE * KHD_SUPER_STRIDE);
	if (store->log.block > BLOCK_MAX)
		store->log.block = BLOCK_MAX;
}

/* A store that was copied to a device that cannot write so little at once: it is whole. */
static int fits_device(struct khd_store *store)
{
	if (store->sector >= store->disk->sector)
		return 0;
	khd_store_say(store, "store",
		      "it was made for sectors of %u bytes, this device's are %u: copy it to one "
		      "with smaller sectors",
		      store->sector, store->disk->sector);
	return -EMEDIUMTYPE;
}

/* The newer one; @bad: how many are damaged. */
int khd_super_load(struct khd_store *store, struct khd_block *super, unsigned int *bad)
{
	static const uint8_t zero[sizeof(struct khd_block)];
	bool found = false, other = false, blank = true;
	const char *damage[KHD_SUPERS] = { NULL };
	unsigned int i;

	*bad = 0;
	for (i = 0; i < KHD_SUPERS; i++) {
		struct khd_block block;
		int ret = khd_block_read_now(store, i * KHD_SUPER_STRIDE, &block);
		const char *wrong;

		if (ret)
			return ret == -ENOMEM ? ret : -EIO;
		blank &= !memcmp(&block, zero, sizeof(zero));
		wrong = khd_block_verify(&block, NULL, i * KHD_SUPER_STRIDE);
		if (wrong && !strcmp(wrong, "format version"))
			other = true;
		if (wrong || block.head.kind != KHD_BLOCK_SUPER) {
			(*bad)++;
			damage[i] = wrong ? wrong : "no superblock";
			continue;
		}
		if (!found || le64toh(block.super.sequence) > le64toh(super->super.sequence))
			*super = block;
		found = true;
	}
	if (!found && blank)
		return -ENOENT;
	for (i = 0; i < KHD_SUPERS; i++)
		if (damage[i])
			khd_store_damage(store, "slots", i * KHD_SUPER_STRIDE, NULL, damage[i]);
	if (!found)
		return other ? -EPROTONOSUPPORT : -EBADMSG;
	take_super(store, super);
	return khd_geometry_valid(store) ? fits_device(store) : -EBADMSG;
}

/* In order, at start and offline. */
int khd_super_write(struct khd_store *store, bool clean)
{
	struct khd_block block;
	int ret;

	store->super_sequence++;
	khd_super_fill(store, &block, clean);
	ret = khd_block_write_now(store, (store->super_sequence % KHD_SUPERS) * KHD_SUPER_STRIDE,
				  &block);
	return ret ? ret : store->disk->ops->flush(store->disk);
}

/* ---------------------------------------------------------------- a disk that failed */

static void mark_flushed(struct khd_disk_io *io, int64_t res)
{
	struct khd_store *store = kh_container(io, struct khd_store, mark);

	khd_store_enter(store);
	store->ios--;
	khd_store_leave(store);
}

static void mark_written(struct khd_store *store, struct khd_raw *raw, bool ok)
{
	store->mark = (struct khd_disk_io){ .op = KHD_DISK_FLUSH,
					    .file = KHD_FILE_SLOTS,
					    .done = mark_flushed };
	if (ok)
		khd_io(store, &store->mark);
}

/*
 * The store is out of service because of its disk, and the next process must know: it might read
 * from a cache what never was written.  Nobody waits for it, and nothing is done if it fails, too.
 *
 * The superblock says what it said; a checkpoint's that is not yet durable is written once more,
 * with the mark, where it lies: the other one must stay.
 */
void khd_super_mark(struct khd_store *store)
{
	struct khd_block *block;

	if (!store->serving || khd_is_want(store->error) || store->marked ||
	    khd_checkpoint_writes_super(store))
		return;
	store->marked = store->failed = true;
	block = khd_buffer(store->sector);
	if (!block)
		return;
	if (store->ckpt != KHD_CKPT_SUPER)
		store->super_sequence++;
	khd_super_fill(store, block, false);
	khd_raw_write(store, (store->super_sequence % KHD_SUPERS) * KHD_SUPER_STRIDE, block,
		      store->sector, 0, mark_written);
}

/* The next superblock, durable; it says whether the store failed and how often it was verified. */
static int super_next(struct khd_store *store, struct khd_block *super, bool failed,
		      uint64_t checks)
{
	uint64_t at = (store->super_sequence % KHD_SUPERS) * KHD_SUPER_STRIDE;
	int ret;

	super->super.sequence = htole64(store->super_sequence);
	super->super.failed = failed;
	super->super.checks = htole64(checks);
	khd_block_seal(store, super, KHD_BLOCK_SUPER, 0, at, store->lsn_checkpoint);
	ret = khd_block_write_now(store, at, super);
	return ret ? ret : store->disk->ops->flush(store->disk);
}

int khd_store_vouch(struct khd_disk *disk)
{
	struct khd_store *store = khd_store_alloc(disk, NULL, NULL, NULL);
	struct khd_block super;
	unsigned int bad;
	int ret = store ? khd_super_load(store, &super, &bad) : -ENOMEM;

	/* A disk that does not do this now must not find a superblock that speaks for it later. */
	if (!ret)
		ret = disk->ops->flush(disk);
	if (!ret) {
		store->super_sequence++;
		ret = super_next(store, &super, false, store->checks + 1);
		if (ret)
			super_next(store, &super, true, store->checks);
	}
	khd_store_free(store);
	return ret;
}

/* ---------------------------------------------------------------- history */

static uint64_t history_at(size_t block)
{
	return KHD_HISTORY_AT + block * KHD_HISTORY_STRIDE;
}

static int compare_intervals(const void *a, const void *b)
{
	const struct khd_interval *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* A crash amid khd_history_rewrite() left new blocks before old ones, full ones all of them. */
static void history_sort(struct khd_store *store)
{
	size_t i;

	for (i = 1; i < store->history.count && !store->history_mixed; i++)
		store->history_mixed = store->history.at[i].first <= store->history.at[i - 1].first;
	if (store->history_mixed)
		qsort(store->history.at, store->history.count, sizeof(*store->history.at),
		      compare_intervals);
}

/*
 * @count: intervals that the superblock knows of.
 * @lenient: what is damaged is left out, and replaced by the next that is added
 */
int khd_history_load(struct khd_store *store, uint64_t count, bool lenient)
{
	size_t b, i;

	for (b = 0; b < KHD_HISTORY_BLOCKS; b++) {
		struct khd_block block;
		int ret = khd_block_read_now(store, history_at(b), &block);
		const char *wrong;
		uint32_t entries;

		if (ret)
			return ret;
		wrong = khd_block_verify(&block, store->uuid, history_at(b));
		entries = wrong ? 0 : le32toh(block.history.count);
		if (wrong || block.head.kind != KHD_BLOCK_HISTORY ||
		    entries > KHD_HISTORY_ENTRIES) {
			if (b * KHD_HISTORY_ENTRIES >= count)
				break;
			khd_store_damage(store, "slots", history_at(b), NULL, "history");
			if (!lenient)
				return -EBADMSG;
			store->history_mixed = true;
			continue;
		}
		for (i = 0; i < entries; i++) {
			struct khd_interval *in = khd_push(&store->history);

			if (!in)
				return -ENOMEM;
			in->first = le64toh(block.history.entry[i].first);
			in->last = le64toh(block.history.entry[i].last);
		}
		if (entries < KHD_HISTORY_ENTRIES)
			break;
	}
	history_sort(store);
	return 0;
}

bool khd_history_has(const struct khd_store *store, uint64_t lsn)
{
	size_t low = 0, high = store->history.count;

	if (store->plant == KHD_PLANT_FORGET_HISTORY)
		return false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (store->history.at[middle].last < lsn)
			low = middle + 1;
		else
			high = middle;
	}
	return low < store->history.count && store->history.at[low].first <= lsn;
}

/*
 * Does the log have so many crashes that the history may become full of them?  They cannot be swept
 * before a checkpoint.
 */
bool khd_history_presses(const struct khd_store *store)
{
	const size_t half = KHD_HISTORY_MAX / 2;

	return store->history.count >= half &&
	       store->history.at[store->history.count - half].last > store->lsn_checkpoint;
}

static int history_write(struct khd_store *store, size_t b)
{
	size_t from = b * KHD_HISTORY_ENTRIES, i;
	struct khd_block block = { 0 };

	for (i = 0; i < KHD_HISTORY_ENTRIES && from + i < store->history.count; i++) {
		block.history.entry[i].first = htole64(store->history.at[from + i].first);
		block.history.entry[i].last = htole64(store->history.at[from + i].last);
	}
	block.history.count = htole32((uint32_t)i);
	khd_block_seal(store, &block, KHD_BLOCK_HISTORY, 0, history_at(b), store->lsn_next);
	return khd_block_write_now(store, history_at(b), &block);
}

/*
 * All of it anew, after a sweep.  What stays moves to lower blocks: each is durable before the next
 * one is overwritten, so that whatever a crash leaves has all that stays, and perhaps what went.
 */
int khd_history_rewrite(struct khd_store *store)
{
	size_t b;
	int ret = 0;

	for (b = 0; b < KHD_HISTORY_BLOCKS && !ret; b++) {
		ret = history_write(store, b);
		if (!ret && b * KHD_HISTORY_ENTRIES < store->history.count)
			ret = store->disk->ops->flush(store->disk);
	}
	if (!ret)
		ret = store->disk->ops->flush(store->disk);
	if (!ret)
		store->history_mixed = false;
	return ret;
}

/* The last interval, if [first, ...) begins where it does, or touches it: the same crash again. */
static struct khd_interval *same_crash(const struct khd_store *store, uint64_t first)
{
	size_t count = store->history.count;
	struct khd_interval *in = count ? &store->history.at[count - 1] : NULL;

	return in && in->last + 1 >= first ? in : NULL;
}

int khd_history_add(struct khd_store *store, uint64_t first, uint64_t last)
{
	struct khd_interval *in = same_crash(store, first);

	if (store->history_mixed || (!in && store->history.count == KHD_HISTORY_MAX)) {
		int ret = khd_store_sweep(store);

		if (ret)
			return ret;
		in = same_crash(store, first);
	}
	if (in) {
		in->last = last > in->last ? last : in->last;
	} else {
		in = khd_push(&store->history);
		if (!in)
			return -ENOMEM;
		*in = (struct khd_interval){ first, last };
	}
	return history_write(store, (store->history.count - 1) / KHD_HISTORY_ENTRIES);
}

/* The numbers behind the last that counts, as far as any can have been given out. */
int khd_history_close(struct khd_store *store)
{
	uint64_t first = store->lsn_applied + 1;
	int ret;

	if (store->lsn_next < first)
		store->lsn_next = first;
	store->lsn_next += KHD_LSN_GAP;
	ret = khd_history_add(store, first, store->lsn_next - 1);
	/* before the superblock, which counts them */
	return ret ? ret : store->disk->ops->flush(store->disk);
}
