"""Registers of the local APIC: their values after reset, and which of their bits can be written.

In xAPIC mode they lie 16 bytes apart in the page of IA32_APIC_BASE, are read and written as 32 bits, and what cannot be
written stays as it was.  In x2APIC mode each is an MSR, 800H + its offset / 16: a write of one that is read-only, a read
of one that is write-only, and a write of bits 63:32 anywhere but in ICR raise #GP(0); of ESR and EOI only 0 may be
written.  An access never comes out to a monitor whose kernel has the APIC.

Bits that some processors have and others do not are outside the mask.  Delivery status and remote IRR are read-only.
"""

from virtproof.conformance.areas.interrupts.apic_mode import APIC_BASE, X2, base
from virtproof.conformance.case import Case, Insn, completes, family, faults
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

LONG64 = Mode.LONG64
XAPIC = family(
    "interrupts",
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Local APIC Register Address Map'"),
    apm(2, "Advanced Programmable Interrupt Controller (APIC), 'APIC Registers'"),
    irqchip=True,
    sets=(maps(page(APIC_BASE)),),
    priority=2,
)
X2APIC = family(
    "interrupts",
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'x2APIC Register Address Space'"),
    apm(2, "x2APIC, 'x2APIC Register Address Space'"),
    irqchip=True,
    requires=("x2apic",),
    priority=2,
)
ALL = 0xFFFF_FFFF

# fmt: off
LOAD, STORE, KEEP = Insn("8b 03", "mov eax, dword ptr [rbx]"), Insn("89 13", "mov dword ptr [rbx], edx"), Insn("89 c7", "mov edi, eax")
MASK, MASK_KEPT   = Insn("21 e8", "and eax, ebp"), Insn("21 ef", "and edi, ebp")
ENABLE            = Insn("41 c7 00 ff 01 00 00", "mov dword ptr [r8], 0x1ff")      # SVR: LVT entries can be unmasked
STORE_0           = Insn("44 89 0b", "mov dword ptr [rbx], r9d")

