/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trace.h - tracepoints on every edge of the unit's record and of the queue
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM khazana

#if !defined(KZ_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KZ_TRACE_H

#include <linux/khazana.h>
#include <linux/tracepoint.h>

#include "region.h"
#include "unit.h"

#define show_right(right) __print_symbolic(right, { 0, "none" }, { 1, "read" }, { 2, "write" })
#define show_state(state) __print_symbolic(state, { 0, "stable" }, { 1, "fetching" }, \
	{ 2, "upgrading" }, { 3, "revoking" }, { 4, "expired-dirty" })
#define show_event(event) __print_symbolic(event, \
	{ KZ_EV_FAULT, "fault" }, { KZ_EV_FRAME, "frame" }, { KZ_EV_COMMIT, "commit" }, \
	{ KZ_EV_REVOKE, "revoke" }, { KZ_EV_REFS_GONE, "refs-gone" }, \
	{ KZ_EV_REFS_TIMEOUT, "refs-timeout" }, { KZ_EV_RELEASE, "release" }, \
	{ KZ_EV_FAIL, "fail" }, { KZ_EV_EXPIRE, "expire" }, { KZ_EV_RESUME, "resume" }, \
	{ KZ_EV_LOST, "lost" }, { KZ_EV_DROP, "drop" }, { KZ_EV_STORE, "store" }, \
	{ KZ_EV_LOCK, "lock" }, { KZ_EV_UNLOCK, "unlock" }, \
	{ KZ_EV_DAEMON_GONE, "daemon-gone" }, { KZ_EV_LEND, "lend" }, \
	{ KZ_EV_UNLEND, "unlend" }, { KZ_EV_EPOCH, "epoch" })

TRACE_EVENT(khazana_unit,
	TP_PROTO(const struct kz_unit *unit, const struct kz_page_event *event, u8 state,
		 u8 right, int err, u32 act),
	TP_ARGS(unit, event, state, right, err, act),
	TP_STRUCT__entry(
		__field(u32, region)
		__field(u64, unit)
		__field(u32, event)
		__field(u64, token)
		__field(u64, held)
		__field(u8, state)
		__field(u8, right)
		__field(u8, new_state)
		__field(u8, new_right)
		__field(u32, flags)
		__field(u32, act)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->region = unit->region->handle;
		__entry->unit = unit->index;
		__entry->event = event->type;
		__entry->token = event->token;
		__entry->held = unit->page.token;
		__entry->state = state;
		__entry->right = right;
		__entry->new_state = unit->page.state;
		__entry->new_right = unit->page.right;
		__entry->flags = unit->page.flags;
		__entry->act = act;
		__entry->err = err;
	),
	TP_printk("region=%u unit=%llu %s token=%llx held=%llx %s/%s -> %s/%s flags=%x act=%x err=%d",
		  __entry->region, __entry->unit, show_event(__entry->event), __entry->token,
		  __entry->held, show_state(__entry->state), show_right(__entry->right),
		  show_state(__entry->new_state), show_right(__entry->new_right),
		  __entry->flags, __entry->act, __entry->err)
);

TRACE_EVENT(khazana_request,
	TP_PROTO(const struct khazana_request *req),
	TP_ARGS(req),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, op)
		__field(u32, region)
		__field(u64, unit)
		__field(u64, count)
		__field(u64, token)
		__field(u32, want)
		__field(u32, flags)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->id = req->id;
		__entry->op = req->op;
		__entry->region = req->region;
		__entry->unit = req->unit;
		__entry->count = req->count;
		__entry->token = req->token;
		__entry->want = req->want;
		__entry->flags = req->flags;
		__entry->error = req->error;
	),
	TP_printk("id=%llu op=%u region=%u unit=%llu+%llu token=%llx want=%s flags=%x error=%d",
		  __entry->id, __entry->op, __entry->region, __entry->unit, __entry->count,
		  __entry->token, show_right(__entry->want), __entry->flags, __entry->error)
);

TRACE_EVENT(khazana_command,
	TP_PROTO(const struct khazana_cmd *cmd),
	TP_ARGS(cmd),
	TP_STRUCT__entry(
		__field(u32, op)
		__field(u32, region)
		__field(u64, unit)
		__field(u64, count)
		__field(u64, token)
		__field(u64, request)
		__field(u32, flags)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->op = cmd->op;
		__entry->region = cmd->region;
		__entry->unit = cmd->unit;
		__entry->count = cmd->count;
		__entry->token = cmd->token;
		__entry->request = cmd->request;
		__entry->flags = cmd->flags;
		__entry->result = cmd->result;
	),
	TP_printk("op=%u region=%u unit=%llu+%llu token=%llx request=%llu flags=%x result=%d",
		  __entry->op, __entry->region, __entry->unit, __entry->count, __entry->token,
		  __entry->request, __entry->flags, __entry->result)
);

TRACE_EVENT(khazana_fault_error,
	TP_PROTO(const struct kz_unit *unit, int err),
	TP_ARGS(unit, err),
	TP_STRUCT__entry(
		__field(u32, region)
		__field(u64, unit)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->region = unit->region->handle;
		__entry->unit = unit->index;
		__entry->err = err;
	),
	TP_printk("region=%u unit=%llu err=%d", __entry->region, __entry->unit, __entry->err)
);

TRACE_EVENT(khazana_region,
	TP_PROTO(const struct kz_region *region, bool added),
	TP_ARGS(region, added),
	TP_STRUCT__entry(
		__field(u32, region)
		__field(u64, hi)
		__field(u64, lo)
		__field(u64, length)
		__field(bool, added)
	),
	TP_fast_assign(
		__entry->region = region->handle;
		__entry->hi = region->start.hi;
		__entry->lo = region->start.lo;
		__entry->length = region->length;
		__entry->added = added;
	),
	TP_printk("region=%u %016llx%016llx+%llx %s", __entry->region, __entry->hi,
		  __entry->lo, __entry->length, __entry->added ? "added" : "removed")
);

TRACE_EVENT(khazana_lease,
	TP_PROTO(u32 lease, u64 end_ns, u64 units),
	TP_ARGS(lease, end_ns, units),
	TP_STRUCT__entry(
		__field(u32, lease)
		__field(u64, end_ns)
		__field(u64, units)
	),
	TP_fast_assign(
		__entry->lease = lease;
		__entry->end_ns = end_ns;
		__entry->units = units;
	),
	TP_printk("lease=%u end=%llu units=%llu", __entry->lease, __entry->end_ns,
		  __entry->units)
);

TRACE_EVENT(khazana_daemon,
	TP_PROTO(u32 node, bool registered),
	TP_ARGS(node, registered),
	TP_STRUCT__entry(
		__field(u32, node)
		__field(bool, registered)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->registered = registered;
	),
	TP_printk("node=%u %s", __entry->node, __entry->registered ? "registered" : "gone")
);

#endif /* KZ_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
