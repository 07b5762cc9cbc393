/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serve.c - calls of other nodes, as they are executed here
 *
 *   CALL kh_on_call() -> needs no key: executed, RESULT
 *                     -> CHALLENGE ... PROOF kh_on_proof() -> executed, RESULT
 *
 * Some calls take longer: those of space.c, FLUSH until its range is durable
 * (kh_served_flushed()), and SETATTR of the key until no node grants a lock by the old one: a node
 * that has a lease is told, or its lease ends (R32).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "serve.h"

#define KH_TELL_MS 1000u /* then a node is asked again whether it has heard */
#define KH_SERVE_MS 30000u /* a caller that does not prove its key, or cannot begin, is forgotten */
#define KH_ATTR_FLAGS_KNOWN (KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO)

void kh_served_answer(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		      uint32_t error, enum kh_wire_payload payload, const void *data, size_t len)
{
	const struct kh_wire_result result = {
		.error = error,
		.payload = error ? KH_PAYLOAD_NONE : payload,
	};

	kh_out_data(node, to, KH_WIRE_RESULT, h, &result, error ? NULL : data, error ? 0 : len);
}

void kh_served_end(struct kh_node *node, struct kh_served *served, uint32_t error)
{
	if (!served->gone)
		kh_served_answer(node, served->peer, &served->head, error, KH_PAYLOAD_NONE, NULL,
				 0);
	served->peer->call_count--;
	kh_list_del(&served->node);
	kh_intervals_free(&served->before);
	free(served->units);
	free(served);
}

/* The units that a call is about: 0, EINVAL, ERANGE. */
uint32_t kh_served_units(const struct kh_region *region, const struct kh_wire_call *call,
			 uint64_t *first, uint64_t *end)
{
	uint64_t mask = (1ull << region->unit_shift) - 1;
	uint64_t hi = call->addr_hi - region->start.hi - (call->addr_lo < region->start.lo);
	uint64_t offset = call->addr_lo - region->start.lo;

	if (!call->length || (call->length & mask) || (offset & mask))
		return EINVAL;
	if (hi || offset >= region->length || call->length > region->length - offset)
		return ERANGE;
	*first = offset >> region->unit_shift;
	*end = *first + (call->length >> region->unit_shift);
	return 0;
}

static uint32_t check_attr(const struct kh_region *region, const struct kh_wire_call *call)
{
	uint32_t mask = call->attr_mask;

	if (!mask || (mask & ~(KH_ATTR_LEASE_MS | KH_ATTR_KEY | KH_ATTR_MIN_REPLICAS |
			       KH_ATTR_DURABILITY | KH_ATTR_WAIT_MS | KH_ATTR_FLAGS)))
		return EINVAL;
	if ((mask & KH_ATTR_LEASE_MS) &&
	    (call->lease_ms < KH_LEASE_MS_MIN || call->lease_ms > KH_LEASE_MS_MAX))
		return EINVAL;
	if ((mask & KH_ATTR_FLAGS) && (call->attr_flags & ~KH_ATTR_FLAGS_KNOWN))
		return EINVAL;
	if ((mask & KH_ATTR_MIN_REPLICAS) && call->min_replicas > 1)
		return EOPNOTSUPP;
	if ((mask & KH_ATTR_DURABILITY) && call->durability > 1)
		return EINVAL;
	/* What is written down of holders is tied to their lease of the old class. */
	if ((mask & KH_ATTR_LEASE_MS) && call->lease_ms != region->attr.lease_ms &&
	    region->home->units.count)
		return EBUSY;
	return 0;
}

static void describe_to(const struct kh_region *region, struct kh_peer *peer)
{
	struct kh_wire_head head = kh_head(region);

	kh_region_describe(region, kh_out(region->owner, peer, KH_WIRE_HERE, &head));
}

static void tell_next(struct kh_node *node, struct kh_served *served);

