// SPDX-License-Identifier: GPL-2.0-or-later
/* driver.c - uses a store on a simulated disk as the world says, and judges each answer */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftests/store/driver.h"

#define TICKS_MAX 64 /* of a second each, without anything to do for the disk */
#define STEPS_MAX 2000000u

void driver_fail(struct driver *d, bool torn, const char *fmt, ...)
{
	va_list ap;

	if (driver_failed(d))
		return;
	va_start(ap, fmt);
	vsnprintf(d->why->text, sizeof(d->why->text), fmt, ap);
	va_end(ap);
	d->why->torn = torn;
}

static void on_event(void *arg, const char *name, const char *text)
{
	struct driver *d = arg;

	snprintf(d->event, sizeof(d->event), "%s: %s", name, text);
	if (!strstr(text, "damage"))
		return;
	d->damages++;
	if (d->on_damage)
		d->on_damage(d->damage_arg, text);
	if (!d->tolerant)
		driver_fail(d, true, "event %s", d->event);
}

void driver_init(struct driver *d, struct disk_sim *sim, struct world *world,
		 const struct khd_store_config *config, struct driver_why *why)
{
	memset(d, 0, sizeof(*d));
	d->sim = sim;
	d->world = world;
	d->config = *config;
	d->why = why;
	d->now = 1000000000;
}

int driver_open(struct driver *d)
{
	struct khd_store_config config = d->config;
	struct khd_store_recovery report;
	int error = 0;

	d->broken = false;
	config.capacity = 0; /* as it is */
	d->store = khd_store_open(&d->sim->base, &config, on_event, d, &error, &report);
	return d->store ? 0 : error ? error : EINVAL;
}

void driver_free(struct driver *d)
{
	unsigned int i, steps = 0;

	if (d->store) {
		d->tolerant = true; /* the power is gone */
		d->sim->dead = true;
		d->sim->point = NULL;
		while (disk_sim_step(d->sim) && ++steps < STEPS_MAX)
			;
		khd_store_close(d->store);
		d->store = NULL;
	}
	for (i = 0; i < DRIVER_OPS; i++) {
		free(d->ops[i].buf);
		free(d->ops[i].dones);
	}
}

/* ------------------------------------------------------------ operations */

struct driver_op *driver_get(struct driver *d, enum driver_kind kind, size_t bytes)
{
	struct driver_op *op = NULL;
	unsigned int i;

	for (i = 0; i < DRIVER_OPS && !op; i++)
		if (d->ops[i].kind == DRIVER_IDLE)
			op = &d->ops[i];
	if (!op)
		return NULL;
	if (op->room < bytes) {
		free(op->buf);
		op->buf = aligned_alloc(KHD_DISK_ALIGN, (bytes + KHD_DISK_ALIGN - 1) /
								KHD_DISK_ALIGN * KHD_DISK_ALIGN);
		op->room = bytes;
		if (!op->buf)
			abort();
	}
	memset(&op->op, 0, sizeof(op->op));
	op->op.iov = (struct iovec){ bytes ? op->buf : NULL, bytes };
	op->driver = d;
	op->kind = kind;
	op->keep = op->finished = false;
	op->after = d->broken;
	op->error = 0;
	op->units = 0;
	d->under_way++;
	return op;
}

void driver_put(struct driver_op *op)
{
	op->kind = DRIVER_IDLE;
}

static bool reserved(const struct world_unit *u, uint64_t generation)
{
	return u->generation == generation && u->state != WORLD_OUT;
}

static void put_done(struct driver *d, struct driver_op *op)
{
	struct world_unit *u = &d->world->units[op->unit];

	if (op->error == ENXIO && !(u->state == WORLD_IN && u->generation == op->generation))
		return;
	if (op->error == ESTALE && (u->sent > op->version || u->generation != op->generation)) {
		d->stales++;
		return;
	}
	if (op->error) {
		driver_fail(d, false, "put of unit %u version %llu: %s; last event %s", op->unit,
			    (unsigned long long)op->version, strerror(op->error), d->event);
		return;
	}
	if (!reserved(u, op->generation))
		return; /* released meanwhile */
	if (u->done < op->version)
		u->done = op->version;
	if (op->op.flags & KHD_STORE_SYNC && u->acked < op->version)
		u->acked = op->version;
}

