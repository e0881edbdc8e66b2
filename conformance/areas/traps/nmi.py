"""The non-maskable interrupt: vector 2, whatever IF says, and none more until IRET.

A second one that comes in the handler is held until the handler's IRET, further ones are lost.  Any IRET ends the
blocking, be it that of an exception inside the handler.  INT 2 enters the handler, and blocks nothing.  It ends HLT, also
with IF = 0.  KVM tells of the blocking in KVM_GET_VCPU_EVENTS; it latches two NMIs where none is blocked.  The host sends them, while
the guest waits in an exit.
"""

from collections.abc import Iterable
from ctypes import sizeof

from virtproof.conformance.case import At, Case, Expect, HostScript, Insn, SendNmi, completes, family, mem8, programs_of
from virtproof.conformance.guest import HOST_PORT, observe
from virtproof.conformance.handlers import handled
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.structures import VcpuEvents
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (
    sdm("3A", "Interrupt and Exception Handling, 'Nonmaskable Interrupt (NMI)'"),
    apm(2, "Exceptions and Interrupts, '#NMI-Non-Maskable-Interrupt Exception (Vector 2)'"),
    linux("virt/kvm/api.rst", "KVM_NMI"),
)
LONG64 = Mode.LONG64
row = family("traps", *CITE, irqchip=True, acts=(SendNmi(),), regs={"rax": 0, "rdx": HOST_PORT})
nmi = programs_of("traps", "lapic", *CITE, acts=(SendNmi(),))
alone = programs_of("traps", "nmi", *CITE, acts=(SendNmi(),), priority=2)
two = programs_of("traps", "ipi", *CITE, vcpus=2)
IST1 = At("ist1_top")

# fmt: off
SEND, NOP, HLT = Insn("ee", "out dx, al"), Insn("90", "nop"), Insn("f4", "hlt")
ASK = (Insn("b0 01", "mov al, 1"), SEND)
# The handler, behind JMP, asks the host; so does the code that it returns to.
ASKS_TWICE = (SEND, NOP, NOP, *ASK, Insn("eb 05", "jmp 0xd"), *ASK, Insn("48 cf", "iretq"))


def _masked(engine: Engine) -> Iterable[Check]:
    """nmi.masked as KVM_GET_VCPU_EVENTS has it: in the handler, and behind its IRET."""
    told: list[int] = []

    def tell(machine: Machine) -> None:
        events = VcpuEvents.from_buffer_copy(kvm_vcpu(machine).get(Ioctl.GET_VCPU_EVENTS, sizeof(VcpuEvents)))
        told.append(events.nmi.masked)

    guest = row("trap.nmi.vnmi_events", "", LONG64, ASKS_TWICE, completes(regs={"rax": 1}), sets=handled(2, 8))
    observe(guest, engine, calls={1: tell})
    for where, want, saw in zip(("in the handler", "behind its IRET"), (1, 0), told, strict=True):
        yield Check(f"nmi.masked {where}", str(want), str(saw), want == saw)


CASES: tuple[Case, ...] = (
    row("trap.nmi.deliver.long64",  "An NMI comes with IF = 0, at the next instruction, without an error code", LONG64, (SEND, NOP, NOP), Expect(vector=2, at=1)),
    row("trap.nmi.ist.long64",      "An NMI uses the stack that its gate names",  LONG64, (SEND, NOP, NOP), Expect(vector=2, at=1, frame=IST1 + -40),
        sets=(mem8(At("idt", 16 * 2 + 4), 1),)),
    nmi("trap.nmi.blocked.long64",    "A second NMI waits for IRET",                           "nmi_blocked", (2, 0x102, 2, 0x102, 0),          0),
    nmi("trap.nmi.nested_exc.long64", "IRET of an exception in the handler lets the next in",  "nmi_nested",  (2, 6, 2, 0x102, 0x102, 0),       0),
    nmi("trap.nmi.int_in_nmi.long64", "Interrupts come in the handler where IF is set",        "nmi_open",    (2, 0x40, 0x102, 0),              0),
    nmi("trap.nmi.sti_hlt.long64",    "An NMI goes before an interrupt",                       "nmi_first",   (2, 0x40, 0),                     0),
    two("trap.nmi.wake_hlt.long64",   "An NMI ends HLT with IF = 0, and RIP is behind it",     "halted_deaf", (0, 0, 1, 1),                     0, 2),
    alone("trap.nmi.third_lost.long64",    "Of five in a handler one is kept, or two",         "nmi_flood",   (1, 1)),
    alone("trap.nmi.intn2_noblock.long64", "INT 2 blocks no NMI: it nests in the handler",     "nmi_in_int2", (2, 2)),
    HostScript(id="trap.nmi.vnmi_events.long64", title="KVM_GET_VCPU_EVENTS tells of the blocking", area="traps", mode=LONG64,
               cite=(*CITE, linux("virt/kvm/api.rst", "KVM_GET_VCPU_EVENTS")), script=_masked, priority=2),
)
# fmt: on
