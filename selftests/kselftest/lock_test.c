// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lock_test.c - range locks between the contexts of one node
 */
#include "kzt.h"

#define LOCK_R KHAZANA_LOCK_READ
#define LOCK_W KHAZANA_LOCK_WRITE

FIXTURE(lock)
{
	struct kzt t;
	int other; /* a second context of the region */
};

FIXTURE_SETUP(lock)
{
	ASSERT_EQ(0, kzt_open(&self->t, 0, NULL));
	self->other = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(lock)
{
	close(self->other);
	kzt_close(&self->t);
}

/* A LOCK in a thread of its own. */
struct locker {
	pthread_t thread;
	int fd;
	uint64_t offset, length;
	uint32_t mode, timeout_ms;
	struct khazana_lock out;
	int result;
	_Atomic int done;
};

static void *locker_main(void *arg)
{
	struct locker *l = arg;

	l->result = kzt_lock(l->fd, l->offset, l->length, l->mode, 0, l->timeout_ms, &l->out);
	l->done = 1;
	return NULL;
}

static bool locker_wait(struct locker *l, int ms)
{
	for (; ms > 0 && !l->done; ms--)
		kzt_sleep_ms(1);
	return l->done;
}

TEST_F(lock, excludes_other_contexts)
{
	int a = self->t.fd, b = self->other;
	struct khazana_lock la, lb;

	ASSERT_EQ(0, kzt_lock(a, 0, KZT_PAGE, LOCK_W, 0, 0, &la));
	EXPECT_EQ(-EAGAIN, kzt_lock(b, 0, KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(-EAGAIN, kzt_lock(b, 0, KZT_PAGE, LOCK_R, KHAZANA_LOCK_TRY, 0, NULL));
	/* not its neighbour */
	EXPECT_EQ(0, kzt_lock(b, KZT_PAGE, KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, &lb));
	EXPECT_EQ(0, kzt_unlock(b, lb.id));
	EXPECT_EQ(0, kzt_unlock(a, la.id));
	EXPECT_EQ(0, kzt_lock(b, 0, KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, &lb));
	EXPECT_EQ(-EAGAIN, kzt_lock(a, 0, KZT_PAGE, LOCK_R, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(0, kzt_unlock(b, lb.id));
}

TEST_F(lock, readers_share)
{
	int a = self->t.fd, b = self->other;
	struct khazana_lock la, lb;

	ASSERT_EQ(0, kzt_lock(a, 0, KZT_PAGE, LOCK_R, 0, 0, &la));
	ASSERT_EQ(0, kzt_lock(b, 0, KZT_PAGE, LOCK_R, 0, 0, &lb));
	EXPECT_EQ(0, kzt_unlock(a, la.id));
	EXPECT_EQ(-EAGAIN, kzt_lock(a, 0, KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(0, kzt_unlock(b, lb.id));
	EXPECT_EQ(0, kzt_lock(a, 0, KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, &la));
	EXPECT_EQ(0, kzt_unlock(a, la.id));
}

TEST_F(lock, one_context_does_not_conflict)
{
	struct khazana_lock one, two;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 2 * KZT_PAGE, LOCK_W, 0, 0, &one));
	ASSERT_EQ(0, kzt_lock(self->t.fd, KZT_PAGE, KZT_PAGE, LOCK_R, KHAZANA_LOCK_TRY, 0, &two));
	EXPECT_NE(one.id, two.id);
	EXPECT_EQ(0, kzt_unlock(self->t.fd, one.id));
	EXPECT_EQ(-EAGAIN, kzt_lock(self->other, KZT_PAGE, 1, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, two.id));
	EXPECT_EQ(-ENOENT, kzt_unlock(self->t.fd, one.id));
	EXPECT_EQ(-ENOENT, kzt_unlock(self->t.fd, 12345));
}

TEST_F(lock, timeout)
{
	struct khazana_lock la;
	uint64_t start, ms;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, 0, 0, &la));
	start = kzd_now_ns();
	EXPECT_EQ(-ETIMEDOUT, kzt_lock(self->other, 0, 1, LOCK_W, 0, 300, NULL));
	ms = (kzd_now_ns() - start) / 1000000;
	EXPECT_LE(295, ms);
	EXPECT_GE(2000, ms);
	EXPECT_EQ(0, kzt_unlock(self->t.fd, la.id));
	/* the one that gave up left nothing behind */
	EXPECT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, KHAZANA_LOCK_TRY, 0, &la));
}

TEST_F(lock, timeout_while_the_daemon_is_silent)
{
	kzd_hold(self->t.d, KZD_BIT(KHAZANA_REQ_FAULT));
	EXPECT_EQ(-ETIMEDOUT, kzt_lock(self->other, 0, 1, LOCK_W, 0, 300, NULL));
	kzd_release(self->t.d);
	EXPECT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, 0, 0, NULL));
}

