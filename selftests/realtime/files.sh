#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# files.sh - the spare.* files: what they accept and refuse, who may write, admission, providers, life with the cgroup.
# shellcheck disable=SC2086 # cgroups and devices are named without blanks
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/module.inc.sh"

cleanup() {
	tree_remove st
	tree_remove st-nocpu
	module_down
}
ktap_cleanup cleanup

LIMIT=900000
a=st/a b=st/b p0=st/pool/p0 p1=st/pool/p1

# Everything gone and made again.
fresh() {
	tree_remove st
	tree_dir st
	tree_dir st/pool
	mkdir -p "$CG/$a" "$CG/$b" "$CG/$p0" "$CG/$p1"
}

# set_vm CGROUP RESERVATION CPUS [PROVIDE]
set_vm() {
	write "$1/spare.cpus" '\n'
	[[ $GOT != OK ]] || write "$1/spare.reservation" "$2"
	[[ $GOT != OK ]] || write "$1/spare.cpus" "$3"
	[[ $GOT != OK ]] || write "$1/spare.provide" "${4:-0}"
	[[ $GOT == OK ]] || {
		echo "# set_vm $*: $GOT"
		return 1
	}
}

test_forms() {
	local text
	is 'files: a new cgroup has no reservation' max "$(get $a/spare.reservation)"
	is 'files: a new cgroup is not placed' '' "$(get $a/spare.cpus)"
	is 'files: a new cgroup provides nothing' 0 "$(get $a/spare.provide)"
	is 'files: a new cgroup uses nobody' none "$(get $a/spare.use)"
	is 'files: a new cgroup has no tap' none "$(get $a/spare.netdev)"
	is 'files: the root has that of the host alone' "$CG/./spare.host" "$(spare_files .)"
	is 'CBS-6: with a line for each CPU' "$(nproc --all)" "$(grep -c '^cpu[0-9]*\.deadline_ppm 0$' $CG/spare.host)"

	want 'files: Q P' OK $a/spare.reservation '40000 100000'
	is 'files: Q P reads back' '40000 100000' "$(get $a/spare.reservation)"
	want 'files: a newline at the end' OK $a/spare.reservation '30000 100000\n'
	want 'files: blanks around and between' OK $a/spare.reservation ' \t30000  \t 100000 \n'
	is 'files: blanks read back as one' '30000 100000' "$(get $a/spare.reservation)"
	is 'files: not placed without CPUs' 0 "$(key $a/spare.stat placed)"

	while read -r text; do
		want "files: malformed reservation '$text'" EINVAL $a/spare.reservation "$text"
	done <<-'END'
		40000
		40000 100000 1
		-40000 100000
		40000 -100000
		+40000 100000
		40000us 100000us
		0x9c40 0x186a0
		4e4 1e5
		40000,100000
		40000\n100000
		40000 100000\n\n
		40000 100000\0
		4\0000 100000
		max 100000
		max max
		Max
		\n
		NaN 100000
		99999999999999999999999999 x
		40000\v100000
	END
	while read -r text; do
		want "CBS-7: out of range '$text'" ERANGE $a/spare.reservation "$text"
	done <<-'END'
		100001 100000
		0 100000
		0 0
		49 100
		50 99
		499 100000
		50 1000001
		4999 1000000
		1000001 1000001
		40000 18446744073709551616
		18446744073709551616 18446744073709551616
		9223372036854775808 100000
		18446744073709591616 100000
		4295007296 100000
		40000 4295067296
	END
	is 'files: nothing refused was applied' '30000 100000' "$(get $a/spare.reservation)"
	want 'CBS-7: shortest period' OK $a/spare.reservation '50 100'
	want 'CBS-7: smallest share' OK $a/spare.reservation '500 100000'
	want 'CBS-7: longest period' OK $a/spare.reservation '1000000 1000000'
	want 'files: max' OK $a/spare.reservation 'max\n'

	is 'files: 64 KiB are refused' E2BIG \
		"$(errno_of "$( (head -c 65536 /dev/zero | tr '\0' 1 | dd bs=65536 iflag=fullblock of=$CG/$a/spare.reservation) 2>&1 |
			grep -o 'Argument list too long' || true)")"
	want 'files: 4000 digits are out of range' ERANGE $a/spare.reservation "$(printf '1%.0s' {1..4000}) 100000"

	for text in 2 -1 '' ' ' yes '1 1' '00' '1\0' '0x1'; do
		[[ -n $text ]] || text='\n'
		want "files: malformed spare.provide '$text'" EINVAL $a/spare.provide "$text"
	done
	for text in a -1 1-0 '0-' '0\n1' '0\0' '0;1'; do
		want "files: malformed spare.cpus '$text'" EINVAL $a/spare.cpus "$text"
	done
	for text in 4096 0-9999 99999999999999999999; do
		want "files: CPUs that are not there '$text'" ERANGE $a/spare.cpus "$text"
	done
	for text in nokey grant_us '=1' 'grant_us=' 'grant_us=1 grant_us=2' 'grant_us=-1' 'grant_us=1x' 'foo=1' \
		'payback=1 bar' 'grant_us = 1' 'grant_us=1,chances=2' '\n'; do
		want "files: malformed spare.policy '$text'" EINVAL $a/spare.policy "$text"
	done
	for text in grant_us=0 grant_us=1000001 payback=2 window_us=999 gain_us=99999999999 \
		chances=18446744073709551616 'window_us=1000 gain_us=1001'; do
		want "files: spare.policy out of range '$text'" ERANGE $a/spare.policy "$text"
	done
	want 'files: keys not named keep their value' OK $a/spare.policy 'payback=1 grant_us=500\n'
	is 'files: spare.policy reads back' 'grant_us=500 chances=0 window_us=1000000 gain_us=0 payback=1 wait=1 hasten=1 charge=debt interval_us=500000' "$(get $a/spare.policy)"
	is 'files: spare.stat cannot be written' EACCES "$(setpriv --bounding-set=-all --inh-caps=-all \
		bash -c "echo 0 >$CG/$a/spare.stat" 2>&1 | grep -o 'Permission denied' | while read -r e; do errno_of "$e"; done)"
	want 'files: spare.events cannot be written' EINVAL $a/spare.events 1
}

