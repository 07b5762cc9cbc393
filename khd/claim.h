/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim.h - whose a page store is, and whether its disk failed
 *
 * A store and the state directory of its node belong together: either alone would make pages come
 * back that were given up, or read as zero what was stored.  So both know the store's id, DIR/owner
 * and STATE/store. A directory that is empty because nothing is mounted there, or another node's,
 * is refused.
 *
 * The engine marks a store whose disk failed on that disk, which may fail as well; so the state
 * directory knows it, too.
 */
#ifndef KHD_CLAIM_H
#define KHD_CLAIM_H

#include <stdbool.h>

#include "khd/state.h"

enum khd_claim {
	KHD_CLAIM_REFUSED, /* for a reason that was logged */
	KHD_CLAIM_NEW, /* there is none: make one, then call khd_claim_made() */
	KHD_CLAIM_OURS,
};

/**
 * khd_claim_look() - is the store in @dir this node's?
 * @dir: locked by the caller
 * @there: something is stored there
 */
enum khd_claim khd_claim_look(struct khd_state *state, const char *dir, bool there);

/* The new store in @dir is made, durably. False after an error, which was logged. */
bool khd_claim_made(struct khd_state *state, const char *dir);

/**
 * khd_claim_failed() - the store's disk failed: it must be found whole before it is served again
 * @checks: how often it was, until now; UINT64_MAX: not known
 * @error: a positive errno, for those who look
 *
 * Durable.  False after an error, which was logged: try again, perhaps the disk recovers.
 */
bool khd_claim_failed(struct khd_state *state, uint64_t checks, int error);

/**
 * khd_claim_opened() - the store is open, and was found whole @checks times
 *
 * Before it is served; durable.  Where a later start cannot read how often it was, nothing was
 * written since: this is what khd_claim_checks() goes by.  False after an error, which was logged.
 */
bool khd_claim_opened(struct khd_state *state, uint64_t checks);

/* It was found whole, and is open. */
void khd_claim_mended(struct khd_state *state);

/* For struct khd_store_config: 0 if it did not fail, UINT64_MAX if nobody knows. */
uint64_t khd_claim_checks(struct khd_state *state);

/* Whether this node had a store once. */
bool khd_claim_exists(struct khd_state *state);

#endif /* KHD_CLAIM_H */
