// SPDX-License-Identifier: GPL-2.0-or-later
/* disk_dir.c - a store's files in a directory of a file system */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

#include "core/list.h"
#include "khd/log.h"
#include "khd/store/disk_dir.h"
#include "khd/store/flock.h"
#include "khd/worker.h"

#define ZERO_BYTES (1u << 20)
#define TRIES_MAX 100u /* of a transfer that the kernel puts off */
#define PAUSE_NS 50000000ull /* until one that had no memory is tried again */
#define PAUSES_READ 20u /* then it is told: who reads asks again */
#define PAUSES_WRITE 200u /* as long as calls wait for memory (KHD_WANT_MAX_NS) */
#define FILE_FLAGS (O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW)

static const char *const names[KHD_FILES] = {
	[KHD_FILE_SLOTS] = "slots",
	[KHD_FILE_INDEX] = "index",
	[KHD_FILE_WAL] = "index-wal",
};

/*
 * Two descriptions of each file, one for the loop and one for the synchronous calls: an error
 * that writeback met is told once to each description, so neither can take it from the other.
 */
enum side {
	SIDE_LOOP,
	SIDE_SYNC,
	SIDES
};

/**
 * struct dir_file - one file
 * @fds: by side
 * @written: counts writes that completed
 * @flushed: what @written was when a flush began that succeeded
 */
struct dir_file {
	int fds[SIDES];
	_Atomic uint64_t written, flushed;
};

/**
 * struct disk_dir - the backend
 * @path: for messages
 * @dir: the directory, locked
 * @direct: the slot file goes past the page cache
 * @failed: a flush did
 * @worker: runs jobs; NULL without a loop
 * @reap: waits for it
 * @timer: of the pause; -1 without a loop
 * @pause: waits for it, while there are some in @paused
 * @paused: transfers that had no memory, the last one first
 * @bounce: for synchronous calls that are not aligned, with @direct; those come one at a time
 */
struct disk_dir {
	struct khd_disk base;
	struct khd_loop *loop;
	char *path;
	int dir;
	bool direct;
	atomic_bool failed;
	struct dir_file files[KHD_FILES];
	struct khd_worker *worker;
	struct khd_io reap;
	int timer;
	struct khd_io pause;
	struct dir_io *paused;
	uint8_t *bounce;
};

/* The backend's part of an operation. */
struct dir_io {
	struct khd_io io;
	struct disk_dir *dd;
	uint64_t mark; /* FLUSH: of the file */
	unsigned int tries, pauses;
	struct dir_io *next; /* in paused */
};
static_assert(sizeof(struct dir_io) <= sizeof(((struct khd_disk_io *)0)->backend), "fits");

static struct disk_dir *dir_of(struct khd_disk *disk)
{
	return (struct disk_dir *)disk;
}

static struct khd_disk_io *op_of(struct khd_io *io)
{
	return kh_container((void **)(void *)io, struct khd_disk_io, backend[0]);
}

/* ------------------------------------------------------------ flush */

static bool clean(const struct dir_file *f)
{
	return atomic_load(&f->flushed) >= atomic_load(&f->written);
}

static void flushed_up_to(struct dir_file *f, uint64_t mark)
{
	uint64_t was = atomic_load(&f->flushed);

	while (was < mark && !atomic_compare_exchange_weak(&f->flushed, &was, mark))
		;
}

static int flush_failed(struct disk_dir *dd, unsigned int file, int err)
{
	if (!atomic_exchange(&dd->failed, true))
		khd_log(KHD_ERR, "%s/%s: fdatasync: %s", dd->path, names[file], strerror(err));
	return -err;
}

static int dir_flush(struct khd_disk *disk)
{
	struct disk_dir *dd = dir_of(disk);
	unsigned int i;

	for (i = 0; i < KHD_FILES; i++) {
		struct dir_file *f = &dd->files[i];
		uint64_t mark = atomic_load(&f->written);

		if (atomic_load(&dd->failed))
			return -EIO;
		if (clean(f))
			continue;
		if (fdatasync(f->fds[SIDE_SYNC]) < 0)
			return flush_failed(dd, i, errno);
		flushed_up_to(f, mark);
	}
	return atomic_load(&dd->failed) ? -EIO : 0;
}

