/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire.h - every structure that two nodes exchange
 *
 * A message is a struct kh_wire_head, @count entries of the kind's structure
 * and @data_len bytes of data.  All fields are little endian on the wire and of fixed width;
 * in memory they are in host order: kh_wire_swap() converts (nothing to do on x86).  The first
 * four bytes are the length of the whole message, so that a host can frame a TCP stream with
 * kh_wire_frame_len().  kh_wire_check() must accept a message before any field of it is used.
 */
#ifndef KH_CORE_WIRE_H
#define KH_CORE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "node.h"

#define KH_WIRE_MAGIC 0x5a4b /* "KZ" */
#define KH_WIRE_VERSION_MIN 1
#define KH_WIRE_VERSION_MAX 1
#define KH_WIRE_ENTRIES_MAX KHAZANA_RANGE_UNITS_MAX
#define KH_WIRE_CLUSTER_MAX 32
#define KH_WIRE_MAC_SIZE 32
#define KH_WIRE_NONCE_SIZE 16

enum kh_wire_kind {
	KH_WIRE_HELLO = 1,
	KH_WIRE_REQ = 2,
	KH_WIRE_GRANT = 3,
	KH_WIRE_NACK = 4,
	KH_WIRE_FORWARD = 5,
	KH_WIRE_DATA = 6,
	KH_WIRE_INV = 7,
	KH_WIRE_IACK = 8,
	KH_WIRE_DONE = 9,
	KH_WIRE_HDONE = 10,
	KH_WIRE_EVICT = 11,
	KH_WIRE_RENEW = 12,
	KH_WIRE_RENEW_ACK = 13,
	KH_WIRE_ASK = 14, /* home to node: send your inventory */
	KH_WIRE_INVENTORY = 15,
	KH_WIRE_END = 16, /* of an inventory */
	KH_WIRE_VERDICT = 17, /* RESUME or LOST */
	KH_WIRE_WHERE = 18,
	KH_WIRE_HERE = 19,
	KH_WIRE_NOT_HOME = 20,
	KH_WIRE_CALL = 21,
	KH_WIRE_CHALLENGE = 22,
	KH_WIRE_PROOF = 23,
	KH_WIRE_RESULT = 24,
	KH_WIRE_GONE = 25, /* the region exists no more */
	KH_WIRE_SYNC = 26, /* first message of an end that is up: starts repairs */
	KH_WIRE_HASK = 27, /* may this HANDOFF frame go? */
	KH_WIRE_FLUSH = 28, /* home to holder: send the unit to its place */
	KH_WIRE_STORE = 29, /* holder to place: keep this version */
	KH_WIRE_STORED = 30, /* place to home: what became of STORE or LOOK */
	KH_WIRE_LOOK = 31, /* home to place: which version is there? */
	KH_WIRE_LOAD = 32, /* home to place: send DATA to an asker */
	KH_WIRE_SAFE = 33, /* home to holder: the place has your version */
	KH_WIRE_KINDS = 34,
};

/**
 * struct kh_wire_head - starts every message
 * @length: bytes of the whole message
 * @magic: KH_WIRE_MAGIC
 * @kind: enum kh_wire_kind
 * @count: entries that follow
 * @data_len: bytes that follow the entries
 * @region_hi: upper half of the region's first address, 0 where no region is meant
 * @region_lo: lower half
 * @generation: of the region
 * @request: id given by @party, never used twice (its incarnation in the upper 24 bits)
 * @party: the asker whose request this is about
 * @attempt: of the request
 * @epoch: of the region's home
 */
struct kh_wire_head {
	uint32_t length;
	uint16_t magic;
	uint16_t kind;
	uint32_t count;
	uint32_t data_len;
	uint64_t region_hi;
	uint64_t region_lo;
	uint64_t generation;
	uint64_t request;
	uint32_t party;
	uint32_t attempt;
	uint64_t epoch;
};

/* HELLO, the first message of each side of a connection. */
struct kh_wire_hello {
	uint32_t version_min;
	uint32_t version_max;
	uint32_t node;
	uint32_t features; /* bits; unknown ones are ignored */
	uint64_t incarnation;
	uint64_t boot;
	char cluster[KH_WIRE_CLUSTER_MAX];
};

/* REQ flags */
#define KH_REQ_OVERWRITE (1u << 0)
#define KH_REQ_TRY (1u << 1)
#define KH_REQ_PREFETCH (1u << 2)
#define KH_REQ_LOCK (1u << 3)

