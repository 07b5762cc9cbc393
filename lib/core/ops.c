/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops.c - operations of clients, and the module's ATTACH
 *
 *   kh_op_start() -> kh_lookup() -> looked_up() -> kh_call() -> answered() -> run_end()
 *
 * What is about a region goes to its home, found through the region directory; where that was
 * wrong, or the home is out of reach, it is looked up again until the deadline.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "cm.h"

#define KH_AGAIN (300 * KH_MS) /* between attempts at a home out of reach */
#define KH_UNIT_SHIFT_MIN KHAZANA_UNIT_SHIFT_MIN
#define KH_UNIT_SHIFT_MAX KHAZANA_UNIT_SHIFT_MAX
#define KH_COUNTERS_MAX (KH_STAT_COUNT + 2 * KH_WIRE_KINDS)

/**
 * struct kh_run - an operation under way
 * @node: in the node's list
 * @op_id: the host's name for it
 * @attach: it is the module's request of this id instead, 0: a client's
 * @flush: it is the module's FLUSH: what to answer
 * @lease: FLUSH: under which programs of this node hold what it is about, or NULL
 * @lapses: of @lease, when the call was sent
 * @home: whom it was sent to last
 * @call: call under way, 0: none
 * @looking: a look-up is under way
 * @again_ns: when to look up again, KH_NEVER: not
 * @sent: it may have been executed without our knowing
 * @pending: REGION_LIST: nodes that were asked
 * @list: REGION_LIST: found so far
 */
struct kh_run {
	struct kh_list node;
	uint64_t op_id;
	uint64_t attach;
	struct khazana_cmd *flush;
	const struct kh_lease *lease;
	uint64_t lapses;
	struct kh_op op;
	kh_node_id home;
	uint64_t call;
	bool looking;
	uint64_t again_ns;
	uint64_t deadline_ns;
	bool sent;
	unsigned int pending;
	struct kh_region_info *list;
	unsigned int list_count;
};

static void run_free(struct kh_node *node, struct kh_run *run)
{
	if (run->call)
		kh_call_cancel(node, run->call);
	if (run->looking)
		kh_lookup_cancel(node, run);
	kh_list_del(&run->node);
	node->op_count--;
	free(run->list);
	free(run->flush);
	OPENSSL_cleanse(run, sizeof(*run));
	free(run);
}

/* @key_serial: of the key that was proven. */
static void attach_answer(struct kh_node *node, struct kh_run *run, uint32_t error,
			  struct kh_region *region, uint32_t key_serial)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_FAIL, .request = run->attach };

	if (!error) {
		error = (uint32_t)-kh_region_to_module(region);
		if (!error) {
			cmd.op = KHAZANA_CMD_ATTACH_DONE;
			cmd.region = region->handle;
			cmd.version = key_serial;
			region->attached = true;
		}
	}
	cmd.error = error;
	kh_command(node, &cmd);
}

/* The end of a client's operation; the result's error is set here. */
static void run_reply(struct kh_node *node, struct kh_run *run, uint32_t error,
		      struct kh_op_result *result)
{
	result->error = (int)error;
	node->ops->reply(node->host, run->op_id, result);
	run_free(node, run);
}

static void run_end(struct kh_node *node, struct kh_run *run, uint32_t error)
{
	struct kh_op_result result = { 0 };

	if (run->attach) {
		attach_answer(node, run, error ? error : EIO, NULL, 0);
		run_free(node, run);
	} else if (run->flush) {
		run->flush->error = error;
		kh_command(node, run->flush);
		run_free(node, run);
	} else {
		run_reply(node, run, error, &result);
	}
}

static struct kh_run *run_new(struct kh_node *node, const struct kh_op *op)
{
	struct kh_run *run = kh_zalloc(sizeof(*run));
	uint32_t timeout_ms = op->timeout_ms ? op->timeout_ms : KH_TIMEOUT_MS;

	run->op = *op;
	run->again_ns = KH_NEVER;
	run->deadline_ns = node->now + timeout_ms * KH_MS;
	kh_list_add(&node->ops_list, &run->node);
	node->op_count++;
	kh_arm(node, run->deadline_ns);
	return run;
}

