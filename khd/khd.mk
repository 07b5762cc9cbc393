# SPDX-License-Identifier: GPL-2.0-or-later
khd_srcs := $(wildcard khd/*.c)
khd_libs := ctl khcore khazana
khd_pkgs := liburing inih libcrypto

ifneq ($(wildcard lib/core/node.c),)
$(eval $(call kh_prog,khd/khd,$(khd_srcs),$(khd_libs),$(khd_pkgs)))

# The same program, but $KH_PLANT names a bug that it shall have.
KH_FLAGS_khd/khd-test := -DKH_TEST
$(eval $(call kh_test,khd/khd-test,$(khd_srcs),$(khd_libs),$(khd_pkgs)))

check-unit: check-unit-khd
.PHONY: check-unit-khd
check-unit-khd: $(O)/khd/khd
	scripts/tap khd -- selftests/khd/khd_test $(O)/khd/khd
endif
