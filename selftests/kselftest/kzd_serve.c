// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kzd_serve.c - the test daemon's loop: requests, remote calls, revoke storm
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kzd_call.h"

#define PENDING 1024 /* grants to try again */

struct server {
	struct kzd_dev *v;
	struct kzd_shared *sh;
	unsigned int flags;
	char *store;
	struct khazana_request pending[PENDING];
	unsigned int npending;
	struct khazana_request held[PENDING];
	unsigned int nheld;
	uint64_t next_storm_ns;
	uint64_t random;
};

/**
 * kzd_now_ns - the clock of leases
 *
 * Return: CLOCK_BOOTTIME in nanoseconds.
 */
uint64_t kzd_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static uint64_t next_random(struct server *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random;
}

static struct kzd_region *by_handle(struct server *s, uint32_t handle)
{
	unsigned int i;

	for (i = 0; i < KZD_REGIONS; i++)
		if (s->sh->region[i].generation && s->sh->region[i].handle == handle)
			return &s->sh->region[i];
	return NULL;
}

static struct kzd_region *by_addr(struct server *s, struct khazana_addr addr)
{
	unsigned int i;

	for (i = 0; i < KZD_REGIONS; i++) {
		struct kzd_region *r = &s->sh->region[i];
		unsigned __int128 at = (unsigned __int128)addr.hi << 64 | addr.lo;
		unsigned __int128 start = (unsigned __int128)r->addr.hi << 64 | r->addr.lo;

		if (r->generation && at >= start && at - start < r->length)
			return r;
	}
	return NULL;
}

static void serve_attach(struct server *s, const struct khazana_request *q)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_FAIL, .request = q->id };
	struct kzd_region *r = by_addr(s, q->addr);

	if (s->sh->attach_errno) {
		c.error = s->sh->attach_errno;
	} else if (!r) {
		c.error = ENOENT;
	} else if (memcmp(r->key, q->key, sizeof(r->key))) {
		c.error = EKEYREJECTED;
	} else {
		c.op = KHAZANA_CMD_ATTACH_DONE;
		c.region = r->handle;
		c.version = r->key_serial;
	}
	kzd_dev_cmd(s->v, &c);
}

/* Fill the frame of a unit as a remote owner's DATA would. */
static void fill(struct server *s, const struct kzd_region *r, uint64_t unit, uint32_t frame)
{
	size_t size = (size_t)1 << r->shift;
	char *to = s->v->view + (size_t)frame * 4096;
	size_t i;

	if (s->flags & KZD_PATTERN) {
		for (i = 0; i < size / 8; i++)
			((uint64_t *)to)[i] = KZD_PATTERN_WORD(unit, i);
	} else {
		memcpy(to, s->store + (unit << r->shift), size);
	}
}

static int receive(struct server *s, const struct khazana_request *q, uint64_t unit,
		   uint32_t *frame)
{
	const struct kzd_region *r = by_handle(s, q->region);
	struct khazana_cmd c = { .op = KHAZANA_CMD_FRAMES, .region = q->region, .unit = unit };
	int err;

	if (!r)
		return -ENOENT;
	if (q->count == 1 && q->flags & KHAZANA_REQF_FRAME) {
		*frame = q->frame;
		fill(s, r, unit, q->frame);
		return 0;
	}
	err = kzd_dev_cmd(s->v, &c);
	if (err)
		return err;
	*frame = c.frame;
	fill(s, r, unit, c.frame);
	return 0;
}

/* Which copy to grant, as the module tells; false: none, so zero or our own data. */
static bool find_copy(struct server *s, struct khazana_cmd *unit)
{
	uint32_t right;

	unit->op = KHAZANA_CMD_UNIT_GET;
	if (kzd_dev_cmd(s->v, unit))
		return false;
	right = unit->right;
	if (right == KHAZANA_RIGHT_NONE)
		unit->version = unit->version_held;
	return right != KHAZANA_RIGHT_NONE || unit->uflags & KHAZANA_UNIT_HANDOFF;
}

/* The request was answered before it was asked. */
static int settled(struct server *s, const struct khazana_request *q)
{
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_FAIL,
		.region = q->region,
		.unit = q->unit,
		.request = q->id,
	};

	return kzd_dev_cmd(s->v, &c);
}

