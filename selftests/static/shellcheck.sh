#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900, on a slow machine beside a boot
# STYLE 11: shell scripts are shellcheck clean, and stop at the first error.
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/lib/ktap.sh

mapfile -t scripts < <(find . -path ./.git -prune -o -type f -print | LC_ALL=C sort | while read -r file; do
	case $(head -c 40 "$file" | tr -d '\0' | head -n 1) in
	'#!/bin/bash'* | '#!/bin/sh'* | '#!/usr/bin/env bash'* | '#!/usr/bin/bash'* | '#!/bin/busybox sh'*) echo "$file" ;;
	esac
done)

strict() {
	local file bad=0
	for file in "${scripts[@]}"; do
		# A process 1 must not stop at an error.
		case $file in ./selftests/host/init | ./selftests/host/initrd-init | ./selftests/guest/init) continue ;; esac
		grep -qE '^set -E?eu' "$file" || { echo "$file does not set -euo pipefail"; bad=1; }
	done
	return "$bad"
}

check() { shellcheck -x --shell=bash "${scripts[@]}" selftests/lib/*.sh; }

ktap_plan 2
ktap_check "STYLE-11: shellcheck is content with ${#scripts[@]} scripts" check
ktap_check "STYLE-11: every script sets -euo pipefail" strict
ktap_done
