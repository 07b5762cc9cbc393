// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * module.c - khazana.ko of one simulated machine: regions, queue, commands, leases
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "host.h"
#include "module.h"
#include "oracle.h"
#include "proc.h"
#include "store.h"

struct module *module_create(struct host *host)
{
	struct module *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->sim = host->sim;
	m->host = host;
	m->memory = calloc(MODULE_FRAMES, 4096);
	if (!m->memory)
		abort();
	m->queue_tail = &m->queue;
	m->next_request = 1;
	return m;
}

static void drop_queue(struct module *m)
{
	struct mrequest *r;

	while ((r = m->queue)) {
		m->queue = r->next;
		free(r);
	}
	m->queue_tail = &m->queue;
}

void module_destroy(struct module *m)
{
	struct mrevoke *whole;
	unsigned int i, k;

	for (i = 0; i < SIM_REGIONS; i++)
		for (k = 0; m->regions[i].used && k < SIM_UNITS_MAX; k++)
			munit_free(&m->regions[i].units[k]);
	while ((whole = m->revokes)) {
		m->revokes = whole->next;
		free(whole);
	}
	drop_queue(m);
	free(m->memory);
	free(m);
}

struct mregion *module_region(struct module *m, uint32_t handle)
{
	if (handle < 1 || handle > SIM_REGIONS || !m->regions[handle - 1].used)
		return NULL;
	return &m->regions[handle - 1];
}

struct mregion *module_region_of(struct module *m, unsigned int sim_region)
{
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++)
		if (m->regions[i].used && m->regions[i].sim_region == sim_region)
			return &m->regions[i];
	return NULL;
}

static struct mlease *find_lease(struct module *m, uint32_t id)
{
	unsigned int i;

	for (i = 0; i < MODULE_LEASES; i++)
		if (m->leases[i].id == id)
			return &m->leases[i];
	return NULL;
}

/* Look up or make: a new one has ended. */
static struct mlease *get_lease(struct module *m, uint32_t id)
{
	struct mlease *lease = find_lease(m, id);

	if (lease)
		return lease;
	lease = find_lease(m, 0);
	if (lease)
		lease->id = id;
	return lease;
}

bool module_lease_valid(const struct mregion *r)
{
	const struct mlease *lease = find_lease(r->module, r->lease);

	return lease && host_clock(r->module->host) < lease->end;
}

uint64_t module_queue(struct module *m, const struct khazana_request *req)
{
	struct mrequest *r;

	if (!m->registered && req->op != KHAZANA_REQ_FAULT && req->op != KHAZANA_REQ_ATTACH &&
	    req->op != KHAZANA_REQ_FLUSH)
		return 0; /* notices die with their khd */
	r = calloc(1, sizeof(*r));
	if (!r)
		abort();
	r->req = *req;
	r->req.id = m->next_request++;
	*m->queue_tail = r;
	m->queue_tail = &r->next;
	host_kick(m->host);
	return r->req.id;
}

/* A request is answered or void: khd need not see it if it has not yet. */
void module_unqueue(struct module *m, uint64_t id)
{
	struct mrequest **at = &m->queue, *r;

	while (*at && (*at)->req.id != id)
		at = &(*at)->next;
	if (!(r = *at))
		return;
	*at = r->next;
	if (m->queue_tail == &r->next)
		m->queue_tail = at;
	free(r);
}

static struct munit *unit_asked(struct module *m, const struct mrequest *r)
{
	return &m->regions[r->req.region - 1].units[r->req.unit];
}

/* Units that follow in the queue and in the region are one descriptor. */
static void join_range(struct module *m, struct khazana_request *req)
{
	struct khazana_request next;
	struct munit *u;

	while (m->queue && m->queue->req.op == KHAZANA_REQ_FAULT) {
		u = unit_asked(m, m->queue);
		munit_describe(u, &next);
		if (next.region != req->region || next.unit != req->unit + req->count ||
		    next.want != req->want || next.version != req->version ||
		    next.cookie != req->cookie || (next.flags ^ req->flags) & ~KHAZANA_REQF_FRAME)
			break;
		module_unqueue(m, m->queue->req.id);
		u->request = req->id;
		req->count++;
		req->flags &= ~KHAZANA_REQF_FRAME;
		req->frame = 0;
	}
}

