// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pin_test.c - pages that somebody references beyond their mapping, and memory limits
 */
#include "kzt.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define DISK_ROUNDS 400

FIXTURE(pin)
{
	struct kzt t;
};

FIXTURE_SETUP(pin)
{
	ASSERT_EQ(0, kzt_open(&self->t, 0, NULL));
}

FIXTURE_TEARDOWN(pin)
{
	kzt_close(&self->t);
}

static void storm(struct kzt *t, unsigned int units, unsigned int us)
{
	t->d->sh->storm_region = t->region;
	t->d->sh->storm_units = units;
	t->d->sh->storm_right = RIGHT_WRITE;
	t->d->sh->storm_us = us * kzt_slow();
}

/* A loop device over a file in memory, whose I/O is done by a thread of its own; it goes with the
 * last close. */
static int disk_open(void)
{
	static const char make[] = "modprobe loop 2>/dev/null; f=$(mktemp) && truncate -s 1M "
				   "\"$f\" && "
				   "losetup --find --show \"$f\"; rm -f \"$f\"";
	char name[32] = "", detach[64];
	FILE *p = popen(make, "r");
	int fd;

	if (!p)
		return -1;
	if (fscanf(p, "%31s", name) != 1)
		name[0] = '\0';
	pclose(p);
	fd = open(name, O_RDWR | O_DIRECT);
	snprintf(detach, sizeof(detach), "losetup -d %s", name);
	if (fd >= 0 && system(detach))
		fprintf(stderr, "# %s stays\n", name);
	return fd;
}

TEST_F_TIMEOUT(pin, direct_io_in_a_storm, 90)
{
	struct kzt *t = &self->t;
	static char disk[KZT_PAGE] __attribute__((aligned(4096)));
	unsigned int i, unit, k;
	int fd;

	fd = disk_open();
	ASSERT_LE(0, fd);
	storm(t, 4, 500);
	/* As many rounds as are asked for, and as it takes to meet enough revokes. */
	for (i = 0; i < DISK_ROUNDS || (t->d->sh->revokes <= 50 && i < 20 * DISK_ROUNDS); i++) {
		unit = i % 4;
		for (k = 0; k < KZT_PAGE / 8; k++)
			kzt_word(t, unit)[k] = i * 1000 + k;
		ASSERT_EQ(KZT_PAGE, pwrite(fd, t->map + unit * KZT_PAGE, KZT_PAGE, 0));
		ASSERT_EQ(KZT_PAGE, pread(fd, disk, KZT_PAGE, 0));
		for (k = 0; k < KZT_PAGE / 8; k++)
			ASSERT_EQ(i * 1000 + k, ((uint64_t *)disk)[k]);
		memset(disk, i, KZT_PAGE);
		ASSERT_EQ(KZT_PAGE, pwrite(fd, disk, KZT_PAGE, 4096));
		ASSERT_EQ(KZT_PAGE, pread(fd, t->map + unit * KZT_PAGE, KZT_PAGE, 4096));
		ASSERT_EQ(0, memcmp(disk, t->map + unit * KZT_PAGE, KZT_PAGE));
	}
	t->d->sh->storm_us = 0;
	EXPECT_LT(50, t->d->sh->revokes);
	printf("# summary: %u rounds of direct I/O, %ju revokes, %ju had to wait\n", i,
	       (uintmax_t)t->d->sh->revokes, (uintmax_t)t->d->sh->in_progress);
	fflush(stdout);
	close(fd);
}

TEST_F_TIMEOUT(pin, vmsplice_in_a_storm, 90)
{
	struct kzt *t = &self->t;
	char buf[KZT_PAGE];
	int pipes[2];
	unsigned int i;

	ASSERT_EQ(0, pipe(pipes));
	storm(t, 4, 500);
	for (i = 0; i < DISK_ROUNDS || t->d->sh->revokes <= 50; i++) {
		struct iovec v = { t->map + (i % 4) * KZT_PAGE, KZT_PAGE };

		memset(v.iov_base, i, KZT_PAGE);
		ASSERT_EQ(KZT_PAGE, vmsplice(pipes[1], &v, 1, 0));
		ASSERT_EQ(KZT_PAGE, read(pipes[0], buf, KZT_PAGE));
		ASSERT_EQ((char)i, buf[0]);
		ASSERT_EQ((char)i, buf[KZT_PAGE - 1]);
	}
	t->d->sh->storm_us = 0;
}

