// SPDX-License-Identifier: GPL-2.0-or-later
/* slot.c - blocks: made and verified; slots: written and read */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

/**
 * struct khd_write - puts whose slots lie side by side, in one write
 * @next: in the store's free ones
 * @ops: in the order of their slots
 */
struct khd_write {
	struct khd_disk_io io;
	struct iovec iov[2 * KHD_MERGE];
	struct khd_write *next;
	struct khd_store *store;
	struct khd_op *ops[KHD_MERGE];
	struct khd_block *blocks[KHD_MERGE];
	unsigned int count;
	uint64_t bytes;
};
static_assert(2 * KHD_MERGE <= KHD_DISK_IOVS, "a write fits an I/O");

#define WRITES_KEPT 64u

void *khd_buffer(size_t bytes)
{
	size_t whole = (bytes + KHD_DISK_ALIGN - 1) / KHD_DISK_ALIGN * KHD_DISK_ALIGN;
	/* a block alone need not lie on a page */
	void *buf = bytes <= KHD_SECTOR ? aligned_alloc(KHD_SECTOR, KHD_SECTOR) :
					  aligned_alloc(KHD_DISK_ALIGN, whole);

	if (buf)
		memset(buf, 0, bytes);
	return buf;
}

/* ---------------------------------------------------------------- blocks */

void khd_block_seal(const struct khd_store *store, struct khd_block *block,
		    enum khd_block_kind kind, unsigned int class, uint64_t position, uint64_t lsn)
{
	block->head = (struct khd_block_head){
		.magic = htole32(KHD_FORMAT_MAGIC),
		.version = htole16(KHD_FORMAT_VERSION),
		.kind = (uint8_t)kind,
		.class = (uint8_t) class,
		.position = htole64(position),
		.lsn = htole64(lsn),
		.epoch = htole64(store->epoch),
	};
	memcpy(block->head.uuid, store->uuid, sizeof(block->head.uuid));
	block->zero = 0;
	block->crc = htole32(khd_crc32c(0, block, offsetof(struct khd_block, crc)));
}

const char *khd_block_verify(const struct khd_block *block, const uint8_t *uuid, uint64_t position)
{
	if (le32toh(block->head.magic) != KHD_FORMAT_MAGIC)
		return "no block";
	if (le32toh(block->crc) != khd_crc32c(0, block, offsetof(struct khd_block, crc)))
		return "CRC of the block";
	if (le16toh(block->head.version) != KHD_FORMAT_VERSION)
		return "format version";
	if (uuid && memcmp(block->head.uuid, uuid, sizeof(block->head.uuid)))
		return "of another store";
	if (le64toh(block->head.position) != position)
		return "of another place";
	return NULL;
}

void khd_block_of_extent(const struct khd_store *store, struct khd_block *block,
			 const struct khd_extent *e)
{
	int segment = khd_space_segment_of(store, e->slot);

	memset(block, 0, sizeof(*block));
	block->slot.addr_hi = htole64((uint64_t)(e->start >> 64));
	block->slot.addr_lo = htole64((uint64_t)e->start);
	block->slot.generation = htole64(e->generation);
	block->slot.units = htole64(e->units);
	block->slot.born = htole64(e->born);
	block->slot.shift = e->shift;
	memcpy(block->slot.tag, e->tag.bytes, sizeof(block->slot.tag));
	khd_block_seal(store, block, KHD_BLOCK_RANGE,
		       segment < 0 ? 0 : store->segments.at[segment].class, e->slot, e->lsn);
}

const char *khd_range_wrong(const struct khd_store *store, const struct khd_extent *e,
			    const struct khd_block *block)
{
	const char *wrong = khd_block_verify(block, store->uuid, e->slot);
	struct khd_block expected;

	khd_block_of_extent(store, &expected, e);
	if (!wrong && (le64toh(block->head.lsn) < e->lsn ||
		       (le64toh(block->head.lsn) == e->lsn &&
			memcmp(block->bytes, expected.bytes, sizeof(block->bytes)))))
		wrong = "not the range's descriptor";
	return wrong;
}

void khd_slot_fill(struct khd_store *store, struct khd_op *op, struct khd_block *block,
		   enum khd_block_kind kind, const struct khd_tag *tag)
{
	const struct khd_store_op *api = khd_api(op);

