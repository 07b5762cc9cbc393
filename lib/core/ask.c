/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ask.c - requests of this node's module to homes
 *
 *   FAULT kh_ask_fault() (fault.c) -> REQ kh_ask_push() -> GRANT, DATA (grant.c) -> COMMIT -> DONE
 *
 * Each unit of a request has an attempt of its own; asking again raises it, and what
 * comes for a lower one is ignored.
 */
#include <errno.h>
#include <stdlib.h>
#include "ask.h"

struct kh_ask *kh_ask_find(struct kh_node *node, uint64_t id)
{
	return kh_hash_entry(kh_hash_find(&node->asks, id), struct kh_ask, node);
}

struct kh_ask_unit *kh_ask_at(struct kh_ask *ask, uint64_t unit)
{
	if (!ask || unit < ask->first || unit - ask->first >= ask->count)
		return NULL;
	return &ask->units[unit - ask->first];
}

uint64_t kh_ask_number(const struct kh_ask_unit *u)
{
	return u->ask->first + (uint64_t)(u - u->ask->units);
}

/* The home need not serve it: what was granted is not taken. */
void kh_ask_abort(const struct kh_ask_unit *u)
{
	if (u->attempt && !u->over)
		kh_done_send(u->ask->region, u->ask->id, kh_ask_number(u), 0, 0, KH_DONE_ABORTED);
}

/* Its DATA is used, or is not wanted. */
void kh_ask_return(struct kh_ask_unit *u)
{
	if (u->bytes)
		kh_list_del(&u->borrowed);
	u->bytes = NULL;
}

void kh_ask_over(struct kh_ask_unit *u)
{
	struct kh_region *region = u->ask->region;

	if (u->over)
		return;
	kh_ask_return(u);
	kh_hash_del(&region->wanted, &u->wanted);
	if (u->ask->flags & KH_REQ_PREFETCH)
		region->prefetching--;
	u->over = true;
	u->ask->left--;
}

struct kh_ask_unit *kh_ask_wanted(const struct kh_region *region, uint64_t unit)
{
	return kh_hash_entry(kh_hash_find(&region->wanted, unit), struct kh_ask_unit, wanted);
}

/* All is there for its COMMIT. */
bool kh_ask_ready(const struct kh_ask_unit *u)
{
	return !u->over && u->asked && u->granted &&
	       (u->kind != KH_SOURCE_DATA || (u->data && u->data_version == u->need));
}

void kh_ask_free(struct kh_ask *ask)
{
	struct kh_node *node = ask->region->owner;
	uint32_t i;

	for (i = 0; i < ask->count; i++)
		kh_ask_over(&ask->units[i]);
	kh_hash_del(&node->asks, &ask->node);
	kh_list_del(&ask->region_node);
	free(ask);
}

void kh_ask_count_ready(struct kh_ask *ask)
{
	uint32_t i;

	for (i = ask->ready = 0; i < ask->count; i++)
		ask->ready += kh_ask_ready(&ask->units[i]);
}

/* A unit has one frame to receive into, so one request at a time: the newest one. */
void kh_ask_supersede(struct kh_region *region, uint64_t unit)
{
	struct kh_ask_unit *u = kh_ask_wanted(region, unit);
	struct kh_ask *ask = u ? u->ask : NULL;

	if (!u)
		return;
	kh_ask_abort(u);
	kh_ask_over(u);
	kh_ask_count_ready(ask);
	if (!ask->left)
		kh_ask_free(ask);
}

