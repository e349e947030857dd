#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: deterministic
# cpus: 6
#
# E8.sh --out DIR | --measure    E8, scale: 10, 100 and 1000 VMs (e8.py)
# One CPU admits 180 of the smallest reservations (CBS-7 and the limit of 0.90), so 1000 take six.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	(($(nproc) >= 6)) || { echo "E8 needs 6 CPUs" >&2; return 2; }
	SPARE_CROWDS='10 100 1000' SPARE_SAME='10 160' bash "$here/../lib/runner.sh" "$here/.." deterministic/scale
}

. "$here/judged.inc.sh"