	block->slot.addr_hi = htole64(api->key.addr.hi);
	block->slot.addr_lo = htole64(api->key.addr.lo);
	block->slot.generation = htole64(api->key.generation);
	block->slot.version = htole64(api->meta.version);
	block->slot.token = htole64(api->meta.token);
	block->slot.data_crc = htole32(op->crc);
	block->slot.shift = (uint8_t)api->key.shift;
	memcpy(block->slot.tag, tag->bytes, sizeof(block->slot.tag));
	khd_block_seal(store, block, kind, api->key.shift, op->slot, op->lsn);
}

/* ---------------------------------------------------------------- writing */

static void written(struct khd_disk_io *io, int64_t res)
{
	struct khd_write *w = kh_container(io, struct khd_write, io);
	struct khd_store *store = w->store;
	bool ok = res >= 0 && (uint64_t)res == w->bytes;
	unsigned int i;

	khd_store_enter(store);
	store->ios--;
	store->unwritten -= w->count;
	if (!ok)
		khd_store_fail(store, EIO, res < 0 ? "writing the slot file" : "short write",
			       io->offset);
	for (i = 0; i < w->count; i++) {
		khd_op_written(w->ops[i], ok);
		free(w->blocks[i]);
	}
	if (store->writes_kept < WRITES_KEPT) {
		w->next = store->writes;
		store->writes = w;
		store->writes_kept++;
	} else {
		free(w);
	}
	khd_store_leave(store);
}

void khd_slot_submit(struct khd_store *store)
{
	struct khd_write *w = store->batch;

	if (!w)
		return;
	store->batch = NULL;
	khd_io(store, &w->io);
}

static struct khd_write *new_write(struct khd_store *store)
{
	struct khd_write *w = store->writes;

	if (w) {
		store->writes = w->next;
		store->writes_kept--;
	} else {
		w = malloc(sizeof(*w));
	}
	if (w) { /* its arrays are long, and filled in as it goes */
		w->io = (struct khd_disk_io){ 0 };
		w->next = NULL;
		w->count = 0;
		w->bytes = 0;
	}
	return w;
}

/* The operation's unit to its slot, behind what the open write has if they are neighbours. */
void khd_slot_write(struct khd_op *op, struct khd_block *block, bool more)
{
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_write *w = store->batch;

	if (w && (w->count == KHD_MERGE || w->io.offset + w->bytes != op->slot)) {
		khd_slot_submit(store);
		w = NULL;
	}
	if (!w) {
		w = new_write(store);
		if (!w) { /* it has a number and a record: there is no way back */
			khd_store_fail(store, ENOMEM, "writing the slot file", op->slot);
			free(block);
			khd_op_written(op, false);
			return;
		}
		w->store = store;
		w->io = (struct khd_disk_io){ .op = KHD_DISK_WRITE,
					      .file = KHD_FILE_SLOTS,
					      .offset = op->slot,
					      .iov = w->iov,
					      .done = written };
		store->batch = w;
	}
	w->ops[w->count] = op;
	w->blocks[w->count++] = block;
	w->iov[w->io.iovs++] = (struct iovec){ block, store->sector };
	w->iov[w->io.iovs++] = api->iov;
	w->bytes += store->sector + api->iov.iov_len;
	store->unwritten++;
	if (!more)
		khd_slot_submit(store);
}

void khd_slot_pool_free(struct khd_store *store)
{
	while (store->writes) {
		struct khd_write *w = store->writes;

		store->writes = w->next;
		free(w);
	}
}

/* ---------------------------------------------------------------- raw writes */

static void raw_done(struct khd_disk_io *io, int64_t res)
{
	struct khd_raw *raw = kh_container(io, struct khd_raw, io);
	struct khd_store *store = raw->store;
	bool ok = res >= 0 && (uint64_t)res == raw->iov.iov_len;

	khd_store_enter(store);
	store->ios--;
	if (!ok)
		khd_store_fail(store, EIO, res < 0 ? "writing the slot file" : "short write",
			       io->offset);
	raw->done(store, raw, ok);
	free(raw->iov.iov_base);
	free(raw);
	khd_store_leave(store);
}

/* @buf becomes the write's. */
bool khd_raw_try(struct khd_store *store, uint64_t offset, void *buf, size_t bytes, uint64_t arg,
		 void (*done)(struct khd_store *, struct khd_raw *, bool))
{
	struct khd_raw *raw = calloc(1, sizeof(*raw));

	if (!raw || !buf) {
		free(raw);
		free(buf);
		return false;
	}
	raw->store = store;
	raw->done = done;
	raw->arg = arg;
	raw->iov = (struct iovec){ buf, bytes };
	raw->io = (struct khd_disk_io){ .op = KHD_DISK_WRITE,
					.file = KHD_FILE_SLOTS,
					.offset = offset,
					.iov = &raw->iov,
					.iovs = 1,
					.done = raw_done };
	khd_io(store, &raw->io);
	return true;
}

