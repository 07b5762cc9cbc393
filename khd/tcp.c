// SPDX-License-Identifier: GPL-2.0-or-later
/* tcp.c - who is connected: listening, dialling, HELLO, dead peers */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/wire.h"
#include "khd/conn.h"
#include "khd/log.h"
#include "khd/tcp.h"

#define MS 1000000ull
#define HANDSHAKE_MS 2000
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000
#define STRANGERS_MAX (KH_NODES_MAX + 8) /* accepted, without a HELLO yet */
#define SOCKET_BUFFER (4 << 20)

struct peer {
	const struct khd_peer_config *config;
	bool dials; /* this node connects to it, not it to this one */
	struct khd_conn *conn; /* the one that is up, or being dialled */
	uint64_t incarnation; /* greatest seen */
	uint64_t retry_at;
	uint32_t retry_ms;
	int said; /* last connect error logged */
};

struct khd_tcp {
	struct khd *khd;
	int listen_fd;
	struct khd_io accept;
	struct khd_conn *conns; /* all of them */
	unsigned int strangers;
	struct peer peers[KH_NODES_MAX];
	uint64_t connections, malformed, refused, overflows, lost;
};

static struct peer *peer_by_id(struct khd_tcp *tcp, kh_node_id id)
{
	unsigned int i;

	for (i = 0; i < tcp->khd->config.peer_count; i++)
		if (tcp->peers[i].config->id == id)
			return &tcp->peers[i];
	return NULL;
}

static void retry_later(struct khd_tcp *tcp, struct peer *peer)
{
	peer->retry_at = khd_now() + peer->retry_ms * MS;
	peer->retry_ms = peer->retry_ms * 2 < RETRY_MAX_MS ? peer->retry_ms * 2 : RETRY_MAX_MS;
}

/* The end of a connection in any state, from outside of a call of the node. */
static void drop(struct khd_tcp *tcp, struct khd_conn *conn)
{
	bool was_up = conn->state == KHD_CONN_UP;
	struct peer *peer = conn->peer;

	if (!peer)
		tcp->strangers--;
	khd_conn_drop(conn);
	if (!peer || peer->conn != conn)
		return;
	peer->conn = NULL;
	if (peer->dials)
		retry_later(tcp, peer);
	if (was_up) {
		tcp->lost++;
		kh_node_peer_down(tcp->khd->node, peer->config->id, khd_now());
	}
}

static void name_of(struct khd_conn *conn, char *buf, size_t size)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	buf[0] = 0;
	if (getpeername(conn->fd, (struct sockaddr *)&ss, &len) < 0)
		return;
	if (ss.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, buf, size);
	else
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, buf, size);
}

static void on_ended(struct khd_conn *conn, int error)
{
	struct khd_tcp *tcp = conn->owner;
	char name[INET6_ADDRSTRLEN];

	if (error == EPROTO) {
		name_of(conn, name, sizeof(name));
		tcp->malformed++;
		khd_event(tcp->khd, "packet-malformed", "from %s; connection dropped", name);
	}
	drop(tcp, conn);
}

/* No key stands behind a HELLO yet: at least it must come from where the file says. */
static bool from_configured_host(const struct khd_conn *conn, const struct peer *peer)
{
	const struct sockaddr_storage *want = &peer->config->addr.ss;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getpeername(conn->fd, (struct sockaddr *)&ss, &len) < 0 ||
	    ss.ss_family != want->ss_family)
		return false;
	if (ss.ss_family == AF_INET)
		return ((struct sockaddr_in *)&ss)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)want)->sin_addr.s_addr;
	return !memcmp(&((struct sockaddr_in6 *)&ss)->sin6_addr,
		       &((const struct sockaddr_in6 *)want)->sin6_addr, sizeof(struct in6_addr));
}

static const char *refusal(struct khd_conn *conn, const struct peer *peer,
			   const struct kh_wire_hello *hello, int ret)
{
	if (ret == -EPROTONOSUPPORT)
		return "no common version";
	if (ret == -EACCES)
		return "another cluster";
	if (ret < 0 || !peer)
		return "not a configured node";
	if (conn->peer ? conn->peer != peer : peer->dials)
		return "an unexpected node";
	if (!from_configured_host(conn, peer))
		return "not from the configured address";
	if (hello->incarnation < peer->incarnation)
		return "an old incarnation";
	return NULL;
}

