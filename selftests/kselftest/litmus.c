// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * litmus.c - memory-model tests between nodes
 *
 *   litmus run ADDR KEYFILE ROLE ROUNDS DIR [planted]
 *                                             role 0..3 of every test; its registers go to DIR
 *   litmus check DIR                          TAP: allowed outcomes all seen, forbidden ones never
 *   litmus check -s DIR                       few rounds: some allowed outcomes, forbidden ones
 * never litmus check -p PLANT DIR                 a bug is planted: the tests that it concerns must
 *                                             each show a forbidden outcome
 *
 * The four roles meet before every round, wait a little, each on its own, and make two
 * accesses.  They meet by files in DIR, not by the memory that is tested: with a planted bug
 * it is not fit for that.  Values rise by round, so that nothing is reset: a register is what
 * was loaded, less what earlier rounds stored.
 *
 * A copy that was not invalidated stays as it is, so that soon all of them are old, which no test
 * tells from slow stores.  So with a planted bug every round has pages of its own, and begins with
 * what makes one copy of them old: roles store to a page, then others load from it.
 *
 * Two forbidden outcomes no old copy can make.  Load buffering would have to see a store before it
 * is made; x86 CPUs do not, and a page comes after its stores.  To go back from a new value to an
 * older one a node would have to lose its copy within the round and be given an older one.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "knode.h"

#define ROLES 4
#define TEST_US 25000000 /* a test ends then, on a slow machine */
#define RECORD 3 /* test, two registers */

enum op {
	NOP,
	LOAD_X,
	LOAD_Y,
	STORE_X, /* 1 */
	STORE_Y,
	STORE_X2, /* 2 */
};

struct test {
	const char *name;
	enum op op[ROLES][2];
	unsigned int times; /* so many times ROUNDS: for many outcomes */
	const char *regs; /* which role and access makes each digit of an outcome */
	const char *allowed; /* outcomes, separated by blanks */
	const char *forbidden;
	const char *plants; /* bugs that must show here, as a list with blanks around */
	enum op prime[ROLES][2]; /* before a round with a planted bug: stores, then loads */
	unsigned int late_ms[ROLES]; /* and then: the order in which it shows */
};

enum mode {
	ALL,
	SOME,
	PLANTED
};

static const struct test tests[] = {
	{
		.name = "store buffering",
		.op = { { STORE_X, LOAD_Y }, { STORE_Y, LOAD_X } },
		.times = 1,
		.regs = "01 11",
		.allowed = "01 10 11",
		.forbidden = "00",
		.plants = " skip-inv ",
		.prime = { { STORE_X, LOAD_Y }, { STORE_Y, LOAD_X } },
	},
	{
		.name = "message passing",
		.op = { { STORE_X, STORE_Y }, { NOP, NOP }, { LOAD_Y, LOAD_X } },
		.times = 1,
		.regs = "20 21",
		.allowed = "00 01 11",
		.forbidden = "10",
		.plants = " skip-inv ",
		.prime = { { STORE_X, NOP }, { NOP, NOP }, { NOP, LOAD_X } },
		.late_ms = { 0, 0, 40 },
	},
	{
		.name = "load buffering",
		.op = { { NOP, NOP }, { LOAD_X, STORE_Y }, { LOAD_Y, STORE_X } },
		.times = 1,
		.regs = "10 20",
		.allowed = "00 01 10",
		.forbidden = "11",
	},
	{
		.name = "independent reads of independent writes",
		.op = { { STORE_X, NOP }, { STORE_Y, NOP }, { LOAD_X, LOAD_Y }, { LOAD_Y, LOAD_X } },
		.times = 4,
		.regs = "20 21 30 31",
		.allowed = "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 1100 1101 1110 "
			   "1111",
		.forbidden = "1010",
		.plants = " skip-inv ",
		.prime = { { NOP, NOP }, { STORE_Y, NOP }, { NOP, LOAD_Y } },
		.late_ms = { 60, 0, 100, 20 },
	},
	{
		.name = "coherence of one word",
		.op = { { STORE_X, STORE_X2 }, { NOP, NOP }, { LOAD_X, LOAD_X } },
		.times = 1,
		.regs = "20 21",
		.allowed = "00 01 02 11 12 22",
		.forbidden = "10 20 21",
	},
};

#define TESTS (sizeof(tests) / sizeof(tests[0]))

/* Every test has pages of its own: what a planted bug did to one does not hide the next. */
struct words {
	volatile uint64_t x;
	char pad1[KNODE_PAGE - 8];
	volatile uint64_t y;
	char pad2[KNODE_PAGE - 8];
};

