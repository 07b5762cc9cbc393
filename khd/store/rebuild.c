// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rebuild.c - the index anew, from the slots and the log
 *
 * Ranges first: their descriptors, and what the log has of newer changes.  Then units: of each that
 * lies in a range, and is not older than it, the slot with the highest version and number.  What
 * the history speaks of, and what lies behind the log's end, never happened.  A unit whose newest
 * slot is damaged keeps it: it reads as damaged, and not as what it was before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define ROWS_A_COMMIT 20000u

/* What a slot's descriptor is; a range of 0 units: none. */
struct descriptor {
	uint64_t slot, lsn;
	struct khd_extent extent;
};

struct rebuild {
	struct khd_walk walk;
	struct khd_log_scan scan;
	uint64_t limit; /* the last lsn that counts */
	KHD_VECTOR(struct descriptor) descriptors;
	size_t walked; /* that many of them, in the order of slots, are the walk's */
	KHD_VECTOR(struct khd_parked_unit) parked;
	uint64_t units, damaged, uncommitted;
	struct khd_row rows[256];
};

static bool counts(const struct rebuild *r, uint64_t lsn)
{
	return lsn <= r->limit && !khd_history_has(r->walk.store, lsn);
}

/*
 * The log knows better than a segment's own block which class it is; then what lies there is of
 * before, and free.
 */
static bool stale(const struct rebuild *r, uint32_t segment, const struct khd_block *block)
{
	return r->walk.store->segments.at[segment].class != block->head.class;
}

/* ---------------------------------------------------------------- ranges */

static int find_descriptor(struct khd_walk *walk, uint32_t segment, uint64_t at,
			   const struct khd_block *block, const void *data)
{
	struct rebuild *r = kh_container(walk, struct rebuild, walk);
	const struct khd_block_slot *s = &block->slot;
	struct descriptor *d;

	if (block->head.kind != KHD_BLOCK_RANGE || stale(r, segment, block))
		return 0;
	d = khd_push(&r->descriptors);
	if (!d)
		return -ENOMEM;
	*d = (struct descriptor){ .slot = at, .lsn = le64toh(block->head.lsn) };
	d->extent = (struct khd_extent){
		.start = (khd_u128)le64toh(s->addr_hi) << 64 | le64toh(s->addr_lo),
		.units = le64toh(s->units),
		.generation = le64toh(s->generation),
		.born = le64toh(s->born),
		.lsn = d->lsn,
		.slot = at,
		.shift = s->shift,
	};
	memcpy(d->extent.tag.bytes, s->tag, sizeof(s->tag));
	return 0;
}

static struct descriptor *descriptor_of(struct rebuild *r, uint64_t slot)
{
	size_t low = 0, high = r->walked, i;
	struct descriptor *d;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->descriptors.at[middle].slot < slot)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < r->walked && r->descriptors.at[low].slot == slot)
		return &r->descriptors.at[low];
	for (i = r->walked; i < r->descriptors.count; i++)
		if (r->descriptors.at[i].slot == slot)
			return &r->descriptors.at[i];
	d = khd_push(&r->descriptors);
	if (d)
		*d = (struct descriptor){ .slot = slot };
	return d;
}

static bool become(struct rebuild *r, uint64_t slot, const struct khd_extent *e, uint64_t lsn)
{
	struct descriptor *d = descriptor_of(r, slot);

	if (!d)
		return false;
	if (d->lsn >= lsn)
		return true;
	d->lsn = lsn;
	d->extent = *e;
	d->extent.slot = slot;
	d->extent.lsn = lsn;
	return true;
}

static bool replay_release(struct rebuild *r, const struct khd_record *rec)
{
	khd_u128 from = (khd_u128)rec->addr_hi << 64 | rec->addr_lo;
	struct khd_extent old, left, right, none = { 0 };

	khd_range_from_record(rec, &old);
	old.start = (khd_u128)rec->old_hi << 64 | rec->old_lo;
	old.units = rec->old_units;
	left = right = old;
	left.units = (uint64_t)((from - old.start) >> old.shift);
	right.start = from + ((khd_u128)rec->version << old.shift);
	right.units = old.units - left.units - rec->version;
	if (rec->token)
		return become(r, rec->slot, &left, rec->lsn) &&
		       become(r, rec->token, &right, rec->lsn);
	return become(r, rec->slot, left.units ? &left : right.units ? &right : &none, rec->lsn);
}