# Offset, value after reset, value written, value read then, bits that are judged.
REGISTERS = (
    ("reg_id",       0x020, 0,           ALL,         0,           0x00FF_FFFF),   # the id itself: some processors let it be written
    ("reg_version",  0x030, 0x10,        ALL,         0x10,        0xF0),          # 1XH: integrated
    ("reg_tpr",      0x080, 0,           ALL,         0xFF,        ALL),
    ("reg_apr",      0x090, 0,           0,           0,           ALL),
    ("reg_ppr",      0x0A0, 0,           ALL,         0,           ALL),
    ("reg_ldr",      0x0D0, 0,           ALL,         0xFF00_0000, ALL),
    ("reg_dfr",      0x0E0, ALL,         0,           0x0FFF_FFFF, ALL),
    ("reg_svr",      0x0F0, 0xFF,        ALL,         0x1FF,       0xFFFF_EDFF),
    ("reg_isr0",     0x100, 0,           ALL,         0,           ALL),
    ("reg_tmr0",     0x180, 0,           ALL,         0,           ALL),
    ("reg_irr0",     0x200, 0,           ALL,         0,           ALL),
    ("reg_esr",      0x280, 0,           ALL,         0,           ALL),           # a write brings the errors since the last: none
    ("reg_icr",      0x300, 0,           0x000C_D841, 0x000C_C841, ALL),           # a level to all others, of whom there are none
    ("reg_icr2",     0x310, 0,           0xA500_0000, 0xA500_0000, ALL),
    ("reg_tmict",    0x380, 0,           ALL,         ALL,         ALL),
    ("reg_tmcct",    0x390, 0,           ALL,         0,           ALL),
    ("reg_tdcr",     0x3E0, 0,           ALL,         0xB,         ALL),
)
# Offset, value after reset, value read after a write of WRITTEN; a write of 0 then brings 0.
WRITTEN, MASKED = 0xFFFB_AFFF, 1 << 16                                             # not: delivery status, remote IRR, mode bit 18
ENTRIES = (
    ("reg_lvt_timer", 0x320, MASKED, 0x0003_00FF),
    ("reg_lvt_therm", 0x330, MASKED, 0x0001_07FF),
    ("reg_lvt_pc",    0x340, MASKED, 0x0001_07FF),
    ("reg_lvt_lint0", 0x350, None,   0x0001_A7FF),                                 # as the firmware leaves it
    ("reg_lvt_lint1", 0x360, MASKED, 0x0001_A7FF),
    ("reg_lvt_err",   0x370, MASKED, 0x0001_00FF),
)
# MSR, value after reset, bits that are judged.
READ_ONLY = (
    ("msr_id",      0x802, 0,    ALL),
    ("msr_version", 0x803, 0x10, 0xF0),
    ("msr_ppr",     0x80A, 0,    ALL),
    ("msr_ldr",     0x80D, 1,    ALL),                                             # cluster 0, the bit of id 0
    ("msr_isr0",    0x810, 0,    ALL),
    ("msr_tmr0",    0x818, 0,    ALL),
    ("msr_irr0",    0x820, 0,    ALL),
    ("msr_tmcct",   0x839, 0,    ALL),
)
WRITE_ONLY = (("msr_eoi", 0x80B, 0), ("msr_self_ipi", 0x83F, 0x41))
# MSR, upper and lower half of a value that can be written and is read then.
READ_WRITE = (
    ("msr_tpr",       0x808, 0,           0xA5),
    ("msr_svr",       0x80F, 0,           0x1A5),
    ("msr_esr",       0x828, 0,           0),
    ("msr_icr",       0x830, 0x1234_5678, 0x4041),                                 # to a processor that is not there
    ("msr_lvt_timer", 0x832, 0,           0x0003_00A5),
    ("msr_lvt_therm", 0x833, 0,           0x0001_02A5),
    ("msr_lvt_pc",    0x834, 0,           0x0001_04A5),
    ("msr_lvt_lint0", 0x835, 0,           0x0001_A0A5),
    ("msr_lvt_lint1", 0x836, 0,           0x0001_24A5),
    ("msr_lvt_err",   0x837, 0,           0x0001_00A5),
    ("msr_tmict",     0x838, 0,           0x8765_4321),
    ("msr_tdcr",      0x83E, 0,           0x0B),
)

RDMSR, WRMSR = Insn("0f 32", "rdmsr"), Insn("0f 30", "wrmsr")
THAT_MSR     = Insn("44 89 c1", "mov ecx, r8d")
THAT_VALUE   = (Insn("44 89 c8", "mov eax, r9d"), Insn("44 89 d2", "mov edx, r10d"))
# fmt: on


def in_x2apic(msr: int, value: int = 0, high: int = 0) -> dict[str, int]:
    """To enter x2APIC mode and have a register and a value at hand."""
    return {"rax": base(X2), "rdx": 0, "rcx": 0x1B, "rbp": ALL, "r8": msr, "r9": value, "r10": high}


