#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 420
# beside
#
# spare_qemu.sh - the wrapper, around a stand-in that is easy to provoke and around a real QEMU with taps of its own making.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

work=$(mktemp -d)
VM=$CGROUP/vm/wrapped
cleanup() {
	sparectl remove /vm/wrapped 2>/dev/null || true
	sparectl remove /pool/p0 2>/dev/null || true
	ip link del wrapped 2>/dev/null || true
	ip link del wrapped2 2>/dev/null || true
	ip link del wrapped0 2>/dev/null || true
	ip netns del wrapped 2>/dev/null || true
	spared --stop 2>/dev/null || true
	[[ ! -d /sys/module/sched_spare ]] || rmmod sched_spare
	rm -rf "$work"
}
ktap_cleanup cleanup

# A stand-in for QEMU: says where it runs, obeys signals, can end in several ways.
cat >"$work/qemu" <<'END'
#!/bin/bash
cat /proc/self/cgroup >"$OUT/cgroup"
printf '%s\n' "$@" >"$OUT/args"
trap 'echo usr1 >"$OUT/usr1"' USR1
trap 'echo hup >"$OUT/hup"; exit 0' HUP
trap 'exit 7' TERM
case $MODE in
status) exit 42 ;;
segv) kill -SEGV $$ ;;
leftover) setsid sleep 1000 </dev/null >/dev/null 2>&1 & exit 0 ;;
daemon)
	setsid bash -c 'trap "exit 0" TERM; touch "$OUT/ready"; while :; do sleep 0.1; done' </dev/null >/dev/null 2>&1 &
	exit 0
	;;
esac
touch "$OUT/ready"
while :; do sleep 0.1; done
END
chmod +x "$work/qemu"
export OUT=$work MODE=
WRAP=(spare-qemu --spare-reservation 40ms/100ms --spare-cpus 1 --spare-use /pool/p0 --spare-binary "$work/qemu" --)

# start WORD...: the wrapper in the background, until its guest runs
start() {
	rm -f "$work/ready"
	"$@" >"$work/log" 2>&1 &
	WRAPPER=$!
	wait_for 20 test -e "$work/ready"
}
ended() { ! kill -0 "$WRAPPER" 2>/dev/null; }
no_cgroup() { [[ ! -d $VM ]]; }
# status_is N COMMAND...
status_is() {
	local want=$1 status=0
	shift
	"$@" || status=$?
	echo "status $status"
	((status == want))
}
file_is() { [[ $(<"$1") == "$2" ]]; }
settings_of() { (cd "$1" && head -v -n 100 spare.{reservation,cpus,provide,use,netdev,policy,net.max} cpu.{max,weight} cgroup.procs); }
# not_started TEXT COMMAND...: ends with 125, says TEXT, and QEMU has not been started
not_started() {
	local text=$1 status=0 out
	shift
	rm -f "$work/args" "$work/ready"
	out=$("$@" 2>&1) || status=$?
	printf 'status %d\n%s\n' "$status" "$out"
	((status == 125)) && [[ $out == *"$text"* && ! -e $work/args && ! -e $work/ready ]]
}

test_start() {
	start "${WRAP[@]}" -name wrapped,debug-threads=on -m 1G
	ktap_check 'spare-qemu: QEMU runs in /vm/<name>' file_is "$work/cgroup" 0::/vm/wrapped
	ktap_check 'spare-qemu: with its own arguments' file_is "$work/args" $'-name\nwrapped,debug-threads=on\n-m\n1G'
	ktap_check 'spare-qemu: the reservation' file_is "$VM/spare.reservation" '40000 100000'
	ktap_check 'spare-qemu: the CPUs' file_is "$VM/spare.cpus" 1
	ktap_check 'spare-qemu: the providers' file_is "$VM/spare.use" /pool/p0
	ktap_refused 'spare-qemu: a second guest of that name is refused' 'another spare-qemu runs in /vm/wrapped' "${WRAP[@]}" -name wrapped
	ktap_check 'spare-qemu: and does not disturb the first' file_is "$VM/spare.reservation" '40000 100000'
}

