// SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later
/*
 * page.c - the state machine of a unit on one node
 *
 *            FAULT fault()              COMMIT commit()
 *   STABLE ---------------> FETCHING ---------------------> STABLE
 *    NONE  <---------------             FAIL fail()          READ, WRITE
 *            FAULT(WRITE)               COMMIT, FAIL
 *   STABLE ---------------> UPGRADING --------------------> STABLE
 *    READ                       | REVOKE, EXPIRE
 *                               +-------------------------> FETCHING
 *           REVOKE revoke()           REFS_GONE, REFS_TIMEOUT settle()
 *   any right -----------> REVOKING ----------------------> STABLE, UPGRADING, FETCHING
 *           EXPIRE expire()            RESUME resume(), LOST lost(), REVOKE
 *   dirty --------------> EXPIRED_DIRTY ------------------> STABLE
 *
 * HANDOFF is a flag beside the state: a frame that was given away and is kept
 * until RELEASE.  A grant ends it: COMMIT with HELD on its version takes the
 * frame back, any other COMMIT frees it.  So a unit with a right never has one.
 * A clean OWNED copy whose lease ended keeps its frame with right NONE in
 * STABLE; a later miss moves it to HANDOFF, so that there is a slot to
 * receive into.
 *
 * LENT is another flag: khd reads a copy that may be dropped.  Until it has done so the frame
 * stays: neither reclaim nor the end of a lease frees it.
 *
 * Tokens: whatever is below @floor, or below the token of a right granted
 * since, is refused.  @floor is at least what the unit's own transitions made it, and more if
 * the record is not the unit's first one, see kz_unit_put().  Losing a right raises the floor above its token, so
 * that its COMMIT cannot run again.  RESUME, LOST and RELEASE name a token of
 * the past and are compared with that one only.
 *
 * kz_page_check() holds after each transition.
 */
#ifdef __KERNEL__
#include <linux/errno.h>
#else
#include <errno.h>
#endif
#include "page.h"
#include "plant.h"

/**
 * kz_page_init() - make the record of a unit that the node does not hold
 * @page: the record
 * @floor: lowest acceptable token, that of the region's epoch
 */
void kz_page_init(struct kz_page *page, __u64 floor)
{
	*page = (struct kz_page){
		.floor = floor,
		.version = KHAZANA_VERSION_NONE,
		.handoff_version = KHAZANA_VERSION_NONE,
	};
}

static bool has_copy(const struct kz_page *p)
{
	return (p->frames & KZ_FRAME_CURRENT) && p->version != KHAZANA_VERSION_NONE;
}

/* Neither a right nor contents; perhaps a frame to receive into. */
static bool holds_nothing(const struct kz_page *p)
{
	return p->right == KHAZANA_RIGHT_NONE && !has_copy(p) &&
	       !(p->flags & KHAZANA_UNIT_HANDOFF);
}

/**
 * kz_page_blank() - does the record say nothing but its floor?
 * @page: the record
 */
bool kz_page_blank(const struct kz_page *page)
{
	return holds_nothing(page) && page->state == KHAZANA_STATE_STABLE &&
	       page->want == KHAZANA_RIGHT_NONE && !page->frames && !page->flags;
}

static bool may_be_last(const struct kz_page *p)
{
	return (p->flags & (KHAZANA_UNIT_OWNED | KHAZANA_UNIT_DIRTY)) ||
	       p->right == KHAZANA_RIGHT_WRITE;
}

static void raise_floor(struct kz_page *p, __u64 floor)
{
	if (p->floor < floor)
		p->floor = floor;
}

/* A right ends: the COMMIT that gave it must not run again. */
static void lose_right(struct kz_page *p)
{
	if (p->right != KHAZANA_RIGHT_NONE)
		raise_floor(p, p->token + 1);
	p->right = KHAZANA_RIGHT_NONE;
	p->flags &= ~KHAZANA_UNIT_DROPPABLE;
	p->lent = 0;
}

