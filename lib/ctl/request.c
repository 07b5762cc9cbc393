// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * request.c - struct kh_op to request message and back
 */
#include <errno.h>
#include <string.h>
#include <linux/netlink.h>

#include "ctl/ctl.h"
#include "ctl/link.h"
#include "ctl/nla.h"

_Static_assert((int)KHAZANA_NL_OP_FLAG_FORCE == KH_OPF_FORCE, "specification and node.h");
_Static_assert((int)KHAZANA_NL_OP_FLAG_ALL == KH_OPF_ALL, "specification and node.h");
_Static_assert((int)KHAZANA_NL_ATTR_BIT_LEASE_MS == KH_ATTR_LEASE_MS, "specification and "
								      "khazana.h");
_Static_assert((int)KHAZANA_NL_ATTR_BIT_KEY == KH_ATTR_KEY, "specification and khazana.h");
_Static_assert((int)KHAZANA_NL_ATTR_BIT_MIN_REPLICAS == KH_ATTR_MIN_REPLICAS, "specification and "
									      "khazana.h");
_Static_assert((int)KHAZANA_NL_ATTR_BIT_DURABILITY == KH_ATTR_DURABILITY, "specification and "
									  "khazana.h");
_Static_assert((int)KHAZANA_NL_ATTR_BIT_WAIT_MS == KH_ATTR_WAIT_MS, "specification and khazana.h");
_Static_assert((int)KHAZANA_NL_ATTR_BIT_FLAGS == KH_ATTR_FLAGS, "specification and khazana.h");

static const uint8_t cmd_of_op[] = {
	[KH_OP_RESERVE] = KHAZANA_NL_CMD_RESERVE,
	[KH_OP_UNRESERVE] = KHAZANA_NL_CMD_UNRESERVE,
	[KH_OP_ALLOCATE] = KHAZANA_NL_CMD_ALLOCATE,
	[KH_OP_FREE] = KHAZANA_NL_CMD_FREE,
	[KH_OP_GETATTR] = KHAZANA_NL_CMD_GETATTR,
	[KH_OP_SETATTR] = KHAZANA_NL_CMD_SETATTR,
	[KH_OP_REGION_LIST] = KHAZANA_NL_CMD_REGION_LIST,
	[KH_OP_PAGE_SHOW] = KHAZANA_NL_CMD_PAGE_SHOW,
	[KH_OP_NODE_LIST] = KHAZANA_NL_CMD_NODE_LIST,
	[KH_OP_STATS] = KHAZANA_NL_CMD_KHD_STATS,
	[KH_OP_NULL] = KHAZANA_NL_CMD_NULL,
	[KH_OP_ECHO] = KHAZANA_NL_CMD_ECHO,
	[KH_OP_FLUSH] = KHAZANA_NL_CMD_FLUSH,
};

#define OPS (sizeof(cmd_of_op) / sizeof(cmd_of_op[0]))

uint8_t kh_ctl_cmd(enum kh_op_code code)
{
	return (size_t)code < OPS ? cmd_of_op[code] : 0;
}

static enum kh_op_code op_of_cmd(uint8_t cmd)
{
	for (size_t code = 0; code < OPS; code++)
		if (cmd_of_op[code] == cmd && cmd)
			return code;
	return 0;
}

void kh_ctl_put_attr(struct kh_nlb *nlb, uint16_t type, const struct kh_attr *attr)
{
	size_t mark = kh_nlb_nest(nlb, type);

	kh_nlb_string(nlb, KHAZANA_NLA_REGION_ATTR_PROTOCOL, attr->protocol, KH_NAME_MAX);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_ATTR_UNIT_SHIFT, attr->unit_shift);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_ATTR_LEASE_MS, attr->lease_ms);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_ATTR_WAIT_MS, attr->wait_ms);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_ATTR_MIN_REPLICAS, attr->min_replicas);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_ATTR_DURABILITY, attr->durability);
	kh_nlb_u32(nlb, KHAZANA_NLA_REGION_ATTR_FLAGS, attr->flags);
	kh_nlb_nest_end(nlb, mark);
}

