// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * decode.c - the messages of an answer to struct kh_op_result
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/decode.h"
#include "ctl/link.h"

static void get_region(const struct kh_nla *nest, struct kh_region_info *region)
{
	struct kh_nla_cursor cursor = kh_nla_begin(nest->data, nest->len);
	struct kh_nla nla;

	memset(region, 0, sizeof(*region));
	region->allocated = ~0ULL;
	while (kh_nla_next(&cursor, &nla)) {
		switch (nla.type) {
		case KHAZANA_NLA_REGION_ADDR:
			region->start = kh_nla_addr(&nla);
			break;
		case KHAZANA_NLA_REGION_LENGTH:
			region->length = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_REGION_GENERATION:
			region->generation = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_REGION_ALLOCATED:
			region->allocated = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_REGION_EPOCH:
			region->epoch = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_REGION_HOME:
			region->home = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_REGION_ATTR:
			kh_ctl_get_attr(&nla, &region->attr);
			break;
		}
	}
}

static void get_page(const struct kh_nla *nest, struct kh_page_info *page)
{
	struct kh_nla_cursor cursor = kh_nla_begin(nest->data, nest->len);
	struct kh_nla nla;

	memset(page, 0, sizeof(*page));
	while (kh_nla_next(&cursor, &nla)) {
		switch (nla.type) {
		case KHAZANA_NLA_PAGE_ADDR:
			page->start = kh_nla_addr(&nla);
			break;
		case KHAZANA_NLA_PAGE_VERSION:
			page->version = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_PAGE_TOKEN:
			page->token = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_PAGE_HOME:
			page->home = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_OWNER:
			page->owner = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_BACKUP:
			page->backup = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_RIGHT:
			page->right = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_BUSY:
			page->busy = true;
			break;
		case KHAZANA_NLA_PAGE_WAITING:
			page->waiting = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_READERS:
			if (page->reader_count < KH_PAGE_HOLDERS_MAX)
				page->readers[page->reader_count++] = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_PLACE:
			page->place = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_PAGE_STORED:
			page->stored = kh_nla_u64(&nla);
			break;
		}
	}
}

static void get_node(const struct kh_nla *nest, struct kh_node_info *node)
{
	struct kh_nla_cursor cursor = kh_nla_begin(nest->data, nest->len);
	struct kh_nla nla;

	memset(node, 0, sizeof(*node));
	node->lease_left_ms = -1;
	while (kh_nla_next(&cursor, &nla)) {
		switch (nla.type) {
		case KHAZANA_NLA_NODE_ID:
			node->id = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_NODE_SELF:
			node->self = true;
			break;
		case KHAZANA_NLA_NODE_CONNECTED:
			node->connected = true;
			break;
		case KHAZANA_NLA_NODE_INCARNATION:
			node->incarnation = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_NODE_LEASE_LEFT_MS:
			node->lease_left_ms = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_NODE_MESSAGES_IN:
			node->messages_in = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_NODE_MESSAGES_OUT:
			node->messages_out = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_NODE_BYTES_IN:
			node->bytes_in = kh_nla_u64(&nla);
			break;
		case KHAZANA_NLA_NODE_BYTES_OUT:
			node->bytes_out = kh_nla_u64(&nla);
			break;
		}
	}
}

/* Room for one more element at the end of a list; NULL without memory or beyond the limit. */
static void *list_grow(void **list, unsigned int *count, size_t size)
{
	void *more;

	if (*count >= KH_CTL_LIST_MAX)
		return NULL;
	if (!(*count & (*count - 1))) {
		more = reallocarray(*list, *count ? 2 * *count : 1, size);
		if (!more)
			return NULL;
		*list = more;
	}
	return (char *)*list + size * (*count)++;
}

static int add_counter(struct kh_ctl_answer *answer, const struct kh_nla *nest)
{
	struct kh_nla_cursor cursor = kh_nla_begin(nest->data, nest->len);
	struct kh_counter *counter;
	char name[64] = "";
	struct kh_nla nla;
	uint64_t value = 0;

	while (kh_nla_next(&cursor, &nla)) {
		if (nla.type == KHAZANA_NLA_COUNTER_NAME)
			kh_nla_string(&nla, name, sizeof(name));
		else if (nla.type == KHAZANA_NLA_COUNTER_VALUE)
			value = kh_nla_u64(&nla);
	}
	counter = list_grow((void **)&answer->counters, &answer->counter_count, sizeof(*counter));
	if (!counter)
		return -ENOMEM;
	counter->value = value;
	counter->name = strdup(name);
	return counter->name ? 0 : -ENOMEM;
}

int kh_ctl_answer_add(void *arg, const struct kh_nl_msg *msg)
{
	struct kh_nla_cursor cursor = kh_nla_begin(msg->body, msg->len);
	struct kh_ctl_answer *answer = arg;
	struct kh_region_info *region;
	struct kh_node_info *node;
	struct kh_nla nla;

	while (kh_nla_next(&cursor, &nla)) {
		switch (nla.type) {
		case KHAZANA_NLA_OP_ADDR:
			answer->addr = kh_nla_addr(&nla);
			break;
		case KHAZANA_NLA_OP_REGION:
			region = list_grow((void **)&answer->regions, &answer->region_count,
					   sizeof(*region));
			if (!region)
				return -ENOMEM;
			get_region(&nla, region);
			break;
		case KHAZANA_NLA_OP_NODE_INFO:
			node = list_grow((void **)&answer->nodes, &answer->node_count,
					 sizeof(*node));
			if (!node)
				return -ENOMEM;
			get_node(&nla, node);
			break;
		case KHAZANA_NLA_OP_PAGE:
			get_page(&nla, &answer->page);
			answer->has_page = true;
			break;
		case KHAZANA_NLA_OP_COUNTER:
			if (add_counter(answer, &nla))
				return -ENOMEM;
			break;
		}
	}
	return 0;
}

void kh_ctl_answer_result(const struct kh_ctl_answer *answer, struct kh_op_result *result)
{
	*result = (struct kh_op_result){
		.addr = answer->addr,
		.regions = answer->regions,
		.region_count = answer->region_count,
		.page = answer->has_page ? &answer->page : NULL,
		.nodes = answer->nodes,
		.node_count = answer->node_count,
		.counters = answer->counters,
		.counter_count = answer->counter_count,
	};
}

void kh_ctl_answer_free(struct kh_ctl_answer *answer)
{
	for (unsigned int i = 0; i < answer->counter_count; i++)
		free((char *)answer->counters[i].name);
	free(answer->counters);
	free(answer->nodes);
	free(answer->regions);
	memset(answer, 0, sizeof(*answer));
}
