// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pages_ask.c - what clients ask of the page store: state, limits, what is parked, health
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/claim.h"
#include "khd/control.h"
#include "khd/log.h"
#include "khd/pages_priv.h"

#define LIST_MAX 64 /* parked units in one answer */
#define COPY_KEPT_NS 10000000000ull /* between two pieces that a client reads */
#define FINDINGS_MAX 8

/* A question that the engine has; ends in one answer. */
struct ask {
	struct khd_store_op op; /* first */
	struct khd_pages *pages;
	uint64_t op_id;
	uint64_t id, offset, size; /* of the request */
	struct khd_parked parked; /* out */
	struct kh_ctl_parked list[LIST_MAX];
	unsigned int count;
};

static void refuse(struct khd *khd, uint64_t op_id, int error, const char *text)
{
	khd_control_refuse(khd->control, op_id, error, text);
}

static struct kh_ctl_parked shown(const struct khd_parked *parked)
{
	struct kh_ctl_parked shown = {
		.id = parked->id,
		.addr = parked->key.addr,
		.shift = parked->key.shift,
		.generation = parked->key.generation,
		.version = parked->meta.version,
		.token = parked->meta.token,
	};

	khd_pages_untag(&parked->tag, &shown.region, &shown.region_generation);
	return shown;
}

/* ------------------------------------------------------------ state and health */

static int answer_store(const struct kh_ctl_request *req, const void *arg, kh_ctl_emit emit,
			void *ctx)
{
	return kh_ctl_reply_store(req, arg, emit, ctx);
}

static void status(struct khd *khd, uint64_t op_id)
{
	const struct khd_pages *pages = khd->pages;
	struct kh_ctl_store store = { .state = KHAZANA_NL_STORE_STATE_NONE };
	struct khd_store_sizes sizes = { 0 };
	struct khd_store_stats stats = { 0 };

	if (pages) {
		if (pages->store) {
			khd_store_stats(pages->store, &stats);
			khd_store_sizes(pages->store, &sizes);
		}
		store = (struct kh_ctl_store){
			.state = pages->reason[0] ? KHAZANA_NL_STORE_STATE_OUT_OF_SERVICE :
						    KHAZANA_NL_STORE_STATE_IN_SERVICE,
			.dir = khd->config.store.dir,
			.reason = pages->reason[0] ? pages->reason : NULL,
			.capacity = sizes.now,
			.capacity_min = sizes.least,
			.room = stats.capacity,
			.reserved = stats.reserved,
			.used = stats.used,
			.parked = stats.parked,
			.puts = stats.puts,
			.gets = stats.gets,
			.flushes = stats.flushes,
			.groups = stats.groups,
			.checkpoints = stats.checkpoints,
			.damaged = stats.damaged,
			.scrubbed = stats.scrubbed,
			.scrub_rate = pages->scrub_rate,
			.memory = stats.memory,
			.buffers_used = khd_arena_used(pages->arena),
			.buffers_max = khd_arena_size(pages->arena),
			.waiting = pages->puts_waiting,
			.recovery_ns = pages->recovery.nanoseconds,
			.replayed = pages->recovery.replayed,
			.discarded = pages->recovery.discarded,
		};
	}
	khd_control_answer(khd->control, op_id, answer_store, &store);
}

struct findings {
	struct kh_ctl_finding list[FINDINGS_MAX];
	unsigned int count;
};

static void __attribute__((format(printf, 4, 5)))
found(struct findings *findings, enum khazana_nl_severity severity, const char *advice,
      const char *fmt, ...)
{
	struct kh_ctl_finding *finding = &findings->list[findings->count++];
	va_list ap;

	*finding = (struct kh_ctl_finding){ severity, "store", "", advice };
	va_start(ap, fmt);
	vsnprintf(finding->text, sizeof(finding->text), fmt, ap);
	va_end(ap);
}

static void no_store(struct khd *khd, struct findings *findings)
{
	if (khd_claim_exists(khd->state))
		found(findings, KHAZANA_NL_SEVERITY_ERROR,
		      "name it in khd.conf, [store] dir, and start khd again",
		      "this node has a store, but the configuration does not name it: its pages "
		      "cannot be read");
	else
		found(findings, KHAZANA_NL_SEVERITY_NOTE, NULL,
		      "this node has none: it keeps pages in memory only");
}

