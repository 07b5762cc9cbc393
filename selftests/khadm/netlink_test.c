// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * netlink_test.c - the module's netlink family, on a node without khd
 *
 * The test is the khd: it registers, adds regions and answers a child that attaches and
 * touches pages.  Root in a guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/netlink.h>

#include "ctl/link.h"

#define DEVICE "/dev/khazana"
#define REGIONS 200
#define UNITS 400
#define UNIT 4096
#define TOKEN (1ULL << 44 | 5)

static int tests, failures;

static void ok(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
	fflush(stdout);
}

/* What an answer held. */
struct seen {
	unsigned int messages;
	uint64_t bits; /* attributes of the last message */
	uint64_t u[KH_NL_SET_MAX];
	struct khazana_addr addr;
	char name[64];
	uint64_t first_seq, last_seq;
	bool gap;
	uint64_t names; /* of events: one bit each, see event_names */
};

static const char *const event_names[] = { "khd-registered", "region-added", "region-removed",
					   "khd-gone" };

static int look(void *arg, const struct kh_nl_msg *msg)
{
	struct kh_nla_cursor cursor = kh_nla_begin(msg->body, msg->len);
	const struct kh_nl_set *set = kh_nl_ops[msg->cmd].set;
	struct seen *seen = arg;
	struct kh_nla nla;

	seen->messages++;
	seen->bits = 0;
	while (kh_nla_next(&cursor, &nla)) {
		const struct kh_nl_attr *attr = &set->attrs[nla.type];

		seen->bits |= 1ULL << nla.type;
		if (attr->type == KH_NL_U32)
			seen->u[nla.type] = kh_nla_u32(&nla);
		else if (attr->type == KH_NL_U64)
			seen->u[nla.type] = kh_nla_u64(&nla);
		else if (attr->type == KH_NL_STRING)
			kh_nla_string(&nla, seen->name, sizeof(seen->name));
		else if (attr->hint == KH_NL_ADDRESS)
			seen->addr = kh_nla_addr(&nla);
	}
	return 0;
}

static int look_event(void *arg, const struct kh_nl_msg *msg)
{
	struct seen *seen = arg;
	uint64_t seq;

	look(arg, msg);
	seq = seen->u[KHAZANA_NLA_EVENT_SEQ];
	if (!seen->first_seq)
		seen->first_seq = seq;
	else if (seq != seen->last_seq + 1)
		seen->gap = true;
	seen->last_seq = seq;
	for (unsigned int i = 0; i < sizeof(event_names) / sizeof(event_names[0]); i++)
		if (!strcmp(seen->name, event_names[i]))
			seen->names |= 1u << i;
	return 0;
}

static int ask(struct kh_ctl *ctl, uint8_t cmd, bool dump, struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	return kh_ctl_ask(ctl, cmd, NULL, 0, dump, look, seen, 5000);
}

static int ask_unit(struct kh_ctl *ctl, struct khazana_addr addr, struct seen *seen)
{
	struct kh_nlb nlb = { .size = 64 };
	uint8_t body[64];

	nlb.buf = body;
	kh_nlb_addr(&nlb, KHAZANA_NLA_UNIT_ADDR, addr);
	memset(seen, 0, sizeof(*seen));
	return kh_ctl_ask(ctl, KHAZANA_NL_CMD_UNIT_GET, body, nlb.len, false, look, seen, 5000);
}

/* Ask with one attribute of our own making. */
static int ask_raw(struct kh_ctl *ctl, uint8_t cmd, bool dump, uint16_t type, size_t len)
{
	struct kh_nlb nlb = { .size = 128 };
	uint8_t body[128], zero[64] = { 0 };
	struct seen seen = { 0 };

	nlb.buf = body;
	kh_nlb_put(&nlb, type, zero, len);
	return kh_ctl_ask(ctl, cmd, body, nlb.len, dump, look, &seen, 5000);
}

static int command(int fd, struct khazana_cmd *cmd)
{
	struct khazana_batch batch = { sizeof(batch), 1, (uintptr_t)cmd };

	return ioctl(fd, KHAZANA_IOC_COMMAND, &batch) == 1 ? cmd->result : -errno;
}

static struct khazana_addr region_start(unsigned int i)
{
	return (struct khazana_addr){ 0x700 + i, 0 };
}

static int khd_register(uint32_t port)
{
	struct khazana_register reg = {
		.size = sizeof(reg),
		.flags = KHAZANA_REGISTER_NO_URING,
		.depth = 16,
		.node = 7,
		.netlink_port = port,
	};
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, KHAZANA_IOC_REGISTER, &reg)) {
		printf("# register: %s\n", strerror(errno));
		exit(1);
	}
	return fd;
}

