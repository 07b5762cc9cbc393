/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flock.h - who has a directory: one process */
#ifndef KHD_STORE_FLOCK_H
#define KHD_STORE_FLOCK_H

#include <stdbool.h>

/**
 * khd_flock() - lock a file or directory until it is closed
 * @fd: it
 * @patient: wait a moment for another one's end: io_uring lets go of the files of a killed
 *	process only some time after the process is gone
 *
 * Return: 0, -EBUSY (another process has it), or another errno of flock(2).
 */
int khd_flock(int fd, bool patient);

#endif /* KHD_STORE_FLOCK_H */
