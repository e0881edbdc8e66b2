"""The non-maskable interrupt: vector 2, whatever IF says, and none more until IRET.

A second one that comes in the handler is held until the handler's IRET.  Any IRET ends the blocking, be it that of an
exception inside the handler.  It ends HLT.  KVM tells of the blocking in KVM_GET_VCPU_EVENTS.  The host sends them, while
the guest waits in an exit.
"""

from virtproof.conformance.case import At, Case, Expect, Insn, SendNmi, family, mem8, programs_of
from virtproof.conformance.guest import HOST_PORT
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm

CITE = (
    sdm("3A", "Interrupt and Exception Handling, 'Nonmaskable Interrupt (NMI)'"),
    apm(2, "Exceptions and Interrupts, '#NMI-Non-Maskable-Interrupt Exception (Vector 2)'"),
    linux("virt/kvm/api.rst", "KVM_NMI"),
)
LONG64 = Mode.LONG64
row = family("traps", *CITE, irqchip=True, acts=(SendNmi(),), regs={"rax": 0, "rdx": HOST_PORT})
nmi = programs_of("traps", "lapic", *CITE, acts=(SendNmi(),))
IST1 = At("ist1_top")

# fmt: off
SEND, NOP, CLI, HLT = Insn("ee", "out dx, al"), Insn("90", "nop"), Insn("fa", "cli"), Insn("f4", "hlt")

CASES: tuple[Case, ...] = (
    row("trap.nmi.deliver.long64",  "An NMI comes with IF = 0, at the next instruction, without an error code", LONG64, (SEND, NOP, NOP), Expect(vector=2, at=1)),
    row("trap.nmi.ist.long64",      "An NMI uses the stack that its gate names",  LONG64, (SEND, NOP, NOP), Expect(vector=2, at=1, frame=IST1 + -40),
        sets=(mem8(At("idt", 16 * 2 + 4), 1),)),
    nmi("trap.nmi.blocked.long64",    "A second NMI waits for IRET",                           "nmi_blocked", (2, 0x102, 2, 0x102, 0),          0),
    nmi("trap.nmi.nested_exc.long64", "IRET of an exception in the handler lets the next in",  "nmi_nested",  (2, 6, 2, 0x102, 0x102, 0),       0),
    nmi("trap.nmi.int_in_nmi.long64", "Interrupts come in the handler where IF is set",        "nmi_open",    (2, 0x40, 0x102, 0),              0),
    nmi("trap.nmi.sti_hlt.long64",    "An NMI goes before an interrupt",                       "nmi_first",   (2, 0x40, 0),                     0),
)
# fmt: on
