/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * region.c - region descriptors, in memory, on the wire, persisted, in the module
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cm.h"

#define REGION_SETS 5 /* allocated, lost, doubt, thin; untold (node ids) */
#define REGION_UNIT_SETS 4 /* those of units */

struct region_blob {
	struct kh_blob blob;
	struct kh_wire_region desc;
	uint8_t verifier[KH_VERIFIER_SIZE];
	uint64_t sets[REGION_SETS]; /* items of each, one after the other */
	uint64_t rolls; /* and struct kh_roll behind those */
	uint64_t places; /* and struct kh_place behind those */
	struct kh_interval items[];
};

_Static_assert(sizeof(struct kh_roll) == 2 * sizeof(struct kh_interval), "blob");
_Static_assert(sizeof(struct kh_place) == 2 * sizeof(struct kh_interval), "blob");

struct kh_region *kh_region_find(struct kh_node *node, struct khazana_addr start,
				 uint64_t generation)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->start.lo == start.lo && region->start.hi == start.hi &&
		    region->generation == generation)
			return region;
	return NULL;
}

/* The region that a message is about, or NULL. */
struct kh_region *kh_region_of(struct kh_node *node, const struct kh_wire_head *h)
{
	return kh_region_find(node, (struct khazana_addr){ h->region_hi, h->region_lo },
			      h->generation);
}

static bool inside(const struct kh_region *region, struct khazana_addr addr)
{
	uint64_t lo = addr.lo - region->start.lo;
	uint64_t hi = addr.hi - region->start.hi - (addr.lo < region->start.lo);

	return !hi && lo < region->length;
}

/* The region that holds @addr; one whose home is known comes first. */
struct kh_region *kh_region_at(struct kh_node *node, struct khazana_addr addr)
{
	struct kh_region *region, *best = NULL;

	kh_list_each (region, &node->regions, node)
		if (inside(region, addr) && (!best || !best->home_id))
			best = region;
	return best;
}

struct kh_region *kh_region_by_handle(struct kh_node *node, uint32_t handle)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (handle && region->handle == handle)
			return region;
	return NULL;
}

/* Number of the unit that holds @addr, which is in the region. */
uint64_t kh_region_unit(const struct kh_region *region, struct khazana_addr addr)
{
	return (addr.lo - region->start.lo) >> region->unit_shift;
}

struct kh_region *kh_region_new(struct kh_node *node, struct khazana_addr start, uint64_t length,
				uint64_t generation, const struct kh_attr *attr)
{
	struct kh_region *region = kh_zalloc(sizeof(*region));

	region->owner = node;
	region->start = start;
	region->length = length;
	region->generation = generation;
	region->attr = *attr;
	region->unit_shift = attr->unit_shift;
	region->units = length >> attr->unit_shift;
	kh_list_init(&region->asks);
	kh_list_init(&region->dones);
	kh_list_add(&node->regions, &region->node);
	return region;
}

void kh_region_free(struct kh_region *region)
{
	struct kh_hnode *n;

	kh_lookup_cancel(region->owner, region);
	kh_ask_drop_region(region);
	kh_holder_free(region);
	if (region->home) {
		kh_flush_free(region);
		kh_place_free(region);
		while ((n = kh_hash_first(&region->home->units)))
			kh_unit_free(kh_container(n, struct kh_unit, node));
		kh_hash_free(&region->home->units);
		kh_intervals_free(&region->home->allocated);
		free(region->home->rolls);
		kh_intervals_free(&region->home->lost);
		kh_intervals_free(&region->home->doubt);
		kh_intervals_free(&region->home->thin);
		kh_intervals_free(&region->home->pruned);
		kh_intervals_free(&region->home->untold);
		free(region->home);
	}
	kh_list_del(&region->node);
	free(region->resumes);
	free(region);
}

void kh_region_describe(const struct kh_region *region, struct kh_wire_region *desc)
{
	const struct kh_home *home = region->home;

	*desc = (struct kh_wire_region){
		.start_hi = region->start.hi,
		.start_lo = region->start.lo,
		.length = region->length,
		.generation = region->generation,
		.allocated = home ? kh_intervals_count(&home->allocated, 0, region->units)
					     << region->unit_shift :
				    ~0ull,
		.epoch = home ? home->epoch : 0,
		.home = region->home_id,
		.unit_shift = region->unit_shift,
		.lease_ms = region->attr.lease_ms,
		.wait_ms = region->attr.wait_ms,
		.min_replicas = region->attr.min_replicas,
		.durability = region->attr.durability,
		.flags = region->attr.flags,
		.key_serial = region->key_serial,
	};
	memcpy(desc->protocol, region->attr.protocol, sizeof(desc->protocol));
}

static void attr_of(const struct kh_wire_region *desc, struct kh_attr *attr)
{
	*attr = (struct kh_attr){
		.unit_shift = desc->unit_shift,
		.lease_ms = desc->lease_ms,
		.wait_ms = desc->wait_ms,
		.min_replicas = desc->min_replicas,
		.durability = desc->durability,
		.flags = desc->flags,
	};
	memcpy(attr->protocol, desc->protocol, sizeof(attr->protocol));
}

