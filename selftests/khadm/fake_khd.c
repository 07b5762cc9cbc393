// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_khd.c - a khd with fixed answers, for the tests of khadm
 *
 *   fake-khd SOCKET COMMAND ARGS...
 *
 * Listens on SOCKET, runs COMMAND with KHAZANA_SOCKET set to it, and ends with its exit
 * status.  COMMAND gets no netlink socket: it sees no module, whatever this machine has loaded.
 * The fake speaks the server side of lib/ctl.  Some addresses are refused, each in its way:
 *
 *   f:1  EKEYREJECTED    f:2  EBUSY     f:3  never answered     f:4  the connection is closed
 *   f:5  a malformed answer             f:6  EIO
 *
 * The region at 1:0 has the key 00112233445566778899aabbccddeeff.  $FAKE_STORE chooses the store:
 * none, out (of service), else in service, with parked units 3 (1 KiB, the byte 3), 7 (512 bytes)
 * and 200 more.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"

static const uint8_t good_key[KH_KEY_SIZE] = {
	0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
};

static const struct kh_region_info regions[] = {
	{
		.start = { 1, 0 },
		.length = 64 << 20,
		.generation = 7,
		.allocated = 1 << 20,
		.epoch = 3,
		.home = 1,
		.attr = { "crew", 12, 10000, 30000, 1, 0, 0 },
	},
	{
		.start = { 2, 0x10000 },
		.length = 0x30000,
		.generation = 1,
		.allocated = ~0ULL,
		.home = 2,
		.attr = { "null", 16, 500, 1000, 1, 0, 0x100 },
	},
};

static const struct kh_page_info page = {
	.start = { 1, 0x2000 },
	.version = 42,
	.token = 3ULL << 44 | 99,
	.home = 1,
	.owner = 2,
	.backup = 1,
	.right = KHAZANA_RIGHT_READ,
	.busy = true,
	.waiting = 4,
	.reader_count = 2,
	.readers = { 1, 3 },
	.place = 2,
	.stored = 41,
};

static const struct kh_node_info nodes[] = {
	{ .id = 1, .self = true, .incarnation = 5, .lease_left_ms = -1 },
	{ .id = 2,
	  .connected = true,
	  .incarnation = 3,
	  .lease_left_ms = 9000,
	  .messages_in = 100,
	  .messages_out = 101,
	  .bytes_in = 4096000,
	  .bytes_out = 1ULL << 33 },
	{ .id = 3, .incarnation = 1, .lease_left_ms = -1 },
};

static const struct kh_counter counters[] = {
	{ "faults", 12 },
	{ "grants", 1234567 },
	{ "stale-tokens", 0 },
};

static const struct kh_ctl_store store = {
	.state = KHAZANA_NL_STORE_STATE_IN_SERVICE,
	.dir = "/var/lib/khazana/store",
	.capacity = 1 << 30,
	.reserved = 64 << 20,
	.used = 8192,
	.parked = 202,
	.puts = 3,
	.gets = 2,
	.flushes = 5,
	.groups = 4,
	.checkpoints = 1,
	.scrubbed = 6,
	.scrub_rate = 16 << 20,
	.memory = 65536,
	.buffers_used = 4096,
	.buffers_max = 32 << 20,
	.recovery_ns = 1500000,
	.replayed = 9,
	.discarded = 1,
	.room = 1023 << 20,
	.capacity_min = 80 << 20,
};

static const struct kh_ctl_finding findings[] = {
	{ KHAZANA_NL_SEVERITY_ERROR, "store", "out of service, it cannot be opened: it is damaged",
	  "stop khd; khadm store check DIR" },
	{ KHAZANA_NL_SEVERITY_NOTE, "store", "only a note", NULL },
};

