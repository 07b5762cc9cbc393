/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check_store.h - the parts of check_store: crashes, faults, rot
 */
#ifndef STORE_CHECK_STORE_H
#define STORE_CHECK_STORE_H

#include "selftests/store/driver.h"

/**
 * struct check_options - as given on the command line
 * @plant: planted bug, or NULL
 * @seed0, @seeds: which
 * @points: begin no further seed after so many distinct crash points
 * @calls: of each life
 * @jobs: processes
 * @stop: at the first violation
 * @trace: print the hash of everything each life's disk did
 */
struct check_options {
	const char *plant;
	uint64_t seed0, seeds, points;
	unsigned int calls, jobs;
	bool stop, trace;
};

/* Counts of all processes, in shared memory. */
struct check_totals {
	_Atomic uint64_t points, images, nested, checked, rebuilds, writable, lives, calls, lost,
		torn;
	_Atomic uint64_t faults, survived, recovery_faults, rebuild_faults;
	_Atomic uint64_t flips, noticed, harmless;
	_Atomic uint64_t current[8]; /* seed of each process */
	_Atomic uint64_t stop;
};

#define CHECK_HASHES (1u << 22) /* of images seen, for all processes */

extern struct check_totals *check_totals;

/* Was this image new? */
bool check_image_is_new(uint64_t hash);

/* Counts and prints a violation. */
void check_violation(const struct driver_why *why, const char *where, uint64_t seed);

/* Each is run for one seed. */
void check_crash(const struct check_options *opt, uint64_t seed);
void check_fault(const struct check_options *opt, uint64_t seed);
void check_rot(const struct check_options *opt, uint64_t seed);

#endif /* STORE_CHECK_STORE_H */
