# SPDX-License-Identifier: GPL-2.0-or-later

$(eval $(call kh_test,selftests/client/client_test,selftests/client/client_test.c,khazana))

.PHONY: check-guest-client
check-guest: check-guest-client
check-guest-client: $(O)/selftests/client/client_test
	TAP_TIMEOUT=260 scripts/tap client -- selftests/vm/run --nodes 2 -- \
		$(CURDIR)/selftests/client/on-cluster $(CURDIR)/$(O)/selftests/client/client_test
