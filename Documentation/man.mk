# SPDX-License-Identifier: GPL-2.0-or-later
# Man pages: every Documentation/NAME.SECTION.scd.
man_pages := $(patsubst Documentation/%.scd,$(O)/man/%,$(wildcard Documentation/*.scd))

.PHONY: man install-man
user: man
man: $(man_pages)	## build the man pages

$(O)/man/%: Documentation/%.scd
	$(kh_say) SCDOC $@
	@mkdir -p $(@D)
	$(kh_q)scdoc <$< >$@.tmp && mv $@.tmp $@

install-user: install-man
install-man: $(man_pages)
	for page in $(man_pages); do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit; \
	done
