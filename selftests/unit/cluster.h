/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cluster.h - some nodes and their modules, for tests that go step by step
 *
 * No faults, no delays, no choice: messages arrive in the order in which they were sent.  The
 * units of a module are kmod/page.c.  What happens at random is selftests/sim's.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include "kmod/page.h"
#include "lib/core/node.h"
#include "lib/core/wire.h"

#define NODES 3 /* unless a test has more */
#define NODES_MAX 4
#define UNITS 160 /* of a region, at most */
#define MEMORY 64 /* units that a node promises to keep in memory only */
#define FRAMES 256
#define UNIT 4096
#define MS 1000000ull
#define CLUSTER_LEASE_MS 300 /* of cluster_setup() */

struct unit {
	unsigned int framed; /* FRAMES of it */
	struct kz_page page;
	uint32_t frame, handoff;
	bool exists;
};

struct cluster;

/* One unit in a page store. */
struct kept {
	uint64_t generation; /* of the allocation, 0: not reserved */
	uint64_t version, token;
	bool rotten; /* it cannot be read until it is put again */
	uint8_t data[UNIT];
};

struct host {
	struct cluster *cluster;
	kh_node_id id;
	struct kh_node *node;
	struct kh_node_config config;
	kh_node_id peers[NODES_MAX - 1];
	bool region; /* known to the module: one, handle 1 */
	unsigned int attached;
	struct khazana_cmd add;
	uint64_t lease_end;
	uint64_t key_serial; /* of the region */
	uint64_t attach_serial; /* of the key of the last ATTACH_DONE */
	uint64_t lease_serial; /* key_serial when the lease was extended last */
	uint64_t floor;
	struct unit units[UNITS];
	uint8_t memory[FRAMES][UNIT];
	bool used[FRAMES];
	const void *data; /* that a COMMIT brings */
	uint64_t request;
	int attach_error, fail_error;
	unsigned int answered; /* requests of the module that ended */
	unsigned int poisons;
	unsigned int told; /* that anything seen in the region may be lost */
	uint64_t protocol_errors, flushes, units_repaired; /* as of the last KH_OP_STATS */
	struct kept kept[UNITS]; /* of the region at cluster.addr; only with config.store */
	struct command *store_first, **store_last; /* begun, not over */
	bool store_rests; /* what is begun stays so */
	unsigned int store_begun[KH_STORE_LOOK + 1];
	uint32_t store_error[KH_STORE_LOOK + 1]; /* with which every such command ends; 0: none */
	bool no_frames; /* COMMITs fail */
	bool persist_fails;
	unsigned int persist_fails_at; /* that one only, counted down; 0: none */
	unsigned int store_refuses_at; /* the same for what takes space or gives it back */
	uint32_t store_refusal; /* with this errno */
	unsigned int effects; /* of the khd, as others see them: messages, records, commands */
	unsigned int
		dies_at; /* the khd dies instead of that effect, counted from 1; 0: it does not */
	bool dying;
	bool store_ends; /* what its store had begun is done all the same */
	struct kh_op_result result;
	struct kh_page_info page;
	struct kh_region_info info;
	unsigned int replies;
	unsigned int commands;
	unsigned int brought; /* COMMITs that brought their contents */
	bool brings_frames; /* a miss has a frame to receive into, as where few are left */
	struct {
		char key[80];
		uint8_t bytes[4096];
		size_t len;
	} blobs[8];
};

struct cluster {
	struct host hosts[NODES_MAX];
	unsigned int nodes;
	uint64_t now;
	struct packet *packets, **tail;
	bool cut[NODES_MAX]; /* drops everything from and to it */
	unsigned int cut_at[NODES_MAX]; /* from the first message of this kind that it sends on */
	unsigned int break_at[NODES_MAX][NODES_MAX]; /* instead of that message, counted down */
	unsigned int slow_at[NODES_MAX][NODES_MAX]; /* the same: what one sends another is late */
	struct packet *late; /* the newest first, until cluster_hurry() */
	unsigned int sent[KH_WIRE_KINDS];
	uint32_t last_error; /* of the RESULT, or STORED, that was sent last */
	struct khazana_addr addr;
	const char *protocol; /* of cluster_region(), NULL for the default */
};

extern const uint8_t cluster_key[KH_KEY_SIZE]; /* of cluster_region() */

struct cluster *cluster_new(void);
struct cluster *cluster_new_nodes(unsigned int nodes);
struct cluster *cluster_new_stores(void); /* each node has a page store */
void cluster_free(struct cluster *c);
void cluster_run(struct cluster *c);
void cluster_sleep(struct cluster *c, uint64_t ms);
void cluster_connect(struct cluster *c, unsigned int a, unsigned int b);
void cluster_disconnect(struct cluster *c, unsigned int a, unsigned int b);
void cluster_forget(struct cluster *c);
void cluster_hurry(struct cluster *c); /* nothing is late any more */

/* The host is out of reach, and within it again. */
static inline void cluster_isolate(struct cluster *c, unsigned int i)
{
	unsigned int k;

	for (k = 0; k < c->nodes; k++)
		if (k != i)
			cluster_disconnect(c, i, k);
}

static inline void cluster_rejoin(struct cluster *c, unsigned int i)
{
	unsigned int k;

	for (k = 0; k < c->nodes; k++)
		if (k != i)
			cluster_connect(c, i, k);
	cluster_run(c);
}

/* Time passes quickly, @step milliseconds at a time. */
void cluster_pass(struct cluster *c, uint64_t ms, uint64_t step);

/* Units that the page store has space for. */
unsigned int host_reserved(const struct host *h);

/* A region of @units units, allocated, homed at host @home, attached by all. */
void cluster_region(struct cluster *c, unsigned int home, unsigned int units, uint32_t lease_ms);

/* For cmocka: three nodes and a region of 8 units at host 0; and their end. */
int cluster_setup(void **state);
int cluster_teardown(void **state);

int host_op(struct host *h, struct kh_op *op);
int host_attach(struct host *h, struct khazana_addr addr, const uint8_t key[KH_KEY_SIZE]);
int host_want(struct host *h, uint64_t unit, uint64_t count, uint32_t want, uint32_t flags);
bool host_drop(struct host *h, uint64_t unit); /* memory is short; may it go? */
void host_store(struct host *h, uint64_t unit, uint64_t value);
uint64_t host_load(struct host *h, uint64_t unit);
void host_request(struct host *h, const struct khazana_request *req);
void host_kill(struct host *h);
void host_start(struct host *h, bool new_module);

#endif /* CLUSTER_H */
