// SPDX-License-Identifier: GPL-2.0-or-later
/* want_test.c - want of memory, or of room for the index, is no damage of the disk */
#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/store/fixture.h"

/* ---------------------------------------------------------------- what is wanting */

/* Of SQLite's allocations, and of the store's: the first that fails (0: none), and how many do. */
struct shortage {
	uint64_t at, count, met;
};
static struct shortage sqlite, own, clearing;
#define CLEARING 65536u /* bytes of zeros, of which a segment is filled */

static bool fails(struct shortage *s)
{
	if (!s->at || --s->at)
		return false;
	if (--s->count)
		s->at = 1;
	s->met++;
	return true;
}

static sqlite3_mem_methods heap, short_heap;

static void *short_malloc(int bytes)
{
	return fails(&sqlite) ? NULL : heap.xMalloc(bytes);
}

static void *short_realloc(void *old, int bytes)
{
	return fails(&sqlite) ? NULL : heap.xRealloc(old, bytes);
}

static int count_allocations(void **state)
{
	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &heap) != SQLITE_OK)
		return -1;
	short_heap = heap;
	short_heap.xMalloc = short_malloc;
	short_heap.xRealloc = short_realloc;
	return sqlite3_config(SQLITE_CONFIG_MALLOC, &short_heap) ||
	       sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
}

bool __real_khd_grow(void *at, size_t count, size_t *capacity, size_t size);
bool __wrap_khd_grow(void *at, size_t count, size_t *capacity, size_t size);
void *__real_khd_push_item(void *at, size_t *count, size_t *capacity, size_t size);
void *__wrap_khd_push_item(void *at, size_t *count, size_t *capacity, size_t size);
void *__real_khd_buffer(size_t bytes);
void *__wrap_khd_buffer(size_t bytes);

bool __wrap_khd_grow(void *at, size_t count, size_t *capacity, size_t size)
{
	return (count <= *capacity || !fails(&own)) && __real_khd_grow(at, count, capacity, size);
}

void *__wrap_khd_push_item(void *at, size_t *count, size_t *capacity, size_t size)
{
	return *count == *capacity && fails(&own) ? NULL :
						    __real_khd_push_item(at, count, capacity, size);
}

void *__wrap_khd_buffer(size_t bytes)
{
	if (bytes == CLEARING && fails(&clearing))
		return NULL;
	return fails(&own) ? NULL : __real_khd_buffer(bytes);
}

/* SQLite's memory runs short in a look-up, while a checkpoint has a transaction. */
struct khd_index;
struct khd_row;
int __real_khd_index_find(struct khd_index *index, struct khd_row *row);
int __wrap_khd_index_find(struct khd_index *index, struct khd_row *row);
int __real_khd_index_begin(struct khd_index *index);
int __wrap_khd_index_begin(struct khd_index *index);
int __real_khd_index_commit(struct khd_index *index);
int __wrap_khd_index_commit(struct khd_index *index);
int __real_khd_index_tidy(struct khd_index *index);
int __wrap_khd_index_tidy(struct khd_index *index);
static bool in_transaction;
static struct shortage find, tidy;
static struct khd_disk *disk_of_index; /* NULL: nobody looks */
static unsigned int begun, begun_untidy; /* transactions, and those behind another one in the log */

/* Is there something in SQLite's log?  It is emptied by its header. */
static bool untidy(struct khd_disk *disk)
{
	uint8_t head[32] = { 0 };
	size_t i;

	assert_true(disk->ops->read(disk, KHD_FILE_WAL, 0, head, sizeof(head)) >= 0);
	for (i = 0; i < sizeof(head) && !head[i]; i++)
		;
	return i < sizeof(head);
}

int __wrap_khd_index_begin(struct khd_index *index)
{
	in_transaction = true;
	if (disk_of_index) {
		begun++;
		begun_untidy += untidy(disk_of_index);
	}
	return __real_khd_index_begin(index);
}

int __wrap_khd_index_tidy(struct khd_index *index)
{
	return fails(&tidy) ? -ENOMEM : __real_khd_index_tidy(index);
}

int __wrap_khd_index_commit(struct khd_index *index)
{
	in_transaction = false;
	return __real_khd_index_commit(index);
}

int __wrap_khd_index_find(struct khd_index *index, struct khd_row *row)
{
	if (in_transaction && fails(&find))
		sqlite = (struct shortage){ 1, 1, 0 };
	return __real_khd_index_find(index, row);
}

