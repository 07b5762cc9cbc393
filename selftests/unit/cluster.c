// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cluster.c - some nodes and their modules, for tests that go step by step
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cluster.h"
#include "unit.h"

struct packet {
	struct packet *next;
	unsigned int from, to;
	size_t len;
	uint8_t bytes[];
};

/* What a core asked its page store for. */
struct command {
	struct command *next;
	struct kh_store_cmd cmd;
	uint8_t data[UNIT];
};

static const uint8_t good_key[KH_KEY_SIZE] = "sixteen bytes...";

/* The khd does something that others see; false if it is dead by now. */
static bool effect(struct host *h)
{
	h->dying |= ++h->effects == h->dies_at;
	return !h->dying;
}

static void note_sent(struct cluster *c, const struct kh_wire_head *head)
{
	const void *entry = head + 1;

	c->sent[head->kind]++;
	if (head->kind == KH_WIRE_RESULT)
		c->last_error = ((const struct kh_wire_result *)entry)->error;
	else if (head->kind == KH_WIRE_STORED)
		c->last_error = ((const struct kh_wire_stored *)entry)->error;
}

static void on_send(void *host, kh_node_id peer, const void *head, size_t head_len,
		    const void *data, size_t data_len)
{
	struct host *h = host;
	struct cluster *c = h->cluster;
	struct packet *p;

	if (!effect(h))
		return;
	p = malloc(sizeof(*p) + head_len + data_len);
	assert_non_null(p);
	p->next = NULL;
	p->from = h->id - 1;
	p->to = peer - 1;
	p->len = head_len + data_len;
	memcpy(p->bytes, head, head_len);
	if (data_len)
		memcpy(p->bytes + head_len, data, data_len);
	assert_int_equal(kh_wire_check(p->bytes, p->len), 0);
	note_sent(c, head);
	*c->tail = p;
	c->tail = &p->next;
}

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

static void on_command(void *host, struct khazana_cmd *cmds, unsigned int n)
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

static void *on_frame(void *host, uint32_t frame, size_t len)
{
	struct host *h = host;

	assert_true(frame < FRAMES && h->used[frame] && len == UNIT);
	return h->memory[frame];
}

static void on_reply(void *host, uint64_t op_id, const struct kh_op_result *result)
{
	struct host *h = host;
	unsigned int i;

	if (!effect(h))
		return;
	h->replies++;
	h->result = *result;
	if (result->page)
		h->page = *result->page;
	if (result->region_count)
		h->info = result->regions[0];
	for (i = 0; i < result->counter_count; i++)
		if (!strcmp(result->counters[i].name, "protocol_errors"))
			h->protocol_errors = result->counters[i].value;
}

static int on_persist(void *host, const char *key, const void *blob, size_t len)
{
	struct host *h = host;
	unsigned int i;

	if (!effect(h) || h->persist_fails)
		return -EIO;
	if (h->persist_fails_at && !--h->persist_fails_at)
		return -EIO;
	for (i = 0; i < 8; i++)
		if (!strcmp(h->blobs[i].key, key))
			break;
	for (; i == 8 || (h->blobs[i].key[0] && strcmp(h->blobs[i].key, key)); i = (i + 1) % 8)
		;
	assert_true(len <= sizeof(h->blobs[i].bytes));
	memset(&h->blobs[i], 0, sizeof(h->blobs[i]));
	if (!blob)
		return 0;
	strncpy(h->blobs[i].key, key, sizeof(h->blobs[i].key) - 1);
	memcpy(h->blobs[i].bytes, blob, len);
	h->blobs[i].len = len;
	return 0;
}

static void on_random(void *host, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len--)
		*p++ = (uint8_t)rand();
}

static void on_event(void *host, const char *name, const char *text)
{
	assert_true(strlen(name) < KH_NAME_MAX);
	assert_null(strchr(text, '\n'));
}

static void on_store(void *host, const struct kh_store_cmd *cmd)
{
	struct host *h = host;
	struct command *k;

	if (!effect(h))
		return;
	k = malloc(sizeof(*k));
	assert_non_null(k);
	assert_true(h->config.store);
	*k = (struct command){ .cmd = *cmd };
	if (cmd->data)
		memcpy(k->data, cmd->data, UNIT);
	h->store_begun[cmd->code]++;
	*h->store_last = k;
	h->store_last = &k->next;
}