bool module_fetch(struct module *m, struct khazana_request *req)
{
	struct mrequest *r = m->queue;

	if (!r || !m->registered)
		return false;
	*req = r->req;
	if (req->op == KHAZANA_REQ_FAULT)
		munit_describe(unit_asked(m, r), req);
	module_unqueue(m, req->id);
	if (req->op == KHAZANA_REQ_FAULT)
		join_range(m, req);
	if (m->queue)
		host_kick(m->host);
	return true;
}

/* Copies that may be dropped are.  Return: how many. */
unsigned int module_reclaim(struct module *m)
{
	unsigned int i, k, n = 0;

	for (i = 0; i < SIM_REGIONS; i++) {
		struct mregion *r = &m->regions[i];

		for (k = 0; r->used && k < r->length >> r->unit_shift; k++) {
			if (!kz_page_droppable(&r->units[k].page))
				continue;
			oracle_dropped(&r->units[k]);
			munit_step(&r->units[k], &(struct kz_page_event){ .type = KZ_EV_DROP });
			m->sim->stats.reclaims++;
			n++;
		}
	}
	return n;
}

/* A khd died: what it was asked will be asked again, its notices are void. */
void module_unregister(struct module *m)
{
	struct mrevoke *whole;
	unsigned int i, k;

	m->registered = false;
	drop_queue(m);
	for (whole = m->revokes; whole; whole = whole->next)
		whole->silent = true;
	for (i = 0; i < SIM_REGIONS; i++) {
		for (k = 0;
		     m->regions[i].used && k < m->regions[i].length >> m->regions[i].unit_shift;
		     k++) {
			m->regions[i].units[k].request = 0;
			munit_step(&m->regions[i].units[k],
				   &(struct kz_page_event){ .type = KZ_EV_DAEMON_GONE });
		}
	}
	muser_daemon_gone(m);
	store_daemon_gone(m);
}

void module_register(struct module *m)
{
	m->registered = true;
	if (m->queue) {
		m->sim->stats.restarts_with_waiters++;
		host_kick(m->host);
	}
}

void *module_frame(struct module *m, uint32_t frame, size_t len)
{
	if (frame >= MODULE_FRAMES || len > (size_t)(MODULE_FRAMES - frame) << 12 ||
	    !m->frame_used[frame]) {
		sim_violation(m->sim, "node %u: khd touches frame %u (%zu bytes), which is not its",
			      m->host->index + 1, frame, len);
		return m->memory;
	}
	return m->memory + ((size_t)frame << 12);
}

/* The lease is over: every right under it ends. */
void module_expire(struct module *m, struct mlease *lease)
{
	unsigned int i, k;

	if (!lease->live)
		return;
	lease->live = false;
	m->sim->stats.expiries++;
	sim_trace(m->sim, "node %u: lease %u ends", m->host->index + 1, lease->id);
	for (i = 0; i < SIM_REGIONS; i++) {
		struct mregion *r = &m->regions[i];

		if (!r->used || r->lease != lease->id)
			continue;
		oracle_node_failed(m->host, r->sim_region);
		m->sim->touched[r->sim_region] = ~0u;
		for (k = 0; k < r->length >> r->unit_shift; k++) {
			munit_step(&r->units[k], &(struct kz_page_event){ .type = KZ_EV_EXPIRE });
			muser_locks_lapse(&r->units[k]);
			r->units[k].refs_until = 0;
			munit_step(&r->units[k],
				   &(struct kz_page_event){ .type = KZ_EV_REFS_TIMEOUT });
		}
	}
	module_queue(m, &(struct khazana_request){ .op = KHAZANA_REQ_EXPIRED, .unit = lease->id });
}

static void lease_timer(struct sim *sim, uint64_t host, uint64_t id)
{
	struct host *h = sim->hosts[host];
	struct mlease *lease = h->module ? find_lease(h->module, id) : NULL;

	if (lease && lease->live && host_clock(h) >= lease->end)
		module_expire(h->module, lease);
}

