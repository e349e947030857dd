#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E10, abuse: what CPU two VMs gain by provoking packets; judges the log of deterministic/gain.sh.   e10.py LOG DIR

Prints a table; leaves in DIR E10.json (flat; `verdict` pass or fail), E10.csv (a line per way of provoking, policy and VM) and
E10.svg. Gains are parts per million of one CPU over the reservation, by the kernel's account (cpu.stat).
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.

verdict pass: every way was measured under every policy; in pay-back mode no VM gains more than 1 %; under a gain per window no VM borrowed
more than its bound, nor gained more than that and ACCOUNTS_PPM. (A switch from a real-time thread, as the packets' sender is, into
the VM is the VM's in cpu.stat, and nobody's for the class: sched_spare/DESIGN.md, Ending a budget.)
"""

import report

PAYBACK_PPM = 10_000    # SPARE-6: 1 % of a CPU in pay-back mode
ACCOUNTS_PPM = 1000     # of a CPU: what cpu.stat may say more than the class
HOW = ("stream", "reply", "self", "pair")
EXPECTED = {("stream", "free")} | {(how, policy) for how in HOW for policy in ("payback", "gain")}
COLOR = {"free": report.GREY, "payback": report.BLUE, "gain": report.ORANGE}
FIELDS = {"gain_ppm": "gain_ppm", "class.gain_ppm": "class_gain_ppm", "boost_ns": "borrowed_ns", "cpu_ns": "cpu_ns", "time_ns": "time_ns"}
COLUMNS = ["provoked_by", "policy", "vm", *FIELDS.values(), "bound_ppm"]


def parse(notes):
    """A note "gain NAME HOW POLICY BOUND_PPM" opens a measurement (bound 0: none), the "VM.KEY VALUE" that follow are its figures."""
    rows, current = [], None
    for words in notes:
        if words[:1] == ["gain"] and len(words) == 5:
            current = {vm: {"provoked_by": words[2], "policy": words[3], "vm": vm, "bound_ppm": int(words[4])} for vm in ("a", "b")}
            rows.extend(current.values())
        elif current and len(words) == 2 and words[0][:2] in ("a.", "b.") and words[0][2:] in FIELDS:
            current[words[0][0]][FIELDS[words[0][2:]]] = int(words[1])
    return rows


def within(row):
    if not all(c in row for c in COLUMNS):
        return False
    if row["policy"] == "payback":
        return row["gain_ppm"] <= PAYBACK_PPM
    if row["policy"] == "gain":
        return row["borrowed_ns"] * 1e6 <= row["bound_ppm"] * row["time_ns"] and row["gain_ppm"] <= row["bound_ppm"] + ACCOUNTS_PPM
    return True


def plot(rows):
    most = max([row.get("gain_ppm", 0) for row in rows] + [10_000]) / 1e4
    tick = next(t for t in (0.5, 1, 2, 5, 10, 20, 50) if most / t <= 10)
    lines = [(f'{row["provoked_by"]}, {row["policy"]}: {row["vm"]}', row.get("gain_ppm", 0) / 1e4, COLOR[row["policy"]],
              f'{row.get("gain_ppm", 0) / 1e4:.2f} %', row["bound_ppm"] / 1e4) for row in rows]
    return report.bars(lines, "CPU over the reservation, % of one CPU; the stroke is the bound", most, tick, lambda v: f"{v:g} %")


def judge(log):
    rows = parse(log.notes)
    good = {(row["provoked_by"], row["policy"]) for row in rows} == EXPECTED and all(map(within, rows))
    report.table(rows, COLUMNS)
    figures = report.flat(rows, ["provoked_by", "policy", "vm"])
    figures |= {f"{policy}_gain_max_ppm": max((r.get("gain_ppm", 0) for r in rows if r["policy"] == policy), default=None) for policy in COLOR}
    return report.Report(good, rows, COLUMNS, figures, plot(rows))


if __name__ == "__main__":
    report.main("E10", __doc__, judge)