static uint32_t check_reserve(struct kh_op *op)
{
	struct kh_attr *attr = &op->attr;
	uint64_t unit;

	attr->protocol[KH_NAME_MAX - 1] = 0;
	if (!attr->protocol[0])
		strcpy(attr->protocol, "crew");
	if (!attr->unit_shift)
		attr->unit_shift = KH_UNIT_SHIFT_MIN;
	if (!op->length || attr->unit_shift < KH_UNIT_SHIFT_MIN ||
	    attr->unit_shift > KH_UNIT_SHIFT_MAX || !kh_cm_find(attr->protocol))
		return EINVAL;
	if (attr->min_replicas > 1)
		return EOPNOTSUPP;
	if (attr->durability > 1)
		return EINVAL;
	if (attr->flags & ~(uint32_t)(KHAZANA_CMDF_NOPOISON | KHAZANA_CMDF_EIO))
		return EINVAL;
	if (attr->lease_ms &&
	    (attr->lease_ms < KH_LEASE_MS_MIN || attr->lease_ms > KH_LEASE_MS_MAX))
		return EINVAL;
	unit = 1ull << attr->unit_shift;
	if (op->length > ~0ull - 2 * unit)
		return ENOSPC;
	op->length = (op->length + unit - 1) & ~(unit - 1);
	return 0;
}

/* Address space is this node's own, so this node becomes the home at once. */
static uint32_t reserve(struct kh_node *node, struct kh_op *op, struct khazana_addr *addr)
{
	uint8_t verifier[KH_VERIFIER_SIZE];
	struct kh_region *region;
	uint64_t generation;
	uint32_t error = check_reserve(op);
	int err;

	if (error)
		return error;
	if (!op->attr.lease_ms)
		op->attr.lease_ms = node->config.lease_ms;
	if (!op->attr.wait_ms)
		op->attr.wait_ms = KH_TIMEOUT_MS;
	if (!op->attr.min_replicas)
		op->attr.min_replicas = 1;
	err = kh_space_take(node, op->length, op->attr.unit_shift, addr, &generation);
	if (err)
		return (uint32_t)-err;
	region = kh_region_new(node, *addr, op->length, generation, &op->attr);
	kh_key_verifier(op->key, *addr, generation, verifier);
	kh_region_home(region, verifier);
	err = kh_region_persist(region);
	if (err) {
		kh_region_free(region);
		return err == -ENOSPC ? ENOSPC : EIO;
	}
	return 0;
}

static void found(struct kh_node *node, void *context, struct kh_region *region, int error);

static void run_look_up(struct kh_node *node, struct kh_run *run)
{
	run->again_ns = KH_NEVER;
	run->looking = true;
	kh_lookup(node, run->op.addr, run->deadline_ns, found, run);
}

static void run_again(struct kh_node *node, struct kh_run *run)
{
	run->again_ns = node->now + KH_AGAIN;
	kh_arm(node, run->again_ns);
}

static void reply_page(struct kh_node *node, struct kh_run *run, const struct kh_wire_page *page)
{
	struct kh_page_info info = {
		.start = { page->start_hi, page->start_lo },
		.version = page->version,
		.token = page->token,
		.home = page->home,
		.owner = page->owner,
		.backup = page->backup,
		.right = page->right,
		.busy = page->busy != 0,
		.place = page->place,
		.stored = page->stored,
		.waiting = page->waiting,
		.reader_count = page->reader_count,
	};
	struct kh_op_result result = { .page = &info };

	if (info.reader_count > KH_PAGE_HOLDERS_MAX)
		info.reader_count = KH_PAGE_HOLDERS_MAX;
	memcpy(info.readers, page->readers, info.reader_count * sizeof(info.readers[0]));
	run_reply(node, run, 0, &result);
}

static void reply_region(struct kh_node *node, struct kh_run *run,
			 const struct kh_wire_region *desc)
{
	struct kh_region_info info;
	struct kh_op_result result = { .regions = &info, .region_count = 1 };

	kh_region_info(desc, &info);
	run_reply(node, run, 0, &result);
}

static void attach_done(struct kh_node *node, struct kh_run *run, const struct kh_wire_region *desc)
{
	struct kh_region *region = kh_region_learn(node, desc);

	attach_answer(node, run, region ? 0 : ENOENT, region, desc->key_serial);
	run_free(node, run);
}

/*
 * Is what programs of this node stored known to their home?  Not while the lease is over: what they
 * stored under it may have been given up, and they are told when the home has judged it.
 */
