"""The adapter under a driver: a program in C that lays out rings and keeps them turning (devices/vmxnet3.c).

What it sends comes back through a loopback, goes to other guests through a switch, or through a limit that counts by a
clock of the case's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

from virtproof.conformance.cable import Cable
from virtproof.conformance.case import At, Case, HostScript, Program, Script
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.guest import GuestStopped, check_program, run_program
from virtproof.conformance.packets import GUEST
from virtproof.conformance.vmxnet3_driver import SLOT
from virtproof.guest_payloads.program import Ran
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import LONGEST, Port
from virtproof.vmm.network.rate_limit import RateLimit
from virtproof.vmm.network.switch import Switch, SwitchPort

CITE = (Cite("VMXNET3 interface header (vmxnet3_defs.h)", "Vmxnet3_TxQueueConf and Vmxnet3_RxQueueConf"),)
MEMORY = 4 << 20
BARS = range(0xE000_0000, 0xE002_0000)  # where the driver puts the windows that have bells
PACKETS, BATCH, SIZE = 512, 128, 64
PATIENCE = 10.0  # seconds that a guest waits for others


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


def ended(ran: Ran) -> Ran:
    if not ran.done:
        raise GuestStopped(str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that nobody expected")
    return ran


HEARING = (("red", 1), ("red", 2), ("blue", 3))  # segment and number of each guest


def apart(engine: Engine) -> Iterator[Check]:
    """Three guests on one switch speak at once; each hears those of its own segment."""
    switch, together = Switch(), threading.Barrier(len(HEARING), timeout=PATIENCE)
    ran: dict[int, Ran] = {}
    failed: list[BaseException] = []

    def serve(segment: str, who: int) -> None:
        ports: list[SwitchPort] = []

        def furnish(machine: Machine) -> None:
            ports.append(switch.port(machine.events, machine.after, segment=segment))
            plug(machine, ports[0])

        def all_here(machine: Machine) -> None:
            together.wait()

        def all_spoke(machine: Machine) -> None:
            together.wait()
            for _ in range(4):
                machine.events.poll()

        try:
            guest = program(f"guest {who}", "speak", BATCH // 4, who)
            ran[who] = run_program(guest, engine, furnish=furnish, calls={0: all_here, 1: all_spoke})
        except BaseException as error:
            failed.append(error)
        finally:
            if who not in ran:
                together.abort()

    threads = [threading.Thread(target=serve, args=each, name=f"guest {each[1]}", daemon=True) for each in HEARING]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    for segment, who in HEARING:
        heard = ended(ran[who]).observations
        wanted = tuple(
            BATCH // 4 if any(other == number != who and segment == of for of, other in HEARING) else 0
            for number in range(5)
        )
        want, saw = (" ".join(map(str, each)) for each in (wanted, heard))
        yield Check(f"guest {who} ({segment}) hears from 0 to 3, and others", want, saw, wanted == heard)


RATE, ROUNDS, EACH, LARGE, STEP = 1_000_000, 20, 32, 1500, 10_000_000  # bytes a second; nanoseconds between rounds


def limited(engine: Engine) -> Iterator[Check]:
    """The guest offers nearly five times what it may send; what passes is counted each time that time has passed."""
    clock, cable = ManualClock(), Cable()
    passed: list[int] = []
    with EventLoop(clock) as loop:

        def elapse(machine: Machine) -> None:
            clock.advance(STEP)
            loop.poll()
            passed.append(sum(map(len, cable.sent)))

        def furnish(machine: Machine) -> None:
            plug(machine, RateLimit(cable, loop.after, clock.now, rate=RATE))

        guest = program("limited", "flood", ROUNDS, EACH, LARGE)
        ended(run_program(guest, engine, furnish=furnish, calls={0: elapse}))
    offered, allowed = ROUNDS * EACH * LARGE, LONGEST + RATE * ROUNDS * STEP // 1_000_000_000
    yield Check("times", str(ROUNDS), str(len(passed)), len(passed) == ROUNDS)
    yield Check("offered", f"more than {2 * allowed}", str(offered), offered > 2 * allowed)
    worst = max(got - LONGEST - RATE * STEP * (n + 1) // 1_000_000_000 for n, got in enumerate(passed))
    yield Check("bytes beyond burst and rate, at any time", "0 or less", str(worst), worst <= 0)
    yield Check(
        "bytes that passed", f"{allowed // 2} to {allowed}", str(passed[-1]), allowed // 2 <= passed[-1] <= allowed
    )


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
    script("vmxnet3.rx.segments", "Guests on different segments of a switch do not hear each other", apart),
    script("vmxnet3.tx.rate_limit", "A limited adapter sends no more than its rate, and not much less", limited),
)
# fmt: on
