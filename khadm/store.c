// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store.c - the page store of this node, while its khd serves it
 */
#include <stdio.h>

#include "khadm/khadm.h"

#define SCRUB_RATE (16ULL << 20) /* bytes a second, unless --rate says otherwise */

static const struct khadm_column columns[] = {
	{ "state", "state", false },
	{ "reason", "reason", false },
	{ "directory", "dir", false },
	{ "capacity", "capacity", true },
	{ "capacity at least", "capacity_min", true },
	{ "room in segments", "room", true },
	{ "reserved", "reserved", true },
	{ "used", "used", true },
	{ "parked units", "parked", false },
	{ "damaged units", "damaged", false },
	{ "units stored", "puts", false },
	{ "units read", "gets", false },
	{ "flushes", "flushes", false },
	{ "flushes of the device", "groups", false },
	{ "checkpoints", "checkpoints", false },
	{ "units scrubbed", "scrubbed", false },
	{ "scrub, bytes a second", "scrub_rate", true },
	{ "memory", "memory", true },
	{ "buffers used", "buffers_used", true },
	{ "buffers at most", "buffers_max", true },
	{ "waiting units", "waiting", false },
	{ "recovery, ns", "recovery_ns", false },
	{ "log records replayed", "replayed", false },
	{ "log records left", "discarded", false },
	{ NULL, NULL, false },
};

static int status(const struct khadm_args *args, json_t *stores)
{
	const struct khadm_own own = { KHAZANA_NL_CMD_STORE_GET, ~0ULL, ~0ULL, ~0ULL, ~0ULL };

	return khadm_own(args, &own, "store", stores);
}

int khadm_store_status(const struct khadm_args *args)
{
	json_t *stores = json_array(), *store;
	int code = status(args, stores);

	if (!code) {
		store = json_array_get(stores, 0);
		if (args->json)
			khadm_print_json(json_incref(store), "khazana.store/1");
		else
			khadm_print_fields(store, columns);
	}
	json_decref(stores);
	return code;
}

int khadm_store_scrub(const struct khadm_args *args)
{
	const uint64_t rate = args->rate == ~0ULL ? SCRUB_RATE : args->rate;
	const struct khadm_own own = { KHAZANA_NL_CMD_STORE_SCRUB, rate, ~0ULL, ~0ULL, ~0ULL };
	int code = khadm_own(args, &own, NULL, NULL);

	if (!code && args->json)
		khadm_print_json(json_pack("{s:I}", "rate", (json_int_t)rate), "khazana.store-"
									       "scrub/1");
	return code;
}
