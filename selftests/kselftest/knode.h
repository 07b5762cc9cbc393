/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * knode.h - programs that run on several nodes at once: the region that they share
 */
#ifndef KNODE_H
#define KNODE_H

#include <stddef.h>
#include <stdint.h>

#define KNODE_PAGE 4096UL

/**
 * knode_map - map a region
 * @addr: as text
 * @keyfile: 16 bytes
 *
 * Return: the mapping; ends the process with a message otherwise.
 */
void *knode_map(const char *addr, const char *keyfile);

/**
 * knode_meet - wait until all have come here for the @round-th time
 * @counter: zero in the beginning
 * @all: how many
 * @round: 1 first
 *
 * Also with a stale copy of @counter it comes to its end: after a while it stores, too.
 */
void knode_meet(volatile uint64_t *counter, unsigned int all, uint64_t round);

/**
 * knode_now_us - a clock
 *
 * Return: CLOCK_MONOTONIC in microseconds.
 */
uint64_t knode_now_us(void);

#endif /* KNODE_H */
