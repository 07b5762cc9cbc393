// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * host.c - one machine: a clock, a khd (lib/core) with its disk, a module, processes
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "client.h"
#include "host.h"
#include "module.h"
#include "net.h"
#include "oracle.h"
#include "proc.h"
#include "store.h"

#define OP_RETRY (50 * MS)

uint64_t host_clock(const struct host *h)
{
	unsigned __int128 gone = h->sim->now - h->born;

	return h->clock0 + (uint64_t)(gone * (1000000 + h->rate_ppm) / 1000000);
}

uint64_t host_true_time(const struct host *h, uint64_t local)
{
	unsigned __int128 gone = local > h->clock0 ? local - h->clock0 : 0;
	uint64_t rate = 1000000 + h->rate_ppm;

	return h->born + (uint64_t)((gone * 1000000 + rate - 1) / rate);
}

/* ------------------------------------------------- what the daemon may do */

/* One effect of a step; false if the daemon died before it. */
static bool effect(struct host *h)
{
	if (h->fuse && !--h->fuse)
		h->dying = true;
	return !h->dying;
}

static void on_send(void *host, kh_node_id peer, const void *head, size_t head_len,
		    const void *data, size_t data_len)
{
	struct host *h = host;

	if (!effect(h))
		return;
	if (!peer || peer > h->sim->cfg.nodes || peer == h->index + 1) {
		sim_violation(h->sim, "node %u sends to node %u", h->index + 1, peer);
		return;
	}
	net_send(h->sim, h->index, peer - 1, head, head_len, data, data_len);
}

static void on_command(void *host, struct khazana_cmd *cmds, unsigned int n)
{
	struct host *h = host;
	unsigned int i;

	if (effect(h)) {
		module_command(h->module, cmds, n);
		return;
	}
	for (i = 0; i < n; i++)
		cmds[i].result = -ENODEV;
}

static void *on_frame(void *host, uint32_t frame, size_t len)
{
	struct host *h = host;

	module_frame_read(h->module, frame);
	return module_frame(h->module, frame, len);
}

static void op_retry(struct sim *sim, uint64_t region, uint64_t code);

static void setup_reply(struct host *h, const struct host_op *op, const struct kh_op_result *result)
{
	struct sim *sim = h->sim;
	struct sim_region *r = &sim->regions[op->region];

	if (op->code == KH_OP_RESERVE && !result->error) {
		r->addr = result->addr;
		op_retry(sim, op->region, KH_OP_ALLOCATE);
	} else if (op->code == KH_OP_ALLOCATE && !result->error) {
		unsigned int lo = r->allocated;

		r->allocated = lo ? r->units : r->split;
		/* A store that refused it before may have it all the same. */
		oracle_allocated(sim, op->region, lo, r->allocated - lo,
				 h->store || sim->hosts[r->home]->store);
		r->ready = r->allocated == r->units;
		if (!r->ready)
			op_retry(sim, op->region, KH_OP_ALLOCATE);
	} else if (!r->ready) {
		sim_trace(sim, "setup of region %u: op %u ended with error %d", op->region,
			  op->code, result->error);
		sim_in(sim, OP_RETRY, op_retry, op->region, op->code);
	}
}

static void on_reply(void *host, uint64_t op_id, const struct kh_op_result *result)
{
	struct host *h = host;
	struct host_op *op = NULL, copy;
	unsigned int i;

	for (i = 0; i < HOST_OPS_MAX; i++)
		if (h->ops[i].id == op_id)
			op = &h->ops[i];
	if (!op || !op_id) {
		sim_violation(h->sim, "node %u: a second reply, or one to nothing", h->index + 1);
		return;
	}
	copy = *op;
	op->id = 0;
	if (copy.region == SIM_REGIONS) { /* the simulator's own question */
		for (i = 0; i < result->counter_count; i++)
			if (!strcmp(result->counters[i].name, "records_pruned"))
				h->sim->stats.pruned += result->counters[i].value;
		h->page_valid = !result->error && result->page;
		if (h->page_valid)
			h->page = *result->page;
		return;
	}
	sim_hash(h->sim, &result->error, sizeof(result->error));
	if (!h->sim->regions[copy.region].ready)
		setup_reply(h, &copy, result);
	else if (copy.code == KH_OP_FREE || copy.code == KH_OP_ALLOCATE ||
		 copy.code == KH_OP_SETATTR)
		client_reply(h, &copy, result->error);
}

