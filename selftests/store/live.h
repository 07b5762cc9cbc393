/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live.h - which sectors of a slot file are needed, by what the world says and not the store
 */
#ifndef STORE_LIVE_H
#define STORE_LIVE_H

#include "selftests/store/image.h"
#include "selftests/store/world.h"

/**
 * struct live - of an image of a slot file
 * @sectors: of it
 * @sector: bytes to which the store pads its blocks
 * @needed: by sector: 1 if what it has must be missed when it rots
 * @units, @parked, @ranges, @segments, @records: of which there are, for those who count: slots,
 *descriptors, segments with one of them, log blocks whose records were claimed to be durable
 */
struct live {
	uint64_t sectors;
	uint32_t sector;
	uint8_t *needed;
	uint32_t units, parked, ranges, segments, records;
};

/* Of a store that was closed in order: the log needs no block then.  false: no memory, no store. */
bool live_find(struct live *live, const struct image *img, struct world *world);

/* The log of one that is open, from the superblock's tail: what a later block claims. */
bool live_find_log(struct live *live, const struct image *img);

void live_free(struct live *live);

#endif /* STORE_LIVE_H */
