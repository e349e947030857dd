# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# load.inc.sh - a host under load, for the tests of life and death. Source after ktap.sh, spare.sh, measure.inc.sh, module.inc.sh.
#
#   background COMMAND...         run it in a process group of its own until background_stop or the end of the script
#   background_stop               end all of them
#   slow_writers FILE TEXT        four that write TEXT to a spare.* file and have 1 ms in a second each, until slow_writers_stop: others wait for spare_config
#   packets TAP SHM               a stream of packets to a stand-in's tap, 3 to 9 ms apart, until stopped
#   three_vms TAP                 VM a on CPU 0, b on 1 with provider p0 there and TAP, c on both; all burn, at rest (tools/resting.cpp):
#                                 lifecycle.sh, trace.sh and the experiments have VMs that compute
#   share DIR SECONDS [CPU]       per cent of one CPU that the VM (its server on CPU) uses in that time, by the class's account
#   share_within LOW HIGH DIR SECONDS [CPU]
#   shares_within SECONDS "LOW HIGH DIR [CPU]"...   several, over the same time
#   runs_on DIR CPU               the VM's server on CPU serves: its use grows (for wait_for)
#   begun DIR:CPU...              wait until each of these serves
#   slots_free CPU                180 smallest reservations fit on CPU: no slot and no bandwidth was lost
#   class_global NAME             a counter among the class's global variables
#   class_counts N                the class counts N servers, and every queue but theirs is in its stock

BACKGROUND=()

background() {
	setsid "$@" </dev/null >/dev/null 2>&1 &
	BACKGROUND+=($!)
}

background_stop() {
	local pid
	for pid in "${BACKGROUND[@]-}"; do
		[[ -n $pid ]] || continue
		kill -KILL -- "-$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	BACKGROUND=()
}
ktap_cleanup background_stop

# A mutex that one of them waits for while it has no time left is handed to it, and it sits in it until its next second. (It would leave the
# kernel first if its time ended within.) Returns when a write of ours has waited for 300 ms.
slow_writers() {
	local i
	for i in {1..4}; do
		mkdir "$CGROUP/slow$i"
		echo '1000 1000000' >"$CGROUP/slow$i/cpu.max"
		background python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
open(sys.argv[3], "w").write(str(os.getpid()))
while True: os.pwrite(fd, sys.argv[2].encode(), 0)' "$1" "$2" "$CGROUP/slow$i/cgroup.procs"
	done
	for i in {1..4}; do wait_for 20 grep -q . "$CGROUP/slow$i/cgroup.procs" || return; done
	wait_for 30 waits_to_write "$1" "$2"
}

waits_to_write() {
	local from=${EPOCHREALTIME/./}
	echo "$2" >"$1" && ((${EPOCHREALTIME/./} - from >= 300000))
}

slow_writers_stop() {
	local i
	for i in {1..4}; do echo max >"$CGROUP/slow$i/cpu.max"; done
	background_stop
	for i in {1..4}; do wait_for 10 rmdir "$CGROUP/slow$i"; done
}

# three_vms TAP: a on CPU 0, b on 1 with a provider and a tap, c on both
three_vms() {
	local name
	vm_cgroup a 30000 100000 0 >/dev/null
	vm_cgroup b 20000 100000 1 >/dev/null
	vm_cgroup c 20000 100000 0-1 >/dev/null
	provider p0 4000 10000 1 >/dev/null
	for name in a b c; do ktap_cleanup "cgroup_remove $CGROUP/vm/$name"; done
	ktap_cleanup "cgroup_remove $CGROUP/pool/p0"
	standin a --rest --cgroup "$CGROUP/vm/a"
	standin b --rest --cgroup "$CGROUP/vm/b" --tap "$1"
	standin c --rest --cgroup "$CGROUP/vm/c" --vcpus 3
	wait_for 20 tap_is_up "$1"
	echo "$1" >"$CGROUP/vm/b/spare.netdev"
	echo /pool/p0 >"$CGROUP/vm/b/spare.use"
}

