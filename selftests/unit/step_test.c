// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * step_test.c - space in page stores is taken and given back, and something fails at every step
 *
 * Each operation is run once undisturbed, to count its steps: what the home and the place do that
 * others see (messages, records, commands of the store), and the messages between them.  Then it is
 * run again for every step at which one dies instead, both do, a record cannot be written, a store
 * refuses or the connection breaks.  What was begun at a store that dies is done, or it is not.
 *
 * Afterwards, however it ended: a store has space for what the home says that it keeps, for nothing
 * else, and that is final; who was told that it is done has it; it can be done again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

#define READ KHAZANA_RIGHT_READ
#define WRITE KHAZANA_RIGHT_WRITE

#define HOME 0 /* hosts */
#define KEEPER 1
#define OTHER 2 /* has no store unless @rich */
#define ALL 8 /* units */
#define VALUE 0xfeed
#define TRIES 6 /* of who hears that it failed */

enum fault {
	NOTHING,
	HOME_DIES,
	PLACE_DIES,
	BOTH_DIE,
	RECORD_FAILS,
	STORE_IS_FULL,
	STORE_FAILS,
	LINK_BREAKS, /* a message of the home's to the place, or the reverse */
	FAULTS,
};

/**
 * struct scene - an operation
 * @code: what @asker asks for
 * @first: unit
 * @count: units
 * @place: whose store it is about
 * @before: units that KEEPER has allocated, from @before_first on
 * @rich: OTHER has a store, and in it units from 2 on
 */
struct scene {
	const char *name;
	enum kh_op_code code;
	unsigned int asker, place;
	uint64_t first, count, before_first, before;
	bool rich;
};

static const struct scene scenes[] = {
	{ "allocate", KH_OP_ALLOCATE, KEEPER, KEEPER, 0, ALL, 0, 0, false },
	{ "allocate at the home", KH_OP_ALLOCATE, OTHER, HOME, 0, ALL, 0, 0, false },
	{ "allocate more", KH_OP_ALLOCATE, KEEPER, KEEPER, 0, ALL, 3, 2, false },
	{ "allocate around", KH_OP_ALLOCATE, KEEPER, KEEPER, 0, ALL, 0, 0, true },
	{ "free", KH_OP_FREE, KEEPER, KEEPER, 0, ALL, 0, ALL, false },
	{ "free a part", KH_OP_FREE, OTHER, KEEPER, 2, 4, 0, ALL, false },
	{ "unreserve", KH_OP_UNRESERVE, OTHER, KEEPER, 0, ALL, 0, ALL, false },
};

struct run {
	const struct scene *scene;
	enum fault fault;
	unsigned int step, second; /* of the home; @second: of the place, if both die */
	bool store_ends;
	struct cluster *c;
	bool answered;
	int error;
};

/* Steps that an undisturbed run has. */
struct steps {
	unsigned int home, place, records, commands, messages;
};

static struct kh_op op_of(struct cluster *c, enum kh_op_code code, uint64_t unit, uint64_t units)
{
	struct kh_op op = { .code = code,
			    .addr = kh_addr_add(c->addr, unit * UNIT),
			    .length = units * UNIT };

	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	return op;
}

static void must(struct run *r, bool ok, const char *what)
{
	if (!ok)
		fail_msg("%s, fault %u at step %u/%u, store ends %d: answer %d of %d: %s",
			 r->scene->name, r->fault, r->step, r->second, r->store_ends, r->error,
			 r->answered, what);
}

/* Ask, and let everything happen that comes of it at once. */
static void ask(struct run *r, unsigned int host, struct kh_op op)
{
	struct host *h = &r->c->hosts[host];
	unsigned int before = h->replies;

	op.timeout_ms = 5000;
	kh_node_op(h->node, before + 1, &op, r->c->now);
	cluster_run(r->c);
	if (h->node && h->replies == before)
		cluster_pass(r->c, 200, 10);
	r->answered = h->replies > before;
	r->error = r->answered ? (int)h->result.error : 0;
}

