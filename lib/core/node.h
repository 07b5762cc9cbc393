/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * node.h - one Khazana node as a pure machine: the way into lib/core
 *
 * A struct kh_node is everything a khd decides: region directory, home
 * directories, consistency managers, leases, recovery, address space.  It does no I/O,
 * reads no clock, has no threads and no global state.  The host (khd, the simulator, later the
 * smart client) feeds it events; during a call the node answers through
 * struct kh_host_ops.  The same events in the same order give the same calls.
 *
 * Contract: calls into one node are serialised by the host; no host op may
 * call back into the node (the host queues what it has to say).  Time is
 * CLOCK_BOOTTIME in nanoseconds, passed in with every event, never decreasing.
 */
#ifndef KH_CORE_NODE_H
#define KH_CORE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <khazana.h> /* struct kh_attr, struct kh_region_info: one definition for library and core */

struct kh_node;
struct kh_op_result;
struct kh_store_cmd;

typedef uint32_t kh_node_id; /* 1..2^32-1 */

#define KH_NODES_MAX 64 /* configured nodes of a cluster, this one included */
#define KH_DATA_MAX (2u << 20) /* largest unit: bytes of one DATA body */

/**
 * struct kh_host_ops - what a node asks of its host; all are required
 * @send: queue one whole wire message (@head: header and body, @data: unit contents or NULL) for
 *	@peer.  Copies or sends both before it returns.  FIFO per peer while the
 *	connection lives; silently dropped when there is none.  Never fails: a host that cannot
 *	queue (limit reached) drops the connection and reports peer_down later.  @peer is never this
 *node.
 * @command: run @n commands against the module, in order; results are in place on return
 * @frame: address of @len bytes of the daemon view from frame index @frame on (contiguous)
 * @reply: the end of the client operation @op_id; called exactly once for each kh_node_op().
 *	@result and what it points to live until the call returns
 * @persist: store @blob (@len bytes) under the name @key durably before returning; NULL blob
 *deletes. 0 or a negative errno.  Small and rare: descriptors, allocations, address space
 * @random: fill @buf with @len random bytes (from the seed in the simulator)
 * @event: something an operator wants to know; @text is one line without secrets
 * @store: begin @cmd at this node's page store; only called if the node was configured with one.
 *	What @cmd->data points to is copied before the call returns.  Ends in exactly one
 *	kh_node_stored(), later, unless the node is destroyed before
 */
struct kh_host_ops {
	void (*send)(void *host, kh_node_id peer, const void *head, size_t head_len,
		     const void *data, size_t data_len);
	void (*command)(void *host, struct khazana_cmd *cmds, unsigned int n);
	void *(*frame)(void *host, uint32_t frame, size_t len);
	void (*reply)(void *host, uint64_t op_id, const struct kh_op_result *result);
	int (*persist)(void *host, const char *key, const void *blob, size_t len);
	void (*random)(void *host, void *buf, size_t len);
	void (*event)(void *host, const char *name, const char *text);
	void (*store)(void *host, const struct kh_store_cmd *cmd);
};

enum kh_store_code {
	KH_STORE_RESERVE = 1, /* space for @units units from @addr on */
	KH_STORE_RELEASE = 2, /* they are no more, nor what is stored of them */
	KH_STORE_PUT = 3, /* a version of one unit */
	KH_STORE_GET = 4, /* the stored version of one unit */
	KH_STORE_LOOK = 5, /* only its number */
};

/**
 * struct kh_store_cmd - what a node asks of its page store
 * @id: comes back in kh_node_stored()
 * @code: what to do
 * @region: first address of the region: with @region_generation the owner of the space
 * @region_generation: of the region
 * @addr: of the first byte
 * @units: RESERVE, RELEASE: how many
 * @shift: log2 of a unit's bytes
 * @generation: of the allocation; what another one stored is not there
 * @version: PUT
 * @token: PUT
 * @data: PUT: one unit
 *
 * A PUT is over when it is durable.  PUTs of one unit are done in the order in which they were
 * asked for, also across a crash: two of them may have the same version, and the later one has the
 * newer contents (R27).
 */
struct kh_store_cmd {
	uint64_t id;
	enum kh_store_code code;
	struct khazana_addr region;
	uint64_t region_generation;
	struct khazana_addr addr;
	uint64_t units;
	uint32_t shift;
	uint64_t generation;
	uint64_t version;
	uint64_t token;
	const void *data;
};

