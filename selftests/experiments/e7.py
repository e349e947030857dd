#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E7, what the class costs a host without VMs: judges the log of E7.sh.   e7.py LOG DIR

Instructions, of the deterministic host: notes "cost WHO PLACE TEST INSTRUCTIONS P99_NS" of deterministic/e7.sh; at most 1.10 of EEVDF's.
In real time: notes "round PAIR STATE KEY VALUE" of e7_rounds.sh. Of each key the ratio loaded to unloaded within every pair; judged is
the median of the ratios, shown with the range of their middle half. Throughput at least 0.95 of EEVDF's, a wake-up's 99th percentile
at most 1.1 of EEVDF's. The kernel's own schedulers have one round, its ratio is to EEVDF's median.

Prints tables; leaves in DIR E7.json (flat; `verdict` pass or fail), E7.csv (a line per figure) and E7.svg.
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.
"""

import statistics

import report

# key: (what it is, 1: more is better, -1: less is better, the goal for the ratio)
KEYS = {
    "hackbench_s": ("hackbench, sockets, threads: time", -1, 1 / 0.95),
    "hackbench_pipe_s": ("hackbench, pipes, processes: time", -1, 1 / 0.95),
    "pipe_per_s": ("switches/s by pipe", 1, 0.95),
    "futex_per_s": ("switches/s by futex", 1, 0.95),
    "idle_p50_us": ("wake-up on an idle host, median", -1, None),
    "idle_p99_us": ("wake-up on an idle host, p99", -1, 1.1),
    "busy_p50_us": ("wake-up beside hogs, median", -1, None),
    "busy_p99_us": ("wake-up beside hogs, p99", -1, 1.1),
}
PLACES, TESTS = ("root", "leaf"), ("pipe", "chain", "futex", "yield", "timer", "hogged")
PEERS = ("scx_simple", "scx_flatcg")
INSTRUCTIONS_LIMIT = 1.10
COLUMNS = ["figure", "pairs", "eevdf", "class", "ratio", "low", "high", "goal", "reached", *PEERS]


def parse(notes):
    """{key: {pair: {state: value}}}, {(place, test): {who: instructions}}, remarks"""
    rounds, costs, remarks = {}, {}, []
    for words in notes:
        if words[:1] == ["round"] and len(words) == 5 and words[3] in KEYS:
            rounds.setdefault(words[3], {}).setdefault(int(words[1]), {})[words[2]] = float(words[4])
        elif words[:1] == ["cost"] and len(words) == 6:
            costs.setdefault((words[2], words[3]), {})[words[1]] = int(words[4])
        elif words[:1] in (["peer"], ["peers"]):
            remarks.append(" ".join(words))
    return rounds, costs, remarks


def middle_half(values):
    if len(values) < 4:
        return values[0], values[-1]
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


def row_of(figure, what, eevdf, ours, values, sign, goal, peers):
    """values: the ratios, in order"""
    ratio, (low, high) = statistics.median(values), middle_half(values)
    row = {"figure": figure, "what": what, "pairs": len(values), "eevdf": eevdf, "class": ours, "ratio": ratio, "low": low, "high": high, **peers}
    if goal is not None:
        row |= {"goal": goal, "reached": "yes" if (ratio >= goal if sign > 0 else ratio <= goal) else "no"}
    return row


def real_time(rounds):
    rows = []
    for key, (what, sign, goal) in KEYS.items():
        pairs = {i: p for i, p in rounds.get(key, {}).items() if i}
        values = sorted(p["loaded"] / p["unloaded"] for p in pairs.values() if len(p) == 2 and p["unloaded"] > 0)
        if values:
            theirs, ours = (statistics.median(p[s] for p in pairs.values() if s in p) for s in ("unloaded", "loaded"))
            rows.append(row_of(key, what, theirs, ours, values, sign, goal, {p: v / theirs for p, v in rounds[key].get(0, {}).items()}))
    return rows


def instructions(costs):
    rows = []
    for place in PLACES:
        for test in TESTS:
            c = costs.get((place, test), {})
            if {"eevdf", "ours"} <= c.keys():
                rows.append(row_of(f"{place}_{test}_instructions", f"instructions: {test}, cgroup: {place}", c["eevdf"], c["ours"],
                                   [c["ours"] / c["eevdf"]], -1, INSTRUCTIONS_LIMIT, {p: c[p] / c["eevdf"] for p in PEERS if p in c}))
    return rows


def plot(rows):
    width, left, height = 860, 290, 30 * len(rows) + 60
    x = lambda r: left + (max(0.4, min(1.6, r)) - 0.4) / 1.2 * (width - left - 20)
    body = [f'<path d="M{x(t / 10):.1f},10V{height - 44}" stroke="{"#888" if t == 10 else "#ddd"}"/>'
            f'<text x="{x(t / 10):.1f}" y="{height - 28}" text-anchor="middle">{t / 10}</text>' for t in (4, 6, 8, 10, 12, 14, 16)]
    for i, row in enumerate(rows):
        y, color = 26 + 30 * i, report.ORANGE if row.get("reached") == "no" else report.BLUE
        body.append(f'<text x="{left - 12}" y="{y + 5}" text-anchor="end">{row["what"]}</text>'
                    f'<path d="M{x(row["low"]):.1f},{y}H{x(row["high"]):.1f}" stroke="{color}" stroke-width="6" stroke-opacity=".4"/>'
                    f'<circle cx="{x(row["ratio"]):.1f}" cy="{y}" r="5" fill="{color}"><title>{row["ratio"]:.3f}</title></circle>')
        if "goal" in row:
            body.append(f'<path d="M{x(row["goal"]):.1f},{y - 9}V{y + 9}" stroke="#2b2" stroke-width="2"/>')
    body.append(f'<text x="12" y="{height - 8}">ratio of the class to EEVDF: median and middle half of the pairs; green: goal; orange: missed</text>')
    return report.svg(width, height, body)


def judge(log):
    rounds, costs, remarks = parse(log.notes)
    timed, counted = real_time(rounds), instructions(costs)
    rows = timed + counted
    if not rows:
        return None
    report.table(timed, COLUMNS, "in real time")
    report.table(counted, COLUMNS, "instructions")
    for remark in sorted(set(remarks)):
        print(remark)
    if not costs:
        print("instructions were not counted (that takes the deterministic host), and are not judged")
    missed = [r["figure"] for r in rows if r.get("reached") == "no"]
    if missed:
        print("missed: " + " ".join(missed))
    complete = len(timed) == len(KEYS) and (not costs or len(counted) == len(PLACES) * len(TESTS))
    keys = ("eevdf", "class", "ratio", "low", "high", "pairs", *PEERS)
    figures = {f"{r['figure']}_{k}": round(r[k], 6) for r in rows for k in keys if k in r}
    figures |= {"goals_missed": len(missed), "instructions_judged": int(bool(counted))}
    return report.Report(complete and not missed, rows, ["what", *COLUMNS], figures, plot(rows))


if __name__ == "__main__":
    report.main("E7", __doc__, judge)