TEST_F(lock, unlock_wakes_a_waiter)
{
	struct locker w = { .fd = self->other, .length = 1, .mode = LOCK_W };
	struct khazana_lock la;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, 0, 0, &la));
	pthread_create(&w.thread, NULL, locker_main, &w);
	EXPECT_FALSE(locker_wait(&w, KZT_QUIET_MS));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, la.id));
	EXPECT_TRUE(locker_wait(&w, KZT_SOON_MS));
	EXPECT_EQ(0, w.result);
	EXPECT_LE(la.token, w.out.token);
}

static void locker_start(struct locker *l, int fd, uint64_t unit)
{
	*l = (struct locker){
		.fd = fd,
		.offset = unit * KZT_PAGE,
		.length = KZT_PAGE,
		.mode = LOCK_W,
		.timeout_ms = 60000,
	};
	pthread_create(&l->thread, NULL, locker_main, l);
}

/* How many waits were refused because they would have closed a ring. */
static uint64_t deadlocks(struct __test_metadata *_metadata)
{
	uint64_t n = 0;

	ASSERT_EQ(0, kzt_stat("deadlocks", &n));
	return n;
}

/* Opposite order: who comes last gets EDEADLK at once, the other goes on when the first lock is
 * back. */
TEST_F(lock, two_contexts_in_opposite_order)
{
	int a = self->t.fd, b = self->other;
	uint64_t before = deadlocks(_metadata), start;
	struct khazana_lock la, lb;
	struct locker w;

	ASSERT_EQ(0, kzt_lock(a, 0, KZT_PAGE, LOCK_W, 0, 0, &la));
	ASSERT_EQ(0, kzt_lock(b, KZT_PAGE, KZT_PAGE, LOCK_W, 0, 0, &lb));
	locker_start(&w, a, 1);
	EXPECT_FALSE(locker_wait(&w, KZT_QUIET_MS));
	start = kzd_now_ns();
	EXPECT_EQ(-EDEADLK, kzt_lock(b, 0, KZT_PAGE, LOCK_W, 0, 60000, NULL));
	EXPECT_GE(KZT_SOON_MS, (kzd_now_ns() - start) / 1000000);
	EXPECT_EQ(before + 1, deadlocks(_metadata));
	/* one that only tries waits for nobody: no cycle */
	EXPECT_EQ(-EAGAIN, kzt_lock(b, 0, KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(before + 1, deadlocks(_metadata));
	/* the refused one holds what it held, and the other waits for it */
	EXPECT_FALSE(locker_wait(&w, KZT_QUIET_MS));
	EXPECT_EQ(0, kzt_unlock(b, lb.id));
	EXPECT_TRUE(locker_wait(&w, KZT_SOON_MS));
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(0, kzt_unlock(a, w.out.id));
	EXPECT_EQ(0, kzt_unlock(a, la.id));
	/* and nothing of the refused one is left in the table */
	EXPECT_EQ(0, kzt_lock(b, 0, 2 * KZT_PAGE, LOCK_W, KHAZANA_LOCK_TRY, 0, &lb));
	EXPECT_EQ(0, kzt_unlock(b, lb.id));
}

/* Whoever waits is found also behind another who waits: a third context closes the ring. */
TEST_F(lock, ring_of_three_contexts)
{
	int fd[3] = { self->t.fd, self->other, kzt_attach(KZT_START, 0, 0) };
	uint64_t before = deadlocks(_metadata);
	struct khazana_lock own[3];
	struct locker w[2];
	unsigned int i;

	ASSERT_LE(0, fd[2]);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, kzt_lock(fd[i], i * KZT_PAGE, KZT_PAGE, LOCK_W, 0, 0, &own[i]));
	/* 0 waits for 1, and 1 for 2 */
	for (i = 0; i < 2; i++) {
		locker_start(&w[i], fd[i], i + 1);
		EXPECT_FALSE(locker_wait(&w[i], KZT_QUIET_MS));
	}
	EXPECT_EQ(before, deadlocks(_metadata));
	EXPECT_EQ(-EDEADLK, kzt_lock(fd[2], 0, KZT_PAGE, LOCK_W, 0, 60000, NULL));
	EXPECT_EQ(-EDEADLK, kzt_lock(fd[2], 0, KZT_PAGE, LOCK_R, 0, 60000, NULL));
	EXPECT_EQ(before + 2, deadlocks(_metadata));
	/* it unwinds from its end */
	EXPECT_FALSE(w[0].done || w[1].done);
	EXPECT_EQ(0, kzt_unlock(fd[2], own[2].id));
	EXPECT_TRUE(locker_wait(&w[1], KZT_SOON_MS));
	EXPECT_EQ(0, w[1].result);
	EXPECT_FALSE(locker_wait(&w[0], KZT_QUIET_MS));
	EXPECT_EQ(0, kzt_unlock(fd[1], own[1].id));
	EXPECT_TRUE(locker_wait(&w[0], KZT_SOON_MS));
	EXPECT_EQ(0, w[0].result);
	close(fd[2]);
}

/* A chain is no ring, and contexts that read together wait for nobody. */
TEST_F(lock, chain_is_no_deadlock)
{
	int a = self->t.fd, b = self->other, c = kzt_attach(KZT_START, 0, 0);
	uint64_t before = deadlocks(_metadata);
	struct khazana_lock la, lb, lc;
	struct locker w[2];

	ASSERT_LE(0, c);
	ASSERT_EQ(0, kzt_lock(a, 0, KZT_PAGE, LOCK_R, 0, 0, &la));
	ASSERT_EQ(0, kzt_lock(b, KZT_PAGE, KZT_PAGE, LOCK_W, 0, 0, &lb));
	/* a waits for b, who may read beside a all the same */
	locker_start(&w[0], a, 1);
	EXPECT_FALSE(locker_wait(&w[0], KZT_QUIET_MS));
	EXPECT_EQ(0, kzt_lock(b, 0, KZT_PAGE, LOCK_R, 0, 60000, &lc));
	EXPECT_EQ(0, kzt_unlock(b, lc.id));
	/* c waits for a, and nobody for c */
	locker_start(&w[1], c, 0);
	EXPECT_FALSE(locker_wait(&w[1], KZT_QUIET_MS));
	EXPECT_EQ(before, deadlocks(_metadata));
	EXPECT_EQ(0, kzt_unlock(b, lb.id));
	EXPECT_TRUE(locker_wait(&w[0], KZT_SOON_MS));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(0, kzt_unlock(a, la.id));
	EXPECT_TRUE(locker_wait(&w[1], KZT_SOON_MS));
	EXPECT_EQ(0, w[1].result);
	close(c);
}

TEST_F(lock, close_releases)
{
	struct locker w = { .fd = self->other, .length = KZT_LENGTH, .mode = LOCK_W };
	int fd = kzt_attach(KZT_START, 0, 0);

	ASSERT_EQ(0, kzt_lock(fd, 3 * KZT_PAGE, 1, LOCK_W, 0, 0, NULL));
	ASSERT_EQ(0, kzt_lock(fd, 9 * KZT_PAGE, 1, LOCK_R, 0, 0, NULL));
	pthread_create(&w.thread, NULL, locker_main, &w);
	EXPECT_FALSE(locker_wait(&w, KZT_QUIET_MS));
	close(fd);
	EXPECT_TRUE(locker_wait(&w, KZT_SOON_MS));
	EXPECT_EQ(0, w.result);
}

TEST_F(lock, killed_process_releases)
{
	pid_t pid = fork();
	struct khazana_lock l;
	int fd;

	if (!pid) {
		fd = kzt_attach(KZT_START, 0, 0);
		if (kzt_lock(fd, 0, 1, LOCK_W, 0, 0, NULL))
			_exit(1);
		*kzt_word(&self->t, 63) = 1;
		pause();
	}
	while (!*kzt_word(&self->t, 63))
		kzt_sleep_ms(1);
	EXPECT_EQ(-EAGAIN, kzt_lock(self->t.fd, 0, 1, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(pid, KZT_SOON_MS));
	EXPECT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, 0, KZT_SOON_MS, &l));
}