static void runs_short(struct shortage *s, uint64_t at, uint64_t count)
{
	*s = (struct shortage){ at, count, 0 };
}

/* A file system that has no block left for the index; the slot file has its own. */
static struct shortage blocks;
static const struct khd_disk_ops *good;
static struct khd_disk_ops full;

static int64_t write_full(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset,
			  const void *buf, size_t bytes)
{
	return file != KHD_FILE_SLOTS && fails(&blocks) ?
		       -ENOSPC :
		       good->write(disk, file, offset, buf, bytes);
}

static void may_be_full(struct fixture *f)
{
	good = f->sim->base.ops;
	full = *good;
	full.write = write_full;
	f->sim->base.ops = &full;
}

/* A kernel that has no memory for every third asynchronous read, or for all of them. */
struct lacking_read {
	struct khd_job job;
	struct khd_disk_io *io;
};
static uint64_t reads, reads_lacking;
static unsigned int read_fails_each; /* 0: none does */

static void lacking_run(struct khd_job *job)
{
}

static void lacking_done(struct khd_job *job)
{
	struct khd_disk_io *io = ((struct lacking_read *)job)->io;

	free(job);
	io->done(io, -ENOMEM);
}

static void submit_lacking(struct khd_disk *disk, struct khd_disk_io *io)
{
	struct lacking_read *lacking;

	if (io->op != KHD_DISK_READ || !read_fails_each || ++reads % read_fails_each) {
		good->submit(disk, io);
		return;
	}
	reads_lacking++;
	lacking = calloc(1, sizeof(*lacking));
	assert_non_null(lacking);
	*lacking = (struct lacking_read){ { lacking_run, lacking_done, NULL }, io };
	disk->ops->job(disk, &lacking->job);
}

static void reads_may_lack(struct fixture *f, unsigned int each)
{
	good = f->sim->base.ops;
	full = *good;
	full.submit = submit_lacking;
	f->sim->base.ops = &full;
	reads = reads_lacking = 0;
	read_fails_each = each;
}

/* ---------------------------------------------------------------- the workload */

#define UNITS 700u /* more than two jobs of a checkpoint */
#define OLD 300u /* of them only the index knows */

static const struct khd_store_stats *stats_of(struct fixture *f)
{
	static struct khd_store_stats stats;

	khd_store_stats(f->store, &stats);
	return &stats;
}

