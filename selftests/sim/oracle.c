// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * oracle.c - what the words really hold, and who may have seen it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host.h"
#include "oracle.h"
#include "store.h"

#define WGL_STEPS 3000000
#define PRESSURE (200 * MS) /* how long a notice of it has effects */
#define NEWS (5 * SEC) /* how old the word that a unit is not allocated may be */

struct tenure {
	uint64_t parent;
	unsigned int region, unit, host;
	bool lost;
	bool buried; /* the unit was freed since */
	bool alone; /* its backup may have been given up */
	bool safe; /* it was flushed */
	uint64_t words[SIM_WORDS];
	uint32_t seen; /* hosts */
	uint64_t failures; /* of the region, when it began */
	uint64_t seen_failures[SIM_NODES_MAX]; /* of the host, when it saw it last */
	uint64_t *atts; /* of the writer's host that touched it */
	size_t att_count;
};

struct op {
	struct wgl_op wgl;
	unsigned int region, unit, word;
	uint64_t tenure;
	uint64_t life; /* of the unit: how often it was freed */
	bool executed, refused;
};

struct held {
	bool active;
	unsigned int host, region, lo, n;
	uint32_t mode;
	uint64_t att, failures;
	const struct klock *lock;
	bool key_changed; /* since it was granted */
};

struct flushed {
	unsigned int region, lo, n;
	uint64_t heads[SIM_UNITS_MAX];
	uint32_t readable; /* units: at somebody, just then */
};

/* Between the first and the last, what may be seen of the unit. */
enum unit_state {
	UNIT_ALLOCATED,
	UNIT_FREEING, /* all, until it is zero */
	UNIT_FREED, /* nothing */
	UNIT_ALLOCATING, /* nothing, or zero */
};

struct oracle {
	enum unit_state state[SIM_REGIONS][SIM_UNITS_MAX];
	uint64_t lives[SIM_REGIONS][SIM_UNITS_MAX];
	uint64_t free_until[SIM_REGIONS][SIM_UNITS_MAX];
	uint32_t volatiles[SIM_REGIONS]; /* units: no store was there to keep them */
	struct tenure *tenures;
	size_t tenure_count, tenure_size;
	uint64_t head[SIM_REGIONS][SIM_UNITS_MAX];
	struct op *ops;
	size_t op_count, op_size;
	struct held *locks;
	size_t lock_count, lock_size;
	struct flushed *flushes;
	size_t flush_count, flush_size;
	uint64_t failures[SIM_NODES_MAX][SIM_REGIONS];
	uint64_t all_failures[SIM_REGIONS];
	uint64_t pressure_until;
};

static void *grow(void *array, size_t count, size_t *size, size_t item)
{
	if (count < *size)
		return array;
	*size = *size ? 2 * *size : 256;
	array = realloc(array, *size * item);
	if (!array)
		abort();
	return array;
}

/* The first tenures are the units' zeros: never written. */
void oracle_create(struct sim *sim)
{
	struct oracle *o = calloc(1, sizeof(*o));

	if (!o)
		abort();
	sim->oracle = o;
	o->tenures = grow(NULL, 0, &o->tenure_size, sizeof(*o->tenures));
	o->tenures[o->tenure_count++] = (struct tenure){ 0 };
}

void oracle_destroy(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	size_t i;

	for (i = 0; i < o->tenure_count; i++)
		free(o->tenures[i].atts);
	free(o->tenures);
	free(o->ops);
	free(o->locks);
	free(o->flushes);
	free(o);
}

void oracle_node_failed(struct host *host, unsigned int region)
{
	struct oracle *o = host->sim->oracle;
	unsigned int i;

	for (i = 0; i < SIM_REGIONS; i++) {
		if (region != SIM_REGIONS && i != region)
			continue;
		o->failures[host->index][i]++;
		o->all_failures[i]++;
	}
}

static size_t word_offset(const struct munit *u, unsigned int word)
{
	return ((size_t)1 << u->region->unit_shift) / (SIM_WORDS + 1) / 8 * 8 * word;
}

static uint64_t *word_of(const struct munit *u, int frame, unsigned int word)
{
	return (uint64_t *)(munit_memory(u, frame) + word_offset(u, word));
}

