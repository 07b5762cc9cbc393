// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tsc_khz.c - print the rate of this machine's time stamp counter, in kHz
 *
 * A TCG guest's counter is the host's.  Its kernel would measure the rate against an emulated
 * timer, and on a busy host gets it wrong by any factor; then its clocks run at a wrong speed,
 * and leases mean nothing.  So the guests are told.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 20
#define INTERVAL_NS 200000000

struct reading {
	uint64_t ns;
	uint64_t tsc;
	uint64_t slack; /* between the two clocks, in counts */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* The two clocks at nearly the same moment: the best of some tries. */
static struct reading read_both(void)
{
	struct reading best = { .slack = UINT64_MAX };
	int i;

	for (i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc();
		uint64_t ns = now_ns();
		uint64_t after = __rdtsc();

		if (after - before < best.slack)
			best = (struct reading){ ns, before + (after - before) / 2,
						 after - before };
	}
	return best;
}

int main(void)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_NS };
	struct reading start = read_both(), end;

	nanosleep(&interval, NULL);
	end = read_both();
	printf("%.0f\n", (double)(end.tsc - start.tsc) * 1e6 / (double)(end.ns - start.ns));
	return 0;
}
