#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# host: both
# peers
#
# E7.sh --measure | --out DIR [--deterministic LOG]    E7, what the class costs a host without any VM, against EEVDF and the kernel's
#                                                      own sched_ext schedulers (e7.py): instructions, and in real time

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

measure() {
	SPARE_ROUNDS=10000 bash "$here/../lib/runner.sh" "$here/.." deterministic/e7
}

measure_realtime() {
	bash "$here/../lib/runner.sh" "$here/.." experiments/e7_rounds
}

. "$here/judged.inc.sh"
