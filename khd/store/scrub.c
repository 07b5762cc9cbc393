// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scrub.c - everything that is stored is read and verified, slowly
 *
 *	UNITS -> PARKED -> HEADS -> RANGES -> SEGMENTS -> END	step(): nothing is left of it
 *
 * Keys come from the index, a few at a time; each is read as khd_store_get() reads it, so that what
 * changes meanwhile is no damage.  Then come the blocks that only a rebuild reads: superblocks and
 * history, descriptors, segments' own.  They change at checkpoints and are read between two.  RAM
 * knows what the last two must be: what is damaged is written anew by the next checkpoint.
 *
 * What cannot be read now, since too much is under way, is tried again later; in the end it is
 * counted as not verified.  One pass, then it rests.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

#define ROWS 64u
#define POLL_NS 10000000ull
#define TRIES_MAX 100u /* of one unit or block, POLL_NS apart, or a checkpoint */

enum scrub_phase {
	SCRUB_UNITS, /* of the index */
	SCRUB_PARKED, /* units */
	SCRUB_HEADS, /* superblocks, history */
	SCRUB_RANGES, /* their descriptors */
	SCRUB_SEGMENTS, /* their blocks, first and last */
	SCRUB_END, /* it rests */
};

/**
 * struct khd_scrub - a pass
 * @rate: bytes a second, 0: it rests
 * @pace: of what is read
 * @at, @count: in @rows
 * @next: PARKED: id; HEADS, SEGMENTS: which block
 * @addr: RANGES: where the next one is
 * @checkpoints: how many there had been when a block was asked for, or last waited for
 * @tries: of what is next
 * @rows_end: the index has no more
 * @again: when it goes on, if it @waits
 */
struct khd_scrub {
	struct khd_job_of of;
	struct khd_store_op op;
	struct khd_disk_io io;
	struct iovec iov;
	struct khd_store *store;
	uint64_t rate, again;
	struct khd_pace pace;
	void *buf;
	enum scrub_phase phase;
	struct khd_row rows[ROWS];
	int count, at;
	struct khd_key after;
	uint64_t next;
	khd_u128 addr;
	struct khd_parked found;
	uint64_t checkpoints;
	unsigned int tries;
	uint64_t units, blocks, damaged, unverified;
	bool has_after, rows_end, busy, waits;
	bool first_wrong; /* of a segment's two blocks */
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

static void rest(struct khd_scrub *s)
{
	s->waits = true;
	s->again = s->store->now + POLL_NS;
}

/* False: it was tried often enough. */
static bool later(struct khd_scrub *s)
{
	if (++s->tries >= TRIES_MAX)
		return false;
	rest(s);
	return true;
}

/* ---------------------------------------------------------------- units */

static void scan_run(struct khd_job *job)
{
	struct khd_scrub *s = kh_container(job, struct khd_scrub, of.job);

	s->count = khd_index_scan(s->store->index, NULL, s->has_after ? &s->after : NULL, s->rows,
				  ROWS);
}

static void scanned(struct khd_scrub *s)
{
	int error = s->count < 0 ? s->count : 0;

	s->at = 0;
	if (error)
		s->count = 0;
	if (khd_is_want(-error) && later(s))
		return;
	if (error) {
		if (!khd_is_want(-error))
			khd_store_damage(s->store, "index", 0, NULL, "scrub cannot read it");
		khd_store_say(s->store, "store", "scrub: cut short after %llu units: %s",
			      (unsigned long long)s->units, strerror(-error));
		s->rate = 0;
		return;
	}
	s->tries = 0;
	s->rows_end = !s->count;
	if (s->count) {
		s->after = s->rows[s->count - 1].key;
		s->has_after = true;
	}
}

static void scan_done(struct khd_job *job)
{
	struct khd_scrub *s = kh_container(job, struct khd_scrub, of.job);
	struct khd_store *store = s->store;

	khd_store_enter(store);
	store->jobs--;
	s->busy = false;
	scanned(s);
	step(s);
	khd_store_leave(store);
}

static void unit_done(struct khd_store_op *op, int error)
{
	struct khd_scrub *s = kh_container(op, struct khd_scrub, op);
	struct khd_store *store = s->store;
	bool unread = error == EAGAIN || error == ENOMEM;

	s->busy = false;
	if (unread && later(s))
		return;
	s->unverified += unread;
	if (!error || error == EBADMSG) {
		store->stats.scrubbed++;
		s->units++;
		s->damaged += error == EBADMSG;
		s->pace.allowed -= (int64_t)(store->sector + op->iov.iov_len);
	}
	s->tries = 0;
	s->at += s->phase == SCRUB_UNITS;
	s->next += s->phase == SCRUB_PARKED;
	step(s);
}

static bool next_unit(struct khd_scrub *s)
{
	if (s->at == s->count && s->rows_end)
		return false;
	s->busy = true;
	if (s->at == s->count) {
		s->of = (struct khd_job_of){ { scan_run, scan_done, NULL }, s->store };
		khd_job(s->store, &s->of.job);
		return true;
	}
	s->op = (struct khd_store_op){ .done = unit_done };
	s->op.key = s->rows[s->at].key;
	s->op.iov = (struct iovec){ s->buf, 1ull << s->op.key.shift };
	khd_store_get(s->store, &s->op);
	return true;
}

static bool next_parked(struct khd_scrub *s)
{
	struct khd_parked_unit *p = khd_parked_find(s->store, s->next);

	if (!p)
		return false;
	s->busy = true;
	s->next = p->parked.id;
	s->op = (struct khd_store_op){ .done = unit_done };
	s->op.iov = (struct iovec){ s->buf, 1ull << p->parked.key.shift };
	khd_store_parked_get(s->store, &s->op, s->next, &s->found);
	return true;
}

/* ---------------------------------------------------------------- blocks */

/* May blocks be on their way to the disk, other than slots' and the log's? */
static bool unsettled(const struct khd_store *store)
{
	return store->ckpt != KHD_CKPT_IDLE || store->headers;
}

static struct khd_extent *range_next(struct khd_scrub *s)
{
	size_t at = khd_range_at(s->store, s->addr);

