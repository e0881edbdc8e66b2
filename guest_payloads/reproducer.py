"""A stimulus as a kernel that boots by itself: under any monitor, emulator or boot loader that knows multiboot 1.

``reproducer.S`` does there what ``trampoline.walk`` does here, and judges the observation.  The trampoline's image is
the same, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from virtproof.guest_payloads import elf32, images, start
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.table import Entry
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.spec.fault import Fault
from virtproof.vmm.registers import SpecialRegisters

LOW_END = 0x9F000  # low memory is zeroed up to here; above it is the firmware's extended BIOS data area
HIGH_END = 1 << 20  # how much room a reproducer takes, from 1 MiB up

PASSED, FAILED, LACKING = 0, 1, 2  # exit codes; QEMU's isa-debug-exit makes 2 * code + 1 of them

_REGISTERS = ("eax", "ebx", "ecx", "edx")


@dataclass(frozen=True, slots=True)
class Judged:
    """A masked 64-bit word at ``address`` after the walk, and what it must be.  ``name`` is printed."""

    name: str
    address: int
    want: int
    mask: int = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Needed:
    """A feature that the processor must have: any bit of ``mask`` in a register that CPUID returns."""

    name: str
    leaf: int
    subleaf: int
    register: str
    mask: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What is put into memory before the walk: ``data`` at a physical address, or ``zeros`` bytes of zeros."""

    address: int
    data: bytes = b""
    zeros: int = 0


def event_address() -> int:
    """Where a reproducer keeps the event that the trampoline ended with."""
    return images.load("reproducer")["event"]


def kernel(
    name: str,
    heading: str,
    mode: Mode,
    entry: Entry,
    *,
    pieces: Iterable[Piece] = (),
    needed: Iterable[Needed] = (),
    judged: Iterable[Judged] = (),
) -> bytes:
    """Return the ELF file.  ``name`` and ``heading`` are printed; ``pieces`` go on top of zeroed low memory.

    Raises ``BuildError`` where an image is missing, and Fault where a piece does not fit below 4 GiB.
    """
    image, stub = images.load(mode.value), images.load("reproducer")
    state = start_state(mode, image, SpecialRegisters())
    way_back = _way_back(state)
    data = _Appended(stub)
    told = [*pieces]
    for piece in told:
        end = piece.address + max(piece.zeros, len(piece.data))
        if end > 1 << 32 or (piece.address < stub["image"] + HIGH_END and end > LOW_END):
            raise Fault(
                f"export {name}",
                f"it puts something at {piece.address:#x}, which a reproducer cannot reach or needs for itself",
                "run it with virtproof guests",
            )
    placed = (
        Piece(0, zeros=LOW_END),
        *(piece for piece in told if piece.zeros),
        Piece(image["image"], image.data),
        *([Piece(stub["low"], stub.data[stub["low_source"] - stub["image"] :])] if way_back == "from16" else []),
        Piece(image["count"], _word(1)),
        Piece(image["on_done"], _word(stub[way_back])),
        Piece(image["table"], bytes(entry)),
        *(piece for piece in told if not piece.zeros),
    )
    values = {
        "name": data.text(name),
        "heading": data.text(heading),
        "features": data.rows(
            struct.pack("<5I", data.text(n.name), n.leaf, n.subleaf, _REGISTERS.index(n.register), n.mask)
            for n in needed
        ),
        "pieces": data.rows(
            struct.pack("<3I", p.address, p.zeros or len(p.data), data.append(p.data) if p.data else 0) for p in placed
        ),
        "checks": data.rows(struct.pack("<IIQQ", data.text(j.name), j.address, j.mask, j.want) for j in judged),
    }
    for symbol, value in values.items():
        data.put(stub[symbol], _word(value))
    for address, content in start.variables(stub, mode, image).items():
        data.put(address, content)
    if len(data.image) > HIGH_END:
        raise Fault(f"export {name}", f"{len(data.image)} bytes, a reproducer has {HIGH_END}", "split the case")
    symbols = {**image.symbols, "reproducer": stub["entry"], "report": stub["report"]}
    symbols["stimulus"] = entry.stimulus.code_address
    return elf32.executable(stub["image"], bytes(data.image), stub["entry"], symbols)


class _Appended:
    """The stub's bytes, and behind them what its variables point at."""

    def __init__(self, stub: Image) -> None:
        self.base, self.image = stub["image"], bytearray(stub.data)

    def append(self, content: bytes) -> int:
        self.image += bytes(-len(self.image) % 8)
        at = self.base + len(self.image)
        self.image += content
        return at

    def text(self, text: str) -> int:
        return self.append(text.encode("ascii", "replace") + b"\0")

    def rows(self, rows: Iterable[bytes]) -> int:
        """A table, with a row of zeros behind its last."""
        return self.append(b"".join(rows) + bytes(32))

    def put(self, address: int, content: bytes) -> None:
        self.image[address - self.base : address - self.base + len(content)] = content


def _word(value: int) -> bytes:
    return struct.pack("<I", value)


def _way_back(state: SpecialRegisters) -> str:
    """Which code of the stub a trampoline of this kind can jump to."""
    if state.cs.l:
        return "from64"
    return "from32" if state.cs.db else "from16"
