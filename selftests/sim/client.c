// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * client.c - clients that free parts of a region, allocate them again, and change attributes and
 * keys
 *
 * One client a region, always at the same machine: what it asks a second time, because nobody
 * answered, goes behind the first on the same connection.  A FREE is repeated until it is known
 * to be done, then the range is allocated again.  A key is changed again and again, too: a khd that
 * died in between may have changed it, then the old one is refused and the new one is proof.
 */
#include <errno.h>
#include <string.h>
#include "client.h"
#include "host.h"
#include "oracle.h"

static void go(struct sim *sim, uint64_t region, uint64_t turn);

static void go_in(struct sim *sim, unsigned int region, uint64_t delay)
{
	sim_in(sim, delay, go, region, ++sim->clients[region].turn);
}

static struct kh_op operation(const struct sim *sim, unsigned int region, uint32_t code)
{
	const struct sim_region *r = &sim->regions[region];
	const struct sim_client *c = &sim->clients[region];
	struct kh_op op = {
		.code = code,
		.addr = r->addr,
		.length = (uint64_t)c->n << r->unit_shift,
	};

	op.addr.lo += (uint64_t)c->lo << r->unit_shift;
	sim_key(r, r->keys, op.key);
	return op;
}

static void ask(struct sim *sim, unsigned int region, uint32_t code)
{
	struct sim_client *c = &sim->clients[region];
	struct host *h = sim->hosts[c->host];
	struct kh_op op = operation(sim, region, code);

	if (code == KH_OP_SETATTR && c->state == CLIENT_REKEYING) {
		op.addr = sim->regions[region].addr;
		op.attr_mask = KH_ATTR_KEY;
		sim_key(&sim->regions[region], sim->regions[region].keys + 1, op.new_key);
		if (c->has_changed)
			memcpy(op.key, op.new_key, sizeof(op.key));
	} else if (code == KH_OP_SETATTR) {
		op.addr = sim->regions[region].addr;
		op.attr_mask = KH_ATTR_WAIT_MS;
		op.attr.wait_ms = sim->regions[region].wait_ms;
	}
	c->asked = host_op(h, &op, region) ? h->next_op : 0;
	c->life = h->generation;
}

/* Is the answer still to come? */
static bool asked(const struct sim *sim, const struct sim_client *c)
{
	const struct host *h = sim->hosts[c->host];
	unsigned int i;

	for (i = 0; c->asked && h->generation == c->life && i < HOST_OPS_MAX; i++)
		if (h->ops[i].id == c->asked)
			return true;
	return false;
}

static void rekey_begin(struct sim *sim, unsigned int region)
{
	struct sim_client *c = &sim->clients[region];

	c->state = CLIENT_REKEYING;
	c->has_changed = false;
	sim->regions[region].rekeying = true;
	go_in(sim, region, 0);
}

static void begin(struct sim *sim, unsigned int region)
{
	struct sim_client *c = &sim->clients[region];
	unsigned int units = sim->regions[region].units;

	if (sim->faults_over)
		return;
	if (rng_chance(&sim->rng, 250)) {
		rekey_begin(sim, region);
		return;
	}
	if (rng_chance(&sim->rng, 300)) {
		ask(sim, region, KH_OP_SETATTR);
		go_in(sim, region, rng_range(&sim->rng, 10 * MS, c->mean));
		return;
	}
	c->lo = rng_below(&sim->rng, units);
	c->n = rng_range(&sim->rng, 1, units - c->lo);
	c->state = CLIENT_FREEING;
	oracle_free_begin(sim, region, c->lo, c->n);
	go_in(sim, region, 0);
}

static void go(struct sim *sim, uint64_t region, uint64_t turn)
{
	struct sim_client *c = &sim->clients[region];

	if (turn != c->turn)
		return;
	if (c->state == CLIENT_IDLE) {
		begin(sim, region);
		return;
	}
	if (c->state == CLIENT_FREED) {
		c->state = CLIENT_ALLOCATING;
		oracle_alloc_begin(sim, region, c->lo, c->n);
	}
	if (!asked(sim, c))
		ask(sim, region,
		    c->state == CLIENT_REKEYING ? KH_OP_SETATTR :
		    c->state == CLIENT_FREEING	? KH_OP_FREE :
						  KH_OP_ALLOCATE);
	/* The answer may be here already, and have set another turn. */
	if (c->turn == turn)
		go_in(sim, region, 50 * MS);
}

static void rekey_reply(struct sim *sim, unsigned int region, int error)
{
	struct sim_client *c = &sim->clients[region];
	struct sim_region *r = &sim->regions[region];

	if (error) {
		if (error == EKEYREJECTED)
			c->has_changed = !c->has_changed;
		go_in(sim, region, rng_range(&sim->rng, MS, 20 * MS));
		return;
	}
	sim->stats.key_changes++;
	oracle_key_changed(sim, region);
	r->keys++;
	r->rekeying = false;
	c->state = CLIENT_IDLE;
	go_in(sim, region, rng_range(&sim->rng, MS, c->mean));
}

void client_reply(struct host *h, const struct host_op *op, int error)
{
	struct sim *sim = h->sim;
	struct sim_client *c = &sim->clients[op->region];

	if (h->index != c->host)
		return;
	sim_trace(sim, "client of region %u: op %u of units %u..%u: %d", op->region, op->code,
		  c->lo, c->lo + c->n - 1, error);
	if (error == EINVAL || error == ERANGE || error == EACCES)
		sim_violation(sim, "a client's operation %u ended with error %d", op->code, error);
	if (op->attr_mask & KH_ATTR_KEY && c->state == CLIENT_REKEYING) {
		rekey_reply(sim, op->region, error);
	} else if (error) {
		if (op->code != KH_OP_SETATTR)
			go_in(sim, op->region, rng_range(&sim->rng, MS, 20 * MS));
	} else if (op->code == KH_OP_FREE && c->state == CLIENT_FREEING) {
		sim->stats.frees++;
		c->state = CLIENT_FREED;
		oracle_freed(sim, op->region, c->lo, c->n);
		go_in(sim, op->region, rng_range(&sim->rng, US, 20 * MS));
	} else if (op->code == KH_OP_ALLOCATE && c->state == CLIENT_ALLOCATING) {
		c->state = CLIENT_IDLE;
		oracle_allocated(sim, op->region, c->lo, c->n,
				 h->store || sim->hosts[sim->regions[op->region].home]->store);
		go_in(sim, op->region, rng_range(&sim->rng, MS, c->mean));
	}
}

void client_hurry(struct sim *sim, unsigned int region)
{
	struct sim_client *c = &sim->clients[region];

	if (c->state == CLIENT_IDLE && !sim->faults_over && rng_chance(&sim->rng, 100))
		rekey_begin(sim, region);
}

void client_start(struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++) {
		sim->clients[i].host = rng_below(&sim->rng, sim->cfg.nodes);
		sim->clients[i].mean = rng_range(&sim->rng, 20 * MS, 400 * MS);
		if (rng_chance(&sim->rng, 500))
			go_in(sim, i, rng_below(&sim->rng, sim->clients[i].mean));
	}
}

bool client_idle(const struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++)
		if (sim->clients[i].state != CLIENT_IDLE)
			return false;
	return true;
}
