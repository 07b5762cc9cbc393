// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * recover.c - a store is made, and opened
 *
 * Opening: the newer superblock; the history; the index, which must have the superblock's
 * checkpoint; the log from the tail that the index names.  The log's records are applied to RAM as
 * if they had just happened, so that the time depends on the log only.
 *
 * Records above what any block claims to be durable count only if every slot before verifies: none
 * of the last group was acknowledged if one of its slots is not there.  Where the log ends a new
 * epoch begins, and the numbers that may have been given out behind it go into the history: what
 * bears one of them never happened, whoever finds it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "khd/store/store_priv.h"

#define FILL_BYTES 65536u

static const char *const plants[] = {
	[KHD_PLANT_SKIP_FLUSH] = "skip-flush",
	[KHD_PLANT_TRUST_BAD_CRC] = "trust-bad-crc",
	[KHD_PLANT_REUSE_LIVE_SLOT] = "reuse-live-slot",
	[KHD_PLANT_ACK_EARLY] = "ack-early",
	[KHD_PLANT_FORGET_LOG_TAIL] = "forget-log-tail",
	[KHD_PLANT_FORGET_TOMBSTONE] = "forget-tombstone",
	[KHD_PLANT_STALE_INDEX] = "stale-index",
	[KHD_PLANT_NO_POSITION_CHECK] = "no-position-check",
	[KHD_PLANT_DAMAGE_AS_TAIL] = "damage-as-tail",
	[KHD_PLANT_OVERCOMMIT] = "overcommit",
	[KHD_PLANT_FORGET_HISTORY] = "forget-history",
};

/* ---------------------------------------------------------------- the store in memory */

static bool find_plant(struct khd_store *store, const char *name)
{
	size_t i;

	if (!name)
		return true;
	for (i = 1; i < sizeof(plants) / sizeof(plants[0]); i++)
		if (!strcmp(plants[i], name)) {
			store->plant = (enum khd_plant)i;
			return true;
		}
	return false;
}

struct khd_store *khd_store_alloc(struct khd_disk *disk, const struct khd_store_config *config,
				  khd_store_event *event, void *arg)
{
	struct khd_store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->disk = disk;
	if (config)
		store->config = *config;
	store->event = event;
	store->arg = arg;
	kh_list_init(&store->stalled);
	kh_list_init(&store->order);
	kh_list_init(&store->syncing);
	kh_list_init(&store->resizing);
	kh_list_init(&store->ready);
	kh_list_init(&store->lookups);
	kh_list_init(&store->completions);
	if (!find_plant(store, store->config.plant) || khd_units_init(store)) {
		khd_store_free(store);
		return NULL;
	}
	return store;
}

void khd_store_free(struct khd_store *store)
{
	if (!store)
		return;
	khd_scrub_free(store);
	khd_compact_free(store);
	khd_index_close(store);
	khd_checkpoint_abandon(store);
	khd_units_free(store);
	khd_space_free(store);
	khd_slot_pool_free(store);
	free(store->ranges.at);
	free(store->purges.at);
	free(store->dead.at);
	free(store->parked.at);
	free(store->discarded.at);
	free(store->history.at);
	free(store->log.cells.at);
	free(store);
}

/* ---------------------------------------------------------------- format */

static uint64_t power_of_two(uint64_t n)
{
	return n < 2 ? 1 : 1ull << (63 - __builtin_clzll(n));
}

static int choose(struct khd_store *store, const struct khd_store_config *config)
{
	uint64_t segment = config->segment, log = config->log;

	store->sector = store->disk->sector;
	store->capacity = config->capacity;
	if (!log) {
		log = power_of_two(config->capacity / 64);
		log = log < 262144 ? 262144 : log > 16u << 20 ? 16u << 20 : log;
	}
	if (!segment) {
		segment = power_of_two(config->capacity / 64);
		segment = segment > 64u << 20 ? 64u << 20 : segment;
		if (segment < 4u << 20)
			segment = config->capacity >= 64u << 20 ? 4u << 20 :
				  segment < 131072		? 131072 :
								  segment;
		if (segment >= 4u << 20)
			segment += 65536; /* so that units of 2 MiB leave nothing over */
	}
	store->segment_bytes = segment;
	store->log_bytes = log;
	store->segments_at = KHD_LOG_AT + log;
	if (!khd_geometry_valid(store) || store->capacity - store->segments_at < segment)
		return -EINVAL;
	memcpy(store->uuid, config->uuid, sizeof(store->uuid));
	for (size_t i = 0; i < sizeof(store->uuid); i++)
		if (store->uuid[i])
			return 0;
	return getrandom(store->uuid, sizeof(store->uuid), 0) == sizeof(store->uuid) ? 0 : -EIO;
}

