"""A trampoline with its table as the ROM of a machine without firmware, and what such a machine says.

``bare.S`` does there what ``trampoline.walk`` does on our monitor; the trampoline's image is the same, byte for byte.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from virtproof.guest_payloads import images, start
from virtproof.guest_payloads.table import CAPACITY, Entry, Observation
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault

ROM_SIZE = 1 << 20  # bytes; it ends at 4 GiB
STUB_SIZE = 1 << 16

MAGIC = b"\xf5VP"
HEADER = struct.Struct("<3scI")  # of every frame: magic, kind, argument
SEEN_SIZE = Observation.reserved.offset  # what is told of an observation

_HANDLERS = {Mode.REAL16: "real16", Mode.COMPAT32: "long", Mode.LONG64: "long"}  # else "prot"
_CPUID = struct.Struct("<6I")


def rom(mode: Mode, entries: Sequence[Entry], fill: Mapping[int, bytes] | None = None) -> bytes:
    """The ROM of a machine that walks ``entries``; ``fill`` maps physical addresses to what is put there before.

    Raises ``BuildError`` where an image is missing, and Fault where it does not fit.
    """
    if len(entries) > CAPACITY:
        raise ValueError(f"{len(entries)} entries, a table holds {CAPACITY}")
    image, stub = images.load(mode.value), images.load("bare")
    handlers = _HANDLERS.get(mode, "prot")
    pieces = {
        image["image"]: image.data,
        image["count"]: _word(len(entries)),
        image["on_start"]: _word(stub[f"start_{handlers}"]),
        image["on_done"]: _word(stub[f"done_{handlers}"]),
        image["table"]: b"".join(map(bytes, entries)),
        **(fill or {}),
    }
    return rom_of(start.variables(stub, mode, image), pieces, low=mode is Mode.REAL16)


def rom_of(variables: Mapping[int, bytes], contents: Mapping[int, bytes], *, low: bool = False) -> bytes:
    """The ROM of a machine with ``contents`` in memory, which is started as ``variables`` say (start.variables).

    ``low``: what serves a trampoline in real mode is there, too.  Raises as ``rom`` does.
    """
    stub = images.load("bare")
    ram = bytearray(_part(stub, "ram_source", "low_source"))
    for address, content in variables.items():
        at = address - stub["ram"]
        ram[at : at + len(content)] = content
    pieces = {
        **contents,
        stub["ram"]: bytes(ram),
        **({stub["low"]: _part(stub, "low_source", "low_end")} if low else {}),
    }
    packed = b"".join(_piece(address, data) for address, data in pieces.items()) + _piece(0, b"")
    if len(packed) > ROM_SIZE - STUB_SIZE:
        raise Fault(
            "making a ROM of the table", f"{len(packed)} bytes, it holds {ROM_SIZE - STUB_SIZE}", "use fewer rows"
        )
    return packed.ljust(ROM_SIZE - STUB_SIZE, b"\xff") + stub.data


# What the machine says.


@dataclass(frozen=True, slots=True)
class Reset:
    """The processor came out of reset."""


@dataclass(frozen=True, slots=True)
class Cpuid:
    """What CPUID says of one leaf."""

    entry: CpuidEntry


@dataclass(frozen=True, slots=True)
class Started:
    """An entry begins."""

    index: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The observation of an entry that has ended."""

    index: int
    observation: Observation


@dataclass(frozen=True, slots=True)
class Ended:
    """The walk is over: the report of DONE or FAULT (docs/guest-protocol.md)."""

    report: int


Said = Reset | Cpuid | Started | Seen | Ended

_PAYLOAD = {b"r": 0, b"c": _CPUID.size, b"s": 0, b"o": SEEN_SIZE, b"z": 0}


class Listener:
    """Takes what comes from the debug console, in pieces of any size.

    The guest may be broken, and a stimulus may write to the console itself: what is no frame is passed over, and no
    more than one frame is kept.
    """

    def __init__(self) -> None:
        self._heard = bytearray()

    def hear(self, data: bytes) -> Iterator[Said]:
        """Yield what is complete."""
        self._heard += data
        while True:
            at = self._heard.find(MAGIC)
            if at < 0:
                del self._heard[: -len(MAGIC) + 1]
                return
            del self._heard[:at]
            if len(self._heard) < HEADER.size:
                return
            _, kind, argument = HEADER.unpack_from(self._heard)
            size = _PAYLOAD.get(kind)
            if size is None:
                del self._heard[:1]
                continue
            if len(self._heard) < HEADER.size + size:
                return
            payload = bytes(self._heard[HEADER.size : HEADER.size + size])
            del self._heard[: HEADER.size + size]
            yield _said(kind, argument, payload)


def behind_frames(heard: bytes | bytearray) -> bytes:
    """What follows the frames that a machine begins with, which the emulator's own words may precede."""
    at = heard.find(MAGIC)
    while at >= 0 and heard.startswith(MAGIC, at) and len(heard) - at >= HEADER.size:
        _, kind, _ = HEADER.unpack_from(heard, at)
        at += HEADER.size + _PAYLOAD.get(kind, 0)
    return bytes(heard[at:]) if at >= 0 else b""


def _said(kind: bytes, argument: int, payload: bytes) -> Said:
    match kind:
        case b"c":
            leaf, subleaf, *values = _CPUID.unpack(payload)
            return Cpuid(CpuidEntry(leaf, subleaf, 0, *values))
        case b"s":
            return Started(argument)
        case b"o":
            return Seen(argument, Observation.from_buffer_copy(payload.ljust(ctypes.sizeof(Observation), b"\0")))
        case b"z":
            return Ended(argument)
        case _:
            return Reset()


def _part(stub: images.Image, first: str, end: str) -> bytes:
    return stub.data[stub[first] - stub["image"] : stub[end] - stub["image"]]


def _piece(address: int, data: bytes) -> bytes:
    if address + len(data) > 1 << 32:
        raise Fault("making a ROM of the table", f"{address:#x} is out of reach for 32-bit code", "leave the row out")
    return struct.pack("<II", address, len(data)) + data


def _word(value: int) -> bytes:
    return struct.pack("<I", value)
