/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unit.h - the groups of unit tests of lib/core
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

int test_addr(void);
int test_interval(void);
int test_wire(void);
int test_crew(void);
int test_lease(void);
int test_loss(void);
int test_key(void);
int test_home(void);
int test_keep(void);
int test_place(void);
int test_flush(void);
int test_rot(void);
int test_step(void);

#endif /* UNIT_H */