static void wait_us(uint64_t us)
{
	uint64_t end = knode_now_us() + us;

	while (knode_now_us() < end)
		;
}

/* None, some or several times as long as an access takes: then every order of accesses occurs. */
static void wait_a_little(uint64_t access_us)
{
	static const unsigned int shifts[] = { 0, 1, 3 };
	unsigned int shift = shifts[random() % 3];

	wait_us(shift ? random() % (access_us << (shift - 1)) : 0);
}

static uint8_t access_word(struct words *w, enum op op, uint64_t base)
{
	uint64_t value = 0;

	switch (op) {
	case NOP:
		return 0;
	case LOAD_X:
		value = w->x;
		break;
	case LOAD_Y:
		value = w->y;
		break;
	case STORE_X:
		w->x = base + 1;
		return 0;
	case STORE_Y:
		w->y = base + 1;
		return 0;
	case STORE_X2:
		w->x = base + 2;
		return 0;
	}
	return value > base ? value - base : 0;
}

static int role_file(const char *dir, const char *what, unsigned int role, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s%u", dir, what, role);
	fd = open(path, flags, 0666);
	if (fd < 0)
		perror(path);
	return fd;
}

/*
 * Tell the round and the test in our file, wait until the others are there; false after a
 * minute.  O_DIRECT: 9p of 6.12 keeps what was written, and reads what it had.  Role 0 says
 * which test it is; it may be a round ahead when we look, so it also says which one it was before.
 */
static bool meet(const int *fds, unsigned int role, uint64_t round, uint32_t before, uint32_t *test)
{
	uint64_t end = knode_now_us() + 60000000, other;
	uint64_t word = round << 16 | before << 8 | *test;
	unsigned int i;

	if (pwrite(fds[role], &word, 8, 0) != 8)
		return false;
	for (i = 0; i < ROLES; i++) {
		do {
			if (knode_now_us() > end)
				return false;
			other = 0;
			if (pread(fds[i], &other, 8, 0) < 0)
				return false;
		} while (other >> 16 < round);
		if (i == 0)
			*test = (other >> 16 == round ? other : other >> 8) & 0xff;
	}
	return true;
}

static sigjmp_buf env;

static void on_bus(int sig)
{
	siglongjmp(env, sig);
}

static int alone(unsigned int role, uint64_t meeting)
{
	fprintf(stderr, "role %u: alone in meeting %llu\n", role, (unsigned long long)meeting);
	return 1;
}

static int run(const char *addr, const char *keyfile, unsigned int role, unsigned int rounds,
	       const char *dir, bool planted)
{
	struct words *words = knode_map(addr, keyfile);
	int out = role_file(dir, "out", role, O_WRONLY | O_CREAT | O_APPEND);
	volatile uint64_t meetings = 0;
	uint64_t start = 0, since, access_us = 2000;
	unsigned int i, in_test = 0, rounds_done = 0;
	struct words *w;
	uint32_t t = 0, before;
	int fds[ROLES];
	uint8_t record[RECORD];

	if (out < 0)
		return 1;
	for (i = 0; i < ROLES; i++) {
		fds[i] = role_file(dir, "meet", i, O_RDWR | O_DIRECT);
		if (fds[i] < 0)
			return 1;
	}
	signal(SIGBUS, on_bus);
	if (sigsetjmp(env, 1)) {
		fprintf(stderr, "role %u: SIGBUS after meeting %llu\n", role,
			(unsigned long long)meetings);
		return 1;
	}
	srandom(role + 1);
	for (;;) {
		before = t;
		if (!in_test++)
			start = knode_now_us();
		if (role == 0 && (in_test > rounds * tests[t].times ||
				  knode_now_us() - start > TEST_US * tests[t].times)) {
			t++;
			in_test = 0;
		}
		if (!meet(fds, role, ++meetings, before, &t))
			return alone(role, meetings);
		if (t >= TESTS)
			return 0;
		w = &words[t];
		if (planted) {
			w = &words[TESTS + rounds_done++];
			for (i = 0; i < 2; i++) {
				/* a value of before the round counts as none */
				access_word(w, tests[t].prime[role][i], 4 * meetings);
				if (!meet(fds, role, ++meetings, t, &t))
					return alone(role, meetings);
			}
			wait_us(tests[t].late_ms[role] * 1000);
		}
		record[0] = t;
		wait_a_little(access_us);
		since = knode_now_us();
		record[1] = access_word(w, tests[t].op[role][0], 4 * meetings);
		access_us = (7 * access_us + knode_now_us() - since) / 8 + 100;
		wait_a_little(access_us);
		record[2] = access_word(w, tests[t].op[role][1], 4 * meetings);
		if (write(out, record, RECORD) != RECORD)
			return 1;
	}
}

