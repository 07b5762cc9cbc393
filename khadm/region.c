// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * region.c - regions: make, list, show, give back
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "khadm/khadm.h"

static const struct khadm_column list_columns[] = {
	{ "ADDRESS", "addr", false },		{ "LENGTH", "length", true },
	{ "ALLOCATED", "allocated", true },	{ "HOME", "home", false },
	{ "PROTOCOL", "attr.protocol", false }, { "UNIT", "unit", true },
	{ "LEASE-MS", "attr.lease_ms", false }, { NULL, NULL, false },
};

static const struct khadm_column show_columns[] = {
	{ "length", "length", true },
	{ "allocated", "allocated", true },
	{ "home", "home", false },
	{ "epoch", "epoch", false },
	{ "generation", "generation", false },
	{ "protocol", "attr.protocol", false },
	{ "unit", "unit", true },
	{ "lease ms", "attr.lease_ms", false },
	{ "wait ms", "attr.wait_ms", false },
	{ "min replicas", "attr.min_replicas", false },
	{ "durability", "attr.durability", false },
	{ "flags", "attr.flags", false },
	{ NULL, NULL, false },
};

/* People read a unit in bytes; the protocol speaks of its logarithm. */
static void add_unit(json_t *region)
{
	json_t *shift = json_object_get(json_object_get(region, "attr"), "unit_shift");

	if (json_is_integer(shift) && json_integer_value(shift) < 63)
		json_object_set_new(region, "unit", json_integer(1LL << json_integer_value(shift)));
}

int khadm_region_list(const struct khadm_args *args)
{
	const struct kh_op op = { .code = KH_OP_REGION_LIST, .flags = args->all ? KH_OPF_ALL : 0 };
	json_t *regions = json_array(), *region;
	int code = khadm_khd(args, &op, "region", regions);
	size_t i;

	json_array_foreach(regions, i, region) add_unit(region);
	if (!code && args->json)
		khadm_print_json(json_pack("{s:O}", "regions", regions), "khazana.region-list/1");
	else if (!code)
		khadm_print_table(regions, list_columns);
	json_decref(regions);
	return code;
}

int khadm_region_show(const struct khadm_args *args)
{
	const struct kh_op op = { .code = KH_OP_GETATTR, .addr = args->addr };
	json_t *regions = json_array(), *region;
	int code = khadm_khd(args, &op, "region", regions);

	if (!code) {
		region = json_array_get(regions, 0);
		add_unit(region);
		if (args->json) {
			khadm_print_json(json_incref(region), "khazana.region/1");
		} else {
			printf("region %s\n", json_string_value(json_object_get(region, "addr")));
			khadm_print_fields(region, show_columns);
		}
	}
	json_decref(regions);
	return code;
}

/* Storage for all of a new region; without it the region is given back. */
static int allocate(const struct khadm_args *args, struct khazana_addr addr)
{
	struct kh_op op = { .code = KH_OP_ALLOCATE, .addr = addr };
	uint32_t shift = args->attr.unit_shift ? args->attr.unit_shift : 12;
	struct khadm_args quiet = *args;
	uint64_t mask;
	int code;

	mask = (1ULL << shift) - 1;
	op.length = (args->size + mask) & ~mask;
	memcpy(op.key, args->key, sizeof(op.key));
	code = khadm_khd(args, &op, NULL, NULL);
	if (code) {
		quiet.json = false;
		op.code = KH_OP_UNRESERVE;
		khadm_khd(&quiet, &op, NULL, NULL);
	}
	explicit_bzero(op.key, sizeof(op.key));
	explicit_bzero(quiet.key, sizeof(quiet.key));
	return code;
}

int khadm_region_create(const struct khadm_args *args)
{
	struct kh_op op = { .code = KH_OP_RESERVE, .length = args->size, .attr = args->attr };
	json_t *addrs = json_array();
	struct khazana_addr addr;
	const char *text;
	int code;

	memcpy(op.key, args->key, sizeof(op.key));
	code = khadm_khd(args, &op, "addr", addrs);
	explicit_bzero(op.key, sizeof(op.key));
	text = json_string_value(json_array_get(addrs, 0));
	if (!code && (!text || kh_addr_parse(text, &addr)))
		code = khadm_fail(args, -EPROTO, "khd", "it made a region, but did not say where");
	if (!code && args->allocate)
		code = allocate(args, addr);
	if (!code && args->json)
		khadm_print_json(json_pack("{s:s}", "addr", text), "khazana.region-created/1");
	else if (!code)
		printf("%s\n", text);
	json_decref(addrs);
	return code;
}

int khadm_region_destroy(const struct khadm_args *args)
{
	struct kh_op op = { .code = KH_OP_UNRESERVE, .addr = args->addr };
	char text[KH_ADDR_TEXT];
	int code;

	if (args->force)
		op.flags = KH_OPF_FORCE;
	memcpy(op.key, args->key, sizeof(op.key));
	code = khadm_khd(args, &op, NULL, NULL);
	explicit_bzero(op.key, sizeof(op.key));
	if (!code && args->json) {
		kh_addr_format(args->addr, text);
		khadm_print_json(json_pack("{s:s}", "addr", text), "khazana.region-destroyed/1");
	}
	return code;
}