packets() {
	local loop
	# shellcheck disable=SC2016 # expands inside
	loop='while :; do "$1/spare-pktgen" --tap "$2" --shm "$3" --random 16000 --min-us 3000 --max-us 9000; sleep 0.1; done'
	background bash -c "$loop" _ "$TOOLS" "$1" "$2"
}

# read_used DIR [CPU]: sets USED_NS and AT_US, without a fork: beside a load one may take a second. Of one server only what its budget
# has paid: while the outer machine lets an emulated CPU stand still its clock goes on, the thread has "run" for longer than its
# budget, and the next periods pay. (At once: read(1) seeks back after each line, the kernel then shows the file anew, and where a number
# has become longer meanwhile a line is cut.)
read_used() {
	local line lines left=0 key=${2:+cpu$2.}used_ns
	mapfile -t lines <"$1/spare.stat" || return
	for line in "${lines[@]}"; do
		[[ $line != "cpu${2-}.q_ns "* ]] || left=${line#* }
		[[ $line == "$key "* ]] || continue
		AT_US=${EPOCHREALTIME/./} USED_NS=$((${line#* } + (left < 0 ? left : 0)))
		return 0
	done
	echo "$1/spare.stat has no $key"
	return 1
}

# shares SECONDS "DIR [CPU]"...: sets SHARES, a per cent of one CPU for each, over the same time
shares() {
	local seconds=$1 i dir cpu before=() from=()
	shift
	for i; do
		read -r dir cpu <<<"$i"
		read_used "$dir" "$cpu" || return
		before+=("$USED_NS") from+=("$AT_US")
	done
	sleep "$seconds"
	SHARES=()
	for i in "${!before[@]}"; do
		read -r dir cpu <<<"${*:i+1:1}"
		read_used "$dir" "$cpu" || return
		SHARES+=($(((USED_NS - before[i]) / 10 / (AT_US - from[i]))))
	done
}

share() { shares "$2" "$1 ${3-}" && echo "${SHARES[0]}"; }

shares_within() {
	local seconds=$1 i low high where status=0
	shift
	shares "$seconds" "${@#* * }" || return
	for i in "${!SHARES[@]}"; do
		read -r low high where <<<"${*:i+1:1}"
		echo "$where: ${SHARES[i]} % of a CPU in $seconds s, wanted $low to $high"
		((SHARES[i] >= low && SHARES[i] <= high)) || status=$KTAP_BOUND
	done
	return "$status"
}

share_within() { shares_within "$4" "$1 $2 $3 ${5-}"; }

runs_on() {
	local before
	before=$(stat_of "$1" "cpu$2.used_ns")
	sleep 0.2
	(($(stat_of "$1" "cpu$2.used_ns") > before))
}

begun() {
	local want
	for want; do wait_for 20 runs_on "${want%:*}" "${want##*:}" || return; done
}

slots_free() {
	local i status=0
	mkdir -p "$CGROUP/slots"
	controllers "$CGROUP/slots"
	mkdir "$CGROUP"/slots/{1..180}
	for i in {1..180}; do
		{ echo 500 100000 >"$CGROUP/slots/$i/spare.reservation" && echo "$1" >"$CGROUP/slots/$i/spare.cpus"; } || { status=1; break; }
	done
	find "$CGROUP/slots" -depth -type d -exec rmdir {} +
	return "$status"
}

class_global() {
	bpftool -j map dump pinned /sys/fs/bpf/sched_spare/bss | grep -o "\"$1\":-\?[0-9]*" | tail -n 1 | cut -d: -f2
}

class_counts() {
	local got
	got="$(class_global servers_total) $(($(class_global queues_made) - $(class_global queues_free)))"
	echo "servers and queues out of the stock: $got"
	[[ $got == "$1 $1" ]]
}
class_reaches() { wait_for 10 class_counts "$1" || class_counts "$1"; }
