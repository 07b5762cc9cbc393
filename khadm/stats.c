// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stats.c - the counters of khd and of the module
 */
#include <stdio.h>

#include "khadm/khadm.h"

/* A list of name and value as one object. */
static json_t *merge(json_t *list)
{
	json_t *all = json_object(), *counter;
	const char *name;
	size_t i;

	json_array_foreach(list, i, counter)
	{
		name = json_string_value(json_object_get(counter, "name"));
		if (name)
			json_object_set(all, name, json_object_get(counter, "value"));
	}
	json_decref(list);
	return all;
}

static json_t *khd_counters(const struct khadm_args *args, int *code)
{
	const struct kh_op op = { .code = KH_OP_STATS };
	json_t *list = json_array();
	struct kh_ctl *ctl;
	int err = khadm_open_khd(args, &ctl);

	if (!err) {
		err = khadm_ask_khd(ctl, args, &op, "counter", list);
		if (err)
			*code = khadm_warn(err, "khd", kh_ctl_text(ctl));
		kh_ctl_close(ctl);
	} else {
		*code = khadm_warn(err, "khd", NULL);
	}
	if (!err)
		return merge(list);
	json_decref(list);
	return NULL;
}

static json_t *module_counters(const struct khadm_args *args, int *code)
{
	json_t *list = json_array();
	struct kh_ctl *ctl;
	int err = kh_ctl_open_module(&ctl);

	if (!err) {
		err = khadm_ask_module(ctl, args, KHAZANA_NL_CMD_STATS_GET, NULL, true, list);
		if (err)
			*code = khadm_warn(err, "module", kh_ctl_text(ctl));
		kh_ctl_close(ctl);
	} else {
		*code = khadm_warn(err, "module", NULL);
	}
	if (!err)
		return merge(list);
	json_decref(list);
	return NULL;
}

int khadm_stats(const struct khadm_args *args)
{
	int code = KHADM_OK;
	json_t *module = module_counters(args, &code);
	json_t *khd = khd_counters(args, &code);

	if (args->json) {
		khadm_print_json(json_pack("{s:O?, s:O?}", "khd", khd, "module", module), "khazana."
											  "stats/"
											  "1");
	} else {
		if (khd) {
			printf("khd\n");
			khadm_print_members(khd);
		}
		if (module) {
			printf("module\n");
			khadm_print_members(module);
		}
	}
	json_decref(khd);
	json_decref(module);
	return code;
}
