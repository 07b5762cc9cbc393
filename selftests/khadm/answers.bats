#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Answers of khd as JSON, compared with golden files, and exit statuses. There is no module here, see
# fake_khd.c; what it adds to "status", "page show" and "stats" is in the test "cluster".

load common

@test "node list -j" { golden node-list 0 node list -j; }
@test "region list -j" { golden region-list 0 region list -j; }
@test "region list --all -j" { golden region-list-all 0 region list --all -j; }
@test "region show -j" { golden region-show 0 region show 1:5 -j; }
@test "region create -j" { golden region-create 0 region create --size 64M --unit 64K --protocol crew --lease-ms 500 --allocate -j; }
@test "region destroy -j" { golden region-destroy 0 region destroy 1:0 -k "$(key_file)" -j; }
@test "page show -j" { golden page-show 0 page show 1:2fff -j; }
@test "status -j, without a module" { golden status 5 status -j; }
@test "stats -j, without a module" { golden stats 5 stats -j; }
@test "event watch -j prints one document a line" { golden event-watch 0 event watch -n 2 -j; }
@test "store status -j" { golden store-status 0 store status -j; }
@test "store status -j, out of service" { FAKE_STORE=out golden store-status-out 0 store status -j; }
@test "store status -j, without one" { FAKE_STORE=none golden store-status-none 0 store status -j; }
@test "store scrub -j" { golden store-scrub 0 store scrub --rate 4M -j; }
@test "memory resize -j" { golden memory-resize 0 memory resize 64M -j; }
@test "store resize -j" { golden store-resize 0 store resize 2G -j; }
@test "store parked discard -j" { golden store-parked-discard 0 store parked discard 3 -j; }
@test "a failure prints a document too" { golden error 3 page show 2:0 -j; }

@test "every document parses, has a schema, and no key in it" {
	key=$(key_file)
	for words in "node list" "region list" "region show 1:0" "page show 1:2000" "stats" "status" \
		"region create --size 1M -k $key" "region destroy 1:0 -k $key" "region show 9:9"; do
		# shellcheck disable=SC2086
		faked $words -j >"$BATS_TEST_TMPDIR/out" 2>/dev/null || true
		python3 -c 'import json, sys; assert json.load(sys.stdin)["schema"].startswith("khazana.")' <"$BATS_TEST_TMPDIR/out"
		run ! grep -i -e 00112233 -e '"key"' "$BATS_TEST_TMPDIR/out"
	done
}

@test "store parked list: all of them, whatever a message holds" {
	run --separate-stderr -0 faked store parked list -j
	python3 - "$output" <<-'END'
	import json, sys
	parked = json.loads(sys.argv[1])
	assert parked["schema"] == "khazana.store-parked-list/1"
	assert [p["id"] for p in parked["parked"]] == [3, 7] + list(range(1002, 1202))
	assert parked["parked"][0] == {"id": 3, "addr": "1:2000", "shift": 10, "generation": 5, "version": 40,
	                               "token": "0x300000000000", "region": "1:0", "region_generation": 7, "bytes": 1024}
	END
	run -0 faked store parked list
	[ "${#lines[@]}" = 203 ]
}

@test "store parked show: beside what its home says" {
	run --separate-stderr -0 faked store parked show 3 -j
	python3 - "$output" <<-'END'
	import json, sys
	shown = json.loads(sys.argv[1])
	assert shown["schema"] == "khazana.store-parked/1" and shown["parked"]["version"] == 40
	assert shown["home"]["version"] == 42 and shown["home"]["stored"] == 41
	END
	run -3 faked store parked show 4
}

@test "store parked export: the whole contents, into a new file only" {
	out=$BATS_TEST_TMPDIR/unit
	run --separate-stderr -0 faked store parked export 3 --output "$out" -j
	[[ $output == *'"bytes": 1024'* ]]
	[ "$(wc -c <"$out")" = 1024 ]
	[ "$(tr -d '\003' <"$out" | wc -c)" = 0 ]
	[ "$(stat -c %a "$out")" = 600 ]
	run -1 faked store parked export 3 --output "$out"
	[[ $output == *"File exists"* ]]
	faked store parked export 7 --output - >"$out.2"
	[ "$(wc -c <"$out.2")" = 512 ]
	run -3 faked store parked export 4 --output "$out.3"
	[ ! -e "$out.3" ]
}

@test "health: an error is exit 6, a note is not" {
	run --separate-stderr faked health -j
	python3 - "$output" "$status" <<-'END'
	import json, sys
	health = json.loads(sys.argv[1])
	errors = [f for f in health["findings"] if f["severity"] == "error"]
	assert health["schema"] == "khazana.health/1" and health["well"] == (not errors)
	assert (sys.argv[2] == "0") == health["well"]
	# node 3 of the fake cluster is not connected
	assert "node 3" in [f["subject"] for f in errors] and "store" not in [f["subject"] for f in errors]
	END
	FAKE_STORE=out run -6 faked health
	[[ $output == *"error: store: out of service"*"khadm store check DIR"* ]]
	[[ $output == *"note: store: only a note"* ]]
	run -5 alone health
}

@test "the store's refusals" {
	run -1 faked store resize 1M
	[[ $output == *"more than that is reserved"* ]]
	run -3 faked store parked discard 8
	FAKE_STORE=none run -1 faked store scrub
	[[ $output == *"this node has no store"* ]]
	run -5 alone store status
}

@test "store check and rebuild: only where there is a store" {
	run -3 "$KHADM" store check "$BATS_TEST_TMPDIR"
	[[ $output == *"there is no store"* ]]
	run -3 "$KHADM" store rebuild "$BATS_TEST_TMPDIR/none"
	[ -z "$(ls -A "$BATS_TEST_TMPDIR" | grep -v -e out -e err)" ]
}

@test "exit 1: refused" {
	run -1 faked region create --size 2T
	[[ $output == *khd:* ]]
	run -1 faked region destroy f:2
	run -1 faked region show f:6
}

@test "a region that cannot get storage is given back" {
	run -1 faked region create --size 4G --allocate
	[[ $output != *abc:* ]]
}

@test "destroy --force is passed on" {
	run -0 faked region destroy f:2 --force
}

@test "exit 3: not found, or nothing allocated" {
	run -3 faked region show 9:9
	run -3 faked page show 2:0
	run -3 faked region destroy 9:9
}

@test "exit 4: wrong key" {
	run -4 faked region destroy 1:0
	run -0 faked region destroy 1:0 --key-file "$(key_file)"
	printf '\000\021\042\063\104\125\146\167\210\231\252\273\314\335\356\377' >"$BATS_TEST_TMPDIR/raw"
	run -0 faked region destroy 1:0 --key-file "$BATS_TEST_TMPDIR/raw"
	run -4 faked region show f:1
}

@test "exit 5: khd unreachable" {
	run -5 alone node list
	run -5 alone status
	run -5 alone stats -j
	KHAZANA_SOCKET=$BATS_TEST_TMPDIR/none run -5 "$KHADM" region list
}

@test "exit 5: khd goes away in the middle of a call" {
	run -5 faked region show f:4
}

@test "exit 7: khd does not answer in time" {
	run -7 faked region show f:3 --timeout 200
}

@test "exit 7: too few events in time" {
	run -7 faked event watch --count 3 --timeout 300
}

@test "a malformed answer is a failure" {
	run -1 faked region show f:5
}

@test "terminal escapes of another process are not passed on" {
	run -0 faked event watch -n 2
	run ! grep -q $'\x1b' <<<"$output"
}

@test "human output: a table with a line for each node" {
	run -0 faked node list
	[ "${#lines[@]}" = 4 ]
}
