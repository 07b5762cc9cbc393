/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * chardev.h - /dev/khazana
 */
#ifndef KZ_CHARDEV_H
#define KZ_CHARDEV_H

#include <linux/fs.h>
#include <linux/mutex.h>

struct kz_attachment;
struct kz_daemon;
struct kz_instance;

/**
 * struct kz_file - an open file
 * @instance: bound at open(), with a reference
 * @lock: one ioctl that binds at a time
 * @attachment: a user's window, once bound
 * @daemon: a registration, once made
 */
struct kz_file {
	struct kz_instance *instance;
	struct mutex lock;	/* one ioctl that binds at a time */
	struct kz_attachment *attachment;
	struct kz_daemon *daemon;
};

/* The attachment of a file that has one. */
static inline struct kz_attachment *kz_file_attachment(struct file *file)
{
	struct kz_file *kf = file->private_data;

	/* Pairs with the release in attach(). */
	return smp_load_acquire(&kf->attachment);
}

int kz_chardev_init(void);
void kz_chardev_exit(void);

#endif /* KZ_CHARDEV_H */
