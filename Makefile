# SPDX-License-Identifier: GPL-2.0-or-later
#
# Khazana: one build for user space, kernel module and tests. Components add
# themselves by the fragments */*.mk and */*/*.mk with the macros of
# scripts/rules.mk; no other file of this directory names a source.
#
#   make V=1      show the commands
#   make SAN=1    user space under ASan and UBSan, into build-san/
#   O=DIR         another output directory

all: user kmod		## build everything: programs, libraries, kernel modules

ifeq ($(SAN),1)
O := build-san
else
O ?= build
endif
KO := build
MAKEFLAGS += --no-print-directory
PREFIX ?= /usr/local
DESTDIR ?=
UDEVDIR ?= /usr/lib/udev/rules.d
SYSUSERSDIR ?= /usr/lib/sysusers.d
UNITDIR ?= $(or $(shell pkg-config --variable=systemdsystemunitdir systemd 2>/dev/null),$(wildcard /lib/systemd/system))
KHAZANA_CACHE ?= $(if $(HOME),$(HOME),/root)/.cache/khazana
export O SAN KHAZANA_CACHE

include scripts/rules.mk
include $(sort $(filter-out scripts/%,$(wildcard */*.mk */*/*.mk)))
include scripts/kmod.mk

.DEFAULT_GOAL := all
.PHONY: all user tests deps help clean style style-user style-kmod install

user: $(KH_LIBS) $(KH_PROGS)	## build libraries and programs
tests: $(KH_TESTS)	## build the test programs

deps:			## install what is missing (Debian packages, test kernels)
	scripts/deps

# --- tests: a fragment attaches its own, for example "check-unit: check-unit-core"

CHECKS := check-unit check-kunit check-model check-sim check-store check-fuzz check-guest \
	check-guest-quick check-long-extra demo-run bench-run
.PHONY: check check-quick check-long demo bench vm $(CHECKS)

ifndef KH_CHECK
ifneq ($(filter check-%,$(MAKECMDGOALS)),)
$(shell rm -f $(O)/tap.log)
endif
endif

check:			## all tests; the last line is "N passed, N failed, N skipped"
	scripts/check all
check-quick:		## the inner loop: unit, few seeds, KUnit when cached, one guest
	scripts/check quick
check-long:		## everything in check, longer, and what takes hours
	scripts/check long
check-unit:		## unit tests of user space (SAN=1: under ASan and UBSan)
	@scripts/tap --summary
check-kunit:		## KUnit tests of the module, in a user mode kernel
	@scripts/tap --summary
check-model:		## the protocol models, in spin
	@scripts/tap --summary
check-sim:		## simulated clusters (SEEDS=n SEED0=s)
	@scripts/tap --summary; status=$$?; sed -n 's/^# total: //p' $(O)/tap/sim.log; exit $$status
check-store:		## the page store on simulated disks (SEED0=s)
	@scripts/tap --summary; status=$$?; \
	sed -n 's/^# \([0-9]* crash points.*\)/\1/p' $(O)/tap/store.log; exit $$status
check-fuzz:		## fuzzers, half a minute each
	@scripts/tap --summary
check-guest:		## real module and daemon on real kernels, in QEMU
	@scripts/tap --summary
check-guest-quick:
	@scripts/tap --summary

demo:			## the main job on three nodes, visibly
	scripts/deps
	$(MAKE) user tests kmod
	$(MAKE) demo-run
bench:			## the numbers, one JSON line each
	scripts/deps
	$(MAKE) user tests kmod
	$(MAKE) bench-run
vm:			## a shell on node 1 of a cluster of three guests
	scripts/deps
	$(MAKE) user tests kmod
	selftests/vm/run --nodes 3 --timeout 86400 -- bash --rcfile $(CURDIR)/selftests/vm/guest/shellrc -i

style: style-user style-kmod	## clang-format, checkpatch, sparse

style-user:
	git ls-files '*.c' '*.h' | grep -vE '^(kmod|uapi)/' | xargs -r clang-format --dry-run -Werror

style-kmod:
	scripts/checkpatch $$(git ls-files 'kmod/*.c' 'kmod/*.h' 'uapi/*.h')
	$(MAKE) kmod-sparse

.PHONY: check-style
check-style:
	TAP_TIMEOUT=600 scripts/tap style -- sh -c 'no=; text=$$($(MAKE) style 2>&1) || no="not "; \
		echo "$$text" | sed "s/^/# /"; echo "$${no}ok 1 - style is clean"; echo 1..1'

install: all install-user install-kmod	## install below DESTDIR and PREFIX; khd.service into UNITDIR, if there is systemd

# What has PREFIX in it is made again when that changes.
.PHONY: kh_always
$(O)/prefix: kh_always
	@mkdir -p $(@D)
	@echo '$(PREFIX)' | cmp -s - $@ || echo '$(PREFIX)' >$@

.PHONY: install-user install-kmod
install-user: user
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include/linux
	$(if $(KH_PROGS),install -m 755 $(KH_PROGS) $(DESTDIR)$(PREFIX)/bin)
	$(if $(wildcard uapi/linux/*.h),install -m 644 uapi/linux/*.h $(DESTDIR)$(PREFIX)/include/linux)

help:			## this list
	@awk -F ':.*##' '/^[a-z][a-z-]*:.*##/ { printf "  make %-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort -u

clean:			## remove what was built (not the cached kernels)
	rm -rf build build-san