test_auto() {
	fresh
	for text in auto 'auto ' auto0 '0 auto' 'auto\t0' 'auto auto 0'; do
		want "CBS-6: malformed auto list '$text'" EINVAL $a/spare.cpus "$text"
	done
	want 'CBS-6: a program places what nobody has placed' OK $a/spare.cpus 'auto 0'
	is 'CBS-6: it reads as any list' '0 1' "$(get $a/spare.cpus) $(key $a/spare.stat cpus_auto)"
	want 'CBS-6: and places it anew' OK $a/spare.cpus 'auto 1\n'
	want "CBS-6: an operator's list wins" OK $a/spare.cpus 0
	is 'CBS-6: and is his' '0 0' "$(get $a/spare.cpus) $(key $a/spare.stat cpus_auto)"
	want 'CBS-6: no program replaces it' EEXIST $a/spare.cpus 'auto 1'
	is 'CBS-6: it stays' '0 0' "$(get $a/spare.cpus) $(key $a/spare.stat cpus_auto)"
	want 'CBS-6: empty, it is free again' OK $a/spare.cpus '\n'
	want 'CBS-6: for a program' OK $a/spare.cpus 'auto 0-1'
}

test_controllers() {
	mkdir -p $CG/st-nocpu
	echo '+io' >$CG/st-nocpu/cgroup.subtree_control
	mkdir -p $CG/st-nocpu/c
	want 'files: no cpu controller' EOPNOTSUPP st-nocpu/c/spare.reservation '40000 100000'
	want 'files: no cpu controller, CPUs' EOPNOTSUPP st-nocpu/c/spare.cpus 0
	want 'files: no cpu controller, but none wanted' OK st-nocpu/c/spare.reservation max
	echo '-io' >$CG/st-nocpu/cgroup.subtree_control
	is 'files: no io controller, no files' '' "$(spare_files st-nocpu/c)"
	mkdir -p $CG/st-nocpu/c/t
	echo threaded >$CG/st-nocpu/c/t/cgroup.type
	is 'files: a threaded cgroup has none' '' "$(spare_files st-nocpu/c/t)"
	tree_remove st-nocpu
}

