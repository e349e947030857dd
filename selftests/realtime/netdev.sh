#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# netdev.sh - spare.netdev: which taps may be bound, and what becomes of the binding when a tap changes or goes.
# shellcheck disable=SC2086 # cgroups and devices are named without blanks
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/module.inc.sh"

a=st/a b=st/b
xdp=$(mktemp)

cleanup() {
	local dev
	for dev in sptap0 sptap1 sptap2 sptun0 spdum0 spveth0 spbr0 spbr1 spvrf0; do
		ip link del $dev 2>/dev/null || true
	done
	ip netns del spns 2>/dev/null || true
	tree_remove st
	module_down
	rm -f "$xdp"
}
ktap_cleanup cleanup

tap() {
	ip tuntap add $1 mode tap
	quiet $1
	ip link set $1 up
}

# No packets of the kernel's own.
quiet() {
	[[ ! -d /proc/sys/net/ipv6/conf/$1 ]] || echo 1 >/proc/sys/net/ipv6/conf/$1/disable_ipv6
}

rx() {
	key $1/spare.stat rx_packets
}

# send DEVICE N [bypass]: N frames out of DEVICE, whoever it belongs to; past its queueing discipline
send() {
	python3 - "$@" <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		if sys.argv[3:]: s.setsockopt(263, 20, 1)	# PACKET_QDISC_BYPASS
		s.bind((sys.argv[1], 0))
		for i in range(int(sys.argv[2])):
		    s.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
	END
}

# sent_and_seen CGROUP DEVICE N: how many of N frames sent were counted
sent_and_seen() {
	local before
	before=$(rx $1)
	send $2 $3
	echo $(($(rx $1) - before))
}

# A tap with no reader sends nothing: give it one. holder NAME: keeps the tap's file open until killed; sends 3 frames at SIGUSR1
holder() {
	python3 - $1 <<-'END' &
		import fcntl, os, signal, struct, sys
		fd = os.open("/dev/net/tun", os.O_RDWR)
		fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", sys.argv[1].encode(), 0x0002 | 0x1000))
		frame = b"\xff" * 6 + b"\x02\0\0\0\0\2" + b"\x88\xb5" + bytes(46)
		signal.signal(signal.SIGUSR1, lambda *_: [os.write(fd, frame) for i in range(3)])
		while True: os.read(fd, 65536)
	END
	holders+=($!)
	wait_for 10 grep -q 1 /sys/class/net/$1/carrier
}
holders=()
ktap_cleanup 'kill "${holders[@]}" 2>/dev/null || true'

test_names() {
	local name
	want 'files: a device that is not there' ENODEV $a/spare.netdev nosuchdev
	want 'files: a name too long for a device' ENODEV $a/spare.netdev a23456789012345678901234567890
	want 'files: lo' EINVAL $a/spare.netdev lo
	ip link add spdum0 type dummy
	want 'files: not a tap' EINVAL $a/spare.netdev spdum0
	ip tuntap add sptun0 mode tun
	want 'files: a tun device of layer 3' EINVAL $a/spare.netdev sptun0
	for name in '\n' ' ' 'sptap0\0' 'sptap0\nsptap1' 'none sptap0' 'sptap0 none' 'sptap0 sptap0'; do
		want "files: malformed spare.netdev '$name'" "$([[ $name == *none* ]] && echo ENODEV || echo EINVAL)" $a/spare.netdev "$name"
	done
	is 'files: nothing of this was bound' none "$(get $a/spare.netdev)"
	want 'SPARE-2: a tap' OK $a/spare.netdev 'sptap0\n'
	is 'SPARE-2: reads back' sptap0 "$(get $a/spare.netdev)"
	want 'files: a tap of another VM' EEXIST $b/spare.netdev sptap0
	want 'files: a free tap and one of another VM' EEXIST $b/spare.netdev 'sptap1 sptap0'
	is 'files: nothing half applied' none "$(get $b/spare.netdev)"
	want 'files: a good and a bad name' ENODEV $a/spare.netdev 'sptap1 nosuchdev'
	is 'files: the old list stays' sptap0 "$(get $a/spare.netdev)"
	want 'SPARE-2: two taps' OK $a/spare.netdev ' sptap0\tsptap1 '
	is 'SPARE-2: read back' 'sptap0 sptap1' "$(get $a/spare.netdev)"
	want 'SPARE-2: one less' OK $a/spare.netdev sptap1
	want 'SPARE-2: it is free for another VM' OK $b/spare.netdev sptap0
	want 'SPARE-2: none' OK $b/spare.netdev none
	want 'SPARE-2: back' OK $a/spare.netdev sptap0
}

