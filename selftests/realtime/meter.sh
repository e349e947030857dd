#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# kernels: trixie bookworm
#
# meter.sh - spared --meter with nothing else of ours loaded: two KVM guests, one in a cgroup of its own, one a plain QEMU in the root's; packets
# to them and to the host come in softirq, from another network namespace. The judge is the kernel's own account of threads and taps.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

SECONDS_EACH=5

[[ -c /dev/kvm ]] || modprobe -a kvm_amd 2>/dev/null || modprobe -a kvm_intel 2>/dev/null || true
[[ -c /dev/kvm ]] || ktap_skip_all "no /dev/kvm"
command -v qemu-system-x86_64 >/dev/null || ktap_skip_all "no qemu-system-x86_64"

end_guests() {
	local pid
	for pid in "${guests[@]-}"; do
		[[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
		[[ -z $pid ]] || wait "$pid" 2>/dev/null || true
	done
	guests=()
	meter_down
	ip link del meter_a 2>/dev/null || true
	ip link del meter_b 2>/dev/null || true
	ip netns del out 2>/dev/null || true
	cgroup_remove "$CGROUP/vm/meter"
}

net_up() {
	ip netns add out
	ip link add out0 type veth peer name out1
	ip link set out0 netns out
	echo 1 >/proc/sys/net/ipv6/conf/out1/disable_ipv6
	ip addr add 198.18.90.1/24 dev out1
	ip link set out1 up
	ip netns exec out bash -c '
		echo 1 >/proc/sys/net/ipv6/conf/out0/disable_ipv6
		ip link set lo up
		ip addr add 198.18.90.2/24 dev out0
		ip link set out0 up
		ip route add default via 198.18.90.1'
	echo 1 >/proc/sys/net/ipv4/ip_forward
}

start_guest() { # TAP NET ARG...
	local tap=$1 net=$2
	shift 2
	"$here/../guest/run.sh" --rest --tap "$tap" --net "$net" "$@" </dev/null >"/tmp/$tap.qemu" 2>&1 &
	guests+=($!)
}
up() { grep -qs guest_burn: "/tmp/$1.serial"; }

meter_up() {
	nice -n -20 spared --meter --json </dev/null >"$MEASURES/bill" 2>"$MEASURES/meter.err" &
	METER=$!
}
meter_down() {
	[[ -n ${METER-} ]] || return 0
	kill -INT "$METER" 2>/dev/null || true
	wait "$METER" || true
	METER=
}
said() { grep -q "$1" "$MEASURES/meter.err"; }
seen() { tail -n 1 "$MEASURES/bill" | grep -q "$1"; }

# UDP from outside: address, packets per second. Returns when they come.
send() {
	rm -f "$MEASURES/sends"
	background ip netns exec out python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to, gap = (sys.argv[1], 9), 1 / float(sys.argv[2])
open(sys.argv[3], "w")
due = time.monotonic()
while True:
    try:
        s.sendto(b"x" * 200, to)
    except OSError:
        pass
    due += gap
    time.sleep(max(0, due - time.monotonic()))' "$1" "$2" "$MEASURES/sends"
	wait_for 60 test -e "$MEASURES/sends" || true
}

# judge NAME: so many lines of the bill beside what the kernel says. It goes before the guests, beside which it would come too late to a line.
judge() {
	timeout 90 chrt -f 10 python3 "$here/meter_judge.py" "$MEASURES/bill" "$SECONDS_EACH" "meter_a=${guests[0]}:meter_a" "meter_b=${guests[1]}:meter_b" >"$MEASURES/$1" 2>&1 ||
		ktap_note "$1: the judge ended with status $? (124: not one line in time for a look)"
	ktap_note "$1: $(tr '\n' ' ' <"$MEASURES/$1")"
}
of() { result "$MEASURES/$1" "$2" || echo -1; }

# ACC-1, of one phase
adds_up() {
	local cpu
	at_least "$SECONDS_EACH" "$(of "$1" lines)" || return
	at_most 1000 "$(of "$1" conservation.worst_ppm)" || return
	for ((cpu = 0; cpu < $(nproc); cpu++)); do at_most 5000 "$(of "$1" "cpu$cpu.off_ppm")" || return; done
}

# Some kernels charge a thread for what runs on top of it, too: ours is less by at most that. A running thread's account there is up to a tick old.
agrees() {
	local ours kernel top slack
	ours=$(of "$1" "$2.threads_ns") kernel=$(of "$1" "$2.kernel_ns") top=$(of "$1" on_top_ns) slack=$(($(of "$1" clock_ns) / 100))
	echo "$2: the meter $ours, the kernel $kernel, of which up to $top ran on top of it"
	((ours > 0 && kernel >= ours - slack && kernel <= ours + top + slack))
}

# within PERMILLE WANTED VALUE
within() { near "$2" $(($2 * $1 / 1000 + 3)) "$3"; }

pit_ns() {
	local pid
	if pid=$(pgrep -x "kvm-pit/${guests[2]}"); then awk '{ print $1 }' "/proc/$pid/schedstat"; else echo 0; fi
}
pit_works() { [[ $(pit_ns 2>/dev/null) -gt 0 ]] && seen '"name":"meter_pit"'; }
pit_billed() { tail -n "+$pit_from" "$MEASURES/bill" | sed "s/{\"name\":/\\n&/g" | { grep "^{\"name\":\"meter_pit\"" || true; } | { grep -o '"kthread":[0-9]*' || true; } | awk -F: '{ sum += $2 } END { print sum + 0 }'; }

nothing_loaded() { [[ ! -d /sys/module/sched_spare ]] && ! class_is enabled; }
# (The kernel frees programs a moment later.)
nothing_left() { ! bpftool prog list | grep ' name meter_'; }

guests=()
ktap_plan 27
ktap_cleanup end_guests
ktap_check "ACC-1: nothing of ours is loaded" nothing_loaded
modprobe -a tun vhost_net veth
net_up

# Without KVM it begins, says what is missing, and sees KVM when that comes.
modprobe -r kvm_amd kvm_intel kvm 2>/dev/null || true
if [[ -d /sys/module/kvm ]]; then
	ktap_skip "LIFE-5: it says by name what it cannot see" "kvm cannot be unloaded here"
	meter_up
else
	meter_up
	ktap_check "LIFE-5: it says by name what it cannot see" wait_for 120 said 'not in the bill: vCPUs: .*tracepoint kvm_entry: the module kvm is not loaded'
fi
ktap_check "ACC-1: and bills the rest" wait_for 60 test -s "$MEASURES/bill"
modprobe -a kvm_amd 2>/dev/null || modprobe -a kvm_intel
ktap_check "LIFE-5: when the module has come it sees more" wait_for 120 seen '"missing":\[\]'

mkdir -p "$CGROUP/vm/meter"
start_guest meter_a 72 --cgroup "$CGROUP/vm/meter"
start_guest meter_b 73
wait_for 240 up meter_a || true
wait_for 120 up meter_b || true
taskset -apc 0 "${guests[0]}" >/dev/null
taskset -apc $(($(nproc) - 1)) "${guests[1]}" >/dev/null
ktap_check "ACC-4: the VM with a cgroup is that cgroup" wait_for 20 seen '"name":"meter_a","cgroup":"/vm/meter","whole_cgroup":true'
ktap_check "ACC-4: plain QEMU in the root cgroup is a VM by itself" wait_for 20 seen '"name":"meter_b","cgroup":"/","whole_cgroup":false'
ktap_check "ACC-4: with their taps" seen '"taps":\["meter_b"\]'

judge quiet
ktap_check "ACC-1: without packets every CPU's bill adds up" adds_up quiet
ktap_check "ACC-1: a's threads have what the kernel says" agrees quiet meter_a
ktap_check "ACC-1: b's, too" agrees quiet meter_b
ktap_check "ACC-1: the guest's part is most of it" at_least $(($(of quiet meter_a.threads_ns) / 2)) "$(of quiet meter_a.guest_ns)"

send 198.18.72.2 400
judge to_a
background_stop
ktap_check "ACC-1: with packets to a it adds up" adds_up to_a
ktap_check "ACC-1: a's threads have what the kernel says, with packets" agrees to_a meter_a
ktap_check "ACC-1: b's, with packets to a" agrees to_a meter_b
ktap_check "ACC-2: a's packets are a's" within 50 "$(of to_a meter_a.tap_packets)" "$(of to_a meter_a.rx_packets)"
ktap_check "ACC-2: and so is their softirq" at_least $((2000 * $(of to_a meter_a.rx_packets))) "$(of to_a meter_a.softirq_rx_ns)"
ktap_check "ACC-2: b, which had none, pays nothing" equal "0 0" "$(of to_a meter_b.rx_packets) $(of to_a meter_b.softirq_rx_ns)"
ktap_check "ACC-1: a vhost worker is told by what it does" at_least $(($(of to_a meter_a.rx_packets) * 5000)) "$(of to_a meter_a.vhost_ns)"

send 198.18.90.1 400
judge to_host
background_stop
ktap_check "ACC-1: with packets to the host it adds up" adds_up to_host
ktap_check "ACC-4: the host's packets are no VM's" equal "0 0 0 0" \
	"$(of to_host meter_a.rx_packets) $(of to_host meter_b.rx_packets) $(of to_host meter_a.softirq_rx_ns) $(of to_host meter_b.softirq_rx_ns)"
ktap_check "ACC-4: they are the host network's" at_least $((2 * $(of quiet host.network_ns) + 1000000)) "$(of to_host host.network_ns)"

kill -STOP "${guests[@]}"
judge stopped
# (/proc/stat is no judge here: it shows up to 12 % more idle time than has passed.)
ktap_note "idle: the meter $(of stopped host.idle_ns), /proc/stat $(of stopped kernel.idle_ns), of $(($(of stopped clock_ns) * $(nproc)))"
ktap_check "ACC-1: with the VMs stopped it adds up, and CPUs are idle" eval 'adds_up stopped && at_least $(($(of stopped clock_ns) * $(nproc) * 3 / 4)) "$(of stopped host.idle_ns)"'
ktap_check "ACC-1: VMs that stand still pay nothing" at_most 5000000 $(($(of stopped meter_a.threads_ns) + $(of stopped meter_b.threads_ns)))

# A guest without a system: its firmware waits by the PIT, which a kernel thread of the root cgroup works for.
qemu-system-x86_64 -name meter_pit -machine q35,usb=off,vmport=off,hpet=off -accel kvm -cpu qemu64 -m 64 -nodefaults -no-user-config -display none </dev/null >/tmp/meter_pit.qemu 2>&1 &
guests+=($!)
wait_for 60 pit_works || ktap_note "no guest that uses the PIT: $(cat /tmp/meter_pit.qemu)"
pit_from=$(($(wc -l <"$MEASURES/bill") + 1)) before=$(pit_ns)
wait_for 60 eval '(($(wc -l <"$MEASURES/bill") >= pit_from + 4))' || true
kernel=$(($(pit_ns) - before)) ours=$(pit_billed)
ktap_note "the PIT's thread: the kernel $kernel ns, billed to the VM $ours"
ktap_check "ACC-4: what a guest's PIT takes is the VM's" eval 'at_least 1 "$kernel" && near "$kernel" $((kernel / 3 + 2000000)) "$ours"'
kill -KILL "${guests[2]}"
unset 'guests[2]'
kill -CONT "${guests[@]}"

kill -KILL "${guests[1]}"
ktap_check "LIFE-4: a VM that ends is billed once more and then gone" wait_for 20 eval '! seen meter_b && grep -q "\"name\":\"meter_b\".*\"gone\":true" "$MEASURES/bill"'
meter_down
ktap_check "ACC-1: ended, it leaves nothing in the kernel" wait_for 10 nothing_left
ktap_check "ACC-1: and the kernel has nothing to say" equal "" "$(bad_log)"
ktap_done
