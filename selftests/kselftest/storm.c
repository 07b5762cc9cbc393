// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * storm.c - contended words on several nodes for a while
 *
 *   storm run ADDR KEYFILE NODES SECONDS   increment and store; prints "increments N
 *                                          turns N longest_us N"
 *   storm sum ADDR KEYFILE                 print the sum of the words
 *
 * A turn begins when another node has incremented since our last round.  Each round increments a
 * word in each of two neighbouring pages and stores across their border, which needs both at once:
 * without a minimum residency that livelocks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "knode.h"

struct storm {
	volatile uint64_t meeting;
	char pad[KNODE_PAGE - 8];
	volatile uint64_t first[KNODE_PAGE / 8];
	volatile uint64_t second[KNODE_PAGE / 8];
};

static int run(struct storm *s, unsigned int nodes, unsigned int seconds)
{
	volatile uint64_t *across = (void *)((char *)s->second - 4);
	uint64_t end, start, took, old, longest = 0, n = 0, turns = 0, last = ~0ULL;

	knode_meet(&s->meeting, nodes, 1);
	end = knode_now_us() + seconds * 1000000ULL;
	while ((start = knode_now_us()) < end) {
		old = __atomic_fetch_add(&s->first[0], 1, __ATOMIC_SEQ_CST);
		turns += old != last + 1;
		last = old;
		__atomic_fetch_add(&s->second[1], 1, __ATOMIC_SEQ_CST);
		*across = n;
		n += 2;
		took = knode_now_us() - start;
		if (took > longest)
			longest = took;
	}
	printf("increments %llu turns %llu longest_us %llu\n", (unsigned long long)n,
	       (unsigned long long)turns, (unsigned long long)longest);
	return 0;
}

int main(int argc, char **argv)
{
	struct storm *s;

	if (argc < 4 || (strcmp(argv[1], "sum") && argc < 6)) {
		fprintf(stderr, "usage: storm run ADDR KEYFILE NODES SECONDS\n"
				"       storm sum ADDR KEYFILE\n");
		return 2;
	}
	s = knode_map(argv[2], argv[3]);
	if (!strcmp(argv[1], "run"))
		return run(s, atoi(argv[4]), atoi(argv[5]));
	printf("%llu\n", (unsigned long long)(s->first[0] + s->second[1]));
	return 0;
}