test_end() {
	kill -USR1 "$WRAPPER"
	ktap_check 'spare-qemu: signals are passed on' wait_for 10 test -e "$work/usr1"
	kill -TERM "$WRAPPER"
	ktap_check 'spare-qemu: SIGTERM too, and the exit status comes back' status_is 7 wait "$WRAPPER"
	ktap_check 'LIFE-4: the cgroup is removed' no_cgroup
	MODE=status ktap_check 'spare-qemu: an exit status' status_is 42 "${WRAP[@]}" -name wrapped
	MODE=segv ktap_check 'spare-qemu: a QEMU that crashes: the same signal' status_is 139 bash -c '"$@"' - "${WRAP[@]}" -name wrapped
	ktap_check 'LIFE-4: the cgroup is removed then too' no_cgroup
	MODE=leftover ktap_check 'spare-qemu: what QEMU leaves behind' status_is 0 "${WRAP[@]}" -name wrapped
	ktap_check 'LIFE-4: is killed, the cgroup removed' no_cgroup
	# shellcheck disable=SC2016 # expands there
	printf '#!/bin/bash\n[[ $1 != remove ]] || kill -TERM $$\nexec sparectl "$@"\n' >"$work/sparectl"
	chmod +x "$work/sparectl"
	MODE=status SPARE_SPARECTL=$work/sparectl ktap_check 'spare-qemu: a SIGTERM to its sparectl, as from systemd' status_is 42 "${WRAP[@]}" -name wrapped
	ktap_check 'LIFE-4: does not keep the cgroup from being removed' no_cgroup
	start "${WRAP[@]}" -name wrapped
	kill -KILL "$(head -n 1 "$VM/cgroup.procs")"
	ktap_check 'spare-qemu: a QEMU that is killed: the same signal' status_is 137 wait "$WRAPPER"
	ktap_check 'LIFE-4: the cgroup is removed after that' no_cgroup
}

test_killed_wrapper() {
	start "${WRAP[@]}" -name wrapped
	kill -KILL "$WRAPPER"
	ktap_check 'LIFE-4: the wrapper killed with -9: QEMU is told to end' wait_for 10 grep -qx 'populated 0' "$VM/cgroup.events"
	start "${WRAP[@]}" -name wrapped
	ktap_check 'LIFE-4: its cgroup is replaced at the next start' file_is "$VM/spare.reservation" '40000 100000'
	kill -TERM "$WRAPPER"
	wait "$WRAPPER" || true
	rm -f "$work/ready"
	MODE=daemon "${WRAP[@]}" -name wrapped -daemonize
	wait_for 10 test -e "$work/ready"
	pkill -KILL -f '^spare-qemu .*-daemonize'
	local pid
	pid=$(head -n 1 "$VM/cgroup.procs")
	ktap_check 'spare-qemu: what stays of the wrapper killed with -9: a second start is refused, with cgroup and pid' \
		not_started "in the cgroup /vm/wrapped, pid $pid: end it" "${WRAP[@]}" -name wrapped
	ktap_check 'spare-qemu: and the first guest lives on in its reservation' eval 'grep -qx "$pid" "$VM/cgroup.procs" && file_is "$VM/spare.reservation" "40000 100000"'
	kill -TERM "$pid"
	MODE=status ktap_check 'spare-qemu: when that has ended the name is free' status_is 42 "${WRAP[@]}" -name wrapped
}

