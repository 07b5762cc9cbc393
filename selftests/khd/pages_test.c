// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pages_test.c - khd's page store, and its memory, on a real directory
 *
 * The test takes the core's part: it gives commands and is told their ends.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/stat.h>

#include "khd/arena.h"
#include "khd/log.h"
#include "khd/pages.h"
#include "khd/pages_priv.h"
#include "khd/state.h"
#include "khd/store/disk_dir.h"

#define ENDS_MAX 65536

/* How a command ended; id is its place. */
struct end {
	unsigned int times;
	uint32_t error;
	uint64_t version, token;
	uint8_t first, last; /* of the data */
	bool data;
};

static struct end ends[ENDS_MAX];
static bool inside; /* a call that must not end a command */
static struct khd khd;
static char dir[64];
static uint64_t next_id;
static size_t unit;
static unsigned int events;
static char event[400]; /* the last one while khd_pages_open() lasts */
static unsigned int fake_sector; /* that O_DIRECT asks for; 0: as it is */

/* ------------------------------------------------------------ what stands around the store */

void kh_node_stored(struct kh_node *node, uint64_t id, const struct kh_store_result *result,
		    uint64_t now)
{
	const uint8_t *data = result->data;

	assert_false(inside);
	assert_true(id < ENDS_MAX);
	ends[id].times++;
	ends[id].error = result->error;
	ends[id].version = result->version;
	ends[id].token = result->token;
	ends[id].data = data;
	if (data) {
		ends[id].first = data[0];
		ends[id].last = data[unit - 1];
	}
}

void khd_event(struct khd *k, const char *name, const char *fmt, ...)
{
	va_list ap;

	events++;
	if (khd.pages)
		return;
	va_start(ap, fmt);
	vsnprintf(event, sizeof(event), fmt, ap);
	va_end(ap);
}

int __real_statx(int fd, const char *path, int flags, unsigned int mask, struct statx *stx);
int __wrap_statx(int fd, const char *path, int flags, unsigned int mask, struct statx *stx);

int __wrap_statx(int fd, const char *path, int flags, unsigned int mask, struct statx *stx)
{
	int ret = __real_statx(fd, path, flags, mask, stx);

	if (ret || !fake_sector)
		return ret;
	stx->stx_mask |= STATX_DIOALIGN;
	stx->stx_dio_offset_align = fake_sector;
	stx->stx_dio_mem_align = KHD_SECTOR;
	return 0;
}