static void flush_done(struct khd_io *io, int res)
{
	struct dir_io *di = (struct dir_io *)io;
	struct disk_dir *dd = di->dd;
	struct khd_disk_io *op = op_of(io);

	if (res == -EINTR) {
		khd_loop_submit(dd->loop, io);
		return;
	}
	if (res < 0)
		res = flush_failed(dd, op->file, -res);
	else
		flushed_up_to(&dd->files[op->file], di->mark);
	if (!res && atomic_load(&dd->failed))
		res = -EIO;
	op->done(op, res);
}

/* ------------------------------------------------------------ asynchronous operations */

static void pause_over(struct khd_io *io, int res)
{
	struct disk_dir *dd = io->buf;
	struct dir_io *di = dd->paused;

	dd->paused = NULL;
	while (di) {
		struct dir_io *next = di->next;

		khd_loop_submit(dd->loop, &di->io);
		di = next;
	}
}

/*
 * The kernel had no memory for it.  The same bytes go to, or come from, the same place, and nobody
 * has heard of them: that is as safe as the first time, whatever was written of them.
 */
static bool pause_transfer(struct dir_io *di)
{
	static const struct itimerspec pause = { .it_value.tv_nsec = PAUSE_NS };
	struct disk_dir *dd = di->dd;
	struct khd_disk_io *op = op_of(&di->io);

	if (di->pauses++ == (di->io.op == KHD_IO_READV ? PAUSES_READ : PAUSES_WRITE))
		return false;
	if (!dd->paused) { /* a timer that is set anew has not yet run out */
		if (timerfd_settime(dd->timer, 0, &pause, NULL) < 0)
			return false;
		khd_loop_submit(dd->loop, &dd->pause);
		if (di->pauses == 1)
			khd_log(KHD_WARN, "%s/%s: no memory for transfers; they are tried again",
				dd->path, names[op->file]);
	}
	di->next = dd->paused;
	dd->paused = di;
	return true;
}

static void transfer_done(struct khd_io *io, int res)
{
	struct dir_io *di = (struct dir_io *)io;
	struct khd_disk_io *op = op_of(io);

	if (res == -ENOMEM && pause_transfer(di))
		return;
	if ((res == -EINTR || res == -EAGAIN) && ++di->tries < TRIES_MAX) {
		khd_loop_submit(di->dd->loop, io);
		return;
	}
	if (io->op == KHD_IO_WRITEV)
		atomic_fetch_add(&di->dd->files[op->file].written, 1);
	op->done(op, res);
}

static void dir_submit(struct khd_disk *disk, struct khd_disk_io *op)
{
	struct disk_dir *dd = dir_of(disk);
	struct dir_io *di = (struct dir_io *)(void *)op->backend;
	struct dir_file *f = &dd->files[op->file];

	di->dd = dd;
	di->tries = di->pauses = 0;
	if (op->op == KHD_DISK_FLUSH) {
		di->mark = atomic_load(&f->written);
		di->io = (struct khd_io){ .op = KHD_IO_FDATASYNC,
					  .fd = f->fds[SIDE_LOOP],
					  .done = flush_done };
		khd_loop_submit(dd->loop, &di->io);
		return;
	}
	di->io = (struct khd_io){
		.op = op->op == KHD_DISK_READ ? KHD_IO_READV : KHD_IO_WRITEV,
		.fd = f->fds[SIDE_LOOP],
		.buf = (void *)op->iov,
		.len = op->iovs,
		.offset = op->offset,
		.done = transfer_done,
	};
	khd_loop_submit(dd->loop, &di->io);
}

static void dir_job(struct khd_disk *disk, struct khd_job *job)
{
	khd_worker_give(dir_of(disk)->worker, job);
}

static void reap(struct khd_io *io, int res)
{
	struct disk_dir *dd = io->buf;

	khd_loop_submit(dd->loop, io);
	khd_worker_reap(dd->worker);
}

/* ------------------------------------------------------------ synchronous calls */

