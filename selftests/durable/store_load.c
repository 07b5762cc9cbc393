// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store_load DIR ADDR [OPTIONS]: the page store under load without anything around it: many durable
 * puts at a time into a directory; each that is acknowledged is one line, of the kind that
 * "durable" writes.
 *
 *   --size N      of the store, in MiB, when it is made (16)
 *   --pages N     of 4 KiB from ADDR on (1024)
 *   --puts N      so many, then it stops in order (2000)
 *   --at-once N   puts under way (16)
 *   --from V      the first version that is written (1)
 *   --seed S      of the order (1)
 *   --mark DEVICE acknowledgements go into the record of this log-writes device, too
 *   --plant NAME  a bug that the store shall have
 */
#include "khd/loop.h"
#include "khd/store/disk_dir.h"
#include "khd/store/store.h"
#include "selftests/durable/mark.h"
#include "selftests/durable/stamp.h"

#include <errno.h>
#include <getopt.h>
#include <khazana.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE_MAX 256
#define WAIT_NS 100000000ull
#define PATIENCE 300 /* waits in which nothing is acknowledged */
#define GENERATION 1

struct load;

struct put {
	struct khd_store_op op; /* first */
	struct load *load;
	uint64_t page;
	uint32_t version;
	void *data;
};

struct load {
	struct khd_loop *loop;
	struct khd_disk *disk;
	struct khd_store *store;
	struct khazana_addr addr;
	struct put puts[AT_ONCE_MAX];
	unsigned char *busy; /* by page */
	uint64_t pages, left, size;
	unsigned int at_once, under_way;
	uint32_t version;
	uint64_t random;
	const char *plant;
	struct mark mark;
};

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "store_load: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void on_event(void *arg, const char *name, const char *text)
{
	fprintf(stderr, "store_load: event %s: %s\n", name, text);
}

static void begin_put(struct put *put);

static void put_done(struct khd_store_op *op, int error)
{
	struct put *put = (struct put *)op;
	struct load *load = put->load;

	if (error)
		die("put", error);
	error = -mark_acknowledged(&load->mark, put->page, 1, put->version);
	if (error)
		die("an acknowledgement", error);
	load->busy[put->page] = 0;
	load->under_way--;
	if (load->left)
		begin_put(put);
}

static void begin_put(struct put *put)
{
	struct load *load = put->load;

	do {
		put->page = stamp_random(&load->random) % load->pages;
	} while (load->busy[put->page]);
	load->busy[put->page] = 1;
	load->under_way++;
	load->left--;
	put->version = load->version++;
	stamp_write(put->data, put->page, put->version);
	put->op = (struct khd_store_op){
		.done = put_done,
		.key = { .addr = kh_addr_add(load->addr, put->page * STAMP_PAGE),
			 .generation = GENERATION,
			 .shift = 12 },
		.meta = { .version = put->version, .token = put->version },
		.iov = { put->data, STAMP_PAGE },
		.flags = KHD_STORE_SYNC,
	};
	khd_store_put(load->store, &put->op);
}

/* An operation that is waited for. */
struct single {
	struct khd_store_op op; /* first */
	bool done;
	int error;
};

static void single_done(struct khd_store_op *op, int error)
{
	struct single *single = (struct single *)op;

	single->done = true;
	single->error = error;
}

static void step(struct load *load)
{
	int err;

	khd_store_tick(load->store, now_ns());
	err = khd_loop_wait(load->loop, WAIT_NS);
	if (err)
		die("loop", -err);
}

static void finish_single(struct load *load, const struct single *single, const char *what)
{
	for (unsigned int i = 0; !single->done && i < PATIENCE; i++)
		step(load);
	if (!single->done || single->error)
		die(what, single->done ? single->error : ETIMEDOUT);
}

