// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * index.c - where the newest version of each unit is, in SQLite
 *
 * Only checkpoints write it, each in one transaction.  Everything here blocks: jobs, start and the
 * offline tools call it, one at a time.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"
#include "khd/store/vfs.h"

#define KEY_BYTES 25u /* address and generation, big endian; shift */

enum statement {
	FIND,
	STORE,
	DELETE,
	SCAN,
	STORE_RANGE,
	DELETE_RANGE,
	STORE_PARKED,
	DELETE_PARKED,
	STORE_SEGMENT,
	STORE_BITS,
	DELETE_BITS,
	LOAD_BITS,
	GET_META,
	SET_META,
	BEGIN,
	COMMIT,
	ROLLBACK,
	STATEMENTS
};

static const char *const sql[STATEMENTS] = {
	[FIND] = "SELECT version, token, lsn, slot, crc FROM units WHERE key = ?1",
	[STORE] = "INSERT OR REPLACE INTO units VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[DELETE] = "DELETE FROM units WHERE key = ?1",
	[SCAN] = "SELECT version, token, lsn, slot, crc, key FROM units "
		 "WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT ?3",
	[STORE_RANGE] = "INSERT OR REPLACE INTO ranges VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	[DELETE_RANGE] = "DELETE FROM ranges WHERE slot = ?1",
	[STORE_PARKED] = "INSERT OR REPLACE INTO parked VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[DELETE_PARKED] = "DELETE FROM parked WHERE id = ?1",
	[STORE_SEGMENT] = "INSERT OR REPLACE INTO segments VALUES (?1, ?2, ?3, ?4)",
	[STORE_BITS] = "INSERT OR REPLACE INTO bitmaps VALUES (?1, ?2)",
	[DELETE_BITS] = "DELETE FROM bitmaps WHERE number = ?1",
	[LOAD_BITS] = "SELECT bits FROM bitmaps WHERE number = ?1",
	[GET_META] = "SELECT checkpoint, lsn, tail, sequence, previous, uuid FROM meta",
	[SET_META] = "INSERT OR REPLACE INTO meta VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

#define INDEX_VERSION "2"

/* Bitmaps are apart from the segments' rows, which a start reads: a hundred of those make a page. */
static const char schema[] =
	"CREATE TABLE units (key BLOB PRIMARY KEY, version INTEGER NOT NULL, token INTEGER NOT "
	"NULL,"
	" lsn INTEGER NOT NULL, slot INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE ranges (slot INTEGER PRIMARY KEY, start BLOB NOT NULL, units INTEGER NOT "
	"NULL,"
	" shift INTEGER NOT NULL, generation INTEGER NOT NULL, tag BLOB NOT NULL,"
	" born INTEGER NOT NULL, lsn INTEGER NOT NULL);"
	"CREATE TABLE segments (number INTEGER PRIMARY KEY, class INTEGER NOT NULL,"
	" last INTEGER NOT NULL, live INTEGER NOT NULL);"
	"CREATE TABLE bitmaps (number INTEGER PRIMARY KEY, bits BLOB NOT NULL);"
	"CREATE TABLE parked (id INTEGER PRIMARY KEY, key BLOB NOT NULL, version INTEGER NOT NULL,"
	" token INTEGER NOT NULL, slot INTEGER NOT NULL, crc INTEGER NOT NULL, tag BLOB NOT NULL);"
	"CREATE TABLE meta (one INTEGER PRIMARY KEY, checkpoint INTEGER NOT NULL,"
	" lsn INTEGER NOT NULL, tail INTEGER NOT NULL, sequence INTEGER NOT NULL,"
	" previous INTEGER NOT NULL, uuid BLOB NOT NULL);"
	"PRAGMA user_version = " INDEX_VERSION;

struct khd_index {
	struct khd_store *store;
	struct khd_vfs *vfs;
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENTS];
	char told[160]; /* by a job's thread, */
	_Atomic bool telling; /* until the loop passes it on */
};

