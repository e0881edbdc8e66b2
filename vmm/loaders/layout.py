"""The RAM of a PC without firmware, and who lies where in it."""

from __future__ import annotations

from bisect import insort
from ctypes import Structure
from typing import NamedTuple

from virtproof.spec.e820 import RangeType
from virtproof.vmm.loaders.image import Kernel, Piece

PAGE = 0x1000
MIB = 1 << 20
CONVENTIONAL_END = 0xA_0000  # video memory and ROMs follow in a PC, up to 1 MiB
HOLE, HOLE_END = 0xC000_0000, 0x1_0000_0000  # APICs, test device, PCI: no RAM
INFORMATION = 0x9000  # above the pages where kernels put the code that starts other processors


class Range(NamedTuple):
    """One row of the memory map; ``end`` is the first byte after it."""

    start: int
    end: int
    type: RangeType = RangeType.RAM


def memory_map(ram: int) -> tuple[Range, ...]:
    """Return the map of ``ram`` bytes that a kernel is told, by address; what exceeds 3 GiB lies from 4 GiB on."""
    low = min(ram, HOLE)
    rows = [Range(0, min(low, CONVENTIONAL_END))]
    if low > CONVENTIONAL_END:
        rows.append(Range(CONVENTIONAL_END, min(low, MIB), RangeType.RESERVED))
    if low > MIB:
        rows.append(Range(MIB, low))
    if ram > low:
        rows.append(Range(HOLE_END, HOLE_END + ram - low))
    return tuple(rows)


class Layout:
    """Hands out memory of one guest: each byte once, and only where the memory map says RAM.  Raises LoadError."""

    def __init__(self, kernel: Kernel, ram: int) -> None:
        self.kernel, self.ram, self.map = kernel, ram, memory_map(ram)
        self._taken: list[tuple[int, int, str]] = []  # start, end, what; by address
        self._pieces: list[Piece] = []

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return tuple(self._pieces)

    @property
    def end(self) -> int:
        """The first byte after everything below the hole."""
        return max((end for _, end, _ in self._taken if end <= HOLE), default=0)

    def put(self, address: int, data: bytes | memoryview, size: int, what: str) -> None:
        """Take ``size`` bytes at ``address`` for ``what``: ``data``, then zeros."""
        end = address + size
        if not any(row.type is RangeType.RAM and row.start <= address and end <= row.end for row in self.map):
            raise self.kernel.refuse(
                f"its {what} at {address:#x}..{end - 1:#x} is outside of the guest's {self.ram // MIB} MiB of RAM "
                f"(which has no RAM from {CONVENTIONAL_END:#x} to {MIB:#x})",
                "link it elsewhere (with ld -n the headers of the file take no memory), or give the guest more memory",
            )
        for start, stop, other in self._taken:
            if address < stop and start < end:
                raise self.kernel.refuse(
                    f"its {what} at {address:#x}..{end - 1:#x} overlaps its {other} at {start:#x}..{stop - 1:#x}"
                )
        insort(self._taken, (address, end, what))
        self._pieces.append(Piece(address, data, size, what))

    def place(self, data: bytes | Structure, what: str, *, above: int = INFORMATION, alignment: int = 16) -> int:
        """Put ``data`` at the first free place from ``above`` on, below 4 GiB, and return the address."""
        content = bytes(data)
        size = max(len(content), 1)
        for row in self.map:
            if row.type is not RangeType.RAM or row.start >= HOLE_END:
                continue
            at = _aligned(max(row.start, above), alignment)
            for start, stop, _ in self._taken:
                if at < stop and start < at + size:
                    at = _aligned(stop, alignment)
            if at + size <= row.end:
                self.put(at, content, size, what)
                return at
        raise self.kernel.refuse(
            f"no room for {size:#x} bytes of {what} in {self.ram // MIB} MiB of RAM", "give the guest more memory"
        )

    def place_text(self, text: bytes, what: str) -> int:
        """Place a string with a zero at its end.  A zero inside ends it early for the guest, as for every reader."""
        return self.place(text + b"\0", what, alignment=1)

    def place_module(self, content: bytes) -> int:
        """Place a module on pages of its own, after all else: kernels take the memory behind themselves for free."""
        return self.place(content, "module", above=self.end, alignment=PAGE)


def _aligned(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment
