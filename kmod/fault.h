/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fault.h - loads and stores of users
 */
#ifndef KZ_FAULT_H
#define KZ_FAULT_H

struct kz_attachment;
struct vm_area_struct;

int kz_user_mmap(struct kz_attachment *attachment, struct vm_area_struct *vma);

#endif /* KZ_FAULT_H */
