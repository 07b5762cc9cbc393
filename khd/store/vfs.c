// SPDX-License-Identifier: GPL-2.0-or-later
/* vfs.c - SQLite on a struct khd_disk */
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "khd/store/crc32c.h"
#include "khd/store/vfs.h"
#include "khd/store/wal.h"

#define INDEX_NAME "index"
#define WAL_NAME "index-wal" /* made by SQLite from the other */
#define SUM_AT (KHD_VFS_PAGE - KHD_VFS_RESERVE)
#define NAME_MAX_BYTES 64
#define WAL_HEADER 32
#define INDEX_HEADER 100

/**
 * struct khd_vfs - one disk, as SQLite sees it
 * @base: registered; pAppData points back
 * @disk: below
 * @page: where pages get and lose their sums; one thread at a time uses a database
 */
struct khd_vfs {
	sqlite3_vfs base;
	struct khd_disk *disk;
	khd_vfs_report *report;
	void *arg;
	char name[32];
	int code; /* SQLite's, for the first error of the disk */
	uint8_t page[KHD_VFS_PAGE] __attribute__((aligned(KHD_DISK_ALIGN)));
};

struct vfs_file {
	sqlite3_file base;
	struct khd_vfs *vfs;
	enum khd_disk_file file;
};

static void report(struct khd_vfs *vfs, enum khd_disk_file file, uint64_t offset, const char *what)
{
	if (vfs->report)
		vfs->report(vfs->arg, file, offset, what);
}

/* An error of the disk, as a result code. */
static int failed(struct vfs_file *f, uint64_t offset, const char *what, int64_t err, int code)
{
	char text[96];

	/* after a flush that failed, whatever for, nobody knows what is on the disk */
	if (err == -ENOSPC && code != SQLITE_IOERR_FSYNC)
		code = SQLITE_FULL;
	else if (err == -ENOMEM && code != SQLITE_IOERR_FSYNC)
		code = SQLITE_IOERR_NOMEM;
	snprintf(text, sizeof(text), "%s: %s", what, strerror((int)-err));
	if (code != SQLITE_FULL && code != SQLITE_IOERR_NOMEM) /* that is for the caller to say */
		report(f->vfs, f->file, offset, text);
	if (!f->vfs->code)
		f->vfs->code = code;
	return code;
}

/* ------------------------------------------------------------ sums of pages */

static void put_le32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
	at[2] = (uint8_t)(value >> 16);
	at[3] = (uint8_t)(value >> 24);
}

