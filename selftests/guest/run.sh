#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [OPTION]... [-- QEMU_ARG...] - start one nested guest with vhost-net on its own tap; the process becomes QEMU.
#
#   --tap NAME        tap to make (default spareg0); it stays, the caller deletes it: ip link del NAME
#   --net N           host 198.18.N.1/24, guest 198.18.N.2 (default 71); 198.18.0.0/15 is reserved for measurements (RFC 2544)
#   --vcpus N         default 1                     --cgroup DIR   cgroup directory to enter first
#   --serial FILE     default /tmp/TAP.serial       --idle         do not burn CPU
#                                                 --rest         burn at no cost of the emulator's (tools/resting.cpp)
#   --send PORT       send in bulk by TCP to that port of the host's, and nothing else
#   --guest DIR       image and initrd of guest/build.sh (default: $SPARE_GUEST, else /usr/local/libexec/sched_spare/guest)
#   --qemu COMMAND    what to run instead of qemu-system-x86_64, words split (spare-qemu …)
#   --tap-only        make the tap and stop
#
# tsc-deadline and no HPET: otherwise a guest whose APIC timer failed its calibration, as happens under emulation, ticks on the
# HPET, in QEMU's main loop. Ready when the serial file holds "guest_burn:" (or "up after" with --idle, --send). vCPU threads are named "CPU N/KVM".

set -euo pipefail

tap=spareg0 net=71 vcpus=1 cgroup='' serial='' load='' qemu=qemu-system-x86_64 tap_only=
guest=${SPARE_GUEST:-/usr/local/libexec/sched_spare/guest}
while [ $# -gt 0 ]; do
	case $1 in
	--tap) tap=$2; shift ;;
	--net) net=$2; shift ;;
	--vcpus) vcpus=$2; shift ;;
	--cgroup) cgroup=$2; shift ;;
	--serial) serial=$2; shift ;;
	--guest) guest=$2; shift ;;
	--qemu) qemu=$2; shift ;;
	--idle) load=spare_idle=1 ;;
	--send) load=spare_send=$2; shift ;;
	--rest) [ "${SPARE_HOST-}" != realtime ] || load=spare_rest=1 ;; # (a real KVM takes a guest's PAUSE for a lock that it waits for)
	--tap-only) tap_only=1 ;;
	--) shift; break ;;
	*) echo "guest/run.sh: unknown option $1" >&2; exit 2 ;;
	esac
	shift
done
serial=${serial:-/tmp/$tap.serial}
host_ip=198.18.$net.1 guest_ip=198.18.$net.2
printf -v host_mac '02:00:c6:12:%02x:01' "$net"
printf -v guest_mac '02:00:c6:12:%02x:02' "$net"

for need in /dev/kvm /dev/net/tun /dev/vhost-net; do
	[ -c "$need" ] || { echo "guest/run.sh: no $need; try: modprobe kvm-amd (or kvm-intel) tun vhost_net" >&2; exit 1; }
done
for need in "$guest/image" "$guest/initrd"; do
	[ -s "$need" ] || { echo "guest/run.sh: no $need; make it with guest/build.sh" >&2; exit 1; }
done

if [ ! -d "/sys/class/net/$tap" ]; then
	ip tuntap add dev "$tap" mode tap
	echo 1 >"/proc/sys/net/ipv6/conf/$tap/disable_ipv6"   # no packet but ours
	ip link set dev "$tap" address "$host_mac" up
	ip addr add "$host_ip/24" dev "$tap"
	ip neigh replace "$guest_ip" lladdr "$guest_mac" dev "$tap" nud permanent
fi
[ -z "$tap_only" ] || exit 0
if [ -n "$cgroup" ]; then
	taskset -pc "0-$(($(nproc --all) - 1))" $$ >/dev/null     # what the caller was bound to must not bind the guest
	echo $$ >"$cgroup/cgroup.procs"
fi
: >"$serial"
# shellcheck disable=SC2086 # --qemu is a command with its words
exec $qemu -name "$tap,debug-threads=on" -machine q35,usb=off,vmport=off,hpet=off -accel kvm -cpu qemu64,+tsc-deadline -smp "$vcpus" -m 256 \
	-nodefaults -no-user-config -display none -kernel "$guest/image" -initrd "$guest/initrd" \
	-append "console=ttyS0 quiet nokaslr mitigations=off ipv6.disable=1 panic=-1 spare_ip=$guest_ip/24 spare_gw=$host_ip spare_gwmac=$host_mac spare_port=7171 $load" \
	-serial "file:$serial" -no-reboot \
	-netdev "tap,id=net0,ifname=$tap,script=no,downscript=no,vhost=on" \
	-device "virtio-net-pci,netdev=net0,mac=$guest_mac,rombar=0" "$@"
