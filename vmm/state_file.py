"""A saved machine as a file.

    offset  size
    0       16    magic: "virtproof-state\\n"
    16      4     version, little-endian
    20      4     length of the header
    24      32    SHA-256 of all that follows
    56            header: JSON, UTF-8; binary values are base64
                  the pages that are not zero, slot by slot, in the order of the header

Nothing in a file is trusted: every number has a bound, sizes must fit, and what is wrong is a StateError.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import struct
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO, get_args

from virtproof.kvm import CpuidEntry
from virtproof.results_json import write_atomically
from virtproof.vmm.backing import HUGE_PAGE, MAKERS, PAGE, Backing
from virtproof.vmm.machine import Irqchip
from virtproof.vmm.memory import PHYSICAL_ADDRESSES
from virtproof.vmm.state import VCPU_SIZES, VM_SIZES, MachineState, SavedSlot, StateError, VcpuState

MAGIC, VERSION = b"virtproof-state\n", 1
MAX_HEADER = 64 << 20
MAX_MEMORY = 64 << 30  # of all slots together, unless the caller allows more
MAX_VCPUS, MAX_SLOTS, MAX_CPUID, MAX_MSRS, MAX_XSAVE = 4096, 4096, 256, 4096, 1 << 20

_HEAD = struct.Struct("<16sII32s")


def write_state(path: str | os.PathLike[str], state: MachineState) -> None:
    """Write ``state`` to ``path``: the whole file or nothing."""
    header = {
        "irqchip": state.irqchip,
        "pit": state.pit,
        "vm": _text_of(state.vm),
        "vcpus": [
            {
                "parts": _text_of(vcpu.parts),
                "cpuid": [astuple(entry) for entry in vcpu.cpuid],
                "msrs": list(vcpu.msrs.items()),
            }
            for vcpu in state.vcpus
        ],
        "memory": [
            {
                "gpa": slot.gpa,
                "size": slot.size,
                "read_only": slot.read_only,
                "log_dirty": slot.log_dirty,
                "backing": slot.backing,
                "runs": [(offset, len(data)) for offset, data in slot.runs],
            }
            for slot in state.memory
        ],
        "devices": state.devices,
        "interrupts": state.interrupts,
        "tsc_khz": state.tsc_khz,
        "missing": state.missing,
    }
    body = json.dumps(header, separators=(",", ":")).encode()
    pieces = [body, *(data for slot in state.memory for _, data in slot.runs)]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    write_atomically(Path(path), b"".join([_HEAD.pack(MAGIC, VERSION, len(body), digest.digest()), *pieces]))


def read_state(path: str | os.PathLike[str], *, max_memory: int = MAX_MEMORY) -> MachineState:
    """Read a file that ``write_state`` has written.  Raises StateError for anything else."""
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _Reader(name, file, max_memory).read()
    except OSError as err:
        raise StateError(f"read {name}", str(err.strerror), "check its name and its permissions") from err


class _Reader:
    def __init__(self, name: str, file: BinaryIO, max_memory: int) -> None:
        self._name, self._file, self._max_memory = name, file, max_memory

    def read(self) -> MachineState:
        magic, version, length, digest = _HEAD.unpack(self._take(_HEAD.size))
        self._check(magic == MAGIC, "it is no saved machine")
        self._check(version == VERSION, f"its version is {version}; this virtproof reads {VERSION}")
        self._check(length <= MAX_HEADER, f"a header of {length} bytes")
        body = self._take(length)
        self._digest = hashlib.sha256(body)
        try:
            header = json.loads(body)
            state = self._state(header)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as err:
            raise self._wrong(f"{type(err).__name__}: {err}") from err
        self._check(not self._file.read(1), "there is more behind its end")
        self._check(self._digest.digest() == digest, "its checksum does not match")
        return state

    def _state(self, header: dict[str, Any]) -> MachineState:
        irqchip = header["irqchip"]
        self._check(irqchip is None or irqchip in get_args(Irqchip), f"an interrupt controller {irqchip!r}")
        vcpus = self._list(header["vcpus"], MAX_VCPUS)
        self._check(bool(vcpus), "no vCPU")
        slots = self._list(header["memory"], MAX_SLOTS)
        self._check(sum(self._number(s["size"], PHYSICAL_ADDRESSES) for s in slots) <= self._max_memory, "its memory")
        vm = self._parts(header["vm"], VM_SIZES)
        states = tuple(self._vcpu(vcpu) for vcpu in vcpus)
        self._check(isinstance(header["interrupts"], dict), "interrupt lines")
        devices = header["devices"]
        self._check(all(isinstance(device, dict) for device in devices.values()), "device state")
        missing = tuple(str(text) for text in self._list(header["missing"], 1 << 16))
        memory = tuple(self._slot(slot) for slot in slots)
        frequency = self._number(header["tsc_khz"], 1 << 32)
        lines: dict[str, Any] = header["interrupts"]
        return MachineState(irqchip, bool(header["pit"]), memory, vm, states, devices, lines, frequency, missing)

    def _vcpu(self, saved: dict[str, Any]) -> VcpuState:
        rows = self._list(saved["cpuid"], MAX_CPUID)
        cpuid = tuple(CpuidEntry(*(self._number(value, 1 << 32) for value in self._list(row, 7))) for row in rows)
        msrs = {}
        for index, value in self._list(saved["msrs"], MAX_MSRS):
            msrs[self._number(index, 1 << 32)] = self._number(value, 1 << 64)
        return VcpuState(self._parts(saved["parts"], VCPU_SIZES), cpuid, msrs)

    def _parts(self, saved: dict[str, Any], sizes: dict[str, int]) -> dict[str, bytes]:
        found = {}
        for name, text in saved.items():
            self._check(name in sizes, f"a part {name!r}")
            data = base64.b64decode(text, validate=True)
            fits = sizes[name] <= len(data) <= MAX_XSAVE if name == "xsave" else len(data) == sizes[name]
            self._check(fits, f"{len(data)} bytes of {name}")
            found[name] = data
        return found

    def _slot(self, saved: dict[str, Any]) -> SavedSlot:
        size, gpa = self._number(saved["size"], PHYSICAL_ADDRESSES), self._number(saved["gpa"], PHYSICAL_ADDRESSES)
        backing: Backing = saved["backing"]
        self._check(backing in MAKERS, f"backing {backing!r}")
        page = HUGE_PAGE if backing == "hugetlb" else PAGE
        self._check(size > 0 and size % page == 0 and gpa % PAGE == 0, f"a slot of {size:#x} bytes at {gpa:#x}")
        runs, end = [], 0
        for offset, length in self._list(saved["runs"], size // PAGE):
            self._number(offset, size)
            self._check(0 < self._number(length, size + 1) <= size - offset, f"a run of {length} bytes")
            self._check(offset >= end and offset % PAGE == 0 == length % PAGE, f"a run at {offset:#x}")
            data = self._take(length)
            self._digest.update(data)
            runs.append((offset, data))
            end = offset + length
        return SavedSlot(gpa, size, bool(saved["read_only"]), bool(saved["log_dirty"]), backing, tuple(runs))

    def _take(self, length: int) -> bytes:
        # In pieces: a length that lies must not take the memory that it names.
        pieces, left = [], length
        while left:
            piece = self._file.read(min(left, 1 << 20))
            if not piece:
                raise self._wrong("it is cut short")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _list(self, value: Any, limit: int) -> list[Any]:
        self._check(isinstance(value, list) and len(value) <= limit, "a list that is none, or too long")
        found: list[Any] = value
        return found

    def _number(self, value: Any, limit: int) -> int:
        self._check(type(value) is int and 0 <= value < limit, f"{value!r} where a number below {limit:#x} belongs")
        found: int = value
        return found

    def _check(self, ok: bool, what: str) -> None:
        if not ok:
            raise self._wrong(what)

    def _wrong(self, what: str) -> StateError:
        return StateError(f"read {self._name}", what, "the file is damaged, of another version, or no saved machine")


def _text_of(parts: Any) -> dict[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in parts.items()}
