// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * residency_test.c - how long a unit stays that somebody has waited for: until its minimum
 * residency is over, or until he shows by a flush that he has used it
 */
#include "kzt.h"

#define UNIT 3
#define RESIDENCY_US 1000000
#define LONG_US 8000000

/* A thread that stores into UNIT, and flushes that. */
struct user {
	struct kzt *t;
	uint64_t value;
	bool flushes;
	bool pauses; /* before the flush, until @go */
	int result;
	_Atomic pid_t tid; /* set just before the store */
	_Atomic bool stored;
	_Atomic bool go;
	_Atomic bool done;
	pthread_t thread;
};

static int flush(const struct kzt *t)
{
	return msync(t->map + UNIT * KZT_PAGE, KZT_PAGE, MS_SYNC) ? -errno : 0;
}

static void *user_main(void *arg)
{
	struct user *u = arg;

	u->tid = gettid();
	u->result = kzt_store(kzt_word(u->t, UNIT), u->value);
	u->stored = true;
	while (u->pauses && !u->go)
		kzt_sleep_ms(1);
	if (!u->result && u->flushes)
		u->result = flush(u->t);
	u->done = true;
	return NULL;
}

FIXTURE(residency)
{
	struct kzt t;
	struct user u[2];
};

FIXTURE_SETUP(residency)
{
	struct khazana_cmd attributes = { .residency_us = RESIDENCY_US };

	ASSERT_EQ(0, kzt_open(&self->t, 0, &attributes));
}

FIXTURE_TEARDOWN(residency)
{
	kzt_close(&self->t);
}

FIXTURE(residency_long)
{
	struct kzt t;
	struct user u;
};

FIXTURE_SETUP(residency_long)
{
	struct khazana_cmd attributes = { .residency_us = LONG_US };

	ASSERT_EQ(0, kzt_open(&self->t, 0, &attributes));
}

FIXTURE_TEARDOWN(residency_long)
{
	kzt_close(&self->t);
}

static bool comes(_Atomic bool *what)
{
	unsigned int ms;

	for (ms = 0; !*what && ms < KZT_SOON_MS; ms++)
		kzt_sleep_ms(1);
	return *what;
}

/* He sleeps in his store, unless that is over. */
static bool sleeps(struct user *u)
{
	unsigned int ms;

	for (ms = 0; ms < KZT_SOON_MS; ms++) {
		if (u->tid && kzt_sleeps(u->tid))
			return true;
		kzt_sleep_ms(1);
	}
	return false;
}

/* They miss the unit, sleep, are granted it, and end, or have stored and pause. */
static bool use(struct kzt *t, struct user *u, unsigned int count)
{
	unsigned int i;

	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	for (i = 0; i < count; i++) {
		u[i].t = t;
		u[i].value = 10 + i;
		if (pthread_create(&u[i].thread, NULL, user_main, &u[i]))
			return false;
	}
	if (!kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, NULL))
		return false;
	for (i = 0; i < count; i++)
		if (!sleeps(&u[i]))
			return false;
	kzd_release(t->d);
	for (i = 0; i < count; i++) {
		if (!comes(u[i].pauses ? &u[i].stored : &u[i].done))
			return false;
		if (!u[i].pauses)
			pthread_join(u[i].thread, NULL);
	}
	return true;
}

static bool flush_of(struct user *u)
{
	u->go = true;
	if (!comes(&u->done))
		return false;
	pthread_join(u->thread, NULL);
	return true;
}

static int take(struct kzt *t)
{
	kzd_skip(t->d, KHAZANA_REQ_REVOKED);
	return kzd_revoke(t->d, t->region, UNIT, RIGHT_READ, 0);
}

TEST_F(residency, stays_for_who_waited)
{
	uint64_t begun;

	ASSERT_TRUE(use(&self->t, self->u, 1));
	ASSERT_EQ(0, self->u[0].result);
	begun = kzd_now_ns();
	ASSERT_EQ(-EINPROGRESS, take(&self->t));
	EXPECT_TRUE(kzd_wait(self->t.d, KHAZANA_REQ_REVOKED, KZT_SOON_MS, NULL));
	/* of the rest: what it has stayed already is not known here */
	EXPECT_LT(RESIDENCY_US * 1000ULL / 4, kzd_now_ns() - begun);
}

TEST_F(residency, ends_when_he_flushes)
{
	self->u[0].flushes = true;
	ASSERT_TRUE(use(&self->t, self->u, 1));
	ASSERT_EQ(0, self->u[0].result);
	EXPECT_EQ(0, take(&self->t));
}

/* The same when the unit is asked for already. */
TEST_F(residency_long, ends_when_he_flushes_later)
{
	struct kzt *t = &self->t;
	uint64_t begun;

	self->u.flushes = self->u.pauses = true;
	ASSERT_TRUE(use(t, &self->u, 1));
	begun = kzd_now_ns();
	ASSERT_EQ(-EINPROGRESS, take(t));
	/* not by the flush of another one */
	ASSERT_EQ(0, flush(t));
	EXPECT_FALSE(kzd_wait(t->d, KHAZANA_REQ_REVOKED, KZT_QUIET_MS, NULL));
	ASSERT_TRUE(flush_of(&self->u));
	EXPECT_EQ(0, self->u.result);
	EXPECT_TRUE(kzd_wait(t->d, KHAZANA_REQ_REVOKED, KZT_SOON_MS, NULL));
	EXPECT_GT(LONG_US * 1000ULL / 2, kzd_now_ns() - begun);
}

/* Whoever else flushes does not know whether he has used it. */
TEST_F(residency, stays_when_another_flushes)
{
	ASSERT_TRUE(use(&self->t, self->u, 1));
	ASSERT_EQ(0, self->u[0].result);
	ASSERT_EQ(0, flush(&self->t));
	EXPECT_EQ(-EINPROGRESS, take(&self->t));
}

TEST_F(residency, stays_for_the_other_of_two)
{
	self->u[0].flushes = true;
	ASSERT_TRUE(use(&self->t, self->u, 2));
	ASSERT_EQ(0, self->u[0].result);
	ASSERT_EQ(0, self->u[1].result);
	EXPECT_EQ(-EINPROGRESS, take(&self->t));
}

/* A unit that came before he asked for another is his no less. */
TEST_F(residency, ends_for_all_units_of_the_range)
{
	struct kzt *t = &self->t;

	ASSERT_EQ(0, kzt_store(kzt_word(t, UNIT - 1), 1));
	ASSERT_EQ(0, kzt_store(kzt_word(t, UNIT), 2));
	ASSERT_EQ(0, msync(t->map, KZT_LENGTH, MS_SYNC));
	EXPECT_EQ(0, take(t));
	EXPECT_EQ(0, kzd_revoke(t->d, t->region, UNIT - 1, RIGHT_READ, 0));
}

TEST_HARNESS_MAIN
