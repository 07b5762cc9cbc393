// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * muser.c - what processes ask of a simulated module: attach, access, lock
 */
#include <errno.h>
#include <string.h>
#include "host.h"
#include "module.h"
#include "oracle.h"
#include "proc.h"

/* While it is changed nobody knows which one is right; and some program has a key of yesterday. */
static void choose_key(struct sim *sim, const struct sim_region *sr, struct att *att)
{
	att->key = sr->keys;
	att->key_unsure = sr->rekeying;
	att->key_old = sr->keys && rng_chance(&sim->rng, 50);
	if (att->key_old)
		att->key--;
	else if (sr->rekeying && rng_chance(&sim->rng, 500))
		att->key++;
}

static void queue_attach(struct module *m, struct att *att)
{
	struct sim_region *sr = &m->sim->regions[att->sim_region];
	struct khazana_request req = {
		.op = KHAZANA_REQ_ATTACH,
		.addr = sr->addr,
		.timeout_ms = 30000,
	};

	choose_key(m->sim, sr, att);
	sim_key(sr, att->key, req.key);
	att->request = module_queue(m, &req);
}

/* Begin to attach; proc_attached() tells the end.  NULL if there are too many. */
struct att *muser_attach(struct module *m, unsigned int sim_region, struct proc *proc)
{
	unsigned int i;

	for (i = 0; i < MODULE_ATTS; i++) {
		struct att *att = &m->atts[i];

		if (att->used)
			continue;
		*att = (struct att){ .used = true,
				     .pending = true,
				     .proc = proc,
				     .sim_region = sim_region,
				     .id = ++m->sim->next_att };
		queue_attach(m, att);
		return att;
	}
	return NULL;
}

/* False if nobody waits for @request. */
bool muser_attach_end(struct module *m, uint64_t request, struct mregion *r, uint64_t key_serial,
		      int error)
{
	unsigned int i;

	for (i = 0; request && i < MODULE_ATTS; i++) {
		struct att *att = &m->atts[i];

		if (!att->used || !att->pending || att->request != request)
			continue;
		att->pending = false;
		att->region = r;
		att->key_serial = key_serial;
		if (r)
			r->attached++;
		proc_attached(att->proc, att, error);
		return true;
	}
	return false;
}

/* What had been asked of the dead khd is asked of the next one. */
void muser_daemon_gone(struct module *m)
{
	unsigned int i;

	for (i = 0; i < MODULE_ATTS; i++)
		if (m->atts[i].used && m->atts[i].pending)
			queue_attach(m, &m->atts[i]);
}

void muser_poison(struct mregion *r)
{
	unsigned int i;

	for (i = 0; i < MODULE_ATTS; i++) {
		struct att *att = &r->module->atts[i];

		if (!att->used || att->region != r || att->poisoned)
			continue;
		att->poisoned = true;
		r->module->sim->stats.poisons++;
	}
}

static void wait_on(struct waiter **list, struct waiter *w)
{
	while (*list)
		list = &(*list)->next;
	w->next = NULL;
	w->waiting = true;
	w->error = 0;
	*list = w;
}

/* The lease ended, but its zap is still to come: a fault that notices does it. */
static void expire_if_over(struct mregion *r)
{
	unsigned int i;

	if (module_lease_valid(r))
		return;
	for (i = 0; i < MODULE_LEASES; i++)
		if (r->module->leases[i].id == r->lease)
			module_expire(r->module, &r->module->leases[i]);
}

/* True if the right is there now; otherwise it is being asked for. */
static bool fault_in(struct munit *u, uint32_t want, uint32_t flags, uint64_t key_serial)
{
	if (kz_page_usable(&u->page, want) && (u->mapped || module_lease_valid(u->region)))
		return true;
	expire_if_over(u->region);
	munit_make(u);
	if (!u->request) {
		u->request_flags = flags;
		u->request_serial = key_serial;
	}
	if (!munit_step(u, &(struct kz_page_event){ .type = KZ_EV_FAULT, .right = want }))
		return true;
	/* A miss brings a frame when few are left; here anybody may. */
	if (u->page.state == KHAZANA_STATE_FETCHING &&
	    rng_chance(&u->region->module->sim->rng, 300))
		munit_frame(u, 0);
	return false;
}

/*
 * An access of one word: 0 with the unit, -EINPROGRESS (@w waits; the process will be woken and
 * tries again), or why it is refused.
 */
int muser_access(struct att *att, unsigned int unit, uint32_t want, uint32_t flags,
		 struct waiter *w, struct munit **out)
{
	struct munit *u = &att->region->units[unit];

	if (att->poisoned)
		return -ESTALE;
	if (!att->region->used)
		return -ENOENT;
	*out = u;
	if (!fault_in(u, want, flags, 0)) {
		w->unit = u;
		w->want = want;
		w->flags = flags;
		wait_on(&u->waiters, w);
		return -EINPROGRESS;
	}
	u->mapped = true;
	if (u->mark)
		module_queue(u->region->module,
			     &(struct khazana_request){ .op = KHAZANA_REQ_TOUCHED,
							.region = u->region->handle,
							.unit = u->index,
							.count = 1 });
	u->mark = false;
	if (want == KHAZANA_RIGHT_WRITE)
		munit_step(u, &(struct kz_page_event){ .type = KZ_EV_STORE });
	return 0;
}

