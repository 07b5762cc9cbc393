/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk_sim.h - a disk in memory that crashes, tears, reorders and fails, from a seed
 *
 * Each file has two images: `durable`, what a crash leaves for certain, and `now`, what is read.
 * Between them lies the list of what was written since, in order.  A flush moves to the durable
 * image what was complete when it was submitted: of all files, or of its own if it is asynchronous.
 * A crash draws, from a seed, which sectors of which pending writes made it, and makes
 * a new disk of that; the old one goes on undisturbed, so that one workload can crash at every step
 * of its way.
 *
 * Changes of size and removals reach the disk in their order (a journaling file system), but
 * in no order with data; data written behind a cut, or after a removal, are
 * there only if the cut is.
 *
 * A disk has sectors of 512 bytes, or says 4096: then it is one that writes as much at once (4Kn),
 * or one that may be torn at 512 all the same, which is harder.  That is a 512e disk below a kernel
 * that does not say what O_DIRECT asks, or one to which a store was copied.
 *
 * Operations complete in random order, when disk_sim_step() is called; jobs run and are done
 * at such steps too.  Nothing here is a thread or looks at a clock: the same seed and the same
 * calls give the same trace.
 */
#ifndef STORE_DISK_SIM_H
#define STORE_DISK_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "khd/store/disk.h"
#include "selftests/sim/rng.h"
#include "selftests/store/image.h"

/* What can go wrong at the n-th operation of its kind. */
enum disk_fault {
	DISK_FINE,
	DISK_EIO_READ, /* of reads */
	DISK_SHORT_READ,
	DISK_EIO_WRITE, /* of writes, resizes, reservations and removals; some sectors may be
			   written */
	DISK_SHORT_WRITE, /* of writes; a part is written */
	DISK_ENOSPC, /* of writes and resizes, and of what reserves; nothing is done */
	DISK_EIO_FLUSH, /* of flushes; what was to be flushed is kept in part, the rest forgotten */
	DISK_FAULTS
};

/* How a crash draws what survives. */
enum disk_crash {
	DISK_LOST, /* nothing that was not flushed */
	DISK_ALL, /* all of it */
	DISK_DRAWN, /* one of: by sector, by write, the first ones and a torn one, the last ones */
};

struct disk_counts {
	uint64_t reads, writes, flushes, resizes, removes, jobs;
	uint64_t bytes_read, bytes_written;
	uint64_t faults; /* injected */
	uint64_t in_flight_most, pending_most;
};

struct disk_pending;

/**
 * struct disk_sim - the disk
 * @base: for the store; its sector is what operations must keep to
 * @atom: bytes that are old or new after a crash
 * @rng: of the order of completions, and of faults
 * @durable: what survives
 * @now: what is read
 * @reserved: bytes of space that each file has for good; 0: nobody asked
 * @pending: since then; in order of submission
 * @clock: counts submissions and completions
 * @ios: in flight
 * @jobs: not run yet, in order
 * @ran: run, not done, in order
 * @fault: what shall fail
 * @fault_at: the first that does; counts down, the first is 1
 * @fault_for: how many do
 * @flush_failed: one did, all do
 * @dead: everything fails, at once and without an effect
 * @point: called after each change of what a crash might leave, and after each call of a `done`
 * @counts: for those who look
 * @trace: hash of all operations, in order
 * @broken: NULL, or how the store broke its side of the contract
 */
struct disk_sim {
	struct khd_disk base;
	unsigned int atom;
	struct rng rng;
	struct image durable[KHD_FILES], now[KHD_FILES];
	uint64_t reserved[KHD_FILES];
	struct disk_pending *pending;
	size_t pending_count, pending_room;
	uint64_t clock;
	struct khd_disk_io **ios;
	size_t io_count, io_room;
	struct khd_job *jobs, **jobs_end, *ran, **ran_end;
	enum disk_fault fault;
	uint64_t fault_at, fault_for;
	bool flush_failed, dead;
	void (*point)(void *arg);
	void *point_arg;
	struct disk_counts counts;
	uint64_t trace;
	const char *broken;
};

/* An empty disk. */
struct disk_sim *disk_sim_new(uint64_t seed);

/* Sectors of other sizes, from now on; a crash leaves a disk of the same. */
void disk_sim_sectors(struct disk_sim *sim, unsigned int sector, unsigned int atom);

/* Nothing may be in flight, unless the disk is dead: then it is dropped. NULL is allowed. */
void disk_sim_free(struct disk_sim *sim);

/* A disk with what @sim had when the power went. */
struct disk_sim *disk_sim_crash(const struct disk_sim *sim, enum disk_crash how, uint64_t seed);

/* One completion, one job run, or one job done.  false: there is nothing left to do. */
bool disk_sim_step(struct disk_sim *sim);

/* Of what is durable, all files. */
uint64_t disk_sim_hash(const struct disk_sim *sim);

/* The next operations of @fault's kind fail, from the @at-th (1: the next), @count of them. */
void disk_sim_fail(struct disk_sim *sim, enum disk_fault fault, uint64_t at, uint64_t count);

/* Bit rot: change what is stored and what is read. */
void disk_sim_flip(struct disk_sim *sim, enum khd_disk_file file, uint64_t bit);

#endif /* STORE_DISK_SIM_H */
