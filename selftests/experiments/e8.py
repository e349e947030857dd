#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E8, scale: judges the log of deterministic/scale.sh, and times the simulator.   e8.py LOG DIR

Prints tables; leaves in DIR E8.json (flat; `verdict` pass or fail), E8.csv (a line per crowd) and E8.svg.
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.

verdict pass: a decision beside 1000 VMs on all CPUs costs at most COST_LIMIT times one beside 10, and a VM's kernel memory is at most
MEMORY_BYTES and MEMORY_BYTES_PER_CPU for each CPU; the simulator gets through 100 000 VMs without a missed deadline.
A decision: a thread wakes one of another VM and sleeps, so that a server becomes ready, is chosen, and one goes; less what that costs
without the class. A way is the same with system calls.
"""

import json
import os
import subprocess

import report

NS_PER_INSTRUCTION = 2   # -icount shift=1
KINDS = ["none", "spread", "same"]
SPREAD = [10, 100, 1000]
COST_LIMIT = 1.5
MEMORY_BYTES, MEMORY_BYTES_PER_CPU = 8192, 128
FIELDS = {"stray.vms": "stray_vms", "way.p25_ns": "way_p25_ns", "way.p50_ns": "way_p50_ns", "busy.p50_ns": "busy_p50_ns", "vm.memory_per_vm": "vm_bytes", "vm.slab_per_vm": "vm_slab_bytes",
          "vm.percpu_per_vm": "vm_percpu_bytes", "vm.vmalloc_per_vm": "vm_vmalloc_bytes", "cgroup.memory_per_vm": "cgroup_bytes",
          "kept.memory_per_vm": "kept_bytes", "cgroup.total_us": "cgroups_us", "reserve.total_us": "reserve_us", "reserve.first_ns": "reserve_first_ns",
          "reserve.last_ns": "reserve_last_ns", "place.total_us": "place_us", "place.first_ns": "place_first_ns", "place.last_ns": "place_last_ns",
          "link.total_us": "link_us", "link.first_ns": "link_first_ns", "link.last_ns": "link_last_ns", "remove.total_us": "remove_us"}
COLUMNS = ["kind", "vms", "cpus", "decision_instructions", "way_instructions", *FIELDS.values()]
COST = ["kind", "vms", "cpus", "decision_instructions", "way_instructions", "all_instructions", "stray_vms"]
MEMORY = ["kind", "vms", "cpus", "vm_bytes", "vm_slab_bytes", "vm_percpu_bytes", "vm_vmalloc_bytes", "cgroup_bytes", "kept_bytes"]
TIME = ["kind", "vms", "cpus", "cgroups_us", "reserve_us", "place_us", "link_us", "remove_us", "place_first_ns", "place_last_ns", "link_first_ns", "link_last_ns"]
SIMULATOR = ["/build/userspace/sim/spare-simulate", "/usr/local/libexec/sched_spare/spare-simulate"]
SYSTEM = {"cpus": 1000, "length_s": 10, "warmup_s": 0.2, "switch_us": 5, "pools": [{"reservation": "500us/10ms", "size": 2}],
          "vms": [{"reservation": "700us/100ms", "count": 100000, "spread": True, "pool": 0, "traffic": {"poisson_hz": 2}}]}


def parse(notes):
    """A note "crowd KIND N CPUS" opens a row for the "KEY VALUE" that follow."""
    rows = []
    for words in notes:
        if words[:1] == ["crowd"] and len(words) == 4:
            rows.append({"kind": words[1], "vms": int(words[2]), "cpus": int(words[3])})
        elif len(words) == 2 and rows and words[0] in FIELDS:
            rows[-1][FIELDS[words[0]]] = int(words[1])
        elif len(words) == 2 and rows and words[0].startswith("callback."):
            rows[-1][words[0][len("callback."):].replace(".", "_")] = int(words[1])
    base = next((row["way_p25_ns"] for row in rows if row["kind"] == "none" and "way_p25_ns" in row), None)
    for row in rows:
        if "way_p25_ns" in row and base is not None:
            row["way_instructions"] = row["way_p25_ns"] // NS_PER_INSTRUCTION
            row["decision_instructions"] = (row["way_p25_ns"] - base) // NS_PER_INSTRUCTION
    return sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["vms"]))


def reached(rows):
    spread = {row["vms"]: row for row in rows if row["kind"] == "spread"}
    if sorted(spread) != SPREAD or not all({"decision_instructions", "vm_bytes", "stray_vms"} <= row.keys() for row in spread.values()):
        return False
    few, most = spread[SPREAD[0]], spread[SPREAD[-1]]
    return (most["decision_instructions"] <= COST_LIMIT * few["decision_instructions"] and most["stray_vms"] == 0
            and most["vm_bytes"] <= MEMORY_BYTES + MEMORY_BYTES_PER_CPU * most["cpus"])


def simulate():
    """Figures of a system of 100 000 VMs, or none where there is no simulator."""
    tool = os.environ.get("SPARE_SIMULATE") or next((t for t in SIMULATOR if os.path.exists(t)), None)
    if not tool:
        return {}
    done = subprocess.run([tool, "--speed", "-"], input=json.dumps(SYSTEM), capture_output=True, text=True)
    if done.returncode:
        print(f"{tool}: {done.stderr.strip()}")
        return {}
    result = json.loads(done.stdout)
    return {"vms": result["vms"], "simulated_s": SYSTEM["length_s"], "wall_s": result["wall_s"], "events": result["events"],
            "events_per_s": result["events_per_s"], "max_rss_mib": result["max_rss_kib"] // 1024, "misses": result["total"]["misses"]}


def plot(rows):
    rows = [row for row in rows if "decision_instructions" in row and row["kind"] != "none"]
    most = max([row["decision_instructions"] for row in rows], default=1) * 1.1
    tick = next(t for t in (10, 50, 100, 500, 1000, 5000, 10_000, 10 ** 9) if most / t <= 10)
    lines = [(f'{row["vms"]} VMs, {row["cpus"]} CPU{"s" * (row["cpus"] > 1)}', row["decision_instructions"],
              report.BLUE if row["kind"] == "spread" else report.ORANGE, f'{row["decision_instructions"]}', None) for row in rows]
    return report.bars(lines, "instructions of a wake-up of another VM and the switch to it, less those without the class; blue: VMs spread over the CPUs, orange: all on one CPU", most, tick)


def judge(log):
    rows = parse(log.notes)
    if not rows:
        return None
    crowds = [row for row in rows if row["vms"]]
    callbacks = sorted({key for row in crowds for key in row if key.startswith(("spare_", "all_"))})
    report.table(rows, COST, "instructions on CPU 0; way: a wake-up and a switch, uninterrupted; decision: less that without the class; all: of all callbacks per run")
    # What the rest of the host takes and gives back meanwhile is more than ten VMs have.
    report.table([row for row in crowds if row["vms"] >= 100], MEMORY, "kernel memory per VM (beside that of its cgroup), bytes")
    report.table(crowds, TIME, "time to make all of them, and of the first and the last hundred each")
    names = [f"{row['kind']} {row['vms']}" for row in crowds]
    report.table([{"callback": key[:-len("_instructions")], **{name: row.get(key, "-") for name, row in zip(names, crowds)}}
                  for key in callbacks if key.endswith("_instructions")], ["callback", *names], "mean instructions of the class's callbacks on CPU 0")
    simulator = simulate()
    print("\nsimulator: " + ", ".join(f"{k} {report.shown(v)}" for k, v in simulator.items()))
    figures = report.flat(rows, ["kind", "vms"]) | {f"simulator_{k}": v for k, v in simulator.items()}
    return report.Report(reached(rows) and simulator.get("misses", 1) == 0, rows, COLUMNS + callbacks, figures, plot(rows))


if __name__ == "__main__":
    report.main("E8", __doc__, judge)
