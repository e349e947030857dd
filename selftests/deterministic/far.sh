#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 400
# SPARE-7: a VM with budget left but a far deadline, beside neighbours with nearer ones.
#
# vm 60/600 ms may borrow from a provider 2/10 ms; near 4/10 ms and middle 20/100 ms burn, 0.10 + 0.20 + 0.40 + 0.20 = 0.90 of the
# CPU. vm's deadline is the farthest for all but the end of its period, so while it has budget a packet waits until both
# neighbours have used theirs: 20 + 4 * 4 = 36 ms at worst; as soon as its network thread wakes, a chunk of 10 ms * 60/600 = 1 ms
# runs under a deadline 10 ms away. The same packets with hasten=0 and with hasten=1; first for a VM whose vCPU burns (its use
# is 60 ms per period either way), then for one that sleeps and computes 0.3 ms for each packet.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

packets=300
ps_ns=10000000
declare -A VM=()
BORROWED=()

# packets_to HASTEN NAME [SPARE_TRACE_OPTION...]: with the neighbours' use beside them. The packets take 12.5 s. The tracer ends later:
# its buffer is freed in a soft interrupt of 9 ms, which nobody can bring a deadline before.
packets_to() {
	local hasten=$1 name=$2 tracer
	shift 2
	echo "hasten=$hasten" >"${VM[vm]}/spare.policy"
	"$TOOLS/spare-trace" --seconds 14 --stat --server "near=${VM[near]},4000,10000" --server "middle=${VM[middle]},20000,100000" "$@" \
		>"$MEASURES/$name.trace" 2>"$MEASURES/$name.trace.err" &
	tracer=$!
	used=$(stat_of "${VM[vm]}" used_ns) borrowed=$(stat_of "${VM[vm]}" boost_ns) hastened=$(stat_of "${VM[vm]}" hastened)
	measure "$name" spare-pktgen --tap spare0 --shm /dev/shm/vm --stat "${VM[vm]}/spare.stat" --provider "$pool/spare.stat" \
		--min-us 25000 --max-us 55000 --random "$packets" --bound-us 10300 --limit-s 60 || exit 1
	used=$(($(stat_of "${VM[vm]}" used_ns) - used)) borrowed=$(($(stat_of "${VM[vm]}" boost_ns) - borrowed)) hastened=$(($(stat_of "${VM[vm]}" hastened) - hastened))
	wait "$tracer" || { cat "$MEASURES/$name.trace.err"; exit 1; }
	report "$MEASURES/$name" 'own\.' 'free\.(n|max)' 'busy\.(n|max)' lost
	report "$MEASURES/$name.trace" 'err_ppm' missed misses overrun_max
	ktap_note "$name: used $used ns of its own, borrowed $borrowed ns, $hastened chunks"
}

neighbours() {
	local r=$MEASURES/$1.trace
	ktap_check "SPARE-7: $1: no neighbour missed a deadline" equal "0 0 0 0" \
		"$(result "$r" near.missed) $(result "$r" near.class.misses) $(result "$r" middle.missed) $(result "$r" middle.class.misses)"
	ktap_check "SPARE-7: $1: near's use is exact" at_most 1000 "$(result "$r" near.class.mean_err_ppm)"
	ktap_check "SPARE-7: $1: middle's use is exact" at_most 1000 "$(result "$r" middle.class.mean_err_ppm)"
}

largest() { printf '%s\n' "${@#-}" | sort -n | tail -n 1; }

ktap_plan 24
spare_up -v
host_quiet || ktap_note "the host is still busy"
pool=$(provider p0 2000 10000 0)
ktap_cleanup "cgroup_remove $pool"
for s in "vm 60000 600000" "near 4000 10000" "middle 20000 100000"; do
	read -r name q p <<<"$s"
	VM[$name]=$(vm_cgroup "$name" "$q" "$p" 0)
	ktap_cleanup "cgroup_remove ${VM[$name]}"
done
standin near --cgroup "${VM[near]}"
standin middle --cgroup "${VM[middle]}"

for kind in burns sleeps; do
	args=() trace=(--server "vm=${VM[vm]},60000,600000")
	[[ $kind == burns ]] || { args=(--idle --work-us 300) trace=(); }
	standin vm --cgroup "${VM[vm]}" --tap spare0 "${args[@]}"
	wait_for 20 tap_is_up spare0
	echo spare0 >"${VM[vm]}/spare.netdev"
	echo /pool/p0 >"${VM[vm]}/spare.use"
	sleep 1
	for hasten in 0 1; do
		packets_to "$hasten" "$kind.$hasten" "${trace[@]}"
		neighbours "$kind.$hasten"
		ktap_check "SPARE-8: $kind: none lost" equal 0 "$(result "$MEASURES/$kind.$hasten" lost)"
		BORROWED[hasten]=$borrowed
	done
	ktap_check "SPARE-7: $kind: without it the worst is more than two of the provider's periods" at_least $((2 * ps_ns)) "$(result "$MEASURES/$kind.0" own.max_ns)"
	most=$((ps_ns + 300000))
	ktap_check "SPARE-7: $kind: with it first service within $((most / 1000)) us" at_most "$most" "$(result "$MEASURES/$kind.1" own.max_ns)"
	ktap_check "SPARE-7: $kind: chunks were run" at_least $((packets / 10)) "$hastened"
	if [[ $kind == burns ]]; then
		ktap_check "SPARE-7: $kind: the VM's use is exact, without and with it" \
			at_most 1000 "$(largest "$(result "$MEASURES/$kind.0.trace" vm.class.mean_err_ppm)" "$(result "$MEASURES/$kind.1.trace" vm.class.mean_err_ppm)")"
	else
		ktap_check "SPARE-7: $kind: all in its own budget, nothing borrowed" equal "0 0" "${BORROWED[*]}"
	fi
	standin_stop vm
done
ktap_done
