// SPDX-License-Identifier: GPL-2.0-only
/*
 * revoke.c - taking a right back, which may take its time
 *
 * A REVOKE is over at once unless
 *  - the unit was granted a moment ago to somebody who has hardly used it: it
 *    stays for its minimum residency, or until he shows that he is done with it
 *    (kz_units_done()), or contended units would be passed around without anybody
 *    getting anything done; or
 *  - somebody holds a reference to a page (a pin, a pipe, a fault that waits for
 *    the page lock): then the frame may change or be read behind our back, and the
 *    unit stays in REVOKING until the reference is gone or the wait is over.
 * Then a struct kz_revoke goes on with it from a timer, and REVOKED tells khd the end.
 */
#include <linux/hrtimer.h>
#include <linux/timekeeping.h>

#include "acquire.h"
#include "alloc.h"
#include "compat.h"
#include "frame.h"
#include "inject.h"
#include "instance.h"
#include "region.h"
#include "revoke.h"
#include "unit.h"
#include "worker.h"

#define KZ_REFS_POLL_NS		(100 * NSEC_PER_USEC)
#define KZ_REFS_POLL_MAX_NS	(5 * NSEC_PER_MSEC)
#define KZ_REFS_LIMIT_NS	NSEC_PER_SEC

/**
 * struct kz_revoke - a REVOKE of one unit that goes on
 * @unit: which one; with a reference on it and on its region
 * @event: what is done when the residency is over
 * @started: the transition was made, the unit is REVOKING
 * @until_ns: CLOCK_BOOTTIME end of the wait for references
 * @poll_ns: time between looks at the references
 * @timer: runs @work
 * @work: goes on
 * @groups: struct revoke_wait; protected by the unit's mutex
 */
struct kz_revoke {
	struct kz_unit *unit;
	struct kz_page_event event;
	bool started;
	u64 until_ns;
	u64 poll_ns;
	struct hrtimer timer;
	struct kthread_work work;
	struct list_head groups;
};

struct revoke_wait {
	struct list_head node;
	struct kz_revoke_group *group;
};

/* What a REVOKE command needs to end later; the unit has changed, so it must exist. */
static struct kz_revoke_group *group_new(struct kz_instance *instance)
{
	struct kz_revoke_group *group = kz_zalloc(sizeof(*group), GFP_KERNEL | __GFP_NOFAIL);

	group->notice = kz_zalloc(sizeof(*group->notice), GFP_KERNEL | __GFP_NOFAIL);
	atomic_set(&group->pending, 1);
	group->generation = READ_ONCE(instance->queue.generation);
	return group;
}

/**
 * kz_revoke_group_end() - one part of a REVOKE command is over
 * @instance: the instance
 * @group: the command's
 * @async: tell khd if it was the last part
 */
void kz_revoke_group_end(struct kz_instance *instance, struct kz_revoke_group *group,
			 bool async)
{
	if (!atomic_dec_and_test(&group->pending))
		return;
	if (async && group->generation == READ_ONCE(instance->queue.generation))
		kz_notice_post(instance, group->notice);
	else
		kz_free(group->notice);
	kz_free(group);
}

static enum hrtimer_restart revoke_timer(struct hrtimer *timer)
{
	struct kz_revoke *revoke = container_of(timer, struct kz_revoke, timer);

	kthread_queue_work(kz_worker, &revoke->work);
	return HRTIMER_NORESTART;
}

static void revoke_arm(struct kz_revoke *revoke, u64 delay_ns)
{
	hrtimer_start(&revoke->timer, ns_to_ktime(delay_ns), HRTIMER_MODE_REL);
}

/* No reference: the transition ends. */
static int refs_look(struct kz_unit *unit, u32 *act)
{
	const struct kz_page_event gone = { .type = KZ_EV_REFS_GONE };
	u32 more;
	int i;

	/* Faults that wait for a page lock let go in a moment. */
	for (i = 0; i < 3; i++) {
		if (!kz_frame_referenced(unit->cur)) {
			kz_unit_step_locked(unit, &gone, &more);
			*act |= more;
			return 0;
		}
		cpu_relax();
	}
	return -EINPROGRESS;
}

static u64 refs_until(struct kz_unit *unit)
{
	const struct kz_lease *lease = READ_ONCE(unit->region->lease);
	u64 until = ktime_get_boottime_ns() + KZ_REFS_LIMIT_NS;

	return lease ? min(until, READ_ONCE(lease->end_ns)) : until;
}

