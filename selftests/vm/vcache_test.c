// SPDX-License-Identifier: GPL-2.0-or-later
/* What vcache promises, and that it does lose what it may. */
#include "selftests/vm/vcache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define DISK_SIZE (1u << 20)
#define SECTORS (DISK_SIZE / VCACHE_SECTOR)

static char path[] = "/tmp/khazana-vcache.XXXXXX";
static uint8_t buffer[DISK_SIZE];

static int make_image(void **state)
{
	int fd = mkstemp(strcpy(path, "/tmp/khazana-vcache.XXXXXX"));

	return fd < 0 || ftruncate(fd, DISK_SIZE) || close(fd);
}

static int remove_image(void **state)
{
	return unlink(path);
}

static void write_byte(struct vcache *cache, uint64_t sector, unsigned int sectors, uint8_t byte)
{
	memset(buffer, byte, (size_t)sectors * VCACHE_SECTOR);
	assert_int_equal(vcache_write(cache, sector * VCACHE_SECTOR, buffer,
				      (size_t)sectors * VCACHE_SECTOR),
			 0);
}

/* The byte that fills a sector; a mixture fails. */
static uint8_t read_byte(struct vcache *cache, uint64_t sector)
{
	uint8_t data[VCACHE_SECTOR];

	assert_int_equal(vcache_read(cache, sector * VCACHE_SECTOR, data, sizeof(data)), 0);
	for (unsigned int i = 1; i < sizeof(data); i++)
		assert_int_equal(data[i], data[0]);
	return data[0];
}

static void what_was_written_is_read(void **state)
{
	struct vcache *cache = vcache_open(path, DISK_SIZE, 1);

	write_byte(cache, 10, 20, 1);
	write_byte(cache, 15, 2, 2);
	assert_int_equal(read_byte(cache, 9), 0);
	assert_int_equal(read_byte(cache, 14), 1);
	assert_int_equal(read_byte(cache, 16), 2);
	assert_int_equal(read_byte(cache, 17), 1);
	assert_int_equal(vcache_write(cache, DISK_SIZE - 512, buffer, 1024), -22);
	assert_int_equal(vcache_write(cache, 1, buffer, 512), -22);
	assert_int_equal(vcache_read(cache, 2ull * DISK_SIZE, buffer, 512), -22);
	vcache_close(cache);
}

static void what_was_flushed_survives_every_cut(void **state)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct vcache *cache = vcache_open(path, DISK_SIZE, seed);
		struct vcache_loss loss;
		uint64_t lost = 0;

		write_byte(cache, 0, SECTORS, 1);
		assert_int_equal(vcache_flush(cache), 0);
		for (unsigned int i = 0; i < SECTORS / 2; i += 16)
			write_byte(cache, i, 16, 2);
		assert_int_equal(vcache_cut(cache, seed, &loss), 0);
		for (unsigned int i = 0; i < SECTORS; i++) {
			uint8_t byte = read_byte(cache, i);

			assert_true(byte == 1 || (byte == 2 && i < SECTORS / 2));
			lost += i < SECTORS / 2 && byte == 1;
		}
		assert_int_equal(lost, loss.lost);
		assert_true(loss.unflushed <= SECTORS / 2 && loss.lost <= loss.unflushed);
		vcache_close(cache);
	}
}

/* Over the seeds: everything lost, nothing lost, a part, and writes that came early. */
static void every_kind_of_loss_occurs(void **state)
{
	unsigned int all = 0, none = 0, part = 0, early = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct vcache *cache = vcache_open(path, DISK_SIZE, seed);
		struct vcache_loss loss;

		for (unsigned int i = 0; i < SECTORS; i += 16)
			write_byte(cache, i, 16, 3);
		assert_int_equal(vcache_cut(cache, seed, &loss), 0);
		all += loss.unflushed && loss.lost == loss.unflushed;
		none += !loss.lost;
		part += loss.lost && loss.lost < loss.unflushed;
		early += loss.unflushed < SECTORS;
		vcache_close(cache);
	}
	assert_true(all >= 5 && none >= 5 && part >= 20 && early >= 90);
}

static void the_same_seed_loses_the_same(void **state)
{
	uint8_t first[SECTORS], second[SECTORS];

	for (unsigned int round = 0; round < 2; round++) {
		struct vcache *cache = vcache_open(path, DISK_SIZE, 7);
		struct vcache_loss loss;

		write_byte(cache, 0, SECTORS, 1);
		vcache_flush(cache);
		for (unsigned int i = 0; i < SECTORS; i += 4)
			write_byte(cache, i, 4, 2);
		vcache_cut(cache, 5, &loss);
		for (unsigned int i = 0; i < SECTORS; i++)
			(round ? second : first)[i] = read_byte(cache, i);
		vcache_close(cache);
	}
	assert_memory_equal(first, second, sizeof(first));
}

static void the_cache_is_bounded(void **state)
{
	struct vcache *cache = vcache_open(path, 64 * VCACHE_SECTOR, 3);
	struct vcache_loss loss;

	for (unsigned int i = 0; i < SECTORS; i += 8)
		write_byte(cache, i, 8, 4);
	assert_int_equal(vcache_cut(cache, 1, &loss), 0);
	assert_true(loss.unflushed <= 64);
	vcache_close(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_read, make_image, remove_image),
		cmocka_unit_test_setup_teardown(what_was_flushed_survives_every_cut, make_image,
						remove_image),
		cmocka_unit_test_setup_teardown(every_kind_of_loss_occurs, make_image,
						remove_image),
		cmocka_unit_test_setup_teardown(the_same_seed_loses_the_same, make_image,
						remove_image),
		cmocka_unit_test_setup_teardown(the_cache_is_bounded, make_image, remove_image),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
