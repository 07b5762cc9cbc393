// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store.c - the calls of the store, and how an operation goes through it
 *
 * A put: [unit asked for] -> stalled (until there is a slot, room in the log, an open gate) ->
 * assign(): number, record in the collecting group, slot on its way -> order (until it and all
 * before it are written) -> apply(): RAM has it -> syncing (until its group is flushed) -> ready ->
 * done.  Reserve, release, park and discard go the same way.  Whatever happens ends in progress(),
 * which moves on whatever can move.
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

/* Out of service, for good.  Operations whose memory the device still has end when it gives it
 * back. */
void khd_store_fail(struct khd_store *store, int err, const char *what, uint64_t offset)
{
	struct khd_op *op, *tmp;

	if (store->error)
		return;
	store->error = err ? err : EIO;
	store->stats.error = store->error;
	khd_store_say(store, "store", "out of service: %s, offset %llu: %s", what,
		      (unsigned long long)offset, strerror(store->error));
	fail_queue(&store->stalled);
	fail_queue(&store->syncing);
	kh_list_each_safe (op, tmp, &store->order, link)
		if (op->written)
			khd_op_finish(op, EIO);
}

/* ---------------------------------------------------------------- the disk, and its callbacks */

/* Closing: what was submitted is done at once, and its end waits for the pump. */
struct completion {
	struct kh_list link;
	struct khd_disk_io *io;
	struct khd_job *job;
	int64_t res;
};

static int64_t io_now(struct khd_disk *disk, const struct khd_disk_io *io)
{
	uint64_t offset = io->offset;
	int64_t n, total = 0;
	unsigned int i;

	if (io->op == KHD_DISK_FLUSH)
		return disk->ops->flush(disk);
	for (i = 0; i < io->iovs; i++) {
		if (io->op == KHD_DISK_READ)
			n = disk->ops->read(disk, io->file, offset, io->iov[i].iov_base,
					    io->iov[i].iov_len);
		else
			n = disk->ops->write(disk, io->file, offset, io->iov[i].iov_base,
					     io->iov[i].iov_len);
		if (n < 0)
			return n;
		total += n;
		offset += (uint64_t)n;
		if ((size_t)n < io->iov[i].iov_len)
			break;
	}
	return total;
}

static void complete_later(struct khd_store *store, struct khd_disk_io *io, struct khd_job *job)
{
	struct completion *c = calloc(1, sizeof(*c));

	if (!c) { /* closing without memory: like a crash */
		khd_store_fail(store, ENOMEM, "closing", 0);
		return;
	}
	c->io = io;
	c->job = job;
	if (io)
		c->res = io_now(store->disk, io);
	else
		job->run(job);
	kh_list_add(&store->completions, &c->link);
}

void khd_pump(struct khd_store *store)
{
	while (!kh_list_empty(&store->completions)) {
		struct completion *c = kh_list_first(&store->completions, struct completion, link);

		kh_list_del(&c->link);
		if (c->io)
			c->io->done(c->io, c->res);
		else
			c->job->done(c->job);
		free(c);
	}
}

/* Every I/O and every job begins here and ends in khd_store_enter(). */
void khd_io(struct khd_store *store, struct khd_disk_io *io)
{
	store->ios++;
	if (store->in_line)
		complete_later(store, io, NULL);
	else
		store->disk->ops->submit(store->disk, io);
}

void khd_job(struct khd_store *store, struct khd_job *job)
{
	store->jobs++;
	if (store->in_line)
		complete_later(store, NULL, job);
	else
		store->disk->ops->job(store->disk, job);
}

static void ready_run(struct khd_job *job)
{
}

static void ready_done(struct khd_job *job)
{
	struct khd_store *store = kh_container(job, struct khd_job_of, job)->store;

	store->jobs--;
	store->ready_busy = false;
	khd_store_enter(store);
	khd_store_leave(store);
}

/* What is ready now; what becomes ready in a done waits for another turn. */
static void call_ready(struct khd_store *store)
{
	struct kh_list now;
	struct khd_op *op;

	if (kh_list_empty(&store->ready))
		return;
	now = store->ready;
	now.next->prev = now.prev->next = &now;
	kh_list_init(&store->ready);
	while (!kh_list_empty(&now)) {
		struct khd_store_op *api;

		op = kh_list_first(&now, struct khd_op, link);
		kh_list_del(&op->link);
		api = khd_api(op);
		api->done(api, op->error);
	}
}