static int grant(struct server *s, const struct khazana_request *q, uint64_t unit, bool ask)
{
	struct khazana_cmd have = { .region = q->region, .unit = unit, .version = q->version };
	struct khazana_cmd c = {
		.op = KHAZANA_CMD_COMMIT,
		.flags = s->sh->flags |
			 (s->flags & KZD_PATTERN ? KHAZANA_CMDF_DROPPABLE : KHAZANA_CMDF_OWNED),
		.region = q->region,
		.unit = unit,
		.right = q->want,
		.request = q->id,
	};
	bool held = q->version != KHAZANA_VERSION_NONE;
	int err;

	if (ask)
		held = find_copy(s, &have);
	/* Its frame is about to be kept in HANDOFF: a new one would end that. */
	if (have.state == KHAZANA_STATE_REVOKING)
		return -EBUSY;
	if (ask && q->count == 1 && held && have.right >= q->want)
		return settled(s, q);
	c.token = atomic_fetch_add(&s->sh->token, 1) + 1;
	c.version = c.token;
	c.version_held = have.version;
	if (q->flags & KHAZANA_REQF_OVERWRITE) {
		c.flags |= KHAZANA_CMDF_ZERO;
	} else if (held) {
		c.flags |= KHAZANA_CMDF_HELD;
		if (q->want == KHAZANA_RIGHT_READ)
			c.version = c.version_held;
	} else if (s->flags & (KZD_STORE | KZD_PATTERN)) {
		err = receive(s, q, unit, &c.frame);
		if (err)
			return err;
	} else {
		c.flags |= KHAZANA_CMDF_ZERO;
	}
	return kzd_dev_cmd(s->v, &c);
}

/* false: to be tried again, then asking the module what it has */
static bool serve_fault(struct server *s, const struct khazana_request *q, bool again)
{
	struct khazana_cmd fail = {
		.op = KHAZANA_CMD_FAIL,
		.region = q->region,
		.unit = q->unit,
		.request = q->id,
		.error = s->sh->fault_errno,
	};
	uint64_t i;
	int err, try;

	if (fail.error) {
		kzd_dev_cmd(s->v, &fail);
		return true;
	}
	for (i = 0; i < q->count; i++) {
		for (try = 0; try < 3; try++) {
			err = grant(s, q, q->unit + i, again || try > 0 || q->count > 1);
			if (!err || err == -EALREADY || err == -ENOENT)
				break;
			atomic_fetch_add(&s->sh->refused, 1);
			atomic_store(&s->sh->last_error, -err);
		}
		if (try == 3)
			return false;
	}
	return true;
}

/* A revoked unit's data leaves the node. */
static void take(struct server *s, uint32_t region, uint64_t unit)
{
	const struct kzd_region *r = by_handle(s, region);
	struct khazana_cmd c = { .op = KHAZANA_CMD_UNIT_GET, .region = region, .unit = unit };

	if (!(s->flags & KZD_STORE) || !r)
		return;
	if (kzd_dev_cmd(s->v, &c) || !(c.uflags & KHAZANA_UNIT_HANDOFF))
		return;
	memcpy(s->store + (unit << r->shift), s->v->view + (size_t)c.frame_handoff * 4096,
	       (size_t)1 << r->shift);
	c = (struct khazana_cmd){
		.op = KHAZANA_CMD_RELEASE,
		.region = region,
		.unit = unit,
		.token = c.token_handoff,
	};
	kzd_dev_cmd(s->v, &c);
}

static void storm(struct server *s)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_REVOKE };
	uint64_t now = kzd_now_ns();
	int err;

	if (!s->sh->storm_us || now < s->next_storm_ns)
		return;
	s->next_storm_ns = now + s->sh->storm_us * 1000ULL;
	c.region = s->sh->storm_region;
	c.unit = next_random(s) % s->sh->storm_units;
	c.right = s->sh->storm_right;
	if (c.right == KHAZANA_RIGHT_WRITE)
		c.right = next_random(s) & 1;
	c.token = atomic_fetch_add(&s->sh->token, 1) + 1;
	err = kzd_dev_cmd(s->v, &c);
	if (err == -EINPROGRESS)
		atomic_fetch_add(&s->sh->in_progress, 1);
	if (!err && c.right == KHAZANA_RIGHT_NONE)
		take(s, c.region, c.unit);
	if (!err)
		atomic_fetch_add(&s->sh->revokes, 1);
}

static void answer(struct server *s, const struct khazana_request *q, bool again)
{
	switch (q->op) {
	case KHAZANA_REQ_FAULT:
		if (!serve_fault(s, q, again) && s->npending < PENDING)
			s->pending[s->npending++] = *q;
		break;
	case KHAZANA_REQ_ATTACH:
		serve_attach(s, q);
		break;
	case KHAZANA_REQ_FLUSH:
		settled(s, q);
		break;
	case KHAZANA_REQ_REVOKED:
		take(s, q->region, q->unit);
		break;
	}
}

