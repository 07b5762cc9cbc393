// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>
#include "lib/core/wire.h"
#include "unit.h"

struct msg {
	struct kh_wire_head head;
	union {
		struct kh_wire_req req[2];
		struct kh_wire_grant grant;
		struct kh_wire_data data;
		struct kh_wire_region region;
		uint8_t bytes[8192];
	};
};

static void msg_make(struct msg *m, unsigned int kind, unsigned int count, uint32_t data_len)
{
	memset(m, 0, sizeof(*m));
	m->head.magic = KH_WIRE_MAGIC;
	m->head.kind = (uint16_t)kind;
	m->head.count = count;
	m->head.data_len = data_len;
	m->head.length = (uint32_t)(sizeof(m->head) + count * kh_wire_entry_size(kind) + data_len);
}

static int check(const struct msg *m)
{
	return kh_wire_check(m, m->head.length);
}

static void good_req(struct msg *m)
{
	msg_make(m, KH_WIRE_REQ, 2, 0);
	m->req[0].want = m->req[1].want = KHAZANA_RIGHT_READ;
}

static void a_good_message_passes(void **state)
{
	struct msg m;

	good_req(&m);
	assert_int_equal(check(&m), 0);
	assert_int_equal(kh_wire_head_len(&m), m.head.length);
	assert_int_equal(kh_wire_frame_len(&m, sizeof(m)), m.head.length);
}

static void every_shorter_or_longer_length_is_refused(void **state)
{
	struct msg m;
	size_t len;

	good_req(&m);
	for (len = 0; len < m.head.length; len++)
		assert_int_equal(kh_wire_check(&m, len), -EPROTO);
	assert_int_equal(kh_wire_check(&m, m.head.length + 1), -EPROTO);
}

static void bad_fields_are_refused(void **state)
{
	struct msg m;

	good_req(&m);
	m.req[1].want = 3;
	assert_int_equal(check(&m), -EPROTO);
	good_req(&m);
	m.req[0].flags = 1u << 31;
	assert_int_equal(check(&m), -EPROTO);
	good_req(&m);
	m.head.magic++;
	assert_int_equal(check(&m), -EPROTO);
	msg_make(&m, KH_WIRE_REQ, 0, 0);
	assert_int_equal(check(&m), -EPROTO);
	msg_make(&m, KH_WIRE_KINDS, 0, 0);
	assert_int_equal(check(&m), -EPROTO);
	msg_make(&m, 0, 0, 0);
	assert_int_equal(check(&m), -EPROTO);
}

static void a_body_is_a_unit_or_nothing(void **state)
{
	struct msg m;

	msg_make(&m, KH_WIRE_DATA, 1, 4096);
	assert_int_equal(check(&m), 0);
	msg_make(&m, KH_WIRE_DATA, 1, 4095);
	assert_int_equal(check(&m), -EPROTO);
	msg_make(&m, KH_WIRE_DATA, 1, 0);
	assert_int_equal(check(&m), -EPROTO);
	m.data.flags = KH_DATA_ZERO;
	assert_int_equal(check(&m), 0);
}

static void huge_counts_are_refused_before_they_are_multiplied(void **state)
{
	struct msg m;

	good_req(&m);
	m.head.count = 0x08000002; /* times 32 is 64 modulo 2^32 */
	assert_int_equal(check(&m), -EPROTO);
	good_req(&m);
	m.head.length = ~0u;
	assert_int_equal(kh_wire_frame_len(&m, sizeof(m)), -EPROTO);
	assert_int_equal(kh_wire_frame_len(&m, 7), 0);
}

static void swapping_twice_changes_nothing(void **state)
{
	struct msg m, before;
	unsigned int kind;

	for (kind = KH_WIRE_HELLO; kind < KH_WIRE_KINDS; kind++) {
		msg_make(&m, kind, kh_wire_entry_size(kind) ? 1 : 0, 0);
		memset(m.bytes, 0x5a, kh_wire_entry_size(kind));
		before = m;
		kh_wire_swap(&m, true);
		kh_wire_swap(&m, false);
		assert_memory_equal(&m, &before, sizeof(m));
	}
}

static void hellos_are_judged(void **state)
{
	const kh_node_id peers[] = { 2, 3 };
	struct kh_node_config us = {
		.id = 1, .cluster = "c", .incarnation = 4, .peers = peers, .peer_count = 2
	};
	struct kh_node_config them = us;
	struct kh_wire_hello hello;
	uint8_t msg[KH_WIRE_HELLO_LEN];

	them.id = 3;
	them.boot = 9;
	kh_wire_hello_make(msg, &them);
	assert_int_equal(kh_wire_hello_check(msg, sizeof(msg), &us, &hello), KH_WIRE_VERSION_MAX);
	assert_int_equal(hello.node, 3);
	assert_int_equal(hello.incarnation, 4);
	assert_int_equal(hello.boot, 9);
	them.id = 5;
	kh_wire_hello_make(msg, &them);
	assert_int_equal(kh_wire_hello_check(msg, sizeof(msg), &us, &hello), -ENOENT);
	them.id = 1;
	kh_wire_hello_make(msg, &them);
	assert_int_equal(kh_wire_hello_check(msg, sizeof(msg), &us, &hello), -ENOENT);
	them.id = 2;
	them.cluster[0] = 'd';
	kh_wire_hello_make(msg, &them);
	assert_int_equal(kh_wire_hello_check(msg, sizeof(msg), &us, &hello), -EACCES);
	assert_int_equal(kh_wire_hello_check(msg, sizeof(msg) - 1, &us, &hello), -EPROTO);
	msg[sizeof(struct kh_wire_head)] = KH_WIRE_VERSION_MAX + 1; /* version_min */
	msg[sizeof(struct kh_wire_head) + 4] = KH_WIRE_VERSION_MAX + 1;
	assert_int_equal(kh_wire_hello_check(msg, sizeof(msg), &us, &hello), -EPROTONOSUPPORT);
}

int test_wire(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_message_passes),
		cmocka_unit_test(every_shorter_or_longer_length_is_refused),
		cmocka_unit_test(bad_fields_are_refused),
		cmocka_unit_test(a_body_is_a_unit_or_nothing),
		cmocka_unit_test(huge_counts_are_refused_before_they_are_multiplied),
		cmocka_unit_test(swapping_twice_changes_nothing),
		cmocka_unit_test(hellos_are_judged),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
