// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * around_test.c - one fault that maps several pages, and the marks of a prefetch
 */
#include "kzt.h"

#define AROUND 16 /* as in the module */

FIXTURE(around)
{
	struct kzt t;
};

/* Every unit holds its number plus one, READ only, and nothing is mapped. */
FIXTURE_SETUP(around)
{
	struct kzt *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, kzt_open(t, 0, NULL));
	for (i = 0; i < KZT_UNITS; i++)
		*kzt_word(t, i) = i + 1;
	for (i = 0; i < KZT_UNITS; i++)
		ASSERT_EQ(0, kzd_revoke(t->d, t->region, i, RIGHT_READ, 0));
	ASSERT_EQ(0, madvise(t->map, KZT_LENGTH, MADV_DONTNEED));
}

FIXTURE_TEARDOWN(around)
{
	kzt_close(&self->t);
}

/* How many units, of @n from @unit on, are in this process's page tables? */
static unsigned int mapped(const struct kzt *t, unsigned int unit, unsigned int n)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned int i, count = 0;
	uint64_t entry;

	for (i = unit; i < unit + n; i++)
		if (pread(fd, &entry, 8, (uintptr_t)kzt_word(t, i) / KZT_PAGE * 8) == 8)
			count += entry >> 63;
	close(fd);
	return count;
}

/* Make @unit and the next one a sequence. */
static void read_two(struct kzt *t, unsigned int unit)
{
	(void)*kzt_word(t, unit);
	(void)*kzt_word(t, unit + 1);
}

TEST_F(around, only_a_sequence_maps_ahead)
{
	struct kzt *t = &self->t;

	(void)*kzt_word(t, 40);
	(void)*kzt_word(t, 20);
	(void)*kzt_word(t, 60);
	EXPECT_EQ(3, mapped(t, 0, KZT_UNITS));
	read_two(t, 2);
	EXPECT_LT(2, mapped(t, 2, AROUND));
	EXPECT_GE(AROUND + 1, mapped(t, 2, KZT_UNITS - 2) - 3);
}

TEST_F(around, the_end_of_a_mapping_is_the_end)
{
	struct kzt *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, munmap(t->map + 8 * KZT_PAGE, KZT_LENGTH - 8 * KZT_PAGE));
	read_two(t, 4);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i + 1, *kzt_word(t, i));
	EXPECT_EQ(0, mapped(t, 8, KZT_UNITS - 8));
}

TEST_F(around, what_is_not_here_is_not_mapped)
{
	struct kzt *t = &self->t;

	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 5, RIGHT_NONE, 0));
	read_two(t, 2);
	EXPECT_EQ(3, mapped(t, 2, 3));
	EXPECT_EQ(0, mapped(t, 5, 1));
	EXPECT_EQ(6, *kzt_word(t, 5));
}

TEST_F(around, a_neighbour_is_revoked)
{
	struct kzt *t = &self->t;
	uint64_t before;
	unsigned int i;

	read_two(t, 0);
	ASSERT_EQ(8, mapped(t, 0, 8));
	before = kzd_seen(t->d, KHAZANA_REQ_FAULT);
	for (i = 2; i < 8; i++)
		ASSERT_EQ(0, kzd_revoke(t->d, t->region, i, RIGHT_NONE, 0));
	EXPECT_EQ(0, mapped(t, 2, 6));
	for (i = 2; i < 8; i++)
		EXPECT_EQ(i + 1, *kzt_word(t, i));
	EXPECT_EQ(before + 6, kzd_seen(t->d, KHAZANA_REQ_FAULT));
}

TEST_F(around, a_store_to_a_neighbour_is_asked_for)
{
	struct kzt *t = &self->t;
	struct khazana_cmd unit;
	uint64_t before;

	read_two(t, 0);
	ASSERT_EQ(8, mapped(t, 0, 8));
	ASSERT_EQ(0, mprotect(t->map, KZT_LENGTH, PROT_READ));
	ASSERT_EQ(0, mprotect(t->map, KZT_LENGTH, PROT_READ | PROT_WRITE));
	before = kzd_seen(t->d, KHAZANA_REQ_FAULT);
	*kzt_word(t, 4) = 9;
	EXPECT_EQ(before + 1, kzd_seen(t->d, KHAZANA_REQ_FAULT));
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 4, &unit));
	EXPECT_EQ(RIGHT_WRITE, unit.right);
	EXPECT_TRUE(unit.uflags & KHAZANA_UNIT_DIRTY);
}

/* With VM_MIXEDMAP, fork copies page tables. */
TEST_F(around, a_child_loses_what_it_inherited)
{
	struct kzt *t = &self->t;
	int go[2], counted[2], status;
	char byte = 0;
	pid_t pid;

	*kzt_word(t, 3) = 4;
	read_two(t, 0);
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(counted));
	pid = fork();
	if (!pid) {
		unsigned int inherited = mapped(t, 0, 2);

		if (write(counted[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1 ||
		    mapped(t, 0, 8))
			_exit(1);
		if (*kzt_word(t, 1) != 2 || *kzt_word(t, 3) != 4)
			_exit(2);
		*kzt_word(t, 3) = 77;
		_exit(inherited ? 0 : 3);
	}
	ASSERT_EQ(1, read(counted[0], &byte, 1));
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 3, RIGHT_READ, 0));
	for (status = 0; status < 8; status++)
		ASSERT_EQ(0, kzd_revoke(t->d, t->region, status, RIGHT_NONE, 0));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(77, *kzt_word(t, 3));
}

TEST_F(around, a_mark_is_told_once)
{
	struct kzt *t = &self->t;
	struct khazana_request req, touched;
	struct kzt_thread reader;

	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 30, RIGHT_NONE, 0));
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&reader, kzt_word(t, 30), false, 0);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	EXPECT_EQ(0, kzd_seen(t->d, KHAZANA_REQ_TOUCHED));
	ASSERT_EQ(0, kzd_commit(t->d, &req, RIGHT_READ, kzd_token(t->d), KHAZANA_CMDF_MARK));
	ASSERT_TRUE(kzt_access_wait(&reader, KZT_SOON_MS));
	EXPECT_EQ(31, reader.value);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_TOUCHED, KZT_SOON_MS, &touched));
	EXPECT_EQ(30, touched.unit);
	EXPECT_EQ(t->region, touched.region);
	ASSERT_EQ(0, madvise(t->map, KZT_LENGTH, MADV_DONTNEED));
	EXPECT_EQ(31, *kzt_word(t, 30));
	EXPECT_FALSE(kzd_wait(t->d, KHAZANA_REQ_TOUCHED, KZT_QUIET_MS, NULL));
}

TEST_HARNESS_MAIN
