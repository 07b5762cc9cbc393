// SPDX-License-Identifier: GPL-2.0-only
/*
 * command.c - what khd tells the module to do
 *
 * One function for each command, all in one table.  A command is copied in once, runs,
 * and is copied out; nothing of the user's memory is looked at twice.
 */
#include <linux/uaccess.h>

#include "acquire.h"
#include "command.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "region.h"
#include "revoke.h"
#include "trace.h"
#include "unit.h"

static u32 frame_index(const struct kz_frame *frame)
{
	return frame ? frame->index : ~0u;
}

/* The record as the out fields of a command. */
static void unit_report(struct kz_unit *unit, struct khazana_cmd *cmd)
{
	const struct kz_page *page = &unit->page;

	spin_lock(&unit->lock);
	cmd->right = page->right;
	cmd->token = page->token;
	cmd->version = page->version;
	cmd->version_held = page->handoff_version;
	cmd->token_handoff = page->handoff_token;
	cmd->floor = page->floor;
	cmd->frame = frame_index(unit->cur);
	cmd->frame_handoff = frame_index(unit->handoff);
	cmd->uflags = page->flags;
	cmd->state = page->state;
	spin_unlock(&unit->lock);
}

/* The same of a unit without a record. */
static void nothing_report(struct khazana_cmd *cmd)
{
	cmd->right = KHAZANA_RIGHT_NONE;
	cmd->version = KHAZANA_VERSION_NONE;
	cmd->version_held = KHAZANA_VERSION_NONE;
	cmd->frame = ~0u;
	cmd->frame_handoff = ~0u;
	cmd->uflags = 0;
	cmd->state = KHAZANA_STATE_STABLE;
}

/* Make a whole transition of a unit that has a record. */
static int unit_step(struct kz_region *region, u64 index, const struct kz_page_event *event)
{
	struct kz_unit *unit = kz_unit_find(region, index);
	int err;

	if (!unit)
		return -ENOENT;
	err = kz_unit_step(unit, event);
	kz_unit_put(unit);
	return err;
}

static int region_add(struct kz_instance *instance, struct kz_region *unused,
		      struct khazana_cmd *cmd)
{
	return kz_region_add(instance, cmd);
}

static int region_set(struct kz_instance *instance, struct kz_region *region,
		      struct khazana_cmd *cmd)
{
	return kz_region_set(region, cmd);
}

static int region_del(struct kz_instance *instance, struct kz_region *region,
		      struct khazana_cmd *cmd)
{
	return kz_region_del(region, cmd->flags & KHAZANA_CMDF_FORCE);
}

static int attach_done(struct kz_instance *instance, struct kz_region *region,
		       struct khazana_cmd *cmd)
{
	int err;

	kz_region_get(region);
	err = kz_call_answer(instance, cmd->request, 0, region, cmd->version);
	if (err)
		kz_region_put(region);
	return err;
}

/* A COMMIT that needs a frame of its own gets one here. */
static int commit_prepare(struct kz_unit *unit, const struct khazana_cmd *cmd)
{
	int err;

	if (!kz_region_valid(unit->region))
		return -ESTALE;
	if (!(cmd->flags & KHAZANA_CMDF_ZERO) || unit->cur || cmd->token < unit->page.floor)
		return 0;
	err = kz_unit_frame(unit, 0);
	return err == -EBUSY ? 0 : err;
}

/*
 * The frame of a COMMIT that brings contents, or NULL.  They are read without any lock: that may
 * fault, even in a view of khd's or, with an error, of a user's.
 */
static struct kz_frame *commit_data(struct kz_unit *unit, const struct khazana_cmd *cmd)
{
	struct kz_frame *frame;

	if (!(cmd->flags & KHAZANA_CMDF_DATA))
		return NULL;
	if ((cmd->flags & (KHAZANA_CMDF_ZERO | KHAZANA_CMDF_HELD)) ||
	    cmd->length != (u64)kz_region_pages(unit->region) << PAGE_SHIFT)
		return ERR_PTR(-EINVAL);
	if (!cmd->data)
		return ERR_PTR(-EFAULT);
	frame = kz_unit_alloc_frame(unit, u64_to_user_ptr(cmd->data));
	return IS_ERR(frame) ? ERR_PTR(kz_frame_errno(PTR_ERR(frame))) : frame;
}

