#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E6, what packets cost the host: judges the log of deterministic/e6.sh and meter_mixed.sh.   e6.py LOG DIR

Prints tables; leaves in DIR E6.json (flat; `verdict` pass or fail), E6.csv (a line per load) and E6.svg: CPU per packet by size and use of the CPU by
rate, the axes of figures 4 and 5 of Gupta et al. (2006).
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.

A load is DIRECTION:BYTES:BATCH:RATE:KIND (tools/nic.cpp). What a packet costs is the bill's: to the guest softirq and vhost, from it vhost, which carries it over
the bridge; without vhost the emulator's thread in its place. The guest itself is not in it. The weight is what sending costs of what receiving does.
unexplained: softirq of the load that no packet explains, which is the host network's.
verdict pass: all loads and mixes are there, no packet was lost; what is billed through vhost for batches of 8 and more is what schedstat has in the same run within
ACCOUNT_PERMILLE (in smaller ones the kernel's own account of a thread that wakes is what differs); of mixed batches each flow is billed what it takes alone within MIX_PERMILLE; of spared's two models that of packets, bytes and batches is nearer to the bill than that of packets alone.
"""

import json
import statistics

import report

NS_PER_INSTRUCTION = 2   # -icount shift=1
LOADS, MIXED = 54, 14
ACCOUNT_PERMILLE, MIX_PERMILLE = 30, 100
COLUMNS = ["path", "direction", "bytes", "batch", "per_s", "kind", "packets", "lost", "instructions", "softirq", "vhost", "emulator", "unexplained", "account_error_permille",
           "metered_more_permille", "cpu_percent"]


def values(words):
    return {key: int(value) for key, value in zip(words[::2], words[1::2])}


def row_of(path, load, seen, plain):
    direction, size, batch, rate, kind = load.split(":")
    packets = max(seen["packets"], 1)
    softirq = seen["b.softirq_rx"] + seen["b.softirq_tx"]
    vhost = seen["b.vhost"] + seen["b.kthread"]
    emulator = seen["b.emulator"] + seen["b.iothread"] if path == "emulator" else 0
    account = seen["guest"] + seen["vhost"] + seen["peer"]
    bill = softirq + vhost + seen["b.emulator"] + seen["b.iothread"] + seen["b.peer"] + seen["b.network"]
    each = lambda ns: round(ns / NS_PER_INSTRUCTION / packets)
    row = {"path": path, "direction": direction, "bytes": int(size), "batch": int(batch), "per_s": int(rate), "kind": kind, "packets": seen["packets"],
           "lost": seen["lost"], "instructions": each(softirq + vhost + emulator), "softirq": each(softirq), "vhost": each(vhost), "emulator": each(emulator), "unexplained": each(seen["b.network"]),
           "account_error_permille": round(1000 * (bill - account) / account),
           "cpu_percent": round(100 * (softirq + vhost + emulator) / packets * int(rate) / 1e9, 1)}
    if plain:
        before = plain["guest"] + plain["vhost"] + plain["peer"]
        row["metered_more_permille"] = round(1000 * (account - before) / before)
    return row


def parse(notes):
    plain, rows, mixes, model = {}, [], [], {}
    for words in notes:
        if words[:2] == ["load", "plain"]:
            plain[tuple(words[2:4])] = values(words[4:])
        elif words[:2] == ["load", "metered"]:
            rows.append(row_of(*words[2:4], values(words[4:]), plain.get(tuple(words[2:4]))))
        elif words[:1] == ["mix"] and len(words) == 12:
            mixes.append({"way": words[1], "mix": words[2], "flow": words[3]} | values(words[4:]))
        elif words[:1] == ["model"] and len(words) == 2:
            model |= json.loads("{" + words[1])["model"]
    for mix in mixes:
        mix["billed_permille"] = round(1000 * (mix["billed"] - mix["alone"]) / mix["alone"])
        mix["count_permille"] = round(1000 * (mix["count"] - mix["alone"]) / mix["alone"])
    return rows, mixes, model


def model_figures(model):
    """What spared's own fit says in the end: the costs, and by how much each model was off, before it had learned of a second."""
    figures = {}
    for name, title in (("packets", "packets alone (Gupta et al.)"), ("batches", "packets, bytes, batches")):
        of = model.get(name, {})
        print(f"model of {title}: off by {100 * (of.get('error') or 0):.0f} %; " +
              ", ".join(f"{key} {value:.3g}" for key, value in of.items() if key not in ("error", "distinct")) + ("" if of.get("distinct") else "; not told apart"))
        figures |= {f"model_{name}_{key}": value for key, value in of.items() if key != "distinct" and value is not None}
    return figures


class Loads:
    def __init__(self, rows):
        self.rows = rows

    def cost(self, direction, size, batch=1, rate=1000, kind="udp", path="vhost"):
        found = [r["instructions"] for r in self.rows if (r["path"], r["direction"], r["bytes"], r["batch"], r["per_s"], r["kind"]) == (path, direction, size, batch, rate, kind)]
        return found[0] if found else None

    def pairs(self, path):
        """(load, what sending costs, what receiving does) of each load that is in both directions."""
        other = {(r["bytes"], r["batch"], r["per_s"], r["kind"]): r["instructions"] for r in self.rows if r["path"] == path and r["direction"] == "rx"}
        keys = [((r["bytes"], r["batch"], r["per_s"], r["kind"]), r["instructions"]) for r in self.rows if r["path"] == path and r["direction"] == "tx"]
        return [(key, sent, other[key]) for key, sent in keys if other.get(key)]


def sentences(loads, figures):
    """What has become of the paper's findings: that size does not matter, and of its weight of 1.1."""
    said = []
    for direction, name in (("tx", "sent"), ("rx", "received")):
        small, large = loads.cost(direction, 64), loads.cost(direction, 1472)
        one, most = (loads.cost(direction, size, path="tso", kind="tso") for size in (1448, 65000))
        if None in (small, large, one, most):
            continue
        figures[f"{direction}_1472_to_64_permille"] = round(1000 * large / small)
        figures[f"{direction}_65000_to_1448_permille"] = round(1000 * most / one)
        said.append(f"a datagram of 1472 bytes {name} costs {100 * (large - small) / small:.0f} % more than one of 64, a TCP packet of 65000 bytes {most / one:.1f} times one of 1448")
    weights = [sent / received for _, sent, received in loads.pairs("vhost")]
    if not weights:
        return said
    figures |= {"weight_median": round(statistics.median(weights), 3), "weight_least": round(min(weights), 3), "weight_most": round(max(weights), 3)}
    print(f"\nweight (what sending costs of what receiving does): median {figures['weight_median']}, from {figures['weight_least']} to {figures['weight_most']}; Gupta et al. had 1.1")
    print("size (the paper found none of its own): " + "; ".join(said))
    return said


def line(points, x, y, color, name):
    dots = "".join(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" fill="{color}"><title>{name} {a}: {b}</title></circle>' for a, b in points)
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    end = f'<text x="{x(points[-1][0]) + 8:.1f}" y="{y(points[-1][1]) + 4:.1f}" fill="{color}">{name}</text>' if points else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>{dots}{end}'


def panel(left, title, caption, curves, ticks):
    """Curves (name, colour, points) from 0 on, at most `most` of each axis's last tick."""
    width, top, height = 330, 40, 260
    most_x, most_y = ticks[0][-1], ticks[1][-1]
    x, y = (lambda v: left + v / most_x * width), (lambda v: top + height - v / most_y * height)
    body = [f'<text x="{left}" y="22" font-weight="bold">{title}</text><text x="{left}" y="{top + height + 44}">{caption}</text>']
    for v in ticks[0]:
        body.append(f'<path d="M{x(v):.1f},{top}V{top + height}" stroke="#eee"/><text x="{x(v):.1f}" y="{top + height + 18}" text-anchor="middle">{v}</text>')
    for v in ticks[1]:
        body.append(f'<path d="M{left},{y(v):.1f}H{left + width}" stroke="#ddd"/><text x="{left - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v}</text>')
    return body + [line(points, x, y, color, name) for name, color, points in curves]


def up_to(most):
    step = next(s * 10 ** e for e in range(9) for s in (1, 2, 5) if s * 10 ** e * 6 >= most)
    return list(range(0, int(most + step), step))


def plot(rows):
    udp = [r for r in rows if r["path"] == "vhost" and r["kind"] == "udp"]
    def curves(key, value, keep):
        return [(name, color, sorted((r[key], r[value]) for r in udp if r["direction"] == direction and keep(r)))
                for direction, name, color in (("tx", "sent", report.ORANGE), ("rx", "received", report.BLUE))]
    sizes = curves("bytes", "instructions", lambda r: r["batch"] == 1 and r["per_s"] == 1000)
    rates = curves("per_s", "cpu_percent", lambda r: r["batch"] == 1 and r["bytes"] == 256)
    highest = lambda cs: max([b for _, _, points in cs for _, b in points], default=1)
    body = panel(70, "CPU of a packet, by size", "bytes of a datagram; instructions", sizes, ([0, 500, 1000, 1500], up_to(highest(sizes))))
    body += panel(520, "CPU in use, by rate", "packets a second, 256 bytes; % of a CPU", rates, ([0, 10000, 20000, 30000, 40000, 50000], up_to(highest(rates))))
    return report.svg(960, 360, body)


def judge(log):
    rows, mixes, model = parse(log.notes)
    if not rows:
        return None
    shown = ["direction", "bytes", "batch", "per_s", "kind", "instructions", "softirq", "vhost", "emulator", "unexplained", "account_error_permille", "metered_more_permille", "cpu_percent"]
    for path, title in (("vhost", "through vhost-net"), ("tso", "through vhost-net, packets that are not cut (GSO)"), ("emulator", "without vhost: the tap is read and written")):
        report.table([r for r in rows if r["path"] == path], shown, title + "; instructions of a packet")
    report.table(mixes, ["way", "mix", "flow", "packets", "billed_permille", "count_permille"], "mixed batches: off what each flow takes alone, per mille: the bill, and a count of packets")
    figures = {}
    loads = Loads(rows)
    sentences(loads, figures)
    figures |= model_figures(model)
    worst = max((abs(r["account_error_permille"]) for r in rows if r["path"] == "vhost" and r["batch"] >= 8), default=10 ** 6)
    mixed = max([abs(m["billed_permille"]) for m in mixes], default=None)
    figures |= {"loads": len(rows), "lost": sum(r["lost"] for r in rows), "account_error_worst_permille": worst, "mixed_worst_permille": mixed,
                "count_worst_permille": max([abs(m["count_permille"]) for m in mixes], default=None)}
    print(f"bill and schedstat: at most {worst} per mille apart through vhost with batches of 8 and more; mixed batches: at most {mixed} per mille off, a count of packets {figures['count_worst_permille']}")
    figures |= report.flat([{k: r[k] for k in ("path", "direction", "bytes", "batch", "per_s", "instructions")} for r in rows], ["path", "direction", "bytes", "batch", "per_s"])
    learned = figures.get("model_batches_error", 1) < figures.get("model_packets_error", 0)
    good = learned and len(rows) == LOADS and len(mixes) == MIXED and not figures["lost"] and worst <= ACCOUNT_PERMILLE and mixed is not None and mixed <= MIX_PERMILLE
    return report.Report(good, rows, COLUMNS, figures, plot(rows))


if __name__ == "__main__":
    report.main("E6", __doc__, judge)
