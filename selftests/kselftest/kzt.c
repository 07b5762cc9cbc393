// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kzt.c - users of a region, for the tests
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kzt_user.h"

static __thread sigjmp_buf bus_env;
static __thread volatile sig_atomic_t bus_armed;

static void on_bus(int sig)
{
	if (bus_armed)
		siglongjmp(bus_env, sig);
	signal(sig, SIG_DFL);
}

static int access_word(volatile uint64_t *at, bool store, uint64_t *value)
{
	struct sigaction action = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };
	int sig;

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sig = sigsetjmp(bus_env, 1);
	if (!sig) {
		bus_armed = 1;
		if (store)
			*at = *value;
		else
			*value = *at;
	}
	bus_armed = 0;
	return sig;
}

/**
 * kzt_load - load a word, surviving SIGBUS and SIGSEGV
 * @at: address
 * @value: filled
 *
 * Return: 0 or the signal.
 */
int kzt_load(volatile void *at, uint64_t *value)
{
	return access_word(at, false, value);
}

/**
 * kzt_store - store a word, surviving SIGBUS and SIGSEGV
 * @at: address
 * @value: stored
 *
 * Return: 0 or the signal.
 */
int kzt_store(volatile void *at, uint64_t value)
{
	return access_word(at, true, &value);
}

/**
 * kzt_attach_with - ATTACH
 * @fd: device
 * @a: all of it; the size is filled in if it is 0
 *
 * Return: 0 or a negative errno.
 */
int kzt_attach_with(int fd, struct khazana_attach *a)
{
	if (!a->size)
		a->size = sizeof(*a);
	return ioctl(fd, KHAZANA_IOC_ATTACH, a) ? -errno : 0;
}

/**
 * kzt_attach - open the device and attach, with an all-zero key
 * @start: of the window
 * @length: of the window
 * @flags: KHAZANA_ATTACH_*
 *
 * Return: a file descriptor or a negative errno.
 */
