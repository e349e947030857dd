#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: deterministic
#
# E2.sh --out DIR | --measure    E2, budget precision (e2.py)

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	bash "$here/../lib/runner.sh" "$here/.." deterministic/e2 deterministic/edf
}

. "$here/judged.inc.sh"
