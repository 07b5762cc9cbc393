// SPDX-License-Identifier: GPL-2.0-or-later
/* fixture.c - a store on a simulated disk, and calls that are waited for */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/store/fixture.h"

#define STEPS_MAX 1000000 /* of the disk, until a call must have ended */

void heard(void *arg, const char *name, const char *text)
{
	struct fixture *f = arg;

	f->events++;
	snprintf(f->event, sizeof(f->event), "%s: %s", name, text);
	if (getenv("STORE_TEST_VERBOSE"))
		fprintf(stderr, "# %s\n", f->event);
}

int open_store(struct fixture *f)
{
	int error = 0;

	f->store = khd_store_open(&f->sim->base, &f->config, heard, f, &error, &f->recovery);
	return error;
}

static int setup_on(void **state, unsigned int sector)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->sim = disk_sim_new(1);
	disk_sim_sectors(f->sim, sector, sector);
	f->config = (struct khd_store_config){ .capacity = 8 << 20, .segment = 256 << 10 };
	f->config.uuid[0] = 1;
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), 0);
	assert_int_equal(open_store(f), 0);
	*state = f;
	return 0;
}

int setup(void **state)
{
	return setup_on(state, KHD_SECTOR);
}

int setup_4k(void **state)
{
	return setup_on(state, 4096);
}

void setup_again(struct fixture *f, uint64_t seed)
{
	settle(f);
	khd_store_close(f->store);
	disk_sim_free(f->sim);
	f->sim = disk_sim_new(seed);
	assert_int_equal(khd_store_format(&f->sim->base, &f->config), 0);
	assert_int_equal(open_store(f), 0);
}

/* ---------------------------------------------------------------- calls that are waited for */

void waited(struct khd_store_op *op, int error)
{
	struct wait *w = (struct wait *)op;

	assert_false(w->done);
	w->done = true;
	w->error = error;
}

int finish(struct fixture *f, struct wait *w)
{
	int steps = 0;

	while (!w->done) {
		assert_true(steps++ < STEPS_MAX);
		if (!disk_sim_step(f->sim)) {
			f->now += 1000000000;
			khd_store_tick(f->store, f->now);
		}
	}
	return w->error;
}

void settle(struct fixture *f)
{
	int steps = 0;

	while (disk_sim_step(f->sim))
		assert_true(steps++ < STEPS_MAX);
}

void tick(struct fixture *f, uint64_t seconds)
{
	for (; seconds; seconds--) {
		f->now += 1000000000;
		khd_store_tick(f->store, f->now);
		settle(f);
	}
}

int reserve(struct fixture *f, const struct khd_range *range)
{
	struct wait w = { .op.done = waited };

	khd_store_reserve(f->store, &w.op, range);
	assert_false(w.done);
	return finish(f, &w);
}

int release(struct fixture *f, const struct khd_range *range)
{
	struct wait w = { .op.done = waited };

	khd_store_release(f->store, &w.op, range);
	assert_false(w.done);
	return finish(f, &w);
}

int resize(struct fixture *f, uint64_t capacity)
{
	struct wait w = { .op.done = waited };

	khd_store_resize(f->store, &w.op, capacity);
	assert_false(w.done);
	return finish(f, &w);
}

struct khd_range range_of(uint64_t lo, uint64_t units, uint32_t shift, uint64_t generation)
{
	struct khd_range r = {
		.start = { 7, lo }, .units = units, .shift = shift, .generation = generation
	};

	memset(r.tag.bytes, (int)generation, sizeof(r.tag.bytes));
	return r;
}

struct khd_key key_of(const struct khd_range *r, uint64_t unit)
{
	return (struct khd_key){ .addr = { r->start.hi, r->start.lo + (unit << r->shift) },
				 .generation = r->generation,
				 .shift = r->shift };
}

void *memory(size_t bytes)
{
	void *buf = aligned_alloc(KHD_DISK_ALIGN, (bytes + 4095) / 4096 * 4096);

	assert_non_null(buf);
	memset(buf, 0xee, bytes);
	return buf;
}

