// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cluster.c - some nodes and their modules, for tests that go step by step
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cluster.h"
#include "module.h"
#include "unit.h"

const uint8_t cluster_key[KH_KEY_SIZE] = "sixteen bytes...";

struct packet {
	struct packet *next;
	unsigned int from, to;
	size_t len;
	uint8_t bytes[];
};

/* The khd does something that others see; false if it is dead by now. */
bool host_effect(struct host *h)
{
	h->dying |= ++h->effects == h->dies_at;
	return !h->dying;
}

static void note_sent(struct cluster *c, const struct kh_wire_head *head)
{
	const void *entry = head + 1;

	c->sent[head->kind]++;
	if (head->kind == KH_WIRE_RESULT)
		c->last_error = ((const struct kh_wire_result *)entry)->error;
	else if (head->kind == KH_WIRE_STORED)
		c->last_error = ((const struct kh_wire_stored *)entry)->error;
}

static void on_send(void *host, kh_node_id peer, const void *head, size_t head_len,
		    const void *data, size_t data_len)
{
	struct host *h = host;
	struct cluster *c = h->cluster;
	struct packet *p;

	if (!host_effect(h))
		return;
	p = malloc(sizeof(*p) + head_len + data_len);
	assert_non_null(p);
	p->next = NULL;
	p->from = h->id - 1;
	p->to = peer - 1;
	p->len = head_len + data_len;
	memcpy(p->bytes, head, head_len);
	if (data_len)
		memcpy(p->bytes + head_len, data, data_len);
	assert_int_equal(kh_wire_check(p->bytes, p->len), 0);
	note_sent(c, head);
	*c->tail = p;
	c->tail = &p->next;
}

static void on_reply(void *host, uint64_t op_id, const struct kh_op_result *result)
{
	struct host *h = host;
	unsigned int i;

	if (!host_effect(h))
		return;
	h->replies++;
	h->result = *result;
	if (result->page)
		h->page = *result->page;
	if (result->region_count)
		h->info = result->regions[0];
	for (i = 0; i < result->counter_count; i++) {
		if (!strcmp(result->counters[i].name, "protocol_errors"))
			h->protocol_errors = result->counters[i].value;
		else if (!strcmp(result->counters[i].name, "flushes"))
			h->flushes = result->counters[i].value;
		else if (!strcmp(result->counters[i].name, "units_repaired"))
			h->units_repaired = result->counters[i].value;
	}
}

static int on_persist(void *host, const char *key, const void *blob, size_t len)
{
	struct host *h = host;
	unsigned int i;

	if (!host_effect(h) || h->persist_fails)
		return -EIO;
	if (h->persist_fails_at && !--h->persist_fails_at)
		return -EIO;
	for (i = 0; i < 8; i++)
		if (!strcmp(h->blobs[i].key, key))
			break;
	for (; i == 8 || (h->blobs[i].key[0] && strcmp(h->blobs[i].key, key)); i = (i + 1) % 8)
		;
	assert_true(len <= sizeof(h->blobs[i].bytes));
	memset(&h->blobs[i], 0, sizeof(h->blobs[i]));
	if (!blob)
		return 0;
	strncpy(h->blobs[i].key, key, sizeof(h->blobs[i].key) - 1);
	memcpy(h->blobs[i].bytes, blob, len);
	h->blobs[i].len = len;
	return 0;
}

static void on_random(void *host, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len--)
		*p++ = (uint8_t)rand();
}

static void on_event(void *host, const char *name, const char *text)
{
	assert_true(strlen(name) < KH_NAME_MAX);
	assert_null(strchr(text, '\n'));
}

static const struct kh_host_ops ops = {
	.send = on_send,
	.command = module_command,
	.frame = module_frame,
	.reply = on_reply,
	.persist = on_persist,
	.random = on_random,
	.event = on_event,
	.store = kept_begin,
};

void host_start(struct host *h, bool new_module)
{
	struct cluster *c = h->cluster;
	unsigned int i;

	h->config.incarnation++;
	if (new_module) {
		h->config.boot += 100;
		module_new(h);
	}
	h->node = kh_node_create(&h->config, &ops, h, c->now);
	assert_non_null(h->node);
	for (i = 0; i < 8; i++)
		if (h->blobs[i].key[0])
			assert_int_equal(kh_node_restore(h->node, h->blobs[i].key,
							 h->blobs[i].bytes, h->blobs[i].len),
					 0);
	kh_node_start(h->node, c->now);
}

