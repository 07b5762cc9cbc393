# SPDX-License-Identifier: GPL-2.0-or-later
#
# libkhazana: static and shared, with a symbol map and pkg-config.

KHAZANA_VERSION := 0.1.0
KHAZANA_SO := libkhazana.so.0

kh_client_srcs := $(wildcard lib/client/*.c lib/ctl/*.c) lib/core/addr.c

$(eval $(call kh_lib,khazana,$(kh_client_srcs)))

$(O)/lib/$(KHAZANA_SO): $(O)/lib/libkhazana.a lib/client/khazana.map
	$(kh_say) LD $@
	$(kh_q)$(CC) $(kh_cflags) $(LDFLAGS) -shared -Wl,-soname,$(KHAZANA_SO) \
		-Wl,--version-script=lib/client/khazana.map -Wl,--no-undefined -o $@ \
		-Wl,--whole-archive $(O)/lib/libkhazana.a -Wl,--no-whole-archive
	$(kh_q)ln -sf $(KHAZANA_SO) $(O)/lib/libkhazana.so

$(O)/lib/khazana.pc: lib/client/khazana.pc.in $(O)/prefix
	@mkdir -p $(@D)
	$(kh_q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(KHAZANA_VERSION)|' $< >$@

user: $(O)/lib/$(KHAZANA_SO) $(O)/lib/khazana.pc

$(eval $(call kh_test,selftests/client/strerror_test,selftests/client/strerror_test.c,khazana,cmocka))

check-unit: check-unit-strerror
.PHONY: check-unit-strerror
check-unit-strerror: $(O)/selftests/client/strerror_test
	CMOCKA_MESSAGE_OUTPUT=TAP scripts/tap strerror -- $<

.PHONY: install-libkhazana
install-user: install-libkhazana
install-libkhazana: user
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 644 lib/include/khazana.h $(DESTDIR)$(PREFIX)/include
	install -m 644 $(O)/lib/libkhazana.a $(DESTDIR)$(PREFIX)/lib
	install -m 755 $(O)/lib/$(KHAZANA_SO) $(DESTDIR)$(PREFIX)/lib
	ln -sf $(KHAZANA_SO) $(DESTDIR)$(PREFIX)/lib/libkhazana.so
	install -m 644 $(O)/lib/khazana.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig
	$(if $(DESTDIR),,PATH=$$PATH:/sbin:/usr/sbin ldconfig)
