"""A guest that does nothing but take exceptions does not take the processor from the host.

Each of these keeps a processor busy for ever without a guest instruction that completes.  The second does so inside the
delivery of an exception, where a processor looks at no interrupt: a host that lets #DB go to the guest without a look
hangs for good (CVE-2015-8104; Linux before 4.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Insn, Row, Set, completes, dr, family, mem8
from virtproof.conformance.guest import boot, how_it_ended
from virtproof.conformance.handlers import handled
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Timeout

CITE = (
    sdm("3C", "VMX Non-Root Operation, 'Other Causes of VM Exits', Exceptions"),
    apm(2, "Secure Virtual Machine, 'Exception Intercepts'"),
)
row = family("isolation", *CITE)
LONG64 = Mode.LONG64
IST2, IST2_TOP = 2, At("ist2_top")


def gate(vector: int) -> At:
    return At("idt", 16 * vector)


def to_itself(vector: int) -> tuple[Set, ...]:
    """Handle the exception by the first instruction of the code, on the stack IST2: the same place every time."""
    return *handled(vector, 0), mem8(gate(vector) + 4, IST2)


def _storm(guest: Row, engine: Engine) -> Iterable[Check]:
    """The guest must still be at it when the host wants its processor back."""
    answer = boot(guest, engine).answer
    stopped = isinstance(answer.end, Timeout)
    yield Check("the guest ends with", "the watchdog", how_it_ended(answer) if answer.end else "an answer", stopped)


def storms(id: str, title: str, priority: int, insn: Insn, *sets: Set) -> Case:  # noqa: A002
    guest = row(id, title, LONG64, insn, completes(), sets=sets, seconds=0.2)
    script = partial(_storm, guest)
    return HostScript(
        id=id, title=title, area="isolation", mode=LONG64, cite=CITE, script=script, priority=priority, seconds=10.0
    )  # fmt: skip


# fmt: off
UD2, INT1 = Insn("0f 0b", "ud2"), Insn("f1", "int1")
# Writes of 8 bytes to the frame's first word, which the delivery of #DB itself makes.
ON_ITS_FRAME = (dr(0, IST2_TOP + -8), dr(7, 0x9_0401))

CASES: tuple[Case, ...] = (
    storms("iso.ud_storm", "The host stops a guest whose #UD handler raises #UD",            2, UD2,  *to_itself(Vector.UD)),
    storms("iso.nmi_spin", "The host stops a guest whose #DB comes from delivering #DB",     1, INT1, *to_itself(Vector.DB), *ON_ITS_FRAME),
)
# fmt: on
