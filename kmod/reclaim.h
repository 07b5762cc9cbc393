/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * reclaim.h - copies that may be dropped
 */
#ifndef KZ_RECLAIM_H
#define KZ_RECLAIM_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct kz_instance;
struct kz_unit;

/**
 * struct kz_reclaim - the droppable units of an instance, oldest first
 * @lock: protects the rest; inside a unit's lock
 * @active: struct kz_unit by @lru
 * @inactive: the same, of those that go next unless they are used again
 * @pages: machine pages of both
 * @inactive_pages: and of @inactive
 * @pressure: jiffies, when khd may be told again that frames are short
 */
struct kz_reclaim {
	spinlock_t lock;	/* inside a unit's */
	struct list_head active;
	struct list_head inactive;
	unsigned long pages;
	unsigned long inactive_pages;
	unsigned long pressure;
};

void kz_reclaim_init(struct kz_reclaim *reclaim);
void kz_reclaim_update(struct kz_unit *unit);
void kz_reclaim_forget(struct kz_unit *unit);
void kz_reclaim_age(struct kz_instance *instance);
unsigned long kz_reclaim_run(struct kz_instance *instance, unsigned long pages);
int kz_shrinker_init(void);
void kz_shrinker_exit(void);

#endif /* KZ_RECLAIM_H */
