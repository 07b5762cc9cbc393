/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfs.h - SQLite on a struct khd_disk
 *
 * One database on KHD_FILE_INDEX, its write-ahead log on KHD_FILE_WAL, nothing else: no shared
 * memory (locking_mode is EXCLUSIVE), no journal, no temporary file.  Each page of the database ends
 * in KHD_VFS_RESERVE bytes that SQLite leaves alone: le32 number of the page, le32 CRC32C of the
 * page up to there.  They are made when a page is written to the database and verified
 * whenever one is read; a page that is damaged, or another one's, is SQLITE_IOERR_DATA and is
 * reported.  Frames of the write-ahead log have SQLite's own checksums.
 *
 * Everything here calls the synchronous operations of the disk: it belongs into jobs.
 */
#ifndef KHD_STORE_VFS_H
#define KHD_STORE_VFS_H

#include <stdint.h>

#include "khd/store/disk.h"

struct sqlite3;
struct khd_vfs;

#define KHD_VFS_PAGE 4096u
#define KHD_VFS_RESERVE 8u

/**
 * khd_vfs_report - told of each damaged page and of each error of the disk
 *
 * Runs in whichever thread called SQLite.  @what is one line, without the place.
 */
typedef void khd_vfs_report(void *arg, enum khd_disk_file file, uint64_t offset, const char *what);

/**
 * khd_vfs_new() - register a VFS for @disk
 * @report: may be NULL
 *
 * Each is known to SQLite by a name of its own, so that any number of stores can be open.
 * Return: NULL without memory.
 */
struct khd_vfs *khd_vfs_new(struct khd_disk *disk, khd_vfs_report *report, void *arg);

/* No database of it may be open any more. NULL is allowed. */
void khd_vfs_free(struct khd_vfs *vfs);

/**
 * khd_vfs_open() - open the database, make it when the file is empty
 * @cache: bytes of SQLite's cache; 0: SQLite's default
 * @db: out; NULL on error
 *
 * It is in WAL mode, synchronous=FULL, and is checkpointed only when the caller asks for it, which
 * should be by SQLITE_CHECKPOINT_TRUNCATE.  The log's file is emptied then, and when the database is
 * closed, but keeps its space.
 * Return: a result code of SQLite; SQLITE_IOERR_DATA, SQLITE_NOTADB, SQLITE_CORRUPT: damaged.
 */
int khd_vfs_open(struct khd_vfs *vfs, uint64_t cache, struct sqlite3 **db);

/**
 * khd_vfs_error() - the first error of the disk, 0: none
 *
 * SQLite goes on after some of them, as when a new database becomes WAL, and then takes for damaged
 * what was not written.  Return: a result code of SQLite.
 */
int khd_vfs_error(const struct khd_vfs *vfs);

/**
 * khd_vfs_verify() - check every page of the database file, without SQLite
 * @found: called for each damaged page
 *
 * A page that the log has is not looked at: a checkpoint may have torn it, and the next one writes
 * it.
 *
 * Return: how many are damaged, or a negative errno.
 */
int64_t khd_vfs_verify(struct khd_disk *disk, khd_vfs_report *found, void *arg);

#endif /* KHD_STORE_VFS_H */
