// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wire.c - the raw TCP round trip that misses are compared with
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define REQUEST_SIZE 64

static struct sockaddr_in wire_address(const char *address)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(BENCH_PORT) };

	if (inet_pton(AF_INET, address, &sin.sin_addr) != 1)
		bench_die(address, -EINVAL);
	return sin;
}

static bool transfer(int fd, char *buf, size_t length, bool out)
{
	while (length) {
		ssize_t n = out ? send(fd, buf, length, MSG_NOSIGNAL) : recv(fd, buf, length, 0);

		if (n <= 0)
			return false;
		buf += n;
		length -= (size_t)n;
	}
	return true;
}

static void no_delay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

int wire_serve(const char *address)
{
	struct sockaddr_in sin = wire_address(address);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *reply = calloc(1, BENCH_STREAM);
	char request[REQUEST_SIZE];

	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (!reply || bind(server, (struct sockaddr *)&sin, sizeof(sin)) || listen(server, 4))
		bench_die("serve", -errno);
	for (;;) {
		int fd = accept(server, NULL, NULL);
		uint32_t length;

		if (fd < 0)
			bench_die("accept", -errno);
		no_delay(fd);
		while (transfer(fd, request, sizeof(request), false)) {
			memcpy(&length, request, sizeof(length));
			if (length > BENCH_STREAM || !transfer(fd, reply, length, true))
				break;
		}
		close(fd);
	}
}

int wire_connect(const char *address)
{
	struct sockaddr_in sin = wire_address(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof(sin)))
		bench_die("connect", -errno);
	no_delay(fd);
	return fd;
}

void wire_round_trip(int fd, size_t length)
{
	static char reply[BENCH_STREAM];
	char request[REQUEST_SIZE] = { 0 };
	uint32_t want = (uint32_t)length;

	memcpy(request, &want, sizeof(want));
	if (!transfer(fd, request, sizeof(request), true) || !transfer(fd, reply, length, false))
		bench_die("round trip", -EIO);
}
