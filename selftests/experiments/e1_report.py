#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""e1_report.py DIR: make DIR/report.html, one self-contained page, and DIR/one-packet.svg, its first picture by itself, from what e1.py
left in DIR. Needs nothing but Python."""

import csv
import html
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
from e1 import COLUMNS, judge, percentile  # noqa: E402

LOST_MS = 1000.0
SHADE = {c.name: f"c{i}" for i, c in enumerate(COLUMNS)}   # class names of the style sheet
HERO = "ours_40_100_spare"

STYLE = """
:root{--bg:#fcfcfb;--card:#fff;--ink:#1d2327;--soft:#66707a;--line:#e4e7ea;--grid:#eceff1;--good:#0b7a4b;--bad:#b3261e;
--c0:#7a838c;--c1:#d1495b;--c2:#e08a2b;--c3:#8e5bb5;--c4:#5aa0c8;--c5:#0a8f6a;--c6:#b79a2e;--vcpu:#3f7fbf;--vhost:#f2a33a;--qemu:#d8c9a6;--host:#b9c0c6}
@media(prefers-color-scheme:dark){:root{--bg:#14181b;--card:#1b2024;--ink:#e8ecef;--soft:#9aa5ae;--line:#2b3238;--grid:#262d32;--good:#4cc38a;
--bad:#f2766b;--c0:#9aa5ae;--c1:#f0717f;--c2:#f0a550;--c3:#b98bdc;--c4:#7cc0e6;--c5:#37c99b;--c6:#d8bd55;--vcpu:#5f9fdc;--vhost:#f5b45c;--qemu:#8d7f5f;--host:#59636b}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1020px;margin:0 auto;padding:48px 24px 80px}h1{font-size:34px;line-height:1.2;margin:0 0 10px;letter-spacing:-.02em}
h2{font-size:20px;margin:52px 0 6px;letter-spacing:-.01em}p{margin:6px 0 14px;max-width:74ch}.soft,figcaption{color:var(--soft);font-size:14px}
.lead{font-size:18px;color:var(--soft);max-width:70ch}.chip{display:inline-block;border-radius:99px;padding:2px 12px;font-size:13px;font-weight:600;
border:1.5px solid;margin-bottom:16px}.pass{color:var(--good)}.fail{color:var(--bad)}.not{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(220px,1fr));gap:14px;margin:26px 0}.tile{background:var(--card);
border:1px solid var(--line);border-radius:12px;padding:16px 20px}.tile b{display:block;font-size:34px;letter-spacing:-.02em;line-height:1.25;
font-variant-numeric:tabular-nums}.tile i{font-style:normal;font-size:17px;font-weight:500}.tile span{display:block;font-size:14px;color:var(--soft)}
figure{margin:14px 0 0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px 12px;overflow-x:auto}
svg{display:block;width:100%;min-width:640px;height:auto;font:13px system-ui,sans-serif}svg text{fill:var(--ink)}svg .s{fill:var(--soft)}
.axis{stroke:var(--soft);stroke-width:1}.grid{stroke:var(--grid);stroke-width:1}table{border-collapse:collapse;width:100%;font-size:14.5px;
font-variant-numeric:tabular-nums}th{font-weight:600;color:var(--soft);text-align:right;padding:7px 9px;border-bottom:1.5px solid var(--line)}
td{text-align:right;padding:7px 9px;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left;white-space:nowrap}
tr.hero td{font-weight:650}.wrap{overflow-x:auto}.dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:8px}
code{font-size:.92em}
""" + "".join(f".c{i}{{stroke:var(--c{i});fill:none}}.f{i}{{fill:var(--c{i});background:var(--c{i});stroke:none}}" for i in range(len(COLUMNS)))


def esc(text):
    return html.escape(str(text))


def fill(column):
    return "f" + SHADE[column.name][1:]


def line(x1, y1, x2, y2, cls="grid", extra=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{cls}" {extra}/>'


def text(x, y, content, anchor="start", cls="", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{cls}" {extra}>{esc(content)}</text>'


def svg(width, height, body, title):
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{esc(title)}"><title>{esc(title)}</title>'
            + "".join(body) + "</svg>")


def latencies(column, rows):
    """Milliseconds, sorted, of the packets that count for this column."""
    counted = [r for r in rows if r["spent"] == "1" or column.name == "unthrottled"]
    return sorted(max(0.01, float(r["rtt_us"]) / 1e3) if r["rtt_us"] else LOST_MS for r in counted)


def log_ticks(low, high):
    return [m * 10 ** e for e in range(-2, 4) for m in (1, 2, 5) if low <= m * 10 ** e <= high]


def cdf_plot(data):
    w, h, left, right, top, bottom = 980, 400, 56, 20, 16, 46
    every = [v for _, values in data for v in values]
    low, high = min(every) * 0.85, max(every) * 1.15
    sx = lambda v: left + (math.log(v) - math.log(low)) / (math.log(high) - math.log(low)) * (w - left - right)
    sy = lambda p: h - bottom - p * (h - top - bottom)
    body = []
    for tick in log_ticks(low, high):
        body += [line(sx(tick), sy(0), sx(tick), sy(1)), text(sx(tick), h - bottom + 18, f"{tick:g}", "middle", "s")]
    for p in (0, 0.25, 0.5, 0.75, 1):
        body += [line(left, sy(p), w - right, sy(p)), text(left - 8, sy(p) + 4, f"{p:.0%}", "end", "s")]
    body.append(text((left + w - right) / 2, h - 6, "ping round trip, ms (logarithmic)", "middle", "s"))
    for c, values in data:
        path = f"M{sx(values[0]):.1f},{sy(0):.1f}"
        for i, v in enumerate(values):
            path += f"H{sx(v):.1f}V{sy((i + 1) / len(values)):.1f}"
        width = 3.2 if c.name == HERO else 1.9
        body.append(f'<path d="{path}" class="{SHADE[c.name]}" stroke-width="{width}" stroke-linejoin="round"><title>{esc(c.label)}</title></path>')
    return svg(w, h, body, "Distribution of ping round trips")


def legend(columns):
    return "<p class=soft>" + " &nbsp; ".join(
        f'<span style="white-space:nowrap"><span class="dot {fill(c)}"></span>{esc(c.label)}</span>' for c in columns) + "</p>"


def wait_plot(data):
    """Round trip against how long the budget had been spent when the packet was sent."""
    w, h, left, right, top, bottom = 980, 360, 56, 20, 16, 46
    points = [(c, float(r["spent_for_us"]) / 1e3, float(r["rtt_us"]) / 1e3) for c, rows in data for r in rows if r["spent"] == "1" and r["rtt_us"]]
    ymax = max(80.0, min(160.0, max(p[2] for p in points) * 1.05))
    sx = lambda v: left + min(v, 64) / 64 * (w - left - right)
    sy = lambda v: h - bottom - min(v, ymax) / ymax * (h - top - bottom)
    body = []
    for t in range(0, 61, 10):
        body += [line(sx(t), sy(0), sx(t), sy(ymax)), text(sx(t), h - bottom + 18, t, "middle", "s")]
    for v in range(0, int(ymax) + 1, 20):
        body += [line(left, sy(v), w - right, sy(v)), text(left - 8, sy(v) + 4, v, "end", "s")]
    body += [text((left + w - right) / 2, h - 6, "time since the budget was spent when the packet was sent, ms", "middle", "s"),
             text(left + 6, top + 12, "round trip, ms", "start", "s")]
    for c, x, y in points:
        body.append(f'<circle cx="{sx(x):.1f}" cy="{sy(y):.1f}" r="{4 if c.name == HERO else 3.2}" class="{fill(c)}" fill-opacity=".72">'
                    f"<title>{esc(c.label)}: {y:.1f} ms</title></circle>")
    return svg(w, h, body, "Round trip against time since exhaustion")


def typical_packet(column, rows):
    """The aimed packet whose round trip is nearest to the median of its column's aimed packets; unthrottled: of all."""
    some = [r for r in rows if r["rtt_us"] and (r["spent"] == "1" and r["kind"] == "aimed" or column.name == "unthrottled")]
    if not some:
        return None
    middle = percentile(sorted(float(r["rtt_us"]) for r in some), 50)
    return min(some, key=lambda r: abs(float(r["rtt_us"]) - middle))


def timeline_plot(out, data):
    """One row per column: what ran on the VM's CPU around one packet."""
    w, left, right, row, top = 980, 226, 84, 46, 26
    rows = [(c, p) for c, r in data if (p := typical_packet(c, r))]
    h = top + row * len(rows) + 42
    begin, end = -45.0, 80.0
    sx = lambda v: left + (min(max(v, begin), end) - begin) / (end - begin) * (w - left - right)
    body = [line(sx(t), top, sx(t), h - 38) + text(sx(t), h - 20, t, "middle", "s") for t in range(-40, 81, 20)]
    body.append(text((left + w - right) / 2, h - 3, "ms before and after the packet", "middle", "s"))
    for i, (c, packet) in enumerate(rows):
        y = top + i * row
        body.append(text(left - 12, y + 21, c.label, "end", "", 'font-weight="650"' if c.name == HERO else ""))
        runs = []
        with open(out / f"switches-{c.name}.csv", newline="", encoding="utf-8") as f:
            events = [(float(r["at_us"]) / 1e3, r["next"]) for r in csv.DictReader(f) if r["seq"] == packet["seq"]]
        for (t, who), (u, _) in zip(events, events[1:] + [(end, "")]):
            if who != "idle" and u > begin and t < end:
                if runs and runs[-1][2] == who and t - runs[-1][1] < 0.02:
                    runs[-1][1] = u
                else:
                    runs.append([t, u, who])
        for t, u, who in runs:
            high = 22 if who == "vcpu" else 12
            body.append(f'<rect x="{sx(t):.2f}" y="{y + 27 - high}" width="{max(sx(u) - sx(t), 0.9):.2f}" height="{high}" fill="var(--{who})"/>')
        body.append(line(left, y + 27.5, w - right, y + 27.5, "axis", 'stroke-opacity=".45"'))
        rtt = float(packet["rtt_us"]) / 1e3
        x = sx(rtt)
        body += [f'<path d="M{sx(0):.1f},{y + 36}H{x:.1f}" class="{SHADE[c.name]}" stroke-width="3"/>',
                 f'<circle cx="{x:.1f}" cy="{y + 36}" r="4" class="{fill(c)}"/>',
                 text(x + 8, y + 40, f"{rtt:.1f} ms", "start", "", 'font-weight="600"')]
    body += [line(sx(0), top - 8, sx(0), h - 38, "axis", 'stroke-dasharray="4 3"'), text(sx(0), top - 12, "packet", "middle")]
    return svg(w, h, body, "What ran on the VM's CPU around one packet")


def by_itself(picture):
    """A picture of the page as a file of its own."""
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        "</title>", f"</title><style>{STYLE.replace(chr(10), '')}svg{{background:var(--bg)}}</style>", 1) + "\n"


