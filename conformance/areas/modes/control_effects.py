"""Control registers take the values that modes have, and what they hold is what happens.

CR0.ET is always 1.  LMA is not written: it becomes 1 when paging goes on with LME = 1, and 0 when it goes off.  With PCIDE,
bit 63 of what MOV to CR3 writes is a request, and reads 0.  A PDPTE that is not present may hold anything.  CR8 is bits 7:4
of the local APIC's task priority.  Without NXE bit 63 of a paging entry is reserved.  A feature that CPUID does not
have has a reserved bit.  XCR0 takes everything that CPUID offers at once, outlives exits, and decides whether AVX
instructions exist; the upper half of RCX does not count.
"""

from collections.abc import Callable

from virtproof.conformance.case import At, Case, Insn, completes, cr4, family, faults, mem64, msr, xcr0
from virtproof.conformance.guest import hosted
from virtproof.conformance.window import FRAME, READ, VA, WINDOW, maps, page, table
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.cpuid import Override, RegisterName, overridden
from virtproof.vmm.machine import Machine

row = family(
    "modes",
    sdm("3A", "System Architecture Overview, 'Control Registers'"),
    sdm("3A", "System Architecture Overview, 'Extended Feature Enable Register'"),
    apm(2, "System Resources, 'System-Control Registers'"),
)
hidden = family(
    "modes",
    sdm("3A", "System Architecture Overview, 'Control Registers'"),
    apm(2, "System Resources, 'Extended Feature Enable Register (EFER)'"),
    expect=faults(Vector.GP, 0),
    priority=2,
)
state = family(
    "modes",
    sdm("3A", "System Architecture Overview, 'Extended Control Registers (Including XCR0)'"),
    apm(2, "x87, MMX, SSE, and Extended Processor State Management, 'XFEATURE_ENABLED_MASK Register (XCR0)'"),
    requires=("xsave",),
)

LONG64, COMPAT32, PAE32, PROT32 = Mode.LONG64, Mode.COMPAT32, Mode.PAE32, Mode.PROT32
CR0, CR4, EFER = INITIAL[LONG64]
K = At("kernel_data")

TO_CR0, FROM_CR0 = Insn("0f 22 c0", "mov cr0, rax"), Insn("0f 20 c3", "mov rbx, cr0")
OFF, ON = Insn("0f 22 c7", "mov cr0, edi"), Insn("0f 22 c6", "mov cr0, esi")
TO_CR3, FROM_CR3 = Insn("0f 22 d8", "mov cr3, rax"), Insn("0f 20 db", "mov rbx, cr3")
TO_CR2, FROM_CR2 = Insn("0f 22 d0", "mov cr2, rax"), Insn("0f 20 d3", "mov rbx, cr2")
TO_CR3_32, FROM_CR3_32 = Insn("0f 22 d8", "mov cr3, eax"), Insn("0f 20 db", "mov ebx, cr3")
TO_CR4 = Insn("0f 22 e0", "mov cr4, rax")
TO_CR8, FROM_CR8, CR8_0 = (
    Insn("44 0f 22 c0", "mov cr8, rax"),
    Insn("44 0f 20 c2", "mov rdx, cr8"),
    Insn("44 0f 22 c6", "mov cr8, rsi"),
)
READ_TPR, WRITE_TPR = (
    Insn("8b 8b 80 00 00 00", "mov ecx, dword ptr [rbx + 0x80]"),
    Insn("89 bb 80 00 00 00", "mov dword ptr [rbx + 0x80], edi"),
)
WRMSR, RDMSR = Insn("0f 30", "wrmsr"), Insn("0f 32", "rdmsr")
TO_EBX, TO_EBP = Insn("89 c3", "mov ebx, eax"), Insn("89 c5", "mov ebp, eax")
NO_SCE = Insn("24 fe", "and al, 0xfe")
XSETBV, XGETBV = Insn("0f 01 d1", "xsetbv"), Insn("0f 01 d0", "xgetbv")
CPUID, OUT = Insn("0f a2", "cpuid"), Insn("e6 80", "out 0x80, al")
FIRST_XCR = Insn("31 c9", "xor ecx, ecx")
ALL_COMPONENTS = (
    Insn("b8 0d 00 00 00", "mov eax, 0xd"),
    FIRST_XCR,
    CPUID,
    Insn("41 89 c0", "mov r8d, eax"),
    Insn("41 89 d1", "mov r9d, edx"),
    FIRST_XCR,
)
COMPARED = (Insn("41 31 c0", "xor r8d, eax"), Insn("41 31 d1", "xor r9d, edx"), Insn("83 e0 03", "and eax, 3"))
FLD1, FNINIT = Insn("d9 e8", "fld1"), Insn("db e3", "fninit")
IN_USE_OF_XCR0 = (
    Insn("41 89 c0", "mov r8d, eax"),
    FIRST_XCR,
    XGETBV,
    Insn("f7 d0", "not eax"),
    Insn("44 21 c0", "and eax, r8d"),
    Insn("41 83 e0 01", "and r8d, 1"),
)
VXORPS, NOP = Insn("c5 fc 57 c0", "vxorps ymm0, ymm0, ymm0"), Insn("90", "nop")

