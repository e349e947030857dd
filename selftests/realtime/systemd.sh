#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# init: systemd
#
# systemd.sh - as on most hosts: systemd is process 1, owns the cgroups and passes on what it likes; the unit as it is shipped; cgroups in
# the root, in slices, scopes and services; spare-qemu in units of both types.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/module.inc.sh"

[[ ${SPARE_HOST-} == realtime && -d /run/systemd/system ]] || ktap_skip_all 'it wants a virtual host of its own, with systemd as process 1'

CONF=/etc/sched_spare/spared.toml
SCX=/sys/kernel/sched_ext
work=$(mktemp -d)
cleanup() {
	local unit
	for unit in spared vm-simple vm-forking vm-guessed guest closed deleg.scope; do systemctl stop "$unit" 2>/dev/null || true; done
	spared --stop 2>/dev/null || true
	cgroup_remove "$CG"/vm/{a,simple,forking,guessed} "$CG"/solo "$CG"/machine.slice/vm1 || true
	find "$CG"/pool "$CG"/vm -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
	systemctl stop machine.slice spare.slice 2>/dev/null || true
	[[ ! -d /sys/module/sched_spare ]] || rmmod sched_spare
	! findmnt -n -t overlay /usr/lib/modules >/dev/null || umount /usr/lib/modules
	! mountpoint -q /build || umount /build
}
ktap_cleanup cleanup

of_unit() { systemctl show -P "$2" "$1"; }
# journal PRIORITY: what the unit has said of this priority and above, since `mark`
mark() { SINCE=$(date +%s.%N); }
journal() {
	journalctl --sync
	journalctl -q -o cat -u spared -S "@$SINCE" -p "$1"
}
# passed_on DIR: the controllers there of those that a VM needs
passed_on() { tr ' ' '\n' <"$CG$1/cgroup.subtree_control" | grep -x 'cpu\|cpuset\|io' | sort | paste -sd ' ' || true; }
ALL='cpu cpuset io'

# sparectl_writes COMMAND...: the files of controllers that sparectl opens to write, one a line
sparectl_writes() {
	strace -f -qq -o "$work/strace" -e trace=open,openat,openat2 sparectl "$@" >"$work/out" 2>&1 || { cat "$work/out"; return 1; }
	sed -nE 's#.*"'$CG'(.*)/cgroup.subtree_control", .*O_(WRONLY|RDWR).*#\1/#p' "$work/strace"
}

# Another unit that wants all of them and ends, all units read anew, systemd itself too: what it looks at again it writes again.
systemd_looks_again() {
	systemd-run -q --wait -p CPUWeight=50 -p IOWeight=50 "$@" true
	systemctl daemon-reload
	systemctl daemon-reexec
	systemd-run -q --wait "$@" true
}

# --- the unit before there is a module; then what cmake --install does for one, on a disk of its own as the host's is read-only

# The script of a build as an operator configures it (host/build.sh), with the module that was built; the top directory's part, of which that is.
install_module() {
	local build=/build/plain
	mount -t tmpfs tmpfs /build
	mkdir -p "$build/kbuild/kmod"
	cp "${SPARE_LIB%/lib/*}/libexec/sched_spare/plain/cmake_install.cmake" "$build/"
	cp "$SPARE_LIB/sched_spare.ko" "$build/kbuild/kmod/"
	cmake -D CMAKE_INSTALL_COMPONENT=demo -D CMAKE_INSTALL_LOCAL_ONLY=1 -P "$build/cmake_install.cmake"
}

test_no_module() {
	is 'HOST: systemd passes on what it does by default' 'memory pids' "$(<$CG/cgroup.subtree_control)"
	ktap_refused 'unit: without the module it does not start' 'failed' systemctl start spared
	ktap_check 'unit: and is not tried for ever' wait_for 120 eval '[[ $(of_unit spared ActiveState) == failed ]]'
	ktap_note "$(of_unit spared Result), $(of_unit spared NRestarts) restarts"
	modprobe overlay
	mkdir "$work/disk"
	mount -t tmpfs tmpfs "$work/disk"
	mkdir "$work/disk"/{upper,work}
	mount -t overlay overlay -o "lowerdir=/usr/lib/modules,upperdir=$work/disk/upper,workdir=$work/disk/work" /usr/lib/modules
	ktap_check 'cmake --install: the module and depmod' install_module
	is 'unit: modprobe finds it' "/lib/modules/$(uname -r)/updates/sched_spare.ko" "$(modinfo -n sched_spare | sed 's#^/usr##')"
	systemctl reset-failed spared
	is 'unit: what is not written to the journal has no priorities' 'spared: info: no class is loaded' "$(JOURNAL_STREAM=1:1 spared --stop 2>&1)"
}

