// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * map_test.c - attaching, mapping, and what users do to their mappings
 */
#include "kzt.h"

#include <sys/uio.h>

FIXTURE(map)
{
	struct kzt t;
};

FIXTURE_SETUP(map)
{
	ASSERT_EQ(0, kzt_open(&self->t, 0, NULL));
}

FIXTURE_TEARDOWN(map)
{
	kzt_close(&self->t);
}

TEST_F(map, attach_answers)
{
	struct khazana_attach a = { .start = KZT_ADDR(KZT_START.lo + 4 * KZT_PAGE),
				    .length = 8 * KZT_PAGE };
	int fd = open(KZD_DEVICE, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kzt_attach_with(fd, &a));
	EXPECT_EQ(KZT_SHIFT, a.unit_shift);
	EXPECT_EQ(8 * KZT_PAGE, a.length_out);
	EXPECT_EQ(KZT_HI, a.region_start.hi);
	EXPECT_EQ(KZT_START.lo, a.region_start.lo);
	EXPECT_EQ(KZT_LENGTH, a.region_length);
	EXPECT_EQ(8 * KZT_PAGE, lseek(fd, 0, SEEK_END));
	close(fd);
	fd = open(KZD_DEVICE, O_RDWR);
	a.length = 0;
	ASSERT_EQ(0, kzt_attach_with(fd, &a));
	EXPECT_EQ(KZT_LENGTH - 4 * KZT_PAGE, a.length_out);
	close(fd);
}

TEST_F(map, words_stay)
{
	uint64_t word;
	unsigned int i;

	for (i = 0; i < KZT_UNITS; i++)
		*kzt_word(&self->t, i) = i + 1;
	for (i = 0; i < KZT_UNITS; i++) {
		EXPECT_EQ(i + 1, *kzt_word(&self->t, i));
		ASSERT_EQ(8, pread(self->t.fd, &word, 8, i * KZT_PAGE));
		EXPECT_EQ(i + 1, word);
	}
	EXPECT_EQ(KZT_UNITS, kzd_seen(self->t.d, KHAZANA_REQ_FAULT));
}

TEST_F(map, data_moves_with_revokes)
{
	unsigned int i;

	for (i = 0; i < KZT_UNITS; i++)
		*kzt_word(&self->t, i) = i + 1;
	for (i = 0; i < KZT_UNITS; i++)
		ASSERT_EQ(0, kzd_revoke(self->t.d, self->t.region, i, RIGHT_NONE, 0));
	for (i = 0; i < KZT_UNITS; i++)
		EXPECT_EQ(i + 1, *kzt_word(&self->t, i));
	EXPECT_EQ(2 * KZT_UNITS, kzd_seen(self->t.d, KHAZANA_REQ_FAULT));
}

