/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * inject.h - fault injection points of the module's own
 *
 * Stock kernels have no CONFIG_FAULT_INJECTION.  Each point counts its
 * visits; the module parameters name a point and the visit that fails, or a delay.
 */
#ifndef KZ_INJECT_H
#define KZ_INJECT_H

#include <linux/types.h>

enum kz_point {
	KZ_POINT_NONE,
	KZ_POINT_FRAME,		/* allocation of a frame */
	KZ_POINT_UNIT,		/* allocation of a unit's record */
	KZ_POINT_REGION,	/* allocation of a region */
	KZ_POINT_CALL,		/* allocation of a call or a notice */
	KZ_POINT_REVOKE,	/* allocation of an asynchronous revoke */
	KZ_POINT_LOCK,		/* allocation of a range lock */
	KZ_POINT_PARKED,	/* allocation of what remembers a parked frame */
	KZ_POINT_FAULT,		/* a fault between its check and its page lock; delay only */
	KZ_POINT_COMMIT,	/* a COMMIT or RESUME before its transition; delay only */
	KZ_POINT_ZAP,		/* between a transition and its zap; delay only */
	KZ_POINT_REPORT,	/* between a REVOKE and what is said of it; delay only */
	KZ_POINT_WAKE,		/* between a transition and its waiters; delay only */
	KZ_POINT_ASK,		/* a miss before it asks, and before it waits; delay only */
	KZ_POINT_VIEW,		/* khd's fault between its look-up and its page lock; delay only */
	KZ_POINT_RETIRE,	/* a frame that has left the view, and may be mapped; delay only */
	KZ_POINT_MAX,
};

bool kz_inject_fail(enum kz_point point);
void kz_inject_delay(enum kz_point point);

#endif /* KZ_INJECT_H */