static int commit(struct kz_instance *instance, struct kz_region *region,
		  struct khazana_cmd *cmd)
{
	struct kz_page_event event = {
		.type = KZ_EV_COMMIT, .right = cmd->right, .flags = cmd->flags,
		.token = cmd->token, .version = cmd->version, .version_held = cmd->version_held,
	};
	struct kz_unit *unit = kz_unit_get(region, cmd->unit);
	struct kz_frame *data;
	u32 act = 0;
	int err;

	if (IS_ERR(unit))
		return PTR_ERR(unit);
	data = commit_data(unit, cmd);
	if (IS_ERR(data)) {
		kz_unit_put(unit);
		return PTR_ERR(data);
	}
	kz_inject_delay(KZ_POINT_COMMIT);
	mutex_lock(&unit->mutex);
	err = commit_prepare(unit, cmd);
	if (err) {
		kz_frame_free(&instance->frames, data);
	} else {
		/* A frame to receive into stays until khd's own command; NULL may become one now. */
		event.wrong_frame = frame_index(READ_ONCE(unit->cur)) != cmd->frame;
		/* Before whoever waits can get to it. */
		WRITE_ONCE(unit->mark, cmd->flags & KHAZANA_CMDF_MARK);
		err = kz_unit_commit_locked(unit, &event, data, &act);
		if (!err)
			kz_unit_enforce(unit, &act);
	}
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	kz_unit_put(unit);
	if (!err)
		kz_stat_inc(instance, KZ_STAT_COMMITS);
	else if (err == -ESTALE)
		kz_stat_inc(instance, KZ_STAT_STALE);
	return err;
}

static int revoke_unit(struct kz_region *region, struct khazana_cmd *cmd, u64 index,
		       struct kz_revoke_group **group, struct khazana_cmd *before)
{
	const struct kz_page_event event = {
		.type = KZ_EV_REVOKE, .right = cmd->right, .flags = cmd->flags,
		.token = cmd->token,
	};
	struct kz_unit *unit = kz_unit_find(region, index);
	u32 act = 0;
	int err;

	while (!unit) {
		/* The floor must be remembered all the same. */
		if (kz_region_raise_floor(region, index, cmd->token)) {
			nothing_report(before);
			return -ENOENT;
		}
		unit = kz_unit_find(region, index);
	}
	mutex_lock(&unit->mutex);
	unit_report(unit, before);
	err = kz_revoke(unit, &event, group, &act);
	kz_inject_delay(KZ_POINT_REPORT);
	if (!err) {
		/*
		 * What is there now, of one moment: a thread that faults meanwhile has an empty
		 * frame as the current one, which has no version.
		 */
		struct khazana_cmd after = *before;

		unit_report(unit, &after);
		after.right = before->right;
		after.token = before->token;
		after.uflags = before->uflags;
		*before = after;
	}
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	kz_unit_put(unit);
	return err;
}

/* Of the results of many units, the one that khd has to act on is the command's. */
static int result_weight(int err)
{
	switch (err) {
	case -ENOENT:
		return 0;
	case -EALREADY:
		return 1;
	case 0:
		return 2;
	case -ESTALE:
		return 3;
	case -EINPROGRESS:
		return 4;
	case -EBUSY:
		return 5;
	}
	return 6;
}

static int result_merge(int all, int one)
{
	return result_weight(one) > result_weight(all) ? one : all;
}

static int revoke(struct kz_instance *instance, struct kz_region *region,
		  struct khazana_cmd *cmd)
{
	struct kz_revoke_group *group = NULL;
	struct khazana_cmd before = *cmd;
	int err, result = -ENOENT;
	u64 i;

	for (i = 0; i < cmd->count; i++) {
		struct khazana_cmd one = *cmd;

		err = revoke_unit(region, cmd, cmd->unit + i, &group, &one);
		if (!i)
			before = one;
		result = result_merge(result, err);
		cond_resched();
	}
	if (group) {
		struct khazana_request *req = &group->notice->req;

		req->op = KHAZANA_REQ_REVOKED;
		req->region = region->handle;
		req->unit = cmd->unit;
		req->count = cmd->count;
		req->token = before.token;
		req->cookie = cmd->cookie;
		req->uflags = before.uflags;
		req->want = before.right;
		kz_revoke_group_end(instance, group, true);
	}
	*cmd = before;
	return result;
}

static int release(struct kz_instance *instance, struct kz_region *region,
		   struct khazana_cmd *cmd)
{
	const struct kz_page_event event = { .type = KZ_EV_RELEASE, .token = cmd->token };

	return unit_step(region, cmd->unit, &event);
}

