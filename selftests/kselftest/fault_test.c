// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fault_test.c - threads that wait for a grant, and accesses of every kind
 */
#include "kzt.h"

#include <linux/futex.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

FIXTURE(fault)
{
	struct kzt t;
};

FIXTURE_VARIANT(fault)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(fault, read){
	.flags = 0,
};

FIXTURE_VARIANT_ADD(fault, uring){
	.flags = KZD_URING | KZD_URING_CMD,
};

FIXTURE_VARIANT_ADD(fault, store){
	.flags = KZD_STORE,
};

FIXTURE_SETUP(fault)
{
	ASSERT_EQ(0, kzt_open(&self->t, variant->flags, NULL));
}

FIXTURE_TEARDOWN(fault)
{
	kzt_close(&self->t);
}

static pid_t fork_store(struct kzt *t, unsigned int unit, uint64_t value)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	*kzt_word(t, unit) = value;
	_exit(0);
}

TEST_F(fault, request_says_what)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct khazana_cmd unit;
	uint64_t word;

	ASSERT_EQ(0, kzt_load(kzt_word(t, 2), &word));
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(t->region, req.region);
	EXPECT_EQ(2, req.unit);
	EXPECT_EQ(1, req.count);
	EXPECT_EQ(RIGHT_READ, req.want);
	EXPECT_EQ(KHAZANA_VERSION_NONE, req.version);
	EXPECT_NE(0, req.id);
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 2, &unit));
	ASSERT_EQ(0, kzt_store(kzt_word(t, 2), 1));
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(RIGHT_WRITE, req.want);
	EXPECT_EQ(unit.version, req.version);
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 2, &unit));
	EXPECT_EQ(RIGHT_WRITE, unit.right);
	EXPECT_EQ(KHAZANA_STATE_STABLE, unit.state);
	EXPECT_TRUE(unit.uflags & KHAZANA_UNIT_OWNED);
	EXPECT_TRUE(unit.uflags & KHAZANA_UNIT_DIRTY);
}

TEST_F(fault, kill_while_waiting)
{
	struct kzt *t = &self->t;
	struct khazana_request req, gone;
	pid_t pid;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT) | KZD_BIT(KHAZANA_REQ_CANCELLED));
	pid = fork_store(t, 0, 1);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(-1, kzt_reap(pid, KZT_QUIET_MS));
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(pid, 1000));
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_CANCELLED, KZT_SOON_MS, &gone));
	EXPECT_EQ(req.id, gone.cookie);
	kzd_release(t->d);
	ASSERT_EQ(0, kzt_store(kzt_word(t, 0), 2));
	EXPECT_EQ(2, *kzt_word(t, 0));
}

static _Atomic int *signals;

static void on_usr1(int sig)
{
	++*signals;
}

TEST_F(fault, signal_while_waiting)
{
	struct kzt *t = &self->t;
	struct sigaction action = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	struct khazana_request req;
	pid_t pid;
	int i;

	signals = mmap(NULL, KZT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sigaction(SIGUSR1, &action, NULL);
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	pid = fork_store(t, 0, 1);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	for (i = 1; i <= 3; i++) {
		kill(pid, SIGUSR1);
		kzt_sleep_ms(KZT_QUIET_MS);
		EXPECT_EQ(i, *signals);
	}
	kzd_release(t->d);
	EXPECT_EQ(0, kzt_reap(pid, KZT_SOON_MS));
	EXPECT_EQ(1, *kzt_word(t, 0));
}

static void *read_maps(void *arg)
{
	char path[64], buf[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", *(pid_t *)arg);
	fd = open(path, O_RDONLY);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		;
	close(fd);
	*(pid_t *)arg = n < 0 ? -1 : 0;
	return NULL;
}

TEST_F(fault, maps_readable_while_waiting)
{
	struct kzt *t = &self->t;
	struct kzt_thread waiter;
	pid_t target = getpid();
	struct timespec soon;
	pthread_t reader;
	void *p;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&waiter, kzt_word(t, 0), true, 1);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, NULL));
	/* a writer of mmap_lock, too */
	p = mmap(NULL, KZT_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_NE(MAP_FAILED, p);
	munmap(p, KZT_PAGE);
	pthread_create(&reader, NULL, read_maps, &target);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 2;
	EXPECT_EQ(0, pthread_timedjoin_np(reader, NULL, &soon));
	EXPECT_EQ(0, target);
	EXPECT_FALSE(waiter.done);
	kzd_release(t->d);
	EXPECT_TRUE(kzt_access_wait(&waiter, KZT_SOON_MS));
}

