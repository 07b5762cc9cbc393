# SPDX-License-Identifier: GPL-2.0-or-later
#
# The service, the device's group and its rule; and the test of all that is installed.

$(O)/packaging/khd.service: packaging/khd.service.in $(O)/prefix
	@mkdir -p $(@D)
	$(kh_q)sed -e 's|@PREFIX@|$(PREFIX)|' $< >$@

user: $(O)/packaging/khd.service

.PHONY: install-packaging
install-user: install-packaging
install-packaging: $(O)/packaging/khd.service
	install -D -m 644 packaging/60-khazana.rules $(DESTDIR)$(UDEVDIR)/60-khazana.rules
	install -D -m 644 packaging/sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/khazana.conf
	$(if $(UNITDIR),install -D -m 644 $< $(DESTDIR)$(UNITDIR)/khd.service)
	$(if $(DESTDIR),,PATH=$$PATH:/sbin:/usr/sbin groupadd -r -f khazana)
	$(if $(DESTDIR),,test ! -d /run/systemd/system || systemctl daemon-reload)

ifneq ($(SAN),1)
check-unit: check-unit-install
.PHONY: check-unit-install
check-unit-install: user kmod
	scripts/tap install -- selftests/install/test
endif