unsigned int host_reserved(const struct host *h)
{
	unsigned int i, n = 0;

	for (i = 0; i < UNITS; i++)
		n += h->kept[i].generation != 0;
	return n;
}

static uint32_t reserve(struct kept *k, const struct kh_store_cmd *cmd)
{
	uint64_t i;

	for (i = 0; i < cmd->units; i++)
		if (k[i].generation && k[i].generation != cmd->generation)
			return EEXIST;
	for (i = 0; i < cmd->units; i++)
		k[i].generation = cmd->generation;
	return 0;
}

static uint32_t release(struct kept *k, const struct kh_store_cmd *cmd)
{
	uint64_t i;

	for (i = 0; i < cmd->units; i++)
		if (k[i].generation == cmd->generation)
			k[i] = (struct kept){ 0 };
	return 0;
}

static uint32_t keep(struct kept *k, const struct command *command)
{
	const struct kh_store_cmd *cmd = &command->cmd;

	if (k->generation != cmd->generation)
		return ENXIO;
	if (cmd->version < k->version)
		return ESTALE;
	k->version = cmd->version;
	k->token = cmd->token;
	memcpy(k->data, command->data, UNIT);
	return 0;
}

/* The store does what was asked for first. */
static void store_do(struct host *h, const struct command *command, struct kh_store_result *result)
{
	const struct kh_store_cmd *cmd = &command->cmd;
	uint64_t unit = (cmd->addr.lo - h->cluster->addr.lo) / UNIT;
	struct kept *k = &h->kept[unit];
	bool space = cmd->code == KH_STORE_RESERVE || cmd->code == KH_STORE_RELEASE;

	assert_true(unit + cmd->units <= UNITS);
	*result = (struct kh_store_result){ 0 };
	if (space && h->store_refuses_at && !--h->store_refuses_at) {
		result->error = h->store_refusal;
		return;
	}
	switch (cmd->code) {
	case KH_STORE_RESERVE:
		result->error = reserve(k, cmd);
		break;
	case KH_STORE_RELEASE:
		result->error = release(k, cmd);
		break;
	case KH_STORE_PUT:
		result->error = keep(k, command);
		break;
	case KH_STORE_GET:
	case KH_STORE_LOOK:
		result->error = k->generation == cmd->generation ? 0 : ENXIO;
		result->version = k->version;
		result->token = k->token;
		result->data = k->version ? k->data : NULL;
		break;
	}
}

static struct command *store_take(struct host *h)
{
	struct command *command = h->store_first;

	h->store_first = command->next;
	if (!h->store_first)
		h->store_last = &h->store_first;
	return command;
}

/* Return: was there something? */
static bool store_step(struct host *h)
{
	struct kh_store_result result;
	struct command *command;

	if (!h->store_first || h->store_rests)
		return false;
	command = store_take(h);
	store_do(h, command, &result);
	kh_node_stored(h->node, command->cmd.id, &result, h->cluster->now);
	free(command);
	return true;
}

static void store_forget(struct host *h)
{
	struct kh_store_result result;
	struct command *k;

	while (h->store_first) {
		k = store_take(h);
		if (h->store_ends)
			store_do(h, k, &result);
		free(k);
	}
}

static const struct kh_host_ops ops = {
	.send = on_send,
	.command = on_command,
	.frame = on_frame,
	.reply = on_reply,
	.persist = on_persist,
	.random = on_random,
	.event = on_event,
	.store = on_store,
};

void host_start(struct host *h, bool new_module)
{
	struct cluster *c = h->cluster;
	unsigned int i;

	h->config.incarnation++;
	if (new_module) {
		h->config.boot += 100;
		h->region = false;
		h->attached = 0;
		h->key_serial = 0;
		memset(h->used, 0, sizeof(h->used));
	}
	h->node = kh_node_create(&h->config, &ops, h, c->now);
	assert_non_null(h->node);
	for (i = 0; i < 8; i++)
		if (h->blobs[i].key[0])
			assert_int_equal(kh_node_restore(h->node, h->blobs[i].key,
							 h->blobs[i].bytes, h->blobs[i].len),
					 0);
	kh_node_start(h->node, c->now);
}

void host_kill(struct host *h)
{
	unsigned int i;

	for (i = 0; i < h->cluster->nodes; i++)
		if (i != h->id - 1)
			cluster_disconnect(h->cluster, h->id - 1, i);
	kh_node_destroy(h->node);
	h->node = NULL;
	store_forget(h);
	for (i = 0; i < UNITS && h->region; i++)
		step(h, &h->units[i], &(struct kz_page_event){ .type = KZ_EV_DAEMON_GONE });
}

