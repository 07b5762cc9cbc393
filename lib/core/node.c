/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * node.c - a node: its life, its events, and the order of things in one step
 *
 * Each entry point is step_begin(), the event's handler, step_end().  step_end() sends what the
 * handler said and handles what the node said to itself, until there is no more.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core.h"

static const struct {
	const char *name;
	enum kh_plant plant;
} plants[] = {
	{ "skip-inv", KH_PLANT_SKIP_INV },
	{ "old-version", KH_PLANT_OLD_VERSION },
	{ "lose-waiter", KH_PLANT_LOSE_WAITER },
	{ "accept-stale", KH_PLANT_ACCEPT_STALE },
	{ "early-hdone", KH_PLANT_EARLY_HDONE },
	{ "no-lease-wait", KH_PLANT_NO_LEASE_WAIT },
	{ "forget-copy", KH_PLANT_FORGET_COPY },
	{ "two-busy", KH_PLANT_TWO_BUSY },
	{ "grant-early", KH_PLANT_GRANT_EARLY },
	{ "no-verdict", KH_PLANT_NO_VERDICT },
	{ "early-safe", KH_PLANT_EARLY_SAFE },
	{ "no-look", KH_PLANT_NO_LOOK },
	{ "flush-clean", KH_PLANT_FLUSH_CLEAN },
	{ "free-copy", KH_PLANT_FREE_COPY },
	{ "free-forget", KH_PLANT_FREE_FORGET },
	{ "no-memory", KH_PLANT_NO_MEMORY },
	{ "prefetch-forget", KH_PLANT_PREFETCH_FORGET },
	{ "keep-overwrite", KH_PLANT_KEEP_OVERWRITE },
	{ "one-pass", KH_PLANT_ONE_PASS },
	{ "no-repair", KH_PLANT_NO_REPAIR },
};

void kh_arm(struct kh_node *node, uint64_t when)
{
	if (when < node->deadline)
		node->deadline = when;
}

struct kh_peer *kh_peer_find(struct kh_node *node, kh_node_id id)
{
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		if (node->peers[i].id == id)
			return &node->peers[i];
	return NULL;
}

struct kh_peer *kh_peer_reach(struct kh_node *node, kh_node_id id)
{
	struct kh_peer *peer = kh_peer_find(node, id);

	return kh_peer_up(peer) ? peer : NULL;
}

void kh_event(struct kh_node *node, const char *name, const char *format, ...)
{
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	node->ops->event(node->host, name, text);
}

/* The other end is up: what may have been lost is said again (R8). */
static void on_sync(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		    const void *data)
{
	struct kh_lease *lease;

	/* Before anything else that is said to it: it may have missed that a key was changed. */
	kh_served_synced(node, from);
	kh_list_each (lease, &node->leases, node)
		if (lease->home == from->id)
			kh_lease_renew(node, lease);
	/* Verdicts, or the word that they have come, may be lost. */
	if (!from->census || !from->heard)
		kh_census_start(node, from);
	kh_home_resend(node, from);
	kh_store_resend(node, from);
	kh_place_peer(node, from);
	kh_report_hask(node, from);
	kh_ask_synced(node, from);
	kh_lookup_peer(node, from, true);
}

