// SPDX-License-Identifier: GPL-2.0-only
/*
 * event.c - what an operator wants to know, multicast by generic netlink
 */
#include <linux/ktime.h>
#include <linux/rcupdate.h>

#include "event.h"
#include "netlink.h"
#include "netlink_gen.h"

/* An event on its way; @skb is NULL when nobody listens or there is no memory. */
struct message {
	struct kz_events *events;
	struct sk_buff *skb;
	void *head;
	int err;
};

static void put32(struct message *message, int type, u32 value)
{
	if (!message->err)
		message->err = nla_put_u32(message->skb, type, value);
}

static void put64(struct message *message, int type, u64 value)
{
	if (!message->err)
		message->err = nla_put_u64_64bit(message->skb, type, value, KHAZANA_NLA_EVENT_PAD);
}

static void put_addr(struct message *message, struct khazana_addr addr)
{
	__be64 half[2] = { cpu_to_be64(addr.hi), cpu_to_be64(addr.lo) };

	if (!message->err)
		message->err = nla_put(message->skb, KHAZANA_NLA_EVENT_ADDR, sizeof(half), half);
}

/*
 * Number the event and begin its message. Return: whether somebody listens; then event_end() is
 * due, and the namespace stays until then.
 */
static bool event_begin(struct message *message, struct kz_events *events, const char *name)
{
	u64 seq = atomic64_inc_return(&events->seq);

	*message = (struct message){ .events = events };
	rcu_read_lock();
	if (READ_ONCE(events->dead) || !kz_netlink_ready() ||
	    !genl_has_listeners(&kz_nl_family, events->net, KZ_NL_MCGRP_EVENTS))
		goto none;
	message->skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_NOWAIT | __GFP_NOWARN);
	if (!message->skb)
		goto lost;
	message->head = genlmsg_put(message->skb, 0, 0, &kz_nl_family, 0, KHAZANA_NL_CMD_EVENT);
	if (!message->head) {
		nlmsg_free(message->skb);
		goto lost;
	}
	put64(message, KHAZANA_NLA_EVENT_SEQ, seq);
	put64(message, KHAZANA_NLA_EVENT_TIME_NS, ktime_get_boottime_ns());
	put32(message, KHAZANA_NLA_EVENT_SOURCE, KHAZANA_NL_SOURCE_MODULE);
	if (!message->err)
		message->err = nla_put_string(message->skb, KHAZANA_NLA_EVENT_NAME, name);
	return true;
lost:
	atomic64_inc(&events->dropped);
none:
	rcu_read_unlock();
	return false;
}

static void event_end(struct message *message)
{
	if (message->err) {
		nlmsg_free(message->skb);
		atomic64_inc(&message->events->dropped);
	} else {
		genlmsg_end(message->skb, message->head);
		genlmsg_multicast_netns(&kz_nl_family, message->events->net, message->skb, 0,
					KZ_NL_MCGRP_EVENTS, GFP_NOWAIT | __GFP_NOWARN);
	}
	rcu_read_unlock();
}

static void event_node(struct kz_events *events, const char *name, u32 node)
{
	struct message message;

	if (!event_begin(&message, events, name))
		return;
	put32(&message, KHAZANA_NLA_EVENT_NODE, node);
	event_end(&message);
}

/**
 * kz_event_khd_registered() - a khd serves the instance
 * @events: of the instance
 * @node: its node id
 */
void kz_event_khd_registered(struct kz_events *events, u32 node)
{
	event_node(events, "khd-registered", node);
}

/**
 * kz_event_khd_gone() - the khd closed its file, or died
 * @events: of the instance
 * @node: its node id
 */
void kz_event_khd_gone(struct kz_events *events, u32 node)
{
	event_node(events, "khd-gone", node);
}

/**
 * kz_event_region_added() - the module knows a region
 * @events: of the instance
 * @region: its handle
 * @start: its first address
 * @length: bytes
 */
