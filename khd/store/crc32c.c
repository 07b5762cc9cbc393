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
#define LANE 1360u /* bytes; three make a page of 4 KiB but for 16 */

static uint32_t zeros[4][256]; /* what LANE bytes of zeros make of each byte of a state */

static uint32_t over_zeros(uint32_t crc)
{
	return zeros[0][crc & 0xff] ^ zeros[1][crc >> 8 & 0xff] ^ zeros[2][crc >> 16 & 0xff] ^
	       zeros[3][crc >> 24];
}

static void choose_zeros(void)
{
	uint32_t i, byte, bit, after[32];

	for (i = 0; i < 32; i++) {
		after[i] = 1u << i;
		for (byte = 0; byte < LANE; byte++)
			after[i] = table[after[i] & 0xff] ^ (after[i] >> 8);
	}
	for (byte = 0; byte < 4; byte++)
		for (i = 0; i < 256; i++)
			for (bit = 0; bit < 8; bit++)
				if (i >> bit & 1)
					zeros[byte][i] ^= after[byte * 8 + bit];
}

static uint64_t word_at(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/*
 * The instruction has a latency of three and a throughput of one: three lanes at a time.  A state
 * is linear: what a lane makes of one is what zeros make of it, and what the lane makes of 0.
 */
__attribute__((target("sse4.2"))) static uint32_t by_cpu(uint32_t crc, const uint8_t *at,
							 size_t len)
{
	uint64_t a = crc, b, c;
	size_t i;

	for (; len >= 3 * LANE; len -= 3 * LANE, at += 3 * LANE) {
		for (b = c = 0, i = 0; i < LANE; i += sizeof(a)) {
			a = __builtin_ia32_crc32di(a, word_at(at + i));
			b = __builtin_ia32_crc32di(b, word_at(at + LANE + i));
			c = __builtin_ia32_crc32di(c, word_at(at + 2 * LANE + i));
		}
		a = over_zeros(over_zeros((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
	}
	for (; len >= sizeof(a); len -= sizeof(a), at += sizeof(a))
		a = __builtin_ia32_crc32di(a, word_at(at));
	crc = (uint32_t)a;
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
	choose_zeros();
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