static uint32_t get_le32(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void seal(uint8_t *page, uint32_t number)
{
	put_le32(page + SUM_AT, number);
	put_le32(page + SUM_AT + 4, khd_crc32c(0, page, SUM_AT + 4));
}

/* What is wrong with a page, NULL: nothing. */
static const char *verify(const uint8_t *page, uint32_t number)
{
	if (get_le32(page + SUM_AT + 4) != khd_crc32c(0, page, SUM_AT + 4))
		return "page is damaged (CRC32C)";
	if (get_le32(page + SUM_AT) != number)
		return "page is another one's";
	return NULL;
}

static uint32_t number_of(uint64_t offset)
{
	return (uint32_t)(offset / KHD_VFS_PAGE) + 1;
}

/* ------------------------------------------------------------ files */

static int file_close(sqlite3_file *file)
{
	return SQLITE_OK;
}

/*
 * Of the database whole pages are read, and verified.  Before that SQLite looks into the head of
 * the first, for the size of a page and for a counter; it believes nothing of that before it has
 * read the page, from here or from the log: this one may be torn by a checkpoint.
 */
static int read_index(struct vfs_file *f, void *buf, size_t len, uint64_t offset)
{
	bool head = offset + len <= INDEX_HEADER;
	struct khd_vfs *vfs = f->vfs;
	const char *what;
	int64_t n;

	if (!head && (len != KHD_VFS_PAGE || offset % KHD_VFS_PAGE)) {
		report(vfs, f->file, offset, "page size is not the index's");
		return SQLITE_IOERR_DATA;
	}
	n = khd_disk_read_now(vfs->disk, f->file, offset, vfs->page, len);
	if (n < 0)
		return failed(f, offset, "read", n, SQLITE_IOERR_READ);
	if (head && n < (int64_t)len) {
		memset(buf, 0, len);
		return SQLITE_IOERR_SHORT_READ;
	}
	what = head		? NULL :
	       n < (int64_t)len ? "file is cut off" :
				  verify(vfs->page, number_of(offset));
	if (what) {
		report(vfs, f->file, offset, what);
		return SQLITE_IOERR_DATA;
	}
	memcpy(buf, vfs->page, len);
	return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
	struct vfs_file *f = (struct vfs_file *)file;
	int64_t n;

	if (f->file == KHD_FILE_INDEX)
		return read_index(f, buf, (size_t)len, (uint64_t)offset);
	n = khd_disk_read_now(f->vfs->disk, f->file, (uint64_t)offset, buf, (size_t)len);
	if (n < 0)
		return failed(f, (uint64_t)offset, "read", n, SQLITE_IOERR_READ);
	if (n < len) {
		memset((uint8_t *)buf + n, 0, (size_t)(len - n));
		return SQLITE_IOERR_SHORT_READ;
	}
	return SQLITE_OK;
}

static int file_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
	struct vfs_file *f = (struct vfs_file *)file;
	struct khd_vfs *vfs = f->vfs;
	int n;

	if (f->file == KHD_FILE_INDEX) {
		if (len != KHD_VFS_PAGE || offset % KHD_VFS_PAGE) {
			report(vfs, f->file, (uint64_t)offset, "page size is not the index's");
			return SQLITE_IOERR_WRITE;
		}
		memcpy(vfs->page, buf, KHD_VFS_PAGE);
		seal(vfs->page, number_of((uint64_t)offset));
		buf = vfs->page;
	}
	n = khd_disk_write_now(vfs->disk, f->file, (uint64_t)offset, buf, (size_t)len);
	return n < 0 ? failed(f, (uint64_t)offset, "write", n, SQLITE_IOERR_WRITE) : SQLITE_OK;
}

/*
 * The log is emptied by its header and never cut: its space stays its own.  Were
 * checkpointed frames left valid, one that rots would bring back the pages before it.
 * Frames behind the end of a new log have old salts.
 */
