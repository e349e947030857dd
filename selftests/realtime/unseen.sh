#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 200
#
# unseen.sh - spared names a tap that carries packets to a VM of which the module counts none, and no other.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

N=40 # packets; 16 are enough to tell
holders=()
cleanup() {
	kill -KILL "${holders[@]}" 2>/dev/null || true
	cgroup_remove "$CGROUP"/vm/a "$CGROUP"/vm/b
	ip link del unseen0 2>/dev/null || true
	ip link del unveth0 2>/dev/null || true
}

quiet() { [[ ! -d /proc/sys/net/ipv6/conf/$1 ]] || echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6"; }
count() { cat "/sys/class/net/$1/statistics/$2"; }
# spared has looked at everything when this returns.
look() { sparectl reload >/dev/null; }
said() { grep -F "packets went to $1," "$SPARED_LOG"; }

# A tap whose reader sleeps while packets come that are nobody's: it reads them when the tap is the VM's, so the module has counted none.
test_missed() {
	ip tuntap add unseen0 mode tap
	quiet unseen0
	ip link set unseen0 up
	python3 - <<-'END' &
		import fcntl, os, struct
		fd = os.open("/dev/net/tun", os.O_RDWR)
		fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"unseen0", 0x0002 | 0x1000))
		while True: os.read(fd, 65536)
	END
	holders+=($!)
	wait_for 10 grep -q 1 /sys/class/net/unseen0/carrier
	kill -STOP "${holders[0]}"
	python3 - $N <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind(("unseen0", 0))
		for i in range(int(sys.argv[1])):
		    s.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
	END
	sparectl set --create /vm/a -r 4ms/10ms -c 1 -n unseen0
	look
	kill -CONT "${holders[0]}"
	wait_for 10 eval "((\$(count unseen0 tx_packets) >= $N))"
	look
	ktap_check 'SPARE-9: a tap that carries packets of which none is counted is named in the log' said unseen0
	look
	ktap_check 'SPARE-9: once' eval '(($(said unseen0 | wc -l) == 1))'
}

# A macvtap by which the VM only sends: what it sends are the device's tx_packets, not its rx_packets.
test_macvtap() {
	local index major minor
	ip link add unveth0 type veth peer name unveth1
	ip link set unveth0 up
	ip link set unveth1 up
	ip link add link unveth1 name unseen1 type macvtap mode bridge
	quiet unseen1
	ip link set unseen1 up
	index=$(</sys/class/net/unseen1/ifindex)
	IFS=: read -r major minor <"/sys/class/macvtap/tap$index/dev"
	[[ -c /dev/tap$index ]] || mknod "/dev/tap$index" c "$major" "$minor"
	sparectl set --create /vm/b -r 4ms/10ms -c 1 -n unseen1
	look
	python3 - "/dev/tap$index" $N <<-'END'
		import os, sys
		fd = os.open(sys.argv[1], os.O_RDWR)
		for i in range(int(sys.argv[2])):
		    os.write(fd, bytes(10) + b"\x02\0\0\0\0\7" + b"\x02\0\0\0\0\2" + b"\x88\xb5" + bytes(46))  # behind a virtio_net_hdr
	END
	look
	ktap_check 'SPARE-9: a macvtap by which the VM has sent' at_least $N "$(count unseen1 tx_packets)"
	ktap_check 'SPARE-9: is not, though none was counted' eval '(($(stat_of "$CGROUP/vm/b" rx_packets) == 0)) && ! said unseen1'
}

ktap_plan 4
spare_up
ktap_cleanup cleanup
test_missed
test_macvtap
sed 's/^/# /' "$SPARED_LOG"
ktap_done
