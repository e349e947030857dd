#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 240
#
# trace.sh - the tracepoints of sched_spare, as ftrace, bpftrace and perf see them: one event for each thing that spare.stat counts.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

TRACING=/sys/kernel/tracing
TRACE=$TRACING/instances/spare_trace
PROGRAM='tracepoint:sched_spare:spare_grant { @grants[args.vm] = count(); @waited[args.vm] = max(args.waited_ns); } interval:s:1 { printf("attached\n"); }'

# perf_begin, perf_end: perf records the grants meanwhile
perf_begin() {
	local word
	mkfifo "$MEASURES/perf.do" "$MEASURES/perf.done"
	exec {do}<>"$MEASURES/perf.do" {done}<>"$MEASURES/perf.done"
	background bash -c 'exec perf record -q -a -e sched_spare:spare_grant -D -1 --control "fifo:$1/perf.do,$1/perf.done" -o "$1/perf.data" 2>"$1/perf.err"' _ "$MEASURES"
	perf=${BACKGROUND[-1]}
	echo enable >&"$do"
	read -rt 60 -u "$done" word && [[ $word == ack ]]
}
perf_end() {
	kill -INT -- "-$perf" || true
	wait_for 20 eval '! kill -0 "$perf" 2>/dev/null' || true
	perf script -i "$MEASURES/perf.data" >"$MEASURES/perf" 2>>"$MEASURES/perf.err" || cat "$MEASURES/perf.err"
}

tracing_end() {
	background_stop
	[[ ! -d $TRACE ]] || rmdir "$TRACE"
}

# lines EVENT VM [WORDS]: how many of the trace are
lines() { grep -c "$1: vm=$2 .*${3-}" "$MEASURES/trace" || true; }
counted() { echo $(($(stat_of "$1" "$2") - ${BEFORE[$1.$2]})); }
# missed: events for which bpftrace's program was not run, and of which perf, behind it, has none: the kernel runs no program of an event on a CPU where another
# one, or a process in bpf() (bpftrace itself, ten times a second), is interrupted with a map in hand (trace_call_bpf(), bpf_prog_active).
missed() { bpftool prog show | sed -n 's/^[0-9]*: tracepoint .* recursion_misses \([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'; }
bpftrace_says() { sed -n "s/^@$1\[$2\]: //p" "$MEASURES/bpftrace"; }

# Each budget of the trace, after its event, is what the event says: spent, or back (or still paying).
budgets_make_sense() {
	awk -v vm="vm=$1" '
		function value(name,  i) { for (i = 1; i <= NF; i++) if (index($i, name "=") == 1) return substr($i, length(name) + 2) + 0 }
		!index($0, vm " ") { next }
		{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+:$/) now = $i * 1e9 }
		/spare_throttle:/ && (value("budget_ns") > 0 || value("deadline_ns") > now + 1e8 + 1e6) { bad++; print "# " $0 }
		/spare_replenish:/ && (value("budget_ns") > 2e7 || value("deadline_ns") < now) { bad++; print "# " $0 }
		/spare_(throttle|replenish):/ { seen++ }
		END { print seen + 0 " lines, " bad + 0 " wrong"; exit bad || !seen }' "$MEASURES/trace"
}

ktap_plan 17
spare_up
mountpoint -q $TRACING || mount -t tracefs tracefs $TRACING
ktap_cleanup tracing_end
pool=$(provider p0 1000 10000 0)
ktap_cleanup "cgroup_remove $pool"
vm=$(vm_cgroup traced 20000 100000 0)
ktap_cleanup "cgroup_remove $vm"
vm_id=$(stat -c %i "$vm") pool_id=$(stat -c %i "$pool")
echo /pool/p0 >"$vm/spare.use"

