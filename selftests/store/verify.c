// SPDX-License-Identifier: GPL-2.0-or-later
/* verify.c - is what a store has what the world says? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "selftests/store/verify.h"

#define PARKED_MOST 64 /* in a listing; there are never so many */

/* ------------------------------------------------------------ ranges */

static void finish_range(struct khd_store_op *op, int error)
{
	struct driver_op *dop = (struct driver_op *)op;

	dop->finished = true;
	dop->error = error;
	dop->driver->under_way--;
}

static int next_range(struct driver *d, struct khazana_addr addr, struct khd_range *range)
{
	struct driver_op *op = driver_get(d, DRIVER_RANGES, 0);
	int error;

	op->keep = true;
	op->op.done = finish_range;
	khd_store_ranges(d->store, &op->op, addr, &op->range);
	driver_wait(d, op);
	*range = op->range;
	error = op->finished ? op->error : EIO;
	driver_put(op);
	return error;
}

/* Notes which units a reserved range covers. */
static void cover(struct driver *d, const struct khd_range *r, bool *covered)
{
	struct world *w = d->world;
	int64_t first = world_find(w, r->start);
	struct world_place *p = first < 0 ? NULL : world_place_of(w, (uint32_t)first);
	uint64_t i;

	if (!p || r->shift != p->shift || (uint64_t)first + r->units > p->first + p->units ||
	    memcmp(&r->tag, &p->tag, sizeof(r->tag))) {
		driver_fail(d, false, "range %llx:%llx of %llu units was never reserved like that",
			    (unsigned long long)r->start.hi, (unsigned long long)r->start.lo,
			    (unsigned long long)r->units);
		return;
	}
	for (i = (uint64_t)first; i < (uint64_t)first + r->units; i++) {
		if (w->units[i].state == WORLD_OUT || w->units[i].generation != r->generation) {
			driver_fail(d, false, "unit %llu is reserved again, generation %llu",
				    (unsigned long long)i, (unsigned long long)r->generation);
			return;
		}
		covered[i] = true;
	}
}

static void list_ranges(struct driver *d, bool *covered)
{
	struct khazana_addr addr = { 0 };
	struct khd_range range;
	int error;
	unsigned int n = 0;

	while (!driver_failed(d) && !(error = next_range(d, addr, &range))) {
		cover(d, &range, covered);
		addr.hi = range.start.hi;
		addr.lo = range.start.lo + (range.units << range.shift);
		if (addr.lo < range.start.lo)
			addr.hi++;
		if (++n > WORLD_UNITS)
			driver_fail(d, false, "the list of ranges has no end");
	}
	if (driver_failed(d) || error == ENOENT)
		return;
	if (error == EBADMSG && d->tolerant)
		d->refused++;
	else
		driver_fail(d, false, "list of ranges: %s", strerror(error));
}

static void compare_ranges(struct driver *d, const bool *covered)
{
	struct world *w = d->world;
	uint32_t i;

	for (i = 0; i < w->unit_count; i++) {
		if (w->units[i].state == WORLD_IN && !covered[i])
			driver_fail(d, false, "unit %u is not reserved any more", i);
		if (w->units[i].state == WORLD_ENTERING && i &&
		    w->units[i - 1].state == WORLD_ENTERING &&
		    w->units[i - 1].group == w->units[i].group && covered[i] != covered[i - 1])
			driver_fail(d, false, "the range of unit %u is reserved in part", i);
	}
}

/* ------------------------------------------------------------ units */

static void settle(struct driver *d, struct driver_op *op)
{
	struct world_unit *u = &d->world->units[op->unit];

	u->acked = u->done = u->sent = op->op.meta.version;
	driver_put(op);
}

