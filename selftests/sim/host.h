/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host.h - one machine: a clock, a khd with its disk, a module, processes
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "lib/core/wire.h"
#include "sim.h"

#define HOST_OPS_MAX 64 /* client operations under way */

struct fetched;

struct blob {
	struct blob *next;
	char *key;
	size_t len;
	unsigned char bytes[];
};

/* A client operation that khd owes a reply. */
struct host_op {
	uint64_t id; /* 0: free */
	uint32_t code;
	unsigned int region;
	uint32_t attr_mask; /* of a SETATTR */
	uint64_t since;
	bool cancelled; /* its client went away */
};

/**
 * struct host - one machine
 * @index: 0 .. nodes - 1; its id is one more
 * @node: the daemon, NULL while it is dead
 * @paused: SIGSTOP
 * @machine_up: false while the machine itself is down
 * @fuse: the daemon dies in the middle of a step, after that many effects (0: it does not)
 * @dying: it did: nothing of the rest of the step takes effect
 * @incarnation: of the daemon, on its disk
 * @boot: of the module
 * @rate_ppm: its clock goes by that much faster
 * @born: true time at which the machine's clock was @clock0
 * @tick_at: a tick is queued for then
 * @on_death: tells fault.c that the daemon died, so that it is started again
 * @page: where a PAGE_SHOW asked by the simulator itself is answered
 */
struct host {
	struct sim *sim;
	unsigned int index;
	struct kh_node *node;
	bool paused, machine_up, dying, fetch_queued;
	unsigned int fuse;
	uint64_t incarnation, boot;
	int64_t rate_ppm;
	uint64_t born, clock0;
	uint64_t tick_at, generation;
	uint32_t flush_ms;
	struct fetched *fetched; /* descriptors that khd has not looked at yet */
	struct blob *disk;
	struct store *store; /* NULL: a node that caches in memory only */
	struct module *module;
	struct proc *procs[SIM_PROCS];
	struct host_op ops[HOST_OPS_MAX];
	uint64_t next_op;
	struct kh_page_info page;
	bool page_valid;
	struct kh_node_config config;
	kh_node_id peers[SIM_NODES_MAX];
	void (*on_death)(struct host *host);
};

void host_create_all(struct sim *sim);
void host_destroy(struct host *host);
void host_destroy_all(struct sim *sim);
void host_setup_region(struct sim *sim, unsigned int region);
bool host_setup_done(struct sim *sim);
const char *host_setup_state(struct sim *sim);

static inline bool host_running(const struct host *host)
{
	return host->node && !host->paused;
}

/* CLOCK_BOOTTIME of the machine, and the true time at which it will show @local. */
uint64_t host_clock(const struct host *host);
uint64_t host_true_time(const struct host *host, uint64_t local);

void host_leave(struct host *host);
int host_feed(struct host *host, unsigned int from, const void *bytes, size_t len);
void host_message(struct host *host, unsigned int from, const void *bytes, size_t len);
void host_received(struct host *host);
void host_hello(struct host *host, void *bytes);
bool host_peer_up(struct host *host, unsigned int peer, const void *hello, size_t len);
void host_peer_down(struct host *host, unsigned int peer);

/* The module has a request for khd. */
void host_kick(struct host *host);
void host_fetch_again(struct host *host);
void host_forget_fetched(struct host *host);

void host_pause(struct host *host);
void host_resume(struct host *host);
void host_crash(struct host *host);
void host_start(struct host *host);
void host_machine_down(struct host *host);
void host_machine_up(struct host *host);

/* A client operation; its reply is awaited.  False if too many are under way. */
bool host_op(struct host *host, const struct kh_op *op, unsigned int region);

/* A client of some node asks something that changes nothing. */
void host_random_op(struct sim *sim);

/* What the directory of @region's home says of @unit, or NULL if it does not say so at once. */
const struct kh_page_info *host_page(struct sim *sim, unsigned int region, unsigned int unit);

#endif /* SIM_HOST_H */
