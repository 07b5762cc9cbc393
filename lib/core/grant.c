/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * grant.c - what comes for a request of this node's module
 *
 *   GRANT kh_on_grant(), DATA kh_on_data() -> both of the current attempt: COMMIT kh_ask_commit()
 *   -> DONE
 *
 * DATA is borrowed: it stays where the host received it, and its COMMIT takes it from there, at the
 * end of what was received with it at the latest (kh_ask_received()).  What cannot be committed
 * then, comes from this node itself, or is for a unit of which the module has a copy or a frame to
 * receive into (a miss brings one when few are left), is copied into a frame of the module.
 *
 * A GRANT for a request that is not known (any more) is answered by kh_done_unknown().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ask.h"

#define READY_MAX 64 /* units whose COMMITs wait for each other */
#define READY_PREFETCH 32 /* the same, of a prefetch: its reader shall have something to do */

/* The unit is committed: say so, and remember it until the home must have heard it. */
static void unit_done(struct kh_ask_unit *u)
{
	struct kh_ask *ask = u->ask;
	struct kh_region *region = ask->region;
	struct kh_node *node = region->owner;
	struct kh_done *done = kh_zalloc(sizeof(*done));

	done->unit = kh_ask_number(u);
	done->request = ask->id;
	done->token = u->token;
	done->version = u->version;
	done->sequence = region->lease ? region->lease->sequence : 0;
	kh_list_add(&region->dones, &done->node);
	node->done_count++;
	kh_done_send(region, ask->id, done->unit, u->token, u->version, 0);
	kh_count(node, KH_STAT_COMMITS);
	if (!u->module_request)
		region->surprise_ns = node->now;
	kh_ask_over(u);
	if (node->done_count > KH_DONES_MAX && region->lease &&
	    region->lease->acked == region->lease->sequence)
		kh_lease_renew(node, region->lease);
}

static void commit_cmd(const struct kh_ask_unit *u, struct khazana_cmd *cmd)
{
	*cmd = (struct khazana_cmd){
		.op = KHAZANA_CMD_COMMIT,
		.region = u->ask->region->handle,
		.unit = kh_ask_number(u),
		.right = u->right,
		.token = u->token,
		.version = u->version,
		.version_held = u->need,
		.request = u->module_request,
		.frame = u->frame,
	};
	if (u->owned)
		cmd->flags |= KHAZANA_CMDF_OWNED;
	else if (u->right == KHAZANA_RIGHT_READ)
		cmd->flags |= KHAZANA_CMDF_DROPPABLE;
	if ((u->ask->flags & KH_REQ_PREFETCH) && !u->module_request &&
	    !((u - u->ask->units) % kh_prefetch_part(u->ask->region)))
		cmd->flags |= KHAZANA_CMDF_MARK;
	if (u->kind == KH_SOURCE_ZERO)
		cmd->flags |= KHAZANA_CMDF_ZERO;
	else if (u->kind == KH_SOURCE_HELD || (u->frame == KH_NO_FRAME && !u->bytes))
		cmd->flags |= KHAZANA_CMDF_HELD;
	else if (u->bytes) {
		cmd->flags |= KHAZANA_CMDF_DATA;
		cmd->data = (uintptr_t)u->bytes;
		cmd->length = 1ull << u->ask->region->unit_shift;
	}
}

/*
 * Frames for what the DATA of a range will bring, by one call of the module: once one of its
 * units needs one, others will.
 */
static void frames_get(struct kh_ask *ask)
{
	struct khazana_cmd *cmds = kh_zalloc(ask->count * sizeof(*cmds));
	uint32_t i, n = 0;

	for (i = 0; i < ask->count; i++) {
		const struct kh_ask_unit *u = &ask->units[i];

		if (!u->over && u->asked && u->frame == KH_NO_FRAME && !u->data &&
		    (!u->granted || u->kind == KH_SOURCE_DATA))
			cmds[n++] = (struct khazana_cmd){ .op = KHAZANA_CMD_FRAMES,
							  .region = ask->region->handle,
							  .unit = ask->first + i,
							  .frame = KH_NO_FRAME };
	}
	kh_commands(ask->region->owner, cmds, n);
	while (n--)
		if (!cmds[n].result)
			kh_ask_at(ask, cmds[n].unit)->frame = cmds[n].frame;
	free(cmds);
}

/* A frame to receive into.  Without one, the unit has a copy: that must be the one then. */
static void *unit_frame(struct kh_ask_unit *u, size_t len)
{
	struct kh_node *node = u->ask->region->owner;
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FRAMES,
				   .region = u->ask->region->handle,
				   .unit = kh_ask_number(u),
				   .frame = KH_NO_FRAME };

	if (u->frame == KH_NO_FRAME) {
		if (kh_command(node, &cmd))
			return NULL;
		u->frame = cmd.frame;
	}
	return u->frame == KH_NO_FRAME ? NULL : node->ops->frame(node->host, u->frame, len);
}

