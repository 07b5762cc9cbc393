/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ask.c - what this node's module asks of homes
 *
 *   FAULT kh_ask_fault() -> REQ push() -> GRANT kh_on_grant(), DATA kh_on_data()
 *   -> both of the current attempt: COMMIT commit_ready() -> DONE
 *
 * Each unit of a request has an attempt of its own; asking again raises it, and what
 * comes for a lower one is ignored.  A GRANT for a request that is not known (any more) is
 * answered by DONE if it was completed, else by DONE with ABORTED: the home never waits for nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "core.h"

#define READY_MAX 64 /* units whose COMMITs wait for each other */
#define READY_PREFETCH 32 /* the same, of a prefetch: its reader shall have something to do */
#define KH_SURPRISE (1000 * KH_MS) /* no descriptor of the module is under way for longer */

static struct kh_ask *ask_find(struct kh_node *node, uint64_t id)
{
	return kh_hash_entry(kh_hash_find(&node->asks, id), struct kh_ask, node);
}

static struct kh_ask_unit *ask_unit(struct kh_ask *ask, uint64_t unit)
{
	if (!ask || unit < ask->first || unit - ask->first >= ask->count)
		return NULL;
	return &ask->units[unit - ask->first];
}

static uint64_t unit_number(const struct kh_ask_unit *u)
{
	return u->ask->first + (uint64_t)(u - u->ask->units);
}

static void send_done(struct kh_region *region, uint64_t request, uint64_t unit, uint64_t token,
		      uint64_t version, uint32_t flags)
{
	struct kh_node *node = region->owner;
	struct kh_peer *home = kh_peer_find(node, region->home_id);
	struct kh_wire_head head = kh_head(region);
	struct kh_wire_done *e;

	if (!home)
		return;
	head.request = request;
	head.party = node->config.id;
	e = kh_out(node, home, KH_WIRE_DONE, &head);
	e->unit = unit;
	e->token = token;
	e->version = version;
	e->flags = flags;
}

/* The home need not serve it: what was granted is not taken. */
static void unit_abort(const struct kh_ask_unit *u)
{
	if (u->attempt && !u->over)
		send_done(u->ask->region, u->ask->id, unit_number(u), 0, 0, KH_DONE_ABORTED);
}

static void unit_over(struct kh_ask_unit *u)
{
	struct kh_region *region = u->ask->region;

	if (u->over)
		return;
	kh_hash_del(&region->wanted, &u->wanted);
	if (u->ask->flags & KH_REQ_PREFETCH)
		region->prefetching--;
	u->over = true;
	u->ask->left--;
}

static struct kh_ask_unit *wanted(const struct kh_region *region, uint64_t unit)
{
	return kh_hash_entry(kh_hash_find(&region->wanted, unit), struct kh_ask_unit, wanted);
}

/* All is there for its COMMIT. */
static bool unit_ready(const struct kh_ask_unit *u)
{
	return !u->over && u->asked && u->granted &&
	       (u->kind != KH_SOURCE_DATA || (u->data && u->data_version == u->need));
}

static void ask_free(struct kh_ask *ask)
{
	struct kh_node *node = ask->region->owner;
	uint32_t i;

	for (i = 0; i < ask->count; i++)
		unit_over(&ask->units[i]);
	kh_hash_del(&node->asks, &ask->node);
	kh_list_del(&ask->region_node);
	free(ask);
}

static void ask_count_ready(struct kh_ask *ask)
{
	uint32_t i;

	for (i = ask->ready = 0; i < ask->count; i++)
		ask->ready += unit_ready(&ask->units[i]);
}

/* A unit has one frame to receive into, so one request at a time: the newest one. */
static void supersede(struct kh_region *region, uint64_t unit)
{
	struct kh_ask_unit *u = wanted(region, unit);
	struct kh_ask *ask = u ? u->ask : NULL;

	if (!u)
		return;
	unit_abort(u);
	unit_over(u);
	ask_count_ready(ask);
	if (!ask->left)
		ask_free(ask);
}

static struct kh_ask *ask_new(struct kh_region *region, uint64_t first, uint32_t count,
			      uint32_t want, uint32_t flags, uint32_t timeout_ms)
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
		supersede(region, first + i);
		kh_hash_add(&region->wanted, &ask->units[i].wanted, first + i);
	}
	if (flags & KH_REQ_PREFETCH)
		region->prefetching += count;
	kh_hash_add(&node->asks, &ask->node, ask->id);
	kh_list_add(&region->asks, &ask->region_node);
	return ask;
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
		const struct khazana_cmd *cmd = &cmds[n];
		struct kh_ask_unit *u = ask_unit(ask, cmd->unit);

		if (!u)
			continue;
		u->known = true;
		u->held = KHAZANA_VERSION_NONE;
		u->held_token = ~0ull;
		if (cmd->result)
			continue;
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
	free(cmds);
}

