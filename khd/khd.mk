# SPDX-License-Identifier: GPL-2.0-or-later

# The page store and what it stands on: for khd, and for khadm without a khd.
khd_store_srcs := $(wildcard khd/store/*.c) khd/worker.c
$(eval $(call kh_lib,khstore,$(khd_store_srcs)))

khd_srcs := $(filter-out $(khd_store_srcs),$(wildcard khd/*.c))
khd_libs := khstore ctl khcore khazana
khd_pkgs := liburing inih libcrypto sqlite3

ifneq ($(wildcard lib/core/node.c),)
$(eval $(call kh_prog,khd/khd,$(khd_srcs),$(khd_libs),$(khd_pkgs)))

# The same program, but $KH_PLANT names a bug that it shall have.
KH_FLAGS_khd/khd-test := -DKH_TEST
$(eval $(call kh_test,khd/khd-test,$(khd_srcs),$(khd_libs),$(khd_pkgs)))

check-unit: check-unit-khd
.PHONY: check-unit-khd
check-unit-khd: $(O)/khd/khd $(O)/khadm $(O)/selftests/khd/park
	scripts/tap khd -- selftests/khd/khd_test $(O)/khd/khd $(O)/khadm $(O)/selftests/khd/park

# The store between core and engine, on a real directory; the core is the test.
khd_pages_srcs := $(addprefix khd/,pages.c arena.c claim.c state.c log.c loop_uring.c loop_poll.c)
KH_LDFLAGS_selftests/khd/pages_test := -Wl,--wrap=statx,--wrap=khd_index_find
$(eval $(call kh_test,selftests/khd/pages_test,selftests/khd/pages_test.c $(khd_pages_srcs),khstore,\
	cmocka liburing sqlite3))
$(eval $(call kh_test,selftests/khd/park,selftests/khd/park.c khd/loop_poll.c khd/log.c,khstore,sqlite3))

$(eval $(call kh_test,selftests/khd/park_test,selftests/khd/park_test.c khd/park.c khd/loop_poll.c khd/log.c,\
	khstore,cmocka sqlite3))

check-unit: check-unit-pages check-unit-park
.PHONY: check-unit-pages check-unit-park
check-unit-pages: $(O)/selftests/khd/pages_test
	scripts/tap pages -- $<
check-unit-park: $(O)/selftests/khd/park_test
	scripts/tap park -- $<
endif
