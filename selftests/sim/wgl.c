// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wgl.c - linearizability of one word
 *
 * Calls and returns form a list in time order.  The search lifts an operation whose call stands
 * before every remaining return, if the register allows it, and goes on from the head; at a
 * return of an operation that is not lifted yet it takes the last one back.
 */
#include <stdbool.h>
#include <stdlib.h>
#include "rng.h"
#include "wgl.h"

struct entry {
	struct entry *prev, *next;
	struct entry *match; /* call: its return or NULL; return: NULL */
	uint64_t time;
	size_t op;
	bool is_call;
};

struct step {
	struct entry *call;
	uint64_t value; /* before it */
};

struct state_key {
	uint64_t a, b;
};

struct search {
	const struct wgl_op *ops;
	struct entry *entries;
	struct entry head;
	struct step *stack;
	size_t depth;
	struct state_key set; /* of lifted operations */
	struct state_key *seen; /* open addressing, {0, 0} is free */
	size_t seen_count, seen_size;
};

static uint64_t mix(uint64_t x)
{
	struct rng r = { x };

	return rng_next(&r);
}

static int by_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->time < y->time ? -1 : x->time > y->time;
}

static void insert_key(struct state_key *table, size_t size, struct state_key key)
{
	size_t i = key.a & (size - 1);

	while (table[i].a || table[i].b)
		i = (i + 1) & (size - 1);
	table[i] = key;
}

static void grow_seen(struct search *s)
{
	size_t size = s->seen_size * 2;
	struct state_key *table = calloc(size, sizeof(*table));
	size_t i;

	if (!table)
		abort();
	for (i = 0; i < s->seen_size; i++)
		if (s->seen[i].a || s->seen[i].b)
			insert_key(table, size, s->seen[i]);
	free(s->seen);
	s->seen = table;
	s->seen_size = size;
}

/* True if the state is new. */
static bool remember(struct search *s, struct state_key set, uint64_t value)
{
	struct state_key key = { set.a ^ mix(value + 1), set.b ^ mix(~value) };
	size_t i;

	if (!key.a && !key.b)
		key.a = 1;
	for (i = key.a & (s->seen_size - 1); s->seen[i].a || s->seen[i].b;
	     i = (i + 1) & (s->seen_size - 1))
		if (s->seen[i].a == key.a && s->seen[i].b == key.b)
			return false;
	s->seen[i] = key;
	if (++s->seen_count * 2 > s->seen_size)
		grow_seen(s);
	return true;
}

static bool apply(const struct wgl_op *op, uint64_t value, uint64_t *after)
{
	bool must_match = op->kind != WGL_STORE && op->ret != WGL_NEVER;

	if (must_match && op->out != value)
		return false;
	*after = op->kind == WGL_LOAD ? value : op->kind == WGL_STORE ? op->arg : value + op->arg;
	return true;
}

static void unlink_entry(struct entry *e)
{
	e->prev->next = e->next;
	if (e->next)
		e->next->prev = e->prev;
}

static void relink_entry(struct entry *e)
{
	e->prev->next = e;
	if (e->next)
		e->next->prev = e;
}

static void toggle(struct search *s, size_t op)
{
	s->set.a ^= mix(op * 2 + 0x5bd1e995);
	s->set.b ^= mix(op * 2 + 0x1b873593e4ull);
}

static void lift(struct search *s, struct entry *e, uint64_t value)
{
	s->stack[s->depth++] = (struct step){ e, value };
	toggle(s, e->op);
	unlink_entry(e);
	if (e->match)
		unlink_entry(e->match);
}

static struct entry *unlift(struct search *s, uint64_t *value)
{
	struct step *step = &s->stack[--s->depth];

	if (step->call->match)
		relink_entry(step->call->match);
	relink_entry(step->call);
	toggle(s, step->call->op);
	*value = step->value;
	return step->call->next;
}

static enum wgl_verdict search(struct search *s, size_t completed, uint64_t max_steps)
{
	struct entry *e = s->head.next;
	uint64_t value = 0, after;
	struct state_key set;
	size_t done = 0;

	while (done < completed) {
		if (!max_steps--)
			return WGL_UNDECIDED;
		if (!e->is_call) {
			if (!s->depth)
				return WGL_BAD;
			done -= !!s->stack[s->depth - 1].call->match;
			e = unlift(s, &value);
			continue;
		}
		if (apply(&s->ops[e->op], value, &after)) {
			set = s->set;
			toggle(s, e->op);
			if (remember(s, s->set, after)) {
				s->set = set;
				lift(s, e, value);
				done += !!e->match;
				value = after;
				e = s->head.next;
				continue;
			}
			s->set = set;
		}
		e = e->next;
	}
	return WGL_OK;
}

static size_t build_list(struct search *s, const struct wgl_op *ops, size_t n)
{
	struct entry **call_of = calloc(n, sizeof(*call_of));
	size_t count = 0, completed = 0, i;

	if (!call_of)
		abort();
	for (i = 0; i < n; i++) {
		s->entries[count++] =
			(struct entry){ .time = ops[i].call, .op = i, .is_call = true };
		if (ops[i].ret == WGL_NEVER)
			continue;
		s->entries[count++] = (struct entry){ .time = ops[i].ret, .op = i };
		completed++;
	}
	qsort(s->entries, count, sizeof(*s->entries), by_time);
	s->head.next = count ? &s->entries[0] : NULL;
	for (i = 0; i < count; i++) {
		struct entry *e = &s->entries[i];

		e->prev = i ? e - 1 : &s->head;
		e->next = i + 1 < count ? e + 1 : NULL;
		if (e->is_call)
			call_of[e->op] = e;
		else
			call_of[e->op]->match = e;
	}
	free(call_of);
	return completed;
}

enum wgl_verdict wgl_check(const struct wgl_op *ops, size_t n, uint64_t max_steps)
{
	struct search s = { .ops = ops, .seen_size = 1024 };
	enum wgl_verdict verdict;

	s.entries = calloc(2 * n + 1, sizeof(*s.entries));
	s.stack = calloc(n + 1, sizeof(*s.stack));
	s.seen = calloc(s.seen_size, sizeof(*s.seen));
	if (!s.entries || !s.stack || !s.seen)
		abort();
	verdict = search(&s, build_list(&s, ops, n), max_steps);
	free(s.entries);
	free(s.stack);
	free(s.seen);
	return verdict;
}

uint64_t wgl_overlaps(const struct wgl_op *ops, size_t n)
{
	uint64_t pairs = 0;
	size_t i, j;

	for (i = 0; i < n; i++)
		for (j = i + 1; j < n; j++)
			pairs += ops[i].call < ops[j].ret && ops[j].call < ops[i].ret;
	return pairs;
}
