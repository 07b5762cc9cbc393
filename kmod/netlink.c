// SPDX-License-Identifier: GPL-2.0-only
/*
 * netlink.c - what the module tells about itself
 *
 * Each operation looks at the instance of the asker's network namespace; policies
 * and permissions are generated from the specification.  A list goes on where its
 * last message ended: regions by handle, units by index, so that what comes or goes meanwhile is
 * seen or not, but nothing is told twice.  Attachments and calls go on by position and may
 * be, when others come and go meanwhile.
 */
#include <linux/highmem.h>
#include <linux/module.h>
#include <net/sock.h>

#include "compat.h"
#include "instance.h"
#include "netlink.h"
#include "netlink_gen.h"
#include "parked.h"
#include "region.h"
#include "unit.h"

/* Where a list goes on; lives in netlink_callback.ctx. */
struct cursor {
	u64 index;
	u32 region;
	u32 phase;
};

static_assert(sizeof(struct cursor) <= sizeof_field(struct netlink_callback, ctx));

#define KZ_PARKED_DATA	4096	/* bytes of a parked frame in one message */

static bool ready;

static struct cursor *cursor_of(struct netlink_callback *cb)
{
	return (struct cursor *)cb->ctx;
}

static struct nlattr **dump_attrs(struct netlink_callback *cb)
{
#if KZ_LINUX_SINCE(6, 6)
	return genl_info_dump(cb)->attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

static struct kz_instance *instance_of(struct sk_buff *skb)
{
	return kz_instance_get_net(sock_net(skb->sk));
}

static void *dump_put(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd)
{
	return genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &kz_nl_family,
			   NLM_F_MULTI, cmd);
}

/* End the message, or take it back if @err. */
static int dump_end(struct sk_buff *skb, void *head, int err)
{
	if (err)
		genlmsg_cancel(skb, head);
	else
		genlmsg_end(skb, head);
	return err;
}

static int put_addr(struct sk_buff *skb, int type, struct khazana_addr addr)
{
	__be64 half[2] = { cpu_to_be64(addr.hi), cpu_to_be64(addr.lo) };

	return nla_put(skb, type, sizeof(half), half);
}

/* What was sent so far, if anything; else the reason why not. */
static int dump_result(struct sk_buff *skb, int err)
{
	return err == -EMSGSIZE && skb->len ? skb->len : err;
}

static u32 region_attachments(struct kz_region *region)
{
	u32 count;

	mutex_lock(&region->lock);
	count = list_count_nodes(&region->attachments);
	mutex_unlock(&region->lock);
	return count;
}

static int put_instance(struct sk_buff *skb, struct kz_instance *instance)
{
	u32 regions = 0, attachments = 0, node = 0, port = 0, handle = 0;
	struct kz_region *region;
	bool registered;

	while ((region = kz_region_next(instance, handle))) {
		regions++;
		attachments += region_attachments(region);
		handle = region->handle + 1;
		kz_region_put(region);
	}
	spin_lock(&instance->queue.lock);
	registered = instance->queue.daemon;
	if (registered) {
		node = instance->queue.daemon->node;
		port = instance->queue.daemon->port;
	}
	spin_unlock(&instance->queue.lock);

#define PUT(type, name, value) \
	nla_put_##type(skb, KHAZANA_NLA_INSTANCE_##name, value)
#define PUT64(name, value) \
	nla_put_u64_64bit(skb, KHAZANA_NLA_INSTANCE_##name, value, KHAZANA_NLA_INSTANCE_PAD)
	return PUT64(BOOT, instance->boot) ?:
	       PUT(u32, ABI, KHAZANA_ABI_VERSION) ?:
	       (registered ? nla_put_flag(skb, KHAZANA_NLA_INSTANCE_KHD_REGISTERED) : 0) ?:
	       PUT(u32, KHD_NODE, node) ?:
	       PUT(u32, KHD_PORT, port) ?:
	       PUT64(FRAMES_USED, READ_ONCE(instance->frames.in_use)) ?:
	       PUT64(FRAMES_MAX, READ_ONCE(instance->frames.max)) ?:
	       PUT(u32, REGIONS, regions) ?:
	       PUT(u32, ATTACHMENTS, attachments) ?:
	       PUT64(EVENT_SEQ, atomic64_read(&instance->events.seq)) ?:
	       PUT64(EVENTS_DROPPED, atomic64_read(&instance->events.dropped));
#undef PUT64
#undef PUT
}

int kz_nl_instance_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct kz_instance *instance = kz_instance_get_net(genl_info_net(info));
	struct sk_buff *reply;
	int err = -ENOMEM;
	void *head;

	if (!instance)
		return -ESHUTDOWN;
	reply = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!reply)
		goto put;
	err = -EMSGSIZE;
	head = genlmsg_put_reply(reply, info, &kz_nl_family, 0, KHAZANA_NL_CMD_INSTANCE_GET);
	if (head)
		err = put_instance(reply, instance);
	if (err) {
		nlmsg_free(reply);
		goto put;
	}
	genlmsg_end(reply, head);
	err = genlmsg_reply(reply, info);
