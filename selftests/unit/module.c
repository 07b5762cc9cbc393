// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * module.c - the module of a host, and who uses it
 *
 * Its units are kmod/page.c; everything else is as short as it can be.
 */
#include <errno.h>
#include <string.h>
#include "module.h"
#include "unit.h"

static uint32_t frame_new(struct host *h)
{
	uint32_t i;

	for (i = 0; i < FRAMES; i++) {
		if (!h->used[i]) {
			h->used[i] = true;
			memset(h->memory[i], 0xee, UNIT);
			return i;
		}
	}
	fail_msg("the module has no frame left");
	return 0;
}

static void frame_free(struct host *h, uint32_t *frame)
{
	if (*frame != ~0u)
		h->used[*frame] = false;
	*frame = ~0u;
}

static void move_frames(struct host *h, struct unit *u, uint32_t act)
{
	if (act & (KZ_ACT_PARK | KZ_ACT_FREE_FRAME))
		frame_free(h, &u->frame);
	if (act & KZ_ACT_FREE_HANDOFF)
		frame_free(h, &u->handoff);
	if (act & KZ_ACT_MOVE_TO_HANDOFF) {
		u->handoff = u->frame;
		u->frame = ~0u;
	}
	if (act & KZ_ACT_TAKE_HANDOFF) {
		u->frame = u->handoff;
		u->handoff = ~0u;
	}
	if (act & KZ_ACT_NEW_FRAME)
		u->frame = frame_new(h);
	if ((act & KZ_ACT_NEW_FRAME) && h->data)
		memcpy(h->memory[u->frame], h->data, UNIT);
	if (act & KZ_ACT_ZERO)
		memset(h->memory[u->frame], 0, UNIT);
}

static int step(struct host *h, struct unit *u, const struct kz_page_event *ev)
{
	uint32_t act;
	int ret;

	u->exists = true;
	ret = kz_page_step(&u->page, ev, &act);
	assert_int_equal(kz_page_check(&u->page), 0);
	if (ret && ret != -EINPROGRESS)
		return ret;
	move_frames(h, u, act);
	h->poisons += !!(act & KZ_ACT_POISON);
	if (act & KZ_ACT_UNQUEUE)
		h->answered++;
	if (act & KZ_ACT_CHECK_REFS)
		step(h, u, &(struct kz_page_event){ .type = KZ_EV_REFS_GONE });
	return ret;
}

static void fill(const struct unit *u, struct khazana_cmd *cmd)
{
	cmd->right = u->page.right;
	cmd->token = u->page.token;
	cmd->version = u->page.version;
	cmd->version_held = u->page.handoff_version;
	cmd->token_handoff = u->page.handoff_token;
	cmd->floor = u->page.floor;
	cmd->frame = u->frame;
	cmd->frame_handoff = u->handoff;
	cmd->uflags = u->page.flags;
	cmd->state = u->page.state;
}

static void key_learn(struct host *h, const struct khazana_cmd *cmd)
{
	if (cmd->version > h->key_serial)
		h->key_serial = cmd->version;
}

static void region_add(struct host *h, struct khazana_cmd *cmd)
{
	unsigned int i;

	cmd->region = 1;
	key_learn(h, cmd);
	if (h->region) {
		cmd->result = -EALREADY;
		return;
	}
	h->region = true;
	h->add = *cmd;
	for (i = 0; i < UNITS; i++) {
		h->units[i] = (struct unit){ .frame = ~0u, .handoff = ~0u };
		kz_page_init(&h->units[i].page, h->floor);
	}
}

