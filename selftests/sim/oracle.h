/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle.h - what the words really hold, and who may have seen it
 *
 * The stores under one WRITE grant are a *tenure*.  Its number is written into the last eight
 * bytes of the unit, so it travels with every copy, whoever makes it.  Tenures of a unit form a
 * chain, each one the child of the contents that it started from; the newest one is the head.
 * Whoever reads must read the head.  If an older one is read or built upon, the tenures behind it
 * are lost: allowed only if every node that had seen them failed (its lease ended or its machine
 * died), or two failures happened since; and every attachment of the writer's node that had
 * touched one must hear of it (ESTALE) before its next access.
 *
 * What was flushed is never lost, whatever fails.  A unit that goes to its store while it may be
 * written begins a new tenure there: what was flushed is the one before.
 *
 * A unit that is freed begins anew: its tenures are buried, nobody may ever see them again, from
 * whatever memory or store; nobody may use it before it is allocated again, and then it is zero.
 *
 * When it is known that a key was changed, nobody locks with the old one any more; what he had asked
 * for by it has zeroed nothing since his module knew; and locks that were held then are held on.
 *
 * Operations of lost tenures leave the history; the rest must be linearizable, word by word.
 */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "module.h"
#include "sim.h"
#include "wgl.h"

void oracle_create(struct sim *sim);
void oracle_destroy(struct sim *sim);

/* Rights of @host under the region's lease ended (all regions: SIM_REGIONS). */
void oracle_node_failed(struct host *host, unsigned int region);

/* Reclaim drops a READ copy: it guards the version no more (see R11 of protocol.rst). */
void oracle_dropped(struct munit *u);

/* Some machine is short of frames: for a while backups may be given up (R12). */
void oracle_pressure(struct sim *sim);

/* Operations of the history: begun, (accessed,) ended or forgotten. */
size_t oracle_op_begin(struct sim *sim, unsigned int region, unsigned int unit, unsigned int word,
		       enum wgl_kind kind, uint64_t arg);
void oracle_op_end(struct sim *sim, size_t op);
void oracle_op_refused(struct sim *sim, size_t op);

/* The access itself, on the frame that the module has mapped. */
void oracle_access(struct munit *u, struct att *att, size_t op);

/* COMMIT cleared the current frame; @overwrite: because an OVERWRITE lock asked for it. */
void oracle_zero(struct munit *u, bool overwrite);

/* An OVERWRITE lock was taken: the unit reads as zero. */
void oracle_overwrite(struct munit *u, struct att *att);

/* An explicit lock is complete, or released; returns its number. */
size_t oracle_locked(struct sim *sim, const struct klock *lock);
void oracle_unlocked(struct sim *sim, size_t number);

/* An attachment's proof was judged; a lock through it was refused; the next key is answered for. */
void oracle_attached(struct sim *sim, const struct att *att, int error);
void oracle_key_refused(struct sim *sim, const struct att *att);
void oracle_key_changed(struct sim *sim, unsigned int region);

/* A process asks for units to be durable: all that it could read now; and is told that they are. */
size_t oracle_flush_begin(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n);
void oracle_flush_end(struct sim *sim, size_t number);

/* The version that is read now, 0: zeros; is it that of the unit's frame? */
uint64_t oracle_head(const struct sim *sim, unsigned int region, unsigned int unit);
bool oracle_has_head(const struct munit *u);

/* Does a store have @version, or a later one; or need none have it any more? */
bool oracle_is_durable(struct sim *sim, unsigned int region, unsigned int unit, uint64_t version);

/* A client frees units (again and again until it is done), then allocates them again. */
void oracle_free_begin(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n);
void oracle_freed(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n);
void oracle_alloc_begin(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n);
void oracle_allocated(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n,
		      bool stored);

/* May an access of the units that began at @since hear that they are not allocated? */
bool oracle_may_be_free(struct sim *sim, unsigned int region, unsigned int lo, unsigned int n,
			uint64_t since);

/* I1, I2 and I3 of a unit, over all modules. */
void oracle_check(struct sim *sim, unsigned int region, unsigned int unit);

/* At the end: linearizability of each word. */
void oracle_history(struct sim *sim);

#endif /* SIM_ORACLE_H */
