// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * health.c - what is wrong with this node, and what to do about it
 *
 * khd tells of its store; that the module and the other nodes are there is seen from here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "khadm/khadm.h"

#define REGIONS_ASKED_MAX 64
#define ANSWER_MS 2000

static void finding(json_t *list, const char *severity, const char *subject, const char *text,
		    const char *advice)
{
	json_t *object = json_pack("{s:s, s:s, s:s}", "severity", severity, "subject", subject,
				   "text", text);

	if (advice)
		json_object_set_new(object, "advice", json_string(advice));
	json_array_append_new(list, object);
}

/* Units that the module could not keep aside, since it has this instance. */
static json_int_t not_parked(const struct khadm_args *args, struct kh_ctl *ctl)
{
	json_t *counters = json_array(), *counter;
	json_int_t count = 0;
	size_t i;

	khadm_ask_module(ctl, args, KHAZANA_NL_CMD_STATS_GET, NULL, true, counters);
	json_array_foreach(counters, i, counter)
	{
		const char *name = json_string_value(json_object_get(counter, "name"));

		if (name && !strcmp(name, "not-parked"))
			count = json_integer_value(json_object_get(counter, "value"));
	}
	json_decref(counters);
	return count;
}

static void module_findings(const struct khadm_args *args, json_t *list)
{
	json_t *instances = json_array(), *parked = json_array(), *instance;
	struct kh_ctl *ctl;
	int err = kh_ctl_open_module(&ctl);
	json_int_t gone = 0;
	char text[128];

	if (!err) {
		err = khadm_ask_module(ctl, args, KHAZANA_NL_CMD_INSTANCE_GET, NULL, false,
				       instances);
		khadm_ask_module(ctl, args, KHAZANA_NL_CMD_PARKED_GET, NULL, true, parked);
		gone = not_parked(args, ctl);
		kh_ctl_close(ctl);
	}
	instance = json_array_get(instances, 0);
	if (err)
		finding(list, "warning", "module",
			"khazana.ko is not loaded, or not in this network namespace",
			"modprobe khazana; without it no region can be mapped on this node");
	else if (!json_is_true(json_object_get(instance, "khd_registered")))
		finding(list, "error", "module",
			"no khd has registered: new faults wait, then fail", "start khd");
	if (json_array_size(parked)) {
		snprintf(text, sizeof(text), "%zu units with lost stores are kept aside",
			 json_array_size(parked));
		finding(list, "warning", "module", text,
			"khadm parked list; export or discard each");
	}
	if (gone) {
		snprintf(text, sizeof(text),
			 "%lld units with lost stores found no room (parked_max) or no memory: "
			 "they are gone",
			 (long long)gone);
		finding(list, "warning", "module", text,
			"export and discard what is parked; raise the module's parameter "
			"parked_max, or give this node a store; the count ends with rmmod");
	}
	json_decref(parked);
	json_decref(instances);
}

/* Has nobody the region of @parked any more?  Return: 0, 1, or an errno: nobody knows. */
static int is_of_nobody(struct kh_ctl *ctl, const struct khadm_args *args, const json_t *parked)
{
	struct kh_op op = { .code = KH_OP_GETATTR };
	const char *text = json_string_value(json_object_get(parked, "region"));
	json_t *regions, *generation;
	int err;

	if (!text || kh_addr_parse(text, &op.addr))
		return -EPROTO;
	regions = json_array();
	err = khadm_ask_khd(ctl, args, &op, "region", regions);
	generation = json_object_get(json_array_get(regions, 0), "generation");
	if (err == -ENOENT)
		err = 1;
	else if (!err)
		err = !json_equal(generation, json_object_get(parked, "region_generation"));
	json_decref(regions);
	return err;
}

/*
 * Units in the store whose region was destroyed; all nodes can be asked.  This shall not take long:
 * one question for each region, for so many at most, and none after one that was not answered.
 */
