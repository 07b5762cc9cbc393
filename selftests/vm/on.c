// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * on N CMD ARGS...: run CMD on node N of the cluster that selftests/vm/run booted, with
 * our standard input and output, and end with its exit status.
 */
#include "selftests/vm/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define STATUS_USAGE 2
#define STATUS_UNREACHABLE 255
#define POWER_CHECK_MS 500
#define CONNECT_LIMIT_MS 30000u
#define SEND_LIMIT_MS 60000u /* for what we send to a node that does not take it */
#define SILENCE_S 10 /* then it is asked whether it is still there */

extern char **environ;

static struct termios saved_termios;
static int terminal_is_raw;
static volatile sig_atomic_t window_changed;

static void usage(void)
{
	fputs("usage: on [--bg] [--tty] [-n] N|all CMD ARGS...\n"
	      "  N      node 1...; 0 is the guest itself when nodes are namespaces\n"
	      "  --bg   print the pid and return; output goes to $SHARED/logs\n"
	      "  --tty  give CMD a terminal\n"
	      "  -n     standard input is empty\n",
	      stderr);
	exit(STATUS_USAGE);
}

static void restore_terminal(void)
{
	if (terminal_is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved_termios);
}

static void raw_terminal(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved_termios))
		return;
	raw = saved_termios;
	cfmakeraw(&raw);
	terminal_is_raw = 1;
	atexit(restore_terminal);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void note_window(int signo)
{
	(void)signo;
	window_changed = 1;
}

static void send_window(int fd)
{
	struct winsize size;

	if (!ioctl(STDIN_FILENO, TIOCGWINSZ, &size))
		vm_frame_send(fd, VM_WINSIZE, (uint16_t[]){ size.ws_row, size.ws_col }, 4);
}

/*
 * A machine whose power is cut says nothing more, not even that a connection is over. The runner
 * keeps a file for every machine that is on; it is gone or another one after a cut.  0: no such
 * file.
 */
static ino_t power_of(unsigned int node)
{
	const char *shared = getenv("SHARED"), *one_guest = getenv("KH_NETNS");
	char path[4096];
	struct stat st;

	if (one_guest && !strcmp(one_guest, "1"))
		node = 1;
	snprintf(path, sizeof(path), "%s/.power/%u", shared ? shared : "", node ? node : 1);
	return stat(path, &st) ? 0 : st.st_ino;
}

static int connect_unix(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = VM_AGENT_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* A machine without power answers nothing, for longer than anybody wants to wait. */
static int connect_in_time(int fd, const struct sockaddr_in *address, unsigned int node)
{
	struct pollfd polled = { .fd = fd, .events = POLLOUT };
	ino_t power = power_of(node);
	int flags = fcntl(fd, F_GETFL), error;
	socklen_t length = sizeof(error);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno != EINPROGRESS)
		return -1;
	for (unsigned int waited = 0; poll(&polled, 1, POWER_CHECK_MS) <= 0;
	     waited += POWER_CHECK_MS) {
		if (!power || power_of(node) != power || waited >= CONNECT_LIMIT_MS) {
			errno = power ? ETIMEDOUT : EHOSTDOWN;
			return -1;
		}
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length))
		return -1;
	fcntl(fd, F_SETFL, flags);
	errno = error;
	return error ? -1 : 0;
}

