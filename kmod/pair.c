// SPDX-License-Identifier: GPL-2.0-only
/*
 * pair.c - instructions that need two units at once
 *
 * A store across the border of two units, or a copy from one to another, runs only while
 * both are here.  If each stays for its minimum residency only, and others want them too, one is
 * always gone when the other has come.  So a thread that misses a unit with the same
 * registers as when it missed another one has made no progress in between: the other
 * unit stays for longer, twice as long at every try, with as much jitter.
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

static void keep(struct kz_unit *unit, u32 tries)
{
	u64 now = ktime_get_boottime_ns();
	u64 stay = kz_unit_residency(unit) << min_t(u32, tries, KZ_PAIR_TRIES_MAX);

	stay += get_random_u32() % (u32)stay;
	spin_lock(&unit->lock);
	if (unit->page.right && unit->resident_ns < now + stay)
		unit->resident_ns = now + stay;
	spin_unlock(&unit->lock);
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
	u32 key = registers_key(), tries = 0;

	spin_lock(&pairs->lock);
	if (last->key != key) {
		last->key = key;
		last->tries = 0;
	} else if (last->index != unit->index) {
		tries = ++last->tries;
		other = kz_unit_find(attachment->region, last->index);
	}
	last->index = unit->index;
	spin_unlock(&pairs->lock);
	if (other)
		keep(other, tries);
}
