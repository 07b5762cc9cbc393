// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * suggest.c - the nearest word
 */
#include <string.h>

#include "khadm/khadm.h"

#define WORD_MAX 32

static unsigned int least(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

/* Insertions, deletions and replacements that make one word of the other. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[WORD_MAX + 1], diagonal, above;
	size_t alen = strlen(a), blen = strlen(b);

	if (alen > WORD_MAX || blen > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= blen; j++)
		row[j] = j;
	for (size_t i = 1; i <= alen; i++) {
		diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			above = row[j];
			row[j] = least(row[j] + 1, row[j - 1] + 1,
				       diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[blen];
}

const char *khadm_nearest(const char *word, const char *const *words, unsigned int count)
{
	unsigned int best = strlen(word) / 3 + 2;
	const char *near = NULL;

	for (unsigned int i = 0; i < count; i++) {
		unsigned int d = distance(word, words[i]);

		if (d < best) {
			best = d;
			near = words[i];
		}
	}
	return near;
}
