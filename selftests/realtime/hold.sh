#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 400
#
# hold.sh - what others do with files and programs holds nothing up: readers beside whoever makes cgroups (LIFE-8), as many servers as fit
# from one process that does not fork, and a class that is loaded with them (CBS-12), programs of others that call the module, and limits
# of subtrees whose owners make them deep or many (CBS-13).
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

SCX=/sys/kernel/sched_ext
MOST=180	# servers on a CPU: Q/P is at least 0.5 %, and 90 % are reserved
a=$CGROUP/vm/a
crowd=$CGROUP/crowd
mapfile -t VMS < <(seq -f "$crowd/%g" 0 $((MOST - 1)))

NOBODY=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --)
read_for_ever() {
	local file lines
	while :; do
		for file; do { mapfile -t lines <"$file"; } 2>/dev/null; done
	done
}
write_for_ever() { while :; do echo /pool/p0 >"$a/spare.use"; echo none >"$a/spare.use"; done; }
export -f read_for_ever write_for_ever
export a

# A cgroup with a list is made and removed, at most so many times, for half a minute. How many times, and the slowest one's milliseconds.
rounds() {
	set -e
	local i before took most=0
	for ((i = 0; i < $1 && SECONDS < 30; i++)); do
		before=$(date +%s%N)
		mkdir "$CGROUP/vm/round"
		echo '10000 100000' >"$CGROUP/vm/round/spare.reservation"
		echo 1 >"$CGROUP/vm/round/spare.cpus"
		echo /pool/p0 >"$CGROUP/vm/round/spare.use"
		[[ $(<"$CGROUP/vm/round/spare.use") == /pool/p0 ]]
		rmdir "$CGROUP/vm/round"
		took=$((($(date +%s%N) - before) / 1000000))
		((took <= most)) || most=$took
	done
	echo "$i $most"
}

test_readers() {
	local n most
	vm_cgroup a 20000 100000 1 >/dev/null
	provider p0 4000 10000 1 >/dev/null
	echo /pool/p0 >"$a/spare.use"
	background "${NOBODY[@]}" bash -c "read_for_ever $a/spare.use"
	background "${NOBODY[@]}" bash -c "read_for_ever $a/spare.stat $a/spare.netdev $a/spare.cpus $CGROUP/spare.host"
	background "${NOBODY[@]}" bash -c "read_for_ever $CGROUP/vm/round/spare.use $CGROUP/vm/round/spare.stat"
	background bash -c write_for_ever
	read -r n most < <(timeout 100 bash -c "$(declare -f rounds); CGROUP=$CGROUP rounds 60") || n=0
	ktap_note "the slowest of $n cgroups took ${most:-for ever} ms"
	ktap_check 'LIFE-8: beside readers and a writer cgroups come and go' at_least 20 "$n"
	ktap_check 'LIFE-8: none in more than 2 s' at_most 2000 "${most:-999999}"
	background_stop
}