static void ready_later(struct khd_store *store)
{
	if (kh_list_empty(&store->ready) || store->ready_busy)
		return;
	store->ready_busy = true;
	store->ready_job.store = store;
	store->ready_job.job.run = ready_run;
	store->ready_job.job.done = ready_done;
	khd_job(store, &store->ready_job.job);
}

static void progress(struct khd_store *store, bool submit);
static void finish_durable(struct khd_store *store);

/* Around every callback of the disk. */
void khd_store_enter(struct khd_store *store)
{
	store->depth++;
	khd_index_tell(store);
}

void khd_store_leave(struct khd_store *store)
{
	if (store->depth == 1) {
		khd_store_advance(store);
		finish_durable(store);
		call_ready(store); /* before the next group closes: what it calls may join */
		progress(store, true);
		call_ready(store);
		progress(store, true);
		ready_later(store);
	}
	store->depth--;
}

/* At the end of every call: nothing is done from within it. */
void khd_store_leave_call(struct khd_store *store, bool submit)
{
	if (store->depth)
		return;
	progress(store, submit);
	ready_later(store);
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
		store->lsn_applied = op->lsn;
		kh_list_del(&op->link);
		if (op->kind == KHD_OP_PUT && (early || !(khd_api(op)->flags & KHD_STORE_SYNC)))
			khd_op_finish(op, 0);
		else
			kh_list_add(&store->syncing, &op->link);
	}
}

static void finish_durable(struct khd_store *store)
{
	struct khd_op *op, *tmp;

	kh_list_each_safe (op, tmp, &store->syncing, link)
		if (op->lsn <= store->lsn_durable)
			khd_op_finish(op, 0);
}

/* ---------------------------------------------------------------- numbers are given out */

static bool assign_put(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_extent *e = khd_range_find(store, &api->key);
	struct khd_record rec = { .type = KHD_RECORD_PUT, .cells = 1 };
	struct khd_block *block;
	int ret;

	if (!e) {
		khd_op_finish(op, ENXIO);
		return true;
	}
	if (!khd_log_room(store, 1))
		return false;
	ret = khd_space_take(store, api->key.shift, &op->slot);
	if (ret == -EAGAIN)
		return false;
	block = ret ? NULL : khd_buffer(store->sector);
	if (!block) {
		khd_op_finish(op, ret ? -ret : ENOMEM);
		return true;
	}
	op->lsn = store->lsn_next++;
	op->crc = khd_crc32c(0, api->iov.iov_base, api->iov.iov_len);
	khd_slot_fill(store, op, block, KHD_BLOCK_DATA, &e->tag);
	rec.shift = (uint8_t)api->key.shift;
	rec.data_crc = op->crc;
	rec.lsn = op->lsn;
	rec.addr_hi = api->key.addr.hi;
	rec.addr_lo = api->key.addr.lo;
	rec.generation = api->key.generation;
	rec.version = api->meta.version;
	rec.token = api->meta.token;
	rec.slot = op->slot;
	ret = khd_log_append(store, &rec);
	khd_op_number(op, false);
	if (ret)
		khd_store_fail(store, ENOMEM, "redo log", 0);
	khd_slot_write(op, block, true);
	return true;
}

/* The file gets the segments that are promised. */
struct growth {
	struct khd_job_of of;
	struct khd_op *op;
	uint32_t segments;
	int ret;
};

static void growth_run(struct khd_job *job)
{
	struct growth *g = kh_container(job, struct growth, of.job);
	struct khd_store *store = g->of.store;

	g->ret = store->disk->ops->resize(store->disk, KHD_FILE_SLOTS,
					  khd_space_segment_at(store, g->segments));
	/* No record may name a slot that the file might not have. */
	if (!g->ret)
		g->ret = store->disk->ops->flush(store->disk);
}

