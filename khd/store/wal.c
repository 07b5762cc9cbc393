// SPDX-License-Identifier: GPL-2.0-or-later
/* wal.c - what SQLite's write-ahead log holds, read without SQLite */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/wal.h"

#define MAGIC 0x377f0682u /* lowest bit: the words of checksums are big endian */
#define FORMAT 3007000u
#define HEADER 32u
#define FRAME 24u
#define ROOM 1024u /* numbers, at first */

struct reader {
	struct khd_disk *disk;
	bool big;
	uint32_t page, salt[2];
	uint64_t offset;
	uint32_t sum[2]; /* of all that was read */
	uint8_t *buf; /* a frame and its page */
};

static uint32_t word(const uint8_t *bytes, bool big)
{
	uint32_t raw;

	memcpy(&raw, bytes, sizeof(raw));
	return big ? be32toh(raw) : le32toh(raw);
}

static uint32_t field(const uint8_t *bytes, unsigned int index)
{
	return word(bytes + 4 * index, true);
}

static void add(struct reader *r, const uint8_t *bytes, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i += 8) {
		r->sum[0] += word(bytes + i, r->big) + r->sum[1];
		r->sum[1] += word(bytes + i + 4, r->big) + r->sum[0];
	}
}

/* 1: @len bytes at the reader's place, 0: the file has fewer. */
static int take(struct reader *r, uint32_t len)
{
	int64_t n = khd_disk_read_now(r->disk, KHD_FILE_WAL, r->offset, r->buf, len);

	if (n < 0)
		return (int)n;
	r->offset += len;
	return n == len;
}

static int begin(struct reader *r)
{
	int ret = take(r, HEADER);

	if (ret <= 0)
		return ret;
	r->big = field(r->buf, 0) & 1;
	r->salt[0] = field(r->buf, 4);
	r->salt[1] = field(r->buf, 5);
	add(r, r->buf, HEADER - 8);
	return (field(r->buf, 0) & ~1u) == MAGIC && field(r->buf, 1) == FORMAT &&
	       field(r->buf, 2) == r->page && field(r->buf, 6) == r->sum[0] &&
	       field(r->buf, 7) == r->sum[1];
}

/* The next frame: 1, the number of its page, @pages if it ends a transaction; 0: there is none. */
static int next(struct reader *r, uint32_t *number, uint32_t *pages)
{
	int ret = take(r, FRAME + r->page);

	if (ret <= 0)
		return ret;
	*number = field(r->buf, 0);
	*pages = field(r->buf, 1);
	add(r, r->buf, 8);
	add(r, r->buf + FRAME, r->page);
	return *number && field(r->buf, 2) == r->salt[0] && field(r->buf, 3) == r->salt[1] &&
	       field(r->buf, 4) == r->sum[0] && field(r->buf, 5) == r->sum[1];
}

static int keep(struct khd_wal *wal, size_t at, size_t *room, uint32_t number)
{
	uint32_t *more;

	if (at == *room) {
		*room = at ? 2 * at : ROOM;
		more = reallocarray(wal->numbers, *room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		wal->numbers = more;
	}
	wal->numbers[at] = number;
	return 1;
}

static int by_number(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

int khd_wal_load(struct khd_disk *disk, uint32_t page, struct khd_wal *wal)
{
	struct reader r = { .disk = disk, .page = page };
	uint32_t number, pages;
	size_t room = 0, n;
	int ret;

	*wal = (struct khd_wal){ 0 };
	r.buf = aligned_alloc(KHD_DISK_ALIGN, (FRAME + page + KHD_DISK_ALIGN - 1) / KHD_DISK_ALIGN *
						      KHD_DISK_ALIGN);
	ret = r.buf ? begin(&r) : -ENOMEM;
	for (n = 0; ret > 0; n++) {
		ret = next(&r, &number, &pages);
		if (ret > 0)
			ret = keep(wal, n, &room, number);
		if (ret > 0 && pages)
			wal->count = n + 1;
	}
	free(r.buf);
	if (ret < 0)
		khd_wal_free(wal);
	else if (wal->count)
		qsort(wal->numbers, wal->count, sizeof(*wal->numbers), by_number);
	return ret;
}

bool khd_wal_has(const struct khd_wal *wal, uint32_t number)
{
	return wal->count && bsearch(&number, wal->numbers, wal->count, sizeof(number), by_number);
}

void khd_wal_free(struct khd_wal *wal)
{
	free(wal->numbers);
	*wal = (struct khd_wal){ 0 };
}
