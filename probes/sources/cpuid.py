"""CPUID on every CPU.

``/dev/cpu/N/cpuid`` first: it executes the instruction on CPU N and reaches the hypervisor's range.  Where it is
absent or forbidden, ``cpuid_native.get_cpuid_count`` runs under ``sched_setaffinity``; that function asks CPUID
for the highest leaf itself and refuses anything above, so the hypervisor's range stays unread there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeAlias

from virtproof.probes.cpus import group, render
from virtproof.probes.sources import cpuid_helper, under, unread, why
from virtproof.spec.x86.cpuid_hypervisor import POSING

Leaf = tuple[int, int, int, int]  # EAX, EBX, ECX, EDX
ReadLeaf: TypeAlias = "Callable[[int, int], Leaf | None]"  # (leaf, subleaf); None: this way cannot reach the leaf
OpenCpu: TypeAlias = "Callable[[int], AbstractContextManager[ReadLeaf]]"  # raises OSError
Way: TypeAlias = "tuple[str, OpenCpu]"  # how, and the means

BASIC, HYPERVISOR, EXTENDED, CENTAUR = 0x0, 0x4000_0000, 0x8000_0000, 0xC000_0000
MAX_LEAVES = 0x60  # per range; the highest leaves in use are 0x24 and 0x80000028
MAX_SUBLEAVES = 64
HYPERVISOR_BIT = 1 << 31  # of leaf 1 ECX


def ways(root: str) -> tuple[Way, ...]:
    """The ways to execute CPUID on a given CPU, best first.  A tree that is not our own has only its devices."""
    device: Way = ("/dev/cpu/N/cpuid", partial(_device, root))
    if root != "/":
        return (device,)
    helper: tuple[Way, ...] = ((cpuid_helper.HOW, cpuid_helper.open_cpu),) if cpuid_helper.program() else ()
    return (device, *helper, ("cpuid_native under sched_setaffinity", _native))


def read(cpus: Sequence[int], openers: Sequence[Way]) -> dict[str, Any]:
    """The snapshot's section ``cpuid``: every leaf of every range, on each of ``cpus``."""
    how: dict[str, list[int]] = {}
    values: dict[tuple[int, int], list[tuple[int, str]]] = {}
    missing: dict[tuple[str, str], list[int]] = {}
    for cpu in cpus:
        obstacles = []
        for name, opener in openers:
            try:
                with opener(cpu) as leaf_of:
                    leaves = dict(_leaves(leaf_of))
            except OSError as error:
                obstacles.append(f"{name}: {why(error)}")
                continue
            how.setdefault(name, []).append(cpu)
            for key, leaf in leaves.items():
                if leaf is None:
                    missing.setdefault((f"{key[0]:08x}", f"{name} does not reach this range"), []).append(cpu)
                else:
                    values.setdefault(key, []).append((cpu, " ".join(f"{register:08x}" for register in leaf)))
            break
        else:
            missing.setdefault(("*", "; ".join(obstacles) or "no way to execute CPUID"), []).append(cpu)
    return {
        "how": {name: render(on) for name, on in how.items()},
        "values": {f"{leaf:08x}.{sub:02x}": group(pairs) for (leaf, sub), pairs in sorted(values.items())},
        "unread": [unread(what, reason, on) for (what, reason), on in missing.items()],
    }


