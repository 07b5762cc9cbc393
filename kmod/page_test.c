// SPDX-License-Identifier: GPL-2.0-only
/*
 * page_test.c - tests of the unit's state machine
 */
#include <kunit/test.h>
#include <linux/prandom.h>

#include "page.h"

/* Make a step, check the invariants, return the result. */
static int step(struct kunit *test, struct kz_page *page, struct kz_page_event event, u32 *act)
{
	int err = kz_page_step(page, &event, act);

	KUNIT_EXPECT_EQ(test, 0, kz_page_check(page));
	return err;
}

#define STEP(...) step(test, &page, (struct kz_page_event){ __VA_ARGS__ }, &act)

static void grant(struct kunit *test, struct kz_page *p, u32 right, u64 token, u64 version,
		  u32 flags)
{
	struct kz_page page = *p;
	u32 act;

	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = right));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = right, .token = token,
				      .version = version, .flags = flags));
	*p = page;
}

static void miss_and_grant(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 5);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, KZ_ACT_QUEUE, act);
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_FETCHING, page.state);
	/* A second thread joins. */
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, act);
	KUNIT_EXPECT_EQ(test, -ENOENT, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, KZ_ACT_NEW_FRAME, act);
	KUNIT_EXPECT_EQ(test, -ENOENT, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9,
					    .version = 3, .wrong_frame = true));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9,
				      .version = 3, .flags = KHAZANA_CMDF_DROPPABLE));
	KUNIT_EXPECT_EQ(test, KZ_ACT_UNQUEUE | KZ_ACT_WAKE, act);
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_READ, page.right);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_TRUE(test, kz_page_droppable(&page));
	/* The same grant again changes nothing. */
	KUNIT_EXPECT_EQ(test, -EALREADY, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ,
					      .token = 9, .version = 3));
}

static void upgrade(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_READ, 4, 1, KHAZANA_CMDF_DROPPABLE);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_WRITE));
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_UPGRADING, page.state);
	/* Readers go on, reclaim keeps away, data would land in a mapped frame. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_DROP));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE,
					   .token = 6, .version = 2));
	KUNIT_EXPECT_EQ(test, -ENOENT, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE,
					    .token = 6, .version = 2, .version_held = 7,
					    .flags = KHAZANA_CMDF_HELD));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE, .token = 6,
				      .version = 2, .version_held = 1,
				      .flags = KHAZANA_CMDF_HELD | KHAZANA_CMDF_OWNED));
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_WRITE, page.right);
	KUNIT_EXPECT_EQ(test, 2, page.version);
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_NONE, page.want);
}

static void stale_tokens(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 10);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9));
	/* An invalidation that came first is remembered. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .token = 20));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ,
					    .token = 15));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 21,
				      .version = 1));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_REVOKE, .token = 20));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .token = 22));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_GONE));
	KUNIT_EXPECT_EQ(test, KZ_ACT_FREE_FRAME | KZ_ACT_WAKE, act);
	/* A COMMIT that runs after a later REVOKE. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 21,
					    .version = 1));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EPOCH, .token = 1000));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ,
					    .token = 999, .version = 1));
}

static void handoff(struct kunit *test)
{
	struct kz_page page, again;
	u32 act;

	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_WRITE, 4, 1, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .token = 5));
	KUNIT_EXPECT_EQ(test, KZ_ACT_ZAP | KZ_ACT_CHECK_REFS, act);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_GONE));
	KUNIT_EXPECT_EQ(test, KZ_ACT_MOVE_TO_HANDOFF | KZ_ACT_WAKE, act);
	KUNIT_EXPECT_EQ(test, 5, page.handoff_token);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	again = page;
	/* The very frame comes back ... */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 6,
				      .version = 1, .version_held = 1,
				      .flags = KHAZANA_CMDF_HELD));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_TAKE_HANDOFF);
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_FREE_FRAME);
	/* ... or data replaces it ... */
	page = again;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 6,
				      .version = 2));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_FREE_HANDOFF);
	/* ... or it is released, by a token that is not too old. */
	page = again;
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_RELEASE, .token = 4));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .token = 8));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_RELEASE, .token = 5));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_RELEASE, .token = 8));
	KUNIT_EXPECT_EQ(test, -EALREADY, STEP(KZ_EV_RELEASE, .token = 8));
}