struct kh_wire_req {
	uint64_t unit;
	uint64_t version; /* held, or KHAZANA_VERSION_NONE */
	uint64_t token; /* of the last right there, 0: not looked up */
	uint32_t want;
	uint32_t flags;
};

enum kh_wire_source {
	KH_SOURCE_DATA = 0, /* a DATA message brings it */
	KH_SOURCE_HELD = 1, /* the asker has it */
	KH_SOURCE_ZERO = 2, /* all zero */
};

#define KH_GRANT_OWNED (1u << 0)

struct kh_wire_grant {
	uint64_t unit;
	uint64_t token;
	uint64_t need; /* version that the asker needs */
	uint64_t version; /* version that it will be at */
	uint16_t right;
	uint16_t source;
	uint32_t flags;
};

#define KH_NACK_RETRY (1u << 0) /* ask again a little later */

struct kh_wire_nack {
	uint64_t unit;
	uint32_t error; /* positive errno */
	uint32_t flags;
};

#define KH_FORWARD_TRY (1u << 0)

struct kh_wire_forward {
	uint64_t unit;
	uint64_t token;
	uint64_t need;
	uint32_t right; /* asked for */
	uint32_t flags;
};

#define KH_DATA_ZERO (1u << 0) /* no body: all zero */

struct kh_wire_data {
	uint64_t unit;
	uint64_t version;
	uint32_t flags;
	uint32_t reserved;
};

#define KH_INV_KEEP (1u << 0) /* keep the frame as the backup */

struct kh_wire_inv {
	uint64_t unit;
	uint64_t token;
	uint32_t flags;
	uint32_t reserved;
};

enum kh_wire_ack {
	KH_ACK_DONE = 0,
	KH_ACK_DEFERRED = 1, /* explicitly locked; the real answer will follow */
	KH_ACK_ABSENT = 2, /* FORWARD: no frame of that version here */
	KH_ACK_KEPT = 3, /* done, and a HANDOFF frame exists now */
	KH_ACK_DAMAGED = 4, /* LOAD: the stored version cannot be read */
};

struct kh_wire_iack {
	uint64_t unit;
	uint64_t token;
	uint32_t status;
	uint32_t reserved;
};

#define KH_DONE_ABORTED (1u << 0) /* the grant was not and will not be taken */

struct kh_wire_done {
	uint64_t unit;
	uint64_t token;
	uint64_t version; /* that the unit is at now */
	uint32_t flags;
	uint32_t reserved;
};

struct kh_wire_hdone {
	uint64_t unit;
	uint64_t token;
};

#define KH_EVICT_BACKUP (1u << 0) /* a HANDOFF frame is offered, not a right */
#define KH_EVICT_STORE (1u << 1) /* it would be given up if it were stored */

struct kh_wire_evict {
	uint64_t unit;
	uint64_t token;
	uint32_t flags;
	uint32_t reserved;
};

#define KH_RENEW_EXPIRED (1u << 0) /* the sender's lease had ended before */

struct kh_wire_renew {
	uint32_t lease_ms; /* the class */
	uint32_t flags;
	uint64_t sent_ns; /* sender's clock, comes back in the ACK */
	uint64_t sequence;
};

struct kh_wire_ask {
	uint64_t id; /* comes back in END */
};

struct kh_wire_record {
	uint64_t unit;
	uint64_t token;
	uint64_t version; /* of the current frame, VERSION_NONE if none */
	uint64_t token_handoff;
	uint64_t version_handoff; /* VERSION_NONE if none */
	uint16_t right;
	uint16_t state;
	uint32_t uflags;
};

#define KH_FLUSH_BESIDE (1u << 0) /* change nothing: another request waits for a lock */
#define KH_FLUSH_HELD (1u << 1) /* and only if there is still a right: else its asker may have it */

struct kh_wire_flush {
	uint64_t unit;
	uint64_t token;
	uint64_t need; /* version */
	uint64_t generation; /* of the allocation */
	uint32_t place;
	uint32_t flags;
};

struct kh_wire_store {
	uint64_t unit;
	uint64_t token; /* of the FLUSH */
	uint64_t version; /* one less than the holder's: taken while it may go on storing */
	uint64_t generation;
	uint32_t home;
	uint32_t reserved;
};