static int replay_ranges(struct rebuild *r)
{
	size_t i;

	for (i = 0; i < r->scan.records.count; i++) {
		const struct khd_record *rec = &r->scan.records.at[i];
		struct khd_extent e;
		bool ok = true;

		if (rec->type == KHD_RECORD_RESERVE) {
			khd_range_from_record(rec, &e);
			ok = become(r, rec->slot, &e, rec->lsn);
		} else if (rec->type == KHD_RECORD_RELEASE) {
			ok = replay_release(r, rec);
		}
		if (!ok)
			return -ENOMEM;
	}
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct descriptor *x = a, *y = b;

	return x->lsn > y->lsn ? -1 : x->lsn < y->lsn;
}

/* Of two that overlap, which only damage can leave, the newer counts. */
static int take_ranges(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	size_t i;

	if (r->descriptors.count)
		qsort(r->descriptors.at, r->descriptors.count, sizeof(*r->descriptors.at),
		      newest_first);
	for (i = 0; i < r->descriptors.count; i++) {
		const struct descriptor *d = &r->descriptors.at[i];
		struct khd_range range = { .start = khd_narrow(d->extent.start),
					   .units = d->extent.units,
					   .shift = d->extent.shift,
					   .generation = d->extent.generation };

		if (!d->extent.units || !counts(r, d->lsn))
			continue;
		if (khd_range_valid(store, &range) || khd_range_overlaps(store, &range)) {
			khd_store_damage(store, "slots", d->slot, NULL,
					 "range overlaps a newer one");
			continue;
		}
		if (!khd_range_insert(store, &d->extent))
			return -ENOMEM;
	}
	return 0;
}

/* ---------------------------------------------------------------- units */

static int committed(struct rebuild *r, bool now)
{
	struct khd_index *index = r->walk.store->index;
	int ret;

	if (!now && ++r->uncommitted < ROWS_A_COMMIT)
		return 0;
	r->uncommitted = 0;
	ret = khd_index_commit(index);
	if (!ret)
		ret = khd_index_tidy(index);
	return ret ? ret : khd_index_begin(index);
}

static int offer(struct rebuild *r, const struct khd_row *row)
{
	struct khd_index *index = r->walk.store->index;
	struct khd_extent *e = khd_range_find(r->walk.store, &row->key);
	struct khd_row old = { .key = row->key };
	int ret;

	if (!e || row->lsn <= e->born)
		return 0;
	ret = khd_index_find(index, &old);
	if (ret && ret != -ENOENT)
		return ret;
	if (!ret &&
	    (old.version > row->version || (old.version == row->version && old.lsn >= row->lsn)))
		return 0;
	ret = khd_index_store(index, row);
	return ret ? ret : committed(r, false);
}

static int find_unit(struct khd_walk *walk, uint32_t segment, uint64_t at,
		     const struct khd_block *block, const void *data)
{
	struct rebuild *r = kh_container(walk, struct rebuild, walk);
	const struct khd_block_slot *s = &block->slot;
	struct khd_row row = {
		.key = { .addr = { .hi = le64toh(s->addr_hi), .lo = le64toh(s->addr_lo) },
			 .generation = le64toh(s->generation),
			 .shift = s->shift },
		.version = le64toh(s->version),
		.token = le64toh(s->token),
		.lsn = le64toh(block->head.lsn),
		.slot = at,
		.crc = le32toh(s->data_crc),
	};
	struct khd_parked_unit *p;

	if (!data || !counts(r, row.lsn) || stale(r, segment, block))
		return 0;
	if (khd_crc32c(0, data, 1ull << s->shift) != row.crc) {
		r->damaged++;
		khd_store_damage(walk->store, "slots", at, &row.key, "CRC of the data");
	}
	if (block->head.kind == KHD_BLOCK_DATA)
		return offer(r, &row);
	p = khd_push(&r->parked);
	if (!p)
		return -ENOMEM;
	*p = (struct khd_parked_unit){ .slot = at, .crc = row.crc };
	p->parked.id = row.lsn;
	p->parked.key = row.key;
	p->parked.meta = (struct khd_meta){ .version = row.version, .token = row.token };
	memcpy(p->parked.tag.bytes, s->tag, sizeof(s->tag));
	return 0;
}

