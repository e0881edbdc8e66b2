"""Switches of mode: each by its own few steps, and back again before the row ends.

Real to protected mode is MOV to CR0 with PE = 1 and a far jump; until the jump CS is what it was.  Segments keep
what they loaded last: a 4 GiB limit survives the way back to real mode, and a real-mode load changes the base only
("unreal mode").  Long mode comes by PAE, CR3, LME and PG, to 64-bit code by a far jump to L = 1; far returns lead to
compatibility mode (L = 0), with 16-bit operands where D = 0.  Clearing PG there leaves long mode.

Bytes that run in another mode than the row's are written as the row's mode reads them: 48 is DEC EAX in 32-bit code, and a
prefix in 64-bit code; FF C0 is INC EAX or INC AX.
"""

from collections.abc import Iterable

from virtproof.conformance.case import (
    At,
    Case,
    HostScript,
    Insn,
    Part,
    Ram,
    Set,
    completes,
    cr4,
    family,
    mem16,
    mem32,
    mem64,
    msr,
)
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.conformance.spare import CODE, CODE_16, CODE_64, DATA, DATA_16, HIGH, spare
from virtproof.conformance.window import FRAME, table
from virtproof.guest_payloads.table import SetKind
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Segment

CITE = (
    sdm("3A", "Processor Management and Initialization, 'Mode Switching'"),
    apm(2, "Processor Initialization and Long Mode Activation"),
)
row = family("modes", *CITE)
long = family(
    "modes",
    sdm("3A", "Processor Management and Initialization, 'Initializing IA-32e Mode'"),
    apm(2, "Processor Initialization and Long Mode Activation, 'Enabling and Activating Long Mode'"),
)

REAL16, PROT16, PROT32, PAE32 = Mode.REAL16, Mode.PROT16, Mode.PROT32, Mode.PAE32
COMPAT32, LONG64 = Mode.COMPAT32, Mode.LONG64
K = At("kernel_data")
KERNEL = At("kernel_stack_top")

# Real mode; the code is at 0:9000 (real16.ld).
LGDT = Insn("0f 01 17", "lgdt [bx]")
PE_ON, PE_OFF = Insn("0f 22 c0", "mov cr0, eax"), Insn("0f 22 c1", "mov cr0, ecx")
TO_CODE_32 = Insn("ea 0b 90 08 00", "ljmp 8:0x900b")
INC_EBP = Insn("45", "inc bp")
TO_CODE_16 = (Insn("56", "push si"), Insn("57", "push di"), Insn("cb", "retf"))  # PUSH ESI, PUSH EDI, RETF
MOV_DS, MOV_DS_BP = Insn("8e de", "mov ds, si"), Insn("8e dd", "mov ds, bp")
LOAD = Insn("67 8a 17", "mov dl, byte ptr [edi]")
NOP = Insn("90", "nop")
READ_CR0 = Insn("0f 20 c2", "mov edx, cr0")
SEND = Insn("ee", "out dx, al")
MOV_ES = Insn("8e c0", "mov es, ax")
STORE_ES, LOAD_ES, LOAD_16 = (
    Insn("26 89 16 10 a0", "mov word ptr es:[0xa010], dx"),
    Insn("26 8b 1e 10 a0", "mov bx, word ptr es:[0xa010]"),
    Insn("8b 0e 00 a0", "mov cx, word ptr [0xa000]"),
)


def to_real(offset: int) -> Insn:
    """A far jump to the code's byte ``offset``, in segment 0."""
    return Insn(f"ea {offset:02x} 90 00 00", f"ljmp 0:0x90{offset:02x}")


# A GDT: 0x08 32-bit code, 0x10 data of 4 GiB, 0x18 16-bit code.
GDT = (
    mem16(K, 0x1F),
    mem32(K + 2, K + 0x20),
    mem64(K + 0x28, CODE),
    mem64(K + 0x30, DATA),
    mem64(K + 0x38, 0x0000_9B00_0000_FFFF),
)
PE = {"rax": 0x11, "rcx": 0x10}  # CR0 with and without
THERE_AND_BACK = {"rbx": K, "rbp": 0x1234_FFFF, "rsi": 0x18, "rdi": At("kernel_code", 0xF)} | PE
UNREAL = (LGDT, PE_ON, MOV_DS, PE_OFF, to_real(0x10))

