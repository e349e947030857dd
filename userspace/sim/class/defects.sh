#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# defects.sh CC CXX SEEDS EVENTS [DEFECT...]: puts each old defect (defects/*.patch) back into a copy of the class and says how soon class_fuzz finds
# it. Fails when one is not found, or something without one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
cc=$1 cxx=$2 seeds=$3 events=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A defect is in the class's headers, or in one of the model's sources: nothing else is compiled again.
build() { # DIR
	local dir=$1/userspace/sim/class path f
	local flags=(-O1 -w -I"$dir/shim" -I"$dir" -I"$1/sched_spare/bpf" -I"$1/sched_spare/include")
	"$cc" -std=gnu2x "${flags[@]}" -c "$dir/class.c" -o "$1/class.o"
	for path in "$dir"/*.cpp; do
		f=$(basename "$path" .cpp)
		if [[ $1 != "$work/none" ]] && cmp -s "$dir/$f.cpp" "$work/none/userspace/sim/class/$f.cpp"; then
			cp "$work/none/$f.o" "$1"
			continue
		fi
		"$cxx" -std=c++20 "${flags[@]}" -c "$dir/$f.cpp" -o "$1/$f.o"
	done
	"$cxx" "$1"/*.o -o "$1/class_fuzz"
}

copy() { # NAME
	mkdir "$work/$1"
	(cd "$root" && cp -r --parents sched_spare/bpf sched_spare/include userspace/sim "$work/$1")
}

copy none
build "$work/none"
"$work/none/class_fuzz" "$seeds" "$events" >"$work/out" || { tail -n 2 "$work/out"; exit 1; }
status=0
for patch in "$here"/defects/*.patch; do
	name=$(basename "$patch" .patch)
	[[ $# -eq 0 || " $* " == *" $name "* ]] || continue
	copy "$name"
	(cd "$work/$name" && patch -p1 -F 0 --force --quiet <"$patch")
	build "$work/$name"
	begin=$EPOCHREALTIME
	if "$work/$name/class_fuzz" "$seeds" "$events" >"$work/out"; then
		echo "$name: not found"
		status=1
		continue
	fi
	awk -v name="$name" -v us=$((${EPOCHREALTIME/./} - ${begin/./})) '
		/^seed [0-9]+: [0-9]+ events,/ { before += $3 }
		/^[0-9]+\.[0-9]+: / { said = $0 }
		/^seed [0-9]+: event/ { printf "%s: %s event %d, after %d events and %.2f s: %s\n", name, $1 " " $2, $4, before + $4, us / 1e6, said }' "$work/out"
	rm -r "${work:?}/$name"
done
exit "$status"
