// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store.c - the calls of the store, and how an operation goes through it
 *
 * A put: [unit asked for] -> stalled (until there is a slot, room in the log, an open gate) ->
 * assign.c: number, record in the collecting group, slot on its way -> order (until it and all
 * before it are written) -> apply(): RAM has it -> syncing (until its group is flushed) -> ready ->
 * done.  Reserve, release, park and discard go the same way.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

bool khd_grow(void *at, size_t count, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity : 16;
	void *old, *new;

	if (count <= *capacity)
		return true;
	while (wanted < count)
		wanted *= 2;
	memcpy(&old, at, sizeof(old));
	new = realloc(old, wanted * size);
	if (!new)
		return false;
	memcpy(at, &new, sizeof(new));
	*capacity = wanted;
	return true;
}

void *khd_push_item(void *at, size_t *count, size_t *capacity, size_t size)
{
	void *items;

	if (!khd_grow(at, *count + 1, capacity, size))
		return NULL;
	memcpy(&items, at, sizeof(items));
	return (char *)items + (*count)++ * size;
}

/* ---------------------------------------------------------------- reports */

void khd_store_say(struct khd_store *store, const char *name, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	if (!store->event)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	store->event(store->arg, name, text);
}

void khd_store_damage(struct khd_store *store, const char *file, uint64_t offset,
		      const struct khd_key *key, const char *what)
{
	store->stats.damaged++;
	if (store->found)
		store->found(store->found_arg, file, offset, what);
	if (key)
		khd_store_say(store, "store",
			      "damaged: %s offset %llu, unit %llx:%llx shift %u generation %llu: "
			      "%s",
			      file, (unsigned long long)offset, (unsigned long long)key->addr.hi,
			      (unsigned long long)key->addr.lo, key->shift,
			      (unsigned long long)key->generation, what);
	else
		khd_store_say(store, "store", "damaged: %s offset %llu: %s", file,
			      (unsigned long long)offset, what);
}

static void fail_queue(struct kh_list *queue)
{
	struct khd_op *op, *tmp;

	kh_list_each_safe (op, tmp, queue, link)
		khd_op_finish(op, EIO);
}

/*
 * Out of service, for good.  Operations whose memory the device still has end when it gives it
 * back.  The first error counts, but for one of the disk after mere want of memory.
 */
void khd_store_fail(struct khd_store *store, int err, const char *what, uint64_t offset)
{
	struct khd_op *op, *tmp;

	if (!err)
		err = EIO;
	if (store->error && (!khd_is_want(store->error) || khd_is_want(err)))
		return;
	store->error = err;
	store->stats.error = store->error;
	khd_store_say(store, "store", "out of service: %s, offset %llu: %s", what,
		      (unsigned long long)offset, strerror(store->error));
	fail_queue(&store->stalled);
	fail_queue(&store->syncing);
	fail_queue(&store->resizing);
	kh_list_each_safe (op, tmp, &store->order, link)
		if (op->written)
			khd_op_finish(op, EIO);
	khd_super_mark(store);
}

/*
 * The log has all that is acknowledged, and what is held up can be tried again: by the ticks, as
 * long as nobody has waited too long for it.  When closing nothing comes later.
 */
void khd_store_want(struct khd_store *store, int err, const char *what)
{
	if (store->error)
		return;
	if (store->stopped || store->in_line) {
		khd_store_fail(store, err, what, 0);
		return;
	}
	store->want_next = store->now + KHD_WANT_NS;
	if (store->want)
		return;
	store->want = err;
	store->waits_since = UINT64_MAX;
	khd_store_say(store, "store", "%s: %s; it is tried again each second", what,
		      err == ENOSPC ? "its file system has no room for the index" : "no memory");
}

void khd_store_wants_nothing(struct khd_store *store)
{
	if (store->untidy) /* the next transaction waits for that */
		return;
	if (store->want)
		khd_store_say(store, "store", "there is %s again",
			      store->want == ENOSPC ? "room for the index" : "memory");
	store->want = 0;
}

/*
 * A call that waits although the gate is open waits for the log, or for a slot: for memory, if that
 * is wanting.  What waits for room to promise has a time of its own; a growth of the file and the
 * fill of a segment have their end.
 */
bool khd_store_somebody_waits(const struct khd_store *store)
{
	const struct khd_op *op;

	if (store->ckpt == KHD_CKPT_PURGING || store->ckpt == KHD_CKPT_DRAINING)
		return false;
	kh_list_each (op, &store->stalled, link)
		if (op != store->grower && !op->wants_nothing)
			return true;
	return false;
}

