// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * put_in_global.c - Figure 4 of "Using Khazana to Support Distributed Application
 * Development" (UUCS-99-008), in today's names
 *
 * Puts a local object into the global store and prints its address; then reads it back
 * through a lock of its own, as any other node could with that address and key.
 *
 * Usage: put_in_global TEXT
 */
#include <stdio.h>
#include <string.h>

#include <khazana.h>

static const struct kh_key key = { "an example key" };

/**
 * put_in_global() - copy @length bytes at @object into a new region
 * @addr: out: the region's address
 *
 * Return: 0 or a negative errno; nothing stays reserved after an error.
 */
static int put_in_global(struct kh_client *client, const void *object, size_t length,
			 struct khazana_addr *addr)
{
	struct kh_region_info info;
	struct kh_lock *lock;
	int unlock_err;
	int err;

	err = kh_reserve(client, length, NULL, &key, addr);
	if (err)
		return err;
	err = kh_getattr(client, *addr, &info);
	if (err)
		goto err_unreserve;
	err = kh_allocate(client, *addr, info.length, &key);
	if (err)
		goto err_unreserve;
	err = kh_lock(client, *addr, length, KH_LOCK_OVERWRITE, 0, 0, &key, &lock);
	if (err)
		goto err_unreserve;
	err = kh_write(lock, *addr, object, length);
	unlock_err = kh_unlock(lock);
	if (!err)
		err = unlock_err;
	if (!err)
		return 0;

err_unreserve:
	kh_unreserve(client, *addr, &key);
	return err;
}

static int get_from_global(struct kh_client *client, struct khazana_addr addr, void *object,
			   size_t length)
{
	struct kh_lock *lock;
	int unlock_err;
	int err;

	err = kh_lock(client, addr, length, KH_LOCK_READ, 0, 0, &key, &lock);
	if (err)
		return err;
	err = kh_read(lock, addr, object, length);
	unlock_err = kh_unlock(lock);
	return err ? err : unlock_err;
}

int main(int argc, char **argv)
{
	const char *text = argc > 1 ? argv[1] : "hello, world";
	char name[KH_ADDR_TEXT], back[4096];
	size_t length = strlen(text) + 1;
	struct khazana_addr addr;
	struct kh_client *client;
	int err;

	if (length > sizeof(back)) {
		fprintf(stderr, "put_in_global: at most %zu bytes\n", sizeof(back) - 1);
		return 2;
	}
	err = kh_client_open(NULL, NULL, &client);
	if (err)
		goto err_out;
	err = put_in_global(client, text, length, &addr);
	if (err)
		goto err_close;
	kh_addr_format(addr, name);
	printf("stored at %s\n", name);
	err = get_from_global(client, addr, back, length);
	if (err)
		goto err_close;
	printf("read back: %s\n", back);
	kh_client_close(client);
	return strcmp(back, text) ? 1 : 0;

err_close:
	kh_client_close(client);
err_out:
	fprintf(stderr, "put_in_global: %s\n", kh_strerror(err));
	return 1;
}
