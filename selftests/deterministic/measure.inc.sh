# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# measure.inc.sh - what the measuring scripts share. Source after ktap.sh and spare.sh.
#
#   standin NAME [ARG...]     start a spare-standin; its stamps are in /dev/shm/NAME; it ends with the script
#   standin_stop NAME         end it now
#   host_quiet                wait until the work of booting is over
#   result FILE KEY           a number of a tool's report
#   report FILE PATTERN...    show the lines of a report that match, as notes
#   equal A B
#   account_of DIR [CPU]      of a VM with a server on that CPU (0): periods, own use up to this period's end if it uses that up, cost, paid, owed; in ns

MEASURES=$(mktemp -d)
ktap_cleanup "rm -rf $MEASURES"
declare -A STANDIN=()

standin() {
	local name=$1
	shift
	"$TOOLS/spare-standin" --shm "/dev/shm/$name" "$@" </dev/null >"$MEASURES/standin.$name" 2>&1 &
	STANDIN[$name]=$!
	ktap_cleanup "standin_stop $name"
}

standin_stop() {
	local pid=${STANDIN[$1]-}
	unset "STANDIN[$1]"
	[[ -n $pid ]] || return 0
	kill -TERM "$pid" 2>/dev/null || true
	wait "$pid" || true
	rm -f "/dev/shm/$1"
}

# For a second hardly anything ran (100 ticks a second and CPU).
second_idle() {
	local before idle iowait cpus
	cpus=$(nproc)
	read -r _ _ _ _ idle iowait _ </proc/stat
	before=$((idle + iowait))
	sleep 1
	read -r _ _ _ _ idle iowait _ </proc/stat
	((idle + iowait - before >= 95 * cpus))
}

host_quiet() { wait_for 60 second_idle; }

# A stand-in makes its tap and then sets it up; a packet socket of before that hears "Network is down".
tap_is_up() {
	local flags
	{ read -r flags <"/sys/class/net/$1/flags"; } 2>/dev/null && ((flags & 1))
}

result() {
	local key value
	while read -r key value _; do
		[[ $key != "$2" ]] || { echo "$value"; return; }
	done <"$1"
	return 1
}

report() {
	local file=$1
	shift
	ktap_note "$(grep -E "$(IFS='|'; echo "$*")" "$file" || true)"
}

equal() { [[ $1 == "$2" ]] || { echo "'$1' is not '$2'"; return 1; }; }

account_of() {
	awk -v "cpu=cpu${2:-0}." '{ v[$1] = $2 }
		END { printf "%d %d %d %d %d\n", v[cpu "periods"], v[cpu "used_ns"] + v[cpu "q_ns"], v["cost_ns"], v[cpu "cost_paid_ns"], v["cost_owed_ns"] }' "$1/spare.stat"
}

# Run a tool and keep its report in $MEASURES/NAME; without a report there is nothing to judge.
measure() {
	local name=$1 tool=$2
	shift 2
	"$TOOLS/$tool" "$@" >"$MEASURES/$name" 2>"$MEASURES/$name.err" && return
	ktap_note "$name: $tool ended with $?: $(cat "$MEASURES/$name.err")"
	return 1
}