# 16-bit protected mode; the code is at B000 (low.ld), its INT n leads behind itself.
PM_CR0 = INITIAL[PROT16].cr0
REAL_CR0, PM_CR0_AGAIN = Insn("0f 22 c0", "mov cr0, eax"), Insn("0f 22 c6", "mov cr0, esi")
TO_REAL_B008, TO_PM_B015 = Insn("ea 08 b0 00 00", "ljmp 0:0xb008"), Insn("ea 15 b0 68 00", "ljmp 0x68:0xb015")
LIDT, LIDT_DI = Insn("0f 01 1f", "lidt [bx]"), Insn("0f 01 1d", "lidt [di]")
INT_20 = Insn("cd 20", "int 0x20")
TABLES_16 = (
    mem32(At("ivt", 4 * 0x20), 0xB00D),
    mem16(K, 0x3FF), mem32(K + 2, 0),
    mem16(K + 16, 256 * 8 - 1), mem32(K + 18, At("idt")),
)  # fmt: skip

# 32-bit code at 15000 (trampoline.ld).
PAGING, NO_PAGING = int(INITIAL[PAE32].cr0), int(INITIAL[PROT32].cr0)
ON, OFF = Insn("0f 22 c6", "mov cr0, esi"), Insn("0f 22 c7", "mov cr0, edi")
CR3_EAX, CR3_EDX, CR3_EBX = (
    Insn("0f 22 d8", "mov cr3, eax"),
    Insn("0f 22 da", "mov cr3, edx"),
    Insn("0f 22 db", "mov cr3, ebx"),
)
CR4_EBP = Insn("0f 22 e5", "mov cr4, ebp")
TO_64 = Insn("ea 0d 50 01 00 48 00", "ljmp 0x48:0x1500d")
SHL_RBX = (Insn("48", "dec eax"), Insn("c1 e3 20", "shl ebx, 0x20"))
RDMSR, WRMSR = Insn("0f 32", "rdmsr"), Insn("0f 30", "wrmsr")
TO_EBX, TO_EBP = Insn("89 c3", "mov ebx, eax"), Insn("89 c5", "mov ebp, eax")
TO_COMPAT = (
    Insn("89 e4", "mov esp, esp"),
    Insn("6a 08", "push 8"),
    Insn("57", "push edi"),
    Insn("48", "dec eax"),
    Insn("cb", "retf"),
)
LEAVE_PAGING = (
    Insn("0f 20 c0", "mov eax, cr0"),
    Insn("0f ba f0 1f", "btr eax, 0x1f"),
    Insn("0f 22 c0", "mov cr0, eax"),
)
LME_OFF, LME_ON = Insn("80 e4 fe", "and ah, 0xfe"), Insn("80 cc 01", "or ah, 1")
READ_ECX, READ_EDX = Insn("8b 0b", "mov ecx, dword ptr [ebx]"), Insn("8b 13", "mov edx, dword ptr [ebx]")
MOV_SS, MOV_ESP, PUSH = Insn("8e d0", "mov ss, eax"), Insn("89 cc", "mov esp, ecx"), Insn("52", "push edx")
READ_7FC = Insn("8b 3d fc 07 00 00", "mov edi, dword ptr [0x7fc]")
POP_ECX, POP_EDX = Insn("59", "pop ecx"), Insn("5a", "pop edx")

LONG_TABLES = (
    mem64(FRAME, table(FRAME + 0x1000)),
    mem64(FRAME + 0x1000, table(FRAME + 0x2000)),
    mem64(FRAME + 0x2000, 0x83),
)
LME, LMA, NXE = Efer.lme.mask, Efer.lma.mask, Efer.nxe.mask
EFER_MSR = {"rcx": Msr.IA32_EFER}
# Linear 4 MiB: by two-level tables physical 0, by PAE tables kernel_data.
TWO_TABLES = (
    mem64(FRAME, 0x83 | 0x83 << 32),
    mem64(FRAME + 0x1000, FRAME + 0x2001),
    mem64(FRAME + 0x2000, 0x83), mem64(FRAME + 0x2010, FRAME + 0x3003), mem64(FRAME + 0x3000, K + 3),
    mem32(0x128, 0x1234), mem32(K + 0x128, 0x5678),
)  # fmt: skip
GP_GATE = At("idt", 8 * Vector.GP)
BAD_PDPTE = (
    mem64(K, At("pd", 1 | 1 << 1)), mem64(K + 8, 0), mem64(K + 16, 0), mem64(K + 24, 0),
    Set(SetKind.MEM16, GP_GATE, At("kernel_code", 9)), mem16(GP_GATE + 6, HIGH),
)  # fmt: skip