test_packets() {
	local before
	is 'SPARE-2: every packet is counted' 20 "$(sent_and_seen $a sptap0 20)"
	is 'SPARE-2: those of other taps are not' 0 "$(sent_and_seen $a sptap1 20)"
	kill -USR1 "${holders[0]}"
	wait_for 5 test "$(key $a/spare.stat tx_packets)" = 3 || true
	is 'files: packets from the VM are counted' 3 "$(key $a/spare.stat tx_packets)"
	# A tap whose holder does not read drops what its ring cannot hold.
	tc qdisc replace dev sptap0 root noqueue
	kill -STOP "${holders[0]}"
	before=$(key $a/spare.stat rx_dropped)
	send sptap0 3000 2>/dev/null || true
	is 'files: what the tap drops is counted' yes "$( (($(key $a/spare.stat rx_dropped) > before)) && echo yes)"
	kill -CONT "${holders[0]}"
	ip link set sptap0 name sptap2
	is 'LIFE-4: a renamed tap stays bound' sptap2 "$(get $a/spare.netdev)"
	is 'LIFE-4: and counts' 5 "$(sent_and_seen $a sptap2 5)"
	ip link set sptap2 name sptap0
	ip link set sptap0 down
	ip link set sptap0 up
	is 'LIFE-4: also after down and up' 5 "$(sent_and_seen $a sptap0 5)"
	want 'SPARE-2: none' OK $a/spare.netdev none
	is 'SPARE-2: an unbound tap is not counted' 0 "$(sent_and_seen $a sptap0 5)"
	want 'SPARE-2: bound again' OK $a/spare.netdev sptap0
}

# flood DEVICE N: as send, whether or not there is room
flood() {
	python3 - "$@" <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind((sys.argv[1], 0))
		for i in range(int(sys.argv[2])):
		    try: s.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
		    except OSError: pass
	END
}

# The tap changes its name while 20 000 packets come; what it has no room for is dropped.
rename_under_flood() {
	local n flood before
	before=$(rx $a)
	flood sptap0 20000 &
	flood=$!
	wait_for 20 eval "(( \$(rx $a) > $before ))" || { echo "no flood"; return 1; }
	for ((n = 0; n < 100; n++)); do
		ip link set sptap0 name sptap2 || return
		[[ $(get $a/spare.netdev) == sptap2 ]] || { echo "round $n: $(get $a/spare.netdev)"; return 1; }
		ip link set sptap2 name sptap0 || return
		kill -0 $flood 2>/dev/null || break
	done
	wait $flood || { echo "the flood ended with $?"; return 1; }
	echo "$n times; counted $(($(rx $a) - before))"
	((n > 0 && $(rx $a) > before + 1000)) || return
	[[ $(sent_and_seen $a sptap0 5) == 5 ]]
}

