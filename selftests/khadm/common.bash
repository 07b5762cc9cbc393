# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the tests of khadm share: khadm against a khd with fixed answers.

bats_require_minimum_version 1.5.0
: "${KHADM:=$BATS_TEST_DIRNAME/../../build/khadm}"
: "${FAKE_KHD:=$BATS_TEST_DIRNAME/../../build/selftests/khadm/fake-khd}"
: "${UPDATE:=}"	# UPDATE=1 writes the golden files anew

unset KHAZANA_SOCKET

# khadm with nobody to talk to.
alone() {
	"$KHADM" "$@" --socket "$BATS_TEST_TMPDIR/nobody.sock"
}

# khadm beside the fake khd.
faked() {
	"$FAKE_KHD" "$BATS_TEST_TMPDIR/khd.sock" "$KHADM" "$@"
}

# golden NAME STATUS ARGS...: khadm ARGS prints exactly golden/NAME.json and ends with STATUS.
golden() {
	local file=$BATS_TEST_DIRNAME/golden/$1.json want=$2 status=0
	shift 2
	faked "$@" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
	[ -z "$UPDATE" ] || cp "$BATS_TEST_TMPDIR/out" "$file"
	diff -u "$file" "$BATS_TEST_TMPDIR/out"
	[ "$status" = "$want" ] || { echo "status $status, not $want"; cat "$BATS_TEST_TMPDIR/err"; return 1; }
}

# A file with the key that the fake khd's first region has.
key_file() {
	printf '00112233445566778899aabbccddeeff\n' >"$BATS_TEST_TMPDIR/key"
	echo "$BATS_TEST_TMPDIR/key"
}
