// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vfs_test.c - SQLite on a disk that crashes and rots
 *
 * Each transaction writes its number and a few rows; what the table is after each of them is
 * known.  After a crash it must be that of the last transaction that was committed, or of the
 * one under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/crc32c.h"
#include "khd/store/vfs.h"
#include "selftests/store/disk_sim.h"

#define ROWS 48
#define TRANSACTIONS 60
#define CACHE (1u << 20)

struct work {
	struct disk_sim *sim;
	struct rng rng;
	uint32_t rows[TRANSACTIONS + 2][ROWS]; /* after each transaction */
	unsigned int committed, begun;
	uint64_t crashes, nested, reports;
	unsigned int depth;
};

static void count_report(void *arg, enum khd_disk_file file, uint64_t offset, const char *what)
{
	++*(uint64_t *)arg;
}

static int run_sql(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* The number in the table, or -1 and the error of SQLite; 0 when there is no table yet. */
static int read_rows(sqlite3 *db, uint32_t *rows, int *error)
{
	sqlite3_stmt *stmt;
	int number = 0, ret;

	memset(rows, 0, ROWS * sizeof(*rows));
	*error = sqlite3_prepare_v2(db, "SELECT k, v, length(pad) FROM t", -1, &stmt, NULL);
	if (*error == SQLITE_ERROR) { /* no such table */
		*error = SQLITE_OK;
		return 0;
	}
	if (*error != SQLITE_OK)
		return -1;
	while ((ret = sqlite3_step(stmt)) == SQLITE_ROW) {
		int k = sqlite3_column_int(stmt, 0);
		uint32_t v = (uint32_t)sqlite3_column_int64(stmt, 1);

		if (k < 0)
			number = (int)v;
		else if (k < ROWS && sqlite3_column_int(stmt, 2) == 300)
			rows[k] = v;
	}
	sqlite3_finalize(stmt);
	*error = ret == SQLITE_DONE ? SQLITE_OK : ret;
	return ret == SQLITE_DONE ? number : -1;
}

static bool sound(sqlite3 *db)
{
	sqlite3_stmt *stmt;
	bool ok;

	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL) != SQLITE_OK)
		return false;
	ok = sqlite3_step(stmt) == SQLITE_ROW &&
	     !strcmp((const char *)sqlite3_column_text(stmt, 0), "ok");
	sqlite3_finalize(stmt);
	return ok;
}

static void crash(void *arg);

/* Open what a crash left, and compare. */
static void recover(struct work *w, enum disk_crash how, bool again)
{
	struct disk_sim *left = disk_sim_crash(w->sim, how, rng_next(&w->rng)), *outer = w->sim;
	uint32_t rows[ROWS];
	struct khd_vfs *vfs;
	sqlite3 *db;
	int n, error;

	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SAVE);
	/* what a checkpoint tore is whole in the log */
	assert_int_equal(khd_vfs_verify(&left->base, count_report, &w->reports), 0);
	vfs = khd_vfs_new(&left->base, count_report, &w->reports);
	w->sim = left;
	if (again) {
		left->point = crash;
		left->point_arg = w;
	}
	assert_int_equal(khd_vfs_open(vfs, CACHE, &db), SQLITE_OK);
	n = read_rows(db, rows, &error);
	assert_int_equal(error, SQLITE_OK);
	assert_in_range(n, w->committed, w->begun);
	assert_memory_equal(rows, w->rows[n], sizeof(rows));
	assert_true(sound(db));
	if (again)
		assert_int_equal(run_sql(db, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	khd_vfs_free(vfs);
	left->point = NULL;
	assert_int_equal(khd_vfs_verify(&left->base, count_report, &w->reports), 0);
	w->sim = outer;
	disk_sim_free(left);
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESTORE);
}

static void crash(void *arg)
{
	struct work *w = arg;

	if (w->depth) {
		w->nested++;
		recover(w, DISK_DRAWN, false);
		return;
	}
	w->depth++;
	w->crashes++;
	recover(w, DISK_LOST, false);
	recover(w, DISK_ALL, false);
	recover(w, DISK_DRAWN, rng_chance(&w->rng, 200));
	recover(w, DISK_DRAWN, false);
	w->depth--;
}

static void transaction(struct work *w, sqlite3 *db)
{
	unsigned int n = ++w->begun, i, writes = (unsigned int)rng_range(&w->rng, 1, 8);
	char sql[160];

	memcpy(w->rows[n], w->rows[n - 1], sizeof(w->rows[n]));
	assert_int_equal(run_sql(db, "BEGIN"), SQLITE_OK);
	if (n == 1)
		assert_int_equal(run_sql(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v, pad)"),
				 SQLITE_OK);
	for (i = 0; i < writes; i++) {
		unsigned int k = (unsigned int)rng_below(&w->rng, ROWS);

		w->rows[n][k] = rng_chance(&w->rng, 250) ? 0 : (uint32_t)rng_next(&w->rng);
		if (w->rows[n][k])
			snprintf(sql, sizeof(sql), "REPLACE INTO t VALUES(%u,%u,zeroblob(300))", k,
				 w->rows[n][k]);
		else
			snprintf(sql, sizeof(sql), "DELETE FROM t WHERE k=%u", k);
		assert_int_equal(run_sql(db, sql), SQLITE_OK);
	}
	snprintf(sql, sizeof(sql), "REPLACE INTO t VALUES(-1,%u,'')", n);
	assert_int_equal(run_sql(db, sql), SQLITE_OK);
	assert_int_equal(run_sql(db, "COMMIT"), SQLITE_OK);
	w->committed = n;
}

