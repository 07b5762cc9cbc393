// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * page.c - one unit: what its home says, and what this node's module holds
 */
#include <stdio.h>

#include "khadm/khadm.h"

static const struct khadm_column home_columns[] = {
	{ "node", "home", false },	 { "version", "version", false },
	{ "owner", "owner", false },	 { "owner's right", "right", false },
	{ "readers", "readers", false }, { "backup", "backup", false },
	{ "token", "token", false },	 { "busy", "busy", false },
	{ "waiting", "waiting", false }, { "place", "place", false },
	{ "stored", "stored", false },	 { NULL, NULL, false },
};

static const struct khadm_column local_columns[] = {
	{ "right", "right", false },
	{ "state", "state", false },
	{ "flags", "flags", false },
	{ "version", "version", false },
	{ "token", "token", false },
	{ "floor", "floor", false },
	{ "handoff version", "version_handoff", false },
	{ "handoff token", "token_handoff", false },
	{ NULL, NULL, false },
};

/* This node's view, and why there is none. */
static int local_view(const struct khadm_args *args, json_t *units, const char **text)
{
	static char line[KH_CTL_TEXT_MAX];
	struct kh_ctl *ctl;
	int err = kh_ctl_open_module(&ctl);

	*text = NULL;
	if (err)
		return err;
	err = khadm_ask_module(ctl, args, KHAZANA_NL_CMD_UNIT_GET, &args->addr, false, units);
	if (err && *kh_ctl_text(ctl)) {
		snprintf(line, sizeof(line), "%s", kh_ctl_text(ctl));
		*text = line;
	}
	kh_ctl_close(ctl);
	return err;
}

static void print(const json_t *page, const json_t *unit, int err, const char *text)
{
	printf("page %s\nhome\n", json_string_value(json_object_get(page, "addr")));
	khadm_print_fields(page, home_columns);
	printf("this node\n");
	if (unit)
		khadm_print_fields(unit, local_columns);
	else
		printf("  %s\n", text ? text : kh_strerror(err));
}

int khadm_page_show(const struct khadm_args *args)
{
	const struct kh_op op = { .code = KH_OP_PAGE_SHOW, .addr = args->addr };
	json_t *pages = json_array(), *units = json_array();
	json_t *page, *unit, *document;
	int code = khadm_khd(args, &op, "page", pages), err;
	const char *text;

	if (!code) {
		err = local_view(args, units, &text);
		page = json_array_get(pages, 0);
		unit = json_array_get(units, 0);
		if (args->json) {
			document = json_pack("{s:O, s:O?}", "home", page, "local", unit);
			if (err)
				json_object_set_new(document, "local_error",
						    json_string(khadm_errno_name(err)));
			khadm_print_json(document, "khazana.page/1");
		} else {
			print(page, unit, err, text);
		}
	}
	json_decref(units);
	json_decref(pages);
	return code;
}
