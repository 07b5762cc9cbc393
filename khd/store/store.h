/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - the page store: a disk cache of the global address space that loses nothing
 *
 * It keeps the newest version of units (pages of 2^shift bytes, 512 bytes to 2 MiB, but no less
 * than a sector of the device) of ranges for which space was reserved.  It knows no protocol: a
 * region is an opaque tag, a version is a number that must not go down.  Everything on disk
 * describes itself and is checked when it is read. Documentation/storage.rst has the format and the
 * arguments.
 *
 * Contract: one thread calls; every asynchronous call ends in exactly one call of its `done`, from
 * the disk's loop and never from within the call; nothing is acknowledged before it is durable
 * (KHD_STORE_SYNC) or written (without).  After the first error of the device every call answers
 * EIO, and nobody opens the store before it was found whole or rebuilt: khd_store_vouch().
 */
#ifndef KHD_STORE_STORE_H
#define KHD_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/khazana.h> /* struct khazana_addr */

#include "khd/store/disk.h"

#define KHD_STORE_SHIFT_MIN 9
#define KHD_STORE_SHIFT_MAX 21
#define KHD_STORE_PUTS_MAX 1024 /* under way at once; more are EAGAIN: the caller's queue waits */

struct khd_store;

/**
 * struct khd_tag - whose space it is: opaque to the store, compared and listed only
 */
struct khd_tag {
	uint8_t bytes[24];
};

/**
 * struct khd_range - a range of units for which space is reserved
 * @start: first byte, a multiple of the unit
 * @units: how many
 * @shift: log2 of the unit's bytes
 * @generation: of the allocation, never used twice for an address: what was stored under another
 *	one is not there
 * @tag: the region
 */
struct khd_range {
	struct khazana_addr start;
	uint64_t units;
	uint32_t shift;
	uint64_t generation;
	struct khd_tag tag;
};

/* Names one unit: it must lie in a reserved range of that shift and generation. */
struct khd_key {
	struct khazana_addr addr;
	uint64_t generation;
	uint32_t shift;
};

/* What is known of a stored unit. */
struct khd_meta {
	uint64_t version; /* of the contents; 0: never stored, reads as zero */
	uint64_t token; /* of the grant under which it was stored */
};

/**
 * struct khd_store_config - limits
 * @capacity: bytes of the slot file, header and log included; 0: what the file has
 * @segment: bytes of a segment when the store is made, 0: chosen from @capacity
 * @log: bytes of the redo log when the store is made, 0: chosen
 * @cache: bytes of SQLite's cache, 0: 8 MiB
 * @checks: khd_store_open(): it must have been found whole so often; see khd_store_vouch()
 * @plant: name of a planted bug, NULL: none
 * @uuid: of the store when it is made; all zero: random
 */
struct khd_store_config {
	uint64_t capacity;
	uint64_t segment;
	uint64_t log;
	uint64_t cache;
	uint64_t checks;
	const char *plant;
	uint8_t uuid[16];
};

/* Called for every event that an operator wants to know; @text is one line. */
typedef void khd_store_event(void *arg, const char *name, const char *text);

/**
 * khd_store_format() - make an empty store
 *
 * Return: 0, -EEXIST if there is one, -EINVAL for limits that make no sense, -ENOSPC, -EIO.
 */
int khd_store_format(struct khd_disk *disk, const struct khd_store_config *config);

/**
 * khd_store_open() - recover and serve
 * @report: out, may be NULL: what recovery did
 *
 * Replays the redo log; its time depends on the log's length, not on the store's size.  But when
 * the history is full (once in 448 crashes) every segment is read, as fast as the disk can; events
 * say so, and how far it is: @event is called before this returns.
 * Return: NULL and @error: ENOENT no store; EBADMSG damaged (text names file and offset;
 * khd_store_rebuild() may help); EPROTONOSUPPORT another format version; EMEDIUMTYPE made for
 * smaller sectors than the device's (an event names them): it is whole, but not for this device;
 * EUCLEAN its disk failed, and it was not found whole since; EIO; ENOMEM; EINVAL.
 */
