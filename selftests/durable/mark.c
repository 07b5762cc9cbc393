// SPDX-License-Identifier: GPL-2.0-or-later
/* Acknowledgements: lines of standard output, and marks in the record of dm-log-writes. */
#include "selftests/durable/mark.h"
#include "selftests/durable/stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Opens the device mapper if there is a device; 0 or -errno. */
int mark_open(struct mark *mark)
{
	if (!mark->device)
		return 0;
	mark->fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	return mark->fd < 0 ? -errno : 0;
}

/* Puts a text without blanks into the record, behind all that completed. */
static int log_text(const struct mark *mark, const char *text)
{
	struct {
		struct dm_ioctl head;
		struct dm_target_msg message;
		char text[256];
	} order = { .head = { .version = { DM_VERSION_MAJOR, 0, 0 },
			      .data_size = sizeof(order),
			      .data_start = offsetof(typeof(order), message) } };

	snprintf(order.head.name, sizeof(order.head.name), "%s", mark->device);
	snprintf(order.message.message, sizeof(order.text), "mark %s", text);
	return ioctl(mark->fd, DM_TARGET_MSG, &order) ? -errno : 0;
}

/**
 * mark_acknowledged - say that pages are safe
 * @mark: of mark_open()
 * @first: page
 * @count: of pages
 * @version: that is safe, or a later one
 *
 * First the journal, then the record: a power cut between them leaves a line without its mark,
 * never a mark without its line.
 *
 * Return: 0 or -errno.
 */
int mark_acknowledged(const struct mark *mark, uint64_t first, uint64_t count, uint32_t version)
{
	char line[JOURNAL_LINE];
	int length = journal_line(line, first, count, version);

	line[length] = '\n';
	if (write(STDOUT_FILENO, line, length + 1) != length + 1)
		return errno ? -errno : -EIO;
	line[length] = '\0';
	return mark->device ? log_text(mark, line) : 0;
}
