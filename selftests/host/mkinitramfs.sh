#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Inside the userland: make the two initramfs images of the virtual host from /cache/stage, for kernel $1; with $2 "demo" only the first.
#   realtime.cpio       finds the root disk, lays the stage over it, goes on to host/init
#   deterministic.cpio  is the whole system: no disk, so that nothing from outside changes a run; beside it the library that its QEMU needs
# The scripts are not in them: lib/boot.sh adds those of the source tree at each boot.
# Neither is compressed: unpacking costs more than copying, above all when each instruction counts as time.
set -euo pipefail

kver=$1
host=/src/selftests/host
work=/tmp/initramfs

pack() { (cd "$1" && find . -exec touch -h -d 2026-01-01T00:00:00Z {} + && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --quiet --null --create --format=newc --owner=0:0 --reproducible); }

# add_modules ROOT NAME...: with what they depend on, uncompressed.
add_modules() {
	local root=$1 name path target
	shift
	for name in "$@"; do
		# Lines are "insmod PATH" or "builtin NAME".
		modprobe --set-version "$kver" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | sort -u | while read -r path; do
		target=$root/${path%.xz}
		mkdir -p "${target%/*}"
		case $path in
		*.xz) xz -dc "$path" >"$target" ;;
		*) cp "$path" "$target" ;;
		esac
	done
	mkdir -p "$root/usr/lib/modules/$kver"
	cp "/usr/lib/modules/$kver"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$kver/"
	depmod -b "$root" "$kver"
}

# add_program ROOT PATH...: with the libraries that it loads.
add_program() {
	local root=$1 file
	shift
	{
		printf '%s\n' "$@"
		ldd "$@" 2>/dev/null | grep -o '/[^ :]*' || true
	} | sort -u | while read -r file; do
		# /lib and /bin are links into /usr
		file=$(readlink -f "${file%/*}")/${file##*/}
		[[ -e $root$file || ! -f $file ]] || install -D "$(readlink -f "$file")" "$root$file"
	done
}

skeleton() {
	mkdir -p "$1"/{proc,sys,dev,run,tmp,root,job,out,etc,var,usr/bin,usr/sbin,usr/lib,usr/lib64,usr/local}
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$1/"
	cp /usr/bin/busybox "$1/usr/bin/"
}

echo "== initramfs"

# --- real time: busybox, the disk's driver, the stage
root=$work/realtime
skeleton "$root"
mkdir -p "$root/newroot" "$root/stage"
add_modules "$root" virtio_blk
install "$host/initrd-init" "$root/init"
cp -a /cache/stage/usr/local/. "$root/stage/"
pack "$root" >/cache/realtime.cpio

mv /cache/stage/usr/local/libexec/sched_spare/libspare-*.so /cache/
[[ $2 != demo ]] || exit 0

# --- deterministic: programs of the scripts, their libraries, modules, the stage without the nested guest
root=$work/deterministic
skeleton "$root"
add_modules "$root" tun vhost_net veth bridge 8021q dummy pktgen kvm_amd nf_tables macvtap sch_ingress sch_netem sch_plug act_mirred cls_matchall qemu_fw_cfg
mapfile -t programs < <(
	dpkg -L coreutils grep sed mawk gawk findutils procps util-linux iproute2 kmod bpftool iputils-ping arping libcap2-bin 2>/dev/null |
		grep -E '^(/usr)?/s?bin/[^/]+$' || true
	printf '%s\n' /usr/bin/bash /usr/bin/mount /usr/bin/umount /usr/bin/awk
)
mapfile -t staged < <(find /cache/stage/usr/local -type f -perm -100 -exec sh -c \
	'for f; do case $(file -b "$f") in ELF*x86-64*) echo "$f" ;; esac; done' sh {} +)
add_program "$root" "${programs[@]}"
cp -a /cache/stage/usr/local/. "$root/usr/local/"
if ((${#staged[@]})); then
	# ldd fails when one of them is static
	{ ldd "${staged[@]}" 2>/dev/null || true; } | grep -o '/[^ :]*' | sort -u | while read -r lib; do
		case $lib in /cache/*) ;; *) add_program "$root" "$lib" ;; esac
	done
fi
rm -rf "$root/usr/local/libexec/sched_spare/guest"
mkdir -p "$root/usr/lib/locale"
cp -r /usr/lib/locale/C.utf8 "$root/usr/lib/locale/"
cp /etc/{passwd,group,protocols} "$root/etc/" 2>/dev/null || true
ln -s bash "$root/usr/bin/sh"
ln -s /usr/local/libexec/sched_spare/selftests/host/init "$root/init"
pack "$root" >/cache/deterministic.cpio
ls -l /cache