/* The current slot is empty from now on. */
static void lose_frame(struct kz_page *p)
{
	p->frames &= ~KZ_FRAME_CURRENT;
	p->version = KHAZANA_VERSION_NONE;
	p->flags &= ~(KHAZANA_UNIT_OWNED | KHAZANA_UNIT_DIRTY | KHAZANA_UNIT_DROPPABLE |
		      KHAZANA_UNIT_TWIN);
	p->resume = KHAZANA_RIGHT_NONE;
}

static void free_frame(struct kz_page *p, __u32 *act)
{
	if (p->frames & KZ_FRAME_CURRENT)
		*act |= KZ_ACT_FREE_FRAME;
	lose_frame(p);
}

static void free_handoff(struct kz_page *p, __u32 *act)
{
	if (!(p->flags & KHAZANA_UNIT_HANDOFF))
		return;
	*act |= KZ_ACT_FREE_HANDOFF;
	p->flags &= ~KHAZANA_UNIT_HANDOFF;
	p->frames &= ~KZ_FRAME_HANDOFF;
	p->handoff_version = KHAZANA_VERSION_NONE;
	p->handoff_dirty = 0;
}

static void move_to_handoff(struct kz_page *p, __u64 token, __u32 *act)
{
	p->handoff_dirty = !!(p->flags & KHAZANA_UNIT_DIRTY);
	p->handoff_token = token;
	p->handoff_version = p->version;
	lose_frame(p);
	p->flags |= KHAZANA_UNIT_HANDOFF;
	p->frames |= KZ_FRAME_HANDOFF;
	*act |= KZ_ACT_MOVE_TO_HANDOFF;
}

/* The HANDOFF frame becomes the current one; a frame to receive into is freed. */
static void take_handoff(struct kz_page *p, __u32 *act)
{
	__u64 version = p->handoff_version;
	__u8 dirty = p->handoff_dirty;

	free_frame(p, act);
	p->frames = KZ_FRAME_CURRENT;
	p->flags &= ~KHAZANA_UNIT_HANDOFF;
	if (dirty)
		p->flags |= KHAZANA_UNIT_DIRTY;
	p->version = version;
	p->handoff_version = KHAZANA_VERSION_NONE;
	p->handoff_dirty = 0;
	*act |= KZ_ACT_TAKE_HANDOFF;
}

/* Nothing is asked of khd any more. */
static void end_pending(struct kz_page *p, __u32 *act)
{
	if (p->want != KHAZANA_RIGHT_NONE)
		*act |= KZ_ACT_UNQUEUE;
	p->want = KHAZANA_RIGHT_NONE;
	*act |= KZ_ACT_WAKE;
}

/* The state that fits the right and what is pending. */
static void settle(struct kz_page *p, __u32 *act)
{
	if (p->want <= p->right) {
		p->state = KHAZANA_STATE_STABLE;
		if (p->want != KHAZANA_RIGHT_NONE)
			end_pending(p, act);
	} else if (p->right == KHAZANA_RIGHT_READ) {
		p->state = KHAZANA_STATE_UPGRADING;
	} else {
		if (has_copy(p))
			move_to_handoff(p, p->token, act);
		p->state = KHAZANA_STATE_FETCHING;
	}
}

static int fault(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	__u8 resume = p->resume;

	if (kz_page_usable(p, e->right))
		return 0;
	if (p->state != KHAZANA_STATE_STABLE)
		return -EINPROGRESS;
	p->want = e->right;
	settle(p, act);
	if (p->flags & KHAZANA_UNIT_HANDOFF)
		p->resume = resume;
	*act |= KZ_ACT_QUEUE;
	return -EINPROGRESS;
}

static int frame(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	bool stable = p->state == KHAZANA_STATE_STABLE;

	if (!stable && (p->state != KHAZANA_STATE_FETCHING || (e->flags & KHAZANA_CMDF_TRY)))
		return -EBUSY;
	if (p->right != KHAZANA_RIGHT_NONE || has_copy(p))
		return -EBUSY;
	if (!(p->frames & KZ_FRAME_CURRENT)) {
		p->frames |= KZ_FRAME_CURRENT;
		*act |= KZ_ACT_NEW_FRAME;
	}
	return 0;
}

