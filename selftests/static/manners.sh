#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What every file owes: a licence line; no mirror's host name; no loose ends; versions tested only in compat/. (STYLE 3, 13)
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/lib/ktap.sh

mapfile -t files < <(find . -name .git -prune -o -type f -print | grep -vE '/(LICENSES?|build[^/]*|out)(/|$)' | LC_ALL=C sort)

spdx() {
	local file bad=0
	for file in "${files[@]}"; do
		case $file in
		*.md | *.json | *.svg | *.png | *.clang-format | *.editorconfig | *.gitignore | *.csv | *.txt.gz) continue ;;
		esac
		[[ -s $file ]] || continue
		head -n 4 "$file" | grep 'SPDX-License-Identifier: GPL-2.0' >/dev/null || { echo "$file"; bad=1; }
	done
	return "$bad"
}

# none PATTERN: no file has it. (Patterns are written so that they do not match themselves.)
none() {
	local out
	out=$(printf '%s\0' "${files[@]}" | xargs -0 grep -nIE "$1" || true)
	[[ -z $out ]] || { printf '%s\n' "$out" | head -n 20; return 1; }
}

versions() {
	local out
	out=$(grep -rn LINUX_VERSION_CODE kmod sched_spare 2>/dev/null | grep -v '/compat/' || true)
	[[ -z $out ]] || { printf '%s\n' "$out"; return 1; }
}

ktap_plan 4
ktap_check "STYLE-13: SPDX line in every source file" spdx
ktap_check "HOST: no mirror's host name in the repository" none '(deb|ftp[a-z.]*|snapshot|security|cdn-[a-z]+|archive)\.(debian|ubuntu)\.(org|net|com)'
ktap_check "STYLE: no loose end left open" none '\b(TO[D]O|FIX[M]E|XX[X])\b'
ktap_check "STYLE-3: LINUX_VERSION_CODE only in compat/" versions
ktap_done
