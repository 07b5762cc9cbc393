// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * result.c - struct kh_op_result to the messages of an answer, and events
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/netlink.h>

#include "ctl/ctl.h"
#include "ctl/link.h"
#include "ctl/nla.h"

#define PACKET_MAX 8192 /* bytes that leave at once; one element always fits */

/* An answer on its way out: messages gather in a packet. */
struct answer {
	const struct kh_ctl_request *req;
	kh_ctl_emit emit;
	void *ctx;
	struct kh_nlb nlb;
	size_t used;
	uint8_t buf[PACKET_MAX];
};

static void answer_init(struct answer *answer, const struct kh_ctl_request *req, kh_ctl_emit emit,
			void *ctx)
{
	answer->req = req;
	answer->emit = emit;
	answer->ctx = ctx;
	answer->used = 0;
}

static void answer_begin(struct answer *answer, uint16_t flags)
{
	kh_nlb_begin(&answer->nlb, answer->buf + answer->used, sizeof(answer->buf) - answer->used,
		     answer->req->type, flags, answer->req->seq, answer->req->pid,
		     answer->req->cmd);
}

static void answer_begin_control(struct answer *answer, uint16_t type, uint16_t flags)
{
	kh_nlb_begin_control(&answer->nlb, answer->buf + answer->used,
			     sizeof(answer->buf) - answer->used, type, flags, answer->req->seq,
			     answer->req->pid);
}

/* The message is complete. Return: 0, or -EMSGSIZE: it did not fit into the packet. */
static int answer_end(struct answer *answer)
{
	int len = kh_nlb_end(&answer->nlb);

	if (len < 0)
		return len;
	answer->used += len;
	return 0;
}

static int answer_send(struct answer *answer)
{
	size_t len = answer->used;

	answer->used = 0;
	return len ? answer->emit(answer->ctx, answer->buf, len) : 0;
}

static void put_region(struct kh_nlb *nlb, const struct kh_region_info *region)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_REGION);

	kh_nlb_addr(nlb, KHAZANA_NLA_REGION_ADDR, region->start);
	kh_nlb_u64(nlb, KHAZANA_NLA_REGION_LENGTH, region->length);
	kh_nlb_u64(nlb, KHAZANA_NLA_REGION_GENERATION, region->generation);
	if (region->allocated != ~0ULL)
		kh_nlb_u64(nlb, KHAZANA_NLA_REGION_ALLOCATED, region->allocated);
	if (region->epoch)
		kh_nlb_u64(nlb, KHAZANA_NLA_REGION_EPOCH, region->epoch);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_HOME, region->home);
	kh_ctl_put_attr(nlb, KHAZANA_NLA_REGION_ATTR, &region->attr);
	kh_nlb_nest_end(nlb, mark);
}

static void put_page(struct kh_nlb *nlb, const struct kh_page_info *page)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_PAGE);

	kh_nlb_addr(nlb, KHAZANA_NLA_PAGE_ADDR, page->start);
	kh_nlb_u64(nlb, KHAZANA_NLA_PAGE_VERSION, page->version);
	kh_nlb_u64(nlb, KHAZANA_NLA_PAGE_TOKEN, page->token);
	kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_HOME, page->home);
	kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_OWNER, page->owner);
	kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_BACKUP, page->backup);
	kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_RIGHT, page->right);
	kh_nlb_flag(nlb, KHAZANA_NLA_PAGE_BUSY, page->busy);
	kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_WAITING, page->waiting);
	for (unsigned int i = 0; i < page->reader_count && i < KH_PAGE_HOLDERS_MAX; i++)
		kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_READERS, page->readers[i]);
	kh_nlb_u32(nlb, KHAZANA_NLA_PAGE_PLACE, page->place);
	kh_nlb_u64(nlb, KHAZANA_NLA_PAGE_STORED, page->stored);
	kh_nlb_nest_end(nlb, mark);
}

