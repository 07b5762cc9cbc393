// SPDX-License-Identifier: GPL-2.0-or-later
/* Texts in the record of dm-log-writes, by the device mapper's ioctl. */
#include "selftests/durable/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* Return: a file of the device mapper, or -errno. */
int mark_open(void)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/**
 * mark_log - put a text into the record, behind all that completed
 * @fd: of mark_open()
 * @device: name of the log-writes device
 * @text: without blanks
 *
 * Return: 0 or -errno.
 */
int mark_log(int fd, const char *device, const char *text)
{
	struct {
		struct dm_ioctl head;
		struct dm_target_msg message;
		char text[256];
	} order = { .head = { .version = { DM_VERSION_MAJOR, 0, 0 },
			      .data_size = sizeof(order),
			      .data_start = offsetof(typeof(order), message) } };

	snprintf(order.head.name, sizeof(order.head.name), "%s", device);
	snprintf(order.message.message, sizeof(order.text), "mark %s", text);
	return ioctl(fd, DM_TARGET_MSG, &order) ? -errno : 0;
}
