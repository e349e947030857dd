#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reads the lines of `spared --meter --json` and, as each comes, what the kernel itself says; prints both, summed up, as "key value".

usage: meter_judge.py FILE LINES VM=PID:TAP...      VM: the name by which the meter calls it
Of the lines that come into FILE from now on one says when the others begin. That one, and the last of at least LINES more, are such that were
seen at once: on a busy machine a look may come too late to be compared.
"""
import json
import os
import sys
import time

CPUS = os.cpu_count()
LATE_NS = 60 * 10**6


def vhost_threads(pid):
    """Those that are threads of the kernel (before 6.4)."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm", encoding="utf-8") as file:
                if file.read().strip() == f"vhost-{pid}":
                    found.append(f"/proc/{name}")
        except OSError:
            pass
    return found


def threads_ns(pid, kthreads):
    """What the kernel has charged to all threads of a process (schedstat): also what interrupts took on top of them."""
    total = 0
    for path in [f"/proc/{pid}/task/{tid}" for tid in os.listdir(f"/proc/{pid}/task")] + kthreads:
        try:
            with open(f"{path}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        except OSError:
            pass
    return total


def idle_ns():
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()
    return (int(fields[4]) + int(fields[5])) * (10**9 // os.sysconf("SC_CLK_TCK"))


def tap_packets(tap):
    with open(f"/sys/class/net/{tap}/statistics/tx_packets", encoding="ascii") as file:
        return int(file.read())


def new_lines(path):
    """Each line as soon as it is whole, none that is there already."""
    with open(path, encoding="utf-8") as file:
        file.seek(0, os.SEEK_END)
        line = ""
        while True:
            line += file.readline()
            if line.endswith("\n"):
                yield line
                line = ""
            else:
                time.sleep(0.002)


def main():
    lines = int(sys.argv[2])
    vms = {}
    for word in sys.argv[3:]:
        name, rest = word.split("=")
        pid, tap = rest.split(":")
        vms[name] = (int(pid), tap, vhost_threads(pid))

    def look():
        seen = {"clock": time.monotonic_ns(), "idle": idle_ns()}
        for name, (pid, tap, kthreads) in vms.items():
            seen[name] = (threads_ns(pid, kthreads), tap_packets(tap))
        return seen

    bills = (json.loads(line) for line in new_lines(sys.argv[1]))

    def look_at_once(bill):
        """None when it has become late."""
        seen = look()
        return seen if time.time_ns() - bill["time_ns"] < LATE_NS else None

    first = None
    while not first:
        bill = next(bills)
        began_ns, first = bill["time_ns"], look_at_once(bill)
    sums = {}

    def add(key, value):
        sums[key] = sums.get(key, 0) + value

    worst = 0
    last = None
    seen = 0
    while seen < lines or not last:
        bill = next(bills)
        last = look_at_once(bill)
        seen += 1
        for cpu in bill["cpus"]:
            worst = max(worst, abs(cpu["error_ns"]) * 10**6 // max(cpu["elapsed_ns"], 1))
            add(f"cpu{cpu['cpu']}.elapsed_ns", cpu["elapsed_ns"])
            add("unsteady", not cpu["steady"])
            for kind, ns in cpu["host_ns"].items():
                add(f"host.{kind}_ns", ns)
        for vm in bill["vms"]:
            for kind, ns in vm["ns"].items():
                add(f"{vm['name']}.{kind}_ns", ns)
            add(f"{vm['name']}.rx_packets", vm["rx_packets"])
            add(f"{vm['name']}.tx_packets", vm["tx_packets"])
    print("conservation.worst_ppm", worst)
    clock = last["clock"] - first["clock"]
    lasted_ns = bill["time_ns"] - began_ns
    print("clock_ns", clock)
    print("lines", seen)
    for cpu in range(CPUS):
        print(f"cpu{cpu}.off_ppm", (sums.get(f"cpu{cpu}.elapsed_ns", 0) - lasted_ns) * 10**6 // lasted_ns)
    print("kernel.idle_ns", last["idle"] - first["idle"])
    on_top = sums["host.softirq_ns"] + sums["host.irq_ns"] + sums["host.network_ns"]
    for name in vms:
        on_top += sum(sums.get(f"{name}.{kind}_ns", 0) for kind in ("softirq_rx", "softirq_tx", "irq"))
    print("on_top_ns", on_top)
    for name in vms:
        ours = sum(sums.get(f"{name}.{kind}_ns", 0) for kind in ("guest", "vcpu", "vhost", "iothread", "emulator"))
        # A look comes some milliseconds after the meter's.
        print(f"{name}.threads_ns", ours * clock // sums["cpu0.elapsed_ns"])
        print(f"{name}.kernel_ns", last[name][0] - first[name][0])
        print(f"{name}.tap_packets", last[name][1] - first[name][1])
    for key, value in sums.items():
        print(key, int(value))


main()
