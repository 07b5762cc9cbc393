// SPDX-License-Identifier: GPL-2.0-only
/*
 * chardev.c - /dev/khazana
 *
 * A file is fresh, then a user's (ATTACH) or a khd's (REGISTER), once and for all.
 */
#include <linux/capability.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "alloc.h"
#include "chardev.h"
#include "command.h"
#include "compat.h"
#include "fault.h"
#include "file_io.h"
#include "frame.h"
#include "instance.h"
#include "lock.h"
#include "region.h"
#include "uring.h"

/* mmap offsets of a khd's file: the descriptors lie behind any view. */
#define KZ_VIEW_OFFSET	0ULL
#define KZ_DESC_OFFSET	(1ULL << 62)

#define KZ_ATTACH_MS_DEFAULT	30000

static struct kz_daemon *file_daemon(struct kz_file *kf)
{
	/* Pairs with the release in ioctl_register(). */
	return smp_load_acquire(&kf->daemon);
}

/* The rule of all structures: a size first, a longer one with a zero tail. */
static int struct_get(void *to, size_t known, const void __user *from)
{
	u32 size;

	if (get_user(size, (const u32 __user *)from))
		return -EFAULT;
	if (size < known)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(to, known, from, size);
}

static int struct_put(void __user *to, const void *from, size_t known)
{
	return copy_to_user(to, from, known) ? -EFAULT : 0;
}

static int file_open(struct inode *inode, struct file *file)
{
	struct kz_file *kf = kz_zalloc(sizeof(*kf), GFP_KERNEL);

	if (!kf)
		return -ENOMEM;
	kf->instance = kz_instance_get_current();
	if (!kf->instance) {
		kz_free(kf);
		return -ESHUTDOWN;
	}
	mutex_init(&kf->lock);
	file->private_data = kf;
	return 0;
}

static int file_release(struct inode *inode, struct file *file)
{
	struct kz_file *kf = file->private_data;

	if (kf->daemon) {
		kz_daemon_gone(kf->daemon);
		kz_daemon_free(kf->daemon);
	}
	if (kf->attachment) {
		kz_locks_release(kf->attachment);
		kz_attachment_free(kf->attachment);
	}
	mutex_destroy(&kf->lock);
	kz_instance_put(kf->instance);
	kz_free(kf);
	return 0;
}

static int file_flush(struct file *file, fl_owner_t owner)
{
	struct kz_daemon *daemon = file_daemon(file->private_data);

	if (daemon && daemon->owner == owner)
		kz_daemon_gone(daemon);
	return 0;
}

static int ioctl_netns(struct kz_file *kf, int __user *user)
{
	struct kz_instance *instance, *old;
	struct net *net;
	int fd, err = 0;

	if (get_user(fd, user))
		return -EFAULT;
	net = get_net_ns_by_fd(fd);
	if (IS_ERR(net))
		return -EINVAL;
	if (!ns_capable(net->user_ns, CAP_NET_ADMIN)) {
		put_net(net);
		return -EPERM;
	}
	instance = kz_instance_get_net(net);
	put_net(net);
	if (!instance)
		return -ESHUTDOWN;
	mutex_lock(&kf->lock);
	if (kf->attachment || kf->daemon) {
		err = -EBUSY;
		old = instance;
	} else {
		old = kf->instance;
		kf->instance = instance;
	}
	mutex_unlock(&kf->lock);
	kz_instance_put(old);
	return err;
}

/* Ask khd for the region; on success it has a reference. @key_serial: of the key presented. */
static int attach_call(struct kz_instance *instance, const struct khazana_attach *arg,
		       struct kz_region **region, u64 *key_serial)
{
	struct kz_call *call = kz_call_new(KHAZANA_REQ_ATTACH);
	int err;

	if (!call)
		return -ENOMEM;
	call->notice.req.addr = arg->start;
	call->notice.req.length = arg->length;
	memcpy(call->notice.req.key, arg->key, sizeof(arg->key));
	err = kz_call_run(instance, call, arg->timeout_ms ?: KZ_ATTACH_MS_DEFAULT);
	if (!err) {
		swap(*region, call->region);
		*key_serial = call->key_serial;
	}
	kz_call_put(call);
	return err;
}

