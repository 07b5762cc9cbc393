# SPDX-License-Identifier: GPL-2.0-or-later
$(eval $(call kh_test,selftests/vm/agent,selftests/vm/agent.c selftests/vm/frame.c,,))
$(eval $(call kh_test,selftests/vm/on,selftests/vm/on.c selftests/vm/frame.c,,))