struct kh_ask *kh_ask_new(struct kh_region *region, uint64_t first, uint32_t count, uint32_t want,
			  uint32_t flags, uint32_t timeout_ms)
{
	struct kh_node *node = region->owner;
	struct kh_ask *ask = kh_zalloc(sizeof(*ask) + count * sizeof(ask->units[0]));
	uint32_t i;

	ask->region = region;
	ask->id = node->config.incarnation << KH_REQUEST_SHIFT | ++node->next_request;
	ask->want = want;
	ask->flags = flags;
	ask->first = first;
	ask->count = ask->left = count;
	ask->backoff_ns = KH_RETRY_MIN;
	ask->flush_ns = KH_NEVER;
	ask->deadline_ns = node->now + (timeout_ms ? timeout_ms : KH_TIMEOUT_MS) * KH_MS;
	kh_arm(node, ask->deadline_ns);
	for (i = 0; i < count; i++) {
		ask->units[i].ask = ask;
		ask->units[i].held = KHAZANA_VERSION_NONE;
		ask->units[i].frame = KH_NO_FRAME;
		kh_ask_supersede(region, first + i);
		kh_hash_add(&region->wanted, &ask->units[i].wanted, first + i);
	}
	if (flags & KH_REQ_PREFETCH)
		region->prefetching += count;
	kh_hash_add(&node->asks, &ask->node, ask->id);
	kh_list_add(&region->asks, &ask->region_node);
	return ask;
}

/* What the module holds of @u, as UNIT_GET said it in @cmd. */
void kh_ask_known(struct kh_ask_unit *u, const struct khazana_cmd *cmd)
{
	u->known = true;
	u->held = KHAZANA_VERSION_NONE;
	u->held_token = ~0ull;
	u->copy = !cmd->result && cmd->version != KHAZANA_VERSION_NONE;
	if (cmd->result)
		return;
	u->held_token = cmd->token;
	/* A record that went and came again knows only that its right was below the floor. */
	if (cmd->right == KHAZANA_RIGHT_NONE && cmd->floor > cmd->token)
		u->held_token = cmd->floor - 1;
	if (cmd->version != KHAZANA_VERSION_NONE)
		u->held = cmd->version;
	else if (cmd->uflags & KHAZANA_UNIT_HANDOFF)
		u->held = cmd->version_held;
	if (u->frame == KH_NO_FRAME && cmd->version == KHAZANA_VERSION_NONE)
		u->frame = cmd->frame;
}

/* What the module holds of the units that are to be asked for. */
static void look(struct kh_ask *ask)
{
	struct kh_node *node = ask->region->owner;
	struct khazana_cmd *cmds = kh_zalloc(ask->count * sizeof(*cmds));
	uint32_t i, n = 0;

	for (i = 0; i < ask->count; i++) {
		const struct kh_ask_unit *u = &ask->units[i];

		if (!u->over && !u->asked && !u->known)
			cmds[n++] = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET,
							  .region = ask->region->handle,
							  .unit = ask->first + i,
							  .cookie = i };
	}
	kh_commands(node, cmds, n);
	while (n--) {
		struct kh_ask_unit *u = kh_ask_at(ask, cmds[n].unit);

		if (u)
			kh_ask_known(u, &cmds[n]);
	}
	free(cmds);
}

bool kh_ask_may(struct kh_node *node, struct kh_region *region)
{
	return region->home_id && kh_peer_reach(node, region->home_id) && region->lease &&
	       kh_lease_ready(node, region->lease);
}

/* REQ for every unit of @ask that is to be asked for. */
void kh_ask_push(struct kh_ask *ask)
{
	struct kh_region *region = ask->region;
	struct kh_node *node = region->owner;
	struct kh_wire_head head;
	uint32_t i;

	if (!kh_ask_may(node, region)) {
		ask->retry_ns = 0;
		return;
	}
	look(ask);
	head = kh_head(region);
	head.request = ask->id;
	head.party = node->config.id;
	for (i = 0; i < ask->count; i++) {
		struct kh_ask_unit *u = &ask->units[i];
		struct kh_wire_req *e;

		if (u->over || u->asked)
			continue;
		head.attempt = ++u->attempt;
		u->asked = true;
		kh_ask_return(u);
		u->granted = u->data = false;
		e = kh_out(node, kh_peer_find(node, region->home_id), KH_WIRE_REQ, &head);
		e->unit = ask->first + i;
		e->version = u->held;
		e->token = u->held_token;
		e->want = ask->want;
		e->flags = ask->flags;
	}
	ask->retry_ns = KH_NEVER;
}

