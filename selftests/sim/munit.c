// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * munit.c - one unit of a simulated module: the transitions of kmod/page.c and their effects
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "host.h"
#include "module.h"
#include "oracle.h"
#include "proc.h"

static unsigned int frame_pages(const struct munit *u)
{
	return 1u << (u->region->unit_shift - 12);
}

unsigned char *munit_memory(const struct munit *u, int frame)
{
	return u->region->module->memory + ((size_t)frame << 12);
}

static int frame_alloc(struct munit *u)
{
	struct module *m = u->region->module;
	unsigned int pages = frame_pages(u), i, k;

	for (i = 0; i + pages <= MODULE_FRAMES; i += pages) {
		for (k = 0; k < pages && !m->frame_used[i + k]; k++)
			;
		if (k < pages)
			continue;
		memset(&m->frame_used[i], 1, pages);
		m->frames_in_use += pages;
		return i;
	}
	sim_violation(m->sim, "node %u: the module leaks frames", m->host->index + 1);
	return 0;
}

static void frame_free(struct munit *u, int *frame)
{
	struct module *m = u->region->module;
	unsigned int pages = frame_pages(u);

	if (*frame < 0)
		return;
	memset(&m->frame_used[*frame], 0, pages);
	m->frames_in_use -= pages;
	memset(munit_memory(u, *frame), 0xdd, (size_t)pages << 12);
	*frame = -1;
}

void munit_init(struct munit *u, struct mregion *r, unsigned int index)
{
	*u = (struct munit){ .region = r, .index = index, .frame = -1, .handoff = -1 };
	kz_page_init(&u->page, r->floor);
}

/*
 * The unit needs a record.  As in the module its floor is at least that of the record which
 * went before it; here one floor is that of all units, so that those which are too high are many.
 */
void munit_make(struct munit *u)
{
	struct mregion *r = u->region;

	if (u->exists)
		return;
	u->exists = true;
	kz_page_init(&u->page, r->floor < r->pruned_floor ? r->pruned_floor : r->floor);
}

/* A record that says nothing goes. */
static void prune(struct munit *u)
{
	if (!u->exists || !kz_page_blank(&u->page) || u->waiters || u->revokes || u->delayed)
		return;
	u->exists = false;
	if (u->region->pruned_floor < u->page.floor)
		u->region->pruned_floor = u->page.floor;
}

void munit_free(struct munit *u)
{
	struct mrevoke_part *part;

	frame_free(u, &u->frame);
	frame_free(u, &u->handoff);
	while ((part = u->revokes)) {
		u->revokes = part->next;
		free(part);
	}
}

/* May a process that has it mapped, or faults now, read it? */
bool munit_readable(const struct munit *u)
{
	return kz_page_usable(&u->page, KHAZANA_RIGHT_READ) &&
	       (u->mapped || module_lease_valid(u->region));
}

void munit_wake(struct munit *u, int error)
{
	struct waiter *w, *all = u->waiters;

	u->waiters = NULL;
	while ((w = all)) {
		all = w->next;
		w->next = NULL;
		w->waiting = false;
		w->error = error == -EAGAIN && !(w->flags & KHAZANA_REQF_TRY) ? 0 : error;
		proc_wake(w->proc);
	}
}

/* Was the key changed since it was asked for by an explicit lock? */
bool munit_key_is_old(const struct munit *u)
{
	return u->request_serial < u->region->key_serial;
}

