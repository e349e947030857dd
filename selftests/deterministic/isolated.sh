#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: own
# cpus: 2
# cmdline: isolcpus=domain,1
# LIFE-5: a host that was booted with isolcpus=, with which the kernel refuses any sched_ext class: that is said by name, and changes nothing.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

says() { "$@" 2>&1 | tee /dev/stderr | grep -q 'was booted with isolcpus='; }
ends() { local status=0; timeout 60 spared >/tmp/isolated.log 2>&1 || status=$?; cat /tmp/isolated.log; ((status && status != 124)); }

ktap_plan 5
ktap_note "isolated: $(</sys/devices/system/cpu/isolated), $(</proc/cmdline)"
ktap_check "HOST: CPU 1 is isolated" grep -qx 1 /sys/devices/system/cpu/isolated
insmod "$SPARE_LIB/sched_spare.ko"
ktap_cleanup wait_for 10 rmmod sched_spare
ktap_check "LIFE-5: spared --check names isolcpus=" says spared --check
ktap_check "LIFE-5: spared ends with an error" ends
ktap_check "LIFE-5: and names it, too" grep -q 'was booted with isolcpus=' /tmp/isolated.log
ktap_check "LIFE-5: no class runs" class_is disabled
ktap_done
