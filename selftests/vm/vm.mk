# SPDX-License-Identifier: GPL-2.0-or-later
$(eval $(call kh_test,selftests/vm/agent,selftests/vm/agent.c selftests/vm/frame.c,,))
$(eval $(call kh_test,selftests/vm/on,selftests/vm/on.c selftests/vm/frame.c,,))
$(eval $(call kh_test,selftests/vm/tsc_khz,selftests/vm/tsc_khz.c,,))

$(eval $(call kh_test,selftests/vm/vdisk,selftests/vm/vdisk.c selftests/vm/vcache.c,,))
$(eval $(call kh_test,selftests/vm/vcache_test,selftests/vm/vcache_test.c selftests/vm/vcache.c,,cmocka))
$(eval $(call kh_test,selftests/vm/replay,selftests/vm/replay.c selftests/vm/wlog.c,,))

check-unit: check-unit-vcache
.PHONY: check-unit-vcache
check-unit-vcache: $(O)/selftests/vm/vcache_test
	scripts/tap vcache -- $(O)/selftests/vm/vcache_test

check-guest: check-guest-run
.PHONY: check-guest-run
check-guest-run:
	TAP_TIMEOUT=900 scripts/tap guest-run -- selftests/vm/test-run

check-guest: check-guest-shell
.PHONY: check-guest-shell
check-guest-shell:
	TAP_TIMEOUT=400 scripts/tap guest-shell -- selftests/vm/test-shell selftests/vm/run --nodes 3 --timeout 350 -- \
		bash --rcfile $(CURDIR)/selftests/vm/guest/shellrc -i

check-guest: check-guest-replay
.PHONY: check-guest-replay
check-guest-replay:
	TAP_TIMEOUT=400 scripts/tap guest-replay -- selftests/vm/test-replay

# The module's KUnit tests are built against the user mode kernel; kmod/Kbuild names them.
check-kunit: check-kunit-uml
.PHONY: check-kunit-uml
check-kunit-uml:
	scripts/kernel-build uml
	$(MAKE) kmod KVERS=uml
	scripts/tap kunit -- selftests/vm/kunit $(KO)/kmod/uml/khazana_kunit.ko

check-guest: check-guest-cluster-6.1 check-guest-cluster-6.12
check-guest-quick: check-guest-cluster-quick
.PHONY: check-guest-cluster-6.1 check-guest-cluster-6.12 check-guest-cluster-quick
check-guest-cluster-6.1 check-guest-cluster-6.12: check-guest-cluster-%:
	scripts/tap guest-cluster-$* -- selftests/vm/run --kernel $* --nodes 3 -- selftests/vm/test-cluster
check-guest-cluster-quick:
	TAP_TIMEOUT=100 scripts/tap guest-cluster-quick -- selftests/vm/run --netns 3 -- selftests/vm/test-cluster

check-long-extra: check-long-newest
.PHONY: check-long-newest
check-long-newest:
	TAP_TIMEOUT=1800 scripts/tap newest-kernel -- scripts/newest-kernel

# What runs in guests needs programs, tools and the module, also when it is asked for alone.
guest_checks := client cluster-6.1 cluster-6.12 cluster-quick demo durable failed frames full khadm khd-replay kselftest-6.1 \
	kselftest-6.12 kselftest-debug mixed netlink-6.1 netlink-6.12 nodes nodes-6.12 nodes-debug parked planted plants replay rot \
	run shell shrunk slow store-replay
long_checks := durable khd-replay kselftest-debug nodes-6.12 nodes-debug store-replay
$(guest_checks:%=check-guest-%) $(long_checks:%=check-long-%): user tests kmod