/* Without memory the store is out of service, and @done is not called. */
void khd_raw_write(struct khd_store *store, uint64_t offset, void *buf, size_t bytes, uint64_t arg,
		   void (*done)(struct khd_store *, struct khd_raw *, bool))
{
	if (!khd_raw_try(store, offset, buf, bytes, arg, done))
		khd_store_fail(store, ENOMEM, "writing the slot file", offset);
}

/* ---------------------------------------------------------------- reading */

const char *khd_slot_verify(const struct khd_store *store, const struct khd_block *block,
			    const void *data, const struct khd_expect *expect)
{
	const char *wrong = khd_block_verify(block, store->uuid, expect->slot);

	if (wrong && store->plant == KHD_PLANT_NO_POSITION_CHECK &&
	    !strcmp(wrong, "of another place"))
		wrong = NULL;
	if (wrong)
		return wrong;
	if (store->plant != KHD_PLANT_NO_POSITION_CHECK) {
		if (block->head.kind != expect->kind ||
		    le64toh(block->slot.addr_hi) != expect->key.addr.hi ||
		    le64toh(block->slot.addr_lo) != expect->key.addr.lo ||
		    le64toh(block->slot.generation) != expect->key.generation ||
		    block->slot.shift != expect->key.shift)
			return "another unit's";
		if (le64toh(block->slot.version) != expect->version ||
		    le64toh(block->head.lsn) != expect->lsn)
			return "another version";
		if (le32toh(block->slot.data_crc) != expect->crc)
			return "another CRC than the index's";
	}
	if (store->plant != KHD_PLANT_TRUST_BAD_CRC &&
	    khd_crc32c(0, data, 1ull << expect->key.shift) != le32toh(block->slot.data_crc))
		return "CRC of the data";
	return NULL;
}

static void read_done(struct khd_disk_io *io, int64_t res)
{
	struct khd_slot_read *read = kh_container(io, struct khd_slot_read, raw.io);
	struct khd_store *store = read->raw.store;
	bool ok = res >= 0 && (uint64_t)res == read->iov[0].iov_len + read->iov[1].iov_len;
	const char *wrong = ok ? NULL : "read error";
	int error = ok ? 0 : res == -ENOMEM ? ENOMEM : EIO;

	khd_store_enter(store);
	store->ios--;
	if (ok)
		wrong = khd_slot_verify(store, read->block, read->iov[1].iov_base, &read->expect);
	if (error == EIO)
		khd_store_fail(store, EIO, "reading the slot file", read->expect.slot);
	free(read->block);
	read->done(read, wrong, error);
	khd_store_leave(store);
}

/* Its done frees @read; without memory this does, and the done is not called: false. */
bool khd_slot_read(struct khd_store *store, struct khd_slot_read *read, void *data)
{
	read->raw.store = store;
	read->block = khd_buffer(store->sector);
	if (!read->block) {
		free(read);
		return false;
	}
	read->iov[0] = (struct iovec){ read->block, store->sector };
	read->iov[1] = (struct iovec){ data, 1ull << read->expect.key.shift };
	read->raw.io = (struct khd_disk_io){ .op = KHD_DISK_READ,
					     .file = KHD_FILE_SLOTS,
					     .offset = read->expect.slot,
					     .iov = read->iov,
					     .iovs = 2,
					     .done = read_done };
	khd_io(store, &read->raw.io);
	return true;
}

/* At start and offline.  @wrong: NULL or what is wrong.  0 or a negative errno of the device. */
int khd_slot_read_now(struct khd_store *store, const struct khd_expect *expect, void *data,
		      const char **wrong)
{
	size_t bytes = (size_t)1 << expect->key.shift;
	uint8_t *buf = khd_buffer(store->sector + bytes);
	int64_t n;

	if (!buf)
		return -ENOMEM;
	n = khd_disk_read_now(store->disk, KHD_FILE_SLOTS, expect->slot, buf,
			      store->sector + bytes);
	*wrong = NULL;
	if (n >= 0 && (uint64_t)n < store->sector + bytes)
		*wrong = "the file ends";
	else if (n >= 0)
		*wrong = khd_slot_verify(store, (struct khd_block *)buf, buf + store->sector,
					 expect);
	if (data && n >= 0)
		memcpy(data, buf + store->sector, bytes);
	free(buf);
	return n < 0 ? (int)n : 0;
}
