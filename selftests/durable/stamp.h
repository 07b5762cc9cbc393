/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the durability tests put into pages, and the journal of what was acknowledged.
 *
 * Every word of a page says which word of which page it is and to which version it belongs, so
 * that a page that was captured while it was being written (which is no error) can be told from one
 * of which a part is older than acknowledged, or is something else.
 */
#ifndef SELFTESTS_DURABLE_STAMP_H
#define SELFTESTS_DURABLE_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_PAGE 4096u
#define STAMP_WORDS (STAMP_PAGE / sizeof(uint64_t))
#define STAMP_PAGES_MAX (1u << 20)

enum stamp_verdict {
	STAMP_GOOD,
	STAMP_LOST, /* a word is older than acknowledged */
	STAMP_TORN, /* a word that nobody wrote here */
};

uint64_t stamp_random(uint64_t *state);
void stamp_write(volatile uint64_t *words, uint64_t page, uint32_t version);
enum stamp_verdict stamp_judge(const volatile uint64_t *words, uint64_t page, uint32_t acked,
			       uint32_t *oldest, uint32_t *newest);

/**
 * struct journal - the highest acknowledged version of every page
 * @acked: by page
 * @pages: one more than the highest that was named
 * @lines: read
 */
struct journal {
	uint32_t *acked;
	uint64_t pages;
	uint64_t lines;
};

#define JOURNAL_LINE 64

int journal_line(char line[JOURNAL_LINE], uint64_t first, uint64_t count, uint32_t version);
int journal_open(struct journal *journal);
int journal_read(struct journal *journal, const char *path);
void journal_close(struct journal *journal);

#endif
