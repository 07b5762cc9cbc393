// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pages.c - the node's page store, between the core and the engine
 *
 *   command() -> puts ------> engine -> done() -> kh_node_stored()
 *             -> gets ------^            ^
 *             -> engine                  |
 *             -> ended ------------------+  refused: in the next pass, never from within the call
 *
 * Reserve, release and look go straight to the engine, and a get too if there is memory for it.
 * While one waits for memory no put takes any: puts end, so that the arena becomes whole again and
 * the get has its turn.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/claim.h"
#include "khd/log.h"
#include "khd/pages_priv.h"
#include "khd/plant.h"
#include "khd/store/disk_dir.h"

#define OPS_MAX 12288 /* commands of the core under way; more are EAGAIN */
#define STOP_NS 20000000000ull /* for what is under way, and the checkpoint */
#define NOTE_NS 1000000000ull /* until the state directory is told again, at first, */
#define NOTE_MAX_NS 60000000000ull /* and at most */
#define SCRUB_EVERY_NS 86400000000000ull

/* A command of the core under way. */
struct page_op {
	struct khd_store_op op; /* the engine's view; first */
	struct kh_list link; /* in free, puts, gets or ended */
	struct khd_pages *pages;
	uint64_t id;
	enum kh_store_code code;
	int error; /* of one that is in ended */
	bool heap; /* there was no free one */
};

struct khd_tag khd_pages_tag(struct khazana_addr region, uint64_t generation)
{
	const uint64_t words[3] = { htole64(region.hi), htole64(region.lo), htole64(generation) };
	struct khd_tag tag;

	_Static_assert(sizeof(tag.bytes) == sizeof(words), "tag");
	memcpy(tag.bytes, words, sizeof(words));
	return tag;
}

void khd_pages_untag(const struct khd_tag *tag, struct khazana_addr *region, uint64_t *generation)
{
	uint64_t words[3];

	memcpy(words, tag->bytes, sizeof(words));
	*region = (struct khazana_addr){ le64toh(words[0]), le64toh(words[1]) };
	*generation = le64toh(words[2]);
}

struct khd_store *khd_pages_store(struct khd_pages *pages)
{
	return pages->stopping || pages->reason[0] ? NULL : pages->store;
}

/* ------------------------------------------------------------ the end of a command */

/* What the core may be told (struct kh_store_result). */
static uint32_t told(const struct page_op *op, int error)
{
	switch (error) {
	case 0:
	case ENXIO:
	case EIO:
	case EAGAIN:
		return error;
	case ENOSPC:
	case EEXIST:
		return op->code == KH_STORE_RESERVE ? error : EIO;
	case ESTALE:
		return op->code == KH_STORE_PUT ? error : EIO;
	case EBADMSG:
		return op->code == KH_STORE_GET || op->code == KH_STORE_LOOK ? error : EIO;
	case ENOMEM: /* at this moment: who asks comes again, after a pause */
		return op->code == KH_STORE_RESERVE ? ENOMEM :
		       op->code == KH_STORE_RELEASE ? EIO :
						      EAGAIN;
	default:
		return EIO;
	}
}

static void op_free(struct khd_pages *pages, struct page_op *op)
{
	khd_arena_put(pages->arena, op->op.iov.iov_base);
	op->op.iov.iov_base = NULL;
	if (op->heap)
		free(op);
	else
		kh_list_add(&pages->free, &op->link);
}

static void deliver(struct page_op *op, int error)
{
	struct khd_pages *pages = op->pages;
	struct kh_store_result result = { .error = told(op, error) };

	if (!result.error && (op->code == KH_STORE_GET || op->code == KH_STORE_LOOK)) {
		result.version = op->op.meta.version;
		result.token = op->op.meta.token;
		if (op->code == KH_STORE_GET && result.version)
			result.data = op->op.iov.iov_base;
	}
	if (!pages->stopping)
		kh_node_stored(pages->khd->node, op->id, &result, khd_now());
	op_free(pages, op);
}

static void end_later(struct page_op *op, int error)
{
	op->error = error;
	kh_list_add(&op->pages->ended, &op->link);
}

