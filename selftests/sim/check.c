// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check.c - what must hold after every event, and at the end
 */
#include <stdio.h>
#include "check.h"
#include "client.h"
#include "host.h"
#include "module.h"
#include "oracle.h"

static bool names(const struct kh_page_info *page, kh_node_id id)
{
	unsigned int i;

	if (page->owner == id || page->backup == id)
		return true;
	for (i = 0; i < page->reader_count; i++)
		if (page->readers[i] == id)
			return true;
	return false;
}

static struct munit *unit_on(struct sim *sim, unsigned int host, unsigned int region,
			     unsigned int unit)
{
	struct module *m = sim->hosts[host]->module;
	struct mregion *r = m ? module_region_of(m, region) : NULL;

	return r ? &r->units[unit] : NULL;
}

/* I4: nobody holds what the home does not know. */
static void check_holders(struct sim *sim, unsigned int region, unsigned int unit)
{
	const struct kh_page_info *page = NULL;
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct munit *u = unit_on(sim, i, region, unit);

		if (!u || !munit_readable(u))
			continue;
		if (!page)
			page = host_page(sim, region, unit);
		if (!page || page->busy)
			return;
		if (!names(page, i + 1))
			sim_violation(sim,
				      "I4: node %u can read unit %u.%u, its home does not know",
				      i + 1, region, unit);
	}
}

/* The units that changed, and one other in turn: a home may forget without a module's doing. */
void check_event(struct sim *sim)
{
	unsigned int region, unit, turn = sim->seq % (SIM_REGIONS * SIM_UNITS_MAX);

	for (region = 0; region < SIM_REGIONS; region++) {
		uint32_t touched = sim->touched[region];

		sim->touched[region] = 0;
		if (turn / SIM_UNITS_MAX == region)
			touched |= 1u << turn % SIM_UNITS_MAX;
		for (unit = 0; unit < sim->regions[region].units; unit++) {
			if (!(touched & 1u << unit) || !sim->regions[region].ready)
				continue;
			oracle_check(sim, region, unit);
			check_holders(sim, region, unit);
		}
	}
}

void check_rot_error(struct sim *sim, unsigned int host, unsigned int region, unsigned int unit)
{
	const struct munit *asker = unit_on(sim, host, region, unit);
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct munit *u = unit_on(sim, i, region, unit);

		if (u && munit_readable(u) && asker && u->since < asker->failed &&
		    oracle_has_head(u))
			sim_violation(sim,
				      "unit %u.%u: EIO, though node %u could read it all the time",
				      region, unit, i + 1);
	}
}

/* Partitions and pauses may have two leases to go; recovery waits for one more. */
uint64_t check_pending_limit(struct sim *sim)
{
	return 6 * sim_longest_lease(sim) + 5 * SEC;
}

uint64_t check_rest_limit(struct sim *sim)
{
	return 4 * sim_longest_lease(sim) + 3 * SEC;
}

static char unrest[160];

static bool module_at_rest(struct sim *sim, unsigned int host, unsigned int region,
			   unsigned int unit, const struct kh_page_info *page)
{
	struct munit *u = unit_on(sim, host, region, unit);

	if (!u)
		return true;
	if (u->page.state != KHAZANA_STATE_STABLE || u->request || u->waiters || u->revokes) {
		snprintf(unrest, sizeof(unrest), "node %u unit %u.%u: state %u, request %llu",
			 host + 1, region, unit, u->page.state, (unsigned long long)u->request);
		return false;
	}
	/* The owner's own may be one: a request for the unit was given up. */
	if (u->handoff >= 0 && page->backup != host + 1 && page->owner != host + 1) {
		snprintf(unrest, sizeof(unrest),
			 "node %u unit %u.%u: HANDOFF frame, the backup is node %u", host + 1,
			 region, unit, page->backup);
		return false;
	}
	if (u->page.right && !names(page, host + 1)) {
		snprintf(unrest, sizeof(unrest),
			 "node %u unit %u.%u: right %u, unknown to its home", host + 1, region,
			 unit, u->page.right);
		return false;
	}
	return true;
}

static bool unit_at_rest(struct sim *sim, unsigned int region, unsigned int unit)
{
	const struct kh_page_info *page = host_page(sim, region, unit);
	unsigned int i;

	if (!page) {
		snprintf(unrest, sizeof(unrest), "unit %u.%u: its home does not answer", region,
			 unit);
		return false;
	}
	if (page->busy || page->waiting) {
		snprintf(unrest, sizeof(unrest), "unit %u.%u: busy at its home, %u waiting", region,
			 unit, page->waiting);
		return false;
	}
	for (i = 0; i < sim->cfg.nodes; i++)
		if (!module_at_rest(sim, i, region, unit, page))
			return false;
	return true;
}

bool check_at_rest(struct sim *sim)
{
	unsigned int region, unit, i, k;

	if (!client_idle(sim)) {
		snprintf(unrest, sizeof(unrest), "a client's FREE or ALLOCATE is not done");
		return false;
	}
	for (i = 0; i < sim->cfg.nodes; i++) {
		struct host *h = sim->hosts[i];

		for (k = 0; k < HOST_OPS_MAX; k++) {
			if (!h->ops[k].id || h->ops[k].cancelled)
				continue;
			snprintf(unrest, sizeof(unrest), "node %u owes a reply to operation %u",
				 i + 1, h->ops[k].code);
			return false;
		}
		if (h->module->queue) {
			snprintf(unrest, sizeof(unrest), "node %u: khd does not fetch requests",
				 i + 1);
			return false;
		}
	}
	for (region = 0; region < SIM_REGIONS; region++)
		for (unit = 0; unit < sim->regions[region].units; unit++)
			if (!unit_at_rest(sim, region, unit))
				return false;
	return true;
}

const char *check_unrest(struct sim *sim)
{
	return unrest;
}

void check_end(struct sim *sim)
{
	const struct mrevoke *whole;
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++)
		for (whole = sim->hosts[i]->module->revokes; whole; whole = whole->next)
			if (whole->pending && !whole->silent)
				sim_violation(sim, "node %u: a REVOKE never ended", i + 1);
}
