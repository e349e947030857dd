#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2100
# E7's part in real time: E7_PAIRS (10) pairs of rounds with the class loaded and unloaded, interleaved, each first every other
# time; before that one round under each of the kernel's own schedulers that is there. Prints for e7.py
#
#   # round PAIR STATE KEY VALUE     STATE: loaded, unloaded, or the scheduler's name in pair 0; of a KEY the last value counts
#
# A round is made between two samples of the speed (spare-speed), again when it was too slow; after three times it all ends as
#
#   # not measured: ...
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/../lib/peers.inc.sh"

pairs=${E7_PAIRS:-10}
figures=8	# of a round

# histogram_percentile PERCENT: of cyclictest's -h output on stdin, over all threads, in µs.
histogram_percentile() {
	awk -v percent="$1" '/^[0-9]/ { for (i = 2; i <= NF; i++) { n[$1 + 0] += $i; all += $i } if ($1 + 0 > top) top = $1 + 0 }
		END { for (us = 0; us <= top; us++) { sum += n[us]; if (all && sum * 100 >= all * percent) { print us; exit } } }'
}

# wake NAME: lateness of two sleepers, every 1 ms, as cyclictest sees it.
wake() {
	cyclictest --policy=other -q -t 2 -i 1000 -l 2000 -h 50000 >"$MEASURES/cyclic" 2>"$MEASURES/cyclic.err" || { cat "$MEASURES/cyclic.err" >&2; return 1; }
	echo "$1_p50_us $(histogram_percentile 50 <"$MEASURES/cyclic")"
	echo "$1_p99_us $(histogram_percentile 99 <"$MEASURES/cyclic")"
}

# One round of everything, "KEY VALUE" a line.
figures_of_round() {
	local hogs
	hackbench -T -g 2 -f 10 -l 100 | awk '/^Time:/ { print "hackbench_s " $2 }'
	hackbench -P -p -g 2 -f 10 -l 100 | awk '/^Time:/ { print "hackbench_pipe_s " $2 }'
	"$TOOLS/spare-cost" --rounds 10000 pipe futex | awk '/\.ns/ { sub(/\.ns/, "", $1); printf "%s_per_s %.0f\n", $1, 1e9 / $2 }'
	wake idle
	"$TOOLS/spare-burn" --seconds 600 --warm 0 "hogs=$CGROUP,$(nproc)" </dev/null >/dev/null 2>&1 &
	hogs=$!
	wake busy
	kill "$hogs"
	wait "$hogs" 2>/dev/null || true
}

# round PAIR STATE: 1 when a figure is missing
round() {
	local status=0
	"$TOOLS/spare-speed" ${SPARE_PACE:+--wanted "$SPARE_PACE" --pace} -- bash "$0" figures >"$MEASURES/round" || status=$?
	sed "s/^/# round $1 $2 /" "$MEASURES/round"
	if ((status == 75)); then
		ktap_note "not measured: the machine was too busy in pair $1, $2"
		exit 75
	fi
	[[ $status == 0 && $(awk 'NF == 2 && !/^(speed_|tries |dilation )/ { keys[$1] } END { print length(keys) }' "$MEASURES/round") == "$figures" ]]
}

peer() { round 0 "$1" || ktap_note "peer $1: its round is not complete"; }

# pair N: both rounds; 1 when a figure is missing
pair() {
	local order=(unloaded loaded) state status=0
	(($1 % 2)) || order=(loaded unloaded)
	for state in "${order[@]}"; do
		if [[ $state == loaded ]]; then spare_up; else spare_down; fi || return
		round "$1" "$state" || status=1
	done
	return "$status"
}

if [[ ${1-} == figures ]]; then
	figures_of_round
	exit
fi
ktap_plan "$pairs"
ktap_note "cpus $(nproc)"
each_peer peer
for ((i = 1; i <= pairs; i++)); do
	if pair "$i"; then ktap_ok "E7: pair $i has all its figures"; else ktap_fail "E7: pair $i has all its figures"; fi
done
ktap_done
