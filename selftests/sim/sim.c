// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sim.c - the virtual clock and one history from its seed
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "fault.h"
#include "host.h"
#include "net.h"
#include "oracle.h"
#include "proc.h"
#include "sim.h"

#define SETUP_LIMIT	(60 * SEC)
#define EVENTS_MAX	4000000ull	/* of a history: a livelock ends here */

static bool earlier(const struct sim_event *x, const struct sim_event *y)
{
	return x->time != y->time ? x->time < y->time : x->seq < y->seq;
}

/**
 * sim_at() - let @fn happen at @time
 */
void sim_at(struct sim *sim, uint64_t time, sim_fn *fn, uint64_t a, uint64_t b)
{
	struct sim_event ev = { time < sim->now ? sim->now : time, sim->seq++, a, b, fn };
	size_t i = sim->heap_len++;

	if (sim->heap_len > sim->heap_size) {
		sim->heap_size = sim->heap_size ? 2 * sim->heap_size : 256;
		sim->heap = realloc(sim->heap, sim->heap_size * sizeof(*sim->heap));
		if (!sim->heap)
			abort();
	}
	for (; i && earlier(&ev, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = ev;
}

static struct sim_event pop(struct sim *sim)
{
	struct sim_event first = sim->heap[0], last = sim->heap[--sim->heap_len];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < sim->heap_len) {
		if (child + 1 < sim->heap_len && earlier(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (earlier(&last, &sim->heap[child]))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return first;
}

/**
 * sim_hash() - let @data count for the trace hash
 */
void sim_hash(struct sim *sim, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		sim->hash = (sim->hash ^ *p++) * 0x100000001b3ull;
}

/**
 * sim_trace() - a line of the trace, if one is wanted
 */
void sim_trace(struct sim *sim, const char *format, ...)
{
	va_list args;

	if (!sim->cfg.trace)
		return;
	fprintf(sim->cfg.trace, "%12.6f  ", sim->now / 1e9);
	va_start(args, format);
	vfprintf(sim->cfg.trace, format, args);
	va_end(args);
	fputc('\n', sim->cfg.trace);
}

/**
 * sim_violation() - something that must not be; the first one is kept
 */
void sim_violation(struct sim *sim, const char *format, ...)
{
	va_list args;

	if (sim->failed)
		return;
	sim->failed = true;
	va_start(args, format);
	vsnprintf(sim->why, sizeof(sim->why), format, args);
	va_end(args);
	sim_trace(sim, "VIOLATION: %s", sim->why);
}

static void step(struct sim *sim)
{
	struct sim_event ev = pop(sim);

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
	proc_start(sim);
	if (!run_until(sim, ops_done, sim->now + 600 * SEC))
		sim_violation(sim, "only %u of %u operations began in 600 s", sim->ops_started,
			      sim->cfg.ops);
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