static int fail(struct kz_instance *instance, struct kz_region *region,
		struct khazana_cmd *cmd)
{
	int err, result = -ENOENT;
	u64 i;

	if (cmd->error > MAX_ERRNO)
		return -EINVAL;
	if (cmd->error)
		kz_stat_inc(instance, KZ_STAT_FAILED);
	if (!region)
		return kz_call_answer(instance, cmd->request, -(int)cmd->error, NULL, 0);
	if (cmd->request) {
		err = kz_call_answer(instance, cmd->request, -(int)cmd->error, NULL, 0);
		if (err != -ENOENT)
			return err;
	}
	for (i = 0; i < cmd->count; i++) {
		struct kz_unit *unit = kz_unit_find(region, cmd->unit + i);

		err = unit ? kz_unit_fail(unit, cmd->request, -(int)cmd->error) : -ENOENT;
		if (unit)
			kz_unit_put(unit);
		result = result_merge(result, err);
	}
	return result;
}

static int frames(struct kz_instance *instance, struct kz_region *region,
		  struct khazana_cmd *cmd)
{
	struct kz_unit *unit = kz_unit_get(region, cmd->unit);
	int err;

	if (IS_ERR(unit))
		return PTR_ERR(unit);
	mutex_lock(&unit->mutex);
	err = kz_unit_frame(unit, cmd->flags);
	unit_report(unit, cmd);
	mutex_unlock(&unit->mutex);
	kz_unit_put(unit);
	return err;
}

static int epoch(struct kz_instance *instance, struct kz_region *region,
		 struct khazana_cmd *cmd)
{
	const struct kz_page_event event = { .type = KZ_EV_EPOCH, .token = cmd->token };
	struct kz_unit *unit;
	u64 index = 0;

	xa_lock(&region->units);
	if (cmd->token < region->floor) {
		xa_unlock(&region->units);
		return -ESTALE;
	}
	region->floor = cmd->token;
	xa_unlock(&region->units);
	while ((unit = kz_unit_next(region, &index))) {
		kz_unit_step(unit, &event);
		kz_unit_put(unit);
		cond_resched();
	}
	return 0;
}

static int lease(struct kz_instance *instance, struct kz_region *unused,
		 struct khazana_cmd *cmd)
{
	return kz_lease_set(instance, cmd->lease, cmd->time_ns);
}

static int resume(struct kz_instance *instance, struct kz_region *region,
		  struct khazana_cmd *cmd)
{
	const struct kz_page_event event = { .type = KZ_EV_RESUME, .token = cmd->token };
	struct kz_unit *unit = kz_unit_find(region, cmd->unit);
	int err = -ESTALE;
	u32 act = 0;

	if (!unit)
		return -ENOENT;
	mutex_lock(&unit->mutex);
	if (kz_region_valid(region)) {
		kz_inject_delay(KZ_POINT_COMMIT);
		err = kz_unit_step_locked(unit, &event, &act);
		if (!err)
			kz_unit_enforce(unit, &act);
	}
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	kz_unit_put(unit);
	return err;
}

static int lost(struct kz_instance *instance, struct kz_region *region,
		struct khazana_cmd *cmd)
{
	const struct kz_page_event event = {
		.type = KZ_EV_LOST, .token = cmd->token, .flags = cmd->flags,
	};

	return unit_step(region, cmd->unit, &event);
}

static int safe(struct kz_instance *instance, struct kz_region *region,
		struct khazana_cmd *cmd)
{
	const struct kz_page_event event = {
		.type = KZ_EV_SAFE, .token = cmd->token, .version = cmd->version,
	};

	return unit_step(region, cmd->unit, &event);
}

static int unlend(struct kz_instance *instance, struct kz_region *region,
		  struct khazana_cmd *cmd)
{
	const struct kz_page_event event = { .type = KZ_EV_UNLEND };

	return unit_step(region, cmd->unit, &event);
}

static int poison(struct kz_instance *instance, struct kz_region *region,
		  struct khazana_cmd *cmd)
{
	kz_region_poison(region);
	return 0;
}

static int unit_get(struct kz_instance *instance, struct kz_region *region,
		    struct khazana_cmd *cmd)
{
	const struct kz_page_event lend = { .type = KZ_EV_LEND };
	struct kz_unit *unit = kz_unit_find(region, cmd->unit);

	if (!unit)
		return -ENOENT;
	if (cmd->flags & KHAZANA_CMDF_LEND)
		kz_unit_step(unit, &lend);
	unit_report(unit, cmd);
	kz_unit_put(unit);
	return 0;
}

