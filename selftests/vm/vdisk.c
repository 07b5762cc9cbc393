// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vdisk SOCKET IMAGE SEED: the disk of a guest, which loses what was not flushed when its power
 * is cut. QEMU is its client and speaks the NBD protocol (fixed newstyle, simple replies) on the
 * UNIX socket; one client at a time. Standard input takes orders, each answered by one line:
 *
 *   cut SEED    forget the client, drop a seeded subset of the unflushed sectors:
 *               "ok UNFLUSHED LOST"
 *   freeze N MS serve until N sectors are unflushed, or for MS milliseconds, then serve no more
 *               (a cut should find something to lose): "ok UNFLUSHED"; a cut ends that
 *   flush       "ok"
 *   fail reads|writes|flushes|nothing
 *               from now on those requests end with an error, and change nothing: "ok"
 *
 * and ends the program when it is closed.
 */
#include "selftests/vm/vcache.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CACHE_LIMIT (64ull << 20)
#define REQUEST_MAX (32u << 20) /* QEMU's limit for one request */
#define OPTION_MAX 4096u

/* The protocol's numbers; all fields are big endian. */
#define NBD_MAGIC 0x4e42444d41474943ull
#define NBD_OPTION_MAGIC 0x49484156454f5054ull
#define NBD_OPTION_REPLY_MAGIC 0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_REPLY_MAGIC 0x67446698u

enum {
	FLAG_FIXED_NEWSTYLE = 1,
	FLAG_NO_ZEROES = 2
};
enum {
	EXPORT_HAS_FLAGS = 1,
	EXPORT_SEND_FLUSH = 4
};
enum {
	OPTION_EXPORT_NAME = 1,
	OPTION_ABORT = 2,
	OPTION_INFO = 6,
	OPTION_GO = 7
};
enum {
	REPLY_ACK = 1,
	REPLY_INFO = 3
};
#define REPLY_UNSUPPORTED (1u << 31 | 1)
#define COMMAND_NONE (-1)
enum {
	COMMAND_READ = 0,
	COMMAND_WRITE = 1,
	COMMAND_DISCONNECT = 2,
	COMMAND_FLUSH = 3
};

struct option {
	uint64_t magic;
	uint32_t option;
	uint32_t length;
} __attribute__((packed));

struct option_reply {
	uint64_t magic;
	uint32_t option;
	uint32_t type;
	uint32_t length;
} __attribute__((packed));

struct export_info {
	uint16_t type; /* 0: NBD_INFO_EXPORT */
	uint64_t size;
	uint16_t flags;
} __attribute__((packed));

struct request {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t handle;
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));

struct reply {
	uint32_t magic;
	uint32_t error;
	uint64_t handle;
} __attribute__((packed));

static int receive(int fd, void *data, size_t length)
{
	ssize_t n = length ? recv(fd, data, length, MSG_WAITALL) : 0;

	return n == (ssize_t)length ? 0 : -EPIPE;
}

static int transmit(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length) {
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		at += n;
		length -= n;
	}
	return 0;
}

static int answer_option(int fd, uint32_t option, uint32_t type, const void *data, uint32_t length)
{
	struct option_reply reply = { .magic = htobe64(NBD_OPTION_REPLY_MAGIC),
				      .option = htobe32(option),
				      .type = htobe32(type),
				      .length = htobe32(length) };
	int err = transmit(fd, &reply, sizeof(reply));

	return err ? err : transmit(fd, data, length);
}

