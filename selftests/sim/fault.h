/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault.h - what goes wrong in a history, and when
 */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include "sim.h"

/* The kinds of this seed: a random subset of those that are allowed. */
uint32_t fault_choose(struct sim *sim);

void fault_start(struct sim *sim);

/* The store of @place was asked to take space for @region, or to give it back. */
void fault_amid_move(struct sim *sim, unsigned int place, struct khazana_addr region);

/* Nothing goes wrong any more, and what is broken is mended. */
void fault_stop(struct sim *sim);

/* "drop,crash": bits, or 0 with an unknown name. */
uint32_t fault_parse(const char *list);

#endif /* SIM_FAULT_H */
