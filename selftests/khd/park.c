// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * park.c - park units in a store that no khd uses:  park DIR COUNT SHIFT
 *
 * Unit i has the address 5:i << SHIFT, version 100 + i, token 200 + i, and is full of the byte i.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/log.h"
#include "khd/loop.h"
#include "khd/store/disk_dir.h"
#include "khd/store/store.h"

struct wait {
	struct khd_store_op op;
	bool ended;
	int error;
};

static void on_done(struct khd_store_op *op, int error)
{
	struct wait *wait = (struct wait *)op;

	wait->ended = true;
	wait->error = error;
}

/* Return: how the operation ended, or ETIMEDOUT. */
static int end_of(struct khd_loop *loop, struct wait *wait)
{
	uint64_t end = khd_now() + 10000000000ull;

	while (!wait->ended && khd_now() < end)
		khd_loop_wait(loop, 100000000);
	return wait->ended ? wait->error : 110;
}

static void event(void *arg, const char *name, const char *text)
{
	fprintf(stderr, "park: %s: %s\n", name, text);
}

int main(int argc, char **argv)
{
	const struct khd_store_config config = { 0 };
	struct khd_loop *loop = khd_loop_poll(64);
	unsigned int count, shift;
	struct khd_store *store;
	struct khd_disk *disk;
	int error;

	if (argc != 4)
		return 2;
	count = atoi(argv[2]);
	shift = atoi(argv[3]);
	disk = khd_disk_dir_open(loop, argv[1], &error);
	store = disk ? khd_store_open(disk, &config, event, NULL, &error, NULL) : NULL;
	for (unsigned int i = 0; store && !error && i < count; i++) {
		struct wait wait = {
			.op = { .done = on_done,
				.key = { { 5, (uint64_t)i << shift }, 1, shift },
				.meta = { 100 + i, 200 + i },
				.flags = KHD_STORE_SYNC,
				.iov = { aligned_alloc(4096, 2 << 20), (size_t)1 << shift } },
		};
		const struct khd_tag tag = { { [0] = 5, [16] = 9 } };

		memset(wait.op.iov.iov_base, i, wait.op.iov.iov_len);
		khd_store_park(store, &wait.op, &tag);
		error = end_of(loop, &wait);
		free(wait.op.iov.iov_base);
	}
	if (store) {
		struct wait stop = { .op.done = on_done };

		khd_store_stop(store, &stop.op);
		if (!error)
			error = end_of(loop, &stop);
		khd_store_close(store);
	}
	khd_loop_destroy(loop);
	khd_disk_dir_close(disk);
	if (error || !store)
		fprintf(stderr, "park: %s: %s\n", argv[1], strerror(error));
	return error || !store;
}