/* What khd reads is the record at the time of the reading. */
void munit_describe(const struct munit *u, struct khazana_request *req)
{
	*req = (struct khazana_request){
		.id = req->id,
		.op = KHAZANA_REQ_FAULT,
		.region = u->region->handle,
		.unit = u->index,
		.count = 1,
		.version = u->page.version,
		.token = u->page.token,
		.want = u->page.want,
		.flags = u->request_flags,
		.timeout_ms = u->region->wait_ms,
	};
	/* Who will be refused when he has the right leaves the contents alone. */
	if (req->flags & KHAZANA_REQF_OVERWRITE && munit_key_is_old(u)) {
		u->region->module->sim->stats.key_plain++;
		req->flags &= ~KHAZANA_REQF_OVERWRITE;
	}
	if (req->flags & KHAZANA_REQF_OVERWRITE)
		req->cookie = u->request_serial;
	if (u->page.flags & KHAZANA_UNIT_HANDOFF) {
		req->version = u->page.handoff_version;
		req->flags |= KHAZANA_REQF_HANDOFF;
	}
	if (u->frame >= 0 && u->page.state == KHAZANA_STATE_FETCHING) {
		req->frame = u->frame;
		req->flags |= KHAZANA_REQF_FRAME;
	}
}

static void notify(struct munit *u, uint32_t op)
{
	struct khazana_request req = {
		.op = op,
		.region = u->region->handle,
		.unit = u->index,
		.count = 1,
		.token = u->page.token,
	};

	module_queue(u->region->module, &req);
}

static void move_frames(struct munit *u, uint32_t act)
{
	if (act & (KZ_ACT_PARK | KZ_ACT_FREE_FRAME))
		frame_free(u, &u->frame);
	if (act & KZ_ACT_FREE_HANDOFF)
		frame_free(u, &u->handoff);
	if (act & KZ_ACT_MOVE_TO_HANDOFF) {
		frame_free(u, &u->handoff);
		u->handoff = u->frame;
		u->frame = -1;
		u->region->module->sim->stats.handoffs++;
	}
	if (act & KZ_ACT_TAKE_HANDOFF) {
		u->frame = u->handoff;
		u->handoff = -1;
	}
	if (act & KZ_ACT_NEW_FRAME) {
		u->frame = frame_alloc(u);
		if (u->data)
			memcpy(munit_memory(u, u->frame), u->data, (size_t)frame_pages(u) << 12);
		else
			memset(munit_memory(u, u->frame), 0xee, (size_t)frame_pages(u) << 12);
	}
}

static void orphan(struct munit *u)
{
	int old = u->frame;

	u->frame = frame_alloc(u);
	memcpy(munit_memory(u, u->frame), munit_memory(u, old), (size_t)frame_pages(u) << 12);
	frame_free(u, &old);
	u->region->module->sim->stats.orphans++;
}

/* A unit's part in a REVOKE is over; the last one tells khd. */
static void end_part(struct munit *u, struct mrevoke *whole, int error)
{
	bool kept = u->handoff >= 0;
	int frame = kept ? u->handoff : u->frame;

	if (error)
		whole->cmd.result = error;
	if (--whole->pending || whole->silent)
		return;
	module_queue(u->region->module,
		     &(struct khazana_request){
			     .op = KHAZANA_REQ_REVOKED,
			     .region = u->region->handle,
			     .unit = whole->cmd.unit,
			     .count = whole->cmd.count ? whole->cmd.count : 1,
			     .version = kept ? u->page.handoff_version : u->page.version,
			     .token = whole->cmd.token,
			     .cookie = whole->cmd.cookie,
			     .error = whole->cmd.result,
			     .uflags = whole->cmd.uflags,
			     .want = whole->cmd.right,
			     .frame = frame >= 0 ? (uint32_t)frame : ~0u,
			     .flags = frame >= 0 ? KHAZANA_REQF_FRAME : 0,
		     });
}

/* All that waited for the unit's revoke to end. */
static void end_revokes(struct munit *u, int error)
{
	struct mrevoke_part *part, *all = u->revokes;

	u->revokes = NULL;
	while ((part = all)) {
		all = part->next;
		end_part(u, part->whole, error);
		free(part);
	}
}

