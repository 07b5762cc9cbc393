// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * map.c - regions in this process's address space
 *
 * The window's file is closed once it is mapped: the mapping holds the attachment.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client.h"

int kh_map(struct kh_client *client, struct khazana_addr addr, uint64_t length, int prot,
	   const struct kh_key *key, void **mem)
{
	uint32_t flags = prot & PROT_WRITE ? 0 : KHAZANA_ATTACH_READONLY;
	struct kh_region_info info;
	struct kh_mapping *map;
	struct kh_file *file;
	uint64_t into, unit;
	int err;

	if (!(prot & PROT_READ) || (prot & ~(PROT_READ | PROT_WRITE)) || (addr.lo & 4095))
		return -EINVAL;
	err = kh_getattr(client, addr, &info);
	if (err)
		return err;
	unit = 1ULL << info.attr.unit_shift;
	if (!kh_addr_offset(info.start, addr, &into) || into >= info.length)
		return -ENOENT;
	if (!length)
		length = info.length - into;
	if (length > info.length - into)
		return -ERANGE;
	/* The window begins and ends at units; the mapping at the pages asked for. */
	into &= unit - 1;
	if (length > INT64_MAX - 2 * unit)
		return -ERANGE;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	addr.lo -= into;
	err = kh_file_attach(client, addr, (into + length + unit - 1) & ~(unit - 1), flags, key,
			     &file);
	if (err)
		goto err_free;
	map->length = length;
	map->mem = mmap(NULL, length, prot, MAP_SHARED, file->fd, (off_t)into);
	err = map->mem == MAP_FAILED ? -errno : 0;
	kh_file_close(file);
	if (err)
		goto err_free;
	pthread_mutex_lock(&client->mutex);
	map->next = client->maps;
	client->maps = map;
	pthread_mutex_unlock(&client->mutex);
	*mem = map->mem;
	return 0;

err_free:
	free(map);
	return err;
}

int kh_unmap(struct kh_client *client, void *mem)
{
	struct kh_mapping **link = &client->maps;
	struct kh_mapping *map;

	pthread_mutex_lock(&client->mutex);
	while (*link && (*link)->mem != mem)
		link = &(*link)->next;
	map = *link;
	if (map)
		*link = map->next;
	pthread_mutex_unlock(&client->mutex);
	if (!map)
		return -EINVAL;
	munmap(map->mem, map->length);
	free(map);
	return 0;
}
