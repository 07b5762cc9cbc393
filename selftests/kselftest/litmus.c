// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * litmus.c - memory-model tests between nodes
 *
 *   litmus run ADDR KEYFILE ROLE ROUNDS DIR [all | planted]
 *                                             role 0..3 of every test; its registers go to DIR;
 *                                             all: a test goes on while an allowed outcome is
 *                                             missing, but not for ever
 *   litmus check DIR                          TAP: allowed outcomes all seen, forbidden ones never
 *   litmus check -s DIR                       few rounds: some allowed outcomes, forbidden ones
 * never litmus check -p PLANT DIR                 a bug is planted: the tests that it concerns must
 *                                             each show a forbidden outcome
 *
 * The four roles meet before every round, wait a little, each on its own, and make two
 * accesses.  They meet by files in DIR, not by the memory that is tested: with a planted bug
 * it is not fit for that.  Values rise by round, so that nothing is reset: a register is what
 * was loaded, less what earlier rounds stored.  Each tells the registers of its last round, too,
 * so that role 0, which ends the tests, knows the outcomes.
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
#define ACCESS_US 2000 /* what an access takes that is a miss, about: who has none waits as long */
#define PATIENCE 4 /* so many times as long while an outcome is missing */
#define RECORD 3 /* test, two registers */
#define OUTCOMES 81 /* four registers of 0 to 2 */

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

/**
 * struct meeting - what a role tells in its file
 * @round: it is at
 * @test: it will make; role 0 says which
 * @before: the test before that: role 0 may be a round ahead when the others look
 * @registers: of its last round
 */
struct meeting {
	uint32_t round;
	uint8_t test, before;
	uint8_t registers[2];
};

/*
 * Tell ours, wait until the others are there; false after a minute.  O_DIRECT: 9p of 6.12 keeps
 * what was written, and reads what it had.
 */
static bool meet(const int *fds, unsigned int role, struct meeting *ours, struct meeting *all)
{
	uint64_t end = knode_now_us() + 60000000;
	unsigned int i;

	if (pwrite(fds[role], ours, sizeof(*ours), 0) != sizeof(*ours))
		return false;
	for (i = 0; i < ROLES; i++) {
		do {
			if (knode_now_us() > end)
				return false;
			all[i] = (struct meeting){ 0 };
			if (pread(fds[i], &all[i], sizeof(all[i]), 0) < 0)
				return false;
		} while (all[i].round < ours->round);
	}
	ours->test = all[0].round == ours->round ? all[0].test : all[0].before;
	return true;
}

static unsigned int outcome_of(const struct test *test, const struct meeting *all)
{
	unsigned int outcome = 0;
	const char *r;

	for (r = test->regs; *r; r += r[2] ? 3 : 2)
		outcome = outcome * 3 + all[r[0] - '0'].registers[r[1] - '0'];
	return outcome % OUTCOMES;
}

/* What role 0 knows of the round before this meeting; one that is ahead does not tell it any more.
 */
static void note_outcome(const struct test *test, const struct meeting *all, uint32_t round,
			 unsigned int *counts)
{
	unsigned int i;

	for (i = 0; i < ROLES; i++)
		if (all[i].round != round)
			return;
	counts[outcome_of(test, all)]++;
}

/* How many of a list of outcomes were seen; @show names the others. */
static unsigned int seen(const char *list, const unsigned int *counts, const char *show,
			 unsigned int *listed)
{
	char copy[256], *word, *rest = copy;
	unsigned int n = 0;

	*listed = 0;
	snprintf(copy, sizeof(copy), "%s", list);
	while ((word = strsep(&rest, " "))) {
		unsigned int count = counts[strtoul(word, NULL, 3)];

		++*listed;
		n += count > 0;
		if (show)
			printf("#   %s %s: %u%s\n", show, word, count,
			       !strcmp(show, "allowed") == !count ? "  <---" : "");
	}
	return n;
}

static bool all_seen(const struct test *test, const unsigned int *counts)
{
	unsigned int listed;

	return seen(test->allowed, counts, NULL, &listed) == listed;
}

static sigjmp_buf env;

static void on_bus(int sig)
{
	siglongjmp(env, sig);
}

static int alone(unsigned int role, uint32_t round)
{
	fprintf(stderr, "role %u: alone in meeting %u\n", role, round);
	return 1;
}

/**
 * struct progress - role 0's, of the test that runs
 * @rounds: of each test, times its @times
 * @mode: of the run
 * @in_test: rounds so far
 * @start: of the test, in us
 * @counts: of outcomes
 */
