// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * disk_dir_test.c - the real backend, over both loops, with O_DIRECT and without
 *
 * disk_dir_test DIR: DIR is on a disk; files without O_DIRECT are made in /dev/shm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "khd/store/disk_dir.h"

#define BYTES (4u << 20)
#define WAIT_NS 2000000000ull
#define PASSES 100000

static char dirs[2][200];

struct place {
	const char *dir;
	bool poll;
};

static void forget(const char *dir)
{
	static const char *const names[] = { "slots", "index", "index-wal" };
	char path[300];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static struct khd_loop *make_loop(const struct place *at)
{
	struct khd_loop *loop = at->poll ? khd_loop_poll(64) : khd_loop_uring(64);

	if (!loop && !at->poll)
		skip();
	assert_non_null(loop);
	return loop;
}

static struct khd_disk *begin(const struct place *at, struct khd_loop **loop)
{
	struct khd_disk *disk;
	int error;

	*loop = make_loop(at);
	forget(at->dir);
	disk = khd_disk_dir_open(*loop, at->dir, &error);
	assert_non_null(disk);
	return disk;
}

static void finish(struct khd_disk *disk, struct khd_loop *loop)
{
	khd_loop_destroy(loop);
	khd_disk_dir_close(disk);
}

/* An operation and its result. */
struct one {
	struct khd_disk_io io;
	struct iovec iov[4];
	int64_t res;
	bool done;
};

static void one_done(struct khd_disk_io *io, int64_t res)
{
	struct one *one = (struct one *)io;

	assert_false(one->done);
	one->done = true;
	one->res = res;
}

static void wait_for(struct khd_loop *loop, const bool *done)
{
	unsigned int i;

	for (i = 0; !*done && i < PASSES; i++)
		assert_int_equal(khd_loop_wait(loop, WAIT_NS), 0);
	assert_true(*done);
}

static void start(struct khd_disk *disk, struct one *one, enum khd_disk_op op, uint64_t offset,
		  uint8_t *buf, size_t len)
{
	memset(one, 0, sizeof(*one));
	one->iov[0] = (struct iovec){ buf, len / 2 };
	one->iov[1] = (struct iovec){ buf + len / 2, len - len / 2 };
	one->io.op = op;
	one->io.offset = offset;
	one->io.iov = one->iov;
	one->io.iovs = op == KHD_DISK_FLUSH ? 0 : 2;
	one->io.done = one_done;
	disk->ops->submit(disk, &one->io);
	assert_false(one->done);
}

static void what_is_written_is_read(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t *buf = aligned_alloc(KHD_DISK_ALIGN, 64 * 8192), *back;
	static struct one ones[64], flush;
	unsigned int i;

	back = aligned_alloc(KHD_DISK_ALIGN, 64 * 8192);
	assert_int_equal(disk->ops->size(disk, KHD_FILE_SLOTS), 0);
	assert_int_equal(disk->ops->resize(disk, KHD_FILE_SLOTS, BYTES), 0);
	assert_int_equal(disk->ops->size(disk, KHD_FILE_SLOTS), BYTES);
	for (i = 0; i < 64 * 8192; i++)
		buf[i] = (uint8_t)(i * 31 + i / 8192);
	for (i = 0; i < 64; i++)
		start(disk, &ones[i], KHD_DISK_WRITE, i * 8192, buf + i * 8192, 8192);
	start(disk, &flush, KHD_DISK_FLUSH, 0, NULL, 0);
	for (i = 0; i < 64; i++) {
		wait_for(loop, &ones[i].done);
		assert_int_equal(ones[i].res, 8192);
	}
	wait_for(loop, &flush.done);
	assert_int_equal(flush.res, 0);
	for (i = 0; i < 64; i++)
		start(disk, &ones[i], KHD_DISK_READ, i * 8192, back + i * 8192, 8192);
	for (i = 0; i < 64; i++) {
		wait_for(loop, &ones[i].done);
		assert_int_equal(ones[i].res, 8192);
	}
	assert_memory_equal(buf, back, 64 * 8192);
	start(disk, &ones[0], KHD_DISK_READ, BYTES - 4096, back, 8192);
	wait_for(loop, &ones[0].done);
	assert_int_equal(ones[0].res, 4096);
	free(buf);
	free(back);
	finish(disk, loop);
}

static void synchronous_calls_need_no_alignment(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t buf[3000], back[3000];
	unsigned int file, i;

	for (file = 0; file < KHD_FILES; file++) {
		assert_int_equal(disk->ops->resize(disk, file, 65536), 0);
		for (i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)(i * 7 + file);
		assert_int_equal(disk->ops->write(disk, file, 32, buf, sizeof(buf)), sizeof(buf));
		assert_int_equal(disk->ops->write(disk, file, 40, "Khazana", 7), 7);
		memcpy(buf + 8, "Khazana", 7);
		assert_int_equal(disk->ops->read(disk, file, 32, back, sizeof(back)), sizeof(back));
		assert_memory_equal(buf, back, sizeof(buf));
		assert_int_equal(disk->ops->read(disk, file, 65536 - 100, back, 1000), 100);
		assert_int_equal(disk->ops->read(disk, file, 65536, back, 1000), 0);
		assert_int_equal(disk->ops->flush(disk), 0);
		assert_int_equal(disk->ops->resize(disk, file, 8192), 0);
		assert_int_equal(disk->ops->resize(disk, file, 65536), 0);
		assert_int_equal(disk->ops->read(disk, file, 8192, back, 1000), 1000);
		for (i = 0; i < 1000; i++)
			assert_int_equal(back[i], 0);
		assert_int_equal(disk->ops->remove(disk, file), 0);
		assert_int_equal(disk->ops->size(disk, file), 0);
		assert_int_equal(disk->ops->remove(disk, file), 0);
	}
	finish(disk, loop);
}

/* Jobs, each of which notes its place. */
struct numbered {
	struct khd_job job;
	unsigned int number, *next_run, *next_done;
	bool done;
};

static void numbered_run(struct khd_job *job)
{
	struct numbered *n = (struct numbered *)job;

	if (*n->next_run == n->number)
		++*n->next_run;
}

static void numbered_done(struct khd_job *job)
{
	struct numbered *n = (struct numbered *)job;

	if (*n->next_done == n->number)
		++*n->next_done;
	n->done = true;
}

static void jobs_run_in_order(void **state)
{
	static struct numbered jobs[200];
	unsigned int i, next_run = 0, next_done = 0;
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);

	for (i = 0; i < 200; i++) {
		jobs[i] = (struct numbered){ .job = { .run = numbered_run, .done = numbered_done },
					     .number = i,
					     .next_run = &next_run,
					     .next_done = &next_done };
		disk->ops->job(disk, &jobs[i].job);
	}
	wait_for(loop, &jobs[199].done);
	assert_int_equal(next_run, 200);
	assert_int_equal(next_done, 200);
	finish(disk, loop);
}

