// SPDX-License-Identifier: GPL-2.0-or-later
/* crc32c.c - CRC32C by SSE4.2 where the CPU has it, by table elsewhere */
#include <pthread.h>
#include <string.h>

#include "khd/store/crc32c.h"

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[256];

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t len)
{
	while (len--)
		crc = table[(crc ^ *at++) & 0xff] ^ (crc >> 8);
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_cpu(uint32_t crc, const uint8_t *at,
							 size_t len)
{
	uint64_t wide = crc, word;

	for (; len >= sizeof(word); len -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	while (len--)
		crc = __builtin_ia32_crc32qi(crc, *at++);
	return crc;
}
#endif

static uint32_t (*method)(uint32_t crc, const uint8_t *at, size_t len) = by_table;

static void choose(void)
{
	uint32_t i, bit, crc;

	for (i = 0; i < 256; i++) {
		for (crc = i, bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
		table[i] = crc;
	}
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		method = by_cpu;
#endif
}

uint32_t khd_crc32c(uint32_t crc, const void *buf, size_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, choose);
	return ~method(~crc, buf, len);
}