static void want_tick(struct khd_store *store)
{
	if (store->now >= store->want_next + KHD_WANT_MAX_NS)
		khd_store_wants_nothing(store); /* nothing tried again: it is not needed any more */
	if (!store->want || !khd_store_somebody_waits(store))
		store->waits_since = UINT64_MAX;
	else if (store->waits_since > store->now)
		store->waits_since = store->now;
	else if (store->now - store->waits_since >= KHD_WANT_MAX_NS)
		khd_store_fail(store, store->want,
			       store->want == ENOSPC ? "no room for the index, and calls wait" :
						       "no memory, and calls wait",
			       0);
}

/* ---------------------------------------------------------------- an operation */

void khd_op_start(struct khd_store *store, struct khd_store_op *api, enum khd_op_kind kind)
{
	struct khd_op *op = khd_op(api);

	memset(op, 0, sizeof(*op));
	kh_list_init(&op->link);
	op->store = store;
	op->kind = (uint8_t)kind;
}

void khd_op_finish(struct khd_op *op, int error)
{
	struct khd_store *store = op->store;

	if (op->unit)
		khd_unit_put(store, op->unit);
	op->unit = NULL;
	if (op->counted && op->kind == KHD_OP_GET)
		store->gets_under_way--;
	else if (op->counted)
		store->puts_under_way--;
	if (op->counted)
		store->on_side[op->side]--;
	op->counted = false;
	free(op->more);
	op->more = NULL;
	op->error = error;
	kh_list_del(&op->link);
	kh_list_add(&store->ready, &op->link);
}

/* May it begin?  Finishes it if not. */
bool khd_op_admit(struct khd_op *op)
{
	struct khd_store *store = op->store;
	bool get = op->kind == KHD_OP_GET;

	if (store->error || store->stopping || store->stopped) {
		khd_op_finish(op, EIO);
		return false;
	}
	if ((get ? store->gets_under_way : store->puts_under_way) >= KHD_STORE_PUTS_MAX) {
		khd_op_finish(op, EAGAIN);
		return false;
	}
	if (get)
		store->gets_under_way++;
	else
		store->puts_under_way++;
	op->side = store->side;
	store->on_side[op->side]++;
	op->counted = true;
	return true;
}

void khd_op_stall(struct khd_op *op)
{
	kh_list_del(&op->link);
	kh_list_add(&op->store->stalled, &op->link);
}

/* It has its number. */
void khd_op_number(struct khd_op *op, bool written)
{
	struct khd_store *store = op->store;

	op->written = written;
	kh_list_del(&op->link);
	kh_list_add(&store->order, &op->link);
	if (khd_api(op)->flags & KHD_STORE_SYNC || op->kind != KHD_OP_PUT)
		khd_log_want(store, op->lsn);
}

/* Its slot was written, or could not be. */
void khd_op_written(struct khd_op *op, bool ok)
{
	struct khd_store *store = op->store;

	op->written = true;
	if (store->error)
		khd_op_finish(op, EIO);
	else if (store->plant == KHD_PLANT_ACK_EARLY && ok && op->kind == KHD_OP_PUT)
		khd_log_want(store, op->lsn);
}

static void apply_put(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_extent *e = khd_range_find(store, &api->key);
	struct khd_unit *unit = op->unit;

	if (!e || e->born > op->lsn) { /* released meanwhile */
		khd_space_dead(store, op->slot, false);
		return;
	}
	if (unit->version && (unit->dirty || unit->lsn > e->born))
		khd_space_dead(store, unit->slot, false);
	khd_space_live(store, op->slot);
	unit->version = api->meta.version;
	unit->token = api->meta.token;
	unit->lsn = op->lsn;
	unit->slot = op->slot;
	unit->crc = op->crc;
	e->touched = true;
	khd_unit_dirty(store, unit);
}

static void apply(struct khd_op *op)
{
	if (op->kind == KHD_OP_PUT)
		apply_put(op);
	else if (op->kind == KHD_OP_PARK || op->kind == KHD_OP_DISCARD)
		khd_parked_apply(op);
}

/* Applies, in the order of numbers, what is written. */
void khd_store_advance(struct khd_store *store)
{
	bool early = store->plant == KHD_PLANT_ACK_EARLY;

	while (!store->error && !kh_list_empty(&store->order)) {
		struct khd_op *op = kh_list_first(&store->order, struct khd_op, link);

		if (!op->written)
			break;
		apply(op);
		if (store->error) /* for want of memory; it has ended with the others */
			break;
		store->lsn_applied = op->lsn;
		kh_list_del(&op->link);
		if (op->part) {
			op->part = false;
			kh_list_add(&store->stalled, &op->link);
		} else if (op->kind == KHD_OP_PUT &&
			   (early || !(khd_api(op)->flags & KHD_STORE_SYNC)))
			khd_op_finish(op, 0);
		else
			kh_list_add(&store->syncing, &op->link);
	}
}

