// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was not flushed lies in an anonymous mapping of the disk's size, of which only touched
 * pages cost memory; one bit a sector says what is in it, one bit a chunk where to look.
 */
#include "selftests/vm/vcache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_SECTORS 64u /* one word of bits */
#define EXT4_SUPERBLOCK 2u /* first of two sectors that ext4 relies on to be written whole */
#define EARLY_ONE_OF 8 /* writes that reach the image at once */

struct vcache {
	int fd;
	uint64_t size;
	uint64_t limit; /* unflushed sectors */
	uint64_t count; /* of them */
	uint64_t random;
	uint8_t *data;
	uint64_t *unflushed; /* a word a chunk */
};

/* How a power cut chooses. */
enum choice {
	LOSE_ALL,
	LOSE_NONE,
	LOSE_HALF,
	LOSE_MOST,
	LOSE_FEW,
	LOSE_BLOCKS, /* whole 4 KiB, half of them */
	CHOICES
};

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static bool is_unflushed(const struct vcache *cache, uint64_t sector)
{
	return cache->unflushed[sector / CHUNK_SECTORS] >> (sector % CHUNK_SECTORS) & 1;
}

static void clear_unflushed(struct vcache *cache, uint64_t sector)
{
	cache->unflushed[sector / CHUNK_SECTORS] &= ~(1ull << (sector % CHUNK_SECTORS));
	cache->count--;
}

/**
 * vcache_open - a disk on an image file
 * @path: the image, a multiple of VCACHE_SECTOR long
 * @limit: bytes that may be unflushed; beyond, everything is written back
 * @seed: of which writes reach the image before their flush
 *
 * Return: the disk, or NULL with errno.
 */
struct vcache *vcache_open(const char *path, uint64_t limit, uint64_t seed)
{
	struct vcache *cache = calloc(1, sizeof(*cache));
	struct stat st;

	if (!cache)
		return NULL;
	cache->limit = limit / VCACHE_SECTOR;
	cache->random = seed;
	cache->fd = open(path, O_RDWR | O_CLOEXEC);
	if (cache->fd < 0)
		goto free_cache;
	if (fstat(cache->fd, &st))
		goto close_fd;
	if (!st.st_size || st.st_size % VCACHE_SECTOR) {
		errno = EINVAL;
		goto close_fd;
	}
	cache->size = st.st_size;
	cache->data = mmap(NULL, cache->size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cache->data == MAP_FAILED)
		goto close_fd;
	cache->unflushed =
		calloc(cache->size / VCACHE_SECTOR / CHUNK_SECTORS + 1, sizeof(uint64_t));
	if (!cache->unflushed)
		goto unmap;
	return cache;
unmap:
	munmap(cache->data, cache->size);
close_fd:
	close(cache->fd);
free_cache:
	free(cache);
	return NULL;
}

/* The image keeps what it has. */
void vcache_close(struct vcache *cache)
{
	free(cache->unflushed);
	munmap(cache->data, cache->size);
	close(cache->fd);
	free(cache);
}

uint64_t vcache_size(const struct vcache *cache)
{
	return cache->size;
}

/* Sectors that no flush has covered. */
uint64_t vcache_unflushed(const struct vcache *cache)
{
	return cache->count;
}

static int check_range(const struct vcache *cache, uint64_t offset, size_t length)
{
	if (offset % VCACHE_SECTOR || length % VCACHE_SECTOR)
		return -EINVAL;
	return offset > cache->size || length > cache->size - offset ? -EINVAL : 0;
}