static void one_process_has_it(void **state)
{
	const struct place *at = *state;
	struct khd_loop *loop;
	struct khd_disk *disk = begin(at, &loop), *second;
	struct stat st;
	char path[300];
	int error;

	second = khd_disk_dir_open(NULL, at->dir, &error);
	assert_null(second);
	assert_int_equal(error, EBUSY);
	assert_int_equal(stat(at->dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "%s/slots", at->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	finish(disk, loop);
	disk = khd_disk_dir_open(NULL, at->dir, &error);
	assert_non_null(disk);
	khd_disk_dir_close(disk);
}

static const struct khd_loop_ops *ops_below;

/* A loop that counts what is made durable. */
static unsigned int syncs;

static void submit_counted(struct khd_loop *loop, struct khd_io *io)
{
	syncs += io->op == KHD_IO_FDATASYNC;
	ops_below->submit(loop, io);
}

/* Whatever else was written: a group's flush waits for its file, and for no other. */
static void a_flush_is_of_one_file(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t *buf = aligned_alloc(KHD_DISK_ALIGN, 8192);
	struct khd_loop_ops ops;
	static struct one one;
	unsigned int i;

	memset(buf, 0, 8192);
	ops_below = loop->ops;
	ops = *ops_below;
	ops.submit = submit_counted;
	loop->ops = &ops;
	for (i = 0; i < 3; i++) {
		assert_int_equal(disk->ops->write(disk, KHD_FILE_INDEX, i * 8192, buf, 8192), 8192);
		assert_int_equal(disk->ops->write(disk, KHD_FILE_WAL, i * 8192, buf, 8192), 8192);
		syncs = 0;
		start(disk, &one, KHD_DISK_WRITE, 0, buf, 8192);
		wait_for(loop, &one.done);
		start(disk, &one, KHD_DISK_FLUSH, 0, NULL, 0);
		wait_for(loop, &one.done);
		assert_int_equal(one.res, 0);
		assert_int_equal(syncs, 1);
	}
	loop->ops = ops_below;
	free(buf);
	finish(disk, loop);
}

/* Pages of @name that the page cache has; -1: it has all of them, always (tmpfs). */
static int cached(const char *dir, const char *name)
{
	unsigned char in[16] = { 0 };
	struct statfs sfs;
	int fd, i, count = 0;
	char path[300];
	void *map;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fstatfs(fd, &sfs), 0);
	map = mmap(NULL, 16 << 12, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mincore(map, 16 << 12, in), 0);
	munmap(map, 16 << 12);
	close(fd);
	for (i = 0; i < 16; i++)
		count += in[i] & 1;
	return sfs.f_type == TMPFS_MAGIC ? -1 : count;
}

/* A page that writeback lost stays in the cache: who opens a store reads what the disk has. */
static void what_is_opened_is_read_from_the_disk(void **state)
{
	const struct place *at = *state;
	uint8_t buf[16 << 12], back[16 << 12];
	struct khd_disk *disk;
	int error, in;

	forget(at->dir);
	memset(buf, 7, sizeof(buf));
	disk = khd_disk_dir_open(NULL, at->dir, &error);
	assert_non_null(disk);
	assert_int_equal(disk->ops->write(disk, KHD_FILE_INDEX, 0, buf, sizeof(buf)), sizeof(buf));
	khd_disk_dir_close(disk); /* killed before it flushed */
	in = cached(at->dir, "index");
	assert_true(in == -1 || in == 16);
	disk = khd_disk_dir_open(NULL, at->dir, &error);
	assert_non_null(disk);
	assert_int_equal(cached(at->dir, "index"), in == -1 ? -1 : 0);
	assert_int_equal(disk->ops->read(disk, KHD_FILE_INDEX, 0, back, sizeof(back)),
			 sizeof(back));
	assert_memory_equal(buf, back, sizeof(buf));
	assert_int_equal(disk->ops->flush(disk), 0);
	khd_disk_dir_close(disk);
}

/* What ends amid a sector does not grow, but is cut. */
static void a_byte_too_many_is_cut_off(void **state)
{
	const struct place *at = *state;
	struct khd_loop *loop;
	struct khd_disk *disk = begin(at, &loop);
	char path[300];

	assert_int_equal(disk->ops->resize(disk, KHD_FILE_SLOTS, 65536), 0);
	snprintf(path, sizeof(path), "%s/slots", at->dir);
	assert_int_equal(truncate(path, 65537), 0);
	assert_int_equal(disk->ops->resize(disk, KHD_FILE_SLOTS, 65536), 0);
	assert_int_equal(disk->ops->size(disk, KHD_FILE_SLOTS), 65536);
	assert_int_equal(disk->ops->resize(disk, KHD_FILE_SLOTS, BYTES), 0);
	finish(disk, loop);
}

/* No space: in a child, because the limit would stay. */
static void no_space_is_said_and_leaves_the_file_as_it_was(void **state)
{
	const struct place *at = *state;
	int status, error;
	pid_t pid;

	forget(at->dir);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct rlimit limit = { 1u << 20, 1u << 20 };
		struct khd_disk *disk = khd_disk_dir_open(NULL, at->dir, &error);
		bool ok;

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		ok = disk && !disk->ops->resize(disk, KHD_FILE_SLOTS, 65536) &&
		     disk->ops->resize(disk, KHD_FILE_SLOTS, BYTES) == -ENOSPC &&
		     disk->ops->size(disk, KHD_FILE_SLOTS) == 65536;
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* A loop that puts every transfer off. */
static struct khd_io *put_off;
static unsigned int transfers;

static void submit_later(struct khd_loop *loop, struct khd_io *io)
{
	if (io->op == KHD_IO_READV || io->op == KHD_IO_WRITEV) {
		assert_null(put_off);
		put_off = io;
		transfers++;
	} else {
		ops_below->submit(loop, io);
	}
}

/* Not for ever: then it is an error of the device. */
static void what_is_put_off_ends(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t *buf = aligned_alloc(KHD_DISK_ALIGN, 8192);
	struct khd_loop_ops ops;
	static struct one one;
	unsigned int round;

	memset(buf, 0, 8192);
	ops_below = loop->ops;
	ops = *ops_below;
	ops.submit = submit_later;
	for (round = 0; round < 2; round++) { /* each transfer has all its tries */
		loop->ops = &ops;
		transfers = 0;
		start(disk, &one, round ? KHD_DISK_READ : KHD_DISK_WRITE, 0, buf, 8192);
		while (put_off && transfers < 100000) {
			struct khd_io *io = put_off;

			put_off = NULL;
			io->done(io, round ? -EINTR : -EAGAIN);
		}
		loop->ops = ops_below;
		assert_true(one.done);
		assert_int_equal(one.res, round ? -EINTR : -EAGAIN);
		assert_in_range(transfers, 10, 1000);
	}
	free(buf);
	finish(disk, loop);
}

/* The pauses that are asked for are added up, and short. */
static uint64_t paused_ns;
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *to, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *to, struct itimerspec *old);

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *to, struct itimerspec *old)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1000 };

	paused_ns += (uint64_t)to->it_value.tv_sec * 1000000000 + (uint64_t)to->it_value.tv_nsec;
	return __real_timerfd_settime(fd, flags, &soon, old);
}