static void prepare(struct run *r)
{
	const struct scene *s = r->scene;
	struct kh_op op = { .code = KH_OP_RESERVE, .length = ALL * UNIT };
	struct cluster *c = r->c = cluster_new_stores();
	uint64_t unit;

	if (!s->rich) {
		host_kill(&c->hosts[OTHER]);
		c->hosts[OTHER].config.store = false;
		host_start(&c->hosts[OTHER], false);
		cluster_rejoin(c, OTHER);
	}
	memcpy(op.key, "sixteen bytes...", KH_KEY_SIZE);
	assert_int_equal(host_op(&c->hosts[HOME], &op), 0);
	c->addr = c->hosts[HOME].result.addr;
	if (s->rich) {
		op = op_of(c, KH_OP_ALLOCATE, 2, 3);
		assert_int_equal(host_op(&c->hosts[OTHER], &op), 0);
	}
	if (!s->before)
		return;
	op = op_of(c, KH_OP_ALLOCATE, s->before_first, s->before);
	assert_int_equal(host_op(&c->hosts[KEEPER], &op), 0);
	if (s->code == KH_OP_UNRESERVE)
		return;
	assert_int_equal(host_attach(&c->hosts[KEEPER], c->addr, NULL), 0);
	for (unit = s->before_first; unit < s->before_first + s->before; unit++) {
		const struct khazana_request flush = { .op = KHAZANA_REQ_FLUSH,
						       .region = 1,
						       .unit = unit,
						       .count = 1,
						       .timeout_ms = 1000 };

		assert_int_equal(host_want(&c->hosts[KEEPER], unit, 1, WRITE, 0), 0);
		host_store(&c->hosts[KEEPER], unit, VALUE);
		host_request(&c->hosts[KEEPER], &flush);
		assert_true(c->hosts[KEEPER].kept[unit].version != 0);
	}
}

static void arm(struct run *r)
{
	struct cluster *c = r->c;
	struct host *home = &c->hosts[HOME], *place = &c->hosts[r->scene->place];
	unsigned int i;

	for (i = 0; i < c->nodes; i++) {
		c->hosts[i].effects = 0;
		memset(c->hosts[i].store_begun, 0, sizeof(c->hosts[i].store_begun));
	}
	place->store_ends = home->store_ends = r->store_ends;
	switch (r->fault) {
	case HOME_DIES:
		home->dies_at = r->step;
		break;
	case PLACE_DIES:
		place->dies_at = r->step;
		break;
	case BOTH_DIE:
		home->dies_at = r->step;
		place->dies_at = r->second;
		break;
	case RECORD_FAILS:
		home->persist_fails_at = r->step;
		break;
	case STORE_IS_FULL:
	case STORE_FAILS:
		place->store_refuses_at = r->step;
		place->store_refusal = r->fault == STORE_FAILS ? EIO : ENOSPC;
		break;
	case LINK_BREAKS:
		if (r->second)
			c->break_at[r->scene->place][HOME] = r->step;
		else
			c->break_at[HOME][r->scene->place] = r->step;
		break;
	default:
		break;
	}
}

static void disarm(struct run *r)
{
	struct cluster *c = r->c;
	unsigned int i;

	memset(c->break_at, 0, sizeof(c->break_at));
	for (i = 0; i < c->nodes; i++) {
		c->hosts[i].dies_at = 0;
		c->hosts[i].persist_fails_at = 0;
		c->hosts[i].store_refuses_at = 0;
	}
}

/* Who is dead lives again, who was cut off is connected. */
static void heal(struct run *r)
{
	struct cluster *c = r->c;
	unsigned int i, k;

	disarm(r);
	for (i = 0; i < c->nodes; i++)
		if (!c->hosts[i].node)
			host_start(&c->hosts[i], false);
	for (i = 0; i < c->nodes; i++)
		for (k = i + 1; k < c->nodes; k++)
			cluster_disconnect(c, i, k);
	for (i = 0; i < c->nodes; i++)
		for (k = i + 1; k < c->nodes; k++)
			cluster_connect(c, i, k);
	cluster_run(c);
	cluster_pass(c, 25000, 100); /* a call's limit, a lease, and what is tried each second */
}

