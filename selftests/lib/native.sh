# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# --native: the same tests, demo and experiments on this machine, which must be a KVM host with a sched_ext kernel and have the
# project installed. Nothing is built or installed here.

# missing WHAT REMEDY
missing() {
	printf '  missing: %s\n           %s\n' "$1" "$2" >&2
	NATIVE_MISSING=$((NATIVE_MISSING + 1))
}

native_check() {
	local program controller out
	NATIVE_MISSING=0
	[[ -c /dev/kvm ]] || missing "/dev/kvm" "load kvm_amd or kvm_intel; virtualization may be off in the firmware"
	[[ -c /dev/net/tun ]] || missing "/dev/net/tun" "modprobe tun"
	[[ -c /dev/vhost-net ]] || missing "/dev/vhost-net" "modprobe vhost_net"
	[[ -e /sys/kernel/sched_ext/state ]] ||
		missing "sched_ext in the running kernel $(uname -r)" "boot a kernel with CONFIG_SCHED_CLASS_EXT, such as Debian's linux-image of trixie-backports"
	[[ -e /sys/kernel/btf/vmlinux ]] || missing "the kernel's BTF" "boot a kernel with CONFIG_DEBUG_INFO_BTF"
	if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
		for controller in cpu io cpuset; do
			grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers ||
				missing "cgroup controller $controller" "boot without cgroup_disable=$controller; cgroup v1 must not have it"
		done
	else
		missing "cgroup v2 at /sys/fs/cgroup" "boot with systemd.unified_cgroup_hierarchy=1"
	fi
	for program in qemu-system-x86_64 ip ping python3 insmod; do
		command -v "$program" >/dev/null || missing "program $program" "install its Debian package"
	done
	if [[ ! -e /usr/local/lib/sched_spare/sched_spare.ko ]] || ! { command -v spared && command -v sparectl && command -v spare-qemu; } >/dev/null; then
		missing "an installed sched_spare" \
			"cmake -S $TOP -B build -G Ninja -DSPARE_KERNEL=$(uname -r) -DSPARE_SELFTESTS=ON -DSPARE_MODULE_DIR=/usr/local/lib/sched_spare && ninja -C build && ninja -C build install"
	else
		out=$(modinfo -F vermagic /usr/local/lib/sched_spare/sched_spare.ko | cut -d' ' -f1)
		[[ $out == "$(uname -r)" ]] || missing "sched_spare.ko for $(uname -r) (the installed one is for $out)" "build and install it for this kernel"
		# The probe that spared itself makes at its start; a module that is not loaded is no fault here.
		if [[ $NATIVE_MISSING == 0 ]] && ! class_is_known; then
			missing "what spared --check names:" "$(spared --check 2>&1 | grep -A1 '^missing' | tr '\n' ' ')"
		fi
	fi
	[[ -e /usr/local/libexec/sched_spare/guest/image ]] ||
		missing "the nested guest" "$SELFTESTS/guest/build.sh $(uname -r) / /usr/local/libexec/sched_spare/guest"
	((NATIVE_MISSING == 0)) || die "this machine cannot run the tests natively: $NATIVE_MISSING things are missing" \
		"see the list above; or leave --native out and use the virtual host"
	[[ $(cat /sys/kernel/sched_ext/state) == disabled && ! -d /sys/module/sched_spare ]] ||
		die "a sched_ext scheduler or the module is in use here" "stop it first (spared --stop, rmmod sched_spare): what runs here loads its own, and unloads it"
	say "native: $(uname -r), KVM, sched_ext, installed sched_spare: all there, and none in use"
}

# spared --check wants the module loaded: load it for that moment.
class_is_known() {
	local loaded='' status=0
	if [[ ! -d /sys/module/sched_spare ]]; then
		insmod /usr/local/lib/sched_spare/sched_spare.ko || return 1
		loaded=1
	fi
	spared --check >/dev/null 2>&1 || status=1
	[[ -z $loaded ]] || rmmod sched_spare
	return "$status"
}

native_runner() { bash "$SELFTESTS/lib/runner.sh" "$SELFTESTS" "$@" 2>&1 | collect; }

native_stamped() { bash "$@" | stamped; return "${PIPESTATUS[0]}"; }

native_test() {
	local realtime
	cache_init
	native_check
	mapfile -t realtime < <(realtime_tests)
	new_results
	((${#realtime[@]} == 0)) || follow native_runner "${realtime[@]}" || true
	close_results
}

native_demo() {
	cache_init
	native_check
	local status=0
	forget_results demo "${OUT:-$TOP/out/demo}"
	follow native_stamped "$SELFTESTS/experiments/demo.sh" "${OUT:-$TOP/out/demo}" || status=$?
	exit "$status"
}

native_experiment() {
	local name status=0
	((${#ARGS[@]})) || die "experiment: which one?" "one of: $(experiments)"
	cache_init
	native_check
	for name in "${ARGS[@]}"; do
		[[ -f $SELFTESTS/experiments/$name.sh ]] || die "there is no experiment $name" "one of: $(experiments)"
		forget_results "$name" "${OUT:-$TOP/out/$name}"
		follow native_stamped "$SELFTESTS/experiments/$name.sh" --out "${OUT:-$TOP/out/$name}" || status=$(worse "$status" $?)
	done
	exit "$status"
}