static void nothing(int sig)
{
}

TEST_F(lock, waiting_is_interruptible_and_killable)
{
	struct sigaction action = { .sa_handler = nothing };
	pid_t pid;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, 0, 0, NULL));
	pid = fork();
	if (!pid) {
		sigaction(SIGUSR1, &action, NULL);
		_exit(kzt_lock(self->other, 0, 1, LOCK_W, 0, 0, NULL) == -EINTR ? 0 : 1);
	}
	kzt_sleep_ms(KZT_QUIET_MS);
	kill(pid, SIGUSR1);
	EXPECT_EQ(0, kzt_reap(pid, KZT_SOON_MS));
	pid = fork();
	if (!pid)
		_exit(kzt_lock(self->other, 0, 1, LOCK_W, 0, 0, NULL) ? 1 : 0);
	kzt_sleep_ms(KZT_QUIET_MS);
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(pid, KZT_SOON_MS));
}

TEST_F(lock, overwrite_reads_as_zero)
{
	struct khazana_request req;
	struct khazana_lock l;

	memset(self->t.map, 0x77, 3 * KZT_PAGE);
	ASSERT_EQ(0, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_NONE, 0));
	ASSERT_EQ(0, kzd_revoke(self->t.d, self->t.region, 1, RIGHT_READ, 0));
	kzd_skip(self->t.d, KHAZANA_REQ_FAULT);
	/* one absent, one to upgrade, one held */
	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 3 * KZT_PAGE, KHAZANA_LOCK_OVERWRITE, 0, 0, &l));
	ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(RIGHT_WRITE, req.want);
	EXPECT_TRUE(req.flags & KHAZANA_REQF_OVERWRITE);
	EXPECT_TRUE(req.flags & KHAZANA_REQF_LOCK);
	EXPECT_EQ(0, *kzt_word(&self->t, 0));
	EXPECT_EQ(0, *kzt_word(&self->t, 1));
	EXPECT_EQ(0, *kzt_word(&self->t, 2));
	EXPECT_EQ(-EAGAIN, kzt_lock(self->other, 0, 1, LOCK_R, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, l.id));
}

