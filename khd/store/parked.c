// SPDX-License-Identifier: GPL-2.0-or-later
/* parked.c - units set aside: stored by the number of their storing, not by their address */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"

/* The first with an id of at least @id, NULL if there is none; they are sorted. */
struct khd_parked_unit *khd_parked_find(struct khd_store *store, uint64_t id)
{
	size_t low = 0, high = store->parked.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (store->parked.at[middle].parked.id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < store->parked.count ? &store->parked.at[low] : NULL;
}

int khd_parked_insert(struct khd_store *store, const struct khd_parked_unit *parked)
{
	struct khd_parked_unit *behind = khd_parked_find(store, parked->parked.id);
	size_t at = behind ? (size_t)(behind - store->parked.at) : store->parked.count;

	if (!khd_push(&store->parked))
		return -ENOMEM;
	memmove(&store->parked.at[at + 1], &store->parked.at[at],
		(store->parked.count - 1 - at) * sizeof(*parked));
	store->parked.at[at] = *parked;
	return 0;
}

/* It is no more; a tomb goes over it, so that no rebuild finds it. */
void khd_parked_remove(struct khd_store *store, uint64_t id)
{
	struct khd_parked_unit *p = khd_parked_find(store, id);
	uint64_t *gone;
	size_t at;

	if (!p || p->parked.id != id)
		return;
	gone = khd_push(&store->discarded);
	if (!gone) {
		khd_store_fail(store, ENOMEM, "parked units", 0);
		return;
	}
	*gone = id;
	khd_space_unpromise(store, p->parked.key.shift, 1);
	khd_space_dead(store, p->slot, true);
	at = (size_t)(p - store->parked.at);
	store->parked.count--;
	memmove(p, p + 1, (store->parked.count - at) * sizeof(*p));
}

void khd_parked_from_record(const struct khd_record *rec, struct khd_parked_unit *p)
{
	*p = (struct khd_parked_unit){ .slot = rec->slot, .crc = rec->data_crc, .dirty = true };
	p->parked.id = rec->lsn;
	p->parked.key = (struct khd_key){ .addr = { .hi = rec->addr_hi, .lo = rec->addr_lo },
					  .generation = rec->generation,
					  .shift = rec->shift };
	p->parked.meta = (struct khd_meta){ .version = rec->version, .token = rec->token };
	memcpy(p->parked.tag.bytes, rec->tag, sizeof(rec->tag));
}

static void park_record(struct khd_op *op, struct khd_record *rec)
{
	const struct khd_store_op *api = khd_api(op);

	*rec = (struct khd_record){
		.type = KHD_RECORD_PARK,
		.cells = 2,
		.shift = (uint8_t)api->key.shift,
		.data_crc = op->crc,
		.lsn = op->lsn,
		.addr_hi = api->key.addr.hi,
		.addr_lo = api->key.addr.lo,
		.generation = api->key.generation,
		.version = api->meta.version,
		.token = api->meta.token,
		.slot = op->slot,
	};
	memcpy(rec->tag, ((struct khd_tag *)op->more)->bytes, sizeof(rec->tag));
}

static bool assign_park(struct khd_op *op)
{
	struct khd_store *store = op->store;
	unsigned int shift = khd_api(op)->key.shift;
	struct khd_record rec;
	struct khd_block *block;
	bool done;
	int ret;

	if (!khd_log_room(store, 2))
		return false;
	if (!khd_op_promise(op, shift, 1, &done))
		return done;
	ret = khd_space_take(store, shift, &op->slot);
	op->wants_nothing = ret == -EINPROGRESS;
	block = ret ? NULL : khd_buffer(store->sector);
	if (!block) {
		khd_space_unpromise(store, shift, 1);
		if (khd_space_comes(ret))
			return false;
		if (!ret) /* nothing was written to it, and nothing refers to it */
			khd_space_give_back(store, op->slot);
		khd_op_finish(op, ret ? -ret : ENOMEM);
		return true;
	}
	op->lsn = store->lsn_next++;
	op->crc = khd_crc32c(0, khd_api(op)->iov.iov_base, khd_api(op)->iov.iov_len);
	park_record(op, &rec);
	khd_slot_fill(store, op, block, KHD_BLOCK_PARKED, op->more);
	ret = khd_log_append(store, &rec);
	khd_op_number(op, false);
	if (ret)
		khd_store_fail(store, ENOMEM, "redo log", 0);
	khd_slot_write(op, block, true);
	return true;
}

/* Its id is in the key's generation: the call has no other use of the key. */
static bool assign_discard(struct khd_op *op)
{
	struct khd_store *store = op->store;
	uint64_t id = khd_api(op)->key.generation;
	struct khd_parked_unit *p = khd_parked_find(store, id);
	struct khd_record rec = { .type = KHD_RECORD_DISCARD, .cells = 2, .version = id };
	int ret;

	if (!p || p->parked.id != id) {
		khd_op_finish(op, ENOENT);
		return true;
	}
	if (!khd_log_room(store, 2))
		return false;
	op->lsn = rec.lsn = store->lsn_next++;
	rec.shift = (uint8_t)p->parked.key.shift;
	ret = khd_log_append(store, &rec);
	khd_op_number(op, true);
	if (ret) /* ends what has a number, this one too */
		khd_store_fail(store, ENOMEM, "redo log", 0);
	return true;
}

bool khd_parked_assign(struct khd_op *op)
{
	return op->kind == KHD_OP_PARK ? assign_park(op) : assign_discard(op);
}

void khd_parked_apply(struct khd_op *op)
{
	struct khd_store *store = op->store;
	struct khd_parked_unit p;
	struct khd_record rec;

	if (op->kind == KHD_OP_DISCARD) {
		khd_parked_remove(store, khd_api(op)->key.generation);
		return;
	}
	park_record(op, &rec);
	khd_parked_from_record(&rec, &p);
	khd_space_live(store, op->slot);
	if (khd_parked_insert(store, &p))
		khd_store_fail(store, ENOMEM, "parked units", 0);
}

/* ---------------------------------------------------------------- calls */

void khd_store_park(struct khd_store *store, struct khd_store_op *api, const struct khd_tag *tag)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_PARK);
	if (!khd_key_valid(&api->key) || !khd_iov_valid(api) || !api->meta.version ||
	    !store->class[api->key.shift].slots) {
		khd_op_finish(op, EINVAL);
	} else if (khd_op_admit(op)) {
		op->more = malloc(sizeof(*tag));
		if (op->more) {
			memcpy(op->more, tag, sizeof(*tag));
			khd_op_stall(op);
		} else {
			khd_op_finish(op, ENOMEM);
		}
	}
	khd_store_leave_call(store, true);
}

