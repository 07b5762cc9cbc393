# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# forget.sh: for tests on one node, which have a die() of their own

# forget: no frame is left, so that units come from the store
forget() {
	local i
	for ((i = 0; i < 100; i++)); do
		echo 3 >/proc/sys/vm/drop_caches
		[ "$(khadm -j status | sed -n 's/.*"frames_used": *\([0-9]*\).*/\1/p')" != 0 ] || return 0
		sleep 0.1
	done
	die "frames stay: $(khadm -j status)"
}
