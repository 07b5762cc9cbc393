// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fault.c - what goes wrong in a history, and when
 */
#include <string.h>
#include "fault.h"
#include "host.h"
#include "module.h"
#include "net.h"
#include "oracle.h"
#include "proc.h"

static const char *const names[] = {
	"drop", "dup",	"partition", "oneway",	"pause",   "crash", "reboot", "drift",
	"slow", "kill", "refs",	     "reclaim", "overlap", "power", "memory", "refuse",
};

uint32_t fault_parse(const char *list)
{
	uint32_t faults = 0;
	size_t i, len;

	if (!strcmp(list, "all"))
		return SIM_FAULT_ALL;
	if (!strcmp(list, "single"))
		return SIM_FAULT_ALL & ~SIM_FAULT_OVERLAP;
	for (; *list; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strlen(names[i]) == len && !strncmp(names[i], list, len))
				break;
		if (i == sizeof(names) / sizeof(names[0]))
			return 0;
		faults |= 1u << i;
	}
	return faults;
}

uint32_t fault_choose(struct sim *sim)
{
	uint32_t faults = rng_next(&sim->rng);

	/* Now and then everything at once, or a single kind. */
	if (rng_chance(&sim->rng, 150))
		faults = SIM_FAULT_ALL;
	else if (rng_chance(&sim->rng, 150))
		faults = 1u << rng_below(&sim->rng, SIM_FAULT_KINDS);
	return sim->cfg.faults & faults;
}

/* A node fails for @time; it is over when it has recovered from it, too. */
static void in_trouble(struct sim *sim, uint64_t time)
{
	uint64_t until = sim->now + time + 3 * sim_longest_lease(sim) + 100 * MS;

	if (sim->trouble_until < until)
		sim->trouble_until = until;
}

/* Has every node recovered, or need that not be? */
static bool may_fail(const struct sim *sim)
{
	unsigned int i;

	if (sim->cfg.faults & SIM_FAULT_OVERLAP)
		return true;
	for (i = 0; i < sim->cfg.nodes; i++)
		if (sim->hosts[i]->fuse)
			return false;
	return sim->now >= sim->trouble_until;
}

/* Times of trouble: some shorter, some longer than a lease. */
static uint64_t trouble(struct sim *sim)
{
	uint64_t lease = sim->regions[rng_below(&sim->rng, SIM_REGIONS)].lease_ms * MS;

	uint64_t time = rng_range(&sim->rng, lease / 4, lease * 2);

	if (rng_chance(&sim->rng, 500))
		time = rng_range(&sim->rng, MS, 40 * MS);
	in_trouble(sim, time);
	return time;
}

/* Now and then a machine or its khd is gone for longer than others wait to have things stored. */
static uint64_t outage(struct sim *sim)
{
	uint64_t time;

	if (!sim->cfg.stores || !rng_chance(&sim->rng, 150))
		return trouble(sim);
	time = rng_range(&sim->rng, 2 * SEC, 6 * SEC);
	in_trouble(sim, time);
	return time;
}

static void end_stall(struct sim *sim, uint64_t from, uint64_t to)
{
	net_unstall(sim, from, to);
}

static void break_if_stalled(struct sim *sim, uint64_t a, uint64_t b)
{
	if (!sim->faults_over)
		net_break(sim, a, b);
}

static void cut_off(struct sim *sim, unsigned int a, unsigned int b, bool both)
{
	uint64_t time = trouble(sim);

	if (net_stalled(sim, a, b) || net_stalled(sim, b, a))
		return;
	sim->stats.partitions++;
	sim_trace(sim, "nothing passes %u %s %u for %llu ms", a + 1, both ? "<->" : "->", b + 1,
		  (unsigned long long)(time / MS));
	net_stall(sim, a, b);
	sim_in(sim, time, end_stall, a, b);
	if (both) {
		net_stall(sim, b, a);
		sim_in(sim, time, end_stall, b, a);
	}
	/* TCP gives up, or the partition ends first. */
	if (rng_chance(&sim->rng, 600))
		sim_in(sim, rng_below(&sim->rng, time), break_if_stalled, a, b);
}

/* One node from all others, or one link. */
static void partition(struct sim *sim, bool both)
{
	unsigned int a = rng_below(&sim->rng, sim->cfg.nodes), b;

	if (rng_chance(&sim->rng, 400)) {
		for (b = 0; b < sim->cfg.nodes; b++)
			if (b != a)
				cut_off(sim, a, b, both);
		return;
	}
	b = (a + 1 + rng_below(&sim->rng, sim->cfg.nodes - 1)) % sim->cfg.nodes;
	cut_off(sim, a, b, both);
}

