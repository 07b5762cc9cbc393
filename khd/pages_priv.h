/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pages_priv.h - what pages.c and pages_ask.c share */
#ifndef KHD_PAGES_PRIV_H
#define KHD_PAGES_PRIV_H

#include <pthread.h>

#include "core/list.h"
#include "khd/arena.h"
#include "khd/khd.h"
#include "khd/pages.h"
#include "khd/store/store.h"

#define EVENTS_MAX 64 /* that wait for the loop; more are counted only */

/* An event of the engine, which may have come from the thread of its jobs. */
struct khd_pages_event {
	char name[32];
	char text[KHD_TEXT_MAX];
};

/**
 * struct khd_parked_copy - contents of a parked unit that a client reads piece by piece
 * @parked: which one
 * @data: NULL: none
 * @until: then it is forgotten
 */
struct khd_parked_copy {
	struct khd_parked parked;
	uint8_t *data;
	uint64_t until;
};

/**
 * struct khd_pages - the store of a node
 * @khd: whose
 * @disk: the directory; NULL if it could not be opened
 * @store: the engine; NULL: out of service from the start
 * @reason: why it is out of service; empty: it is not
 * @error: of @store, when it was last looked at; without it, why it could not be opened
 * @unnoted: errno of its disk that the state directory does not have yet
 * @note_next: when that is tried again
 * @note_wait: and how long until then
 * @arena: memory of units
 * @free: struct page_op that nobody uses
 * @ops: all of them
 * @puts: wait for the engine's queue, with their copies
 * @gets: wait for memory
 * @ended: that end without the engine, in the next pass
 * @under_way: at the engine, asks of clients among them
 * @puts_under_way: of these, puts
 * @puts_waiting: in @puts
 * @gets_held: the engine had enough to do; until something ends
 * @stopping: the node is told nothing any more
 * @stopped: khd_store_stop() is done
 * @scrub_rate: asked for last
 * @scrub_next: when the configured scrub begins again
 * @recovery: of the start
 * @copy: see there
 * @event_lock: protects @events, @event_count, @events_lost
 */
struct khd_pages {
	struct khd *khd;
	struct khd_disk *disk;
	struct khd_store *store;
	char reason[KHD_TEXT_MAX];
	int error;
	int unnoted;
	uint64_t note_next, note_wait;
	struct khd_arena *arena;
	struct kh_list free, puts, gets, ended;
	struct page_op *ops;
	unsigned int under_way, puts_under_way, puts_waiting;
	bool gets_held, stopping, stopped;
	uint64_t scrub_rate, scrub_next;
	struct khd_store_recovery recovery;
	struct khd_parked_copy copy;
	pthread_mutex_t event_lock;
	struct khd_pages_event events[EVENTS_MAX];
	unsigned int event_count, events_lost;
};

/* Whose space a tag names. */
struct khd_tag khd_pages_tag(struct khazana_addr region, uint64_t generation);
void khd_pages_untag(const struct khd_tag *tag, struct khazana_addr *region, uint64_t *generation);

/* The engine, if it serves. */
struct khd_store *khd_pages_store(struct khd_pages *pages);

#endif /* KHD_PAGES_PRIV_H */
