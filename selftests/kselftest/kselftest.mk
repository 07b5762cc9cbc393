# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests of the real module on real kernels.  The harness is that of Debian's
# linux-source-6.1, unpacked into the cache.

ks := selftests/kselftest
ks_harness := $(KHAZANA_CACHE)/kselftest
ks_tests := $(patsubst $(ks)/%_test.c,%,$(wildcard $(ks)/*_test.c))

$(ks_harness)/kselftest_harness.h: /usr/src/linux-source-6.1.tar.xz
	@mkdir -p $(@D)
	$(kh_q)tar -C $(@D) --strip-components=4 --wildcards -xf $< '*/tools/testing/selftests/kselftest*.h'
	@touch $(@D)/*.h

/usr/src/linux-source-6.1.tar.xz:
	@echo 'linux-source-6.1 is missing: apt-get install linux-source-6.1, or run scripts/deps' >&2; exit 1

$(eval $(call kh_lib,kzd,$(addprefix $(ks)/,kzd_dev.c kzd_serve.c kzd_ctl.c kzt.c)))
$(eval $(call kh_test,$(ks)/kzd,$(ks)/kzd.c,kzd,liburing))

define ks_test
KH_FLAGS_$(ks)/$(1)_test := -isystem $(ks_harness) -Wno-sign-compare -Wno-missing-prototypes
$$(eval $$(call kh_test,$(ks)/$(1)_test,$(ks)/$(1)_test.c,kzd,liburing))
$$(call kh_objs,$(ks)/$(1)_test,$(ks)/$(1)_test.c): | $(ks_harness)/kselftest_harness.h
endef
$(foreach t,$(ks_tests),$(eval $(call ks_test,$(t))))

.PHONY: check-guest-kselftest-6.1 check-guest-kselftest-6.12
ks_programs := $(ks_tests:%=$(O)/$(ks)/%_test) $(O)/$(ks)/kzd $(O)/khadm

check-guest-kselftest-6.1 check-guest-kselftest-6.12: check-guest-kselftest-%: $(ks_programs)
	TAP_TIMEOUT=900 scripts/tap kselftest-$* -- selftests/vm/run --kernel $* --nodes 1 --no-khd -- \
		$(CURDIR)/$(ks)/run-all $(CURDIR)/$(O)/$(ks)

check-guest: check-guest-kselftest-6.1 check-guest-kselftest-6.12

# Bugs planted in the module, each of which its test must catch.
.PHONY: check-guest-plants
check-guest-plants: $(ks_programs)
	TAP_TIMEOUT=500 scripts/tap plants -- selftests/vm/run --kernel 6.1 --nodes 1 --no-khd --plants -- \
		$(CURDIR)/$(ks)/plants $(CURDIR)/$(O)/$(ks)
check-guest: check-guest-plants

# KASAN, lockdep, kmemleak: slow, so that what takes minutes there is left to check-long.
.PHONY: check-guest-kselftest-debug check-long-kselftest-debug
ks_slow := pin upgrade lifecycle
ks_debug = selftests/vm/run --kernel debug --netns 1 --no-khd -- \
	env KZT_SLOW=10 $(CURDIR)/$(ks)/run-all $(CURDIR)/$(O)/$(ks)
check-guest-kselftest-debug check-long-kselftest-debug: $(ks_programs) $(KO)/kmod/debug/khazana.ko
check-guest-kselftest-debug:
	TAP_TIMEOUT=900 scripts/tap kselftest-debug -- $(ks_debug) $(filter-out $(ks_slow),$(ks_tests))
check-long-kselftest-debug:
	TAP_TIMEOUT=1800 scripts/tap kselftest-debug-slow -- $(ks_debug) $(ks_slow)
check-guest: check-guest-kselftest-debug
check-long-extra: check-long-kselftest-debug

# Programs that run on several nodes, with khd; run-nodes drives them.
$(eval $(call kh_lib,knode,$(ks)/knode.c))
$(eval $(call kh_test,$(ks)/litmus,$(ks)/litmus.c,knode khazana))
$(eval $(call kh_test,$(ks)/storm,$(ks)/storm.c,knode khazana))
$(eval $(call kh_test,$(ks)/hold,$(ks)/hold.c,knode khazana))

ks_nodes := $(addprefix $(O)/$(ks)/,litmus storm hold) $(O)/khd/khd-test
ks_run_nodes = $(CURDIR)/$(ks)/run-nodes $(CURDIR)/$(O)/$(ks)

.PHONY: check-guest-nodes check-guest-nodes-6.12 check-guest-nodes-debug check-guest-slow check-guest-planted
check-guest-nodes: $(ks_nodes)
	TAP_TIMEOUT=1300 scripts/tap nodes -- selftests/vm/run --nodes 3 -- $(ks_run_nodes) litmus lease storm late
check-guest-nodes-6.12: $(ks_nodes)
	TAP_TIMEOUT=1100 scripts/tap nodes-6.12 -- env SECONDS_EACH=20 selftests/vm/run --kernel 6.12 --nodes 3 -- \
		$(ks_run_nodes) litmus lease storm
# Three khds on one kernel that looks at every access: rounds and leases of its own.
check-guest-nodes-debug: $(ks_nodes) $(KO)/kmod/debug/khazana.ko
	TAP_TIMEOUT=600 scripts/tap nodes-debug -- env SECONDS_EACH=20 LEASE_MS=6000 \
		selftests/vm/run --kernel debug --netns 3 -- $(ks_run_nodes) litmus-some lease storm
check-guest-slow: $(ks_nodes)
	TAP_TIMEOUT=300 scripts/tap slow -- env SECONDS_EACH=45 selftests/vm/run --nodes 3 -- $(ks_run_nodes) slow
check-guest-planted: $(ks_nodes)
	scripts/tap nodes-planted -- selftests/vm/run --nodes 3 --no-khd -- $(ks_run_nodes) litmus-planted

check-guest: check-guest-nodes check-guest-nodes-6.12 check-guest-nodes-debug check-guest-slow check-guest-planted

# What takes minutes on each kernel, on the others: the long storm, and one beside every delay.
.PHONY: check-long-nodes-6.12 check-long-nodes-debug
check-long-nodes-6.12: $(ks_nodes)
	TAP_TIMEOUT=600 scripts/tap nodes-6.12-long -- selftests/vm/run --kernel 6.12 --nodes 3 -- $(ks_run_nodes) storm late
check-long-nodes-debug: $(ks_nodes) $(KO)/kmod/debug/khazana.ko
	TAP_TIMEOUT=1800 scripts/tap nodes-debug-long -- env SECONDS_EACH=60 ROUNDS=100 \
		selftests/vm/run --kernel debug --netns 3 -- $(ks_run_nodes) litmus-some storm late
check-long-extra: check-long-nodes-6.12 check-long-nodes-debug