# --- spare-qemu in units

GUEST=(-machine q35 -accel tcg -m 64 -display none -nodefaults -S)

# unit NAME OPTION...: a unit around spare-qemu; -daemonize when it says forking
unit() {
	local name=$1 words=()
	shift
	[[ $* != *forking* ]] || words=(-daemonize)
	[[ $* != *PIDFile* ]] || words+=(-pidfile "/run/$name.pid")
	# (A slow machine is no matter here.)
	systemd-run -q --unit="$name" -p TimeoutSec=600 "$@" spare-qemu --spare-reservation 80ms/100ms --spare-cpus 0 -- -name "${name#vm-}" "${GUEST[@]}" "${words[@]}" ||
		{ journalctl -q --no-pager -u "$name" | tail -n 20; return 1; }
}
guest_runs() { [[ $(get "vm/$1/spare.reservation" 2>/dev/null) == '80000 100000' && $(cat "/proc/$(head -n 1 "$CG/vm/$1/cgroup.procs")/comm") == qemu-system-x86 ]]; }

# in_unit KIND NAME OPTION...
in_unit() {
	local kind=$1 name=$2
	shift 2
	ktap_check "spare-qemu: $kind: it starts" unit "vm-$name" "$@"
	ktap_check "spare-qemu: $kind: QEMU runs in its reservation" wait_for 120 guest_runs "$name"
	is "spare-qemu: $kind: the unit is active" active "$(of_unit "vm-$name" ActiveState)"
	ktap_check "spare-qemu: $kind: systemctl stop" systemctl stop "vm-$name"
	is "spare-qemu: $kind: it has ended well, its cgroup is gone" 'inactive no' "$(of_unit "vm-$name" ActiveState) $([[ -d "$CG"/vm/$name ]] && echo yes || echo no)"
}

# --- nobody else wants controllers in the root

test_root() {
	echo '+cpu' >$CG/cgroup.subtree_control
	systemd_looks_again
	is 'HOST: what is enabled behind its back systemd withdraws' '' "$(passed_on /)"
	modprobe sched_spare
	in_unit 'simple, the first to want controllers' simple -p Type=simple
	rmdir "$CG"/vm
	systemctl stop spare.slice
	is 'sparectl: set --create below a root that passes on neither cpu nor io; no file of systemd is written' '' \
		"$(sparectl_writes set --create /solo -r 4ms/10ms -c 1)"
	is 'sparectl: systemd passes them on' "$ALL" "$(passed_on /)"
	is 'sparectl: the reservation is there' '4000 10000' "$(get solo/spare.reservation)"
	is 'sparectl: below a directory of its own it writes itself' /vm/ "$(sparectl_writes create /vm/a)"
	systemd_looks_again
	is 'LIFE-7: a unit with weights comes and goes, units are read anew: all stays' "4000 10000 $ALL" "$(get solo/spare.reservation) $(passed_on /)"
	rmdir "$CG"/solo
}

# --- slices, services and scopes of systemd's

# delegated OPTION...: deleg.scope, whose owner has made a cgroup in it
delegated() {
	systemd-run -q --scope --unit=deleg --slice=machine.slice -p Delegate=yes "$@" \
		bash -c 'mkdir /sys/fs/cgroup/machine.slice/deleg.scope/own; echo 0 >/sys/fs/cgroup/machine.slice/deleg.scope/own/cgroup.procs; exec sleep infinity' &
	wait_for 20 grep -q . "$CG"/machine.slice/deleg.scope/own/cgroup.procs
}