void kz_event_region_added(struct kz_events *events, u32 region, struct khazana_addr start,
			   u64 length)
{
	struct message message;

	if (!event_begin(&message, events, "region-added"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, start);
	put64(&message, KHAZANA_NLA_EVENT_LENGTH, length);
	event_end(&message);
}

/**
 * kz_event_region_removed() - the module forgot a region
 * @events: of the instance
 * @region: its handle
 * @start: its first address
 */
void kz_event_region_removed(struct kz_events *events, u32 region, struct khazana_addr start)
{
	struct message message;

	if (!event_begin(&message, events, "region-removed"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, start);
	event_end(&message);
}

/**
 * kz_event_lease_expired() - rights ended with their lease
 * @events: of the instance
 * @lease: its id
 * @units: taken out of the address spaces
 * @dirty: of them, those with stores
 */
void kz_event_lease_expired(struct kz_events *events, u32 lease, u64 units, u64 dirty)
{
	struct message message;

	if (!event_begin(&message, events, "lease-expired"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_LEASE, lease);
	put64(&message, KHAZANA_NLA_EVENT_UNITS, units);
	put64(&message, KHAZANA_NLA_EVENT_DIRTY, dirty);
	event_end(&message);
}

/**
 * kz_event_unit_lost() - stores to a unit are lost
 * @events: of the instance
 * @region: handle
 * @addr: of the unit
 * @token: of the right that was lost
 */
void kz_event_unit_lost(struct kz_events *events, u32 region, struct khazana_addr addr, u64 token)
{
	struct message message;

	if (!event_begin(&message, events, "unit-lost"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, addr);
	put64(&message, KHAZANA_NLA_EVENT_TOKEN, token);
	event_end(&message);
}

/**
 * kz_event_attachment_poisoned() - an attachment may have seen stores that are lost
 * @events: of the instance
 * @region: handle
 * @start: first address of the region
 * @pid: who attached, by its id in the first pid namespace
 */
void kz_event_attachment_poisoned(struct kz_events *events, u32 region, struct khazana_addr start,
				  u32 pid)
{
	struct message message;

	if (!event_begin(&message, events, "attachment-poisoned"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, start);
	put32(&message, KHAZANA_NLA_EVENT_PID, pid);
	event_end(&message);
}

/**
 * kz_event_frame_orphaned() - a frame was left to whoever holds a reference to it
 * @events: of the instance
 * @region: handle
 * @addr: of the unit
 */
void kz_event_frame_orphaned(struct kz_events *events, u32 region, struct khazana_addr addr)
{
	struct message message;

	if (!event_begin(&message, events, "frame-orphaned"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, addr);
	event_end(&message);
}

/**
 * kz_event_frames_exhausted() - the limit of frames was met
 * @events: of the instance
 * @limit: frames
 */
void kz_event_frames_exhausted(struct kz_events *events, u64 limit)
{
	struct message message;

	if (!event_begin(&message, events, "frames-exhausted"))
		return;
	put64(&message, KHAZANA_NLA_EVENT_LIMIT, limit);
	event_end(&message);
}

/**
 * kz_event_parked_full() - lost stores could not be parked
 * @events: of the instance
 * @region: handle
 * @addr: of the unit
 * @token: of the right that was lost
 * @limit: pages that may be parked
 */
void kz_event_parked_full(struct kz_events *events, u32 region, struct khazana_addr addr,
			  u64 token, u64 limit)
{
	struct message message;

	if (!event_begin(&message, events, "parked-full"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, addr);
	put64(&message, KHAZANA_NLA_EVENT_TOKEN, token);
	put64(&message, KHAZANA_NLA_EVENT_LIMIT, limit);
	event_end(&message);
}

/**
 * kz_event_wait_timeout() - a thread gave up waiting for khd
 * @events: of the instance
 * @region: handle
 * @addr: of the unit
 * @pid: of the thread's process, in the first pid namespace
 * @waited_ms: how long
 */
void kz_event_wait_timeout(struct kz_events *events, u32 region, struct khazana_addr addr, u32 pid,
			   u32 waited_ms)
{
	struct message message;

	if (!event_begin(&message, events, "wait-timeout"))
		return;
	put32(&message, KHAZANA_NLA_EVENT_REGION, region);
	put_addr(&message, addr);
	put32(&message, KHAZANA_NLA_EVENT_PID, pid);
	put32(&message, KHAZANA_NLA_EVENT_WAITED_MS, waited_ms);
	event_end(&message);
}
