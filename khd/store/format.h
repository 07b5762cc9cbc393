/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * format.h - what is on the disk, byte by byte (Documentation/storage.rst)
 *
 * Little endian.  The slot file is
 *
 *	0		superblock 0		one block each, padded to a sector
 *	4096		superblock 1
 *	8192		history			KHD_HISTORY_BLOCKS blocks, one every 4096 bytes
 *	73728		redo log, a ring	log_bytes
 *	segments_at	segments		segment bytes each
 *
 * and a segment is a block, then slots of one class, and in its last sector a copy of the block.
 * A slot is a block, padded to a sector, and the unit's bytes.  Every block is one sector of 512
 * bytes, so that it is old or new and never torn, and says where it belongs.
 */
#ifndef KHD_STORE_FORMAT_H
#define KHD_STORE_FORMAT_H

#include <assert.h>
#include <endian.h>
#include <stdint.h>

#define KHD_FORMAT_VERSION 1
#define KHD_FORMAT_MAGIC 0x53415a4bu /* "KZAS" */

#define KHD_SUPERS 2
#define KHD_SUPER_STRIDE 4096u
#define KHD_HISTORY_AT (KHD_SUPERS * KHD_SUPER_STRIDE)
#define KHD_HISTORY_BLOCKS 16u
#define KHD_HISTORY_STRIDE 4096u
#define KHD_LOG_AT (KHD_HISTORY_AT + KHD_HISTORY_BLOCKS * KHD_HISTORY_STRIDE)

#define KHD_CLASS_NONE 0 /* a segment of the pool */
#define KHD_CLASS_META 8 /* slots without a unit; others are the shift of their unit */
#define KHD_CLASSES 22

enum khd_block_kind {
	KHD_BLOCK_SUPER = 1,
	KHD_BLOCK_HISTORY = 2,
	KHD_BLOCK_SEGMENT = 3,
	KHD_BLOCK_DATA = 4, /* a unit */
	KHD_BLOCK_RANGE = 5, /* a reserved range */
	KHD_BLOCK_TOMB = 6, /* was a range or a parked unit, is nothing */
	KHD_BLOCK_PARKED = 7, /* a unit that was set aside */
	KHD_BLOCK_LOG = 8,
};

/* The beginning of everything. */
struct khd_block_head {
	uint32_t magic;
	uint16_t version; /* of the format */
	uint8_t kind;
	uint8_t class; /* DATA, RANGE, TOMB, PARKED, SEGMENT: of the segment */
	uint8_t uuid[16]; /* of the store */
	uint64_t position; /* byte offset of this block in the file */
	uint64_t lsn; /* store-wide sequence number of the change */
	uint64_t epoch; /* of the start of the store that wrote it */
};
static_assert(sizeof(struct khd_block_head) == 48, "format");

struct khd_block_super {
	uint64_t sequence; /* the higher of the two counts */
	uint64_t capacity; /* bytes that the file may take */
	uint64_t segment; /* bytes */
	uint64_t log_bytes;
	uint64_t segments_at;
	uint64_t checkpoint; /* number that the index has at least */
	uint64_t tail_at; /* offset in the ring of the first block to replay */
	uint64_t tail_sequence; /* its sequence number */
	uint64_t lsn_next; /* clean: the first unused one */
	uint64_t history; /* intervals in the history */
	uint32_t tail_previous; /* CRC of the block before the tail */
	uint32_t sector; /* bytes of the device's sector when the store was made */
	uint32_t clean; /* 1: closed in order; head.lsn is the last there was */
	uint32_t failed; /* 1: its disk did, and nobody has found it whole since */
	uint64_t checks; /* how often it was found whole */
	uint32_t zero[88];
};

/* Numbers that were given out and never acknowledged, as first and last. */
#define KHD_HISTORY_ENTRIES 28
#define KHD_HISTORY_MAX (KHD_HISTORY_BLOCKS * KHD_HISTORY_ENTRIES) /* crashes */
struct khd_block_history {
	uint32_t count;
	uint32_t zero;
	struct {
		uint64_t first, last;
	} entry[KHD_HISTORY_ENTRIES];
};

struct khd_block_slot {
	uint64_t addr_hi, addr_lo;
	uint64_t generation;
	uint64_t version;
	uint64_t token;
	uint8_t tag[24];
	uint64_t units; /* RANGE, TOMB of one */
	uint64_t born; /* RANGE: lsn of the reservation */
	uint32_t data_crc; /* DATA, PARKED */
	uint8_t shift; /* of the unit, or of the range's */
	uint8_t zero[371];
};

struct khd_block_segment {
	uint64_t number;
	uint8_t zero[448];
};

struct khd_block {
	struct khd_block_head head;
	union {
		struct khd_block_super super;
		struct khd_block_history history;
		struct khd_block_slot slot;
		struct khd_block_segment segment;
		uint8_t bytes[456];
	};
	uint32_t zero;
	uint32_t crc; /* CRC32C of the 508 bytes before */
};
static_assert(sizeof(struct khd_block) == 512, "a block is a sector");
static_assert(sizeof(struct khd_block_super) == 456, "format");
static_assert(sizeof(struct khd_block_history) == 456, "format");
static_assert(sizeof(struct khd_block_slot) == 456, "format");
static_assert(sizeof(struct khd_block_segment) == 456, "format");

/* ---------------------------------------------------------------- redo log */

/* Head of a log block: cells of records follow, then zeros up to a sector. */
struct khd_log_head {
	struct khd_block_head
		head; /* lsn: of its last record, of the one before it if there is none */
	uint64_t sequence; /* one more than the block before */
	uint64_t durable; /* every record up to this one was durable when this was written */
	uint32_t bytes; /* of the block, padding included */
	uint32_t cells;
	uint32_t previous; /* crc of the block before */
	uint32_t crc; /* CRC32C of all bytes of the block but these four */
};
static_assert(sizeof(struct khd_log_head) == 80, "format");

enum khd_record_type {
	KHD_RECORD_PUT = 1,
	KHD_RECORD_RESERVE = 2,
	KHD_RECORD_RELEASE = 3,
	KHD_RECORD_PARK = 4,
	KHD_RECORD_DISCARD = 5,
};

#define KHD_CELL 64u

/* One cell for PUT, two for the others. */
struct khd_record {
	uint8_t type;
	uint8_t shift;
	uint16_t cells;
	uint32_t data_crc; /* PUT, PARK; RELEASE: class of the second slot */
	uint64_t lsn;
	uint64_t addr_hi, addr_lo; /* of the unit; RESERVE: start; RELEASE: start of what goes */
	uint64_t generation;
	uint64_t version; /* RELEASE: units that go; DISCARD: id */
	uint64_t token; /* RELEASE: second slot, 0 if none; RESERVE: units */
	uint64_t slot; /* byte offset; RESERVE, RELEASE: of the descriptor */
	/* second cell */
	uint64_t old_hi, old_lo; /* RELEASE: the range before */
	uint64_t old_units;
	uint64_t born;
	uint8_t tag[24]; /* RESERVE, RELEASE, PARK */
	uint64_t zero;
};
static_assert(sizeof(struct khd_record) == 2 * KHD_CELL, "format");

#endif /* KHD_STORE_FORMAT_H */