static int error_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table or a column is missing */
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_SCHEMA:
		return -EBADMSG;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_IOERR:
		return code == SQLITE_IOERR_DATA  ? -EBADMSG :
		       code == SQLITE_IOERR_NOMEM ? -ENOMEM :
						    -EIO;
	default:
		return -EIO;
	}
}

/* ---------------------------------------------------------------- keys and numbers */

static void put_be64(uint8_t *at, uint64_t value)
{
	value = htobe64(value);
	memcpy(at, &value, sizeof(value));
}

static uint64_t get_be64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return be64toh(value);
}

static void key_pack(uint8_t *blob, const struct khd_key *key)
{
	put_be64(blob, key->addr.hi);
	put_be64(blob + 8, key->addr.lo);
	put_be64(blob + 16, key->generation);
	blob[24] = (uint8_t)key->shift;
}

static bool key_unpack(sqlite3_stmt *st, int column, struct khd_key *key)
{
	const uint8_t *blob = sqlite3_column_blob(st, column);

	if (!blob || sqlite3_column_bytes(st, column) != (int)KEY_BYTES)
		return false;
	key->addr.hi = get_be64(blob);
	key->addr.lo = get_be64(blob + 8);
	key->generation = get_be64(blob + 16);
	key->shift = blob[24];
	return key->shift >= KHD_STORE_SHIFT_MIN && key->shift <= KHD_STORE_SHIFT_MAX;
}

static void bind64(sqlite3_stmt *st, int at, uint64_t value)
{
	sqlite3_bind_int64(st, at, (sqlite3_int64)value);
}

static uint64_t column64(sqlite3_stmt *st, int column)
{
	return (uint64_t)sqlite3_column_int64(st, column);
}

/*
 * Blobs are bound as they lie with the caller, until its statement has ended: a copy could fail,
 * and a key that is NULL is found nowhere.
 */
static void bind_key(sqlite3_stmt *st, int at, const struct khd_key *key, uint8_t blob[KEY_BYTES])
{
	key_pack(blob, key);
	sqlite3_bind_blob(st, at, blob, KEY_BYTES, SQLITE_STATIC);
}

/* A statement that gives no row. */
static int run(struct khd_index *index, enum statement which)
{
	sqlite3_stmt *st = index->statement[which];
	int ret = sqlite3_step(st), reset = sqlite3_reset(st);

	sqlite3_clear_bindings(st);
	return error_of(ret == SQLITE_DONE ? reset : ret);
}

/* The end of one that may give rows: @found is what was made of them. */
static int end(sqlite3_stmt *st, int step, int found)
{
	int reset = sqlite3_reset(st);

	sqlite3_clear_bindings(st);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return error_of(step) ? error_of(step) : -EIO;
	return error_of(reset) ? error_of(reset) : found;
}

/* ---------------------------------------------------------------- open and close */

/* In the thread of a job: the first report is kept for the loop. */
static void report(void *arg, enum khd_disk_file file, uint64_t offset, const char *what)
{
	struct khd_index *index = arg;

	if (index->telling)
		return;
	snprintf(index->told, sizeof(index->told), "damaged: %s offset %llu: %s",
		 file == KHD_FILE_WAL ? "index-wal" : "index", (unsigned long long)offset, what);
	index->telling = true;
}

void khd_index_tell(struct khd_store *store)
{
	struct khd_index *index = store->index;

	if (!index || !index->telling)
		return;
	khd_store_say(store, "store", "%s", index->told);
	index->telling = false;
}

static int prepare(struct khd_index *index)
{
	int i, ret;

	for (i = 0; i < STATEMENTS; i++) {
		ret = sqlite3_prepare_v3(index->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					 &index->statement[i], NULL);
		if (ret != SQLITE_OK)
			return error_of(ret);
	}
	return 0;
}