/* The answer came behind our HERE. */
static void told(struct kh_node *node, void *context, const struct kh_wire_result *result,
		 const void *data, size_t len)
{
	struct kh_served *served = context;

	if (!result->error)
		served->untold &= ~(1ull << served->telling);
	served->telling = 0;
	tell_next(node, served);
}

/*
 * Ask one node that may grant locks by the old key; without a lease it cannot, and before it gets
 * one again it is told (kh_served_synced()).
 */
static void tell_next(struct kh_node *node, struct kh_served *served)
{
	const struct kh_wire_call null = { .code = KH_OP_NULL };
	unsigned int i;

	for (i = 1; i < node->peer_count && !served->telling; i++) {
		struct kh_peer *peer = &node->peers[i];

		if (!kh_grantee_valid(node, served->region, peer->id))
			served->untold &= ~(1ull << i);
		if (!(served->untold >> i & 1) || !kh_peer_up(peer))
			continue;
		served->telling = i;
		describe_to(served->region, peer);
		kh_call(node, peer->id, NULL, &null, NULL, NULL, node->now + KH_TELL_MS * KH_MS,
			told, served);
	}
	if (!served->untold)
		kh_served_end(node, served, 0);
}

/* A lease is over, or a node is back: SETATTRs of keys may go on. */
void kh_served_tell(struct kh_node *node)
{
	struct kh_served *served, *tmp;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++)
		kh_list_each_safe (served, tmp, &node->peers[i].calls, node)
			if (served->stage == KH_SERVED_TELLING && !served->telling)
				tell_next(node, served);
}

/* @peer is back: what it missed it hears before it gets a lease. */
void kh_served_synced(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_region *region;

	kh_list_each (region, &node->regions, node)
		if (region->home && !region->home->going && region->key_serial)
			describe_to(region, peer);
	kh_served_tell(node);
}

static uint32_t serve_setattr(struct kh_node *node, struct kh_region *region,
			      const struct kh_wire_call *call, const uint8_t *new_verifier)
{
	struct kh_attr old = region->attr;
	uint8_t old_verifier[KH_VERIFIER_SIZE];
	bool new_key = call->attr_mask & KH_ATTR_KEY, another;
	uint32_t error = check_attr(region, call);
	unsigned int i;

	if (error)
		return error;
	memcpy(old_verifier, region->home->verifier, sizeof(old_verifier));
	/* It may be asked for again because the answer was lost: those who have the key are right. */
	another = new_key && memcmp(old_verifier, new_verifier, sizeof(old_verifier)) != 0;
	if (call->attr_mask & KH_ATTR_LEASE_MS)
		region->attr.lease_ms = call->lease_ms;
	if (call->attr_mask & KH_ATTR_WAIT_MS)
		region->attr.wait_ms = call->wait_ms ? call->wait_ms : KH_TIMEOUT_MS;
	if (call->attr_mask & KH_ATTR_DURABILITY)
		region->attr.durability = call->durability;
	if (call->attr_mask & KH_ATTR_FLAGS)
		region->attr.flags = call->attr_flags;
	if (new_key)
		memcpy(region->home->verifier, new_verifier, KH_VERIFIER_SIZE);
	region->key_serial += another;
	if (kh_region_persist(region)) {
		region->attr = old;
		memcpy(region->home->verifier, old_verifier, sizeof(old_verifier));
		region->key_serial -= another;
		return EIO;
	}
	kh_region_set_module(region);
	if (another)
		kh_ask_key_changed(region);
	for (i = 1; i < node->peer_count; i++)
		if (node->peers[i].connected)
			describe_to(region, &node->peers[i]);
	return 0;
}