void cluster_connect(struct cluster *c, unsigned int a, unsigned int b)
{
	struct host *x = &c->hosts[a], *y = &c->hosts[b];

	kh_node_peer_up(x->node, y->id, y->config.incarnation, y->config.boot, c->now);
	kh_node_peer_up(y->node, x->id, x->config.incarnation, x->config.boot, c->now);
}

/* What was under way between the two is lost. */
void cluster_disconnect(struct cluster *c, unsigned int a, unsigned int b)
{
	struct packet **at = &c->packets, *p;

	assert_null(c->late);
	while ((p = *at)) {
		if ((p->from == a && p->to == b) || (p->from == b && p->to == a)) {
			*at = p->next;
			free(p);
		} else {
			at = &p->next;
		}
	}
	c->tail = at;
	if (c->hosts[a].node)
		kh_node_peer_down(c->hosts[a].node, b + 1, c->now);
	if (c->hosts[b].node)
		kh_node_peer_down(c->hosts[b].node, a + 1, c->now);
}

/* Those that died in the last step. */
static void bury(struct cluster *c)
{
	unsigned int i;

	for (i = 0; i < c->nodes; i++) {
		struct host *h = &c->hosts[i];

		if (!h->dying || !h->node)
			continue;
		host_kill(h);
		h->dying = false;
		h->dies_at = 0;
	}
}

static struct cluster *cluster_make(unsigned int nodes, bool stores)
{
	struct cluster *c = calloc(1, sizeof(*c));
	unsigned int i, k;

	assert_non_null(c);
	c->nodes = nodes;
	c->now = 10000 * MS;
	c->tail = &c->packets;
	for (i = 0; i < c->nodes; i++) {
		struct host *h = &c->hosts[i];

		h->cluster = c;
		h->id = i + 1;
		for (k = 0; k < c->nodes - 1; k++)
			h->peers[k] = k < i ? k + 1 : k + 2;
		h->config = (struct kh_node_config){ .id = h->id,
						     .cluster = "test",
						     .boot = h->id,
						     .peers = h->peers,
						     .peer_count = c->nodes - 1,
						     .frames_max = MEMORY,
						     .store = stores };
		h->store_last = &h->store_first;
		host_start(h, false);
	}
	for (i = 0; i < c->nodes; i++)
		for (k = i + 1; k < c->nodes; k++)
			cluster_connect(c, i, k);
	cluster_run(c);
	return c;
}

struct cluster *cluster_new(void)
{
	return cluster_make(NODES, false);
}

struct cluster *cluster_new_nodes(unsigned int nodes)
{
	return cluster_make(nodes, false);
}

struct cluster *cluster_new_stores(void)
{
	return cluster_make(NODES, true);
}

void cluster_free(struct cluster *c)
{
	struct packet *p;
	unsigned int i;

	while ((p = c->late)) {
		c->late = p->next;
		free(p);
	}
	for (i = 0; i < c->nodes; i++) {
		if (c->hosts[i].node)
			kh_node_destroy(c->hosts[i].node);
		store_forget(&c->hosts[i]);
	}
	while ((p = c->packets)) {
		c->packets = p->next;
		free(p);
	}
	free(c);
}

static bool is_late(const struct cluster *c, const struct packet *p, uint32_t kind)
{
	const struct packet *l = c->late;

	while (l && (l->from != p->from || l->to != p->to))
		l = l->next;
	return l || c->slow_at[p->from][p->to] == kind;
}

/* What came together is looked at no more. */
static void received(struct host *to, struct packet **kept)
{
	struct packet *p;

	if (*kept && to->node && !to->dying)
		kh_node_received(to->node, to->cluster->now);
	while ((p = *kept)) {
		*kept = p->next;
		memset(p->bytes, 0xdd, p->len);
		free(p);
	}
}

/* Does the connection break instead of this message? */
static bool breaks(struct cluster *c, const struct packet *p)
{
	unsigned int *at = &c->break_at[p->from][p->to];

	return *at && !--*at;
}