/* The zap may take until the end of its budget, which is a part of what the home waits for. */
static void cmd_lease(struct module *m, struct khazana_cmd *cmd)
{
	struct mlease *lease = get_lease(m, cmd->lease);
	uint64_t zap = rng_below(&m->sim->rng, 15 * MS);

	if (!cmd->lease) {
		cmd->result = -EINVAL;
		return;
	}
	if (!lease) {
		cmd->result = -ENOMEM;
		return;
	}
	if (host_clock(m->host) >= lease->end)
		module_expire(m, lease);
	lease->end = cmd->time_ns;
	lease->live = true;
	sim_at(m->sim, host_true_time(m->host, lease->end) + zap, lease_timer, m->host->index,
	       lease->id);
}

static void set_region(struct mregion *r, const struct khazana_cmd *cmd)
{
	r->lease = cmd->lease;
	if (r->lease)
		get_lease(r->module, r->lease);
	r->wait_ms = cmd->wait_ms ? cmd->wait_ms : 30000;
	r->residency_us = cmd->residency_us;
	r->flags = cmd->flags;
	/* What is late must not let an older key in again. */
	if (r->key_serial < cmd->version)
		r->key_serial = cmd->version;
}

static void cmd_region_add(struct module *m, struct khazana_cmd *cmd)
{
	struct sim *sim = m->sim;
	struct mregion *r;
	unsigned int i, k;

	for (i = 0; i < SIM_REGIONS; i++) {
		r = &m->regions[i];
		if (r->used && r->addr.hi == cmd->addr.hi && r->addr.lo == cmd->addr.lo &&
		    r->generation == cmd->generation) {
			cmd->region = r->handle;
			cmd->result = -EALREADY;
			return;
		}
	}
	for (i = 0; i < SIM_REGIONS && m->regions[i].used; i++)
		;
	for (k = 0; k < SIM_REGIONS; k++)
		if (sim->regions[k].addr.hi == cmd->addr.hi &&
		    sim->regions[k].addr.lo == cmd->addr.lo)
			break;
	if (i == SIM_REGIONS || k == SIM_REGIONS || cmd->unit_shift != sim->regions[k].unit_shift ||
	    cmd->length >> cmd->unit_shift != sim->regions[k].units) {
		cmd->result = -ENOMEM;
		return;
	}
	r = &m->regions[i];
	*r = (struct mregion){
		.module = m,
		.used = true,
		.handle = i + 1,
		.addr = cmd->addr,
		.length = cmd->length,
		.generation = cmd->generation,
		.unit_shift = cmd->unit_shift,
		.sim_region = k,
	};
	set_region(r, cmd);
	for (i = 0; i < SIM_UNITS_MAX; i++)
		munit_init(&r->units[i], r, i);
	cmd->region = r->handle;
}

static void cmd_region_del(struct module *m, struct mregion *r, struct khazana_cmd *cmd)
{
	unsigned int k;

	if (r->attached && !(cmd->flags & KHAZANA_CMDF_FORCE)) {
		cmd->result = -EBUSY;
		return;
	}
	for (k = 0; k < SIM_UNITS_MAX; k++) {
		munit_wake(&r->units[k], -ENOENT);
		module_unqueue(m, r->units[k].request);
		munit_free(&r->units[k]);
	}
	r->used = false;
}

/* Of the results of many units, the one that khd has to act on is the command's. */
static int result_weight(int err)
{
	static const int order[] = { -ENOENT, -EALREADY, 0, -ESTALE, -EINPROGRESS, -EBUSY };
	int i;

	for (i = 0; i < 6 && order[i] != err; i++)
		;
	return i;
}

static int result_merge(int all, int one)
{
	return result_weight(one) > result_weight(all) ? one : all;
}

static int revoke_unit(struct munit *u, struct mrevoke *whole, struct khazana_cmd *before)
{
	const struct khazana_cmd *cmd = &whole->cmd;
	int ret;

	if (!u->exists) {
		struct mregion *r = u->region;

		if (r->pruned_floor < cmd->token)
			r->pruned_floor = cmd->token;
		munit_init(u, r, u->index);
		munit_fill(u, before);
		return -ENOENT;
	}
	munit_fill(u, before);
	ret = munit_revoke(u, whole);
	if (!ret) {
		struct khazana_cmd after = *before;

		munit_meanwhile(u);
		munit_fill(u, &after);
		after.right = before->right;
		after.token = before->token;
		after.uflags = before->uflags;
		*before = after;
	}
	return ret;
}

