# SPDX-License-Identifier: GPL-2.0-only
"""What the judges of the experiments share. A judge is a program `eN.py LOG DIR`: it reads the log of the experiment's scripts (lib/runner.sh),
prints tables and a verdict, and leaves in DIR EN.json (flat: a figure with its unit in its name, `verdict` pass, fail or not measured, the
kernel, and by what clock: of the real-time host the dilation and the speed before and after, see tools/speed.cpp), EN.csv and EN.svg.
Its exit status is 0 for pass, 1 for fail or no figures, 2 for bad arguments, 75 where the machine was too busy to measure.
"""

import csv
import datetime
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

BLUE, ORANGE, GREY = "#2a78d6", "#d95f02", "#8a8a8a"


class Log:
    """`notes`: the words of each line "# ..."; `kernel`: of the note "kernel VERSION"; `host`: of the note "host MODE"; `speeds`: what the notes "... KEY VALUE" of
    spare-speed say; `too_busy`: a note "not measured: ..."; `failed`: results that failed or were planned and not reached, and what a script
    left behind or made the kernel complain of."""

    def __init__(self, text):
        self.notes, self.kernel, self.host, self.too_busy = [], "unknown", "unknown", False
        self.speeds = {"speed_before": [], "speed_after": [], "dilation": []}
        passed = failed = planned = 0
        for words in (line.split() for line in text.splitlines()):
            if words[:2] in (["not", "ok"], ["@@", "left"], ["@@", "kernel"]):
                failed += 1
            elif words[:1] == ["ok"]:
                passed += 1
            elif words and words[0].startswith("1.."):
                planned += int(words[0][3:])
            elif words[:2] == ["#", "kernel"]:
                self.kernel = words[2]
            elif words[:2] == ["#", "host"]:
                self.host = words[2]
            elif words[:3] == ["#", "not", "measured:"]:
                self.too_busy = True
            elif words[:1] == ["#"]:
                self.notes.append(words[1:])
                if len(words) > 2 and words[-2] in self.speeds:
                    self.speeds[words[-2]].append(float(words[-1]))
        self.failed = failed + max(0, planned - passed - failed)


@dataclass
class Report:
    good: bool      # what the judge asks is reached (the checks of the scripts are added by main())
    rows: list      # of the CSV, dicts; what a row lacks stays empty
    columns: list   # of the CSV
    figures: dict   # of the JSON
    chart: str      # an SVG


def table(rows, columns, title=""):
    """Print the columns of the rows, each as wide as it needs; "-" for what a row lacks."""
    if title:
        print(f"\n{title}")
    lines = [columns] + [[shown(row.get(c, "-")) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print("  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(line, widths))))


def shown(value):
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def flat(rows, names):
    """The rows' figures under the names of their rows, which are the columns `names` joined."""
    return {"_".join(str(row[n]) for n in names).replace("/", "_") + "_" + key.replace(".", "_"): value
            for row in rows for key, value in row.items() if key not in names}


def svg(width, height, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n')


def bars(rows, caption, most, tick, label=str):
    """Horizontal bars from 0 to `most`, a line of the axis at each multiple of `tick`, which `label` writes.
    A row: (its name, its value, its colour, the text behind the bar, a bound to mark or None)."""
    width, left, right, step = 900, 160, 150, 26
    height = step * len(rows) + 66
    x = lambda v: left + max(0, min(most, v)) / most * (width - left - right)
    body = []
    for i in range(int(most / tick) + 1):
        at = f"{x(i * tick):.1f}"
        body.append(f'<path d="M{at},8V{height - 54}" stroke="#ddd"/><text x="{at}" y="{height - 38}" text-anchor="middle">{label(i * tick)}</text>')
    for i, (name, value, color, text, bound) in enumerate(rows):
        y = 10 + step * i
        body.append(f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{name}</text>'
                    f'<rect x="{left}" y="{y + 2}" width="{max(1.0, x(value) - left):.1f}" height="17" fill="{color}"/>'
                    f'<text x="{max(x(value), x(bound or 0)) + 6:.1f}" y="{y + 15}">{text}</text>')
        if bound:
            body.append(f'<path d="M{x(bound):.1f},{y}v21" stroke="#000" stroke-width="2"/>')
    body.append(f'<text x="12" y="{height - 14}">{caption}</text>')
    return svg(width, height, body)


def clock_of(log):
    """By what clock it was measured."""
    before, after, dilation = log.speeds.values()
    clock = "2 ns per instruction" if log.host == "deterministic" else "dilated" if dilation and max(dilation) > 1 else "real"
    return {"clock": clock, "dilation": statistics.median(dilation) if dilation else None,
            "speed_before": before[0] if before else None, "speed_after": after[-1] if after else None}


def write(out, name, report, log):
    verdict = "not measured" if log.too_busy else "pass" if report.good and log.failed == 0 else "fail"
    figures = report.figures | clock_of(log) | {"checks_failed": log.failed, "verdict": verdict, "kernel": log.kernel,
                                "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    with open(out / f"{name}.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, report.columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(report.rows)
    (out / f"{name}.svg").write_text(report.chart)
    return verdict


def main(name, doc, judge):
    """judge(log) prints its tables and gives a Report, or None when the log has no figures."""
    if len(sys.argv) != 3:
        print(doc, file=sys.stderr)
        sys.exit(2)
    log = Log(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))
    report = judge(log)
    if report is None:
        print("not measured: the machine was too busy" if log.too_busy else "the log has no figures", file=sys.stderr)
        sys.exit(75 if log.too_busy else 1)
    verdict = write(Path(sys.argv[2]), name, report, log)
    print(f"\nverdict: {verdict}" + (f" ({log.failed} checks of the scripts failed)" if log.failed else ""))
    sys.exit({"pass": 0, "not measured": 75}.get(verdict, 1))