static void on_done(struct khd_store_op *sop, int error)
{
	struct page_op *op = (struct page_op *)sop;
	struct khd_pages *pages = op->pages;

	pages->under_way--;
	if (op->code == KH_STORE_PUT)
		pages->puts_under_way--;
	if (op->code == KH_STORE_GET && error == EAGAIN && pages->under_way &&
	    khd_pages_store(pages)) {
		/* The engine has enough to do: this one is the next that it gets. */
		kh_list_add(pages->gets.next, &op->link);
		pages->gets_held = true;
		return;
	}
	pages->gets_held = false;
	deliver(op, error);
}

/* ------------------------------------------------------------ the begin of one */

static struct page_op *op_new(struct khd_pages *pages, const struct kh_store_cmd *cmd)
{
	struct page_op *op;

	if (!kh_list_empty(&pages->free)) {
		op = kh_list_first(&pages->free, struct page_op, link);
		kh_list_del(&op->link);
		memset(op, 0, sizeof(*op));
	} else {
		op = calloc(1, sizeof(*op));
		if (!op) {
			khd_fail(pages->khd, "no memory to refuse a command of the store");
			return NULL;
		}
		op->heap = true;
	}
	op->pages = pages;
	op->id = cmd->id;
	op->code = cmd->code;
	op->op.done = on_done;
	op->op.key = (struct khd_key){ cmd->addr, cmd->generation, cmd->shift };
	op->op.meta = (struct khd_meta){ cmd->version, cmd->token };
	op->op.flags = KHD_STORE_SYNC;
	kh_list_init(&op->link);
	return op;
}

static void put(struct khd_pages *pages, struct page_op *op, const void *data)
{
	size_t len = (size_t)1 << op->op.key.shift;
	void *copy = kh_list_empty(&pages->gets) ? khd_arena_get(pages->arena, len) : NULL;

	if (!copy) {
		end_later(op, EAGAIN);
		return;
	}
	memcpy(copy, data, len);
	op->op.iov = (struct iovec){ copy, len };
	pages->puts_waiting++;
	kh_list_add(&pages->puts, &op->link);
}

/* Whether the engine took it. */
static bool get(struct khd_pages *pages, struct page_op *op)
{
	struct iovec *iov = &op->op.iov;

	if (!iov->iov_base) {
		iov->iov_len = (size_t)1 << op->op.key.shift;
		iov->iov_base = khd_arena_get(pages->arena, iov->iov_len);
	}
	if (!iov->iov_base)
		return false;
	kh_list_del(&op->link);
	pages->under_way++;
	khd_store_get(pages->store, &op->op);
	return true;
}

static void space(struct khd_pages *pages, struct page_op *op, const struct kh_store_cmd *cmd)
{
	const struct khd_range range = {
		.start = cmd->addr,
		.units = cmd->units,
		.shift = cmd->shift,
		.generation = cmd->generation,
		.tag = khd_pages_tag(cmd->region, cmd->region_generation),
	};

	pages->under_way++;
	if (cmd->code == KH_STORE_RESERVE)
		khd_store_reserve(pages->store, &op->op, &range);
	else
		khd_store_release(pages->store, &op->op, &range);
}

void khd_pages_command(struct khd_pages *pages, const struct kh_store_cmd *cmd)
{
	struct page_op *op;

	if (pages->stopping)
		return;
	op = op_new(pages, cmd);
	if (!op)
		return;
	if (op->heap) {
		end_later(op, EAGAIN);
		return;
	}
	if (!khd_pages_store(pages) || cmd->shift < KHD_STORE_SHIFT_MIN ||
	    cmd->shift > KHD_STORE_SHIFT_MAX) {
		end_later(op, EIO);
		return;
	}
	switch (cmd->code) {
	case KH_STORE_RESERVE:
	case KH_STORE_RELEASE:
		space(pages, op, cmd);
		return;
	case KH_STORE_PUT:
		put(pages, op, cmd->data);
		return;
	case KH_STORE_GET:
		if (!kh_list_empty(&pages->gets) || !get(pages, op))
			kh_list_add(&pages->gets, &op->link);
		return;
	case KH_STORE_LOOK:
		pages->under_way++;
		khd_store_lookup(pages->store, &op->op);
		return;
	}
	end_later(op, EIO);
}

/* ------------------------------------------------------------ from time to time */

