# SPDX-License-Identifier: GPL-2.0-or-later

.PHONY: install-packaging
install-user: install-packaging
install-packaging:
	install -D -m 644 packaging/60-khazana.rules $(DESTDIR)/usr/lib/udev/rules.d/60-khazana.rules
	install -D -m 644 packaging/sysusers.conf $(DESTDIR)/usr/lib/sysusers.d/khazana.conf
