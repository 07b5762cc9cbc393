/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * holder.c - what homes demand of this node's module
 *
 * INV, FORWARD and FLUSH become a REVOKE; its answer is the IACK, the DATA or the STORE.  The
 * module is the authority, so all that is remembered here is what a REVOKE still waits for: an
 * explicit lock (KHAZANA_REQ_UNLOCKED will come) or references (KHAZANA_REQ_REVOKED).  A home asks
 * again when the connection or this khd was lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "core.h"

int kh_command(struct kh_node *node, struct khazana_cmd *cmd)
{
	kh_commands(node, cmd, 1);
	return cmd->result;
}

void kh_commands(struct kh_node *node, struct khazana_cmd *cmds, unsigned int n)
{
	while (n) {
		unsigned int part = n < KHAZANA_CMDS_MAX ? n : KHAZANA_CMDS_MAX;

		node->ops->command(node->host, cmds, part);
		cmds += part;
		n -= part;
	}
}

static void demand_free(struct kh_demand *d)
{
	kh_hash_del(&d->region->demands, &d->node);
	if (d->revoking)
		kh_hash_del(&d->region->owner->demands, &d->cookie_node);
	free(d);
}

static void send_iack(const struct kh_demand *d, enum kh_wire_ack status)
{
	struct kh_node *node = d->region->owner;
	struct kh_peer *home = kh_peer_find(node, d->home);
	struct kh_wire_head head = kh_head(d->region);
	struct kh_wire_iack *e;

	if (!home)
		return;
	e = kh_out(node, home, KH_WIRE_IACK, &head);
	e->unit = d->unit;
	e->token = d->token;
	e->status = status;
}

static void send_data(const struct kh_demand *d, uint32_t frame, uint64_t version)
{
	struct kh_node *node = d->region->owner;
	struct kh_peer *asker = kh_peer_find(node, d->party);
	struct kh_wire_head head = kh_head(d->region);
	struct kh_wire_data e = { .unit = d->unit, .version = version };
	size_t len = (size_t)1 << d->region->unit_shift;

	if (!asker)
		return;
	head.request = d->request;
	head.party = d->party;
	head.attempt = d->attempt;
	kh_out_data(node, asker, KH_WIRE_DATA, &head, &e, node->ops->frame(node->host, frame, len),
		    len);
}

/* @version may be one less than the unit's: its holder goes on storing under a lock. */
static void send_store(const struct kh_demand *d, uint32_t frame, uint64_t version)
{
	struct kh_node *node = d->region->owner;
	struct kh_peer *place = kh_peer_find(node, d->party);
	struct kh_wire_head head = kh_head(d->region);
	struct kh_wire_store e = { .unit = d->unit,
				   .token = d->token,
				   .version = version,
				   .generation = d->generation,
				   .home = d->home };
	size_t len = (size_t)1 << d->region->unit_shift;

	if (place)
		kh_out_data(node, place, KH_WIRE_STORE, &head, &e,
			    node->ops->frame(node->host, frame, len), len);
}

/* A copy that may be dropped is lent to this khd until it says that it has read it. */
static bool was_lent(const struct khazana_cmd *answer)
{
	return !answer->result && (answer->uflags & KHAZANA_UNIT_DROPPABLE);
}

static void unlend_cmd(const struct kh_demand *d, struct khazana_cmd *cmd)
{
	*cmd = (struct khazana_cmd){
		.op = KHAZANA_CMD_UNLEND,
		.region = d->region->handle,
		.unit = d->unit,
	};
}

/* What @answer showed was read. */
static void unlend(const struct kh_demand *d, struct khazana_cmd *answer)
{
	if (!was_lent(answer))
		return;
	unlend_cmd(d, answer);
	kh_command(d->region->owner, answer);
}

/*
 * A FLUSH met an explicit lock: what is there at this moment is stored, as an older version if its
 * holder may go on storing.
 */
static void snapshot(const struct kh_demand *d)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_UNIT_GET,
				   .flags = KHAZANA_CMDF_LEND,
				   .region = d->region->handle,
				   .unit = d->unit,
				   .frame = KH_NO_FRAME,
				   .frame_handoff = KH_NO_FRAME };
	bool here = !kh_command(d->region->owner, &cmd);

	if (here && !d->need && !cmd.version && cmd.right != KHAZANA_RIGHT_NONE)
		send_iack(d, KH_ACK_DONE); /* still all zero */
	else if (here && cmd.frame != KH_NO_FRAME && cmd.version == d->need &&
		 cmd.right != KHAZANA_RIGHT_NONE)
		send_store(d, cmd.frame, d->need - (cmd.right == KHAZANA_RIGHT_WRITE));
	else if (here && cmd.frame_handoff != KH_NO_FRAME && cmd.version_held == d->need &&
		 !(d->flags & KH_FLUSH_HELD))
		send_store(d, cmd.frame_handoff, d->need);
	else
		send_iack(d, KH_ACK_ABSENT);
	unlend(d, &cmd);
}

