/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * directory.c - the region directory: who is home of an address
 *
 * What is known is a cache; a wrongly asked node says NOT_HOME, and whom it takes for the home. What
 * is not known is asked of that node first and then, or where there is no such hint, of every peer
 * (WHERE); it does not exist when all of them, being connected, say that they are not its home.
 */
#include <errno.h>
#include <stdlib.h>
#include "core.h"

struct lookup {
	struct kh_list node;
	struct khazana_addr addr;
	uint64_t id;
	uint64_t deadline_ns;
	uint64_t again_ns;
	uint64_t answered; /* bits: peers that are not the home */
	kh_node_id hint; /* only this one is asked now, 0: all are */
	kh_found *found;
	void *context;
};

static void lookup_end(struct kh_node *node, struct lookup *l, struct kh_region *region, int error)
{
	kh_found *found = l->found;
	void *context = l->context;

	kh_list_del(&l->node);
	free(l);
	found(node, context, region, error);
}

static void ask_peer(struct kh_node *node, const struct lookup *l, struct kh_peer *peer)
{
	struct kh_wire_head head = { .request = l->id, .party = node->config.id };
	struct kh_wire_where *e = kh_out(node, peer, KH_WIRE_WHERE, &head);

	e->addr_hi = l->addr.hi;
	e->addr_lo = l->addr.lo;
}

/* Ask the one who was named, for a while; not this node, nor one out of reach. */
static bool ask_hinted(struct kh_node *node, struct lookup *l, kh_node_id hint)
{
	struct kh_peer *peer = kh_peer_find(node, hint);

	if (!peer || !peer->connected)
		return false;
	l->hint = hint;
	ask_peer(node, l, peer);
	l->again_ns = node->now + KH_LOOKUP_AGAIN;
	kh_arm(node, l->again_ns);
	return true;
}

static void ask_all(struct kh_node *node, struct lookup *l)
{
	unsigned int i;

	l->hint = 0;
	for (i = 1; i < node->peer_count; i++)
		if (node->peers[i].connected && !(l->answered >> i & 1))
			ask_peer(node, l, &node->peers[i]);
	l->again_ns = node->now + KH_LOOKUP_AGAIN;
	kh_arm(node, l->again_ns);
}

static bool lookup_over(const struct kh_node *node, const struct lookup *l)
{
	uint64_t all = (node->peer_count == 64 ? ~0ull : (1ull << node->peer_count) - 1) & ~1ull;

	return (l->answered & all) == all;
}

/**
 * kh_lookup() - find the region of @addr and its home
 * @found: called once, perhaps at once: region, or error ENOENT, ETIMEDOUT
 */
void kh_lookup(struct kh_node *node, struct khazana_addr addr, uint64_t deadline_ns,
	       kh_found *found, void *context)
{
	struct kh_region *region = kh_region_at(node, addr);
	kh_node_id hint = region ? region->hint : 0;
	struct lookup *l;

	if (region && region->home_id) {
		found(node, context, region, 0);
		return;
	}
	l = kh_zalloc(sizeof(*l));
	l->addr = addr;
	l->id = ++node->next_ask;
	l->deadline_ns = deadline_ns;
	l->found = found;
	l->context = context;
	kh_list_add(&node->lookups, &l->node);
	if (lookup_over(node, l)) {
		lookup_end(node, l, NULL, ENOENT);
		return;
	}
	if (deadline_ns != KH_NEVER)
		kh_arm(node, deadline_ns);
	if (region)
		region->hint = 0;
	if (!ask_hinted(node, l, hint))
		ask_all(node, l);
}

void kh_lookup_cancel(struct kh_node *node, void *context)
{
	struct lookup *l, *tmp;

	kh_list_each_safe (l, tmp, &node->lookups, node) {
		if (l->context != context)
			continue;
		kh_list_del(&l->node);
		free(l);
	}
}

void kh_lookup_tick(struct kh_node *node)
{
	struct lookup *l, *tmp;

	kh_list_each_safe (l, tmp, &node->lookups, node) {
		if (node->now >= l->deadline_ns) {
			lookup_end(node, l, NULL, ETIMEDOUT);
			continue;
		}
		if (l->deadline_ns != KH_NEVER)
			kh_arm(node, l->deadline_ns);
		if (node->now >= l->again_ns)
			ask_all(node, l);
		else
			kh_arm(node, l->again_ns);
	}
}

