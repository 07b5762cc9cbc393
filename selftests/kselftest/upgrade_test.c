// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * upgrade_test.c - READ to WRITE, very often: a lost wake-up shows as a hang
 */
#include "kzt.h"

#define UPGRADES 10000
#define THREADS 6
#define HANG_MS 20000

struct worker {
	struct kzt *t;
	unsigned int unit;
	_Atomic uint64_t done;
	_Atomic int *stop;
	pthread_t thread;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	volatile uint64_t *word = kzt_word(w->t, w->unit);
	struct timespec breath = { .tv_nsec = 20000 };

	while (!*w->stop) {
		(void)*word;
		__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
		w->done++;
		/* leave the CPUs to the daemon: it is the revokes that make upgrades */
		nanosleep(&breath, NULL);
	}
	return NULL;
}

FIXTURE(upgrade)
{
	struct kzt t;
	_Atomic int stop;
	struct worker w[THREADS];
};

FIXTURE_VARIANT(upgrade)
{
	unsigned int flags;
	unsigned int units; /* the threads share so many */
	unsigned int upgrades;
};

FIXTURE_VARIANT_ADD(upgrade, read_one_unit){
	.flags = 0,
	.units = 1,
	.upgrades = 2500,
};

FIXTURE_VARIANT_ADD(upgrade, uring_one_unit){
	.flags = KZD_URING | KZD_URING_CMD,
	.units = 1,
	.upgrades = 10000,
};

FIXTURE_VARIANT_ADD(upgrade, uring_three_units){
	.flags = KZD_URING,
	.units = 3,
	.upgrades = 2500,
};

FIXTURE_SETUP(upgrade)
{
	ASSERT_EQ(0, kzt_open(&self->t, variant->flags, NULL));
}

FIXTURE_TEARDOWN(upgrade)
{
	kzt_close(&self->t);
}

TEST_F_TIMEOUT(upgrade, do_not_hang, 300)
{
	struct kzd_shared *sh = self->t.d->sh;
	uint64_t last = 0, moved = kzd_now_ns(), done = 0, sum = 0;
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		struct worker *w = &self->w[i];

		w->t = &self->t;
		w->unit = i % variant->units;
		w->stop = &self->stop;
		ASSERT_EQ(0, pthread_create(&w->thread, NULL, worker_main, w));
	}
	sh->storm_region = self->t.region;
	sh->storm_units = variant->units;
	sh->storm_right = RIGHT_READ;
	sh->storm_us = 50 * kzt_slow();
	while (sh->upgrades < variant->upgrades) {
		if (sh->upgrades != last) {
			last = sh->upgrades;
			moved = kzd_now_ns();
		}
		ASSERT_GT(moved + HANG_MS * 1000000ULL, kzd_now_ns())
		{
			TH_LOG("stuck after %ju upgrades", (uintmax_t)last);
		}
		kzt_sleep_ms(10);
	}
	sh->storm_us = 0;
	self->stop = 1;
	for (i = 0; i < THREADS; i++) {
		pthread_join(self->w[i].thread, NULL);
		done += self->w[i].done;
	}
	for (i = 0; i < variant->units; i++)
		sum += *kzt_word(&self->t, i);
	EXPECT_EQ(done, sum);
	printf("# summary: %ju upgrades, %ju increments, %ju revokes\n", (uintmax_t)sh->upgrades,
	       (uintmax_t)done, (uintmax_t)sh->revokes);
	fflush(stdout);
}

TEST_HARNESS_MAIN