static bool may_flush(struct kh_node *node, struct kh_run *run, const struct kh_region *region)
{
	run->lease = region->lease;
	if (!run->lease)
		return true;
	run->lapses = run->lease->lapses;
	return kh_lease_ready(node, run->lease);
}

/*
 * Did the home know it all the time?  A lease that ended meanwhile may be valid again: what the
 * home passed over, because it had gone on without it, may be back since.
 */
static bool has_flushed(struct kh_node *node, const struct kh_run *run)
{
	return !run->lease ||
	       (run->lease->lapses == run->lapses && kh_lease_ready(node, run->lease));
}

/* The home answered. */
static void answered(struct kh_node *node, void *context, const struct kh_wire_result *result,
		     const void *data, size_t len)
{
	struct kh_run *run = context;
	struct kh_wire_region desc;
	struct kh_wire_page page;

	run->call = 0;
	/* What this node stored may be lost: its inventory is judged first. */
	if (run->op.code == KH_OP_FLUSH && !has_flushed(node, run)) {
		run_again(node, run);
		return;
	}
	if (result->error == EREMCHG || result->error == EHOSTUNREACH ||
	    (result->error == EAGAIN && run->op.code == KH_OP_FLUSH)) {
		run->sent |= result->error == EHOSTUNREACH;
		run_again(node, run);
		return;
	}
	/* What was sent before the connection broke had been done. */
	if (result->error == ENOENT && run->sent && run->op.code == KH_OP_UNRESERVE) {
		run_end(node, run, 0);
		return;
	}
	/* The same of a key that was changed: then the new one holds. */
	if (result->error == EKEYREJECTED && run->sent && run->op.code == KH_OP_SETATTR &&
	    run->op.attr_mask & KH_ATTR_KEY) {
		memcpy(run->op.key, run->op.new_key, sizeof(run->op.key));
		run->sent = false;
		run_again(node, run);
		return;
	}
	if (result->error) {
		run_end(node, run, result->error);
		return;
	}
	if (result->payload == KH_PAYLOAD_PAGE && len == sizeof(page) &&
	    run->op.code == KH_OP_PAGE_SHOW) {
		memcpy(&page, data, sizeof(page));
		reply_page(node, run, &page);
	} else if (result->payload == KH_PAYLOAD_REGIONS && len == sizeof(desc) &&
		   (run->attach || run->op.code == KH_OP_GETATTR)) {
		memcpy(&desc, data, sizeof(desc));
		if (run->attach)
			attach_done(node, run, &desc);
		else
			reply_region(node, run, &desc);
	} else {
		run_end(node, run, run->attach ? EIO : 0);
	}
}

/* Force by somebody who may do anything on this node needs no key. */
static bool by_privilege(const struct kh_op *op)
{
	return op->privileged && (op->flags & KH_OPF_FORCE);
}

static bool is_keyed(const struct kh_run *run)
{
	switch (run->op.code) {
	case KH_OP_UNRESERVE:
		return !by_privilege(&run->op);
	case KH_OP_ALLOCATE:
	case KH_OP_FREE:
	case KH_OP_SETATTR:
		return true;
	default:
		return run->attach != 0;
	}
}

static struct kh_wire_call call_of(const struct kh_run *run, bool store)
{
	const struct kh_op *op = &run->op;

	return (struct kh_wire_call){
		.code = run->attach		? (uint32_t)KH_CALL_ATTACH :
			op->code == KH_OP_FLUSH ? (uint32_t)KH_CALL_FLUSH :
						  (uint32_t)op->code,
		.flags = op->flags | (op->code == KH_OP_ALLOCATE && store ? KH_CALLF_STORE : 0),
		.addr_hi = op->addr.hi,
		.addr_lo = op->addr.lo,
		.length = op->length,
		.attr_mask = op->attr_mask,
		.lease_ms = op->attr.lease_ms,
		.wait_ms = op->attr.wait_ms,
		.min_replicas = op->attr.min_replicas,
		.durability = op->attr.durability,
		.attr_flags = op->attr.flags,
		.privileged = by_privilege(op),
	};
}

