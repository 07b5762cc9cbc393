// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * proc.c - processes that load, store, add and lock
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "client.h"
#include "host.h"
#include "oracle.h"
#include "proc.h"
#include "store.h"

static void proc_go(struct sim *sim, uint64_t who, uint64_t life);
static void try_now(struct proc *p);

static uint64_t name_of(const struct proc *p)
{
	return p->host->index * SIM_PROCS + p->index;
}

static struct proc *by_name(struct sim *sim, uint64_t who, uint64_t life)
{
	struct proc *p = sim->hosts[who / SIM_PROCS]->procs[who % SIM_PROCS];

	return p && p->life == life ? p : NULL;
}

static void again_in(struct proc *p, uint64_t delay)
{
	sim_in(p->host->sim, delay, proc_go, name_of(p), p->life);
}

/* Mostly short pauses: contention; some long ones: leases and faults come between. */
static void think(struct proc *p)
{
	struct rng *rng = &p->host->sim->rng;

	p->state = PROC_THINKING;
	again_in(p, rng_chance(rng, 150) ? rng_below(rng, 250 * MS) :
					   rng_range(rng, 2 * US, 600 * US));
}

static void forget_attachment(struct proc *p, unsigned int region)
{
	struct att *att = p->atts[region];

	if (p->lock && p->lock->att == att) {
		if (p->phase == PROC_HOLDING)
			oracle_unlocked(p->host->sim, p->lock_number);
		p->lock = NULL;
		p->phase = PROC_PLAIN;
	}
	if (att)
		muser_detach(p->host->module, att);
	p->atts[region] = NULL;
}

/* The process is no more; another one takes its place later. */
static void die(struct proc *p)
{
	struct sim *sim = p->host->sim;
	unsigned int i;

	muser_cancel(p->host->module, &p->waiter);
	for (i = 0; i < SIM_REGIONS; i++)
		forget_attachment(p, i);
	p->has_op = false;
	p->lock = NULL;
	p->phase = PROC_PLAIN;
	p->scan = 0;
	p->life++;
	think(p);
	sim->stats.kills++;
}

static void kill_waiter(struct sim *sim, uint64_t who, uint64_t wait)
{
	struct proc *p = sim->hosts[who / SIM_PROCS]->procs[who % SIM_PROCS];

	if (p && p->state == PROC_WAITING && p->wait == wait && !sim->faults_over) {
		sim_trace(sim, "node %u: process %u is killed in its wait", p->host->index + 1,
			  p->index);
		die(p);
	}
}

static bool may_be_free(const struct proc *p)
{
	const struct klock *lock = p->phase == PROC_LOCKING ? p->lock : NULL;

	return oracle_may_be_free(p->host->sim, p->region, lock ? lock->lo : p->unit,
				  lock ? lock->n : 1, p->since);
}

/* The operation ends without effect. */
static void refuse(struct proc *p, int error)
{
	struct sim *sim = p->host->sim;
	unsigned int region = p->region;

	sim_trace(sim, "node %u: process %u unit %u.%u: error %d", p->host->index + 1, p->index,
		  region, p->unit, error);
	if (error == -EKEYREJECTED && p->phase == PROC_LOCKING)
		oracle_key_refused(sim, p->atts[region]);
	else if (error != -ESTALE && error != -EAGAIN && error != -ETIMEDOUT && error != -EIO &&
		 !(error == -ENXIO && may_be_free(p)))
		sim_violation(sim, "node %u: an access of unit %u.%u ended with error %d",
			      p->host->index + 1, region, p->unit, -error);
	sim->stats.timeouts += error == -ETIMEDOUT;
	sim->stats.io_errors += error == -EIO;
	if (error == -EIO && p->phase == PROC_PLAIN && store_rots(sim, region, p->unit))
		check_rot_error(sim, p->host->index, region, p->unit);
	if (p->has_op)
		oracle_op_refused(sim, p->op);
	p->has_op = false;
	if (p->lock) {
		if (p->phase == PROC_HOLDING)
			oracle_unlocked(sim, p->lock_number);
		muser_unlock(p->lock);
		p->lock = NULL;
	}
	p->phase = PROC_PLAIN;
	if (error == -ESTALE || error == -EKEYREJECTED)
		forget_attachment(p, region);
	think(p);
}

