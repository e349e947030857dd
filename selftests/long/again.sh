#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 7200
#
# again.sh - what happens once or twenty times elsewhere, a thousand times ($SPARE_ROUNDS): the module comes and goes in the middle of packets to a tap that
# is bound, with a cgroup that has a reservation and a reader that has a file of it open.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../realtime/module.inc.sh"

rounds=${SPARE_ROUNDS:-1000} vm=st/again tap=spagain

cleanup() {
	[[ -z ${flood-} ]] || kill -KILL -- "-$flood" 2>/dev/null || true
	ip link del "$tap" 2>/dev/null || true
	[[ ! -d $CG/st ]] || tree_remove st
	module_down
}
slab_kb() { awk '$1 == "SUnreclaim:" { print $2 }' /proc/meminfo; }

# Frames to the tap, which that process holds and reads, without end.
flood() {
	setsid python3 - "$tap" <<-'END' &
		import fcntl, os, socket, struct, sys, threading
		fd = os.open("/dev/net/tun", os.O_RDWR)
		fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", sys.argv[1].encode(), 0x0002 | 0x1000))
		def reads():
		    while True: os.read(fd, 65536)
		threading.Thread(target=reads, daemon=True).start()
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind((sys.argv[1], 0))
		while True:
		    try: s.send(b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
		    except OSError: pass
	END
	flood=$!
}

again() {
	local i file before
	for ((i = 1; i <= rounds; i++)); do
		insmod "$KO" || { echo "round $i: insmod"; return 1; }
		echo "20000 100000" >"$CG/$vm/spare.reservation" || return
		echo "$tap" >"$CG/$vm/spare.netdev" || return
		exec {file}<"$CG/$vm/spare.stat"
		before=$(key "$vm/spare.stat" rx_packets)
		if ((i % 50 == 1)); then
			wait_for 5 eval '(($(key "$vm/spare.stat" rx_packets) > before))' || { echo "round $i: no packet was seen"; return 1; }
		fi
		rmmod sched_spare || { echo "round $i: rmmod"; return 1; }
		exec {file}<&-
		((i % 100)) || ktap_note "$i rounds in $SECONDS s, unreclaimable slab $(slab_kb) kB"
	done
}

[[ $module_was_loaded == no ]] || ktap_skip_all "the module was loaded before this test"
ktap_plan 4
ktap_cleanup cleanup
modprobe tun
tree_dir st
mkdir -p "$CG/$vm"
ip tuntap add "$tap" mode tap
ip link set "$tap" up
flood
wait_for 10 grep -q 1 "/sys/class/net/$tap/carrier"
ktap_check 'LIFE-3: ten rounds to begin with' eval 'rounds=10 again'
slab=$(slab_kb)
ktap_check "LIFE-3: $rounds times loaded and unloaded under packets, with an open file" again
kill -KILL -- "-$flood"
ktap_note "unreclaimable slab: $slab kB before, $(slab_kb) kB now"
ktap_check 'LIFE-3: no more than 8 MB of unreclaimable memory stay behind' eval '(($(slab_kb) - slab < 8192))'
is 'LIFE-8: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