void host_kill(struct host *h)
{
	unsigned int i;

	for (i = 0; i < h->cluster->nodes; i++)
		if (i != h->id - 1)
			cluster_disconnect(h->cluster, h->id - 1, i);
	kh_node_destroy(h->node);
	h->node = NULL;
	kept_forget(h);
	module_daemon_gone(h);
}

void cluster_connect(struct cluster *c, unsigned int a, unsigned int b)
{
	struct host *x = &c->hosts[a], *y = &c->hosts[b];

	kh_node_peer_up(x->node, y->id, y->config.incarnation, y->config.boot, c->now);
	kh_node_peer_up(y->node, x->id, x->config.incarnation, x->config.boot, c->now);
}

/* What was under way between the two is lost. */
void cluster_disconnect(struct cluster *c, unsigned int a, unsigned int b)
{
	struct packet **at = &c->packets, *p;

	assert_null(c->late);
	while ((p = *at)) {
		if ((p->from == a && p->to == b) || (p->from == b && p->to == a)) {
			*at = p->next;
			free(p);
		} else {
			at = &p->next;
		}
	}
	c->tail = at;
	if (c->hosts[a].node)
		kh_node_peer_down(c->hosts[a].node, b + 1, c->now);
	if (c->hosts[b].node)
		kh_node_peer_down(c->hosts[b].node, a + 1, c->now);
}

/* Those that died in the last step. */
static void bury(struct cluster *c)
{
	unsigned int i;

	for (i = 0; i < c->nodes; i++) {
		struct host *h = &c->hosts[i];

		if (!h->dying || !h->node)
			continue;
		host_kill(h);
		h->dying = false;
		h->dies_at = 0;
	}
}

static struct cluster *cluster_make(unsigned int nodes, bool stores)
{
	struct cluster *c = calloc(1, sizeof(*c));
	unsigned int i, k;

	assert_non_null(c);
	c->nodes = nodes;
	c->now = 10000 * MS;
	c->tail = &c->packets;
	for (i = 0; i < c->nodes; i++) {
		struct host *h = &c->hosts[i];

		h->cluster = c;
		h->id = i + 1;
		for (k = 0; k < c->nodes - 1; k++)
			h->peers[k] = k < i ? k + 1 : k + 2;
		h->config = (struct kh_node_config){ .id = h->id,
						     .cluster = "test",
						     .boot = h->id,
						     .peers = h->peers,
						     .peer_count = c->nodes - 1,
						     .frames_max = MEMORY,
						     .store = stores };
		h->store_last = &h->store_first;
		host_start(h, false);
	}
	for (i = 0; i < c->nodes; i++)
		for (k = i + 1; k < c->nodes; k++)
			cluster_connect(c, i, k);
	cluster_run(c);
	return c;
}

struct cluster *cluster_new(void)
{
	return cluster_make(NODES, false);
}

struct cluster *cluster_new_nodes(unsigned int nodes)
{
	return cluster_make(nodes, false);
}

struct cluster *cluster_new_stores(void)
{
	return cluster_make(NODES, true);
}

void cluster_free(struct cluster *c)
{
	struct packet *p;
	unsigned int i;

	while ((p = c->late)) {
		c->late = p->next;
		free(p);
	}
	for (i = 0; i < c->nodes; i++) {
		if (c->hosts[i].node)
			kh_node_destroy(c->hosts[i].node);
		kept_forget(&c->hosts[i]);
	}
	while ((p = c->packets)) {
		c->packets = p->next;
		free(p);
	}
	free(c);
}

static bool is_late(const struct cluster *c, const struct packet *p, uint32_t kind)
{
	const struct packet *l = c->late;

	while (l && (l->from != p->from || l->to != p->to))
		l = l->next;
	return l || c->slow_at[p->from][p->to] == kind;
}

/* What came together is looked at no more. */
static void received(struct host *to, struct packet **kept)
{
	struct packet *p;

	if (*kept && to->node && !to->dying)
		kh_node_received(to->node);
	while ((p = *kept)) {
		*kept = p->next;
		memset(p->bytes, 0xdd, p->len);
		free(p);
	}
}

/* Does the connection break instead of this message? */
static bool breaks(struct cluster *c, const struct packet *p)
{
	unsigned int *at = &c->break_at[p->from][p->to];

	return *at && !--*at;
}