/* Revoke a spliced unit; how long it took until the module let it go. */
static uint64_t revoke_spliced(struct __test_metadata *_metadata, struct kzt *t, int *pipes,
			       int drain_after_ms, char *drained)
{
	struct iovec v = { t->map, KZT_PAGE };
	struct khazana_request req;
	uint64_t start;

	memset(t->map, 'a', KZT_PAGE);
	ASSERT_EQ(KZT_PAGE, vmsplice(pipes[1], &v, 1, 0));
	start = kzd_now_ns();
	kzd_skip(t->d, KHAZANA_REQ_REVOKED);
	ASSERT_EQ(-EINPROGRESS, kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0));
	if (drain_after_ms) {
		kzt_sleep_ms(drain_after_ms);
		ASSERT_EQ(KZT_PAGE, read(pipes[0], drained, KZT_PAGE));
	}
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_REVOKED, KZT_SOON_MS, &req));
	EXPECT_EQ(t->region, req.region);
	EXPECT_EQ(0, req.unit);
	EXPECT_EQ(0, req.error);
	EXPECT_NE(0, req.cookie);
	return (kzd_now_ns() - start) / 1000000;
}

/* A line of what khadm tells, or "" after @ms. */
static void watch_line(FILE *watch, char *line, int size, int ms)
{
	struct pollfd fd = { .fd = fileno(watch), .events = POLLIN };

	line[0] = 0;
	if (poll(&fd, 1, ms) == 1 && !fgets(line, size, watch))
		line[0] = 0;
}

/* Events of the module, one a line; begins when khadm has subscribed, which it shows by the first. */
static FILE *watch_events(struct kzt *t)
{
	FILE *watch = popen("exec khadm event watch -j --timeout 20000 2>/dev/null", "r");
	char line[512] = "";
	int region, i;

	setvbuf(watch, NULL, _IONBF, 0);
	for (i = 0; i < 100 && !line[0]; i++) {
		region = kzd_region(t->d, KZT_ADDR(0x20000000), KZT_LENGTH, KZT_SHIFT, NULL);
		if (region < 0 || kzd_region_del(t->d, region))
			break;
		watch_line(watch, line, sizeof(line), 100);
	}
	return watch;
}

/* An event of this name, at this address? */
static bool watch_find(FILE *watch, const char *name, const char *addr, int ms)
{
	char line[512];

	do {
		watch_line(watch, line, sizeof(line), ms);
		if (strstr(line, name) && strstr(line, addr))
			return true;
	} while (line[0]);
	return false;
}

TEST_F(pin, undrained_vmsplice_is_orphaned)
{
	struct kzt *t = &self->t;
	uint64_t ms, before, now;
	char buf[KZT_PAGE];
	int pipes[2];
	FILE *watch;

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, kzt_stat("orphaned", &before));
	watch = watch_events(t);
	ms = revoke_spliced(_metadata, t, pipes, 0, NULL);
	EXPECT_LE(500, ms);
	EXPECT_GE(1900, ms);
	/* counted, and told where */
	EXPECT_TRUE(watch_find(watch, "\"frame-orphaned\"", "\"6b68617a:10000000\"", KZT_SOON_MS));
	EXPECT_FALSE(watch_find(watch, "\"frame-orphaned\"", "", KZT_QUIET_MS));
	pclose(watch);
	ASSERT_EQ(0, kzt_stat("orphaned", &now));
	EXPECT_EQ(before + 1, now);
	/* the region goes on with a copy, the old frame stays with the pipe */
	EXPECT_EQ('a', t->map[0]);
	EXPECT_EQ('a', t->map[KZT_PAGE - 1]);
	memset(t->map, 'b', KZT_PAGE);
	ASSERT_EQ(KZT_PAGE, read(pipes[0], buf, KZT_PAGE));
	EXPECT_EQ('a', buf[0]);
	EXPECT_EQ('a', buf[KZT_PAGE - 1]);
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0));
	EXPECT_EQ('b', t->map[0]);
}

