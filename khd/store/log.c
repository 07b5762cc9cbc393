// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * log.c - the redo log and its groups
 *
 * While one group is on its way (its log blocks and slots are written, then one flush) the next
 * collects.  A block says up to which record everything was durable when it was written: what is
 * missing below that is damage, what is missing above was never acknowledged.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

static size_t cells_of_block(const struct khd_store *store)
{
	return (store->log.block - sizeof(struct khd_log_head)) / KHD_CELL;
}

/* May @cells more be appended?  The worst blocks that they can make must fit before the tail. */
bool khd_log_room(struct khd_store *store, unsigned int cells)
{
	const struct khd_log *log = &store->log;
	uint64_t pending = log->cells.count / KHD_CELL + cells;
	/* a record of two cells may leave one empty at a block's end; and the ring's end one block */
	uint64_t blocks = pending / (cells_of_block(store) - 1) + 3;

	if (log->used + blocks * log->block <= store->log_bytes)
		return true;
	khd_checkpoint_want(store);
	return false;
}

int khd_log_append(struct khd_store *store, const struct khd_record *rec)
{
	struct khd_log *log = &store->log;
	struct khd_record le = {
		.type = rec->type,
		.shift = rec->shift,
		.cells = htole16(rec->cells),
		.data_crc = htole32(rec->data_crc),
		.lsn = htole64(rec->lsn),
		.addr_hi = htole64(rec->addr_hi),
		.addr_lo = htole64(rec->addr_lo),
		.generation = htole64(rec->generation),
		.version = htole64(rec->version),
		.token = htole64(rec->token),
		.slot = htole64(rec->slot),
		.old_hi = htole64(rec->old_hi),
		.old_lo = htole64(rec->old_lo),
		.old_units = htole64(rec->old_units),
		.born = htole64(rec->born),
	};
	size_t bytes = rec->cells * KHD_CELL;

	memcpy(le.tag, rec->tag, sizeof(le.tag));
	if (!khd_grow(&log->cells.at, log->cells.count + bytes, &log->cells.capacity, 1))
		return -ENOMEM;
	memcpy(log->cells.at + log->cells.count, &le, bytes);
	log->cells.count += bytes;
	log->last = rec->lsn;
	return 0;
}

static void block_done(struct khd_store *store, struct khd_raw *raw, bool ok)
{
	store->log.writes--;
}

/* One block of @bytes of cells. */
static void write_block(struct khd_store *store, const uint8_t *cells, size_t bytes, uint64_t last)
{
	struct khd_log *log = &store->log;
	size_t total = (sizeof(struct khd_log_head) + bytes + store->sector - 1) / store->sector *
		       store->sector;
	struct khd_log_head *head = khd_buffer(total);

	if (!head) {
		khd_store_fail(store, ENOMEM, "redo log", 0);
		return;
	}
	if (log->head + total > store->log_bytes) {
		log->used += store->log_bytes - log->head;
		log->head = 0;
	}
	head->head = (struct khd_block_head){
		.magic = htole32(KHD_FORMAT_MAGIC),
		.version = htole16(KHD_FORMAT_VERSION),
		.kind = KHD_BLOCK_LOG,
		.position = htole64(KHD_LOG_AT + log->head),
		.lsn = htole64(last),
		.epoch = htole64(store->epoch),
	};
	memcpy(head->head.uuid, store->uuid, sizeof(head->head.uuid));
	head->sequence = htole64(log->sequence++);
	head->durable = htole64(store->lsn_durable);
	head->bytes = htole32((uint32_t)total);
	head->cells = htole32((uint32_t)(bytes / KHD_CELL));
	head->previous = htole32(log->previous);
	if (bytes)
		memcpy(head + 1, cells, bytes);
	log->previous = khd_log_crc(head, total);
	head->crc = htole32(log->previous);
	log->claimed = store->lsn_durable;
	log->writes++;
	khd_raw_write(store, KHD_LOG_AT + log->head, head, total, 0, block_done);
	log->head += total;
	log->used += total;
	if (log->head == store->log_bytes)
		log->head = 0;
}

