// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store_parked.c - units that the store keeps aside: their right was lost before they were safe
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "khadm/khadm.h"

#define SHIFT_MAX 21

static const struct khadm_column list_columns[] = {
	{ "ID", "id", false },	     { "ADDRESS", "addr", false },
	{ "BYTES", "bytes", true },  { "VERSION", "version", false },
	{ "TOKEN", "token", false }, { "REGION", "region", false },
	{ NULL, NULL, false },
};

static const struct khadm_column show_columns[] = {
	{ "address", "addr", false },
	{ "bytes", "bytes", true },
	{ "version", "version", false },
	{ "token", "token", false },
	{ "generation", "generation", false },
	{ "region", "region", false },
	{ "region's generation", "region_generation", false },
	{ NULL, NULL, false },
};

static const struct khadm_column now_columns[] = {
	{ "version", "version", false }, { "token", "token", false }, { "stored", "stored", false },
	{ "place", "place", false },	 { "owner", "owner", false }, { NULL, NULL, false },
};

static void add_bytes(json_t *parked)
{
	json_t *shift = json_object_get(parked, "shift");

	if (json_is_integer(shift) && json_integer_value(shift) <= SHIFT_MAX)
		json_object_set_new(parked, "bytes",
				    json_integer(1LL << json_integer_value(shift)));
}

static struct khadm_own request(uint8_t cmd, uint64_t id)
{
	return (struct khadm_own){ cmd, ~0ULL, ~0ULL, id, ~0ULL };
}

static int list_take(void *arg, const struct kh_nl_msg *msg)
{
	const struct kh_nl_set *set = kh_nl_ops[KHAZANA_NL_CMD_STORE_PARKED_LIST].set;
	json_t *object = khadm_json(set, msg->body, msg->len);
	json_t *parked = json_object_get(object, "parked");

	if (parked)
		json_array_append(arg, parked);
	json_decref(object);
	return 0;
}

/* khd gives a part of the list at a time: go on behind its last until nothing comes. */
int khadm_parked_units(struct kh_ctl *ctl, const struct khadm_args *args, json_t *list)
{
	struct khadm_own own = request(KHAZANA_NL_CMD_STORE_PARKED_LIST, 0);
	json_t *parked;
	size_t before, i;
	int err;

	do {
		before = json_array_size(list);
		err = khadm_ask_own(ctl, args, &own, list_take, list);
		parked = json_array_get(list, json_array_size(list) - 1);
		own.id = json_integer_value(json_object_get(parked, "id")) + 1;
	} while (!err && json_array_size(list) > before);
	json_array_foreach(list, i, parked) add_bytes(parked);
	return err;
}

int khadm_store_parked_list(const struct khadm_args *args)
{
	json_t *list = json_array();
	struct kh_ctl *ctl;
	int err = khadm_open_khd(args, &ctl), code = KHADM_OK;

	if (err) {
		code = khadm_fail(args, err, "khd", NULL);
	} else {
		err = khadm_parked_units(ctl, args, list);
		if (err)
			code = khadm_fail(args, err, "khd", kh_ctl_text(ctl));
		kh_ctl_close(ctl);
	}
	if (!code && args->json)
		khadm_print_json(json_pack("{s:O}", "parked", list), "khazana.store-parked-list/1");
	else if (!code)
		khadm_print_table(list, list_columns);
	json_decref(list);
	return code;
}

/* What the home says now of the unit that holds @text; NULL: nothing, for the reason @err. */
static json_t *home_view(const struct khadm_args *args, const char *text, int *err)
{
	struct kh_op op = { .code = KH_OP_PAGE_SHOW };
	json_t *pages = json_array(), *page;
	struct kh_ctl *ctl;

	*err = text && !kh_addr_parse(text, &op.addr) ? khadm_open_khd(args, &ctl) : -EPROTO;
	if (!*err) {
		*err = khadm_ask_khd(ctl, args, &op, "page", pages);
		kh_ctl_close(ctl);
	}
	page = json_incref(json_array_get(pages, 0));
	json_decref(pages);
	return page;
}

