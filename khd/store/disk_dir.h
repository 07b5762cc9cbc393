/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk_dir.h - a store's files in a directory of a file system
 *
 * The directory is 0700 and locked (flock): one khd, or one offline tool, uses it.  Its files
 * are 0600: slots, index, index-wal.  The slot file is read and written past the page cache
 * (O_DIRECT) where the file system can.  A flush is fdatasync(2) of the files that were written
 * since the last; after one that failed all fail.
 */
#ifndef KHD_STORE_DISK_DIR_H
#define KHD_STORE_DISK_DIR_H

#include "khd/loop.h"
#include "khd/store/disk.h"

/**
 * khd_disk_dir_open() - open the directory, make it if it is not there
 * @loop: for asynchronous operations and jobs; NULL: only the synchronous calls are used
 * @error: out, a positive errno: EBUSY when another process has it
 *
 * Return: NULL and @error, which is logged.
 */
struct khd_disk *khd_disk_dir_open(struct khd_loop *loop, const char *path, int *error);

/**
 * khd_disk_dir_close() - jobs that were given are run, all is closed; nothing is flushed
 *
 * The loop was destroyed, or is not waited for any more. NULL is allowed.
 */
void khd_disk_dir_close(struct khd_disk *disk);

#endif /* KHD_STORE_DISK_DIR_H */
