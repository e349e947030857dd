#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E2, budget precision: judges the log of deterministic/e2.sh and edf.sh.   e2.py LOG DIR

Prints a table; leaves in DIR E2.json (flat; `verdict` pass or fail), E2.csv (a line per reservation) and E2.svg.
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.
"""

import report

OVERRUN_LIMIT_NS = 100_000
EXPECTED = 6   # reservations: three alone, three together
FIELDS = {"periods": "periods", "mean_ns": "mean_switch_ns", "mean_err_ppm": "error_switch_ppm", "overrun_max_ns": "overrun_max_switch_ns",
          "missed": "missed_switch", "class.mean_ns": "mean_class_ns", "class.mean_err_ppm": "error_class_ppm", "class.overruns": "overruns_class",
          "class.overrun_max_ns": "overrun_max_class_ns", "class.misses": "missed_class"}
COLUMNS = ["reservation", "budget_ns", "bound_ppm", *FIELDS.values()]
SHOWN = ["reservation", "mean_switch_ns", "mean_class_ns", "error_switch_ppm", "error_class_ppm", "overrun_max_switch_ns", "missed_switch", "missed_class"]


def parse(notes):
    """A note "server NAME Q_US P_US BOUND_PPM" opens a row for the keys NAME.*"""
    rows, by_name = [], {}
    for words in notes:
        if words[:1] == ["server"] and len(words) == 5:
            q, p, bound = map(int, words[2:])
            kind = "alone" if bound == 500 else "of_three"
            by_name[words[1]] = row = {"reservation": f"{q // 1000}/{p // 1000}_{kind}", "budget_ns": q * 1000, "bound_ppm": bound}
            rows.append(row)
        elif len(words) == 2 and "." in words[0]:
            name, key = words[0].split(".", 1)
            if name in by_name and key in FIELDS:
                by_name[name][FIELDS[key]] = int(words[1])
    return rows


def reached(row):
    return (all(f in row for f in FIELDS.values())
            and max(abs(row["error_switch_ppm"]), abs(row["error_class_ppm"])) <= row["bound_ppm"]
            and row["overrun_max_switch_ns"] <= OVERRUN_LIMIT_NS and row["overruns_class"] == 0
            and row["missed_switch"] + row["missed_class"] == 0)


def plot(rows):
    width, left, right, height = 860, 190, 20, 44 * len(rows) + 60
    x = lambda ppm: left + (max(-1100, min(1100, ppm)) + 1100) / 2200 * (width - left - right)
    body = []
    for tick in (-1000, -500, 0, 500, 1000):
        body.append(f'<path d="M{x(tick):.1f},10V{height - 44}" stroke="#ccc"/><text x="{x(tick):.1f}" y="{height - 28}" text-anchor="middle">{tick}</text>')
    for i, row in enumerate(rows):
        y, bound = 14 + 44 * i, row["bound_ppm"]
        body.append(f'<rect x="{x(-bound):.1f}" y="{y}" width="{x(bound) - x(-bound):.1f}" height="32" fill="{report.BLUE}" fill-opacity=".14"/>'
                    f'<text x="{left - 12}" y="{y + 21}" text-anchor="end">{row["reservation"].replace("_", " ")}</text>')
        for key, dy, color in (("error_switch_ppm", 10, report.BLUE), ("error_class_ppm", 22, report.ORANGE)):
            if key in row:
                body.append(f'<circle cx="{x(row[key]):.1f}" cy="{y + dy}" r="4.5" fill="{color}"><title>{row[key]} ppm</title></circle>')
    body.append(f'<text x="{left}" y="{height - 8}">error of the mean use, ppm of Q; blue: sched_switch, orange: the class; shaded: bound</text>')
    return report.svg(width, height, body)


def judge(log):
    rows = parse(log.notes)
    report.table(rows, SHOWN)
    return report.Report(len(rows) == EXPECTED and all(map(reached, rows)), rows, COLUMNS, report.flat(rows, ["reservation"]), plot(rows))


if __name__ == "__main__":
    report.main("E2", __doc__, judge)
