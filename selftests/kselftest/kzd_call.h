/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kzd_call.h - remote calls from a test to its server */
#ifndef KZD_CALL_H
#define KZD_CALL_H

#include "kzd.h"

enum kzd_call {
	KZD_CALL_BATCH = 1, /* execute call_count of cmds */
	KZD_CALL_PROBE = 2, /* read a byte of call_fd, as the daemon */
	KZD_CALL_RELEASE = 4, /* answer what was held */
	KZD_CALL_PEEK = 5, /* the first word of the frame of cmds[0], into its token */
	KZD_CALL_TAKE = 3, /* move the HANDOFF frame of cmds[0] into the store */
};

#endif /* KZD_CALL_H */
