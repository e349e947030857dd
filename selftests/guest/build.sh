#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh KVER ROOTFS OUTDIR - make the nested guest: OUTDIR/image and OUTDIR/initrd.
#
# The guest runs the same stock kernel KVER as its host; its initramfs holds busybox, the virtio-net modules and guest_burn,
# compiled with the compiler of the userland at ROOTFS ("/" works, so the guest can be made on the host itself). ROOTFS needs
# the kernel under /usr/lib/modules/KVER or /lib/modules/KVER, g++, libc6-dev, busybox-static, cpio, xz. Nothing stays in it.
# Fails with a message that names the step.

set -euo pipefail

[ $# -eq 3 ] || { echo "usage: build.sh KVER ROOTFS OUTDIR" >&2; exit 2; }
kver=$1 rootfs=$2 outdir=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stage=

cleanup() { [ -z "$stage" ] || rm -rf "$stage"; }
trap cleanup EXIT

die() { echo "guest/build.sh: $*" >&2; exit 1; }

# Run a command of the userland.
inside() {
	if [ "$rootfs" = / ]; then "$@"; else chroot "$rootfs" "$@"; fi
}

modules=
for dir in usr/lib/modules lib/modules; do
	[ -d "$rootfs/$dir/$kver/kernel" ] && { modules=$rootfs/$dir/$kver; break; }
done
[ -n "$modules" ] || die "no modules of $kver in $rootfs"
vmlinuz=
for file in "$modules/vmlinuz" "$rootfs/boot/vmlinuz-$kver"; do
	[ -f "$file" ] && { vmlinuz=$file; break; }
done
[ -n "$vmlinuz" ] || die "no vmlinuz of $kver in $rootfs"

# The staging tree lies in the userland's /tmp, where its compiler and cpio can reach it.
stage=$(mktemp -d "${rootfs%/}/tmp/spare-guest.XXXXXX")
in_stage=/tmp/${stage##*/}
mkdir -p "$stage"/root/{bin,dev,proc,sys,modules}
cp "$here/guest_burn.cpp" "$here/../tools/rest.h" "$stage/"
install -m 0755 "$here/init" "$stage/root/init"
install -m 0755 "${rootfs%/}/usr/bin/busybox" "$stage/root/bin/busybox" || die "no busybox-static in $rootfs"
inside g++ -std=c++20 -O2 -Wall -Wextra -static -s -pthread -o "$in_stage/root/guest_burn" "$in_stage/guest_burn.cpp" ||
	die "cannot compile guest_burn (g++ and libc6-dev in $rootfs?)"

unpack() {
	case $1 in
	*.xz) inside xz -dc ;;
	*.zst) inside zstd -dc ;;
	*.gz) gzip -dc ;;
	*) cat ;;
	esac <"$1"
}
for name in net/core/failover drivers/net/net_failover drivers/net/virtio_net; do
	for file in "$modules/kernel/$name".ko{,.xz,.zst,.gz}; do
		if [ -f "$file" ]; then
			unpack "$file" >"$stage/root/modules/${name##*/}.ko" || die "cannot unpack $file"
		fi
	done
done
grep -q '/virtio_net\.ko' "$modules/modules.builtin" || [ -s "$stage/root/modules/virtio_net.ko" ] ||
	die "kernel $kver has no virtio_net"

mkdir -p "$outdir"
# Uncompressed: unpacking it in a nested, emulated machine costs more than reading 3 MB.
inside sh -c "cd '$in_stage/root' && find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --quiet" >"$outdir/initrd.tmp" ||
	die "cannot make the initramfs"
"$here/../host/vmlinux.sh" "$vmlinuz" "$outdir/image.tmp"
mv "$outdir/image.tmp" "$outdir/image"
mv "$outdir/initrd.tmp" "$outdir/initrd"