static int attach(struct kz_file *kf, struct file *file, struct khazana_attach *arg)
{
	struct kz_attachment *attachment;
	struct kz_region *region = NULL;
	u64 key_serial;
	int err;

	lockdep_assert_held(&kf->lock);
	if (kf->attachment || kf->daemon)
		return -EBUSY;
	if ((arg->flags & ~KHAZANA_ATTACH_READONLY) || arg->length > LLONG_MAX)
		return -EINVAL;
	/* The last byte must exist. */
	if (arg->length && arg->start.lo + (arg->length - 1) < arg->start.lo &&
	    arg->start.hi == U64_MAX)
		return -EINVAL;
	if (READ_ONCE(kf->instance->queue.tgid) == current->tgid)
		return -EDEADLK;
	if (!(file->f_mode & FMODE_READ))
		return -EACCES;
	if (!(file->f_mode & FMODE_WRITE))
		arg->flags |= KHAZANA_ATTACH_READONLY;
	err = attach_call(kf->instance, arg, &region, &key_serial);
	if (err)
		return err;
	err = kz_attachment_new(region, arg, &attachment);
	if (err) {
		kz_region_put(region);
		return err;
	}
	attachment->key_serial = key_serial;
	/* Both linking and unlinking a mapping go through f_mapping: set it once, before any. */
	file->f_mapping = region->inode->i_mapping;
	/* Pairs with the acquire in kz_file_attachment(). */
	smp_store_release(&kf->attachment, attachment);
	arg->unit_shift = region->unit_shift;
	arg->length_out = attachment->length;
	arg->region_start = region->start;
	arg->region_length = region->length;
	return 0;
}

static int ioctl_attach(struct kz_file *kf, struct file *file, void __user *user)
{
	struct khazana_attach arg;
	int err = struct_get(&arg, sizeof(arg), user);

	if (err)
		return err;
	err = mutex_lock_killable(&kf->lock);
	if (!err) {
		err = attach(kf, file, &arg);
		mutex_unlock(&kf->lock);
	}
	memzero_explicit(arg.key, sizeof(arg.key));
	return err ?: struct_put(user, &arg, sizeof(arg));
}

static int ioctl_register(struct kz_file *kf, struct file *file, void __user *user)
{
	struct kz_daemon *daemon = NULL;
	struct khazana_register arg;
	int err = struct_get(&arg, sizeof(arg), user);

	if (err)
		return err;
	if ((arg.flags & ~KHAZANA_REGISTER_NO_URING) || arg.reserved)
		return -EINVAL;
	if (!ns_capable(kf->instance->user_ns, CAP_NET_ADMIN))
		return -EPERM;
	if (!(file->f_mode & FMODE_READ) || !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	mutex_lock(&kf->lock);
	err = kf->attachment || kf->daemon ? -EBUSY :
	      kz_daemon_register(kf->instance, file, &arg, &daemon);
	if (!err)
		/* Pairs with the acquire in file_daemon(). */
		smp_store_release(&kf->daemon, daemon);
	mutex_unlock(&kf->lock);
	if (err)
		return err;
	arg.abi = KHAZANA_ABI_VERSION;
	arg.desc_offset = KZ_DESC_OFFSET;
	arg.view_offset = KZ_VIEW_OFFSET;
	return struct_put(user, &arg, sizeof(arg));
}

static int ioctl_command(struct kz_file *kf, void __user *user)
{
	struct kz_daemon *daemon = file_daemon(kf);
	struct khazana_batch batch;

	if (!daemon)
		return -EINVAL;
	if (copy_from_user(&batch, user, sizeof(batch)))
		return -EFAULT;
	return kz_command_batch(daemon, &batch);
}

static int ioctl_lock(struct kz_attachment *attachment, void __user *user, bool lock)
{
	struct khazana_lock arg;
	int err = struct_get(&arg, sizeof(arg), user);

	if (err)
		return err;
	err = lock ? kz_lock(attachment, &arg) : kz_unlock(attachment, &arg);
	return err ?: struct_put(user, &arg, sizeof(arg));
}

static int ioctl_range(struct kz_attachment *attachment, void __user *user, bool flush)
{
	struct khazana_range arg;
	int err = struct_get(&arg, sizeof(arg), user);

	if (err)
		return err;
	if (arg.flags & ~(flush ? KHAZANA_FLUSH_KEYED : 0))
		return -EINVAL;
	err = arg.flags & KHAZANA_FLUSH_KEYED ? kz_attachment_key(attachment) : 0;
	if (err)
		return err;
	err = flush ? kz_range_flush(attachment, arg.offset, arg.length) :
		      kz_range_prefetch(attachment, arg.offset, arg.length);
	/* The key may have been changed while it waited. */
	if (!err && (arg.flags & KHAZANA_FLUSH_KEYED))
		err = kz_attachment_key(attachment);
	return err;
}

static long file_ioctl(struct file *file, unsigned int op, unsigned long arg)
{
	struct kz_file *kf = file->private_data;
	void __user *user = (void __user *)arg;
	struct kz_attachment *attachment;
	int err;

	switch (op) {
	case KHAZANA_IOC_NETNS:
		return ioctl_netns(kf, user);
	case KHAZANA_IOC_ATTACH:
		return ioctl_attach(kf, file, user);
	case KHAZANA_IOC_REGISTER:
		return ioctl_register(kf, file, user);
	case KHAZANA_IOC_COMMAND:
		return ioctl_command(kf, user);
	}
	attachment = kz_file_attachment(file);
	if (!attachment)
		return _IOC_TYPE(op) == KHAZANA_IOC_MAGIC ? -EINVAL : -ENOTTY;
	err = kz_attachment_check(attachment);
	/* What is poisoned or deleted can still be unlocked. */
	if (err && op != KHAZANA_IOC_UNLOCK)
		return err;
	switch (op) {
	case KHAZANA_IOC_LOCK:
		return ioctl_lock(attachment, user, true);
	case KHAZANA_IOC_UNLOCK:
		return ioctl_lock(attachment, user, false);
	case KHAZANA_IOC_PREFETCH:
		return ioctl_range(attachment, user, false);
	case KHAZANA_IOC_FLUSH:
		return ioctl_range(attachment, user, true);
	}
	return -ENOTTY;
}

static vm_fault_t view_fault(struct vm_fault *vmf)
{
	struct kz_daemon *daemon = file_daemon(vmf->vma->vm_file->private_data);

	/* The set of frames belongs to the registered khd and goes with it. */
	if (READ_ONCE(daemon->instance->queue.daemon) != daemon)
		return VM_FAULT_SIGBUS;
	return kz_view_fault(&daemon->instance->frames, vmf);
}

static const struct vm_operations_struct view_vm_ops = {
	.fault = view_fault,
};

static int daemon_mmap(struct kz_daemon *daemon, struct vm_area_struct *vma)
{
	u64 desc = KZ_DESC_OFFSET >> PAGE_SHIFT, frames = daemon->instance->frames.size;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff >= desc)
		return remap_vmalloc_range(vma, daemon->desc, vma->vm_pgoff - desc);
	if (vma->vm_pgoff >= frames || vma_pages(vma) > frames - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY | VM_MIXEDMAP);
	vma->vm_ops = &view_vm_ops;
	return 0;
}

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kz_attachment *attachment = kz_file_attachment(file);
	struct kz_daemon *daemon = file_daemon(file->private_data);

	if (attachment)
		return kz_user_mmap(attachment, vma);
	if (daemon)
		return daemon_mmap(daemon, vma);
	return -EINVAL;
}