static void commit_answer(struct kh_ask_unit *u, const struct khazana_cmd *cmd)
{
	struct kh_node *node = u->ask->region->owner;
	bool no_frame = cmd->result == -ENOENT || cmd->result == -ENOMEM;

	if (!cmd->result || cmd->result == -EALREADY ||
	    (no_frame && kh_planted(node, KH_PLANT_NO_MEMORY))) {
		unit_done(u);
		return;
	}
	kh_ask_return(u);
	/* The floor may be that of other units: the next REQ leaves while there is a record. */
	if (cmd->result == -ESTALE && (cmd->flags & KHAZANA_CMDF_DATA))
		unit_frame(u, cmd->length);
	if (cmd->result == -ESTALE)
		kh_count(node, KH_STAT_STALE_REFUSED);
	/* Others go first while there is no memory for it: to store the unit, above all. */
	if (cmd->result == -ESTALE || cmd->result == -ENOMEM) {
		kh_done_send(u->ask->region, u->ask->id, kh_ask_number(u), u->token, 0,
			     KH_DONE_ABORTED);
	}
	u->frame = KH_NO_FRAME;
	kh_ask_unit_again(u, true);
}

/*
 * COMMIT all units of @ask that are ready; @ask may be gone afterwards.  The last one first: who
 * waits for the first finds the others when it wakes up.
 */
void kh_ask_commit(struct kh_ask *ask)
{
	struct kh_region *region = ask->region;
	struct kh_node *node = region->owner;
	struct khazana_cmd *cmds = kh_zalloc(ask->count * sizeof(*cmds));
	bool read_on = false;
	uint64_t last = 0;
	uint32_t i, n = 0;

	for (i = 0; !kh_lease_ready(node, ask->region->lease) && i < ask->count; i++)
		if (!ask->units[i].over)
			kh_ask_unit_again(&ask->units[i], false);
	for (i = ask->count; i--;) {
		struct kh_ask_unit *u = &ask->units[i];

		if (!kh_ask_ready(u))
			continue;
		commit_cmd(u, &cmds[n++]);
		if (!(ask->flags & KH_REQ_PREFETCH))
			continue;
		if (last < kh_ask_number(u))
			last = kh_ask_number(u);
		read_on |= u->module_request != 0;
	}
	kh_commands(node, cmds, n);
	ask->ready = 0;
	ask->flush_ns = KH_NEVER;
	for (i = 0; i < n; i++)
		commit_answer(&ask->units[cmds[i].unit - ask->first], &cmds[i]);
	free(cmds);
	if (!ask->left)
		kh_ask_free(ask);
	else if (!ask->retry_ns)
		kh_ask_push(ask);
	/* Who waited for one of them will use all: what follows need not wait for his next miss. */
	if (read_on)
		kh_prefetch_fault(node, region, last);
}

/* GRANT or DATA came for @u.  A range commits together, unless the rest is late. */
static void unit_arrived(struct kh_ask_unit *u)
{
	struct kh_ask *ask = u->ask;
	struct kh_node *node = ask->region->owner;

	if (!kh_ask_ready(u))
		return;
	ask->ready++;
	if (ask->ready >= ask->left ||
	    ask->ready >= (ask->flags & KH_REQ_PREFETCH ? READY_PREFETCH : READY_MAX)) {
		kh_ask_commit(ask);
		return;
	}
	if (ask->flush_ns == KH_NEVER) {
		ask->flush_ns = node->now + KH_LINGER;
		kh_arm(node, ask->flush_ns);
	}
}

/* The region of a request of this node's that its home answers, or NULL. */
static struct kh_region *answered_region(struct kh_node *node, const struct kh_peer *from,
					 const struct kh_wire_head *h)
{
	struct kh_region *region = kh_region_of(node, h);

	if (!region || region->home_id != from->id || h->party != node->config.id ||
	    !kh_request_of(kh_self(node), h->request))
		return NULL;
	return region;
}

