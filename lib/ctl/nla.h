/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nla.h - netlink messages: a bounded parser and a bounded builder
 *
 * A message is checked once, as a whole, against the tables of schema.h (kh_nla_check);
 * after that its attributes are read by cursor without further checks of length.  Nothing
 * here allocates, and no alignment is assumed.
 */
#ifndef KH_CTL_NLA_H
#define KH_CTL_NLA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/khazana.h>
#include "ctl/schema.h"

#define KH_NLA_DEPTH_MAX 4 /* sets within sets */
#define KH_NLB_STRING_MAX 512 /* bytes of a string attribute, with the NUL */

/**
 * struct kh_nl_msg - one message, header checked
 * @type: nlmsg_type
 * @flags: nlmsg_flags
 * @seq: sequence number
 * @pid: port
 * @cmd: of the genetlink header; 0 for a control message (type below NLMSG_MIN_TYPE)
 * @body: attributes, or the payload of a control message
 * @len: bytes of it
 */
struct kh_nl_msg {
	uint16_t type;
	uint16_t flags;
	uint32_t seq;
	uint32_t pid;
	uint8_t cmd;
	const uint8_t *body;
	size_t len;
};

/* One attribute: @type without flag bits, @data of @len bytes. */
struct kh_nla {
	uint16_t type;
	uint16_t len;
	const uint8_t *data;
};

/* Where the next attribute begins. */
struct kh_nla_cursor {
	const uint8_t *at;
	size_t left;
};

/**
 * kh_nl_next() - split the first message off a buffer
 * @buf: in, out: moved behind it
 * @len: in, out: bytes left
 * @msg: out
 *
 * Return: 1, 0 at the end, -EBADMSG.
 */
int kh_nl_next(const uint8_t **buf, size_t *len, struct kh_nl_msg *msg);

/**
 * kh_nla_check() - is this a well-formed set of attributes?
 * @set: which one
 * @mask: attributes allowed at the top; ~0 for any of the set
 * @strict: refuse unknown and excess attributes (requests), else skip them (answers of newer
 * versions)
 *
 * Return: 0, -EINVAL.
 */
int kh_nla_check(const struct kh_nl_set *set, uint64_t mask, bool strict, const uint8_t *buf,
		 size_t len);

static inline struct kh_nla_cursor kh_nla_begin(const uint8_t *buf, size_t len)
{
	return (struct kh_nla_cursor){ buf, len };
}

/* Return: whether there was one more. */
bool kh_nla_next(struct kh_nla_cursor *cursor, struct kh_nla *attr);

/* The value of a checked attribute; 0 from one that is too short. */
uint32_t kh_nla_u32(const struct kh_nla *attr);
uint64_t kh_nla_u64(const struct kh_nla *attr);
struct khazana_addr kh_nla_addr(const struct kh_nla *attr);

/* Copy a string into @buf of @size, always with a NUL. */
void kh_nla_string(const struct kh_nla *attr, char *buf, size_t size);

/**
 * struct kh_nlb - a message under construction
 * @buf: where
 * @size: bytes there
 * @len: bytes used
 * @full: something did not fit: the message is of no use
 */
struct kh_nlb {
	uint8_t *buf;
	size_t size;
	size_t len;
	bool full;
};

/* Begin a message with both headers. */
void kh_nlb_begin(struct kh_nlb *nlb, void *buf, size_t size, uint16_t type, uint16_t flags,
		  uint32_t seq, uint32_t pid, uint8_t cmd);

/* Begin a control message (NLMSG_ERROR, NLMSG_DONE) without genetlink header. */
void kh_nlb_begin_control(struct kh_nlb *nlb, void *buf, size_t size, uint16_t type, uint16_t flags,
			  uint32_t seq, uint32_t pid);

void kh_nlb_raw(struct kh_nlb *nlb, const void *data, size_t len);
void kh_nlb_put(struct kh_nlb *nlb, uint16_t type, const void *data, size_t len);
void kh_nlb_u32(struct kh_nlb *nlb, uint16_t type, uint32_t value);
void kh_nlb_u64(struct kh_nlb *nlb, uint16_t type, uint64_t value);
void kh_nlb_flag(struct kh_nlb *nlb, uint16_t type, bool value);
void kh_nlb_string(struct kh_nlb *nlb, uint16_t type, const char *text, size_t size);
void kh_nlb_addr(struct kh_nlb *nlb, uint16_t type, struct khazana_addr addr);

/* Return: a mark for kh_nlb_nest_end(). */
size_t kh_nlb_nest(struct kh_nlb *nlb, uint16_t type);
void kh_nlb_nest_end(struct kh_nlb *nlb, size_t mark);

/* Write the length. Return: bytes, or -EMSGSIZE. */
int kh_nlb_end(struct kh_nlb *nlb);

#endif /* KH_CTL_NLA_H */