static void set_up(struct load *load, const char *path)
{
	struct khd_store_config config = { .plant = load->plant };
	int error = 0;

	load->loop = khd_loop_uring(2 * AT_ONCE_MAX);
	if (!load->loop)
		load->loop = khd_loop_poll(2 * AT_ONCE_MAX);
	if (!load->loop)
		die("loop", errno);
	load->disk = khd_disk_dir_open(load->loop, path, &error);
	if (!load->disk)
		die(path, error);
	load->store = khd_store_open(load->disk, &config, on_event, NULL, &error, NULL);
	if (!load->store && error == ENOENT) {
		config.capacity = load->size;
		error = -khd_store_format(load->disk, &config);
		if (error)
			die("format", error);
		load->store = khd_store_open(load->disk, &config, on_event, NULL, &error, NULL);
	}
	if (!load->store)
		die("open", error);
	load->busy = calloc(load->pages, 1);
	if (!load->busy)
		die("memory", ENOMEM);
	error = -mark_open(&load->mark);
	if (error)
		die(load->mark.device, error);
}

static void run(struct load *load)
{
	const struct khd_range range = {
		.start = load->addr, .units = load->pages, .shift = 12, .generation = GENERATION
	};
	struct single reserve = { .op.done = single_done }, stop = { .op.done = single_done };
	unsigned int idle = 0;
	uint64_t left;

	khd_store_reserve(load->store, &reserve.op, &range);
	finish_single(load, &reserve, "reserve");
	for (unsigned int i = 0; i < load->at_once && load->left; i++) {
		struct put *put = &load->puts[i];

		put->load = load;
		put->data = aligned_alloc(KHD_DISK_ALIGN, STAMP_PAGE);
		if (!put->data)
			die("memory", ENOMEM);
		begin_put(put);
	}
	while (load->under_way) {
		left = load->left;
		step(load);
		idle = load->left == left ? idle + 1 : 0;
		if (idle > PATIENCE)
			die("put", ETIMEDOUT);
	}
	khd_store_stop(load->store, &stop.op);
	finish_single(load, &stop, "stop");
}

static void tear_down(struct load *load)
{
	khd_store_close(load->store);
	khd_loop_destroy(load->loop);
	khd_disk_dir_close(load->disk);
	for (unsigned int i = 0; i < load->at_once; i++)
		free(load->puts[i].data);
	free(load->busy);
}

static _Noreturn void usage(void)
{
	fputs("usage: store_load DIR ADDR [--size MIB] [--pages N] [--puts N] [--at-once N] "
	      "[--from V]\n"
	      "                  [--seed S] [--mark DEVICE] [--plant NAME]\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "pages", required_argument, NULL, 'p' },
		{ "puts", required_argument, NULL, 'n' },
		{ "at-once", required_argument, NULL, 'a' },
		{ "from", required_argument, NULL, 'f' },
		{ "seed", required_argument, NULL, 'r' },
		{ "mark", required_argument, NULL, 'm' },
		{ "plant", required_argument, NULL, 'b' },
		{ 0 },
	};
	static struct load load = { .pages = 1024,
				    .left = 2000,
				    .at_once = 16,
				    .version = 1,
				    .random = 1,
				    .size = 16 << 20 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			load.size = strtoull(optarg, NULL, 0) << 20;
			break;
		case 'p':
			load.pages = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			load.left = strtoull(optarg, NULL, 0);
			break;
		case 'a':
			load.at_once = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			load.version = strtoul(optarg, NULL, 0);
			break;
		case 'r':
			load.random = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			load.mark.device = optarg;
			break;
		case 'b':
			load.plant = optarg;
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 2 || !load.at_once || load.at_once > AT_ONCE_MAX ||
	    load.pages < 2 * load.at_once || load.pages > STAMP_PAGES_MAX || !load.version ||
	    kh_addr_parse(argv[optind + 1], &load.addr))
		usage();
	set_up(&load, argv[optind]);
	run(&load);
	tear_down(&load);
	return 0;
}