static void put_node(struct kh_nlb *nlb, const struct kh_node_info *node)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_NODE_INFO);

	kh_nlb_u32(nlb, KHAZANA_NLA_NODE_ID, node->id);
	kh_nlb_flag(nlb, KHAZANA_NLA_NODE_SELF, node->self);
	kh_nlb_flag(nlb, KHAZANA_NLA_NODE_CONNECTED, node->connected);
	kh_nlb_u64(nlb, KHAZANA_NLA_NODE_INCARNATION, node->incarnation);
	if (node->lease_left_ms >= 0)
		kh_nlb_u64(nlb, KHAZANA_NLA_NODE_LEASE_LEFT_MS, node->lease_left_ms);
	kh_nlb_u64(nlb, KHAZANA_NLA_NODE_MESSAGES_IN, node->messages_in);
	kh_nlb_u64(nlb, KHAZANA_NLA_NODE_MESSAGES_OUT, node->messages_out);
	kh_nlb_u64(nlb, KHAZANA_NLA_NODE_BYTES_IN, node->bytes_in);
	kh_nlb_u64(nlb, KHAZANA_NLA_NODE_BYTES_OUT, node->bytes_out);
	kh_nlb_nest_end(nlb, mark);
}

static void put_counter(struct kh_nlb *nlb, const struct kh_counter *counter)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_COUNTER);

	kh_nlb_string(nlb, KHAZANA_NLA_COUNTER_NAME, counter->name, 64);
	kh_nlb_u64(nlb, KHAZANA_NLA_COUNTER_VALUE, counter->value);
	kh_nlb_nest_end(nlb, mark);
}

/* Put element @i of a list; false behind the last. */
typedef bool (*put_element_fn)(struct answer *answer, const void *list, unsigned int i);

/* Of the list that an operation answers with. */
static bool put_of_result(struct answer *answer, const void *list, unsigned int i)
{
	const struct kh_op_result *result = list;

	switch (answer->req->op.code) {
	case KH_OP_REGION_LIST:
		if (i < result->region_count)
			put_region(&answer->nlb, &result->regions[i]);
		return i < result->region_count;
	case KH_OP_NODE_LIST:
		if (i < result->node_count)
			put_node(&answer->nlb, &result->nodes[i]);
		return i < result->node_count;
	case KH_OP_STATS:
		if (i < result->counter_count)
			put_counter(&answer->nlb, &result->counters[i]);
		return i < result->counter_count;
	default:
		return false;
	}
}

/* The messages of a list, and its NLMSG_DONE. */
static int reply_list(struct answer *answer, put_element_fn put, const void *list)
{
	const int32_t ok = 0;
	bool more = true;
	unsigned int i = 0;
	int err;

	while (more) {
		answer_begin(answer, NLM_F_MULTI);
		more = put(answer, list, i);
		if (!more) {
			answer_begin_control(answer, NLMSG_DONE, NLM_F_MULTI);
			kh_nlb_raw(&answer->nlb, &ok, sizeof(ok));
		}
		if (!answer_end(answer)) {
			i++;
			continue;
		}
		if (!answer->used)
			return -EMSGSIZE;
		err = answer_send(answer);
		if (err)
			return err;
		more = true;
	}
	return answer_send(answer);
}

static int reply_ack(struct answer *answer, int error, const char *text)
{
	struct nlmsgerr err = { .error = error > 0 ? -error : error };

	err.msg.nlmsg_len = sizeof(err.msg);
	err.msg.nlmsg_type = answer->req->type;
	err.msg.nlmsg_seq = answer->req->seq;
	err.msg.nlmsg_pid = answer->req->pid;
	answer_begin_control(answer, NLMSG_ERROR, NLM_F_CAPPED | (text ? NLM_F_ACK_TLVS : 0));
	kh_nlb_raw(&answer->nlb, &err, sizeof(err));
	if (text)
		kh_nlb_string(&answer->nlb, NLMSGERR_ATTR_MSG, text, KH_CTL_TEXT_MAX);
	return answer_end(answer) ? -EMSGSIZE : answer_send(answer);
}

