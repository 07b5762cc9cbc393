// SPDX-License-Identifier: GPL-2.0-or-later
#include "selftests/vm/frame.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static int send_all(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length) {
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		length -= n;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t length)
{
	char *at = data;

	while (length) {
		ssize_t n = read(fd, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		at += n;
		length -= n;
	}
	return 0;
}

/**
 * vm_frame_send - send one frame
 * @fd: a connected stream socket
 * @type: what it is
 * @data: its bytes, may be NULL when @length is 0
 * @length: how many
 *
 * Return: 0 or -errno.
 */
int vm_frame_send(int fd, enum vm_frame_type type, const void *data, uint32_t length)
{
	struct vm_frame frame = { .type = type, .length = length };
	int err = send_all(fd, &frame, sizeof(frame));

	return err ? err : send_all(fd, data, length);
}

/**
 * vm_frame_receive - receive one whole frame
 * @fd: a connected stream socket
 * @frame: its header
 * @data: room for VM_FRAME_MAX bytes
 *
 * Return: 0, -EPIPE at the end of the stream, -EMSGSIZE or another -errno.
 */
int vm_frame_receive(int fd, struct vm_frame *frame, char *data)
{
	int err = receive_all(fd, frame, sizeof(*frame));

	if (err)
		return err;
	if (frame->length > VM_FRAME_MAX)
		return -EMSGSIZE;
	return receive_all(fd, data, frame->length);
}
