// SPDX-License-Identifier: GPL-2.0-or-later
/* control.c - clients and their operations */
#include <errno.h>
#include <grp.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "khd/conn.h"
#include "khd/control.h"
#include "khd/log.h"
#include "khd/memory.h"
#include "khd/pages.h"
#include "khd/tcp.h"

#define SEND_BUFFER (1 << 20)
#define COUNTERS_MAX 256
#define SLOT_BITS 16 /* an operation's id is serial << SLOT_BITS | slot */

/* A connection to the socket, or a port that watches events by netlink. */
struct client {
	struct khd_io io; /* receives; unused for a port */
	struct khd_control *control;
	bool used;
	bool privileged;
	bool watching;
	uint32_t port; /* 0: the socket */
	struct kh_ctl_request watch;
	char *buf;
};

/* One operation of the node; free if id is 0. */
struct op {
	uint64_t id;
	struct client *client; /* NULL: a port, or it went away */
	uint32_t port;
	struct kh_ctl_request req;
};

struct khd_control {
	struct khd *khd;
	int listen_fd, netlink_fd;
	struct khd_io accept_io, netlink_io;
	struct client *clients;
	struct op *ops;
	uint64_t serial, event_seq;
	char netlink_buf[KH_CTL_MESSAGE_MAX];
};

/* Where an answer goes. */
struct target {
	struct khd_control *control;
	struct client *client;
	uint32_t port;
};

static int emit(void *ctx, const void *msg, size_t len)
{
	struct target *to = ctx;
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_pid = to->port };
	ssize_t n;

	if (to->port)
		n = sendto(to->control->netlink_fd, msg, len, MSG_DONTWAIT,
			   (struct sockaddr *)&addr, sizeof(addr));
	else if (to->client)
		n = send(to->client->io.fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		return 0;
	return n < 0 ? -errno : 0;
}

/* An answer could not be sent whole: the client cannot make sense of the rest. */
static void hang_up(struct client *client)
{
	shutdown(client->io.fd, SHUT_RDWR);
}

static struct op *free_op(struct khd_control *control)
{
	uint32_t i, n = control->khd->config.limits.ops;

	for (i = 0; i < n; i++)
		if (!control->ops[i].id)
			return &control->ops[i];
	return NULL;
}

static void refuse(struct target *to, const struct kh_ctl_request *req, int error, const char *text)
{
	if (kh_ctl_reply_error(req, error, text, emit, to) < 0 && to->client)
		hang_up(to->client);
}

static struct client *free_client(struct khd_control *control)
{
	uint32_t i, n = control->khd->config.limits.clients;

	for (i = 0; i < n; i++)
		if (!control->clients[i].used)
			return &control->clients[i];
	return NULL;
}

static void watch(struct target *to, const struct kh_ctl_request *req)
{
	static const struct kh_op_result ok;
	struct client *client = to->client;

	if (!client)
		client = free_client(to->control);
	if (!client) {
		refuse(to, req, ENOMEM, "too many clients");
		return;
	}
	if (!to->client) {
		*client = (struct client){ .control = to->control, .used = true, .port = to->port };
	}
	client->watch = *req;
	client->watching = true;
	if (kh_ctl_reply(req, &ok, emit, to) < 0 && to->client)
		hang_up(to->client);
}

/* One packet of a client. False: it is no message at all. */
static bool take(struct target *to, bool privileged, const void *msg, size_t len)
{
	struct khd_control *control = to->control;
	struct kh_ctl_request req;
	const char *text = NULL;
	struct op *op;
	int ret;

	ret = kh_ctl_parse(msg, len, &req, &text);
	if (ret == -EBADMSG)
		return false;
	if (ret) {
		refuse(to, &req, ret, text);
		return true;
	}
	if (req.subscribe) {
		watch(to, &req);
		return true;
	}
	op = free_op(control);
	if (!op) {
		refuse(to, &req, ENOMEM, "too many operations are under way");
		return true;
	}
	req.op.privileged = privileged;
	*op = (struct op){
		.id = ++control->serial << SLOT_BITS | (op - control->ops),
		.client = to->client,
		.port = to->port,
		.req = req,
	};
	if (req.cmd == KHAZANA_NL_CMD_MEMORY_RESIZE)
		khd_memory_ask(control->khd, op->id, &op->req);
	else if (req.own)
		khd_pages_ask(control->khd, op->id, &op->req);
	else
		kh_node_op(control->khd->node, op->id, &req.op, khd_now());
	explicit_bzero(&req, sizeof(req));
	return true;
}

