// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sim.c - one history from its seed
 */
#include <stdlib.h>
#include <string.h>
#include "bound.h"
#include "check.h"
#include "client.h"
#include "fault.h"
#include "host.h"
#include "net.h"
#include "oracle.h"
#include "proc.h"
#include "sim.h"
#include "store.h"

#define SETUP_LIMIT (60 * SEC)
#define HISTORY_LIMIT (60 * SEC)
#define EVENTS_MAX 4000000ull /* of a history: a livelock ends here */

static void step(struct sim *sim)
{
	struct sim_event ev = sim_next(sim);

	sim->now = ev.time;
	sim_hash(sim, &ev.time, sizeof(ev.time));
	sim_hash(sim, &ev.a, sizeof(ev.a));
	ev.fn(sim, ev.a, ev.b);
	if (!sim->failed)
		check_event(sim);
}

/* Run until @done says so or @limit is reached; false at the limit. */
static bool run_until(struct sim *sim, bool (*done)(struct sim *), uint64_t limit)
{
	while (!sim->failed && !done(sim)) {
		if (!sim->heap_len || sim->heap[0].time > limit)
			return false;
		if (sim->seq > EVENTS_MAX) {
			sim_violation(sim, "no end after %llu events", EVENTS_MAX);
			return false;
		}
		step(sim);
	}
	return true;
}

static bool ops_done(struct sim *sim)
{
	return sim->ops_started >= sim->cfg.ops;
}

static void run_history(struct sim *sim)
{
	if (!run_until(sim, host_setup_done, sim->now + SETUP_LIMIT)) {
		sim_violation(sim, "setup did not end: %s", host_setup_state(sim));
		return;
	}
	fault_start(sim);
	client_start(sim);
	proc_start(sim);
	bound_start(sim);
	store_rot_start(sim);
	/* Faults may leave nobody a chance for long; what is asked for is an end after them. */
	run_until(sim, ops_done, sim->now + HISTORY_LIMIT);
	fault_stop(sim);
	sim->quiesce = true;
	if (!run_until(sim, proc_all_idle, sim->now + check_pending_limit(sim)))
		sim_violation(sim, "not at rest %llu ms after the faults stopped: %s",
			      check_pending_limit(sim) / MS, proc_waiting(sim));
	if (!run_until(sim, check_at_rest, sim->now + check_rest_limit(sim)))
		sim_violation(sim, "not at rest %llu ms after the last operation: %s",
			      check_rest_limit(sim) / MS, check_unrest(sim));
	if (!sim->failed)
		check_end(sim);
	/* In time, or I9 is violated. */
	run_until(sim, bound_over, sim->now + HISTORY_LIMIT);
	if (!run_until(sim, store_repaired, sim->now + check_rest_limit(sim)))
		sim_violation(sim, "what is known to be unreadable is not stored anew in %llu ms",
			      check_rest_limit(sim) / MS);
}

uint64_t sim_longest_lease(const struct sim *sim)
{
	uint64_t ms = 0;
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++)
		if (ms < sim->regions[i].lease_ms)
			ms = sim->regions[i].lease_ms;
	return ms * MS;
}

bool sim_run(const struct sim_config *cfg, struct sim_stats *stats, uint64_t *hash, char *why)
{
	struct sim sim = {
		.cfg = *cfg,
		.rng = { cfg->seed },
		.now = SEC,
		.hash = 0xcbf29ce484222325ull,
	};
	uint64_t *to = (uint64_t *)stats, *from = (uint64_t *)&sim.stats;
	size_t i;

	sim.cfg.faults = fault_choose(&sim);
	net_create(&sim);
	oracle_create(&sim);
	host_create_all(&sim);
	run_history(&sim);
	sim.stats.histories = 1;
	oracle_history(&sim);
	host_destroy_all(&sim);
	oracle_destroy(&sim);
	net_destroy(&sim);
	free(sim.heap);
	for (i = 0; i < sizeof(sim.stats) / sizeof(uint64_t); i++)
		to[i] += from[i];
	*hash = sim.hash;
	if (sim.failed)
		memcpy(why, sim.why, sizeof(sim.why));
	return !sim.failed;
}
