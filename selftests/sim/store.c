// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store.c - the page store of a simulated machine, and what processes ask to be durable
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "fault.h"
#include "host.h"
#include "module.h"
#include "oracle.h"
#include "proc.h"
#include "store.h"

struct range {
	struct range *next;
	struct khazana_addr addr;
	uint64_t units, generation;
	uint32_t shift;
};

struct kept {
	struct kept *next;
	struct khazana_addr addr;
	uint64_t generation, version, token;
	bool rotten; /* it cannot be read */
	bool told; /* somebody tried */
	size_t len;
	unsigned char bytes[];
};

/* In the order in which they were asked for. */
struct pending {
	struct pending *next;
	struct kh_store_cmd cmd;
	unsigned char *bytes; /* of a PUT */
	bool left_out; /* of what a crash finds done */
};

struct store {
	struct range *ranges;
	struct kept *kept;
	struct pending *pending;
};

void store_create(struct host *h)
{
	h->store = calloc(1, sizeof(*h->store));
	if (!h->store)
		abort();
}

static void pending_free(struct store *s, struct pending *p)
{
	struct pending **at = &s->pending;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	free(p->bytes);
	free(p);
}

void store_destroy(struct host *h)
{
	struct store *s = h->store;
	struct range *r;
	struct kept *k;

	if (!s)
		return;
	while (s->pending)
		pending_free(s, s->pending);
	while ((r = s->ranges)) {
		s->ranges = r->next;
		free(r);
	}
	while ((k = s->kept)) {
		s->kept = k->next;
		free(k);
	}
	free(s);
	h->store = NULL;
}

static bool in_range(const struct range *r, struct khazana_addr addr)
{
	return addr.hi == r->addr.hi && addr.lo >= r->addr.lo &&
	       addr.lo - r->addr.lo < r->units << r->shift;
}

static const struct range *reserved(const struct store *s, const struct kh_store_cmd *cmd)
{
	const struct range *r;

	for (r = s->ranges; r; r = r->next)
		if (in_range(r, cmd->addr) && r->generation == cmd->generation &&
		    r->shift == cmd->shift)
			return r;
	return NULL;
}

static struct kept *find(const struct store *s, struct khazana_addr addr, uint64_t generation)
{
	struct kept *k;

	for (k = s->kept; k; k = k->next)
		if (k->addr.hi == addr.hi && k->addr.lo == addr.lo && k->generation == generation)
			return k;
	return NULL;
}

static bool overlaps(const struct range *r, const struct kh_store_cmd *cmd)
{
	return r->addr.hi == cmd->addr.hi &&
	       r->addr.lo < cmd->addr.lo + (cmd->units << cmd->shift) &&
	       cmd->addr.lo < r->addr.lo + (r->units << r->shift);
}

static void range_add(struct store *s, uint64_t lo, uint64_t end, const struct range *like)
{
	struct range *r;

	if (lo >= end)
		return;
	r = calloc(1, sizeof(*r));
	if (!r)
		abort();
	*r = *like;
	r->next = s->ranges;
	r->addr.lo = lo;
	r->units = (end - lo) >> r->shift;
	s->ranges = r;
}

static uint32_t reserve(struct store *s, const struct kh_store_cmd *cmd)
{
	const struct range whole = { NULL, cmd->addr, cmd->units, cmd->generation, cmd->shift };
	const struct range *r;

	for (r = s->ranges; r; r = r->next)
		if (overlaps(r, cmd))
			return r->generation == cmd->generation && r->units == cmd->units ? 0 :
											    EEXIST;
	range_add(s, cmd->addr.lo, cmd->addr.lo + (cmd->units << cmd->shift), &whole);
	return 0;
}

/* A part of what was reserved may be released. */
static uint32_t release(struct store *s, const struct kh_store_cmd *cmd)
{
	const struct range part = { NULL, cmd->addr, cmd->units, cmd->generation, cmd->shift };
	uint64_t end = cmd->addr.lo + (cmd->units << cmd->shift);
	struct range **at, *r;
	struct kept **k, *old;

	for (at = &s->ranges; (r = *at) && !(r->generation == cmd->generation && overlaps(r, cmd));)
		at = &r->next;
	if (r) {
		*at = r->next;
		range_add(s, r->addr.lo, cmd->addr.lo, r);
		range_add(s, end, r->addr.lo + (r->units << r->shift), r);
		free(r);
	}
	for (k = &s->kept; (old = *k);) {
		if (old->generation == cmd->generation && in_range(&part, old->addr)) {
			*k = old->next;
			free(old);
		} else {
			k = &old->next;
		}
	}
	return 0;
}

