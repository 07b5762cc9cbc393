// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * crash.c - a crash at every write of a workload, and during the recovery from it
 *
 * At each point the power goes in several ways; what each leaves is opened and compared with the
 * world as it is at that moment.  The workload does not notice.  One crash ends its
 * life; the next begins with what that left.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftests/store/check_store.h"
#include "selftests/store/life.h"
#include "selftests/store/verify.h"

#define LIVES 3
#define SEEN 65536u

/* One in so many recoveries is followed by this. */
#define EVERY_NESTED 40
#define EVERY_REBUILD 24
#define EVERY_CHECKED 12
#define EVERY_WRITABLE 48
#define EVERY_DATA 2

/**
 * struct crash - one seed
 * @sim, @world: of the life under way
 * @rng: of the crashes, apart from that of the workload
 * @depth: 1 during a recovery that may crash again
 * @seen: images that were recovered with nothing more acknowledged than now
 */
struct crash {
	const struct check_options *opt;
	uint64_t seed, point, prng;
	struct khd_store_config config;
	struct disk_sim *sim;
	struct world *world;
	struct rng rng;
	unsigned int depth, violations;
	uint64_t seen[SEEN];
	struct world scratch[3];
};

/* SQLite's random numbers are those of the process: each recovery begins with the same. */
static void reseed(struct crash *c)
{
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(++c->prng & 0x3fffffff) + 1, NULL);
}

static void violation(struct crash *c, const struct driver_why *why, const char *what,
		      uint64_t draw)
{
	char where[160];

	snprintf(where, sizeof(where), "point %llu, %s, draw %#llx", (unsigned long long)c->point,
		 what, (unsigned long long)draw);
	check_violation(why, where, c->seed);
	c->violations++;
}

static void broken(struct driver *d, const struct disk_sim *sim)
{
	if (sim->broken)
		driver_fail(d, false, "the disk was used wrongly: %s", sim->broken);
}

static bool seen_before(struct crash *c, uint64_t hash)
{
	uint64_t key = (hash ^ c->world->acks * 0x9e3779b97f4a7c15ull) | 1;

	if (c->seen[key % SEEN] == key)
		return true;
	c->seen[key % SEEN] = key;
	return false;
}

static void count(uint64_t hash)
{
	if (check_image_is_new(hash))
		check_totals->points++;
}

/* ------------------------------------------------------------ what a recovery is put to */

static void during_recovery(void *arg)
{
	struct crash *c = arg;
	uint64_t draw = rng_next(&c->rng);
	struct disk_sim *left = disk_sim_crash(c->sim, DISK_DRAWN, draw);
	struct driver_why why = { 0 };
	struct driver d;

	count(disk_sim_hash(left));
	check_totals->nested++;
	world_copy(&c->scratch[1], c->world);
	verify_crash(&d, left, &c->scratch[1], &c->config, &why, false);
	driver_free(&d);
	if (why.text[0])
		violation(c, &why, "crash during recovery", draw);
	disk_sim_free(left);
}

/* What was recovered and read is there after another crash: it was durable when it was served. */
static void served_is_durable(struct crash *c, struct driver *served)
{
	struct disk_sim *left = disk_sim_crash(served->sim, DISK_LOST, 1);
	struct driver_why why = { 0 };
	struct driver d;

	count(disk_sim_hash(left));
	world_copy(&c->scratch[1], served->world);
	verify_crash(&d, left, &c->scratch[1], &c->config, &why, false);
	driver_free(&d);
	if (why.text[0])
		violation(c, &why, "crash after recovery", 0);
	disk_sim_free(left);
}

/* The index is made anew from slots and log; a crash on the way leaves what can be made anew. */
static void rebuilt(struct crash *c, const struct disk_sim *left, uint64_t draw)
{
	struct disk_sim *disk = disk_sim_crash(left, DISK_ALL, draw), *again;
	struct driver_why why = { 0 };
	struct driver d;
	int ret;

	check_totals->rebuilds++;
	ret = khd_store_rebuild(&disk->base, NULL, NULL);
	world_copy(&c->scratch[1], c->world);
	driver_init(&d, disk, &c->scratch[1], &c->config, &why);
	if (ret)
		driver_fail(&d, false, "rebuild: %s", strerror(-ret));
	else
		verify_crash(&d, disk, &c->scratch[1], &c->config, &why, false);
	driver_free(&d);
	disk_sim_free(disk);
	if (why.text[0]) {
		violation(c, &why, "rebuilt index", draw);
		return;
	}
	/* An error in the midst is as good as a crash there. */
	disk = disk_sim_crash(left, DISK_ALL, draw);
	disk_sim_fail(disk, DISK_EIO_WRITE, rng_range(&c->rng, 1, 12), UINT64_MAX);
	khd_store_rebuild(&disk->base, NULL, NULL);
	again = disk_sim_crash(disk, DISK_DRAWN, draw);
	disk_sim_free(disk);
	count(disk_sim_hash(again));
	ret = khd_store_rebuild(&again->base, NULL, NULL);
	world_copy(&c->scratch[1], c->world);
	driver_init(&d, again, &c->scratch[1], &c->config, &why);
	if (ret)
		driver_fail(&d, false, "rebuild after a crash: %s", strerror(-ret));
	else
		verify_crash(&d, again, &c->scratch[1], &c->config, &why, false);
	driver_free(&d);
	disk_sim_free(again);
	if (why.text[0])
		violation(c, &why, "rebuilt index after a crash", draw);
}

static void report_damage(void *arg, const char *file, uint64_t offset, const char *what)
{
	struct driver *d = arg;

	driver_fail(d, true, "check: %s offset %llu: %s", file, (unsigned long long)offset, what);
}