static void refs_over(struct sim *sim, uint64_t host, uint64_t where)
{
	struct module *m = sim->hosts[host]->module;
	struct munit *u;
	bool timeout = where >> 32 & 1;

	if (!m || !m->regions[where >> 16 & 0xffff].used)
		return;
	u = &m->regions[where >> 16 & 0xffff].units[where & 0xffff];
	if (u->page.state != KHAZANA_STATE_REVOKING || u->refs_until > sim->now)
		return;
	munit_step(u, &(struct kz_page_event){ .type = timeout ? KZ_EV_REFS_TIMEOUT :
								 KZ_EV_REFS_GONE });
}

/* Zapped: does anybody still hold references? */
static void check_refs(struct munit *u)
{
	struct module *m = u->region->module;
	struct sim *sim = m->sim;
	uint64_t where = (uint64_t)(u->region - m->regions) << 16 | u->index, delay;

	if (u->refs_until > sim->now)
		return;
	if (!sim_has(sim, SIM_FAULT_REFS) || !rng_chance(&sim->rng, 60)) {
		munit_step(u, &(struct kz_page_event){ .type = KZ_EV_REFS_GONE });
		return;
	}
	sim->stats.revoking++;
	delay = rng_range(&sim->rng, 20 * US, 3 * MS);
	if (rng_chance(&sim->rng, 50)) {
		delay = rng_range(&sim->rng, 50 * MS, 400 * MS);
		where |= 1ull << 32;
	}
	u->refs_until = sim->now + delay;
	sim_in(sim, delay, refs_over, m->host->index, where);
}

static void notify_all(struct munit *u, uint32_t act)
{
	if ((act & KZ_ACT_UNQUEUE) && u->request) {
		module_unqueue(u->region->module, u->request);
		u->request = 0;
	}
	if (act & KZ_ACT_QUEUE) {
		u->asked = u->region->module->sim->now;
		u->request = module_queue(u->region->module,
					  &(struct khazana_request){ .op = KHAZANA_REQ_FAULT,
								     .region = u->region->handle,
								     .unit = u->index });
	}
	if (act & KZ_ACT_WAKE)
		munit_wake(u, 0);
	if (act & KZ_ACT_NOTIFY_UNLOCKED)
		notify(u, KHAZANA_REQ_UNLOCKED);
	if (act & KZ_ACT_NOTIFY_DROPPED)
		notify(u, KHAZANA_REQ_DROPPED);
	if (act & KZ_ACT_POISON)
		muser_poison(u->region);
}

/* The step itself, its effects and the invariants of the record. */
int munit_step(struct munit *u, const struct kz_page_event *ev)
{
	struct sim *sim = u->region->module->sim;
	bool revoking = u->page.state == KHAZANA_STATE_REVOKING;
	uint32_t act = 0;
	int ret, bad;

	sim->touched[u->region->sim_region] |= 1u << u->index;
	ret = kz_page_step(&u->page, ev, &act);
	bad = kz_page_check(&u->page);
	if (bad)
		sim_violation(sim, "node %u unit %u.%u: kz_page_check() says %d after event %u",
			      u->region->module->host->index + 1, u->region->sim_region, u->index,
			      bad, ev->type);
	if (ret && ret != -EINPROGRESS)
		return ret;
	if (ev->type == KZ_EV_COMMIT || ev->type == KZ_EV_RESUME)
		u->since = sim->now;
	if (ev->type == KZ_EV_FAIL)
		u->failed = u->asked;
	if (act & KZ_ACT_ZAP)
		u->mapped = false;
	if (act & KZ_ACT_ORPHAN)
		orphan(u);
	move_frames(u, act);
	if (act & KZ_ACT_ZERO)
		oracle_zero(u, u->request && (u->request_flags & KHAZANA_REQF_OVERWRITE));
	notify_all(u, act);
	if (act & KZ_ACT_CHECK_REFS)
		check_refs(u);
	if (revoking && u->page.state != KHAZANA_STATE_REVOKING)
		end_revokes(u, 0);
	prune(u);
	return ret;
}