enum kh_wire_stage {
	KH_STAGE_GOT = 0, /* it has come and is being written */
	KH_STAGE_SAFE = 1, /* it is durable, or will not be: the error */
	KH_STAGE_FOUND = 2, /* answer to LOOK */
};

struct kh_wire_stored {
	uint64_t unit;
	uint64_t token;
	uint64_t version;
	uint32_t stage;
	uint32_t error; /* positive errno */
};

#define KH_LOOK_FENCE (1u << 0) /* refuse STOREs of lower tokens from now on */

struct kh_wire_look {
	uint64_t unit;
	uint64_t token; /* comes back */
	uint64_t need; /* LOAD: version */
	uint64_t generation; /* of the allocation */
	uint32_t shift; /* of the unit */
	uint32_t flags;
};

struct kh_wire_safe {
	uint64_t unit;
	uint64_t token; /* of the right held */
	uint64_t version;
};

enum kh_wire_verdict_kind {
	KH_VERDICT_RESUME = 0,
	KH_VERDICT_LOST = 1, /* drop it; its stores are lost */
	KH_VERDICT_STALE = 2, /* drop it; others have its stores */
	KH_VERDICT_POISON = 3, /* of the region: anything seen in it may be lost */
};

struct kh_wire_verdict {
	uint64_t unit;
	uint64_t token;
	uint32_t verdict;
	uint32_t reserved;
};

struct kh_wire_where {
	uint64_t addr_hi;
	uint64_t addr_lo;
};

/* HERE, RESULT: what a node may know of a region. */
struct kh_wire_region {
	uint64_t start_hi;
	uint64_t start_lo;
	uint64_t length;
	uint64_t generation;
	uint64_t allocated;
	uint64_t epoch;
	uint32_t home;
	uint32_t unit_shift;
	uint32_t lease_ms;
	uint32_t wait_ms;
	uint32_t min_replicas;
	uint32_t durability;
	uint32_t flags;
	uint32_t key_serial; /* counts the changes of its key */
	char protocol[KH_NAME_MAX];
};

struct kh_wire_not_home {
	uint32_t hint; /* REQ, CALL: who may be, 0: no idea */
	uint32_t kind; /* of the message that came here */
};

/* CALL: enum kh_op_code, and: */
enum kh_call_code {
	KH_CALL_ATTACH = 64, /* prove the key */
	KH_CALL_IN_USE = 65, /* is the region attached at your node? */
	KH_CALL_PLACE = 66, /* reserve space in your store */
	KH_CALL_UNPLACE = 67, /* and give it back */
	KH_CALL_FLUSH = 68, /* make a range durable */
};

struct kh_wire_call {
	uint32_t code;
	uint32_t flags;
	uint64_t addr_hi;
	uint64_t addr_lo;
	uint64_t length;
	uint32_t attr_mask;
	uint32_t unit_shift;
	uint32_t lease_ms;
	uint32_t wait_ms;
	uint32_t min_replicas;
	uint32_t durability;
	uint32_t attr_flags;
	uint32_t privileged; /* its caller was CAP_NET_ADMIN there */
	uint64_t place_generation; /* PLACE, UNPLACE: of the allocation */
};

#define KH_CALLF_STORE (1u << 16) /* ALLOCATE: the caller's node has a store */

struct kh_wire_challenge {
	uint8_t nonce[KH_WIRE_NONCE_SIZE];
};

struct kh_wire_proof {
	uint8_t mac[KH_WIRE_MAC_SIZE];
	uint8_t new_key[KH_WIRE_MAC_SIZE]; /* masked verifier of SETATTR, else zero */
};

enum kh_wire_payload {
	KH_PAYLOAD_NONE = 0,
	KH_PAYLOAD_REGIONS = 1, /* struct kh_wire_region */
	KH_PAYLOAD_PAGE = 2, /* struct kh_wire_page */
	KH_PAYLOAD_BYTES = 3,
};

struct kh_wire_result {
	uint32_t error;
	uint32_t payload;
};

struct kh_wire_page {
	uint64_t start_hi;
	uint64_t start_lo;
	uint64_t version;
	uint64_t token;
	uint32_t home, owner, backup, right;
	uint32_t busy, waiting;
	uint32_t reader_count;
	uint32_t reserved;
	uint32_t readers[KH_PAGE_HOLDERS_MAX];
	uint64_t stored;
	uint32_t place;
	uint32_t reserved2;
};

