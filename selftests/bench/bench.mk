# SPDX-License-Identifier: GPL-2.0-or-later

kh_bench_srcs := $(wildcard selftests/bench/*.c)

$(eval $(call kh_prog,bin/khbench,$(kh_bench_srcs),khazana ctl khcore))

bench-run:
	selftests/bench/bench
