/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - the seam below the page store: a few files on one device
 *
 * What a disk promises, and all that the store relies on:
 *
 *  - a write that completed is on the device after a flush of the disk that was submitted later and
 *    completed with 0; before, a crash may leave any subset of its 512-byte sectors, in any order
 *    with other writes;
 *  - a sector of 512 bytes is old or new, never a mixture (a torn one is bit rot, and noticed);
 *  - a synchronous flush covers the writes to all files of the disk, KHD_DISK_FLUSH those to its
 * one;
 *  - a failed flush says nothing of the writes before it, and nothing repairs that: every flush
 * that completes after it fails too, and the store goes out of service at the first error.
 *
 * Three backends: disk_dir.c (a directory, O_DIRECT), selftests/store/disk_sim.c (a seeded
 * simulation that crashes, tears and fails), and tests that count.
 */
#ifndef KHD_STORE_DISK_H
#define KHD_STORE_DISK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define KHD_SECTOR 512u
#define KHD_DISK_ALIGN 4096u /* of memory given to read and write */

/* The files of a store. */
enum khd_disk_file {
	KHD_FILE_SLOTS, /* superblocks, redo log, segments of slots */
	KHD_FILE_INDEX, /* SQLite's database */
	KHD_FILE_WAL, /* and its write-ahead log */
	KHD_FILES
};

enum khd_disk_op {
	KHD_DISK_READ, /* KHD_FILE_SLOTS: @file, @offset, @iov */
	KHD_DISK_WRITE, /* the same */
	KHD_DISK_FLUSH, /* writes to @file that completed before this was submitted are durable */
};

/**
 * struct khd_disk_io - one asynchronous operation
 * @op: what to do
 * @file: in which file
 * @offset: in bytes, a multiple of the disk's sector
 * @iov: memory; every base is a multiple of KHD_SECTOR at least, every length of the disk's sector
 * @iovs: how many, at most KHD_DISK_IOVS
 * @done: called once, from the loop, never from within submit; @res is the number of bytes
 *	transferred (a short count is an error of the device), 0 for a flush, or a negative errno;
 *	ENOMEM, which was tried again for a while, is no error of the device if it is a read's
 *
 * The caller keeps it and what it points to until @done.
 */
struct khd_disk_io {
	enum khd_disk_op op;
	enum khd_disk_file file;
	uint64_t offset;
	const struct iovec *iov;
	unsigned int iovs;
	void (*done)(struct khd_disk_io *io, int64_t res);
	void *backend[12]; /* the backend's own */
};

#define KHD_DISK_IOVS 128u

/**
 * struct khd_job - work that blocks: reads and writes of the index
 * @run: does it, perhaps in another thread; touches nothing but what the job owns and the index
 * @done: called once from the loop, when @run has returned
 *
 * Jobs of one disk run one after the other, in the order of submission.
 */
struct khd_job {
	void (*run)(struct khd_job *job);
	void (*done)(struct khd_job *job);
	struct khd_job *next;
};

struct khd_disk;

/**
 * struct khd_disk_ops - a backend; all are required
 * @submit: begin @io
 * @job: run @job after all that were given before
 * @read: synchronous; bytes read (fewer only at the end of the file) or a negative errno
 * @write: synchronous; @len, less if the device took less, or a negative errno.  Makes the file
 *	and makes it longer as needed
 * @flush: synchronous, all files; 0 or a negative errno
 * @size: bytes of @file, 0 if it does not exist (an empty file is none), or a negative errno
 * @resize: grow (with zeros, their space allocated and durable with the next flush; -ENOSPC) or cut
 * @reserve: have the space for the first @size bytes of @file, and keep it: writes to them do not
 *fail with -ENOSPC any more, also those behind the end, where it stays.  0, or -ENOSPC and nothing
 *that counts has changed; durable with the next flush
 * @remove: delete @file; durable with the next flush.  0 if it is not there
 *
 * The synchronous calls are for start, for offline tools, and for jobs.
 */
struct khd_disk_ops {
	void (*submit)(struct khd_disk *disk, struct khd_disk_io *io);
	void (*job)(struct khd_disk *disk, struct khd_job *job);
	int64_t (*read)(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset, void *buf,
			size_t len);
	int64_t (*write)(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset,
			 const void *buf, size_t len);
	int (*flush)(struct khd_disk *disk);
	int64_t (*size)(struct khd_disk *disk, enum khd_disk_file file);
	int (*resize)(struct khd_disk *disk, enum khd_disk_file file, uint64_t size);
	int (*reserve)(struct khd_disk *disk, enum khd_disk_file file, uint64_t size);
	int (*remove)(struct khd_disk *disk, enum khd_disk_file file);
};

/**
 * struct khd_disk - a backend embeds this
 * @ops: its table
 * @sector: what transfers of the slot file must be multiples of, a power of two, KHD_SECTOR to
 *	KHD_DISK_ALIGN; the store writes it in whole ones.  No more than KHD_SECTOR of it is relied
 *	on to be old or new
 */
struct khd_disk {
	const struct khd_disk_ops *ops;
	unsigned int sector;
};

/**
 * khd_disk_read_now() - a synchronous read that is short only at the end of the file
 *
 * What the device gave less than there is must not be taken for a file, or a log, that ends there.
 * Return: bytes read, or a negative errno; EIO for such a read.
 */
static inline int64_t khd_disk_read_now(struct khd_disk *disk, enum khd_disk_file file,
					uint64_t offset, void *buf, size_t len)
{
	int64_t n = disk->ops->read(disk, file, offset, buf, len), size;

	if (n < 0 || (size_t)n == len)
		return n;
	size = disk->ops->size(disk, file);
	if (size < 0)
		return size;
	return (uint64_t)size > offset + (uint64_t)n ? -EIO : n;
}

/**
 * khd_disk_write_now() - a synchronous write of all of it
 *
 * Return: 0, or a negative errno; EIO if the device took less.
 */
static inline int khd_disk_write_now(struct khd_disk *disk, enum khd_disk_file file,
				     uint64_t offset, const void *buf, size_t len)
{
	int64_t n = disk->ops->write(disk, file, offset, buf, len);

	return n < 0 ? (int)n : (size_t)n < len ? -EIO : 0;
}

#endif /* KHD_STORE_DISK_H */