/* What to do about a store that @error kept from being opened. */
static const char *unopened_advice(int error)
{
	switch (error) {
	case EMEDIUMTYPE:
		return "stop khd; cp -a DIR to a disk with smaller sectors, or into a file system "
		       "in a file here (losetup, mkfs, mount); name the copy in khd.conf; start "
		       "khd";
	case EPROTONOSUPPORT:
		return "stop khd; khadm store rebuild DIR, if the index alone is of another "
		       "version; if that refuses, only the version that made the store can read "
		       "it";
	case ENOENT:
		return "stop khd; find DIR/slots (is another disk mounted there?): without it "
		       "there is nothing to rebuild from; start khd";
	default:
		return "stop khd; khadm store check DIR; if it names damage, or cannot, khadm "
		       "store rebuild DIR: what is damaged stays EIO, the rest is served; start "
		       "khd";
	}
}

static void store_findings(struct khd_pages *pages, struct findings *findings)
{
	struct khd_store_stats stats = { 0 };

	if (pages->store)
		khd_store_stats(pages->store, &stats);
	if (pages->reason[0] && !pages->store)
		found(findings, KHAZANA_NL_SEVERITY_ERROR, unopened_advice(pages->error),
		      "out of service, %s", pages->reason);
	else if (pages->reason[0] && (pages->error == ENOMEM || pages->error == ENOSPC))
		found(findings, KHAZANA_NL_SEVERITY_ERROR,
		      "make memory, or room in DIR's file system, free; start khd again",
		      "out of service, %s", pages->reason);
	else if (pages->reason[0] && pages->error == EBADMSG)
		found(findings, KHAZANA_NL_SEVERITY_ERROR,
		      "stop khd; khadm store rebuild DIR; start khd; replace the disk",
		      "out of service, %s", pages->reason);
	else if (pages->reason[0])
		found(findings, KHAZANA_NL_SEVERITY_ERROR,
		      "see the kernel log; stop khd, copy DIR to a good disk or mend this one, "
		      "khadm store check DIR (and rebuild, if it names damage), start khd",
		      "out of service, %s", pages->reason);
	if (stats.damaged)
		found(findings, KHAZANA_NL_SEVERITY_ERROR,
		      "the log names them; what no node had in memory answers EIO until it is "
		      "locked with OVERWRITE and stored, or freed; replace the disk",
		      "%llu units or other blocks were found damaged since the start",
		      (unsigned long long)stats.damaged);
	if (stats.parked)
		found(findings, KHAZANA_NL_SEVERITY_WARNING,
		      "khadm store parked list; export or discard each",
		      "%llu units are kept aside: their stores were too late",
		      (unsigned long long)stats.parked);
	if (!pages->reason[0] && stats.capacity && stats.reserved > stats.capacity / 10 * 9)
		found(findings, KHAZANA_NL_SEVERITY_WARNING,
		      "khadm store resize, or free regions that nobody needs",
		      "%llu %% are reserved: new storage will soon be refused with ENOSPC",
		      (unsigned long long)(stats.reserved / (stats.capacity / 100)));
	if (pages->puts_waiting && pages->puts_under_way >= KHD_STORE_PUTS_MAX)
		found(findings, KHAZANA_NL_SEVERITY_NOTE, NULL,
		      "the disk is behind: %u units wait for it", pages->puts_waiting);
}

static int answer_health(const struct kh_ctl_request *req, const void *arg, kh_ctl_emit emit,
			 void *ctx)
{
	const struct findings *findings = arg;

	return kh_ctl_reply_health(req, findings->list, findings->count, emit, ctx);
}

static void health(struct khd *khd, uint64_t op_id)
{
	struct findings findings = { .count = 0 };

	if (khd->pages)
		store_findings(khd->pages, &findings);
	else
		no_store(khd, &findings);
	khd_control_answer(khd->control, op_id, answer_health, &findings);
}

/* ------------------------------------------------------------ questions to the engine */

