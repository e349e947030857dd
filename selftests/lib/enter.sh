#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The inside of in_userland (userland.sh): first process of fresh mount, pid and net namespaces. Mounts, then becomes COMMAND.
#   enter.sh ROOT [SOURCE:TARGET:ro|rw]... -- COMMAND...
set -euo pipefail

root=$1
shift
mount --bind "$root" "$root"
for dir in proc dev tmp run root; do mkdir -p "$root/$dir"; done
binds=()
while [[ $1 != -- ]]; do
	binds+=("$1")
	IFS=: read -r source target _ <<<"$1"
	if [[ -d $source ]]; then
		case $target in /run/* | /tmp/*) ;; *) mkdir -p "$root$target" ;; esac
	fi
	shift
done
shift
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
for dir in tmp run root; do mount -t tmpfs -o mode=1777 tmpfs "$root/$dir"; done
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	: >"$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
for bind in "${binds[@]}"; do
	IFS=: read -r source target mode <<<"$bind"
	mkdir -p "$root$target" 2>/dev/null || true
	mount --bind "$source" "$root$target"
	[[ $mode != ro ]] || mount -o remount,bind,ro "$root$target"
done
exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	HOME=/root LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" "$@"