static bool on_hello(struct khd_tcp *tcp, struct khd_conn *conn, const void *msg, size_t len)
{
	struct kh_wire_hello hello = { 0 };
	struct peer *peer;
	const char *why;
	char name[INET6_ADDRSTRLEN];
	int ret;

	ret = kh_wire_hello_check(msg, len, &tcp->khd->node_config, &hello);
	if (ret == -EPROTO)
		return false;
	peer = ret < 0 ? NULL : peer_by_id(tcp, hello.node);
	why = refusal(conn, peer, &hello, ret);
	if (why) {
		name_of(conn, name, sizeof(name));
		tcp->refused++;
		khd_event(tcp->khd, "peer-refused", "node %u of %s: %s", hello.node, name, why);
		drop(tcp, conn);
		return true;
	}
	if (!conn->peer) {
		conn->peer = peer;
		tcp->strangers--;
	}
	if (peer->conn && peer->conn != conn)
		drop(tcp, peer->conn);
	peer->conn = conn;
	peer->incarnation = hello.incarnation;
	peer->retry_ms = RETRY_MIN_MS;
	peer->said = 0;
	conn->state = KHD_CONN_UP;
	conn->deadline = ~0ull;
	conn->max_message = KH_WIRE_MAX;
	conn->max_queue = (size_t)tcp->khd->config.limits.peer_queue_mb << 20;
	tcp->connections++;
	kh_node_peer_up(tcp->khd->node, hello.node, hello.incarnation, hello.boot, khd_now());
	return true;
}

static bool on_message(struct khd_conn *conn, const void *msg, size_t len)
{
	struct khd_tcp *tcp = conn->owner;
	struct peer *peer = conn->peer;

	if (conn->state == KHD_CONN_HELLO)
		return on_hello(tcp, conn, msg, len);
	return !kh_node_message(tcp->khd->node, peer->config->id, msg, len, khd_now());
}

static void on_received(struct khd_conn *conn)
{
	struct khd_tcp *tcp = conn->owner;

	kh_node_received(tcp->khd->node);
}

static void set_option(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

/* A peer that vanished is noticed by the kernel, while khd has nothing to say to it too. */
static void set_options(struct khd_tcp *tcp, int fd)
{
	int timeout_ms = tcp->khd->config.limits.peer_timeout_ms;
	int idle_s = timeout_ms / 3000 ? timeout_ms / 3000 : 1;

	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout_ms);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, idle_s);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 2);
	/* What the limit of the system cuts down is worse than what the kernel finds by itself. */
	set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER);
}

static void begin(struct khd_tcp *tcp, struct khd_conn *conn)
{
	char hello[KH_WIRE_HELLO_LEN];

	conn->owner = tcp;
	conn->deadline = khd_now() + HANDSHAKE_MS * MS;
	conn->next = tcp->conns;
	tcp->conns = conn;
	kh_wire_hello_make(hello, &tcp->khd->node_config);
	khd_conn_send(conn, hello, sizeof(hello), NULL, 0);
}

static void on_opened(struct khd_conn *conn, int error)
{
	struct khd_tcp *tcp = conn->owner;
	struct peer *peer = conn->peer;

	if (!error)
		return;
	if (peer->said != error)
		khd_log(KHD_INFO, "node %u at %s: %s", peer->config->id, peer->config->addr.text,
			strerror(error));
	peer->said = error;
	drop(tcp, conn);
}

static const struct khd_conn_ops conn_ops = {
	.opened = on_opened,
	.message = on_message,
	.received = on_received,
	.ended = on_ended,
};

static void dial(struct khd_tcp *tcp, struct peer *peer)
{
	const struct khd_addr *to = &peer->config->addr;
	struct sockaddr_storage from = tcp->khd->config.listen.ss;
	struct khd_conn *conn = NULL;
	int fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* From the address that the peer's file names as ours. */
	((struct sockaddr_in *)&from)->sin_port = 0;
	if (fd >= 0) {
		set_options(tcp, fd);
		if (from.ss_family == to->ss.ss_family &&
		    bind(fd, (struct sockaddr *)&from, tcp->khd->config.listen.len) < 0)
			khd_log(KHD_WARN, "cannot bind to %s: %s", tcp->khd->config.listen.text,
				strerror(errno));
		conn = khd_conn_connect(tcp->khd->loop, &conn_ops, fd,
					(const struct sockaddr *)&to->ss, to->len);
	}
	if (!conn) {
		retry_later(tcp, peer);
		return;
	}
	conn->peer = peer;
	peer->conn = conn;
	begin(tcp, conn);
}

static void on_accept(struct khd_io *io, int res)
{
	struct khd_tcp *tcp = (void *)((char *)io - offsetof(struct khd_tcp, accept));
	struct khd_conn *conn;

	khd_loop_submit(tcp->khd->loop, io);
	if (res < 0)
		return;
	if (tcp->strangers >= STRANGERS_MAX) {
		tcp->refused++;
		close(res);
		return;
	}
	set_options(tcp, res);
	conn = khd_conn_accepted(tcp->khd->loop, &conn_ops, res);
	if (!conn)
		return;
	tcp->strangers++;
	begin(tcp, conn);
}

