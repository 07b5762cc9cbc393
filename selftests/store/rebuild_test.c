// SPDX-License-Identifier: GPL-2.0-or-later
/* rebuild_test.c - what a rebuild makes of stores that are not simple */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "khd/store/store_priv.h"
#include "khd/store/vfs.h"
#include "selftests/store/fixture.h"

#define SEGMENT (64u << 10) /* the smallest: 126 descriptors fill one */
#define UNITS 40u

/* A store whose segments are small, so that class 8 is full soon. */
static int setup_small(void **state)
{
	struct fixture *f;

	assert_int_equal(setup(state), 0);
	f = *state;
	f->config.segment = SEGMENT;
	setup_again(f, 7);
	return 0;
}

static unsigned int misfits; /* records that a rebuild left out */

static void heard_rebuild(void *arg, const char *name, const char *text)
{
	misfits += !!strstr(text, "names no slot");
	heard(arg, name, text);
}

static void rebuilt(struct fixture *f)
{
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard_rebuild, f), 0);
	damages = 0;
	assert_int_equal(khd_store_check(&f->sim->base, found, f), 0);
	assert_int_equal(damages, 0);
	assert_int_equal(open_store(f), 0);
}

static struct khd_range one_unit(uint64_t n)
{
	return range_of((1ull << 40) + (n << 20), 1, 9, 1000 + n);
}

/* As many ranges as one segment of descriptors may have; the number of them. */
static uint64_t fill_descriptors(struct fixture *f, uint64_t n, uint64_t count)
{
	for (; count; count--, n++) {
		struct khd_range r = one_unit(n);

		assert_int_equal(reserve(f, &r), 0);
	}
	return n;
}

/* All of @r but the unit that went. */
static void all_there(struct fixture *f, const struct khd_range *r, uint64_t gone)
{
	uint64_t i;

	for (i = 0; i < UNITS; i++)
		assert_int_equal(get(f, r, i), i == gone ? -ENXIO : 1);
}

/* Segments by the class that their own blocks say, first copy. */
static unsigned int segments_of(struct fixture *f, unsigned int class)
{
	const struct khd_disk_ops *ops = f->sim->base.ops;
	struct khd_block block;
	unsigned int count = 0;
	uint64_t at, size = (uint64_t)ops->size(&f->sim->base, KHD_FILE_SLOTS);

	assert_int_equal(ops->read(&f->sim->base, KHD_FILE_SLOTS, 0, &block, sizeof(block)),
			 sizeof(block));
	for (at = le64toh(block.super.segments_at); at < size; at += SEGMENT) {
		assert_int_equal(ops->read(&f->sim->base, KHD_FILE_SLOTS, at, &block,
					   sizeof(block)),
				 sizeof(block));
		count += block.head.kind == KHD_BLOCK_SEGMENT && block.head.class == class;
	}
	return count;
}

/*
 * Class 8 is full when a range splits, so that the second descriptor lies among the units; the log
 * alone knows, and the record is the last that names the segment.
 */
static void a_descriptor_among_units_makes_no_descriptor_segment(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, UNITS, 12, 1), middle = range_of(20 << 12, 1, 12, 1);
	unsigned int segments;
	uint64_t i, n;

	assert_int_equal(reserve(f, &r), 0);
	for (i = 0; i < UNITS; i++)
		assert_int_equal(put(f, &r, i, 1), 0);
	n = fill_descriptors(f, 0, 110); /* and an eighth is slack: the next needs a segment */
	tick(f, 40);
	segments = segments_of(f, KHD_CLASS_META);
	assert_int_equal(segments, 1);
	assert_int_equal(release(f, &middle), 0);
	power_cut(f, DISK_LOST);
	rebuilt(f);
	assert_int_equal(segments_of(f, KHD_CLASS_META), segments);
	all_there(f, &r, 20);
	n = fill_descriptors(f, n, 200); /* over what was taken for free */
	tick(f, 40);
	all_there(f, &r, 20);
	power_cut(f, DISK_LOST);
	rebuilt(f);
	all_there(f, &r, 20);
	for (i = 0; i < n; i++) {
		struct khd_range one = one_unit(i);

		assert_int_equal(get(f, &one, 0), 0);
	}
}

