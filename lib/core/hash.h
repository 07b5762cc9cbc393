/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hash.h - hash tables from 64-bit keys to objects that hold their own link
 */
#ifndef KH_CORE_HASH_H
#define KH_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include "list.h"

struct kh_hnode {
	struct kh_hnode *next;
	uint64_t key;
};

struct kh_hash {
	struct kh_hnode **buckets; /* NULL until the first insertion */
	uint32_t mask;
	uint32_t count;
};

/* The object with @key, or NULL. */
struct kh_hnode *kh_hash_find(const struct kh_hash *hash, uint64_t key);

/* Insert @node; @key must not be there. */
void kh_hash_add(struct kh_hash *hash, struct kh_hnode *node, uint64_t key);

/* Take @node out; it must be there. */
void kh_hash_del(struct kh_hash *hash, struct kh_hnode *node);

/* The first object, in the table's order, or NULL. */
struct kh_hnode *kh_hash_first(const struct kh_hash *hash);

/* The one after @node, or NULL.  @node may be freed afterwards, the table not changed otherwise. */
struct kh_hnode *kh_hash_next(const struct kh_hash *hash, const struct kh_hnode *node);

/* Free the table itself; its objects must be gone. */
void kh_hash_free(struct kh_hash *hash);

#define kh_hash_entry(ptr, type, member) ((ptr) ? kh_container(ptr, type, member) : NULL)

#endif /* KH_CORE_HASH_H */