/* The transition itself; @act tells whether references have to be looked at. */
static int revoke_start(struct kz_unit *unit, const struct kz_page_event *event, u32 *act)
{
	struct kz_instance *instance = unit->region->instance;
	int err = kz_unit_step_locked(unit, event, act);

	if (*act & KZ_ACT_ZAP)
		kz_stat_inc(instance, KZ_STAT_REVOKES);
	else if (*act & KZ_ACT_MKCLEAN)
		kz_stat_inc(instance, KZ_STAT_DOWNGRADES);
	if (err == -ESTALE)
		kz_stat_inc(instance, KZ_STAT_STALE);
	if (err || !(*act & KZ_ACT_CHECK_REFS))
		return err;
	err = refs_look(unit, act);
	if (err)
		kz_stat_inc(instance, KZ_STAT_REFERENCED);
	return err;
}

/* What is left, of one moment: the frame that a thread which faults meanwhile has is empty. */
static void revoke_answer(struct kz_revoke_group *group, struct kz_unit *unit, int err)
{
	struct khazana_request *req = &group->notice->req;
	const struct kz_page *page = &unit->page;
	const struct kz_frame *frame;

	if (err)
		req->error = err;
	spin_lock(&unit->lock);
	frame = unit->handoff ?: unit->cur;
	req->version = unit->handoff ? page->handoff_version : page->version;
	req->frame = frame && req->version != KHAZANA_VERSION_NONE ? frame->index : ~0u;
	spin_unlock(&unit->lock);
	if (req->frame != ~0u)
		req->flags |= KHAZANA_REQF_FRAME;
}

/* All commands that wait for the unit are answered. */
static void revoke_end(struct kz_revoke *revoke, int err)
{
	struct kz_unit *unit = revoke->unit;
	struct revoke_wait *wait, *next;

	unit->revoke = NULL;
	list_for_each_entry_safe(wait, next, &revoke->groups, node) {
		revoke_answer(wait->group, unit, err);
		kz_revoke_group_end(unit->region->instance, wait->group, true);
		kz_free(wait);
	}
}

static void revoke_work(struct kthread_work *work)
{
	struct kz_revoke *revoke = container_of(work, struct kz_revoke, work);
	const struct kz_page_event timeout = { .type = KZ_EV_REFS_TIMEOUT };
	struct kz_unit *unit = revoke->unit;
	struct kz_region *region = unit->region;
	u64 now = ktime_get_boottime_ns(), until;
	u32 act = 0, more;
	int err = 0;

	mutex_lock(&unit->mutex);
	if (!revoke->started) {
		until = READ_ONCE(unit->resident_ns);
		if (now < until) {
			revoke_arm(revoke, min(until - now, revoke->poll_ns));
			mutex_unlock(&unit->mutex);
			return;
		}
		revoke->started = true;
		err = revoke_start(unit, &revoke->event, &act);
		revoke->until_ns = refs_until(unit);
		revoke->poll_ns = KZ_REFS_POLL_NS;
	} else if (unit->page.state == KHAZANA_STATE_REVOKING) {
		err = refs_look(unit, &act);
		if (err && now >= revoke->until_ns) {
			err = kz_unit_step_locked(unit, &timeout, &more);
			act |= more;
			err = err == -ENOMEM ? -EINPROGRESS : 0;
		}
	}
	if (err == -EINPROGRESS) {
		revoke_arm(revoke, revoke->poll_ns);
		revoke->poll_ns = min_t(u64, revoke->poll_ns * 2, KZ_REFS_POLL_MAX_NS);
		mutex_unlock(&unit->mutex);
		kz_unit_finish(unit, act);
		return;
	}
	revoke_end(revoke, err == -EALREADY ? 0 : err);
	mutex_unlock(&unit->mutex);
	kz_unit_finish(unit, act);
	kz_unit_put(unit);
	hrtimer_cancel(&revoke->timer);
	kz_free(revoke);
	kz_region_put(region);
}

/**
 * kz_revoke_kick() - the residency is over before its time: who waits for it need not any more
 * @unit: its mutex is held
 *
 * If its timer does not run, the work is on its way, and finds that by itself.
 */
void kz_revoke_kick(struct kz_unit *unit)
{
	struct kz_revoke *revoke = unit->revoke;

	lockdep_assert_held(&unit->mutex);
	if (revoke && !revoke->started && hrtimer_try_to_cancel(&revoke->timer) > 0)
		kthread_queue_work(kz_worker, &revoke->work);
}

