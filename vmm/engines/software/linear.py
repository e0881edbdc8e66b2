"""Linear memory as the processor itself reads and writes it when it delivers an event: page walks with A and D bits.

Intel SDM vol. 3A, "Paging".  What the translator does for instructions is done here for descriptors, stacks and the
bytes of instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.exception import PageFaultErrorCode, Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.paging import is_canonical
from virtproof.vmm.engines.software.cpu import FULL, Cpu

PHYSICAL_BITS = 40  # that the translator has

_ADDRESS = 0x000F_FFFF_FFFF_F000
_P, _RW, _US, _A, _D, _PS = 1, 2, 4, 0x20, 0x40, 0x80
_PG, _WP, _PSE, _PAE, _SMAP = Cr0.pg.mask, Cr0.wp.mask, Cr4.pse.mask, Cr4.pae.mask, Cr4.smap.mask
_NXE, _AC = Efer.nxe.mask, Rflags.ac.mask
_CODE_P, _CODE_W, _CODE_U, _CODE_RSVD = (
    field.mask for field in (PageFaultErrorCode.p, PageFaultErrorCode.w, PageFaultErrorCode.u, PageFaultErrorCode.rsvd)
)


class Raised(Exception):
    """An exception of the guest."""

    def __init__(self, vector: Vector, error_code: int = 0, cr2: int | None = None) -> None:
        super().__init__(vector, error_code, cr2)
        self.vector, self.error_code, self.cr2 = vector, error_code, cr2


class Physical(Protocol):
    """Guest-physical memory, devices included; values are little-endian."""

    def read(self, address: int, size: int) -> int: ...
    def write(self, address: int, size: int, value: int) -> None: ...
    def bytes_at(self, address: int, size: int) -> bytes:
        """Memory only, and what there is of it; no device is asked."""


class Found(NamedTuple):
    """Where a linear address leads, and what all levels allow."""

    physical: int
    writeable: bool
    user: bool
    entries: tuple[tuple[int, int], ...]  # address and value, from the top, without the PDPTEs of PAE
    entry_size: int


class LinearMemory:
    """The address space of a processor."""

    def __init__(self, cpu: Cpu, physical: Physical) -> None:
        self._cpu, self._physical = cpu, physical

    def read(self, address: int, size: int, *, user: bool = False) -> int:
        """Read as the processor, supervisor unless ``user``.  Raises Raised (#PF, or #GP where not canonical)."""
        address = self._wrap(address)
        if address & 0xFFF <= 0x1000 - size:
            return self._physical.read(self._allowed(address, write=False, user=user), size)
        places = [self._allowed(self._wrap(address + n), write=False, user=user) for n in range(size)]
        return sum(self._physical.read(place, 1) << 8 * n for n, place in enumerate(places))

    def write(self, address: int, size: int, value: int, *, user: bool = False) -> None:
        """Write as the processor.  Raises Raised, with nothing written."""
        address = self._wrap(address)
        value &= (1 << 8 * size) - 1
        if address & 0xFFF <= 0x1000 - size:
            self._physical.write(self._allowed(address, write=True, user=user), size, value)
            return
        places = [self._allowed(self._wrap(address + n), write=True, user=user) for n in range(size)]
        for n, place in enumerate(places):
            self._physical.write(place, 1, value >> 8 * n & 0xFF)

    def push(self, end: int, words: Sequence[int], width: int) -> None:
        """Write words of ``width`` bytes below the address ``end``, the first one highest.

        Raises Raised at the first that cannot be written; those before it are.
        """
        size = width * len(words)
        first = self._wrap(end - width)
        if words and first & 0xFFF >= size - width and first & 0xFFF <= 0x1000 - width:  # one page, one walk
            place = self._allowed(first, write=True, user=False)
            for n, word in enumerate(words):
                self._physical.write(place - n * width, width, word & (1 << 8 * width) - 1)
            return
        for n, word in enumerate(words):
            self.write(first - n * width, width, word)

    def peek(self, address: int, size: int) -> bytes:
        """The bytes at a linear address up to the first page that is not there; nothing is changed or asked."""
        found = b""
        while len(found) < size:
            at = self._wrap(address + len(found))
            try:
                place = self.find(at).physical
            except Raised:
                break
            piece = self._physical.bytes_at(place, min(size - len(found), 0x1000 - (at & 0xFFF)))
            if not piece:
                break
            found += piece
        return found

    def find(self, address: int) -> Found:
        """Walk the tables.  Raises Raised: #PF for what no access may reach, #GP for what is not canonical."""
        state = self._cpu.state
        if not state.cr[0] & _PG:
            return Found(address & 0xFFFF_FFFF, True, True, (), 0)
        if not state.cr[4] & _PAE:
            return self._two_level(address & 0xFFFF_FFFF, state.cr[3], bool(state.cr[4] & _PSE))
        if self._cpu.long_mode:
            if not is_canonical(address):
                raise Raised(Vector.GP)
            return self._tables(address, state.cr[3] & _ADDRESS, (39, 30, 21, 12))
        pointer = self._physical.read((state.cr[3] & 0xFFFF_FFE0) + (address >> 30 & 3) * 8, 8)
        if not pointer & _P:
            raise Raised(Vector.PF, 0, address)
        return self._tables(address & 0xFFFF_FFFF, pointer & _ADDRESS, (21, 12))

    def _two_level(self, address: int, cr3: int, large_pages: bool) -> Found:
        at = (cr3 & 0xFFFF_F000) + (address >> 22) * 4
        pde = self._physical.read(at, 4)
        if not pde & _P:
            raise Raised(Vector.PF, 0, address)
        if pde & _PS and large_pages:
            if pde & 1 << 21:
                raise Raised(Vector.PF, _CODE_P | _CODE_RSVD, address)
            frame = pde & 0xFFC0_0000 | (pde >> 13 & 0xFF) << 32
            return Found(frame | address & 0x3F_FFFF, bool(pde & _RW), bool(pde & _US), ((at, pde),), 4)
        last = (pde & 0xFFFF_F000) + (address >> 12 & 0x3FF) * 4
        pte = self._physical.read(last, 4)
        if not pte & _P:
            raise Raised(Vector.PF, 0, address)
        both = pde & pte
        entries = ((at, pde), (last, pte))
        return Found(pte & 0xFFFF_F000 | address & 0xFFF, bool(both & _RW), bool(both & _US), entries, 4)

    def _tables(self, address: int, table: int, shifts: tuple[int, ...]) -> Found:
        reserved = _ADDRESS & ~((1 << PHYSICAL_BITS) - 1)
        if not self._cpu.state.efer & _NXE:
            reserved |= 1 << 63
        entries: list[tuple[int, int]] = []
        both = _RW | _US
        for shift in shifts:
            at = table + 8 * (address >> shift & 0x1FF)
            entry = self._physical.read(at, 8)
            if not entry & _P:
                raise Raised(Vector.PF, 0, address)
            maps = shift == 12 or (entry & _PS and shift != 39)
            offset = (1 << shift) - 1
            if entry & reserved or (entry & _PS and shift == 39) or (maps and entry & offset & _ADDRESS & ~0x1000):
                raise Raised(Vector.PF, _CODE_P | _CODE_RSVD, address)
            entries.append((at, entry))
            both &= entry
            if maps:
                break
            table = entry & _ADDRESS
        physical = entry & _ADDRESS & ~offset | address & offset
        return Found(physical, bool(both & _RW), bool(both & _US), tuple(entries), 8)

    def _allowed(self, address: int, *, write: bool, user: bool) -> int:
        """The physical address of an access that is allowed; marks the entries."""
        code = (_CODE_W if write else 0) | (_CODE_U if user else 0)
        try:
            found = self.find(address)
        except Raised as fault:
            raise Raised(fault.vector, fault.error_code | code if fault.vector is Vector.PF else 0, fault.cr2) from None
        if not found.entries:
            return found.physical
        state = self._cpu.state
        smap = found.user and state.cr[4] & _SMAP and not (state.rflags & _AC and not user)
        if (
            (user and not found.user)
            or (write and not found.writeable and (user or state.cr[0] & _WP))
            or (not user and smap)
        ):
            raise Raised(Vector.PF, code | _CODE_P, address)
        for at, entry in found.entries:
            marked = entry | _A | (_D if write and at == found.entries[-1][0] else 0)
            if marked != entry:
                self._physical.write(at, found.entry_size, marked)
        return found.physical

    def _wrap(self, address: int) -> int:
        return address & (FULL if self._cpu.long_mode else 0xFFFF_FFFF)