static bool may_ask(struct kh_node *node, struct kh_region *region)
{
	struct kh_peer *home = region->home_id ? kh_peer_find(node, region->home_id) : NULL;

	return home && (home->self || home->connected) && region->lease &&
	       kh_lease_ready(node, region->lease);
}

/* REQ for every unit of @ask that is to be asked for. */
static void push(struct kh_ask *ask)
{
	struct kh_region *region = ask->region;
	struct kh_node *node = region->owner;
	struct kh_wire_head head;
	uint32_t i;

	if (!may_ask(node, region)) {
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
static void unit_again(struct kh_ask_unit *u, bool later)
{
	struct kh_ask *ask = u->ask;
	struct kh_node *node = ask->region->owner;
	uint64_t when = later ? node->now + ask->backoff_ns : 0;

	u->asked = u->granted = u->data = u->known = false;
	ask_count_ready(ask);
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

	if (!may_ask(region->owner, region))
		return;
	kh_list_each (ask, &region->asks, region_node)
		if (!ask->retry_ns)
			push(ask);
}

/* Ask again for everything: the epoch rose, or the home is another one. */
void kh_ask_again(struct kh_region *region)
{
	struct kh_ask *ask;
	uint32_t i;

	kh_list_each (ask, &region->asks, region_node) {
		for (i = 0; i < ask->count; i++)
			if (!ask->units[i].over)
				unit_again(&ask->units[i], false);
	}
	kh_ask_go(region);
}

/* The module's waiters for @u get @error. */
static void unit_fail(struct kh_ask_unit *u, uint32_t error)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FAIL,
				   .region = u->ask->region->handle,
				   .unit = unit_number(u),
				   .count = 1,
				   .request = u->module_request,
				   .error = error };

	if (u->module_request)
		kh_command(u->ask->region->owner, &cmd);
	unit_over(u);
}

static void ask_fail(struct kh_ask *ask, uint32_t error)
{
	uint32_t i;

	for (i = 0; i < ask->count; i++) {
		if (ask->units[i].over)
			continue;
		unit_abort(&ask->units[i]);
		unit_fail(&ask->units[i], error);
	}
	ask_free(ask);
}

void kh_ask_fail_all(struct kh_region *region, uint32_t error)
{
	struct kh_ask *ask, *tmp;

	kh_list_each_safe (ask, tmp, &region->asks, region_node)
		ask_fail(ask, error);
}

static void done_free(struct kh_node *node, struct kh_done *done)
{
	kh_list_del(&done->node);
	free(done);
	node->done_count--;
}

/* The region goes: its requests end without a word to the module. */
void kh_ask_drop_region(struct kh_region *region)
{
	struct kh_ask *ask, *tmp;
	struct kh_done *done, *next;

	kh_list_each_safe (ask, tmp, &region->asks, region_node)
		ask_free(ask);
	kh_list_each_safe (done, next, &region->dones, node)
		done_free(region->owner, done);
	kh_hash_free(&region->wanted);
}

static void refuse_fault(struct kh_node *node, const struct khazana_request *req, uint32_t error)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FAIL,
				   .region = req->region,
				   .unit = req->unit,
				   .count = req->count,
				   .request = req->id,
				   .error = error };

	kh_command(node, &cmd);
}

/* Its DATA came when there was no frame to receive into: a COMMIT will be refused. */
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
	u = wanted(region, req->unit);
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

static uint32_t ask_flags(const struct khazana_request *req)
{
	return (req->flags & KHAZANA_REQF_OVERWRITE ? KH_REQ_OVERWRITE : 0) |
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
		refuse_fault(node, req, EINVAL);
		return;
	}
	if (node->asks.count >= KH_ASKS_MAX) {
		kh_count(node, KH_STAT_QUEUE_FULL);
		refuse_fault(node, req, ENOMEM);
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
	ask = ask_new(region, req->unit, (uint32_t)req->count, req->want, ask_flags(req),
		      req->timeout_ms);
	for (i = 0; i < req->count; i++)
		ask->units[i].module_request = req->id;
	/* The descriptor may be older than a prefetch that was committed just now. */
	if (req->count == 1 && !surprised) {
		ask->units[0].known = true;
		ask->units[0].held = req->version;
		if (req->flags & KHAZANA_REQF_FRAME)
			ask->units[0].frame = req->frame;
	}
	push(ask);
	if (req->count == 1 && req->want == KHAZANA_RIGHT_READ && !(req->flags & KHAZANA_REQF_LOCK))
		kh_prefetch_fault(node, region, req->unit);
}

