// SPDX-License-Identifier: GPL-2.0-only
/*
 * region.c - a region as one node sees it, and who is attached to it
 *
 * A region exists from khd's REGION_ADD to its REGION_DEL; it keeps rights and
 * frames when khd dies.
 */
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "alloc.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "lock.h"
#include "pseudofs.h"
#include "region.h"
#include "trace.h"
#include "unit.h"

#define KZ_WAIT_MS_DEFAULT	30000

static bool addr_equal(const struct khazana_addr *a, const struct khazana_addr *b)
{
	return a->hi == b->hi && a->lo == b->lo;
}

/* @a - @b, if it fits into 64 bits and is not negative. */
static bool addr_offset(const struct khazana_addr *a, const struct khazana_addr *b, u64 *offset)
{
	*offset = a->lo - b->lo;
	return a->hi - b->hi == (a->lo < b->lo);
}

static int attributes_check(const struct khazana_cmd *cmd)
{
	u64 mask = (1ULL << cmd->unit_shift) - 1;

	if (cmd->flags & ~(KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO))
		return -EINVAL;
	if (cmd->unit_shift < max(KHAZANA_UNIT_SHIFT_MIN, PAGE_SHIFT) ||
	    cmd->unit_shift > KHAZANA_UNIT_SHIFT_MAX)
		return -EINVAL;
	if (!cmd->length || (cmd->length & mask) || (cmd->addr.lo & mask))
		return -EINVAL;
	/* The last byte must exist. */
	if (cmd->addr.lo + (cmd->length - 1) < cmd->addr.lo && cmd->addr.hi == U64_MAX)
		return -EINVAL;
	return 0;
}

static void attributes_take(struct kz_region *region, const struct khazana_cmd *cmd,
			    struct kz_lease *lease)
{
	bool changed = region->lease != lease;

	WRITE_ONCE(region->lease, lease);
	if (changed)
		kz_lease_changed(region);
	WRITE_ONCE(region->wait_ms, cmd->wait_ms ?: KZ_WAIT_MS_DEFAULT);
	WRITE_ONCE(region->residency_ns, (u64)cmd->residency_us * NSEC_PER_USEC);
	WRITE_ONCE(region->flags, cmd->flags);
	/* What is late must not let an older key in again. */
	WRITE_ONCE(region->key_serial, max(region->key_serial, cmd->version));
}

static int attributes_lease(struct kz_instance *instance, u32 id, struct kz_lease **lease)
{
	*lease = NULL;
	if (!id)
		return 0;
	*lease = kz_lease_get(instance, id);
	return *lease ? 0 : -ENOMEM;
}

static struct kz_region *region_new(struct kz_instance *instance, const struct khazana_cmd *cmd)
{
	struct kz_region *region;

	if (kz_inject_fail(KZ_POINT_REGION))
		return ERR_PTR(-ENOMEM);
	region = kz_zalloc(sizeof(*region), GFP_KERNEL);
	if (!region)
		return ERR_PTR(-ENOMEM);
	region->units_max = cmd->length >> cmd->unit_shift;
	region->floors_mask = KZ_FLOORS_MAX - 1;
	if (region->units_max < KZ_FLOORS_MAX)
		region->floors_mask = roundup_pow_of_two(region->units_max) - 1;
	region->floors = kz_zalloc(array_size(region->floors_mask + 1, sizeof(u64)), GFP_KERNEL);
	if (!region->floors) {
		kz_free(region);
		return ERR_PTR(-ENOMEM);
	}
	region->inode = kz_inode_new();
	if (IS_ERR(region->inode)) {
		void *err = region->inode;

		kz_free(region->floors);
		kz_free(region);
		return err;
	}
	kref_init(&region->ref);
	kref_get(&instance->ref);
	region->instance = instance;
	region->unit_shift = cmd->unit_shift;
	region->start = cmd->addr;
	region->length = cmd->length;
	region->generation = cmd->generation;
	region->inode->i_size = min_t(u64, cmd->length, MAX_LFS_FILESIZE);
	xa_init(&region->units);
	mutex_init(&region->lock);
	INIT_LIST_HEAD(&region->attachments);
	return region;
}

