#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 420
#
# top.sh - sparectl top, record and report on three stand-ins under load: what they say beside spare.stat, and what a user sees in terminals of
# several kinds (tmux).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

tap=spare_top

command -v tmux >/dev/null || ktap_skip_all 'no tmux'

# value FILE VM COLUMN: of the last line of JSON
value() {
	tail -n 1 "$1" | python3 -c '
import json, sys
print(next(vm[sys.argv[2]] for vm in json.load(sys.stdin)["vms"] if vm["name"] == sys.argv[1]))' "$2" "$3"
}
# within LOW HIGH FILE VM COLUMN
within() { value "${@:3}" | awk -v low="$1" -v high="$2" '{ print "it is " $1; exit !($1 >= low && $1 <= high) }'; }

# A terminal: screen NAME WIDTH HEIGHT ENVIRONMENT... -- OPTION...; what is on it: see NAME (with its colours: -e)
screen() {
	local name=$1 width=$2 height=$3 words=()
	shift 3
	while [[ $1 != -- ]]; do words+=("$1"); shift; done
	shift
	tmux -u -L top -f /dev/null new-session -d -s "$name" -x "$width" -y "$height" "trap : INT; env ${words[*]} sparectl top $*; echo ended \$?; sleep 1000"
	wait_for 20 sees "$name" ' CPUs'
}
see() { tmux -L top capture-pane -p -t "$@"; }
sees() { see "$1" | grep -q -- "$2"; }
press() { tmux -L top send-keys -t "$@"; }
ended() { sees "$1" 'ended 0'; }
# No line is wider, none is missing.
fits() {
	see "$1"
	(($(see "$1" | LC_ALL=C.UTF-8 wc -L) <= $2 && $(see "$1" | wc -l) == $3))
}
end_screens() { tmux -L top kill-server 2>/dev/null || true; }

batch() { sparectl top -b "$@" >"$MEASURES/out" 2>"$MEASURES/err"; }

test_nothing_loaded() {
	ktap_check 'top: with neither module nor class it shows the host' eval 'sparectl top -b -n 1 -d 0.2 >"$MEASURES/out" && grep -q "no class, no module" "$MEASURES/out" && grep -q "^no VM" "$MEASURES/out"'
}

test_batch() {
	local out=$MEASURES/batch ready
	sparectl top -b -n 4 -d 2 --json >"$out"
	ready=$(value "$out" a rdy_pct | cut -d. -f1)
	ktap_check 'ACC-5: gotten: a of 30 ms in 100 uses 30 % of a CPU' within 27 33 "$out" a used_pct
	ktap_check 'ACC-5: allocated: c of 20 ms in 100 on two CPUs' within 40 40 "$out" c alloc_pct
	ktap_check 'ACC-5: waited: a, which burns, is ready the rest of the time' within 55 75 "$out" a rdy_pct
	# (But for c's 20 ms, where they go first; and a budget's end may be at each end of 2 s.)
	ktap_check 'ACC-5: and throttled' within $((ready - 24)) $((ready + 4)) "$out" a thr_pct
	ktap_check 'ACC-5: executions' within 1 100000 "$out" a exec_ps
	ktap_check 'ACC-5: gotten for each period: 30 ms' within 27 33 "$out" a used_period_ms
	ktap_check 'SPARE-5: packets to b get spares' within 1 1000 "$out" b grant_ps
	ktap_check 'SPARE-3: and their first service is measured' within 1 50000 "$out" b p50_us
	ktap_check 'top: CSV: titles once, a line for each VM and sample' eval 'batch --csv -n 2 -d 0.5 --fields name,used_pct && [[ $(wc -l <"$MEASURES/out") == 7 && $(head -n 1 "$MEASURES/out") == time_ns,name,used_pct ]]'
	ktap_refused 'top: a column that there is not is named' "no column 'nonsense'" sparectl top -b --fields name,nonsense
	ktap_refused 'top: no terminal: it says what to do' 'sparectl top -b' sparectl top
	ktap_refused 'top: an unknown terminal is named' 'TERM=nonsense' script -qec 'TERM=nonsense sparectl top' /dev/null
}