test_refusals() {
	ktap_check 'CBS-6: a reservation that does not fit: 125, which is said, and QEMU not started' not_started 'CPU 1 is full' \
		spare-qemu --spare-reservation 99ms/100ms --spare-cpus 1 --spare-binary "$work/qemu" -- -name wrapped
	ktap_check 'CBS-6: and no cgroup is left' no_cgroup
	ktap_check 'spare-qemu: a QEMU that is not there' not_started 'cannot run /nonexistent' \
		spare-qemu --spare-reservation 9ms/100ms --spare-cpus 1 --spare-binary /nonexistent -- -name wrapped
	ktap_check 'spare-qemu: no cgroup is left' no_cgroup
	sparectl create /vm/wrapped >/dev/null
	sparectl run /vm/wrapped -- sleep 1000 &
	wait_for 10 grep -q . "$VM/cgroup.procs"
	ktap_check "spare-qemu: somebody else's cgroup" not_started 'is there already' "${WRAP[@]}" -name wrapped
	ktap_check 'spare-qemu: they live on' grep -q . "$VM/cgroup.procs"
	sparectl remove /vm/wrapped
	local provider
	provider=$(settings_of "$CGROUP/pool/p0")
	ktap_check 'spare-qemu: nor does it run in a provider' not_started '/pool/p0 is there already' \
		spare-qemu --spare-reservation 9ms/100ms --spare-cgroup /pool/p0 --spare-binary "$work/qemu" --
	ktap_check 'spare-qemu: which stays as it is' diff <(echo "$provider") <(settings_of "$CGROUP/pool/p0")
	ktap_check 'spare-qemu: a bad option: 2' status_is 2 spare-qemu --spare-nonsense 1 -- -name wrapped
}

# Odd parents: one that ignores SIGCHLD, a terminal that goes; a QEMU that puts itself into the background.
test_parents() {
	MODE=status ktap_check 'spare-qemu: below a parent that ignores SIGCHLD: the exit status' status_is 42 \
		timeout 60 env --ignore-signal=CHLD "${WRAP[@]}" -name wrapped
	ktap_check 'spare-qemu: and a reservation that is refused: 125, which is said, and QEMU not started' not_started 'CPU 1 is full' \
		timeout 60 env --ignore-signal=CHLD spare-qemu --spare-reservation 99ms/100ms --spare-cpus 1 --spare-binary "$work/qemu" -- -name wrapped
	rm -f "$work/ready"
	python3 -c 'import os, pty, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
for _ in range(300):
    if os.path.exists(sys.argv[1]):
        break
    time.sleep(0.1)
os.close(terminal)
os.waitpid(pid, 0)' "$work/ready" "${WRAP[@]}" -name wrapped
	ktap_check 'spare-qemu: as leader of a session whose terminal goes: QEMU is told' file_is "$work/hup" hup
	ktap_check 'LIFE-4: and its cgroup is removed' no_cgroup
	rm -f "$work/ready"
	MODE=daemon ktap_check 'spare-qemu: -daemonize: it returns' status_is 0 timeout 60 "${WRAP[@]}" -name wrapped -daemonize
	ktap_check 'spare-qemu: and QEMU runs on in its cgroup' wait_for 10 eval '[[ -e $work/ready ]] && grep -q . "$VM/cgroup.procs"'
	pkill -TERM -f '^spare-qemu .*-daemonize' || true
	ktap_check 'spare-qemu: a signal to what stays of the wrapper ends it' wait_for 20 no_cgroup
}

# Two taps, one of them another's: the other is bound, and this one when it is free.
test_taps() {
	ip tuntap add wrapped mode tap
	ip tuntap add wrapped2 mode tap
	echo wrapped2 >"$CGROUP/pool/p0/spare.netdev"
	start "${WRAP[@]}" -name wrapped -netdev tap,id=n0,ifname=wrapped -netdev tap,id=n1,ifname=wrapped2
	ktap_check "spare-qemu: another's tap does not keep the guest's own from being bound" file_is "$VM/spare.netdev" wrapped
	ktap_check 'spare-qemu: it is said' eval 'grep "packets on wrapped2 are not seen" "$work/log" >/dev/null'
	echo none >"$CGROUP/pool/p0/spare.netdev"
	ktap_check 'spare-qemu: and bound when it is free' wait_for 20 file_is "$VM/spare.netdev" 'wrapped wrapped2'
	bound_are() { file_is "$VM/spare.netdev" "$1"; }
	ip netns add wrapped
	ip link set wrapped netns wrapped
	wait_for 10 bound_are wrapped2 || true
	ip -n wrapped link set wrapped netns 1
	ktap_check 'SPARE-2: one that has been in another network namespace is bound again' wait_for 20 eval '[[ $(sorted "$VM/spare.netdev") == "wrapped wrapped2" ]]'
	ip netns del wrapped
	ip link del wrapped2
	ip tuntap add wrapped2 mode tap
	ktap_check 'SPARE-2: and one that is made anew under its name' wait_for 20 eval '[[ $(sorted "$VM/spare.netdev") == "wrapped wrapped2" ]]'
	kill -TERM "$WRAPPER"
	wait "$WRAPPER" || true
	ip link del wrapped
	ip link del wrapped2
}
sorted() { tr ' ' '\n' <"$1" | sort | paste -sd ' '; }