/* The kernel has no memory for the transfers that wait here; how many were tried. */
static struct khd_io *lacking[4];

static void submit_lacking(struct khd_loop *loop, struct khd_io *io)
{
	unsigned int i;

	if (io->op != KHD_IO_READV && io->op != KHD_IO_WRITEV) {
		ops_below->submit(loop, io);
		return;
	}
	for (i = 0; i < 4 && lacking[i]; i++)
		;
	assert_true(i < 4);
	lacking[i] = io;
	transfers++;
}

static void tell_lacking(void)
{
	struct khd_io *now[4];
	unsigned int i;

	memcpy(now, lacking, sizeof(now));
	memset(lacking, 0, sizeof(lacking));
	for (i = 0; i < 4 && now[i]; i++)
		now[i]->done(now[i], -ENOMEM);
	assert_null(lacking[0]); /* not at once */
}

static void want_of_memory_is_waited_for(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t *buf = aligned_alloc(KHD_DISK_ALIGN, 16384), *back;
	struct khd_loop_ops ops;
	static struct one ones[2];
	unsigned int round, i, j;

	back = aligned_alloc(KHD_DISK_ALIGN, 16384);
	memset(buf, 5, 16384);
	ops_below = loop->ops;
	ops = *ops_below;
	ops.submit = submit_lacking;
	for (round = 0; round < 2; round++) {
		enum khd_disk_op op = round ? KHD_DISK_READ : KHD_DISK_WRITE;

		loop->ops = &ops;
		transfers = 0;
		paused_ns = 0;
		for (i = 0; i < 2; i++)
			start(disk, &ones[i], op, i * 8192, (round ? back : buf) + i * 8192, 8192);
		for (i = 0; i < 5; i++) {
			assert_int_equal(transfers, 2 * (i + 1));
			tell_lacking();
			for (j = 0; !lacking[1] && !ones[1].done && j < PASSES; j++)
				assert_int_equal(khd_loop_wait(loop, WAIT_NS), 0);
			assert_non_null(lacking[1]);
		}
		assert_in_range(paused_ns, 50000000, 1000000000); /* once for both */
		loop->ops = ops_below;
		for (i = 0; i < 2; i++) {
			khd_loop_submit(loop, lacking[i]);
			lacking[i] = NULL;
		}
		for (i = 0; i < 2; i++) {
			wait_for(loop, &ones[i].done);
			assert_int_equal(ones[i].res, 8192);
		}
	}
	assert_memory_equal(buf, back, 16384);
	free(buf);
	free(back);
	finish(disk, loop);
}