/* The REVOKE is over: @cmd shows what is there now. */
static void demand_met(const struct kh_demand *d, const struct khazana_cmd *cmd)
{
	bool here = !cmd->result;
	bool old = kh_planted(d->region->owner, KH_PLANT_OLD_VERSION);

	if (d->flush && here && cmd->frame != KH_NO_FRAME && cmd->version == d->need)
		send_store(d, cmd->frame, d->need);
	else if (d->flush && here && cmd->frame_handoff != KH_NO_FRAME &&
		 cmd->version_held == d->need)
		send_store(d, cmd->frame_handoff, d->need);
	else if (d->flush)
		send_iack(d, KH_ACK_ABSENT);
	else if (!d->forward)
		send_iack(d, here && cmd->frame_handoff != KH_NO_FRAME ? KH_ACK_KEPT : KH_ACK_DONE);
	else if (here && cmd->frame != KH_NO_FRAME && cmd->version == d->need)
		send_data(d, cmd->frame, d->need);
	else if (here && cmd->frame_handoff != KH_NO_FRAME && (cmd->version_held == d->need || old))
		send_data(d, cmd->frame_handoff, d->need);
	else
		send_iack(d, KH_ACK_ABSENT);
}

static void demand_keep(const struct kh_demand *d, bool revoking, uint64_t cookie)
{
	struct kh_demand *kept = kh_zalloc(sizeof(*kept));

	*kept = *d;
	kept->revoking = revoking;
	kept->unlocked = false;
	kh_hash_add(&d->region->demands, &kept->node, d->unit);
	if (revoking)
		kh_hash_add(&d->region->owner->demands, &kept->cookie_node, cookie);
}

/* What the module answered to the REVOKE for @d. */
static void demand_answer(struct kh_demand *d, const struct khazana_cmd *cmd)
{
	struct kh_node *node = d->region->owner;

	switch (cmd->result) {
	case 0:
	case -ENOENT:
	case -EALREADY:
		demand_met(d, cmd);
		break;
	case -EINPROGRESS:
		demand_keep(d, true, cmd->cookie);
		break;
	case -EBUSY:
		if (d->flush) {
			snapshot(d);
			break;
		}
		kh_count(node, KH_STAT_DEFERRED);
		demand_keep(d, false, 0);
		send_iack(d, KH_ACK_DEFERRED);
		break;
	case -ESTALE:
		kh_count(node, KH_STAT_STALE_REFUSED);
		break;
	default:
		kh_event(node, "module", "REVOKE of unit %llu: error %d",
			 (unsigned long long)d->unit, cmd->result);
	}
}

static void demand_cmd(struct kh_node *node, const struct kh_demand *d, struct khazana_cmd *cmd)
{
	bool lend = d->flush || (d->forward && d->right == KHAZANA_RIGHT_READ);
	struct kh_hnode *old = kh_hash_find(&d->region->demands, d->unit);

	if (old)
		demand_free(kh_container(old, struct kh_demand, node));
	*cmd = (struct khazana_cmd){
		.op = KHAZANA_CMD_REVOKE,
		.region = d->region->handle,
		.unit = d->unit,
		.count = 1,
		.token = d->token,
		.right = lend ? KHAZANA_RIGHT_READ : KHAZANA_RIGHT_NONE,
		.flags = (d->forward || (!d->flush && (d->flags & KH_INV_KEEP)) ?
				  KHAZANA_CMDF_KEEP :
				  0) |
			 (lend ? KHAZANA_CMDF_LEND : 0),
		.cookie = ++node->next_cookie,
		.frame = KH_NO_FRAME,
		.frame_handoff = KH_NO_FRAME,
	};
}

static void demands_run(struct kh_node *node, struct kh_demand *d, unsigned int n)
{
	struct khazana_cmd *cmds = kh_zalloc(n * sizeof(*cmds));
	unsigned int i, lent = 0;

	for (i = 0; i < n; i++)
		demand_cmd(node, &d[i], &cmds[i]);
	kh_commands(node, cmds, n);
	for (i = 0; i < n; i++) {
		demand_answer(&d[i], &cmds[i]);
		if ((cmds[i].flags & KHAZANA_CMDF_LEND) && was_lent(&cmds[i]))
			unlend_cmd(&d[i], &cmds[lent++]);
	}
	kh_commands(node, cmds, lent);
	free(cmds);
}