/* Frames are short: droppable copies go, and khd hears of it. */
static void short_of_frames(struct module *m)
{
	m->sim->stats.no_memory++;
	module_reclaim(m);
	if (m->pressure_at && m->sim->now - m->pressure_at < 5 * MS)
		return;
	m->pressure_at = m->sim->now;
	oracle_pressure(m->sim);
	module_queue(m, &(struct khazana_request){ .op = KHAZANA_REQ_PRESSURE });
}

/* Is there room for one frame more, perhaps when others have gone? */
static bool room(struct munit *u)
{
	struct module *m = u->region->module;
	unsigned int pages = frame_pages(u);

	if (m->frames_max && m->frames_in_use + pages > m->frames_max)
		short_of_frames(m);
	return !m->frames_max || m->frames_in_use + pages <= m->frames_max;
}

/* A frame to receive into, within the limit of the module. */
int munit_frame(struct munit *u, uint32_t flags)
{
	if (u->frame < 0 && !room(u))
		return -ENOMEM;
	return munit_step(u, &(struct kz_page_event){ .type = KZ_EV_FRAME, .flags = flags });
}

/* The out fields of a command. */
void munit_fill(struct munit *u, struct khazana_cmd *cmd)
{
	const struct kz_page *p = &u->page;

	cmd->right = p->right;
	cmd->unit = u->index;
	cmd->token = p->token;
	cmd->version = p->version;
	cmd->version_held = p->handoff_version;
	cmd->token_handoff = p->handoff_token;
	cmd->floor = p->floor;
	cmd->frame = u->frame >= 0 ? (uint32_t)u->frame : ~0u;
	cmd->frame_handoff = u->handoff >= 0 ? (uint32_t)u->handoff : ~0u;
	cmd->uflags = p->flags;
	cmd->state = p->state;
}

/*
 * What another CPU may do at any moment, also between a transition and what is said of it: a thread
 * faults.  It is killed before it gets its right, so nobody waits.
 */
void munit_meanwhile(struct munit *u)
{
	struct rng *rng = &u->region->module->sim->rng;
	struct kz_page_event fault = { .type = KZ_EV_FAULT, .right = KHAZANA_RIGHT_WRITE };

	if (!u->region->attached || !rng_chance(rng, 30))
		return;
	if (rng_chance(rng, 300))
		fault.right = KHAZANA_RIGHT_READ;
	munit_make(u);
	if (!u->request)
		u->request_flags = u->request_serial = 0;
	if (munit_step(u, &fault) == -EINPROGRESS && u->page.state == KHAZANA_STATE_FETCHING)
		munit_frame(u, 0);
}

void munit_commit(struct munit *u, struct khazana_cmd *cmd)
{
	struct module *m = u->region->module;
	struct kz_page_event ev = {
		.type = KZ_EV_COMMIT,
		.right = cmd->right,
		.flags = cmd->flags,
		.token = cmd->token,
		.version = cmd->version,
		.version_held = cmd->version_held,
		.wrong_frame = u->frame != (int)cmd->frame,
	};
	uint32_t before = u->page.right;

	munit_make(u);
	if (cmd->flags & KHAZANA_CMDF_DATA) {
		cmd->result = cmd->length != (uint64_t)frame_pages(u) << 12 ? -EINVAL :
			      !room(u)					    ? -ENOMEM :
									      0;
		if (cmd->result) {
			prune(u);
			return;
		}
		u->data = (const void *)(uintptr_t)cmd->data;
	}
	if (!module_lease_valid(u->region)) {
		u->data = NULL;
		cmd->result = -ESTALE;
		prune(u);
		return;
	}
	if ((cmd->flags & KHAZANA_CMDF_ZERO) && u->frame < 0 && cmd->token >= u->page.floor)
		munit_frame(u, 0);
	cmd->result = munit_step(u, &ev);
	u->data = NULL;
	prune(u);
	if (cmd->result == -ESTALE)
		m->sim->stats.stale_refused++;
	if (cmd->result)
		return;
	u->mark = cmd->flags & KHAZANA_CMDF_MARK;
	m->sim->stats.prefetched += !cmd->request;
	m->sim->stats.upgrades += before == KHAZANA_RIGHT_READ && cmd->right == KHAZANA_RIGHT_WRITE;
	u->resident_until = m->sim->now + rng_range(&m->sim->rng, 30 * US,
						    u->region->residency_us ?
							    u->region->residency_us * US + 31 * US :
							    200 * US);
}