static struct blob **find_blob(struct host *h, const char *key)
{
	struct blob **at = &h->disk;

	while (*at && strcmp((*at)->key, key))
		at = &(*at)->next;
	return at;
}

static int on_persist(void *host, const char *key, const void *bytes, size_t len)
{
	struct host *h = host;
	struct blob **at, *blob;

	if (!effect(h))
		return -EIO;
	at = find_blob(h, key);
	blob = *at;
	if (blob) {
		*at = blob->next;
		free(blob->key);
		free(blob);
	}
	if (!bytes)
		return 0;
	blob = calloc(1, sizeof(*blob) + len);
	if (!blob)
		abort();
	blob->key = strdup(key);
	blob->len = len;
	memcpy(blob->bytes, bytes, len);
	for (at = &h->disk; *at; at = &(*at)->next)
		;
	*at = blob;
	return 0;
}

static void on_random(void *host, void *buf, size_t len)
{
	struct host *h = host;
	unsigned char *p = buf;

	while (len--)
		*p++ = rng_next(&h->sim->rng);
}

static void on_event(void *host, const char *name, const char *text)
{
	struct host *h = host;

	sim_hash(h->sim, name, strlen(name));
	sim_trace(h->sim, "node %u: event %s: %s", h->index + 1, name, text);
}

static void on_store(void *host, const struct kh_store_cmd *cmd)
{
	struct host *h = host;

	if (effect(h))
		store_command(h, cmd);
}

static const struct kh_host_ops host_ops = {
	.send = on_send,
	.command = on_command,
	.frame = on_frame,
	.reply = on_reply,
	.persist = on_persist,
	.random = on_random,
	.event = on_event,
	.store = on_store,
};

/* --------------------------------------------------- events of the daemon */

static void tick(struct sim *sim, uint64_t host, uint64_t generation);

/**
 * host_leave() - after every step: did the daemon die in it?  When does it want to be called?
 */
void host_leave(struct host *h)
{
	const char *broken;
	uint64_t deadline, at;

	if (h->dying) {
		sim_trace(h->sim, "node %u: khd died in the middle of a step", h->index + 1);
		host_crash(h);
		return;
	}
	broken = kh_node_check(h->node);
	if (broken)
		sim_violation(h->sim, "node %u: kh_node_check(): %s", h->index + 1, broken);
	deadline = kh_node_deadline(h->node);
	if (deadline == UINT64_MAX)
		return;
	at = host_true_time(h, deadline);
	if (at < h->sim->now)
		at = h->sim->now;
	if (h->tick_at && h->tick_at <= at)
		return;
	h->tick_at = at;
	sim_at(h->sim, at, tick, h->index, h->generation);
}

static void tick(struct sim *sim, uint64_t host, uint64_t generation)
{
	struct host *h = sim->hosts[host];

	if (h->generation != generation || sim->now < h->tick_at || !h->tick_at)
		return;
	h->tick_at = 0;
	if (!host_running(h))
		return;
	kh_node_tick(h->node, host_clock(h));
	host_leave(h);
}

int host_feed(struct host *h, unsigned int from, const void *bytes, size_t len)
{
	int ret = kh_node_message(h->node, from + 1, bytes, len, host_clock(h));

	host_leave(h);
	return ret;
}

/* What was given to host_feed() goes. */
void host_received(struct host *h)
{
	kh_node_received(h->node);
	host_leave(h);
}

void host_message(struct host *h, unsigned int from, const void *bytes, size_t len)
{
	struct sim *sim = h->sim;

	sim_hash(sim, bytes, len < 256 ? len : 256);
	sim_trace(sim, "%u -> %u %s", from + 1, h->index + 1, net_describe(sim, bytes, len));
	if (host_feed(h, from, bytes, len))
		sim_violation(sim, "node %u: a message of node %u is refused as malformed: %s",
			      h->index + 1, from + 1, net_describe(sim, bytes, len));
}

void host_hello(struct host *h, void *bytes)
{
	kh_wire_hello_make(bytes, &h->config);
}

