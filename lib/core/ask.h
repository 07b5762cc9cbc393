/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ask.h - requests of this node's module under way; ask.c, fault.c, grant.c, done.c */
#ifndef KH_CORE_ASK_H
#define KH_CORE_ASK_H

#include "core.h"

/* One unit of a request of this node. */
struct kh_ask_unit {
	uint64_t module_request; /* 0: nobody waits (a prefetch) */
	uint64_t held;
	uint64_t held_token;
	uint64_t token; /* of the GRANT */
	uint64_t need;
	uint64_t version;
	uint64_t data_version;
	uint32_t frame;
	uint32_t attempt;
	uint8_t right;
	uint8_t kind; /* enum kh_wire_source */
	bool asked; /* REQ of @attempt sent */
	bool owned;
	bool granted;
	bool data;
	bool known; /* @held, @held_token and @copy are as in the module */
	bool copy; /* the module has one, which DATA cannot replace */
	bool over;
	struct kh_hnode wanted; /* in the region's, until over */
	const void *bytes; /* its DATA, where the host has received it; else NULL */
	struct kh_list borrowed; /* in the node's, while there are @bytes */
	struct kh_ask *ask;
};

/* A request that is over and whose DONE the home may not have seen. */
struct kh_done {
	struct kh_list node;
	uint64_t unit;
	uint64_t request;
	uint64_t token;
	uint64_t version;
	uint64_t sequence; /* RENEWs sent before it */
};

/* A request of this node under way. */
struct kh_ask {
	struct kh_hnode node;
	struct kh_list region_node;
	struct kh_region *region;
	uint64_t id;
	uint32_t want;
	uint32_t flags; /* KH_REQ_* */
	uint64_t deadline_ns;
	uint64_t retry_ns; /* when to ask (again), KH_NEVER: all asked */
	uint64_t backoff_ns;
	uint64_t flush_ns; /* when held back COMMITs must go, KH_NEVER: none */
	uint64_t first;
	uint32_t count;
	uint32_t left; /* units not over */
	uint32_t ready; /* units that could be committed */
	struct kh_ask_unit units[];
};

/* ask.c */
struct kh_ask *kh_ask_find(struct kh_node *node, uint64_t id);
struct kh_ask_unit *kh_ask_at(struct kh_ask *ask, uint64_t unit);
uint64_t kh_ask_number(const struct kh_ask_unit *u);
struct kh_ask_unit *kh_ask_wanted(const struct kh_region *region, uint64_t unit);
bool kh_ask_ready(const struct kh_ask_unit *u);
void kh_ask_count_ready(struct kh_ask *ask);
struct kh_ask *kh_ask_new(struct kh_region *region, uint64_t first, uint32_t count, uint32_t want,
			  uint32_t flags, uint32_t timeout_ms);
void kh_ask_free(struct kh_ask *ask);
bool kh_ask_may(struct kh_node *node, struct kh_region *region);
void kh_ask_known(struct kh_ask_unit *u, const struct khazana_cmd *cmd);
void kh_ask_push(struct kh_ask *ask);
void kh_ask_abort(const struct kh_ask_unit *u);
void kh_ask_over(struct kh_ask_unit *u);
void kh_ask_unit_again(struct kh_ask_unit *u, bool later);
void kh_ask_unit_fail(struct kh_ask_unit *u, uint32_t error);
void kh_ask_return(struct kh_ask_unit *u);
void kh_ask_supersede(struct kh_region *region, uint64_t unit);

/* grant.c */
void kh_ask_commit(struct kh_ask *ask);

/* done.c */
void kh_done_send(struct kh_region *region, uint64_t request, uint64_t unit, uint64_t token,
		  uint64_t version, uint32_t flags);
void kh_done_free(struct kh_node *node, struct kh_done *done);
void kh_done_unknown(struct kh_region *region, const struct kh_wire_head *h, uint64_t unit,
		     uint64_t token);

#endif /* KH_CORE_ASK_H */