static uint32_t regions_add(int fd)
{
	uint32_t first = 0;

	for (unsigned int i = 0; i < REGIONS; i++) {
		struct khazana_cmd cmd = {
			.op = KHAZANA_CMD_REGION_ADD,
			.addr = region_start(i),
			.length = (uint64_t)UNITS * UNIT,
			.generation = 1,
			.unit_shift = 12,
			.wait_ms = 20000,
		};

		if (command(fd, &cmd))
			printf("# REGION_ADD %u: %d\n", i, cmd.result);
		if (!i)
			first = cmd.region;
	}
	return first;
}

/* The user: attach, touch all units, and stay until killed. */
static void user(int ready)
{
	struct khazana_attach attach = { .size = sizeof(attach), .start = region_start(0) };
	int fd = open(DEVICE, O_RDWR);
	volatile char *mem;

	if (ioctl(fd, KHAZANA_IOC_ATTACH, &attach))
		_exit(1);
	mem = mmap(NULL, (size_t)UNITS * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		_exit(1);
	for (unsigned int i = 0; i < UNITS; i++)
		mem[(size_t)i * UNIT] = i;
	if (write(ready, "", 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

static int request_read(int fd, struct khazana_request *req)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (poll(&pfd, 1, 10000) != 1)
		return -ETIMEDOUT;
	return read(fd, req, sizeof(*req)) == sizeof(*req) ? 0 : -EIO;
}

static void request_answer(int fd, const struct khazana_request *req, uint32_t region)
{
	struct khazana_cmd cmd = { .region = region, .request = req->id };

	if (req->op == KHAZANA_REQ_ATTACH) {
		cmd.op = KHAZANA_CMD_ATTACH_DONE;
	} else if (req->op == KHAZANA_REQ_FAULT) {
		cmd.op = KHAZANA_CMD_COMMIT;
		cmd.unit = req->unit;
		cmd.count = req->count;
		cmd.right = KHAZANA_RIGHT_WRITE;
		cmd.token = TOKEN;
		cmd.version = 1;
		cmd.flags = KHAZANA_CMDF_ZERO | KHAZANA_CMDF_OWNED;
	} else {
		return;
	}
	if (command(fd, &cmd))
		printf("# command %u: %d\n", cmd.op, cmd.result);
}

/* Serve until the user is through; on the way, look at a request that is not answered yet. */
static void serve(struct kh_ctl *ctl, int fd, uint32_t region, int ready)
{
	struct khazana_request req;
	bool looked = false;
	struct seen seen;
	int err;

	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = ready, .events = POLLIN } };

		if (poll(fds, 2, 20000) < 1 || (fds[1].revents && !fds[0].revents))
			return;
		if (request_read(fd, &req))
			return;
		if (req.op == KHAZANA_REQ_FAULT && !looked) {
			looked = true;
			err = ask(ctl, KHAZANA_NL_CMD_REQUEST_GET, true, &seen);
			ok(!err && seen.messages == 1 &&
				   seen.u[KHAZANA_NLA_REQUEST_OP] == KHAZANA_REQ_FAULT &&
				   seen.u[KHAZANA_NLA_REQUEST_ID] == req.id &&
				   seen.u[KHAZANA_NLA_REQUEST_WANT] == KHAZANA_RIGHT_WRITE &&
				   (seen.bits & 1ULL << KHAZANA_NLA_REQUEST_FETCHED),
			   "request-get lists a fault that waits for khd");
		}
		request_answer(fd, &req, region);
	}
}