/* Any export name is ours.  1: transmission begins, 0: the next option, or -errno. */
static int serve_option(int fd, uint64_t size, uint32_t client_flags)
{
	struct export_info info = { .size = htobe64(size),
				    .flags = htobe16(EXPORT_HAS_FLAGS | EXPORT_SEND_FLUSH) };
	static const char zeroes[124];
	struct option option;
	char data[OPTION_MAX];
	uint32_t length, what;

	if (receive(fd, &option, sizeof(option)) || be64toh(option.magic) != NBD_OPTION_MAGIC)
		return -EPROTO;
	length = be32toh(option.length);
	what = be32toh(option.option);
	if (length > sizeof(data) || receive(fd, data, length))
		return -EPROTO;
	switch (what) {
	case OPTION_EXPORT_NAME:
		if (transmit(fd, &info.size, sizeof(info.size)) ||
		    transmit(fd, &info.flags, sizeof(info.flags)))
			return -EPIPE;
		if (!(client_flags & FLAG_NO_ZEROES) && transmit(fd, zeroes, sizeof(zeroes)))
			return -EPIPE;
		return 1;
	case OPTION_INFO:
	case OPTION_GO:
		if (answer_option(fd, what, REPLY_INFO, &info, sizeof(info)) ||
		    answer_option(fd, what, REPLY_ACK, NULL, 0))
			return -EPIPE;
		return what == OPTION_GO;
	case OPTION_ABORT:
		answer_option(fd, what, REPLY_ACK, NULL, 0);
		return -ECONNRESET;
	default:
		return answer_option(fd, what, REPLY_UNSUPPORTED, NULL, 0);
	}
}

static int negotiate(int fd, uint64_t size)
{
	struct {
		uint64_t magic, option_magic;
		uint16_t flags;
	} __attribute__((packed)) hello = { htobe64(NBD_MAGIC), htobe64(NBD_OPTION_MAGIC),
					    htobe16(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES) };
	uint32_t flags;
	int state = 0;

	if (transmit(fd, &hello, sizeof(hello)) || receive(fd, &flags, sizeof(flags)))
		return -EPIPE;
	while (!state)
		state = serve_option(fd, size, be32toh(flags));
	return state < 0 ? state : 0;
}

static uint32_t nbd_error(int err)
{
	return err == 0 ? 0 : err == -EINVAL ? EINVAL : err == -ENOSPC ? ENOSPC : EIO;
}

/* One request, those of type @failing fail; negative: the client is gone or talks nonsense. */
static int serve_request(int fd, struct vcache *cache, char *data, int failing)
{
	struct request request;
	struct reply reply = { .magic = htobe32(NBD_REPLY_MAGIC) };
	uint64_t offset;
	uint32_t length;
	int err;

	if (receive(fd, &request, sizeof(request)) || be32toh(request.magic) != NBD_REQUEST_MAGIC)
		return -EPIPE;
	offset = be64toh(request.offset);
	length = be32toh(request.length);
	reply.handle = request.handle;
	if (length > REQUEST_MAX)
		return -EPROTO;
	switch (be16toh(request.type)) {
	case COMMAND_READ:
		err = failing == COMMAND_READ ? -EIO : vcache_read(cache, offset, data, length);
		break;
	case COMMAND_WRITE:
		if (receive(fd, data, length))
			return -EPIPE;
		err = failing == COMMAND_WRITE ? -EIO : vcache_write(cache, offset, data, length);
		break;
	case COMMAND_FLUSH:
		err = failing == COMMAND_FLUSH ? -EIO : vcache_flush(cache);
		break;
	case COMMAND_DISCONNECT:
		return -ECONNRESET;
	default:
		err = -EINVAL;
	}
	reply.error = htobe32(nbd_error(err));
	if (transmit(fd, &reply, sizeof(reply)))
		return -EPIPE;
	return err || be16toh(request.type) != COMMAND_READ ? 0 : transmit(fd, data, length);
}

