# SPDX-License-Identifier: GPL-2.0-or-later

FUZZ_S ?= 30

# All of a fuzzer is compiled with clang's coverage and sanitizers.
kh_fuzz_flags := -g -O1 -Wno-string-concatenation -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
kh_fuzz_crew_srcs := selftests/fuzz/crew_fuzz.c $(addprefix selftests/sim/,clock.c host.c fetch.c \
	module.c munit.c muser.c store.c oracle.c wgl.c) kmod/page.c $(wildcard lib/core/*.c)

KH_CC_selftests/fuzz/wire_fuzz := clang-14
KH_FLAGS_selftests/fuzz/wire_fuzz := $(kh_fuzz_flags)
$(eval $(call kh_test,selftests/fuzz/wire_fuzz,selftests/fuzz/wire_fuzz.c lib/core/wire.c,,))

ifneq ($(wildcard lib/core/node.c),)
KH_CC_selftests/fuzz/crew_fuzz := clang-14
KH_FLAGS_selftests/fuzz/crew_fuzz := $(kh_fuzz_flags)
$(eval $(call kh_test,selftests/fuzz/crew_fuzz,$(kh_fuzz_crew_srcs),,libcrypto))

# The page store: its slot file, and its index.
kh_fuzz_store_srcs := selftests/fuzz/store_fuzz.c $(addprefix selftests/store/,image.c disk_sim.c \
	world.c driver.c verify.c life.c) $(filter-out khd/store/disk_dir.c,$(wildcard khd/store/*.c))
KH_CC_selftests/fuzz/store_fuzz := clang-14
KH_FLAGS_selftests/fuzz/store_fuzz := $(kh_fuzz_flags) -DFUZZ_FILE=KHD_FILE_SLOTS
$(eval $(call kh_test,selftests/fuzz/store_fuzz,$(kh_fuzz_store_srcs),,sqlite3))
KH_CC_selftests/fuzz/index_fuzz := clang-14
KH_FLAGS_selftests/fuzz/index_fuzz := $(kh_fuzz_flags) -DFUZZ_FILE=KHD_FILE_INDEX
$(eval $(call kh_test,selftests/fuzz/index_fuzz,$(kh_fuzz_store_srcs),,sqlite3))

.PHONY: check-fuzz-all
check-fuzz: check-fuzz-all
check-fuzz-all: $(addprefix $(O)/selftests/fuzz/,wire_fuzz crew_fuzz store_fuzz index_fuzz) \
		$(O)/selftests/sim/khsim
	scripts/tap fuzz -- selftests/fuzz/run $(O) $(FUZZ_S)
endif