# 64-bit code at 15000.
PUSH_18, PUSH_48, PUSH_RDI, RETFQ = (
    Insn("6a 18", "push 0x18"),
    Insn("6a 48", "push 0x48"),
    Insn("57", "push rdi"),
    Insn("48 cb", "retfq"),
)
DEC_INC, INC_AX = Insn("48 ff c3", "inc rbx"), Insn("ff c0", "inc eax")


def _code_segment(engine: Engine) -> Iterable[Check]:
    """What KVM says of CS while 32-bit code runs."""
    seen: list[Segment] = []

    def look(machine: Machine) -> None:
        seen.append(machine.vcpu.special_registers().cs)

    guest = row(
        "mode.trans.real_to_prot.sregs", "", REAL16,
        (LGDT, PE_ON, TO_CODE_32, SEND, *TO_CODE_16, PE_OFF, to_real(0x17)), completes(),
        regs=THERE_AND_BACK | {"rdx": HOST_PORT}, sets=GDT,
    )  # fmt: skip
    yield from check(guest, engine, calls={PE["rax"]: look})
    for cs in seen:
        for name, want in (("selector", 8), ("db", 1), ("l", 0), ("base", 0), ("limit", 0xFFFF_FFFF)):
            saw = getattr(cs, name)
            yield Check(f"CS: {name}", f"{want:#x}", f"{saw:#x}", saw == want)


