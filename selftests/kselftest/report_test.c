// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * report_test.c - what khd is told, and what it does, while threads fault and reclaim runs
 */
#include "kzt.h"

#define ROUNDS 1000 /* at most: where the machine is busy, few REVOKEs are met by a fault */
#define ENOUGH 10 /* that were */
#define DELAY "report:5000" /* microseconds between a REVOKE and what is said of it */

static int set_limit(struct kzt *t, uint64_t frames)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_LIMIT, .count = frames };

	return kzd_cmd(t->d, &c);
}

/* Have the oldest copies dropped until one frame is left.  Return: the command's result. */
static int drop_oldest(struct kzt *t)
{
	int err = set_limit(t, 1);

	return err ? err : set_limit(t, t->d->reg.frames_max);
}

/*
 * All but an eighth of the frames are in use: from now on whoever misses brings the frame to
 * receive into.
 */
static int use_most_frames(struct kzt *t)
{
	unsigned int i;

	for (i = KZT_UNITS / 8; i < KZT_UNITS; i++)
		*kzt_word(t, i) = 1;
	return set_limit(t, KZT_UNITS);
}

FIXTURE(report)
{
	struct kzt t;
};

FIXTURE_SETUP(report)
{
	ASSERT_EQ(0, kzt_open(&self->t, 0, NULL));
}

FIXTURE_TEARDOWN(report)
{
	kzt_set_parameter("inject_delay", "off");
	set_limit(&self->t, self->t.d->reg.frames_max); /* it outlives the daemon */
	kzt_close(&self->t);
}

struct storer {
	volatile uint64_t *word;
	_Atomic bool stop;
	uint64_t count;
};

static void *store_main(void *arg)
{
	struct storer *s = arg;

	while (!s->stop)
		*s->word = ++s->count;
	return NULL;
}

/*
 * The thread faults as soon as its page is zapped, and has a new frame to receive into before the
 * REVOKE is answered: that is not the frame which the unit's contents are in.
 */
TEST_F(report, revoke_beside_a_fault)
{
	struct kzt *t = &self->t;
	struct storer s = { .word = kzt_word(t, 0) };
	unsigned int i, beside = 0;
	pthread_t thread;

	*s.word = 1;
	ASSERT_EQ(0, use_most_frames(t));
	ASSERT_EQ(0, kzt_set_parameter("inject_delay", DELAY));
	ASSERT_EQ(0, pthread_create(&thread, NULL, store_main, &s));
	for (i = 0; i < ROUNDS && beside < ENOUGH; i++) {
		struct khazana_cmd had, c;

		/* It has its right back. */
		do {
			ASSERT_EQ(0, kzd_unit(t->d, t->region, 0, &had));
		} while (had.right != RIGHT_WRITE);
		c = (struct khazana_cmd){
			.op = KHAZANA_CMD_REVOKE,
			.region = t->region,
			.token = kzd_token(t->d),
		};
		c.cookie = c.token;
		if (kzd_cmd(t->d, &c) == -EINPROGRESS) {
			ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_REVOKED, KZT_SOON_MS, NULL));
			continue; /* it was resident */
		}
		ASSERT_EQ(0, c.result);
		EXPECT_EQ(RIGHT_WRITE, c.right);
		EXPECT_EQ(had.frame, c.frame_handoff);
		EXPECT_EQ(had.version, c.version_held);
		EXPECT_EQ(KHAZANA_VERSION_NONE, c.version);
		beside += c.frame != ~0u;
	}
	s.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, beside);
	printf("# summary: %u of %u REVOKEs were met by a fault\n", beside, i);
	fflush(stdout);
}

/* The contents come with the COMMIT, so that a miss needs a frame only where few are left. */
TEST_F(report, a_miss_brings_a_frame_if_few_are_left)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct kzt_thread load;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (i)
			ASSERT_EQ(0, use_most_frames(t));
		kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
		kzt_access_start(&load, kzt_word(t, i), false, 0);
		ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
		EXPECT_EQ(i, req.unit);
		EXPECT_EQ(i ? KHAZANA_REQF_FRAME : 0, req.flags & KHAZANA_REQF_FRAME);
		kzd_release(t->d);
		EXPECT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	}
}

/* A COMMIT names the frame that khd received into: no other one's contents are the unit's. */
TEST_F(report, a_commit_names_its_frame)
{
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct kzt_thread load;
	struct khazana_cmd c;
	uint32_t frame;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&load, kzt_word(t, 1), false, 0);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_FRAMES, .region = t->region, .unit = 1 };
	ASSERT_EQ(0, kzd_cmd(t->d, &c));
	frame = c.frame;
	c = (struct khazana_cmd){
		.op = KHAZANA_CMD_COMMIT,
		.region = t->region,
		.unit = 1,
		.right = RIGHT_READ,
		.token = kzd_token(t->d),
		.request = req.id,
		.frame = frame + 1,
	};
	c.version = c.token;
	EXPECT_EQ(-ENOENT, kzd_cmd(t->d, &c));
	c.frame = ~0u;
	EXPECT_EQ(-ENOENT, kzd_cmd(t->d, &c));
	c.frame = frame;
	EXPECT_EQ(0, kzd_cmd(t->d, &c));
	EXPECT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	kzd_release(t->d);
}

FIXTURE(lent)
{
	struct kzt t;
};

FIXTURE_SETUP(lent)
{
	ASSERT_EQ(0, kzt_open(&self->t, KZD_PATTERN, NULL));
}

FIXTURE_TEARDOWN(lent)
{
	kzt_set_parameter("inject_delay", "off");
	kzt_close(&self->t);
}

