/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lease.c - leases, as a node has them from homes and as a home gives them (R13, R14)
 *
 * The node counts from sending RENEW, the home from receiving it and longer, so the
 * node's module has always ended its rights before the home gives them to others.
 */
#include "core.h"

static uint32_t lease_id(kh_node_id home, uint32_t lease_ms)
{
	return (home % KH_LEASE_NODES) << 20 | lease_ms;
}

static struct kh_lease *lease_find(struct kh_node *node, kh_node_id home, uint32_t lease_ms)
{
	struct kh_lease *lease;

	kh_list_each (lease, &node->leases, node)
		if (lease->home == home && lease->lease_ms == lease_ms)
			return lease;
	return NULL;
}

/* The lease for regions of class @lease_ms of @home; it is asked for if it is new. */
struct kh_lease *kh_lease_get(struct kh_node *node, kh_node_id home, uint32_t lease_ms)
{
	struct kh_lease *lease = lease_find(node, home, lease_ms);

	if (lease)
		return lease;
	lease = kh_zalloc(sizeof(*lease));
	lease->home = home;
	lease->lease_ms = lease_ms;
	lease->id = lease_id(home, lease_ms);
	lease->expired = node->took_over; /* for all that this khd knows */
	kh_list_add(&node->leases, &lease->node);
	kh_lease_renew(node, lease);
	return lease;
}

/* The rights under the lease ended: what was granted under it and not taken is void. */
static void lease_over(struct kh_node *node, struct kh_lease *lease)
{
	struct kh_region *region;

	lease->expired = true;
	lease->lapses++;
	lease->told = false;
	lease->judge_id = 0;
	kh_list_each (region, &node->regions, node)
		if (region->lease == lease)
			kh_ask_again(region);
}

void kh_lease_renew(struct kh_node *node, struct kh_lease *lease)
{
	struct kh_peer *home = kh_peer_find(node, lease->home);
	struct kh_wire_head head = { 0 };
	struct kh_wire_renew *e;

	lease->renew_ns = node->now + lease->lease_ms * KH_MS / 3;
	kh_arm(node, lease->renew_ns);
	if (!kh_peer_up(home))
		return;
	if (lease->end_ns && node->now >= lease->end_ns)
		lease_over(node, lease);
	e = kh_out(node, home, KH_WIRE_RENEW, &head);
	e->lease_ms = lease->lease_ms;
	e->flags = lease->expired ? KH_RENEW_EXPIRED : 0;
	e->sent_ns = node->now;
	e->sequence = ++lease->sequence;
	lease->told = lease->expired;
	lease->sent_ns = node->now;
}

/* May requests under this lease be made? */
bool kh_lease_ready(const struct kh_node *node, const struct kh_lease *lease)
{
	return lease->acked && lease->end_ns > node->now && !lease->expired;
}

struct kh_grantee *kh_grantee(struct kh_node *node, struct kh_peer *peer, uint32_t lease_ms)
{
	unsigned int i;

	for (i = 0; i < peer->class_count; i++)
		if (peer->classes[i].lease_ms == lease_ms)
			return &peer->classes[i];
	if (i == KH_CLASSES_MAX)
		return NULL;
	peer->classes[i] = (struct kh_grantee){ .lease_ms = lease_ms };
	peer->class_count++;
	return &peer->classes[i];
}

static struct kh_grantee *grantee_of(struct kh_node *node, const struct kh_region *region,
				     kh_node_id party)
{
	struct kh_peer *peer = kh_peer_find(node, party);

	return peer ? kh_grantee(node, peer, region->attr.lease_ms) : NULL;
}

/* Does @party have a lease for @region from this node? */
bool kh_grantee_valid(struct kh_node *node, const struct kh_region *region, kh_node_id party)
{
	struct kh_grantee *g = grantee_of(node, region, party);

	return g && g->valid && node->now < g->end_ns;
}

uint32_t kh_grantee_gen(struct kh_node *node, const struct kh_region *region, kh_node_id party)
{
	struct kh_grantee *g = grantee_of(node, region, party);

	return g ? g->gen : 0;
}

/* The lease is over: what was written down under it is void. */
void kh_grantee_expire(struct kh_node *node, struct kh_peer *peer, struct kh_grantee *g)
{
	if (!g->valid)
		return;
	g->valid = false;
	g->gen++;
	kh_count(node, KH_STAT_LEASES_EXPIRED);
	kh_event(node, "lease", "the lease of node %u (%u ms) is over", peer->id, g->lease_ms);
	kh_home_expired(node, peer->id, g->lease_ms);
}

