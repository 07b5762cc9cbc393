/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* serve.h - calls of other nodes under way here; serve.c, space.c */
#ifndef KH_CORE_SERVE_H
#define KH_CORE_SERVE_H

#include "core.h"

enum kh_served_stage {
	KH_SERVED_CHALLENGED, /* waits for PROOF */
	KH_SERVED_WAITING, /* FREE, ALLOCATE: until it may begin */
	KH_SERVED_FREEING, /* waits for @pending units */
	KH_SERVED_FREED, /* is over in a moment */
	KH_SERVED_ASKING, /* waits for @pending nodes */
	KH_SERVED_PLACING, /* waits for @pending answers of stores */
	KH_SERVED_FLUSHING, /* waits until its range is durable */
	KH_SERVED_TELLING, /* SETATTR of the key: until all of @untold know it */
};

/**
 * struct kh_served - a call that is not answered yet
 * @node: in the peer's list
 * @peer: who called
 * @gone: its connection dropped since: no answer
 * @stage: what it waits for
 * @region: what it is about; the region stays while @stage is not CHALLENGED
 * @pending: see the stages; one more while they are being counted
 * @error: of the first part that failed
 * @unsaved: what a FREE did could not be written down
 * @counting: FREE: its units are still being gone through
 * @units: FREE: those that the directory has, @unit_count of them
 * @first: FREE, ALLOCATE, FLUSH: first unit
 * @end: first unit behind
 * @before: ALLOCATE: what was allocated
 * @untold: SETATTR of the key, bits: peers that may still grant locks by the old one
 * @telling: peer that is asked whether it has heard, 0: none
 */
struct kh_served {
	struct kh_list node;
	struct kh_peer *peer;
	bool gone;
	enum kh_served_stage stage;
	struct kh_wire_head head;
	struct kh_wire_call call;
	uint8_t nonce[KH_WIRE_NONCE_SIZE];
	uint64_t deadline_ns;
	struct kh_region *region;
	unsigned int pending;
	uint32_t error;
	bool unsaved;
	bool counting;
	uint64_t *units;
	size_t unit_count;
	uint64_t first, end;
	struct kh_intervals before;
	uint64_t untold;
	unsigned int telling;
};

/* serve.c */
void kh_served_answer(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		      uint32_t error, enum kh_wire_payload payload, const void *data, size_t len);
void kh_served_end(struct kh_node *node, struct kh_served *served, uint32_t error);
uint32_t kh_served_units(const struct kh_region *region, const struct kh_wire_call *call,
			 uint64_t *first, uint64_t *end);

/* space.c */
void kh_serve_allocate(struct kh_node *node, struct kh_served *served);
void kh_serve_free(struct kh_node *node, struct kh_served *served);
void kh_serve_unreserve(struct kh_node *node, struct kh_served *served);

#endif /* KH_CORE_SERVE_H */