static uint64_t *tenure_of(const struct munit *u, int frame)
{
	return (uint64_t *)(munit_memory(u, frame) + ((size_t)1 << u->region->unit_shift) - 8);
}

static const char *unit_name(const struct munit *u)
{
	static char name[64];

	snprintf(name, sizeof(name), "node %u unit %u.%u", u->region->module->host->index + 1,
		 u->region->sim_region, u->index);
	return name;
}

/* May everything behind @to, up to @from, be lost? */
static bool may_be_lost(const struct oracle *o, uint64_t from, uint64_t to, unsigned int region)
{
	unsigned int i;

	for (; from != to; from = o->tenures[from].parent) {
		const struct tenure *t = &o->tenures[from];
		bool all_failed = true;

		if (t->safe)
			return false;
		if (o->all_failures[region] >= t->failures + (t->alone ? 1 : 2))
			continue;
		for (i = 0; i < SIM_NODES_MAX; i++)
			if ((t->seen & 1u << i) && o->failures[i][region] <= t->seen_failures[i])
				all_failed = false;
		if (!all_failed)
			return false;
	}
	return true;
}

static bool is_ancestor(const struct oracle *o, uint64_t old, uint64_t young)
{
	while (young && young != old)
		young = o->tenures[young].parent;
	return young == old;
}

static void doom(struct sim *sim, const struct tenure *t)
{
	struct module *m = sim->hosts[t->host]->module;
	size_t i, k;

	for (k = 0; m && k < t->att_count; k++)
		for (i = 0; i < MODULE_ATTS; i++)
			if (m->atts[i].used && m->atts[i].id == t->atts[k])
				m->atts[i].doomed = true;
}

static void roll_back(struct munit *u, uint64_t to)
{
	struct sim *sim = u->region->module->sim;
	struct oracle *o = sim->oracle;
	unsigned int region = u->region->sim_region;
	uint64_t *head = &o->head[region][u->index];

	if (!may_be_lost(o, *head, to, region)) {
		sim_violation(sim,
			      "%s: version %llu is gone back to %llu, though a node that had seen "
			      "it did not fail",
			      unit_name(u), (unsigned long long)*head, (unsigned long long)to);
		return;
	}
	sim->stats.rollbacks++;
	sim_trace(sim, "%s: rolled back from version %llu to %llu", unit_name(u),
		  (unsigned long long)*head, (unsigned long long)to);
	for (; *head != to; *head = o->tenures[*head].parent) {
		struct tenure *t = &o->tenures[*head];

		t->lost = true;
		/* Zeros over zeros, and the like: what anybody saw of it is what there is now. */
		if (memcmp(t->words, o->tenures[to].words, sizeof(t->words)))
			doom(sim, t);
	}
}

/* The unit is as if it had never been written. */
static void bury(struct sim *sim, unsigned int region, unsigned int unit)
{
	struct oracle *o = sim->oracle;
	size_t i;

	for (i = 1; i < o->tenure_count; i++)
		if (o->tenures[i].region == region && o->tenures[i].unit == unit)
			o->tenures[i].buried = true;
	o->head[region][unit] = 0;
	o->lives[region][unit]++;
}

static void set_state(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n,
		      enum unit_state state)
{
	struct oracle *o = sim->oracle;
	unsigned int i;

	sim->touched[region] |= ((1u << n) - 1) << lo;
	for (i = lo; i < lo + n; i++) {
		o->state[region][i] = state;
		o->free_until[region][i] = sim->now;
		if (state == UNIT_FREED)
			bury(sim, region, i);
	}
}

void oracle_free_begin(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n)
{
	set_state(sim, region, lo, n, UNIT_FREEING);
}

void oracle_freed(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n)
{
	set_state(sim, region, lo, n, UNIT_FREED);
}

void oracle_alloc_begin(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n)
{
	set_state(sim, region, lo, n, UNIT_ALLOCATING);
}

void oracle_allocated(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n,
		      bool stored)
{
	uint32_t units = ((1u << n) - 1) << lo;

	set_state(sim, region, lo, n, UNIT_ALLOCATED);
	if (stored)
		sim->oracle->volatiles[region] &= ~units;
	else
		sim->oracle->volatiles[region] |= units;
}

