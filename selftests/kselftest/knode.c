// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * knode.c - what programs on several nodes share
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <khazana.h>

#include "knode.h"

#define STALE_US 100000 /* then the copy may be stale */

uint64_t knode_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, kh_strerror(err));
	exit(1);
}

void *knode_map(const char *addr, const char *keyfile)
{
	struct khazana_addr start;
	struct kh_client *client;
	struct kh_key key;
	void *mem;
	int fd, err;

	fd = open(keyfile, O_RDONLY);
	if (fd < 0 || read(fd, &key, sizeof(key)) != sizeof(key))
		die(keyfile, -EINVAL);
	close(fd);
	err = kh_addr_parse(addr, &start);
	if (err)
		die(addr, err);
	err = kh_client_open(NULL, NULL, &client);
	if (err)
		die("khazana", err);
	err = kh_map(client, start, 0, PROT_READ | PROT_WRITE, &key, &mem);
	if (err)
		die(addr, err);
	return mem;
}

void knode_meet(volatile uint64_t *counter, unsigned int all, uint64_t round)
{
	uint64_t since = knode_now_us();

	__atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
	while (*counter < round * all) {
		if (knode_now_us() - since > STALE_US) {
			__atomic_fetch_add(counter, 0, __ATOMIC_SEQ_CST);
			since = knode_now_us();
		}
		sched_yield();
	}
}
