/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * call.c - calls of other nodes, as the caller makes them
 *
 *   kh_call() -> CALL ... CHALLENGE kh_on_challenge() -> PROOF ... RESULT kh_on_result()
 *
 * A call that needs no key is answered by RESULT at once.  Every call ends exactly once: by its
 * RESULT, its deadline, the loss of the connection, or NOT_HOME.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "core.h"

struct kh_call {
	struct kh_hnode node;
	kh_node_id peer;
	struct khazana_addr start; /* of the region, zero for none */
	uint64_t generation;
	struct kh_wire_head head;
	struct kh_wire_call call;
	uint8_t verifier[KH_VERIFIER_SIZE];
	uint8_t new_verifier[KH_VERIFIER_SIZE];
	bool keyed;
	bool proven;
	uint64_t deadline_ns;
	kh_answered *answered;
	void *context;
};

static void call_free(struct kh_node *node, struct kh_call *c)
{
	kh_hash_del(&node->calls, &c->node);
	OPENSSL_cleanse(c, sizeof(*c));
	free(c);
}

static void call_end(struct kh_node *node, struct kh_call *c, const struct kh_wire_result *result,
		     const void *data, size_t len)
{
	kh_answered *answered = c->answered;
	void *context = c->context;

	call_free(node, c);
	answered(node, context, result, data, len);
}

static void call_fail(struct kh_node *node, struct kh_call *c, uint32_t error)
{
	const struct kh_wire_result result = { .error = error };

	call_end(node, c, &result, NULL, 0);
}

static struct kh_call *call_find(struct kh_node *node, uint64_t id)
{
	struct kh_hnode *n = kh_hash_find(&node->calls, id);

	return kh_hash_entry(n, struct kh_call, node);
}

/**
 * kh_call() - ask a node for something
 * @node: the node
 * @peer: whom; may be this node itself
 * @region: what it is about, or NULL
 * @call: what; copied
 * @key: the region's key, or NULL if the call needs none
 * @new_key: SETATTR of the key, or NULL
 * @deadline_ns: then the answer is ETIMEDOUT
 * @answered: called exactly once, never from here; its result's error may also be EREMCHG: the
 *	node is not the region's home, look it up again
 * @context: for @answered
 *
 * Return: id for kh_call_cancel().
 */
uint64_t kh_call(struct kh_node *node, kh_node_id peer, struct kh_region *region,
		 const struct kh_wire_call *call, const uint8_t *key, const uint8_t *new_key,
		 uint64_t deadline_ns, kh_answered *answered, void *context)
{
	struct kh_call *c = kh_zalloc(sizeof(*c));
	struct kh_peer *to = kh_peer_find(node, peer);
	struct kh_wire_call *e;

	c->peer = peer;
	c->call = *call;
	c->deadline_ns = deadline_ns;
	c->answered = answered;
	c->context = context;
	if (region) {
		c->start = region->start;
		c->generation = region->generation;
		c->head = kh_head(region);
		if (key) {
			c->keyed = true;
			kh_key_verifier(key, region->start, region->generation, c->verifier);
		}
		if (new_key)
			kh_key_verifier(new_key, region->start, region->generation,
					c->new_verifier);
	}
	kh_hash_add(&node->calls, &c->node, ++node->next_request);
	c->head.request = c->node.key;
	c->head.party = node->config.id;
	if (!kh_peer_up(to)) {
		/* Nobody is there: the next tick says so. */
		c->deadline_ns = node->now;
		c->peer = 0;
	} else {
		e = kh_out(node, to, KH_WIRE_CALL, &c->head);
		*e = *call;
	}
	kh_arm(node, c->deadline_ns);
	return c->node.key;
}

/* Nobody wants the answer any more; @answered is not called. */
void kh_call_cancel(struct kh_node *node, uint64_t id)
{
	struct kh_call *c = call_find(node, id);

	if (c)
		call_free(node, c);
}

void kh_on_challenge(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		     const void *data)
{
	const struct kh_wire_challenge *e = kh_entries(h);
	struct kh_call *c = call_find(node, h->request);
	struct {
		struct kh_wire_call call;
		uint8_t new_key[KH_WIRE_MAC_SIZE];
	} what = { 0 };
	struct kh_wire_proof *proof;
	uint8_t mask[KH_WIRE_MAC_SIZE];
	unsigned int i;

	if (!c || c->peer != from->id || !c->keyed || c->proven)
		return;
	c->proven = true;
	what.call = c->call;
	if (c->call.attr_mask & KH_ATTR_KEY) {
		kh_key_mac(c->verifier, "new key", e->nonce, node->config.id, "", 0, mask);
		for (i = 0; i < sizeof(mask); i++)
			what.new_key[i] = c->new_verifier[i] ^ mask[i];
	}
	proof = kh_out(node, from, KH_WIRE_PROOF, &c->head);
	memcpy(proof->new_key, what.new_key, sizeof(what.new_key));
	kh_key_mac(c->verifier, "call", e->nonce, node->config.id, &what, sizeof(what), proof->mac);
}

void kh_on_result(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		  const void *data)
{
	const struct kh_wire_result *e = kh_entries(h);
	struct kh_call *c = call_find(node, h->request);

	if (c && c->peer == from->id)
		call_end(node, c, e, data, h->data_len);
}

/* NOT_HOME came for a call.  Return: was there one? */
bool kh_call_moved(struct kh_node *node, uint64_t id)
{
	struct kh_call *c = call_find(node, id);

	if (!c)
		return false;
	call_fail(node, c, EREMCHG);
	return true;
}

/* End the calls that @match chooses; a callback may make new ones. */
static void calls_fail(struct kh_node *node, bool (*match)(const struct kh_call *c, uint64_t what),
		       uint64_t what, uint32_t error)
{
	struct kh_hnode *n = kh_hash_first(&node->calls);

	while (n) {
		struct kh_call *c = kh_container(n, struct kh_call, node);

		if (match(c, what)) {
			call_fail(node, c, c->peer ? error : EHOSTUNREACH);
			n = kh_hash_first(&node->calls);
		} else {
			n = kh_hash_next(&node->calls, n);
		}
	}
}

static bool is_over(const struct kh_call *c, uint64_t now)
{
	return c->deadline_ns <= now;
}

static bool is_of(const struct kh_call *c, uint64_t peer)
{
	return c->peer == peer;
}

void kh_call_tick(struct kh_node *node)
{
	struct kh_hnode *n;

	calls_fail(node, is_over, node->now, ETIMEDOUT);
	for (n = kh_hash_first(&node->calls); n; n = kh_hash_next(&node->calls, n))
		kh_arm(node, kh_container(n, struct kh_call, node)->deadline_ns);
}

/* What was asked of @peer may or may not have happened. */
void kh_call_peer_down(struct kh_node *node, struct kh_peer *peer)
{
	calls_fail(node, is_of, peer->id, EHOSTUNREACH);
}

void kh_call_free(struct kh_node *node)
{
	struct kh_hnode *n;

	while ((n = kh_hash_first(&node->calls)))
		call_free(node, kh_container(n, struct kh_call, node));
	kh_hash_free(&node->calls);
}
