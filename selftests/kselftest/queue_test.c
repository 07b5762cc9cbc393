// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue_test.c - the daemon's side: registration, the queue, commands, take-over
 */
#include "kzt.h"

#define DEPTH 16

static int register_with(int fd, struct khazana_register *r)
{
	if (!r->size)
		r->size = sizeof(*r);
	return ioctl(fd, KHAZANA_IOC_REGISTER, r) ? -errno : 0;
}

TEST(bad_registrations)
{
	struct {
		struct khazana_register r;
		char tail[16];
	} big = { .r = { .size = sizeof(big), .depth = DEPTH, .node = 1 } };
	struct khazana_register r = { .depth = 0, .node = 1 };
	struct khazana_attach a = { .start = KZT_START };
	int fd = open(KZD_DEVICE, O_RDWR), other;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, register_with(fd, &r));
	r.depth = KHAZANA_QUEUE_DEPTH_MAX + 1;
	EXPECT_EQ(-EINVAL, register_with(fd, &r));
	r.depth = DEPTH;
	r.flags = 1u << 31;
	EXPECT_EQ(-EINVAL, register_with(fd, &r));
	r.flags = 0;
	r.reserved = 1;
	EXPECT_EQ(-EINVAL, register_with(fd, &r));
	r.reserved = 0;
	r.size = 8;
	EXPECT_EQ(-EINVAL, register_with(fd, &r));
	big.tail[15] = 1;
	EXPECT_EQ(-E2BIG, register_with(fd, &big.r));
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_REGISTER, 8));
	EXPECT_EQ(EFAULT, errno);
	big.tail[15] = 0;
	ASSERT_EQ(0, register_with(fd, &big.r));
	EXPECT_EQ(KHAZANA_ABI_VERSION, big.r.abi);
	EXPECT_NE(0, big.r.boot);
	EXPECT_LT(0, big.r.frames_max);

	/* once is enough, for this file and for others */
	r = (struct khazana_register){ .depth = DEPTH, .node = 2 };
	EXPECT_EQ(-EBUSY, register_with(fd, &r));
	other = open(KZD_DEVICE, O_RDWR);
	EXPECT_EQ(-EBUSY, register_with(other, &r));
	EXPECT_EQ(-EBUSY, kzt_attach_with(fd, &a));
	close(fd);
	EXPECT_EQ(0, register_with(other, &r));
	EXPECT_EQ(big.r.boot, r.boot);
	close(other);
}

TEST(unprivileged_registration)
{
	struct khazana_register r = { .depth = DEPTH, .node = 1 };
	int fd = open(KZD_DEVICE, O_RDWR), status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(register_with(fd, &r) == -EPERM ? 0 : 1);
	}
	status = kzt_reap(pid, KZT_SOON_MS);
	EXPECT_EQ(0, status);
	/* the refusal left nothing behind */
	EXPECT_EQ(0, register_with(fd, &r));
	close(fd);
}

TEST(commands_need_a_registered_file)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_STATE };
	struct khazana_batch b = { .size = sizeof(b), .count = 1, .cmds = (uintptr_t)&c };
	int fd = open(KZD_DEVICE, O_RDWR);

	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_COMMAND, &b));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(fd, _IO(KHAZANA_IOC_MAGIC, 99), &b));
	EXPECT_TRUE(errno == ENOTTY || errno == EINVAL);
	close(fd);
}

/* The test itself is the daemon. */
FIXTURE(dev)
{
	struct kzd_dev v;
	int region;
	pid_t user;
};

FIXTURE_VARIANT(dev)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(dev, read){
	.flags = 0,
};

FIXTURE_VARIANT_ADD(dev, uring){
	.flags = KZD_URING | KZD_URING_CMD,
};

static int dev_cmd(struct kzd_dev *v, struct khazana_cmd c)
{
	return kzd_dev_cmd(v, &c);
}