test_admission() {
	fresh
	set_vm $a '40000 100000' 0
	is 'CBS-1: one server per CPU' 1 "$(key $a/spare.stat nr_servers)"
	is 'CBS-6: placed' 1 "$(key $a/spare.stat placed)"
	set_vm $b '50000 100000' 0
	want 'CBS-6: one ppm too much' EBUSY $b/spare.reservation '500001 1000000'
	is 'CBS-6: a refused write changes nothing' '50000 100000' "$(get $b/spare.reservation)"
	is 'CBS-6: the message names the CPU' 1 "$(dmesg | tail -n +$((log_mark + 1)) | grep -c '/st/b: CPU 0 is full')"
	want 'CBS-6: it fits on the other CPU' OK $b/spare.cpus 1
	want 'CBS-6: not on both' OK $b/spare.reservation '60000 100000'
	want 'CBS-6: full CPU in a list' EBUSY $b/spare.cpus 0-1
	is 'CBS-6: nothing half applied' '1 1' "$(get $b/spare.cpus) $(key $b/spare.stat nr_servers)"
	set_vm $p0 '40000 100000' 0 1
	write $p1/spare.reservation '20000 100000'
	want 'CBS-6: providers count' EBUSY $p1/spare.cpus 0
	want 'CBS-6: a reservation that is not placed costs nothing' OK $a/spare.cpus '\n'
	is 'CBS-6: not placed any more' '0 0' "$(key $a/spare.stat placed) $(key $a/spare.stat nr_servers)"
	want 'CBS-6: its share is free' OK $p0/spare.reservation '90000 100000'
	want 'CBS-6: and taken' EBUSY $a/spare.cpus 0
	echo 950000 >/sys/module/sched_spare/parameters/limit_ppm
	want 'CBS-6: the limit is a parameter' OK $p0/spare.reservation '95000 100000'
	is 'CBS-6: the limit has limits' EINVAL \
		"$(errno_of "$( (echo 1000001 >/sys/module/sched_spare/parameters/limit_ppm) 2>&1 || true)")"
	echo $LIMIT >/sys/module/sched_spare/parameters/limit_ppm
	want 'CBS-6: lowered below what is taken, a smaller ask passes' OK $p0/spare.reservation '91000 100000'
	want 'CBS-6: a bigger one does not' EBUSY $p0/spare.reservation '92000 100000'
	fresh

	# 180 servers of 0.5 % fill 0.90: a slot for each, none for the next.
	local i
	mkdir $CG/st/n{1..181}
	for i in {1..181}; do
		echo '500 100000' >$CG/st/n$i/spare.reservation
	done
	for i in {1..180}; do
		echo 0 >$CG/st/n$i/spare.cpus
	done
	want 'CBS-6: 180 smallest reservations fill a CPU' EBUSY st/n181/spare.cpus 0
	fresh
	set_vm $a '90000 100000' 0
	is 'DESIGN 5: removed cgroups leave admission at once' 1 "$(key $a/spare.stat placed)"

	# Two writers, each of whom fits alone.
	fresh
	local both=0
	for i in {1..30}; do
		write $a/spare.cpus '\n'
		write $b/spare.cpus '\n'
		write $a/spare.reservation '60000 100000'
		write $b/spare.reservation '60000 100000'
		write $a/spare.cpus 0 &
		write $b/spare.cpus 0 &
		wait
		[[ "$(key $a/spare.stat placed)$(key $b/spare.stat placed)" =~ ^(01|10)$ ]] || both=$((both + 1))
	done
	is 'CBS-6: of two concurrent writers exactly one wins' 0 $both
}