/* Units that are in the index only, others that are in the log only, a released range. */
static void prepare(struct fixture *f, struct khd_range *r, struct khd_range *gone)
{
	unsigned int i;

	*r = range_of(0, UNITS, 9, 1);
	*gone = range_of(1 << 20, 64, 9, 2);
	assert_int_equal(reserve(f, r), 0);
	assert_int_equal(reserve(f, gone), 0);
	for (i = 0; i < OLD; i++)
		assert_int_equal(put(f, r, i, 1), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(put(f, gone, i, 1), 0);
	reopen(f);
	for (i = OLD; i < UNITS; i++)
		assert_int_equal(put(f, r, i, 1), 0);
	assert_int_equal(release(f, gone), 0);
}

/* Ticks with look-ups between, as long as a checkpoint takes. */
static void checkpoint(struct fixture *f, const struct khd_range *r, unsigned int unit)
{
	unsigned int i, j;

	for (i = 0; i < 36; i++) {
		f->now += 1000000000;
		khd_store_tick(f->store, f->now);
		for (j = 0; j < 8; j++) {
			int64_t version = get(f, r, (unit + 8 * i + j) % OLD);

			assert_true(version == 1 || version == -ENOMEM ||
				    (version == -EIO && stats_of(f)->error == ENOMEM));
		}
		settle(f);
	}
}

/* The store is whole, and has everything, whatever the power left of it. */
static void has_all(struct fixture *f, const struct khd_range *r, enum disk_crash how)
{
	unsigned int i;

	power_cut(f, how);
	damages = 0;
	assert_int_equal(khd_store_check(&f->sim->base, found, f), 0);
	assert_int_equal(open_store(f), 0);
	for (i = 0; i < UNITS; i++)
		assert_int_equal(get(f, r, i), 1);
}

static int nothing_wanting(void **state)
{
	memset(&sqlite, 0, sizeof(sqlite));
	own = clearing = blocks = find = tidy = sqlite;
	in_transaction = false;
	disk_of_index = NULL;
	begun = begun_untidy = 0;
	return 0;
}

/*
 * @s runs short once, or twice, at the @nth time; true if it did.  @ended counts those after which
 * the store was out of service: the log has no other way.
 */
static bool lives_on(void **state, struct shortage *s, unsigned int nth, unsigned int *ended)
{
	struct khd_range r, gone;
	struct fixture *f;
	uint64_t done;
	bool met;

	assert_int_equal(setup(state), 0);
	f = *state;
	prepare(f, &r, &gone);
	may_be_full(f);
	disk_of_index = &f->sim->base;
	done = stats_of(f)->checkpoints;
	runs_short(s, nth, 1 + nth % 2);
	checkpoint(f, &r, nth);
	met = s->met;
	runs_short(s, 0, 0);
	tick(f, 4);
	disk_of_index = NULL;
	assert_int_equal(begun_untidy, 0);
	if (stats_of(f)->error && ended) {
		assert_int_equal(stats_of(f)->error, ENOMEM);
		assert_non_null(strstr(f->event, "redo log"));
		(*ended)++;
	} else {
		assert_int_equal(stats_of(f)->error, 0);
		assert_true(stats_of(f)->checkpoints > done);
		assert_int_equal(reserve(f, &gone), 0);
	}
	f->sim->base.ops = good;
	has_all(f, &r, nth % 2 ? DISK_LOST : DISK_ALL);
	assert_int_equal(teardown(state), 0);
	return met;
}

static void a_checkpoint_waits_for_sqlites_memory(void **state)
{
	unsigned int nth, most = 0;

	for (nth = 1; lives_on(state, &sqlite, nth, NULL); nth += 1 + nth / 8)
		most = nth;
	assert_true(most > 20);
}

/* SQLite undoes the transaction then, and nothing that follows may be stored by itself. */
static void a_lookup_undoes_no_half_of_a_checkpoint(void **state)
{
	unsigned int nth, most = 0;

	for (nth = 1; lives_on(state, &find, nth, NULL); nth++)
		most = nth;
	assert_true(most > 0);
}

static void a_checkpoint_waits_for_its_own_memory(void **state)
{
	unsigned int nth, most = 0, ended = 0;

	for (nth = 1; lives_on(state, &own, nth, &ended); nth++)
		most = nth;
	assert_true(most > 5 && ended < most / 2);
}

static void a_checkpoint_waits_for_room(void **state)
{
	unsigned int nth, most = 0;

	for (nth = 1; lives_on(state, &blocks, nth, NULL); nth += 1 + nth / 4)
		most = nth;
	assert_true(most > 10);
}

/*
 * SQLite's log, which has room for one transaction, is not emptied behind one: the next begins when
 * it was, and until then nobody hears that there is memory again.
 */
static void no_transaction_goes_behind_another(void **state)
{
	struct khd_range r, gone;
	struct fixture *f;
	uint64_t done;

	assert_int_equal(setup(state), 0);
	f = *state;
	prepare(f, &r, &gone);
	tick(f, 33); /* the first one empties it in any case */
	assert_int_equal(put(f, &r, 0, 1), 0);
	done = stats_of(f)->checkpoints;
	disk_of_index = &f->sim->base;
	runs_short(&tidy, 1, UINT64_MAX);
	tick(f, 33);
	assert_int_equal(stats_of(f)->checkpoints, done + 1); /* it moves the redo log's tail */
	assert_true(tidy.met);
	assert_int_equal(begun, 1);
	assert_int_equal(put(f, &r, 1, 1), 0);
	tick(f, 60);
	assert_true(tidy.met > 30); /* tried again each second */
	assert_int_equal(begun, 1);
	assert_int_equal(stats_of(f)->error, 0);
	assert_non_null(strstr(f->event, "no memory"));
	assert_int_equal(put(f, &r, 2, 1), 0);
	runs_short(&tidy, 0, 0);
	tick(f, 3);
	assert_true(stats_of(f)->checkpoints > done + 1 && begun > 1);
	assert_int_equal(begun_untidy, 0);
	assert_non_null(strstr(f->event, "there is memory again"));
	assert_false(untidy(&f->sim->base));
	disk_of_index = NULL;
	has_all(f, &r, DISK_ALL);
	assert_int_equal(teardown(state), 0);
}

/* It is emptied although nobody changes anything. */
static void an_idle_store_becomes_tidy(void **state)
{
	struct khd_range r, gone;
	struct fixture *f;
	unsigned int i;

	assert_int_equal(setup(state), 0);
	f = *state;
	prepare(f, &r, &gone);
	tick(f, 33);
	assert_int_equal(put(f, &r, 0, 1), 0);
	disk_of_index = &f->sim->base;
	runs_short(&tidy, 1, 1);
	for (i = 0; i < 60 && !tidy.met; i++)
		tick(f, 1);
	assert_int_equal(tidy.met, 1);
	assert_true(untidy(&f->sim->base));
	tick(f, 2);
	disk_of_index = NULL;
	assert_int_equal(begun_untidy, 0);
	assert_non_null(strstr(f->event, "there is memory again"));
	assert_false(untidy(&f->sim->base));
	has_all(f, &r, DISK_ALL);
	assert_int_equal(teardown(state), 0);
}

/* Puts go on until the log is full; then the store ends, and the disk is not blamed. */
static void ends(void **state, struct shortage *s, int error)
{
	struct khd_range r, gone;
	struct fixture *f;
	unsigned int i, served = 0;

	assert_int_equal(setup(state), 0);
	f = *state;
	prepare(f, &r, &gone);
	may_be_full(f);
	runs_short(s, 1, UINT64_MAX);
	tick(f, 60); /* in vain, and nobody waits */
	assert_true(s->met > 10);
	assert_int_equal(stats_of(f)->error, 0);
	assert_non_null(
		strstr(f->event, error == ENOSPC ? "has no room for the index" : "no memory"));
	for (i = 0; i < 100000 && !put(f, &r, OLD + i % (UNITS - OLD), 1); i++)
		served++;
	assert_true(served > 100 && i < 100000);
	assert_int_equal(stats_of(f)->error, error);
	assert_non_null(strstr(f->event, "out of service: no "));
	runs_short(s, 0, 0);
	f->sim->base.ops = good;
	has_all(f, &r, DISK_ALL);
	assert_int_equal(teardown(state), 0);
}

static void a_full_log_ends_the_wait(void **state)
{
	ends(state, &sqlite, ENOMEM);
	ends(state, &blocks, ENOSPC);
}

/* Stopped while it waits, or closed: as after a crash. */
static void a_store_that_waits_stops(void **state)
{
	struct khd_range r, gone;
	struct fixture *f;

	assert_int_equal(setup(state), 0);
	f = *state;
	prepare(f, &r, &gone);
	may_be_full(f);
	runs_short(&blocks, 1, UINT64_MAX);
	tick(f, 40);
	assert_true(blocks.met);
	assert_int_equal(stop(f), EIO);
	assert_int_equal(stats_of(f)->error, ENOSPC);
	runs_short(&blocks, 0, 0);
	f->sim->base.ops = good;
	has_all(f, &r, DISK_ALL);
	assert_int_equal(teardown(state), 0);
}

/* What lacks behind a commit holds up nothing: whoever stops just then has a clean store. */
static void a_want_that_holds_up_nothing_is_stopped(void **state)
{
	struct wait stopping = { .op.done = waited };
	struct khd_range r, gone;
	struct fixture *f;

	assert_int_equal(setup(state), 0);
	f = *state;
	prepare(f, &r, &gone);
	runs_short(&tidy, 1, 1);
	f->now += 31000000000;
	khd_store_tick(f->store, f->now);
	f->now += 31000000000;
	khd_store_tick(f->store, f->now);
	while (!tidy.met)
		assert_true(disk_sim_step(f->sim));
	khd_store_stop(f->store, &stopping.op);
	assert_int_equal(finish(f, &stopping), 0);
	assert_int_equal(stats_of(f)->error, 0);
	khd_store_close(f->store);
	assert_int_equal(open_store(f), 0);
	assert_int_equal(f->recovery.replayed, 0);
	has_all(f, &r, DISK_LOST);
	assert_int_equal(teardown(state), 0);
}

/* ---------------------------------------------------------------- reservations */

/*
 * All room is promised, then some given up: after the next checkpoint there is room, and that one
 * waits for @s.
 */
static struct fixture *no_room_yet(void **state, struct shortage *s)
{
	struct khd_range first = range_of(0, 64, 12, 1), most = range_of(1ull << 32, 64, 12, 2), r;
	struct fixture *f;
	unsigned int i;

	nothing_wanting(state);
	assert_int_equal(setup(state), 0);
	f = *state;
	assert_int_equal(reserve(f, &first), 0);
	assert_int_equal(reserve(f, &most), 0);
	for (i = 0, r = most; !reserve(f, &r); i++) {
		unsigned int j;

		for (j = 0; j < 64; j++) /* so that segments are held for it */
			assert_int_equal(put(f, &r, j, 1), 0);
		r.start.lo += 64 << 12;
		r.generation++;
	}
	assert_true(i > 10);
	reopen(f);
	may_be_full(f);
	assert_int_equal(put(f, &first, 0, 1), 0);
	runs_short(s, 1, UINT64_MAX);
	for (i = 0; i < 60 && !s->met; i++)
		tick(f, 1);
	assert_true(s->met);
	for (i = 0; i < 10; i++, most.start.lo += 64 << 12, most.generation++)
		assert_int_equal(release(f, &most), 0);
	return f;
}

static void begin_reserve(struct fixture *f, struct wait *w, uint64_t units)
{
	struct khd_range r = range_of(1ull << 40, units, 9, 90);

	*w = (struct wait){ .op.done = waited };
	khd_store_reserve(f->store, &w->op, &r);
	settle(f);
}

static void a_reservation_waits_for_the_want(void **state)
{
	struct shortage *const wanting[] = { &sqlite, &blocks };
	struct fixture *f;
	struct wait w, other;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		f = no_room_yet(state, wanting[i]);
		begin_reserve(f, &w, 2000);
		tick(f, 5);
		assert_false(w.done);
		begin_reserve(f, &other, 64000); /* for this there will be no room either */
		assert_true(other.done);
		assert_int_equal(other.error, ENOSPC);
		runs_short(wanting[i], 0, 0);
		tick(f, 4);
		assert_true(w.done);
		assert_int_equal(w.error, 0);
		assert_int_equal(stats_of(f)->error, 0);
		f->sim->base.ops = good;
		assert_int_equal(teardown(state), 0);
	}
}