static int64_t read_some(int fd, uint64_t offset, uint8_t *buf, size_t len)
{
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		n = pread(fd, buf + got, len - got, (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		got += (size_t)n;
		if (got % KHD_SECTOR)
			break; /* O_DIRECT reads on only from a sector's begin: it is the end */
	}
	return (int64_t)got;
}

static ssize_t write_once(int fd, uint64_t offset, const uint8_t *buf, size_t len)
{
	ssize_t n;

	do
		n = pwrite(fd, buf, len, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Less than @len is an error of the device, also where the rest could be written then.  It is tried
 * only to hear why: when the file system is full, the first call takes what it can, and the
 * second says so.
 */
static int64_t write_some(int fd, uint64_t offset, const uint8_t *buf, size_t len)
{
	ssize_t put = write_once(fd, offset, buf, len), more;

	if (put < 0 || (size_t)put == len)
		return put;
	more = write_once(fd, offset + (size_t)put, buf + put, len - (size_t)put);
	return more < 0 ? more : put;
}

/* May these go to an O_DIRECT description as they are? */
static bool aligned(const struct disk_dir *dd, uint64_t offset, const void *buf, size_t len)
{
	uint64_t mask = dd->base.sector - 1;

	return !((offset | len) & mask) && !((uintptr_t)buf % KHD_SECTOR);
}

/* By way of the bounce buffer, sectors around the ends included. */
static int64_t bounced(struct disk_dir *dd, uint64_t offset, void *to, const void *from, size_t len)
{
	uint64_t sector = dd->base.sector;
	int fd = dd->files[KHD_FILE_SLOTS].fds[SIDE_SYNC];
	size_t done = 0, lead, n, whole;
	int64_t ret;

	for (; done < len; done += n) {
		lead = (offset + done) % sector;
		n = len - done < ZERO_BYTES - lead ? len - done : ZERO_BYTES - lead;
		whole = (lead + n + sector - 1) / sector * sector;
		memset(dd->bounce, 0, whole);
		ret = read_some(fd, offset + done - lead, dd->bounce, whole);
		if (ret < 0)
			return ret;
		if (to) {
			n = ret <= (int64_t)lead   ? 0 :
			    (size_t)ret - lead < n ? (size_t)ret - lead :
						     n;
			memcpy((uint8_t *)to + done, dd->bounce + lead, n);
			if (!n)
				break;
			continue;
		}
		memcpy(dd->bounce + lead, (const uint8_t *)from + done, n);
		ret = write_some(fd, offset + done - lead, dd->bounce, whole);
		if (ret < 0)
			return ret;
		if (ret != (int64_t)whole)
			break;
	}
	return (int64_t)done;
}

/*
 * The same of a synchronous transfer of the slot file, which goes past the page cache; one of the
 * index is its caller's to try again.
 */
static bool pause_call(struct disk_dir *dd, enum khd_disk_file file, int64_t ret,
		       unsigned int *pauses, unsigned int most)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };

	if (ret != -ENOMEM || file != KHD_FILE_SLOTS || *pauses == most)
		return false;
	if (!(*pauses)++)
		khd_log(KHD_WARN, "%s/%s: no memory for a transfer; it is tried again", dd->path,
			names[file]);
	nanosleep(&pause, NULL);
	return true;
}

static bool straight(const struct disk_dir *dd, enum khd_disk_file file, uint64_t offset,
		     const void *buf, size_t len)
{
	return file != KHD_FILE_SLOTS || !dd->direct || aligned(dd, offset, buf, len);
}

static int64_t dir_read(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset, void *buf,
			size_t len)
{
	struct disk_dir *dd = dir_of(disk);
	unsigned int pauses = 0;
	int64_t ret;

	do
		ret = straight(dd, file, offset, buf, len) ?
			      read_some(dd->files[file].fds[SIDE_SYNC], offset, buf, len) :
			      bounced(dd, offset, buf, NULL, len);
	while (pause_call(dd, file, ret, &pauses, PAUSES_READ));
	return ret;
}

static int64_t dir_write(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset,
			 const void *buf, size_t len)
{
	struct disk_dir *dd = dir_of(disk);
	unsigned int pauses = 0;
	int64_t ret;

	do
		ret = straight(dd, file, offset, buf, len) ?
			      write_some(dd->files[file].fds[SIDE_SYNC], offset, buf, len) :
			      bounced(dd, offset, NULL, buf, len);
	while (pause_call(dd, file, ret, &pauses, PAUSES_WRITE));
	atomic_fetch_add(&dd->files[file].written, 1);
	return ret == -EDQUOT ? -ENOSPC : ret;
}

static int64_t dir_size(struct khd_disk *disk, enum khd_disk_file file)
{
	struct stat st;

	return fstat(dir_of(disk)->files[file].fds[SIDE_SYNC], &st) < 0 ? -errno : st.st_size;
}

/* Where space cannot be allocated, filling takes it. */
static int fill(struct disk_dir *dd, enum khd_disk_file file, uint64_t from, uint64_t to)
{
	int fd = dd->files[file].fds[SIDE_SYNC];
	uint64_t n;
	int64_t ret;

	memset(dd->bounce, 0, ZERO_BYTES);
	for (; from < to; from += n) {
		n = to - from < ZERO_BYTES ? to - from : ZERO_BYTES;
		ret = write_some(fd, from, dd->bounce, n);
		if (ret != (int64_t)n)
			return ret < 0 ? (int)ret : -EIO;
	}
	return 0;
}

static int grow(struct disk_dir *dd, enum khd_disk_file file, uint64_t from, uint64_t to)
{
	int fd = dd->files[file].fds[SIDE_SYNC], ret;

	do
		ret = fallocate(fd, 0, (off_t)from, (off_t)(to - from)) < 0 ? -errno : 0;
	while (ret == -EINTR);
	if (ret == -EOPNOTSUPP)
		ret = fill(dd, file, from, to);
	if (ret && ftruncate(fd, (off_t)from) < 0)
		khd_log(KHD_WARN, "%s/%s: ftruncate: %s", dd->path, names[file], strerror(errno));
	return ret == -EDQUOT || ret == -EFBIG ? -ENOSPC : ret;
}

static int dir_resize(struct khd_disk *disk, enum khd_disk_file file, uint64_t size)
{
	struct disk_dir *dd = dir_of(disk);
	int64_t now = dir_size(disk, file);
	int ret = 0;

	if (now < 0)
		return (int)now;
	if (dd->direct && file == KHD_FILE_SLOTS &&
	    (size % dd->base.sector || ((uint64_t)now < size && (uint64_t)now % dd->base.sector)))
		return -EINVAL;
	if ((uint64_t)now < size)
		ret = grow(dd, file, (uint64_t)now, size);
	else if ((uint64_t)now > size && ftruncate(dd->files[file].fds[SIDE_SYNC], (off_t)size) < 0)
		ret = -errno;
	atomic_fetch_add(&dd->files[file].written, 1);
	return ret;
}

/* Blocks behind the end, unwritten.  A file system that knows none of that gives no promise. */
static int dir_reserve(struct khd_disk *disk, enum khd_disk_file file, uint64_t size)
{
	struct disk_dir *dd = dir_of(disk);
	int fd = dd->files[file].fds[SIDE_SYNC], ret = 0;

	while (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EOPNOTSUPP)
			ret = -errno;
		break;
	}
	atomic_fetch_add(&dd->files[file].written, 1);
	return ret == -EDQUOT || ret == -EFBIG ? -ENOSPC : ret;
}

