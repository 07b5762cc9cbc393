// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sweep_test.c - the page store: a history that is full is swept, and begins anew
 *
 * Each life of the store acknowledges some puts and dies amid others.  Of those, slots and log
 * records may be on the disk that no recovery counted: the history keeps them from coming up.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "khd/store/crc32c.h"
#include "khd/store/format.h"
#include "selftests/store/fixture.h"

#define FULL (KHD_HISTORY_BLOCKS * KHD_HISTORY_ENTRIES)
#define UNITS 8 /* that are used, */
#define SPACE 4096 /* of so many: no checkpoint for want of free slots */
#define DRAWS 8 /* crashes at one point */
#define TORN_DRAWS 60

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

/* A slow machine: each look at the clock is four seconds after the one before. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	static time_t passed;
	int ret = __real_clock_gettime(clock, now);

	now->tv_sec += passed += 4;
	return ret;
}

/* What a recovery has served once, all that follow must serve. */
struct life {
	struct fixture f;
	struct khd_range large, small;
	uint64_t served[2][UNITS]; /* version */
	uint64_t number;
	unsigned int told, swept; /* as the store says */
	uint64_t swept_blocks;
};

/* The history on a disk. */
struct history {
	unsigned int count;
	uint64_t first[FULL], last[FULL];
};

static void history_of(const struct disk_sim *sim, struct history *h)
{
	unsigned int b, i;

	h->count = 0;
	for (b = 0; b < KHD_HISTORY_BLOCKS; b++) {
		struct khd_block block;

		image_read(&sim->now[KHD_FILE_SLOTS], KHD_HISTORY_AT + b * KHD_HISTORY_STRIDE,
			   &block, sizeof(block));
		if (block.head.kind != KHD_BLOCK_HISTORY)
			break;
		for (i = 0; i < le32toh(block.history.count); i++) {
			h->first[h->count] = le64toh(block.history.entry[i].first);
			h->last[h->count++] = le64toh(block.history.entry[i].last);
		}
		if (i < KHD_HISTORY_ENTRIES)
			break;
	}
}

/* Of crash_amid_sweep(). */
static struct {
	uint64_t crashes, sweeps;
	struct history before;
	unsigned int stays; /* intervals of it, the last ones */
} amid;

/* What the log may still have stays, in order, before the interval of the last crash. */
static void verify_stays(const struct history *before, unsigned int stays, const struct history *h)
{
	unsigned int i;

	assert_true(h->count > stays && h->count < FULL);
	for (i = 1; i < h->count; i++)
		assert_true(h->first[i] > h->last[i - 1]);
	for (i = 1; i <= stays; i++)
		assert_int_equal(h->first[h->count - 1 - i], before->first[FULL - i]);
	assert_true(h->first[h->count - 1] > before->last[FULL - 1]);
}

static bool speaks_of(const struct history *h, uint64_t lsn)
{
	unsigned int i;

	for (i = 0; i < h->count; i++)
		if (lsn >= h->first[i] && lsn <= h->last[i])
			return true;
	return false;
}

/* Slots of which @h speaks. */
static unsigned int strays(const struct disk_sim *sim, const struct history *h)
{
	const struct image *slots = &sim->now[KHD_FILE_SLOTS];
	unsigned int found = 0;
	uint64_t at;

	for (at = KHD_LOG_AT; at < slots->size; at += KHD_SECTOR) {
		struct khd_block_head head;

		image_read(slots, at, &head, sizeof(head));
		if (le32toh(head.magic) != KHD_FORMAT_MAGIC || head.kind != KHD_BLOCK_DATA)
			continue;
		found += speaks_of(h, le64toh(head.lsn));
	}
	return found;
}

static void heard_sweep(void *arg, const char *name, const char *text)
{
	struct life *l = arg;
	unsigned long long blocks;

	heard(&l->f, name, text);
	l->told += !strncmp(text, "history: sweeping, ", 19);
	if (sscanf(text, "history swept: %llu blocks", &blocks) != 1)
		return;
	l->swept++;
	l->swept_blocks = blocks;
}

static int open_life(struct life *l)
{
	int error = 0;

	l->f.store = khd_store_open(&l->f.sim->base, &l->f.config, heard_sweep, l, &error,
				    &l->f.recovery);
	return error;
}

