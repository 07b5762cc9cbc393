// SPDX-License-Identifier: GPL-2.0-or-later
#include "selftests/durable/stamp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t scatter(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* The next number of a sequence that its first state fixes. */
uint64_t stamp_random(uint64_t *state)
{
	return scatter(*state += 0x9e3779b97f4a7c15);
}

/* The lower half of a word: its place, scattered so that no other word is like it by chance. */
static uint32_t place_tag(uint64_t page, unsigned int word)
{
	return scatter(page * STAMP_WORDS + word + 1);
}

/* One store a word, in order. */
void stamp_write(volatile uint64_t *words, uint64_t page, uint32_t version)
{
	for (unsigned int i = 0; i < STAMP_WORDS; i++)
		words[i] = (uint64_t)version << 32 | place_tag(page, i);
}

/**
 * stamp_judge - look at a page
 * @words: of it
 * @page: its number
 * @acked: version that must be there, or a later one; 0: none was acknowledged
 * @oldest: out: lowest version in it; a zero word is version 0
 * @newest: out: highest
 *
 * Return: what it is; the versions are meaningless for STAMP_TORN.
 */
enum stamp_verdict stamp_judge(const volatile uint64_t *words, uint64_t page, uint32_t acked,
			       uint32_t *oldest, uint32_t *newest)
{
	*oldest = UINT32_MAX;
	*newest = 0;
	for (unsigned int i = 0; i < STAMP_WORDS; i++) {
		uint64_t word = words[i];
		uint32_t version = word >> 32;

		if (word && (!version || (uint32_t)word != place_tag(page, i)))
			return STAMP_TORN;
		if (version < *oldest)
			*oldest = version;
		if (version > *newest)
			*newest = version;
	}
	return *oldest < acked ? STAMP_LOST : STAMP_GOOD;
}

/* "A:first:count:version": these pages are safe at this version. It has no blanks, so that it can
 * be a mark. */
int journal_line(char line[JOURNAL_LINE], uint64_t first, uint64_t count, uint32_t version)
{
	return snprintf(line, JOURNAL_LINE, "A:%" PRIu64 ":%" PRIu64 ":%" PRIu32, first, count,
			version);
}

int journal_open(struct journal *journal)
{
	memset(journal, 0, sizeof(*journal));
	journal->acked = calloc(STAMP_PAGES_MAX, sizeof(*journal->acked));
	return journal->acked ? 0 : -ENOMEM;
}

/**
 * journal_read - add what a file says
 *
 * Lines that are not acknowledgements are passed over, and so is a last one without its end: its
 * writer, or the way to here, lost its power.
 *
 * Return: 0 or -errno.
 */
int journal_read(struct journal *journal, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[256];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		uint64_t first, count;
		uint32_t version;

		if (!strchr(line, '\n') || sscanf(line, "A:%" SCNu64 ":%" SCNu64 ":%" SCNu32,
						  &first, &count, &version) != 3)
			continue;
		if (first >= STAMP_PAGES_MAX || count > STAMP_PAGES_MAX - first) {
			fclose(f);
			return -ERANGE;
		}
		journal->lines++;
		for (uint64_t page = first; page < first + count; page++)
			if (journal->acked[page] < version)
				journal->acked[page] = version;
		if (journal->pages < first + count)
			journal->pages = first + count;
	}
	fclose(f);
	return 0;
}

void journal_close(struct journal *journal)
{
	free(journal->acked);
}
