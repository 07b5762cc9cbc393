// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kzd.c - the test daemon as a program: grants everything on one node
 *
 *   kzd [-u] [-c] [-s] [-d DELAY_US] [-r STORM_US] [-q] [-f ERRNO] [-k] REGION...
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

#include "kzd.h"

static void usage(void)
{
	fprintf(stderr, "usage: kzd [-ucsqk] [-d US] [-r US] [-f ERRNO] "
			"HI:LO,LENGTH[,SHIFT[,KEY]]...\n");
	exit(2);
}

static int add(struct kzd *d, const char *text)
{
	unsigned long long hi, lo, length;
	char key[2 * KHAZANA_KEY_SIZE + 1] = "";
	unsigned int shift = 12, i, byte;
	int region;

	if (sscanf(text, "%llx:%llx,%lli,%u,%32[0-9a-fA-F]", &hi, &lo, &length, &shift, key) < 3)
		usage();
	region = kzd_region(d, (struct khazana_addr){ .hi = hi, .lo = lo }, length, shift, NULL);
	if (region < 0) {
		fprintf(stderr, "kzd: region %s: %s\n", text, strerror(-region));
		exit(1);
	}
	for (i = 0; i < KZD_REGIONS && d->sh->region[i].generation; i++)
		;
	for (byte = 0; byte < strlen(key) / 2; byte++)
		sscanf(key + 2 * byte, "%2hhx", &d->sh->region[i - 1].key[byte]);
	return region;
}

int main(int argc, char **argv)
{
	unsigned int flags = 0, delay = 0, storm = 0, fail = 0, refuse = 0, hold = 0;
	int opt, i, region;
	sigset_t end;
	struct kzd *d;

	while ((opt = getopt(argc, argv, "ucsd:r:qf:k")) != -1) {
		switch (opt) {
		case 'u':
			flags |= KZD_URING;
			break;
		case 'c':
			flags |= KZD_URING | KZD_URING_CMD;
			break;
		case 's':
			flags |= KZD_STORE;
			break;
		case 'd':
			delay = atoi(optarg);
			break;
		case 'r':
			storm = atoi(optarg);
			break;
		case 'q':
			hold = KZD_BIT(KHAZANA_REQ_FAULT);
			break;
		case 'f':
			fail = atoi(optarg);
			break;
		case 'k':
			refuse = EKEYREJECTED;
			break;
		default:
			usage();
		}
	}
	if (optind == argc)
		usage();
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigprocmask(SIG_BLOCK, &end, NULL);
	d = kzd_start(flags, 64, flags & KZD_STORE ? 1UL << 32 : 0);
	if (!d) {
		fprintf(stderr, "kzd: %s: %s\n", KZD_DEVICE, strerror(errno));
		return 1;
	}
	d->sh->delay_us = delay;
	d->sh->fault_errno = fail;
	d->sh->attach_errno = refuse;
	kzd_hold(d, hold);
	for (i = optind; i < argc; i++) {
		region = add(d, argv[i]);
		if (i > optind)
			continue;
		d->sh->storm_region = region;
		d->sh->storm_right = KHAZANA_RIGHT_WRITE;
		d->sh->storm_units = d->sh->region[0].length >> d->sh->region[0].shift;
		d->sh->storm_us = storm;
	}
	printf("kzd: ready\n");
	fflush(stdout);
	sigwait(&end, &opt);
	kzd_stop(d);
	return 0;
}