static ssize_t file_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct file *file = iocb->ki_filp;
	struct kz_attachment *attachment = kz_file_attachment(file);
	struct kz_daemon *daemon = file_daemon(file->private_data);

	if (attachment)
		return kz_file_read(attachment, iocb, to);
	if (!daemon)
		return -EINVAL;
	return kz_queue_read(daemon, to, (file->f_flags & O_NONBLOCK) ||
			     (iocb->ki_flags & IOCB_NOWAIT));
}

static ssize_t file_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct kz_attachment *attachment = kz_file_attachment(iocb->ki_filp);

	return attachment ? kz_file_write(attachment, iocb, from) : -EINVAL;
}

static loff_t file_llseek(struct file *file, loff_t offset, int whence)
{
	struct kz_attachment *attachment = kz_file_attachment(file);

	if (!attachment)
		return -ESPIPE;
	return fixed_size_llseek(file, offset, whence, attachment->length);
}

static int file_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct kz_attachment *attachment = kz_file_attachment(file);
	int err;

	if (!attachment)
		return -EINVAL;
	err = kz_attachment_check(attachment);
	if (err)
		return err;
	if (start >= attachment->length)
		return 0;
	return kz_range_flush(attachment, start, min_t(u64, end - start + 1,
						       attachment->length - start));
}

static __poll_t file_poll(struct file *file, poll_table *wait)
{
	struct kz_file *kf = file->private_data;
	struct kz_daemon *daemon = file_daemon(kf);
	struct kz_queue *queue;

	if (!daemon)
		return kz_file_attachment(file) ? EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM :
						  EPOLLERR;
	queue = &daemon->instance->queue;
	poll_wait(file, &queue->wait, wait);
	if (READ_ONCE(queue->daemon) != daemon)
		return EPOLLERR | EPOLLHUP;
	return kz_queue_empty(queue) ? 0 : EPOLLIN | EPOLLRDNORM;
}

static int file_uring_cmd(struct io_uring_cmd *cmd, unsigned int flags)
{
	struct kz_daemon *daemon = file_daemon(cmd->file->private_data);

	return daemon ? kz_uring_cmd(daemon, cmd, flags) : -EINVAL;
}

static const struct file_operations file_ops = {
	.owner		= THIS_MODULE,
	.open		= file_open,
	.release	= file_release,
	.flush		= file_flush,
	.unlocked_ioctl	= file_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= file_mmap,
	.read_iter	= file_read_iter,
	.write_iter	= file_write_iter,
	.llseek		= file_llseek,
	.fsync		= file_fsync,
	.poll		= file_poll,
	.uring_cmd	= file_uring_cmd,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "khazana",
	.fops	= &file_ops,
	.mode	= 0660,
};

/**
 * kz_chardev_init() - the device appears
 *
 * Return: 0 or an errno.
 */
int kz_chardev_init(void)
{
	return misc_register(&device);
}

/**
 * kz_chardev_exit() - the device disappears; no file is open
 */
void kz_chardev_exit(void)
{
	misc_deregister(&device);
}