void khd_store_finish_durable(struct khd_store *store)
{
	struct khd_op *op, *tmp;

	kh_list_each_safe (op, tmp, &store->syncing, link)
		if (op->lsn <= store->lsn_durable)
			khd_op_finish(op, 0);
}

/* ---------------------------------------------------------------- calls */

bool khd_key_valid(const struct khd_key *key)
{
	return key->shift >= KHD_STORE_SHIFT_MIN && key->shift <= KHD_STORE_SHIFT_MAX &&
	       !(key->addr.lo & ((1ull << key->shift) - 1));
}

bool khd_iov_valid(const struct khd_store_op *api)
{
	return api->iov.iov_len == 1ull << api->key.shift && api->iov.iov_base &&
	       !((uintptr_t)api->iov.iov_base & (KHD_SECTOR - 1));
}

void khd_store_put(struct khd_store *store, struct khd_store_op *api)
{
	struct khd_op *op = khd_op(api);
	bool more = api->flags & KHD_STORE_MORE;

	khd_op_start(store, api, KHD_OP_PUT);
	if (!khd_key_valid(&api->key) || !khd_iov_valid(api) || !api->meta.version) {
		khd_op_finish(op, EINVAL);
	} else if (khd_op_admit(op)) {
		store->stats.puts++;
		khd_op_ask(op);
	}
	khd_store_leave_call(store, !more);
}

void khd_store_get(struct khd_store *store, struct khd_store_op *api)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_GET);
	if (!khd_key_valid(&api->key) || !khd_iov_valid(api))
		khd_op_finish(op, EINVAL);
	else if (khd_op_admit(op))
		khd_op_ask(op);
	khd_store_leave_call(store, true);
}

void khd_store_lookup(struct khd_store *store, struct khd_store_op *api)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_LOOKUP);
	if (!khd_key_valid(&api->key))
		khd_op_finish(op, EINVAL);
	else if (khd_op_admit(op))
		khd_op_ask(op);
	khd_store_leave_call(store, true);
}

static void range_call(struct khd_store *store, struct khd_store_op *api,
		       const struct khd_range *range, enum khd_op_kind kind)
{
	struct khd_op *op = khd_op(api);
	int ret;

	khd_op_start(store, api, kind);
	api->key.shift = range->shift < 32 ? range->shift : 0;
	ret = khd_range_valid(store, range);
	if (ret) {
		khd_op_finish(op, -ret);
	} else if (khd_op_admit(op)) {
		op->more = malloc(sizeof(*range));
		if (op->more) {
			memcpy(op->more, range, sizeof(*range));
			khd_op_stall(op);
		} else {
			khd_op_finish(op, ENOMEM);
		}
	}
	khd_store_leave_call(store, true);
}

void khd_store_reserve(struct khd_store *store, struct khd_store_op *api,
		       const struct khd_range *range)
{
	range_call(store, api, range, KHD_OP_RESERVE);
}

void khd_store_release(struct khd_store *store, struct khd_store_op *api,
		       const struct khd_range *range)
{
	range_call(store, api, range, KHD_OP_RELEASE);
}

void khd_store_flush(struct khd_store *store, struct khd_store_op *api)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_FLUSH);
	if (khd_op_admit(op)) {
		store->stats.flushes++;
		op->lsn = store->lsn_applied;
		if (op->lsn <= store->lsn_durable) {
			khd_op_finish(op, 0);
		} else {
			kh_list_add(&store->syncing, &op->link);
			khd_log_want(store, op->lsn);
		}
	}
	khd_store_leave_call(store, true);
}

void khd_store_ranges(struct khd_store *store, struct khd_store_op *api, struct khazana_addr addr,
		      struct khd_range *out)
{
	struct khd_op *op = khd_op(api);
	size_t at;

	khd_op_start(store, api, KHD_OP_LOOKUP);
	if (!khd_op_admit(op)) {
		khd_store_leave_call(store, true);
		return;
	}
	at = khd_range_at(store, khd_wide(addr));
	if (at < store->ranges.count) {
		const struct khd_extent *e = &store->ranges.at[at];

		*out = (struct khd_range){ .start = khd_narrow(e->start),
					   .units = e->units,
					   .shift = e->shift,
					   .generation = e->generation,
					   .tag = e->tag };
	}
	khd_op_finish(op, at < store->ranges.count ? 0 : ENOENT);
	khd_store_leave_call(store, true);
}

/* ---------------------------------------------------------------- going on, and ending */

void khd_store_stop(struct khd_store *store, struct khd_store_op *api)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_STOP);
	if (store->stopping || store->stopped)
		khd_op_finish(op, EALREADY);
	else
		store->stopping = op;
	khd_store_leave_call(store, true);
}

static void closed(struct khd_store_op *op, int error)
{
}

