/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alloc.h - memory that is there, or the process is not
 *
 * A khd that has no memory for a record of a few hundred bytes cannot serve
 * anyone.  It ends; its successor takes over from the module's inventory, as after any other
 * crash.  Sizes that a peer or client chooses are bounded before they come here.
 */
#ifndef KH_CORE_ALLOC_H
#define KH_CORE_ALLOC_H

#include <stddef.h>

void *kh_zalloc(size_t size);
void *kh_realloc(void *old, size_t size);

#endif /* KH_CORE_ALLOC_H */
