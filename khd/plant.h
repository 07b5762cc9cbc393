/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plant.h - bugs that a test build shall have
 *
 * $KH_PLANT names one of the core (lib/core/node.c), or as store/NAME one of the store
 * (khd/store/recover.c). Without KH_TEST there are none.
 */
#ifndef KHD_PLANT_H
#define KHD_PLANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define KHD_PLANT_STORE "store/"

#ifdef KH_TEST
static inline const char *khd_plant(bool of_store)
{
	const char *name = getenv("KH_PLANT");
	size_t prefix = strlen(KHD_PLANT_STORE);
	bool is_store = name && !strncmp(name, KHD_PLANT_STORE, prefix);

	if (is_store != of_store)
		return NULL;
	return of_store ? name + prefix : name;
}
#else
static inline const char *khd_plant(bool of_store)
{
	(void)of_store;
	return NULL;
}
#endif

#endif