/* The core's counters, and those of khd behind them. */
static void reply_stats(struct target *to, const struct kh_ctl_request *req,
			const struct kh_op_result *result)
{
	struct kh_counter counters[COUNTERS_MAX];
	struct kh_op_result all = *result;
	unsigned int room = COUNTERS_MAX - KHD_TCP_COUNTERS;

	if (all.counter_count > room)
		all.counter_count = room;
	if (all.counter_count)
		memcpy(counters, result->counters, all.counter_count * sizeof(counters[0]));
	khd_tcp_counters(to->control->khd->tcp, counters + all.counter_count);
	all.counter_count += KHD_TCP_COUNTERS;
	all.counters = counters;
	if (kh_ctl_reply(req, &all, emit, to) < 0 && to->client)
		hang_up(to->client);
}

static struct op *op_of(struct khd_control *control, uint64_t op_id)
{
	return &control->ops[op_id & ((1 << SLOT_BITS) - 1)];
}

void khd_control_reply(struct khd_control *control, uint64_t op_id,
		       const struct kh_op_result *result)
{
	struct op *op = op_of(control, op_id);
	struct target to = { control, op->client, op->port };

	if (op->req.op.code == KH_OP_STATS && !result->error)
		reply_stats(&to, &op->req, result);
	else if (kh_ctl_reply(&op->req, result, emit, &to) < 0 && to.client)
		hang_up(to.client);
	explicit_bzero(op, sizeof(*op));
}

void khd_control_answer(struct khd_control *control, uint64_t op_id, khd_answer_fn *answer,
			const void *arg)
{
	struct op *op = op_of(control, op_id);
	struct target to = { control, op->client, op->port };

	if (answer(&op->req, arg, emit, &to) < 0 && to.client)
		hang_up(to.client);
	explicit_bzero(op, sizeof(*op));
}

void khd_control_refuse(struct khd_control *control, uint64_t op_id, int error, const char *text)
{
	struct op *op = op_of(control, op_id);
	struct target to = { control, op->client, op->port };

	if (error && !text)
		text = kh_strerror(error);
	refuse(&to, &op->req, error, error ? text : NULL);
	explicit_bzero(op, sizeof(*op));
}

static void client_gone(struct client *client)
{
	struct khd_control *control = client->control;
	uint32_t i;

	for (i = 0; i < control->khd->config.limits.ops; i++) {
		struct op *op = &control->ops[i];

		if (!op->id || op->client != client)
			continue;
		op->client = NULL;
		if (op->req.own)
			continue; /* its end will find nobody */
		kh_node_op_cancel(control->khd->node, op->id, khd_now());
	}
	close(client->io.fd);
	explicit_bzero(client->buf, KH_CTL_MESSAGE_MAX);
	free(client->buf);
	*client = (struct client){ 0 };
}

static void on_packet(struct khd_io *io, int res)
{
	struct client *client = (struct client *)io;
	struct target to = { client->control, client, 0 };

	if (res == -EINTR || res == -EAGAIN) {
		khd_loop_submit(client->control->khd->loop, io);
		return;
	}
	if (res <= 0 || !take(&to, client->privileged, client->buf, res)) {
		client_gone(client);
		return;
	}
	khd_loop_submit(client->control->khd->loop, io);
}

static bool is_privileged(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == 0 || cred.uid == geteuid();
}

static void on_accept(struct khd_io *io, int res)
{
	struct khd_control *control =
		(void *)((char *)io - offsetof(struct khd_control, accept_io));
	const int buffer = SEND_BUFFER;
	struct client *client;
	char *buf;

	khd_loop_submit(control->khd->loop, io);
	if (res < 0)
		return;
	client = free_client(control);
	buf = client ? malloc(KH_CTL_MESSAGE_MAX) : NULL;
	if (!buf) {
		khd_log(KHD_WARN, "too many clients; one was turned away");
		close(res);
		return;
	}
	setsockopt(res, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	*client = (struct client){
		.io = { .op = KHD_IO_RECV,
			.fd = res,
			.buf = buf,
			.len = KH_CTL_MESSAGE_MAX,
			.done = on_packet },
		.control = control,
		.used = true,
		.privileged = is_privileged(res),
		.buf = buf,
	};
	khd_loop_submit(control->khd->loop, &client->io);
}

static void on_netlink(struct khd_io *io, int res)
{
	struct khd_control *control =
		(void *)((char *)io - offsetof(struct khd_control, netlink_io));
	struct sockaddr_nl from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	n = recvfrom(control->netlink_fd, control->netlink_buf, sizeof(control->netlink_buf),
		     MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from, &from_len);
	if (n > 0 && n <= (ssize_t)sizeof(control->netlink_buf) && from.nl_pid && !from.nl_groups) {
		struct target to = { control, NULL, from.nl_pid };

		take(&to, true, control->netlink_buf, n);
		explicit_bzero(control->netlink_buf, n);
	}
	khd_loop_submit(control->khd->loop, io);
}

void khd_control_event(struct khd_control *control, const char *name, const char *text)
{
	uint32_t i;

	control->event_seq++;
	for (i = 0; i < control->khd->config.limits.clients; i++) {
		struct client *client = &control->clients[i];
		struct target to = { control, client->port ? NULL : client, client->port };
		int ret;

		if (!client->watching)
			continue;
		ret = kh_ctl_event(&client->watch, control->event_seq, khd_now(),
				   control->khd->config.id, name, text, emit, &to);
		if (client->port && ret == -ECONNREFUSED)
			*client = (struct client){ 0 };
	}
}

static int open_netlink(struct khd_control *control, uint32_t *port)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	*port = 0;
	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
		close(fd);
		return -1;
	}
	*port = addr.nl_pid;
	control->netlink_io = (struct khd_io){ .op = KHD_IO_POLL, .fd = fd, .done = on_netlink };
	return fd;
}