test_use() {
	fresh
	set_vm $a '40000 100000' 1
	set_vm $p0 '4000 10000' 1 0
	want 'SPARE-1: use of one that provides nothing' EINVAL $a/spare.use /$p0
	want 'SPARE-5: use of a pool without providers' EINVAL $a/spare.use /st/pool
	want 'files: spare.provide 1' OK $p0/spare.provide 1
	want 'files: use of a cgroup that is not there' ENOENT $a/spare.use /st/nix
	want 'files: use of a relative path' EINVAL $a/spare.use $p0
	want 'files: use of nothing' EINVAL $a/spare.use ' '
	want 'files: use of a file' ENOTDIR $a/spare.use /$p0/cgroup.procs
	want 'files: use of the root' EINVAL $a/spare.use /
	want 'files: one name twice' EINVAL $a/spare.use "/$p0 /$p0"
	want 'files: one good, one bad name' ENOENT $a/spare.use "/$p0 /st/nix"
	is 'files: nothing half applied in spare.use' none "$(get $a/spare.use)"
	want 'SPARE-1: use of a provider' OK $a/spare.use "/$p0\n"
	is 'SPARE-1: reads back' /$p0 "$(get $a/spare.use)"
	want 'files: none' OK $a/spare.use none
	is "SPARE-5: an operator's" 0 "$(key $a/spare.stat use_auto)"
	want 'SPARE-5: no program fills what an operator has emptied' EEXIST $a/spare.use "auto /$p0"
	want 'SPARE-5: an operator does' OK $a/spare.use default
	is 'SPARE-5: it is empty, and for programs' 'none 1' "$(get $a/spare.use) $(key $a/spare.stat use_auto)"
	want 'SPARE-5: that hand nothing back' EINVAL $a/spare.use 'auto default'
	want 'SPARE-5: that fill it' OK $a/spare.use "auto /$p0"
	want 'SPARE-5: use of a pool' OK $a/spare.use /st/pool
	is 'SPARE-5: a pool reads back as its name' /st/pool "$(get $a/spare.use)"
	set_vm $b '10000 100000' 0
	want 'SPARE-2: none of the CPUs is covered' EINVAL $b/spare.use /$p0
	want 'SPARE-2: nor by the pool' EINVAL $b/spare.use /st/pool
	want 'SPARE-2: a use that covers one of them' OK $b/spare.cpus 0-1
	for text in auto 'auto ' "auto auto /$p0"; do
		want "SPARE-5: malformed auto list '$text'" EINVAL $b/spare.use "$text"
	done
	want 'SPARE-5: a program links what nobody has linked' OK $b/spare.use 'auto /st/pool'
	is 'SPARE-5: the list reads without the word' /st/pool "$(get $b/spare.use)"
	want 'SPARE-5: a program takes its own list away' OK $b/spare.use 'auto none'
	want 'SPARE-5: and links anew' OK $b/spare.use "auto /$p0\n"
	want 'SPARE-2: is accepted' OK $b/spare.use /$p0
	want "SPARE-5: no program replaces an operator's list" EEXIST $b/spare.use 'auto /st/pool'
	want 'SPARE-5: nor takes it away' EEXIST $b/spare.use 'auto none'
	want 'SPARE-2: leaving that CPU is not' EINVAL $b/spare.cpus 0
	is 'SPARE-2: the CPUs are as before' 0-1 "$(get $b/spare.cpus)"

	want 'SPARE-1: a provider in use stays one' EBUSY $p0/spare.provide 0
	want 'SPARE-1: and keeps its reservation' EBUSY $p0/spare.reservation max
	want 'SPARE-1: and its CPU' EBUSY $p0/spare.cpus 0
	want 'SPARE-1: may gain one' OK $p0/spare.cpus 0-1
	want 'SPARE-1: may change its share' OK $p0/spare.reservation '3000 10000'

	want 'files: use of itself' ELOOP $p0/spare.use /$p0
	want 'files: use of its own pool' ELOOP $p0/spare.use /st/pool
	set_vm $p1 '1000 10000' 0-1 1
	want 'files: a provider may use another' OK $p1/spare.use /$p0
	want 'files: not in a circle' ELOOP $p0/spare.use /$p1
	want 'files: nor in a circle through a pool' ELOOP $p0/spare.use /st/pool
	mkdir -p $CG/st/pool/vm
	set_vm st/pool/vm '1000 10000' 0 0
	want 'files: use of itself, no provider' ELOOP st/pool/vm/spare.use /st/pool/vm
	want 'files: a VM may use the pool in whose directory it is' OK st/pool/vm/spare.use /st/pool
	want 'files: but not become a member of it' ELOOP st/pool/vm/spare.provide 1
	is 'files: it is none' 0 "$(get st/pool/vm/spare.provide)"
}

