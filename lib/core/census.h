/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* census.h - inventories as a home reads them; census.c, reconcile.c */
#ifndef KH_CORE_CENSUS_H
#define KH_CORE_CENSUS_H

#include "core.h"

static inline bool kh_record_copy(const struct kh_wire_record *r)
{
	return r->version != KHAZANA_VERSION_NONE;
}

static inline bool kh_record_handoff(const struct kh_wire_record *r)
{
	return r->uflags & KHAZANA_UNIT_HANDOFF;
}

/* Can nobody have a newer version than this record's?  A store may, if the home asks it first. */
static inline bool kh_record_owned(const struct kh_wire_record *r)
{
	return kh_record_copy(r) &&
	       (r->right == KHAZANA_RIGHT_WRITE ||
		(r->right == KHAZANA_RIGHT_READ && r->uflags & KHAZANA_UNIT_OWNED));
}

static inline uint64_t kh_record_version(const struct kh_wire_record *r)
{
	return kh_record_copy(r) ? r->version : r->version_handoff;
}

static inline enum kh_rolled kh_record_rolled(const struct kh_unit *unit,
					      const struct kh_wire_record *r)
{
	return kh_unit_rolled(unit, kh_record_version(r), r->token);
}

/* reconcile.c */
void kh_verdict(struct kh_unit *unit, kh_node_id party, uint64_t token,
		enum kh_wire_verdict_kind what);
void kh_verdict_resume(struct kh_unit *unit, kh_node_id party, uint64_t token);
void kh_census_copy(struct kh_unit *unit, const struct kh_peer *peer,
		    const struct kh_wire_record *r);
bool kh_lost_copy(const struct kh_unit *unit, const struct kh_wire_record *r);
struct kh_holder kh_census_holder(const struct kh_unit *unit, const struct kh_peer *peer,
				  uint64_t token);
bool kh_perhaps_stale(const struct kh_unit *unit, const struct kh_peer *from,
		      const struct kh_wire_record *r);
bool kh_resumable(const struct kh_unit *unit, const struct kh_peer *from,
		  const struct kh_wire_record *r);
bool kh_in_doubt(const struct kh_unit *unit, const struct kh_wire_record *r);
void kh_unit_doubt(struct kh_unit *unit, const struct kh_wire_record *r);
void kh_reconcile(struct kh_unit *unit, struct kh_peer *peer, const struct kh_wire_record *r);
void kh_census_sweep(struct kh_region *region, struct kh_peer *peer);

#endif /* KH_CORE_CENSUS_H */
