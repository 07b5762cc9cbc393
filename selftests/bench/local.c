// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * local.c - faults that stay on this machine: beside a shmem minor fault, and beside userfaultfd
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "ctl/ctl.h"

#define SETTLED_ROUNDS 40

/* Mean time of a store to each of @n pages, none of which is in the page tables. */
static uint64_t touch_all(char *mem, const uint32_t *order, uint32_t n)
{
	uint64_t start;
	uint32_t i;

	if (madvise(mem, (size_t)n * BENCH_PAGE, MADV_DONTNEED))
		bench_die("madvise", -errno);
	start = bench_now();
	for (i = 0; i < n; i++)
		*(volatile char *)(mem + (size_t)order[i] * BENCH_PAGE) = 1;
	return (bench_now() - start) / n;
}

int cmd_settled(int argc, char **argv)
{
	struct samples ours, shmem;
	struct bench_region r;
	struct kh_ctl *ctl;
	uint32_t *order, n;
	uint64_t messages;
	char *mem;
	int i, fd;

	bench_map(&r, argv[2], argv[3], PROT_READ | PROT_WRITE);
	if (kh_ctl_open(NULL, &ctl))
		bench_die("khd", -ENODEV);
	n = (uint32_t)(r.length / BENCH_PAGE);
	order = bench_shuffled(n);
	fd = memfd_create("bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)r.length))
		bench_die("memfd", -errno);
	mem = mmap(NULL, r.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		bench_die("mmap", -errno);
	/* The first round fetches the rights and allocates the pages of both. */
	memset(mem, 1, r.length);
	memset(r.mem, 1, r.length);
	samples_init(&ours, SETTLED_ROUNDS);
	samples_init(&shmem, SETTLED_ROUNDS);
	messages = bench_messages(ctl);
	for (i = 0; i < SETTLED_ROUNDS; i++) {
		samples_add(&ours, touch_all(r.mem, order, n));
		samples_add(&shmem, touch_all(mem, order, n));
	}
	messages = bench_messages(ctl) - messages;
	kh_ctl_close(ctl);
	bench_print("settled_fault", &ours, &shmem, "shmem_minor_fault", false, 0,
		    (double)messages / (SETTLED_ROUNDS * (double)n));
	samples_free(&ours);
	samples_free(&shmem);
	munmap(mem, r.length);
	close(fd);
	free(order);
	bench_unmap(&r);
	return 0;
}

struct copier {
	int uffd;
	int stop; /* the read end of a pipe; its writer's end closes */
	char *zero;
};

static void *copier_run(void *arg)
{
	struct copier *c = arg;
	struct pollfd pfd[2] = { { .fd = c->uffd, .events = POLLIN },
				 { .fd = c->stop, .events = POLLIN } };

	for (;;) {
		struct uffdio_copy copy = { .src = (unsigned long)c->zero, .len = BENCH_PAGE };
		struct uffd_msg msg;

		if (poll(pfd, 2, -1) < 0 || pfd[1].revents)
			return NULL;
		if (read(c->uffd, &msg, sizeof(msg)) != sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		copy.dst = msg.arg.pagefault.address & ~(unsigned long long)(BENCH_PAGE - 1);
		if (ioctl(c->uffd, UFFDIO_COPY, &copy) && errno != EEXIST)
			bench_die("UFFDIO_COPY", -errno);
	}
}

static char *uffd_region(struct copier *c, size_t length)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *mem = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	c->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	c->zero = aligned_alloc(BENCH_PAGE, BENCH_PAGE);
	if (mem == MAP_FAILED || c->uffd < 0 || !c->zero)
		bench_die("userfaultfd", -errno);
	memset(c->zero, 0, BENCH_PAGE);
	madvise(mem, length, MADV_NOHUGEPAGE);
	reg.range.start = (unsigned long)mem;
	reg.range.len = length;
	if (ioctl(c->uffd, UFFDIO_API, &api) || ioctl(c->uffd, UFFDIO_REGISTER, &reg))
		bench_die("userfaultfd", -errno);
	return mem;
}

/* The region is homed on this node and its pages were never touched: khd alone answers. */
int cmd_round_trip(int argc, char **argv)
{
	struct samples ours, theirs;
	struct bench_region r;
	struct copier copier;
	uint32_t *order, n, i;
	pthread_t thread;
	int pipefd[2];
	char *mem;

	bench_map(&r, argv[2], argv[3], PROT_READ | PROT_WRITE);
	n = (uint32_t)(r.length / BENCH_PAGE);
	order = bench_shuffled(n);
	mem = uffd_region(&copier, r.length);
	if (pipe2(pipefd, O_CLOEXEC))
		bench_die("pipe", -errno);
	copier.stop = pipefd[0];
	if (pthread_create(&thread, NULL, copier_run, &copier))
		bench_die("thread", -ENOMEM);
	samples_init(&ours, n);
	samples_init(&theirs, n);
	for (i = 0; i < n; i++) {
		size_t at = (size_t)order[i] * BENCH_PAGE;
		uint64_t start = bench_now();

		*(volatile char *)(r.mem + at) = 1;
		samples_add(&ours, bench_now() - start);
		start = bench_now();
		*(volatile char *)(mem + at) = 1;
		samples_add(&theirs, bench_now() - start);
	}
	close(pipefd[1]);
	pthread_join(thread, NULL);
	bench_print("khd_round_trip", &ours, &theirs, "userfaultfd_copy", false, 0, -1);
	samples_free(&ours);
	samples_free(&theirs);
	close(pipefd[0]);
	close(copier.uffd);
	free(copier.zero);
	munmap(mem, r.length);
	free(order);
	bench_unmap(&r);
	return 0;
}