# poll_events CGROUP SECONDS: prints "event" when spare.events notifies
poll_events() {
	python3 - "$CG/$1/spare.events" "$2" <<-'END'
		import select, sys
		f = open(sys.argv[1]); f.read()
		print("ready", flush=True)
		p = select.poll(); p.register(f, select.POLLPRI)
		print("event" if p.poll(int(sys.argv[2]) * 1000) else "nothing", flush=True)
	END
}

# The longest name, and bytes that are no text. (The kernel itself makes no cgroup with a newline in its name.)
test_names() {
	local name
	is 'files: no cgroup has a newline in its name' EINVAL "$(errno_of "$(mkdir $CG/st/$'a\nb' 2>&1)")"
	for name in "$(printf 'n%.0s' {1..255})" $'\x1b[31m\xff'; do
		mkdir "$CG/st/$name" && set_vm "st/$name" '1000 10000' 0 1
		write $b/spare.cpus 0
		write $b/spare.use "/st/$name"
		is "files: a provider of ${#name} odd bytes reads back" "/st/$name" "$(get $b/spare.use)"
		write $b/spare.use none
		rmdir "$CG/st/$name"
	done
	write $b/spare.cpus '\n'
}

test_lifecycle() {
	local out i
	fresh
	set_vm $a '40000 100000' 1
	set_vm $b '10000 100000' 1
	set_vm $p0 '4000 10000' 1 1
	want 'LIFE-4: by name' OK $a/spare.use /$p0
	want 'LIFE-4: by pool' OK $b/spare.use /st/pool
	out=$(mktemp)
	poll_events $a 10 >"$out" &
	until_is 10 ready head -1 "$out" >/dev/null
	rmdir $CG/$p0
	is 'LIFE-4: rmdir of a provider in use: users are told' 1 "$(until_is 5 1 key $a/spare.events provider_lost)"
	is 'LIFE-4: those of its pool too' 1 "$(key $b/spare.events provider_lost)"
	is 'LIFE-4: its name is gone' none "$(get $a/spare.use)"
	is 'LIFE-4: the name of the pool stays' /st/pool "$(get $b/spare.use)"
	wait
	is 'files: spare.events can be polled' event "$(tail -1 "$out")"
	rm -f "$out"
	want 'LIFE-4: its share is free' OK $p1/spare.reservation '40000 100000'
	want 'LIFE-4: its share is taken again' OK $p1/spare.cpus 1
	want 'LIFE-4: a pool of one without servers can still move' OK $b/spare.cpus 0
	want 'LIFE-4: and back' OK $b/spare.cpus 1
	rmdir $CG/$p1 $CG/st/pool
	is 'LIFE-4: a removed pool leaves the lists' none "$(until_is 5 none get $b/spare.use)"

	set_vm $a '90000 100000' 0
	want 'LIFE-4: before -cpu' OK $a/spare.reservation '40000 100000'
	echo '-cpu' >$CG/st/cgroup.subtree_control
	is 'LIFE-4: -cpu leaves the reservation' '40000 100000' "$(get $a/spare.reservation)"
	want 'LIFE-4: which cannot be changed then' EOPNOTSUPP $a/spare.reservation '50000 100000'
	want 'LIFE-4: but taken away' OK $a/spare.reservation max
	echo '+cpu' >$CG/st/cgroup.subtree_control
	want 'LIFE-4: +cpu lets it have one' OK $a/spare.reservation '40000 100000'
	exec 9<$CG/$a/spare.reservation
	echo '-io' >$CG/st/cgroup.subtree_control
	is 'LIFE-4: -io takes the files away' '' "$(spare_files $a)"
	is 'LIFE-4: one that was open has nothing behind it' ENODEV "$(errno_of "$(cat <&9 2>&1)")"
	exec 9<&-
	echo '+io' >$CG/st/cgroup.subtree_control
	is 'LIFE-4: +io brings new ones' max "$(get $a/spare.reservation)"
	set_vm $b '90000 100000' 0
	is 'LIFE-4: and the old share is free' 1 "$(key $b/spare.stat placed)"
	exec 9<>$CG/$b/spare.reservation
	rmdir $CG/$b
	is 'LIFE-4: an open file of a removed cgroup' ENODEV \
		"$(errno_of "$( (printf max >&9) 2>&1 | grep -o 'No such device' || true)")"
	exec 9>&-
	mkdir $CG/$b
	test_names
	is 'LIFE-4: a new cgroup of the same name is new' max "$(get $b/spare.reservation)"

	local slots=0
	for i in {1..100}; do
		mkdir -p $CG/st/e
		printf '50000 100000' >$CG/st/e/spare.reservation && printf 0 >$CG/st/e/spare.cpus || slots=$((slots + 1))
		rmdir $CG/st/e
	done
	is 'LIFE-4: 100 rounds of a cgroup that fits once' 0 $slots
}

