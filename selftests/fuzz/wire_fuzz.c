// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wire_fuzz.c - arbitrary bytes as a message: the validator decides without harm, and what it
 * accepts can be walked, converted to host order and back
 */
#include <stdlib.h>
#include <string.h>
#include "lib/core/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
	if (!holds)
		abort();
}

static void check_hello(const uint8_t *data, size_t size)
{
	static const kh_node_id peers[] = { 2, 3 };
	const struct kh_node_config config = {
		.id = 1,
		.cluster = "sim",
		.peers = peers,
		.peer_count = 2,
	};
	struct kh_wire_hello hello;
	int ret = kh_wire_hello_check(data, size, &config, &hello);

	if (ret > 0)
		require(hello.node == 2 || hello.node == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t frame = kh_wire_frame_len(data, size);
	struct kh_wire_head *head;
	size_t head_len;

	if (frame > 0)
		require((uint64_t)frame <= KH_WIRE_MAX);
	check_hello(data, size);
	if (kh_wire_check(data, size))
		return 0;
	require(frame == (int64_t)size);
	head_len = kh_wire_head_len(data);
	require(head_len <= size);
	head = malloc(size);
	if (!head)
		return 0;
	memcpy(head, data, size);
	kh_wire_swap(head, false);
	require(head->length == size);
	require(head_len + head->data_len == size);
	require(head_len == sizeof(*head) + head->count * kh_wire_entry_size(head->kind));
	require(strcmp(kh_wire_kind_name(head->kind), "?"));
	kh_wire_swap(head, true);
	require(!memcmp(head, data, size));
	free(head);
	return 0;
}
