/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pseudofs.h - the pseudo file system of regions and views
 */
#ifndef KZ_PSEUDOFS_H
#define KZ_PSEUDOFS_H

struct inode;

struct inode *kz_inode_new(void);
void kz_inode_put(struct inode *inode);

#endif /* KZ_PSEUDOFS_H */
