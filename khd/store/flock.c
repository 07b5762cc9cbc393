// SPDX-License-Identifier: GPL-2.0-or-later
/* flock.c - who has a directory: one process */
#include <errno.h>
#include <sys/file.h>
#include <time.h>

#include "khd/store/flock.h"

#define TRIES 50
#define PAUSE_NS 100000000 /* between two of them: 5 s in all */

int khd_flock(int fd, bool patient)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int i;

	for (i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (!patient || i == TRIES)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}
