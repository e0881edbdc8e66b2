"""Special registers for entering a guest directly in one of the processor's modes, ring 0, flat segments.

Every mode starts with the same GDT layout; selectors are offsets into it.  The hidden parts are loaded here, so a guest
needs the table in memory only when it loads a segment register, takes an interrupt or changes rings.

    0x08  code: 64-bit in long64, 32-bit in prot32 and pae32
    0x10  data
    0x18  TSS, busy (two entries in long64)

The task register always holds a busy TSS and LDTR is unusable, as VM entry on Intel processors demands: Intel SDM
vol. 3C, "Checks on Guest Segment Registers".
"""

from __future__ import annotations

from dataclasses import replace

from virtproof.vmm.registers import Segment, SpecialRegisters, Table

CODE, DATA, TSS = 0x08, 0x10, 0x18

CR0_PE, CR0_ET, CR0_NE, CR0_PG = 1 << 0, 1 << 4, 1 << 5, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10

_CODE_TYPE, _DATA_TYPE, _BUSY_TSS_TYPE, _LDT_TYPE = 11, 3, 11, 2  # code and data accessed, as VM entry demands
_FLAT = 0xFFFF_FFFF

_TR = Segment(base=0, limit=0x67, selector=TSS, type=_BUSY_TSS_TYPE, s=0)
_LDT = Segment(base=0, limit=0, selector=0, type=_LDT_TYPE, s=0, present=0, unusable=1)


def real16(reset: SpecialRegisters, *, segment: int = 0) -> SpecialRegisters:
    """Real mode: CS, DS, ES and SS hold ``segment`` (a paragraph number), FS and GS zero, the IVT is at 0."""

    def paragraph(number: int, kind: int) -> Segment:
        return Segment(base=number << 4, limit=0xFFFF, selector=number, type=kind)

    code, data, zero = paragraph(segment, _CODE_TYPE), paragraph(segment, _DATA_TYPE), paragraph(0, _DATA_TYPE)
    return replace(
        reset,
        cs=code, ds=data, es=data, ss=data, fs=zero, gs=zero,
        tr=_TR._replace(selector=0), ldt=_LDT,
        gdt=Table(0, 0xFFFF), idt=Table(0, 0x3FF),
        cr0=CR0_ET, cr3=0, cr4=0, efer=0,
    )  # fmt: skip


def prot32(reset: SpecialRegisters, *, cr4: int = 0) -> SpecialRegisters:
    """32-bit protected mode without paging; ``cr4`` holds extra bits of CR4."""
    return replace(_flat(reset, db=1, l=0), cr0=CR0_PE | CR0_ET | CR0_NE, cr3=0, cr4=cr4, efer=0)


def pae32(reset: SpecialRegisters, cr3: int, *, cr4: int = 0, efer: int = 0) -> SpecialRegisters:
    """32-bit protected mode with PAE paging; ``cr3`` points at the four PDPTEs, which must be in memory already.

    KVM reads the PDPTEs when the registers are set.
    """
    return replace(
        _flat(reset, db=1, l=0), cr0=CR0_PE | CR0_ET | CR0_NE | CR0_PG, cr3=cr3, cr4=CR4_PAE | cr4, efer=efer
    )


def long64(reset: SpecialRegisters, cr3: int, *, cr4: int = 0, efer: int = 0) -> SpecialRegisters:
    """64-bit mode; ``cr3`` points at a PML4 (PML5 with CR4.LA57); ``cr4`` and ``efer`` hold extra bits."""
    return replace(
        _flat(reset, db=0, l=1),
        cr0=CR0_PE | CR0_ET | CR0_NE | CR0_PG,
        cr3=cr3,
        cr4=CR4_PAE | cr4,
        efer=EFER_LME | EFER_LMA | efer,
    )


def _flat(reset: SpecialRegisters, *, db: int, l: int) -> SpecialRegisters:  # noqa: E741
    code = Segment(base=0, limit=_FLAT, selector=CODE, type=_CODE_TYPE, db=db, l=l, g=1)
    data = Segment(base=0, limit=_FLAT, selector=DATA, type=_DATA_TYPE, db=1, g=1)
    return replace(
        reset,
        cs=code, ds=data, es=data, ss=data, fs=data, gs=data,
        tr=_TR, ldt=_LDT,
        gdt=Table(0, 0), idt=Table(0, 0),
    )  # fmt: skip
