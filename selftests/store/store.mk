# SPDX-License-Identifier: GPL-2.0-or-later

kh_disk_sim_srcs := $(addprefix selftests/store/,image.c disk_sim.c)

$(eval $(call kh_test,selftests/store/vfs_test,selftests/store/vfs_test.c $(kh_disk_sim_srcs) \
	khd/store/vfs.c khd/store/crc32c.c,,cmocka sqlite3))

.PHONY: check-unit-vfs
check-unit: check-unit-vfs
check-unit-vfs: $(O)/selftests/store/vfs_test
	scripts/tap vfs -- $<