static int inventory(struct kz_instance *instance, struct kz_region *region,
		     struct khazana_cmd *cmd)
{
	u64 index = cmd->unit;
	struct kz_unit *unit = kz_unit_next(region, &index);

	if (!unit)
		return -ENOENT;
	cmd->unit = unit->index;
	unit_report(unit, cmd);
	kz_unit_put(unit);
	return 0;
}

static int region_get(struct kz_instance *instance, struct kz_region *unused,
		      struct khazana_cmd *cmd)
{
	struct kz_region *region = kz_region_next(instance, cmd->region);
	const struct kz_lease *lease;

	if (!region)
		return -ENOENT;
	lease = READ_ONCE(region->lease);
	cmd->region = region->handle;
	cmd->addr = region->start;
	cmd->length = region->length;
	cmd->generation = region->generation;
	cmd->unit_shift = region->unit_shift;
	cmd->lease = lease ? lease->id : 0;
	cmd->time_ns = lease ? READ_ONCE(lease->end_ns) : 0;
	cmd->wait_ms = READ_ONCE(region->wait_ms);
	cmd->residency_us = div_u64(READ_ONCE(region->residency_ns), NSEC_PER_USEC);
	cmd->flags = READ_ONCE(region->flags);
	cmd->floor = READ_ONCE(region->floor);
	cmd->version = READ_ONCE(region->key_serial);
	cmd->count = kz_region_attachments(region);
	kz_region_put(region);
	return 0;
}

static int state(struct kz_instance *instance, struct kz_region *unused,
		 struct khazana_cmd *cmd)
{
	cmd->time_ns = ktime_get_boottime_ns();
	cmd->count = READ_ONCE(instance->frames.in_use);
	return 0;
}

static int limit(struct kz_instance *instance, struct kz_region *unused,
		 struct khazana_cmd *cmd)
{
	u64 max = cmd->count;
	u32 used;
	int err;

	err = kz_frames_limit(&instance->frames, max);
	if (err)
		return err;
	used = READ_ONCE(instance->frames.in_use);
	if (used > max)
		kz_reclaim_run(instance, used - max);
	cmd->count = READ_ONCE(instance->frames.in_use);
	return 0;
}

static int parked(struct kz_instance *instance, struct kz_region *unused,
		  struct khazana_cmd *cmd)
{
	struct kz_parked *entry = NULL;

	mutex_lock(&instance->parked.lock);
	if (cmd->cookie <= U32_MAX)
		entry = kz_parked_next(&instance->parked, cmd->cookie);
	if (entry) {
		cmd->cookie = entry->id;
		cmd->region = entry->region->handle;
		cmd->unit = entry->unit;
		cmd->token = entry->token;
		cmd->version = entry->version;
		cmd->time_ns = entry->time_ns;
		cmd->frame = frame_index(entry->frame);
	}
	mutex_unlock(&instance->parked.lock);
	return entry ? 0 : -ENOENT;
}

static int parked_drop(struct kz_instance *instance, struct kz_region *unused,
		       struct khazana_cmd *cmd)
{
	return cmd->cookie <= U32_MAX ? kz_parked_drop(instance, cmd->cookie) : -ENOENT;
}

/**
 * struct command - how a command is run
 * @run: the command; the region has a reference and is NULL if not @region
 * @flags: KHAZANA_CMDF_* that are allowed
 * @region: the command names a region
 * @units: and units in it
 */
struct command {
	int (*run)(struct kz_instance *instance, struct kz_region *region,
		   struct khazana_cmd *cmd);
	u32 flags;
	bool region;
	bool units;
};

