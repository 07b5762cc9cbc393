// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ctl_test.c - requests and answers survive their messages; bad ones are refused
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <linux/netlink.h>

#include "ctl/decode.h"
#include "ctl/link.h"

#define COUNTERS 5000

static struct kh_op sample(enum kh_op_code code)
{
	struct kh_op op = {
		.code = code,
		.flags = KH_OPF_FORCE,
		.addr = { 0x0123456789abcdef, 0xfedcba9876543210 },
		.length = 1ULL << 40 | 4096,
		.node = 0xfffffffe,
		.attr = { "crew", 16, 1, 2, 3, 1, 0x300 },
		.attr_mask = KH_ATTR_LEASE_MS | KH_ATTR_KEY,
		.timeout_ms = 1234,
	};

	memset(op.key, 0x5a, sizeof(op.key));
	memset(op.new_key, 0xa5, sizeof(op.new_key));
	return op;
}

/* What an operation carries arrives; what it does not carry arrives as zero. */
static void every_operation_survives(void **state)
{
	for (int code = KH_OP_RESERVE; code <= KH_OP_FLUSH; code++) {
		const struct kh_op op = sample(code);
		uint64_t request = kh_nl_ops[kh_ctl_cmd(code)].request;
		struct kh_ctl_request req;
		const char *text;
		uint8_t buf[1024];
		int len = kh_ctl_build(&op, buf, sizeof(buf), KH_CTL_TYPE, 77);

		assert_true(len > 0);
		assert_int_equal(kh_ctl_parse(buf, len, &req, &text), 0);
		assert_int_equal(req.seq, 77);
		assert_int_equal(req.type, KH_CTL_TYPE);
		assert_false(req.subscribe);
		assert_int_equal(req.op.code, code);
		assert_int_equal(req.op.flags, op.flags);
		assert_int_equal(req.op.timeout_ms, op.timeout_ms);
		assert_false(req.op.privileged);
#define CARRIED(attr, member)                                                 \
	do {                                                                  \
		const typeof(op.member) zero = { 0 };                         \
		assert_memory_equal(&req.op.member,                           \
				    request & 1ULL << KHAZANA_NLA_OP_##attr ? \
					    (const void *)&op.member :        \
					    (const void *)&zero,              \
				    sizeof(zero));                            \
	} while (0)
		CARRIED(ADDR, addr);
		CARRIED(LENGTH, length);
		CARRIED(NODE, node);
		CARRIED(ATTR, attr);
		CARRIED(ATTR_MASK, attr_mask);
		CARRIED(KEY, key);
		CARRIED(NEW_KEY, new_key);
#undef CARRIED
	}
}

static void an_unknown_operation_is_not_built(void **state)
{
	struct kh_op op = { .code = 0 };
	uint8_t buf[1024];

	assert_int_equal(kh_ctl_build(&op, buf, sizeof(buf), KH_CTL_TYPE, 1), -EINVAL);
	op.code = KH_OP_FLUSH + 1;
	assert_int_equal(kh_ctl_build(&op, buf, sizeof(buf), KH_CTL_TYPE, 1), -EINVAL);
	op = sample(KH_OP_SETATTR);
	assert_int_equal(kh_ctl_build(&op, buf, 100, KH_CTL_TYPE, 1), -EMSGSIZE);
}

static void no_prefix_of_a_request_is_one(void **state)
{
	const struct kh_op op = sample(KH_OP_SETATTR);
	struct kh_ctl_request req;
	const char *text;
	uint8_t buf[1024], cut[1024];
	int len = kh_ctl_build(&op, buf, sizeof(buf), KH_CTL_TYPE, 1);

	for (int i = 0; i < len; i++) {
		uint32_t shorter = i;

		assert_int_equal(kh_ctl_parse(buf, i, &req, &text), -EBADMSG);
		/* The same with a header that admits it: cut between attributes, the rest is
		 * missing. */
		memcpy(cut, buf, i);
		if (i >= (int)sizeof(struct nlmsghdr))
			memcpy(cut, &shorter, sizeof(shorter));
		if (i > 20 && !kh_ctl_parse(cut, i, &req, &text))
			assert_int_equal(req.op.timeout_ms, 0);
	}
}