static uint32_t put(struct sim *sim, struct store *s, const struct pending *p)
{
	const struct kh_store_cmd *cmd = &p->cmd;
	struct kept *k = find(s, cmd->addr, cmd->generation);
	size_t len = (size_t)1 << cmd->shift;

	if (!reserved(s, cmd))
		return ENXIO;
	if (k && k->version > cmd->version)
		return ESTALE;
	if (!k) {
		k = calloc(1, sizeof(*k) + len);
		if (!k)
			abort();
		k->next = s->kept;
		s->kept = k;
	}
	sim->stats.rot_repaired += k->told && k->version == cmd->version;
	k->rotten = k->told = false;
	k->addr = cmd->addr;
	k->generation = cmd->generation;
	k->version = cmd->version;
	k->token = cmd->token;
	k->len = len;
	memcpy(k->bytes, p->bytes, len);
	return 0;
}

/* Do it, durably. */
static void apply(struct sim *sim, struct store *s, const struct pending *p,
		  struct kh_store_result *result)
{
	struct kept *k;

	*result = (struct kh_store_result){ 0 };
	switch (p->cmd.code) {
	case KH_STORE_RESERVE:
		result->error = reserve(s, &p->cmd);
		break;
	case KH_STORE_RELEASE:
		result->error = release(s, &p->cmd);
		break;
	case KH_STORE_PUT:
		result->error = put(sim, s, p);
		break;
	case KH_STORE_GET:
	case KH_STORE_LOOK:
		if (!reserved(s, &p->cmd)) {
			result->error = ENXIO;
			break;
		}
		k = find(s, p->cmd.addr, p->cmd.generation);
		if (k && k->rotten && p->cmd.code == KH_STORE_GET) {
			sim->stats.rot_found += !k->told;
			k->told = true;
			result->error = EBADMSG;
		} else if (k) {
			result->version = k->version;
			result->token = k->token;
			result->data = p->cmd.code == KH_STORE_GET ? k->bytes : NULL;
		}
		break;
	}
}

/* A PUT of the same unit that was asked for before @p and is not done yet, or NULL. */
static const struct pending *earlier(const struct store *s, const struct pending *p)
{
	const struct pending *o;

	if (p->cmd.code != KH_STORE_PUT)
		return NULL;
	for (o = s->pending; o != p; o = o->next)
		if (o->cmd.code == KH_STORE_PUT && o->cmd.generation == p->cmd.generation &&
		    !memcmp(&o->cmd.addr, &p->cmd.addr, sizeof(o->cmd.addr)))
			return o;
	return NULL;
}

static bool is_about_space(const struct kh_store_cmd *cmd)
{
	return cmd->code == KH_STORE_RESERVE || cmd->code == KH_STORE_RELEASE;
}

/* Space that is not there, a disk that does not write it down, or no memory to read. */
static bool refuses(struct sim *sim, const struct pending *p, struct kh_store_result *result)
{
	bool reads = p->cmd.code == KH_STORE_GET || p->cmd.code == KH_STORE_LOOK;

	if ((!is_about_space(&p->cmd) && !reads) || !sim_has(sim, SIM_FAULT_REFUSE) ||
	    !rng_chance(&sim->rng, 150))
		return false;
	if (reads) {
		*result = (struct kh_store_result){ .error = EAGAIN };
		sim->stats.refused_read++;
		return true;
	}
	*result = (struct kh_store_result){ .error = EIO };
	if (p->cmd.code == KH_STORE_RESERVE && rng_chance(&sim->rng, 500))
		result->error = ENOSPC;
	sim->stats.refused_full += result->error == ENOSPC;
	sim->stats.refused_io += result->error == EIO;
	return true;
}

