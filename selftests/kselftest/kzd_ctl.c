// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kzd_ctl.c - start, drive and end the test daemon
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kzd_call.h"

static void sleep_us(long us)
{
	struct timespec t = { .tv_nsec = us * 1000 };

	nanosleep(&t, NULL);
}

static int call(struct kzd *d, enum kzd_call what)
{
	char byte = 0;

	if (d->sock < 0)
		return -ENODEV;
	d->sh->call = what;
	if (send(d->sock, &byte, 1, MSG_NOSIGNAL) != 1 || recv(d->sock, &byte, 1, 0) != 1)
		return -ENODEV;
	return d->sh->call_result;
}

/* The regions of an earlier server: find their handles, raise their epoch. */
static void adopt(struct kzd_dev *v, struct kzd_shared *sh, uint64_t epoch)
{
	struct khazana_cmd get = { .op = KHAZANA_CMD_REGION_GET };
	uint32_t handle;
	unsigned int i;

	while (!kzd_dev_cmd(v, &get)) {
		handle = get.region;
		for (i = 0; i < KZD_REGIONS; i++)
			if (sh->region[i].generation == get.generation)
				sh->region[i].handle = handle;
		kzd_dev_cmd(v, &(struct khazana_cmd){
				       .op = KHAZANA_CMD_EPOCH, .region = handle, .token = epoch });
		get = (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_GET, .region = handle + 1 };
	}
}

static void server_main(struct kzd *d, int sock)
{
	struct kzd_dev v;
	struct sched_param first = { .sched_priority = 1 };
	char byte = 0;
	int err, try;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* users that spin must not keep it from its work; where it may not, it is only slower */
	sched_setscheduler(0, SCHED_FIFO, &first);
	for (try = 0; try < 200; try++) {
		err = kzd_dev_open(&v, d->flags, d->depth);
		if (err != -EBUSY)
			break;
		sleep_us(10000);
	}
	if (!err) {
		if (d->flags & KZD_ADOPT)
			adopt(&v, d->sh, KZD_EPOCH(d->epoch));
		else
			kzd_dev_purge(&v);
		d->sh->cmds[0].frame = v.reg.regions;
		d->sh->cmds[0].count = v.reg.frames_max;
		d->sh->cmds[0].length = v.reg.view_pages;
	}
	d->sh->call_result = err;
	send(sock, &byte, 1, MSG_NOSIGNAL);
	if (!err)
		err = kzd_serve(&v, d->sh, d->flags, d->store, sock);
	_exit(err ? 1 : 0);
}

