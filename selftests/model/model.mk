# SPDX-License-Identifier: GPL-2.0-or-later

.PHONY: check-model-crew
check-model: check-model-crew
check-model-crew:
	TAP_TIMEOUT=900 scripts/tap model-crew -- selftests/model/run