/* Its home, which waits for ten seconds, hears what was wanting; the store serves on. */
static void the_wait_of_a_reservation_ends(void **state)
{
	struct shortage *const wanting[] = { &sqlite, &blocks };
	static const int error[] = { ENOMEM, ENOSPC };
	struct fixture *f;
	struct wait w;
	unsigned int i;
	uint64_t begun_at;

	for (i = 0; i < 2; i++) {
		f = no_room_yet(state, wanting[i]);
		begin_reserve(f, &w, 2000);
		for (begun_at = f->now; !w.done && f->now < begun_at + 20000000000ull;)
			tick(f, 1);
		assert_true(w.done);
		assert_int_equal(w.error, error[i]);
		assert_in_range(f->now - begun_at, 5000000000, 9000000000);
		tick(f, 30);
		assert_int_equal(stats_of(f)->error, 0);
		runs_short(wanting[i], 0, 0);
		tick(f, 4);
		begin_reserve(f, &w, 2000);
		assert_int_equal(finish(f, &w), 0);
		f->sim->base.ops = good;
		assert_int_equal(teardown(state), 0);
	}
}

/* Whoever stops does not wait for it. */
static void a_reservation_that_waits_is_stopped(void **state)
{
	struct fixture *f = no_room_yet(state, &sqlite);
	struct wait w, stopping = { .op.done = waited };

	begin_reserve(f, &w, 2000);
	tick(f, 2);
	assert_false(w.done);
	khd_store_stop(f->store, &stopping.op);
	settle(f);
	assert_true(w.done && stopping.done);
	assert_int_equal(w.error, ENOMEM);
	f->sim->base.ops = good;
	assert_int_equal(teardown(state), 0);
}

