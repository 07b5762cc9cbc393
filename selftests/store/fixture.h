/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fixture.h - a store on a simulated disk, and calls that are waited for */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "khd/store/store.h"
#include "selftests/store/disk_sim.h"

struct fixture {
	struct disk_sim *sim;
	struct khd_store *store;
	struct khd_store_config config;
	struct khd_store_recovery recovery;
	uint64_t now;
	unsigned int events;
	char event[400];
};

/* A call. */
struct wait {
	struct khd_store_op op;
	bool done;
	int error;
};

extern uint64_t damages; /* that found() was told of */

/* The last event, and how many. */
void heard(void *arg, const char *name, const char *text);
/* The errno. */
int open_store(struct fixture *f);
/* A new store of 8 MiB on a new disk. */
int setup(void **state);
/* The same, on a disk with sectors of 4096 bytes. */
int setup_4k(void **state);
/* Another new disk, with a store on it as @f->config says now. */
void setup_again(struct fixture *f, uint64_t seed);
/* A done for struct wait: called once. */
void waited(struct khd_store_op *op, int error);
/* Until the call has ended, with ticks when the disk rests; its errno. */
int finish(struct fixture *f, struct wait *w);
/* Until the disk has nothing to do. */
void settle(struct fixture *f);
/* So many seconds, each with what it sets going. */
void tick(struct fixture *f, uint64_t seconds);
/* Calls, waited for; their errno. */
int reserve(struct fixture *f, const struct khd_range *range);
int release(struct fixture *f, const struct khd_range *range);
int resize(struct fixture *f, uint64_t capacity);
struct khd_range range_of(uint64_t lo, uint64_t units, uint32_t shift, uint64_t generation);
struct khd_key key_of(const struct khd_range *r, uint64_t unit);
/* For units; full of rubbish. */
void *memory(size_t bytes);
/* Not waited for; @buf gets the unit's contents of that version. */
void begin_put(struct fixture *f, struct wait *w, const struct khd_range *r, uint64_t unit,
	       uint64_t version, void *buf, uint32_t flags);
int put(struct fixture *f, const struct khd_range *r, uint64_t unit, uint64_t version);
/* The version, with its contents checked, or a negative errno. */
int64_t get(struct fixture *f, const struct khd_range *r, uint64_t unit);
int stop(struct fixture *f);
void reopen(struct fixture *f);
/* The power goes; what was not flushed is lost as @how says.  Nobody opens what is left. */
void power_cut(struct fixture *f, enum disk_crash how);
/* The same, and it is opened. */
int crash(struct fixture *f, enum disk_crash how);
/* From now on that many reads, at most, are held at the disk while the world goes on. */
void hold_reads(struct fixture *f, unsigned int most);
/* Those that are held, in their order. */
extern struct khd_disk_io *held[KHD_STORE_PUTS_MAX];
extern unsigned int held_count;
/* They go to the disk, and none is held any more. */
void let_reads_go(struct fixture *f);
/* For khd_store_check(). */
void found(void *arg, const char *file, uint64_t offset, const char *what);
int teardown(void **state);

#endif /* STORE_FIXTURE_H */
