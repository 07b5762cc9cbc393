// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rot.c - bits flip, slots change places, slots go back in time
 *
 * A store of 64 MiB with units of every kind.  Each sector of each file gets a flipped bit: in what
 * is read at start each for itself, in the slots many at once, far apart.  What comes of it is
 * right data or a refusal that was named, and never anything else.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/format.h"
#include "selftests/store/check_store.h"
#include "selftests/store/life.h"
#include "selftests/store/live.h"
#include "selftests/store/verify.h"

#define CAPACITY (64ull << 20)
#define STRIDE 256u /* sectors between two that are flipped at once */
#define SLOTS_MAX 16384u

static const struct life_profile rot_profile = {
	"rot",
	2199552,
	1u << 20,
	CAPACITY,
	{ 16, 12, 9, 13, 21, 12 },
	{ 560, 900, 700, 150, 2, 100 },
	6,
	512,
};

/* Every fourth seed. */
static const struct life_profile rot_profile_4096 = {
	.name = "rot, sectors of 4096",
	.segment = 2199552,
	.log = 1u << 20,
	.capacity = CAPACITY,
	.shifts = { 16, 12, 14, 13, 21, 12 },
	.counts = { 400, 900, 100, 150, 2, 100 },
	.places = 6,
	.sector = 4096,
};

struct slot {
	uint64_t offset, bytes;
};

struct rot {
	const struct check_options *opt;
	const struct life_profile *profile;
	uint64_t seed;
	struct rng rng;
	struct khd_store_config config;
	struct world *world, *scratch;
	struct disk_sim *earlier, *open_left, *closed;
	struct slot *slots;
	uint32_t slot_count;
	uint8_t *named; /* by sector of the slot file: events, or a check, name it */
	struct live live, log;
	uint8_t *no_wal; /* nothing of it is needed */
};

static void name(struct rot *r, uint64_t offset)
{
	if (r->named && offset / KHD_SECTOR < r->live.sectors)
		r->named[offset / KHD_SECTOR] = 1;
}

static void forget_names(struct rot *r)
{
	if (r->named)
		memset(r->named, 0, r->live.sectors);
}

static void on_damage(void *arg, const char *text)
{
	struct rot *r = arg;
	const char *at = strstr(text, "slots offset ");

	if (at)
		name(r, strtoull(at + 13, NULL, 10));
}

static void on_found(void *arg, const char *file, uint64_t offset, const char *what)
{
	if (!strcmp(file, "slots"))
		name(arg, offset);
}

static bool violated(struct rot *r, struct driver_why *why, const char *where, uint64_t at)
{
	char text[120];

	if (!why->text[0])
		return false;
	snprintf(text, sizeof(text), "%s %llu", where, (unsigned long long)at);
	check_violation(why, text, r->seed);
	return true;
}

/* ------------------------------------------------------------ the store */

static void write_units(struct driver *d, struct rng *rng, unsigned int permille)
{
	uint32_t unit;

	for (unit = 0; unit < d->world->unit_count && !driver_failed(d); unit++) {
		struct world_unit *u = &d->world->units[unit];

		if (u->state != WORLD_IN || !rng_chance(rng, permille))
			continue;
		while (!driver_failed(d) && !driver_store(d, unit, u->sent + 1, KHD_STORE_SYNC))
			driver_step(d);
	}
	driver_drain(d);
}

static bool populate(struct rot *r)
{
	struct disk_sim *sim = life_disk(r->profile, r->seed);
	struct driver_why why = { 0 };
	uint32_t unit, n;
	struct driver d;
	int error = khd_store_format(&sim->base, &r->config);

	driver_init(&d, sim, r->world, &r->config, &why);
	r->world->made = true;
	error = error ? -error : driver_open(&d);
	if (error)
		driver_fail(&d, false, "cannot begin: %s", strerror(error));
	for (unit = 0; unit < r->world->unit_count && !driver_failed(&d); unit += n) {
		const struct world_place *p = world_place_of(r->world, unit);

		n = p->first + p->units - unit < 20 ? p->first + p->units - unit : 20;
		driver_reserve(&d, unit, n);
		driver_drain(&d);
	}
	write_units(&d, &r->rng, 1000);
	for (n = 0; n < 4 && !driver_failed(&d); n++)
		driver_park(&d, 600 + n);
	driver_drain(&d);
	driver_tick(&d, 31000000000ull);
	driver_drain(&d);
	r->earlier = disk_sim_crash(sim, DISK_ALL, 1);
	for (unit = 0; unit < 40 && !driver_failed(&d); unit += 10)
		driver_release(&d, unit, 5);
	driver_drain(&d);
	for (n = 0; n < 3 && !driver_failed(&d); n++)
		write_units(&d, &r->rng, 300);
	for (n = 0; n < 16 && !driver_failed(&d); n++) /* groups, behind the last checkpoint */
		write_units(&d, &r->rng, 5);
	/* The end of the log is marked as durable: damage there is no torn tail any more. */
	driver_tick(&d, 2000000000);
	driver_drain(&d);
	driver_tick(&d, 2000000000);
	driver_drain(&d);
	if (!driver_failed(&d))
		r->open_left = disk_sim_crash(sim, DISK_ALL, 1);
	if (!driver_failed(&d))
		driver_close(&d);
	if (!driver_failed(&d))
		r->closed = disk_sim_crash(sim, DISK_ALL, 1);
	driver_free(&d);
	sim->dead = true;
	disk_sim_free(sim);
	return !violated(r, &why, "populating", 0);
}