void kh_region_info(const struct kh_wire_region *desc, struct kh_region_info *info)
{
	*info = (struct kh_region_info){
		.start = { desc->start_hi, desc->start_lo },
		.length = desc->length,
		.generation = desc->generation,
		.allocated = desc->allocated,
		.epoch = desc->epoch,
		.home = desc->home,
	};
	attr_of(desc, &info->attr);
}

/* The module refuses tokens of older epochs. */
static void module_epoch(struct kh_region *region)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_EPOCH,
				   .region = region->handle,
				   .token = region->epoch << KH_TOKEN_SHIFT };

	if (region->handle && region->epoch)
		kh_command(region->owner, &cmd);
}

/* Tokens below those of @epoch are refused from now on; what is under way is asked again. */
void kh_region_epoch(struct kh_region *region, uint64_t epoch)
{
	if (epoch <= region->epoch)
		return;
	region->epoch = epoch;
	module_epoch(region);
	kh_ask_again(region);
}

/* The module's attributes of the region follow the descriptor. */
void kh_region_set_module(struct kh_region *region)
{
	struct kh_node *node = region->owner;
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_SET };

	if (!region->handle || !region->home_id)
		return;
	region->lease = kh_lease_get(node, region->home_id, region->attr.lease_ms);
	cmd.region = region->handle;
	cmd.lease = region->lease->id;
	cmd.wait_ms = region->attr.wait_ms;
	cmd.flags = region->attr.flags;
	cmd.version = region->key_serial;
	kh_command(node, &cmd);
	region->lease_set = cmd.lease;
	module_epoch(region);
}

/* Make the region known to the module.  Return: 0 or a negative errno. */
int kh_region_to_module(struct kh_region *region)
{
	struct kh_node *node = region->owner;
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_ADD };
	int err;

	region->lease = kh_lease_get(node, region->home_id, region->attr.lease_ms);
	if (region->handle)
		return 0;
	cmd.addr = region->start;
	cmd.length = region->length;
	cmd.generation = region->generation;
	cmd.unit_shift = region->unit_shift;
	cmd.lease = region->lease->id;
	cmd.wait_ms = region->attr.wait_ms;
	cmd.flags = region->attr.flags;
	cmd.version = region->key_serial;
	err = kh_command(node, &cmd);
	if (err && err != -EALREADY)
		return err;
	region->handle = cmd.region;
	region->lease_set = cmd.lease;
	module_epoch(region);
	return 0;
}

/* Another node says what it is the home of.  Return: the region, NULL if that cannot be. */
struct kh_region *kh_region_learn(struct kh_node *node, const struct kh_wire_region *desc)
{
	struct khazana_addr start = { desc->start_hi, desc->start_lo };
	struct kh_region *region = kh_region_find(node, start, desc->generation);
	struct kh_attr attr;
	bool moved, rekeyed;

	attr_of(desc, &attr);
	if (!region)
		region = kh_region_new(node, start, desc->length, desc->generation, &attr);
	if (region->home)
		return desc->home == node->config.id ? region : NULL;
	if (region->length != desc->length || region->unit_shift != desc->unit_shift)
		return NULL;
	moved = region->home_id != desc->home;
	region->home_id = desc->home;
	region->attr = attr;
	rekeyed = desc->key_serial > region->key_serial;
	if (rekeyed)
		region->key_serial = desc->key_serial;
	kh_region_set_module(region);
	if (rekeyed)
		kh_ask_key_changed(region);
	if (desc->epoch > region->epoch)
		kh_region_epoch(region, desc->epoch);
	else if (moved)
		kh_ask_again(region);
	return region;
}

/* The home that was asked says that it is not, and perhaps who is. */
void kh_region_forget_home(struct kh_region *region, kh_node_id hint)
{
	if (region->home)
		return;
	region->home_id = 0;
	region->hint = hint;
	kh_ask_again(region);
	if (region->handle)
		kh_resolve(region->owner, region);
}

static void blob_key(const struct kh_region *region, char key[64])
{
	snprintf(key, 64, "region-%llx-%llx-%llx", (unsigned long long)region->start.hi,
		 (unsigned long long)region->start.lo, (unsigned long long)region->generation);
}

/* The sets that are written down, in their order. */
static void region_sets(struct kh_home *home, struct kh_intervals *sets[REGION_SETS])
{
	sets[0] = &home->allocated;
	sets[1] = &home->lost;
	sets[2] = &home->doubt;
	sets[3] = &home->thin;
	sets[4] = &home->untold;
}