FIXTURE_SETUP(dev)
{
	struct khazana_cmd add = {
		.op = KHAZANA_CMD_REGION_ADD,
		.addr = KZT_START,
		.length = KZT_LENGTH,
		.unit_shift = KZT_SHIFT,
		.lease = KZD_LEASE,
		.residency_us = 1,
		.generation = kzd_now_ns(),
	};

	ASSERT_EQ(0, kzd_dev_open(&self->v, variant->flags, DEPTH));
	kzd_dev_purge(&self->v);
	ASSERT_EQ(0, dev_cmd(&self->v,
			     (struct khazana_cmd){ .op = KHAZANA_CMD_LEASE,
						   .lease = KZD_LEASE,
						   .time_ns = kzd_now_ns() + 3600000000000ULL }));
	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &add));
	self->region = add.region;
	self->user = 0;
}

FIXTURE_TEARDOWN(dev)
{
	if (self->user) {
		kill(self->user, SIGKILL);
		kzt_reap(self->user, KZT_SOON_MS);
	}
	dev_cmd(&self->v, (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_DEL,
						.region = self->region,
						.flags = KHAZANA_CMDF_FORCE });
	kzd_dev_close(&self->v);
}

static bool fetch(struct kzd_dev *v, uint32_t op, struct khazana_request *req)
{
	struct pollfd p = { .fd = kzd_dev_pollfd(v), .events = POLLIN };
	int i;

	for (i = 0; i < 50; i++) {
		/* a command may have reaped a FETCH before */
		if (!v->nready && poll(&p, 1, 100) <= 0)
			continue;
		if (kzd_dev_fetch(v, req) == 1 && req->op == op)
			return true;
	}
	return false;
}

/* A process that stores to a unit; on return its FAULT has been fetched. */
static pid_t user_waiting(struct kzd_dev *v, int region, unsigned int unit,
			  struct khazana_request *req)
{
	pid_t pid = fork();
	uint64_t *map;

	if (!pid) {
		close(v->fd);
		map = kzt_map(kzt_attach(KZT_START, 0, 0), KZT_LENGTH, PROT_READ | PROT_WRITE);
		if (!map)
			_exit(1);
		map[unit * 512] = 0x1234;
		map[unit * 512 + 1] = 0x5678;
		pause();
	}
	if (!fetch(v, KHAZANA_REQ_ATTACH, req))
		return 0;
	dev_cmd(v, (struct khazana_cmd){
			   .op = KHAZANA_CMD_ATTACH_DONE, .region = region, .request = req->id });
	return fetch(v, KHAZANA_REQ_FAULT, req) ? pid : 0;
}

static struct khazana_cmd commit_of(const struct khazana_request *req, uint64_t token)
{
	return (struct khazana_cmd){
		.op = KHAZANA_CMD_COMMIT,
		.flags = KHAZANA_CMDF_ZERO | KHAZANA_CMDF_OWNED,
		.region = req->region,
		.unit = req->unit,
		.right = RIGHT_WRITE,
		.token = token,
		.version = token,
		.request = req->id,
	};
}

TEST_F(dev, double_commit)
{
	struct khazana_request req;
	struct khazana_cmd c;
	uint64_t word;
	int err;

	self->user = user_waiting(&self->v, self->region, 0, &req);
	ASSERT_NE(0, self->user);
	ASSERT_EQ(0, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + 1)));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET, .region = self->region };
	do {
		kzt_sleep_ms(10);
		ASSERT_EQ(0, kzd_dev_cmd(&self->v, &c));
		word = ((uint64_t *)(self->v.view + c.frame * KZT_PAGE))[1];
	} while (word != 0x5678);
	/* the second one, whatever it is told, must not zero the page */
	err = dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + 1));
	EXPECT_TRUE(err == -EALREADY || err == -ESTALE);
	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &c));
	EXPECT_EQ(0x1234, *(uint64_t *)(self->v.view + c.frame * KZT_PAGE));
	EXPECT_EQ(RIGHT_WRITE, c.right);
	EXPECT_EQ(KZD_EPOCH(1) + 1, c.token);
}

#define BYTES ((size_t)1 << KZT_SHIFT)

static struct khazana_cmd bring(int region, unsigned int unit, uint64_t token, const void *data)
{
	return (struct khazana_cmd){
		.op = KHAZANA_CMD_COMMIT,
		.flags = KHAZANA_CMDF_DATA | KHAZANA_CMDF_DROPPABLE,
		.region = region,
		.unit = unit,
		.right = RIGHT_READ,
		.token = token,
		.version = token,
		.data = (uintptr_t)data,
		.length = BYTES,
	};
}

