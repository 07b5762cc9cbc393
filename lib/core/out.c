/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * out.c - messages that leave
 *
 * Entries of one kind about one request that go to one peer one after the other in a step
 * become one message.  Messages to this node itself wait in a queue of their own.
 */
#include <string.h>
#include "core.h"

struct kh_wire_head kh_head(const struct kh_region *region)
{
	struct kh_wire_head head = { 0 };

	head.region_hi = region->start.hi;
	head.region_lo = region->start.lo;
	head.generation = region->generation;
	head.epoch = region->home ? region->home->epoch : region->epoch;
	return head;
}

static struct kh_local *local_new(struct kh_node *node, size_t len)
{
	struct kh_local *local = kh_zalloc(sizeof(*local) + len);

	local->len = len;
	kh_list_add(&node->local, &local->node);
	return local;
}

static void count_out(struct kh_node *node, struct kh_peer *peer, unsigned int kind, size_t len)
{
	node->kind_out[kind]++;
	peer->messages_out++;
	peer->bytes_out += len;
}

/* The message under construction leaves. */
static void flush_peer(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_wire_head *head = (struct kh_wire_head *)peer->out;
	size_t len = peer->out_len;

	if (!len)
		return;
	head->length = (uint32_t)len;
	peer->out_len = 0;
	if (peer->self) {
		memcpy(local_new(node, len)->bytes, head, len);
		return;
	}
	if (!peer->connected)
		return;
	count_out(node, peer, head->kind, len);
	kh_wire_swap(head, true);
	node->ops->send(node->host, peer->id, head, len, NULL, 0);
}

static bool same(const struct kh_wire_head *a, const struct kh_wire_head *b, unsigned int kind)
{
	return a->kind == kind && a->region_hi == b->region_hi && a->region_lo == b->region_lo &&
	       a->generation == b->generation && a->request == b->request && a->party == b->party &&
	       a->attempt == b->attempt && a->epoch == b->epoch && kh_wire_entry_size(kind) &&
	       a->count < KH_WIRE_ENTRIES_MAX;
}

static bool joins(enum kh_wire_kind kind)
{
	switch (kind) {
	case KH_WIRE_REQ:
	case KH_WIRE_GRANT:
	case KH_WIRE_NACK:
	case KH_WIRE_FORWARD:
	case KH_WIRE_INV:
	case KH_WIRE_IACK:
	case KH_WIRE_DONE:
	case KH_WIRE_HDONE:
	case KH_WIRE_HASK:
	case KH_WIRE_EVICT:
	case KH_WIRE_INVENTORY:
	case KH_WIRE_VERDICT:
	case KH_WIRE_FLUSH:
	case KH_WIRE_STORED:
	case KH_WIRE_LOOK:
	case KH_WIRE_LOAD:
	case KH_WIRE_SAFE:
		return true;
	default:
		return false;
	}
}

static void reserve(struct kh_peer *peer, size_t len)
{
	if (len <= peer->out_size)
		return;
	peer->out_size = len < 4096 ? 4096 : len * 2;
	peer->out = kh_realloc(peer->out, peer->out_size);
}

/**
 * kh_out() - one more entry for @peer
 * @node: the node
 * @peer: to whom
 * @kind: of message
 * @head: region, generation, request, party, attempt, epoch
 *
 * Return: the zeroed entry to fill in, good until the next call; NULL if the kind has none.
 */
void *kh_out(struct kh_node *node, struct kh_peer *peer, enum kh_wire_kind kind,
	     const struct kh_wire_head *head)
{
	size_t size = kh_wire_entry_size(kind);
	struct kh_wire_head *h = (struct kh_wire_head *)peer->out;
	void *entry;

	if (peer->out_len && !(joins(kind) && same(h, head, kind)))
		flush_peer(node, peer);
	if (!peer->out_len) {
		reserve(peer, sizeof(*h) + size);
		h = (struct kh_wire_head *)peer->out;
		*h = *head;
		h->magic = KH_WIRE_MAGIC;
		h->kind = kind;
		h->count = 0;
		h->data_len = 0;
		peer->out_len = sizeof(*h);
	}
	if (!size)
		return NULL;
	reserve(peer, peer->out_len + size);
	h = (struct kh_wire_head *)peer->out;
	h->count++;
	entry = peer->out + peer->out_len;
	memset(entry, 0, size);
	peer->out_len += size;
	return entry;
}

/**
 * kh_out_data() - a message of one entry and a body; leaves at once
 */
void kh_out_data(struct kh_node *node, struct kh_peer *peer, enum kh_wire_kind kind,
		 const struct kh_wire_head *head, const void *entry, const void *data, size_t len)
{
	size_t size = kh_wire_entry_size(kind), head_len = sizeof(*head) + size;
	uint64_t buf[(sizeof(*head) + 128) / 8];
	struct kh_wire_head *h = (struct kh_wire_head *)buf;
	struct kh_local *local;

	flush_peer(node, peer);
	*h = *head;
	h->magic = KH_WIRE_MAGIC;
	h->kind = kind;
	h->count = 1;
	h->data_len = (uint32_t)len;
	h->length = (uint32_t)(head_len + len);
	memcpy(h + 1, entry, size);
	if (peer->self) {
		local = local_new(node, head_len + len);
		memcpy(local->bytes, buf, head_len);
		if (len)
			memcpy((uint8_t *)local->bytes + head_len, data, len);
		return;
	}
	if (!peer->connected)
		return;
	count_out(node, peer, kind, head_len + len);
	kh_wire_swap(h, true);
	node->ops->send(node->host, peer->id, buf, head_len, data, len);
}

/* Everything under construction leaves.  Return: is there something for the node itself? */
bool kh_out_flush(struct kh_node *node)
{
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		flush_peer(node, &node->peers[i]);
	return !kh_list_empty(&node->local);
}

/* What is under construction for a peer that is gone. */
void kh_out_drop(struct kh_peer *peer)
{
	peer->out_len = 0;
}