/* Records whose slot is damaged beyond being recognised still say what must be there. */
static int replay_units(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	size_t i;
	int ret = 0;

	for (i = 0; i < r->parked.count && !ret; i++)
		ret = khd_parked_insert(store, &r->parked.at[i]);
	for (i = 0; i < r->scan.records.count && !ret; i++) {
		const struct khd_record *rec = &r->scan.records.at[i];
		struct khd_row row = { .key = { .addr = { rec->addr_hi, rec->addr_lo },
						.generation = rec->generation,
						.shift = rec->shift },
				       .version = rec->version,
				       .token = rec->token,
				       .lsn = rec->lsn,
				       .slot = rec->slot,
				       .crc = rec->data_crc };
		struct khd_parked_unit p, *there;

		if (rec->type == KHD_RECORD_PUT) {
			ret = offer(r, &row);
		} else if (rec->type == KHD_RECORD_PARK) {
			khd_parked_from_record(rec, &p);
			there = khd_parked_find(store, rec->lsn);
			if (!there || there->parked.id != rec->lsn)
				ret = khd_parked_insert(store, &p);
		} else if (rec->type == KHD_RECORD_DISCARD) {
			khd_parked_remove(store, rec->version);
		}
	}
	return ret;
}

/* ---------------------------------------------------------------- segments */

/* A slot of @class, or, if it is of a segment of that one, of @other. */
static int set_live(struct khd_store *store, uint64_t slot, unsigned int class, unsigned int other)
{
	int number = khd_space_segment_of(store, slot);
	struct khd_segment *seg = number < 0 ? NULL : &store->segments.at[number];

	if (seg && seg->class == KHD_CLASS_NONE) {
		/* its block is damaged, or it was never written: the log knows its class */
		seg->class = (uint8_t) class;
		seg->headless = true;
		if (khd_space_alloc_bits(store, (uint32_t)number))
			return -ENOMEM;
	}
	/* at the right place among slots of the wrong size it would be in their midst */
	if (!seg || (seg->class != class && seg->class != other)) {
		khd_store_damage(store, "slots", slot, NULL, "in a segment of another class");
		return -EBADMSG;
	}
	khd_space_live(store, slot);
	return -store->error;
}

/* A record names @slot: its segment is of @class, whatever its block says. */
static void class_by_record(struct khd_store *store, uint64_t slot, unsigned int class)
{
	int number = slot ? khd_space_segment_of(store, slot) : -1;
	struct khd_segment *seg = number < 0 ? NULL : &store->segments.at[number];

	if (!seg || seg->class == class)
		return;
	/* It was free at the last checkpoint, and its new block was not written before the crash. */
	seg->class = (uint8_t) class;
	seg->last = 1;
	seg->headless = true;
}

static void classes_by_log(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	size_t i;

	for (i = 0; i < r->scan.records.count; i++) {
		const struct khd_record *rec = &r->scan.records.at[i];

		if (rec->type == KHD_RECORD_PUT || rec->type == KHD_RECORD_PARK)
			class_by_record(store, rec->slot, rec->shift);
		else if (rec->type == KHD_RECORD_RESERVE)
			class_by_record(store, rec->slot, KHD_CLASS_META);
		else if (rec->type == KHD_RECORD_RELEASE)
			class_by_record(store, rec->token, rec->data_crc);
	}
}

static int find_segments(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	uint32_t i;

	for (i = 0; i < store->segments.count; i++) {
		int class = khd_walk_class(store, i, false);

		if (class < 0 && class != -EBADMSG)
			return class;
		/* 1 is no class: it is cleared before it is used again */
		store->segments.at[i].last = (uint8_t)(class < 0 ? 1 : class);
		store->segments.at[i].class = (uint8_t)(class < 0 ? 0 : class);
	}
	classes_by_log(r);
	for (i = 0; i < store->segments.count; i++)
		if (store->segments.at[i].class && khd_space_alloc_bits(store, i))
			return -ENOMEM;
	return 0;
}

static int find_live(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	struct khd_key after;
	int ret = 0, n = 0, k;
	size_t i;

	do {
		n = khd_index_scan(store->index, NULL, r->units ? &after : NULL, r->rows, 256);
		for (k = 0; k < n && !ret; k++)
			ret = set_live(store, r->rows[k].slot, r->rows[k].key.shift,
				       r->rows[k].key.shift);
		if (n > 0)
			after = r->rows[n - 1].key;
		r->units += n > 0 ? (uint64_t)n : 0;
	} while (n > 0 && !ret);
	for (i = 0; i < store->ranges.count && !ret && n >= 0; i++)
		ret = set_live(store, store->ranges.at[i].slot, KHD_CLASS_META,
			       store->ranges.at[i].shift); /* class 8 was full */
	for (i = 0; i < store->parked.count && !ret && n >= 0; i++)
		ret = set_live(store, store->parked.at[i].slot,
			       store->parked.at[i].parked.key.shift,
			       store->parked.at[i].parked.key.shift);
	return n < 0 ? n : ret;
}

