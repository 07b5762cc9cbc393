/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * corpus.h - what nodes say to each other, as input for the fuzzers of selftests/fuzz
 */
#ifndef SIM_CORPUS_H
#define SIM_CORPUS_H

#include "sim.h"

/* Write the message that @host is about to hear to the directory sim->cfg.corpus. */
void corpus_message(struct sim *sim, unsigned int host, unsigned int from, const void *bytes,
		    size_t len);

#endif /* SIM_CORPUS_H */
