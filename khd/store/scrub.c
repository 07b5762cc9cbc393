// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scrub.c - every stored unit is read and verified, slowly
 *
 * Keys come from the index, a few at a time; each is read as khd_store_get() reads it, so that what
 * changes meanwhile is no damage.  One pass, then it rests.  Parked units follow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define ROWS 64u
#define POLL_NS 10000000ull

/**
 * struct khd_scrub - a pass
 * @rate: bytes a second, 0: it rests
 * @allowed: bytes that may be read now; below 0 it waits
 * @at, @count: in @rows
 * @parked: id of the next parked unit; 0: not there yet
 */
struct khd_scrub {
	struct khd_job_of of;
	struct khd_store_op op;
	struct khd_store *store;
	uint64_t rate, then;
	int64_t allowed;
	void *buf;
	struct khd_row rows[ROWS];
	int count, at;
	struct khd_key after;
	struct khd_parked found;
	uint64_t parked, damaged, units;
	bool has_after, busy, last;
};

bool khd_scrub_busy(const struct khd_store *store)
{
	return store->scrub && store->scrub->busy;
}

void khd_scrub_free(struct khd_store *store)
{
	if (store->scrub)
		free(store->scrub->buf);
	free(store->scrub);
	store->scrub = NULL;
}

static void step(struct khd_scrub *s);

static void scan_run(struct khd_job *job)
{
	struct khd_scrub *s = kh_container(job, struct khd_scrub, of.job);

	s->count = khd_index_scan(s->store->index, NULL, s->has_after ? &s->after : NULL, s->rows,
				  ROWS);
}

static void scan_done(struct khd_job *job)
{
	struct khd_scrub *s = kh_container(job, struct khd_scrub, of.job);
	struct khd_store *store = s->store;

	khd_store_enter(store);
	store->jobs--;
	s->busy = false;
	s->at = 0;
	if (s->count < 0) {
		khd_store_damage(store, "index", 0, NULL, "scrub cannot read it");
		s->count = 0;
		s->rate = 0;
	} else if (s->count) {
		s->after = s->rows[s->count - 1].key;
		s->has_after = true;
	} else {
		s->last = true;
	}
	step(s);
	khd_store_leave(store);
}

static void unit_done(struct khd_store_op *op, int error)
{
	struct khd_scrub *s = kh_container(op, struct khd_scrub, op);
	struct khd_store *store = s->store;

	s->busy = false;
	if (!error || error == EBADMSG) {
		store->stats.scrubbed++;
		s->units++;
		s->damaged += error == EBADMSG;
		s->allowed -= (int64_t)(store->sector + op->iov.iov_len);
	}
	if (s->parked)
		s->parked = error == ENOENT ? 0 : s->found.id + 1;
	if (s->last && !s->parked) {
		khd_store_say(store, "store", "scrub: %llu units verified, %llu damaged",
			      (unsigned long long)s->units, (unsigned long long)s->damaged);
		s->rate = 0;
	}
	step(s);
}

static void next_unit(struct khd_scrub *s)
{
	struct khd_store *store = s->store;

	s->busy = true;
	s->op = (struct khd_store_op){ .done = unit_done };
	if (s->last) {
		struct khd_parked_unit *p = khd_parked_find(store, s->parked ? s->parked : 1);

		s->parked = p ? p->parked.id : s->parked ? s->parked : 1;
		s->op.iov.iov_base = s->buf;
		s->op.iov.iov_len = p ? 1ull << p->parked.key.shift : KHD_SECTOR;
		khd_store_parked_get(store, &s->op, s->parked, &s->found);
		return;
	}
	s->op.key = s->rows[s->at++].key;
	s->op.iov = (struct iovec){ s->buf, 1ull << s->op.key.shift };
	khd_store_get(store, &s->op);
}

/* As long as it may; each end begins the next. */
static void step(struct khd_scrub *s)
{
	struct khd_store *store = s->store;

	if (!s->rate || s->busy || s->allowed < 0 || store->error || store->stopping ||
	    store->stopped)
		return;
	if (s->at < s->count || s->last) {
		next_unit(s);
		return;
	}
	s->busy = true;
	s->of = (struct khd_job_of){ { scan_run, scan_done, NULL }, store };
	khd_job(store, &s->of.job);
}

uint64_t khd_scrub_tick(struct khd_store *store)
{
	struct khd_scrub *s = store->scrub;
	uint64_t passed;

	if (!s || !s->rate)
		return UINT64_MAX;
	passed = s->then ? store->now - s->then : 0;
	s->then = store->now;
	if (passed > 1000000000ull)
		passed = 1000000000ull;
	s->allowed += (int64_t)((khd_u128)s->rate * passed / 1000000000u);
	if (s->allowed > (int64_t)s->rate)
		s->allowed = (int64_t)s->rate;
	step(s);
	return store->now + POLL_NS;
}

void khd_store_scrub(struct khd_store *store, uint64_t rate)
{
	struct khd_scrub *s = store->scrub;

	if (!s) {
		s = calloc(1, sizeof(*s));
		if (s)
			s->buf = khd_buffer(1u << KHD_STORE_SHIFT_MAX);
		if (!s || !s->buf) {
			free(s);
			khd_store_say(store, "store", "scrub: no memory");
			return;
		}
		s->store = store;
		store->scrub = s;
	}
	if (!s->rate && rate) { /* a new pass */
		s->count = s->at = 0;
		s->has_after = s->last = false;
		s->parked = s->units = s->damaged = s->then = 0;
		s->allowed = 0;
	}
	s->rate = rate > INT64_MAX / 2 ? INT64_MAX / 2 : rate;
}
