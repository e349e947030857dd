#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""E1: ping into a busy guest under seven ways of giving it 40 % of a CPU (Cucinotta, Checconi, Giani 2011, Fig. 4 and throughput).

Runs on a KVM host (the virtual one or a real one) as root, with the class unloaded and spared stopped. One guest with one vCPU
lives through all columns on one CPU, everything else stays on another. First the columns under the kernel's own schedulers, then
those of sched_spare, then all of them once more in reverse: what drifts on the machine meanwhile meets all columns alike. Every column
sees the same schedule of packets (e1_probe); latencies are those of packets that found the budget spent, for the unthrottled guest
those of all packets.

A column's packets are sent in parts, each between two samples of the host's speed (tools/speed.cpp): one whose mean is less than 80 % of it is
measured again, at most twice; then the verdict is "not measured", because the machine was too busy. In the virtual host the speed is the
nominal one ($SPARE_PACE), and its dilation is set anew before each part and each try; elsewhere it is what this machine did at the start.

A goal that compares two medians is missed when it is missed beyond the error of the measurement: the 95 % interval of their ratio, from
order statistics (Conover, Practical Nonparametric Statistics, 3.2), lies above the limit; of more than 20 % that excuses nothing. The table
shows it.

Leaves in --out: E1.json (flat; `verdict` pass, fail or not measured), E1.csv (a line per packet), switches-COLUMN.csv (what ran on the
VM's CPU around each packet), throughput.csv (the guest's own reports), report.html. Exit status: 0 pass, 75 not measured,
1 fail or trouble, 2 bad arguments.
"""

import argparse
import csv
import datetime
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from e1_host import GUEST_IP, HERE, TAP, TOO_BUSY, VM, Guest, Reports, SpareClass, Speed, Trouble, run, say, wait_for, write

LIBEXEC = Path("/usr/local/libexec/sched_spare")
CGROUPS = Path("/sys/fs/cgroup")
ROOT = VM.parent
PROVIDER = ROOT / "spare"
STAT_KEYS = {"used_ns", "boost_ns", "lent_ns", "periods", "throttled", "granted", "denied", "expired", "unasked", "blocked", "overruns", "overrun_max_ns",
             "misses", "lat_max_ns", "rx_packets"}
LOST_MS = 1000.0   # an unanswered packet counts as this: the probe's limit
LAPS = 2           # there and back
PART = 24          # packets
FREE = 3           # times as many packets in the unthrottled column, in parts as many times longer
ERROR_MOST = math.log(1.2)
WARM_UP = 6        # packets before each column that do not count: on a path that it meets for the first time the emulator takes 30 to 70 ms


@dataclass(frozen=True)
class Column:
    name: str
    label: str
    kind: str                     # "eevdf", "deadline" or "ours"
    cpu_max: str = "max 100000"
    reservation: str = "max"
    spare: bool = False


COLUMNS = [
    Column("unthrottled", "unthrottled", "eevdf"),
    Column("cpu_max_40_100", "cpu.max 40/100", "eevdf", cpu_max="40000 100000"),
    Column("cpu_max_2_5", "cpu.max 2/5", "eevdf", cpu_max="2000 5000"),
    Column("deadline_40_100", "deadline vCPU 40/100", "deadline"),
    Column("ours_40_100", "ours 40/100", "ours", reservation="40000 100000"),
    Column("ours_40_100_spare", "ours 40/100 + spare 4/10", "ours", reservation="40000 100000", spare=True),
    Column("ours_4_10", "ours 4/10", "ours", reservation="4000 10000"),
]


@dataclass
class Measured:
    """What a column has shown so far."""
    rows: list = field(default_factory=list)        # of E1.csv
    said: dict = field(default_factory=dict)        # by the probe and by spare-speed: a list with a number of each part
    intervals: list = field(default_factory=list)   # of the parts
    switches: list = field(default_factory=list)    # lines
    stat: dict = field(default_factory=dict)        # the class's own account
    warm_up_max_ms: float = 0.0
    laps: int = 0


class Experiment:
    def __init__(self, options):
        self.o = options
        self.out = Path(options.out)
        self.guest = Guest(options.guest)
        self.spare_class = SpareClass()
        self.speed = Speed()
        self.reports = None
        self.measured = {}     # Measured by column
        self.metrics = {}
        self.speeds = []       # before and after each part, in the order of time
        self.too_busy = None   # the label of the column that could not be measured

    # --- set-up

    def prepare(self):
        if os.geteuid() != 0:
            raise Trouble("needs root")
        if SpareClass.loaded():
            raise Trouble("a sched_ext class is loaded; E1 starts without one (stop spared first)")
        if os.cpu_count() < 2:
            raise Trouble("needs two CPUs: one for the VM, one for the rest")
        self.out.mkdir(parents=True, exist_ok=True)
        os.sched_setaffinity(0, {self.o.own_cpu})
        say(self.speed.find())
        write(CGROUPS / "cgroup.subtree_control", "+cpu +io +cpuset")
        for group in (ROOT, VM, PROVIDER):
            group.mkdir(exist_ok=True)
            if group == ROOT:
                write(ROOT / "cgroup.subtree_control", "+cpu +io +cpuset")
        write(VM / "cpuset.cpus", str(self.o.vm_cpu))
        self.guest.make_tap()
        self.reports = Reports()
        say("boot the nested guest (1 vCPU, vhost-net)")
        self.guest.start()
        wait_for("first report of the guest", 20, lambda: self.reports.rows)
        say(f"guest up: {self.guest.serial.read_text().strip().splitlines()[0]}")

    def clean_up(self):
        for step in (self.guest.stop, self.spare_class.down):
            try:
                step()
            except (Trouble, OSError, subprocess.SubprocessError) as trouble:
                print(f"E1: cleaning up: {trouble}", file=sys.stderr)
        for group in (VM, PROVIDER, ROOT):
            for _ in range(50):
                try:
                    group.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)

    # --- columns

    def enter(self, c):
        if c.kind == "ours":
            if not self.spare_class.loaded():
                say("load the module and the class")
                begin = time.monotonic()
                self.spare_class.up()
                self.metrics["class_load_s"] = round(time.monotonic() - begin, 2)
                write(PROVIDER / "spare.cpus", str(self.o.vm_cpu))
                write(PROVIDER / "spare.reservation", "4000 10000")
                write(PROVIDER / "spare.provide", "1")
                write(VM / "spare.cpus", str(self.o.vm_cpu))
                write(VM / "spare.netdev", TAP)
                write(VM / "spare.policy", f"grant_us={self.o.grant_us}")
            self.reserve(c)
            return
        if self.spare_class.loaded():
            say("unload the class and the module")
            self.spare_class.down()
        write(VM / "cpu.max", c.cpu_max)
        if c.kind == "deadline":
            # A deadline task must be allowed on all CPUs of its root domain: make the VM's CPU one of its own for this column.
            for group in (ROOT, VM):
                write(group / "cpuset.cpus.exclusive", str(self.o.vm_cpu))
            write(VM / "cpuset.cpus.partition", "root")
            run("chrt", "--deadline", "-T", 40_000_000, "-D", 100_000_000, "-P", 100_000_000, "-p", 0, self.guest.vcpu)

    def reserve(self, c):
        write(VM / "spare.use", f"/{PROVIDER.relative_to(CGROUPS)}" if c.spare else "none")
        write(VM / "spare.reservation", c.reservation)

    def leave(self, c):
        if c.kind == "deadline":
            run("chrt", "--other", "-p", 0, self.guest.vcpu)
            # Its bandwidth leaves the root domain at its zero-lag time; before that a rebuilt domain would keep it for ever.
            time.sleep(0.5)
            write(VM / "cpuset.cpus.partition", "member")
            for group in (VM, ROOT):
                write(group / "cpuset.cpus.exclusive", "")
        if c.kind != "ours":
            write(VM / "cpu.max", "max 100000")

    def check(self, c):
        if c.kind == "ours":
            self.spare_class.check()

    def measure(self, c):
        """One lap of a column."""
        m = self.measured.setdefault(c, Measured())
        self.speed.set()
        self.enter(c)
        time.sleep(1.0)
        if not m.laps and (c.kind != "ours" or not self.o.rounds):
            begin = time.monotonic()
            time.sleep(self.o.quiet)
            self.note_throughput(c, "unused" if c.spare else "quiet", [(begin, time.monotonic())])
        _, rows = self.probe(c, WARM_UP, self.o.seed + 1)
        m.warm_up_max_ms = max([m.warm_up_max_ms] + [float(r["rtt_us"]) / 1e3 if r["rtt_us"] else LOST_MS for r in rows])
        before = self.read_stat(c)
        lap, part = self.count(c) // LAPS, PART * self.count(c) // self.o.count
        for first in range(m.laps * lap, (m.laps + 1) * lap, part):
            text, rows = self.probe(c, min(part, (m.laps + 1) * lap - first), self.o.seed + first, self.speed.around, first)
            for key, value in dict(line.split() for line in text.splitlines()).items():   # of one that was measured again the last run's
                m.said.setdefault(key, []).append(float(value))
            self.speeds += m.said["speed_before"][-1:] + m.said["speed_after"][-1:]
            m.intervals.append((int(rows[0]["sent_ns"]) / 1e9, int(rows[-1]["sent_ns"]) / 1e9))
            m.switches += (self.out / f"switches-{c.name}.csv").read_text().splitlines()[bool(first):]
            m.rows += rows
        for key, value in self.read_stat(c).items():
            # A maximum is since the class was loaded, the rest counts this column's packets (of all tries).
            m.stat[key] = value if "_max_" in key else m.stat.get(key, 0) + value - before.get(key, 0)
        m.laps += 1
        self.check(c)
        self.leave(c)
        if m.laps == LAPS:
            self.note(c, m)

    def note(self, c, m):
        """The column is complete."""
        (self.out / f"switches-{c.name}.csv").write_text("\n".join(m.switches) + "\n")
        self.note_throughput(c, "pinged", m.intervals)
        for key, values in m.said.items():
            value = {"speed_before": values[0], "speed_after": values[-1], "switches": sum(values), "lost_records": sum(values),
                     "tries": max(values)}.get(key, sum(values) / len(values))
            self.metrics[f"{c.name}_{key}"] = round(value, 5)
        self.metrics[f"{c.name}_warm_up_max_ms"] = m.warm_up_max_ms
        self.metrics |= {f"{c.name}_stat_{key}": value for key, value in m.stat.items()}
        self.note_latency(c, m.rows)

    def count(self, c):
        """Packets of a column, a multiple of LAPS: more where they wait for no exhaustion and no period, and the answers come in two groups."""
        return FREE * self.o.count if c.name == "unthrottled" else self.o.count

    def probe(self, c, count, seed, around=(), first=0):
        """Ping the guest count times: what the probe says in the end, and a row per packet."""
        packets = self.out / f".{c.name}.csv"
        text = run(*around, self.o.probe, "--target", GUEST_IP, "--vm-pid", self.guest.process.pid, "--vcpu-tid", self.guest.vcpu,
                   "--vm-cpu", self.o.vm_cpu, "--own-cpu", self.o.own_cpu, "--count", count, "--first", first + 1, "--seed", seed,
                   *(("--aim-limit", 1, "--spread", 12) if c.name == "unthrottled" else ()), "--column", c.name, "--packets", packets, "--switches", self.out / f"switches-{c.name}.csv", limit_s=3 * (60 + 2 * count))
        with open(packets, newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        packets.unlink()
        return text, rows

    @staticmethod
    def read_stat(c):
        """The class's own account, beside the probe's: counters of spare.stat of the VM and of the provider."""
        stat = {}
        if c.kind != "ours":
            return stat
        for name, group in (("vm", VM), ("provider", PROVIDER)):
            pairs = (line.split() for line in (group / "spare.stat").read_text().splitlines())
            stat |= {f"{name}_{p[0]}": int(p[1]) for p in pairs if len(p) == 2 and p[0] in STAT_KEYS}
        return stat

    def note_throughput(self, c, when, intervals):
        rates = [r for r in (self.reports.throughput(*i) for i in intervals) if r is not None]
        if rates:
            self.metrics[f"{c.name}_throughput_{when}_loops_per_s"] = round(sum(rates) / len(rates), 1)

    def note_latency(self, c, rows):
        spent = [r for r in rows if r["spent"] == "1"]
        counted = rows if c.name == "unthrottled" else spent
        m, n = self.metrics, c.name
        m[f"{n}_packets"] = len(rows)
        m[f"{n}_packets_spent"] = len(spent)
        m[f"{n}_packets_spent_aimed"] = sum(r["kind"] == "aimed" for r in spent)
        m[f"{n}_packets_lost"] = sum(not r["rtt_us"] for r in rows)
        values = sorted(float(r["rtt_us"]) / 1e3 if r["rtt_us"] else LOST_MS for r in counted)
        if not values:
            return
        for name, p in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99), ("max", 100)):
            m[f"{n}_latency_{name}_ms"] = round(percentile(values, p), 3)
        m[f"{n}_latency_p50_error"] = round(median_error(values), 3)
        m[f"{n}_latency_mean_ms"] = round(sum(values) / len(values), 3)
        for what in ("first_vhost", "first_vcpu"):
            first = sorted(float(r[f"{what}_us"]) / 1e3 for r in counted if r[f"{what}_us"])
            if first:
                m[f"{n}_{what}_run_p50_ms"] = round(percentile(first, 50), 3)
        say(f"    {len(spent)} of {len(rows)} packets found the budget spent, {m[f'{n}_packets_lost']} lost; "
            f"p50 {m[f'{n}_latency_p50_ms']:.2f} ms, p99 {m[f'{n}_latency_p99_ms']:.2f} ms")

    def measure_throughput(self, columns):
        """Throughput of our columns without packets, in rounds, so that slow drift of the machine meets all alike."""
        if len(columns) < 2 or not self.o.rounds:
            return
        say(f"throughput of {len(columns)} columns without packets, {self.o.rounds} rounds of {self.o.quiet:g} s each")
        self.speed.set()
        intervals = {c: [] for c in columns}
        used = {c: {} for c in columns}
        for i in range(self.o.rounds):
            for c in columns if i % 2 == 0 else reversed(columns):
                self.reserve(c)
                time.sleep(0.3)
                before, begin = self.read_stat(c), time.monotonic()
                time.sleep(self.o.quiet)
                intervals[c].append((begin, time.monotonic()))
                for key, value in self.read_stat(c).items():
                    used[c][key] = used[c].get(key, 0) + value - before[key]
                self.check(c)
        time.sleep(0.3)
        for c in columns:    # the class's own account of these rounds
            for key in ("vm_used_ns", "vm_boost_ns", "vm_throttled", "vm_granted", "vm_rx_packets"):
                self.metrics[f"{c.name}_quiet_stat_{key}"] = used[c][key]
            self.metrics[f"{c.name}_quiet_share"] = round(used[c]["vm_used_ns"] / 1e9 / sum(b - a for a, b in intervals[c]), 5)
        for c in columns:
            self.note_throughput(c, "unused" if c.spare else "quiet", intervals[c])
        # Neighbours in one round are compared: the speed of an emulated host drifts by more than the 2 % in question.
        with_spare = next((c for c in columns if c.spare), None)
        without = next((c for c in columns if with_spare and not c.spare and c.reservation == with_spare.reservation), None)
        if with_spare and without:
            pairs = [(self.reports.throughput(*a), self.reports.throughput(*b)) for a, b in zip(intervals[with_spare], intervals[without])]
            ratios = sorted(a / b for a, b in pairs if a and b)
            if ratios:
                self.metrics["throughput_unused_spare_ratio"] = round(percentile(ratios, 50), 4)
                self.metrics["throughput_unused_spare_ratio_q1"] = round(percentile(ratios, 25), 4)
                self.metrics["throughput_unused_spare_ratio_q3"] = round(percentile(ratios, 75), 4)

    def measure_all(self):
        """The columns that were measured; `too_busy` says which one was not, and there it ends."""
        chosen = [c for c in COLUMNS if c.name in self.o.columns]
        steps = chosen + chosen[::-1]
        for i, c in enumerate(steps):
            if i == len(chosen):
                self.measure_throughput([c for c in chosen if c.kind == "ours"])
            say(f"{c.label}: {self.count(c) // LAPS} packets; {self.remaining(steps[i:], i < len(chosen))} to go")
            try:
                self.measure(c)
            except Trouble as trouble:
                if trouble.status != TOO_BUSY:
                    raise
                self.too_busy = c.label
                say(f"{c.label}: a part was measured three times, and each time this machine's speed was another:")
                for line in str(trouble).splitlines():
                    say(f"    {line.split(': ')[-2] if line.endswith('not counted') else line}")
                break
        return [c for c in chosen if c in self.measured and self.measured[c].laps == LAPS]

    def remaining(self, steps, rounds):
        """About how long these laps, and the rounds of throughput, take on the outer machine."""
        ours = sum(c.kind == "ours" for c in set(steps)) if rounds else 0
        packets_s = sum((self.o.count / LAPS + WARM_UP) * (0.15 if c.name == "unthrottled" else 0.2) + self.o.count / LAPS / PART for c in steps)
        own_s = len(steps) * (2 + self.o.quiet / 2) + packets_s + ours * self.o.rounds * (self.o.quiet + 0.3)
        minutes = own_s * self.speed.found["dilation"] / 60
        return "less than a minute" if minutes < 0.8 else f"about {minutes:.0f} min"


def percentile(values, p):
    """Of sorted values, linear between ranks."""
    at = (len(values) - 1) * p / 100
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def median_error(values):
    """Relative standard error of the median of sorted values: half of the logarithm of the interval that holds it with 95 %, over 1.96."""
    n = len(values)
    half = 1.96 * math.sqrt(n) / 2
    low, high = (values[min(max(round(n / 2 + d), 0), n - 1)] for d in (-half - 0.5, half - 0.5))
    return math.log(high / low) / 2 / 1.96


def judge(m):
    """The goals whose columns were measured: (text, value, limit, unit, reached)."""
    goals = []

    def at_most(text, a, b, factor, unit="ms"):
        if a not in m or b not in m:
            return
        value, limit = m[a], m[b] * factor
        errors = [m.get(key.replace("_p50_ms", "_p50_error")) for key in (a, b) if "_p50_ms" in key]
        error = 1.96 * math.hypot(*errors) if len(errors) == 2 and None not in errors else 0
        least = value * math.exp(-min(error, ERROR_MOST))
        if value > limit >= least:
            text += f" (beyond it by less than the error: {least:.3g} at least)"
        goals.append((text, value, limit, unit, least <= limit))

    def at_least(text, a, b, factor, unit="loops/s"):
        if a in m and b in m:
            goals.append((text, m[a], m[b] * factor, unit, m[a] >= m[b] * factor))

    ours = "ours_40_100_spare"
    # Three of four packets are aimed at a spent budget; a median of few says nothing.
    for column in COLUMNS:
        if column.name in ("cpu_max_40_100", ours) and f"{column.name}_packets" in m:
            found, sent = m[f"{column.name}_packets_spent"], m[f"{column.name}_packets"]
            goals.append((f"packets that found the budget spent, {column.label}, at least half", found, sent / 2, "", found >= sent / 2))
    at_most("median with spare <= 1/20 of cpu.max 40/100", f"{ours}_latency_p50_ms", "cpu_max_40_100_latency_p50_ms", 1 / 20)
    at_most("median with spare <= 1.2 x unthrottled", f"{ours}_latency_p50_ms", "unthrottled_latency_p50_ms", 1.2)
    at_most("p90 with spare <= 1/8 of cpu.max 40/100", f"{ours}_latency_p90_ms", "cpu_max_40_100_latency_p90_ms", 1 / 8)
    # The 99th percentile of fewer than 50 packets (demo) is the slowest one, which tells of the emulator.
    if m.get(f"{ours}_packets_spent", 0) >= 50:
        at_most("p99 with spare <= 1/4 of cpu.max 40/100", f"{ours}_latency_p99_ms", "cpu_max_40_100_latency_p99_ms", 1 / 4)
    if "throughput_unused_spare_ratio" in m:
        ratio = m["throughput_unused_spare_ratio"]
        goals.append(("throughput, spare attached and unused, >= 0.98 of 40/100 without (median of rounds)", ratio, 0.98, "", ratio >= 0.98))
    at_least("throughput, spare attached and unused, above 4/10",
             f"{ours}_throughput_unused_loops_per_s", "ours_4_10_throughput_quiet_loops_per_s", 1.0)
    at_least("throughput, spare attached and pinged, above 4/10 pinged",
             f"{ours}_throughput_pinged_loops_per_s", "ours_4_10_throughput_pinged_loops_per_s", 1.0)
    # Something has no figures, because too few packets found a budget spent.
    if len(goals) < m.get("goals_wanted", 0):
        goals.append(("goals that have figures", len(goals), m["goals_wanted"], "", False))
    return goals


def print_table(chosen, m):
    def cell(key, scale=1.0, form="{:.2f}"):
        return form.format(m[key] * scale) if key in m else "-"

    head = f"{'':28} {'packets':>8} {'spent':>6} {'lost':>5} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'max ms':>8} {'quiet':>8} {'pinged':>8}"
    print("\n" + head + "   (throughput in thousand loops/s)\n" + "-" * len(head))
    for c in chosen:
        n = c.name
        quiet = f"{n}_throughput_{'unused' if c.spare else 'quiet'}_loops_per_s"
        print(f"{c.label:28} {cell(n + '_packets', form='{:.0f}'):>8} {cell(n + '_packets_spent', form='{:.0f}'):>6} "
              f"{cell(n + '_packets_lost', form='{:.0f}'):>5} "
              + " ".join(f"{cell(f'{n}_latency_{p}_ms'):>8}" for p in ("p50", "p90", "p99", "max"))
              + f" {cell(quiet, 1e-3, '{:.1f}'):>8} {cell(n + '_throughput_pinged_loops_per_s', 1e-3, '{:.1f}'):>8}")
    print("latency: packets that found the budget spent; unthrottled: all packets\n")
    for text, value, limit, unit, reached in judge(m):
        print(f"  {'reached ' if reached else 'MISSED  '} {text}: {value:.4g} against {limit:.4g} {unit}")


def in_plain_words(m):
    """What demo has shown; nothing when a column is missing."""
    spare, capped, free = (m.get(f"{n}_latency_p50_ms") for n in ("ours_40_100_spare", "cpu_max_40_100", "unthrottled"))
    if None in (spare, capped, free):
        return ""
    return (f"A guest that computes all the time had spent its 40 of 100 ms of CPU when a ping arrived. Under cpu.max the answer took\n"
            f"{capped:.1f} ms (median): it waited for the next period. With a spare reservation it took {spare:.1f} ms, {capped / spare:.0f} times less;\n"
            f"a guest that nothing limits takes {free:.1f} ms.")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--columns", default=",".join(c.name for c in COLUMNS), help="names, comma separated (default: all)")
    parser.add_argument("--demo", action="store_true", help="three columns, fewer packets")
    parser.add_argument("--count", type=int, help=f"packets per column (default 96, demo 48); of the unthrottled one {FREE} times as many")
    parser.add_argument("--quiet", type=float, metavar="S", help="length of one throughput measurement (default 2, demo 1)")
    parser.add_argument("--rounds", type=int, help="throughput rounds over our columns (default 6, demo 0)")
    parser.add_argument("--seed", type=int, default=2011)
    parser.add_argument("--grant-us", type=int, default=4000,
                        help="spare CPU per packet: the provider's runtime; an emulated host needs more than the default of spare.policy")
    parser.add_argument("--vm-cpu", type=int, default=1)
    parser.add_argument("--own-cpu", type=int, default=0)
    parser.add_argument("--guest", metavar="DIR", help="image and initrd made by guest/build.sh")
    parser.add_argument("--probe", default=str(LIBEXEC / "e1_probe"))
    options = parser.parse_args()
    if options.demo:
        options.columns = "unthrottled,cpu_max_40_100,ours_40_100_spare"
    options.count = options.count or (48 if options.demo else 96)
    if options.count < LAPS or options.count % LAPS:
        parser.error(f"--count {options.count}: it is divided among {LAPS} laps")
    options.quiet = options.quiet or (1.0 if options.demo else 2.0)
    options.rounds = (0 if options.demo else 6) if options.rounds is None else options.rounds
    options.columns = options.columns.split(",")
    unknown = set(options.columns) - {c.name for c in COLUMNS}
    if unknown:
        parser.error(f"unknown column {', '.join(sorted(unknown))}; there are: {', '.join(c.name for c in COLUMNS)}")
    return options


def write_results(experiment, chosen):
    out, m = experiment.out, experiment.metrics
    names = {c.name for c in chosen}
    m["goals_wanted"] = 9 if len(chosen) == len(COLUMNS) else 5 if names >= {"unthrottled", "cpu_max_40_100", "ours_40_100_spare"} else 1
    goals = judge(m)
    verdict = "not measured" if experiment.too_busy else "pass" if all(g[-1] for g in goals) else "fail"
    speeds = experiment.speeds or [experiment.speed.found["speed_before"]]
    dilations = sorted(m[f"{c.name}_dilation"] for c in chosen)
    m |= {"verdict": verdict, "experiment": "E1", "kernel": platform.release(), "goals": len(goals),
          "goals_missed": sum(not g[-1] for g in goals), "probe_seed": experiment.o.seed, "grant_us": experiment.o.grant_us,
          "dilation": percentile(dilations, 50) if dilations else experiment.speed.found.get("dilation"),
          "speed_wanted": float(experiment.speed.pace or experiment.speed.found["speed_before"]), "speed_before": speeds[0], "speed_after": speeds[-1],
          "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
    if not chosen:
        (out / "E1.json").write_text(json.dumps(m, indent=1, sort_keys=True) + "\n")
        return verdict
    with open(out / "E1.csv", "w", newline="", encoding="utf-8") as f:
        packets = [row for c in chosen for row in experiment.measured[c].rows]
        writer = csv.DictWriter(f, packets[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(packets)
    with open(out / "throughput.csv", "w", encoding="utf-8") as f:
        f.write("host_s,guest_ns,loops\n")
        f.writelines(f"{t:.6f},{g},{n}\n" for t, g, n in experiment.reports.rows)
    (out / "E1.json").write_text(json.dumps(m, indent=1, sort_keys=True) + "\n")
    return verdict


def main():
    options = parse_arguments()
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda number, _: sys.exit(128 + number))
    experiment = Experiment(options)
    try:
        experiment.prepare()
        chosen = experiment.measure_all()
    except Trouble as trouble:
        print(f"E1: {trouble}", file=sys.stderr)
        return 1
    finally:
        experiment.clean_up()
    verdict = write_results(experiment, chosen)
    if chosen:
        print_table(chosen, experiment.metrics)
        try:
            run(sys.executable, HERE / "e1_report.py", options.out, limit_s=60)
        except Trouble as trouble:
            print(f"E1: there is no report: {trouble}", file=sys.stderr)
    print(f"\n{in_plain_words(experiment.metrics)}" if chosen else "")
    print(f"\nE1: {verdict}" + (f": this machine was too busy in the column '{experiment.too_busy}'" if experiment.too_busy else ""))
    return {"pass": 0, "not measured": TOO_BUSY}.get(verdict, 1)


if __name__ == "__main__":
    sys.exit(main())
