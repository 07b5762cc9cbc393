/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kzt_user.h - what the tests of the module share: users of a region, and the fixture
 */
#ifndef KZT_USER_H
#define KZT_USER_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kzd.h"

#define KZT_PAGE 4096UL
#define KZT_SHIFT 12
#define KZT_UNITS 64
#define KZT_HI 0x6b68617aULL
#define KZT_ADDR(low) ((struct khazana_addr){ .hi = KZT_HI, .lo = (low) })
#define KZT_START KZT_ADDR(0x10000000)
#define KZT_LENGTH (KZT_UNITS * KZT_PAGE)
#define KZT_SOON_MS 5000 /* what must happen, on a slow machine */
#define KZT_QUIET_MS 200 /* what must not happen is awaited that long */

#define RIGHT_NONE KHAZANA_RIGHT_NONE
#define RIGHT_READ KHAZANA_RIGHT_READ
#define RIGHT_WRITE KHAZANA_RIGHT_WRITE

/* kzt.c; negative errno on failure */
int kzt_attach_with(int fd, struct khazana_attach *a);
int kzt_attach(struct khazana_addr start, uint64_t length, unsigned int flags);
void *kzt_map(int fd, size_t length, int prot);
int kzt_lock(int fd, uint64_t offset, uint64_t length, uint32_t mode, uint32_t flags,
	     uint32_t timeout_ms, struct khazana_lock *out);
int kzt_unlock(int fd, uint64_t id);
int kzt_load(volatile void *at, uint64_t *value);
int kzt_store(volatile void *at, uint64_t value);
int kzt_set_parameter(const char *name, const char *value);
int kzt_khadm(const char *words, char *out, size_t size);
int kzt_stat(const char *name, uint64_t *value);
uint64_t kzt_frames_used(struct kzd *d);
bool kzt_fired(void);
unsigned int kzt_slow(void);
int kzt_end(pid_t pid, int timeout_ms);
int kzt_reap(pid_t pid, int timeout_ms);
void kzt_sleep_ms(int ms);
bool kzt_sleeps(pid_t tid);

/* A thread that makes one access. */
struct kzt_thread {
	pthread_t thread;
	volatile void *at;
	uint64_t value;
	bool store;
	int result;
	_Atomic int done;
};

void kzt_access_start(struct kzt_thread *t, volatile void *at, bool store, uint64_t value);
bool kzt_access_wait(struct kzt_thread *t, int timeout_ms);

/**
 * struct kzt - a server, a region of KZT_UNITS units, a file and its mapping
 */
struct kzt {
	struct kzd *d;
	int region;
	int fd;
	char *map;
};

int kzt_open(struct kzt *t, unsigned int flags, const struct khazana_cmd *attributes);
void kzt_close(struct kzt *t);

/* the first word of a unit of 4 KiB */
static inline volatile uint64_t *kzt_word(const struct kzt *t, unsigned int unit)
{
	return (volatile uint64_t *)(t->map + unit * KZT_PAGE);
}

#endif /* KZT_USER_H */
