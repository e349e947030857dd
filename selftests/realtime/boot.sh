#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The virtual host is a KVM host: what every other test takes for granted. (DESIGN 5)
set -euo pipefail
. "$(dirname "$0")/../lib/ktap.sh"

several_cpus() { (($(nproc) >= 2)); }
has_all() { grep -qw cpu "$1" && grep -qw io "$1" && grep -qw cpuset "$1"; }
kvm_answers() {
	# KVM_GET_API_VERSION = 0xAE00; the stable ABI is 12.
	python3 -c 'import fcntl; raise SystemExit(fcntl.ioctl(open("/dev/kvm"), 0xAE00) != 12)'
}
tap_goes() { ip tuntap add dev spareb0 mode tap && ip link del spareb0; }

ktap_plan 7
ktap_check "HOST: at least two CPUs" several_cpus
ktap_check "HOST: /dev/kvm answers" kvm_answers
ktap_check "HOST: vhost-net is there" test -c /dev/vhost-net
ktap_check "HOST: a tap can be made and deleted" tap_goes
ktap_check "HOST: cpu, io and cpuset can be enabled below the root cgroup" has_all /sys/fs/cgroup/cgroup.controllers
ktap_check "HOST: sched_ext is there and idle" grep -qx disabled /sys/kernel/sched_ext/state
ktap_check "HOST: the kernel carries BTF" test -s /sys/kernel/btf/vmlinux
ktap_done