/* What the home answers to a question. */
static int tell(struct run *r, struct kh_op op)
{
	struct host *h = &r->c->hosts[HOME];
	unsigned int before = h->replies;

	kh_node_op(h->node, before + 1, &op, r->c->now);
	cluster_run(r->c);
	if (h->replies == before)
		cluster_pass(r->c, 10000, 100);
	must(r, h->replies > before, "the home does not answer");
	return (int)h->result.error;
}

/* Whose store keeps the unit, as the home says; 0: it is not allocated. */
static kh_node_id place(struct run *r, uint64_t unit)
{
	int error = tell(r, op_of(r->c, KH_OP_PAGE_SHOW, unit, 0));

	if (error == ENXIO || error == ENOENT)
		return 0;
	must(r, !error, "the home does not say what it has");
	return r->c->hosts[HOME].page.place;
}

static bool gone(struct run *r)
{
	return tell(r, op_of(r->c, KH_OP_GETATTR, 0, 0)) == ENOENT;
}

/* Every store has what the home says, and nothing else. */
static void agree(struct run *r)
{
	uint64_t unit;
	unsigned int i;

	for (unit = 0; unit < ALL; unit++) {
		kh_node_id at = place(r, unit);

		for (i = 0; i < r->c->nodes; i++)
			must(r, (r->c->hosts[i].kept[unit].generation != 0) == (at == i + 1),
			     "a store has not what the home says");
	}
}

/* Is the unit as it is when the operation is done, or as before? */
static bool is_done(struct run *r, uint64_t unit)
{
	bool allocated = place(r, unit) != 0;

	if (r->scene->code == KH_OP_UNRESERVE)
		return gone(r);
	return allocated == (r->scene->code == KH_OP_ALLOCATE);
}

static bool all_done(struct run *r)
{
	uint64_t unit, n = 0;

	for (unit = r->scene->first; unit < r->scene->first + r->scene->count; unit++)
		n += is_done(r, unit);
	if (n == r->scene->count)
		return true;
	/* Of an ALLOCATE those that were there before, or that another one has. */
	if (r->scene->code == KH_OP_ALLOCATE)
		must(r, n == (r->scene->rich ? 3 : r->scene->before), "it is half done");
	else
		must(r, !n, "it is half done");
	return false;
}

/* Commands about space that the stores were given. */
static unsigned int begun(const struct cluster *c)
{
	unsigned int i, n = 0;

	for (i = 0; i < c->nodes; i++)
		n += c->hosts[i].store_begun[KH_STORE_RESERVE] +
		     c->hosts[i].store_begun[KH_STORE_RELEASE];
	return n;
}

/*
 * The home's disk says the same, and nothing more happens.  (That a store gave space back may not
 * have been written down: then it is asked once more.)
 */
static void is_final(struct run *r)
{
	struct cluster *c = r->c;
	bool done = all_done(r);
	unsigned int i, before = 0;

	for (i = 0; i < 2; i++) {
		before = begun(c);
		host_kill(&c->hosts[HOME]);
		host_start(&c->hosts[HOME], false);
		cluster_rejoin(c, HOME);
		cluster_pass(c, 15000, 100);
		must(r, all_done(r) == done, "a restart changes it");
		agree(r);
	}
	must(r, begun(c) == before, "it goes on after its end");
}

/* It is asked for until it is done; what was freed reads as zero when it is there again. */
static void again(struct run *r)
{
	const struct scene *s = r->scene;
	struct host *h = &r->c->hosts[KEEPER];
	unsigned int i;

	for (i = 0; i < TRIES && !all_done(r); i++) {
		ask(r, s->asker, op_of(r->c, s->code, s->first, s->count));
		cluster_pass(r->c, 3000, 100);
	}
	must(r, all_done(r), "it cannot be done again");
	agree(r);
	if (s->code != KH_OP_FREE)
		return;
	ask(r, KEEPER, op_of(r->c, KH_OP_ALLOCATE, s->first, s->count));
	must(r, r->answered && !r->error, "what was freed cannot be allocated");
	must(r, host_want(h, s->first, 1, READ, 0) == 0 && !host_load(h, s->first),
	     "what was freed is seen again");
	if (s->before != s->count)
		must(r, host_want(h, 0, 1, READ, 0) == 0 && host_load(h, 0) == VALUE,
		     "what was not freed is lost");
}

