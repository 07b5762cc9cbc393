// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lease_test.c - the module ends leases in the page tables, with khd or without
 */
#include "kzt.h"

#define LEASE 7
#define LEASE_MS 1200
#define WAIT_MS 1500

FIXTURE(lease)
{
	struct kzt t;
	uint64_t end_ns;
};

FIXTURE_SETUP(lease)
{
	struct khazana_cmd attributes = { .lease = LEASE, .wait_ms = WAIT_MS };

	ASSERT_EQ(0, kzt_open(&self->t, 0, &attributes));
}

FIXTURE_TEARDOWN(lease)
{
	kzt_close(&self->t);
}

/* Let the lease end soon, and pass. */
static void let_it_end(struct kzt *t)
{
	kzd_skip(t->d, KHAZANA_REQ_EXPIRED);
	kzd_lease(t->d, LEASE, 300);
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_sleep_ms(600);
}

TEST_F(lease, renewal_keeps_rights)
{
	struct kzt *t = &self->t;
	int i;

	*kzt_word(t, 0) = 1;
	for (i = 0; i < 6; i++) {
		EXPECT_EQ(0, kzd_lease(t->d, LEASE, 600));
		kzt_sleep_ms(200);
		*kzt_word(t, 0) += 1;
	}
	EXPECT_EQ(7, *kzt_word(t, 0));
	EXPECT_EQ(1, kzd_seen(t->d, KHAZANA_REQ_FAULT));
	EXPECT_EQ(0, kzd_seen(t->d, KHAZANA_REQ_EXPIRED));
}

TEST_F(lease, end_is_enforced_without_a_daemon)
{
	struct kzt *t = &self->t;
	struct kzt_thread load;
	uint64_t start, word, end;
	int i;

	for (i = 0; i < KZT_UNITS; i++)
		*kzt_word(t, i) = i;
	start = kzd_now_ns();
	ASSERT_EQ(0, kzd_lease(t->d, LEASE, LEASE_MS));
	end = start + LEASE_MS * 1000000ULL;
	kzd_kill(t->d);
	EXPECT_EQ(0, kzt_load(kzt_word(t, 0), &word));
	while (kzd_now_ns() < end + 1000000)
		kzt_sleep_ms(1);
	/* gone at the end, not some time after it: this load must not succeed */
	start = kzd_now_ns();
	kzt_access_start(&load, kzt_word(t, 1), false, 0);
	EXPECT_FALSE(kzt_access_wait(&load, WAIT_MS / 2));
	EXPECT_TRUE(kzt_access_wait(&load, WAIT_MS * 3));
	EXPECT_EQ(SIGBUS, load.result);
	EXPECT_LE(WAIT_MS - 100, (kzd_now_ns() - start) / 1000000);
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, KZT_UNITS - 1), &word));
}

TEST_F(lease, end_is_told_and_faults_ask_again)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct kzt_thread load;
	uint64_t word;

	ASSERT_EQ(0, kzt_load(kzt_word(t, 0), &word));
	let_it_end(t);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_EXPIRED, KZT_SOON_MS, &req));
	EXPECT_EQ(LEASE, req.unit);
	kzt_access_start(&load, kzt_word(t, 0), false, 0);
	EXPECT_FALSE(kzt_access_wait(&load, KZT_QUIET_MS));
	ASSERT_EQ(0, kzd_lease(t->d, LEASE, 60000));
	kzd_release(t->d);
	EXPECT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	EXPECT_EQ(0, load.result);
}

TEST_F(lease, clean_copies)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct kzt_thread load;
	struct khazana_cmd c;
	uint64_t word, token;
	int err;

	/* unit 0 OWNED and clean, unit 1 a copy */
	ASSERT_EQ(0, kzt_load(kzt_word(t, 0), &word));
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&load, kzt_word(t, 1), false, 0);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	token = kzd_token(t->d);
	c = (struct khazana_cmd){
		.op = KHAZANA_CMD_COMMIT,
		.flags = KHAZANA_CMDF_ZERO,
		.region = t->region,
		.unit = 1,
		.right = RIGHT_READ,
		.token = token,
		.version = token,
		.request = req.id,
	};
	ASSERT_EQ(0, kzd_cmd(t->d, &c));
	ASSERT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	kzd_release(t->d);
	let_it_end(t);
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 0, &c));
	EXPECT_EQ(RIGHT_NONE, c.right);
	EXPECT_TRUE(c.uflags & KHAZANA_UNIT_OWNED);
	EXPECT_NE(~0U, c.frame);
	err = kzd_unit(t->d, t->region, 1, &c);
	EXPECT_TRUE(err == -ENOENT || (!err && c.right == RIGHT_NONE && c.frame == ~0U));
}

