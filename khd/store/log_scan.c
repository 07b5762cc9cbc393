// SPDX-License-Identifier: GPL-2.0-or-later
/* log_scan.c - what the redo log says after a crash: which records count, and whether some are
 * missing */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define CHUNK (1u << 20)

static int read_ring(struct khd_store *store, uint8_t **ring)
{
	uint64_t at;

	*ring = khd_buffer(store->log_bytes);
	if (!*ring)
		return -ENOMEM;
	for (at = 0; at < store->log_bytes; at += CHUNK) {
		uint64_t bytes = store->log_bytes - at < CHUNK ? store->log_bytes - at : CHUNK;
		int64_t n = store->disk->ops->read(store->disk, KHD_FILE_SLOTS, KHD_LOG_AT + at,
						   *ring + at, bytes);

		if (n < 0 || (uint64_t)n < bytes) {
			free(*ring);
			*ring = NULL;
			return n < 0 ? (int)n : -EIO;
		}
	}
	return 0;
}

/* A whole block of this store at that place, whichever it is. */
static const struct khd_log_head *block_at(const struct khd_store *store, const uint8_t *ring,
					   uint64_t at)
{
	const struct khd_log_head *b = (const void *)(ring + at);
	uint32_t bytes, cells;

	if (at + sizeof(*b) > store->log_bytes || le32toh(b->head.magic) != KHD_FORMAT_MAGIC ||
	    le16toh(b->head.version) != KHD_FORMAT_VERSION || b->head.kind != KHD_BLOCK_LOG ||
	    memcmp(b->head.uuid, store->uuid, sizeof(store->uuid)) ||
	    le64toh(b->head.position) != KHD_LOG_AT + at)
		return NULL;
	bytes = le32toh(b->bytes);
	cells = le32toh(b->cells);
	if (bytes < sizeof(*b) || bytes > store->log.block || bytes > store->log_bytes - at ||
	    bytes % store->sector || cells > (bytes - sizeof(*b)) / KHD_CELL ||
	    le32toh(b->crc) != khd_log_crc(b, bytes))
		return NULL;
	return b;
}

static void from_le(struct khd_record *rec, const uint8_t *cell, size_t bytes)
{
	struct khd_record le = { 0 };

	memcpy(&le, cell, bytes);
	*rec = (struct khd_record){
		.type = le.type,
		.shift = le.shift,
		.cells = le16toh(le.cells),
		.data_crc = le32toh(le.data_crc),
		.lsn = le64toh(le.lsn),
		.addr_hi = le64toh(le.addr_hi),
		.addr_lo = le64toh(le.addr_lo),
		.generation = le64toh(le.generation),
		.version = le64toh(le.version),
		.token = le64toh(le.token),
		.slot = le64toh(le.slot),
		.old_hi = le64toh(le.old_hi),
		.old_lo = le64toh(le.old_lo),
		.old_units = le64toh(le.old_units),
		.born = le64toh(le.born),
	};
	memcpy(rec->tag, le.tag, sizeof(rec->tag));
}

static bool record_valid(const struct khd_record *rec, uint64_t last)
{
	bool put = rec->type == KHD_RECORD_PUT;

	return rec->type >= KHD_RECORD_PUT && rec->type <= KHD_RECORD_DISCARD &&
	       rec->cells == (put ? 1 : 2) && rec->lsn > last &&
	       rec->shift >= KHD_STORE_SHIFT_MIN && rec->shift <= KHD_STORE_SHIFT_MAX;
}

/* The records of one block that are above @from and were not discarded by an earlier recovery. */
static int take_records(struct khd_store *store, const struct khd_log_head *b, uint64_t from,
			uint64_t *last, struct khd_log_scan *scan)
{
	uint32_t cells = le32toh(b->cells), at;
	const uint8_t *cell = (const uint8_t *)(b + 1);
	struct khd_record rec, *copy;

	for (at = 0; at < cells; at += rec.cells) {
		size_t left = (cells - at) * KHD_CELL;

		from_le(&rec, cell + (size_t)at * KHD_CELL,
			left < sizeof(rec) ? left : sizeof(rec));
		if (rec.cells > cells - at || !record_valid(&rec, *last))
			return -EBADMSG;
		*last = rec.lsn;
		if (rec.lsn <= from || khd_history_has(store, rec.lsn))
			continue;
		copy = khd_push(&scan->records);
		if (!copy)
			return -ENOMEM;
		*copy = rec;
	}
	return 0;
}

/*
 * Behind the end: a block that claims that a record was durable which is not there.  @sequence is
 * that of the first block that is missing.
 */
