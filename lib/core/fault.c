/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault.c - what the module wants becomes a request, or joins one
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ask.h"

#define KH_SURPRISE (1000 * KH_MS) /* no descriptor of the module is under way for longer */

/* Its DATA lies where it was received, or came when there was no frame: a COMMIT will be refused. */
static bool received_nowhere(const struct kh_ask_unit *u)
{
	return u->data && u->frame == KH_NO_FRAME;
}

/* A miss of a unit that is being prefetched waits for that. */
static bool join(struct kh_region *region, const struct khazana_request *req)
{
	struct kh_node *node = region->owner;
	struct kh_ask_unit *u;
	size_t len = (size_t)1 << region->unit_shift;

	if (req->count != 1 || req->want != KHAZANA_RIGHT_READ || (req->flags & KHAZANA_REQF_LOCK))
		return false;
	u = kh_ask_wanted(region, req->unit);
	if (!u || u->module_request || !(u->ask->flags & KH_REQ_PREFETCH))
		return false;
	if ((req->flags & KHAZANA_REQF_FRAME) && !received_nowhere(u)) {
		if (u->data && u->frame != req->frame)
			memcpy(node->ops->frame(node->host, req->frame, len),
			       node->ops->frame(node->host, u->frame, len), len);
		u->frame = req->frame;
	}
	u->module_request = req->id;
	if (u->ask->deadline_ns < node->now + req->timeout_ms * KH_MS)
		u->ask->deadline_ns = node->now + req->timeout_ms * KH_MS;
	kh_count(node, KH_STAT_PREFETCH_HITS);
	return true;
}

/* The key may have been changed while the descriptor was on its way: then nothing is overwritten. */
static bool overwrites(const struct kh_region *region, const struct khazana_request *req)
{
	return req->flags & KHAZANA_REQF_OVERWRITE && req->cookie >= region->key_serial;
}

static uint32_t ask_flags(const struct kh_region *region, const struct khazana_request *req)
{
	return (overwrites(region, req) ? KH_REQ_OVERWRITE : 0) |
	       (req->flags & KHAZANA_REQF_TRY ? KH_REQ_TRY : 0) |
	       (req->flags & KHAZANA_REQF_LOCK ? KH_REQ_LOCK : 0);
}

/*
 * A prefetch may have answered what a descriptor asks for while that was on its way here.
 * Return: so it is; else @cmd shows the unit.
 */
static bool answered(struct kh_node *node, const struct khazana_request *req,
		     struct khazana_cmd *cmd)
{
	*cmd = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET,
				     .region = req->region,
				     .unit = req->unit };
	return !kh_command(node, cmd) && cmd->state == KHAZANA_STATE_STABLE &&
	       cmd->right >= req->want;
}

/* The module wants a right for somebody. */
void kh_ask_fault(struct kh_node *node, struct kh_region *region, const struct khazana_request *req)
{
	bool surprised = node->now - region->surprise_ns <= KH_SURPRISE;
	struct khazana_cmd cmd;
	struct kh_ask *ask;
	uint64_t i;

	kh_count(node, req->flags & KHAZANA_REQF_LOCK ? KH_STAT_LOCKS : KH_STAT_FAULTS);
	if (!req->count || req->count > KHAZANA_RANGE_UNITS_MAX || req->unit >= region->units ||
	    req->count > region->units - req->unit ||
	    (req->want != KHAZANA_RIGHT_READ && req->want != KHAZANA_RIGHT_WRITE)) {
		kh_request_fail(node, req, EINVAL);
		return;
	}
	if (node->asks.count >= KH_ASKS_MAX) {
		kh_count(node, KH_STAT_QUEUE_FULL);
		/* With the request goes the frame that a prefetch may be receiving into. */
		for (i = 0; i < req->count; i++)
			kh_ask_supersede(region, req->unit + i);
		kh_request_fail(node, req, ENOMEM);
		return;
	}
	if (join(region, req)) {
		kh_prefetch_fault(node, region, req->unit);
		return;
	}
	if (surprised && req->count == 1 && answered(node, req, &cmd)) {
		if (req->want == KHAZANA_RIGHT_READ)
			kh_prefetch_fault(node, region, req->unit);
		return;
	}
	ask = kh_ask_new(region, req->unit, (uint32_t)req->count, req->want, ask_flags(region, req),
			 req->timeout_ms);
	for (i = 0; i < req->count; i++)
		ask->units[i].module_request = req->id;
	/* The descriptor may be older than a prefetch that was committed just now. */
	if (surprised && req->count == 1) {
		kh_ask_known(&ask->units[0], &cmd);
	} else if (req->count == 1) {
		ask->units[0].known = true;
		ask->units[0].held = req->version;
		ask->units[0].copy = req->version != KHAZANA_VERSION_NONE &&
				     !(req->flags & KHAZANA_REQF_HANDOFF);
		if (req->flags & KHAZANA_REQF_FRAME)
			ask->units[0].frame = req->frame;
	}
	kh_ask_push(ask);
	if (req->count == 1 && req->want == KHAZANA_RIGHT_READ && !(req->flags & KHAZANA_REQF_LOCK))
		kh_prefetch_fault(node, region, req->unit);
}

/* May @unit, of which UNIT_GET said @cmd, be prefetched? */
static bool absent(const struct kh_region *region, uint64_t unit, const struct khazana_cmd *cmd)
{
	if (kh_ask_wanted(region, unit))
		return false;
	return cmd->result ||
	       (cmd->right == KHAZANA_RIGHT_NONE && cmd->state == KHAZANA_STATE_STABLE &&
		cmd->version == KHAZANA_VERSION_NONE);
}

static void prefetch_run(struct kh_region *region, uint64_t first, uint32_t count,
			 const struct khazana_cmd *cmds)
{
	struct kh_node *node = region->owner;
	struct kh_ask *ask = kh_ask_new(region, first, count, KHAZANA_RIGHT_READ, KH_REQ_PREFETCH,
					region->attr.wait_ms);
	uint32_t i;

	kh_count(node, KH_STAT_PREFETCHES);
	node->stats[KH_STAT_PREFETCH_UNITS] += count;
	for (i = 0; i < count; i++) {
		ask->units[i].known = true;
		ask->units[i].held_token = ~0ull;
		if (!cmds[i].result && (cmds[i].uflags & KHAZANA_UNIT_HANDOFF))
			ask->units[i].held = cmds[i].version_held;
	}
	kh_ask_push(ask);
}

/* READ copies of what is not here, without anybody waiting: a request for each run of units. */
void kh_ask_prefetch(struct kh_node *node, struct kh_region *region, uint64_t first, uint32_t count)
{
	struct khazana_cmd *cmds;
	uint32_t i, n;

	if (first >= region->units || !kh_ask_may(node, region) ||
	    node->asks.count >= KH_ASKS_MAX / 2)
		return;
	if (count > region->units - first)
		count = (uint32_t)(region->units - first);
	if (count > KHAZANA_RANGE_UNITS_MAX)
		count = KHAZANA_RANGE_UNITS_MAX;
	cmds = kh_zalloc(count * sizeof(*cmds));
	for (i = 0; i < count; i++)
		cmds[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET,
						.region = region->handle,
						.unit = first + i };
	kh_commands(node, cmds, count);
	for (i = 0; i < count; i += n) {
		for (n = 0; i + n < count && absent(region, first + i + n, &cmds[i + n]); n++)
			;
		if (n)
			prefetch_run(region, first + i, n, cmds + i);
		else
			n = 1;
	}
	free(cmds);
}