bool oracle_may_be_free(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n,
			uint64_t since)
{
	const struct oracle *o = sim->oracle;
	unsigned int i;

	for (i = lo; i < lo + n; i++)
		if (o->state[region][i] != UNIT_ALLOCATED ||
		    (o->free_until[region][i] && o->free_until[region][i] + NEWS >= since))
			return true;
	return false;
}

/* The tenure of a frame is looked at: false if that must not be. */
static bool observe(struct munit *u, int frame)
{
	struct sim *sim = u->region->module->sim;
	struct oracle *o = sim->oracle;
	unsigned int region = u->region->sim_region, i;
	uint64_t id = *tenure_of(u, frame), head = o->head[region][u->index];
	struct tenure *t = &o->tenures[id < o->tenure_count ? id : 0];

	if (id >= o->tenure_count || (id && (t->region != region || t->unit != u->index))) {
		sim_violation(sim, "%s: contents are not those of any version (%llx)", unit_name(u),
			      (unsigned long long)id);
		return false;
	}
	if (o->state[region][u->index] == UNIT_FREED) {
		sim_violation(sim, "%s: used though it is free", unit_name(u));
		return false;
	}
	if (id && t->buried) {
		sim_violation(sim, "%s: what was in it before it was freed is seen again (%llu)",
			      unit_name(u), (unsigned long long)id);
		return false;
	}
	if (!id && head && o->state[region][u->index] == UNIT_FREEING) {
		bury(sim, region, u->index);
		head = 0;
	}
	if (id && t->lost) {
		sim_violation(sim, "%s: the lost version %llu is seen again", unit_name(u),
			      (unsigned long long)id);
		return false;
	}
	if (id != head && !is_ancestor(o, id, head)) {
		sim_violation(sim, "%s: version %llu beside %llu", unit_name(u),
			      (unsigned long long)id, (unsigned long long)head);
		return false;
	}
	if (id != head)
		roll_back(u, id);
	for (i = 0; i < SIM_WORDS && !sim->failed; i++)
		if (*word_of(u, frame, i) != (id ? t->words[i] : 0))
			sim_violation(sim, "%s: word %u of version %llu is %llx, it was %llx",
				      unit_name(u), i, (unsigned long long)id,
				      (unsigned long long)*word_of(u, frame, i),
				      (unsigned long long)t->words[i]);
	return !sim->failed;
}

void oracle_pressure(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	size_t i;

	o->pressure_until = sim->now + PRESSURE;
	for (i = 0; i < o->tenure_count; i++)
		o->tenures[i].alone = true;
}

void oracle_dropped(struct munit *u)
{
	struct oracle *o = u->region->module->sim->oracle;
	uint64_t id = *tenure_of(u, u->frame);

	if (id < o->tenure_count)
		o->tenures[id].seen &= ~(1u << u->region->module->host->index);
}

static void see(struct munit *u, struct att *att, uint64_t id)
{
	struct oracle *o = u->region->module->sim->oracle;
	unsigned int host = u->region->module->host->index;
	struct tenure *t = &o->tenures[id];
	size_t i;

	if (!id)
		return;
	t->seen |= 1u << host;
	t->seen_failures[host] = o->failures[host][t->region];
	if (host != t->host || !att)
		return;
	for (i = 0; i < t->att_count; i++)
		if (t->atts[i] == att->id)
			return;
	t->atts = realloc(t->atts, (t->att_count + 1) * sizeof(*t->atts));
	if (!t->atts)
		abort();
	t->atts[t->att_count++] = att->id;
}

/* A store goes in: the first one under a grant begins a tenure. */
static uint64_t begin_tenure(struct munit *u, uint64_t parent)
{
	struct oracle *o = u->region->module->sim->oracle;
	unsigned int region = u->region->sim_region;
	struct tenure *t;

	u->tenure_token = u->page.token;
	o->tenures = grow(o->tenures, o->tenure_count, &o->tenure_size, sizeof(*o->tenures));
	t = &o->tenures[o->tenure_count];
	*t = (struct tenure){
		.parent = parent,
		.region = region,
		.unit = u->index,
		.host = u->region->module->host->index,
		.failures = o->all_failures[region],
		.alone = u->region->module->sim->now < o->pressure_until,
	};
	if (parent)
		memcpy(t->words, o->tenures[parent].words, sizeof(t->words));
	*tenure_of(u, u->frame) = o->tenure_count;
	o->head[region][u->index] = o->tenure_count;
	return o->tenure_count++;
}

