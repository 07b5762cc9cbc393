# SPDX-License-Identifier: GPL-2.0-or-later

$(eval $(call kh_test,selftests/sim/wgl_test,selftests/sim/wgl.c selftests/sim/wgl_test.c,,cmocka))

.PHONY: check-unit-wgl
check-unit: check-unit-wgl
check-unit-wgl: $(O)/selftests/sim/wgl_test
	scripts/tap wgl -- $<