TEST_F(map, needs_attach)
{
	struct khazana_attach a = { .start = KZT_START };
	int fd = open(KZD_DEVICE, O_RDWR);
	char byte;
	void *p;

	ASSERT_LE(0, fd);
	EXPECT_EQ(NULL, kzt_map(fd, KZT_PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(fd, &byte, 1, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, kzt_lock(fd, 0, 1, KHAZANA_LOCK_READ, 0, 0, NULL));
	ASSERT_EQ(0, kzt_attach_with(fd, &a));
	p = kzt_map(fd, KZT_PAGE, PROT_READ);
	EXPECT_NE(NULL, p);
	munmap(p, KZT_PAGE);
	close(fd);
}

TEST_F(map, second_attach_refused)
{
	struct khazana_attach a = { .start = KZT_START };

	EXPECT_EQ(-EBUSY, kzt_attach_with(self->t.fd, &a));
	*kzt_word(&self->t, 0) = 1;
	EXPECT_EQ(1, *kzt_word(&self->t, 0));
}

TEST_F(map, private_refused)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, KZT_PAGE, PROT_READ, MAP_PRIVATE, self->t.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED,
		  mmap(NULL, KZT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->t.fd, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(map, readonly_attach)
{
	int fd = kzt_attach(KZT_START, 0, KHAZANA_ATTACH_READONLY);
	struct khazana_request req;
	uint64_t word = 7;
	char *p;

	*kzt_word(&self->t, 0) = 5;
	ASSERT_EQ(0, kzd_revoke(self->t.d, self->t.region, 0, RIGHT_NONE, 0));
	ASSERT_LE(0, fd);
	EXPECT_EQ(NULL, kzt_map(fd, KZT_PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	p = kzt_map(fd, KZT_PAGE, PROT_READ);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(-1, mprotect(p, KZT_PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, pwrite(fd, &word, 8, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-EACCES, kzt_lock(fd, 0, 1, KHAZANA_LOCK_WRITE, 0, 0, NULL));
	kzd_skip(self->t.d, KHAZANA_REQ_FAULT);
	ASSERT_EQ(0, kzt_load(p, &word));
	EXPECT_EQ(5, word);
	ASSERT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(RIGHT_READ, req.want);
	EXPECT_EQ(SIGSEGV, kzt_store(p, 1));
	munmap(p, KZT_PAGE);
	close(fd);
}

TEST_F(map, readonly_file)
{
	struct khazana_attach a = { .start = KZT_START };
	int fd = open(KZD_DEVICE, O_RDONLY);
	uint64_t word = 0;

	ASSERT_EQ(0, kzt_attach_with(fd, &a));
	EXPECT_EQ(NULL, kzt_map(fd, KZT_PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(8, pread(fd, &word, 8, 0));
	EXPECT_EQ(-EACCES, kzt_lock(fd, 0, 1, KHAZANA_LOCK_WRITE, 0, 0, NULL));
	EXPECT_EQ(0, kzt_lock(fd, 0, 1, KHAZANA_LOCK_READ, 0, 0, NULL));
	close(fd);
}

TEST_F(map, fork_shares)
{
	struct kzt *t = &self->t;
	pid_t pid;

	*kzt_word(t, 0) = 1;
	pid = fork();
	if (!pid) {
		*kzt_word(t, 0) += 1;
		*kzt_word(t, 1) = 9;
		_exit(0);
	}
	ASSERT_EQ(0, kzt_reap(pid, KZT_SOON_MS));
	EXPECT_EQ(2, *kzt_word(t, 0));
	EXPECT_EQ(9, *kzt_word(t, 1));
}

TEST_F(map, fork_is_revoked)
{
	struct kzt *t = &self->t;
	pid_t pid;
	int go[2];
	char byte = 0;

	ASSERT_EQ(0, pipe(go));
	*kzt_word(t, 0) = 1;
	pid = fork();
	if (!pid) {
		*kzt_word(t, 0) = 2;
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		*kzt_word(t, 0) = 3;
		_exit(0);
	}
	while (*kzt_word(t, 0) != 2)
		kzt_sleep_ms(1);
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0));
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, NULL));
	EXPECT_EQ(-1, kzt_reap(pid, KZT_QUIET_MS));
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, kzt_reap(pid, KZT_SOON_MS));
}

TEST_F(map, moved_mapping_is_revoked)
{
	struct kzt *t = &self->t;
	char *to = mmap(NULL, KZT_LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seen;

	*kzt_word(t, 3) = 33;
	ASSERT_EQ(to, mremap(t->map, KZT_LENGTH, KZT_LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	t->map = to;
	EXPECT_EQ(33, *kzt_word(t, 3));
	seen = kzd_seen(t->d, KHAZANA_REQ_FAULT);
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 3, RIGHT_NONE, 0));
	EXPECT_EQ(33, *kzt_word(t, 3));
	EXPECT_EQ(seen + 1, kzd_seen(t->d, KHAZANA_REQ_FAULT));
}

TEST_F(map, mremap_does_not_grow)
{
	struct kzt *t = &self->t;
	char *p = kzt_map(t->fd, 8 * KZT_PAGE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, p);
	EXPECT_EQ(p, mremap(p, 8 * KZT_PAGE, 4 * KZT_PAGE, 0));
	EXPECT_EQ(MAP_FAILED, mremap(p, 4 * KZT_PAGE, 16 * KZT_PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	munmap(p, 4 * KZT_PAGE);
}

TEST_F(map, mprotect_gives_no_right)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	uint64_t word;

	ASSERT_EQ(0, kzt_load(kzt_word(t, 0), &word));
	ASSERT_EQ(0, mprotect(t->map, KZT_LENGTH, PROT_READ));
	EXPECT_EQ(SIGSEGV, kzt_store(kzt_word(t, 0), 1));
	ASSERT_EQ(0, mprotect(t->map, KZT_LENGTH, PROT_READ | PROT_WRITE));
	kzd_skip(t->d, KHAZANA_REQ_FAULT);
	ASSERT_EQ(0, kzt_store(kzt_word(t, 0), 1));
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(RIGHT_WRITE, req.want);

	/* downgraded while dirty, then made unwritable and writable by the user */
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 0, RIGHT_READ, 0));
	ASSERT_EQ(0, mprotect(t->map, KZT_LENGTH, PROT_NONE));
	ASSERT_EQ(0, mprotect(t->map, KZT_LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(1, *kzt_word(t, 0));
	EXPECT_FALSE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_QUIET_MS, NULL));
	ASSERT_EQ(0, kzt_store(kzt_word(t, 0), 2));
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(RIGHT_WRITE, req.want);
	EXPECT_EQ(2, *kzt_word(t, 0));
}

TEST_F(map, partial_munmap)
{
	struct kzt *t = &self->t;
	uint64_t word;
	unsigned int i;

	for (i = 0; i < KZT_UNITS; i++)
		*kzt_word(t, i) = i;
	ASSERT_EQ(0, munmap(t->map + 8 * KZT_PAGE, 8 * KZT_PAGE));
	for (i = 0; i < KZT_UNITS; i++)
		ASSERT_EQ(0, kzd_revoke(t->d, t->region, i, RIGHT_NONE, 0));
	EXPECT_EQ(SIGSEGV, kzt_load(kzt_word(t, 8), &word));
	EXPECT_EQ(SIGSEGV, kzt_load(kzt_word(t, 15), &word));
	EXPECT_EQ(7, *kzt_word(t, 7));
	EXPECT_EQ(16, *kzt_word(t, 16));
	ASSERT_EQ(8, pread(t->fd, &word, 8, 8 * KZT_PAGE));
	EXPECT_EQ(8, word);
}

TEST_F(map, end_of_window)
{
	struct kzt *t = &self->t;
	char *p = mmap(NULL, 2 * KZT_PAGE, PROT_READ, MAP_SHARED, t->fd, KZT_LENGTH - KZT_PAGE);
	char buf[16];
	uint64_t word;

	/* like a file's end: mapping beyond it is refused, or its access is */
	if (p != MAP_FAILED) {
		EXPECT_EQ(0, kzt_load(p, &word));
		EXPECT_EQ(SIGBUS, kzt_load(p + KZT_PAGE, &word));
	}
	EXPECT_EQ(0, pread(t->fd, buf, 16, KZT_LENGTH));
	EXPECT_EQ(8, pread(t->fd, buf, 16, KZT_LENGTH - 8));
	EXPECT_EQ(8, pwrite(t->fd, buf, 16, KZT_LENGTH - 8));
	EXPECT_EQ(-1, pwrite(t->fd, buf, 16, KZT_LENGTH));
}

TEST_F(map, windows_share_frames)
{
	int fd = kzt_attach(KZT_ADDR(KZT_START.lo + 5 * KZT_PAGE), 2 * KZT_PAGE, 0);
	uint64_t *p = kzt_map(fd, 2 * KZT_PAGE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, p);
	*kzt_word(&self->t, 5) = 55;
	EXPECT_EQ(55, p[0]);
	p[KZT_PAGE / 8] = 66;
	EXPECT_EQ(66, *kzt_word(&self->t, 6));
	EXPECT_EQ(2, kzd_seen(self->t.d, KHAZANA_REQ_FAULT));
	munmap(p, 2 * KZT_PAGE);
	close(fd);
}

TEST_F(map, populate_lock_dontneed)
{
	struct kzt *t = &self->t;
	uint64_t seen;

	ASSERT_EQ(0, madvise(t->map, 8 * KZT_PAGE, MADV_POPULATE_WRITE));
	EXPECT_EQ(8, kzd_seen(t->d, KHAZANA_REQ_FAULT));
	*kzt_word(t, 1) = 11;
	ASSERT_EQ(0, madvise(t->map, 8 * KZT_PAGE, MADV_DONTNEED));
	EXPECT_EQ(11, *kzt_word(t, 1));
	EXPECT_EQ(8, kzd_seen(t->d, KHAZANA_REQ_FAULT));
	ASSERT_EQ(0, mlock(t->map + 8 * KZT_PAGE, 8 * KZT_PAGE));
	seen = kzd_seen(t->d, KHAZANA_REQ_FAULT);
	EXPECT_EQ(16, seen);
	ASSERT_EQ(0, munlock(t->map + 8 * KZT_PAGE, 8 * KZT_PAGE));
}

TEST_F(map, no_core_dump_no_expand)
{
	char line[4096], flags[4096] = "";
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to;
	bool ours = false;

	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			ours = from == (unsigned long)self->t.map;
		if (ours && !strncmp(line, "VmFlags:", 8))
			strcpy(flags, line);
	}
	fclose(f);
	EXPECT_NE(NULL, strstr(flags, " dd"));
	EXPECT_NE(NULL, strstr(flags, " de"));
	EXPECT_NE(NULL, strstr(flags, " sh"));
}

/* Regions of other shapes, on a server of their own. */
FIXTURE(shape)
{
	struct kzd *d;
};

FIXTURE_SETUP(shape)
{
	self->d = kzd_start(0, 64, 0);
	ASSERT_NE(NULL, self->d);
}

FIXTURE_TEARDOWN(shape)
{
	kzd_stop(self->d);
}

TEST_F(shape, huge_offsets)
{
	const uint64_t size = 1ULL << 46;
	int region = kzd_region(self->d, KZT_START, size, KZT_SHIFT, NULL);
	int fd = kzt_attach(KZT_START, size, 0);
	struct khazana_request req;
	uint64_t word = 77, *p;

	ASSERT_LE(0, region);
	ASSERT_LE(0, fd);
	p = mmap(NULL, KZT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, size - KZT_PAGE);
	ASSERT_NE(MAP_FAILED, p);
	*p = word;
	ASSERT_TRUE(kzd_wait(self->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ((size >> KZT_SHIFT) - 1, req.unit);
	ASSERT_EQ(8, pread(fd, &word, 8, size - KZT_PAGE));
	EXPECT_EQ(77, word);
	EXPECT_EQ(size, lseek(fd, 0, SEEK_END));
	munmap(p, KZT_PAGE);
	close(fd);
}

TEST_F(shape, window_beyond_2_63)
{
	const uint64_t far = 1ULL << 63;
	struct khazana_addr base = KZT_ADDR(0);
	struct khazana_attach a = { .start = KZT_ADDR(far + KZT_PAGE), .length = KZT_LENGTH };
	struct khazana_request req;
	uint64_t *p;
	int fd;

	ASSERT_LE(0, kzd_region(self->d, base, -KZT_PAGE, KZT_SHIFT, NULL));
	fd = open(KZD_DEVICE, O_RDWR);
	ASSERT_EQ(0, kzt_attach_with(fd, &a));
	EXPECT_EQ(KZT_LENGTH, a.length_out);
	EXPECT_EQ(-KZT_PAGE, a.region_length);
	p = kzt_map(fd, KZT_LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, p);
	p[0] = 1;
	ASSERT_TRUE(kzd_wait(self->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ((far >> KZT_SHIFT) + 1, req.unit);
	/* zapping by unit must find it */
	ASSERT_EQ(0, kzd_revoke(self->d, req.region, req.unit, RIGHT_NONE, 0));
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(2, kzd_seen(self->d, KHAZANA_REQ_FAULT));
	munmap(p, KZT_LENGTH);
	close(fd);
	fd = kzt_attach(base, far, 0);
	EXPECT_EQ(-EINVAL, fd);
}

TEST_F(shape, region_across_2_64)
{
	struct khazana_addr base = KZT_ADDR(-16 * KZT_PAGE);
	struct khazana_addr upper = { .hi = KZT_HI + 1, .lo = KZT_PAGE };
	int region = kzd_region(self->d, base, KZT_LENGTH, KZT_SHIFT, NULL);
	int fd = kzt_attach(upper, KZT_PAGE, 0);
	int whole = kzt_attach(base, 0, 0);
	struct khazana_request req;
	uint64_t word = 5;

	ASSERT_LE(0, region);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, whole);
	ASSERT_EQ(8, pwrite(fd, &word, 8, 0));
	ASSERT_TRUE(kzd_wait(self->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(17, req.unit);
	word = 0;
	ASSERT_EQ(8, pread(whole, &word, 8, 17 * KZT_PAGE));
	EXPECT_EQ(5, word);
	EXPECT_EQ(KZT_LENGTH, lseek(whole, 0, SEEK_END));
	close(fd);
	close(whole);
}

TEST_F(shape, units_of_64k)
{
	const unsigned int shift = 16, per_unit = 16, units = 8;
	int region = kzd_region(self->d, KZT_START, (uint64_t)units << shift, shift, NULL);
	int fd = kzt_attach(KZT_START, 0, 0);
	char *map;
	unsigned int i;
	uint64_t seen;

	ASSERT_LE(0, region);
	ASSERT_LE(0, fd);
	map = kzt_map(fd, (size_t)units << shift, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	for (i = 0; i < units * per_unit; i++)
		*(uint64_t *)(map + i * KZT_PAGE) = i + 1;
	EXPECT_EQ(units, kzd_seen(self->d, KHAZANA_REQ_FAULT));
	for (i = 0; i < units; i++)
		ASSERT_EQ(0, kzd_revoke(self->d, region, i, RIGHT_NONE, 0));
	for (i = 0; i < units * per_unit; i++)
		EXPECT_EQ(i + 1, *(uint64_t *)(map + i * KZT_PAGE));
	seen = kzd_seen(self->d, KHAZANA_REQ_FAULT);
	EXPECT_EQ(2 * units, seen);

	/* a downgrade takes the store right of every page of the unit */
	for (i = 0; i < per_unit; i++)
		*(uint64_t *)(map + i * KZT_PAGE) = 1;
	seen = kzd_seen(self->d, KHAZANA_REQ_FAULT);
	ASSERT_EQ(0, kzd_revoke(self->d, region, 0, RIGHT_READ, 0));
	*(uint64_t *)(map + 15 * KZT_PAGE) = 2;
	EXPECT_EQ(seen + 1, kzd_seen(self->d, KHAZANA_REQ_FAULT));
	*(uint64_t *)map = 2;
	EXPECT_EQ(seen + 1, kzd_seen(self->d, KHAZANA_REQ_FAULT));
	munmap(map, (size_t)units << shift);
	close(fd);
	EXPECT_EQ(-EINVAL, kzt_attach(KZT_ADDR(KZT_START.lo + KZT_PAGE), 1 << shift, 0));
	EXPECT_EQ(-EINVAL, kzt_attach(KZT_START, KZT_PAGE, 0));
}

TEST_F(shape, data_of_a_remote_owner_64k)
{
	const unsigned int shift = 16, units = 8;
	unsigned int i;
	char *map;
	int fd;

	kzd_stop(self->d);
	self->d = kzd_start(KZD_STORE, 64, units << shift);
	ASSERT_NE(NULL, self->d);
	ASSERT_LE(0, kzd_region(self->d, KZT_START, units << shift, shift, NULL));
	memset(self->d->store, 0x5a, units << shift);
	fd = kzt_attach(KZT_START, 0, 0);
	ASSERT_LE(0, fd);
	map = kzt_map(fd, units << shift, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	for (i = 0; i < units << shift; i++)
		ASSERT_EQ(0x5a, map[i]);
	memset(map, 0x33, units << shift);
	for (i = 0; i < units; i++)
		ASSERT_EQ(0, kzd_revoke(self->d, self->d->sh->region[0].handle, i, RIGHT_NONE, 0));
	for (i = 0; i < units << shift; i++)
		ASSERT_EQ(0x33, self->d->store[i]);
	memset(self->d->store, 0x44, units << shift);
	for (i = 0; i < units << shift; i++)
		ASSERT_EQ(0x44, map[i]);
	munmap(map, units << shift);
	close(fd);
}

TEST_HARNESS_MAIN