/* Those that are one behind the other for the same node, from the same one, come together. */
static void deliver(struct cluster *c)
{
	struct packet *p, *kept = NULL;

	while ((p = c->packets)) {
		struct host *to = &c->hosts[p->to];
		uint32_t kind = ((const struct kh_wire_head *)p->bytes)->kind;
		const struct packet *next = p->next;
		bool more = next && next->from == p->from && next->to == p->to;

		if (breaks(c, p)) {
			received(to, &kept);
			cluster_disconnect(c, p->from, p->to);
			continue;
		}
		c->packets = p->next;
		if (!c->packets)
			c->tail = &c->packets;
		if (is_late(c, p, kind)) {
			p->next = c->late;
			c->late = p;
			continue;
		}
		c->cut[p->from] |= c->cut_at[p->from] == kind;
		if (to->node && !to->dying && !c->cut[p->from] && !c->cut[p->to])
			assert_int_equal(kh_node_message(to->node, p->from + 1, p->bytes, p->len,
							 c->now),
					 0);
		p->next = kept;
		kept = p;
		if (more)
			continue;
		received(to, &kept);
		bury(c);
	}
}

/* What is late comes now, before all that is sent from now on. */
void cluster_hurry(struct cluster *c)
{
	struct packet *p;

	while ((p = c->late)) {
		c->late = p->next;
		p->next = c->packets;
		if (!c->packets)
			c->tail = &p->next;
		c->packets = p;
	}
	memset(c->slow_at, 0, sizeof(c->slow_at));
	cluster_run(c);
}

/* Deliver everything, and have the stores do what they are asked for. */
void cluster_run(struct cluster *c)
{
	bool more;
	unsigned int i;

	do {
		bury(c);
		deliver(c);
		more = false;
		for (i = 0; i < c->nodes; i++) {
			more |= c->hosts[i].node && kept_step(&c->hosts[i]);
			bury(c);
		}
	} while (more || c->packets);
	for (i = 0; i < c->nodes; i++)
		if (c->hosts[i].node)
			assert_null(kh_node_check(c->hosts[i].node));
}

void cluster_pass(struct cluster *c, uint64_t ms, uint64_t step)
{
	unsigned int i;

	for (; ms >= step; ms -= step) {
		c->now += step * MS;
		for (i = 0; i < c->nodes; i++)
			module_time(&c->hosts[i]);
		for (i = 0; i < c->nodes; i++)
			if (c->hosts[i].node && kh_node_deadline(c->hosts[i].node) <= c->now)
				kh_node_tick(c->hosts[i].node, c->now);
		cluster_run(c);
	}
}

/* Time passes, a millisecond at a time. */
void cluster_sleep(struct cluster *c, uint64_t ms)
{
	cluster_pass(c, ms, 1);
}

/* Start counting messages and commands. */
void cluster_forget(struct cluster *c)
{
	unsigned int i;

	memset(c->sent, 0, sizeof(c->sent));
	for (i = 0; i < c->nodes; i++)
		c->hosts[i].commands = 0;
}

int host_op(struct host *h, struct kh_op *op)
{
	unsigned int before = h->replies;

	kh_node_op(h->node, before + 1, op, h->cluster->now);
	cluster_run(h->cluster);
	if (h->replies == before)
		cluster_sleep(h->cluster, 2000);
	assert_int_equal(h->replies, before + 1);
	return h->result.error;
}

void cluster_region(struct cluster *c, unsigned int home, unsigned int units, uint32_t lease_ms)
{
	struct kh_op op = { .code = KH_OP_RESERVE, .length = (uint64_t)units * UNIT };
	unsigned int i;

	op.attr.lease_ms = lease_ms;
	if (c->protocol)
		strncpy(op.attr.protocol, c->protocol, sizeof(op.attr.protocol) - 1);
	memcpy(op.key, cluster_key, sizeof(op.key));
	assert_int_equal(host_op(&c->hosts[home], &op), 0);
	c->addr = op.addr = c->hosts[home].result.addr;
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[home], &op), 0);
	for (i = 0; i < c->nodes; i++)
		assert_int_equal(host_attach(&c->hosts[i], c->addr, NULL), 0);
}

int cluster_setup(void **state)
{
	struct cluster *c = cluster_new();

	cluster_region(c, 0, 8, CLUSTER_LEASE_MS);
	cluster_forget(c);
	*state = c;
	return 0;
}

int cluster_teardown(void **state)
{
	cluster_free(*state);
	return 0;
}