static struct ask *ask_begin(struct khd_pages *pages, uint64_t op_id)
{
	struct ask *ask = calloc(1, sizeof(*ask));

	if (!ask) {
		refuse(pages->khd, op_id, ENOMEM, NULL);
		return NULL;
	}
	ask->pages = pages;
	ask->op_id = op_id;
	pages->under_way++;
	return ask;
}

static void ask_end(struct ask *ask)
{
	ask->pages->under_way--;
	ask->pages->gets_held = false; /* the engine has one less: see on_done() in pages.c */
	free(ask->op.iov.iov_base);
	free(ask);
}

static void resized(struct khd_store_op *op, int error)
{
	struct ask *ask = (struct ask *)op;
	struct khd *khd = ask->pages->khd;

	if (!error)
		khd_event(khd, "store-resized", "%s has %llu bytes", khd->config.store.dir,
			  (unsigned long long)ask->size);
	refuse(khd, ask->op_id, error, NULL);
	ask_end(ask);
}

/* Said here, where there is room to say which size would be taken. */
static void resize(struct khd_pages *pages, uint64_t op_id, uint64_t size)
{
	struct khd_store_sizes sizes;
	char text[KHD_TEXT_MAX];
	struct ask *ask;

	khd_store_sizes(pages->store, &sizes);
	if (size < sizes.least) {
		snprintf(text, sizeof(text),
			 "%llu bytes at least: what is reserved, header and log need so much",
			 (unsigned long long)sizes.least);
		refuse(pages->khd, op_id, EBUSY, text);
		return;
	}
	if (size > sizes.most) {
		snprintf(text, sizeof(text),
			 "%llu bytes at most, with the segments that this store was made with",
			 (unsigned long long)sizes.most);
		refuse(pages->khd, op_id, EINVAL, text);
		return;
	}
	ask = ask_begin(pages, op_id);
	if (!ask)
		return;
	ask->size = size;
	ask->op.done = resized;
	khd_store_resize(pages->store, &ask->op, size);
}

/* ------------------------------------------------------------ parked units */

static int answer_list(const struct kh_ctl_request *req, const void *arg, kh_ctl_emit emit,
		       void *ctx)
{
	const struct ask *ask = arg;

	return kh_ctl_reply_parked_list(req, ask->list, ask->count, emit, ctx);
}

static void listed(struct khd_store_op *op, int error)
{
	struct ask *ask = (struct ask *)op;
	struct khd *khd = ask->pages->khd;

	if (!error) {
		ask->list[ask->count++] = shown(&ask->parked);
		if (ask->count < LIST_MAX && ask->parked.id < UINT64_MAX && !ask->pages->stopping) {
			khd_store_parked_get(ask->pages->store, op, ask->parked.id + 1,
					     &ask->parked);
			return;
		}
	}
	if (error && error != ENOENT)
		refuse(khd, ask->op_id, error, NULL);
	else
		khd_control_answer(khd->control, ask->op_id, answer_list, ask);
	ask_end(ask);
}

/* A piece of what is at hand. */
struct piece {
	struct kh_ctl_parked parked;
	const uint8_t *data;
	unsigned int sectors;
};

static int answer_piece(const struct kh_ctl_request *req, const void *arg, kh_ctl_emit emit,
			void *ctx)
{
	const struct piece *piece = arg;

	return kh_ctl_reply_parked(req, &piece->parked, piece->data, piece->sectors, emit, ctx);
}

static void give_piece(struct khd_pages *pages, uint64_t op_id, uint64_t offset)
{
	const struct khd_parked_copy *copy = &pages->copy;
	uint64_t size = 1ull << copy->parked.key.shift, left;
	struct piece piece = { .parked = shown(&copy->parked) };

	if (offset % KH_CTL_SECTOR || offset >= size) {
		refuse(pages->khd, op_id, ERANGE, "the offset is not in the unit");
		return;
	}
	left = (size - offset) / KH_CTL_SECTOR;
	piece.data = copy->data + offset;
	piece.sectors = left < KH_CTL_SECTORS_MAX ? left : KH_CTL_SECTORS_MAX;
	pages->copy.until = khd_now() + COPY_KEPT_NS;
	khd_control_answer(pages->khd->control, op_id, answer_piece, &piece);
}

