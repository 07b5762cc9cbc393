#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lifecycle.sh BUILD [CYCLES KO PARAMETERS...]   in a guest: unloading under use is refused and
#          clean afterwards, 20 load and unload cycles leak nothing; TAP on stdout.  With other
#          CYCLES, and this module
set -u
build=${1:?usage: lifecycle.sh BUILD [CYCLES KO PARAMETERS...]}
cycles=${2:-20}
export PATH=$PATH:/usr/sbin:/sbin
ko=${3:-$(find "$build/../../kmod/$(uname -r)" "$build"/../../kmod/debug -maxdepth 1 -name khazana.ko 2>/dev/null | head -1)}
shift $(($# < 3 ? $# : 3))
parameters=("$@")
region=6b68:10000000,0x400000
n=0
failed=0
# What the kernel says from here on is looked at.
mark="lifecycle.sh: $$ begins"
echo "$mark" >/dev/kmsg
# without debug information it loads in a fraction of the time
objcopy --strip-debug "$ko" /tmp/khazana.ko && ko=/tmp/khazana.ko

check() { # check NAME CMD...
	local name=$1
	shift
	n=$((n + 1))
	if "$@"; then echo "ok $n - $name"; else echo "not ok $n - $name"; failed=1; fi
}
refused() { ! rmmod khazana 2>/dev/null; }
load() { insmod "$ko" "${parameters[@]}"; }
loaded() { grep -q '^khazana ' /proc/modules; }
free_kib() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 0.3
	awk '/^MemAvailable|^MemFree/ { print $2; exit }' /proc/meminfo
}

daemon_start() {
	coproc KZD { exec "$build/kzd" "$@" $region; }
	read -r -t 20 line <&"${KZD[0]}" && [ "$line" = "kzd: ready" ]
}
daemon_stop() {
	kill "$KZD_PID"
	wait "$KZD_PID" 2>/dev/null
	"$build/kzd" -x >/dev/null 2>&1
}
# ATTACH, map, store to all of it
use() { "$build/kzd" -t $region; }
quiet_unload() {
	local i
	for i in $(seq 50); do
		rmmod khazana 2>/dev/null && return 0
		sleep 0.1
	done
	rmmod khazana
}

loaded || load || exit 1
exec 5<>/dev/khazana
check "rmmod with an open file is refused" refused
exec 5>&-
check "the daemon starts" daemon_start -u
check "rmmod with a daemon is refused" refused
check "a user stores" use
check "rmmod with a region is refused" refused
daemon_stop
check "rmmod afterwards" quiet_unload
check "insmod again" load

cycle() {
	local i
	for i in $(seq "$1"); do
		loaded || load || return 1
		daemon_start "$([ $((i % 2)) = 0 ] && echo -u || echo -c)" || return 1
		use || return 1
		daemon_stop
		quiet_unload || return 1
	done
}
check "some cycles to warm up" cycle $(((cycles + 3) / 4))
# Free memory wobbles by some MiB from other causes: a leak loses in every round of cycles.
for round in 1 2 3; do
	before=$(free_kib)
	check "$cycles cycles, round $round" cycle "$cycles"
	lost=$((before - $(free_kib)))
	echo "# summary: $lost KiB less memory after $cycles cycles of 4 MiB each"
	[ $lost -ge 4096 ] || break
done
check "no leak: less than 4 MiB lost in a round" test $lost -lt 4096
# The module counts its own: exact, but for what others allocate for it.
left=$(dmesg | awk -v mark="$mark" 'index($0, mark) { left = "" }
	/khazana: .* left behind/ { left = left $0 "\n" } END { printf "%s", left }')
[ -z "$left" ] || echo "# ${left//$'\n'/$'\n'# }"
check "nothing is left behind" test -z "$left"
if [ -w /sys/kernel/debug/kmemleak ] || mount -t debugfs none /sys/kernel/debug 2>/dev/null; then
	if [ -w /sys/kernel/debug/kmemleak ]; then
		echo scan >/sys/kernel/debug/kmemleak
		sleep 6
		echo scan >/sys/kernel/debug/kmemleak
		check "kmemleak finds nothing" test -z "$(grep -A12 khazana /sys/kernel/debug/kmemleak)"
	fi
fi
loaded || check "loaded for who comes next" load
echo "1..$n"
exit $failed