static void growth_done(struct khd_job *job)
{
	struct growth *g = kh_container(job, struct growth, of.job);
	struct khd_store *store = g->of.store;

	khd_store_enter(store);
	store->jobs--;
	store->growing = false;
	if (!g->ret && khd_space_resize_file(store, g->segments))
		g->ret = -ENOMEM;
	/* fail_queue() may have finished it meanwhile */
	if (g->ret == -ENOSPC || g->ret == -ENOMEM) {
		if (!store->error)
			khd_op_finish(g->op, -g->ret);
	} else if (g->ret) {
		khd_store_fail(store, EIO, "growing the slot file",
			       khd_space_segment_at(store, g->segments));
	}
	free(g);
	khd_store_leave(store);
}

static bool grow(struct khd_op *op, uint32_t segments)
{
	struct khd_store *store = op->store;
	struct growth *g;

	if (store->growing)
		return false;
	g = calloc(1, sizeof(*g));
	if (!g) {
		khd_op_finish(op, ENOMEM);
		return true;
	}
	*g = (struct growth){ .of = { { growth_run, growth_done, NULL }, store },
			      .op = op,
			      .segments = segments };
	store->growing = true;
	khd_job(store, &g->of.job);
	return false;
}

/* No room: what was released may give some back after a checkpoint. */
static bool no_room(struct khd_op *op)
{
	struct khd_store *store = op->store;

	if (store->ckpt == KHD_CKPT_IDLE && op->lsn <= store->stats.checkpoints) {
		if (op->tries++ >= 2) {
			khd_op_finish(op, ENOSPC);
			return true;
		}
		op->lsn = store->stats.checkpoints + 1;
		khd_checkpoint_want(store);
	}
	return false;
}

/*
 * Promises @units of a class, and a descriptor when it is a range's; the file has the segments for
 * it.  False: not now, or, with @done, never.
 */
bool khd_op_promise(struct khd_op *op, unsigned int class, uint64_t units, bool *done)
{
	struct khd_store *store = op->store;
	unsigned int descriptor = op->kind == KHD_OP_RESERVE;
	uint64_t charge;

	*done = false;
	if (!khd_space_promise(store, class, units)) {
		*done = no_room(op);
		return false;
	}
	if (descriptor && !khd_space_promise(store, KHD_CLASS_META, 1)) {
		khd_space_unpromise(store, class, units);
		*done = no_room(op);
		return false;
	}
	charge = khd_space_charge(store);
	if (store->plant == KHD_PLANT_OVERCOMMIT && charge > store->segments_max)
		charge = store->segments_max;
	if (charge <= store->segments.count)
		return true;
	khd_space_unpromise(store, class, units);
	khd_space_unpromise(store, KHD_CLASS_META, descriptor);
	*done = grow(op, (uint32_t)charge);
	return false;
}

static bool assign_reserve(struct khd_op *op)
{
	struct khd_store *store = op->store;
	const struct khd_range *range = op->more;
	struct khd_record rec = { .type = KHD_RECORD_RESERVE, .cells = 2 };
	struct khd_extent e;
	bool done;
	int ret = khd_range_overlaps(store, range);

	if (ret == 1) { /* perhaps not yet durable */
		op->lsn = store->lsn_next - 1;
		khd_op_number(op, true);
		return true;
	}
	if (ret) {
		khd_op_finish(op, -ret);
		return true;
	}
	if (!khd_log_room(store, 2))
		return false;
	if (!khd_op_promise(op, range->shift, range->units, &done))
		return done;
	ret = khd_space_take(store, KHD_CLASS_META, &op->slot);
	if (ret) {
		khd_space_unpromise(store, range->shift, range->units);
		khd_space_unpromise(store, KHD_CLASS_META, 1);
		if (ret == -EAGAIN)
			return false;
		khd_op_finish(op, -ret);
		return true;
	}
	op->lsn = store->lsn_next++;
	rec.shift = (uint8_t)range->shift;
	rec.lsn = op->lsn;
	rec.addr_hi = range->start.hi;
	rec.addr_lo = range->start.lo;
	rec.generation = range->generation;
	rec.token = range->units;
	rec.slot = op->slot;
	rec.born = op->lsn;
	memcpy(rec.tag, range->tag.bytes, sizeof(rec.tag));
	khd_range_from_record(&rec, &e);
	e.fresh = true;
	if (!khd_range_insert(store, &e) || khd_log_append(store, &rec))
		khd_store_fail(store, ENOMEM, "redo log", 0);
	khd_space_live(store, op->slot);
	khd_op_number(op, true);
	return true;
}

