"""The adapter under a driver: a program in C that lays out rings and keeps them turning (devices/vmxnet3.c).

What it sends comes back through a loopback, or goes elsewhere: slices.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Program, Script
from virtproof.conformance.guest import check_program, run_program
from virtproof.conformance.packets import GUEST
from virtproof.conformance.slices import Slice, ended, sliced
from virtproof.conformance.vmxnet3_driver import SLOT
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import Port

CITE = (Cite("VMXNET3 interface header (vmxnet3_defs.h)", "Vmxnet3_TxQueueConf and Vmxnet3_RxQueueConf"),)
MEMORY = 4 << 20
BARS = range(0xE000_0000, 0xE002_0000)  # where the driver puts the windows that have bells
PACKETS, BATCH, SIZE = 512, 128, 64


def program(
    name: str, test: str, *arguments: int, observations: tuple[int, ...] = (), irqchip: bool = False
) -> Program:
    return Program(
        id=name, title="", area="vmxnet3", mode=Mode.LONG64, cite=CITE, image="vmxnet3", memory=MEMORY, seconds=20.0,
        irqchip=irqchip, arguments=(At(test), *arguments), observations=observations,
    )  # fmt: skip


def plug(machine: Machine, port: Port) -> None:
    Board(machine).add(Vmxnet3(GUEST, port, machine.after), slot=SLOT)


def looped(machine: Machine) -> None:
    plug(machine, Loopback(machine.after))


def counted(engine: Engine) -> Iterator[Check]:
    """The driver's own count of its bells is one thing, what came out of the guest another."""
    exits: list[int] = []

    def furnish(machine: Machine) -> None:
        looped(machine)
        machine.bus.trace = lambda kind, address, size, is_write, value: (
            exits.append(address) if kind == "mmio" and address in BARS else None
        )

    guest = program("exits", "polled", PACKETS, BATCH, SIZE)
    ran = run_program(guest, engine, furnish=furnish)
    good, bells = ended(ran).observations
    yield Check("packets", str(PACKETS), str(good), good == PACKETS)
    setup = 40  # accesses before the first packet, by far
    yield Check(
        "accesses to registers",
        f"at most {PACKETS // 16 + setup}",
        str(len(exits)),
        len(exits) <= PACKETS // 16 + setup,
    )
    yield Check("packets by bell", "16 or more", f"{PACKETS / bells:.1f}", bells * 16 <= PACKETS)


def driven(
    name: str, title: str, test: str, *arguments: int, observations: tuple[int, ...], irqchip: bool = False
) -> HostScript:
    guest = program(name, test, *arguments, observations=observations, irqchip=irqchip)
    return script(name, title, partial(check_program, guest, furnish=looped))


def script(name: str, title: str, run: Script) -> HostScript:
    return HostScript(
        id=name, title=title, area="vmxnet3", mode=Mode.LONG64, cite=CITE, script=run, priority=2, seconds=20.0
    )


# fmt: off
CASES: tuple[Case, ...] = (
    driven("vmxnet3.tx.polled", "A driver that polls gets back all that it sends, many times round its rings", "polled",
           600, 30, SIZE, observations=(600, 2 * 600 // 30)),
    driven("vmxnet3.irq.driver", "A driver that halts is woken for each packet", "by_interrupt", 64, 1, SIZE, observations=(64, 1), irqchip=True),
    script("vmxnet3.tx.bells", "64-byte frames take one access to a register for 16 packets or more", counted),
    *sliced(Slice("vmxnet3", "vmxnet3", CITE, plug), "vmxnet3.rx.segments", "vmxnet3.tx.rate_limit"),
)
# fmt: on
