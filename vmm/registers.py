"""Register state of a vCPU as plain values, packed as KVM lays it out.

``struct kvm_regs``, ``struct kvm_sregs`` and ``struct kvm_segment`` in x86 <asm/kvm.h>.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, fields
from operator import attrgetter
from typing import NamedTuple, Self


@dataclass(slots=True)
class Registers:
    """General registers, RIP and RFLAGS; 64-bit unsigned each."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rsp: int = 0
    rbp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = 2  # bit 1 always reads as one

    def pack(self) -> bytes:
        return _REGS.pack(*_REGS_VALUES(self))

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Self:
        return cls(*_REGS.unpack_from(data))

    def __str__(self) -> str:
        return " ".join(f"{name}={value:#x}" for name, value in zip(_REGS_NAMES, astuple(self), strict=True))


class Segment(NamedTuple):
    """A segment register with its hidden part; ``limit`` is in bytes whatever ``g`` says."""

    base: int = 0
    limit: int = 0xFFFF
    selector: int = 0
    type: int = 0
    present: int = 1
    dpl: int = 0
    db: int = 0
    s: int = 1
    l: int = 0  # noqa: E741 -- the field's name in every manual
    g: int = 0
    avl: int = 0
    unusable: int = 0


class Table(NamedTuple):
    """GDTR or IDTR."""

    base: int = 0
    limit: int = 0xFFFF


_DEFAULT_SEGMENT, _DEFAULT_TABLE = Segment(), Table()


@dataclass(slots=True)
class SpecialRegisters:
    """Segments, tables, control registers, EFER and the local APIC's base."""

    cs: Segment = _DEFAULT_SEGMENT
    ds: Segment = _DEFAULT_SEGMENT
    es: Segment = _DEFAULT_SEGMENT
    fs: Segment = _DEFAULT_SEGMENT
    gs: Segment = _DEFAULT_SEGMENT
    ss: Segment = _DEFAULT_SEGMENT
    tr: Segment = _DEFAULT_SEGMENT
    ldt: Segment = _DEFAULT_SEGMENT
    gdt: Table = _DEFAULT_TABLE
    idt: Table = _DEFAULT_TABLE
    cr0: int = 0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    apic_base: int = 0
    interrupt_bitmap: tuple[int, int, int, int] = (0, 0, 0, 0)

    def pack(self) -> bytes:
        return _SREGS.pack(
            *self.cs, *self.ds, *self.es, *self.fs, *self.gs, *self.ss, *self.tr, *self.ldt,
            *self.gdt, *self.idt, *_CONTROL_VALUES(self), *self.interrupt_bitmap,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Self:
        v = _SREGS.unpack_from(data)
        width, end = len(Segment._fields), 8 * len(Segment._fields)
        cs, ds, es, fs, gs, ss, tr, ldt = [Segment._make(v[at : at + width]) for at in range(0, end, width)]
        gdt, idt = Table._make(v[end : end + 2]), Table._make(v[end + 2 : end + 4])
        cr0, cr2, cr3, cr4, cr8, efer, apic_base, b0, b1, b2, b3 = v[end + 4 :]
        return cls(
            cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, (b0, b1, b2, b3)
        )


_SEGMENT = "QIH9Bx"
_TABLE = "QH6x"
_REGS = struct.Struct("<18Q")
_SREGS = struct.Struct("<" + _SEGMENT * 8 + _TABLE * 2 + "7Q4Q")

_REGS_NAMES = tuple(f.name for f in fields(Registers))
_REGS_VALUES = attrgetter(*_REGS_NAMES)
_CONTROL_VALUES = attrgetter("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")

REGS_SIZE = _REGS.size
SREGS_SIZE = _SREGS.size
