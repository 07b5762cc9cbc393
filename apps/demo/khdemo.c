// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * khdemo.c - the small programs of `make demo`; each maps a region and uses plain loads and stores
 *
 *   khdemo count ADDR KEYFILE NODES SECONDS   increment the same words as the others, at the same
 * time khdemo sum ADDR KEYFILE                   print the sum of the words khdemo reset ADDR
 * KEYFILE                 zero the words khdemo put ADDR KEYFILE FILE              copy FILE to
 * ADDR through the mapping khdemo cat ADDR KEYFILE LENGTH            write LENGTH bytes at ADDR to
 * stdout, straight from the mapping
 *
 * Exit status: 0, 1 for an error (printed), 2 for usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <khazana.h>

#define COUNT_PAGES 4
#define WORDS_PER_PAGE 8
#define HANDED_ENOUGH 400 /* pages taken over from other nodes */
#define PATIENCE 8 /* times SECONDS, then it is over in any case */

/* The region of `count`: its first page is the meeting point, the next ones hold the words. */
struct meeting {
	uint64_t arrived;
	uint64_t content; /* processes that have seen their time and enough hand-overs */
};

struct words {
	uint64_t word[WORDS_PER_PAGE];
	char pad[4096 - WORDS_PER_PAGE * sizeof(uint64_t)];
};

struct counters {
	struct meeting meeting;
	char pad[4096 - sizeof(struct meeting)];
	struct words page[COUNT_PAGES];
};

static int fail(const char *what, int err)
{
	fprintf(stderr, "khdemo: %s: %s\n", what, kh_strerror(err));
	return 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static int read_key(const char *path, struct kh_key *key)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, key->bytes, sizeof(key->bytes));
	close(fd);
	return n == (ssize_t)sizeof(key->bytes) ? 0 : -EINVAL;
}

/* One to every word of a page.  Return: had another node changed it since this one left it? */
static bool add_to_page(struct words *page, uint64_t *last)
{
	bool foreign = false;
	unsigned int w;

	for (w = 0; w < WORDS_PER_PAGE; w++) {
		uint64_t old = __atomic_fetch_add(&page->word[w], 1, __ATOMIC_SEQ_CST);

		foreign |= old != last[w];
		last[w] = old + 1;
	}
	return foreign;
}

/* Everybody goes on until all are content, so that nobody's last rounds are uncontended. */
static int count(struct counters *c, unsigned int nodes, unsigned int seconds)
{
	uint64_t last[COUNT_PAGES][WORDS_PER_PAGE] = { 0 };
	uint64_t rounds = 0, handed = 0, longest = 0, start, before, took;
	bool content = false;
	unsigned int p;

	__atomic_fetch_add(&c->meeting.arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&c->meeting.arrived, __ATOMIC_SEQ_CST) < nodes)
		usleep(10000);
	start = now_ns();
	do {
		for (p = 0; p < COUNT_PAGES; p++) {
			before = now_ns();
			handed += add_to_page(&c->page[p], last[p]);
			took = now_ns() - before;
			longest = took > longest ? took : longest;
		}
		rounds++;
		took = now_ns() - start;
		if (!content && took >= seconds * 1000000000ULL &&
		    (handed >= HANDED_ENOUGH || nodes == 1)) {
			content = true;
			__atomic_fetch_add(&c->meeting.content, 1, __ATOMIC_SEQ_CST);
		}
	} while (took < seconds * PATIENCE * 1000000000ULL &&
		 __atomic_load_n(&c->meeting.content, __ATOMIC_SEQ_CST) < nodes);
	printf("increments %llu changed_hands %llu longest_wait_ms %llu\n",
	       (unsigned long long)rounds * COUNT_PAGES * WORDS_PER_PAGE,
	       (unsigned long long)handed, (unsigned long long)longest / 1000000);
	return 0;
}

static int sum(const struct counters *c)
{
	uint64_t total = 0;
	unsigned int p, w;

	for (p = 0; p < COUNT_PAGES; p++)
		for (w = 0; w < WORDS_PER_PAGE; w++)
			total += __atomic_load_n(&c->page[p].word[w], __ATOMIC_SEQ_CST);
	printf("%llu\n", (unsigned long long)total);
	return 0;
}

static int put(char *mem, uint64_t room, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t done = 0;
	ssize_t n;

	if (fd < 0) {
		perror(path);
		return 1;
	}
	/* read(2) stores straight into the mapping: the kernel's stores fault like ours. */
	while (done < room && (n = read(fd, mem + done, room - done)) != 0) {
		if (n < 0) {
			perror("khdemo: read into the mapping");
			close(fd);
			return 1;
		}
		done += (uint64_t)n;
	}
	close(fd);
	printf("%llu\n", (unsigned long long)done);
	return 0;
}

static int cat(const char *mem, uint64_t room, const char *length_text)
{
	uint64_t length = strtoull(length_text, NULL, 0);
	uint64_t done = 0;

	if (length > room)
		return fail("cat", -ERANGE);
	while (done < length) {
		ssize_t n = write(STDOUT_FILENO, mem + done, length - done);

		if (n < 0) {
			perror("khdemo: write from the mapping");
			return 1;
		}
		done += (uint64_t)n;
	}
	return 0;
}

static int run(char **argv, int argc, void *mem, uint64_t length)
{
	const char *verb = argv[1];

	if (!strcmp(verb, "put") || !strcmp(verb, "cat"))
		return *verb == 'p' ? put(mem, length, argv[4]) : cat(mem, length, argv[4]);
	if (length < sizeof(struct counters))
		return fail(verb, -ERANGE);
	if (!strcmp(verb, "count") && argc == 6)
		return count(mem, (unsigned int)atoi(argv[4]), (unsigned int)atoi(argv[5]));
	if (!strcmp(verb, "sum"))
		return sum(mem);
	memset(mem, 0, sizeof(struct counters));
	return 0;
}

static bool usage_ok(int argc, char **argv)
{
	static const struct {
		const char *verb;
		int argc;
	} verbs[] = { { "count", 6 }, { "sum", 4 }, { "reset", 4 }, { "put", 5 }, { "cat", 5 } };
	unsigned int i;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (argc == verbs[i].argc && !strcmp(argv[1], verbs[i].verb))
			return true;
	fprintf(stderr, "usage: khdemo count ADDR KEYFILE NODES SECONDS | sum ADDR KEYFILE |\n"
			"       reset ADDR KEYFILE | put ADDR KEYFILE FILE | cat ADDR KEYFILE "
			"LENGTH\n");
	return false;
}

int main(int argc, char **argv)
{
	struct kh_region_info info;
	struct khazana_addr addr;
	struct kh_client *client;
	struct kh_key key;
	int err, status;
	void *mem;

	if (!usage_ok(argc, argv))
		return 2;
	if (kh_addr_parse(argv[2], &addr))
		return fail(argv[2], -EINVAL);
	err = read_key(argv[3], &key);
	if (err)
		return fail(argv[3], err);
	err = kh_client_open(NULL, NULL, &client);
	if (err)
		return fail("khd", err);
	err = kh_getattr(client, addr, &info);
	if (!err)
		err = kh_map(client, addr, info.length, PROT_READ | PROT_WRITE, &key, &mem);
	if (err) {
		kh_client_close(client);
		return fail(argv[2], err);
	}
	status = run(argv, argc, mem, info.length);
	kh_unmap(client, mem);
	kh_client_close(client);
	return status;
}
