#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 900
# by name: the experiment E8
# cpus: 2
# E8: what a decision, a VM's memory and its making cost when there are many VMs. Each VM has 0.5 ms of 100 ms and burns, so that
# its server is ready, running or throttled all the time.
#   spread  VMs over all CPUs, SPARE_CROWDS
#   same    VMs on CPU 0 alone, SPARE_SAME
# Under -icount time is path length, 2 ns an instruction; but CPUs take turns on one clock, so for what follows spared is stopped, and
# the processes on the other CPUs have ended; their servers are still there.
#   decision   a thread of a further VM on CPU 0 wakes one of another VM there and sleeps: its server becomes ready, is chosen, the other's
#              goes; less what the same takes without the class. The lower quartile, which nothing interrupts.
#   callbacks  mean time of the class's callbacks (bpf_stats), and of all of them per thread that came to run
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

cpus=$(nproc)
read -r -a spread <<<"${SPARE_CROWDS:-10 150}"
read -r -a same <<<"${SPARE_SAME:-10 100}"
most=${spread[-1]}
pair=("$CGROUP/vm/pair" "$CGROUP/vm/partner")

# callbacks: "NAME ns count" of each of the class's programs since they were loaded
callbacks() { bpftool prog show | sed -n 's/^[0-9]*: struct_ops  *name \([a-z_]*\) .*run_time_ns \([0-9]*\) run_cnt \([0-9]*\).*/\1 \2 \3/p' | sort; }

# crowd KIND N CPUS OPTION...
crowd() {
	local kind=$1 n=$2 on=$3
	shift 3
	ktap_note "crowd $kind $n $on"
	# Its stages go to stderr.
	callbacks >"$MEASURES/from"
	"$TOOLS/spare-scale" --parent "$CGROUP/scale" --vms "$n" --cpus "$on" --pair "${pair[0]}" --partner "${pair[1]}" --rounds 300 --bpf-stats "$@" >"$MEASURES/$kind.$n" || exit 1
	callbacks >"$MEASURES/to"
	report "$MEASURES/$kind.$n" .
	ktap_note "$(join -a 2 -e 0 -o 0,1.2,1.3,2.2,2.3 "$MEASURES/from" "$MEASURES/to" |
		awk '$5 > $3 { printf "callback.%s.instructions %d\ncallback.%s.calls %d\n", $1, ($4 - $2) / ($5 - $3) / 2, $1, $5 - $3; sum += $4 - $2 }
			$1 == "spare_running" { runs = $5 - $3 }
			END { if (runs) printf "callback.all.instructions %d\n", sum / runs / 2 }')"
}

# at_most_percent LIMIT BASE VALUE
at_most_percent() { (($3 * 100 <= $2 * $1)) || { echo "$3 is more than $1 % of $2"; return "$KTAP_BOUND"; }; }

ktap_plan 7
[[ ${SPARE_HOST-} == deterministic ]] || ktap_note "not under icount: these are times, not instructions"
mkdir -p "${pair[@]}" "$CGROUP/scale"
ktap_cleanup "cgroup_remove ${pair[*]}"
host_quiet || ktap_note "the host is still busy"
crowd none 0 1
spare_up
controllers "$CGROUP/vm"
controllers "$CGROUP/scale"
ktap_cleanup "find $CGROUP/scale -depth -type d -exec rmdir {} +"
pool=$(provider p0 500 100000 "0-$((cpus - 1))")
ktap_cleanup "cgroup_remove $pool"
for dir in "${pair[@]}"; do
	echo '2500 100000' >"$dir/spare.reservation"
	echo 0 >"$dir/spare.cpus"
done
kill -STOP "$SPARED_PID"
ktap_cleanup "kill -CONT $SPARED_PID"

# The largest first: its queues are not yet in stock (queue.bpf.h).
for ((i = ${#spread[@]} - 1; i >= 0; i--)); do crowd spread "${spread[i]}" "$cpus" --burn --use /pool; done
for n in "${same[@]}"; do crowd same "$n" 1 --burn; done

# decision KIND N: instructions of a way that are the class's
decision() { echo $((($(result "$MEASURES/$1.$2" way.p25_ns) - $(result "$MEASURES/none.0" way.p25_ns)) / 2)); }

# grows KIND FEW MANY
grows() {
	ktap_note "$1: $(decision "$1" "$2") instructions beside $2 VMs, $(decision "$1" "$3") beside $3"
	ktap_check "E8: $1: a decision beside $3 VMs costs at most 1.5 of one beside $2" at_most_percent 150 "$(decision "$1" "$2")" "$(decision "$1" "$3")"
}

grows spread "${spread[0]}" "$most"
grows same "${same[0]}" "${same[-1]}"
r=$MEASURES/spread.$most
ktap_check "E8: kernel memory of a VM, links and queues included: at most 8 KiB and 128 bytes per CPU" at_most $((8192 + 128 * cpus)) "$(result "$r" vm.memory_per_vm)"
ktap_check "E8: no thread ran without its server" equal 0 "$(result "$r" stray.vms)"
for step in reserve place link; do
	ktap_check "E8: $step: the last of $most takes at most thrice as long as the first" at_most_percent 300 \
		"$(result "$r" $step.first_ns)" "$(result "$r" $step.last_ns)"
done
ktap_done
