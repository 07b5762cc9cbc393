/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h - uses a store on a simulated disk as the world says, and judges each answer
 *
 * Operations overlap: a driver begins some, lets the disk make steps, and begins more.  What their
 * ends prove is written down in the world at once, so that a crash at any moment finds in it
 * exactly what may be and what must be there.
 */
#ifndef STORE_DRIVER_H
#define STORE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "selftests/store/disk_sim.h"
#include "selftests/store/world.h"

#define DRIVER_OPS 24 /* under way at once */

enum driver_kind {
	DRIVER_IDLE,
	DRIVER_PUT,
	DRIVER_GET,
	DRIVER_LOOKUP,
	DRIVER_FLUSH,
	DRIVER_RESERVE,
	DRIVER_RELEASE,
	DRIVER_PARK,
	DRIVER_PARKED_GET,
	DRIVER_DISCARD,
	DRIVER_RANGES,
	DRIVER_STOP,
};

/**
 * struct driver_op - one call under way
 * @op: the store's; first
 * @kind: which, DRIVER_IDLE: it is free
 * @unit: which one, or the first of a range
 * @units: of a range
 * @parked: which one
 * @floor: PUT: unused; GET: what it must at least find; FLUSH, see @dones
 * @dones: FLUSH: what was done when it was called, by unit
 * @was: the state of the unit when it was called
 * @buf: its memory
 * @error: its result
 * @range, @found: out
 */
struct driver_op {
	struct khd_store_op op;
	struct driver *driver;
	enum driver_kind kind;
	uint32_t unit, units, parked;
	uint64_t floor, version, generation;
	uint64_t *dones;
	void *buf;
	size_t room;
	bool after; /* begun when the store was out of service */
	bool keep; /* the caller looks at the result and frees it */
	bool finished;
	int error;
	struct khd_range range;
	struct khd_parked found;
};

/* How it ends: first violation, one line; why[0] is 0 without one. */
struct driver_why {
	char text[400];
	bool torn; /* else lost, or some other promise */
};

/**
 * struct driver - a store in use
 * @tolerant: the disk fails or rots: EIO and EBADMSG are answers, and damage may be reported
 * @broken: an operation answered EIO, all that are called after it must
 * @damages: events that name damage
 * @refused: answers that were EBADMSG
 * @unopened: times that the store did not open, since its disk had failed
 * @on_damage: called with the text of each such event, may be NULL
 */
struct driver {
	struct disk_sim *sim;
	struct khd_store *store;
	struct world *world;
	struct khd_store_config config;
	struct driver_op ops[DRIVER_OPS];
	unsigned int under_way;
	uint64_t now;
	bool tolerant, broken;
	uint64_t damages, refused, stales, fulls, finished, unopened;
	void (*on_damage)(void *arg, const char *text);
	void *damage_arg;
	char event[256];
	struct driver_why *why;
};

void driver_init(struct driver *d, struct disk_sim *sim, struct world *world,
		 const struct khd_store_config *config, struct driver_why *why);
/* Frees memory and, when it is still open, kills the store. */
void driver_free(struct driver *d);

/* Open the store; a positive errno. */
int driver_open(struct driver *d);
/* Stop and close in order; nothing may be under way. */
void driver_close(struct driver *d);

void driver_fail(struct driver *d, bool torn, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline bool driver_failed(const struct driver *d)
{
	return d->why->text[0];
}

/* A free operation, or NULL; @bytes of memory. */
struct driver_op *driver_get(struct driver *d, enum driver_kind kind, size_t bytes);
/* One step of the disk; a tick when there is none to make. false: nothing will happen any more. */
bool driver_step(struct driver *d);
/* Until nothing is under way; a violation if that does not come about. */
void driver_drain(struct driver *d);
/* Until @op, which has keep set, has finished. */
void driver_wait(struct driver *d, struct driver_op *op);
/* Give back what was kept. */
void driver_put(struct driver_op *op);
/* Let time pass, so that a checkpoint is due. */
void driver_tick(struct driver *d, uint64_t ns);

/* Calls. NULL, and nothing done, when too many are under way. */
struct driver_op *driver_store(struct driver *d, uint32_t unit, uint64_t version, uint32_t flags);
struct driver_op *driver_load(struct driver *d, uint32_t unit, bool data);
struct driver_op *driver_flush(struct driver *d);
struct driver_op *driver_reserve(struct driver *d, uint32_t unit, uint32_t units);
struct driver_op *driver_release(struct driver *d, uint32_t unit, uint32_t units);
struct driver_op *driver_park(struct driver *d, uint32_t unit);
struct driver_op *driver_discard(struct driver *d, uint32_t parked, uint64_t id);

#endif /* STORE_DRIVER_H */