static void region_free(struct kref *ref)
{
	struct kz_region *region = container_of(ref, struct kz_region, ref);
	struct kz_instance *instance = region->instance;
	struct kz_unit *unit;
	unsigned long index;

	xa_for_each(&region->units, index, unit)
		kz_unit_free(unit);
	xa_destroy(&region->units);
	kz_free(region->floors);
	kz_inode_put(region->inode);
	mutex_destroy(&region->lock);
	kz_free_rcu(region, rcu);
	kz_instance_put(instance);
}

/**
 * kz_region_get() - take a reference
 * @region: the region, of which the caller has one
 */
void kz_region_get(struct kz_region *region)
{
	kref_get(&region->ref);
}

/**
 * kz_region_put() - give back a reference
 * @region: the region
 *
 * Context: may sleep.
 */
void kz_region_put(struct kz_region *region)
{
	kref_put(&region->ref, region_free);
}

/**
 * kz_region_find() - look up a region
 * @instance: the instance
 * @handle: its handle
 *
 * Return: a reference, or NULL.
 */
struct kz_region *kz_region_find(struct kz_instance *instance, u32 handle)
{
	struct kz_region *region;

	rcu_read_lock();
	region = xa_load(&instance->regions, handle);
	if (region && !kref_get_unless_zero(&region->ref))
		region = NULL;
	rcu_read_unlock();
	return region;
}

/**
 * kz_region_next() - the next region
 * @instance: the instance
 * @handle: lowest handle
 *
 * Return: a reference, or NULL at the end.
 */
struct kz_region *kz_region_next(struct kz_instance *instance, u32 handle)
{
	unsigned long index = handle;
	struct kz_region *region;

	rcu_read_lock();
	region = xa_find(&instance->regions, &index, U32_MAX, XA_PRESENT);
	while (region && !kref_get_unless_zero(&region->ref))
		region = xa_find_after(&instance->regions, &index, U32_MAX, XA_PRESENT);
	rcu_read_unlock();
	return region;
}

/**
 * kz_region_add() - REGION_ADD
 * @instance: the instance
 * @cmd: attributes in, handle out
 *
 * Return: 0, EALREADY (known: its handle), EINVAL, EBUSY (overlaps another), ENOMEM, ESHUTDOWN.
 */
int kz_region_add(struct kz_instance *instance, struct khazana_cmd *cmd)
{
	struct kz_region *region, *other;
	struct kz_lease *lease;
	unsigned long handle;
	u64 offset;
	int err;

	err = attributes_check(cmd);
	if (err)
		return err;
	mutex_lock(&instance->lock);
	err = instance->dead ? -ESHUTDOWN : attributes_lease(instance, cmd->lease, &lease);
	if (err)
		goto out;
	xa_for_each(&instance->regions, handle, other) {
		if (addr_equal(&other->start, &cmd->addr) &&
		    other->generation == cmd->generation && other->length == cmd->length &&
		    other->unit_shift == cmd->unit_shift) {
			cmd->region = handle;
			attributes_take(other, cmd, lease);
			err = -EALREADY;
			goto out;
		}
		if ((addr_offset(&cmd->addr, &other->start, &offset) && offset < other->length) ||
		    (addr_offset(&other->start, &cmd->addr, &offset) && offset < cmd->length)) {
			err = -EBUSY;
			goto out;
		}
	}
	region = region_new(instance, cmd);
	if (IS_ERR(region)) {
		err = PTR_ERR(region);
		goto out;
	}
	attributes_take(region, cmd, lease);
	/* Reserve first: nobody may find a region without its handle. */
	err = xa_alloc_cyclic(&instance->regions, &region->handle, NULL, xa_limit_31b,
			      &instance->region_next, GFP_KERNEL);
	if (err < 0) {
		kz_region_put(region);
		goto out;
	}
	err = xa_err(xa_store(&instance->regions, region->handle, region, GFP_KERNEL));
	cmd->region = region->handle;
	kz_event_region_added(&instance->events, region->handle, region->start, region->length);
	trace_khazana_region(region, true);
out:
	mutex_unlock(&instance->lock);
	return err;
}

