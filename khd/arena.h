/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arena.h - a fixed piece of memory for units on their way to and from the store
 *
 * Allocated once, so that storing a page needs no memory that the kernel would have to find by
 * storing pages.  Blocks are powers of two, KHD_DISK_ALIGN to KHD_ARENA_BLOCK_MAX bytes, aligned to
 * their size: a buddy system.  When nothing is allocated the largest block fits again.
 */
#ifndef KHD_ARENA_H
#define KHD_ARENA_H

#include <stddef.h>

#include "khd/store/disk.h"

#define KHD_ARENA_BLOCK_MAX (2u << 20)

struct khd_arena;

/* @size: bytes, a multiple of KHD_ARENA_BLOCK_MAX.  NULL without memory. */
struct khd_arena *khd_arena_new(size_t size);

/* NULL is allowed. */
void khd_arena_free(struct khd_arena *arena);

/* A block of at least @len bytes, contents undefined; NULL if none is free. */
void *khd_arena_get(struct khd_arena *arena, size_t len);

/* Give a block back; NULL is allowed. */
void khd_arena_put(struct khd_arena *arena, void *block);

size_t khd_arena_size(const struct khd_arena *arena);
size_t khd_arena_used(const struct khd_arena *arena);

#endif /* KHD_ARENA_H */
