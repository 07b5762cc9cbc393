// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * inject_test.c - memory that is not to be had, at every place where the module asks for it
 *
 * A small workload visits all of them.  For each point of kmod/inject.h its n-th visit fails,
 * n = 1 and so on until the workload passes untouched.  What has failed says ENOMEM, or comes
 * again by itself where a program could not be told; then it works, the data is right and
 * nothing is left behind.
 */
#include "kzt.h"

#define RESIDENCY_US 300000
#define VISITS_MAX 100
#define LOCKED 3 /* units */
#define FEW 16 /* frames, where they are few */

/* How a failure shows, each once at most. */
enum form {
	ADD, /* REGION_ADD: ENOMEM */
	ATTACH, /* ENOMEM */
	LOCK,
	PWRITE,
	PREAD,
	FLUSH,
	NOTICE, /* one that may be lost is, and counted */
	AT_ONCE, /* a REVOKE does not wait for the residency */
	COMMAND, /* of the server: ENOMEM, and it tries again */
	AGAIN, /* not at all: a load or store comes again */
	FORMS
};

#define FORM(f) (1u << (f))

static const char *const form_name[FORMS] = { "add",	 "attach",     "lock",	 "pwrite",
					      "pread",	 "flush",      "notice", "revoke at once",
					      "command", "fault again" };

struct work {
	struct kzt t;
	unsigned int forms;
	unsigned int failures;
	int wrong; /* an errno that is none of those, or SIGBUS */
	unsigned int wrong_line;
};

FIXTURE(inject)
{
	struct work w;
};

FIXTURE_VARIANT(inject)
{
	const char *point;
	unsigned int forms; /* all of these, and no other */
};

FIXTURE_VARIANT_ADD(inject, frame){
	.point = "frame",
	.forms = FORM(COMMAND),
};

FIXTURE_VARIANT_ADD(inject, unit){
	.point = "unit",
	.forms = FORM(LOCK) | FORM(PWRITE) | FORM(PREAD) | FORM(AGAIN),
};

FIXTURE_VARIANT_ADD(inject, region){
	.point = "region",
	.forms = FORM(ADD),
};

FIXTURE_VARIANT_ADD(inject, call){
	.point = "call",
	.forms = FORM(ATTACH) | FORM(FLUSH) | FORM(NOTICE),
};

FIXTURE_VARIANT_ADD(inject, revoke){
	.point = "revoke",
	.forms = FORM(AT_ONCE),
};

FIXTURE_VARIANT_ADD(inject, lock){
	.point = "lock",
	.forms = FORM(LOCK),
};

FIXTURE_SETUP(inject)
{
	self->w.t.fd = -1;
	self->w.t.d = kzd_start(KZD_STORE, 64, KZT_LENGTH);
	ASSERT_NE(NULL, self->w.t.d);
}

FIXTURE_TEARDOWN(inject)
{
	kzt_set_parameter("inject_fail", "off");
	kzt_close(&self->w.t);
}

static void failed(struct work *w, enum form form)
{
	w->forms |= FORM(form);
	w->failures++;
}

static void wrong(struct work *w, int what, unsigned int line)
{
	if (w->wrong)
		return;
	w->wrong = what;
	w->wrong_line = line;
}

#define CHECK(w, condition, what)                              \
	do {                                                   \
		if (!(condition))                              \
			wrong(w, (what) ?: -EPROTO, __LINE__); \
	} while (0)

/* A call that may fail once, then works. */
#define CALL(w, form, call)                              \
	({                                               \
		int err_ = (call);                       \
		if (err_ < 0) {                          \
			CHECK(w, err_ == -ENOMEM, err_); \
			failed(w, form);                 \
			err_ = (call);                   \
			CHECK(w, err_ >= 0, err_);       \
		}                                        \
		err_;                                    \
	})

static void store(struct work *w, unsigned int unit, uint64_t value)
{
	int sig = kzt_store(kzt_word(&w->t, unit), value);

	CHECK(w, !sig, sig);
}

static void holds(struct work *w, unsigned int unit, uint64_t value)
{
	uint64_t word = 0;
	int sig = kzt_load(kzt_word(&w->t, unit), &word);

	CHECK(w, !sig, sig);
	CHECK(w, word == value, -EILSEQ);
}

static int write_word(int fd, unsigned int unit, uint64_t value)
{
	ssize_t n = pwrite(fd, &value, sizeof(value), unit * KZT_PAGE);

	return n == sizeof(value) ? 0 : n < 0 ? -errno : -EPROTO;
}

