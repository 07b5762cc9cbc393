// SPDX-License-Identifier: GPL-2.0-or-later
/* main.c - khd: start, the pass of the loop, stop */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "khd/control.h"
#include "khd/device.h"
#include "khd/khd.h"
#include "khd/log.h"
#include "khd/memory.h"
#include "khd/pages.h"
#include "khd/park.h"
#include "khd/plant.h"
#include "khd/state.h"
#include "khd/tcp.h"

#define VERSION "0.1"
#define EXIT_CONFIG 2
#define HEAP_STEP (1 << 20) /* bytes that the heap grows by */
#define HEAP_KEPT (16 << 20) /* and may have unused at its end */

void khd_event(struct khd *khd, const char *name, const char *fmt, ...)
{
	char text[KHD_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	khd_log(KHD_INFO, "event %s: %s", name, text);
	if (khd->control)
		khd_control_event(khd->control, name, text);
}

void khd_fail(struct khd *khd, const char *fmt, ...)
{
	char text[KHD_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!khd->failed)
		khd_log(KHD_ERR, "%s", text);
	khd->failed = true;
	khd->stop = true;
}

/* ------------------------------------------------------------ host of the node */

static void host_send(void *host, kh_node_id peer, const void *head, size_t head_len,
		      const void *data, size_t data_len)
{
	struct khd *khd = host;

	khd_tcp_send(khd->tcp, peer, head, head_len, data, data_len);
}

static void host_command(void *host, struct khazana_cmd *cmds, unsigned int n)
{
	struct khd *khd = host;

	if (khd->device) {
		khd_device_command(khd->device, cmds, n);
		return;
	}
	while (n--)
		(cmds++)->result = -ENODEV;
}

static void *host_frame(void *host, uint32_t frame, size_t len)
{
	struct khd *khd = host;

	return khd->device ? khd_device_frame(khd->device, frame, len) : NULL;
}

static void host_reply(void *host, uint64_t op_id, const struct kh_op_result *result)
{
	struct khd *khd = host;

	khd_control_reply(khd->control, op_id, result);
}

static int host_persist(void *host, const char *key, const void *blob, size_t len)
{
	struct khd *khd = host;
	int ret = khd_state_put(khd->state, key, blob, len);

	if (ret)
		khd_log(KHD_ERR, "cannot store %s: %s", key, strerror(-ret));
	return ret;
}

static void host_random(void *host, void *buf, size_t len)
{
	struct khd *khd = host;
	char *at = buf;

	while (len) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno != EINTR) {
			khd_fail(khd, "getrandom: %s", strerror(errno));
			return;
		}
		if (n > 0) {
			at += n;
			len -= n;
		}
	}
}

static void host_event(void *host, const char *name, const char *text)
{
	khd_event(host, name, "%s", text);
}

static void host_store(void *host, const struct kh_store_cmd *cmd)
{
	struct khd *khd = host;

	khd_pages_command(khd->pages, cmd);
}

static const struct kh_host_ops host_ops = {
	.send = host_send,
	.command = host_command,
	.frame = host_frame,
	.reply = host_reply,
	.persist = host_persist,
	.random = host_random,
	.event = host_event,
	.store = host_store,
};

/* ------------------------------------------------------------ start and stop */

static int restore_one(void *arg, const char *key, const void *blob, size_t len)
{
	struct khd *khd = arg;
	int ret = kh_node_restore(khd->node, key, blob, len);

	if (ret)
		khd_log(KHD_ERR, "%s/blobs/%s is damaged; nothing is guessed, khd stops",
			khd->config.state, key);
	return ret;
}