static void start_again(struct sim *sim, uint64_t host, uint64_t b)
{
	host_start(sim->hosts[host]);
}

static void on_death(struct host *h)
{
	struct sim *sim = h->sim;

	if (h->machine_up)
		sim_in(sim, sim->faults_over ? MS : outage(sim), start_again, h->index, 0);
}

static void crash(struct sim *sim)
{
	struct host *h = sim->hosts[rng_below(&sim->rng, sim->cfg.nodes)];

	if (!h->node || h->fuse)
		return;
	sim->stats.crashes++;
	in_trouble(sim, 2 * sim_longest_lease(sim));
	if (rng_chance(&sim->rng, 600))
		h->fuse = rng_range(&sim->rng, 1, 12); /* in the middle of a step to come */
	else
		host_crash(h);
}

static void die(struct sim *sim, uint64_t host, uint64_t b)
{
	struct host *h = sim->hosts[host];

	if (!h->node || !h->on_death || h->fuse || sim->faults_over || !may_fail(sim))
		return;
	sim->stats.crashes++;
	in_trouble(sim, 2 * sim_longest_lease(sim));
	host_crash(h);
}

void fault_amid_move(struct sim *sim, unsigned int place, struct khazana_addr region)
{
	unsigned int i, victim = place;

	if (!sim_has(sim, SIM_FAULT_CRASH) || !rng_chance(&sim->rng, 800))
		return;
	for (i = 0; i < SIM_REGIONS; i++)
		if (sim->regions[i].addr.lo == region.lo && rng_chance(&sim->rng, 500))
			victim = sim->regions[i].home;
	sim_in(sim, rng_below(&sim->rng, 600 * US), die, victim, 0);
}

static void boot(struct sim *sim, uint64_t host, uint64_t b)
{
	struct host *h = sim->hosts[host];

	if (h->machine_up)
		return;
	host_machine_up(h);
	proc_machine_up(h);
}

static void reboot(struct sim *sim)
{
	struct host *h = sim->hosts[rng_below(&sim->rng, sim->cfg.nodes)];

	if (!h->machine_up)
		return;
	sim->stats.reboots++;
	host_machine_down(h);
	sim_in(sim, outage(sim) + 20 * MS, boot, h->index, 0);
}

/* The power fails, for everybody. */
static void power_cut(struct sim *sim)
{
	unsigned int i;

	if (!sim->cfg.stores)
		return;
	sim->stats.power_cuts++;
	for (i = 0; i < sim->cfg.nodes; i++) {
		host_machine_down(sim->hosts[i]);
		sim_in(sim, trouble(sim) + 20 * MS, boot, i, 0);
	}
}

static void go_on(struct sim *sim, uint64_t host, uint64_t b)
{
	host_resume(sim->hosts[host]);
}

static void pause_khd(struct sim *sim)
{
	struct host *h = sim->hosts[rng_below(&sim->rng, sim->cfg.nodes)];

	if (!host_running(h))
		return;
	sim->stats.pauses++;
	host_pause(h);
	sim_in(sim, trouble(sim), go_on, h->index, 0);
}

static void reclaim(struct sim *sim)
{
	struct module *m = sim->hosts[rng_below(&sim->rng, sim->cfg.nodes)]->module;
	struct mregion *r = m ? module_region_of(m, rng_below(&sim->rng, SIM_REGIONS)) : NULL;
	unsigned int i;

	for (i = 0; r && i < r->length >> r->unit_shift; i++) {
		if (!kz_page_droppable(&r->units[i].page))
			continue;
		oracle_dropped(&r->units[i]);
		munit_step(&r->units[i], &(struct kz_page_event){ .type = KZ_EV_DROP });
		sim->stats.reclaims++;
	}
	if (!m || !rng_chance(&sim->rng, 300))
		return;
	oracle_pressure(sim);
	module_queue(m, &(struct khazana_request){ .op = KHAZANA_REQ_PRESSURE, .count = 1 });
}

static void memory_back(struct sim *sim, uint64_t host, uint64_t b)
{
	struct module *m = sim->hosts[host]->module;

	if (m)
		m->frames_max = 0;
}

