// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * netns_test.c - one instance per network namespace, and the end of one in use
 */
#include "kzt.h"

#include <sched.h>
#include <sys/uio.h>

/* Two namespaces hold two regions of one address, with contents of their own. */
TEST(instances_are_separate)
{
	int outer = open("/proc/self/ns/net", O_RDONLY);
	struct kzt a = {}, b = {};
	int32_t inner;
	int fd, err;

	ASSERT_EQ(0, kzt_open(&a, 0, NULL));
	*kzt_word(&a, 0) = 1;
	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	EXPECT_EQ(-ENODEV, kzt_attach(KZT_START, 0, 0));
	ASSERT_EQ(0, kzt_open(&b, 0, NULL));
	EXPECT_EQ(0, *kzt_word(&b, 0));
	*kzt_word(&b, 0) = 2;
	inner = open("/proc/self/ns/net", O_RDONLY);
	ASSERT_EQ(0, setns(outer, CLONE_NEWNET));

	/* from outside, by its file descriptor */
	fd = open(KZD_DEVICE, O_RDWR);
	ASSERT_EQ(0, ioctl(fd, KHAZANA_IOC_NETNS, &inner));
	err = kzt_attach_with(fd, &(struct khazana_attach){ .start = KZT_START });
	ASSERT_EQ(0, err);
	uint64_t word = 0;
	ASSERT_EQ(8, pread(fd, &word, 8, 0));
	EXPECT_EQ(2, word);
	EXPECT_EQ(1, *kzt_word(&a, 0));
	close(fd);
	close(inner);
	kzt_close(&b);
	EXPECT_EQ(1, *kzt_word(&a, 0));
	kzt_close(&a);
	close(outer);
}

TEST(other_namespace_needs_privilege)
{
	int32_t ns = open("/proc/self/ns/net", O_RDONLY);
	int fd = open(KZD_DEVICE, O_RDWR);
	pid_t pid = fork();

	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(ioctl(fd, KHAZANA_IOC_NETNS, &ns) == -1 && errno == EPERM ? 0 : 1);
	}
	EXPECT_EQ(0, kzt_reap(pid, KZT_SOON_MS));
	close(fd);
	close(ns);
}

/* A daemon that leaves its namespace but stays registered; it tells when it is ready. */
static void leaving_daemon(int outer, int ready)
{
	struct kzd_shared *sh = calloc(1, sizeof(*sh));
	struct khazana_cmd add = { .op = KHAZANA_CMD_REGION_ADD,
				   .addr = KZT_START,
				   .length = KZT_LENGTH,
				   .unit_shift = KZT_SHIFT,
				   .residency_us = 1,
				   .generation = 5 };
	struct kzd_dev v;

	if (!sh || kzd_dev_open(&v, KZD_URING, 16) || kzd_dev_cmd(&v, &add))
		_exit(1);
	sh->region[0] = (struct kzd_region){ .addr = KZT_START,
					     .length = KZT_LENGTH,
					     .shift = KZT_SHIFT,
					     .handle = add.region,
					     .generation = 5 };
	setns(outer, CLONE_NEWNET);
	if (write(ready, "", 1) != 1)
		_exit(1);
	kzd_serve(&v, sh, KZD_URING, NULL, -1);
	pause();
}

/*
 * The namespace dies with a daemon registered, units held, a unit spliced away, a lock
 * held, a process waiting in a fault and another in a lock.
 */
TEST(namespace_ends_in_use)
{
	int outer = open("/proc/self/ns/net", O_RDONLY), pipes[2], ends[2], fd;
	struct khazana_lock l;
	struct kzt t = {};
	uint64_t word;
	char byte;
	pid_t daemon_pid, storer, locker;

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	daemon_pid = fork();
	if (!daemon_pid)
		leaving_daemon(outer, ends[1]);
	ASSERT_EQ(1, read(ends[0], &byte, 1));
	t.fd = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, t.fd);
	fd = kzt_attach(KZT_START, 0, 0);
	t.map = kzt_map(t.fd, KZT_LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, t.map);
	*kzt_word(&t, 0) = 1;
	struct iovec v = { t.map, KZT_PAGE };

	ASSERT_EQ(KZT_PAGE, vmsplice(pipes[1], &v, 1, 0));
	ASSERT_EQ(0, kzt_lock(t.fd, KZT_PAGE, 1, KHAZANA_LOCK_WRITE, 0, 0, &l));
	kill(daemon_pid, SIGSTOP);
	storer = fork();
	if (!storer) {
		setns(outer, CLONE_NEWNET);
		_exit(kzt_store(kzt_word(&t, 5), 1) == SIGBUS ? 0 : 1);
	}
	locker = fork();
	if (!locker) {
		setns(outer, CLONE_NEWNET);
		_exit(kzt_lock(fd, KZT_PAGE, 1, KHAZANA_LOCK_WRITE, 0, 0, NULL) == -ESHUTDOWN ? 0 :
												1);
	}
	kzt_sleep_ms(KZT_QUIET_MS);
	EXPECT_EQ(0, waitpid(storer, NULL, WNOHANG));
	EXPECT_EQ(0, waitpid(locker, NULL, WNOHANG));

	/* nobody is left in it */
	ASSERT_EQ(0, setns(outer, CLONE_NEWNET));
	EXPECT_EQ(0, kzt_reap(storer, 20000));
	EXPECT_EQ(0, kzt_reap(locker, 20000));
	kill(daemon_pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(daemon_pid, KZT_SOON_MS));
	EXPECT_EQ(-1, pread(t.fd, &word, 8, 0));
	EXPECT_EQ(ESHUTDOWN, errno);
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(&t, 9), &word));
	EXPECT_EQ(-ESHUTDOWN, kzt_lock(t.fd, 0, 1, KHAZANA_LOCK_READ, 0, 0, NULL));
	ASSERT_EQ(8, read(pipes[0], &word, 8));
	EXPECT_EQ(1, word);
	munmap(t.map, KZT_LENGTH);
	close(t.fd);
	close(fd);
	close(outer);
}

TEST_HARNESS_MAIN