static bool hole(const struct khd_store *store, const uint8_t *ring, uint64_t sequence,
		 uint64_t last)
{
	uint64_t at;

	for (at = 0; at < store->log_bytes; at += store->sector) {
		const struct khd_log_head *b = block_at(store, ring, at);

		if (b && le64toh(b->sequence) >= sequence && le64toh(b->durable) > last &&
		    !khd_history_has(store, le64toh(b->durable)))
			return true;
	}
	return false;
}

static int damaged(struct khd_store *store, uint64_t at, const char *what)
{
	khd_store_damage(store, "slots", KHD_LOG_AT + at, NULL, what);
	return -EBADMSG;
}

static int compare_blocks(const void *a, const void *b)
{
	const struct khd_log_head *x = *(const struct khd_log_head *const *)a,
				  *y = *(const struct khd_log_head *const *)b;
	uint64_t s = le64toh(x->sequence), t = le64toh(y->sequence);

	if (s != t)
		return s < t ? -1 : 1;
	s = le64toh(x->head.epoch);
	t = le64toh(y->head.epoch);
	return s < t ? -1 : s > t;
}

/* A rebuild takes every block that is whole, whatever is missing between. */
static int take_all(struct khd_store *store, const uint8_t *ring, const struct khd_index_meta *meta,
		    struct khd_log_scan *scan)
{
	KHD_VECTOR(const struct khd_log_head *) blocks = { 0 };
	uint64_t last = 0, at;
	size_t i;
	int ret = 0;

	scan->records.count = 0;
	for (at = 0; at < store->log_bytes && !ret; at += store->sector) {
		const struct khd_log_head *b = block_at(store, ring, at), **to;

		if (!b || le64toh(b->sequence) < meta->sequence)
			continue;
		to = khd_push(&blocks);
		if (to)
			*to = b;
		else
			ret = -ENOMEM;
	}
	if (blocks.count)
		qsort(blocks.at, blocks.count, sizeof(*blocks.at), compare_blocks);
	for (i = 0; i < blocks.count && !ret; i++) {
		const struct khd_log_head *b = blocks.at[i];
		uint64_t to = (const uint8_t *)b - ring + le32toh(b->bytes);

		if (i + 1 < blocks.count && blocks.at[i + 1]->sequence == b->sequence)
			continue; /* of an epoch that was cut off */
		if (take_records(store, b, meta->lsn, &last, scan) == -ENOMEM)
			ret = -ENOMEM;
		if (le64toh(b->durable) > scan->durable)
			scan->durable = le64toh(b->durable);
		scan->head = to % store->log_bytes;
		scan->sequence = le64toh(b->sequence) + 1;
		scan->previous = le32toh(b->crc);
	}
	scan->last = last > meta->lsn ? last : meta->lsn;
	free(blocks.at);
	return ret;
}

int khd_log_scan(struct khd_store *store, const struct khd_index_meta *meta, bool lenient,
		 struct khd_log_scan *scan)
{
	uint64_t last = 0, at = meta->tail;
	uint8_t *ring;
	int ret = read_ring(store, &ring);

	if (ret)
		return ret;
	if (at >= store->log_bytes || at % store->sector) {
		free(ring);
		return damaged(store, 0, "tail of the log");
	}
	scan->sequence = meta->sequence;
	scan->previous = meta->previous;
	scan->durable = scan->floor = meta->lsn;
	scan->head = at;
	while (!ret) {
		const struct khd_log_head *b = block_at(store, ring, at);

		if ((!b || le64toh(b->sequence) != scan->sequence ||
		     le32toh(b->previous) != scan->previous) &&
		    at) {
			at = 0;
			b = block_at(store, ring, at);
		}
		if (!b || le64toh(b->sequence) != scan->sequence ||
		    le32toh(b->previous) != scan->previous)
			break;
		ret = take_records(store, b, meta->lsn, &last, scan);
		if (ret == -EBADMSG)
			damaged(store, at, "record of the log");
		if (le64toh(b->durable) > scan->durable &&
		    !khd_history_has(store, le64toh(b->durable)))
			scan->durable = le64toh(b->durable);
		at += le32toh(b->bytes);
		at = at == store->log_bytes ? 0 : at;
		scan->head = at;
		scan->sequence++;
		scan->previous = le32toh(b->crc);
	}
	scan->last = last > meta->lsn ? last : meta->lsn;
	if (!ret && store->plant != KHD_PLANT_DAMAGE_AS_TAIL &&
	    hole(store, ring, scan->sequence, scan->last)) {
		ret = damaged(store, scan->head, "log: acknowledged records are missing");
		scan->holes = true;
	}
	if (lenient && ret == -EBADMSG)
		ret = take_all(store, ring, meta, scan);
	free(ring);
	if (!ret && store->plant == KHD_PLANT_FORGET_LOG_TAIL && scan->records.count)
		scan->records.count--;
	return ret;
}

