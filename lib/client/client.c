// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * client.c - the connection to khd, and what is asked over it
 *
 * One control connection per client, used by one thread at a time.  A khd that was
 * restarted has closed it; that is noticed before the next request is sent and the
 * connection made again.  A request that was sent is never repeated: a
 * reservation made twice would be one too many.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client.h"
#include "ctl/ctl.h"

#define KH_DEVICE "/dev/khazana"

static const char *path_or_default(const char *path, const char *variable, const char *fallback)
{
	if (path)
		return path;
	path = secure_getenv(variable);
	return path ? path : fallback;
}

int kh_client_open(const char *socket, const char *device, struct kh_client **out)
{
	struct kh_client *client = calloc(1, sizeof(*client));
	int err = -ENOMEM;

	if (!client)
		return -ENOMEM;
	pthread_mutex_init(&client->mutex, NULL);
	pthread_mutex_init(&client->ctl_mutex, NULL);
	client->socket = strdup(path_or_default(socket, "KHAZANA_SOCKET", KH_CTL_SOCKET));
	client->device = strdup(path_or_default(device, "KHAZANA_DEVICE", KH_DEVICE));
	if (client->socket && client->device)
		err = kh_ctl_open(client->socket, &client->ctl);
	if (err) {
		kh_client_close(client);
		return err;
	}
	*out = client;
	return 0;
}

void kh_client_close(struct kh_client *client)
{
	if (!client)
		return;
	while (client->locks)
		kh_unlock(client->locks);
	while (client->maps)
		kh_unmap(client, client->maps->mem);
	while (client->idle) {
		struct kh_file *next = client->idle->next;

		kh_file_close(client->idle);
		client->idle = next;
	}
	kh_ctl_close(client->ctl);
	pthread_mutex_destroy(&client->ctl_mutex);
	pthread_mutex_destroy(&client->mutex);
	free(client->socket);
	free(client->device);
	free(client);
}

/* A live connection in client->ctl; the caller holds ctl_mutex. */
static int ctl_ready(struct kh_client *client)
{
	if (client->ctl) {
		struct pollfd pfd = { .fd = kh_ctl_fd(client->ctl), .events = POLLIN };

		if (poll(&pfd, 1, 0) == 0)
			return 0;
		/* Nothing was asked, so what is readable is the end, or a late answer. */
		kh_ctl_close(client->ctl);
		client->ctl = NULL;
	}
	return kh_ctl_open(client->socket, &client->ctl);
}

/* One operation; @info, if not NULL, takes the first region of the answer. */
static int client_call(struct kh_client *client, struct kh_op *op, struct khazana_addr *addr,
		       struct kh_region_info *info)
{
	struct kh_op_result result;
	int err;

	pthread_mutex_lock(&client->ctl_mutex);
	err = ctl_ready(client);
	if (err)
		goto out;
	err = kh_ctl_call(client->ctl, op, &result, 0);
	if (err) {
		kh_ctl_close(client->ctl);
		client->ctl = NULL;
		goto out;
	}
	err = -result.error;
	if (!err && addr)
		*addr = result.addr;
	if (!err && info) {
		if (result.region_count)
			*info = result.regions[0];
		else
			err = -ENOENT;
	}
out:
	pthread_mutex_unlock(&client->ctl_mutex);
	explicit_bzero(op->key, sizeof(op->key));
	explicit_bzero(op->new_key, sizeof(op->new_key));
	return err;
}

static void op_key(uint8_t *bytes, const struct kh_key *key)
{
	if (key)
		memcpy(bytes, key->bytes, KH_KEY_SIZE);
}

int kh_reserve(struct kh_client *client, uint64_t length, const struct kh_attr *attr,
	       const struct kh_key *key, struct khazana_addr *addr)
{
	struct kh_op op = { .code = KH_OP_RESERVE, .length = length };

	if (!length)
		return -EINVAL;
	if (attr)
		op.attr = *attr;
	op_key(op.key, key);
	return client_call(client, &op, addr, NULL);
}

int kh_unreserve(struct kh_client *client, struct khazana_addr addr, const struct kh_key *key)
{
	struct kh_op op = { .code = KH_OP_UNRESERVE, .addr = addr };

	kh_file_forget(client, addr);
	op_key(op.key, key);
	return client_call(client, &op, NULL, NULL);
}

int kh_allocate(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		const struct kh_key *key)
{
	struct kh_op op = { .code = KH_OP_ALLOCATE, .addr = addr, .length = length };

	op_key(op.key, key);
	return client_call(client, &op, NULL, NULL);
}

int kh_free(struct kh_client *client, struct khazana_addr addr, uint64_t length,
	    const struct kh_key *key)
{
	struct kh_op op = { .code = KH_OP_FREE, .addr = addr, .length = length };

	op_key(op.key, key);
	return client_call(client, &op, NULL, NULL);
}

int kh_getattr(struct kh_client *client, struct khazana_addr addr, struct kh_region_info *info)
{
	struct kh_op op = { .code = KH_OP_GETATTR, .addr = addr };

	return client_call(client, &op, NULL, info);
}

int kh_setattr(struct kh_client *client, struct khazana_addr addr, const struct kh_key *key,
	       uint32_t mask, const struct kh_attr *attr, const struct kh_key *new_key)
{
	struct kh_op op = { .code = KH_OP_SETATTR, .addr = addr, .attr_mask = mask };
	int err;

	if (!mask || (!attr && mask != KH_ATTR_KEY) || (mask & KH_ATTR_KEY && !new_key))
		return -EINVAL;
	if (attr)
		op.attr = *attr;
	op_key(op.key, key);
	op_key(op.new_key, new_key);
	err = client_call(client, &op, NULL, NULL);
	/* What idle files were told of the region is old. */
	kh_file_forget(client, addr);
	return err;
}

static int flush_once(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		      const struct kh_key *key, unsigned int *tries, bool *again)
{
	struct kh_file *file;
	uint64_t offset;
	int err = kh_file_get(client, addr, length, key, &file);

	*again = false;
	if (err)
		return err;
	err = kh_file_offset(file, addr, length, &offset);
	if (!err)
		err = kh_file_flush(file, KHAZANA_FLUSH_KEYED, offset, length);
	file->poisoned = err == -ESTALE;
	*again = kh_file_rejected(client, file, err, tries);
	kh_file_put(client, file);
	return err;
}

int kh_flush(struct kh_client *client, struct khazana_addr addr, uint64_t length,
	     const struct kh_key *key)
{
	unsigned int tries = 0;
	bool again;
	int err;

	if (!length)
		return -EINVAL;
	do {
		err = flush_once(client, addr, length, key, &tries, &again);
	} while (again);
	return err;
}