/* Write down what makes this node the region's home. */
int kh_region_persist(struct kh_region *region)
{
	struct kh_home *home = region->home;
	struct kh_intervals *sets[REGION_SETS];
	size_t rolls = home->roll_count * sizeof(struct kh_roll), items = 0;
	size_t places = kh_place_blob_count(region);
	struct region_blob *b;
	unsigned int i;
	char key[64];
	size_t len;
	int err;

	region_sets(home, sets);
	for (i = 0; i < REGION_SETS; i++)
		items += sets[i]->count;
	len = sizeof(*b) + items * sizeof(b->items[0]) + rolls + places * sizeof(struct kh_place);
	b = kh_zalloc(len);

	b->blob.kind = KH_BLOB_REGION;
	kh_region_describe(region, &b->desc);
	memcpy(b->verifier, home->verifier, sizeof(b->verifier));
	for (i = 0, items = 0; i < REGION_SETS; items += sets[i++]->count) {
		b->sets[i] = sets[i]->count;
		if (sets[i]->count)
			memcpy(b->items + items, sets[i]->items,
			       sets[i]->count * sizeof(b->items[0]));
	}
	b->rolls = home->roll_count;
	if (rolls)
		memcpy(b->items + items, home->rolls, rolls);
	b->places = places;
	kh_place_save(region, (struct kh_place *)((uint8_t *)(b->items + items) + rolls));
	blob_key(region, key);
	err = kh_blob_save(region->owner, key, b, len);
	free(b);
	return err;
}

/* The same, of @what, where nobody can be told that it failed but the operator. */
void kh_region_save(struct kh_region *region, const char *what)
{
	if (kh_region_persist(region))
		kh_event(region->owner, "persist", "%s could not be written down", what);
}

int kh_region_unpersist(struct kh_region *region)
{
	char key[64];

	blob_key(region, key);
	return region->owner->ops->persist(region->owner->host, key, NULL, 0);
}

/* Make this node the home of @region; @verifier is what is kept of its key. */
void kh_region_home(struct kh_region *region, const uint8_t verifier[KH_VERIFIER_SIZE])
{
	struct kh_node *node = region->owner;

	region->home_id = node->config.id;
	region->home = kh_zalloc(sizeof(*region->home));
	region->home->cm = kh_cm_find(region->attr.protocol);
	region->home->epoch = region->epoch = node->config.incarnation;
	region->home->move_ns = region->home->flush_ns = KH_NEVER;
	kh_list_init(&region->home->busy);
	kh_list_init(&region->home->moves);
	kh_list_init(&region->home->dirty);
	kh_list_init(&region->home->storing);
	kh_list_init(&region->home->flushes);
	memcpy(region->home->verifier, verifier, KH_VERIFIER_SIZE);
}

/* Are the numbers of items those of a blob of @len bytes? */
static bool counts_ok(const struct region_blob *b, size_t len)
{
	size_t size = sizeof(b->items[0]), left = (len - sizeof(*b)) / size;
	unsigned int i;

	for (i = 0; i < REGION_SETS; left -= b->sets[i++])
		if (b->sets[i] > left)
			return false;
	return b->rolls <= 2 * KH_ROLLS_MAX && b->places <= left &&
	       left == 2 * b->rolls + 2 * b->places && !((len - sizeof(*b)) % size);
}

int kh_region_restore(struct kh_node *node, const char *key, const void *blob, size_t len)
{
	struct region_blob *b;
	struct kh_region *region;
	struct kh_attr attr;
	struct kh_intervals *sets[REGION_SETS];
	struct kh_interval *item;
	unsigned int set;
	uint64_t i;
	int err = -EINVAL;

	if (strncmp(key, "region-", 7) || len < sizeof(*b) ||
	    kh_blob_check(blob, len, KH_BLOB_REGION))
		return -EINVAL;
	b = kh_zalloc(len);
	memcpy(b, blob, len);
	if (!counts_ok(b, len) || b->desc.unit_shift < KHAZANA_UNIT_SHIFT_MIN ||
	    b->desc.unit_shift > KHAZANA_UNIT_SHIFT_MAX || !kh_cm_find(b->desc.protocol))
		goto out;
	attr_of(&b->desc, &attr);
	region = kh_region_new(node, (struct khazana_addr){ b->desc.start_hi, b->desc.start_lo },
			       b->desc.length, b->desc.generation, &attr);
	region->key_serial = b->desc.key_serial;
	kh_region_home(region, b->verifier);
	region_sets(region->home, sets);
	for (set = 0, item = b->items; set < REGION_SETS; set++)
		for (i = 0; i < b->sets[set]; i++, item++)
			if (item->end <= region->units || set >= REGION_UNIT_SETS)
				kh_intervals_add(sets[set], item->start, item->end);
	region->home->rolls = kh_zalloc((b->rolls + 1) * sizeof(struct kh_roll));
	region->home->roll_count = b->rolls;
	memcpy(region->home->rolls, item, b->rolls * sizeof(struct kh_roll));
	kh_place_restore(region, (const struct kh_place *)(item + 2 * b->rolls), b->places);
	err = 0;
out:
	free(b);
	return err;
}