static void test_units(struct kh_ctl *ctl, uint32_t region)
{
	struct khazana_addr last = { 0x700, (uint64_t)(UNITS - 1) * UNIT + 123 };
	struct seen seen;
	int err;

	err = ask_unit(ctl, last, &seen);
	ok(!err && seen.messages == 1 && seen.u[KHAZANA_NLA_UNIT_INDEX] == UNITS - 1 &&
		   seen.u[KHAZANA_NLA_UNIT_RIGHT] == KHAZANA_RIGHT_WRITE &&
		   seen.u[KHAZANA_NLA_UNIT_TOKEN] == TOKEN &&
		   seen.u[KHAZANA_NLA_UNIT_VERSION] == 1 &&
		   (seen.u[KHAZANA_NLA_UNIT_FLAGS] & KHAZANA_UNIT_OWNED) &&
		   seen.addr.lo == last.lo - 123 && seen.addr.hi == last.hi,
	   "unit-get tells the unit that holds an address");
	err = ask(ctl, KHAZANA_NL_CMD_UNIT_GET, true, &seen);
	ok(!err && seen.messages == UNITS, "unit-get lists every unit once, over many messages");
	err = ask_unit(ctl, (struct khazana_addr){ 0x701, 0 }, &seen);
	ok(err == -ENOENT && *kh_ctl_text(ctl), "a unit never used is ENOENT, with a text");
	err = ask_unit(ctl, (struct khazana_addr){ 0x700, (uint64_t)UNITS * UNIT }, &seen);
	ok(err == -ENOENT, "an address behind a region is ENOENT");
	err = ask(ctl, KHAZANA_NL_CMD_ATTACHMENT_GET, true, &seen);
	ok(!err && seen.messages == 1 && seen.u[KHAZANA_NLA_ATTACHMENT_REGION] == region &&
		   seen.u[KHAZANA_NLA_ATTACHMENT_LENGTH] == (uint64_t)UNITS * UNIT &&
		   !(seen.bits & 1ULL << KHAZANA_NLA_ATTACHMENT_POISONED),
	   "attachment-get lists the window");
}

static void test_bad_input(struct kh_ctl *ctl)
{
	struct seen seen;

	ok(ask(ctl, KHAZANA_NL_CMD_UNIT_GET, false, &seen) == -EINVAL, "a missing attribute is "
								       "EINVAL");
	ok(ask_raw(ctl, KHAZANA_NL_CMD_UNIT_GET, false, KHAZANA_NLA_UNIT_ADDR, 8) < 0, "a short "
										       "address is "
										       "refused");
	ok(ask_raw(ctl, KHAZANA_NL_CMD_UNIT_GET, false, KHAZANA_NLA_UNIT_ADDR, 24) < 0, "a long "
											"address "
											"is "
											"refused");
	ok(ask_raw(ctl, KHAZANA_NL_CMD_UNIT_GET, false, 99, 4) == -EINVAL, "an unknown attribute "
									   "is EINVAL");
	ok(ask_raw(ctl, KHAZANA_NL_CMD_UNIT_GET, false, KHAZANA_NLA_UNIT_TOKEN, 8) == -EINVAL,
	   "an attribute of answers is EINVAL in a request");
	ok(ask_raw(ctl, KHAZANA_NL_CMD_UNIT_GET, true, KHAZANA_NLA_UNIT_REGION, 2) < 0, "a short "
											"handle is "
											"refused "
											"in a "
											"list's "
											"request");
	ok(ask_raw(ctl, KHAZANA_NL_CMD_STATS_GET, true, 1, 4) == -EINVAL, "an attribute where none "
									  "is taken is EINVAL");
	ok(ask(ctl, KHAZANA_NL_CMD_RESERVE, false, &seen) == -EOPNOTSUPP, "an operation of khd is "
									  "EOPNOTSUPP");
	ok(ask(ctl, KHAZANA_NL_CMD_STATS_GET, false, &seen) == -EOPNOTSUPP, "a list asked for as "
									    "one value is "
									    "EOPNOTSUPP");
	ok(ask(ctl, KHAZANA_NL_CMD_INSTANCE_GET, true, &seen) == -EOPNOTSUPP, "a value asked for "
									      "as a list is "
									      "EOPNOTSUPP");
	ok(!ask(ctl, KHAZANA_NL_CMD_INSTANCE_GET, false, &seen), "and the next request is served");
}

/* In a child: what an unprivileged user may ask. Return: the number of surprises. */
static int unprivileged(void)
{
	static const struct {
		uint8_t cmd;
		bool dump;
		int err;
	} rows[] = {
		{ KHAZANA_NL_CMD_INSTANCE_GET, false, 0 },
		{ KHAZANA_NL_CMD_KREGION_GET, true, 0 },
		{ KHAZANA_NL_CMD_STATS_GET, true, 0 },
		{ KHAZANA_NL_CMD_UNIT_GET, false, -EPERM },
		{ KHAZANA_NL_CMD_UNIT_GET, true, -EPERM },
		{ KHAZANA_NL_CMD_ATTACHMENT_GET, true, -EPERM },
		{ KHAZANA_NL_CMD_REQUEST_GET, true, -EPERM },
	};
	struct kh_ctl *ctl;
	struct seen seen;
	int wrong = 0;

	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 99;
	if (kh_ctl_open_module(&ctl))
		return 98;
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		wrong += ask(ctl, rows[i].cmd, rows[i].dump, &seen) != rows[i].err;
	wrong += kh_ctl_join(ctl) != -EPERM;
	return wrong;
}