/* Which frame a COMMIT grants: 0, or why there is none. */
static int commit_frame(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	if (e->flags & KHAZANA_CMDF_HELD) {
		if (e->version_held == KHAZANA_VERSION_NONE)
			return -EINVAL;
		if (has_copy(p) && p->version == e->version_held) {
			free_handoff(p, act);
			return 0;
		}
		if (p->right != KHAZANA_RIGHT_NONE || !(p->flags & KHAZANA_UNIT_HANDOFF) ||
		    p->handoff_version != e->version_held)
			return -ENOENT;
		take_handoff(p, act);
		return 0;
	}
	if (!(p->frames & KZ_FRAME_CURRENT) && !(e->flags & KHAZANA_CMDF_DATA))
		return -ENOENT;
	if (!(e->flags & (KHAZANA_CMDF_DATA | KHAZANA_CMDF_ZERO)) && e->wrong_frame)
		return -ENOENT;
	if (e->flags & KHAZANA_CMDF_ZERO)
		*act |= KZ_ACT_ZERO;
	else if (has_copy(p))
		return -EBUSY;
	if (e->flags & KHAZANA_CMDF_DATA) {
		free_frame(p, act);
		p->frames |= KZ_FRAME_CURRENT;
		*act |= KZ_ACT_NEW_FRAME;
	}
	p->flags &= ~KHAZANA_UNIT_DIRTY;
	free_handoff(p, act);
	return 0;
}

static int commit(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	int err;

	if (e->right != KHAZANA_RIGHT_READ && e->right != KHAZANA_RIGHT_WRITE)
		return -EINVAL;
	if (e->version == KHAZANA_VERSION_NONE)
		return -EINVAL;
	if ((e->flags & KHAZANA_CMDF_DATA) &&
	    (e->flags & (KHAZANA_CMDF_ZERO | KHAZANA_CMDF_HELD)))
		return -EINVAL;
	if ((e->token < p->floor && !kz_planted(KZ_PLANT_SKIP_FLOOR)) ||
	    (p->right != KHAZANA_RIGHT_NONE && e->token < p->token))
		return -ESTALE;
	if (p->right != KHAZANA_RIGHT_NONE && e->token == p->token && e->right <= p->right)
		return -EALREADY;
	if (p->state == KHAZANA_STATE_REVOKING || p->state == KHAZANA_STATE_EXPIRED_DIRTY)
		return -EBUSY;
	err = commit_frame(p, e, act);
	if (err)
		return err;
	if (p->right < e->right)
		p->right = e->right;
	p->token = e->token;
	p->version = e->version;
	p->resume = KHAZANA_RIGHT_NONE;
	p->flags &= ~(KHAZANA_UNIT_OWNED | KHAZANA_UNIT_DROPPABLE);
	p->lent = 0;
	/* Zeros instead of a version are stores: who sees them must be told if they are lost. */
	if ((e->flags & KHAZANA_CMDF_ZERO) && e->version_held &&
	    e->version_held != KHAZANA_VERSION_NONE)
		p->flags |= KHAZANA_UNIT_DIRTY;
	if (e->flags & KHAZANA_CMDF_OWNED)
		p->flags |= KHAZANA_UNIT_OWNED;
	if (e->flags & KHAZANA_CMDF_DROPPABLE)
		p->flags |= KHAZANA_UNIT_DROPPABLE;
	p->state = KHAZANA_STATE_STABLE;
	end_pending(p, act);
	return 0;
}

/* Others that are not dropped by themselves need no care. */
static void lend(struct kz_page *p)
{
	p->lent = p->right == KHAZANA_RIGHT_READ && (p->flags & KHAZANA_UNIT_DROPPABLE);
}

