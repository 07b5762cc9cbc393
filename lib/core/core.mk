# SPDX-License-Identifier: GPL-2.0-or-later
$(eval $(call kh_lib,khcore,$(wildcard lib/core/*.c)))