struct khd_store_recovery {
	uint64_t replayed; /* log records */
	uint64_t discarded; /* at the tail: never acknowledged */
	uint64_t nanoseconds;
	uint64_t checks; /* how often it was found whole; UINT64_MAX: no superblock was read */
};
struct khd_store *khd_store_open(struct khd_disk *disk, const struct khd_store_config *config,
				 khd_store_event *event, void *arg, int *error,
				 struct khd_store_recovery *report);

/* Frees it, after a checkpoint if khd_store_stop() has not made one; nothing may be under way. */
void khd_store_close(struct khd_store *store);

/**
 * struct khd_store_op - an asynchronous operation
 * @done: @error is 0 or a positive errno
 *
 * The caller embeds it; the store has it until @done.
 */
struct khd_store_op {
	void (*done)(struct khd_store_op *op, int error);
	struct khd_key key;
	struct khd_meta meta; /* get: out */
	struct iovec iov; /* get, put: one whole unit, aligned to KHD_SECTOR */
	uint32_t flags;
	void *priv[12]; /* the store's own */
};

#define KHD_STORE_SYNC (1u << 0) /* done when durable; else when accepted by the device */
/*
 * More puts follow at once, and slots side by side go in one write.  The last of them comes without
 * it: nothing of them need begin before.
 */
#define KHD_STORE_MORE (1u << 1)

/**
 * khd_store_reserve() - space for every unit of @range and for its overwriting
 *
 * Durable when done.  Errors: ENOSPC, EEXIST (overlaps a reserved range of another generation),
 * EIO, EINVAL (a unit that is less than a sector, or more than a segment, too); ENOMEM, also for
 * room that a checkpoint would have made. The same range and generation again is no error.
 */
void khd_store_reserve(struct khd_store *store, struct khd_store_op *op,
		       const struct khd_range *range);

/**
 * khd_store_release() - the units of @range (any part of a reserved one) are no more
 *
 * Durable when done: nothing of them comes back, not even through a rebuilt index.  Units that
 * are not reserved with this generation are passed over.
 */
void khd_store_release(struct khd_store *store, struct khd_store_op *op,
		       const struct khd_range *range);

/**
 * khd_store_put() - a new version of one unit
 *
 * @op->key, @op->meta, @op->iov and @op->flags are in.  The memory must not change until done.
 * Errors: ENXIO not reserved, ESTALE a newer version is stored (the same version again is
 * stored again), EAGAIN too many under way, EINVAL (version 0, or memory that is not aligned),
 * EBADMSG the index is damaged there, ENOMEM, EIO.
 */
void khd_store_put(struct khd_store *store, struct khd_store_op *op);

/**
 * khd_store_get() - read one unit and check it
 *
 * @op->meta is filled in; a unit that was never stored reads as zero, version 0.  A put under way
 * may or may not be seen.  Errors: ENXIO not reserved, EBADMSG damaged: the event names the place
 * and the contents are of no use, EAGAIN too many under way, EINVAL, ENOMEM, EIO.
 */
void khd_store_get(struct khd_store *store, struct khd_store_op *op);

/* Only @op->meta, without reading the unit.  Errors as khd_store_get(). */
void khd_store_lookup(struct khd_store *store, struct khd_store_op *op);

/* Every put that is done is durable. */
void khd_store_flush(struct khd_store *store, struct khd_store_op *op);

/**
 * khd_store_stop() - the last call before khd_store_close()
 *
 * What was begun ends, a checkpoint is made, the store is marked as closed in order; when it is
 * done, the disk has nothing of the store's any more.  What is called after it is EIO.  A disk
 * that dies (a simulated crash) ends all that is under way with an error; then the store can be
 * stopped, or closed, at once.  Errors: EIO out of service, EALREADY.
 */
void khd_store_stop(struct khd_store *store, struct khd_store_op *op);

/**
 * khd_store_park() - keep stores aside whose right was lost before they were safe
 *
 * Like a put, but beside the unit's contents, by its token; it needs no reserved range, and is
 * never read by khd_store_get().  Errors: ENOSPC, ENOMEM, EIO, EINVAL as khd_store_reserve().
 */
void khd_store_park(struct khd_store *store, struct khd_store_op *op, const struct khd_tag *tag);

