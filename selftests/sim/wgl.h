/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wgl.h - is the history of one word linearizable?
 *
 * The word is a register with load, store and fetch-and-add, 0 at first.  Histories of
 * several words decompose: linearizability is local, so each word is searched alone.
 */
#ifndef SIM_WGL_H
#define SIM_WGL_H

#include <stddef.h>
#include <stdint.h>

#define WGL_NEVER UINT64_MAX /* an operation that did not return: may or may not have happened */

enum wgl_kind {
	WGL_LOAD,
	WGL_STORE,
	WGL_ADD,
};

/**
 * struct wgl_op - one operation
 * @kind: enum wgl_kind
 * @call: when it was invoked; all calls and returns differ
 * @ret: when it returned, WGL_NEVER if it did not
 * @arg: STORE: the value, ADD: the summand
 * @out: LOAD, ADD: the value seen (meaningless if it did not return)
 */
struct wgl_op {
	enum wgl_kind kind;
	uint64_t call;
	uint64_t ret;
	uint64_t arg;
	uint64_t out;
};

enum wgl_verdict {
	WGL_OK,
	WGL_BAD, /* no order of the operations explains what was seen */
	WGL_UNDECIDED, /* more steps than allowed */
};

/**
 * wgl_check() - search a linearization (Wing, Gong; Lowe's memory of visited states)
 * @ops: operations in any order
 * @n: how many
 * @max_steps: limit of the search
 *
 * Visited states are remembered by a 128-bit hash of the set of operations and the value.
 */
enum wgl_verdict wgl_check(const struct wgl_op *ops, size_t n, uint64_t max_steps);

/* Pairs of operations of the word that overlap in time. */
uint64_t wgl_overlaps(const struct wgl_op *ops, size_t n);

#endif /* SIM_WGL_H */