# WITH_TAP DEVICE NAME COMMAND...: COMMAND, with DEVICE open as 9; NAME: of the tap that it shall be, or -
WITH_TAP=(python3 -c 'import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] != "-":
    fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", sys.argv[2].encode(), 0x1002))  # TUNSETIFF
os.dup2(fd, 9)
os.execvp(sys.argv[3], sys.argv[3:])')

# Taps that QEMU gets as file descriptors.
test_handed_over() {
	local index major minor
	ip link add wrapped0 type veth peer name wrapped1
	ip link add link wrapped1 name wrapped type macvtap mode bridge
	index=$(</sys/class/net/wrapped/ifindex)
	IFS=: read -r major minor <"/sys/class/macvtap/tap$index/dev"
	[[ -c /dev/tap$index ]] || mknod "/dev/tap$index" c "$major" "$minor"
	start "${WITH_TAP[@]}" "/dev/tap$index" - "${WRAP[@]}" -name wrapped -netdev tap,id=n0,fd=9
	ktap_check 'SPARE-2: a macvtap that is handed over is found and bound' wait_for 20 file_is "$VM/spare.netdev" wrapped
	kill -TERM "$WRAPPER"
	wait "$WRAPPER" || true
	ip link del wrapped0
	ip netns add wrapped
	ip tuntap add wrapped mode tap
	start nsenter --net=/run/netns/wrapped "${WITH_TAP[@]}" /dev/net/tun wrapped nsenter --net=/proc/1/ns/net "${WRAP[@]}" -name wrapped -netdev tap,id=n0,fd=9
	ktap_check 'SPARE-2: of a tap in another network namespace it is said that it is not bound' \
		wait_for 20 grep -q 'packets on wrapped are not seen: it is in another network namespace' "$work/log"
	sleep 1
	ktap_check 'SPARE-2: and the one of that name here is not bound for it' eval 'bound=$(<"$VM/spare.netdev"); echo "$bound"; [[ $bound == none ]]'
	kill -TERM "$WRAPPER"
	wait "$WRAPPER" || true
	ip link del wrapped
	ip netns del wrapped
}

# Networks that pass every tap, in both of QEMU's forms.
test_unseen() {
	MODE=status "${WRAP[@]}" -name wrapped -netdev user,id=u -netdev '{"type":"vhost-user","id":"v","chardev":"c"}' \
		-device '{"driver":"vfio-pci","host":"0000:01:00.0"}' -netdev '{"type":"tap","id":"n","fd":"9"}' >"$work/log" 2>&1 || true
	ktap_check 'SPARE-9: what is not seen is said, JSON too' eval 'grep "packets by way of user, vfio-pci, vhost-user are not seen" "$work/log" >/dev/null'
}

test_drop_in() {
	ln -s "$(command -v spare-qemu)" "$work/qemu-system-x86_64"
	start env SPARE_QEMU_BINARY="$work/qemu" SPARE_RESERVATION=4ms/10ms SPARE_CPUS=0 "$work/qemu-system-x86_64" -name wrapped -m 1G
	ktap_check 'spare-qemu: as qemu-system-x86_64, by the environment' file_is "$VM/spare.reservation" '4000 10000'
	kill -TERM "$WRAPPER"
	wait "$WRAPPER" || true
	ktap_check 'spare-qemu: without a reservation QEMU is just run' status_is 42 \
		env MODE=status SPARE_QEMU_BINARY="$work/qemu" "$work/qemu-system-x86_64" -name wrapped
	env MODE=status SPARE_QEMU_BINARY="$work/qemu" "$work/qemu-system-x86_64" -name wrapped >"$work/log" 2>&1 || true
	ktap_check 'spare-qemu: which it says, once' eval '(($(grep -c "runs without a reservation" "$work/log") == 1))'
	ktap_check 'spare-qemu: the real one behind the link' eval \
		"SPARE_RESERVATION=4ms/10ms $work/qemu-system-x86_64 -version | grep 'QEMU emulator' >/dev/null"
}

# hot_plug NAME: a tap more for the QEMU that listens there
hot_plug() { "$here/../lib/qmp.py" "$work/qmp" ask netdev_add type=tap id=n1 ifname="$1" script=no downscript=no; }

# A real QEMU that stops before its first instruction; the tap is QEMU's own, its name nobody knows beforehand.
test_real() {
	local tap
	spare-qemu --spare-reservation 40ms/100ms --spare-cpus 1 --spare-use /pool/p0 -- -name wrapped -machine q35 -accel tcg -m 64 \
		-display none -nodefaults -S -qmp "unix:$work/qmp,server=on,wait=off" \
		-netdev tap,id=n0,script=no,downscript=no,vhost=on -device virtio-net-pci,netdev=n0 \
		</dev/null >"$work/log" 2>&1 &
	WRAPPER=$!
	bound() { [[ $(cat "$VM/spare.netdev" 2>/dev/null) == tap* ]]; }
	switches() { awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$1/status"; }
	idle() { local before; before=$(switches "$1"); sleep "${2:-4}"; [[ $(switches "$1") == "$before" ]]; }
	ktap_check 'SPARE-2: the tap that QEMU made is found and bound' wait_for 30 bound
	tap=$(cat "$VM/spare.netdev" 2>/dev/null || true)
	ip link set "$tap" name wrapped
	ktap_check 'SPARE-2: it stays bound when it is renamed' file_is "$VM/spare.netdev" wrapped
	# It looks for half a minute after the last change, less and less often, and then once a minute.
	ktap_check 'spare-qemu: the wrapper sleeps while no tap changes' wait_for 90 eval 'idle "$WRAPPER" 20'
	sleep 1
	ip tuntap add wrapped2 mode tap
	ktap_check 'spare-qemu: and looks when one does' wait_for 5 eval '! idle "$WRAPPER"'
	ip link del wrapped2
	ip link set wrapped name "$tap"
	ip netns add wrapped
	ip link set "$tap" netns wrapped
	wait_for 10 file_is "$VM/spare.netdev" none || true
	ip -n wrapped link set "$tap" netns 1
	ktap_check "SPARE-2: QEMU's own, back from another network namespace, is bound again" wait_for 20 file_is "$VM/spare.netdev" "$tap"
	ip netns del wrapped
	hot_plug wrapped2 || true
	ktap_check 'SPARE-2: a second one that is hot-plugged (QMP) is bound' wait_for 20 file_is "$VM/spare.netdev" "$tap wrapped2"
	sed 's/^/# /' "$work/log"
	ktap_note "tap: $tap"
	ktap_check 'CBS-3: the vhost worker is in the cgroup' eval 'cat $(sed "s,.*,/proc/&/comm," "$VM/cgroup.threads") | grep vhost >/dev/null'
	kill -TERM "$WRAPPER"
	ktap_check 'spare-qemu: a real QEMU ends with success on SIGTERM' status_is 0 wait "$WRAPPER"
	ktap_check 'LIFE-4: cgroup and tap are gone' eval "no_cgroup && ! ip link show '$tap' 2>/dev/null"
}

# Two queues, two workers: tasks of QEMU's, or kernel threads of their own (as before 6.4, and from 6.17 on where a host wants them).
vhost_workers() { sed 's,.*,/proc/&/comm,' "$VM/cgroup.threads" | xargs grep -h '^vhost-' | wc -l; }
test_vhost_workers() {
	local owner
	for owner in Y N; do
		if ! modinfo -p vhost | grep -q fork_from_owner_default; then
			ktap_skip "CBS-3: both workers of a NIC with two queues, fork_from_owner=$owner" "this kernel's vhost has one kind alone"
			continue
		fi
		modprobe -r vhost_net
		modprobe vhost "fork_from_owner_default=$owner"
		modprobe vhost_net
		ktap_note "fork_from_owner_default is $(</sys/module/vhost/parameters/fork_from_owner_default)"
		spare-qemu --spare-reservation 40ms/100ms --spare-cpus 1 -- -name wrapped -machine q35 -accel tcg -m 64 -display none -nodefaults -S \
			-netdev tap,id=n0,script=no,downscript=no,vhost=on,queues=2 -device virtio-net-pci,netdev=n0,mq=on </dev/null >"$work/log" 2>&1 &
		WRAPPER=$!
		ktap_check "CBS-3: both workers of a NIC with two queues are in the cgroup, fork_from_owner=$owner" wait_for 60 eval '[[ $(vhost_workers) == 2 ]]'
		ktap_note "processes of their own: $(pgrep -xl 'vhost-[0-9]*' | xargs)"
		kill -TERM "$WRAPPER"
		wait "$WRAPPER" || true
		wait_for 20 no_cgroup || true
	done
}

# In the background it is not the process that was started who opens the tap.
test_daemonized() {
	spare-qemu --spare-reservation 40ms/100ms --spare-cpus 1 -- -name wrapped -machine q35 -accel tcg -m 64 -display none -nodefaults -S \
		-daemonize -netdev tap,id=n0,script=no,downscript=no -device virtio-net-pci,netdev=n0 </dev/null >"$work/log" 2>&1 || true
	sed 's/^/# /' "$work/log"
	ktap_check 'SPARE-2: the tap of a QEMU in the background, too' wait_for 30 bound
	kill -TERM "$(head -n 1 "$VM/cgroup.procs")"
	ktap_check 'LIFE-4: the cgroup is removed when it ends' wait_for 20 no_cgroup
}

# A real guest, from the wrapper's command line to an answer to a ping that found the budget spent.
test_guest() {
	local names=('SPARE-2: a real guest boots in the wrapper and answers' 'SPARE-3: its packets are granted spare bandwidth'
		'LIFE-4: afterwards its cgroup is gone') name
	if [[ ! -c /dev/kvm || ! -s $here/../../guest/initrd ]]; then
		for name in "${names[@]}"; do ktap_skip "$name" 'no /dev/kvm or no guest image'; done
		return
	fi
	# shellcheck disable=SC2119 # no options
	spare_up
	sparectl set /pool/p0 -r 1ms/10ms
	"$here/../guest/run.sh" --rest --tap wrapped --net 79 --qemu \
		'spare-qemu --spare-reservation 80ms/100ms --spare-cpus 1 --spare-use /pool/p0 --' </dev/null >"$work/log" 2>&1 &
	WRAPPER=$!
	up() { grep -qs guest_burn: /tmp/wrapped.serial || ended; }
	wait_for 90 up || true
	ktap_check "${names[0]}" ping -n -q -c 3 -i 0.3 -W 10 198.18.79.2
	sparectl set /vm/wrapped -r 40ms/100ms
	sparectl set /pool/p0 -r 4ms/10ms
	ping -n -q -c 40 -i 0.13 -W 5 198.18.79.2 | sed 's/^/# /' || true
	sparectl status | sed 's/^/# /'
	sed 's/^/# /' "$work/log"
	ktap_check "${names[1]}" eval '(($(stat_of "$VM" granted) > 0))'
	kill -TERM "$WRAPPER"
	wait "$WRAPPER" || true
	ktap_check "${names[2]}" no_cgroup
	sparectl unload
	ip link del wrapped
}

insmod "$SPARE_LIB/sched_spare.ko"
sparectl set --create /pool/p0 -r 4ms/10ms -c 1 --provide
ktap_plan 69
test_start
test_end
test_killed_wrapper
test_refusals
test_parents
test_taps
test_handed_over
test_unseen
test_drop_in
test_real
test_daemonized
test_vhost_workers
test_guest
ktap_done
