// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * net.c - connections between the daemons of a simulated cluster
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bound.h"
#include "corpus.h"
#include "host.h"
#include "net.h"

enum msg_kind {
	MSG_HELLO, /* first of a connection */
	MSG_DATA,
	MSG_END, /* the connection is over: the receiver hears of it */
};

struct msg {
	struct msg *next;
	enum msg_kind kind;
	uint64_t due, order, generation;
	size_t len;
	unsigned char bytes[];
};

/* One direction. */
struct link {
	struct msg *head, **tail;
	unsigned int count;
	uint64_t last_due;
	uint64_t base_ns;
	uint64_t knows; /* generation of the connection that the *sender* has seen come up */
	unsigned int stalled, slow;
	uint64_t pump_at; /* a pump is queued for then, 0: none */
};

struct pair {
	uint64_t generation;
	bool open, trying;
};

struct net {
	struct link links[SIM_NODES_MAX][SIM_NODES_MAX];
	struct pair pairs[SIM_NODES_MAX][SIM_NODES_MAX]; /* [lower][higher] */
	uint64_t order;
};

static struct pair *pair_of(const struct sim *sim, unsigned int a, unsigned int b)
{
	return a < b ? &sim->net->pairs[a][b] : &sim->net->pairs[b][a];
}

static void pump(struct sim *sim, uint64_t from, uint64_t to);

static void arm(struct sim *sim, unsigned int from, unsigned int to)
{
	struct link *l = &sim->net->links[from][to];
	uint64_t at;

	if (!l->head)
		return;
	at = l->head->due < sim->now ? sim->now : l->head->due;
	if (l->pump_at && l->pump_at <= at)
		return;
	l->pump_at = at;
	sim_at(sim, at, pump, from, to);
}

static void append(struct sim *sim, unsigned int from, unsigned int to, struct msg *m,
		   uint64_t delay)
{
	struct link *l = &sim->net->links[from][to];

	m->next = NULL;
	m->order = sim->net->order++;
	m->due = sim->now + delay;
	if (m->due < l->last_due)
		m->due = l->last_due;
	l->last_due = m->due;
	*l->tail = m;
	l->tail = &m->next;
	l->count++;
	arm(sim, from, to);
}

static struct msg *new_msg(enum msg_kind kind, size_t len)
{
	struct msg *m = calloc(1, sizeof(*m) + len);

	if (!m)
		abort();
	m->kind = kind;
	m->len = len;
	return m;
}

/* Lose all but the first @keep messages of a direction. */
static void cut(struct sim *sim, unsigned int from, unsigned int to, unsigned int keep)
{
	struct link *l = &sim->net->links[from][to];
	struct msg **at = &l->head, *m;

	l->count = l->count < keep ? l->count : keep;
	while (keep-- && *at)
		at = &(*at)->next;
	while ((m = *at)) {
		*at = m->next;
		sim->stats.drops += m->kind == MSG_DATA;
		if (m->kind == MSG_DATA)
			sim_trace(sim, "%u -> %u lost: %s", from + 1, to + 1,
				  net_describe(sim, m->bytes, m->len));
		free(m);
	}
	l->tail = at;
	l->last_due = sim->now;
	for (m = l->head; m; m = m->next)
		l->last_due = m->due;
}

static uint64_t latency(struct sim *sim, const struct link *l, size_t len)
{
	uint64_t ns = l->base_ns + rng_below(&sim->rng, l->base_ns) + len * 2;

	if (rng_chance(&sim->rng, 30))
		ns *= 12;
	return ns * (l->slow ? l->slow : 1);
}

static void try_connect(struct sim *sim, uint64_t a, uint64_t b)
{
	struct pair *p = pair_of(sim, a, b);
	unsigned int ends[2] = { a, b }, i;

	p->trying = false;
	if (p->open)
		return;
	if (!host_running(sim->hosts[a]) || !host_running(sim->hosts[b]) ||
	    sim->net->links[a][b].stalled || sim->net->links[b][a].stalled) {
		p->trying = true;
		sim_in(sim, rng_range(&sim->rng, 2 * MS, 40 * MS), try_connect, a, b);
		return;
	}
	p->open = true;
	p->generation++;
	for (i = 0; i < 2; i++) {
		struct msg *m = new_msg(MSG_HELLO, KH_WIRE_HELLO_LEN);

		m->generation = p->generation;
		host_hello(sim->hosts[ends[i]], m->bytes);
		append(sim, ends[i], ends[!i], m,
		       latency(sim, &sim->net->links[ends[i]][ends[!i]], 64));
	}
}