static void found(struct kh_node *node, void *context, struct kh_region *region, int error)
{
	struct kh_run *run = context;
	const struct kh_wire_call call = call_of(run, node->config.store);
	bool new_key = run->op.code == KH_OP_SETATTR && (run->op.attr_mask & KH_ATTR_KEY);

	run->looking = false;
	if (error) {
		if (run->sent && run->op.code == KH_OP_UNRESERVE && error == -ENOENT)
			error = 0;
		run_end(node, run, (uint32_t)(error < 0 ? -error : error));
		return;
	}
	/* A region is named by its first address when it goes. */
	if (run->op.code == KH_OP_UNRESERVE && !run->attach &&
	    (run->op.addr.hi != region->start.hi || run->op.addr.lo != region->start.lo)) {
		run_end(node, run, EINVAL);
		return;
	}
	if (run->op.code == KH_OP_FLUSH && !may_flush(node, run, region)) {
		run_again(node, run);
		return;
	}
	run->home = region->home_id;
	run->call = kh_call(node, region->home_id, region, &call,
			    is_keyed(run) ? run->op.key : NULL, new_key ? run->op.new_key : NULL,
			    run->deadline_ns, answered, run);
}

/* NULL, ECHO: a node that the client names. */
static void pinged(struct kh_node *node, void *context, const struct kh_wire_result *result,
		   const void *data, size_t len)
{
	struct kh_run *run = context;

	run->call = 0;
	run_end(node, run, result->error == EHOSTUNREACH ? ETIMEDOUT : result->error);
}

static void ping(struct kh_node *node, struct kh_run *run)
{
	const struct kh_wire_call call = call_of(run, node->config.store);

	if (!kh_peer_find(node, run->op.node))
		run_end(node, run, ENOENT);
	else if (run->op.code == KH_OP_ECHO && run->op.length > KH_DATA_MAX)
		run_end(node, run, EINVAL);
	else
		run->call = kh_call(node, run->op.node, NULL, &call, NULL, NULL, run->deadline_ns,
				    pinged, run);
}

static void list_add(struct kh_run *run, const struct kh_wire_region *desc)
{
	unsigned int i;

	for (i = 0; i < run->list_count; i++)
		if (run->list[i].start.hi == desc->start_hi &&
		    run->list[i].start.lo == desc->start_lo) {
			if (desc->home == run->list[i].home && desc->allocated != ~0ull)
				kh_region_info(desc, &run->list[i]);
			return;
		}
	run->list = kh_realloc(run->list, (run->list_count + 1) * sizeof(*run->list));
	kh_region_info(desc, &run->list[run->list_count++]);
}

static void list_end(struct kh_node *node, struct kh_run *run)
{
	struct kh_op_result result = { .regions = run->list, .region_count = run->list_count };

	run_reply(node, run, 0, &result);
}

/* A node that does not answer is left out: the others' regions are worth having. */
static void listed(struct kh_node *node, void *context, const struct kh_wire_result *result,
		   const void *data, size_t len)
{
	struct kh_run *run = context;
	struct kh_wire_region desc;
	size_t at;

	if (!result->error && result->payload == KH_PAYLOAD_REGIONS) {
		for (at = 0; at + sizeof(desc) <= len; at += sizeof(desc)) {
			memcpy(&desc, (const uint8_t *)data + at, sizeof(desc));
			list_add(run, &desc);
		}
	}
	if (--run->pending == 0)
		list_end(node, run);
}

static void list_regions(struct kh_node *node, struct kh_run *run)
{
	const struct kh_wire_call call = { .code = KH_OP_REGION_LIST };
	struct kh_region *region;
	struct kh_wire_region desc;
	unsigned int i;

	kh_list_each (region, &node->regions, node) {
		kh_region_describe(region, &desc);
		list_add(run, &desc);
	}
	/* @call stays 0: the answers of several nodes keep the run alive by @pending. */
	for (i = 1; i < node->peer_count && (run->op.flags & KH_OPF_ALL); i++) {
		if (!node->peers[i].connected)
			continue;
		run->pending++;
		kh_call(node, node->peers[i].id, NULL, &call, NULL, NULL, run->deadline_ns, listed,
			run);
	}
	if (!run->pending)
		list_end(node, run);
}

