#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900, on a slow machine beside a boot
# Nobody includes upward (STYLE, "Layers"):
#   abi.h <- pure headers <- { BPF, kmod, userspace/lib } <- { daemon, sparectl }; qemu-hooks speaks only to the tools.
# Within kmod: its Kbuild's order.
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/lib/ktap.sh

# includes PATH...: "file: header" for each include of a header of ours or of the system.
includes() { grep -rnoE --include='*.[ch]' --include='*.[ch]pp' '#include[[:space:]]*[<"][^>"]+' "$@" 2>/dev/null | sed -E 's/#include[[:space:]]*[<"]//'; }

# clean_of PATTERN PATH...: no include below PATH matches.
clean_of() {
	local pattern=$1 bad
	shift
	bad=$(includes "$@" | grep -E ":$pattern" || true)
	[[ -z $bad ]] || { printf '%s\n' "$bad"; return 1; }
}

abi_alone() {
	# The ABI header builds on types alone.
	local bad
	bad=$(includes sched_spare/include/sched_spare/abi.h | grep -vE ':(linux/types\.h|vmlinux\.h|stdint\.h|cstdint|sched_spare/types\.h|types\.h)$' || true)
	[[ -z $bad ]] || { printf '%s\n' "$bad"; return 1; }
}

no_calls_below() {
	# Pure headers: no kernel and no BPF call, time is an argument.
	# (bpf_for is a loop that the verifier knows, no call of a helper.)
	! grep -nE '\b(bpf_[a-eg-z][a-z_]*|ktime_get|scx_bpf_[a-z_]+|clock_gettime|printk|pr_[a-z]+)[[:space:]]*\(' sched_spare/include/sched_spare/*.h
}

# Each header of the class by itself: it includes what it uses, in whatever order others do. (An argument: vmlinux.h is the build's.)
bpf_alone() {
	local header bad=0
	for header in sched_spare/bpf/*.bpf.h; do
		clang -g -O2 -target bpf -D__TARGET_ARCH_x86 -Wall -Wno-unused-function -Wno-missing-declarations -Werror -fsyntax-only \
			-I sched_spare/bpf -I sched_spare/include -I "$1" -x c - <<<"#include \"${header##*/}\"" || bad=1
	done
	return "$bad"
}

# kmod_upward DIR: "file: header" for each include of a header that belongs to a later file of DIR/Kbuild. A header without a .c belongs to the latest
# file of which it includes a header.
kmod_upward() {
	awk '
		function name(path) { sub(/\.[cho]$/, "", path); return path }
		FILENAME ~ /Kbuild$/ { if ($1 == "sched_spare-y") place[name($3)] = ++n; next }
		FNR == 1 { file = substr(FILENAME, length(dir) + 2); under = file ~ /\// ? substr(file, 1, match(file, /\/[^\/]*$/)) : "" }
		$1 == "#include" && $2 ~ /^"/ {
			from[++edges] = file
			to[edges] = name(under substr($2, 2, length($2) - 2))
		}
		END {
			if (!n || !edges) print "nothing to look at"
			for (round = 0; round < 3; round++)
				for (e = 1; e <= edges; e++)
					if (from[e] ~ /\.h$/ && (!(name(from[e]) in place) || name(from[e]) in alone)) {
						alone[name(from[e])]
						if (place[to[e]] > place[name(from[e])]) place[name(from[e])] = place[to[e]]
					}
			for (e = 1; e <= edges; e++)
				if (place[to[e]] > place[name(from[e])]) print from[e] ": " to[e] ".h"
		}' dir="$1" "$1/Kbuild" "$1"/*.[ch] "$1"/compat/*.[ch]
}

kmod_order() {
	local bad
	bad=$(kmod_upward "$1")
	[[ -z $bad ]] || { printf '%s\n' "$bad"; return 1; }
}

# The same of a copy in which FILE has one include more.
kmod_circle() {
	local dir result=0
	dir=$(mktemp -d)
	cp -r kmod "$dir/kmod"
	printf '#include "%s"\n' "$2" >>"$dir/kmod/$1"
	! kmod_order "$dir/kmod" || result=1
	rm -r "$dir"
	return "$result"
}

ktap_plan 10
ktap_check "LAYERS: abi.h includes nothing of ours" abi_alone
ktap_check "LAYERS: the pure headers call neither kernel nor BPF" no_calls_below
ktap_check "LAYERS: the headers include no kmod, BPF or C++ code" clean_of '.*(kmod/|\.bpf\.h|bpf/|\.hpp|skel\.h)' sched_spare/include
ktap_check "LAYERS: kmod includes no BPF and no userspace" clean_of '.*(\.bpf\.h|\.hpp|userspace/|skel\.h)' kmod
ktap_check "LAYERS: kmod: no file includes a header of a later one in Kbuild" kmod_order kmod
ktap_check "LAYERS: (a circle is found)" kmod_circle timer.c server.h
ktap_check "LAYERS: (by way of a header alone, too)" kmod_circle kick.c trace.h
ktap_check "LAYERS: BPF includes no kmod and no userspace" clean_of '.*(kmod/|\.hpp|userspace/|skel\.h)' sched_spare/bpf
ktap_check "LAYERS: the library includes neither daemon nor tool" clean_of '.*(daemon\.hpp|daemon/|sparectl|cgroupfs-tools/|qemu-hooks/)' userspace/lib
ktap_check "LAYERS: each header of the class compiles alone" bpf_alone /build/sched_spare/bpf
ktap_done