put:
	kz_instance_put(instance);
	return err;
}

static int put_region(struct sk_buff *skb, struct kz_region *region)
{
	const struct kz_lease *lease = READ_ONCE(region->lease);
	s64 left = lease ? READ_ONCE(lease->end_ns) - ktime_get_boottime_ns() : 0;

#define PUT(name, value) nla_put_u32(skb, KHAZANA_NLA_KREGION_##name, value)
#define PUT64(name, value) \
	nla_put_u64_64bit(skb, KHAZANA_NLA_KREGION_##name, value, KHAZANA_NLA_KREGION_PAD)
	return PUT(HANDLE, region->handle) ?:
	       put_addr(skb, KHAZANA_NLA_KREGION_ADDR, region->start) ?:
	       PUT64(LENGTH, region->length) ?:
	       PUT64(GENERATION, region->generation) ?:
	       PUT(UNIT_SHIFT, region->unit_shift) ?:
	       PUT(ATTACHMENTS, region_attachments(region)) ?:
	       PUT64(EPOCH_FLOOR, READ_ONCE(region->floor)) ?:
	       PUT(LEASE, lease ? lease->id : 0) ?:
	       (lease ? nla_put_s64(skb, KHAZANA_NLA_KREGION_LEASE_LEFT_MS,
				    div_s64(left, NSEC_PER_MSEC), KHAZANA_NLA_KREGION_PAD) : 0) ?:
	       PUT(WAIT_MS, READ_ONCE(region->wait_ms)) ?:
	       PUT(RESIDENCY_US, div_u64(READ_ONCE(region->residency_ns), NSEC_PER_USEC));
#undef PUT64
#undef PUT
}

/**
 * regions_walk() - call @each for the regions from the cursor on
 * @skb: the dump
 * @cb: its state
 * @each: fills messages; 0 when it is through with a region, else an errno that ends the walk
 *
 * Return: as a dumpit callback.
 */
static int regions_walk(struct sk_buff *skb, struct netlink_callback *cb,
			int (*each)(struct sk_buff *skb, struct netlink_callback *cb,
				    struct kz_region *region))
{
	struct kz_instance *instance = instance_of(skb);
	struct cursor *cursor = cursor_of(cb);
	struct kz_region *region;
	int err = 0;

	if (!instance)
		return -ESHUTDOWN;
	while (!err && (region = kz_region_next(instance, cursor->region))) {
		/* What @each began in a region that is gone does not go on in the next. */
		if (region->handle != cursor->region)
			cursor->index = 0;
		cursor->region = region->handle;
		err = each(skb, cb, region);
		kz_region_put(region);
		if (!err) {
			cursor->region++;
			cursor->index = 0;
		}
	}
	kz_instance_put(instance);
	return err ? dump_result(skb, err) : skb->len;
}

static int kregion_each(struct sk_buff *skb, struct netlink_callback *cb, struct kz_region *region)
{
	void *head = dump_put(skb, cb, KHAZANA_NL_CMD_KREGION_GET);

	return head ? dump_end(skb, head, put_region(skb, region)) : -EMSGSIZE;
}

int kz_nl_kregion_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	return regions_walk(skb, cb, kregion_each);
}