static void run(struct run *r)
{
	bool told;

	prepare(r);
	arm(r);
	ask(r, r->scene->asker, op_of(r->c, r->scene->code, r->scene->first, r->scene->count));
	told = r->answered && !r->error;
	heal(r);
	agree(r);
	if (told)
		must(r, all_done(r), "who asked was told that it is done");
	is_final(r);
	again(r);
	cluster_free(r->c);
}

/* How many steps of each kind there are when nothing fails. */
static struct steps count(const struct scene *scene)
{
	struct run r = { .scene = scene };
	struct host *home, *place;
	struct steps steps;

	prepare(&r);
	arm(&r);
	home = &r.c->hosts[HOME];
	place = &r.c->hosts[scene->place];
	home->persist_fails_at = 1000;
	r.c->break_at[HOME][scene->place] = r.c->break_at[scene->place][HOME] = 1000;
	ask(&r, scene->asker, op_of(r.c, scene->code, scene->first, scene->count));
	must(&r, r.answered && !r.error, "it fails by itself");
	steps = (struct steps){
		.home = home->effects,
		.place = place->effects,
		.records = 1000 - home->persist_fails_at,
		.commands =
			place->store_begun[KH_STORE_RESERVE] + place->store_begun[KH_STORE_RELEASE],
		.messages = 1000 - r.c->break_at[HOME][scene->place],
	};
	if (steps.messages < 1000 - r.c->break_at[scene->place][HOME])
		steps.messages = 1000 - r.c->break_at[scene->place][HOME];
	must(&r, all_done(&r), "it is answered and not done");
	cluster_free(r.c);
	return steps;
}

static unsigned int last_step(const struct scene *scene, const struct steps *steps,
			      enum fault fault)
{
	switch (fault) {
	case HOME_DIES:
		return steps->home;
	case BOTH_DIE:
		return scene->place == HOME ? 0 : steps->home;
	case PLACE_DIES:
		return scene->place == HOME ? 0 : steps->place;
	case RECORD_FAILS:
		return steps->records;
	case STORE_IS_FULL:
	case STORE_FAILS:
		return steps->commands;
	case LINK_BREAKS:
		return scene->place == HOME ? 0 : steps->messages;
	default:
		return 1;
	}
}

static unsigned int run_scene(const struct scene *scene)
{
	const struct steps steps = count(scene);
	struct run r = { .scene = scene };
	unsigned int n = 0, seconds, ends;

	for (r.fault = NOTHING; r.fault < FAULTS; r.fault++) {
		seconds = r.fault == BOTH_DIE ? steps.place : r.fault == LINK_BREAKS ? 2 : 1;
		ends = r.fault == HOME_DIES || r.fault == PLACE_DIES || r.fault == BOTH_DIE ? 2 : 1;
		for (r.step = 1; r.step <= last_step(scene, &steps, r.fault); r.step++) {
			unsigned int i;

			for (i = 0; i < seconds * ends; i++) {
				r.second = r.fault == BOTH_DIE ? 1 + i / ends : i / ends;
				r.store_ends = i % ends;
				run(&r);
				n++;
			}
		}
	}
	print_message("# %s: %u steps of the home, %u of the place, %u records, %u commands, "
		      "%u messages: %u runs\n",
		      scene->name, steps.home, steps.place, steps.records, steps.commands,
		      steps.messages, n);
	return n;
}

static void nothing_is_lost_or_left_behind_at_any_step(void **state)
{
	unsigned int i, runs = 0;

	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		runs += run_scene(&scenes[i]);
	/* Something was enumerated at all. */
	assert_true(runs > 300);
}

int test_step(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_or_left_behind_at_any_step),
	};

	return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
