"""Slices of a network, by any adapter: guests on different segments of a switch, and a limit of what one may send.

Each adapter's driver has the tests ``speak`` and ``flood`` (guest_payloads/devices).  The limit counts by a clock of
the case's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from virtproof.conformance.cable import Cable
from virtproof.conformance.case import At, HostScript, Program
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.guest import GuestStopped, run_program
from virtproof.guest_payloads.program import Ran
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.port import LONGEST, Port
from virtproof.vmm.network.rate_limit import RateLimit
from virtproof.vmm.network.switch import Switch, SwitchPort

HEARING = (("red", 1), ("red", 2), ("blue", 3))  # segment and number of each guest
SPOKEN = 32  # frames of each guest
PATIENCE = 10.0  # seconds that a guest waits for others
RATE, ROUNDS, EACH, LARGE, STEP = 1_000_000, 20, 32, 1500, 10_000_000  # bytes a second; nanoseconds between rounds


@dataclass(frozen=True, slots=True)
class Slice:
    """An adapter: its area and payload, and what puts one with that port into a machine."""

    area: str
    image: str
    cite: tuple[Cite, ...]
    plug: Callable[[Machine, Port], None]

    def program(self, test: str, *arguments: int) -> Program:
        return Program(
            id=test, title="", area=self.area, mode=Mode.LONG64, cite=self.cite, image=self.image, memory=4 << 20,
            seconds=20.0, arguments=(At(test), *arguments), observations=(),
        )  # fmt: skip


def ended(ran: Ran) -> Ran:
    """The program, which came to its end; raises ``GuestStopped`` where it did not."""
    if not ran.done:
        raise GuestStopped(str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that nobody expected")
    return ran


def apart(of: Slice, engine: Engine) -> Iterator[Check]:
    """Three guests on one switch speak at once; each hears those of its own segment."""
    switch, together = Switch(), threading.Barrier(len(HEARING), timeout=PATIENCE)
    ran: dict[int, Ran] = {}
    failed: list[BaseException] = []

    def serve(segment: str, who: int) -> None:
        ports: list[SwitchPort] = []

        def furnish(machine: Machine) -> None:
            ports.append(switch.port(machine.events, machine.after, segment=segment))
            of.plug(machine, ports[0])

        def all_here(machine: Machine) -> None:
            together.wait()

        def all_spoke(machine: Machine) -> None:
            together.wait()
            for _ in range(4):
                machine.events.poll()

        try:
            guest = of.program("speak", SPOKEN, who)
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
            SPOKEN if any(other == number != who and segment == theirs for theirs, other in HEARING) else 0
            for number in range(5)
        )
        want, saw = (" ".join(map(str, each)) for each in (wanted, heard))
        yield Check(f"guest {who} ({segment}) hears from 0 to 3, and others", want, saw, wanted == heard)


def limited(of: Slice, engine: Engine) -> Iterator[Check]:
    """The guest offers nearly five times what it may send; what passes is counted each time that time has passed."""
    clock, cable = ManualClock(), Cable()
    passed: list[int] = []
    with EventLoop(clock) as loop:

        def elapse(machine: Machine) -> None:
            clock.advance(STEP)
            loop.poll()
            passed.append(sum(map(len, cable.sent)))

        def furnish(machine: Machine) -> None:
            of.plug(machine, RateLimit(cable, loop.after, clock.now, rate=RATE))

        guest = of.program("flood", ROUNDS, EACH, LARGE)
        ended(run_program(guest, engine, furnish=furnish, calls={0: elapse}))
    offered, allowed = ROUNDS * EACH * LARGE, LONGEST + RATE * ROUNDS * STEP // 1_000_000_000
    yield Check("times", str(ROUNDS), str(len(passed)), len(passed) == ROUNDS)
    yield Check("offered", f"more than {2 * allowed}", str(offered), offered > 2 * allowed)
    worst = max(got - LONGEST - RATE * STEP * (n + 1) // 1_000_000_000 for n, got in enumerate(passed))
    yield Check("bytes beyond burst and rate, at any time", "0 or less", str(worst), worst <= 0)
    yield Check(
        "bytes that passed", f"{allowed // 2} to {allowed}", str(passed[-1]), allowed // 2 <= passed[-1] <= allowed
    )


def sliced(of: Slice, segments: str, rate_limit: str) -> Iterator[HostScript]:
    """Both cases, with these ids."""
    for name, title, run in (
        (segments, "Guests on different segments of a switch do not hear each other", apart),
        (rate_limit, "A limited adapter sends no more than its rate, and not much less", limited),
    ):
        yield HostScript(
            id=name, title=title, area=of.area, mode=Mode.LONG64, cite=of.cite, script=partial(run, of), priority=2,
            seconds=20.0,
        )  # fmt: skip
