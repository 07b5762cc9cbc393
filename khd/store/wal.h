/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wal.h - what SQLite's write-ahead log holds, read without SQLite
 *
 * Source: "Database File Format", section 4, "The Write-Ahead Log", sqlite.org.
 */
#ifndef KHD_STORE_WAL_H
#define KHD_STORE_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "khd/store/disk.h"

/**
 * struct khd_wal - the transactions that the log has whole
 * @count: frames of these transactions
 * @numbers: of their pages, from 1 on, in order
 */
struct khd_wal {
	size_t count;
	uint32_t *numbers;
};

/**
 * khd_wal_load() - read KHD_FILE_WAL
 * @page: bytes of a page of the database
 * @wal: out, for khd_wal_free() after success
 *
 * Like SQLite it ends at the first frame that is not valid, and takes a transaction by its last
 * frame. Return: 0, ENOMEM, or the disk's error, negative.
 */
int khd_wal_load(struct khd_disk *disk, uint32_t page, struct khd_wal *wal);

/* Whether the log has that page, so that nobody reads it from the database's file. */
bool khd_wal_has(const struct khd_wal *wal, uint32_t number);

void khd_wal_free(struct khd_wal *wal);

#endif /* KHD_STORE_WAL_H */
