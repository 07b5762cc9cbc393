/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image.h - the contents of a file in memory, cheap to copy
 *
 * A tree of two levels, shared by copies until one is written.  What was never written is zero
 * and takes no memory.  The hash is that of the contents, kept up to date sector by sector, so
 * that equal files have equal hashes however they came about.
 */
#ifndef STORE_IMAGE_H
#define STORE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#define IMAGE_CHUNK 4096u
#define IMAGE_FAN 64u /* chunks of a node */

struct image_node;

/**
 * struct image - a file
 * @nodes: NULL where all is zero
 * @room: of them
 * @size: bytes; what lies behind is kept by the writer of a crash, and cut off by image_cut()
 * @hash: of the sectors that are not zero
 */
struct image {
	struct image_node **nodes;
	size_t room;
	uint64_t size;
	uint64_t hash;
};

void image_copy(struct image *to, const struct image *from);
void image_free(struct image *img);
/* Does not look at the size. */
void image_read(const struct image *img, uint64_t offset, void *buf, size_t len);
/* Does not change the size. */
void image_write(struct image *img, uint64_t offset, const void *buf, size_t len);
/* Zero all behind @size, and make it the size. */
void image_cut(struct image *img, uint64_t size);
/* The hash of contents and size. */
uint64_t image_hash(const struct image *img);

#endif /* STORE_IMAGE_H */
