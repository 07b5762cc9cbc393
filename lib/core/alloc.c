/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alloc.c - memory that is there, or the process is not
 */
#include <stdlib.h>
#include "alloc.h"

void *kh_zalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

void *kh_realloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	if (!p)
		abort();
	return p;
}
