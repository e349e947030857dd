# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# controllers.sh - a host begins with the controllers that systemd enables below the root, memory and pids: who makes cgroups by hand asks for
# what a VM needs, as README says. (sparectl, spare-qemu and spared ask for themselves.)
#
#   controllers [DIR]    for the cgroups in DIR, or for those in the root alone

controllers() {
	local dir
	for dir in /sys/fs/cgroup "$@"; do echo '+cpu +io +cpuset' >"$dir/cgroup.subtree_control"; done
}