static uint64_t frames_in_use(struct kzd_dev *v)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_STATE };

	return kzd_dev_cmd(v, &c) ? ~0ull : c.count;
}

/* The last word of what the module has of a unit. */
static uint64_t word_of(struct kzd_dev *v, int region, unsigned int unit)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_UNIT_GET, .region = region, .unit = unit };

	if (kzd_dev_cmd(v, &c) || c.frame == ~0u)
		return ~0ull;
	return *(uint64_t *)(v->view + (size_t)c.frame * KZT_PAGE + BYTES - 8);
}

TEST_F(dev, contents_that_a_commit_brings)
{
	const uint64_t token = KZD_EPOCH(1) + 1;
	uint64_t used = frames_in_use(&self->v);
	struct khazana_cmd c, batch[8];
	char *data;
	int i;

	/* the second half of @data cannot be read */
	data = mmap(NULL, 10 * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, data);
	for (i = 0; i < 8; i++)
		*(uint64_t *)(data + (i + 1) * BYTES - 8) = 0x700 + i;
	ASSERT_EQ(0, mprotect(data + 8 * BYTES, 2 * BYTES, PROT_NONE));

	/* what cannot be read, or is not whole, leaves nothing: neither a frame nor a record */
	EXPECT_EQ(-EFAULT, dev_cmd(&self->v, bring(self->region, 3, token, NULL)));
	EXPECT_EQ(-EFAULT, dev_cmd(&self->v, bring(self->region, 3, token, (void *)-4096L)));
	EXPECT_EQ(-EFAULT,
		  dev_cmd(&self->v, bring(self->region, 3, token, data + 8 * BYTES - BYTES / 2)));
	c = bring(self->region, 3, token, data);
	c.length = BYTES / 2;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c.length = BYTES;
	c.flags |= KHAZANA_CMDF_ZERO;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	EXPECT_EQ(used, frames_in_use(&self->v));
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET,
								   .region = self->region,
								   .unit = 3 }));

	/* a range in one batch: one that fails does not stop the others; at any address */
	for (i = 0; i < 8; i++)
		batch[i] = bring(self->region, 3 + i, token + i, data + i * BYTES);
	batch[4].data = (uintptr_t)data + 8 * BYTES - 8;
	ASSERT_EQ(8, kzd_dev_batch(&self->v, batch, 8));
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(i == 4 ? -EFAULT : 0, batch[i].result);
		EXPECT_EQ(i == 4 ? ~0ull : 0x700 + i, word_of(&self->v, self->region, 3 + i));
	}
	EXPECT_EQ(used + 7 * BYTES / KZT_PAGE, frames_in_use(&self->v));
	memmove(data + 4, data, BYTES);
	EXPECT_EQ(0, dev_cmd(&self->v, bring(self->region, 7, token + 4, data + 4)));
	EXPECT_EQ(0x700, word_of(&self->v, self->region, 7));

	/* refused: what is there stays as it is */
	used = frames_in_use(&self->v);
	EXPECT_EQ(-EALREADY, dev_cmd(&self->v, bring(self->region, 3, token, data + BYTES)));
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, bring(self->region, 3, token - 1, data + BYTES)));
	EXPECT_EQ(-EBUSY, dev_cmd(&self->v, bring(self->region, 3, token + 20, data + BYTES)));
	EXPECT_EQ(0x700, word_of(&self->v, self->region, 3));
	EXPECT_EQ(used, frames_in_use(&self->v));
	munmap(data, 10 * BYTES);
}

/* A thread waits, with a frame to receive into; the contents come from that very frame, by the
 * view. */
TEST_F(dev, contents_from_the_view)
{
	struct khazana_cmd frames = { .op = KHAZANA_CMD_FRAMES, .region = self->region, .unit = 2 };
	struct khazana_request req;
	struct khazana_cmd c;
	uint64_t used, *word;

	self->user = user_waiting(&self->v, self->region, 2, &req);
	ASSERT_NE(0, self->user);
	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &frames));
	used = frames_in_use(&self->v);
	word = (uint64_t *)(self->v.view + (size_t)frames.frame * KZT_PAGE);
	word[0] = 7;
	word[BYTES / 8 - 1] = 0x4711;
	c = bring(self->region, 2, KZD_EPOCH(1) + 1, word);
	c.flags = KHAZANA_CMDF_DATA | KHAZANA_CMDF_OWNED;
	c.right = RIGHT_WRITE;
	c.request = req.id;
	ASSERT_EQ(0, dev_cmd(&self->v, c));
	EXPECT_EQ(0x4711, word_of(&self->v, self->region, 2));
	EXPECT_EQ(used, frames_in_use(&self->v));
	/* the frame of before is nobody's */
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET, .region = self->region, .unit = 2 };
	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &c));
	EXPECT_NE(frames.frame, c.frame);
	EXPECT_EQ(-EFAULT, dev_cmd(&self->v, bring(self->region, 9, KZD_EPOCH(1) + 2, word)));
}