test_units() {
	systemd-run -q --unit=guest --slice=machine.slice sleep infinity
	ktap_refused 'sparectl: a service without the io controller: what to do' 'sparectl create' sparectl set /machine.slice/guest.service -r 4ms/10ms
	is 'sparectl: a service in a slice of systemd: no file of systemd is written' '' "$(sparectl_writes set --create /machine.slice/guest.service -r 4ms/10ms -c 1)"
	is 'sparectl: it has the reservation' '4000 10000' "$(get machine.slice/guest.service/spare.reservation)"
	systemd_looks_again --slice=machine.slice
	is 'LIFE-7: and keeps it' "4000 10000 $ALL" "$(get machine.slice/guest.service/spare.reservation) $(passed_on /machine.slice)"
	ktap_refused 'sparectl: not below a unit that is not delegated' 'Delegate=yes' sparectl create /machine.slice/guest.service/vm1
	ktap_refused 'sparectl: nor is a unit of systemd made up' 'has to start it' sparectl create /machine.slice/new.service
	is 'sparectl: a cgroup of nobody in a slice' '' "$(sparectl_writes set --create /machine.slice/vm1 -r 4ms/10ms -c 1)"
	is 'sparectl: it has the reservation' '4000 10000' "$(get machine.slice/vm1/spare.reservation)"
	delegated
	is 'sparectl: in a scope that is delegated its owner writes' /machine.slice/deleg.scope/ \
		"$(sparectl_writes set --create /machine.slice/deleg.scope/vm1 -r 4ms/10ms -c 0)"
	systemd_looks_again --slice=machine.slice
	is 'LIFE-7: which keeps it, too' '4000 10000' "$(get machine.slice/deleg.scope/vm1/spare.reservation)"
	systemctl stop guest deleg.scope
	is 'sparectl: a slice that is not there is started by systemd' '' "$(sparectl_writes set --create /later.slice/vm1 -r 4ms/10ms -c 1)"
	is 'sparectl: by systemd' 'active 4000 10000' "$(of_unit later.slice ActiveState) $(get later.slice/vm1/spare.reservation)"
	mkdir -p /run/systemd/system/closed.slice.d
	printf '[Slice]\nDisableControllers=io\n' >/run/systemd/system/closed.slice.d/io.conf
	systemctl daemon-reload
	ktap_refused 'sparectl: in a slice that keeps io from its units' DisableControllers sparectl create /closed.slice/vm1
	ktap_refused 'sparectl: nor when asked again' DisableControllers sparectl create /closed.slice/vm1
	cgroup_remove "$CG"/later.slice/vm1 "$CG"/machine.slice/vm1
	systemctl stop later.slice machine.slice closed.slice
	rmmod sched_spare
	rmdir "$CG"/vm/a "$CG"/vm
	systemctl stop spare.slice
	is 'HOST: without our slice systemd withdraws them' '' "$(passed_on /)"
}

# --- the unit

pool_conf() {
	mkdir -p "${CONF%/*}"
	printf '[[pool]]\nname = "net"\nreservation = "%s"\nsize = 1\ncpus = "1"\n' "$1" >"$CONF"
}

burn() {
	sparectl set --create /vm/a -r 40ms/100ms -c 0
	systemd-run -q --scope --collect sparectl run /vm/a -- "${BURNER[@]}" &
	disown
	wait_for 20 grep -q . "$CG"/vm/a/cgroup.procs
}
used_grows() {
	local used
	used=$(stat_of "$CG"/vm/a used_ns)
	wait_for 20 eval '(($(stat_of "$CG/vm/a" used_ns) > '"$used"'))'
}

test_unit() {
	local seq pid
	pool_conf 1ms/10ms
	mark
	ktap_check 'unit: it starts' systemctl start spared
	ktap_check 'unit: it has loaded the module' test -d /sys/module/sched_spare
	ktap_check 'LIFE-5: READY is said when the class runs' class_is enabled
	is 'SPARE-5: it makes pools' '1000 10000' "$(until_is 60 '1000 10000' get pool/net/spare-0/spare.reservation 2>/dev/null)"
	is 'SPARE-5: with controllers from systemd' "$ALL active" "$(passed_on /) $(of_unit spare.slice ActiveState)"
	ktap_check 'unit: what it says of itself is information' eval 'journal info | grep READY >/dev/null && ! journal notice | grep . >&2'
	burn
	sparectl set --create /vm/b -r 50ms/100ms -c 1
	pool_conf 5ms/10ms
	ktap_check 'unit: systemctl reload' systemctl reload spared
	ktap_check 'unit: a warning is one in the journal' eval 'journal warning | grep "CPU 1 is full" >/dev/null && ! journal err | grep . >&2'
	sparectl remove /vm/b
	echo nonsense >"$CONF"
	ktap_refused 'unit: reload of a broken configuration fails' failed systemctl reload spared
	ktap_check 'unit: an error is one' eval 'journal err | grep "the former configuration stays" >/dev/null'
	is 'unit: the daemon runs on' active "$(of_unit spared ActiveState)"

	seq=$(<$SCX/enable_seq)
	ktap_refused 'unit: it does not start with a broken configuration' failed systemctl restart spared
	sleep 10 # RestartSec= and as long again
	is 'unit: nor is it tried again' 'failed exit-code 78 0' "$(of_unit spared ActiveState) $(of_unit spared Result) $(of_unit spared ExecMainStatus) $(of_unit spared NRestarts)"
	ktap_check 'LIFE-1: the class runs on, and reservations go on' eval 'class_is enabled && used_grows'
	pool_conf 1ms/10ms
	ktap_check 'unit: mended, it starts' systemctl start spared
	ktap_check 'unit: systemctl restart' systemctl restart spared
	pid=$(of_unit spared MainPID)
	kill -KILL "$pid"
	ktap_check 'LIFE-1: killed, it is started again' wait_for 60 eval '[[ $(of_unit spared ActiveState) == active && $(of_unit spared MainPID) != "$pid" ]]'
	ktap_check 'unit: systemctl stop' systemctl stop spared
	is 'LIFE-1: reservations go on, with one class all the time' "enabled $seq 40000 100000" "$(class_state) $(<$SCX/enable_seq) $(get vm/a/spare.reservation)"
	ktap_check 'LIFE-1: the VM runs on' used_grows
	is 'LIFE-1: what spared knows stays in its directory' yes "$([[ -d /run/sched_spare ]] && echo yes)"
	systemctl start spared
	sparectl remove /vm/a
}

