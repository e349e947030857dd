# SPDX-License-Identifier: GPL-2.0-only
"""fail_nth.py - refuse a system call its first, its second, ... allocation, until one call needs no more of them (/proc/self/fail-nth).

    fail_nth.py write FILE TEXT UNDO    after each that was refused FILE must read as before; one that went well is undone with UNDO
    fail_nth.py read FILE
    fail_nth.py mkdir DIR
    fail_nth.py insmod FILE             one that went well is unloaded

Prints how often an allocation failed and how often the call did then. Exit status 1 when a call that failed has changed something, or fails
still when nothing is refused.
"""

import ctypes
import os
import sys

MOST = 2000
SYS_FINIT_MODULE, SYS_DELETE_MODULE = 313, 176   # x86_64

libc = ctypes.CDLL(None, use_errno=True)


def syscall(number, *args):
    if libc.syscall(number, *args):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


class Write:
    def __init__(self, path, text, undo):
        self.path, self.text, self.undo_text = path, text.encode(), undo.encode()
        self.fd = os.open(path, os.O_WRONLY)
        self.before = read(path)

    def call(self):
        os.write(self.fd, self.text)

    def undo(self):
        os.write(self.fd, self.undo_text)

    def changed(self):
        return read(self.path) != self.before

    done = changed


class Read:
    def __init__(self, path):
        self.path = path

    def call(self):
        read(self.path)

    def undo(self):
        pass

    def changed(self):
        return False

    def done(self):
        return True


class Mkdir:
    def __init__(self, path):
        self.path = path

    def call(self):
        os.mkdir(self.path)

    def undo(self):
        os.rmdir(self.path)

    def changed(self):
        return os.path.exists(self.path)

    done = changed


class Insmod:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.name = os.path.basename(path).removesuffix(".ko").encode()

    def call(self):
        syscall(SYS_FINIT_MODULE, self.fd, b"", 0)

    def undo(self):
        syscall(SYS_DELETE_MODULE, self.name, os.O_NONBLOCK)

    def changed(self):
        return os.path.exists(b"/sys/module/" + self.name)

    def done(self):
        return self.changed() and os.path.exists("/sys/fs/cgroup/spare.host")


def main():
    what = {"write": Write, "read": Read, "mkdir": Mkdir, "insmod": Insmod}[sys.argv[1]](*sys.argv[2:])
    nth = os.open("/proc/self/fail-nth", os.O_RDWR)
    failed = refused = 0
    for n in range(1, MOST):
        error = None
        os.pwrite(nth, str(n).encode(), 0)
        try:
            what.call()
        except OSError as e:
            error = e
        left = int(os.pread(nth, 16, 0))
        os.pwrite(nth, b"0", 0)
        if error:
            failed += 1
            refused += 1
            if left:
                sys.exit(f"fails although nothing was refused: {error}")
            if what.changed():
                sys.exit(f"{error} at allocation {n}, and it has changed something")
            continue
        if not what.done():
            sys.exit(f"went well with{'' if left else 'out'} allocation {n}, and has done nothing")
        try:
            what.undo()
        except OSError as e:
            sys.exit(f"{e} where allocation {n} had failed and it is undone")
        if left:
            print(f"{failed} allocations failed (the kernel's own, too), {refused} calls with them")
            return
        failed += 1
    sys.exit(f"needs more than {MOST} allocations")


main()