/**
 * struct kh_store_result - the end of a command
 * @error: 0; ENOSPC, ENOMEM, EEXIST (RESERVE); ENXIO (not reserved); ESTALE (PUT: a newer version
 *	is there); EAGAIN (PUT, GET, LOOK: too much under way, or no memory: again after a pause);
 *	EBADMSG (GET, LOOK: damaged); EIO
 * @version: GET, LOOK: 0 if the unit was never stored
 * @token: GET, LOOK
 * @data: GET: one unit; NULL for zero
 */
struct kh_store_result {
	uint32_t error;
	uint64_t version;
	uint64_t token;
	const void *data;
};

/**
 * struct kh_node_config - what a node is born with
 * @id: this node
 * @cluster: name of the cluster; HELLOs of another one are refused
 * @incarnation: greater at every start of this node's daemon; kept on disk by the host
 * @boot: the module's instance id (struct khazana_register.boot)
 * @peers: ids of the other configured nodes
 * @peer_count: how many
 * @lease_ms: default lease of new regions, 0 means 10000
 * @drift_ppm: bound of clock drift between nodes, 0 means 10000 (1 %)
 * @zap_budget_ms: time a module may take to empty address spaces at a lease's end, 0 means 200
 * @frames_max: the module's limit of frames; allocations at this home are refused beyond it
 * @plant: name of a planted bug (test builds of the host only), or NULL
 * @store: the host has a page store
 * @flush_ms: bound of asynchronous flushing by a home, 0 means 5000
 * @units_kept: records of a region's units that its directory keeps although nobody holds the unit
 *and its store knows as much, 0 means 65536
 */
struct kh_node_config {
	kh_node_id id;
	char cluster[32];
	uint64_t incarnation;
	uint64_t boot;
	const kh_node_id *peers;
	unsigned int peer_count;
	uint32_t lease_ms;
	uint32_t drift_ppm;
	uint32_t zap_budget_ms;
	uint64_t frames_max;
	const char *plant;
	bool store;
	uint32_t flush_ms;
	uint32_t units_kept;
};

/* Client operations: libkhazana and khadm through the host's control socket. */
enum kh_op_code {
	KH_OP_RESERVE = 1, /* length, attr, key -> addr */
	KH_OP_UNRESERVE =
		2, /* addr, key: EBUSY while mapped or locked anywhere; flag FORCE revokes first */
	KH_OP_ALLOCATE = 3, /* addr, length, key */
	KH_OP_FREE = 4, /* addr, length, key: EBUSY while locked; mapped copies are revoked first */
	KH_OP_GETATTR = 5, /* addr -> region */
	KH_OP_SETATTR = 6, /* addr, key, attr, attr_mask */
	KH_OP_REGION_LIST = 7, /* -> regions known here (all: asks every node) */
	KH_OP_PAGE_SHOW = 8, /* addr -> page (asks the home) */
	KH_OP_NODE_LIST = 9, /* -> nodes */
	KH_OP_STATS = 10, /* -> counters */
	KH_OP_NULL = 11, /* node: an empty round trip to that node (bench) */
	KH_OP_FLUSH = 13, /* addr, length: what could be read there is durable */
	KH_OP_ECHO = 12, /* node, length: a round trip that brings back length bytes (bench: "send
			    page") */
};

#define KH_OPF_FORCE (1u << 0)
#define KH_OPF_ALL (1u << 1)

#define KH_PAGE_HOLDERS_MAX KH_NODES_MAX

/* What the home's directory says of one unit. */
struct kh_page_info {
	struct khazana_addr start; /* of the unit */
	uint64_t version;
	uint64_t token; /* of the last grant */
	kh_node_id home, owner, backup; /* 0: none */
	uint32_t right; /* of the owner */
	bool busy;
	uint32_t waiting; /* requests in its FIFO */
	uint32_t reader_count;
	kh_node_id readers[KH_PAGE_HOLDERS_MAX];
	kh_node_id place; /* whose store keeps it, 0: none */
	uint64_t stored; /* version that is safe there, as far as is known */
};

struct kh_node_info {
	kh_node_id id;
	bool self, connected;
	uint64_t incarnation;
	int64_t lease_left_ms; /* of its lease with us, -1: none */
	uint64_t messages_in, messages_out, bytes_in, bytes_out;
};

/* A counter: its name is static. */
struct kh_counter {
	const char *name;
	uint64_t value;
};