static kh_handler *const handlers[KH_WIRE_KINDS] = {
	[KH_WIRE_REQ] = kh_on_req,
	[KH_WIRE_GRANT] = kh_on_grant,
	[KH_WIRE_NACK] = kh_on_nack,
	[KH_WIRE_FORWARD] = kh_on_forward,
	[KH_WIRE_DATA] = kh_on_data,
	[KH_WIRE_INV] = kh_on_inv,
	[KH_WIRE_IACK] = kh_on_iack,
	[KH_WIRE_DONE] = kh_on_done,
	[KH_WIRE_HDONE] = kh_on_hdone,
	[KH_WIRE_EVICT] = kh_on_evict,
	[KH_WIRE_RENEW] = kh_on_renew,
	[KH_WIRE_RENEW_ACK] = kh_on_renew_ack,
	[KH_WIRE_ASK] = kh_on_ask,
	[KH_WIRE_INVENTORY] = kh_on_inventory,
	[KH_WIRE_END] = kh_on_end,
	[KH_WIRE_VERDICT] = kh_on_verdict,
	[KH_WIRE_WHERE] = kh_on_where,
	[KH_WIRE_HERE] = kh_on_here,
	[KH_WIRE_NOT_HOME] = kh_on_not_home,
	[KH_WIRE_CALL] = kh_on_call,
	[KH_WIRE_CHALLENGE] = kh_on_challenge,
	[KH_WIRE_PROOF] = kh_on_proof,
	[KH_WIRE_RESULT] = kh_on_result,
	[KH_WIRE_GONE] = kh_on_gone,
	[KH_WIRE_SYNC] = on_sync,
	[KH_WIRE_HASK] = kh_on_hask,
	[KH_WIRE_FLUSH] = kh_on_flush,
	[KH_WIRE_STORE] = kh_on_store,
	[KH_WIRE_STORED] = kh_on_stored,
	[KH_WIRE_LOOK] = kh_on_look,
	[KH_WIRE_LOAD] = kh_on_load,
	[KH_WIRE_SAFE] = kh_on_safe,
};

static void dispatch(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		     const void *data)
{
	if (handlers[h->kind])
		handlers[h->kind](node, from, h, data);
}

static void step_begin(struct kh_node *node, uint64_t now)
{
	if (now > node->now)
		node->now = now;
}

static void step_end(struct kh_node *node)
{
	while (kh_thin_save(node), kh_out_flush(node)) {
		struct kh_local *local = kh_list_first(&node->local, struct kh_local, node);
		const struct kh_wire_head *h = (const void *)local->bytes;

		kh_list_del(&local->node);
		dispatch(node, kh_self(node), h,
			 (const uint8_t *)local->bytes + h->length - h->data_len);
		free(local);
	}
}

static bool config_ok(const struct kh_node_config *config)
{
	unsigned int i, k;

	if (!config->id || config->peer_count >= KH_NODES_MAX ||
	    !memchr(config->cluster, 0, sizeof(config->cluster)) || !config->incarnation ||
	    config->incarnation >> (64 - KH_REQUEST_SHIFT - 4))
		return false;
	for (i = 0; i < config->peer_count; i++) {
		if (!config->peers[i] ||
		    config->peers[i] % KH_LEASE_NODES == config->id % KH_LEASE_NODES)
			return false;
		for (k = 0; k < i; k++)
			if (config->peers[i] % KH_LEASE_NODES == config->peers[k] % KH_LEASE_NODES)
				return false;
	}
	return true;
}

static void add_peer(struct kh_node *node, kh_node_id id)
{
	struct kh_peer *peer = &node->peers[node->peer_count++];

	peer->id = id;
	peer->self = node->peer_count == 1;
	kh_list_init(&peer->calls);
}

struct kh_node *kh_node_create(const struct kh_node_config *config, const struct kh_host_ops *ops,
			       void *host, uint64_t now)
{
	struct kh_node *node;
	unsigned int i;

	if (!config_ok(config))
		return NULL;
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->config = *config;
	node->config.peers = NULL;
	node->config.plant = NULL;
	node->config.lease_ms = config->lease_ms ? config->lease_ms : 10000;
	node->config.drift_ppm = config->drift_ppm ? config->drift_ppm : 10000;
	node->config.zap_budget_ms = config->zap_budget_ms ? config->zap_budget_ms : 200;
	node->config.flush_ms = config->flush_ms ? config->flush_ms : KH_FLUSH_MS;
	node->config.units_kept = config->units_kept ? config->units_kept : KH_UNITS_KEPT;
	node->ops = ops;
	node->host = host;
	node->now = now;
	node->deadline = KH_NEVER;
	kh_list_init(&node->local);
	kh_list_init(&node->regions);
	kh_list_init(&node->borrowed);
	kh_list_init(&node->leases);
	kh_list_init(&node->lookups);
	kh_list_init(&node->ops_list);
	kh_list_init(&node->fences);
	add_peer(node, config->id);
	for (i = 0; i < config->peer_count; i++)
		add_peer(node, config->peers[i]);
	kh_self(node)->incarnation = config->incarnation;
	kh_self(node)->boot = config->boot;
	for (i = 0; config->plant && i < sizeof(plants) / sizeof(plants[0]); i++)
		if (!strcmp(plants[i].name, config->plant))
			node->plant = plants[i].plant;
	if (config->plant && node->plant == KH_PLANT_NONE) {
		free(node);
		return NULL;
	}
	return node;
}