test_screens() {
	screen small 80 24 TERM=screen-256color LC_ALL=C.UTF-8 --
	ktap_check 'top: 80x24: fits, with the VMs' eval 'wait_for 10 sees small "30ms/100ms.*30\.0" && fits small 80 24'
	press small w
	ktap_check 'top: w says in a sentence why a VM is slow' wait_for 10 sees small 'of the time its budget .* is used up'
	press small Enter
	ktap_check 'top: Enter shows its servers and threads' wait_for 10 eval 'sees small "throttled\|running\|ready" && sees small EXEC/s'
	press small Escape
	tmux -L top resize-window -t small -x 200 -y 60
	ktap_check 'top: it follows the terminal: 200x60' wait_for 10 eval 'sees small DENY/s && [[ $(see small | wc -l) == 60 ]]'
	tmux -L top resize-window -t small -x 20 -y 5
	ktap_check 'top: and 20x5' wait_for 10 fits small 20 5
	press small q
	ktap_check 'top: q ends it' wait_for 10 ended small

	screen plain 80 24 TERM=screen-256color LC_ALL=C NO_COLOR=1 -- --view latency
	ktap_check 'top: in a C locale each byte is ASCII' eval '! see plain | LC_ALL=C grep -q "[^ -~]"'
	ktap_check 'top: NO_COLOR: no colour' eval '! see plain -e | grep -q $'"'\\e\\[[0-9;]*3[0-7]m'"
	press plain q
	screen old 80 24 TERM=vt100 LC_ALL=C -- -d 0.1
	ktap_check 'top: a vt100, ten times a second' eval 'wait_for 10 sees old "0.1 s" && fits old 80 24'
	press old C-c
	ktap_check 'top: ^C ends it, too' wait_for 10 ended old
}

test_record() {
	local file=$MEASURES/rec recorder page=$MEASURES/page.html
	sparectl record "$file" -d 0.2 &
	recorder=$!
	wait_for 20 eval '(($(stat -c %s "$file") > 30000))' || true
	kill -KILL "$recorder"
	wait "$recorder" 2>/dev/null || true
	ktap_check 'record: killed, it leaves a recording' eval 'sparectl report "$file" >"$MEASURES/report" && grep -q "^a .*30ms/100ms" "$MEASURES/report"'
	ktap_note "$(cat "$MEASURES/report")"
	ktap_check 'record: which says what top said' eval 'sparectl top -b --replay "$file" --json >"$MEASURES/replay" && within 20 40 "$MEASURES/replay" a used_pct'
	ktap_check 'report: one page, nothing else' eval 'sparectl report "$file" --html "$page" && grep -q "<svg" "$page" && ! grep -q "https\?:\|src=" "$page"'
	screen again 80 24 TERM=screen-256color LC_ALL=C.UTF-8 -- --replay "$file" -d 0.1
	ktap_check 'top --replay: to its end' wait_for 60 sees again '(the last)'
	press again q
	echo mine >"$MEASURES/mine"
	ktap_refused 'record: a file of another kind is left alone' 'no recording' sparectl record "$MEASURES/mine" -n 1
	ktap_check 'record: (it is as it was)' equal mine "$(<"$MEASURES/mine")"
}

ktap_plan 30
ktap_cleanup end_screens
test_nothing_loaded
spare_up
three_vms "$tap"
packets "$tap" /dev/shm/b
begun "$CGROUP/vm/a:0" "$CGROUP/vm/b:1" "$CGROUP/vm/c:0"
test_batch
test_screens
test_record
background_stop
ktap_check 'top: the kernel has nothing to say' equal '' "$(bad_log)"
ktap_done