/* The whole life of a database, with @point called on the way. */
static void live(struct work *w, uint64_t seed, void (*point)(void *arg))
{
	struct khd_vfs *vfs;
	sqlite3 *db;

	memset(w, 0, sizeof(*w));
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)seed + 1, NULL);
	w->rng.state = seed;
	w->sim = disk_sim_new(seed);
	vfs = khd_vfs_new(&w->sim->base, count_report, &w->reports);
	assert_int_equal(khd_vfs_open(vfs, CACHE, &db), SQLITE_OK);
	w->sim->point = point;
	w->sim->point_arg = w;
	while (w->begun < TRANSACTIONS) {
		if (rng_chance(&w->rng, 100))
			assert_int_equal(run_sql(db, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
		if (rng_chance(&w->rng, 50)) {
			assert_int_equal(sqlite3_close(db), SQLITE_OK);
			assert_int_equal(khd_vfs_open(vfs, CACHE, &db), SQLITE_OK);
		}
		transaction(w, db);
	}
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	khd_vfs_free(vfs);
	w->sim->point = NULL;
	assert_null(w->sim->broken);
	assert_int_equal(w->reports, 0);
}

static void commits_survive_a_crash_at_every_write(void **state)
{
	static struct work w;
	uint64_t seed, crashes = 0, nested = 0;

	for (seed = 1; seed <= 3; seed++) {
		live(&w, seed, crash);
		crashes += 4 * w.crashes;
		nested += w.nested;
		disk_sim_free(w.sim);
	}
	print_message("# summary: SQLite recovered from %llu crashes and %llu during recovery\n",
		      (unsigned long long)crashes, (unsigned long long)nested);
	assert_true(crashes > 1000 && nested > 100);
}

static void the_same_seed_gives_the_same_trace(void **state)
{
	static struct work w;
	uint64_t trace[3];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		live(&w, i / 2 + 7, NULL);
		trace[i] = w.sim->trace;
		disk_sim_free(w.sim);
	}
	assert_true(trace[0] == trace[1]);
	assert_true(trace[0] != trace[2]);
}

/* The result of reading everything: 0 right, 1 noticed. Never wrong. */
static int read_rotten(struct work *w, struct disk_sim *sim)
{
	struct khd_vfs *vfs = khd_vfs_new(&sim->base, count_report, &w->reports);
	uint32_t rows[ROWS];
	int n = -1, error = SQLITE_OK;
	sqlite3 *db;

	if (khd_vfs_open(vfs, CACHE, &db) == SQLITE_OK) {
		n = read_rows(db, rows, &error);
		if (n >= 0) {
			assert_int_equal(n, w->committed);
			assert_memory_equal(rows, w->rows[n], sizeof(rows));
		}
		sqlite3_close(db);
	}
	khd_vfs_free(vfs);
	return n < 0;
}

/* The log is empty in a closed database; every sector of the index counts. */
static void a_flipped_bit_is_noticed(void **state)
{
	static struct work w;
	uint64_t at, noticed = 0, sectors;
	struct disk_sim *sim;

	live(&w, 11, NULL);
	sectors = w.sim->now[KHD_FILE_INDEX].size / KHD_SECTOR;
	assert_true(sectors > 32);
	for (at = 0; at < sectors; at++) {
		sim = disk_sim_crash(w.sim, DISK_ALL, 1);
		disk_sim_flip(sim, KHD_FILE_INDEX,
			      at * KHD_SECTOR * 8 + rng_below(&w.rng, KHD_SECTOR * 8));
		assert_int_equal(khd_vfs_verify(&sim->base, count_report, &w.reports), 1);
		w.reports = 0;
		if (read_rotten(&w, sim)) {
			noticed++;
			assert_true(w.reports > 0);
		}
		disk_sim_free(sim);
	}
	assert_true(noticed > sectors / 2);
	disk_sim_free(w.sim);
}

/* A bit rots in the database beside its log: it is damage, or nothing of it is seen, ever. */
static void rot(void *arg)
{
	struct work *w = arg;
	struct disk_sim *left;
	uint32_t rows[ROWS];
	struct khd_vfs *vfs;
	uint64_t size, reports = 0;
	sqlite3 *db;
	int n, error;

	if (!rng_chance(&w->rng, 200))
		return;
	left = disk_sim_crash(w->sim, DISK_DRAWN, rng_next(&w->rng));
	size = left->now[KHD_FILE_INDEX].size;
	disk_sim_flip(left, KHD_FILE_INDEX, rng_below(&w->rng, size * 8));
	w->crashes++;
	if (khd_vfs_verify(&left->base, count_report, &reports) == 0) {
		w->nested++;
		sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SAVE);
		vfs = khd_vfs_new(&left->base, count_report, &reports);
		assert_int_equal(khd_vfs_open(vfs, CACHE, &db), SQLITE_OK);
		n = read_rows(db, rows, &error);
		assert_in_range(n, w->committed, w->begun);
		assert_memory_equal(rows, w->rows[n], sizeof(rows));
		assert_true(sound(db));
		assert_int_equal(run_sql(db, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
		khd_vfs_free(vfs);
		assert_int_equal(khd_vfs_verify(&left->base, count_report, &reports), 0);
		assert_int_equal(reports, 0);
		sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESTORE);
	} else {
		assert_int_equal(reports, 1);
	}
	disk_sim_free(left);
}

