/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later */
/*
 * plant.h - bugs that a test plants, to show that its test catches them
 *
 * Only a module built with KHAZANA_PLANTS=1 has them; elsewhere nothing of this is compiled.
 * One at a time is chosen by the module parameter plant=NAME.
 */
#ifndef KZ_PLANT_H
#define KZ_PLANT_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif

enum kz_plant {
	KZ_PLANT_NONE,
	KZ_PLANT_SKIP_ZAP,	/* a REVOKE leaves the page mapped */
	KZ_PLANT_SKIP_FLOOR,	/* a COMMIT below the floor is taken */
	KZ_PLANT_FORGET_FLOOR,	/* the floor goes with the record */
	KZ_PLANT_LOSE_WAKE,	/* of several who wait only the first is woken */
	KZ_PLANT_LATE_LEASE,	/* the end of a lease ends nothing */
	KZ_PLANT_DROP_OWNED,	/* reclaim drops copies that may be the last */
	KZ_PLANT_EARLY_RELEASE,	/* what is revoked is freed, not kept in HANDOFF */
	KZ_PLANT_NO_POISON,	/* lost stores are not told to who made them */
	KZ_PLANT_NO_REQUEUE,	/* what a dead khd was asked is not asked again */
	KZ_PLANT_LEAK_RECORD,	/* a unit's record stays when its region goes */
	KZ_PLANT_MAX,
};

#if defined(__KERNEL__) && defined(KHAZANA_PLANTS)
bool kz_planted(enum kz_plant plant);
#else
static inline bool kz_planted(enum kz_plant plant)
{
	return false;
}
#endif

#endif /* KZ_PLANT_H */
