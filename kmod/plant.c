// SPDX-License-Identifier: GPL-2.0-only
/*
 * plant.c - which bug is planted; in test builds only
 */
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "plant.h"

static const char * const plant_name[KZ_PLANT_MAX] = {
	[KZ_PLANT_NONE]		 = "off",
	[KZ_PLANT_SKIP_ZAP]	 = "skip-zap",
	[KZ_PLANT_SKIP_FLOOR]	 = "skip-floor",
	[KZ_PLANT_FORGET_FLOOR]	 = "forget-floor",
	[KZ_PLANT_LOSE_WAKE]	 = "lose-wake",
	[KZ_PLANT_LATE_LEASE]	 = "late-lease",
	[KZ_PLANT_DROP_OWNED]	 = "drop-owned",
	[KZ_PLANT_EARLY_RELEASE] = "early-release",
	[KZ_PLANT_NO_POISON]	 = "no-poison",
	[KZ_PLANT_NO_REQUEUE]	 = "no-requeue",
	[KZ_PLANT_LEAK_RECORD]	 = "leak-record",
};

static int planted;

static int plant_set(const char *text, const struct kernel_param *kp)
{
	int i = sysfs_match_string(plant_name, text);

	if (i < 0)
		return i;
	WRITE_ONCE(planted, i);
	return 0;
}

static int plant_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", plant_name[READ_ONCE(planted)]);
}

static const struct kernel_param_ops plant_ops = {
	.set = plant_set,
	.get = plant_get,
};

module_param_cb(plant, &plant_ops, NULL, 0600);
MODULE_PARM_DESC(plant, "the bug that a test shall find; off");

/**
 * kz_planted() - is this bug planted?
 * @plant: the bug
 */
bool kz_planted(enum kz_plant plant)
{
	return READ_ONCE(planted) == (int)plant;
}