/* ------------------------------------------------------------ what is read at start */

static bool check_notices(struct rot *r, const struct disk_sim *rotten)
{
	struct disk_sim *copy = disk_sim_crash(rotten, DISK_ALL, 1);
	bool noticed = khd_store_check(&copy->base, on_found, r) != 0;

	disk_sim_free(copy);
	return noticed;
}

/* Opens and looks everything up.  What is @needed must be noticed, by that or by a check. */
static bool open_rotten(struct rot *r, struct disk_sim *sim, const char *where, uint64_t at,
			bool needed)
{
	bool checked = needed && check_notices(r, sim);
	struct driver_why why = { 0 };
	struct driver d;
	bool noticed;
	int error;

	world_copy(r->scratch, r->world);
	driver_init(&d, sim, r->scratch, &r->config, &why);
	d.tolerant = true;
	forget_names(r);
	d.on_damage = on_damage;
	d.damage_arg = r;
	error = driver_open(&d);
	if (!error)
		verify_open(&d, false);
	else if (error != EBADMSG && error != EPROTONOSUPPORT)
		driver_fail(&d, false, "does not open: %s", strerror(error));
	else if (!d.damages)
		driver_fail(&d, false, "does not open, and no event says why");
	noticed = error || d.damages || checked;
	if (needed && !noticed)
		driver_fail(&d, false, "nobody notices");
	if (d.refused && !d.damages)
		driver_fail(&d, false, "damage was refused, but not named");
	check_totals->flips++;
	if (noticed)
		check_totals->noticed++;
	else
		check_totals->harmless++;
	driver_free(&d);
	return violated(r, &why, where, at);
}

/* @needed: by sector; NULL: all are. */
static void flip_start(struct rot *r, const struct disk_sim *from, const char *where,
		       enum khd_disk_file file, uint64_t end, const uint8_t *needed)
{
	uint64_t at;

	for (at = 0; at < end; at += KHD_SECTOR) {
		struct disk_sim *sim = disk_sim_crash(from, DISK_ALL, 1);
		bool bad;

		disk_sim_flip(sim, file, at * 8 + rng_below(&r->rng, KHD_SECTOR * 8));
		bad = open_rotten(r, sim, where, at, !needed || needed[at / KHD_SECTOR]);
		sim->dead = true;
		disk_sim_free(sim);
		if (bad)
			return;
	}
}

/* ------------------------------------------------------------ slots */

/* A slot that is what it says, wherever it lies. */
static void find_slots(struct rot *r)
{
	const struct image *img = &r->closed->now[KHD_FILE_SLOTS];
	struct khd_block block;
	uint64_t at;

	for (at = 0; at + sizeof(block) <= img->size && r->slot_count < SLOTS_MAX;
	     at += KHD_SECTOR) {
		image_read(img, at, &block, sizeof(block));
		if (le32toh(block.head.magic) == KHD_FORMAT_MAGIC &&
		    (block.head.kind == KHD_BLOCK_DATA || block.head.kind == KHD_BLOCK_PARKED) &&
		    le64toh(block.head.position) == at)
			r->slots[r->slot_count++] =
				(struct slot){ at, r->live.sector + (1ull << block.slot.shift) };
	}
}

/* Reads every unit of a store that is open: right, or refused and named. */
static void read_all(struct rot *r, struct driver *d)
{
	uint64_t refused = d->refused, damages = d->damages;

	world_copy(r->scratch, r->world);
	verify_open(d, true);
	if (d->refused > refused && d->damages == damages)
		driver_fail(d, false, "damage was refused, but not named");
}

static bool is_named(const struct rot *r, uint64_t sector, const struct slot *slot)
{
	uint64_t at = slot ? slot->offset : sector, end = slot ? at + slot->bytes : at + 1;

	for (; at < end; at += KHD_SECTOR)
		if (r->named[at / KHD_SECTOR])
			return true;
	return false;
}

