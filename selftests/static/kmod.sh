#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900, on a slow machine beside a boot
# The module compiles without a warning on every kernel whose headers are here, and sparse and checkpatch find nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/lib/ktap.sh

kernels=()
for headers in /usr/lib/modules/*/build; do
	[[ ! -f $headers/Makefile ]] || kernels+=("$(basename "$(dirname "$headers")")")
done
((${#kernels[@]})) || ktap_skip_all 'no kernel headers here'

# Where the kernel's compiler is not here, the toolchain has it.
[[ ! -d /toolchain/usr ]] || export MODULE_MAKE="$PWD/selftests/host/toolchain.sh make"

ktap_plan ${#kernels[@]}
for kernel in "${kernels[@]}"; do
	ktap_check "kmod: W=1, sparse and checkpatch on $kernel" kmod/check "$kernel"
done
ktap_done
