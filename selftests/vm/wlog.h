/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The record that dm-log-writes makes of a device's writes, read back. Its order is that of
 * completion: a write that was not forced to the medium is in it just before the flush that covers
 * it, a forced one (FUA) where it completed.
 */
#ifndef SELFTESTS_VM_WLOG_H
#define SELFTESTS_VM_WLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wlog_kind {
	WLOG_WRITE, /* data for sectors; after a power cut they are there if the next FLUSH is */
	WLOG_FUA, /* the same, and they are there at once */
	WLOG_FLUSH, /* everything before is there */
	WLOG_DISCARD, /* sectors without data */
	WLOG_MARK, /* text of the user */
};

/**
 * struct wlog_entry - one entry
 * @kind: what
 * @offset: WRITE, FUA, DISCARD: first byte
 * @length: bytes; of @data except for DISCARD
 * @data: in the log
 */
struct wlog_entry {
	enum wlog_kind kind;
	uint64_t offset;
	uint64_t length;
	const uint8_t *data;
};

/**
 * struct wlog - a whole log
 * @entries: in the order of completion; a flush that carried data is a FLUSH and then a WRITE or FUA
 * @count: how many
 */
struct wlog {
	struct wlog_entry *entries;
	size_t count;
	void *map;
	size_t size;
};

const char *wlog_open(struct wlog *log, const char *path);
void wlog_close(struct wlog *log);

#endif
