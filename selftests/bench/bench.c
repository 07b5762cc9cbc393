// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bench.c - samples, regions and the table of commands
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "ctl/ctl.h"

uint64_t bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

void bench_die(const char *what, int err)
{
	fprintf(stderr, "khbench: %s: %s\n", what, kh_strerror(err));
	exit(1);
}

void samples_init(struct samples *s, size_t room)
{
	s->ns = calloc(room, sizeof(*s->ns));
	if (!s->ns)
		bench_die("samples", -ENOMEM);
	s->n = 0;
	s->room = room;
}

void samples_add(struct samples *s, uint64_t ns)
{
	if (s->n < s->room)
		s->ns[s->n++] = ns;
}

void samples_free(struct samples *s)
{
	free(s->ns);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

double samples_us(struct samples *s, double q)
{
	if (!s->n)
		return 0;
	qsort(s->ns, s->n, sizeof(*s->ns), compare);
	return (double)s->ns[(size_t)((double)(s->n - 1) * q)] / 1000.0;
}

uint64_t bench_messages(struct kh_ctl *ctl)
{
	struct kh_op op = { .code = KH_OP_STATS };
	struct kh_op_result result;
	uint64_t n = 0;
	unsigned int i;
	int err = kh_ctl_call(ctl, &op, &result, 0);

	if (err || result.error)
		bench_die("stats", err ? err : result.error);
	for (i = 0; i < result.counter_count; i++) {
		const char *name = result.counters[i].name;

		if ((!strncmp(name, "sent_", 5) || !strncmp(name, "received_", 9)) &&
		    !strstr(name, "_renew"))
			n += result.counters[i].value;
	}
	return n;
}

void bench_print(const char *metric, struct samples *ours, struct samples *theirs, const char *to,
		 bool inverse, double paper, double messages)
{
	double our_us = samples_us(ours, 0.5), their_us = samples_us(theirs, 0.5);

	printf("{\"metric\":\"%s\",\"median_us\":%.2f,\"p99_us\":%.2f,\"n\":%zu,\"ratio\":%.2f,"
	       "\"to\":\"%s\",\"to_median_us\":%.2f",
	       metric, our_us, samples_us(ours, 0.99), ours->n,
	       inverse ? their_us / our_us : our_us / their_us, to, their_us);
	if (paper > 0)
		printf(",\"paper_ratio\":%.2f", paper);
	if (messages >= 0)
		printf(",\"messages_per_op\":%.2f", messages);
	printf("}\n");
	fflush(stdout);
}

void bench_key(struct kh_key *key, const char *keyfile)
{
	int fd = open(keyfile, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bench_die(keyfile, -errno);
	if (read(fd, key->bytes, sizeof(key->bytes)) != (ssize_t)sizeof(key->bytes))
		bench_die(keyfile, -EINVAL);
	close(fd);
}

void bench_map(struct bench_region *r, const char *addr, const char *keyfile, int prot)
{
	struct kh_region_info info;
	void *mem;
	int err = kh_addr_parse(addr, &r->addr);

	if (err)
		bench_die(addr, err);
	bench_key(&r->key, keyfile);
	err = kh_client_open(NULL, NULL, &r->client);
	if (!err)
		err = kh_getattr(r->client, r->addr, &info);
	if (!err)
		err = kh_map(r->client, r->addr, 0, prot, &r->key, &mem);
	if (err)
		bench_die(addr, err);
	r->length = info.length;
	r->mem = mem;
}

void bench_unmap(struct bench_region *r)
{
	kh_unmap(r->client, r->mem);
	kh_client_close(r->client);
}

uint32_t *bench_shuffled(uint32_t n)
{
	uint32_t *order = calloc(n, sizeof(*order));
	uint64_t state = 88172645463325252ULL;
	uint32_t i;

	if (!order)
		bench_die("order", -ENOMEM);
	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n; i > 1; i--) {
		uint32_t j, swap;

		/* xorshift64 (Marsaglia, 2003) */
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		j = (uint32_t)(state % i);
		swap = order[i - 1];
		order[i - 1] = order[j];
		order[j] = swap;
	}
	return order;
}

static int cmd_serve(int argc, char **argv)
{
	return wire_serve(argv[2]);
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	int argc;
	const char *usage;
} commands[] = {
	{ "serve", cmd_serve, 3, "ADDRESS: raw TCP partner" },
	{ "own", cmd_own, 4, "REGION KEYFILE: store to every page" },
	{ "miss", cmd_miss, 7, "METRIC REGION KEYFILE load|store ADDRESS: misses beside raw TCP" },
	{ "settled", cmd_settled, 4, "REGION KEYFILE: faults the module settles, beside shmem" },
	{ "round-trip", cmd_round_trip, 4,
	  "REGION KEYFILE: faults khd answers, beside userfaultfd" },
	{ "scan", cmd_scan, 5, "REGION KEYFILE ADDRESS: sequential loads beside a TCP stream" },
	{ "disjoint", cmd_disjoint, 7,
	  "REGION KEYFILE PART PARTS SECONDS: store to pages of one's own" },
	{ "flush", cmd_flush, 7,
	  "METRIC PAGES REGION KEYFILE FILE: so many pages made durable, beside a file" },
	{ "flushers", cmd_flushers, 5, "REGION KEYFILE FILE: 16 threads that flush, beside one" },
	{ "cached", cmd_cached, 5,
	  "REGION KEYFILE PID: RAM for pages that are cached; PID of khd" },
	{ "table1", cmd_table1, 6, "REGION KEYFILE NODE ADDRESS: the paper's Table 1" },
};

int main(int argc, char **argv)
{
	unsigned int i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (argc > 1 && !strcmp(argv[1], commands[i].name) && argc == commands[i].argc)
			return commands[i].run(argc, argv);
	fprintf(stderr, "usage: khbench COMMAND ARGS\n");
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "  %s %s\n", commands[i].name, commands[i].usage);
	return 2;
}