static void serve_page(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		       struct kh_region *region, const struct kh_wire_call *call)
{
	struct khazana_addr addr = { call->addr_hi, call->addr_lo };
	uint64_t index = kh_region_unit(region, addr), offset = index << region->unit_shift;
	const struct kh_unit *unit = kh_unit_find(region, index);
	const struct kh_place *place = kh_place_of(region, index);
	struct kh_wire_page page = { .home = node->config.id };
	unsigned int i;

	if (index >= region->units || !kh_intervals_has(&region->home->allocated, index)) {
		kh_served_answer(node, to, h, index >= region->units ? ERANGE : ENXIO,
				 KH_PAYLOAD_NONE, NULL, 0);
		return;
	}
	addr = kh_addr_add(region->start, offset);
	page.start_hi = addr.hi;
	page.start_lo = addr.lo;
	page.busy = region->home->recovering; /* nothing is known yet */
	if (unit) {
		page.version = unit->version;
		page.token = unit->token;
		page.owner = kh_holder_valid(unit, &unit->owner) ? unit->owner.party : 0;
		page.backup = kh_holder_valid(unit, &unit->backup) ? unit->backup.party : 0;
		page.right = unit->owner_right;
		page.busy |= unit->busy != NULL;
		page.waiting = unit->waiting_count;
		for (i = 0; i < unit->copy_count && i < KH_PAGE_HOLDERS_MAX; i++)
			page.readers[page.reader_count++] = unit->copies[i].party;
		page.stored = unit->stored;
	}
	if (place)
		page.place = place->node;
	kh_served_answer(node, to, h, 0, KH_PAYLOAD_PAGE, &page, sizeof(page));
}

/* What could be read in the range when the call was made becomes durable. */
static void serve_flush(struct kh_node *node, struct kh_served *served)
{
	uint32_t error =
		kh_served_units(served->region, &served->call, &served->first, &served->end);

	if (!error && served->region->home->recovering)
		error = EAGAIN;
	if (error) {
		kh_served_end(node, served, error);
		return;
	}
	served->stage = KH_SERVED_FLUSHING;
	kh_flush_start(served->region, served->first, served->end, served);
}

void kh_served_flushed(struct kh_node *node, struct kh_served *served, uint32_t error)
{
	kh_served_end(node, served, error);
}

static void serve_list(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h)
{
	const struct kh_region *region;
	struct kh_wire_region *list;
	size_t n = 0;

	kh_list_each (region, &node->regions, node)
		n += region->home != NULL;
	list = kh_zalloc((n + 1) * sizeof(*list));
	n = 0;
	kh_list_each (region, &node->regions, node)
		if (region->home && (n + 1) * sizeof(*list) <= KH_DATA_MAX)
			kh_region_describe(region, &list[n++]);
	kh_served_answer(node, to, h, 0, KH_PAYLOAD_REGIONS, list, n * sizeof(*list));
	free(list);
}

static void serve_echo(struct kh_node *node, struct kh_peer *to, const struct kh_wire_head *h,
		       const struct kh_wire_call *call)
{
	uint8_t *bytes;

	if (call->length > KH_DATA_MAX) {
		kh_served_answer(node, to, h, EINVAL, KH_PAYLOAD_NONE, NULL, 0);
		return;
	}
	bytes = kh_zalloc(call->length + 1);
	kh_served_answer(node, to, h, 0, KH_PAYLOAD_BYTES, bytes, call->length);
	free(bytes);
}

/* Is the region attached to a file of this node? */
static uint32_t serve_in_use(struct kh_node *node, const struct kh_wire_head *h)
{
	struct kh_region *region = kh_region_of(node, h);
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_REGION_GET };

	if (!region || !region->handle)
		return 0;
	cmd.region = region->handle;
	if (kh_command(node, &cmd) || cmd.region != region->handle)
		return 0;
	return cmd.count ? EBUSY : 0;
}

