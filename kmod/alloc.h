/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * alloc.h - the module's small objects, counted
 *
 * What is allocated here is freed here, whoever does it; what is left when the module goes
 * has leaked.  The pages of frames have a count of their own (struct kz_frames).
 */
#ifndef KZ_ALLOC_H
#define KZ_ALLOC_H

#include <linux/percpu.h>
#include <linux/slab.h>

DECLARE_PER_CPU(long, kz_objects);

void kz_alloc_exit(void);

/**
 * kz_alloc() - kmalloc(), counted
 * @size: bytes
 * @flags: of the allocation
 *
 * Return: for kz_free() or one of its kin; NULL.
 */
static __always_inline void *kz_alloc(size_t size, gfp_t flags)
{
	void *object = kmalloc(size, flags);

	if (object)
		this_cpu_inc(kz_objects);
	return object;
}

/**
 * kz_zalloc() - kzalloc(), counted
 * @size: bytes
 * @flags: of the allocation
 *
 * Return: for kz_free() or one of its kin; NULL.
 */
static __always_inline void *kz_zalloc(size_t size, gfp_t flags)
{
	return kz_alloc(size, flags | __GFP_ZERO);
}

/**
 * kz_free() - kfree() of what was counted
 * @object: or NULL
 */
static inline void kz_free(const void *object)
{
	if (object)
		this_cpu_dec(kz_objects);
	kfree(object);
}

/**
 * kz_free_sensitive() - kfree_sensitive() of what was counted
 * @object: or NULL
 */
static inline void kz_free_sensitive(const void *object)
{
	if (object)
		this_cpu_dec(kz_objects);
	kfree_sensitive(object);
}

/* kfree_rcu() of what was counted: @object is not NULL, and has the rcu_head @member. */
#define kz_free_rcu(object, member)		\
	do {					\
		this_cpu_dec(kz_objects);	\
		kfree_rcu(object, member);	\
	} while (0)

#endif /* KZ_ALLOC_H */