bool host_peer_up(struct host *h, unsigned int peer, const void *hello, size_t len)
{
	struct kh_wire_hello said;
	int ret = kh_wire_hello_check(hello, len, &h->config, &said);

	if (ret <= 0 || said.node != peer + 1) {
		sim_violation(h->sim, "node %u: HELLO of node %u is refused: %d", h->index + 1,
			      peer + 1, ret);
		return false;
	}
	sim_trace(h->sim, "node %u: up to %u, incarnation %llu", h->index + 1, peer + 1,
		  (unsigned long long)said.incarnation);
	kh_node_peer_up(h->node, peer + 1, said.incarnation, said.boot, host_clock(h));
	host_leave(h);
	return host_running(h);
}

void host_peer_down(struct host *h, unsigned int peer)
{
	sim_trace(h->sim, "node %u: down to %u", h->index + 1, peer + 1);
	kh_node_peer_down(h->node, peer + 1, host_clock(h));
	host_leave(h);
}

void host_pause(struct host *h)
{
	h->paused = true;
	sim_trace(h->sim, "node %u: khd is stopped", h->index + 1);
}

void host_resume(struct host *h)
{
	if (!h->paused)
		return;
	h->paused = false;
	sim_trace(h->sim, "node %u: khd goes on", h->index + 1);
	if (!h->node)
		return;
	net_node_ready(h->sim, h->index);
	host_fetch_again(h);
	host_leave(h);
}

/* Is it in the midst of an ALLOCATE or a FREE, as their coordinator or as their store? */
static void count_moves(struct host *h)
{
	struct sim *sim = h->sim;
	unsigned int i;

	if (!h->on_death)
		return; /* the end of the history */
	sim->stats.home_died_taking += kh_node_moves(h->node, 0, true) != 0;
	sim->stats.home_died_giving += kh_node_moves(h->node, 0, false) != 0;
	for (i = 0; i < sim->cfg.nodes; i++) {
		const struct kh_node *home = i == h->index ? NULL : sim->hosts[i]->node;

		if (!home)
			continue;
		sim->stats.place_died_taking += kh_node_moves(home, h->index + 1, true) != 0;
		sim->stats.place_died_giving += kh_node_moves(home, h->index + 1, false) != 0;
	}
}

/* SIGKILL. */
void host_crash(struct host *h)
{
	if (!h->node)
		return;
	sim_trace(h->sim, "node %u: khd dies", h->index + 1);
	count_moves(h);
	kh_node_destroy(h->node);
	h->node = NULL;
	store_crash(h);
	host_forget_fetched(h);
	h->paused = h->dying = h->fetch_queued = false;
	h->fuse = 0;
	h->tick_at = 0;
	h->generation++;
	memset(h->ops, 0, sizeof(h->ops));
	net_node_down(h->sim, h->index);
	if (h->module)
		module_unregister(h->module);
	if (h->on_death)
		h->on_death(h);
}

static void start_node(struct host *h)
{
	struct sim *sim = h->sim;
	kh_node_id peers[SIM_NODES_MAX];
	struct blob *blob;
	unsigned int i, n = 0;

	for (i = 0; i < sim->cfg.nodes; i++)
		if (i != h->index)
			peers[n++] = i + 1;
	h->config = (struct kh_node_config){
		.id = h->index + 1,
		.cluster = "sim",
		.incarnation = ++h->incarnation,
		.boot = h->boot,
		.peers = peers,
		.peer_count = n,
		.lease_ms = sim->regions[0].lease_ms,
		.drift_ppm = 10000,
		.zap_budget_ms = 20,
		.frames_max = MODULE_FRAMES,
		.plant = sim->cfg.plant,
		.store = h->store != NULL,
		.flush_ms = h->flush_ms,
		.units_kept = 1 + h->flush_ms % 3, /* regions are small */
	};
	h->node = kh_node_create(&h->config, &host_ops, h, host_clock(h));
	memcpy(h->peers, peers, sizeof(peers));
	h->config.peers = h->peers;
	if (!h->node) {
		sim_violation(sim, "node %u: kh_node_create() failed", h->index + 1);
		return;
	}
	for (blob = h->disk; blob; blob = blob->next)
		if (kh_node_restore(h->node, blob->key, blob->bytes, blob->len))
			sim_violation(sim, "node %u: its own blob %s is refused", h->index + 1,
				      blob->key);
}

void host_start(struct host *h)
{
	if (h->node || !h->machine_up)
		return;
	sim_trace(h->sim, "node %u: khd starts", h->index + 1);
	h->generation++;
	start_node(h);
	if (!h->node)
		return;
	module_register(h->module);
	kh_node_start(h->node, host_clock(h));
	host_kick(h);
	host_leave(h);
}

