#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# STYLE 11: what runs only in an experiment has no name that is not there.
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/lib/ktap.sh

mapfile -t scripts < <(find . -path ./.git -prune -o -name '*.py' -print | LC_ALL=C sort)

check() { pyflakes3 "${scripts[@]}"; }

ktap_plan 1
ktap_check "STYLE-11: pyflakes is content with ${#scripts[@]} Python scripts" check
ktap_done