test_qemu() {
	in_unit 'forking with a PID file' forking -p Type=forking -p PIDFile=/run/vm-forking.pid
	in_unit forking guessed -p Type=forking
}

# --- LIFE-2: caps of units are systemd's to write

# written FILE: cgroups into whose cpu.max the daemon has written, one a line
written() { sed -nE 's#.*openat\([0-9]+<'$CG'([^>]*)>, "cpu.max", [^)]*O_(WRONLY|RDWR).*#\1#p' "$1" | sort -u; }
cap_of() { cat "$CG$1/cpu.max"; }

test_caps() {
	systemctl stop spared
	systemd-run -q --unit=guest --slice=machine.slice -p CPUQuota=55% sleep infinity
	# As libvirt's: the unit's own cgroup stays systemd's, what is below is its owner's.
	delegated -p CPUQuota=45%
	sparectl set --create /vm/a -r 40ms/100ms -c 0
	sparectl set --create /machine.slice/guest.service -r 33300us/100ms -c 1
	sparectl set --create /machine.slice/deleg.scope -r 20ms/100ms -c 0
	sparectl set --create /machine.slice/deleg.scope/vm1 -r 10ms/100ms -c 0
	strace -f -y -qq -o "$work/strace" -e trace=open,openat,openat2 spared >"$work/spared.log" 2>&1 &
	local daemon
	is 'LIFE-2: a unit has the cap of its reservation' '33300 100000' "$(until_is 60 '33300 100000' cap_of /machine.slice/guest.service)"
	is 'LIFE-2: so has a cgroup of nobody' '40000 100000' "$(until_is 60 '40000 100000' cap_of /vm/a)"
	is 'LIFE-2: so has a unit that is delegated, and a cgroup in it' '30000 100000 10000 100000' \
		"$(until_is 60 '30000 100000' cap_of /machine.slice/deleg.scope) $(until_is 60 '10000 100000' cap_of /machine.slice/deleg.scope/vm1)"
	systemd_looks_again --slice=machine.slice
	is 'LIFE-2: also after a daemon-reload, which keeps whole per cents' '33300 100000' "$(until_is 20 '33300 100000' cap_of /machine.slice/guest.service)"
	sparectl set /machine.slice/guest.service -r 30ms/100ms
	until_is 20 '30000 100000' cap_of /machine.slice/guest.service >/dev/null
	daemon=$(</run/sched_spare/spared.pid)
	kill -TERM "$daemon"
	wait_for 20 eval '! kill -0 '"$daemon"
	is 'LIFE-2: cpu.max of a unit spared does not write' $'/machine.slice/deleg.scope/vm1\n/vm/a' "$(written "$work/strace")"
	systemd_looks_again --slice=machine.slice
	is 'LIFE-2: a daemon-reload leaves the cap' '30000 100000 300ms' "$(cap_of /machine.slice/guest.service) $(of_unit guest CPUQuotaPerSecUSec)"
	is 'LIFE-2: of one that is delegated, too' '30000 100000 300ms' "$(cap_of /machine.slice/deleg.scope) $(of_unit deleg.scope CPUQuotaPerSecUSec)"
	spared --restore 2>/dev/null
	is "LIFE-2: the operator's comes back" '55000 100000 550ms' "$(cap_of /machine.slice/guest.service) $(of_unit guest CPUQuotaPerSecUSec)"
	is 'LIFE-2: there, too' '45000 100000 450ms max 100000' \
		"$(cap_of /machine.slice/deleg.scope) $(of_unit deleg.scope CPUQuotaPerSecUSec) $(cap_of /machine.slice/deleg.scope/vm1)"
	systemctl stop guest deleg.scope
	sparectl remove /vm/a
	systemctl start spared
}

test_end() {
	systemctl stop spared
	spared --stop 2>/dev/null
	rmdir "$CG"/pool/net/spare-0 "$CG"/pool/net "$CG"/pool "$CG"/vm 2>/dev/null || true
	ktap_check 'LIFE-3: afterwards the module unloads' wait_for 20 rmmod sched_spare
}

ktap_plan 73
test_no_module
test_root
test_units
test_unit
test_qemu
test_caps
test_end
ktap_done
