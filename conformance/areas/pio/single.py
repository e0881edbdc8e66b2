"""IN and OUT: one instruction, one access of its own size at its own port.

The port is an 8-bit immediate or all 16 bits of DX, whatever RDX holds above them.  IN of a byte or a word leaves the
rest of RAX alone; of a doubleword it clears RAX's upper half, as every 32-bit result does in 64-bit mode.  REX.W
changes nothing: there is no 64-bit port access.  Flags and all other registers are kept.
"""

from virtproof.conformance.case import Answers, Insn, completes, family, pio_in, pio_out
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.flags import Rflags

row = family(
    "pio",
    sdm("2A", "Instruction Set Reference, 'IN-Input from Port'"),
    sdm("2B", "Instruction Set Reference, 'OUT-Output to Port'"),
    apm(3, "General-Purpose Instruction Reference, 'IN' and 'OUT'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_IO"),
)

LONG64 = Mode.LONG64
OLD = 0x1122_3344_5566_7788
REGS = {"rax": OLD, "rdx": 0xFFFF_FFFF_FFFF_1234}
DEVICES = (Answers("pio", 0x80, 4, (0xD1C2_B3A4,)), Answers("pio", 0x1234, 4, (0xD1C2_B3A4,)))
STATUS = Rflags(0).but(cf=1, pf=1, af=1, zf=1, sf=1, of=1)
DF = Rflags.df.mask

# fmt: off
FORMS = (
    # id              instruction                         RAX behind it          the access
    ("pio.in1.imm",   Insn("e4 80",    "in al, 0x80"),    0x1122_3344_5566_77A4, pio_in(0x80, 1, 0xA4)),
    ("pio.in2.imm",   Insn("66 e5 80", "in ax, 0x80"),    0x1122_3344_5566_B3A4, pio_in(0x80, 2, 0xB3A4)),
    ("pio.in4.imm",   Insn("e5 80",    "in eax, 0x80"),   0x0000_0000_D1C2_B3A4, pio_in(0x80, 4, 0xD1C2_B3A4)),
    ("pio.in1.dx",    Insn("ec",       "in al, dx"),      0x1122_3344_5566_77A4, pio_in(0x1234, 1, 0xA4)),
    ("pio.in2.dx",    Insn("66 ed",    "in ax, dx"),      0x1122_3344_5566_B3A4, pio_in(0x1234, 2, 0xB3A4)),
    ("pio.in4.dx",    Insn("ed",       "in eax, dx"),     0x0000_0000_D1C2_B3A4, pio_in(0x1234, 4, 0xD1C2_B3A4)),
    ("pio.out1.imm",  Insn("e6 80",    "out 0x80, al"),   OLD,                   pio_out(0x80, 1, 0x88)),
    ("pio.out2.imm",  Insn("66 e7 80", "out 0x80, ax"),   OLD,                   pio_out(0x80, 2, 0x7788)),
    ("pio.out4.imm",  Insn("e7 80",    "out 0x80, eax"),  OLD,                   pio_out(0x80, 4, 0x5566_7788)),
    ("pio.out1.dx",   Insn("ee",       "out dx, al"),     OLD,                   pio_out(0x1234, 1, 0x88)),
    ("pio.out2.dx",   Insn("66 ef",    "out dx, ax"),     OLD,                   pio_out(0x1234, 2, 0x7788)),
    ("pio.out4.dx",   Insn("ef",       "out dx, eax"),    OLD,                   pio_out(0x1234, 4, 0x5566_7788)),
)

CASES = (
    *(row(id_, f"{insn.text.upper()} is one access", LONG64, insn, completes(regs={"rax": rax}, accesses=(access,), flags_clear=STATUS),
          regs=REGS, answers=DEVICES) for id_, insn, rax, access in FORMS),
    row("pio.x.rex_ignored", "REX.W does not make IN and OUT 64 bits wide", LONG64,
        (Insn("48 ed", "in eax, dx"), Insn("48 ef", "out dx, eax")),
        completes(regs={"rax": 0xD1C2_B3A4}, accesses=(pio_in(0x1234, 4, 0xD1C2_B3A4), pio_out(0x1234, 4, 0xD1C2_B3A4))),
        regs=REGS, answers=DEVICES, priority=2),
    row("pio.x.prefix66", "66 selects 16 bits, however often", LONG64, (Insn("66 66 ed", "in ax, dx"), Insn("66 66 ef", "out dx, ax")),
        completes(regs={"rax": 0x1122_3344_5566_B3A4}, accesses=(pio_in(0x1234, 2, 0xB3A4), pio_out(0x1234, 2, 0xB3A4))),
        regs=REGS, answers=DEVICES, priority=2),
    row("pio.x.compat", "IN and OUT work in compatibility mode", Mode.COMPAT32, (Insn("e4 80", "in al, 0x80"), Insn("e6 80", "out 0x80, al")),
        completes(regs={"rax": 0x5566_77A4}, accesses=(pio_in(0x80, 1, 0xA4), pio_out(0x80, 1, 0xA4))),
        regs={"rax": 0x5566_7788}, answers=DEVICES, priority=3),
    row("pio.x.a20", "Port 92H comes out: the kernel has no gate for A20", LONG64, Insn("e4 92", "in al, 0x92"),
        completes(regs={"rax": 0x1122_3344_5566_7702}, accesses=(pio_in(0x92, 1, 0x02),)), regs=REGS, answers=(Answers("pio", 0x92, 1, (0x02,)),), priority=3),
    row("pio.x.vmw", "The port of VMware's backdoor, 5658H, comes out like any other", LONG64, Insn("ed", "in eax, dx"),
        completes(regs={"rax": 0xD1C2_B3A4}, accesses=(pio_in(0x5658, 4, 0xD1C2_B3A4),)),
        regs={"rax": 0x564D_5868, "rcx": 10, "rdx": 0x5658}, answers=(Answers("pio", 0x5658, 4, (0xD1C2_B3A4,)),), priority=3),
    row("pio.x.gpr_keep", "IN changes AL and nothing else", LONG64, Insn("ec", "in al, dx"),
        completes(regs={"rax": 0x1122_3344_5566_77A4}, flags_set=STATUS | DF), regs=REGS, flags=2 | STATUS | DF, answers=DEVICES),
)
# fmt: on