static void serve(struct server *s, const struct khazana_request *q)
{
	uint64_t at = atomic_load(&s->sh->log_head);

	if (q->op < KZD_OPS)
		atomic_fetch_add(&s->sh->seen[q->op], 1);
	if (q->op == KHAZANA_REQ_FAULT && q->want == KHAZANA_RIGHT_WRITE &&
	    q->version != KHAZANA_VERSION_NONE && !(q->flags & KHAZANA_REQF_HANDOFF))
		atomic_fetch_add(&s->sh->upgrades, 1);
	s->sh->log[at % KZD_LOG] = *q;
	atomic_store(&s->sh->log_head, at + 1);
	if (q->op < KZD_OPS && s->sh->hold & KZD_BIT(q->op)) {
		if (s->nheld < PENDING)
			s->held[s->nheld++] = *q;
		return;
	}
	if (s->sh->delay_us)
		usleep(s->sh->delay_us);
	answer(s, q, false);
}

static void retry(struct server *s)
{
	unsigned int i, n = s->npending;

	s->npending = 0;
	for (i = 0; i < n; i++)
		answer(s, &s->pending[i], true);
	n = s->nheld;
	s->nheld = 0;
	for (i = 0; i < n; i++) {
		if (s->sh->hold & KZD_BIT(s->held[i].op))
			s->held[s->nheld++] = s->held[i];
		else
			answer(s, &s->held[i], true);
	}
}

/* A remote call of the test; false when the test has gone. */
static bool serve_call(struct server *s, int sock)
{
	struct kzd_shared *sh = s->sh;
	char byte;

	if (recv(sock, &byte, 1, 0) != 1)
		return false;
	if (sh->call == KZD_CALL_BATCH)
		sh->call_result = kzd_dev_batch(s->v, sh->cmds, sh->call_count);
	else if (sh->call == KZD_CALL_PROBE)
		sh->call_result = pread(sh->call_fd, &byte, 1, 0) < 0 ? -errno : 0;
	else if (sh->call == KZD_CALL_TAKE)
		take(s, sh->cmds[0].region, sh->cmds[0].unit);
	else if (sh->call == KZD_CALL_PEEK)
		sh->cmds[0].token = *(uint64_t *)(s->v->view + (size_t)sh->cmds[0].frame * 4096);
	else if (sh->call == KZD_CALL_RELEASE)
		atomic_store(&sh->hold, 0);
	return send(sock, &byte, 1, MSG_NOSIGNAL) == 1;
}

static struct timespec wait_time(const struct server *s)
{
	/* a command may have reaped a FETCH */
	if (s->v->nready)
		return (struct timespec){ 0 };
	if (s->sh->storm_us)
		return (struct timespec){ .tv_nsec = s->sh->storm_us * 1000L };
	return (struct timespec){ .tv_nsec = s->npending ? 1000000 : 50000000 };
}

/**
 * kzd_serve - answer requests until the socket is closed
 * @v: the device
 * @sh: shared with the test
 * @flags: KZD_*
 * @store: contents, with KZD_STORE
 * @sock: remote calls, or -1
 *
 * Return: 0, or a negative errno when the device is gone.
 */
int kzd_serve(struct kzd_dev *v, struct kzd_shared *sh, unsigned int flags, char *store, int sock)
{
	struct server s = {
		.v = v, .sh = sh, .flags = flags, .store = store, .random = 88172645463325252ULL
	};
	struct pollfd fds[2] = { { .fd = kzd_dev_pollfd(v), .events = POLLIN },
				 { .fd = sock, .events = POLLIN } };
	struct khazana_request req;
	struct timespec time;
	int n, burst;

	/* What made the device readable may be gone: a caller was killed. */
	if (!(flags & KZD_URING) && fcntl(v->fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	for (;;) {
		time = wait_time(&s);
		if (ppoll(fds, 2, &time, NULL) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents && !serve_call(&s, sock))
			return 0;
		for (burst = 0; burst < 64; burst++) {
			if (!(flags & KZD_URING) && poll(fds, 1, 0) <= 0)
				break;
			n = kzd_dev_fetch(v, &req);
			if (n < 0)
				return n;
			if (!n)
				break;
			serve(&s, &req);
		}
		retry(&s);
		storm(&s);
	}
}
