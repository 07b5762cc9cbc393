/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crc32c.h - the checksum of everything that the store writes (Castagnoli) */
#ifndef KHD_STORE_CRC32C_H
#define KHD_STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/**
 * khd_crc32c() - CRC32C of @len bytes, going on from @crc
 *
 * Begins with 0; khd_crc32c(khd_crc32c(0, a, n), b, m) is that of a and b in a row.
 */
uint32_t khd_crc32c(uint32_t crc, const void *buf, size_t len);

#endif /* KHD_STORE_CRC32C_H */
