// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A region that is larger than the frames of its nodes.
 *
 *   spill fill ADDR KEYFILE VERSION          stores that version in every page, one after the other
 *   spill check ADDR KEYFILE VERSION ROUNDS SEED  loads every page so many times, each time in an
 * order of its own, and looks whether all of it is of that version
 *
 * Prints pages per second.  Exit status: 0; 1 something failed or is not what was stored; 2 usage.
 */
#include "selftests/durable/stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <khazana.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WRONG_SHOWN 10

struct spill {
	volatile uint64_t *words;
	uint64_t pages;
	uint32_t version;
};

static volatile uint64_t at; /* page */

static _Noreturn void die(const char *what, int err)
{
	fprintf(stderr, "spill: %s: %s\n", what, kh_strerror(err));
	exit(1);
}

/* Of an access of the program's own, in which nothing is half done. */
static void on_bus_error(int sig)
{
	fprintf(stderr, "spill: SIGBUS at page %llu\n", (unsigned long long)at);
	_exit(1);
}

static double now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void set_up(struct spill *s, char **argv, int prot)
{
	struct kh_client *client;
	struct kh_region_info info;
	struct khazana_addr addr;
	struct kh_key key;
	void *mem;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC), err;

	if (fd < 0 || read(fd, key.bytes, sizeof(key.bytes)) != sizeof(key.bytes))
		die(argv[1], fd < 0 ? -errno : -EINVAL);
	close(fd);
	if (kh_addr_parse(argv[0], &addr))
		die(argv[0], -EINVAL);
	err = kh_client_open(NULL, NULL, &client);
	if (!err)
		err = kh_getattr(client, addr, &info);
	if (!err)
		err = kh_map(client, info.start, 0, prot, &key, &mem);
	if (err)
		die(argv[0], err);
	s->words = mem;
	s->pages = info.length / STAMP_PAGE;
	s->version = (uint32_t)strtoul(argv[2], NULL, 0);
}

static volatile uint64_t *page_words(const struct spill *s, uint64_t page)
{
	return s->words + page * STAMP_WORDS;
}

static void say(const char *what, uint64_t pages, double seconds)
{
	printf("%s %llu pages in %.3f s, %.0f a second\n", what, (unsigned long long)pages, seconds,
	       pages / seconds);
}

static int fill(const struct spill *s)
{
	double start = now_seconds();

	for (at = 0; at < s->pages; at++)
		stamp_write(page_words(s, at), at, s->version);
	say("stored", s->pages, now_seconds() - start);
	return 0;
}

static void shuffle(uint64_t *order, uint64_t count, uint64_t *random)
{
	for (uint64_t i = 0; i < count; i++)
		order[i] = i;
	for (uint64_t i = count; i > 1; i--) {
		uint64_t other = next_random(random) % i, was = order[i - 1];

		order[i - 1] = order[other];
		order[other] = was;
	}
}

/* One word more than a version is wrong: what was stored is neither older nor newer. */
static uint64_t check_round(const struct spill *s, const uint64_t *order)
{
	uint32_t oldest, newest;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < s->pages; i++) {
		enum stamp_verdict verdict;

		at = order[i];
		verdict = stamp_judge(page_words(s, order[i]), order[i], s->version, &oldest,
				      &newest);
		if (verdict == STAMP_GOOD && oldest == s->version && newest == s->version)
			continue;
		if (wrong++ < WRONG_SHOWN)
			fprintf(stderr, "spill: page %llu: versions %u to %u%s, not %u\n",
				(unsigned long long)order[i], oldest, newest,
				verdict == STAMP_TORN ? ", torn" : "", s->version);
	}
	return wrong;
}

static int check(const struct spill *s, unsigned int rounds, uint64_t seed)
{
	uint64_t *order = calloc(s->pages, sizeof(*order)), random = seed;
	double start = now_seconds();
	uint64_t wrong = 0;

	if (!order)
		die("memory", -ENOMEM);
	for (unsigned int i = 0; i < rounds; i++) {
		shuffle(order, s->pages, &random);
		wrong += check_round(s, order);
	}
	free(order);
	say("loaded", s->pages * rounds, now_seconds() - start);
	if (wrong)
		fprintf(stderr, "spill: %llu pages are wrong\n", (unsigned long long)wrong);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	struct spill s = { 0 };

	signal(SIGBUS, on_bus_error);
	if (argc == 5 && !strcmp(argv[1], "fill")) {
		set_up(&s, argv + 2, PROT_READ | PROT_WRITE);
		return fill(&s);
	}
	if (argc == 7 && !strcmp(argv[1], "check")) {
		set_up(&s, argv + 2, PROT_READ);
		return check(&s, (unsigned int)strtoul(argv[5], NULL, 0),
			     strtoull(argv[6], NULL, 0));
	}
	fputs("usage: spill fill ADDR KEYFILE VERSION\n"
	      "       spill check ADDR KEYFILE VERSION ROUNDS SEED\n",
	      stderr);
	return 2;
}
