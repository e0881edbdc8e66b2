"""Register state of a vCPU as plain values, packed as KVM lays it out.

``struct kvm_regs``, ``struct kvm_sregs`` and ``struct kvm_segment`` in x86 <asm/kvm.h>.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, field, fields
from operator import attrgetter
from typing import Self


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


@dataclass(slots=True)
class Segment:
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


@dataclass(slots=True)
class Table:
    """GDTR or IDTR."""

    base: int = 0
    limit: int = 0xFFFF


@dataclass(slots=True)
class SpecialRegisters:
    """Segments, tables, control registers, EFER and the local APIC's base."""

    cs: Segment = field(default_factory=Segment)
    ds: Segment = field(default_factory=Segment)
    es: Segment = field(default_factory=Segment)
    fs: Segment = field(default_factory=Segment)
    gs: Segment = field(default_factory=Segment)
    ss: Segment = field(default_factory=Segment)
    tr: Segment = field(default_factory=Segment)
    ldt: Segment = field(default_factory=Segment)
    gdt: Table = field(default_factory=Table)
    idt: Table = field(default_factory=Table)
    cr0: int = 0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    apic_base: int = 0
    interrupt_bitmap: tuple[int, int, int, int] = (0, 0, 0, 0)

    def pack(self) -> bytes:
        segments = [value for name in _SEGMENTS for value in _SEGMENT_VALUES(getattr(self, name))]
        tables = (self.gdt.base, self.gdt.limit, self.idt.base, self.idt.limit)
        return _SREGS.pack(*segments, *tables, *_CONTROL_VALUES(self), *self.interrupt_bitmap)

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Self:
        v = _SREGS.unpack_from(data)
        n = _SEGMENT_FIELDS
        cs, ds, es, fs, gs, ss, tr, ldt = (Segment(*v[at : at + n]) for at in range(0, 8 * n, n))
        gdt_base, gdt_limit, idt_base, idt_limit, *control, b0, b1, b2, b3 = v[8 * n :]
        gdt, idt = Table(gdt_base, gdt_limit), Table(idt_base, idt_limit)
        cr0, cr2, cr3, cr4, cr8, efer, apic_base = control
        return cls(
            cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, (b0, b1, b2, b3)
        )


_SEGMENT = "QIH9Bx"
_TABLE = "QH6x"
_REGS = struct.Struct("<18Q")
_SREGS = struct.Struct("<" + _SEGMENT * 8 + _TABLE * 2 + "7Q4Q")

_REGS_NAMES = tuple(f.name for f in fields(Registers))
_REGS_VALUES = attrgetter(*_REGS_NAMES)
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")
_SEGMENT_FIELDS = len(fields(Segment))
_SEGMENT_VALUES = attrgetter(*(f.name for f in fields(Segment)))
_CONTROL_VALUES = attrgetter("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")

REGS_SIZE = _REGS.size
SREGS_SIZE = _SREGS.size