static unsigned int count_of(const unsigned int *counts, const char *outcome)
{
	return counts[strtoul(outcome, NULL, 3)];
}

/* How many of a list of outcomes were seen; the others are named. */
static unsigned int seen(const char *list, const unsigned int *counts, bool wanted,
			 unsigned int *listed)
{
	char copy[256], *word, *rest = copy;
	unsigned int n = 0;

	*listed = 0;
	snprintf(copy, sizeof(copy), "%s", list);
	while ((word = strsep(&rest, " "))) {
		unsigned int count = count_of(counts, word);

		++*listed;
		n += count > 0;
		printf("#   %s %s: %u%s\n", wanted ? "allowed" : "forbidden", word, count,
		       wanted == !count ? "  <---" : "");
	}
	return n;
}

static uint8_t data[ROLES][1 << 20];

/* Read what the roles have written; how much there is of all of them, 0 if they differ and must
 * not. */
static size_t read_roles(const char *dir, bool planted)
{
	size_t size, all = sizeof(data[0]);
	unsigned int role;

	for (role = 0; role < ROLES; role++) {
		int fd = role_file(dir, "out", role, O_RDONLY);
		ssize_t got = read(fd, data[role], sizeof(data[role]));

		size = got < 0 ? 0 : got;
		if (!planted && role && size != all) {
			printf("# role %u has written %zu bytes\n", role, size);
			return 0;
		}
		all = size < all ? size : all;
	}
	return all;
}

/* Count the outcomes of a test; returns how many rounds it had. */
static unsigned int count_outcomes(unsigned int t, size_t all, unsigned int *counts)
{
	unsigned int rounds = 0;
	const char *r;
	size_t i;

	for (i = 0; i + RECORD <= all; i += RECORD) {
		unsigned int outcome = 0;

		if (data[0][i] != t)
			continue;
		rounds++;
		for (r = tests[t].regs; *r; r += r[2] ? 3 : 2)
			outcome = outcome * 3 + data[r[0] - '0'][i + 1 + r[1] - '0'];
		counts[outcome % 81]++;
	}
	return rounds;
}

static unsigned int results, failures;

static void result(bool ok, const char *name, const char *what, unsigned int n, unsigned int of)
{
	printf("%sok %u - %s: %u of %u %s\n", ok ? "" : "not ", ++results, name, n, of, what);
	failures += !ok;
}

static bool concerns(const struct test *test, const char *plant)
{
	char word[64];

	snprintf(word, sizeof(word), " %s ", plant);
	return test->plants && strstr(test->plants, word);
}

static void check_test(unsigned int t, size_t all, enum mode mode, const char *plant)
{
	const struct test *test = &tests[t];
	unsigned int counts[81] = { 0 }, allowed, forbidden, good, bad;

	printf("# %s, %u rounds\n", test->name, count_outcomes(t, all, counts));
	good = seen(test->allowed, counts, true, &allowed);
	bad = seen(test->forbidden, counts, false, &forbidden);
	if (mode == PLANTED) {
		if (concerns(test, plant))
			result(bad > 0, test->name, "forbidden outcomes seen, planted", bad,
			       forbidden);
		return;
	}
	/* Several outcomes: the roles have met, and raced. */
	result(mode == ALL ? good == allowed : good >= 2, test->name, "allowed outcomes seen", good,
	       allowed);
	result(!bad, test->name, "forbidden outcomes seen", bad, forbidden);
}

static int check(const char *dir, enum mode mode, const char *plant)
{
	size_t all = read_roles(dir, mode == PLANTED);
	unsigned int t;

	for (t = 0; t < TESTS; t++)
		check_test(t, all, mode, plant);
	printf("1..%u\n", results);
	return failures || !results;
}

int main(int argc, char **argv)
{
	if ((argc == 7 || (argc == 8 && !strcmp(argv[7], "planted"))) && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), argv[6], argc == 8);
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(argv[2], ALL, NULL);
	if (argc == 4 && !strcmp(argv[1], "check") && !strcmp(argv[2], "-s"))
		return check(argv[3], SOME, NULL);
	if (argc == 5 && !strcmp(argv[1], "check") && !strcmp(argv[2], "-p"))
		return check(argv[4], PLANTED, argv[3]);
	fprintf(stderr, "usage: litmus run ADDR KEYFILE ROLE ROUNDS DIR [planted]\n"
			"       litmus check [-s | -p PLANT] DIR\n");
	return 2;
}