static int headers_now(struct khd_store *store, uint32_t segment)
{
	uint64_t at = khd_space_segment_at(store, segment);
	int i, ret = 0;

	for (i = 0; i < 2 && !ret; i++) {
		struct khd_block block = { 0 };

		block.segment.number = htole64(segment);
		khd_block_seal(store, &block, KHD_BLOCK_SEGMENT, store->segments.at[segment].class,
			       at, store->lsn_next);
		ret = khd_block_write_now(store, at, &block);
		at += store->segment_bytes - store->sector;
	}
	return ret;
}

static int descriptor_now(struct khd_store *store, const struct khd_extent *e)
{
	struct khd_block block;

	khd_block_of_extent(store, &block, e);
	return khd_block_write_now(store, e->slot, &block);
}

static int tomb_now(struct khd_store *store, uint64_t slot, uint64_t lsn)
{
	int segment = khd_space_segment_of(store, slot);
	struct khd_block block = { 0 };

	/* A segment that was used anew since may have slots of another size. */
	if (segment < 0 || !khd_space_fits(store, slot, store->segments.at[segment].class))
		return 0;
	khd_block_seal(store, &block, KHD_BLOCK_TOMB, store->segments.at[segment].class, slot, lsn);
	return khd_block_write_now(store, slot, &block);
}

static int store_segments(struct khd_store *store)
{
	uint32_t i;
	int ret = 0;

	for (i = 0; i < store->segments.count && !ret; i++) {
		struct khd_segment *seg = &store->segments.at[i];
		struct khd_segment_row row = { .number = i, .last = seg->last };

		if (seg->live) {
			row.class = row.last = seg->class;
			row.live = seg->live;
			row.bits = seg->bits;
			row.bytes =
				khd_space_words(store->class[seg->class].slots) * sizeof(uint64_t);
		}
		ret = khd_index_store_segment(store->index, &row);
		/* whole again, if a copy was damaged */
		if (!ret && seg->live)
			ret = headers_now(store, i);
	}
	return ret;
}

/* ---------------------------------------------------------------- all of it */

/* Does it name slots, each of a class in which one can lie there? */
static bool fits(const struct khd_store *store, const struct khd_record *rec)
{
	bool own;

	switch (rec->type) {
	case KHD_RECORD_PUT:
	case KHD_RECORD_PARK:
		return khd_space_fits(store, rec->slot, rec->shift);
	case KHD_RECORD_RESERVE:
		return khd_space_fits(store, rec->slot, KHD_CLASS_META);
	case KHD_RECORD_RELEASE:
		own = rec->data_crc == KHD_CLASS_META || rec->data_crc == rec->shift;
		return (khd_space_fits(store, rec->slot, KHD_CLASS_META) ||
			khd_space_fits(store, rec->slot, rec->shift)) &&
		       (!rec->token || (own && khd_space_fits(store, rec->token, rec->data_crc)));
	default:
		return true;
	}
}

/* A record that no store wrote must not say what a segment is. */
static void drop_misfits(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	size_t i, kept = 0;

	for (i = 0; i < r->scan.records.count; i++) {
		const struct khd_record *rec = &r->scan.records.at[i];

		if (fits(store, rec))
			r->scan.records.at[kept++] = *rec;
		else
			khd_store_damage(store, "slots", rec->slot, NULL,
					 "record of the log names no slot");
	}
	r->scan.records.count = kept;
}

/* What the log has; what it misses is reported, and the rest is used. */
static int read_log(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	struct khd_index_meta meta = { .lsn = store->lsn_checkpoint,
				       .tail = store->log.tail,
				       .sequence = store->log.tail_sequence,
				       .previous = store->log.tail_previous };
	int ret = khd_log_scan(store, &meta, true, &r->scan);

	if (!ret)
		ret = khd_log_cut(store, &r->scan, &r->limit);
	if (r->limit < r->scan.durable)
		r->limit = r->scan.durable;
	drop_misfits(r);
	return ret;
}