/* The first job from now on is held: what runs it takes long. */
static struct khd_job *slow_job;
static void job_slowly(struct khd_disk *disk, struct khd_job *job)
{
	if (slow_job)
		good->job(disk, job);
	else
		slow_job = job;
}

/* The file grows, slowly, while a checkpoint waits for memory: who waits for that has enough. */
static void behind_a_growth_nobody_waits_for_memory(void **state)
{
	struct khd_range one = range_of(0, 8, 12, 1), next = range_of(1ull << 33, 64, 12, 2);
	struct wait w, behind = { .op.done = waited };
	struct fixture *f;

	assert_int_equal(setup(state), 0);
	f = *state;
	assert_int_equal(reserve(f, &one), 0);
	assert_int_equal(put(f, &one, 0, 1), 0);
	runs_short(&sqlite, 1, UINT64_MAX);
	tick(f, 35);
	assert_true(sqlite.met);
	good = f->sim->base.ops;
	full = *good;
	full.job = job_slowly;
	slow_job = NULL;
	f->sim->base.ops = &full;
	begin_reserve(f, &w, 4000);
	assert_non_null(slow_job);
	khd_store_reserve(f->store, &behind.op, &next);
	tick(f, 30);
	assert_int_equal(stats_of(f)->error, 0);
	assert_false(w.done || behind.done);
	f->sim->base.ops = good;
	good->job(&f->sim->base, slow_job);
	assert_int_equal(finish(f, &w), 0);
	assert_int_equal(finish(f, &behind), 0);
	runs_short(&sqlite, 0, 0);
	tick(f, 3);
	assert_int_equal(teardown(state), 0);
}