TEST_F(fault, one_request_for_many_waiters)
{
	struct kzt *t = &self->t;
	struct kzt_thread waiter[8];
	struct khazana_request req;
	unsigned int i;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	for (i = 0; i < 8; i++)
		kzt_access_start(&waiter[i], kzt_word(t, 0) + i, true, i + 1);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_FALSE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_QUIET_MS, NULL));
	kzd_release(t->d);
	for (i = 0; i < 8; i++) {
		EXPECT_TRUE(kzt_access_wait(&waiter[i], KZT_SOON_MS));
		EXPECT_EQ(i + 1, kzt_word(t, 0)[i]);
	}
}

TEST_F(fault, a_load_waiting_a_store_joins)
{
	struct kzt *t = &self->t;
	struct kzt_thread load, store;
	struct khazana_request req;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&load, kzt_word(t, 0), false, 0);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	kzt_access_start(&store, kzt_word(t, 0) + 1, true, 5);
	kzt_sleep_ms(KZT_QUIET_MS);
	ASSERT_EQ(0, kzd_commit(t->d, &req, RIGHT_READ, kzd_token(t->d), 0));
	EXPECT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	EXPECT_EQ(0, load.result);
	kzd_release(t->d);
	EXPECT_TRUE(kzt_access_wait(&store, KZT_SOON_MS));
	EXPECT_EQ(5, kzt_word(t, 0)[1]);
}

TEST_F(fault, read_and_write_calls)
{
	struct kzt *t = &self->t;
	char in[3 * KZT_PAGE], out[3 * KZT_PAGE];
	struct iovec bad = { (void *)1, 10 };
	struct iovec v[2] = { { in, 100 }, { in + 100, KZT_PAGE } };
	unsigned int i;

	for (i = 0; i < sizeof(in); i++)
		in[i] = i * 7 + i / 256;
	/* unaligned, over absent units */
	ASSERT_EQ(sizeof(in), pwrite(t->fd, in, sizeof(in), 1000));
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 1, RIGHT_NONE, 0));
	ASSERT_EQ(sizeof(out), pread(t->fd, out, sizeof(out), 1000));
	EXPECT_EQ(0, memcmp(in, out, sizeof(in)));
	EXPECT_EQ(0, memcmp(in, t->map + 1000, sizeof(in)));
	EXPECT_EQ(100 + KZT_PAGE, pwritev(t->fd, v, 2, 20 * KZT_PAGE + 50));
	EXPECT_EQ(0, memcmp(in, t->map + 20 * KZT_PAGE + 50, 100 + KZT_PAGE));
	EXPECT_EQ(0, lseek(t->fd, 0, SEEK_SET));
	EXPECT_EQ(1000, read(t->fd, out, 1000));
	EXPECT_EQ(1000, lseek(t->fd, 0, SEEK_CUR));
	EXPECT_EQ(-1, preadv(t->fd, &bad, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwritev(t->fd, &bad, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(fault, region_as_buffer_of_a_call)
{
	struct kzt *t = &self->t;
	int fd = open("/dev/zero", O_RDONLY), pipes[2];
	char text[16] = "through a pipe!";

	memset(t->map + 100, 1, 50);
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0));
	/* copy_to_user() and copy_from_user() fault, over two absent units */
	EXPECT_EQ(KZT_PAGE, read(fd, t->map + 120, KZT_PAGE));
	EXPECT_EQ(1, t->map[119]);
	EXPECT_EQ(0, t->map[120]);
	memcpy(t->map + 5 * KZT_PAGE - 8, text, 16);
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 4, RIGHT_NONE, 0));
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 5, RIGHT_NONE, 0));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(16, write(pipes[1], t->map + 5 * KZT_PAGE - 8, 16));
	ASSERT_EQ(16, read(pipes[0], t->map + 9 * KZT_PAGE - 8, 16));
	EXPECT_STREQ(text, t->map + 9 * KZT_PAGE - 8);
	/* a region's own words as the buffer of its own file */
	EXPECT_EQ(16, pwrite(t->fd, t->map + 9 * KZT_PAGE - 8, 16, 12 * KZT_PAGE));
	EXPECT_STREQ(text, t->map + 12 * KZT_PAGE);
	EXPECT_EQ(16, pwrite(t->fd, t->map + 12 * KZT_PAGE, 16, 12 * KZT_PAGE + 4));
	close(fd);
}