/* For so long; a reader comes again, and what cannot be written ends the store. */
static void want_of_memory_is_told(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t *buf = aligned_alloc(KHD_DISK_ALIGN, 8192);
	struct khd_loop_ops ops;
	static struct one one;
	unsigned int round, j;

	memset(buf, 0, 8192);
	ops_below = loop->ops;
	ops = *ops_below;
	ops.submit = submit_lacking;
	for (round = 0; round < 2; round++) {
		loop->ops = &ops;
		paused_ns = 0;
		start(disk, &one, round ? KHD_DISK_READ : KHD_DISK_WRITE, 0, buf, 8192);
		while (lacking[0] && paused_ns < 100000000000ull) {
			tell_lacking();
			for (j = 0; !one.done && !lacking[0] && j < PASSES; j++)
				assert_int_equal(khd_loop_wait(loop, WAIT_NS), 0);
		}
		loop->ops = ops_below;
		assert_true(one.done);
		assert_int_equal(one.res, -ENOMEM);
		if (round)
			assert_in_range(paused_ns, 500000000, 2000000000);
		else
			assert_in_range(paused_ns, 8000000000, 10000000000);
	}
	free(buf);
	finish(disk, loop);
}

/* The kernel has no memory for that many synchronous transfers. */
static unsigned int now_lacking, now_tried;
ssize_t __real_pread(int fd, void *buf, size_t len, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t at);
ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);