/* Does an explicit lock stand in the way of leaving only @right? */
static bool lock_blocks(const struct kz_page *p, __u32 right)
{
	return p->writers || (p->readers && right == KHAZANA_RIGHT_NONE);
}

/* A REVOKE of a unit without a right: only a kept frame is concerned. */
static int revoke_none(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	bool expired = p->state == KHAZANA_STATE_EXPIRED_DIRTY;

	if (p->flags & KHAZANA_UNIT_HANDOFF) {
		if (p->handoff_token < e->token)
			p->handoff_token = e->token;
		p->resume = KHAZANA_RIGHT_NONE;
	} else if (has_copy(p)) {
		/* Whoever had it pinned when the lease ended may still store into it. */
		p->resume = KHAZANA_RIGHT_NONE;
		p->dispose = KZ_DISPOSE_HANDOFF;
		p->state = KHAZANA_STATE_REVOKING;
		*act |= KZ_ACT_CHECK_REFS;
	}
	if (expired)
		*act |= KZ_ACT_WAKE;
	return 0;
}

static int revoke(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	if (e->right > KHAZANA_RIGHT_READ)
		return -EINVAL;
	/* The floor may be that of other units, whose records are gone: but the truth is an answer. */
	if (e->token < p->floor && holds_nothing(p))
		return -ENOENT;
	if (e->token < p->floor || (p->right != KHAZANA_RIGHT_NONE && e->token < p->token))
		return -ESTALE;
	if (!(e->flags & KHAZANA_CMDF_LOCK_OK) && p->right > e->right &&
	    lock_blocks(p, e->right)) {
		p->deferred = 1;
		return -EBUSY;
	}
	raise_floor(p, e->token);
	if (p->state == KHAZANA_STATE_REVOKING) {
		if (e->right == KHAZANA_RIGHT_NONE && p->dispose == KZ_DISPOSE_STAY) {
			p->dispose = may_be_last(p) || (e->flags & KHAZANA_CMDF_KEEP) ?
				     KZ_DISPOSE_HANDOFF : KZ_DISPOSE_FREE;
			lose_right(p);
			*act |= KZ_ACT_ZAP;
		}
		*act |= KZ_ACT_CHECK_REFS;
		return -EINPROGRESS;
	}
	if (p->right == KHAZANA_RIGHT_NONE)
		return revoke_none(p, e, act);
	if (p->right <= e->right) {
		if (e->flags & KHAZANA_CMDF_LEND)
			lend(p);
		return 0;
	}
	if (e->right == KHAZANA_RIGHT_READ) {
		p->dispose = KZ_DISPOSE_STAY;
		p->right = KHAZANA_RIGHT_READ;
		p->flags |= KHAZANA_UNIT_OWNED;
		*act |= KZ_ACT_MKCLEAN;
	} else {
		p->dispose = may_be_last(p) || (e->flags & KHAZANA_CMDF_KEEP) ?
			     KZ_DISPOSE_HANDOFF : KZ_DISPOSE_FREE;
		lose_right(p);
		*act |= KZ_ACT_ZAP;
	}
	p->state = KHAZANA_STATE_REVOKING;
	*act |= KZ_ACT_CHECK_REFS;
	return 0;
}

static int refs_over(struct kz_page *p, bool gone, __u32 *act)
{
	if (p->state != KHAZANA_STATE_REVOKING)
		return -EALREADY;
	if (!gone)
		*act |= KZ_ACT_ORPHAN | (p->dispose == KZ_DISPOSE_STAY ? KZ_ACT_ZAP : 0);
	if (p->dispose == KZ_DISPOSE_FREE ||
	    (p->dispose == KZ_DISPOSE_HANDOFF && kz_planted(KZ_PLANT_EARLY_RELEASE)))
		free_frame(p, act);
	else if (p->dispose == KZ_DISPOSE_HANDOFF)
		move_to_handoff(p, p->floor, act);
	settle(p, act);
	*act |= KZ_ACT_WAKE;
	return 0;
}

