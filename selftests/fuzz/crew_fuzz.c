// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * crew_fuzz.c - one node under arbitrary events
 *
 * Node 1 of three, with the simulator's module below it; its peers send whatever the bytes say:
 * well formed messages of any kind with fields from what the node itself has sent, repetitions,
 * garbage.  Meanwhile programs fault and lock, clients call, connections come and go, time
 * passes, khd is killed.  The node must not crash, leak, touch frames that are not its, answer a
 * client twice, or break kh_node_check().
 */
#include <stdlib.h>
#include <string.h>
#include "lib/core/wire.h"
#include "selftests/sim/client.h"
#include "selftests/sim/fault.h"
#include "selftests/sim/host.h"
#include "selftests/sim/module.h"
#include "selftests/sim/net.h"
#include "selftests/sim/oracle.h"
#include "selftests/sim/proc.h"
#include "selftests/sim/store.h"

#define USERS 6
#define POOL 64
#define SENT 16
#define STEPS 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct user {
	struct waiter waiter;
	struct att *att;
	struct klock *lock;
};

struct sent {
	size_t len;
	unsigned char bytes[4096];
};

static struct fuzz {
	const uint8_t *data;
	size_t left;
	struct sim sim;
	struct user users[USERS];
	uint64_t pool[POOL];
	unsigned int pool_next, sent_next;
	struct sent sent[SENT];
} fz;

/* ------------------------------------------ what the host needs beside it */

static void remember(uint64_t value)
{
	fz.pool[fz.pool_next++ % POOL] = value;
}

void net_send(struct sim *sim, unsigned int from, unsigned int to, const void *head,
	      size_t head_len, const void *data, size_t data_len)
{
	struct sent *s = &fz.sent[fz.sent_next++ % SENT];
	const uint64_t *words = head;
	size_t i;

	for (i = 2; i < head_len / 8 && i < 16; i++)
		remember(words[i]);
	s->len = head_len < sizeof(s->bytes) && !data_len ? head_len : 0;
	memcpy(s->bytes, head, s->len);
}

void net_node_down(struct sim *sim, unsigned int node)
{
}

void net_node_ready(struct sim *sim, unsigned int node)
{
}

const char *net_describe(const struct sim *sim, const void *bytes, size_t len)
{
	return "";
}

void proc_wake(struct proc *p)
{
}

void proc_attached(struct proc *p, struct att *att, int error)
{
	if (error)
		muser_detach(fz.sim.hosts[0]->module, att);
}

void proc_flushed(struct proc *p, int error)
{
}

void client_reply(struct host *h, const struct host_op *op, int error)
{
}

/* What fails, and when, is the input's to say. */
void fault_amid_move(struct sim *sim, unsigned int place, struct khazana_addr region)
{
}

void proc_machine_down(struct host *host)
{
}

/* ------------------------------------------------------ events from bytes */

static unsigned int byte(void)
{
	if (!fz.left)
		return 0;
	fz.left--;
	return *fz.data++;
}

static uint64_t value(void)
{
	unsigned int b = byte();

	if (b < 16)
		return b;
	if (b < 24)
		return (uint64_t)byte() << 8 | byte();
	if (b == 24)
		return KHAZANA_VERSION_NONE;
	return fz.pool[b % POOL] + (b > 240 ? byte() : 0);
}

static void peer_event(unsigned int peer, bool up)
{
	struct host *h = fz.sim.hosts[0];

	if (!h->node)
		return;
	if (up)
		kh_node_peer_up(h->node, peer, 1 + byte() % 3, 1 + byte() % 2, host_clock(h));
	else
		kh_node_peer_down(h->node, peer, host_clock(h));
	host_leave(h);
}

static void feed(unsigned int peer, const void *bytes, size_t len)
{
	struct host *h = fz.sim.hosts[0];
	bool malformed = h->node && host_feed(h, peer - 1, bytes, len);

	if (h->node)
		host_received(h);
	if (malformed)
		peer_event(peer, false);
}

