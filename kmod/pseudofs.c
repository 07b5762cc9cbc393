// SPDX-License-Identifier: GPL-2.0-only
/*
 * pseudofs.c - the pseudo file system of regions and views
 *
 * Each region and each view has an inode of its own, because page tables are
 * found through its mapping.  The file system is pinned for each inode and not
 * by a mount at module load, which would pin the module itself.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "pseudofs.h"

#define KZ_FS_MAGIC	0x4b7a6e61

static struct vfsmount *kz_mount;
static int kz_mounts;

static int kz_fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, KZ_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type kz_fs_type = {
	.name		= "khazana",
	.owner		= THIS_MODULE,
	.init_fs_context = kz_fs_init,
	.kill_sb	= kill_anon_super,
};

/**
 * kz_inode_new() - an inode with an empty mapping
 *
 * Return: the inode, to be given back by kz_inode_put(), or an ERR_PTR.
 */
struct inode *kz_inode_new(void)
{
	struct inode *inode;
	int err;

	err = simple_pin_fs(&kz_fs_type, &kz_mount, &kz_mounts);
	if (err)
		return ERR_PTR(err);
	inode = alloc_anon_inode(kz_mount->mnt_sb);
	if (IS_ERR(inode)) {
		simple_release_fs(&kz_mount, &kz_mounts);
		return inode;
	}
	inode->i_mode = S_IFREG | 0600;
	return inode;
}

/**
 * kz_inode_put() - give back an inode
 * @inode: nobody maps it
 */
void kz_inode_put(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&kz_mount, &kz_mounts);
}