static void contents_read(struct khd_store_op *op, int error)
{
	struct ask *ask = (struct ask *)op;
	struct khd_pages *pages = ask->pages;

	if (!error && ask->parked.id != ask->id)
		error = ENOENT;
	if (error) {
		refuse(pages->khd, ask->op_id, error, NULL);
	} else {
		free(pages->copy.data);
		pages->copy.parked = ask->parked;
		pages->copy.data = op->iov.iov_base;
		op->iov.iov_base = NULL;
		give_piece(pages, ask->op_id, ask->offset);
	}
	ask_end(ask);
}

/* Now its size is known. */
static void size_read(struct khd_store_op *op, int error)
{
	struct ask *ask = (struct ask *)op;
	size_t size = (size_t)1 << ask->parked.key.shift;

	if (!error && ask->parked.id != ask->id)
		error = ENOENT;
	if (!error) {
		op->iov.iov_base = aligned_alloc(KHD_DISK_ALIGN,
						 size < KHD_DISK_ALIGN ? KHD_DISK_ALIGN : size);
		error = op->iov.iov_base ? 0 : ENOMEM;
	}
	if (!error && ask->pages->stopping)
		error = EIO;
	if (error) {
		refuse(ask->pages->khd, ask->op_id, error,
		       error == ENOENT ? "no such parked unit" : NULL);
		ask_end(ask);
		return;
	}
	op->iov.iov_len = size;
	op->done = contents_read;
	khd_store_parked_get(ask->pages->store, op, ask->id, &ask->parked);
}

static void discarded(struct khd_store_op *op, int error)
{
	struct ask *ask = (struct ask *)op;

	refuse(ask->pages->khd, ask->op_id, error, error == ENOENT ? "no such parked unit" : NULL);
	ask_end(ask);
}

static void ask_parked(struct khd_pages *pages, uint64_t op_id, const struct kh_ctl_request *req)
{
	struct ask *ask;

	if (req->cmd == KHAZANA_NL_CMD_STORE_PARKED_READ && pages->copy.data &&
	    pages->copy.parked.id == req->id) {
		give_piece(pages, op_id, req->offset);
		return;
	}
	ask = ask_begin(pages, op_id);
	if (!ask)
		return;
	ask->id = req->id;
	ask->offset = req->offset;
	if (req->cmd == KHAZANA_NL_CMD_STORE_PARKED_DISCARD) {
		if (pages->copy.data && pages->copy.parked.id == req->id)
			pages->copy.until = 0;
		ask->op.done = discarded;
		khd_store_parked_discard(pages->store, &ask->op, req->id);
		return;
	}
	ask->op.done = req->cmd == KHAZANA_NL_CMD_STORE_PARKED_LIST ? listed : size_read;
	khd_store_parked_get(pages->store, &ask->op, req->id, &ask->parked);
}

/* ------------------------------------------------------------ the way in */

void khd_pages_ask(struct khd *khd, uint64_t op_id, const struct kh_ctl_request *req)
{
	struct khd_pages *pages = khd->pages;

	if (req->cmd == KHAZANA_NL_CMD_STORE_GET) {
		status(khd, op_id);
		return;
	}
	if (req->cmd == KHAZANA_NL_CMD_HEALTH_GET) {
		health(khd, op_id);
		return;
	}
	if (!req->op.privileged) {
		refuse(khd, op_id, EPERM, "only root and khd's own user may do that");
		return;
	}
	if (!pages) {
		refuse(khd, op_id, EOPNOTSUPP, "this node has no store");
		return;
	}
	if (!khd_pages_store(pages)) {
		refuse(khd, op_id, EIO, "the store is out of service; see khadm health");
		return;
	}
	switch (req->cmd) {
	case KHAZANA_NL_CMD_STORE_SCRUB:
		pages->scrub_rate = req->rate;
		khd_store_scrub(pages->store, req->rate);
		refuse(khd, op_id, 0, NULL);
		return;
	case KHAZANA_NL_CMD_STORE_RESIZE:
		resize(pages, op_id, req->op.length);
		return;
	default:
		ask_parked(pages, op_id, req);
		return;
	}
}