# Two taps of two VMs on a bridge; a broadcast; from bridge to bridge, and below a VRF.
test_bridges() {
	local before dev
	want 'SPARE-2: a tap of another VM' OK $b/spare.netdev sptap1
	for dev in spbr0 spbr1; do
		ip link add $dev type bridge mcast_snooping 0
		quiet $dev
		ip link set $dev up
	done
	ip link set sptap0 master spbr0
	ip link set sptap1 master spbr0
	wait_for 10 eval 'bridge link show | grep -c "master spbr0 state forwarding" | grep -qx 2'
	before="$(rx $a) $(rx $b)"
	send spbr0 5
	is 'SPARE-2: a broadcast over a bridge is for every VM there' "$((${before% *} + 5)) $((${before#* } + 5))" \
		"$(until_is 5 "$((${before% *} + 5)) $((${before#* } + 5))" eval 'echo "$(rx $a) $(rx $b)"')"
	ip link set sptap0 master spbr1
	wait_for 10 eval 'bridge link show dev sptap0 | grep -q "state forwarding"'
	before=$(rx $a)
	send spbr1 5
	is 'LIFE-4: moved to another bridge: it counts' $((before + 5)) "$(until_is 5 $((before + 5)) rx $a)"
	ip link set sptap0 nomaster
	ip link del spbr0
	ip link del spbr1
	if ip link add spvrf0 type vrf table 10 2>/dev/null; then
		ip link set spvrf0 up
		ip link set sptap0 master spvrf0
		is 'LIFE-4: below a VRF: it counts' 5 "$(sent_and_seen $a sptap0 5)"
		ip link set sptap0 nomaster
		ip link del spvrf0
	else
		ktap_skip 'LIFE-4: below a VRF: it counts' 'this kernel has no VRF'
	fi
	want 'SPARE-2: the other one is free' OK $b/spare.netdev none
}

# seen_by COMMAND...: what COMMAND sends is counted within a second; how many
seen_by() {
	local before
	before=$(rx $a)
	"$@"
	sleep 0.5
	echo $(($(rx $a) - before))
}

# Whatever way a packet takes to the tap (SPARE-9).
test_ways() {
	local before
	ip link add spveth0 type veth peer name spveth1
	quiet spveth0
	quiet spveth1
	ip link set spveth0 up
	ip link set spveth1 up
	tc qdisc add dev spveth1 clsact
	tc filter add dev spveth1 ingress matchall action mirred egress redirect dev sptap0
	is 'SPARE-9: redirected by tc (Kata)' 7 "$(seen_by send spveth0 7)"
	tc qdisc del dev spveth1 clsact
	is 'SPARE-9: past the queueing discipline' 7 "$(seen_by send sptap0 7 bypass)"
	tc qdisc replace dev sptap0 root netem delay 1s
	before=$(rx $a)
	send sptap0 7
	is 'SPARE-9: held back by a queueing discipline: not yet' $before "$(rx $a)"
	is 'SPARE-9: but when the tap gets them' $((before + 7)) "$(until_is 5 $((before + 7)) rx $a)"
	tc qdisc replace dev sptap0 root noqueue
	/usr/local/libexec/sched_spare/spare-xdp spveth1 sptap0 >"$xdp" &
	holders+=($!)
	wait_for 10 grep -q attached "$xdp"
	is 'SPARE-9: redirected by XDP' 7 "$(seen_by send spveth0 7)"
	kill "${holders[-1]}"
	ip link add link spveth1 name spmvt0 type macvtap mode bridge
	quiet spmvt0
	ip link set spmvt0 up
	want 'SPARE-9: a macvtap' OK $a/spare.netdev 'sptap0 spmvt0'
	is 'SPARE-9: by its handler' 7 "$(seen_by send spveth0 7)"
	want 'SPARE-9: without it' OK $a/spare.netdev sptap0
	ip link del spveth0
}

test_namespaces() {
	ip netns add spns
	ip link set sptap0 netns spns
	is 'LIFE-4: a tap that leaves its namespace is dropped' none "$(get $a/spare.netdev)"
	want 'files: names are of the writer'"'"'s namespace' ENODEV $a/spare.netdev sptap0
	is 'files: a writer in that namespace' OK "$(errno_of "$(nsenter --net=/run/netns/spns bash -c "echo sptap0 >$CG/$a/spare.netdev" 2>&1)")"
	is 'files: has bound it' sptap0 "$(get $a/spare.netdev)"
	ip netns exec spns ip link set sptap0 netns 1
	is 'LIFE-4: and back again: dropped' none "$(get $a/spare.netdev)"
	quiet sptap0
	ip link set sptap0 up
	want 'LIFE-4: it can be bound again' OK $a/spare.netdev sptap0
	is 'LIFE-4: and counts' 5 "$(sent_and_seen $a sptap0 5)"
	ip link set sptap1 netns spns
	nsenter --net=/run/netns/spns bash -c "echo sptap1 >$CG/$b/spare.netdev"
	kill "${holders[1]}"
	ip netns del spns
	is 'LIFE-4: the namespace goes with a bound tap in it' none "$(until_is 20 none get $b/spare.netdev)"
}

# A tap goes, and another takes its index.
test_index() {
	is 'LIFE-4: one with the index of a tap that has gone is another' 'none 0' "$(
		python3 - $CG/$a <<-'END'
			import fcntl, os, socket, struct, sys
			def tap(name, index=0):
			    fd = os.open("/dev/net/tun", os.O_RDWR)
			    if index: fcntl.ioctl(fd, 0x400454da, struct.pack("I", index))	# TUNSETIFINDEX
			    fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", name, 0x1002))	# TUNSETIFF
			    os.system("ip link set " + name.decode() + " up")
			    return fd
			def stat(): return next(l.split()[1] for l in open(sys.argv[1] + "/spare.stat") if l.startswith("rx_packets "))
			def netdev(): return open(sys.argv[1] + "/spare.netdev").read().strip()
			old = tap(b"spidx0")
			index = socket.if_nametoindex("spidx0")
			open(sys.argv[1] + "/spare.netdev", "w").write("spidx0")
			os.close(old)
			new = tap(b"spidx1", index)
			assert socket.if_nametoindex("spidx1") == index
			before = stat()
			s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
			s.bind(("spidx1", 0))
			s.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
			print(netdev(), int(stat()) - int(before))
		END
	)"
}

# 1000 taps come, are bound, and go; the quickest of the first hundred and of the last, in us: what other work adds is not in these.
many_taps() {
	python3 - $CG/$a <<-'END'
		import fcntl, os, struct, sys, time
		took = []
		for i in range(1000):
		    began = time.monotonic()
		    fd = os.open("/dev/net/tun", os.O_RDWR)
		    fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"spmany%d" % i, 0x1002))
		    open(sys.argv[1] + "/spare.netdev", "w").write("spmany%d" % i)
		    os.close(fd)
		    took.append(time.monotonic() - began)
		print(int(min(took[:100]) * 1e6), int(min(took[-100:]) * 1e6))
	END
}

