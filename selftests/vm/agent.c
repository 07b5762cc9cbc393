// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first process of a guest once its root is there: runs what "on" asks for and reaps
 * orphans. One forked handler serves one connection, so that it may block; a client that
 * goes away takes the process group of its command with it.
 *
 * With namespaces as nodes, node N is entered through /run/khazana-vm/ns/N/{net,mnt,uts}.
 */
#include "selftests/vm/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENVIRONMENT_MAX 1024
#define ARGUMENTS_MAX 4096

struct request {
	unsigned int flags;
	unsigned int node;
	char *cwd;
	char *argv[ARGUMENTS_MAX + 1];
	char *environment[ENVIRONMENT_MAX + 1];
};

struct job {
	pid_t pid;
	int input; /* our ends; -1 when closed */
	int output;
	int error;
};

static char *next_string(char **at, char *end)
{
	char *text = *at, *nul = memchr(text, 0, end - text);

	if (!nul)
		return NULL;
	*at = nul + 1;
	return text;
}

static int parse_request(struct request *request, char *at, size_t length)
{
	char *end = at + length, *text;
	unsigned int argc, i;

	text = next_string(&at, end);
	if (!text)
		return -EINVAL;
	request->flags = strtoul(text, NULL, 10);
	text = next_string(&at, end);
	if (!text)
		return -EINVAL;
	request->node = strtoul(text, NULL, 10);
	request->cwd = next_string(&at, end);
	text = request->cwd ? next_string(&at, end) : NULL;
	if (!text)
		return -EINVAL;
	argc = strtoul(text, NULL, 10);
	if (!argc || argc > ARGUMENTS_MAX)
		return -E2BIG;
	for (i = 0; i < argc; i++) {
		request->argv[i] = next_string(&at, end);
		if (!request->argv[i])
			return -EINVAL;
	}
	for (i = 0; i < ENVIRONMENT_MAX && at < end; i++) {
		request->environment[i] = next_string(&at, end);
		if (!request->environment[i])
			return -EINVAL;
	}
	return 0;
}

