/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device.h - the module, through /dev/khazana */
#ifndef KHD_DEVICE_H
#define KHD_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "khd/khd.h"

struct khd_device;

#define KHD_FRAME_SHIFT 12 /* of a page frame, as the module counts them */

/**
 * khd_device_open() - open the device, register as this instance's khd, map descriptors and view
 * @khd: config and loop are there; boot is set
 * @netlink_port: told to the module
 *
 * Return: NULL after an error, which was logged.
 */
struct khd_device *khd_device_open(struct khd *khd, uint32_t netlink_port);

/* Frames that the instance may have. */
uint64_t khd_device_frames(const struct khd_device *dev);

/**
 * khd_device_limit() - set that, and have the module drop what it can above it
 * @frames: pages
 * @used: out: how many are in use now
 *
 * Return: 0 or -EINVAL: none at all, or more than the machine has.
 */
int khd_device_limit(struct khd_device *dev, uint64_t frames, uint64_t *used);

/* Begin to take requests; each goes to kh_node_request(). */
void khd_device_start(struct khd_device *dev);

/* The end of a pass: slots whose requests were taken are filled again. */
void khd_device_flush(struct khd_device *dev);

/* kh_host_ops.command */
void khd_device_command(struct khd_device *dev, struct khazana_cmd *cmds, unsigned int n);

/* kh_host_ops.frame; NULL if the view does not reach that far. */
void *khd_device_frame(struct khd_device *dev, uint32_t frame, size_t len);

/* Keep mlockall() away from the view: its pages are the module's, and are counted by it. */
void khd_device_unlock_view(struct khd_device *dev);

/* Ends the registration. */
void khd_device_close(struct khd_device *dev);

#endif /* KHD_DEVICE_H */
