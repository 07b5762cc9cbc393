// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * file.c - attached files of /dev/khazana and the list of idle ones
 *
 * Attaching asks the region's home for a proof of the key, which is a network
 * round trip; a client that locks and unlocks in a loop must not pay it each
 * time, so a few files stay attached after their lock is gone.  The module refuses a
 * lock through a file that was attached with an older key; then the home judges the
 * caller's key anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

/* An idle file may not have heard that the region's durability was changed: it asks again. */
#define ASK_AGAIN_MS 1000

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static bool addr_equal(struct khazana_addr a, struct khazana_addr b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

static int attach(int fd, struct khazana_attach *att)
{
	int ret;

	do {
		ret = ioctl(fd, KHAZANA_IOC_ATTACH, att);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

int kh_file_attach(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		   uint32_t flags, const struct kh_key *key, struct kh_file **out)
{
	struct khazana_attach att = {
		.size = sizeof(att),
		.flags = flags,
		.start = addr,
		.length = length,
	};
	struct kh_file *file = calloc(1, sizeof(*file));
	int err;

	if (!file)
		return -ENOMEM;
	if (key)
		file->key = *key;
	memcpy(att.key, file->key.bytes, sizeof(att.key));
	/* Also to read only: of a mapping of a file that cannot be written Linux's msync() does
	 * nothing, not even ask. */
	file->fd = open(client->device, O_RDWR | O_CLOEXEC);
	if (file->fd < 0 && errno == EACCES && (flags & KHAZANA_ATTACH_READONLY))
		file->fd = open(client->device, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0) {
		err = errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
		goto err_free;
	}
	err = attach(file->fd, &att);
	explicit_bzero(att.key, sizeof(att.key));
	if (err)
		goto err_close;
	file->start = addr;
	file->length = att.length_out;
	file->region = att.region_start;
	*out = file;
	return 0;

err_close:
	close(file->fd);
err_free:
	explicit_bzero(&file->key, sizeof(file->key));
	free(file);
	return err;
}

void kh_file_close(struct kh_file *file)
{
	close(file->fd);
	explicit_bzero(&file->key, sizeof(file->key));
	free(file);
}

static bool file_covers(const struct kh_file *file, struct khazana_addr addr, uint64_t length)
{
	uint64_t offset;

	return kh_addr_offset(file->start, addr, &offset) && offset < file->length &&
	       length <= file->length - offset;
}

int kh_file_offset(const struct kh_file *file, struct khazana_addr addr, uint64_t length,
		   uint64_t *offset)
{
	return kh_addr_offset(file->start, addr, offset) && *offset < file->length &&
			       length <= file->length - *offset ?
		       0 :
		       -ERANGE;
}

int kh_file_flush(const struct kh_file *file, uint32_t flags, uint64_t offset, uint64_t length)
{
	struct khazana_range range = {
		.size = sizeof(range),
		.flags = flags,
		.offset = offset,
		.length = length,
	};
	int ret;

	do {
		ret = ioctl(file->fd, KHAZANA_IOC_FLUSH, &range);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

bool kh_file_rejected(struct kh_client *client, struct kh_file *file, int err, unsigned int *tries)
{
	if (err != -EKEYREJECTED)
		return false;
	file->rekeyed = true;
	/* Those beside it are as old; a new one was judged by the home just now. */
	kh_file_forget(client, file->region);
	return !(*tries)++;
}

/* An idle file is about to be used again: what it was told of its region may be old. */
static int file_refresh(struct kh_client *client, struct kh_file *file)
{
	struct kh_region_info info;
	uint64_t now = now_ms();
	int err;

	if (now - file->asked_ms < ASK_AGAIN_MS)
		return 0;
	err = kh_getattr(client, file->region, &info);
	if (!err) {
		file->sync = info.attr.durability;
		file->asked_ms = now;
	}
	return err;
}

/* Attach to the units of the region that hold the range. */
static int file_attach_units(struct kh_client *client, struct khazana_addr addr, uint64_t length,
			     const struct kh_region_info *info, const struct kh_key *key,
			     struct kh_file **out)
{
	uint64_t unit = 1ULL << info->attr.unit_shift;
	uint64_t into;

	if (!kh_addr_offset(info->start, addr, &into) || into >= info->length ||
	    length > info->length - into)
		return -ERANGE;
	into &= unit - 1;
	if (length > INT64_MAX - 2 * unit)
		return -ERANGE;
	addr.lo -= into;
	return kh_file_attach(client, addr, (into + length + unit - 1) & ~(unit - 1), 0, key, out);
}

int kh_file_get(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		const struct kh_key *key, struct kh_file **out)
{
	static const struct kh_key zero;
	struct kh_region_info info;
	struct kh_file **link;
	int err;

	if (!key)
		key = &zero;
	pthread_mutex_lock(&client->mutex);
	for (link = &client->idle; *link; link = &(*link)->next) {
		struct kh_file *file = *link;

		if (file_covers(file, addr, length) && !memcmp(&file->key, key, sizeof(*key))) {
			*link = file->next;
			client->idle_count--;
			pthread_mutex_unlock(&client->mutex);
			err = file_refresh(client, file);
			if (err)
				kh_file_close(file);
			else
				*out = file;
			return err;
		}
	}
	pthread_mutex_unlock(&client->mutex);

	err = kh_getattr(client, addr, &info);
	if (err)
		return err;
	/* A window on the whole region serves later locks too, unless it is too long for one. */
	if (info.length <= INT64_MAX - 4096)
		err = kh_file_attach(client, info.start, 0, 0, key, out);
	else
		err = file_attach_units(client, addr, length, &info, key, out);
	if (!err) {
		(*out)->sync = info.attr.durability;
		(*out)->asked_ms = now_ms();
	}
	return err;
}

void kh_file_put(struct kh_client *client, struct kh_file *file)
{
	struct kh_file *victim = NULL;
	struct kh_file **link;

	if (file->poisoned || file->rekeyed) {
		kh_file_close(file);
		return;
	}
	pthread_mutex_lock(&client->mutex);
	file->next = client->idle;
	client->idle = file;
	if (++client->idle_count > KH_IDLE_FILES_MAX) {
		for (link = &client->idle; (*link)->next; link = &(*link)->next)
			;
		victim = *link;
		*link = NULL;
		client->idle_count--;
	}
	pthread_mutex_unlock(&client->mutex);
	if (victim)
		kh_file_close(victim);
}

void kh_file_forget(struct kh_client *client, struct khazana_addr region)
{
	struct kh_file *gone = NULL;
	struct kh_file **link = &client->idle;

	pthread_mutex_lock(&client->mutex);
	while (*link) {
		struct kh_file *file = *link;

		if (!addr_equal(file->region, region)) {
			link = &file->next;
			continue;
		}
		*link = file->next;
		client->idle_count--;
		file->next = gone;
		gone = file;
	}
	pthread_mutex_unlock(&client->mutex);
	while (gone) {
		struct kh_file *next = gone->next;

		kh_file_close(gone);
		gone = next;
	}
}
