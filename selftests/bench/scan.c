// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scan.c - sequential loads through a mapping, beside a TCP stream of the same length
 */
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

int cmd_scan(int argc, char **argv)
{
	struct samples ours, raw;
	struct bench_region r;
	volatile uint64_t sink = 0;
	uint64_t at = 0;
	int fd;

	bench_map(&r, argv[2], argv[3], PROT_READ);
	fd = wire_connect(argv[4]);
	samples_init(&ours, r.length / BENCH_STREAM);
	samples_init(&raw, r.length / BENCH_STREAM);
	wire_round_trip(fd, BENCH_STREAM);
	while (at + BENCH_STREAM <= r.length) {
		uint64_t end = at + BENCH_STREAM;
		uint64_t start = bench_now();

		for (; at < end; at += sizeof(uint64_t))
			sink += *(uint64_t *)(r.mem + at);
		samples_add(&ours, bench_now() - start);
		start = bench_now();
		wire_round_trip(fd, BENCH_STREAM);
		samples_add(&raw, bench_now() - start);
	}
	bench_print("scan_64m", &ours, &raw, "tcp_stream", true, 0, -1);
	samples_free(&ours);
	samples_free(&raw);
	close(fd);
	bench_unmap(&r);
	return 0;
}
