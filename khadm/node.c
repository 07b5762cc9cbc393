// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * node.c - nodes of the cluster
 */
#include "khadm/khadm.h"

static const struct khadm_column columns[] = {
	{ "NODE", "id", false },
	{ "SELF", "self", false },
	{ "CONNECTED", "connected", false },
	{ "INCARNATION", "incarnation", false },
	{ "LEASE-LEFT-MS", "lease_left_ms", false },
	{ "MESSAGES-IN", "messages_in", false },
	{ "MESSAGES-OUT", "messages_out", false },
	{ "BYTES-IN", "bytes_in", false },
	{ "BYTES-OUT", "bytes_out", false },
	{ NULL, NULL, false },
};

int khadm_node_list(const struct khadm_args *args)
{
	const struct kh_op op = { .code = KH_OP_NODE_LIST };
	json_t *nodes = json_array();
	int code = khadm_khd(args, &op, "node_info", nodes);

	if (!code && args->json)
		khadm_print_json(json_pack("{s:O}", "nodes", nodes), "khazana.node-list/1");
	else if (!code)
		khadm_print_table(nodes, columns);
	json_decref(nodes);
	return code;
}
