/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blob.c - what a node persists, and the address space that it gives out
 *
 * A blob begins with struct kh_blob; its CRC covers all the rest.  Address ranges have this
 * node's id in their upper half, so that no two nodes give out the same one; nobody
 * derives the home from that.  Ranges are never given out twice.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "core.h"

#define BLOB_VERSION 3

struct space_blob {
	struct kh_blob blob;
	uint64_t next_hi, next_lo;
	uint64_t generation;
};

struct boots_blob {
	struct kh_blob blob;
	uint64_t count;
	struct {
		uint64_t node, boot;
	} items[KH_NODES_MAX];
};

static uint32_t crc32c(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;
	int bit;

	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* Complete the head of @blob, whose @kind is set, and persist it. */
int kh_blob_save(struct kh_node *node, const char *key, void *blob, size_t len)
{
	struct kh_blob *b = blob;

	b->version = BLOB_VERSION;
	b->length = (uint32_t)len;
	b->crc = crc32c((const uint8_t *)blob + sizeof(b->crc), len - sizeof(b->crc));
	return node->ops->persist(node->host, key, blob, len);
}

/* Is it a whole, undamaged blob of @kind? */
int kh_blob_check(const void *blob, size_t len, uint32_t kind)
{
	struct kh_blob b;

	if (len < sizeof(b))
		return -EINVAL;
	memcpy(&b, blob, sizeof(b));
	if (b.length != len || b.version != BLOB_VERSION || b.kind != kind ||
	    b.crc != crc32c((const uint8_t *)blob + sizeof(b.crc), len - sizeof(b.crc)))
		return -EINVAL;
	return 0;
}

static struct khazana_addr space_first(const struct kh_node *node)
{
	return (struct khazana_addr){ (uint64_t)node->config.id << 32, 1ull << 32 };
}

/* Take @length bytes of address space. */
int kh_space_take(struct kh_node *node, uint64_t length, uint32_t align_shift,
		  struct khazana_addr *start, uint64_t *generation)
{
	uint64_t mask = (1ull << align_shift) - 1;
	struct khazana_addr at = node->space_next.hi ? node->space_next : space_first(node);
	struct space_blob b = { .blob.kind = KH_BLOB_SPACE };
	int err;

	at = kh_addr_add(at, (0 - at.lo) & mask);
	/* The last page of a range keeps its end inside the 128 bits of the node. */
	b.next_hi = kh_addr_add(at, length).hi;
	b.next_lo = kh_addr_add(at, length).lo;
	if (b.next_hi >> 32 != node->config.id)
		return -ENOSPC;
	b.generation = node->generation_next + 1;
	err = kh_blob_save(node, "space", &b, sizeof(b));
	if (err)
		return err;
	*start = at;
	*generation = b.generation;
	node->space_next = (struct khazana_addr){ b.next_hi, b.next_lo };
	node->generation_next = b.generation;
	return 0;
}

/* A number that this node never gave out before, for an allocation.  0 or a negative errno. */
int kh_generation_take(struct kh_node *node, uint64_t *generation)
{
	struct space_blob b = { .blob.kind = KH_BLOB_SPACE };
	struct khazana_addr at = node->space_next.hi ? node->space_next : space_first(node);
	int err;

	b.next_hi = at.hi;
	b.next_lo = at.lo;
	b.generation = node->generation_next + 1;
	err = kh_blob_save(node, "space", &b, sizeof(b));
	if (err)
		return err;
	node->space_next = at;
	*generation = node->generation_next = b.generation;
	return 0;
}

static int boots_save(struct kh_node *node)
{
	struct boots_blob b = { .blob.kind = KH_BLOB_BOOTS };
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		b.items[i].node = node->peers[i].id;
		b.items[i].boot = node->boots[i];
	}
	b.count = node->peer_count;
	return kh_blob_save(node, "boots", &b, sizeof(b));
}

/*
 * Remember which module @peer has: a new one will have lost what this one holds.  Not yet, if what
 * went with the one before it is not known before a request ends: this khd may die until then.
 */
void kh_boots_learn(struct kh_node *node, struct kh_peer *peer)
{
	uint64_t *boot = &node->boots[peer - node->peers], before = *boot;

	peer->lost = false;
	if (!peer->boot || *boot == peer->boot || peer->swept)
		return;
	*boot = peer->boot;
	if (boots_save(node))
		*boot = before;
}

static int restore_space(struct kh_node *node, const void *blob, size_t len)
{
	struct space_blob b;

	if (len != sizeof(b) || kh_blob_check(blob, len, KH_BLOB_SPACE))
		return -EINVAL;
	memcpy(&b, blob, sizeof(b));
	node->space_next = (struct khazana_addr){ b.next_hi, b.next_lo };
	node->generation_next = b.generation;
	return 0;
}

static int restore_boots(struct kh_node *node, const void *blob, size_t len)
{
	struct boots_blob b;
	uint64_t i;
	unsigned int k;

	if (len != sizeof(b) || kh_blob_check(blob, len, KH_BLOB_BOOTS))
		return -EINVAL;
	memcpy(&b, blob, sizeof(b));
	if (b.count > KH_NODES_MAX)
		return -EINVAL;
	for (i = 0; i < b.count; i++)
		for (k = 0; k < node->peer_count; k++)
			if (node->peers[k].id == b.items[i].node)
				node->boots[k] = b.items[i].boot;
	return 0;
}

int kh_node_restore(struct kh_node *node, const char *key, const void *blob, size_t len)
{
	if (!strcmp(key, "space"))
		return restore_space(node, blob, len);
	if (!strcmp(key, "boots"))
		return restore_boots(node, blob, len);
	return kh_region_restore(node, key, blob, len);
}
