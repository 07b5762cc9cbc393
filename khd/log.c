// SPDX-License-Identifier: GPL-2.0-or-later
/* log.c - what khd says to its operator, and to the service manager */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "khd/log.h"

void khd_log(enum khd_level level, const char *fmt, ...)
{
	char line[1024];
	int at = 0, n;
	va_list ap;

	if (getenv("JOURNAL_STREAM"))
		at = snprintf(line, sizeof(line), "<%d>", level);
	at += snprintf(line + at, sizeof(line) - at, "khd: ");
	va_start(ap, fmt);
	n = vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	at += n;
	if (at > (int)sizeof(line) - 2)
		at = sizeof(line) - 2;
	line[at++] = '\n';
	if (write(STDERR_FILENO, line, at) < 0)
		return; /* nobody is left to tell */
}

void khd_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len;
	int fd;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
		return;
	len = strlen(path);
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&addr,
		   offsetof(struct sockaddr_un, sun_path) + len) < 0)
		khd_log(KHD_WARN, "cannot notify the service manager");
	close(fd);
}

uint64_t khd_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}