static int launch(struct kzd *d)
{
	int sock[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return -errno;
	atomic_store(&d->sh->token, KZD_EPOCH(d->epoch));
	d->pid = fork();
	if (d->pid == 0) {
		close(sock[0]);
		server_main(d, sock[1]);
	}
	close(sock[1]);
	d->sock = sock[0];
	if (d->pid < 0)
		return -errno;
	if (recv(d->sock, &byte, 1, 0) != 1)
		return -ENODEV;
	d->reg.regions = d->sh->cmds[0].frame;
	d->reg.frames_max = d->sh->cmds[0].count;
	d->reg.view_pages = d->sh->cmds[0].length;
	return d->sh->call_result;
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/**
 * kzd_start - start a server and wait until it is registered
 * @flags: KZD_*
 * @depth: descriptors
 * @store_size: bytes of kzd.store, with KZD_STORE
 *
 * Return: the server, or NULL with errno.
 */
struct kzd *kzd_start(unsigned int flags, unsigned int depth, size_t store_size)
{
	struct kzd *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return NULL;
	d->flags = flags;
	d->depth = depth;
	d->epoch = 1;
	d->sock = -1;
	d->store_size = store_size;
	d->sh = shared(sizeof(*d->sh));
	if (store_size)
		d->store = shared(store_size);
	if (!d->sh || (store_size && !d->store)) {
		errno = ENOMEM;
		return NULL;
	}
	err = launch(d);
	if (!err)
		err = kzd_lease(d, KZD_LEASE, 3600 * 1000);
	if (!err)
		return d;
	kzd_stop(d);
	errno = -err;
	return NULL;
}

/**
 * kzd_restart - a new server takes the regions over, in the next epoch
 * @d: whose server is dead
 *
 * Return: 0 or a negative errno.
 */
int kzd_restart(struct kzd *d)
{
	d->flags |= KZD_ADOPT;
	d->epoch++;
	return launch(d);
}

/**
 * kzd_kill - SIGKILL the server and wait for its end
 * @d: the server
 */
void kzd_kill(struct kzd *d)
{
	if (d->pid > 0) {
		kill(d->pid, SIGKILL);
		waitpid(d->pid, NULL, 0);
	}
	d->pid = 0;
	if (d->sock >= 0)
		close(d->sock);
	d->sock = -1;
}

/**
 * kzd_stop - end the server and free everything
 * @d: the server, invalid afterwards
 */
void kzd_stop(struct kzd *d)
{
	kzd_kill(d);
	munmap(d->sh, sizeof(*d->sh));
	if (d->store)
		munmap(d->store, d->store_size);
	free(d);
}

/**
 * kzd_batch - let the server execute commands
 * @d: the server
 * @cmds: commands, results are written back
 * @count: how many
 *
 * Return: how many ran, or a negative errno.
 */
int kzd_batch(struct kzd *d, struct khazana_cmd *cmds, unsigned int count)
{
	int n;

	memcpy(d->sh->cmds, cmds, count * sizeof(*cmds));
	d->sh->call_count = count;
	n = call(d, KZD_CALL_BATCH);
	memcpy(cmds, d->sh->cmds, count * sizeof(*cmds));
	return n;
}

/**
 * kzd_cmd - let the server execute one command
 * @d: the server
 * @cmd: the command, results are written back
 *
 * Return: its result.
 */
int kzd_cmd(struct kzd *d, struct khazana_cmd *cmd)
{
	int n = kzd_batch(d, cmd, 1);

	if (n < 0)
		return n;
	return n == 1 ? cmd->result : -EPROTO;
}

/**
 * kzd_probe - let the server read a byte of a users' view that it inherited
 * @d: the server
 * @fd: open in the server
 *
 * Return: 0 or a negative errno.
 */
int kzd_probe(struct kzd *d, int fd)
{
	d->sh->call_fd = fd;
	return call(d, KZD_CALL_PROBE);
}

/**
 * kzd_peek - let the server read the first word of a frame
 * @d: the server
 * @frame: index in the view
 *
 * Return: the word.
 */
uint64_t kzd_peek(struct kzd *d, uint32_t frame)
{
	d->sh->cmds[0].frame = frame;
	call(d, KZD_CALL_PEEK);
	return d->sh->cmds[0].token;
}

/**
 * kzd_region - make a region known to module and server
 * @d: the server
 * @addr: first address
 * @length: bytes
 * @shift: log2 of the unit
 * @attributes: flags, lease, wait_ms, residency_us of it; may be NULL
 *
 * Residency is 1 us unless @attributes says otherwise, so that a REVOKE ends at once.
 *
 * Return: its handle, or a negative errno.
 */
int kzd_region(struct kzd *d, struct khazana_addr addr, uint64_t length, unsigned int shift,
	       const struct khazana_cmd *attributes)
{
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_REGION_ADD,
		.addr = addr,
		.length = length,
		.unit_shift = shift,
		.lease = KZD_LEASE,
		.residency_us = 1,
	};
	struct kzd_region *r = d->sh->region;
	int err;

	while (r->generation)
		r++;
	if (attributes) {
		c.flags = attributes->flags;
		c.wait_ms = attributes->wait_ms;
		if (attributes->residency_us)
			c.residency_us = attributes->residency_us;
		if (attributes->lease)
			c.lease = attributes->lease;
	}
	c.generation = kzd_now_ns();
	err = kzd_cmd(d, &c);
	if (err && err != -EALREADY)
		return err;
	r->addr = addr;
	r->length = length;
	r->shift = shift;
	r->handle = c.region;
	r->generation = c.generation;
	return c.region;
}

/**
 * kzd_region_del - a region that nobody is attached to goes
 * @d: the server
 * @region: its handle
 *
 * Return: the command's result.
 */
int kzd_region_del(struct kzd *d, uint32_t region)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_REGION_DEL, .region = region };
	int err = kzd_cmd(d, &c);
	unsigned int i;

	for (i = 0; !err && i < KZD_REGIONS; i++)
		if (d->sh->region[i].generation && d->sh->region[i].handle == region)
			d->sh->region[i].generation = 0;
	return err;
}

/**
 * kzd_lease - set the end of a lease
 * @d: the server
 * @lease: its id
 * @end_ms: from now
 *
 * Return: the command's result.
 */
int kzd_lease(struct kzd *d, uint32_t lease, int64_t end_ms)
{
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_LEASE,
		.lease = lease,
		.time_ns = kzd_now_ns() + end_ms * 1000000,
	};

	return kzd_cmd(d, &c);
}

/**
 * kzd_commit - grant what a held FAULT asks for: its copy if it has one, else zero
 * @d: the server
 * @req: the request
 * @right: granted
 * @token: of the grant
 * @flags: more KHAZANA_CMDF_*, beside OWNED and HELD or ZERO
 *
 * Return: the command's result.
 */
