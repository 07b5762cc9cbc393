# SPDX-License-Identifier: GPL-2.0-or-later

kh_disk_sim_srcs := $(addprefix selftests/store/,image.c disk_sim.c)

$(eval $(call kh_test,selftests/store/vfs_test,selftests/store/vfs_test.c $(kh_disk_sim_srcs) \
	khd/store/vfs.c khd/store/crc32c.c,,cmocka sqlite3))

$(eval $(call kh_test,selftests/store/disk_dir_test,selftests/store/disk_dir_test.c \
	khd/store/disk_dir.c khd/worker.c khd/loop_poll.c khd/loop_uring.c khd/log.c,,cmocka liburing))

.PHONY: check-unit-vfs check-unit-disk-dir
check-unit: check-unit-vfs check-unit-disk-dir
check-unit-vfs: $(O)/selftests/store/vfs_test
	scripts/tap vfs -- $<
check-unit-disk-dir: $(O)/selftests/store/disk_dir_test
	scripts/tap disk-dir -- $< $(O)