/* The last record of the log becomes what @change makes of it, with the right sums. */
static void forge(struct fixture *f, void (*change)(struct khd_record *rec))
{
	const struct khd_disk_ops *ops = f->sim->base.ops;
	struct khd_log_head *b, *last = NULL;
	struct khd_block super;
	uint8_t *ring;
	uint64_t at, bytes;

	assert_int_equal(ops->read(&f->sim->base, KHD_FILE_SLOTS, 0, &super, sizeof(super)),
			 sizeof(super));
	bytes = le64toh(super.super.log_bytes);
	ring = memory(bytes);
	assert_int_equal(ops->read(&f->sim->base, KHD_FILE_SLOTS, KHD_LOG_AT, ring, bytes), bytes);
	for (at = 0; at < bytes; at += KHD_SECTOR) {
		b = (void *)(ring + at);
		if (le32toh(b->head.magic) == KHD_FORMAT_MAGIC && le32toh(b->cells) == 2 &&
		    (!last || le64toh(b->sequence) > le64toh(last->sequence)))
			last = b;
	}
	assert_non_null(last);
	change((struct khd_record *)(last + 1));
	last->crc = htole32(khd_log_crc(last, le32toh(last->bytes)));
	assert_int_equal(ops->write(&f->sim->base, KHD_FILE_SLOTS,
				    KHD_LOG_AT + (uint64_t)((uint8_t *)last - ring), last,
				    le32toh(last->bytes)),
			 le32toh(last->bytes));
	assert_int_equal(ops->flush(&f->sim->base), 0);
	free(ring);
}

static void class_beyond_all(struct khd_record *rec)
{
	assert_int_equal(rec->type, KHD_RECORD_RELEASE);
	rec->data_crc = htole32(1u << 31);
}

static void class_of_others(struct khd_record *rec)
{
	rec->data_crc = htole32(13);
}

static void class_of_none(struct khd_record *rec)
{
	rec->data_crc = htole32(KHD_CLASS_NONE);
}

static void slot_within_a_unit(struct khd_record *rec)
{
	rec->token = htole64(le64toh(rec->token) + KHD_SECTOR);
}

static void descriptor_within_a_unit(struct khd_record *rec)
{
	rec->slot = htole64(le64toh(rec->slot) + 1);
}

/* A record that no store wrote does not say what a segment is: it is named, and left out. */
static void forged_records_change_no_segment(void **state)
{
	static void (*const forgeries[])(struct khd_record *) = {
		class_beyond_all,   class_of_others,	      class_of_none,
		slot_within_a_unit, descriptor_within_a_unit,
	};
	struct khd_range r = range_of(0, UNITS, 12, 1), middle = range_of(20 << 12, 1, 12, 1);
	size_t i;
	uint64_t k;

	for (i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
		struct fixture *f;

		assert_int_equal(setup_small(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		for (k = 0; k < UNITS; k++)
			assert_int_equal(put(f, &r, k, 1), 0);
		fill_descriptors(f, 0, 110);
		tick(f, 40);
		assert_int_equal(release(f, &middle), 0);
		power_cut(f, DISK_LOST);
		forge(f, forgeries[i]);
		assert_int_equal(open_store(f), EBADMSG);
		f->events = 0;
		misfits = 0;
		rebuilt(f);
		assert_int_equal(misfits, 1);
		all_there(f, &r, UNITS); /* what the record said is lost with it */
		assert_int_equal(teardown(state), 0);
	}
}

static void no_damage(void *arg, enum khd_disk_file file, uint64_t offset, const char *what)
{
	fail_msg("%s", what);
}

/* It is not called damaged. */
static void an_index_of_another_version_is_made_anew(void **state)
{
	struct fixture *f = *state;
	struct khd_range r = range_of(0, 8, 12, 1);
	struct khd_vfs *vfs;
	sqlite3 *db;

	assert_int_equal(reserve(f, &r), 0);
	assert_int_equal(put(f, &r, 3, 7), 0);
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	vfs = khd_vfs_new(&f->sim->base, no_damage, NULL);
	assert_int_equal(khd_vfs_open(vfs, 0, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	khd_vfs_free(vfs);
	assert_int_equal(open_store(f), EPROTONOSUPPORT);
	assert_int_equal(khd_store_check(&f->sim->base, found, f), -EPROTONOSUPPORT);
	assert_int_equal(khd_store_rebuild(&f->sim->base, heard, f), 0);
	assert_int_equal(open_store(f), 0);
	assert_int_equal(get(f, &r, 3), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_descriptor_among_units_makes_no_descriptor_segment,
						setup_small, teardown),
		cmocka_unit_test_setup_teardown(an_index_of_another_version_is_made_anew, setup,
						teardown),
		cmocka_unit_test(forged_records_change_no_segment),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
