#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3600
# peers
#
# kselftest.sh - the kernel's own selftests: of cgroups (cpu, freezer, kill) under its own scheduler and beside a loaded class, in one boot: what passes
# there passes here; of sched_ext, which want to be the only class, after it has gone.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../realtime/module.inc.sh"

PEERS=/job/peers
CGROUP_TESTS=(test_cpu test_freezer test_kill)
out=$(mktemp -d)
ktap_cleanup "rm -rf $out"

# run COMMAND...: what it says, in $out/log, and its results as lines "ok|not|skip TEST"
run() {
	(cd "$PEERS" && timeout -k 10 300 "$@") >"$out/log" 2>&1 || true
	sed -nE 's/^ok [0-9]+ # SKIP ([a-z_0-9]+).*/skip \1/p; t; s/^ok [0-9]+ (- )?([a-z_0-9]+).*# SKIP.*/skip \2/p; t
		s/^ok [0-9]+ (- )?([a-z_0-9]+).*/ok \2/p; s/^not ok [0-9]+ (- )?([a-z_0-9]+).*/not \2/p' "$out/log"
}

# programs WHEN NAME...: results of cgroup tests in $out/WHEN.NAME
programs() {
	local when=$1 name
	shift
	for name; do
		run "./$name" >"$out/$when.$name"
		grep -E '^(not|skip)' "$out/$when.$name" | sed "s/^/# $when: $name: /" || true
	done
}

# schedulers WHEN: of sched_ext, each by itself: one that hangs is ended. (-t takes all whose name has that in it.)
schedulers() {
	local name result
	for name in $("$PEERS/runner" -l); do
		result=$(run ./runner -q -t "$name" | grep -x ".* $name" || echo "not $name")
		echo "$result" | tee -a "$out/$1.runner" | sed -n "s/^\(not\|skip\)/# $1: sched_ext: &/p"
	done
}

# compare NAME BEFORE AFTER: a row for each program, that what passed before passes after
compare() {
	local lost
	grep -q '^ok' "$out/$2.$1" || { ktap_fail "$1: what passes $2 passes $3" "nothing passes $2"; return; }
	lost=$(grep '^ok' "$out/$2.$1" | grep -vxFf "$out/$3.$1" || true)
	ktap_note "$1: $2 $(cut -d' ' -f1 "$out/$2.$1" | sort | uniq -c | xargs), $3 $(cut -d' ' -f1 "$out/$3.$1" | sort | uniq -c | xargs)"
	if [[ $lost ]]; then ktap_fail "$1: what passes $2 passes $3" "$lost"; else ktap_ok "$1: what passes $2 passes $3"; fi
}

ktap_plan $((${#CGROUP_TESTS[@]} + 3))
programs without "${CGROUP_TESTS[@]}"
spare_up
programs with "${CGROUP_TESTS[@]}"
ktap_check 'LIFE-2: the class runs on' class_is enabled
for name in "${CGROUP_TESTS[@]}"; do compare "$name" without with; done
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
schedulers
ktap_done
