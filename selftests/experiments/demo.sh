#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# demo.sh [OUTDIR] - three columns of E1: a busy guest pinged unthrottled, under cpu.max, and with ours.
# Leaves E1's files and report.html in OUTDIR (default: $SPARE_OUT, else /tmp/demo). Exit status as e1.py's.

set -euo pipefail
exec python3 "$(dirname "$0")/e1.py" --demo --out "${1:-${SPARE_OUT:-/tmp/demo}}"