static void drop(struct life *l, struct disk_sim *left)
{
	l->f.sim->dead = true;
	settle(&l->f);
	khd_store_close(l->f.store);
	assert_null(l->f.sim->broken);
	disk_sim_free(l->f.sim);
	l->f.store = NULL;
	l->f.sim = left;
}

/* Is everything as it was served? */
static void verify(struct life *l)
{
	unsigned int i;

	for (i = 0; i < UNITS; i++) {
		assert_int_equal(get(&l->f, &l->large, i), l->served[0][i]);
		assert_int_equal(get(&l->f, &l->small, i), l->served[1][i]);
	}
}

static void end(struct life *l)
{
	settle(&l->f);
	khd_store_close(l->f.store);
	assert_null(l->f.sim->broken);
	disk_sim_free(l->f.sim);
	free(l);
}

/* The same life, with another copy of its disk, as a crash leaves it. */
static struct life *twin(const struct life *l, enum disk_crash how, uint64_t draw)
{
	struct life *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	*t = *l;
	t->f.store = NULL;
	t->f.sim = disk_sim_crash(l->f.sim, how, draw);
	return t;
}

/* Does the recovery from that crash find records that do not count? */
static bool discards(const struct life *l, uint64_t draw)
{
	struct life *t = twin(l, DISK_DRAWN, draw);
	bool found;

	assert_int_equal(open_life(t), 0);
	found = t->f.recovery.discarded > 0;
	end(t);
	return found;
}

/* A put that was under way when the power went: it is there, or what was before. */
static void settle_on(struct life *l, const struct khd_range *r, uint64_t *served, uint64_t unit)
{
	int64_t version = get(&l->f, r, unit);

	assert_true(version == (int64_t)l->number || version == (int64_t)served[unit]);
	served[unit] = (uint64_t)version;
}

/*
 * One life, which ends amid a group of puts, and the recovery from that.
 * @torn: there are records of them that do not count, if such a crash is soon drawn
 */
static void live(struct life *l, bool torn)
{
	uint64_t draw = ++l->number * 1000;
	void *buf[2 * UNITS];
	struct wait w[2 * UNITS];
	unsigned int i;

	assert_int_equal(put(&l->f, &l->large, 0, l->number), 0);
	l->served[0][0] = l->number;
	for (i = 2; i < 2 * UNITS; i++) {
		buf[i] = memory(4096);
		begin_put(&l->f, &w[i], i % 2 ? &l->small : &l->large, i / 2, l->number, buf[i],
			  KHD_STORE_SYNC | (i + 1 < 2 * UNITS ? KHD_STORE_MORE : 0));
	}
	for (i = 0; i < (torn ? 3 : l->number % 12); i++)
		disk_sim_step(l->f.sim);
	while (torn && draw % 1000 < TORN_DRAWS && !discards(l, draw))
		draw++;
	drop(l, disk_sim_crash(l->f.sim, DISK_DRAWN, draw));
	for (i = 2; i < 2 * UNITS; i++)
		free(buf[i]);
	assert_int_equal(open_life(l), 0);
	for (i = 1; i < UNITS; i++) {
		settle_on(l, &l->large, l->served[0], i);
		settle_on(l, &l->small, l->served[1], i);
	}
}

/* A life in which nothing is left undone; nobody opens the store after it. */
static void end_quietly(struct life *l, bool checkpoint)
{
	unsigned int i;

	l->number++;
	for (i = 0; i < 3; i++)
		assert_int_equal(put(&l->f, &l->large, 0, l->number), 0);
	l->served[0][0] = l->number;
	if (checkpoint)
		tick(&l->f, 40);
	drop(l, disk_sim_crash(l->f.sim, DISK_LOST, 1));
}

static struct life *first_life(void)
{
	struct life *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->f.sim = disk_sim_new(1);
	l->f.config = (struct khd_store_config){ .capacity = 16 << 20,
						 .segment = 256 << 10,
						 .log = 1 << 20 };
	l->f.config.uuid[0] = 1;
	assert_int_equal(khd_store_format(&l->f.sim->base, &l->f.config), 0);
	assert_int_equal(open_life(l), 0);
	l->large = range_of(0, SPACE, 10, 1);
	l->small = range_of(1 << 28, SPACE, 9, 2);
	assert_int_equal(reserve(&l->f, &l->large), 0);
	assert_int_equal(reserve(&l->f, &l->small), 0);
	return l;
}

/*
 * Lives until the history is full and the next recovery must sweep it.  The log still has what the
 * last @stays intervals are about, and the index nothing that came after them.
 */
