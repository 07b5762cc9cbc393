/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire.c - the table of message kinds, its validator and byte order
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include "wire.h"

/* @fields: q is 8 bytes, i 4, s 2, b 16 raw ones. */
struct kind {
	const char *name;
	const char *fields;
	uint16_t size;
	uint16_t count_min;
	uint16_t count_max;
	uint32_t data_max;
	bool (*entry_ok)(const void *entry);
};

static bool flags_within(uint32_t flags, uint32_t known)
{
	return !(flags & ~known);
}

static bool req_ok(const void *entry)
{
	const struct kh_wire_req *e = entry;

	return (e->want == KHAZANA_RIGHT_READ || e->want == KHAZANA_RIGHT_WRITE) &&
	       flags_within(e->flags,
			    KH_REQ_OVERWRITE | KH_REQ_TRY | KH_REQ_PREFETCH | KH_REQ_LOCK);
}

static bool grant_ok(const void *entry)
{
	const struct kh_wire_grant *e = entry;

	return (e->right == KHAZANA_RIGHT_READ || e->right == KHAZANA_RIGHT_WRITE) &&
	       e->source <= KH_SOURCE_ZERO && flags_within(e->flags, KH_GRANT_OWNED) && e->token;
}

static bool nack_ok(const void *entry)
{
	const struct kh_wire_nack *e = entry;

	return e->error > 0 && e->error < 4096 && flags_within(e->flags, KH_NACK_RETRY);
}

static bool forward_ok(const void *entry)
{
	const struct kh_wire_forward *e = entry;

	return (e->right == KHAZANA_RIGHT_READ || e->right == KHAZANA_RIGHT_WRITE) &&
	       flags_within(e->flags, KH_FORWARD_TRY) && e->token;
}

static bool data_ok(const void *entry)
{
	const struct kh_wire_data *e = entry;

	return flags_within(e->flags, KH_DATA_ZERO) && !e->reserved;
}

static bool inv_ok(const void *entry)
{
	const struct kh_wire_inv *e = entry;

	return flags_within(e->flags, KH_INV_KEEP) && e->token && !e->reserved;
}

static bool iack_ok(const void *entry)
{
	const struct kh_wire_iack *e = entry;

	return e->status <= KH_ACK_DAMAGED && !e->reserved;
}

static bool done_ok(const void *entry)
{
	const struct kh_wire_done *e = entry;

	return flags_within(e->flags, KH_DONE_ABORTED) && !e->reserved;
}

static bool evict_ok(const void *entry)
{
	const struct kh_wire_evict *e = entry;

	return flags_within(e->flags, KH_EVICT_BACKUP | KH_EVICT_STORE) && !e->reserved;
}

static bool flush_ok(const void *entry)
{
	const struct kh_wire_flush *e = entry;

	return e->token && (e->need || (e->flags & KH_FLUSH_BESIDE)) && e->place &&
	       flags_within(e->flags, KH_FLUSH_BESIDE | KH_FLUSH_HELD);
}

static bool store_ok(const void *entry)
{
	const struct kh_wire_store *e = entry;

	return e->token && e->version && e->home && !e->reserved;
}

static bool stored_ok(const void *entry)
{
	const struct kh_wire_stored *e = entry;

	return e->stage <= KH_STAGE_FOUND && e->error < 4096;
}

static bool look_ok(const void *entry)
{
	const struct kh_wire_look *e = entry;

	return e->shift >= KHAZANA_UNIT_SHIFT_MIN && e->shift <= KHAZANA_UNIT_SHIFT_MAX &&
	       flags_within(e->flags, KH_LOOK_FENCE);
}

static bool renew_ok(const void *entry)
{
	const struct kh_wire_renew *e = entry;

	return e->lease_ms > 0 && flags_within(e->flags, KH_RENEW_EXPIRED);
}

static bool record_ok(const void *entry)
{
	const struct kh_wire_record *e = entry;

	return e->right <= KHAZANA_RIGHT_WRITE && e->state <= KHAZANA_STATE_EXPIRED_DIRTY &&
	       flags_within(e->uflags, KHAZANA_UNIT_OWNED | KHAZANA_UNIT_HANDOFF |
					       KHAZANA_UNIT_DIRTY | KHAZANA_UNIT_DROPPABLE |
					       KHAZANA_UNIT_TWIN | KHAZANA_UNIT_LOCKED);
}

static bool verdict_ok(const void *entry)
{
	const struct kh_wire_verdict *e = entry;

	return e->verdict <= KH_VERDICT_POISON && !e->reserved;
}

