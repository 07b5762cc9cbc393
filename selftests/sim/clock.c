// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * clock.c - the virtual clock: the queue of what will happen, trace and violations
 */
#include <stdarg.h>
#include <stdlib.h>
#include "sim.h"

static bool earlier(const struct sim_event *x, const struct sim_event *y)
{
	return x->time != y->time ? x->time < y->time : x->seq < y->seq;
}

/**
 * sim_at() - let @fn happen at @time
 */
void sim_at(struct sim *sim, uint64_t time, sim_fn *fn, uint64_t a, uint64_t b)
{
	struct sim_event ev = { time < sim->now ? sim->now : time, sim->seq++, a, b, fn };
	size_t i = sim->heap_len++;

	if (sim->heap_len > sim->heap_size) {
		sim->heap_size = sim->heap_size ? 2 * sim->heap_size : 256;
		sim->heap = realloc(sim->heap, sim->heap_size * sizeof(*sim->heap));
		if (!sim->heap)
			abort();
	}
	for (; i && earlier(&ev, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = ev;
}

/**
 * sim_next() - take the earliest entry of the queue, which must not be empty
 */
struct sim_event sim_next(struct sim *sim)
{
	struct sim_event first = sim->heap[0], last = sim->heap[--sim->heap_len];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < sim->heap_len) {
		if (child + 1 < sim->heap_len && earlier(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (earlier(&last, &sim->heap[child]))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return first;
}

/**
 * sim_hash() - let @data count for the trace hash
 */
void sim_hash(struct sim *sim, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		sim->hash = (sim->hash ^ *p++) * 0x100000001b3ull;
}

/**
 * sim_trace() - a line of the trace, if one is wanted
 */
void sim_trace(struct sim *sim, const char *format, ...)
{
	va_list args;

	if (!sim->cfg.trace)
		return;
	fprintf(sim->cfg.trace, "%12.6f  ", sim->now / 1e9);
	va_start(args, format);
	vfprintf(sim->cfg.trace, format, args);
	va_end(args);
	fputc('\n', sim->cfg.trace);
}

/**
 * sim_violation() - something that must not be; the first one is kept
 */
void sim_violation(struct sim *sim, const char *format, ...)
{
	va_list args;

	if (sim->failed)
		return;
	sim->failed = true;
	va_start(args, format);
	vsnprintf(sim->why, sizeof(sim->why), format, args);
	va_end(args);
	sim_trace(sim, "VIOLATION: %s", sim->why);
}