TEST_F(lease, dirty_unit_resumes)
{
	struct kzt *t = &self->t;
	struct khazana_cmd c;
	uint64_t seen;

	*kzt_word(t, 0) = 42;
	let_it_end(t);
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 0, &c));
	EXPECT_EQ(KHAZANA_STATE_EXPIRED_DIRTY, c.state);
	EXPECT_TRUE(c.uflags & KHAZANA_UNIT_DIRTY);
	ASSERT_EQ(0, kzd_lease(t->d, LEASE, 60000));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_RESUME,
				  .region = t->region,
				  .token = c.token + 1 };
	EXPECT_EQ(-ESTALE, kzd_cmd(t->d, &c));
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 0, &c));
	EXPECT_EQ(KHAZANA_STATE_EXPIRED_DIRTY, c.state);
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_RESUME, .region = t->region, .token = c.token };
	ASSERT_EQ(0, kzd_cmd(t->d, &c));
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 0, &c));
	EXPECT_EQ(KHAZANA_STATE_STABLE, c.state);
	EXPECT_EQ(RIGHT_WRITE, c.right);
	seen = kzd_seen(t->d, KHAZANA_REQ_FAULT);
	EXPECT_EQ(42, *kzt_word(t, 0));
	*kzt_word(t, 0) = 43;
	EXPECT_EQ(seen, kzd_seen(t->d, KHAZANA_REQ_FAULT));
}

TEST_F(lease, resume_wakes_waiters)
{
	struct kzt *t = &self->t;
	struct kzt_thread load;
	struct khazana_cmd c;

	*kzt_word(t, 0) = 42;
	let_it_end(t);
	kzt_access_start(&load, kzt_word(t, 0), false, 0);
	EXPECT_FALSE(kzt_access_wait(&load, KZT_QUIET_MS));
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 0, &c));
	ASSERT_EQ(0, kzd_lease(t->d, LEASE, 60000));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_RESUME, .region = t->region, .token = c.token };
	ASSERT_EQ(0, kzd_cmd(t->d, &c));
	EXPECT_TRUE(kzt_access_wait(&load, WAIT_MS / 2));
	EXPECT_EQ(0, load.result);
	EXPECT_EQ(42, load.value);
}

static int lose_unit(struct kzt *t, uint64_t unit, uint32_t flags)
{
	struct khazana_cmd c;
	int err = kzd_unit(t->d, t->region, unit, &c);

	if (err)
		return err;
	c = (struct khazana_cmd){
		.op = KHAZANA_CMD_LOST,
		.flags = flags,
		.region = t->region,
		.unit = unit,
		.token = c.token,
	};
	return kzd_cmd(t->d, &c);
}

static int lose(struct kzt *t, uint32_t flags)
{
	int err;

	kzd_lease(t->d, LEASE, 60000);
	err = lose_unit(t, 0, flags);
	kzd_release(t->d);
	return err;
}

TEST_F(lease, lost_unit_poisons)
{
	struct kzt *t = &self->t;
	struct khazana_lock l;
	uint64_t word;
	int fd, twin = dup(t->fd);
	char *map;

	*kzt_word(t, 1) = 1;
	ASSERT_EQ(0, kzt_lock(t->fd, 2 * KZT_PAGE, 1, KHAZANA_LOCK_WRITE, 0, 0, &l));
	*kzt_word(t, 0) = 42;
	let_it_end(t);
	ASSERT_EQ(0, lose(t, 0));
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, 0), &word));
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, 1), &word));
	EXPECT_EQ(SIGBUS, kzt_store(kzt_word(t, 9), 1));
	EXPECT_EQ(-1, pread(t->fd, &word, 8, 0));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(-1, pwrite(twin, &word, 8, 0));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(-1, fsync(t->fd));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(-ESTALE, kzt_lock(t->fd, 0, 1, KHAZANA_LOCK_READ, 0, 0, NULL));
	EXPECT_EQ(-ESTALE, kzt_unlock(t->fd, l.id));

	/* a new attachment is a new beginning */
	fd = kzt_attach(KZT_START, KZT_LENGTH, 0);
	ASSERT_LE(0, fd);
	map = kzt_map(fd, KZT_LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(0, kzt_load(map, &word));
	EXPECT_NE(42, word);
	EXPECT_EQ(0, kzt_store(map, 5));
	EXPECT_EQ(SIGBUS, kzt_load(kzt_word(t, 0), &word));
	munmap(map, KZT_LENGTH);
	close(fd);
	close(twin);
}