/* Calls that are about no region, or not for its home.  Return: was it one? */
static bool serve_any(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		      const struct kh_wire_call *call)
{
	switch (call->code) {
	case KH_OP_NULL:
		kh_served_answer(node, from, h, 0, KH_PAYLOAD_NONE, NULL, 0);
		return true;
	case KH_OP_ECHO:
		serve_echo(node, from, h, call);
		return true;
	case KH_OP_REGION_LIST:
		serve_list(node, from, h);
		return true;
	case KH_CALL_IN_USE:
		kh_served_answer(node, from, h, serve_in_use(node, h), KH_PAYLOAD_NONE, NULL, 0);
		return true;
	default:
		return kh_keep_call(node, from, h, call);
	}
}

static struct kh_served *served_new(struct kh_node *node, struct kh_peer *from,
				    const struct kh_wire_head *h, const struct kh_wire_call *call)
{
	struct kh_served *served = kh_zalloc(sizeof(*served));

	served->peer = from;
	served->head = *h;
	served->call = *call;
	served->deadline_ns = node->now + KH_SERVE_MS * KH_MS;
	kh_list_add(&from->calls, &served->node);
	from->call_count++;
	return served;
}

static void serve_keyed(struct kh_node *node, struct kh_served *served, const uint8_t *new_verifier)
{
	struct kh_region *region = served->region;
	struct kh_wire_region desc;
	unsigned int i;
	uint32_t error;

	switch (served->call.code) {
	case KH_CALL_ATTACH:
		kh_region_describe(region, &desc);
		kh_served_answer(node, served->peer, &served->head, 0, KH_PAYLOAD_REGIONS, &desc,
				 sizeof(desc));
		served->gone = true;
		kh_served_end(node, served, 0);
		return;
	case KH_OP_ALLOCATE:
		kh_serve_allocate(node, served);
		return;
	case KH_OP_FREE:
		kh_serve_free(node, served);
		return;
	case KH_OP_UNRESERVE:
		kh_serve_unreserve(node, served);
		return;
	default:
		error = serve_setattr(node, region, &served->call, new_verifier);
		if (error || !(served->call.attr_mask & KH_ATTR_KEY)) {
			kh_served_end(node, served, error);
			return;
		}
		served->stage = KH_SERVED_TELLING;
		for (i = 1; i < node->peer_count; i++)
			served->untold |= 1ull << i;
		tell_next(node, served);
	}
}

static bool is_keyed(uint32_t code)
{
	return code == KH_CALL_ATTACH || code == KH_OP_ALLOCATE || code == KH_OP_FREE ||
	       code == KH_OP_UNRESERVE || code == KH_OP_SETATTR;
}

void kh_on_call(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		const void *data)
{
	const struct kh_wire_call *call = kh_entries(h);
	struct kh_region *region = kh_region_of(node, h);
	struct kh_wire_not_home *moved;
	struct kh_wire_region desc;
	struct kh_served *served;

	if (serve_any(node, from, h, call))
		return;
	if (!region || !region->home || region->home->going) {
		moved = kh_out(node, from, KH_WIRE_NOT_HOME, h);
		moved->hint = region && !region->home ? region->home_id : 0;
		moved->kind = KH_WIRE_CALL;
		return;
	}
	if (call->code == KH_OP_GETATTR) {
		kh_region_describe(region, &desc);
		kh_served_answer(node, from, h, 0, KH_PAYLOAD_REGIONS, &desc, sizeof(desc));
	} else if (call->code == KH_OP_PAGE_SHOW) {
		serve_page(node, from, h, region, call);
	} else if (!is_keyed(call->code) && call->code != KH_CALL_FLUSH) {
		kh_served_answer(node, from, h, EOPNOTSUPP, KH_PAYLOAD_NONE, NULL, 0);
	} else if (from->call_count >= KH_CALLS_MAX) {
		kh_count(node, KH_STAT_QUEUE_FULL);
		kh_served_answer(node, from, h, EBUSY, KH_PAYLOAD_NONE, NULL, 0);
	} else if (call->code == KH_CALL_FLUSH) {
		served = served_new(node, from, h, call);
		served->region = region;
		serve_flush(node, served);
	} else if (call->code == KH_OP_UNRESERVE && call->privileged) {
		served = served_new(node, from, h, call);
		served->region = region;
		serve_keyed(node, served, NULL);
	} else {
		struct kh_wire_challenge *e;

		served = served_new(node, from, h, call);
		node->ops->random(node->host, served->nonce, sizeof(served->nonce));
		e = kh_out(node, from, KH_WIRE_CHALLENGE, h);
		memcpy(e->nonce, served->nonce, sizeof(e->nonce));
		kh_arm(node, served->deadline_ns);
	}
}

