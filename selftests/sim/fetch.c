// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fetch.c - descriptors on their way from a module to its khd
 *
 * What khd has fetched lies in its completion queue until its turn comes: other completions,
 * messages among them, are handled before, and what it asks for may be answered or void by then.
 * Descriptors do not overtake each other.
 */
#include <stdlib.h>
#include "host.h"
#include "module.h"

struct fetched {
	struct fetched *next;
	struct khazana_request req;
};

/* What a khd that is gone has not looked at yet: the module asks the next one. */
void host_forget_fetched(struct host *h)
{
	struct fetched *f;

	while ((f = h->fetched)) {
		h->fetched = f->next;
		free(f);
	}
}

static void deliver(struct sim *sim, uint64_t host, uint64_t generation)
{
	struct host *h = sim->hosts[host];
	struct fetched *f = h->fetched;

	if (h->generation != generation || !f || !host_running(h))
		return;
	h->fetched = f->next;
	sim_trace(sim, "node %u: request %llu op %u unit %d.%llu +%llu want %u flags %x",
		  h->index + 1, (unsigned long long)f->req.id, f->req.op,
		  module_region_number(h->module, f->req.region), (unsigned long long)f->req.unit,
		  (unsigned long long)f->req.count, f->req.want, f->req.flags);
	kh_node_request(h->node, &f->req, host_clock(h));
	free(f);
	host_leave(h);
}

/* Mostly khd has nothing else to do; sometimes a long pass comes first. */
static void deliver_soon(struct host *h)
{
	struct rng *rng = &h->sim->rng;
	uint64_t delay = rng_chance(rng, 100) ? rng_below(rng, 500 * US) : rng_below(rng, 3 * US);

	sim_in(h->sim, delay, deliver, h->index, h->generation);
}

static void fetch(struct sim *sim, uint64_t host, uint64_t generation)
{
	struct host *h = sim->hosts[host];
	struct fetched *f, **at = &h->fetched;

	if (h->generation != generation)
		return;
	h->fetch_queued = false;
	if (!host_running(h))
		return;
	f = calloc(1, sizeof(*f));
	if (!f)
		abort();
	if (!module_fetch(h->module, &f->req)) {
		free(f);
		return;
	}
	while (*at)
		at = &(*at)->next;
	*at = f;
	deliver_soon(h);
}

void host_kick(struct host *h)
{
	if (h->fetch_queued || !host_running(h))
		return;
	h->fetch_queued = true;
	sim_in(h->sim, rng_range(&h->sim->rng, US, 6 * US), fetch, h->index, h->generation);
}

/* khd goes on: what it had fetched comes first. */
void host_fetch_again(struct host *h)
{
	struct fetched *f;

	for (f = h->fetched; f; f = f->next)
		deliver_soon(h);
	h->fetch_queued = false;
	host_kick(h);
}