void kh_node_start(struct kh_node *node, uint64_t now)
{
	struct kh_region *region;

	step_begin(node, now);
	node->generation_first = node->generation_next + 1;
	kh_list_each (region, &node->regions, node)
		if (region->home)
			kh_arm(node, region->home->move_ns);
	kh_recovery_start(node);
	kh_report_start(node);
	step_end(node);
}

void kh_node_destroy(struct kh_node *node)
{
	struct kh_region *region, *next_region;
	struct kh_lease *lease, *next_lease;
	struct kh_local *local, *next_local;
	unsigned int i;

	kh_op_free(node);
	kh_list_each (region, &node->regions, node) {
		if (!region->home)
			continue;
		kh_flush_free(region);
		kh_place_free(region);
	}
	kh_call_free(node);
	kh_served_free(node);
	kh_list_each_safe (region, next_region, &node->regions, node)
		kh_region_free(region);
	kh_lookup_free(node);
	kh_keep_free(node);
	kh_list_each_safe (lease, next_lease, &node->leases, node)
		free(lease);
	kh_list_each_safe (local, next_local, &node->local, node)
		free(local);
	for (i = 0; i < node->peer_count; i++)
		free(node->peers[i].out);
	kh_hash_free(&node->asks);
	kh_hash_free(&node->demands);
	free(node->scratch);
	free(node);
}

static void module_seen(struct kh_node *node, struct kh_peer *peer, uint64_t boot)
{
	unsigned int i = (unsigned int)(peer - node->peers), k;
	uint64_t before = peer->boot ? peer->boot : node->boots[i];
	bool other = before && before != boot;

	peer->boot = boot;
	/* A new module instead of another one is written down when all that was lost is known. */
	if (node->recovering)
		peer->lost |= node->boots[i] && node->boots[i] != boot;
	else if (!node->boots[i])
		kh_boots_learn(node, peer);
	if (other && !node->recovering && (node->silent >> i & 1))
		kh_doubt_gone(node);
	for (k = 0; other && k < peer->class_count; k++)
		kh_grantee_expire(node, peer, &peer->classes[k]);
}

void kh_node_peer_up(struct kh_node *node, kh_node_id id, uint64_t incarnation, uint64_t boot,
		     uint64_t now)
{
	struct kh_peer *peer = kh_peer_find(node, id);
	struct kh_wire_head head = { .epoch = node->config.incarnation };

	step_begin(node, now);
	if (!peer || peer->self)
		return;
	kh_out_drop(peer);
	if (peer->incarnation != incarnation || peer->boot != boot)
		peer->census = false;
	peer->incarnation = incarnation;
	peer->asked = false;
	peer->connected = true;
	module_seen(node, peer, boot);
	kh_event(node, "peer-up", "node %u is connected", id);
	kh_out(node, peer, KH_WIRE_SYNC, &head);
	step_end(node);
}

