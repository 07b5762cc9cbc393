// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ctl_fuzz.c - arbitrary control messages, at khd's end and at the client's
 *
 * The first byte chooses what the rest is.  What a parser accepts must survive being built
 * and parsed again, and no answer may contain a key.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/netlink.h>

#include "ctl/decode.h"
#include "ctl/link.h"

#define BODY_MAX 6000

static const uint8_t secret[KH_KEY_SIZE] = "sixteen secrets";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
	if (!holds)
		abort();
}

/* A whole message around a body. */
static size_t wrap(uint8_t *buf, size_t max, uint8_t cmd, const uint8_t *body, size_t len)
{
	struct kh_nlb nlb;

	kh_nlb_begin(&nlb, buf, max, KH_CTL_TYPE, NLM_F_REQUEST, 1, 0, cmd);
	kh_nlb_raw(&nlb, body, len < BODY_MAX ? len : BODY_MAX);
	return kh_nlb_end(&nlb);
}

/* Collects an answer as a client does. */
static int collect(void *ctx, const void *msg, size_t len)
{
	const uint8_t *at = msg;
	struct kh_nl_msg m;
	int ret;

	require(len && len <= KH_CTL_MESSAGE_MAX && !memmem(msg, len, secret, sizeof(secret)));
	while ((ret = kh_nl_next(&at, &len, &m)) > 0) {
		if (m.type < NLMSG_MIN_TYPE)
			continue;
		require(!kh_nla_check(kh_nl_ops[m.cmd].set, ~0ULL, false, m.body, m.len));
		if (ctx)
			require(!kh_ctl_answer_add(ctx, &m));
	}
	require(!ret);
	return 0;
}

/* Whatever was asked for, the answers of khd itself fit. */
static void own(const struct kh_ctl_request *req)
{
	static const uint8_t contents[KH_CTL_SECTORS_MAX * KH_CTL_SECTOR];
	static const struct kh_ctl_store store = { .state = KHAZANA_NL_STORE_STATE_IN_SERVICE,
						   .capacity = 1 };
	struct kh_ctl_parked parked[200] = { { .id = req->id } };
	const struct kh_ctl_finding finding = { .subject = "store", .advice = "none" };

	require(!kh_ctl_reply_store(req, &store, collect, NULL));
	require(!kh_ctl_reply_parked(req, parked, contents, KH_CTL_SECTORS_MAX, collect, NULL));
	require(!kh_ctl_reply_parked_list(req, parked, 200, collect, NULL));
	require(!kh_ctl_reply_health(req, &finding, 1, collect, NULL));
}

static void request(const uint8_t *data, size_t size)
{
	static const struct kh_op_result nothing, failed = { .error = EIO };
	struct kh_ctl_request req, again;
	uint8_t buf[KH_CTL_MESSAGE_MAX];
	const char *text;
	int ret = kh_ctl_parse(data, size, &req, &text), len;

	if (ret == -EBADMSG)
		return;
	if (ret) {
		require(text && ret < 0);
		require(!kh_ctl_reply_error(&req, ret, text, collect, NULL));
		return;
	}
	memcpy(req.op.key, secret, sizeof(secret));
	memcpy(req.op.new_key, secret, sizeof(secret));
	require(!kh_ctl_reply(&req, &nothing, collect, NULL));
	require(!kh_ctl_reply(&req, &failed, collect, NULL));
	if (req.subscribe) {
		require(!kh_ctl_event(&req, 1, 2, 3, "name", "text", collect, NULL));
		return;
	}
	if (req.own) {
		own(&req);
		return;
	}
	len = kh_ctl_build(&req.op, buf, sizeof(buf), req.type, req.seq);
	require(len > 0);
	require(!kh_ctl_parse(buf, len, &again, &text));
	require(again.op.code == req.op.code && again.op.flags == req.op.flags &&
		again.op.addr.hi == req.op.addr.hi && again.op.addr.lo == req.op.addr.lo &&
		again.op.length == req.op.length && again.op.node == req.op.node &&
		again.op.attr_mask == req.op.attr_mask &&
		!strcmp(again.op.attr.protocol, req.op.attr.protocol) &&
		again.op.attr.unit_shift == req.op.attr.unit_shift);
}

/* An answer that a client accepts, sent on by a server, is the same answer. */
static void answer(uint8_t code, const uint8_t *data, size_t size)
{
	struct kh_ctl_request req = { .type = KH_CTL_TYPE, .seq = 1, .op.code = code };
	struct kh_ctl_answer first = { 0 }, second = { 0 };
	struct kh_nl_msg msg = { .body = data, .len = size };
	struct kh_op_result result;

	req.cmd = kh_ctl_cmd(code);
	if (!req.cmd || kh_nla_check(kh_nl_ops[req.cmd].set, ~0ULL, false, data, size))
		return;
	require(!kh_ctl_answer_add(&first, &msg));
	kh_ctl_answer_result(&first, &result);
	require(!kh_ctl_reply(&req, &result, collect, &second));
	if (code == KH_OP_REGION_LIST) {
		require(first.region_count == second.region_count);
		for (unsigned int i = 0; i < first.region_count; i++)
			require(first.regions[i].length == second.regions[i].length &&
				!strcmp(first.regions[i].attr.protocol,
					second.regions[i].attr.protocol));
	}
	if (code == KH_OP_NODE_LIST)
		require(first.node_count == second.node_count);
	if (code == KH_OP_STATS)
		require(first.counter_count == second.counter_count);
	if (code == KH_OP_PAGE_SHOW && first.has_page)
		require(first.page.reader_count == second.page.reader_count);
	kh_ctl_answer_free(&first);
	kh_ctl_answer_free(&second);
}

static int ignore(void *arg, const struct kh_nl_msg *msg)
{
	return 0;
}

/* A khd that says anything, in packets of which each is preceded by its length. */
static void client(uint8_t mode, const uint8_t *data, size_t size)
{
	struct kh_op op = { .code = mode % KH_OP_FLUSH + 1, .timeout_ms = 1 };
	struct kh_op_result result;
	struct kh_ctl *ctl;
	int fds[2];

	require(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
	require(!kh_ctl_adopt(fds[0], &ctl));
	for (int packets = 0; size && packets < 8; packets++) {
		size_t len = 1 + data[0] * 4;

		if (len > size - 1)
			len = size - 1;
		if (len && send(fds[1], data + 1, len, MSG_DONTWAIT) < 0)
			break;
		data += 1 + len;
		size -= 1 + len;
	}
	shutdown(fds[1], SHUT_WR);
	if (mode & 0x80)
		kh_ctl_event_read(ctl, ignore, NULL);
	else if (!kh_ctl_call(ctl, &op, &result, 1))
		require(result.error >= 0 && memchr(kh_ctl_text(ctl), 0, KH_CTL_TEXT_MAX));
	kh_ctl_close(ctl);
	close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[KH_CTL_MESSAGE_MAX];

	/* What whoever asks says himself is no secret: libFuzzer learns it from the comparison. */
	if (size < 2 || memmem(data, size, secret, sizeof(secret)))
		return 0;
	switch (data[0] % 4) {
	case 0:
		request(data + 1, size - 1);
		break;
	case 1:
		request(buf, wrap(buf, sizeof(buf), data[1], data + 2, size - 2));
		break;
	case 2:
		answer(data[1], data + 2, size - 2);
		break;
	default:
		client(data[1], data + 2, size - 2);
		break;
	}
	return 0;
}