static void end_command(struct sim *sim, uint64_t host, uint64_t id)
{
	struct host *h = sim->hosts[host];
	struct kh_store_result result;
	struct pending *p;

	for (p = h->store->pending; p && p->cmd.id != id; p = p->next)
		;
	if (!p)
		return; /* of a khd that is dead */
	if (h->paused || earlier(h->store, p)) {
		sim_in(sim, h->paused ? MS : 100 * US, end_command, host, id);
		return;
	}
	if (!refuses(sim, p, &result))
		apply(sim, h->store, p, &result);
	else if (rng_chance(&sim->rng, 500) && result.error == EIO)
		apply(sim, h->store, p,
		      &(struct kh_store_result){ 0 }); /* and was done all the same */
	sim_trace(sim,
		  "node %u: store command %llu code %u addr %llx version %llx -> %u, version %llx",
		  h->index + 1, (unsigned long long)id, p->cmd.code,
		  (unsigned long long)p->cmd.addr.lo, (unsigned long long)p->cmd.version,
		  result.error, (unsigned long long)result.version);
	sim_hash(sim, &result.version, sizeof(result.version));
	sim->stats.stored += p->cmd.code == KH_STORE_PUT && !result.error;
	sim->stats.loaded += p->cmd.code == KH_STORE_GET && result.data;
	pending_free(h->store, p);
	kh_node_stored(h->node, id, &result, host_clock(h));
	host_leave(h);
}

void store_command(struct host *h, const struct kh_store_cmd *cmd)
{
	struct pending *p = calloc(1, sizeof(*p)), **at = &h->store->pending;
	struct rng *rng = &h->sim->rng;

	if (!p)
		abort();
	p->cmd = *cmd;
	/* Names of commands are not used twice by one khd, but by the next one. */
	if (cmd->code == KH_STORE_PUT) {
		p->bytes = malloc((size_t)1 << cmd->shift);
		if (!p->bytes)
			abort();
		memcpy(p->bytes, cmd->data, (size_t)1 << cmd->shift);
	}
	while (*at)
		at = &(*at)->next;
	*at = p;
	if (is_about_space(cmd))
		fault_amid_move(h->sim, h->index, cmd->region);
	sim_in(h->sim,
	       rng_chance(rng, 50) ? rng_range(rng, 5 * MS, 60 * MS) :
				     rng_range(rng, 20 * US, 800 * US),
	       end_command, h->index, cmd->id);
}

void store_crash(struct host *h)
{
	struct kh_store_result result;
	struct store *s = h->store;
	const struct pending *before;
	struct pending *p;

	for (p = s ? s->pending : NULL; p; p = p->next) {
		before = earlier(s, p);
		p->left_out = (before && before->left_out) || rng_chance(&h->sim->rng, 500);
		if (!p->left_out)
			apply(h->sim, s, p, &result);
	}
	while (s && s->pending)
		pending_free(s, s->pending);
}

const unsigned char *store_contents(struct host *h, unsigned int region, unsigned int unit)
{
	const struct sim_region *r = &h->sim->regions[region];
	struct khazana_addr addr = r->addr;
	const struct kept *k, *best = NULL;

	addr.lo += (uint64_t)unit << r->unit_shift;
	for (k = h->store ? h->store->kept : NULL; k; k = k->next)
		if (k->addr.hi == addr.hi && k->addr.lo == addr.lo &&
		    (!best || k->generation > best->generation))
			best = k;
	return best ? best->bytes : NULL;
}

/* The newest that some store has of a unit, or NULL. */
static struct kept *newest(struct sim *sim, unsigned int region, unsigned int unit)
{
	const struct sim_region *r = &sim->regions[region];
	struct kept *k, *best = NULL;
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		for (k = sim->hosts[i]->store ? sim->hosts[i]->store->kept : NULL; k; k = k->next)
			if (k->addr.hi == r->addr.hi &&
			    k->addr.lo == r->addr.lo + ((uint64_t)unit << r->unit_shift) &&
			    (!best || k->generation > best->generation))
				best = k;
	}
	return best;
}

static bool is_read(struct sim *sim, unsigned int region, unsigned int unit)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct module *m = sim->hosts[i]->module;
		struct mregion *r = m ? module_region_of(m, region) : NULL;

		if (r && munit_readable(&r->units[unit]))
			return true;
	}
	return false;
}

