#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: deterministic
#
# E10.sh --out DIR | --measure    E10, what VMs gain by provoking packets (e10.py)

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	SPARE_SECONDS=10 bash "$here/../lib/runner.sh" "$here/.." deterministic/gain
}

. "$here/judged.inc.sh"