void host_machine_down(struct host *h)
{
	if (!h->machine_up)
		return;
	sim_trace(h->sim, "node %u: the machine dies", h->index + 1);
	oracle_node_failed(h, SIM_REGIONS);
	memset(h->sim->touched, 0xff, sizeof(h->sim->touched));
	host_crash(h);
	proc_machine_down(h);
	module_destroy(h->module);
	h->module = NULL;
	h->machine_up = false;
}

void host_machine_up(struct host *h)
{
	if (h->machine_up)
		return;
	h->machine_up = true;
	h->boot = rng_next(&h->sim->rng) | 1;
	h->born = h->sim->now;
	h->clock0 = rng_range(&h->sim->rng, SEC, 100 * SEC);
	h->rate_ppm = 0;
	if (h->sim->cfg.faults & SIM_FAULT_DRIFT)
		h->rate_ppm = (int64_t)rng_below(&h->sim->rng, 9801) - 4900;
	h->module = module_create(h);
	host_start(h);
}

/* ------------------------------------------------------ client operations */

static struct host_op *new_op(struct host *h, uint32_t code, unsigned int region)
{
	unsigned int i;

	for (i = 0; i < HOST_OPS_MAX; i++) {
		if (h->ops[i].id)
			continue;
		h->ops[i] = (struct host_op){
			.id = ++h->next_op, .code = code, .region = region, .since = h->sim->now
		};
		return &h->ops[i];
	}
	return NULL;
}

bool host_op(struct host *h, const struct kh_op *op, unsigned int region)
{
	struct host_op *slot;

	if (!host_running(h))
		return false;
	slot = new_op(h, op->code, region);
	if (!slot)
		return false;
	slot->attr_mask = op->attr_mask;
	kh_node_op(h->node, slot->id, op, host_clock(h));
	host_leave(h);
	return true;
}

const struct kh_page_info *host_page(struct sim *sim, unsigned int region, unsigned int unit)
{
	const struct sim_region *r = &sim->regions[region];
	struct host *h = sim->hosts[r->home];
	struct kh_op op = { .code = KH_OP_PAGE_SHOW, .addr = r->addr };
	struct host_op *slot;

	if (!host_running(h) || !(slot = new_op(h, op.code, SIM_REGIONS)))
		return NULL;
	op.addr.lo += (uint64_t)unit << r->unit_shift;
	h->page_valid = false;
	kh_node_op(h->node, slot->id, &op, host_clock(h));
	return h->page_valid ? &h->page : NULL;
}

static void op_retry(struct sim *sim, uint64_t region, uint64_t code)
{
	struct sim_region *r = &sim->regions[region];
	struct kh_op op = {
		.code = code,
		.addr = r->addr,
		.length = (uint64_t)r->units << r->unit_shift,
		.attr = { .protocol = "crew",
			  .unit_shift = r->unit_shift,
			  .lease_ms = r->lease_ms,
			  .wait_ms = r->wait_ms,
			  .min_replicas = 1 },
	};

	struct host *h = sim->hosts[r->home];

	/* Storage is taken near the asker: also at a node that is not the home. */
	if (sim->cfg.stores && code == KH_OP_ALLOCATE)
		h = sim->hosts[rng_below(&sim->rng, sim->cfg.nodes)];
	if (code == KH_OP_ALLOCATE) {
		op.addr.lo += (uint64_t)r->allocated << r->unit_shift;
		op.length = (uint64_t)(r->allocated ? r->units - r->split : r->split)
			    << r->unit_shift;
	}
	memcpy(op.key, r->key, sizeof(op.key));
	if (!host_op(h, &op, region))
		sim_in(sim, OP_RETRY, op_retry, region, code);
}

static void cancel_op(struct sim *sim, uint64_t host, uint64_t id)
{
	struct host *h = sim->hosts[host];
	unsigned int i;

	for (i = 0; i < HOST_OPS_MAX && host_running(h); i++) {
		if (h->ops[i].id != id)
			continue;
		h->ops[i].cancelled = true;
		kh_node_op_cancel(h->node, id, host_clock(h));
		host_leave(h);
		return;
	}
}