static void list_nodes(struct kh_node *node, struct kh_run *run)
{
	struct kh_node_info info[KH_NODES_MAX + 1] = { 0 };
	struct kh_op_result result = { .nodes = info, .node_count = node->peer_count };
	unsigned int i, c;

	for (i = 0; i < node->peer_count; i++) {
		const struct kh_peer *peer = &node->peers[i];

		info[i] = (struct kh_node_info){
			.id = peer->id,
			.self = peer->self,
			.connected = kh_peer_up(peer),
			.incarnation = peer->self ? node->config.incarnation : peer->incarnation,
			.lease_left_ms = -1,
			.messages_in = peer->messages_in,
			.messages_out = peer->messages_out,
			.bytes_in = peer->bytes_in,
			.bytes_out = peer->bytes_out,
		};
		for (c = 0; c < peer->class_count; c++) {
			const struct kh_grantee *g = &peer->classes[c];
			int64_t left = (int64_t)((g->end_ns - node->now) / KH_MS);

			if (g->valid && g->end_ns > node->now && left > info[i].lease_left_ms)
				info[i].lease_left_ms = left;
		}
	}
	run_reply(node, run, 0, &result);
}

static const char *const stat_names[KH_STAT_COUNT] = {
	[KH_STAT_FAULTS] = "faults",
	[KH_STAT_LOCKS] = "locks",
	[KH_STAT_COMMITS] = "commits",
	[KH_STAT_HANDOFFS] = "handoffs",
	[KH_STAT_INVALIDATIONS] = "invalidations",
	[KH_STAT_DOWNGRADES] = "downgrades",
	[KH_STAT_DEFERRED] = "deferred",
	[KH_STAT_STALE_REFUSED] = "stale_refused",
	[KH_STAT_RETRIES] = "retries",
	[KH_STAT_TIMEOUTS] = "timeouts",
	[KH_STAT_PREFETCHES] = "prefetches",
	[KH_STAT_PREFETCH_UNITS] = "prefetch_units",
	[KH_STAT_PREFETCH_HITS] = "prefetch_hits",
	[KH_STAT_HELD_GRANTS] = "held_grants",
	[KH_STAT_ZERO_GRANTS] = "zero_grants",
	[KH_STAT_EVICTIONS] = "evictions",
	[KH_STAT_BACKUP_RELEASES] = "backup_releases",
	[KH_STAT_LEASES_EXPIRED] = "leases_expired",
	[KH_STAT_RESUMED] = "resumed",
	[KH_STAT_LOST] = "lost",
	[KH_STAT_UNITS_LOST] = "units_lost",
	[KH_STAT_RECOVERIES] = "recoveries",
	[KH_STAT_PROTOCOL_ERRORS] = "protocol_errors",
	[KH_STAT_KEYS_REJECTED] = "keys_rejected",
	[KH_STAT_QUEUE_FULL] = "queue_full",
	[KH_STAT_FLUSHES] = "flushes",
	[KH_STAT_UNITS_STORED] = "units_stored",
	[KH_STAT_UNITS_LOADED] = "units_loaded",
	[KH_STAT_STORE_ERRORS] = "store_errors",
	[KH_STAT_RECORDS_PRUNED] = "records_pruned",
	[KH_STAT_UNITS_DAMAGED] = "units_damaged",
	[KH_STAT_UNITS_REPAIRED] = "units_repaired",
};

/* Names of messages in counters: "sent_" or "received_" and the kind. */
static const char *kind_name(unsigned int kind, bool sent)
{
	static char names[2][KH_WIRE_KINDS][32];
	char *name = names[sent][kind];

	if (!name[0]) {
		const char *from = kh_wire_kind_name(kind);
		size_t at = strlen(strcpy(name, sent ? "sent_" : "received_"));

		for (; *from && at < sizeof(names[0][0]) - 1; from++)
			name[at++] = *from >= 'A' && *from <= 'Z' ? (char)(*from - 'A' + 'a') :
								    *from;
	}
	return name;
}

/**
 * kh_stats_list() - all counters
 * @counters: room for KH_STAT_COUNT + 2 * KH_WIRE_KINDS
 * @count: out: how many there are
 */
void kh_stats_list(const struct kh_node *node, struct kh_counter *counters, unsigned int *count)
{
	unsigned int i, n = 0;

	for (i = 0; i < KH_STAT_COUNT; i++)
		counters[n++] = (struct kh_counter){ stat_names[i], node->stats[i] };
	for (i = KH_WIRE_HELLO; i < KH_WIRE_KINDS; i++) {
		counters[n++] = (struct kh_counter){ kind_name(i, true), node->kind_out[i] };
		counters[n++] = (struct kh_counter){ kind_name(i, false), node->kind_in[i] };
	}
	*count = n;
}

static void list_stats(struct kh_node *node, struct kh_run *run)
{
	struct kh_counter counters[KH_COUNTERS_MAX];
	struct kh_op_result result = { .counters = counters };

	kh_stats_list(node, counters, &result.counter_count);
	run_reply(node, run, 0, &result);
}