/* A message with valid framing: any kind, plausible fields. */
static void made_message(unsigned int peer)
{
	static _Alignas(8) unsigned char bytes[4096 + 65536];
	struct kh_wire_head *head = (void *)bytes;
	unsigned int kind = 1 + byte() % (KH_WIRE_KINDS - 1), count = 1 + byte() % 3, i;
	const struct sim_region *r = &fz.sim.regions[byte() % SIM_REGIONS];
	size_t entry = kh_wire_entry_size(kind);
	uint64_t *word;

	memset(bytes, 0, sizeof(bytes));
	*head = (struct kh_wire_head){
		.magic = KH_WIRE_MAGIC,
		.kind = kind,
		.count = count,
		.region_hi = r->addr.hi,
		.region_lo = r->addr.lo,
		.generation = value(),
		.request = value(),
		.party = 1 + byte() % 3,
		.attempt = byte() % 4,
		.epoch = value(),
	};
	for (i = 0; i < count; i++)
		for (word = (uint64_t *)(bytes + sizeof(*head) + i * entry);
		     (unsigned char *)word + 8 <= bytes + sizeof(*head) + (i + 1) * entry; word++)
			*word = byte() & 1 ? value() : (uint64_t)(byte() % 4) << 32 | byte() % 4;
	if ((kind == KH_WIRE_DATA && (byte() & 3)) || kind == KH_WIRE_STORE)
		head->data_len = 1u << r->unit_shift;
	head->length = sizeof(*head) + count * entry + head->data_len;
	kh_wire_swap(head, true);
	feed(peer, bytes, head->length);
}

/* Bytes as they are, but about a region that exists. */
static void raw_message(unsigned int peer)
{
	static _Alignas(8) unsigned char bytes[4096];
	const struct sim_region *r = &fz.sim.regions[byte() % SIM_REGIONS];
	size_t len = byte(), i;

	len |= (size_t)byte() << 8;
	if (len > sizeof(bytes))
		len = sizeof(bytes);
	for (i = 0; i < len; i++)
		bytes[i] = byte();
	if (len >= sizeof(struct kh_wire_head)) {
		struct kh_wire_head *head = (void *)bytes;

		head->region_hi = r->addr.hi;
		head->region_lo = r->addr.lo;
	}
	feed(peer, bytes, len);
}

/* Something that the node itself sent, perhaps as another kind. */
static void echoed_message(unsigned int peer)
{
	struct sent copy = fz.sent[byte() % SENT];
	struct kh_wire_head *head = (void *)copy.bytes;
	unsigned int kind = byte() % (2 * KH_WIRE_KINDS);

	if (!copy.len)
		return;
	if (kind && kind < KH_WIRE_KINDS) {
		head->kind = kind;
		head->length = sizeof(*head) + head->count * kh_wire_entry_size(kind);
		if (head->length > sizeof(copy.bytes))
			return;
		copy.len = head->length;
	}
	feed(peer, copy.bytes, copy.len);
}

static void pass_time(uint64_t ns)
{
	struct sim *sim = &fz.sim;
	uint64_t until = sim->now + ns;
	unsigned int limit = 2000;

	while (sim->heap_len && sim->heap[0].time <= until && limit--) {
		struct sim_event ev = sim_next(sim);

		sim->now = ev.time;
		ev.fn(sim, ev.a, ev.b);
	}
	if (sim->now < until)
		sim->now = until;
}

static void user_access(void)
{
	struct user *u = &fz.users[byte() % USERS];
	unsigned int region = byte() % SIM_REGIONS, what = byte();
	struct munit *unit;

	if (u->waiter.waiting) {
		muser_cancel(fz.sim.hosts[0]->module, &u->waiter);
		return;
	}
	if (!u->att || !u->att->used)
		u->att = muser_attach(fz.sim.hosts[0]->module, region, (struct proc *)u);
	if (!u->att || u->att->pending || !u->att->region->used)
		return;
	if (u->lock && u->lock->used && u->lock->att == u->att) {
		muser_unlock(u->lock);
		u->lock = NULL;
	} else if (what & 0x80) {
		u->lock = muser_lock_new(u->att, what & 1, 1, 1 + what % 3);
		if (u->lock)
			muser_lock_go(u->lock, what & 0x40 ? KHAZANA_REQF_TRY : 0, &u->waiter);
	} else {
		muser_access(u->att, what % (u->att->region->length >> u->att->region->unit_shift),
			     1 + (what >> 4) % 2, 0, &u->waiter, &unit);
	}
}

