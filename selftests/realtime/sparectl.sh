#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 420
# beside
#
# sparectl.sh - the tool: what it takes, what it refuses and how it says so, and that it changes all or nothing.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

ODD=$CGROUP/vm/$'odd \e[31m\xff'

cleanup() {
	local group
	for group in /vm/a /vm/b /pool/p0 /pool/p1 /pool/p2; do
		sparectl remove "$group" 2>/dev/null || true
	done
	ip link del spare-t0 2>/dev/null || true
	rmdir "$CGROUP"/vm/by-hand "$ODD" 2>/dev/null || true
	[[ ! -d /sys/module/sched_spare ]] || rmmod sched_spare
}
ktap_cleanup cleanup

# is NAME WANTED GOT
is() {
	if [[ $3 == "$2" ]]; then ktap_ok "$1"; else ktap_fail "$1" "wanted '$2', got '$3'"; fi
}
file() { cat "$CGROUP$1"; }
all_files() { (cd "$CGROUP$1" && head -n 100 spare.reservation spare.cpus spare.provide spare.use spare.netdev spare.policy); }
json() { python3 -c 'import json, sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }

# unchanged NAME TEXT CGROUP COMMAND...: refused with TEXT, and the cgroup's files say what they said
unchanged() {
	local name=$1 text=$2 group=$3 before after out status=0
	shift 3
	before=$(all_files "$group")
	out=$("$@" 2>&1) || status=$?
	after=$(all_files "$group")
	if ((status)) && [[ $out == *"$text"* && $before == "$after" ]]; then
		ktap_ok "$name"
	else
		ktap_fail "$name" "status $status, wanted '$text': $out
$(diff <(echo "$before") <(echo "$after"))"
	fi
}

test_set() {
	local form
	# As systemd leaves the root: no controllers but its own. (A real host keeps what it has.)
	if [[ ${SPARE_HOST-} == realtime ]]; then
		find "$CGROUP" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
		echo '-cpu -io -cpuset' >"$CGROUP/cgroup.subtree_control"
	fi
	is 'sparectl: create prints the directory, also where the root has no controllers enabled' "$CGROUP/vm/a" "$(sparectl create /vm/a)"
	for form in 40ms/100ms 40000/100000 40000us/0.1s 0.04s/100ms 40% 40.0%/100ms; do
		sparectl set /vm/a --reservation max
		sparectl set /vm/a --reservation "$form"
		is "sparectl: reservation as $form" '40000 100000' "$(file /vm/a/spare.reservation)"
	done
	sparectl set "$CGROUP/vm/a" --cpus 0-1
	is 'sparectl: a cgroup named by its directory; a CPU list' 0-1 "$(file /vm/a/spare.cpus)"
	sparectl set --create /pool/p0 -r 4ms/10ms -c 1 --provide
	is 'SPARE-1: --create --provide makes a provider' 1 "$(file /pool/p0/spare.provide)"
	sparectl set vm/a --policy grant_us=3000,chances=5
	is 'SPARE-4: policy' yes "$([[ $(file /vm/a/spare.policy) == *grant_us=3000*chances=5* ]] && echo yes)"
	ip tuntap add spare-t0 mode tap
	sparectl set /vm/a --netdev spare-t0
	is 'sparectl: a tap' spare-t0 "$(file /vm/a/spare.netdev)"
	sparectl set /vm/a --netdev none
	is 'sparectl: no tap' none "$(file /vm/a/spare.netdev)"
}

test_link() {
	sparectl set --create /pool/p1 -r 1ms/10ms -c 0 --provide
	sparectl link /vm/a /pool/p0
	sparectl link /vm/a /pool/p1 /pool/p0
	is 'SPARE-5: link adds in order, once' '/pool/p0 /pool/p1' "$(file /vm/a/spare.use)"
	sparectl unlink /vm/a /pool/p0
	is 'SPARE-5: unlink takes one away' /pool/p1 "$(file /vm/a/spare.use)"
	unchanged 'SPARE-5: unlink of one that is not linked' 'does not use /pool/p0' /vm/a sparectl unlink /vm/a /pool/p0
	sparectl unlink /vm/a
	is 'SPARE-5: unlink takes all away' none "$(file /vm/a/spare.use)"
}

test_show() {
	sparectl link /vm/a /pool/p0
	is 'sparectl: show --json: reservation' '[40000, 100000]' "$(sparectl show /vm/a --json | json "['reservation_us']")"
	is 'sparectl: show --json: use' "['/pool/p0']" "$(sparectl show /vm/a --json | json "['use']")"
	is 'sparectl: show --json: policy' 3000 "$(sparectl show /vm/a --json | json "['policy']['grant_us']")"
	is 'sparectl: status --json: cgroups' "['/pool/p0', '/pool/p1', '/vm/a']" \
		"$(sparectl status --json | python3 -c 'import json, sys; print([vm["cgroup"] for vm in json.load(sys.stdin)["vms"]])')"
	is 'sparectl: status --json: the class does not run' False "$(sparectl status --json | json "['class']['ours']")"
	ktap_check 'sparectl: status for people' eval "sparectl status | grep -E '^/vm/a +40ms/100ms +0-1 +vm +/pool/p0' >/dev/null"
}

test_refusals() {
	local bad
	for bad in ' ' 0% 101% x% %/100ms -40ms/100ms 40ms 40ms/ms 100ms/40ms 40ms/100ms/1 99999999999999999999/1 0.5us/100us; do
		unchanged "CBS-7: reservation '$bad'" "sparectl: '" /vm/a sparectl set /vm/a "--reservation=$bad" --cpus 1
	done
	unchanged 'CBS-7: a period too long' 'must lie between' /vm/a sparectl set /vm/a --reservation 1s/2s
	unchanged 'CBS-7: too small a share' 'at least 0.5 %' /vm/a sparectl set /vm/a --reservation 100us/1s
	unchanged 'CBS-6: a full CPU is named' 'CPU 1 is full' /vm/a sparectl set /vm/a --reservation 60ms/100ms
	unchanged 'CBS-6: with what fits beside whom' 'at most 50ms/100ms fits beside /pool/p0 40 % (limit 90 %)' /vm/a \
		sparectl set /vm/a --reservation 60ms/100ms
	unchanged 'CBS-6: and where there is room' 'room for it: CPUs 0' /vm/a sparectl set /vm/a --reservation 60ms/100ms -c 1
	unchanged 'CBS-6: run with a reservation that does not fit' 'CPU 1 is full' /vm/a sparectl run /vm/a -r 60ms/100ms -- true
	unchanged 'sparectl: all or nothing: good reservation, bad provider' 'no such provider' /vm/a \
		sparectl set /vm/a --reservation 10ms/100ms --cpus 1 --use /pool/none
	unchanged 'sparectl: all or nothing: good reservation, bad tap' 'no such interface' /vm/a \
		sparectl set /vm/a --reservation 10ms/100ms --use none --netdev spare-none
	unchanged 'sparectl: itself as provider' 'circle' /vm/a sparectl set /vm/a --use /vm/a
	unchanged 'sparectl: lo is no tap' 'only taps' /vm/a sparectl set /vm/a --netdev lo
	unchanged 'sparectl: a CPU that is not there' 'not all of these CPUs' /vm/a sparectl set /vm/a --cpus 0,999
	unchanged 'sparectl: a malformed CPU list' 'malformed' /vm/a sparectl set /vm/a --cpus 1-
	unchanged 'sparectl: without CAP_SYS_NICE' 'CAP_SYS_NICE' /vm/a capsh --drop=cap_sys_nice -- -c 'sparectl set /vm/a -r 1ms/10ms'
	ktap_refused 'sparectl: nothing to set' 'nothing to set' sparectl set /vm/a
	ktap_refused 'sparectl: an unknown command' "did you mean 'status'" sparectl statsu
	ktap_check 'sparectl: one like none: nothing is guessed' eval '! sparectl frobnicate 2>&1 | grep "did you mean" >&2'
	ktap_check 'sparectl: no --create for what it would not make' eval '! { sparectl set /vm/../etc -r max; sparectl show /vm/none; } 2>&1 | grep -e "--create" >&2'
	ktap_refused 'sparectl: create --exclusive of what is there' 'is there already' sparectl create --exclusive /vm/a
	is 'sparectl: exit status 3' 3 "$(sparectl create --exclusive /vm/a >/dev/null 2>&1 || echo $?)"
	is 'sparectl: of an unknown command 2' 2 "$(sparectl statsu >/dev/null 2>&1 || echo $?)"
	ktap_refused 'sparectl: no such cgroup' 'there is no cgroup /vm/none; --create makes it' sparectl set /vm/none -r max
	sparectl run /vm/a -- sleep 1000 &
	wait_for 10 grep -q . "$CGROUP/vm/a/cgroup.procs"
	ktap_refused 'sparectl: no cgroup below one with processes' '/vm/a has processes of its own' sparectl create /vm/a/below
	kill $!
	wait $! 2>/dev/null || true
	ktap_refused 'sparectl: a path with ..' 'is not a cgroup' sparectl show /vm/../etc
	unchanged 'sparectl: CPUs without any of its providers' 'none of the providers' /vm/a sparectl set /vm/a --cpus 0
	sparectl set --create /pool/p2 -r 1ms/10ms -c 0 --provide
	ktap_check 'SPARE-1: CPUs and providers change together, where neither can alone' sparectl set /vm/a --cpus 0 --use /pool/p2
	is 'SPARE-1: and are as wanted' '0 /pool/p2' "$(file /vm/a/spare.cpus) $(file /vm/a/spare.use)"
	unchanged 'SPARE-1: all or nothing: CPUs, and a provider that is not on them' 'none of the providers' /vm/a sparectl set /vm/a --cpus 1 --use /pool/p2
	sparectl set /vm/a -u none
	sparectl remove /pool/p2
	sparectl set /vm/a -r 10ms/100ms -c 0-1 -u none
	ktap_check 'CBS-6: reservation and CPUs change together, in whichever order fits' sparectl set /vm/a -r 75ms/100ms -c 0
	ktap_refused 'sparectl: a new cgroup that is refused is not left behind' 'is full' sparectl set --create /vm/b -r 90ms/100ms -c 0
	is 'sparectl: it is not there' no "$([[ -d $CGROUP/vm/b ]] && echo yes || echo no)"
}

# shown_or_gone CGROUP: sparectl show tells all of it, or that it is not there
shown_or_gone() {
	local out
	if out=$(sparectl show "$1" 2>&1); then
		[[ $out == *reservation*stat*events* ]]
	else
		[[ $out == *"there is no cgroup $1"* || $out == *"the cgroup is gone"* ]]
	fi || { ktap_note "$out"; return 1; }
}

# Names of any bytes, cgroups that come and go, cgroups that others have made.
test_others() {
	mkdir "$ODD" "$CGROUP/vm/by-hand"
	echo '1000 100000' >"$ODD/spare.reservation"
	is 'sparectl: status shows a name of any bytes' 1 "$(sparectl status | grep -cF 'odd \x1b[31m\xff')"
	is 'sparectl: and so does its JSON' True "$(sparectl status --json |
		python3 -c 'import json, sys; print(r"/vm/odd \x1b[31m\xff" in [vm["cgroup"] for vm in json.load(sys.stdin)["vms"]])')"
	ktap_refused 'sparectl: an error about it, too' '/vm/none\x1b' sparectl show "/vm/none"$'\e'
	rmdir "$ODD"
	ktap_refused 'sparectl: remove of what it has not made' '--force' sparectl remove /vm/by-hand
	ktap_check 'sparectl: remove --force' sparectl remove --force /vm/by-hand
	is 'sparectl: then it is gone' no "$([[ -d $CGROUP/vm/by-hand ]] && echo yes || echo no)"
	local i failed=0 said going
	going=$(mktemp)
	(while [[ -e $going ]]; do mkdir -p "$CGROUP/vm/come/and"; echo '1000 100000' >"$CGROUP/vm/come/spare.reservation"; rmdir "$CGROUP/vm/come/and" "$CGROUP/vm/come"; done) &
	for ((i = 0; i < 100; i++)); do
		sparectl status >/dev/null || failed=$((failed + 1))
		said=$(sparectl status --json) && [[ $said == '{'*'"vms": ['*'}' ]] || failed=$((failed + 1))
		shown_or_gone /vm/come || failed=$((failed + 1))
	done
	rm "$going"
	wait $!
	is 'sparectl: status, its JSON and show beside cgroups that come and go, 100 times each: failed' 0 "$failed"
}