TEST_F(lock, range_is_one_request)
{
	/* A slow kernel may take longer for its units than the server, which looks now and then,
	 * waits. */
	unsigned int tries = kzt_slow() > 1 ? 5 : 1;
	struct khazana_request req;
	struct khazana_lock l;
	struct khazana_cmd unit;

	for (;;) {
		kzd_skip(self->t.d, KHAZANA_REQ_FAULT);
		ASSERT_EQ(0, kzt_lock(self->t.fd, 5 * KZT_PAGE + 17, 35 * KZT_PAGE - 17, LOCK_W, 0,
				      0, &l));
		ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
		if (req.count == 35 || !--tries)
			break;
		ASSERT_EQ(0, kzt_unlock(self->t.fd, l.id));
		for (req.unit = 5; req.unit < 40; req.unit++)
			ASSERT_EQ(0,
				  kzd_revoke(self->t.d, self->t.region, req.unit, RIGHT_NONE, 0));
	}
	EXPECT_EQ(5, req.unit);
	EXPECT_EQ(35, req.count);
	EXPECT_EQ(RIGHT_WRITE, req.want);
	EXPECT_TRUE(req.flags & KHAZANA_REQF_LOCK);
	EXPECT_FALSE(kzd_wait(self->t.d, KHAZANA_REQ_FAULT, KZT_QUIET_MS, NULL));
	ASSERT_EQ(0, kzd_unit(self->t.d, self->t.region, 39, &unit));
	EXPECT_EQ(unit.token, l.token);
	EXPECT_TRUE(unit.uflags & KHAZANA_UNIT_LOCKED);
	EXPECT_EQ(-EAGAIN,
		  kzt_lock(self->other, 39 * KZT_PAGE, 1, LOCK_R, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(0, kzt_lock(self->other, 40 * KZT_PAGE, 1, LOCK_R, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, l.id));
}

TEST_F(lock, cached_right_needs_no_daemon)
{
	struct khazana_lock l;
	uint64_t seen, token;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 4 * KZT_PAGE, LOCK_W, 0, 0, &l));
	token = l.token;
	EXPECT_EQ(0, kzt_unlock(self->t.fd, l.id));
	seen = kzd_seen(self->t.d, KHAZANA_REQ_FAULT);
	ASSERT_EQ(0, kzt_lock(self->other, 0, 4 * KZT_PAGE, LOCK_W, 0, 0, &l));
	EXPECT_EQ(token, l.token);
	EXPECT_EQ(0, kzt_unlock(self->other, l.id));
	EXPECT_EQ(seen, kzd_seen(self->t.d, KHAZANA_REQ_FAULT));
	kzd_kill(self->t.d);
	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 4 * KZT_PAGE, LOCK_R, 0, 0, &l));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, l.id));
}

