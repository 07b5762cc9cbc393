// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hold.c - a process that holds a mapping, for lease_nodes: commands on stdin, answers on stdout
 *
 *   hold ADDR KEYFILE
 *
 * "store UNIT VALUE" and "load UNIT" access the first word of a page, "pread UNIT" reads it by a
 * call, "again" maps anew.  Answers: "ok VALUE us TIME", "SIGBUS us TIME", "errno NAME us TIME".
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <khazana.h>

#include "knode.h"

static sigjmp_buf env;

static void on_bus(int sig)
{
	siglongjmp(env, 1);
}

/* The library keeps its file to itself; one of our own is poisoned with it or not. */
static int attach(const char *addr, const char *keyfile)
{
	struct khazana_attach a = { .size = sizeof(a) };
	int fd = open("/dev/khazana", O_RDWR), key = open(keyfile, O_RDONLY);

	if (fd < 0 || key < 0 || kh_addr_parse(addr, &a.start) ||
	    read(key, a.key, sizeof(a.key)) != sizeof(a.key) || ioctl(fd, KHAZANA_IOC_ATTACH, &a)) {
		perror("hold");
		exit(1);
	}
	close(key);
	return fd;
}

int main(int argc, char **argv)
{
	volatile char *volatile map;
	char line[128], word[16];
	unsigned long long unit, value, start;
	volatile int fd;
	ssize_t n;

	if (argc != 3) {
		fprintf(stderr, "usage: hold ADDR KEYFILE\n");
		return 2;
	}
	map = knode_map(argv[1], argv[2]);
	fd = attach(argv[1], argv[2]);
	signal(SIGBUS, on_bus);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		unit = value = 0;
		if (sscanf(line, "%15s %llu %llu", word, &unit, &value) < 1)
			continue;
		start = knode_now_us();
		if (sigsetjmp(env, 1)) {
			printf("SIGBUS us %llu\n", (unsigned long long)knode_now_us() - start);
			continue;
		}
		n = 0;
		if (!strcmp(word, "store")) {
			*(volatile uint64_t *)(map + unit * KNODE_PAGE) = value;
		} else if (!strcmp(word, "load")) {
			value = *(volatile uint64_t *)(map + unit * KNODE_PAGE);
		} else if (!strcmp(word, "pread")) {
			n = pread(fd, &value, 8, unit * KNODE_PAGE);
		} else if (!strcmp(word, "again")) {
			close(fd);
			map = knode_map(argv[1], argv[2]);
			fd = attach(argv[1], argv[2]);
		}
		if (n < 0)
			printf("errno %s", strerrorname_np(errno));
		else
			printf("ok %llu", value);
		printf(" us %llu\n", (unsigned long long)knode_now_us() - start);
	}
	return 0;
}
