// SPDX-License-Identifier: GPL-2.0-only
/*
 * alloc.c - what the module has allocated and not freed
 */
#include <linux/cpumask.h>
#include <linux/printk.h>

#include "alloc.h"

/* One may free what another one allocated: only the sum says something. */
DEFINE_PER_CPU(long, kz_objects);

/**
 * kz_alloc_exit() - the module goes: is everything freed?
 *
 * Context: nobody allocates or frees any more.
 */
void kz_alloc_exit(void)
{
	long left = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		left += per_cpu(kz_objects, cpu);
	if (left)
		pr_err("khazana: %ld objects are left behind\n", left);
}