/* Those that are one behind the other for the same node, from the same one, come together. */
static void deliver(struct cluster *c)
{
	struct packet *p, *kept = NULL;

	while ((p = c->packets)) {
		struct host *to = &c->hosts[p->to];
		uint32_t kind = ((const struct kh_wire_head *)p->bytes)->kind;
		const struct packet *next = p->next;
		bool more = next && next->from == p->from && next->to == p->to;

		if (breaks(c, p)) {
			received(to, &kept);
			cluster_disconnect(c, p->from, p->to);
			continue;
		}
		c->packets = p->next;
		if (!c->packets)
			c->tail = &c->packets;
		if (is_late(c, p, kind)) {
			p->next = c->late;
			c->late = p;
			continue;
		}
		c->cut[p->from] |= c->cut_at[p->from] == kind;
		if (to->node && !to->dying && !c->cut[p->from] && !c->cut[p->to])
			assert_int_equal(kh_node_message(to->node, p->from + 1, p->bytes, p->len,
							 c->now),
					 0);
		p->next = kept;
		kept = p;
		if (more)
			continue;
		received(to, &kept);
		bury(c);
	}
}

/* What is late comes now, before all that is sent from now on. */
void cluster_hurry(struct cluster *c)
{
	struct packet *p;

	while ((p = c->late)) {
		c->late = p->next;
		p->next = c->packets;
		if (!c->packets)
			c->tail = &p->next;
		c->packets = p;
	}
	memset(c->slow_at, 0, sizeof(c->slow_at));
	cluster_run(c);
}

/* Deliver everything, and have the stores do what they are asked for. */
void cluster_run(struct cluster *c)
{
	bool more;
	unsigned int i;

	do {
		bury(c);
		deliver(c);
		more = false;
		for (i = 0; i < c->nodes; i++) {
			more |= c->hosts[i].node && store_step(&c->hosts[i]);
			bury(c);
		}
	} while (more || c->packets);
	for (i = 0; i < c->nodes; i++)
		if (c->hosts[i].node)
			assert_null(kh_node_check(c->hosts[i].node));
}

static void leases_end(struct cluster *c)
{
	unsigned int i, k;

	for (i = 0; i < c->nodes; i++) {
		struct host *h = &c->hosts[i];

		for (k = 0; k < UNITS && h->region && c->now >= h->lease_end; k++)
			step(h, &h->units[k], &(struct kz_page_event){ .type = KZ_EV_EXPIRE });
	}
}

void cluster_pass(struct cluster *c, uint64_t ms, uint64_t step)
{
	unsigned int i;

	for (; ms >= step; ms -= step) {
		c->now += step * MS;
		leases_end(c);
		for (i = 0; i < c->nodes; i++)
			if (c->hosts[i].node && kh_node_deadline(c->hosts[i].node) <= c->now)
				kh_node_tick(c->hosts[i].node, c->now);
		cluster_run(c);
	}
}

/* Time passes, a millisecond at a time. */
void cluster_sleep(struct cluster *c, uint64_t ms)
{
	cluster_pass(c, ms, 1);
}

/* Start counting messages and commands. */
void cluster_forget(struct cluster *c)
{
	unsigned int i;

	memset(c->sent, 0, sizeof(c->sent));
	for (i = 0; i < c->nodes; i++)
		c->hosts[i].commands = 0;
}

int host_op(struct host *h, struct kh_op *op)
{
	unsigned int before = h->replies;

	kh_node_op(h->node, before + 1, op, h->cluster->now);
	cluster_run(h->cluster);
	if (h->replies == before)
		cluster_sleep(h->cluster, 2000);
	assert_int_equal(h->replies, before + 1);
	return h->result.error;
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

	memcpy(req.key, key ? key : good_key, KH_KEY_SIZE);
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

void cluster_region(struct cluster *c, unsigned int home, unsigned int units, uint32_t lease_ms)
{
	struct kh_op op = { .code = KH_OP_RESERVE, .length = (uint64_t)units * UNIT };
	unsigned int i;

	op.attr.lease_ms = lease_ms;
	if (c->protocol)
		strncpy(op.attr.protocol, c->protocol, sizeof(op.attr.protocol) - 1);
	memcpy(op.key, good_key, sizeof(op.key));
	assert_int_equal(host_op(&c->hosts[home], &op), 0);
	c->addr = op.addr = c->hosts[home].result.addr;
	op.code = KH_OP_ALLOCATE;
	assert_int_equal(host_op(&c->hosts[home], &op), 0);
	for (i = 0; i < c->nodes; i++)
		assert_int_equal(host_attach(&c->hosts[i], c->addr, NULL), 0);
}