static bool lacks_now(void)
{
	if (!now_lacking)
		return false;
	now_lacking--;
	now_tried++;
	errno = ENOMEM;
	return true;
}

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t at)
{
	return lacks_now() ? -1 : __real_pread(fd, buf, len, at);
}

/* What the next pwrite()s are like: so many bytes, and the one behind them fails so. */
static size_t pwrite_part;
static int pwrite_next_error;

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at)
{
	if (lacks_now())
		return -1;
	if (pwrite_part) {
		if (len > pwrite_part)
			len = pwrite_part;
		pwrite_part = 0;
	} else if (pwrite_next_error) {
		errno = pwrite_next_error;
		pwrite_next_error = 0;
		return -1;
	}
	return __real_pwrite(fd, buf, len, at);
}

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left)
{
	paused_ns += (uint64_t)pause->tv_sec * 1000000000 + (uint64_t)pause->tv_nsec;
	return 0;
}

/* By who reads or writes the slot file at once, too; the index is tried again by the store. */
static void want_of_memory_of_synchronous_calls(void **state)
{
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);
	uint8_t *buf = aligned_alloc(KHD_DISK_ALIGN, 8192);
	enum khd_disk_file file;

	memset(buf, 7, 8192);
	for (file = KHD_FILE_SLOTS; file <= KHD_FILE_INDEX; file++) {
		bool waits = file == KHD_FILE_SLOTS;

		now_tried = 0;
		paused_ns = 0;
		now_lacking = 5;
		assert_int_equal(disk->ops->write(disk, file, 0, buf, 8192),
				 waits ? 8192 : -ENOMEM);
		now_lacking = 5;
		assert_int_equal(disk->ops->read(disk, file, 0, buf, waits ? 8000 : 8192),
				 waits ? 8000 : -ENOMEM);
		assert_int_equal(now_tried, waits ? 10 : 2);
		assert_int_equal(paused_ns, waits ? 500000000 : 0);
		paused_ns = 0;
		now_lacking = UINT32_MAX;
		assert_int_equal(disk->ops->read(disk, file, 0, buf, 8192), -ENOMEM);
		assert_in_range(paused_ns, waits ? 500000000 : 0, waits ? 2000000000 : 0);
		paused_ns = 0;
		assert_int_equal(disk->ops->write(disk, file, 0, buf, 8192), -ENOMEM);
		assert_in_range(paused_ns, waits ? 8000000000 : 0, waits ? 10000000000 : 0);
		now_lacking = 0;
	}
	assert_int_equal(buf[8191], 7);
	free(buf);
	finish(disk, loop);
}

