#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E9, pool sizing: the class in the deterministic host, the simulator and Erlang-B side by side.   e9.py LOG DIR

Judges the log of e9_host.sh. Each of its runs is simulated with the very packets that its VMs got and the phases of their
periods; what a switch, a packet and the network thread cost is measured in the same boot. Erlang-B takes the load that the
simulator offers in a long run with Poisson packets: claims per second times the mean time held.

Prints tables; leaves in DIR E9.json (flat; `verdict` pass or fail), E9.csv (a line per run) and E9.svg.
Exit status: 0 pass, 1 fail or no figures, 2 bad arguments.

verdict pass: every run was measured and lost no packet, no deadline was missed, and the simulator's shares of packets blocked
and denied are within SHARE_LIMIT of the class's, its median and 99th percentile of latency in the plain scenario within
LATENCY_LIMIT_US, and its share lost in the long run within ERLANG_LIMIT of Erlang-B.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import report

SHARE_LIMIT = 0.03
LATENCY_LIMIT_US = 1000
AT_END_US = 500
ERLANG_LIMIT = 0.03
EXPECTED_RUNS = 1 + 18 + 3
LONG_S = 3000
TOOLS = ["/build/userspace/sim/spare-simulate", "/usr/local/libexec/sched_spare/spare-simulate"]


def simulate(system):
    tool = os.environ.get("SPARE_SIMULATE") or next(t for t in TOOLS if os.path.exists(t))
    done = subprocess.run([tool, "--threads", str(os.cpu_count() or 1), "-"], input=json.dumps(system), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tool}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def key_values(words):
    return {k: int(v) if v.lstrip("-").isdigit() else v for k, v in (w.split("=", 1) for w in words)}


def parse(notes):
    """Runs and costs."""
    runs, costs = [], {}
    for words in notes:
        head = words[0] if words else ""
        if head == "run":
            runs.append({"name": words[1], "vms": {}, **key_values(words[2:])})
        elif head == "switch":
            grown = key_values(words[1:])
            costs["switch_ns"] = (grown["used_ns"] - grown["vcpu_ns"]) / max(1, grown["periods"])
        elif head == "generator":
            costs.setdefault("generator_ns", int(words[1]))
        elif head == "vm":
            runs[-1]["vms"][int(words[1])] = {"deadline": int(words[2])}
        elif head == "stat":
            runs[-1]["vms"][int(words[1])]["stat"] = key_values(words[2:])
        elif head == "got":
            runs[-1]["vms"][int(words[1])]["packets"] = [packet(w) for w in words[2:]]
    return runs, costs


def packet(word):
    sent, got = word.split(":")
    return int(sent), None if got[:-1] == "-" else int(got[:-1]), {"o": "own", "f": "free", "b": "busy"}[got[-1]]


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))] if values else 0