/**
 * struct ahead - slots side by side that one read brought
 * @buf: KHD_WALK_READ bytes
 * @at: where they lie in the file
 * @bytes: so many are there; 0: none
 * @alone: records before this one have slots that could not be read so
 */
struct ahead {
	uint8_t *buf;
	uint64_t at;
	size_t bytes, alone;
};

static bool has_slot(const struct khd_record *rec)
{
	return rec->type == KHD_RECORD_PUT || rec->type == KHD_RECORD_PARK;
}

/*
 * Bytes from record I's slot on, while the next records' slots follow it: puts in order lie so.
 * @end: the first record that is not among them.
 */
static size_t side_by_side(const struct khd_store *store, const struct khd_log_scan *scan, size_t i,
			   size_t *end)
{
	const uint64_t at = scan->records.at[i].slot;
	size_t bytes = 0, one;

	for (; i < scan->records.count; i++) {
		const struct khd_record *rec = &scan->records.at[i];

		if (!has_slot(rec) || rec->slot != at + bytes)
			break;
		one = store->sector + ((size_t)1 << rec->shift);
		if (bytes + one > KHD_WALK_READ)
			break;
		bytes += one;
	}
	*end = i;
	return bytes;
}

/* What cannot be read so is read slot by slot: what is wrong with one says nothing of the others. */
static void read_ahead(struct khd_store *store, const struct khd_log_scan *scan, size_t i,
		       struct ahead *ahead)
{
	const struct khd_record *rec = &scan->records.at[i];
	const size_t one = store->sector + ((size_t)1 << rec->shift);
	size_t bytes, end;

	if (rec->slot >= ahead->at && rec->slot + one <= ahead->at + ahead->bytes)
		return;
	ahead->bytes = 0;
	if (i < ahead->alone)
		return;
	bytes = side_by_side(store, scan, i, &end);
	if (bytes <= one)
		return;
	if (!ahead->buf)
		ahead->buf = khd_buffer(KHD_WALK_READ);
	if (ahead->buf && khd_disk_read_now(store->disk, KHD_FILE_SLOTS, rec->slot, ahead->buf,
					    bytes) == (int64_t)bytes) {
		ahead->at = rec->slot;
		ahead->bytes = bytes;
	} else {
		ahead->alone = end;
	}
}

/* Is everything there that record I refers to?  0, or a negative errno of the device. */
static int complete(struct khd_store *store, const struct khd_log_scan *scan, size_t i,
		    struct ahead *ahead, const char **wrong)
{
	const struct khd_record *rec = &scan->records.at[i];
	struct khd_expect expect = { .lsn = rec->lsn, .slot = rec->slot };
	const uint8_t *slot;

	*wrong = NULL;
	if (rec->type == KHD_RECORD_DISCARD)
		return 0;
	/* the file may not have grown */
	if (khd_space_segment_of(store, rec->slot) < 0 ||
	    (rec->type == KHD_RECORD_RELEASE && rec->token &&
	     khd_space_segment_of(store, rec->token) < 0))
		*wrong = "the file ends";
	if (*wrong || !has_slot(rec))
		return 0;
	expect.kind = rec->type == KHD_RECORD_PUT ? KHD_BLOCK_DATA : KHD_BLOCK_PARKED;
	expect.key = (struct khd_key){ .addr = { .hi = rec->addr_hi, .lo = rec->addr_lo },
				       .generation = rec->generation,
				       .shift = rec->shift };
	expect.version = rec->version;
	expect.crc = rec->data_crc;
	read_ahead(store, scan, i, ahead);
	if (!ahead->bytes)
		return khd_slot_read_now(store, &expect, NULL, wrong);
	slot = ahead->buf + (rec->slot - ahead->at);
	*wrong = khd_slot_verify(store, (const struct khd_block *)slot, slot + store->sector,
				 &expect);
	return 0;
}

/*
 * Of the last group not everything may have been written: it ends before the first record of which
 * something is missing.  @last: the number of the last record that counts.
 */
int khd_log_cut(struct khd_store *store, struct khd_log_scan *scan, uint64_t *last)
{
	struct ahead ahead = { 0 };
	const char *wrong = NULL;
	int ret = 0;
	size_t i;

	*last = scan->last;
	for (i = 0; i < scan->records.count && !ret && !wrong; i++) {
		if (scan->records.at[i].lsn <= scan->durable)
			continue;
		ret = complete(store, scan, i, &ahead, &wrong);
		if (!ret && wrong) {
			*last = i ? scan->records.at[i - 1].lsn : scan->floor;
			scan->records.count = i;
		}
	}
	free(ahead.buf);
	return ret;
}
