// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main.c - khsim: histories of simulated clusters, seed by seed
 *
 * Exit status: 0 no violation, 1 violations, 2 usage.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fault.h"
#include "sim.h"

#define REPORTS_MAX 3 /* violations shown with their trace, per process */
#define TAIL_LINES 60
#define JOBS_MAX 16

struct options {
	struct sim_config cfg;
	const char *faults;
	uint64_t seed0, seeds;
	unsigned int jobs;
	bool twice, stop;
};

/* What one process found. */
struct result {
	struct sim_stats stats;
	uint64_t violations, first_seed, hash;
};

static const char usage[] = "usage: khsim [--seeds N] [--seed0 S] [--nodes N] [--ops N] [--faults "
			    "LIST] [--stores] [--rot] [--plant NAME]\n"
			    "             [--jobs N] [--trace] [--twice] [--stop] [--corpus DIR]\n"
			    "  --seeds N     histories to run (100), seeds S, S+1, ...\n"
			    "  --nodes N     machines, 2 to 5 (3)\n"
			    "  --ops N       operations of a history (500)\n"
			    "  --faults LIST of "
			    "drop,dup,partition,oneway,pause,crash,reboot,drift,slow,kill,refs,"
			    "reclaim,power,memory,refuse;\n"
			    "                each seed takes a subset of them; or single: all of "
			    "them, but one node has\n"
			    "                recovered before another one fails (default); or all: "
			    "also overlap, a node\n"
			    "                fails at any time; or none\n"
			    "  --plant NAME  plant a bug (see enum kh_plant in lib/core/core.h)\n"
			    "  --stores      machines have page stores, and processes flush\n"
			    "  --rot         the same, and what is stored becomes unreadable now "
			    "and then\n"
			    "  --jobs N      processes (1)\n"
			    "  --trace       write every event\n"
			    "  --twice       run each seed twice: the trace hash must be the same\n"
			    "  --stop        at the first violation\n"
			    "  --corpus DIR  write messages to DIR/wire and DIR/crew, inputs for "
			    "the fuzzers\n";

/* Repeat a violation with the trace on and show how it ends. */
static void show_tail(const struct sim_config *cfg)
{
	struct sim_config again = *cfg;
	struct sim_stats stats = { 0 };
	char line[400], why[512];
	long lines = 0, skip;
	uint64_t hash;

	again.trace = tmpfile();
	if (!again.trace)
		return;
	sim_run(&again, &stats, &hash, why);
	rewind(again.trace);
	while (fgets(line, sizeof(line), again.trace))
		lines += !!strchr(line, '\n');
	rewind(again.trace);
	for (skip = lines - TAIL_LINES; fgets(line, sizeof(line), again.trace);) {
		if (skip <= 0)
			printf("#   %s", line);
		skip -= !!strchr(line, '\n');
	}
	fclose(again.trace);
}

/* Every violation has its line; the first ones are shown with what led to them. */
static void report(const struct options *o, const struct sim_config *cfg, const char *why,
		   bool whole)
{
	printf("# VIOLATION seed %" PRIu64 ": %s\n", cfg->seed, why);
	if (!whole)
		return;
	printf("#   repeat: khsim --seed0 %" PRIu64 " --seeds 1 --nodes %u --ops %u --faults "
	       "%s%s%s%s%s --trace\n",
	       cfg->seed, cfg->nodes, cfg->ops, o->faults, cfg->stores ? " --stores" : "",
	       cfg->rot ? " --rot" : "", cfg->plant ? " --plant " : "",
	       cfg->plant ? cfg->plant : "");
	if (!cfg->trace && !cfg->plant)
		show_tail(cfg);
	fflush(stdout);
}

static void run_seed(const struct options *o, uint64_t seed, struct result *res)
{
	struct sim_config cfg = o->cfg;
	struct sim_stats unused = { 0 };
	char why[512] = "";
	uint64_t hash, again;
	bool ok;

	cfg.seed = seed;
	ok = sim_run(&cfg, &res->stats, &hash, why);
	res->hash = res->hash * 31 + hash;
	if (ok && o->twice) {
		sim_run(&cfg, &unused, &again, why);
		ok = again == hash;
		if (!ok)
			strcpy(why, "the same seed gave another trace hash");
	}
	if (ok)
		return;
	if (!res->violations++)
		res->first_seed = seed;
	report(o, &cfg, why, res->violations <= REPORTS_MAX);
}