void kh_ctl_get_attr(const struct kh_nla *nest, struct kh_attr *attr)
{
	struct kh_nla_cursor cursor = kh_nla_begin(nest->data, nest->len);
	struct kh_nla nla;

	while (kh_nla_next(&cursor, &nla)) {
		switch (nla.type) {
		case KHAZANA_NLA_REGION_ATTR_PROTOCOL:
			kh_nla_string(&nla, attr->protocol, sizeof(attr->protocol));
			break;
		case KHAZANA_NLA_REGION_ATTR_UNIT_SHIFT:
			attr->unit_shift = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_REGION_ATTR_LEASE_MS:
			attr->lease_ms = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_REGION_ATTR_WAIT_MS:
			attr->wait_ms = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_REGION_ATTR_MIN_REPLICAS:
			attr->min_replicas = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_REGION_ATTR_DURABILITY:
			attr->durability = kh_nla_u32(&nla);
			break;
		case KHAZANA_NLA_REGION_ATTR_FLAGS:
			attr->flags = kh_nla_u32(&nla);
			break;
		}
	}
}

int kh_ctl_build(const struct kh_op *op, void *buf, size_t size, uint16_t type, uint32_t seq)
{
	const uint8_t cmd = kh_ctl_cmd(op->code);
	const struct kh_nl_op *spec = &kh_nl_ops[cmd];
	struct kh_nlb nlb;

	if (!cmd)
		return -EINVAL;
	kh_nlb_begin(&nlb, buf, size, type,
		     NLM_F_REQUEST | NLM_F_ACK | (spec->dump ? NLM_F_DUMP : 0), seq, 0, cmd);
#define WANTS(name) (spec->request & 1ULL << KHAZANA_NLA_OP_##name)
	if (op->flags)
		kh_nlb_u32(&nlb, KHAZANA_NLA_OP_FLAGS, op->flags);
	if (WANTS(ADDR))
		kh_nlb_addr(&nlb, KHAZANA_NLA_OP_ADDR, op->addr);
	if (WANTS(LENGTH))
		kh_nlb_u64(&nlb, KHAZANA_NLA_OP_LENGTH, op->length);
	if (WANTS(NODE))
		kh_nlb_u32(&nlb, KHAZANA_NLA_OP_NODE, op->node);
	if (WANTS(ATTR))
		kh_ctl_put_attr(&nlb, KHAZANA_NLA_OP_ATTR, &op->attr);
	if (WANTS(ATTR_MASK))
		kh_nlb_u32(&nlb, KHAZANA_NLA_OP_ATTR_MASK, op->attr_mask);
	if (WANTS(KEY))
		kh_nlb_put(&nlb, KHAZANA_NLA_OP_KEY, op->key, KH_KEY_SIZE);
	if (WANTS(NEW_KEY) && (op->attr_mask & KH_ATTR_KEY))
		kh_nlb_put(&nlb, KHAZANA_NLA_OP_NEW_KEY, op->new_key, KH_KEY_SIZE);
	if (WANTS(TIMEOUT_MS) && op->timeout_ms)
		kh_nlb_u32(&nlb, KHAZANA_NLA_OP_TIMEOUT_MS, op->timeout_ms);
#undef WANTS
	return kh_nlb_end(&nlb);
}

static void op_take(struct kh_ctl_request *req, const struct kh_nla *nla)
{
	struct kh_op *op = &req->op;

	switch (nla->type) {
	case KHAZANA_NLA_OP_FLAGS:
		op->flags = kh_nla_u32(nla);
		break;
	case KHAZANA_NLA_OP_ADDR:
		op->addr = kh_nla_addr(nla);
		break;
	case KHAZANA_NLA_OP_LENGTH:
		op->length = kh_nla_u64(nla);
		break;
	case KHAZANA_NLA_OP_NODE:
		op->node = kh_nla_u32(nla);
		break;
	case KHAZANA_NLA_OP_ATTR:
		kh_ctl_get_attr(nla, &op->attr);
		break;
	case KHAZANA_NLA_OP_ATTR_MASK:
		op->attr_mask = kh_nla_u32(nla);
		break;
	case KHAZANA_NLA_OP_KEY:
		memcpy(op->key, nla->data, KH_KEY_SIZE);
		break;
	case KHAZANA_NLA_OP_NEW_KEY:
		memcpy(op->new_key, nla->data, KH_KEY_SIZE);
		break;
	case KHAZANA_NLA_OP_TIMEOUT_MS:
		op->timeout_ms = kh_nla_u32(nla);
		break;
	case KHAZANA_NLA_OP_RATE:
		req->rate = kh_nla_u64(nla);
		break;
	case KHAZANA_NLA_OP_ID:
		req->id = kh_nla_u64(nla);
		break;
	case KHAZANA_NLA_OP_OFFSET:
		req->offset = kh_nla_u64(nla);
		break;
	}
}