static bool make_node(struct khd *khd)
{
	static kh_node_id peers[KH_NODES_MAX];
	const struct khd_config *config = &khd->config;
	unsigned int i;
	int ret;

	for (i = 0; i < config->peer_count; i++)
		peers[i] = config->peers[i].id;
	khd->node_config = (struct kh_node_config){
		.id = config->id,
		.incarnation = khd->incarnation,
		.boot = khd->boot,
		.peers = peers,
		.peer_count = config->peer_count,
		.lease_ms = config->lease_ms,
		.drift_ppm = config->drift_ppm,
		.zap_budget_ms = config->zap_budget_ms,
		.frames_max = khd->device ? khd_device_frames(khd->device) : 0,
		.plant = khd_plant(false),
		.store = khd->pages,
		.flush_ms = config->flush_ms,
	};
	strcpy(khd->node_config.cluster, config->cluster);
	khd->node = kh_node_create(&khd->node_config, &host_ops, khd, khd_now());
	if (!khd->node) {
		khd_log(KHD_ERR, "the node cannot be made");
		return false;
	}
	ret = khd_state_each(khd->state, restore_one, khd);
	if (ret)
		khd_log(KHD_ERR, "%s: %s", config->state, strerror(-ret));
	return !ret;
}

static bool enter_netns(const char *path)
{
	int fd, ret;

	if (!path[0])
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ret = fd < 0 ? -1 : setns(fd, CLONE_NEWNET);
	if (ret < 0)
		khd_log(KHD_ERR, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return !ret;
}

static struct khd_loop *make_loop(const struct khd_config *config)
{
	unsigned int ios = config->limits.queue_depth + 256;
	struct khd_loop *loop;

	if (config->queue == KHD_QUEUE_READ)
		return khd_loop_poll(ios);
	loop = khd_loop_uring(ios);
	if (loop && (loop->has_uring_cmd || config->queue == KHD_QUEUE_AUTO || !config->device[0]))
		return loop;
	if (config->queue == KHD_QUEUE_URING) {
		khd_log(KHD_ERR, "io_uring: %s", loop ? "no uring_cmd" : strerror(errno));
		khd_loop_destroy(loop);
		return NULL;
	}
	khd_log(KHD_WARN, "io_uring: %s; using poll", strerror(errno));
	return khd_loop_poll(ios);
}

/* Before there are threads: the one of the store's jobs inherits it, and a fault waits for that
 * too. */
static void never_wait_for_writeback(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		khd_log(KHD_WARN, "PR_SET_IO_FLUSHER: %s", strerror(errno));
}

/* Memory that serves a fault must not wait for memory; needs privileges that tests lack. */
static void harden(struct khd *khd)
{
	struct sched_param param = { .sched_priority = khd->config.priority };

	/* What was grown is locked, page by page: not again for every burst of messages. */
	mallopt(M_TOP_PAD, HEAP_STEP);
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		khd_log(KHD_WARN, "mlockall: %s", strerror(errno));
	if (khd->device)
		khd_device_unlock_view(khd->device);
	if (param.sched_priority && sched_setscheduler(0, SCHED_RR, &param) < 0)
		khd_log(KHD_WARN, "SCHED_RR: %s", strerror(errno));
}

static bool open_all(struct khd *khd)
{
	uint32_t port;

	if (!enter_netns(khd->config.netns))
		return false;
	khd->state = khd_state_open(khd->config.state, &khd->incarnation);
	if (!khd->state)
		return false;
	khd->loop = make_loop(&khd->config);
	if (!khd->loop)
		return false;
	khd->control = khd_control_open(khd, &port);
	if (!khd->control)
		return false;
	if (khd->config.store.dir[0]) {
		khd->pages = khd_pages_open(khd);
		if (!khd->pages)
			return false;
	}
	if (khd->config.device[0]) {
		khd->device = khd_device_open(khd, port);
		if (!khd->device)
			return false;
		khd->memory = khd_memory_open(khd);
		if (!khd->memory)
			return false;
	} else {
		host_random(khd, &khd->boot, sizeof(khd->boot));
	}
	if (khd->pages && khd->device) {
		khd->park = khd_park_open(khd);
		if (!khd->park)
			return false;
	}
	khd->tcp = khd_tcp_open(khd);
	return khd->tcp && make_node(khd);
}

static void close_all(struct khd *khd)
{
	khd_pages_stop(khd->pages);
	khd_loop_destroy(khd->loop);
	if (khd->node)
		kh_node_destroy(khd->node);
	khd_tcp_close(khd->tcp);
	khd_park_close(khd->park);
	khd_memory_close(khd->memory);
	khd_device_close(khd->device);
	khd_pages_close(khd->pages);
	khd_control_close(khd->control);
	khd_state_close(khd->state);
}

static void on_signal(struct khd_io *io, int res)
{
	struct khd *khd = io->buf;

	khd_log(KHD_INFO, "stopping");
	khd->stop = true;
}

static struct khd_io *watch_signals(struct khd *khd)
{
	static struct khd_io io;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	io = (struct khd_io){ .op = KHD_IO_POLL,
			      .fd = signalfd(-1, &set, SFD_CLOEXEC),
			      .buf = khd,
			      .done = on_signal };
	return &io;
}

static void run(struct khd *khd)
{
	uint64_t now, next = 0, deadline;
	int ret;

	while (!khd->stop) {
		now = khd_now();
		deadline = kh_node_deadline(khd->node);
		if (next < deadline)
			deadline = next;
		ret = khd_loop_wait(khd->loop, deadline == ~0ull ? ~0ull :
					       deadline > now	 ? deadline - now :
								   0);
		if (ret < 0)
			khd_fail(khd, "%s: %s", khd->loop->name, strerror(-ret));
		now = khd_now();
		if (now >= kh_node_deadline(khd->node))
			kh_node_tick(khd->node, now);
		next = khd_tcp_tick(khd->tcp, now);
		if (khd->pages) {
			deadline = khd_pages_tick(khd->pages, now);
			if (deadline < next)
				next = deadline;
		}
		deadline = khd_park_tick(khd->park, now);
		if (deadline < next)
			next = deadline;
		deadline = khd_memory_tick(khd->memory, now);
		if (deadline < next)
			next = deadline;
		/* In this order: messages leave before the kernel looks for new requests. */
		khd_tcp_flush(khd->tcp);
		if (khd->device)
			khd_device_flush(khd->device);
	}
}

/* What a user must not take for granted. */
static void say_promises(const struct khd_config *config)
{
	if (config->store.dir[0])
		khd_log(KHD_INFO,
			"pages placed here are kept on disk, in %s: one copy, NOT encrypted",
			config->store.dir);
	else
		khd_log(KHD_WARN, "no [store]: pages that no other node's store keeps are NOT "
				  "persistent, they live in the memory of the nodes only");
	khd_log(KHD_WARN, "connections between nodes are NOT encrypted and nodes do not prove who "
			  "they are");
}

static int serve(struct khd *khd)
{
	struct khd_io *signals = watch_signals(khd);

	khd_log(KHD_INFO, "version %s, node %u of cluster %s", VERSION, khd->config.id,
		khd->config.cluster);
	say_promises(&khd->config);
	never_wait_for_writeback();
	if (!open_all(khd)) {
		close_all(khd);
		return EXIT_FAILURE;
	}
	harden(khd);
	khd_loop_submit(khd->loop, signals);
	kh_node_start(khd->node, khd_now());
	if (khd->device)
		khd_device_start(khd->device);
	khd_tcp_start(khd->tcp);
	khd_control_start(khd->control);
	khd_log(KHD_INFO, "incarnation %llu, loop by %s", (unsigned long long)khd->incarnation,
		khd->loop->name);
	khd_notify("READY=1");
	run(khd);
	khd_notify("STOPPING=1");
	close_all(khd);
	return khd->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout, "usage: khd -c FILE [-f] [-t]\n"
					  "  -c FILE    configuration, khd.conf(5)\n"
					  "  -f         stay in the foreground (always)\n"
					  "  -t         test the configuration and exit\n"
					  "  --version  print the version and exit\n");
	return status;
}

int main(int argc, char **argv)
{
	static struct khd khd;
	const char *path = NULL;
	bool test = false;
	int c;

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("khd " VERSION);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "--help"))
		return usage(0);
	while ((c = getopt(argc, argv, "c:ft")) != -1) {
		if (c == 'c')
			path = optarg;
		else if (c == 't')
			test = true;
		else if (c != 'f')
			return usage(EXIT_CONFIG);
	}
	if (!path || optind != argc)
		return usage(EXIT_CONFIG);
	if (!khd_config_read(&khd.config, path))
		return EXIT_CONFIG;
	if (test)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	return serve(&khd);
}