/* The one message of an operation that answers with a value, if it does, and the end. */
static int reply_value(struct answer *answer, const struct kh_op_result *result)
{
	const enum kh_op_code code = answer->req->op.code;

	if ((code == KH_OP_GETATTR && !result->region_count) ||
	    (code == KH_OP_PAGE_SHOW && !result->page))
		return reply_ack(answer, EIO, "khd found nothing to answer with");
	answer_begin(answer, 0);
	if (code == KH_OP_RESERVE)
		kh_nlb_addr(&answer->nlb, KHAZANA_NLA_OP_ADDR, result->addr);
	else if (code == KH_OP_GETATTR)
		put_region(&answer->nlb, &result->regions[0]);
	else if (code == KH_OP_PAGE_SHOW)
		put_page(&answer->nlb, result->page);
	else
		return reply_ack(answer, 0, NULL);
	return answer_end(answer) ? -EMSGSIZE : reply_ack(answer, 0, NULL);
}

int kh_ctl_reply(const struct kh_ctl_request *req, const struct kh_op_result *result,
		 kh_ctl_emit emit, void *ctx)
{
	struct answer answer;

	answer_init(&answer, req, emit, ctx);
	if (result->error)
		return reply_ack(&answer, result->error, kh_strerror(result->error));
	if (kh_nl_ops[req->cmd].dump)
		return reply_list(&answer, put_of_result, result);
	return reply_value(&answer, result);
}

int kh_ctl_reply_error(const struct kh_ctl_request *req, int error, const char *text,
		       kh_ctl_emit emit, void *ctx)
{
	struct answer answer;

	answer_init(&answer, req, emit, ctx);
	return reply_ack(&answer, error, text);
}

/* ------------------------------------------------------------ khd's own */

static void put_store(struct kh_nlb *nlb, const struct kh_ctl_store *store)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_STORE);

	kh_nlb_u32(nlb, KHAZANA_NLA_STORE_STATE, store->state);
	if (store->dir)
		kh_nlb_string(nlb, KHAZANA_NLA_STORE_DIR, store->dir, KH_NLB_STRING_MAX);
	if (store->reason)
		kh_nlb_string(nlb, KHAZANA_NLA_STORE_REASON, store->reason, KH_CTL_TEXT_MAX);
	if (store->state == KHAZANA_NL_STORE_STATE_NONE)
		goto end;
	if (store->capacity) {
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_CAPACITY, store->capacity);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_CAPACITY_MIN, store->capacity_min);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_ROOM, store->room);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_RESERVED, store->reserved);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_USED, store->used);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PARKED, store->parked);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_RECOVERY_NS, store->recovery_ns);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_REPLAYED, store->replayed);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_DISCARDED, store->discarded);
		kh_nlb_u64(nlb, KHAZANA_NLA_STORE_MEMORY, store->memory);
	}
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PUTS, store->puts);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_GETS, store->gets);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_FLUSHES, store->flushes);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_GROUPS, store->groups);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_CHECKPOINTS, store->checkpoints);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_DAMAGED, store->damaged);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_SCRUBBED, store->scrubbed);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_SCRUB_RATE, store->scrub_rate);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_BUFFERS_USED, store->buffers_used);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_BUFFERS_MAX, store->buffers_max);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_WAITING, store->waiting);
end:
	kh_nlb_nest_end(nlb, mark);
}

static void put_parked(struct kh_nlb *nlb, const struct kh_ctl_parked *parked)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_PARKED);

	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PARKED_ID, parked->id);
	kh_nlb_addr(nlb, KHAZANA_NLA_STORE_PARKED_ADDR, parked->addr);
	kh_nlb_u32(nlb, KHAZANA_NLA_STORE_PARKED_SHIFT, parked->shift);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PARKED_GENERATION, parked->generation);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PARKED_VERSION, parked->version);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PARKED_TOKEN, parked->token);
	kh_nlb_addr(nlb, KHAZANA_NLA_STORE_PARKED_REGION, parked->region);
	kh_nlb_u64(nlb, KHAZANA_NLA_STORE_PARKED_REGION_GENERATION, parked->region_generation);
	kh_nlb_nest_end(nlb, mark);
}

static void put_finding(struct kh_nlb *nlb, const struct kh_ctl_finding *finding)
{
	size_t mark = kh_nlb_nest(nlb, KHAZANA_NLA_OP_FINDING);

	kh_nlb_u32(nlb, KHAZANA_NLA_FINDING_SEVERITY, finding->severity);
	kh_nlb_string(nlb, KHAZANA_NLA_FINDING_SUBJECT, finding->subject, 32);
	kh_nlb_string(nlb, KHAZANA_NLA_FINDING_TEXT, finding->text, KH_CTL_TEXT_MAX);
	if (finding->advice)
		kh_nlb_string(nlb, KHAZANA_NLA_FINDING_ADVICE, finding->advice, KH_CTL_TEXT_MAX);
	kh_nlb_nest_end(nlb, mark);
}