/* Without memory for the copy the unit waits on, and is let go when there is some. */
TEST_F(pin, orphan_waits_for_memory)
{
	struct kzt *t = &self->t;
	char buf[KZT_PAGE];
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	memset(t->map, 'x', KZT_PAGE);
	ASSERT_EQ(0, kzt_set_parameter("inject_fail", "frame:1"));
	revoke_spliced(_metadata, t, pipes, 0, NULL);
	EXPECT_TRUE(kzt_fired());
	kzt_set_parameter("inject_fail", "off");
	EXPECT_EQ('a', t->map[0]);
	EXPECT_EQ('a', t->map[KZT_PAGE - 1]);
	ASSERT_EQ(KZT_PAGE, read(pipes[0], buf, KZT_PAGE));
	EXPECT_EQ('a', buf[0]);
}

TEST_F(pin, drained_vmsplice_is_not)
{
	struct kzt *t = &self->t;
	uint64_t ms, before, now;
	char buf[KZT_PAGE];
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, kzt_stat("orphaned", &before));
	ms = revoke_spliced(_metadata, t, pipes, 200, buf);
	ASSERT_EQ(0, kzt_stat("orphaned", &now));
	EXPECT_EQ(before, now);
	EXPECT_LE(200, ms);
	EXPECT_GE(900, ms);
	EXPECT_EQ('a', buf[0]);
	EXPECT_EQ('a', t->map[0]);
}

TEST_F(pin, waiters_of_a_referenced_unit)
{
	struct kzt *t = &self->t;
	struct kzt_thread load;
	char buf[KZT_PAGE];
	int pipes[2];
	struct iovec v = { t->map, KZT_PAGE };

	ASSERT_EQ(0, pipe(pipes));
	*kzt_word(t, 0) = 5;
	ASSERT_EQ(KZT_PAGE, vmsplice(pipes[1], &v, 1, 0));
	ASSERT_EQ(-EINPROGRESS, kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0));
	kzt_access_start(&load, kzt_word(t, 0), false, 0);
	kzt_sleep_ms(100);
	ASSERT_EQ(KZT_PAGE, read(pipes[0], buf, KZT_PAGE));
	ASSERT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	EXPECT_EQ(0, load.result);
	EXPECT_EQ(5, load.value);
}

TEST_F(pin, close_with_a_spliced_unit)
{
	struct kzt *t = &self->t;
	char buf[KZT_PAGE];
	int pipes[2];
	struct iovec v = { t->map, KZT_PAGE };

	ASSERT_EQ(0, pipe(pipes));
	memset(t->map, 'c', KZT_PAGE);
	ASSERT_EQ(KZT_PAGE, vmsplice(pipes[1], &v, 1, 0));
	kzt_close(t);
	t->map = NULL;
	t->fd = -1;
	t->d = NULL;
	ASSERT_EQ(KZT_PAGE, read(pipes[0], buf, KZT_PAGE));
	EXPECT_EQ('c', buf[KZT_PAGE - 1]);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int err = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;

	close(fd);
	return err;
}

FIXTURE(memory)
{
	struct kzd *d;
};

FIXTURE_SETUP(memory)
{
	self->d = kzd_start(KZD_PATTERN, 64, 0);
	ASSERT_NE(NULL, self->d);
}

FIXTURE_TEARDOWN(memory)
{
	kzd_stop(self->d);
}

TEST_F_TIMEOUT(memory, scan_in_a_small_cgroup, 180)
{
	const uint64_t size = 64 << 20;
	const char *group = "/sys/fs/cgroup/kzt";
	char path[64], text[32];
	int region, fd, status;
	uint64_t unit;
	pid_t pid;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		ASSERT_EQ(0, mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL));
	ASSERT_EQ(0, write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory"));
	ASSERT_TRUE(!mkdir(group, 0755) || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/memory.max", group);
	ASSERT_EQ(0, write_file(path, "33554432"));
	region = kzd_region(self->d, KZT_START, size, KZT_SHIFT, NULL);
	ASSERT_LE(0, region);
	fd = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, fd);
	pid = fork();
	if (!pid) {
		volatile uint64_t *p;

		snprintf(path, sizeof(path), "%s/cgroup.procs", group);
		snprintf(text, sizeof(text), "%d", getpid());
		if (write_file(path, text))
			_exit(2);
		p = kzt_map(fd, size, PROT_READ);
		for (unit = 0; unit < size / KZT_PAGE; unit++)
			if (p[unit * 512] != KZD_PATTERN_WORD(unit, 0) ||
			    p[unit * 512 + 511] != KZD_PATTERN_WORD(unit, 511))
				_exit(3);
		_exit(0);
	}
	status = kzt_reap(pid, 170000);
	EXPECT_EQ(0, status);
	close(fd);
	rmdir(group);
}

