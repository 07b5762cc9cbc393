# SPDX-License-Identifier: GPL-2.0-or-later
#
# khadm and its fake khd for tests.

$(eval $(call kh_prog,khadm,$(wildcard khadm/*.c),khstore ctl khazana,jansson sqlite3))
$(eval $(call kh_test,selftests/khadm/fake-khd,selftests/khadm/fake_khd.c,ctl khazana,))

$(eval $(call kh_test,selftests/khadm/netlink_test,selftests/khadm/netlink_test.c,ctl khazana,))

check-unit: check-unit-khadm
.PHONY: check-unit-khadm
check-unit-khadm: $(O)/khadm $(O)/selftests/khadm/fake-khd
	KHADM=$(abspath $(O)/khadm) FAKE_KHD=$(abspath $(O)/selftests/khadm/fake-khd) \
		scripts/tap khadm -- bats --formatter tap selftests/khadm/usage.bats selftests/khadm/answers.bats

check-guest: check-guest-netlink-6.1 check-guest-netlink-6.12
.PHONY: check-guest-netlink-6.1 check-guest-netlink-6.12
check-guest-netlink-6.1 check-guest-netlink-6.12: check-guest-netlink-%: $(O)/selftests/khadm/netlink_test
	scripts/tap netlink-$* -- selftests/vm/run --kernel $* --nodes 1 --no-khd -- $(CURDIR)/$<

check-guest: check-guest-khadm
.PHONY: check-guest-khadm
check-guest-khadm: user
	scripts/tap khadm-cluster -- selftests/vm/run --nodes 3 -- $(CURDIR)/selftests/khadm/cluster