/**
 * kz_region_set() - REGION_SET
 * @region: the region
 * @cmd: flags, lease, wait_ms, residency_us, version (the key's serial number)
 *
 * Return: 0, EINVAL, ENOMEM.
 */
int kz_region_set(struct kz_region *region, const struct khazana_cmd *cmd)
{
	struct kz_instance *instance = region->instance;
	struct kz_lease *lease;
	int err;

	if (cmd->flags & ~(KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO))
		return -EINVAL;
	mutex_lock(&instance->lock);
	err = attributes_lease(instance, cmd->lease, &lease);
	if (!err)
		attributes_take(region, cmd, lease);
	mutex_unlock(&instance->lock);
	return err;
}

/* Nobody may use the region any more: take it out of all address spaces, wake all. */
static void region_kill(struct kz_region *region)
{
	struct kz_unit *unit;
	u64 index = 0;

	kz_locks_wake(region);
	while ((unit = kz_unit_next(region, &index))) {
		kz_unit_kill(unit);
		kz_unit_put(unit);
		cond_resched();
	}
}

/**
 * kz_region_del() - REGION_DEL
 * @region: the region, of which the caller has a reference
 * @force: also while attached
 *
 * Return: 0, EBUSY, ENOENT (deleted before).
 */
int kz_region_del(struct kz_region *region, bool force)
{
	struct kz_instance *instance = region->instance;
	int err = 0;

	mutex_lock(&instance->lock);
	mutex_lock(&region->lock);
	if (region->dead)
		err = -ENOENT;
	else if (!force && !list_empty(&region->attachments))
		err = -EBUSY;
	else
		WRITE_ONCE(region->dead, true);
	mutex_unlock(&region->lock);
	if (!err)
		xa_erase(&instance->regions, region->handle);
	mutex_unlock(&instance->lock);
	if (err)
		return err;
	region_kill(region);
	kz_parked_forget(region);
	kz_event_region_removed(&instance->events, region->handle, region->start);
	trace_khazana_region(region, false);
	kz_region_put(region);
	return 0;
}

/**
 * kz_regions_shutdown() - the namespace goes, and all its regions
 * @instance: dead
 */
void kz_regions_shutdown(struct kz_instance *instance)
{
	struct kz_region *region;

	while ((region = kz_region_next(instance, 0))) {
		kz_region_del(region, true);
		kz_region_put(region);
	}
	mutex_lock(&instance->lock);
	kz_instance_frames_trim(instance);
	mutex_unlock(&instance->lock);
}

/**
 * kz_region_attachments() - how many files are attached
 * @region: the region
 *
 * Context: may sleep.
 */
u32 kz_region_attachments(struct kz_region *region)
{
	struct list_head *node;
	u32 count = 0;

	mutex_lock(&region->lock);
	list_for_each(node, &region->attachments)
		count++;
	mutex_unlock(&region->lock);
	return count;
}

/**
 * kz_region_poison() - dirty data is lost: whoever may have seen it must know
 * @region: the region
 *
 * Context: may sleep; no unit's mutex held.
 */
void kz_region_poison(struct kz_region *region)
{
	struct kz_attachment *attachment;
	struct kz_unit *unit;
	u64 index = 0;

	if (READ_ONCE(region->flags) & KHAZANA_CMDF_NOPOISON)
		return;
	mutex_lock(&region->lock);
	list_for_each_entry(attachment, &region->attachments, node) {
		if (attachment->poisoned)
			continue;
		WRITE_ONCE(attachment->poisoned, true);
		kz_stat_inc(region->instance, KZ_STAT_POISONED);
		kz_event_attachment_poisoned(&region->instance->events, region->handle,
					     region->start, attachment->pid);
	}
	mutex_unlock(&region->lock);
	/* What is mapped already must fault to learn it. */
	while ((unit = kz_unit_next(region, &index))) {
		kz_unit_zap(unit);
		kz_unit_put(unit);
		cond_resched();
	}
}

