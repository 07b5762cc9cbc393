# SPDX-License-Identifier: GPL-2.0-or-later
#
# Is what was acknowledged there after kill -9, power cuts, and every state that a power cut can leave?

durable := selftests/durable
durable_srcs := $(addprefix $(durable)/,stamp.c mark.c)

$(eval $(call kh_test,$(durable)/durable,$(durable)/durable.c $(durable_srcs),khazana))

ifneq ($(wildcard khd/store/store.c),)
$(eval $(call kh_test,$(durable)/store_load,$(durable)/store_load.c $(durable_srcs) khd/worker.c khd/loop_poll.c \
	khd/loop_uring.c khd/log.c,khdstore khcore,liburing sqlite3 libcrypto))
$(eval $(call kh_test,$(durable)/store_judge,$(durable)/store_judge.c $(durable)/stamp.c selftests/store/image.c selftests/store/disk_sim.c \
	khd/worker.c khd/loop_poll.c khd/loop_uring.c khd/log.c,khdstore khcore,liburing sqlite3 libcrypto))
endif

ifneq ($(wildcard khd/store/store.c),)
durable_replay := $(addprefix $(O)/$(durable)/,store_load store_judge) \
	$(addprefix $(O)/selftests/vm/,agent on tsc_khz vdisk replay) $(O)/khadm
.PHONY: check-guest-store-replay check-long-store-replay
check-guest: check-guest-store-replay
check-guest-store-replay: $(durable_replay)
	TAP_TIMEOUT=1200 ACKS=700 scripts/tap store-replay -- $(durable)/test-replay store 100
check-long-extra: check-long-store-replay
check-long-store-replay: $(durable_replay)
	TAP_TIMEOUT=7200 ACKS=5000 scripts/tap store-replay-long -- $(durable)/test-replay store
endif

$(eval $(call kh_test,$(durable)/spill,$(durable)/spill.c $(durable)/stamp.c,khazana))
$(eval $(call kh_test,$(durable)/page_op,$(durable)/page_op.c $(durable)/stamp.c,khazana))

# khd with a store, once the protocol writes to it
ifneq ($(wildcard lib/core/flush.c),)
durable_run = selftests/vm/run --disk 96M --nodes 3 --driver host -- $(CURDIR)/$(durable)/on-host
.PHONY: check-guest-durable check-long-durable check-guest-frames check-guest-full check-guest-parked check-guest-failed \
	check-guest-khd-replay check-long-khd-replay check-guest-rot check-guest-shrunk check-guest-mixed
check-guest: check-guest-durable check-guest-frames check-guest-full check-guest-parked check-guest-failed check-guest-khd-replay \
	check-guest-rot check-guest-shrunk check-guest-mixed

# A running khd's writes: every boundary of a short record; in check-long of a long one, more torn tails, more planted bugs.
durable_khd_replay := $(durable_replay) $(O)/$(durable)/durable $(O)/khd/khd-test
check-guest-khd-replay: user $(durable_khd_replay)
	TAP_TIMEOUT=1200 ACKS=100 scripts/tap khd-replay -- $(durable)/test-replay khd 100
check-long-extra: check-long-khd-replay
check-long-khd-replay: user $(durable_khd_replay)
	TAP_TIMEOUT=7200 ACKS=2000 TORN=3 PLANTS="store/ack-early store/skip-flush early-safe" scripts/tap khd-replay-long -- \
		$(durable)/test-replay khd

# More than the modules' frames hold; stores whose right was lost.  Nothing is flushed by time.
durable_two = env FRAMES=512 selftests/vm/run --nodes 2 --config $(durable)/late-flush.conf
check-guest-frames: user $(O)/$(durable)/spill
	TAP_TIMEOUT=400 scripts/tap frames -- $(durable_two) --disk 96M --module-args frames_max=512 -- \
		$(CURDIR)/$(durable)/on-frames store
	TAP_TIMEOUT=120 scripts/tap frames-memory -- $(durable_two) --module-args frames_max=512 -- \
		$(CURDIR)/$(durable)/on-frames memory
check-guest-full: user $(O)/$(durable)/spill $(O)/$(durable)/durable
	TAP_TIMEOUT=200 scripts/tap full -- selftests/vm/run --nodes 1 --disk 64M -- $(CURDIR)/$(durable)/on-full
# A disk whose reads, whose writes, or whose flushes, fail under khd
check-guest-failed: user $(durable_replay) $(O)/$(durable)/durable $(O)/$(durable)/page_op
	TAP_TIMEOUT=250 scripts/tap failed-reads -- selftests/vm/run --nodes 1 --disk 96M --driver host -- $(CURDIR)/$(durable)/on-failed reads
	TAP_TIMEOUT=250 scripts/tap failed-writes -- selftests/vm/run --nodes 1 --disk 96M --driver host -- $(CURDIR)/$(durable)/on-failed writes
	TAP_TIMEOUT=250 scripts/tap failed-flushes -- selftests/vm/run --nodes 1 --disk 96M --driver host -- $(CURDIR)/$(durable)/on-failed flushes
check-guest-parked: user $(O)/selftests/kselftest/hold
	TAP_TIMEOUT=250 scripts/tap parked -- $(durable_two) --disk 96M -- $(CURDIR)/$(durable)/on-parked
# Rot below a running khd; a store that shrinks and grows below one
check-guest-rot: user $(O)/$(durable)/page_op
	TAP_TIMEOUT=200 scripts/tap rot -- selftests/vm/run --nodes 1 --disk 96M -- $(CURDIR)/$(durable)/on-rot
	TAP_TIMEOUT=400 scripts/tap rot-held -- selftests/vm/run --nodes 3 --disk 96M -- $(CURDIR)/$(durable)/on-rot-held
check-guest-shrunk: user $(O)/$(durable)/page_op
	TAP_TIMEOUT=300 scripts/tap shrunk -- selftests/vm/run --nodes 1 --disk 96M -- $(CURDIR)/$(durable)/on-shrunk
# Units of 2 MiB, nodes without a store, what was freed; over kill -9 and a power cut of all
check-guest-mixed: user $(O)/$(durable)/page_op
	TAP_TIMEOUT=400 scripts/tap mixed -- selftests/vm/run --nodes 3 --disk 96M --no-store 3 --driver host -- \
		$(CURDIR)/$(durable)/on-mixed
check-guest-durable: user $(O)/$(durable)/durable $(durable_replay)
	TAP_TIMEOUT=900 scripts/tap durable-kill -- $(durable_run) kill 30
	TAP_TIMEOUT=400 scripts/tap durable-power -- $(durable_run) power 3
	TAP_TIMEOUT=400 scripts/tap durable-witness -- $(durable_run) witness 3
check-long-extra: check-long-durable
check-long-durable: user $(O)/$(durable)/durable $(durable_replay)
	TAP_TIMEOUT=3600 scripts/tap durable-kill-long -- $(durable_run) kill 200
	TAP_TIMEOUT=3600 scripts/tap durable-power-long -- $(durable_run) power 40
	TAP_TIMEOUT=3600 scripts/tap durable-witness-long -- $(durable_run) witness 40
endif