static void cmd_revoke(struct module *m, struct mregion *r, struct khazana_cmd *cmd)
{
	struct mrevoke *whole = calloc(1, sizeof(*whole)), **at, *old;
	struct munit *first = &r->units[cmd->unit];
	struct khazana_cmd before = *cmd;
	int result = -ENOENT;
	uint64_t k;

	if (!whole)
		abort();
	whole->cmd = *cmd;
	for (k = 0; k < cmd->count; k++) {
		struct khazana_cmd one = *cmd;

		result = result_merge(result, revoke_unit(first + k, whole, &one));
		if (!k)
			before = one;
	}
	*cmd = before;
	cmd->result = result;
	whole->cmd.token = before.token;
	whole->cmd.uflags = before.uflags;
	whole->cmd.right = before.right;
	if (!whole->pending) {
		free(whole);
		return;
	}
	for (at = &m->revokes; (old = *at);) {
		if (old->pending) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		free(old);
	}
	*at = whole;
}

/* The command of one unit. */
static void cmd_unit(struct module *m, struct munit *u, struct khazana_cmd *cmd)
{
	static const uint32_t types[] = {
		[KHAZANA_CMD_RELEASE] = KZ_EV_RELEASE, [KHAZANA_CMD_FRAMES] = KZ_EV_FRAME,
		[KHAZANA_CMD_RESUME] = KZ_EV_RESUME,   [KHAZANA_CMD_LOST] = KZ_EV_LOST,
		[KHAZANA_CMD_SAFE] = KZ_EV_SAFE,       [KHAZANA_CMD_UNLEND] = KZ_EV_UNLEND,
	};
	struct kz_page_event ev = { .flags = cmd->flags,
				    .token = cmd->token,
				    .version = cmd->version };

	if (cmd->op == KHAZANA_CMD_COMMIT) {
		munit_commit(u, cmd);
		return;
	}
	if (!u->exists && cmd->op != KHAZANA_CMD_FRAMES) {
		cmd->result = -ENOENT;
		return;
	}
	munit_make(u);
	if (cmd->op == KHAZANA_CMD_UNIT_GET) {
		if (cmd->flags & KHAZANA_CMDF_LEND)
			munit_step(u, &(struct kz_page_event){ .type = KZ_EV_LEND });
		munit_fill(u, cmd);
		return;
	}
	if (cmd->op == KHAZANA_CMD_RESUME && !module_lease_valid(u->region)) {
		cmd->result = -ESTALE;
		return;
	}
	ev.type = types[cmd->op];
	cmd->result = cmd->op == KHAZANA_CMD_FRAMES ? munit_frame(u, cmd->flags) :
						      munit_step(u, &ev);
	if (cmd->op == KHAZANA_CMD_FRAMES)
		cmd->frame = u->frame >= 0 ? (uint32_t)u->frame : ~0u;
	m->sim->stats.resumes += cmd->op == KHAZANA_CMD_RESUME && !cmd->result;
	m->sim->stats.losts += cmd->op == KHAZANA_CMD_LOST && !cmd->result;
}

static int fail_unit(struct munit *u, struct khazana_cmd *cmd)
{
	if (!u->exists)
		return -ENOENT;
	if (cmd->request && u->request != cmd->request)
		return -EALREADY;
	munit_wake(u, -(int)cmd->error);
	return munit_step(u, &(struct kz_page_event){ .type = KZ_EV_FAIL });
}

static void cmd_fail(struct module *m, struct mregion *r, struct khazana_cmd *cmd)
{
	int result = -ENOENT;
	uint64_t k;

	if (muser_attach_end(m, cmd->request, NULL, 0, -(int)cmd->error) ||
	    store_flush_end(m, cmd->request, -(int)cmd->error))
		return;
	for (k = 0; r && k < cmd->count; k++)
		result = result_merge(result, fail_unit(&r->units[cmd->unit + k], cmd));
	cmd->result = result;
}

static void cmd_inventory(struct mregion *r, struct khazana_cmd *cmd)
{
	for (; cmd->unit < r->length >> r->unit_shift; cmd->unit++) {
		if (r->units[cmd->unit].exists) {
			munit_fill(&r->units[cmd->unit], cmd);
			return;
		}
	}
	cmd->result = -ENOENT;
}