size_t oracle_op_begin(struct sim *sim, unsigned int region, unsigned int unit, unsigned int word,
		       enum wgl_kind kind, uint64_t arg)
{
	struct oracle *o = sim->oracle;

	o->ops = grow(o->ops, o->op_count, &o->op_size, sizeof(*o->ops));
	o->ops[o->op_count] = (struct op){
		.wgl = { kind, ++sim->stamp, WGL_NEVER, arg, 0 },
		.region = region,
		.unit = unit,
		.word = word,
		.life = o->lives[region][unit],
	};
	return o->op_count++;
}

void oracle_op_end(struct sim *sim, size_t op)
{
	sim->oracle->ops[op].wgl.ret = ++sim->stamp;
}

void oracle_op_refused(struct sim *sim, size_t op)
{
	sim->oracle->ops[op].refused = true;
}

/* No lock of another machine may stand against this access. */
static void check_locks(struct munit *u, bool store)
{
	struct sim *sim = u->region->module->sim;
	struct oracle *o = sim->oracle;
	unsigned int region = u->region->sim_region, host = u->region->module->host->index;
	size_t i;

	for (i = 0; i < o->lock_count; i++) {
		const struct held *l = &o->locks[i];

		if (!l->active || l->host == host || l->region != region || u->index < l->lo ||
		    u->index >= l->lo + l->n || l->failures != o->failures[l->host][region])
			continue;
		if (store || l->mode != KHAZANA_LOCK_READ)
			sim_violation(sim, "%s: accessed under the lock of node %u", unit_name(u),
				      l->host + 1);
	}
}

void oracle_access(struct munit *u, struct att *att, size_t number)
{
	struct sim *sim = u->region->module->sim;
	struct oracle *o = sim->oracle;
	struct op *op = &o->ops[number];
	uint64_t *word = word_of(u, u->frame, op->word), id;

	if (!observe(u, u->frame))
		return;
	if (att->doomed) {
		sim_violation(sim, "%s: a program that saw a lost version goes on", unit_name(u));
		return;
	}
	check_locks(u, op->wgl.kind != WGL_LOAD);
	id = *tenure_of(u, u->frame);
	if (op->wgl.kind != WGL_LOAD && u->tenure_token != u->page.token)
		id = begin_tenure(u, id);
	op->wgl.out = *word;
	if (op->wgl.kind != WGL_LOAD) {
		*word = op->wgl.kind == WGL_STORE ? op->wgl.arg : *word + op->wgl.arg;
		o->tenures[id].words[op->word] = *word;
	}
	op->tenure = id;
	op->life = o->lives[op->region][op->unit];
	op->executed = true;
	see(u, att, id);
	sim_hash(sim, &op->wgl.out, sizeof(op->wgl.out));
	sim_trace(sim, "%s: %s word %u arg %llx saw %llx version %llu", unit_name(u),
		  op->wgl.kind == WGL_LOAD  ? "load" :
		  op->wgl.kind == WGL_STORE ? "store" :
					      "add",
		  op->word, (unsigned long long)op->wgl.arg, (unsigned long long)op->wgl.out,
		  (unsigned long long)id);
}

/* All words are stored zero, at this very moment. */
static void zero_words(struct munit *u, struct att *att, uint64_t parent)
{
	struct sim *sim = u->region->module->sim;
	struct oracle *o = sim->oracle;
	uint64_t id = parent;
	unsigned int i;

	if (u->tenure_token != u->page.token)
		id = begin_tenure(u, parent);
	for (i = 0; i < SIM_WORDS; i++) {
		size_t op = oracle_op_begin(sim, u->region->sim_region, u->index, i, WGL_STORE, 0);

		*word_of(u, u->frame, i) = 0;
		o->tenures[id].words[i] = 0;
		o->ops[op].tenure = id;
		o->ops[op].life = o->lives[u->region->sim_region][u->index];
		o->ops[op].executed = true;
		oracle_op_end(sim, op);
	}
	see(u, att, id);
}