int kh_ctl_reply_store(const struct kh_ctl_request *req, const struct kh_ctl_store *store,
		       kh_ctl_emit emit, void *ctx)
{
	struct answer answer;

	answer_init(&answer, req, emit, ctx);
	answer_begin(&answer, 0);
	put_store(&answer.nlb, store);
	return answer_end(&answer) ? -EMSGSIZE : reply_ack(&answer, 0, NULL);
}

int kh_ctl_reply_parked(const struct kh_ctl_request *req, const struct kh_ctl_parked *parked,
			const void *data, unsigned int sectors, kh_ctl_emit emit, void *ctx)
{
	struct answer answer;
	unsigned int i;

	answer_init(&answer, req, emit, ctx);
	answer_begin(&answer, 0);
	put_parked(&answer.nlb, parked);
	for (i = 0; i < sectors && i < KH_CTL_SECTORS_MAX; i++)
		kh_nlb_put(&answer.nlb, KHAZANA_NLA_OP_SECTOR,
			   (const uint8_t *)data + i * KH_CTL_SECTOR, KH_CTL_SECTOR);
	return answer_end(&answer) ? -EMSGSIZE : reply_ack(&answer, 0, NULL);
}

/* An array of @count elements. */
struct array {
	const void *elements;
	unsigned int count;
};

static bool put_of_parked(struct answer *answer, const void *list, unsigned int i)
{
	const struct array *array = list;

	if (i < array->count)
		put_parked(&answer->nlb, &((const struct kh_ctl_parked *)array->elements)[i]);
	return i < array->count;
}

static bool put_of_findings(struct answer *answer, const void *list, unsigned int i)
{
	const struct array *array = list;

	if (i < array->count)
		put_finding(&answer->nlb, &((const struct kh_ctl_finding *)array->elements)[i]);
	return i < array->count;
}

int kh_ctl_reply_parked_list(const struct kh_ctl_request *req, const struct kh_ctl_parked *parked,
			     unsigned int count, kh_ctl_emit emit, void *ctx)
{
	const struct array array = { parked, count };
	struct answer answer;

	answer_init(&answer, req, emit, ctx);
	return reply_list(&answer, put_of_parked, &array);
}

int kh_ctl_reply_health(const struct kh_ctl_request *req, const struct kh_ctl_finding *findings,
			unsigned int count, kh_ctl_emit emit, void *ctx)
{
	const struct array array = { findings, count };
	struct answer answer;

	answer_init(&answer, req, emit, ctx);
	return reply_list(&answer, put_of_findings, &array);
}

int kh_ctl_event(const struct kh_ctl_request *req, uint64_t seq, uint64_t time_ns, uint32_t node,
		 const char *name, const char *text, kh_ctl_emit emit, void *ctx)
{
	struct kh_ctl_request event = {
		.cmd = KHAZANA_NL_CMD_EVENT,
		.type = req->type,
		.pid = req->pid,
	};
	struct answer answer;

	answer_init(&answer, &event, emit, ctx);
	answer_begin(&answer, 0);
	kh_nlb_u64(&answer.nlb, KHAZANA_NLA_EVENT_SEQ, seq);
	kh_nlb_u64(&answer.nlb, KHAZANA_NLA_EVENT_TIME_NS, time_ns);
	kh_nlb_u32(&answer.nlb, KHAZANA_NLA_EVENT_SOURCE, KHAZANA_NL_SOURCE_KHD);
	kh_nlb_string(&answer.nlb, KHAZANA_NLA_EVENT_NAME, name, 64);
	kh_nlb_u32(&answer.nlb, KHAZANA_NLA_EVENT_NODE, node);
	kh_nlb_string(&answer.nlb, KHAZANA_NLA_EVENT_TEXT, text, KH_CTL_TEXT_MAX);
	return answer_end(&answer) ? -EMSGSIZE : answer_send(&answer);
}
