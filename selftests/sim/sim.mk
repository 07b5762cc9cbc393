# SPDX-License-Identifier: GPL-2.0-or-later

SEEDS ?= 12000
SEED0 ?= 1

kh_sim_srcs := $(addprefix selftests/sim/,sim.c clock.c net.c host.c fetch.c module.c munit.c muser.c \
	proc.c client.c store.c oracle.c bound.c wgl.c fault.c check.c corpus.c) kmod/page.c

$(eval $(call kh_test,selftests/sim/wgl_test,selftests/sim/wgl.c selftests/sim/wgl_test.c,,cmocka))
ifneq ($(wildcard lib/core/node.c),)
$(eval $(call kh_test,selftests/sim/khsim,selftests/sim/main.c $(kh_sim_srcs),khcore,libcrypto))

.PHONY: check-sim-seeds check-unit-sim
check-sim: check-sim-seeds
check-sim-seeds: $(O)/selftests/sim/khsim
	TAP_TIMEOUT=900 scripts/tap sim -- selftests/sim/check $< $(SEEDS) $(SEED0)
check-unit: check-unit-sim
check-unit-sim: $(O)/selftests/sim/khsim
	scripts/tap sim-few -- selftests/sim/check $< 25 1
endif

.PHONY: check-unit-wgl
check-unit: check-unit-wgl
check-unit-wgl: $(O)/selftests/sim/wgl_test
	scripts/tap wgl -- $<
