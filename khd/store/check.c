// SPDX-License-Identifier: GPL-2.0-or-later
/* check.c - everything is read and verified, offline; nothing is written */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"
#include "khd/store/vfs.h"

#define ROWS 256u

static const char *const files[KHD_FILES] = { "slots", "index", "index-wal" };

static void bad_page(void *arg, enum khd_disk_file file, uint64_t offset, const char *what)
{
	khd_store_damage(arg, files[file], offset, NULL, what);
}

static void check_history(struct khd_store *store)
{
	size_t b;

	/* what recovery does not need it does not read: the block behind the last full one */
	for (b = 0; b * KHD_HISTORY_ENTRIES < store->history.count; b++) {
		uint64_t at = KHD_HISTORY_AT + b * KHD_HISTORY_STRIDE;
		struct khd_block block;

		if (khd_block_read_now(store, at, &block) ||
		    khd_block_verify(&block, store->uuid, at))
			khd_store_damage(store, "slots", at, NULL, "history");
	}
}

/* Both blocks of each segment that the index has: they were durable before it had. */
static int check_segments(struct khd_store *store)
{
	struct khd_block block;
	uint32_t i;
	int ret = 0;

	for (i = 0; i < 2 * store->segments.count && !ret; i++) {
		const struct khd_segment *seg = &store->segments.at[i / 2];
		uint64_t at = khd_space_segment_at(store, i / 2) +
			      i % 2 * (store->segment_bytes - store->sector);
		const char *wrong;

		if (seg->class == KHD_CLASS_NONE || seg->headless)
			continue;
		ret = khd_block_read_now(store, at, &block);
		wrong = khd_segment_wrong(store, i / 2, at, &block);
		if (!wrong && block.head.class != seg->class)
			wrong = "segment of another class than the index says";
		if (!ret && wrong)
			khd_store_damage(store, "slots", at, NULL, wrong);
	}
	return ret;
}

static int check_range(struct khd_store *store, const struct khd_extent *e)
{
	struct khd_block block;
	const char *wrong;
	int ret;

	if (e->dirty) /* the log has it; its block is written by the next checkpoint */
		return 0;
	ret = khd_block_read_now(store, e->slot, &block);
	if (ret)
		return ret;
	wrong = khd_range_wrong(store, e, &block);
	if (wrong)
		khd_store_damage(store, "slots", e->slot, NULL, wrong);
	return 0;
}

static int check_slot(struct khd_store *store, const struct khd_expect *expect)
{
	const char *wrong;
	int ret = khd_slot_read_now(store, expect, NULL, &wrong);

	if (!ret && wrong)
		khd_store_damage(store, "slots", expect->slot, &expect->key, wrong);
	return ret;
}

/* What the index says, where the log has nothing newer. */
static int check_row(struct khd_store *store, const struct khd_row *row)
{
	struct khd_extent *e = khd_range_find(store, &row->key);
	struct khd_unit *unit = khd_unit_peek(store, &row->key);
	struct khd_expect expect = { .kind = KHD_BLOCK_DATA,
				     .key = row->key,
				     .version = row->version,
				     .lsn = row->lsn,
				     .slot = row->slot,
				     .crc = row->crc };

	if (!e || row->lsn <= e->born || (unit && unit->dirty))
		return 0;
	return check_slot(store, &expect);
}

static int check_units(struct khd_store *store)
{
	struct khd_row *rows = calloc(ROWS, sizeof(*rows));
	struct khd_unit *unit;
	struct khd_key after;
	bool more = false;
	int n, i, ret = rows ? 0 : -ENOMEM;

	while (!ret) {
		n = khd_index_scan(store->index, NULL, more ? &after : NULL, rows, ROWS);
		if (n <= 0) {
			ret = n;
			break;
		}
		for (i = 0; i < n && !ret; i++)
			ret = check_row(store, &rows[i]);
		after = rows[n - 1].key;
		more = true;
	}
	free(rows);
	kh_list_each (unit, &store->dirty, link) {
		struct khd_extent *e = khd_range_find(store, &unit->key);
		struct khd_expect expect = { .kind = KHD_BLOCK_DATA,
					     .key = unit->key,
					     .version = unit->version,
					     .lsn = unit->lsn,
					     .slot = unit->slot,
					     .crc = unit->crc };

		if (ret)
			break;
		if (e && khd_unit_stored(unit, e))
			ret = check_slot(store, &expect);
	}
	return ret;
}

static int check_parked(struct khd_store *store)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < store->parked.count && !ret; i++) {
		const struct khd_parked_unit *p = &store->parked.at[i];
		struct khd_expect expect = { .kind = KHD_BLOCK_PARKED,
					     .key = p->parked.key,
					     .version = p->parked.meta.version,
					     .lsn = p->parked.id,
					     .slot = p->slot,
					     .crc = p->crc };

		ret = check_slot(store, &expect);
	}
	return ret;
}

static int check_alone(struct khd_walk *walk, uint32_t segment, uint64_t at,
		       const struct khd_block *block, const void *data)
{
	struct khd_store *store = walk->store;
	const struct khd_block_slot *s = &block->slot;
	struct khd_key key = { .addr = { .hi = le64toh(s->addr_hi), .lo = le64toh(s->addr_lo) },
			       .generation = le64toh(s->generation),
			       .shift = s->shift };

	if (data && !khd_history_has(store, le64toh(block->head.lsn)) &&
	    khd_crc32c(0, data, 1ull << s->shift) != le32toh(s->data_crc))
		khd_store_damage(store, "slots", at, &key, "CRC of the data");
	return 0;
}

/*
 * Nobody says which slots count: each by itself must be what it says, or empty.  One that was cut
 * off while it was written is named as well.
 */
static int check_slots(struct khd_store *store)
{
	struct khd_walk walk = { .store = store, .slot = check_alone, .data = true };

	return khd_walk(&walk);
}

static int check(struct khd_store *store)
{
	struct khd_log_scan scan = { 0 };
	uint64_t discarded;
	unsigned int bad;
	bool clean;
	int64_t pages;
	size_t i;
	int ret = khd_recover(store, &scan, &clean, &bad, &discarded);

	free(scan.records.at);
	pages = khd_vfs_verify(store->disk, bad_page, store);
	/* damage that keeps it from opening was reported */
	if (ret == -EBADMSG && store->stats.damaged)
		return store->segments.count ? check_slots(store) : 0;
	if (!ret && pages < 0)
		ret = (int)pages;
	if (ret)
		return ret;
	check_history(store);
	ret = check_segments(store);
	for (i = 0; i < store->ranges.count && !ret; i++)
		ret = check_range(store, &store->ranges.at[i]);
	if (!ret)
		ret = check_units(store);
	return ret ? ret : check_parked(store);
}

int64_t khd_store_check(struct khd_disk *disk,
			void (*found)(void *arg, const char *file, uint64_t offset,
				      const char *what),
			void *arg)
{
	struct khd_store *store = khd_store_alloc(disk, NULL, NULL, NULL);
	int64_t ret;

	if (!store)
		return -ENOMEM;
	store->found = found;
	store->found_arg = arg;
	ret = check(store);
	if (!ret)
		ret = (int64_t)store->stats.damaged;
	khd_store_free(store);
	return ret;
}
