"""WRMSR and RDMSR refuse with #GP(0): illegal values, and registers that do not exist.

EFER has reserved bits (more of it: modes/control_registers.py).  LSTAR, CSTAR and the segment bases hold canonical
addresses.  PAT holds no type 2, 3 or above 7.  An accepted write is seen by RDMSR.  The saved instruction pointer is that
of the instruction; EAX and EDX are kept.

KVM has a module parameter (ignore_msrs) that makes unknown registers read as 0: a host so set fails these rows.
"""

from virtproof.conformance.case import Insn, completes, family, faults, msr
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

row = family(
    "msr",
    sdm("4", "Model-Specific Registers, 'Architectural MSRs'"),
    sdm("2B", "Instruction Set Reference, 'WRMSR-Write to Model Specific Register'"),
    apm(2, "System Resources, 'Model-Specific Registers (MSRs)'"),
    expect=faults(Vector.GP, 0),
)

RDMSR, WRMSR = Insn("0f 32", "rdmsr"), Insn("0f 30", "wrmsr")
NOT_CANONICAL = 1 << 47
UNKNOWN = 0x1234_5678
X2APIC = 0xFEE0_0000 | 1 << 11 | 1 << 10 | 1 << 8  # after reset, and in x2APIC mode
EFER = INITIAL[Mode.LONG64].efer
LONG64 = Mode.LONG64


def wr(register: int, value: int) -> dict[str, int]:
    """The operands of WRMSR."""
    return {"rcx": register, "rax": value & 0xFFFF_FFFF, "rdx": value >> 32}


# fmt: off
CASES = (
    row("msr.rsvd.efer",           "EFER: bit 1 is reserved",              LONG64, WRMSR, regs=wr(Msr.IA32_EFER, EFER | 1 << 1)),
    row("msr.rsvd.lstar",          "LSTAR: not canonical",                 LONG64, WRMSR, regs=wr(Msr.IA32_LSTAR, NOT_CANONICAL)),
    row("msr.rsvd.cstar",          "CSTAR: not canonical",                 LONG64, WRMSR, regs=wr(Msr.IA32_CSTAR, NOT_CANONICAL)),
    row("msr.rsvd.fs_base",        "FS_BASE: not canonical",               LONG64, WRMSR, regs=wr(Msr.IA32_FS_BASE, NOT_CANONICAL)),
    row("msr.rsvd.gs_base",        "GS_BASE: not canonical",               LONG64, WRMSR, regs=wr(Msr.IA32_GS_BASE, NOT_CANONICAL)),
    row("msr.rsvd.kernel_gs_base", "KERNEL_GS_BASE: not canonical",        LONG64, WRMSR, regs=wr(Msr.IA32_KERNEL_GS_BASE, NOT_CANONICAL)),
    row("msr.rsvd.pat",            "PAT: type 2 is reserved",              LONG64, WRMSR, regs=wr(Msr.IA32_PAT, 0x0007_0406_0007_0402)),
    row("msr.gen.unknown_rd",      "RDMSR of a register that is not there", LONG64, RDMSR, regs={"rcx": UNKNOWN}),
    row("msr.gen.unknown_wr",      "WRMSR of a register that is not there", LONG64, WRMSR, regs=wr(UNKNOWN, 0), refs=("msr.gen.rip",)),
    row("msr.gen.x2apic_off",      "RDMSR of an x2APIC register in xAPIC mode", LONG64, RDMSR, regs={"rcx": 0x802}, irqchip=True),
    *(row(f"msr.gen.x2apic_gap.{n:x}", f"There is no x2APIC register {n:X}H", LONG64, (WRMSR, Insn(f"b9 {n & 0xFF:02x} 08 00 00", f"mov ecx, {n:#x}"), RDMSR), expect=faults(Vector.GP, 0, keeps=False), regs=wr(Msr.IA32_APIC_BASE, X2APIC), irqchip=True, requires=("x2apic",), priority=2, refs=("msr.gen.x2apic_gap",)) for n in (0x800, 0x801, 0x804, 0x80C, 0x80E)),
    row("msr.gen.ecx32",           "RDMSR takes its register from ECX", LONG64, RDMSR, completes(regs={"rax": 0x89AB_CDEF, "rdx": 0x0123_4567}), regs={"rcx": 0x5A5A_5A5A << 32 | Msr.IA32_STAR}, sets=(msr(Msr.IA32_STAR, 0x0123_4567_89AB_CDEF),), priority=2),
    row("msr.gen.high_halves",     "RDMSR clears bits 63:32 of RAX and RDX", LONG64, RDMSR, completes(regs={"rax": 0x89AB_CDEF, "rdx": 0xFFFF_8123}), regs={"rcx": Msr.IA32_KERNEL_GS_BASE}, sets=(msr(Msr.IA32_KERNEL_GS_BASE, 0xFFFF_8123_89AB_CDEF),)),
    row("msr.gen.wr_ignores_high", "WRMSR ignores bits 63:32 of its operands", LONG64, (WRMSR, RDMSR), completes(regs={"rax": 0x89AB_CDEF, "rdx": 0xFFFF_8123}), regs={"rcx": 0x5A5A_5A5A << 32 | Msr.IA32_KERNEL_GS_BASE, "rax": 0x5A5A_5A5A_89AB_CDEF, "rdx": 0x5A5A_5A5A_FFFF_8123}, sets=(msr(Msr.IA32_KERNEL_GS_BASE, 0),), priority=2),
)
# fmt: on