/* An instance of a namespace of its own, whose limit is small. */
#define FRAMES 2048
#define PARAMETERS "/sys/module/khazana/parameters/"

FIXTURE(frames)
{
	struct kzd *d;
};

FIXTURE_VARIANT(frames)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(frames, droppable){
	.flags = KZD_PATTERN,
};

FIXTURE_VARIANT_ADD(frames, owned){
	.flags = 0,
};

FIXTURE_SETUP(frames)
{
	char before[16] = "", text[16];
	int fd = open(PARAMETERS "frames_max", O_RDONLY);

	ASSERT_LT(0, read(fd, before, sizeof(before) - 1));
	close(fd);
	snprintf(text, sizeof(text), "%d", FRAMES);
	ASSERT_EQ(0, write_file(PARAMETERS "frames_max", text));
	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	self->d = kzd_start(variant->flags, 64, 0);
	EXPECT_EQ(0, write_file(PARAMETERS "frames_max", before));
	ASSERT_NE(NULL, self->d);
	ASSERT_EQ(FRAMES, self->d->reg.frames_max);
}

FIXTURE_TEARDOWN(frames)
{
	kzd_stop(self->d);
}

/* How many records the module has of a region. */
static uint64_t records(struct kzd *d, int region)
{
	struct khazana_cmd c[64];
	uint64_t count = 0, next = 0;
	unsigned int i;

	for (;;) {
		for (i = 0; i < 64; i++)
			c[i] = (struct khazana_cmd){ .op = KHAZANA_CMD_INVENTORY,
						     .region = region,
						     .unit = next + i };
		if (kzd_batch(d, c, 64) != 64)
			return ~0ULL;
		for (i = 0; i < 64; i++) {
			if (c[i].result)
				return count;
			if (c[i].unit >= next) {
				next = c[i].unit + 1;
				count++;
			}
		}
	}
}

/* Another limit: how many frames are in use then, or -errno. */
static int64_t set_limit(struct kzd *d, uint64_t frames)
{
	struct khazana_cmd limit = { .op = KHAZANA_CMD_LIMIT, .count = frames };
	int err = kzd_cmd(d, &limit);

	return err ? err : (int64_t)limit.count;
}

/* A region of so many units, mapped to be read. */
static volatile uint64_t *map_units(struct __test_metadata *_metadata, struct kzd *d,
				    struct khazana_addr start, uint64_t units, int *region, int *fd)
{
	volatile uint64_t *p;

	*region = kzd_region(d, start, units * KZT_PAGE, KZT_SHIFT, NULL);
	ASSERT_LE(0, *region);
	*fd = kzt_attach(start, 0, 0);
	ASSERT_LE(0, *fd);
	p = kzt_map(*fd, units * KZT_PAGE, PROT_READ);
	ASSERT_NE(NULL, p);
	return p;
}

static void dropped_copies_make_room(struct __test_metadata *_metadata, struct kzd *d)
{
	uint64_t units = 2 * FRAMES, count;
	int region, fd;
	uint64_t unit;
	volatile uint64_t *p;

	p = map_units(_metadata, d, KZT_START, units, &region, &fd);
	for (unit = 0; unit < units; unit++)
		ASSERT_EQ(KZD_PATTERN_WORD(unit, 7), p[unit * 512 + 7]);
	/* neither frames nor records of what was dropped are left */
	count = records(d, region);
	EXPECT_LE(FRAMES / 2, count);
	EXPECT_GE(FRAMES, count);
	/* and there is room at once for a lower limit */
	EXPECT_GE(FRAMES / 4, set_limit(d, FRAMES / 4));
	for (unit = 0; unit < units; unit++)
		ASSERT_EQ(KZD_PATTERN_WORD(unit, 8), p[unit * 512 + 8]);
	EXPECT_GE(FRAMES / 4, records(d, region));
	close(fd);
}

