"""Processors that use devices at the same time, and MSRs that nobody has.

A serial line at both ends of which there is no rest.  A base address that one processor moves while another reads through it: each read finds the register or nobody.  Cards
that are told to copy at the same time copy what each was told.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from virtproof.conformance.bus_rig import a_card_each
from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.guest import check_program
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.bus_card import SIGNATURE
from virtproof.spec.cite import Cite, sdm
from virtproof.spec.uart16550 import FIFO_DEPTH
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

BASES = (Cite("PCI Local Bus Specification 3.0", "'Base Addresses'"),)
MASTER = (Cite("PCI Local Bus Specification 3.0", "'Bus Operation', 'Arbitration'"),)
MSRS = (sdm("2C", "Instruction Set Reference, RDMSR and WRMSR"),)
UART = (Cite("National Semiconductor PC16550D data sheet", "'Registers'"),)
COM1 = 0x3F8
MIB = 1 << 20
SECONDS = 60.0


def cards(program: Program, engine: Engine) -> Iterator[Check]:
    """The machine has a card for each processor; the first is at 00:02.0."""

    def furnish(machine: Machine) -> None:
        a_card_each(machine)

    return check_program(program, engine, furnish=furnish)


class Talked:
    """A serial port to which three bytes come before every access; ``most`` is how many it kept."""

    def __init__(self, machine: Machine) -> None:
        self.serial = Serial(lambda byte: None, lambda level: None, machine.after)
        self.most = 0

    def read(self, offset: int, size: int) -> int:
        self._talk()
        return self.serial.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._talk()
        self.serial.write(offset, size, value)

    def _talk(self) -> None:
        self.serial.receive(b"abc")
        self.most = max(self.most, len(self.serial.state()["received"]))


def uart(program: Program, engine: Engine) -> Iterator[Check]:
    talked: list[Talked] = []

    def furnish(machine: Machine) -> None:
        talked.append(Talked(machine))
        machine.bus.add_ports(COM1, 8, talked[0], "COM1", width=1)

    yield from check_program(program, engine, furnish=furnish)
    (line,) = talked
    yield Check("bytes that waited, at most", str(FIFO_DEPTH), str(line.most), line.most == FIFO_DEPTH)


def races(id: str, title: str, cite: tuple[Cite, ...], vcpus: int, rounds: int, *seen: int, test: str, priority: int = 1, script: Callable[..., Iterable[Check]] = cards) -> HostScript:  # fmt: skip  # noqa: A002
    """A test of guest_payloads/devices/races.c."""
    program = Program(
        id=id, title=title, area="hostile", mode=Mode.LONG64, cite=cite, priority=priority, image="races", vcpus=vcpus,
        irqchip=True, memory=4 * MIB, arguments=(At(test), vcpus, rounds), observations=seen, seconds=SECONDS,
    )  # fmt: skip
    return HostScript(
        id=id, title=title, area="hostile", mode=Mode.LONG64, cite=cite, priority=priority,
        script=partial(script, program), seconds=SECONDS,
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    races("hostile.bus.bar_toggle_race", "A BAR that moves while another processor reads it",  BASES,  2, 500,  0, SIGNATURE,             test="moving_bar"),
    races("hostile.multi.parallel_kick.cards", "Four processors and four cards at the same time",    MASTER, 4, 100,  0, 100, 100, 100, 100,    test="a_card_each"),
    races("hostile.serial.fuzz",         "Random accesses while bytes arrive: FIFOs are bounded, and it works then", UART, 1, 100_000,  0x61, ord("Z"), 0x60,  test="random_uart", script=uart),
    races("hostile.cpu.msr_fuzz",        "MSRs that nobody has: #GP for each read and write",  MSRS,   1, 10_000,  1,                        test="random_msrs", priority=2),
)
# fmt: on
