/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later */
/*
 * page.h - the record of one unit on one node, and its transitions
 *
 * Pure: no locks, no clock, no memory.  The module and the simulator link
 * the same code.  See page.c for the diagram.
 */
#ifndef KZ_PAGE_H
#define KZ_PAGE_H

#include <linux/types.h>
#include <linux/khazana.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif

/* The frame slots of a record. */
#define KZ_FRAME_CURRENT	(1u << 0) /* the copy, or (version NONE) where one is received */
#define KZ_FRAME_HANDOFF	(1u << 1) /* kept for others until RELEASE */

/* What becomes of the current frame when a REVOKE is over. */
enum kz_dispose {
	KZ_DISPOSE_STAY,	/* a READ right remains */
	KZ_DISPOSE_FREE,	/* nobody needs it */
	KZ_DISPOSE_HANDOFF,	/* it may be the last copy */
};

/**
 * struct kz_page - the record of one unit
 * @token: of the right held, or of the last one that was
 * @floor: commands with a lower token are refused
 * @version: of the current frame; KHAZANA_VERSION_NONE if its contents are not valid
 * @handoff_token: a RELEASE with at least this token frees the HANDOFF frame
 * @handoff_version: of the HANDOFF frame
 * @flags: KHAZANA_UNIT_*
 * @right: enum khazana_right
 * @state: enum khazana_state
 * @want: right asked of khd, NONE if nothing is pending
 * @frames: KZ_FRAME_* that exist
 * @dispose: enum kz_dispose, meaningful in REVOKING
 * @resume: right before the lease ended, that RESUME gives back
 * @handoff_dirty: the HANDOFF frame has stores that nobody else may have seen
 * @lent: khd reads the frame, though it is DROPPABLE
 * @deferred: a REVOKE met an explicit lock and waits for NOTIFY_UNLOCKED
 * @writers: explicit WRITE locks
 * @readers: explicit READ locks
 */
struct kz_page {
	__u64 token;
	__u64 floor;
	__u64 version;
	__u64 handoff_token;
	__u64 handoff_version;
	__u32 flags;
	__u8 right;
	__u8 state;
	__u8 want;
	__u8 frames;
	__u8 dispose;
	__u8 resume;
	__u8 handoff_dirty;
	__u8 deferred;
	__u16 writers;
	__u16 readers;
	__u8 lent;
};

enum kz_page_event_type {
	KZ_EV_FAULT,		/* a thread or a lock needs right @right */
	KZ_EV_FRAME,		/* khd, or a miss, wants a frame to receive into; flags: TRY */
	KZ_EV_COMMIT,		/* right, token, version, version_held; OWNED DROPPABLE ZERO HELD DATA */
	KZ_EV_REVOKE,		/* right that may remain, token; KEEP LOCK_OK LEND */
	KZ_EV_REFS_GONE,	/* nobody holds a reference to the zapped frame */
	KZ_EV_REFS_TIMEOUT,	/* somebody still does, and the wait is over */
	KZ_EV_RELEASE,		/* token: the HANDOFF frame may go */
	KZ_EV_FAIL,		/* the pending request ends without a grant */
	KZ_EV_EXPIRE,		/* the lease is over */
	KZ_EV_RESUME,		/* token: an expired right is valid again */
	KZ_EV_LOST,		/* token: an expired right is gone for good; NOPOISON */
	KZ_EV_DROP,		/* reclaim */
	KZ_EV_STORE,		/* a store goes into the frame */
	KZ_EV_LOCK,		/* an explicit lock of right @right is taken */
	KZ_EV_UNLOCK,		/* and given back */
	KZ_EV_DAEMON_GONE,	/* khd died: what it was asked is asked again */
	KZ_EV_SAFE,		/* token, version: a store has this version */
	KZ_EV_LEND,		/* khd will read the frame */
	KZ_EV_UNLEND,		/* and has read it */
	KZ_EV_EPOCH,		/* token: the lowest of the new epoch */
};

/**
 * struct kz_page_event - what happens to a unit
 * @type: enum kz_page_event_type
 * @right: see there
 * @flags: KHAZANA_CMDF_*
 * @token: see there
 * @version: COMMIT: what the frame will be at
 * @version_held: COMMIT with HELD: version of the frame to use; with ZERO: version
 *	that the zeros replace, 0 or KHAZANA_VERSION_NONE if there is none
 * @wrong_frame: COMMIT of what was received into a frame: it is not the current one
 */
struct kz_page_event {
	__u32 type;
	__u32 right;
	__u32 flags;
	__u64 token;
	__u64 version;
	__u64 version_held;
	bool wrong_frame;
};

/*
 * What the caller has to do, in this order.  ZAP and MKCLEAN come with the
 * unit's pages locked, before anybody hears of the transition.
 */
#define KZ_ACT_ZAP		(1u << 0) /* unmap the current frame everywhere */
#define KZ_ACT_MKCLEAN		(1u << 1) /* write-protect it everywhere */
#define KZ_ACT_CHECK_REFS	(1u << 2) /* REVOKING: look for references, then REFS_GONE */
#define KZ_ACT_ORPHAN		(1u << 3) /* its holder keeps the frame; go on with a copy */
#define KZ_ACT_PARK		(1u << 4) /* put the current frame aside */
#define KZ_ACT_FREE_FRAME	(1u << 5) /* free the current frame */
#define KZ_ACT_FREE_HANDOFF	(1u << 6) /* free the HANDOFF frame */
#define KZ_ACT_MOVE_TO_HANDOFF	(1u << 7) /* current slot to HANDOFF slot */
#define KZ_ACT_TAKE_HANDOFF	(1u << 8) /* HANDOFF slot to current slot */
#define KZ_ACT_NEW_FRAME	(1u << 9) /* put a new frame into the current slot */
#define KZ_ACT_ZERO		(1u << 10) /* clear the current frame */
#define KZ_ACT_UNQUEUE		(1u << 11) /* the pending request is answered or void */
#define KZ_ACT_QUEUE		(1u << 12) /* ask khd for @want */
#define KZ_ACT_WAKE		(1u << 13) /* wake all who wait for the unit */
#define KZ_ACT_NOTIFY_UNLOCKED	(1u << 14) /* tell khd that the locks are gone */
#define KZ_ACT_NOTIFY_DROPPED	(1u << 15) /* tell khd that reclaim dropped the copy */
#define KZ_ACT_POISON		(1u << 16) /* poison the attachments of the region */

void kz_page_init(struct kz_page *page, __u64 floor);
int kz_page_step(struct kz_page *page, const struct kz_page_event *event, __u32 *actions);
int kz_page_check(const struct kz_page *page);
bool kz_page_droppable(const struct kz_page *page);
bool kz_page_blank(const struct kz_page *page);

/* The right that a FAULT can use at this moment. */
static inline bool kz_page_usable(const struct kz_page *page, __u32 want)
{
	return page->right >= want && page->state != KHAZANA_STATE_REVOKING;
}

#endif /* KZ_PAGE_H */