static const struct command commands[] = {
	[KHAZANA_CMD_REGION_ADD] = { region_add, KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO },
	[KHAZANA_CMD_REGION_SET] = { region_set, KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO, true },
	[KHAZANA_CMD_REGION_DEL] = { region_del, KHAZANA_CMDF_FORCE, true },
	[KHAZANA_CMD_ATTACH_DONE] = { attach_done, 0, true },
	[KHAZANA_CMD_COMMIT] = { commit, KHAZANA_CMDF_OWNED | KHAZANA_CMDF_DROPPABLE |
				 KHAZANA_CMDF_ZERO | KHAZANA_CMDF_HELD | KHAZANA_CMDF_MARK |
				 KHAZANA_CMDF_DATA, true, true },
	[KHAZANA_CMD_REVOKE] = { revoke, KHAZANA_CMDF_KEEP | KHAZANA_CMDF_LOCK_OK |
				 KHAZANA_CMDF_LEND, true, true },
	[KHAZANA_CMD_RELEASE] = { release, 0, true, true },
	[KHAZANA_CMD_FAIL] = { fail, 0, true, true },
	[KHAZANA_CMD_FRAMES] = { frames, KHAZANA_CMDF_TRY, true, true },
	[KHAZANA_CMD_EPOCH] = { epoch, 0, true },
	[KHAZANA_CMD_LEASE] = { lease },
	[KHAZANA_CMD_RESUME] = { resume, 0, true, true },
	[KHAZANA_CMD_LOST] = { lost, KHAZANA_CMDF_NOPOISON, true, true },
	[KHAZANA_CMD_UNIT_GET] = { unit_get, KHAZANA_CMDF_LEND, true, true },
	[KHAZANA_CMD_INVENTORY] = { inventory, 0, true },
	[KHAZANA_CMD_REGION_GET] = { region_get },
	[KHAZANA_CMD_STATE] = { state },
	[KHAZANA_CMD_LIMIT] = { limit },
	[KHAZANA_CMD_POISON] = { poison, 0, true },
	[KHAZANA_CMD_SAFE] = { safe, 0, true, true },
	[KHAZANA_CMD_UNLEND] = { unlend, 0, true, true },
	[KHAZANA_CMD_PARKED] = { parked },
	[KHAZANA_CMD_PARKED_DROP] = { parked_drop },
};

/* The region that a command names.  Most of a batch name the same: @last is kept for the next. */
static struct kz_region *command_region(struct kz_instance *instance, u32 handle,
					struct kz_region **last)
{
	if (*last && (*last)->handle == handle && !READ_ONCE((*last)->dead))
		return *last;
	if (*last)
		kz_region_put(*last);
	*last = kz_region_find(instance, handle);
	return *last;
}

static int command_run(struct kz_instance *instance, struct khazana_cmd *cmd,
		       struct kz_region **last)
{
	const struct command *command;
	struct kz_region *region = NULL;
	int err;

	if (cmd->op >= ARRAY_SIZE(commands) || !commands[cmd->op].run)
		return -EINVAL;
	command = &commands[cmd->op];
	if (cmd->flags & ~command->flags)
		return -EINVAL;
	/* FAIL of a request that is not about units names no region. */
	if (command->region && (cmd->region || cmd->op != KHAZANA_CMD_FAIL)) {
		region = command_region(instance, cmd->region, last);
		if (!region)
			return -ENOENT;
	}
	if (!cmd->count)
		cmd->count = 1;
	err = 0;
	if (region && command->units) {
		if (cmd->count > KHAZANA_RANGE_UNITS_MAX)
			err = -EINVAL;
		else if (cmd->unit >= region->units_max ||
			 cmd->count > region->units_max - cmd->unit)
			err = -ERANGE;
	}
	if (!err)
		err = command->run(instance, region, cmd);
	return err;
}

/**
 * kz_command_batch() - run commands, in order
 * @daemon: who gives them
 * @batch: where they are
 *
 * Context: may sleep, a page lock at a time.  Return: how many ran, or EINVAL, E2BIG,
 * ENODEV (not the registered khd any more), EFAULT, EINTR (killed).
 */
int kz_command_batch(struct kz_daemon *daemon, const struct khazana_batch *batch)
{
	struct khazana_cmd __user *user = u64_to_user_ptr(batch->cmds);
	struct kz_instance *instance = daemon->instance;
	struct kz_region *region = NULL;
	struct khazana_cmd cmd;
	int err = 0;
	u32 i;

	if (batch->size < sizeof(*batch))
		return -EINVAL;
	if (batch->size > sizeof(*batch))
		return -E2BIG;
	if (!batch->count || batch->count > KHAZANA_CMDS_MAX)
		return -EINVAL;
	for (i = 0; i < batch->count; i++) {
		err = READ_ONCE(instance->queue.daemon) != daemon ? -ENODEV :
		      fatal_signal_pending(current) ? -EINTR :
		      copy_from_user(&cmd, user + i, sizeof(cmd)) ? -EFAULT : 0;
		if (err)
			break;
		cmd.result = command_run(instance, &cmd, &region);
		trace_khazana_command(&cmd);
		if (copy_to_user(user + i, &cmd, sizeof(cmd))) {
			err = -EFAULT;
			break;
		}
	}
	if (region)
		kz_region_put(region);
	return i ?: err;
}