/* What was ordered, and whom it concerns. */
struct server {
	struct vcache *cache;
	int listener;
	int client; /* or -1 */
	uint64_t freeze_at; /* unflushed sectors, 0: no freeze was ordered */
	uint64_t freeze_ms; /* or this moment */
	int frozen;
	int failing; /* type of request, or COMMAND_NONE */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static void drop_client(struct server *server)
{
	if (server->client >= 0)
		close(server->client);
	server->client = -1;
}

static int order_cut(struct server *server, uint64_t seed)
{
	struct vcache_loss loss;
	int err;

	drop_client(server);
	server->frozen = 0;
	server->freeze_at = 0;
	err = vcache_cut(server->cache, seed, &loss);
	if (!err)
		printf("ok %" PRIu64 " %" PRIu64 "\n", loss.unflushed, loss.lost);
	return err;
}

static int order_fail(struct server *server, const char *what)
{
	if (!strcmp(what, "reads"))
		server->failing = COMMAND_READ;
	else if (!strcmp(what, "writes"))
		server->failing = COMMAND_WRITE;
	else if (!strcmp(what, "flushes"))
		server->failing = COMMAND_FLUSH;
	else if (!strcmp(what, "nothing"))
		server->failing = COMMAND_NONE;
	else
		return -EINVAL;
	puts("ok");
	return 0;
}

/* Several orders of one read do not occur: their giver waits for the answer.  0, or 1 at the end. */
static int serve_order(struct server *server)
{
	char line[64], what[16];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);
	uint64_t seed, ms;
	int err = 0;

	if (n <= 0)
		return 1;
	line[n] = 0;
	if (sscanf(line, "cut %" SCNu64, &seed) == 1) {
		err = order_cut(server, seed);
	} else if (sscanf(line, "freeze %" SCNu64 " %" SCNu64, &server->freeze_at, &ms) == 2) {
		server->freeze_at += !server->freeze_at;
		server->freeze_ms = now_ms() + ms;
	} else if (sscanf(line, "fail %15s", what) == 1) {
		err = order_fail(server, what);
	} else if (!strcmp(line, "flush\n")) {
		err = vcache_flush(server->cache);
		if (!err)
			puts("ok");
	} else {
		err = -EINVAL;
	}
	if (err)
		printf("error %s\n", strerror(-err));
	fflush(stdout);
	return 0;
}

/* Is it time to serve no more?  How long to wait for a client until that may be so. */
static int freeze(struct server *server)
{
	uint64_t now = now_ms(), unflushed = vcache_unflushed(server->cache);

	if (!server->freeze_at || server->frozen)
		return -1;
	if (unflushed < server->freeze_at && now < server->freeze_ms)
		return server->freeze_ms - now;
	server->frozen = 1;
	printf("ok %" PRIu64 "\n", unflushed);
	fflush(stdout);
	return -1;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		return -1;
	return fd;
}

static void serve(struct server *server, char *data)
{
	for (;;) {
		int timeout = freeze(server);
		struct pollfd polled[2] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = server->frozen	    ? -1 :
				server->client >= 0 ? server->client :
						      server->listener,
			  .events = POLLIN },
		};

		if (poll(polled, 2, timeout) < 0)
			continue;
		if (polled[0].revents) {
			if (serve_order(server))
				return;
			continue;
		}
		if (!polled[1].revents)
			continue;
		if (server->client < 0) {
			server->client = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
			if (server->client >= 0 &&
			    negotiate(server->client, vcache_size(server->cache)))
				drop_client(server);
		} else if (serve_request(server->client, server->cache, data, server->failing)) {
			drop_client(server);
		}
	}
}

int main(int argc, char **argv)
{
	struct server server = { .client = -1, .failing = COMMAND_NONE };
	char *data;

	if (argc != 4) {
		fputs("usage: vdisk SOCKET IMAGE SEED\n", stderr);
		return 2;
	}
	server.cache = vcache_open(argv[2], CACHE_LIMIT, strtoull(argv[3], NULL, 0));
	if (!server.cache) {
		fprintf(stderr, "vdisk: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	data = malloc(REQUEST_MAX);
	server.listener = listen_unix(argv[1]);
	if (server.listener < 0 || !data) {
		fprintf(stderr, "vdisk: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	puts("ok");
	fflush(stdout);
	serve(&server, data);
	vcache_close(server.cache);
	return 0;
}
