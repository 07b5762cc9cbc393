// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kept.c - the page store of a host: it does what it was asked for, in that order, when it may
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "module.h"
#include "unit.h"

/* What a core asked its page store for. */
struct command {
	struct command *next;
	struct kh_store_cmd cmd;
	uint8_t data[UNIT];
};

void kept_begin(void *host, const struct kh_store_cmd *cmd)
{
	struct host *h = host;
	struct command *k;

	if (!host_effect(h))
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
	k->rotten = false;
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
	if (h->store_error[cmd->code]) {
		result->error = h->store_error[cmd->code];
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
		if (!result->error && k->rotten && cmd->code == KH_STORE_GET)
			*result = (struct kh_store_result){ .error = EBADMSG };
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
bool kept_step(struct host *h)
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

void kept_forget(struct host *h)
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
