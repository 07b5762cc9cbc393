// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * park.c - what the module has parked goes to the node's page store
 *
 * A khd that is killed between the store's answer and PARKED_DROP leaves the frame in both.  So
 * what was parked before this khd began is looked for in the store first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "khd/device.h"
#include "khd/log.h"
#include "khd/pages_priv.h"
#include "khd/park.h"

#define LOOK_NS 1000000000ull /* between two looks at the module */
#define FULL_NS 60000000000ull /* when the store could not take one */
#define UNITS_MAX 16384u /* that the store keeps aside; then an operator has to decide first */
#define ID_MAX 0x7fffffffull /* the module's ids begin again after it */

/**
 * struct khd_park - the frame that is on its way
 * @op: at the store; first
 * @busy: it has it
 * @begun: when this khd began
 * @next_ns: of the next look
 * @cursor: lowest id that was not looked at
 * @frame: the module's answer to PARKED
 * @tag: its region
 * @other: a unit of the store that is compared with it
 */
struct khd_park {
	struct khd_store_op op;
	struct khd *khd;
	bool busy;
	uint64_t begun, next_ns, cursor;
	struct khazana_cmd frame;
	struct khd_tag tag;
	struct khd_parked other;
};

static void end(struct khd_park *park, uint64_t next_ns)
{
	free(park->op.iov.iov_base);
	park->op.iov.iov_base = NULL;
	park->busy = false;
	park->next_ns = next_ns;
}

/* The store has it for good: the module need not. */
static void drop(struct khd_park *park)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_PARKED_DROP, .cookie = park->frame.cookie };

	khd_device_command(park->khd->device, &cmd, 1);
	park->cursor = park->frame.cookie + 1;
	end(park, 0);
}

/* It stays in the module; those behind it have their turn unless the store is full. */
static void leave(struct khd_park *park, int error)
{
	const struct khd_key *key = &park->op.key;
	bool later = error == ENOSPC || error == ENOMEM || error == EAGAIN || error == EIO;

	if (error != EAGAIN)
		khd_event(park->khd, "parked-left",
			  "%llx:%llx, token 0x%llx, stays in the module: %s; see khadm parked list",
			  (unsigned long long)key->addr.hi, (unsigned long long)key->addr.lo,
			  (unsigned long long)park->op.meta.token, strerror(error));
	if (!later)
		park->cursor = park->frame.cookie + 1;
	end(park, khd_now() + (error == EAGAIN ? LOOK_NS : later ? FULL_NS : 0));
}

static void stored(struct khd_store_op *op, int error)
{
	struct khd_park *park = (struct khd_park *)op;

	if (error) {
		leave(park, error);
		return;
	}
	khd_event(park->khd, "parked-stored",
		  "%llx:%llx, token 0x%llx, is kept in the store; see khadm store parked list",
		  (unsigned long long)op->key.addr.hi, (unsigned long long)op->key.addr.lo,
		  (unsigned long long)op->meta.token);
	drop(park);
}

/*
 * Copy the frame.  Somebody may discard it meanwhile, by netlink: then it is not in the view any
 * more, which must not end khd, or is another's, which a second look shows.
 */
static int copy_frame(struct khd_park *park, size_t len)
{
	struct khazana_cmd again = { .op = KHAZANA_CMD_PARKED, .cookie = park->frame.cookie };
	struct iovec from = { khd_device_frame(park->khd->device, park->frame.frame, len), len };
	struct iovec *to = &park->op.iov;
	ssize_t copied;

	if (!from.iov_base)
		return EINVAL;
	to->iov_len = len;
	to->iov_base = aligned_alloc(KHD_DISK_ALIGN, len < KHD_DISK_ALIGN ? KHD_DISK_ALIGN : len);
	if (!to->iov_base)
		return ENOMEM;
	copied = process_vm_readv(getpid(), to, 1, &from, 1, 0);
	if (copied < 0 && errno != EFAULT)
		return errno;
	khd_device_command(park->khd->device, &again, 1);
	if (again.result || again.cookie != park->frame.cookie)
		return ENOENT;
	return copied == (ssize_t)len ? 0 : EFAULT;
}