/**
 * kz_region_raise_floor() - raise the floor of a unit that has no record
 * @region: the region
 * @unit: its number
 * @floor: the new floor
 *
 * Return: whether it is without a record; if not, nothing was done.
 */
bool kz_region_raise_floor(struct kz_region *region, u64 unit, u64 floor)
{
	u64 *at = &region->floors[unit & region->floors_mask];
	bool absent;

	xa_lock(&region->units);
	absent = !xa_load(&region->units, unit);
	if (absent)
		*at = max(*at, floor);
	xa_unlock(&region->units);
	return absent;
}

/**
 * kz_attachment_new() - bind a window
 * @region: the region, whose reference is taken over on success
 * @arg: window and flags
 * @out: the attachment
 *
 * Return: 0, EINVAL (alignment), ERANGE (leaves the region), ENOENT (deleted), ENOMEM.
 */
int kz_attachment_new(struct kz_region *region, const struct khazana_attach *arg,
		      struct kz_attachment **out)
{
	u64 mask = (1ULL << region->unit_shift) - 1, max = LLONG_MAX & ~mask;
	u64 offset, length = arg->length;
	struct kz_attachment *attachment;

	if (!addr_offset(&arg->start, &region->start, &offset) || offset >= region->length)
		return -ERANGE;
	if (length > max || (offset & mask) || (length & mask))
		return -EINVAL;
	if (length > region->length - offset)
		return -ERANGE;
	if (!length)
		length = min(region->length - offset, max);
	attachment = kz_zalloc(sizeof(*attachment), GFP_KERNEL);
	if (!attachment)
		return -ENOMEM;
	attachment->region = region;
	attachment->first = offset >> region->unit_shift;
	attachment->length = length;
	attachment->flags = arg->flags;
	attachment->pid = task_tgid_nr(current);
	kz_pairs_init(&attachment->pairs);
	mutex_lock(&region->lock);
	if (region->dead) {
		mutex_unlock(&region->lock);
		kz_free(attachment);
		return -ENOENT;
	}
	list_add_tail(&attachment->node, &region->attachments);
	mutex_unlock(&region->lock);
	*out = attachment;
	return 0;
}

/**
 * kz_attachment_free() - the file is closed
 * @attachment: nobody maps it
 */
void kz_attachment_free(struct kz_attachment *attachment)
{
	struct kz_region *region = attachment->region;
	bool last;

	mutex_lock(&region->lock);
	list_del(&attachment->node);
	last = list_empty(&region->attachments) && !region->dead;
	mutex_unlock(&region->lock);
	if (last)
		kz_notice_hint(region, KHAZANA_REQ_IDLE, 0, 0, 0);
	kz_free(attachment);
	kz_region_put(region);
}

/**
 * kz_attachment_check() - may the attachment be used?
 * @attachment: the attachment
 *
 * Return: 0, ESTALE (poisoned), ENOENT (region deleted), ESHUTDOWN, EDEADLK (the caller is khd).
 */
int kz_attachment_check(const struct kz_attachment *attachment)
{
	const struct kz_region *region = attachment->region;
	const struct kz_instance *instance = region->instance;

	if (unlikely(READ_ONCE(attachment->poisoned)))
		return -ESTALE;
	if (unlikely(READ_ONCE(region->dead)))
		return READ_ONCE(instance->dead) ? -ESHUTDOWN : -ENOENT;
	if (unlikely(READ_ONCE(instance->queue.tgid) == current->tgid))
		return -EDEADLK;
	return 0;
}

/**
 * kz_attachment_key() - is the key that it was attached with still the region's?
 * @attachment: the attachment
 *
 * Return: 0, EKEYREJECTED.
 */
int kz_attachment_key(const struct kz_attachment *attachment)
{
	const struct kz_region *region = attachment->region;

	return attachment->key_serial < READ_ONCE(region->key_serial) ? -EKEYREJECTED : 0;
}