static int read_word(int fd, unsigned int unit, uint64_t *value)
{
	ssize_t n = pread(fd, value, sizeof(*value), unit * KZT_PAGE);

	return n == sizeof(*value) ? 0 : n < 0 ? -errno : -EPROTO;
}

static int prefetch(int fd)
{
	struct khazana_range r = { .size = sizeof(r), .offset = 40 * KZT_PAGE, .length = KZT_PAGE };

	return ioctl(fd, KHAZANA_IOC_PREFETCH, &r) ? -errno : 0;
}

/* A unit that has come just now is taken: it stays for its residency, unless that cannot be
 * remembered. */
static void revoke_fresh(struct work *w, unsigned int unit)
{
	struct kzt *t = &w->t;
	struct kzt_thread access;
	int err;

	kzd_skip(t->d, KHAZANA_REQ_REVOKED);
	/* it counts from a grant that somebody waits for */
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&access, kzt_word(t, unit), true, 100 + unit);
	CHECK(w, kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, NULL), -ETIMEDOUT);
	kzt_sleep_ms(20 * kzt_slow());
	kzd_release(t->d);
	CHECK(w, kzt_access_wait(&access, KZT_SOON_MS), -ETIMEDOUT);
	CHECK(w, !access.result, access.result);
	err = kzd_revoke(t->d, t->region, unit, RIGHT_NONE, 0);
	if (!err) {
		failed(w, AT_ONCE);
		return;
	}
	CHECK(w, err == -EINPROGRESS, err);
	CHECK(w, kzd_wait(t->d, KHAZANA_REQ_REVOKED, KZT_SOON_MS, NULL), -ETIMEDOUT);
}

static void use(struct work *w)
{
	struct khazana_lock l = { 0 };
	struct kzt *t = &w->t;
	uint64_t word = ~0ULL;
	unsigned int i;

	store(w, 0, 100);
	store(w, 1, 101);
	CALL(w, LOCK,
	     kzt_lock(t->fd, 2 * KZT_PAGE, LOCKED * KZT_PAGE, KHAZANA_LOCK_WRITE, 0, 0, &l));
	for (i = 2; i < 2 + LOCKED; i++)
		store(w, i, 100 + i);
	CHECK(w, !kzt_unlock(t->fd, l.id), -ENOLCK);
	CALL(w, PWRITE, write_word(t->fd, 5, 105));
	CALL(w, PREAD, read_word(t->fd, 6, &word));
	CHECK(w, !word, -EILSEQ);
	CALL(w, FLUSH, fsync(t->fd) ? -errno : 0);
	CALL(w, NOTICE, prefetch(t->fd));
	revoke_fresh(w, 7);
	for (i = 0; i < 8; i++)
		holds(w, i, i == 6 ? 0 : 100 + i);
	holds(w, 8, 0);
}

static bool nothing_left(struct work *w)
{
	int ms;

	for (ms = 0; ms < KZT_SOON_MS; ms += 5) {
		struct khazana_cmd get = { .op = KHAZANA_CMD_REGION_GET };

		if (!kzt_frames_used(w->t.d) && kzd_cmd(w->t.d, &get) == -ENOENT)
			return true;
		kzt_sleep_ms(5);
	}
	return false;
}

/* From the region's first day to its last. */
static void workload(struct work *w)
{
	struct khazana_cmd attributes = { .residency_us = RESIDENCY_US };
	struct kzt *t = &w->t;
	int err;

	memset(t->d->store, 0, t->d->store_size);
	t->region = CALL(w, ADD, kzd_region(t->d, KZT_START, KZT_LENGTH, KZT_SHIFT, &attributes));
	t->fd = CALL(w, ATTACH, kzt_attach(KZT_START, KZT_LENGTH, 0));
	t->map = kzt_map(t->fd, KZT_LENGTH, PROT_READ | PROT_WRITE);
	CHECK(w, t->map, -errno);
	if (!w->wrong)
		use(w);
	if (t->map)
		munmap(t->map, KZT_LENGTH);
	t->map = NULL;
	close(t->fd);
	t->fd = -1;
	err = kzd_region_del(t->d, t->region);
	CHECK(w, !err, err);
	CHECK(w, nothing_left(w), -EUCLEAN);
}

