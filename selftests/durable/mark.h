/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SELFTESTS_DURABLE_MARK_H
#define SELFTESTS_DURABLE_MARK_H

int mark_open(void);
int mark_log(int fd, const char *device, const char *text);

#endif
