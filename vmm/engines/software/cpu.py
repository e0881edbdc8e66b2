"""The processor's state: Unicorn's private copy with the manuals' names, and as the values of ``vmm.registers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtproof.spec.fault import Fault
from virtproof.spec.x86.control import Cr0, Cr4, Efer, Xcr0
from virtproof.spec.x86.debug import DR6_RESET, DR7_RESET
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engines.software import fpu
from virtproof.vmm.engines.software.layout import SegmentCache, private
from virtproof.vmm.registers import Registers, Segment, SpecialRegisters, Table

if TYPE_CHECKING:
    from unicorn import Uc

ES, CS, SS, DS, FS, GS = range(6)
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)

# QEMU's hflags: what translation depends on.
CPL, INHIBIT, CS32, SS32, ADDSEG, PE = 3, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
MP_EM_TS, LMA, CS64, OSFXSR, SMAP = 7 << 9, 1 << 14, 1 << 15, 1 << 22, 1 << 23
GLOBAL_INTERRUPTS = 1  # hflags2

FULL = (1 << 64) - 1
_D, _L = 1 << 22, 1 << 21  # of the upper half of a descriptor

_ORDER = (RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, *range(8, 16))  # of ``Registers``
_SEGMENTS = (CS, DS, ES, FS, GS, SS)
_CR0 = Cr0.pg.mask | Cr0.cd.mask | Cr0.nw.mask | Cr0.am.mask | Cr0.wp.mask | 0x3F
_CR4 = 0x3F_FFFF & ~(Cr4.vmxe.mask | Cr4.smxe.mask | Cr4.la57.mask | Cr4.pcide.mask)
RESET_APIC_BASE = 0xFEE0_0900


class Cpu:
    """The state of one processor.  Between two entries of Unicorn all of it is current."""

    def __init__(self, uc: Uc) -> None:
        self.uc = uc
        self.state, self.events, self.later = private(uc)
        self.apic_base = RESET_APIC_BASE
        self.cr8 = 0
        self.reset()

    def reset(self) -> None:
        """Give everything the values of power-on: Intel SDM vol. 3A, "Processor State After Reset"."""
        state = self.state
        for number in range(6):
            self.load(number, 0, 0, 0xFFFF, 0x9B00 if number == CS else 0x9300)
        self.load(CS, 0xF000, 0xFFFF_0000, 0xFFFF, 0x9B00)
        state.ldt, state.tr = SegmentCache(0, 0, 0xFFFF, 0x8200), SegmentCache(0, 0, 0xFFFF, 0x8B00)
        state.gdt, state.idt = SegmentCache(0, 0, 0xFFFF, 0), SegmentCache(0, 0, 0xFFFF, 0)
        state.cr[0], state.cr[2], state.cr[3], state.cr[4] = 0x6000_0010, 0, 0, 0
        state.efer = 0
        state.hflags2 |= GLOBAL_INTERRUPTS
        state.rip, state.rflags = 0xFFF0, 2
        state.regs[RDX] = 0x600  # the family, as KVM has it
        state.hflags = 0
        self.later.xcr0 = Xcr0.x87.mask
        fpu.reset(self.uc)
        self.events.dr[6], self.events.dr[7] = DR6_RESET, DR7_RESET
        self.refresh(cpl=0)

    # ---- what mode it is in

    @property
    def cpl(self) -> int:
        return 3 if self.vm86 else int(self.state.hflags) & CPL

    @property
    def protected(self) -> bool:
        return bool(self.state.cr[0] & 1)

    @property
    def vm86(self) -> bool:
        return bool(self.state.rflags & Rflags.vm.mask)

    @property
    def long_mode(self) -> bool:
        return bool(self.state.hflags & LMA)

    @property
    def code64(self) -> bool:
        return bool(self.state.hflags & CS64)

    @property
    def code_bits(self) -> int:
        hflags = self.state.hflags
        return 64 if hflags & CS64 else 32 if hflags & CS32 else 16

    @property
    def pc(self) -> int:
        """The linear address of the next instruction."""
        return self.linear(CS, self.state.rip)

    def linear(self, segment: int, offset: int) -> int:
        """The linear address of ``offset`` in a segment."""
        base = int(self.state.segments[segment].base)
        if self.state.hflags & CS64:
            return (offset + (base if segment in (FS, GS) else 0)) & FULL
        return (base + offset) & 0xFFFF_FFFF

    # ---- changes that others depend on

    def load(self, number: int, selector: int, base: int, limit: int, flags: int) -> None:
        """Set a segment register with its hidden part; ``refresh`` makes it count."""
        self.state.segments[number] = SegmentCache(selector, base, limit, flags)

    def refresh(self, *, cpl: int | None = None) -> None:
        """Compute anew what translation depends on; without ``cpl`` it is kept."""
        state = self.state
        cr0, cr4 = int(state.cr[0]), int(state.cr[4])
        segments = state.segments
        flags = state.hflags & (INHIBIT if cpl is not None else CPL | INHIBIT)
        flags |= cpl or 0
        flags |= PE if cr0 & 1 else 0
        flags |= cr0 << 8 & MP_EM_TS
        flags |= OSFXSR if cr4 & Cr4.osfxsr.mask else 0
        flags |= SMAP if cr4 & Cr4.smap.mask else 0
        flags |= LMA if state.efer & Efer.lma.mask else 0
        if flags & LMA and segments[CS].flags & _L:
            flags |= CS32 | SS32 | CS64
        else:
            flags |= CS32 if segments[CS].flags & _D else 0
            flags |= SS32 if segments[SS].flags & _D else 0
            based = segments[DS].base | segments[ES].base | segments[SS].base
            if not cr0 & 1 or self.vm86 or not flags & CS32 or based:
                flags |= ADDSEG
        state.hflags = flags

    def complete(self, length: int) -> None:
        """An instruction of ``length`` bytes has been carried out here; the shadow of the one before it ends."""
        state = self.state
        mask = FULL if state.hflags & CS64 else 0xFFFF_FFFF if state.hflags & CS32 else 0xFFFF
        state.rip = (state.rip + length) & mask
        state.rflags &= ~Rflags.rf.mask
        state.hflags &= ~INHIBIT

    def flush_tlb(self) -> None:
        from unicorn.unicorn_const import UC_CTL_IO_WRITE, UC_CTL_TLB_FLUSH  # noqa: PLC0415

        self.uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)

    def msr(self, index: int) -> int:
        """Read an MSR that the translator uses itself."""
        return int(self.uc.msr_read(index))

    def set_msr(self, index: int, value: int) -> None:
        self.uc.msr_write(index, value)

    # ---- as values of the monitor

    def registers(self) -> Registers:
        regs, state = self.state.regs, self.state
        return Registers(*[*(int(regs[number]) for number in _ORDER), int(state.rip), int(state.rflags) | 2])

    def set_registers(self, registers: Registers) -> None:
        state = self.state
        values = (
            registers.rax, registers.rbx, registers.rcx, registers.rdx, registers.rsi, registers.rdi, registers.rsp,
            registers.rbp, registers.r8, registers.r9, registers.r10, registers.r11, registers.r12, registers.r13,
            registers.r14, registers.r15,
        )  # fmt: skip
        for number, value in zip(_ORDER, values, strict=True):
            state.regs[number] = value
        state.rip, state.rflags = registers.rip, registers.rflags | 2
        state.hflags &= ~INHIBIT
        self.refresh()

    def special_registers(self) -> SpecialRegisters:
        state = self.state
        cs, ds, es, fs, gs, ss = (_segment(state.segments[number]) for number in _SEGMENTS)
        return SpecialRegisters(
            cs, ds, es, fs, gs, ss, _segment(state.tr), _segment(state.ldt),
            Table(state.gdt.base, state.gdt.limit), Table(state.idt.base, state.idt.limit),
            state.cr[0], state.cr[2], state.cr[3], state.cr[4], self.cr8, state.efer, self.apic_base,
        )  # fmt: skip

    def set_special_registers(self, registers: SpecialRegisters) -> None:
        """Set them all.  Raises Fault for a combination that no processor can be in."""
        _check(registers)
        state = self.state
        given = (registers.cs, registers.ds, registers.es, registers.fs, registers.gs, registers.ss)
        for number, segment in zip(_SEGMENTS, given, strict=True):
            state.segments[number] = _cache(segment)
        state.tr, state.ldt = _cache(registers.tr), _cache(registers.ldt)
        state.gdt = SegmentCache(0, registers.gdt.base, registers.gdt.limit, 0)
        state.idt = SegmentCache(0, registers.idt.base, registers.idt.limit, 0)
        state.cr[0], state.cr[2] = registers.cr0 & _CR0 | Cr0.et.mask, registers.cr2
        state.cr[3], state.cr[4] = registers.cr3, registers.cr4
        state.efer, self.cr8, self.apic_base = registers.efer, registers.cr8 & 0xF, registers.apic_base
        self.refresh(cpl=registers.ss.dpl if registers.cr0 & 1 else 0)
        self.flush_tlb()


def _check(registers: SpecialRegisters) -> None:
    """Raises Fault for a combination that no processor can be in."""
    cr0, cr4, efer = Cr0(registers.cr0), Cr4(registers.cr4), Efer(registers.efer)
    wrong = {
        "CR0.PG without PE": cr0.pg and not cr0.pe,
        "EFER.LMA is not LME with paging": efer.lma != (efer.lme and cr0.pg),
        "long mode without CR4.PAE": efer.lma and not cr4.pae,
        "CS.L with D": efer.lma and registers.cs.l and registers.cs.db,
        "EFER with unknown bits": efer & ~(Efer.sce.mask | Efer.lme.mask | Efer.lma.mask | Efer.nxe.mask),
        "CR4 with unknown bits": cr4 & ~_CR4,
        "CR3 beyond physical memory": registers.cr3 >> 52,
    }
    saw = ", ".join(what for what, is_so in wrong.items() if is_so)
    if saw:
        raise Fault("set the special registers", saw, "compare CR0, CR4, EFER and CS with the mode wanted")


def _segment(cache: SegmentCache) -> Segment:
    flags = cache.flags
    return Segment(
        base=cache.base, limit=cache.limit, selector=cache.selector, type=flags >> 8 & 15, s=flags >> 12 & 1,
        dpl=flags >> 13 & 3, present=flags >> 15 & 1, avl=flags >> 20 & 1, l=flags >> 21 & 1, db=flags >> 22 & 1,
        g=flags >> 23 & 1, unusable=int(not flags & 1 << 15),
    )  # fmt: skip


def _cache(segment: Segment) -> SegmentCache:
    flags = (
        segment.type << 8 | segment.s << 12 | segment.dpl << 13 | segment.avl << 20 | segment.l << 21
        | segment.db << 22 | segment.g << 23 | (segment.present and not segment.unusable) << 15
    )  # fmt: skip
    return SegmentCache(segment.selector, segment.base, segment.limit, flags)


# MSRs of which the translator has its own copy: SYSRET, SYSEXIT and SWAPGS use it.
NATIVE_MSRS = frozenset((
    Msr.IA32_STAR, Msr.IA32_LSTAR, Msr.IA32_CSTAR, Msr.IA32_FMASK, Msr.IA32_FS_BASE, Msr.IA32_GS_BASE,
    Msr.IA32_KERNEL_GS_BASE, Msr.IA32_SYSENTER_CS, Msr.IA32_SYSENTER_ESP, Msr.IA32_SYSENTER_EIP,
))  # fmt: skip
