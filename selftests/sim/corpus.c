// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * corpus.c - what nodes say to each other, as input for the fuzzers of selftests/fuzz
 *
 * wire/KIND-N: some messages of each kind as they are.  crew/SEED: what the first node hears, as
 * the events that crew_fuzz.c reads: time that passes, and messages.
 */
#include <stdio.h>
#include <string.h>
#include "corpus.h"
#include "lib/core/wire.h"

#define PER_KIND 6
#define CREW_BYTES 16384
#define MESSAGE_MAX 4096

static FILE *create(struct sim *sim, const char *mode, const char *format, unsigned long long a,
		    unsigned long long b)
{
	char path[512], name[64];

	snprintf(name, sizeof(name), format, a, b);
	snprintf(path, sizeof(path), "%s/%s", sim->cfg.corpus, name);
	return fopen(path, mode);
}

static void write_wire(struct sim *sim, const struct kh_wire_head *head, size_t len)
{
	static unsigned int written[KH_WIRE_KINDS];
	FILE *file;

	if (head->kind >= KH_WIRE_KINDS || written[head->kind] >= PER_KIND)
		return;
	file = create(sim, "w", "wire/%llu-%llu", head->kind, written[head->kind]++);
	if (!file)
		return;
	fwrite(head, 1, len, file);
	fclose(file);
}

/* See one_event() and raw_message() in crew_fuzz.c. */
static void write_crew(struct sim *sim, unsigned int from, const struct kh_wire_head *head,
		       size_t len)
{
	static uint64_t last;
	uint64_t gone = sim->now > last ? (sim->now - last) / (100 * US) : 0;
	FILE *file = create(sim, "a", "crew/%llu", sim->cfg.seed, 0);
	unsigned int region = 0;

	if (!file)
		return;
	last = sim->now;
	while (region < SIM_REGIONS - 1 && (sim->regions[region].addr.hi != head->region_hi ||
					    sim->regions[region].addr.lo != head->region_lo))
		region++;
	if (ftell(file) < CREW_BYTES) {
		fputc(0, file);
		fputc(gone < 255 ? gone : 255, file);
		fputc(from == 1 ? 7 : 19, file);
		fputc(region, file);
		fputc(len & 255, file);
		fputc(len >> 8, file);
		fwrite(head, 1, len, file);
	}
	fclose(file);
}

void corpus_message(struct sim *sim, unsigned int host, unsigned int from, const void *bytes,
		    size_t len)
{
	if (len > MESSAGE_MAX)
		return;
	write_wire(sim, bytes, len);
	if (!host)
		write_crew(sim, from, bytes, len);
}