static void wait_limit(struct sim *sim, uint64_t who, uint64_t wait)
{
	struct proc *p = sim->hosts[who / SIM_PROCS]->procs[who % SIM_PROCS];

	if (!p || p->state != PROC_WAITING || p->wait != wait)
		return;
	muser_cancel(p->host->module, &p->waiter);
	refuse(p, -ETIMEDOUT);
}

static void begin_wait(struct proc *p)
{
	struct sim *sim = p->host->sim;

	if (p->state != PROC_WAITING) {
		p->since = sim->now;
		p->wait++;
		sim_in(sim, p->atts[p->region]->region->wait_ms * MS, wait_limit, name_of(p),
		       p->wait);
		if (sim_has(sim, SIM_FAULT_KILL) && rng_chance(&sim->rng, 40))
			sim_in(sim, rng_range(&sim->rng, 10 * US, 3 * MS), kill_waiter, name_of(p),
			       p->wait);
	}
	p->state = PROC_WAITING;
}

static void end_lock(struct proc *p)
{
	oracle_unlocked(p->host->sim, p->lock_number);
	muser_unlock(p->lock);
	p->lock = NULL;
	p->phase = PROC_PLAIN;
}

/* Which access comes next; under a lock it stays inside. */
static void pick_access(struct proc *p)
{
	struct sim *sim = p->host->sim;
	unsigned int dice = rng_below(&sim->rng, 100);
	uint64_t arg = 0;

	p->kind = dice < 40 ? WGL_LOAD : dice < 70 ? WGL_STORE : WGL_ADD;
	p->word = rng_below(&sim->rng, SIM_WORDS);
	p->unit = rng_below(&sim->rng, sim->regions[p->region].units);
	if (p->scan && p->phase == PROC_PLAIN) {
		p->kind = WGL_LOAD;
		p->unit = sim->regions[p->region].units - p->scan--;
	}
	if (p->phase == PROC_HOLDING) {
		p->unit = p->lock->lo + rng_below(&sim->rng, p->lock->n);
		if (p->lock->mode == KHAZANA_LOCK_READ)
			p->kind = WGL_LOAD;
	}
	if (p->kind == WGL_STORE)
		arg = ++sim->stamp << 16;
	else if (p->kind == WGL_ADD)
		arg = 1;
	sim->ops_started++;
	p->op = oracle_op_begin(sim, p->region, p->unit, p->word, p->kind, arg);
	p->has_op = true;
}

static void pick_lock(struct proc *p)
{
	struct sim *sim = p->host->sim;
	unsigned int units = sim->regions[p->region].units, dice = rng_below(&sim->rng, 100);
	unsigned int lo = rng_below(&sim->rng, units);

	p->lock = muser_lock_new(p->atts[p->region], lo, rng_range(&sim->rng, 1, units - lo),
				 dice < 40 ? KHAZANA_LOCK_READ :
				 dice < 85 ? KHAZANA_LOCK_WRITE :
					     KHAZANA_LOCK_OVERWRITE);
	p->unit = lo;
	p->lock_flags = rng_chance(&sim->rng, 200) ? KHAZANA_REQF_TRY : 0;
	p->phase = p->lock ? PROC_LOCKING : PROC_PLAIN;
	p->left = rng_range(&sim->rng, 1, 4);
	sim->ops_started++;
}

/* fsync() of some units; also while others write them, and under the process' own lock. */
static bool pick_flush(struct proc *p)
{
	struct sim *sim = p->host->sim;
	unsigned int units = sim->regions[p->region].units, lo = rng_below(&sim->rng, units);

	if (!store_flush(p, p->region, lo, rng_range(&sim->rng, 1, units - lo)))
		return false;
	p->state = PROC_FLUSHING;
	p->since = sim->now;
	sim->ops_started++;
	return true;
}