static bool region_ok(const void *entry)
{
	const struct kh_wire_region *e = entry;

	return e->length && e->unit_shift >= KHAZANA_UNIT_SHIFT_MIN &&
	       e->unit_shift <= KHAZANA_UNIT_SHIFT_MAX &&
	       !(e->length & ((1ull << e->unit_shift) - 1)) &&
	       !(e->start_lo & ((1ull << e->unit_shift) - 1)) && e->home && e->lease_ms &&
	       memchr(e->protocol, 0, sizeof(e->protocol));
}

static bool call_ok(const void *entry)
{
	const struct kh_wire_call *e = entry;

	return flags_within(e->flags, KH_OPF_FORCE | KH_OPF_ALL | KH_CALLF_STORE) &&
	       e->privileged <= 1;
}

static bool result_ok(const void *entry)
{
	const struct kh_wire_result *e = entry;

	return e->error < 4096 && e->payload <= KH_PAYLOAD_BYTES;
}

static bool hello_ok(const void *entry)
{
	const struct kh_wire_hello *e = entry;

	return e->version_min && e->version_min <= e->version_max && e->node &&
	       memchr(e->cluster, 0, sizeof(e->cluster));
}

#define ENTRY(type) sizeof(struct kh_wire_##type)
#define RESULT_DATA_MAX KH_DATA_MAX

static const struct kind kinds[KH_WIRE_KINDS] = {
	[KH_WIRE_HELLO] = { "hello", "iiiiqqbb", ENTRY(hello), 1, 1, 0, hello_ok },
	[KH_WIRE_REQ] = { "req", "qqqii", ENTRY(req), 1, KH_WIRE_ENTRIES_MAX, 0, req_ok },
	[KH_WIRE_GRANT] = { "grant", "qqqqssi", ENTRY(grant), 1, KH_WIRE_ENTRIES_MAX, 0, grant_ok },
	[KH_WIRE_NACK] = { "nack", "qii", ENTRY(nack), 1, KH_WIRE_ENTRIES_MAX, 0, nack_ok },
	[KH_WIRE_FORWARD] = { "forward", "qqqii", ENTRY(forward), 1, KH_WIRE_ENTRIES_MAX, 0,
			      forward_ok },
	[KH_WIRE_DATA] = { "data", "qqii", ENTRY(data), 1, 1, KH_DATA_MAX, data_ok },
	[KH_WIRE_INV] = { "inv", "qqii", ENTRY(inv), 1, KH_WIRE_ENTRIES_MAX, 0, inv_ok },
	[KH_WIRE_IACK] = { "iack", "qqii", ENTRY(iack), 1, KH_WIRE_ENTRIES_MAX, 0, iack_ok },
	[KH_WIRE_DONE] = { "done", "qqqii", ENTRY(done), 1, KH_WIRE_ENTRIES_MAX, 0, done_ok },
	[KH_WIRE_HDONE] = { "hdone", "qq", ENTRY(hdone), 1, KH_WIRE_ENTRIES_MAX, 0, NULL },
	[KH_WIRE_EVICT] = { "evict", "qqii", ENTRY(evict), 1, KH_WIRE_ENTRIES_MAX, 0, evict_ok },
	[KH_WIRE_RENEW] = { "renew", "iiqq", ENTRY(renew), 1, 1, 0, renew_ok },
	[KH_WIRE_RENEW_ACK] = { "renew_ack", "iiqq", ENTRY(renew), 1, 1, 0, renew_ok },
	[KH_WIRE_ASK] = { "ask", "q", ENTRY(ask), 1, 1, 0, NULL },
	[KH_WIRE_INVENTORY] = { "inventory", "qqqqqssi", ENTRY(record), 1, KH_WIRE_ENTRIES_MAX, 0,
				record_ok },
	[KH_WIRE_END] = { "end", "q", ENTRY(ask), 1, 1, 0, NULL },
	[KH_WIRE_VERDICT] = { "verdict", "qqii", ENTRY(verdict), 1, KH_WIRE_ENTRIES_MAX, 0,
			      verdict_ok },
	[KH_WIRE_WHERE] = { "where", "qq", ENTRY(where), 1, 1, 0, NULL },
	[KH_WIRE_HERE] = { "here", "qqqqqqiiiiiiiib", ENTRY(region), 1, 1, 0, region_ok },
	[KH_WIRE_NOT_HOME] = { "not_home", "ii", ENTRY(not_home), 1, 1, 0, NULL },
	[KH_WIRE_CALL] = { "call", "iiqqqiiiiiiiiq", ENTRY(call), 1, 1, 0, call_ok },
	[KH_WIRE_CHALLENGE] = { "challenge", "b", ENTRY(challenge), 1, 1, 0, NULL },
	[KH_WIRE_PROOF] = { "proof", "bbbb", ENTRY(proof), 1, 1, 0, NULL },
	[KH_WIRE_RESULT] = { "result", "ii", ENTRY(result), 1, 1, RESULT_DATA_MAX, result_ok },
	[KH_WIRE_GONE] = { "gone", "", 0, 0, 0, 0, NULL },
	[KH_WIRE_SYNC] = { "sync", "", 0, 0, 0, 0, NULL },
	[KH_WIRE_FLUSH] = { "flush", "qqqqii", ENTRY(flush), 1, KH_WIRE_ENTRIES_MAX, 0, flush_ok },
	[KH_WIRE_STORE] = { "store", "qqqqii", ENTRY(store), 1, 1, KH_DATA_MAX, store_ok },
	[KH_WIRE_STORED] = { "stored", "qqqii", ENTRY(stored), 1, KH_WIRE_ENTRIES_MAX, 0,
			     stored_ok },
	[KH_WIRE_LOOK] = { "look", "qqqqii", ENTRY(look), 1, KH_WIRE_ENTRIES_MAX, 0, look_ok },
	[KH_WIRE_LOAD] = { "load", "qqqqii", ENTRY(look), 1, KH_WIRE_ENTRIES_MAX, 0, look_ok },
	[KH_WIRE_SAFE] = { "safe", "qqq", ENTRY(safe), 1, KH_WIRE_ENTRIES_MAX, 0, NULL },
	[KH_WIRE_HASK] = { "hask", "qq", ENTRY(hdone), 1, KH_WIRE_ENTRIES_MAX, 0, NULL },
};