def throughput_plot(columns, m):
    w, left, right, row = 980, 226, 90, 44
    h = row * len(columns) + 40
    value = lambda c, when: m.get(f"{c.name}_throughput_{when}_loops_per_s")
    bars = [(c, value(c, "unused" if c.spare else "quiet"), value(c, "pinged")) for c in columns]
    most = max(v for _, *pair in bars for v in pair if v) * 1.02
    sx = lambda v: left + v / most * (w - left - right)
    body = []
    for i, (c, quiet, pinged) in enumerate(bars):
        y = i * row + 6
        body.append(text(left - 12, y + 21, c.label, "end", "", 'font-weight="650"' if c.name == HERO else ""))
        for v, offset, opacity, name in ((quiet, 0, 1, "without packets"), (pinged, 16, .5, "pinged")):
            if v:
                body += [f'<rect x="{left}" y="{y + offset}" width="{sx(v) - left:.1f}" height="14" rx="2" class="{fill(c)}" fill-opacity="{opacity}"/>',
                         text(sx(v) + 6, y + offset + 11.5, f"{v / 1e3:.1f} k  {name if i == 0 else ''}", "start", "s")]
    body.append(text(left, h - 8, "loops per second in the guest, thousands: without packets (full colour) and while pinged (pale)", "start", "s"))
    return svg(w, h, body, "Guest throughput")


