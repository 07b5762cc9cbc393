/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * report.c - this node's inventory: what its module holds, told to homes
 */
#include <errno.h>
#include <stdlib.h>
#include "core.h"

#define CURSORS 64
#define PRESSURE_RECORDS 1024 /* looked at for one notice of the module */
#define PRESSURE_UNITS 256 /* asked to be stored then */

typedef void found_record(struct kh_region *region, const struct khazana_cmd *cmd, void *context);

/*
 * All records of a region.  One command finds the next record at or behind its cursor;
 * a batch of adjacent cursors finds as many where the records are dense.
 */
static void each_record(struct kh_region *region, found_record *found, void *context)
{
	struct khazana_cmd cmds[CURSORS];
	uint64_t cursor = 0;
	unsigned int i;

	while (cursor < region->units) {
		for (i = 0; i < CURSORS; i++)
			cmds[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_INVENTORY,
							.region = region->handle,
							.unit = cursor + i,
							.frame = KH_NO_FRAME,
							.frame_handoff = KH_NO_FRAME };
		kh_commands(region->owner, cmds, CURSORS);
		for (i = 0; i < CURSORS; i++) {
			if (cmds[i].result)
				return;
			if (cmds[i].unit < cursor)
				continue;
			found(region, &cmds[i], context);
			cursor = cmds[i].unit + 1;
		}
	}
}

static void put_record(struct kh_region *region, const struct khazana_cmd *cmd, void *context)
{
	const struct kh_wire_head *ask = context;
	struct kh_node *node = region->owner;
	struct kh_wire_head head = kh_head(region);
	struct kh_wire_record *e;
	bool handoff = cmd->uflags & KHAZANA_UNIT_HANDOFF;

	if (cmd->version == KHAZANA_VERSION_NONE && !handoff)
		return;
	head.request = ask->request;
	e = kh_out(node, kh_peer_find(node, ask->party), KH_WIRE_INVENTORY, &head);
	e->unit = cmd->unit;
	e->token = cmd->token;
	e->version = cmd->version;
	e->token_handoff = handoff ? cmd->token_handoff : 0;
	e->version_handoff = handoff ? cmd->version_held : KHAZANA_VERSION_NONE;
	e->right = (uint16_t)cmd->right;
	e->state = (uint16_t)cmd->state;
	e->uflags = cmd->uflags;
}

/* A home wants to know what is held of its regions: all of it, and nothing is under way before. */
void kh_on_ask(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
	       const void *data)
{
	const struct kh_wire_ask *e = kh_entries(h);
	struct kh_wire_head ask = { .request = e->id, .party = from->id };
	struct kh_wire_ask *end;
	struct kh_region *region;

	kh_ask_flush(node);
	kh_lease_asked(node, from->id, e->id);
	kh_list_each (region, &node->regions, node) {
		if (region->home_id && region->home_id != from->id)
			continue;
		if (region->home_id)
			kh_region_epoch(region, h->epoch);
		region->resume_count = 0; /* what is listed now is judged anew */
		if (region->handle)
			each_record(region, put_record, &ask);
	}
	end = kh_out(node, from, KH_WIRE_END, h);
	end->id = e->id;
}

static void put_hask(struct kh_region *region, const struct khazana_cmd *cmd, void *context)
{
	struct kh_wire_head head = kh_head(region);
	struct kh_wire_hdone *e;

	if (!(cmd->uflags & KHAZANA_UNIT_HANDOFF))
		return;
	e = kh_out(region->owner, context, KH_WIRE_HASK, &head);
	e->unit = cmd->unit;
	e->token = cmd->token_handoff;
}

/* Ask @home which HANDOFF frames may go (R8). */
void kh_report_hask(struct kh_node *node, struct kh_peer *home)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->home_id == home->id && region->handle)
			each_record(region, put_hask, home);
}

static void put_backup(struct kh_region *region, const struct khazana_cmd *cmd, void *context)
{
	struct kh_wire_head head = kh_head(region);
	struct kh_wire_evict *e;

	if (!(cmd->uflags & KHAZANA_UNIT_HANDOFF) || cmd->state != KHAZANA_STATE_STABLE)
		return;
	e = kh_out(region->owner, context, KH_WIRE_EVICT, &head);
	e->unit = cmd->unit;
	e->token = cmd->token_handoff;
	e->flags = KH_EVICT_BACKUP;
}

/* Ask @home to have a unit stored, if that is what keeps it from being dropped. */
static bool put_owned(struct kh_region *region, const struct khazana_cmd *cmd, struct kh_peer *home)
{
	struct kh_wire_head head = kh_head(region);
	struct kh_wire_evict *e;

	if (!(cmd->uflags & KHAZANA_UNIT_OWNED) || cmd->state != KHAZANA_STATE_STABLE ||
	    (cmd->uflags & KHAZANA_UNIT_LOCKED))
		return false;
	e = kh_out(region->owner, home, KH_WIRE_EVICT, &head);
	e->unit = cmd->unit;
	e->token = cmd->token;
	e->flags = KH_EVICT_STORE;
	return true;
}

/*
 * Ask @home to have OWNED units stored, some at a time: then they may be dropped (R29).  Those
 * that come behind the last ones are next; behind the end of the region, the first.
 */