static void locks(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 0);
	KUNIT_EXPECT_EQ(test, -EAGAIN, STEP(KZ_EV_LOCK, .right = KHAZANA_RIGHT_READ));
	grant(test, &page, KHAZANA_RIGHT_WRITE, 4, 1, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LOCK, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LOCK, .right = KHAZANA_RIGHT_WRITE));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_REVOKE, .right = KHAZANA_RIGHT_READ, .token = 5));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_UNLOCK, .right = KHAZANA_RIGHT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, act);
	/* Under READ locks others may read. */
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_REVOKE, .token = 5));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .right = KHAZANA_RIGHT_READ, .token = 5));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_GONE));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_UNLOCK, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, KZ_ACT_NOTIFY_UNLOCKED, act);
	KUNIT_EXPECT_EQ(test, -ENOENT, STEP(KZ_EV_UNLOCK, .right = KHAZANA_RIGHT_READ));
	/* The end of a lease does not ask. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LOCK, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .token = 6, .flags = KHAZANA_CMDF_LOCK_OK));
}

static void lease_ends(struct kunit *test)
{
	struct kz_page page, again;
	u32 act;

	/* A copy that is not owned goes. */
	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_READ, 4, 1, 0);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EXPIRE));
	KUNIT_EXPECT_EQ(test, KZ_ACT_ZAP | KZ_ACT_FREE_FRAME, act);
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_RESUME, .token = 4));

	/* An owned clean one keeps its frame, also when the node misses it again. */
	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_WRITE, 4, 1, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EXPIRE));
	KUNIT_EXPECT_EQ(test, KZ_ACT_ZAP, act);
	again = page;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_RESUME, .token = 4));
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_WRITE, page.right);
	page = again;
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, KZ_ACT_MOVE_TO_HANDOFF | KZ_ACT_QUEUE, act);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_RESUME, .token = 4));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_TAKE_HANDOFF);
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_WRITE, page.right);

	/* A dirty one waits for the home's word. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_STORE));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EXPIRE));
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_EXPIRED_DIRTY, page.state);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, act);
	again = page;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_RESUME, .token = 4));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_WAKE);
	page = again;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LOST, .token = 4));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_PARK);
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_POISON);
	page = again;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LOST, .token = 4, .flags = KHAZANA_CMDF_NOPOISON));
	KUNIT_EXPECT_FALSE(test, act & KZ_ACT_POISON);
	/* Within the home's grace it can still be given away, with its stores, when nobody has it pinned. */
	page = again;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .token = 9));
	KUNIT_EXPECT_EQ(test, KZ_ACT_CHECK_REFS | KZ_ACT_WAKE, act);
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_REVOKING, page.state);
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_RESUME, .token = 4));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_GONE));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_MOVE_TO_HANDOFF);
	KUNIT_EXPECT_TRUE(test, page.handoff_dirty);
}

static void zeros_are_stores(struct kunit *test)
{
	struct kz_page page, again;
	u32 act;

	kz_page_init(&page, 0);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	again = page;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE, .token = 4,
				      .version = 4, .version_held = 3,
				      .flags = KHAZANA_CMDF_ZERO | KHAZANA_CMDF_OWNED));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EXPIRE));
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_EXPIRED_DIRTY, page.state);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LOST, .token = 4));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_POISON);
	/* A unit that nobody had written has nothing to lose. */
	page = again;
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE, .token = 4,
				      .version = 4,
				      .flags = KHAZANA_CMDF_ZERO | KHAZANA_CMDF_OWNED));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EXPIRE));
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_STABLE, page.state);
}

static void references(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_WRITE, 4, 1, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .right = KHAZANA_RIGHT_READ, .token = 5));
	KUNIT_EXPECT_EQ(test, KZ_ACT_MKCLEAN | KZ_ACT_CHECK_REFS, act);
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE, .token = 6,
					   .version = 2, .version_held = 1,
					   .flags = KHAZANA_CMDF_HELD));
	/* A stronger one joins. */
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_REVOKE, .token = 7));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_ZAP);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_TIMEOUT));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_ORPHAN);
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_MOVE_TO_HANDOFF);
	KUNIT_EXPECT_EQ(test, -EALREADY, STEP(KZ_EV_REFS_GONE));
}