static int emit(void *ctx, const void *msg, size_t len)
{
	return send(*(int *)ctx, msg, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool in_region(const struct khazana_addr addr)
{
	return addr.hi == 1 && addr.lo < regions[0].length;
}

/* The refusals by address. Return: an errno, 0, or -1: no orderly answer. */
static int by_address(int fd, const struct kh_op *op)
{
	if (op->addr.hi != 0xf)
		return 0;
	switch (op->addr.lo) {
	case 1:
		return EKEYREJECTED;
	case 2:
		return op->flags & KH_OPF_FORCE ? 0 : EBUSY;
	case 4:
		shutdown(fd, SHUT_RDWR);
		return -1;
	case 5:
		send(fd, "not a message at all", 20, MSG_NOSIGNAL);
		return -1;
	case 6:
		return EIO;
	default:
		return -1;
	}
}

static int op_run(const struct kh_op *op, struct kh_op_result *result)
{
	switch (op->code) {
	case KH_OP_RESERVE:
		if (op->length > 1ULL << 40)
			return ENOSPC;
		if (strcmp(op->attr.protocol, "crew") && *op->attr.protocol)
			return EINVAL;
		result->addr = (struct khazana_addr){ 0xabc, op->length };
		return 0;
	case KH_OP_ALLOCATE:
		return op->length > 1 << 30 ? ENOSPC : 0;
	case KH_OP_UNRESERVE:
		if (!in_region(op->addr))
			return op->addr.hi == 0xabc || op->addr.hi == 0xf ? 0 : ENOENT;
		return memcmp(op->key, good_key, sizeof(good_key)) ? EKEYREJECTED : 0;
	case KH_OP_GETATTR:
		result->regions = regions;
		result->region_count = 1;
		return in_region(op->addr) ? 0 : ENOENT;
	case KH_OP_REGION_LIST:
		result->regions = regions;
		result->region_count = op->flags & KH_OPF_ALL ? 2 : 1;
		return 0;
	case KH_OP_PAGE_SHOW:
		result->page = &page;
		return in_region(op->addr) ? 0 : op->addr.hi == 2 ? ENXIO : ENOENT;
	case KH_OP_NODE_LIST:
		result->nodes = nodes;
		result->node_count = 3;
		return 0;
	case KH_OP_STATS:
		result->counters = counters;
		result->counter_count = 3;
		return 0;
	default:
		return EOPNOTSUPP;
	}
}

/* Parked unit number @i of those that there are. */
static struct kh_ctl_parked parked(unsigned int i)
{
	return (struct kh_ctl_parked){
		.id = i == 0 ? 3 :
		      i == 1 ? 7 :
			       1000 + i,
		.addr = { 1, 0x2000 + 0x1000 * i },
		.shift = i == 0 ? 10 : 9,
		.generation = 5,
		.version = 40 + i,
		.token = 3ULL << 44 | i,
		.region = { 1, 0 },
		.region_generation = 7,
	};
}

static void list_parked(int fd, const struct kh_ctl_request *req)
{
	struct kh_ctl_parked list[64];
	unsigned int count = 0;

	for (unsigned int i = 0; i < 202 && count < 64; i++)
		if (parked(i).id >= req->id)
			list[count++] = parked(i);
	kh_ctl_reply_parked_list(req, list, count, emit, &fd);
}

static void read_parked(int fd, const struct kh_ctl_request *req)
{
	struct kh_ctl_parked unit = parked(req->id == 7);
	uint8_t contents[KH_CTL_SECTOR];

	memset(contents, 3, sizeof(contents));
	if (req->id != 3 && req->id != 7)
		kh_ctl_reply_error(req, ENOENT, "no such parked unit", emit, &fd);
	else if (req->offset >= 1u << unit.shift)
		kh_ctl_reply_error(req, ERANGE, "the offset is not in the unit", emit, &fd);
	else
		kh_ctl_reply_parked(req, &unit, contents, 1, emit, &fd);
}

static void answer_own(int fd, const struct kh_ctl_request *req)
{
	static const struct kh_ctl_store none = { .state = KHAZANA_NL_STORE_STATE_NONE };
	static const struct kh_ctl_store out = { .state = KHAZANA_NL_STORE_STATE_OUT_OF_SERVICE,
						 .dir = "/var/lib/khazana/store",
						 .reason = "it cannot be opened: it is damaged" };
	const char *kind = getenv("FAKE_STORE");

	kind = kind ? kind : "";
	switch (req->cmd) {
	case KHAZANA_NL_CMD_STORE_GET:
		kh_ctl_reply_store(req,
				   !strcmp(kind, "none") ? &none :
				   !strcmp(kind, "out")	 ? &out :
							   &store,
				   emit, &fd);
		return;
	case KHAZANA_NL_CMD_HEALTH_GET:
		kh_ctl_reply_health(req, findings, !strcmp(kind, "out") ? 2 : 0, emit, &fd);
		return;
	case KHAZANA_NL_CMD_STORE_PARKED_LIST:
		list_parked(fd, req);
		return;
	case KHAZANA_NL_CMD_STORE_PARKED_READ:
		read_parked(fd, req);
		return;
	case KHAZANA_NL_CMD_STORE_PARKED_DISCARD:
		kh_ctl_reply_error(req, req->id == 3 ? 0 : ENOENT,
				   req->id == 3 ? NULL : "no such parked unit", emit, &fd);
		return;
	case KHAZANA_NL_CMD_STORE_RESIZE:
		kh_ctl_reply_error(req, req->op.length < store.reserved ? EBUSY : 0,
				   req->op.length < store.reserved ? "more than that is reserved" :
								     NULL,
				   emit, &fd);
		return;
	default:
		kh_ctl_reply_error(req, !strcmp(kind, "none") ? EOPNOTSUPP : 0,
				   !strcmp(kind, "none") ? "this node has no store" : NULL, emit,
				   &fd);
	}
}

static void events(int fd, const struct kh_ctl_request *req)
{
	static const struct kh_op_result ok;

	kh_ctl_reply(req, &ok, emit, &fd);
	kh_ctl_event(req, 1, 1500000000, 1, "peer-up", "node 2 is there", emit, &fd);
	kh_ctl_event(req, 2, 2000001000, 1, "peer-down", "node 3 \x1b[31mwent", emit, &fd);
}

static void serve(int fd)
{
	uint8_t msg[KH_CTL_MESSAGE_MAX];
	struct kh_ctl_request req;
	struct kh_op_result result;
	const char *text;
	ssize_t len;
	int err;

	while ((len = recv(fd, msg, sizeof(msg), 0)) > 0) {
		err = kh_ctl_parse(msg, len, &req, &text);
		if (err == -EBADMSG)
			return;
		if (err) {
			kh_ctl_reply_error(&req, err, text, emit, &fd);
			continue;
		}
		if (req.subscribe) {
			events(fd, &req);
			continue;
		}
		if (req.own) {
			answer_own(fd, &req);
			continue;
		}
		memset(&result, 0, sizeof(result));
		err = by_address(fd, &req.op);
		if (err < 0)
			continue;
		result.error = err ? err : op_run(&req.op, &result);
		kh_ctl_reply(&req, &result, emit, &fd);
	}
}

static void listen_forever(int listener)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			_exit(1);
		if (!fork()) {
			close(listener);
			serve(fd);
			_exit(0);
		}
		close(fd);
	}
}

/* socket(AF_NETLINK, ...) fails from now on. Return: 0, or -1. */
static int no_module(void)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	static const struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ?:
		       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int listener, status;
	pid_t server, command;

	if (argc < 3 || strlen(argv[1]) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "usage: fake-khd SOCKET COMMAND ARGS...\n");
		return 2;
	}
	strcpy(addr.sun_path, argv[1]);
	unlink(argv[1]);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(listener, 16)) {
		perror("fake-khd: socket");
		return 2;
	}
	setenv("KHAZANA_SOCKET", argv[1], 1);
	server = fork();
	if (!server)
		listen_forever(listener);
	command = fork();
	if (!command) {
		if (no_module()) {
			perror("fake-khd: seccomp");
			_exit(126);
		}
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	waitpid(command, &status, 0);
	kill(server, SIGKILL);
	unlink(argv[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