void kh_on_grant(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_grant *e = kh_entries(h);
	struct kh_region *region = answered_region(node, from, h);
	struct kh_ask *ask;
	uint32_t i;

	if (!region)
		return;
	if (h->epoch < region->epoch && !kh_planted(node, KH_PLANT_ACCEPT_STALE)) {
		kh_count(node, KH_STAT_STALE_REFUSED);
		return;
	}
	kh_region_epoch(region, h->epoch);
	for (i = 0; i < h->count; i++, e++) {
		struct kh_ask_unit *u;

		ask = kh_ask_find(node, h->request);
		u = kh_ask_at(ask, e->unit);

		if (!u || u->over || ask->region != region) {
			kh_done_unknown(region, h, e->unit, e->token);
			continue;
		}
		if ((h->attempt != u->attempt || !u->asked) &&
		    !kh_planted(node, KH_PLANT_ACCEPT_STALE))
			continue;
		if (u->granted)
			continue;
		u->granted = true;
		u->token = e->token;
		u->need = e->need;
		u->version = e->version;
		u->right = (uint8_t)e->right;
		u->kind = (uint8_t)e->source;
		u->owned = e->flags & KH_GRANT_OWNED;
		unit_arrived(u);
	}
}

/* Copy its DATA, NULL for zeros, into a frame. */
static void receive(struct kh_ask_unit *u, const void *data, size_t len)
{
	struct kh_ask *ask = u->ask;
	void *frame;

	kh_ask_return(u);
	if (u->frame == KH_NO_FRAME && ask->count > 1)
		frames_get(ask);
	frame = unit_frame(u, len);
	if (frame && data)
		memcpy(frame, data, len);
	else if (frame)
		memset(frame, 0, len);
}

/* Can its DATA wait where it is, and come with its COMMIT? */
static bool may_borrow(const struct kh_ask_unit *u)
{
	return u->ask->region->owner->lends && u->frame == KH_NO_FRAME && !u->copy;
}

void kh_on_data(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_data *e = kh_entries(h);
	struct kh_ask *ask = kh_ask_find(node, h->request);
	struct kh_ask_unit *u = kh_ask_at(ask, e->unit);
	size_t len;

	if (!u || u->over || h->party != node->config.id)
		return;
	if ((h->attempt != u->attempt || !u->asked) && !kh_planted(node, KH_PLANT_ACCEPT_STALE))
		return;
	len = (size_t)1 << ask->region->unit_shift;
	if (kh_ask_ready(u) || (h->data_len != len && !(e->flags & KH_DATA_ZERO)))
		return;
	if (!(e->flags & KH_DATA_ZERO) && may_borrow(u)) {
		if (!u->bytes)
			kh_list_add(&node->borrowed, &u->borrowed);
		u->bytes = data;
	} else {
		receive(u, e->flags & KH_DATA_ZERO ? NULL : data, len);
	}
	u->data = true;
	u->data_version = e->version;
	unit_arrived(u);
}

/*
 * What was borrowed is needed elsewhere from now on.  Whatever is ready is committed, the rest
 * goes into frames.
 */
void kh_ask_received(struct kh_node *node)
{
	while (!kh_list_empty(&node->borrowed)) {
		struct kh_ask_unit *u =
			kh_list_first(&node->borrowed, struct kh_ask_unit, borrowed);

		if (kh_ask_ready(u))
			kh_ask_commit(u->ask);
		else
			receive(u, u->bytes, (size_t)1 << u->ask->region->unit_shift);
	}
}

/* A prefetch that somebody waits for by now becomes a request of its own. */
static void adopt(struct kh_ask_unit *u)
{
	struct kh_region *region = u->ask->region;
	uint64_t unit = kh_ask_number(u);
	struct kh_ask *ask;

	kh_ask_over(u);
	ask = kh_ask_new(region, unit, 1, KHAZANA_RIGHT_READ, 0, region->attr.wait_ms);
	ask->units[0].module_request = u->module_request;
	ask->deadline_ns = u->ask->deadline_ns;
	kh_ask_push(ask);
}

static void nack_unit(struct kh_ask_unit *u, const struct kh_wire_nack *e)
{
	if (e->flags & KH_NACK_RETRY) {
		kh_ask_unit_again(u, true);
		return;
	}
	kh_ask_abort(u);
	if (u->ask->flags & KH_REQ_PREFETCH) {
		if (u->module_request)
			adopt(u);
		else
			kh_ask_over(u);
	} else {
		kh_ask_unit_fail(u, e->error);
	}
}

void kh_on_nack(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_nack *e = kh_entries(h);
	struct kh_region *region = answered_region(node, from, h);
	struct kh_ask *ask;
	uint32_t i;

	if (!region)
		return;
	kh_region_epoch(region, h->epoch);
	ask = kh_ask_find(node, h->request);
	for (i = 0; i < h->count; i++, e++) {
		struct kh_ask_unit *u = kh_ask_at(ask, e->unit);

		if (!u || u->over)
			kh_done_unknown(region, h, e->unit, 0);
		else if (u->asked && h->attempt == u->attempt)
			nack_unit(u, e);
	}
	if (ask && !ask->left)
		kh_ask_free(ask);
}