void kh_node_peer_down(struct kh_node *node, kh_node_id id, uint64_t now)
{
	struct kh_peer *peer = kh_peer_find(node, id);
	unsigned int i;

	step_begin(node, now);
	if (!peer || peer->self || !peer->connected)
		return;
	peer->connected = false;
	if (peer->asked)
		peer->asked = peer->census = false;
	kh_out_drop(peer);
	kh_event(node, "peer-down", "the connection to node %u is lost", id);
	kh_lookup_peer(node, peer, false);
	kh_call_peer_down(node, peer);
	kh_served_drop(node, peer);
	kh_store_peer_down(node, peer);
	for (i = 0; kh_planted(node, KH_PLANT_NO_LEASE_WAIT) && i < peer->class_count; i++)
		kh_grantee_expire(node, peer, &peer->classes[i]);
	step_end(node);
}

int kh_node_message(struct kh_node *node, kh_node_id id, const void *msg, size_t len, uint64_t now)
{
	struct kh_peer *peer = kh_peer_find(node, id);
	struct kh_wire_head *h;
	size_t head_len;

	step_begin(node, now);
	if (!peer || peer->self || kh_wire_check(msg, len)) {
		kh_count(node, KH_STAT_PROTOCOL_ERRORS);
		return -EPROTO;
	}
	head_len = kh_wire_head_len(msg);
	if (head_len > node->scratch_size) {
		node->scratch = kh_realloc(node->scratch, head_len * 2);
		node->scratch_size = head_len * 2;
	}
	memcpy(node->scratch, msg, head_len);
	h = (struct kh_wire_head *)node->scratch;
	kh_wire_swap(h, false);
	if (h->kind == KH_WIRE_HELLO) {
		kh_count(node, KH_STAT_PROTOCOL_ERRORS);
		return -EPROTO;
	}
	node->kind_in[h->kind]++;
	peer->messages_in++;
	peer->bytes_in += len;
	node->lends = true;
	dispatch(node, peer, h, (const uint8_t *)msg + head_len);
	node->lends = false;
	step_end(node);
	return 0;
}

void kh_node_received(struct kh_node *node)
{
	if (kh_list_empty(&node->borrowed))
		return;
	kh_ask_received(node);
	step_end(node);
}

void kh_node_request(struct kh_node *node, const struct khazana_request *req, uint64_t now)
{
	step_begin(node, now);
	kh_holder_request(node, req);
	step_end(node);
}

void kh_node_stored(struct kh_node *node, uint64_t id, const struct kh_store_result *result,
		    uint64_t now)
{
	step_begin(node, now);
	kh_keep_stored(node, id, result);
	step_end(node);
}

void kh_node_op(struct kh_node *node, uint64_t op_id, const struct kh_op *op, uint64_t now)
{
	step_begin(node, now);
	kh_op_start(node, op_id, op);
	step_end(node);
}

void kh_node_op_cancel(struct kh_node *node, uint64_t op_id, uint64_t now)
{
	step_begin(node, now);
	kh_op_cancel(node, op_id);
	step_end(node);
}

uint64_t kh_node_deadline(const struct kh_node *node)
{
	return node->deadline;
}

void kh_node_tick(struct kh_node *node, uint64_t now)
{
	step_begin(node, now);
	if (node->now < node->deadline)
		return;
	node->deadline = KH_NEVER;
	kh_lease_tick(node);
	kh_census_tick(node);
	kh_ask_tick(node);
	kh_lookup_tick(node);
	kh_call_tick(node);
	kh_served_tick(node);
	kh_op_tick(node);
	kh_place_tick(node);
	kh_store_tick(node);
	kh_flush_tick(node);
	step_end(node);
}

const char *kh_node_check(const struct kh_node *node)
{
	const struct kh_region *region;
	const char *broken = NULL;

	if (!kh_list_empty(&node->local))
		return "node: a message to itself was not handled";
	kh_list_each (region, &node->regions, node) {
		broken = kh_ask_check(region);
		if (!broken && region->home)
			broken = kh_home_check(region);
		if (broken)
			return broken;
	}
	return NULL;
}
