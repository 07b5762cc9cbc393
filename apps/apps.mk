# SPDX-License-Identifier: GPL-2.0-or-later

$(eval $(call kh_prog,bin/khdemo,apps/demo/khdemo.c,khazana))
$(eval $(call kh_prog,bin/put_in_global,apps/examples/put_in_global.c,khazana))

demo-run:
	apps/demo/demo