TEST_F(fault, foreign_memory_access)
{
	struct kzt *t = &self->t;
	uint64_t word = 99;
	struct iovec local = { &word, 8 }, remote = { t->map + 3 * KZT_PAGE, 8 };
	char path[64];
	pid_t pid;
	int fd;

	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(8, process_vm_writev(pid, &local, 1, &remote, 1, 0));
	EXPECT_EQ(99, *kzt_word(t, 3));
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 3, RIGHT_NONE, 0));
	word = 0;
	EXPECT_EQ(8, process_vm_readv(pid, &local, 1, &remote, 1, 0));
	EXPECT_EQ(99, word);
	/* no retry is allowed on this path */
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 3, RIGHT_NONE, 0));
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	word = 0;
	EXPECT_EQ(8, pread(fd, &word, 8, (off_t)(t->map + 3 * KZT_PAGE)));
	EXPECT_EQ(99, word);
	word = 100;
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 3, RIGHT_READ, 0));
	EXPECT_EQ(8, pwrite(fd, &word, 8, (off_t)(t->map + 3 * KZT_PAGE)));
	EXPECT_EQ(100, *kzt_word(t, 3));
	close(fd);
	kill(pid, SIGKILL);
	kzt_reap(pid, KZT_SOON_MS);
}

static long futex(volatile void *at, int op, int value)
{
	struct timespec limit = { .tv_sec = 5 };

	return syscall(SYS_futex, at, op, value, op == FUTEX_WAIT ? &limit : NULL, NULL, 0);
}

TEST_F(fault, futex_across_a_revoke)
{
	struct kzt *t = &self->t;
	volatile uint32_t *word = (volatile uint32_t *)kzt_word(t, 0);
	int status, i;
	pid_t pid;

	*word = 0;
	pid = fork();
	if (!pid) {
		while (*word == 0)
			if (futex(word, FUTEX_WAIT, 0) < 0 && errno == ETIMEDOUT)
				_exit(2);
		_exit(0);
	}
	kzt_sleep_ms(KZT_QUIET_MS);
	for (i = 0; i < 3; i++) {
		int err = kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0);

		/* what the server has taken leaves no record */
		ASSERT_TRUE(!err || (err == -ENOENT && i));
		kzt_sleep_ms(10);
	}
	*word = 1;
	EXPECT_EQ(1, futex(word, FUTEX_WAKE, 1));
	status = kzt_reap(pid, KZT_SOON_MS);
	EXPECT_EQ(0, status);
}

TEST_F(fault, daemon_may_not_touch_a_view)
{
	struct kzt *t = &self->t;
	uint64_t word = 3;

	ASSERT_EQ(8, pwrite(t->fd, &word, 8, 0));
	kzd_kill(t->d);
	ASSERT_EQ(0, kzd_restart(t->d));
	EXPECT_EQ(-EDEADLK, kzd_probe(t->d, t->fd));
	EXPECT_EQ(3, *kzt_word(t, 0));
}

TEST_F_TIMEOUT(fault, storm_loses_nothing, 300)
{
	struct kzt *t = &self->t;
	struct kzd_shared *sh = t->d->sh;
	const unsigned int writers = 4, rounds = 2000;
	unsigned int w, i;
	pid_t pid[4];

	sh->storm_region = t->region;
	sh->storm_units = 2;
	sh->storm_right = RIGHT_WRITE;
	sh->storm_us = 300 * kzt_slow();
	for (w = 0; w < writers; w++) {
		pid[w] = fork();
		if (pid[w])
			continue;
		for (i = 0; i < rounds; i++) {
			__atomic_fetch_add(kzt_word(t, 0), 1, __ATOMIC_SEQ_CST);
			__atomic_fetch_add(kzt_word(t, 1) + 1, 1, __ATOMIC_SEQ_CST);
			/* across the border of two units */
			*(volatile uint64_t *)(t->map + KZT_PAGE - 4) = i;
			if (i % 16 == 0)
				kzt_sleep_ms(1);
		}
		_exit(0);
	}
	for (w = 0; w < writers; w++)
		EXPECT_EQ(0, kzt_end(pid[w], 25000));
	sh->storm_us = 0;
	EXPECT_EQ(writers * rounds, *kzt_word(t, 0));
	EXPECT_EQ(writers * rounds, kzt_word(t, 1)[1]);
	EXPECT_LT(10, sh->revokes);
}

TEST_HARNESS_MAIN