# fmt: off
CASES: tuple[Case, ...] = (
    row("mode.trans.real_to_prot",   "Real to protected mode: 32-bit code runs, and back",   REAL16, (LGDT, PE_ON, TO_CODE_32, INC_EBP, *TO_CODE_16, PE_OFF, to_real(0x17)), completes(cs=0, regs={"rbp": 0x1235_0000}), regs=THERE_AND_BACK, sets=GDT),
    HostScript(id="mode.trans.real_to_prot.sregs", title="... and KVM says what CS is then", area="modes", mode=REAL16, cite=CITE, script=_code_segment, refs=("mode.trans.real_to_prot",)),
    row("mode.trans.prot_to_real.prot16", "Protected to real mode: the vector table works, and back", PROT16, (REAL_CR0, TO_REAL_B008, LIDT, INT_20, PM_CR0_AGAIN, TO_PM_B015, LIDT_DI),
        completes(cs=0x68, regs={"rsp": KERNEL + -6}, memory={KERNEL + -6: (Part("IP, CS, FLAGS", 0, 6, 0x0002_0000_B00D, -1),)}), regs={"rax": int(PM_CR0.but(pe=0)), "rsi": int(PM_CR0), "rbx": K, "rdi": K + 16}, sets=TABLES_16, refs=("mode.trans.prot_to_real",)),
    row("mode.trans.prot_to_real_stale", "A limit of 4 GiB survives the way to real mode",   REAL16, (*UNREAL, LOAD), completes(regs={"rdx": 0x77}), regs=PE | {"rbx": K, "rsi": 0x10, "rdi": 0x10_0128, "rdx": 0}, sets=GDT, ram=(Ram(0x10_0000, 0x1000),), fill={0x10_0128: 0x77}),
    row("mode.trans.unreal_reload",  "... and a real-mode load, which changes the base",     REAL16, (*UNREAL, MOV_DS_BP, LOAD), completes(regs={"rdx": 0x77}), regs=PE | {"rbx": K, "rsi": 0x10, "rbp": 0x100, "rdi": 0x20_0128 - 0x1000, "rdx": 0}, sets=GDT, ram=(Ram(0x20_0000, 0x1000),), fill={0x20_0128: 0x77}, priority=2),
    row("mode.trans.unreal_cs",      "Until the far jump CS is that of real mode, and CPL 0", REAL16, (LGDT, PE_ON, NOP, NOP, READ_CR0, PE_OFF, to_real(0x13)), completes(cs=0, regs={"rdx": 0x11}), regs=PE | {"rbx": K}, sets=GDT, priority=2),
    row("mode.trans.a20_none",       "Address bit 20 is not masked",                         REAL16, (MOV_ES, STORE_ES, LOAD_16, LOAD_ES), completes(regs={"rcx": 0x0202_5555, "rbx": 0x0404_7777}), regs={"rax": 0xFFFF, "rdx": 0x7777}, sets=(mem16(K, 0x5555),), ram=(Ram(0x10_A000, 0x1000),), priority=2),

    row("mode.trans.pm32_ss16",      "32-bit code with SS.B = 0: PUSH uses SP",              PROT32, (MOV_SS, MOV_ESP, PUSH, READ_7FC), completes(ss=0x48, regs={"rsp": 0x1234_07FC, "rdi": 0x0303_0303}), regs={"rax": 0x48, "rcx": 0x1234_0800}, sets=(*spare(DATA_16), mem32(0x7FC, 0)), priority=2),
    row("mode.trans.pse36_to_pae",   "From two-level tables to PAE, with paging off between", PROT32, (CR3_EAX, ON, READ_ECX, OFF, CR4_EBP, CR3_EDX, ON, READ_EDX, OFF), completes(regs={"rcx": 0x1234, "rdx": 0x5678}), regs={"rax": FRAME, "rdx": FRAME + 0x1000, "rbx": 0x40_0128, "rbp": Cr4.pae.mask, "rsi": PAGING, "rdi": NO_PAGING},
        sets=(*TWO_TABLES, cr4(on=Cr4.pse.mask)), requires=("pse", "pae"), priority=2),
    row("mode.cr.cr0_pdptr_rsvd",    "Paging goes on with bit 1 of a PDPTE: #GP(0)",         PAE32,  (OFF, CR3_EAX, ON, POP_ECX, POP_EDX, CR3_EBX, ON), completes(regs={"rcx": 0, "rdx": At("kernel_code", 6), "rsp": KERNEL + -8}), regs={"rax": K, "rbx": At("pdpt"), "rsi": PAGING, "rdi": NO_PAGING}, sets=BAD_PDPTE, priority=2),

    long("mode.trans.prot_to_long",  "Protected to 64-bit mode, and back",                   PROT32, (CR3_EAX, ON, TO_64, *SHL_RBX, RDMSR, TO_EBP, *TO_COMPAT, *LEAVE_PAGING), completes(cs=0x08, regs={"rax": NO_PAGING, "rdx": 0, "rbx": 0, "rbp": LME | LMA}),
        regs=EFER_MSR | {"rax": FRAME, "rsi": PAGING, "rdi": At("kernel_code", 0x1C)}, sets=(*LONG_TABLES, *spare(CODE_64), cr4(on=Cr4.pae.mask), msr(Msr.IA32_EFER, LME)), requires=("long mode",)),
    long("mode.trans.long_to_compat", "64-bit to compatibility mode: 48 is DEC EAX",         LONG64, (PUSH_18, PUSH_RDI, RETFQ, DEC_INC), completes(cs=0x18, keeps=False, regs={"rax": 4, "rbx": 8, "rsp": KERNEL}), regs={"rax": 5, "rbx": 7, "rdi": At("kernel_code", 5)}),
    long("mode.trans.compat16.long64", "... to 16-bit code: FF C0 is INC AX",                LONG64, (PUSH_48, PUSH_RDI, RETFQ, INC_AX), completes(cs=0x48, keeps=False, regs={"rax": 0x1234_0000, "rsp": KERNEL}), regs={"rax": 0x1234_FFFF, "rdi": At("kernel_code", 5)}, sets=spare(CODE_16), priority=2, refs=("mode.trans.compat16",)),
    long("mode.trans.long_to_prot",  "Compatibility to protected mode, and back",            COMPAT32, (OFF, RDMSR, LME_OFF, WRMSR, RDMSR, TO_EBX, LME_ON, WRMSR, ON, RDMSR), completes(regs={"rbx": NXE, "rax": NXE | LME | LMA, "rdx": 0}), regs=EFER_MSR | {"rsi": PAGING, "rdi": NO_PAGING}),
)
# fmt: on
