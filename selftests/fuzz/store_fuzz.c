// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store_fuzz.c - a page store whose files somebody has written into
 *
 * FUZZ_FILE says which: the slot file with superblocks, log and slots, or the index and its log.
 * An input is a list of writes, each of which may ask for the checksums around it to be
 * made right, so that what lies behind them is reached.  The store may refuse; it must
 * not crash, hang, leak, or use the disk wrongly, neither when it is opened nor when it
 * is used, checked or rebuilt.
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/crc32c.h"
#include "khd/store/format.h"
#include "khd/store/vfs.h"
#include "selftests/store/driver.h"
#include "selftests/store/life.h"

#define WRITES_MAX 64
#define WRITE_BYTES 12u /* of an input: where, how, what */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct disk_sim *whole;
static struct world world, scratch;
static struct khd_store_config config;

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* A store with a bit of everything, as a crash leaves it. */
static void make_store(void)
{
	const struct life_profile *p = life_profile(1);
	struct disk_sim *sim = disk_sim_new(1);
	struct driver_why why = { 0 };
	struct rng rng = { .state = 5 };
	struct driver d;

	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, 1, NULL);
	life_config(p, 1, &config);
	world_init(&world, p->shifts, p->counts, p->places);
	require(!khd_store_format(&sim->base, &config));
	driver_init(&d, sim, &world, &config, &why);
	require(!driver_open(&d));
	life_run(&d, &rng, 150);
	driver_drain(&d);
	require(!why.text[0]);
	whole = disk_sim_crash(sim, DISK_ALL, 1);
	driver_free(&d);
	disk_sim_free(sim);
}

static void put(struct disk_sim *sim, enum khd_disk_file file, uint64_t at, const void *buf,
		size_t len)
{
	image_write(&sim->now[file], at, buf, len);
	image_write(&sim->durable[file], at, buf, len);
}

/* The block at @at, and the log's block there, get the checksum that fits. */
static void seal_block(struct disk_sim *sim, uint64_t at)
{
	uint8_t log[65536];
	struct khd_block block;
	struct khd_log_head head;
	uint32_t bytes;

	at = at / KHD_SECTOR * KHD_SECTOR;
	image_read(&sim->now[KHD_FILE_SLOTS], at, &block, sizeof(block));
	if (block.head.kind != KHD_BLOCK_LOG) {
		block.crc = htole32(khd_crc32c(0, &block, sizeof(block) - sizeof(block.crc)));
		put(sim, KHD_FILE_SLOTS, at, &block, sizeof(block));
		return;
	}
	memcpy(&head, &block, sizeof(head));
	bytes = le32toh(head.bytes);
	if (bytes < sizeof(head) || bytes > sizeof(log))
		return;
	image_read(&sim->now[KHD_FILE_SLOTS], at, log, bytes);
	head.crc = 0;
	memcpy(log, &head, sizeof(head));
	head.crc = htole32(khd_crc32c(khd_crc32c(0, log, offsetof(struct khd_log_head, crc)),
				      log + sizeof(head), bytes - sizeof(head)));
	put(sim, KHD_FILE_SLOTS, at, &head, sizeof(head));
}

static void seal_page(struct disk_sim *sim, uint64_t at)
{
	uint8_t page[KHD_VFS_PAGE];
	uint32_t number = htole32((uint32_t)(at / KHD_VFS_PAGE) + 1), crc;

	at = at / KHD_VFS_PAGE * KHD_VFS_PAGE;
	image_read(&sim->now[KHD_FILE_INDEX], at, page, sizeof(page));
	memcpy(page + KHD_VFS_PAGE - 8, &number, sizeof(number));
	crc = htole32(khd_crc32c(0, page, KHD_VFS_PAGE - 4));
	memcpy(page + KHD_VFS_PAGE - 4, &crc, sizeof(crc));
	put(sim, KHD_FILE_INDEX, at, page, sizeof(page));
}

/* One write: 4 bytes offset, a byte how, a byte how long, 6 bytes what. */
static void apply(struct disk_sim *sim, const uint8_t *in)
{
	uint32_t where;
	enum khd_disk_file file = FUZZ_FILE;
	uint64_t size, at;

	memcpy(&where, in, sizeof(where));
	if (file == KHD_FILE_INDEX && in[4] & 2)
		file = KHD_FILE_WAL;
	size = sim->now[file].size;
	if (size < KHD_VFS_PAGE)
		return;
	/* Mostly near the beginning of a sector, where the fields are. */
	at = in[4] & 4 ? where % size :
			 where / 128 % (size / KHD_SECTOR) * KHD_SECTOR + where % 128;
	if (at + 6 > size)
		return;
	put(sim, file, at, in + 6, 1 + in[5] % 6);
	if (in[4] & 1 && file == KHD_FILE_SLOTS)
		seal_block(sim, at);
	if (in[4] & 1 && file == KHD_FILE_INDEX)
		seal_page(sim, at);
}

static void note(void *arg, const char *file, uint64_t offset, const char *what)
{
	require(file && what);
}

/* Ask for everything. Answers do not matter, that they come does. */
static void use(struct disk_sim *sim)
{
	struct driver_why why = { 0 };
	struct driver d;
	uint32_t unit;

	world_copy(&scratch, &world);
	driver_init(&d, sim, &scratch, &config, &why);
	d.tolerant = true;
	if (!driver_open(&d)) {
		for (unit = 0; unit < scratch.unit_count && !why.text[0]; unit++) {
			if (!scratch.units[unit].generation)
				continue;
			driver_load(&d, unit, unit % 2);
			if (unit % 3 == 0)
				driver_store(&d, unit, scratch.units[unit].sent + 1,
					     KHD_STORE_SYNC);
			driver_drain(&d);
		}
		if (!why.text[0])
			driver_tick(&d, 31000000000ull);
		driver_drain(&d);
	}
	require(!strstr(why.text, "never") && !strstr(why.text, "twice"));
	driver_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disk_sim *sim, *again;
	unsigned int n;

	if (!whole)
		make_store();
	sim = disk_sim_crash(whole, DISK_ALL, 1);
	for (n = 0; size >= WRITE_BYTES && n < WRITES_MAX; n++) {
		apply(sim, data);
		data += WRITE_BYTES;
		size -= WRITE_BYTES;
	}
	again = disk_sim_crash(sim, DISK_ALL, 1);
	use(sim);
	require(!sim->broken);
	disk_sim_free(sim);
	khd_store_check(&again->base, note, NULL);
	if (!khd_store_rebuild(&again->base, NULL, NULL))
		use(again);
	require(!again->broken);
	disk_sim_free(again);
	return 0;
}
