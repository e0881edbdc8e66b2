"""The mode of the local APIC, by IA32_APIC_BASE: off, xAPIC (EN), x2APIC (EN and EXTD).

From xAPIC there is a way to both others.  x2APIC can only be switched off, and off leads to xAPIC only; every other
change raises #GP and changes nothing, as does EXTD without EN.  In x2APIC mode the 32-bit id is read by its MSR, and the
logical id follows from it.  Switched off the APIC is gone: CPUID does not show it, and nobody answers at its page.
"""

from virtproof.conformance.case import Insn, completes, family, faults
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

LONG64 = Mode.LONG64
APIC_BASE, BSP, EXTD, EN = 0xFEE0_0000, 1 << 8, 1 << 10, 1 << 11
X, X2, INVALID, OFF = EN, EN | EXTD, EXTD, 0

# fmt: off
WRMSR, RDMSR  = Insn("0f 30", "wrmsr"), Insn("0f 32", "rdmsr")
TO_EBX        = Insn("89 d8", "mov eax, ebx")    # the second value for IA32_APIC_BASE
KEEP          = Insn("89 c7", "mov edi, eax")
KEEP_LDR      = Insn("89 c5", "mov ebp, eax")
ID            = Insn("b9 02 08 00 00", "mov ecx, 0x802")
LDR           = Insn("b9 0d 08 00 00", "mov ecx, 0x80d")
CPUID_1       = (Insn("b8 01 00 00 00", "mov eax, 1"), Insn("0f a2", "cpuid"), Insn("81 e2 00 02 00 00", "and edx, 0x200"))
CPUID_SIZES   = (Insn("b8 08 00 00 80", "mov eax, 0x80000008"), Insn("0f a2", "cpuid"))
BEYOND        = (Insn("88 c1", "mov cl, al"), Insn("80 e9 20", "sub cl, 0x20"), Insn("89 da", "mov edx, ebx"), Insn("d3 e2", "shl edx, cl"))   # 1 << MAXPHYADDR - 32
THAT          = (Insn("44 89 c8", "mov eax, r9d"), Insn("b9 1b 00 00 00", "mov ecx, 0x1b"))
LOAD_ID       = Insn("41 8b 00", "mov eax, dword ptr [r8]")
TAKE_BITS     = Insn("c1 e8 18", "shr eax, 0x18")
# fmt: on


def base(mode: int) -> int:
    return APIC_BASE | BSP | mode


def start(first: int, second: int = 0) -> dict[str, int]:
    return {"rax": base(first), "rbx": base(second), "rcx": 0x1B, "rdx": 0, "r8": WINDOW + 0x20}


row = family(
    "interrupts",
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'x2APIC State Transitions'"),
    apm(2, "x2APIC, 'Enabling x2APIC'"),
    irqchip=True,
    sets=(maps(page(APIC_BASE)),),
)
X2APIC = {"requires": ("x2apic",), "proves": ("x2apic",)}

# fmt: off
CASES = (
    row("int.apicmode.x_to_x2",    "xAPIC to x2APIC: the id is an MSR, the logical id follows from it", LONG64,
        (WRMSR, RDMSR, KEEP, LDR, RDMSR, KEEP_LDR, ID, RDMSR),
        completes(regs={"rdi": base(X2), "rbp": 1, "rax": 0, "rdx": 0, "rcx": 0x802}), regs=start(X2), refs=("claim.x2apic",), **X2APIC),
    row("int.apicmode.x_to_off",   "xAPIC to off: CPUID does not show it, its page reads as ones", LONG64,
        (WRMSR, RDMSR, KEEP, *CPUID_1, LOAD_ID),
        completes(regs={"rdi": base(OFF), "rdx": 0, "rax": 0xFFFF_FFFF}, keeps=False), regs=start(OFF)),
    row("int.apicmode.off_to_x",   "Off to xAPIC: CPUID shows it, its page answers", LONG64,
        (WRMSR, TO_EBX, WRMSR, RDMSR, KEEP, *CPUID_1, LOAD_ID, TAKE_BITS),
        completes(regs={"rdi": base(X), "rdx": 0x200, "rax": 0}, keeps=False, accesses=()), regs=start(OFF, X)),
    row("int.apicmode.x2_to_off",  "x2APIC to off", LONG64, (WRMSR, TO_EBX, WRMSR, RDMSR),
        completes(regs={"rax": base(OFF), "rdx": 0}), regs=start(X2, OFF), **X2APIC),
    row("int.apicmode.x2_to_x",    "x2APIC to xAPIC is refused",  LONG64, (WRMSR, TO_EBX, WRMSR),
        faults(Vector.GP, 0, regs={"rax": base(X)}), regs=start(X2, X), **X2APIC),
    row("int.apicmode.off_to_x2",  "Off to x2APIC is refused",    LONG64, (WRMSR, TO_EBX, WRMSR),
        faults(Vector.GP, 0, regs={"rax": base(X2)}), regs=start(OFF, X2), **X2APIC),
    row("int.apicmode.x_to_inval", "EXTD without EN is refused",  LONG64, WRMSR,
        faults(Vector.GP, 0), regs=start(INVALID)),
    row("int.apicmode.base_rsvd",  "An address beyond MAXPHYADDR is refused", LONG64,
        (*CPUID_SIZES, Insn("bb 01 00 00 00", "mov ebx, 1"), *BEYOND, *THAT, WRMSR),
        faults(Vector.GP, 0, keeps=False), regs={"r9": base(X)}, priority=2),
    row("int.apicmode.rsvd_bits",  "Bit 9 is reserved",           LONG64, WRMSR, faults(Vector.GP, 0), regs=start(X | 1 << 9), priority=2),
    row("int.apicmode.rsvd_bits.low", "Bits 7:0 are reserved",    LONG64, WRMSR, faults(Vector.GP, 0), regs=start(X | 1 << 7), priority=2),
)
# fmt: on
