#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# SPARE-10: grants that are too short are counted, and it is said which setting makes them longer.
#
# A guest of 1/100 ms halts between packets, and works 3 ms for each of 20 a second, nearly all of it borrowed. Once its grant is too small for that, once
# the provider's budget, once what it may gain, once nothing; a VM of its own each time.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

seconds=5 rate=20
packets=$((seconds * rate))

# phase NAME PROVIDER POLICY...: its advice is $MEASURES/NAME.show
phase() {
	local name=$1 use=$2 vm
	shift 2
	vm=$(vm_cgroup "$name" 1000 100000 0)
	ktap_cleanup "cgroup_remove $vm"
	echo "$use" >"$vm/spare.use"
	echo "$*" >"$vm/spare.policy"
	standin "$name" --cgroup "$vm" --tap "$name" --idle --work-us 3000
	wait_for 20 tap_is_up "$name"
	echo "$name" >"$vm/spare.netdev"
	measure "$name" spare-pktgen --tap "$name" --shm "/dev/shm/$name" --stat "$vm/spare.stat" --rate "$rate" --seconds "$seconds" --limit-s 120 || true
	ktap_note "$name: $(grep -E '^(granted|short|short_gain|short_q|boost_ns|denied|throttled) ' "$vm/spare.stat" | tr '\n' ' ')"
	sparectl show "/vm/$name" >"$MEASURES/$name.show"
	ktap_note "$name: $(grep ^advice "$MEASURES/$name.show" || echo no advice)"
	granted=$(stat_of "$vm" granted) short=$(stat_of "$vm" short) short_gain=$(stat_of "$vm" short_gain) short_q=$(stat_of "$vm" short_q)
	standin_stop "$name"
}
advises() { grep "^advice" "$MEASURES/$1.show" | grep -qF -- "$2"; }

ktap_plan 14
spare_up -v
host_quiet || ktap_note "the host is still busy"
for s in "large 4000" "small 1000"; do
	read -r name q <<<"$s"
	ktap_cleanup "cgroup_remove $(provider "$name" "$q" 10000 0)"
done
policy="chances=0 window_us=100000 payback=0"

phase enough /pool/large grant_us=8000 "$policy" gain_us=0
ktap_check "SPARE-10: there is something to lend" at_least $((packets / 2)) "$granted"
ktap_check "SPARE-10: grants of 8 ms are enough for 3 ms" equal "0 0" "$short $short_gain"
ktap_check "SPARE-10: and a provider of 4 ms" at_most $((granted / 20)) "$short_q"
ktap_check "SPARE-10: nothing is to be done" eval '! grep -q ^advice "$MEASURES/enough.show"'

phase grant /pool/large grant_us=2000 "$policy" gain_us=0
ktap_check "SPARE-10: those of 2 ms are not, and nearly each is counted" at_least $((granted * 8 / 10)) "$short"
ktap_check "SPARE-10: each once" at_most "$granted" "$short"
ktap_check "SPARE-10: it was not the gain" equal 0 "$short_gain"
ktap_check "SPARE-10: grant_us is to be raised" advises grant "raise grant_us (2000) in spare.policy"

phase budget /pool/small grant_us=8000 "$policy" gain_us=0
ktap_check "SPARE-10: a provider of 1 ms is not, and that is counted" at_least "$granted" "$short_q"
ktap_check "SPARE-10: it was not the grant" equal "0 0" "$short $short_gain"
ktap_check "SPARE-10: the provider's Q is to be raised" advises budget "raise Q of the providers (1000 us)"

phase gain /pool/large grant_us=8000 "$policy" gain_us=1000
ktap_check "SPARE-10: a gain of 1 ms is not, and that is counted" at_least $((granted * 8 / 10)) "$short_gain"
ktap_check "SPARE-10: it was neither grant nor provider" equal "0 0" "$short $short_q"
ktap_check "SPARE-10: gain_us is to be raised" advises gain "raise gain_us in spare.policy"
ktap_done
