/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk with a volatile write cache, on an image file: a write is in the image after a flush
 * (or earlier: drives write back when they like); a power cut leaves a seeded subset of the
 * sectors that were not flushed.
 */
#ifndef SELFTESTS_VM_VCACHE_H
#define SELFTESTS_VM_VCACHE_H

#include <stddef.h>
#include <stdint.h>

#define VCACHE_SECTOR 512u

struct vcache;

/**
 * struct vcache_loss - what a power cut did
 * @unflushed: sectors that no flush had covered
 * @lost: how many of them the image does not have
 */
struct vcache_loss {
	uint64_t unflushed;
	uint64_t lost;
};

struct vcache *vcache_open(const char *path, uint64_t limit, uint64_t seed);
void vcache_close(struct vcache *cache);
uint64_t vcache_size(const struct vcache *cache);
uint64_t vcache_unflushed(const struct vcache *cache);
int vcache_read(struct vcache *cache, uint64_t offset, void *data, size_t length);
int vcache_write(struct vcache *cache, uint64_t offset, const void *data, size_t length);
int vcache_flush(struct vcache *cache);
int vcache_cut(struct vcache *cache, uint64_t seed, struct vcache_loss *loss);

#endif
