#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# CBS-11: a real-time thread of a VM runs before every reservation. What it uses is counted and said, the VM's other threads pay for it, and
# what a neighbour loses shows in stolen_ns. What servers used is the class's own account: the kernel's loses time (DESIGN, "The rq clock").
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

q=20000 p=100000 seconds=${SPARE_SECONDS:-10}
a=$CGROUP/vm/a b=$CGROUP/vm/b

exec 7<> <(:)	# never has anything to read (SCHED_DEADLINE threads cannot fork)
# realtime RUN_US SLEEP_S [CHRT_OPTION...]: a real-time thread in a (default: SCHED_FIFO), so long at a time
realtime() {
	local class=("${@:3}")
	((${#class[@]})) || class=(-f 10)
	# shellcheck disable=SC2016 # expands inside
	chrt "${class[@]}" bash -c '
		echo $$ >"$3/cgroup.procs"
		while :; do
			at=${EPOCHREALTIME/./}
			while ((${EPOCHREALTIME/./} - at < $1)); do :; done
			read -rt "$2" -u 7
		done' realtime "$1" "$2" "$a" &
	RT=$!
}
realtime_stop() {
	[[ -z ${RT-} ]] || { kill -KILL "$RT" 2>/dev/null || true; wait "$RT" 2>/dev/null || true; }
	RT=
}
ktap_cleanup realtime_stop

event() { awk -v key="$1" '$1 == key { print $2 }' "$a/spare.events"; }

# The real-time thread's schedstat, what a has counted of it, a's and b's own use, in ns; when, in us.
look() { LOOK=("$(cut -d' ' -f1 "/proc/$RT/schedstat")" "$(stat_of "$a" rt_ns)" "$(stat_of "$a" used_ns)" "$(stat_of "$b" used_ns)" "${EPOCHREALTIME/./}"); }

# ppm PART WHOLE: how far PART is from WHOLE
ppm() { echo $(($1 * 1000000 / $2 - 1000000)); }

TRACING=/sys/kernel/tracing
TRACE=$TRACING/instances/rt
tracing_end() { [[ ! -d $TRACE ]] || rmdir "$TRACE"; }

# waited PID VM: ns that the VM of this id was ready and the real-time thread PID had the CPU, between the two marks: by sched_switch, and by when
# the VM was throttled until when. (A server that is replenished while a real-time thread runs is seen when that ends: the deadline is what counts.)
waited() {
	awk -v pid="$1" -v vm="vm=$2" '
		function value(name,  i) { for (i = 1; i <= NF; i++) if (index($i, name "=") == 1) return substr($i, length(name) + 2) + 0 }
		function overlap(a, b, c, d) { a = a > c ? a : c; b = b < d ? b : d; return b > a ? b - a : 0 }
		/^#/ { next }
		{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+:$/) now = $i * 1e9 }
		/tracing_mark_write: begin/ { begin = now }
		/tracing_mark_write: end/ { end = now }
		/sched_switch:/ && value("prev_pid") == pid && since { from[++n] = since; to[n] = now; since = 0 }
		/sched_switch:/ && value("next_pid") == pid { since = now }
		/spare_throttle:/ && index($0, vm " ") {
			if (m)
				until[m] = now
			ready[++m] = value("deadline_ns")
		}
		END {
			until[m] = end
			for (i = 1; i <= n; i++)
				for (j = 1; j <= m; j++) {
					a = from[i] > begin ? from[i] : begin
					b = to[i] < end ? to[i] : end
					sum += overlap(a, b, ready[j], until[j])
				}
			printf "%d\n", sum
		}' "$TRACE/trace"
}

ktap_plan 23
spare_up -v
host_quiet || ktap_note "the host is still busy"
vm_cgroup a $q $p 0 >/dev/null
vm_cgroup b $q $p 0 >/dev/null
ktap_cleanup "cgroup_remove $a $b"
standin a --cgroup "$a"
standin b --cgroup "$b"
sleep 1
ktap_check 'CBS-11: no real-time thread, nothing counted' equal '0 0' "$(stat_of "$a" rt_ns) $(event rt)"

# pays NAME CHRT_OPTION...
pays() {
	local before us rt own counted vcpu other events
	realtime 8000 0.09 "${@:2}"
	sleep 1
	events=$(event rt)
	look
	before=("${LOOK[@]}")
	sleep "$seconds"
	look
	us=$((LOOK[4] - before[4])) rt=$((LOOK[0] - before[0])) own=$((us * q * 1000 / p)) events=$(($(event rt) - events))
	counted=$((LOOK[1] - before[1])) vcpu=$((LOOK[2] - before[2])) other=$((LOOK[3] - before[3]))
	ktap_note "$1: in $us us: the real-time thread $rt ns, counted $counted, the VM beside it $vcpu, the neighbour $other"
	ktap_check "CBS-11: $1: it did run" at_least $((us * 50)) "$rt"
	ktap_check "CBS-11: $1: what it ran is counted, to 1 %" at_most 10000 "$(ppm "$counted" "$rt")"
	# At the ends of the window a period may be cut.
	ktap_check "CBS-11: $1: it and the VM's other threads together have the reservation" at_most $((p * 3 / 2 / seconds)) "$(ppm $((rt + vcpu)) "$own")"
	ktap_check "CBS-11: $1: the neighbour has its own" at_most $((p * 3 / 2 / seconds)) "$(ppm "$other" "$own")"
	ktap_check "CBS-11: $1: and is told what it waited for" at_least 1 "$(stat_of "$b" stolen_ns)"
	ktap_check "CBS-11: $1: the event came, once a second" at_most 2 $((events - us / 1000000))
	realtime_stop
}
# told NAME CHRT_OPTION...: the neighbour alone waits, as the real-time thread's VM has no other thread: what it is told is what it waited.
told() {
	local before told waited
	realtime 8000 0.09 "${@:2}"
	sleep 0.5
	echo 1 >"$TRACE/tracing_on"
	sleep 0.5
	echo begin >"$TRACE/trace_marker"
	before=$(stat_of "$b" stolen_ns)
	sleep "$seconds"
	told=$(($(stat_of "$b" stolen_ns) - before))
	echo end >"$TRACE/trace_marker"
	echo 0 >"$TRACE/tracing_on"
	waited=$(waited "$RT" "$(stat -c %i "$b")")
	echo >"$TRACE/trace"
	realtime_stop
	ktap_note "$1: the neighbour waited $waited ns, and is told $told"
	ktap_check "CBS-11: $1: the neighbour does wait" at_least $((seconds * 5000000)) "$waited"
	ktap_check "CBS-11: $1: and is told 90 % of that at least, and 101 % at most" eval "at_least $((waited * 9 / 10)) $told && at_most $((waited * 101 / 100)) $told"
}

pays SCHED_FIFO -f 10
pays SCHED_DEADLINE -d --sched-runtime 9000000 --sched-deadline 100000000 --sched-period 100000000 0
standin_stop a
mountpoint -q $TRACING || mount -t tracefs tracefs $TRACING
ktap_cleanup tracing_end
mkdir "$TRACE"
echo 16384 >"$TRACE/buffer_size_kb"
echo 0 >"$TRACE/tracing_on"
echo mono >"$TRACE/trace_clock"
echo 1 | tee "$TRACE"/events/{sched/sched_switch,sched_spare/spare_throttle}/enable >/dev/null
told SCHED_FIFO -f 10
told SCHED_DEADLINE -d --sched-runtime 9000000 --sched-deadline 100000000 --sched-period 100000000 0
tracing_end
standin a --cgroup "$a"
sleep 1

# A hog, for a second; what ends it must go before it. Then the debt is more than eight periods, of which CBS-7 forgives the rest:
# eight replenishments pass, and the first of them may be near.
chrt -f 60 bash -c 'sleep 1; pkill -KILL -f "^bash.*realtime 3000000"' &
killer=$!
realtime 3000000 0.01
wait "$killer" || true
realtime_stop
sleep 0.2
vcpu=$(stat_of "$a" used_ns)
sleep 0.4
ktap_check "CBS-11: after a hog the VM's other threads wait for periods" equal 0 $(($(stat_of "$a" used_ns) - vcpu))
runs() { (($(stat_of "$a" used_ns) > vcpu)); }
sleep 0.4
ktap_check 'CBS-7: for eight of them at most' runs

# One that always uses more than the reservation: its debt never ends, and the watchdog ends the class when a thread has waited for 30 s.
realtime 30000 0.07
sleep 12
for i in 1 2; do
	vcpu=$(stat_of "$a" used_ns)
	sleep 12
	ktap_check "CBS-7: beside a real-time thread that uses more than the reservation the others have a turn in 12 s ($i)" runs
done
ktap_check 'CBS-7: and no more than that' at_most 2000000 $(($(stat_of "$a" used_ns) - vcpu))
realtime_stop
ktap_check 'CBS-11: the class still runs' class_is enabled
ktap_done