static void cmd_region_get(struct module *m, struct khazana_cmd *cmd)
{
	for (; cmd->region <= SIM_REGIONS; cmd->region++) {
		struct mregion *r = module_region(m, cmd->region);

		if (!r)
			continue;
		cmd->addr = r->addr;
		cmd->length = r->length;
		cmd->generation = r->generation;
		cmd->unit_shift = r->unit_shift;
		cmd->lease = r->lease;
		cmd->wait_ms = r->wait_ms;
		cmd->residency_us = r->residency_us;
		cmd->flags = r->flags;
		cmd->floor = r->floor;
		cmd->version = r->key_serial;
		cmd->time_ns = r->lease ? find_lease(m, r->lease)->end : 0;
		return;
	}
	cmd->result = -ENOENT;
}

static void cmd_region(struct module *m, struct mregion *r, struct khazana_cmd *cmd)
{
	unsigned int k;

	switch (cmd->op) {
	case KHAZANA_CMD_REGION_SET:
		set_region(r, cmd);
		break;
	case KHAZANA_CMD_REGION_DEL:
		cmd_region_del(m, r, cmd);
		break;
	case KHAZANA_CMD_ATTACH_DONE:
		cmd->result = muser_attach_end(m, cmd->request, r, cmd->version, 0) ? 0 : -ENOENT;
		break;
	case KHAZANA_CMD_EPOCH:
		if (cmd->token < r->floor) {
			cmd->result = -ESTALE;
			break;
		}
		r->floor = cmd->token;
		for (k = 0; k < SIM_UNITS_MAX; k++)
			munit_step(&r->units[k], &(struct kz_page_event){ .type = KZ_EV_EPOCH,
									  .token = cmd->token });
		break;
	case KHAZANA_CMD_INVENTORY:
		cmd_inventory(r, cmd);
		break;
	case KHAZANA_CMD_REVOKE:
		cmd_revoke(m, r, cmd);
		break;
	case KHAZANA_CMD_POISON:
		muser_poison(r);
		break;
	default:
		cmd_unit(m, &r->units[cmd->unit], cmd);
	}
}

/* The flags that each command may have. */
static const uint32_t allowed[] = {
	[KHAZANA_CMD_REGION_ADD] = KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO,
	[KHAZANA_CMD_REGION_SET] = KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO,
	[KHAZANA_CMD_REGION_DEL] = KHAZANA_CMDF_FORCE,
	[KHAZANA_CMD_COMMIT] = KHAZANA_CMDF_OWNED | KHAZANA_CMDF_DROPPABLE | KHAZANA_CMDF_ZERO |
			       KHAZANA_CMDF_HELD | KHAZANA_CMDF_MARK | KHAZANA_CMDF_DATA,
	[KHAZANA_CMD_REVOKE] = KHAZANA_CMDF_KEEP | KHAZANA_CMDF_LOCK_OK | KHAZANA_CMDF_LEND,
	[KHAZANA_CMD_UNIT_GET] = KHAZANA_CMDF_LEND,
	[KHAZANA_CMD_FRAMES] = KHAZANA_CMDF_TRY,
	[KHAZANA_CMD_LOST] = KHAZANA_CMDF_NOPOISON,
	[KHAZANA_CMD_POISON] = 0,
	[KHAZANA_CMD_UNLEND] = 0,
};

static bool has_units(uint32_t op)
{
	switch (op) {
	case KHAZANA_CMD_COMMIT:
	case KHAZANA_CMD_REVOKE:
	case KHAZANA_CMD_RELEASE:
	case KHAZANA_CMD_FAIL:
	case KHAZANA_CMD_FRAMES:
	case KHAZANA_CMD_RESUME:
	case KHAZANA_CMD_LOST:
	case KHAZANA_CMD_UNIT_GET:
	case KHAZANA_CMD_SAFE:
	case KHAZANA_CMD_UNLEND:
		return true;
	}
	return false;
}