static int release(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	if (!(p->flags & KHAZANA_UNIT_HANDOFF))
		return -EALREADY;
	if (p->handoff_token > e->token)
		return -ESTALE;
	free_handoff(p, act);
	p->resume = KHAZANA_RIGHT_NONE;
	return 0;
}

static int fail(struct kz_page *p, __u32 *act)
{
	bool buffer = (p->frames & KZ_FRAME_CURRENT) && !has_copy(p);

	if (p->want == KHAZANA_RIGHT_NONE && !buffer &&
	    p->state != KHAZANA_STATE_EXPIRED_DIRTY)
		return -EALREADY;
	if (buffer) {
		__u8 resume = p->resume;

		free_frame(p, act);
		p->resume = resume;
	}
	end_pending(p, act);
	if (p->state == KHAZANA_STATE_FETCHING || p->state == KHAZANA_STATE_UPGRADING)
		p->state = KHAZANA_STATE_STABLE;
	return 0;
}

static int expire(struct kz_page *p, __u32 *act)
{
	__u8 right = p->right;

	if (right == KHAZANA_RIGHT_NONE)
		return -EALREADY;
	*act |= KZ_ACT_ZAP;
	if (p->state == KHAZANA_STATE_REVOKING) {
		p->dispose = may_be_last(p) ? KZ_DISPOSE_HANDOFF : KZ_DISPOSE_FREE;
		lose_right(p);
		return 0;
	}
	if (!may_be_last(p)) {
		bool lent = p->lent;

		lose_right(p);
		if (lent)
			move_to_handoff(p, p->floor, act);
		else
			free_frame(p, act);
		settle(p, act);
		return 0;
	}
	p->flags |= KHAZANA_UNIT_OWNED;
	lose_right(p);
	p->resume = right;
	if (p->flags & KHAZANA_UNIT_DIRTY) {
		p->state = KHAZANA_STATE_EXPIRED_DIRTY;
		end_pending(p, act);
		return 0;
	}
	settle(p, act);
	if (p->flags & KHAZANA_UNIT_HANDOFF)
		p->resume = right;
	return 0;
}

static int resume(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	__u8 right = p->resume;

	if (e->token != p->token)
		return -ESTALE;
	if (right == KHAZANA_RIGHT_NONE)
		return p->right != KHAZANA_RIGHT_NONE ? -EALREADY : -ESTALE;
	if (!has_copy(p))
		take_handoff(p, act);
	p->flags |= KHAZANA_UNIT_OWNED;
	p->right = right;
	p->resume = KHAZANA_RIGHT_NONE;
	p->state = KHAZANA_STATE_STABLE;
	end_pending(p, act);
	return 0;
}

static int lost(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	bool dirty = p->handoff_dirty || (p->flags & KHAZANA_UNIT_DIRTY);

	if (e->token < p->token && has_copy(p))
		return -ESTALE;
	if (!has_copy(p) && !(p->flags & KHAZANA_UNIT_HANDOFF))
		return -EALREADY;
	if (dirty && !(e->flags & KHAZANA_CMDF_NOPOISON))
		*act |= KZ_ACT_POISON;
	raise_floor(p, e->token + 1);
	if (p->flags & KHAZANA_UNIT_HANDOFF)
		free_handoff(p, act);
	p->resume = KHAZANA_RIGHT_NONE;
	if (!has_copy(p))
		return 0;
	*act |= KZ_ACT_ZAP;
	lose_right(p);
	if (p->state == KHAZANA_STATE_REVOKING) {
		p->dispose = KZ_DISPOSE_FREE;
		return 0;
	}
	if (dirty) {
		*act |= KZ_ACT_PARK;
		lose_frame(p);
	} else {
		free_frame(p, act);
	}
	settle(p, act);
	*act |= KZ_ACT_WAKE;
	return 0;
}

/**
 * kz_page_droppable() - may reclaim drop the copy?
 * @page: the record
 */