/*
 * A range that falls in two needs a second descriptor.  The units that go leave room for it in
 * their own class, so that release never lacks space.
 */
static int second_slot(struct khd_store *store, unsigned int shift, uint64_t *slot)
{
	int ret;

	if (khd_space_promise(store, KHD_CLASS_META, 1)) {
		if (khd_space_charge(store) <= store->segments.count) {
			ret = khd_space_take(store, KHD_CLASS_META, slot);
			if (ret)
				khd_space_unpromise(store, KHD_CLASS_META, 1);
			return ret;
		}
		khd_space_unpromise(store, KHD_CLASS_META, 1);
	}
	store->class[shift].units++;
	ret = khd_space_take(store, shift, slot);
	if (ret)
		store->class[shift].units--;
	return ret;
}

static bool assign_release(struct khd_op *op)
{
	struct khd_store *store = op->store;
	const struct khd_range *range = op->more;
	struct khd_record rec;
	bool splits;
	int ret = 0;

	while (khd_range_next_release(store, range, &rec, &splits)) {
		if (!khd_log_room(store, 2))
			return false;
		if (splits)
			ret = second_slot(store, range->shift, &rec.token);
		if (ret == -EAGAIN)
			return false;
		if (ret) {
			khd_op_finish(op, -ret);
			return true;
		}
		if (splits) {
			khd_space_live(store, rec.token);
			rec.data_crc =
				store->segments.at[khd_space_segment_of(store, rec.token)].class;
		}
		rec.lsn = store->lsn_next++;
		if (khd_log_append(store, &rec) || khd_range_apply_release(store, &rec)) {
			khd_store_fail(store, ENOMEM, "redo log", 0);
			return true;
		}
	}
	op->lsn = store->lsn_next - 1;
	khd_op_number(op, true);
	return true;
}

/* True: it does not wait here any more. */
static bool assign(struct khd_op *op)
{
	switch (op->kind) {
	case KHD_OP_PUT:
		return assign_put(op);
	case KHD_OP_RESERVE:
		return assign_reserve(op);
	case KHD_OP_RELEASE:
		return assign_release(op);
	default:
		return khd_parked_assign(op);
	}
}

/* One class that waits does not hold up the others. */
static void assign_stalled(struct khd_store *store)
{
	struct khd_op *op, *tmp;
	uint32_t waiting = 0;

	kh_list_each_safe (op, tmp, &store->stalled, link) {
		uint32_t bit = 1u << khd_api(op)->key.shift;

		if (store->error)
			break;
		if (khd_checkpoint_gate(store, op->kind))
			continue;
		if (op->kind == KHD_OP_PUT && waiting & bit)
			continue;
		if (!assign(op) && op->kind == KHD_OP_PUT)
			waiting |= bit;
	}
}

/* ---------------------------------------------------------------- units are asked for */

static void lookup_run(struct khd_job *job);
static void lookup_done(struct khd_job *job);

struct lookup {
	struct khd_job_of of;
	unsigned int count;
	struct khd_row rows[KHD_LOOKUPS];
	int ret[KHD_LOOKUPS];
};

static void start_lookups(struct khd_store *store)
{
	struct lookup *l;

	if (store->lookup_busy || kh_list_empty(&store->lookups) || store->error)
		return;
	l = calloc(1, sizeof(*l));
	if (!l)
		return; /* the next event tries again */
	l->of = (struct khd_job_of){ { lookup_run, lookup_done, NULL }, store };
	while (l->count < KHD_LOOKUPS && !kh_list_empty(&store->lookups)) {
		struct khd_unit *unit = kh_list_first(&store->lookups, struct khd_unit, link);

		kh_list_del(&unit->link);
		unit->pins++;
		l->rows[l->count].key = unit->key;
		l->rows[l->count++].unit = unit;
	}
	store->lookup_busy = true;
	khd_job(store, &l->of.job);
}