static int put_attachment(struct sk_buff *skb, const struct kz_region *region,
			  const struct kz_attachment *attachment)
{
	int err;

	err = nla_put_u32(skb, KHAZANA_NLA_ATTACHMENT_REGION, region->handle) ?:
	      put_addr(skb, KHAZANA_NLA_ATTACHMENT_ADDR,
		       kz_region_addr(region, attachment->first)) ?:
	      nla_put_u64_64bit(skb, KHAZANA_NLA_ATTACHMENT_LENGTH, attachment->length,
				KHAZANA_NLA_ATTACHMENT_PAD) ?:
	      nla_put_u32(skb, KHAZANA_NLA_ATTACHMENT_PID, attachment->pid);
	if (!err && (attachment->flags & KHAZANA_ATTACH_READONLY))
		err = nla_put_flag(skb, KHAZANA_NLA_ATTACHMENT_READONLY);
	if (!err && READ_ONCE(attachment->poisoned))
		err = nla_put_flag(skb, KHAZANA_NLA_ATTACHMENT_POISONED);
	return err;
}

static int attachment_each(struct sk_buff *skb, struct netlink_callback *cb,
			   struct kz_region *region)
{
	struct cursor *cursor = cursor_of(cb);
	struct kz_attachment *attachment;
	u64 position = 0;
	int err = 0;
	void *head;

	mutex_lock(&region->lock);
	list_for_each_entry(attachment, &region->attachments, node) {
		if (position++ < cursor->index)
			continue;
		head = dump_put(skb, cb, KHAZANA_NL_CMD_ATTACHMENT_GET);
		err = head ? dump_end(skb, head, put_attachment(skb, region, attachment)) :
			     -EMSGSIZE;
		if (err)
			break;
		cursor->index = position;
	}
	mutex_unlock(&region->lock);
	return err;
}

int kz_nl_attachment_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	return regions_walk(skb, cb, attachment_each);
}

static int put_unit(struct sk_buff *skb, struct kz_unit *unit)
{
	const struct kz_region *region = unit->region;
	struct kz_page page;
	int err;

	spin_lock(&unit->lock);
	page = unit->page;
	spin_unlock(&unit->lock);

#define PUT(name, value) nla_put_u32(skb, KHAZANA_NLA_UNIT_##name, value)
#define PUT64(name, value) \
	nla_put_u64_64bit(skb, KHAZANA_NLA_UNIT_##name, value, KHAZANA_NLA_UNIT_PAD)
	err = PUT(REGION, region->handle) ?:
	      PUT64(INDEX, unit->index) ?:
	      put_addr(skb, KHAZANA_NLA_UNIT_ADDR, kz_region_addr(region, unit->index)) ?:
	      PUT(SHIFT, region->unit_shift) ?:
	      PUT(RIGHT, page.right) ?:
	      PUT(STATE, page.state) ?:
	      PUT(FLAGS, page.flags) ?:
	      PUT64(TOKEN, page.token) ?:
	      PUT64(FLOOR, max(page.floor, READ_ONCE(region->floor)));
	if (!err && (page.frames & KZ_FRAME_CURRENT) && page.version != KHAZANA_VERSION_NONE)
		err = PUT64(VERSION, page.version);
	if (!err && (page.flags & KHAZANA_UNIT_HANDOFF))
		err = PUT64(TOKEN_HANDOFF, page.handoff_token) ?:
		      PUT64(VERSION_HANDOFF, page.handoff_version);
#undef PUT64
#undef PUT
	return err;
}

static int unit_each(struct sk_buff *skb, struct netlink_callback *cb, struct kz_region *region)
{
	struct nlattr *only = dump_attrs(cb)[KHAZANA_NLA_UNIT_REGION];
	struct cursor *cursor = cursor_of(cb);
	u64 index = cursor->index;
	struct kz_unit *unit;
	void *head;
	int err;

	if (only && nla_get_u32(only) != region->handle)
		return 0;
	while ((unit = kz_unit_next(region, &index))) {
		head = dump_put(skb, cb, KHAZANA_NL_CMD_UNIT_GET);
		err = head ? dump_end(skb, head, put_unit(skb, unit)) : -EMSGSIZE;
		kz_unit_put(unit);
		if (err)
			return err;
		cursor->index = index;
	}
	return 0;
}

int kz_nl_unit_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	return regions_walk(skb, cb, unit_each);
}