TEST_F(lock, try_reaches_the_daemon)
{
	struct khazana_request req;

	self->t.d->sh->fault_errno = EAGAIN;
	EXPECT_EQ(-EAGAIN, kzt_lock(self->t.fd, 0, 1, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
	ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_TRUE(req.flags & KHAZANA_REQF_TRY);
	self->t.d->sh->fault_errno = 0;
	EXPECT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
}

TEST_F(lock, revoke_waits_for_unlock)
{
	struct khazana_request req;
	struct khazana_lock l;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 2 * KZT_PAGE, LOCK_W, 0, 0, &l));
	*kzt_word(&self->t, 0) = 4;
	EXPECT_EQ(-EBUSY, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_NONE, 0));
	EXPECT_EQ(-EBUSY, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_READ, 0));
	EXPECT_EQ(4, *kzt_word(&self->t, 0));
	EXPECT_EQ(1, kzd_seen(self->t.d, KHAZANA_REQ_FAULT));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, l.id));
	ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_UNLOCKED, KZT_SOON_MS, &req));
	EXPECT_EQ(self->t.region, req.region);
	EXPECT_LE(req.unit, 0);
	EXPECT_EQ(0, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_NONE, 0));
}

TEST_F(lock, a_read_lock_lets_downgrade)
{
	struct khazana_lock l;

	*kzt_word(&self->t, 0) = 4;
	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_R, 0, 0, &l));
	EXPECT_EQ(0, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_READ, 0));
	EXPECT_EQ(-EBUSY, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_NONE, 0));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, l.id));
}

TEST_F(lock, taken_from_its_holder)
{
	struct khazana_lock l;

	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, 1, LOCK_W, 0, 0, &l));
	EXPECT_EQ(0, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_NONE, KHAZANA_CMDF_LOCK_OK));
	EXPECT_EQ(-ESTALE, kzt_unlock(self->t.fd, l.id));
	EXPECT_EQ(-ENOENT, kzt_unlock(self->t.fd, l.id));
	EXPECT_EQ(0, kzt_lock(self->other, 0, 1, LOCK_W, KHAZANA_LOCK_TRY, 0, NULL));
}

TEST_F_TIMEOUT(lock, threads_of_two_contexts_count, 300)
{
	int fds[2] = { self->t.fd, self->other };
	pid_t pid[4];
	unsigned int i, k;

	for (i = 0; i < 4; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		int fd = i < 2 ? kzt_attach(KZT_START, 0, 0) : fds[i - 2];

		for (k = 0; k < 300; k++) {
			struct khazana_lock l;
			uint64_t word;

			if (kzt_lock(fd, 0, 2 * KZT_PAGE, LOCK_W, 0, 0, &l))
				_exit(1);
			word = *kzt_word(&self->t, 1);
			if (k % 8 == 0)
				sched_yield();
			*kzt_word(&self->t, 1) = word + 1;
			if (kzt_unlock(fd, l.id))
				_exit(2);
		}
		_exit(0);
	}
	self->t.d->sh->storm_region = self->t.region;
	self->t.d->sh->storm_units = 2;
	self->t.d->sh->storm_right = RIGHT_WRITE;
	self->t.d->sh->storm_us = 1000 * kzt_slow();
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, kzt_end(pid[i], 25000));
	self->t.d->sh->storm_us = 0;
	EXPECT_EQ(1200, *kzt_word(&self->t, 1));
}

static int rekey(struct kzt *t, uint64_t serial)
{
	struct khazana_cmd set = {
		.op = KHAZANA_CMD_REGION_SET,
		.region = t->region,
		.lease = KZD_LEASE,
		.residency_us = 1,
		.version = serial,
	};

	t->d->sh->region[0].key_serial = serial;
	return kzd_cmd(t->d, &set);
}

