# SPDX-License-Identifier: GPL-2.0-only
"""What E1 runs on a KVM host: the guest behind its tap with the reports that it sends, the class with its daemon, and steps that end in
`Trouble` when the host does not do what was asked."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VM = Path("/sys/fs/cgroup/spare_e1/vm")
TAP, NET = "spare_e1", 71
HOST_IP, GUEST_IP, PORT = f"198.18.{NET}.1", f"198.18.{NET}.2", 7171
TOO_BUSY = 75   # EX_TEMPFAIL: the exit status of spare-speed and of an experiment that could not be measured


class Trouble(Exception):
    """The experiment cannot go on; the text says why and what to do. `status`: the exit status of the program that failed."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def say(text):
    """A line of progress; who shows it puts the time before it (lib/ui.sh, stamped)."""
    print(f"== {text}", flush=True)


def write(path, text):
    try:
        Path(path).write_text(text + "\n")
    except OSError as error:
        raise Trouble(f"cannot write '{text}' to {path}: {error.strerror}") from error


def wait_for(what, limit_s, condition, every_s=0.1):
    end = time.monotonic() + limit_s
    while not (result := condition()):
        if time.monotonic() > end:
            raise Trouble(f"{what}: nothing after {limit_s} s")
        time.sleep(every_s)
    return result


def run(*command, limit_s=30):
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as timeout:
        raise Trouble(f"{command[0]}: no end after {limit_s} s") from timeout
    if done.returncode != 0:
        raise Trouble(f"{' '.join(str(c) for c in command)}: {done.stderr.strip() or done.stdout.strip()}", done.returncode)
    return done.stdout


def end(process, limit_s):
    """SIGTERM, and SIGKILL if that is not enough in time."""
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


class Speed:
    """How fast this host's CPUs are to be while a column is measured, in spare-speed's units per second."""

    PROGRAM = "/usr/local/libexec/sched_spare/spare-speed"

    def __init__(self):
        self.command = [self.PROGRAM]
        self.pace = os.environ.get("SPARE_PACE")
        self.found = {}

    def find(self):
        """Measure it (and set the dilation, where there is a pace); what there is to say of it."""
        paced = ["--wanted", self.pace, "--pace"] if self.pace else []
        for _ in range(3 if self.pace else 1):   # the dilation takes up a third of what each is off
            self.found = {k: float(v) for k, v in (line.split() for line in run(*self.command, "--ms", 500, *paced).splitlines())}
        self.command += paced or ["--wanted", self.found["speed_before"]]
        return f"a CPU of this host does {self.found['speed_before'] / 1e3:.0f} thousand units of work per second, its clocks run at 1/{self.found['dilation']:.2f}"

    def set(self):
        """Set the dilation anew, where there is a pace: what is measured next is not between two samples."""
        if self.pace:
            run(*self.command)

    @property
    def around(self):
        """The command before which a measurement's command stands."""
        return [*self.command, "--"]


class Reports:
    """The guest's datagrams: (host time, guest time in ns, loops so far)."""

    def __init__(self):
        self.rows = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST_IP, PORT))
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while True:
            words = self.socket.recv(256).split()
            if len(words) == 4 and words[0] == b"burn":
                self.rows.append((time.monotonic(), int(words[2]), int(words[3])))

    def throughput(self, begin, end):
        """Loops per second between two host times: slope of the least-squares line; None without enough samples."""
        rows = [r for r in self.rows if begin <= r[0] <= end]
        if len(rows) < 5:
            return None
        x = [(r[1] - rows[0][1]) / 1e9 for r in rows]
        y = [r[2] - rows[0][2] for r in rows]
        mx, my = sum(x) / len(x), sum(y) / len(y)
        spread = sum((a - mx) ** 2 for a in x)
        return sum((a - mx) * (b - my) for a, b in zip(x, y)) / spread if spread else None


class Guest:
    def __init__(self, guest_dir):
        self.serial = Path("/tmp") / f"{TAP}.serial"
        self.env = dict(os.environ, **({"SPARE_GUEST": guest_dir} if guest_dir else {}))
        self.process = None
        self.vcpu = 0

    def make_tap(self):
        self._script("--tap-only")

    def start(self):
        self.serial.unlink(missing_ok=True)
        log = open("/tmp/spare_e1.qemu", "w", encoding="utf-8")
        self.process = subprocess.Popen(self._command("--cgroup", str(VM), "--serial", str(self.serial)),
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                raise Trouble("the guest's QEMU ended: " + Path("/tmp/spare_e1.qemu").read_text().strip())
            return self.serial.exists() and "guest_burn:" in self.serial.read_text(errors="replace")

        wait_for("boot of the nested guest", 90, ready, 0.2)
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == "CPU 0/KVM":
                self.vcpu = int(task.name)
        if not self.vcpu:
            raise Trouble("QEMU has no thread named 'CPU 0/KVM'")

    def stop(self):
        if self.process and self.process.poll() is None:
            end(self.process, 10)
        subprocess.run(["ip", "link", "del", TAP], capture_output=True, check=False)

    def _command(self, *args):
        return [str(HERE.parent / "guest/run.sh"), "--tap", TAP, "--net", str(NET), *args]

    def _script(self, *args):
        done = subprocess.run(self._command(*args), capture_output=True, text=True, env=self.env, check=False)
        if done.returncode != 0:
            raise Trouble(done.stderr.strip())


class SpareClass:
    """Module, daemon and class: loaded while our columns are measured."""

    def __init__(self):
        self.daemon = None
        self.inserted = False
        self.seq = None    # the kernel's count of classes that were enabled, when ours was

    @staticmethod
    def _kernel(name):
        file = Path("/sys/kernel/sched_ext") / name
        return file.read_text().strip() if file.exists() else ""

    @classmethod
    def loaded(cls):
        return cls._kernel("state") == "enabled"

    def check(self):
        """Raises Trouble when the class has ended since up(), be it for a moment: what was measured meanwhile is not its."""
        if not self.loaded() or self._kernel("enable_seq") != self.seq:
            raise Trouble("the class was ejected while it was measured; spared said:\n" + self._said(6))

    @staticmethod
    def _said(lines):
        return "\n".join(Path("/tmp/spare_e1.spared").read_text(errors="replace").strip().splitlines()[-lines:])

    def up(self):
        if not Path("/sys/module/sched_spare").exists():
            module = Path("/usr/local/lib/sched_spare/sched_spare.ko")
            run("insmod", module) if module.exists() else run("modprobe", "sched_spare")
            self.inserted = True
        log = open("/tmp/spare_e1.spared", "w", encoding="utf-8")
        self.daemon = subprocess.Popen(["spared"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def enabled():
            if self.daemon.poll() is not None:
                raise Trouble("spared ended: " + self._said(5))
            return self.loaded()

        try:
            wait_for("load of the class by spared", 60, enabled)
        except Trouble as trouble:
            raise Trouble(f"{trouble}; spared said:\n{self._said(5)}") from trouble
        self.seq = self._kernel("enable_seq")

    def down(self):
        if self.daemon and self.daemon.poll() is None:
            end(self.daemon, 20)
        if self.daemon:
            # The class outlives its daemon (LIFE-1) and goes when told.
            run("spared", "--stop", limit_s=60)
        self.daemon = None
        if self.inserted:   # the class's programs hold it for a moment after their end
            wait_for("rmmod sched_spare", 10, lambda: subprocess.run(["rmmod", "sched_spare"], capture_output=True, check=False).returncode == 0)
        self.inserted = False