uint32_t khd_log_crc(const struct khd_log_head *head, size_t bytes)
{
	uint32_t crc = khd_crc32c(0, head, offsetof(struct khd_log_head, crc));

	return khd_crc32c(crc, head + 1, bytes - sizeof(*head));
}

/* The group that collected is closed and goes to the disk. */
static void seal(struct khd_store *store)
{
	struct khd_log *log = &store->log;
	size_t most = cells_of_block(store) * KHD_CELL, from = 0, at = 0;
	uint64_t last = log->group_last;

	log->state = KHD_GROUP_WRITING;
	log->group_last = log->last;
	while (at < log->cells.count && !store->error) {
		const struct khd_record *rec = (const void *)(log->cells.at + at);
		size_t bytes = (size_t)le16toh(rec->cells) * KHD_CELL;

		if (at + bytes - from > most) {
			write_block(store, log->cells.at + from, at - from, last);
			from = at;
		}
		last = le64toh(rec->lsn);
		at += bytes;
	}
	if (!store->error)
		write_block(store, log->cells.at + from, at - from, last);
	log->cells.count = 0;
	if (log->used > store->log_bytes / 2)
		khd_checkpoint_want(store);
}

static void flushed(struct khd_disk_io *io, int64_t res)
{
	struct khd_store *store = kh_container(io, struct khd_store, log.flush);

	khd_store_enter(store);
	store->ios--;
	store->log.state = KHD_GROUP_IDLE;
	if (res < 0)
		khd_store_fail(store, EIO, "flush", 0);
	else
		store->lsn_durable = store->log.group_last;
	store->stats.groups++;
	khd_store_leave(store);
}

static void no_flush(struct khd_job *job)
{
}

static void no_flush_done(struct khd_job *job)
{
	struct khd_store *store = kh_container(job, struct khd_job_of, job)->store;

	store->jobs--;
	store->ios++;
	flushed(&store->log.flush, 0);
}

void khd_log_kick(struct khd_store *store)
{
	struct khd_log *log = &store->log;

	if (store->error)
		return;
	if (log->state == KHD_GROUP_IDLE && log->want > store->lsn_durable && log->cells.count)
		seal(store);
	if (log->state != KHD_GROUP_WRITING || log->writes || store->headers ||
	    store->lsn_applied < log->group_last || store->error)
		return;
	log->state = KHD_GROUP_FLUSHING;
	log->flush = (struct khd_disk_io){ .op = KHD_DISK_FLUSH,
					   .file = KHD_FILE_SLOTS,
					   .done = flushed };
	if (store->plant == KHD_PLANT_SKIP_FLUSH) {
		log->no_flush = (struct khd_job_of){ { no_flush, no_flush_done, NULL }, store };
		khd_job(store, &log->no_flush.job);
		return;
	}
	khd_io(store, &log->flush);
}

void khd_log_want(struct khd_store *store, uint64_t lsn)
{
	if (store->log.want < lsn)
		store->log.want = lsn;
}

/*
 * Nothing happens: say in the log that all of it is durable, so that the rot of its last group is
 * not taken for a torn tail.  Was there something to say?
 */
bool khd_log_claim(struct khd_store *store)
{
	struct khd_log *log = &store->log;

	if (store->error || log->state != KHD_GROUP_IDLE || log->cells.count || log->writes ||
	    log->claimed >= store->lsn_durable || store->lsn_durable <= store->lsn_checkpoint ||
	    log->used + 4 * log->block > store->log_bytes)
		return false;
	write_block(store, NULL, 0, store->lsn_durable);
	return true;
}

/* The superblock says that replay begins at @tail: what is before it can be overwritten. */
void khd_log_release(struct khd_store *store, uint64_t tail)
{
	store->log.tail = tail;
	store->log.used = (store->log.head + store->log_bytes - tail) % store->log_bytes;
}