/* Is a message of this home and epoch to be obeyed?  A newer epoch is taken over. */
static bool obeys(struct kh_node *node, struct kh_peer *from, struct kh_region *region,
		  const struct kh_wire_head *h)
{
	if (region->home_id && region->home_id != from->id) {
		kh_count(node, KH_STAT_STALE_REFUSED);
		return false;
	}
	if (h->epoch < region->epoch && !kh_planted(node, KH_PLANT_ACCEPT_STALE)) {
		kh_count(node, KH_STAT_STALE_REFUSED);
		return false;
	}
	kh_region_epoch(region, h->epoch);
	return true;
}

/*
 * While the lease is over, what was stored under it must be left as it is until the home has
 * judged it.  The home counts us as void soon, or is asked to repeat its demands.
 */
static bool suspended(struct kh_region *region)
{
	if (region->lease && kh_lease_ready(region->owner, region->lease))
		return false;
	region->resync = true;
	return true;
}

/* A node that does not have the region in its module holds nothing of it. */
static void answer_nothing(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
			   uint64_t unit, uint64_t token, enum kh_wire_ack status)
{
	struct kh_wire_head head = *h;
	struct kh_wire_iack *e;

	head.request = 0;
	head.party = 0;
	head.attempt = 0;
	e = kh_out(node, from, KH_WIRE_IACK, &head);
	e->unit = unit;
	e->token = token;
	e->status = status;
}

/*
 * Is what @from demands of a region to be done?  A node without the region answers each entry of
 * @h by @status: @size is an entry's size, and each begins with its unit and token.
 */
static bool demanded(struct kh_node *node, struct kh_peer *from, struct kh_region *region,
		     const struct kh_wire_head *h, size_t size, enum kh_wire_ack status)
{
	const uint8_t *e = kh_entries(h);
	uint64_t of[2]; /* unit, token */
	uint32_t i;

	if (region && region->handle)
		return obeys(node, from, region, h) && !suspended(region);
	for (i = 0; i < h->count; i++, e += size) {
		memcpy(of, e, sizeof(of));
		answer_nothing(node, from, h, of[0], of[1], status);
	}
	return false;
}

void kh_on_inv(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
	       const void *data)
{
	const struct kh_wire_inv *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_demand *d;
	uint32_t i;

	if (!demanded(node, from, region, h, sizeof(*e), KH_ACK_DONE))
		return;
	d = kh_zalloc(h->count * sizeof(*d));
	for (i = 0; i < h->count; i++)
		d[i] = (struct kh_demand){ .region = region,
					   .home = from->id,
					   .unit = e[i].unit,
					   .token = e[i].token,
					   .flags = e[i].flags };
	demands_run(node, d, h->count);
	free(d);
}

void kh_on_forward(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		   const void *data)
{
	const struct kh_wire_forward *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_demand *d;
	uint32_t i;

	if (!demanded(node, from, region, h, sizeof(*e), KH_ACK_ABSENT))
		return;
	d = kh_zalloc(h->count * sizeof(*d));
	for (i = 0; i < h->count; i++)
		d[i] = (struct kh_demand){ .region = region,
					   .home = from->id,
					   .forward = true,
					   .unit = e[i].unit,
					   .token = e[i].token,
					   .need = e[i].need,
					   .request = h->request,
					   .party = h->party,
					   .attempt = h->attempt,
					   .right = e[i].right };
	demands_run(node, d, h->count);
	free(d);
}

void kh_on_flush(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_flush *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_demand *d;
	uint32_t i, n = 0;

	if (!demanded(node, from, region, h, sizeof(*e), KH_ACK_ABSENT))
		return;
	d = kh_zalloc(h->count * sizeof(*d));
	for (i = 0; i < h->count; i++) {
		d[n] = (struct kh_demand){ .region = region,
					   .home = from->id,
					   .flush = true,
					   .unit = e[i].unit,
					   .token = e[i].token,
					   .need = e[i].need,
					   .party = e[i].place,
					   .flags = e[i].flags,
					   .generation = e[i].generation };
		if (e[i].flags & KH_FLUSH_BESIDE)
			snapshot(&d[n]);
		else
			n++;
	}
	demands_run(node, d, n);
	free(d);
}

/* What the store has may be dropped here. */
void kh_on_safe(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_safe *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct khazana_cmd *cmds;
	uint32_t i;

	if (!region || !region->handle || !obeys(node, from, region, h) || suspended(region))
		return;
	cmds = kh_zalloc(h->count * sizeof(*cmds));
	for (i = 0; i < h->count; i++)
		cmds[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_SAFE,
						.region = region->handle,
						.unit = e[i].unit,
						.token = e[i].token,
						.version = e[i].version };
	kh_commands(node, cmds, h->count);
	free(cmds);
}

void kh_on_hdone(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_hdone *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct khazana_cmd *cmds;
	uint32_t i;

	if (!region || !region->handle || !obeys(node, from, region, h))
		return;
	cmds = kh_zalloc(h->count * sizeof(*cmds));
	for (i = 0; i < h->count; i++)
		cmds[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_RELEASE,
						.region = region->handle,
						.unit = e[i].unit,
						.token = e[i].token };
	kh_commands(node, cmds, h->count);
	free(cmds);
}