def table(columns, m):
    def cell(key, scale=1.0, form="{:.2f}"):
        return form.format(m[key] * scale) if key in m else "–"

    body = []
    for c in columns:
        n = c.name
        quiet = f"{n}_throughput_{'unused' if c.spare else 'quiet'}_loops_per_s"
        cells = [cell(f"{n}_packets", form="{:.0f}"), cell(f"{n}_packets_spent", form="{:.0f}"), cell(f"{n}_packets_lost", form="{:.0f}")]
        cells += [cell(f"{n}_latency_{p}_ms") for p in ("p50", "p90", "p99", "max")]
        cells += [cell(quiet, 1e-3, "{:.1f}"), cell(f"{n}_throughput_pinged_loops_per_s", 1e-3, "{:.1f}")]
        body.append(f'<tr{" class=hero" if n == HERO else ""}><td><span class="dot {fill(c)}"></span>{esc(c.label)}</td>'
                    + "".join(f"<td>{v}</td>" for v in cells) + "</tr>")
    head = ["", "packets", "found it spent", "lost", "p50 ms", "p90 ms", "p99 ms", "max ms", "k loops/s", "pinged"]
    return ('<div class=wrap><table><tr>' + "".join(f"<th>{t}</th>" for t in head) + "</tr>" + "".join(body) + "</table></div>")


