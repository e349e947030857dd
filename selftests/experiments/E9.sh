#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: deterministic
#
# E9.sh --out DIR | --measure    E9, pool sizing (e9.py)

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	bash "$here/../lib/runner.sh" "$here/.." experiments/e9_host
}

. "$here/judged.inc.sh"
