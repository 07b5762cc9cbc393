/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lock.h - range locks between the contexts of one node
 */
#ifndef KZ_LOCK_H
#define KZ_LOCK_H

struct khazana_lock;
struct kz_attachment;
struct kz_region;

int kz_lock(struct kz_attachment *attachment, struct khazana_lock *arg);
int kz_unlock(struct kz_attachment *attachment, struct khazana_lock *arg);
void kz_locks_release(struct kz_attachment *attachment);
void kz_locks_wake(struct kz_region *region);

#endif /* KZ_LOCK_H */
