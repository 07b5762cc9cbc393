# SPDX-License-Identifier: GPL-2.0-or-later
#
# libctl: control messages, for khd, khadm and libkhazana.

kh_ctl_srcs := $(wildcard lib/ctl/*.c)
$(eval $(call kh_lib,ctl,$(kh_ctl_srcs) lib/client/strerror.c))

.PHONY: ynl check-unit-ynl
ynl:			## write what is generated from Documentation/netlink/specs
	scripts/ynl-gen

check-unit: check-unit-ynl
check-unit-ynl:
	@scripts/tap ynl -- scripts/ynl-gen --check

$(eval $(call kh_test,selftests/khadm/ctl_test,selftests/khadm/ctl_test.c,ctl khazana,cmocka))

check-unit: check-unit-ctl
.PHONY: check-unit-ctl
check-unit-ctl: $(O)/selftests/khadm/ctl_test
	CMOCKA_MESSAGE_OUTPUT=TAP scripts/tap ctl -- $<

# Read before selftests/fuzz/fuzz.mk, hence flags of its own.
KH_CC_selftests/fuzz/ctl_fuzz := clang-14
KH_FLAGS_selftests/fuzz/ctl_fuzz := -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
$(eval $(call kh_test,selftests/fuzz/ctl_fuzz,selftests/fuzz/ctl_fuzz.c $(kh_ctl_srcs) lib/client/strerror.c,,))

check-fuzz: check-fuzz-ctl
.PHONY: check-fuzz-ctl
check-fuzz-ctl: $(O)/selftests/fuzz/ctl_fuzz
	scripts/tap fuzz-ctl -- selftests/khadm/fuzz-ctl $(O) $(or $(FUZZ_S),30)

style: ynl-check
.PHONY: ynl-check
ynl-check:
	scripts/ynl-gen --check