bool kz_page_droppable(const struct kz_page *page)
{
	const __u32 never = KHAZANA_UNIT_OWNED | KHAZANA_UNIT_DIRTY | KHAZANA_UNIT_LOCKED;

	if (kz_planted(KZ_PLANT_DROP_OWNED))
		return page->state == KHAZANA_STATE_STABLE && page->right != KHAZANA_RIGHT_NONE &&
		       !(page->flags & KHAZANA_UNIT_LOCKED);
	return page->state == KHAZANA_STATE_STABLE && page->right == KHAZANA_RIGHT_READ &&
	       (page->flags & KHAZANA_UNIT_DROPPABLE) && !(page->flags & never) && !page->lent;
}

static int drop(struct kz_page *p, __u32 *act)
{
	if (!kz_page_droppable(p))
		return -EBUSY;
	*act |= KZ_ACT_ZAP | KZ_ACT_NOTIFY_DROPPED;
	lose_right(p);
	free_frame(p, act);
	return 0;
}

/* A store has what is here: it is not the last copy, and nothing of it can be lost. */
static int safe(struct kz_page *p, const struct kz_page_event *e)
{
	if (p->state != KHAZANA_STATE_STABLE || p->right != KHAZANA_RIGHT_READ ||
	    p->version != e->version || p->token != e->token)
		return -ESTALE;
	p->flags &= ~(KHAZANA_UNIT_OWNED | KHAZANA_UNIT_DIRTY);
	p->flags |= KHAZANA_UNIT_DROPPABLE;
	return 0;
}

static int lock(struct kz_page *p, const struct kz_page_event *e)
{
	__u16 *count = e->right == KHAZANA_RIGHT_WRITE ? &p->writers : &p->readers;

	if (!kz_page_usable(p, e->right))
		return -EAGAIN;
	if (*count == 0xffff)
		return -EBUSY;
	(*count)++;
	p->flags |= KHAZANA_UNIT_LOCKED;
	return 0;
}

static int unlock(struct kz_page *p, const struct kz_page_event *e, __u32 *act)
{
	__u16 *count = e->right == KHAZANA_RIGHT_WRITE ? &p->writers : &p->readers;

	if (!*count)
		return -ENOENT;
	(*count)--;
	if (p->writers || p->readers)
		return 0;
	p->flags &= ~KHAZANA_UNIT_LOCKED;
	if (p->deferred)
		*act |= KZ_ACT_NOTIFY_UNLOCKED;
	p->deferred = 0;
	return 0;
}

static int daemon_gone(struct kz_page *p, __u32 *act)
{
	/* Requests in flight may still land in it: never receive into it again. */
	if ((p->frames & KZ_FRAME_CURRENT) && !has_copy(p)) {
		p->frames &= ~KZ_FRAME_CURRENT;
		*act |= KZ_ACT_FREE_FRAME;
	}
	p->lent = 0;
	if (p->want != KHAZANA_RIGHT_NONE)
		*act |= KZ_ACT_QUEUE;
	return 0;
}

/**
 * kz_page_step() - the one transition function
 * @page: the record; unchanged if the result is an error other than EINPROGRESS, but for
 *	the note that a REVOKE met a lock
 * @event: what happens
 * @actions: out: KZ_ACT_* that the caller has to do
 *
 * Return: 0, or a negative errno: EINPROGRESS (FAULT: wait; REVOKE: one goes
 * on already), EALREADY (nothing to do), ESTALE (token), EBUSY (explicit lock, or
 * not in this state), ENOENT (no frame to grant, no lock), EAGAIN (LOCK without
 * the right), EINVAL.  ENOENT of REVOKE: below the floor, but there is nothing to take.
 */