test_run() {
	is 'sparectl: run puts a command into a cgroup' 0::/vm/a "$(sparectl run /vm/a -- cat /proc/self/cgroup)"
	is 'sparectl: run changes the cgroup first' '20000 100000' \
		"$(sparectl run /vm/a -r 20ms/100ms -- cat "$CGROUP/vm/a/spare.reservation")"
	ktap_refused 'sparectl: run of a command that is not there' 'cannot run' sparectl run /vm/a -- /nonexistent
	sparectl run /vm/a -- sleep 1000 &
	wait_for 10 grep -q . "$CGROUP/vm/a/cgroup.procs"
	ktap_check 'sparectl: remove kills what is inside' sparectl remove /vm/a
	is 'sparectl: it is gone' no "$([[ -d $CGROUP/vm/a ]] && echo yes || echo no)"
	ktap_check 'sparectl: remove of what is not there is no error' sparectl remove /vm/a
	ktap_refused 'sparectl: unload of a class that is not loaded' 'the class is not loaded' sparectl unload
	ktap_refused 'sparectl: without the module' 'is sched_spare.ko loaded' bash -c \
		'sparectl remove /pool/p0 && sparectl remove /pool/p1 && rmmod sched_spare && sparectl create /vm/a && sparectl show /vm/a'
}

insmod "$SPARE_LIB/sched_spare.ko"
ktap_plan 79
test_set
test_link
test_show
test_refusals
test_others
test_run
ktap_done