LME, LMA = Efer.lme.mask, Efer.lma.mask
OSXSAVE = cr4(on=Cr4.osxsave.mask)
# CR0, with paging and without.
PAGING, NO_PAGING = int(INITIAL[PAE32].cr0), int(INITIAL[PROT32].cr0)
# Tables for the first 2 MiB.
LONG_TABLES = (
    mem64(FRAME, table(FRAME + 0x1000)),
    mem64(FRAME + 0x1000, table(FRAME + 0x2000)),
    mem64(FRAME + 0x2000, 0x83),
)


def without(leaf: int, register: RegisterName, mask: int) -> Callable[[Machine], None]:
    """Take a feature from the guest's CPUID."""

    def furnish(machine: Machine) -> None:
        machine.vcpu.set_cpuid(overridden(machine.vcpu.cpuid(), [Override(leaf, 0, register, 0, mask)]))

    return furnish


# fmt: off
CASES: tuple[Case, ...] = (
    row("mode.cr.cr0_nw_cd1",      "CR0: NW = 1 with CD = 1",                      LONG64, (TO_CR0, FROM_CR0), completes(regs={"rbx": int(CR0.but(nw=1, cd=1))}), regs={"rax": int(CR0.but(nw=1, cd=1))}, priority=2),
    row("mode.cr.cr0_et",          "CR0: ET stays 1",                              LONG64, (TO_CR0, FROM_CR0), completes(regs={"rbx": int(CR0)}), regs={"rax": int(CR0.but(et=0))}, priority=2),
    row("mode.cr.cr2_64",          "CR2 holds any 64 bits",                        LONG64, (TO_CR2, FROM_CR2), completes(regs={"rbx": 0xDEAD_BEEF_1234_5678}), regs={"rax": 0xDEAD_BEEF_1234_5678}, priority=3),
    row("mode.cr.cr3_low",         "CR3: bits 2:0 are ignored",                    LONG64, (TO_CR3, FROM_CR0), completes(regs={"rbx": int(CR0)}), regs={"rax": At("pml4", 7)}, priority=3),
    row("mode.cr.cr3_bit63_pcid",  "CR3: bit 63 with PCIDE = 1 reads 0",           LONG64, (TO_CR3, FROM_CR3), completes(regs={"rbx": At("pml4", 1)}), regs={"rax": At("pml4", 1 << 63 | 1)}, sets=(cr4(on=Cr4.pcide.mask),), requires=("pcid",)),
    row("mode.cr.cr3_pdptr_np",    "CR3: a PDPTE that is not present holds anything", PAE32, (TO_CR3_32, FROM_CR3_32), completes(regs={"rbx": K}), regs={"rax": K}, sets=(mem64(K, At("pd", 1)), mem64(K + 8, 0), mem64(K + 16, 0), mem64(K + 24, ~1 & (1 << 64) - 1)), priority=2),
    row("mode.cr.cr8_tpr",         "CR8 and the local APIC's TPR are one register", LONG64, (TO_CR8, READ_TPR, WRITE_TPR, FROM_CR8, CR8_0), completes(regs={"rcx": 0x70, "rdx": 0xA}), regs={"rax": 7, "rbx": WINDOW, "rdi": 0xA5, "rsi": 0}, sets=(maps(page(0xFEE0_0000)),), irqchip=True),

    row("mode.efer.sce_toggle",    "EFER: SCE on, and off",                        LONG64, (WRMSR, RDMSR, TO_EBX, NO_SCE, WRMSR, RDMSR), completes(regs={"rbx": EFER | 1, "rax": int(EFER), "rdx": 0}), regs={"rcx": Msr.IA32_EFER, "rax": EFER | 1, "rdx": 0}),
    row("mode.efer.lma_ro",        "EFER: LMA = 0 is not written, on Intel",       LONG64, (WRMSR, RDMSR), completes(regs={"rax": int(EFER)}), regs={"rcx": Msr.IA32_EFER, "rax": int(EFER.but(lma=0)), "rdx": 0}, requires=("Intel vendor",), priority=2),
    row("mode.efer.lma_auto",      "EFER: LMA becomes 1 when paging goes on, and 0 when it goes off", PROT32, (TO_CR3_32, RDMSR, TO_EBX, ON, RDMSR, TO_EBP, OFF, RDMSR), completes(regs={"rbx": LME, "rbp": LME | LMA, "rax": LME, "rdx": 0}),
        regs={"rax": FRAME, "rcx": Msr.IA32_EFER, "rsi": PAGING, "rdi": NO_PAGING}, sets=(*LONG_TABLES, cr4(on=Cr4.pae.mask), msr(Msr.IA32_EFER, LME)), requires=("long mode",)),
    row("mode.efer.lma_clear",     "EFER: LMA becomes 0 when compatibility mode leaves paging", COMPAT32, (OFF, RDMSR, TO_EBX, ON, RDMSR), completes(regs={"rbx": int(EFER.but(lma=0)), "rax": int(EFER), "rdx": 0}), regs={"rcx": Msr.IA32_EFER, "rsi": PAGING, "rdi": NO_PAGING}),
    row("mode.efer.nxe_rsvd",      "EFER: NXE = 0 makes bit 63 of an entry reserved", LONG64, READ, faults(Vector.PF, 0x9, cr2=VA), regs={"rbx": VA}, sets=(maps(page(nx=True)), msr(Msr.IA32_EFER, int(EFER.but(nxe=0)))), requires=("nx",)),
    hosted(hidden("mode.efer.nx_hidden.prot32", "EFER: NXE where CPUID has no NX", PROT32, WRMSR, regs={"rcx": Msr.IA32_EFER, "rax": Efer.nxe.mask, "rdx": 0}, refs=("mode.efer.nx_hidden",)), furnish=without(0x8000_0001, "edx", 1 << 20)),
    hosted(hidden("mode.efer.svme_hidden",      "EFER: SVME where CPUID has no SVM", LONG64, WRMSR, regs={"rcx": Msr.IA32_EFER, "rax": int(EFER.but(svme=1)), "rdx": 0}), furnish=without(0x8000_0001, "ecx", 1 << 2)),
    hosted(hidden("mode.cr.cr4_vmxe_hidden",    "CR4: VMXE where CPUID has no VMX",  LONG64, TO_CR4, regs={"rax": int(CR4.but(vmxe=1))}), furnish=without(1, "ecx", 1 << 5)),

    state("mode.xcr0.xcr1_get",    "XCR1 shows which of XCR0's components are in use", LONG64, (FLD1, XGETBV, *IN_USE_OF_XCR0, FNINIT), completes(keeps=False, regs={"rax": 0, "r8": 1}), regs={"rcx": 1}, sets=(OSXSAVE,), requires=("xsave", "xgetbv1"), priority=2),
    state("mode.xcr0.all",         "XCR0: all that CPUID offers",                  LONG64, (*ALL_COMPONENTS, XSETBV, XGETBV, *COMPARED), completes(keeps=False, regs={"rax": 3, "r8": 0, "r9": 0}), sets=(OSXSAVE, xcr0(1))),
    state("mode.xcr0.ecx_hi",      "The upper half of RCX does not count",         LONG64, (XSETBV, XGETBV), completes(regs={"rax": 3, "rdx": 0}), regs={"rcx": 0xABCD_0000_0000, "rax": 3, "rdx": 0}, sets=(OSXSAVE, xcr0(1)), priority=2),
    state("mode.xcr0.sse_only",    "XCR0 without AVX: an AVX instruction is #UD",  LONG64, (VXORPS, NOP), faults(Vector.UD, at=0), sets=(OSXSAVE, xcr0(3)), requires=("xsave", "avx"), priority=2),
    state("mode.xcr0.persist",     "XCR0 outlives exits",                          LONG64, (CPUID, OUT, FIRST_XCR, XGETBV), completes(keeps=False, regs={"rax": 7, "rdx": 0}), sets=(OSXSAVE, xcr0(7)), requires=("xsave", "avx")),
)
# fmt: on