/* The lock that it was zeroed for will be refused.  What was never written, or is lost, is zero. */
static void zeroed_in_vain(struct munit *u)
{
	struct sim *sim = u->region->module->sim;
	struct oracle *o = sim->oracle;
	unsigned int region = u->region->sim_region;

	if (o->state[region][u->index] == UNIT_ALLOCATED &&
	    !may_be_lost(o, o->head[region][u->index], 0, region))
		sim_violation(sim, "I10: %s is zeroed for a lock with an old key", unit_name(u));
}

void oracle_zero(struct munit *u, bool overwrite)
{
	struct oracle *o = u->region->module->sim->oracle;

	memset(munit_memory(u, u->frame), 0, (size_t)1 << u->region->unit_shift);
	if (!overwrite)
		return;
	if (munit_key_is_old(u)) {
		zeroed_in_vain(u);
		return;
	}
	u->region->module->sim->stats.overwrites++;
	zero_words(u, NULL, o->head[u->region->sim_region][u->index]);
}

void oracle_overwrite(struct munit *u, struct att *att)
{
	if (!observe(u, u->frame))
		return;
	check_locks(u, true);
	zero_words(u, att, *tenure_of(u, u->frame));
}

size_t oracle_locked(struct sim *sim, const struct klock *lock)
{
	struct oracle *o = sim->oracle;
	struct mregion *r = lock->att->region;
	unsigned int host = r->module->host->index, i;

	if (lock->att->key < sim->regions[r->sim_region].keys)
		sim_violation(sim,
			      "I10: node %u locks units of region %u with key %u, %u was answered "
			      "for",
			      host + 1, r->sim_region, lock->att->key,
			      sim->regions[r->sim_region].keys);
	for (i = 0; i < lock->n; i++)
		check_locks(&r->units[lock->lo + i], lock->mode != KHAZANA_LOCK_READ);
	o->locks = grow(o->locks, o->lock_count, &o->lock_size, sizeof(*o->locks));
	o->locks[o->lock_count] = (struct held){
		.active = true,
		.host = host,
		.region = r->sim_region,
		.lo = lock->lo,
		.n = lock->n,
		.mode = lock->mode,
		.att = lock->att->id,
		.failures = o->failures[host][r->sim_region],
		.lock = lock,
	};
	return o->lock_count++;
}

void oracle_unlocked(struct sim *sim, size_t number)
{
	struct oracle *o = sim->oracle;
	struct held *l = &o->locks[number];

	l->active = false;
	if (!l->key_changed || l->failures != o->failures[l->host][l->region])
		return;
	sim->stats.key_held++;
	if (l->lock->lapsed)
		sim_violation(sim, "I10: a lock of node %u of region %u is gone with the key",
			      l->host + 1, l->region);
}

void oracle_key_changed(struct sim *sim, unsigned int region)
{
	struct oracle *o = sim->oracle;
	size_t i;

	for (i = 0; i < o->lock_count; i++)
		if (o->locks[i].active && o->locks[i].region == region)
			o->locks[i].key_changed = true;
}

void oracle_attached(struct sim *sim, const struct att *att, int error)
{
	const struct sim_region *r = &sim->regions[att->sim_region];

	if (!error && (att->key_old || att->key_serial != att->key))
		sim_violation(sim, "I10: key %u of region %u was proven%s and has serial %llu",
			      att->key, att->sim_region,
			      att->key_old ? " though it had been changed" : "",
			      (unsigned long long)att->key_serial);
	if (error == -EKEYREJECTED && !att->key_unsure && !att->key_old && !r->rekeying &&
	    att->key == r->keys)
		sim_violation(sim, "I10: key %u of region %u is refused", att->key,
			      att->sim_region);
}

/* Only by a key that is, or becomes just now, an old one. */
void oracle_key_refused(struct sim *sim, const struct att *att)
{
	const struct sim_region *r = &sim->regions[att->sim_region];

	sim->stats.key_refusals++;
	if (att->key >= r->keys + r->rekeying)
		sim_violation(sim, "I10: a lock of region %u with the newest key %u is refused",
			      att->sim_region, att->key);
}

