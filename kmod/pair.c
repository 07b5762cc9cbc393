// SPDX-License-Identifier: GPL-2.0-only
/*
 * pair.c - instructions that need two units at once
 *
 * A store across the border of two units, or a copy from one to another, runs only while
 * both are here.  If each stays for its minimum residency only, and others want them too, one is
 * always gone when the other has come.  A thread that misses a unit with the same
 * registers as when it missed another one has made no progress in between.  Then the lower
 * of the two stays until the upper one comes: for as long as that usually takes, however slow
 * the network is, and twice as long at every try.  The upper one does not stay at all while the
 * lower one is missing.  So nobody waits in a circle, and whoever has the lower one gets on.
 */
#include <linux/jhash.h>
#include <linux/ptrace.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/sched/task_stack.h>
#include <linux/timekeeping.h>

#include "acquire.h"
#include "pair.h"
#include "region.h"
#include "unit.h"

#define KZ_PAIR_TRIES_MAX	5
#define KZ_PAIR_STAY_MAX_NS	(2 * NSEC_PER_SEC)

/**
 * kz_pairs_init() - no thread has missed anything
 * @pairs: of a new attachment
 */
void kz_pairs_init(struct kz_pairs *pairs)
{
	spin_lock_init(&pairs->lock);
}

/* The same as long as the thread stands before the same instruction and has changed nothing. */
static u32 registers_key(void)
{
	const struct pt_regs *regs = current_pt_regs();
	u32 key = task_pid_nr(current);

#ifdef CONFIG_X86
	/* All but orig_ax, which is the fault's error code. */
	key = jhash(regs, offsetof(struct pt_regs, orig_ax), key);
	key = jhash(&regs->ip, sizeof(*regs) - offsetof(struct pt_regs, ip), key);
#else
	key = jhash(regs, sizeof(*regs), key);
#endif
	return key | 1;
}

/* @unit stays for @stay from now on, whatever it was to stay before. */
static void set_stay(struct kz_unit *unit, u64 stay)
{
	if (stay)
		stay += get_random_u32() % (u32)(stay / 2 + 1);
	spin_lock(&unit->lock);
	if (unit->page.right) {
		unit->resident_ns = ktime_get_boottime_ns() + stay;
		unit->resident_for = 0;
	}
	spin_unlock(&unit->lock);
}

/* For how long @lower stays, when @upper was missed @tries times. */
static u64 stay_for(const struct kz_unit *lower, const struct kz_unit *upper, u32 tries)
{
	u64 stay = max_t(u64, kz_unit_residency(lower),
			 (u64)READ_ONCE(upper->took_us) * NSEC_PER_USEC);

	return min_t(u64, stay << tries, KZ_PAIR_STAY_MAX_NS);
}

/**
 * kz_pair_miss() - a thread of user space is about to wait for a unit
 * @attachment: through which
 * @unit: the unit
 */
void kz_pair_miss(struct kz_attachment *attachment, struct kz_unit *unit)
{
	struct kz_pairs *pairs = &attachment->pairs;
	struct kz_pair *last = &pairs->last[task_pid_nr(current) % KZ_PAIRS];
	struct kz_unit *other = NULL;
	u32 key = registers_key(), tries;

	spin_lock(&pairs->lock);
	if (last->key != key) {
		last->key = key;
		last->tries = 0;
	} else if (last->index != unit->index) {
		last->tries = min_t(u32, last->tries + 1, KZ_PAIR_TRIES_MAX);
		last->other = last->index;
		other = kz_unit_find(attachment->region, last->other);
	}
	last->index = unit->index;
	tries = last->tries;
	spin_unlock(&pairs->lock);
	if (!other)
		return;
	set_stay(other, other->index < unit->index ? stay_for(other, unit, tries) : 0);
	kz_unit_put(other);
}

/**
 * kz_pair_hit() - a thread of user space gets a unit
 * @attachment: through which
 * @unit: the unit
 *
 * If another one stayed for this, it stays a moment more, for the instruction to run.
 */
void kz_pair_hit(struct kz_attachment *attachment, struct kz_unit *unit)
{
	struct kz_pairs *pairs = &attachment->pairs;
	struct kz_pair *last = &pairs->last[task_pid_nr(current) % KZ_PAIRS];
	struct kz_unit *other = NULL;

	if (likely(!READ_ONCE(last->tries)))
		return;
	spin_lock(&pairs->lock);
	if (last->tries && last->index == unit->index && last->key == registers_key())
		other = kz_unit_find(attachment->region, last->other);
	spin_unlock(&pairs->lock);
	if (!other)
		return;
	set_stay(other, kz_unit_residency(other));
	kz_unit_put(other);
}