/* What a get or a look-up found; the version is 0 when nothing was. */
static void get_done(struct driver *d, struct driver_op *op)
{
	struct world_unit *u = &d->world->units[op->unit];
	uint64_t version = op->op.meta.version;
	bool same = u->generation == op->generation;

	if (op->error == ENXIO && !(u->state == WORLD_IN && same))
		return;
	if (op->error == EBADMSG && d->tolerant) {
		d->refused++;
		return;
	}
	if (op->error) {
		driver_fail(d, false, "unit %u: %s; last event %s", op->unit, strerror(op->error),
			    d->event);
		return;
	}
	if (same && u->state == WORLD_OUT && op->floor == UINT64_MAX) {
		driver_fail(d, false, "unit %u is there, but was released", op->unit);
		return;
	}
	if (!same)
		return;
	if (version < op->floor && op->floor != UINT64_MAX)
		driver_fail(d, false, "unit %u has version %llu, not %llu", op->unit,
			    (unsigned long long)version, (unsigned long long)op->floor);
	else if (version > u->sent)
		driver_fail(d, false, "unit %u has version %llu; the last sent was %llu", op->unit,
			    (unsigned long long)version, (unsigned long long)u->sent);
	else if (version && op->op.meta.token != world_token(version))
		driver_fail(d, true, "unit %u version %llu has another token", op->unit,
			    (unsigned long long)version);
	else if (op->kind == DRIVER_GET && !world_matches(&op->op.key, version, op->buf))
		driver_fail(d, true, "unit %u version %llu has other contents", op->unit,
			    (unsigned long long)version);
}

static void flush_done(struct driver *d, struct driver_op *op)
{
	uint32_t i;

	/* What was done when the flush was called; generations differ if it was released since. */
	for (i = 0; i < d->world->unit_count && !op->error; i++) {
		struct world_unit *u = &d->world->units[i];

		if (op->dones[2 * i + 1] == u->generation && u->state != WORLD_OUT &&
		    u->acked < op->dones[2 * i])
			u->acked = op->dones[2 * i];
	}
	free(op->dones);
	op->dones = NULL;
	if (op->error)
		driver_fail(d, false, "flush: %s; last event %s", strerror(op->error), d->event);
}

static void range_done(struct driver *d, struct driver_op *op)
{
	bool reserve = op->kind == DRIVER_RESERVE;
	uint32_t i;

	if (op->error == ENOSPC && reserve)
		d->fulls++;
	else if (op->error) {
		driver_fail(d, false, "%s of %u units from %u: %s; last event %s",
			    reserve ? "reserve" : "release", op->units, op->unit,
			    strerror(op->error), d->event);
		return;
	}
	for (i = op->unit; i < op->unit + op->units; i++) {
		struct world_unit *u = &d->world->units[i];

		if (u->generation != op->generation)
			continue;
		if (reserve && u->state == WORLD_ENTERING)
			u->state = op->error ? WORLD_OUT : WORLD_IN;
		else if (!reserve && u->state == WORLD_LEAVING)
			u->state = WORLD_OUT;
	}
}

static void parked_done(struct driver *d, struct driver_op *op)
{
	struct world_parked *p = &d->world->parked[op->parked];
	bool park = op->kind == DRIVER_PARK;

	if (op->error && !(park && op->error == ENOSPC))
		driver_fail(d, false, "%s: %s", park ? "park" : "discard", strerror(op->error));
	else
		p->state = park && !op->error ? WORLD_IN : WORLD_OUT;
}

static void judge(struct driver *d, struct driver_op *op)
{
	switch (op->kind) {
	case DRIVER_PUT:
		put_done(d, op);
		break;
	case DRIVER_GET:
	case DRIVER_LOOKUP:
		get_done(d, op);
		break;
	case DRIVER_FLUSH:
		flush_done(d, op);
		break;
	case DRIVER_RESERVE:
	case DRIVER_RELEASE:
		range_done(d, op);
		break;
	case DRIVER_PARK:
	case DRIVER_DISCARD:
		parked_done(d, op);
		break;
	default:
		break;
	}
}