/* It is not there any more. */
static void pass_over(struct khd_park *park)
{
	park->cursor = park->frame.cookie + 1;
	end(park, 0);
}

static void store_it(struct khd_park *park)
{
	struct khd_store *store = khd_pages_store(park->khd->pages);
	int error;

	if (!store) {
		leave(park, EIO);
		return;
	}
	error = khd_store_parked_count(store) < UNITS_MAX ?
			copy_frame(park, (size_t)1 << park->op.key.shift) :
			ENOSPC;
	if (error == ENOENT) {
		pass_over(park);
	} else if (error) {
		leave(park, error);
	} else {
		park->op.done = stored;
		khd_store_park(store, &park->op, &park->tag);
	}
}

/* Is it what an earlier khd has stored? */
static void compared(struct khd_store_op *op, int error)
{
	struct khd_park *park = (struct khd_park *)op;
	struct khd_store *store = khd_pages_store(park->khd->pages);
	const struct khd_parked *other = &park->other;
	const struct khazana_cmd *frame = &park->frame;

	if (!error && other->meta.token == frame->token && other->meta.version == frame->version &&
	    !memcmp(&other->key.addr, &frame->addr, sizeof(frame->addr)) &&
	    !memcmp(&other->tag, &park->tag, sizeof(park->tag))) {
		drop(park);
		return;
	}
	if (!error && store) {
		khd_store_parked_get(store, op, other->id + 1, &park->other);
		return;
	}
	/* The call has filled them in. */
	op->key = (struct khd_key){ frame->addr, frame->generation, frame->unit_shift };
	op->meta = (struct khd_meta){ frame->version, frame->token };
	if (error && error != ENOENT)
		leave(park, error);
	else
		store_it(park);
}

/* Whose it is, or that its region has gone: then it went with it. */
static bool name_frame(struct khd_park *park)
{
	struct khazana_cmd *frame = &park->frame;
	struct khazana_cmd region = { .op = KHAZANA_CMD_REGION_GET, .region = frame->region };

	khd_device_command(park->khd->device, &region, 1);
	if (region.result || region.region != frame->region)
		return false;
	frame->addr = kh_addr_add(region.addr, frame->unit << region.unit_shift);
	frame->unit_shift = region.unit_shift;
	frame->generation = region.generation;
	park->tag = khd_pages_tag(region.addr, region.generation);
	park->op.key = (struct khd_key){ frame->addr, frame->generation, frame->unit_shift };
	park->op.meta = (struct khd_meta){ frame->version, frame->token };
	park->op.flags = KHD_STORE_SYNC;
	return true;
}

/* The next frame; false if there is none. */
static bool look(struct khd_park *park)
{
	struct khazana_cmd *frame = &park->frame;
	struct khd_store *store = khd_pages_store(park->khd->pages);

	*frame = (struct khazana_cmd){ .op = KHAZANA_CMD_PARKED, .cookie = park->cursor };
	khd_device_command(park->khd->device, frame, 1);
	if (frame->result)
		return false;
	park->busy = true;
	if (!name_frame(park)) {
		pass_over(park);
	} else if (frame->time_ns >= park->begun) {
		store_it(park);
	} else {
		park->op.done = compared;
		khd_store_parked_get(store, &park->op, 0, &park->other);
	}
	return true;
}

struct khd_park *khd_park_open(struct khd *khd)
{
	struct khd_park *park = calloc(1, sizeof(*park));

	if (!park)
		return NULL;
	park->khd = khd;
	park->begun = khd_now();
	return park;
}

uint64_t khd_park_tick(struct khd_park *park, uint64_t now)
{
	if (!park || !khd_pages_store(park->khd->pages) || park->busy)
		return ~0ull;
	if (now < park->next_ns)
		return park->next_ns;
	if (look(park))
		return park->busy ? ~0ull : park->next_ns;
	if (park->cursor > ID_MAX)
		park->cursor = 0;
	park->next_ns = now + LOOK_NS;
	return park->next_ns;
}

void khd_park_close(struct khd_park *park)
{
	/* A store that did not stop in time may still write from this memory. */
	if (!park || park->busy)
		return;
	free(park);
}
