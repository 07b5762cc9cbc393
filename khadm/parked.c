// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * parked.c - stores that were lost with their right: list, show, save, discard
 *
 * The module owns them and answers itself, so that they can be had when khd is down too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "khadm/khadm.h"

static const struct khadm_column list_columns[] = {
	{ "ID", "id", false },	     { "ADDRESS", "addr", false },    { "UNIT", "unit", true },
	{ "TOKEN", "token", false }, { "VERSION", "version", false }, { "AGE-MS", "age_ms", false },
	{ NULL, NULL, false },
};

static const struct khadm_column show_columns[] = {
	{ "address", "addr", false },	  { "unit", "unit", true },
	{ "token", "token", false },	  { "version", "version", false },
	{ "age in ms", "age_ms", false }, { NULL, NULL, false },
};

/* Where the contents of one answer go. */
struct part {
	json_t *entry;
	uint8_t data[4096];
	bool has_data;
};

static json_t *entry_of(const struct kh_nl_msg *msg)
{
	const struct kh_nl_set *set = kh_nl_ops[KHAZANA_NL_CMD_PARKED_GET].set;
	json_t *entry = khadm_json(set, msg->body, msg->len), *shift;

	shift = json_object_get(entry, "shift");
	if (json_is_integer(shift) && json_integer_value(shift) < 63)
		json_object_set_new(entry, "unit", json_integer(1LL << json_integer_value(shift)));
	json_object_del(entry, "shift");
	json_object_del(entry, "offset");
	return entry;
}

static int list_add(void *arg, const struct kh_nl_msg *msg)
{
	json_array_append_new(arg, entry_of(msg));
	return 0;
}

static int part_take(void *arg, const struct kh_nl_msg *msg)
{
	struct kh_nla_cursor cursor = kh_nla_begin(msg->body, msg->len);
	struct part *part = arg;
	struct kh_nla nla;

	while (kh_nla_next(&cursor, &nla)) {
		if (nla.type != KHAZANA_NLA_PARKED_DATA || nla.len != sizeof(part->data))
			continue;
		memcpy(part->data, nla.data, sizeof(part->data));
		part->has_data = true;
	}
	json_decref(part->entry);
	part->entry = entry_of(msg);
	return 0;
}

static int module_open(const struct khadm_args *args, struct kh_ctl **ctl)
{
	int err;

	if (args->id > UINT32_MAX)
		return khadm_fail(args, -ENOENT, "module", "no such parked unit");
	err = kh_ctl_open_module(ctl);
	return err ? khadm_fail(args, err, "module", NULL) : KHADM_OK;
}

/* A part of the entry ID; the entry itself too. Return: 0 or an errno. */
static int part_get(struct kh_ctl *ctl, const struct khadm_args *args, uint64_t offset,
		    struct part *part)
{
	struct kh_nlb nlb = { .size = 0 };
	uint8_t body[64];
	int err;

	nlb.buf = body;
	nlb.size = sizeof(body);
	kh_nlb_u32(&nlb, KHAZANA_NLA_PARKED_ID, args->id);
	kh_nlb_u64(&nlb, KHAZANA_NLA_PARKED_OFFSET, offset);
	part->has_data = false;
	err = kh_ctl_ask(ctl, KHAZANA_NL_CMD_PARKED_GET, body, nlb.len, false, part_take, part,
			 args->timeout_ms);
	return err || part->has_data ? err : -EPROTO;
}

int khadm_parked_list(const struct khadm_args *args)
{
	json_t *list = json_array();
	struct kh_ctl *ctl;
	int code = module_open(args, &ctl), err;

	if (!code) {
		err = kh_ctl_ask(ctl, KHAZANA_NL_CMD_PARKED_GET, NULL, 0, true, list_add, list,
				 args->timeout_ms);
		if (err)
			code = khadm_fail(args, err, "module", kh_ctl_text(ctl));
		kh_ctl_close(ctl);
	}
	if (!code && args->json)
		khadm_print_json(json_pack("{s:O}", "parked", list), "khazana.parked-list/1");
	else if (!code)
		khadm_print_table(list, list_columns);
	json_decref(list);
	return code;
}

int khadm_parked_show(const struct khadm_args *args)
{
	struct part part = { .entry = NULL };
	struct kh_ctl *ctl;
	int code = module_open(args, &ctl), err;

	if (code)
		return code;
	err = part_get(ctl, args, 0, &part);
	if (err) {
		code = khadm_fail(args, err, "module", kh_ctl_text(ctl));
	} else if (args->json) {
		khadm_print_json(json_incref(part.entry), "khazana.parked/1");
	} else {
		printf("parked %llu\n", (unsigned long long)args->id);
		khadm_print_fields(part.entry, show_columns);
	}
	kh_ctl_close(ctl);
	json_decref(part.entry);
	return code;
}

int khadm_parked_discard(const struct khadm_args *args)
{
	struct kh_nlb nlb = { .size = 0 };
	struct kh_ctl *ctl;
	uint8_t body[16];
	int code = module_open(args, &ctl), err;

	if (code)
		return code;
	nlb.buf = body;
	nlb.size = sizeof(body);
	kh_nlb_u32(&nlb, KHAZANA_NLA_PARKED_ID, args->id);
	err = kh_ctl_ask(ctl, KHAZANA_NL_CMD_PARKED_DISCARD, body, nlb.len, false, NULL, NULL,
			 args->timeout_ms);
	if (err)
		code = khadm_fail(args, err, "module", kh_ctl_text(ctl));
	else if (args->json)
		khadm_print_json(json_pack("{s:I}", "id", (json_int_t)args->id), "khazana.parked-"
										 "discarded/1");
	kh_ctl_close(ctl);
	return code;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	ssize_t n;

	for (; len; data += n, len -= n) {
		n = write(fd, data, len);
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* All of the unit to @fd. Return: 0 or an errno, of the module if @module. */
static int copy(struct kh_ctl *ctl, const struct khadm_args *args, int fd, struct part *part,
		bool *module)
{
	uint64_t offset = 0, bytes = sizeof(part->data);
	int err;

	for (; offset < bytes; offset += sizeof(part->data)) {
		*module = true;
		err = part_get(ctl, args, offset, part);
		if (err)
			return err;
		bytes = json_integer_value(json_object_get(part->entry, "unit"));
		*module = false;
		err = write_all(fd, part->data, sizeof(part->data));
		if (err)
			return err;
	}
	return 0;
}

int khadm_parked_export(const struct khadm_args *args)
{
	struct part part = { .entry = NULL };
	struct kh_ctl *ctl;
	bool module = false;
	int code = module_open(args, &ctl), err, fd;

	if (code)
		return code;
	fd = open(args->output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	err = fd < 0 ? -errno : copy(ctl, args, fd, &part, &module);
	if (fd >= 0 && close(fd) && !err)
		err = -errno;
	if (err && fd >= 0)
		unlink(args->output);
	if (err)
		code = khadm_fail(args, err, module ? "module" : args->output,
				  module ? kh_ctl_text(ctl) : strerror(-err));
	else if (args->json)
		khadm_print_json(json_pack("{s:O, s:s}", "parked", part.entry, "file",
					   args->output),
				 "khazana.parked-exported/1");
	kh_ctl_close(ctl);
	json_decref(part.entry);
	return code;
}