/* The newest version that some store has; false if no store keeps the unit. */
static bool newest_stored(struct sim *sim, unsigned int region, unsigned int unit, uint64_t *best)
{
	struct oracle *o = sim->oracle;
	bool kept = false;
	unsigned int i;

	*best = 0;
	/* Another store may not know yet that what it keeps was freed. */
	if (o->volatiles[region] & 1u << unit)
		return false;
	for (i = 0; i < sim->cfg.nodes; i++) {
		const unsigned char *bytes = store_contents(sim->hosts[i], region, unit);
		uint64_t id;

		kept |= store_keeps(sim->hosts[i], region, unit);
		if (!bytes)
			continue;
		memcpy(&id, bytes + ((size_t)1 << sim->regions[region].unit_shift) - 8, sizeof(id));
		if (id > *best && id < o->tenure_count && !o->tenures[id].lost &&
		    !o->tenures[id].buried)
			*best = id;
	}
	return kept;
}

uint64_t oracle_head(const struct sim *sim, unsigned int region, unsigned int unit)
{
	return sim->oracle->head[region][unit];
}

bool oracle_has_head(const struct munit *u)
{
	return u && u->frame >= 0 && u->page.version != KHAZANA_VERSION_NONE &&
	       *tenure_of(u, u->frame) ==
		       u->region->module->sim->oracle->head[u->region->sim_region][u->index];
}

bool oracle_is_durable(struct sim *sim, unsigned int region, unsigned int unit, uint64_t version)
{
	const struct oracle *o = sim->oracle;
	uint64_t stored;

	return !version || o->tenures[version].lost || o->tenures[version].buried ||
	       o->state[region][unit] != UNIT_ALLOCATED ||
	       !newest_stored(sim, region, unit, &stored) || is_ancestor(o, version, stored);
}

static struct munit *unit_on(struct sim *sim, unsigned int host, unsigned int region,
			     unsigned int unit)
{
	struct module *m = sim->hosts[host]->module;
	struct mregion *r = m ? module_region_of(m, region) : NULL;

	return r ? &r->units[unit] : NULL;
}

/* Can somebody read just it?  (What overwrote it would not tell: it may have been lost before.) */
static bool is_readable(struct sim *sim, unsigned int region, unsigned int unit, uint64_t version)
{
	unsigned int i;

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct munit *u = unit_on(sim, i, region, unit);

		if (u && munit_readable(u) && *tenure_of(u, u->frame) == version)
			return true;
	}
	return false;
}

size_t oracle_flush_begin(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n)
{
	struct oracle *o = sim->oracle;
	struct flushed *f;
	unsigned int i;

	o->flushes = grow(o->flushes, o->flush_count, &o->flush_size, sizeof(*o->flushes));
	f = &o->flushes[o->flush_count];
	*f = (struct flushed){ .region = region, .lo = lo, .n = n };
	for (i = 0; i < n; i++) {
		f->heads[i] = o->head[region][lo + i];
		if (is_readable(sim, region, lo + i, f->heads[i]))
			f->readable |= 1u << i;
	}
	return o->flush_count++;
}

/*
 * What could be read when the flush began is in a store now, unless it is lost or freed.  While
 * a client frees it, it may be free already.  What can be read again is not lost, whoever failed;
 * @readable: it could be when the flush began.
 */
static void check_flushed(struct sim *sim, unsigned int region, unsigned int unit, uint64_t head,
			  bool readable)
{
	struct oracle *o = sim->oracle;
	uint64_t stored;

	if (!head || o->tenures[head].lost || o->tenures[head].buried ||
	    !newest_stored(sim, region, unit, &stored))
		return;
	if (is_ancestor(o, head, stored))
		o->tenures[head].safe = true;
	else if (o->state[region][unit] == UNIT_ALLOCATED &&
		 ((readable && is_readable(sim, region, unit, head)) ||
		  !may_be_lost(o, head, stored, region)))
		sim_violation(sim,
			      "I7: unit %u.%u: version %llu was flushed, but the store has %llu",
			      region, unit, (unsigned long long)head, (unsigned long long)stored);
}

void oracle_flush_end(struct sim *sim, size_t number)
{
	const struct flushed *f = &sim->oracle->flushes[number];
	unsigned int i;

	for (i = 0; i < f->n; i++)
		check_flushed(sim, f->region, f->lo + i, f->heads[i], f->readable >> i & 1);
}