/* A request with one attribute @type of @len zero bytes. */
static int parse_one(uint8_t cmd, uint16_t type, size_t len, const char **text)
{
	static const uint8_t zero[64];
	struct kh_ctl_request req;
	uint8_t buf[256];
	struct kh_nlb nlb;

	kh_nlb_begin(&nlb, buf, sizeof(buf), KH_CTL_TYPE, NLM_F_REQUEST, 1, 0, cmd);
	kh_nlb_put(&nlb, type, zero, len);
	return kh_ctl_parse(buf, kh_nlb_end(&nlb), &req, text);
}

static void bad_requests_are_refused(void **state)
{
	const char *text;

	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, KHAZANA_NLA_OP_ADDR, 16, &text), 0);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, KHAZANA_NLA_OP_ADDR, 15, &text),
			 -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, KHAZANA_NLA_OP_ADDR, 17, &text),
			 -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, KHAZANA_NLA_OP_KEY, 16, &text), -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, 0, 4, &text), -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, 63, 4, &text), -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, 64, 4, &text), -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, 0x3fff, 4, &text), -EINVAL);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_NODE_LIST, KHAZANA_NLA_OP_FLAGS, 4, &text), 0);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_NODE_LIST, KHAZANA_NLA_OP_ADDR, 16, &text), 0);
	assert_int_equal(parse_one(KHAZANA_NL_CMD_GETATTR, KHAZANA_NLA_OP_FLAGS, 4, &text),
			 -EINVAL);
	assert_string_equal(text, "the address is missing");
	assert_int_equal(parse_one(KHAZANA_NL_CMD_RESERVE, KHAZANA_NLA_OP_KEY, 16, &text), -EINVAL);
	assert_string_equal(text, "the length is missing");
	assert_int_equal(parse_one(KHAZANA_NL_CMD_ECHO, KHAZANA_NLA_OP_LENGTH, 8, &text), -EINVAL);
	assert_string_equal(text, "the node is missing");
	assert_int_equal(parse_one(KHAZANA_NL_CMD_STATS_GET, 1, 0, &text), -EOPNOTSUPP);
	assert_string_equal(text, "the module answers this, by netlink");
	assert_int_equal(parse_one(10, 1, 0, &text), -EOPNOTSUPP);
	assert_int_equal(parse_one(255, 1, 0, &text), -EOPNOTSUPP);
}

static void unknown_bits_are_refused(void **state)
{
	struct kh_op op = sample(KH_OP_SETATTR);
	struct kh_ctl_request req;
	const char *text;
	uint8_t buf[1024];

	op.flags = 1u << 2;
	assert_int_equal(kh_ctl_parse(buf, kh_ctl_build(&op, buf, sizeof(buf), KH_CTL_TYPE, 1),
				      &req, &text),
			 -EINVAL);
	op.flags = 0;
	op.attr_mask = 1u << 6;
	assert_int_equal(kh_ctl_parse(buf, kh_ctl_build(&op, buf, sizeof(buf), KH_CTL_TYPE, 1),
				      &req, &text),
			 -EINVAL);
}

static void a_repeated_attribute_is_refused(void **state)
{
	struct kh_ctl_request req;
	const char *text;
	struct kh_nlb nlb;
	uint8_t buf[256];

	kh_nlb_begin(&nlb, buf, sizeof(buf), KH_CTL_TYPE, NLM_F_REQUEST, 1, 0, KHAZANA_NL_CMD_ECHO);
	kh_nlb_u32(&nlb, KHAZANA_NLA_OP_NODE, 1);
	kh_nlb_u32(&nlb, KHAZANA_NLA_OP_NODE, 2);
	assert_int_equal(kh_ctl_parse(buf, kh_nlb_end(&nlb), &req, &text), -EINVAL);
}