mkdir $TRACE
echo 8192 >$TRACE/buffer_size_kb
echo mono >$TRACE/trace_clock
echo 1 >$TRACE/events/sched_spare/enable
background bash -c 'exec bpftrace -B line -e "$1" >"$2" 2>"$2.err"' _ "$PROGRAM" "$MEASURES/bpftrace"
tracer=${BACKGROUND[-1]}
wait_for 60 grep -q ^attached "$MEASURES/bpftrace" || cat "$MEASURES/bpftrace.err"

perf_begin || cat "$MEASURES/perf.err"

# Nothing of it runs yet, nor when the counters are read again: they and the trace end at the same places.
declare -A BEFORE
for key in granted denied throttled periods; do BEFORE[$vm.$key]=$(stat_of "$vm" $key) BEFORE[$pool.$key]=$(stat_of "$pool" $key); done
standin traced --cgroup "$vm" --tap tap0
wait_for 20 tap_is_up tap0
echo tap0 >"$vm/spare.netdev"
send() { "$TOOLS/spare-pktgen" --tap tap0 --shm /dev/shm/traced --random "$1" --min-us 3000 --max-us 19000 >"$MEASURES/pktgen" 2>&1 || ktap_note "$(tail -n 1 "$MEASURES/pktgen")"; }
send 200
echo grant_us=1 >"$vm/spare.policy"	# too little for the vCPU: denied
send 100
standin_stop traced
sleep 0.5
echo 0 >$TRACE/tracing_on
cp $TRACE/trace "$MEASURES/trace"
missed=$(missed)
kill -INT -- "-$tracer" || true
wait_for 20 eval '! kill -0 "$tracer" 2>/dev/null' || true
perf_end

ktap_note "granted $(counted "$vm" granted), denied $(counted "$vm" denied), throttled $(counted "$vm" throttled), periods $(counted "$vm" periods); the provider: throttled $(counted "$pool" throttled), periods $(counted "$pool" periods)"
ktap_check 'the trace has lost nothing' eval '! grep -q "LOST" "$MEASURES/trace"'
ktap_check 'packets were granted' at_least 10 "$(counted "$vm" granted)"
ktap_check 'and denied' at_least 1 "$(counted "$vm" denied)"
ktap_check 'the provider was throttled and replenished' at_least 1 "$(($(counted "$pool" throttled) && $(counted "$pool" periods)))"
is 'spare_grant: one for each grant' "$(counted "$vm" granted)" "$(lines spare_grant "$vm_id")"
is 'spare_grant names the provider' "$(counted "$vm" granted)" "$(lines spare_grant "$vm_id" "provider=$pool_id ")"
is 'spare_deny: one for each packet denied' "$(counted "$vm" denied)" "$(lines spare_deny "$vm_id")"
is 'spare_throttle: one for each time throttled' "$(counted "$vm" throttled)" "$(lines spare_throttle "$vm_id")"
is "spare_throttle: a provider's, too" "$(counted "$pool" throttled)" "$(lines spare_throttle "$pool_id")"
is 'spare_replenish: one for each period' "$(counted "$vm" periods)" "$(lines spare_replenish "$vm_id")"
is "spare_replenish: a provider's, too" "$(counted "$pool" periods)" "$(lines spare_replenish "$pool_id")"
ktap_check 'their budgets and deadlines are of that moment' budgets_make_sense "$vm_id"
ktap_check 'spare_mark: of half of the grants, at least, the hook had noticed the packet' at_least "$(($(counted "$vm" granted) / 2))" "$(lines spare_mark "$vm_id")"
ktap_check 'bpftrace and perf are shown most of them' at_most "$(($(counted "$vm" granted) / 5))" "$missed"
traced=$(($(counted "$vm" granted) - missed))
is 'bpftrace counts the same grants' "$traced" "$(bpftrace_says grants "$vm_id")"
is 'perf records the same grants' "$traced" "$(grep -c "sched_spare:spare_grant: vm=$vm_id .*provider=$pool_id " "$MEASURES/perf" || true)"
cgroup_remove "$vm" "$pool"
ktap_check 'the module can be unloaded while its events are traced' spare_down
ktap_done
