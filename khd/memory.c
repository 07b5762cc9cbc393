// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * memory.c - the limit of page frames in memory
 *
 * The module enforces it: no frame is allocated above it.  After a lower one was set, frames above
 * it that are copies go at once; those that may be the last copy go to a store first, as
 * under pressure, for a while: what has no store stays.
 */
#include <errno.h>
#include <stdlib.h>

#include "khd/control.h"
#include "khd/device.h"
#include "khd/log.h"
#include "khd/memory.h"

#define PRESS_NS 100000000ull /* between two notices of pressure */
#define PRESS_TRIES 600u

struct khd_memory {
	struct khd *khd;
	unsigned int tries; /* left to reach the limit; 0: it is reached, or given up */
	uint64_t next_ns; /* of the next one */
};

/* 0, or -EINVAL as khd_device_limit(). */
static int set(struct khd_memory *memory, uint64_t frames)
{
	uint64_t used;
	int ret = khd_device_limit(memory->khd->device, frames, &used);

	if (!ret) {
		memory->tries = used > frames ? PRESS_TRIES : 0;
		memory->next_ns = 0;
	}
	return ret;
}

struct khd_memory *khd_memory_open(struct khd *khd)
{
	struct khd_memory *memory = calloc(1, sizeof(*memory));
	const uint64_t bytes = khd->config.limits.memory;

	if (!memory) {
		khd_log(KHD_ERR, "out of memory");
		return NULL;
	}
	memory->khd = khd;
	if (bytes && set(memory, bytes >> KHD_FRAME_SHIFT)) {
		khd_log(KHD_ERR, "[limits] memory: %llu bytes are more than this machine has",
			(unsigned long long)bytes);
		khd_memory_close(memory);
		return NULL;
	}
	return memory;
}

static int resize(struct khd_memory *memory, uint64_t frames, const char **text)
{
	struct khd *khd = memory->khd;
	const uint64_t before = khd_device_frames(khd->device);
	int ret = kh_node_set_frames(khd->node, frames);

	if (ret) {
		*text = "more than that is promised to ranges that no store keeps";
		return ret;
	}
	ret = set(memory, frames);
	if (ret) {
		/* Nothing was promised in between. */
		kh_node_set_frames(khd->node, before);
		*text = "at least a page, and not more than the machine has";
	}
	return ret;
}

void khd_memory_ask(struct khd *khd, uint64_t op_id, const struct kh_ctl_request *req)
{
	const char *text = NULL;
	int ret;

	if (!req->op.privileged) {
		ret = -EPERM;
		text = "only root and khd's own user may do that";
	} else if (!khd->memory) {
		ret = -EOPNOTSUPP;
		text = "this khd serves no module";
	} else {
		ret = resize(khd->memory, req->op.length >> KHD_FRAME_SHIFT, &text);
	}
	if (!ret)
		khd_event(khd, "memory-resized", "%llu bytes of page frames",
			  (unsigned long long)req->op.length);
	khd_control_refuse(khd->control, op_id, -ret, text);
}

uint64_t khd_memory_tick(struct khd_memory *memory, uint64_t now)
{
	const struct khazana_request pressure = { .op = KHAZANA_REQ_PRESSURE, .count = 1 };
	uint64_t used, limit;

	if (!memory || !memory->tries)
		return ~0ull;
	if (now < memory->next_ns)
		return memory->next_ns;
	limit = khd_device_frames(memory->khd->device);
	if (khd_device_limit(memory->khd->device, limit, &used) || used <= limit) {
		memory->tries = 0;
		return ~0ull;
	}
	memory->tries--;
	kh_node_request(memory->khd->node, &pressure, now);
	memory->next_ns = now + PRESS_NS;
	return memory->next_ns;
}

void khd_memory_close(struct khd_memory *memory)
{
	free(memory);
}
