# SPDX-License-Identifier: GPL-2.0-or-later
#
# khazana.ko for every kernel whose headers are installed or in the cache of scripts/deps,
# each in a mirror of symbolic links below build/kmod, so that the
# source tree stays clean.  make kmod KVERS="6.1.0-56-amd64 debug" picks some, also test kernels.
# This file is read after all fragments: install and -include need their lists.

define newline


endef

KVERS ?= $(sort $(notdir $(patsubst %/build/Makefile,%,$(wildcard /lib/modules/*/build/Makefile)) \
	$(wildcard $(KHAZANA_CACHE)/headers/*)))
# "uml" and "debug" are trees that scripts/kernel-build left in the cache.
kh_kdir = $(if $(filter uml debug,$(1)),$(KHAZANA_CACHE)/$(1)/build,$(firstword \
	$(wildcard /lib/modules/$(1)/build) $(KHAZANA_CACHE)/headers/$(1)))
kh_karch = $(if $(filter uml,$(1)),ARCH=um)
kmod_sources := $(wildcard Kbuild kmod/Kbuild kmod/*.c kmod/*.h uapi/linux/*.h)

.PHONY: kmod kmod-sparse $(KVERS:%=kmod-sparse-%)
kmod: $(KVERS:%=$(KO)/kmod/%/khazana.ko)	## build khazana.ko for the installed headers
	@test -n "$(KVERS)" || { echo 'no kernel headers: apt-get install linux-headers-amd64, or run scripts/deps' >&2; exit 1; }

define kmod_rules
$(KO)/kmod/$(1)/.mirror: $$(kmod_sources)
	@scripts/mirror $$(@D)
	@touch $$@

# Without pahole the BTF step of some headers deletes the finished module.
$(KO)/kmod/$(1)/khazana.ko: $(KO)/kmod/$(1)/.mirror
	$$(kh_say) KMOD $$@
	$$(kh_q)$$(MAKE) -s -C $(call kh_kdir,$(1)) $(call kh_karch,$(1)) M=$$(CURDIR)/$$(@D) \
		$$(if $$(shell command -v pahole),,CONFIG_DEBUG_INFO_BTF_MODULES=) modules
	@cp $$(@D)/kmod/*.ko $$(@D)/

# The same with bugs to plant, for check-guest-plants.
$(KO)/kmod/$(1)-plants/.mirror: $$(kmod_sources)
	@scripts/mirror $$(@D)
	@touch $$@

$(KO)/kmod/$(1)-plants/khazana.ko: $(KO)/kmod/$(1)-plants/.mirror
	$$(kh_say) KMOD $$@
	$$(kh_q)$$(MAKE) -s -C $(call kh_kdir,$(1)) M=$$(CURDIR)/$$(@D) KHAZANA_PLANTS=1 \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules
	@cp $$(@D)/kmod/*.ko $$(@D)/

kmod-sparse-$(1): $(KO)/kmod/$(1)/.mirror
	$$(MAKE) -s -C $(call kh_kdir,$(1)) $(call kh_karch,$(1)) M=$$(CURDIR)/$(KO)/kmod/$(1) \
		C=2 CF='-D__CHECK_ENDIAN__ -Wsparse-error' CONFIG_DEBUG_INFO_BTF_MODULES= modules
endef
$(foreach v,$(sort $(KVERS) uml debug),$(eval $(call kmod_rules,$(v))))

check-guest-plants: $(patsubst %,$(KO)/kmod/%-plants/khazana.ko,$(lastword $(filter 6.1.%,$(KVERS))))

kmod-sparse: $(KVERS:%=kmod-sparse-%)

# For kernels of this machine, not those of the cache, which are the guests'; or what KVERS= says.
kh_install_kvers := $(if $(filter file,$(origin KVERS)),$(foreach v,$(KVERS),$(if \
	$(wildcard /lib/modules/$(v)/build/Makefile),$(v))),$(filter-out uml debug,$(KVERS)))

install-kmod: kmod
	@test -n "$(kh_install_kvers)" || { echo 'no headers of an installed kernel: apt-get install linux-headers-amd64, or name kernels: KVERS=...' >&2; exit 1; }
	$(foreach v,$(kh_install_kvers),install -D -m 644 $(KO)/kmod/$(v)/khazana.ko $(DESTDIR)/lib/modules/$(v)/updates/khazana.ko$(newline))
	$(if $(DESTDIR),,$(foreach v,$(kh_install_kvers),PATH=$$PATH:/sbin:/usr/sbin depmod $(v)$(newline)))

-include $(kh_objects:.o=.d)