def goal_table(m):
    rows = [f'<tr><td style="white-space:normal">{esc(t)}</td><td>{v:,.4g}</td><td>{limit:,.4g} {esc(unit)}</td>'
            f'<td class={"pass" if ok else "fail"}><b>{"reached" if ok else "missed"}</b></td></tr>' for t, v, limit, unit, ok in judge(m)]
    return ("<div class=wrap><table><tr><th>goal</th><th>measured</th><th>limit</th><th></th></tr>" + "".join(rows) + "</table></div>")


def tiles(m):
    found = []
    for name, caption in (("cpu_max_40_100", "capped by <code>cpu.max</code> 40/100"), (HERO, "reserved 40/100, spare 4/10 attached"),
                          ("unthrottled", "not capped at all")):
        if f"{name}_latency_p50_ms" in m:
            found.append(f'<div class=tile><b style="color:var(--{SHADE[name]})">{m[f"{name}_latency_p50_ms"]:.1f}<i> ms</i></b>'
                         f'<span>median ping, {caption}; p99 {m[f"{name}_latency_p99_ms"]:.1f} ms</span></div>')
    return f'<div class=tiles>{"".join(found)}</div>'


def speed_text(m):
    speed = f"The CPU did {m.get('speed_before', 0) / 1e3:,.0f} thousand units of work per second before the first column and "
    speed += f"{m.get('speed_after', 0) / 1e3:,.0f} after the last (tools/speed.cpp)"
    if m["dilation"] > 1:
        return (f"The host is emulated, its clocks run at 1/{m['dilation']:.2f}: {speed}; wanted were {m['speed_wanted'] / 1e3:,.0f}, "
                "so that every machine emulates the same, nominal one. Milliseconds still carry noise: compare columns of one boot, not boots. ")
    return f"The host’s clocks are the real ones. {speed}. "