# reads SECONDS DIR: the longest read of DIR's spare.stat and spare.use, and of its cpu.stat, which is the kernel's own, in us; and how many there were
reads() {
	python3 -c '
import os, sys, time
until = time.monotonic() + float(sys.argv[1])
ours = [os.open(f"{sys.argv[2]}/spare.{name}", os.O_RDONLY) for name in ("stat", "use")]
other = [os.open(f"{sys.argv[2]}/cpu.stat", os.O_RDONLY)]
most, n = {id(ours): 0, id(other): 0}, 0
while time.monotonic() < until:
    for files in ours, other:
        for fd in files:
            at = time.monotonic_ns()
            os.pread(fd, 65536, 0)
            most[id(files)] = max(most[id(files)], (time.monotonic_ns() - at) // 1000)
    n += 1
    time.sleep(0.001)
print(most[id(ours)], most[id(other)], n)' "$@"
}

# Somebody else's writers sit in spare_config for hundreds of milliseconds at a time. A read of ours takes some 0.1 ms; what the machine below adds where
# it stands still shows in the kernel's own file, too.
test_slow_writers() {
	local ours other n
	vm_cgroup w 20000 100000 1 >/dev/null
	ktap_check 'LIFE-8: beside writers that cpu.max stops in the middle a write waits' slow_writers "$CGROUP/vm/w/spare.cpus" 1
	read -r ours other n < <(reads 8 "$a") || n=0
	ktap_note "of $n reads the longest took ${ours:-?} us, of the kernel's own file ${other:-?} us"
	ktap_check "LIFE-8: a read of another cgroup's files does not: 100 ms at most" at_most $((100000 + ${other:-0})) "${ours:-999999999}"
	ktap_check 'LIFE-8: and there were some' at_least 100 "$n"
	slow_writers_stop
	cgroup_remove "$CGROUP/vm/w"
}

# One process, no fork.
fill() {
	local i
	for ((i = 0; i < MOST; i++)); do
		echo '500 100000' >"$crowd/$i/spare.reservation" || return
		echo 0-1 >"$crowd/$i/spare.cpus" || return
	done
}

# A CPU has 192 slots; admission would let more servers in if the operator gave it the whole CPU.
refuses_slot() {
	local i limit=/sys/module/sched_spare/parameters/limit_ppm
	echo 1000000 >$limit
	mkdir "$crowd"/slot{1..13}
	for i in {1..13}; do echo '500 100000' >"$crowd/slot$i/spare.reservation"; done
	ktap_check 'CBS-12: as many as there are slots' eval 'for i in {1..12}; do echo 0 >$crowd/slot$i/spare.cpus || exit; done'
	ktap_refused 'CBS-12: one more is refused' 'Device or resource busy' bash -c "echo 0 >$crowd/slot13/spare.cpus"
	ktap_check 'CBS-12: and the log says what ran out' eval 'dmesg | tail -n 5 | grep "no slot left" >/dev/null'
	is 'CBS-12: it has none' '' "$(<"$crowd/slot13/spare.cpus")"
	rmdir "$crowd"/slot*
	echo 900000 >$limit
}

# dry FIRST: from one process that does not fork, servers for the cgroups from FIRST on while kthreadd, on CPU 0 alone, waits for a real-time thread.
# Prints which one was refused, and why.
dry() {
	taskset -c 1 python3 -c '
import errno, os, sys, time
files = [os.open(f"{sys.argv[1]}/{i}/spare.cpus", os.O_WRONLY) for i in range(int(sys.argv[2]))]
begun, begin = os.pipe()
if not os.fork():
    os.sched_setaffinity(0, {0})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    os.write(begin, b".")
    until = time.monotonic() + 0.9
    while time.monotonic() < until: pass
    os._exit(0)
os.read(begun, 1)
refused = "none"
for i, fd in enumerate(files):
    try:
        os.write(fd, b"0-1\n")
    except OSError as error:
        refused = f"{i} {errno.errorcode[error.errno]}"
        break
os.wait()
print(refused)' "$crowd" "$1"
}

# The class makes queues when somebody forks; what is there is enough for 64 servers more. kthreadd forks what the module asks for.
test_no_queue() {
	local i n=60 refused=none try
	mkdir "${VMS[@]::n}"
	for ((i = 0; i < n; i++)); do echo '500 100000' >"$crowd/$i/spare.reservation"; done
	taskset -cp 0 2 >/dev/null
	for try in 1 2 3; do
		refused=$(dry $n)
		[[ $refused == none ]] || break
		for ((i = 0; i < n; i++)); do echo >"$crowd/$i/spare.cpus"; done
	done
	taskset -cp 0-1 2 >/dev/null
	ktap_note "refused at attempt $try: $refused"
	is 'CBS-12: where the class can make no queue a write is refused' ENOMEM "${refused#* }"
	ktap_check 'CBS-12: and the log says what ran out' eval 'dmesg | tail -n 20 | grep "could not make a queue" >/dev/null'
	i=${refused% *}
	# (spared may have placed it meanwhile, on one CPU.)
	ktap_check 'CBS-12: it has not what was asked for' eval '[[ $(<"$crowd/${i/none/0}/spare.cpus") != 0-1 ]]'
	ktap_check 'CBS-12: once it can the write goes well' eval "echo 0-1 >$crowd/${i/none/0}/spare.cpus"
	rmdir "${VMS[@]::n}"
}

test_stock() {
	local seq
	mkdir "${VMS[@]}"
	seq=$(<$SCX/enable_seq)
	ktap_check "CBS-12: $MOST servers on each CPU from one process that does not fork" fill
	ktap_check 'CBS-12: the class has all of them' class_reaches $((2 * MOST))
	mkdir "$crowd/more"
	ktap_refused 'CBS-12: one more is refused' 'Device or resource busy' \
		bash -c "echo '500 100000' >$crowd/more/spare.reservation && echo 0 >$crowd/more/spare.cpus"
	refuses_slot
	is 'CBS-12: the class was not ejected' "enabled $seq" "$(class_state) $(<$SCX/enable_seq)"
	kill -TERM "$SPARED_PID"
	wait "$SPARED_PID" || true
	spared --stop
	ktap_check 'CBS-12: the class stops' wait_for 20 class_is disabled
	spare_up
	ktap_check 'CBS-12: a class that is loaded with so many has all of them' class_reaches $((2 * MOST))
	rmdir "$crowd/more"
	rmdir "${VMS[@]}"
	mkdir "${VMS[@]}"
	ktap_check 'CBS-12: what goes leaves its slots at once' fill
	ktap_check 'CBS-12: the class has those' class_reaches $((2 * MOST))
	find "$crowd" -depth -type d -exec rmdir {} +
}

test_intruders() {
	local dir=$TOOLS pins=/sys/fs/bpf/intruder
	mkdir -p $pins
	ktap_refused 'LIFE-8: another scheduler may not call the module' 'is not allowed' bpftool struct_ops register "$dir"/intruder_sched.bpf.o $pins
	ktap_refused 'LIFE-8: nor a congestion control' 'is not allowed' bpftool struct_ops register "$dir"/intruder_tcp.bpf.o $pins
	rm -rf $pins
}

# burns LEAST MOST DIR [SECONDS]: a thread in it, in 1/1000 of a CPU over 4 s
burns() {
	local before used seconds=${4:-4}
	background "${ENTER[@]}" "$3" "${BURNER[@]}"
	sleep 1
	before=$(awk '$1 == "usage_usec" { print $2 }' "$3/cpu.stat")
	sleep "$seconds"
	used=$((($(awk '$1 == "usage_usec" { print $2 }' "$3/cpu.stat") - before) / 1000 / seconds))
	background_stop
	ktap_note "used $used of 1000"
	(($1 <= used && used <= $2))
}

# nest DEPTH DIR: prints the innermost of so many cgroups, each with cpu controllers, one below the other
nest() {
	"${NOBODY[@]}" python3 -c 'import os, sys
path = sys.argv[2]
for _ in range(int(sys.argv[1])):
    open(path + "/cgroup.subtree_control", "w").write("+cpu")
    path += "/d"
    os.mkdir(path)
print(path)' "$@"
}

# many COMMAND DIR: os.mkdir or os.rmdir of 8400 cgroups in it
many() {
	"${NOBODY[@]}" python3 -c 'import os, sys
for i in range(8400):
    getattr(os, sys.argv[1])(f"{sys.argv[2]}/{i}")' "$@"
}

# A tenth of a CPU for a subtree; its owner, to whom it is delegated, makes cgroups in it, deep or many.
test_subtree() {
	local top=$CGROUP/subtree dir
	echo +cpu >"$CGROUP/cgroup.subtree_control"
	mkdir "$top"
	chown 65534 "$top" "$top"/cgroup.{procs,threads,subtree_control}
	echo '10000 100000' >"$top/cpu.max"
	dir=$(nest 64 "$top")
	ktap_check 'CBS-13: a limit holds 64 levels below it' burns 85 115 "$dir"
	echo max >"$top/cpu.max"
	controllers
	# (A switch walks 64 levels, and the VM pays for it: on a slow machine a sixth of 10 ms.)
	echo '50000 500000' >"$top/spare.reservation"
	echo 1 >"$top/spare.cpus"
	ktap_check 'CBS-13: and so does a reservation' burns 85 115 "$dir" 8
	ktap_check 'CBS-13: by its own server' at_least 300000000 "$(stat_of "$top" used_ns)"
	echo max >"$top/spare.reservation"
	wait_for 10 eval 'grep -qx "max 100000" "$top/cpu.max"' || true
	echo '10000 100000' >"$top/cpu.max"
	find "$top" -mindepth 1 -depth -type d -exec rmdir {} +
	echo +cpu >"$top/cgroup.subtree_control"
	many mkdir "$top"
	ktap_check 'CBS-13: and in the 8400th cgroup' burns 85 115 "$top/8399"
	dir=$(nest 8 "$top/8398")
	ktap_check 'CBS-13: and 8 levels below another one' burns 85 115 "$dir"
	find "$top/8398" -mindepth 1 -depth -type d -exec rmdir {} +
	echo -cpu >"$top/8398/cgroup.subtree_control"
	ktap_note "groups for which there was no memory at first: $(class_global groups_missing)"
	ktap_check 'CBS-13: what is above has its weight still' burns 85 115 "$top/8398"
	many rmdir "$top"
	rmdir "$top"
}

# A tap's owner makes something else of it while it is bound, and it goes.
test_type_change() {
	vm_cgroup a 20000 100000 1 >/dev/null
	ip tuntap add hold0 mode tap
	echo hold0 >"$a/spare.netdev"
	python3 -c 'import fcntl, struct
tun = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"hold0", 0x1002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
fcntl.ioctl(tun, 0x400454cd, 0xfffe)  # TUNSETLINK: ARPHRD_NONE'
	ktap_check 'LIFE-4: a tap that has become something else' grep -qx 65534 /sys/class/net/hold0/type
	ip link del hold0
	is 'LIFE-4: is unbound when it goes' none "$(<"$a/spare.netdev")"
	cgroup_remove "$a"
}

# Cgroups go, and at once the module.
unload_rounds() {
	local i
	for i in {1..10}; do
		insmod "$SPARE_LIB/sched_spare.ko" || return
		mkdir "$CGROUP/vm/gone" "$CGROUP/vm/stays"
		for dir in gone stays; do
			echo '10000 100000' >"$CGROUP/vm/$dir/spare.reservation" || return
			echo 0-1 >"$CGROUP/vm/$dir/spare.cpus" || return
		done
		sleep "0.$((RANDOM % 10))"
		rmdir "$CGROUP/vm/gone"
		rmmod sched_spare || return
		rmdir "$CGROUP/vm/stays"
	done
}

ktap_plan 34
spare_up
test_subtree
test_intruders
test_type_change
test_readers
test_slow_writers
cgroup_remove "$a" "$CGROUP/pool/p0"
mkdir "$crowd"
controllers "$crowd"
test_no_queue
test_stock
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
ktap_check 'LIFE-3: ten times the module goes right after cgroups' unload_rounds
is 'LIFE-8: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
