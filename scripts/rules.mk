# SPDX-License-Identifier: GPL-2.0-or-later
#
# Macros for the fragments:
#   $(eval $(call kh_lib,NAME,SRCS))             -> $(O)/lib/libNAME.a
#   $(eval $(call kh_prog,DEST,SRCS,LIBS,PKGS))  -> $(O)/DEST, part of "all", installed
#   $(eval $(call kh_test,DEST,SRCS,LIBS,PKGS))  -> $(O)/DEST, part of "tests"
# LIBS are NAMEs of kh_lib, PKGS are pkg-config names. Objects are shared by all
# users of a source. To compile them differently for one NAME or DEST, set, before
# the call, KH_FLAGS_$(NAME) (compiler flags) or KH_CC_$(NAME) (compiler); it then
# gets objects of its own. KH_LDFLAGS_$(DEST) are flags for its link.

CC := gcc
CFLAGS ?= -O2 -g
ifeq ($(SAN),1)
kh_san := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
kh_cflags := -std=gnu11 -D_GNU_SOURCE -fPIC -pthread $(CFLAGS) $(kh_san) \
	-Wall -Wextra -Werror -Wno-unused-parameter -Wstrict-prototypes -Wmissing-prototypes \
	-Iuapi -Ilib -Ilib/include -I.

KH_LIBS :=
KH_PROGS :=
KH_TESTS :=
kh_objects :=

ifeq ($(V),1)
kh_say = @:
kh_q :=
else
kh_say = @printf '  %-7s %s\n'
kh_q := @
endif

# The Debian package behind a pkg-config name, for the message about a missing one.
kh_deb_liburing := liburing-dev
kh_deb_libnl-3.0 := libnl-3-dev
kh_deb_libnl-genl-3.0 := libnl-genl-3-dev
kh_deb_sqlite3 := libsqlite3-dev
kh_deb_libssl := libssl-dev
kh_deb_libcrypto := libssl-dev
kh_deb_inih := libinih-dev
kh_deb_jansson := libjansson-dev
kh_deb_fuse3 := libfuse3-dev
kh_deb_lmdb := liblmdb-dev
kh_deb_libwebsockets := libwebsockets-dev
kh_deb_liblz4 := liblz4-dev
kh_deb_cmocka := libcmocka-dev

# Private objects of NAME live in their own directory.
kh_private = $(if $(KH_FLAGS_$(1))$(KH_CC_$(1)),@$(subst /,_,$(1))/)
kh_objs = $(patsubst %.c,$(O)/obj/$(call kh_private,$(1))%.o,$(2))

define kh_compile
$(kh_say) CC $<
@mkdir -p $(@D)
$(kh_q)$(or $(KH_CC),$(CC)) $(kh_cflags) $(KH_FLAGS) \
	$(if $(KH_PKGS),$(shell pkg-config --cflags $(sort $(KH_PKGS)))) -MMD -MP -c -o $@ $<
endef

$(O)/obj/%.o: %.c scripts/rules.mk
	$(kh_compile)

$(O)/pkg/%:
	@command -v pkg-config >/dev/null || { echo 'pkg-config is missing: apt-get install pkg-config, or run scripts/deps' >&2; exit 1; }
	@pkg-config --exists $* || { echo 'library $* is missing: apt-get install $(or $(kh_deb_$*),(its -dev package)), or run scripts/deps' >&2; exit 1; }
	@mkdir -p $(@D) && touch $@

# $(call kh_rules,NAME,SRCS,PKGS): what objects of NAME need
define kh_rules
ifneq ($(call kh_private,$(1)),)
$(O)/obj/$(call kh_private,$(1))%.o: %.c scripts/rules.mk
	$$(kh_compile)
$(call kh_objs,$(1),$(2)): private KH_FLAGS := $(KH_FLAGS_$(1))
$(call kh_objs,$(1),$(2)): private KH_CC := $(KH_CC_$(1))
endif
ifneq ($(strip $(3)),)
$(call kh_objs,$(1),$(2)): private KH_PKGS += $(3)
$(call kh_objs,$(1),$(2)): | $(addprefix $(O)/pkg/,$(3))
endif
kh_objects += $(call kh_objs,$(1),$(2))
endef

define kh_lib
$(call kh_rules,$(1),$(2))
KH_LIBS += $(O)/lib/lib$(1).a
$(O)/lib/lib$(1).a: $(call kh_objs,$(1),$(2))
	$$(kh_say) AR $$@
	@mkdir -p $$(@D) && rm -f $$@
	$$(kh_q)ar rcs $$@ $(call kh_objs,$(1),$(2))
endef

define kh_link
$(call kh_rules,$(1),$(2),$(4))
$(O)/$(1): $(call kh_objs,$(1),$(2)) $(patsubst %,$(O)/lib/lib%.a,$(3))
	$$(kh_say) LD $$@
	@mkdir -p $$(@D)
	$$(kh_q)$(or $(KH_CC_$(1)),$(CC)) $$(kh_cflags) $(KH_FLAGS_$(1)) $$(LDFLAGS) -o $$@ $(call kh_objs,$(1),$(2)) \
		-Wl,--start-group $(patsubst %,$(O)/lib/lib%.a,$(3)) -Wl,--end-group \
		$(if $(strip $(4)),$$(shell pkg-config --libs $(4))) $(KH_LDFLAGS_$(1))
endef

define kh_prog
$(call kh_link,$(1),$(2),$(3),$(4))
KH_PROGS += $(O)/$(1)
endef

define kh_test
$(call kh_link,$(1),$(2),$(3),$(4))
KH_TESTS += $(O)/$(1)
endef