static int image_read(struct vcache *cache, uint64_t offset, uint8_t *data, size_t length)
{
	while (length) {
		ssize_t n = pread(cache->fd, data, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		offset += n;
		data += n;
		length -= n;
	}
	return 0;
}

static int image_write(struct vcache *cache, uint64_t offset, const uint8_t *data, size_t length)
{
	while (length) {
		ssize_t n = pwrite(cache->fd, data, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		offset += n;
		data += n;
		length -= n;
	}
	return 0;
}

/**
 * vcache_read - what was written last, flushed or not
 *
 * Return: 0 or -errno; -EINVAL for what is outside or not whole sectors.
 */
int vcache_read(struct vcache *cache, uint64_t offset, void *data, size_t length)
{
	uint64_t first = offset / VCACHE_SECTOR, sectors = length / VCACHE_SECTOR;
	int err = check_range(cache, offset, length);

	if (!err)
		err = image_read(cache, offset, data, length);
	for (uint64_t i = 0; !err && cache->count && i < sectors; i++)
		if (is_unflushed(cache, first + i))
			memcpy((uint8_t *)data + i * VCACHE_SECTOR,
			       cache->data + (first + i) * VCACHE_SECTOR, VCACHE_SECTOR);
	return err;
}

/**
 * vcache_write - into the cache; one of EARLY_ONE_OF also into the image, as drives may
 *
 * Return: 0 or -errno, as vcache_read().
 */
int vcache_write(struct vcache *cache, uint64_t offset, const void *data, size_t length)
{
	uint64_t first = offset / VCACHE_SECTOR, sectors = length / VCACHE_SECTOR;
	int err = check_range(cache, offset, length);

	if (err)
		return err;
	if (next_random(&cache->random) % EARLY_ONE_OF == 0) {
		for (uint64_t i = 0; i < sectors; i++)
			if (is_unflushed(cache, first + i))
				clear_unflushed(cache, first + i);
		return image_write(cache, offset, data, length);
	}
	memcpy(cache->data + offset, data, length);
	for (uint64_t i = first; i < first + sectors; i++) {
		cache->count += !is_unflushed(cache, i);
		cache->unflushed[i / CHUNK_SECTORS] |= 1ull << (i % CHUNK_SECTORS);
	}
	return cache->count > cache->limit ? vcache_flush(cache) : 0;
}

/* One run of unflushed sectors from @sector on, to the image; how many. */
static int64_t write_run(struct vcache *cache, uint64_t sector)
{
	uint64_t sectors = cache->size / VCACHE_SECTOR, end = sector;
	int err;

	while (end < sectors && is_unflushed(cache, end))
		end++;
	err = image_write(cache, sector * VCACHE_SECTOR, cache->data + sector * VCACHE_SECTOR,
			  (end - sector) * VCACHE_SECTOR);
	if (err)
		return err;
	for (uint64_t i = sector; i < end; i++)
		clear_unflushed(cache, i);
	return end - sector;
}

/**
 * vcache_flush - everything written before is in the image
 *
 * Return: 0 or -errno.
 */
int vcache_flush(struct vcache *cache)
{
	uint64_t chunks = cache->size / VCACHE_SECTOR / CHUNK_SECTORS + 1;

	for (uint64_t chunk = 0; cache->count && chunk < chunks; chunk++) {
		while (cache->unflushed[chunk]) {
			int64_t n =
				write_run(cache, chunk * CHUNK_SECTORS +
							 __builtin_ctzll(cache->unflushed[chunk]));

			if (n < 0)
				return n;
		}
	}
	return 0;
}

static bool survives(enum choice choice, uint64_t *random, uint64_t block_salt, uint64_t sector)
{
	uint64_t dice = next_random(random) % 16, block = block_salt ^ (sector / 8);

	switch (choice) {
	case LOSE_ALL:
		return false;
	case LOSE_HALF:
		return dice < 8;
	case LOSE_MOST:
		return dice < 2;
	case LOSE_FEW:
		return dice < 14;
	case LOSE_BLOCKS:
		return next_random(&block) % 2;
	default:
		return true;
	}
}

/**
 * vcache_cut - the power fails: of what was not flushed a subset reaches the image
 * @seed: chooses it
 * @loss: out
 *
 * Return: 0 or -errno.
 */
int vcache_cut(struct vcache *cache, uint64_t seed, struct vcache_loss *loss)
{
	uint64_t sectors = cache->size / VCACHE_SECTOR, random = seed;
	enum choice choice = next_random(&random) % CHOICES;
	uint64_t salt = next_random(&random);
	bool superblock = is_unflushed(cache, EXT4_SUPERBLOCK), kept = false;

	*loss = (struct vcache_loss){ .unflushed = cache->count };
	for (uint64_t i = 0; cache->count && i < sectors; i++) {
		if (!cache->unflushed[i / CHUNK_SECTORS]) {
			i |= CHUNK_SECTORS - 1;
			continue;
		}
		if (!is_unflushed(cache, i))
			continue;
		if (i != EXT4_SUPERBLOCK + 1 || !superblock)
			kept = survives(choice, &random, salt, i);
		if (kept)
			continue;
		clear_unflushed(cache, i);
		loss->lost++;
	}
	return vcache_flush(cache);
}