/* The end of every call.  Out of service, all is in doubt that was not acknowledged before. */
static void on_done(struct khd_store_op *store_op, int error)
{
	struct driver_op *op = (struct driver_op *)store_op;
	struct driver *d = op->driver;

	if (op->finished) {
		driver_fail(d, false, "done was called twice");
		return;
	}
	op->finished = true;
	op->error = error;
	d->under_way--;
	d->finished++;
	d->world->acks++;
	if (error == EIO && d->tolerant)
		d->broken = true;
	else if (op->after)
		driver_fail(d, false, "a call of kind %d answers %d out of service", op->kind,
			    error);
	else if (error == EAGAIN && op->kind <= DRIVER_LOOKUP)
		; /* nothing was done */
	else
		judge(d, op);
	free(op->dones);
	op->dones = NULL;
	if (!op->keep)
		op->kind = DRIVER_IDLE;
}

/* ------------------------------------------------------------ waiting */

void driver_tick(struct driver *d, uint64_t ns)
{
	d->now += ns;
	khd_store_tick(d->store, d->now);
}

bool driver_step(struct driver *d)
{
	unsigned int i;

	if (disk_sim_step(d->sim))
		return true;
	if (!d->under_way)
		return false;
	for (i = 0; i < TICKS_MAX; i++) {
		driver_tick(d, 1000000000);
		if (disk_sim_step(d->sim))
			return true;
		if (!d->under_way)
			return false;
	}
	for (i = 0; i < DRIVER_OPS - 1 && (d->ops[i].kind == DRIVER_IDLE || d->ops[i].finished);
	     i++)
		;
	driver_fail(d, false, "%u calls never end, one of kind %d, unit %u; last event %s",
		    d->under_way, d->ops[i].kind, d->ops[i].unit, d->event);
	return false;
}

void driver_drain(struct driver *d)
{
	unsigned int steps = 0;

	while (!driver_failed(d) && driver_step(d))
		if (++steps == STEPS_MAX)
			driver_fail(d, false, "the disk never rests");
}

void driver_wait(struct driver *d, struct driver_op *op)
{
	unsigned int steps = 0;

	while (!op->finished && !driver_failed(d) && driver_step(d))
		if (++steps == STEPS_MAX)
			driver_fail(d, false, "a call of kind %d never ends", op->kind);
	if (!op->finished)
		driver_fail(d, false, "a call of kind %d never ends", op->kind);
}

void driver_close(struct driver *d)
{
	struct driver_op *op;

	driver_drain(d);
	if (driver_failed(d))
		return;
	op = driver_get(d, DRIVER_STOP, 0);
	op->keep = true;
	op->op.done = on_done;
	khd_store_stop(d->store, &op->op);
	driver_wait(d, op);
	if (op->error && !(d->tolerant && op->error == EIO))
		driver_fail(d, false, "stop: %s", strerror(op->error));
	driver_put(op);
	driver_drain(d);
	if (driver_failed(d))
		return;
	khd_store_close(d->store);
	d->store = NULL;
}

/* ------------------------------------------------------------ calls */

static struct driver_op *begin(struct driver *d, enum driver_kind kind, uint32_t unit, size_t bytes)
{
	struct driver_op *op = driver_get(d, kind, bytes);

	if (!op)
		return NULL;
	op->unit = unit;
	op->generation = d->world->units[unit].generation;
	op->op.done = on_done;
	world_key(d->world, unit, &op->op.key);
	return op;
}

struct driver_op *driver_store(struct driver *d, uint32_t unit, uint64_t version, uint32_t flags)
{
	struct world_unit *u = &d->world->units[unit];
	uint32_t shift = world_place_of(d->world, unit)->shift;
	struct driver_op *op = begin(d, DRIVER_PUT, unit, 1ull << shift);

	if (!op)
		return NULL;
	op->version = version;
	op->op.flags = flags;
	op->op.meta.version = version;
	op->op.meta.token = world_token(version);
	world_fill(&op->op.key, version, op->buf);
	if (u->sent < version)
		u->sent = version;
	khd_store_put(d->store, &op->op);
	return op;
}

