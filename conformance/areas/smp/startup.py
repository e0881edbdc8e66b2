"""INIT-SIPI-SIPI starts every other processor, once, at the page that the SIPI names.

An INIT leaves a processor waiting for a SIPI; the first SIPI makes it run in real mode at CS = vector * 256, IP = 0, and
a second finds it running and is ignored.  Both may go to all others by a shorthand.  From then on processors run at
the same time: each has an APIC id of its own, a locked addition loses nothing, and an IPI reaches the processor that
its destination names.
"""

from virtproof.conformance.case import Case, Program
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm

ROUNDS = 1000  # locked additions of each processor: smp.c


def starts(id: str, title: str, processors: int) -> Program:  # noqa: A002
    return Program(
        id=id,
        title=title,
        area="smp",
        mode=Mode.LONG64,
        cite=(
            sdm("3A", "Multiple-Processor Management, 'Multiple-Processor (MP) Initialization'"),
            sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Issuing Interprocessor Interrupts'"),
            apm(2, "Advanced Programmable Interrupt Controller (APIC), 'Interprocessor Interrupts (IPI)'"),
        ),
        refs=("smp.init_sipi", "irq.ap.init_sipi") if processors > 1 else (),
        image="smp",
        vcpus=processors,
        irqchip=True,
        arguments=(processors,),
        # How many ran, how many APIC ids they have, what they counted together, how many took the IPI sent to them.
        observations=(processors, processors, ROUNDS * processors, processors - 1),
        seconds=10.0,
    )


# fmt: off
CASES: tuple[Case, ...] = (
    starts("smp.init_sipi.1", "INIT-SIPI-SIPI to nobody: one processor goes on",    1),
    starts("smp.init_sipi.2", "INIT-SIPI-SIPI starts the second processor",         2),
    starts("smp.bcast_init",  "A broadcast of INIT-SIPI-SIPI starts all of four",   4),
)
# fmt: on
