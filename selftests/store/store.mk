# SPDX-License-Identifier: GPL-2.0-or-later

SEED0 ?= 1
STORE_MODE ?= all

kh_disk_sim_srcs := $(addprefix selftests/store/,image.c disk_sim.c)

$(eval $(call kh_test,selftests/store/vfs_test,selftests/store/vfs_test.c $(kh_disk_sim_srcs) \
	khd/store/vfs.c khd/store/wal.c khd/store/crc32c.c,,cmocka sqlite3))

KH_LDFLAGS_selftests/store/disk_dir_test := -Wl,--wrap=timerfd_settime,--wrap=nanosleep \
	-Wl,--wrap=pread,--wrap=pwrite
$(eval $(call kh_test,selftests/store/disk_dir_test,selftests/store/disk_dir_test.c \
	khd/store/disk_dir.c khd/store/flock.c khd/worker.c khd/loop_poll.c khd/loop_uring.c khd/log.c,,cmocka liburing))

.PHONY: check-unit-vfs check-unit-disk-dir
check-unit: check-unit-vfs check-unit-disk-dir
check-unit-vfs: $(O)/selftests/store/vfs_test
	scripts/tap vfs -- $<
check-unit-disk-dir: $(O)/selftests/store/disk_dir_test
	scripts/tap disk-dir -- $< $(O)

ifneq ($(wildcard khd/store/store.c),)
$(eval $(call kh_test,selftests/store/check_store,$(addprefix selftests/store/,check_store.c crash.c \
	fault.c rot.c live.c life.c verify.c driver.c world.c) $(kh_disk_sim_srcs),khdstore,sqlite3))

.PHONY: check-unit-store-few check-store-all check-store-bench
check-unit: check-unit-store-few
check-unit-store-few: $(O)/selftests/store/check_store
	scripts/tap store-few -- selftests/store/check $< few $(SEED0)
check-store: check-store-all
check-store-all: $(O)/selftests/store/check_store
	TAP_TIMEOUT=3600 scripts/tap store -- selftests/store/check $< $(STORE_MODE) $(SEED0)
check-store: check-store-bench
check-store-bench: $(O)/selftests/store/store_bench $(O)/selftests/store/store_start
	scripts/tap store-bench -- selftests/store/bench-runs $^ $(O)

$(eval $(call kh_test,selftests/store/store_bench,selftests/store/store_bench.c khd/worker.c \
	khd/loop_poll.c khd/loop_uring.c khd/log.c,khdstore,sqlite3 liburing lmdb))
$(eval $(call kh_test,selftests/store/store_start,selftests/store/store_start.c khd/worker.c \
	khd/loop_poll.c khd/loop_uring.c khd/log.c,khdstore,sqlite3 liburing))
endif

KH_LDFLAGS_selftests/store/damage_test := -Wl,--wrap=khd_grow,--wrap=khd_push_item,--wrap=khd_buffer
KH_LDFLAGS_selftests/store/want_test := -Wl,--wrap=khd_grow,--wrap=khd_push_item,--wrap=khd_buffer \
	-Wl,--wrap=khd_index_find,--wrap=khd_index_begin,--wrap=khd_index_commit,--wrap=khd_index_tidy
KH_LDFLAGS_selftests/store/sweep_test := -Wl,--wrap=clock_gettime
KH_LDFLAGS_selftests/store/background_test := -Wl,--wrap=khd_space_load
kh_store_tests := store_test damage_test want_test rebuild_test scrub_test sweep_test sector_test \
	background_test space_test
$(foreach test,$(kh_store_tests),$(eval $(call kh_test,selftests/store/$(test),selftests/store/$(test).c \
	selftests/store/fixture.c $(kh_disk_sim_srcs),khdstore,cmocka sqlite3)))

.PHONY: check-unit-store
check-unit: check-unit-store
check-unit-store: $(addprefix $(O)/selftests/store/,$(kh_store_tests))
	scripts/tap store -- $(O)/selftests/store/store_test
	scripts/tap store-damage -- $(O)/selftests/store/damage_test
	scripts/tap store-want -- $(O)/selftests/store/want_test
	scripts/tap store-rebuild -- $(O)/selftests/store/rebuild_test
	scripts/tap store-scrub -- $(O)/selftests/store/scrub_test
	scripts/tap store-sweep -- $(O)/selftests/store/sweep_test
	scripts/tap store-sector -- $(O)/selftests/store/sector_test
	scripts/tap store-background -- $(O)/selftests/store/background_test
	scripts/tap store-space -- $(O)/selftests/store/space_test