void khd_store_parked_discard(struct khd_store *store, struct khd_store_op *api, uint64_t id)
{
	struct khd_op *op = khd_op(api);

	khd_op_start(store, api, KHD_OP_DISCARD);
	memset(&api->key, 0, sizeof(api->key));
	api->key.generation = id;
	if (khd_op_admit(op))
		khd_op_stall(op);
	khd_store_leave_call(store, true);
}

static void got(struct khd_slot_read *read, const char *wrong, int error)
{
	struct khd_op *op = read->arg;
	struct khd_store *store = op->store;
	struct khd_parked_unit *p = khd_parked_find(store, read->expect.lsn);

	if (store->error) {
		khd_op_finish(op, EIO);
	} else if (error) {
		khd_op_finish(op, error);
	} else if (!wrong) {
		khd_op_finish(op, 0);
	} else if (!p || p->parked.id != read->expect.lsn) {
		khd_op_finish(op, ENOENT); /* discarded meanwhile */
	} else {
		khd_store_damage(store, "slots", read->expect.slot, &read->expect.key, wrong);
		khd_op_finish(op, EBADMSG);
	}
	free(read);
}

void khd_store_parked_get(struct khd_store *store, struct khd_store_op *api, uint64_t id,
			  struct khd_parked *out)
{
	struct khd_op *op = khd_op(api);
	struct khd_slot_read *read;
	struct khd_parked_unit *p;

	khd_op_start(store, api, KHD_OP_PARKED_GET);
	if (!khd_op_admit(op)) {
		khd_store_leave_call(store, true);
		return;
	}
	p = khd_parked_find(store, id);
	if (p) {
		*out = p->parked;
		api->key = p->parked.key;
		api->meta = p->parked.meta;
	}
	if (!p || !api->iov.iov_base) {
		khd_op_finish(op, p ? 0 : ENOENT);
	} else if (!khd_iov_valid(api)) {
		khd_op_finish(op, EINVAL);
	} else if (!(read = calloc(1, sizeof(*read)))) {
		khd_op_finish(op, ENOMEM);
	} else {
		read->expect = (struct khd_expect){ .kind = KHD_BLOCK_PARKED,
						    .key = p->parked.key,
						    .version = p->parked.meta.version,
						    .lsn = p->parked.id,
						    .slot = p->slot,
						    .crc = p->crc };
		read->done = got;
		read->arg = op;
		if (!khd_slot_read(store, read, api->iov.iov_base))
			khd_op_finish(op, ENOMEM);
	}
	khd_store_leave_call(store, true);
}