int kzd_commit(struct kzd *d, const struct khazana_request *req, uint32_t right, uint64_t token,
	       uint32_t flags)
{
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_COMMIT,
		.flags = flags | KHAZANA_CMDF_OWNED,
		.region = req->region,
		.unit = req->unit,
		.right = right,
		.token = token,
		.version = token,
		.version_held = req->version,
		.request = req->id,
	};

	c.flags |= req->version == KHAZANA_VERSION_NONE ? KHAZANA_CMDF_ZERO : KHAZANA_CMDF_HELD;
	return kzd_cmd(d, &c);
}

/**
 * kzd_revoke - REVOKE with a new token; with KZD_STORE the data moves to the store
 * @d: the server
 * @region: handle
 * @unit: one unit
 * @right: what may remain
 * @flags: KHAZANA_CMDF_*
 *
 * Return: the command's result.
 */
int kzd_revoke(struct kzd *d, uint32_t region, uint64_t unit, uint32_t right, uint32_t flags)
{
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_REVOKE,
		.flags = flags,
		.region = region,
		.unit = unit,
		.right = right,
		.token = kzd_token(d),
	};
	int err;

	c.cookie = c.token;
	err = kzd_cmd(d, &c);
	if (!err && right == KHAZANA_RIGHT_NONE && d->flags & KZD_STORE)
		call(d, KZD_CALL_TAKE);
	return err;
}

/**
 * kzd_fail - FAIL a held request
 * @d: the server
 * @req: the request
 * @error: positive errno for its waiters
 *
 * Return: the command's result.
 */
int kzd_fail(struct kzd *d, const struct khazana_request *req, int error)
{
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_FAIL,
		.region = req->region,
		.unit = req->unit,
		.request = req->id,
		.error = error,
	};

	return kzd_cmd(d, &c);
}

/**
 * kzd_unit - UNIT_GET
 * @d: the server
 * @region: handle
 * @unit: the unit
 * @out: filled
 *
 * Return: the command's result.
 */
int kzd_unit(struct kzd *d, uint32_t region, uint64_t unit, struct khazana_cmd *out)
{
	*out = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET, .region = region, .unit = unit };
	return kzd_cmd(d, out);
}

/**
 * kzd_token - a token above all earlier ones
 * @d: the server
 *
 * Return: the token.
 */
uint64_t kzd_token(struct kzd *d)
{
	return atomic_fetch_add(&d->sh->token, 1) + 1;
}

/**
 * kzd_hold - leave operations to the test; those that were seen until now are forgotten
 * @d: the server
 * @bits: KZD_BIT()s
 */
void kzd_hold(struct kzd *d, uint32_t bits)
{
	unsigned int op;

	for (op = 0; op < KZD_OPS; op++)
		if (bits & KZD_BIT(op))
			kzd_skip(d, op);
	atomic_store(&d->sh->hold, bits);
}

/**
 * kzd_release - hold nothing any more; the server answers what was held
 * @d: the server
 */
void kzd_release(struct kzd *d)
{
	call(d, KZD_CALL_RELEASE);
}

/**
 * kzd_wait - the next request of a kind, from the log of all requests
 * @d: the server
 * @op: enum khazana_req_op
 * @timeout_ms: how long to wait for it
 * @req: filled, may be NULL
 *
 * Return: whether it came.
 */
bool kzd_wait(struct kzd *d, unsigned int op, int timeout_ms, struct khazana_request *req)
{
	uint64_t end = kzd_now_ns() + timeout_ms * 1000000ULL;
	uint64_t *at = &d->cursor[op];

	for (;;) {
		for (; *at < atomic_load(&d->sh->log_head); (*at)++) {
			struct khazana_request *q = &d->sh->log[*at % KZD_LOG];

			if (q->op != op)
				continue;
			if (req)
				*req = *q;
			(*at)++;
			return true;
		}
		if (kzd_now_ns() > end)
			return false;
		sleep_us(500);
	}
}

/**
 * kzd_skip - forget the requests of a kind that came until now
 * @d: the server
 * @op: enum khazana_req_op
 */
void kzd_skip(struct kzd *d, unsigned int op)
{
	d->cursor[op] = atomic_load(&d->sh->log_head);
}

/**
 * kzd_seen - how many requests of a kind came
 * @d: the server
 * @op: enum khazana_req_op
 *
 * Return: the number.
 */
uint64_t kzd_seen(struct kzd *d, unsigned int op)
{
	return atomic_load(&d->sh->seen[op]);
}