def page(out, m, data):
    columns = [c for c, _ in data]
    by_name = {c.name for c in columns}
    spent = [(c, v) for c, rows in data if (v := latencies(c, rows))]
    lead = "A KVM guest computes all the time and may use 40 ms of CPU in every 100. Its budget is spent; a packet arrives."
    if f"{HERO}_latency_p50_ms" in m and "cpu_max_40_100_latency_p50_ms" in m:
        ratio = m["cpu_max_40_100_latency_p50_ms"] / m[f"{HERO}_latency_p50_ms"]
        lead += f" With the spare reservation it is answered {ratio:.0f} times sooner than under <code>cpu.max</code>, by the medians."
    parts = [
        f'<span class="chip {m["verdict"].split()[0]}">{m["verdict"]}: {m["goals"] - m["goals_missed"]} of {m["goals"]} goals reached</span>',
        "<h1>A packet wakes an exhausted VM</h1>", f"<p class=lead>{lead}</p>", tiles(m),
        "<h2>One packet, as each scheduler treats it</h2>",
        "<p>What ran on the VM’s CPU around one packet sent right after the budget was spent (the one nearest to the median of its kind; "
        "unthrottled: of all packets).</p>",
        "<p class=soft>With SCHED_DEADLINE on the vCPU alone the answer waits twice: until the vCPU’s next budget, and then until that is spent too, because "
        "vhost, which has to send it, does not run while a deadline thread does.</p>" if "deadline_40_100" in by_name else "",
        f"<figure>{timeline_plot(out, data)}<figcaption><span class=dot style='background:var(--vcpu)'></span>vCPU &nbsp; "
        "<span class=dot style='background:var(--vhost)'></span>vhost &nbsp; <span class=dot style='background:var(--qemu)'></span>QEMU’s main thread &nbsp; "
        "<span class=dot style='background:var(--host)'></span>host threads; blank: idle. The bar below runs from the packet to its answer.</figcaption></figure>",
        "<h2>All packets that found the budget spent</h2>",
        f"{legend([c for c, _ in spent])}<figure>{cdf_plot(spent)}<figcaption>Unthrottled: all packets. Unanswered ones count as {LOST_MS:.0f} ms.</figcaption></figure>",
    ]
    if any(r["spent"] == "1" for _, rows in data for r in rows):
        parts += ["<h2>How long a packet waits for the next budget</h2>",
                  "<p>Without spare bandwidth the wait is what is left of the period, so late packets wait less: the falling line. "
                  "With it, the wait no longer depends on when the packet comes.</p>",
                  f"<figure>{wait_plot([d for d in data if d[0].name != 'unthrottled'])}</figure>"]
    parts += [
        "<h2>What it costs the guest’s computation</h2>", f"<figure>{throughput_plot(columns, m)}</figure>",
        "<h2>All figures</h2>", table(columns, m), "<h2>Goals</h2>", goal_table(m),
        "<h2>How it was measured</h2>",
        f"<p class=soft>Kernel {esc(m['kernel'])}, {esc(m['date'])}. One boot, one nested KVM guest (one vCPU, vhost-net) on one CPU, the probe with "
        f"real-time priority on another. Every column gets the same schedule of packets (seed {m['probe_seed']}): a quarter at random times, the rest aimed at the "
        "instant of exhaustion (unthrottled, where there is none: more packets, closer together). “Spent” is read from the kernel’s context-switch records alike for every scheduler: the VM’s CPU went idle while the vCPU "
        f"was runnable. A packet may use {m['grant_us'] / 1e3:g} ms of spare CPU (<code>spare.policy</code>). Throughput is the slope of the guest’s own loop counter. "
        f"{speed_text(m)} Data: E1.json, E1.csv, switches-*.csv, throughput.csv. After Cucinotta, Checconi, Giani, <i>Improving Responsiveness for Virtualized "
        "Networking Under Intensive Computing Workloads</i>, 2011.</p>"]
    return (f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">'
            f"<title>sched_spare E1</title><style>{STYLE}</style><main>{''.join(parts)}</main></html>\n")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    m = json.loads((out / "E1.json").read_text())
    by_column = {}
    with open(out / "E1.csv", newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            by_column.setdefault(row["column"], []).append(row)
    data = [(c, by_column[c.name]) for c in COLUMNS if c.name in by_column]
    (out / "report.html").write_text(page(out, m, data), encoding="utf-8")
    (out / "one-packet.svg").write_text(by_itself(timeline_plot(out, data)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
