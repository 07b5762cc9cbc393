// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kzd.c - the test daemon as a program: grants everything on one node
 *
 *   kzd [-u] [-c] [-s] [-d DELAY_US] [-r STORM_US] [-q] [-f ERRNO] [-k] REGION...
 *   kzd -t REGION     as a user: attach, map, store to every page, load again
 *   kzd -x            as a daemon: remove every region and go
 *
 * REGION is HI:LO,LENGTH[,SHIFT[,KEY]]: hexadecimal address, bytes, log2 of the unit,
 * 32 hexadecimal digits.  -u: requests by io_uring; -c: commands, too; -s: revoked data moves
 * to the daemon; -d: delay of each answer; -r: revoke random units of the first region
 * that often; -q: never answer faults; -f: fail faults; -k: refuse every key.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kzt_user.h"

static void usage(void)
{
	fprintf(stderr, "usage: kzd [-ucsqk] [-d US] [-r US] [-f ERRNO] "
			"HI:LO,LENGTH[,SHIFT[,KEY]]...\n");
	exit(2);
}

static void parse(const char *text, struct kzd_region *r)
{
	unsigned long long hi, lo, length;
	char key[2 * KHAZANA_KEY_SIZE + 1] = "";
	unsigned int i;

	*r = (struct kzd_region){ .shift = 12 };
	if (sscanf(text, "%llx:%llx,%lli,%u,%32[0-9a-fA-F]", &hi, &lo, &length, &r->shift, key) < 3)
		usage();
	r->addr = (struct khazana_addr){ .hi = hi, .lo = lo };
	r->length = length;
	for (i = 0; i < strlen(key) / 2; i++)
		sscanf(key + 2 * i, "%2hhx", &r->key[i]);
}

static int add(struct kzd *d, const char *text)
{
	struct kzd_region r;
	unsigned int i;
	int region;

	parse(text, &r);
	region = kzd_region(d, r.addr, r.length, r.shift, NULL);
	if (region < 0) {
		fprintf(stderr, "kzd: region %s: %s\n", text, strerror(-region));
		exit(1);
	}
	for (i = 0; i < KZD_REGIONS && d->sh->region[i].generation; i++)
		;
	memcpy(d->sh->region[i - 1].key, r.key, sizeof(r.key));
	return region;
}

static int touch(const char *text)
{
	struct kzd_region r;
	struct khazana_attach a = {};
	volatile uint64_t *map;
	uint64_t i;
	int fd = open(KZD_DEVICE, O_RDWR), err;

	parse(text, &r);
	a.start = r.addr;
	memcpy(a.key, r.key, sizeof(a.key));
	err = fd < 0 ? -errno : kzt_attach_with(fd, &a);
	map = err ? NULL : kzt_map(fd, r.length, PROT_READ | PROT_WRITE);
	if (!map) {
		fprintf(stderr, "kzd: %s: %s\n", text, strerror(err ? -err : errno));
		return 1;
	}
	for (i = 0; i < r.length / KZT_PAGE; i++)
		map[i * 512] = i + 1;
	for (i = 0; i < r.length / KZT_PAGE; i++)
		if (map[i * 512] != i + 1)
			return 1;
	return 0;
}

struct options {
	unsigned int flags, delay, storm, fail, refuse, hold;
};

static int serve(const struct options *o, char **regions, int count)
{
	int i, region, sig;
	sigset_t end;
	struct kzd *d;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigprocmask(SIG_BLOCK, &end, NULL);
	d = kzd_start(o->flags, 64, o->flags & KZD_STORE ? 1UL << 32 : 0);
	if (!d) {
		fprintf(stderr, "kzd: %s: %s\n", KZD_DEVICE, strerror(errno));
		return 1;
	}
	d->sh->delay_us = o->delay;
	d->sh->fault_errno = o->fail;
	d->sh->attach_errno = o->refuse;
	kzd_hold(d, o->hold);
	for (i = 0; i < count; i++) {
		region = add(d, regions[i]);
		if (i)
			continue;
		d->sh->storm_region = region;
		d->sh->storm_right = KHAZANA_RIGHT_WRITE;
		d->sh->storm_units = d->sh->region[0].length >> d->sh->region[0].shift;
		d->sh->storm_us = o->storm;
	}
	printf("kzd: ready\n");
	fflush(stdout);
	sigwait(&end, &sig);
	kzd_stop(d);
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {};
	struct kzd *d;
	int opt;

	while ((opt = getopt(argc, argv, "ucsd:r:qf:kt:x")) != -1) {
		switch (opt) {
		case 'u':
			o.flags |= KZD_URING;
			break;
		case 'c':
			o.flags |= KZD_URING | KZD_URING_CMD;
			break;
		case 's':
			o.flags |= KZD_STORE;
			break;
		case 'd':
			o.delay = atoi(optarg);
			break;
		case 'r':
			o.storm = atoi(optarg);
			break;
		case 'q':
			o.hold = KZD_BIT(KHAZANA_REQ_FAULT);
			break;
		case 'f':
			o.fail = atoi(optarg);
			break;
		case 'k':
			o.refuse = EKEYREJECTED;
			break;
		case 't':
			return touch(optarg);
		case 'x':
			d = kzd_start(0, 1, 0);
			if (d)
				kzd_stop(d);
			return d ? 0 : 1;
		default:
			usage();
		}
	}
	if (optind == argc)
		usage();
	return serve(&o, argv + optind, argc - optind);
}
