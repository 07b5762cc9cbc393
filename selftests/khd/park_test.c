// SPDX-License-Identifier: GPL-2.0-or-later
/* park_test.c - parked frames on their way to a real store; the module is the test */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "khd/device.h"
#include "khd/log.h"
#include "khd/pages_priv.h"
#include "khd/park.h"
#include "khd/store/disk_dir.h"

#define SHIFT 12
#define SIZE (1u << SHIFT)
#define MINUTE 60000000000ull

/* The module: at most one frame. */
static struct {
	uint64_t id; /* 0: none */
	uint64_t token, version, time_ns;
	bool region_gone, discarded; /* by somebody else, between two looks */
	unsigned int looks, drops;
	uint8_t *frame;
} module;

static char event[32];
static unsigned int events;
static struct khd khd;
static struct khd_pages pages;
static char dir[64];

void khd_device_command(struct khd_device *dev, struct khazana_cmd *cmds, unsigned int n)
{
	cmds->result = 0;
	switch (cmds->op) {
	case KHAZANA_CMD_PARKED:
		module.looks++;
		if (!module.id || module.id < cmds->cookie ||
		    (module.discarded && module.looks > 1)) {
			cmds->result = -ENOENT;
			return;
		}
		*cmds = (struct khazana_cmd){ .op = KHAZANA_CMD_PARKED,
					      .cookie = module.id,
					      .region = 3,
					      .unit = 7,
					      .token = module.token,
					      .version = module.version,
					      .time_ns = module.time_ns };
		return;
	case KHAZANA_CMD_REGION_GET:
		cmds->region = module.region_gone ? 4 : 3;
		cmds->addr = (struct khazana_addr){ 5, 1 << 20 };
		cmds->generation = 9;
		cmds->unit_shift = SHIFT;
		return;
	case KHAZANA_CMD_PARKED_DROP:
		assert_int_equal(cmds->cookie, module.id);
		module.id = 0;
		module.drops++;
		return;
	default:
		fail();
	}
}

void *khd_device_frame(struct khd_device *dev, uint32_t frame, size_t len)
{
	return module.frame;
}

struct khd_store *khd_pages_store(struct khd_pages *p)
{
	return p->store;
}

struct khd_tag khd_pages_tag(struct khazana_addr region, uint64_t generation)
{
	return (struct khd_tag){ { (uint8_t)region.hi, (uint8_t)generation } };
}

void khd_event(struct khd *k, const char *name, const char *fmt, ...)
{
	snprintf(event, sizeof(event), "%s", name);
	events++;
}

static void heard(void *arg, const char *name, const char *text)
{
	fprintf(stderr, "%s: %s\n", name, text);
}

static void park_in_module(uint64_t id, uint64_t token, uint8_t byte)
{
	module.id = id;
	module.token = token;
	module.version = token - 2;
	module.time_ns = khd_now();
	module.looks = 0;
	memset(module.frame, byte, SIZE);
}

/* Until nothing is under way; at @now. */
static void ticks(uint64_t now)
{
	uint64_t end = khd_now() + 10000000000ull;

	while (khd_park_tick(khd.park, now) == ~0ull && khd_now() < end)
		khd_loop_wait(pages.khd->loop, 100000000);
	assert_true(khd_now() < end);
}

struct wait {
	struct khd_store_op op;
	bool ended;
	int error;
};

static void on_done(struct khd_store_op *op, int error)
{
	((struct wait *)op)->ended = true;
	((struct wait *)op)->error = error;
}

static int end_of(struct wait *wait)
{
	while (!wait->ended)
		assert_int_equal(khd_loop_wait(khd.loop, 1000000000), 0);
	return wait->error;
}

/* The first parked unit of an id of at least @id, with its first byte. */
static int stored(uint64_t id, struct khd_parked *parked, uint8_t *byte)
{
	uint8_t *buf = aligned_alloc(SIZE, SIZE);
	struct wait wait = { .op = { .done = on_done, .iov = { buf, SIZE } } };
	int error;

	khd_store_parked_get(pages.store, &wait.op, id, parked);
	error = end_of(&wait);
	*byte = buf[0];
	free(buf);
	return error;
}

static int setup(void **state)
{
	const struct khd_store_config config = { .capacity = 16 << 20 }, any = { 0 };
	int error;

	memset(&module, 0, sizeof(module));
	module.frame = aligned_alloc(SIZE, SIZE);
	events = 0;
	strcpy(dir, "/tmp/park_test.XXXXXX");
	assert_non_null(mkdtemp(dir));
	strcat(dir, "/store");
	khd.loop = khd_loop_poll(64);
	pages.khd = &khd;
	pages.disk = khd_disk_dir_open(khd.loop, dir, &error);
	assert_non_null(pages.disk);
	assert_int_equal(khd_store_format(pages.disk, &config), 0);
	pages.store = khd_store_open(pages.disk, &any, heard, NULL, &error, NULL);
	assert_non_null(pages.store);
	khd.pages = &pages;
	khd.park = khd_park_open(&khd);
	return khd.park ? 0 : -1;
}

