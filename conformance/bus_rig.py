"""A board with bus cards (spec/bus_card.py) at 00:02.0, 00:03.0 and 00:06.0, for cases about the bus."""

from __future__ import annotations

from virtproof.conformance.device_script import ConfigRead, Load, Step, Store
from virtproof.spec.bus_card import MSI_OFFSET, MSIX_OFFSET, MSIX_PBA, MSIX_TABLE, Command, Register, Status
from virtproof.vmm.board import Board
from virtproof.vmm.devices.bus_card import BusCard
from virtproof.vmm.machine import Machine

CARD, SECOND = 2 << 3, 3 << 3
MEMORY, PORTS, MSIX = 0xE000_0000, 0xC000, 0xE100_0000
SECOND_MEMORY, SECOND_PORTS, SECOND_MSIX = 0xE020_0000, 0xC040, 0xE101_0000
MSI, MSIX_CAPABILITY = MSI_OFFSET, MSIX_OFFSET
TABLE, PENDING = MSIX + MSIX_TABLE, MSIX + MSIX_PBA
MESSAGES = 0xFEE0_0000  # to the processor with APIC id 0
PLAIN = 6 << 3  # a third card, without capabilities; its pin shares the line of the first
PLAIN_MEMORY, PLAIN_PORTS = 0xE040_0000, 0xC080


class BusRig(Board):
    """``cards`` are three: two that can do everything and one without capabilities; nothing is placed yet."""

    def __init__(self, machine: Machine, *, rom: bytes = b"") -> None:
        super().__init__(machine, rom=rom)
        self.cards = BusCard(), BusCard(), BusCard(capable=False)
        for at, card in zip((CARD, SECOND, PLAIN), self.cards, strict=True):
            self.add(card, slot=at >> 3)


def placed(machine: Machine) -> BusRig:
    """The rig after its firmware: the cards decode and master the bus."""
    rig = BusRig(machine)
    rig.cards[0].function.place([MEMORY, PORTS, MSIX])
    rig.cards[1].function.place([SECOND_MEMORY, SECOND_PORTS, SECOND_MSIX])
    rig.cards[2].function.place([PLAIN_MEMORY, PLAIN_PORTS])
    return rig


def a_card_each(machine: Machine) -> Board:
    """A board with as many cards as processors, 2 MiB from one to the next."""
    board = Board(machine)
    for n in range(len(machine.vcpus)):
        card = BusCard(capable=False)
        board.add(card)
        card.function.place([MEMORY + 0x20_0000 * n, PORTS + 0x40 * n])
    return board


def copy(
    source: int, destination: int, length: int, *, card: int = MEMORY, expect: Status = Status.DONE, then: int = 0
) -> tuple[Step, ...]:
    """Have a card copy guest memory and look how it ended; ``then`` is what else the command holds."""
    return (
        Store(card + Register.SOURCE, 8, source),
        Store(card + Register.DESTINATION, 8, destination),
        Store(card + Register.LENGTH, 4, length),
        Store(card + Register.COMMAND, 4, Command.COPY | then),
        Load(card + Register.STATUS, 4, expect),
    )


def identity(at: int = CARD) -> ConfigRead:
    """The card is there and says who it is."""
    return ConfigRead(at, 0, 4, 0x00FF_1B36)
