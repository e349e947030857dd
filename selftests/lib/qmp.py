#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Save the state of a QEMU whose guest has paused it, let one that has loaded such a state go on, or ask one for something.

qmp.py SOCKET save FILE     wait until the guest pauses the machine (tools/pause.cpp), write its state to FILE, end QEMU
qmp.py SOCKET resume        wait until the state is loaded, go on
qmp.py SOCKET ask COMMAND [KEY=TEXT]...     print what it answers
Status 1 when QEMU ends before that. Spoken: QMP (docs/interop/qmp-spec.rst).
"""
import json
import os
import socket
import sys
import time


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(path):  # QEMU's end ends this, too
            time.sleep(0.05)
        self.lines = self.socket.makefile("r")
        self.events = []
        self.next()  # its greeting
        self.ask("qmp_capabilities")

    def next(self):
        line = self.lines.readline()
        if not line:
            sys.exit("qmp.py: QEMU has ended")
        return json.loads(line)

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = self.next()
            if "event" in answer:
                self.events.append(answer["event"])
            elif "error" in answer:
                sys.exit(f"qmp.py: {command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_for(self, event):
        while event not in self.events:
            self.events.append(self.next().get("event"))

    def until(self, command, *wanted):
        while (status := self.ask(command).get("status")) not in wanted:
            time.sleep(0.02)
        return status


qmp = Qmp(sys.argv[1])
if sys.argv[2] == "save":
    qmp.wait_for("GUEST_PANICKED")
    qmp.ask("migrate", uri=f"file:{sys.argv[3]}.part")
    if qmp.until("query-migrate", "completed", "failed", "cancelled") != "completed":
        sys.exit(f"qmp.py: the state was not saved: {qmp.ask('query-migrate')}")
    os.rename(sys.argv[3] + ".part", sys.argv[3])
    qmp.ask("quit")
elif sys.argv[2] == "ask":
    print(json.dumps(qmp.ask(sys.argv[3], **dict(pair.split("=", 1) for pair in sys.argv[4:]))))
else:
    qmp.until("query-status", "guest-panicked", "paused")
    qmp.ask("cont")
