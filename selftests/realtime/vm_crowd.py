#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""VMs that come and go: each a process in /vm/crowd/N whose guest halts again and again, and which lives for 0.2 s or LIFE.
usage: vm_crowd.py SECONDS RATE [LIFE]"""
import ctypes
import fcntl
import mmap
import os
import struct
import sys
import time

KVM_CREATE_VM, KVM_CREATE_VCPU, KVM_RUN = 0xAE01, 0xAE41, 0xAE80
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
RESET = 0xFFFFFFF0  # where a CPU begins
HALTS = b"\xf4\xeb\xfd"  # 1: hlt; jmp 1b: without an irqchip each hlt ends KVM_RUN
CROWD = "/sys/fs/cgroup/vm/crowd"
AT_ONCE = 32  # or a slow machine would have more and more of them
LIFE = float(sys.argv[3]) if len(sys.argv) > 3 else 0.2


def live(n):
    own = f"{CROWD}/{n}"
    os.makedirs(own, exist_ok=True)
    with open(f"{own}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    kvm = os.open("/dev/kvm", os.O_RDWR)
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    page = mmap.mmap(-1, mmap.PAGESIZE)
    at = RESET % mmap.PAGESIZE
    page[at : at + len(HALTS)] = HALTS
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, RESET - at, mmap.PAGESIZE, address))
    for pause in (LIFE, 0):
        for _ in range(20):
            fcntl.ioctl(vcpu, KVM_RUN, 0)
        time.sleep(pause)


def reap(children, flags):
    """Those that have ended, and their cgroups; how many of these were not gone at once."""
    late = 0
    while children:
        child, _ = os.waitpid(-1, flags)
        if child == 0:
            break
        try:
            os.rmdir(f"{CROWD}/{children.pop(child)}")
        except OSError:
            late += 1
    return late


def main():
    seconds, rate = float(sys.argv[1]), float(sys.argv[2])
    begin = time.monotonic()
    n = late = 0
    children = {}
    while time.monotonic() - begin < seconds:
        child = os.fork()
        if child == 0:
            try:
                live(n)
            finally:
                os._exit(0)
        children[child] = n
        n += 1
        late += reap(children, os.WNOHANG)
        while len(children) >= AT_ONCE:
            time.sleep(0.01)
            late += reap(children, os.WNOHANG)
        time.sleep(max(0, begin + n / rate - time.monotonic()))
    late += reap(children, 0)
    print(f"{n} VMs in {time.monotonic() - begin:.1f} s, {late} cgroups were not gone at once")


main()
