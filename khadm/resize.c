// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resize.c - limits of this node that are set while its khd serves
 */
#include "khadm/khadm.h"

static int resize(const struct khadm_args *args, uint8_t cmd, const char *schema)
{
	const struct khadm_own own = { cmd, ~0ULL, args->size, ~0ULL, ~0ULL };
	int code = khadm_own(args, &own, NULL, NULL);

	if (!code && args->json)
		khadm_print_json(json_pack("{s:I}", "size", (json_int_t)args->size), schema);
	return code;
}

int khadm_memory_resize(const struct khadm_args *args)
{
	return resize(args, KHAZANA_NL_CMD_MEMORY_RESIZE, "khazana.memory-resized/1");
}

int khadm_store_resize(const struct khadm_args *args)
{
	return resize(args, KHAZANA_NL_CMD_STORE_RESIZE, "khazana.store-resized/1");
}