static int revoke_now(struct munit *u, const struct kz_page_event *ev)
{
	bool write = u->page.right == KHAZANA_RIGHT_WRITE;
	int ret = munit_step(u, ev);

	if (ret == -ESTALE)
		u->region->module->sim->stats.stale_refused++;
	if (!ret && write && ev->right == KHAZANA_RIGHT_READ)
		u->region->module->sim->stats.downgrades++;
	if (!ret && (ev->flags & KHAZANA_CMDF_LOCK_OK))
		muser_locks_lapse(u);
	if (!ret && u->page.state == KHAZANA_STATE_REVOKING)
		ret = -EINPROGRESS;
	return ret;
}

static void residency_over(struct sim *sim, uint64_t host, uint64_t where)
{
	struct module *m = sim->hosts[host]->module;
	struct munit *u;
	int ret;

	if (!m || !m->regions[where >> 16].used)
		return;
	u = &m->regions[where >> 16].units[where & 0xffff];
	if (!u->delayed)
		return;
	if (u->resident_until > sim->now) {
		/* A later COMMIT than what the REVOKE is about began it anew. */
		sim_at(sim, u->resident_until, residency_over, host, where);
		return;
	}
	u->delayed = false;
	ret = revoke_now(u, &u->revoke);
	if (ret != -EINPROGRESS)
		end_revokes(u, ret == -EALREADY ? 0 : ret);
}

static void raise_floor(struct munit *u, uint64_t token)
{
	munit_step(u, &(struct kz_page_event){ .type = KZ_EV_EPOCH, .token = token });
}

/* A second REVOKE while the first one waits: the later token, the smaller rest. */
static int merge(struct munit *u, const struct kz_page_event *ev)
{
	if (ev->token < u->page.floor)
		return -ESTALE;
	u->revoke.token = ev->token;
	u->revoke.flags |= ev->flags;
	if (u->revoke.right > ev->right)
		u->revoke.right = ev->right;
	raise_floor(u, ev->token);
	return -EINPROGRESS;
}

static bool is_resident(const struct munit *u, const struct kz_page_event *ev)
{
	return u->page.right > ev->right && u->resident_until > u->region->module->sim->now &&
	       ev->token >= u->page.token && ev->token >= u->page.floor &&
	       !(u->page.flags & KHAZANA_UNIT_LOCKED) && !(ev->flags & KHAZANA_CMDF_LOCK_OK);
}

/* One unit of a REVOKE: 0, -EINPROGRESS, or another negative errno. */
int munit_revoke(struct munit *u, struct mrevoke *whole)
{
	struct kz_page_event ev = {
		.type = KZ_EV_REVOKE,
		.right = whole->cmd.right,
		.flags = whole->cmd.flags,
		.token = whole->cmd.token,
	};
	struct module *m = u->region->module;
	struct mrevoke_part *part, **at = &u->revokes;
	int ret;

	if (u->delayed) {
		ret = merge(u, &ev);
	} else if (!u->revokes && is_resident(u, &ev)) {
		m->sim->stats.residency_waits++;
		raise_floor(u, ev.token);
		u->delayed = true;
		u->revoke = ev;
		ret = -EINPROGRESS;
		sim_at(m->sim, u->resident_until, residency_over, m->host->index,
		       (uint64_t)(u->region - m->regions) << 16 | u->index);
	} else {
		ret = revoke_now(u, &ev);
	}
	if (ret != -EINPROGRESS)
		return ret;
	part = calloc(1, sizeof(*part));
	if (!part)
		abort();
	part->whole = whole;
	whole->pending++;
	while (*at)
		at = &(*at)->next;
	*at = part;
	return ret;
}
