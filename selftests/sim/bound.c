// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bound.c - what nobody asks for is durable in time
 */
#include "bound.h"
#include "host.h"
#include "lib/core/core.h"
#include "module.h"
#include "net.h"
#include "oracle.h"

#define LOOK_EVERY (5 * MS)
#define SLACK (600 * MS) /* several messages, each late, and several commands of a slow disk */
#define LOST \
	(2100 * MS) /* KH_STORE_WAIT and KH_STORE_AGAIN: what a connection lost is tried again */

static uint64_t latest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Since when have both been up, and nothing between them been wrong?  KH_NEVER: it is now. */
static void look_at_pair(struct sim *sim, unsigned int a, unsigned int b)
{
	struct sim_bound_pair *p = &sim->bound.pairs[a][b];
	bool well = host_running(sim->hosts[a]) && host_running(sim->hosts[b]);
	uint64_t life = sim->hosts[a]->generation + sim->hosts[b]->generation;

	if (a != b) {
		well = well && net_connected(sim, a, b) && !net_hampered(sim, a, b) &&
		       !net_hampered(sim, b, a);
		life += net_generation(sim, a, b);
	}
	if (!p->life) /* the beginning */
		p->since = sim->now;
	else if (!well)
		p->since = UINT64_MAX;
	else if (p->since == UINT64_MAX || p->life != life)
		p->since = sim->now + LOST;
	p->life = life;
}

/* A home that began again knows what there is when all were well together for a while. */
static void look_at_homes(struct sim *sim)
{
	unsigned int i, a, b;
	uint64_t all = 0;

	sim->bound.trouble = false;
	for (a = 0; a < sim->cfg.nodes; a++)
		for (b = a; b < sim->cfg.nodes; b++) {
			look_at_pair(sim, a, b);
			all = latest(all, sim->bound.pairs[a][b].since);
		}
	sim->bound.trouble = all == UINT64_MAX;
	for (i = 0; i < sim->cfg.nodes; i++) {
		struct sim_bound_home *h = &sim->bound.homes[i];

		if (!h->life)
			h->settled = sim->now;
		else if (h->life != sim->hosts[i]->generation)
			h->settled = UINT64_MAX;
		h->life = sim->hosts[i]->generation;
		if (h->settled == UINT64_MAX && all != UINT64_MAX &&
		    sim->now > all + 3 * sim_longest_lease(sim) + 100 * MS)
			h->settled = sim->now;
	}
}

static struct munit *unit_on(struct sim *sim, unsigned int host, unsigned int region,
			     unsigned int unit)
{
	struct module *m = sim->hosts[host]->module;
	struct mregion *r = m ? module_region_of(m, region) : NULL;

	return r ? &r->units[unit] : NULL;
}

void bound_sent(struct sim *sim, unsigned int to, const void *head)
{
	const struct kh_wire_head *h = head;
	const struct kh_wire_flush *flush = (const void *)(h + 1);
	const struct kh_wire_stored *stored = (const void *)(h + 1);
	unsigned int region = 0, i;

	while (region < SIM_REGIONS && (sim->regions[region].addr.hi != h->region_hi ||
					sim->regions[region].addr.lo != h->region_lo))
		region++;
	if (region == SIM_REGIONS || (h->kind != KH_WIRE_FLUSH && h->kind != KH_WIRE_STORED))
		return;
	for (i = 0; i < h->count; i++) {
		bool asks = h->kind == KH_WIRE_FLUSH;
		uint64_t unit = asks ? flush[i].unit : stored[i].unit;
		struct sim_bound_unit *b;

		if (unit >= sim->regions[region].units ||
		    (!asks && stored[i].stage != KH_STAGE_SAFE))
			continue;
		b = &sim->bound.units[region][unit];
		b->asked = asks && (flush[i].flags & KH_FLUSH_BESIDE) ? to + 1 : 0;
		b->asked_until = sim->now + KH_STORE_WAIT;
	}
}

