#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 240
#
# pools.sh - spared.toml: pools are built, members bound, changes applied by a reload that leaves the rest alone.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/module.inc.sh"

work=$(mktemp -d)
conf=$work/spared.toml
cleanup() {
	cgroup_remove "$CG"/vm/{a,b,c,big} || true
	find "$CG/pool" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
	rm -rf "$work"
}
ktap_cleanup cleanup

said() { grep -qF -- "$1" "$SPARED_LOG"; }
inode() { stat -c %i "$CG$1"; }
value() { cat "$CG$1" 2>/dev/null; }
burn() {
	sparectl run "$1" -- "${BURNER[@]}" &
	disown
}

# pool_file SIZE Q/P CPUS [MEMBERS [POLICY]]: the configuration with the pool net
pool_file() {
	local members='"/vm/*"' policy='{ grant_us = 3000, payback = true, wait = false }'
	members=${4-$members} policy=${5-$policy}
	cat >"$conf" <<-END
		[[pool]]
		name = "net"
		reservation = "$2"
		size = $1
		cpus = "$3"
		members = [ $members ]
		policy = $policy
	END
}

test_build() {
	is 'SPARE-5: a pool is built: its providers' '/pool/net/spare-0 /pool/net/spare-1' \
		"$(until_is 10 '/pool/net/spare-0 /pool/net/spare-1' eval 'cd $CG && echo $(ls -d pool/net/*/ | sed "s,^,/,; s,/$,,")')"
	is 'SPARE-5: each with (Qs, Ps)' '2000 10000' "$(until_is 10 '2000 10000' value /pool/net/spare-1/spare.reservation)"
	is 'SPARE-5: on the CPUs of the pool' 1 "$(until_is 10 1 value /pool/net/spare-1/spare.cpus)"
	is 'SPARE-5: as providers' 1 "$(until_is 10 1 value /pool/net/spare-1/spare.provide)"
}

test_members() {
	vm_cgroup a 20000 100000 1 >/dev/null
	is 'SPARE-5: a cgroup that comes later and matches is a member' /pool/net "$(until_is 10 /pool/net value /vm/a/spare.use)"
	ktap_check 'SPARE-5: with the policy of its pool' wait_for 10 grep -q 'grant_us=3000.*payback=1 wait=0' $CG/vm/a/spare.policy
	provider mine 1000 10000 1 >/dev/null
	vm_cgroup b 10000 100000 1 >/dev/null
	wait_for 10 grep -qx /pool/net $CG/vm/b/spare.use
	echo /pool/mine >$CG/vm/b/spare.use
	vm_cgroup c 10000 100000 1 >/dev/null
	wait_for 10 grep -qx /pool/net $CG/vm/c/spare.use
	sparectl unlink /vm/c
	ktap_check 'SPARE-5: sparectl status shows the pool' eval "sparectl status | grep -E '^/pool/net +2 +2ms/10ms +2 +2 +1 +[0-9]+ +[0-9]+ +[0-9]+$' >/dev/null"
	ktap_check 'SPARE-5: sparectl reload' sparectl reload
	is "SPARE-5: an operator's list stays" /pool/mine "$(value /vm/b/spare.use)"
	is "SPARE-5: an operator's unlink stays" none "$(value /vm/c/spare.use)"
	ktap_refused 'SPARE-5: spared.toml has the say again, unless all of a change is refused' nosuch sparectl set /vm/c --use default --netdev nosuch
	ktap_check 'SPARE-5: sparectl reload again' sparectl reload
	is 'SPARE-5: then nothing has changed' none "$(value /vm/c/spare.use)"
	sparectl set /vm/c --use default
	is 'SPARE-5: and it is a member again' /pool/net "$(until_is 10 /pool/net value /vm/c/spare.use)"
	ktap_refused 'SPARE-5: what spared wrote is its own after a change that was refused' nosuch sparectl set /vm/c --cpus 1 --use /pool/mine --netdev nosuch
	is 'SPARE-5: the list' '/pool/net 1' "$(value /vm/c/spare.use) $(stat_of $CG/vm/c use_auto)"
	sparectl unlink /vm/c
}