/* Reads many at once; what is found becomes what must be there. */
static void read_units(struct driver *d, const bool *covered, bool data)
{
	struct driver_op *flight[DRIVER_OPS / 2];
	struct world *w = d->world;
	unsigned int n = 0, i;
	uint32_t unit;

	for (unit = 0; unit <= w->unit_count && !driver_failed(d); unit++) {
		if (n == DRIVER_OPS / 2 || unit == w->unit_count) {
			for (i = 0; i < n && !driver_failed(d); i++) {
				driver_wait(d, flight[i]);
				if (!driver_failed(d) && !flight[i]->error && !d->broken)
					settle(d, flight[i]);
				else
					driver_put(flight[i]);
			}
			n = 0;
		}
		if (unit == w->unit_count)
			break;
		w->units[unit].state = covered[unit] ? WORLD_IN : WORLD_OUT;
		if (covered[unit]) {
			/* Done is not durable. */
			w->units[unit].done = w->units[unit].acked;
			flight[n] = driver_load(d, unit, data);
			flight[n++]->keep = true;
		} else if (w->units[unit].generation && unit % 4 == w->acks % 4) {
			driver_load(d, unit, false);
		}
	}
	driver_drain(d);
}

/* ------------------------------------------------------------ parked units */

/* The first with an id of at least @id, with its contents when @bytes is not 0. */
static int get_parked(struct driver *d, uint64_t id, size_t bytes, struct khd_parked *found)
{
	struct driver_op *op = driver_get(d, DRIVER_PARKED_GET, bytes);
	int error;

	op->keep = true;
	op->op.done = finish_range;
	khd_store_parked_get(d->store, &op->op, id, &op->found);
	driver_wait(d, op);
	error = op->finished ? op->error : EIO;
	if (error == EIO && d->tolerant)
		d->broken = true;
	*found = op->found;
	if (!error && bytes && !world_matches(&found->key, found->meta.token, op->buf))
		driver_fail(d, true, "a parked unit has other contents");
	driver_put(op);
	return error;
}

/* The next one, and which of the world's it is. */
static int next_parked(struct driver *d, uint64_t id, bool data, struct khd_parked *found,
		       uint32_t *which)
{
	struct world *w = d->world;
	uint32_t i;
	int error = get_parked(d, id, 0, found);

	if (error)
		return error;
	for (i = 0; i < WORLD_PARKED; i++)
		if (w->parked[i].state != WORLD_OUT && w->parked[i].meta.token == found->meta.token)
			break;
	*which = i;
	if (i == WORLD_PARKED)
		driver_fail(d, false, "a parked unit is back");
	else if (memcmp(&w->parked[i].key.addr, &found->key.addr, sizeof(found->key.addr)) ||
		 w->parked[i].key.generation != found->key.generation ||
		 w->parked[i].key.shift != found->key.shift ||
		 w->parked[i].meta.version != found->meta.version ||
		 memcmp(&w->parked[i].tag, &found->tag, sizeof(found->tag)))
		driver_fail(d, true, "a parked unit is another");
	if (driver_failed(d) || !data)
		return 0;
	error = get_parked(d, found->id, 1ull << found->key.shift, found);
	if (error == EBADMSG && d->tolerant)
		d->refused++;
	else if (error)
		driver_fail(d, false, "a parked unit: %s; %s", strerror(error), d->event);
	return 0;
}

static void read_parked(struct driver *d)
{
	bool seen[WORLD_PARKED] = { false };
	struct world *w = d->world;
	struct khd_parked found;
	unsigned int n = 0;
	uint64_t id = 0;
	uint32_t i;
	int error = 0;

	while (!driver_failed(d) && !(error = next_parked(d, id, true, &found, &i))) {
		if (driver_failed(d))
			return;
		if (seen[i])
			driver_fail(d, false, "a parked unit is there twice");
		seen[i] = true;
		id = found.id + 1;
		if (++n > PARKED_MOST)
			driver_fail(d, false, "the list of parked units has no end");
	}
	if (!driver_failed(d) && error != ENOENT)
		driver_fail(d, false, "list of parked units: %s", strerror(error));
	for (i = 0; i < WORLD_PARKED; i++) {
		if (w->parked[i].state == WORLD_IN && !seen[i])
			driver_fail(d, false, "a parked unit is lost");
		w->parked[i].state = seen[i] ? WORLD_IN : WORLD_OUT;
	}
}

