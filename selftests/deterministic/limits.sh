#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 400
# CBS-9: VMs without reservation, each with a vCPU that burns and a network thread, under cpu.max: what packets wait and what the VMs get, beside
# what EEVDF makes of the same in the same boot.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/../lib/host.inc.sh"

packets=300	# one each 41 ms: at all phases of a period of 100
host_tree
ktap_cleanup host_tree_remove
for name in one two; do
	mkdir "$HOST/$name.vm"
	ktap_cleanup "cgroup_remove $HOST/$name.vm"
	echo '40000 100000' >"$HOST/$name.vm/cpu.max"
done

# A limit that two share, of equal weight: one has a crowd.
mkdir "$HOST/shared"
echo '10000 100000' >"$HOST/shared/cpu.max"
echo '+cpu' >"$HOST/shared/cgroup.subtree_control"
mkdir "$HOST"/shared/{crowd,single}
ktap_cleanup "cgroup_remove $HOST/shared/crowd $HOST/shared/single $HOST/shared"
SECONDS_BURN=10

# weights CLASS: the part of the single one's
weights() {
	local single crowd
	burn "$1.weights" "crowd=$HOST/shared/crowd,20" "single=$HOST/shared/single,1"
	report "$MEASURES/$1.weights" share_ppm gap_max_ns
	single=$(result "$MEASURES/$1.weights" single.share_ppm) crowd=$(result "$MEASURES/$1.weights" crowd.share_ppm)
	PPM[$1.weights]=$((single * 1000000 / (single + crowd)))
	PPM[$1.both_of_them]=$((single + crowd))
	ktap_note "$1: the single one has ${PPM[$1.weights]} ppm of what both have"
}

# vm NAME
vm() {
	standin "$1" --tap "$1" --cgroup "$HOST/$1.vm"
	wait_for 20 tap_is_up "$1"
}
usage() { awk '$1 == "usage_usec" { print $2 }' "$HOST/$1.vm/cpu.stat"; }

# packets_to CLASS LOAD
packets_to() {
	local used from
	used=$(usage one) from=$(now_ns)
	measure "$1.$2" spare-pktgen --tap one --shm /dev/shm/one --align-us 41000 --random "$packets" --gap-ms 10000 --limit-s 120
	PPM[$1.$2]=$((($(usage one) - used) * 1000000 / (($(now_ns) - from) / 1000)))
	report "$MEASURES/$1.$2" 'own\.(n|mean|p|max)' lost
	ktap_note "$1.$2: the VM used ${PPM[$1.$2]} ppm"
}

# columns CLASS
columns() {
	vm one
	packets_to "$1" alone
	"$TOOLS/spare-burn" --seconds 1000 "flat=$HOST/flat,1" >/dev/null &
	burner=$!
	packets_to "$1" burner
	vm two
	packets_to "$1" both
	kill "$burner"
	wait "$burner" || true
	standin_stop one
	standin_stop two
	weights "$1"
}

declare -A PPM=()
ktap_plan 9
spare_up -v
host_quiet || ktap_note "the host is still busy"
columns ours
spare_down
host_quiet || ktap_note "the host is still busy"
columns eevdf
# (Beside others ours wait longer, for whom the sender, a real-time thread, has put aside: DESIGN. EEVDF's slice on a single CPU is 0.7 ms. Figures, no rows.)
for load in alone burner both; do ktap_check "CBS-9: $load: no packet is lost" equal 0 "$(result "$MEASURES/ours.$load" lost)"; done
o=$MEASURES/ours.alone e=$MEASURES/eevdf.alone
for q in mean p99 max; do
	ktap_check "CBS-9: $q of what packets wait is no longer than EEVDF's (a tenth, and 1 ms)" \
		at_most $(($(result "$e" "own.${q}_ns") * 11 / 10 + 1000000)) "$(result "$o" "own.${q}_ns")"
done
for load in alone burner; do
	ktap_check "CBS-9: $load: the VM has its limit as there" near "${PPM[eevdf.$load]}" 4000 "${PPM[ours.$load]}"
done
# (Of equal weight, yet neither gives the single one half, and ours gives it less: a figure, no row.)
ktap_check "CBS-9: two cgroups that share a limit together have it" near 100000 2000 "${PPM[ours.both_of_them]}"
ktap_done