/**
 * kh_op_start() - begin an operation of a client
 * @op_id: for the reply, which comes exactly once, perhaps from here
 * @op: copied
 */
void kh_op_start(struct kh_node *node, uint64_t op_id, const struct kh_op *op)
{
	struct kh_run *run = run_new(node, op);
	struct kh_op_result result = { 0 };
	uint32_t error;

	run->op_id = op_id;
	if (node->op_count > KH_OPS_MAX) {
		run_end(node, run, EBUSY);
		return;
	}
	switch (op->code) {
	case KH_OP_RESERVE:
		error = reserve(node, &run->op, &result.addr);
		run_reply(node, run, error, &result);
		return;
	case KH_OP_UNRESERVE:
	case KH_OP_ALLOCATE:
	case KH_OP_FREE:
	case KH_OP_GETATTR:
	case KH_OP_SETATTR:
	case KH_OP_PAGE_SHOW:
	case KH_OP_FLUSH:
		run_look_up(node, run);
		return;
	case KH_OP_REGION_LIST:
		list_regions(node, run);
		return;
	case KH_OP_NODE_LIST:
		list_nodes(node, run);
		return;
	case KH_OP_STATS:
		list_stats(node, run);
		return;
	case KH_OP_NULL:
	case KH_OP_ECHO:
		ping(node, run);
		return;
	}
	run_end(node, run, EINVAL);
}

/* The client of @op_id is gone; a list that others still answer ends by itself. */
void kh_op_cancel(struct kh_node *node, uint64_t op_id)
{
	struct kh_run *run;

	kh_list_each (run, &node->ops_list, node) {
		if (run->attach || run->flush || run->op_id != op_id || run->pending)
			continue;
		run_end(node, run, EINTR);
		return;
	}
}

/**
 * kh_op_attach() - a process of this node wants to use a region
 * @req: the module's ATTACH; answered by ATTACH_DONE or FAIL
 */
void kh_op_attach(struct kh_node *node, const struct khazana_request *req)
{
	struct kh_op op = {
		.code = KH_OP_GETATTR,
		.addr = req->addr,
		.timeout_ms = req->timeout_ms,
	};
	struct kh_run *run;

	memcpy(op.key, req->key, KH_KEY_SIZE);
	run = run_new(node, &op);
	OPENSSL_cleanse(op.key, sizeof(op.key));
	run->attach = req->id;
	if (node->op_count > KH_OPS_MAX)
		run_end(node, run, EBUSY);
	else
		run_look_up(node, run);
}

/**
 * kh_op_flush() - a process of this node wants a range to be durable
 * @region: of the request
 * @req: the module's FLUSH; answered by FAIL, with error 0 when it is
 */
void kh_op_flush(struct kh_node *node, struct kh_region *region, const struct khazana_request *req)
{
	struct kh_op op = {
		.code = KH_OP_FLUSH,
		.addr = kh_addr_add(region->start, req->unit << region->unit_shift),
		.length = req->count << region->unit_shift,
		.timeout_ms = req->timeout_ms,
	};
	struct kh_run *run = run_new(node, &op);

	/* What was stored here must be known to the home before it is asked. */
	kh_ask_flush(node);
	run->flush = kh_zalloc(sizeof(*run->flush));
	*run->flush = (struct khazana_cmd){ .op = KHAZANA_CMD_FAIL,
					    .region = req->region,
					    .unit = req->unit,
					    .count = req->count,
					    .request = req->id };
	if (node->op_count > KH_OPS_MAX)
		run_end(node, run, EBUSY);
	else
		run_look_up(node, run);
}

void kh_op_tick(struct kh_node *node)
{
	struct kh_run *run, *tmp;

	kh_list_each_safe (run, tmp, &node->ops_list, node) {
		if (run->deadline_ns <= node->now && !run->pending) {
			run_end(node, run, ETIMEDOUT);
			continue;
		}
		if (run->again_ns <= node->now)
			run_look_up(node, run);
		else
			kh_arm(node, run->again_ns);
	}
	kh_list_each (run, &node->ops_list, node)
		kh_arm(node, run->deadline_ns);
}

void kh_op_free(struct kh_node *node)
{
	while (!kh_list_empty(&node->ops_list))
		run_free(node, kh_list_first(&node->ops_list, struct kh_run, node));
}