/* Give the engine what it and the arena can take. */
static void pump(struct khd_pages *pages)
{
	struct page_op *op;

	while (!kh_list_empty(&pages->gets) && !pages->gets_held) {
		op = kh_list_first(&pages->gets, struct page_op, link);
		if (!get(pages, op))
			break;
	}
	while (!kh_list_empty(&pages->puts) && pages->puts_under_way < KHD_STORE_PUTS_MAX) {
		op = kh_list_first(&pages->puts, struct page_op, link);
		kh_list_del(&op->link);
		pages->puts_waiting--;
		pages->under_way++;
		pages->puts_under_way++;
		if (!kh_list_empty(&pages->puts) && pages->puts_under_way < KHD_STORE_PUTS_MAX)
			op->op.flags |= KHD_STORE_MORE;
		khd_store_put(pages->store, &op->op);
	}
}

static void end_waiting(struct khd_pages *pages)
{
	struct kh_list now;
	struct page_op *op;

	if (kh_list_empty(&pages->ended))
		return;
	/* Those that the core adds meanwhile have their turn in the next pass. */
	now = pages->ended;
	now.next->prev = now.prev->next = &now;
	kh_list_init(&pages->ended);
	while (!kh_list_empty(&now)) {
		op = kh_list_first(&now, struct page_op, link);
		kh_list_del(&op->link);
		deliver(op, op->error);
	}
}

/* Called by the engine, perhaps from the thread of its jobs; while it opens, from this one. */
static void on_event(void *arg, const char *name, const char *text)
{
	struct khd_pages *pages = arg;
	struct khd_pages_event *event;

	if (!pages->store) { /* a start may last: what it does must be seen meanwhile */
		khd_event(pages->khd, name, "%s", text);
		return;
	}
	pthread_mutex_lock(&pages->event_lock);
	if (pages->event_count < EVENTS_MAX) {
		event = &pages->events[pages->event_count++];
		snprintf(event->name, sizeof(event->name), "%s", name);
		snprintf(event->text, sizeof(event->text), "%s", text);
	} else {
		pages->events_lost++;
	}
	pthread_mutex_unlock(&pages->event_lock);
}

static void tell_events(struct khd_pages *pages)
{
	static struct khd_pages_event events[EVENTS_MAX];
	unsigned int i, count, lost;

	pthread_mutex_lock(&pages->event_lock);
	count = pages->event_count;
	lost = pages->events_lost;
	memcpy(events, pages->events, count * sizeof(events[0]));
	pages->event_count = pages->events_lost = 0;
	pthread_mutex_unlock(&pages->event_lock);
	for (i = 0; i < count; i++)
		khd_event(pages->khd, events[i].name, "%s", events[i].text);
	if (lost)
		khd_event(pages->khd, "store", "%u more events of the store were not kept", lost);
}

/* Out of service for good: what waits here ends like what was at the engine. */
static void notice_failure(struct khd_pages *pages)
{
	struct page_op *op, *tmp;
	int error;

	if (!pages->store)
		return;
	error = khd_store_error(pages->store);
	if (error == pages->error) /* the disk may fail after memory was wanting */
		return;
	pages->error = error;
	snprintf(pages->reason, sizeof(pages->reason), "%s: %s",
		 error == ENOMEM  ? "no memory" :
		 error == ENOSPC  ? "its index has no room" :
		 error == EBADMSG ? "its index is damaged" :
				    "the disk failed",
		 strerror(error));
	pages->unnoted = error == ENOMEM || error == ENOSPC ? 0 : error;
	khd_event(pages->khd, "store-out", "%s is out of service: %s; see khadm health",
		  pages->khd->config.store.dir, pages->reason);
	kh_list_each_safe (op, tmp, &pages->puts, link) {
		kh_list_del(&op->link);
		end_later(op, EIO);
	}
	kh_list_each_safe (op, tmp, &pages->gets, link) {
		kh_list_del(&op->link);
		end_later(op, EIO);
	}
	pages->puts_waiting = 0;
}

/*
 * The state directory may be on the same disk: as long as it cannot be told, and khd runs, again,
 * at longer and longer intervals.
 */
static void note_failure(struct khd_pages *pages, uint64_t now)
{
	if (!pages->unnoted || now < pages->note_next)
		return;
	if (khd_claim_failed(pages->khd->state, pages->recovery.checks, pages->unnoted))
		pages->unnoted = 0;
	pages->note_wait = !pages->note_wait		  ? NOTE_NS :
			   pages->note_wait < NOTE_MAX_NS ? 2 * pages->note_wait :
							    pages->note_wait;
	pages->note_next = now + pages->note_wait;
}