static void lookup_run(struct khd_job *job)
{
	struct lookup *l = kh_container(job, struct lookup, of.job);
	unsigned int i;

	for (i = 0; i < l->count; i++)
		l->ret[i] = khd_index_find(l->of.store->index, &l->rows[i]);
}

static void lookup_done(struct khd_job *job)
{
	struct lookup *l = kh_container(job, struct lookup, of.job);
	struct khd_store *store = l->of.store;
	unsigned int i;

	khd_store_enter(store);
	store->jobs--;
	store->lookup_busy = false;
	for (i = 0; i < l->count; i++) {
		struct khd_row *row = &l->rows[i];
		struct khd_unit *unit = row->unit;

		unit->asked = false;
		if (!l->ret[i]) {
			unit->version = row->version;
			unit->token = row->token;
			unit->lsn = row->lsn;
			unit->slot = row->slot;
			unit->crc = row->crc;
		}
		unit->error = l->ret[i] == -ENOENT ? 0 : -l->ret[i];
		unit->known = !unit->error;
		if (unit->error == EBADMSG)
			khd_store_damage(store, "index", 0, &unit->key, "not to be looked up");
		else if (unit->error == EIO)
			khd_store_fail(store, EIO, "index", 0);
		khd_unit_answer(store, unit);
		khd_unit_put(store, unit);
	}
	free(l);
	khd_store_leave(store);
}

static void get_known(struct khd_op *op);

static void put_known(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_extent *e = khd_range_find(store, &api->key);
	struct khd_unit *unit = op->unit;
	uint64_t newest;

	if (!e) {
		khd_op_finish(op, ENXIO);
		return;
	}
	newest = khd_unit_stored(unit, e) ? unit->version : 0;
	if (unit->pending > newest && unit->pins > 1)
		newest = unit->pending;
	if (api->meta.version < newest) {
		khd_op_finish(op, ESTALE);
		return;
	}
	unit->pending = api->meta.version;
	khd_op_stall(op);
}

static void unit_known(struct khd_op *op)
{
	if (op->store->error)
		khd_op_finish(op, EIO);
	else if (op->unit->error)
		khd_op_finish(op, op->unit->error);
	else if (op->kind == KHD_OP_PUT)
		put_known(op);
	else
		get_known(op);
}

void khd_unit_answer(struct khd_store *store, struct khd_unit *unit)
{
	while (!kh_list_empty(&unit->waiters)) {
		struct khd_op *op = kh_list_first(&unit->waiters, struct khd_op, link);

		kh_list_del(&op->link);
		unit_known(op);
	}
}

static void ask(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_extent *e = khd_range_find(store, &khd_api(op)->key);
	struct khd_unit *unit;

	if (!e) {
		khd_op_finish(op, ENXIO);
		return;
	}
	unit = op->unit = khd_unit_get(store, &khd_api(op)->key);
	if (!unit) {
		khd_op_finish(op, ENOMEM);
		return;
	}
	if (!unit->known && !unit->asked && e->fresh)
		unit->known = true;
	if (unit->known) {
		unit_known(op);
		return;
	}
	kh_list_add(&unit->waiters, &op->link);
	if (!unit->asked) {
		unit->asked = true;
		unit->error = 0;
		kh_list_del(&unit->link);
		kh_list_add(&store->lookups, &unit->link);
	}
}

/* ---------------------------------------------------------------- reading */

static void got(struct khd_slot_read *read, const char *wrong, bool device)
{
	struct khd_op *op = read->arg;
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_unit *unit = op->unit;

	if (store->error) {
		khd_op_finish(op, EIO);
	} else if (device) {
		khd_store_fail(store, EIO, "reading the slot file", read->expect.slot);
		khd_op_finish(op, EIO);
	} else if (!wrong) {
		store->stats.gets++;
		khd_op_finish(op, 0);
	} else if (unit->lsn != read->expect.lsn && op->tries++ < 8) {
		get_known(op); /* the slot was another's by then */
	} else if (unit->lsn != read->expect.lsn) {
		khd_op_finish(op, EAGAIN);
	} else {
		khd_store_damage(store, "slots", read->expect.slot, &api->key, wrong);
		khd_op_finish(op, EBADMSG);
	}
	free(read);
}