static int parked(struct kzt *t, uint64_t cursor, struct khazana_cmd *c)
{
	*c = (struct khazana_cmd){ .op = KHAZANA_CMD_PARKED, .cookie = cursor };
	return kzd_cmd(t->d, c);
}

static int parked_drop(struct kzt *t, uint64_t id)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_PARKED_DROP, .cookie = id };

	return kzd_cmd(t->d, &c);
}

TEST_F(lease, parked_frames_can_be_read_out)
{
	struct kzt *t = &self->t;
	struct khazana_cmd c, first;
	uint64_t token[2], used;
	unsigned int i;

	EXPECT_EQ(-ENOENT, parked(t, 0, &c));
	*kzt_word(t, 2) = 42;
	*kzt_word(t, 5) = 43;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, kzd_unit(t->d, t->region, i ? 5 : 2, &c));
		token[i] = c.token;
	}
	let_it_end(t);
	kzd_lease(t->d, LEASE, 60000);
	used = kzt_frames_used(t->d);
	ASSERT_EQ(0, lose_unit(t, 2, 0));
	ASSERT_EQ(0, lose_unit(t, 5, 0));
	EXPECT_EQ(used, kzt_frames_used(t->d));

	/* they outlive the daemon */
	kzd_kill(t->d);
	ASSERT_EQ(0, kzd_restart(t->d));
	ASSERT_EQ(0, parked(t, 0, &first));
	EXPECT_EQ(t->region, first.region);
	EXPECT_EQ(2, first.unit);
	EXPECT_EQ(token[0], first.token);
	EXPECT_EQ(token[0], first.version);
	EXPECT_GE(kzd_now_ns(), first.time_ns);
	EXPECT_EQ(42, kzd_peek(t->d, first.frame));
	ASSERT_EQ(0, parked(t, first.cookie + 1, &c));
	EXPECT_EQ(5, c.unit);
	EXPECT_EQ(token[1], c.token);
	EXPECT_EQ(43, kzd_peek(t->d, c.frame));
	EXPECT_EQ(-ENOENT, parked(t, c.cookie + 1, &c));
	EXPECT_EQ(-ENOENT, parked(t, 1ULL << 32, &c));

	EXPECT_EQ(0, parked_drop(t, first.cookie));
	EXPECT_EQ(-ENOENT, parked_drop(t, first.cookie));
	EXPECT_EQ(-ENOENT, parked_drop(t, first.cookie + (1ULL << 32)));
	EXPECT_EQ(used - 1, kzt_frames_used(t->d));
	ASSERT_EQ(0, parked(t, 0, &c));
	EXPECT_EQ(5, c.unit);
	/* and go with the region */
	munmap(t->map, KZT_LENGTH);
	close(t->fd);
	t->map = NULL;
	t->fd = -1;
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_DEL,
				  .region = t->region,
				  .flags = KHAZANA_CMDF_FORCE };
	EXPECT_EQ(0, kzd_cmd(t->d, &c));
	EXPECT_EQ(-ENOENT, parked(t, 0, &c));
	EXPECT_EQ(0, kzt_frames_used(t->d));
}

TEST_F(lease, parked_frames_have_a_limit)
{
	struct kzt *t = &self->t;
	struct khazana_cmd c;
	uint64_t used, i;

	for (i = 0; i < 4; i++)
		*kzt_word(t, i) = i;
	let_it_end(t);
	kzd_lease(t->d, LEASE, 60000);
	used = kzt_frames_used(t->d);
	ASSERT_EQ(0, kzt_set_parameter("parked_max", "2"));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, lose_unit(t, i, 0));
	EXPECT_EQ(0, kzt_set_parameter("parked_max", "0"));
	EXPECT_EQ(used - 1, kzt_frames_used(t->d));
	/* without memory for the entry: the same */
	ASSERT_EQ(0, kzt_set_parameter("inject_fail", "parked:1"));
	EXPECT_EQ(0, lose_unit(t, 3, 0));
	EXPECT_EQ(used - 2, kzt_frames_used(t->d));
	ASSERT_EQ(0, parked(t, 0, &c));
	EXPECT_EQ(0, c.unit);
	ASSERT_EQ(0, parked(t, c.cookie + 1, &c));
	EXPECT_EQ(1, c.unit);
	EXPECT_EQ(-ENOENT, parked(t, c.cookie + 1, &c));
}