CASES: tuple[Case, ...] = (
    *(
        XAPIC(
            f"int.xapic.{name}", f"{name[4:].upper()} at {offset:X}H: value after reset, and bits that can be written", LONG64,
            (LOAD, KEEP, STORE, LOAD, MASK, MASK_KEPT),
            completes(regs={"rdi": reset & mask, "rax": after & mask}, accesses=()),
            regs={"rbx": WINDOW + offset, "rdx": written, "rbp": mask},
        )
        for name, offset, reset, written, after, mask in REGISTERS
    ),
    *(
        XAPIC(
            f"int.xapic.{name}", f"{name[4:].upper()} at {offset:X}H: value after reset, and bits that can be written", LONG64,
            (LOAD, KEEP, ENABLE, STORE, LOAD, MASK_KEPT, STORE_0, Insn("8b 33", "mov esi, dword ptr [rbx]")),
            completes(regs={"rdi": reset or 0, "rax": after, "rsi": 0}, accesses=()),
            regs={"rbx": WINDOW + offset, "rdx": WRITTEN, "r8": WINDOW + 0xF0, "r9": 0, "rbp": ALL if reset else 0},
        )
        for name, offset, reset, after in ENTRIES
    ),
    XAPIC(
        "int.xapic.reg_lvt_err.status", "Delivery status of an LVT entry is read-only", LONG64, (STORE, LOAD),
        completes(regs={"rax": MASKED}, accesses=()), regs={"rbx": WINDOW + 0x370, "rdx": MASKED | 1 << 12},
    ),
    XAPIC(
        "int.xapic.reg_eoi", "EOI at B0H takes any value", LONG64, STORE,
        completes(accesses=()), regs={"rbx": WINDOW + 0xB0, "rdx": ALL},
    ),
    *(
        X2APIC(
            f"int.x2apic.{name}", f"MSR {msr:X}H can be read, and not written", LONG64,
            (WRMSR, THAT_MSR, RDMSR, MASK, WRMSR),
            faults(Vector.GP, 0, regs={"rax": value, "rdx": 0, "rcx": msr}), regs=in_x2apic(msr) | {"rbp": mask},
        )
        for name, msr, value, mask in READ_ONLY
    ),
    *(
        X2APIC(
            f"int.x2apic.{name}", f"MSR {msr:X}H can be written, and not read", LONG64,
            (WRMSR, THAT_MSR, *THAT_VALUE, WRMSR, RDMSR),
            faults(Vector.GP, 0, regs={"rax": value, "rdx": 0, "rcx": msr}), regs=in_x2apic(msr, value),
        )
        for name, msr, value in WRITE_ONLY
    ),
    *(
        X2APIC(
            f"int.x2apic.{name}", f"MSR {msr:X}H can be written, and read back", LONG64,
            (WRMSR, THAT_MSR, *THAT_VALUE, WRMSR, RDMSR),
            completes(regs={"rax": low, "rdx": high, "rcx": msr}), regs=in_x2apic(msr, low, high),
        )
        for name, msr, high, low in READ_WRITE
    ),
    *(
        X2APIC(
            f"int.x2apic.{name}.high", f"Bits 63:32 of MSR {msr:X}H are reserved", LONG64, (WRMSR, THAT_MSR, *THAT_VALUE, WRMSR),
            faults(Vector.GP, 0, regs={"rax": low, "rdx": 1, "rcx": msr}), regs=in_x2apic(msr, low, 1),
            refs=(f"int.x2apic.{name}",),
        )
        for name, msr, high, low in READ_WRITE
        if not high
    ),
    X2APIC(
        "int.x2apic.msr_esr.nonzero", "ESR takes 0 only", LONG64, (WRMSR, THAT_MSR, *THAT_VALUE, WRMSR),
        faults(Vector.GP, 0, regs={"rax": 1, "rdx": 0, "rcx": 0x828}), regs=in_x2apic(0x828, 1), refs=("int.x2apic.msr_esr",),
    ),
    X2APIC(
        "int.lapic.eoi_nonzero", "EOI takes 0 only", LONG64, (WRMSR, THAT_MSR, *THAT_VALUE, WRMSR),
        faults(Vector.GP, 0, regs={"rax": 1, "rdx": 0, "rcx": 0x80B}), regs=in_x2apic(0x80B, 1),
    ),
    X2APIC(
        "int.x2apic.msr_lvt_cmci", "Without CMCI (IA32_MCG_CAP bit 10), which nobody gave the guest, there is no MSR 82FH", LONG64,
        (WRMSR, THAT_MSR, *THAT_VALUE, RDMSR),
        faults(Vector.GP, 0, regs={"rax": 0, "rdx": 0, "rcx": 0x82F}), regs=in_x2apic(0x82F),
    ),
)  # fmt: skip