/* The region that holds @addr, with a reference, and the unit in it. */
static struct kz_region *region_at(struct kz_instance *instance, const struct nlattr *attr,
				   u64 *index)
{
	struct kz_region *region;
	u32 handle = 0;
	__be64 half[2];
	u64 hi, lo;

	nla_memcpy(half, attr, sizeof(half));
	hi = be64_to_cpu(half[0]);
	lo = be64_to_cpu(half[1]);
	while ((region = kz_region_next(instance, handle))) {
		u64 offset = lo - region->start.lo;

		if (hi - region->start.hi == (u64)(lo < region->start.lo) &&
		    offset < region->length) {
			*index = offset >> region->unit_shift;
			return region;
		}
		handle = region->handle + 1;
		kz_region_put(region);
	}
	return NULL;
}

static int unit_reply(struct genl_info *info, struct kz_unit *unit)
{
	struct sk_buff *reply = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	int err = -EMSGSIZE;
	void *head;

	if (!reply)
		return -ENOMEM;
	head = genlmsg_put_reply(reply, info, &kz_nl_family, 0, KHAZANA_NL_CMD_UNIT_GET);
	if (head)
		err = put_unit(reply, unit);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	genlmsg_end(reply, head);
	return genlmsg_reply(reply, info);
}

int kz_nl_unit_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct kz_instance *instance;
	struct kz_region *region;
	struct kz_unit *unit;
	int err = -ENOENT;
	u64 index;

	if (GENL_REQ_ATTR_CHECK(info, KHAZANA_NLA_UNIT_ADDR))
		return -EINVAL;
	instance = kz_instance_get_net(genl_info_net(info));
	if (!instance)
		return -ESHUTDOWN;
	region = region_at(instance, info->attrs[KHAZANA_NLA_UNIT_ADDR], &index);
	if (!region) {
		NL_SET_ERR_MSG(info->extack, "this node does not use the region");
		goto put;
	}
	unit = kz_unit_find(region, index);
	if (unit) {
		err = unit_reply(info, unit);
		kz_unit_put(unit);
	} else {
		NL_SET_ERR_MSG(info->extack, "this node has nothing of the unit");
	}
	kz_region_put(region);
put:
	kz_instance_put(instance);
	return err;
}

static int put_parked(struct sk_buff *skb, const struct kz_parked *entry)
{
	const struct kz_region *region = entry->region;
	u64 age_ns = ktime_get_boottime_ns() - entry->time_ns;

#define PUT(name, value) nla_put_u32(skb, KHAZANA_NLA_PARKED_##name, value)
#define PUT64(name, value) \
	nla_put_u64_64bit(skb, KHAZANA_NLA_PARKED_##name, value, KHAZANA_NLA_PARKED_PAD)
	return PUT(ID, entry->id) ?:
	       PUT(REGION, region->handle) ?:
	       put_addr(skb, KHAZANA_NLA_PARKED_ADDR, kz_region_addr(region, entry->unit)) ?:
	       PUT(SHIFT, region->unit_shift) ?:
	       PUT64(TOKEN, entry->token) ?:
	       PUT64(VERSION, entry->version) ?:
	       PUT64(AGE_MS, div_u64(age_ns, NSEC_PER_MSEC));
}

int kz_nl_parked_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct kz_instance *instance = instance_of(skb);
	struct cursor *cursor = cursor_of(cb);
	struct kz_parked *entry;
	int err = 0;
	void *head;

	if (!instance)
		return -ESHUTDOWN;
	mutex_lock(&instance->parked.lock);
	while (!err && (entry = kz_parked_next(&instance->parked, cursor->index))) {
		head = dump_put(skb, cb, KHAZANA_NL_CMD_PARKED_GET);
		err = head ? dump_end(skb, head, put_parked(skb, entry)) : -EMSGSIZE;
		if (!err)
			cursor->index = entry->id + 1;
	}
	mutex_unlock(&instance->parked.lock);
	kz_instance_put(instance);
	return dump_result(skb, err);
}

/* A machine page of an entry behind what is said of it. */
static int put_parked_data(struct sk_buff *skb, const struct kz_parked *entry, u64 offset)
{
	struct page *page = entry->frame->page[offset >> PAGE_SHIFT];
	int err = put_parked(skb, entry) ?: PUT64(OFFSET, offset);
	void *data;

#undef PUT64
#undef PUT
	if (err)
		return err;
	data = kmap_local_page(page);
	err = nla_put(skb, KHAZANA_NLA_PARKED_DATA, KZ_PARKED_DATA, data + offset_in_page(offset));
	kunmap_local(data);
	return err;
}