test_many() {
	local first last
	read -r first last < <(many_taps) || true
	ktap_note "1000 taps bound and gone: the quickest of the first hundred in ${first:-?} us, of the last in ${last:-?} us"
	is 'LIFE-4: 1000 bound taps go: none is left' none "$(until_is 10 none get $a/spare.netdev)"
	ktap_check 'LIFE-4: and the last are as quick as the first' at_most $((2 * ${first:-0})) "${last:-999999999}"
}

# The module comes and goes, each time in the middle of packets. (The hook goes with a grace period of all tasks, some seconds on a busy machine.)
unload_rounds() {
	local i
	for i in {1..8}; do
		echo sptap0 >$CG/$a/spare.netdev || return
		rmmod sched_spare || return
		insmod "$KO" || return
	done
}

test_removal() {
	local i
	kill "${holders[0]}"
	ip link del sptap0
	is 'LIFE-4: a deleted tap is dropped' none "$(until_is 10 none get $a/spare.netdev)"
	tap sptap0
	is 'LIFE-4: a new one of the same name is another' none "$(get $a/spare.netdev)"
	for i in {1..15}; do
		ip tuntap add sptap2 mode tap
		ip link set sptap2 up
		echo sptap2 >$CG/$a/spare.netdev
		send sptap2 400 2>/dev/null &
		case $((i % 3)) in
		0) ip link del sptap2 ;;
		1) echo none >$CG/$a/spare.netdev ;;
		2) rmdir $CG/$a && mkdir $CG/$a ;;
		esac
		wait $! || true
		ip link del sptap2 2>/dev/null || true
	done
	is 'LIFE-4: tap, binding or cgroup removed under packets' none "$(get $a/spare.netdev)"
	echo sptap0 >$CG/$a/spare.netdev
	rmdir $CG/$a
	is 'LIFE-4: a removed cgroup gives its tap back' OK "$(until_is 5 OK put $b/spare.netdev sptap0)"
	if [[ $module_was_loaded == yes ]]; then
		ktap_skip 'LIFE-3: unloading under packets' 'the module was loaded before this test'
		ktap_skip 'LIFE-3: and loading, 8 times' 'the module was loaded before this test'
		return
	fi
	holder sptap0
	(send sptap0 20000 || true) &
	rmmod sched_spare
	wait $!
	is 'LIFE-3: unloading under packets' no "$([[ -d /sys/module/sched_spare ]] && echo yes || echo no)"
	insmod "$KO"
	mkdir $CG/$a
	(while :; do send sptap0 1000 2>/dev/null || true; done) &
	holders+=($!)
	ktap_check 'LIFE-3: and loading, 8 times' unload_rounds
	kill $!
}

module_up
ktap_plan 69
tree_dir st
mkdir -p $CG/$a $CG/$b
tap sptap0
tap sptap1
holder sptap0
holder sptap1
test_names
test_packets
ktap_check 'LIFE-4: renamed under 20 000 packets: bound, and counts' rename_under_flood
test_bridges
test_ways
test_index
test_many
want 'SPARE-2: bound again' OK $a/spare.netdev sptap0
test_namespaces
test_removal
is 'files: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