/* No flush of the log shall wait for a journal commit because blocks were never written. */
static int fill_log(struct khd_store *store)
{
	void *zeros = khd_buffer(FILL_BYTES);
	int ret = zeros ? 0 : -ENOMEM;
	uint64_t at, bytes;

	for (at = 0; at < store->segments_at && !ret; at += bytes) {
		bytes = store->segments_at - at < FILL_BYTES ? store->segments_at - at : FILL_BYTES;
		ret = khd_disk_write_now(store->disk, KHD_FILE_SLOTS, at, zeros, bytes);
	}
	free(zeros);
	return ret;
}

/* The index without anything in it, then the superblocks: before them there is no store. */
static int make(struct khd_store *store)
{
	struct khd_disk *disk = store->disk;
	struct khd_index_meta meta = { .sequence = 1 };
	int ret;

	memcpy(meta.uuid, store->uuid, sizeof(meta.uuid));
	ret = disk->ops->resize(disk, KHD_FILE_SLOTS, 0);
	if (!ret)
		ret = disk->ops->resize(disk, KHD_FILE_SLOTS, store->segments_at);
	if (!ret)
		ret = fill_log(store);
	if (!ret)
		ret = disk->ops->remove(disk, KHD_FILE_WAL);
	if (!ret)
		ret = disk->ops->remove(disk, KHD_FILE_INDEX);
	if (!ret)
		ret = khd_index_reserve(disk, khd_space_index_bytes(store));
	if (!ret)
		ret = khd_index_open(store, true);
	if (!ret)
		ret = khd_index_set_meta(store->index, &meta);
	if (!ret)
		ret = khd_index_tidy(store->index);
	if (!ret)
		ret = disk->ops->flush(disk);
	store->log.tail_sequence = 1;
	store->lsn_next = 1;
	if (!ret)
		ret = khd_super_write(store, true);
	return ret ? ret : khd_super_write(store, true);
}

int khd_store_format(struct khd_disk *disk, const struct khd_store_config *config)
{
	struct khd_store *store = khd_store_alloc(disk, config, NULL, NULL);
	struct khd_block super;
	unsigned int bad;
	int ret;

	if (!store)
		return -ENOMEM;
	ret = khd_super_load(store, &super, &bad);
	if (ret == -ENOENT || ret == -EBADMSG) {
		/* nothing, or half of a format: two damaged superblocks are not ours to destroy */
		ret = ret == -ENOENT ? choose(store, config) : -EEXIST;
		if (!ret)
			ret = make(store);
	} else if (!ret || ret == -EPROTONOSUPPORT || ret == -EMEDIUMTYPE) {
		ret = -EEXIST;
	}
	khd_store_free(store);
	return ret;
}

/* ---------------------------------------------------------------- replay */

/* The slot of a record is live; its segment may be newer than the index. */
static int replay_live(struct khd_store *store, uint64_t slot, unsigned int class)
{
	int segment = khd_space_segment_of(store, slot), ret;
	struct khd_segment *seg;
	uint32_t index;

	if (segment < 0 || class >= KHD_CLASSES || !store->class[class].slots)
		return -EBADMSG;
	seg = &store->segments.at[segment];
	if (seg->class == KHD_CLASS_NONE) {
		seg->class = seg->last = (uint8_t) class;
		seg->headless = true;
		store->class[class].held++;
		if (khd_space_alloc_bits(store, (uint32_t)segment))
			return -ENOMEM;
	}
	if (seg->class != class || khd_space_index_of(store, slot, &index) < 0)
		return -EBADMSG;
	if (!seg->bits) {
		size_t words = khd_space_words(store->class[class].slots);

		if (khd_space_alloc_bits(store, (uint32_t)segment))
			return -ENOMEM;
		ret = khd_index_load_bits(store->index, (uint32_t)segment, seg->bits,
					  words * sizeof(uint64_t));
		if (ret)
			return ret;
		memcpy(seg->bits + words, seg->bits, words * sizeof(uint64_t));
	}
	khd_space_live(store, slot);
	return 0;
}