static void parked_findings(const struct khadm_args *args, struct kh_ctl *ctl, json_t *list)
{
	struct khadm_args quick = *args;
	json_t *units = json_array(), *asked = json_object(), *unit, *answer;
	json_int_t count = 0;
	bool all = true, answers = true;
	char key[96], text[96];
	size_t i;
	int gone;

	if (!quick.timeout_ms || quick.timeout_ms > ANSWER_MS)
		quick.timeout_ms = ANSWER_MS;
	if (khadm_parked_units(ctl, args, units))
		goto out; /* only for the privileged; or there is no store, or it is out of service */
	json_array_foreach(units, i, unit)
	{
		snprintf(key, sizeof(key), "%s/%lld",
			 json_string_value(json_object_get(unit, "region")),
			 (long long)json_integer_value(json_object_get(unit, "region_generation")));
		answer = json_object_get(asked, key);
		if (!answer && (!answers || json_object_size(asked) == REGIONS_ASKED_MAX)) {
			all = false;
			continue;
		}
		if (!answer) {
			gone = is_of_nobody(ctl, &quick, unit);
			answers = gone != -ETIMEDOUT && gone != -EHOSTUNREACH;
			all &= gone >= 0;
			json_object_set_new(asked, key, json_boolean(gone > 0));
		}
		count += json_is_true(json_object_get(asked, key));
	}
	if (count) {
		snprintf(text, sizeof(text), "%s%lld units kept aside are of regions that are gone",
			 all ? "" : "at least ", (long long)count);
		finding(list, "warning", "store parked", text,
			"nothing can take them up any more: khadm store parked list; export what "
			"is of use, discard each");
	}
out:
	json_decref(asked);
	json_decref(units);
}

static int node_findings(const struct khadm_args *args, struct kh_ctl *ctl, json_t *list, bool *all)
{
	const struct kh_op op = { .code = KH_OP_NODE_LIST };
	json_t *nodes = json_array(), *node;
	int err = khadm_ask_khd(ctl, args, &op, "node_info", nodes);
	char subject[32];
	size_t i;

	*all = true;
	json_array_foreach(nodes, i, node)
	{
		if (json_is_true(json_object_get(node, "self")) ||
		    json_is_true(json_object_get(node, "connected")))
			continue;
		*all = false;
		snprintf(subject, sizeof(subject), "node %lld",
			 (long long)json_integer_value(json_object_get(node, "id")));
		finding(list, "error", subject,
			"not connected: regions whose home it is cannot be "
			"used beyond what is held here",
			"see whether its khd runs and the network carries its address");
	}
	json_decref(nodes);
	return err;
}

static int khd_take(void *arg, const struct kh_nl_msg *msg)
{
	json_t *object = khadm_json(kh_nl_ops[KHAZANA_NL_CMD_HEALTH_GET].set, msg->body, msg->len);
	json_t *found = json_object_get(object, "finding");

	if (found)
		json_array_append(arg, found);
	json_decref(object);
	return 0;
}

static void print(const json_t *list)
{
	const json_t *object;
	const char *advice;
	size_t i;

	json_array_foreach(list, i, object)
	{
		printf("%s: %s: %s\n", json_string_value(json_object_get(object, "severity")),
		       json_string_value(json_object_get(object, "subject")),
		       json_string_value(json_object_get(object, "text")));
		advice = json_string_value(json_object_get(object, "advice"));
		if (advice)
			printf("    %s\n", advice);
	}
}

/* Errors decide; a warning or a note alone is no reason to wake somebody. */
static bool is_well(const json_t *list)
{
	const json_t *object;
	size_t i;

	json_array_foreach(list, i, object)
	{
		const char *severity = json_string_value(json_object_get(object, "severity"));

		if (!severity || !strcmp(severity, "error"))
			return false;
	}
	return true;
}

int khadm_health(const struct khadm_args *args)
{
	const struct khadm_own own = { KHAZANA_NL_CMD_HEALTH_GET, ~0ULL, ~0ULL, ~0ULL, ~0ULL };
	json_t *list = json_array();
	struct kh_ctl *ctl;
	int err = khadm_open_khd(args, &ctl), code = KHADM_OK;
	bool well, all;

	if (err) {
		code = khadm_fail(args, err, "khd", NULL);
		goto out;
	}
	err = khadm_ask_own(ctl, args, &own, khd_take, list);
	if (!err)
		err = node_findings(args, ctl, list, &all);
	if (!err && all)
		parked_findings(args, ctl, list);
	if (err)
		code = khadm_fail(args, err, "khd", kh_ctl_text(ctl));
	kh_ctl_close(ctl);
	if (err)
		goto out;
	module_findings(args, list);
	well = is_well(list);
	if (args->json)
		khadm_print_json(json_pack("{s:b, s:O}", "well", well, "findings", list), "khazana."
											  "health/"
											  "1");
	else
		print(list);
	if (!args->json && well)
		printf("well\n");
	code = well ? KHADM_OK : KHADM_UNWELL;
out:
	json_decref(list);
	return code;
}
