// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * lock.c - explicit locks, and reading and writing under them
 *
 * A lock is held by an open file of the device, its context.  The module
 * arbitrates between the contexts of this node, the region's home between nodes.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client.h"

static void lock_link(struct kh_client *client, struct kh_lock *lock)
{
	pthread_mutex_lock(&client->mutex);
	lock->next = client->locks;
	client->locks = lock;
	pthread_mutex_unlock(&client->mutex);
}

static void lock_unlink(struct kh_client *client, struct kh_lock *lock)
{
	struct kh_lock **link = &client->locks;

	pthread_mutex_lock(&client->mutex);
	while (*link && *link != lock)
		link = &(*link)->next;
	if (*link)
		*link = lock->next;
	pthread_mutex_unlock(&client->mutex);
}

/* Lock through an attached file, which is the lock's from then on. */
static int lock_file(struct kh_client *client, struct kh_lock *lock, struct khazana_lock *req,
		     const struct kh_key *key, unsigned int *tries, bool *again)
{
	struct kh_file *file;
	uint64_t offset;
	int err = kh_file_get(client, lock->addr, lock->length, key, &file);

	*again = false;
	if (err)
		return err;
	err = kh_file_offset(file, lock->addr, lock->length, &offset);
	req->offset = err ? 0 : offset;
	if (!err && ioctl(file->fd, KHAZANA_IOC_LOCK, req) < 0) {
		err = -errno;
		file->poisoned = err == -ESTALE;
	}
	*again = kh_file_rejected(client, file, err, tries);
	if (err)
		kh_file_put(client, file);
	else
		lock->file = file;
	return err;
}

int kh_lock(struct kh_client *client, struct khazana_addr addr, uint64_t length,
	    enum kh_lock_mode mode, uint32_t flags, uint32_t timeout_ms, const struct kh_key *key,
	    struct kh_lock **out)
{
	struct khazana_lock req = {
		.size = sizeof(req),
		.flags = flags,
		.length = length,
		.mode = mode,
		.timeout_ms = timeout_ms,
	};
	unsigned int tries = 0;
	struct kh_lock *lock;
	bool again;
	int err;

	if (!length || mode < KH_LOCK_READ || mode > KH_LOCK_OVERWRITE || (flags & ~KH_LOCK_TRY))
		return -EINVAL;
	lock = calloc(1, sizeof(*lock));
	if (!lock)
		return -ENOMEM;
	lock->client = client;
	lock->addr = addr;
	lock->length = length;
	lock->mode = mode;
	do {
		err = lock_file(client, lock, &req, key, &tries, &again);
	} while (again);
	if (err) {
		free(lock);
		return err;
	}
	lock->token = req.token;
	lock->id = req.id;
	lock_link(client, lock);
	*out = lock;
	return 0;
}

uint64_t kh_lock_token(const struct kh_lock *lock)
{
	return lock->token;
}

/* Before others may see it: what they build on is then safe too. */
static int lock_flush(const struct kh_lock *lock)
{
	uint64_t offset;
	int err;

	if (lock->mode == KH_LOCK_READ || !lock->file->sync)
		return 0;
	err = kh_file_offset(lock->file, lock->addr, lock->length, &offset);
	return err ? err : kh_file_flush(lock->file, 0, offset, lock->length);
}

int kh_unlock(struct kh_lock *lock)
{
	struct khazana_lock req = { .size = sizeof(req), .id = lock->id };
	int err = lock_flush(lock);

	if (ioctl(lock->file->fd, KHAZANA_IOC_UNLOCK, &req) < 0) {
		err = -errno;
		lock->file->poisoned = true;
	}
	lock_unlink(lock->client, lock);
	kh_file_put(lock->client, lock->file);
	free(lock);
	return err;
}

/* Offset of the range in the lock's window, or -ERANGE when it leaves the lock. */
static int lock_offset(const struct kh_lock *lock, struct khazana_addr addr, size_t length,
		       off_t *offset)
{
	uint64_t into, base;

	if (!kh_addr_offset(lock->addr, addr, &into) || into > lock->length ||
	    length > lock->length - into || !kh_addr_offset(lock->file->start, addr, &base))
		return -ERANGE;
	*offset = (off_t)base;
	return 0;
}

int kh_read(struct kh_lock *lock, struct khazana_addr addr, void *buf, size_t length)
{
	off_t offset;
	int err = lock_offset(lock, addr, length, &offset);

	while (!err && length) {
		ssize_t n = pread(lock->file->fd, buf, length, offset);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buf = (char *)buf + n;
		offset += n;
		length -= (size_t)n;
	}
	return err;
}

int kh_write(struct kh_lock *lock, struct khazana_addr addr, const void *buf, size_t length)
{
	off_t offset;
	int err = lock_offset(lock, addr, length, &offset);

	if (lock->mode == KH_LOCK_READ)
		return -EACCES;
	while (!err && length) {
		ssize_t n = pwrite(lock->file->fd, buf, length, offset);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buf = (const char *)buf + n;
		offset += n;
		length -= (size_t)n;
	}
	return err;
}