static int empty_wal(struct vfs_file *f)
{
	static const uint8_t none[WAL_HEADER];
	struct khd_disk *disk = f->vfs->disk;
	int64_t n = disk->ops->size(disk, f->file);

	if (n > 0)
		n = khd_disk_write_now(disk, f->file, 0, none, sizeof(none));
	return n < 0 ? failed(f, 0, "truncate", n, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct vfs_file *f = (struct vfs_file *)file;
	struct khd_disk *disk = f->vfs->disk;
	int64_t now;
	int ret = 0;

	if (f->file == KHD_FILE_WAL)
		return size ? SQLITE_OK : empty_wal(f);
	now = disk->ops->size(disk, f->file);
	if (now > size)
		ret = disk->ops->resize(disk, f->file, (uint64_t)size);
	else if (now < 0)
		ret = (int)now;
	return ret ? failed(f, (uint64_t)size, "truncate", ret, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
	struct vfs_file *f = (struct vfs_file *)file;
	int ret = f->vfs->disk->ops->flush(f->vfs->disk);

	return ret ? failed(f, 0, "flush", ret, SQLITE_IOERR_FSYNC) : SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	struct vfs_file *f = (struct vfs_file *)file;
	int64_t n = f->vfs->disk->ops->size(f->vfs->disk, f->file);

	if (n < 0)
		return failed(f, 0, "size", n, SQLITE_IOERR_FSTAT);
	*size = n;
	return SQLITE_OK;
}

/* The store's lock keeps others out. */
static int file_lock(sqlite3_file *file, int level)
{
	return SQLITE_OK;
}

static int file_reserved(sqlite3_file *file, int *reserved)
{
	*reserved = 0;
	return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
	if (op != SQLITE_FCNTL_PERSIST_WAL)
		return SQLITE_NOTFOUND;
	*(int *)arg = 1;
	return SQLITE_OK;
}

static int file_sector(sqlite3_file *file)
{
	return (int)((struct vfs_file *)file)->vfs->disk->sector;
}

/* A torn write leaves each sector old or new: what was not written is never harmed. */
static int file_traits(sqlite3_file *file)
{
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;
}

static const sqlite3_io_methods file_methods = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_lock,
	.xCheckReservedLock = file_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_traits,
};

/* ------------------------------------------------------------ names */

static bool find(const char *name, enum khd_disk_file *file)
{
	if (name && !strcmp(name, INDEX_NAME))
		*file = KHD_FILE_INDEX;
	else if (name && !strcmp(name, WAL_NAME))
		*file = KHD_FILE_WAL;
	else
		return false;
	return true;
}

static int vfs_open(sqlite3_vfs *base, const char *name, sqlite3_file *file, int flags, int *out)
{
	struct vfs_file *f = (struct vfs_file *)file;

	file->pMethods = NULL;
	if (!find(name, &f->file))
		return SQLITE_CANTOPEN;
	f->vfs = base->pAppData;
	f->base.pMethods = &file_methods;
	if (out)
		*out = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *base, const char *name, int sync)
{
	struct khd_vfs *vfs = base->pAppData;
	struct vfs_file f = { .vfs = vfs };
	int ret;

	if (!find(name, &f.file))
		return SQLITE_IOERR_DELETE_NOENT;
	ret = vfs->disk->ops->remove(vfs->disk, f.file);
	if (!ret && sync)
		ret = vfs->disk->ops->flush(vfs->disk);
	return ret ? failed(&f, 0, "remove", ret, SQLITE_IOERR_DELETE) : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *base, const char *name, int flags, int *yes)
{
	struct khd_vfs *vfs = base->pAppData;
	struct vfs_file f = { .vfs = vfs };
	int64_t size;

	*yes = 0;
	if (!find(name, &f.file))
		return SQLITE_OK;
	size = vfs->disk->ops->size(vfs->disk, f.file);
	if (size < 0)
		return failed(&f, 0, "size", size, SQLITE_IOERR_ACCESS);
	*yes = size > 0;
	return SQLITE_OK;
}

static int vfs_path(sqlite3_vfs *base, const char *name, int len, char *out)
{
	return (size_t)snprintf(out, (size_t)len, "%s", name) < (size_t)len ? SQLITE_OK :
									      SQLITE_CANTOPEN;
}

/* The index asks for no time and no secrets. */
static int vfs_randomness(sqlite3_vfs *base, int len, char *out)
{
	memset(out, 0, (size_t)len);
	return len;
}

static int vfs_sleep(sqlite3_vfs *base, int us)
{
	return 0;
}

static int vfs_time(sqlite3_vfs *base, double *days)
{
	*days = (double)time(NULL) / 86400.0 + 2440587.5;
	return SQLITE_OK;
}

static int vfs_error(sqlite3_vfs *base, int len, char *out)
{
	return 0;
}

struct khd_vfs *khd_vfs_new(struct khd_disk *disk, khd_vfs_report *to, void *arg)
{
	struct khd_vfs *vfs =
		aligned_alloc(KHD_DISK_ALIGN, (sizeof(*vfs) + KHD_DISK_ALIGN - 1) / KHD_DISK_ALIGN *
						      KHD_DISK_ALIGN);

	if (!vfs)
		return NULL;
	memset(vfs, 0, sizeof(*vfs));
	vfs->disk = disk;
	vfs->report = to;
	vfs->arg = arg;
	snprintf(vfs->name, sizeof(vfs->name), "khd-%" PRIxPTR, (uintptr_t)vfs);
	vfs->base = (sqlite3_vfs){
		.iVersion = 1,
		.szOsFile = sizeof(struct vfs_file),
		.mxPathname = NAME_MAX_BYTES,
		.zName = vfs->name,
		.pAppData = vfs,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_path,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_time,
		.xGetLastError = vfs_error,
	};
	if (sqlite3_vfs_register(&vfs->base, 0) != SQLITE_OK) {
		free(vfs);
		return NULL;
	}
	return vfs;
}

void khd_vfs_free(struct khd_vfs *vfs)
{
	if (!vfs)
		return;
	sqlite3_vfs_unregister(&vfs->base);
	free(vfs);
}

/* ------------------------------------------------------------ the database */

/* The mode that the database is in, or that @sql brings it to: true if it is WAL. */
static int journal_mode(sqlite3 *db, const char *sql, bool *wal)
{
	sqlite3_stmt *stmt;
	int ret = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (ret != SQLITE_OK)
		return ret;
	ret = sqlite3_step(stmt);
	*wal = ret == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(stmt, 0), "wal");
	sqlite3_finalize(stmt);
	return ret == SQLITE_ROW ? SQLITE_OK : ret;
}