static void get_known(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_extent *e = khd_range_find(store, &api->key);
	struct khd_unit *unit = op->unit;
	struct khd_slot_read *read;

	if (!e) {
		khd_op_finish(op, ENXIO);
		return;
	}
	if (!khd_unit_stored(unit, e)) {
		api->meta = (struct khd_meta){ 0 };
		if (op->kind == KHD_OP_GET)
			memset(api->iov.iov_base, 0, api->iov.iov_len);
		khd_op_finish(op, 0);
		return;
	}
	api->meta = (struct khd_meta){ .version = unit->version, .token = unit->token };
	read = op->kind == KHD_OP_GET ? calloc(1, sizeof(*read)) : NULL;
	if (!read) {
		khd_op_finish(op, op->kind == KHD_OP_GET ? ENOMEM : 0);
		return;
	}
	read->expect = (struct khd_expect){ .kind = KHD_BLOCK_DATA,
					    .key = unit->key,
					    .version = unit->version,
					    .lsn = unit->lsn,
					    .slot = unit->slot,
					    .crc = unit->crc };
	read->done = got;
	read->arg = op;
	khd_slot_read(store, read, api->iov.iov_base);
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
		ask(op);
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
		ask(op);
	khd_store_leave_call(store, true);
}

void khd_store_lookup(struct khd_store *store, struct khd_store_op *api)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_LOOKUP);
	if (!khd_key_valid(&api->key))
		khd_op_finish(op, EINVAL);
	else if (khd_op_admit(op))
		ask(op);
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

static bool quiet(const struct khd_store *store)
{
	return kh_list_empty(&store->stalled) && kh_list_empty(&store->order) &&
	       kh_list_empty(&store->syncing) && !store->gets_under_way &&
	       store->log.state == KHD_GROUP_IDLE && store->ckpt == KHD_CKPT_IDLE &&
	       !khd_scrub_busy(store);
}

/* Everything that was begun has ended: one last checkpoint, then the device has nothing of ours. */
static void try_stop(struct khd_store *store)
{
	struct khd_op *op = store->stopping;

	if (!op || !quiet(store))
		return;
	if (!store->error && !store->stopped) {
		store->stopped = true; /* the checkpoint's superblock says clean */
		khd_checkpoint_want(store);
		khd_checkpoint_step(store);
		return;
	}
	if (store->ios || store->jobs - store->ready_busy)
		return;
	store->stopping = NULL;
	store->stopped = true;
	khd_op_finish(op, store->error ? EIO : 0);
}

static void progress(struct khd_store *store, bool submit)
{
	khd_store_advance(store);
	finish_durable(store);
	khd_checkpoint_step(store);
	assign_stalled(store);
	start_lookups(store);
	if (submit) {
		khd_slot_submit(store);
		khd_store_advance(store);
		khd_log_kick(store);
		khd_checkpoint_step(store);
	}
	try_stop(store);
}

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
	stats->parked = store->parked.count;
	stats->error = store->error;
}

uint64_t khd_store_tick(struct khd_store *store, uint64_t now)
{
	uint64_t next = now + 1000000000ull, scrub;

	store->now = now;
	if (store->error || store->stopped)
		return next;
	if (store->lsn_applied > store->lsn_durable)
		khd_log_want(store, store->lsn_applied);
	else
		khd_log_claim(store);
	if (store->lsn_applied > store->lsn_checkpoint) {
		if (!store->ckpt_at)
			store->ckpt_at = now + KHD_CHECKPOINT_NS;
		if (now >= store->ckpt_at)
			khd_checkpoint_want(store);
	}
	scrub = khd_scrub_tick(store);
	khd_store_leave_call(store, true);
	return scrub < next ? scrub : next;
}

int khd_store_resize(struct khd_store *store, uint64_t capacity)
{
	uint64_t segments = 0;

	if (store->error)
		return -EIO;
	if (capacity > store->segments_at)
		segments = (capacity - store->segments_at) / store->segment_bytes;
	if (!segments || segments > UINT32_MAX)
		return -EINVAL;
	if (segments < khd_space_charge(store))
		return -EBUSY;
	store->segments_max = (uint32_t)segments;
	store->capacity = capacity;
	khd_checkpoint_want(store);
	khd_store_leave_call(store, true);
	return 0;
}
