"""Who may change IF and IOPL: POPF, CLI and STI.

IOPL changes only at CPL 0.  IF changes only where CPL <= IOPL: there POPF and CLI write it; elsewhere CLI raises #GP(0),
and POPF leaves both fields as they were and says nothing.  A guest kernel run at the wrong level would notice; hardware
that virtualizes it must not.

POPF writes no reserved bit and neither VM nor RF; IRET follows the same rules for IF and IOPL, and in long mode takes no VM.
With CR4.PVI = 1, CLI and STI at CPL 3 below IOPL work on VIF instead, and STI raises #GP(0) while VIP is set.

Each row shows RAX = RFLAGS afterwards, as PUSHF reads them.
"""

from virtproof.conformance.case import At, Expect, Insn, completes, cr4, family, faults, traps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "privileged",
    sdm("2B", "Instruction Set Reference, 'POPF/POPFD/POPFQ-Pop Stack into EFLAGS Register'"),
    apm(2, "System Resources, 'RFLAGS Register'"),
)

POPFQ, PUSHFQ, POP_RAX = Insn("9d", "popfq"), Insn("9c", "pushfq"), Insn("58", "pop rax")
SHOW = (PUSHFQ, POP_RAX)
POP_0 = (Insn("6a 02", "push 2"), POPFQ, *SHOW)
POP_IF = (Insn("68 02 02 00 00", "push 0x202"), POPFQ, *SHOW)
POP_IOPL3 = (Insn("68 02 30 00 00", "push 0x3002"), POPFQ, *SHOW)
POP_ID = (Insn("68 02 00 20 00", "push 0x200002"), POPFQ, *SHOW)
POP_AC = (Insn("68 02 00 04 00", "push 0x40002"), POPFQ, *SHOW)
CLI, STI = (Insn("fa", "cli"), *SHOW), (Insn("fb", "sti"), *SHOW)

NOP = Insn("90", "nop")
POP_TF = (Insn("68 02 01 00 00", "push 0x102"), POPFQ, NOP, NOP)
POP_RESERVED = (Insn("50", "push rax"), POPFQ, *SHOW)
POP_16 = (Insn("66 6a 02", "push 2"), Insn("66 9d", "popf"), *SHOW)
SHOW32 = (Insn("9c", "pushfd"), Insn("58", "pop eax"))
POP_VM = (Insn("68 02 00 02 00", "push 0x20002"), Insn("9d", "popfd"), *SHOW32)
# IRET to the instruction behind it: its address is in RAX.
IRET_IOPL3 = (
    Insn("6a 2b", "push 0x2b"), Insn("53", "push rbx"), Insn("68 02 30 00 00", "push 0x3002"), Insn("6a 33", "push 0x33"),
    Insn("50", "push rax"), Insn("48 cf", "iretq"), *SHOW,
)  # fmt: skip
IRET_VM = (
    Insn("68 02 00 02 00", "push 0x20002"),
    Insn("6a 18", "push 0x18"),
    Insn("50", "push eax"),
    Insn("cf", "iretd"),
    *SHOW32,
)
CLI_ALONE, STI_ALONE = Insn("fa", "cli"), Insn("fb", "sti")

IF, IOPL3 = Rflags.if_.mask, Rflags.iopl.mask
AC, ID, TF, RF, VM, VIF, VIP = (getattr(Rflags, name).mask for name in ("ac", "id", "tf", "rf", "vm", "vif", "vip"))
RESERVED = 0xFFFF_FFFF_FFC0_8028
PVI = {"sets": (cr4(on=Cr4.pvi.mask),), "requires": ("vme",), "priority": 3}
LONG64, PROT32 = Mode.LONG64, Mode.PROT32


def shows(flags: int) -> Expect:
    return completes(regs={"rax": 2 | flags})


