// SPDX-License-Identifier: GPL-2.0-only
/*
 * inject.c - fault injection points of the module's own
 *
 * inject_fail=POINT:N       the N-th visit of POINT from now on fails, once
 * inject_fail=all:N         the same, counted over all points
 * inject_delay=POINT:USEC   each visit of POINT sleeps
 * inject_delay=all:USEC     one visit in so many of any point sleeps, for up to USEC
 * Writing "off" ends it.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "inject.h"

static const char * const point_name[KZ_POINT_MAX] = {
	[KZ_POINT_NONE]		= "all",
	[KZ_POINT_FRAME]	= "frame",
	[KZ_POINT_UNIT]		= "unit",
	[KZ_POINT_REGION]	= "region",
	[KZ_POINT_CALL]		= "call",
	[KZ_POINT_REVOKE]	= "revoke",
	[KZ_POINT_LOCK]		= "lock",
	[KZ_POINT_PARKED]	= "parked",
	[KZ_POINT_FAULT]	= "fault",
	[KZ_POINT_COMMIT]	= "commit",
	[KZ_POINT_ZAP]		= "zap",
	[KZ_POINT_REPORT]	= "report",
	[KZ_POINT_WAKE]		= "wake",
	[KZ_POINT_ASK]		= "ask",
	[KZ_POINT_VIEW]		= "view",
	[KZ_POINT_RETIRE]	= "retire",
};

#define ALL_ONE_IN	8	/* visits; of inject_delay=all */

struct setting {
	int point;	/* enum kz_point; -1 is off */
	atomic_t value;
};

static struct setting fail_setting = { .point = -1 };
static struct setting delay_setting = { .point = -1 };

static int setting_set(const char *text, const struct kernel_param *kp)
{
	struct setting *setting = kp->arg;
	const char *colon = strchr(text, ':');
	int i, value, err;

	if (sysfs_streq(text, "off")) {
		WRITE_ONCE(setting->point, -1);
		return 0;
	}
	if (!colon)
		return -EINVAL;
	err = kstrtoint(colon + 1, 0, &value);
	if (err)
		return err;
	if (value < 1 || value > 1000000)
		return -ERANGE;
	for (i = 0; i < KZ_POINT_MAX; i++) {
		if (strlen(point_name[i]) == colon - text &&
		    !strncmp(point_name[i], text, colon - text)) {
			atomic_set(&setting->value, value);
			WRITE_ONCE(setting->point, i);
			return 0;
		}
	}
	return -EINVAL;
}

static int setting_get(char *buffer, const struct kernel_param *kp)
{
	const struct setting *setting = kp->arg;
	int point = READ_ONCE(setting->point);

	if (point < 0)
		return sysfs_emit(buffer, "off\n");
	return sysfs_emit(buffer, "%s:%d\n", point_name[point], atomic_read(&setting->value));
}

static const struct kernel_param_ops setting_ops = {
	.set = setting_set,
	.get = setting_get,
};

module_param_cb(inject_fail, &setting_ops, &fail_setting, 0600);
MODULE_PARM_DESC(inject_fail, "POINT:N, the N-th visit of POINT fails; off");
module_param_cb(inject_delay, &setting_ops, &delay_setting, 0600);
MODULE_PARM_DESC(inject_delay, "POINT:USEC, each visit of POINT sleeps; all:USEC; off");

/**
 * kz_inject_fail() - is this the visit that shall fail?
 * @point: where
 */
bool kz_inject_fail(enum kz_point point)
{
	int at = READ_ONCE(fail_setting.point);

	if (likely(at < 0) || (at != KZ_POINT_NONE && at != (int)point))
		return false;
	if (atomic_dec_return(&fail_setting.value))
		return false;
	WRITE_ONCE(fail_setting.point, -1);
	return true;
}

/**
 * kz_inject_delay() - sleep here, if a test asked for it
 * @point: where
 *
 * Context: may sleep.
 */
void kz_inject_delay(enum kz_point point)
{
	int at = READ_ONCE(delay_setting.point);

	if (likely(at < 0))
		return;
	if (at == (int)point)
		fsleep(atomic_read(&delay_setting.value));
	else if (at == KZ_POINT_NONE && !(get_random_u32() % ALL_ONE_IN))
		fsleep(1 + get_random_u32() % (u32)atomic_read(&delay_setting.value));
}