/* Other regions take all but a few frames. */
static void memory(struct sim *sim)
{
	unsigned int host = rng_below(&sim->rng, sim->cfg.nodes);
	struct module *m = sim->hosts[host]->module;

	if (!m || m->frames_max)
		return;
	m->frames_max = m->frames_in_use + 1 + rng_below(&sim->rng, 20);
	sim_in(sim, rng_range(&sim->rng, MS, 150 * MS), memory_back, host, 0);
}

static void drop(struct sim *sim)
{
	unsigned int a = rng_below(&sim->rng, sim->cfg.nodes);

	net_break(sim, a, (a + 1 + rng_below(&sim->rng, sim->cfg.nodes - 1)) % sim->cfg.nodes);
}

static void slow(struct sim *sim)
{
	unsigned int a = rng_below(&sim->rng, sim->cfg.nodes);
	unsigned int b = (a + 1 + rng_below(&sim->rng, sim->cfg.nodes - 1)) % sim->cfg.nodes;

	net_slow(sim, a, b, rng_chance(&sim->rng, 500) ? 1 : rng_range(&sim->rng, 5, 100));
}

static void happen(struct sim *sim, uint64_t kind, uint64_t mean)
{
	static const uint32_t failures = SIM_FAULT_PARTITION | SIM_FAULT_ONEWAY | SIM_FAULT_PAUSE |
					 SIM_FAULT_CRASH | SIM_FAULT_REBOOT | SIM_FAULT_POWER;

	if (sim->faults_over)
		return;
	if ((failures & 1u << kind) && !may_fail(sim)) {
		sim_in(sim, rng_range(&sim->rng, mean / 4, 2 * mean), happen, kind, mean);
		return;
	}
	switch (1u << kind) {
	case SIM_FAULT_DROP:
		drop(sim);
		break;
	case SIM_FAULT_PARTITION:
	case SIM_FAULT_ONEWAY:
		partition(sim, 1u << kind == SIM_FAULT_PARTITION);
		break;
	case SIM_FAULT_PAUSE:
		pause_khd(sim);
		break;
	case SIM_FAULT_CRASH:
		crash(sim);
		break;
	case SIM_FAULT_REBOOT:
		reboot(sim);
		break;
	case SIM_FAULT_POWER:
		power_cut(sim);
		break;
	case SIM_FAULT_SLOW:
		slow(sim);
		break;
	case SIM_FAULT_RECLAIM:
		reclaim(sim);
		break;
	case SIM_FAULT_MEMORY:
		memory(sim);
		break;
	}
	sim_in(sim, rng_range(&sim->rng, mean / 4, 2 * mean), happen, kind, mean);
}

/* Clients ask now and then, in every history. */
static void client(struct sim *sim, uint64_t mean, uint64_t b)
{
	if (sim->faults_over)
		return;
	host_random_op(sim);
	sim_in(sim, rng_range(&sim->rng, mean / 2, 2 * mean), client, mean, 0);
}

void fault_start(struct sim *sim)
{
	static const uint32_t timed = SIM_FAULT_DROP | SIM_FAULT_PARTITION | SIM_FAULT_ONEWAY |
				      SIM_FAULT_PAUSE | SIM_FAULT_CRASH | SIM_FAULT_REBOOT |
				      SIM_FAULT_SLOW | SIM_FAULT_RECLAIM | SIM_FAULT_POWER |
				      SIM_FAULT_MEMORY;
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++)
		sim->hosts[i]->on_death = on_death;
	client(sim, rng_range(&sim->rng, 2 * MS, 60 * MS), 0);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint64_t mean = rng_range(&sim->rng, 20 * MS, 400 * MS);

		if (!(sim->cfg.faults & timed & 1u << i))
			continue;
		if (1u << i == SIM_FAULT_REBOOT || 1u << i == SIM_FAULT_POWER)
			mean *= 4;
		sim_in(sim, rng_below(&sim->rng, mean), happen, i, mean);
	}
}

void fault_stop(struct sim *sim)
{
	unsigned int i, k;

	sim_trace(sim, "the faults stop");
	sim->faults_over = true;
	for (i = 0; i < sim->cfg.nodes; i++) {
		struct host *h = sim->hosts[i];

		h->fuse = 0;
		host_resume(h);
		boot(sim, i, 0);
		host_start(h);
		memory_back(sim, i, 0);
		for (k = 0; k < sim->cfg.nodes; k++)
			net_slow(sim, i, k, 1);
	}
}