static bool is_needed(const struct rot *r, uint64_t at)
{
	return r->live.needed[at / KHD_SECTOR];
}

static const struct slot *slot_of(const struct rot *r, uint64_t at)
{
	uint32_t low = 0, high = r->slot_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (r->slots[middle].offset + r->slots[middle].bytes <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low < r->slot_count && r->slots[low].offset <= at ? &r->slots[low] : NULL;
}

static void flip_batch(struct rot *r, struct driver *d, uint64_t first)
{
	const struct image *img = &d->sim->now[KHD_FILE_SLOTS];
	uint64_t from = KHD_LOG_AT + r->profile->log, at;
	unsigned int bit = (unsigned int)rng_below(&r->rng, KHD_SECTOR * 8);
	struct disk_sim *copy;
	int64_t found;
	uint64_t refused = d->refused;

	for (at = from + first * KHD_SECTOR; at < img->size; at += STRIDE * KHD_SECTOR)
		disk_sim_flip(d->sim, KHD_FILE_SLOTS, at * 8 + bit);
	forget_names(r);
	read_all(r, d);
	copy = disk_sim_crash(d->sim, DISK_ALL, 1);
	found = khd_store_check(&copy->base, on_found, r);
	if (found < (int64_t)(d->refused - refused))
		driver_fail(d, false, "check finds %lld of %llu damages", (long long)found,
			    (unsigned long long)(d->refused - refused));
	disk_sim_free(copy);
	for (at = from + first * KHD_SECTOR; at < img->size; at += STRIDE * KHD_SECTOR) {
		check_totals->flips++;
		if (is_named(r, at, slot_of(r, at)))
			check_totals->noticed++;
		else if (is_needed(r, at))
			driver_fail(d, false, "nobody names the sector at %llu",
				    (unsigned long long)at);
		else
			check_totals->harmless++;
		disk_sim_flip(d->sim, KHD_FILE_SLOTS, at * 8 + bit);
	}
}

static void copy_slot(struct disk_sim *to, const struct disk_sim *from, const struct slot *slot,
		      uint64_t offset)
{
	uint8_t *buf = malloc(slot->bytes);

	if (!buf)
		abort();
	image_read(&from->now[KHD_FILE_SLOTS], offset, buf, slot->bytes);
	image_write(&to->now[KHD_FILE_SLOTS], slot->offset, buf, slot->bytes);
	image_write(&to->durable[KHD_FILE_SLOTS], slot->offset, buf, slot->bytes);
	free(buf);
}

/* Was it what it is now? */
static bool same_earlier(const struct rot *r, const struct slot *slot)
{
	uint8_t then[KHD_SECTOR], now[KHD_SECTOR];

	image_read(&r->earlier->now[KHD_FILE_SLOTS], slot->offset, then, sizeof(then));
	image_read(&r->closed->now[KHD_FILE_SLOTS], slot->offset, now, sizeof(now));
	return !memcmp(then, now, sizeof(now));
}

/* Every slot of a class gets the next one's contents; or all get those they had before. */
static void misplace(struct rot *r, struct driver *d, bool earlier)
{
	uint32_t i, k;

	for (i = 0; i < r->slot_count; i++) {
		const struct slot *slot = &r->slots[i];

		for (k = i + 1; k < r->slot_count && r->slots[k].bytes != slot->bytes; k++)
			;
		if (!earlier && k == r->slot_count)
			continue;
		check_totals->flips++;
		copy_slot(d->sim, earlier ? r->earlier : r->closed, slot,
			  earlier ? slot->offset : r->slots[k].offset);
	}
	forget_names(r);
	read_all(r, d);
	for (i = 0; i < r->slot_count; i++) {
		const struct slot *slot = &r->slots[i];

		for (k = i + 1; k < r->slot_count && r->slots[k].bytes != slot->bytes; k++)
			;
		if (!earlier && k == r->slot_count)
			continue;
		if (is_named(r, slot->offset, slot))
			check_totals->noticed++;
		else if (is_needed(r, slot->offset) && !(earlier && same_earlier(r, slot)))
			driver_fail(d, false, "nobody names the slot at %llu",
				    (unsigned long long)slot->offset);
		else
			check_totals->harmless++;
		copy_slot(d->sim, r->closed, slot, slot->offset);
	}
}

/* One open store; the disk rots under it. */
static void rot_slots(struct rot *r)
{
	struct disk_sim *sim = disk_sim_crash(r->closed, DISK_ALL, 1);
	struct driver_why why = { 0 };
	struct driver d;
	uint64_t first;
	int error;

	world_copy(r->scratch, r->world);
	driver_init(&d, sim, r->scratch, &r->config, &why);
	d.tolerant = true;
	d.on_damage = on_damage;
	d.damage_arg = r;
	error = driver_open(&d);
	if (error)
		driver_fail(&d, false, "does not open: %s", strerror(error));
	for (first = 0; first < STRIDE && !driver_failed(&d); first++)
		flip_batch(r, &d, first);
	if (!driver_failed(&d) && d.refused < STRIDE)
		driver_fail(&d, false, "only %llu refusals", (unsigned long long)d.refused);
	violated(r, &why, "slots, batch", first);
	if (!driver_failed(&d))
		misplace(r, &d, false);
	violated(r, &why, "slots swapped, of", r->slot_count);
	if (!driver_failed(&d))
		misplace(r, &d, true);
	violated(r, &why, "slots rolled back, of", r->slot_count);
	driver_free(&d);
	sim->dead = true;
	disk_sim_free(sim);
}

/* What must be missed, by the world. */
static bool find_needed(struct rot *r)
{
	uint64_t wal = r->closed->now[KHD_FILE_WAL].size + r->open_left->now[KHD_FILE_WAL].size;
	struct driver_why why = { 0 };
	struct world *w = r->world;
	uint32_t i, stored = 0;

	r->no_wal = calloc(wal / KHD_SECTOR + 2, 1);
	if (!r->no_wal || !live_find(&r->live, &r->closed->now[KHD_FILE_SLOTS], w) ||
	    !live_find_log(&r->log, &r->open_left->now[KHD_FILE_SLOTS]))
		abort();
	r->named = calloc(r->live.sectors, 1);
	if (!r->named)
		abort();
	for (i = 0; i < w->unit_count; i++)
		stored += w->units[i].state == WORLD_IN && w->units[i].acked;
	printf("# seed %llu: needed are %u units, %u parked, %u descriptors, %u segments, %u log "
	       "blocks\n",
	       (unsigned long long)r->seed, r->live.units, r->live.parked, r->live.ranges,
	       r->live.segments, r->log.records);
	if (r->live.units != stored || !r->live.parked || !r->live.ranges || r->log.records < 8)
		snprintf(why.text, sizeof(why.text), "of %u units %u are found on the disk", stored,
			 r->live.units);
	return !violated(r, &why, "what is needed", 0);
}

void check_rot(const struct check_options *opt, uint64_t seed)
{
	struct rot *r = calloc(1, sizeof(*r));
	const struct life_profile *p = seed % 4 == 2 ? &rot_profile_4096 : &rot_profile;
	uint64_t head = KHD_LOG_AT + p->log;

	if (!r)
		abort();
	r->opt = opt;
	r->profile = p;
	r->seed = seed;
	r->rng.state = seed;
	r->world = calloc(2, sizeof(*r->world));
	r->slots = calloc(SLOTS_MAX, sizeof(*r->slots));
	if (!r->world || !r->slots)
		abort();
	r->scratch = &r->world[1];
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed & 0xffffff) + 1, NULL);
	life_config(p, seed, &r->config);
	r->config.plant = opt->plant;
	world_init(r->world, p->shifts, p->counts, p->places);
	if (populate(r) && find_needed(r)) {
		find_slots(r);
		rot_slots(r);
		flip_start(r, r->closed, "closed: head and log, offset", KHD_FILE_SLOTS, head,
			   r->live.needed);
		flip_start(r, r->open_left, "open: head and log, offset", KHD_FILE_SLOTS, head,
			   r->log.needed);
		flip_start(r, r->closed, "closed: index, offset", KHD_FILE_INDEX,
			   r->closed->now[KHD_FILE_INDEX].size, NULL);
		flip_start(r, r->open_left, "open: index, offset", KHD_FILE_INDEX,
			   r->open_left->now[KHD_FILE_INDEX].size, NULL);
		/* its pages are in the index by now, and it is empty */
		flip_start(r, r->closed, "closed: index-wal, offset", KHD_FILE_WAL,
			   r->closed->now[KHD_FILE_WAL].size, r->no_wal);
		flip_start(r, r->open_left, "open: index-wal, offset", KHD_FILE_WAL,
			   r->open_left->now[KHD_FILE_WAL].size, r->no_wal);
	}
	live_free(&r->live);
	live_free(&r->log);
	free(r->named);
	free(r->no_wal);
	disk_sim_free(r->earlier);
	disk_sim_free(r->open_left);
	disk_sim_free(r->closed);
	free(r->slots);
	free(r->world);
	free(r);
}
