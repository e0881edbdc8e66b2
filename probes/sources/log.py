"""Kernel log lines about virtualization, from /dev/kmsg, read without waiting and without consuming anything."""

from __future__ import annotations

import os
import re

from virtproof.probes.sources import under, unread, why

PATH = "/dev/kmsg"
KEPT = re.compile(
    r"\bkvm\b|kvm[-_:]|\bvmx\b|\bsvm\b|DMAR|AMD-Vi|IOMMU|\bmicrocode\b|^x86/cpu"
    r"|Hypervisor detected|virt/tdx|\bSEV\b|NX \(",
    re.IGNORECASE,
)
MAX_RECORDS, MAX_LINES, MAX_LENGTH = 50_000, 300, 400
RECORD = 16 << 10  # a shorter buffer than the record makes the driver return EINVAL


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``log``: the lines that matter, oldest first.

    ``complete`` is false when the ring buffer has already lost its beginning: then a missing line says nothing.
    """
    lines: list[str] = []
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
                if first:
                    complete = header.split(",")[1:2] == ["0"]
                    first = False
                if KEPT.search(message) and len(lines) < MAX_LINES:
                    lines.append(message[:MAX_LENGTH])
    except OSError as error:
        return {"lines": lines, "complete": False, "unread": [unread("*", f"{PATH}: {why(error)}")]}
    finally:
        os.close(fd)
    return {"lines": lines, "complete": complete and not first, "unread": []}
