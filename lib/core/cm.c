/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cm.c - the consistency managers that there are
 */
#include <string.h>
#include "cm.h"

static const struct kh_cm_ops *const managers[] = { &kh_cm_crew, &kh_cm_null };

const struct kh_cm_ops *kh_cm_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(managers) / sizeof(managers[0]); i++)
		if (!strcmp(managers[i]->name, name))
			return managers[i];
	return NULL;
}
