#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The deterministic host's job while its state is saved (lib/boot.sh), with module, class and spared up or, stack.sh bare, without: from there each
# script goes on, with its job and the scripts as they are then. So a script neither waits for a boot nor for the kernel to verify the class.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

[[ ${1-} == bare ]] || spare_up -v
read -r before _ </proc/uptime
/usr/local/libexec/sched_spare/spare-pause
read -r after _ </proc/uptime
# The clock stands still meanwhile.
((${after/./} - ${before/./} < 50)) || { echo "the pause took from $before to $after s of the host's time"; exit 1; }
# QEMU was started anew: what its -fw_cfg says is the new job.
modprobe qemu_fw_cfg
rm -rf /job "${here%/*}"
busybox zcat </sys/firmware/qemu_fw_cfg/by_name/opt/sched_spare/overlay/raw | (cd / && busybox cpio -idu)
rmmod qemu_fw_cfg
[[ ${1-} == bare ]] || export SPARE_UP=$SPARED_PID
[[ ${1-} == bare || $(cat /sys/kernel/sched_ext/state) == enabled ]] || { echo "the class did not stay"; exit 1; }
exec bash /job/run
