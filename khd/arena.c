// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * arena.c - a buddy system
 *
 * A free block holds its links in itself and stands in the list of its order.  heads[] has, for the
 * first leaf of each block, its order and whether it is free; leaves inside a block have no entry
 * of meaning.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "khd/arena.h"

#define LEAF KHD_DISK_ALIGN
#define ORDERS 10 /* 4 KiB to 2 MiB */
#define FREE 0x80

_Static_assert(LEAF << (ORDERS - 1) == KHD_ARENA_BLOCK_MAX, "orders");

struct block {
	struct block *next, **link;
};

struct khd_arena {
	char *base;
	size_t size, used;
	struct block *lists[ORDERS];
	uint8_t *heads;
};

static size_t leaf_of(const struct khd_arena *arena, const void *block)
{
	return ((const char *)block - arena->base) / LEAF;
}

static void insert(struct khd_arena *arena, void *at, unsigned int order)
{
	struct block *block = at;

	block->next = arena->lists[order];
	block->link = &arena->lists[order];
	if (block->next)
		block->next->link = &block->next;
	arena->lists[order] = block;
	arena->heads[leaf_of(arena, at)] = FREE | order;
}

static void take_out(struct khd_arena *arena, struct block *block, unsigned int order)
{
	*block->link = block->next;
	if (block->next)
		block->next->link = block->link;
	arena->heads[leaf_of(arena, block)] = order;
}

struct khd_arena *khd_arena_new(size_t size)
{
	struct khd_arena *arena = calloc(1, sizeof(*arena));
	size_t at;

	if (!arena)
		return NULL;
	arena->base = MAP_FAILED;
	arena->heads = calloc(size / LEAF, 1);
	/* Room to align the first block to its size. */
	if (arena->heads)
		arena->base = mmap(NULL, size + KHD_ARENA_BLOCK_MAX, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena->base == MAP_FAILED) {
		free(arena->heads);
		free(arena);
		return NULL;
	}
	at = -(uintptr_t)arena->base & (KHD_ARENA_BLOCK_MAX - 1);
	if (at)
		munmap(arena->base, at);
	arena->base += at;
	munmap(arena->base + size, KHD_ARENA_BLOCK_MAX - at);
	arena->size = size;
	for (at = size; at; at -= KHD_ARENA_BLOCK_MAX)
		insert(arena, arena->base + at - KHD_ARENA_BLOCK_MAX, ORDERS - 1);
	return arena;
}

void khd_arena_free(struct khd_arena *arena)
{
	if (!arena)
		return;
	munmap(arena->base, arena->size);
	free(arena->heads);
	free(arena);
}

void *khd_arena_get(struct khd_arena *arena, size_t len)
{
	unsigned int order = 0, from;
	struct block *block;

	while (order < ORDERS && (size_t)LEAF << order < len)
		order++;
	for (from = order; from < ORDERS && !arena->lists[from];)
		from++;
	if (from >= ORDERS)
		return NULL;
	block = arena->lists[from];
	take_out(arena, block, from);
	while (from > order) {
		from--;
		insert(arena, (char *)block + ((size_t)LEAF << from), from);
	}
	arena->heads[leaf_of(arena, block)] = order;
	arena->used += (size_t)LEAF << order;
	return block;
}

void khd_arena_put(struct khd_arena *arena, void *at)
{
	unsigned int order;
	size_t leaf, buddy;

	if (!at)
		return;
	leaf = leaf_of(arena, at);
	order = arena->heads[leaf];
	arena->used -= (size_t)LEAF << order;
	for (; order < ORDERS - 1; order++) {
		buddy = leaf ^ (size_t)1 << order;
		if (arena->heads[buddy] != (FREE | order))
			break;
		take_out(arena, (struct block *)(arena->base + buddy * LEAF), order);
		if (buddy < leaf)
			leaf = buddy;
	}
	insert(arena, arena->base + leaf * LEAF, order);
}

size_t khd_arena_size(const struct khd_arena *arena)
{
	return arena->size;
}

size_t khd_arena_used(const struct khd_arena *arena)
{
	return arena->used;
}
