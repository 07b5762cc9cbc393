/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cm.h - the interface of consistency managers
 *
 * A consistency manager decides when a request is granted and who must lose or lend
 * a right for it.  It moves no data and keeps no messages: the home (service.c) serves one
 * request per unit at a time, numbers it, sends what the manager asks for and keeps the
 * directory.  A manager calls nothing but kh_cm_grant(), kh_cm_revoke(), kh_cm_fetch() and
 * kh_cm_refuse(), for the request that it was called with.
 *
 * cm_null.c is the template, cm_crew.c the default.
 */
#ifndef KH_CORE_CM_H
#define KH_CORE_CM_H

#include "core.h"

/**
 * struct kh_cm_ops - a consistency manager
 * @name: what a region's attribute "protocol" says
 * @untracked: grants leave copies of others behind that nobody writes down: a FREE asks every node
 * @fault: required.  A request is at its turn, also again after its asker repeated it.  Revokes
 *	and fetches may be asked for; answers with a grant, now or from @message, or refuses
 * @message: required.  The last revoke that @fault asked for is answered
 * @evict: optional.  @party gave its copy up and is no holder any more
 * @check: optional.  NULL, or a static sentence about what is broken in @unit
 */
struct kh_cm_ops {
	const char *name;
	bool untracked;
	void (*fault)(struct kh_unit *unit, struct kh_service *s);
	void (*message)(struct kh_unit *unit, struct kh_service *s);
	void (*evict)(struct kh_unit *unit, kh_node_id party);
	const char *(*check)(const struct kh_unit *unit);
};

/* The manager of that name, or NULL. */
const struct kh_cm_ops *kh_cm_find(const char *name);

/**
 * kh_cm_grant() - the asker may have what it wants
 * @unit: of the request
 * @s: the request
 * @kind: where it gets the contents; KH_SOURCE_DATA only after kh_cm_fetch()
 * @owned: its copy may be the last one
 */
void kh_cm_grant(struct kh_unit *unit, struct kh_service *s, enum kh_wire_source kind, bool owned);

/* @party must give its right up; @flags is KH_INV_KEEP or 0. */
void kh_cm_revoke(struct kh_unit *unit, struct kh_service *s, kh_node_id party, uint32_t flags);

/* @party sends its copy to the asker and retains at most what goes with the right wanted. */
void kh_cm_fetch(struct kh_unit *unit, struct kh_service *s, kh_node_id party);

/* The request ends with @error. */
void kh_cm_refuse(struct kh_unit *unit, struct kh_service *s, uint32_t error);

extern const struct kh_cm_ops kh_cm_crew, kh_cm_null;

#endif /* KH_CORE_CM_H */