static void run_command(struct module *m, struct mregion *r, struct khazana_cmd *cmd)
{
	switch (cmd->op) {
	case KHAZANA_CMD_REGION_ADD:
		cmd_region_add(m, cmd);
		break;
	case KHAZANA_CMD_REGION_GET:
		cmd_region_get(m, cmd);
		break;
	case KHAZANA_CMD_LEASE:
		cmd_lease(m, cmd);
		break;
	case KHAZANA_CMD_FAIL:
		cmd_fail(m, r, cmd);
		break;
	case KHAZANA_CMD_STATE:
		cmd->time_ns = host_clock(m->host);
		cmd->count = m->frames_in_use;
		break;
	default:
		if (r)
			cmd_region(m, r, cmd);
		else
			cmd->result = -ENOENT;
	}
}

static void command(struct module *m, struct khazana_cmd *cmd)
{
	struct mregion *r = module_region(m, cmd->region);

	cmd->result = 0;
	if (!cmd->op || cmd->op >= sizeof(allowed) / sizeof(allowed[0]) ||
	    (cmd->flags & ~allowed[cmd->op])) {
		sim_violation(m->sim, "node %u: command %u with flags %x is unknown",
			      m->host->index + 1, cmd->op, cmd->flags);
		cmd->result = -EINVAL;
		return;
	}
	if (!cmd->count)
		cmd->count = 1;
	if (r && has_units(cmd->op) &&
	    (cmd->unit >= r->length >> r->unit_shift ||
	     cmd->count > (r->length >> r->unit_shift) - cmd->unit)) {
		cmd->result = -ERANGE;
		return;
	}
	run_command(m, r, cmd);
	if (r && r->used && has_units(cmd->op))
		munit_meanwhile(&r->units[cmd->unit]);
}

/* The simulator's number of a region, for traces. */
int module_region_number(struct module *m, uint32_t handle)
{
	const struct mregion *r = module_region(m, handle);

	return r ? (int)r->sim_region : -1;
}

static const char *cmd_name(uint32_t op)
{
	static const char *const names[] = {
		"?",	  "REGION_ADD",	 "REGION_SET", "REGION_DEL", "ATTACH_DONE", "COMMIT",
		"REVOKE", "RELEASE",	 "FAIL",       "FRAMES",     "EPOCH",	    "LEASE",
		"RESUME", "LOST",	 "UNIT_GET",   "INVENTORY",  "REGION_GET",  "STATE",
		"PARKED", "PARKED_DROP", "SAFE",       "POISON",     "LIMIT",	    "UNLEND",
	};

	return names[op < sizeof(names) / sizeof(names[0]) ? op : 0];
}

/*
 * khd reads a frame: a unit that may be written all the same goes to its store as it is now, and
 * what is stored into it from now on is another matter.
 */
void module_frame_read(struct module *m, uint32_t frame)
{
	unsigned int i, k;

	for (i = 0; i < SIM_REGIONS; i++) {
		struct mregion *r = &m->regions[i];

		for (k = 0; r->used && k < SIM_UNITS_MAX; k++)
			if (r->units[k].frame == (int)frame &&
			    r->units[k].page.right == KHAZANA_RIGHT_WRITE)
				r->units[k].tenure_token = 0;
	}
}

void module_command(struct module *m, struct khazana_cmd *cmds, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct khazana_cmd in = cmds[i];

		command(m, &cmds[i]);
		sim_hash(m->sim, &cmds[i].result, sizeof(cmds[i].result));
		if (in.op != KHAZANA_CMD_INVENTORY && in.op != KHAZANA_CMD_UNIT_GET)
			sim_trace(m->sim,
				  "node %u: cmd %s unit %d.%llu right %u token %llx version %llx "
				  "flags %x -> %d",
				  m->host->index + 1, cmd_name(in.op),
				  module_region_number(m, in.region), (unsigned long long)in.unit,
				  in.right, (unsigned long long)in.token,
				  (unsigned long long)in.version, in.flags, cmds[i].result);
	}
	/* Neither reclaim nor a lease waits until khd has looked at the answers. */
	if (sim_has(m->sim, SIM_FAULT_RECLAIM) && rng_chance(&m->sim->rng, 10))
		module_reclaim(m);
	for (i = 0; i < MODULE_LEASES; i++)
		if (m->leases[i].live && host_clock(m->host) >= m->leases[i].end &&
		    rng_chance(&m->sim->rng, 300))
			module_expire(m, &m->leases[i]);
}
