// SPDX-License-Identifier: GPL-2.0-or-later
/* device.c - requests from the module by FETCH or read(2), commands to it by ioctl */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "khd/device.h"
#include "khd/log.h"

#define READ_REQUESTS 64 /* taken by one read(2) */
#define REGISTER_TRIES 50 /* a killed khd may still be going */

struct slot {
	struct khd_io io;
	struct khd_device *dev;
	struct slot *next_idle;
};

struct khd_device {
	struct khd *khd;
	int fd;
	bool uring;
	struct khazana_register reg;
	const struct khazana_request *descs;
	size_t descs_len;
	char *view;
	size_t view_len;
	struct slot *slots; /* one per descriptor, or one that polls */
	struct slot *idle; /* to be submitted again at the end of the pass */
};

static void stopped(struct khd_device *dev, int err)
{
	if (err == ESHUTDOWN || err == ENODEV)
		khd_fail(dev->khd, "the module's instance is gone");
	else
		khd_fail(dev->khd, "no requests from the module: %s", strerror(err));
}

static void on_fetch(struct khd_io *io, int res)
{
	struct slot *slot = (struct slot *)io;
	struct khd_device *dev = slot->dev;
	struct khazana_request req;

	if (res < 0 && res != -EINTR && res != -EAGAIN) {
		if (!dev->khd->stop)
			stopped(dev, -res);
		return;
	}
	if (res >= 0)
		req = dev->descs[io->tag];
	slot->next_idle = dev->idle;
	dev->idle = slot;
	if (res >= 0)
		kh_node_request(dev->khd->node, &req, khd_now());
}

static void on_readable(struct khd_io *io, int res)
{
	struct slot *slot = (struct slot *)io;
	struct khd_device *dev = slot->dev;
	struct khazana_request reqs[READ_REQUESTS];
	ssize_t n, i;

	n = res < 0 ? res : read(dev->fd, reqs, sizeof(reqs));
	if (n < 0 && (res < 0 || (errno != EAGAIN && errno != EINTR))) {
		if (!dev->khd->stop)
			stopped(dev, res < 0 ? -res : errno);
		return;
	}
	khd_loop_submit(dev->khd->loop, io);
	for (i = 0; n > 0 && i < n / (ssize_t)sizeof(reqs[0]); i++)
		kh_node_request(dev->khd->node, &reqs[i], khd_now());
}