/* What is used through the page tables is in use, whatever else passes through the frames. */
static void what_is_used_stays(struct __test_metadata *_metadata, struct kzd *d)
{
	const struct khazana_addr start = KZT_ADDR(0x40000000);
	struct khazana_cmd first, last = {};
	uint64_t units = 3 * FRAMES, unit;
	volatile uint64_t *p;
	int region, fd;

	p = map_units(_metadata, d, start, units, &region, &fd);
	ASSERT_EQ(KZD_PATTERN_WORD(0, 7), p[7]);
	ASSERT_EQ(0, kzd_unit(d, region, 0, &first));
	for (unit = 1; unit < units; unit++) {
		ASSERT_EQ(KZD_PATTERN_WORD(unit, 7), p[unit * 512 + 7]);
		ASSERT_EQ(KZD_PATTERN_WORD(0, 7), p[7]);
	}
	ASSERT_EQ(0, kzd_unit(d, region, 0, &last));
	EXPECT_EQ(first.token, last.token);
	/* and what was used once is gone */
	EXPECT_EQ(-ENOENT, kzd_unit(d, region, 1, &last));
	close(fd);
}

static void frames_that_cannot_be_dropped(struct __test_metadata *_metadata, struct kzd *d)
{
	struct khazana_cmd attributes = { .wait_ms = 1000 };
	uint64_t units = FRAMES + 256, unit, word;
	struct khazana_cmd state = { .op = KHAZANA_CMD_STATE };
	int region, fd, err = 0;
	char *p;

	region = kzd_region(d, KZT_START, units * KZT_PAGE, KZT_SHIFT, &attributes);
	ASSERT_LE(0, region);
	fd = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, fd);
	p = kzt_map(fd, units * KZT_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, p);
	for (unit = 0; unit < units && !err; unit++)
		err = kzt_store(p + unit * KZT_PAGE, unit);
	EXPECT_EQ(SIGBUS, err);
	EXPECT_LE(FRAMES / 2, unit);
	EXPECT_TRUE(kzd_wait(d, KHAZANA_REQ_PRESSURE, KZT_SOON_MS, NULL));
	EXPECT_EQ(-1, pread(fd, &word, 8, (units - 1) * KZT_PAGE));
	EXPECT_EQ(ENOMEM, errno);
	ASSERT_EQ(0, kzd_cmd(d, &state));
	EXPECT_GE(FRAMES, state.count);
	/* what is held stays */
	for (unit = 0; unit < 1000; unit++)
		ASSERT_EQ(unit, *(uint64_t *)(p + unit * KZT_PAGE));
	/* the limit is set live: higher, */
	EXPECT_EQ(-EINVAL, set_limit(d, d->reg.view_pages + 1));
	EXPECT_EQ(state.count, set_limit(d, d->reg.view_pages));
	EXPECT_EQ(state.count, set_limit(d, FRAMES + 128));
	for (unit = state.count; unit < FRAMES + 128; unit++)
		ASSERT_EQ(0, kzt_store(p + unit * KZT_PAGE, unit));
	EXPECT_EQ(SIGBUS, kzt_store(p + unit * KZT_PAGE, unit));
	/* and lower than what is held, which stays, but nothing comes to it */
	EXPECT_EQ(FRAMES + 128, set_limit(d, 16));
	for (unit = 0; unit < FRAMES + 128; unit++)
		ASSERT_EQ(unit, *(uint64_t *)(p + unit * KZT_PAGE));
	EXPECT_EQ(SIGBUS, kzt_store(p + unit * KZT_PAGE, unit));
	munmap(p, units * KZT_PAGE);
	close(fd);
}

TEST_F_TIMEOUT(frames, limit, 180)
{
	if (variant->flags & KZD_PATTERN) {
		what_is_used_stays(_metadata, self->d);
		dropped_copies_make_room(_metadata, self->d);
	} else {
		frames_that_cannot_be_dropped(_metadata, self->d);
	}
}

TEST_HARNESS_MAIN