/* An empty file is none. */
static int dir_remove(struct khd_disk *disk, enum khd_disk_file file)
{
	return dir_resize(disk, file, 0);
}

static const struct khd_disk_ops dir_ops = {
	.submit = dir_submit,
	.job = dir_job,
	.read = dir_read,
	.write = dir_write,
	.flush = dir_flush,
	.size = dir_size,
	.resize = dir_resize,
	.reserve = dir_reserve,
	.remove = dir_remove,
};

/* ------------------------------------------------------------ open and close */

/* What O_DIRECT asks of this file; false if it cannot have it. */
static bool direct_sector(int fd, unsigned int *sector)
{
	struct statx stx = { 0 };

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 ||
	    !(stx.stx_mask & STATX_DIOALIGN)) {
		/* An older kernel: what holds for every disk there is. */
		*sector = 4096;
		return true;
	}
	*sector = stx.stx_dio_offset_align < KHD_SECTOR ? KHD_SECTOR : stx.stx_dio_offset_align;
	return stx.stx_dio_offset_align && stx.stx_dio_offset_align <= KHD_DISK_ALIGN &&
	       stx.stx_dio_mem_align <= KHD_SECTOR;
}

static int open_slots(struct disk_dir *dd)
{
	const char *name = names[KHD_FILE_SLOTS];
	struct dir_file *f = &dd->files[KHD_FILE_SLOTS];
	unsigned int side, sector = KHD_SECTOR;

	f->fds[SIDE_LOOP] = openat(dd->dir, name, FILE_FLAGS | O_DIRECT, 0600);
	dd->direct = f->fds[SIDE_LOOP] >= 0 && direct_sector(f->fds[SIDE_LOOP], &sector);
	dd->base.sector = sector;
	if (!dd->direct) {
		khd_log(KHD_WARN, "%s/%s: no O_DIRECT here; pages are cached twice", dd->path,
			name);
		if (f->fds[SIDE_LOOP] >= 0)
			close(f->fds[SIDE_LOOP]);
	}
	for (side = dd->direct ? SIDE_SYNC : SIDE_LOOP; side < SIDES; side++) {
		f->fds[side] =
			openat(dd->dir, name, FILE_FLAGS | (dd->direct ? O_DIRECT : 0), 0600);
		if (f->fds[side] < 0)
			return errno;
	}
	return 0;
}

