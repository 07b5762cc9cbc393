/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "on" and the agent of a guest say to each other over one stream: frames of a type,
 * a length and so many bytes. The client begins with REQUEST, the agent ends with EXIT.
 */
#ifndef SELFTESTS_VM_FRAME_H
#define SELFTESTS_VM_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define VM_AGENT_PORT 7001
/* Where "on" finds the agent when all nodes are namespaces of one guest. */
#define VM_AGENT_SOCKET "/run/khazana-vm/agent.sock"
#define VM_FRAME_MAX (1u << 20)

enum vm_frame_type {
	VM_REQUEST =
		'Q', /* to the agent: decimal flags, node, cwd, argc, argv, env; each ends in NUL */
	VM_STDIN = 'I', /* to the agent: bytes; none means end of file */
	VM_WINSIZE = 'W', /* to the agent: rows and columns, two uint16_t */
	VM_STDOUT = 'O', /* to the client: bytes */
	VM_STDERR = 'E', /* to the client: bytes */
	VM_EXIT = 'X', /* to the client: exit status, one uint32_t, 128 + N for signal N */
};

enum vm_request_flag {
	VM_BACKGROUND = 1, /* answer EXIT at once; stdout is the pid, output goes to a file */
	VM_TTY = 2, /* on a terminal of its own */
};

struct vm_frame {
	uint32_t type;
	uint32_t length;
};

int vm_frame_send(int fd, enum vm_frame_type type, const void *data, uint32_t length);
int vm_frame_receive(int fd, struct vm_frame *frame, char *data);

#endif