/* The unit will be asked for again, later if @later. */
void kh_ask_unit_again(struct kh_ask_unit *u, bool later)
{
	struct kh_ask *ask = u->ask;
	struct kh_node *node = ask->region->owner;
	uint64_t when = later ? node->now + ask->backoff_ns : 0;

	kh_ask_return(u);
	u->asked = u->granted = u->data = u->known = false;
	kh_ask_count_ready(ask);
	if (when < ask->retry_ns || ask->retry_ns == KH_NEVER)
		ask->retry_ns = when;
	if (!later)
		return;
	kh_count(node, KH_STAT_RETRIES);
	ask->backoff_ns = ask->backoff_ns * 2 < KH_RETRY_MAX ? ask->backoff_ns * 2 : KH_RETRY_MAX;
	kh_arm(node, when);
}

/* Requests that wait for the home to be known, connected or to renew the lease. */
void kh_ask_go(struct kh_region *region)
{
	struct kh_ask *ask;

	if (!kh_ask_may(region->owner, region))
		return;
	kh_list_each (ask, &region->asks, region_node)
		if (!ask->retry_ns)
			kh_ask_push(ask);
}

/* Ask again for everything: the epoch rose, or the home is another one. */
void kh_ask_again(struct kh_region *region)
{
	struct kh_ask *ask;
	uint32_t i;

	kh_list_each (ask, &region->asks, region_node) {
		for (i = 0; i < ask->count; i++)
			if (!ask->units[i].over)
				kh_ask_unit_again(&ask->units[i], false);
	}
	kh_ask_go(region);
}

/*
 * The key was changed: who asked to overwrite did so by the old one, and is refused when he has the
 * right.  So he gets it with the contents, which stay (R32).
 */
void kh_ask_key_changed(struct kh_region *region)
{
	struct kh_ask *ask;
	uint32_t i;

	if (kh_planted(region->owner, KH_PLANT_KEEP_OVERWRITE))
		return;
	kh_list_each (ask, &region->asks, region_node) {
		if (!(ask->flags & KH_REQ_OVERWRITE))
			continue;
		ask->flags &= ~KH_REQ_OVERWRITE;
		for (i = 0; i < ask->count; i++) {
			struct kh_ask_unit *u = &ask->units[i];

			if (u->over || !u->asked)
				continue;
			kh_ask_abort(u);
			kh_ask_unit_again(u, false);
		}
	}
	kh_ask_go(region);
}

/* The module's waiters for @u get @error. */
void kh_ask_unit_fail(struct kh_ask_unit *u, uint32_t error)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FAIL,
				   .region = u->ask->region->handle,
				   .unit = kh_ask_number(u),
				   .count = 1,
				   .request = u->module_request,
				   .error = error };

	if (u->module_request)
		kh_command(u->ask->region->owner, &cmd);
	kh_ask_over(u);
}

static void ask_fail(struct kh_ask *ask, uint32_t error)
{
	uint32_t i;

	for (i = 0; i < ask->count; i++) {
		if (ask->units[i].over)
			continue;
		kh_ask_abort(&ask->units[i]);
		kh_ask_unit_fail(&ask->units[i], error);
	}
	kh_ask_free(ask);
}

void kh_ask_fail_all(struct kh_region *region, uint32_t error)
{
	struct kh_ask *ask, *tmp;

	kh_list_each_safe (ask, tmp, &region->asks, region_node)
		ask_fail(ask, error);
}

/* The region goes: its requests end without a word to the module. */
void kh_ask_drop_region(struct kh_region *region)
{
	struct kh_ask *ask, *tmp;
	struct kh_done *done, *next;

	kh_list_each_safe (ask, tmp, &region->asks, region_node)
		kh_ask_free(ask);
	kh_list_each_safe (done, next, &region->dones, node)
		kh_done_free(region->owner, done);
	kh_hash_free(&region->wanted);
}

