/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench.h - what the benchmarks share
 *
 * Every figure is taken beside the thing it is compared with, in one process and in turn,
 * because times on an emulated machine mean nothing alone.  bench.c has samples,
 * keys and regions, wire.c the raw TCP partner; miss.c, local.c, scan.c, flush.c,
 * cached.c and table1.c measure.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <khazana.h>

#define BENCH_PAGE 4096u
#define BENCH_PORT 7399
#define BENCH_STREAM (4u << 20) /* bytes of one piece of a stream */

/* Times of one thing, in nanoseconds. */
struct samples {
	uint64_t *ns;
	size_t n, room;
};

/* A mapped region. */
struct bench_region {
	struct kh_client *client;
	struct khazana_addr addr;
	struct kh_key key;
	uint64_t length;
	char *mem;
};

uint64_t bench_now(void);
/* Prints what and why to stderr, and exits with 1. */
void bench_die(const char *what, int err) __attribute__((noreturn));
void samples_init(struct samples *s, size_t room);
void samples_add(struct samples *s, uint64_t ns);
void samples_free(struct samples *s);
/* The q-th quantile in microseconds, 0 <= q <= 1; sorts. */
double samples_us(struct samples *s, double q);

struct kh_ctl;

/*
 * Messages between this node's khd and others; not those that renew leases.
 */
uint64_t bench_messages(struct kh_ctl *ctl);

/**
 * bench_print() - one JSON line
 * @ours: what was measured
 * @theirs: what it is compared with
 * @to: name of that
 * @inverse: the ratio is theirs / ours (of throughputs)
 * @paper: the paper's ratio, 0 if it has none
 * @messages: per operation, negative: on-cluster adds them
 */
void bench_print(const char *metric, struct samples *ours, struct samples *theirs, const char *to,
		 bool inverse, double paper, double messages);

/* Map the whole region at @addr ("hi:lo") with the key in @keyfile. */
void bench_map(struct bench_region *r, const char *addr, const char *keyfile, int prot);
void bench_unmap(struct bench_region *r);
void bench_key(struct kh_key *key, const char *keyfile);
/* 0..n-1 in an order that no prefetcher follows; the caller frees it. */
uint32_t *bench_shuffled(uint32_t n);

/* A server of raw TCP: reads 64 bytes that say how much to send back. Never returns. */
int wire_serve(const char *address);
int wire_connect(const char *address);
/* One round trip: 64 bytes out, @length bytes back. */
void wire_round_trip(int fd, size_t length);

int cmd_own(int argc, char **argv);
int cmd_miss(int argc, char **argv);
int cmd_settled(int argc, char **argv);
int cmd_round_trip(int argc, char **argv);
int cmd_scan(int argc, char **argv);
int cmd_disjoint(int argc, char **argv);
int cmd_flush(int argc, char **argv);
int cmd_flushers(int argc, char **argv);
int cmd_cached(int argc, char **argv);
int cmd_table1(int argc, char **argv);

#endif /* BENCH_H */
