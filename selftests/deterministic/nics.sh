#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# SPARE-9: the network thread is who a packet wakes, whatever its name: a NIC without vhost, served by the emulator's loop; one beside a NIC
# with vhost in the same VM; a tap with several queues, each with a thread. Every packet that finds the server throttled and the provider
# free is granted and served within its bound, in a VM 40/100 ms that burns.
set -euo pipefail
. "$(dirname "$0")/nic.inc.sh"

ktap_plan 19
nic_vm
nic emulated spare0 --emulated-tap spare0
nic beside_vhost spare0 --tap spare1 --emulated-tap spare0
nic queues spare0 --tap spare0 --queues 4
ktap_check "SPARE-8: for each that waited a provider was asked" equal 0 "$(stat_of "$vm" unasked)"
ktap_done
