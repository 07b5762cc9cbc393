# SPDX-License-Identifier: GPL-2.0-or-later

$(eval $(call kh_prog,bin/khdemo,apps/demo/khdemo.c,khazana))
$(eval $(call kh_prog,bin/put_in_global,apps/examples/put_in_global.c,khazana))

demo-run:
	apps/demo/demo

.PHONY: check-guest-demo check-unit-documents
check-guest: check-guest-demo
check-guest-demo: user $(O)/selftests/durable/durable
	TAP_TIMEOUT=400 DEMO_SECONDS=5 scripts/tap demo -- selftests/vm/run --nodes 3 --disk 96M --driver host -- $(CURDIR)/apps/demo/test

check-unit: check-unit-documents
check-unit-documents:
	scripts/tap documents -- scripts/doc-names