/* A client asks something that changes nothing. */
void host_random_op(struct sim *sim)
{
	static const uint32_t codes[] = { KH_OP_GETATTR,   KH_OP_REGION_LIST, KH_OP_PAGE_SHOW,
					  KH_OP_NODE_LIST, KH_OP_STATS,	      KH_OP_NULL,
					  KH_OP_ECHO };
	struct host *h = sim->hosts[rng_below(&sim->rng, sim->cfg.nodes)];
	unsigned int region = rng_below(&sim->rng, SIM_REGIONS);
	const struct sim_region *r = &sim->regions[region];
	struct kh_op op = {
		.code = codes[rng_below(&sim->rng, 7)],
		.flags = rng_chance(&sim->rng, 500) ? KH_OPF_ALL : 0,
		.addr = r->addr,
		.node = rng_range(&sim->rng, 1, sim->cfg.nodes),
		.length = rng_below(&sim->rng, 5000),
		.timeout_ms = rng_range(&sim->rng, 1, 1500),
	};

	if (op.code == KH_OP_PAGE_SHOW)
		op.addr.lo += rng_below(&sim->rng, r->units) << r->unit_shift;
	if (host_op(h, &op, region) && rng_chance(&sim->rng, 100))
		sim_in(sim, rng_below(&sim->rng, MS), cancel_op, h->index, h->next_op);
}

/* ------------------------------------------------------------- all of them */

static void choose_regions(struct sim *sim)
{
	static const uint32_t leases[] = { 150, 300, 300, 600, 1500 };
	unsigned int i, k;

	for (i = 0; i < SIM_REGIONS; i++) {
		struct sim_region *r = &sim->regions[i];

		r->home = rng_below(&sim->rng, sim->cfg.nodes);
		r->unit_shift = i ? 16 : 12;
		r->units = i ? 2 : rng_range(&sim->rng, 1, SIM_UNITS_MAX);
		r->lease_ms = leases[rng_below(&sim->rng, 5)];
		r->wait_ms = rng_chance(&sim->rng, 150) ? 1500 : 30000;
		for (k = 0; k < sizeof(r->key); k++)
			r->key[k] = rng_next(&sim->rng);
		r->split = sim->cfg.stores ? rng_range(&sim->rng, 1, r->units) : r->units;
	}
}

void host_setup_region(struct sim *sim, unsigned int region)
{
	op_retry(sim, region, KH_OP_RESERVE);
}

static void setup_begin(struct sim *sim, uint64_t a, uint64_t b)
{
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++)
		host_setup_region(sim, i);
}

void host_create_all(struct sim *sim)
{
	unsigned int i;

	choose_regions(sim);
	for (i = 0; i < sim->cfg.nodes; i++) {
		struct host *h = calloc(1, sizeof(*h));

		if (!h)
			abort();
		h->sim = sim;
		h->index = i;
		sim->hosts[i] = h;
		if (!sim->cfg.stores)
			continue;
		h->flush_ms = rng_range(&sim->rng, 20, 2000);
		if (!i || rng_chance(&sim->rng, 700))
			store_create(h);
	}
	for (i = 0; i < sim->cfg.nodes; i++)
		host_machine_up(sim->hosts[i]);
	sim_in(sim, 50 * MS, setup_begin, 0, 0);
}

/* What only the node itself counts. */
static void count_own(struct host *h)
{
	const struct kh_op op = { .code = KH_OP_STATS };
	struct host_op *slot;

	if (host_running(h) && (slot = new_op(h, op.code, SIM_REGIONS)))
		kh_node_op(h->node, slot->id, &op, host_clock(h));
}

void host_destroy(struct host *h)
{
	struct blob *blob;
	unsigned int i;

	count_own(h);
	h->on_death = NULL;
	host_crash(h);
	if (h->module)
		module_destroy(h->module);
	for (i = 0; i < SIM_PROCS; i++)
		free(h->procs[i]);
	store_destroy(h);
	while ((blob = h->disk)) {
		h->disk = blob->next;
		free(blob->key);
		free(blob);
	}
	free(h);
}

void host_destroy_all(struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++)
		host_destroy(sim->hosts[i]);
}

bool host_setup_done(struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++)
		if (!sim->regions[i].ready)
			return false;
	return true;
}

const char *host_setup_state(struct sim *sim)
{
	return sim->regions[0].ready ? "the second region is missing" :
				       "the first region is missing";
}