static struct life *full(unsigned int stays)
{
	struct life *l = first_life();
	struct history h = { 0 };

	while (h.count < FULL) {
		live(l, h.count + 3 + stays > FULL);
		history_of(l->f.sim, &h);
		if (stays && h.count == FULL - stays + 1)
			tick(&l->f, 40); /* a checkpoint */
	}
	assert_int_equal(l->swept, 0);
	end_quietly(l, !stays);
	return l;
}

/* How many units are not as they were served when the history is not looked at? */
static unsigned int raised_without(const struct life *l)
{
	struct life *t = twin(l, DISK_ALL, 1);
	unsigned int i, raised = 0;

	t->f.config.plant = "forget-history";
	assert_int_equal(open_life(t), 0);
	for (i = 0; i < UNITS; i++) {
		raised += get(&t->f, &t->large, i) != (int64_t)t->served[0][i];
		raised += get(&t->f, &t->small, i) != (int64_t)t->served[1][i];
	}
	end(t);
	return raised;
}

static void a_full_history_is_swept(void **state)
{
	struct life *l = full(4);
	struct history before, after;
	unsigned int stray;
	uint64_t reads;

	history_of(l->f.sim, &before);
	stray = strays(l->f.sim, &before);
	assert_true(stray > 1);
	assert_true(raised_without(l) > 0);
	reads = l->f.sim->counts.reads;
	assert_int_equal(open_life(l), 0);
	reads = l->f.sim->counts.reads - reads;
	verify(l);
	assert_int_equal(l->swept, 1);
	assert_true(reads < SPACE / 4); /* large ones: not one for each slot */
	assert_true(l->told > 2); /* how far it is */
	/* others lie in segments that no crash finished taking: these are cleared as a whole */
	assert_in_range(l->swept_blocks, 1, stray);
	assert_int_equal(strays(l->f.sim, &before), 0);
	history_of(l->f.sim, &after);
	assert_int_equal(after.count, 4 + 1);
	verify_stays(&before, 4, &after);
	/* not every crash sweeps it */
	live(l, false);
	live(l, true);
	assert_int_equal(l->swept, 1);
	history_of(l->f.sim, &before);
	assert_int_equal(before.count, after.count + 2);
	/* and what is swept is missed by nobody */
	assert_int_equal(stop(&l->f), 0);
	khd_store_close(l->f.store);
	assert_int_equal(khd_store_check(&l->f.sim->base, found, l), 0);
	assert_int_equal(khd_store_rebuild(&l->f.sim->base, heard_sweep, l), 0);
	assert_int_equal(open_life(l), 0);
	verify(l);
	end(l);
}

static bool is_zero(const struct image *img, uint64_t at, uint64_t bytes)
{
	uint8_t *buf = calloc(1, bytes);
	uint64_t i;

	assert_non_null(buf);
	image_read(img, at, buf, bytes);
	for (i = 0; i < bytes && !buf[i]; i++)
		;
	free(buf);
	return i == bytes;
}

/*
 * A life that took a segment into use was cut off: a slot is on the disk, the segment's block is
 * not.  A copy of a stray slot does for it.
 */
static uint64_t leave_stray(struct life *l, const struct history *h)
{
	struct image *images[] = { &l->f.sim->durable[KHD_FILE_SLOTS],
				   &l->f.sim->now[KHD_FILE_SLOTS] };
	const uint64_t segment = l->f.config.segment, from = KHD_LOG_AT + l->f.config.log;
	uint64_t at, slot = 0, to = 0, bytes;
	struct khd_block block;
	uint8_t *buf;
	unsigned int i;

	for (at = from; at + segment <= images[1]->size; at += segment)
		if (is_zero(images[1], at, segment))
			to = at + KHD_SECTOR;
	for (at = from; at < images[1]->size; at += KHD_SECTOR) {
		image_read(images[1], at, &block, sizeof(block));
		if (le32toh(block.head.magic) == KHD_FORMAT_MAGIC &&
		    block.head.kind == KHD_BLOCK_DATA && speaks_of(h, le64toh(block.head.lsn)))
			slot = at;
	}
	assert_true(slot && to);
	image_read(images[1], slot, &block, sizeof(block));
	bytes = KHD_SECTOR + (1ull << block.slot.shift);
	buf = memory(bytes);
	image_read(images[1], slot, buf, bytes);
	block.head.position = htole64(to);
	block.crc = htole32(khd_crc32c(0, &block, offsetof(struct khd_block, crc)));
	memcpy(buf, &block, sizeof(block));
	for (i = 0; i < 2; i++)
		image_write(images[i], to, buf, bytes);
	free(buf);
	return to;
}

