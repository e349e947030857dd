#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: deterministic
# cpu: -erms,-fsrm
#
# E6.sh --out DIR | --measure    E6, what packets cost the host (e6.py)
# With rep movsb an emulated CPU takes an instruction for each byte that it copies, hardware hardly any: without it the kernel copies by words.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	SPARE_E6_ALL=1 bash "$here/../lib/runner.sh" "$here/.." deterministic/e6 deterministic/meter_mixed
}

. "$here/judged.inc.sh"
