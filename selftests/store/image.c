// SPDX-License-Identifier: GPL-2.0-or-later
/* image.c - the contents of a file in memory, cheap to copy */
#include <stdlib.h>
#include <string.h>

#include "khd/store/disk.h"
#include "selftests/store/image.h"

#define SECTORS (IMAGE_CHUNK / KHD_SECTOR)
#define NODE_BYTES ((uint64_t)IMAGE_CHUNK * IMAGE_FAN)

struct image_chunk {
	unsigned int refs;
	uint64_t hashes[SECTORS];
	uint8_t data[IMAGE_CHUNK];
};

struct image_node {
	unsigned int refs;
	struct image_chunk *chunks[IMAGE_FAN];
};

static void *get(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		abort(); /* a test without memory tests nothing */
	return p;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* Of the sector with number @index; 0 when it is zero. */
static uint64_t sector_hash(const uint8_t *data, uint64_t index)
{
	uint64_t a = 1, b = 2, any = 0, word[2];
	size_t i;

	for (i = 0; i < KHD_SECTOR; i += sizeof(word)) {
		memcpy(word, data + i, sizeof(word));
		any |= word[0] | word[1];
		a = (a ^ word[0]) * 0x9e3779b97f4a7c15ull;
		b = (b ^ word[1]) * 0xc2b2ae3d27d4eb4full;
		a ^= a >> 29;
		b ^= b >> 31;
	}
	return any ? mix(mix(a) ^ b ^ mix(index + 1)) : 0;
}

static void chunk_put(struct image_chunk *chunk)
{
	if (chunk && !--chunk->refs)
		free(chunk);
}

static void node_put(struct image_node *node)
{
	unsigned int i;

	if (!node || --node->refs)
		return;
	for (i = 0; i < IMAGE_FAN; i++)
		chunk_put(node->chunks[i]);
	free(node);
}

void image_copy(struct image *to, const struct image *from)
{
	size_t i;

	*to = *from;
	to->nodes = get((from->room + 1) * sizeof(struct image_node *));
	for (i = 0; i < from->room; i++) {
		to->nodes[i] = from->nodes[i];
		if (to->nodes[i])
			to->nodes[i]->refs++;
	}
}

void image_free(struct image *img)
{
	size_t i;

	for (i = 0; i < img->room; i++)
		node_put(img->nodes[i]);
	free(img->nodes);
	*img = (struct image){ 0 };
}

static const struct image_chunk *look(const struct image *img, uint64_t at)
{
	size_t n = at / NODE_BYTES;

	if (n >= img->room || !img->nodes[n])
		return NULL;
	return img->nodes[n]->chunks[at / IMAGE_CHUNK % IMAGE_FAN];
}

static void make_room(struct image *img, size_t room)
{
	if (room <= img->room)
		return;
	img->nodes = realloc(img->nodes, room * sizeof(struct image_node *));
	if (!img->nodes)
		abort();
	memset(img->nodes + img->room, 0, (room - img->room) * sizeof(struct image_node *));
	img->room = room;
}

/* The chunk at @at, not shared. */
static struct image_chunk *own(struct image *img, uint64_t at)
{
	size_t n = at / NODE_BYTES, i = at / IMAGE_CHUNK % IMAGE_FAN, k;
	struct image_node *node;
	struct image_chunk *chunk;

	make_room(img, n + 1);
	node = img->nodes[n];
	if (!node || node->refs > 1) {
		node = get(sizeof(*node));
		node->refs = 1;
		for (k = 0; img->nodes[n] && k < IMAGE_FAN; k++) {
			node->chunks[k] = img->nodes[n]->chunks[k];
			if (node->chunks[k])
				node->chunks[k]->refs++;
		}
		node_put(img->nodes[n]);
		img->nodes[n] = node;
	}
	chunk = node->chunks[i];
	if (!chunk || chunk->refs > 1) {
		chunk = get(sizeof(*chunk));
		if (node->chunks[i])
			*chunk = *node->chunks[i];
		chunk->refs = 1;
		chunk_put(node->chunks[i]);
		node->chunks[i] = chunk;
	}
	return chunk;
}

void image_read(const struct image *img, uint64_t offset, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len) {
		size_t in = offset % IMAGE_CHUNK,
		       n = IMAGE_CHUNK - in < len ? IMAGE_CHUNK - in : len;
		const struct image_chunk *chunk = look(img, offset);

		if (chunk)
			memcpy(to, chunk->data + in, n);
		else
			memset(to, 0, n);
		to += n;
		offset += n;
		len -= n;
	}
}

void image_write(struct image *img, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	while (len) {
		size_t in = offset % IMAGE_CHUNK,
		       n = IMAGE_CHUNK - in < len ? IMAGE_CHUNK - in : len;
		struct image_chunk *chunk = own(img, offset);
		size_t s;

		memcpy(chunk->data + in, from, n);
		for (s = in / KHD_SECTOR; s * KHD_SECTOR < in + n; s++) {
			img->hash -= chunk->hashes[s];
			chunk->hashes[s] = sector_hash(chunk->data + s * KHD_SECTOR,
						       (offset - in) / KHD_SECTOR + s);
			img->hash += chunk->hashes[s];
		}
		from += n;
		offset += n;
		len -= n;
	}
}

static void drop_chunk(struct image *img, uint64_t at)
{
	const struct image_chunk *chunk = look(img, at);
	struct image_node *node;
	unsigned int s;

	if (!chunk)
		return;
	for (s = 0; s < SECTORS; s++)
		img->hash -= chunk->hashes[s];
	own(img, at);
	node = img->nodes[at / NODE_BYTES];
	chunk_put(node->chunks[at / IMAGE_CHUNK % IMAGE_FAN]);
	node->chunks[at / IMAGE_CHUNK % IMAGE_FAN] = NULL;
}

void image_cut(struct image *img, uint64_t size)
{
	static const uint8_t zeros[IMAGE_CHUNK];
	uint64_t at = (size + IMAGE_CHUNK - 1) / IMAGE_CHUNK * IMAGE_CHUNK;

	if (at > size && look(img, size))
		image_write(img, size, zeros, at - size);
	for (; at < img->room * NODE_BYTES; at += IMAGE_CHUNK) {
		if (!img->nodes[at / NODE_BYTES]) {
			at = (at / NODE_BYTES + 1) * NODE_BYTES - IMAGE_CHUNK;
			continue;
		}
		drop_chunk(img, at);
	}
	img->size = size;
}

uint64_t image_hash(const struct image *img)
{
	return mix(img->hash ^ mix(img->size));
}