/* A segment that cannot be filled is not taken: the call that wanted it ends, and no other. */
static void a_segment_that_cannot_be_cleared_is_not_taken(void **state)
{
	struct khd_range r = range_of(0, 100, 12, 1);
	struct fixture *f;

	assert_int_equal(setup(state), 0);
	f = *state;
	runs_short(&clearing, 1, 1);
	assert_int_equal(reserve(f, &r), ENOMEM);
	assert_int_equal(clearing.met, 1);
	assert_int_equal(stats_of(f)->error, 0);
	assert_int_equal(reserve(f, &r), 0);
	reopen(f); /* whether its segment was filled is not known any more */
	runs_short(&clearing, 1, 1);
	assert_int_equal(put(f, &r, 0, 1), ENOMEM);
	assert_int_equal(clearing.met, 1);
	assert_int_equal(stats_of(f)->error, 0);
	assert_int_equal(put(f, &r, 0, 1), 0);
	assert_int_equal(crash(f, DISK_LOST), 0);
	assert_int_equal(get(f, &r, 0), 1);
	assert_int_equal(teardown(state), 0);
}

/* ---------------------------------------------------------------- releases */

/* Whatever of it has no memory: it ends, once, and whoever stops then does not wait for it. */
static void a_release_without_memory_ends(void **state)
{
	struct khd_range r = range_of(0, 64, 9, 1);
	unsigned int nth, ended = 0;
	struct fixture *f;
	bool met = true;
	int error;

	for (nth = 1; met; nth++) {
		assert_int_equal(setup(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		runs_short(&own, nth, 1);
		error = release(f, &r);
		met = own.met;
		runs_short(&own, 0, 0);
		assert_int_equal(error, stats_of(f)->error ? EIO : 0);
		ended += error != 0;
		assert_int_equal(stop(f), error);
		assert_int_equal(teardown(state), 0);
	}
	assert_true(ended > 1);
}

/* ---------------------------------------------------------------- reads */

static void park(struct fixture *f)
{
	const struct khd_tag tag = { { 1 } };
	void *buf = memory(4096);
	struct wait w = { .op = { .done = waited,
				  .key = { .addr = { 9, 0 }, .generation = 1, .shift = 12 },
				  .meta = { 1, 3 },
				  .iov = { buf, 4096 } } };

	khd_store_park(f->store, &w.op, &tag);
	assert_int_equal(finish(f, &w), 0);
	free(buf);
}

static int parked_get(struct fixture *f)
{
	void *buf = memory(4096);
	struct wait w = { .op = { .done = waited, .iov = { buf, 4096 } } };
	struct khd_parked found;
	int error;

	khd_store_parked_get(f->store, &w.op, 0, &found);
	error = finish(f, &w);
	free(buf);
	return error;
}

/* It is told who reads, and nobody else hears of it; what reads by itself tries again. */
static void a_read_without_memory_is_no_failure(void **state)
{
	struct khd_range low = range_of(0, 500, 12, 1), high = range_of(1ull << 32, 500, 12, 2);
	struct fixture *f;
	uint64_t i;

	assert_int_equal(setup(state), 0);
	f = *state;
	assert_int_equal(reserve(f, &low), 0);
	assert_int_equal(reserve(f, &high), 0);
	park(f); /* into the first segment, which stays */
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &low, i, 1), 0);
	for (i = 0; i < 500; i++)
		assert_int_equal(put(f, &high, i, 1), 0);
	tick(f, 40);

	reads_may_lack(f, 1);
	assert_int_equal(get(f, &high, 3), -ENOMEM);
	assert_int_equal(parked_get(f), ENOMEM);
	read_fails_each = 0;
	assert_int_equal(get(f, &high, 3), 1);
	assert_int_equal(parked_get(f), 0);
	assert_int_equal(stats_of(f)->error, 0);

	read_fails_each = 3;
	khd_store_scrub(f->store, 64 << 20);
	tick(f, 1200);
	assert_non_null(strstr(f->event, "1001 units verified, 0 damaged"));
	assert_int_equal(stats_of(f)->damaged, 0);
	assert_true(reads_lacking > 300);

	assert_int_equal(release(f, &low), 0); /* compaction moves the others */
	tick(f, 2);
	assert_int_equal(resize(f, 4 << 20), 0);
	tick(f, 600);
	assert_true(good->size(&f->sim->base, KHD_FILE_SLOTS) <= 4 << 20);
	assert_int_equal(stats_of(f)->error, 0);
	read_fails_each = 0;
	f->sim->base.ops = good;
	f->config.capacity = 0;
	reopen(f);
	for (i = 0; i < 500; i++)
		assert_int_equal(get(f, &high, i), 1);
	assert_int_equal(stats_of(f)->damaged, 0);
	assert_int_equal(teardown(state), 0);
}