static void want_connection(struct sim *sim, unsigned int a, unsigned int b)
{
	struct pair *p = pair_of(sim, a, b);

	if (p->open || p->trying)
		return;
	p->trying = true;
	sim_in(sim, rng_range(&sim->rng, MS / 2, 30 * MS), try_connect, a < b ? a : b,
	       a < b ? b : a);
}

void net_create(struct sim *sim)
{
	unsigned int i, j;

	sim->net = calloc(1, sizeof(*sim->net));
	if (!sim->net)
		abort();
	for (i = 0; i < sim->cfg.nodes; i++) {
		for (j = 0; j < sim->cfg.nodes; j++) {
			struct link *l = &sim->net->links[i][j];

			l->tail = &l->head;
			l->base_ns = rng_range(&sim->rng, 20 * US, 150 * US);
			if (i < j)
				want_connection(sim, i, j);
		}
	}
}

void net_destroy(struct sim *sim)
{
	unsigned int i, j;

	for (i = 0; i < sim->cfg.nodes; i++)
		for (j = 0; j < sim->cfg.nodes; j++)
			cut(sim, i, j, 0);
	free(sim->net);
}

void net_send(struct sim *sim, unsigned int from, unsigned int to, const void *head,
	      size_t head_len, const void *data, size_t data_len)
{
	struct link *l = &sim->net->links[from][to];
	struct pair *p = pair_of(sim, from, to);
	struct msg *m;

	sim->stats.messages++;
	bound_sent(sim, to, head);
	if (!p->open || l->knows != p->generation) {
		sim->stats.drops++;
		sim_trace(sim, "%u -> %u lost: %s", from + 1, to + 1,
			  net_describe(sim, head, head_len));
		return;
	}
	m = new_msg(MSG_DATA, head_len + data_len);
	memcpy(m->bytes, head, head_len);
	if (data_len)
		memcpy(m->bytes + head_len, data, data_len);
	append(sim, from, to, m, latency(sim, l, m->len));
}

static void end_direction(struct sim *sim, unsigned int from, unsigned int to)
{
	struct link *l = &sim->net->links[from][to];

	cut(sim, from, to, l->stalled ? 0 : rng_below(&sim->rng, l->count + 1));
	append(sim, from, to, new_msg(MSG_END, 0),
	       rng_below(&sim->rng, rng_chance(&sim->rng, 100) ? 300 * MS : 5 * MS));
}

void net_break(struct sim *sim, unsigned int a, unsigned int b)
{
	struct pair *p = pair_of(sim, a, b);

	if (!p->open)
		return;
	sim_trace(sim, "connection %u-%u breaks", a + 1, b + 1);
	sim->stats.disconnects++;
	p->open = false;
	end_direction(sim, a, b);
	end_direction(sim, b, a);
	want_connection(sim, a, b);
}

void net_node_down(struct sim *sim, unsigned int node)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct pair *p = pair_of(sim, node, i);

		if (i == node)
			continue;
		sim->net->links[node][i].knows = 0;
		if (p->open) {
			p->open = false;
			end_direction(sim, node, i);
		}
		cut(sim, i, node, 0);
		want_connection(sim, node, i);
	}
}

void net_node_ready(struct sim *sim, unsigned int node)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++)
		if (i != node)
			arm(sim, i, node);
}

void net_stall(struct sim *sim, unsigned int from, unsigned int to)
{
	sim->net->links[from][to].stalled++;
}

void net_unstall(struct sim *sim, unsigned int from, unsigned int to)
{
	sim->net->links[from][to].stalled--;
	arm(sim, from, to);
}

bool net_stalled(const struct sim *sim, unsigned int from, unsigned int to)
{
	return sim->net->links[from][to].stalled;
}

void net_slow(struct sim *sim, unsigned int from, unsigned int to, unsigned int factor)
{
	sim->net->links[from][to].slow = factor;
}

bool net_hampered(const struct sim *sim, unsigned int from, unsigned int to)
{
	const struct link *l = &sim->net->links[from][to];

	return l->stalled || l->slow > 1;
}

uint64_t net_generation(const struct sim *sim, unsigned int a, unsigned int b)
{
	return pair_of(sim, a, b)->generation;
}

bool net_connected(const struct sim *sim, unsigned int a, unsigned int b)
{
	const struct net *net = sim->net;
	uint64_t generation = pair_of(sim, a, b)->generation;

	return pair_of(sim, a, b)->open && net->links[a][b].knows == generation &&
	       net->links[b][a].knows == generation;
}

