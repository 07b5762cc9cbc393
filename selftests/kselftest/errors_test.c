// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * errors_test.c - each errno of the dictionary, at the call of a user
 */
#include "kzt.h"

#define WAIT_MS 1200

FIXTURE(error)
{
	struct kzt t;
};

FIXTURE_SETUP(error)
{
	struct khazana_cmd attributes = { .wait_ms = WAIT_MS };

	ASSERT_EQ(0, kzt_open(&self->t, 0, &attributes));
}

FIXTURE_TEARDOWN(error)
{
	kzt_close(&self->t);
}

static int attach_struct(struct khazana_attach a)
{
	int fd = open(KZD_DEVICE, O_RDWR);
	int err = kzt_attach_with(fd, &a);

	close(fd);
	return err;
}

TEST_F(error, attach_einval)
{
	struct khazana_attach good = { .start = KZT_START }, a;

	a = good;
	a.size = 8;
	EXPECT_EQ(-EINVAL, attach_struct(a));
	a = good;
	a.flags = 1u << 31;
	EXPECT_EQ(-EINVAL, attach_struct(a));
	a = good;
	a.start.lo += 5;
	EXPECT_EQ(-EINVAL, attach_struct(a));
	a = good;
	a.length = 100;
	EXPECT_EQ(-EINVAL, attach_struct(a));
	a = good;
	a.length = -KZT_PAGE;
	EXPECT_EQ(-EINVAL, attach_struct(a));
	a = good;
	a.start = (struct khazana_addr){ .hi = -1, .lo = -KZT_PAGE };
	a.length = 2 * KZT_PAGE;
	EXPECT_EQ(-EINVAL, attach_struct(a));
	EXPECT_EQ(0, attach_struct(good));
}

TEST_F(error, attach_sizes)
{
	struct {
		struct khazana_attach a;
		char tail[32];
	} big = { .a = { .size = sizeof(big), .start = KZT_START } };
	int fd = open(KZD_DEVICE, O_RDWR);

	big.tail[7] = 1;
	EXPECT_EQ(-E2BIG, kzt_attach_with(fd, &big.a));
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_ATTACH, 8));
	EXPECT_EQ(EFAULT, errno);
	big.tail[7] = 0;
	EXPECT_EQ(0, kzt_attach_with(fd, &big.a));
	close(fd);
}

TEST_F(error, attach_of_what_is_not_there)
{
	struct khazana_attach a = { .start = KZT_ADDR(0x777000) };

	EXPECT_EQ(-ENOENT, attach_struct(a));
	a.start = KZT_START;
	a.length = KZT_LENGTH + KZT_PAGE;
	EXPECT_EQ(-ERANGE, attach_struct(a));
	a.length = 0;
	a.key[3] = 9;
	EXPECT_EQ(-EKEYREJECTED, attach_struct(a));
	self->t.d->sh->region[0].key[3] = 9;
	EXPECT_EQ(0, attach_struct(a));
}

TEST_F(error, attach_errors_are_khds)
{
	static const int errors[] = { ENOENT, ENXIO, ERANGE, EKEYREJECTED, EIO, ETIMEDOUT, ENOMEM };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		self->t.d->sh->attach_errno = errors[i];
		EXPECT_EQ(-errors[i], attach_struct((struct khazana_attach){ .start = KZT_START }));
	}
}

TEST_F(error, attach_timeout_and_signal)
{
	struct khazana_attach a = { .start = KZT_START, .timeout_ms = 300 };
	uint64_t start = kzd_now_ns();
	pid_t pid;

	kzd_hold(self->t.d, KZD_BIT(KHAZANA_REQ_ATTACH));
	EXPECT_EQ(-ETIMEDOUT, attach_struct(a));
	EXPECT_LE(295, (kzd_now_ns() - start) / 1000000);
	a.timeout_ms = 0;
	pid = fork();
	if (!pid)
		_exit(attach_struct(a) ? 1 : 0);
	ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_ATTACH, KZT_SOON_MS, NULL));
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(pid, KZT_SOON_MS));
	kzd_release(self->t.d);
}

