// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * event.c - events of the module and of khd, as they happen
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "khadm/khadm.h"

#define RETRY_MS 1000 /* between attempts to reach a khd that has gone */

/**
 * struct watch - what is being watched
 * @args: the command line
 * @seen: events printed
 * @module: connection, or NULL
 * @khd: connection, or NULL while it is gone
 */
struct watch {
	const struct khadm_args *args;
	uint64_t seen;
	struct kh_ctl *module;
	struct kh_ctl *khd;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted = 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* One line for people: time, source, name, then whatever else there is. */
static void print_line(const json_t *event)
{
	json_int_t ns = json_integer_value(json_object_get(event, "time_ns"));
	const char *key;
	json_t *value;
	char *text;

	printf("%lld.%06lld %s %s", (long long)ns / 1000000000, (long long)ns / 1000 % 1000000,
	       json_string_value(json_object_get(event, "source")),
	       json_string_value(json_object_get(event, "name")));
	json_object_foreach((json_t *)event, key, value)
	{
		if (!strcmp(key, "seq") || !strcmp(key, "time_ns") || !strcmp(key, "source") ||
		    !strcmp(key, "name"))
			continue;
		text = khadm_text(value, false);
		if (!strcmp(key, "text"))
			printf(": %s", text);
		else
			printf(" %s %s", key, text);
		free(text);
	}
	putchar('\n');
}

static int event_print(void *arg, const struct kh_nl_msg *msg)
{
	struct watch *watch = arg;
	json_t *event = khadm_json(kh_nl_ops[KHAZANA_NL_CMD_EVENT].set, msg->body, msg->len);
	json_t *line;

	if (watch->args->json) {
		line = json_pack("{s:s}", "schema", "khazana.event/1");
		json_object_update(line, event);
		json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(line);
	} else {
		print_line(event);
	}
	json_decref(event);
	fflush(stdout);
	watch->seen++;
	return watch->args->count && watch->seen >= watch->args->count ? -ECANCELED : 0;
}

static int open_module(struct watch *watch)
{
	int err = kh_ctl_open_module(&watch->module);

	if (err)
		return err;
	err = kh_ctl_join(watch->module);
	if (!err)
		return 0;
	kh_ctl_close(watch->module);
	watch->module = NULL;
	return err;
}

static int open_khd(struct watch *watch)
{
	int err = khadm_open_khd(watch->args, &watch->khd);

	if (err)
		return err;
	err = kh_ctl_ask(watch->khd, KHAZANA_NL_CMD_EVENT_SUBSCRIBE, NULL, 0, false, NULL, NULL,
			 watch->args->timeout_ms);
	if (!err)
		return 0;
	kh_ctl_close(watch->khd);
	watch->khd = NULL;
	return err;
}

/* Read one source. Return: 0, or -ECANCELED: enough was seen. */
static int source_read(struct watch *watch, struct kh_ctl **ctl, const char *what)
{
	int err = kh_ctl_event_read(*ctl, event_print, watch);

	if (!err || err == -ECANCELED)
		return err;
	if (err == -ENOBUFS) {
		fprintf(stderr, "khadm: %s: events were lost\n", what);
		return 0;
	}
	khadm_warn(err, what, NULL);
	kh_ctl_close(*ctl);
	*ctl = NULL;
	return 0;
}

/* How long poll() may wait, until @deadline and the next attempt to reach khd. */
static int wait_ms(const struct watch *watch, uint64_t deadline)
{
	uint64_t now = now_ms(), left = deadline > now ? deadline - now : 0;

	if (!watch->khd && left > RETRY_MS)
		left = RETRY_MS;
	return deadline == UINT64_MAX && watch->khd ? -1 : (int)left;
}

static int watch_run(struct watch *watch)
{
	uint64_t deadline = watch->args->timeout_ms ? now_ms() + watch->args->timeout_ms :
						      UINT64_MAX;

	while (!interrupted) {
		struct pollfd fds[2] = {
			{ .fd = watch->module ? kh_ctl_fd(watch->module) : -1, .events = POLLIN },
			{ .fd = watch->khd ? kh_ctl_fd(watch->khd) : -1, .events = POLLIN },
		};

		if (poll(fds, 2, wait_ms(watch, deadline)) < 0 && errno != EINTR)
			return KHADM_REFUSED;
		if (fds[0].revents && source_read(watch, &watch->module, "module"))
			return KHADM_OK;
		if (fds[1].revents && source_read(watch, &watch->khd, "khd"))
			return KHADM_OK;
		if (now_ms() >= deadline)
			return watch->args->count ? KHADM_TIMEOUT : KHADM_OK;
		if (!watch->khd)
			open_khd(watch);
	}
	return KHADM_OK;
}

int khadm_event_watch(const struct khadm_args *args)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct watch watch = { .args = args };
	int err, code;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	err = open_module(&watch);
	if (err)
		khadm_warn(err, "module", NULL);
	err = open_khd(&watch);
	if (err && !watch.module)
		return khadm_fail(args, err, "khd", NULL);
	if (err)
		khadm_warn(err, "khd", NULL);
	code = watch_run(&watch);
	kh_ctl_close(watch.khd);
	kh_ctl_close(watch.module);
	return code;
}
