#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 1800
# by name: what it measures is the experiment E6
# cpu: -erms,-fsrm
# E6: what a packet costs the host, by size, batch, rate and direction, through the real vhost-net and without it, as the meter bills it and as the
# kernel's schedstat has it in the same run, and once more without the meter. A VM m with a tap on a bridge; it sends to a dummy there, and is
# sent to by a veth with a NAPI of its own.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/meter.inc.sh"

m=$CGROUP/vm/m peer=$CGROUP/vm/peer mac=02:00:00:00:00:77
network=(--tap spare0 --cgroup "$m" --peer-cgroup "$peer" --netns out --wire out0 --nic out1 --mac "$mac")

# loads SIZES BATCHES RATES KIND: in both directions
loads() {
	local direction size batch rate
	for direction in tx rx; do
		for size in $1; do
			for batch in $2; do
				for rate in $3; do echo "$direction:$size:$batch:$rate:$4"; done
			done
		done
	done
}
# The experiment's loads; as a test, which shows that bill and schedstat agree, the ends of each range.
if [[ -n ${SPARE_E6_ALL-} ]]; then
	sizes='64 128 256 512 1024 1472' batches='2 4 8 16 32' rates='500 5000 10000 20000 50000' large='1448 4096 16384 32768 65000'
else
	sizes='64 1472' batches='8 32' rates='500 50000' large='1448 65000'
fi
mapfile -t vhost < <(
	loads "$sizes" 1 1000 udp
	loads 256 "$batches" 8000 udp
	loads '64 1472' 8 8000 udp
	loads 256 1 "$rates" udp
)
mapfile -t tso < <(loads "$large" 1 1000 tso)
mapfile -t emulator < <(
	loads '64 256 1472' 1 1000 udp
	loads 256 8 8000 udp
)

cut_at() { ip -n out link set out0 gso_max_segs "$1"; }

# pass NAME OPTION...
pass() {
	local name=$1
	shift
	cut_at 1
	measure "$name.vhost" spare-nic "${network[@]}" "$@" "${vhost[@]}" || return
	measure "$name.emulator" spare-nic "${network[@]}" "$@" --no-vhost "${emulator[@]}" || return
	cut_at 65535
	measure "$name.tso" spare-nic "${network[@]}" "$@" --tso "${tso[@]}"
}

# billed_by_time FILE: its loads, each with what the bill's lines of its time have: of m, of the sender, and of the host's network.
billed_by_time() {
	awk '
		function number(text, key,  at) {
			at = index(text, "\"" key "\":")
			return at ? substr(text, at + length(key) + 3) + 0 : 0
		}
		FNR == NR {
			if ($1 != "load") next
			line[++n] = $0
			for (i = 3; i < NF; i += 2) { if ($i == "begin") begin[n] = $(i + 1); if ($i == "end") end[n] = $(i + 1) }
			next
		}
		{
			time = number($0, "time_ns"); interval = number($0, "interval_ns")
			for (l = 1; l <= n; l++) {
				if (time <= begin[l] || time - interval >= end[l]) continue
				parts = split($0, part, "\\{\"name\":\"")
				net[l] += number(part[1], "network")
				for (p = 2; p <= parts; p++) {
					if (index(part[p], "/vm/peer\"") == 1) sender[l] += number(part[p], "emulator")
					if (index(part[p], "/vm/m\"") != 1) continue
					for (k = 1; k <= kinds; k++) sum[l, k] += number(part[p], kind[k])
				}
			}
		}
		END {
			for (l = 1; l <= n; l++) {
				text = line[l] " b.peer " sender[l] + 0 " b.network " net[l] + 0
				for (k = 1; k <= kinds; k++) text = text sprintf(" b.%s %d", kind[k], sum[l, k])
				print text
			}
		}
		BEGIN { kinds = split("emulator vhost iothread kthread softirq_rx softirq_tx rx_packets tx_packets", kind, " ") }' "$1" "$MEASURES/bill"
}

# all FIELD: of every load, by name
all() {
	awk -v wanted="$1" '$1 == "load" { for (i = 3; i < NF; i += 2) if ($i == wanted) sum += $(i + 1) } END { print sum + 0 }' "$MEASURES"/*.{vhost,emulator,tso}
}

# apart: how far bill and schedstat are apart at most: per mille of loads through vhost with batches of 8 and more, and instructions of a batch of all,
# beyond 50 000 of the load itself, for ticks. (The kernel's account gives a thread that wakes on an idle CPU what ran since the wake-up, also the rest of
# the interrupt: sched_spare/DESIGN.md, "the rq clock".)
apart() {
	awk '{
		split($4, load, ":")
		for (i = 5; i < NF; i += 2) v[$i] = $(i + 1)
		account = v["guest"] + v["vhost"] + v["peer"]
		bill = v["b.peer"] + v["b.network"] + v["b.emulator"] + v["b.vhost"] + v["b.iothread"] + v["b.kthread"] + v["b.softirq_rx"] + v["b.softirq_tx"]
		off = bill > account ? bill - account : account - bill
		each = (off / 2 - 50000) / (v["packets"] / load[3])
		if (each > most) most = each
		if (load[3] >= 8 && $3 == "vhost" && off * 1000 / account > part) part = off * 1000 / account
	} END { printf "%d %d\n", part + 0.5, most }' "$MEASURES"/billed.*
}

ktap_plan 7
meter_net_up spare0
modprobe dummy
ip link add wire0 type dummy
ktap_cleanup "ip link del wire0"
echo 1 >/proc/sys/net/ipv6/conf/wire0/disable_ipv6
ip link set wire0 master meterbr up
bridge fdb replace 02:00:00:00:00:99 dev wire0 master static sticky	# (whom the peer sends as, too: it would move)
bridge fdb replace "$mac" dev spare0 master static
mkdir -p "$m" "$peer"
ktap_cleanup "cgroup_remove $m $peer"
host_quiet || ktap_note "the host is still busy"
ktap_check "ACC-3: E6: every load without the meter" pass plain --pause-ms 50
ktap_check "ACC-1: the meter runs, without module and class" meter_up /vm/m /vm/peer
ktap_check "ACC-3: E6: every load with it" pass metered
for kind in vhost emulator tso; do
	ktap_note "$(sed "s/^load /load plain $kind /" "$MEASURES/plain.$kind")"
	billed_by_time "$MEASURES/metered.$kind" | sed "s/^load /load metered $kind /" >"$MEASURES/billed.$kind"
	ktap_note "$(cat "$MEASURES/billed.$kind")"
done
# (It is fitted to what was seen of m, and a minute ago counts half.)
ktap_note "model $(tail -n 1 "$MEASURES/bill" | grep -o '"model":.*')"
ktap_check "ACC-3: E6: no packet was lost" equal 0 "$(all lost)"
read -r part each < <(apart)
ktap_note "bill and schedstat are at most $part per mille apart through vhost with batches of 8 and more, and $each instructions of a batch (beyond 50 000 of a load) in all"
ktap_check "ACC-2: E6: what is billed through vhost for batches of 8 and more is what schedstat has, within 30 per mille" at_most 30 "$part"
ktap_check "ACC-2: E6: of all loads within 2500 instructions of a batch and 50 000 of a load" at_most 2500 "$each"
ktap_check "ACC-1: every nanosecond of every look is billed once" exact
ktap_done