static void strings_must_end(void **state)
{
	static const char *const bad[] = { "crew", "a\0b\0", "sixteen-bytes-xx" };
	static const size_t lens[] = { 4, 4, 17 };
	struct kh_ctl_request req;
	const char *text;
	struct kh_nlb nlb;
	uint8_t buf[256];

	for (unsigned int i = 0; i < 3; i++) {
		size_t mark;

		kh_nlb_begin(&nlb, buf, sizeof(buf), KH_CTL_TYPE, NLM_F_REQUEST, 1, 0,
			     KHAZANA_NL_CMD_RESERVE);
		kh_nlb_u64(&nlb, KHAZANA_NLA_OP_LENGTH, 4096);
		mark = kh_nlb_nest(&nlb, KHAZANA_NLA_OP_ATTR);
		kh_nlb_put(&nlb, KHAZANA_NLA_REGION_ATTR_PROTOCOL, bad[i], lens[i]);
		kh_nlb_nest_end(&nlb, mark);
		assert_int_equal(kh_ctl_parse(buf, kh_nlb_end(&nlb), &req, &text), -EINVAL);
	}
}

/* An answer as a client sees it. */
struct catch
{
	struct kh_ctl_answer answer;
	unsigned int packets;
	bool ended;
	int32_t error;
	char text[KH_CTL_TEXT_MAX];
	bool secret;
};

static int catch_emit(void *ctx, const void *msg, size_t len)
{
	static const uint8_t key[KH_KEY_SIZE] = { [0 ... KH_KEY_SIZE - 1] = 0x5a };
	struct catch *caught = ctx;
	const uint8_t *at = msg;
	struct kh_nla_cursor cursor;
	struct kh_nl_msg m;
	struct kh_nla nla;
	int ret;

	assert_true(len <= KH_CTL_MESSAGE_MAX);
	assert_false(caught->ended);
	caught->packets++;
	caught->secret |= memmem(msg, len, key, sizeof(key)) != NULL;
	while ((ret = kh_nl_next(&at, &len, &m)) > 0) {
		assert_int_equal(m.seq, 9);
		if (m.type == NLMSG_ERROR || m.type == NLMSG_DONE) {
			caught->ended = true;
			memcpy(&caught->error, m.body, sizeof(caught->error));
			if (!(m.flags & NLM_F_ACK_TLVS))
				continue;
			cursor = kh_nla_begin(m.body + sizeof(struct nlmsgerr),
					      m.len - sizeof(struct nlmsgerr));
			while (kh_nla_next(&cursor, &nla))
				kh_nla_string(&nla, caught->text, sizeof(caught->text));
			continue;
		}
		assert_int_equal(kh_nla_check(kh_nl_ops[m.cmd].set, ~0ULL, true, m.body, m.len), 0);
		assert_int_equal(kh_ctl_answer_add(&caught->answer, &m), 0);
	}
	assert_int_equal(ret, 0);
	return 0;
}

static struct kh_ctl_request request(enum kh_op_code code)
{
	struct kh_ctl_request req = { .cmd = kh_ctl_cmd(code), .type = KH_CTL_TYPE, .seq = 9 };

	req.op = sample(code);
	return req;
}

static void values_survive(void **state)
{
	static const struct kh_region_info region = {
		.start = { 1, 2 },
		.length = 3,
		.generation = 4,
		.allocated = ~0ULL,
		.epoch = 0,
		.home = 7,
		.attr = { "crew", 12, 1, 2, 3, 4, 5 },
	};
	static struct kh_page_info page = {
		.start = { 1, 2 },
		.version = 3,
		.token = 4,
		.home = 5,
		.owner = 6,
		.backup = 7,
		.right = 2,
		.busy = true,
		.waiting = 8,
		.reader_count = KH_PAGE_HOLDERS_MAX,
		.place = 9,
		.stored = 10,
	};
	struct kh_op_result result = { .addr = { 5, 6 } }, got;
	struct kh_ctl_request req = request(KH_OP_RESERVE);
	struct catch caught = { 0 };

	assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
	assert_true(caught.ended && !caught.error && !caught.secret);
	assert_int_equal(caught.answer.addr.hi, 5);
	assert_int_equal(caught.answer.addr.lo, 6);

	req = request(KH_OP_GETATTR);
	result.regions = &region;
	result.region_count = 1;
	memset(&caught, 0, sizeof(caught));
	assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
	kh_ctl_answer_result(&caught.answer, &got);
	assert_int_equal(got.region_count, 1);
	assert_memory_equal(got.regions, &region, sizeof(region));
	kh_ctl_answer_free(&caught.answer);

	req = request(KH_OP_PAGE_SHOW);
	for (unsigned int i = 0; i < KH_PAGE_HOLDERS_MAX; i++)
		page.readers[i] = i + 1;
	result.page = &page;
	memset(&caught, 0, sizeof(caught));
	assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
	assert_memory_equal(&caught.answer.page, &page, sizeof(page));
}