static int replay_put(struct khd_store *store, const struct khd_record *rec)
{
	struct khd_key key = { .addr = { .hi = rec->addr_hi, .lo = rec->addr_lo },
			       .generation = rec->generation,
			       .shift = rec->shift };
	struct khd_extent *e = khd_range_find(store, &key);
	struct khd_unit *unit;
	struct khd_row row = { .key = key };
	int ret;

	if (!e || e->born > rec->lsn)
		return 0;
	unit = khd_unit_get(store, &key);
	if (!unit)
		return -ENOMEM;
	if (!unit->known) {
		ret = khd_index_find(store->index, &row);
		if (ret && ret != -ENOENT) {
			khd_unit_put(store, unit);
			return ret;
		}
		if (!ret) {
			unit->version = row.version;
			unit->lsn = row.lsn;
			unit->slot = row.slot;
		}
	}
	if (unit->version && (unit->dirty || unit->lsn > e->born))
		khd_space_dead(store, unit->slot, false);
	unit->version = rec->version;
	unit->token = rec->token;
	unit->lsn = rec->lsn;
	unit->slot = rec->slot;
	unit->crc = rec->data_crc;
	e->touched = true;
	khd_unit_dirty(store, unit);
	khd_unit_put(store, unit);
	return replay_live(store, rec->slot, rec->shift);
}

static int replay_release(struct khd_store *store, const struct khd_record *rec)
{
	int ret = 0;

	if (rec->token) {
		unsigned int class = rec->data_crc;

		if (class != KHD_CLASS_META && class != rec->shift)
			return -EBADMSG;
		ret = replay_live(store, rec->token, class);
		if (!ret)
			store->class[class].units++;
	}
	return ret ? ret : khd_range_apply_release(store, rec);
}

static int replay(struct khd_store *store, const struct khd_record *rec)
{
	struct khd_parked_unit p;
	int ret;

	switch (rec->type) {
	case KHD_RECORD_PUT:
		return replay_put(store, rec);
	case KHD_RECORD_RESERVE:
		ret = replay_live(store, rec->slot, KHD_CLASS_META);
		store->class[KHD_CLASS_META].units++;
		store->class[rec->shift].units += rec->token;
		return ret ? ret : khd_range_apply_reserve(store, rec);
	case KHD_RECORD_RELEASE:
		return replay_release(store, rec);
	case KHD_RECORD_PARK:
		khd_parked_from_record(rec, &p);
		store->class[rec->shift].units++;
		ret = replay_live(store, rec->slot, rec->shift);
		return ret ? ret : khd_parked_insert(store, &p);
	default:
		khd_parked_remove(store, rec->version);
		return 0;
	}
}

/* ---------------------------------------------------------------- open */

/* The index is the superblock's, or newer by a checkpoint that was cut off before its superblock. */
static int open_index(struct khd_store *store, struct khd_index_meta *meta)
{
	int ret = khd_index_open(store, false);

	if (!ret)
		ret = khd_index_meta(store->index, meta);
	if (ret == -ENOENT)
		ret = -EBADMSG;
	if (!ret && memcmp(meta->uuid, store->uuid, sizeof(store->uuid)))
		ret = -EBADMSG;
	if (!ret && meta->checkpoint < store->checkpoint) {
		khd_store_damage(store, "index", 0, NULL, "older than the superblock");
		return -EBADMSG;
	}
	if (!ret)
		ret = khd_index_load(store);
	if (store->index)
		khd_index_tell(store);
	if (ret == -EBADMSG)
		khd_store_damage(store, "index", 0, NULL, "damaged: rebuild it");
	return ret;
}

int khd_file_use(struct khd_store *store)
{
	int64_t size = store->disk->ops->size(store->disk, KHD_FILE_SLOTS);
	uint64_t segments;

	if (size < 0)
		return (int)size;
	if ((uint64_t)size < store->segments_at)
		return -EBADMSG;
	if (store->config.capacity)
		store->capacity = store->config.capacity;
	if (store->capacity < store->segments_at + store->segment_bytes)
		return -EINVAL;
	segments = (store->capacity - store->segments_at) / store->segment_bytes;
	store->segments_max = segments > KHD_SEGMENTS_MAX ? KHD_SEGMENTS_MAX : (uint32_t)segments;
	segments = ((uint64_t)size - store->segments_at) / store->segment_bytes;
	khd_space_init(store);
	return khd_space_resize_file(store, (uint32_t)segments);
}

/**
 * khd_recover() - everything that is known of the store into RAM; nothing is written
 * @clean: it was closed in order, and no change came after
 * @discarded: records at the log's tail that do not count
 */