int kzt_attach(struct khazana_addr start, uint64_t length, unsigned int flags)
{
	struct khazana_attach a = { .start = start, .length = length, .flags = flags };
	int fd = open(KZD_DEVICE, O_RDWR | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = kzt_attach_with(fd, &a);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/**
 * kzt_map - map a window from its beginning
 * @fd: attached
 * @length: bytes
 * @prot: PROT_*
 *
 * Return: the mapping, NULL with errno.
 */
void *kzt_map(int fd, size_t length, int prot)
{
	void *p = mmap(NULL, length, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/**
 * kzt_lock - LOCK
 * @fd: attached
 * @offset: of the range
 * @length: of the range
 * @mode: enum khazana_lock_mode
 * @flags: KHAZANA_LOCK_*
 * @timeout_ms: 0 for the region's limit
 * @out: the answer, may be NULL
 *
 * Return: 0 or a negative errno.
 */
int kzt_lock(int fd, uint64_t offset, uint64_t length, uint32_t mode, uint32_t flags,
	     uint32_t timeout_ms, struct khazana_lock *out)
{
	struct khazana_lock l = {
		.size = sizeof(l),
		.flags = flags,
		.offset = offset,
		.length = length,
		.mode = mode,
		.timeout_ms = timeout_ms,
	};
	int err = ioctl(fd, KHAZANA_IOC_LOCK, &l) ? -errno : 0;

	if (out)
		*out = l;
	return err;
}

/**
 * kzt_unlock - UNLOCK
 * @fd: attached
 * @id: of the lock
 *
 * Return: 0 or a negative errno.
 */
int kzt_unlock(int fd, uint64_t id)
{
	struct khazana_lock l = { .size = sizeof(l), .id = id };

	return ioctl(fd, KHAZANA_IOC_UNLOCK, &l) ? -errno : 0;
}

/**
 * kzt_sleep_ms - sleep
 * @ms: how long
 */
void kzt_sleep_ms(int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/**
 * kzt_sleeps - does a thread of this process sleep in the kernel?
 * @tid: the thread
 *
 * One that was only turned away from by the scheduler does not.
 *
 * Return: whether it does; false if it has ended.
 */
bool kzt_sleeps(pid_t tid)
{
	char path[64], text[128] = "", *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	/* TID (NAME) STATE ... */
	at = strrchr(text, ')');
	return at && (at[2] == 'S' || at[2] == 'D');
}

/**
 * kzt_set_parameter - set a parameter of the module
 * @name: of the parameter
 * @value: written to it
 *
 * Return: 0 or a negative errno.
 */
int kzt_set_parameter(const char *name, const char *value)
{
	char path[80];
	int fd, err;

	snprintf(path, sizeof(path), "/sys/module/khazana/parameters/%s", name);
	fd = open(path, O_WRONLY);
	err = fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/**
 * kzt_fired - has the visit that inject_fail names failed?
 *
 * Return: whether it has, or nothing is to fail.
 */
bool kzt_fired(void)
{
	int fd = open("/sys/module/khazana/parameters/inject_fail", O_RDONLY);
	char now[32] = "";
	ssize_t n = read(fd, now, sizeof(now) - 1);

	close(fd);
	return n > 0 && !strcmp(now, "off\n");
}

/**
 * kzt_khadm - run khadm
 * @words: its arguments
 * @out: what it prints
 * @size: of @out
 *
 * Return: its exit status, -1 if it did not run.
 */
int kzt_khadm(const char *words, char *out, size_t size)
{
	char line[200];
	size_t len;
	FILE *f;

	snprintf(line, sizeof(line), "khadm %s 2>&1", words);
	f = popen(line, "r");
	if (!f)
		return -1;
	len = fread(out, 1, size - 1, f);
	out[len] = 0;
	return WEXITSTATUS(pclose(f));
}

/**
 * kzt_stat - a counter of the module, in the instance of our namespace
 * @name: of the counter
 * @value: filled
 *
 * Return: 0, or a negative errno.
 */
int kzt_stat(const char *name, uint64_t *value)
{
	static char out[16384];
	char want[64], *at;

	/* khd's part fails, since there is none */
	if (kzt_khadm("stats -j", out, sizeof(out)) < 0)
		return -ENOENT;
	snprintf(want, sizeof(want), "\"%s\": ", name);
	at = strstr(out, want);
	if (!at)
		return -ENOENT;
	at += strlen(want);
	*value = strtoull(at + (*at == '"'), NULL, 0);
	return 0;
}

/**
 * kzt_frames_used - frames of the instance that are in use
 * @d: the server
 *
 * Return: how many, ~0 when it cannot be said.
 */
uint64_t kzt_frames_used(struct kzd *d)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_STATE };

	return kzd_cmd(d, &c) ? ~0ULL : c.count;
}

/**
 * kzt_slow - by how much this kernel is slower than a stock one
 *
 * KZT_SLOW says so, for a kernel with KASAN and lockdep.  Periods of a storm are
 * multiplied by it: revoked faster than it can fault, nobody gets on.
 *
 * Return: 1 to 50.
 */
unsigned int kzt_slow(void)
{
	const char *s = getenv("KZT_SLOW");
	long n = s ? strtol(s, NULL, 10) : 1;

	return n < 1 ? 1 : n > 50 ? 50 : n;
}

/**
 * kzt_end - wait for the end of a child that should end by itself, and end it if it does not
 * @pid: the child
 * @timeout_ms: how long
 *
 * Return: its wait status, or -1 when it had to be killed.
 */
int kzt_end(pid_t pid, int timeout_ms)
{
	int status = kzt_reap(pid, timeout_ms);

	if (status == -1) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return status;
}

/**
 * kzt_reap - wait for the end of a child
 * @pid: the child
 * @timeout_ms: how long
 *
 * Return: its wait status, or -1 when it lives on.
 */
int kzt_reap(pid_t pid, int timeout_ms)
{
	uint64_t end = kzd_now_ns() + timeout_ms * 1000000ULL;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (kzd_now_ns() > end)
			return -1;
		kzt_sleep_ms(1);
	}
	return status;
}

static void *access_main(void *arg)
{
	struct kzt_thread *t = arg;

	t->result = access_word(t->at, t->store, &t->value);
	t->done = 1;
	return NULL;
}

/**
 * kzt_access_start - load or store a word in a thread of its own
 * @t: is initialised
 * @at: address
 * @store: else load
 * @value: stored
 */
void kzt_access_start(struct kzt_thread *t, volatile void *at, bool store, uint64_t value)
{
	*t = (struct kzt_thread){ .at = at, .store = store, .value = value };
	pthread_create(&t->thread, NULL, access_main, t);
}

/**
 * kzt_access_wait - wait for the end of the access
 * @t: of kzt_access_start()
 * @timeout_ms: how long
 *
 * Return: whether it has ended; t->result is 0 or a signal, t->value what was loaded.
 */
bool kzt_access_wait(struct kzt_thread *t, int timeout_ms)
{
	uint64_t end = kzd_now_ns() + timeout_ms * 1000000ULL;

	while (!t->done) {
		if (kzd_now_ns() > end)
			return false;
		kzt_sleep_ms(1);
	}
	pthread_join(t->thread, NULL);
	return true;
}

/**
 * kzt_open - start a server with one region, attach and map it
 * @t: filled
 * @flags: KZD_*
 * @attributes: of the region, may be NULL; if they name a lease, it ends in a minute
 *
 * Return: 0 or a negative errno.
 */
int kzt_open(struct kzt *t, unsigned int flags, const struct khazana_cmd *attributes)
{
	int err;

	t->fd = -1;
	t->map = NULL;
	t->d = kzd_start(flags, 64, flags & KZD_STORE ? KZT_LENGTH : 0);
	if (!t->d)
		return -errno;
	err = attributes && attributes->lease ? kzd_lease(t->d, attributes->lease, 60000) : 0;
	if (err)
		return err;
	t->region = kzd_region(t->d, KZT_START, KZT_LENGTH, KZT_SHIFT, attributes);
	if (t->region < 0)
		return t->region;
	t->fd = kzt_attach(KZT_START, KZT_LENGTH, 0);
	if (t->fd < 0)
		return t->fd;
	t->map = kzt_map(t->fd, KZT_LENGTH, PROT_READ | PROT_WRITE);
	return t->map ? 0 : -errno;
}

/**
 * kzt_close - unmap, close, end the server
 * @t: of kzt_open()
 */
void kzt_close(struct kzt *t)
{
	if (t->map)
		munmap(t->map, KZT_LENGTH);
	if (t->fd >= 0)
		close(t->fd);
	if (t->d)
		kzd_stop(t->d);
}