/* ---------------------------------------------------------------- the disk after all */

static void want_does_not_hide_the_disk(void **state)
{
	struct khd_range r = range_of(0, 8, 12, 1);
	unsigned int with;

	for (with = 0; with < 2; with++) {
		void *buf = memory(4096);
		struct wait w;
		struct fixture *f;

		assert_int_equal(setup(state), 0);
		f = *state;
		assert_int_equal(reserve(f, &r), 0);
		assert_int_equal(put(f, &r, 0, 1), 0);
		runs_short(&own, 2,
			   1); /* not the unit's block, which is on its way, but the log's */
		begin_put(f, &w, &r, 0, 2, buf, KHD_STORE_SYNC);
		assert_int_equal(own.met, 1);
		assert_int_equal(stats_of(f)->error, ENOMEM);
		if (with)
			disk_sim_fail(f->sim, DISK_EIO_WRITE, 1, 1);
		assert_int_equal(finish(f, &w), EIO);
		settle(f);
		assert_int_equal(stats_of(f)->error, with ? EIO : ENOMEM);
		assert_int_equal(crash(f, DISK_ALL), with ? EUCLEAN : 0);
		assert_int_equal(teardown(state), 0);
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_checkpoint_waits_for_sqlites_memory, nothing_wanting),
		cmocka_unit_test_setup(a_lookup_undoes_no_half_of_a_checkpoint, nothing_wanting),
		cmocka_unit_test_setup(a_checkpoint_waits_for_its_own_memory, nothing_wanting),
		cmocka_unit_test_setup(a_checkpoint_waits_for_room, nothing_wanting),
		cmocka_unit_test_setup(no_transaction_goes_behind_another, nothing_wanting),
		cmocka_unit_test_setup(an_idle_store_becomes_tidy, nothing_wanting),
		cmocka_unit_test_setup(a_full_log_ends_the_wait, nothing_wanting),
		cmocka_unit_test_setup(a_store_that_waits_stops, nothing_wanting),
		cmocka_unit_test_setup(a_want_that_holds_up_nothing_is_stopped, nothing_wanting),
		cmocka_unit_test_setup(a_reservation_waits_for_the_want, nothing_wanting),
		cmocka_unit_test_setup(the_wait_of_a_reservation_ends, nothing_wanting),
		cmocka_unit_test_setup(a_reservation_that_waits_is_stopped, nothing_wanting),
		cmocka_unit_test_setup(behind_a_growth_nobody_waits_for_memory, nothing_wanting),
		cmocka_unit_test_setup(a_segment_that_cannot_be_cleared_is_not_taken,
				       nothing_wanting),
		cmocka_unit_test_setup(a_release_without_memory_ends, nothing_wanting),
		cmocka_unit_test_setup(a_read_without_memory_is_no_failure, nothing_wanting),
		cmocka_unit_test_setup(want_does_not_hide_the_disk, nothing_wanting),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, count_allocations, NULL);
}