static void client_call(void)
{
	const struct sim_region *r = &fz.sim.regions[byte() % SIM_REGIONS];
	struct kh_op op = {
		.code = 1 + byte() % 13,
		.flags = byte() & 3,
		.addr = r->addr,
		.length = (uint64_t)(1 + byte() % 8) << 12,
		.node = byte() % 4,
		.attr = { .unit_shift = byte() % 4 ? 12 : byte() % 64, .lease_ms = 100 },
		.attr_mask = byte() & 63,
		.timeout_ms = byte(),
		.privileged = byte() & 1,
	};

	memcpy(op.key, r->key, sizeof(op.key));
	op.addr.lo += (uint64_t)(byte() % 3) << 12;
	host_op(fz.sim.hosts[0], &op, 0);
}

static void restart(void)
{
	host_crash(fz.sim.hosts[0]);
	pass_time(byte() * MS);
	host_start(fz.sim.hosts[0]);
}

static void one_event(void)
{
	unsigned int b = byte(), peer = 2 + (b >> 4) % 2;

	switch (b % 12) {
	case 0:
		pass_time((uint64_t)byte() * 100 * US);
		break;
	case 1:
		pass_time((uint64_t)byte() * 5 * MS);
		break;
	case 2:
		peer_event(peer, true);
		break;
	case 3:
		if (byte() < 40)
			peer_event(peer, false);
		break;
	case 4:
	case 5:
		made_message(peer);
		break;
	case 6:
		echoed_message(peer);
		break;
	case 7:
		raw_message(peer);
		break;
	case 8:
	case 9:
		user_access();
		break;
	case 10:
		client_call();
		break;
	case 11:
		if (byte() < 20)
			restart();
	}
}

static void setup(void)
{
	struct sim *sim = &fz.sim;
	unsigned int i;

	memset(&fz.sim, 0, sizeof(fz.sim));
	memset(fz.users, 0, sizeof(fz.users));
	memset(fz.sent, 0, sizeof(fz.sent));
	memset(fz.pool, 0, sizeof(fz.pool));
	fz.pool_next = fz.sent_next = 0;
	sim->cfg = (struct sim_config){ .seed = 1, .nodes = 3, .ops = 1 };
	sim->rng.state = 1;
	sim->now = SEC;
	oracle_create(sim);
	for (i = 0; i < SIM_REGIONS; i++)
		sim->regions[i] = (struct sim_region){
			.addr = { 0, 0x100000000ull * (i + 1) },
			.home = 0,
			.unit_shift = i ? 16 : 12,
			.units = 2 + i,
			.lease_ms = 300,
			.wait_ms = 1000,
		};
	sim->hosts[0] = calloc(1, sizeof(*sim->hosts[0]));
	if (!sim->hosts[0])
		abort();
	sim->hosts[0]->sim = sim;
	store_create(sim->hosts[0]);
	for (i = 0; i < USERS; i++)
		fz.users[i].waiter.proc = (struct proc *)&fz.users[i];
	host_machine_up(sim->hosts[0]);
	host_setup_region(sim, 0);
	for (i = 2; i < 4; i++)
		peer_event(i, true);
	pass_time(20 * MS);
}

static void teardown(void)
{
	struct sim *sim = &fz.sim;

	host_destroy(sim->hosts[0]);
	oracle_destroy(sim);
	free(sim->heap);
	if (sim->failed) {
		fprintf(stderr, "%s\n", sim->why);
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int steps = STEPS;

	fz.data = data;
	fz.left = size;
	setup();
	while (fz.left && steps-- && !fz.sim.failed)
		one_event();
	teardown();
	return 0;
}