TEST_F(lease, parked_frames_by_khadm)
{
	struct kzt *t = &self->t;
	char out[4096], words[100], file[] = "/tmp/kzt-parked";
	struct khazana_cmd c;
	uint64_t word;
	int fd;

	*kzt_word(t, 1) = 42;
	let_it_end(t);
	kzd_lease(t->d, LEASE, 60000);
	ASSERT_EQ(0, lose_unit(t, 1, 0));
	ASSERT_EQ(0, parked(t, 0, &c));
	/* no daemon is needed */
	kzd_kill(t->d);

	ASSERT_EQ(0, kzt_khadm("parked list -j", out, sizeof(out)));
	EXPECT_NE(NULL, strstr(out, "\"schema\": \"khazana.parked-list/1\""));
	EXPECT_NE(NULL, strstr(out, "\"addr\": \"6b68617a:10001000\""));
	EXPECT_NE(NULL, strstr(out, "\"unit\": 4096"));
	snprintf(words, sizeof(words), "\"token\": \"0x%llx\"", (unsigned long long)c.token);
	EXPECT_NE(NULL, strstr(out, words));
	snprintf(words, sizeof(words), "parked show -j %llu", (unsigned long long)c.cookie);
	EXPECT_EQ(0, kzt_khadm(words, out, sizeof(out)));
	EXPECT_NE(NULL, strstr(out, "\"schema\": \"khazana.parked/1\""));

	unlink(file);
	snprintf(words, sizeof(words), "parked export %llu -o %s", (unsigned long long)c.cookie,
		 file);
	ASSERT_EQ(0, kzt_khadm(words, out, sizeof(out)));
	fd = open(file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(8, read(fd, &word, 8));
	EXPECT_EQ(42, word);
	EXPECT_EQ(KZT_PAGE, lseek(fd, 0, SEEK_END));
	close(fd);
	/* an existing file is not overwritten */
	EXPECT_EQ(1, kzt_khadm(words, out, sizeof(out)));
	unlink(file);

	snprintf(words, sizeof(words), "parked discard %llu", (unsigned long long)c.cookie);
	EXPECT_EQ(0, kzt_khadm(words, out, sizeof(out)));
	EXPECT_EQ(3, kzt_khadm(words, out, sizeof(out)));
	EXPECT_EQ(0, kzt_khadm("parked list", out, sizeof(out)));
	EXPECT_EQ(NULL, strstr(out, "6b68617a"));
}

TEST_F(lease, lost_unit_of_a_tolerant_region)
{
	struct kzt *t = &self->t;
	uint64_t word;

	*kzt_word(t, 0) = 42;
	let_it_end(t);
	ASSERT_EQ(0, lose(t, KHAZANA_CMDF_NOPOISON));
	EXPECT_EQ(0, kzt_load(kzt_word(t, 0), &word));
	EXPECT_NE(42, word);
	EXPECT_EQ(0, kzt_store(kzt_word(t, 0), 1));
}

TEST_F(lease, waiter_of_a_lost_unit)
{
	struct kzt *t = &self->t;
	struct kzt_thread load;

	*kzt_word(t, 0) = 42;
	let_it_end(t);
	kzt_access_start(&load, kzt_word(t, 0), false, 0);
	EXPECT_FALSE(kzt_access_wait(&load, KZT_QUIET_MS));
	ASSERT_EQ(0, lose(t, 0));
	EXPECT_TRUE(kzt_access_wait(&load, WAIT_MS / 2));
	EXPECT_EQ(SIGBUS, load.result);
}

TEST_F(lease, commit_after_the_end_is_refused)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct kzt_thread load;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&load, kzt_word(t, 0), false, 0);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	ASSERT_EQ(0, kzd_lease(t->d, LEASE, 200));
	kzt_sleep_ms(400);
	EXPECT_EQ(-ESTALE, kzd_commit(t->d, &req, RIGHT_READ, kzd_token(t->d), 0));
	EXPECT_FALSE(load.done);
	ASSERT_EQ(0, kzd_lease(t->d, LEASE, 60000));
	kzd_release(t->d);
	EXPECT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	EXPECT_EQ(0, load.result);
}

TEST_F(lease, write_call_after_the_end_waits)
{
	struct kzt *t = &self->t;
	uint64_t word = 6, start;

	ASSERT_EQ(8, pwrite(t->fd, &word, 8, 0));
	let_it_end(t);
	start = kzd_now_ns();
	EXPECT_EQ(-1, pwrite(t->fd, &word, 8, 0));
	EXPECT_LE(WAIT_MS - 100, (kzd_now_ns() - start) / 1000000);
}

TEST_F(lease, lock_ends_with_the_lease)
{
	struct kzt *t = &self->t;
	struct khazana_lock l;

	ASSERT_EQ(0, kzt_lock(t->fd, 0, 1, KHAZANA_LOCK_WRITE, 0, 0, &l));
	let_it_end(t);
	EXPECT_EQ(-ESTALE, kzt_unlock(t->fd, l.id));
}

TEST_HARNESS_MAIN