/* In a child: another namespace has an instance of its own. */
static int elsewhere(uint64_t boot)
{
	struct kh_ctl *ctl;
	struct seen seen;

	if (unshare(CLONE_NEWNET) || kh_ctl_open_module(&ctl))
		return 99;
	if (ask(ctl, KHAZANA_NL_CMD_INSTANCE_GET, false, &seen))
		return 98;
	return seen.u[KHAZANA_NLA_INSTANCE_BOOT] == boot || seen.u[KHAZANA_NLA_INSTANCE_REGIONS] ||
	       (seen.bits & 1ULL << KHAZANA_NLA_INSTANCE_KHD_REGISTERED);
}

static int in_child(int (*fn)(uint64_t arg), uint64_t arg)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(fn(arg));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int unprivileged_child(uint64_t arg)
{
	return unprivileged();
}

static void test_instance(struct kh_ctl *ctl, uint64_t *boot)
{
	struct seen seen;
	int err = ask(ctl, KHAZANA_NL_CMD_INSTANCE_GET, false, &seen);

	ok(!err && seen.messages == 1 && seen.u[KHAZANA_NLA_INSTANCE_KHD_NODE] == 7 &&
		   seen.u[KHAZANA_NLA_INSTANCE_KHD_PORT] == 4711 &&
		   (seen.bits & 1ULL << KHAZANA_NLA_INSTANCE_KHD_REGISTERED) &&
		   seen.u[KHAZANA_NLA_INSTANCE_REGIONS] == REGIONS &&
		   seen.u[KHAZANA_NLA_INSTANCE_FRAMES_MAX] && seen.u[KHAZANA_NLA_INSTANCE_BOOT],
	   "instance-get names khd's node and port");
	*boot = seen.u[KHAZANA_NLA_INSTANCE_BOOT];
	err = ask(ctl, KHAZANA_NL_CMD_KREGION_GET, true, &seen);
	ok(!err && seen.messages == REGIONS && seen.addr.hi == 0x700 + REGIONS - 1, "kregion-get "
										    "lists every "
										    "region once, "
										    "over many "
										    "messages");
	err = ask(ctl, KHAZANA_NL_CMD_STATS_GET, true, &seen);
	ok(!err && seen.messages > 10, "stats-get lists the counters");
}

int main(void)
{
	struct seen events = { 0 };
	struct kh_ctl *ctl, *watch;
	uint32_t region;
	uint64_t boot;
	int ready[2], khd, status;
	pid_t child;

	if (kh_ctl_open_module(&ctl) || kh_ctl_open_module(&watch) || pipe(ready)) {
		printf("1..0 # SKIP the module is not loaded\n");
		return 0;
	}
	ok(!kh_ctl_join(watch), "the group of events can be joined");
	khd = khd_register(4711);
	region = regions_add(khd);
	test_instance(ctl, &boot);
	ok(!kh_ctl_event_read(watch, look_event, &events) && events.names == 3 && !events.gap,
	   "events of registration and regions arrive, without a gap");

	child = fork();
	if (!child)
		user(ready[1]);
	serve(ctl, khd, region, ready[0]);
	test_units(ctl, region);
	ok(in_child(unprivileged_child, 0) == 0, "an unprivileged user sees instance, regions, "
						 "counters, but gets EPERM for the rest");
	ok(in_child(elsewhere, boot) == 0, "another network namespace has an instance of its own");
	test_bad_input(ctl);

	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	for (unsigned int i = 0; i < REGIONS; i++) {
		struct khazana_cmd cmd = {
			.op = KHAZANA_CMD_REGION_DEL,
			.region = region + i,
			.flags = KHAZANA_CMDF_FORCE,
		};

		if (command(khd, &cmd))
			printf("# REGION_DEL %u: %d\n", i, cmd.result);
	}
	close(khd);
	ok(!kh_ctl_event_read(watch, look_event, &events) && events.names == 15 && !events.gap,
	   "events of removal and of khd's end arrive, without a gap");
	ok(!ask(ctl, KHAZANA_NL_CMD_KREGION_GET, true, &events) && !events.messages, "no region is "
										     "left");
	kh_ctl_close(watch);
	kh_ctl_close(ctl);
	printf("1..%d\n", tests);
	return failures > 0;
}