static int do_register(struct khd_device *dev)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	int i;

	for (i = 0; ioctl(dev->fd, KHAZANA_IOC_REGISTER, &dev->reg) < 0; i++) {
		if (errno != EBUSY || i == REGISTER_TRIES) {
			khd_log(KHD_ERR, "%s: cannot register: %s", dev->khd->config.device,
				errno == EBUSY ? "another khd serves this network namespace" :
						 strerror(errno));
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	if (dev->reg.abi != KHAZANA_ABI_VERSION) {
		khd_log(KHD_ERR, "the module speaks ABI %u, not %u", dev->reg.abi,
			KHAZANA_ABI_VERSION);
		return -1;
	}
	return 0;
}

static int map_all(struct khd_device *dev)
{
	void *map;

	dev->descs_len = dev->reg.depth * sizeof(struct khazana_request);
	map = mmap(NULL, dev->descs_len, PROT_READ, MAP_SHARED, dev->fd, dev->reg.desc_offset);
	if (map == MAP_FAILED)
		return -1;
	dev->descs = map;
	dev->view_len = dev->reg.view_pages << KHD_FRAME_SHIFT;
	map = mmap(NULL, dev->view_len, PROT_READ | PROT_WRITE, MAP_SHARED, dev->fd,
		   dev->reg.view_offset);
	if (map == MAP_FAILED)
		return -1;
	dev->view = map;
	return 0;
}

static int make_slots(struct khd_device *dev)
{
	unsigned int i, n = dev->uring ? dev->reg.depth : 1;

	dev->slots = calloc(n, sizeof(*dev->slots));
	if (!dev->slots)
		return -1;
	for (i = 0; i < n; i++) {
		dev->slots[i].dev = dev;
		dev->slots[i].io = (struct khd_io){
			.op = dev->uring ? KHD_IO_FETCH : KHD_IO_POLL,
			.fd = dev->fd,
			.tag = i,
			.done = dev->uring ? on_fetch : on_readable,
		};
	}
	return 0;
}

struct khd_device *khd_device_open(struct khd *khd, uint32_t netlink_port)
{
	struct khd_device *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
	dev->khd = khd;
	dev->uring = khd->loop->has_uring_cmd;
	dev->fd = open(khd->config.device, O_RDWR | O_CLOEXEC | (dev->uring ? 0 : O_NONBLOCK));
	if (dev->fd < 0) {
		khd_log(KHD_ERR, "%s: %s", khd->config.device, strerror(errno));
		goto fail;
	}
	dev->reg = (struct khazana_register){
		.size = sizeof(dev->reg),
		.flags = dev->uring ? 0 : KHAZANA_REGISTER_NO_URING,
		.depth = khd->config.limits.queue_depth,
		.netlink_port = netlink_port,
		.node = khd->config.id,
	};
	if (do_register(dev) < 0)
		goto fail;
	if (map_all(dev) < 0 || make_slots(dev) < 0) {
		khd_log(KHD_ERR, "%s: cannot map: %s", khd->config.device, strerror(errno));
		goto fail;
	}
	khd->boot = dev->reg.boot;
	khd_log(KHD_INFO, "%s: %llu frames, %u regions from before, requests by %s",
		khd->config.device, (unsigned long long)dev->reg.frames_max, dev->reg.regions,
		dev->uring ? "io_uring" : "read");
	return dev;
fail:
	khd_device_close(dev);
	return NULL;
}

uint64_t khd_device_frames(const struct khd_device *dev)
{
	return dev->reg.frames_max;
}

int khd_device_limit(struct khd_device *dev, uint64_t frames, uint64_t *used)
{
	struct khazana_cmd cmd = { .op = KHAZANA_CMD_LIMIT, .count = frames };

	if (!frames)
		return -EINVAL;
	khd_device_command(dev, &cmd, 1);
	if (cmd.result)
		return cmd.result;
	dev->reg.frames_max = frames;
	*used = cmd.count;
	return 0;
}

void khd_device_start(struct khd_device *dev)
{
	unsigned int i, n = dev->uring ? dev->reg.depth : 1;

	for (i = 0; i < n; i++)
		khd_loop_submit(dev->khd->loop, &dev->slots[i].io);
}

void khd_device_flush(struct khd_device *dev)
{
	struct slot *slot;

	while ((slot = dev->idle)) {
		dev->idle = slot->next_idle;
		khd_loop_submit(dev->khd->loop, &slot->io);
	}
}

void khd_device_command(struct khd_device *dev, struct khazana_cmd *cmds, unsigned int n)
{
	struct khazana_batch batch = { .size = sizeof(batch) };
	int ret, err;

	while (n) {
		batch.count = n < KHAZANA_CMDS_MAX ? n : KHAZANA_CMDS_MAX;
		batch.cmds = (uintptr_t)cmds;
		ret = ioctl(dev->fd, KHAZANA_IOC_COMMAND, &batch);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0) {
			err = ret < 0 ? errno : EIO;
			khd_fail(dev->khd, "the module refuses commands: %s", strerror(err));
			while (n--)
				(cmds++)->result = -err;
			return;
		}
		cmds += ret;
		n -= ret;
	}
}

void *khd_device_frame(struct khd_device *dev, uint32_t frame, size_t len)
{
	size_t at = (size_t)frame << KHD_FRAME_SHIFT;

	return at < dev->view_len && len <= dev->view_len - at ? dev->view + at : NULL;
}

void khd_device_unlock_view(struct khd_device *dev)
{
	munlock(dev->view, dev->view_len);
}

void khd_device_close(struct khd_device *dev)
{
	if (!dev)
		return;
	if (dev->descs)
		munmap((void *)dev->descs, dev->descs_len);
	if (dev->view)
		munmap(dev->view, dev->view_len);
	if (dev->fd >= 0)
		close(dev->fd);
	free(dev->slots);
	free(dev);
}
