"""Who may change IF and IOPL: POPF, CLI and STI.

IOPL changes only at CPL 0.  IF changes only where CPL <= IOPL: there POPF and CLI write it; elsewhere CLI raises #GP(0),
and POPF leaves both fields as they were and says nothing.  A guest kernel run at the wrong level would notice; hardware
that virtualizes it must not.

Each row shows RAX = RFLAGS afterwards, as PUSHF reads them.
"""

from virtproof.conformance.case import Expect, Insn, completes, family
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
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

IF, IOPL3 = Rflags.if_.mask, Rflags.iopl.mask
LONG64 = Mode.LONG64


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
)
# fmt: on