/* The process does not wait any more. */
void muser_cancel(struct module *m, struct waiter *w)
{
	struct waiter **at = w->unit ? &w->unit->waiters : &m->lock_waiters;
	struct munit *u = w->unit;

	if (!w->waiting)
		return;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->waiting = false;
	if (u && !u->waiters && u->request)
		module_queue(m, &(struct khazana_request){
					.op = KHAZANA_REQ_CANCELLED,
					.region = u->region->handle,
					.unit = u->index,
					.count = 1,
					.cookie = u->request,
				});
}

struct klock *muser_lock_new(struct att *att, unsigned int lo, unsigned int n, uint32_t mode)
{
	struct module *m = att->region->module;
	unsigned int i;

	for (i = 0; i < MODULE_LOCKS; i++) {
		if (m->locks[i].used)
			continue;
		m->locks[i] =
			(struct klock){ .used = true, .att = att, .lo = lo, .n = n, .mode = mode };
		return &m->locks[i];
	}
	return NULL;
}

static bool conflicts(const struct klock *a, const struct klock *b)
{
	return a != b && b->used && b->arbitrated && a->att != b->att &&
	       a->att->region == b->att->region && a->lo < b->lo + b->n && b->lo < a->lo + a->n &&
	       (a->mode != KHAZANA_LOCK_READ || b->mode != KHAZANA_LOCK_READ);
}

/* Against other contexts of the same machine. */
static int arbitrate(struct klock *lock, uint32_t flags, struct waiter *w)
{
	struct module *m = lock->att->region->module;
	unsigned int i;

	for (i = 0; i < MODULE_LOCKS; i++) {
		if (!conflicts(lock, &m->locks[i]))
			continue;
		if (flags & KHAZANA_REQF_TRY)
			return -EAGAIN;
		w->unit = NULL;
		w->flags = flags;
		wait_on(&m->lock_waiters, w);
		return -EINPROGRESS;
	}
	lock->arbitrated = true;
	return 0;
}

/* As kz_attachment_key(). */
int muser_key(const struct att *att)
{
	return att->key_serial < att->region->key_serial ? -EKEYREJECTED : 0;
}

/* Take what can be taken: 0 when all units are locked, -EINPROGRESS, or an error. */
int muser_lock_go(struct klock *lock, uint32_t flags, struct waiter *w)
{
	struct mregion *r = lock->att->region;
	uint32_t want = lock->mode == KHAZANA_LOCK_READ ? KHAZANA_RIGHT_READ : KHAZANA_RIGHT_WRITE;
	unsigned int i;
	int ret;

	flags |= KHAZANA_REQF_LOCK |
		 (lock->mode == KHAZANA_LOCK_OVERWRITE ? KHAZANA_REQF_OVERWRITE : 0);
	if (lock->att->poisoned)
		return -ESTALE;
	/* Each time that it wakes: the key may have been changed while it waited. */
	ret = muser_key(lock->att);
	if (ret)
		return ret;
	if (!lock->arbitrated) {
		ret = arbitrate(lock, flags, w);
		if (ret)
			return ret;
	}
	while (lock->got < lock->n &&
	       fault_in(&r->units[lock->lo + lock->got], want, flags, lock->att->key_serial)) {
		munit_step(&r->units[lock->lo + lock->got++],
			   &(struct kz_page_event){ .type = KZ_EV_LOCK, .right = want });
	}
	if (lock->got == lock->n)
		return 0;
	/* Also the one that is waited for: where the lease ended meanwhile, what was got is not. */
	for (i = lock->got; i < lock->n; i++)
		fault_in(&r->units[lock->lo + i], want, flags, lock->att->key_serial);
	w->unit = &r->units[lock->lo + lock->got];
	w->want = want;
	w->flags = flags;
	wait_on(&w->unit->waiters, w);
	return -EINPROGRESS;
}

static void unlock_units(struct klock *lock)
{
	uint32_t right = lock->mode == KHAZANA_LOCK_READ ? KHAZANA_RIGHT_READ : KHAZANA_RIGHT_WRITE;

	while (lock->got)
		munit_step(&lock->att->region->units[lock->lo + --lock->got],
			   &(struct kz_page_event){ .type = KZ_EV_UNLOCK, .right = right });
}

/* Release, complete or not: 0, or -ESTALE if the lease had ended before. */
int muser_unlock(struct klock *lock)
{
	struct module *m = lock->att->region->module;
	struct waiter *w, *all = m->lock_waiters;

	unlock_units(lock);
	lock->used = false;
	m->lock_waiters = NULL;
	while ((w = all)) {
		all = w->next;
		w->waiting = false;
		proc_wake(w->proc);
	}
	return lock->lapsed ? -ESTALE : 0;
}

/* The right under some locks ended: they hold nothing any more. */
void muser_locks_lapse(struct munit *u)
{
	struct module *m = u->region->module;
	unsigned int i;

	for (i = 0; i < MODULE_LOCKS; i++) {
		struct klock *lock = &m->locks[i];

		if (!lock->used || lock->att->region != u->region || u->index < lock->lo ||
		    u->index >= lock->lo + lock->got)
			continue;
		lock->lapsed |= lock->got == lock->n;
		m->sim->stats.lock_lapses++;
		unlock_units(lock);
	}
}

void muser_detach(struct module *m, struct att *att)
{
	struct mregion *r = att->region;
	unsigned int i;

	for (i = 0; i < MODULE_LOCKS; i++)
		if (m->locks[i].used && m->locks[i].att == att)
			muser_unlock(&m->locks[i]);
	if (att->pending)
		module_unqueue(m, att->request);
	att->used = false;
	if (r && r->used && !--r->attached)
		module_queue(m, &(struct khazana_request){ .op = KHAZANA_REQ_IDLE,
							   .region = r->handle });
}