static void run_job(const struct options *o, unsigned int job, struct result *res)
{
	uint64_t i;

	for (i = job; i < o->seeds && !(o->stop && res->violations); i += o->jobs)
		run_seed(o, o->seed0 + i, res);
}

static void merge(struct result *sum, const struct result *one)
{
	uint64_t *to = (uint64_t *)&sum->stats;
	const uint64_t *from = (const uint64_t *)&one->stats;
	size_t i;

	for (i = 0; i < sizeof(sum->stats) / sizeof(uint64_t); i++)
		to[i] += from[i];
	sum->violations += one->violations;
	sum->hash ^= one->hash;
}

/* Every other seed in a process of its own; one that dies is a violation. */
static void run_jobs(const struct options *o, struct result *sum)
{
	int pipes[JOBS_MAX][2];
	unsigned int i;

	fflush(stdout);
	for (i = 0; i < o->jobs; i++) {
		struct result res = { 0 };

		if (pipe(pipes[i]))
			exit(2);
		switch (fork()) {
		case -1:
			exit(2);
		case 0:
			run_job(o, i, &res);
			fflush(stdout);
			_exit(write(pipes[i][1], &res, sizeof(res)) == sizeof(res) ? 0 : 3);
		}
		close(pipes[i][1]);
	}
	for (i = 0; i < o->jobs; i++) {
		struct result res = { 0 };

		if (read(pipes[i][0], &res, sizeof(res)) != sizeof(res)) {
			printf("# VIOLATION: process %u died\n", i);
			res.violations = 1;
		}
		merge(sum, &res);
	}
	while (wait(NULL) > 0)
		;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "seeds", 1, NULL, 's' },  { "seed0", 1, NULL, '0' },	{ "nodes", 1, NULL, 'n' },
		{ "ops", 1, NULL, 'o' },    { "faults", 1, NULL, 'f' }, { "plant", 1, NULL, 'p' },
		{ "stores", 0, NULL, 'S' }, { "jobs", 1, NULL, 'j' },	{ "trace", 0, NULL, 't' },
		{ "twice", 0, NULL, '2' },  { "stop", 0, NULL, 'x' },	{ "corpus", 1, NULL, 'c' },
		{ "rot", 0, NULL, 'r' },    { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->seeds = strtoull(optarg, NULL, 0);
			break;
		case '0':
			o->seed0 = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o->cfg.nodes = strtoul(optarg, NULL, 0);
			break;
		case 'o':
			o->cfg.ops = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			o->faults = optarg;
			break;
		case 'p':
			o->cfg.plant = optarg;
			break;
		case 'j':
			o->jobs = strtoul(optarg, NULL, 0);
			break;
		case 't':
			o->cfg.trace = stdout;
			break;
		case '2':
			o->twice = true;
			break;
		case 'c':
			o->cfg.corpus = optarg;
			break;
		case 'S':
			o->cfg.stores = true;
			break;
		case 'r':
			o->cfg.stores = o->cfg.rot = true;
			break;
		case 'x':
			o->stop = true;
			break;
		default:
			return -1;
		}
	}
	o->cfg.faults = strcmp(o->faults, "none") ? fault_parse(o->faults) : 0;
	if (strcmp(o->faults, "none") && !o->cfg.faults)
		return -1;
	return optind < argc || o->cfg.nodes < 2 || o->cfg.nodes > SIM_NODES_MAX || !o->jobs ||
			       o->jobs > JOBS_MAX || !o->cfg.ops ?
		       -1 :
		       0;
}

static void print_stats(const struct result *sum)
{
#define X(name) printf("%s %" PRIu64 "\n", #name, sum->stats.name);
	SIM_STATS(X)
#undef X
	printf("hash %016" PRIx64 "\n", sum->hash);
	printf("%" PRIu64 " violations\n", sum->violations);
}

int main(int argc, char **argv)
{
	struct options o = {
		.cfg = { .nodes = 3, .ops = 500 },
		.faults = "single",
		.seed0 = 1,
		.seeds = 100,
		.jobs = 1,
	};
	struct result sum = { 0 };

	if (parse(argc, argv, &o)) {
		fputs(usage, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16); /* reports of two processes must not mix */
	if (o.jobs > 1)
		run_jobs(&o, &sum);
	else
		run_job(&o, 0, &sum);
	print_stats(&sum);
	return sum.violations ? 1 : 0;
}
