"""In which order a guest sees what a device does: data, then the word that says it is there, then the interrupt."""

import struct

from virtproof.conformance.areas.bus.messages import OPEN, VECTOR, entry
from virtproof.conformance.bus_rig import MEMORY, copy, placed
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Copy, Handle, Interrupts, Load, Poll, Put, Step, Store, script
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec.bus_card import Command, Register
from virtproof.spec.cite import Cite

ORDER = (Cite("PCI Local Bus Specification 3.0", "'Transaction Ordering and Posting'"),)
SNAPSHOT = (Cite("PCI Local Bus Specification 3.0", "'Bus Operation', 'Basic Transfer Control'"),)
ROUNDS = 16
DESCRIPTOR = struct.Struct("<3Q")  # source, destination, length
SOURCE, DESTINATION, REPORT, SEEN = (FREE + 0x1000 * n for n in range(4))
REPORTS = Store(MEMORY + Register.REPORT, 8, REPORT)


def told(number: int) -> tuple[Step, ...]:
    """A copy that interrupts; the handler notes what it finds."""
    return (
        Store(SOURCE, 8, number),
        *copy(SOURCE, DESTINATION, 8, then=Command.MESSAGE | 1 << 8),
        Interrupts(VECTOR, number),
        Load(SEEN, 8, number),
        Load(SEEN + 8, 4, number),
    )


def polled(number: int) -> tuple[Step, ...]:
    """A copy whose end is waited for in memory."""
    return (
        Store(SOURCE, 8, number),
        *copy(SOURCE, DESTINATION, 8),
        Poll(REPORT, 4, 0xFFFF_FFFF, number),
        Load(DESTINATION, 8, number),
    )


# fmt: off
CASES: tuple[Case, ...] = (
    script("dma.order.desc_before_irq", "In the handler data and report are there", "dma", ORDER, placed,
        REPORTS, Handle(VECTOR, (Copy(SEEN, DESTINATION, 8), Copy(SEEN + 8, REPORT, 4))), OPEN, *entry(1, 0),
        *(step for n in range(1, ROUNDS + 1) for step in told(n))),
    script("dma.order.data_before_status", "When the report is there the data are", "dma", ORDER, placed,
        REPORTS, *(step for n in range(1, ROUNDS + 1) for step in polled(n))),
    script("dma.snapshot_desc", "A device goes by what it read of a descriptor once", "dma", SNAPSHOT, placed,
        Put(FREE, DESCRIPTOR.pack(FREE + 0x1000, FREE, 24)), Put(FREE + 0x1000, DESCRIPTOR.pack(FREE + 0x2000, FREE, 8)),
        Store(MEMORY + Register.SOURCE, 8, FREE), Store(MEMORY + Register.COMMAND, 4, Command.COPY_DESCRIBED),
        Load(MEMORY + Register.STATUS, 4, 1), Load(FREE, 8, FREE + 0x2000), Load(FREE + 8, 8, FREE), Load(FREE + 16, 8, 8)),
)
# fmt: on