void proc_flushed(struct proc *p, int error)
{
	struct sim *sim = p->host->sim;

	if (p->state != PROC_FLUSHING)
		return;
	if (error && error != -EIO && error != -ETIMEDOUT && error != -EAGAIN && error != -ENOENT)
		sim_violation(sim, "node %u: a flush ended with error %d", p->host->index + 1,
			      -error);
	think(p);
}

/* The whole region is read, unit by unit; now and then khd is told before. */
static void read_on(struct proc *p)
{
	struct sim *sim = p->host->sim;
	struct mregion *r = p->atts[p->region]->region;

	p->scan = sim->regions[p->region].units;
	if (rng_chance(&sim->rng, 500))
		module_queue(p->host->module, &(struct khazana_request){
						      .op = KHAZANA_REQ_PREFETCH,
						      .region = r->handle,
						      .unit = rng_below(&sim->rng, p->scan),
						      .count = rng_range(&sim->rng, 1, p->scan),
					      });
}

static void begin(struct proc *p)
{
	struct sim *sim = p->host->sim;

	if (p->phase == PROC_HOLDING && sim->cfg.stores && rng_chance(&sim->rng, 150) &&
	    !sim->quiesce && pick_flush(p))
		return;
	if (p->phase == PROC_HOLDING && (!p->left-- || sim->quiesce)) {
		end_lock(p);
		think(p);
		return;
	}
	if (sim->quiesce)
		return;
	if (p->phase == PROC_PLAIN) {
		if (!p->scan)
			p->region = rng_below(&sim->rng, SIM_REGIONS);
		if (!p->atts[p->region]) {
			p->state = PROC_ATTACHING;
			p->since = sim->now;
			p->atts[p->region] = muser_attach(p->host->module, p->region, p);
			if (!p->atts[p->region])
				think(p);
			return;
		}
		if (!p->scan && sim->cfg.stores && rng_chance(&sim->rng, 40) && pick_flush(p))
			return;
		if (!p->scan && rng_chance(&sim->rng, 60))
			pick_lock(p);
		else if (!p->scan && rng_chance(&sim->rng, 40))
			read_on(p);
	}
	if (p->phase != PROC_LOCKING)
		pick_access(p);
	try_now(p);
}

static void locked(struct proc *p)
{
	struct sim *sim = p->host->sim;
	unsigned int i;

	sim->stats.locks++;
	p->phase = PROC_HOLDING;
	p->lock_number = oracle_locked(sim, p->lock);
	sim_trace(sim, "node %u: process %u locks units %u..%u of region %u, mode %u",
		  p->host->index + 1, p->index, p->lock->lo, p->lock->lo + p->lock->n - 1,
		  p->region, p->lock->mode);
	for (i = 0; p->lock->mode == KHAZANA_LOCK_OVERWRITE && i < p->lock->n; i++) {
		struct munit *u = &p->atts[p->region]->region->units[p->lock->lo + i];

		u->mapped = true;
		munit_step(u, &(struct kz_page_event){ .type = KZ_EV_STORE });
		oracle_overwrite(u, p->atts[p->region]);
	}
	think(p);
}

static void try_now(struct proc *p)
{
	struct att *att = p->atts[p->region];
	uint32_t want = p->kind == WGL_LOAD ? KHAZANA_RIGHT_READ : KHAZANA_RIGHT_WRITE;
	struct munit *u;
	int ret;

	p->waiter.proc = p;
	if (p->phase == PROC_LOCKING)
		ret = muser_lock_go(p->lock, p->lock_flags, &p->waiter);
	else
		ret = muser_access(att, p->unit, want, 0, &p->waiter, &u);
	if (ret == -EINPROGRESS) {
		begin_wait(p);
		if (p->phase == PROC_LOCKING && p->lock->mode == KHAZANA_LOCK_OVERWRITE)
			client_hurry(p->host->sim, p->region);
	} else if (ret) {
		refuse(p, ret);
	} else if (p->phase == PROC_LOCKING) {
		locked(p);
	} else {
		oracle_access(u, att, p->op);
		p->state = PROC_RETURNING;
		again_in(p, rng_below(&p->host->sim->rng, 4 * US));
	}
}