/* The locks on some units are gone: what waited for them is tried again. */
static void unlocked(struct kh_node *node, struct kh_region *region, uint64_t unit, uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count && i < KHAZANA_RANGE_UNITS_MAX; i++) {
		struct kh_demand *kept = kh_hash_entry(kh_hash_find(&region->demands, unit + i),
						       struct kh_demand, node);
		struct kh_demand d;

		if (!kept)
			continue;
		/* What comes of the REVOKE is told behind this, though it may have met the lock. */
		kept->unlocked = true;
		if (kept->revoking)
			continue;
		d = *kept;
		if (suspended(region))
			demand_free(kept);
		else
			demands_run(node, &d, 1);
	}
}

/* A REVOKE that went on is over. */
static void revoked(struct kh_node *node, const struct khazana_request *req)
{
	struct kh_demand *kept = kh_hash_entry(kh_hash_find(&node->demands, req->cookie),
					       struct kh_demand, cookie_node);
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_UNIT_GET, .flags = KHAZANA_CMDF_LEND };
	struct kh_demand d;

	if (!kept)
		return;
	d = *kept;
	demand_free(kept);
	/* What was stored under a lease that is over is judged first. */
	if (d.flush && suspended(d.region))
		return;
	cmd.region = d.region->handle;
	cmd.unit = d.unit;
	cmd.frame = cmd.frame_handoff = KH_NO_FRAME;
	if (req->error == -EBUSY && d.unlocked) {
		if (!suspended(d.region))
			demands_run(node, &d, 1);
		return;
	}
	if (req->error)
		cmd.result = req->error;
	else
		kh_command(node, &cmd);
	demand_answer(&d, &cmd);
	unlend(&d, &cmd);
}

static void dropped(struct kh_node *node, struct kh_region *region,
		    const struct khazana_request *req)
{
	struct kh_peer *home = kh_peer_find(node, region->home_id);
	struct kh_wire_head head = kh_head(region);
	uint64_t i;

	for (i = 0; home && i < req->count && i < KHAZANA_RANGE_UNITS_MAX; i++) {
		struct kh_wire_evict *e = kh_out(node, home, KH_WIRE_EVICT, &head);

		e->unit = req->unit + i;
		e->token = req->token;
	}
}

/* The module hears how a FAULT or FLUSH of its own ended. */
void kh_request_fail(struct kh_node *node, const struct khazana_request *req, uint32_t error)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FAIL,
				   .region = req->region,
				   .unit = req->unit,
				   .count = req->count,
				   .request = req->id,
				   .error = error };

	kh_command(node, &cmd);
}

/* One descriptor of the module. */
void kh_holder_request(struct kh_node *node, const struct khazana_request *req)
{
	struct kh_region *region = kh_region_by_handle(node, req->region);

	if (req->op == KHAZANA_REQ_ATTACH) {
		kh_op_attach(node, req);
	} else if (req->op == KHAZANA_REQ_EXPIRED) {
		kh_lease_expired(node, (uint32_t)req->unit);
	} else if (req->op == KHAZANA_REQ_PRESSURE) {
		kh_report_pressure(node, req->count != 0);
	} else if (!region) {
		if (req->op == KHAZANA_REQ_FAULT || req->op == KHAZANA_REQ_FLUSH)
			kh_request_fail(node, req, ENOENT);
	} else if (req->op == KHAZANA_REQ_FAULT) {
		kh_ask_fault(node, region, req);
	} else if (req->op == KHAZANA_REQ_PREFETCH) {
		kh_ask_prefetch(node, region, req->unit, (uint32_t)req->count);
	} else if (req->op == KHAZANA_REQ_FLUSH) {
		kh_op_flush(node, region, req);
	} else if (req->op == KHAZANA_REQ_REVOKED) {
		revoked(node, req);
	} else if (req->op == KHAZANA_REQ_UNLOCKED) {
		unlocked(node, region, req->unit, req->count);
	} else if (req->op == KHAZANA_REQ_DROPPED) {
		dropped(node, region, req);
	} else if (req->op == KHAZANA_REQ_TOUCHED) {
		kh_prefetch_fault(node, region, req->unit);
	} else if (req->op == KHAZANA_REQ_CANCELLED) {
		kh_ask_lost(region, req->unit, req->cookie);
	} else if (req->op == KHAZANA_REQ_IDLE) {
		region->attached = false;
	}
}

void kh_holder_free(struct kh_region *region)
{
	struct kh_hnode *n;

	while ((n = kh_hash_first(&region->demands)))
		demand_free(kh_container(n, struct kh_demand, node));
	kh_hash_free(&region->demands);
}
