// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - khazana.ko comes and goes
 */
#include <linux/module.h>

#include "alloc.h"
#include "chardev.h"
#include "instance.h"
#include "netlink.h"
#include "reclaim.h"
#include "worker.h"

static int __init khazana_init(void)
{
	int err;

	err = kz_worker_init();
	if (err)
		return err;
	err = kz_instance_init();
	if (err)
		goto worker;
	err = kz_netlink_init();
	if (err)
		goto instance;
	err = kz_shrinker_init();
	if (err)
		goto netlink;
	err = kz_chardev_init();
	if (err)
		goto shrinker;
	return 0;
shrinker:
	kz_shrinker_exit();
netlink:
	kz_netlink_exit();
instance:
	kz_instance_exit();
worker:
	kz_worker_exit();
	return err;
}

static void __exit khazana_exit(void)
{
	kz_chardev_exit();
	kz_shrinker_exit();
	kz_netlink_exit();
	kz_instance_exit();
	kz_worker_exit();
	rcu_barrier();
	kz_alloc_exit();
}

module_init(khazana_init);
module_exit(khazana_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Khazana: coherent regions of a global address space");
MODULE_ALIAS("devname:khazana");