# as_user COMMAND: as uid 1000 without any capability
as_user() {
	setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all bash -c "$1" 2>&1
}

test_permissions() {
	local f
	fresh
	set_vm $a '10000 100000' 0
	chown -R 1000 $CG/$a
	for f in 'reservation|90000 100000' 'cpus|1' 'provide|1' 'use|none' 'netdev|none' 'policy|payback=1'; do
		is "files: the owner of a delegated cgroup may not write spare.${f%%|*}" EPERM \
			"$(errno_of "$(as_user "printf '${f##*|}' >$CG/$a/spare.${f%%|*}")")"
	done
	# A privileged writer that was handed a file opened without the capability, and the other way round.
	is 'files: opened without CAP_SYS_NICE, written with it' EPERM "$(python3 - $CG/$a/spare.reservation <<-'END'
		import errno, os, sys
		os.seteuid(1000)
		fd = os.open(sys.argv[1], os.O_WRONLY)
		os.seteuid(0)
		try: os.write(fd, b"90000 100000"); print("OK")
		except OSError as e: print(errno.errorcode[e.errno])
	END
	)"
	is 'files: opened with CAP_SYS_NICE, written without it' EPERM \
		"$(errno_of "$(as_user "printf '90000 100000' >&9" 9>$CG/$a/spare.reservation)")"
	is 'files: root without CAP_SYS_NICE' EPERM \
		"$(errno_of "$(setpriv --bounding-set=-sys_nice --inh-caps=-sys_nice bash -c "printf max >$CG/$a/spare.reservation" 2>&1)")"
	is 'files: CAP_SYS_NICE of another user namespace' EPERM \
		"$(errno_of "$(as_user "unshare -Ur bash -c 'printf max >$CG/$a/spare.reservation'")")"
	is 'files: permission is asked before form' EPERM "$(errno_of "$(as_user "printf x >$CG/$a/spare.reservation")")"
	is 'files: anyone may read' '10000 100000' "$(as_user "cat $CG/$a/spare.reservation")"
	is 'files: nothing of all this was applied' '10000 100000 0 0 none' \
		"$(get $a/spare.reservation) $(get $a/spare.cpus) $(get $a/spare.provide) $(get $a/spare.use)"
	set_vm $p0 '1000 10000' 0 1
	# In a cgroup namespace rooted at /st/ns: what is /p there is /st/ns/p here.
	mkdir -p $CG/st/ns
	is 'files: paths are of the cgroup namespace of who writes and who reads' $'/p OK\n/st/ns/p' "$(
		bash -c "echo \$\$ >$CG/st/ns/cgroup.procs; exec unshare -C bash -c '
			cd $CG/st/ns && mkdir leaf p v && echo 0 >leaf/cgroup.procs && echo +cpu +io >cgroup.subtree_control
			echo 1000 10000 >p/spare.reservation && echo 1 >p/spare.provide
			printf /p >v/spare.use && cat v/spare.use'" 2>&1 | tr '\n' ' '
		put st/ns/v/spare.use /st/ns/p
		get st/ns/v/spare.use
	)"
}