int khd_recover(struct khd_store *store, struct khd_log_scan *scan, bool *clean, unsigned int *bad,
		uint64_t *discarded)
{
	struct khd_index_meta meta = { 0 };
	struct khd_block super;
	uint64_t last = 0, kept;
	size_t i;
	int ret = khd_super_load(store, &super, bad);

	if (!ret)
		ret = khd_file_use(store);
	if (!ret)
		ret = khd_history_load(store, le64toh(super.super.history), false);
	if (!ret)
		ret = open_index(store, &meta);
	if (ret)
		return ret;
	store->checkpoint = meta.checkpoint;
	store->lsn_checkpoint = meta.lsn;
	store->log.tail = meta.tail;
	store->log.tail_sequence = meta.sequence;
	store->log.tail_previous = meta.previous;
	ret = khd_log_scan(store, &meta, false, scan);
	kept = scan->records.count;
	if (!ret)
		ret = khd_log_cut(store, scan, &last);
	for (i = 0; i < scan->records.count && !ret; i++) {
		if (scan->records.at[i].type != KHD_RECORD_RELEASE)
			khd_range_drop(store);
		ret = replay(store, &scan->records.at[i]);
		if (ret == -EBADMSG)
			khd_store_damage(store, "slots", scan->records.at[i].slot, NULL,
					 "record of the log does not fit the index");
	}
	khd_range_drop(store);
	*clean = le32toh(super.super.clean) && !kept && !*bad;
	*discarded = kept - scan->records.count;
	store->lsn_applied = store->lsn_durable = last;
	store->lsn_next = le64toh(super.super.lsn_next);
	return ret ? ret : -store->error;
}

/*
 * What was promised had its space; this file system may be another one, or an older khd made no
 * promise.  Then a full one is not yet an error.
 */
static int reserve_index(struct khd_store *store)
{
	uint64_t bytes = khd_space_index_bytes(store);
	int ret = khd_index_reserve(store->disk, bytes);

	if (!ret)
		store->index_reserved = bytes;
	if (ret != -ENOSPC)
		return ret;
	khd_store_say(store, "store", "the file system has no room for the index, %llu bytes",
		      (unsigned long long)bytes);
	return 0;
}

/* From a sector's middle, where somebody appended to it, the file could not grow. */
static int cut_to_segments(struct khd_store *store)
{
	struct khd_disk *disk = store->disk;
	uint64_t end = khd_space_segment_at(store, (uint32_t)store->segments.count);
	int64_t size = disk->ops->size(disk, KHD_FILE_SLOTS);

	if (size < 0)
		return (int)size;
	return (uint64_t)size > end ? disk->ops->resize(disk, KHD_FILE_SLOTS, end) : 0;
}

/* What the log's end may have lost is lost for good; then the store is in use. */
static int begin_epoch(struct khd_store *store, const struct khd_log_scan *scan, bool clean,
		       unsigned int bad)
{
	int ret = 0;

	store->epoch++;
	store->log.head = scan->head;
	store->log.sequence = scan->sequence;
	store->log.previous = scan->previous;
	store->log.claimed = scan->durable; /* what was replayed above it no block claims yet */
	khd_log_release(store, store->log.tail);
	if (khd_space_promised(store) > store->segments_max) {
		store->segments_max = (uint32_t)khd_space_promised(store);
		store->capacity = khd_space_segment_at(store, store->segments_max);
		khd_store_say(store, "store",
			      "capacity is less than what is reserved: %llu bytes stay",
			      (unsigned long long)store->capacity);
	}
	ret = cut_to_segments(store);
	if (!ret)
		ret = reserve_index(store);
	if (!ret && !clean)
		ret = khd_history_close(store);
	if (!ret)
		ret = khd_super_write(store, false);
	if (!ret && bad) /* both are whole again */
		ret = khd_super_write(store, false);
	return ret;
}

static int recover(struct khd_store *store, struct khd_store_recovery *report)
{
	struct khd_log_scan scan = { 0 };
	uint64_t discarded = 0;
	unsigned int bad = 0;
	bool clean = false;
	int ret = khd_recover(store, &scan, &clean, &bad, &discarded);

	if (!ret && (store->failed || store->checks < store->config.checks)) {
		khd_store_say(store, "store",
			      "its disk failed, and nobody has found it whole since: verify it");
		ret = -EUCLEAN;
	}
	if (!ret)
		ret = begin_epoch(store, &scan, clean, bad);
	if (!ret && report) {
		report->replayed = scan.records.count;
		report->discarded = discarded;
	}
	free(scan.records.at);
	return ret;
}

struct khd_store *khd_store_open(struct khd_disk *disk, const struct khd_store_config *config,
				 khd_store_event *event, void *arg, int *error,
				 struct khd_store_recovery *report)
{
	struct khd_store *store = khd_store_alloc(disk, config, event, arg);
	struct timespec from, to;
	int ret;

	if (report)
		*report = (struct khd_store_recovery){ .checks = UINT64_MAX };
	if (!store) {
		*error = config && config->plant ? EINVAL : ENOMEM;
		return NULL;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	ret = recover(store, report);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (report && store->super_sequence)
		report->checks = store->checks;
	if (report)
		report->nanoseconds = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000ull +
				      (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
	*error = -ret;
	store->lsn_first = store->lsn_next;
	store->serving = !ret;
	if (!ret)
		return store;
	khd_store_free(store);
	return NULL;
}
