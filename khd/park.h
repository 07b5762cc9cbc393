/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * park.h - what the module has parked goes to the node's page store
 *
 * The module keeps a dirty frame whose right was lost, as long as it is loaded and the region is
 * there.  With a page store it is put aside there, and dropped by the module when that is durable:
 *
 *   idle -> look(): PARKED -> copying -> khd_store_park() -> stored(): PARKED_DROP -> look()
 *
 * One at a time.  A frame that the store cannot take stays in the module.
 */
#ifndef KHD_PARK_H
#define KHD_PARK_H

#include "khd/khd.h"

struct khd_park;

/**
 * khd_park_open() - begin; the device and the page store are open
 *
 * Return: NULL without memory.
 */
struct khd_park *khd_park_open(struct khd *khd);

/* Look for parked frames, if it is time to; return: when to call again.  NULL is allowed. */
uint64_t khd_park_tick(struct khd_park *park, uint64_t now);

/* After khd_pages_stop().  NULL is allowed. */
void khd_park_close(struct khd_park *park);

#endif /* KHD_PARK_H */