/* Whether khd answers it without its node. */
static bool is_own(uint8_t cmd)
{
	switch (cmd) {
	case KHAZANA_NL_CMD_STORE_GET:
	case KHAZANA_NL_CMD_STORE_SCRUB:
	case KHAZANA_NL_CMD_STORE_RESIZE:
	case KHAZANA_NL_CMD_STORE_PARKED_LIST:
	case KHAZANA_NL_CMD_STORE_PARKED_READ:
	case KHAZANA_NL_CMD_STORE_PARKED_DISCARD:
	case KHAZANA_NL_CMD_HEALTH_GET:
	case KHAZANA_NL_CMD_MEMORY_RESIZE:
		return true;
	default:
		return false;
	}
}

/* What an operation cannot do without. */
static const char *op_lacks(enum kh_op_code code, uint64_t seen)
{
#define HAS(name) (seen & 1ULL << KHAZANA_NLA_OP_##name)
	switch (code) {
	case KH_OP_RESERVE:
		return HAS(LENGTH) ? NULL : "the length is missing";
	case KH_OP_ALLOCATE:
	case KH_OP_FREE:
	case KH_OP_FLUSH:
		if (!HAS(LENGTH))
			return "the length is missing";
		/* fallthrough */
	case KH_OP_UNRESERVE:
	case KH_OP_GETATTR:
	case KH_OP_SETATTR:
	case KH_OP_PAGE_SHOW:
		return HAS(ADDR) ? NULL : "the address is missing";
	case KH_OP_NULL:
	case KH_OP_ECHO:
		return HAS(NODE) ? NULL : "the node is missing";
	default:
		return NULL;
	}
}

/* The same of a request that khd answers without its node. */
static const char *own_lacks(uint8_t cmd, uint64_t seen)
{
	switch (cmd) {
	case KHAZANA_NL_CMD_STORE_SCRUB:
		return HAS(RATE) ? NULL : "the rate is missing";
	case KHAZANA_NL_CMD_STORE_RESIZE:
	case KHAZANA_NL_CMD_MEMORY_RESIZE:
		return HAS(LENGTH) ? NULL : "the length is missing";
	case KHAZANA_NL_CMD_STORE_PARKED_READ:
	case KHAZANA_NL_CMD_STORE_PARKED_DISCARD:
		return HAS(ID) ? NULL : "the id is missing";
	default:
		return NULL;
	}
#undef HAS
}

int kh_ctl_parse(const void *msg, size_t len, struct kh_ctl_request *req, const char **text)
{
	const uint8_t *at = msg;
	struct kh_nla_cursor cursor;
	const struct kh_nl_op *spec;
	struct kh_nl_msg m;
	struct kh_nla nla;
	uint64_t seen = 0;

	memset(req, 0, sizeof(*req));
	*text = NULL;
	if (len > KH_CTL_MESSAGE_MAX || kh_nl_next(&at, &len, &m) != 1 || len ||
	    m.type < NLMSG_MIN_TYPE || !(m.flags & NLM_F_REQUEST))
		return -EBADMSG;
	req->cmd = m.cmd;
	req->type = m.type;
	req->seq = m.seq;
	req->pid = m.pid;
	spec = m.cmd <= KHAZANA_NL_CMD_MAX ? &kh_nl_ops[m.cmd] : NULL;
	if (!spec || !spec->khd) {
		*text = spec && spec->name ? "the module answers this, by netlink" :
					     "no such operation";
		return -EOPNOTSUPP;
	}
	if (kh_nla_check(spec->set, spec->request, true, m.body, m.len)) {
		*text = "an attribute is unknown, repeated, malformed or out of range";
		return -EINVAL;
	}
	cursor = kh_nla_begin(m.body, m.len);
	while (kh_nla_next(&cursor, &nla)) {
		seen |= 1ULL << nla.type;
		op_take(req, &nla);
	}
	req->subscribe = m.cmd == KHAZANA_NL_CMD_EVENT_SUBSCRIBE;
	req->own = is_own(m.cmd);
	req->op.code = op_of_cmd(m.cmd);
	*text = req->own ? own_lacks(m.cmd, seen) : op_lacks(req->op.code, seen);
	if (!*text && (req->op.attr_mask & KH_ATTR_KEY) && !(seen & 1ULL << KHAZANA_NLA_OP_NEW_KEY))
		*text = "the new key is missing";
	return *text ? -EINVAL : 0;
}