static int enter_namespace(unsigned int node, const char *name)
{
	char path[64];
	int fd, err;

	snprintf(path, sizeof(path), "/run/khazana-vm/ns/%u/%s", node, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = setns(fd, 0) ? -errno : 0;
	close(fd);
	return err;
}

/* The client's environment, but what describes the machine is ours. */
static void set_environment(const struct request *request, int in_namespace)
{
	static const char *const ours[] = { "PATH=",  "SHARED=",	 "HOME=",     "KH_NODES=",
					    "USER=",  "LOGNAME=",	 "HOSTNAME=", "KH_NODE=",
					    "SHELL=", "KHAZANA_SOCKET=", "KH_NETNS=" };
	char node[16];

	for (int i = 0; request->environment[i]; i++) {
		char *text = request->environment[i];
		size_t j;

		for (j = 0; j < sizeof(ours) / sizeof(*ours); j++)
			if (!strncmp(text, ours[j], strlen(ours[j])))
				break;
		if (j == sizeof(ours) / sizeof(*ours) && strchr(text, '='))
			putenv(text);
	}
	if (in_namespace) {
		snprintf(node, sizeof(node), "%u", request->node);
		setenv("KH_NODE", node, 1);
	}
}

static _Noreturn void execute(const struct request *request)
{
	int in_namespace = request->node && !access(VM_AGENT_SOCKET, F_OK);
	sigset_t none;
	int err = 0;

	if (in_namespace) {
		err = enter_namespace(request->node, "uts");
		if (!err)
			err = enter_namespace(request->node, "net");
		if (!err)
			err = enter_namespace(request->node, "mnt");
	}
	if (err) {
		dprintf(STDERR_FILENO, "on: no node %u: %s\n", request->node, strerror(-err));
		_exit(255);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	set_environment(request, in_namespace);
	if (chdir(request->cwd) && chdir("/"))
		_exit(255);
	execvp(request->argv[0], request->argv);
	dprintf(STDERR_FILENO, "on: %s: %s\n", request->argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int start_on_terminal(const struct request *request, struct job *job)
{
	int master;

	job->pid = forkpty(&master, NULL, NULL, NULL);
	if (job->pid < 0)
		return -errno;
	if (job->pid == 0)
		execute(request);
	job->input = fcntl(master, F_DUPFD_CLOEXEC, 0);
	job->output = master;
	job->error = -1;
	return 0;
}

static int start_on_pipes(const struct request *request, struct job *job)
{
	int input[2], output[2], error[2];

	if (pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC) || pipe2(error, O_CLOEXEC))
		return -errno;
	job->pid = fork();
	if (job->pid < 0)
		return -errno;
	if (job->pid == 0) {
		setsid();
		dup2(input[0], STDIN_FILENO);
		dup2(output[1], STDOUT_FILENO);
		dup2(error[1], STDERR_FILENO);
		execute(request);
	}
	close(input[0]);
	close(output[1]);
	close(error[1]);
	job->input = input[1];
	job->output = output[0];
	job->error = error[0];
	return 0;
}

static void start_in_background(const struct request *request, int client)
{
	const char *shared = getenv("SHARED"), *name = strrchr(request->argv[0], '/');
	uint32_t status = 0;
	char text[4096];
	pid_t pid;

	name = name ? name + 1 : request->argv[0];
	pid = fork();
	if (pid == 0) {
		const char *node = getenv("KH_NODE");
		int fd;

		setsid();
		if (request->node && !access(VM_AGENT_SOCKET, F_OK))
			snprintf(text, sizeof(text), "%s/logs/node%u-%s-%d.log", shared,
				 request->node, name, getpid());
		else
			snprintf(text, sizeof(text), "%s/logs/node%s-%s-%d.log", shared,
				 node ? node : "0", name, getpid());
		fd = open("/dev/null", O_RDONLY);
		dup2(fd, STDIN_FILENO);
		fd = open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (fd < 0)
			fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execute(request);
	}
	if (pid < 0)
		status = 255;
	snprintf(text, sizeof(text), "%d\n", pid);
	vm_frame_send(client, VM_STDOUT, text, strlen(text));
	vm_frame_send(client, VM_EXIT, &status, sizeof(status));
}

static void close_input(struct job *job)
{
	if (job->input >= 0)
		close(job->input);
	job->input = -1;
}

/* One frame of the client; negative when it is gone. */
static int serve_client(int client, struct job *job, char *buffer)
{
	struct vm_frame frame;
	uint16_t size[2];
	int err = vm_frame_receive(client, &frame, buffer);

	if (err)
		return err;
	if (frame.type == VM_WINSIZE && frame.length == sizeof(size)) {
		struct winsize window;

		memcpy(size, buffer, sizeof(size));
		window = (struct winsize){ .ws_row = size[0], .ws_col = size[1] };
		ioctl(job->output, TIOCSWINSZ, &window);
	}
	if (frame.type != VM_STDIN || job->input < 0)
		return 0;
	if (!frame.length) {
		close_input(job);
		return 0;
	}
	for (uint32_t done = 0; done < frame.length;) {
		ssize_t n = write(job->input, buffer + done, frame.length - done);

		if (n < 0 && errno != EINTR) {
			close_input(job);
			break;
		}
		done += n > 0 ? n : 0;
	}
	return 0;
}

/* What the command wrote; closes the descriptor at its end. */
static int serve_output(int client, int *fd, enum vm_frame_type type, char *buffer)
{
	ssize_t n = read(*fd, buffer, 65536);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		close(*fd);
		*fd = -1;
		return 0;
	}
	return vm_frame_send(client, type, buffer, n);
}

/* After the command's end: what is still in the pipes, without waiting for their other users. */
static void drain(int client, struct job *job, char *buffer)
{
	while (job->output >= 0) {
		struct pollfd one = { .fd = job->output, .events = POLLIN };

		if (poll(&one, 1, 0) <= 0 || serve_output(client, &job->output, VM_STDOUT, buffer))
			break;
	}
	while (job->error >= 0) {
		struct pollfd one = { .fd = job->error, .events = POLLIN };

		if (poll(&one, 1, 0) <= 0 || serve_output(client, &job->error, VM_STDERR, buffer))
			break;
	}
}

static void carry(int client, struct job *job, int children, char *buffer)
{
	struct pollfd polled[4] = { { .fd = client, .events = POLLIN },
				    { .fd = children, .events = POLLIN },
				    { .events = POLLIN },
				    { .events = POLLIN } };
	struct signalfd_siginfo info;
	uint32_t exit_status;
	int status;

	for (;;) {
		polled[2].fd = job->output;
		polled[3].fd = job->error;
		if (poll(polled, 4, -1) < 0)
			continue;
		if (polled[2].revents && serve_output(client, &job->output, VM_STDOUT, buffer))
			break;
		if (polled[3].revents && serve_output(client, &job->error, VM_STDERR, buffer))
			break;
		if (polled[0].revents && serve_client(client, job, buffer))
			break;
		if (!polled[1].revents)
			continue;
		while (read(children, &info, sizeof(info)) > 0)
			;
		if (waitpid(job->pid, &status, WNOHANG) != job->pid)
			continue;
		drain(client, job, buffer);
		exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		vm_frame_send(client, VM_EXIT, &exit_status, sizeof(exit_status));
		return;
	}
	kill(-job->pid, SIGKILL);
}

static _Noreturn void handle(int client, int children)
{
	char *buffer = malloc(VM_FRAME_MAX);
	struct request *request = calloc(1, sizeof(*request));
	struct vm_frame frame;
	uint32_t failed = 255;
	struct job job;
	char *text;
	int err;

	signal(SIGPIPE, SIG_IGN);
	if (!buffer || !request || vm_frame_receive(client, &frame, buffer) ||
	    frame.type != VM_REQUEST)
		_exit(1);
	text = malloc(frame.length);
	if (!text)
		_exit(1);
	memcpy(text, buffer, frame.length);
	err = parse_request(request, text, frame.length);
	if (!err && request->flags & VM_BACKGROUND) {
		start_in_background(request, client);
		_exit(0);
	}
	if (!err)
		err = request->flags & VM_TTY ? start_on_terminal(request, &job) :
						start_on_pipes(request, &job);
	if (err)
		vm_frame_send(client, VM_EXIT, &failed, sizeof(failed));
	else
		carry(client, &job, children, buffer);
	_exit(0);
}

static int listen_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(VM_AGENT_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64))
		return -1;
	return fd;
}

static int listen_unix(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = VM_AGENT_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64))
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	struct pollfd polled[3];
	sigset_t children;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	polled[0] = (struct pollfd){ .fd = listen_tcp(), .events = POLLIN };
	polled[1] = (struct pollfd){ .fd = argc > 1 && !strcmp(argv[1], "--namespaces") ?
						   listen_unix() :
						   -1,
				     .events = POLLIN };
	polled[2] = (struct pollfd){ .fd = signalfd(-1, &children, SFD_CLOEXEC), .events = POLLIN };
	if (polled[0].fd < 0 || polled[2].fd < 0 || (argc > 1 && polled[1].fd < 0)) {
		perror("agent");
		return 1;
	}
	for (;;) {
		struct signalfd_siginfo info;

		if (poll(polled, 3, -1) < 0)
			continue;
		if (polled[2].revents && read(polled[2].fd, &info, sizeof(info)) > 0)
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		for (int i = 0; i < 2; i++) {
			int client = polled[i].revents ?
					     accept4(polled[i].fd, NULL, NULL, SOCK_CLOEXEC) :
					     -1;

			if (client < 0)
				continue;
			if (fork() == 0)
				handle(client, signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
			close(client);
		}
	}
}