static void unit_command(struct host *h, struct khazana_cmd *cmd)
{
	static const uint32_t types[] = {
		[KHAZANA_CMD_COMMIT] = KZ_EV_COMMIT,   [KHAZANA_CMD_REVOKE] = KZ_EV_REVOKE,
		[KHAZANA_CMD_RELEASE] = KZ_EV_RELEASE, [KHAZANA_CMD_FAIL] = KZ_EV_FAIL,
		[KHAZANA_CMD_FRAMES] = KZ_EV_FRAME,    [KHAZANA_CMD_RESUME] = KZ_EV_RESUME,
		[KHAZANA_CMD_LOST] = KZ_EV_LOST,       [KHAZANA_CMD_SAFE] = KZ_EV_SAFE,
		[KHAZANA_CMD_UNLEND] = KZ_EV_UNLEND,
	};
	struct kz_page_event ev = { .type = types[cmd->op],
				    .right = cmd->right,
				    .flags = cmd->flags,
				    .token = cmd->token,
				    .version = cmd->version,
				    .version_held = cmd->version_held };
	struct unit *u = &h->units[cmd->unit];

	assert_true(cmd->unit < UNITS);
	ev.wrong_frame = u->frame != cmd->frame;
	if (cmd->op == KHAZANA_CMD_COMMIT && h->cluster->now >= h->lease_end) {
		cmd->result = -ESTALE;
		return;
	}
	if (cmd->op == KHAZANA_CMD_COMMIT && h->no_frames) {
		cmd->result = -ENOMEM;
		return;
	}
	if (cmd->op == KHAZANA_CMD_UNIT_GET) {
		cmd->result = u->exists ? 0 : -ENOENT;
		if (cmd->flags & KHAZANA_CMDF_LEND)
			step(h, u, &(struct kz_page_event){ .type = KZ_EV_LEND });
	} else {
		if (cmd->flags & KHAZANA_CMDF_DATA) {
			assert_int_equal(cmd->op, KHAZANA_CMD_COMMIT);
			assert_int_equal(cmd->length, UNIT);
			h->data = (const void *)(uintptr_t)cmd->data;
		}
		if (cmd->op == KHAZANA_CMD_COMMIT && (cmd->flags & KHAZANA_CMDF_ZERO) &&
		    u->frame == ~0u && cmd->token >= u->page.floor)
			step(h, u, &(struct kz_page_event){ .type = KZ_EV_FRAME });
		cmd->result = step(h, u, &ev);
		h->brought += h->data && !cmd->result;
		u->framed += cmd->op == KHAZANA_CMD_FRAMES;
		h->data = NULL;
		if (cmd->op == KHAZANA_CMD_FAIL && cmd->request)
			h->fail_error = (int)cmd->error;
	}
	fill(u, cmd);
}

static void lease(struct host *h, const struct khazana_cmd *cmd)
{
	h->lease_end = cmd->time_ns;
	h->lease_serial = h->key_serial;
}

static void command(struct host *h, struct khazana_cmd *cmd)
{
	unsigned int i;

	cmd->result = 0;
	h->commands++;
	switch (cmd->op) {
	case KHAZANA_CMD_REGION_ADD:
		region_add(h, cmd);
		break;
	case KHAZANA_CMD_REGION_SET:
		key_learn(h, cmd);
		break;
	case KHAZANA_CMD_POISON:
		h->told++;
		break;
	case KHAZANA_CMD_REGION_DEL:
		for (i = 0; i < UNITS; i++) {
			frame_free(h, &h->units[i].frame);
			frame_free(h, &h->units[i].handoff);
		}
		h->region = false;
		break;
	case KHAZANA_CMD_ATTACH_DONE:
		h->attach_error = 0;
		h->attach_serial = cmd->version;
		h->attached++;
		break;
	case KHAZANA_CMD_EPOCH:
		for (i = 0; i < UNITS; i++)
			step(h, &h->units[i],
			     &(struct kz_page_event){ .type = KZ_EV_EPOCH, .token = cmd->token });
		break;
	case KHAZANA_CMD_LEASE:
		lease(h, cmd);
		break;
	case KHAZANA_CMD_INVENTORY:
		while (cmd->unit < UNITS && !h->units[cmd->unit].exists)
			cmd->unit++;
		if (cmd->unit >= UNITS)
			cmd->result = -ENOENT;
		else
			fill(&h->units[cmd->unit], cmd);
		break;
	case KHAZANA_CMD_REGION_GET:
		if (cmd->region > 1 || !h->region) {
			cmd->result = -ENOENT;
			break;
		}
		i = cmd->op;
		*cmd = h->add;
		cmd->op = i;
		cmd->result = 0;
		cmd->region = 1;
		cmd->count = h->attached;
		cmd->version = h->key_serial;
		break;
	case KHAZANA_CMD_FAIL:
		if (!cmd->region) {
			h->attach_error = (int)cmd->error;
			break;
		}
		/* fall through */
	default:
		unit_command(h, cmd);
	}
}