def system_of(run, costs, directory):
    """The run as the simulator takes it: packets by the microsecond, periods in phase."""
    first = min(p[0] for vm in run["vms"].values() for p in vm["packets"]) - 1_000_000
    last = max(p[0] for vm in run["vms"].values() for p in vm["packets"])
    path = Path(directory) / "packets.csv"
    path.write_text("".join(f"{p[0] - first},{i}\n" for i, vm in sorted(run["vms"].items()) for p in vm["packets"]))
    period = run["p"]
    vms = [{"reservation": f"{run['q']}/{period}", "pool": 0, "net_us": costs["net_ns"] / 1000,
            "start_us": (vm["deadline"] // 1000 - first) % period,
            "policy": {"grant_us": 2000, "wait": run.get("wait", 1)}} for _, vm in sorted(run["vms"].items())]
    if run["name"] == "latency":
        vms += [{"reservation": "2000/40000"}, {"reservation": "5000/100000"}]
    # Packets of one VM cost its generator; where one reads spare.stat before it sends, that comes before the packet.
    return {"length_s": (last - first) / 1e6 + 0.5, "limit_ppm": 1000000, "switch_us": costs["switch_ns"] / 1000,
            "packet_us": costs["packet_ns"] / 1000, "pools": [{"reservation": f"{run['qs']}/{run['ps']}", "size": run["k"]}],
            "vms": vms, "packets": str(path)}


def compare(run, costs):
    """A row: what the class did and what the simulator says of the same packets."""
    with tempfile.TemporaryDirectory() as directory:
        sim = simulate(system_of(run, costs, directory))
    stats = [vm["stat"] for vm in run["vms"].values()]
    packets = [p for vm in run["vms"].values() for p in vm["packets"]]
    n = len(packets)
    seconds = (max(p[0] for p in packets) - min(p[0] for p in packets)) / 1e6
    row = {"run": run["name"], "k": run["k"], "wait": run.get("wait", 1), "packets": n,
           "rate_hz": round(n / seconds / len(run["vms"]), 2), "misses": sum(s["misses"] for s in stats), "at_end": at_end(run)}
    for key in ("granted", "blocked", "denied", "expired"):
        row[f"class_{key}"] = sum(s[key] for s in stats)
        row[f"sim_{key}"] = sim["total"][key]
    for key in ("blocked", "denied"):
        row[f"class_{key}_share"] = row[f"class_{key}"] / n
        row[f"sim_{key}_share"] = row[f"sim_{key}"] / n
        row[f"error_{key}"] = row[f"sim_{key}_share"] - row[f"class_{key}_share"]
    latencies = [p[1] for p in packets if p[1] is not None]
    for name, p in (("p50", 0.5), ("p99", 0.99)):
        row[f"class_{name}_us"] = percentile(latencies, p)
        row[f"sim_{name}_us"] = sim["all"][f"{name}_ns"] // 1000
    if run["name"] == "latency":
        for found in ("own", "free", "busy"):
            mine = [p[1] for p in packets if p[2] == found and p[1] is not None]
            row[f"class_{found}_n"], row[f"sim_{found}_n"] = len(mine), sim[found]["n"]
            for name, p in (("p50", 0.5), ("p99", 0.99)):
                row[f"class_{found}_{name}_us"] = percentile(mine, p)
                row[f"sim_{found}_{name}_us"] = sim[found][f"{name}_ns"] // 1000
    return row


def at_end(run):
    """The share of packets that come so near the end of a period of their VM that the order of the two is chance: as much may be wrong in the shares."""
    period = run["p"]
    far = [abs((sent - vm["deadline"] // 1000 + period // 2) % period - period // 2) for vm in run["vms"].values() for sent, _, _ in vm["packets"]]
    return sum(us < AT_END_US for us in far) / len(far)


def erlang_b(k, load):
    blocking = 1.0
    for i in range(1, k + 1):
        blocking = load * blocking / (i + load * blocking)
    return blocking


def engset(k, n, alpha):
    blocking = 1.0
    for i in range(1, k + 1):
        offered = (n - i) * alpha * blocking
        blocking = offered / (i + offered)
    return blocking


def long_run(k, rate, wait, costs, broadcast_us=0, vms=12):
    """The pool of the runs above, on fifty CPUs at once, with packets of the simulator's own."""
    replicas = 50
    system = {"cpus": replicas, "length_s": LONG_S / replicas, "warmup_s": 1, "limit_ppm": 1000000,
              "switch_us": costs["switch_ns"] / 1000, "packet_us": costs["packet_ns"] / 1000,
              "pools": [{"reservation": "1000/10000", "size": k}],
              "vms": [{"reservation": "3000/100000", "count": replicas, "spread": True, "cpus": [0], "pool": 0, "net_us": costs["net_ns"] / 1000,
                       "start_us": 100000 * i // vms, "policy": {"grant_us": 2000, "wait": wait},
                       "traffic": {"poisson_hz": rate, "broadcast_us": broadcast_us}} for i in range(vms)]}
    total = (sim := simulate(system))["total"]
    held_s = total["held_ns"] / 1e9 / max(1, total["granted"])
    load = total["asked"] / LONG_S * held_s
    # Claims of a VM that holds nothing, times what one takes: the finite-source load.
    idle_s = vms * LONG_S * (1 - 3000 / 100000) - total["held_ns"] / 1e9
    alpha = total["asked"] / idle_s * held_s
    return {"k": k, "rate_hz": rate, "wait": wait, "broadcast_us": broadcast_us, "claims": total["asked"], "held_ms": held_s * 1e3,
            "load": load, "lost": total["blocked"] / max(1, total["asked"]), "denied": total["denied"] / max(1, total["asked"]),
            "erlang_b": erlang_b(k, load), "engset": engset(k, vms, alpha), "p99_us": sim["all"]["p99_ns"] // 1000}


def plot(rows, models):
    """Left: share denied or lost, class against simulator. Right: lost in the long run against Erlang-B."""
    size, gap, left = 330, 110, 70
    top = max([0.05] + [r[k] for r in rows for k in ("class_blocked_share", "sim_blocked_share")] + [m["lost"] for m in models] + [m["erlang_b"] for m in models])
    body = []
    for panel, (title, across, up) in enumerate((("blocked: share of packets", "class, deterministic host", "simulator, same packets"),
                                                 ("lost: share of claims, nobody waits", "Erlang-B", "simulator"))):
        x0 = left + panel * (size + gap)
        at = lambda v: x0 + v / top * size
        high = lambda v: 30 + size - v / top * size
        body.append(f'<rect x="{x0}" y="30" width="{size}" height="{size}" fill="none" stroke="#999"/>'
                    f'<path d="M{x0},{30 + size}L{x0 + size},30" stroke="#ccc"/><text x="{x0}" y="20">{title}</text>'
                    f'<text x="{x0 + size / 2}" y="{size + 68}" text-anchor="middle">{across}</text>'
                    f'<text transform="translate({x0 - 44},{30 + size / 2}) rotate(-90)" text-anchor="middle">{up}</text>')
        for i in range(5):
            v = top * i / 4
            body.append(f'<text x="{at(v):.1f}" y="{size + 48}" text-anchor="middle">{v:.2f}</text>'
                        f'<text x="{x0 - 6}" y="{high(v) + 4:.1f}" text-anchor="end">{v:.2f}</text>')
        points = ([(r["class_blocked_share"], r["sim_blocked_share"], report.BLUE if not r["wait"] else report.ORANGE, f"{r['run']} k={r['k']}") for r in rows]
                  if panel == 0 else [(m["erlang_b"], m["lost"], report.BLUE, f"k={m['k']} {m['rate_hz']}/s") for m in models])
        body += [f'<circle cx="{at(x):.1f}" cy="{high(y):.1f}" r="4.5" fill="{c}" fill-opacity=".75"><title>{t}</title></circle>' for x, y, c, t in points]
    width, height = left + 2 * size + gap + 30, size + 100
    body.append(f'<text x="{left}" y="{height - 8}">blue: nobody waits; orange: in the order of arrival</text>')
    return report.svg(width, height, body)


def reached(rows, models):
    """Whether all is within its limits, and the largest errors."""
    errors = {"share": max((abs(r[f"error_{k}"]) for r in rows for k in ("blocked", "denied")), default=1),
              "erlang_b": max(abs(m["lost"] - m["erlang_b"]) for m in models),
              "engset": max(abs(m["lost"] - m["engset"]) for m in models)}
    plain = next((r for r in rows if r["run"] == "latency"), None)
    errors["latency_us"] = max(abs(plain[f"sim_{f}_{p}_us"] - plain[f"class_{f}_{p}_us"]) for f in ("own", "free") for p in ("p50", "p99")) if plain else 1e9
    good = (len(rows) == EXPECTED_RUNS and all(r["misses"] == 0 for r in rows) and errors["share"] <= SHARE_LIMIT
            and errors["latency_us"] <= LATENCY_LIMIT_US and errors["erlang_b"] <= ERLANG_LIMIT)
    return good, errors


def judge(log):
    runs, costs = parse(log.notes)
    stats = [vm["stat"] for run in runs for vm in run["vms"].values()]
    if not stats or "switch_ns" not in costs:
        return None
    costs["net_ns"] = sum(s["vhost_ns"] for s in stats) / max(1, sum(s["rx_packets"] for s in stats))
    costs["packet_ns"] = costs.get("generator_ns", 0) + 2 * costs["switch_ns"]
    rows = [compare(run, costs) for run in runs]
    models = [long_run(k, rate, 0, costs) for rate in (2, 5, 12) for k in (1, 2, 3)]
    waiting = [long_run(k, rate, 1, costs) for rate in (2, 5, 12) for k in (1, 2, 3)]
    bursts = [long_run(k, 0, 1, costs, 500000) for k in (1, 2, 3)]
    print("measured: " + ", ".join(f"{k} {v:.0f}" for k, v in sorted(costs.items())))
    report.table(rows,
                 ["run", "k", "wait", "rate_hz", "packets", "class_blocked", "sim_blocked", "class_denied", "sim_denied", "error_blocked", "error_denied", "at_end",
           "class_p50_us", "sim_p50_us", "class_p99_us", "sim_p99_us"],
                 "the class and the simulator, the same packets")
    plain = [{"found": f, **{c: r.get(f"{w}_{f}_{c[len(w) + 1:]}") for w in ("class", "sim") for c in (f"{w}_n", f"{w}_p50_us", f"{w}_p99_us")}}
             for r in rows if r["run"] == "latency" for f in ("own", "free", "busy")]
    report.table(plain, ["found", "class_n", "sim_n", "class_p50_us", "sim_p50_us", "class_p99_us", "sim_p99_us"],
                 "one VM 40/100 ms, provider 4/10 ms: by what a packet found")
    columns = ["k", "rate_hz", "claims", "held_ms", "load", "lost", "erlang_b", "engset"]
    report.table(models, columns, f"nobody waits: simulator ({LONG_S} s) and loss models")
    report.table(waiting, ["k", "rate_hz", "claims", "held_ms", "load", "lost", "denied", "p99_us"], "in the order of arrival: simulator")
    report.table(bursts, ["k", "claims", "held_ms", "load", "lost", "denied", "erlang_b", "p99_us"],
                 "a packet to all twelve VMs every 500 ms: simulator, and Erlang-B at the same load")
    good, errors = reached(rows, models)
    print("\nlargest errors of the simulator: " + ", ".join(f"{k} {report.shown(v)}" for k, v in errors.items()))
    flat = {f"error_{k}": v for k, v in errors.items()} | {f"cost_{k}": v for k, v in costs.items()}
    for row in rows:
        name = f"{row['run']}_k{row['k']}_wait{row['wait']}_{row['rate_hz']:.0f}hz"
        flat |= {f"{name}_{c}": v for c, v in row.items() if c not in ("run", "k", "wait")}
    for m in models + waiting + bursts:
        name = f"long_k{m['k']}_wait{m['wait']}_{'broadcast' if m['broadcast_us'] else str(m['rate_hz']) + 'hz'}"
        flat |= {f"{name}_{c}": v for c, v in m.items() if c not in ("k", "wait", "rate_hz", "broadcast_us")}
    return report.Report(good, rows, list(dict.fromkeys(c for r in rows for c in r)), flat, plot(rows, models))


if __name__ == "__main__":
    report.main("E9", __doc__, judge)