void khd_store_close(struct khd_store *store)
{
	struct khd_store_op op = { .done = closed };

	if (!store)
		return;
	if (store->ios || store->jobs) {
		khd_store_say(store, "store", "closed with %u operations of the device under way",
			      store->ios + store->jobs);
		return; /* they refer to it: better lost than reused */
	}
	if (!store->error && !store->stopped) {
		store->in_line = true;
		khd_store_stop(store, &op);
		khd_pump(store);
	}
	khd_store_free(store);
}

void khd_store_stats(const struct khd_store *store, struct khd_store_stats *stats)
{
	unsigned int class;
	size_t i;

	*stats = store->stats;
	stats->capacity = (uint64_t)store->segments_max * store->segment_bytes;
	stats->reserved = stats->used = 0;
	for (i = 0; i < store->ranges.count; i++)
		stats->reserved += store->ranges.at[i].units << store->ranges.at[i].shift;
	stats->memory =
		sizeof(*store) + store->ranges.capacity * sizeof(struct khd_extent) +
		store->bucket_count * sizeof(void *) + store->unit_count * sizeof(struct khd_unit) +
		store->segments.capacity * sizeof(struct khd_segment) + store->log.cells.capacity +
		store->parked.capacity * sizeof(struct khd_parked_unit);
	for (i = 0; i < store->segments.count; i++) {
		const struct khd_segment *seg = &store->segments.at[i];

		class = seg->class;
		if (class > KHD_CLASS_META)
			stats->used += (uint64_t)seg->live << class;
		if (seg->bits)
			stats->memory += 16 * khd_space_words(store->class[class].slots);
	}
	stats->parked = khd_store_parked_count(store);
	stats->error = khd_store_error(store);
}

int khd_store_error(const struct khd_store *store)
{
	return store->error;
}

uint64_t khd_store_parked_count(const struct khd_store *store)
{
	return store->parked.count;
}

void khd_pace(struct khd_pace *pace, uint64_t now, uint64_t rate, uint64_t burst)
{
	uint64_t passed = pace->then ? now - pace->then : 0;

	pace->then = now;
	if (passed > 1000000000ull)
		passed = 1000000000ull;
	pace->allowed += (int64_t)((khd_u128)rate * passed / 1000000000u);
	if (pace->allowed > (int64_t)burst)
		pace->allowed = (int64_t)burst;
}

uint64_t khd_store_tick(struct khd_store *store, uint64_t now)
{
	uint64_t next = now + 1000000000ull, due;

	store->now = now;
	if (store->error || store->stopped)
		return next;
	want_tick(store);
	if (store->error) {
		khd_store_leave_call(store, true);
		return next;
	}
	if (store->lsn_applied > store->lsn_durable)
		khd_log_want(store, store->lsn_applied);
	/* khd comes by after each group; the next one claims this one, if it comes soon. */
	else if (now >= store->claim_at && khd_log_claim(store))
		store->claim_at = next;
	if (now < store->claim_at && store->claim_at < next)
		next = store->claim_at;
	if (store->lsn_applied > store->lsn_checkpoint) {
		if (!store->ckpt_at)
			store->ckpt_at = now + KHD_CHECKPOINT_NS;
		if (now >= store->ckpt_at || khd_history_presses(store))
			khd_checkpoint_want(store);
	}
	due = khd_compact_tick(store);
	if (due < next)
		next = due;
	due = khd_scrub_tick(store);
	if (due < next)
		next = due;
	khd_store_leave_call(store, true);
	return next;
}

/* The capacity takes effect now; it is durable with the next superblock that is filled in. */
static int resize(struct khd_store *store, uint64_t capacity)
{
	uint64_t segments = 0;

	if (capacity > store->segments_at)
		segments = (capacity - store->segments_at) / store->segment_bytes;
	if (!segments || segments > KHD_SEGMENTS_MAX)
		return EINVAL;
	if (segments < khd_space_promised(store))
		return EBUSY;
	store->segments_max = (uint32_t)segments;
	store->capacity = capacity;
	return 0;
}

void khd_store_resize(struct khd_store *store, struct khd_store_op *api, uint64_t capacity)
{
	struct khd_op *op = khd_op(api);
	int ret;

	khd_op_start(store, api, KHD_OP_RESIZE);
	if (khd_op_admit(op)) {
		ret = resize(store, capacity);
		if (ret) {
			khd_op_finish(op, ret);
		} else {
			op->lsn = store->super_sequence + 1;
			kh_list_add(&store->resizing, &op->link);
			khd_checkpoint_want(store);
		}
	}
	khd_store_leave_call(store, true);
}

void khd_store_resized(struct khd_store *store)
{
	struct khd_op *op, *tmp;

	kh_list_each_safe (op, tmp, &store->resizing, link)
		if (op->lsn <= store->super_sequence)
			khd_op_finish(op, 0);
}