static int fresh_index(struct khd_store *store)
{
	struct khd_disk *disk = store->disk;
	int ret = disk->ops->remove(disk, KHD_FILE_WAL);

	if (!ret)
		ret = disk->ops->remove(disk, KHD_FILE_INDEX);
	if (!ret)
		ret = disk->ops->flush(disk);
	if (!ret)
		ret = khd_index_open(store, true);
	return ret ? ret : khd_index_begin(store->index);
}

static int write_rest(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	struct khd_index_meta meta = { .checkpoint = store->checkpoint + 1,
				       .lsn = r->limit,
				       .tail = r->scan.head,
				       .sequence = r->scan.sequence,
				       .previous = r->scan.previous };
	size_t i;
	int ret = store_segments(store);

	for (i = 0; i < store->ranges.count && !ret; i++) {
		ret = descriptor_now(store, &store->ranges.at[i]);
		if (!ret)
			ret = khd_index_store_range(store->index, &store->ranges.at[i]);
	}
	for (i = 0; i < store->parked.count && !ret; i++)
		ret = khd_index_store_parked(store->index, &store->parked.at[i]);
	/* descriptors that are none any more, and discarded parked units */
	for (i = 0; i < r->descriptors.count && !ret; i++)
		if (!khd_space_is_live(store, r->descriptors.at[i].slot))
			ret = tomb_now(store, r->descriptors.at[i].slot, r->limit);
	for (i = 0; i < store->dead.count && !ret; i++)
		ret = tomb_now(store, store->dead.at[i].slot, r->limit);
	if (!ret)
		ret = store->disk->ops->flush(store->disk);
	memcpy(meta.uuid, store->uuid, sizeof(meta.uuid));
	if (!ret)
		ret = khd_index_set_meta(store->index, &meta);
	if (!ret)
		ret = khd_index_commit(store->index);
	if (!ret)
		ret = khd_index_tidy(store->index);
	if (ret)
		return ret;
	store->checkpoint = meta.checkpoint;
	store->lsn_checkpoint = store->lsn_applied = meta.lsn;
	store->log.tail = meta.tail;
	store->log.tail_sequence = meta.sequence;
	store->log.tail_previous = meta.previous;
	return 0;
}

static int rebuild(struct rebuild *r)
{
	struct khd_store *store = r->walk.store;
	struct khd_block super;
	unsigned int bad;
	int ret = khd_super_load(store, &super, &bad);

	if (!ret)
		ret = khd_file_use(store);
	store->lsn_next = le64toh(super.super.lsn_next);
	if (!ret)
		ret = khd_history_load(store, le64toh(super.super.history), true);
	if (!ret)
		ret = read_log(r);
	if (!ret)
		ret = find_segments(r);
	r->walk.slot = find_descriptor;
	if (!ret)
		ret = khd_walk(&r->walk);
	r->walked = r->descriptors.count;
	if (!ret)
		ret = replay_ranges(r);
	if (!ret)
		ret = take_ranges(r);
	if (!ret)
		ret = fresh_index(store);
	r->walk.slot = find_unit;
	r->walk.data = true;
	if (!ret)
		ret = khd_walk(&r->walk);
	if (!ret)
		ret = replay_units(r);
	if (!ret)
		ret = committed(r, true);
	if (!ret)
		ret = find_live(r);
	store->epoch++;
	store->failed = false; /* everything was read from the disk, and the index is new */
	store->checks++;
	if (!ret)
		ret = write_rest(r);
	if (!ret)
		ret = khd_history_close(store);
	if (!ret)
		ret = khd_super_write(store, true);
	return ret ? ret : khd_super_write(store, true);
}

int khd_store_rebuild(struct khd_disk *disk, khd_store_event *event, void *arg)
{
	struct khd_store *store = khd_store_alloc(disk, NULL, event, arg);
	struct rebuild *r = calloc(1, sizeof(*r));
	int ret = -ENOMEM;

	if (store && r) {
		r->walk.store = store;
		ret = rebuild(r);
		khd_store_say(store, "store",
			      ret ? "rebuild failed: %llu units, %zu ranges, %zu parked" :
				    "rebuilt: %llu units, %zu ranges, %zu parked",
			      (unsigned long long)r->units, store->ranges.count,
			      store->parked.count);
	}
	if (r) {
		free(r->scan.records.at);
		free(r->descriptors.at);
		free(r->parked.at);
	}
	free(r);
	khd_store_free(store);
	return ret;
}