static const char head_fields[] = "issiiqqqqiiq";

static void swap_fields(uint8_t *p, const char *fields, bool to_wire)
{
	for (; *fields; fields++) {
		if (*fields == 'q') {
			uint64_t *v = (uint64_t *)p;

			*v = to_wire ? htole64(*v) : le64toh(*v);
			p += 8;
		} else if (*fields == 'i') {
			uint32_t *v = (uint32_t *)p;

			*v = to_wire ? htole32(*v) : le32toh(*v);
			p += 4;
		} else if (*fields == 's') {
			uint16_t *v = (uint16_t *)p;

			*v = to_wire ? htole16(*v) : le16toh(*v);
			p += 2;
		} else {
			p += 16;
		}
	}
}

static void head_get(struct kh_wire_head *head, const void *msg)
{
	memcpy(head, msg, sizeof(*head));
	swap_fields((uint8_t *)head, head_fields, false);
}

static void head_length_kind(const void *buf, uint32_t *length, unsigned int *magic,
			     unsigned int *kind)
{
	const uint8_t *b = buf;

	*length = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	*magic = b[4] | b[5] << 8;
	*kind = b[6] | b[7] << 8;
}

static bool kind_known(unsigned int kind)
{
	return kind < KH_WIRE_KINDS && kinds[kind].name;
}

int64_t kh_wire_frame_len(const void *buf, size_t len)
{
	uint32_t length;
	unsigned int magic, kind;

	if (len < 8)
		return 0;
	head_length_kind(buf, &length, &magic, &kind);
	if (magic != KH_WIRE_MAGIC || !kind_known(kind) || length < sizeof(struct kh_wire_head) ||
	    length > sizeof(struct kh_wire_head) + kinds[kind].data_max +
			     (uint32_t)kinds[kind].count_max * kinds[kind].size)
		return -EPROTO;
	return length;
}

static bool unit_sized(uint32_t len)
{
	return len >= 1u << KHAZANA_UNIT_SHIFT_MIN && !(len & (len - 1));
}

/* What spans entries and data. */
static bool whole_ok(const struct kh_wire_head *head, const uint8_t *entries)
{
	struct kh_wire_data data;
	struct kh_wire_result result;

	switch (head->kind) {
	case KH_WIRE_DATA:
		memcpy(&data, entries, sizeof(data));
		swap_fields((uint8_t *)&data, kinds[KH_WIRE_DATA].fields, false);
		if (data.flags & KH_DATA_ZERO)
			return !head->data_len;
		return unit_sized(head->data_len);
	case KH_WIRE_STORE:
		return unit_sized(head->data_len);
	case KH_WIRE_RESULT:
		memcpy(&result, entries, sizeof(result));
		swap_fields((uint8_t *)&result, kinds[KH_WIRE_RESULT].fields, false);
		switch (result.payload) {
		case KH_PAYLOAD_NONE:
			return !head->data_len;
		case KH_PAYLOAD_REGIONS:
			return !(head->data_len % sizeof(struct kh_wire_region));
		case KH_PAYLOAD_PAGE:
			return head->data_len == sizeof(struct kh_wire_page);
		}
		return true;
	}
	return true;
}

