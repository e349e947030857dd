#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# toolchain.sh COMMAND...: inside the userland, a command in the toolchain that is mounted on /toolchain; it sees the kernel's headers,
# the build directory and /tmp.
set -euo pipefail

binds=()
for dir in /tmp /build /usr/src /usr/lib/modules /usr/lib/linux-kbuild-*; do
	[[ ! -d $dir ]] || binds+=("$dir:$dir:rw")
done
exec unshare --mount bash "$(dirname "$0")/../lib/enter.sh" /toolchain "${binds[@]}" -- "$@"