int64_t verify_parked_id(struct driver *d, uint32_t parked)
{
	struct khd_parked found;
	uint64_t id = 0;
	uint32_t i;

	while (!driver_failed(d) && !next_parked(d, id, false, &found, &i)) {
		if (i == parked)
			return (int64_t)found.id;
		id = found.id + 1;
	}
	return -1;
}

/* ------------------------------------------------------------ all */

void verify_open(struct driver *d, bool data)
{
	static bool covered[WORLD_UNITS];

	memset(covered, 0, d->world->unit_count);
	list_ranges(d, covered);
	if (!driver_failed(d) && !d->refused)
		compare_ranges(d, covered);
	if (!driver_failed(d))
		read_units(d, covered, data);
	if (!driver_failed(d))
		read_parked(d);
}

static void report_damage(void *arg, const char *file, uint64_t offset, const char *what)
{
	struct driver *d = arg;

	driver_fail(d, true, "check: %s offset %llu: %s", file, (unsigned long long)offset, what);
}

/* Its disk failed: it does not open until it was found whole, which it is, and then it does. */
static int verify_failed(struct driver *d)
{
	int64_t n = khd_store_check(&d->sim->base, report_damage, d);

	d->unopened++;
	if (n < 0)
		driver_fail(d, false, "a failed store cannot be checked: %s", strerror((int)-n));
	if (driver_failed(d))
		return EBADMSG;
	n = khd_store_vouch(&d->sim->base);
	return n ? (int)-n : driver_open(d);
}

void verify_crash(struct driver *d, struct disk_sim *left, struct world *world,
		  const struct khd_store_config *config, struct driver_why *why, bool data)
{
	int error, made;

	driver_init(d, left, world, config, why);
	d->tolerant = !world->made; /* half of a format may look damaged */
	error = driver_open(d);
	d->tolerant = false;
	if (error && !world->made) {
		made = khd_store_format(&left->base, config);
		if (made && made != -EEXIST)
			driver_fail(d, false, "cannot be made after a crash: %s", strerror(-made));
		else
			error = driver_open(d);
	}
	if (error == EUCLEAN && world->made)
		error = verify_failed(d);
	if (error) {
		driver_fail(d, false, "does not open: %s; %s", strerror(error), d->event);
		return;
	}
	world->made = true;
	verify_open(d, data);
}

/* ------------------------------------------------------------ space */

static void write_all(struct driver *d)
{
	struct world *w = d->world;
	uint32_t unit;

	for (unit = 0; unit < w->unit_count && !driver_failed(d); unit++) {
		if (w->units[unit].state != WORLD_IN)
			continue;
		while (!driver_failed(d) &&
		       !driver_store(d, unit, w->units[unit].sent + 1, KHD_STORE_SYNC))
			driver_step(d);
	}
	driver_drain(d);
}

void verify_writable(struct driver *d, struct rng *rng)
{
	struct world *w = d->world;
	struct khd_store_stats stats;
	uint32_t unit, place;

	write_all(d);
	for (place = 0; place < w->place_count && !driver_failed(d); place++) {
		const struct world_place *p = &w->places[place];

		for (unit = p->first; unit < p->first + p->units && !driver_failed(d); unit++) {
			if (w->units[unit].state != WORLD_OUT)
				continue;
			driver_reserve(d, unit, 1);
			driver_drain(d);
		}
	}
	write_all(d);
	write_all(d);
	khd_store_stats(d->store, &stats);
	if (stats.reserved > stats.capacity)
		driver_fail(d, false, "%llu bytes are reserved of %llu",
			    (unsigned long long)stats.reserved, (unsigned long long)stats.capacity);
}
