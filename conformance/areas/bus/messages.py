"""MSI and MSI-X: interrupts that are writes to the local APICs' addresses.

With messages enabled the pin stays low.  A vector of MSI-X that is masked, by itself or with all others, sets its pending
bit; the message goes when it is unmasked.  A function that may not master the bus sends none.
"""

from virtproof.conformance.bus_rig import (
    CARD,
    MEMORY,
    MESSAGES,
    MSI,
    MSIX_CAPABILITY,
    PENDING,
    TABLE,
    copy,
    placed,
)
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import (
    ConfigRead,
    ConfigWrite,
    Handle,
    Interrupts,
    Load,
    Pic,
    Put,
    Step,
    Store,
    script,
)
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec.bus_card import Command, Register, Status
from virtproof.spec.cite import Cite

MSI_CITE = (Cite("PCI Local Bus Specification 3.0", "'Message Signaled Interrupts', 'MSI Capability Structure'"),)
MSIX_CITE = (Cite("PCI Local Bus Specification 3.0", "'MSI-X Capability and Table Structures'"),)
MASTER = (Cite("PCI Local Bus Specification 3.0", "'Device Control', Bus Master"),)
VECTOR = 0x41
ENABLE, ALL_MASKED = 0x8000, 0x4000
OPEN = ConfigWrite(CARD, MSIX_CAPABILITY + 2, 2, ENABLE)
SEND = Store(MEMORY + Register.MESSAGE, 4, 1)


def entry(number: int, masked: int) -> tuple[Step, ...]:
    """Write an entry of the MSI-X table."""
    at = TABLE + 16 * number
    return (
        Store(at, 4, MESSAGES),
        Store(at + 4, 4, 0),
        Store(at + 8, 4, VECTOR),
        Store(at + 12, 4, masked),
    )


# fmt: off
MSI_ON = (
    ConfigWrite(CARD, MSI + 4, 4, MESSAGES), ConfigWrite(CARD, MSI + 8, 4, 0), ConfigWrite(CARD, MSI + 12, 2, VECTOR),
    ConfigWrite(CARD, MSI + 2, 2, 1),
)

CASES: tuple[Case, ...] = (
    script("bus.msi.program", "The MSI capability keeps address, data and enable", "bus", MSI_CITE, placed,
        ConfigRead(CARD, MSI + 2, 2, 0x0084), ConfigWrite(CARD, MSI + 4, 4, 0xFEE1_2347), ConfigRead(CARD, MSI + 4, 4, 0xFEE1_2344),
        ConfigWrite(CARD, MSI + 8, 4, 1), ConfigRead(CARD, MSI + 8, 4, 1), ConfigWrite(CARD, MSI + 12, 2, 0x4142),
        ConfigRead(CARD, MSI + 12, 2, 0x4142), ConfigWrite(CARD, MSI + 2, 2, 0xFFFF), ConfigRead(CARD, MSI + 2, 2, 0x00F5), priority=2),
    script("bus.msi.replaces_intx", "With MSI enabled the pin is silent", "bus", MSI_CITE, placed,
        ConfigWrite(0x08, 0x60, 4, 0x0B0B_0B0B), Pic(1 << 11, level=1 << 11), Handle(0x2B), Handle(VECTOR), *MSI_ON,
        Store(MEMORY + Register.PIN, 4, 1), Store(MEMORY + Register.MESSAGE, 4, 0), Interrupts(VECTOR, 1), Interrupts(0x2B, 0),
        ConfigRead(CARD, 0x06, 2, 8, mask=8)),
    script("bus.msix.table_rw", "Entries begin masked and keep address and data", "bus", MSIX_CITE, placed,
        ConfigRead(CARD, MSIX_CAPABILITY + 2, 2, 3), *(Load(TABLE + 16 * n + 12, 4, 1) for n in range(4)), *entry(2, 0),
        Load(TABLE + 32, 8, MESSAGES), Load(TABLE + 40, 4, VECTOR), Load(TABLE + 44, 4, 0), Load(TABLE + 28, 4, 1)),
    script("bus.msix.pending_bit", "A masked vector is pending until it is unmasked", "bus", MSIX_CITE, placed,
        Handle(VECTOR), OPEN, *entry(1, 1), SEND, Interrupts(VECTOR, 0), Load(PENDING, 8, 0b10), Store(TABLE + 28, 4, 0),
        Interrupts(VECTOR, 1), Load(PENDING, 8, 0)),
    script("bus.msix.function_mask", "The function's mask holds all vectors back", "bus", MSIX_CITE, placed,
        Handle(VECTOR), ConfigWrite(CARD, MSIX_CAPABILITY + 2, 2, ENABLE | ALL_MASKED), *entry(1, 0), SEND, Interrupts(VECTOR, 0),
        Load(PENDING, 8, 0b10), OPEN, Interrupts(VECTOR, 1), Load(PENDING, 8, 0), priority=2),
    script("bus.busmaster.off_no_dma", "Without bus mastering there is no DMA and no message", "bus", MASTER, placed,
        Put(FREE, b"source"), Handle(VECTOR), OPEN, *entry(1, 0), ConfigWrite(CARD, 4, 2, 3),
        *copy(FREE, FREE + 0x1000, 6, expect=Status.REFUSED, then=Command.MESSAGE | 1 << 8), Load(FREE + 0x1000, 8, 0),
        Interrupts(VECTOR, 0), ConfigWrite(CARD, 4, 2, 7), *copy(FREE, FREE + 0x1000, 6, then=Command.MESSAGE | 1 << 8),
        Load(FREE + 0x1000, 8, int.from_bytes(b"source", "little")), Interrupts(VECTOR, 1)),
)
# fmt: on
