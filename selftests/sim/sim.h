/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim.h - a whole cluster in one process, from a seed
 *
 * sim.c     one history
 * clock.c   the virtual clock: the queue of what will happen, the trace hash
 * net.c     connections: FIFO, delay, loss with reconnect, partitions
 * host.c    one machine: clock, khd (lib/core) with its disk, the module below it
 * module.c  the module: the real kmod/page.c, frames, requests, leases
 * proc.c    processes that load, store, add and lock
 * store.c   page stores, and what processes ask to be durable
 * oracle.c  what the words really hold: who may have seen what, who was told
 * bound.c   what nobody asks for is durable in time
 * check.c   invariants after every event, and the end
 * fault.c   what goes wrong, and when
 * client.c  clients that free and allocate
 * corpus.c  messages as inputs for fuzzers
 *
 * Everything that happens is one entry of the queue; equal times are taken in the order of
 * entry, and random numbers come from one stream, so a seed is a history.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "lib/core/node.h"
#include "rng.h"

#define SIM_NODES_MAX 5
#define SIM_REGIONS 2
#define SIM_UNITS_MAX 4 /* of a region */
#define SIM_WORDS 3 /* of a unit that are used */
#define SIM_PROCS 3 /* of a machine */

#define US 1000ull
#define MS (1000 * US)
#define SEC (1000 * MS)

/* Kinds of faults, bits of sim_config.faults. */
#define SIM_FAULT_DROP (1u << 0) /* connections break */
#define SIM_FAULT_DUP (1u << 1) /* messages arrive twice */
#define SIM_FAULT_PARTITION (1u << 2) /* nothing passes, both ways */
#define SIM_FAULT_ONEWAY (1u << 3) /* nothing passes, one way */
#define SIM_FAULT_PAUSE (1u << 4) /* SIGSTOP of a khd */
#define SIM_FAULT_CRASH (1u << 5) /* SIGKILL of a khd, restart */
#define SIM_FAULT_REBOOT (1u << 6) /* a machine dies and boots */
#define SIM_FAULT_DRIFT (1u << 7) /* clocks of different speed */
#define SIM_FAULT_SLOW (1u << 8) /* slow links */
#define SIM_FAULT_KILL (1u << 9) /* processes killed while they wait */
#define SIM_FAULT_REFS (1u << 10) /* frames referenced after the zap */
#define SIM_FAULT_RECLAIM (1u << 11) /* droppable copies are dropped */
#define SIM_FAULT_OVERLAP (1u << 12) /* failures of one node before another one is over */
#define SIM_FAULT_POWER (1u << 13) /* all machines die at once; only with stores */
#define SIM_FAULT_MEMORY (1u << 14) /* a module has no frames left for a while */
#define SIM_FAULT_REFUSE (1u << 15) /* a store has no space, or no memory to read, or fails */
#define SIM_FAULT_KINDS 16
#define SIM_FAULT_ALL ((1u << SIM_FAULT_KINDS) - 1)

struct sim_config {
	uint64_t seed;
	unsigned int nodes;
	unsigned int ops; /* per history */
	uint32_t faults;
	bool stores; /* machines have page stores */
	bool rot; /* which now and then cannot read what they have */
	const char *plant;
	const char *corpus; /* directory for inputs of fuzzers, NULL: none */
	FILE *trace; /* where every event is written, NULL: nowhere */
};

#define SIM_STATS(X)             \
	X(histories)             \
	X(operations)            \
	X(overlapping_pairs)     \
	X(messages)              \
	X(drops)                 \
	X(duplicates)            \
	X(reorderings)           \
	X(disconnects)           \
	X(partitions)            \
	X(pauses)                \
	X(crashes)               \
	X(reboots)               \
	X(expiries)              \
	X(resumes)               \
	X(losts)                 \
	X(poisons)               \
	X(handoffs)              \
	X(downgrades)            \
	X(upgrades)              \
	X(revoking)              \
	X(orphans)               \
	X(residency_waits)       \
	X(locks)                 \
	X(lock_lapses)           \
	X(overwrites)            \
	X(kills)                 \
	X(timeouts)              \
	X(io_errors)             \
	X(reclaims)              \
	X(rollbacks)             \
	X(forgotten_ops)         \
	X(undecided)             \
	X(stale_refused)         \
	X(restarts_with_waiters) \
	X(flushes)               \
	X(stored)                \
	X(loaded)                \
	X(power_cuts)            \
	X(frees)                 \
	X(no_memory)             \
	X(prefetched)            \
	X(pruned)                \
	X(async_stored)          \
	X(async_beside)          \
	X(home_died_taking)      \
	X(home_died_giving)      \
	X(place_died_taking)     \
	X(place_died_giving)     \
	X(refused_full)          \
	X(refused_read)          \
	X(refused_io)            \
	X(rotted)                \
	X(rot_found)             \
	X(rot_repaired)          \
	X(key_changes)           \
	X(key_refusals)          \
	X(key_plain)             \
	X(key_held)

