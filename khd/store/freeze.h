/* SPDX-License-Identifier: GPL-2.0-or-later */
/* freeze.h - what a checkpoint writes, as it was at one moment */
#ifndef KHD_STORE_FREEZE_H
#define KHD_STORE_FREEZE_H

#include "khd/store/store_priv.h"

/**
 * struct khd_frozen - all that the index does not have
 * @meta: of the index
 * @rows: units, pinned
 * @ranges: whose descriptors are written, too
 * @dead: slots that are free when this is durable, and tombs to be written before
 * @parked: units that were set aside
 * @discarded: ids of parked units that go
 * @segments: with their bitmaps
 * @bits: by segment: memory for its row
 * @bits_count: of them
 */
struct khd_frozen {
	struct khd_index_meta meta;
	KHD_VECTOR(struct khd_row) rows;
	KHD_VECTOR(struct khd_extent) ranges;
	KHD_VECTOR(struct khd_dead) dead;
	KHD_VECTOR(struct khd_parked_unit) parked;
	KHD_VECTOR(uint64_t) discarded;
	KHD_VECTOR(struct khd_segment_row) segments;
	void **bits;
	size_t bits_count;
};

/* All the memory that khd_freeze() takes; false: it is not there, and that is not to be called. */
bool khd_freeze_room(struct khd_store *store, struct khd_frozen *f);
/* What is dirty goes to @f, and is so no more. */
void khd_freeze(struct khd_store *store, struct khd_frozen *f);
/* The index and the superblock have it: units are let go, slots and segments given back. */
void khd_frozen_durable(struct khd_store *store, struct khd_frozen *f);
/* Frees what it refers to. */
void khd_frozen_free(struct khd_frozen *f);

#endif /* KHD_STORE_FREEZE_H */