/* Mostly of what somebody can read: there the data need not be lost. */
static void rot(struct sim *sim, uint64_t mean, uint64_t b)
{
	unsigned int region = rng_below(&sim->rng, SIM_REGIONS);
	unsigned int unit = rng_below(&sim->rng, SIM_UNITS_MAX);
	struct kept *k = newest(sim, region, unit);

	if (sim->faults_over)
		return;
	if (k && !k->rotten && (is_read(sim, region, unit) || rng_chance(&sim->rng, 30))) {
		sim_trace(sim, "unit %u.%u: version %llx cannot be read any more", region, unit,
			  (unsigned long long)k->version);
		k->rotten = true;
		sim->stats.rotted++;
	}
	sim_in(sim, rng_range(&sim->rng, mean / 4, 2 * mean), rot, mean, 0);
}

void store_rot_start(struct sim *sim)
{
	if (sim->cfg.rot)
		rot(sim, rng_range(&sim->rng, 2 * MS, 40 * MS), 0);
}

bool store_rots(struct sim *sim, unsigned int region, unsigned int unit)
{
	const struct kept *k = newest(sim, region, unit);

	return k && k->rotten;
}

bool store_repaired(struct sim *sim)
{
	unsigned int region, unit;

	for (region = 0; region < SIM_REGIONS; region++)
		for (unit = 0; unit < sim->regions[region].units; unit++) {
			const struct kept *k = newest(sim, region, unit);
			const struct kh_page_info *page;

			if (!k || !k->told)
				continue;
			page = host_page(sim, region, unit);
			/* A home that began again since does not know. */
			if (page && page->place && page->version == k->version && !page->stored &&
			    (page->owner || page->reader_count))
				return false;
		}
	return true;
}

bool store_keeps(struct host *h, unsigned int region, unsigned int unit)
{
	const struct sim_region *r = &h->sim->regions[region];
	struct khazana_addr addr = r->addr;
	const struct range *range;

	addr.lo += (uint64_t)unit << r->unit_shift;
	for (range = h->store ? h->store->ranges : NULL; range; range = range->next)
		if (in_range(range, addr))
			return true;
	return false;
}

/* ------------------------------------------------------------------ flushes */

static void queue_flush(struct module *m, struct mflush *f)
{
	const struct khazana_request req = {
		.op = KHAZANA_REQ_FLUSH,
		.region = f->region->handle,
		.unit = f->lo,
		.count = f->n,
		.timeout_ms = 30000,
	};

	f->request = module_queue(m, &req);
}

bool store_flush(struct proc *proc, unsigned int region, unsigned int lo, unsigned int n)
{
	struct module *m = proc->host->module;
	unsigned int i;

	for (i = 0; i < MODULE_FLUSHES; i++) {
		struct mflush *f = &m->flushes[i];

		if (f->used)
			continue;
		*f = (struct mflush){ .used = true,
				      .proc = proc,
				      .life = proc->life,
				      .region = proc->atts[region]->region,
				      .lo = lo,
				      .n = n };
		f->number = oracle_flush_begin(proc->host->sim, region, lo, n);
		queue_flush(m, f);
		return true;
	}
	return false;
}

bool store_flush_end(struct module *m, uint64_t request, int error)
{
	unsigned int i;

	for (i = 0; request && i < MODULE_FLUSHES; i++) {
		struct mflush *f = &m->flushes[i];

		if (!f->used || f->request != request)
			continue;
		f->used = false;
		sim_trace(m->sim, "node %u: flush of units %u..%u ends with %d", m->host->index + 1,
			  f->lo, f->lo + f->n - 1, error);
		if (!error)
			oracle_flush_end(m->sim, f->number);
		m->sim->stats.flushes += !error;
		if (f->proc->life == f->life)
			proc_flushed(f->proc, error);
		return true;
	}
	return false;
}

void store_daemon_gone(struct module *m)
{
	unsigned int i;

	for (i = 0; i < MODULE_FLUSHES; i++)
		if (m->flushes[i].used)
			queue_flush(m, &m->flushes[i]);
}
