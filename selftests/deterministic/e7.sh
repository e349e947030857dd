#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 900
# E7, deterministic part: instructions per context switch and per wake-up, the class loaded with no VM against EEVDF in the
# same boot, and against the kernel's own sched_ext schedulers where they are (experiment E7 brings them). The clock counts
# instructions, 2 ns each. In the root cgroup, and in one two levels down where both pay for the tree.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/../lib/peers.inc.sh"

rounds=${SPARE_ROUNDS:-4000}
tests=(pipe chain futex yield timer hogged)
leaf=$CGROUP/e7/leaf
declare -A places=([root]=$CGROUP [leaf]=$leaf)
# Of EEVDF's instructions, in 1/1000.
goal=1100

ktap_plan $((2 * (${#tests[@]} + 1)))
mkdir -p "$leaf"
ktap_cleanup "cgroup_remove $leaf $CGROUP/e7"
echo +cpu >"$CGROUP/cgroup.subtree_control"
echo +cpu >"$CGROUP/e7/cgroup.subtree_control"

# insn NAME TEST: instructions. The median where each round is timed by itself: a pass of spared, or a kernel worker, that comes between
# (milliseconds in a few of ten thousand) is not the wake-up's cost.
insn() {
	local ns
	ns=$(result "$MEASURES/$1" "$2.p50_ns") || ns=$(result "$MEASURES/$1" "$2.ns")
	echo $((ns / 2))
}

# costs WHO ROUNDS: both places, as lines "cost WHO PLACE TEST INSTRUCTIONS P99_NS", which e7.py reads
costs() {
	local place t rounds=$2
	host_quiet || ktap_note "the host is still busy"
	for place in "${!places[@]}"; do
		# (Ten thousand system calls would take 7 ms, of which a single wake-up of somebody else can be 3 %.)
		# shellcheck disable=SC2016 # expands inside
		bash -c 'echo $$ >"$1/cgroup.procs"; "$2" --rounds "$3" "${@:4}" && exec "$2" --rounds $((20 * $3)) syscall' enter \
			"${places[$place]}" "$TOOLS/spare-cost" "$rounds" "${tests[@]}" >"$MEASURES/$1.$place"
	done
	for place in root leaf; do
		for t in "${tests[@]}" syscall; do
			ktap_note "cost $1 $place $t $(insn "$1.$place" "$t") $(result "$MEASURES/$1.$place" "$t.p99_ns" || echo -)"
		done
	done
}

# Beside a hog a sleeper waits for whole slices, of 20 ms under scx_simple: ten thousand would take minutes.
peer() { costs "$1" $((rounds / 10)); }

# ratio PLACE TEST: ours to EEVDF's, in 1/1000
ratio() { echo $(($(insn "ours.$1" "$2") * 1000 / $(insn "eevdf.$1" "$2"))); }

costs eevdf "$rounds"
each_peer peer
spare_up
costs ours "$rounds"
for place in root leaf; do
	ktap_note "$place: test, instructions under EEVDF, under ours, ratio in 1/1000"
	for t in "${tests[@]}"; do
		ktap_note "$place $t $(insn "eevdf.$place" "$t") $(insn "ours.$place" "$t") $(ratio "$place" "$t")"
	done
	for t in "${tests[@]}"; do
		ktap_check "CBS-9: E7: $place: $t costs at most $goal/1000 of EEVDF's instructions" at_most "$goal" "$(ratio "$place" "$t")"
	done
	ktap_check "CBS-9: E7: $place: what no scheduler changes costs the same" at_most 20 "$(($(ratio "$place" syscall) - 1000))"
done
ktap_done