struct kh_op {
	enum kh_op_code code;
	uint32_t flags;
	struct khazana_addr addr;
	uint64_t length;
	kh_node_id node;
	struct kh_attr attr;
	uint32_t attr_mask;
	uint8_t key[KH_KEY_SIZE];
	uint8_t new_key[KH_KEY_SIZE]; /* SETATTR with KH_ATTR_KEY */
	uint32_t timeout_ms; /* 0 means 30000 */
	bool privileged; /* the caller is CAP_NET_ADMIN in the namespace: UNRESERVE with FORCE needs
			    no key */
};

struct kh_op_result {
	int error; /* 0 or a positive errno of the dictionary */
	struct khazana_addr addr;
	const struct kh_region_info *regions;
	unsigned int region_count;
	const struct kh_page_info *page;
	const struct kh_node_info *nodes;
	unsigned int node_count;
	const struct kh_counter *counters;
	unsigned int counter_count;
};

/**
 * kh_node_create() - make a node
 * @config: copied
 * @ops: const table, must outlive the node
 * @host: passed to every op
 * @now: time
 *
 * The host then gives back what was persisted with kh_node_restore() and calls kh_node_start().
 * Return: the node, or NULL without memory or with a bad configuration.
 */
struct kh_node *kh_node_create(const struct kh_node_config *config, const struct kh_host_ops *ops,
			       void *host, uint64_t now);

/**
 * kh_node_restore() - one blob that an earlier incarnation persisted
 *
 * Return: 0, or -EINVAL for a damaged blob (the host reports it and stops: nothing is guessed).
 */
int kh_node_restore(struct kh_node *node, const char *key, const void *blob, size_t len);

/**
 * kh_node_start() - take over what the module holds (inventory) and begin
 */
void kh_node_start(struct kh_node *node, uint64_t now);

void kh_node_destroy(struct kh_node *node);

/* The connection to @peer is up: the host has exchanged HELLOs (kh_wire_hello) and both fit. */
void kh_node_peer_up(struct kh_node *node, kh_node_id peer, uint64_t incarnation, uint64_t boot,
		     uint64_t now);

/* The connection to @peer dropped; nothing of it will arrive any more. */
void kh_node_peer_down(struct kh_node *node, kh_node_id peer, uint64_t now);

/**
 * kh_node_message() - one whole message from @peer
 * @msg: header, body and data; may be unaligned; stays where it is until kh_node_received()
 *
 * Return: 0, or -EPROTO if it is malformed: the host counts it and drops the connection.
 */
int kh_node_message(struct kh_node *node, kh_node_id peer, const void *msg, size_t len,
		    uint64_t now);

/**
 * kh_node_received() - the memory of all messages until now is needed for others
 *
 * To be called after the messages that came together, before any other event than a message; it
 * is still the time of the last of them.
 */
void kh_node_received(struct kh_node *node);

/* One request of the module. */
void kh_node_request(struct kh_node *node, const struct khazana_request *req, uint64_t now);

/* The end of a command of the page store; what @result points to lives until the call returns. */
void kh_node_stored(struct kh_node *node, uint64_t id, const struct kh_store_result *result,
		    uint64_t now);

/* One operation of a client; ends in exactly one reply with @op_id. */
void kh_node_op(struct kh_node *node, uint64_t op_id, const struct kh_op *op, uint64_t now);

/* The client of @op_id went away: its reply will be ignored; what can be cancelled is. */
void kh_node_op_cancel(struct kh_node *node, uint64_t op_id, uint64_t now);

/**
 * kh_node_set_frames() - the module's limit of frames is another one
 * @frames: pages of 4096 bytes
 *
 * Return: 0, or -EBUSY: this home has promised more memory than that to ranges that no store keeps.
 */
int kh_node_set_frames(struct kh_node *node, uint64_t frames);

/* When kh_node_tick() wants to be called next; ~0 for never. */
uint64_t kh_node_deadline(const struct kh_node *node);
void kh_node_tick(struct kh_node *node, uint64_t now);

/**
 * kh_node_check() - assert every invariant that one node can see
 *
 * Return: NULL, or a static sentence about what is broken.
 */
const char *kh_node_check(const struct kh_node *node);

/**
 * kh_node_moves() - what stores are asked for by this node as a home, at this moment
 * @place: the store's node, 0: any
 * @taking: for space; false: to give it back
 *
 * Return: how many such questions are written down and not answered.
 */
unsigned int kh_node_moves(const struct kh_node *node, kh_node_id place, bool taking);

#endif /* KH_CORE_NODE_H */
