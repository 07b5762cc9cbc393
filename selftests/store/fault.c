// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fault.c - the n-th operation of the disk fails, for every n
 *
 * One workload again and again, until it passes without having met the fault.  After an error
 * the store is out of service; what had been acknowledged is there when it is opened again, on what
 * a crash left and on what was there.
 *
 * Then what a crash of that workload left, recovered again and again with a fault, and its index
 * made anew: each ends with the disk's error or well, and nothing is lost by it.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftests/store/check_store.h"
#include "selftests/store/life.h"
#include "selftests/store/verify.h"

static const char *const fault_names[DISK_FAULTS] = {
	[DISK_EIO_READ] = "EIO of a read",
	[DISK_SHORT_READ] = "short read",
	[DISK_EIO_WRITE] = "EIO of a write",
	[DISK_SHORT_WRITE] = "short write",
	[DISK_ENOSPC] = "ENOSPC",
	[DISK_EIO_FLUSH] = "failed flush",
};

/* Every call after the first error is EIO, and the figures say so. */
static void out_of_service(struct driver *d)
{
	struct khd_store_stats stats;

	driver_drain(d);
	if (driver_failed(d) || !d->broken)
		return;
	driver_flush(d);
	driver_load(d, 0, true);
	driver_store(d, 0, d->world->units[0].sent + 1, KHD_STORE_SYNC);
	driver_park(d, 0);
	driver_drain(d);
	khd_store_stats(d->store, &stats);
	if (!stats.error)
		driver_fail(d, false, "an EIO was answered, but the store says it is in service");
}

static bool failed(const struct driver *d)
{
	struct khd_store_stats stats = { 0 };

	if (d->store)
		khd_store_stats(d->store, &stats);
	return stats.error && stats.error != ENOMEM && stats.error != ENOSPC;
}

/* The disk goes; what was wrong is told. */
static void run_end(struct driver *d, struct disk_sim *sim, const char *where, uint64_t seed)
{
	const struct driver_why *why = d->why;

	if (sim->broken)
		driver_fail(d, false, "the disk was used wrongly: %s", sim->broken);
	driver_free(d);
	sim->dead = true;
	disk_sim_free(sim);
	if (why->text[0])
		check_violation(why, where, seed);
}

/* The workload with one fault; true if the fault was met. */
static bool one(const struct check_options *opt, uint64_t seed, enum disk_fault fault, uint64_t at,
		uint64_t count)
{
	const struct life_profile *p = life_profile(seed);
	static const enum disk_crash hows[] = { DISK_LOST, DISK_ALL, DISK_DRAWN };
	struct world *world = calloc(2, sizeof(*world));
	struct disk_sim *sim = life_disk(p, seed), *left;
	struct rng rng = { .state = seed * 31 };
	struct khd_store_config config;
	struct driver_why why = { 0 };
	struct driver d;
	char where[120];
	unsigned int i;
	bool met, marked;
	int error;

	if (!world)
		abort();
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed & 0xffffff) + 1, NULL);
	snprintf(where, sizeof(where), "%s at %llu, %s", fault_names[fault], (unsigned long long)at,
		 count == 1 ? "once" : "for good");
	life_config(p, seed, &config);
	config.plant = opt->plant;
	world_init(world, p->shifts, p->counts, p->places);
	driver_init(&d, sim, world, &config, &why);
	d.tolerant = true;
	disk_sim_fail(sim, fault, at, count);
	error = khd_store_format(&sim->base, &config);
	world->made = !error;
	error = error ? error : driver_open(&d);
	if (error && !sim->counts.faults)
		driver_fail(&d, false, "cannot begin: %d", error);
	if (!error) {
		life_run(&d, &rng, opt->calls / 2);
		if (d.store)
			out_of_service(&d);
	}
	met = sim->counts.faults;
	if (d.broken && !met)
		driver_fail(&d, false, "EIO without a fault; %s", d.event);
	check_totals->faults += met;
	check_totals->survived += met && !d.broken && !error;
	/* one that failed once can still write that it did */
	marked = count == 1 && failed(&d);
	for (i = 0; i < 3 && !why.text[0]; i++) {
		struct driver again;

		left = disk_sim_crash(sim, hows[i], seed + at);
		world_copy(&world[1], world);
		verify_crash(&again, left, &world[1], &config, &why, true);
		if (marked && hows[i] == DISK_ALL && !again.unopened)
			driver_fail(&again, false, "a store whose disk failed opens");
		driver_free(&again);
		disk_sim_free(left);
	}
	run_end(&d, sim, where, seed);
	free(world);
	return met && !why.text[0];
}

/* ------------------------------------------------------------ recovery and rebuild */

/**
 * struct sweep - one image, and what is done with it under every fault
 * @left: what the crash left
 * @world: what had been acknowledged
 * @rebuild: the index is made anew, else the store is opened
 */
struct sweep {
	const struct check_options *opt;
	uint64_t seed;
	struct disk_sim *left;
	struct world *world, *scratch;
	struct khd_store_config config;
	bool rebuild;
};

/* Nothing else may come of a disk that fails, and a full one is only said to be full. */
static bool is_disks(enum disk_fault fault, int error)
{
	return error == EIO || (error == ENOSPC && fault == DISK_ENOSPC);
}