/* The last component of the directory that the socket is in: /run is empty after a boot. */
static bool make_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[sizeof(((struct khd_config *)0)->socket)];
	mode_t mask;
	int ret;

	if (slash == path)
		return true;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	mask = umask(022);
	ret = mkdir(dir, 0755);
	umask(mask);
	if (!ret || errno == EEXIST) /* what else it may be, bind() tells */
		return true;
	khd_log(KHD_ERR, "%s, the directory of the socket, cannot be made: %s", dir,
		strerror(errno));
	return false;
}

/* Return: -1 after an error, which was logged. */
static int open_socket(struct khd_control *control, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct group *group = getgrnam("khazana");
	unsigned int tries = 0;
	mode_t mask;
	int fd, ret;

	if (!make_directory(path))
		return -1;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	while (fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		if (!khd_address_wait(&tries)) {
			khd_log(KHD_ERR, "%s: another khd answers there", path);
			return -1;
		}
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	}
	if (fd < 0) {
		khd_log(KHD_ERR, "%s: %s", path, strerror(errno));
		return -1;
	}
	unlink(path);
	mask = umask(0117);
	ret = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (!ret && group && chown(path, -1, group->gr_gid) < 0)
		khd_log(KHD_WARN, "%s: cannot be given to group khazana", path);
	if (ret < 0 || listen(fd, 16) < 0) {
		khd_log(KHD_ERR, "%s: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	control->accept_io = (struct khd_io){ .op = KHD_IO_ACCEPT, .fd = fd, .done = on_accept };
	return fd;
}

struct khd_control *khd_control_open(struct khd *khd, uint32_t *netlink_port)
{
	const struct khd_config *config = &khd->config;
	struct khd_control *control = calloc(1, sizeof(*control));

	_Static_assert(65536 <= 1 << SLOT_BITS, "limits.ops does not fit into an id");
	if (!control)
		return NULL;
	control->khd = khd;
	control->listen_fd = -1;
	control->clients = calloc(config->limits.clients, sizeof(*control->clients));
	control->ops = calloc(config->limits.ops, sizeof(*control->ops));
	control->netlink_fd = open_netlink(control, netlink_port);
	if (!control->clients || !control->ops) {
		khd_log(KHD_ERR, "no memory for clients");
		goto fail;
	}
	if (config->socket[0]) {
		control->listen_fd = open_socket(control, config->socket);
		if (control->listen_fd < 0)
			goto fail;
	}
	return control;
fail:
	khd_control_close(control);
	return NULL;
}

void khd_control_start(struct khd_control *control)
{
	if (control->listen_fd >= 0)
		khd_loop_submit(control->khd->loop, &control->accept_io);
	if (control->netlink_fd >= 0)
		khd_loop_submit(control->khd->loop, &control->netlink_io);
}

void khd_control_close(struct khd_control *control)
{
	uint32_t i;

	if (!control)
		return;
	if (control->listen_fd >= 0) {
		unlink(control->khd->config.socket);
		close(control->listen_fd);
	}
	if (control->netlink_fd >= 0)
		close(control->netlink_fd);
	for (i = 0; control->clients && i < control->khd->config.limits.clients; i++) {
		if (!control->clients[i].buf)
			continue;
		close(control->clients[i].io.fd);
		free(control->clients[i].buf);
	}
	free(control->clients);
	free(control->ops);
	free(control);
}
