/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SELFTESTS_DURABLE_MARK_H
#define SELFTESTS_DURABLE_MARK_H

#include <stdint.h>

/**
 * struct mark - where acknowledgements are told
 * @device: log-writes device whose record gets them too, or NULL
 * @fd: of the device mapper
 */
struct mark {
	const char *device;
	int fd;
};

int mark_open(struct mark *mark);
int mark_acknowledged(const struct mark *mark, uint64_t first, uint64_t count, uint32_t version);

#endif