struct sim_stats {
#define X(name) uint64_t name;
	SIM_STATS(X)
#undef X
};

struct sim;
typedef void sim_fn(struct sim *sim, uint64_t a, uint64_t b);

struct sim_event {
	uint64_t time, seq, a, b;
	sim_fn *fn;
};

struct host;
struct net;
struct oracle;
struct module;
struct proc;
struct store;

/* One of the regions that the processes share. */
struct sim_region {
	struct khazana_addr addr;
	unsigned int home; /* index of the host */
	unsigned int unit_shift, units;
	uint32_t lease_ms, wait_ms;
	uint8_t key[KH_KEY_SIZE]; /* the first one, see sim_key() */
	unsigned int keys; /* changes that are known to be done */
	bool rekeying; /* another one is under way */
	unsigned int split; /* units that are allocated first, the rest perhaps by another node */
	unsigned int allocated;
	bool ready;
};

enum client_state {
	CLIENT_IDLE, /* all is allocated */
	CLIENT_FREEING, /* until it is known to be done */
	CLIENT_FREED,
	CLIENT_ALLOCATING,
	CLIENT_REKEYING, /* until it is known to be done */
};

/* A client of a region. */
struct sim_client {
	enum client_state state;
	unsigned int host; /* where it runs */
	unsigned int lo, n; /* units that it frees */
	bool has_changed; /* the new key is the region's already, it seems */
	uint64_t mean; /* between two of its operations, about */
	uint64_t asked, life; /* the operation under way, and of which khd */
	uint64_t turn;
};

/* Of two daemons, or of one. */
struct sim_bound_pair {
	uint64_t since; /* when all was well again, UINT64_MAX: it is not */
	uint64_t life;
};

struct sim_bound_home {
	uint64_t settled; /* since when it knows what there is, UINT64_MAX: it does not */
	uint64_t life;
};

struct sim_bound_unit {
	uint64_t head; /* is to be stored, 0: nothing is */
	uint64_t at; /* since when it should be under way */
	bool trouble; /* something was wrong elsewhere meanwhile */
	unsigned int asked; /* host that a FLUSH beside a request went to, 1..., 0: none */
	uint64_t asked_until; /* when its home gives that up */
};

/* See bound.h. */
struct sim_bound {
	struct sim_bound_pair pairs[SIM_NODES_MAX][SIM_NODES_MAX];
	struct sim_bound_home homes[SIM_NODES_MAX];
	struct sim_bound_unit units[SIM_REGIONS][SIM_UNITS_MAX];
	bool trouble; /* something is wrong somewhere */
};

struct sim {
	struct sim_config cfg;
	struct rng rng;
	uint64_t now; /* true time, ns */
	uint64_t stamp; /* order of calls and returns of operations */
	uint64_t seq;
	uint64_t hash;
	struct sim_event *heap;
	size_t heap_len, heap_size;
	struct sim_stats stats;
	struct sim_region regions[SIM_REGIONS];
	struct sim_client clients[SIM_REGIONS];
	struct host *hosts[SIM_NODES_MAX];
	struct net *net;
	struct oracle *oracle;
	uint64_t next_att;
	uint32_t touched[SIM_REGIONS]; /* units that changed on some machine in this event */
	unsigned int ops_started;
	struct sim_bound bound;
	uint64_t trouble_until; /* a failure of a node is not over before */
	bool faults_over; /* nothing goes wrong any more */
	bool quiesce; /* processes begin nothing new */
	bool failed;
	char why[512]; /* the first violation */
};

/* clock.c */
struct sim_event sim_next(struct sim *sim);
void sim_at(struct sim *sim, uint64_t time, sim_fn *fn, uint64_t a, uint64_t b);
static inline void sim_in(struct sim *sim, uint64_t delay, sim_fn *fn, uint64_t a, uint64_t b)
{
	sim_at(sim, sim->now + delay, fn, a, b);
}
void sim_hash(struct sim *sim, const void *data, size_t len);
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_violation(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Of all regions, in nanoseconds. */
uint64_t sim_longest_lease(const struct sim *sim);
static inline bool sim_has(const struct sim *sim, uint32_t fault)
{
	return (sim->cfg.faults & fault) && !sim->faults_over;
}

/* The @number-th key of a region, 0 is the one that it was reserved with. */
static inline void sim_key(const struct sim_region *r, unsigned int number, uint8_t *key)
{
	memcpy(key, r->key, KH_KEY_SIZE);
	key[0] ^= number;
	key[1] ^= number >> 8;
}

/* sim.c */
/**
 * sim_run() - one history, to its end or to the first violation
 * @cfg: what to run
 * @stats: added to
 * @hash: out: of every message and event
 * @why: out: the violation, at least 512 bytes; untouched if there was none
 *
 * Return: true if nothing was violated.
 */
bool sim_run(const struct sim_config *cfg, struct sim_stats *stats, uint64_t *hash, char *why);

#endif /* SIM_H */
