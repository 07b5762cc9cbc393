# SPDX-License-Identifier: GPL-2.0-or-later

FUZZ_S ?= 30

kh_fuzz_flags := -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
KH_CC_selftests/fuzz/wire_fuzz := clang-14
KH_FLAGS_selftests/fuzz/wire_fuzz := $(kh_fuzz_flags)
$(eval $(call kh_test,selftests/fuzz/wire_fuzz,selftests/fuzz/wire_fuzz.c lib/core/wire.c,,))