/*
 * The unit's waiters were told that their stores are lost, or those of @request (0: of any) have
 * gone: nobody wants to overwrite it now.
 */
void kh_ask_lost(struct kh_region *region, uint64_t unit, uint64_t request)
{
	struct kh_ask_unit *u = kh_ask_wanted(region, unit);
	struct kh_ask *ask = u ? u->ask : NULL;

	if (!u || !(ask->flags & KH_REQ_OVERWRITE) || (request && u->module_request != request))
		return;
	kh_ask_abort(u);
	kh_ask_unit_fail(u, ESTALE);
	kh_ask_count_ready(ask);
	if (!ask->left)
		kh_ask_free(ask);
}

/* The module has @unit back without a grant: nobody waits, and the frame to receive into is gone. */
void kh_ask_resumed(struct kh_region *region, uint64_t unit)
{
	struct kh_ask_unit *u = kh_ask_wanted(region, unit);
	struct kh_ask *ask = u ? u->ask : NULL;

	if (!u)
		return;
	kh_ask_abort(u);
	kh_ask_over(u);
	if (!ask->left)
		kh_ask_free(ask);
}

/* @peer's end of the connection is up (R8). */
void kh_ask_synced(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;
	struct kh_done *done;
	struct kh_ask *ask;
	uint32_t i;

	kh_list_each (region, &node->regions, node) {
		bool home = region->home_id == peer->id;

		kh_list_each (done, &region->dones, node) {
			if (!home)
				break;
			kh_done_send(region, done->request, done->unit, done->token, done->version,
				     0);
			/* Only a RENEW behind this one proves that it arrived. */
			done->sequence = region->lease ? region->lease->sequence : 0;
		}
		kh_list_each (ask, &region->asks, region_node)
			for (i = 0; i < ask->count; i++)
				if (!ask->units[i].over && !kh_ask_ready(&ask->units[i]))
					kh_ask_unit_again(&ask->units[i], false);
		kh_ask_go(region);
	}
}

/* COMMITs that wait for the rest of their range go now. */
void kh_ask_flush(struct kh_node *node)
{
	struct kh_region *region;
	struct kh_ask *ask, *tmp;

	kh_list_each (region, &node->regions, node)
		kh_list_each_safe (ask, tmp, &region->asks, region_node)
			if (ask->flush_ns != KH_NEVER)
				kh_ask_commit(ask);
}

static void ask_tick(struct kh_node *node, struct kh_ask *ask)
{
	if (node->now >= ask->deadline_ns) {
		kh_count(node, KH_STAT_TIMEOUTS);
		ask_fail(ask, ETIMEDOUT);
		return;
	}
	kh_arm(node, ask->deadline_ns);
	if (ask->retry_ns != KH_NEVER) {
		if (node->now >= ask->retry_ns)
			kh_ask_push(ask);
		else
			kh_arm(node, ask->retry_ns);
	}
	if (ask->flush_ns == KH_NEVER)
		return;
	if (node->now >= ask->flush_ns)
		kh_ask_commit(ask);
	else
		kh_arm(node, ask->flush_ns);
}

void kh_ask_tick(struct kh_node *node)
{
	struct kh_region *region;
	struct kh_ask *ask, *tmp;

	kh_list_each (region, &node->regions, node)
		kh_list_each_safe (ask, tmp, &region->asks, region_node)
			ask_tick(node, ask);
}

const char *kh_ask_check(const struct kh_region *region)
{
	const struct kh_ask *ask;
	uint32_t i, left;

	kh_list_each (ask, &region->asks, region_node) {
		for (i = left = 0; i < ask->count; i++)
			left += !ask->units[i].over;
		if (!left || left != ask->left)
			return "ask: a request that is over is still there";
		if (ask->retry_ns != KH_NEVER)
			continue;
		for (i = 0; i < ask->count; i++)
			if (!ask->units[i].over && !ask->units[i].asked)
				return "ask: a unit that is never asked for";
	}
	return NULL;
}
