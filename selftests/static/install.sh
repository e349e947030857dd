#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900, on a slow machine beside a boot
# cmake --install: to any prefix; the module where modprobe finds it; nothing that is only for tests, nor an error for a mere warning.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
. "$here/../lib/ktap.sh"

for headers in /usr/lib/modules/*/build; do
	[[ ! -f $headers/Makefile ]] || kernel=$(basename "$(dirname "$headers")")
done
[[ ${kernel-} ]] || ktap_skip_all 'no kernel headers here'
work=$(mktemp -d)
ktap_cleanup "rm -rf $work"

# Stands for depmod: it runs where there is no other root, after the module is there.
mkdir "$work/bin"
printf '#!/bin/sh\ntouch %s\n' "$work/depmod.ran" >"$work/bin/depmod"
chmod +x "$work/bin/depmod"
PATH=$work/bin:$PATH

configure() { cmake -S "$top" -B "$work/$1" -G Ninja -DCMAKE_BUILD_TYPE=Release "${@:2}" >"$work/$1.log" 2>&1; }

# What is installed is not looked into here: empty files stand for it, but for a module that has been built (lib/build.sh).
BUILT=/build/kbuild/kmod/sched_spare.ko
installed() {
	local rule target
	for target in kbuild/kmod/sched_spare.ko sched_spare/bpf/sched_spare.bpf.o userspace/spared cgroupfs-tools/sparectl qemu-hooks/spare-qemu; do
		mkdir -p "$work/build/$(dirname "$target")"
		: >"$work/build/$target"
	done
	[[ ! -s $BUILT ]] || cp "$BUILT" "$work/build/kbuild/kmod/"
	DESTDIR=$work/root cmake --install "$work/build" --prefix "$1" >"$work/install.log" 2>&1 && [[ ! -e $work/depmod.ran ]]
}
there() {
	local file bad=0
	for file; do
		[[ -e $work/root/$file ]] || { echo "no $file"; bad=1; }
	done
	return "$bad"
}

ktap_plan 11
ktap_check 'cmake: without a word of tests' configure build "-DSPARE_KERNEL=$kernel" -DSPARE_MODULE_MAKE=true
ktap_check 'cmake: installs to any prefix' installed /opt/spare
ktap_check 'the programs are there' there opt/spare/sbin/spared opt/spare/bin/{sparectl,spare-qemu} opt/spare/share/man/man8/spared.8
ktap_check 'the module where modprobe finds it' there "lib/modules/$kernel/updates/sched_spare.ko"
if [[ -s $BUILT ]]; then
	ktap_check 'and modprobe finds it, after depmod' eval '/sbin/depmod -b "$work/root" "$kernel" && modprobe -d "$work/root" -S "$kernel" --show-depends sched_spare | grep -F "updates/sched_spare.ko"'
else
	ktap_skip 'and modprobe finds it, after depmod' 'no module has been built here'
fi
line_of() { grep -n -- "$1" "$work/build/cmake_install.cmake" | tail -n 1 | cut -d: -f1; }
ktap_check 'depmod comes after it' eval '(($(line_of sched_spare.ko) < $(line_of bin/depmod)))'
ktap_check 'the unit names the programs there' grep -qx 'ExecStart=/opt/spare/sbin/spared' "$work/root/opt/spare/lib/systemd/system/spared.service"
ktap_check 'nothing outside, nothing of the tests' eval '[[ $(cd "$work/root" && find . -type f | grep -v "^./opt/spare/\|^./lib/modules/") == "" && ! -d $work/root/opt/spare/libexec ]]'
ktap_check 'a warning is no error' eval '! grep -q -- -Werror "$work/build/build.ninja"'
DESTDIR=$work/root cmake --install "$work/build" --component dkms >>"$work/install.log" 2>&1 || true
ktap_check 'dkms gets what the module is made of, and no more' eval \
	'[[ $(LC_ALL=C ls "$work"/root/usr/src/sched_spare-*/) == "$(printf "Kbuild\ndkms.conf\nkmod\nsched_spare")" && -e $(echo "$work"/root/usr/src/sched_spare-*)/kmod/main.c ]]'
configure none || true
ktap_check 'cmake without a kernel says that the module is left out' grep -q 'sched_spare.ko is left out' "$work/none.log"
ktap_done
