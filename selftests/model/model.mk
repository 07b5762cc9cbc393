# SPDX-License-Identifier: GPL-2.0-or-later

.PHONY: check-model-crew check-model-place check-model-flush check-model-long
check-model: check-model-crew check-model-place check-model-flush
check-model-crew:
	TAP_TIMEOUT=900 scripts/tap model-crew -- selftests/model/run
check-model-place check-model-flush: check-model-%:
	MODEL=$* OPT=0 TAP_TIMEOUT=900 scripts/tap model-$* -- selftests/model/run

check-long-extra: check-model-long
check-model-long:
	TABLE=selftests/model/VARIANTS.long MEMLIM=6000 LIMIT=3600 JOBS=1 TAP_TIMEOUT=14400 \
		scripts/tap model-long -- selftests/model/run
