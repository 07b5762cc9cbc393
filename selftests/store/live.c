// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * live.c - which sectors of a slot file are needed
 *
 * Nothing of the engine is used but its format: a slot is needed if it has the newest version that
 * was acknowledged for its unit; a descriptor and a parked unit, if they are there; a segment's two
 * blocks, if one of these lies in it.
 */
#include <stdlib.h>
#include <string.h>

#include "khd/store/format.h"
#include "selftests/store/live.h"

static bool block_at(const struct image *img, uint64_t at, struct khd_block *block)
{
	image_read(img, at, block, sizeof(*block));
	return le32toh(block->head.magic) == KHD_FORMAT_MAGIC &&
	       le64toh(block->head.position) == at;
}

/* The superblock that counts. */
static bool super_of(const struct image *img, struct khd_block *super)
{
	struct khd_block block;
	bool found = false;
	unsigned int i;

	for (i = 0; i < KHD_SUPERS; i++)
		if (block_at(img, i * KHD_SUPER_STRIDE, &block) &&
		    block.head.kind == KHD_BLOCK_SUPER &&
		    (!found || le64toh(block.super.sequence) > le64toh(super->super.sequence))) {
			*super = block;
			found = true;
		}
	return found;
}

static bool begin(struct live *live, const struct image *img, struct khd_block *super)
{
	memset(live, 0, sizeof(*live));
	live->sectors = img->size / KHD_SECTOR;
	live->needed = calloc(live->sectors, 1);
	if (!live->needed || !super_of(img, super))
		return false;
	live->sector = le32toh(super->super.sector);
	return true;
}

static void need(struct live *live, uint64_t at, uint64_t bytes)
{
	for (; bytes; at += KHD_SECTOR, bytes -= KHD_SECTOR)
		live->needed[at / KHD_SECTOR] = 1;
}

/* The rest of the block's sector nobody needs. */
static void need_slot(struct live *live, uint64_t at, uint32_t shift)
{
	need(live, at, KHD_SECTOR);
	need(live, at + live->sector, 1ull << shift);
}

/* The unit of the world whose newest acknowledged version this is; -1: of none. */
static int64_t unit_of(struct world *world, const struct khd_block *block)
{
	const struct khd_block_slot *s = &block->slot;
	struct khazana_addr addr = { .hi = le64toh(s->addr_hi), .lo = le64toh(s->addr_lo) };
	int64_t unit = world_find(world, addr);
	const struct world_unit *u = unit < 0 ? NULL : &world->units[unit];

	if (!u || u->state != WORLD_IN || u->generation != le64toh(s->generation) || !u->acked ||
	    u->acked != le64toh(s->version) ||
	    world_place_of(world, (uint32_t)unit)->shift != s->shift)
		return -1;
	return unit;
}

static bool is_parked(const struct world *world, const struct khd_block *block)
{
	uint32_t i;

	for (i = 0; i < WORLD_PARKED; i++)
		if (world->parked[i].state == WORLD_IN &&
		    world->parked[i].meta.token == le64toh(block->slot.token))
			return true;
	return false;
}

bool live_find(struct live *live, const struct image *img, struct world *world)
{
	uint64_t *slots = calloc(world->unit_count, sizeof(*slots)), at, from, segment;
	uint64_t *lsns = calloc(world->unit_count, sizeof(*lsns));
	struct khd_block super, block;
	bool ok = begin(live, img, &super) && slots && lsns;
	int64_t unit;
	uint32_t i;

	from = ok ? le64toh(super.super.segments_at) : img->size;
	segment = ok ? le64toh(super.super.segment) : 1;
	for (at = from; at < img->size; at += KHD_SECTOR) {
		if (!block_at(img, at, &block))
			continue;
		unit = block.head.kind == KHD_BLOCK_DATA ? unit_of(world, &block) : -1;
		/* the same version may have come twice: the later one counts */
		if (unit >= 0 && le64toh(block.head.lsn) > lsns[unit]) {
			lsns[unit] = le64toh(block.head.lsn);
			slots[unit] = at;
		} else if (block.head.kind == KHD_BLOCK_PARKED && is_parked(world, &block)) {
			need_slot(live, at, block.slot.shift);
			live->parked++;
		} else if (block.head.kind == KHD_BLOCK_RANGE) {
			need(live, at, KHD_SECTOR);
			live->ranges++;
		}
	}
	for (i = 0; ok && i < world->unit_count; i++) {
		const struct world_place *p = world_place_of(world, i);

		if (!slots[i])
			continue;
		need_slot(live, slots[i], p->shift);
		live->units++;
	}
	for (at = from; at + segment <= img->size; at += segment) {
		uint64_t sector = at / KHD_SECTOR, end = (at + segment) / KHD_SECTOR;

		while (sector < end && !live->needed[sector])
			sector++;
		if (sector == end)
			continue;
		need(live, at, KHD_SECTOR);
		need(live, at + segment - live->sector, KHD_SECTOR);
		live->segments++;
	}
	if (ok)
		need(live, 0, KHD_SECTOR);
	if (ok)
		need(live, KHD_SUPER_STRIDE, KHD_SECTOR);
	free(slots);
	free(lsns);
	return ok;
}

/* One way along the log: the highest claim, or, with it, what it covers. */
static void along(struct live *live, const struct image *img, const struct khd_block *super,
		  uint64_t *claim)
{
	uint64_t log = le64toh(super->super.log_bytes), at = le64toh(super->super.tail_at), tries;
	uint64_t sequence = le64toh(super->super.tail_sequence);
	bool mark = *claim;

	for (tries = 0; tries < 2 * log / KHD_SECTOR; tries++) {
		union {
			struct khd_log_head log;
			struct khd_block block;
		} b;

		if (at >= log || !block_at(img, KHD_LOG_AT + at, &b.block) ||
		    b.block.head.kind != KHD_BLOCK_LOG || le64toh(b.log.sequence) != sequence) {
			if (!at)
				break;
			at = 0;
			continue;
		}
		if (!mark && le64toh(b.log.durable) > *claim)
			*claim = le64toh(b.log.durable);
		if (mark && b.log.cells && le64toh(b.log.head.lsn) <= *claim) {
			need(live, KHD_LOG_AT + at, le32toh(b.log.bytes));
			live->records++;
		}
		at += le32toh(b.log.bytes);
		sequence++;
	}
}

bool live_find_log(struct live *live, const struct image *img)
{
	struct khd_block super;
	uint64_t claim = 0;

	if (!begin(live, img, &super))
		return false;
	along(live, img, &super, &claim);
	if (claim)
		along(live, img, &super, &claim);
	return true;
}

void live_free(struct live *live)
{
	free(live->needed);
	memset(live, 0, sizeof(*live));
}
