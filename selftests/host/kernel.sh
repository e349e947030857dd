#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# kernel.sh FRAGMENT...: inside the toolchain, build the kernel whose source is in /build, allnoconfig with these fragments (the last
# one wins), into /kernel/root, laid out as by Debian's packages; its version goes to /kernel/release.
set -euo pipefail

cc=$(readlink /usr/bin/gcc) # gcc-16: the configuration then names it as Debian's do
cat "$@" >/tmp/fragments
cd /build
export KBUILD_BUILD_USER=sched_spare KBUILD_BUILD_HOST=selftests
kernel_make() { make -j "$(nproc)" CC="$cc" HOSTCC="$cc" "$@"; }

kernel_make -s KCONFIG_ALLCONFIG=/tmp/fragments allnoconfig
tac /tmp/fragments | awk -F= '/^CONFIG_/ && !seen[$1]++' | while read -r line; do
	grep -qxF "$line" .config || echo "fragment: $line was not taken"
done
kernel_make bzImage modules

version=$(make -s kernelrelease)
modules=/kernel/root/usr/lib/modules/$version
headers=/kernel/root/usr/src/linux-headers-$version
kernel_make -s INSTALL_MOD_PATH=/kernel/root/usr INSTALL_MOD_STRIP=1 DEPMOD=true modules_install
cp arch/x86/boot/bzImage "$modules/vmlinuz"
kernel_make -s run-command KBUILD_RUN_COMMAND="scripts/package/install-extmod-build $headers"
cp .config "$headers/"
objcopy --only-section=.BTF --strip-all vmlinux "$headers/vmlinux"
ln -sfn "../../../src/linux-headers-$version" "$modules/build"
echo "$version" >/kernel/release