# fmt: off
CASES = (
    row("priv.flags.popf_if_iopl0",     "POPF at CPL 3, IOPL 0, does not clear IF",      LONG64, POP_0,     shows(IF),         ring=3, flags=2 | IF),
    row("priv.flags.popf_if_set_iopl0", "POPF at CPL 3, IOPL 0, does not set IF",        LONG64, POP_IF,    shows(0),          ring=3),
    row("priv.flags.popf_if_iopl3",     "POPF at CPL 3, IOPL 3, clears IF",              LONG64, POP_IOPL3, shows(IOPL3),      ring=3, flags=2 | IF | IOPL3, priority=2),
    row("priv.flags.popf_iopl",         "POPF at CPL 3 does not lower IOPL",             LONG64, POP_IF,    shows(IF | IOPL3), ring=3, flags=2 | IOPL3),
    row("priv.flags.popf_iopl_raise",   "POPF at CPL 3 does not raise IOPL",             LONG64, POP_IOPL3, shows(0),          ring=3),
    row("priv.flags.popf_iopl_cpl0",    "POPF at CPL 0 sets IOPL",                       LONG64, POP_IOPL3, shows(IOPL3), priority=2),
    row("priv.flags.popf_id",           "POPF at CPL 0 sets ID",                         LONG64, POP_ID,    shows(Rflags.id.mask), priority=2),
    row("priv.flags.popf_ac",           "POPF at CPL 3 sets AC",                         LONG64, POP_AC,    shows(Rflags.ac.mask), ring=3, priority=2),
    row("priv.flags.cli_iopl3",         "CLI at CPL 3, IOPL 3, clears IF",               LONG64, CLI,       shows(IOPL3),      ring=3, flags=2 | IF | IOPL3, priority=2),
    row("priv.flags.sti_iopl3",         "STI at CPL 3, IOPL 3, sets IF",                 LONG64, STI,       shows(IF | IOPL3), ring=3, flags=2 | IOPL3),
    row("priv.flags.popf_tf_cpl3",      "POPF at CPL 3 sets TF: #DB behind the next instruction", LONG64, POP_TF, traps(Vector.DB, at=2, flags_set=TF, dr6_set=1 << 14), ring=3, priority=2),
    row("priv.flags.popf_rsvd",         "POPF ignores reserved bits",                    LONG64, POP_RESERVED, shows(0), regs={"rax": RESERVED}, priority=2),
    row("priv.flags.popf_vm",           "POPF does not set VM",                          PROT32, POP_VM,    completes(regs={"rax": 2}, flags_clear=VM), priority=2),
    row("priv.flags.popf16",            "POPF of 16 bits leaves AC and ID alone",        LONG64, POP_16,    shows(AC | ID), flags=2 | AC | ID, priority=3),
    row("priv.flags.pushf_vm_rf",       "PUSHF shows RF clear though it is set",         PROT32, SHOW32,    completes(regs={"rax": 2}), flags=2 | RF, priority=3),
    row("priv.flags.iret_iopl_cpl3",    "IRET at CPL 3, IOPL 0, changes neither IOPL nor IF", LONG64, IRET_IOPL3, shows(IF), ring=3, flags=2 | IF, regs={"rax": At("user_code", 13), "rbx": At("user_stack_top")}, priority=2),
    row("priv.vm86.long_absent",        "IRET does not set VM under long mode",          Mode.COMPAT32, IRET_VM, completes(regs={"rax": 2}, flags_clear=VM), regs={"rax": At("kernel_code", 9)}, priority=3),
    row("priv.flags.pvi_cli",           "CLI at CPL 3 with PVI clears VIF, not IF",      PROT32, CLI_ALONE, completes(flags_set=IF, flags_clear=VIF), ring=3, flags=2 | IF | VIF, **PVI),
    row("priv.flags.pvi_sti",           "STI at CPL 3 with PVI sets VIF, not IF",        PROT32, STI_ALONE, completes(flags_set=VIF, flags_clear=IF), ring=3, **PVI),
    row("priv.flags.pvi_sti_vip",       "STI at CPL 3 with PVI and VIP",                 PROT32, STI_ALONE, faults(Vector.GP, 0, flags_clear=VIF), ring=3, flags=2 | VIP, **PVI),
)
# fmt: on
