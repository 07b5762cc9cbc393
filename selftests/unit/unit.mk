# SPDX-License-Identifier: GPL-2.0-or-later

$(eval $(call kh_test,selftests/unit/core,$(addprefix selftests/unit/,core.c addr_test.c \
	interval_test.c wire_test.c crew_test.c lease_test.c loss_test.c key_test.c home_test.c keep_test.c place_test.c flush_test.c rot_test.c step_test.c cluster.c module.c kept.c) kmod/page.c,khcore,cmocka libcrypto))

.PHONY: check-unit-core
check-unit: check-unit-core
check-unit-core: $(O)/selftests/unit/core
	scripts/tap core -- $<
