// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * uring_test.c - SQEs that no honest daemon would send
 */
#include "kzt.h"

#include <liburing.h>

#define DEPTH 16

/* What an SQE gets, sent as it is; 1 stands for "is pending". */
static int sqe_result(struct io_uring *ring, int fd, uint32_t op, const void *cmd16)
{
	struct __kernel_timespec soon = { .tv_nsec = 300000000 };
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int res;

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->off = 0;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd16, 16);
	io_uring_submit(ring);
	if (io_uring_wait_cqe_timeout(ring, &cqe, &soon))
		return 1;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

TEST(hostile_sqes)
{
	struct khazana_uring_fetch f = { .tag = 0 };
	struct khazana_cmd c = { .op = KHAZANA_CMD_STATE };
	struct khazana_batch b = { .size = sizeof(b), .count = 1, .cmds = (uintptr_t)&c };
	struct io_uring ring;
	struct kzd_dev v, none;
	unsigned int i, k;
	uint32_t words[4];

	ASSERT_EQ(0, io_uring_queue_init(64, &ring, 0));
	/* a file that is not registered */
	none.fd = open(KZD_DEVICE, O_RDWR);
	EXPECT_EQ(-EINVAL, sqe_result(&ring, none.fd, KHAZANA_URING_FETCH, &f));
	EXPECT_EQ(-EINVAL, sqe_result(&ring, none.fd, KHAZANA_URING_COMMAND, &b));
	close(none.fd);

	ASSERT_EQ(0, kzd_dev_register(&v, KZD_URING, DEPTH));
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, 0, &f));
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, 99, &f));
	f.tag = DEPTH;
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, KHAZANA_URING_FETCH, &f));
	f.tag = ~0U;
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, KHAZANA_URING_FETCH, &f));
	f.tag = 1;
	f.reserved[2] = 1;
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, KHAZANA_URING_FETCH, &f));
	f.reserved[2] = 0;
	EXPECT_EQ(1, sqe_result(&ring, v.fd, KHAZANA_URING_FETCH, &f));
	EXPECT_EQ(-EBUSY, sqe_result(&ring, v.fd, KHAZANA_URING_FETCH, &f));
	EXPECT_EQ(1, sqe_result(&ring, v.fd, KHAZANA_URING_COMMAND, &b));
	EXPECT_EQ(0, c.result);
	EXPECT_NE(0, c.time_ns);
	b.size = 0;
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, KHAZANA_URING_COMMAND, &b));
	b.size = sizeof(b);
	b.count = 0;
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, KHAZANA_URING_COMMAND, &b));
	b.count = 1;
	b.cmds = 16;
	EXPECT_EQ(-EFAULT, sqe_result(&ring, v.fd, KHAZANA_URING_COMMAND, &b));
	srandom(1);
	for (i = 0; i < 20000; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
		struct io_uring_cqe *cqe;

		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, v.fd, NULL, 0, 0);
		sqe->off = 0;
		sqe->cmd_op = random() % 4;
		for (k = 0; k < 4; k++)
			words[k] = random() % 3 ? random() % 32 : random() * 3;
		if (sqe->cmd_op == KHAZANA_URING_COMMAND)
			words[3] = 0; /* no pointer into what we use */
		memcpy(sqe->cmd, words, 16);
		io_uring_submit(&ring);
		while (!io_uring_peek_cqe(&ring, &cqe))
			io_uring_cqe_seen(&ring, cqe);
	}
	kzd_dev_close(&v);
	io_uring_queue_exit(&ring);
}

/* The SQE changes while the kernel reads it. */
static void *scribble(void *arg)
{
	struct io_uring_sqe *sqes = arg;
	unsigned int i;

	for (;;)
		for (i = 0; i < 8; i++) {
			((volatile uint32_t *)sqes[i].cmd)[0] = random();
			((volatile uint32_t *)sqes[i].cmd)[0] = i % DEPTH;
			pthread_testcancel();
		}
	return NULL;
}

TEST(sqes_that_change)
{
	uint64_t end = kzd_now_ns() + 2000000000ULL;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct kzd_dev v;
	pthread_t thread;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	ASSERT_EQ(0, kzd_dev_register(&v, KZD_URING, DEPTH));
	pthread_create(&thread, NULL, scribble, ring.sq.sqes);
	while (kzd_now_ns() < end) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, v.fd, NULL, 0, 0);
		sqe->off = 0;
		sqe->cmd_op = KHAZANA_URING_FETCH;
		io_uring_submit(&ring);
		while (!io_uring_peek_cqe(&ring, &cqe))
			io_uring_cqe_seen(&ring, cqe);
	}
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	kzd_dev_close(&v);
	io_uring_queue_exit(&ring);
}

TEST(no_fetch_without_uring)
{
	struct khazana_uring_fetch f = { .tag = 0 };
	struct io_uring ring;
	struct kzd_dev v;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	ASSERT_EQ(0, kzd_dev_open(&v, 0, DEPTH));
	EXPECT_EQ(-EINVAL, sqe_result(&ring, v.fd, KHAZANA_URING_FETCH, &f));
	kzd_dev_close(&v);
	io_uring_queue_exit(&ring);
}

TEST_HARNESS_MAIN