static int flush_keyed(int fd)
{
	struct khazana_range r = { .size = sizeof(r), .flags = KHAZANA_FLUSH_KEYED };

	return ioctl(fd, KHAZANA_IOC_FLUSH, &r) ? -errno : 0;
}

TEST_F(lock, another_key_refuses_locks)
{
	struct khazana_cmd get = { .op = KHAZANA_CMD_REGION_GET, .region = self->t.region };
	int a = self->t.fd, fresh;
	struct khazana_lock held, lock;
	uint64_t word = 5;

	*kzt_word(&self->t, 0) = 1;
	ASSERT_EQ(0, kzt_lock(a, 0, KZT_PAGE, LOCK_W, 0, 0, &held));
	ASSERT_EQ(0, rekey(&self->t, 1));
	EXPECT_EQ(-EKEYREJECTED, kzt_lock(a, KZT_PAGE, KZT_PAGE, LOCK_R, 0, 0, NULL));
	EXPECT_EQ(-EKEYREJECTED,
		  kzt_lock(self->other, 0, KZT_PAGE, LOCK_R, KHAZANA_LOCK_TRY, 0, NULL));
	EXPECT_EQ(-EKEYREJECTED, flush_keyed(a));
	/* What is held, mapped or open goes on. */
	EXPECT_EQ(8, pwrite(a, &word, 8, 8));
	EXPECT_EQ(0, fsync(a));
	EXPECT_EQ(0, kzt_unlock(a, held.id));
	EXPECT_EQ(0, kzt_store(kzt_word(&self->t, 3), 7));
	EXPECT_EQ(0, kzt_load(kzt_word(&self->t, 0), &word));
	EXPECT_EQ(1, word);
	fresh = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, fresh);
	EXPECT_EQ(0, kzt_lock(fresh, 0, KZT_PAGE, LOCK_W, 0, 0, &lock));
	EXPECT_EQ(0, kzt_unlock(fresh, lock.id));
	EXPECT_EQ(0, flush_keyed(fresh));
	/* What is late, or of a khd that does not know, lets nobody in again. */
	ASSERT_EQ(0, rekey(&self->t, 0));
	EXPECT_EQ(-EKEYREJECTED, kzt_lock(a, 0, KZT_PAGE, LOCK_R, 0, 0, NULL));
	EXPECT_EQ(0, kzt_lock(fresh, 0, KZT_PAGE, LOCK_R, 0, 0, &lock));
	ASSERT_EQ(0, kzd_cmd(self->t.d, &get));
	EXPECT_EQ(1, get.version);
	/* An ATTACH that was proven before and is answered late. */
	close(fresh);
	fresh = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, fresh);
	EXPECT_EQ(-EKEYREJECTED, kzt_lock(fresh, 0, KZT_PAGE, LOCK_R, 0, 0, NULL));
	close(fresh);
}

TEST_F(lock, another_key_refuses_who_waits)
{
	struct locker l = { .fd = self->other, .length = KZT_PAGE, .mode = KHAZANA_LOCK_OVERWRITE };
	struct khazana_lock held;
	uint64_t word;

	*kzt_word(&self->t, 0) = 1;
	ASSERT_EQ(0, kzt_lock(self->t.fd, 0, KZT_PAGE, LOCK_W, 0, 0, &held));
	pthread_create(&l.thread, NULL, locker_main, &l);
	EXPECT_FALSE(locker_wait(&l, 50));
	ASSERT_EQ(0, rekey(&self->t, 1));
	EXPECT_EQ(0, kzt_unlock(self->t.fd, held.id));
	EXPECT_TRUE(locker_wait(&l, KZT_SOON_MS));
	pthread_join(l.thread, NULL);
	EXPECT_EQ(-EKEYREJECTED, l.result);
	/* It zeroed nothing, and its pins are gone. */
	EXPECT_EQ(0, kzt_load(kzt_word(&self->t, 0), &word));
	EXPECT_EQ(1, word);
	EXPECT_EQ(0, kzd_revoke(self->t.d, self->t.region, 0, KHAZANA_RIGHT_NONE, 0));
}

TEST_HARNESS_MAIN