/* The newest version of which somebody has a frame; zeros need none. */
static uint64_t newest_frame(struct sim *sim, unsigned int region, unsigned int unit)
{
	struct oracle *o = sim->oracle;
	uint64_t best = 0, id;
	unsigned int i, k;

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct munit *u = unit_on(sim, i, region, unit);

		for (k = 0; u && k < 2; k++) {
			if (k ? u->handoff < 0 :
				u->frame < 0 || u->page.version == KHAZANA_VERSION_NONE)
				continue;
			id = *tenure_of(u, k ? u->handoff : u->frame);
			if (id > best && id < o->tenure_count && !o->tenures[id].lost &&
			    !o->tenures[id].buried)
				best = id;
		}
	}
	newest_stored(sim, region, unit, &id);
	return id > best ? id : best;
}

void oracle_check(struct sim *sim, unsigned int region, unsigned int unit)
{
	struct oracle *o = sim->oracle;
	unsigned int readers = 0, writers = 0, i;
	uint64_t head = o->head[region][unit], newest = newest_frame(sim, region, unit);

	for (i = 0; i < sim->cfg.nodes; i++) {
		struct munit *u = unit_on(sim, i, region, unit);
		uint64_t id;

		if (!u || !munit_readable(u))
			continue;
		writers += u->page.right == KHAZANA_RIGHT_WRITE;
		readers++;
		id = *tenure_of(u, u->frame);
		if (o->state[region][unit] == UNIT_FREED ||
		    (id < o->tenure_count && o->tenures[id].buried))
			sim_violation(sim, "I8: %s can be read though it is free", unit_name(u));
		if (id == head || (!id && o->state[region][unit] == UNIT_FREEING))
			continue;
		if (id >= o->tenure_count || !is_ancestor(o, id, head) ||
		    !may_be_lost(o, head, id, region))
			sim_violation(sim, "I2: %s can read version %llu, the last one is %llu",
				      unit_name(u), (unsigned long long)id,
				      (unsigned long long)head);
	}
	if (writers > 1 || (writers && readers > 1))
		sim_violation(sim, "I1: unit %u.%u: %u can write, %u can read", region, unit,
			      writers, readers);
	if (o->state[region][unit] != UNIT_FREEING && newest != head &&
	    !may_be_lost(o, head, newest, region))
		sim_violation(sim,
			      "I3: unit %u.%u: no frame holds version %llu, the newest is %llu",
			      region, unit, (unsigned long long)head, (unsigned long long)newest);
}

static void check_word(struct sim *sim, struct wgl_op *ops, size_t n, const struct op *first)
{
	enum wgl_verdict verdict = wgl_check(ops, n, WGL_STEPS);

	sim->stats.overlapping_pairs += wgl_overlaps(ops, n);
	sim->stats.undecided += verdict == WGL_UNDECIDED;
	if (verdict == WGL_BAD)
		sim_violation(sim, "history of word %u.%u.%u is not linearizable", first->region,
			      first->unit, first->word);
}

static int by_word(const void *a, const void *b)
{
	const struct op *x = a, *y = b;

	if (x->region != y->region)
		return x->region < y->region ? -1 : 1;
	if (x->unit != y->unit)
		return x->unit < y->unit ? -1 : 1;
	if (x->word != y->word)
		return x->word < y->word ? -1 : 1;
	if (x->life != y->life)
		return x->life < y->life ? -1 : 1;
	return x->wgl.call < y->wgl.call ? -1 : x->wgl.call > y->wgl.call;
}

void oracle_history(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	struct wgl_op *ops = calloc(o->op_count + 1, sizeof(*ops));
	size_t i, n = 0, start = 0;

	if (!ops)
		abort();
	qsort(o->ops, o->op_count, sizeof(*o->ops), by_word);
	for (i = 0; i < o->op_count; i++) {
		const struct op *op = &o->ops[i];

		if (i && (op->region != op[-1].region || op->unit != op[-1].unit ||
			  op->word != op[-1].word || op->life != op[-1].life)) {
			check_word(sim, ops, n, &o->ops[start]);
			start = i;
			n = 0;
		}
		sim->stats.operations += op->executed;
		if (op->executed && o->tenures[op->tenure].lost)
			sim->stats.forgotten_ops++;
		else if (!op->refused)
			ops[n++] = op->wgl;
	}
	if (n)
		check_word(sim, ops, n, &o->ops[start]);
	free(ops);
}