/* khadm store check of what a crash left: nothing to complain of, and nothing written. */
static void checked(struct crash *c, struct disk_sim *left, struct driver_why *why)
{
	uint64_t hash = disk_sim_hash(left);
	struct driver d;
	int64_t n;

	check_totals->checked++;
	driver_init(&d, left, &c->scratch[0], &c->config, why);
	n = khd_store_check(&left->base, report_damage, &d);
	if (n)
		driver_fail(&d, false, "check of what a crash left: %lld", (long long)n);
	if (disk_sim_hash(left) != hash)
		driver_fail(&d, false, "a check has written");
	driver_free(&d);
}

static void write_full(struct crash *c, struct driver *d)
{
	int64_t n;

	check_totals->writable++;
	verify_writable(d, &c->rng);
	if (driver_failed(d))
		return;
	driver_close(d);
	if (driver_failed(d))
		return;
	n = khd_store_check(&d->sim->base, report_damage, d);
	if (n)
		driver_fail(d, false, "check finds %lld", (long long)n);
}

/* ------------------------------------------------------------ points */

static void recover(struct crash *c, enum disk_crash how)
{
	uint64_t draw = rng_next(&c->rng), hash, dice = rng_next(&c->rng);
	struct disk_sim *left = disk_sim_crash(c->sim, how, draw), *outer = c->sim;
	struct driver_why why = { 0 };
	struct driver d;

	hash = disk_sim_hash(left);
	count(hash);
	if (seen_before(c, hash)) {
		disk_sim_free(left);
		return;
	}
	check_totals->images++;
	reseed(c);
	if (c->world->made && dice / 7 % EVERY_CHECKED == 2)
		checked(c, left, &why);
	if (dice % EVERY_NESTED == 0) {
		c->sim = left;
		c->depth = 1;
		left->point = during_recovery;
		left->point_arg = c;
	}
	world_copy(&c->scratch[0], c->world);
	driver_init(&d, left, &c->scratch[0], &c->config, &why);
	verify_crash(&d, left, &c->scratch[0], &c->config, &why, dice % EVERY_DATA == 0);
	left->point = NULL;
	c->sim = outer;
	c->depth = 0;
	broken(&d, left);
	if (!driver_failed(&d) && dice % EVERY_NESTED == 0)
		served_is_durable(c, &d);
	if (!driver_failed(&d) && c->world->made && dice / 7 % EVERY_REBUILD == 0)
		rebuilt(c, left, draw);
	if (!driver_failed(&d) && dice / 7 % EVERY_WRITABLE == 1)
		write_full(c, &d);
	driver_free(&d);
	if (why.text[0])
		violation(c, &why,
			  how == DISK_LOST ? "all lost" :
			  how == DISK_ALL  ? "all kept" :
					     "some kept",
			  draw);
	disk_sim_free(left);
}

static void point(void *arg)
{
	struct crash *c = arg;

	if (c->violations)
		return;
	c->point++;
	recover(c, DISK_LOST);
	if (c->sim->pending_count) {
		recover(c, DISK_ALL);
		recover(c, DISK_DRAWN);
		recover(c, DISK_DRAWN);
	}
	reseed(c);
}

/* ------------------------------------------------------------ lives */

static void live(struct crash *c, struct rng *rng, unsigned int life)
{
	struct disk_sim *next;
	struct driver_why why = { 0 };
	struct driver d;
	int error = 0;

	c->sim->point = point;
	c->sim->point_arg = c;
	driver_init(&d, c->sim, c->world, &c->config, &why);
	if (!c->world->made) {
		error = -khd_store_format(&c->sim->base, &c->config);
		c->world->made = true;
		point(c);
	}
	if (!error)
		error = driver_open(&d);
	if (error)
		driver_fail(&d, false, "cannot begin: %s", strerror(error));
	else
		life_run(&d, rng, c->opt->calls);
	check_totals->lives++;
	check_totals->calls += d.finished;
	broken(&d, c->sim);
	if (c->opt->trace)
		printf("# trace %016llx after %llu points\n", (unsigned long long)c->sim->trace,
		       (unsigned long long)c->point);
	next = disk_sim_crash(c->sim, DISK_DRAWN, rng_next(rng));
	driver_free(&d);
	disk_sim_free(c->sim);
	c->sim = next;
	if (why.text[0]) {
		violation(c, &why, "life", life);
		return;
	}
	/* What is there now is what the next life begins with. */
	reseed(c);
	verify_crash(&d, next, c->world, &c->config, &why, true);
	if (!driver_failed(&d) && rng_chance(rng, 500))
		driver_close(&d);
	next = disk_sim_crash(c->sim, DISK_LOST, rng_next(rng));
	driver_free(&d);
	disk_sim_free(c->sim);
	c->sim = next;
	if (why.text[0])
		violation(c, &why, "between lives", life);
}

void check_crash(const struct check_options *opt, uint64_t seed)
{
	const struct life_profile *p = life_profile(seed);
	struct crash *c = calloc(1, sizeof(*c));
	struct world *world = calloc(1, sizeof(*world));
	struct rng rng = { .state = seed * 77 };
	unsigned int life;

	if (!c || !world)
		abort();
	c->opt = opt;
	c->seed = seed;
	c->prng = seed << 16;
	c->rng.state = seed * 1313;
	life_config(p, seed, &c->config);
	c->config.plant = opt->plant;
	world_init(world, p->shifts, p->counts, p->places);
	c->world = world;
	c->sim = life_disk(p, seed);
	reseed(c);
	for (life = 0; life < LIVES && !c->violations; life++)
		live(c, &rng, life);
	disk_sim_free(c->sim);
	free(world);
	free(c);
}