uint64_t khd_pages_tick(struct khd_pages *pages, uint64_t now)
{
	uint64_t next = ~0ull;

	tell_events(pages);
	notice_failure(pages);
	note_failure(pages, now);
	if (pages->unnoted)
		next = pages->note_next;
	end_waiting(pages);
	if (pages->copy.data && now >= pages->copy.until) {
		free(pages->copy.data);
		pages->copy.data = NULL;
	}
	if (pages->copy.data && pages->copy.until < next)
		next = pages->copy.until;
	if (khd_pages_store(pages)) {
		uint64_t due;

		if (pages->khd->config.store.scrub && now >= pages->scrub_next) {
			pages->scrub_rate = pages->khd->config.store.scrub;
			pages->scrub_next = now + SCRUB_EVERY_NS;
			khd_store_scrub(pages->store, pages->scrub_rate);
		}
		pump(pages);
		due = khd_store_tick(pages->store, now);
		if (due < next)
			next = due;
	}
	return kh_list_empty(&pages->ended) ? next : 0;
}

/* ------------------------------------------------------------ open and close */

/* What a start that a crash cut short has left: nobody was ever promised anything of it. */
static int forget(struct khd_disk *disk)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < KHD_FILES; i++)
		ret = disk->ops->remove(disk, i);
	return ret ? ret : disk->ops->flush(disk);
}

static bool make(struct khd_pages *pages, bool there)
{
	const struct khd_store_options *options = &pages->khd->config.store;
	const struct khd_store_config config = { .capacity = options->size,
						 .cache = options->cache };
	int ret = there ? forget(pages->disk) : 0;

	khd_log(KHD_INFO, "%s: making a store of %llu bytes", options->dir,
		(unsigned long long)options->size);
	khd_claim_mended(pages->khd->state); /* one that is no more */
	if (!ret)
		ret = khd_store_format(pages->disk, &config);
	if (ret) {
		khd_log(KHD_ERR, "%s: cannot make a store: %s", options->dir, strerror(-ret));
		return false;
	}
	return khd_claim_opened(pages->khd->state, 0) &&
	       khd_claim_made(pages->khd->state, options->dir);
}

/* Is this an error of the device, whichever its driver chose, and not of what is on it? */
static bool is_of_device(int error)
{
	switch (error) {
	case EBADMSG:
	case EINVAL:
	case EMEDIUMTYPE:
	case ENOENT:
	case ENOMEM:
	case ENOSPC:
	case EPROTONOSUPPORT:
	case EUCLEAN:
		return false;
	}
	return error != 0;
}

/* False: khd does not start. */
static bool recover(struct khd_pages *pages)
{
	const struct khd_store_options *options = &pages->khd->config.store;
	const struct khd_store_config config = { .cache = options->cache,
						 .checks = khd_claim_checks(pages->khd->state),
						 .plant = khd_plant(true) };
	int error = 0;

	pages->store =
		khd_store_open(pages->disk, &config, on_event, pages, &error, &pages->recovery);
	if (!pages->store && (error == ENOMEM || error == EINVAL)) {
		khd_log(KHD_ERR, "%s: %s", options->dir, strerror(error));
		return false;
	}
	/* an error of the device, or a note that cannot tell whether it was found whole since */
	if (!pages->store &&
	    (is_of_device(error) || (error == EUCLEAN && config.checks == UINT64_MAX)))
		pages->unnoted = error;
	note_failure(pages, khd_now());
	if (!pages->store) {
		pages->error = error;
		snprintf(pages->reason, sizeof(pages->reason), "it cannot be opened: %s",
			 error == EBADMSG	  ? "it is damaged" :
			 error == EPROTONOSUPPORT ? "its format is of another version" :
			 error == EMEDIUMTYPE ? "it was made for smaller sectors than this disk's" :
			 error == EUCLEAN     ? "its disk failed, and it was not verified since" :
			 error == ENOENT      ? "its slots are gone" :
						strerror(error));
		khd_log(KHD_ERR, "%s is out of service: %s", options->dir, pages->reason);
		return true;
	}
	if (!khd_claim_opened(pages->khd->state, pages->recovery.checks))
		return false;
	if (config.checks)
		khd_claim_mended(pages->khd->state);
	khd_log(KHD_INFO, "%s: recovered in %llu us, %llu log records taken, %llu left",
		options->dir, (unsigned long long)pages->recovery.nanoseconds / 1000,
		(unsigned long long)pages->recovery.replayed,
		(unsigned long long)pages->recovery.discarded);
	return true;
}