TEST_F(dev, commit_after_a_later_revoke)
{
	struct khazana_cmd revoke = { .op = KHAZANA_CMD_REVOKE,
				      .region = self->region,
				      .token = KZD_EPOCH(1) + 10 };
	struct khazana_request req;
	struct khazana_cmd c = { .op = KHAZANA_CMD_UNIT_GET, .region = self->region };
	int err;

	self->user = user_waiting(&self->v, self->region, 0, &req);
	ASSERT_NE(0, self->user);
	err = dev_cmd(&self->v, revoke);
	EXPECT_TRUE(err == 0 || err == -ENOENT);
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + 9)));
	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &c));
	EXPECT_EQ(RIGHT_NONE, c.right);
	EXPECT_EQ(KHAZANA_STATE_FETCHING, c.state);
	EXPECT_LE(KZD_EPOCH(1) + 10, c.floor);
	EXPECT_EQ(0, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + 11)));
	revoke.token = KZD_EPOCH(1) + 5;
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, revoke));
	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &c));
	EXPECT_EQ(RIGHT_WRITE, c.right);

	/* a floor stays for a unit without a record, too */
	revoke.unit = 40;
	revoke.token = KZD_EPOCH(1) + 30;
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, revoke));
	req.unit = 40;
	req.id = 0;
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + 29)));
}

TEST_F(dev, floor_outlives_the_record)
{
	struct khazana_request req = { .region = self->region, .unit = 5 };
	struct khazana_cmd revoke = { .op = KHAZANA_CMD_REVOKE,
				      .region = self->region,
				      .unit = 5,
				      .token = KZD_EPOCH(1) + 20 };
	struct khazana_cmd get = { .op = KHAZANA_CMD_UNIT_GET, .region = self->region, .unit = 5 };
	struct khazana_cmd commit = commit_of(&req, KZD_EPOCH(1) + 10);

	/* a copy that nobody needs: nothing is left of it */
	commit.flags = KHAZANA_CMDF_ZERO;
	commit.right = RIGHT_READ;
	ASSERT_EQ(0, dev_cmd(&self->v, commit));
	ASSERT_EQ(0, dev_cmd(&self->v, get));
	ASSERT_EQ(0, dev_cmd(&self->v, revoke));
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, get));
	/* neither the COMMIT again nor what came before the REVOKE is taken */
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, commit));
	commit.token = commit.version = KZD_EPOCH(1) + 19;
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, commit));
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, get));
	/* an older REVOKE finds nothing, and is told so */
	revoke.token = KZD_EPOCH(1) + 15;
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, revoke));
	commit.token = commit.version = KZD_EPOCH(1) + 20;
	EXPECT_EQ(0, dev_cmd(&self->v, commit));
	/* a new epoch holds for units without a record, too */
	ASSERT_EQ(0, dev_cmd(&self->v, (struct khazana_cmd){ .op = KHAZANA_CMD_EPOCH,
							     .region = self->region,
							     .token = KZD_EPOCH(2) }));
	commit.unit = 6;
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, commit));
}

TEST_F(dev, older_epoch_refused)
{
	struct khazana_cmd epoch = { .op = KHAZANA_CMD_EPOCH,
				     .region = self->region,
				     .token = KZD_EPOCH(3) };
	struct khazana_request req;

	self->user = user_waiting(&self->v, self->region, 0, &req);
	ASSERT_NE(0, self->user);
	ASSERT_EQ(0, dev_cmd(&self->v, epoch));
	EXPECT_EQ(-ESTALE, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(2) + 100)));
	EXPECT_EQ(0, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(3) + 1)));
}

