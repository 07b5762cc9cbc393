// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ask.c - questions to khd and to the module, and what a failure means
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khadm/khadm.h"

/* Where the messages of an answer go. */
struct sink {
	const struct kh_nl_set *set;
	const char *member;
	json_t *list;
};

static int sink_add(void *arg, const struct kh_nl_msg *msg)
{
	struct sink *sink = arg;
	json_t *object = khadm_json(sink->set, msg->body, msg->len), *value = object;

	if (!sink->list) {
		json_decref(object);
		return 0;
	}
	if (sink->member)
		value = json_object_get(object, sink->member);
	if (value)
		json_array_append(sink->list, value);
	json_decref(object);
	return 0;
}

/* The netlink port of the khd that registered with the module, or 0. */
static uint32_t khd_port(const struct khadm_args *args)
{
	struct kh_ctl *ctl;
	uint32_t port = 0;
	json_t *list;

	if (kh_ctl_open_module(&ctl))
		return 0;
	list = json_array();
	if (!khadm_ask_module(ctl, args, KHAZANA_NL_CMD_INSTANCE_GET, NULL, false, list))
		port = json_integer_value(json_object_get(json_array_get(list, 0), "khd_port"));
	json_decref(list);
	kh_ctl_close(ctl);
	return port;
}

int khadm_open_khd(const struct khadm_args *args, struct kh_ctl **ctl)
{
	int err = kh_ctl_open(args->socket, ctl);
	uint32_t port;

	if (!err || args->socket || getenv("KHAZANA_SOCKET"))
		return err;
	port = khd_port(args);
	return port && !kh_ctl_open_port(port, ctl) ? 0 : err;
}

int khadm_ask_khd(struct kh_ctl *ctl, const struct khadm_args *args, const struct kh_op *op,
		  const char *member, json_t *list)
{
	struct sink sink = { kh_nl_ops[kh_ctl_cmd(op->code)].set, member, list };
	struct kh_op timed = *op;
	int err;

	timed.timeout_ms = args->timeout_ms;
	err = kh_ctl_ask_op(ctl, &timed, sink_add, &sink, 0);
	explicit_bzero(&timed, sizeof(timed));
	return err;
}

int khadm_ask_module(struct kh_ctl *ctl, const struct khadm_args *args, uint8_t cmd,
		     const struct khazana_addr *addr, bool dump, json_t *list)
{
	struct sink sink = { .set = kh_nl_ops[cmd].set, .list = list };
	struct kh_nlb nlb = { .size = 0 };
	uint8_t body[64];

	nlb.buf = body;
	nlb.size = sizeof(body);
	if (addr)
		kh_nlb_addr(&nlb, KHAZANA_NLA_UNIT_ADDR, *addr);
	return kh_ctl_ask(ctl, cmd, body, nlb.len, dump, sink_add, &sink, args->timeout_ms);
}

int khadm_khd(const struct khadm_args *args, const struct kh_op *op, const char *member,
	      json_t *list)
{
	struct kh_ctl *ctl;
	int err = khadm_open_khd(args, &ctl), code;

	if (err)
		return khadm_fail(args, err, "khd", NULL);
	err = khadm_ask_khd(ctl, args, op, member, list);
	code = err ? khadm_fail(args, err, "khd", kh_ctl_text(ctl)) : KHADM_OK;
	kh_ctl_close(ctl);
	return code;
}

int khadm_ask_own(struct kh_ctl *ctl, const struct khadm_args *args, const struct khadm_own *own,
		  kh_ctl_each_fn each, void *arg)
{
	const struct {
		uint16_t type;
		uint64_t value;
	} attrs[] = {
		{ KHAZANA_NLA_OP_RATE, own->rate },
		{ KHAZANA_NLA_OP_LENGTH, own->length },
		{ KHAZANA_NLA_OP_ID, own->id },
		{ KHAZANA_NLA_OP_OFFSET, own->offset },
	};
	uint8_t body[64];
	struct kh_nlb nlb = { .buf = body, .size = sizeof(body) };

	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		if (attrs[i].value != ~0ULL)
			kh_nlb_u64(&nlb, attrs[i].type, attrs[i].value);
	return kh_ctl_ask(ctl, own->cmd, body, nlb.len, kh_nl_ops[own->cmd].dump, each, arg,
			  args->timeout_ms);
}

int khadm_own(const struct khadm_args *args, const struct khadm_own *own, const char *member,
	      json_t *list)
{
	struct sink sink = { kh_nl_ops[own->cmd].set, member, list };
	struct kh_ctl *ctl;
	int err = khadm_open_khd(args, &ctl), code;

	if (err)
		return khadm_fail(args, err, "khd", NULL);
	err = khadm_ask_own(ctl, args, own, sink_add, &sink);
	code = err ? khadm_fail(args, err, "khd", kh_ctl_text(ctl)) : KHADM_OK;
	kh_ctl_close(ctl);
	return code;
}

static enum khadm_exit exit_of(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return KHADM_OK;
	case ENOENT:
	case ENXIO:
		return KHADM_NOT_FOUND;
	case EPERM:
	case EACCES:
	case EKEYREJECTED:
		return KHADM_PERMISSION;
	case ENODEV:
	case ESHUTDOWN:
	case ENOTCONN:
	case EHOSTUNREACH:
		return KHADM_UNREACHABLE;
	case ETIMEDOUT:
		return KHADM_TIMEOUT;
	default:
		return KHADM_REFUSED;
	}
}

const char *khadm_errno_name(int err)
{
	const char *name = strerrorname_np(err < 0 ? -err : err);

	return name ? name : "EUNKNOWN";
}

static const char *reason(int err, const char *what, const char *text)
{
	if (text && *text)
		return text;
	if (err == -ENODEV)
		return !strcmp(what, "khd") ? "not reachable: is it running, and is this its "
					      "socket?" :
					      "not loaded, or not in this network namespace";
	return kh_strerror(err);
}

int khadm_warn(int err, const char *what, const char *text)
{
	fprintf(stderr, "khadm: %s: %s\n", what, reason(err, what, text));
	return exit_of(err);
}

int khadm_fail(const struct khadm_args *args, int err, const char *what, const char *text)
{
	json_t *error;

	if (args->json) {
		error = json_object();
		json_object_set_new(error, "error", json_string(khadm_errno_name(err)));
		json_object_set_new(error, "status", json_integer(exit_of(err)));
		json_object_set_new(error, "source", json_string(what));
		json_object_set_new(error, "text", json_string(reason(err, what, text)));
		khadm_print_json(error, "khazana.error/1");
	}
	return khadm_warn(err, what, text);
}