static void long_lists_survive(void **state)
{
	struct kh_counter *counters = calloc(COUNTERS, sizeof(*counters));
	struct kh_ctl_request req = request(KH_OP_STATS);
	struct kh_op_result result = { .counter_count = COUNTERS }, got;
	struct catch caught = { 0 };

	assert_non_null(counters);
	for (unsigned int i = 0; i < COUNTERS; i++)
		counters[i] = (struct kh_counter){ i & 1 ? "odd" : "an-even-counter", i };
	result.counters = counters;
	assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
	assert_true(caught.ended && caught.packets > 1 && caught.packets < COUNTERS / 50);
	kh_ctl_answer_result(&caught.answer, &got);
	assert_int_equal(got.counter_count, COUNTERS);
	for (unsigned int i = 0; i < COUNTERS; i++) {
		assert_string_equal(got.counters[i].name, counters[i].name);
		assert_int_equal(got.counters[i].value, i);
	}
	kh_ctl_answer_free(&caught.answer);
	free(counters);

	memset(&caught, 0, sizeof(caught));
	result.counter_count = 0;
	assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
	assert_true(caught.ended && caught.packets == 1);
}

static void errors_carry_a_text(void **state)
{
	struct kh_op_result result = { .error = EKEYREJECTED };

	for (int code = KH_OP_RESERVE; code <= KH_OP_FLUSH; code++) {
		struct kh_ctl_request req = request(code);
		struct catch caught = { 0 };

		assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
		assert_true(caught.ended && !caught.secret);
		assert_int_equal(caught.error, -EKEYREJECTED);
		assert_string_equal(caught.text, kh_strerror(EKEYREJECTED));
	}
}

static void a_value_that_khd_forgot_is_an_error(void **state)
{
	const struct kh_op_result result = { 0 };
	struct kh_ctl_request req = request(KH_OP_GETATTR);
	struct catch caught = { 0 };

	assert_int_equal(kh_ctl_reply(&req, &result, catch_emit, &caught), 0);
	assert_true(caught.ended);
	assert_int_equal(caught.error, -EIO);
}

/* A request that khd answers without its node, with the attributes that are not ~0. */
static int parse_own(uint8_t cmd, uint64_t rate, uint64_t id, struct kh_ctl_request *req,
		     const char **text)
{
	uint8_t buf[256];
	struct kh_nlb nlb;

	kh_nlb_begin(&nlb, buf, sizeof(buf), KH_CTL_TYPE, NLM_F_REQUEST, 9, 0, cmd);
	if (rate != ~0ULL)
		kh_nlb_u64(&nlb, KHAZANA_NLA_OP_RATE, rate);
	if (id != ~0ULL)
		kh_nlb_u64(&nlb, KHAZANA_NLA_OP_ID, id);
	return kh_ctl_parse(buf, kh_nlb_end(&nlb), req, text);
}

static void requests_to_khd_itself(void **state)
{
	struct kh_ctl_request req;
	const char *text;

	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_GET, ~0ULL, ~0ULL, &req, &text), 0);
	assert_true(req.own && !req.subscribe && !req.op.code);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_SCRUB, 77, ~0ULL, &req, &text), 0);
	assert_true(req.own && req.rate == 77);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_SCRUB, ~0ULL, ~0ULL, &req, &text), -EINVAL);
	assert_string_equal(text, "the rate is missing");
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_RESIZE, ~0ULL, ~0ULL, &req, &text),
			 -EINVAL);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_PARKED_LIST, ~0ULL, ~0ULL, &req, &text), 0);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_PARKED_READ, ~0ULL, 5, &req, &text), 0);
	assert_true(req.own && req.id == 5 && !req.offset);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_PARKED_READ, ~0ULL, ~0ULL, &req, &text),
			 -EINVAL);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_PARKED_DISCARD, ~0ULL, ~0ULL, &req, &text),
			 -EINVAL);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_STORE_PARKED_DISCARD, 1, 1, &req, &text),
			 -EINVAL);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_HEALTH_GET, ~0ULL, ~0ULL, &req, &text), 0);
	assert_int_equal(parse_own(KHAZANA_NL_CMD_NODE_LIST, ~0ULL, ~0ULL, &req, &text), 0);
	assert_false(req.own);
}