static void what_the_log_has_is_no_damage(void **state)
{
	static struct work w;

	live(&w, 13, rot);
	print_message("# summary: %llu rotten pages, the log had %llu of them\n",
		      (unsigned long long)w.crashes, (unsigned long long)w.nested);
	assert_true(w.nested > 10 && w.crashes > w.nested + 10);
	disk_sim_free(w.sim);
}

static void a_page_in_anothers_place_is_noticed(void **state)
{
	static struct work w;
	uint8_t page[2][KHD_VFS_PAGE];
	struct disk_sim *sim;

	live(&w, 12, NULL);
	sim = disk_sim_crash(w.sim, DISK_ALL, 1);
	image_read(&sim->now[KHD_FILE_INDEX], KHD_VFS_PAGE, page[0], KHD_VFS_PAGE);
	image_read(&sim->now[KHD_FILE_INDEX], 2 * KHD_VFS_PAGE, page[1], KHD_VFS_PAGE);
	image_write(&sim->now[KHD_FILE_INDEX], KHD_VFS_PAGE, page[1], KHD_VFS_PAGE);
	image_write(&sim->now[KHD_FILE_INDEX], 2 * KHD_VFS_PAGE, page[0], KHD_VFS_PAGE);
	assert_int_equal(khd_vfs_verify(&sim->base, count_report, &w.reports), 2);
	assert_int_equal(read_rotten(&w, sim), 1);
	disk_sim_free(sim);
	disk_sim_free(w.sim);
}

static void errors_of_the_disk_are_results(void **state)
{
	static const struct {
		enum disk_fault fault;
		int code;
	} cases[] = {
		{ DISK_EIO_WRITE, SQLITE_IOERR },
		{ DISK_SHORT_WRITE, SQLITE_IOERR },
		{ DISK_ENOSPC, SQLITE_FULL },
		{ DISK_EIO_FLUSH, SQLITE_IOERR },
	};
	static struct work w;
	struct disk_sim *sim;
	struct khd_vfs *vfs;
	unsigned int i;
	sqlite3 *db;

	live(&w, 13, NULL);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sim = disk_sim_crash(w.sim, DISK_ALL, 1);
		vfs = khd_vfs_new(&sim->base, count_report, &w.reports);
		assert_int_equal(khd_vfs_open(vfs, CACHE, &db), SQLITE_OK);
		disk_sim_fail(sim, cases[i].fault, 1, 1);
		w.reports = 0;
		assert_int_equal(run_sql(db, "DELETE FROM t WHERE k > 3") & 0xff, cases[i].code);
		/* a full one is its caller's to report, who tries again */
		assert_int_equal(w.reports, cases[i].code != SQLITE_FULL);
		sim->dead = true;
		sqlite3_close(db);
		khd_vfs_free(vfs);
		disk_sim_free(sim);
	}
	sim = disk_sim_crash(w.sim, DISK_ALL, 1);
	vfs = khd_vfs_new(&sim->base, count_report, &w.reports);
	disk_sim_fail(sim, DISK_EIO_READ, 1, 1);
	assert_int_equal(khd_vfs_open(vfs, CACHE, &db) & 0xff, SQLITE_IOERR);
	assert_null(db);
	khd_vfs_free(vfs);
	disk_sim_free(sim);
	disk_sim_free(w.sim);
}

static void crc32c_is_castagnolis(void **state)
{
	uint8_t buf[1024];
	unsigned int i;

	for (i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(khd_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(khd_crc32c(0, buf, 32), 0x46dd794e); /* RFC 3720, B.4 */
	memset(buf, 0xff, 32);
	assert_int_equal(khd_crc32c(0, buf, 32), 0x62a8ab43);
	for (i = 0; i < sizeof(buf); i++)
		assert_int_equal(khd_crc32c(khd_crc32c(0, buf, i), buf + i, sizeof(buf) - i),
				 khd_crc32c(0, buf, sizeof(buf)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_is_castagnolis),
		cmocka_unit_test(commits_survive_a_crash_at_every_write),
		cmocka_unit_test(the_same_seed_gives_the_same_trace),
		cmocka_unit_test(a_flipped_bit_is_noticed),
		cmocka_unit_test(what_the_log_has_is_no_damage),
		cmocka_unit_test(a_page_in_anothers_place_is_noticed),
		cmocka_unit_test(errors_of_the_disk_are_results),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vfs", tests, NULL, NULL);
}