static int unlend(struct kzt *t, uint64_t unit)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_UNLEND, .region = t->region, .unit = unit };

	return kzd_cmd(t->d, &c);
}

/* What khd reads after the command is there until it has done so. */
TEST_F(lent, copies_stay)
{
	struct kzt *t = &self->t;
	struct khazana_cmd c;
	uint64_t word;
	unsigned int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, kzt_load(kzt_word(t, i), &word));
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 0, RIGHT_READ, KHAZANA_CMDF_LEND));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET,
				  .flags = KHAZANA_CMDF_LEND,
				  .region = t->region,
				  .unit = 1 };
	ASSERT_EQ(0, kzd_cmd(t->d, &c));
	ASSERT_EQ(0, kzd_revoke(t->d, t->region, 2, RIGHT_READ, 0));
	ASSERT_EQ(0, drop_oldest(t));
	for (i = 0; i < 4; i++) {
		int err = kzd_unit(t->d, t->region, i, &c);

		if (i >= 2) {
			EXPECT_TRUE(err == -ENOENT || c.version == KHAZANA_VERSION_NONE);
			continue;
		}
		ASSERT_EQ(0, err);
		ASSERT_NE(~0u, c.frame);
		EXPECT_EQ(KZD_PATTERN_WORD(i, 0), kzd_peek(t->d, c.frame));
	}
	/* They go afterwards; one of them by the end of khd. */
	ASSERT_EQ(0, unlend(t, 0));
	ASSERT_EQ(0, drop_oldest(t));
	EXPECT_TRUE(kzd_unit(t->d, t->region, 0, &c) == -ENOENT ||
		    c.version == KHAZANA_VERSION_NONE);
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 1, &c));
	EXPECT_NE(KHAZANA_VERSION_NONE, c.version);
	kzd_kill(t->d);
	ASSERT_EQ(0, kzd_restart(t->d));
	ASSERT_EQ(0, kzt_load(kzt_word(t, 2), &word));
	ASSERT_EQ(0, drop_oldest(t));
	EXPECT_TRUE(kzd_unit(t->d, t->region, 1, &c) == -ENOENT ||
		    c.version == KHAZANA_VERSION_NONE);
	/* Of a unit that nobody holds there is nothing to lend. */
	EXPECT_EQ(-ENOENT, unlend(t, 9));
	EXPECT_EQ(-ERANGE, unlend(t, KZT_UNITS));
}

static void *drop_main(void *arg)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd < 0 || write(fd, "2", 1) != 1)
		perror("# drop_caches");
	close(fd);
	return NULL;
}

static bool is_here(struct kzt *t, uint64_t unit)
{
	struct khazana_cmd c;

	return !kzd_unit(t->d, t->region, unit, &c) && c.version != KHAZANA_VERSION_NONE;
}

/* The notice comes when the unit has been granted again: it is about the right that went. */
TEST_F(lent, dropped_names_the_right_that_went)
{
	struct kzt *t = &self->t;
	struct khazana_request notice;
	struct khazana_cmd had;
	uint64_t word, end;
	pthread_t thread;
	unsigned int i;

	ASSERT_EQ(0, kzt_set_parameter("inject_delay", "wake:20000"));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, kzt_load(kzt_word(t, i), &word));
		ASSERT_EQ(0, kzd_unit(t->d, t->region, i, &had));
		ASSERT_EQ(0, pthread_create(&thread, NULL, drop_main, NULL));
		end = kzd_now_ns() + KZT_SOON_MS * 1000000ULL;
		while (is_here(t, i) && kzd_now_ns() < end)
			;
		ASSERT_FALSE(is_here(t, i));
		ASSERT_EQ(0, kzt_load(kzt_word(t, i), &word));
		pthread_join(thread, NULL);
		/* The first one of the unit; it may have been dropped a second time. */
		do {
			ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_DROPPED, KZT_SOON_MS, &notice));
		} while (notice.unit != i);
		EXPECT_EQ(had.token, notice.token);
	}
}

static void *attach_main(void *arg)
{
	struct storer *s = arg;

	/* Each is poisoned soon. */
	while (!s->stop) {
		int fd = kzt_attach(KZT_START, KZT_LENGTH, 0);
		void *map = fd < 0 ? NULL : kzt_map(fd, KZT_PAGE, PROT_READ);
		uint64_t word;

		if (map && map != MAP_FAILED) {
			s->count += !kzt_load(map, &word);
			munmap(map, KZT_PAGE);
		}
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

/* A thread gives a unit another current frame while a poisoned region is zapped. */
TEST_F(report, poison_beside_faults)
{
	struct kzt *t = &self->t;
	struct khazana_cmd poison = { .op = KHAZANA_CMD_POISON, .region = t->region };
	struct storer s = { 0 };
	pthread_t thread;
	unsigned int i;

	ASSERT_EQ(0, kzt_set_parameter("inject_delay", "all:3000"));
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_main, &s));
	for (i = 0; i < 150; i++) {
		ASSERT_EQ(0, kzd_lease(t->d, KZD_LEASE, 0));
		ASSERT_EQ(0, kzd_lease(t->d, KZD_LEASE, 3600000));
		ASSERT_EQ(0, kzd_cmd(t->d, &poison));
	}
	s.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, s.count);
	printf("# summary: %ju loads\n", (uintmax_t)s.count);
	fflush(stdout);
	/* No page is left locked: the unit can be taken and given. */
	ASSERT_EQ(0, kzt_set_parameter("inject_delay", "off"));
	for (i = 0; i < 3; i++) {
		int err = kzd_revoke(t->d, t->region, 0, RIGHT_NONE, 0);

		EXPECT_TRUE(!err || err == -EINPROGRESS || err == -ENOENT);
	}
}

TEST_HARNESS_MAIN
