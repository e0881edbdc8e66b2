"""PCI functions: what sysfs says of each, and of its configuration space the lists of capabilities.

A function that sleeps is left asleep: of its configuration space nothing is read.  Nobody but root reads beyond the
first 64 bytes.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable

from virtproof.probes.sources import attribute_text, under, unread, why
from virtproof.spec import pci

FOLDER = "/sys/bus/pci/devices"
MAX_DEVICES = 2048
MAX_CAPABILITIES = 64  # of one list
ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
IDENTIFIERS = ("class", "vendor", "device")
NUMBERS = ("numa_node", "sriov_totalvfs", "sriov_numvfs")
LINKS = {"iommu_group": "group", "driver": "driver", "physfn": "physfn"}
ASLEEP = "suspended"

Dword = Callable[[int], int]  # offset -> value; raises OSError


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``pci``."""
    try:
        names = sorted(name for name in os.listdir(under(root, FOLDER)) if ADDRESS.fullmatch(name))
    except OSError as error:
        return {"devices": {}, "unread": [unread("*", f"{FOLDER}: {why(error)}")]}
    devices: dict[str, object] = {}
    missing: dict[str, list[str]] = {}
    for name in names[:MAX_DEVICES]:
        folder = under(root, f"{FOLDER}/{name}")
        devices[name] = device = _attributes(folder)
        if "physfn" in device:
            continue  # a virtual function: its physical function has the capabilities
        try:
            if attribute_text(f"{folder}/power/runtime_status") == ASLEEP:
                raise OSError(None, "the device is suspended and is not woken")
            device.update(_capabilities(folder))
        except OSError as error:
            missing.setdefault(why(error), []).append(name)
    if len(names) > MAX_DEVICES:
        missing[f"only the first {MAX_DEVICES} of {len(names)} functions are kept"] = ["*"]
    entries = [unread("capabilities" if on != ["*"] else "*", _some(reason, on)) for reason, on in missing.items()]
    return {"devices": devices, "unread": entries}


def _attributes(folder: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in IDENTIFIERS:
        value = attribute_text(f"{folder}/{name}")
        found[name] = value if re.fullmatch("0x[0-9a-f]{1,8}", value) else ""
    for name in NUMBERS:
        value = attribute_text(f"{folder}/{name}")
        if re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            found[name] = int(value)
    if (value := attribute_text(f"{folder}/reset_method")) or os.path.exists(f"{folder}/reset"):
        found["reset"] = value[:64]
    for name, key in LINKS.items():
        try:
            found[key] = os.path.basename(os.readlink(f"{folder}/{name}"))[:64]
        except OSError:
            continue  # no such relation
    return found


def _capabilities(folder: str) -> dict[str, object]:
    fd = os.open(f"{folder}/config", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:

        def dword(offset: int) -> int:
            data = os.pread(fd, 4, offset)
            if len(data) != 4:
                raise OSError(None, "configuration space beyond its first 64 bytes is open to root only")
            value: int = struct.unpack("<I", data)[0]
            return value

        return _walk(dword)
    finally:
        os.close(fd)


def _walk(dword: Dword) -> dict[str, object]:
    """The lists of capabilities; both end at a capability that was seen before."""
    found: dict[str, object] = {"extended": []}
    if not dword(pci.STATUS & ~3) >> 16 & pci.STATUS_CAPABILITIES:
        return found
    offset = dword(pci.CAPABILITIES_POINTER) & 0xFC
    express = 0
    for _ in range(MAX_CAPABILITIES):
        if offset < pci.FIRST_CAPABILITY:
            break
        head = dword(offset)
        if head & 0xFF == pci.PCI_EXPRESS:
            express = offset
            found["port_type"] = pci.ExpressCapabilities(head >> 16).port_type
        offset = head >> 8 & 0xFC
    if not express:
        return found
    extended: list[int] = []
    offset, seen = pci.FIRST_EXTENDED, set[int]()
    while offset >= pci.FIRST_EXTENDED and offset not in seen and len(seen) < MAX_CAPABILITIES:
        seen.add(offset)
        try:
            head = pci.ExtendedHeader(dword(offset))
        except OSError:
            break  # a bus without extended configuration space
        if int(head) in {0, 0xFFFF_FFFF}:
            break
        extended.append(head.id)
        if head.id == pci.Extended.ACS:
            both = dword(offset + pci.ACS_CAPABILITY)
            found["acs"] = [both & 0xFFFF, both >> 16]
        offset = head.next & ~3
    found["extended"] = extended
    return found


def _some(reason: str, names: list[str]) -> str:
    return reason if names == ["*"] else f"{reason} ({len(names)} functions, {' '.join(names[:4])} ...)"