void begin_put(struct fixture *f, struct wait *w, const struct khd_range *r, uint64_t unit,
	       uint64_t version, void *buf, uint32_t flags)
{
	*w = (struct wait){ .op = { .done = waited,
				    .key = key_of(r, unit),
				    .meta = { version, version * 3 },
				    .iov = { buf, 1ull << r->shift },
				    .flags = flags } };
	memset(buf, (int)(unit * 7 + version), 1ull << r->shift);
	khd_store_put(f->store, &w->op);
	assert_false(w->done);
}

int put(struct fixture *f, const struct khd_range *r, uint64_t unit, uint64_t version)
{
	void *buf = memory(1ull << r->shift);
	struct wait w;
	int error;

	begin_put(f, &w, r, unit, version, buf, KHD_STORE_SYNC);
	error = finish(f, &w);
	free(buf);
	return error;
}

/* The version, with its contents checked, or a negative errno. */
int64_t get(struct fixture *f, const struct khd_range *r, uint64_t unit)
{
	uint8_t *buf = memory(1ull << r->shift);
	struct wait w = {
		.op = { .done = waited, .key = key_of(r, unit), .iov = { buf, 1ull << r->shift } }
	};
	int64_t version;
	size_t i;

	khd_store_get(f->store, &w.op);
	assert_false(w.done);
	version = -finish(f, &w);
	if (!version) {
		version = (int64_t)w.op.meta.version;
		assert_int_equal(w.op.meta.token, version * 3);
		for (i = 0; i < 1ull << r->shift; i++)
			assert_int_equal(buf[i], version ? (uint8_t)(unit * 7 + version) : 0);
	}
	free(buf);
	return version;
}

int stop(struct fixture *f)
{
	struct wait w = { .op.done = waited };

	khd_store_stop(f->store, &w.op);
	return finish(f, &w);
}

void reopen(struct fixture *f)
{
	assert_int_equal(stop(f), 0);
	khd_store_close(f->store);
	assert_int_equal(open_store(f), 0);
}

/* The power goes; what was not flushed is lost as @how says. */
void power_cut(struct fixture *f, enum disk_crash how)
{
	struct disk_sim *left = disk_sim_crash(f->sim, how, 1);

	f->sim->dead = true;
	if (f->store) {
		settle(f);
		khd_store_close(f->store);
		f->store = NULL;
	}
	disk_sim_free(f->sim);
	f->sim = left;
	f->events = 0;
}

int crash(struct fixture *f, enum disk_crash how)
{
	power_cut(f, how);
	return open_store(f);
}

struct khd_disk_io *held[KHD_STORE_PUTS_MAX];
unsigned int held_count;
static unsigned int held_most;
static struct khd_disk_ops holding;
static const struct khd_disk_ops *ops_below;

static void hold_read(struct khd_disk *disk, struct khd_disk_io *io)
{
	if (io->op == KHD_DISK_READ && held_count < held_most)
		held[held_count++] = io;
	else
		ops_below->submit(disk, io);
}

void hold_reads(struct fixture *f, unsigned int most)
{
	assert_in_range(most, 1, KHD_STORE_PUTS_MAX);
	held_count = 0;
	held_most = most;
	ops_below = f->sim->base.ops;
	holding = *ops_below;
	holding.submit = hold_read;
	f->sim->base.ops = &holding;
}

void let_reads_go(struct fixture *f)
{
	unsigned int i;

	f->sim->base.ops = ops_below;
	for (i = 0; i < held_count; i++)
		ops_below->submit(&f->sim->base, held[i]);
}

uint64_t damages;
void found(void *arg, const char *file, uint64_t offset, const char *what)
{
	damages++;
	if (getenv("STORE_TEST_VERBOSE"))
		fprintf(stderr, "# found %s %llu %s\n", file, (unsigned long long)offset, what);
}

int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->store) {
		settle(f);
		khd_store_close(f->store);
	}
	assert_null(f->sim->broken);
	disk_sim_free(f->sim);
	free(f);
	return 0;
}