static int teardown(void **state)
{
	struct wait wait = { .op.done = on_done };
	char command[100];

	khd_park_close(khd.park);
	khd_store_stop(pages.store, &wait.op);
	assert_int_equal(end_of(&wait), 0);
	khd_store_close(pages.store);
	khd_loop_destroy(khd.loop);
	khd_disk_dir_close(pages.disk);
	free(module.frame);
	*strrchr(dir, '/') = 0;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void a_frame_is_stored_then_dropped(void **state)
{
	struct khd_parked parked;
	uint8_t byte;

	park_in_module(1, 100, 0x11);
	ticks(khd_now());
	assert_int_equal(module.drops, 1);
	assert_string_equal(event, "parked-stored");
	assert_int_equal(stored(0, &parked, &byte), 0);
	assert_int_equal(byte, 0x11);
	assert_int_equal(parked.meta.token, 100);
	assert_int_equal(parked.meta.version, 98);
	assert_int_equal(parked.key.addr.hi, 5);
	assert_int_equal(parked.key.addr.lo, (1 << 20) + 7 * SIZE);
	assert_int_equal(parked.tag.bytes[1], 9);
	/* another one of the same unit is another one */
	park_in_module(2, 110, 0x22);
	ticks(khd_now() + MINUTE);
	assert_int_equal(module.drops, 2);
	assert_int_equal(stored(parked.id + 1, &parked, &byte), 0);
	assert_int_equal(byte, 0x22);
	assert_int_equal(stored(parked.id + 1, &parked, &byte), ENOENT);
}

static void what_an_earlier_khd_stored_is_only_dropped(void **state)
{
	struct khd_parked parked;
	uint8_t byte;

	park_in_module(1, 100, 0x11);
	ticks(khd_now());
	park_in_module(2, 110, 0x22);
	ticks(khd_now() + MINUTE);
	/* khd is killed before it could tell the module, and begins again */
	park_in_module(2, 110, 0x22);
	khd_park_close(khd.park);
	khd.park = khd_park_open(&khd);
	events = 0;
	ticks(khd_now());
	assert_int_equal(module.drops, 3);
	assert_int_equal(events, 0);
	assert_int_equal(stored(0, &parked, &byte), 0);
	assert_int_equal(stored(parked.id + 1, &parked, &byte), 0);
	assert_int_equal(stored(parked.id + 1, &parked, &byte), ENOENT);
	/* what it had not stored yet is stored */
	park_in_module(3, 120, 0x33);
	khd_park_close(khd.park);
	khd.park = khd_park_open(&khd);
	ticks(khd_now());
	assert_int_equal(module.drops, 4);
	assert_int_equal(stored(parked.id + 1, &parked, &byte), 0);
	assert_int_equal(byte, 0x33);
}

static void what_goes_meanwhile_is_passed_over(void **state)
{
	struct khd_parked parked;
	uint8_t byte;

	park_in_module(1, 100, 0x11);
	module.region_gone = true;
	ticks(khd_now());
	module.region_gone = false;
	park_in_module(2, 110, 0x22);
	module.discarded = true;
	ticks(khd_now() + MINUTE);
	assert_int_equal(module.drops, 0);
	assert_int_equal(stored(0, &parked, &byte), ENOENT);
	/* its place in the view is gone too: no fault, an error */
	module.discarded = false;
	park_in_module(3, 120, 0x33);
	free(module.frame);
	module.frame = (uint8_t *)SIZE;
	ticks(khd_now() + 2 * MINUTE);
	module.frame = NULL;
	assert_int_equal(module.drops, 0);
	assert_string_equal(event, "parked-left");
	assert_int_equal(stored(0, &parked, &byte), ENOENT);
}

static void what_has_no_room_stays_until_there_is(void **state)
{
	struct khd_range range = { .start = { .hi = 1 }, .shift = SHIFT, .generation = 1 };
	uint64_t units;

	/* all that can be promised is: halves, and then one by one */
	for (units = 4096; units;) {
		struct wait wait = { .op.done = on_done };

		range.units = units;
		khd_store_reserve(pages.store, &wait.op, &range);
		if (end_of(&wait))
			units /= 2;
		else
			range.start.lo += units * SIZE;
	}
	park_in_module(1, 100, 0x11);
	ticks(khd_now());
	assert_int_equal(module.drops, 0);
	assert_string_equal(event, "parked-left");
	ticks(khd_now() + MINUTE / 2);
	assert_int_equal(events, 1);
	range = (struct khd_range){
		.start = { .hi = 1 }, .units = 4096, .shift = SHIFT, .generation = 1
	};
	struct wait wait = { .op.done = on_done };
	khd_store_release(pages.store, &wait.op, &range);
	assert_int_equal(end_of(&wait), 0);
	ticks(khd_now() + 2 * MINUTE);
	assert_int_equal(module.drops, 1);
	assert_string_equal(event, "parked-stored");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_frame_is_stored_then_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(what_an_earlier_khd_stored_is_only_dropped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_goes_meanwhile_is_passed_over, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_has_no_room_stays_until_there_is, setup,
						teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
