/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * done.c - requests of this node that are over
 *
 * A GRANT for a request that is not known (any more) is answered by DONE if it was completed, else
 * by DONE with ABORTED: the home never waits for nobody.
 */
#include <stdlib.h>
#include "ask.h"

void kh_done_send(struct kh_region *region, uint64_t request, uint64_t unit, uint64_t token,
		  uint64_t version, uint32_t flags)
{
	struct kh_node *node = region->owner;
	struct kh_peer *home = kh_peer_find(node, region->home_id);
	struct kh_wire_head head = kh_head(region);
	struct kh_wire_done *e;

	if (!home)
		return;
	head.request = request;
	head.party = node->config.id;
	e = kh_out(node, home, KH_WIRE_DONE, &head);
	e->unit = unit;
	e->token = token;
	e->version = version;
	e->flags = flags;
}

void kh_done_free(struct kh_node *node, struct kh_done *done)
{
	kh_list_del(&done->node);
	free(done);
	node->done_count--;
}

/* The home has seen what was sent before RENEW @sequence; each lease counts its own. */
void kh_done_prune(struct kh_node *node, const struct kh_lease *lease, uint64_t sequence)
{
	struct kh_region *region;
	struct kh_done *done, *tmp;

	kh_list_each (region, &node->regions, node) {
		if (region->lease != lease)
			continue;
		kh_list_each_safe (done, tmp, &region->dones, node) {
			if (done->sequence >= sequence)
				break;
			kh_done_free(node, done);
		}
	}
}

/* The home speaks of a request that is over: did it end well?  @token 0: any. */
void kh_done_unknown(struct kh_region *region, const struct kh_wire_head *h, uint64_t unit,
		     uint64_t token)
{
	struct kh_done *done;

	kh_list_each (done, &region->dones, node) {
		if (done->request == h->request && done->unit == unit &&
		    (!token || done->token == token)) {
			kh_done_send(region, h->request, unit, done->token, done->version, 0);
			return;
		}
	}
	kh_done_send(region, h->request, unit, token, 0, KH_DONE_ABORTED);
}
