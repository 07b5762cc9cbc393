// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cached.c - RAM that a node needs for each page that it caches, beyond the page itself
 *
 * All pages of a region that another node owns are loaded. The kernel's part is what its slabs grow
 * by, page tables are those of the program and of khd's view, khd's part is its anonymous memory.
 * What else was taken of all memory meanwhile, by whomever, beyond the pages and these three, is
 * printed too: a few MiB either way, or something was forgotten.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SETTLE_US 500000 /* messages that confirm, memory that RCU frees */

struct ram {
	double used; /* by anything but the page cache */
	double slab;
	double tables;
	double khd;
};

/* A line "NAME:   N kB" of a file of /proc, in bytes. */
static double field(const char *path, const char *name)
{
	size_t length = strlen(name);
	unsigned long long kib;
	char line[256];
	FILE *f = fopen(path, "re");

	if (!f)
		bench_die(path, -errno);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, length) || line[length] != ':' ||
		    sscanf(line + length + 1, "%llu", &kib) != 1)
			continue;
		fclose(f);
		return (double)kib * 1024;
	}
	bench_die(name, -ENOENT);
}

static struct ram ram_now(const char *khd_status)
{
	static const char meminfo[] = "/proc/meminfo";

	return (struct ram){
		.used = field(meminfo, "MemTotal") - field(meminfo, "MemFree") -
			field(meminfo, "Buffers") - field(meminfo, "Cached"),
		.slab = field(meminfo, "Slab"),
		.tables = field(meminfo, "PageTables"),
		.khd = field(khd_status, "RssAnon"),
	};
}

int cmd_cached(int argc, char **argv)
{
	volatile uint64_t sink;
	struct ram before, after;
	struct bench_region r;
	double n, slab, tables, khd;
	char status[64];
	uint64_t at;

	snprintf(status, sizeof(status), "/proc/%s/status", argv[4]);
	bench_map(&r, argv[2], argv[3], PROT_READ);
	n = (double)(r.length / BENCH_PAGE);
	before = ram_now(status);
	for (at = 0; at < r.length; at += BENCH_PAGE) {
		sink = *(volatile uint64_t *)(r.mem + at);
		if (sink != at + 1)
			bench_die("a page holds something else than its owner stored", -EIO);
	}
	usleep(SETTLE_US);
	after = ram_now(status);
	slab = (after.slab - before.slab) / n;
	tables = (after.tables - before.tables) / n;
	khd = (after.khd - before.khd) / n;
	printf("{\"metric\":\"cached_page\",\"pages\":%.0f,\"bytes_per_page\":%.1f,"
	       "\"slab_bytes\":%.1f,\"page_table_bytes\":%.1f,\"khd_bytes\":%.1f,"
	       "\"other_mib\":%.1f}\n",
	       n, slab + tables + khd, slab, tables, khd,
	       (after.used - before.used - n * (BENCH_PAGE + slab + tables + khd)) / (1 << 20));
	bench_unmap(&r);
	return 0;
}