_Static_assert(sizeof(struct kh_wire_head) == 64, "wire");
_Static_assert(sizeof(struct kh_wire_hello) == 64, "wire");
_Static_assert(sizeof(struct kh_wire_req) == 32, "wire");
_Static_assert(sizeof(struct kh_wire_grant) == 40, "wire");
_Static_assert(sizeof(struct kh_wire_nack) == 16, "wire");
_Static_assert(sizeof(struct kh_wire_forward) == 32, "wire");
_Static_assert(sizeof(struct kh_wire_data) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_inv) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_iack) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_done) == 32, "wire");
_Static_assert(sizeof(struct kh_wire_hdone) == 16, "wire");
_Static_assert(sizeof(struct kh_wire_evict) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_renew) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_ask) == 8, "wire");
_Static_assert(sizeof(struct kh_wire_record) == 48, "wire");
_Static_assert(sizeof(struct kh_wire_verdict) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_where) == 16, "wire");
_Static_assert(sizeof(struct kh_wire_region) == 96, "wire");
_Static_assert(sizeof(struct kh_wire_not_home) == 8, "wire");
_Static_assert(sizeof(struct kh_wire_call) == 72, "wire");
_Static_assert(sizeof(struct kh_wire_challenge) == 16, "wire");
_Static_assert(sizeof(struct kh_wire_proof) == 64, "wire");
_Static_assert(sizeof(struct kh_wire_flush) == 40, "wire");
_Static_assert(sizeof(struct kh_wire_store) == 40, "wire");
_Static_assert(sizeof(struct kh_wire_stored) == 32, "wire");
_Static_assert(sizeof(struct kh_wire_look) == 40, "wire");
_Static_assert(sizeof(struct kh_wire_safe) == 24, "wire");
_Static_assert(sizeof(struct kh_wire_result) == 8, "wire");
_Static_assert(sizeof(struct kh_wire_page) == 80 + 4 * KH_PAGE_HOLDERS_MAX, "wire");

/* Longest message: head, most entries of the largest kind, one body. */
#define KH_WIRE_HEAD_MAX \
	(sizeof(struct kh_wire_head) + KH_WIRE_ENTRIES_MAX * sizeof(struct kh_wire_record))
#define KH_WIRE_MAX (KH_WIRE_HEAD_MAX + KH_DATA_MAX)
#define KH_WIRE_HELLO_LEN (sizeof(struct kh_wire_head) + sizeof(struct kh_wire_hello))

/**
 * kh_wire_frame_len() - length of the message that begins at @buf
 * @buf: the first @len bytes of a stream
 *
 * Return: bytes of the whole message; 0 if fewer than 8 bytes are there and it cannot be
 * told; -EPROTO if this cannot be a message (drop the connection).
 */
int64_t kh_wire_frame_len(const void *buf, size_t len);

/**
 * kh_wire_check() - the one validator of received messages
 * @msg: a whole message as received (wire order), may be unaligned
 * @len: its bytes
 *
 * Return: 0, or -EPROTO: nothing in @msg may be used.
 */
int kh_wire_check(const void *msg, size_t len);

/**
 * kh_wire_head_len() - bytes of head and entries of a message that kh_wire_check() accepted
 */
size_t kh_wire_head_len(const void *msg);

/**
 * kh_wire_swap() - convert head and entries between host and wire order, in place
 * @msg: aligned; length, kind and count are in host order
 * @to_wire: direction
 */
void kh_wire_swap(void *msg, bool to_wire);

/* Size of one entry of @kind, 0 if unknown. */
size_t kh_wire_entry_size(unsigned int kind);

/* Name of @kind for counters and traces, "?" if unknown. */
const char *kh_wire_kind_name(unsigned int kind);

/**
 * kh_wire_hello_make() - write this node's HELLO
 * @buf: KH_WIRE_HELLO_LEN bytes
 */
void kh_wire_hello_make(void *buf, const struct kh_node_config *config);

/**
 * kh_wire_hello_check() - judge the first message of a connection
 * @msg: whole message
 * @config: this node's
 * @hello: out, host order
 *
 * Return: the agreed version (> 0); -EPROTO no HELLO; -EPROTONOSUPPORT no common version;
 * -EACCES another cluster; -ENOENT a node that is not configured, or this one itself.
 */
int kh_wire_hello_check(const void *msg, size_t len, const struct kh_node_config *config,
			struct kh_wire_hello *hello);

#endif /* KH_CORE_WIRE_H */
