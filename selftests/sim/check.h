/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check.h - what must hold after every event, and at the end
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "sim.h"

/* I1 to I4, as far as an instant allows. */
void check_event(struct sim *sim);

/* How long operations, and then daemons, may take to come to rest. */
uint64_t check_pending_limit(struct sim *sim);
uint64_t check_rest_limit(struct sim *sim);

/* I5: nothing pending, nothing busy, no frame kept but the backup and the owner's. */
bool check_at_rest(struct sim *sim);
const char *check_unrest(struct sim *sim);

/* What @host asked for ended with EIO, and what is stored rots: nobody had a copy all the time. */
void check_rot_error(struct sim *sim, unsigned int host, unsigned int region, unsigned int unit);

/* After the end: every operation was answered, nobody leaks. */
void check_end(struct sim *sim);

#endif /* SIM_CHECK_H */