/* Whoever asks for all of it hears of that; of the reason rather, if there is one. */
static void a_short_write_is_not_made_good(void **state)
{
	static uint8_t buf[3 * 8192];
	struct khd_loop *loop;
	struct khd_disk *disk = begin(*state, &loop);

	assert_int_equal(disk->ops->resize(disk, KHD_FILE_SLOTS, BYTES), 0);
	for (unsigned int file = 0; file < KHD_FILES; file++) {
		pwrite_part = 8192;
		assert_int_equal(khd_disk_write_now(disk, file, 100, buf, sizeof(buf)), -EIO);
		pwrite_part = 8192;
		pwrite_next_error = ENOSPC;
		assert_int_equal(khd_disk_write_now(disk, file, 0, buf, sizeof(buf)), -ENOSPC);
		pwrite_part = 8192;
		pwrite_next_error = EDQUOT;
		assert_int_equal(khd_disk_write_now(disk, file, 0, buf, sizeof(buf)), -ENOSPC);
		pwrite_part = 8192;
		pwrite_next_error = EINTR;
		assert_int_equal(khd_disk_write_now(disk, file, 0, buf, sizeof(buf)), -EIO);
		assert_int_equal(pwrite_next_error, 0);
		pwrite_next_error = EINTR;
		assert_int_equal(khd_disk_write_now(disk, file, 0, buf, sizeof(buf)), 0);
		pwrite_part = 8192; /* that is waited for, or is its caller's */
		pwrite_next_error = ENOMEM;
		assert_int_equal(khd_disk_write_now(disk, file, 0, buf, sizeof(buf)),
				 file == KHD_FILE_SLOTS ? 0 : -ENOMEM);
	}
	finish(disk, loop);
}

#define AT(name, i)                                                      \
	{ "io_uring " #name " " #i, name, NULL, NULL, &places[i] },      \
	{                                                                \
		"poll " #name " " #i, name, NULL, NULL, &places[2 + (i)] \
	}

int main(int argc, char **argv)
{
	static struct place places[] = {
		{ dirs[0], false }, { dirs[1], false }, { dirs[0], true }, { dirs[1], true }
	};
	const struct CMUnitTest tests[] = {
		AT(what_is_written_is_read, 0),
		AT(what_is_written_is_read, 1),
		AT(synchronous_calls_need_no_alignment, 0),
		AT(synchronous_calls_need_no_alignment, 1),
		AT(jobs_run_in_order, 0),
		AT(one_process_has_it, 0),
		AT(what_is_put_off_ends, 0),
		AT(want_of_memory_is_waited_for, 0),
		AT(want_of_memory_is_told, 0),
		AT(want_of_memory_of_synchronous_calls, 0),
		AT(want_of_memory_of_synchronous_calls, 1),
		AT(a_flush_is_of_one_file, 0),
		AT(what_is_opened_is_read_from_the_disk, 0),
		AT(what_is_opened_is_read_from_the_disk, 1),
		AT(a_byte_too_many_is_cut_off, 0),
		AT(no_space_is_said_and_leaves_the_file_as_it_was, 0),
		AT(no_space_is_said_and_leaves_the_file_as_it_was, 1),
		AT(a_short_write_is_not_made_good, 0),
		AT(a_short_write_is_not_made_good, 1),
	};
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: disk_dir_test DIR\n");
		return 2;
	}
	snprintf(dirs[0], sizeof(dirs[0]), "%s/disk_dir_test.%d", argv[1], (int)getpid());
	snprintf(dirs[1], sizeof(dirs[1]), "/dev/shm/disk_dir_test.%d", (int)getpid());
	cmocka_set_message_output(CM_OUTPUT_TAP);
	ret = cmocka_run_group_tests_name("disk_dir", tests, NULL, NULL);
	forget(dirs[0]);
	forget(dirs[1]);
	return ret;
}
