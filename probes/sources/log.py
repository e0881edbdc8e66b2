"""Kernel log lines about virtualization, from /dev/kmsg, read without waiting and without consuming anything."""

from __future__ import annotations

import os
import re
from collections import Counter

from virtproof.probes.sources import under, unread, why

PATH = "/dev/kmsg"
KEPT = re.compile(
    r"\bkvm\b|kvm[-_:]|\bvmx\b|\bsvm\b|DMAR|AMD-Vi|IOMMU|\bmicrocode\b|^x86/(cpu|split|tme)"
    r"|Hypervisor detected|virt/tdx|\bSEV|NX \(|secure ?boot|lockdown|SR-IOV|\bsgx\b|x2apic|TSC: Marking",
    re.IGNORECASE,
)
# Addresses of network cards and UUIDs name one machine; a kernel line that carries one loses it.
PERSONAL = re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
KERNEL = 0  # the facility in a record's priority: everything else was written by programs
# Lines that differ in their numbers only: a busy host repeats what one guest did thousands of times.
NUMBERS, ALIKE_LENGTH, MAX_ALIKE = re.compile(r"[0-9a-fx]*[0-9][0-9a-fx]*"), 60, 4
MAX_RECORDS, MAX_LINES, MAX_LENGTH = 50_000, 300, 400
RECORD = 16 << 10  # a shorter buffer than the record makes the driver return EINVAL


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``log``: the lines that matter, oldest first.

    ``complete`` is false when the ring buffer has already lost its beginning: then a missing line says nothing.
    """
    lines: list[str] = []
    seen: Counter[str] = Counter()
    complete = True
    first = True
    try:
        fd = os.open(under(root, PATH), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return {"lines": [], "complete": False, "unread": [unread("*", f"{PATH}: {why(error)}")]}
    try:
        for _ in range(MAX_RECORDS):
            try:
                chunk = os.read(fd, RECORD)
            except BrokenPipeError:  # the record was overwritten while we read
                complete = False
                continue
            except BlockingIOError:
                break
            if not chunk:
                break
            for line in chunk.decode("utf-8", "replace").splitlines():
                header, semicolon, message = line.partition(";")
                if not semicolon or line.startswith(" "):
                    continue
                priority, _, rest = header.partition(",")
                if first:
                    complete = rest.partition(",")[0] == "0"
                    first = False
                if KEPT.search(message) and len(lines) < MAX_LINES and facility(priority) == KERNEL:
                    alike = NUMBERS.sub("", message)[:ALIKE_LENGTH]
                    seen[alike] += 1
                    if seen[alike] <= MAX_ALIKE:
                        lines.append(PERSONAL.sub("(removed)", message[:MAX_LENGTH]))
    except OSError as error:
        return {"lines": lines, "complete": False, "unread": [unread("*", f"{PATH}: {why(error)}")]}
    finally:
        os.close(fd)
    return {"lines": lines, "complete": complete and not first, "unread": []}


def facility(priority: str) -> int:
    """Who wrote a record; the kernel where the number is none."""
    return int(priority) >> 3 if priority.isascii() and priority.isdigit() and len(priority) < 8 else KERNEL
