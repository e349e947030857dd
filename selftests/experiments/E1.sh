#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# E1.sh --out DIR [--demo] - run E1 (e1.py; see its --help) on this KVM host.

set -euo pipefail
exec python3 "$(dirname "$0")/e1.py" "$@"