/* Is it one of another khd?  One without a table is none of any. */
static int check_version(struct khd_index *index)
{
	static const char query[] = "SELECT 1 FROM pragma_user_version WHERE user_version "
				    "<> " INDEX_VERSION " AND EXISTS (SELECT 1 FROM sqlite_schema)";
	sqlite3_stmt *st;
	int ret = sqlite3_prepare_v2(index->db, query, -1, &st, NULL);

	if (ret != SQLITE_OK)
		return error_of(ret);
	ret = sqlite3_step(st);
	sqlite3_finalize(st);
	if (ret != SQLITE_ROW)
		return error_of(ret);
	khd_store_say(index->store, "store",
		      "the index is of another version: khadm store rebuild makes it anew");
	return -EPROTONOSUPPORT;
}

int khd_index_open(struct khd_store *store, bool create)
{
	struct khd_index *index = calloc(1, sizeof(*index));
	uint64_t cache = store->config.cache ? store->config.cache : 8u << 20;
	int ret;

	if (!index)
		return -ENOMEM;
	store->index = index;
	index->store = store;
	index->vfs = khd_vfs_new(store->disk, report, index);
	ret = index->vfs ? error_of(khd_vfs_open(index->vfs, cache, &index->db)) : -ENOMEM;
	if (!ret) /* closing writes nothing: the device may be out of service */
		sqlite3_db_config(index->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (!ret && create)
		ret = error_of(sqlite3_exec(index->db, schema, NULL, NULL, NULL));
	if (!ret)
		ret = check_version(index);
	if (!ret)
		ret = prepare(index);
	if (ret == -EBADMSG && khd_vfs_error(index->vfs))
		ret = error_of(khd_vfs_error(index->vfs));
	if (ret)
		khd_index_close(store);
	return ret;
}

void khd_index_close(struct khd_store *store)
{
	struct khd_index *index = store->index;
	int i;

	if (!index)
		return;
	khd_index_tell(store);
	store->index = NULL;
	for (i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(index->statement[i]);
	sqlite3_close(index->db);
	khd_vfs_free(index->vfs);
	free(index);
}

void khd_index_fail(struct khd_store *store, int ret, const char *what)
{
	khd_store_fail(store, ret == -EBADMSG ? EBADMSG : EIO, what, 0);
}

/*
 * Its log has every page of a transaction once, with a header: SQLite writes over one that was
 * there already; and no transaction begins before the log of the one before was emptied.
 */
int khd_index_reserve(struct khd_disk *disk, uint64_t bytes)
{
	int ret = disk->ops->reserve(disk, KHD_FILE_INDEX, bytes);

	return ret ? ret :
		     disk->ops->reserve(disk, KHD_FILE_WAL, bytes + bytes / 128 + KHD_VFS_PAGE);
}

/* ---------------------------------------------------------------- meta and transactions */

int khd_index_meta(struct khd_index *index, struct khd_index_meta *meta)
{
	sqlite3_stmt *st = index->statement[GET_META];
	int step = sqlite3_step(st), found = step == SQLITE_ROW ? 0 : -ENOENT;

	if (!found) {
		meta->checkpoint = column64(st, 0);
		meta->lsn = column64(st, 1);
		meta->tail = column64(st, 2);
		meta->sequence = column64(st, 3);
		meta->previous = (uint32_t)column64(st, 4);
		if (sqlite3_column_bytes(st, 5) == sizeof(meta->uuid))
			memcpy(meta->uuid, sqlite3_column_blob(st, 5), sizeof(meta->uuid));
		else
			found = -EBADMSG;
	}
	return end(st, step, found);
}

int khd_index_set_meta(struct khd_index *index, const struct khd_index_meta *meta)
{
	sqlite3_stmt *st = index->statement[SET_META];

	bind64(st, 1, meta->checkpoint);
	bind64(st, 2, meta->lsn);
	bind64(st, 3, meta->tail);
	bind64(st, 4, meta->sequence);
	bind64(st, 5, meta->previous);
	sqlite3_bind_blob(st, 6, meta->uuid, sizeof(meta->uuid), SQLITE_STATIC);
	return run(index, SET_META);
}

int khd_index_begin(struct khd_index *index)
{
	return run(index, BEGIN);
}

int khd_index_commit(struct khd_index *index)
{
	return run(index, COMMIT);
}

int khd_index_rollback(struct khd_index *index)
{
	return khd_index_open_transaction(index) ? run(index, ROLLBACK) : 0;
}

/* SQLite undoes one by itself if any statement, even a look-up, has no memory in it. */
bool khd_index_open_transaction(const struct khd_index *index)
{
	return !sqlite3_get_autocommit(index->db);
}

int khd_index_tidy(struct khd_index *index)
{
	return error_of(
		sqlite3_wal_checkpoint_v2(index->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
}

/* ---------------------------------------------------------------- units */

static void row_of(sqlite3_stmt *st, struct khd_row *row)
{
	row->version = column64(st, 0);
	row->token = column64(st, 1);
	row->lsn = column64(st, 2);
	row->slot = column64(st, 3);
	row->crc = (uint32_t)column64(st, 4);
}

int khd_index_find(struct khd_index *index, struct khd_row *row)
{
	sqlite3_stmt *st = index->statement[FIND];
	uint8_t blob[KEY_BYTES];
	int step;

	bind_key(st, 1, &row->key, blob);
	step = sqlite3_step(st);
	if (step == SQLITE_ROW)
		row_of(st, row);
	step = end(st, step, step == SQLITE_ROW ? 0 : -ENOENT);
	/* no room to move a checkpoint's page out of the cache */
	return step == -ENOSPC ? -ENOMEM : step;
}

int khd_index_store(struct khd_index *index, const struct khd_row *row)
{
	sqlite3_stmt *st = index->statement[STORE];
	uint8_t blob[KEY_BYTES];

	bind_key(st, 1, &row->key, blob);
	bind64(st, 2, row->version);
	bind64(st, 3, row->token);
	bind64(st, 4, row->lsn);
	bind64(st, 5, row->slot);
	bind64(st, 6, row->crc);
	return run(index, STORE);
}

int khd_index_delete(struct khd_index *index, const struct khd_key *key)
{
	uint8_t blob[KEY_BYTES];

	bind_key(index->statement[DELETE], 1, key, blob);
	return run(index, DELETE);
}

/*
 * @purge NULL: every unit.  Rows of other generations and newer ones are passed over, so that fewer
 * than @max do not mean the end: only 0 does.
 */
int khd_index_scan(struct khd_index *index, const struct khd_purge *purge,
		   const struct khd_key *after, struct khd_row *rows, unsigned int max)
{
	sqlite3_stmt *st = index->statement[SCAN];
	uint8_t low[KEY_BYTES] = { 0 }, high[KEY_BYTES];
	unsigned int count = 0;
	int step, bytes = after || !purge ? (int)KEY_BYTES : 16;
	struct khd_row row;

	memset(high, 0xff, sizeof(high));
	if (purge) {
		khd_u128 last = purge->start + (((khd_u128)purge->units << purge->shift) - 1);

		put_be64(low, (uint64_t)(purge->start >> 64));
		put_be64(low + 8, (uint64_t)purge->start);
		put_be64(high, (uint64_t)(last >> 64));
		put_be64(high + 8, (uint64_t)last);
	}
	if (after)
		key_pack(low, after);
	sqlite3_bind_blob(st, 1, low, bytes, SQLITE_STATIC);
	sqlite3_bind_blob(st, 2, high, sizeof(high), SQLITE_STATIC);
	sqlite3_bind_int64(st, 3, -1);
	while (count < max && (step = sqlite3_step(st)) == SQLITE_ROW) {
		row_of(st, &row);
		if (!key_unpack(st, 5, &row.key))
			return end(st, step, -EBADMSG);
		if (purge && (row.key.generation != purge->generation ||
			      row.key.shift != purge->shift || row.lsn >= purge->lsn))
			continue;
		row.unit = NULL;
		rows[count++] = row;
	}
	return end(st, count == max ? SQLITE_DONE : step, (int)count);
}

/* ---------------------------------------------------------------- the other tables */

int khd_index_store_range(struct khd_index *index, const struct khd_extent *e)
{
	sqlite3_stmt *st = index->statement[STORE_RANGE];
	uint8_t start[16];

	put_be64(start, (uint64_t)(e->start >> 64));
	put_be64(start + 8, (uint64_t)e->start);
	bind64(st, 1, e->slot);
	sqlite3_bind_blob(st, 2, start, sizeof(start), SQLITE_STATIC);
	bind64(st, 3, e->units);
	bind64(st, 4, e->shift);
	bind64(st, 5, e->generation);
	sqlite3_bind_blob(st, 6, e->tag.bytes, sizeof(e->tag.bytes), SQLITE_STATIC);
	bind64(st, 7, e->born);
	bind64(st, 8, e->lsn);
	return run(index, STORE_RANGE);
}

int khd_index_delete_range(struct khd_index *index, uint64_t slot)
{
	bind64(index->statement[DELETE_RANGE], 1, slot);
	return run(index, DELETE_RANGE);
}

int khd_index_store_parked(struct khd_index *index, const struct khd_parked_unit *p)
{
	sqlite3_stmt *st = index->statement[STORE_PARKED];
	uint8_t blob[KEY_BYTES];

	bind64(st, 1, p->parked.id);
	bind_key(st, 2, &p->parked.key, blob);
	bind64(st, 3, p->parked.meta.version);
	bind64(st, 4, p->parked.meta.token);
	bind64(st, 5, p->slot);
	bind64(st, 6, p->crc);
	sqlite3_bind_blob(st, 7, p->parked.tag.bytes, sizeof(p->parked.tag.bytes), SQLITE_STATIC);
	return run(index, STORE_PARKED);
}

int khd_index_delete_parked(struct khd_index *index, uint64_t id)
{
	bind64(index->statement[DELETE_PARKED], 1, id);
	return run(index, DELETE_PARKED);
}

int khd_index_store_segment(struct khd_index *index, const struct khd_segment_row *row)
{
	sqlite3_stmt *st = index->statement[STORE_SEGMENT], *bits;
	enum statement which = row->bits ? STORE_BITS : DELETE_BITS;
	int ret;

	bind64(st, 1, row->number);
	bind64(st, 2, row->class);
	bind64(st, 3, row->last);
	bind64(st, 4, row->live);
	ret = run(index, STORE_SEGMENT);
	if (ret)
		return ret;
	bits = index->statement[which];
	bind64(bits, 1, row->number);
	if (row->bits)
		sqlite3_bind_blob64(bits, 2, row->bits, row->bytes, SQLITE_STATIC);
	return run(index, which);
}

/* The bitmap is kept as little-endian words. */
int khd_index_load_bits(struct khd_index *index, uint32_t segment, void *bits, size_t bytes)
{
	sqlite3_stmt *st = index->statement[LOAD_BITS];
	int step, found = -EBADMSG;

	bind64(st, 1, segment);
	step = sqlite3_step(st);
	if (step == SQLITE_ROW && (size_t)sqlite3_column_bytes(st, 0) == bytes) {
		memcpy(bits, sqlite3_column_blob(st, 0), bytes);
		found = 0;
	}
	return end(st, step, found);
}

/* ---------------------------------------------------------------- loading at start */

static int load_rows(struct khd_store *store, const char *query,
		     int (*each)(struct khd_store *store, sqlite3_stmt *st))
{
	sqlite3_stmt *st;
	int ret = sqlite3_prepare_v2(store->index->db, query, -1, &st, NULL), bad = 0;

	if (ret != SQLITE_OK)
		return error_of(ret);
	while (!bad && (ret = sqlite3_step(st)) == SQLITE_ROW)
		bad = each(store, st);
	sqlite3_finalize(st);
	return bad ? bad : error_of(ret);
}

static int load_segment(struct khd_store *store, sqlite3_stmt *st)
{
	uint64_t number = column64(st, 0), class = column64(st, 1), last = column64(st, 2);
	struct khd_segment *seg;

	if (number >= store->segments.count && number <= UINT32_MAX && !class)
		return 0; /* the file was cut off before it */
	if (number >= store->segments.count || class >= KHD_CLASSES || last >= KHD_CLASSES)
		return -EBADMSG;
	seg = &store->segments.at[number];
	seg->class = (uint8_t) class;
	seg->last = (uint8_t)last;
	seg->live = seg->taken = class ? (uint32_t)column64(st, 3) : 0;
	if (class && !store->class[class].slots)
		return -EBADMSG;
	if (class)
		store->class[class].held++;
	return 0;
}

static int load_range(struct khd_store *store, sqlite3_stmt *st)
{
	struct khd_extent e = { .slot = column64(st, 0),
				.units = column64(st, 2),
				.shift = (uint8_t)column64(st, 3),
				.generation = column64(st, 4),
				.born = column64(st, 6),
				.lsn = column64(st, 7) };
	struct khd_range range;
	int segment = khd_space_segment_of(store, e.slot);

	if (segment < 0 || !store->segments.at[segment].class ||
	    sqlite3_column_bytes(st, 1) != 16 || sqlite3_column_bytes(st, 5) != sizeof(e.tag.bytes))
		return -EBADMSG;
	e.start = (khd_u128)get_be64(sqlite3_column_blob(st, 1)) << 64 |
		  get_be64((const uint8_t *)sqlite3_column_blob(st, 1) + 8);
	memcpy(e.tag.bytes, sqlite3_column_blob(st, 5), sizeof(e.tag.bytes));
	range = (struct khd_range){ .start = khd_narrow(e.start),
				    .units = e.units,
				    .shift = e.shift,
				    .generation = e.generation };
	if (khd_range_valid(store, &range) || khd_range_overlaps(store, &range))
		return -EBADMSG;
	store->class[e.shift].units += e.units;
	store->class[store->segments.at[segment].class].units++;
	return khd_range_insert(store, &e) ? 0 : -ENOMEM;
}

static int load_parked(struct khd_store *store, sqlite3_stmt *st)
{
	struct khd_parked_unit p = { .slot = column64(st, 4), .crc = (uint32_t)column64(st, 5) };

	p.parked.id = column64(st, 0);
	p.parked.meta.version = column64(st, 2);
	p.parked.meta.token = column64(st, 3);
	if (!key_unpack(st, 1, &p.parked.key) ||
	    sqlite3_column_bytes(st, 6) != sizeof(p.parked.tag.bytes))
		return -EBADMSG;
	memcpy(p.parked.tag.bytes, sqlite3_column_blob(st, 6), sizeof(p.parked.tag.bytes));
	store->class[p.parked.key.shift].units++;
	return khd_parked_insert(store, &p);
}

int khd_index_load(struct khd_store *store)
{
	int ret = load_rows(store, "SELECT number, class, last, live FROM segments", load_segment);

	if (!ret)
		ret = load_rows(store,
				"SELECT slot, start, units, shift, generation, tag, born, lsn "
				"FROM ranges ORDER BY start",
				load_range);
	if (!ret)
		ret = load_rows(store,
				"SELECT id, key, version, token, slot, crc, tag FROM parked "
				"ORDER BY id",
				load_parked);
	return ret;
}