static void opened(struct sweep *s, struct driver *d, enum disk_fault fault)
{
	int error = driver_open(d);

	if (error && !is_disks(fault, error))
		driver_fail(d, false, "does not open: %s; %s", strerror(error), d->event);
	if (error)
		return;
	driver_flush(d);
	driver_drain(d);
}

/* What is there after it: for a rebuild that was cut off, after another one. */
static void verify_left(struct sweep *s, struct driver *d, struct disk_sim *left,
			struct driver_why *why, bool again)
{
	int ret = again ? khd_store_rebuild(&left->base, NULL, NULL) : 0;

	world_copy(s->scratch, s->world);
	if (!ret) {
		verify_crash(d, left, s->scratch, &s->config, why, false);
		return;
	}
	driver_init(d, left, s->scratch, &s->config, why);
	driver_fail(d, false, "a rebuild after the fault: %s", strerror(-ret));
}

/* With one fault; true if it was met, and nothing was wrong. */
static bool swept(struct sweep *s, enum disk_fault fault, uint64_t at, uint64_t count)
{
	static const enum disk_crash hows[] = { DISK_LOST, DISK_ALL, DISK_DRAWN };
	struct disk_sim *sim = disk_sim_crash(s->left, DISK_ALL, s->seed), *left;
	struct driver_why why = { 0 };
	struct driver d, again;
	char where[120];
	unsigned int i;
	int ret = 0;
	bool met;

	snprintf(where, sizeof(where), "%s, %s at %llu, %s", s->rebuild ? "rebuild" : "recovery",
		 fault_names[fault], (unsigned long long)at, count == 1 ? "once" : "for good");
	world_copy(s->scratch, s->world);
	driver_init(&d, sim, s->scratch, &s->config, &why);
	d.tolerant = true;
	disk_sim_fail(sim, fault, at, count);
	if (s->rebuild)
		ret = khd_store_rebuild(&sim->base, NULL, NULL);
	else
		opened(s, &d, fault);
	if (ret && !is_disks(fault, -ret))
		driver_fail(&d, false, "ends with %s", strerror(-ret));
	met = sim->counts.faults;
	check_totals->faults += met;
	if (s->rebuild)
		check_totals->rebuild_faults += met;
	else
		check_totals->recovery_faults += met;
	check_totals->survived += met && !ret && !d.broken && (s->rebuild || d.store);
	for (i = 0; i < 3 && !why.text[0]; i++) {
		left = disk_sim_crash(sim, hows[i], s->seed + at);
		verify_left(s, &again, left, &why, s->rebuild);
		driver_free(&again);
		disk_sim_free(left);
	}
	run_end(&d, sim, where, s->seed);
	return met && !why.text[0];
}

#define EVERY 48u /* n one after the other, then with steps */

static void sweep(struct sweep *s, bool rebuild)
{
	enum disk_fault fault;
	uint64_t at;

	s->rebuild = rebuild;
	/* a rebuild reads every slot twice: of its later reads some */
	for (fault = DISK_FINE + 1; fault < DISK_FAULTS; fault++)
		for (at = 1; swept(s, fault, at, 1) && swept(s, fault, at, UINT64_MAX);
		     at += at < EVERY ? 1 : 1 + at / 16)
			;
}

/* A life that ends with the power; recovery has records to replay. */
static bool cut_off(struct sweep *s)
{
	const struct life_profile *p = life_profile(s->seed);
	struct disk_sim *sim = life_disk(p, s->seed);
	struct rng rng = { .state = s->seed * 37 };
	struct driver_why why = { 0 };
	struct driver d;
	int error;

	life_config(p, s->seed, &s->config);
	s->config.plant = s->opt->plant;
	world_init(s->world, p->shifts, p->counts, p->places);
	error = khd_store_format(&sim->base, &s->config);
	driver_init(&d, sim, s->world, &s->config, &why);
	s->world->made = true;
	error = error ? -error : driver_open(&d);
	if (error)
		driver_fail(&d, false, "cannot begin: %s", strerror(error));
	else
		life_run(&d, &rng, s->opt->calls);
	driver_drain(&d);
	if (!driver_failed(&d))
		s->left = disk_sim_crash(sim, DISK_DRAWN, s->seed);
	driver_free(&d);
	sim->dead = true;
	disk_sim_free(sim);
	if (why.text[0])
		check_violation(&why, "a life for recovery", s->seed);
	return s->left;
}

static void check_recovery(const struct check_options *opt, uint64_t seed)
{
	struct sweep s = { .opt = opt, .seed = seed };

	s.world = calloc(2, sizeof(*s.world));
	if (!s.world)
		abort();
	s.scratch = &s.world[1];
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed & 0xffffff) + 1, NULL);
	if (cut_off(&s)) {
		sweep(&s, false);
		sweep(&s, true);
	}
	disk_sim_free(s.left);
	free(s.world);
}

void check_fault(const struct check_options *opt, uint64_t seed)
{
	enum disk_fault fault;
	uint64_t at;

	for (fault = DISK_FINE + 1; fault < DISK_FAULTS; fault++)
		for (at = 1; one(opt, seed, fault, at, 1) && one(opt, seed, fault, at, UINT64_MAX);
		     at++)
			;
	check_recovery(opt, seed);
}