struct driver_op *driver_load(struct driver *d, uint32_t unit, bool data)
{
	const struct world_unit *u = &d->world->units[unit];
	uint32_t shift = world_place_of(d->world, unit)->shift;
	struct driver_op *op =
		begin(d, data ? DRIVER_GET : DRIVER_LOOKUP, unit, data ? 1ull << shift : 0);

	if (!op)
		return NULL;
	/* UINT64_MAX: it must not be there */
	op->floor = u->state == WORLD_OUT ? UINT64_MAX : u->done > u->acked ? u->done : u->acked;
	if (data) {
		memset(op->buf, 0x55, 1ull << shift);
		khd_store_get(d->store, &op->op);
	} else {
		khd_store_lookup(d->store, &op->op);
	}
	return op;
}

struct driver_op *driver_flush(struct driver *d)
{
	struct driver_op *op = begin(d, DRIVER_FLUSH, 0, 0);
	uint32_t i;

	if (!op)
		return NULL;
	op->dones = calloc(d->world->unit_count * 2, sizeof(*op->dones));
	if (!op->dones)
		abort();
	for (i = 0; i < d->world->unit_count; i++) {
		op->dones[2 * i] = d->world->units[i].done;
		op->dones[2 * i + 1] = d->world->units[i].generation;
	}
	khd_store_flush(d->store, &op->op);
	return op;
}

static void make_range(struct driver *d, struct driver_op *op, uint32_t unit, uint32_t units)
{
	struct world_place *p = world_place_of(d->world, unit);

	op->units = units;
	op->generation = d->world->units[unit].generation;
	op->range = (struct khd_range){ .start = world_addr(p, unit - p->first),
					.units = units,
					.shift = p->shift,
					.generation = op->generation,
					.tag = p->tag };
}

struct driver_op *driver_reserve(struct driver *d, uint32_t unit, uint32_t units)
{
	struct driver_op *op = begin(d, DRIVER_RESERVE, unit, 0);
	uint32_t i;

	if (!op)
		return NULL;
	d->world->generation++;
	d->world->group++;
	for (i = unit; i < unit + units; i++)
		d->world->units[i] = (struct world_unit){ .state = WORLD_ENTERING,
							  .generation = d->world->generation,
							  .group = d->world->group };
	make_range(d, op, unit, units);
	khd_store_reserve(d->store, &op->op, &op->range);
	return op;
}

struct driver_op *driver_release(struct driver *d, uint32_t unit, uint32_t units)
{
	struct driver_op *op = begin(d, DRIVER_RELEASE, unit, 0);
	uint32_t i;

	if (!op)
		return NULL;
	make_range(d, op, unit, units);
	for (i = unit; i < unit + units; i++)
		if (d->world->units[i].generation == op->generation &&
		    d->world->units[i].state == WORLD_IN)
			d->world->units[i].state = WORLD_LEAVING;
	khd_store_release(d->store, &op->op, &op->range);
	return op;
}

struct driver_op *driver_park(struct driver *d, uint32_t unit)
{
	uint32_t shift = world_place_of(d->world, unit)->shift, i;
	struct world_parked *p = NULL;
	struct driver_op *op;

	for (i = 0; i < WORLD_PARKED && !p; i++)
		if (d->world->parked[i].state == WORLD_OUT)
			p = &d->world->parked[i];
	op = p ? begin(d, DRIVER_PARK, unit, 1ull << shift) : NULL;
	if (!op)
		return NULL;
	op->parked = (uint32_t)(p - d->world->parked);
	op->op.meta.version = 1 + d->world->units[unit].sent;
	op->op.meta.token = ++d->world->token;
	*p = (struct world_parked){ .state = WORLD_ENTERING,
				    .key = op->op.key,
				    .meta = op->op.meta,
				    .tag = world_place_of(d->world, unit)->tag };
	world_fill(&op->op.key, p->meta.token, op->buf);
	khd_store_park(d->store, &op->op, &p->tag);
	return op;
}

struct driver_op *driver_discard(struct driver *d, uint32_t parked, uint64_t id)
{
	struct driver_op *op = begin(d, DRIVER_DISCARD, 0, 0);

	if (!op)
		return NULL;
	op->parked = parked;
	d->world->parked[parked].state = WORLD_LEAVING;
	khd_store_parked_discard(d->store, &op->op, id);
	return op;
}