static void a_segment_without_its_block_is_swept(void **state)
{
	struct life *l = full(4);
	struct history before;
	uint64_t at;

	history_of(l->f.sim, &before);
	at = leave_stray(l, &before);
	assert_int_equal(open_life(l), 0);
	verify(l);
	assert_int_equal(l->swept, 1);
	assert_true(is_zero(&l->f.sim->now[KHD_FILE_SLOTS], at, KHD_SECTOR));
	end(l);
}

/* The store is being opened: the power goes, in several ways; twice. */
static void amid_sweep(void *arg)
{
	struct life *l = arg, *t;
	struct history after;
	uint64_t draw;

	for (draw = 0; draw < DRAWS; draw++) {
		t = twin(l, DISK_DRAWN, ++amid.crashes);
		t->swept = 0;
		if (draw % 4 == 3) {
			assert_int_equal(khd_store_rebuild(&t->f.sim->base, heard_sweep, t), 0);
			assert_int_equal(open_life(t), 0);
		} else {
			assert_int_equal(open_life(t), 0);
			history_of(t->f.sim, &after);
			verify_stays(&amid.before, amid.stays, &after);
		}
		verify(t);
		end_quietly(t, false);
		assert_int_equal(open_life(t), 0);
		verify(t);
		amid.sweeps += t->swept;
		end(t);
	}
}

static void crash_amid_sweep(unsigned int stays)
{
	struct life *l = full(stays);

	if (stays)
		assert_true(raised_without(l) > 0);
	memset(&amid, 0, sizeof(amid));
	history_of(l->f.sim, &amid.before);
	assert_true(strays(l->f.sim, &amid.before) > 0);
	amid.stays = stays;
	l->f.sim->point = amid_sweep;
	l->f.sim->point_arg = l;
	assert_int_equal(open_life(l), 0);
	l->f.sim->point = NULL;
	assert_int_equal(l->swept, 1);
	assert_true(amid.sweeps > 0 && amid.sweeps < amid.crashes);
	verify(l);
	end(l);
}

static void a_crash_amid_a_sweep_raises_nothing(void **state)
{
	crash_amid_sweep(0);
	crash_amid_sweep(4);
}

/* More of them than a block of the history has. */
static void nor_when_much_of_the_history_stays(void **state)
{
	crash_amid_sweep(KHD_HISTORY_ENTRIES);
	crash_amid_sweep(2 * KHD_HISTORY_ENTRIES + 5);
}

/* No life lasts until a checkpoint would be made: there is one before the history cannot be swept. */
static void a_store_that_never_lives_long_opens(void **state)
{
	struct life *l = first_life();
	struct khd_range many = range_of(1 << 24, FULL + 60, 9, 3);
	uint64_t i, k;

	assert_int_equal(reserve(&l->f, &many), 0);
	for (i = 0; i < many.units; i++) {
		assert_int_equal(put(&l->f, &many, i, 1), 0);
		tick(&l->f, 1);
		drop(l, disk_sim_crash(l->f.sim, DISK_LOST, 1));
		assert_int_equal(open_life(l), 0);
	}
	for (k = 0; k < many.units; k++)
		assert_int_equal(get(&l->f, &many, k), 1);
	assert_true(l->swept > 0);
	end(l);
}

/* A rebuild makes the best of what is left of it, and a store that opens. */
static void a_damaged_history_is_rebuilt(void **state)
{
	struct life *l = first_life();
	struct history h = { 0 };

	while (h.count < 3 * KHD_HISTORY_ENTRIES + 5) {
		live(l, false);
		history_of(l->f.sim, &h);
	}
	tick(&l->f, 40);
	live(l, false);
	drop(l, disk_sim_crash(l->f.sim, DISK_ALL, 1));
	disk_sim_flip(l->f.sim, KHD_FILE_SLOTS, (KHD_HISTORY_AT + KHD_HISTORY_STRIDE + 100) * 8);
	assert_int_equal(open_life(l), EBADMSG);
	assert_int_equal(khd_store_rebuild(&l->f.sim->base, heard_sweep, l), 0);
	assert_int_equal(open_life(l), 0);
	verify(l);
	live(l, false);
	verify(l);
	end(l);
}