struct khd_parked {
	uint64_t id; /* names it */
	struct khd_key key;
	struct khd_meta meta;
	struct khd_tag tag;
};
/* The first of them with an id of at least @id; ENOENT at the end.  @op->iov, if it is set, gets
 * the contents. */
void khd_store_parked_get(struct khd_store *store, struct khd_store_op *op, uint64_t id,
			  struct khd_parked *out);
void khd_store_parked_discard(struct khd_store *store, struct khd_store_op *op, uint64_t id);

/* The first reserved range that ends after @addr, in the order of addresses; ENOENT at the end. */
void khd_store_ranges(struct khd_store *store, struct khd_store_op *op, struct khazana_addr addr,
		      struct khd_range *out);

/* Figures, all at once; bytes unless named otherwise. */
struct khd_store_stats {
	uint64_t capacity; /* of the segments: what @reserved, parked units and descriptors share */
	uint64_t reserved; /* promised to ranges */
	uint64_t used; /* by the newest versions, and by older ones until the next checkpoint */
	uint64_t parked; /* units */
	uint64_t puts, gets, flushes,
		groups; /* operations since start; groups: flushes of the device */
	uint64_t checkpoints;
	uint64_t damaged; /* units and blocks found damaged */
	uint64_t scrubbed; /* units checked by scrubs since start */
	uint64_t memory; /* bytes of RAM that the engine holds, SQLite's cache apart */
	int error; /* 0, or why the store is out of service */
};
void khd_store_stats(const struct khd_store *store, struct khd_store_stats *stats);

/* Of these, what costs nothing to ask: the figures go through all ranges and segments. */
int khd_store_error(const struct khd_store *store);
uint64_t khd_store_parked_count(const struct khd_store *store);

/**
 * struct khd_store_sizes - bytes of the slot file, header and log included
 * @now: its capacity, as khd_store_resize() was given it, or the store was made with it
 * @least: below it khd_store_resize() is refused now
 * @most: above it the store would not open again
 */
struct khd_store_sizes {
	uint64_t now, least, most;
};
void khd_store_sizes(const struct khd_store *store, struct khd_store_sizes *sizes);

/**
 * khd_store_resize() - another capacity, from now on
 * @capacity: from @least to @most of struct khd_store_sizes
 *
 * Durable when done.  What lies behind a lower one is moved before it, in time.  Errors: EBUSY more
 * is reserved, EINVAL not one segment, or more than @most, EAGAIN, EIO.
 */
void khd_store_resize(struct khd_store *store, struct khd_store_op *op, uint64_t capacity);

/**
 * khd_store_tick() - what is done from time to time: checkpoints, scrubbing
 * @now: CLOCK_BOOTTIME, ns
 *
 * Return: when to call again.
 */
uint64_t khd_store_tick(struct khd_store *store, uint64_t now);

/*
 * Verify in the background all that is stored and what a rebuild needs, at most @rate bytes a second
 * (0: stop).  An event at the end of the pass says how much that was, and what could not be read.
 */
void khd_store_scrub(struct khd_store *store, uint64_t rate);

/**
 * khd_store_check() - verify everything, offline
 * @found: called for each damage with file, offset and what
 *
 * Return: number of damages, or a negative errno as of khd_store_open().
 */
int64_t khd_store_check(struct khd_disk *disk,
			void (*found)(void *arg, const char *file, uint64_t offset,
				      const char *what),
			void *arg);

/**
 * khd_store_vouch() - what khd_store_check() has found whole may be served, although its disk failed
 *
 * When a store goes out of service because of its disk, it says so in a superblock if it still can;
 * its user notes it elsewhere, with the number of times that it was found whole until then
 * (struct khd_store_recovery), and asks for one more when it opens it (struct khd_store_config).
 * This takes the mark away and adds one to that number.  A rebuild does so, too.
 *
 * Offline.  Return: 0 or a negative errno.
 */
int khd_store_vouch(struct khd_disk *disk);

/* Make the index anew from the slots (and the log) alone, offline.  0 or a negative errno,
 * as of khd_store_open(). */
int khd_store_rebuild(struct khd_disk *disk, khd_store_event *event, void *arg);

#endif /* KHD_STORE_STORE_H */