void khd_fail(struct khd *k, const char *fmt, ...)
{
	fail_msg("khd_fail: %s", fmt);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void begin(uint64_t buffers, bool poll)
{
	uint64_t incarnation;

	memset(&khd, 0, sizeof(khd));
	memset(ends, 0, sizeof(ends));
	next_id = 1;
	snprintf(khd.config.store.dir, sizeof(khd.config.store.dir), "%s/store", dir);
	snprintf(khd.config.state, sizeof(khd.config.state), "%s/state", dir);
	khd.config.store.size = 64 << 20;
	khd.config.store.buffers = buffers;
	khd.loop = poll ? khd_loop_poll(512) : khd_loop_uring(512);
	if (!khd.loop)
		khd.loop = khd_loop_poll(512);
	assert_non_null(khd.loop);
	khd.state = khd_state_open(khd.config.state, &incarnation);
	assert_non_null(khd.state);
	khd.pages = khd_pages_open(&khd);
}

static void finish(void)
{
	khd_pages_stop(khd.pages);
	khd_loop_destroy(khd.loop);
	khd_pages_close(khd.pages);
	khd_state_close(khd.state);
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/pages-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static uint64_t give(struct kh_store_cmd cmd)
{
	cmd.id = next_id++;
	cmd.region = (struct khazana_addr){ 1, 0 };
	cmd.region_generation = 3;
	cmd.generation = cmd.generation ? cmd.generation : 4;
	inside = true;
	khd_pages_command(khd.pages, &cmd);
	inside = false;
	return cmd.id;
}

/* A disk whose flushes, or reads, fail: the loop says so in the next pass. */
static const struct khd_disk_ops *good_ops;
static struct khd_disk_ops failing_ops;
static struct khd_disk_io *failing[64];
static unsigned int failing_count;
static enum khd_disk_op failing_op;
static int failing_error;

static void submit_failing(struct khd_disk *disk, struct khd_disk_io *io)
{
	if (io->op != failing_op) {
		good_ops->submit(disk, io);
		return;
	}
	assert_true(failing_count < 64);
	failing[failing_count++] = io;
}

static void disk_fails(struct khd_disk *disk, enum khd_disk_op op, int error)
{
	failing_op = op;
	failing_error = error;
	good_ops = disk->ops;
	failing_ops = *disk->ops;
	failing_ops.submit = submit_failing;
	disk->ops = &failing_ops;
}

static void pass(void)
{
	uint64_t now = khd_now(), next;

	next = khd_pages_tick(khd.pages, now);
	if (next > now + 100000000)
		next = now + 100000000;
	assert_int_equal(khd_loop_wait(khd.loop, next > now && !failing_count ? next - now : 0), 0);
	while (failing_count) {
		struct khd_disk_io *io = failing[--failing_count];

		io->done(io, -failing_error);
	}
}

/* Until all that was given has ended. */
static void settle(void)
{
	uint64_t end = khd_now() + 60000000000ull, id;

	for (id = 1; id < next_id; id++)
		while (!ends[id].times) {
			assert_true(khd_now() < end);
			pass();
		}
	for (id = 1; id < next_id; id++)
		assert_int_equal(ends[id].times, 1);
}

static struct kh_store_cmd cmd(enum kh_store_code code, uint64_t index, uint32_t shift)
{
	unit = (size_t)1 << shift;
	return (struct kh_store_cmd){
		.code = code, .addr = { 1, index << shift }, .units = 1, .shift = shift
	};
}

static uint64_t put(uint64_t index, uint32_t shift, uint64_t version, uint8_t fill)
{
	static uint8_t data[2 << 20];
	struct kh_store_cmd c = cmd(KH_STORE_PUT, index, shift);
	uint64_t id;

	memset(data, fill, unit);
	c.version = version;
	c.token = version + 1000;
	c.data = data;
	id = give(c);
	memset(data, 0xee, unit); /* it was copied */
	return id;
}

static uint64_t reserve(uint64_t units, uint32_t shift)
{
	struct kh_store_cmd c = cmd(KH_STORE_RESERVE, 0, shift);

	c.units = units;
	return give(c);
}

/* ------------------------------------------------------------ tests */

static void a_unit_comes_back(bool poll)
{
	uint64_t a, b, c, d, e;

	begin(8 << 20, poll);
	assert_non_null(khd.pages);
	a = put(0, 12, 1, 1);
	settle();
	assert_int_equal(ends[a].error, ENXIO);
	a = reserve(16, 12);
	settle();
	assert_int_equal(ends[a].error, 0);
	a = give(cmd(KH_STORE_GET, 3, 12));
	b = put(5, 12, 7, 0x77);
	settle();
	assert_true(!ends[a].error && !ends[a].version && !ends[a].data);
	assert_int_equal(ends[b].error, 0);
	a = give(cmd(KH_STORE_GET, 5, 12));
	b = give(cmd(KH_STORE_LOOK, 5, 12));
	c = put(5, 12, 6, 0x66);
	settle();
	assert_true(!ends[a].error && ends[a].version == 7 && ends[a].token == 1007);
	assert_true(ends[a].data && ends[a].first == 0x77 && ends[a].last == 0x77);
	assert_true(!ends[b].error && ends[b].version == 7 && !ends[b].data);
	assert_int_equal(ends[c].error, ESTALE);
	finish();

	begin(8 << 20, poll);
	assert_non_null(khd.pages);
	a = give(cmd(KH_STORE_GET, 5, 12));
	settle();
	assert_true(!ends[a].error && ends[a].version == 7 && ends[a].first == 0x77);
	d = give(cmd(KH_STORE_RELEASE, 5, 12));
	settle();
	e = give(cmd(KH_STORE_GET, 5, 12));
	settle();
	assert_true(!ends[d].error && ends[e].error == ENXIO);
	finish();
}

static void a_unit_comes_back_by_uring(void **state)
{
	a_unit_comes_back(false);
}

static void a_unit_comes_back_by_poll(void **state)
{
	a_unit_comes_back(true);
}

/* More than memory has room for: the rest is told to come again, and what was taken is stored. */
static void what_waits_is_bounded(void **state)
{
	unsigned int i, stored = 0, again = 0;
	uint64_t ids[4096], get;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	reserve(4096, 12);
	settle();
	for (i = 0; i < 4096; i++)
		ids[i] = put(i, 12, 1, i);
	assert_int_equal(khd_arena_used(khd.pages->arena), 8 << 20);
	assert_true(khd.pages->puts_under_way <= KHD_STORE_PUTS_MAX);
	get = give(cmd(KH_STORE_GET, 1, 12)); /* waits for memory, and gets it */
	settle();
	for (i = 0; i < 4096; i++) {
		stored += !ends[ids[i]].error;
		again += ends[ids[i]].error == EAGAIN;
	}
	assert_int_equal(stored, (8 << 20) >> 12);
	assert_int_equal(stored + again, 4096);
	assert_int_equal(ends[get].error, 0);
	assert_int_equal(khd_arena_used(khd.pages->arena), 0);
	finish();
}

/* A get of the largest unit is not starved by puts of small ones. */
static void a_large_get_has_its_turn(void **state)
{
	struct kh_store_cmd c = cmd(KH_STORE_RESERVE, 0, 21);
	unsigned int i, rounds, refused = 0;
	uint64_t get, id;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	reserve(1024, 12);
	c.addr.hi = 2;
	give(c);
	settle();
	for (i = 0; i < 1024; i++)
		put(i, 12, 1, i);
	pass();
	c = cmd(KH_STORE_GET, 0, 21);
	c.addr.hi = 2;
	get = give(c);
	for (rounds = 0; !ends[get].times && rounds < 10000; rounds++) {
		id = put(rounds % 1024, 12, 2 + rounds, 1);
		pass();
		refused += ends[id].times && ends[id].error == EAGAIN;
	}
	assert_int_equal(ends[get].times, 1);
	assert_int_equal(ends[get].error, 0);
	settle();
	finish();
}

static void too_many_commands_are_refused(void **state)
{
	unsigned int i, again = 0, done = 0;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	reserve(16, 12);
	settle();
	for (i = 0; i < 20000; i++)
		give(cmd(KH_STORE_GET, i % 16, 12));
	settle();
	for (i = 2; i < 20002; i++) {
		again += ends[i].error == EAGAIN;
		done += !ends[i].error;
	}
	assert_int_equal(again + done, 20000);
	assert_true(done >= 12000 && again);
	finish();
}

static void every_size_of_unit(void **state)
{
	uint64_t ids[13], gets[13];
	struct kh_store_cmd c;
	uint32_t shift, least;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	least = (uint32_t)__builtin_ctz(khd.pages->disk->sector); /* less is refused */
	for (shift = 9; shift <= 21; shift++) {
		c = cmd(KH_STORE_RESERVE, 0, shift);
		c.addr.hi = 100 + shift;
		ids[shift - 9] = give(c);
	}
	settle();
	for (shift = 9; shift <= 21; shift++)
		assert_int_equal(ends[ids[shift - 9]].error, shift < least ? EIO : 0);
	for (shift = least; shift <= 21; shift++) {
		static uint8_t data[2 << 20];

		c = cmd(KH_STORE_PUT, 0, shift);
		c.addr.hi = 100 + shift;
		c.version = 5;
		memset(data, shift, unit);
		c.data = data;
		ids[shift - 9] = give(c);
		settle();
		assert_int_equal(ends[ids[shift - 9]].error, 0);
		c = cmd(KH_STORE_GET, 0, shift);
		c.addr.hi = 100 + shift;
		gets[shift - 9] = give(c);
		settle();
		assert_true(ends[gets[shift - 9]].data && ends[gets[shift - 9]].first == shift &&
			    ends[gets[shift - 9]].last == shift);
	}
	c = cmd(KH_STORE_GET, 0, 12);
	c.shift = 22;
	ids[0] = give(c);
	settle();
	assert_int_equal(ends[ids[0]].error, EIO);
	finish();
}

/* What is under way when khd ends is never told, and what was told is there. */
static void stopping_in_the_middle(void **state)
{
	unsigned int i, told = 0;
	uint64_t ids[1024], gets[1024];

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	reserve(1024, 12);
	settle();
	for (i = 0; i < 1024; i++)
		ids[i] = put(i, 12, 9, i);
	pass();
	pass();
	for (i = 0; i < 1024; i++)
		told += ends[ids[i]].times && !ends[ids[i]].error;
	finish();
	for (i = 0; i < 1024; i++)
		told -= ends[ids[i]].times && !ends[ids[i]].error;
	assert_int_equal(told, 0);
	memcpy(gets, ids, sizeof(gets));
	for (i = 0; i < 1024; i++)
		gets[i] = ends[ids[i]].times && !ends[ids[i]].error;
	begin(8 << 20, false);
	assert_non_null(khd.pages);
	for (i = 0; i < 1024; i++)
		ids[i] = give(cmd(KH_STORE_LOOK, i, 12));
	settle();
	for (i = 0; i < 1024; i++)
		assert_true(ends[ids[i]].version == 9 || !gets[i]);
	finish();
}

/* What khadm store check does when it finds nothing. */
static void found_whole(void)
{
	char path[128];
	struct khd_disk *disk;
	int error;

	snprintf(path, sizeof(path), "%s/store", dir);
	disk = khd_disk_dir_open(NULL, path, &error);
	assert_non_null(disk);
	assert_int_equal(khd_store_check(disk, NULL, NULL), 0);
	assert_int_equal(khd_store_vouch(disk), 0);
	khd_disk_dir_close(disk);
}

/* khd runs, and its store does not; @note is what the state directory has. */
static void not_served(const char *note)
{
	char line[128];
	uint64_t look;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	assert_null(khd.pages->store);
	assert_non_null(strstr(khd.pages->reason, "was not verified since"));
	look = give(cmd(KH_STORE_LOOK, 0, 12));
	settle();
	assert_int_equal(ends[look].error, EIO);
	assert_int_equal(khd_state_noted(khd.state, "store-failed", line, sizeof(line)), 0);
	assert_int_equal(strncmp(line, note, strlen(note)), 0);
	finish();
}

static void served_again(void)
{
	char line[128];
	uint64_t look;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	assert_non_null(khd.pages->store);
	look = give(cmd(KH_STORE_LOOK, 0, 12));
	settle();
	assert_true(!ends[look].error && ends[look].version >= 1);
	assert_int_equal(khd_state_noted(khd.state, "store-failed", line, sizeof(line)), -ENOENT);
}

/* Nothing is acknowledged that is not safe, and nothing hangs. */
static void a_failed_flush_ends_service(void **state)
{
	uint64_t ids[2000], safe, look, end;
	char note[128];
	unsigned int i;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	reserve(2000, 12);
	safe = put(0, 12, 1, 1);
	settle();
	assert_int_equal(ends[safe].error, ENXIO); /* it was there before its space was */
	safe = put(0, 12, 1, 1);
	settle();
	assert_int_equal(ends[safe].error, 0);
	events = 0;
	/* the state directory cannot be told either, for now */
	snprintf(note, sizeof(note), "%s/state/store-failed", dir);
	assert_int_equal(mkdir(note, 0700), 0);
	disk_fails(khd.pages->disk, KHD_DISK_FLUSH, EIO);
	for (i = 0; i < 2000; i++)
		ids[i] = put(i, 12, 2, 2);
	settle();
	for (i = 0; i < 2000; i++)
		assert_int_equal(ends[ids[i]].error, EIO);
	assert_true(khd.pages->reason[0] && events);
	assert_null(khd_pages_store(khd.pages));
	ids[0] = put(0, 12, 3, 3);
	ids[1] = give(cmd(KH_STORE_GET, 0, 12));
	ids[2] = reserve(2000, 12);
	look = give(cmd(KH_STORE_LOOK, 0, 12));
	settle();
	for (i = 0; i < 3; i++)
		assert_int_equal(ends[ids[i]].error, EIO);
	assert_int_equal(ends[look].error, EIO);
	assert_int_equal(khd_arena_used(khd.pages->arena), 0);
	assert_int_equal(khd.pages->unnoted, EIO);
	assert_int_equal(rmdir(note), 0);
	for (end = khd_now() + 15000000000ull; khd.pages->unnoted; pass())
		assert_true(khd_now() < end);
	khd.pages->disk->ops = good_ops;
	end = khd_now() + 15000000000ull;
	finish();
	assert_true(khd_now() < end);

	not_served("0 "); /* the disk has the mark, and the state directory its note */
	not_served("0 ");
	found_whole();
	served_again();
	/* now the note alone, as when the disk took no mark */
	assert_int_equal(khd_state_note(khd.state, "store-failed", "1 of a test"), 0);
	finish();
	not_served("1 ");
	found_whole();
	served_again();
	/* it was not known how often: one check is enough, at once or after another start */
	assert_int_equal(khd_state_note(khd.state, "store-failed", "- of a test"), 0);
	finish();
	found_whole();
	served_again();
	assert_int_equal(khd_state_note(khd.state, "store-failed", "- of a test"), 0);
	finish();
	not_served("- ");
	found_whole();
	served_again();
	/* a state directory of a khd that did not note it: the first start does */
	assert_int_equal(khd_state_note(khd.state, "store-failed", "- of a test"), 0);
	assert_int_equal(khd_state_forget(khd.state, "store-checks"), 0);
	finish();
	not_served("4 ");
	found_whole();
	served_again();
	finish();
}

/* As when its directory was copied to another disk; that one is not to blame. */
static void a_store_for_smaller_sectors(void **state)
{
	char line[128];
	uint64_t safe;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	if (khd.pages->disk->sector != 512) {
		finish();
		skip();
	}
	reserve(100, 12);
	settle();
	safe = put(0, 12, 1, 1);
	settle();
	assert_int_equal(ends[safe].error, 0);
	finish();
	fake_sector = 4096;
	begin(8 << 20, false);
	assert_non_null(khd.pages);
	if (khd.pages->disk->sector != 4096) { /* no O_DIRECT in /tmp */
		finish();
		fake_sector = 0;
		skip();
	}
	assert_null(khd.pages->store);
	assert_non_null(strstr(khd.pages->reason, "smaller sectors than this disk's"));
	assert_non_null(strstr(event, "sectors of 512 bytes"));
	assert_int_equal(khd_state_noted(khd.state, "store-failed", line, sizeof(line)), -ENOENT);
	finish();
	fake_sector = 0;
	served_again();
	finish();
}

/* The index's memory runs short, in the thread of its jobs. */
struct khd_index;
struct khd_row;
int __real_khd_index_find(struct khd_index *index, struct khd_row *row);
int __wrap_khd_index_find(struct khd_index *index, struct khd_row *row);
static _Atomic unsigned int finds_lacking;

int __wrap_khd_index_find(struct khd_index *index, struct khd_row *row)
{
	if (!finds_lacking)
		return __real_khd_index_find(index, row);
	finds_lacking--;
	return -ENOMEM;
}

/* Who reads shall come again: nothing is wrong with what is stored. */
static void who_reads_waits_for_memory(void **state)
{
	uint64_t id;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	reserve(16, 12);
	settle();
	put(5, 12, 7, 0x77);
	settle();
	finish();

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	finds_lacking = 1;
	id = give(cmd(KH_STORE_LOOK, 5, 12));
	settle();
	assert_int_equal(ends[id].error, EAGAIN);
	finds_lacking = 1;
	id = give(cmd(KH_STORE_GET, 5, 12));
	settle();
	assert_int_equal(ends[id].error, EAGAIN);
	id = give(cmd(KH_STORE_LOOK, 5, 12));
	settle();
	assert_true(!ends[id].error && ends[id].version == 7);
	disk_fails(khd.pages->disk, KHD_DISK_READ, ENOMEM);
	id = give(cmd(KH_STORE_GET, 5, 12));
	settle();
	assert_int_equal(ends[id].error, EAGAIN);
	khd.pages->disk->ops = good_ops;
	id = give(cmd(KH_STORE_GET, 5, 12));
	settle();
	assert_true(!ends[id].error && ends[id].version == 7 && ends[id].first == 0x77);
	assert_int_equal(khd_arena_used(khd.pages->arena), 0);
	finish();
}

static int resize_lacking(struct khd_disk *disk, enum khd_disk_file file, uint64_t size)
{
	return -ENOMEM;
}

/* Want of memory is told as what it is: it is not the disk that is full, nor failed. */
static void a_reservation_is_told_what_is_wanting(void **state)
{
	const struct khd_disk_ops *ops;
	struct khd_disk_ops lacking;
	uint64_t id;

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	ops = khd.pages->disk->ops;
	lacking = *ops;
	lacking.resize = resize_lacking;
	khd.pages->disk->ops = &lacking;
	id = reserve(4096, 12);
	settle();
	assert_int_equal(ends[id].error, ENOMEM);
	khd.pages->disk->ops = ops;
	id = reserve(4096, 12);
	settle();
	assert_int_equal(ends[id].error, 0);
	assert_int_equal(khd.pages->reason[0], 0);
	finish();
}

static void a_store_that_is_not_ours(void **state)
{
	char path[128], other[128];

	begin(8 << 20, false);
	assert_non_null(khd.pages);
	finish();
	/* nothing is mounted there */
	snprintf(path, sizeof(path), "%s/store", dir);
	snprintf(other, sizeof(other), "%s/away", dir);
	assert_int_equal(rename(path, other), 0);
	begin(8 << 20, false);
	assert_null(khd.pages);
	khd_loop_destroy(khd.loop);
	khd_state_close(khd.state);
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	assert_int_equal(rename(other, path), 0);
	begin(8 << 20, false);
	assert_non_null(khd.pages);
	finish();
	/* the state is gone */
	snprintf(path, sizeof(path), "%s/state/store", dir);
	assert_int_equal(unlink(path), 0);
	begin(8 << 20, false);
	assert_null(khd.pages);
	khd_loop_destroy(khd.loop);
	khd_state_close(khd.state);
}

/* ------------------------------------------------------------ the arena */

#define BLOCKS 400

static void blocks_never_overlap(void **state)
{
	struct khd_arena *arena = khd_arena_new(16 << 20);
	struct {
		uint8_t *at;
		size_t len;
		uint8_t fill;
	} blocks[BLOCKS] = { 0 };
	unsigned int seed = 1, i, full = 0;
	size_t j;

	assert_non_null(arena);
	for (int step = 0; step < 20000; step++) {
		i = rand_r(&seed) % BLOCKS;
		if (blocks[i].at) {
			for (j = 0; j < blocks[i].len; j += 509)
				assert_int_equal(blocks[i].at[j], blocks[i].fill);
			khd_arena_put(arena, blocks[i].at);
			blocks[i].at = NULL;
			continue;
		}
		blocks[i].len = (size_t)1 << (9 + rand_r(&seed) % 13);
		blocks[i].fill = step;
		blocks[i].at = khd_arena_get(arena, blocks[i].len);
		full += !blocks[i].at;
		if (!blocks[i].at)
			continue;
		assert_int_equal((uintptr_t)blocks[i].at % KHD_DISK_ALIGN, 0);
		memset(blocks[i].at, blocks[i].fill, blocks[i].len);
	}
	assert_true(full > 0 && full < 19000);
	for (i = 0; i < BLOCKS; i++)
		khd_arena_put(arena, blocks[i].at);
	assert_int_equal(khd_arena_used(arena), 0);
	/* It is whole again. */
	for (i = 0; i < 8; i++)
		assert_non_null(khd_arena_get(arena, KHD_ARENA_BLOCK_MAX));
	assert_null(khd_arena_get(arena, 1));
	assert_null(khd_arena_get(arena, KHD_ARENA_BLOCK_MAX + 1));
	khd_arena_free(arena);
}

int main(void)
{
#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_never_overlap),
		ON_DISK(a_unit_comes_back_by_uring),
		ON_DISK(a_unit_comes_back_by_poll),
		ON_DISK(what_waits_is_bounded),
		ON_DISK(a_large_get_has_its_turn),
		ON_DISK(too_many_commands_are_refused),
		ON_DISK(every_size_of_unit),
		ON_DISK(stopping_in_the_middle),
		ON_DISK(a_failed_flush_ends_service),
		ON_DISK(a_store_for_smaller_sectors),
		ON_DISK(who_reads_waits_for_memory),
		ON_DISK(a_reservation_is_told_what_is_wanting),
		ON_DISK(a_store_that_is_not_ours),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
