#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The table "Rules, code, tests" of sched_spare/DESIGN.md is true: it has every rule that is built; the files and names of its code
# are there; every test that it names cites the rule. And what the simulator is tried with (its defects/) fits the class of today.
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/lib/ktap.sh

rules=(CBS-{1..13} SPARE-{1..10} ACC-{1..5} DEBT-1 LIFE-{1..6} LIFE-8)
declare -A below=([unit]="selftests/unit userspace/tests" [simulator]=userspace/sim/tests [fuzz]=userspace/sim/class [static]=selftests/static
	[deterministic]=selftests/deterministic [realtime]=selftests/realtime)

# cell RULE COLUMN: what the rule's row has there: 3 code, 4 tests
cell() { awk -F'|' -v rule=" $1 " -v column="$2" '$2 == rule { print $column }' sched_spare/DESIGN.md; }
quoted() { grep -o '`[^`]*`' | tr -d '`'; }

# Code is "FILE" or "FILE: NAME, NAME".
code() {
	local file names name found
	while IFS=: read -r file names; do
		mapfile -t found < <(find kmod sched_spare userspace cgroupfs-tools selftests -path "${file%/}" -o -path "*/${file%/}")
		((${#found[@]})) || { echo "$1: there is no $file"; return 1; }
		for name in ${names//,/ }; do
			[[ $name == enum ]] || grep -qrw -- "$name" "${found[@]}" || { echo "$1: $file has no $name"; return 1; }
		done
	done < <(cell "$1" 3 | quoted)
}

# Tests are "KIND `NAME`, `NAME`; KIND ...".
tests() {
	local kind names name any=0
	while read -r kind names; do
		while read -r name; do
			any=1
			[[ -v below[$kind] ]] || { echo "$1: there is no kind '$kind' of tests"; return 1; }
			# shellcheck disable=SC2086 # several directories
			grep -rqw --include="$name" --include="$name.cpp" -- "$1" ${below[$kind]} || { echo "$1: $kind $name does not cite it"; return 1; }
		done < <(quoted <<<"$names")
	done < <(cell "$1" 4 | tr ';' '\n')
	((any)) || { echo "$1: no test"; return 1; }
}

# each CHECK: for every rule
each() {
	local rule bad=0
	for rule in "${rules[@]}"; do "$1" "$rule" || bad=1; done
	return "$bad"
}

patches_fit() {
	local file bad=0
	for file in userspace/sim/class/defects/*.patch; do patch -p1 -F 0 --dry-run --force --quiet <"$file" || { echo "$file does not fit"; bad=1; }; done
	return "$bad"
}

ktap_plan 3
ktap_check "DESIGN: the code of all ${#rules[@]} rules is where the table says" each code
ktap_check "DESIGN: every rule has a test, and every test that the table names cites its rule" each tests
ktap_check "DESIGN: each of the class's old defects can be put back into it" patches_fit
ktap_done