static bool open_store(struct khd_pages *pages)
{
	const struct khd_config *config = &pages->khd->config;
	int error;
	int64_t size;

	pages->disk = khd_disk_dir_open(pages->khd->loop, config->store.dir, &error);
	if (!pages->disk)
		return false;
	size = pages->disk->ops->size(pages->disk, KHD_FILE_SLOTS);
	switch (khd_claim_look(pages->khd->state, config->store.dir, size > 0)) {
	case KHD_CLAIM_NEW:
		return make(pages, size > 0) && recover(pages);
	case KHD_CLAIM_OURS:
		return recover(pages);
	default:
		return false;
	}
}

struct khd_pages *khd_pages_open(struct khd *khd)
{
	struct khd_pages *pages = calloc(1, sizeof(*pages));
	const size_t block = KHD_ARENA_BLOCK_MAX;

	if (!pages)
		return NULL;
	pages->khd = khd;
	pthread_mutex_init(&pages->event_lock, NULL);
	kh_list_init(&pages->free);
	kh_list_init(&pages->puts);
	kh_list_init(&pages->gets);
	kh_list_init(&pages->ended);
	pages->arena = khd_arena_new((khd->config.store.buffers + block - 1) / block * block);
	pages->ops = calloc(OPS_MAX, sizeof(*pages->ops));
	if (!pages->arena || !pages->ops) {
		khd_log(KHD_ERR, "no memory for the store's buffers");
		khd_pages_close(pages);
		return NULL;
	}
	for (unsigned int i = 0; i < OPS_MAX; i++)
		kh_list_add(&pages->free, &pages->ops[i].link);
	if (open_store(pages))
		return pages;
	khd_pages_close(pages);
	return NULL;
}

static void on_stopped(struct khd_store_op *op, int error)
{
	struct page_op *stop = (struct page_op *)op;

	if (error)
		khd_log(KHD_WARN, "the store was not closed in order: %s", strerror(error));
	stop->pages->stopped = true;
}

/* What never reached the engine; the core knows that none of it is done. */
static void drop(struct khd_pages *pages, struct kh_list *list)
{
	struct page_op *op;

	while (!kh_list_empty(list)) {
		op = kh_list_first(list, struct page_op, link);
		kh_list_del(&op->link);
		op_free(pages, op);
	}
}

void khd_pages_stop(struct khd_pages *pages)
{
	static struct page_op stop; /* the engine may keep it when this gives up */
	uint64_t end = khd_now() + STOP_NS, now;

	if (!pages || pages->stopping)
		return;
	if (!pages->store) { /* it could not be opened */
		note_failure(pages, UINT64_MAX);
		return;
	}
	pages->stopping = true;
	drop(pages, &pages->puts);
	drop(pages, &pages->gets);
	drop(pages, &pages->ended);
	stop.pages = pages;
	stop.op.done = on_stopped;
	khd_store_stop(pages->store, &stop.op);
	while (!pages->stopped && (now = khd_now()) < end)
		if (khd_loop_wait(pages->khd->loop, end - now) < 0)
			break;
	tell_events(pages);
	notice_failure(pages);
	note_failure(pages, UINT64_MAX); /* the last time that there is */
	if (!pages->stopped)
		khd_log(KHD_WARN, "the store did not end in time; the next start recovers it");
}

void khd_pages_close(struct khd_pages *pages)
{
	if (!pages)
		return;
	/* One that did not stop is left as it is: its disk may still write from this memory. */
	if (pages->store && !pages->stopped && pages->stopping)
		return;
	if (pages->store)
		khd_store_close(pages->store);
	khd_disk_dir_close(pages->disk);
	khd_arena_free(pages->arena);
	free(pages->copy.data);
	free(pages->ops);
	pthread_mutex_destroy(&pages->event_lock);
	free(pages);
}