/* Go on with a REVOKE from a timer. */
static void revoke_later(struct kz_revoke *revoke, struct kz_unit *unit,
			 const struct kz_page_event *event, u64 delay_ns)
{
	revoke->unit = unit;
	revoke->event = *event;
	INIT_LIST_HEAD(&revoke->groups);
	kthread_init_work(&revoke->work, revoke_work);
	hrtimer_setup(&revoke->timer, revoke_timer, CLOCK_BOOTTIME, HRTIMER_MODE_REL);
	kz_region_get(unit->region);
	kz_unit_hold(unit);
	unit->revoke = revoke;
	revoke_arm(revoke, delay_ns);
}

static void group_join(struct kz_revoke *revoke, struct revoke_wait *wait,
		       struct kz_revoke_group *group)
{
	atomic_inc(&group->pending);
	wait->group = group;
	list_add_tail(&wait->node, &revoke->groups);
}

/* A second REVOKE of a unit: the later token, the smaller rest. */
static int revoke_merge(struct kz_unit *unit, const struct kz_page_event *event, u32 *act)
{
	const struct kz_page_event floor = { .type = KZ_EV_EPOCH, .token = event->token };
	struct kz_revoke *revoke = unit->revoke;

	if (revoke->started) {
		int err = kz_unit_step_locked(unit, event, act);

		return err == -EALREADY || !err ? -EINPROGRESS : err;
	}
	if (event->token < unit->page.floor)
		return -ESTALE;
	revoke->event.token = event->token;
	revoke->event.right = min(revoke->event.right, event->right);
	revoke->event.flags |= event->flags;
	kz_unit_step_locked(unit, &floor, act);
	return -EINPROGRESS;
}

/* How long the unit stays yet; 0 if nothing keeps it. */
static u64 residency_left(const struct kz_unit *unit, const struct kz_page_event *event)
{
	u64 now = ktime_get_boottime_ns(), until = READ_ONCE(unit->resident_ns);
	const struct kz_page *page = &unit->page;

	if (page->right <= event->right || (page->flags & KHAZANA_UNIT_LOCKED) ||
	    (event->flags & KHAZANA_CMDF_LOCK_OK) || event->token < page->floor ||
	    event->token < page->token || now >= until)
		return 0;
	return until - now;
}

/**
 * kz_revoke() - take a right back from a unit
 * @unit: its mutex is held
 * @event: REVOKE
 * @group: in and out: the command's group, made when it is first needed
 * @act: out: for kz_unit_finish()
 *
 * Return: 0, EINPROGRESS (the group ends later), EBUSY (explicit lock), ESTALE, EINVAL.
 */
int kz_revoke(struct kz_unit *unit, const struct kz_page_event *event,
	      struct kz_revoke_group **group, u32 *act)
{
	const struct kz_page_event floor = { .type = KZ_EV_EPOCH, .token = event->token };
	struct kz_instance *instance = unit->region->instance;
	struct kz_revoke *revoke = NULL;
	struct revoke_wait *wait = NULL;
	u64 left = 0;
	int err;

	lockdep_assert_held(&unit->mutex);
	if (event->right > KHAZANA_RIGHT_READ)
		return -EINVAL;
	if (!unit->revoke)
		left = residency_left(unit, event);
	if (unit->revoke) {
		err = revoke_merge(unit, event, act);
	} else if (left && !kz_inject_fail(KZ_POINT_REVOKE)) {
		kz_unit_step_locked(unit, &floor, act);
		kz_stat_inc(instance, KZ_STAT_RESIDENT);
		err = -EINPROGRESS;
	} else {
		left = 0;
		err = revoke_start(unit, event, act);
	}
	if (err != -EINPROGRESS)
		return err;
	if (!*group)
		*group = group_new(instance);
	wait = kz_alloc(sizeof(*wait), GFP_KERNEL | __GFP_NOFAIL);
	if (!unit->revoke) {
		revoke = kz_zalloc(sizeof(*revoke), GFP_KERNEL | __GFP_NOFAIL);
		revoke->started = !left;
		revoke->until_ns = refs_until(unit);
		revoke->poll_ns = left ? kz_unit_residency(unit) : KZ_REFS_POLL_NS;
		revoke_later(revoke, unit, event, left ? min(left, revoke->poll_ns) :
							 KZ_REFS_POLL_NS);
	}
	group_join(unit->revoke, wait, *group);
	return -EINPROGRESS;
}