	return at < s->store->ranges.count ? &s->store->ranges.at[at] : NULL;
}

/* One that the disk must have: the log has the others, or they are being made. */
static bool segment_settled(const struct khd_segment *seg)
{
	return seg->class != KHD_CLASS_NONE && !seg->headless && !seg->zeroing;
}

/* Where the next block of this phase is; 0: there is none. The first superblock is at 0, too. */
static bool block_next(struct khd_scrub *s, uint64_t *at)
{
	struct khd_store *store = s->store;
	const struct khd_extent *e;

	switch (s->phase) {
	case SCRUB_HEADS:
		*at = s->next < KHD_SUPERS ?
			      s->next * KHD_SUPER_STRIDE :
			      KHD_HISTORY_AT + (s->next - KHD_SUPERS) * KHD_HISTORY_STRIDE;
		/* behind the last full block of the history nobody reads */
		return s->next < KHD_SUPERS ||
		       (s->next - KHD_SUPERS) * KHD_HISTORY_ENTRIES < store->history.count;
	case SCRUB_RANGES:
		while ((e = range_next(s)) && e->dirty) /* the log has it */
			s->addr = khd_extent_last(e) + 1;
		*at = e ? e->slot : 0;
		return e;
	default:
		while (s->next / 2 < store->segments.count &&
		       !segment_settled(&store->segments.at[s->next / 2]))
			s->next += 2 - s->next % 2;
		*at = khd_space_segment_at(store, (uint32_t)(s->next / 2)) +
		      s->next % 2 * (store->segment_bytes - store->sector);
		return s->next / 2 < store->segments.count;
	}
}

/* NULL, or what is wrong with the block that was read; what RAM knows is to be written again. */
static const char *block_wrong(struct khd_scrub *s)
{
	struct khd_store *store = s->store;
	const struct khd_block *block = s->buf;
	struct khd_segment *seg;
	struct khd_extent *e;
	const char *wrong;

	switch (s->phase) {
	case SCRUB_HEADS:
		wrong = khd_block_verify(block, store->uuid, s->io.offset);
		if (!wrong && block->head.kind !=
				      (s->next < KHD_SUPERS ? KHD_BLOCK_SUPER : KHD_BLOCK_HISTORY))
			wrong = "another block's";
		return wrong;
	case SCRUB_RANGES:
		e = range_next(s);
		wrong = khd_range_wrong(store, e, block);
		if (wrong)
			e->dirty = true;
		break;
	default:
		seg = &store->segments.at[s->next / 2];
		wrong = khd_segment_wrong(store, (uint32_t)(s->next / 2), s->io.offset, block);
		if (!wrong && block->head.class != seg->class)
			wrong = "segment of another class";
		/* both of them, when both were looked at */
		if (s->next % 2 && (wrong || s->first_wrong))
			seg->headless = true;
		s->first_wrong = s->next % 2 ? false : wrong != NULL;
		if (!seg->headless)
			return wrong;
	}
	if (wrong || s->phase == SCRUB_SEGMENTS)
		khd_checkpoint_want(store);
	return wrong;
}

static void block_read(struct khd_scrub *s, bool unread)
{
	struct khd_store *store = s->store;
	const char *wrong;
	uint64_t at;

	/* by now it may be another's, or be written */
	if (unread || unsettled(store) || s->checkpoints != store->stats.checkpoints ||
	    !block_next(s, &at) || at != s->io.offset) {
		if (later(s))
			return;
		s->unverified++;
	} else {
		wrong = block_wrong(s);
		s->blocks++;
		s->damaged += wrong != NULL;
		s->pace.allowed -= store->sector;
		if (wrong)
			khd_store_damage(store, "slots", s->io.offset, NULL, wrong);
	}
	s->tries = 0;
	if (s->phase == SCRUB_RANGES && range_next(s))
		s->addr = khd_extent_last(range_next(s)) + 1;
	s->next++;
}

static void block_done(struct khd_disk_io *io, int64_t res)
{
	struct khd_scrub *s = kh_container(io, struct khd_scrub, io);
	struct khd_store *store = s->store;

	khd_store_enter(store);
	store->ios--;
	s->busy = false;
	if (res != (int64_t)store->sector && res != -ENOMEM)
		khd_store_fail(store, EIO, "reading the slot file", io->offset);
	if (!store->error)
		block_read(s, res < 0);
	step(s);
	khd_store_leave(store);
}

static bool next_block(struct khd_scrub *s)
{
	struct khd_store *store = s->store;
	/* a checkpoint takes as long as it does: only those that ended are tries */
	bool ended = s->checkpoints != store->stats.checkpoints;
	uint64_t at;

	if (!block_next(s, &at))
		return false;
	s->checkpoints = store->stats.checkpoints;
	if (unsettled(store) && !ended) {
		rest(s);
		return true;
	}
	if (unsettled(store) && later(s))
		return true;
	s->busy = true;
	s->iov = (struct iovec){ s->buf, store->sector };
	s->io = (struct khd_disk_io){ .op = KHD_DISK_READ,
				      .file = KHD_FILE_SLOTS,
				      .offset = at,
				      .iov = &s->iov,
				      .iovs = 1,
				      .done = block_done };
	khd_io(store, &s->io);
	return true;
}

/* ---------------------------------------------------------------- a pass */

static bool next(struct khd_scrub *s)
{
	switch (s->phase) {
	case SCRUB_UNITS:
		return next_unit(s);
	case SCRUB_PARKED:
		return next_parked(s);
	default:
		return next_block(s);
	}
}

static void phase_ended(struct khd_scrub *s)
{
	s->phase++;
	s->tries = 0;
	s->next = s->phase == SCRUB_PARKED;
	s->addr = 0;
	if (s->phase != SCRUB_END)
		return;
	khd_store_say(s->store, "store",
		      "scrub: %llu units verified, %llu damaged, %llu not verified; %llu other "
		      "blocks",
		      (unsigned long long)s->units, (unsigned long long)s->damaged,
		      (unsigned long long)s->unverified, (unsigned long long)s->blocks);
	s->rate = 0;
}

/* As long as it may; each end begins the next. */
static void step(struct khd_scrub *s)
{
	struct khd_store *store = s->store;

	while (s->rate && !s->busy && !s->waits && s->pace.allowed >= 0 && !store->error &&
	       !store->stopping && !store->stopped)
		if (!next(s))
			phase_ended(s);
}

uint64_t khd_scrub_tick(struct khd_store *store)
{
	struct khd_scrub *s = store->scrub;

	if (!s || !s->rate)
		return UINT64_MAX;
	khd_pace(&s->pace, store->now, s->rate, s->rate);
	if (store->now >= s->again)
		s->waits = false;
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
		s->phase = SCRUB_UNITS;
		s->count = s->at = 0;
		s->has_after = s->rows_end = s->waits = false;
		s->units = s->blocks = s->damaged = s->unverified = 0;
		s->tries = 0;
		s->first_wrong = false;
		s->pace = (struct khd_pace){ 0 };
	}
	s->rate = rate > INT64_MAX / 2 ? INT64_MAX / 2 : rate;
}
