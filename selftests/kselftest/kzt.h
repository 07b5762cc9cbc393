/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kzt.h - the include of a kselftest program: the harness and the users
 */
#ifndef KZT_H
#define KZT_H

#include "kselftest_harness.h"
#include "kzt_user.h"

#endif /* KZT_H */
