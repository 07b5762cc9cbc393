// SPDX-License-Identifier: GPL-2.0-only
/*
 * event_none.c - a module without the netlink family has no events
 */
#include "event.h"

void kz_event_khd_registered(struct kz_events *events, u32 node)
{
}

void kz_event_khd_gone(struct kz_events *events, u32 node)
{
}

void kz_event_region_added(struct kz_events *events, u32 region, struct khazana_addr start, u64 length)
{
}

void kz_event_region_removed(struct kz_events *events, u32 region, struct khazana_addr start)
{
}

void kz_event_lease_expired(struct kz_events *events, u32 lease, u64 units, u64 dirty)
{
}

void kz_event_unit_lost(struct kz_events *events, u32 region, struct khazana_addr addr, u64 token)
{
}

void kz_event_attachment_poisoned(struct kz_events *events, u32 region, struct khazana_addr start, u32 pid)
{
}

void kz_event_frame_orphaned(struct kz_events *events, u32 region, struct khazana_addr addr)
{
}

void kz_event_frames_exhausted(struct kz_events *events, u64 limit)
{
}

void kz_event_wait_timeout(struct kz_events *events, u32 region, struct khazana_addr addr, u32 pid, u32 waited_ms)
{
}