test_reload() {
	local first used
	burn /vm/a
	first=$(inode /pool/net/spare-0)
	pool_file 1 1ms/10ms 0-1
	ktap_check 'SPARE-5: reload: another size, reservation and CPUs' sparectl reload
	is 'SPARE-5: reload: one spare less' no "$([[ -d $CG/pool/net/spare-1 ]] && echo yes || echo no)"
	is 'SPARE-5: reload: the reservation' '1000 10000' "$(value /pool/net/spare-0/spare.reservation)"
	is 'SPARE-5: reload: the CPUs' 0-1 "$(value /pool/net/spare-0/spare.cpus)"
	is 'SPARE-5: reload: what could stay has stayed' "$first" "$(inode /pool/net/spare-0)"
	is 'SPARE-5: reload: the member is still bound' /pool/net "$(value /vm/a/spare.use)"
	used=$(stat_of $CG/vm/a used_ns)
	ktap_check 'SPARE-5: reload: the running VM runs on' wait_for 10 eval "(( \$(stat_of $CG/vm/a used_ns) > $used ))"

	printf '[[pool]]\nname = "net"\nreservation = "9ms/5ms"\n' >"$conf"
	ktap_refused 'SPARE-5: a broken file is refused with file and line' "$conf:3: " sparectl reload
	is 'SPARE-5: and the former configuration stays' '1000 10000' "$(value /pool/net/spare-0/spare.reservation)"
	ktap_check 'SPARE-5: spared goes on, and says so' eval "kill -0 $SPARED_PID && said 'the former configuration stays'"

	pool_file 1 1ms/10ms 0
	sparectl reload
	is 'SPARE-5: reload: a CPU is taken from a pool that is in use' 0 "$(value /pool/net/spare-0/spare.cpus)"
}

test_full() {
	vm_cgroup big 30000 100000 1 >/dev/null
	pool_file 1 4ms/10ms 0-1 ''
	sparectl reload
	is 'CBS-6: a CPU without room is left out of the pool' 0 "$(value /pool/net/spare-0/spare.cpus)"
	ktap_check 'CBS-6: and named, with what would fit' grep -q 'pool net: .*CPU 1 is full: 4ms/10ms asked, .* fits beside /vm/big 30 %' "$SPARED_LOG"
	is 'SPARE-5: who is no member any more is let go' none "$(value /vm/a/spare.use)"
	cgroup_remove $CG/vm/big
	is 'CBS-6: when there is room, the pool gets the CPU' 0-1 "$(until_is 15 0-1 value /pool/net/spare-0/spare.cpus)"
}

test_restart() {
	local first
	first=$(inode /pool/net/spare-0)
	pool_file 1 4ms/10ms 0-1
	sparectl reload
	is 'SPARE-5: bound again' /pool/net "$(until_is 10 /pool/net value /vm/a/spare.use)"
	kill -KILL "$SPARED_PID"
	wait "$SPARED_PID" 2>/dev/null || true
	: >"$conf"
	spare_up -c "$conf"
	is 'LIFE-1: killed and started without the pool: the member is let go' none "$(until_is 10 none value /vm/a/spare.use)"
	ktap_check 'LIFE-1: and the pool removed' wait_for 10 eval "[[ ! -d $CG/pool/net ]]"
	is "LIFE-1: an operator's provider is left" yes "$([[ -d $CG/pool/mine ]] && echo yes)"
	kill -TERM "$SPARED_PID"
	wait "$SPARED_PID" 2>/dev/null || true
	echo 'nonsense' >"$conf"
	ktap_refused 'SPARE-5: spared does not start with a broken file' "$conf:1: " spared -c "$conf"
	is 'SPARE-5: with a status of its own, by which the unit does not try again' 78 "$(spared -c "$conf" 2>/dev/null; echo $?)"
	ktap_refused 'SPARE-5: sparectl reload without spared' 'spared does not run' sparectl reload
}

# spared stands still where it is about to write, and not for each of its system calls.
held_up() {
	local _
	for _ in {1..15}; do
		grep -q $'^State:\tt' "/proc/$SPARED_PID/status" || return
		sleep 0.1
	done
}

# spared's write of spare.use is held up for 6 s, and an operator's comes in between.
test_race() {
	local race=$CG/late/race tracer reload
	tree_dir late
	ktap_cleanup "cgroup_remove $race $CG/late"
	mkdir "$race"
	strace -f -qq -o "$work/strace" -p "$SPARED_PID" -P "$race/spare.use" -e trace=write -e inject=write:delay_enter=6000000 &
	tracer=$!
	wait_for 10 grep -q "^TracerPid:.*[1-9]" "/proc/$SPARED_PID/status"
	pool_file 2 2ms/10ms 1 '"/vm/*", "/late/*"'
	sparectl reload &
	reload=$!
	wait_for 20 held_up || true
	echo "$1" >"$race/spare.use"
	ktap_check "SPARE-5: spared was about to write when an operator wrote '$1'" wait_for 20 grep -q 'write.*/pool/net' "$work/strace"
	wait $reload || true
	kill $tracer
	wait $tracer 2>/dev/null || true
	is "SPARE-5: the operator's stays" "$1" "$(<"$race/spare.use")"
	sparectl reload
	is 'SPARE-5: later too' "$1" "$(<"$race/spare.use")"
	pool_file 2 2ms/10ms 1
	sparectl reload
	is 'SPARE-5: and when the pool has it no longer' "$1" "$(<"$race/spare.use")"
	rmdir "$race" "$CG/late"
}

ktap_plan 46
pool_file 2 2ms/10ms 1
spare_up -c "$conf"
test_build
test_members
test_race /pool/mine
test_race none
test_reload
test_full
test_restart
ktap_done