struct progress {
	unsigned int rounds;
	enum mode mode;
	unsigned int in_test;
	uint64_t start;
	unsigned int counts[OUTCOMES];
};

/* Called before each round: is it the next test's first? */
static bool test_ends(struct progress *p, const struct test *test)
{
	uint64_t now = knode_now_us(), took = (now - p->start) / test->times;
	bool missing = p->mode == ALL && !all_seen(test, p->counts);
	unsigned int times = missing ? PATIENCE : 1;

	if (p->in_test++ == 0)
		p->start = now;
	else if (p->in_test > times * p->rounds * test->times || took > times * TEST_US)
		return true;
	return false;
}

static int run(const char *addr, const char *keyfile, unsigned int role, unsigned int rounds,
	       const char *dir, enum mode mode)
{
	struct progress progress = { .rounds = rounds, .mode = mode };
	struct words *words = knode_map(addr, keyfile);
	int out = role_file(dir, "out", role, O_WRONLY | O_CREAT | O_APPEND);
	static struct meeting ours, all[ROLES]; /* static: kept over siglongjmp() */
	uint64_t since, access_us = ACCESS_US;
	unsigned int i, rounds_done = 0;
	const struct test *test;
	struct words *w;
	uint32_t base;
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
		fprintf(stderr, "role %u: SIGBUS after meeting %u\n", role, ours.round);
		return 1;
	}
	srandom(role + 1);
	for (;;) {
		ours.before = ours.test;
		if (role == 0 && test_ends(&progress, &tests[ours.test])) {
			ours.test++;
			progress = (struct progress){ .rounds = rounds, .mode = mode };
		}
		ours.round++;
		if (!meet(fds, role, &ours, all))
			return alone(role, ours.round);
		if (role == 0 && ours.test == ours.before && progress.in_test > 1)
			note_outcome(&tests[ours.test], all, ours.round, progress.counts);
		if (ours.test >= TESTS)
			return 0;
		test = &tests[ours.test];
		w = &words[ours.test];
		if (mode == PLANTED) {
			w = &words[TESTS + rounds_done++];
			for (i = 0; i < 2; i++) {
				/* a value of before the round counts as none */
				access_word(w, test->prime[role][i], 4ull * ours.round);
				ours.before = ours.test;
				ours.round++;
				if (!meet(fds, role, &ours, all))
					return alone(role, ours.round);
			}
			wait_us(test->late_ms[role] * 1000);
		}
		base = 4 * ours.round;
		record[0] = ours.test;
		wait_a_little(access_us);
		since = knode_now_us();
		record[1] = access_word(w, test->op[role][0], base);
		access_us = (7 * access_us + knode_now_us() - since) / 8 + 100;
		if (access_us < ACCESS_US)
			access_us = ACCESS_US;
		wait_a_little(access_us);
		record[2] = access_word(w, test->op[role][1], base);
		memcpy(ours.registers, &record[1], 2);
		if (write(out, record, RECORD) != RECORD)
			return 1;
	}
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
	struct meeting roles[ROLES] = { 0 };
	unsigned int rounds = 0, role;
	size_t i;

	for (i = 0; i + RECORD <= all; i += RECORD) {
		if (data[0][i] != t)
			continue;
		rounds++;
		for (role = 0; role < ROLES; role++)
			memcpy(roles[role].registers, &data[role][i + 1], 2);
		counts[outcome_of(&tests[t], roles)]++;
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
	unsigned int counts[OUTCOMES] = { 0 }, allowed, forbidden, good, bad;

	printf("# %s, %u rounds\n", test->name, count_outcomes(t, all, counts));
	good = seen(test->allowed, counts, "allowed", &allowed);
	bad = seen(test->forbidden, counts, "forbidden", &forbidden);
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
	if (argc == 7 && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), argv[6], SOME);
	if (argc == 8 && !strcmp(argv[1], "run") && !strcmp(argv[7], "all"))
		return run(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), argv[6], ALL);
	if (argc == 8 && !strcmp(argv[1], "run") && !strcmp(argv[7], "planted"))
		return run(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), argv[6], PLANTED);
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(argv[2], ALL, NULL);
	if (argc == 4 && !strcmp(argv[1], "check") && !strcmp(argv[2], "-s"))
		return check(argv[3], SOME, NULL);
	if (argc == 5 && !strcmp(argv[1], "check") && !strcmp(argv[2], "-p"))
		return check(argv[4], PLANTED, argv[3]);
	fprintf(stderr, "usage: litmus run ADDR KEYFILE ROLE ROUNDS DIR [all | planted]\n"
			"       litmus check [-s | -p PLANT] DIR\n");
	return 2;
}