void khd_tcp_send(struct khd_tcp *tcp, kh_node_id id, const void *head, size_t head_len,
		  const void *data, size_t data_len)
{
	struct peer *peer = peer_by_id(tcp, id);

	if (peer && peer->conn && peer->conn->state == KHD_CONN_UP)
		khd_conn_send(peer->conn, head, head_len, data, data_len);
}

static bool is_late(struct khd_tcp *tcp, struct khd_conn *conn, uint64_t now)
{
	struct peer *peer = conn->peer;

	if (conn->overflow) {
		tcp->overflows++;
		khd_event(tcp->khd, "peer-overflow", "node %u does not take what waits for it",
			  peer ? peer->config->id : 0);
		return true;
	}
	return now >= conn->deadline;
}

uint64_t khd_tcp_tick(struct khd_tcp *tcp, uint64_t now)
{
	struct khd_conn **link = &tcp->conns, *conn;
	uint64_t next = ~0ull;
	unsigned int i;

	for (conn = tcp->conns; conn; conn = conn->next)
		if (conn->state < KHD_CONN_CLOSING && is_late(tcp, conn, now))
			drop(tcp, conn);
	while ((conn = *link)) {
		if (conn->state == KHD_CONN_CLOSED) {
			*link = conn->next;
			khd_conn_free(conn);
			continue;
		}
		if (conn->state < KHD_CONN_CLOSING && conn->deadline < next)
			next = conn->deadline;
		link = &conn->next;
	}
	for (i = 0; i < tcp->khd->config.peer_count; i++) {
		struct peer *peer = &tcp->peers[i];

		if (!peer->dials || peer->conn)
			continue;
		if (now >= peer->retry_at)
			dial(tcp, peer);
		else if (peer->retry_at < next)
			next = peer->retry_at;
	}
	return next;
}

void khd_tcp_flush(struct khd_tcp *tcp)
{
	struct khd_conn *conn;

	for (conn = tcp->conns; conn; conn = conn->next)
		khd_conn_flush(conn);
}

void khd_tcp_counters(const struct khd_tcp *tcp, struct kh_counter counters[KHD_TCP_COUNTERS])
{
	counters[0] = (struct kh_counter){ "connections", tcp->connections };
	counters[1] = (struct kh_counter){ "connections_lost", tcp->lost };
	counters[2] = (struct kh_counter){ "connections_refused", tcp->refused };
	counters[3] = (struct kh_counter){ "connections_overflowed", tcp->overflows };
	counters[4] = (struct kh_counter){ "packets_malformed", tcp->malformed };
}

static bool bind_patiently(int fd, const struct khd_addr *addr)
{
	unsigned int tries = 0;

	while (bind(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0)
		if (errno != EADDRINUSE || !khd_address_wait(&tries))
			return false;
	return true;
}

struct khd_tcp *khd_tcp_open(struct khd *khd)
{
	const struct khd_addr *addr = &khd->config.listen;
	struct khd_tcp *tcp = calloc(1, sizeof(*tcp));
	unsigned int i;

	if (!tcp)
		return NULL;
	tcp->khd = khd;
	tcp->listen_fd = -1;
	for (i = 0; i < khd->config.peer_count; i++) {
		tcp->peers[i].config = &khd->config.peers[i];
		tcp->peers[i].dials = khd->config.id < khd->config.peers[i].id;
		tcp->peers[i].retry_ms = RETRY_MIN_MS;
	}
	if (!addr->len)
		return tcp;
	tcp->listen_fd = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (tcp->listen_fd >= 0) {
		set_option(tcp->listen_fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (addr->ss.ss_family == AF_INET6)
			set_option(tcp->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	}
	if (tcp->listen_fd < 0 || !bind_patiently(tcp->listen_fd, addr) ||
	    listen(tcp->listen_fd, KH_NODES_MAX) < 0) {
		khd_log(KHD_ERR, "%s: %s", addr->text, strerror(errno));
		khd_tcp_close(tcp);
		return NULL;
	}
	tcp->accept =
		(struct khd_io){ .op = KHD_IO_ACCEPT, .fd = tcp->listen_fd, .done = on_accept };
	return tcp;
}

void khd_tcp_start(struct khd_tcp *tcp)
{
	if (tcp->listen_fd >= 0)
		khd_loop_submit(tcp->khd->loop, &tcp->accept);
}

void khd_tcp_close(struct khd_tcp *tcp)
{
	struct khd_conn *conn;

	if (!tcp)
		return;
	while ((conn = tcp->conns)) {
		tcp->conns = conn->next;
		khd_conn_free(conn);
	}
	if (tcp->listen_fd >= 0)
		close(tcp->listen_fd);
	free(tcp);
}