int khadm_store_parked_show(const struct khadm_args *args)
{
	const struct khadm_own own = request(KHAZANA_NL_CMD_STORE_PARKED_READ, args->id);
	json_t *list = json_array(), *parked, *page, *document;
	int code = khadm_own(args, &own, "parked", list), err;

	if (code)
		goto out;
	parked = json_array_get(list, 0);
	add_bytes(parked);
	page = home_view(args, json_string_value(json_object_get(parked, "addr")), &err);
	if (args->json) {
		document = json_pack("{s:O, s:O?}", "parked", parked, "home", page);
		if (err)
			json_object_set_new(document, "home_error",
					    json_string(khadm_errno_name(err)));
		khadm_print_json(document, "khazana.store-parked/1");
	} else {
		printf("parked unit %llu\n", (unsigned long long)args->id);
		khadm_print_fields(parked, show_columns);
		printf("its home now\n");
		if (page)
			khadm_print_fields(page, now_columns);
		else
			printf("  %s\n", kh_strerror(err));
	}
	json_decref(page);
out:
	json_decref(list);
	return code;
}

/**
 * struct piece - an answer of parked-read
 * @shift: of the unit
 * @len: bytes in @data
 * @data: contents
 */
struct piece {
	uint32_t shift;
	size_t len;
	uint8_t data[KH_CTL_SECTORS_MAX * KH_CTL_SECTOR];
};

static int piece_take(void *arg, const struct kh_nl_msg *msg)
{
	struct kh_nla_cursor cursor = kh_nla_begin(msg->body, msg->len), inner;
	struct piece *piece = arg;
	struct kh_nla nla, field;

	while (kh_nla_next(&cursor, &nla)) {
		if (nla.type == KHAZANA_NLA_OP_PARKED) {
			inner = kh_nla_begin(nla.data, nla.len);
			while (kh_nla_next(&inner, &field))
				if (field.type == KHAZANA_NLA_STORE_PARKED_SHIFT)
					piece->shift = kh_nla_u32(&field);
		} else if (nla.type == KHAZANA_NLA_OP_SECTOR) {
			if (piece->len == sizeof(piece->data))
				return -EPROTO;
			memcpy(piece->data + piece->len, nla.data, KH_CTL_SECTOR);
			piece->len += KH_CTL_SECTOR;
		}
	}
	return piece->shift <= SHIFT_MAX ? 0 : -EPROTO;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= n;
	}
	return 0;
}

/* The contents into @fd. Return: an exit status; @bytes: how many. */
static int copy(const struct khadm_args *args, struct kh_ctl *ctl, int fd, uint64_t *bytes)
{
	struct khadm_own own = request(KHAZANA_NL_CMD_STORE_PARKED_READ, args->id);
	struct piece piece;
	int err;

	*bytes = 0;
	do {
		memset(&piece, 0, sizeof(piece));
		own.offset = *bytes;
		err = khadm_ask_own(ctl, args, &own, piece_take, &piece);
		if (!err && !piece.len)
			err = -EPROTO;
		if (err)
			return khadm_fail(args, err, "khd", kh_ctl_text(ctl));
		err = write_all(fd, piece.data, piece.len);
		if (err)
			return khadm_fail(args, err, args->output, strerror(-err));
		*bytes += piece.len;
	} while (*bytes < 1ULL << piece.shift);
	return KHADM_OK;
}

int khadm_store_parked_export(const struct khadm_args *args)
{
	const bool to_stdout = !strcmp(args->output, "-");
	struct kh_ctl *ctl;
	uint64_t bytes;
	int err, fd, code;

	err = khadm_open_khd(args, &ctl);
	if (err)
		return khadm_fail(args, err, "khd", NULL);
	fd = to_stdout ? STDOUT_FILENO :
			 open(args->output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		code = khadm_fail(args, errno, args->output, strerror(errno));
		goto out;
	}
	code = copy(args, ctl, fd, &bytes);
	if (!to_stdout && !code && (fsync(fd) || close(fd)))
		code = khadm_fail(args, errno, args->output, strerror(errno));
	if (!to_stdout && code)
		unlink(args->output);
	if (!code && args->json && !to_stdout)
		khadm_print_json(json_pack("{s:I, s:s, s:I}", "id", (json_int_t)args->id, "file",
					   args->output, "bytes", (json_int_t)bytes),
				 "khazana.store-parked-exported/1");
out:
	kh_ctl_close(ctl);
	return code;
}

int khadm_store_parked_discard(const struct khadm_args *args)
{
	const struct khadm_own own = request(KHAZANA_NL_CMD_STORE_PARKED_DISCARD, args->id);
	int code = khadm_own(args, &own, NULL, NULL);

	if (!code && args->json)
		khadm_print_json(json_pack("{s:I}", "id", (json_int_t)args->id), "khazana.store-"
										 "parked-"
										 "discarded/1");
	return code;
}