TEST_F(dev, wrong_names)
{
	struct khazana_request req;
	struct khazana_cmd c, good;

	self->user = user_waiting(&self->v, self->region, 0, &req);
	ASSERT_NE(0, self->user);
	good = commit_of(&req, KZD_EPOCH(1) + 1);
	c = good;
	c.region = self->region + 1000;
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, c));
	c = good;
	c.unit = KZT_UNITS;
	EXPECT_EQ(-ERANGE, dev_cmd(&self->v, c));
	c = good;
	c.right = 3;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c = good;
	c.right = RIGHT_NONE;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c = good;
	c.flags |= 1u << 30;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c = (struct khazana_cmd){ .op = 77 };
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_FAIL,
				  .region = self->region,
				  .request = req.id + 999,
				  .error = EIO };
	/* a FAULT that is pending no more under this id: nothing to do */
	EXPECT_EQ(-EALREADY, dev_cmd(&self->v, c));
	c.op = KHAZANA_CMD_ATTACH_DONE;
	c.error = 0;
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, c));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_REVOKE,
				  .region = self->region,
				  .right = RIGHT_WRITE,
				  .token = KZD_EPOCH(1) };
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c.right = RIGHT_NONE;
	c.count = KHAZANA_RANGE_UNITS_MAX + 1;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c.count = 2;
	c.unit = KZT_UNITS - 1;
	EXPECT_EQ(-ERANGE, dev_cmd(&self->v, c));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_ADD,
				  .addr = KZT_START,
				  .length = KZT_PAGE,
				  .unit_shift = 11,
				  .lease = 1 };
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c.unit_shift = 22;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c.unit_shift = 12;
	c.length = 100;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c.length = 0;
	EXPECT_EQ(-EINVAL, dev_cmd(&self->v, c));
	c = (struct khazana_cmd){ .op = KHAZANA_CMD_UNIT_GET, .region = self->region, .unit = 50 };
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, c));
	EXPECT_EQ(0, dev_cmd(&self->v, good));
}

TEST_F(dev, batches)
{
	struct khazana_cmd c[KHAZANA_CMDS_MAX + 1];
	struct khazana_batch b = { .size = sizeof(b), .count = 3, .cmds = (uintptr_t)c };
	int fd = self->v.fd;

	/* one that fails does not stop the next */
	memset(c, 0, sizeof(c));
	c[0].op = KHAZANA_CMD_STATE;
	c[1].op = 99;
	c[2].op = KHAZANA_CMD_STATE;
	ASSERT_EQ(3, kzd_dev_batch(&self->v, c, 3));
	EXPECT_EQ(0, c[0].result);
	EXPECT_NE(0, c[0].time_ns);
	EXPECT_EQ(-EINVAL, c[1].result);
	EXPECT_EQ(0, c[2].result);

	EXPECT_EQ(-EINVAL, kzd_dev_batch(&self->v, c, 0));
	EXPECT_EQ(-EINVAL, kzd_dev_batch(&self->v, c, KHAZANA_CMDS_MAX + 1));
	EXPECT_EQ(KHAZANA_CMDS_MAX, kzd_dev_batch(&self->v, c, KHAZANA_CMDS_MAX));
	EXPECT_EQ(-EFAULT, kzd_dev_batch(&self->v, (void *)8, 2));
	b.size = 4;
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_COMMAND, &b));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(fd, KHAZANA_IOC_COMMAND, 16));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(dev, region_commands)
{
	struct khazana_cmd add = {
		.op = KHAZANA_CMD_REGION_ADD,
		.addr = KZT_START,
		.length = KZT_LENGTH,
		.unit_shift = KZT_SHIFT,
		.lease = KZD_LEASE,
	};
	struct khazana_cmd get = { .op = KHAZANA_CMD_REGION_GET, .region = self->region };
	struct khazana_cmd del = { .op = KHAZANA_CMD_REGION_DEL, .region = self->region };
	struct khazana_request req;
	int status;

	ASSERT_EQ(0, kzd_dev_cmd(&self->v, &get));
	EXPECT_EQ(self->region, get.region);
	EXPECT_EQ(KZT_LENGTH, get.length);
	EXPECT_EQ(KZT_START.lo, get.addr.lo);
	EXPECT_EQ(KZT_SHIFT, get.unit_shift);
	add.generation = get.generation;
	EXPECT_EQ(-EALREADY, kzd_dev_cmd(&self->v, &add));
	EXPECT_EQ(self->region, add.region);
	get.region = self->region + 1;
	EXPECT_EQ(-ENOENT, kzd_dev_cmd(&self->v, &get));

	self->user = user_waiting(&self->v, self->region, 0, &req);
	ASSERT_NE(0, self->user);
	EXPECT_EQ(-EBUSY, dev_cmd(&self->v, del));
	del.flags = KHAZANA_CMDF_FORCE;
	EXPECT_EQ(0, dev_cmd(&self->v, del));
	status = kzt_reap(self->user, KZT_SOON_MS);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	self->user = 0;
	EXPECT_EQ(-ENOENT, dev_cmd(&self->v, del));
}