/* What the failure was, if one of the calls did not say so. */
static void untold(struct work *w, uint64_t lost)
{
	uint64_t now = lost;

	CHECK(w, !kzt_stat("notices-lost", &now), -ENOENT);
	if (now != lost)
		failed(w, NOTICE);
	else if (w->t.d->sh->last_error == ENOMEM)
		failed(w, COMMAND);
	else if (!w->failures)
		failed(w, AGAIN);
}

/* The n-th visit of a point fails; false: there is no n-th. */
static bool fail_once(struct __test_metadata *_metadata, struct work *w, const char *point,
		      unsigned int n, unsigned int *forms)
{
	uint64_t lost;
	char text[32];
	bool fired;

	w->forms = w->failures = w->wrong = 0;
	w->t.d->sh->last_error = 0;
	ASSERT_EQ(0, kzt_stat("notices-lost", &lost));
	snprintf(text, sizeof(text), "%s:%u", point, n);
	ASSERT_EQ(0, kzt_set_parameter("inject_fail", text));
	workload(w);
	fired = kzt_fired();
	kzt_set_parameter("inject_fail", "off");
	EXPECT_EQ(0, w->wrong)
	{
		TH_LOG("%s, line %u", text, w->wrong_line);
	}
	if (fired)
		untold(w, lost);
	/* one failure, one answer */
	EXPECT_EQ(fired, w->failures)
	{
		TH_LOG("%s: forms 0x%x", text, w->forms);
	}
	*forms |= w->forms;
	return fired;
}

TEST_F_TIMEOUT(inject, every_visit_fails_once, 300)
{
	unsigned int n = 0, forms = 0, i;

	do {
		ASSERT_GT(VISITS_MAX, ++n);
	} while (fail_once(_metadata, &self->w, variant->point, n, &forms));
	EXPECT_EQ(variant->forms, forms);
	printf("# summary: %s: %u visits, each failed once:", variant->point, n - 1);
	for (i = 0; i < FORMS; i++)
		if (forms & FORM(i))
			printf(" %s,", form_name[i]);
	printf(" then none\n");
	fflush(stdout);
}

FIXTURE(few_frames)
{
	struct kzt t;
};

FIXTURE_SETUP(few_frames)
{
	struct khazana_cmd limit = { .op = KHAZANA_CMD_LIMIT, .count = FEW };
	/* too short a time to tell by it what was waited for */
	struct khazana_cmd attributes = { .wait_ms = 50 };
	struct kzt *t = &self->t;

	t->fd = -1;
	t->d = kzd_start(KZD_STORE, 64, KZT_LENGTH);
	ASSERT_NE(NULL, t->d);
	t->region = kzd_region(t->d, KZT_START, KZT_LENGTH, KZT_SHIFT, &attributes);
	ASSERT_LE(0, t->region);
	ASSERT_EQ(0, kzd_cmd(t->d, &limit));
	t->fd = kzt_attach(KZT_START, KZT_LENGTH, 0);
	ASSERT_LE(0, t->fd);
	t->map = kzt_map(t->fd, KZT_LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, t->map);
}

FIXTURE_TEARDOWN(few_frames)
{
	struct khazana_cmd limit = { .op = KHAZANA_CMD_LIMIT };

	kzt_set_parameter("inject_fail", "off");
	/* the instance lives on */
	limit.count = self->t.d->reg.frames_max;
	EXPECT_EQ(0, kzd_cmd(self->t.d, &limit));
	kzt_close(&self->t);
}

/*
 * Where few are left the thread itself allocates the frame of its miss.  Want of memory is not the
 * limit: the access comes again, and only one beyond the limit ends.
 */
TEST_F(few_frames, want_of_memory_is_not_the_limit)
{
	struct kzt *t = &self->t;
	unsigned int unit, again = 0;

	for (unit = 0; unit < FEW; unit++) {
		t->d->sh->last_error = 0;
		ASSERT_EQ(0, kzt_set_parameter("inject_fail", "frame:1"));
		ASSERT_EQ(0, kzt_store(kzt_word(t, unit), unit));
		EXPECT_TRUE(kzt_fired());
		again += t->d->sh->last_error != ENOMEM;
	}
	EXPECT_LE(FEW / 8, again);
	ASSERT_EQ(0, kzt_set_parameter("inject_fail", "off"));
	EXPECT_EQ(SIGBUS, kzt_store(kzt_word(t, unit), unit));
	for (unit = 0; unit < FEW; unit++)
		EXPECT_EQ(unit, *kzt_word(t, unit));
}

TEST_HARNESS_MAIN