/* ---------------------------------------------------------------- a segment without a block */

#define STRAY_SHIFT 11
#define STRAY_PUTS 8

/*
 * A disk on which a crash may leave it: a whole unit of @r in a segment that has neither of its own
 * blocks.  Out: which unit; NULL: not at this moment.
 */
static struct disk_sim *stray_of(const struct disk_sim *sim, const struct khd_range *r,
				 uint64_t segment, uint64_t seed, uint64_t *unit)
{
	struct disk_sim *left = disk_sim_crash(sim, DISK_DRAWN, seed);
	const struct image *img = &left->now[KHD_FILE_SLOTS];
	uint64_t at, slot, bytes = KHD_SECTOR + (1u << STRAY_SHIFT);
	struct khd_block first, last, block;

	for (at = KHD_LOG_AT + 262144; at + segment <= img->size; at += segment) {
		image_read(img, at, &first, sizeof(first));
		image_read(img, at + segment - KHD_SECTOR, &last, sizeof(last));
		if (first.head.magic || last.head.magic)
			continue;
		/* not where the next ones go */
		for (slot = 3; slot < STRAY_PUTS; slot++) {
			uint8_t data[1u << STRAY_SHIFT];

			image_read(img, at + KHD_SECTOR + slot * bytes, &block, sizeof(block));
			image_read(img, at + 2 * KHD_SECTOR + slot * bytes, data, sizeof(data));
			if (le32toh(block.head.magic) != KHD_FORMAT_MAGIC ||
			    block.head.kind != KHD_BLOCK_DATA || !data[0] ||
			    memcmp(data, data + 1, sizeof(data) - 1))
				continue;
			*unit = (le64toh(block.slot.addr_lo) - r->start.lo) >> STRAY_SHIFT;
			return left;
		}
	}
	disk_sim_free(left);
	return NULL;
}

/* A sweep does not see what such a segment has; nor does a rebuild, when the segment is used. */
static void what_lies_without_a_block_is_not_raised(void **state)
{
	struct khd_range small = range_of(0, 100, 9, 1),
			 r = range_of(1ull << 32, 50, STRAY_SHIFT, 2);
	struct wait w[STRAY_PUTS];
	struct disk_sim *left = NULL;
	struct fixture *f;
	void *s = NULL;
	uint64_t i, unit = 0, seed;

	assert_int_equal(setup(&s), 0);
	f = s;
	assert_int_equal(reserve(f, &small), 0);
	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &small, 0, 1), 0);
	tick(f, 40);
	for (i = 0; i < STRAY_PUTS; i++)
		begin_put(f, &w[i], &r, i, 1, memory(1u << STRAY_SHIFT), KHD_STORE_SYNC);
	do
		for (seed = 0; seed < 200 && !left; seed++)
			left = stray_of(f->sim, &r, f->config.segment, seed, &unit);
	while (!left && disk_sim_step(f->sim));
	assert_non_null(left);
	f->sim->dead = true;
	settle(f);
	for (i = 0; i < STRAY_PUTS; i++)
		free(w[i].op.iov.iov_base);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	f->sim = left;
	assert_int_equal(open_store(f), 0);
	assert_int_equal(get(f, &r, unit), 0);
	for (i = 0; i < FULL + 12; i++) {
		assert_int_equal(put(f, &small, 0, i + 2), 0);
		if (i % 10 == 5)
			tick(f, 40);
		assert_int_equal(crash(f, DISK_LOST), 0);
	}
	assert_int_equal(put(f, &r, 20, 1), 0);
	assert_int_equal(get(f, &r, unit), 0);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
	assert_int_equal(open_store(f), 0);
	assert_int_equal(get(f, &r, unit), 0);
	assert_int_equal(get(f, &r, 20), 1);
	assert_int_equal(teardown(&s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_history_is_swept),
		cmocka_unit_test(a_segment_without_its_block_is_swept),
		cmocka_unit_test(a_crash_amid_a_sweep_raises_nothing),
		cmocka_unit_test(nor_when_much_of_the_history_stays),
		cmocka_unit_test(a_store_that_never_lives_long_opens),
		cmocka_unit_test(a_damaged_history_is_rebuilt),
		cmocka_unit_test(what_lies_without_a_block_is_not_raised),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
