// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * nla.c - netlink messages: a bounded parser and a bounded builder
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "ctl/nla.h"

#define ALIGN4(n) (((n) + 3) & ~(size_t)3)

int kh_nl_next(const uint8_t **buf, size_t *len, struct kh_nl_msg *msg)
{
	struct nlmsghdr head;
	struct genlmsghdr genl;
	size_t step;

	memset(msg, 0, sizeof(*msg));
	if (!*len)
		return 0;
	if (*len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, *buf, sizeof(head));
	if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > *len)
		return -EBADMSG;
	msg->type = head.nlmsg_type;
	msg->flags = head.nlmsg_flags;
	msg->seq = head.nlmsg_seq;
	msg->pid = head.nlmsg_pid;
	msg->body = *buf + sizeof(head);
	msg->len = head.nlmsg_len - sizeof(head);
	if (msg->type >= NLMSG_MIN_TYPE) {
		if (msg->len < sizeof(genl))
			return -EBADMSG;
		memcpy(&genl, msg->body, sizeof(genl));
		msg->cmd = genl.cmd;
		msg->body += sizeof(genl);
		msg->len -= sizeof(genl);
	}
	step = ALIGN4(head.nlmsg_len);
	if (step > *len)
		step = *len;
	*buf += step;
	*len -= step;
	return 1;
}

static bool attr_split(struct kh_nla_cursor *cursor, struct kh_nla *attr)
{
	struct nlattr head;
	size_t step;

	if (cursor->left < sizeof(head))
		return false;
	memcpy(&head, cursor->at, sizeof(head));
	if (head.nla_len < sizeof(head) || head.nla_len > cursor->left)
		return false;
	attr->type = head.nla_type & NLA_TYPE_MASK;
	attr->len = head.nla_len - sizeof(head);
	attr->data = cursor->at + sizeof(head);
	step = ALIGN4(head.nla_len);
	if (step > cursor->left)
		step = cursor->left;
	cursor->at += step;
	cursor->left -= step;
	return true;
}

bool kh_nla_next(struct kh_nla_cursor *cursor, struct kh_nla *attr)
{
	return attr_split(cursor, attr);
}

static bool enum_fits(const struct kh_nl_enum *values, uint32_t value)
{
	if (values->flags)
		return !(value >> values->count);
	return value >= values->first && value - values->first < values->count;
}

static bool attr_fits(const struct kh_nl_attr *spec, const struct kh_nla *attr, bool strict)
{
	switch (spec->type) {
	case KH_NL_PAD:
		return !strict || !attr->len;
	case KH_NL_FLAG:
		return !attr->len;
	case KH_NL_U32:
		return attr->len == 4 &&
		       (!strict || !spec->values || enum_fits(spec->values, kh_nla_u32(attr)));
	case KH_NL_U64:
	case KH_NL_S64:
		return attr->len == 8;
	case KH_NL_STRING:
		return attr->len && attr->len <= spec->size &&
		       memchr(attr->data, 0, attr->len) == attr->data + attr->len - 1;
	case KH_NL_BINARY:
		return attr->len == spec->size;
	default:
		return false;
	}
}

static int set_check(const struct kh_nl_set *set, uint64_t mask, bool strict, const uint8_t *buf,
		     size_t len, int depth)
{
	struct kh_nla_cursor cursor = kh_nla_begin(buf, len);
	uint64_t seen = 0;
	struct kh_nla attr;

	if (depth > KH_NLA_DEPTH_MAX)
		return -EINVAL;
	while (attr_split(&cursor, &attr)) {
		const struct kh_nl_attr *spec = attr.type < set->count ? &set->attrs[attr.type] :
									 NULL;
		uint64_t bit;

		if (!spec || spec->type == KH_NL_NONE || !(mask & 1ULL << attr.type)) {
			if (strict && (!spec || spec->type != KH_NL_PAD))
				return -EINVAL;
			continue;
		}
		bit = 1ULL << attr.type;
		if ((seen & bit) && !spec->multi && spec->type != KH_NL_PAD)
			return -EINVAL;
		seen |= bit;
		if (spec->type == KH_NL_NEST) {
			if (set_check(spec->nested, ~0ULL, strict, attr.data, attr.len, depth + 1))
				return -EINVAL;
		} else if (!attr_fits(spec, &attr, strict)) {
			return -EINVAL;
		}
	}
	return cursor.left ? -EINVAL : 0;
}

int kh_nla_check(const struct kh_nl_set *set, uint64_t mask, bool strict, const uint8_t *buf,
		 size_t len)
{
	return set_check(set, mask, strict, buf, len, 0);
}

uint32_t kh_nla_u32(const struct kh_nla *attr)
{
	uint32_t value = 0;

	if (attr->len == sizeof(value))
		memcpy(&value, attr->data, sizeof(value));
	return value;
}