static int parked_reply(struct kz_instance *instance, struct genl_info *info, u32 id, u64 offset)
{
	struct sk_buff *reply = genlmsg_new(GENLMSG_DEFAULT_SIZE + KZ_PARKED_DATA, GFP_KERNEL);
	struct kz_parked *entry;
	void *head;
	int err;

	if (!reply)
		return -ENOMEM;
	head = genlmsg_put_reply(reply, info, &kz_nl_family, 0, KHAZANA_NL_CMD_PARKED_GET);
	mutex_lock(&instance->parked.lock);
	entry = xa_load(&instance->parked.entries, id);
	if (!entry)
		err = -ENOENT;
	else if (offset >> entry->region->unit_shift)
		err = -ERANGE;
	else
		err = head ? put_parked_data(reply, entry, offset) : -EMSGSIZE;
	mutex_unlock(&instance->parked.lock);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	genlmsg_end(reply, head);
	return genlmsg_reply(reply, info);
}

int kz_nl_parked_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	const struct nlattr *at = info->attrs[KHAZANA_NLA_PARKED_OFFSET];
	u64 offset = at ? nla_get_u64(at) : 0;
	struct kz_instance *instance;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, KHAZANA_NLA_PARKED_ID) || offset % KZ_PARKED_DATA)
		return -EINVAL;
	instance = kz_instance_get_net(genl_info_net(info));
	if (!instance)
		return -ESHUTDOWN;
	err = parked_reply(instance, info, nla_get_u32(info->attrs[KHAZANA_NLA_PARKED_ID]), offset);
	if (err == -ENOENT)
		NL_SET_ERR_MSG(info->extack, "nothing is parked under this id");
	kz_instance_put(instance);
	return err;
}

int kz_nl_parked_discard_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct kz_instance *instance;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, KHAZANA_NLA_PARKED_ID))
		return -EINVAL;
	instance = kz_instance_get_net(genl_info_net(info));
	if (!instance)
		return -ESHUTDOWN;
	err = kz_parked_drop(instance, nla_get_u32(info->attrs[KHAZANA_NLA_PARKED_ID]));
	if (err)
		NL_SET_ERR_MSG(info->extack, "nothing is parked under this id");
	kz_instance_put(instance);
	return err;
}

int kz_nl_stats_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct kz_instance *instance = instance_of(skb);
	struct cursor *cursor = cursor_of(cb);
	int err = 0;
	void *head;

	if (!instance)
		return -ESHUTDOWN;
	for (; cursor->index < KZ_STAT_MAX; cursor->index++) {
		head = dump_put(skb, cb, KHAZANA_NL_CMD_STATS_GET);
		err = head ? nla_put_string(skb, KHAZANA_NLA_COUNTER_NAME,
					    kz_stat_name[cursor->index]) ?:
			     nla_put_u64_64bit(skb, KHAZANA_NLA_COUNTER_VALUE,
					       kz_instance_stat(instance, cursor->index),
					       KHAZANA_NLA_COUNTER_PAD) :
			     -EMSGSIZE;
		if (head)
			dump_end(skb, head, err);
		if (err)
			break;
	}
	kz_instance_put(instance);
	return err ? dump_result(skb, err) : skb->len;
}

