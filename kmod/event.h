/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * event.h - what an operator wants to know, multicast by generic netlink
 *
 * Events of one instance are numbered from 1, also those that nobody received: a
 * listener that sees a gap knows that it missed some.  Events are hints
 * (counters are the record): without memory an event is dropped, and its number is used up.
 *
 * Every function may be called in any context but hard interrupt, under spinlocks and in
 * reclaim: nothing here sleeps, allocates with more than GFP_NOWAIT, or takes a lock of an
 * instance.
 */
#ifndef _KZ_EVENT_H
#define _KZ_EVENT_H

#include <linux/types.h>
#include <linux/atomic.h>
#include <linux/rcupdate.h>
#include <linux/khazana.h>

struct net;

/**
 * struct kz_events - event state of an instance; embed it as `events`
 * @net: where they are multicast; the instance must outlive the last call
 * @seq: number of the last event
 * @dropped: events lost for want of memory
 * @dead: the namespace is going; nothing is sent any more
 */
struct kz_events {
	struct net *net;
	atomic64_t seq;
	atomic64_t dropped;
	bool dead;
};

static inline void kz_events_init(struct kz_events *events, struct net *net)
{
	events->net = net;
	atomic64_set(&events->seq, 0);
	atomic64_set(&events->dropped, 0);
	events->dead = false;
}

/* Before the namespace goes; whoever sends an event then is through on return. Sleeps. */
static inline void kz_events_stop(struct kz_events *events)
{
	WRITE_ONCE(events->dead, true);
	synchronize_rcu();
}

/* A khd registered, or its file was closed. */
void kz_event_khd_registered(struct kz_events *events, u32 node);
void kz_event_khd_gone(struct kz_events *events, u32 node);

/* A region became known to the module, or went. @start is its first address. */
void kz_event_region_added(struct kz_events *events, u32 region, struct khazana_addr start,
			   u64 length);
void kz_event_region_removed(struct kz_events *events, u32 region, struct khazana_addr start);

/* Lease @lease ended; @units were taken out of the address spaces, @dirty of them with stores. */
void kz_event_lease_expired(struct kz_events *events, u32 lease, u64 units, u64 dirty);

/* Stores to the unit at @addr are lost. */
void kz_event_unit_lost(struct kz_events *events, u32 region, struct khazana_addr addr, u64 token);

/* An attachment of @pid was poisoned: it gets SIGBUS and ESTALE until it attaches anew. */
void kz_event_attachment_poisoned(struct kz_events *events, u32 region, struct khazana_addr start,
				  u32 pid);

/* A frame stayed referenced after its revoke and was left to its holder. */
void kz_event_frame_orphaned(struct kz_events *events, u32 region, struct khazana_addr addr);

/* The limit of frames is reached; the caller says so at most once a second. */
void kz_event_frames_exhausted(struct kz_events *events, u64 limit);

/* Stores to the unit at @addr are lost, and not parked: there is no room, or no memory. */
void kz_event_parked_full(struct kz_events *events, u32 region, struct khazana_addr addr,
			  u64 token, u64 limit);

/* A thread gave up waiting for khd after @waited_ms: it gets SIGBUS or an errno. */
void kz_event_wait_timeout(struct kz_events *events, u32 region, struct khazana_addr addr, u32 pid,
			   u32 waited_ms);

#endif /* _KZ_EVENT_H */
