#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Command lines: what is understood, what is refused, what is suggested.

load common

# refused WORDS-OF-THE-MESSAGE ARGS...: usage error, nothing on stdout.
refused() {
	local message=$1
	shift
	run --separate-stderr -2 "$KHADM" "$@"
	[ -z "$output" ]
	[[ $stderr == *"$message"* ]] || { echo "stderr: $stderr"; return 1; }
}

@test "no command shows what there is, on stderr" {
	refused "usage: khadm COMMAND"
	refused "usage: khadm region" region
	refused "usage: khadm COMMAND" -j
}

@test "--help works for all and for each command" {
	run -0 "$KHADM" --help
	[[ $output == *"event watch"* ]]
	for words in status "node list" "region create" "region list" "region show" "region destroy" \
		"page show" "parked list" "parked show" "parked export" "parked discard" stats \
		"event watch" health "store status" "store check" "store rebuild" "store scrub" \
		"memory resize" "store resize" "store parked list" "store parked show" "store parked export" "store parked discard"; do
		# shellcheck disable=SC2086
		run -0 "$KHADM" $words --help
		[[ $output == *"usage: khadm $words"* ]]
		[[ $output == *"--json"* ]]
		[[ $output == *"Exit status"* ]]
	done
	run -0 "$KHADM" region --help
	[[ $output == *"region create"* && $output != *"node list"* ]]
	run -0 "$KHADM" store parked --help
	[[ $output == *"store parked export ID"* && $output != *"store status"* ]]
}

@test "an unknown word gets the nearest match" {
	refused "did you mean 'region'?" regoin list
	refused "did you mean 'stats'?" stat
	refused "did you mean 'region destroy'?" region destory 1:0
	refused "did you mean 'event watch'?" event wath
	refused "did you mean 'health'?" heath
	refused "did you mean 'store parked'?" store prked list
	refused "did you mean 'store parked discard'?" store parked discrad 3
	refused "did you mean 'store rebuild'?" store rebuid x
}

@test "parked units are named by their id" {
	refused "parked show: the id is missing" parked show
	refused "parked discard: the id is missing" parked discard
	refused "'x' is not an id" parked discard x
	refused "parked export: --output is needed" parked export 1
	refused "unexpected word '2'" parked show 1 2
	run -3 "$KHADM" parked discard 4294967297
	refused "did you mean 'parked list'?" parked lst
}

@test "a word like nothing gets no suggestion" {
	run --separate-stderr -2 "$KHADM" quux
	[[ $stderr == *"unknown command 'quux'"* && $stderr != *"did you mean"* ]]
}

@test "an unknown option gets the nearest match" {
	refused "did you mean '--key-file'?" region create --size 1M --keyfile x
	refused "unknown option '--size'" region list --size 1M
	refused "unknown option" region list -q
}

@test "options may stand before the words" {
	run -0 faked -j region show 1:0
	[[ $output == *'"schema": "khazana.region/1"'* ]]
}

@test "missing and excess words are usage errors" {
	refused "the address is missing" region show
	refused "unexpected word '2:0'" region show 1:0 2:0
	refused "unexpected word 'x'" status x
	refused "--size is needed" region create
	refused "needs an argument" region create --size
	refused "usage: khadm store" store
	refused "usage: khadm store parked" store parked
	refused "the directory is missing" store check
	refused "the size is missing" store resize
	refused "the size is missing" memory resize
	refused "the id is missing" store parked show
	refused "--output is needed" store parked export 3
	refused "unexpected word 'y'" store check x y
}

@test "addresses are checked" {
	refused "is not an address" region show xyz
	refused "is not an address" region show 1
	refused "is not an address" page show 1:
	refused "is not an address" page show 1:2:3
	refused "is not an address" page show 11111111111111111:0
	refused "is not an address" page show ""
}

@test "sizes are checked" {
	for size in 0 -1 x 1X 1KK 99999999999999999999 17000000T 4,5M ""; do
		refused "is not a valid value" region create --size "$size"
	done
	refused "is not a valid value" region create --size 1M --unit 3K
	refused "is not a valid value" region create --size 1M --lease-ms 4294967296
	refused "is not a valid value" region create --size 1M --protocol a-name-that-is-too-long
	refused "is not a valid value" event watch --count 0
	refused "is not a valid value" status --timeout 0
	refused "is not a valid value" store scrub --rate fast
	refused "is not a size" store resize 1X
	refused "is not a size" store resize 0
	refused "is not a size" memory resize 0
	refused "is not an id" store parked show x3
	refused "is not a valid value" region create --size 1M --durability yes
}

@test "sizes take suffixes" {
	for pair in 4096:1000 4K:1000 4k:1000 64M:4000000 1G:40000000 1T:10000000000 1MiB:100000 0x2000:2000; do
		run -0 faked region create --size "${pair%:*}"
		[ "$output" = "abc:${pair#*:}" ] || { echo "$pair: $output"; return 1; }
	done
}

@test "a key comes from a file of the right form only" {
	printf '0123' >"$BATS_TEST_TMPDIR/short"
	printf 'zz112233445566778899aabbccddeeff' >"$BATS_TEST_TMPDIR/bad"
	printf '00112233445566778899aabbccddeeff00' >"$BATS_TEST_TMPDIR/long"
	refused "neither 16 bytes nor 32 hexadecimal digits" region destroy 1:0 -k "$BATS_TEST_TMPDIR/short"
	refused "neither 16 bytes nor 32 hexadecimal digits" region destroy 1:0 -k "$BATS_TEST_TMPDIR/bad"
	refused "neither 16 bytes nor 32 hexadecimal digits" region destroy 1:0 -k "$BATS_TEST_TMPDIR/long"
	refused "No such file" region destroy 1:0 -k "$BATS_TEST_TMPDIR/none"
	refused "unknown option '--key'" region destroy 1:0 --key=00112233445566778899aabbccddeeff
}

@test "a full output device is a failure, not silence" {
	run -1 bash -c '"$0" --help >/dev/null && "$1" "$2" "$0" region list >/dev/full' "$KHADM" "$FAKE_KHD" "$BATS_TEST_TMPDIR/khd.sock"
	[[ $output == *"cannot write the output"* ]]
}