/* Did a message that was sent earlier, on another connection, not arrive yet? */
static bool overtakes(struct sim *sim, unsigned int to, const struct msg *m)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		const struct msg *other = sim->net->links[i][to].head;

		if (other && other->kind == MSG_DATA && other->order < m->order)
			return true;
	}
	return false;
}

/* Kinds that a node may see twice without harm: what reconnection repeats. */
static bool may_repeat(const struct msg *m)
{
	const struct kh_wire_head *head = (const void *)m->bytes;

	switch (head->kind) {
	case KH_WIRE_REQ:
	case KH_WIRE_GRANT:
	case KH_WIRE_FORWARD:
	case KH_WIRE_DATA:
	case KH_WIRE_INV:
	case KH_WIRE_IACK:
	case KH_WIRE_DONE:
	case KH_WIRE_HDONE:
	case KH_WIRE_EVICT:
	case KH_WIRE_RENEW_ACK:
		return true;
	}
	return false;
}

static void deliver(struct sim *sim, unsigned int from, unsigned int to, struct msg *m)
{
	struct link *back = &sim->net->links[to][from];
	struct host *host = sim->hosts[to];

	if (m->kind != MSG_DATA && back->knows) {
		back->knows = 0;
		host_peer_down(host, from);
	}
	if (!host_running(host))
		return;
	if (m->kind == MSG_HELLO) {
		back->knows = m->generation;
		host_peer_up(host, from, m->bytes, m->len);
	} else if (m->kind == MSG_DATA && back->knows) {
		sim->stats.reorderings += overtakes(sim, to, m);
		if (sim->cfg.corpus)
			corpus_message(sim, to, from, m->bytes, m->len);
		host_message(host, from, m->bytes, m->len);
		if (sim_has(sim, SIM_FAULT_DUP) && host_running(host) && may_repeat(m) &&
		    rng_chance(&sim->rng, 30)) {
			sim->stats.duplicates++;
			host_message(host, from, m->bytes, m->len);
		}
	}
}

/**
 * net_describe() - a message in words, for traces
 */
const char *net_describe(const struct sim *sim, const void *bytes, size_t len)
{
	static char text[256];
	const struct kh_wire_head *h = bytes;
	const uint64_t *e = (const uint64_t *)(h + 1);
	unsigned int words = h->count ? kh_wire_entry_size(h->kind) / 8 : 0, i, region = 0;
	int n = snprintf(text, sizeof(text), "%s", kh_wire_kind_name(h->kind));

	while (region < SIM_REGIONS && (sim->regions[region].addr.hi != h->region_hi ||
					sim->regions[region].addr.lo != h->region_lo))
		region++;
	if (region < SIM_REGIONS && words)
		n += snprintf(text + n, sizeof(text) - n, " unit %u.%llu", region,
			      (unsigned long long)e[0]);
	if (h->count > 1)
		n += snprintf(text + n, sizeof(text) - n, " (x%u)", h->count);
	if (h->request)
		n += snprintf(text + n, sizeof(text) - n, " request %llx.%u of %u",
			      (unsigned long long)h->request, h->attempt, h->party);
	for (i = region < SIM_REGIONS; i < words && i < 7 && sizeof(*h) + 8 * i < len; i++)
		n += snprintf(text + n, sizeof(text) - n, " %llx", (unsigned long long)e[i]);
	return text;
}

/* Is there something that the receiver can have now? */
static bool is_due(const struct sim *sim, const struct link *l)
{
	return l->head && l->head->due <= sim->now && (!l->stalled || l->head->kind == MSG_END);
}

/* What is due comes together, as by one read: its memory stays until all of it was handled. */
static void pump(struct sim *sim, uint64_t from, uint64_t to)
{
	struct link *l = &sim->net->links[from][to];
	struct host *host = sim->hosts[to];
	uint64_t generation = host->generation;
	struct msg *m, *read = NULL;

	l->pump_at = 0;
	if (!l->head || !host_running(host) || (l->stalled && l->head->kind != MSG_END))
		return;
	while (is_due(sim, l) && (!read || l->head->kind == MSG_DATA)) {
		m = l->head;
		l->head = m->next;
		if (!l->head)
			l->tail = &l->head;
		l->count--;
		deliver(sim, from, to, m);
		m->next = read;
		read = m;
		if (m->kind != MSG_DATA || !host_running(host))
			break;
	}
	if (read && host->node && host->generation == generation)
		host_received(host);
	while ((m = read)) {
		read = m->next;
		memset(m->bytes, 0xdd, m->len);
		free(m);
	}
	arm(sim, from, to);
}
