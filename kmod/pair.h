/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pair.h - instructions that need two units at once
 */
#ifndef KZ_PAIR_H
#define KZ_PAIR_H

#include <linux/spinlock.h>
#include <linux/types.h>

#define KZ_PAIRS	8

struct kz_attachment;
struct kz_unit;

/**
 * struct kz_pairs - the last miss of some threads of an attachment
 * @lock: protects @last
 * @last: by thread; threads that share an entry only lose the help
 */
struct kz_pairs {
	spinlock_t lock;	/* protects all */
	struct kz_pair {
		u32 key;		/* of thread and registers */
		u32 tries;
		u64 index;		/* unit of the miss */
		u64 other;		/* unit of the miss before, if tries */
	} last[KZ_PAIRS];
};

void kz_pairs_init(struct kz_pairs *pairs);
void kz_pair_miss(struct kz_attachment *attachment, struct kz_unit *unit);
void kz_pair_hit(struct kz_attachment *attachment, struct kz_unit *unit);

#endif /* KZ_PAIR_H */