static bool is_concerned(struct sim *sim, unsigned int host, unsigned int region, unsigned int unit,
			 const struct kh_page_info *page)
{
	const struct sim_bound_unit *b = &sim->bound.units[region][unit];
	const struct munit *u = unit_on(sim, host, region, unit);
	unsigned int i;

	if (b->asked == host + 1 && sim->now < b->asked_until)
		return true;
	if (page->busy || page->waiting || page->home == host + 1 || page->place == host + 1 ||
	    page->owner == host + 1 || page->backup == host + 1)
		return true;
	for (i = 0; i < page->reader_count; i++)
		if (page->readers[i] == host + 1)
			return true;
	return u && (u->frame >= 0 || u->handoff >= 0 || u->request || u->waiters);
}

/* Since when is nothing wrong that concerns the unit?  UINT64_MAX: something is. */
static uint64_t undisturbed(struct sim *sim, unsigned int region, unsigned int unit)
{
	const struct sim_bound_home *home = &sim->bound.homes[sim->regions[region].home];
	const struct kh_page_info *page = host_page(sim, region, unit);
	bool concerned[SIM_NODES_MAX];
	uint64_t since = home->settled;
	unsigned int a, b;

	if (!page || !page->place || !page->owner ||
	    !oracle_has_head(unit_on(sim, page->owner - 1, region, unit)))
		return UINT64_MAX;
	for (a = 0; a < sim->cfg.nodes; a++)
		concerned[a] = is_concerned(sim, a, region, unit, page);
	for (a = 0; a < sim->cfg.nodes; a++)
		for (b = a; b < sim->cfg.nodes; b++)
			if (concerned[a] && concerned[b])
				since = latest(since, sim->bound.pairs[a][b].since);
	return since;
}

static void look_at_unit(struct sim *sim, unsigned int region, unsigned int unit)
{
	struct sim_bound_unit *u = &sim->bound.units[region][unit];
	const struct host *home = sim->hosts[sim->regions[region].home];
	uint64_t since;

	if (u->head && oracle_is_durable(sim, region, unit, u->head)) {
		sim->stats.async_stored++;
		sim->stats.async_beside += u->trouble;
		u->head = 0;
	}
	if (!u->head) {
		u->head = oracle_head(sim, region, unit);
		u->at = sim->now;
		u->trouble = false;
		if (oracle_is_durable(sim, region, unit, u->head))
			u->head = 0;
		return;
	}
	since = undisturbed(sim, region, unit);
	if (since == UINT64_MAX) {
		u->head = 0;
		return;
	}
	u->trouble |= sim->bound.trouble;
	u->at = latest(since, u->at); /* others may be concerned later */
	if (sim->now > u->at + home->flush_ms * MS + SLACK)
		sim_violation(sim,
			      "I9: unit %u.%u: version %llu is not durable after %llu ms, the "
			      "bound "
			      "is %u ms",
			      region, unit, (unsigned long long)u->head,
			      (unsigned long long)((sim->now - u->at) / MS), home->flush_ms);
}

static void look(struct sim *sim, uint64_t a, uint64_t b)
{
	unsigned int region, unit;

	look_at_homes(sim);
	for (region = 0; region < SIM_REGIONS; region++)
		for (unit = 0; unit < sim->regions[region].units; unit++)
			look_at_unit(sim, region, unit);
	sim_in(sim, LOOK_EVERY, look, 0, 0);
}

void bound_start(struct sim *sim)
{
	if (sim->cfg.stores)
		look(sim, 0, 0);
}

bool bound_over(struct sim *sim)
{
	unsigned int region, unit;

	for (region = 0; sim->cfg.stores && region < SIM_REGIONS; region++)
		for (unit = 0; unit < sim->regions[region].units; unit++)
			if (!oracle_is_durable(sim, region, unit, oracle_head(sim, region, unit)))
				return false;
	return true;
}
