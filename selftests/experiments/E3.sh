#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: deterministic
#
# E3.sh --out DIR | --measure    E3, isolation under boost (e3.py)

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	SPARE_SECONDS=20 bash "$here/../lib/runner.sh" "$here/.." deterministic/flood
}

. "$here/judged.inc.sh"