int kz_page_step(struct kz_page *page, const struct kz_page_event *event, __u32 *actions)
{
	*actions = 0;
	switch (event->type) {
	case KZ_EV_FAULT:
		return fault(page, event, actions);
	case KZ_EV_FRAME:
		return frame(page, event, actions);
	case KZ_EV_COMMIT:
		return commit(page, event, actions);
	case KZ_EV_REVOKE:
		return revoke(page, event, actions);
	case KZ_EV_REFS_GONE:
	case KZ_EV_REFS_TIMEOUT:
		return refs_over(page, event->type == KZ_EV_REFS_GONE, actions);
	case KZ_EV_RELEASE:
		return release(page, event, actions);
	case KZ_EV_FAIL:
		return fail(page, actions);
	case KZ_EV_EXPIRE:
		return expire(page, actions);
	case KZ_EV_RESUME:
		return resume(page, event, actions);
	case KZ_EV_LOST:
		return lost(page, event, actions);
	case KZ_EV_DROP:
		return drop(page, actions);
	case KZ_EV_STORE:
		if (page->right != KHAZANA_RIGHT_WRITE)
			return -EAGAIN;
		page->flags |= KHAZANA_UNIT_DIRTY;
		return 0;
	case KZ_EV_LOCK:
		return lock(page, event);
	case KZ_EV_UNLOCK:
		return unlock(page, event, actions);
	case KZ_EV_DAEMON_GONE:
		return daemon_gone(page, actions);
	case KZ_EV_SAFE:
		return safe(page, event);
	case KZ_EV_LEND:
		lend(page);
		return 0;
	case KZ_EV_UNLEND:
		page->lent = 0;
		return 0;
	case KZ_EV_EPOCH:
		raise_floor(page, event->token);
		return 0;
	}
	return -EINVAL;
}

/**
 * kz_page_check() - do the invariants hold?
 * @page: the record
 *
 * Return: 0, or the number of the first invariant that is broken.
 */
int kz_page_check(const struct kz_page *page)
{
	const __u32 right = page->right, state = page->state;

	if (right > KHAZANA_RIGHT_WRITE || state > KHAZANA_STATE_EXPIRED_DIRTY)
		return 1;
	if (right != KHAZANA_RIGHT_NONE &&
	    (!has_copy(page) || (page->flags & KHAZANA_UNIT_HANDOFF)))
		return 2;
	if (!(page->flags & KHAZANA_UNIT_HANDOFF) != !(page->frames & KZ_FRAME_HANDOFF))
		return 3;
	if (state == KHAZANA_STATE_STABLE && page->want != KHAZANA_RIGHT_NONE)
		return 4;
	if (state == KHAZANA_STATE_FETCHING &&
	    (right != KHAZANA_RIGHT_NONE || page->want == KHAZANA_RIGHT_NONE || has_copy(page)))
		return 5;
	if (state == KHAZANA_STATE_UPGRADING &&
	    (right != KHAZANA_RIGHT_READ || page->want != KHAZANA_RIGHT_WRITE))
		return 6;
	if (state == KHAZANA_STATE_REVOKING && (!has_copy(page) || right == KHAZANA_RIGHT_WRITE))
		return 7;
	if (state == KHAZANA_STATE_EXPIRED_DIRTY &&
	    (right != KHAZANA_RIGHT_NONE || !has_copy(page) ||
	     !(page->flags & KHAZANA_UNIT_DIRTY) || page->resume == KHAZANA_RIGHT_NONE))
		return 8;
	if ((page->flags & KHAZANA_UNIT_DIRTY) && !has_copy(page))
		return 9;
	if (!(page->flags & KHAZANA_UNIT_LOCKED) != !(page->readers || page->writers))
		return 10;
	if (page->handoff_dirty && !(page->flags & KHAZANA_UNIT_HANDOFF))
		return 11;
	if ((page->flags & KHAZANA_UNIT_OWNED) && !has_copy(page))
		return 12;
	if (page->resume != KHAZANA_RIGHT_NONE &&
	    (right != KHAZANA_RIGHT_NONE ||
	     !(has_copy(page) || (page->flags & KHAZANA_UNIT_HANDOFF))))
		return 13;
	if ((page->flags & KHAZANA_UNIT_HANDOFF) && has_copy(page))
		return 14;
	if (page->lent && right != KHAZANA_RIGHT_READ)
		return 15;
	return 0;
}