/* The lease counts from now. */
static void grantee_extend(struct kh_node *node, struct kh_grantee *g)
{
	uint64_t lease_ns = g->lease_ms * KH_MS;

	if (!g->gen)
		g->gen = 1;
	g->valid = true;
	g->end_ns = node->now + lease_ns + lease_ns / 1000000 * node->config.drift_ppm +
		    node->config.zap_budget_ms * KH_MS;
	kh_arm(node, g->end_ns);
}

/* An earlier khd of this home may have given @peer a lease just before it died. */
void kh_grantee_assume(struct kh_node *node, struct kh_peer *peer, uint32_t lease_ms)
{
	struct kh_grantee *g = kh_grantee(node, peer, lease_ms);

	if (g)
		grantee_extend(node, g);
}

void kh_on_renew(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_renew *e = kh_entries(h);
	struct kh_grantee *g = kh_grantee(node, from, e->lease_ms);
	struct kh_wire_head head = { 0 };
	struct kh_wire_renew *ack;
	bool census;

	if (!g || e->lease_ms < KH_LEASE_MS_MIN || e->lease_ms > KH_LEASE_MS_MAX) {
		kh_count(node, KH_STAT_PROTOCOL_ERRORS);
		return;
	}
	if (g->valid && node->now >= g->end_ns)
		kh_grantee_expire(node, from, g);
	census = (!g->valid && g->gen) || (e->flags & KH_RENEW_EXPIRED);
	grantee_extend(node, g);
	head.epoch = node->config.incarnation;
	ack = kh_out(node, from, KH_WIRE_RENEW_ACK, &head);
	*ack = *e;
	ack->flags = 0;
	if (census)
		kh_census_start(node, from);
}

/* Requests that waited for the lease go; demands that it made us ignore are asked for. */
static void lease_ready(struct kh_node *node, struct kh_lease *lease, struct kh_peer *home)
{
	struct kh_wire_head head = { 0 };
	struct kh_region *region;
	bool resync = false;

	if (!kh_lease_ready(node, lease))
		return;
	kh_list_each (region, &node->regions, node) {
		if (region->lease != lease)
			continue;
		kh_ask_go(region);
		resync |= region->resync;
		region->resync = false;
	}
	if (resync)
		kh_out(node, home, KH_WIRE_SYNC, &head);
}

void kh_on_renew_ack(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		     const void *data)
{
	const struct kh_wire_renew *e = kh_entries(h);
	struct kh_lease *lease = lease_find(node, from->id, e->lease_ms);
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_LEASE };
	uint64_t end;

	if (!lease || e->sequence > lease->sequence || e->sent_ns > node->now)
		return;
	end = e->sent_ns + lease->lease_ms * KH_MS;
	if (lease->end_ns && node->now >= lease->end_ns && lease->acked)
		lease_over(node, lease);
	if (end > lease->end_ns && end > node->now) {
		cmd.lease = lease->id;
		cmd.time_ns = end;
		kh_command(node, &cmd);
		lease->end_ns = end;
	}
	if (lease->acked < e->sequence)
		lease->acked = e->sequence;
	kh_done_prune(node, lease, e->sequence);
	if (lease->expired && !lease->told)
		kh_lease_renew(node, lease);
	lease_ready(node, lease, from);
}

/* The inventory that @home asked for is being sent: it shows all that has expired. */
void kh_lease_asked(struct kh_node *node, kh_node_id home, uint64_t id)
{
	struct kh_lease *lease;

	kh_list_each (lease, &node->leases, node)
		if (lease->home == home && lease->expired)
			lease->judge_id = id;
}

/* The home has judged that inventory: its verdicts came before. */
void kh_lease_judged(struct kh_node *node, struct kh_peer *home, uint64_t id)
{
	struct kh_lease *lease;

	kh_list_each (lease, &node->leases, node) {
		if (lease->home != home->id || !lease->expired || lease->judge_id != id)
			continue;
		lease->expired = false;
		lease_ready(node, lease, home);
	}
}

/* The module says that the rights under lease @id ended. */
void kh_lease_expired(struct kh_node *node, uint32_t id)
{
	struct kh_lease *lease;

	kh_list_each (lease, &node->leases, node) {
		if (lease->id != id)
			continue;
		lease_over(node, lease);
		kh_lease_renew(node, lease);
	}
}

void kh_lease_tick(struct kh_node *node)
{
	struct kh_lease *lease;
	unsigned int i, k;

	kh_list_each (lease, &node->leases, node) {
		if (node->now >= lease->renew_ns)
			kh_lease_renew(node, lease);
		else
			kh_arm(node, lease->renew_ns);
	}
	for (i = 0; i < node->peer_count; i++) {
		for (k = 0; k < node->peers[i].class_count; k++) {
			struct kh_grantee *g = &node->peers[i].classes[k];

			if (g->valid && node->now >= g->end_ns)
				kh_grantee_expire(node, &node->peers[i], g);
			else if (g->valid)
				kh_arm(node, g->end_ns);
		}
	}
}
