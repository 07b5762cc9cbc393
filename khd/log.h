/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log.h - what khd says to its operator */
#ifndef KHD_LOG_H
#define KHD_LOG_H

#include <stdint.h>

enum khd_level {
	KHD_ERR = 3,
	KHD_WARN = 4,
	KHD_INFO = 6,
};

/**
 * khd_log() - one line on standard error
 *
 * With a journal behind standard error ($JOURNAL_STREAM) the line gets its "<N>" level.
 */
void khd_log(enum khd_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Like sd_notify(3): tell the service manager @state; nothing without $NOTIFY_SOCKET. */
void khd_notify(const char *state);

/* Nanoseconds of CLOCK_BOOTTIME. */
uint64_t khd_now(void);

#endif /* KHD_LOG_H */
