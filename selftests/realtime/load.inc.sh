# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# load.inc.sh - a host under load, for the tests of life and death. Source after ktap.sh, spare.sh, measure.inc.sh, module.inc.sh.
#
#   background COMMAND...         run it in a process group of its own until background_stop or the end of the script
#   background_stop               end all of them
#   packets TAP SHM               a stream of packets to a stand-in's tap, 3 to 9 ms apart, until stopped
#   share DIR SECONDS [CPU]       per cent of one CPU that the VM (its server on CPU) uses in that time, by the class's account
#   share_within LOW HIGH DIR SECONDS [CPU]
#   shares_within SECONDS "LOW HIGH DIR [CPU]"...   several, over the same time
#   runs_on DIR CPU               the VM's server on CPU serves: its use grows (for wait_for)
#   slots_free CPU                180 smallest reservations fit on CPU: no slot and no bandwidth was lost

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

packets() {
	local loop
	# shellcheck disable=SC2016 # expands inside
	loop='while :; do "$1/spare-pktgen" --tap "$2" --shm "$3" --random 16000 --min-us 3000 --max-us 9000; sleep 0.1; done'
	background bash -c "$loop" _ "$TOOLS" "$1" "$2"
}

clock_ns() { date +%s%N; }

share() {
	local dir=$1 key=used_ns before start
	[[ -z ${3-} ]] || key=cpu$3.used_ns
	before=$(stat_of "$dir" "$key") start=$(clock_ns)
	sleep "$2"
	echo $((100 * ($(stat_of "$dir" "$key") - before) / ($(clock_ns) - start)))
}

share_within() {
	local percent
	percent=$(share "${@:3}")
	echo "$3${5:+ on CPU $5}: $percent % of a CPU in $4 s, wanted $1 to $2"
	((percent >= $1 && percent <= $2))
}

shares_within() {
	local seconds=$1 want low high dir cpu pid pids=() status=0
	shift
	for want; do
		read -r low high dir cpu <<<"$want"
		share_within "$low" "$high" "$dir" "$seconds" "$cpu" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || status=1; done
	return "$status"
}

runs_on() {
	local before
	before=$(stat_of "$1" "cpu$2.used_ns")
	sleep 0.2
	(($(stat_of "$1" "cpu$2.used_ns") > before))
}

slots_free() {
	local i status=0
	mkdir -p "$CGROUP/slots"
	echo '+cpu +io' >"$CGROUP/slots/cgroup.subtree_control"
	for i in {1..180}; do
		mkdir "$CGROUP/slots/$i"
		{ echo 500 100000 >"$CGROUP/slots/$i/spare.reservation" && echo "$1" >"$CGROUP/slots/$i/spare.cpus"; } || { status=1; break; }
	done
	find "$CGROUP/slots" -depth -type d -exec rmdir {} +
	return "$status"
}