int kh_wire_check(const void *msg, size_t len)
{
	struct kh_wire_head head;
	const struct kind *kind;
	const uint8_t *entry;
	uint64_t aligned[sizeof(struct kh_wire_region) / 8];
	unsigned int i;

	if (len < sizeof(head) || kh_wire_frame_len(msg, len) != (int64_t)len)
		return -EPROTO;
	head_get(&head, msg);
	kind = &kinds[head.kind];
	if (head.count < kind->count_min || head.count > kind->count_max ||
	    head.data_len > kind->data_max ||
	    sizeof(head) + (uint64_t)head.count * kind->size + head.data_len != len)
		return -EPROTO;
	entry = (const uint8_t *)msg + sizeof(head);
	for (i = 0; kind->entry_ok && i < head.count; i++) {
		memcpy(aligned, entry + (size_t)i * kind->size, kind->size);
		swap_fields((uint8_t *)aligned, kind->fields, false);
		if (!kind->entry_ok(aligned))
			return -EPROTO;
	}
	return whole_ok(&head, entry) ? 0 : -EPROTO;
}

size_t kh_wire_head_len(const void *msg)
{
	struct kh_wire_head head;

	head_get(&head, msg);
	return head.length - head.data_len;
}

void kh_wire_swap(void *msg, bool to_wire)
{
	const struct kh_wire_head *head = msg;
	uint8_t *entry = (uint8_t *)msg + sizeof(*head);
	unsigned int i, kind, count;

	if (!to_wire)
		swap_fields(msg, head_fields, false);
	kind = head->kind;
	count = head->count;
	for (i = 0; i < count; i++)
		swap_fields(entry + (size_t)i * kinds[kind].size, kinds[kind].fields, to_wire);
	if (to_wire)
		swap_fields(msg, head_fields, true);
}

size_t kh_wire_entry_size(unsigned int kind)
{
	return kind_known(kind) ? kinds[kind].size : 0;
}

const char *kh_wire_kind_name(unsigned int kind)
{
	return kind_known(kind) ? kinds[kind].name : "?";
}

void kh_wire_hello_make(void *buf, const struct kh_node_config *config)
{
	struct {
		struct kh_wire_head head;
		struct kh_wire_hello hello;
	} msg = { .head = { .length = KH_WIRE_HELLO_LEN,
			    .magic = KH_WIRE_MAGIC,
			    .kind = KH_WIRE_HELLO,
			    .count = 1 },
		  .hello = { .version_min = KH_WIRE_VERSION_MIN,
			     .version_max = KH_WIRE_VERSION_MAX,
			     .node = config->id,
			     .incarnation = config->incarnation,
			     .boot = config->boot } };

	memcpy(msg.hello.cluster, config->cluster, sizeof(msg.hello.cluster));
	msg.hello.cluster[sizeof(msg.hello.cluster) - 1] = 0;
	kh_wire_swap(&msg, true);
	memcpy(buf, &msg, sizeof(msg));
}

int kh_wire_hello_check(const void *msg, size_t len, const struct kh_node_config *config,
			struct kh_wire_hello *hello)
{
	uint32_t version;
	unsigned int i, kind, magic;

	if (kh_wire_check(msg, len))
		return -EPROTO;
	head_length_kind(msg, &version, &magic, &kind);
	if (kind != KH_WIRE_HELLO)
		return -EPROTO;
	memcpy(hello, (const uint8_t *)msg + sizeof(struct kh_wire_head), sizeof(*hello));
	swap_fields((uint8_t *)hello, kinds[KH_WIRE_HELLO].fields, false);
	version = hello->version_max < KH_WIRE_VERSION_MAX ? hello->version_max :
							     KH_WIRE_VERSION_MAX;
	if (version < hello->version_min || version < KH_WIRE_VERSION_MIN)
		return -EPROTONOSUPPORT;
	if (strncmp(hello->cluster, config->cluster, sizeof(hello->cluster)))
		return -EACCES;
	for (i = 0; i < config->peer_count; i++)
		if (config->peers[i] == hello->node && hello->node != config->id)
			return (int)version;
	return -ENOENT;
}