TEST_F(error, attach_without_a_daemon)
{
	kzd_kill(self->t.d);
	EXPECT_EQ(-ENODEV, attach_struct((struct khazana_attach){ .start = KZT_START }));
}

TEST_F(error, lock_arguments)
{
	int fd = self->t.fd;
	struct khazana_lock l = { .size = 8 };

	EXPECT_EQ(-EINVAL, kzt_lock(fd, 0, 0, KHAZANA_LOCK_READ, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, kzt_lock(fd, 0, 1, 0, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, kzt_lock(fd, 0, 1, 9, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, kzt_lock(fd, 0, 1, KHAZANA_LOCK_READ, 1u << 20, 0, NULL));
	EXPECT_EQ(-EINVAL, kzt_lock(fd, -KZT_PAGE, 2 * KZT_PAGE, KHAZANA_LOCK_READ, 0, 0, NULL));
	EXPECT_EQ(-ERANGE, kzt_lock(fd, KZT_LENGTH, 1, KHAZANA_LOCK_READ, 0, 0, NULL));
	EXPECT_EQ(-ERANGE, kzt_lock(fd, 0, KZT_LENGTH + 1, KHAZANA_LOCK_READ, 0, 0, NULL));
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_LOCK, &l));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_LOCK, 8));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(error, lock_errors_are_khds)
{
	static const int errors[] = { ENXIO, EIO, EDEADLK, ETIMEDOUT, EAGAIN, ENOMEM };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		self->t.d->sh->fault_errno = errors[i];
		EXPECT_EQ(-errors[i], kzt_lock(self->t.fd, 0, 1, KHAZANA_LOCK_WRITE, 0, 0, NULL));
	}
	self->t.d->sh->fault_errno = 0;
	EXPECT_EQ(0, kzt_lock(self->t.fd, 0, 1, KHAZANA_LOCK_WRITE, 0, 0, NULL));
}

TEST_F(error, access_errors_are_khds)
{
	static const int errors[] = { ENXIO, EIO };
	uint64_t word = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		self->t.d->sh->fault_errno = errors[i];
		EXPECT_EQ(SIGBUS, kzt_load(kzt_word(&self->t, 0), &word));
		EXPECT_EQ(SIGBUS, kzt_store(kzt_word(&self->t, 0), 1));
		EXPECT_EQ(-1, pread(self->t.fd, &word, 8, 0));
		EXPECT_EQ(errors[i], errno);
		EXPECT_EQ(-1, pwrite(self->t.fd, &word, 8, 0));
		EXPECT_EQ(errors[i], errno);
	}
	self->t.d->sh->fault_errno = 0;
	EXPECT_EQ(0, kzt_store(kzt_word(&self->t, 0), 1))
	{
		TH_LOG("%ju grants refused, the last by errno %u",
		       (uintmax_t)self->t.d->sh->refused, self->t.d->sh->last_error);
	}
}

