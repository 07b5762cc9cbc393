// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check_store.c - the page store on a disk that crashes, fails and rots
 *
 *	check_store crash|fault|rot [--seed0 S] [--seeds N] [--points N] [--calls N] [--jobs N]
 *			[--plant NAME] [--stop] [--trace]
 *
 * Everything follows from the seed: every fourth has a disk with sectors of 4096 bytes.  Exit
 *status 1: a violation, each of which has its line.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "selftests/store/check_store.h"

struct check_totals *check_totals;
static _Atomic uint64_t *hashes;

bool check_image_is_new(uint64_t hash)
{
	uint64_t at = hash % CHECK_HASHES, tries, was;

	if (!hash)
		hash = 1;
	for (tries = 0; tries < CHECK_HASHES; tries++, at = (at + 1) % CHECK_HASHES) {
		was = 0;
		if (hashes[at] == hash)
			return false;
		if (!hashes[at] &&
		    __atomic_compare_exchange_n((uint64_t *)&hashes[at], &was, hash, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
		if (was == hash)
			return false;
	}
	return false; /* full: not counted */
}

void check_violation(const struct driver_why *why, const char *where, uint64_t seed)
{
	if (why->torn)
		check_totals->torn++;
	else
		check_totals->lost++;
	printf("# VIOLATION seed %llu, %s: %s\n", (unsigned long long)seed, where, why->text);
	fflush(stdout);
}

static void run(void (*check)(const struct check_options *, uint64_t),
		const struct check_options *opt, unsigned int job)
{
	uint64_t seed;

	for (seed = opt->seed0 + job; seed < opt->seed0 + opt->seeds; seed += opt->jobs) {
		if (check_totals->points >= opt->points)
			break;
		if (opt->stop && (check_totals->lost || check_totals->torn))
			break;
		check_totals->current[job] = seed;
		check(opt, seed);
	}
}

/* Processes, not threads: a seed must not meet another one in SQLite. */
static bool run_all(void (*check)(const struct check_options *, uint64_t),
		    const struct check_options *opt)
{
	bool ok = true;
	pid_t pids[8];
	unsigned int job;
	int status;

	fflush(NULL);
	for (job = 0; job < opt->jobs; job++) {
		pids[job] = fork();
		if (!pids[job]) {
			run(check, opt, job);
			fflush(NULL);
			_exit(0);
		}
	}
	for (job = 0; job < opt->jobs; job++) {
		if (waitpid(pids[job], &status, 0) != pids[job] || status) {
			printf("# VIOLATION seed %llu: the process died, status %#x\n",
			       (unsigned long long)check_totals->current[job], status);
			ok = false;
		}
	}
	return ok;
}

static void summary(const char *mode)
{
	const struct check_totals *t = check_totals;

	if (!strcmp(mode, "crash"))
		printf("# summary: %llu lives, %llu calls, %llu images recovered, %llu crashes "
		       "during recovery, %llu checked, %llu rebuilds, %llu written full\n",
		       (unsigned long long)t->lives, (unsigned long long)t->calls,
		       (unsigned long long)t->images, (unsigned long long)t->nested,
		       (unsigned long long)t->checked, (unsigned long long)t->rebuilds,
		       (unsigned long long)t->writable);
	else if (!strcmp(mode, "fault"))
		printf("# summary: %llu injected faults, %llu of them without effect, %llu during "
		       "recovery, %llu during a rebuild\n",
		       (unsigned long long)t->faults, (unsigned long long)t->survived,
		       (unsigned long long)t->recovery_faults,
		       (unsigned long long)t->rebuild_faults);
	else
		printf("# summary: %llu damages, %llu noticed and named, %llu harmless\n",
		       (unsigned long long)t->flips, (unsigned long long)t->noticed,
		       (unsigned long long)t->harmless);
	if (!strcmp(mode, "crash"))
		printf("# %llu crash points, %llu lost, %llu torn\n", (unsigned long long)t->points,
		       (unsigned long long)t->lost, (unsigned long long)t->torn);
}

static void *shared(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return at;
}

static int usage(void)
{
	fprintf(stderr, "usage: check_store crash|fault|rot [--seed0 S] [--seeds N] [--points N]\n"
			"                   [--calls N] [--jobs N] [--plant NAME] [--stop]\n"
			"                   [--trace]\n");
	return 2;
}

static bool parse(struct check_options *opt, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed0", required_argument, NULL, 's' },
		{ "seeds", required_argument, NULL, 'n' },
		{ "points", required_argument, NULL, 'p' },
		{ "calls", required_argument, NULL, 'c' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "plant", required_argument, NULL, 'b' },
		{ "stop", no_argument, NULL, 'x' },
		{ "trace", no_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t n = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (c == 's')
			opt->seed0 = n;
		else if (c == 'n')
			opt->seeds = n;
		else if (c == 'p')
			opt->points = n;
		else if (c == 'c')
			opt->calls = (unsigned int)n;
		else if (c == 'j')
			opt->jobs = n < 1 ? 1 : n > 8 ? 8 : (unsigned int)n;
		else if (c == 'b')
			opt->plant = optarg;
		else if (c == 'x')
			opt->stop = true;
		else if (c == 't')
			opt->trace = true;
		else
			return false;
	}
	return optind == argc - 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*check)(const struct check_options *opt, uint64_t seed);
	} modes[] = { { "crash", check_crash }, { "fault", check_fault }, { "rot", check_rot } };
	struct check_options opt = {
		.seed0 = 1, .seeds = 1, .points = UINT64_MAX, .calls = 120, .jobs = 1
	};
	unsigned int i;
	bool ok;

	if (!parse(&opt, argc, argv))
		return usage();
	check_totals = shared(sizeof(*check_totals));
	hashes = shared(CHECK_HASHES * sizeof(*hashes));
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(argv[optind], modes[i].name))
			continue;
		ok = run_all(modes[i].check, &opt);
		summary(modes[i].name);
		return ok && !check_totals->lost && !check_totals->torn ? 0 : 1;
	}
	return usage();
}