/* May @unit, of which UNIT_GET said @cmd, be prefetched? */
static bool absent(const struct kh_region *region, uint64_t unit, const struct khazana_cmd *cmd)
{
	if (wanted(region, unit))
		return false;
	return cmd->result ||
	       (cmd->right == KHAZANA_RIGHT_NONE && cmd->state == KHAZANA_STATE_STABLE &&
		cmd->version == KHAZANA_VERSION_NONE);
}

static void prefetch_run(struct kh_region *region, uint64_t first, uint32_t count,
			 const struct khazana_cmd *cmds)
{
	struct kh_node *node = region->owner;
	struct kh_ask *ask = ask_new(region, first, count, KHAZANA_RIGHT_READ, KH_REQ_PREFETCH,
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
	push(ask);
}

/* READ copies of what is not here, without anybody waiting: a request for each run of units. */
void kh_ask_prefetch(struct kh_node *node, struct kh_region *region, uint64_t first, uint32_t count)
{
	struct khazana_cmd *cmds;
	uint32_t i, n;

	if (first >= region->units || !may_ask(node, region) || node->asks.count >= KH_ASKS_MAX / 2)
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

/* The unit is committed: say so, and remember it until the home must have heard it. */
static void unit_done(struct kh_ask_unit *u)
{
	struct kh_ask *ask = u->ask;
	struct kh_region *region = ask->region;
	struct kh_node *node = region->owner;
	struct kh_done *done = kh_zalloc(sizeof(*done));

	done->unit = unit_number(u);
	done->request = ask->id;
	done->token = u->token;
	done->version = u->version;
	done->sequence = region->lease ? region->lease->sequence : 0;
	kh_list_add(&region->dones, &done->node);
	node->done_count++;
	send_done(region, ask->id, done->unit, u->token, u->version, 0);
	kh_count(node, KH_STAT_COMMITS);
	if (!u->module_request)
		region->surprise_ns = node->now;
	unit_over(u);
	if (node->done_count > KH_DONES_MAX && region->lease &&
	    region->lease->acked == region->lease->sequence)
		kh_lease_renew(node, region->lease);
}

/* The home has seen what was sent before RENEW @sequence; each lease counts its own. */
void kh_done_prune(struct kh_node *node, const struct kh_lease *lease, uint64_t sequence)
{
	struct kh_region *region;
	struct kh_done *done, *tmp;

	kh_list_each (region, &node->regions, node) {
		if (region->lease != lease)
			continue;
		kh_list_each_safe (done, tmp, &region->dones, node) {
			if (done->sequence >= sequence)
				break;
			done_free(node, done);
		}
	}
}

static void commit_cmd(const struct kh_ask_unit *u, struct khazana_cmd *cmd)
{
	*cmd = (struct khazana_cmd){
		.op = KHAZANA_CMD_COMMIT,
		.region = u->ask->region->handle,
		.unit = unit_number(u),
		.right = u->right,
		.token = u->token,
		.version = u->version,
		.version_held = u->need,
		.request = u->module_request,
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
	else if (u->kind == KH_SOURCE_HELD || u->frame == KH_NO_FRAME)
		cmd->flags |= KHAZANA_CMDF_HELD;
}

static void commit_answer(struct kh_ask_unit *u, const struct khazana_cmd *cmd)
{
	struct kh_node *node = u->ask->region->owner;

	if (!cmd->result || cmd->result == -EALREADY ||
	    (cmd->result == -ENOENT && kh_planted(node, KH_PLANT_NO_MEMORY))) {
		unit_done(u);
		return;
	}
	if (cmd->result == -ESTALE) {
		kh_count(node, KH_STAT_STALE_REFUSED);
		send_done(u->ask->region, u->ask->id, unit_number(u), u->token, 0, KH_DONE_ABORTED);
	}
	u->frame = KH_NO_FRAME;
	unit_again(u, true);
}

/*
 * COMMIT all units of @ask that are ready; @ask may be gone afterwards.  The last one first: who
 * waits for the first finds the others when it wakes up.
 */
static void commit_ready(struct kh_ask *ask)
{
	struct kh_region *region = ask->region;
	struct kh_node *node = region->owner;
	struct khazana_cmd *cmds = kh_zalloc(ask->count * 2 * sizeof(*cmds));
	bool read_on = false;
	uint64_t last = 0;
	uint32_t i, n = 0;

	for (i = 0; !kh_lease_ready(node, ask->region->lease) && i < ask->count; i++)
		if (!ask->units[i].over)
			unit_again(&ask->units[i], false);
	for (i = ask->count; i--;) {
		struct kh_ask_unit *u = &ask->units[i];

		if (!unit_ready(u))
			continue;
		if (u->kind == KH_SOURCE_ZERO && u->frame == KH_NO_FRAME)
			cmds[n++] = (struct khazana_cmd){ .op = KHAZANA_CMD_FRAMES,
							  .region = ask->region->handle,
							  .unit = ask->first + i };
		commit_cmd(u, &cmds[n++]);
		if (!(ask->flags & KH_REQ_PREFETCH))
			continue;
		if (last < unit_number(u))
			last = unit_number(u);
		read_on |= u->module_request != 0;
	}
	kh_commands(node, cmds, n);
	ask->ready = 0;
	ask->flush_ns = KH_NEVER;
	for (i = 0; i < n; i++)
		if (cmds[i].op == KHAZANA_CMD_COMMIT)
			commit_answer(&ask->units[cmds[i].unit - ask->first], &cmds[i]);
	free(cmds);
	if (!ask->left)
		ask_free(ask);
	else if (!ask->retry_ns)
		push(ask);
	/* Who waited for one of them will use all: what follows need not wait for his next miss. */
	if (read_on)
		kh_prefetch_fault(node, region, last);
}

/* The unit's waiters were told that their stores are lost: nobody wants to overwrite it now. */
void kh_ask_lost(struct kh_region *region, uint64_t unit)
{
	struct kh_ask_unit *u = wanted(region, unit);
	struct kh_ask *ask = u ? u->ask : NULL;

	if (!u || !(ask->flags & KH_REQ_OVERWRITE))
		return;
	unit_abort(u);
	unit_fail(u, ESTALE);
	ask_count_ready(ask);
	if (!ask->left)
		ask_free(ask);
}

/* GRANT or DATA came for @u.  A range commits together, unless the rest is late. */
static void unit_arrived(struct kh_ask_unit *u)
{
	struct kh_ask *ask = u->ask;
	struct kh_node *node = ask->region->owner;

	if (!unit_ready(u))
		return;
	ask->ready++;
	if (ask->ready >= ask->left ||
	    ask->ready >= (ask->flags & KH_REQ_PREFETCH ? READY_PREFETCH : READY_MAX)) {
		commit_ready(ask);
		return;
	}
	if (ask->flush_ns == KH_NEVER) {
		ask->flush_ns = node->now + KH_LINGER;
		kh_arm(node, ask->flush_ns);
	}
}

/* The home speaks of a request that is over: did it end well?  @token 0: any. */
static void unknown(struct kh_region *region, const struct kh_wire_head *h, uint64_t unit,
		    uint64_t token)
{
	struct kh_done *done;

	kh_list_each (done, &region->dones, node) {
		if (done->request == h->request && done->unit == unit &&
		    (!token || done->token == token)) {
			send_done(region, h->request, unit, done->token, done->version, 0);
			return;
		}
	}
	send_done(region, h->request, unit, token, 0, KH_DONE_ABORTED);
}

/* Frames for all that the DATA of a range will bring, by one call of the module. */
static void frames_get(struct kh_ask *ask, const struct kh_wire_head *h)
{
	const struct kh_wire_grant *e = kh_entries(h);
	struct khazana_cmd *cmds = kh_zalloc(h->count * sizeof(*cmds));
	uint32_t i, n = 0;

	for (i = 0; i < h->count; i++, e++) {
		const struct kh_ask_unit *u = ask_unit(ask, e->unit);

		if (u && !u->over && u->asked && h->attempt == u->attempt && !u->granted &&
		    e->source == KH_SOURCE_DATA && u->frame == KH_NO_FRAME && !u->data)
			cmds[n++] = (struct khazana_cmd){ .op = KHAZANA_CMD_FRAMES,
							  .region = ask->region->handle,
							  .unit = e->unit,
							  .frame = KH_NO_FRAME };
	}
	kh_commands(ask->region->owner, cmds, n);
	while (n--)
		if (!cmds[n].result)
			ask_unit(ask, cmds[n].unit)->frame = cmds[n].frame;
	free(cmds);
}

void kh_on_grant(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_grant *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_ask *ask;
	uint32_t i;

	if (!region || region->home_id != from->id || h->party != node->config.id ||
	    !kh_request_of(kh_self(node), h->request))
		return;
	if (h->epoch < region->epoch && !kh_planted(node, KH_PLANT_ACCEPT_STALE)) {
		kh_count(node, KH_STAT_STALE_REFUSED);
		return;
	}
	kh_region_epoch(region, h->epoch);
	ask = ask_find(node, h->request);
	if (ask && ask->region == region && h->count > 1)
		frames_get(ask, h);
	for (i = 0; i < h->count; i++, e++) {
		struct kh_ask_unit *u;

		ask = ask_find(node, h->request);
		u = ask_unit(ask, e->unit);

		if (!u || u->over || ask->region != region) {
			unknown(region, h, e->unit, e->token);
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

/* A frame to receive into.  Without one, the unit has a copy: that must be the one then. */
static void *unit_frame(struct kh_ask_unit *u, size_t len)
{
	struct kh_node *node = u->ask->region->owner;
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FRAMES,
				   .region = u->ask->region->handle,
				   .unit = unit_number(u),
				   .frame = KH_NO_FRAME };

	if (u->frame == KH_NO_FRAME) {
		if (kh_command(node, &cmd))
			return NULL;
		u->frame = cmd.frame;
	}
	return u->frame == KH_NO_FRAME ? NULL : node->ops->frame(node->host, u->frame, len);
}

void kh_on_data(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_data *e = kh_entries(h);
	struct kh_ask *ask = ask_find(node, h->request);
	struct kh_ask_unit *u = ask_unit(ask, e->unit);
	size_t len;
	void *frame;

	if (!u || u->over || h->party != node->config.id)
		return;
	if ((h->attempt != u->attempt || !u->asked) && !kh_planted(node, KH_PLANT_ACCEPT_STALE))
		return;
	len = (size_t)1 << ask->region->unit_shift;
	if (unit_ready(u) || (h->data_len != len && !(e->flags & KH_DATA_ZERO)))
		return;
	frame = unit_frame(u, len);
	if (frame && (e->flags & KH_DATA_ZERO))
		memset(frame, 0, len);
	else if (frame)
		memcpy(frame, data, len);
	u->data = true;
	u->data_version = e->version;
	unit_arrived(u);
}

/* A prefetch that somebody waits for by now becomes a request of its own. */
static void adopt(struct kh_ask_unit *u)
{
	struct kh_region *region = u->ask->region;
	uint64_t unit = unit_number(u);
	struct kh_ask *ask;

	unit_over(u);
	ask = ask_new(region, unit, 1, KHAZANA_RIGHT_READ, 0, region->attr.wait_ms);
	ask->units[0].module_request = u->module_request;
	ask->deadline_ns = u->ask->deadline_ns;
	push(ask);
}

static void nack_unit(struct kh_ask_unit *u, const struct kh_wire_nack *e)
{
	if (e->flags & KH_NACK_RETRY) {
		unit_again(u, true);
		return;
	}
	unit_abort(u);
	if (u->ask->flags & KH_REQ_PREFETCH) {
		if (u->module_request)
			adopt(u);
		else
			unit_over(u);
	} else {
		unit_fail(u, e->error);
	}
}

void kh_on_nack(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_nack *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_ask *ask;
	uint32_t i;

	if (!region || region->home_id != from->id || h->party != node->config.id ||
	    !kh_request_of(kh_self(node), h->request))
		return;
	kh_region_epoch(region, h->epoch);
	ask = ask_find(node, h->request);
	for (i = 0; i < h->count; i++, e++) {
		struct kh_ask_unit *u = ask_unit(ask, e->unit);

		if (!u || u->over)
			unknown(region, h, e->unit, 0);
		else if (u->asked && h->attempt == u->attempt)
			nack_unit(u, e);
	}
	if (ask && !ask->left)
		ask_free(ask);
}

/* The module has @unit back without a grant: nobody waits, and the frame to receive into is gone. */
void kh_ask_resumed(struct kh_region *region, uint64_t unit)
{
	struct kh_ask_unit *u = wanted(region, unit);
	struct kh_ask *ask = u ? u->ask : NULL;

	if (!u)
		return;
	unit_abort(u);
	unit_over(u);
	if (!ask->left)
		ask_free(ask);
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
			send_done(region, done->request, done->unit, done->token, done->version, 0);
			/* Only a RENEW behind this one proves that it arrived. */
			done->sequence = region->lease ? region->lease->sequence : 0;
		}
		kh_list_each (ask, &region->asks, region_node)
			for (i = 0; i < ask->count; i++)
				if (!ask->units[i].over && !unit_ready(&ask->units[i]))
					unit_again(&ask->units[i], false);
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
				commit_ready(ask);
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
			push(ask);
		else
			kh_arm(node, ask->retry_ns);
	}
	if (ask->flush_ns == KH_NEVER)
		return;
	if (node->now >= ask->flush_ns)
		commit_ready(ask);
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