/*
 * A new database becomes WAL by a transaction that has a journal; it needs none on disk, for
 * nothing refers to the index before it is made.
 */
static int make_wal(sqlite3 *db)
{
	bool wal = false;
	int ret = journal_mode(db, "PRAGMA journal_mode", &wal);

	if (ret == SQLITE_OK && !wal)
		ret = journal_mode(db, "PRAGMA journal_mode=MEMORY", &wal);
	if (ret == SQLITE_OK && !wal)
		ret = journal_mode(db, "PRAGMA journal_mode=WAL", &wal);
	return ret == SQLITE_OK && !wal ? SQLITE_CORRUPT : ret;
}

static int set_up(sqlite3 *db, uint64_t cache)
{
	int reserve = KHD_VFS_RESERVE, ret;
	char sql[64];

	sqlite3_extended_result_codes(db, 1);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	snprintf(sql, sizeof(sql), "PRAGMA page_size=%u", KHD_VFS_PAGE);
	ret = sqlite3_exec(db, sql, NULL, NULL, NULL);
	if (ret == SQLITE_OK)
		ret = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
	if (ret == SQLITE_OK)
		ret = sqlite3_exec(db,
				   "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY;"
				   "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
				   "PRAGMA cell_size_check=ON; PRAGMA journal_size_limit=0",
				   NULL, NULL, NULL);
	if (ret == SQLITE_OK && cache) {
		snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%" PRIu64, (cache + 1023) / 1024);
		ret = sqlite3_exec(db, sql, NULL, NULL, NULL);
	}
	return ret == SQLITE_OK ? make_wal(db) : ret;
}

int khd_vfs_open(struct khd_vfs *vfs, uint64_t cache, sqlite3 **db)
{
	int ret = sqlite3_open_v2(INDEX_NAME, db,
				  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				  vfs->name);

	if (ret == SQLITE_OK)
		ret = set_up(*db, cache);
	if (ret != SQLITE_OK) {
		sqlite3_close(*db);
		*db = NULL;
	}
	return ret;
}

int khd_vfs_error(const struct khd_vfs *vfs)
{
	return vfs->code;
}

int64_t khd_vfs_verify(struct khd_disk *disk, khd_vfs_report *found, void *arg)
{
	int64_t size = disk->ops->size(disk, KHD_FILE_INDEX), damaged = 0, n, at;
	struct khd_wal wal;
	uint8_t *page;
	const char *what;
	int ret;

	if (size < 0)
		return size;
	ret = khd_wal_load(disk, KHD_VFS_PAGE, &wal);
	if (ret)
		return ret;
	page = aligned_alloc(KHD_DISK_ALIGN, KHD_VFS_PAGE);
	if (!page)
		damaged = -ENOMEM;
	for (at = 0; page && at < size; at += KHD_VFS_PAGE) {
		if (khd_wal_has(&wal, number_of((uint64_t)at)))
			continue;
		n = khd_disk_read_now(disk, KHD_FILE_INDEX, (uint64_t)at, page, KHD_VFS_PAGE);
		if (n < 0) {
			damaged = n;
			break;
		}
		what = n < KHD_VFS_PAGE ? "file is cut off" : verify(page, number_of((uint64_t)at));
		if (!what)
			continue;
		damaged++;
		found(arg, KHD_FILE_INDEX, (uint64_t)at, what);
	}
	free(page);
	khd_wal_free(&wal);
	return damaged;
}
