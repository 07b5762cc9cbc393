/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * netlink.h - the generic netlink family of the module
 */
#ifndef _KZ_NETLINK_H
#define _KZ_NETLINK_H

#include <linux/types.h>

int kz_netlink_init(void);
void kz_netlink_exit(void);
bool kz_netlink_ready(void);

#endif /* _KZ_NETLINK_H */