static int open_files(struct disk_dir *dd)
{
	unsigned int i, side;
	int err = open_slots(dd);

	for (i = 0; !err && i < KHD_FILES; i++)
		for (side = 0; !err && i != KHD_FILE_SLOTS && side < SIDES; side++) {
			dd->files[i].fds[side] = openat(dd->dir, names[i], FILE_FLAGS, 0600);
			err = dd->files[i].fds[side] < 0 ? errno : 0;
		}
	return err;
}

/*
 * What a process that is gone wrote to a cache becomes durable, or every flush fails from now on;
 * and it is read from the disk, if the file system lets go of it: a page that writeback lost stays
 * in the cache as if it were there.
 */
static void past_the_cache(struct disk_dir *dd)
{
	unsigned int i;

	for (i = 0; i < KHD_FILES; i++) {
		int fd = dd->files[i].fds[SIDE_SYNC];

		if (i == KHD_FILE_SLOTS && dd->direct)
			continue;
		if (fdatasync(fd) < 0)
			flush_failed(dd, i, errno);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

/* The names must last: the directory, and, if it is new, its own. */
static int open_dir(struct disk_dir *dd)
{
	bool made = !mkdir(dd->path, 0700);
	int parent, err;

	if (!made && errno != EEXIST)
		return errno;
	dd->dir = open(dd->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dd->dir < 0)
		return errno;
	err = -khd_flock(dd->dir, dd->loop);
	if (err)
		return err;
	if (made) {
		parent = openat(dd->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = parent < 0 || fsync(parent) < 0 ? errno : 0;
		if (parent >= 0)
			close(parent);
	}
	if (!err)
		err = open_files(dd);
	if (!err && fsync(dd->dir) < 0)
		err = errno;
	if (!err)
		past_the_cache(dd);
	return err;
}

struct khd_disk *khd_disk_dir_open(struct khd_loop *loop, const char *path, int *error)
{
	struct disk_dir *dd = calloc(1, sizeof(*dd));
	unsigned int i;

	*error = ENOMEM;
	if (!dd)
		return NULL;
	dd->base.ops = &dir_ops;
	dd->loop = loop;
	dd->dir = dd->timer = -1;
	for (i = 0; i < KHD_FILES; i++) {
		dd->files[i].fds[SIDE_LOOP] = dd->files[i].fds[SIDE_SYNC] = -1;
		dd->files[i].written = 1; /* by one that was killed before it flushed */
	}
	dd->path = strdup(path);
	dd->bounce = aligned_alloc(KHD_DISK_ALIGN, ZERO_BYTES);
	if (dd->path && dd->bounce)
		*error = open_dir(dd);
	if (!*error && loop) {
		dd->worker = khd_worker_new();
		dd->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		*error = dd->worker && dd->timer >= 0 ? 0 : errno;
	}
	if (*error) {
		khd_log(KHD_ERR, "%s: %s", path, strerror(*error));
		khd_disk_dir_close(&dd->base);
		return NULL;
	}
	if (loop) {
		dd->reap = (struct khd_io){
			.op = KHD_IO_POLL, .fd = khd_worker_fd(dd->worker), .buf = dd, .done = reap
		};
		khd_loop_submit(loop, &dd->reap);
		dd->pause = (struct khd_io){
			.op = KHD_IO_POLL, .fd = dd->timer, .buf = dd, .done = pause_over
		};
	}
	return &dd->base;
}

void khd_disk_dir_close(struct khd_disk *disk)
{
	struct disk_dir *dd = dir_of(disk);
	unsigned int i, side;

	if (!dd)
		return;
	khd_worker_free(dd->worker);
	for (i = 0; i < KHD_FILES; i++)
		for (side = 0; side < SIDES; side++)
			if (dd->files[i].fds[side] >= 0)
				close(dd->files[i].fds[side]);
	if (dd->dir >= 0)
		close(dd->dir);
	if (dd->timer >= 0)
		close(dd->timer);
	free(dd->bounce);
	free(dd->path);
	free(dd);
}