def _leaves(read_leaf: ReadLeaf) -> Iterator[tuple[tuple[int, int], Leaf | None]]:
    virtual = bool((read_leaf(1, 0) or (0, 0, 0, 0))[2] & HYPERVISOR_BIT)
    for base in (BASIC, HYPERVISOR, EXTENDED, CENTAUR):
        if base == HYPERVISOR and not virtual:
            continue  # on bare metal these leaves echo the highest basic leaf
        first = read_leaf(base, 0)
        if first is None:
            if base == HYPERVISOR:
                yield (base, 0), None
            continue
        highest = max(first[0], base + 1) if base == HYPERVISOR else first[0]  # old KVM says 0 and means 0x40000001
        if not base <= highest < base + 0x1_0000:
            continue  # the processor has no such range
        for leaf in range(base, min(highest, base + MAX_LEAVES) + 1):
            for sub, value in _subleaves(read_leaf, leaf):
                yield (leaf, sub), value
        if base == HYPERVISOR and (second := read_leaf(POSING, 0)) and _names_a_hypervisor(second):
            for leaf in range(POSING, second[0] + 1):
                yield (leaf, 0), read_leaf(leaf, 0)


def _names_a_hypervisor(first: Leaf) -> bool:
    """Is it the first leaf of a range, and not what a leaf that does not exist returns?"""
    return (
        POSING < first[0] <= POSING + 0xFF and struct.pack("<3I", *first[1:]).rstrip(b"\0").isascii() and any(first[1:])
    )


def _subleaves(read_leaf: ReadLeaf, leaf: int) -> Iterator[tuple[int, Leaf]]:
    """Subleaf 0 and those that it, or its successors, announce (Intel SDM vol. 2A, CPUID; AMD APM vol. 3, App. E)."""
    last = read_leaf(leaf, 0)
    if last is None:
        return
    yield 0, last
    zero = last
    for sub in range(1, MAX_SUBLEAVES):
        if not _more(leaf, sub, zero, last) or (value := read_leaf(leaf, sub)) is None:
            return
        last = value
        if any(value) or leaf in {0xB, 0x1F}:
            yield sub, value


def _more(leaf: int, sub: int, zero: Leaf, last: Leaf) -> bool:
    """May there be this subleaf, after subleaf 0 and the last one?"""
    if leaf in {0x4, 0x8000_001D}:  # cache type 0: no more caches
        return bool(last[0] & 0x1F)
    if leaf in {0xB, 0x1F, 0x8000_0026}:  # level type 0: no more levels
        return bool(last[2] & 0xFF00)
    if leaf == 0x12:  # 0 and 1 describe SGX, each other one a section of its memory, until the type is 0
        return sub <= 2 or bool(last[0] & 0xF)
    if leaf == 0x1B:  # type 0: no more targets of PCONFIG
        return bool(last[0] & 0xFFF)
    if leaf in {0x7, 0x14, 0x17, 0x18, 0x1D, 0x20, 0x24}:  # EAX: the highest subleaf
        return sub <= zero[0]
    if leaf in {0xF, 0x10, 0x23, 0x8000_0020}:
        return sub <= 5
    return leaf == 0xD  # a subleaf per state component that XCR0 or XSS may enable; 1 describes XSAVE itself


@contextmanager
def _device(root: str, cpu: int) -> Iterator[ReadLeaf]:
    fd = os.open(under(root, f"/dev/cpu/{cpu}/cpuid"), os.O_RDONLY | os.O_CLOEXEC)

    def read_leaf(leaf: int, sub: int) -> Leaf:
        a, b, c, d = struct.unpack("<4I", _exactly(fd, 16, leaf | sub << 32))
        return a, b, c, d

    try:
        yield read_leaf
    finally:
        os.close(fd)


def _exactly(fd: int, size: int, offset: int) -> bytes:
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise OSError(5, "short read")
    return data


@contextmanager
def _native(cpu: int) -> Iterator[ReadLeaf]:
    try:
        from cpuid_native import get_cpuid_count  # noqa: PLC0415  (a C extension; the device makes it needless)
    except ImportError as error:
        raise OSError(2, "cpuid_native is not installed") from error

    def read_leaf(leaf: int, sub: int) -> Leaf | None:
        valid, a, b, c, d = get_cpuid_count(leaf, sub)  # the registers are not initialised where valid is 0
        return (a, b, c, d) if valid else None

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield read_leaf
    finally:
        os.sched_setaffinity(0, before)