uint64_t kh_nla_u64(const struct kh_nla *attr)
{
	uint64_t value = 0;

	if (attr->len == sizeof(value))
		memcpy(&value, attr->data, sizeof(value));
	return value;
}

struct khazana_addr kh_nla_addr(const struct kh_nla *attr)
{
	uint64_t half[2] = { 0, 0 };

	if (attr->len == sizeof(half))
		memcpy(half, attr->data, sizeof(half));
	return (struct khazana_addr){ .hi = be64toh(half[0]), .lo = be64toh(half[1]) };
}

void kh_nla_string(const struct kh_nla *attr, char *buf, size_t size)
{
	size_t len = strnlen((const char *)attr->data, attr->len);

	if (len >= size)
		len = size - 1;
	memcpy(buf, attr->data, len);
	buf[len] = '\0';
}

void kh_nlb_raw(struct kh_nlb *nlb, const void *data, size_t len)
{
	if (nlb->full || ALIGN4(len) > nlb->size - nlb->len) {
		nlb->full = true;
		return;
	}
	if (len)
		memcpy(nlb->buf + nlb->len, data, len);
	memset(nlb->buf + nlb->len + len, 0, ALIGN4(len) - len);
	nlb->len += ALIGN4(len);
}

void kh_nlb_begin_control(struct kh_nlb *nlb, void *buf, size_t size, uint16_t type, uint16_t flags,
			  uint32_t seq, uint32_t pid)
{
	struct nlmsghdr head = {
		.nlmsg_type = type,
		.nlmsg_flags = flags,
		.nlmsg_seq = seq,
		.nlmsg_pid = pid,
	};

	*nlb = (struct kh_nlb){ .buf = buf, .size = size };
	kh_nlb_raw(nlb, &head, sizeof(head));
}

void kh_nlb_begin(struct kh_nlb *nlb, void *buf, size_t size, uint16_t type, uint16_t flags,
		  uint32_t seq, uint32_t pid, uint8_t cmd)
{
	struct genlmsghdr genl = { .cmd = cmd, .version = KHAZANA_NL_FAMILY_VERSION };

	kh_nlb_begin_control(nlb, buf, size, type, flags, seq, pid);
	kh_nlb_raw(nlb, &genl, sizeof(genl));
}

void kh_nlb_put(struct kh_nlb *nlb, uint16_t type, const void *data, size_t len)
{
	struct nlattr head = { .nla_type = type };

	if (nlb->full || len > UINT16_MAX - sizeof(head) ||
	    sizeof(head) + ALIGN4(len) > nlb->size - nlb->len) {
		nlb->full = true;
		return;
	}
	head.nla_len = sizeof(head) + len;
	kh_nlb_raw(nlb, &head, sizeof(head));
	kh_nlb_raw(nlb, data, len);
}

void kh_nlb_u32(struct kh_nlb *nlb, uint16_t type, uint32_t value)
{
	kh_nlb_put(nlb, type, &value, sizeof(value));
}

void kh_nlb_u64(struct kh_nlb *nlb, uint16_t type, uint64_t value)
{
	kh_nlb_put(nlb, type, &value, sizeof(value));
}

void kh_nlb_flag(struct kh_nlb *nlb, uint16_t type, bool value)
{
	if (value)
		kh_nlb_put(nlb, type, NULL, 0);
}

void kh_nlb_string(struct kh_nlb *nlb, uint16_t type, const char *text, size_t size)
{
	char copy[KH_NLB_STRING_MAX];
	size_t len;

	if (size > sizeof(copy))
		size = sizeof(copy);
	len = strnlen(text, size - 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	kh_nlb_put(nlb, type, copy, len + 1);
}

void kh_nlb_addr(struct kh_nlb *nlb, uint16_t type, struct khazana_addr addr)
{
	uint64_t half[2] = { htobe64(addr.hi), htobe64(addr.lo) };

	kh_nlb_put(nlb, type, half, sizeof(half));
}

size_t kh_nlb_nest(struct kh_nlb *nlb, uint16_t type)
{
	size_t mark = nlb->len;

	kh_nlb_put(nlb, type | NLA_F_NESTED, NULL, 0);
	return mark;
}

void kh_nlb_nest_end(struct kh_nlb *nlb, size_t mark)
{
	uint16_t len = nlb->len - mark;

	if (nlb->full || nlb->len - mark > UINT16_MAX) {
		nlb->full = true;
		return;
	}
	memcpy(nlb->buf + mark + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

int kh_nlb_end(struct kh_nlb *nlb)
{
	uint32_t len = nlb->len;

	if (nlb->full)
		return -EMSGSIZE;
	memcpy(nlb->buf + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
	return nlb->len;
}