/* @peer can be asked (again), or not any more. */
void kh_lookup_peer(struct kh_node *node, struct kh_peer *peer, bool up)
{
	uint64_t bit = 1ull << (peer - node->peers);
	struct lookup *l;

	kh_list_each (l, &node->lookups, node) {
		l->answered &= ~bit;
		if (up && !l->hint)
			ask_peer(node, l, peer);
		else if (!up && l->hint == peer->id)
			ask_all(node, l);
	}
}

void kh_lookup_free(struct kh_node *node)
{
	struct lookup *l, *tmp;

	kh_list_each_safe (l, tmp, &node->lookups, node) {
		kh_list_del(&l->node);
		free(l);
	}
}

/* The home of a region that the module holds is found, or there is none any more. */
static void resolved(struct kh_node *node, void *context, struct kh_region *found, int error)
{
	struct kh_region *region = context;
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_DEL,
				   .region = region->handle,
				   .flags = KHAZANA_CMDF_FORCE };

	if (found == region || (found && region->home_id))
		return;
	kh_event(node, "region", "region %llx:%llx does not exist any more (%d)",
		 (unsigned long long)region->start.hi, (unsigned long long)region->start.lo, error);
	kh_ask_fail_all(region, ENOENT);
	if (region->handle)
		kh_command(node, &cmd);
	kh_region_free(region);
}

void kh_resolve(struct kh_node *node, struct kh_region *region)
{
	kh_lookup_cancel(node, region);
	kh_lookup(node, region->start, KH_NEVER, resolved, region);
}

void kh_on_where(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_where *e = kh_entries(h);
	struct khazana_addr addr = { e->addr_hi, e->addr_lo };
	struct kh_region *region = kh_region_at(node, addr);
	struct kh_wire_head head = *h;
	struct kh_wire_not_home *no;

	if (region && region->home && !region->home->going) {
		kh_region_describe(region, kh_out(node, from, KH_WIRE_HERE, &head));
		return;
	}
	no = kh_out(node, from, KH_WIRE_NOT_HOME, &head);
	no->kind = KH_WIRE_WHERE; /* everybody will be asked */
}

static struct lookup *lookup_find(struct kh_node *node, uint64_t id)
{
	struct lookup *l;

	kh_list_each (l, &node->lookups, node)
		if (l->id == id)
			return l;
	return NULL;
}

void kh_on_here(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_region *desc = kh_entries(h);
	struct lookup *l = lookup_find(node, h->request);
	struct kh_region *region;

	if (desc->home != from->id || (!l && (h->request || !kh_region_of(node, h))))
		return;
	region = kh_region_learn(node, desc);
	l = lookup_find(node, h->request);
	if (!l)
		return;
	if (region && kh_region_at(node, l->addr) == region)
		lookup_end(node, l, region, 0);
	else
		kh_count(node, KH_STAT_PROTOCOL_ERRORS);
}

void kh_on_not_home(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		    const void *data)
{
	const struct kh_wire_not_home *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct lookup *l;

	if (e->kind != KH_WIRE_WHERE) {
		if (e->kind == KH_WIRE_CALL)
			kh_call_moved(node, h->request);
		if (region && region->home_id == from->id)
			kh_region_forget_home(region, e->hint);
		return;
	}
	l = lookup_find(node, h->request);
	if (!l)
		return;
	l->answered |= 1ull << (from - node->peers);
	if (lookup_over(node, l))
		lookup_end(node, l, NULL, ENOENT);
	else if (l->hint == from->id)
		ask_all(node, l);
}

void kh_on_gone(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	struct kh_region *region = kh_region_of(node, h);
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_DEL, .flags = KHAZANA_CMDF_FORCE };

	kh_keep_gone(node, from, h);
	if (!region || region->home_id != from->id)
		return;
	kh_ask_fail_all(region, ENOENT);
	if (region->handle) {
		cmd.region = region->handle;
		kh_command(node, &cmd);
	}
	kh_region_free(region);
}
