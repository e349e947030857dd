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
# It wants to read the kernel's configuration, which the virtual host does not have.
ALONE=(dsp_local_on)
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

# schedulers NAME: a result for the tests of sched_ext, each by itself. (-t takes all whose name has that in it.) One that takes longer than
# 300 s, as those that fork without end do on a slow machine, shows nothing.
schedulers() {
	local name status failed=() passed=0
	for name in $("$PEERS/runner" -l); do
		[[ " ${ALONE[*]} " != *" $name "* ]] || { ktap_note "left out: $name"; continue; }
		status=0
		(cd "$PEERS" && timeout -k 10 300 ./runner -q -t "$name") >"$out/log" 2>&1 || status=$?
		if grep -qE "^ok .*\b$name\b" "$out/log"; then
			passed=$((passed + 1))
		elif ((status == 124 || status == 137)); then
			ktap_note "$name: takes too long"
		else
			failed+=("$name: status $status, $(grep -v '^ *$' "$out/log" | tail -n 5)")
		fi
	done
	((passed >= 15)) || failed+=("of all only $passed pass")
	if ((${#failed[@]})); then
		ktap_fail "$1" "$(printf '%s\n' "${failed[@]}")"
	else
		ktap_note "$passed pass"
		ktap_ok "$1"
	fi
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
schedulers 'LIFE-3: then the tests of sched_ext pass'
ktap_done