static struct kh_served *served_find(struct kh_peer *peer, uint64_t request)
{
	struct kh_served *served;

	kh_list_each (served, &peer->calls, node)
		if (served->head.request == request && served->stage == KH_SERVED_CHALLENGED &&
		    !served->region && !served->gone)
			return served;
	return NULL;
}

void kh_on_proof(struct kh_node *node, struct kh_peer *from, const struct kh_wire_head *h,
		 const void *data)
{
	const struct kh_wire_proof *e = kh_entries(h);
	struct kh_served *served = served_find(from, h->request);
	uint8_t mac[KH_WIRE_MAC_SIZE], new_verifier[KH_VERIFIER_SIZE];
	struct {
		struct kh_wire_call call;
		uint8_t new_key[KH_WIRE_MAC_SIZE];
	} what = { 0 };
	unsigned int i;

	if (!served)
		return;
	served->region = kh_region_of(node, &served->head);
	if (!served->region || !served->region->home || served->region->home->going) {
		kh_served_end(node, served, ENOENT);
		return;
	}
	what.call = served->call;
	memcpy(what.new_key, e->new_key, sizeof(what.new_key));
	kh_key_mac(served->region->home->verifier, "call", served->nonce, from->id, &what,
		   sizeof(what), mac);
	if (!kh_key_equal(mac, e->mac, sizeof(mac))) {
		kh_count(node, KH_STAT_KEYS_REJECTED);
		kh_served_end(node, served, EKEYREJECTED);
		return;
	}
	kh_key_mac(served->region->home->verifier, "new key", served->nonce, from->id, "", 0, mac);
	for (i = 0; i < sizeof(mac); i++)
		new_verifier[i] = e->new_key[i] ^ mac[i];
	serve_keyed(node, served, new_verifier);
	OPENSSL_cleanse(new_verifier, sizeof(new_verifier));
}

/* Callers that never prove their key, and what could not begin in time. */
void kh_served_tick(struct kh_node *node)
{
	struct kh_served *served, *tmp;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		kh_list_each_safe (served, tmp, &node->peers[i].calls, node) {
			if (served->stage != KH_SERVED_WAITING &&
			    (served->stage != KH_SERVED_CHALLENGED || served->region))
				continue;
			if (served->deadline_ns <= node->now)
				kh_served_end(node, served, ETIMEDOUT);
			else
				kh_arm(node, served->deadline_ns);
		}
	}
}

/* The connection to @peer is gone: what can be given up is, the rest ends without an answer. */
void kh_served_drop(struct kh_node *node, struct kh_peer *peer)
{
	struct kh_served *served, *tmp;

	kh_list_each_safe (served, tmp, &peer->calls, node) {
		served->gone = true;
		if (served->stage == KH_SERVED_CHALLENGED || served->stage == KH_SERVED_WAITING)
			kh_served_end(node, served, 0);
	}
}

/* The node ends: nobody is answered. */
void kh_served_free(struct kh_node *node)
{
	struct kh_served *served, *tmp;
	unsigned int i;

	for (i = 0; i < node->peer_count; i++) {
		kh_list_each_safe (served, tmp, &node->peers[i].calls, node) {
			served->gone = true;
			kh_served_end(node, served, 0);
		}
	}
}