/* Counts the elements of an answer; its form is checked as everywhere. */
static int count_emit(void *ctx, const void *msg, size_t len)
{
	const uint8_t *at = msg;
	unsigned int *seen = ctx;
	struct kh_nl_msg m;

	while (kh_nl_next(&at, &len, &m) > 0) {
		if (m.type < NLMSG_MIN_TYPE)
			continue;
		assert_int_equal(kh_nla_check(kh_nl_ops[m.cmd].set, ~0ULL, true, m.body, m.len), 0);
		(*seen)++;
	}
	return 0;
}

static void answers_of_khd_itself(void **state)
{
	static uint8_t contents[KH_CTL_SECTORS_MAX * KH_CTL_SECTOR];
	static struct kh_ctl_parked parked[300];
	static struct kh_ctl_finding findings[3];
	struct kh_ctl_store store = { .state = KHAZANA_NL_STORE_STATE_OUT_OF_SERVICE,
				      .dir = "/d",
				      .reason = "r",
				      .capacity = 1 };
	struct kh_ctl_request req = { .type = KH_CTL_TYPE, .seq = 9 };
	unsigned int seen = 0;

	req.cmd = KHAZANA_NL_CMD_STORE_GET;
	assert_int_equal(kh_ctl_reply_store(&req, &store, count_emit, &seen), 0);
	assert_int_equal(seen, 1);
	req.cmd = KHAZANA_NL_CMD_STORE_PARKED_READ;
	assert_int_equal(kh_ctl_reply_parked(&req, parked, contents, KH_CTL_SECTORS_MAX, count_emit,
					     &seen),
			 0);
	assert_int_equal(seen, 2);
	req.cmd = KHAZANA_NL_CMD_STORE_PARKED_LIST;
	assert_int_equal(kh_ctl_reply_parked_list(&req, parked, 300, count_emit, &seen), 0);
	assert_int_equal(seen, 302);
	req.cmd = KHAZANA_NL_CMD_HEALTH_GET;
	findings[0].subject = findings[1].subject = findings[2].subject = "store";
	findings[1].advice = "a";
	assert_int_equal(kh_ctl_reply_health(&req, findings, 3, count_emit, &seen), 0);
	assert_int_equal(seen, 305);
}

static int emit_fails(void *ctx, const void *msg, size_t len)
{
	return -EAGAIN;
}

static void a_full_socket_ends_the_answer(void **state)
{
	const struct kh_op_result result = { 0 };
	struct kh_ctl_request req = request(KH_OP_NODE_LIST);

	assert_int_equal(kh_ctl_reply(&req, &result, emit_fails, NULL), -EAGAIN);
	assert_int_equal(kh_ctl_event(&req, 1, 2, 3, "n", "t", emit_fails, NULL), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_survives),
		cmocka_unit_test(an_unknown_operation_is_not_built),
		cmocka_unit_test(no_prefix_of_a_request_is_one),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(unknown_bits_are_refused),
		cmocka_unit_test(a_repeated_attribute_is_refused),
		cmocka_unit_test(strings_must_end),
		cmocka_unit_test(values_survive),
		cmocka_unit_test(long_lists_survive),
		cmocka_unit_test(errors_carry_a_text),
		cmocka_unit_test(a_value_that_khd_forgot_is_an_error),
		cmocka_unit_test(requests_to_khd_itself),
		cmocka_unit_test(answers_of_khd_itself),
		cmocka_unit_test(a_full_socket_ends_the_answer),
	};

	return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