TEST_F(error, prefetch_and_flush)
{
	struct khazana_range r = { .size = sizeof(r), .length = 4 * KZT_PAGE };
	struct khazana_request req;
	int fd = self->t.fd;

	ASSERT_EQ(0, ioctl(fd, KHAZANA_IOC_PREFETCH, &r));
	ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_PREFETCH, KZT_SOON_MS, &req));
	EXPECT_EQ(0, req.unit);
	EXPECT_EQ(4, req.count);
	*kzt_word(&self->t, 0) = 1;
	EXPECT_EQ(0, ioctl(fd, KHAZANA_IOC_FLUSH, &r));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(0, msync(self->t.map, KZT_PAGE, MS_SYNC));
	EXPECT_LE(1, kzd_seen(self->t.d, KHAZANA_REQ_FLUSH));
	r.flags = KHAZANA_FLUSH_KEYED;
	EXPECT_EQ(0, ioctl(fd, KHAZANA_IOC_FLUSH, &r));
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_PREFETCH, &r));
	EXPECT_EQ(EINVAL, errno);
	r.flags = KHAZANA_FLUSH_KEYED << 1;
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_FLUSH, &r));
	EXPECT_EQ(EINVAL, errno);
	r.flags = 0;
	r.offset = KZT_LENGTH;
	r.length = KZT_PAGE;
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_PREFETCH, &r));
	EXPECT_EQ(ERANGE, errno);
	r.size = 3;
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_PREFETCH, &r));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(error, netns_needs_a_namespace)
{
	int32_t ns = open("/dev/null", O_RDONLY);
	int fd = open(KZD_DEVICE, O_RDWR);

	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_NETNS, &ns));
	EXPECT_EQ(EINVAL, errno);
	close(ns);
	ns = open("/proc/self/ns/net", O_RDONLY);
	EXPECT_EQ(0, ioctl(fd, KHAZANA_IOC_NETNS, &ns));
	/* before anything else */
	EXPECT_EQ(-1, ioctl(self->t.fd, KHAZANA_IOC_NETNS, &ns));
	EXPECT_TRUE(errno == EINVAL || errno == EBUSY);
	close(fd);
	close(ns);
}

/* No daemon: waits for the region's limit, then the region's policy. */
TEST_F(error, dead_daemon_limits_the_wait)
{
	struct kzt *t = &self->t;
	uint64_t word, start, ms;

	*kzt_word(t, 0) = 1;
	kzd_kill(t->d);
	EXPECT_EQ(1, *kzt_word(t, 0));
	start = kzd_now_ns();
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, 1), &word));
	ms = (kzd_now_ns() - start) / 1000000;
	EXPECT_LE(WAIT_MS - 10, ms);
	EXPECT_GE(WAIT_MS + 2000, ms);
	start = kzd_now_ns();
	EXPECT_EQ(-1, pread(t->fd, &word, 8, KZT_PAGE));
	EXPECT_TRUE(errno == ETIMEDOUT || errno == ENODEV);
	EXPECT_LE(WAIT_MS - 10, (kzd_now_ns() - start) / 1000000);
	start = kzd_now_ns();
	EXPECT_EQ(-ETIMEDOUT,
		  kzt_lock(t->fd, KZT_PAGE, 1, KHAZANA_LOCK_READ, 0, WAIT_MS / 4, NULL));
	EXPECT_GE(WAIT_MS, (kzd_now_ns() - start) / 1000000);
}

TEST_F(error, silent_daemon_limits_the_wait)
{
	struct kzt *t = &self->t;
	uint64_t word, start = kzd_now_ns();

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, 1), &word));
	EXPECT_LE(WAIT_MS - 10, (kzd_now_ns() - start) / 1000000);
	kzd_release(t->d);
	EXPECT_EQ(0, kzt_load(kzt_word(t, 1), &word));
}

TEST_F(error, region_of_eio)
{
	struct kzt *t = &self->t;
	struct khazana_cmd set = {
		.op = KHAZANA_CMD_REGION_SET,
		.flags = KHAZANA_CMDF_EIO,
		.region = t->region,
		.lease = KZD_LEASE,
		.wait_ms = 300,
	};
	uint64_t word;

	ASSERT_EQ(0, kzd_cmd(t->d, &set));
	kzd_kill(t->d);
	EXPECT_EQ(-1, pread(t->fd, &word, 8, KZT_PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, 1), &word));
}

TEST_F(error, read_of_a_waiting_process_is_killable)
{
	struct kzt *t = &self->t;
	uint64_t word;
	pid_t pid;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	pid = fork();
	if (!pid)
		_exit(pread(t->fd, &word, 8, 0) == 8 ? 0 : 1);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, NULL));
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(pid, KZT_SOON_MS));
	kzd_release(t->d);
}

TEST_HARNESS_MAIN
