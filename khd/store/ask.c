// SPDX-License-Identifier: GPL-2.0-or-later
/* ask.c - units are asked for in the index, and read */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

/* ---------------------------------------------------------------- units are asked for */

static void lookup_run(struct khd_job *job);
static void lookup_done(struct khd_job *job);
static void answer(struct khd_unit *unit);

struct lookup {
	struct khd_job_of of;
	unsigned int count;
	struct khd_row rows[KHD_LOOKUPS];
	int ret[KHD_LOOKUPS];
};

void khd_ask_next(struct khd_store *store)
{
	struct lookup *l;

	while (store->error && !kh_list_empty(&store->lookups)) {
		struct khd_unit *unit = kh_list_first(&store->lookups, struct khd_unit, link);

		kh_list_del(&unit->link);
		unit->asked = false;
		unit->pins++;
		answer(unit);
		khd_unit_put(store, unit);
	}
	if (store->lookup_busy || kh_list_empty(&store->lookups))
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
		answer(unit);
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

static void answer(struct khd_unit *unit)
{
	while (!kh_list_empty(&unit->waiters)) {
		struct khd_op *op = kh_list_first(&unit->waiters, struct khd_op, link);

		kh_list_del(&op->link);
		unit_known(op);
	}
}

void khd_op_ask(struct khd_op *op)
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

static void got(struct khd_slot_read *read, const char *wrong, int error)
{
	struct khd_op *op = read->arg;
	struct khd_store *store = op->store;
	struct khd_store_op *api = khd_api(op);
	struct khd_unit *unit = op->unit;
	struct khd_extent *e = khd_range_find(store, &api->key);

	if (store->error) {
		khd_op_finish(op, EIO);
	} else if (error) {
		khd_op_finish(op, error);
	} else if (!wrong) {
		store->stats.gets++;
		khd_op_finish(op, 0);
	} else if (!e || !khd_unit_stored(unit, e)) {
		get_known(op); /* released: the slot may be another's by now */
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
	if (!khd_slot_read(store, read, api->iov.iov_base))
		khd_op_finish(op, ENOMEM);
}