static void khd_dies(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 0);
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_DAEMON_GONE));
	KUNIT_EXPECT_EQ(test, KZ_ACT_FREE_FRAME | KZ_ACT_QUEUE, act);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FAIL));
	KUNIT_EXPECT_EQ(test, KHAZANA_STATE_STABLE, page.state);
	grant(test, &page, KHAZANA_RIGHT_READ, 4, 1, KHAZANA_CMDF_DROPPABLE);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_DAEMON_GONE));
	KUNIT_EXPECT_EQ(test, 0, act);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_DROP));
	KUNIT_EXPECT_EQ(test, KZ_ACT_ZAP | KZ_ACT_FREE_FRAME | KZ_ACT_NOTIFY_DROPPED, act);
}

/* Any event in any state: the invariants hold, and an error changes nothing. */
static void random_walk(struct kunit *test)
{
	struct rnd_state rnd;
	struct kz_page page;
	u64 token = 0;
	u32 act, i;

	prandom_seed_state(&rnd, 42);
	kz_page_init(&page, 0);
	for (i = 0; i < 200000; i++) {
		struct kz_page before = page;
		struct kz_page_event event = {
			.type = prandom_u32_state(&rnd) % (KZ_EV_EPOCH + 1),
			.right = prandom_u32_state(&rnd) % 3,
			.flags = prandom_u32_state(&rnd) & 0x1fff,
			.version = prandom_u32_state(&rnd) % 4,
			.token = prandom_u32_state(&rnd) & 1 ? page.token : ++token,
			.version_held = prandom_u32_state(&rnd) & 1 ? page.version :
								      page.handoff_version,
		};
		int err;

		if (!(i % 64))
			kz_page_init(&page, 0);
		before = page;
		err = kz_page_step(&page, &event, &act);
		if (kz_page_check(&page)) {
			KUNIT_FAIL(test, "invariant %d after event %u at step %u",
				   kz_page_check(&page), event.type, i);
			return;
		}
		if (err && err != -EINPROGRESS) {
			before.deferred = page.deferred;
			KUNIT_ASSERT_EQ(test, 0, act);
			KUNIT_ASSERT_EQ(test, 0, memcmp(&before, &page, sizeof(page)));
		}
	}
}

static void stored_copy_is_droppable(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_WRITE, 4, 4, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_STORE));
	/* Not while it may be written, nor for another version or right. */
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_SAFE, .token = 4, .version = 4));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .right = KHAZANA_RIGHT_READ, .token = 6));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_SAFE, .token = 4, .version = 4));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_GONE));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_SAFE, .token = 4, .version = 2));
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_SAFE, .token = 2, .version = 4));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_DROP));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_SAFE, .token = 4, .version = 4));
	KUNIT_EXPECT_FALSE(test, page.flags & (KHAZANA_UNIT_OWNED | KHAZANA_UNIT_DIRTY));
	/* The lease's end loses nothing either. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_DROP));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_NOTIFY_DROPPED);
	KUNIT_EXPECT_EQ(test, 0, page.frames);
}

static void lent_copy_stays(struct kunit *test)
{
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_READ, 4, 4, KHAZANA_CMDF_DROPPABLE);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .right = KHAZANA_RIGHT_READ, .token = 6,
				      .flags = KHAZANA_CMDF_LEND));
	KUNIT_EXPECT_TRUE(test, page.flags & KHAZANA_UNIT_DROPPABLE);
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_DROP));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_UNLEND));
	KUNIT_EXPECT_TRUE(test, kz_page_droppable(&page));
	/* As one that is looked at, and when khd dies before it says that it has read. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LEND));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_DROP));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_DAEMON_GONE));
	KUNIT_EXPECT_TRUE(test, kz_page_droppable(&page));
	/* Not at the end of the lease either: it becomes a kept frame. */
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LEND));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_EXPIRE));
	KUNIT_EXPECT_TRUE(test, act & KZ_ACT_ZAP);
	KUNIT_EXPECT_FALSE(test, act & KZ_ACT_FREE_FRAME);
	KUNIT_EXPECT_EQ(test, KZ_FRAME_HANDOFF, page.frames);
	KUNIT_EXPECT_EQ(test, 4, page.handoff_version);
	KUNIT_EXPECT_EQ(test, 0, page.lent);
	/* What reclaim leaves alone needs no care. */
	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_READ, 4, 4, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_LEND));
	KUNIT_EXPECT_EQ(test, 0, page.lent);
}