/* The next thing in the life of a process. */
static void proc_go(struct sim *sim, uint64_t who, uint64_t life)
{
	struct proc *p = by_name(sim, who, life);
	int error;

	if (!p || !p->host->module)
		return;
	switch (p->state) {
	case PROC_THINKING:
		begin(p);
		break;
	case PROC_WAITING:
		if (p->waiter.waiting)
			break;
		error = p->waiter.error;
		p->waiter.error = 0;
		if (error)
			refuse(p, error);
		else
			try_now(p);
		break;
	case PROC_RETURNING:
		oracle_op_end(sim, p->op);
		p->has_op = false;
		think(p);
		break;
	case PROC_ATTACHING:
	case PROC_FLUSHING:
	case PROC_DEAD:
		break;
	}
}

void proc_wake(struct proc *p)
{
	again_in(p, rng_range(&p->host->sim->rng, US, 12 * US));
}

void proc_attached(struct proc *p, struct att *att, int error)
{
	struct sim *sim = p->host->sim;

	if (p->state != PROC_ATTACHING || p->atts[p->region] != att)
		return;
	oracle_attached(sim, att, error);
	if (error) {
		if (error != -EKEYREJECTED && error != -ETIMEDOUT && error != -EAGAIN &&
		    error != -ENODEV && error != -EIO && (error != -ENOENT || sim->faults_over))
			sim_violation(sim, "node %u: attach of region %u ended with error %d",
				      p->host->index + 1, p->region, -error);
		forget_attachment(p, p->region);
	}
	think(p);
}

void proc_start(struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++)
		proc_machine_up(sim->hosts[i]);
}

/* The memory of the machine is gone, and its module with it. */
void proc_machine_down(struct host *host)
{
	unsigned int i, k;

	for (i = 0; i < SIM_PROCS; i++) {
		struct proc *p = host->procs[i];

		if (!p)
			continue;
		if (p->phase == PROC_HOLDING)
			oracle_unlocked(host->sim, p->lock_number);
		p->life++;
		p->state = PROC_DEAD;
		p->phase = PROC_PLAIN;
		p->lock = NULL;
		p->has_op = false;
		p->waiter.waiting = false;
		for (k = 0; k < SIM_REGIONS; k++)
			p->atts[k] = NULL;
	}
}

void proc_machine_up(struct host *host)
{
	unsigned int i;

	for (i = 0; i < SIM_PROCS; i++) {
		struct proc *p = host->procs[i];

		if (!p)
			p = host->procs[i] = calloc(1, sizeof(*p));
		if (!p)
			abort();
		p->host = host;
		p->index = i;
		think(p);
	}
}

static bool is_idle(const struct proc *p)
{
	return !p || (p->state == PROC_THINKING && p->phase == PROC_PLAIN);
}

bool proc_all_idle(struct sim *sim)
{
	unsigned int i, k;

	for (i = 0; i < sim->cfg.nodes; i++)
		for (k = 0; k < SIM_PROCS; k++)
			if (!is_idle(sim->hosts[i]->procs[k]))
				return false;
	return true;
}

/* Who is not idle, for the report. */
const char *proc_waiting(struct sim *sim)
{
	static char text[128];
	unsigned int i, k;

	for (i = 0; i < sim->cfg.nodes; i++) {
		for (k = 0; k < SIM_PROCS; k++) {
			const struct proc *p = sim->hosts[i]->procs[k];

			if (is_idle(p))
				continue;
			snprintf(text, sizeof(text),
				 "node %u process %u, state %d phase %d, unit %u.%u, since %llu ms",
				 i + 1, k, p->state, p->phase, p->region, p->unit,
				 (unsigned long long)((sim->now - p->since) / MS));
			return text;
		}
	}
	return "nobody";
}
