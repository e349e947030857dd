#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# E1.sh --out DIR [--demo] - run E1 (e1.py; see its --help) on this KVM host. Exit status 0: verdict pass.

set -euo pipefail
exec python3 "$(dirname "$0")/e1.py" --strict "$@"