static void contents_come_with_the_grant(struct kunit *test)
{
	const u32 data = KHAZANA_CMDF_DATA;
	struct kz_page page;
	u32 act;

	kz_page_init(&page, 5);
	KUNIT_EXPECT_EQ(test, -ESTALE, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 4,
					    .version = 3, .flags = data));
	KUNIT_EXPECT_EQ(test, -EINVAL, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9,
					    .version = 3, .flags = data | KHAZANA_CMDF_ZERO));
	KUNIT_EXPECT_EQ(test, -EINVAL, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9,
					    .version = 3, .flags = data | KHAZANA_CMDF_HELD));
	KUNIT_EXPECT_EQ(test, 0, page.frames);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 9,
				      .version = 3, .flags = data));
	KUNIT_EXPECT_EQ(test, KZ_ACT_NEW_FRAME | KZ_ACT_WAKE, act);
	KUNIT_EXPECT_EQ(test, KHAZANA_RIGHT_READ, page.right);
	KUNIT_EXPECT_EQ(test, 3, page.version);
	/* Not over what somebody may have mapped, nor twice. */
	KUNIT_EXPECT_EQ(test, -EALREADY, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ,
					      .token = 9, .version = 3, .flags = data));
	KUNIT_EXPECT_EQ(test, -EBUSY, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_WRITE, .token = 10,
					   .version = 4, .flags = data));
	/* A frame that a miss has had for itself meanwhile goes, and so does a kept one. */
	kz_page_init(&page, 0);
	grant(test, &page, KHAZANA_RIGHT_WRITE, 4, 1, KHAZANA_CMDF_OWNED);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REVOKE, .right = KHAZANA_RIGHT_NONE, .token = 6));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_REFS_GONE));
	KUNIT_EXPECT_EQ(test, -EINPROGRESS, STEP(KZ_EV_FAULT, .right = KHAZANA_RIGHT_READ));
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_FRAME));
	KUNIT_EXPECT_EQ(test, KZ_FRAME_CURRENT | KZ_FRAME_HANDOFF, page.frames);
	KUNIT_EXPECT_EQ(test, 0, STEP(KZ_EV_COMMIT, .right = KHAZANA_RIGHT_READ, .token = 7,
				      .version = 2, .flags = data));
	KUNIT_EXPECT_EQ(test, KZ_ACT_FREE_FRAME | KZ_ACT_NEW_FRAME | KZ_ACT_FREE_HANDOFF |
			KZ_ACT_UNQUEUE | KZ_ACT_WAKE, act);
	KUNIT_EXPECT_EQ(test, KZ_FRAME_CURRENT, page.frames);
}

static struct kunit_case page_cases[] = {
	KUNIT_CASE(contents_come_with_the_grant),
	KUNIT_CASE(lent_copy_stays),
	KUNIT_CASE(stored_copy_is_droppable),
	KUNIT_CASE(miss_and_grant),
	KUNIT_CASE(upgrade),
	KUNIT_CASE(stale_tokens),
	KUNIT_CASE(handoff),
	KUNIT_CASE(locks),
	KUNIT_CASE(lease_ends),
	KUNIT_CASE(zeros_are_stores),
	KUNIT_CASE(references),
	KUNIT_CASE(khd_dies),
	KUNIT_CASE(random_walk),
	{}
};

static struct kunit_suite page_suite = {
	.name = "khazana_page",
	.test_cases = page_cases,
};

kunit_test_suite(page_suite);