TEST_F(dev, idle_is_told)
{
	struct khazana_request req;

	self->user = user_waiting(&self->v, self->region, 0, &req);
	ASSERT_NE(0, self->user);
	kill(self->user, SIGKILL);
	kzt_reap(self->user, KZT_SOON_MS);
	self->user = 0;
	ASSERT_TRUE(fetch(&self->v, KHAZANA_REQ_IDLE, &req));
	EXPECT_EQ(self->region, req.region);
	EXPECT_EQ(0, dev_cmd(&self->v, (struct khazana_cmd){ .op = KHAZANA_CMD_REGION_DEL,
							     .region = self->region }));
}

TEST_F(dev, inventory_lists_all)
{
	struct khazana_cmd c = { .op = KHAZANA_CMD_INVENTORY, .region = self->region };
	struct khazana_request req;
	unsigned int n = 0;

	self->user = user_waiting(&self->v, self->region, 3, &req);
	ASSERT_NE(0, self->user);
	ASSERT_EQ(0, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + 7)));
	req.id = 0;
	for (req.unit = 10; req.unit < 20; req.unit += 3)
		ASSERT_EQ(0, dev_cmd(&self->v, commit_of(&req, KZD_EPOCH(1) + req.unit)));
	while (!kzd_dev_cmd(&self->v, &c)) {
		n++;
		EXPECT_EQ(RIGHT_WRITE, c.right);
		EXPECT_EQ(KZD_EPOCH(1) + (c.unit == 3 ? 7 : c.unit), c.token);
		EXPECT_EQ(c.token, c.version);
		EXPECT_TRUE(c.uflags & KHAZANA_UNIT_OWNED);
		c = (struct khazana_cmd){ .op = KHAZANA_CMD_INVENTORY,
					  .region = self->region,
					  .unit = c.unit + 1 };
	}
	EXPECT_EQ(-ENOENT, c.result);
	EXPECT_EQ(5, n);
}

TEST(read_interface)
{
	struct kzd_dev v;
	struct khazana_request req[2];
	struct pollfd p;
	int fd;
	pid_t pid;

	ASSERT_EQ(0, kzd_dev_open(&v, 0, DEPTH));
	fcntl(v.fd, F_SETFL, O_NONBLOCK);
	EXPECT_EQ(-1, read(v.fd, req, sizeof(req)));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, read(v.fd, req, 10));
	EXPECT_EQ(EINVAL, errno);
	p = (struct pollfd){ .fd = v.fd, .events = POLLIN };
	EXPECT_EQ(0, poll(&p, 1, 50));
	pid = fork();
	if (!pid) {
		close(v.fd);
		fd = kzt_attach(KZT_START, 0, 0);
		_exit(fd == -EKEYREJECTED ? 0 : 1);
	}
	ASSERT_EQ(1, poll(&p, 1, KZT_SOON_MS));
	/* a bad buffer must not lose the request */
	EXPECT_EQ(-1, syscall(0 /* read */, v.fd, 4096, sizeof(req)));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(sizeof(*req), read(v.fd, req, sizeof(req)));
	EXPECT_EQ(KHAZANA_REQ_ATTACH, req->op);
	EXPECT_EQ(KZT_START.lo, req->addr.lo);
	EXPECT_EQ(0, dev_cmd(&v, (struct khazana_cmd){ .op = KHAZANA_CMD_FAIL,
						       .request = req->id,
						       .error = EKEYREJECTED }));
	EXPECT_EQ(0, kzt_reap(pid, KZT_SOON_MS));
	kzd_dev_close(&v);
}

