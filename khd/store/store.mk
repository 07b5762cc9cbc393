# SPDX-License-Identifier: GPL-2.0-or-later
# The page store: a library, for khd and for the tests. Its users link with sqlite3 too.
$(eval $(call kh_lib,khdstore,$(wildcard khd/store/*.c)))
