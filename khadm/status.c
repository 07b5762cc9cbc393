// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * status.c - is this node well?
 */
#include <stdio.h>

#include "khadm/khadm.h"

static const struct khadm_column module_columns[] = {
	{ "device interface", "abi", false },	 { "khd registered", "khd_registered", false },
	{ "khd's node", "khd_node", false },	 { "khd's netlink port", "khd_port", false },
	{ "frames used", "frames_used", false }, { "frames at most", "frames_max", false },
	{ "regions", "regions", false },	 { "attachments", "attachments", false },
	{ "instance", "boot", false },		 { NULL, NULL, false },
};

static const struct khadm_column khd_columns[] = {
	{ "node", "node", false },   { "incarnation", "incarnation", false },
	{ "nodes", "nodes", false }, { "connected", "connected", false },
	{ NULL, NULL, false },
};

static json_t *module_status(const struct khadm_args *args, int *code)
{
	json_t *list = json_array(), *module = NULL;
	struct kh_ctl *ctl;
	int err = kh_ctl_open_module(&ctl);

	if (!err) {
		err = khadm_ask_module(ctl, args, KHAZANA_NL_CMD_INSTANCE_GET, NULL, false, list);
		if (err)
			*code = khadm_warn(err, "module", kh_ctl_text(ctl));
		kh_ctl_close(ctl);
	} else {
		*code = khadm_warn(err, "module", NULL);
	}
	if (!err)
		module = json_incref(json_array_get(list, 0));
	json_decref(list);
	return module;
}

/* What khd says of itself among the nodes. */
static json_t *summary(json_t *nodes)
{
	json_t *self = NULL, *node;
	int connected = 0;
	size_t i;

	json_array_foreach(nodes, i, node)
	{
		if (json_is_true(json_object_get(node, "self")))
			self = node;
		else if (json_is_true(json_object_get(node, "connected")))
			connected++;
	}
	return json_pack("{s:O?, s:O?, s:i, s:i}", "node", json_object_get(self, "id"),
			 "incarnation", json_object_get(self, "incarnation"), "nodes",
			 (int)json_array_size(nodes), "connected", connected);
}

static json_t *khd_status(const struct khadm_args *args, int *code)
{
	const struct kh_op op = { .code = KH_OP_NODE_LIST };
	json_t *nodes = json_array(), *khd = NULL;
	struct kh_ctl *ctl;
	int err = khadm_open_khd(args, &ctl);

	if (!err) {
		err = khadm_ask_khd(ctl, args, &op, "node_info", nodes);
		if (err)
			*code = khadm_warn(err, "khd", kh_ctl_text(ctl));
		kh_ctl_close(ctl);
	} else {
		*code = khadm_warn(err, "khd", NULL);
	}
	if (!err)
		khd = summary(nodes);
	json_decref(nodes);
	return khd;
}

int khadm_status(const struct khadm_args *args)
{
	int code = KHADM_OK;
	json_t *module = module_status(args, &code);
	json_t *khd = khd_status(args, &code);

	if (args->json) {
		khadm_print_json(json_pack("{s:O?, s:O?}", "module", module, "khd", khd), "khazana."
											  "status/"
											  "1");
	} else {
		if (module) {
			printf("module\n");
			khadm_print_fields(module, module_columns);
		}
		if (khd) {
			printf("khd\n");
			khadm_print_fields(khd, khd_columns);
		}
	}
	json_decref(khd);
	json_decref(module);
	return code;
}
