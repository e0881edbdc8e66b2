"""MSRs on every CPU, through ``/dev/cpu/N/msr``.  Reads only: the device is opened read-only and nothing is loaded.

An MSR that raises #GP reads as EIO: this processor, or the hypervisor below, does not have it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from errno import EIO
from functools import partial

from virtproof.probes.cpus import group, parse, render
from virtproof.probes.presence import absence
from virtproof.probes.snapshot import Leaf as Registers
from virtproof.probes.snapshot import registers
from virtproof.probes.sources import under, unread, why
from virtproof.spec.x86.msr_presence import PRESENCE, CpuidFlag

ReadMsr = Callable[[int], int]  # raises OSError
OpenCpu = Callable[[int], AbstractContextManager[ReadMsr]]  # raises OSError

NO_SUCH_MSR = "RDMSR raises #GP: this processor, or the hypervisor below it, does not have the register"

REGISTERS = ("eax", "ebx", "ecx", "edx")
# The leaves that tell whether a processor has a register, and the highest leaf of each range.
LEAVES = {0, 0x8000_0000} | {one.leaf for some in PRESENCE.values() for one in some if isinstance(one, CpuidFlag)}
# Every MSR that a fact asks for, and those that explain one.  Reading them has no side effect.
WANTED = tuple(PRESENCE)


def device(root: str) -> OpenCpu:
    """The msr driver of the host whose tree is at ``root``."""
    return partial(_device, root)


def read(cpus: Sequence[int], opener: OpenCpu, cpuid: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    """The snapshot's section ``msr``: each wanted MSR on each of ``cpus``.

    ``cpuid`` are the ``values`` of the snapshot's section of that name.  What a processor cannot have, according to
    it or to another MSR, is not read, and listed as ``absent`` with the reason.
    """
    leaves = _by_cpu(cpuid)
    values: dict[int, list[tuple[int, str]]] = {}
    absent: dict[int, list[tuple[int, str]]] = {}
    missing: dict[tuple[str, str], list[int]] = {}
    readable: list[int] = []
    for cpu in cpus:
        found: dict[int, int] = {}
        register = partial(_register, leaves.get(cpu, {}))
        without: dict[int, str] = {}
        try:
            with opener(cpu) as read_msr:
                readable.append(cpu)
                for index in WANTED:
                    if reason := absence(index, register, found.get):
                        without[index] = reason
                        continue
                    try:
                        found[index] = read_msr(index)
                    except OSError as error:
                        reason = NO_SUCH_MSR if error.errno == EIO else why(error)
                        missing.setdefault((f"{index:#x}", reason), []).append(cpu)
        except OSError as error:
            missing.setdefault(("*", f"/dev/cpu/N/msr: {why(error)}"), []).append(cpu)
            without = {index: reason for index in WANTED if (reason := absence(index, register, found.get))}
        for index, reason in without.items():
            absent.setdefault(index, []).append((cpu, reason))
        for index, value in found.items():
            values.setdefault(index, []).append((cpu, f"{value:#x}"))
    return {
        "how": {"/dev/cpu/N/msr": render(readable)} if readable else {},
        "values": {f"{index:#x}": group(pairs) for index, pairs in values.items()},
        "absent": {f"{index:#x}": group(pairs) for index, pairs in absent.items()},
        "unread": [unread(what, reason, on) for (what, reason), on in missing.items()],
    }


def _by_cpu(cpuid: Mapping[str, Mapping[str, str]]) -> dict[int, dict[int, Registers]]:
    """Of each CPU, subleaf 0 of each leaf that a condition looks at."""
    leaves: dict[int, dict[int, Registers]] = {}
    for leaf in LEAVES:
        for text, cpus in cpuid.get(f"{leaf:08x}.00", {}).items():
            values = registers(text)
            for cpu in parse(cpus):
                leaves.setdefault(cpu, {})[leaf] = values
    return leaves


def _register(leaves: Mapping[int, Registers], leaf: int, register: str) -> int | None:
    values = leaves.get(leaf)
    return None if values is None else values[REGISTERS.index(register)]


@contextmanager
def _device(root: str, cpu: int) -> Iterator[ReadMsr]:
    fd = os.open(under(root, f"/dev/cpu/{cpu}/msr"), os.O_RDONLY | os.O_CLOEXEC)

    def read_msr(index: int) -> int:
        data = os.pread(fd, 8, index)
        if len(data) != 8:
            raise OSError(5, "short read")
        value: int = struct.unpack("<Q", data)[0]
        return value

    try:
        yield read_msr
    finally:
        os.close(fd)