/* Take-over: a daemon dies with commands in flight, the next one goes on. */
FIXTURE(takeover)
{
	struct kzt t;
};

FIXTURE_VARIANT(takeover)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(takeover, read){
	.flags = 0,
};

FIXTURE_VARIANT_ADD(takeover, uring){
	.flags = KZD_URING | KZD_URING_CMD,
};

FIXTURE_SETUP(takeover)
{
	ASSERT_EQ(0, kzt_open(&self->t, variant->flags, NULL));
}

FIXTURE_TEARDOWN(takeover)
{
	kzt_close(&self->t);
}

TEST_F(takeover, waiters_and_rights_survive)
{
	struct kzt *t = &self->t;
	struct kzt_thread waiter[8];
	struct khazana_request before, after;
	struct khazana_cmd c;
	unsigned int i;
	uint64_t word;

	for (i = 0; i < 8; i++)
		*kzt_word(t, i) = i + 100;
	kzd_hold(t->d, KZD_BIT(KHAZANA_REQ_FAULT));
	for (i = 0; i < 8; i++)
		kzt_access_start(&waiter[i], kzt_word(t, 8 + i), true, i);
	for (i = 0; i < 8; i++)
		ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &before));
	kzd_kill(t->d);

	/* rights are used on without a daemon */
	for (i = 0; i < 8; i++)
		*kzt_word(t, i) += 100;
	ASSERT_EQ(8, pread(t->fd, &word, 8, 0));
	EXPECT_EQ(200, word);
	for (i = 0; i < 8; i++)
		EXPECT_FALSE(waiter[i].done);

	kzd_hold(t->d, 0);
	kzd_skip(t->d, KHAZANA_REQ_FAULT);
	ASSERT_EQ(0, kzd_restart(t->d));
	EXPECT_EQ(1, t->d->reg.regions);
	ASSERT_TRUE(kzd_wait(t->d, KHAZANA_REQ_FAULT, KZT_SOON_MS, &after));
	EXPECT_LT(before.id, after.id);
	for (i = 0; i < 8; i++) {
		EXPECT_TRUE(kzt_access_wait(&waiter[i], KZT_SOON_MS));
		EXPECT_EQ(0, waiter[i].result);
	}
	ASSERT_EQ(0, kzd_unit(t->d, t->region, 3, &c));
	EXPECT_EQ(RIGHT_WRITE, c.right);
	EXPECT_EQ(1, c.token >> 44);
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(i + 200, *kzt_word(t, i));
		EXPECT_EQ(i, *kzt_word(t, 8 + i));
	}
}

TEST_F_TIMEOUT(takeover, often_under_load, 120)
{
	struct kzt *t = &self->t;
	const unsigned int rounds = 15;
	uint64_t last = 0;
	unsigned int i, k;
	pid_t pid[3];

	for (k = 0; k < 3; k++) {
		pid[k] = fork();
		if (pid[k])
			continue;
		while (!kzt_word(t, 2)[1]) {
			__atomic_fetch_add(kzt_word(t, 0), 1, __ATOMIC_SEQ_CST);
			__atomic_fetch_add(kzt_word(t, 1) + k, 1, __ATOMIC_SEQ_CST);
		}
		_exit(0);
	}
	for (i = 0; i < rounds; i++) {
		t->d->sh->storm_region = t->region;
		t->d->sh->storm_units = 2;
		t->d->sh->storm_right = RIGHT_WRITE;
		t->d->sh->storm_us = 400 * kzt_slow();
		kzt_sleep_ms(100 + i * 7);
		kzd_kill(t->d);
		ASSERT_EQ(0, kzd_restart(t->d));
		EXPECT_LT(last, *kzt_word(t, 0));
		last = *kzt_word(t, 0);
	}
	t->d->sh->storm_us = 0;
	kzt_word(t, 2)[1] = 1;
	for (k = 0; k < 3; k++)
		EXPECT_EQ(0, kzt_reap(pid[k], KZT_SOON_MS));
	EXPECT_EQ(*kzt_word(t, 0), kzt_word(t, 1)[0] + kzt_word(t, 1)[1] + kzt_word(t, 1)[2]);
}

TEST_HARNESS_MAIN