static int put_request(struct sk_buff *skb, struct netlink_callback *cb,
		       const struct khazana_request *req, bool fetched, u64 since_ns)
{
	void *head = dump_put(skb, cb, KHAZANA_NL_CMD_REQUEST_GET);
	int err;

	if (!head)
		return -EMSGSIZE;
#define PUT(name, value) nla_put_u32(skb, KHAZANA_NLA_REQUEST_##name, value)
#define PUT64(name, value) \
	nla_put_u64_64bit(skb, KHAZANA_NLA_REQUEST_##name, value, KHAZANA_NLA_REQUEST_PAD)
	err = PUT64(ID, req->id) ?:
	      PUT(OP, req->op) ?:
	      PUT(REGION, req->region) ?:
	      PUT64(UNIT, req->unit) ?:
	      PUT64(COUNT, req->count) ?:
	      PUT(WANT, req->want) ?:
	      PUT(FLAGS, req->flags);
	if (!err && fetched)
		err = nla_put_flag(skb, KHAZANA_NLA_REQUEST_FETCHED);
	if (!err && since_ns)
		err = PUT64(AGE_MS, div_u64(ktime_get_boottime_ns() - since_ns, NSEC_PER_MSEC));
#undef PUT64
#undef PUT
	return dump_end(skb, head, err);
}

/* The unit's request, if it has one. */
static int put_unit_request(struct sk_buff *skb, struct netlink_callback *cb, struct kz_unit *unit)
{
	struct kz_queue *queue = &unit->region->instance->queue;
	struct khazana_request req = {
		.op = KHAZANA_REQ_FAULT,
		.region = unit->region->handle,
		.unit = unit->index,
		.count = 1,
	};
	u32 where;
	u64 since;

	spin_lock(&unit->lock);
	req.want = unit->page.want;
	req.flags = unit->req_flags;
	since = unit->queued_ns;
	spin_lock(&queue->lock);
	where = unit->request;
	req.id = unit->req_id;
	spin_unlock(&queue->lock);
	spin_unlock(&unit->lock);
	if (where == KZ_REQUEST_NONE)
		return 0;
	return put_request(skb, cb, &req, where == KZ_REQUEST_FETCHED, since);
}

static int request_each(struct sk_buff *skb, struct netlink_callback *cb, struct kz_region *region)
{
	struct cursor *cursor = cursor_of(cb);
	u64 index = cursor->index;
	struct kz_unit *unit;
	int err;

	while ((unit = kz_unit_next(region, &index))) {
		err = put_unit_request(skb, cb, unit);
		kz_unit_put(unit);
		if (err)
			return err;
		cursor->index = index;
	}
	return 0;
}

/* Calls, of one of the queue's two lists. */
static int put_calls(struct sk_buff *skb, struct netlink_callback *cb, struct kz_queue *queue,
		     struct list_head *list)
{
	struct cursor *cursor = cursor_of(cb);
	struct kz_notice *notice;
	u64 position = 0;
	int err = 0;

	spin_lock(&queue->lock);
	list_for_each_entry(notice, list, node) {
		if (position++ < cursor->index || !notice->call)
			continue;
		err = put_request(skb, cb, &notice->req, list == &queue->fetched, 0);
		if (err)
			break;
		cursor->index = position;
	}
	spin_unlock(&queue->lock);
	return err;
}

enum { REQUESTS_UNITS, REQUESTS_FETCHED, REQUESTS_QUEUED, REQUESTS_END };

int kz_nl_request_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct cursor *cursor = cursor_of(cb);
	struct kz_instance *instance;
	struct list_head *list;
	int err = 0;

	if (cursor->phase == REQUESTS_UNITS) {
		int len = skb->len;

		err = regions_walk(skb, cb, request_each);
		if (err < 0 || err > len)
			return err;
		cursor->phase = REQUESTS_FETCHED;
		cursor->index = 0;
	}
	instance = instance_of(skb);
	if (!instance)
		return -ESHUTDOWN;
	for (err = 0; cursor->phase < REQUESTS_END; cursor->phase++) {
		list = cursor->phase == REQUESTS_FETCHED ? &instance->queue.fetched :
							   &instance->queue.notices;
		err = put_calls(skb, cb, &instance->queue, list);
		if (err)
			break;
		cursor->index = 0;
	}
	kz_instance_put(instance);
	return err ? dump_result(skb, err) : skb->len;
}

/**
 * kz_netlink_ready() - is the family registered?
 *
 * Context: under rcu_read_lock(), which keeps a family that is ready.
 */
bool kz_netlink_ready(void)
{
	return READ_ONCE(ready);
}

/**
 * kz_netlink_init() - register the family
 *
 * Return: 0 or an errno.
 */
int kz_netlink_init(void)
{
	int err = genl_register_family(&kz_nl_family);

	WRITE_ONCE(ready, !err);
	return err;
}

/**
 * kz_netlink_exit() - unregister the family; no event is sent any more
 */
void kz_netlink_exit(void)
{
	WRITE_ONCE(ready, false);
	synchronize_rcu();
	genl_unregister_family(&kz_nl_family);
}