void module_command(void *host, struct khazana_cmd *cmds, unsigned int n)
{
	struct host *h = host;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (h->dying)
			cmds[i].result = -ENODEV;
		else
			command(h, &cmds[i]);
	}
}

void *module_frame(void *host, uint32_t frame, size_t len)
{
	struct host *h = host;

	assert_true(frame < FRAMES && h->used[frame] && len == UNIT);
	return h->memory[frame];
}

/* Another module: it holds nothing. */
void module_new(struct host *h)
{
	h->region = false;
	h->attached = 0;
	h->key_serial = 0;
	memset(h->used, 0, sizeof(h->used));
}

void module_daemon_gone(struct host *h)
{
	unsigned int i;

	for (i = 0; i < UNITS && h->region; i++)
		step(h, &h->units[i], &(struct kz_page_event){ .type = KZ_EV_DAEMON_GONE });
}

/* It is now: has the lease ended? */
void module_time(struct host *h)
{
	unsigned int i;

	for (i = 0; i < UNITS && h->region && h->cluster->now >= h->lease_end; i++)
		step(h, &h->units[i], &(struct kz_page_event){ .type = KZ_EV_EXPIRE });
}

void host_request(struct host *h, const struct khazana_request *req)
{
	struct khazana_request copy = *req;

	copy.id = ++h->request;
	kh_node_request(h->node, &copy, h->cluster->now);
	cluster_run(h->cluster);
}

int host_attach(struct host *h, struct khazana_addr addr, const uint8_t key[KH_KEY_SIZE])
{
	struct khazana_request req = { .op = KHAZANA_REQ_ATTACH, .addr = addr, .timeout_ms = 1000 };

	memcpy(req.key, key ? key : cluster_key, KH_KEY_SIZE);
	h->attach_error = -1;
	host_request(h, &req);
	return h->attach_error;
}

/* A thread wants a right.  0 when it has it, EINPROGRESS while it waits, or its errno. */
int host_want(struct host *h, uint64_t unit, uint64_t count, uint32_t want, uint32_t flags)
{
	struct khazana_request req = {
		.op = KHAZANA_REQ_FAULT,
		.region = 1,
		.unit = unit,
		.count = count,
		.want = want,
		.flags = flags,
		.version = KHAZANA_VERSION_NONE,
		.cookie = flags & KHAZANA_REQF_OVERWRITE ? h->attach_serial : 0,
		.timeout_ms = 1000,
	};
	struct unit *u = &h->units[unit];
	uint64_t i;

	for (i = 0; i < count; i++)
		step(h, &h->units[unit + i],
		     &(struct kz_page_event){ .type = KZ_EV_FAULT, .right = want });
	if (count == 1) {
		if (u->page.right)
			req.version = u->page.version;
		else if (u->page.flags & KHAZANA_UNIT_HANDOFF)
			req.version = u->page.handoff_version;
		if (!u->page.right && h->brings_frames) {
			step(h, u, &(struct kz_page_event){ .type = KZ_EV_FRAME });
			req.flags |= KHAZANA_REQF_FRAME;
			req.frame = u->frame;
		}
	}
	h->fail_error = 0;
	host_request(h, &req);
	if (h->fail_error)
		return h->fail_error;
	for (i = 0; i < count; i++)
		if (h->units[unit + i].page.right < want)
			return EINPROGRESS;
	return 0;
}

bool host_drop(struct host *h, uint64_t unit)
{
	return !step(h, &h->units[unit], &(struct kz_page_event){ .type = KZ_EV_DROP });
}

void host_store(struct host *h, uint64_t unit, uint64_t value)
{
	assert_int_equal(h->units[unit].page.right, KHAZANA_RIGHT_WRITE);
	step(h, &h->units[unit], &(struct kz_page_event){ .type = KZ_EV_STORE });
	memcpy(h->memory[h->units[unit].frame], &value, sizeof(value));
}

uint64_t host_load(struct host *h, uint64_t unit)
{
	uint64_t value;

	assert_true(h->units[unit].page.right >= KHAZANA_RIGHT_READ);
	memcpy(&value, h->memory[h->units[unit].frame], sizeof(value));
	return value;
}
