// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The layout (Documentation/admin-guide/device-mapper/log-writes.rst of Linux, and its numbers):
 * a superblock in the first sector, then for each entry one sector of description, and the data.
 */
#include "selftests/vm/wlog.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MAGIC 0x6a736677736872ull
#define LOG_VERSION 1
#define SECTOR 512u

enum {
	ENTRY_FLUSH = 1,
	ENTRY_FUA = 2,
	ENTRY_DISCARD = 4,
	ENTRY_MARK = 8
};

struct log_head {
	uint64_t magic;
	uint64_t version;
	uint64_t entries;
	uint32_t sector_size;
};

struct log_entry {
	uint64_t sector;
	uint64_t sectors;
	uint64_t flags;
	uint64_t text_length;
};

static const char *map_file(struct wlog *log, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return strerror(errno);
	if (fstat(fd, &st) || st.st_size < SECTOR) {
		close(fd);
		return "too short for a log";
	}
	log->size = st.st_size;
	log->map = mmap(NULL, log->size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (log->map == MAP_FAILED) {
		log->map = NULL;
		return strerror(errno);
	}
	return NULL;
}

/* The entry at @at; returns where the next one begins, 0 for nonsense. Appends one or two. */
static uint64_t read_entry(struct wlog *log, uint64_t at, uint32_t block)
{
	struct wlog_entry *out = &log->entries[log->count];
	const uint8_t *base = log->map;
	struct log_entry entry;
	uint64_t flags, room;

	if (at > log->size - block)
		return 0;
	memcpy(&entry, base + at, sizeof(entry));
	flags = le64toh(entry.flags);
	room = log->size - at - block;
	*out = (struct wlog_entry){ .offset = le64toh(entry.sector) * block,
				    .length = le64toh(entry.sectors) * block,
				    .data = base + at + block };
	at += block;
	if (flags & ENTRY_MARK) {
		out->kind = WLOG_MARK;
		out->data = base + at - block + sizeof(entry);
		out->length = le64toh(entry.text_length);
		log->count++;
		return out->length <= block - sizeof(entry) ? at : 0;
	}
	if (flags & ENTRY_DISCARD) {
		out->kind = WLOG_DISCARD;
		out->data = NULL;
		log->count++;
		return at;
	}
	if (le64toh(entry.sectors) > room / block)
		return 0;
	at += out->length;
	if (flags & ENTRY_FLUSH) {
		out[1] = out[0];
		*out = (struct wlog_entry){ .kind = WLOG_FLUSH };
		log->count++;
		out++;
	}
	if (out->length) {
		out->kind = flags & ENTRY_FUA ? WLOG_FUA : WLOG_WRITE;
		log->count++;
	}
	return at;
}

/**
 * wlog_open - read a log
 * @log: out; wlog_close() it also after an error
 * @path: device or file
 *
 * Return: NULL, or what is wrong.
 */
const char *wlog_open(struct wlog *log, const char *path)
{
	const char *wrong;
	struct log_head head;
	uint64_t entries, at;
	uint32_t block;

	memset(log, 0, sizeof(*log));
	wrong = map_file(log, path);
	if (wrong)
		return wrong;
	memcpy(&head, log->map, sizeof(head));
	block = le32toh(head.sector_size);
	entries = le64toh(head.entries);
	if (le64toh(head.magic) != LOG_MAGIC || le64toh(head.version) != LOG_VERSION)
		return "no log of dm-log-writes";
	if (block < SECTOR || block > 65536 || block & (block - 1))
		return "damaged: size of a sector";
	if (entries > log->size / block)
		return "damaged: number of entries";
	log->entries = calloc(2 * entries + 1, sizeof(*log->entries));
	if (!log->entries)
		return strerror(ENOMEM);
	at = block;
	for (uint64_t i = 0; i < entries; i++) {
		at = read_entry(log, at, block);
		if (!at)
			return "damaged, or longer than its device";
	}
	return NULL;
}

void wlog_close(struct wlog *log)
{
	free(log->entries);
	if (log->map)
		munmap(log->map, log->size);
	memset(log, 0, sizeof(*log));
}