test_fuzz() {
	fresh
	is 'files: 2000 random writes leave sane files' sane "$(timeout 120 python3 - $CG/st <<-'END'
		import os, random, re, sys
		random.seed(42)
		root = sys.argv[1]
		groups = ["a", "b", "pool/p0", "pool/p1"]
		files = ["reservation", "cpus", "provide", "use", "netdev", "policy"]
		words = ["auto", "max", "none", "0", "1", "0-1", "/st/pool", "/st/pool/p0", "/st/pool/p1", "/st/a", "4000 10000", "1000 10000",
		         "lo", "grant_us=7", "payback=1", "40000 100000", "-1", "18446744073709551615", "\0", "\n", " ", "50 100", ""]
		for i in range(2000):
		    if random.random() < 0.3:
		        data = os.urandom(random.randrange(1, 64))
		    else:
		        data = " ".join(random.choice(words) for _ in range(random.choice((1, 1, 1, 2, 3)))).encode()
		    try:
		        fd = os.open(f"{root}/{random.choice(groups)}/spare.{random.choice(files)}", os.O_WRONLY)
		        os.write(fd, data)
		    except OSError:
		        pass
		    finally:
		        os.close(fd)
		total = {}
		for g in groups:
		    read = lambda f: open(f"{root}/{g}/spare.{f}").read()
		    res = read("reservation")
		    assert re.fullmatch(r"max\n|\d+ \d+\n", res), res
		    assert re.fullmatch(r"|0|1|0-1", read("cpus").strip()), read("cpus")
		    assert read("provide") in ("0\n", "1\n")
		    stat = dict(l.split() for l in read("stat").splitlines())
		    n = {"": 0, "0": 1, "1": 1, "0-1": 2}[read("cpus").strip()] if res != "max\n" else 0
		    assert int(stat["nr_servers"]) == n, (g, n, stat["nr_servers"])
		    if n:
		        q, p = map(int, res.split())
		        for c in {"0": "0", "1": "1", "0-1": "01"}[read("cpus").strip()]:
		            total[c] = total.get(c, 0) + -(-q * 1000000 // p)
		assert all(v <= 900000 for v in total.values()), total
		print("sane")
	END
	)"
}

test_module() {
	tree_remove st
	tree_dir st
	mkdir -p $CG/$a
	set_vm $a '40000 100000' 0-1
	rmmod sched_spare
	is 'LIFE-3: unloading takes the files away' '' "$(spare_files $a)"
	insmod "$KO"
	is 'LIFE-3: loading again starts from nothing' max "$(get $a/spare.reservation)"
	local i
	for i in {1..5}; do
		set_vm $a '40000 100000' 0-1
		rmmod sched_spare
		insmod "$KO"
	done
	is 'LIFE-3: 5 rounds' max "$(get $a/spare.reservation)"
}

module_up
ktap_plan 235
fresh
test_forms
test_auto
test_controllers
test_admission
test_use
test_lifecycle
test_permissions
test_fuzz
[[ $module_was_loaded == yes ]] || test_module
is 'files: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