static int connect_node(unsigned int node)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(VM_AGENT_PORT) };
	const char *one_guest = getenv("KH_NETNS");
	int fd = connect_unix(), one = 1, silence = SILENCE_S;
	unsigned int limit = SEND_LIMIT_MS;

	if (one_guest && !strcmp(one_guest, "1"))
		node = 1;
	if (fd >= 0)
		return fd;
	address.sin_addr.s_addr = htonl(0x0a4e0000 | (node ? node : 1)); /* 10.78.0.N */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect_in_time(fd, &address, node)) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
	/* The power may be cut when half a frame has come. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &silence, sizeof(silence));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &silence, sizeof(silence));
	return fd;
}

static void append(char *buffer, size_t *length, const char *text)
{
	size_t n = strlen(text) + 1;

	if (*length + n > VM_FRAME_MAX) {
		fputs("on: arguments and environment are too long\n", stderr);
		exit(STATUS_USAGE);
	}
	memcpy(buffer + *length, text, n);
	*length += n;
}

static int send_request(int fd, unsigned int flags, unsigned int node, int argc, char **argv,
			char *buffer)
{
	char number[16], cwd[4096];
	size_t length = 0;
	int i;

	snprintf(number, sizeof(number), "%u", flags);
	append(buffer, &length, number);
	snprintf(number, sizeof(number), "%u", node);
	append(buffer, &length, number);
	append(buffer, &length, getcwd(cwd, sizeof(cwd)) ? cwd : "/");
	snprintf(number, sizeof(number), "%d", argc);
	append(buffer, &length, number);
	for (i = 0; i < argc; i++)
		append(buffer, &length, argv[i]);
	for (i = 0; environ[i]; i++)
		append(buffer, &length, environ[i]);
	return vm_frame_send(fd, VM_REQUEST, buffer, length);
}

static void put(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		data += n;
		length -= n;
	}
}

/* Carry frames and standard input until EXIT; the exit status. */
static int converse(int fd, unsigned int node, int input, char *buffer)
{
	ino_t power = power_of(node);
	struct pollfd polled[2] = { { .fd = fd, .events = POLLIN },
				    { .fd = input, .events = POLLIN } };
	struct vm_frame frame;
	uint32_t status;

	for (;;) {
		if (window_changed) {
			window_changed = 0;
			send_window(fd);
		}
		switch (poll(polled, 2, POWER_CHECK_MS)) {
		case 0:
			if (power_of(node) == power)
				continue;
			fputs("on: the node lost its power\n", stderr);
			return STATUS_UNREACHABLE;
		case -1:
			continue;
		}
		if (polled[1].revents) {
			ssize_t n = read(input, buffer, 65536);

			if (n <= 0)
				polled[1].fd = -1;
			if (n >= 0 || errno != EINTR)
				vm_frame_send(fd, VM_STDIN, buffer, n > 0 ? n : 0);
		}
		if (!polled[0].revents)
			continue;
		if (vm_frame_receive(fd, &frame, buffer)) {
			fputs("on: the node went away\n", stderr);
			return STATUS_UNREACHABLE;
		}
		switch (frame.type) {
		case VM_STDOUT:
			put(STDOUT_FILENO, buffer, frame.length);
			break;
		case VM_STDERR:
			put(STDERR_FILENO, buffer, frame.length);
			break;
		case VM_EXIT:
			memcpy(&status, buffer, sizeof(status));
			return status;
		}
	}
}

static int run_on(unsigned int node, unsigned int flags, int input, int argc, char **argv)
{
	char *buffer = malloc(VM_FRAME_MAX);
	int fd = connect_node(node), status = STATUS_UNREACHABLE;

	if (fd < 0) {
		fprintf(stderr, "on: node %u: %s\n", node, strerror(errno));
	} else if (buffer && !send_request(fd, flags, node, argc, argv, buffer)) {
		if (flags & VM_TTY)
			send_window(fd);
		if (input < 0)
			vm_frame_send(fd, VM_STDIN, NULL, 0);
		status = converse(fd, node, input, buffer);
		close(fd);
	}
	free(buffer);
	return status;
}

/* On every node at the same time; the first status that is not 0. */
static int run_on_all(unsigned int nodes, unsigned int flags, int argc, char **argv)
{
	pid_t pids[nodes];
	int status, result = 0;

	for (unsigned int i = 0; i < nodes; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(run_on(i + 1, flags, -1, argc, argv));
	}
	for (unsigned int i = 0; i < nodes; i++) {
		if (pids[i] < 0 || waitpid(pids[i], &status, 0) < 0)
			status = STATUS_UNREACHABLE << 8;
		if (!result)
			result = WEXITSTATUS(status);
	}
	return result;
}

int main(int argc, char **argv)
{
	unsigned int flags = 0, node, nodes;
	int input = STDIN_FILENO, i;
	char *end;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--bg"))
			flags |= VM_BACKGROUND;
		else if (!strcmp(argv[i], "--tty"))
			flags |= VM_TTY;
		else if (!strcmp(argv[i], "-n"))
			input = -1;
		else
			usage();
	}
	if (argc - i < 2)
		usage();
	if (flags & VM_BACKGROUND)
		input = -1;
	if (!strcmp(argv[i], "all")) {
		nodes = getenv("KH_NODES") ? strtoul(getenv("KH_NODES"), NULL, 10) : 0;
		if (!nodes || nodes > 255)
			usage();
		return run_on_all(nodes, flags & ~VM_TTY, argc - i - 1, argv + i + 1);
	}
	node = strtoul(argv[i], &end, 10);
	if (*end || end == argv[i] || node > 255)
		usage();
	if (flags & VM_TTY && isatty(STDIN_FILENO)) {
		struct sigaction action = { .sa_handler = note_window };

		sigaction(SIGWINCH, &action, NULL);
		raw_terminal();
	}
	return run_on(node, flags, input, argc - i - 1, argv + i + 1);
}
