/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hash.c - a table of chains that doubles when it is full
 */
#include <stdlib.h>
#include "alloc.h"
#include "hash.h"

#define HASH_SIZE_MIN 16u

static uint32_t slot(const struct kh_hash *hash, uint64_t key)
{
	key *= 0x9e3779b97f4a7c15ull;
	return (uint32_t)(key >> 32) & hash->mask;
}

static void insert(struct kh_hash *hash, struct kh_hnode *node)
{
	struct kh_hnode **bucket = &hash->buckets[slot(hash, node->key)];

	node->next = *bucket;
	*bucket = node;
}

static void grow(struct kh_hash *hash)
{
	uint32_t old = hash->buckets ? hash->mask + 1 : 0, i;
	uint32_t size = old ? old * 2 : HASH_SIZE_MIN;
	struct kh_hnode **buckets = hash->buckets, *node, *next;

	hash->buckets = kh_zalloc(size * sizeof(*buckets));
	hash->mask = size - 1;
	for (i = 0; i < old; i++) {
		for (node = buckets[i]; node; node = next) {
			next = node->next;
			insert(hash, node);
		}
	}
	free(buckets);
}

struct kh_hnode *kh_hash_find(const struct kh_hash *hash, uint64_t key)
{
	struct kh_hnode *node;

	if (!hash->buckets)
		return NULL;
	for (node = hash->buckets[slot(hash, key)]; node; node = node->next)
		if (node->key == key)
			return node;
	return NULL;
}

void kh_hash_add(struct kh_hash *hash, struct kh_hnode *node, uint64_t key)
{
	if (!hash->buckets || hash->count > hash->mask)
		grow(hash);
	node->key = key;
	insert(hash, node);
	hash->count++;
}

void kh_hash_del(struct kh_hash *hash, struct kh_hnode *node)
{
	struct kh_hnode **at = &hash->buckets[slot(hash, node->key)];

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	hash->count--;
}

static struct kh_hnode *from_bucket(const struct kh_hash *hash, uint32_t i)
{
	for (; hash->buckets && i <= hash->mask; i++)
		if (hash->buckets[i])
			return hash->buckets[i];
	return NULL;
}

struct kh_hnode *kh_hash_first(const struct kh_hash *hash)
{
	return from_bucket(hash, 0);
}

struct kh_hnode *kh_hash_next(const struct kh_hash *hash, const struct kh_hnode *node)
{
	return node->next ? node->next : from_bucket(hash, slot(hash, node->key) + 1);
}

void kh_hash_free(struct kh_hash *hash)
{
	free(hash->buckets);
	hash->buckets = NULL;
	hash->count = 0;
}
