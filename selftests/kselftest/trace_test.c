// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * trace_test.c - the module's tracepoints: each is enabled, and tells what has happened
 */
#include "kzt.h"

#include <dirent.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define TRACING "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/kzt"
#define LOG_SIZE (1 << 20)
#define LEASE 7

static char text[LOG_SIZE]; /* what was traced, one line after the other */

static int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int err = fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;

	close(fd);
	return err;
}

static void read_trace(void)
{
	int fd = open(INSTANCE "/trace", O_RDONLY);
	size_t size = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += n;
	text[size] = 0;
	close(fd);
}

/* How many lines of an event have these words. */
static unsigned int lines(const char *event, const char *words, ...)
{
	char want[200], name[64], *line, *end;
	unsigned int n = 0;
	va_list args;

	va_start(args, words);
	vsnprintf(want, sizeof(want), words, args);
	va_end(args);
	snprintf(name, sizeof(name), " %s: ", event);
	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		if (strstr(line, name) && strstr(line, want))
			n++;
		*end = '\n';
	}
	return n;
}

FIXTURE(trace)
{
	struct kzt t;
};

FIXTURE_SETUP(trace)
{
	struct khazana_cmd attributes = { .lease = LEASE, .wait_ms = 20000 };

	if (access(TRACING "/events", F_OK))
		ASSERT_EQ(0, mount("none", TRACING, "tracefs", 0, NULL));
	rmdir(INSTANCE);
	ASSERT_EQ(0, mkdir(INSTANCE, 0755));
	ASSERT_EQ(0, write_file(INSTANCE "/events/khazana/enable", "1"));
	ASSERT_EQ(0, kzt_open(&self->t, 0, &attributes));
}

FIXTURE_TEARDOWN(trace)
{
	kzt_close(&self->t);
	write_file(INSTANCE "/events/khazana/enable", "0");
	rmdir(INSTANCE);
}

TEST_F(trace, edges_of_a_unit)
{
	unsigned int region = self->t.region;
	struct kzt *t = &self->t;

	*kzt_word(t, 3) = 1;
	ASSERT_EQ(0, kzd_revoke(t->d, region, 3, RIGHT_READ, 0));
	ASSERT_EQ(0, kzd_revoke(t->d, region, 3, RIGHT_NONE, 0));
	EXPECT_EQ(1, *kzt_word(t, 3));
	read_trace();
	EXPECT_EQ(2,
		  lines("khazana_request", "op=%u region=%u unit=3+1 ", KHAZANA_REQ_FAULT, region));
	EXPECT_EQ(1, lines("khazana_request", "want=write"));
	EXPECT_EQ(1, lines("khazana_request", "want=read"));
	EXPECT_EQ(2, lines("khazana_command", "op=%u region=%u unit=3+1 ", KHAZANA_CMD_COMMIT,
			   region));
	EXPECT_EQ(2, lines("khazana_command", "op=%u region=%u unit=3+1 ", KHAZANA_CMD_REVOKE,
			   region));
	EXPECT_EQ(2, lines("khazana_unit", "region=%u unit=3 fault", region));
	EXPECT_EQ(2, lines("khazana_unit", "region=%u unit=3 commit", region));
	EXPECT_EQ(2, lines("khazana_unit", "region=%u unit=3 revoke", region));
	/* from where to where */
	EXPECT_EQ(2, lines("khazana_unit", "stable/none -> fetching/none"));
	EXPECT_EQ(1, lines("khazana_unit", "fetching/none -> stable/write"));
	EXPECT_EQ(1, lines("khazana_unit", "stable/write -> revoking/read"));
	EXPECT_EQ(1, lines("khazana_unit", "revoking/read -> stable/read"));
	EXPECT_EQ(1, lines("khazana_unit", "stable/read -> revoking/none"));
	EXPECT_EQ(1, lines("khazana_unit", "revoking/none -> stable/none"));
	EXPECT_EQ(1, lines("khazana_unit", "fetching/none -> stable/read"));
}

TEST_F(trace, errors_regions_leases_daemons)
{
	unsigned int region = self->t.region;
	struct kzt *t = &self->t;
	struct khazana_request req;
	struct kzt_thread load;

	/* a fault that fails */
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	kzt_access_start(&load, kzt_word(t, 9), false, 0);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &req));
	ASSERT_EQ(0, kzd_fail(t->d, &req, EIO));
	ASSERT_TRUE(kzt_access_wait(&load, KZT_SOON_MS));
	EXPECT_EQ(SIGBUS, load.result);
	/* a lease that ends, with three units under it: the server answers the failed request, too */
	kzd_release(t->d);
	*kzt_word(t, 0) = 1;
	*kzt_word(t, 1) = 1;
	kzd_skip(t->d, KHAZANA_REQ_EXPIRED);
	kzd_lease(t->d, LEASE, 300);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_EXPIRED, KZT_SOON_MS, NULL));
	/* a region and a daemon that go */
	munmap(t->map, KZT_LENGTH);
	t->map = NULL;
	close(t->fd);
	t->fd = -1;
	ASSERT_EQ(0, kzd_region_del(t->d, region));
	kzd_kill(t->d);

	read_trace();
	EXPECT_EQ(1, lines("khazana_fault_error", "region=%u unit=9 err=-5", region));
	EXPECT_EQ(1, lines("khazana_lease", "lease=%u ", LEASE));
	EXPECT_EQ(1, lines("khazana_lease", " units=3"));
	EXPECT_EQ(3, lines("khazana_unit", " expire token="));
	EXPECT_EQ(2, lines("khazana_unit", "stable/write -> expired-dirty/none"));
	EXPECT_EQ(1, lines("khazana_region", "region=%u %016llx%016llx+%lx added", region,
			   KZT_START.hi, KZT_START.lo, KZT_LENGTH));
	EXPECT_EQ(1, lines("khazana_region", "region=%u %016llx%016llx+%lx removed", region,
			   KZT_START.hi, KZT_START.lo, KZT_LENGTH));
	EXPECT_EQ(1, lines("khazana_daemon", "node=1 registered"));
	EXPECT_EQ(1, lines("khazana_daemon", "node=1 gone"));
}

/* Every event of the module is in the tests above: one that nobody looks at is found here. */
TEST_F(trace, no_other_events)
{
	static const char *const known[] = { "khazana_unit",	    "khazana_request",
					     "khazana_command",	    "khazana_region",
					     "khazana_fault_error", "khazana_lease",
					     "khazana_daemon" };
	DIR *dir = opendir(INSTANCE "/events/khazana");
	unsigned int found = 0, i;
	struct dirent *e;

	ASSERT_NE(NULL, dir);
	while ((e = readdir(dir))) {
		if (strncmp(e->d_name, "khazana_", 8))
			continue;
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (!strcmp(e->d_name, known[i]))
				break;
		EXPECT_GT(sizeof(known) / sizeof(known[0]), i)
		{
			TH_LOG("%s", e->d_name);
		}
		found++;
	}
	closedir(dir);
	EXPECT_EQ(sizeof(known) / sizeof(known[0]), found);
	/* and nothing is traced when they are off */
	ASSERT_EQ(0, write_file(INSTANCE "/events/khazana/enable", "0"));
	ASSERT_EQ(0, write_file(INSTANCE "/trace", ""));
	*kzt_word(&self->t, 0) = 1;
	read_trace();
	EXPECT_EQ(0, lines("khazana_unit", "region=") + lines("khazana_request", "op="));
}

TEST_HARNESS_MAIN
