#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E3, isolation under boost: judges the log of deterministic/flood.sh.   e3.py LOG DIR

Three VMs beside one that is boosted and flooded: nothing is sent ("quiet"), packets that fit the host's share ("fits"), more than
fit ("over"). Prints a table; leaves in DIR E3.json (flat; `verdict` pass or fail), E3.csv (a line per VM and case) and E3.svg.
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.

verdict pass: of the packets at least RATE_PERMILLE of nominal were sent; while they fit, the others' use per period is within CHANGE_PPM
of what it was by the class's account and by sched_switch, and no deadline is missed; when they do not fit, the others lose at most what the packets exceed the host's share by.
"""

import report

CASES = {"quiet": report.GREY, "fits": report.BLUE, "over": report.ORANGE}
VMS = 3             # other VMs
RATE_PERMILLE = 990
CHANGE_PPM = 500
FIELDS = {"mean_ns": "use_switch_ns", "class.mean_ns": "use_class_ns", "missed": "missed_switch", "class.misses": "missed_class",
          "overrun_max_ns": "overrun_max_ns"}
COLUMNS = ["vm", "case", "budget_ns", "period_ns", *FIELDS.values(), "change_switch_ppm", "change_class_ppm"]
SHOWN = ["vm", "case", "budget_ns", "use_switch_ns", "use_class_ns", "change_switch_ppm", "change_class_ppm", "missed_switch", "missed_class"]


def parse(notes):
    """Rows of figures, injection by case, single figures. A note "server NAME Q_US P_US CASE" opens a row for the keys NAME.*;
    "inject.CASE.KEY N" and "KEY_ppm N" stand alone."""
    rows, by_name, inject, figures = [], {}, {}, {}
    for words in notes:
        if words[:1] == ["server"] and len(words) == 5:
            by_name[words[1]] = row = {"vm": words[1], "case": words[4], "budget_ns": int(words[2]) * 1000, "period_ns": int(words[3]) * 1000}
            rows.append(row)
        elif len(words) == 2 and words[1].lstrip("-").isdigit():
            head, _, key = words[0].partition(".")
            if head == "inject":
                case, _, key = key.partition(".")
                inject.setdefault(case, {})[key.replace(".", "_")] = int(words[1])
            elif head in by_name and key in FIELDS:
                by_name[head][FIELDS[key]] = int(words[1])
            elif head in ("excess_ppm", "loss_ppm", "flooded"):
                figures[words[0].replace(".", "_")] = int(words[1])
    return rows, inject, figures


def relate(rows):
    """Each row against the same VM's use while nothing was sent."""
    quiet = {row["vm"]: row for row in rows if row["case"] == "quiet"}
    for row in rows:
        for account in ("switch", "class"):
            key = f"use_{account}_ns"
            was = quiet.get(row["vm"], {}).get(key)
            if was and key in row:
                row[f"change_{account}_ppm"] = round((row[key] - was) * 1e6 / was)


def good(rows, inject, figures):
    # Under overload nobody is throttled, so there is no instant at which the class's account is due.
    if len(rows) != VMS * len(CASES) or not all(f in row for row in rows for f in FIELDS.values() if row["case"] != "over" or f == "use_switch_ns"):
        return False
    if inject.get("fits", {}).get("rate_permille", 0) < RATE_PERMILLE:
        return False
    kept = [row for row in rows if row["case"] == "fits"]
    return (all(abs(row["change_class_ppm"]) <= CHANGE_PPM and abs(row["change_switch_ppm"]) <= CHANGE_PPM for row in kept)
            and sum(row["missed_switch"] + row["missed_class"] for row in kept) == 0
            and 0 < figures.get("excess_ppm", 0) and figures.get("loss_ppm", 1e9) <= figures["excess_ppm"])


def plot(rows, inject):
    lines = []
    for row in sorted(rows, key=lambda r: (r["vm"], list(CASES).index(r["case"]))):
        share = row.get("use_switch_ns", 0) / row["budget_ns"] * 100
        by_class = f' (the class: {row["use_class_ns"] / row["budget_ns"] * 100:.2f})' if "use_class_ns" in row else ""
        lines.append((f'{row["vm"]}, {row["case"]}', share, CASES[row["case"]], f'{share:.2f} %{by_class}, {row.get("missed_switch", "?")} missed', 100))
    rates = "; ".join(f'{case}: {inject[case].get("rate")} packets/s' for case in CASES if case in inject)
    return report.bars(lines, f"use per period by sched_switch, % of the budget (stroke: all of it), and deadlines missed; {rates}", 125, 25, lambda v: f"{v} %")


def judge(log):
    rows, inject, figures = parse(log.notes)
    relate(rows)
    report.table(rows, SHOWN)
    report.table([{"case": case, **keys} for case, keys in inject.items()], ["case", "rate", "rate_permille", "cpu_ns_per_packet", "cpu_ppm", "dropped"],
                 "packets of the flooded VM (per mille of the nominal rate, ppm of the CPU, dropped by the full tap)")
    print("\nthe others' loss {loss_ppm} ppm of the CPU, the excess {excess_ppm} ppm".format_map({"loss_ppm": "-", "excess_ppm": "-", **figures}))
    flat = report.flat(rows, ["vm", "case"]) | report.flat([{"name": f"inject_{case}", **keys} for case, keys in inject.items()], ["name"]) | figures
    return report.Report(good(rows, inject, figures), rows, COLUMNS, flat, plot(rows, inject))


if __name__ == "__main__":
    report.main("E3", __doc__, judge)