static void report_owned(struct kh_region *region, struct kh_peer *home)
{
	struct khazana_cmd cmds[CURSORS];
	bool wrapped = !region->pressure_next;
	unsigned int i, seen = 0, n = 0;

	while (seen < PRESSURE_RECORDS && n < PRESSURE_UNITS) {
		for (i = 0; i < CURSORS; i++)
			cmds[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_INVENTORY,
							.region = region->handle,
							.unit = region->pressure_next + i };
		kh_commands(region->owner, cmds, CURSORS);
		for (i = 0; i < CURSORS && !cmds[i].result; i++) {
			if (cmds[i].unit < region->pressure_next)
				continue;
			n += put_owned(region, &cmds[i], home);
			seen++;
			region->pressure_next = cmds[i].unit + 1;
		}
		if (i == CURSORS)
			continue;
		region->pressure_next = 0;
		if (wrapped)
			return;
		wrapped = true;
	}
}

/**
 * kh_report_pressure() - frames are short
 * @waited_for: somebody waits for one: the backups are offered too (R12)
 */
void kh_report_pressure(struct kh_node *node, bool waited_for)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node) {
		struct kh_peer *home = kh_peer_find(node, region->home_id);

		if (!home || !region->handle)
			continue;
		if (waited_for)
			each_record(region, put_backup, home);
		report_owned(region, home);
	}
}

static void resume_later(struct kh_region *region, const struct kh_wire_verdict *e)
{
	if (region->resume_count == region->resume_size) {
		region->resume_size = region->resume_size ? 2 * region->resume_size : 16;
		region->resumes =
			kh_realloc(region->resumes, region->resume_size * sizeof(*region->resumes));
	}
	region->resumes[region->resume_count++] = (struct kh_resume){ e->unit, e->token };
}

/*
 * What homes decided about units whose lease had ended (R15).  Rights come back when the home has
 * said all: programs must not go on before they are told of any loss.
 */
void kh_on_verdict(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		   const void *data)
{
	const struct kh_wire_verdict *e = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct khazana_cmd *cmds;
	uint32_t i, n = 0;

	if (!region || !region->handle || region->home_id != from->id || h->epoch < region->epoch)
		return;
	cmds = kh_zalloc(h->count * sizeof(*cmds));
	for (i = 0; i < h->count; i++, e++) {
		struct khazana_cmd *cmd = &cmds[n];

		if (e->verdict == KH_VERDICT_RESUME) {
			resume_later(region, e);
			continue;
		}
		n++;
		cmd->region = region->handle;
		if (e->verdict == KH_VERDICT_POISON) {
			cmd->op = KHAZANA_CMD_POISON;
			continue;
		}
		cmd->op = KHAZANA_CMD_LOST;
		cmd->unit = e->unit;
		cmd->token = e->token;
		if (e->verdict == KH_VERDICT_STALE ||
		    (e->verdict == KH_VERDICT_LOST && (region->attr.flags & KHAZANA_CMDF_NOPOISON)))
			cmd->flags = KHAZANA_CMDF_NOPOISON;
		kh_count(node, KH_STAT_LOST);
	}
	kh_commands(node, cmds, n);
	for (i = 0; i < n; i++)
		if (cmds[i].op == KHAZANA_CMD_LOST && !cmds[i].result)
			kh_ask_lost(region, cmds[i].unit, 0);
	free(cmds);
}

static void resume(struct kh_region *region)
{
	size_t i, n = region->resume_count;
	struct khazana_cmd *cmds = kh_zalloc((n + 1) * sizeof(*cmds));

	for (i = 0; i < n; i++)
		cmds[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_RESUME,
						.region = region->handle,
						.unit = region->resumes[i].unit,
						.token = region->resumes[i].token };
	region->resume_count = 0;
	kh_commands(region->owner, cmds, (unsigned int)n);
	for (i = 0; i < n; i++) {
		kh_count(region->owner, KH_STAT_RESUMED);
		if (cmds[i].result)
			continue;
		/* The frame of a descriptor of the unit that is on its way is gone. */
		region->surprise_ns = region->owner->now;
		kh_ask_resumed(region, cmds[i].unit);
	}
	free(cmds);
}

/* @home has judged all that was listed, and every loss is told. */
void kh_report_judged(struct kh_node *node, const struct kh_peer *home)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->home_id == home->id && region->handle && region->resume_count)
			resume(region);
}

static void take_over(struct kh_node *node, const struct khazana_cmd *cmd)
{
	struct kh_region *region = kh_region_find(node, cmd->addr, cmd->generation);
	struct kh_attr attr = { .unit_shift = cmd->unit_shift };

	if (!region)
		region = kh_region_new(node, cmd->addr, cmd->length, cmd->generation, &attr);
	region->handle = cmd->region;
	region->attached = true;
	node->took_over = true;
	region->lease_set = cmd->lease;
	if (region->home_id)
		kh_region_set_module(region);
	else
		kh_resolve(node, region);
}

/* What the module still holds from an earlier khd. */
void kh_report_start(struct kh_node *node)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_GET, .region = 1 };

	while (!kh_command(node, &cmd)) {
		take_over(node, &cmd);
		cmd = (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_GET,
					    .region = cmd.region + 1 };
	}
}
